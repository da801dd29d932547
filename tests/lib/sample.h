/* Values made from a type description: every field filled, so that a round trip has something to lose. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/base/memory.h"
#include "proto/xdr.h"

struct vq_sample {
    struct vq_arena *arena;
    uint32_t count;   /* elements per array; never more than the bound allows */
    bool optionals;   /* optional values are there */
    uint32_t next;    /* numbers are made from this; the same start gives the same value */
};

/* Fill a zeroed value of the type. count 0 and no optionals give the emptiest legal value. */
void vq_sample_fill(struct vq_sample *sample, const struct vq_xdr_struct *type, void *value);
