/* What an image's header calls its backing file, as a source. */
#pragma once

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_source;

/* name        "base.img", "/abs/base.img", "nbd://host/export", "json:{...}": as QEMU understands it
 * image_path  of the image that says so: what a relative name is relative to; NULL: it is no file
 * ret         zeroed; type FILE for any path (whoever looks at it tells a block device)
 *
 * Errors: VIR_ERR_INTERNAL_ERROR: a protocol or a JSON driver that we do not know; VIR_ERR_OPERATION_INVALID: not well-formed. */
VQ_MUST_CHECK int vq_image_backing_parse(const char *name, const char *image_path, struct vq_source *ret,
                                         struct vq_error *err);
