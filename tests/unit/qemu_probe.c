/* Emulators that answer with nonsense when they are asked what they can do. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>
#include <uv.h>

#include "conf/base/memory.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/probe.h"

static char dir[] = "/tmp/probe.XXXXXX";

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(dir) == NULL ? -1 : 0;
}

static int remove_dir(void **state)
{
    VQ_AUTOFREE char *command = vq_asprintf("rm -rf %s", dir);

    (void)state;
    return system(command);
}

/* A program whose monitor is $fd; the greeting has been given. */
static char *make_emulator(const char *words)
{
    char *path = vq_asprintf("%s/emulator", dir);
    FILE *file = fopen(path, "we");

    assert_non_null(file);
    fprintf(file,
            "#!/bin/bash\nfd=$(echo \"$*\" | sed 's/.*,fd=\\([0-9]*\\).*/\\1/')\n"
            "echo '{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 2, \"major\": 7}}, \"capabilities\": "
            "[]}}' >&$fd\n"
            "%s\n",
            words);
    assert_int_equal(fclose(file), 0);
    assert_int_equal(chmod(path, 0755), 0);
    return path;
}

struct outcome {
    struct vq_qemu_capabilities *caps;
    struct vq_error err;
    bool is_over;
};

static void probed(struct vq_qemu_capabilities *take_caps, const struct vq_error *err, void *data)
{
    struct outcome *outcome = data;

    outcome->caps = take_caps;
    if (err != NULL)
        outcome->err = *err;
    outcome->is_over = true;
}

static struct outcome probe(const char *words)
{
    VQ_AUTOFREE char *path = make_emulator(words);
    struct outcome outcome = {0};
    uv_loop_t loop;

    assert_int_equal(uv_loop_init(&loop), 0);
    (void)vq_qemu_probe_start(&loop, path, probed, &outcome);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_true(outcome.is_over);
    (void)uv_loop_close(&loop); /* the process watcher may still be on its way */
    return outcome;
}

static void refused(const char *words)
{
    struct outcome outcome = probe(words);

    if (outcome.caps != NULL || outcome.err.code == VIR_ERR_OK)
        fail_msg("taken: %s", words);
}

/* Answers each command by its id: the words of case are shell patterns of the command's name. */
#define ANSWERING(cases)                                                                                       \
    "while read -r line <&$fd; do id=$(echo \"$line\" | sed 's/.*\"id\": *\\(\"[^\"]*\"\\|[0-9]*\\).*/\\1/');" \
    "case \"$line\" in " cases                                                                                 \
    " *) answer='{}';; esac; echo \"{\\\"return\\\": $answer, \\\"id\\\": $id}\" >&$fd; done"

static void an_emulator_that_talks_nonsense_is_refused(void **state)
{
    (void)state;
    refused("exit 0");
    refused("echo 'no JSON at all' >&$fd; sleep 5");
    refused("echo '[1,2,3]' >&$fd; sleep 5");
    refused("head -c 200000000 /dev/zero | tr '\\0' 'x' >&$fd; sleep 5"); /* a line without end */
    refused(ANSWERING("*nothing*) answer='[]';;"));                       /* empty answers: no machine */
}

static void names_that_are_no_names_and_lists_without_end_are_left_out(void **state)
{
    struct outcome outcome;

    (void)state;
    outcome = probe(ANSWERING(
        "*query-target*) answer='{\"arch\": \"x86_64\"}';;"
        "*query-machines*) answer='[{\"name\": \"good\", \"cpu-max\": 1e300}, {\"name\": \"<evil/>\"}, {\"name\": 7}, "
        "8,"
        "{\"name\": \"other\", \"alias\": \"a b\", \"cpu-max\": -5}]';;"
        "*query-cpu-definitions*) answer='[{\"name\": \"one\", \"unavailable-features\": \"all\"}, {\"name\": null}]';;"
        "*qom-list-types*) answer=\"[$(yes '{\"name\": \"x\"},' | head -20000 | tr -d '\\n') {}]\";;"
        "*query-cpu-model-expansion*) answer='{\"model\": {\"props\": {\"aes\": true, \"a<b\": true, \"vendor\": 5, "
        "\"family\": -1}}}';;"));
    assert_int_equal(outcome.err.code, VIR_ERR_OK);
    assert_non_null(outcome.caps);
    assert_int_equal(outcome.caps->n_machines, 2);
    assert_string_equal(outcome.caps->machines[0].name, "good");
    assert_int_equal(outcome.caps->machines[0].cpus_max, 0);
    assert_null(outcome.caps->machines[1].alias);
    assert_int_equal(outcome.caps->n_cpu_models, 1);
    assert_int_equal(outcome.caps->n_devices, 0); /* more than an emulator can have */
    assert_int_equal(outcome.caps->n_features, 1);
    assert_string_equal(outcome.caps->cpu.vendor, "");
    assert_int_equal(outcome.caps->cpu.family, 0);
    vq_qemu_capabilities_free(outcome.caps);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_emulator_that_talks_nonsense_is_refused),
        cmocka_unit_test(names_that_are_no_names_and_lists_without_end_are_left_out),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
