/* Field tables: reading an element into a struct, and reporting what no row knows. */
#define VQ_FROM VIR_FROM_XML
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/cpuset.h"
#include "conf/field_tree.h"

enum {
    QUOTE_MAX = 80, /* bytes of a wrong value that a message quotes */
    KNOWN_MAX = 12, /* known names that a report lists */
};

struct reading {
    unsigned flags;
    struct vq_field_report *report;
    struct vq_error *err;
    struct vq_buffer scratch; /* for texts in several pieces */
};

/* One value on its way from the document to its member. */
struct value {
    const struct vq_leaf *leaf;
    const struct vq_xml_node *node; /* the element that has it */
    const char *text;
};

/* ---- refusing ---- */

/* At most QUOTE_MAX bytes, not cutting a character of UTF-8 in two. */
static int quoted_length(const char *text)
{
    size_t length = strnlen(text, QUOTE_MAX + 1);

    if (length <= QUOTE_MAX)
        return (int)length;
    length = QUOTE_MAX;
    while (length > 0 && ((unsigned char)text[length] & 0xc0) == 0x80)
        length--;
    return (int)length;
}

static void add_words(struct vq_buffer *buffer, const struct vq_field *row)
{
    const char *separator = "; known: ";

    for (uint32_t i = 0; i < row->n_names; i++) {
        if (row->names[i] == NULL)
            continue;
        vq_buffer_add(buffer, separator);
        vq_buffer_add(buffer, row->names[i]);
        separator = ", ";
    }
}

static int refuse_value(struct reading *reading, const struct value *value, const char *why)
{
    VQ_AUTOBUFFER detail = VQ_BUFFER_INIT;
    /* A secret is not told to whoever reads the message. */
    const char *text = value->leaf->row->flags & VQ_FIELD_SECRET ? "" : value->text;
    int length = quoted_length(text);

    vq_buffer_addf(&detail, "line %u", value->node->line);
    if (why != NULL)
        vq_buffer_addf(&detail, "; %s", why);
    if (value->leaf->row->kind == VQ_FIELD_ENUM || value->leaf->row->kind == VQ_FIELD_STRING)
        add_words(&detail, value->leaf->row);
    if (value->leaf->row->flags & VQ_FIELD_UNSUPPORTED)
        return vq_error_set_from(reading->err, VIR_FROM_DOMAIN, VIR_ERR_CONFIG_UNSUPPORTED,
                                 "unknown %s '%.*s%s' of element '%s' (%s)",
                                 value->leaf->name != NULL ? value->leaf->name : "value", length, text, text[length] != '\0' ? "..." : "", value->node->name, detail.data);
    if (value->leaf->name != NULL)
        return vq_error_set(reading->err, VIR_ERR_XML_ERROR,
                            "Invalid value for attribute '%s' in element '%s': '%.*s%s' (%s)", value->leaf->name,
                            value->node->name, length, text, text[length] != '\0' ? "..." : "", detail.data);
    return vq_error_set(reading->err, VIR_ERR_XML_ERROR, "Invalid value for element '%s': '%.*s%s' (%s)",
                        value->node->name, length, text, text[length] != '\0' ? "..." : "", detail.data);
}

/* ---- reporting what is not known ---- */

static void add_path(struct vq_buffer *buffer, const struct vq_xml_node *node)
{
    if (node->parent == NULL)
        return;
    add_path(buffer, node->parent);
    if (node->parent->parent != NULL)
        vq_buffer_add(buffer, "/");
    vq_buffer_add(buffer, node->name);
}

static bool begin_report(struct reading *reading, const struct vq_xml_node *node)
{
    struct vq_field_report *report = reading->report;

    if (report == NULL)
        return false;
    report->n_unknown++;
    if (report->n_lines >= VQ_FIELD_REPORT_MAX)
        return false;
    report->n_lines++;
    vq_buffer_addf(&report->text, "%s:%u: ", report->document != NULL ? report->document : "document", node->line);
    add_path(&report->text, node);
    return true;
}

