/* Flags and parameters of a migration: every row of the tables, and the words that a stock daemon has for what is wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <libvirt/libvirt.h>

#include "conf/base/memory.h"
#include "drivers/qemu/migrate.h"
#include "proto/xdr.h"

enum { LIVE = VIR_MIGRATE_LIVE, P2P = VIR_MIGRATE_PEER2PEER, TUNNELLED = VIR_MIGRATE_TUNNELLED, NONE = 0 };

#define STR(f, v) { .field = (f), .type = VIR_TYPED_PARAM_STRING, .value.s = (v) }
#define INT(f, v) { .field = (f), .type = VIR_TYPED_PARAM_INT, .value.i = (v) }
#define U64(f, v) { .field = (f), .type = VIR_TYPED_PARAM_ULLONG, .value.ul = (v) }

static const struct vq_typed_param everything[] = {
    STR("migrate_uri", "tcp://b:49152"), STR("destination_name", "new"), STR("destination_xml", "<domain/>"),
    STR("persistent_xml", "<domain type='x'/>"), U64("bandwidth", 8796093022207), U64("bandwidth.postcopy", 7),
    STR("graphics_uri", "vnc://c"), STR("listen_address", "::"), STR("migrate_disks", "vda"), STR("migrate_disks", "vdb"),
    STR("migrate_disks", "sda"), INT("disks_port", 49200), STR("compression", "mt"), STR("compression", "xbzrle"),
    STR("compression", "zlib"), STR("compression", "zstd"), INT("compression.mt.level", 0),
    INT("compression.mt.threads", 255), INT("compression.mt.dthreads", 1), U64("compression.xbzrle.cache", 65536),
    INT("auto_converge.initial", 99), INT("auto_converge.increment", 1), INT("parallel.connections", 255),
    STR("tls.destination", "b.example"),
};
enum { ALL_FLAGS = VIR_MIGRATE_COMPRESSED | VIR_MIGRATE_PARALLEL | VIR_MIGRATE_AUTO_CONVERGE | VIR_MIGRATE_NON_SHARED_DISK };

static void check_same(const struct vq_typed_param *a, const struct vq_typed_param *b)
{
    assert_string_equal(a->field, b->field);
    assert_int_equal(a->type, b->type);
    if (a->type == VIR_TYPED_PARAM_STRING)
        assert_string_equal(a->value.s, b->value.s);
    else if (a->type == VIR_TYPED_PARAM_INT)
        assert_int_equal(a->value.i, b->value.i);
    else
        assert_true(a->value.ul == b->value.ul);
}

static void every_parameter_is_read_copied_and_written_again(void **state)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_migrate_options options, copy;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_typed_param *list;
    uint32_t n = 0;

    (void)state;
    assert_int_equal(vq_migrate_options_read(everything, VQ_N_ELEMENTS(everything), ALL_FLAGS, &options, &err), 0);
    assert_int_equal(vq_migrate_options_check(&options, VQ_MIGRATE_BEGIN, &err), 0);
    assert_string_equal(options.dname, "new");
    assert_int_equal(options.n_disks, 3);
    assert_string_equal(options.disks[1], "vdb");
    assert_int_equal(options.compression, 15);
    assert_int_equal(options.mt_level, 0);
    assert_true(options.has_xbzrle_cache);
    vq_migrate_options_copy(&copy, &options);
    vq_migrate_options_done(&options);
    assert_null(options.uri);
    assert_int_equal(options.mt_level, -1);
    assert_int_equal(copy.flags, ALL_FLAGS);
    list = vq_migrate_options_list(&copy, arena, &n);
    vq_migrate_options_done(&copy);
    assert_non_null(list);
    assert_int_equal(n, VQ_N_ELEMENTS(everything));
    for (uint32_t i = 0; i < n; i++)
        check_same(&list[i], &everything[i]);
}

static void nothing_said_is_an_empty_list(void **state)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_migrate_options options, copy;
    struct vq_error err = VQ_ERROR_INIT;
    uint32_t n = 7;

    (void)state;
    assert_int_equal(vq_migrate_options_read(NULL, 0, LIVE, &options, &err), 0);
    assert_int_equal(options.mt_level, -1);
    assert_int_equal(options.mt_threads, -1);
    assert_int_equal(options.mt_dthreads, -1);
    assert_non_null(vq_migrate_options_list(&options, arena, &n));
    assert_int_equal(n, 0);
    vq_migrate_options_copy(&copy, &options);
    vq_migrate_options_done(&copy);
    vq_migrate_options_done(&options);
}

static void a_full_arena_gives_no_list(void **state)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(768);
    struct vq_migrate_options options;
    struct vq_error err = VQ_ERROR_INIT;
    uint32_t n;

    (void)state;
    assert_int_equal(vq_migrate_options_read(everything, VQ_N_ELEMENTS(everything), ALL_FLAGS, &options, &err), 0);
    assert_null(vq_migrate_options_list(&options, arena, &n));
    vq_migrate_options_done(&options);
}

static void positional_arguments_are_the_same_options(void **state)
{
    struct vq_migrate_options options;
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_int_equal(vq_migrate_options_positional(LIVE, NULL, "n", "<x/>", 12, &options, &err), 0);
    assert_null(options.uri);
    assert_string_equal(options.dname, "n");
    assert_string_equal(options.dxml, "<x/>");
    assert_int_equal(options.bandwidth, 12);
    vq_migrate_options_done(&options);
    assert_int_equal(vq_migrate_options_positional(LIVE, NULL, NULL, NULL, UINT64_MAX, &options, &err), -1);
    assert_int_equal(err.code, VIR_ERR_OVERFLOW);
    assert_int_equal(vq_migrate_options_positional(0x200000, NULL, NULL, NULL, 0, &options, &err), -1);
    assert_string_equal(err.message, "unsupported flags (0x200000)");
}

static void compression_without_a_method_is_xbzrle(void **state)
{
    struct vq_migrate_options options;
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_int_equal(vq_migrate_options_positional(VIR_MIGRATE_COMPRESSED, NULL, NULL, NULL, 0, &options, &err), 0);
    assert_int_equal(options.compression, VQ_COMPRESS_XBZRLE);
    vq_migrate_options_done(&options);
}

/* ---- What is refused on reading ---- */

