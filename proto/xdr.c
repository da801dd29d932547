/* The codec: one decoder and one encoder that walk type descriptions.
 *
 * The descriptions are made by proto/generate.py, which refuses recursive types: the recursion here is as deep as the
 * schema nests, a handful of levels, whatever the bytes say. Counts are compared with their bound and with the bytes
 * that are left before anything is allocated, in 64-bit arithmetic that cannot wrap. */
#define VQ_FROM VIR_FROM_RPC
#include "proto/xdr.h"

#include <endian.h>
#include <string.h>

#include <libvirt/libvirt.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"

enum { WORD = 4 };

static size_t padding(size_t length)
{
    return (WORD - length % WORD) % WORD;
}

/* What an array's elements (and a plain field) take in memory. */
static size_t element_size(const struct vq_xdr_field *field)
{
    static const size_t sizes[] = {
        [VQ_XDR_I8] = 1, [VQ_XDR_U8] = 1, [VQ_XDR_U16] = 2, [VQ_XDR_I32] = 4, [VQ_XDR_U32] = 4, [VQ_XDR_I64] = 8,
        [VQ_XDR_U64] = 8, [VQ_XDR_F64] = 8, [VQ_XDR_STR] = sizeof(char *), [VQ_XDR_UUID] = 16,
        [VQ_XDR_TYPED_PARAM] = sizeof(struct vq_typed_param),
    };
    return field->kind == VQ_XDR_STRUCT ? field->type->size : sizes[field->kind];
}

/* The fewest bytes that one element can take on the wire. */
static size_t element_wire_min(const struct vq_xdr_field *field)
{
    static const uint8_t sizes[] = {
        [VQ_XDR_I8] = 4, [VQ_XDR_U8] = 4, [VQ_XDR_U16] = 4, [VQ_XDR_I32] = 4, [VQ_XDR_U32] = 4, [VQ_XDR_I64] = 8,
        [VQ_XDR_U64] = 8, [VQ_XDR_F64] = 8, [VQ_XDR_STR] = 4, [VQ_XDR_UUID] = 16, [VQ_XDR_TYPED_PARAM] = 12,
    };
    return field->kind == VQ_XDR_STRUCT ? field->type->wire_min : sizes[field->kind];
}

/* ---- Decoding ---------------------------------------------------------------------------------------------------- */

struct reader {
    const uint8_t *at;
    size_t left;
    struct vq_arena *arena;
    struct vq_error *err;
    const char *owner; /* the structure that is being read, for messages */
};

static int decode_struct(struct reader *reader, const struct vq_xdr_struct *type, char *value);

static int cut_short(struct reader *reader, const struct vq_xdr_field *field)
{
    return vq_error_set(reader->err, VIR_ERR_RPC, "%s: message ends within field '%s'", reader->owner, field->name);
}

static int over_bound(struct reader *reader, const struct vq_xdr_field *field, uint32_t count, uint32_t max)
{
    return vq_error_set(reader->err, VIR_ERR_RPC, "%s: field '%s' has length %u, %u allowed", reader->owner, field->name,
                        count, max);
}

static int out_of_memory(struct reader *reader, const struct vq_xdr_field *field)
{
    return vq_error_set(reader->err, VIR_ERR_RPC, "%s: field '%s' takes more memory than a request may have",
                        reader->owner, field->name);
}

static int take_word(struct reader *reader, const struct vq_xdr_field *field, uint32_t *ret_word)
{
    uint32_t word = 0;

    if (reader->left < sizeof(word))
        return cut_short(reader, field);
    memcpy(&word, reader->at, sizeof(word));
    reader->at += sizeof(word);
    reader->left -= sizeof(word);
    *ret_word = be32toh(word);
    return 0;
}

static int take_long(struct reader *reader, const struct vq_xdr_field *field, uint64_t *ret_long)
{
    uint64_t word = 0;

    if (reader->left < sizeof(word))
        return cut_short(reader, field);
    memcpy(&word, reader->at, sizeof(word));
    reader->at += sizeof(word);
    reader->left -= sizeof(word);
    *ret_long = be64toh(word);
    return 0;
}

/* Length, bytes, padding. The bytes stay in the message. */
static int take_opaque(struct reader *reader, const struct vq_xdr_field *field, uint32_t max, const uint8_t **ret_bytes,
                       uint32_t *ret_length)
{
    uint32_t length = 0;

    if (take_word(reader, field, &length) < 0)
        return -1;
    if (length > max)
        return over_bound(reader, field, length, max);
    size_t whole = (size_t)length + padding(length);
    if (whole > reader->left)
        return cut_short(reader, field);
    *ret_bytes = reader->at;
    *ret_length = length;
    reader->at += whole;
    reader->left -= whole;
    return 0;
}

