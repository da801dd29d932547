/* Headers of images: see image_header.h. All numbers are checked against the bytes that are there before they are used. */
#define VQ_FROM VIR_FROM_STORAGE
#include "drivers/qemu/image_header.h"

#include <jansson.h>
#include <string.h>

/* ---- Bytes ---- */

struct bytes {
    const uint8_t *at;
    size_t length;
};

static bool has(const struct bytes *bytes, uint64_t offset, uint64_t length)
{
    return offset <= bytes->length && length <= bytes->length - offset;
}

/* The caller has checked that they are there. */
static uint32_t be32(const struct bytes *bytes, size_t offset)
{
    const uint8_t *at = bytes->at + offset;

    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static uint64_t be64(const struct bytes *bytes, size_t offset)
{
    return (uint64_t)be32(bytes, offset) << 32 | be32(bytes, offset + 4);
}

static uint32_t le32(const struct bytes *bytes, size_t offset)
{
    const uint8_t *at = bytes->at + offset;

    return (uint32_t)at[3] << 24 | (uint32_t)at[2] << 16 | (uint32_t)at[1] << 8 | at[0];
}

static uint64_t le64(const struct bytes *bytes, size_t offset)
{
    return (uint64_t)le32(bytes, offset + 4) << 32 | le32(bytes, offset);
}

/* What XML and JSON can carry: the name comes into the definition of the run. */
static bool is_text(const char *name, size_t length)
{
    json_t *text;
    bool is_utf8;

    for (size_t i = 0; i < length; i++)
        if ((unsigned char)name[i] < ' ' || name[i] == 0x7f)
            return false;
    text = json_stringn(name, length);
    is_utf8 = text != NULL;
    json_decref(text);
    return is_utf8;
}

/* A name inside the header. A control character in it is no name of a file that anybody meant. */
static int copy_name(const struct bytes *bytes, uint64_t offset, uint64_t length, char *ret, size_t size, const char *what,
                     struct vq_error *err)
{
    if (length >= size || !has(bytes, offset, length))
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "the name of its %s lies outside of the header", what);
    memcpy(ret, bytes->at + offset, (size_t)length);
    ret[length] = '\0';
    if (!is_text(ret, (size_t)length))
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "the name of its %s is not a name", what);
    return 0;
}

static int bad(const char *format, struct vq_error *err)
{
    return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "image is not in %s format", format);
}

/* ---- qcow, qcow2 ---- */

enum { QCOW_MAGIC = 0x514649fb, QCOW2_HEADER = 72, QCOW3_HEADER = 104, QCOW_HEADER = 48, QCOW2_CLUSTER_BITS_MIN = 9,
       QCOW2_CLUSTER_BITS_MAX = 21 };
#define QCOW2_EXT_BACKING_FORMAT 0xe2792acaU
#define QCOW2_EXT_DATA_FILE      0x44415441U
#define QCOW2_HAS_DATA_FILE      (UINT64_C(1) << 2) /* incompatible feature */

static bool is_qcow2(const struct bytes *bytes)
{
    return has(bytes, 0, 8) && be32(bytes, 0) == QCOW_MAGIC && be32(bytes, 4) >= 2;
}

static bool is_qcow(const struct bytes *bytes)
{
    return has(bytes, 0, 8) && be32(bytes, 0) == QCOW_MAGIC && be32(bytes, 4) == 1;
}

static int read_extension(const struct bytes *bytes, uint64_t at, uint32_t type, uint32_t length,
                          struct vq_image_header *header, struct vq_error *err)
{
    if (type == QCOW2_EXT_BACKING_FORMAT)
        return copy_name(bytes, at, length, header->backing_format, sizeof(header->backing_format), "backing format", err);
    if (type == QCOW2_EXT_DATA_FILE)
        return copy_name(bytes, at, length, header->data_file, sizeof(header->data_file), "data file", err);
    return 0;
}

