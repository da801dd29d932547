/* CPUs compared, and what several have in common: of this host, and of what an emulator gives. */
#define VQ_FROM VIR_FROM_CPU
#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/cpu_xml.h"
#include "drivers/qemu/driver.h"
#include "drivers/qemu/handlers_define.h"
#include "proto/gen/remote.h"

enum {
    COMPARE_FLAGS = VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE | VIR_CONNECT_COMPARE_CPU_VALIDATE_XML,
    BASELINE_FLAGS = VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES | VIR_CONNECT_BASELINE_CPU_MIGRATABLE
};

static const char *own_arch(void)
{
#if defined(__aarch64__)
    return "aarch64";
#else
    return "x86_64";
#endif
}

/* ---- Comparing ---- */

/* The result for the client; false: the request was failed. */
static bool compare(struct vq_request *request, const struct vq_cpu_facts *cpu, const char *arch, const char *xml,
                    uint32_t flags, int32_t *ret_result)
{
    struct vq_cpu_description wanted;
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOBUFFER why = VQ_BUFFER_INIT;

    if (vq_cpu_description_read(xml, (flags & VIR_CONNECT_COMPARE_CPU_VALIDATE_XML) != 0, &wanted, &err) < 0) {
        vq_request_fail(request, &err);
        return false;
    }
    *ret_result = vq_cpu_compare(cpu, arch, &wanted, &why);
    if (*ret_result != VIR_CPU_COMPARE_INCOMPATIBLE || (flags & VIR_CONNECT_COMPARE_CPU_FAIL_INCOMPATIBLE) == 0)
        return true;
    vq_qemu_refuse(request, VQ_FROM, VIR_ERR_CPU_INCOMPATIBLE, "%s", why.data == NULL ? "" : why.data);
    return false;
}

static void compare_cpu(struct vq_request *request)
{
    const struct vq_remote_connect_compare_cpu_args *args = request->args;
    struct vq_remote_connect_compare_cpu_ret *ret = request->ret;

    if (vq_qemu_check_flags(request, args->flags, COMPARE_FLAGS) &&
        compare(request, vq_qemu_emulators_cpu(vq_qemu_of(request)->emulators), own_arch(), args->xml, args->flags,
                &ret->result))
        vq_request_reply(request);
}

/* ---- What several have in common ---- */

/* False: the request was failed. */
static bool baseline(struct vq_request *request, const char *const *xmls, uint32_t n_xmls,
                     const struct vq_cpu_baseline *how, const char **ret_xml)
{
    VQ_AUTOFREE struct vq_cpu_description *cpus = vq_calloc(n_xmls + 1, sizeof(*cpus));
    struct vq_buffer xml = VQ_BUFFER_INIT;
    struct vq_error err = VQ_ERROR_INIT;

    if (n_xmls == 0) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "no CPU was given");
        return false;
    }
    for (uint32_t i = 0; i < n_xmls; i++)
        if (vq_cpu_description_read(xmls[i], false, &cpus[i], &err) < 0) {
            vq_request_fail(request, &err);
            return false;
        }
    if (vq_cpu_baseline_format(cpus, n_xmls, how, &xml, &err) < 0) {
        vq_buffer_done(&xml);
        vq_request_fail(request, &err);
        return false;
    }
    vq_qemu_reply_text(request, ret_xml, vq_buffer_steal(&xml));
    return true;
}

static struct vq_cpu_baseline baseline_of(uint32_t flags, const char *fallback)
{
    return (struct vq_cpu_baseline){.is_expanded = (flags & VIR_CONNECT_BASELINE_CPU_EXPAND_FEATURES) != 0,
                                    .is_migratable = (flags & VIR_CONNECT_BASELINE_CPU_MIGRATABLE) != 0,
                                    .fallback = fallback};
}

static void baseline_cpu(struct vq_request *request)
{
    const struct vq_remote_connect_baseline_cpu_args *args = request->args;
    struct vq_remote_connect_baseline_cpu_ret *ret = request->ret;
    const struct vq_cpu_baseline how = baseline_of(args->flags, args->n_xmlCPUs == 1 ? "forbid" : "allow");

    if (vq_qemu_check_flags(request, args->flags, BASELINE_FLAGS))
        (void)baseline(request, args->xmlCPUs, args->n_xmlCPUs, &how, &ret->cpu); /* a refusal was told */
}

