/* Keys of all code sets, the reader of agents' answers, and the table of neighbours. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "drivers/qemu/agent.h"
#include "drivers/qemu/agent_answers.h"
#include "drivers/qemu/neighbours.h"
#include "drivers/qemu/send_key.h"
#include "proto/gen/remote.h"

/* ---- Keys ---- */

static void the_letter_a_is_one_key_in_every_set(void **state)
{
    static const struct {
        uint32_t set, code;
    } codes[] = {
        { VIR_KEYCODE_SET_LINUX, 30 },  { VIR_KEYCODE_SET_XT, 0x1e },  { VIR_KEYCODE_SET_ATSET1, 0x1e }, { VIR_KEYCODE_SET_ATSET2, 0x1c },
        { VIR_KEYCODE_SET_ATSET3, 28 }, { VIR_KEYCODE_SET_OSX, 0 },    { VIR_KEYCODE_SET_XT_KBD, 0x1e }, { VIR_KEYCODE_SET_USB, 4 },
        { VIR_KEYCODE_SET_WIN32, 65 },  { VIR_KEYCODE_SET_QNUM, 0x1e },
    };
    uint32_t number;

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(codes); i++) {
        number = 0;
        if (!vq_keycode_find(codes[i].set, codes[i].code, &number) || number != 0x1e)
            fail_msg("%s %u is %#x", vq_keycode_set_name(codes[i].set), codes[i].code, number);
    }
}

static void a_key_with_a_prefix_has_its_code_in_each_set(void **state)
{
    static const struct {
        uint32_t set, code;
    } codes[] = {
        { VIR_KEYCODE_SET_LINUX, 111 }, { VIR_KEYCODE_SET_XT, 0xe053 }, { VIR_KEYCODE_SET_ATSET1, 0xe053 },
        { VIR_KEYCODE_SET_XT_KBD, 0x153 }, { VIR_KEYCODE_SET_USB, 76 }, { VIR_KEYCODE_SET_WIN32, 46 }, { VIR_KEYCODE_SET_QNUM, 0xd3 },
    };
    uint32_t number;

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(codes); i++) { /* Delete */
        number = 0;
        if (!vq_keycode_find(codes[i].set, codes[i].code, &number) || number != 0xd3)
            fail_msg("%s %u is %#x", vq_keycode_set_name(codes[i].set), codes[i].code, number);
    }
}

static void codes_that_a_set_does_not_have_are_refused(void **state)
{
    uint32_t number = 77;

    (void)state;
    assert_false(vq_keycode_find(VIR_KEYCODE_SET_USB, 1, &number));
    assert_false(vq_keycode_find(VIR_KEYCODE_SET_LINUX, 700, &number));
    assert_false(vq_keycode_find(VIR_KEYCODE_SET_QNUM, 0x10000, &number));
    assert_false(vq_keycode_find(10, 1, &number));
    assert_false(vq_keycode_find(UINT32_MAX, 1, &number));
    assert_int_equal(number, 77);
    assert_null(vq_keycode_set_name(10));
    assert_true(vq_keycode_find(VIR_KEYCODE_SET_LINUX, 240, &number)); /* a key without a number at QEMU */
    assert_int_equal(number, 0);
}

/* As many as a libvirtd 9.0 takes, so that none is lost and none made up. */
static void each_set_has_the_codes_that_libvirtd_takes(void **state)
{
    static const unsigned expected[] = { [VIR_KEYCODE_SET_LINUX] = 454,  [VIR_KEYCODE_SET_XT] = 236,  [VIR_KEYCODE_SET_ATSET1] = 236,
                                         [VIR_KEYCODE_SET_ATSET2] = 144, [VIR_KEYCODE_SET_ATSET3] = 141, [VIR_KEYCODE_SET_OSX] = 121,
                                         [VIR_KEYCODE_SET_XT_KBD] = 236, [VIR_KEYCODE_SET_USB] = 163,  [VIR_KEYCODE_SET_WIN32] = 150 };
    uint32_t number;

    (void)state;
    for (uint32_t set = 0; set < VQ_N_ELEMENTS(expected); set++) {
        unsigned n = 0;

        for (uint32_t code = 0; code <= 0xe180; code++)
            n += vq_keycode_find(set, code, &number);
        if (n != expected[set])
            fail_msg("%s has %u codes", vq_keycode_set_name(set), n);
    }
}

/* ---- The reader ---- */

static int feed(struct vq_agent_reader *reader, const char *text)
{
    return vq_agent_reader_feed(reader, text, strlen(text), NULL);
}

static void only_what_follows_the_last_delimiter_is_a_number(void **state)
{
    struct vq_agent_reader reader = { 0 };
    json_t *answer = NULL;

    (void)state;
    vq_agent_reader_expect(&reader, true);
    assert_int_equal(feed(&reader, "{\"return\": 1}\n"), 0); /* of a command that was given up */
    assert_int_equal(vq_agent_reader_next(&reader, &answer, NULL), 0);
    assert_int_equal(feed(&reader, "\xff{\"return\": 2}\n\xff{\"ret"), 0);
    assert_int_equal(vq_agent_reader_next(&reader, &answer, NULL), 0);
    assert_int_equal(feed(&reader, "urn\": 3}\n"), 0);
    assert_int_equal(vq_agent_reader_next(&reader, &answer, NULL), 1);
    assert_int_equal(json_integer_value(json_object_get(answer, "return")), 3);
    json_decref(answer);
    vq_agent_reader_done(&reader);
}

