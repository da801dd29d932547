/* The codec: round trips of everything there is, exact bytes of a few messages, and refusals. */
#include "proto/xdr.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>
#include <libvirt/libvirt.h>

#include "conf/base/buffer.h"
#include "proto/gen/remote.h"
#include "proto/procedure.h"
#include "tests/lib/sample.h"

/* Call it with the arguments and the reply of every procedure. */
typedef void (*type_fn)(const struct vq_xdr_struct *type);

static void for_every_type(type_fn fn)
{
    for (unsigned program = 0; program < VQ_PROGRAMS; program++) {
        for (uint32_t number = 1; number <= vq_procedure_last((enum vq_program)program); number++) {
            const struct vq_procedure *procedure = vq_procedure_find((enum vq_program)program, number);
            if (procedure->args != NULL)
                fn(procedure->args);
            if (procedure->ret != NULL)
                fn(procedure->ret);
        }
    }
    fn(&vq_xdr_remote_error);
    fn(&vq_xdr_remote_stream_hole);
}

/* The bytes are given to the decoder in memory of exactly their size, so that the sanitizer sees one too many. */
static int decode_exactly(const struct vq_xdr_struct *type, const void *bytes, size_t length, struct vq_arena *arena,
                          void *value, size_t *ret_used, struct vq_error *err)
{
    uint8_t *copy = malloc(length == 0 ? 1 : length);

    if (length > 0)
        memcpy(copy, bytes, length);
    int result = vq_xdr_decode(type, copy, length, arena, value, ret_used, err);
    free(copy);
    return result;
}

static void assert_refused(const struct vq_xdr_struct *type, const void *bytes, size_t length, const char *words)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    VQ_AUTOFREE char *value = vq_calloc(1, type->size);
    VQ_AUTOFREE char *zero = vq_calloc(1, type->size);
    struct vq_error err = VQ_ERROR_INIT;

    assert_int_equal(decode_exactly(type, bytes, length, arena, value, NULL, &err), -1);
    assert_int_equal(err.code, VIR_ERR_RPC);
    assert_int_equal(err.from, VIR_FROM_RPC);
    assert_non_null(strstr(err.message, words));
    assert_memory_equal(value, zero, type->size);
}

/* ---- Everything there is ----------------------------------------------------------------------------------------- */

static void round_trip(const struct vq_xdr_struct *type, uint32_t count, bool optionals)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    VQ_AUTOFREE char *value = vq_calloc(1, type->size);
    VQ_AUTOFREE char *again = vq_calloc(1, type->size);
    VQ_AUTOBUFFER first = VQ_BUFFER_INIT;
    VQ_AUTOBUFFER second = VQ_BUFFER_INIT;
    struct vq_sample sample = {.arena = arena, .count = count, .optionals = optionals, .next = count};
    size_t used = 0;

    vq_sample_fill(&sample, type, value);
    assert_int_equal(vq_xdr_encode(type, value, &first, NULL), 0);
    assert_true(first.length >= type->wire_min);
    assert_true(first.length % 4 == 0);
    assert_int_equal(decode_exactly(type, first.data, first.length, arena, again, &used, NULL), 0);
    assert_int_equal(used, first.length);
    assert_int_equal(vq_xdr_encode(type, again, &second, NULL), 0);
    assert_int_equal(second.length, first.length);
    assert_memory_equal(second.data, first.data, first.length);
}

static void round_trips(const struct vq_xdr_struct *type)
{
    round_trip(type, 0, false);
    round_trip(type, 1, true);
    round_trip(type, 3, false);
    round_trip(type, 7, true);
}

static void every_structure_survives_a_round_trip(void **state VQ_UNUSED)
{
    for_every_type(round_trips);
}

static void emptiest_is_wire_min(const struct vq_xdr_struct *type)
{
    VQ_AUTOFREE char *value = vq_calloc(1, type->size);
    VQ_AUTOBUFFER bytes = VQ_BUFFER_INIT;
    struct vq_sample sample = {.arena = NULL, .count = 0};

    for (size_t i = 0; i < type->n_fields; i++)
        if (type->fields[i].kind == VQ_XDR_TYPED_PARAM && type->fields[i].shape == VQ_XDR_PLAIN)
            return;
    vq_sample_fill(&sample, type, value);
    assert_int_equal(vq_xdr_encode(type, value, &bytes, NULL), 0);
    assert_int_equal(bytes.length, type->wire_min);
}

