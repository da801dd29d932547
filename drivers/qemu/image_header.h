/* What the first bytes of an image say of it. Pure: bytes in, facts out. The bytes are hostile: a guest may have written them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

/* QEMU puts names of backing files into the first cluster, and knows no larger cluster than 2 MiB. */
enum { VQ_IMAGE_FIRST_BYTES = 65536, VQ_IMAGE_HEADER_MAX = 2 * 1024 * 1024 + 1024, VQ_IMAGE_NAME_MAX = 1023 };

struct vq_image_header {
    const char *format;                  /* "qcow2"; static */
    uint64_t capacity;                   /* bytes that a guest sees; 0: not said */
    bool has_backing;
    char backing[VQ_IMAGE_NAME_MAX + 1]; /* as the header has it */
    char backing_format[32];             /* "": not said */
    bool has_data_file;                  /* the guest's bytes are in another file */
    char data_file[VQ_IMAGE_NAME_MAX + 1];
    bool is_encrypted;
};

/* The format that the bytes are of: "raw" when no other is recognised. A guess that a guest can bend: for images whose format is
 * not said, never against what is said. */
const char *vq_image_probe(const uint8_t *bytes, size_t length);
/* Is this name a format whose first bytes tell it? False for "raw" and for what we do not read. */
bool vq_image_format_has_magic(const char *format);

/* How many bytes vq_image_header_read() wants to see, given the first ones: up to VQ_IMAGE_HEADER_MAX. */
size_t vq_image_header_size(const char *format, const uint8_t *bytes, size_t length);

/* Read the header of an image that is of this format. Formats that name no other file have only their own name.
 *
 * Errors: VIR_ERR_OPERATION_INVALID: the bytes are not of that format, or contradict themselves; the text does not name the
 * file. */
VQ_MUST_CHECK int vq_image_header_read(const char *format, const uint8_t *bytes, size_t length,
                                       struct vq_image_header *ret, struct vq_error *err);
