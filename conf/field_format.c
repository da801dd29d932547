/* Field tables: writing a struct as an element. Layout as libvirt's users know it: two spaces, single quotes. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conf/base/text.h"
#include "conf/field_tree.h"

struct writing {
    struct vq_buffer *buffer;
    unsigned flags;
    bool has_secrets; /* one was written */
};

static void add(struct writing *writing, const char *text)
{
    vq_buffer_add(writing->buffer, text);
}

static void add_bytes(struct writing *writing, const char *text, size_t length)
{
    vq_buffer_add_bytes(writing->buffer, text, length);
}

static void add_line_start(struct writing *writing)
{
    static const char spaces[] = "                                ";
    size_t n = 2 * (size_t)writing->buffer->indent;

    for (; n > sizeof(spaces) - 1; n -= sizeof(spaces) - 1)
        vq_buffer_add_bytes(writing->buffer, spaces, sizeof(spaces) - 1);
    vq_buffer_add_bytes(writing->buffer, spaces, n);
}

static void add_unsigned(struct writing *writing, uint64_t number)
{
    char digits[24];
    char *at = digits + sizeof(digits);

    do {
        *--at = (char)('0' + number % 10);
        number /= 10;
    } while (number > 0);
    vq_buffer_add_bytes(writing->buffer, at, (size_t)(digits + sizeof(digits) - at));
}

static void add_signed(struct writing *writing, int64_t number)
{
    if (number < 0)
        add(writing, "-");
    add_unsigned(writing, number < 0 ? 0 - (uint64_t)number : (uint64_t)number);
}

static void add_hex(struct writing *writing, uint64_t number, unsigned width)
{
    static const char digits[] = "0123456789abcdef";
    char text[18];
    char *at = text + sizeof(text);

    for (; number > 0 || width > 0 || at == text + sizeof(text); number >>= 4) {
        *--at = digits[number & 15];
        width -= width > 0;
    }
    add(writing, "0x");
    vq_buffer_add_bytes(writing->buffer, at, (size_t)(text + sizeof(text) - at));
}

static void add_mac(struct writing *writing, const uint8_t mac[6])
{
    char text[18];

    (void)snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
    add(writing, text);
}

static void add_uuid(struct writing *writing, const uint8_t uuid[VQ_UUID_BYTES])
{
    char text[VQ_UUID_TEXT];

    vq_uuid_format(uuid, text);
    add(writing, text);
}

static void add_string(struct writing *writing, const struct vq_leaf *leaf, const char *text)
{
    if (leaf->name != NULL)
        vq_xml_add_value(writing->buffer, text);
    else
        vq_xml_add_text(writing->buffer, text);
}

/* The largest unit in which the number is whole, or the row's own. */
static uint64_t size_scale(const struct vq_field *row, uint64_t number)
{
    uint64_t scale = row->scale;

    if (!(row->flags & VQ_FIELD_PRETTY) || number == 0)
        return scale;
    while (number % 1024 == 0 && scale < UINT64_C(1) << 60) {
        number /= 1024;
        scale *= 1024;
    }
    return scale;
}