static void report_attr(struct reading *reading, const struct vq_branch *branch, const struct vq_xml_node *node,
                        const struct vq_xml_attr *attr, bool is_known)
{
    const char *separator = "; known: ";

    if (!begin_report(reading, node))
        return;
    struct vq_buffer *text = &reading->report->text;
    vq_buffer_addf(text, "@%.*s: %s", quoted_length(attr->name), attr->name,
                   is_known ? "attribute has no meaning here" : "unknown attribute");
    for (size_t i = 0, n = 0; i < branch->n_attrs; i++) {
        if (is_known || n > KNOWN_MAX || (i > 0 && strcmp(branch->attrs[i].name, branch->attrs[i - 1].name) == 0))
            continue;
        if (n++ == KNOWN_MAX) {
            vq_buffer_add(text, " ...");
            continue;
        }
        vq_buffer_add(text, separator);
        vq_buffer_add(text, branch->attrs[i].name);
        separator = ", ";
    }
    vq_buffer_add(text, "\n");
}

static void report_element(struct reading *reading, const struct vq_branch *branch, const struct vq_xml_node *node,
                           const char *problem)
{
    const char *separator = "; known: ";

    if (!begin_report(reading, node))
        return;
    struct vq_buffer *text = &reading->report->text;
    vq_buffer_addf(text, ": %s", problem);
    for (size_t i = 0; branch != NULL && i < branch->n_children && i < KNOWN_MAX; i++) {
        vq_buffer_add(text, separator);
        vq_buffer_add(text, branch->children[i]->name);
        separator = ", ";
    }
    if (branch != NULL && branch->n_children > KNOWN_MAX)
        vq_buffer_add(text, " ...");
    vq_buffer_add(text, "\n");
}

/* ---- single values ---- */

/* The factor of a unit: powers of 1024 for "K" and "KiB", of 1000 for "KB". 0 when there is no such unit. */
static uint64_t unit_scale(const char *unit)
{
    static const char letters[] = "kmgtpe";
    uint64_t base = 1024, scale = 1;

    if (strcasecmp(unit, "b") == 0 || strcasecmp(unit, "byte") == 0 || strcasecmp(unit, "bytes") == 0)
        return 1;
    char letter = unit[0] >= 'A' && unit[0] <= 'Z' ? (char)(unit[0] + ('a' - 'A')) : unit[0];
    const char *power = letter == '\0' ? NULL : strchr(letters, letter);
    if (power == NULL)
        return 0;
    if (strcasecmp(unit + 1, "b") == 0)
        base = 1000;
    else if (unit[1] != '\0' && strcasecmp(unit + 1, "ib") != 0)
        return 0;
    for (long i = power - letters; i >= 0; i--)
        scale *= base;
    return scale;
}

bool vq_size_parse(const char *text, const char *unit, uint64_t default_scale, uint64_t *ret_bytes)
{
    uint64_t scale = unit == NULL ? default_scale : unit_scale(unit);
    uint64_t number;

    if (scale == 0 || !vq_parse_u64(text, 10, UINT64_MAX / scale, &number))
        return false;
    *ret_bytes = number * scale;
    return true;
}

static int read_size(struct reading *reading, const struct value *value, uint64_t *member)
{
    const struct vq_field *row = value->leaf->row;
    struct vq_xml_attr *unit = row->flags & VQ_FIELD_BARE ? NULL : vq_xml_attr_find(value->node, "unit");
    uint64_t bytes;

    if (unit != NULL)
        unit->is_seen = true;
    if (unit != NULL && unit->value[0] == '\0')
        unit = NULL;
    if (unit != NULL && unit_scale(unit->value) == 0)
        return vq_error_set_from(reading->err, VIR_FROM_NONE, VIR_ERR_INVALID_ARG, "unknown suffix '%.*s' (line %u)",
                                 quoted_length(unit->value), unit->value, value->node->line);
    if (!vq_size_parse(value->text, unit != NULL ? unit->value : NULL, row->scale, &bytes))
        return refuse_value(reading, value, "a size was expected, such as 4194304 or, with unit='GiB', 4");
    uint64_t number = bytes / row->scale + (bytes % row->scale != 0);
    if ((row->max != 0 && number > row->max) || number < row->min)
        return refuse_value(reading, value, "out of range");
    *member = number;
    return 0;
}