static void the_emptiest_value_takes_exactly_the_fewest_bytes(void **state VQ_UNUSED)
{
    for_every_type(emptiest_is_wire_min);
}

static void truncations(const struct vq_xdr_struct *type)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    VQ_AUTOFREE char *value = vq_calloc(1, type->size);
    VQ_AUTOBUFFER bytes = VQ_BUFFER_INIT;
    struct vq_sample sample = {.arena = arena, .count = 2, .optionals = true};

    vq_sample_fill(&sample, type, value);
    assert_int_equal(vq_xdr_encode(type, value, &bytes, NULL), 0);
    for (size_t length = 0; length < bytes.length; length++)
        assert_refused(type, bytes.data, length, "message ends within field");
}

static void every_truncation_of_every_structure_is_refused(void **state VQ_UNUSED)
{
    for_every_type(truncations);
}

/* Where the field begins in the emptiest value: what the fields before it take. */
static void emptiest_up_to(const struct vq_xdr_struct *type, size_t n_fields, struct vq_buffer *bytes)
{
    struct vq_xdr_struct front = *type;
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    VQ_AUTOFREE char *value = vq_calloc(1, type->size);
    struct vq_sample sample = {.arena = arena, .count = 0};

    front.n_fields = n_fields;
    vq_sample_fill(&sample, &front, value);
    assert_int_equal(vq_xdr_encode(&front, value, bytes, NULL), 0);
}

static void bad_counts(const struct vq_xdr_struct *type)
{
    for (size_t i = 0; i < type->n_fields; i++) {
        const struct vq_xdr_field *field = &type->fields[i];
        bool counted = field->shape == VQ_XDR_ARRAY || field->kind == VQ_XDR_BYTES;
        if (!counted && field->kind != VQ_XDR_STR)
            continue;
        uint32_t max = counted ? field->max : field->string_max;
        const uint32_t counts[] = {max + 1, 0x7fffffff, 0x80000000, 0xfffffffe, 0xffffffff, 0x40000001};
        for (size_t c = 0; c < VQ_N_ELEMENTS(counts); c++) {
            VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
            VQ_AUTOFREE char *value = vq_calloc(1, type->size);
            VQ_AUTOBUFFER bytes = VQ_BUFFER_INIT;
            struct vq_error err = VQ_ERROR_INIT;
            uint32_t present = __builtin_bswap32(1);
            uint32_t word = __builtin_bswap32(counts[c]);

            emptiest_up_to(type, i, &bytes);
            if (field->shape == VQ_XDR_OPTIONAL)
                vq_buffer_add_bytes(&bytes, &present, 4);
            vq_buffer_add_bytes(&bytes, &word, 4);
            memset(vq_buffer_extend(&bytes, 64), 0, 64);
            assert_int_equal(decode_exactly(type, bytes.data, bytes.length, arena, value, NULL, &err), -1);
            assert_non_null(strstr(err.message, "allowed"));
            assert_non_null(strstr(err.message, field->name));
            assert_true(vq_arena_used(arena) < 1024);
        }
    }
}

static void negative_huge_and_exceeding_counts_allocate_nothing(void **state VQ_UNUSED)
{
    for_every_type(bad_counts);
}

static void too_much(const struct vq_xdr_struct *type)
{
    for (size_t i = 0; i < type->n_fields; i++) {
        const struct vq_xdr_field *field = &type->fields[i];
        if (field->shape != VQ_XDR_ARRAY && field->kind != VQ_XDR_BYTES)
            continue;
        VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
        VQ_AUTOFREE char *value = vq_calloc(1, type->size);
        VQ_AUTOBUFFER bytes = VQ_BUFFER_INIT;
        struct vq_error err = VQ_ERROR_INIT;
        struct vq_sample sample = {.arena = arena, .count = 1, .optionals = true};
        uint32_t count = field->max + 1;

        vq_sample_fill(&sample, type, value);
        memcpy(value + field->count_offset, &count, sizeof(count));
        vq_buffer_add(&bytes, "before");
        assert_int_equal(vq_xdr_encode(type, value, &bytes, &err), -1);
        assert_int_equal(err.code, VIR_ERR_RPC);
        assert_string_equal(bytes.data, "before");
    }
}

static void the_encoder_refuses_more_than_the_bound_and_takes_back_what_it_wrote(void **state VQ_UNUSED)
{
    for_every_type(too_much);
}

