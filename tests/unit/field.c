/* The table machinery with a table of its own, and cpusets. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "conf/cpuset.h"
#include "conf/device.h"
#include "conf/field.h"

enum kind { KIND_UNSET, KIND_RED, KIND_BLUE, KIND_N };

struct leg {
    uint32_t length;
};

struct thing {
    enum kind kind;
    char *name, *note, *live, *secret, *cpus, *extra;
    bool has_number;
    int32_t number;
    uint32_t small, hex;
    uint64_t size;
    enum vq_switch on;
    bool flag, word;
    bool has_mac, has_uuid;
    uint8_t mac[6], uuid[16];
    char port[8];
    struct leg **legs;
    size_t n_legs;
    struct leg *spare;
    struct leg inner;
    char *red_only, *blue_only;
};

static const char *const kind_names[KIND_N] = {[KIND_RED] = "red", [KIND_BLUE] = "blue"};
static const char *const word_names[] = {"no", "yes"};

static const struct vq_field leg_rows[] = {VQ_UINT("@length", leg, length, .flags = VQ_FIELD_REQUIRED)};
VQ_FIELDS(leg_fields, "leg", leg, leg_rows);

static bool is_kept(const char *text)
{
    return text[0] == 'k';
}

static const struct vq_field thing_rows[] = {
    VQ_ENUM("@kind", thing, kind, kind_names),
    VQ_STRING("@live", thing, live, .flags = VQ_FIELD_LIVE, .keep = is_kept),
    VQ_STRING("name", thing, name, .flags = VQ_FIELD_REQUIRED),
    VQ_STRING("note", thing, note, .flags = VQ_FIELD_LINE_BREAKS),
    VQ_STRING("secret", thing, secret, .flags = VQ_FIELD_SECRET),
    VQ_INT("number", thing, number, VQ_HAS(thing, has_number)),
    VQ_UINT("tune/@small", thing, small, .min = 2, .max = 9),
    VQ_UINT("tune/@hex", thing, hex, .flags = VQ_FIELD_HEX | VQ_FIELD_ALWAYS, .width = 2),
    VQ_CPUSET("tune/@cpus", thing, cpus),
    VQ_CHARS("tune/@port", thing, port),
    VQ_WORD("tune/@word", thing, word, word_names),
    VQ_SIZE("size", thing, size, 1024),
    VQ_ON_OFF("on/@state", thing, on),
    VQ_PRESENT("flag", thing, flag),
    VQ_MAC("mac/@address", thing, mac, VQ_HAS(thing, has_mac)),
    VQ_UUID("uuid", thing, uuid, VQ_HAS(thing, has_uuid)),
    VQ_MARKUP("extra", thing, extra),
    VQ_LIST("legs/leg", thing, legs, leg_fields, .size = 3),
    VQ_OPTIONAL("spare", thing, spare, leg_fields),
    VQ_STRUCT("inner", thing, inner, leg_fields),
    VQ_STRING("paint/@of", thing, red_only, VQ_WHEN(thing, kind, VQ_IS(KIND_RED))),
    VQ_STRING("paint/@of", thing, blue_only, VQ_WHEN(thing, kind, VQ_IS(KIND_BLUE))),
};
VQ_FIELDS(thing_fields, "thing", thing, thing_rows);

static int parse(const char *xml, unsigned flags, struct vq_field_report *report, struct thing **ret,
                 struct vq_error *err)
{
    VQ_AUTOPTR(vq_xml_doc) doc = NULL;

    assert_int_equal(vq_xml_read(xml, "test", "thing", &doc, err), 0);
    *ret = vq_new(struct thing);
    return vq_fields_parse(&thing_fields, vq_xml_root(doc), flags, *ret, report, err);
}

static char *format(const struct thing *thing, unsigned flags)
{
    struct vq_buffer text = VQ_BUFFER_INIT;

    bool has_secrets = vq_fields_format(&thing_fields, thing, "thing", flags, &text);
    assert_int_equal(has_secrets, text.data != NULL && strstr(text.data, "<secret>") != NULL);
    return vq_buffer_steal(&text);
}

static const char full[] = "<thing kind='red' live='keep'>\n"
                           "  <name>a &lt;b&gt;</name>\n"
                           "  <note>two\nlines</note>\n"
                           "  <secret>s</secret>\n"
                           "  <number>0</number>\n"
                           "  <tune small='2' hex='0x0a' cpus='0-3,8' port='1.2' word='yes'/>\n"
                           "  <size unit='KiB'>2048</size>\n"
                           "  <on state='off'/>\n"
                           "  <flag/>\n"
                           "  <mac address='52:54:00:aa:bb:0c'/>\n"
                           "  <uuid>c7a5fdbd-edaf-9455-926a-d65c16db1809</uuid>\n"
                           "  <extra>\n"
                           "    <x y=\"1\"/>\n"
                           "    <z/>\n"
                           "  </extra>\n"
                           "  <legs>\n"
                           "    <leg length='1'/>\n"
                           "    <leg length='2'/>\n"
                           "  </legs>\n"
                           "  <spare length='3'/>\n"
                           "  <inner length='4'/>\n"
                           "  <paint of='r'/>\n"
                           "</thing>\n";

static void every_kind_of_row_is_read_and_written(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct thing *thing;

    (void)state;
    assert_int_equal(parse(full, 0, NULL, &thing, &err), 0);
    assert_int_equal(thing->kind, KIND_RED);
    assert_string_equal(thing->name, "a <b>");
    assert_true(thing->has_number);
    assert_int_equal(thing->hex, 10);
    assert_int_equal(thing->size, 2048);
    assert_int_equal(thing->n_legs, 2);
    assert_int_equal(thing->spare->length, 3);
    assert_string_equal(thing->red_only, "r");
    assert_null(thing->blue_only);
    VQ_AUTOFREE char *text = format(thing, VQ_FIELDS_SECURE);
    assert_string_equal(text, full);

    struct thing *copy = vq_fields_copy(&thing_fields, thing);
    vq_fields_free(&thing_fields, thing);
    VQ_AUTOFREE char *copied = format(copy, VQ_FIELDS_SECURE);
    assert_string_equal(copied, full);
    vq_fields_free(&thing_fields, copy);
}

static void what_is_not_said_is_not_written(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct thing *thing;

    (void)state;
    assert_int_equal(parse("<thing><name>x</name><legs/><extra/><note/></thing>", 0, NULL, &thing, &err), 0);
    VQ_AUTOFREE char *text = format(thing, 0);
    assert_string_equal(text, "<thing>\n  <name>x</name>\n  <tune hex='0x00'/>\n</thing>\n");
    vq_fields_free(&thing_fields, thing);
}

static void live_and_secret_values_are_left_out(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct thing *thing;

    (void)state;
    assert_int_equal(parse("<thing live='gone'><name>x</name><secret>s</secret></thing>", 0, NULL, &thing, &err), 0);
    VQ_AUTOFREE char *live = format(thing, 0), *inactive = format(thing, VQ_FIELDS_INACTIVE);
    assert_non_null(strstr(live, "live='gone'"));
    assert_null(strstr(inactive, "live"));
    assert_null(strstr(live, "secret"));
    vq_fields_free(&thing_fields, thing);

    assert_int_equal(parse("<thing live='gone'><name>x</name></thing>", VQ_FIELDS_PARSE_INACTIVE, NULL, &thing, &err),
                     0);
    assert_null(thing->live);
    vq_fields_free(&thing_fields, thing);
    assert_int_equal(parse("<thing live='kept'><name>x</name></thing>", VQ_FIELDS_PARSE_INACTIVE, NULL, &thing, &err),
                     0);
    assert_string_equal(thing->live, "kept");
    vq_fields_free(&thing_fields, thing);
}

static void wrong_values_are_refused_naming_element_and_line(void **state)
{
    static const struct {
        const char *xml, *message;
    } cases[] = {
        {"<thing/>", "Missing element 'name' in element 'thing' (line 1)"},
        {"<thing kind='green'><name>x</name></thing>",
         "Invalid value for attribute 'kind' in element 'thing': 'green' (line 1; known: red, blue)"},
        {"<thing>\n<name>x</name>\n<number>1x</number></thing>", "Invalid value for element 'number': '1x' (line 3;"},
        {"<thing><name>x</name><number>2147483648</number></thing>", "'2147483648'"},
        {"<thing><name>x</name><tune small='1'/></thing>", "a number from 2 to 9 was expected"},
        {"<thing><name>x</name><tune small='-2'/></thing>", "from 2 to 9"},
        {"<thing><name>x</name><tune small=' 2'/></thing>", "from 2 to 9"},
        {"<thing><name>x</name><tune small='99999999999999999999999'/></thing>", "from 2 to 9"},
        {"<thing><name>x</name><tune hex='0x'/></thing>", "'0x'"},
        {"<thing><name>x</name><tune cpus='5-1'/></thing>", "a set of numbers was expected"},
        {"<thing><name>x</name><tune port='1.2.3.4.5.6'/></thing>", "'1.2.3.4.5.6'"},
        {"<thing><name>x</name><tune word='maybe'/></thing>", "'maybe'"},
        {"<thing><name>x</name><size>-5</size></thing>", "a size was expected"},
        {"<thing><name>x</name><size unit='XiB'>5</size></thing>", "unknown suffix 'XiB' (line 1)"},
        {"<thing><name>x</name><size unit='EiB'>16</size></thing>", "a size was expected"},
        {"<thing><name>x</name><mac address='52:54:00:aa:bb'/></thing>", "a MAC address was expected"},
        {"<thing><name>x</name><mac address='53:54:00:aa:bb:cc'/></thing>", "multicast"},
        {"<thing><name>x</name><uuid>zz</uuid></thing>", "malformed uuid"},
        {"<thing><name>x\ny</name></thing>", "line break"},
        {"<thing><name>x</name><legs><leg/></legs></thing>",
         "Missing required attribute 'length' in element 'leg' (line 1)"},
        {"<thing><name>x</name><inner/></thing>", "Missing required attribute 'length' in element 'inner'"},
        {"<thing><name>x</name><legs><leg length='1'/><leg length='1'/><leg length='1'/><leg "
         "length='1'/></legs></thing>",
         "more than 3 elements 'leg'"},
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        struct vq_error err = VQ_ERROR_INIT;
        struct thing *thing;

        assert_int_equal(parse(cases[i].xml, 0, NULL, &thing, &err), -1);
        /* Sets and units that are none are wrong arguments, as libvirt has it. */
        bool is_argument = strstr(cases[i].message, "set of") != NULL || strstr(cases[i].message, "suffix") != NULL;
        assert_int_equal(err.code, is_argument ? VIR_ERR_INVALID_ARG : VIR_ERR_XML_ERROR);
        if (strstr(err.message, cases[i].message) == NULL)
            fail_msg("'%s' is not in '%s'", cases[i].message, err.message);
        vq_fields_free(&thing_fields, thing);
    }
}

