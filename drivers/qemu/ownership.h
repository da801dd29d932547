/* Images belong to the user that QEMU runs as while it runs, and to whom they belonged before when it has ended. */
#pragma once

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_qemu_guest;

/* Who owned an image before this run. */
struct vq_qemu_owned {
    char *path;
    unsigned uid, gid;
};

/* Give the writable images of the guest to QEMU's user. What is changed is in the record before. Errors:
 * VIR_ERR_SYSTEM_ERROR naming the image: it is not there, or no regular file or block device. */
VQ_MUST_CHECK int vq_qemu_ownership_take(struct vq_qemu_guest *guest, struct vq_error *err);
void vq_qemu_ownership_give_back(struct vq_qemu_guest *guest);
void vq_qemu_ownership_done(struct vq_qemu_guest *guest);
