/* The check of protobuf bytes before they are unpacked. */
#include "proto/cluster.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf/base/buffer.h"
#include "proto/cluster.pb-c.h"

static int check(const ProtobufCMessageDescriptor *type, const void *bytes, size_t length, struct vq_error *err)
{
    uint8_t *copy = malloc(length == 0 ? 1 : length);

    if (length > 0)
        memcpy(copy, bytes, length);
    int result = vq_cluster_check(type, copy, length, err);
    free(copy);
    return result;
}

static void assert_refused(const ProtobufCMessageDescriptor *type, const void *bytes, size_t length, const char *words)
{
    struct vq_error err = VQ_ERROR_INIT;

    assert_int_equal(check(type, bytes, length, &err), -1);
    assert_int_equal(err.code, VIR_ERR_RPC);
    assert_non_null(strstr(err.message, words));
}

/* A Mesh that carries a call with everything in it. */
static void pack_call(struct vq_buffer *buffer)
{
    Vq__Identity identity = VQ__IDENTITY__INIT;
    Vq__Call call = VQ__CALL__INIT;
    Vq__Mesh mesh = VQ__MESH__INIT;

    identity.user = (char *)"alice";
    identity.pid = -1;
    call.id = UINT64_MAX;
    call.args.data = (uint8_t *)"\0\0\0\0";
    call.args.len = 4;
    call.identity = &identity;
    call.driver = (char *)"qemu";
    mesh.message_case = VQ__MESH__MESSAGE_CALL;
    mesh.call = &call;
    size_t size = vq__mesh__get_packed_size(&mesh);
    vq__mesh__pack(&mesh, vq_buffer_extend(buffer, size));
}

static void what_we_pack_passes_and_unpacks(void **state VQ_UNUSED)
{
    VQ_AUTOBUFFER buffer = VQ_BUFFER_INIT;

    pack_call(&buffer);
    assert_int_equal(check(&vq__mesh__descriptor, buffer.data, buffer.length, NULL), 0);
    Vq__Mesh *mesh = vq__mesh__unpack(NULL, buffer.length, (const uint8_t *)buffer.data);
    assert_non_null(mesh);
    assert_int_equal(mesh->message_case, VQ__MESH__MESSAGE_CALL);
    assert_string_equal(mesh->call->identity->user, "alice");
    vq__mesh__free_unpacked(mesh, NULL);
    assert_int_equal(check(&vq__mesh__descriptor, "", 0, NULL), 0);
}

static void every_truncation_of_a_call_is_refused(void **state VQ_UNUSED)
{
    VQ_AUTOBUFFER buffer = VQ_BUFFER_INIT;

    pack_call(&buffer);
    for (size_t length = 1; length < buffer.length; length++)
        assert_refused(&vq__mesh__descriptor, buffer.data, length, "malformed");
}

static void malformed_bytes_are_refused(void **state VQ_UNUSED)
{
    static const struct {
        const char *bytes;
        size_t length;
    } cases[] = {
        {"\x00\x01", 2},                                              /* field number 0 */
        {"\x0b\x0c", 2},                                              /* group */
        {"\x0f", 1},                                                  /* wire type 7 */
        {"\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 12},     /* a number without end */
        {"\x80\x80\x80\x80\x10\x01", 6},                              /* a tag over 32 bits */
        {"\x1a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11},         /* length 2^64 - 1 */
        {"\x1a\x05" "abc", 5},                                        /* longer than the message */
        {"\x09\0\0\0", 4},                                            /* half of 64 bits */
        {"\x0d\0\0", 3},                                              /* half of 32 bits */
    };

    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++)
        assert_refused(&vq__hello__descriptor, cases[i].bytes, cases[i].length, "malformed");
}

static void a_zero_byte_inside_a_string_is_refused(void **state VQ_UNUSED)
{
    assert_refused(&vq__hello__descriptor, "\x1a\x03" "a\0b", 5, "Hello.name has a zero byte");
    assert_int_equal(check(&vq__hello__descriptor, "\x32\x03" "a\0b", 5, NULL), 0); /* bytes may */
}

static void more_fields_than_allowed_are_refused_wherever_they_are(void **state VQ_UNUSED)
{
    VQ_AUTOBUFFER flat = VQ_BUFFER_INIT;
    VQ_AUTOBUFFER unknown = VQ_BUFFER_INIT;

    for (int i = 0; i < VQ_CLUSTER_FIELDS_MAX; i++) {
        vq_buffer_add_bytes(&flat, "\x0a\x00", 2);    /* an empty command: two bytes that become a structure */
        vq_buffer_add_bytes(&unknown, "\x78\x00", 2); /* field 15, which nobody knows */
    }
    assert_int_equal(check(&vq__entry__descriptor, flat.data, flat.length, NULL), 0);
    assert_int_equal(check(&vq__entry__descriptor, unknown.data, unknown.length, NULL), 0);
    vq_buffer_add_bytes(&flat, "\x0a\x00", 2);
    vq_buffer_add_bytes(&unknown, "\x78\x00", 2);
    assert_refused(&vq__entry__descriptor, flat.data, flat.length, "fields");
    assert_refused(&vq__entry__descriptor, unknown.data, unknown.length, "fields");
}

static void a_message_over_the_maximum_is_not_even_looked_at(void **state VQ_UNUSED)
{
    static const uint8_t one;
    struct vq_error err = VQ_ERROR_INIT;

    assert_int_equal(vq_cluster_check(&vq__entry__descriptor, &one, (size_t)VQ_CLUSTER_MESSAGE_MAX + 1, &err), -1);
    assert_non_null(strstr(err.message, "allowed"));
}

/* No message of ours contains itself; one that does shows that the depth is bounded all the same. */
static void deep_nesting_is_refused(void **state VQ_UNUSED)
{
    static ProtobufCMessageDescriptor self;
    static ProtobufCFieldDescriptor field;
    static const unsigned by_name[] = {0};
    static const ProtobufCIntRange ranges[] = {{1, 0}, {0, 1}};
    uint8_t bytes[2 * 40];

    field = vq__entry__descriptor.fields[0];
    self = vq__entry__descriptor;
    field.descriptor = &self;
    self.fields = &field;
    self.fields_sorted_by_name = by_name;
    self.field_ranges = ranges;
    for (size_t depth = 0; depth < 40; depth++) {
        bytes[2 * depth] = 0x0a;
        bytes[2 * depth + 1] = (uint8_t)(2 * (39 - depth));
    }
    size_t fits = 2 * (VQ_CLUSTER_NESTING_MAX - 1); /* that many levels, the innermost empty */
    assert_int_equal(check(&self, bytes + sizeof(bytes) - fits, fits, NULL), 0);
    assert_refused(&self, bytes + sizeof(bytes) - fits - 2, fits + 2, "deep");
    assert_refused(&self, bytes, sizeof(bytes), "deep");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_we_pack_passes_and_unpacks),
        cmocka_unit_test(every_truncation_of_a_call_is_refused),
        cmocka_unit_test(malformed_bytes_are_refused),
        cmocka_unit_test(a_zero_byte_inside_a_string_is_refused),
        cmocka_unit_test(more_fields_than_allowed_are_refused_wherever_they_are),
        cmocka_unit_test(a_message_over_the_maximum_is_not_even_looked_at),
        cmocka_unit_test(deep_nesting_is_refused),
    };
    return cmocka_run_group_tests_name("cluster_check", tests, NULL, NULL);
}
