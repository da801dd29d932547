/* Field tables: sorting rows into elements, and what follows from rows without a document: copy, free, list. */
#include "conf/field_tree.h"

#include <assert.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/device.h"

const char *const vq_yes_no_names[3] = {NULL, "yes", "no"};
const char *const vq_on_off_names[3] = {NULL, "on", "off"};

/* Where rows are being sorted in: the table they are from, and what is around them. */
struct place {
    struct vq_field_tree *tree;
    struct vq_branch *branch;
    uint32_t base;
    bool is_inner;
    uint32_t n_conditions;
    struct vq_condition conditions[VQ_CONDITIONS_MAX];
};

static struct vq_branch *child_branch(struct vq_branch *branch, const char *name, size_t length)
{
    for (size_t i = 0; i < branch->n_children; i++) {
        if (branch->children[i]->name_length == length && memcmp(branch->children[i]->name, name, length) == 0)
            return branch->children[i];
    }
    struct vq_branch *child = vq_new(struct vq_branch);
    child->name = vq_strndup(name, length);
    child->name_length = (uint32_t)length;
    VQ_GROW(branch->children, branch->n_children);
    branch->children[branch->n_children++] = child;
    return child;
}

/* Walk down the elements of a path; *ret_attribute is what stands behind '@', or NULL. */
static struct vq_branch *descend(struct vq_branch *branch, const char *path, const char **ret_attribute)
{
    *ret_attribute = NULL;
    if (strcmp(path, ".") == 0)
        return branch;
    while (*path != '\0') {
        if (*path == '@') {
            *ret_attribute = path + 1;
            break;
        }
        size_t length = strcspn(path, "/");
        branch = child_branch(branch, path, length);
        path += length + (path[length] == '/');
    }
    return branch;
}

static void add_condition(struct place *place, const struct vq_field *row)
{
    if (row->when_values == 0)
        return;
    assert(place->n_conditions < VQ_CONDITIONS_MAX);
    place->conditions[place->n_conditions++] =
        (struct vq_condition){.offset = place->base + row->when_offset, .values = row->when_values};
}

static bool owns_memory(const struct vq_field *row)
{
    switch (row->kind) {
    case VQ_FIELD_STRING:
    case VQ_FIELD_CPUSET:
    case VQ_FIELD_MARKUP:
    case VQ_FIELD_OPTIONAL:
    case VQ_FIELD_LIST:
        return true;
    default:
        return false;
    }
}

static void add_owned(struct vq_field_tree *tree, const struct vq_field *row, uint32_t base)
{
    for (size_t i = 0; i < tree->n_owned; i++) {
        if (tree->owned[i].offset == base + row->offset)
            return;
    }
    VQ_GROW(tree->owned, tree->n_owned);
    tree->owned[tree->n_owned++] =
        (struct vq_owned){.row = row, .offset = base + row->offset, .count_offset = base + row->count_offset};
}

static void choose_probe(struct vq_leaf *leaf)
{
    const struct vq_field *row = leaf->row;

    leaf->probe_offset = leaf->base + row->offset;
    switch (row->kind) {
    case VQ_FIELD_LIST:
        leaf->probe_offset = leaf->base + row->count_offset; /* fall through */
    case VQ_FIELD_STRING:
    case VQ_FIELD_CPUSET:
    case VQ_FIELD_MARKUP:
    case VQ_FIELD_OPTIONAL:
    case VQ_FIELD_U64:
    case VQ_FIELD_I64:
    case VQ_FIELD_SIZE:
        leaf->probe = VQ_PROBE_U64;
        break;
    case VQ_FIELD_ENUM:
    case VQ_FIELD_UINT:
    case VQ_FIELD_INT:
        leaf->probe = VQ_PROBE_U32;
        break;
    case VQ_FIELD_CONSTANT:
        leaf->probe = VQ_PROBE_ALWAYS;
        break;
    default:
        leaf->probe = VQ_PROBE_BYTE;
        break;
    }
    if (row->has_offset != 0) {
        leaf->probe_offset = leaf->base + row->has_offset - 1;
        leaf->probe = VQ_PROBE_BYTE;
    }
    assert(row->has_offset != 0 || (row->kind != VQ_FIELD_UUID && row->kind != VQ_FIELD_MAC));
}

static_assert(sizeof(void *) == sizeof(uint64_t) && sizeof(size_t) == sizeof(uint64_t), "one probe serves them all");

static void add_leaf(struct vq_leaf **leaves, size_t *n, const struct place *place, const struct vq_field *row,
                     const char *name)
{
    struct vq_leaf leaf = {.row = row,
                           .name = name,
                           .base = place->base,
                           .is_inner = place->is_inner,
                           .n_conditions = place->n_conditions};

    memcpy(leaf.conditions, place->conditions, sizeof(leaf.conditions));
    leaf.name_length = name != NULL ? (uint32_t)strlen(name) : 0;
    choose_probe(&leaf);
    VQ_GROW(*leaves, *n);
    (*leaves)[(*n)++] = leaf;
}

static void sort_rows(const struct vq_fields *fields, struct place place);

