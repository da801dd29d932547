/* A list of typed parameters for a reply, growing in the request's arena. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_arena;
struct vq_typed_param;

struct vq_params {
    struct vq_arena *arena;
    uint32_t max;                    /* the protocol's limit */
    struct vq_typed_param *list;
    uint32_t n, capacity;
    bool is_full, is_too_long;       /* the arena's limit was reached; the protocol's was */
};

/* The names are formats; texts are copied. What does not fit is left out, and vq_params_check() tells. */
void vq_params_int(struct vq_params *params, int32_t value, const char *fmt, ...) VQ_PRINTF(3, 4);
void vq_params_uint(struct vq_params *params, uint32_t value, const char *fmt, ...) VQ_PRINTF(3, 4);
void vq_params_u64(struct vq_params *params, uint64_t value, const char *fmt, ...) VQ_PRINTF(3, 4);
void vq_params_bool(struct vq_params *params, bool value, const char *fmt, ...) VQ_PRINTF(3, 4);
/* value NULL: without effect. */
void vq_params_text(struct vq_params *params, const char *value, const char *fmt, ...) VQ_PRINTF(3, 4);

/* Did everything fit? Errors: VIR_ERR_RPC, VIR_ERR_NO_MEMORY. */
VQ_MUST_CHECK int vq_params_check(const struct vq_params *params, struct vq_error *err);