/* Type, length, data, filled up to eight bytes; type 0 ends the list, and so does the name of the backing file. */
static int read_extensions(const struct bytes *bytes, uint64_t at, uint64_t end, struct vq_image_header *header,
                           struct vq_error *err)
{
    while (at < end && has(bytes, at, 8) && end - at >= 8) {
        uint32_t type = be32(bytes, (size_t)at), length = be32(bytes, (size_t)at + 4);

        if (type == 0)
            return 0;
        at += 8;
        if (length > end - at)
            return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "a header extension is longer than the header");
        if (read_extension(bytes, at, type, length, header, err) < 0)
            return -1;
        at += ((uint64_t)length + 7) / 8 * 8;
    }
    return 0;
}

static int read_qcow2(const struct bytes *bytes, struct vq_image_header *header, struct vq_error *err)
{
    uint32_t version, cluster_bits, name_length;
    uint64_t name, header_length = QCOW2_HEADER, end;

    if (!is_qcow2(bytes) || !has(bytes, 0, QCOW2_HEADER))
        return bad("qcow2", err);
    version = be32(bytes, 4);
    name = be64(bytes, 8);
    name_length = be32(bytes, 16);
    cluster_bits = be32(bytes, 20);
    header->capacity = be64(bytes, 24);
    header->is_encrypted = be32(bytes, 32) != 0;
    if (version > 3 || cluster_bits < QCOW2_CLUSTER_BITS_MIN || cluster_bits > QCOW2_CLUSTER_BITS_MAX)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "qcow2 version %u with %u cluster bits is not supported", version,
                            cluster_bits);
    if (version == 3) {
        if (!has(bytes, 0, QCOW3_HEADER))
            return bad("qcow2", err);
        header_length = be32(bytes, 100);
        header->has_data_file = (be64(bytes, 72) & QCOW2_HAS_DATA_FILE) != 0;
        if (header_length < QCOW3_HEADER || header_length > (UINT64_C(1) << cluster_bits))
            return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "the length of the header is impossible");
    }
    end = UINT64_C(1) << cluster_bits;
    if (name != 0) {
        if (name > end || name_length > end - name)
            return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "the name of its backing file lies outside of the header");
        end = name;
    }
    if (read_extensions(bytes, header_length, end, header, err) < 0)
        return -1;
    header->has_backing = name != 0 && name_length != 0;
    return header->has_backing
               ? copy_name(bytes, name, name_length, header->backing, sizeof(header->backing), "backing file", err) : 0;
}

static int read_qcow(const struct bytes *bytes, struct vq_image_header *header, struct vq_error *err)
{
    uint64_t name;

    if (!is_qcow(bytes) || !has(bytes, 0, QCOW_HEADER))
        return bad("qcow", err);
    name = be64(bytes, 8);
    header->capacity = be64(bytes, 24);
    header->is_encrypted = be32(bytes, 36) != 0;
    header->has_backing = name != 0 && be32(bytes, 16) != 0;
    return header->has_backing
               ? copy_name(bytes, name, be32(bytes, 16), header->backing, sizeof(header->backing), "backing file", err) : 0;
}

/* ---- qed ---- */

enum { QED_HEADER = 64, QED_HAS_BACKING = 1, QED_BACKING_IS_RAW = 4 };

static bool is_qed(const struct bytes *bytes)
{
    return has(bytes, 0, 4) && memcmp(bytes->at, "QED", 4) == 0;
}

static int read_qed(const struct bytes *bytes, struct vq_image_header *header, struct vq_error *err)
{
    uint64_t features;

    if (!is_qed(bytes) || !has(bytes, 0, QED_HEADER))
        return bad("qed", err);
    features = le64(bytes, 16);
    header->capacity = le64(bytes, 48);
    header->has_backing = (features & QED_HAS_BACKING) != 0 && le32(bytes, 60) != 0;
    if ((features & QED_BACKING_IS_RAW) != 0)
        memcpy(header->backing_format, "raw", sizeof("raw"));
    return header->has_backing ? copy_name(bytes, le32(bytes, 56), le32(bytes, 60), header->backing,
                                           sizeof(header->backing), "backing file", err) : 0;
}

