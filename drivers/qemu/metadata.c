/* <metadata>: one element per namespace. */
#define VQ_FROM VIR_FROM_DOMAIN
#include "drivers/qemu/metadata.h"

#include <ctype.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/xml.h"

enum { LEVEL_IN_DOMAIN = 2, NAMES_MAX = 4096 };

/* Names that were made for a document that is being changed; freed with it. */
struct names {
    char *list[NAMES_MAX];
    size_t n;
};

static void names_done(struct names *names)
{
    for (size_t i = 0; i < names->n; i++)
        free(names->list[i]);
}

static const char *name_with_prefix(struct names *names, const char *prefix, const char *name, struct vq_error *err)
{
    if (names->n == NAMES_MAX) {
        (void)vq_error_set(err, VIR_ERR_XML_ERROR, "metadata: more than %d elements", NAMES_MAX);
        return NULL;
    }
    names->list[names->n] = vq_asprintf("%s:%s", prefix, name);
    return names->list[names->n++];
}

static int read_all(const char *metadata, struct vq_xml_doc **ret, struct vq_error *err)
{
    VQ_AUTOFREE char *text = vq_asprintf("<metadata>%s</metadata>", metadata == NULL ? "" : metadata);

    return vq_xml_read(text, "metadata", "metadata", ret, err);
}

static struct vq_xml_node *find(const struct vq_xml_doc *doc, const char *uri)
{
    for (struct vq_xml_node *node = vq_xml_first_element(vq_xml_root(doc)); node != NULL; node = vq_xml_element_after(node))
        if (vq_streq(node->uri, uri))
            return node;
    return NULL;
}

static const char *local_name(const char *name)
{
    const char *colon = strchr(name, ':');

    return colon == NULL ? name : colon + 1;
}

/* The element and what is inside lose this namespace. */
static void strip(struct vq_xml_node *node, const char *uri)
{
    struct vq_xml_ns **place = &node->namespaces;

    while (*place != NULL) {
        if (vq_streq((*place)->uri, uri))
            *place = (*place)->next;
        else
            place = &(*place)->next;
    }
    if (vq_streq(node->uri, uri)) {
        node->name = local_name(node->name);
        node->uri = NULL;
    }
    for (struct vq_xml_node *child = node->first; child != NULL; child = child->next)
        if (child->kind == VQ_XML_ELEMENT)
            strip(child, uri);
}

int vq_qemu_metadata_get(const char *metadata, const char *uri, char **ret_element, struct vq_error *err)
{
    VQ_AUTOPTR(vq_xml_doc) doc = NULL;
    VQ_AUTOBUFFER text = VQ_BUFFER_INIT;
    struct vq_xml_node *node;

    if (uri == NULL)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "metadata of an application is asked for by its uri");
    if (read_all(metadata, &doc, err) < 0)
        return -1;
    node = find(doc, uri);
    if (node == NULL)
        return vq_error_set(err, VIR_ERR_NO_DOMAIN_METADATA, "Requested metadata element is not present");
    strip(node, uri);
    vq_xml_markup(&text, node, 0);
    *ret_element = vq_buffer_steal(&text);
    return 0;
}

/* Elements without a namespace come into the application's. */
static int adopt(struct names *names, struct vq_xml_node *node, const char *key, const char *uri, struct vq_error *err)
{
    if (node->uri == NULL) {
        node->name = name_with_prefix(names, key, node->name, err);
        node->uri = uri;
        if (node->name == NULL)
            return -1;
    }
    for (struct vq_xml_node *child = node->first; child != NULL; child = child->next)
        if (child->kind == VQ_XML_ELEMENT && adopt(names, child, key, uri, err) < 0)
            return -1;
    return 0;
}

static bool is_prefix(const char *key)
{
    if (key == NULL || (!isalpha((unsigned char)key[0]) && key[0] != '_') || strncasecmp(key, "xml", 3) == 0)
        return false;
    for (const char *c = key; *c != '\0'; c++)
        if (!isalnum((unsigned char)*c) && strchr("._-", *c) == NULL)
            return false;
    return true;
}

static void add_element(struct vq_buffer *text, const struct vq_xml_node *node)
{
    vq_buffer_addf(text, "%s%*s", text->length > 0 ? "\n" : "", 2 * LEVEL_IN_DOMAIN, "");
    vq_xml_markup(text, node, LEVEL_IN_DOMAIN);
}

static int rewrite(char **metadata, struct vq_xml_node *new_node, const char *uri, struct vq_error *err)
{
    VQ_AUTOPTR(vq_xml_doc) doc = NULL;
    VQ_AUTOBUFFER text = VQ_BUFFER_INIT;

    if (read_all(*metadata, &doc, err) < 0)
        return -1;
    for (const struct vq_xml_node *node = vq_xml_first_element(vq_xml_root(doc)); node != NULL;
         node = vq_xml_element_after(node)) {
        if (!vq_streq(node->uri, uri)) {
            add_element(&text, node);
        } else if (new_node != NULL) {
            add_element(&text, new_node);
            new_node = NULL;
        }
    }
    if (new_node != NULL)
        add_element(&text, new_node);
    vq_set_text(metadata, text.length > 0 ? text.data : NULL);
    return 0;
}

int vq_qemu_metadata_set(char **metadata, const char *element, const char *key, const char *uri, struct vq_error *err)
{
    VQ_AUTOPTR(vq_xml_doc) doc = NULL;
    struct names *names;
    int rc;

    if (uri == NULL || uri[0] == '\0')
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "metadata of an application needs a uri");
    if (element == NULL)
        return rewrite(metadata, NULL, uri, err);
    if (!is_prefix(key))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "metadata key '%s' cannot be the prefix of a namespace",
                            key == NULL ? "" : key);
    if (vq_xml_read(element, "metadata_xml", NULL, &doc, err) < 0)
        return -1;
    struct vq_xml_node *root = vq_xml_root(doc);
    struct vq_xml_ns declaration = {.prefix = key, .uri = uri, .next = root->namespaces};

    for (const struct vq_xml_ns *ns = root->namespaces; ns != NULL; ns = ns->next)
        if (vq_streq(ns->prefix, key))
            return vq_error_set(err, VIR_ERR_INVALID_ARG, "metadata key '%s' is a namespace of the element already", key);
    if (root->uri != NULL && !vq_streq(root->uri, uri))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "the metadata element has another namespace than '%s'", uri);
    root->namespaces = &declaration;
    names = vq_new(struct names);
    rc = adopt(names, root, key, uri, err) < 0 ? -1 : rewrite(metadata, root, uri, err);
    names_done(names);
    free(names);
    return rc;
}