/* ---- Exact bytes ------------------------------------------------------------------------------------------------- */

static void assert_encodes(const struct vq_xdr_struct *type, const void *value, const char *bytes, size_t length)
{
    VQ_AUTOBUFFER buffer = VQ_BUFFER_INIT;

    assert_int_equal(vq_xdr_encode(type, value, &buffer, NULL), 0);
    assert_int_equal(buffer.length, length);
    assert_memory_equal(buffer.data, bytes, length);
}

#define UUID_BYTES "\x00\x11\x22\x33\x44\x55\x66\x77\x88\x99\xaa\xbb\xcc\xdd\xee\xff"
#define ASSERT_ENCODES(type, value, bytes) assert_encodes(&(type), &(value), (bytes), sizeof(bytes) - 1)

static struct vq_remote_domain db1(void)
{
    struct vq_remote_domain domain = {.name = "db1", .id = -1};

    memcpy(domain.uuid, UUID_BYTES, 16);
    return domain;
}

static void domain_create_has_its_known_bytes(void **state VQ_UNUSED)
{
    struct vq_remote_domain_create_args args = {.dom = db1()};

    ASSERT_ENCODES(vq_xdr_remote_domain_create_args, args, "\0\0\0\3db1\0" UUID_BYTES "\xff\xff\xff\xff");
}

static void connect_open_has_its_known_bytes_with_and_without_a_name(void **state VQ_UNUSED)
{
    struct vq_remote_connect_open_args args = {.name = "qemu:///system", .flags = 1};

    ASSERT_ENCODES(vq_xdr_remote_connect_open_args, args, "\0\0\0\1\0\0\0\x0eqemu:///system\0\0\0\0\0\1");
    args.name = NULL;
    ASSERT_ENCODES(vq_xdr_remote_connect_open_args, args, "\0\0\0\0\0\0\0\1");
}

static void domain_get_info_widens_small_numbers_to_words(void **state VQ_UNUSED)
{
    struct vq_remote_domain_get_info_ret ret = {
        .state = 1, .maxMem = 1048576, .memory = 524288, .nrVirtCpu = 2, .cpuTime = 0x0102030405060708};

    ASSERT_ENCODES(vq_xdr_remote_domain_get_info_ret, ret,
                   "\0\0\0\1\0\0\0\0\0\x10\0\0\0\0\0\0\0\x08\0\0\0\0\0\2\1\2\3\4\5\6\7\x08");
}

static void sasl_data_takes_four_bytes_per_byte(void **state VQ_UNUSED)
{
    int8_t data[] = {'A', -1};
    struct vq_remote_auth_sasl_step_args args = {.nil = 0, .n_data = 2, .data = data};

    ASSERT_ENCODES(vq_xdr_remote_auth_sasl_step_args, args, "\0\0\0\0\0\0\0\2\0\0\0A\xff\xff\xff\xff");
}

static void opaque_bytes_are_padded_with_zeros(void **state VQ_UNUSED)
{
    struct vq_remote_domain_pin_vcpu_args args = {
        .dom = db1(), .vcpu = 1, .n_cpumap = 5, .cpumap = (const uint8_t *)"\x01\x02\x03\x04\x05"};

    ASSERT_ENCODES(vq_xdr_remote_domain_pin_vcpu_args, args,
                   "\0\0\0\3db1\0" UUID_BYTES "\xff\xff\xff\xff\0\0\0\1\0\0\0\5\1\2\3\4\5\0\0\0");
}

static void typed_parameters_have_their_known_bytes(void **state VQ_UNUSED)
{
    struct vq_typed_param params[] = {
        {.field = "a", .type = VIR_TYPED_PARAM_INT, .value.i = -2},
        {.field = "bc", .type = VIR_TYPED_PARAM_UINT, .value.ui = 3},
        {.field = "d", .type = VIR_TYPED_PARAM_LLONG, .value.l = -1},
        {.field = "e", .type = VIR_TYPED_PARAM_ULLONG, .value.ul = 4},
        {.field = "f", .type = VIR_TYPED_PARAM_DOUBLE, .value.d = 1.0},
        {.field = "g", .type = VIR_TYPED_PARAM_BOOLEAN, .value.b = 1},
        {.field = "h", .type = VIR_TYPED_PARAM_STRING, .value.s = "text"},
    };
    struct vq_remote_connect_set_identity_args args = {.n_params = 7, .params = params, .flags = 0};

    ASSERT_ENCODES(vq_xdr_remote_connect_set_identity_args, args,
                   "\0\0\0\7"
                   "\0\0\0\1a\0\0\0\0\0\0\1\xff\xff\xff\xfe"
                   "\0\0\0\2bc\0\0\0\0\0\2\0\0\0\3"
                   "\0\0\0\1d\0\0\0\0\0\0\3\xff\xff\xff\xff\xff\xff\xff\xff"
                   "\0\0\0\1e\0\0\0\0\0\0\4\0\0\0\0\0\0\0\4"
                   "\0\0\0\1f\0\0\0\0\0\0\5\x3f\xf0\0\0\0\0\0\0"
                   "\0\0\0\1g\0\0\0\0\0\0\6\0\0\0\1"
                   "\0\0\0\1h\0\0\0\0\0\0\7\0\0\0\4text"
                   "\0\0\0\0");
}