static int read_unsigned(struct reading *reading, const struct value *value, uint64_t type_max, uint64_t *ret_number)
{
    const struct vq_field *row = value->leaf->row;
    uint64_t max = row->max != 0 ? row->max : type_max;

    if (!vq_parse_u64(value->text, row->flags & VQ_FIELD_HEX ? 0 : 10, max, ret_number) || *ret_number < row->min) {
        VQ_AUTOFREE char *range = vq_asprintf("a number from %llu to %llu was expected", (unsigned long long)row->min,
                                              (unsigned long long)max);
        return refuse_value(reading, value, range);
    }
    return 0;
}

static int read_number(struct reading *reading, const struct value *value, void *member)
{
    uint64_t number;
    int64_t with_sign;

    switch (value->leaf->row->kind) {
    case VQ_FIELD_UINT:
        if (read_unsigned(reading, value, UINT32_MAX, &number) < 0)
            return -1;
        *(uint32_t *)member = (uint32_t)number;
        return 0;
    case VQ_FIELD_U64:
        return read_unsigned(reading, value, UINT64_MAX, member);
    case VQ_FIELD_INT:
        if (!vq_parse_i64(value->text, INT32_MIN, INT32_MAX, &with_sign))
            return refuse_value(reading, value, "a number was expected");
        *(int32_t *)member = (int32_t)with_sign;
        return 0;
    default:
        if (!vq_parse_i64(value->text, INT64_MIN, INT64_MAX, member))
            return refuse_value(reading, value, "a number was expected");
        return 0;
    }
}

static int read_enum(struct reading *reading, const struct value *value, unsigned *member)
{
    const struct vq_field *row = value->leaf->row;

    for (uint32_t i = 0; i < row->n_names; i++) {
        if (row->names[i] != NULL && strcmp(row->names[i], value->text) == 0) {
            *member = i;
            return 0;
        }
    }
    return refuse_value(reading, value, NULL);
}

static int read_word(struct reading *reading, const struct value *value, bool *member)
{
    const struct vq_field *row = value->leaf->row;

    *member = strcmp(value->text, row->names[1]) == 0;
    if (!*member && !vq_streq(value->text, row->names[0]))
        return refuse_value(reading, value, row->names[1]);
    return 0;
}

static bool is_word(const struct vq_field *row, const char *text)
{
    for (uint32_t i = 0; i < row->n_names; i++) {
        if (strcmp(row->names[i], text) == 0)
            return true;
    }
    return false;
}

static void set_string(char **member, char *take_text)
{
    free(*member);
    *member = take_text;
}

static int read_string(struct reading *reading, const struct value *value, char **member)
{
    const struct vq_field *row = value->leaf->row;

    if (!(row->flags & VQ_FIELD_LINE_BREAKS) && value->text[strcspn(value->text, "\n\r")] != '\0')
        return refuse_value(reading, value, "it has a line break");
    if (row->n_names > 0 && !is_word(row, value->text))
        return refuse_value(reading, value, NULL);
    if (value->text[0] == '\0' && !(row->flags & VQ_FIELD_KEEP_EMPTY))
        return 0;
    if ((row->flags & VQ_FIELD_LIVE) && (reading->flags & VQ_FIELDS_PARSE_INACTIVE) && !row->keep(value->text))
        return 0;
    set_string(member, vq_strdup(value->text));
    return 0;
}

