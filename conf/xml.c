/* Reading XML through libxml2's event interface, so that bounds hold while the document is being read. */
#define VQ_FROM VIR_FROM_XML
#include "conf/xml.h"

#include <libxml/SAX2.h>
#include <libxml/parser.h>
#include <libxml/parserInternals.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"

struct vq_xml_doc {
    struct vq_arena *arena; /* nodes, attributes, values */
    xmlDict *dict;          /* names */
    struct vq_xml_node *root;
};

/* State while the parser runs. */
struct builder {
    xmlParserCtxt *parser;
    struct vq_xml_doc *doc;
    struct vq_xml_node *current;
    struct vq_buffer text; /* characters since the last tag */
    uint32_t text_line;
    unsigned depth, n_nodes;
    const char *what;
    struct vq_error *err;
    bool is_failed;
};

/* Nodes cost up to 112 bytes and their content was in the text, so this is never the limit that is met first. */
enum { ARENA_BYTES_MAX = 2 * VQ_XML_BYTES_MAX + VQ_XML_NODES_MAX * 128 };

static int line_of(const struct builder *b)
{
    return b->parser->input != NULL ? b->parser->input->line : 0;
}

static void refuse(struct builder *b, const char *why)
{
    if (!b->is_failed)
        (void)vq_error_set(b->err, VIR_ERR_XML_ERROR, "(%s):%d: %s", b->what, line_of(b), why);
    b->is_failed = true;
    xmlStopParser(b->parser);
}

static void *allocate(struct builder *b, size_t size)
{
    void *memory = NULL;

    if (b->n_nodes++ >= VQ_XML_NODES_MAX)
        refuse(b, "too many elements and attributes");
    else if ((memory = vq_arena_alloc(b->doc->arena, 1, size)) == NULL)
        refuse(b, "the document needs too much memory");
    return memory;
}

static const char *keep(struct builder *b, const char *text, size_t length)
{
    const char *kept = vq_arena_strndup(b->doc->arena, text, length);

    if (kept == NULL)
        refuse(b, "the document needs too much memory");
    return kept;
}

/* Names are kept as they are in the dictionary, which the document holds on to. */
static const char *qualified(struct builder *b, const xmlChar *prefix, const xmlChar *local)
{
    return (const char *)(prefix != NULL ? xmlDictQLookup(b->doc->dict, prefix, local) : local);
}

static void append(struct builder *b, struct vq_xml_node *node)
{
    node->parent = b->current;
    if (b->current == NULL) {
        if (node->kind == VQ_XML_ELEMENT)
            b->doc->root = node;
    } else if (b->current->last == NULL) {
        b->current->first = b->current->last = node;
    } else {
        b->current->last->next = node;
        b->current->last = node;
    }
}

static bool is_blank(const char *text)
{
    return text[strspn(text, " \t\r\n")] == '\0';
}

/* Blanks between elements are layout and dropped; blanks beside a text, or alone inside an element, are content. */
static bool is_layout(const struct builder *b, bool at_end)
{
    const struct vq_xml_node *parent = b->current;

    if (!is_blank(b->text.data))
        return false;
    if (parent->first == NULL)
        return !at_end;
    return parent->first->kind != VQ_XML_TEXT && parent->last->kind != VQ_XML_TEXT;
}

static void flush_text(struct builder *b, bool at_end)
{
    if (b->text.length == 0)
        return;
    if (b->current != NULL && !is_layout(b, at_end)) {
        struct vq_xml_node *node = allocate(b, sizeof(*node));

        if (node == NULL)
            return;
        node->kind = VQ_XML_TEXT;
        node->line = b->text_line;
        node->text = keep(b, b->text.data, b->text.length);
        if (node->text == NULL)
            return;
        append(b, node);
    }
    vq_buffer_truncate(&b->text, 0);
}

