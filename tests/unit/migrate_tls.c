/* Certificates of migrations with daemons outside: which are used, what is missing, and what is refused without them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <libvirt/libvirt.h>

#include "conf/base/memory.h"
#include "drivers/qemu/driver.h"
#include "drivers/qemu/migrate.h"
#include "drivers/qemu/migrate_tls.h"

static char pki[] = "/tmp/migrate_tls.XXXXXX";

static const char *const names[] = { "ca-cert.pem", "server-cert.pem", "server-key.pem", "client-cert.pem", "client-key.pem" };

static char *path_of(const char *dir, const char *name)
{
    return vq_asprintf("%s/%s%s%s", pki, dir, name[0] != '\0' ? "/" : "", name);
}

/* The letters of "csSkK" say which of the files are there. */
static void make(const char *dir, const char *which)
{
    static const char letters[] = "csSkK";
    VQ_AUTOFREE char *dir_path = path_of(dir, "");

    (void)mkdir(dir_path, 0700);
    for (size_t i = 0; i < VQ_N_ELEMENTS(names); i++) {
        VQ_AUTOFREE char *path = path_of(dir, names[i]);
        int fd;

        (void)unlink(path);
        if (strchr(which, letters[i]) == NULL)
            continue;
        fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
        assert_true(fd >= 0);
        (void)close(fd);
    }
}

static void clear(const char *dir)
{
    VQ_AUTOFREE char *path = path_of(dir, "");

    make(dir, "");
    assert_int_equal(rmdir(path), 0);
}

static void expect_dir(const struct vq_qemu_settings *settings, const char *wanted)
{
    VQ_AUTOFREE char *dir = vq_migrate_tls_dir(settings, pki), *below = vq_asprintf("%s/%s", pki, wanted);

    assert_string_equal(dir, wanted[0] == '/' ? wanted : below);
}

static void the_directory_that_is_named_comes_before_those_that_are_there(void **state)
{
    char own[] = "/own", shared[] = "/default";
    struct vq_qemu_settings settings = { 0 };

    (void)state;
    expect_dir(&settings, "qemu");
    make("libvirt-migrate", "");
    expect_dir(&settings, "libvirt-migrate");
    settings.default_tls.dir = shared;
    expect_dir(&settings, "/default");
    settings.migrate_tls.dir = own;
    expect_dir(&settings, "/own");
    settings.default_tls.dir = NULL;
    expect_dir(&settings, "/own");
    clear("libvirt-migrate");
}

static void clients_are_looked_at_unless_qemu_conf_says_no(void **state)
{
    static const struct { int of_migration, of_all; bool verifies; } rows[] = {
        { -1, -1, true }, { -1, 0, false }, { -1, 1, true }, { 0, 1, false }, { 1, 0, true },
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(rows); i++) {
        char dir[] = "/x";
        struct vq_qemu_settings settings = { .migrate_tls = { .verifies = rows[i].of_migration, .dir = dir },
                                             .default_tls.verifies = rows[i].of_all };
        json_t *server = vq_migrate_tls_object(&settings, "a", VQ_MIGRATE_RECEIVES),
               *client = vq_migrate_tls_object(&settings, "b", VQ_MIGRATE_SENDS);

        assert_true(vq_migrate_tls_verifies(&settings) == rows[i].verifies);
        assert_true(json_is_true(json_object_get(server, "verify-peer")) == rows[i].verifies);
        assert_string_equal(json_string_value(json_object_get(server, "endpoint")), "server");
        assert_string_equal(json_string_value(json_object_get(server, "qom-type")), "tls-creds-x509");
        assert_true(json_is_true(json_object_get(client, "verify-peer"))); /* servers always are */
        assert_string_equal(json_string_value(json_object_get(client, "endpoint")), "client");
        assert_string_equal(json_string_value(json_object_get(client, "dir")), "/x");
        json_decref(server);
        json_decref(client);
    }
}