static void a_flood_while_a_number_is_looked_for_takes_no_memory(void **state)
{
    static char block[65536];
    struct vq_agent_reader reader = { 0 };
    json_t *answer = NULL;

    (void)state;
    memset(block, 'x', sizeof(block));
    vq_agent_reader_expect(&reader, true);
    assert_int_equal(feed(&reader, "\xff"), 0);
    for (int i = 0; i < 1024; i++) {
        assert_int_equal(vq_agent_reader_feed(&reader, block, sizeof(block), NULL), 0);
        assert_int_equal(vq_agent_reader_next(&reader, &answer, NULL), 0);
    }
    assert_true(reader.capacity <= 4096);
    assert_int_equal(feed(&reader, "\xff{\"return\": 3}\n"), 0);
    assert_int_equal(vq_agent_reader_next(&reader, &answer, NULL), 1);
    json_decref(answer);
    vq_agent_reader_done(&reader);
}

static void an_answer_without_an_end_is_bounded(void **state)
{
    static char block[65536];
    struct vq_agent_reader reader = { 0 };
    struct vq_error err = VQ_ERROR_INIT;
    int rc = 0;

    (void)state;
    memset(block, 'x', sizeof(block));
    vq_agent_reader_expect(&reader, false);
    for (int i = 0; rc == 0 && i < 1024; i++)
        rc = vq_agent_reader_feed(&reader, block, sizeof(block), &err);
    assert_int_equal(rc, -1);
    assert_string_equal(err.message, "No complete agent response found in 8388608 bytes");
    assert_true(reader.length <= VQ_AGENT_LINE_MAX);
    vq_agent_reader_done(&reader);
}

/* ---- Interfaces ---- */

static json_t *address(void)
{
    return json_pack("{s:s,s:s,s:i}", "ip-address", "192.0.2.1", "ip-address-type", "ipv4", "prefix", 24);
}

/* Many interfaces with so many addresses each. */
static json_t *interfaces(int n, const char *name_format, int n_addresses)
{
    json_t *list = json_array();

    for (int i = 0; i < n; i++) {
        json_t *addresses = json_array();
        char name[32];

        for (int j = 0; j < n_addresses; j++)
            (void)json_array_append_new(addresses, address());
        (void)snprintf(name, sizeof(name), "%s%d", name_format, i);
        (void)json_array_append_new(list, json_pack("{s:s,s:o}", "name", name, "ip-addresses", addresses));
    }
    return list;
}

static int read_interfaces(json_t *take_answer, uint32_t *ret_n, uint32_t *ret_n_addresses)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(16 * 1024 * 1024);
    struct vq_remote_domain_interface *list = NULL;
    struct vq_error err = VQ_ERROR_INIT;
    int rc = vq_agent_interfaces_read(take_answer, arena, &list, ret_n, &err);

    json_decref(take_answer);
    if (rc == 0 && *ret_n > 0)
        *ret_n_addresses = list[0].n_addrs;
    return rc == 0 ? VIR_ERR_OK : err.code;
}

static void interfaces_of_one_name_are_one_and_all_are_bounded(void **state)
{
    uint32_t n, n_addresses;

    (void)state;
    assert_int_equal(read_interfaces(interfaces(50, "eth0:", 3), &n, &n_addresses), VIR_ERR_OK);
    assert_int_equal(n, 1);
    assert_int_equal(n_addresses, 150);
    assert_int_equal(read_interfaces(interfaces(10000, "eth0:", 0), &n, &n_addresses), VIR_ERR_OK);
    assert_int_equal(n, 1);
    assert_int_equal(read_interfaces(interfaces(2048, "eth", 1), &n, &n_addresses), VIR_ERR_OK);
    assert_int_equal(n, 2048);
    assert_int_equal(read_interfaces(interfaces(2049, "eth", 1), &n, &n_addresses), VIR_ERR_RPC);
    assert_int_equal(read_interfaces(interfaces(1, "eth", 10000), &n, &n_addresses), VIR_ERR_RPC);
    assert_int_equal(read_interfaces(json_string("eth0"), &n, &n_addresses), VIR_ERR_INTERNAL_ERROR);
}

/* ---- Neighbours ---- */

static void the_table_of_neighbours_can_be_read(void **state)
{
    struct vq_neighbour *list = NULL;
    struct vq_error err = VQ_ERROR_INIT;
    size_t n = 0;

    (void)state;
    assert_int_equal(vq_neighbours_read(&list, &n, &err), 0);
    for (size_t i = 0; i < n; i++)
        assert_true(list[i].address[0] != '\0');
    free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_letter_a_is_one_key_in_every_set),
        cmocka_unit_test(a_key_with_a_prefix_has_its_code_in_each_set),
        cmocka_unit_test(codes_that_a_set_does_not_have_are_refused),
        cmocka_unit_test(each_set_has_the_codes_that_libvirtd_takes),
        cmocka_unit_test(only_what_follows_the_last_delimiter_is_a_number),
        cmocka_unit_test(a_flood_while_a_number_is_looked_for_takes_no_memory),
        cmocka_unit_test(an_answer_without_an_end_is_bounded),
        cmocka_unit_test(interfaces_of_one_name_are_one_and_all_are_bounded),
        cmocka_unit_test(the_table_of_neighbours_can_be_read),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