static int decode_string(struct reader *reader, const struct vq_xdr_field *field, const char **ret_text)
{
    const uint8_t *bytes;
    uint32_t length = 0;

    if (take_opaque(reader, field, field->string_max, &bytes, &length) < 0)
        return -1;
    if (memchr(bytes, '\0', length) != NULL)
        return vq_error_set(reader->err, VIR_ERR_RPC, "%s: field '%s' has a zero byte inside", reader->owner, field->name);
    char *copy = vq_arena_strndup(reader->arena, (const char *)bytes, length);
    if (copy == NULL)
        return out_of_memory(reader, field);
    *ret_text = copy;
    return 0;
}

static int decode_bytes(struct reader *reader, const struct vq_xdr_field *field, char *base)
{
    const uint8_t *bytes;
    uint32_t length = 0;
    uint8_t *copy = NULL;

    if (take_opaque(reader, field, field->max, &bytes, &length) < 0)
        return -1;
    if (length > 0) {
        copy = vq_arena_alloc(reader->arena, length, 1);
        if (copy == NULL)
            return out_of_memory(reader, field);
        memcpy(copy, bytes, length);
    }
    memcpy(base + field->count_offset, &length, sizeof(length));
    memcpy(base + field->offset, &copy, sizeof(copy));
    return 0;
}

static int decode_raw(struct reader *reader, const struct vq_xdr_field *field, void *place, size_t size)
{
    if (reader->left < size)
        return cut_short(reader, field);
    memcpy(place, reader->at, size);
    reader->at += size;
    reader->left -= size;
    return 0;
}

/* char[N]: N words, and always a terminated text in memory. */
static int decode_chars(struct reader *reader, const struct vq_xdr_field *field, char *place)
{
    uint32_t word = 0;

    for (uint32_t i = 0; i < field->max; i++) {
        if (take_word(reader, field, &word) < 0)
            return -1;
        place[i] = (char)(uint8_t)word;
    }
    place[field->max - 1] = '\0';
    return 0;
}

static int decode_typed_param(struct reader *reader, const struct vq_xdr_field *field, struct vq_typed_param *param)
{
    uint32_t type = 0;
    uint32_t word = 0;

    if (decode_string(reader, field, &param->field) < 0 || take_word(reader, field, &type) < 0)
        return -1;
    param->type = (int32_t)type;
    switch (type) {
    case VIR_TYPED_PARAM_INT:
    case VIR_TYPED_PARAM_UINT:
    case VIR_TYPED_PARAM_BOOLEAN:
        if (take_word(reader, field, &word) < 0)
            return -1;
        param->value.ui = word;
        return 0;
    case VIR_TYPED_PARAM_LLONG:
    case VIR_TYPED_PARAM_ULLONG:
    case VIR_TYPED_PARAM_DOUBLE: /* the same eight bytes, whatever they mean */
        return take_long(reader, field, &param->value.ul);
    case VIR_TYPED_PARAM_STRING:
        return decode_string(reader, field, &param->value.s);
    default:
        return vq_error_set(reader->err, VIR_ERR_RPC, "%s: field '%s' has a parameter of unknown type %d", reader->owner,
                            field->name, param->type);
    }
}

/* One value that is neither optional nor an array, nor bytes. */
static int decode_one(struct reader *reader, const struct vq_xdr_field *field, char *place)
{
    uint32_t word = 0;

    switch (field->kind) {
    case VQ_XDR_I8:
    case VQ_XDR_U8:
        if (take_word(reader, field, &word) < 0)
            return -1;
        *(uint8_t *)place = (uint8_t)word;
        return 0;
    case VQ_XDR_U16:
        if (take_word(reader, field, &word) < 0)
            return -1;
        *(uint16_t *)place = (uint16_t)word;
        return 0;
    case VQ_XDR_I32:
    case VQ_XDR_U32: return take_word(reader, field, (uint32_t *)place);
    case VQ_XDR_I64:
    case VQ_XDR_U64:
    case VQ_XDR_F64: return take_long(reader, field, (uint64_t *)place);
    case VQ_XDR_STR: return decode_string(reader, field, (const char **)place);
    case VQ_XDR_UUID: return decode_raw(reader, field, place, 16);
    case VQ_XDR_CHARS: return decode_chars(reader, field, place);
    case VQ_XDR_STRUCT: return decode_struct(reader, field->type, place);
    case VQ_XDR_TYPED_PARAM: return decode_typed_param(reader, field, (struct vq_typed_param *)place);
    case VQ_XDR_BYTES: break; /* decode_struct() has them */
    }
    return vq_error_set(reader->err, VIR_ERR_INTERNAL_ERROR, "%s: field '%s' has no kind", reader->owner, field->name);
}

