/* Devices of the host that guests get: found by what the definition says of them, and never given to two guests. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_domain;
struct vq_hostdev;
struct vq_qemu_guest;

/* Find each host device of the guest in sysfs. A USB device that is named by vendor and product gets its place written into the
 * run's definition; one that is missing and may be, goes out of it.
 *
 * Errors: VIR_ERR_OPERATION_FAILED, VIR_ERR_INTERNAL_ERROR, VIR_ERR_SYSTEM_ERROR it is not there; VIR_ERR_OPERATION_INVALID
 * another guest of this host has it, which is named. */
VQ_MUST_CHECK int vq_qemu_hostdevs_find(struct vq_qemu_guest *guest, struct vq_error *err);

/* "/dev/sg0" of a local SCSI device, malloc'ed. */
VQ_MUST_CHECK int vq_qemu_hostdev_scsi_generic(const struct vq_hostdev *hostdev, char **ret_path, struct vq_error *err);
/* Of each host device by index, NULL for those that are none. */
VQ_MUST_CHECK int vq_qemu_hostdev_generics(const struct vq_domain *live, char ***ret_paths, struct vq_error *err);
void vq_qemu_hostdev_generics_free(char **paths, size_t n);
