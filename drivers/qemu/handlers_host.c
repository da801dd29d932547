/* What this host and its emulators can do, and how a definition becomes a command line. */
#define VQ_FROM VIR_FROM_QEMU
#include <errno.h>
#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <strings.h>
#include <unistd.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/command.h"
#include "drivers/qemu/cpu_host.h"
#include "drivers/qemu/define.h"
#include "drivers/qemu/definition.h"
#include "drivers/qemu/domain_capabilities.h"
#include "drivers/qemu/driver.h"
#include "drivers/qemu/firmware_list.h"
#include "drivers/qemu/handlers_define.h"
#include "drivers/qemu/host_capabilities.h"
#include "proto/gen/remote.h"

/* This host's emulator for the architecture; NULL: the request was refused. */
static const char *default_emulator(struct vq_request *request, const char *arch)
{
    const char *path = vq_qemu_emulators_default(vq_qemu_of(request)->emulators, arch);

    if (path == NULL)
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_CONFIG_UNSUPPORTED, "unable to find any emulator to serve '%s' architecture",
                       arch == NULL ? "x86_64" : arch);
    return path;
}

/* ---- Version, vCPUs, CPU models ---- */

static void version_known(const struct vq_qemu_capabilities *caps, const struct vq_error *err, void *data)
{
    struct vq_request *request = data;

    if (err != NULL) {
        vq_request_fail(request, err);
        return;
    }
    ((struct vq_remote_connect_get_version_ret *)request->ret)->hv_ver = caps->version;
    vq_request_reply(request);
}

void vq_qemu_handle_get_version(struct vq_request *request)
{
    const char *path = default_emulator(request, NULL);

    if (path != NULL)
        vq_qemu_emulators_get(vq_qemu_of(request)->emulators, path, version_known, request);
}

/* What clients have been told ever since when it depends on no machine: 16 for emulated guests; KVM tells its own. A machine's own
 * limit is in the capabilities. */
void vq_qemu_handle_get_max_vcpus(struct vq_request *request)
{
    enum { EMULATED_MAX = 16 };
    const struct vq_remote_connect_get_max_vcpus_args *args = request->args;
    struct vq_remote_connect_get_max_vcpus_ret *ret = request->ret;
    uint32_t n;

    if (args->type == NULL || strcasecmp(args->type, "qemu") == 0) {
        ret->max_vcpus = EMULATED_MAX;
        vq_request_reply(request);
    } else if (strcasecmp(args->type, "kvm") != 0) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "unknown type '%s'", args->type);
    } else if (!vq_cpu_host_kvm_vcpus(&n)) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_SYSTEM_ERROR, "Unable to open /dev/kvm: %s", strerror(errno));
    } else {
        ret->max_vcpus = (int32_t)n;
        vq_request_reply(request);
    }
}

static void models_known(const struct vq_qemu_capabilities *caps, const struct vq_error *err, void *data)
{
    enum { MODELS_MAX = 8192 }; /* of the procedure */
    struct vq_request *request = data;
    const struct vq_remote_connect_get_cpu_model_names_args *args = request->args;
    struct vq_remote_connect_get_cpu_model_names_ret *ret = request->ret;
    size_t n = 0;

    if (err != NULL) {
        vq_request_fail(request, err);
        return;
    }
    ret->models = vq_qemu_request_alloc(request, (MODELS_MAX + 1) * sizeof(*ret->models));
    if (ret->models == NULL)
        return;
    for (size_t i = 0; i < caps->n_cpu_models && n < MODELS_MAX; i++) {
        if (!vq_qemu_cpu_model_is_for_people(&caps->cpu_models[i]))
            continue;
        ret->models[n] = vq_arena_strdup(request->arena, caps->cpu_models[i].name);
        if (ret->models[n++] == NULL) {
            vq_qemu_refuse(request, VQ_FROM, VIR_ERR_NO_MEMORY, "the answer is longer than one call may use");
            return;
        }
    }
    ret->ret = (int32_t)n;
    ret->n_models = args->need_results != 0 ? (uint32_t)n : 0;
    vq_request_reply(request);
}

