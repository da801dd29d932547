/* Configuration files: syntax, values, unknown keys. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "conf/file.h"

struct settings {
    char *user;
    bool enabled;
    uint32_t clients;
    int64_t offset;
    char **names;
};

static const struct vq_key keys[] = {
    VQ_KEY("user", STRING, settings, user),
    VQ_KEY("enabled", BOOL, settings, enabled),
    VQ_KEY("max_clients", UINT, settings, clients, .min = 1, .max = 5000),
    VQ_KEY("offset", INT, settings, offset),
    VQ_KEY("names", STRINGS, settings, names),
};

static struct settings settings;
static struct vq_buffer unknown;

static int parse(const char *text, struct vq_error *err)
{
    vq_file_clear(keys, VQ_N_ELEMENTS(keys), &settings);
    settings = (struct settings){.clients = 7};
    vq_buffer_truncate(&unknown, 0);
    return vq_file_parse(text, "t.conf", keys, VQ_N_ELEMENTS(keys), &settings, &unknown, err);
}

static void expect_refused(const char *text, const char *message)
{
    struct vq_error err = VQ_ERROR_INIT;

    assert_int_equal(parse(text, &err), -1);
    assert_int_equal(err.code, VIR_ERR_CONF_SYNTAX);
    if (strstr(err.message, message) == NULL)
        fail_msg("'%s' is not in '%s'", message, err.message);
}

static void all_kinds_of_values_are_read(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_int_equal(parse("# comment\n\n user = \"a # b\" # more\nenabled=1\n\tmax_clients = 20\r\noffset = -5\n"
                           "names = [ 'a', # first\n \"\"\"b\nc\"\"\",\n]",
                           &err),
                     0);
    assert_string_equal(settings.user, "a # b");
    assert_true(settings.enabled);
    assert_int_equal(settings.clients, 20);
    assert_int_equal(settings.offset, -5);
    assert_string_equal(settings.names[0], "a");
    assert_string_equal(settings.names[1], "b\nc");
    assert_null(settings.names[2]);
    assert_int_equal(unknown.length, 0);
}

static void what_is_not_said_keeps_its_default(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_int_equal(parse("names = []", &err), 0);
    assert_int_equal(settings.clients, 7);
    assert_null(settings.user);
    assert_non_null(settings.names);
    assert_null(settings.names[0]);
    assert_int_equal(parse("names = 'one'\nuser='a'\nuser='b'", &err), 0);
    assert_string_equal(settings.names[0], "one");
    assert_string_equal(settings.user, "b");
}

static void wrong_syntax_is_refused_with_the_line(void **state)
{
    (void)state;
    expect_refused("user", "t.conf:1: expecting an assignment");
    expect_refused("\nuser = \n", "t.conf:2: expecting a value");
    expect_refused("user = \"x\nenabled = 1", "t.conf:1: unterminated string");
    expect_refused("user = \"\"\"x\n", "t.conf:1: unterminated string");
    expect_refused("user = 'a' 'b'", "t.conf:1: expecting the end of the line");
    expect_refused("names = [ 'a'\n 'b' ]", "t.conf:2: expecting , or ]");
    expect_refused("names = [ 'a',", "t.conf:1: expecting a string");
    expect_refused("names = [ 1 ]", "t.conf:1: expecting a string");
    expect_refused("= 1", "t.conf:1: expecting a name");
    expect_refused("max_clients = 1-2", "expecting a number");
    expect_refused("max_clients = 99999999999999999999999999", "t.conf:1: ");
}

static void wrong_values_are_refused_with_the_key(void **state)
{
    (void)state;
    expect_refused("user = 5", "t.conf:1: 'user' must be a string in quotes");
    expect_refused("user = ['a']", "'user' must be a string");
    expect_refused("max_clients = 0", "'max_clients' must be a number from 1 to 5000");
    expect_refused("max_clients = 5001", "from 1 to 5000");
    expect_refused("max_clients = 'x'", "'max_clients' must be a number");
    expect_refused("enabled = 2", "'enabled' must be a number from 0 to 1");
    expect_refused("names = 3", "'names' must be a list");
}

static void unknown_keys_are_reported_with_the_nearest_known(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_int_equal(parse("usre = 'x'\n\nsomething_else = [ 'a' ]\nmax_client = 3\n", &err), 0);
    assert_string_equal(unknown.data, "t.conf:1: unknown key 'usre'; did you mean 'user'?\n"
                                      "t.conf:3: unknown key 'something_else'\n"
                                      "t.conf:4: unknown key 'max_client'; did you mean 'max_clients'?\n");
}

static void a_missing_file_is_an_empty_one_and_a_broken_one_is_refused(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;
    bool is_there = true;
    char path[] = "/tmp/vq-test-file-XXXXXX";
    int fd = mkstemp(path);

    (void)state;
    assert_int_equal(vq_file_read("/nonexistent/x", keys, VQ_N_ELEMENTS(keys), &settings, NULL, &is_there, &err), 0);
    assert_false(is_there);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "user = 'f'\n", 11), 11);
    assert_int_equal(vq_file_read(path, keys, VQ_N_ELEMENTS(keys), &settings, NULL, &is_there, &err), 0);
    assert_true(is_there);
    assert_string_equal(settings.user, "f");
    assert_int_equal(write(fd, "#\0\n", 3), 3);
    assert_int_equal(vq_file_read(path, keys, VQ_N_ELEMENTS(keys), &settings, NULL, &is_there, &err), -1);
    assert_int_equal(ftruncate(fd, VQ_FILE_BYTES_MAX + 1), 0);
    assert_int_equal(vq_file_read(path, keys, VQ_N_ELEMENTS(keys), &settings, NULL, &is_there, &err), -1);
    assert_int_equal(err.code, VIR_ERR_CONF_SYNTAX);
    assert_int_equal(vq_file_read("/tmp", keys, VQ_N_ELEMENTS(keys), &settings, NULL, &is_there, &err), -1);
    assert_int_equal(err.code, VIR_ERR_SYSTEM_ERROR);
    (void)close(fd);
    (void)unlink(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(all_kinds_of_values_are_read),
        cmocka_unit_test(what_is_not_said_keeps_its_default),
        cmocka_unit_test(wrong_syntax_is_refused_with_the_line),
        cmocka_unit_test(wrong_values_are_refused_with_the_key),
        cmocka_unit_test(unknown_keys_are_reported_with_the_nearest_known),
        cmocka_unit_test(a_missing_file_is_an_empty_one_and_a_broken_one_is_refused),
    };
    int failed = cmocka_run_group_tests(tests, NULL, NULL);

    vq_file_clear(keys, VQ_N_ELEMENTS(keys), &settings);
    vq_buffer_done(&unknown);
    return failed;
}
