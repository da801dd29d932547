/* A file with a saved guest, as libvirt's daemons read and write it.
 *
 *   offset  bytes
 *        0     16  "LibvirtQemudSave"; while it is being written "LibvirtQemudPart"
 *       16      4  version, 2 (1: without a cookie)
 *       20      4  length of what lies between header and data: texts and room for a longer definition
 *       24      4  1: the CPUs ran
 *       28      4  how the data are packed: enum vq_save_format
 *       32      4  where the cookie begins in the texts; 0: there is none
 *       36     56  not used, zero
 *       92         definition, NUL; cookie, NUL; room; then QEMU's own stream to the end of the file
 *
 * Numbers are in the byte order of the host that wrote them. Every byte may come from a stranger. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

enum vq_save_format { VQ_SAVE_RAW, VQ_SAVE_GZIP, VQ_SAVE_BZIP2, VQ_SAVE_XZ, VQ_SAVE_LZOP, VQ_SAVE_ZSTD, VQ_SAVE_FORMATS };

enum {
    VQ_SAVE_HEADER_BYTES = 92,
    VQ_SAVE_TEXT_MAX = 16 * 1024 * 1024,  /* of definition and cookie, with room */
    VQ_SAVE_ROOM_BYTES = 64 * 1024,       /* that a longer definition finds */
    VQ_SAVE_ALIGN_BYTES = 64 * 1024,      /* data begin at a multiple, so that they can be read around the cache */
};

struct vq_save_image {
    uint32_t version;
    uint32_t texts_length;   /* behind the header */
    uint32_t was_running;    /* 0, 1 */
    uint32_t cookie_offset;  /* 0: none */
    enum vq_save_format format;
    bool is_swapped;         /* written by a host of the other byte order */
    char *xml;               /* malloc'ed */
    char *cookie;            /* NULL: none */
    off_t data;              /* where QEMU's stream begins */
};

void vq_save_image_done(struct vq_save_image *image);

/* Look at the header alone, VQ_SAVE_HEADER_BYTES of it. size: of the whole file; 0: not known (a device).
 * Errors: VIR_ERR_OPERATION_FAILED with the words of other daemons; *ret_is_incomplete: it was never finished. */
VQ_MUST_CHECK int vq_save_image_parse_header(const uint8_t *bytes, size_t length, uint64_t size, struct vq_save_image *ret,
                                             bool *ret_is_incomplete, struct vq_error *err);
/* The texts behind it, image->texts_length bytes. */
VQ_MUST_CHECK int vq_save_image_parse_texts(struct vq_save_image *image, const uint8_t *bytes, size_t length,
                                            struct vq_error *err);
/* Both from a file. Blocks: for workers. */
VQ_MUST_CHECK int vq_save_image_read(int fd, struct vq_save_image *ret, bool *ret_is_incomplete, struct vq_error *err);

/* Header and texts as they stand in the file, marked as not finished; malloc'ed. The data begin behind. cookie: NULL: none.
 * Errors: VIR_ERR_OPERATION_FAILED: longer than VQ_SAVE_TEXT_MAX. */
VQ_MUST_CHECK int vq_save_image_build(const char *xml, const char *cookie, bool was_running, enum vq_save_format format,
                                      uint8_t **ret_bytes, size_t *ret_length, struct vq_error *err);
/* The same within the room that a file has already; was_running as it shall be. Errors: VIR_ERR_OPERATION_FAILED: it is too long. */
VQ_MUST_CHECK int vq_save_image_rebuild(const struct vq_save_image *image, const char *xml, bool was_running,
                                        uint8_t **ret_bytes, size_t *ret_length, struct vq_error *err);
/* The first bytes of a file that is finished, and their number. */
const char *vq_save_image_finished_magic(size_t *ret_length);