static int decode_array(struct reader *reader, const struct vq_xdr_field *field, char *base)
{
    uint32_t count = 0;
    char *elements = NULL;
    size_t size = element_size(field);

    if (take_word(reader, field, &count) < 0)
        return -1;
    if (count > field->max)
        return over_bound(reader, field, count, field->max);
    if (count > reader->left / element_wire_min(field))
        return cut_short(reader, field);
    if (count > 0) {
        elements = vq_arena_alloc(reader->arena, count, size);
        if (elements == NULL)
            return out_of_memory(reader, field);
    }
    for (uint32_t i = 0; i < count; i++)
        if (decode_one(reader, field, elements + i * size) < 0)
            return -1;
    memcpy(base + field->count_offset, &count, sizeof(count));
    memcpy(base + field->offset, &elements, sizeof(elements));
    return 0;
}

static int decode_optional(struct reader *reader, const struct vq_xdr_field *field, char *base)
{
    uint32_t present = 0;

    if (take_word(reader, field, &present) < 0)
        return -1;
    if (present == 0)
        return 0;
    if (field->kind == VQ_XDR_STR)
        return decode_string(reader, field, (const char **)(base + field->offset));
    char *value = vq_arena_alloc(reader->arena, 1, element_size(field));
    if (value == NULL)
        return out_of_memory(reader, field);
    memcpy(base + field->offset, &value, sizeof(value));
    return decode_one(reader, field, value);
}

static int decode_struct(struct reader *reader, const struct vq_xdr_struct *type, char *value)
{
    const char *above = reader->owner;

    reader->owner = type->name;
    for (size_t i = 0; i < type->n_fields; i++) {
        const struct vq_xdr_field *field = &type->fields[i];
        int result;
        if (field->shape == VQ_XDR_ARRAY)
            result = decode_array(reader, field, value);
        else if (field->shape == VQ_XDR_OPTIONAL)
            result = decode_optional(reader, field, value);
        else if (field->kind == VQ_XDR_BYTES)
            result = decode_bytes(reader, field, value);
        else
            result = decode_one(reader, field, value + field->offset);
        if (result < 0)
            return -1;
    }
    reader->owner = above;
    return 0;
}

int vq_xdr_decode(const struct vq_xdr_struct *type, const uint8_t *bytes, size_t length, struct vq_arena *arena,
                  void *ret_value, size_t *ret_used, struct vq_error *err)
{
    struct reader reader = {.at = bytes, .left = length, .arena = arena, .err = err, .owner = type->name};

    memset(ret_value, 0, type->size);
    if (decode_struct(&reader, type, ret_value) < 0) {
        memset(ret_value, 0, type->size);
        return -1;
    }
    if (ret_used != NULL)
        *ret_used = length - reader.left;
    return 0;
}

/* ---- Encoding ---------------------------------------------------------------------------------------------------- */

struct writer {
    struct vq_buffer *buffer;
    struct vq_error *err;
    const char *owner;
};

static int encode_struct(struct writer *writer, const struct vq_xdr_struct *type, const char *value);

static int refuse(struct writer *writer, const struct vq_xdr_field *field, const char *why)
{
    return vq_error_set(writer->err, VIR_ERR_RPC, "%s: field '%s' %s", writer->owner, field->name, why);
}

static int too_long(struct writer *writer, const struct vq_xdr_field *field, size_t length, uint32_t max)
{
    return vq_error_set(writer->err, VIR_ERR_RPC, "%s: field '%s' has length %zu, %u allowed", writer->owner, field->name,
                        length, max);
}

static void put_word(struct writer *writer, uint32_t word)
{
    word = htobe32(word);
    memcpy(vq_buffer_extend(writer->buffer, sizeof(word)), &word, sizeof(word));
}

static void put_long(struct writer *writer, uint64_t word)
{
    word = htobe64(word);
    memcpy(vq_buffer_extend(writer->buffer, sizeof(word)), &word, sizeof(word));
}

static void put_opaque(struct writer *writer, const void *bytes, uint32_t length)
{
    size_t pad = padding(length);
    char *place = vq_buffer_extend(writer->buffer, WORD + (size_t)length + pad);
    uint32_t word = htobe32(length);

    memcpy(place, &word, WORD);
    if (length > 0)
        memcpy(place + WORD, bytes, length);
    memset(place + WORD + length, 0, pad);
}

static int encode_string(struct writer *writer, const struct vq_xdr_field *field, const char *text)
{
    if (text == NULL)
        return refuse(writer, field, "is missing");
    size_t length = strlen(text);
    if (length > field->string_max)
        return too_long(writer, field, length, field->string_max);
    put_opaque(writer, text, (uint32_t)length);
    return 0;
}

static int encode_bytes(struct writer *writer, const struct vq_xdr_field *field, const char *base)
{
    const uint8_t *bytes;
    uint32_t length = 0;

    memcpy(&length, base + field->count_offset, sizeof(length));
    memcpy(&bytes, base + field->offset, sizeof(bytes));
    if (length > field->max)
        return too_long(writer, field, length, field->max);
    if (length > 0 && bytes == NULL)
        return refuse(writer, field, "is missing");
    put_opaque(writer, bytes, length);
    return 0;
}