void vq_qemu_handle_get_cpu_model_names(struct vq_request *request)
{
    const struct vq_remote_connect_get_cpu_model_names_args *args = request->args;
    const char *path;

    if (!vq_qemu_check_flags(request, args->flags, 0))
        return;
    if (vq_qemu_arch_find(args->arch) == NULL) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "cannot find architecture %s", args->arch);
        return;
    }
    path = vq_qemu_emulators_default(vq_qemu_of(request)->emulators, args->arch);
    if (path != NULL)
        vq_qemu_emulators_get(vq_qemu_of(request)->emulators, path, models_known, request);
    else
        vq_request_reply(request); /* none: nothing runs them here */
}

void vq_qemu_handle_get_sev_info(struct vq_request *request)
{
    vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_UNSUPPORTED, "QEMU does not support SEV guest");
}

/* ---- Host capabilities: every emulator is asked, one after the other ---- */

struct asking {
    struct vq_request *request;
    size_t next;             /* of vq_qemu_archs */
    struct vq_qemu_guest_kind *guests; /* with a reference to each one's capabilities */
    size_t n_guests;
};

static void ask_next(struct asking *asking);

static void one_known(const struct vq_qemu_capabilities *caps, const struct vq_error *err, void *data)
{
    struct asking *asking = data;

    if (err == NULL) /* an emulator that cannot be run is left out */
        asking->guests[asking->n_guests++] =
            (struct vq_qemu_guest_kind){&vq_qemu_archs[asking->next - 1], vq_qemu_capabilities_ref(caps)};
    ask_next(asking);
}

static void all_known(struct asking *asking)
{
    struct vq_request *request = asking->request;
    struct vq_remote_connect_get_capabilities_ret *ret = request->ret;
    const char *host = vq_qemu_emulators_host(vq_qemu_of(request)->emulators, &vq_qemu_of(request)->settings);
    char *text = vq_qemu_host_capabilities_format(host, asking->guests, asking->n_guests);

    for (size_t i = 0; i < asking->n_guests; i++)
        vq_qemu_capabilities_free((struct vq_qemu_capabilities *)asking->guests[i].caps); /* our reference */
    free(asking->guests);
    free(asking);
    vq_qemu_reply_text(request, &ret->capabilities, text);
}

static void ask_next(struct asking *asking)
{
    struct vq_qemu_emulators *emulators = vq_qemu_of(asking->request)->emulators;

    while (asking->next < vq_n_qemu_archs) {
        const char *path = vq_qemu_emulators_default(emulators, vq_qemu_archs[asking->next++].name);
        if (path == NULL)
            continue;
        vq_qemu_emulators_get_kvm(emulators, path, one_known, asking);
        return;
    }
    all_known(asking);
}

void vq_qemu_handle_get_capabilities(struct vq_request *request)
{
    struct asking *asking = vq_new(struct asking);

    asking->request = request;
    asking->guests = vq_calloc(vq_n_qemu_archs, sizeof(*asking->guests));
    ask_next(asking);
}

/* ---- What an emulator gives to guests ---- */

const struct vq_qemu_machine *vq_qemu_check_emulator(struct vq_request *request, const struct vq_qemu_capabilities *caps,
                                                     const char *arch, const char *machine_name, const char *virttype)
{
    const struct vq_qemu_machine *machine = vq_qemu_capabilities_machine(caps, machine_name);

    if (arch != NULL && strcmp(arch, caps->arch) != 0 && !(strcmp(arch, "i686") == 0 && strcmp(caps->arch, "x86_64") == 0))
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG,
                       "architecture from emulator '%s' doesn't match given architecture '%s'", caps->arch, arch);
    else if (machine == NULL)
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "the machine '%s' is not supported by emulator '%s'",
                       machine_name == NULL ? "" : machine_name, caps->path);
    else if (virttype != NULL && strcmp(virttype, "kvm") == 0 && !caps->has_kvm)
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "KVM is not supported by '%s' on this host%s%s", caps->path,
                       caps->kvm_problem[0] == '\0' ? "" : ": ", caps->kvm_problem);
    else
        return machine;
    return NULL;
}