static bool add_namespaces(struct builder *b, struct vq_xml_node *node, int n, const xmlChar **namespaces)
{
    for (int i = n - 1; i >= 0; i--) {
        struct vq_xml_ns *ns = allocate(b, sizeof(*ns));

        if (ns == NULL)
            return false;
        ns->prefix = (const char *)namespaces[2 * i];
        ns->uri = (const char *)namespaces[2 * i + 1];
        ns->next = node->namespaces;
        node->namespaces = ns;
    }
    return true;
}

/* libxml2 hands over five pointers for each attribute: name, prefix, URI, begin and end of the value. */
static bool add_attributes(struct builder *b, struct vq_xml_node *node, int n, const xmlChar **attributes)
{
    for (int i = n - 1; i >= 0; i--) {
        const xmlChar **a = attributes + 5 * i;
        struct vq_xml_attr *attr = allocate(b, sizeof(*attr));

        if (attr == NULL)
            return false;
        attr->name = qualified(b, a[1], a[0]);
        attr->value = keep(b, (const char *)a[3], (size_t)(a[4] - a[3]));
        if (attr->value == NULL)
            return false;
        attr->next = node->attrs;
        node->attrs = attr;
    }
    return true;
}

static void on_start(void *data, const xmlChar *local, const xmlChar *prefix, const xmlChar *uri, int n_namespaces,
                     const xmlChar **namespaces, int n_attributes, int n_defaulted, const xmlChar **attributes)
{
    struct builder *b = data;
    struct vq_xml_node *node;

    (void)n_defaulted; /* there is no DTD to take defaults from */
    if (b->is_failed)
        return;
    flush_text(b, false);
    if (b->depth >= VQ_XML_DEPTH_MAX) {
        refuse(b, "elements are nested too deeply");
        return;
    }
    node = allocate(b, sizeof(*node));
    if (node == NULL)
        return;
    node->kind = VQ_XML_ELEMENT;
    node->line = (uint32_t)line_of(b);
    node->name = qualified(b, prefix, local);
    node->uri = (const char *)uri;
    if (!add_namespaces(b, node, n_namespaces, namespaces) || !add_attributes(b, node, n_attributes, attributes))
        return;
    append(b, node);
    b->current = node;
    b->depth++;
}

static void on_end(void *data, const xmlChar *local, const xmlChar *prefix, const xmlChar *uri)
{
    struct builder *b = data;

    (void)local, (void)prefix, (void)uri; /* the parser has compared them with the start */
    if (b->is_failed || b->current == NULL)
        return;
    flush_text(b, true);
    b->current = b->current->parent;
    b->depth--;
}

static void on_text(void *data, const xmlChar *text, int length)
{
    struct builder *b = data;

    if (b->is_failed)
        return;
    if (b->text.length == 0)
        b->text_line = (uint32_t)line_of(b);
    vq_buffer_add_bytes(&b->text, text, (size_t)length);
}

static void on_comment(void *data, const xmlChar *text)
{
    struct builder *b = data;
    struct vq_xml_node *node;

    if (b->is_failed || b->current == NULL)
        return;
    flush_text(b, false);
    node = allocate(b, sizeof(*node));
    if (node == NULL)
        return;
    node->kind = VQ_XML_COMMENT;
    node->line = (uint32_t)line_of(b);
    node->text = keep(b, (const char *)text, strlen((const char *)text));
    if (node->text != NULL)
        append(b, node);
}

static void on_doctype(void *data, const xmlChar *name, const xmlChar *external_id, const xmlChar *system_id)
{
    (void)name, (void)external_id, (void)system_id;
    refuse(data, "a document type declaration (DOCTYPE) is not allowed");
}

static void on_error(void *data, xmlError *error)
{
    struct builder *b = data;

    if (b->is_failed || error == NULL || error->level < XML_ERR_FATAL)
        return;
    const char *text = error->message != NULL ? error->message : "not well-formed";
    (void)vq_error_set(b->err, VIR_ERR_XML_ERROR, "(%s):%d: %.*s", b->what, error->line, (int)strcspn(text, "\n"),
                       text);
    b->is_failed = true;
    xmlStopParser(b->parser);
}