struct refusal {
    uint64_t flags;
    struct vq_typed_param params[3];
    int from, code;
    const char *words;
};

#define MT "Turn multithread compression on to tune it"
#define XBZRLE "Turn xbzrle compression on to tune it"
#define COMPRESSED VIR_MIGRATE_COMPRESSED
#define PARALLEL VIR_MIGRATE_PARALLEL
#define QEMU_ARG VIR_FROM_QEMU, VIR_ERR_INVALID_ARG
#define ARG VIR_FROM_NONE, VIR_ERR_INVALID_ARG
#define API_ARG VIR_FROM_DOM, VIR_ERR_INVALID_ARG
#define WITHIN(name, min, max) "migration parameter '" name "' must be within " #min " and " #max

static const struct refusal refusals[] = {
    { 0x80000000, { { 0 } }, QEMU_ARG, "unsupported flags (0x80000000)" },
    { 0x100000000ULL, { { 0 } }, QEMU_ARG, "unsupported flags (0x100000000)" },
    { VIR_MIGRATE_NON_SHARED_DISK | VIR_MIGRATE_NON_SHARED_INC, { { 0 } }, API_ARG,
      "Flags 'VIR_MIGRATE_NON_SHARED_DISK' and 'VIR_MIGRATE_NON_SHARED_INC' are mutually exclusive" },
    { TUNNELLED, { { 0 } }, API_ARG, "cannot perform tunnelled migration without using peer2peer flag" },
    { TUNNELLED | P2P | PARALLEL, { { 0 } }, API_ARG,
      "Flags 'VIR_MIGRATE_TUNNELLED' and 'VIR_MIGRATE_PARALLEL' are mutually exclusive" },
    { VIR_MIGRATE_NON_SHARED_SYNCHRONOUS_WRITES, { { 0 } }, API_ARG,
      "Flag 'VIR_MIGRATE_NON_SHARED_DISK | VIR_MIGRATE_NON_SHARED_INC' is required by flag "
      "'VIR_MIGRATE_NON_SHARED_SYNCHRONOUS_WRITES'" },
    { LIVE, { INT("no.such", 1) }, VIR_FROM_NONE, VIR_ERR_ARGUMENT_UNSUPPORTED, "parameter 'no.such' not supported" },
    { LIVE, { INT("compression.zlib.level", 1) }, VIR_FROM_NONE, VIR_ERR_ARGUMENT_UNSUPPORTED,
      "parameter 'compression.zlib.level' not supported" },
    { LIVE, { INT("", 1) }, VIR_FROM_NONE, VIR_ERR_ARGUMENT_UNSUPPORTED, "parameter '' not supported" },
    { LIVE, { U64("bandwidth", 1), U64("bandwidth", 1) }, ARG, "parameter 'bandwidth' occurs multiple times" },
    { LIVE, { STR("migrate_uri", "a"), STR("migrate_uri", "a") }, ARG, "parameter 'migrate_uri' occurs multiple times" },
    { LIVE, { INT("bandwidth", 1) }, ARG, "invalid type 'int' for parameter 'bandwidth', expected 'ullong'" },
    { LIVE, { STR("bandwidth", "1") }, ARG, "invalid type 'string' for parameter 'bandwidth', expected 'ullong'" },
    { LIVE, { INT("migrate_uri", 1) }, ARG, "invalid type 'int' for parameter 'migrate_uri', expected 'string'" },
    { LIVE, { { .field = "disks_port", .type = 99 } }, ARG,
      "invalid type 'unknown' for parameter 'disks_port', expected 'int'" },
    { LIVE, { U64("bandwidth", 8796093022208) }, VIR_FROM_QEMU, VIR_ERR_OVERFLOW,
      "migration parameter 'bandwidth' must be less than 8796093022208" },
    { LIVE, { U64("bandwidth.postcopy", UINT64_MAX) }, VIR_FROM_QEMU, VIR_ERR_OVERFLOW,
      "migration parameter 'bandwidth.postcopy' must be less than 8796093022208" },
    { LIVE, { INT("disks_port", -1) }, QEMU_ARG, WITHIN("disks_port", 0, 65535) },
    { LIVE, { INT("disks_port", 65536) }, QEMU_ARG, WITHIN("disks_port", 0, 65535) },
    { LIVE, { INT("disks_port", 1), STR("disks_uri", "unix:///x") }, QEMU_ARG,
      "Both port and URI requested for disk migration while being mutually exclusive" },
    { COMPRESSED, { STR("compression", "lzo") }, QEMU_ARG, "Unsupported compression method 'lzo'" },
    { COMPRESSED, { STR("compression", "mt"), STR("compression", "mt") }, QEMU_ARG,
      "Compression method 'mt' is specified twice" },
    { COMPRESSED, { STR("compression", "zlib") }, QEMU_ARG, "Compression method 'zlib' needs parallel migration" },
    { COMPRESSED, { STR("compression", "zstd") }, QEMU_ARG, "Compression method 'zstd' needs parallel migration" },
    { LIVE, { INT("compression.mt.level", 3) }, QEMU_ARG, MT },
    { COMPRESSED, { INT("compression.mt.level", 3) }, QEMU_ARG, MT },
    { COMPRESSED, { STR("compression", "xbzrle"), INT("compression.mt.threads", 3) }, QEMU_ARG, MT },
    { COMPRESSED, { INT("compression.mt.dthreads", 3) }, QEMU_ARG, MT },
    { COMPRESSED, { STR("compression", "mt"), INT("compression.mt.level", 10) }, QEMU_ARG,
      WITHIN("compression.mt.level", 0, 9) },
    { COMPRESSED, { STR("compression", "mt"), INT("compression.mt.level", -1) }, QEMU_ARG,
      WITHIN("compression.mt.level", 0, 9) },
    { COMPRESSED, { STR("compression", "mt"), INT("compression.mt.threads", 0) }, QEMU_ARG,
      WITHIN("compression.mt.threads", 1, 255) },
    { COMPRESSED, { STR("compression", "mt"), INT("compression.mt.dthreads", 256) }, QEMU_ARG,
      WITHIN("compression.mt.dthreads", 1, 255) },
    { LIVE, { U64("compression.xbzrle.cache", 65536) }, QEMU_ARG, XBZRLE },
    { COMPRESSED, { STR("compression", "mt"), U64("compression.xbzrle.cache", 65536) }, QEMU_ARG, XBZRLE },
    { COMPRESSED, { STR("compression", "xbzrle"), U64("compression.xbzrle.cache", 65535) }, QEMU_ARG,
      "migration parameter 'compression.xbzrle.cache' must be a power of two no less than 4096" },
    { COMPRESSED, { STR("compression", "xbzrle"), U64("compression.xbzrle.cache", 0) }, QEMU_ARG,
      "migration parameter 'compression.xbzrle.cache' must be a power of two no less than 4096" },
    { COMPRESSED, { STR("compression", "xbzrle"), U64("compression.xbzrle.cache", 1ULL << 63) }, QEMU_ARG,
      "migration parameter 'compression.xbzrle.cache' must be a power of two no less than 4096" },
    { LIVE, { INT("auto_converge.initial", 100) }, QEMU_ARG, WITHIN("auto_converge.initial", 1, 99) },
    { LIVE, { INT("auto_converge.increment", 0) }, QEMU_ARG, WITHIN("auto_converge.increment", 1, 99) },
    { LIVE, { INT("parallel.connections", 2) }, QEMU_ARG, "Turn parallel migration on to tune it" },
    { PARALLEL, { INT("parallel.connections", 0) }, QEMU_ARG, WITHIN("parallel.connections", 1, 255) },
    { PARALLEL, { INT("parallel.connections", 256) }, QEMU_ARG, WITHIN("parallel.connections", 1, 255) },
    { TUNNELLED | P2P, { STR("migrate_uri", "tcp:x") }, VIR_FROM_QEMU, VIR_ERR_ARGUMENT_UNSUPPORTED,
      "migration URI is not supported by tunnelled migration" },
    { TUNNELLED | P2P, { STR("listen_address", "::") }, VIR_FROM_QEMU, VIR_ERR_ARGUMENT_UNSUPPORTED,
      "listen address is not supported by tunnelled migration" },
    { TUNNELLED | P2P, { INT("disks_port", 1) }, VIR_FROM_QEMU, VIR_ERR_ARGUMENT_UNSUPPORTED,
      "disk port address is not supported by tunnelled migration" },
};