void vq_qemu_with_emulator(struct vq_request *request, const char *path, const char *arch, const char *virttype,
                           vq_qemu_emulator_fn known)
{
    if (virttype != NULL && strcmp(virttype, "kvm") != 0 && strcmp(virttype, "qemu") != 0) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "unknown virttype: %s", virttype);
        return;
    }
    if (arch != NULL && vq_qemu_arch_find(arch) == NULL) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "unknown architecture: %s", arch);
        return;
    }
    if (path == NULL)
        path = default_emulator(request, arch);
    if (path != NULL && virttype != NULL && strcmp(virttype, "qemu") == 0)
        vq_qemu_emulators_get(vq_qemu_of(request)->emulators, path, known, request);
    else if (path != NULL)
        vq_qemu_emulators_get_kvm(vq_qemu_of(request)->emulators, path, known, request);
}

static void domain_capabilities_known(const struct vq_qemu_capabilities *caps, const struct vq_error *err, void *data)
{
    struct vq_request *request = data;
    const struct vq_remote_connect_get_domain_capabilities_args *args = request->args;
    struct vq_remote_connect_get_domain_capabilities_ret *ret = request->ret;

    if (err != NULL) {
        vq_request_fail(request, err);
        return;
    }
    const struct vq_qemu_machine *machine = vq_qemu_check_emulator(request, caps, args->arch, args->machine, args->virttype);
    if (machine == NULL)
        return;
    bool is_kvm = args->virttype == NULL ? caps->has_kvm : strcmp(args->virttype, "kvm") == 0;
    const char *arch = args->arch == NULL ? caps->arch : args->arch;
    struct vq_qemu_firmware_list firmware;
    vq_qemu_firmware_list_read("", arch, machine->name, &firmware);
    const struct vq_qemu_host_offers host = {.firmware = &firmware,
                                             .has_swtpm = access("/usr/bin/swtpm", X_OK) == 0,
                                             .has_iommu = access("/sys/kernel/iommu_groups/0", F_OK) == 0};
    char *text = vq_qemu_domain_capabilities_format(caps, machine, arch, is_kvm, &host);
    vq_qemu_firmware_list_done(&firmware);
    vq_qemu_reply_text(request, &ret->capabilities, text);
}

void vq_qemu_handle_get_domain_capabilities(struct vq_request *request)
{
    const struct vq_remote_connect_get_domain_capabilities_args *args = request->args;

    if (vq_qemu_check_flags(request, args->flags, 0))
        vq_qemu_with_emulator(request, args->emulatorbin, args->arch, args->virttype, domain_capabilities_known);
}

/* ---- A definition as a command line ---- */

struct converting {
    struct vq_request *request;
    struct vq_domain *def;
};

