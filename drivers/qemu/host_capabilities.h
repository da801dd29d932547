/* What connect_get_capabilities tells: this host's CPU, topology and security labels, and what its emulators run. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"

struct vq_driver_host;
struct vq_qemu_capabilities;
struct vq_qemu_settings;

struct vq_cpu_facts;
struct vq_host_clock;

/* The <host> part of the document, read from /proc and /sys; freed by the caller. A few milliseconds on a large host:
 * keep it. root: "" or, for tests, a directory that has proc and sys. */
char *vq_qemu_host_read(const char *root, const struct vq_qemu_settings *settings, const uint8_t uuid[16],
                        const struct vq_cpu_facts *cpu, const struct vq_host_clock *clock);

/* Who this host is, for tools and for other daemons, which refuse to migrate to themselves. What the administrator said; else
 * in a cluster the node, since firmware has the same number for more than one host too often; else the firmware's, or the
 * installation's. root: as above. */
void vq_qemu_host_identity(const char *root, const struct vq_driver_host *host, uint8_t ret_uuid[16]);

/* One kind of guests that this host can run. */
struct vq_qemu_arch;
struct vq_qemu_guest_kind {
    const struct vq_qemu_arch *arch;
    const struct vq_qemu_capabilities *caps;
};

/* The whole document; freed by the caller. */
char *vq_qemu_host_capabilities_format(const char *host, const struct vq_qemu_guest_kind *guests, size_t n_guests);

/* <cpu> of this host as capabilities have it; freed by the caller. */
char *vq_qemu_host_cpu_format(const char *root, const struct vq_cpu_facts *cpu);