static const xmlSAXHandler handlers = {
    .initialized = XML_SAX2_MAGIC,
    .startElementNs = on_start,
    .endElementNs = on_end,
    .characters = on_text,
    .ignorableWhitespace = on_text,
    .cdataBlock = on_text,
    .comment = on_comment,
    .internalSubset = on_doctype,
    .serror = on_error,
};

static int build(struct builder *b, const char *xml, size_t length)
{
    b->parser = xmlCreateMemoryParserCtxt(xml, (int)length);
    if (b->parser == NULL)
        return vq_error_set(b->err, VIR_ERR_NO_MEMORY, "cannot read XML");
    *b->parser->sax = handlers;
    b->parser->userData = b;
    /* NOENT makes &lt; and the like in attribute values plain characters; other entities cannot be declared. */
    (void)xmlCtxtUseOptions(b->parser, XML_PARSE_NONET | XML_PARSE_NOENT);
    b->doc->dict = b->parser->dict;
    (void)xmlDictReference(b->doc->dict);
    (void)xmlParseDocument(b->parser);
    if (!b->is_failed && (!b->parser->wellFormed || b->doc->root == NULL))
        refuse(b, "not a well-formed document");
    xmlFreeParserCtxt(b->parser);
    vq_buffer_done(&b->text);
    return b->is_failed ? -1 : 0;
}

int vq_xml_read(const char *xml, const char *what, const char *root, struct vq_xml_doc **ret_doc, struct vq_error *err)
{
    VQ_AUTOPTR(vq_xml_doc) doc = vq_new(struct vq_xml_doc);
    struct builder b = {.doc = doc, .what = what, .err = err};
    size_t length = strlen(xml);

    if (length > VQ_XML_BYTES_MAX)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "(%s): %zu bytes, more than %d", what, length, VQ_XML_BYTES_MAX);
    if (xml[strspn(xml, " \t\r\n")] == '\0')
        return vq_error_set(err, VIR_ERR_XML_ERROR, "(%s):1: the document is empty", what);
    doc->arena = vq_arena_new(ARENA_BYTES_MAX);
    if (build(&b, xml, length) < 0)
        return -1;
    if (root != NULL && !vq_streq(doc->root->name, root))
        return vq_error_set(err, VIR_ERR_XML_ERROR, "expecting root element of '%s', not '%s'", root, doc->root->name);
    *ret_doc = vq_take(doc);
    return 0;
}

struct vq_xml_node *vq_xml_root(const struct vq_xml_doc *doc)
{
    return doc->root;
}

void vq_xml_doc_free(struct vq_xml_doc *doc)
{
    if (doc == NULL)
        return;
    vq_arena_free(doc->arena);
    xmlDictFree(doc->dict);
    free(doc);
}

struct vq_xml_attr *vq_xml_attr_find(const struct vq_xml_node *node, const char *name)
{
    struct vq_xml_attr *attr = node->attrs;

    while (attr != NULL && strcmp(attr->name, name) != 0)
        attr = attr->next;
    return attr;
}

static struct vq_xml_node *element_from(struct vq_xml_node *node)
{
    while (node != NULL && node->kind != VQ_XML_ELEMENT)
        node = node->next;
    return node;
}

struct vq_xml_node *vq_xml_first_element(const struct vq_xml_node *node)
{
    return element_from(node->first);
}

struct vq_xml_node *vq_xml_element_after(const struct vq_xml_node *node)
{
    return element_from(node->next);
}

struct vq_xml_node *vq_xml_child(const struct vq_xml_node *node, const char *name)
{
    struct vq_xml_node *child = vq_xml_first_element(node);