static void a_file_that_is_missing_is_named(void **state)
{
    static const struct {
        const char *there;
        enum vq_migrate_end end;
        const char *missing;     /* NULL: nothing is */
    } rows[] = {
        { "", VQ_MIGRATE_SENDS, "qemu/ca-cert.pem" },
        { "c", VQ_MIGRATE_SENDS, NULL },
        { "ckK", VQ_MIGRATE_SENDS, NULL },
        { "ck", VQ_MIGRATE_SENDS, "qemu/client-key.pem" },
        { "cK", VQ_MIGRATE_SENDS, "qemu/client-cert.pem" },
        { "sS", VQ_MIGRATE_RECEIVES, "qemu/ca-cert.pem" },
        { "cS", VQ_MIGRATE_RECEIVES, "qemu/server-cert.pem" },
        { "cs", VQ_MIGRATE_RECEIVES, "qemu/server-key.pem" },
        { "csS", VQ_MIGRATE_RECEIVES, NULL },
    };
    const struct vq_qemu_settings settings = { 0 };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(rows); i++) {
        struct vq_error err = VQ_ERROR_INIT;

        make("qemu", rows[i].there);
        assert_int_equal(vq_migrate_tls_check(&settings, pki, rows[i].end, &err), rows[i].missing != NULL ? -1 : 0);
        assert_int_equal(err.code, rows[i].missing != NULL ? VIR_ERR_OPERATION_INVALID : VIR_ERR_OK);
        if (rows[i].missing != NULL)
            assert_non_null(strstr(err.message, rows[i].missing));
    }
    clear("qemu");
}

static void a_key_with_a_password_is_refused(void **state)
{
    char uuid[] = "6fd3f62d-9fe7-4a4e-a869-7acd6376d8ea";
    struct vq_qemu_settings settings = { .default_tls.secret = uuid };

    (void)state;
    make("qemu", "csSkK");
    for (int i = 0; i < 2; i++) {
        struct vq_error err = VQ_ERROR_INIT;

        assert_int_equal(vq_migrate_tls_check(&settings, pki, VQ_MIGRATE_RECEIVES, &err), -1);
        assert_int_equal(err.code, VIR_ERR_CONFIG_UNSUPPORTED);
        assert_non_null(strstr(err.message, uuid));
        settings.migrate_tls.secret = vq_take(settings.default_tls.secret);
    }
    clear("qemu");
}

static void what_is_not_encrypted_or_cannot_be_is_refused(void **state)
{
    static const struct {
        uint64_t flags;
        const char *uri, *name;
        bool has_files, tls_force, nbd_tls;
        int code;
    } rows[] = {
        { VIR_MIGRATE_LIVE, NULL, NULL, false, false, false, VIR_ERR_OK },
        { VIR_MIGRATE_TLS, "tcp:h:1", NULL, false, false, false, VIR_ERR_OPERATION_INVALID },
        { VIR_MIGRATE_TLS, "tcp:h:1", NULL, true, true, true, VIR_ERR_OK },
        { VIR_MIGRATE_TLS | VIR_MIGRATE_NON_SHARED_DISK, NULL, NULL, true, true, true, VIR_ERR_OK },
        { VIR_MIGRATE_TLS, "unix:///s", NULL, true, false, false, VIR_ERR_INVALID_ARG },
        { VIR_MIGRATE_TLS, "unix:///s", "h", true, false, false, VIR_ERR_OK },
        { VIR_MIGRATE_TLS, "rdma://h:1", NULL, true, false, false, VIR_ERR_OPERATION_UNSUPPORTED },
        { VIR_MIGRATE_TLS | VIR_MIGRATE_TUNNELLED, NULL, NULL, true, false, false, VIR_ERR_OPERATION_UNSUPPORTED },
        { VIR_MIGRATE_LIVE, NULL, NULL, true, true, false, VIR_ERR_OPERATION_INVALID },
        { VIR_MIGRATE_TUNNELLED | VIR_MIGRATE_PEER2PEER, NULL, NULL, false, true, false, VIR_ERR_OK },
        { VIR_MIGRATE_OFFLINE | VIR_MIGRATE_TLS, NULL, NULL, false, true, true, VIR_ERR_OK },
        { VIR_MIGRATE_LIVE, NULL, NULL, false, false, true, VIR_ERR_OK },
        { VIR_MIGRATE_NON_SHARED_DISK, NULL, NULL, true, false, true, VIR_ERR_OPERATION_INVALID },
        { VIR_MIGRATE_NON_SHARED_INC, NULL, NULL, true, false, true, VIR_ERR_OPERATION_INVALID },
    };
    static const uint8_t cluster[16] = "one cluster id ";
    const struct vq_driver_host host = { .cluster_id = cluster, .node_id = 1 };
    VQ_AUTOFREE char *full = path_of("full", ""), *none = path_of("none", "");
    struct vq_migrate_cookie stranger = { .is_set = true }, neighbour = { .is_set = true, .node = 4 };

    (void)state;
    make("full", "csSkK");
    memcpy(neighbour.cluster_id, cluster, sizeof(cluster));
    for (size_t i = 0; i < VQ_N_ELEMENTS(rows); i++) {
        struct vq_qemu qemu = { .host = &host, .settings = { .migrate_tls = { .dir = rows[i].has_files ? full : none,
                                                                              .verifies = -1 },
                                                             .migrate_tls_force = rows[i].tls_force,
                                                             .nbd_tls.is_wanted = rows[i].nbd_tls } };
        struct vq_migrate_options options;
        struct vq_error err = VQ_ERROR_INIT;

        vq_migrate_options_init(&options);
        options.flags = rows[i].flags;
        options.uri = vq_strdup(rows[i].uri);
        options.tls_destination = vq_strdup(rows[i].name);
        assert_int_equal(vq_migrate_check_secure(&qemu, &options, &neighbour, VQ_MIGRATE_SENDS, &err), 0);
        if (vq_migrate_check_secure(&qemu, &options, &stranger, VQ_MIGRATE_SENDS, &err) == 0)
            assert_int_equal(err.code, VIR_ERR_OK);
        if (err.code != rows[i].code)
            fail_msg("row %zu: %d %s", i, err.code, err.message);
        vq_migrate_options_done(&options);
    }
    clear("full");
}