static int encode_typed_param(struct writer *writer, const struct vq_xdr_field *field,
                              const struct vq_typed_param *param)
{
    if (encode_string(writer, field, param->field) < 0)
        return -1;
    put_word(writer, (uint32_t)param->type);
    switch (param->type) {
    case VIR_TYPED_PARAM_INT:
    case VIR_TYPED_PARAM_UINT:
    case VIR_TYPED_PARAM_BOOLEAN: put_word(writer, param->value.ui); return 0;
    case VIR_TYPED_PARAM_LLONG:
    case VIR_TYPED_PARAM_ULLONG:
    case VIR_TYPED_PARAM_DOUBLE: put_long(writer, param->value.ul); return 0;
    case VIR_TYPED_PARAM_STRING: return encode_string(writer, field, param->value.s);
    default: return refuse(writer, field, "has a parameter of unknown type");
    }
}

static int encode_one(struct writer *writer, const struct vq_xdr_field *field, const char *place)
{
    switch (field->kind) {
    case VQ_XDR_I8: put_word(writer, (uint32_t)(int32_t)*(const int8_t *)place); return 0;
    case VQ_XDR_U8: put_word(writer, *(const uint8_t *)place); return 0;
    case VQ_XDR_U16: put_word(writer, *(const uint16_t *)place); return 0;
    case VQ_XDR_I32:
    case VQ_XDR_U32: put_word(writer, *(const uint32_t *)place); return 0;
    case VQ_XDR_I64:
    case VQ_XDR_U64:
    case VQ_XDR_F64: put_long(writer, *(const uint64_t *)place); return 0;
    case VQ_XDR_STR: return encode_string(writer, field, *(const char *const *)place);
    case VQ_XDR_UUID: vq_buffer_add_bytes(writer->buffer, place, 16); return 0;
    case VQ_XDR_CHARS:
        for (uint32_t i = 0; i < field->max; i++)
            put_word(writer, (uint32_t)(int32_t)(int8_t)place[i]);
        return 0;
    case VQ_XDR_STRUCT: return encode_struct(writer, field->type, place);
    case VQ_XDR_TYPED_PARAM: return encode_typed_param(writer, field, (const struct vq_typed_param *)place);
    case VQ_XDR_BYTES: break; /* encode_struct() has them */
    }
    return refuse(writer, field, "has no kind");
}

static int encode_array(struct writer *writer, const struct vq_xdr_field *field, const char *base)
{
    const char *elements;
    uint32_t count = 0;
    size_t size = element_size(field);

    memcpy(&count, base + field->count_offset, sizeof(count));
    memcpy(&elements, base + field->offset, sizeof(elements));
    if (count > field->max)
        return too_long(writer, field, count, field->max);
    if (count > 0 && elements == NULL)
        return refuse(writer, field, "is missing");
    vq_buffer_reserve(writer->buffer, WORD + count * element_wire_min(field));
    put_word(writer, count);
    for (uint32_t i = 0; i < count; i++)
        if (encode_one(writer, field, elements + i * size) < 0)
            return -1;
    return 0;
}

static int encode_optional(struct writer *writer, const struct vq_xdr_field *field, const char *base)
{
    const char *value;

    memcpy(&value, base + field->offset, sizeof(value));
    put_word(writer, value != NULL);
    if (value == NULL)
        return 0;
    return field->kind == VQ_XDR_STR ? encode_string(writer, field, value) : encode_one(writer, field, value);
}

static int encode_struct(struct writer *writer, const struct vq_xdr_struct *type, const char *value)
{
    const char *above = writer->owner;

    writer->owner = type->name;
    for (size_t i = 0; i < type->n_fields; i++) {
        const struct vq_xdr_field *field = &type->fields[i];
        int result;
        if (field->shape == VQ_XDR_ARRAY)
            result = encode_array(writer, field, value);
        else if (field->shape == VQ_XDR_OPTIONAL)
            result = encode_optional(writer, field, value);
        else if (field->kind == VQ_XDR_BYTES)
            result = encode_bytes(writer, field, value);
        else
            result = encode_one(writer, field, value + field->offset);
        if (result < 0)
            return -1;
    }
    writer->owner = above;
    return 0;
}

int vq_xdr_encode(const struct vq_xdr_struct *type, const void *value, struct vq_buffer *buffer, struct vq_error *err)
{
    struct writer writer = {.buffer = buffer, .err = err, .owner = type->name};
    size_t before = buffer->length;

    if (encode_struct(&writer, type, value) < 0) {
        vq_buffer_truncate(buffer, before);
        return -1;
    }
    return 0;
}
