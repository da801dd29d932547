/* Reading documents: what is accepted, what is refused and with which words, and verbatim parts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "conf/xml.h"

static struct vq_xml_doc *read_ok(const char *xml)
{
    struct vq_xml_doc *doc = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_xml_read(xml, "test", NULL, &doc, &err) < 0)
        fail_msg("%s", err.message);
    return doc;
}

static void expect_refused(const char *xml, const char *message)
{
    struct vq_xml_doc *doc = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    assert_int_equal(vq_xml_read(xml, "test", "domain", &doc, &err), -1);
    assert_null(doc);
    assert_int_equal(err.code, VIR_ERR_XML_ERROR);
    assert_int_equal(err.from, VIR_FROM_XML);
    if (strstr(err.message, message) == NULL)
        fail_msg("'%s' is not in '%s'", message, err.message);
}

static void elements_attributes_texts_and_lines_are_read(void **state)
{
    VQ_AUTOPTR(vq_xml_doc)
    doc = read_ok("<a x='1' y=\"&lt;2&quot;\">\n  <b>one<!-- c -->&amp;<![CDATA[<two>]]></b>\n"
                  "  <c/>\n</a>\n");
    VQ_AUTOBUFFER scratch = VQ_BUFFER_INIT;
    struct vq_xml_node *a = vq_xml_root(doc), *b = vq_xml_first_element(a);

    (void)state;
    assert_string_equal(a->name, "a");
    assert_string_equal(vq_xml_attr_find(a, "x")->value, "1");
    assert_string_equal(vq_xml_attr_find(a, "y")->value, "<2\"");
    assert_null(vq_xml_attr_find(a, "z"));
    assert_int_equal(b->line, 2);
    assert_string_equal(vq_xml_text(b, &scratch), "one&<two>");
    assert_ptr_equal(vq_xml_element_after(b), vq_xml_child(a, "c"));
    assert_string_equal(vq_xml_text(vq_xml_child(a, "c"), &scratch), "");
    assert_null(vq_xml_child(a, "d"));
}

static void malformed_documents_are_refused_with_the_line(void **state)
{
    (void)state;
    expect_refused("<domain>\n <name>x\n</domain>",
                   "(test):3: Opening and ending tag mismatch: name line 2 and domain");
    expect_refused("<domain", "(test):1: ");
    expect_refused("<domain/><domain/>", "(test):1: ");
    expect_refused("<domain>&nosuch;</domain>", "Entity 'nosuch' not defined");
    expect_refused("<domain a='1' a='2'/>", "Attribute a redefined");
    expect_refused("<domain>\xff</domain>", "(test):1: ");
    expect_refused("<domain>\x01</domain>", "(test):1: ");
    expect_refused("", "empty");
    expect_refused(" \n ", "empty");
    expect_refused("<!-- only a comment -->", "(test):1: ");
    expect_refused("<network/>", "expecting root element of 'domain', not 'network'");
}

static void document_types_and_entities_are_refused(void **state)
{
    (void)state;
    expect_refused("<!DOCTYPE domain><domain/>", "DOCTYPE");
    expect_refused("<!DOCTYPE domain SYSTEM \"http://127.0.0.1:1/x.dtd\"><domain/>", "DOCTYPE");
    expect_refused("<!DOCTYPE d [<!ENTITY x SYSTEM \"file:///etc/passwd\">]><domain>&x;</domain>", "DOCTYPE");
    expect_refused(
        "<!DOCTYPE d [<!ENTITY a \"aaaaaaaaaa\"><!ENTITY b \"&a;&a;&a;&a;&a;&a;\"><!ENTITY c \"&b;&b;&b;&b;\">"
        "]><domain x='&c;'>&c;</domain>",
        "DOCTYPE");
    expect_refused("<!DOCTYPE d [<!ENTITY % x SYSTEM \"file:///etc/passwd\"> %x;]><domain/>", "DOCTYPE");
}

static char *repeat(const char *before, const char *text, size_t n, const char *after)
{
    struct vq_buffer all = VQ_BUFFER_INIT;

    vq_buffer_add(&all, before);
    for (size_t i = 0; i < n; i++)
        vq_buffer_add(&all, text);
    vq_buffer_add(&all, after);
    return vq_buffer_steal(&all);
}

static void size_depth_and_number_of_nodes_are_bounded(void **state)
{
    VQ_AUTOFREE char *large = repeat("<domain>", "aaaaaaaaaaaaaaaa", VQ_XML_BYTES_MAX / 16, "</domain>");
    VQ_AUTOFREE char *many = repeat("<domain>", "<a/>", VQ_XML_NODES_MAX, "</domain>");
    VQ_AUTOFREE char *wide = repeat("<domain>", "<a b='' c=''/>", VQ_XML_NODES_MAX / 2, "</domain>");
    VQ_AUTOFREE char *deep = repeat("<domain>", "<a>", VQ_XML_DEPTH_MAX, "");
    VQ_AUTOFREE char *nearly = repeat("<domain>", "<a/>", VQ_XML_NODES_MAX - 1, "</domain>");
    VQ_AUTOFREE char *long_text = repeat("<domain>", "aaaaaaaaaaaaaaaa", VQ_XML_BYTES_MAX / 16 - 2, "</domain>");

    (void)state;
    expect_refused(large, "bytes, more than");
    expect_refused(many, "too many");
    expect_refused(wide, "too many");
    expect_refused(deep, "nested too deeply");
    vq_xml_doc_free(read_ok(nearly));
    vq_xml_doc_free(read_ok(long_text));
}

static void expect_markup(const char *xml, const char *child, const char *expected)
{
    VQ_AUTOPTR(vq_xml_doc) doc = read_ok(xml);
    VQ_AUTOBUFFER text = VQ_BUFFER_INIT;

    vq_xml_markup(&text, vq_xml_child(vq_xml_root(doc), child), 1);
    assert_string_equal(text.data, expected);
}

static void verbatim_parts_keep_namespaces_comments_and_mixed_text(void **state)
{
    (void)state;
    expect_markup("<m><a:b xmlns:a='urn:a' a:x='1'><a:c/>\n<a:d>  </a:d></a:b></m>", "a:b",
                  "<a:b xmlns:a=\"urn:a\" a:x=\"1\">\n    <a:c/>\n    <a:d>  </a:d>\n  </a:b>");
    expect_markup("<m><b>x &amp; 'y' <i>z</i> <!-- c --></b></m>", "b", "<b>x &amp; 'y' <i>z</i> <!-- c --></b>");
    expect_markup("<m xmlns:o='urn:o' xmlns:unused='urn:u'><o:b/></m>", "o:b", "<o:b xmlns:o=\"urn:o\"/>");
    expect_markup("<m xmlns='urn:o'><b/></m>", "b", "<b xmlns=\"urn:o\"/>");
    expect_markup("<m xmlns:o='urn:o'><o:b xmlns:o='urn:inner'/></m>", "o:b", "<o:b xmlns:o=\"urn:inner\"/>");
    expect_markup("<m><b x='a&#10;b&quot;'/></m>", "b", "<b x=\"a&#10;b&quot;\"/>");
}

static void written_text_is_read_back_unchanged(void **state)
{
    static const char *const texts[] = {"plain",       "<&>\"'",       "tab\there",
                                        "line\nbreak", "return\rhere", "\xc3\xa4\xe2\x82\xac"};

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(texts); i++) {
        VQ_AUTOBUFFER xml = VQ_BUFFER_INIT, scratch = VQ_BUFFER_INIT;

        vq_buffer_add(&xml, "<a v='");
        vq_xml_add_value(&xml, texts[i]);
        vq_buffer_add(&xml, "'>");
        vq_xml_add_text(&xml, texts[i]);
        vq_buffer_add(&xml, "</a>");
        VQ_AUTOPTR(vq_xml_doc) doc = read_ok(xml.data);
        assert_string_equal(vq_xml_attr_find(vq_xml_root(doc), "v")->value, texts[i]);
        assert_string_equal(vq_xml_text(vq_xml_root(doc), &scratch), texts[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(elements_attributes_texts_and_lines_are_read),
        cmocka_unit_test(malformed_documents_are_refused_with_the_line),
        cmocka_unit_test(document_types_and_entities_are_refused),
        cmocka_unit_test(size_depth_and_number_of_nodes_are_bounded),
        cmocka_unit_test(verbatim_parts_keep_namespaces_comments_and_mixed_text),
        cmocka_unit_test(written_text_is_read_back_unchanged),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
