/* One run of an emulator that is asked by QMP, or watched for a sign of life. */
#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/probe.h"

#include <errno.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/process.h"
#include "drivers/qemu/qmp.h"

enum { MACHINES_MAX = 4096, MODELS_MAX = 4096, DEVICES_MAX = 16384, FEATURES_MAX = 1024, NAME_MAX_BYTES = 256 };

/* What the PC's firmware says when all is set up and there is nothing to boot. Its first words are no proof: where KVM is
 * itself emulated, they come, and then the CPU hangs in the first 16-bit code. */
#define BOOT_SIGN "No bootable device"

struct vq_qemu_probe {
    uv_loop_t *loop;
    uv_timer_t deadline;
    uv_poll_t sign;            /* KVM trial: the firmware's debug output */
    int sign_fd;
    char words[1024];          /* the last of what the firmware has said */
    size_t n_words;
    unsigned open_handles;
    struct vq_process *process;
    struct vq_qmp *qmp;
    struct vq_qemu_capabilities *caps;
    json_t *answers;           /* to be kept */
    bool is_kvm;
    unsigned pending;          /* answers to come */
    struct vq_error error;
    bool is_trial, is_over, works;
    vq_qemu_probe_cb cb;
    vq_qemu_trial_cb trial_cb;
    void *data;
    void (*cancelled)(void *data);
    void *cancelled_data;
};

/* ---- Reading the answers; every field is optional and checked ---- */

static char *text_of(json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));

    return text == NULL || strlen(text) >= NAME_MAX_BYTES ? NULL : vq_strdup(text);
}