/* ---- The same for what an emulator gives ---- */

struct hypervisor {
    const struct vq_qemu_capabilities *caps;
    bool is_kvm;
};

static bool is_allowed(const char *model, void *data)
{
    const struct hypervisor *hypervisor = data;

    return vq_qemu_capabilities_knows_model(hypervisor->caps, hypervisor->is_kvm, model);
}

static const struct vq_cpu_facts *cpu_of(const struct hypervisor *hypervisor)
{
    return hypervisor->is_kvm ? &hypervisor->caps->kvm.cpu : &hypervisor->caps->cpu;
}

/* False: the request was refused. */
static bool choose_hypervisor(struct vq_request *request, const struct vq_qemu_capabilities *caps, const char *arch,
                              const char *machine, const char *virttype, struct hypervisor *ret)
{
    *ret = (struct hypervisor){caps, virttype == NULL ? caps->has_kvm : strcmp(virttype, "kvm") == 0};
    return vq_qemu_check_emulator(request, caps, arch, machine, virttype) != NULL;
}

static void compare_known(const struct vq_qemu_capabilities *caps, const struct vq_error *err, void *data)
{
    struct vq_request *request = data;
    const struct vq_remote_connect_compare_hypervisor_cpu_args *args = request->args;
    struct vq_remote_connect_compare_hypervisor_cpu_ret *ret = request->ret;
    struct hypervisor hypervisor;

    if (err != NULL) {
        vq_request_fail(request, err);
        return;
    }
    if (choose_hypervisor(request, caps, args->arch, args->machine, args->virttype, &hypervisor) &&
        compare(request, cpu_of(&hypervisor), caps->arch, args->xmlCPU, args->flags, &ret->result))
        vq_request_reply(request);
}

static void compare_hypervisor_cpu(struct vq_request *request)
{
    const struct vq_remote_connect_compare_hypervisor_cpu_args *args = request->args;

    if (vq_qemu_check_flags(request, args->flags, COMPARE_FLAGS))
        vq_qemu_with_emulator(request, args->emulator, args->arch, args->virttype, compare_known);
}

static void baseline_known(const struct vq_qemu_capabilities *caps, const struct vq_error *err, void *data)
{
    struct vq_request *request = data;
    const struct vq_remote_connect_baseline_hypervisor_cpu_args *args = request->args;
    struct vq_remote_connect_baseline_hypervisor_cpu_ret *ret = request->ret;
    struct vq_cpu_baseline how = baseline_of(args->flags, "forbid");
    struct hypervisor hypervisor;

    if (err != NULL) {
        vq_request_fail(request, err);
        return;
    }
    if (!choose_hypervisor(request, caps, args->arch, args->machine, args->virttype, &hypervisor))
        return;
    how.limit = cpu_of(&hypervisor);
    how.allowed = is_allowed;
    how.data = &hypervisor;
    (void)baseline(request, args->xmlCPUs, args->n_xmlCPUs, &how, &ret->cpu); /* a refusal was told */
}

static void baseline_hypervisor_cpu(struct vq_request *request)
{
    const struct vq_remote_connect_baseline_hypervisor_cpu_args *args = request->args;

    if (vq_qemu_check_flags(request, args->flags, BASELINE_FLAGS))
        vq_qemu_with_emulator(request, args->emulator, args->arch, args->virttype, baseline_known);
}

#define ROW(number, fn)                           \
    {                                             \
        VQ_PROGRAM_REMOTE, VQ_REMOTE_##number, fn \
    }
static const struct vq_driver_row rows[] = {
    ROW(CONNECT_COMPARE_CPU, compare_cpu),
    ROW(CONNECT_BASELINE_CPU, baseline_cpu),
    ROW(CONNECT_COMPARE_HYPERVISOR_CPU, compare_hypervisor_cpu),
    ROW(CONNECT_BASELINE_HYPERVISOR_CPU, baseline_hypervisor_cpu),
};
#undef ROW
const struct vq_qemu_rows vq_qemu_cpu_rows = {rows, VQ_N_ELEMENTS(rows)};