/* ---- vmdk ---- */

enum { VMDK_HEADER = 79, SECTOR = 512, VMDK_DESCRIPTOR_MAX = 20 * SECTOR };
#define VMDK_TEXT "# Disk DescriptorFile"

static bool is_vmdk(const struct bytes *bytes)
{
    return (has(bytes, 0, 4) && (memcmp(bytes->at, "KDMV", 4) == 0 || memcmp(bytes->at, "COWD", 4) == 0)) ||
           (has(bytes, 0, sizeof(VMDK_TEXT) - 1) && memcmp(bytes->at, VMDK_TEXT, sizeof(VMDK_TEXT) - 1) == 0);
}

/* parentFileNameHint="..." of a descriptor; a parent is a VMDK too. */
static int read_descriptor(const struct bytes *text, struct vq_image_header *header, struct vq_error *err)
{
    static const char key[] = "parentFileNameHint=\"";
    const uint8_t *at = memmem(text->at, text->length, key, sizeof(key) - 1), *end;
    uint64_t offset;

    if (at == NULL)
        return 0;
    offset = (uint64_t)(at - text->at) + sizeof(key) - 1;
    end = memchr(text->at + offset, '"', text->length - (size_t)offset);
    if (end == NULL)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "the name of its backing file does not end");
    memcpy(header->backing_format, "vmdk", sizeof("vmdk"));
    header->has_backing = end != text->at + offset;
    return copy_name(text, offset, (uint64_t)(end - text->at) - offset, header->backing, sizeof(header->backing),
                     "backing file", err);
}

static int read_vmdk(const struct bytes *bytes, struct vq_image_header *header, struct vq_error *err)
{
    struct bytes text = *bytes;
    uint64_t offset;

    if (!is_vmdk(bytes))
        return bad("vmdk", err);
    if (memcmp(bytes->at, "COWD", 4) == 0)
        return 0;
    if (memcmp(bytes->at, "KDMV", 4) == 0) {
        if (!has(bytes, 0, VMDK_HEADER))
            return bad("vmdk", err);
        header->capacity = le64(bytes, 12) <= UINT64_MAX / SECTOR ? le64(bytes, 12) * SECTOR : 0;
        offset = le64(bytes, 28);
        if (offset == 0)
            return 0;
        if (offset > VQ_IMAGE_HEADER_MAX / SECTOR || !has(bytes, offset * SECTOR, 1))
            return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "its descriptor lies outside of the header");
        text.at += offset * SECTOR;
        text.length -= (size_t)(offset * SECTOR);
    }
    if (text.length > VMDK_DESCRIPTOR_MAX)
        text.length = VMDK_DESCRIPTOR_MAX;
    return read_descriptor(&text, header, err);
}

/* ---- Formats that name no other file ---- */

static bool is_luks(const struct bytes *bytes)
{
    return has(bytes, 0, 8) && memcmp(bytes->at, "LUKS\xba\xbe\x00", 7) == 0 && bytes->at[7] >= 1 && bytes->at[7] <= 2;
}

static bool is_vdi(const struct bytes *bytes)
{
    return has(bytes, 0, 0x178) && le32(bytes, 64) == 0xbeda107fU;
}

static bool is_vhdx(const struct bytes *bytes)
{
    return has(bytes, 0, 8) && memcmp(bytes->at, "vhdxfile", 8) == 0;
}

static bool is_vpc(const struct bytes *bytes)
{
    return has(bytes, 0, 64) && memcmp(bytes->at, "conectix", 8) == 0;
}

static int read_luks(const struct bytes *bytes, struct vq_image_header *header, struct vq_error *err)
{
    header->is_encrypted = true;
    return is_luks(bytes) ? 0 : bad("luks", err);
}

static int read_vdi(const struct bytes *bytes, struct vq_image_header *header, struct vq_error *err)
{
    if (!is_vdi(bytes))
        return bad("vdi", err);
    header->capacity = le64(bytes, 0x170);
    return 0;
}

