/* Snapshots of the store: taken without copying, restored whole or not at all. */
#include "tests/unit/commands.h"

static char *dirs[2];
static struct vq_store *stores[2];

static void open_store(int i)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_store_open(dirs[i], &(struct vq_store_options){0}, &stores[i], &err) < 0)
        fail_msg("%s", err.message);
}

static int setup(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        dirs[i] = make_tree();
        open_store(i);
    }
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    for (int i = 0; i < 2; i++) {
        vq_store_close(stores[i]);
        remove_tree(dirs[i]);
        free(dirs[i]);
    }
    return 0;
}

static void define(struct vq_store *store, uint64_t first, uint64_t n)
{
    static char xml[2000];
    struct command_parts parts;
    struct vq_error err = VQ_ERROR_INIT;

    memset(xml, 'x', sizeof(xml));
    for (uint64_t i = first; i < first + n; i++) {
        struct vq_result *results = NULL;
        struct vq_change_list changes = {0};
        size_t n_results = 0, length;
        char name[32];
        bool diverged;
        snprintf(name, sizeof(name), "domain%llu", (unsigned long long)i);
        make_define(&parts, i, i, name);
        parts.define.xml = (ProtobufCBinaryData){i % 2 == 0 ? 100 : sizeof(xml), (uint8_t *)xml};
        VQ_AUTOFREE uint8_t *entry = pack_entry(&parts.command, &length);
        assert_int_equal(vq_store_apply(store, i, entry, length, &results, &n_results, &changes, &diverged, &err), 0);
        assert_int_equal(results[0].code, VIR_ERR_OK);
        free(results);
        vq_change_list_done(&changes);
    }
}

static uint64_t hash_of(struct vq_store *store)
{
    struct vq_store_view *view;
    struct vq_error err = VQ_ERROR_INIT;
    uint64_t hash;

    assert_int_equal(vq_store_commit(store, &err), 0);
    assert_int_equal(vq_store_view_begin(store, &view, &err), 0);
    assert_int_equal(vq_store_hash(view, &hash, &err), 0);
    vq_store_view_end(view);
    return hash;
}

static char *join(const struct vq_store_snapshot *snapshot, size_t *ret_length)
{
    size_t length = 0, at = 0;

    for (unsigned i = 0; i < snapshot->n_bufs; i++)
        length += snapshot->bufs[i].len;
    char *bytes = vq_calloc(1, length + 1);
    for (unsigned i = 0; i < snapshot->n_bufs; i++) {
        memcpy(bytes + at, snapshot->bufs[i].base, snapshot->bufs[i].len);
        at += snapshot->bufs[i].len;
    }
    *ret_length = length;
    return bytes;
}

static char *take(struct vq_store *store, size_t *ret_length)
{
    struct vq_store_snapshot snapshot;
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_store_snapshot_take(store, &snapshot, &err) < 0)
        fail_msg("%s", err.message);
    char *bytes = join(&snapshot, ret_length);
    vq_store_snapshot_free(&snapshot);
    return bytes;
}

static int restore(struct vq_store *store, const void *bytes, size_t length, bool *ret_loaded)
{
    struct vq_error err = VQ_ERROR_INIT;

    return vq_store_restore(store, bytes, length, ret_loaded, &err);
}

static void a_snapshot_gives_the_same_state(void **state)
{
    size_t length;
    bool loaded;

    (void)state;
    define(stores[0], 1, 500);
    VQ_AUTOFREE char *bytes = take(stores[0], &length);
    define(stores[1], 1, 20); /* an older copy is replaced */
    assert_int_equal(restore(stores[1], bytes, length, &loaded), 0);
    assert_true(loaded);
    assert_int_equal(vq_store_applied(stores[1]), 500);
    assert_int_equal(hash_of(stores[1]), hash_of(stores[0]));
    define(stores[0], 501, 10); /* and both go on alike, repetitions included */
    define(stores[1], 501, 10);
    assert_int_equal(hash_of(stores[1]), hash_of(stores[0]));
}

static void an_empty_store_has_a_snapshot_too(void **state)
{
    size_t length;
    bool loaded;

    (void)state;
    VQ_AUTOFREE char *bytes = take(stores[0], &length);
    assert_true(length > 0);
    assert_int_equal(restore(stores[1], bytes, length, &loaded), 0);
    assert_false(loaded);
}