static void the_name_on_the_certificate_is_the_hosts_that_is_sent_to(void **state)
{
    static const struct {
        uint64_t flags, peer;
        const char *uri, *said, *wanted;
    } rows[] = {
        { VIR_MIGRATE_TLS, 0, "tcp:host:49152", NULL, "host" },
        { VIR_MIGRATE_TLS, 0, "tcp://[fd00::1]:49152/", NULL, "fd00::1" },
        { VIR_MIGRATE_TLS, 0, "tcp:host:49152", "other", "other" },
        { VIR_MIGRATE_TLS, 0, "unix:/s", "other", "other" },
        { VIR_MIGRATE_TLS, 0, "unix:/s", NULL, NULL },
        { VIR_MIGRATE_TLS, 0, NULL, NULL, NULL },
        { VIR_MIGRATE_TLS, 2, "tcp:host:49152", "other", NULL }, /* between nodes: a key */
        { VIR_MIGRATE_LIVE, 0, "tcp:host:49152", "other", NULL },
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(rows); i++) {
        struct vq_migration migration = { .peer = rows[i].peer };
        char *name;

        vq_migrate_options_init(&migration.options);
        migration.options.flags = rows[i].flags;
        migration.options.uri = vq_strdup(rows[i].uri);
        migration.options.tls_destination = vq_strdup(rows[i].said);
        name = vq_migrate_tls_hostname(&migration);
        if (rows[i].wanted == NULL)
            assert_null(name);
        else
            assert_string_equal(name, rows[i].wanted);
        free(name);
        vq_migrate_options_done(&migration.options);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_directory_that_is_named_comes_before_those_that_are_there),
        cmocka_unit_test(clients_are_looked_at_unless_qemu_conf_says_no),
        cmocka_unit_test(a_file_that_is_missing_is_named),
        cmocka_unit_test(a_key_with_a_password_is_refused),
        cmocka_unit_test(what_is_not_encrypted_or_cannot_be_is_refused),
        cmocka_unit_test(the_name_on_the_certificate_is_the_hosts_that_is_sent_to),
    };

    if (mkdtemp(pki) == NULL)
        return 1;
    int failed = cmocka_run_group_tests_name("migrate_tls", tests, NULL, NULL);
    (void)rmdir(pki);
    return failed;
}
