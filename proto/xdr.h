/* The codec: every argument, reply and event of the libvirt programs, from type descriptions that the build generates
 * out of proto/schema (see proto/generate.py). One decoder, one encoder, all bounds in the descriptions.
 *
 * How the schema's types look in C (in the generated proto/gen/<program>.h, struct vq_<program>_<name>):
 *   i8 u8 u16 i32 u32 i64 u64 f64    int8_t ... double
 *   str, str?                        const char * (str? may be NULL); never NULL after decoding a str
 *   uuid                             uint8_t [16]
 *   bytes                            uint32_t n_<field>; const uint8_t *<field>
 *   T[]                              uint32_t n_<field>; struct T *<field>  (or the scalar type)
 *   T?                               struct T * (NULL when absent)
 *   char[N]                          char [N]
 *   typed_param                      struct vq_typed_param, see below
 *
 * Reference: RFC 4506 (XDR); bounds as the stock daemon has them (proto/schema/limits). */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"

struct vq_arena;
struct vq_buffer;

enum vq_xdr_kind {
    VQ_XDR_I8, VQ_XDR_U8, VQ_XDR_U16, VQ_XDR_I32, VQ_XDR_U32, VQ_XDR_I64, VQ_XDR_U64, VQ_XDR_F64,
    VQ_XDR_STR, VQ_XDR_UUID, VQ_XDR_BYTES, VQ_XDR_CHARS, VQ_XDR_STRUCT, VQ_XDR_TYPED_PARAM,
};

enum vq_xdr_shape { VQ_XDR_PLAIN, VQ_XDR_OPTIONAL, VQ_XDR_ARRAY };

struct vq_xdr_struct;

struct vq_xdr_field {
    const char *name;
    enum vq_xdr_kind kind;
    enum vq_xdr_shape shape;
    uint32_t offset;                     /* of the value or pointer in the C struct */
    uint32_t count_offset;               /* of n_<field>, for arrays and bytes */
    uint32_t max;                        /* most elements or bytes; decoding more is an error, encoding too */
    uint32_t string_max;                 /* most bytes of each string, for STR and TYPED_PARAM */
    const struct vq_xdr_struct *type;    /* for VQ_XDR_STRUCT */
};

struct vq_xdr_struct {
    const char *name;
    size_t size;                         /* sizeof the C struct */
    size_t wire_min;                     /* fewest bytes one value can take: a count is checked against what is left */
    const struct vq_xdr_field *fields;
    size_t n_fields;
};

/* Values are libvirt's VIR_TYPED_PARAM_*. */
struct vq_typed_param {
    const char *field;
    int32_t type;
    union {
        int32_t i;
        uint32_t ui;
        int64_t l;
        uint64_t ul;
        double d;
        int32_t b;
        const char *s;
    } value;
};

/* Decode one value of the type out of length bytes.
 *
 * ret_value  a struct of type->size bytes; pointers in it lead into the arena (strings are NUL-terminated copies);
 *            all zero after a failure
 * ret_used   bytes taken, may be NULL; bytes behind the value are the caller's business
 *
 * Nothing is allocated before its length was checked against its bound and against the bytes that are left.
 * Lenient where the stock daemon is: padding may be any bytes, a presence word any number but 0. A string with a NUL
 * inside is refused: nothing behind the codec could tell it from a shorter one.
 *
 * Errors: VIR_ERR_RPC, naming the field. */
VQ_MUST_CHECK int vq_xdr_decode(const struct vq_xdr_struct *type, const uint8_t *bytes, size_t length,
                                struct vq_arena *arena, void *ret_value, size_t *ret_used, struct vq_error *err);

/* Append the value to the buffer. Errors: VIR_ERR_RPC when a bound is exceeded; the buffer is then as before. */
VQ_MUST_CHECK int vq_xdr_encode(const struct vq_xdr_struct *type, const void *value, struct vq_buffer *buffer,
                                struct vq_error *err);
