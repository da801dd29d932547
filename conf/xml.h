/* Reading XML documents: into a small tree that lives in one arena and vanishes at once.
 *
 * No DTD, so no entities but the five of XML itself; nothing is fetched. Size, depth and number of nodes are bounded
 * while reading, not afterwards. Comments and processing instructions are skipped, except inside elements kept
 * verbatim (vq_xml_markup). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/buffer.h"
#include "conf/base/error.h"

enum {
    VQ_XML_BYTES_MAX = 4 * 1024 * 1024, /* as the longest string of the protocol */
    VQ_XML_DEPTH_MAX = 256,
    VQ_XML_NODES_MAX = 100000, /* elements, attributes and texts together */
};

struct vq_xml_attr {
    const char *name;        /* "type"; with the prefix as written when it has a namespace: "app:type" */
    const char *value;       /* entities replaced */
    struct vq_xml_attr *next;
    bool is_seen;            /* for whoever reports what nobody looked at */
};

/* A namespace declared on an element, kept for verbatim parts. */
struct vq_xml_ns {
    const char *prefix;      /* NULL: the default namespace */
    const char *uri;
    struct vq_xml_ns *next;
};

enum vq_xml_kind { VQ_XML_ELEMENT, VQ_XML_TEXT, VQ_XML_COMMENT };

struct vq_xml_node {
    enum vq_xml_kind kind;
    uint32_t line;
    const char *name;        /* element: local name, with the prefix in front when it has a namespace */
    const char *uri;         /* element: its namespace, or NULL */
    const char *text;        /* text, comment: the content */
    struct vq_xml_attr *attrs;
    struct vq_xml_ns *namespaces;
    struct vq_xml_node *parent, *first, *last, *next;
};

struct vq_xml_doc;

/* Read a whole document.
 *
 * xml    NUL-terminated UTF-8, borrowed for the call; it need not outlive the document
 * what   names the document in messages: "domain_definition"
 * root   the name that its root element must have; NULL: any
 *
 * Errors: VIR_ERR_XML_ERROR, "(what):line: ..." */
VQ_MUST_CHECK int vq_xml_read(const char *xml, const char *what, const char *root, struct vq_xml_doc **ret_doc,
                              struct vq_error *err);
struct vq_xml_node *vq_xml_root(const struct vq_xml_doc *doc);
void vq_xml_doc_free(struct vq_xml_doc *doc);
VQ_DEFINE_AUTOPTR(vq_xml_doc);

struct vq_xml_attr *vq_xml_attr_find(const struct vq_xml_node *node, const char *name);
struct vq_xml_node *vq_xml_child(const struct vq_xml_node *node, const char *name);
struct vq_xml_node *vq_xml_element_after(const struct vq_xml_node *node); /* next sibling that is an element */
struct vq_xml_node *vq_xml_first_element(const struct vq_xml_node *node);

/* The text directly inside an element. Borrowed from the document, or, when it is in several pieces, from scratch. */
const char *vq_xml_text(const struct vq_xml_node *node, struct vq_buffer *scratch);

/* Content of an element, value of an attribute in either kind of quotes: special characters as entities. */
void vq_xml_add_text(struct vq_buffer *buffer, const char *text);
void vq_xml_add_value(struct vq_buffer *buffer, const char *text);

/* The element written out again with its namespaces, children on lines of their own where no text stands beside
 * them: level is its depth, in steps of two spaces. */
void vq_xml_markup(struct vq_buffer *buffer, const struct vq_xml_node *node, int level);
