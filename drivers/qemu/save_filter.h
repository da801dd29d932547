/* Programs between QEMU and the file of a saved guest: compressors, and one that goes around the page cache. */
#pragma once

#include <stdbool.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"
#include "drivers/qemu/save_image.h"

struct vq_qemu;
struct vq_save_filter;

/* "raw", "gzip" ... as qemu.conf names them. False: there is none of this name. */
bool vq_save_format_of(const char *name, enum vq_save_format *ret);
const char *vq_save_format_name(enum vq_save_format format);

/* Does this host have the program? Errors: VIR_ERR_OPERATION_FAILED. setting: "save_image_format", for the message; NULL: reading. */
VQ_MUST_CHECK int vq_save_filter_check(enum vq_save_format format, const char *setting, struct vq_error *err);

/* Run it from in_fd to out_fd, borrowed. A raw format is copied around the page cache of out_fd (saves) or in_fd (reads).
 * ended is called once, when it has ended: err NULL for well, else in its own words. */
VQ_MUST_CHECK int vq_save_filter_start(struct vq_qemu *qemu, enum vq_save_format format, bool unpacks, int in_fd, int out_fd,
                                       void (*ended)(const struct vq_error *err, void *data), void *data,
                                       struct vq_save_filter **ret, struct vq_error *err);
/* It is killed if it runs; ended is not called any more. Accepts NULL. */
void vq_save_filter_free(struct vq_save_filter *filter);