static const char *scale_name(uint64_t scale)
{
    static const char *const names[] = {"bytes", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    size_t power = 0;

    for (; scale > 1; scale /= 1024)
        power++;
    return names[power];
}

static void add_value(struct writing *writing, const struct vq_leaf *leaf, const void *object)
{
    const struct vq_field *row = leaf->row;
    const void *member = vq_leaf_value(leaf, object);
    uint64_t number = 0;

    switch (row->kind) {
    case VQ_FIELD_STRING:
    case VQ_FIELD_CPUSET:
        add_string(writing, leaf, vq_pointer_at(member));
        return;
    case VQ_FIELD_CHARS:
        add_string(writing, leaf, member);
        return;
    case VQ_FIELD_ENUM:
        add(writing, row->names[*(const unsigned *)member]);
        return;
    case VQ_FIELD_WORD:
        add(writing, row->names[*(const bool *)member]);
        return;
    case VQ_FIELD_CONSTANT:
        add(writing, row->names[0]);
        return;
    case VQ_FIELD_UUID:
        add_uuid(writing, member);
        return;
    case VQ_FIELD_MAC:
        add_mac(writing, member);
        return;
    case VQ_FIELD_INT:
        add_signed(writing, *(const int32_t *)member);
        return;
    case VQ_FIELD_I64:
        add_signed(writing, *(const int64_t *)member);
        return;
    case VQ_FIELD_UINT:
        number = *(const uint32_t *)member;
        break;
    default:
        number = *(const uint64_t *)member;
        break;
    }
    if (row->kind == VQ_FIELD_SIZE)
        number /= size_scale(row, number) / row->scale;
    if (row->flags & VQ_FIELD_HEX)
        add_hex(writing, number, row->width);
    else
        add_unsigned(writing, number);
}

/* Whether a row is written at all, value or not. */
static bool is_wanted(const struct writing *writing, const struct vq_leaf *leaf, const void *object)
{
    const struct vq_field *row = leaf->row;

    if ((row->flags & VQ_FIELD_SECRET) && !(writing->flags & VQ_FIELDS_SECURE))
        return false;
    if (!vq_leaf_applies(leaf, object))
        return false;
    return row->shown == NULL || row->shown((const char *)object + leaf->base);
}

/* Whether there is a value to write. */
static bool is_written(struct writing *writing, const struct vq_leaf *leaf, const void *object)
{
    const struct vq_field *row = leaf->row;
    bool is_set = vq_leaf_is_set(leaf, object);

    /* What had to be there was there: zero is a number. */
    if (!is_set && !(row->flags & (VQ_FIELD_ALWAYS | VQ_FIELD_REQUIRED)))
        return false;
    if (!is_wanted(writing, leaf, object))
        return false;
    if (row->kind == VQ_FIELD_ENUM) {
        unsigned value = *(const unsigned *)vq_leaf_value(leaf, object);

        if (value >= row->n_names || row->names[value] == NULL)
            return false;
    }
    if (!is_set)
        return row->kind >= VQ_FIELD_ENUM && row->kind <= VQ_FIELD_SIZE;
    if ((row->flags & VQ_FIELD_LIVE) && (writing->flags & VQ_FIELDS_INACTIVE))
        return row->keep != NULL && row->keep(vq_pointer_at(vq_leaf_value(leaf, object)));
    if (row->flags & VQ_FIELD_SECRET)
        writing->has_secrets = true;
    return true;
}

/* A quick look at whether anything can be in an element: nearly all of those that tables name are empty. */
static bool may_be_written(const struct vq_branch *branch, const void *object)
{
    for (size_t i = 0; i < branch->n_attrs; i++) {
        if (vq_leaf_is_set(&branch->attrs[i], object) || (branch->attrs[i].row->flags & VQ_FIELD_ALWAYS))
            return true;
    }
    for (size_t i = 0; i < branch->n_texts; i++) {
        if (vq_leaf_is_set(&branch->texts[i], object) || (branch->texts[i].row->flags & VQ_FIELD_ALWAYS))
            return true;
    }
    for (size_t i = 0; i < branch->n_bodies; i++) {
        if (vq_leaf_is_set(&branch->bodies[i], object))
            return true;
    }
    for (size_t i = 0; i < branch->n_children; i++) {
        if (may_be_written(branch->children[i], object))
            return true;
    }
    return false;
}

static void add_unit(struct writing *writing, const struct vq_leaf *leaf, const void *object)
{
    if (leaf->row->kind != VQ_FIELD_SIZE || (leaf->row->flags & VQ_FIELD_BARE))
        return;
    add(writing, " unit='");
    if (leaf->row->names != NULL)
        add(writing, leaf->row->names[0]);
    else
        add(writing, scale_name(size_scale(leaf->row, *(const uint64_t *)vq_leaf_value(leaf, object))));
    add(writing, "'");
}

/* Of rows with one path the first that has something to say is written. */
static void write_attrs(struct writing *writing, const struct vq_branch *branch, const void *object)
{
    const char *last = "";

    for (size_t i = 0; i < branch->n_attrs; i++) {
        const struct vq_leaf *leaf = &branch->attrs[i];

        if (!is_written(writing, leaf, object) || strcmp(leaf->name, last) == 0)
            continue;
        last = leaf->name;
        add_bytes(writing, " ", 1);
        add_bytes(writing, leaf->name, leaf->name_length);
        add_bytes(writing, "='", 2);
        add_value(writing, leaf, object);
        add_bytes(writing, "'", 1);
        add_unit(writing, leaf, object);
    }
}

static const struct vq_leaf *text_leaf(struct writing *writing, const struct vq_branch *branch, const void *object)
{
    for (size_t i = 0; i < branch->n_texts; i++) {
        if (is_written(writing, &branch->texts[i], object))
            return &branch->texts[i];
    }
    return NULL;
}

/* What to write of an element that has nothing in it. */
enum emptiness { NOTHING, EMPTY_TAG, OPEN_AND_END_TAG };

static void write_branch(struct writing *writing, const struct vq_branch *branch, const char *name,
                         enum emptiness emptiness, const void *object);

/* Lists and optional structs; says whether the element itself is written even if it has nothing in it. */
static enum emptiness write_bodies(struct writing *writing, const struct vq_branch *branch, const void *object)
{
    enum emptiness emptiness = NOTHING;

    for (size_t i = 0; i < branch->n_bodies; i++) {
        const struct vq_leaf *leaf = &branch->bodies[i];
        const struct vq_field *row = leaf->row;

        if (!is_written(writing, leaf, object))
            continue;
        if (row->kind == VQ_FIELD_PRESENT) {
            emptiness = EMPTY_TAG;
            continue;
        }
        const struct vq_branch *root = &vq_field_tree(row->fields)->root;
        void *const *elements = vq_pointer_at(vq_leaf_value(leaf, object));
        if (row->kind == VQ_FIELD_OPTIONAL) {
            write_branch(writing, root, branch->name,
                         row->flags & VQ_FIELD_OPEN ? OPEN_AND_END_TAG : (row->flags & VQ_FIELD_ALWAYS) != 0, elements);
            continue;
        }
        size_t n = *(const size_t *)((const char *)object + leaf->base + row->count_offset);
        for (size_t k = 0; k < n; k++) {
            if ((writing->flags & VQ_FIELDS_MIGRATABLE) && row->implied != NULL &&
                row->implied(elements[k], (const char *)object + leaf->base))
                continue;
            write_branch(writing, root, branch->name, EMPTY_TAG, elements[k]);
        }
    }
    return emptiness;
}

/* Take an element back that turned out to be empty, as far as it is not wanted nevertheless. */
static void write_empty(struct writing *writing, enum emptiness emptiness, size_t start, size_t after_attrs)
{
    if (emptiness == NOTHING) {
        vq_buffer_truncate(writing->buffer, start);
    } else {
        vq_buffer_truncate(writing->buffer, after_attrs);
        add(writing, "/>\n");
    }
}

static void write_children(struct writing *writing, const struct vq_branch *branch, const void *object)
{
    writing->buffer->indent++;
    for (size_t i = 0; i < branch->n_children; i++) {
        const struct vq_branch *child = branch->children[i];

        if (!may_be_written(child, object))
            continue;
        enum emptiness emptiness = write_bodies(writing, child, object);

        write_branch(writing, child, child->name, emptiness, object);
    }
    writing->buffer->indent--;
}

/* Written as if something were in it, and taken back when nothing was. */
static void write_branch(struct writing *writing, const struct vq_branch *branch, const char *name,
                         enum emptiness emptiness, const void *object)
{
    struct vq_buffer *buffer = writing->buffer;
    size_t start = buffer->length;

    add_line_start(writing);
    add(writing, "<");
    add(writing, name);
    size_t after_name = buffer->length;
    write_attrs(writing, branch, object);
    const struct vq_leaf *text = text_leaf(writing, branch, object);
    if (text != NULL)
        add_unit(writing, text, object);
    size_t after_attrs = buffer->length;
    if (emptiness == NOTHING && after_attrs > after_name)
        emptiness = EMPTY_TAG;

    add(writing, ">");
    if (text != NULL && text->row->kind == VQ_FIELD_MARKUP) {
        add(writing, "\n");
        add(writing, vq_pointer_at(vq_leaf_value(text, object)));
        add(writing, "\n");
        add_line_start(writing);
    } else if (text != NULL) {
        add_value(writing, text, object);
    } else {
        add(writing, "\n");
        size_t inside = buffer->length;
        write_children(writing, branch, object);
        if (buffer->length == inside && emptiness != OPEN_AND_END_TAG) {
            write_empty(writing, emptiness, start, after_attrs);
            return;
        }
        add_line_start(writing);
    }
    add(writing, "</");
    add(writing, name);
    add(writing, ">\n");
}

bool vq_fields_format(const struct vq_fields *fields, const void *object, const char *name, unsigned flags,
                      struct vq_buffer *buffer)
{
    struct writing writing = {.buffer = buffer, .flags = flags};

    write_branch(&writing, &vq_field_tree(fields)->root, name, EMPTY_TAG, object);
    return writing.has_secrets;
}