static bool is_plain_name(const char *name)
{
    return strlen(name) < NAME_MAX_BYTES &&
           strspn(name, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._+-") == strlen(name);
}

/* Names go into XML and command lines: letters, digits and the marks that QEMU uses. */
static char *name_of(json_t *object, const char *key)
{
    char *name = text_of(object, key);

    if (name != NULL && !is_plain_name(name))
        free(vq_take(name));
    return name;
}

static void read_version(struct vq_qemu_capabilities *caps, json_t *reply)
{
    json_t *numbers = json_object_get(reply, "qemu");
    json_int_t major = json_integer_value(json_object_get(numbers, "major"));
    json_int_t minor = json_integer_value(json_object_get(numbers, "minor"));
    json_int_t micro = json_integer_value(json_object_get(numbers, "micro"));

    if (major >= 0 && major < 1000 && minor >= 0 && minor < 1000 && micro >= 0 && micro < 1000)
        caps->version = (uint64_t)(major * 1000000 + minor * 1000 + micro);
    caps->package = text_of(reply, "package");
}

static void read_target(struct vq_qemu_capabilities *caps, json_t *reply)
{
    VQ_AUTOFREE char *arch = name_of(reply, "arch");

    if (arch != NULL)
        vq_set_text(&caps->arch, vq_qemu_arch_of_qemu(arch));
}

/* "qemu64-x86_64-cpu" → "qemu64" */
static char *cpu_name(json_t *object, const char *key)
{
    char *type = name_of(object, key);
    size_t length = type == NULL ? 0 : strlen(type);

    if (length > 4 && strcmp(type + length - 4, "-cpu") == 0) {
        type[length - 4] = '\0';
        char *dash = strrchr(type, '-');
        if (dash != NULL)
            *dash = '\0';
    }
    return type;
}

static void read_machines(struct vq_qemu_capabilities *caps, json_t *reply)
{
    size_t i;
    json_t *item;

    if (json_array_size(reply) > MACHINES_MAX)
        return;
    caps->machines = vq_calloc(json_array_size(reply) + 1, sizeof(*caps->machines));
    json_array_foreach(reply, i, item) {
        struct vq_qemu_machine *machine = &caps->machines[caps->n_machines];
        json_int_t cpus = json_integer_value(json_object_get(item, "cpu-max"));
        json_t *acpi = json_object_get(item, "acpi");

        machine->name = name_of(item, "name");
        if (machine->name == NULL || strcmp(machine->name, "none") == 0) {
            free(vq_take(machine->name));
            continue;
        }
        machine->alias = name_of(item, "alias");
        machine->default_cpu = cpu_name(item, "default-cpu-type");
        machine->default_ram_id = name_of(item, "default-ram-id");
        machine->cpus_max = cpus > 0 && cpus < 1 << 20 ? (uint32_t)cpus : 0;
        machine->is_default = json_is_true(json_object_get(item, "is-default"));
        machine->is_deprecated = json_is_true(json_object_get(item, "deprecated"));
        machine->has_hotpluggable_cpus = json_is_true(json_object_get(item, "hotpluggable-cpus"));
        machine->has_acpi = acpi == NULL || json_is_true(acpi);
        if (machine->is_default)
            caps->default_machine = (uint32_t)caps->n_machines;
        caps->n_machines++;
    }
}

static void read_missing(struct vq_qemu_cpu_model *model, json_t *names)
{
    size_t i;
    json_t *item;

    if (json_array_size(names) == 0 || json_array_size(names) > FEATURES_MAX)
        return;
    model->missing = vq_calloc(json_array_size(names), sizeof(*model->missing));
    json_array_foreach(names, i, item) {
        const char *name = json_string_value(item);
        if (name != NULL && is_plain_name(name))
            model->missing[model->n_missing++] = vq_strdup(name);
    }
}

static void read_models(struct vq_qemu_capabilities *caps, json_t *reply)
{
    size_t i;
    json_t *item;

    if (json_array_size(reply) > MODELS_MAX)
        return;
    caps->cpu_models = vq_calloc(json_array_size(reply) + 1, sizeof(*caps->cpu_models));
    json_array_foreach(reply, i, item) {
        struct vq_qemu_cpu_model *model = &caps->cpu_models[caps->n_cpu_models];
        json_t *missing = json_object_get(item, "unavailable-features");

        model->name = name_of(item, "name");
        if (model->name == NULL)
            continue;
        model->is_usable = missing == NULL || json_array_size(missing) == 0;
        model->is_deprecated = json_is_true(json_object_get(item, "deprecated"));
        read_missing(model, missing);
        caps->n_cpu_models++;
    }
}

static void read_devices(struct vq_qemu_capabilities *caps, json_t *reply)
{
    size_t i;
    json_t *item;

    if (json_array_size(reply) > DEVICES_MAX)
        return;
    caps->devices = vq_calloc(json_array_size(reply) + 1, sizeof(*caps->devices));
    json_array_foreach(reply, i, item) {
        char *name = name_of(item, "name");
        if (name != NULL)
            caps->devices[caps->n_devices++] = name;
    }
}

static uint32_t number_of(json_t *object, const char *key)
{
    json_int_t value = json_integer_value(json_object_get(object, key));

    return value > 0 && value < 1 << 16 ? (uint32_t)value : 0;
}

static void read_cpu(struct vq_cpu_facts *cpu, json_t *properties)
{
    static const struct {
        const char *id, *name;
    } vendors[] = {{"GenuineIntel", "Intel"}, {"AuthenticAMD", "AMD"}, {"HygonGenuine", "Hygon"}};
    const char *id = json_string_value(json_object_get(properties, "vendor"));
    const char *name;
    json_t *value;

    for (size_t i = 0; i < VQ_N_ELEMENTS(vendors); i++)
        if (vq_streq(id, vendors[i].id))
            (void)snprintf(cpu->vendor, sizeof(cpu->vendor), "%s", vendors[i].name);
    cpu->family = number_of(properties, "family");
    cpu->model = number_of(properties, "model");
    cpu->stepping = number_of(properties, "stepping");
    json_object_foreach(properties, name, value) {
        int feature = json_is_true(value) ? vq_cpu_feature_find(name) : -1;
        if (feature >= 0)
            vq_cpu_set_put(&cpu->features, (size_t)feature, true);
    }
}

static void read_features(struct vq_qemu_capabilities *caps, json_t *reply)
{
    json_t *properties = json_object_get(json_object_get(reply, "model"), "props");
    const char *name;
    json_t *value;

    if (json_object_size(properties) > FEATURES_MAX)
        return;
    caps->features = vq_calloc(json_object_size(properties) + 1, sizeof(*caps->features));
    json_object_foreach(properties, name, value)
        if (json_is_true(value) && is_plain_name(name))
            caps->features[caps->n_features++] = vq_strdup(name);
    read_cpu(&caps->cpu, properties);
}

static void read_options(struct vq_qemu_capabilities *caps, json_t *reply)
{
    size_t i;
    json_t *item;

    json_array_foreach(reply, i, item)
        if (vq_streq(json_string_value(json_object_get(item, "option")), "sandbox"))
            caps->has_sandbox = json_array_size(json_object_get(item, "parameters")) > 0;
}

/* ---- The end of a probe ---- */

static void handle_closed(uv_handle_t *handle)
{
    struct vq_qemu_probe *probe = handle->data;

    if (--probe->open_handles > 0)
        return;
    if (probe->sign_fd >= 0)
        (void)close(probe->sign_fd);
    struct vq_qemu_capabilities *caps = vq_take(probe->caps);
    if (probe->cancelled != NULL) {
        probe->cancelled(probe->cancelled_data);
    } else if (probe->is_trial) {
        probe->trial_cb(probe->works, probe->error.message, probe->data);
    } else if (probe->error.code != VIR_ERR_OK) {
        probe->cb(NULL, &probe->error, probe->data);
    } else {
        probe->cb(vq_take(caps), NULL, probe->data);
    }
    json_decref(probe->answers);
    vq_qemu_capabilities_free(caps);
    free(probe);
}

static void over(struct vq_qemu_probe *probe)
{
    if (probe->is_over)
        return;
    probe->is_over = true;
    struct vq_error err = VQ_ERROR_INIT;

    /* It has no guest and nothing to lose. */
    if (probe->process != NULL && !vq_process_has_exited(probe->process) &&
        vq_process_signal(probe->process, SIGKILL, &err) < 0)
        vq_log(WARN, "qemu.probe", "ending a probe of an emulator: %s, continuing", err.message);
    vq_process_free(vq_take(probe->process));
    vq_qmp_free(vq_take(probe->qmp));
    if (probe->is_trial && probe->sign_fd >= 0)
        uv_close((uv_handle_t *)&probe->sign, handle_closed);
    uv_close((uv_handle_t *)&probe->deadline, handle_closed);
}

static void fail(struct vq_qemu_probe *probe, const struct vq_error *err)
{
    if (probe->error.code == VIR_ERR_OK)
        probe->error = *err;
    over(probe);
}

static void deadline_reached(uv_timer_t *timer)
{
    struct vq_qemu_probe *probe = timer->data;
    struct vq_error err = VQ_ERROR_INIT;

    if (probe->error.code == VIR_ERR_OK)
        (void)vq_error_set(&err, VIR_ERR_INTERNAL_ERROR,
                           probe->is_trial ? "/dev/kvm is there, but a guest that was started under KVM did not get "
                                             "through its firmware within %d ms"
                                           : "the emulator did not answer within %d ms",
                           probe->is_trial ? VQ_QEMU_KVM_TRIAL_MS : VQ_QEMU_PROBE_MS);
    else
        err = probe->error;
    fail(probe, &err);
}

static void process_executed(struct vq_process *process VQ_UNUSED, const struct vq_error *err, void *data)
{
    if (err != NULL)
        fail(data, err);
}

static void process_exited(struct vq_process *process VQ_UNUSED, int status, void *data)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, VIR_ERR_INTERNAL_ERROR, "the emulator ended by itself (status %d)", status);
    fail(data, &err);
}