static void long_wrong_values_are_quoted_in_part(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOBUFFER xml = VQ_BUFFER_INIT;
    struct thing *thing;

    (void)state;
    vq_buffer_add(&xml, "<thing kind='");
    for (int i = 0; i < 1000; i++)
        vq_buffer_add(&xml, "\xe2\x82\xac");
    vq_buffer_add(&xml, "'/>");
    assert_int_equal(parse(xml.data, 0, NULL, &thing, &err), -1);
    assert_non_null(strstr(err.message, "\xe2\x82\xac...' (line 1; known: red, blue)"));
    vq_fields_free(&thing_fields, thing);
}

static void secrets_are_not_quoted(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct thing *thing;

    (void)state;
    assert_int_equal(parse("<thing><name>x</name><secret>hush\nhush</secret></thing>", 0, NULL, &thing, &err), -1);
    assert_string_equal(err.message, "Invalid value for element 'secret': '' (line 1; it has a line break)");
    vq_fields_free(&thing_fields, thing);
}

static void what_no_row_knows_is_reported_with_its_place(void **state)
{
    struct vq_field_report report = {.document = "t.xml"};
    struct vq_error err = VQ_ERROR_INIT;
    struct thing *thing;

    (void)state;
    assert_int_equal(parse("<thing colour='x'>\n<name>x</name>\n<legs>\n<leg length='1' lenght='2'/><arm/></legs>"
                           "<name>y</name><x:name xmlns:x='urn:x'>z</x:name><spare length='1'/><spare length='2'/>"
                           "<paint of='nothing'/></thing>",
                           0, &report, &thing, &err),
                     0);
    assert_string_equal(
        report.text.data,
        "t.xml:1: @colour: unknown attribute; known: kind, live\n"
        "t.xml:4: legs/leg@lenght: unknown attribute; known: length\n"
        "t.xml:4: legs/arm: unknown element; known: leg\n"
        "t.xml:4: name: element appears again and is ignored\n"
        "t.xml:4: x:name: unknown element; known: name, note, secret, number, tune, size, on, flag, mac, "
        "uuid, extra, legs ...\n"
        "t.xml:4: spare: element appears again and is ignored\n"
        "t.xml:4: paint@of: attribute has no meaning here\n");
    assert_int_equal(report.n_unknown, 7);
    assert_string_equal(thing->name, "x");
    vq_fields_free(&thing_fields, thing);
    vq_buffer_done(&report.text);
}