static int read_cpuset(struct reading *reading, const struct value *value, char **member)
{
    struct vq_cpuset set;

    if (!vq_cpuset_parse(value->text, VQ_CPUSET_BITS, &set)) {
        (void)refuse_value(reading, value, "a set of numbers was expected, such as 0-3,8");
        reading->err->code = VIR_ERR_INVALID_ARG;
        return -1;
    }
    set_string(member, vq_cpuset_format(&set));
    return 0;
}

static int read_mac(struct reading *reading, const struct value *value, uint8_t mac[6])
{
    const char *at = value->text;
    uint8_t parsed[6];

    /* One or two digits each, as in "52:54:0:1:2:3". */
    for (int i = 0; i < 6; i++) {
        size_t length = strspn(at, "0123456789abcdefABCDEF");
        char digits[3] = {0};
        uint64_t byte;

        if (length < 1 || length > 2 || at[length] != (i < 5 ? ':' : '\0'))
            return refuse_value(reading, value, "a MAC address was expected, such as 52:54:00:12:34:56");
        memcpy(digits, at, length);
        if (!vq_parse_u64(digits, 16, 255, &byte))
            return refuse_value(reading, value, NULL);
        parsed[i] = (uint8_t)byte;
        at += length + 1;
    }
    if (parsed[0] & 1)
        return refuse_value(reading, value, "expected unicast mac address, found multicast");
    memcpy(mac, parsed, sizeof(parsed));
    return 0;
}

static int read_chars(struct reading *reading, const struct value *value, char *member)
{
    size_t length = strlen(value->text);

    if (length >= value->leaf->row->size || strspn(value->text, "0123456789.") != length)
        return refuse_value(reading, value, NULL);
    memcpy(member, value->text, length + 1);
    return 0;
}

/* Kept as it will stand in the document again, with the blanks in front of it. */
static void read_markup(struct reading *reading, const struct value *value, char **member)
{
    int level = 1;

    for (const struct vq_xml_node *above = value->node->parent; above != NULL; above = above->parent)
        level++;
    vq_buffer_truncate(&reading->scratch, 0);
    for (const struct vq_xml_node *n = vq_xml_first_element(value->node); n != NULL; n = vq_xml_element_after(n)) {
        vq_buffer_addf(&reading->scratch, "%s%*s", reading->scratch.length > 0 ? "\n" : "", 2 * level, "");
        vq_xml_markup(&reading->scratch, n, level);
    }
    if (reading->scratch.length > 0)
        set_string(member, vq_strdup(reading->scratch.data));
}

/* Layout around the text of an element: meant for words and numbers, kept in strings. */
static const char *trimmed(const char *text, struct vq_buffer *scratch)
{
    const char *begin = text + strspn(text, " \t\r\n");
    size_t length = strlen(begin);

    while (length > 0 && strchr(" \t\r\n", begin[length - 1]) != NULL)
        length--;
    if (begin == text && text[length] == '\0')
        return text;
    VQ_AUTOFREE char *copy = vq_strndup(begin, length);
    vq_buffer_truncate(scratch, 0);
    vq_buffer_add(scratch, copy);
    return length > 0 ? scratch->data : "";
}

