/* Elements of applications in <metadata>. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "drivers/qemu/metadata.h"

static int set(char **metadata, const char *element, const char *key, const char *uri)
{
    struct vq_error err = VQ_ERROR_INIT;
    int rc = vq_qemu_metadata_set(metadata, element, key, uri, &err);

    return rc < 0 ? err.code : 0;
}

static void expect(const char *metadata, const char *uri, const char *element)
{
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOFREE char *found = NULL;

    if (element == NULL) {
        assert_int_equal(vq_qemu_metadata_get(metadata, uri, &found, &err), -1);
        assert_int_equal(err.code, VIR_ERR_NO_DOMAIN_METADATA);
        return;
    }
    assert_int_equal(vq_qemu_metadata_get(metadata, uri, &found, &err), 0);
    assert_string_equal(found, element);
}

static void an_element_is_read_as_it_was_given(void **state)
{
    VQ_AUTOFREE char *metadata = NULL;

    (void)state;
    assert_int_equal(set(&metadata, "<top><in at=\"1\">x &amp; y</in></top>", "app", "http://app/"), 0);
    assert_non_null(strstr(metadata, "<app:top xmlns:app=\"http://app/\">"));
    assert_non_null(strstr(metadata, "<app:in at=\"1\">"));
    expect(metadata, "http://app/", "<top>\n  <in at=\"1\">x &amp; y</in>\n</top>");
    expect(metadata, "http://other/", NULL);
}

static void an_element_replaces_that_of_its_namespace_only(void **state)
{
    VQ_AUTOFREE char *metadata = NULL;

    (void)state;
    assert_int_equal(set(&metadata, "<a/>", "one", "http://one/"), 0);
    assert_int_equal(set(&metadata, "<b/>", "two", "http://two/"), 0);
    assert_int_equal(set(&metadata, "<c/>", "other", "http://one/"), 0);
    expect(metadata, "http://one/", "<c/>");
    expect(metadata, "http://two/", "<b/>");
    assert_true(strstr(metadata, "other:c") < strstr(metadata, "two:b")); /* in the place of the first */
}

static void the_last_element_removed_leaves_nothing(void **state)
{
    VQ_AUTOFREE char *metadata = NULL;

    (void)state;
    assert_int_equal(set(&metadata, "<a/>", "one", "http://one/"), 0);
    assert_int_equal(set(&metadata, NULL, NULL, "http://none/"), 0);
    assert_non_null(metadata);
    assert_int_equal(set(&metadata, NULL, NULL, "http://one/"), 0);
    assert_null(metadata);
    assert_int_equal(set(&metadata, NULL, NULL, "http://one/"), 0);
}

static void what_cannot_be_written_is_refused_and_changes_nothing(void **state)
{
    static const struct {
        const char *element, *key, *uri;
        int code;
    } cases[] = {
        {"<bad", "k", "http://u/", VIR_ERR_XML_ERROR},
        {"<a/><b/>", "k", "http://u/", VIR_ERR_XML_ERROR},
        {"<!DOCTYPE a [<!ENTITY e 'x'>]><a>&e;</a>", "k", "http://u/", VIR_ERR_XML_ERROR},
        {"<a/>", NULL, "http://u/", VIR_ERR_INVALID_ARG},
        {"<a/>", "", "http://u/", VIR_ERR_INVALID_ARG},
        {"<a/>", "1k", "http://u/", VIR_ERR_INVALID_ARG},
        {"<a/>", "k k", "http://u/", VIR_ERR_INVALID_ARG},
        {"<a/>", "xmlns", "http://u/", VIR_ERR_INVALID_ARG},
        {"<a/>", "k>", "http://u/", VIR_ERR_INVALID_ARG},
        {"<a/>", "k", NULL, VIR_ERR_INVALID_ARG},
        {"<a/>", "k", "", VIR_ERR_INVALID_ARG},
        {"<k:a xmlns:k='http://v/'/>", "k", "http://u/", VIR_ERR_INVALID_ARG},
        {"<o:a xmlns:o='http://v/'/>", "k", "http://u/", VIR_ERR_INVALID_ARG},
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        VQ_AUTOFREE char *metadata = vq_strdup("    <z:z xmlns:z=\"http://z/\"/>");
        assert_int_equal(set(&metadata, cases[i].element, cases[i].key, cases[i].uri), cases[i].code);
        assert_string_equal(metadata, "    <z:z xmlns:z=\"http://z/\"/>");
    }
}

static void a_uri_with_marks_of_xml_stays_one_value(void **state)
{
    VQ_AUTOFREE char *metadata = NULL;

    (void)state;
    assert_int_equal(set(&metadata, "<a/>", "k", "http://u/?a=1&b='\"<>"), 0);
    expect(metadata, "http://u/?a=1&b='\"<>", "<a/>");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_element_is_read_as_it_was_given),
        cmocka_unit_test(an_element_replaces_that_of_its_namespace_only),
        cmocka_unit_test(the_last_element_removed_leaves_nothing),
        cmocka_unit_test(what_cannot_be_written_is_refused_and_changes_nothing),
        cmocka_unit_test(a_uri_with_marks_of_xml_stays_one_value),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
