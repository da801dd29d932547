/* Typed parameters that grow: see params.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/params.h"

#include <libvirt/libvirt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "conf/base/memory.h"
#include "proto/xdr.h"

static bool grow(struct vq_params *params)
{
    uint32_t capacity = params->capacity == 0 ? 32 : params->capacity * 2;
    struct vq_typed_param *list;

    if (capacity > params->max)
        capacity = params->max;
    list = vq_arena_alloc(params->arena, capacity, sizeof(*list));
    if (list == NULL)
        return false;
    if (params->n > 0)
        memcpy(list, params->list, params->n * sizeof(*list));
    params->list = list;
    params->capacity = capacity;
    return true;
}

static struct vq_typed_param *add(struct vq_params *params, int type, const char *fmt, va_list args)
{
    char name[VIR_TYPED_PARAM_FIELD_LENGTH];
    struct vq_typed_param *param;

    params->is_too_long = params->is_too_long || params->n == params->max;
    if (params->is_too_long || params->is_full)
        return NULL;
    if (params->n == params->capacity && !grow(params)) {
        params->is_full = true;
        return NULL;
    }
    (void)vsnprintf(name, sizeof(name), fmt, args);
    param = &params->list[params->n];
    param->field = vq_arena_strdup(params->arena, name);
    param->type = type;
    params->is_full = param->field == NULL;
    params->n += param->field != NULL;
    return param->field != NULL ? param : NULL;
}

#define DEFINE(name, ctype, TYPE, member)                                                                              \
    void vq_params_##name(struct vq_params *params, ctype value, const char *fmt, ...)                                 \
    {                                                                                                                  \
        struct vq_typed_param *param;                                                                                  \
        va_list args;                                                                                                  \
                                                                                                                       \
        va_start(args, fmt);                                                                                           \
        param = add(params, VIR_TYPED_PARAM_##TYPE, fmt, args);                                                        \
        va_end(args);                                                                                                  \
        if (param != NULL)                                                                                             \
            param->value.member = value;                                                                               \
    }
DEFINE(int, int32_t, INT, i)
DEFINE(uint, uint32_t, UINT, ui)
DEFINE(u64, uint64_t, ULLONG, ul)
DEFINE(bool, bool, BOOLEAN, b)

void vq_params_text(struct vq_params *params, const char *value, const char *fmt, ...)
{
    const char *copy = vq_arena_strdup(params->arena, value);
    struct vq_typed_param *param;
    va_list args;

    if (value == NULL)
        return;
    params->is_full = params->is_full || copy == NULL;
    va_start(args, fmt);
    param = add(params, VIR_TYPED_PARAM_STRING, fmt, args);
    va_end(args);
    if (param != NULL)
        param->value.s = copy;
}

int vq_params_check(const struct vq_params *params, struct vq_error *err)
{
    if (params->is_too_long)
        return vq_error_set_from(err, VIR_FROM_RPC, VIR_ERR_RPC, "too many parameters for limit '%u'", params->max);
    if (params->is_full)
        return vq_error_set(err, VIR_ERR_NO_MEMORY, "the answer is longer than one call may use");
    return 0;
}