static void a_callback_event_carries_its_message_inside(void **state VQ_UNUSED)
{
    struct vq_remote_domain_event_callback_lifecycle_msg event = {
        .callbackID = 7, .msg = {.dom = db1(), .event = 2, .detail = 0}};

    ASSERT_ENCODES(vq_xdr_remote_domain_event_callback_lifecycle_msg, event,
                   "\0\0\0\7\0\0\0\3db1\0" UUID_BYTES "\xff\xff\xff\xff\0\0\0\2\0\0\0\0");
}

/* ---- What stock programs say ------------------------------------------------------------------------------------- */

/* One line: kind, procedure, bytes. They must decode without a rest, and encode to the same again. */
static void stock_message(const char *kind, const char *name, const char *hex)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    VQ_AUTOBUFFER bytes = VQ_BUFFER_INIT;
    VQ_AUTOBUFFER again = VQ_BUFFER_INIT;
    const struct vq_procedure *procedure = vq_procedure_find_by_name(VQ_PROGRAM_REMOTE, name);
    unsigned byte;
    size_t used;

    assert_non_null(procedure);
    const struct vq_xdr_struct *type = strcmp(kind, "error") == 0 ? &vq_xdr_remote_error
                                       : strcmp(kind, "ret") == 0 ? procedure->ret
                                                                  : procedure->args;
    assert_non_null(type);
    for (; sscanf(hex, "%2x", &byte) == 1; hex += 2)
        vq_buffer_add_bytes(&bytes, &(uint8_t){(uint8_t)byte}, 1);
    VQ_AUTOFREE void *value = vq_calloc(1, type->size);
    if (decode_exactly(type, bytes.data, bytes.length, arena, value, &used, NULL) < 0 || used != bytes.length)
        fail_msg("%s of %s does not decode", kind, name);
    assert_int_equal(vq_xdr_encode(type, value, &again, NULL), 0);
    assert_int_equal(again.length, bytes.length);
    assert_memory_equal(again.data, bytes.data, bytes.length);
}

static void what_stock_programs_sent_decodes_and_encodes_to_the_same_bytes(void **state VQ_UNUSED)
{
    FILE *file = fopen(VQ_STOCK_MESSAGES, "r");
    char line[1024];
    char kind[8];
    char name[64];
    char hex[512];
    int n = 0;

    assert_non_null(file);
    while (fgets(line, sizeof(line), file) != NULL) {
        if (line[0] == '#')
            continue;
        assert_int_equal(sscanf(line, "%7s %63s %511s", kind, name, hex), 3);
        stock_message(kind, name, hex);
        n++;
    }
    (void)fclose(file);
    assert_true(n > 300);
}

/* ---- Rules ------------------------------------------------------------------------------------------------------- */

static void a_zero_byte_inside_a_string_is_refused(void **state VQ_UNUSED)
{
    static const char inside[] = "\0\0\0\3a\0b\0";

    assert_refused(&vq_xdr_remote_domain_lookup_by_name_args, inside, 8, "zero byte");
}

static void padding_may_be_anything_but_must_be_there(void **state VQ_UNUSED)
{
    static const char bytes[] = "\0\0\0\1aXYZ";
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_remote_domain_lookup_by_name_args args;

    assert_int_equal(decode_exactly(&vq_xdr_remote_domain_lookup_by_name_args, bytes, 8, arena, &args, NULL, NULL), 0);
    assert_string_equal(args.name, "a");
    assert_refused(&vq_xdr_remote_domain_lookup_by_name_args, bytes, 7, "message ends");
}