static const struct vq_process_callbacks process_callbacks = {process_executed, process_exited};

/* ---- Asking ---- */

struct question {
    const char *command;
    const char *arguments;
    void (*read)(struct vq_qemu_capabilities *caps, json_t *reply);
    bool is_kvm_too;         /* its answer is another one under KVM */
    bool is_needed;
};

static const struct question questions[] = {
    {"query-version", NULL, read_version, false, true},
    {"query-target", NULL, read_target, false, true},
    {"query-machines", NULL, read_machines, false, true},
    {"query-cpu-definitions", NULL, read_models, true, false},
    {"qom-list-types", "{\"implements\": \"device\", \"abstract\": false}", read_devices, false, false},
    {"query-cpu-model-expansion", "{\"type\": \"static\", \"model\": {\"name\": \"max\"}}", read_features, true, false},
    {"query-command-line-options", "{\"option\": \"sandbox\"}", read_options, false, false},
};

struct asked {
    struct vq_qemu_probe *probe;
    const struct question *question;
};

static bool makes_sense(const struct vq_qemu_capabilities *caps)
{
    return caps->arch != NULL && caps->n_machines > 0;
}

static void answered(json_t *reply, const struct vq_error *err, void *data)
{
    VQ_AUTOFREE struct asked *asked = data;
    struct vq_qemu_probe *probe = asked->probe;

    if (probe->is_over)
        return;
    if (reply != NULL) {
        asked->question->read(probe->caps, reply);
        (void)json_object_set(probe->answers, asked->question->command, reply);
    } else if (asked->question->is_needed) {
        fail(probe, err);
        return;
    }
    if (--probe->pending > 0)
        return;
    if (!probe->is_kvm && !makes_sense(probe->caps)) {
        struct vq_error lacking = VQ_ERROR_INIT;
        (void)vq_error_set(&lacking, VIR_ERR_INTERNAL_ERROR, "the emulator names no machine that it can run");
        fail(probe, &lacking);
        return;
    }
    over(probe);
}

