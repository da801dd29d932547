/* The replicated store: repetitions, replay, views, restarts. */
#include "tests/unit/store_fixture.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <time.h>

/* ---- Repetitions, replay ---- */

static void a_repeated_request_has_the_first_result(void **state)
{
    struct fixture *f = *state;

    make_define(&f->parts, 1, 7, "web1");
    struct vq_result first = apply(f);
    struct vq_result again = apply_at(f, ++f->index);
    assert_memory_equal(&first, &again, sizeof(first));
    assert_int_equal(f->changes.n_changes, 0);
    make_define(&f->parts, 2, 8, "web1");
    first = apply(f);
    assert_int_equal(first.code, VIR_ERR_OPERATION_FAILED);
    vq_store_close(f->store);
    open_store(f); /* also after a restart */
    again = apply_at(f, ++f->index);
    assert_memory_equal(&first, &again, sizeof(first));
}

static void old_request_ids_are_forgotten_in_order(void **state)
{
    struct fixture *f = *state;
    char value[32];

    for (uint64_t i = 1; i <= 32768 + 10; i++) {
        snprintf(value, sizeof(value), "%llu", (unsigned long long)i);
        make_setting(&f->parts, i, "x", value);
        (void)apply(f);
    }
    make_setting(&f->parts, 11, "x", "again");
    f->index++;
    assert_int_not_equal(apply_at(f, f->index).index, f->index); /* still known */
    make_setting(&f->parts, 10, "x", "again");
    f->index++;
    assert_int_equal(apply_at(f, f->index).index, f->index); /* forgotten: done again */
    uint64_t before = hash_of(f->store);
    vq_store_close(f->store);
    open_store(f);
    assert_int_equal(hash_of(f->store), before);
    make_setting(&f->parts, 32768, "x", "again");
    assert_int_equal(apply_at(f, ++f->index).index, 32768);
}

static void replayed_entries_are_skipped_and_compared(void **state)
{
    struct fixture *f = *state;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_result *results = NULL;
    size_t n_results = 0;
    bool diverged = false;

    make_define(&f->parts, 1, 7, "web1");
    (void)apply(f);
    uint64_t before = hash_of(f->store);
    (void)apply_at(f, f->index);
    assert_int_equal(f->changes.n_changes, 0);
    assert_int_equal(hash_of(f->store), before);
    assert_int_equal(vq_store_apply(f->store, f->index, "other", 5, &results, &n_results, &f->changes, &diverged, &err),
                     -1);
    assert_true(diverged);
    assert_int_equal(n_results, 0);
}

static void a_view_keeps_what_it_saw(void **state)
{
    struct fixture *f = *state;

    make_define(&f->parts, 1, 7, "web1");
    (void)apply(f);
    struct vq_store_view *old = view(f);
    make_undefine(&f->parts, 2, 7);
    (void)apply(f);
    struct vq_store_view *new = view(f);
    assert_int_equal(vq_store_domain_count(old), 1);
    assert_non_null(vq_store_domain_find(old, uuid_of(7)));
    assert_int_equal(vq_store_domain_count(new), 0);
    vq_store_view_end(old);
    vq_store_view_end(new);
    vq_store_view_end(NULL);
}

/* ---- Restarts ---- */

static void write_file(const char *dir, const char *name, const char *text)
{
    VQ_AUTOFREE char *path = vq_asprintf("%s/%s", dir, name);
    VQ_AUTOCLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);

    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), strlen(text));
}

static void define_one_and_close(struct fixture *f)
{
    make_define(&f->parts, 1, 7, "web1");
    (void)apply(f);
    vq_store_close(f->store);
}

