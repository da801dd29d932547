/* Framing and the error reply. */
#include "proto/frame.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "proto/gen/remote.h"

#define HEADER "\x20\x00\x80\x86\0\0\0\1\0\0\0\x09\0\0\0\0\0\0\0\5\0\0\0\0"

static int decode(const char *bytes, size_t length, struct vq_frame *frame, size_t *whole, struct vq_error *err)
{
    return vq_frame_decode((const uint8_t *)bytes, length, frame, whole, err);
}

static void a_whole_frame_is_taken_apart(void **state VQ_UNUSED)
{
    static const char bytes[] = "\0\0\0\x20" HEADER "argsnext frame";
    struct vq_frame frame;
    size_t whole = 0;

    assert_int_equal(decode(bytes, sizeof(bytes) - 1, &frame, &whole, NULL), 1);
    assert_int_equal(whole, 32);
    assert_int_equal(frame.program, 0x20008086);
    assert_int_equal(frame.version, 1);
    assert_int_equal(frame.procedure, 9);
    assert_int_equal(frame.type, VQ_FRAME_CALL);
    assert_int_equal(frame.serial, 5);
    assert_int_equal(frame.status, VQ_FRAME_OK);
    assert_int_equal(frame.n_fds, 0);
    assert_int_equal(frame.payload_length, 4);
    assert_memory_equal(frame.payload, "args", 4);
}

static void an_unfinished_frame_tells_how_much_it_needs(void **state VQ_UNUSED)
{
    static const char bytes[] = "\0\0\0\x20" HEADER "args";
    struct vq_frame frame;

    for (size_t length = 0; length < 32; length++) {
        char *copy = malloc(length + 1);
        size_t whole = 99;
        memcpy(copy, bytes, length);
        assert_int_equal(decode(copy, length, &frame, &whole, NULL), 0);
        assert_int_equal(whole, length < 4 ? 0 : 32);
        free(copy);
    }
}

static void lengths_outside_the_bounds_break_framing_at_once(void **state VQ_UNUSED)
{
    static const uint32_t bad[] = {0, 3, 4, 27, VQ_FRAME_MAX + 1, 0x7fffffff, 0x80000000, 0xffffffff};
    static const uint32_t good[] = {29, VQ_FRAME_MAX};
    struct vq_frame frame;
    size_t whole = 0;

    for (size_t i = 0; i < VQ_N_ELEMENTS(bad); i++) {
        struct vq_error err = VQ_ERROR_INIT;
        uint32_t word = __builtin_bswap32(bad[i]);
        assert_int_equal(decode((char *)&word, 4, &frame, &whole, &err), -1);
        assert_int_equal(err.code, VIR_ERR_RPC);
    }
    for (size_t i = 0; i < VQ_N_ELEMENTS(good); i++) {
        uint32_t word = __builtin_bswap32(good[i]);
        assert_int_equal(decode((char *)&word, 4, &frame, &whole, NULL), 0);
        assert_int_equal(whole, good[i]);
    }
}

static void the_number_of_descriptors_stands_before_the_arguments(void **state VQ_UNUSED)
{
    char bytes[] = "\0\0\0\x24" HEADER "\0\0\0\x02" "args";
    struct vq_frame frame;
    size_t whole;

    bytes[19] = VQ_FRAME_CALL_WITH_FDS;
    assert_int_equal(decode(bytes, sizeof(bytes) - 1, &frame, &whole, NULL), 1);
    assert_int_equal(frame.n_fds, 2);
    assert_int_equal(frame.payload_length, 4);
    assert_memory_equal(frame.payload, "args", 4);

    bytes[31] = VQ_FRAME_FDS_MAX + 1;
    assert_int_equal(decode(bytes, sizeof(bytes) - 1, &frame, &whole, NULL), -1);
    bytes[31] = 2;
    bytes[3] = 30; /* ends within the number */
    assert_int_equal(decode(bytes, 30, &frame, &whole, NULL), -1);
}

static void unknown_types_and_states_pass_to_the_caller(void **state VQ_UNUSED)
{
    char bytes[] = "\0\0\0\x1c" HEADER;
    struct vq_frame frame;
    size_t whole;

    memset(bytes + 4, 0xff, 24);
    assert_int_equal(decode(bytes, sizeof(bytes) - 1, &frame, &whole, NULL), 1);
    assert_int_equal(frame.type, 0xffffffff);
    assert_int_equal(frame.status, 0xffffffff);
    assert_int_equal(frame.procedure, -1);
    assert_int_equal(frame.serial, 0xffffffff);
}

static void begin_and_end_write_what_decode_reads(void **state VQ_UNUSED)
{
    const struct vq_frame call = {.program = 0x20008086, .version = 1, .procedure = 9, .serial = 5};
    const struct vq_frame reply = {.program = 0x20008086, .version = 1, .procedure = 343, .serial = 6, .n_fds = 1,
                                   .type = VQ_FRAME_REPLY_WITH_FDS};
    VQ_AUTOBUFFER buffer = VQ_BUFFER_INIT;
    struct vq_frame frame;
    size_t whole;

    size_t begin = vq_frame_begin(&buffer, &call);
    vq_buffer_add(&buffer, "args");
    assert_int_equal(vq_frame_end(&buffer, begin, NULL), 0);
    assert_int_equal(buffer.length, 32);
    assert_memory_equal(buffer.data, "\0\0\0\x20" HEADER "args", 32);

    begin = vq_frame_begin(&buffer, &reply); /* a second one behind it */
    assert_int_equal(begin, 32);
    assert_int_equal(vq_frame_end(&buffer, begin, NULL), 0);
    assert_int_equal(decode(buffer.data + begin, buffer.length - begin, &frame, &whole, NULL), 1);
    assert_int_equal(frame.n_fds, 1);
    assert_int_equal(frame.payload_length, 0);
    assert_int_equal(frame.procedure, 343);
}

