/* Values made from a type description. */
#include "tests/lib/sample.h"

#include <assert.h>
#include <stdio.h>
#include <string.h>

#include <libvirt/libvirt.h>

static const char *sample_text(struct vq_sample *sample)
{
    char text[32];

    if (sample->count == 0)
        return "";
    (void)snprintf(text, sizeof(text), "text%.*s", (int)(sample->next++ % 5), "-----");
    char *copy = vq_arena_strdup(sample->arena, text);
    assert(copy != NULL);
    return copy;
}

static void *sample_room(struct vq_sample *sample, size_t n, size_t size)
{
    void *room = vq_arena_alloc(sample->arena, n, size);
    assert(room != NULL);
    return room;
}

static void fill_typed_param(struct vq_sample *sample, struct vq_typed_param *param)
{
    param->field = sample_text(sample);
    param->type = (int32_t)(sample->next++ % VIR_TYPED_PARAM_STRING) + 1;
    if (param->type == VIR_TYPED_PARAM_STRING)
        param->value.s = sample_text(sample);
    else if (param->type == VIR_TYPED_PARAM_DOUBLE)
        param->value.d = 0.5 * sample->next++;
    else if (param->type == VIR_TYPED_PARAM_LLONG || param->type == VIR_TYPED_PARAM_ULLONG)
        param->value.l = -(int64_t)sample->next++ * 1000000007;
    else
        param->value.i = -(int32_t)sample->next++;
}

static void fill_number(struct vq_sample *sample, size_t size, char *place)
{
    uint64_t number = 0xfedcba9876543210u ^ (sample->next++ * 0x0101010101010101u);

    if (sample->count == 0)
        number = 0;
    memcpy(place, &number, size);
}

static void fill_one(struct vq_sample *sample, const struct vq_xdr_field *field, char *place)
{
    const char *text;

    switch (field->kind) {
    case VQ_XDR_I8:
    case VQ_XDR_U8: fill_number(sample, 1, place); break;
    case VQ_XDR_U16: fill_number(sample, 2, place); break;
    case VQ_XDR_I32:
    case VQ_XDR_U32: fill_number(sample, 4, place); break;
    case VQ_XDR_I64:
    case VQ_XDR_U64:
    case VQ_XDR_F64: fill_number(sample, 8, place); break;
    case VQ_XDR_UUID: memset(place, (int)(sample->next++ & 0xff), 16); break;
    case VQ_XDR_CHARS: memset(place, 'c', field->max - 1); break;
    case VQ_XDR_STR:
        text = sample_text(sample);
        memcpy(place, &text, sizeof(text));
        break;
    case VQ_XDR_STRUCT: vq_sample_fill(sample, field->type, place); break;
    case VQ_XDR_TYPED_PARAM: fill_typed_param(sample, (struct vq_typed_param *)place); break;
    case VQ_XDR_BYTES: break; /* fill_counted() */
    }
}

static size_t size_of(const struct vq_xdr_field *field)
{
    switch (field->kind) {
    case VQ_XDR_I8:
    case VQ_XDR_U8:
    case VQ_XDR_BYTES: return 1;
    case VQ_XDR_U16: return 2;
    case VQ_XDR_I32:
    case VQ_XDR_U32: return 4;
    case VQ_XDR_UUID: return 16;
    case VQ_XDR_STRUCT: return field->type->size;
    case VQ_XDR_TYPED_PARAM: return sizeof(struct vq_typed_param);
    default: return 8;
    }
}

static void fill_counted(struct vq_sample *sample, const struct vq_xdr_field *field, char *base)
{
    uint32_t count = sample->count < field->max ? sample->count : field->max;
    size_t size = size_of(field);

    if (count == 0)
        return;
    char *elements = sample_room(sample, count, size);
    if (field->kind == VQ_XDR_BYTES)
        memset(elements, 0xb0, count);
    else
        for (uint32_t i = 0; i < count; i++)
            fill_one(sample, field, elements + i * size);
    memcpy(base + field->count_offset, &count, sizeof(count));
    memcpy(base + field->offset, &elements, sizeof(elements));
}

void vq_sample_fill(struct vq_sample *sample, const struct vq_xdr_struct *type, void *value)
{
    for (size_t i = 0; i < type->n_fields; i++) {
        const struct vq_xdr_field *field = &type->fields[i];
        char *place = (char *)value + field->offset;
        if (field->shape == VQ_XDR_ARRAY || field->kind == VQ_XDR_BYTES) {
            fill_counted(sample, field, value);
        } else if (field->shape == VQ_XDR_PLAIN) {
            fill_one(sample, field, place);
        } else if (sample->optionals) {
            if (field->kind == VQ_XDR_STR) {
                fill_one(sample, field, place);
            } else {
                void *room = sample_room(sample, 1, size_of(field));
                fill_one(sample, field, room);
                memcpy(place, &room, sizeof(room));
            }
        }
    }
}
