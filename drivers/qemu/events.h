/* Events other than a change of state, told to clients in the forms of the protocol. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct vq_qemu_guest;
struct vq_typed_param;

void vq_qemu_emit_reboot(struct vq_qemu_guest *guest);
void vq_qemu_emit_rtc_change(struct vq_qemu_guest *guest, int64_t offset);
void vq_qemu_emit_watchdog(struct vq_qemu_guest *guest, int action);
void vq_qemu_emit_io_error(struct vq_qemu_guest *guest, const char *path, const char *alias, int action,
                           const char *reason);
void vq_qemu_emit_control_error(struct vq_qemu_guest *guest);
void vq_qemu_emit_balloon_change(struct vq_qemu_guest *guest, uint64_t actual_kib);
void vq_qemu_emit_device_removed(struct vq_qemu_guest *guest, const char *alias);
void vq_qemu_emit_tray_change(struct vq_qemu_guest *guest, const char *alias, bool is_open);
void vq_qemu_emit_pm(struct vq_qemu_guest *guest, int event_id);
/* data: of QEMU's VNC_... and SPICE_... events. phase: VIR_DOMAIN_EVENT_GRAPHICS_*. */
void vq_qemu_emit_graphics(struct vq_qemu_guest *guest, int phase, json_t *data);
void vq_qemu_emit_agent_lifecycle(struct vq_qemu_guest *guest, bool is_connected, int reason);
void vq_qemu_emit_device_added(struct vq_qemu_guest *guest, const char *alias);
void vq_qemu_emit_device_removal_failed(struct vq_qemu_guest *guest, const char *alias);
/* old_path, new_path: NULL for none. reason: VIR_DOMAIN_EVENT_DISK_CHANGE_* or _DROP_MISSING_*. */
void vq_qemu_emit_disk_change(struct vq_qemu_guest *guest, const char *old_path, const char *new_path, const char *alias, int reason);
/* In both forms: by the path of the image and by the target of the disk. */
void vq_qemu_emit_block_job(struct vq_qemu_guest *guest, const char *path, const char *target, int type, int status);
void vq_qemu_emit_block_threshold(struct vq_qemu_guest *guest, const char *device, const char *path, uint64_t threshold,
                                  uint64_t excess);
void vq_qemu_emit_memory_failure(struct vq_qemu_guest *guest, int recipient, int action, unsigned flags);
void vq_qemu_emit_memory_device_size_change(struct vq_qemu_guest *guest, const char *alias, uint64_t kib);
/* Settings of a running guest that were changed: "cputune.cpu_shares" and the like. */
void vq_qemu_emit_tunable(struct vq_qemu_guest *guest, struct vq_typed_param *params, uint32_t n_params);
/* Any event of QEMU as it came, for clients that registered for monitor events. */
void vq_qemu_emit_monitor(struct vq_qemu_guest *guest, const char *name, json_t *data, int64_t seconds, uint32_t micros);
/* A long work is over, with its numbers. */
void vq_qemu_emit_job_completed(struct vq_qemu_guest *guest, struct vq_typed_param *params, uint32_t n_params);
/* A round over the memory of a guest that migrates has begun. */
void vq_qemu_emit_migration_iteration(struct vq_qemu_guest *guest, int iteration);
