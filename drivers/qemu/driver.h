/* The QEMU driver of this host: what its files share. drivers/driver.h is what the daemon sees. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "drivers/driver.h"
#include "drivers/qemu/settings.h"

struct vq_qemu_emulators;
struct vq_qemu_guest;
struct vq_p2p;

/* driver->state of vq_qemu_driver. */
struct vq_qemu {
    struct vq_driver *driver;
    const struct vq_driver_host *host;
    struct vq_qemu_settings settings;
    struct vq_qemu_emulators *emulators;
    struct vq_qemu_guest *guests;        /* list; by UUID with vq_qemu_guest_find() */
    size_t n_guests;
    struct vq_p2p *p2ps;                 /* migrations whose client this daemon is: migrate_p2p.c */
    bool has_caught_up;                  /* with the cluster: the domains that are not there are no more */
    size_t n_creating;                   /* transient domains that are being defined, to be started then */
    uv_timer_t minute;                   /* bounds logs, and waits for children that were let go */
    bool stopping;
    void (*stopped)(void *data);
    void *stopped_data;
};

extern struct vq_driver vq_qemu_driver;

/* Of this host, as capabilities and migration tell it: vq_qemu_host_identity() of host_capabilities.h. */
void vq_qemu_host_uuid(const struct vq_qemu *qemu, uint8_t ret_uuid[16]);

static inline struct vq_qemu *vq_qemu_of(const struct vq_request *request)
{
    return request->driver->state;
}

/* Flags that the driver does not know are an error of the caller, as in the public API. False: the request was failed. */
bool vq_qemu_check_flags(struct vq_request *request, uint64_t flags, uint64_t allowed);

/* Row tables of the handler files; driver.c joins them. */
struct vq_qemu_rows {
    const struct vq_driver_row *rows;
    size_t n_rows;
};
extern const struct vq_qemu_rows vq_qemu_run_rows;    /* handlers_run.c: start, stop, state */
extern const struct vq_qemu_rows vq_qemu_look_rows;   /* handlers_look.c: info, memory, interfaces, console */
extern const struct vq_qemu_rows vq_qemu_block_rows;  /* handlers_block.c: disks */
extern const struct vq_qemu_rows vq_qemu_monitor_rows; /* handlers_monitor.c: QMP for clients, displays */
extern const struct vq_qemu_rows vq_qemu_agent_rows;  /* handlers_agent.c: what the agent in the guest answers */
extern const struct vq_qemu_rows vq_qemu_guest_info_rows; /* handlers_guest_info.c */
extern const struct vq_qemu_rows vq_qemu_guest_vcpus_rows; /* handlers_guest_vcpus.c */
extern const struct vq_qemu_rows vq_qemu_addresses_rows; /* handlers_addresses.c: of interfaces, from wherever they are known */
extern const struct vq_qemu_rows vq_qemu_send_key_rows; /* send_key.c */
extern const struct vq_qemu_rows vq_qemu_limits_rows; /* handlers_limits.c: pinning, shares and bounds of a guest */
extern const struct vq_qemu_rows vq_qemu_screen_rows; /* screenshot.c: pictures of a screen */
extern const struct vq_qemu_rows vq_qemu_stats_rows;  /* stats.c: stats of all domains */
extern const struct vq_qemu_rows vq_qemu_node_rows;   /* handlers_node.c: questions of other nodes */
extern const struct vq_qemu_rows vq_qemu_save_rows;   /* handlers_save.c: save, restore, managed save */
extern const struct vq_qemu_rows vq_qemu_save_image_rows; /* handlers_save_image.c: definitions in images */
extern const struct vq_qemu_rows vq_qemu_dump_rows;   /* dump.c */
void vq_qemu_node_stop(void); /* those that wait are answered */
extern const struct vq_qemu_rows vq_qemu_measure_rows; /* handlers_measure.c: dirty rate, secrets of guests' memory */
extern const struct vq_qemu_rows vq_qemu_messages_rows; /* messages.c: what is unusual about a guest */
extern const struct vq_qemu_rows vq_qemu_cpu_rows;    /* handlers_cpu.c: CPUs compared */
extern const struct vq_qemu_rows vq_qemu_define_rows; /* handlers_define.c: definitions, capabilities */
