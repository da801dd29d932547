/* Settings: command line over file over defaults. */
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/config.h"

static char path[] = "/tmp/vq-config-XXXXXX";

static int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(path);
    return fd < 0 ? -1 : close(fd);
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(path);
}

static int read_config(struct vq_config *config, const char *text, char **options, int n_options, struct vq_error *err)
{
    char *argv[16] = {(char *)"virtquorumd", (char *)"--config", path};
    FILE *file = fopen(path, "w");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    for (int i = 0; i < n_options; i++)
        argv[3 + i] = options[i];
    vq_config_init(config);
    return vq_config_read(config, 3 + n_options, argv, err);
}

static void the_command_line_wins_over_the_file_and_that_over_the_defaults(void **state)
{
    struct vq_config config;
    struct vq_error err = VQ_ERROR_INIT;
    char *options[] = {(char *)"--tcp-port=7", (char *)"--listen"};

    (void)state;
    assert_int_equal(read_config(&config, "tcp_port = \"8\"\ntls_port = \"9\"\nmax_clients = 11\n", options, 2, &err),
                     0);
    assert_string_equal(config.tcp_port, "7");
    assert_string_equal(config.tls_port, "9");
    assert_int_equal(config.max_clients, 11);
    assert_int_equal(config.max_client_requests, 5);
    assert_true(config.listen_tcp);
    assert_true(config.listen_tls);
    assert_int_equal(config.unix_rw_mode, 0700);
    vq_config_done(&config);
}

static void the_keys_of_libvirtd_are_understood(void **state)
{
    struct vq_config config;
    struct vq_error err = VQ_ERROR_INIT;
    static const char text[] = "unix_sock_group = \"libvirt\"\n"
                               "unix_sock_rw_perms = \"0770\"\n"
                               "unix_sock_ro_perms = \"0777\"\n"
                               "auth_unix_rw = \"none\"\n"
                               "auth_tcp = \"none\"\n"
                               "listen_tls = 0\n"
                               "tls_allowed_dn_list = [\"CN=a\", \"CN=b\"]\n"
                               "keepalive_interval = -1\n"
                               "log_filters = \"1:qemu\"\n"
                               "default_view = \"node\"\n"
                               "default_view_users = [\"root\"]\n";

    (void)state;
    assert_int_equal(read_config(&config, text, NULL, 0, &err), 0);
    assert_string_equal(config.unix_group, "libvirt");
    assert_int_equal(config.unix_rw_mode, 0770);
    assert_true(config.tcp_without_auth);
    assert_false(config.listen_tls);
    assert_string_equal(config.tls_allowed_dn[1], "CN=b");
    assert_null(config.tls_allowed_dn[2]);
    assert_int_equal(config.keepalive_interval_s, -1);
    assert_int_equal(config.n_node_view_uids, 1);
    assert_int_equal(config.node_view_uids[0], 0);
    vq_config_done(&config);
}

static void wrong_values_are_refused_by_name(void **state)
{
    static const struct {
        const char *text, *named;
    } cases[] = {
        {"unix_sock_rw_perms = \"rwx\"\n", "unix_sock_rw_perms"},
        {"auth_tcp = \"magic\"\n", "auth_tcp"},
        {"default_view = \"moon\"\n", "default_view"},
        {"host_uuid = \"00000000-0000-0000-0000-000000000000\"\n", "host_uuid"},
        {"host_uuid = \"me\"\n", "host_uuid"},
        {"host_uuid_source = \"dns\"\n", "host_uuid_source"},
        {"default_view_users = [\"no-such-user-here\"]\n", "no-such-user-here"},
        {"max_clients = 0\n", "max_clients"},
        {"max_clients = \"many\"\n", "max_clients"},
        {"max_clients = \n", ":1:"},
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        struct vq_config config;
        struct vq_error err = VQ_ERROR_INIT;
        if (read_config(&config, cases[i].text, NULL, 0, &err) != -1)
            fail_msg("taken: %s", cases[i].text);
        assert_int_equal(err.code, VIR_ERR_CONF_SYNTAX);
        if (strstr(err.message, cases[i].named) == NULL)
            fail_msg("%s: %s", cases[i].text, err.message);
        vq_config_done(&config);
    }
}

static void a_wrong_command_line_is_refused(void **state)
{
    static char *const cases[] = {(char *)"--nonsense", (char *)"--election-ms=soon",
                                  (char *)"--state-dir=", (char *)"surplus", (char *)"--tcp-port"};

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        struct vq_config config;
        struct vq_error err = VQ_ERROR_INIT;
        char *option = cases[i];
        if (read_config(&config, "", &option, 1, &err) != -1)
            fail_msg("taken: %s", cases[i]);
        assert_int_equal(err.code, VIR_ERR_INVALID_ARG);
        vq_config_done(&config);
    }
}

static void a_named_file_must_be_there_and_the_usual_one_need_not(void **state)
{
    struct vq_config config;
    struct vq_error err = VQ_ERROR_INIT;
    char *named[] = {(char *)"virtquorumd", (char *)"--config=/nowhere/at/all.conf"};

    (void)state;
    vq_config_init(&config);
    assert_int_equal(vq_config_read(&config, 2, named, &err), -1);
    vq_config_done(&config);
    vq_config_init(&config);
    free(config.config_file);
    config.config_file = strdup("/nowhere/at/all.conf");
    assert_int_equal(vq_config_read(&config, 1, named, &err), 0);
    vq_config_done(&config);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_command_line_wins_over_the_file_and_that_over_the_defaults),
        cmocka_unit_test(the_keys_of_libvirtd_are_understood),
        cmocka_unit_test(wrong_values_are_refused_by_name),
        cmocka_unit_test(a_wrong_command_line_is_refused),
        cmocka_unit_test(a_named_file_must_be_there_and_the_usual_one_need_not),
    };
    return cmocka_run_group_tests(tests, make_file, remove_file);
}
