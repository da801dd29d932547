/* Walks the protobuf wire format beside the descriptors that protoc-c made, and spends no memory. */
#define VQ_FROM VIR_FROM_RPC
#include "proto/cluster.h"

#include <stdbool.h>
#include <string.h>

enum wire_type { WIRE_VARINT = 0, WIRE_64 = 1, WIRE_BYTES = 2, WIRE_32 = 5 };

struct walk {
    struct vq_error *err;
    size_t fields_left;
};

struct span {
    const uint8_t *at;
    size_t left;
};

static int malformed(struct walk *walk, const ProtobufCMessageDescriptor *type)
{
    return vq_error_set(walk->err, VIR_ERR_RPC, "malformed message of type %s", type->short_name);
}

static bool take_varint(struct span *span, uint64_t *ret_value)
{
    uint64_t value = 0;

    for (unsigned shift = 0; shift < 70 && span->left > 0; shift += 7) {
        uint8_t byte = *span->at++;
        span->left--;
        if (shift < 64)
            value |= (uint64_t)(byte & 0x7f) << shift;
        if ((byte & 0x80) == 0) {
            *ret_value = value;
            return true;
        }
    }
    return false;
}

static bool skip(struct span *span, uint64_t size)
{
    if (size > span->left)
        return false;
    span->at += size;
    span->left -= (size_t)size;
    return true;
}

static int check_message(struct walk *walk, const ProtobufCMessageDescriptor *type, struct span span, int depth);

/* A length-delimited value: look into it where the type says what it is. */
static int check_bytes(struct walk *walk, const ProtobufCMessageDescriptor *type, const ProtobufCFieldDescriptor *field,
                       struct span value, int depth)
{
    if (field == NULL)
        return 0;
    if (field->type == PROTOBUF_C_TYPE_MESSAGE)
        return check_message(walk, field->descriptor, value, depth + 1);
    if (field->type == PROTOBUF_C_TYPE_STRING) {
        if (memchr(value.at, '\0', value.left) != NULL)
            return vq_error_set(walk->err, VIR_ERR_RPC, "%s.%s has a zero byte inside", type->short_name, field->name);
        return 0;
    }
    if (field->label != PROTOBUF_C_LABEL_REPEATED || field->type == PROTOBUF_C_TYPE_BYTES)
        return 0;
    /* Packed numbers: each byte may become one of eight. */
    if (value.left > walk->fields_left)
        return vq_error_set(walk->err, VIR_ERR_RPC, "%s.%s has too many numbers", type->short_name, field->name);
    walk->fields_left -= value.left;
    return 0;
}

static int check_field(struct walk *walk, const ProtobufCMessageDescriptor *type, struct span *span, int depth)
{
    uint64_t tag;
    uint64_t number;

    if (walk->fields_left == 0)
        return vq_error_set(walk->err, VIR_ERR_RPC, "message with more than %d fields", VQ_CLUSTER_FIELDS_MAX);
    walk->fields_left--;
    if (!take_varint(span, &tag) || tag >> 3 == 0 || tag > UINT32_MAX)
        return malformed(walk, type);
    const ProtobufCFieldDescriptor *field = protobuf_c_message_descriptor_get_field(type, (unsigned)(tag >> 3));
    switch (tag & 7) {
    case WIRE_VARINT: return take_varint(span, &number) ? 0 : malformed(walk, type);
    case WIRE_64: return skip(span, 8) ? 0 : malformed(walk, type);
    case WIRE_32: return skip(span, 4) ? 0 : malformed(walk, type);
    case WIRE_BYTES: {
        if (!take_varint(span, &number) || number > span->left)
            return malformed(walk, type);
        struct span value = {span->at, (size_t)number};
        (void)skip(span, number); /* fits, see above */
        return check_bytes(walk, type, field, value, depth);
    }
    default: return malformed(walk, type); /* groups have been gone since proto2 */
    }
}

static int check_message(struct walk *walk, const ProtobufCMessageDescriptor *type, struct span span, int depth)
{
    if (depth > VQ_CLUSTER_NESTING_MAX)
        return vq_error_set(walk->err, VIR_ERR_RPC, "messages nested more than %d deep", VQ_CLUSTER_NESTING_MAX);
    while (span.left > 0)
        if (check_field(walk, type, &span, depth) < 0)
            return -1;
    return 0;
}

int vq_cluster_check(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t length, struct vq_error *err)
{
    struct walk walk = {.err = err, .fields_left = VQ_CLUSTER_FIELDS_MAX};

    if (length > VQ_CLUSTER_MESSAGE_MAX)
        return vq_error_set(err, VIR_ERR_RPC, "message of %zu bytes, %d allowed", length, VQ_CLUSTER_MESSAGE_MAX);
    return check_message(&walk, type, (struct span){bytes, length}, 1);
}