static void any_presence_word_but_zero_means_present(void **state VQ_UNUSED)
{
    static const char bytes[] = "\x80\0\0\0\0\0\0\1a\0\0\0\0\0\0\0";
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_remote_connect_open_args args;

    assert_int_equal(decode_exactly(&vq_xdr_remote_connect_open_args, bytes, 16, arena, &args, NULL, NULL), 0);
    assert_string_equal(args.name, "a");
}

static void bytes_behind_the_value_are_left_to_the_caller(void **state VQ_UNUSED)
{
    static const char bytes[] = "\0\0\0\0\0\0\0\1more";
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_remote_connect_open_args args;
    size_t used = 0;

    assert_int_equal(decode_exactly(&vq_xdr_remote_connect_open_args, bytes, 12, arena, &args, &used, NULL), 0);
    assert_int_equal(used, 8);
    assert_null(args.name);
}

static void typed_parameters_of_unknown_type_are_refused_both_ways(void **state VQ_UNUSED)
{
    static const int32_t types[] = {0, 8, -1, INT32_MIN, INT32_MAX};

    for (size_t i = 0; i < VQ_N_ELEMENTS(types); i++) {
        char bytes[] = "\0\0\0\1\0\0\0\1a\0\0\0TYPE\0\0\0\0\0\0\0\0\0\0\0";
        uint32_t word = __builtin_bswap32((uint32_t)types[i]);
        struct vq_typed_param param = {.field = "a", .type = types[i]};
        struct vq_remote_connect_set_identity_args args = {.n_params = 1, .params = &param};
        VQ_AUTOBUFFER buffer = VQ_BUFFER_INIT;

        memcpy(bytes + 12, &word, 4);
        assert_refused(&vq_xdr_remote_connect_set_identity_args, bytes, sizeof(bytes) - 1, "unknown type");
        assert_int_equal(vq_xdr_encode(&vq_xdr_remote_connect_set_identity_args, &args, &buffer, NULL), -1);
        assert_int_equal(buffer.length, 0);
    }
}

static void a_string_of_the_bound_passes_and_one_byte_more_does_not(void **state VQ_UNUSED)
{
    const uint32_t max = 4194304;
    VQ_AUTOFREE char *text = vq_calloc(1, max + 2);
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    VQ_AUTOBUFFER buffer = VQ_BUFFER_INIT;
    struct vq_remote_domain_lookup_by_name_args args = {.name = text};
    struct vq_error err = VQ_ERROR_INIT;

    memset(text, 'x', max);
    assert_int_equal(vq_xdr_encode(&vq_xdr_remote_domain_lookup_by_name_args, &args, &buffer, NULL), 0);
    assert_int_equal(vq_xdr_decode(&vq_xdr_remote_domain_lookup_by_name_args, (uint8_t *)buffer.data, buffer.length,
                                   arena, &args, NULL, NULL), 0);
    assert_int_equal(strlen(args.name), max);
    text[max] = 'x';
    args.name = text;
    assert_int_equal(vq_xdr_encode(&vq_xdr_remote_domain_lookup_by_name_args, &args, &buffer, &err), -1);
    assert_non_null(strstr(err.message, "4194304 allowed"));
}

static void a_missing_string_or_array_is_not_encoded(void **state VQ_UNUSED)
{
    struct vq_remote_domain_lookup_by_name_args name = {.name = NULL};
    struct vq_remote_auth_list_ret list = {.n_types = 1, .types = NULL};
    VQ_AUTOBUFFER buffer = VQ_BUFFER_INIT;

    assert_int_equal(vq_xdr_encode(&vq_xdr_remote_domain_lookup_by_name_args, &name, &buffer, NULL), -1);
    assert_int_equal(vq_xdr_encode(&vq_xdr_remote_auth_list_ret, &list, &buffer, NULL), -1);
    assert_int_equal(buffer.length, 0);
}

static void a_count_that_the_rest_of_the_message_cannot_hold_allocates_nothing(void **state VQ_UNUSED)
{
    static const char bytes[] = "\0\0\x40\0\0\0\0\1a\0\0\0\0\0\0\0"; /* 16384 domains, within the bound, in 12 bytes */
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_remote_connect_list_all_domains_ret ret;

    size_t before = vq_arena_used(arena);
    assert_int_equal(decode_exactly(&vq_xdr_remote_connect_list_all_domains_ret, bytes, 16, arena, &ret, NULL, NULL), -1);
    assert_int_equal(vq_arena_used(arena), before);
}

