/* Files with saved guests: see save_image.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/save_image.h"

#include <byteswap.h>
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/base/memory.h"

static const char magic_finished[] = "LibvirtQemudSave", magic_part[] = "LibvirtQemudPart";

enum { MAGIC_BYTES = 16, VERSION_MAX = 2, XML_BYTES_MIN = 2 };
enum { AT_VERSION = 16, AT_LENGTH = 20, AT_RUNNING = 24, AT_FORMAT = 28, AT_COOKIE = 32 };

const char *vq_save_image_finished_magic(size_t *ret_length)
{
    *ret_length = MAGIC_BYTES;
    return magic_finished;
}

void vq_save_image_done(struct vq_save_image *image)
{
    free(vq_take(image->xml));
    free(vq_take(image->cookie));
}

/* ---- Reading ---- */

static uint32_t number_at(const uint8_t *bytes, size_t offset, bool is_swapped)
{
    uint32_t number;

    memcpy(&number, bytes + offset, sizeof(number));
    return is_swapped ? bswap_32(number) : number;
}

int vq_save_image_parse_header(const uint8_t *bytes, size_t length, uint64_t size, struct vq_save_image *ret,
                               bool *ret_is_incomplete, struct vq_error *err)
{
    struct vq_save_image image = { 0 };
    uint32_t format;

    *ret_is_incomplete = length < VQ_SAVE_HEADER_BYTES;
    if (length < VQ_SAVE_HEADER_BYTES)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "failed to read qemu header");
    *ret_is_incomplete = memcmp(bytes, magic_part, MAGIC_BYTES) == 0;
    if (*ret_is_incomplete)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "save image is incomplete");
    if (memcmp(bytes, magic_finished, MAGIC_BYTES) != 0)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "image magic is incorrect");
    image.version = number_at(bytes, AT_VERSION, false);
    image.is_swapped = image.version > VERSION_MAX;
    image.version = number_at(bytes, AT_VERSION, image.is_swapped);
    if (image.version > VERSION_MAX || image.version == 0)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "image version is not supported (%u > %d)", image.version,
                            VERSION_MAX);
    image.texts_length = number_at(bytes, AT_LENGTH, image.is_swapped);
    image.was_running = number_at(bytes, AT_RUNNING, image.is_swapped) != 0;
    image.cookie_offset = image.version < 2 ? 0 : number_at(bytes, AT_COOKIE, image.is_swapped);
    format = number_at(bytes, AT_FORMAT, image.is_swapped);
    if (image.texts_length < XML_BYTES_MIN)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "invalid header data length: %u", image.texts_length);
    if (format >= VQ_SAVE_FORMATS)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "Invalid compressed save format %u", format);
    image.format = (enum vq_save_format)format;
    image.data = (off_t)VQ_SAVE_HEADER_BYTES + image.texts_length;
    /* Neither length is believed before the file has that many bytes. */
    if (image.texts_length > VQ_SAVE_TEXT_MAX || (size != 0 && (uint64_t)image.data > size))
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, image.cookie_offset != 0 ? "failed to read cookie"
                                                                                    : "failed to read domain XML");
    if (image.cookie_offset >= image.texts_length)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "failed to read domain XML");
    *ret = image;
    return 0;
}

int vq_save_image_parse_texts(struct vq_save_image *image, const uint8_t *bytes, size_t length, struct vq_error *err)
{
    size_t xml_max = image->cookie_offset != 0 ? image->cookie_offset : length;
    size_t xml_length;

    if (length != image->texts_length || xml_max > length)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "failed to read domain XML");
    xml_length = strnlen((const char *)bytes, xml_max);
    if (xml_length == 0 || xml_length == xml_max)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "failed to read domain XML");
    if (image->cookie_offset != 0 &&
        strnlen((const char *)bytes + image->cookie_offset, length - image->cookie_offset) == length - image->cookie_offset)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "failed to read cookie");
    image->xml = vq_strndup((const char *)bytes, xml_length);
    if (image->cookie_offset != 0)
        image->cookie = vq_strdup((const char *)bytes + image->cookie_offset);
    return 0;
}

