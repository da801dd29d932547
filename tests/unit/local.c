/* The node's own records. */
#include "store/local.h"

#include <fcntl.h>

#include "tests/unit/commands.h"

static char *dir;
static struct vq_local *local;

static void open_local(void)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_local_open(dir, &local, &err) < 0)
        fail_msg("%s", err.message);
}

static int setup(void **state)
{
    (void)state;
    dir = make_tree();
    open_local();
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    vq_local_close(local);
    remove_tree(dir);
    free(dir);
    return 0;
}

static void put(const char *table, const char *key, const char *value, bool flush)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_local_put(local, table, key, strlen(key), value, strlen(value), flush, &err) < 0)
        fail_msg("%s", err.message);
}

static void expect(const char *table, const char *key, const char *value)
{
    struct vq_error err = VQ_ERROR_INIT;
    void *got = NULL;
    size_t length = 0;

    assert_int_equal(vq_local_get(local, table, key, strlen(key), &got, &length, &err), value != NULL);
    if (value != NULL) {
        assert_int_equal(length, strlen(value));
        assert_memory_equal(got, value, length);
    }
    free(got);
}

static void records_are_kept_per_table(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    put("qemu.run", "a", "1", false);
    put("qemu", "run.a", "2", false);
    put("identity", "a", "3", true);
    vq_local_close(local);
    open_local();
    expect("qemu.run", "a", "1");
    expect("qemu", "run.a", "2");
    expect("identity", "a", "3");
    expect("qemu.run", "b", NULL);
    put("identity", "a", "4", false); /* one place only */
    expect("identity", "a", "4");
    put("identity", "a", "5", true);
    expect("identity", "a", "5");
    assert_int_equal(vq_local_delete(local, "identity", "a", 1, &err), 0);
    assert_int_equal(vq_local_delete(local, "identity", "a", 1, &err), 0);
    expect("identity", "a", NULL);
}

static int collect_and_delete(const void *key, size_t key_length, const void *value, size_t length, void *data)
{
    struct vq_error err = VQ_ERROR_INIT;
    char *text = data;

    strncat(text, key, key_length);
    strncat(text, value, length);
    if (memcmp(key, "b", 1) == 0)
        assert_int_equal(vq_local_delete(local, "t", key, key_length, &err), 0);
    return strlen(text) > 20;
}

static void each_visits_one_table_and_may_delete(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;
    char text[64] = "";

    (void)state;
    put("t", "a", "1", false);
    put("t", "b", "2", false);
    put("t", "bb", "3", false);
    put("tt", "z", "9", false);
    put("t", "c", "4", true);
    assert_int_equal(vq_local_each(local, "t", collect_and_delete, text, &err), 0);
    assert_string_equal(text, "a1b2bb3c4");
    text[0] = '\0';
    assert_int_equal(vq_local_each(local, "t", collect_and_delete, text, &err), 0);
    assert_string_equal(text, "a1c4");
    assert_int_equal(vq_local_each(local, "nothing", collect_and_delete, text, &err), 0);
}

static void keys_have_a_limit(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;
    char key[401], table[66];

    (void)state;
    memset(key, 'k', sizeof(key));
    memset(table, 't', sizeof(table) - 1);
    table[65] = '\0';
    assert_int_equal(vq_local_put(local, "t", key, 401, "", 0, false, &err), -1);
    assert_int_equal(vq_local_put(local, "t", key, 400, NULL, 0, false, &err), 0);
    assert_int_equal(vq_local_put(local, table, key, 1, "", 0, false, &err), -1);
}

static void after_a_crash_of_the_host_only_flushed_records_are_there(void **state)
{
    VQ_AUTOFREE char *path = vq_asprintf("%s/unflushed/boot", dir);

    (void)state;
    put("identity", "a", "3", true);
    put("qemu.run", "a", "1", false);
    vq_local_close(local);
    int fd = open(path, O_WRONLY | O_TRUNC);
    assert_int_equal(write(fd, "open unflushed other\n", 21), 21);
    close(fd);
    open_local();
    expect("identity", "a", "3");
    expect("qemu.run", "a", NULL);
}

static void a_failed_commit_is_told(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    put("t", "a", "1", false);
    setenv("VQ_FAILPOINTS", "local.commit=error", 1);
    assert_int_equal(vq_local_put(local, "t", "a", 1, "2", 1, false, &err), -1);
    unsetenv("VQ_FAILPOINTS");
    expect("t", "a", "1");
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(records_are_kept_per_table), TEST(each_visits_one_table_and_may_delete),
        TEST(keys_have_a_limit),          TEST(after_a_crash_of_the_host_only_flushed_records_are_there),
        TEST(a_failed_commit_is_told),
    };
    return cmocka_run_group_tests_name("local", tests, NULL, NULL);
}
