/* qemu.conf: what is read, and what is refused rather than passed over. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>
#include <libvirt/virterror.h>

#include "conf/base/memory.h"
#include "drivers/qemu/driver.h"

static char dir[] = "/tmp/settings.XXXXXX";

static struct vq_buffer remarks;

static int read_text(const char *text, struct vq_qemu_settings *settings, struct vq_error *err)
{
    VQ_AUTOFREE char *path = vq_asprintf("%s/qemu.conf", dir);
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    vq_buffer_done(&remarks);
    int rc = vq_qemu_settings_read(settings, dir, &remarks, err);
    assert_int_equal(unlink(path), 0);
    return rc;
}

static void settings_comments_and_lists_are_read(void **state)
{
    struct vq_qemu_settings settings;
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_int_equal(
        read_text("# user = \"root\"\n\n  vnc_listen = \"0.0.0.0\"\ncgroup_device_acl = [\n    \"/dev/null\",\n"
                  "    \"/dev/kvm\"\n]\nsecurity_driver = [ \"none\" ]\nmax_files = 4096 # many\n",
                  &settings, &err),
        0);
    assert_string_equal(settings.vnc.listen, "0.0.0.0");
    assert_int_equal(settings.max_files, 4096);
    vq_qemu_settings_done(&settings);
}

static void migration_in_clear_can_be_forbidden(void **state)
{
    struct vq_qemu_settings settings;
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_int_equal(read_text("migrate_tls_force = 1\nnbd_tls = 1\n", &settings, &err), 0);
    assert_true(settings.migrate_tls_force);
    assert_true(settings.nbd_tls.is_wanted);
    vq_qemu_settings_done(&settings);
    assert_int_equal(read_text("migrate_tls_force = yes\n", &settings, &err), -1);
    vq_qemu_settings_done(&settings);
}

static void certificates_for_encryption_are_named(void **state)
{
    static const char *const refused[] = { "migrate_tls_x509_cert_dir = \"pki\"\n", "default_tls_x509_cert_dir = \"\"\n",
                                           "migrate_tls_x509_verify = 2\n", "default_tls_x509_verify = \"yes\"\n" };
    struct vq_qemu_settings settings;
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_int_equal(read_text("", &settings, &err), 0);
    assert_null(settings.default_tls.dir);
    assert_null(settings.migrate_tls.secret);
    assert_int_equal(settings.default_tls.verifies, -1);
    assert_int_equal(settings.migrate_tls.verifies, -1);
    vq_qemu_settings_done(&settings);
    assert_int_equal(read_text("default_tls_x509_cert_dir = \"/a\"\ndefault_tls_x509_verify = 0\n"
                               "migrate_tls_x509_cert_dir = \"/b\"\nmigrate_tls_x509_verify = 1\n"
                               "default_tls_x509_secret_uuid = \"c\"\nmigrate_tls_x509_secret_uuid = \"d\"\n",
                               &settings, &err), 0);
    assert_string_equal(settings.default_tls.dir, "/a");
    assert_int_equal(settings.default_tls.verifies, 0);
    assert_string_equal(settings.default_tls.secret, "c");
    assert_string_equal(settings.migrate_tls.dir, "/b");
    assert_int_equal(settings.migrate_tls.verifies, 1);
    assert_string_equal(settings.migrate_tls.secret, "d");
    vq_qemu_settings_done(&settings);
    for (size_t i = 0; i < VQ_N_ELEMENTS(refused); i++) {
        assert_int_equal(read_text(refused[i], &settings, &err), -1);
        assert_int_equal(err.code, VIR_ERR_CONF_SYNTAX);
        vq_qemu_settings_done(&settings);
    }
}

/* All of Debian's sample file. */
static void every_key_of_the_sample_is_known(void **state)
{
    static const char *const names[] = {
        "default_tls_x509_cert_dir", "default_tls_x509_verify", "default_tls_x509_secret_uuid", "vnc_listen",
        "vnc_auto_unix_socket", "vnc_tls", "vnc_tls_x509_cert_dir", "vnc_tls_x509_secret_uuid", "vnc_tls_x509_verify",
        "vnc_password", "vnc_sasl", "vnc_sasl_dir", "vnc_allow_host_audio", "spice_listen", "spice_tls",
        "spice_tls_x509_cert_dir", "spice_auto_unix_socket", "spice_password", "spice_sasl", "spice_sasl_dir",
        "chardev_tls", "chardev_tls_x509_cert_dir", "chardev_tls_x509_verify", "chardev_tls_x509_secret_uuid", "vxhs_tls",
        "vxhs_tls_x509_cert_dir", "vxhs_tls_x509_secret_uuid", "nbd_tls", "nbd_tls_x509_cert_dir",
        "nbd_tls_x509_secret_uuid", "migrate_tls_x509_cert_dir", "migrate_tls_x509_verify",
        "migrate_tls_x509_secret_uuid", "migrate_tls_force", "backup_tls_x509_cert_dir", "backup_tls_x509_verify",
        "backup_tls_x509_secret_uuid", "nographics_allow_host_audio", "remote_display_port_min",
        "remote_display_port_max", "remote_websocket_port_min", "remote_websocket_port_max", "security_driver",
        "security_default_confined", "security_require_confined", "user", "group", "dynamic_ownership",
        "remember_owner", "cgroup_controllers", "cgroup_device_acl", "save_image_format", "dump_image_format",
        "snapshot_image_format", "auto_dump_path", "auto_dump_bypass_cache", "auto_start_bypass_cache",
        "hugetlbfs_mount", "bridge_helper", "set_process_name", "max_processes", "max_files",
        "max_threads_per_process", "max_core", "dump_guest_core", "mac_filter", "relaxed_acs_check", "lock_manager",
        "max_queued", "keepalive_interval", "keepalive_count", "seccomp_sandbox", "migration_address",
        "migration_host", "migration_port_min", "migration_port_max", "log_timestamp", "nvram", "stdio_handler",
        "gluster_debug_level", "virtiofsd_debug", "namespaces", "memory_backing_dir", "pr_helper", "slirp_helper",
        "dbus_daemon", "swtpm_user", "swtpm_group", "capability_filters", "deprecation_behavior", "sched_core",
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(names); i++) {
        VQ_AUTOFREE char *text = vq_asprintf("%s = [ \"/x\" ]\n", names[i]);
        struct vq_qemu_settings settings;
        struct vq_error err = VQ_ERROR_INIT;

        /* Wrong for most, and then the key is named. */
        if (read_text(text, &settings, &err) < 0)
            assert_non_null(strstr(err.message, names[i]));
        else if (remarks.data != NULL)
            assert_null(strstr(remarks.data, "unknown"));
        vq_qemu_settings_done(&settings);
    }
}

