/* Definitions in save images: what is written into one, and what may replace it. */
#pragma once

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_domain;
struct vq_qemu_guest;

/* The definition of a running guest as its image gets it, or the caller's (xml not NULL), which the guest must not be able to tell
 * from it. *ret is malloc'ed. Errors: VIR_ERR_CONFIG_UNSUPPORTED naming the difference; what the parser says. */
VQ_MUST_CHECK int vq_save_xml_of_guest(const struct vq_qemu_guest *guest, const char *xml, char **ret, struct vq_error *err);
/* The definition that an image holds, or the caller's (xml not NULL) in its place. Errors: as above. */
VQ_MUST_CHECK int vq_save_xml_read(const char *image_xml, const char *xml, struct vq_domain **ret, struct vq_error *err);