static void what_is_wrong_is_refused_in_the_words_of_a_stock_daemon(void **state)
{
    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(refusals); i++) {
        const struct refusal *row = &refusals[i];
        struct vq_migrate_options options = { .flags = 77 };
        struct vq_error err = VQ_ERROR_INIT;
        uint32_t n = 0;

        while (n < VQ_N_ELEMENTS(row->params) && row->params[n].field != NULL)
            n++;
        if (vq_migrate_options_read(row->params, n, row->flags, &options, &err) == 0)
            fail_msg("taken: %s", row->words);
        assert_string_equal(err.message, row->words);
        assert_int_equal(err.code, row->code);
        assert_int_equal(err.from, row->from);
        assert_int_equal(options.flags, 77);
    }
}

static void more_disks_than_can_be_copied_are_refused(void **state)
{
    struct vq_typed_param params[VQ_MIGRATE_DISKS_MAX + 1];
    struct vq_migrate_options options;
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(params); i++)
        params[i] = (struct vq_typed_param)STR("migrate_disks", "vda");
    assert_int_equal(vq_migrate_options_read(params, VQ_N_ELEMENTS(params), LIVE, &options, &err), -1);
    assert_string_equal(err.message, "more than 64 disks are named");
    assert_int_equal(vq_migrate_options_read(params, VQ_MIGRATE_DISKS_MAX, LIVE, &options, &err), 0);
    vq_migrate_options_done(&options);
}