static void the_limit_of_the_arena_is_an_ordinary_error(void **state VQ_UNUSED)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(65536);
    VQ_AUTOBUFFER buffer = VQ_BUFFER_INIT;
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOFREE char *text = vq_calloc(1, 200001);
    struct vq_remote_domain_lookup_by_name_args args = {.name = text};

    memset(text, 'x', 200000);
    assert_int_equal(vq_xdr_encode(&vq_xdr_remote_domain_lookup_by_name_args, &args, &buffer, NULL), 0);
    assert_int_equal(vq_xdr_decode(&vq_xdr_remote_domain_lookup_by_name_args, (uint8_t *)buffer.data, buffer.length,
                                   arena, &args, NULL, &err), -1);
    assert_int_equal(err.code, VIR_ERR_RPC);
    assert_non_null(strstr(err.message, "memory"));
}

static double now_ms(void)
{
    struct timespec now;

    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &now);
    return (double)now.tv_sec * 1e3 + (double)now.tv_nsec / 1e6;
}

static void the_longest_list_of_domains_takes_milliseconds(void **state VQ_UNUSED)
{
    enum { N = 16384 };
    VQ_AUTOFREE struct vq_remote_domain *domains = vq_calloc(N, sizeof(*domains));
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    VQ_AUTOBUFFER buffer = VQ_BUFFER_INIT;
    struct vq_remote_connect_list_all_domains_ret ret = {.n_domains = N, .domains = domains, .ret = N};

    for (int i = 0; i < N; i++)
        domains[i] = db1();
    double start = now_ms();
    assert_int_equal(vq_xdr_encode(&vq_xdr_remote_connect_list_all_domains_ret, &ret, &buffer, NULL), 0);
    double encoded = now_ms();
    assert_int_equal(vq_xdr_decode(&vq_xdr_remote_connect_list_all_domains_ret, (uint8_t *)buffer.data, buffer.length,
                                   arena, &ret, NULL, NULL), 0);
    double decoded = now_ms();
    print_message("encode %.2f ms, decode %.2f ms\n", encoded - start, decoded - encoded);
    assert_int_equal(ret.n_domains, N);
    assert_string_equal(ret.domains[N - 1].name, "db1");
    assert_true(decoded - start < 500); /* far above, so that only a wrong complexity fails under sanitizers */
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_structure_survives_a_round_trip),
        cmocka_unit_test(the_emptiest_value_takes_exactly_the_fewest_bytes),
        cmocka_unit_test(every_truncation_of_every_structure_is_refused),
        cmocka_unit_test(negative_huge_and_exceeding_counts_allocate_nothing),
        cmocka_unit_test(the_encoder_refuses_more_than_the_bound_and_takes_back_what_it_wrote),
        cmocka_unit_test(domain_create_has_its_known_bytes),
        cmocka_unit_test(connect_open_has_its_known_bytes_with_and_without_a_name),
        cmocka_unit_test(domain_get_info_widens_small_numbers_to_words),
        cmocka_unit_test(sasl_data_takes_four_bytes_per_byte),
        cmocka_unit_test(opaque_bytes_are_padded_with_zeros),
        cmocka_unit_test(typed_parameters_have_their_known_bytes),
        cmocka_unit_test(a_callback_event_carries_its_message_inside),
        cmocka_unit_test(what_stock_programs_sent_decodes_and_encodes_to_the_same_bytes),
        cmocka_unit_test(a_zero_byte_inside_a_string_is_refused),
        cmocka_unit_test(padding_may_be_anything_but_must_be_there),
        cmocka_unit_test(any_presence_word_but_zero_means_present),
        cmocka_unit_test(bytes_behind_the_value_are_left_to_the_caller),
        cmocka_unit_test(typed_parameters_of_unknown_type_are_refused_both_ways),
        cmocka_unit_test(a_string_of_the_bound_passes_and_one_byte_more_does_not),
        cmocka_unit_test(a_missing_string_or_array_is_not_encoded),
        cmocka_unit_test(a_count_that_the_rest_of_the_message_cannot_hold_allocates_nothing),
        cmocka_unit_test(the_limit_of_the_arena_is_an_ordinary_error),
        cmocka_unit_test(the_longest_list_of_domains_takes_milliseconds),
    };
    return cmocka_run_group_tests_name("xdr", tests, NULL, NULL);
}