static void reports_are_bounded(void **state)
{
    struct vq_field_report report = {0};
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOBUFFER xml = VQ_BUFFER_INIT;
    struct thing *thing;

    (void)state;
    vq_buffer_add(&xml, "<thing><name>x</name>");
    for (int i = 0; i < 1000; i++)
        vq_buffer_add(&xml, "<u/>");
    vq_buffer_add(&xml, "</thing>");
    assert_int_equal(parse(xml.data, 0, &report, &thing, &err), 0);
    assert_int_equal(report.n_unknown, 1000);
    assert_int_equal(report.n_lines, VQ_FIELD_REPORT_MAX);
    vq_fields_free(&thing_fields, thing);
    vq_buffer_done(&report.text);
}

static void sizes_have_units(void **state)
{
    static const struct {
        const char *text, *unit;
        uint64_t bytes; /* 0: refused */
    } cases[] = {
        {"1", NULL, 1024},
        {"1", "b", 1},
        {"5", "bytes", 5},
        {"2", "KB", 2000},
        {"2", "k", 2048},
        {"2", "KiB", 2048},
        {"3", "M", 3145728},
        {"3", "MB", 3000000},
        {"1", "GiB", 1073741824},
        {"1", "TB", 1000000000000},
        {"15", "EiB", UINT64_C(15) << 60},
        {"16", "EiB", 0},
        {"1", "", 0},
        {"1", "KiBs", 0},
        {"1", "q", 0},
        {"", "KiB", 0},
        {"-1", "KiB", 0},
        {"1.5", "KiB", 0},
        {"0x10", "KiB", 0},
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        uint64_t bytes = 0;
        bool is_ok = vq_size_parse(cases[i].text, cases[i].unit, 1024, &bytes);

        assert_int_equal(is_ok, cases[i].bytes != 0);
        assert_int_equal(bytes, cases[i].bytes);
    }
}