static void what_has_no_effect_is_told(void **state)
{
    struct vq_qemu_settings settings;
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_int_equal(read_text("\nlock_manager = \"lockd\"\nusre = \"root\"\n", &settings, &err), 0);
    assert_non_null(strstr(remarks.data, "qemu.conf:2: 'lock_manager' has no effect: "));
    assert_non_null(strstr(remarks.data, "qemu.conf:3: unknown key 'usre'; did you mean 'user'?"));
    vq_qemu_settings_done(&settings);
}

static void what_cannot_be_is_refused_by_its_name(void **state)
{
    static const struct {
        const char *text, *named;
    } rows[] = {
        { "migration_port_min = 5000\nmigration_port_max = 4000\n", "migration_port_min is above migration_port_max" },
        { "remote_websocket_port_min = 100\n", "remote_websocket_port_min" },
        { "save_image_format = \"zip\"\n", "save_image_format: 'zip' is none of 'raw', 'gzip'" },
        { "user = \"nobody-of-this-name\"\n", "no user 'nobody-of-this-name'" },
        { "group = \"nobody-of-this-name\"\n", "no group 'nobody-of-this-name'" },
        { "auto_dump_path = \"dump\"\n", "auto_dump_path: 'dump' is no absolute path" },
        { "vnc_password = \"x\"\n", "vnc_password: it cannot be honoured here" },
        { "spice_sasl = 1\n", "spice_sasl: it cannot be honoured here" },
        { "chardev_tls = 1\n", "chardev_tls: it cannot be honoured here" },
        { "security_driver = \"selinux\"\n", "security_driver: it cannot be honoured here" },
        { "migration_host = \"localhost\"\n", "migration_host" },
        { "max_files = \"many\"\n", "'max_files' must be a number" },
        { "dynamic_ownership = 2\n", "'dynamic_ownership' must be a number from 0 to 1" },
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(rows); i++) {
        struct vq_qemu_settings settings;
        struct vq_error err = VQ_ERROR_INIT;

        assert_int_equal(read_text(rows[i].text, &settings, &err), -1);
        assert_int_equal(err.code, VIR_ERR_CONF_SYNTAX);
        assert_non_null(strstr(err.message, rows[i].named));
        vq_qemu_settings_done(&settings);
    }
}

/* It may have been meant to say as whom QEMU runs. */
static void a_line_that_cannot_be_read_is_refused(void **state)
{
    static char long_line[5000];
    const char *const texts[] = {"user \"nobody\"\n", "max_files = 1\nrubbish\n", "= 3\n", "list = [\n\"a\",\n",
                                 long_line};
    struct vq_qemu_settings settings;

    (void)state;
    memset(long_line, 'x', sizeof(long_line) - 1);
    memcpy(long_line, "vnc_listen = ", 13);
    for (size_t i = 0; i < VQ_N_ELEMENTS(texts); i++) {
        struct vq_error err = VQ_ERROR_INIT;
        assert_int_equal(read_text(texts[i], &settings, &err), -1);
        assert_int_equal(err.code, VIR_ERR_CONF_SYNTAX);
        assert_non_null(strstr(err.message, "qemu.conf"));
        vq_qemu_settings_done(&settings);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(settings_comments_and_lists_are_read),
        cmocka_unit_test(migration_in_clear_can_be_forbidden),
        cmocka_unit_test(certificates_for_encryption_are_named),
        cmocka_unit_test(every_key_of_the_sample_is_known),
        cmocka_unit_test(what_has_no_effect_is_told),
        cmocka_unit_test(what_cannot_be_is_refused_by_its_name),
        cmocka_unit_test(a_line_that_cannot_be_read_is_refused),
    };

    if (mkdtemp(dir) == NULL)
        return 1;
    int failed = cmocka_run_group_tests_name("qemu_settings", tests, NULL, NULL);
    vq_buffer_done(&remarks);
    (void)rmdir(dir);
    return failed;
}
