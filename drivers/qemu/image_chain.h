/* The images of disks as they are on this host: whether they are there, whether QEMU's user gets to them, and which other images
 * they lie on. Reads files: for a worker, never for a loop. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_disk;

enum { VQ_IMAGE_CHAIN_MAX = 200 };

/* Whom QEMU runs as; has_user false: as ourselves. */
struct vq_image_reader {
    bool has_user;
    uid_t uid;
    gid_t gid;
};

/* Look at the disk's images and complete its chain: what the definition leaves out is read from the headers and marked as
 * detected. Sources that are no files of this host are left as they are, and so is a chain that the definition ends.
 *
 * Errors: VIR_ERR_SYSTEM_ERROR: a file is missing or cannot be reached, naming it or the directory;
 * VIR_ERR_OPERATION_INVALID, VIR_ERR_INTERNAL_ERROR: a header that cannot be trusted. The disk is not named. */
VQ_MUST_CHECK int vq_image_chain_complete(struct vq_disk *disk, const struct vq_image_reader *reader, struct vq_error *err);

/* The first directory on the way to path that the reader may not enter: VIR_ERR_SYSTEM_ERROR naming it. Changes what this thread may
 * do for the time of the call. */
VQ_MUST_CHECK int vq_image_path_check(const char *path, const struct vq_image_reader *reader, struct vq_error *err);