static void cpusets_are_read_and_written_in_their_shortest_form(void **state)
{
    static const struct {
        const char *text, *shortest;
    } cases[] = {
        {"0", "0"},
        {"0-3,^1", "0,2-3"},
        {"3,1,2", "1-3"},
        {" 0 - 3 , 5 ", "0-3,5"},
        {"0-16383", "0-16383"},
        {"63-64", "63-64"},
        {"1,1,1", "1"},
        {"0-4,^0-", NULL},
        {"0-4294967295", NULL},
        {"^0", NULL},
        {"5-1", NULL},
        {",", NULL},
        {"", NULL},
        {"0,", NULL},
        {"0-", NULL},
        {"-1", NULL},
        {"1--2", NULL},
        {"16384", NULL},
        {"0x1", NULL},
        {"0-3,^0-3", NULL},
        {"1 2", NULL},
        {"a", NULL},
        {"18446744073709551616", NULL},
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        struct vq_cpuset set;

        if (vq_cpuset_parse(cases[i].text, VQ_CPUSET_BITS, &set) != (cases[i].shortest != NULL))
            fail_msg("'%s'", cases[i].text);
        if (cases[i].shortest == NULL)
            continue;
        VQ_AUTOFREE char *text = vq_cpuset_format(&set);
        assert_string_equal(text, cases[i].shortest);
    }
    VQ_AUTOFREE char *commas = vq_calloc(10241, 1);
    memset(commas, ',', 10240);
    struct vq_cpuset set;
    assert_false(vq_cpuset_parse(commas, VQ_CPUSET_BITS, &set));
    assert_false(vq_cpuset_parse("0-8", 8, &set));
    assert_true(vq_cpuset_parse("0-7", 8, &set));
    assert_int_equal(vq_cpuset_count(&set), 8);
    assert_int_equal(vq_cpuset_next(&set, 8), -1);
    assert_false(vq_cpuset_has(&set, 8));
    assert_false(vq_cpuset_has(&set, UINT32_MAX));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_kind_of_row_is_read_and_written),
        cmocka_unit_test(what_is_not_said_is_not_written),
        cmocka_unit_test(live_and_secret_values_are_left_out),
        cmocka_unit_test(wrong_values_are_refused_naming_element_and_line),
        cmocka_unit_test(long_wrong_values_are_quoted_in_part),
        cmocka_unit_test(secrets_are_not_quoted),
        cmocka_unit_test(what_no_row_knows_is_reported_with_its_place),
        cmocka_unit_test(reports_are_bounded),
        cmocka_unit_test(sizes_have_units),
        cmocka_unit_test(cpusets_are_read_and_written_in_their_shortest_form),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
