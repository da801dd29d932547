/* Field tables: reading an element into a struct, and reporting what no row knows. */
#define VQ_FROM VIR_FROM_XML
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/field_read.h"

enum { KNOWN_MAX = 12 /* known names that a report lists */ };

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

static bool begin_report(struct vq_reading *reading, const struct vq_xml_node *node)
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

static void report_attr(struct vq_reading *reading, const struct vq_branch *branch, const struct vq_xml_node *node,
                        const struct vq_xml_attr *attr, bool is_known)
{
    const char *separator = "; known: ";

    if (!begin_report(reading, node))
        return;
    struct vq_buffer *text = &reading->report->text;
    vq_buffer_addf(text, "@%.*s: %s", vq_quoted_length(attr->name), attr->name,
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

static void report_element(struct vq_reading *reading, const struct vq_branch *branch, const struct vq_xml_node *node,
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

/* ---- elements ---- */

static int read_branch(struct vq_reading *reading, const struct vq_branch *branch, const struct vq_xml_node *node,
                       void *object);
static int read_object(struct vq_reading *reading, const struct vq_fields *fields, const struct vq_xml_node *node,
                       void *object);

static int read_attrs(struct vq_reading *reading, const struct vq_branch *branch, const struct vq_xml_node *node,
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
        if (vq_read_value(reading, (struct vq_value){leaf, node, attr->value}, object) < 0)
            return -1;
    }
    return 0;
}

static void report_attrs(struct vq_reading *reading, const struct vq_branch *branch, const struct vq_xml_node *node)
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

static int read_text(struct vq_reading *reading, const struct vq_branch *branch, const struct vq_xml_node *node,
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
        return vq_read_value(reading, (struct vq_value){leaf, node, text}, object);
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

static int read_list_element(struct vq_reading *reading, const struct vq_leaf *leaf, const struct vq_xml_node *node,
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

static int read_optional(struct vq_reading *reading, const struct vq_leaf *leaf, const struct vq_xml_node *node,
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
static int read_child(struct vq_reading *reading, const struct vq_branch *branch, const struct vq_xml_node *node,
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

static int read_children(struct vq_reading *reading, const struct vq_branch *branch, const struct vq_xml_node *node,
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
static int check_leaf(struct vq_reading *reading, const struct vq_leaf *leaf, const char *element,
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

static int check_inner(struct vq_reading *reading, const struct vq_branch *branch, const struct vq_xml_node *node,
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

static int read_branch(struct vq_reading *reading, const struct vq_branch *branch, const struct vq_xml_node *node,
                       void *object)
{
    if (read_attrs(reading, branch, node, object) < 0 || check_inner(reading, branch, node, object) < 0 ||
        read_text(reading, branch, node, object) < 0)
        return -1;
    if (reading->report != NULL)
        report_attrs(reading, branch, node);
    return keeps_markup(branch) ? 0 : read_children(reading, branch, node, object);
}

static int read_object(struct vq_reading *reading, const struct vq_fields *fields, const struct vq_xml_node *node,
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
    struct vq_reading reading = {.flags = flags, .report = report, .err = err};
    int result = read_object(&reading, fields, node, object);

    vq_buffer_done(&reading.scratch);
    return result;
}