static int read_value(struct reading *reading, struct value value, void *object)
{
    const struct vq_leaf *leaf = value.leaf;
    const struct vq_field *row = leaf->row;
    void *member = vq_leaf_value(leaf, object);
    int result = 0;

    if ((row->flags & VQ_FIELD_LIVE) && (reading->flags & VQ_FIELDS_PARSE_INACTIVE) && row->keep == NULL) {
        struct vq_xml_attr *unit = row->kind == VQ_FIELD_SIZE ? vq_xml_attr_find(value.node, "unit") : NULL;

        if (unit != NULL)
            unit->is_seen = true;
        return 0;
    }
    if (leaf->name == NULL && row->kind != VQ_FIELD_STRING)
        value.text = trimmed(value.text, &reading->scratch);
    switch (row->kind) {
    case VQ_FIELD_STRING:
        result = read_string(reading, &value, member);
        break;
    case VQ_FIELD_CHARS:
        result = read_chars(reading, &value, member);
        break;
    case VQ_FIELD_ENUM:
        result = read_enum(reading, &value, member);
        break;
    case VQ_FIELD_WORD:
        result = read_word(reading, &value, member);
        break;
    case VQ_FIELD_SIZE:
        result = read_size(reading, &value, member);
        break;
    case VQ_FIELD_UUID:
        if (!vq_uuid_parse(value.text, member))
            result = refuse_value(reading, &value, "malformed uuid");
        break;
    case VQ_FIELD_MAC:
        result = read_mac(reading, &value, member);
        break;
    case VQ_FIELD_CPUSET:
        result = read_cpuset(reading, &value, member);
        break;
    case VQ_FIELD_MARKUP:
        read_markup(reading, &value, member);
        break;
    case VQ_FIELD_CONSTANT:
        return 0;
    default:
        result = read_number(reading, &value, member);
        break;
    }
    if (result == 0 && row->has_offset != 0)
        *((bool *)object + leaf->base + row->has_offset - 1) = true;
    return result;
}

/* ---- elements ---- */

static int read_branch(struct reading *reading, const struct vq_branch *branch, const struct vq_xml_node *node,
                       void *object);
static int read_object(struct reading *reading, const struct vq_fields *fields, const struct vq_xml_node *node,
                       void *object);

static int read_attrs(struct reading *reading, const struct vq_branch *branch, const struct vq_xml_node *node,
                      void *object)
{
    for (size_t i = 0; node->attrs != NULL && i < branch->n_attrs; i++) {
        const struct vq_leaf *leaf = &branch->attrs[i];
        struct vq_xml_attr *attr = node->attrs;

        while (attr != NULL && (attr->name[0] != leaf->name[0] || strcmp(attr->name, leaf->name) != 0))
            attr = attr->next;
        if (attr == NULL || !vq_leaf_applies(leaf, object))
            continue;
        attr->is_seen = true;
        if (read_value(reading, (struct value){leaf, node, attr->value}, object) < 0)
            return -1;
    }
    return 0;
}

static void report_attrs(struct reading *reading, const struct vq_branch *branch, const struct vq_xml_node *node)
{
    for (const struct vq_xml_attr *attr = node->attrs; attr != NULL; attr = attr->next) {
        bool is_known = false;

        if (attr->is_seen)
            continue;
        for (size_t i = 0; i < branch->n_attrs && !is_known; i++)
            is_known = strcmp(branch->attrs[i].name, attr->name) == 0;
        report_attr(reading, branch, node, attr, is_known);
    }
}

static int read_text(struct reading *reading, const struct vq_branch *branch, const struct vq_xml_node *node,
                     void *object)
{
    for (size_t i = 0; i < branch->n_texts; i++) {
        const struct vq_leaf *leaf = &branch->texts[i];

        if (!vq_leaf_applies(leaf, object))
            continue;
        const char *text = vq_xml_text(node, &reading->scratch);
        if (text[0] == '\0' && leaf->row->kind != VQ_FIELD_STRING && leaf->row->kind != VQ_FIELD_MARKUP &&
            !(leaf->row->flags & VQ_FIELD_REQUIRED))
            return 0;
        return read_value(reading, (struct value){leaf, node, text}, object);
    }
    return 0;
}

static const struct {
    const char *prefix, *uri;
} known_namespaces[] = {
    {"qemu", "http://libvirt.org/schemas/domain/qemu/1.0"},
    {"lxc", "http://libvirt.org/schemas/domain/lxc/1.0"},
    {"xen", "http://libvirt.org/schemas/domain/xen/1.0"},
    {"dnsmasq", "http://libvirt.org/schemas/network/dnsmasq/1.0"},
    {"fs", "http://libvirt.org/schemas/storagepool/fs/1.0"},
    {"rbd", "http://libvirt.org/schemas/storagepool/rbd/1.0"},
};