static void a_frame_over_the_maximum_is_taken_back(void **state VQ_UNUSED)
{
    const struct vq_frame reply = {.type = VQ_FRAME_REPLY};
    VQ_AUTOBUFFER buffer = VQ_BUFFER_INIT;
    struct vq_error err = VQ_ERROR_INIT;

    vq_buffer_add(&buffer, "before");
    size_t begin = vq_frame_begin(&buffer, &reply);
    (void)memset(vq_buffer_extend(&buffer, VQ_FRAME_MAX - VQ_FRAME_MIN), 'x', VQ_FRAME_MAX - VQ_FRAME_MIN);
    assert_int_equal(vq_frame_end(&buffer, begin, NULL), 0);
    vq_buffer_add(&buffer, "x");
    assert_int_equal(vq_frame_end(&buffer, begin, &err), -1);
    assert_int_equal(err.code, VIR_ERR_RPC);
    assert_string_equal(buffer.data, "before");
}

static struct vq_remote_error error_on_the_wire(const struct vq_error *error, struct vq_arena *arena)
{
    VQ_AUTOBUFFER buffer = VQ_BUFFER_INIT;
    struct vq_remote_error wire;
    size_t used = 0;

    vq_frame_add_error(&buffer, error);
    assert_int_equal(vq_xdr_decode(&vq_xdr_remote_error, (const uint8_t *)buffer.data, buffer.length, arena, &wire, &used,
                                   NULL), 0);
    assert_int_equal(used, buffer.length);
    return wire;
}

static void an_error_carries_text_template_and_detail(void **state VQ_UNUSED)
{
    const struct vq_error error = {
        .code = VIR_ERR_NO_DOMAIN, .from = VIR_FROM_QEMU, .int1 = -1, .message = "no domain with name 'db1'"};
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);

    struct vq_remote_error wire = error_on_the_wire(&error, arena);
    assert_int_equal(wire.code, VIR_ERR_NO_DOMAIN);
    assert_int_equal(wire.domain, VIR_FROM_QEMU);
    assert_int_equal(wire.level, VIR_ERR_ERROR);
    assert_string_equal(wire.message, "Domain not found: no domain with name 'db1'");
    assert_string_equal(wire.str1, "Domain not found: %s");
    assert_string_equal(wire.str2, "no domain with name 'db1'");
    assert_null(wire.str3);
    assert_null(wire.dom);
    assert_null(wire.net);
    assert_int_equal(wire.int1, -1);
    assert_int_equal(wire.int2, -1);
}

static void an_error_has_its_known_bytes(void **state VQ_UNUSED)
{
    static const char bytes[] =
        "\0\0\0\x27\0\0\0\7\0\0\0\1\0\0\0\3bad\0\0\0\0\2\0\0\0\0\0\0\0\1\0\0\0\2%s\0\0\0\0\0\1\0\0\0\3bad\0\0\0\0\0"
        "\xff\xff\xff\xff\xff\xff\xff\xff\0\0\0\0";
    const struct vq_error error = {.code = VIR_ERR_RPC, .from = VIR_FROM_RPC, .int1 = -1, .message = "bad"};
    VQ_AUTOBUFFER buffer = VQ_BUFFER_INIT;

    vq_frame_add_error(&buffer, &error);
    assert_int_equal(buffer.length, sizeof(bytes) - 1);
    assert_memory_equal(buffer.data, bytes, sizeof(bytes) - 1);
}

static void the_longest_message_and_the_errno_get_through(void **state VQ_UNUSED)
{
    struct vq_error error = {.code = VIR_ERR_SYSTEM_ERROR, .from = VIR_FROM_STORAGE, .int1 = 28};
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);

    memset(error.message, 'x', sizeof(error.message) - 1);
    struct vq_remote_error wire = error_on_the_wire(&error, arena);
    assert_int_equal(wire.int1, 28);
    assert_int_equal(strlen(wire.str2), sizeof(error.message) - 1);
    assert_non_null(strstr(wire.message, error.message));
}

static void a_failure_without_a_reason_is_still_an_error(void **state VQ_UNUSED)
{
    const struct vq_error error = VQ_ERROR_INIT;
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);

    struct vq_remote_error wire = error_on_the_wire(&error, arena);
    assert_int_equal(wire.code, VIR_ERR_INTERNAL_ERROR);
    assert_true(strlen(wire.message) > 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_whole_frame_is_taken_apart),
        cmocka_unit_test(an_unfinished_frame_tells_how_much_it_needs),
        cmocka_unit_test(lengths_outside_the_bounds_break_framing_at_once),
        cmocka_unit_test(the_number_of_descriptors_stands_before_the_arguments),
        cmocka_unit_test(unknown_types_and_states_pass_to_the_caller),
        cmocka_unit_test(begin_and_end_write_what_decode_reads),
        cmocka_unit_test(a_frame_over_the_maximum_is_taken_back),
        cmocka_unit_test(an_error_carries_text_template_and_detail),
        cmocka_unit_test(an_error_has_its_known_bytes),
        cmocka_unit_test(the_longest_message_and_the_errno_get_through),
        cmocka_unit_test(a_failure_without_a_reason_is_still_an_error),
    };
    return cmocka_run_group_tests_name("frame", tests, NULL, NULL);
}
