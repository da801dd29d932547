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

static int read_text(const char *text, struct vq_qemu_settings *settings, struct vq_error *err)
{
    VQ_AUTOFREE char *path = vq_asprintf("%s/qemu.conf", dir);
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    assert_int_equal(fclose(file), 0);
    int rc = vq_qemu_settings_read(settings, dir, err);
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
    assert_string_equal(settings.vnc_listen, "0.0.0.0");
    assert_int_equal(settings.files_max, 4096);
    vq_qemu_settings_done(&settings);
}

static void migration_in_clear_can_be_forbidden(void **state)
{
    struct vq_qemu_settings settings;
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_int_equal(read_text("migrate_tls_force = 1\nnbd_tls = 1\n", &settings, &err), 0);
    assert_true(settings.migrate_tls_force);
    assert_true(settings.nbd_tls);
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
        cmocka_unit_test(a_line_that_cannot_be_read_is_refused),
    };

    if (mkdtemp(dir) == NULL)
        return 1;
    int failed = cmocka_run_group_tests_name("qemu_settings", tests, NULL, NULL);
    (void)rmdir(dir);
    return failed;
}