/* Elements of namespaces are known by the name that tables use for the namespace, whatever the document calls it. */
static bool has_name(const struct vq_xml_node *node, const char *name)
{
    if (node->uri == NULL)
        return node->name[0] == name[0] && strcmp(node->name, name) == 0;
    for (size_t i = 0; i < VQ_N_ELEMENTS(known_namespaces); i++) {
        if (strcmp(known_namespaces[i].uri, node->uri) != 0)
            continue;
        size_t length = strlen(known_namespaces[i].prefix);
        const char *colon = strchr(node->name, ':');
        return strncmp(name, known_namespaces[i].prefix, length) == 0 && name[length] == ':' &&
               strcmp(name + length + 1, colon != NULL ? colon + 1 : node->name) == 0;
    }
    return false;
}

static const struct vq_branch *find_branch(const struct vq_branch *branch, const struct vq_xml_node *node,
                                           size_t *ret_index)
{
    for (size_t i = 0; i < branch->n_children; i++) {
        if (has_name(node, branch->children[i]->name)) {
            *ret_index = i;
            return branch->children[i];
        }
    }
    return NULL;
}

static int read_list_element(struct reading *reading, const struct vq_leaf *leaf, const struct vq_xml_node *node,
                             void *object)
{
    const struct vq_field *row = leaf->row;
    void *place = vq_leaf_value(leaf, object);
    void **elements = vq_pointer_at(place);
    size_t *n = (size_t *)((char *)object + leaf->base + row->count_offset);
    size_t max = row->size != 0 ? row->size : VQ_FIELD_LIST_MAX;

    if (*n >= max)
        return vq_error_set(reading->err, VIR_ERR_XML_ERROR, "more than %zu elements '%s' (line %u)", max, node->name,
                            node->line);
    VQ_GROW(elements, *n);
    *(void **)place = elements;
    elements[*n] = vq_calloc(1, row->fields->size);
    return read_object(reading, row->fields, node, elements[(*n)++]);
}

static int read_optional(struct reading *reading, const struct vq_leaf *leaf, const struct vq_xml_node *node,
                         void *object)
{
    void *place = vq_leaf_value(leaf, object);

    if (vq_pointer_at(place) != NULL) {
        report_element(reading, NULL, node, "element appears again and is ignored");
        return 0;
    }
    *(void **)place = vq_calloc(1, leaf->row->fields->size);
    return read_object(reading, leaf->row->fields, node, vq_pointer_at(place));
}

/* The child as what the first row that applies says it is; a plain part of this object if none does. */
static int read_child(struct reading *reading, const struct vq_branch *branch, const struct vq_xml_node *node,
                      bool is_again, void *object)
{
    for (size_t i = 0; i < branch->n_bodies; i++) {
        const struct vq_leaf *leaf = &branch->bodies[i];

        if (!vq_leaf_applies(leaf, object))
            continue;
        if ((leaf->row->flags & VQ_FIELD_LIVE) && (reading->flags & VQ_FIELDS_PARSE_INACTIVE))
            return 0;
        if (leaf->row->kind == VQ_FIELD_LIST)
            return read_list_element(reading, leaf, node, object);
        if (leaf->row->kind == VQ_FIELD_OPTIONAL)
            return read_optional(reading, leaf, node, object);
        *(bool *)vq_leaf_value(leaf, object) = true;
    }
    if (is_again) {
        report_element(reading, NULL, node, "element appears again and is ignored");
        return 0;
    }
    return read_branch(reading, branch, node, object);
}