/* ---- What only one of the calls refuses ---- */

enum { SOURCE = VQ_MIGRATE_BEGIN | VQ_MIGRATE_PERFORM | VQ_MIGRATE_P2P };

static const struct {
    uint64_t flags;
    struct vq_typed_param param;
    unsigned calls;          /* that refuse it */
    int code;
    const char *words;
} checks[] = {
    { LIVE, INT("auto_converge.initial", 10), SOURCE, VIR_ERR_INVALID_ARG, "Turn auto convergence on to tune it" },
    { LIVE, INT("auto_converge.increment", 10), SOURCE, VIR_ERR_INVALID_ARG, "Turn auto convergence on to tune it" },
    { LIVE | VIR_MIGRATE_AUTO_CONVERGE, INT("auto_converge.increment", 10), NONE, 0, NULL },
    { TUNNELLED | P2P, { .field = NULL }, VQ_MIGRATE_PREPARE, VIR_ERR_INTERNAL_ERROR,
      "Tunnelled migration requested but invalid RPC method called" },
    { LIVE, { .field = NULL }, VQ_MIGRATE_PREPARE_TUNNEL, VIR_ERR_INTERNAL_ERROR,
      "PrepareTunnel called but no TUNNELLED flag set" },
    { VIR_MIGRATE_POSTCOPY, { .field = NULL }, VQ_MIGRATE_BEGIN | VQ_MIGRATE_P2P, VIR_ERR_ARGUMENT_UNSUPPORTED,
      "post-copy migration is not supported with non-live or paused migration" },
    { LIVE | VIR_MIGRATE_POSTCOPY | VIR_MIGRATE_PAUSED, { .field = NULL }, VQ_MIGRATE_BEGIN | VQ_MIGRATE_P2P,
      VIR_ERR_ARGUMENT_UNSUPPORTED, "post-copy migration is not supported with non-live or paused migration" },
    { LIVE | VIR_MIGRATE_POSTCOPY, { .field = NULL }, NONE, 0, NULL },
    { LIVE | VIR_MIGRATE_POSTCOPY_RESUME | VIR_MIGRATE_CHANGE_PROTECTION, { .field = NULL }, SOURCE,
      VIR_ERR_ARGUMENT_UNSUPPORTED, "resuming failed post-copy migration requires post-copy to be enabled" },
    { LIVE | VIR_MIGRATE_POSTCOPY | VIR_MIGRATE_POSTCOPY_RESUME, { .field = NULL }, VQ_MIGRATE_BEGIN,
      VIR_ERR_ARGUMENT_UNSUPPORTED, "resuming failed post-copy migration requires change protection" },
    { LIVE | VIR_MIGRATE_ZEROCOPY, { .field = NULL }, SOURCE, VIR_ERR_OPERATION_INVALID,
      "zero-copy is only available for parallel migration" },
    { LIVE | VIR_MIGRATE_ZEROCOPY | PARALLEL, { .field = NULL }, NONE, 0, NULL },
    { VIR_MIGRATE_OFFLINE, { .field = NULL }, SOURCE, VIR_ERR_OPERATION_INVALID,
      "offline migration must be specified with the persistent flag set" },
    { VIR_MIGRATE_OFFLINE | VIR_MIGRATE_PERSIST_DEST | VIR_MIGRATE_NON_SHARED_DISK, { .field = NULL }, SOURCE,
      VIR_ERR_OPERATION_INVALID, "offline migration cannot handle non-shared storage" },
    { VIR_MIGRATE_OFFLINE | VIR_MIGRATE_PERSIST_DEST, { .field = NULL }, NONE, 0, NULL },
};

