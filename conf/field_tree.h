/* Field tables ready for use: rows sorted into the elements they speak of. Inside conf/field*.c only. */
#pragma once

#include "conf/field.h"

enum { VQ_CONDITIONS_MAX = 4 };

struct vq_condition {
    uint32_t offset; /* from the object, of an enum */
    uint64_t values;
};

/* How to see whether there is a value, without looking at the row: most rows of most objects have none. */
enum vq_probe { VQ_PROBE_BYTE, VQ_PROBE_U32, VQ_PROBE_U64, VQ_PROBE_ALWAYS };

/* A row in its place. */
struct vq_leaf {
    const struct vq_field *row;
    const char *name;         /* of the attribute; NULL for texts and bodies */
    uint32_t name_length;
    uint32_t probe_offset;    /* from the object: of the member, its bool or its count */
    enum vq_probe probe;
    uint32_t base;            /* offset in the object of the struct that the row's table describes */
    bool is_inner;            /* of a STRUCT row's element: what it requires counts only if that element is there */
    uint32_t n_conditions;    /* its own, and those of the STRUCT rows around it */
    struct vq_condition conditions[VQ_CONDITIONS_MAX];
};

/* One element below an object, as far as no list or optional struct begins there. */
struct vq_branch {
    const char *name;         /* NULL for the object's own element */
    uint32_t name_length;
    struct vq_leaf *attrs;    /* in the order of the rows, as all of these */
    struct vq_leaf *texts;    /* what its text may be */
    struct vq_leaf *bodies;   /* what the element as such may be: present, list, optional struct */
    struct vq_branch **children;
    size_t n_attrs, n_texts, n_bodies, n_children;
};

/* A member that owns memory; each once, however many rows lead to it. */
struct vq_owned {
    const struct vq_field *row;
    uint32_t offset, count_offset;
};

/* A row that its object cannot be without. */
struct vq_required {
    const struct vq_leaf *leaf;
    const struct vq_branch *branch;
};

struct vq_field_tree {
    const struct vq_fields *fields;
    struct vq_branch root;
    struct vq_owned *owned;
    size_t n_owned;
    struct vq_required *required;
    size_t n_required;
};

/* Made at first use, by whichever thread is first; lives until the process ends. */
const struct vq_field_tree *vq_field_tree(const struct vq_fields *fields);

/* Whether the row counts for this object now. */
bool vq_leaf_applies(const struct vq_leaf *leaf, const void *object);
/* The member. */
void *vq_leaf_value(const struct vq_leaf *leaf, const void *object);
/* Whether something is there: a string, a number that is not zero or has its bool set ... */
static inline bool vq_leaf_is_set(const struct vq_leaf *leaf, const void *object)
{
    const char *place = (const char *)object + leaf->probe_offset;

    switch (leaf->probe) {
    case VQ_PROBE_BYTE: return *place != 0;
    case VQ_PROBE_U32: return *(const uint32_t *)place != 0;
    case VQ_PROBE_U64: return *(const uint64_t *)place != 0;
    default: return true;
    }
}

/* An owned struct behind a pointer; a pointer of any struct type is read and written through this. */
static inline void *vq_pointer_at(const void *place)
{
    return *(void *const *)place;
}