    while (child != NULL && strcmp(child->name, name) != 0)
        child = vq_xml_element_after(child);
    return child;
}

const char *vq_xml_text(const struct vq_xml_node *node, struct vq_buffer *scratch)
{
    const char *only = NULL;

    vq_buffer_truncate(scratch, 0);
    for (const struct vq_xml_node *child = node->first; child != NULL; child = child->next) {
        if (child->kind != VQ_XML_TEXT)
            continue;
        if (only == NULL && scratch->length == 0) {
            only = child->text;
            continue;
        }
        if (only != NULL)
            vq_buffer_add(scratch, only);
        only = NULL;
        vq_buffer_add(scratch, child->text);
    }
    if (only != NULL)
        return only;
    return scratch->length > 0 ? scratch->data : "";
}

static void add_indent(struct vq_buffer *buffer, int level)
{
    for (int i = 0; i < level; i++)
        vq_buffer_add_bytes(buffer, "  ", 2);
}

static void add_replaced(struct vq_buffer *buffer, const char *text, const char *special,
                         const char *const entities[256])
{
    while (*text != '\0') {
        size_t plain = strcspn(text, special);

        vq_buffer_add_bytes(buffer, text, plain);
        text += plain;
        if (*text != '\0')
            vq_buffer_add(buffer, entities[(unsigned char)*text++]);
    }
}

/* Control characters other than these three cannot stand in XML 1.0 at all; the parser lets none in. */
void vq_xml_add_text(struct vq_buffer *buffer, const char *text)
{
    static const char *const entities[256] = {
        ['&'] = "&amp;", ['<'] = "&lt;", ['>'] = "&gt;", ['"'] = "&quot;", ['\''] = "&apos;", ['\r'] = "&#13;"};

    add_replaced(buffer, text, "&<>\"'\r", entities);
}

/* Without the last two a reader would get a blank back (XML 1.0, 3.3.3). */
void vq_xml_add_value(struct vq_buffer *buffer, const char *text)
{
    static const char *const entities[256] = {['&'] = "&amp;",   ['<'] = "&lt;",   ['>'] = "&gt;",   ['"'] = "&quot;",
                                              ['\''] = "&apos;", ['\r'] = "&#13;", ['\n'] = "&#10;", ['\t'] = "&#9;"};

    add_replaced(buffer, text, "&<>\"'\r\n\t", entities);
}

/* As libxml2 writes content and values by itself, which is what users see in verbatim parts. */
static void add_content(struct vq_buffer *buffer, const char *text)
{
    static const char *const entities[256] = {['&'] = "&amp;", ['<'] = "&lt;", ['>'] = "&gt;", ['\r'] = "&#13;"};

    add_replaced(buffer, text, "&<>\r", entities);
}

static void add_quoted(struct vq_buffer *buffer, const char *text)
{
    static const char *const entities[256] = {['&'] = "&amp;",  ['<'] = "&lt;",  ['>'] = "&gt;",  ['"'] = "&quot;",
                                              ['\n'] = "&#10;", ['\t'] = "&#9;", ['\r'] = "&#13;"};

    vq_buffer_add(buffer, "\"");
    add_replaced(buffer, text, "&<>\"\n\t\r", entities);
    vq_buffer_add(buffer, "\"");
}

static bool declares(const struct vq_xml_node *node, const char *prefix)
{
    for (const struct vq_xml_ns *ns = node->namespaces; ns != NULL; ns = ns->next) {
        if (vq_streq(ns->prefix, prefix))
            return true;
    }
    return false;
}

static void add_declaration(struct vq_buffer *buffer, const struct vq_xml_ns *ns)
{
    vq_buffer_add(buffer, ns->prefix != NULL ? " xmlns:" : " xmlns");
    vq_buffer_add(buffer, ns->prefix != NULL ? ns->prefix : "");
    vq_buffer_add(buffer, "=");
    add_quoted(buffer, ns->uri != NULL ? ns->uri : "");
}

