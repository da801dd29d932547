/* XML in, what is kept of it and the command line out: each case beside what it must give.
 *
 * name.xml    what a user writes
 * name.filled the definition with everything chosen
 * name.argv   the command line, one word in a line
 * name.error  instead of both: "code message"
 *
 * VQ_GOLDEN_UPDATE=1 writes them anew. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/command.h"
#include "drivers/qemu/definition.h"
#include "drivers/qemu/firmware.h"
#include "drivers/qemu/run_secrets.h"
#include "tests/golden/qemu/support.h"

static const char *const generics[] = {"/dev/sg0", "/dev/sg1"};

enum { FIRST_SECRET = 60 };

struct outcome {
    char *filled, *argv;
    struct vq_error error;
};

static int fill(const char *xml, struct vq_domain **ret, struct vq_error *err)
{
    VQ_AUTOPTR(vq_domain) def = NULL;

    golden_random_reset();
    if (vq_domain_parse(xml, VQ_PARSE_INACTIVE, &def, err) < 0 ||
        vq_qemu_definition_fill(def, golden_capabilities_of(def), golden_random, err) < 0)
        return -1;
    *ret = vq_take(def);
    return 0;
}

static int write_argv(struct vq_domain *live, char **ret, struct vq_error *err)
{
    VQ_AUTOPTR(vq_qemu_command) command = NULL;
    VQ_AUTOBUFFER text = VQ_BUFFER_INIT;
    struct vq_qemu_run_secrets secrets;
    VQ_AUTOFREE struct vq_qemu_queues *taps = vq_calloc(live->devices.n_interfaces + 1, sizeof(*taps));

    if (vq_qemu_definition_begin_run(live, 1, "/run/guest", err) < 0 ||
        vq_qemu_firmware_choose(live, golden_firmwares(), err) < 0)
        return -1;
    golden_choose_numbers(live, taps, 20);
    golden_secrets(&secrets, live, FIRST_SECRET);
    const struct vq_qemu_launch launch = {.dir = "/run/guest", .monitor_fd = 3, .taps = taps,
                                          .n_taps = live->devices.n_interfaces, .vsock_fd = -1, .sandbox = true,
                                          .memory_dir = "/var/lib/libvirt/qemu/ram/1-guest", .now_s = 1700000000, .scsi_generics = generics,
                                          .n_scsi_generics = VQ_N_ELEMENTS(generics), .secrets = &secrets,
                                          .chardev_tls_verify = true};
    int rc = vq_qemu_command_build(live, golden_capabilities_of(live), &launch, &command, err);
    golden_secrets_done(&secrets, FIRST_SECRET);
    if (rc < 0)
        return -1;
    for (size_t i = 0; i < command->n_args; i++) {
        vq_buffer_add(&text, command->argv[i]);
        vq_buffer_add(&text, "\n");
    }
    *ret = vq_buffer_steal(&text);
    return 0;
}

static void run_case(const char *xml, struct outcome *ret)
{
    VQ_AUTOPTR(vq_domain) def = NULL;
    VQ_AUTOPTR(vq_domain) live = NULL;

    *ret = (struct outcome){.error = VQ_ERROR_INIT};
    if (fill(xml, &def, &ret->error) < 0)
        return;
    ret->filled = vq_domain_format(def, VQ_FORMAT_INACTIVE | VQ_FORMAT_SECURE);
    live = vq_domain_copy(def);
    if (write_argv(live, &ret->argv, &ret->error) < 0)
        free(vq_take(ret->filled));
}

static void expect(const char *dir, const char *name, const char *suffix, const char *text)
{
    VQ_AUTOFREE char *expected = golden_read(dir, name, suffix);

    if (getenv("VQ_GOLDEN_UPDATE") != NULL) {
        if (text != NULL)
            golden_write(dir, name, suffix, text);
        else
            golden_remove(dir, name, suffix);
        return;
    }
    if (text == NULL && expected == NULL)
        return;
    if (text == NULL)
        print_error("case %s%s: there is a file, but nothing came out\n", name, suffix);
    assert_non_null(text);
    if (expected == NULL || strcmp(expected, text) != 0)
        print_error("case %s%s: got\n%s", name, suffix, text);
    assert_non_null(expected);
    assert_string_equal(text, expected);
}

/* What a user reads back can be given again, and nothing is chosen a second time. */
static void check_stable(const char *name, const char *filled)
{
    VQ_AUTOPTR(vq_domain) def = NULL;
    VQ_AUTOFREE char *again = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    if (fill(filled, &def, &err) < 0)
        print_error("case %s, filled a second time: %s\n", name, err.message);
    assert_non_null(def);
    again = vq_domain_format(def, VQ_FORMAT_INACTIVE | VQ_FORMAT_SECURE);
    if (strcmp(filled, again) != 0)
        print_error("case %s, filled a second time:\n%s", name, again);
    assert_string_equal(filled, again);
}

static void test_case(void **state)
{
    const char *name = *state;
    VQ_AUTOFREE char *xml = golden_read(GOLDEN_DIR, name, ".xml");
    struct outcome outcome;

    run_case(xml, &outcome);
    VQ_AUTOFREE char *error = outcome.error.code == VIR_ERR_OK
                                  ? NULL
                                  : vq_asprintf("%d %s\n", outcome.error.code, outcome.error.message);
    VQ_AUTOFREE char *filled = outcome.filled, *argv = outcome.argv;

    expect(GOLDEN_DIR, name, ".error", error);
    expect(GOLDEN_DIR, name, ".filled", filled);
    expect(GOLDEN_DIR, name, ".argv", argv);
    if (filled != NULL)
        check_stable(name, filled);
}

int main(void)
{
    char **names = golden_cases(GOLDEN_DIR);
    struct CMUnitTest *tests;
    size_t n = 0;
    int rc;

    while (names[n] != NULL)
        n++;
    tests = vq_calloc(n + 1, sizeof(*tests));
    for (size_t i = 0; i < n; i++)
        tests[i] = (struct CMUnitTest){.name = names[i], .test_func = test_case, .initial_state = names[i]};
    rc = n == 0 ? 1 : _cmocka_run_group_tests("golden", tests, n, NULL, NULL);
    for (size_t i = 0; i < n; i++)
        free(names[i]);
    free(names);
    free(tests);
    return rc;
}