static void a_snapshot_does_not_change_while_the_store_does(void **state)
{
    struct vq_store_snapshot snapshot;
    struct vq_error err = VQ_ERROR_INIT;
    size_t length, later_length;

    (void)state;
    define(stores[0], 1, 100);
    assert_int_equal(vq_store_snapshot_take(stores[0], &snapshot, &err), 0);
    VQ_AUTOFREE char *before = join(&snapshot, &length);
    define(stores[0], 101, 300);
    assert_int_equal(vq_store_commit(stores[0], &err), 0);
    VQ_AUTOFREE char *after = join(&snapshot, &later_length);
    assert_int_equal(length, later_length);
    assert_memory_equal(before, after, length);
    vq_store_snapshot_free(&snapshot);
}

static void a_newer_copy_is_kept(void **state)
{
    size_t length;
    bool loaded = true;

    (void)state;
    define(stores[0], 1, 10);
    VQ_AUTOFREE char *bytes = take(stores[0], &length);
    define(stores[1], 1, 11);
    uint64_t before = hash_of(stores[1]);
    assert_int_equal(restore(stores[1], bytes, length, &loaded), 0);
    assert_false(loaded);
    assert_int_equal(hash_of(stores[1]), before);
}

static void another_generation_wins_or_is_refused(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;
    size_t old_length, new_length;
    bool loaded;

    (void)state;
    define(stores[0], 1, 10);
    VQ_AUTOFREE char *old = take(stores[0], &old_length);
    assert_int_equal(vq_store_raise_generation(stores[0], &err), 0);
    VQ_AUTOFREE char *new = take(stores[0], &new_length);
    define(stores[1], 1, 50); /* further, but of the generation that was given up */
    assert_int_equal(restore(stores[1], new, new_length, &loaded), 0);
    assert_true(loaded);
    assert_int_equal(vq_store_applied(stores[1]), 10);
    assert_int_equal(restore(stores[1], old, old_length, &loaded), -1);
}

/* Each byte of the head, and some of the rest, turned over; each length cut. */
static void a_damaged_snapshot_changes_nothing(void **state)
{
    size_t length;
    bool loaded;

    (void)state;
    define(stores[0], 1, 5);
    VQ_AUTOFREE char *bytes = take(stores[0], &length);
    uint64_t before = hash_of(stores[1]);
    for (size_t i = 0; i < length; i += i < 64 ? 1 : 97) {
        if (i >= 12 && i < 16)
            continue; /* reserved */
        bytes[i] ^= 0x41;
        if (i >= 16 && i < 32) { /* position and generation are the leader's word, whatever they are */
            (void)restore(stores[1], bytes, length, &loaded);
            vq_store_close(stores[1]);
            remove_tree(dirs[1]);
            open_store(1);
        } else {
            assert_int_equal(restore(stores[1], bytes, length, &loaded), -1);
        }
        bytes[i] ^= 0x41;
    }
    for (size_t i = 0; i < length; i += i < 200 ? 1 : 131)
        assert_int_equal(restore(stores[1], bytes, i, &loaded), -1);
    assert_int_equal(hash_of(stores[1]), before);
    assert_int_equal(restore(stores[1], bytes, length, &loaded), 0);
    assert_true(loaded);
}

static void a_restore_that_fails_half_way_changes_nothing(void **state)
{
    size_t length;
    bool loaded;

    (void)state;
    define(stores[0], 1, 50);
    define(stores[1], 1, 5);
    VQ_AUTOFREE char *bytes = take(stores[0], &length);
    uint64_t before = hash_of(stores[1]);
    setenv("VQ_FAILPOINTS", "store.restore.put=error", 1);
    assert_int_equal(restore(stores[1], bytes, length, &loaded), -1);
    unsetenv("VQ_FAILPOINTS");
    assert_int_equal(hash_of(stores[1]), before);
    assert_int_equal(vq_store_applied(stores[1]), 5);
    define(stores[1], 6, 1);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_snapshot_gives_the_same_state),
        TEST(an_empty_store_has_a_snapshot_too),
        TEST(a_snapshot_does_not_change_while_the_store_does),
        TEST(a_newer_copy_is_kept),
        TEST(another_generation_wins_or_is_refused),
        TEST(a_damaged_snapshot_changes_nothing),
        TEST(a_restore_that_fails_half_way_changes_nothing),
    };
    return cmocka_run_group_tests_name("store_snapshot", tests, NULL, NULL);
}