json_t *vq_qemu_probe_answers(const struct vq_qemu_probe *probe)
{
    return probe->answers;
}

struct vq_qemu_capabilities *vq_qemu_probe_read(json_t *answers)
{
    struct vq_qemu_capabilities *caps = vq_new(struct vq_qemu_capabilities);

    caps->references = 1;
    for (size_t i = 0; i < VQ_N_ELEMENTS(questions); i++) {
        json_t *answer = json_object_get(answers, questions[i].command);
        if (answer != NULL)
            questions[i].read(caps, answer);
    }
    if (!makes_sense(caps))
        vq_qemu_capabilities_free(vq_take(caps));
    return caps;
}

static void qmp_event(struct vq_qmp *qmp VQ_UNUSED, const char *name VQ_UNUSED, json_t *event_data VQ_UNUSED,
                      int64_t seconds VQ_UNUSED, uint32_t micros VQ_UNUSED, void *owner VQ_UNUSED)
{
    /* A machine without a guest has nothing to tell. */
}

static void qmp_broken(struct vq_qmp *qmp VQ_UNUSED, const struct vq_error *err, void *owner)
{
    struct vq_error broken = *err;

    if (broken.code == VIR_ERR_OK)
        (void)vq_error_set(&broken, VIR_ERR_INTERNAL_ERROR, "the emulator closed its monitor");
    fail(owner, &broken);
}

static const struct vq_qmp_callbacks qmp_callbacks = {qmp_event, qmp_broken};

static void ask(struct vq_qemu_probe *probe)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(questions); i++) {
        if (probe->is_kvm && !questions[i].is_kvm_too)
            continue;
        struct asked *asked = vq_new(struct asked);
        *asked = (struct asked){probe, &questions[i]};
        probe->pending++;
        (void)vq_qmp_call(probe->qmp, questions[i].command,
                          questions[i].arguments == NULL ? NULL : json_loads(questions[i].arguments, 0, NULL),
                          VQ_QEMU_PROBE_MS, answered, asked);
    }
}

/* ---- Starting ---- */

static struct vq_qemu_probe *probe_new(uv_loop_t *loop, uint64_t timeout_ms, void *data)
{
    struct vq_qemu_probe *probe = vq_new(struct vq_qemu_probe);

    probe->loop = loop;
    probe->data = data;
    probe->sign_fd = -1;
    (void)uv_timer_init(loop, &probe->deadline); /* always 0 */
    probe->deadline.data = probe;
    probe->open_handles = 1;
    (void)uv_timer_start(&probe->deadline, deadline_reached, timeout_ms, 0);
    return probe;
}

/* What went wrong before the loop turned: told at the deadline's first chance, so that nothing is called from inside. */
static void fail_later(struct vq_qemu_probe *probe)
{
    (void)uv_timer_start(&probe->deadline, deadline_reached, 0, 0);
}

static int launch(struct vq_qemu_probe *probe, const char *const *argv, int fd)
{
    static char *const environment[] = {"LC_ALL=C", "PATH=/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/nonexistent", NULL};
    const struct vq_process_spec spec = {
        .argv = (char *const *)argv, .environment = environment, .output_fd = -1, .fds = &fd, .n_fds = 1};

    if (vq_process_fork(probe->loop, &spec, &process_callbacks, probe, &probe->process, &probe->error) < 0)
        return -1;
    vq_process_go(probe->process);
    return 0;
}

static struct vq_qemu_probe *probe_start(uv_loop_t *loop, const char *path, bool is_kvm, vq_qemu_probe_cb cb, void *data)
{
    struct vq_qemu_probe *probe = probe_new(loop, VQ_QEMU_PROBE_MS, data);
    char chardev[64];
    int pair[2];

