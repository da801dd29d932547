/* A check of protobuf bytes before they are unpacked: what a peer sends is bounded before memory is spent on it.
 *
 * Unpacking turns two bytes into a structure of hundreds (an empty repeated message), so the number of fields is
 * bounded, not only the number of bytes. After the check, unpacking takes at most a small multiple of the bounds. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include <protobuf-c/protobuf-c.h>

#include "conf/base/error.h"

enum {
    VQ_CLUSTER_MESSAGE_MAX = 64 * 1024 * 1024, /* a whole message: the largest libvirt message and what is around it */
    VQ_CLUSTER_NESTING_MAX = 16,               /* messages within messages */
    VQ_CLUSTER_FIELDS_MAX = 65536,             /* fields of all messages in it together */
};

/* Is this a well-formed message of the type, within the bounds above? Strings must not have a zero byte inside.
 * Call it before vq__..__unpack(), which may still answer NULL.
 *
 * Errors: VIR_ERR_RPC. */
VQ_MUST_CHECK int vq_cluster_check(const ProtobufCMessageDescriptor *type, const uint8_t *bytes, size_t length,
                                   struct vq_error *err);