static void sort_row(const struct vq_field *row, struct place place)
{
    const char *attribute;

    place.branch = descend(place.branch, row->path, &attribute);
    add_condition(&place, row);
    if (row->kind == VQ_FIELD_STRUCT) {
        assert(attribute == NULL);
        place.base += row->offset;
        place.is_inner |= row->path[0] != '\0';
        sort_rows(row->fields, place);
        return;
    }
    if (owns_memory(row))
        add_owned(place.tree, row, place.base);
    if (attribute != NULL)
        add_leaf(&place.branch->attrs, &place.branch->n_attrs, &place, row, attribute);
    else if (row->kind == VQ_FIELD_LIST || row->kind == VQ_FIELD_OPTIONAL || row->kind == VQ_FIELD_PRESENT)
        add_leaf(&place.branch->bodies, &place.branch->n_bodies, &place, row, NULL);
    else
        add_leaf(&place.branch->texts, &place.branch->n_texts, &place, row, NULL);
}

static void sort_rows(const struct vq_fields *fields, struct place place)
{
    for (uint32_t i = 0; i < fields->n_rows; i++)
        sort_row(&fields->rows[i], place);
}

/* After all leaves have their final place in memory. */
static void collect_required(struct vq_field_tree *tree, const struct vq_branch *branch)
{
    for (size_t i = 0; i < branch->n_attrs + branch->n_texts; i++) {
        const struct vq_leaf *leaf = i < branch->n_attrs ? &branch->attrs[i] : &branch->texts[i - branch->n_attrs];

        if ((leaf->row->flags & VQ_FIELD_REQUIRED) && !leaf->is_inner) {
            VQ_GROW(tree->required, tree->n_required);
            tree->required[tree->n_required++] = (struct vq_required){.leaf = leaf, .branch = branch};
        }
    }
    for (size_t i = 0; i < branch->n_children; i++)
        collect_required(tree, branch->children[i]);
}

static struct vq_field_tree *make_tree(const struct vq_fields *fields)
{
    struct vq_field_tree *tree = vq_new(struct vq_field_tree);

    tree->fields = fields;
    sort_rows(fields, (struct place){.tree = tree, .branch = &tree->root});
    collect_required(tree, &tree->root);
    return tree;
}

const struct vq_field_tree *vq_field_tree(const struct vq_fields *fields)
{
    static pthread_mutex_t making = PTHREAD_MUTEX_INITIALIZER;
    struct vq_field_tree *tree = __atomic_load_n(fields->tree, __ATOMIC_ACQUIRE);

    if (tree != NULL)
        return tree;
    (void)pthread_mutex_lock(&making); /* a plain mutex of our own cannot fail */
    tree = *fields->tree;
    if (tree == NULL) {
        tree = make_tree(fields);
        __atomic_store_n(fields->tree, tree, __ATOMIC_RELEASE);
    }
    (void)pthread_mutex_unlock(&making);
    return tree;
}

bool vq_leaf_applies(const struct vq_leaf *leaf, const void *object)
{
    for (uint32_t i = 0; i < leaf->n_conditions; i++) {
        unsigned value = *(const unsigned *)((const char *)object + leaf->conditions[i].offset);

        if (value >= 64 || !(leaf->conditions[i].values >> value & 1))
            return false;
    }
    return true;
}

void *vq_leaf_value(const struct vq_leaf *leaf, const void *object)
{
    return (char *)object + leaf->base + leaf->row->offset;
}

static void copy_list(const struct vq_field *row, void *place, size_t n)
{
    void **elements = vq_calloc(n, sizeof(*elements));
    void *const *from = vq_pointer_at(place);

    for (size_t i = 0; i < n; i++)
        elements[i] = vq_fields_copy(row->fields, from[i]);
    /* VQ_GROW expects room up to the next power of two. */
    size_t room = 1;
    while (room < n)
        room *= 2;
    *(void **)place = n == 0 ? NULL : vq_realloc(elements, room, sizeof(*elements));
    if (n == 0)
        free(elements);
}

void *vq_fields_copy(const struct vq_fields *fields, const void *object)
{
    const struct vq_field_tree *tree = vq_field_tree(fields);
    char *copy = vq_memdup(object, fields->size);

    for (size_t i = 0; i < tree->n_owned; i++) {
        const struct vq_owned *owned = &tree->owned[i];
        void *place = copy + owned->offset;

        if (owned->row->kind == VQ_FIELD_LIST)
            copy_list(owned->row, place, *(size_t *)(copy + owned->count_offset));
        else if (vq_pointer_at(place) == NULL)
            continue;
        else if (owned->row->kind == VQ_FIELD_OPTIONAL)
            *(void **)place = vq_fields_copy(owned->row->fields, vq_pointer_at(place));
        else
            *(char **)place = vq_strdup(vq_pointer_at(place));
    }
    return copy;
}

void vq_fields_clear(const struct vq_fields *fields, void *object)
{
    const struct vq_field_tree *tree = vq_field_tree(fields);

    for (size_t i = 0; i < tree->n_owned; i++) {
        const struct vq_owned *owned = &tree->owned[i];
        void *place = (char *)object + owned->offset;

        if (owned->row->kind == VQ_FIELD_LIST) {
            void **elements = vq_pointer_at(place);

            for (size_t n = *(size_t *)((char *)object + owned->count_offset); n > 0; n--)
                vq_fields_free(owned->row->fields, elements[n - 1]);
        } else if (owned->row->kind == VQ_FIELD_OPTIONAL) {
            vq_fields_free(owned->row->fields, vq_pointer_at(place));
            continue;
        }
        free(vq_pointer_at(place));
    }
    memset(object, 0, fields->size);
}

void vq_fields_free(const struct vq_fields *fields, void *object)
{
    if (object == NULL)
        return;
    vq_fields_clear(fields, object);
    free(object);
}