    probe->cb = cb;
    probe->is_kvm = is_kvm;
    probe->answers = json_object();
    probe->caps = vq_new(struct vq_qemu_capabilities);
    probe->caps->references = 1;
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        (void)vq_error_system(&probe->error, errno, "asking '%s'", path);
        fail_later(probe);
        return probe;
    }
    (void)snprintf(chardev, sizeof(chardev), "socket,id=monitor,fd=%d", pair[1]);
    const char *const argv[] = {path, "-S", "-no-user-config", "-nodefaults", "-display", "none", "-machine", "none",
                                "-accel", is_kvm ? "kvm" : "tcg", "-chardev", chardev, "-mon", "chardev=monitor,mode=control", NULL};
    int rc = launch(probe, argv, pair[1]);
    (void)close(pair[1]);
    if (rc < 0) {
        (void)close(pair[0]);
        fail_later(probe);
        return probe;
    }
    probe->qmp = vq_qmp_new(loop, pair[0], &qmp_callbacks, probe);
    ask(probe);
    return probe;
}

struct vq_qemu_probe *vq_qemu_probe_start(uv_loop_t *loop, const char *path, vq_qemu_probe_cb cb, void *data)
{
    return probe_start(loop, path, false, cb, data);
}

struct vq_qemu_probe *vq_qemu_probe_start_kvm(uv_loop_t *loop, const char *path, vq_qemu_probe_cb cb, void *data)
{
    return probe_start(loop, path, true, cb, data);
}

static void sign_seen(uv_poll_t *poll, int status, int events)
{
    struct vq_qemu_probe *probe = poll->data;
    ssize_t n;

    if (status < 0 || (events & UV_READABLE) == 0)
        return; /* the process' end is told by its pidfd */
    if (probe->n_words == sizeof(probe->words) - 1) { /* the end is what counts */
        memmove(probe->words, probe->words + sizeof(probe->words) / 2, sizeof(probe->words) / 2);
        probe->n_words -= sizeof(probe->words) / 2;
    }
    n = read(probe->sign_fd, probe->words + probe->n_words, sizeof(probe->words) - 1 - probe->n_words);
    if (n <= 0) {
        (void)uv_poll_stop(poll);
        return;
    }
    probe->n_words += (size_t)n;
    probe->words[probe->n_words] = '\0';
    for (char *c = probe->words; c < probe->words + probe->n_words; c++)
        *c = *c == '\0' ? ' ' : *c;
    if (strstr(probe->words, BOOT_SIGN) != NULL) {
        probe->works = true;
        over(probe);
    }
}

struct vq_qemu_probe *vq_qemu_probe_kvm(uv_loop_t *loop, const char *path, const char *arch, vq_qemu_trial_cb cb,
                                        void *data)
{
    struct vq_qemu_probe *probe = probe_new(loop, VQ_QEMU_KVM_TRIAL_MS, data);
    char chardev[64];
    int pair[2];

    probe->trial_cb = cb;
    probe->is_trial = true;
    if (access("/dev/kvm", R_OK | W_OK) < 0) {
        (void)vq_error_system(&probe->error, errno, "opening /dev/kvm");
        fail_later(probe);
        return probe;
    }
    if (!vq_streq(arch, "x86_64") && !vq_streq(arch, "i686")) { /* the firmware's debug port is a thing of PCs; elsewhere the device has to do */
        probe->works = true;
        fail_later(probe);
        return probe;
    }
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, pair) < 0) {
        (void)vq_error_system(&probe->error, errno, "trying KVM");
        fail_later(probe);
        return probe;
    }
    (void)snprintf(chardev, sizeof(chardev), "socket,id=sign,fd=%d", pair[1]);
    const char *const argv[] = {path, "-no-user-config", "-nodefaults", "-display", "none", "-machine", "pc", "-accel",
                                "kvm", "-m", "16", "-chardev", chardev, "-device", "isa-debugcon,iobase=0x402,chardev=sign",
                                NULL};
    int rc = launch(probe, argv, pair[1]);
    (void)close(pair[1]);
    probe->sign_fd = pair[0];
    probe->sign.data = probe;
    if (uv_poll_init(loop, &probe->sign, pair[0]) == 0)
        probe->open_handles++;
    if (rc < 0)
        fail_later(probe);
    else
        (void)uv_poll_start(&probe->sign, UV_READABLE, sign_seen);
    return probe;
}

void vq_qemu_probe_cancel(struct vq_qemu_probe *probe, void (*cancelled)(void *data), void *data)
{
    probe->cancelled = cancelled;
    probe->cancelled_data = data;
    over(probe);
}
