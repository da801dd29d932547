/* Hook scripts over a guest's life: in which order, with what, and what a bad one does to it. */
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "tests/driver/scripted.h"

static void hook(const char *text)
{
    VQ_AUTOFREE char *dir = vq_asprintf("%s/hooks", fake.host.config_dir);
    VQ_AUTOFREE char *path = vq_asprintf("%s/qemu", dir);
    FILE *file;

    (void)mkdir(fake.host.config_dir, 0755);
    (void)mkdir(dir, 0755);
    file = fopen(path, "we");
    assert_non_null(file);
    assert_true(fprintf(file, "#!/bin/sh\nlog=%s/hook.log\n%s\n", fake.dir, text) > 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0755), 0);
}

static const char *hook_log(void)
{
    static char text[4096];
    VQ_AUTOFREE char *path = vq_asprintf("%s/hook.log", fake.dir);
    FILE *file = fopen(path, "re");
    size_t n = file != NULL ? fread(text, 1, sizeof(text) - 1, file) : 0;

    text[n] = '\0';
    if (file != NULL)
        (void)fclose(file);
    return text;
}

static bool is_logged(void *data)
{
    return strstr(hook_log(), data) != NULL;
}

static void each_moment_of_a_life_has_its_script(void **state)
{
    (void)state;
    define(false);
    use_script("");
    hook("echo \"$* $(grep -c '<name>a1</name>')\" >> $log");
    must("domain_create");
    assert_string_equal(hook_log(), "a1 prepare begin - 1\na1 start begin - 1\na1 started begin - 1\n");
    must("domain_destroy");
    assert_string_equal(hook_log(), "a1 prepare begin - 1\na1 start begin - 1\na1 started begin - 1\n"
                                    "a1 stopped end - 1\na1 release end - 1\n");
}

static void a_script_that_fails_ends_the_start(void **state)
{
    static const char *const operations[] = { "prepare", "start", "started" };

    (void)state;
    define(false);
    use_script("");
    for (size_t i = 0; i < VQ_N_ELEMENTS(operations); i++) {
        VQ_AUTOFREE char *text = vq_asprintf("echo $2 >> $log; [ $2 != %s ] || { echo no switch >&2; exit 7; }", operations[i]);

        hook(text);
        assert_int_equal(call("domain_create"), VIR_ERR_HOOK_SCRIPT_FAILED);
        assert_non_null(strstr(fake_error.message, operations[i]));
        assert_non_null(strstr(fake_error.message, "exited with status 7: no switch"));
        assert_null(guest());
        assert_int_equal(domain->info.state, VIR_DOMAIN_SHUTOFF);
        assert_non_null(strstr(hook_log(), "release\n"));
    }
}

static void a_script_that_fails_at_the_end_holds_up_nothing(void **state)
{
    (void)state;
    define(false);
    use_script("");
    hook("echo $2 >> $log; [ $2 != stopped ] && [ $2 != release ]");
    must("domain_create");
    must("domain_destroy");
    assert_null(guest());
    assert_non_null(strstr(hook_log(), "stopped\nrelease\n"));
}

static void a_start_that_hangs_in_a_script_can_be_destroyed(void **state)
{
    (void)state;
    define(false);
    use_script("");
    hook("echo $2 >> $log; echo >&2; [ $2 != prepare ] || sleep 4000"); /* what it says wakes the loop */
    vq_qemu_start(driver->state, &domain->info, &(const struct vq_qemu_start_options){0}, NULL);
    assert_true(fake_host_until(is_logged, (void *)"prepare"));
    must("domain_destroy");
    assert_true(fake_host_until(has_ended, NULL));
    assert_non_null(strstr(hook_log(), "prepare\nrelease\n"));
}

static void a_guest_found_again_is_told_of(void **state)
{
    (void)state;
    define(false);
    use_script("");
    hook("echo $2 $3 >> $log");
    must("domain_create");
    restart();
    assert_true(fake_host_until(is_logged, (void *)"reconnect begin\n"));
    assert_non_null(guest());
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, scripted_setup, scripted_teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(each_moment_of_a_life_has_its_script),
        CASE(a_script_that_fails_ends_the_start),
        CASE(a_script_that_fails_at_the_end_holds_up_nothing),
        CASE(a_start_that_hangs_in_a_script_can_be_destroyed),
        CASE(a_guest_found_again_is_told_of),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
