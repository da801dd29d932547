/* Hook scripts: which are run, with what, and what becomes of the bad ones. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <libvirt/virterror.h>

#include "conf/base/memory.h"
#include "drivers/hook.h"

static char dir[] = "/tmp/hook.XXXXXX";
static uv_loop_t loop;

static struct {
    unsigned calls;
    char *output;
    struct vq_error err;
} seen;

static void called_back(const char *output, const struct vq_error *err, void *data)
{
    assert_ptr_equal(data, &seen);
    seen.calls++;
    seen.output = output != NULL ? vq_strdup(output) : NULL;
    if (err != NULL)
        seen.err = *err;
}

static void script(const char *name, const char *text)
{
    VQ_AUTOFREE char *path = vq_asprintf("%s/hooks/%s", dir, name);
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    assert_true(fprintf(file, "#!/bin/sh\n%s\n", text) > 0);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0755), 0);
}

static void run(const struct vq_hook_call *call)
{
    free(vq_take(seen.output));
    memset(&seen, 0, sizeof(seen));
    assert_non_null(vq_hook_start(&loop, call, called_back, &seen));
    assert_int_equal(seen.calls, 0);
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0); /* nothing is left open */
    assert_int_equal(seen.calls, 1);
}

static struct vq_hook_call call_of(const char *operation)
{
    return (struct vq_hook_call){ .config_dir = dir, .name = "qemu", .object = "web", .operation = operation,
                                  .sub_operation = "begin", .input = "<domain/>\n" };
}

static char *content(const char *name)
{
    static char text[4096];
    VQ_AUTOFREE char *path = vq_asprintf("%s/%s", dir, name);
    FILE *file = fopen(path, "re");
    size_t n = file != NULL ? fread(text, 1, sizeof(text) - 1, file) : 0;

    text[n] = '\0';
    if (file != NULL)
        (void)fclose(file);
    return text;
}

static int empty(void **state)
{
    VQ_AUTOFREE char *command = vq_asprintf("rm -rf %s/* && mkdir -p %s/hooks/qemu.d", dir, dir);

    (void)state;
    return system(command); /* NOLINT */
}

static void without_scripts_nothing_is_run(void **state)
{
    const struct vq_hook_call call = call_of("prepare");

    (void)state;
    assert_false(vq_hook_exists(dir, "qemu"));
    assert_null(vq_hook_start(&loop, &call, called_back, &seen));
    script("qemu", "exit 1");
    VQ_AUTOFREE char *path = vq_asprintf("%s/hooks/qemu", dir);
    assert_int_equal(chmod(path, 0644), 0);
    assert_false(vq_hook_exists(dir, "qemu"));
}

static void scripts_get_words_and_document_in_order(void **state)
{
    const struct vq_hook_call call = call_of("prepare");
    char text[256];

    (void)state;
    (void)snprintf(text, sizeof(text), "echo \"one $*\" >> %s/log; cat >> %s/log", dir, dir);
    script("qemu", text);
    (void)snprintf(text, sizeof(text), "echo two >> %s/log", dir);
    script("qemu.d/20-b", text);
    (void)snprintf(text, sizeof(text), "echo three >> %s/log", dir);
    script("qemu.d/10-a", text);
    run(&call);
    assert_int_equal(seen.err.code, VIR_ERR_OK);
    assert_null(seen.output);
    assert_string_equal(content("log"), "one web prepare begin -\n<domain/>\nthree\ntwo\n");
}

static void what_a_failing_script_says_is_in_the_error(void **state)
{
    const struct vq_hook_call call = call_of("start");
    char text[256];

    (void)state;
    script("qemu.d/1", "echo no such bridge >&2; exit 3");
    (void)snprintf(text, sizeof(text), "touch %s/second", dir);
    script("qemu.d/2", text);
    run(&call);
    assert_int_equal(seen.err.code, VIR_ERR_HOOK_SCRIPT_FAILED);
    assert_non_null(strstr(seen.err.message, "hooks/qemu.d/1 web start begin -' exited with status 3: no such bridge"));
    assert_null(strstr(seen.err.message, "bridge\n"));
    assert_string_equal(content("second"), "");
    VQ_AUTOFREE char *second = vq_asprintf("%s/second", dir);
    assert_int_equal(access(second, F_OK), -1);
}