static bool has_prefix(const char *name, const char *prefix)
{
    size_t length = prefix != NULL ? strlen(prefix) : 0;

    if (prefix == NULL)
        return strchr(name, ':') == NULL;
    return strncmp(name, prefix, length) == 0 && name[length] == ':';
}

/* Attributes without a prefix are in no namespace, so the default one is used by elements only. */
static bool uses(const struct vq_xml_node *node, const char *prefix)
{
    if (node->kind != VQ_XML_ELEMENT)
        return false;
    if (has_prefix(node->name, prefix))
        return true;
    for (const struct vq_xml_attr *attr = node->attrs; prefix != NULL && attr != NULL; attr = attr->next) {
        if (has_prefix(attr->name, prefix))
            return true;
    }
    for (const struct vq_xml_node *child = node->first; child != NULL; child = child->next) {
        if (uses(child, prefix))
            return true;
    }
    return false;
}

/* Declarations of the element itself and, at the top, those of its ancestors that it uses: they will not be around it
 * where it is written. */
static void add_declarations(struct vq_buffer *buffer, const struct vq_xml_node *node, bool is_top)
{
    for (const struct vq_xml_ns *ns = node->namespaces; ns != NULL; ns = ns->next)
        add_declaration(buffer, ns);
    for (const struct vq_xml_node *above = is_top ? node->parent : NULL; above != NULL; above = above->parent) {
        for (const struct vq_xml_ns *ns = above->namespaces; ns != NULL; ns = ns->next) {
            bool is_hidden = false;

            for (const struct vq_xml_node *n = node; n != above && !is_hidden; n = n->parent)
                is_hidden = declares(n, ns->prefix);
            if (!is_hidden && uses(node, ns->prefix))
                add_declaration(buffer, ns);
        }
    }
}

static bool has_text(const struct vq_xml_node *node)
{
    for (const struct vq_xml_node *child = node->first; child != NULL; child = child->next) {
        if (child->kind == VQ_XML_TEXT)
            return true;
    }
    return false;
}

static void add_node(struct vq_buffer *buffer, const struct vq_xml_node *node, int level, bool is_laid_out, bool is_top)
{
    if (node->kind == VQ_XML_TEXT) {
        add_content(buffer, node->text);
        return;
    }
    if (node->kind == VQ_XML_COMMENT) {
        vq_buffer_add(buffer, "<!--");
        vq_buffer_add(buffer, node->text);
        vq_buffer_add(buffer, "-->");
        return;
    }

    vq_buffer_add(buffer, "<");
    vq_buffer_add(buffer, node->name);
    add_declarations(buffer, node, is_top);
    for (const struct vq_xml_attr *attr = node->attrs; attr != NULL; attr = attr->next) {
        vq_buffer_add(buffer, " ");
        vq_buffer_add(buffer, attr->name);
        vq_buffer_add(buffer, "=");
        add_quoted(buffer, attr->value);
    }
    if (node->first == NULL) {
        vq_buffer_add(buffer, "/>");
        return;
    }
    vq_buffer_add(buffer, ">");
    is_laid_out = is_laid_out && !has_text(node);
    for (const struct vq_xml_node *child = node->first; child != NULL; child = child->next) {
        if (is_laid_out) {
            vq_buffer_add(buffer, "\n");
            add_indent(buffer, level + 1);
        }
        add_node(buffer, child, level + 1, is_laid_out, false);
    }
    if (is_laid_out) {
        vq_buffer_add(buffer, "\n");
        add_indent(buffer, level);
    }
    vq_buffer_add(buffer, "</");
    vq_buffer_add(buffer, node->name);
    vq_buffer_add(buffer, ">");
}

void vq_xml_markup(struct vq_buffer *buffer, const struct vq_xml_node *node, int level)
{
    add_node(buffer, node, level, true, true);
}