static void a_store_survives_a_restart(void **state)
{
    struct fixture *f = *state;
    struct stat st;

    define_one_and_close(f);
    open_store(f);
    assert_int_equal(f->index, 1);
    struct vq_store_view *v = view(f);
    assert_int_equal(vq_store_domain_count(v), 1);
    vq_store_view_end(v);
    assert_int_equal(stat(f->dir, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
}

static void a_killed_process_loses_nothing_committed(void **state)
{
    struct fixture *f = *state;
    VQ_AUTOFREE char *path = vq_asprintf("%s/boot", f->dir);
    char mark[128] = "";
    int fd;

    make_define(&f->parts, 1, 7, "web1");
    (void)apply(f);
    commit(f);
    fd = open(path, O_RDONLY);
    assert_true(read(fd, mark, sizeof(mark) - 1) > 0);
    close(fd);
    vq_store_close(f->store);
    write_file(f->dir, "boot", mark); /* as the killed process left it */
    open_store(f);
    assert_int_equal(f->index, 1);
}

static void after_a_crash_of_the_host_the_store_is_emptied(void **state)
{
    struct fixture *f = *state;

    define_one_and_close(f);
    write_file(f->dir, "boot", "open unflushed 00000000-0000-0000-0000-000000000000\n");
    open_store(f);
    assert_int_equal(f->index, 0);
    struct vq_store_view *v = view(f);
    assert_int_equal(vq_store_domain_count(v), 0);
    vq_store_view_end(v);
}

static void after_a_crash_of_the_host_a_flushed_store_is_kept(void **state)
{
    struct fixture *f = *state;

    define_one_and_close(f);
    write_file(f->dir, "boot", "open flushed 00000000-0000-0000-0000-000000000000\n");
    open_store(f);
    assert_int_equal(f->index, 1);
}

static void a_file_that_is_no_store_is_set_aside(void **state)
{
    struct fixture *f = *state;
    char garbage[8192];

    define_one_and_close(f);
    memset(garbage, 'g', sizeof(garbage) - 1);
    garbage[sizeof(garbage) - 1] = '\0';
    write_file(f->dir, "data.mdb", garbage);
    open_store(f);
    assert_int_equal(f->index, 0);
}

static void flushing_can_be_turned_on_and_off(void **state)
{
    struct fixture *f = *state;
    struct vq_error err = VQ_ERROR_INIT;

    assert_int_equal(vq_store_set_durable(f->store, true, &err), 0);
    make_define(&f->parts, 1, 7, "web1");
    (void)apply(f);
    commit(f);
    assert_int_equal(vq_store_set_durable(f->store, false, &err), 0);
    assert_int_equal(vq_store_set_durable(f->store, false, &err), 0);
}

static void a_reset_store_is_empty_and_the_old_one_is_kept(void **state)
{
    struct fixture *f = *state;
    struct vq_error err = VQ_ERROR_INIT;

    make_define(&f->parts, 1, 7, "web1");
    (void)apply(f);
    commit(f);
    if (vq_store_reset(f->store, &err) < 0)
        fail_msg("%s", err.message);
    assert_int_equal(vq_store_applied(f->store), 0);
    f->index = 0;
    make_define(&f->parts, 1, 7, "web1"); /* request ids are forgotten too */
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    assert_int_equal(f->changes.n_changes, 1);
}

static void a_failed_commit_leaves_the_last_state(void **state)
{
    struct fixture *f = *state;
    struct vq_error err = VQ_ERROR_INIT;

    make_define(&f->parts, 1, 7, "web1");
    (void)apply(f);
    commit(f);
    uint64_t before = hash_of(f->store);
    make_define(&f->parts, 2, 8, "web2");
    (void)apply(f);
    setenv("VQ_FAILPOINTS", "store.commit=error", 1);
    assert_int_equal(vq_store_commit(f->store, &err), -1);
    unsetenv("VQ_FAILPOINTS");
    assert_int_equal(vq_store_applied(f->store), 1);
    assert_int_equal(hash_of(f->store), before);
    f->index = 1;
    assert_int_equal(apply(f).code, VIR_ERR_OK); /* and the request id is not known */
    assert_int_equal(f->changes.n_changes, 1);
}

static void a_failed_apply_leaves_the_last_state(void **state)
{
    struct fixture *f = *state;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_result *results = NULL;
    size_t n_results = 0, length;
    bool diverged;

    make_define(&f->parts, 1, 7, "web1");
    VQ_AUTOFREE uint8_t *entry = pack_entry(&f->parts.command, &length);
    setenv("VQ_FAILPOINTS", "store.apply=error", 1);
    assert_int_equal(vq_store_apply(f->store, 1, entry, length, &results, &n_results, &f->changes, &diverged, &err),
                     -1);
    unsetenv("VQ_FAILPOINTS");
    free(results);
    assert_false(diverged);
    assert_int_equal(vq_store_applied(f->store), 0);
    assert_int_equal(apply(f).code, VIR_ERR_OK);
}

static void no_room_is_noticed_before_the_disk_is_full(void **state)
{
    struct fixture *f = *state;

    assert_true(vq_store_has_room(f->store));
    vq_store_close(f->store);
    setenv("VQ_FAILPOINTS", "store.reserve=error", 1);
    open_store(f);
    assert_false(vq_store_has_room(f->store));
    unsetenv("VQ_FAILPOINTS");
    assert_true(vq_store_has_room(f->store));
}

static void a_mark_that_cannot_be_written_stops_the_opening(void **state)
{
    struct fixture *f = *state;
    static const char *const points[] = {"store.mark.write=error", "store.mark.flush=error", "store.mark.rename=error"};
    struct vq_error err = VQ_ERROR_INIT;

    define_one_and_close(f);
    setenv("VQ_FAILPOINTS", "store.mark.overwrite=error", 1);
    assert_int_equal(vq_store_open(f->dir, &(struct vq_store_options){0}, &f->store, &err), -1);
    write_file(f->dir, "boot", "open unflushed other\n"); /* not of our size: made anew */
    setenv("VQ_FAILPOINTS", "store.aside.rename=error", 1);
    assert_int_equal(vq_store_open(f->dir, &(struct vq_store_options){0}, &f->store, &err), -1);
    for (size_t i = 0; i < VQ_N_ELEMENTS(points); i++) {
        setenv("VQ_FAILPOINTS", points[i], 1);
        assert_int_equal(vq_store_open(f->dir, &(struct vq_store_options){0}, &f->store, &err), -1);
    }
    setenv("VQ_FAILPOINTS", "none", 1);
    open_store(f);
    assert_int_equal(f->index, 0);
}

static void a_condemned_store_is_set_aside(void **state)
{
    struct fixture *f = *state;
    struct vq_error err = VQ_ERROR_INIT;

    make_define(&f->parts, 1, 7, "web1");
    (void)apply(f);
    commit(f);
    vq_store_note_stored(f->store, 1);
    assert_int_equal(vq_store_condemn(f->store, &err), 0);
    vq_store_close(f->store);
    open_store(f);
    assert_int_equal(f->index, 0);
    assert_int_equal(vq_store_stored(f->store), 0);
}

static void how_far_the_log_reached_is_remembered(void **state)
{
    struct fixture *f = *state;

    make_define(&f->parts, 1, 7, "web1");
    (void)apply(f);
    uint64_t hash = hash_of(f->store);
    vq_store_note_stored(f->store, 1);
    assert_int_equal(vq_store_stored(f->store), 0); /* with the next commit */
    make_undefine(&f->parts, 2, 7);
    (void)apply(f);
    commit(f);
    vq_store_close(f->store);
    open_store(f);
    assert_int_equal(vq_store_stored(f->store), 1);
    assert_int_not_equal(hash_of(f->store), hash);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_repeated_request_has_the_first_result),
        TEST(old_request_ids_are_forgotten_in_order),
        TEST(replayed_entries_are_skipped_and_compared),
        TEST(a_view_keeps_what_it_saw),
        TEST(a_store_survives_a_restart),
        TEST(a_killed_process_loses_nothing_committed),
        TEST(after_a_crash_of_the_host_the_store_is_emptied),
        TEST(after_a_crash_of_the_host_a_flushed_store_is_kept),
        TEST(a_file_that_is_no_store_is_set_aside),
        TEST(flushing_can_be_turned_on_and_off),
        TEST(a_reset_store_is_empty_and_the_old_one_is_kept),
        TEST(a_failed_commit_leaves_the_last_state),
        TEST(a_failed_apply_leaves_the_last_state),
        TEST(no_room_is_noticed_before_the_disk_is_full),
        TEST(a_mark_that_cannot_be_written_stops_the_opening),
        TEST(a_condemned_store_is_set_aside),
        TEST(how_far_the_log_reached_is_remembered),
    };
    return cmocka_run_group_tests_name("store", tests, NULL, NULL);
}