/* For a shell: safe characters as they are, anything else in single quotes. */
static void add_word(struct vq_buffer *text, const char *word)
{
    static const char safe[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_./:=,@%+-";

    if (word[0] != '\0' && strspn(word, safe) == strlen(word)) {
        vq_buffer_add(text, word);
        return;
    }
    vq_buffer_add(text, "'");
    for (const char *c = word; *c != '\0'; c++)
        vq_buffer_add_bytes(text, *c == '\'' ? "'\\''" : c, *c == '\'' ? 4 : 1);
    vq_buffer_add(text, "'");
}

static char *write_command(const struct vq_qemu_command *command)
{
    struct vq_buffer text = VQ_BUFFER_INIT;

    for (size_t i = 0; i < command->n_environment; i++) {
        add_word(&text, command->environment[i]);
        vq_buffer_add(&text, " ");
    }
    for (size_t i = 0; i < command->n_args; i++) {
        vq_buffer_add(&text, i == 0 ? "" : " ");
        add_word(&text, command->argv[i]);
    }
    return vq_buffer_steal(&text);
}

/* Numbers that a run would choose: ports of displays, descriptors. */
static void choose_numbers(struct vq_domain *def, struct vq_qemu_queues *taps)
{
    enum { FIRST_PORT = 5900, FIRST_WEBSOCKET = 5700, FIRST_FD = 4 };
    int fd = FIRST_FD;

    for (size_t i = 0; i < def->devices.n_graphics; i++) {
        struct vq_graphics *graphics = def->devices.graphics[i];
        if (!graphics->has_port || graphics->port <= 0) {
            graphics->has_port = true;
            graphics->port = FIRST_PORT + (int32_t)i;
        }
        if (graphics->has_websocket && graphics->websocket < 0)
            graphics->websocket = FIRST_WEBSOCKET + (int32_t)i;
    }
    for (size_t i = 0; i < def->devices.n_interfaces; i++) {
        uint32_t queues = def->devices.interfaces[i]->queues;
        taps[i].n_taps = queues == 0 ? 1 : queues > VQ_QEMU_QUEUES_MAX ? VQ_QEMU_QUEUES_MAX : queues;
        for (size_t k = 0; k < taps[i].n_taps; k++)
            taps[i].tap[k] = fd++;
    }
}

static int convert(struct vq_qemu *qemu, struct vq_domain *def, const struct vq_qemu_capabilities *caps, char **ret_text,
                   struct vq_error *err)
{
    VQ_AUTOPTR(vq_qemu_command) command = NULL;
    VQ_AUTOFREE struct vq_qemu_queues *taps = NULL;
    VQ_AUTOFREE char *dir = NULL, *memory_dir = NULL;

    if (vq_qemu_definition_fill(def, caps, qemu->host->random, err) < 0)
        return -1;
    dir = vq_asprintf("%s/qemu/domain--1-%s", qemu->host->state_dir, def->name);
    memory_dir = vq_asprintf("%s/ram", dir);
    taps = vq_calloc(def->devices.n_interfaces + 1, sizeof(*taps));
    if (vq_qemu_definition_begin_run(def, -1, dir, err) < 0)
        return -1;
    choose_numbers(def, taps);
    const struct vq_qemu_launch launch = {.dir = dir, .monitor_fd = 3, .taps = taps,
                                          .n_taps = def->devices.n_interfaces, .vsock_fd = -1, .memory_dir = memory_dir,
                                          .now_s = (int64_t)time(NULL), .sandbox = qemu->settings.seccomp_sandbox != 0};
    if (vq_qemu_command_build(def, caps, &launch, &command, err) < 0)
        return -1;
    *ret_text = write_command(command);
    return 0;
}

static void convert_with(const struct vq_qemu_capabilities *caps, const struct vq_error *caps_err, void *data)
{
    struct converting *converting = data;
    struct vq_request *request = converting->request;
    struct vq_remote_connect_domain_xml_to_native_ret *ret = request->ret;
    struct vq_error err = VQ_ERROR_INIT;
    char *text = NULL;
    int rc = -1;

    if (caps_err != NULL)
        err = *caps_err;
    else
        rc = convert(vq_qemu_of(request), converting->def, caps, &text, &err);
    vq_domain_free(converting->def);
    free(converting);
    if (rc < 0)
        vq_request_fail(request, &err);
    else
        vq_qemu_reply_text(request, &ret->nativeConfig, text);
}

void vq_qemu_handle_xml_to_native(struct vq_request *request)
{
    const struct vq_remote_connect_domain_xml_to_native_args *args = request->args;
    struct vq_qemu *qemu = vq_qemu_of(request);
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOPTR(vq_domain) def = NULL;

    if (!vq_qemu_check_flags(request, args->flags, 0))
        return;
    if (strcmp(args->nativeFormat, "qemu-argv") != 0) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "unsupported config type %s", args->nativeFormat);
        return;
    }
    if (vq_domain_parse(args->domainXml, VQ_PARSE_INACTIVE, &def, &err) < 0) {
        vq_request_fail(request, &err);
        return;
    }
    const char *path = vq_qemu_choose_emulator(qemu, def, &err);
    if (path == NULL) {
        vq_request_fail(request, &err);
        return;
    }
    struct converting *converting = vq_new(struct converting);
    *converting = (struct converting){request, vq_take(def)};
    vq_qemu_emulators_get_kvm(qemu->emulators, path, convert_with, converting);
}
