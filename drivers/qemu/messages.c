/* What is unusual about a guest as it runs: things that make its behaviour hard to vouch for, and what will go away. */
#define VQ_FROM VIR_FROM_QEMU
#include <libvirt/libvirt.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/handlers_define.h"
#include "proto/gen/remote.h"

enum { MESSAGES_MAX = 64 }; /* of the procedure */

static const struct vq_qemu_machine *machine_of(const struct vq_qemu_guest *guest)
{
    return guest->caps == NULL || guest->live == NULL
               ? NULL
               : vq_qemu_capabilities_machine(guest->caps, guest->live->os.machine);
}

static bool has_deprecated_machine(const struct vq_qemu_guest *guest)
{
    const struct vq_qemu_machine *machine = machine_of(guest);

    return machine != NULL && machine->is_deprecated;
}

static bool has_deprecated_cpu(const struct vq_qemu_guest *guest)
{
    const struct vq_cpu *cpu = guest->live == NULL ? NULL : guest->live->cpu;
    const struct vq_qemu_cpu_model *model = cpu == NULL || cpu->model == NULL || guest->caps == NULL
                                                ? NULL
                                                : vq_qemu_capabilities_cpu_model(guest->caps, cpu->model);

    return model != NULL && model->is_deprecated;
}

static bool has_own_arguments(const struct vq_qemu_guest *guest)
{
    return guest->live != NULL && guest->live->qemu != NULL && guest->live->qemu->n_args > 0;
}

static bool was_commanded(const struct vq_qemu_guest *guest)
{
    return guest->was_commanded;
}

static bool is_privileged(const struct vq_qemu_guest *guest)
{
    return guest->qemu->settings.has_user ? guest->qemu->settings.uid == 0 : geteuid() == 0;
}

static bool has_host_cpu(const struct vq_qemu_guest *guest)
{
    return guest->live != NULL && guest->live->cpu != NULL && guest->live->cpu->mode == VQ_CPU_MODE_HOST_PASSTHROUGH;
}

static bool has_own_dtb(const struct vq_qemu_guest *guest)
{
    return guest->live != NULL && guest->live->os.dtb != NULL;
}

static bool has_deprecated(const struct vq_qemu_guest *guest)
{
    return has_deprecated_machine(guest) || has_deprecated_cpu(guest);
}

static bool has_own_properties(const struct vq_qemu_guest *guest)
{
    return guest->live != NULL && guest->live->n_qemu_devices > 0;
}

static const struct {
    bool (*applies)(const struct vq_qemu_guest *guest);
    const char *text;
} taints[] = {
    {has_own_arguments, "custom configuration parameters specified"},
    {was_commanded, "custom monitor control commands issued"},
    {is_privileged, "running with undesirable elevated privileges"},
    {has_host_cpu, "potentially unsafe use of host CPU passthrough"},
    {has_own_dtb, "custom device tree blob used"},
    {has_deprecated, "use of deprecated configuration settings"},
    {has_own_properties, "custom device configuration"},
};

/* False: there is no room. */
static bool add(struct vq_request *request, const char *kind, const char *text)
{
    struct vq_remote_domain_get_messages_ret *ret = request->ret;
    VQ_AUTOFREE char *message = vq_asprintf("%s: %s", kind, text);

    if (ret->n_msgs == MESSAGES_MAX)
        return true;
    ret->msgs[ret->n_msgs] = vq_arena_strdup(request->arena, message);
    return ret->msgs[ret->n_msgs++] != NULL;
}

static bool add_deprecations(struct vq_request *request, const struct vq_qemu_guest *guest)
{
    bool is_good = true;

    if (has_deprecated_machine(guest)) {
        VQ_AUTOFREE char *text = vq_asprintf("machine type '%s'", guest->live->os.machine);
        is_good = add(request, "deprecated configuration", text);
    }
    if (has_deprecated_cpu(guest)) {
        VQ_AUTOFREE char *text = vq_asprintf("CPU model '%s'", guest->live->cpu->model);
        is_good = add(request, "deprecated configuration", text) && is_good;
    }
    return is_good;
}

static void domain_get_messages(struct vq_request *request)
{
    const struct vq_remote_domain_get_messages_args *args = request->args;
    struct vq_remote_domain_get_messages_ret *ret = request->ret;
    const struct vq_qemu_guest *guest;
    bool is_good = true;

    if (!vq_qemu_check_flags(request, args->flags, VIR_DOMAIN_MESSAGE_DEPRECATION | VIR_DOMAIN_MESSAGE_TAINTING))
        return;
    ret->msgs = vq_qemu_request_alloc(request, MESSAGES_MAX * sizeof(*ret->msgs));
    if (ret->msgs == NULL)
        return;
    guest = request->domain->id < 0 ? NULL : vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);
    if (guest != NULL && (args->flags == 0 || (args->flags & VIR_DOMAIN_MESSAGE_TAINTING) != 0))
        for (size_t i = 0; i < VQ_N_ELEMENTS(taints); i++)
            if (taints[i].applies(guest))
                is_good = add(request, "tainted", taints[i].text) && is_good;
    if (guest != NULL && (args->flags == 0 || (args->flags & VIR_DOMAIN_MESSAGE_DEPRECATION) != 0))
        is_good = add_deprecations(request, guest) && is_good;

    if (is_good)
        vq_request_reply(request);
    else
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_NO_MEMORY, "the answer is longer than one call may use");
}

static const struct vq_driver_row rows[] = {
    {VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_GET_MESSAGES, domain_get_messages},
};
const struct vq_qemu_rows vq_qemu_messages_rows = {rows, VQ_N_ELEMENTS(rows)};
