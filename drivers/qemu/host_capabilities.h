/* What connect_get_capabilities tells: this host's CPU, topology and security labels, and what its emulators run. */
#pragma once

#include <stdint.h>

#include "conf/base/error.h"

struct vq_driver_host;
struct vq_qemu_capabilities;
struct vq_qemu_settings;

/* The <host> part of the document, read from /proc and /sys; freed by the caller. A few milliseconds on a large host:
 * keep it. root: "" or, for tests, a directory that has proc and sys. */
char *vq_qemu_host_read(const char *root, const struct vq_qemu_settings *settings, const uint8_t uuid[16]);

/* Who this host is, for tools and for other daemons, which refuse to migrate to themselves. What the administrator said; else
 * in a cluster the node, since firmware has the same number for more than one host too often; else the firmware's, or the
 * installation's. root: as above. */
void vq_qemu_host_identity(const char *root, const struct vq_driver_host *host, uint8_t ret_uuid[16]);

/* The whole document; freed by the caller. */
char *vq_qemu_host_capabilities_format(const char *host, const struct vq_qemu_capabilities *const *emulators,
                                       size_t n_emulators);

/* <cpu> of this host as capabilities have it, with or without a line break at the end of each element. */
char *vq_qemu_host_cpu_format(const char *root);