/* All of it, or what there is: a pipe or a device gives it in pieces. */
static ssize_t read_all(int fd, uint8_t *bytes, size_t length)
{
    size_t done = 0;

    while (done < length) {
        ssize_t n = read(fd, bytes + done, length - done);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        if (n == 0)
            break;
        done += (size_t)n;
    }
    return (ssize_t)done;
}

int vq_save_image_read(int fd, struct vq_save_image *ret, bool *ret_is_incomplete, struct vq_error *err)
{
    uint8_t header[VQ_SAVE_HEADER_BYTES];
    VQ_AUTOFREE uint8_t *texts = NULL;
    struct vq_save_image image;
    struct stat status;
    ssize_t n;

    *ret_is_incomplete = false;
    if (fstat(fd, &status) < 0 || (n = read_all(fd, header, sizeof(header))) < 0)
        return vq_error_system(err, errno, "failed to read qemu header");
    if (vq_save_image_parse_header(header, (size_t)n, S_ISREG(status.st_mode) ? (uint64_t)status.st_size : 0, &image,
                                   ret_is_incomplete, err) < 0)
        return -1;
    texts = vq_calloc(1, image.texts_length);
    n = read_all(fd, texts, image.texts_length);
    if (n < 0 || (size_t)n < image.texts_length)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "failed to read domain XML");
    if (vq_save_image_parse_texts(&image, texts, (size_t)n, err) < 0)
        return -1;
    *ret = image;
    return 0;
}

/* ---- Writing ---- */

static void put_number(uint8_t *bytes, size_t offset, uint32_t number)
{
    memcpy(bytes + offset, &number, sizeof(number));
}

static uint8_t *fill(const char *magic, const char *xml, const char *cookie, bool was_running, enum vq_save_format format,
                     size_t texts_length)
{
    uint8_t *bytes = vq_calloc(1, VQ_SAVE_HEADER_BYTES + texts_length);
    size_t xml_length = strlen(xml) + 1;

    memcpy(bytes, magic, MAGIC_BYTES);
    put_number(bytes, AT_VERSION, VERSION_MAX);
    put_number(bytes, AT_LENGTH, (uint32_t)texts_length);
    put_number(bytes, AT_RUNNING, was_running ? 1 : 0);
    put_number(bytes, AT_FORMAT, (uint32_t)format);
    memcpy(bytes + VQ_SAVE_HEADER_BYTES, xml, xml_length);
    if (cookie != NULL) {
        put_number(bytes, AT_COOKIE, (uint32_t)xml_length);
        memcpy(bytes + VQ_SAVE_HEADER_BYTES + xml_length, cookie, strlen(cookie) + 1);
    }
    return bytes;
}

static size_t length_of(const char *xml, const char *cookie)
{
    return strlen(xml) + 1 + (cookie != NULL ? strlen(cookie) + 1 : 0);
}

int vq_save_image_build(const char *xml, const char *cookie, bool was_running, enum vq_save_format format,
                        uint8_t **ret_bytes, size_t *ret_length, struct vq_error *err)
{
    size_t length = VQ_SAVE_HEADER_BYTES + length_of(xml, cookie) + VQ_SAVE_ROOM_BYTES;

    length = (length + VQ_SAVE_ALIGN_BYTES - 1) / VQ_SAVE_ALIGN_BYTES * VQ_SAVE_ALIGN_BYTES;
    if (length - VQ_SAVE_HEADER_BYTES > VQ_SAVE_TEXT_MAX)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "the definition is too long for a save image");
    *ret_bytes = fill(magic_part, xml, cookie, was_running, format, length - VQ_SAVE_HEADER_BYTES);
    *ret_length = length;
    return 0;
}

int vq_save_image_rebuild(const struct vq_save_image *image, const char *xml, bool was_running, uint8_t **ret_bytes,
                          size_t *ret_length, struct vq_error *err)
{
    if (length_of(xml, image->cookie) > image->texts_length)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "new xml too large to fit in file");
    *ret_bytes = fill(magic_finished, xml, image->cookie, was_running, image->format, image->texts_length);
    *ret_length = (size_t)VQ_SAVE_HEADER_BYTES + image->texts_length;
    return 0;
}
