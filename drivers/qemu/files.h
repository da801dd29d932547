/* What a run has in the file system: its directory, its monitor socket, its log. */
#pragma once

#include <stddef.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_qemu_command;
struct vq_qemu_guest;

/* Beneath the runtime directory: what QEMU itself may write to. The monitor socket is beside it, out of its reach. */
#define VQ_QEMU_GUEST_SUBDIR "qemu"

/* "<state>/qemu/domain-ID-NAME", malloc'ed. */
char *vq_qemu_files_dir(const struct vq_qemu_guest *guest);

/* Make guest->dir, the listening monitor socket in it, and open the log. Sets monitor_fd and log_fd. */
VQ_MUST_CHECK int vq_qemu_files_create(struct vq_qemu_guest *guest, struct vq_error *err);
void vq_qemu_files_remove(struct vq_qemu_guest *guest);

/* A path to the monitor socket that fits into a socket address however long the directory's is. The caller closes *ret_fd
 * after use. */
VQ_MUST_CHECK int vq_qemu_files_monitor_path(const struct vq_qemu_guest *guest, char *path, size_t size, int *ret_fd,
                                             struct vq_error *err);

/* Lines in the log of the guest. */
void vq_qemu_log_start(struct vq_qemu_guest *guest, const struct vq_qemu_command *command);
void vq_qemu_log_end(struct vq_qemu_guest *guest);
/* The last words of this run, for an error message; "" when there are none. */
void vq_qemu_log_tail(const struct vq_qemu_guest *guest, char *text, size_t size);
/* All of them, also those of earlier runs: the client wants nothing to be left. */
void vq_qemu_logs_remove(const struct vq_qemu_guest *guest);
/* A guest that makes QEMU write without end gets no more than this of the disk. */
enum { VQ_QEMU_LOG_MAX_BYTES = 16 * 1024 * 1024 };
void vq_qemu_log_bound(const struct vq_qemu_guest *guest);