static void each_call_refuses_what_is_its_own(void **state)
{
    static const unsigned calls[] = { VQ_MIGRATE_BEGIN, VQ_MIGRATE_PERFORM, VQ_MIGRATE_P2P, VQ_MIGRATE_PREPARE,
                                      VQ_MIGRATE_FINISH, VQ_MIGRATE_CONFIRM };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(checks); i++) {
        struct vq_migrate_options options;
        struct vq_error err = VQ_ERROR_INIT;
        uint32_t n = checks[i].param.field != NULL ? 1 : 0;

        assert_int_equal(vq_migrate_options_read(&checks[i].param, n, checks[i].flags, &options, &err), 0);
        for (size_t j = 0; j < VQ_N_ELEMENTS(calls); j++) {
            const int rc = vq_migrate_options_check(&options, calls[j], &err);

            if (rc != ((checks[i].calls & calls[j]) != 0 ? -1 : 0))
                fail_msg("check %zu, call %u: %d", i, calls[j], rc);
        }
        if (checks[i].calls == VQ_MIGRATE_PREPARE_TUNNEL)
            assert_int_equal(vq_migrate_options_check(&options, VQ_MIGRATE_PREPARE_TUNNEL, &err), -1);
        if (checks[i].words != NULL) {
            assert_string_equal(err.message, checks[i].words);
            assert_int_equal(err.code, checks[i].code);
        }
        vq_migrate_options_done(&options);
    }
}

static void a_tunnel_carries_neither_pages_on_demand_nor_an_inactive_domain(void **state)
{
    struct vq_migrate_options options;
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    vq_migrate_options_init(&options);
    options.flags = LIVE | P2P | TUNNELLED | VIR_MIGRATE_POSTCOPY;
    assert_int_equal(vq_migrate_options_check(&options, VQ_MIGRATE_P2P, &err), -1);
    assert_string_equal(err.message, "post-copy is not supported with tunnelled migration");
    options.flags = P2P | TUNNELLED | VIR_MIGRATE_OFFLINE | VIR_MIGRATE_PERSIST_DEST;
    assert_int_equal(vq_migrate_options_check(&options, VQ_MIGRATE_P2P, &err), -1);
    assert_string_equal(err.message, "tunnelled offline migration does not make sense");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_parameter_is_read_copied_and_written_again),
        cmocka_unit_test(nothing_said_is_an_empty_list),
        cmocka_unit_test(a_full_arena_gives_no_list),
        cmocka_unit_test(positional_arguments_are_the_same_options),
        cmocka_unit_test(compression_without_a_method_is_xbzrle),
        cmocka_unit_test(what_is_wrong_is_refused_in_the_words_of_a_stock_daemon),
        cmocka_unit_test(more_disks_than_can_be_copied_are_refused),
        cmocka_unit_test(each_call_refuses_what_is_its_own),
        cmocka_unit_test(a_tunnel_carries_neither_pages_on_demand_nor_an_inactive_domain),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
