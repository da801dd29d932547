/* The ground floor keeps its promises. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "conf/base/buffer.h"
#include "conf/base/error.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"

static void error_text_has_meaning_and_detail(void **state VQ_UNUSED)
{
    struct vq_error err = VQ_ERROR_INIT;
    char text[600];

    assert_int_equal(vq_error_set(&err, VIR_ERR_NO_DOMAIN, "no domain with matching name '%s'", "db1"), -1);
    vq_error_text(&err, text, sizeof(text));
    assert_string_equal(text, "Domain not found: no domain with matching name 'db1'");
    (void)vq_error_system(&err, 2, "opening '%s'", "/x");
    assert_int_equal(err.int1, 2);
    assert_string_equal(err.message, "opening '/x': No such file or directory");
}

static void wrapping_puts_the_layer_in_front_and_keeps_the_code(void **state VQ_UNUSED)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, VIR_ERR_XML_DETAIL, "no such disk");
    (void)vq_error_wrap(&err, "starting '%s'", "db1");
    assert_string_equal(err.message, "starting 'db1': no such disk");
    assert_int_equal(err.code, VIR_ERR_XML_DETAIL);
}

static void long_error_is_cut_with_dots_and_has_no_control_characters(void **state VQ_UNUSED)
{
    struct vq_error err = VQ_ERROR_INIT;
    char text[2000];

    memset(text, 'x', sizeof(text));
    text[sizeof(text) - 1] = '\0';
    text[3] = '\n';
    (void)vq_error_set(&err, VIR_ERR_INTERNAL_ERROR, "%s", text);
    assert_int_equal(strlen(err.message), sizeof(err.message) - 1);
    assert_string_equal(err.message + sizeof(err.message) - 4, "...");
    assert_int_equal(err.message[3], '?');
    for (int i = 0; i < 3; i++)
        (void)vq_error_wrap(&err, "%s", text);
    assert_string_equal(err.message + sizeof(err.message) - 4, "...");
}

static void error_may_be_ignored_with_null(void **state VQ_UNUSED)
{
    assert_int_equal(vq_error_set((struct vq_error *)NULL, VIR_ERR_RPC, "x"), -1);
    assert_int_equal(vq_error_system((struct vq_error *)NULL, 2, "x"), -1);
    assert_int_equal(vq_error_wrap(NULL, "x"), -1);
}

static void arena_refuses_over_its_limit_and_on_overflow(void **state VQ_UNUSED)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(1000);

    assert_non_null(vq_arena_alloc(arena, 1, 900));
    assert_null(vq_arena_alloc(arena, 1, 200));
    assert_null(vq_arena_alloc(arena, SIZE_MAX / 2, 4));
    assert_null(vq_arena_alloc(arena, SIZE_MAX, 1));
    assert_non_null(vq_arena_alloc(arena, 0, 8));
    vq_arena_reset(arena);
    assert_int_equal(vq_arena_used(arena), 0);
    assert_non_null(vq_arena_alloc(arena, 1, 900));
}

static void arena_memory_is_zeroed_aligned_and_stays_where_it_is(void **state VQ_UNUSED)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    unsigned char *pieces[64];

    for (int i = 0; i < 64; i++) {
        size_t size = (size_t)i * 97 + 1;
        pieces[i] = vq_arena_alloc(arena, 1, size);
        assert_non_null(pieces[i]);
        assert_int_equal((uintptr_t)pieces[i] % 16, 0);
        for (size_t k = 0; k < size; k++)
            assert_int_equal(pieces[i][k], 0);
        memset(pieces[i], i, size);
    }
    for (int i = 0; i < 64; i++)
        assert_int_equal(pieces[i][(size_t)i * 97], i);
}

static void buffer_grows_formats_and_escapes(void **state VQ_UNUSED)
{
    VQ_AUTOBUFFER buffer = VQ_BUFFER_INIT;
    char long_text[1000];

    memset(long_text, 'a', sizeof(long_text));
    long_text[sizeof(long_text) - 1] = '\0';
    vq_buffer_addf(&buffer, "%s|%d", long_text, 7);
    assert_int_equal(buffer.length, 1001);
    vq_buffer_truncate(&buffer, 0);
    vq_buffer_add_escaped(&buffer, "a<b>&\"'\x01z");
    assert_string_equal(buffer.data, "a&lt;b&gt;&amp;&quot;&apos;z");
    VQ_AUTOFREE char *text = vq_buffer_steal(&buffer);
    assert_null(buffer.data);
    VQ_AUTOFREE char *empty = vq_buffer_steal(&buffer);
    assert_string_equal(empty, "");
    assert_non_null(text);
}

static void number_parser_takes_the_whole_text_in_range_only(void **state VQ_UNUSED)
{
    static const char *const refused[] = {"", " 1", "1 ", "-1", "+1", "1x", "0x", "99999999999999999999999", "256"};
    uint64_t value = 77;
    int64_t number = 77;

    for (size_t i = 0; i < VQ_N_ELEMENTS(refused); i++)
        assert_false(vq_parse_u64(refused[i], 10, 255, &value));
    assert_false(vq_parse_u64(NULL, 10, 255, &value));
    assert_int_equal(value, 77);
    assert_true(vq_parse_u64("255", 10, 255, &value));
    assert_int_equal(value, 255);
    assert_true(vq_parse_u64("0xff", 0, 255, &value));
    assert_true(vq_parse_u64("ff", 16, 255, &value));
    assert_int_equal(value, 255);
    assert_false(vq_parse_u64("-f", 16, 255, &value));
    assert_true(vq_parse_i64("-5", -5, 5, &number));
    assert_int_equal(number, -5);
    assert_false(vq_parse_i64("-6", -5, 5, &number));
    assert_false(vq_parse_i64("-", -5, 5, &number));
    assert_false(vq_parse_i64("--5", -5, 5, &number));
}

static void uuid_round_trips_with_and_without_dashes(void **state VQ_UNUSED)
{
    static const char *const refused[] = {"", "c7a5fdbd-edaf-9455-926a-d65c16db180", "c7a5fdbd-edaf-9455-926a-d65c16db18090",
                                          "g7a5fdbd-edaf-9455-926a-d65c16db1809", "-c7a5fdbdedaf9455926ad65c16db1809"};
    uint8_t uuid[16], same[16];
    char text[VQ_UUID_TEXT];

    assert_true(vq_uuid_parse("C7A5FDBD-EDAF-9455-926A-D65C16DB1809", uuid));
    assert_true(vq_uuid_parse("c7a5fdbdedaf9455926ad65c16db1809", same));
    assert_memory_equal(uuid, same, 16);
    vq_uuid_format(uuid, text);
    assert_string_equal(text, "c7a5fdbd-edaf-9455-926a-d65c16db1809");
    for (size_t i = 0; i < VQ_N_ELEMENTS(refused); i++)
        assert_false(vq_uuid_parse(refused[i], uuid));
    memset(uuid, 5, sizeof(uuid));
    assert_false(vq_uuid_is_usable(uuid));
    assert_true(vq_uuid_is_usable(same));
}

static void names_are_one_path_component(void **state VQ_UNUSED)
{
    static const char *const refused[] = {"", ".", "..", "a/b", "a\nb", "a\x7f", NULL};
    char long_name[300];

    memset(long_name, 'n', sizeof(long_name));
    long_name[256] = '\0';
    assert_false(vq_name_is_component(long_name));
    long_name[255] = '\0';
    assert_true(vq_name_is_component(long_name));
    assert_true(vq_name_is_component("web-1"));
    assert_true(vq_name_is_component("..."));
    for (size_t i = 0; i < VQ_N_ELEMENTS(refused); i++)
        assert_false(vq_name_is_component(refused[i]));
}

static void equal_texts_include_two_nulls(void **state VQ_UNUSED)
{
    assert_true(vq_streq(NULL, NULL));
    assert_false(vq_streq(NULL, ""));
    assert_true(vq_streq("a", "a"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(error_text_has_meaning_and_detail),
        cmocka_unit_test(wrapping_puts_the_layer_in_front_and_keeps_the_code),
        cmocka_unit_test(long_error_is_cut_with_dots_and_has_no_control_characters),
        cmocka_unit_test(error_may_be_ignored_with_null),
        cmocka_unit_test(arena_refuses_over_its_limit_and_on_overflow),
        cmocka_unit_test(arena_memory_is_zeroed_aligned_and_stays_where_it_is),
        cmocka_unit_test(buffer_grows_formats_and_escapes),
        cmocka_unit_test(number_parser_takes_the_whole_text_in_range_only),
        cmocka_unit_test(uuid_round_trips_with_and_without_dashes),
        cmocka_unit_test(names_are_one_path_component),
        cmocka_unit_test(equal_texts_include_two_nulls),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