static void a_silent_failure_is_told_as_one(void **state)
{
    const struct vq_hook_call call = call_of("start");

    (void)state;
    script("qemu", "exit 1");
    run(&call);
    assert_non_null(strstr(seen.err.message, "exited with status 1: it wrote nothing"));
}

static void a_process_left_in_the_background_holds_up_nothing(void **state)
{
    const struct vq_hook_call call = call_of("start");
    uint64_t begin = uv_hrtime();
    char text[128];

    (void)state;
    (void)snprintf(text, sizeof(text), "echo done >&2; sleep 4000 & echo $! > %s/pid", dir);
    script("qemu", text);
    run(&call);
    assert_int_equal(seen.err.code, VIR_ERR_OK);
    assert_true(uv_hrtime() - begin < 60ULL * 1000000000); /* not the 4000 s, nor the time limit */
    assert_int_equal(kill((pid_t)atoi(content("pid")), SIGKILL), 0); /* it was left alone */
}

static void one_that_never_ends_is_ended(void **state)
{
    struct vq_hook_call call = call_of("start");

    (void)state;
    call.timeout_ms = 200;
    script("qemu", "echo waiting >&2; sleep 4000");
    run(&call);
    assert_int_equal(seen.err.code, VIR_ERR_HOOK_SCRIPT_FAILED);
    assert_non_null(strstr(seen.err.message, "did not end within"));
}

static void filters_hand_on_what_they_write(void **state)
{
    struct vq_hook_call call = call_of("migrate");

    (void)state;
    call.is_filter = true;
    script("qemu.d/1", "sed s/domain/changed/");
    script("qemu.d/2", "cat; echo '<more/>'");
    script("qemu.d/3", "exit 0");
    run(&call);
    assert_int_equal(seen.err.code, VIR_ERR_OK);
    assert_string_equal(seen.output, "<changed/>\n<more/>\n");
}

static void a_filter_that_writes_nothing_changes_nothing(void **state)
{
    struct vq_hook_call call = call_of("migrate");

    (void)state;
    call.is_filter = true;
    script("qemu", "exit 0");
    run(&call);
    assert_null(seen.output);
}

static void endless_output_is_bounded(void **state)
{
    struct vq_hook_call call = call_of("migrate");

    (void)state;
    call.is_filter = true;
    script("qemu", "yes");
    run(&call);
    assert_non_null(strstr(seen.err.message, "wrote more than"));
}

static void a_cancelled_one_is_not_heard_of_again(void **state)
{
    const struct vq_hook_call call = call_of("start");

    (void)state;
    script("qemu", "sleep 4000");
    memset(&seen, 0, sizeof(seen));
    vq_hook_cancel(vq_hook_start(&loop, &call, called_back, &seen));
    assert_int_equal(uv_run(&loop, UV_RUN_DEFAULT), 0);
    assert_int_equal(seen.calls, 0);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup(name, empty)
    const struct CMUnitTest tests[] = {
        TEST(without_scripts_nothing_is_run),
        TEST(scripts_get_words_and_document_in_order),
        TEST(what_a_failing_script_says_is_in_the_error),
        TEST(a_silent_failure_is_told_as_one),
        TEST(a_process_left_in_the_background_holds_up_nothing),
        TEST(one_that_never_ends_is_ended),
        TEST(filters_hand_on_what_they_write),
        TEST(a_filter_that_writes_nothing_changes_nothing),
        TEST(endless_output_is_bounded),
        TEST(a_cancelled_one_is_not_heard_of_again),
    };

    (void)signal(SIGPIPE, SIG_IGN); /* as the daemon does */
    if (mkdtemp(dir) == NULL || uv_loop_init(&loop) != 0)
        return 1;
    int failed = cmocka_run_group_tests_name("hook", tests, NULL, NULL);
    free(seen.output);
    VQ_AUTOFREE char *command = vq_asprintf("rm -rf %s", dir);
    return system(command) != 0 || uv_loop_close(&loop) != 0 ? 1 : failed; /* NOLINT */
}