static int read_vhdx(const struct bytes *bytes, struct vq_image_header *header VQ_UNUSED, struct vq_error *err)
{
    return is_vhdx(bytes) ? 0 : bad("vhdx", err);
}

/* A fixed one has its header at the end, behind the guest's bytes: what is in front tells nothing. */
static int read_vpc(const struct bytes *bytes, struct vq_image_header *header, struct vq_error *err VQ_UNUSED)
{
    if (is_vpc(bytes))
        header->capacity = be64(bytes, 48);
    return 0;
}

/* ---- All ---- */

static const struct kind {
    const char *format;
    bool (*is)(const struct bytes *bytes);
    int (*read)(const struct bytes *bytes, struct vq_image_header *header, struct vq_error *err);
    bool has_magic;          /* the first bytes must tell it */
} kinds[] = {
    {"qcow2", is_qcow2, read_qcow2, true}, {"qcow", is_qcow, read_qcow, true}, {"qed", is_qed, read_qed, true},
    {"vmdk", is_vmdk, read_vmdk, true},    {"vdi", is_vdi, read_vdi, true},    {"vhdx", is_vhdx, read_vhdx, true},
    {"vpc", is_vpc, read_vpc, false},      {"luks", is_luks, read_luks, true},
};

static const struct kind *find_kind(const char *format)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(kinds); i++)
        if (strcmp(kinds[i].format, format) == 0)
            return &kinds[i];
    return NULL;
}

const char *vq_image_probe(const uint8_t *bytes, size_t length)
{
    const struct bytes at = {bytes, length};

    for (size_t i = 0; i < VQ_N_ELEMENTS(kinds); i++)
        if (kinds[i].is(&at))
            return kinds[i].format;
    return "raw";
}

bool vq_image_format_has_magic(const char *format)
{
    const struct kind *kind = find_kind(format);

    return kind != NULL && kind->has_magic;
}

size_t vq_image_header_size(const char *format, const uint8_t *bytes, size_t length)
{
    const struct bytes at = {bytes, length};
    uint64_t size = VQ_IMAGE_FIRST_BYTES;

    if (strcmp(format, "qcow2") == 0 && is_qcow2(&at) && has(&at, 0, QCOW2_HEADER) && be32(&at, 20) <= QCOW2_CLUSTER_BITS_MAX)
        size = UINT64_C(1) << be32(&at, 20);
    else if ((strcmp(format, "qcow2") == 0 || strcmp(format, "qcow") == 0) && has(&at, 0, QCOW_HEADER))
        size = be64(&at, 8) <= VQ_IMAGE_HEADER_MAX ? be64(&at, 8) + VQ_IMAGE_NAME_MAX : VQ_IMAGE_FIRST_BYTES;
    else if (strcmp(format, "qed") == 0 && has(&at, 0, QED_HEADER))
        size = (uint64_t)le32(&at, 56) + VQ_IMAGE_NAME_MAX;
    else if (strcmp(format, "vmdk") == 0 && has(&at, 0, VMDK_HEADER) && le64(&at, 28) <= VQ_IMAGE_HEADER_MAX / SECTOR)
        size = le64(&at, 28) * SECTOR + VMDK_DESCRIPTOR_MAX;
    if (size < VQ_IMAGE_FIRST_BYTES)
        size = VQ_IMAGE_FIRST_BYTES;
    return size > VQ_IMAGE_HEADER_MAX ? VQ_IMAGE_HEADER_MAX : (size_t)size;
}

int vq_image_header_read(const char *format, const uint8_t *bytes, size_t length, struct vq_image_header *ret,
                         struct vq_error *err)
{
    const struct kind *kind = find_kind(format);
    const struct bytes at = {bytes, length};
    struct vq_image_header header = {.format = kind != NULL ? kind->format : "raw"};

    if (kind != NULL && kind->read(&at, &header, err) < 0)
        return -1;
    *ret = header;
    return 0;
}