static int read_children(struct reading *reading, const struct vq_branch *branch, const struct vq_xml_node *node,
                         void *object)
{
    uint64_t seen[2] = {0}; /* children of one element that were there already; tables have fewer than 128 */

    for (const struct vq_xml_node *n = vq_xml_first_element(node); n != NULL; n = vq_xml_element_after(n)) {
        size_t index;
        const struct vq_branch *child = find_branch(branch, n, &index);

        if (child == NULL) {
            report_element(reading, branch, n, "unknown element");
            continue;
        }
        bool is_again = seen[index / 64 % 2] >> (index % 64) & 1;
        seen[index / 64 % 2] |= UINT64_C(1) << (index % 64);
        if (read_child(reading, child, n, is_again, object) < 0)
            return -1;
    }
    return 0;
}

static bool is_number(const struct vq_field *row)
{
    return row->kind >= VQ_FIELD_UINT && row->kind <= VQ_FIELD_SIZE;
}

/* Leaves of one element that it, being there, cannot be without. element: NULL for the node itself. */
static int check_leaf(struct reading *reading, const struct vq_leaf *leaf, const char *element,
                      const struct vq_xml_node *node, const void *object)
{
    if (!vq_leaf_applies(leaf, object) || vq_leaf_is_set(leaf, object))
        return 0;
    /* Zero is a number. */
    if (leaf->name != NULL && element == NULL && is_number(leaf->row) && vq_xml_attr_find(node, leaf->name) != NULL)
        return 0;
    if (leaf->name == NULL)
        return vq_error_set(reading->err, VIR_ERR_XML_ERROR, "Missing element '%s' in element '%s' (line %u)",
                            element != NULL ? element : node->name, node->name, node->line);
    return vq_error_set(reading->err, VIR_ERR_XML_ERROR, "Missing required attribute '%s' in element '%s' (line %u)",
                        leaf->name, element != NULL ? element : node->name, node->line);
}

static int check_inner(struct reading *reading, const struct vq_branch *branch, const struct vq_xml_node *node,
                       const void *object)
{
    for (size_t i = 0; i < branch->n_attrs; i++) {
        const struct vq_leaf *leaf = &branch->attrs[i];

        if (((leaf->is_inner && (leaf->row->flags & VQ_FIELD_REQUIRED)) ||
             (leaf->row->flags & VQ_FIELD_WITH_ELEMENT)) &&
            check_leaf(reading, leaf, NULL, node, object) < 0)
            return -1;
    }
    return 0;
}

static bool keeps_markup(const struct vq_branch *branch)
{
    return branch->n_texts == 1 && branch->texts[0].row->kind == VQ_FIELD_MARKUP;
}

static int read_branch(struct reading *reading, const struct vq_branch *branch, const struct vq_xml_node *node,
                       void *object)
{
    if (read_attrs(reading, branch, node, object) < 0 || check_inner(reading, branch, node, object) < 0 ||
        read_text(reading, branch, node, object) < 0)
        return -1;
    if (reading->report != NULL)
        report_attrs(reading, branch, node);
    return keeps_markup(branch) ? 0 : read_children(reading, branch, node, object);
}

static int read_object(struct reading *reading, const struct vq_fields *fields, const struct vq_xml_node *node,
                       void *object)
{
    const struct vq_field_tree *tree = vq_field_tree(fields);

    if (read_branch(reading, &tree->root, node, object) < 0)
        return -1;
    for (size_t i = 0; i < tree->n_required; i++) {
        if (check_leaf(reading, tree->required[i].leaf, tree->required[i].branch->name, node, object) < 0)
            return -1;
    }
    return fields->parsed == NULL ? 0 : fields->parsed(object, node, reading->err);
}

int vq_fields_parse(const struct vq_fields *fields, const struct vq_xml_node *node, unsigned flags, void *object,
                    struct vq_field_report *report, struct vq_error *err)
{
    struct reading reading = {.flags = flags, .report = report, .err = err};
    int result = read_object(&reading, fields, node, object);

    vq_buffer_done(&reading.scratch);
    return result;
}
