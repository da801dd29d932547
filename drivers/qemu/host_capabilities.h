/* What connect_get_capabilities tells: this host's CPU, topology and security labels, and what its emulators run. */
#pragma once

#include "conf/base/error.h"

struct vq_qemu_capabilities;
struct vq_qemu_settings;

/* The <host> part of the document, read from /proc and /sys; freed by the caller. A few milliseconds on a large host:
 * keep it. root: "" or, for tests, a directory that has proc and sys. */
char *vq_qemu_host_read(const char *root, const struct vq_qemu_settings *settings);

/* The whole document; freed by the caller. */
char *vq_qemu_host_capabilities_format(const char *host, const struct vq_qemu_capabilities *const *emulators,
                                       size_t n_emulators);

/* <cpu> of this host as capabilities have it, with or without a line break at the end of each element. */
char *vq_qemu_host_cpu_format(const char *root);
