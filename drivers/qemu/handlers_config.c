/* Memory, vCPUs and life cycle: in the definition, and, where QEMU can, in the running guest. */
#define VQ_FROM VIR_FROM_QEMU
#include <inttypes.h>
#include <libvirt/libvirt.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/agent.h"
#include "drivers/qemu/define.h"
#include "drivers/qemu/driver.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/guest_vcpus.h"
#include "drivers/qemu/handlers_define.h"
#include "drivers/qemu/qmp.h"
#include "proto/gen/remote.h"

enum { AFFECT = VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG,
       SCHEDULER_PARAMS = 9 };       /* as many as domain_get_scheduler_parameters gives */

/* One request to change the definition, after what it does to the running guest. */
struct config_change {
    struct vq_request *request;
    vq_qemu_change_fn change;
    bool has_config;
    uint64_t value;
    bool is_maximum;
    uint32_t type;
};

static void change_config(struct config_change *change)
{
    struct vq_request *request = change->request;

    if (change->has_config)
        vq_qemu_change_definition(vq_qemu_of(request), request->domain->uuid, change->change, change, true,
                                  vq_qemu_change_over, request);
    else
        vq_request_reply(request);
}

/* ---- Memory ---- */

static int check_memory(const struct vq_domain *def, const struct config_change *change, struct vq_error *err)
{
    if (change->value == 0)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "memory must not be zero");
    if (change->is_maximum && def->cpu != NULL && def->cpu->n_cells > 0)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID,
                            "initial memory size of a domain with NUMA nodes cannot be modified with this API");
    if (!change->is_maximum && change->value > def->memory_kib)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "cannot set memory higher than max memory");
    return 0;
}

static int change_memory(struct vq_domain *def, void *data, struct vq_error *err)
{
    const struct config_change *change = data;

    if (check_memory(def, change, err) < 0)
        return -1;
    if (change->is_maximum) {
        def->memory_kib = change->value;
        if (def->current_memory_kib > change->value)
            def->current_memory_kib = change->value;
    } else {
        def->current_memory_kib = change->value;
    }
    return 0;
}

static void balloon_set(json_t *reply VQ_UNUSED, const struct vq_error *err, void *data)
{
    struct config_change *change = data;

    if (err != NULL)
        vq_request_fail(change->request, err);
    else
        change_config(change);
}

static void set_live_memory(struct config_change *change)
{
    struct vq_request *request = change->request;
    struct vq_qemu_guest *guest;
    struct vq_error err = VQ_ERROR_INIT;

    if (change->is_maximum) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_INVALID,
                       "cannot resize the maximum memory on an active domain");
        return;
    }
    guest = vq_qemu_guest_of(request);
    if (guest == NULL || !vq_qemu_activity_allows(request, guest))
        return;
    if (guest->live == NULL || check_memory(guest->live, change, &err) < 0) {
        vq_request_fail(request, &err);
        return;
    }
    (void)vq_qmp_call(guest->qmp, "balloon", json_pack("{s:I}", "value", (json_int_t)(change->value * 1024)),
                      VQ_QMP_TIMEOUT_MS, balloon_set, change);
}

static void set_memory(struct vq_request *request, uint64_t memory_kib, uint32_t flags)
{
    struct config_change *change;
    struct vq_qemu_target target;

    if (!vq_qemu_check_flags(request, flags, AFFECT | VIR_DOMAIN_MEM_MAXIMUM) ||
        !vq_qemu_find_target(request, flags, &target))
        return;
    if (memory_kib > INT64_MAX / 1024) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "memory of %" PRIu64 " KiB is more than can be written down",
                       memory_kib);
        return;
    }
    change = vq_qemu_request_alloc(request, sizeof(*change));
    if (change == NULL)
        return;
    *change = (struct config_change){.request = request, .change = change_memory, .has_config = target.config,
                                     .value = memory_kib, .is_maximum = (flags & VIR_DOMAIN_MEM_MAXIMUM) != 0};
    if (target.live)
        set_live_memory(change);
    else
        change_config(change);
}

void vq_qemu_handle_set_memory(struct vq_request *request)
{
    const struct vq_remote_domain_set_memory_args *args = request->args;

    set_memory(request, args->memory, VIR_DOMAIN_AFFECT_LIVE);
}

void vq_qemu_handle_set_memory_flags(struct vq_request *request)
{
    const struct vq_remote_domain_set_memory_flags_args *args = request->args;

    set_memory(request, args->memory, args->flags);
}

void vq_qemu_handle_set_max_memory(struct vq_request *request)
{
    const struct vq_remote_domain_set_max_memory_args *args = request->args;

    set_memory(request, args->memory, VIR_DOMAIN_MEM_MAXIMUM);
}

/* ---- vCPUs ---- */

static int change_vcpus(struct vq_domain *def, void *data, struct vq_error *err)
{
    const struct config_change *change = data;
    const struct vq_cpu *cpu = def->cpu;
    uint32_t n = (uint32_t)change->value;

    if (!change->is_maximum && n > def->vcpus)
        return vq_error_set(err, VIR_ERR_INVALID_ARG,
                            "requested vcpus is greater than max allowable vcpus for the persistent domain: %u > %u", n,
                            def->vcpus);
    if (!change->is_maximum) {
        def->current_vcpus = n;
        return 0;
    }
    if (cpu != NULL && cpu->sockets != 0 &&
        (uint64_t)cpu->sockets * (cpu->dies == 0 ? 1 : cpu->dies) * cpu->cores * cpu->threads != n)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "CPU topology doesn't match the desired vcpu count");
    def->vcpus = n;
    if (def->current_vcpus > n)
        def->current_vcpus = n;
    return 0;
}

static void set_vcpus_in_guest(struct vq_request *request, uint32_t n, bool is_live)
{
    struct vq_qemu_guest *guest;

    if (!is_live)
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_INVALID, "setting vcpus via guest agent isn't supported for offline domain");
    else if ((guest = vq_agent_guest_of(request)) == NULL)
        return;
    else if (guest->live != NULL && n > guest->live->current_vcpus)
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG,
                       "requested vcpu count is greater than the count of enabled vcpus in the domain: %u > %u", n,
                       guest->live->current_vcpus);
    else
        vq_guest_vcpus_set_count(request, guest, n);
}

static void set_vcpus(struct vq_request *request, uint32_t n, uint32_t flags)
{
    struct config_change *change;
    struct vq_qemu_target target;

    if (!vq_qemu_check_flags(request, flags, AFFECT | VIR_DOMAIN_VCPU_MAXIMUM | VIR_DOMAIN_VCPU_GUEST |
                                                 VIR_DOMAIN_VCPU_HOTPLUGGABLE))
        return;
    if (n == 0 || (flags & VIR_DOMAIN_VCPU_HOTPLUGGABLE) != 0) {
        vq_qemu_refuse(request, VQ_FROM, n == 0 ? VIR_ERR_INVALID_ARG : VIR_ERR_OPERATION_UNSUPPORTED,
                       n == 0 ? "the number of vcpus must not be zero" : "vcpus cannot be set one by one");
        return;
    }
    if (!vq_qemu_find_target(request, flags, &target))
        return;
    if ((flags & VIR_DOMAIN_VCPU_GUEST) != 0) {
        set_vcpus_in_guest(request, n, target.live);
        return;
    }
    if ((flags & VIR_DOMAIN_VCPU_MAXIMUM) != 0 && target.live) {
        vq_qemu_refuse(request, VIR_FROM_DOMAIN, VIR_ERR_INVALID_ARG,
                       "Flag 'VIR_DOMAIN_AFFECT_CONFIG' is required by flag 'VIR_DOMAIN_VCPU_MAXIMUM'");
        return;
    }
    if (target.live && n > target.guest->live->vcpus) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG,
                       "requested vcpus is greater than max allowable vcpus for the live domain: %u > %u", n,
                       target.guest->live->vcpus);
        return;
    }
    if (target.live) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_UNSUPPORTED,
                       "the number of vcpus of a running guest cannot be changed; use --config for its next start");
        return;
    }
    change = vq_qemu_request_alloc(request, sizeof(*change));
    if (change == NULL)
        return;
    *change = (struct config_change){.request = request, .change = change_vcpus, .has_config = true, .value = n,
                                     .is_maximum = (flags & VIR_DOMAIN_VCPU_MAXIMUM) != 0};
    change_config(change);
}

void vq_qemu_handle_set_vcpus(struct vq_request *request)
{
    const struct vq_remote_domain_set_vcpus_args *args = request->args;

    set_vcpus(request, args->nvcpus, VIR_DOMAIN_AFFECT_LIVE);
}

void vq_qemu_handle_set_vcpus_flags(struct vq_request *request)
{
    const struct vq_remote_domain_set_vcpus_flags_args *args = request->args;

    set_vcpus(request, args->nvcpus, args->flags);
}

void vq_qemu_handle_get_vcpus_flags(struct vq_request *request)
{
    const struct vq_remote_domain_get_vcpus_flags_args *args = request->args;
    struct vq_remote_domain_get_vcpus_flags_ret *ret = request->ret;
    bool is_maximum = (args->flags & VIR_DOMAIN_VCPU_MAXIMUM) != 0;
    struct vq_qemu_target target;
    VQ_AUTOPTR(vq_domain) def = NULL;

    if (!vq_qemu_check_flags(request, args->flags, AFFECT | VIR_DOMAIN_VCPU_MAXIMUM | VIR_DOMAIN_VCPU_GUEST))
        return;
    if ((args->flags & AFFECT) == AFFECT) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "vcpus can be counted in one place only");
        return;
    }
    if (!vq_qemu_find_target(request, args->flags, &target))
        return;
    if ((args->flags & VIR_DOMAIN_VCPU_GUEST) != 0) {
        struct vq_qemu_guest *guest = target.live ? vq_agent_guest_of(request) : NULL;

        if (guest != NULL)
            vq_guest_vcpus_count(request, guest, is_maximum, &ret->num);
        else if (!target.live)
            vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG,
                           "vCPU count provided by the guest agent can only be requested for live domains");
        return;
    }
    if (!target.live && request->domain->id < 0) {
        ret->num = (int32_t)(is_maximum ? request->domain->max_vcpus : request->domain->vcpus);
        vq_request_reply(request);
        return;
    }
    if (!target.live) {
        def = vq_qemu_read_definition(request);
        if (def == NULL)
            return;
    }
    const struct vq_domain *counted = target.live ? target.guest->live : def;
    ret->num = (int32_t)(is_maximum ? counted->vcpus : counted->current_vcpus);
    vq_request_reply(request);
}

/* ---- Life cycle ---- */

static int change_lifecycle(struct vq_domain *def, void *data, struct vq_error *err VQ_UNUSED)
{
    const struct config_change *change = data;
    enum vq_lifecycle *const places[] = {
        [VIR_DOMAIN_LIFECYCLE_POWEROFF] = &def->on_poweroff,
        [VIR_DOMAIN_LIFECYCLE_REBOOT] = &def->on_reboot,
        [VIR_DOMAIN_LIFECYCLE_CRASH] = &def->on_crash,
    };

    *places[change->type] = (enum vq_lifecycle)change->value;
    return 0;
}

/* VQ_LIFECYCLE_UNSET: it was refused. */
static enum vq_lifecycle check_lifecycle(uint32_t type, uint32_t action, struct vq_error *err)
{
    static const struct {
        enum vq_lifecycle value;
        const char *name;
    } actions[] = {
        [VIR_DOMAIN_LIFECYCLE_ACTION_DESTROY] = {VQ_LIFECYCLE_DESTROY, "destroy"},
        [VIR_DOMAIN_LIFECYCLE_ACTION_RESTART] = {VQ_LIFECYCLE_RESTART, "restart"},
        [VIR_DOMAIN_LIFECYCLE_ACTION_RESTART_RENAME] = {VQ_LIFECYCLE_RENAME_RESTART, "rename-restart"},
        [VIR_DOMAIN_LIFECYCLE_ACTION_PRESERVE] = {VQ_LIFECYCLE_PRESERVE, "preserve"},
        [VIR_DOMAIN_LIFECYCLE_ACTION_COREDUMP_DESTROY] = {VQ_LIFECYCLE_COREDUMP_DESTROY, "coredump-destroy"},
        [VIR_DOMAIN_LIFECYCLE_ACTION_COREDUMP_RESTART] = {VQ_LIFECYCLE_COREDUMP_RESTART, "coredump-restart"},
    };
    static const char *const types[] = {"poweroff", "reboot", "crash"};

    if (type >= VQ_N_ELEMENTS(types))
        (void)vq_error_set_from(err, VIR_FROM_DOMAIN, VIR_ERR_INVALID_ARG, "invalid lifecycle type '%u'", type);
    else if (action >= VQ_N_ELEMENTS(actions))
        (void)vq_error_set_from(err, VIR_FROM_DOMAIN, VIR_ERR_INVALID_ARG, "invalid lifecycle action '%u'", action);
    else if (type != VIR_DOMAIN_LIFECYCLE_CRASH && action >= VIR_DOMAIN_LIFECYCLE_ACTION_COREDUMP_DESTROY)
        (void)vq_error_set_from(err, VIR_FROM_DOMAIN, VIR_ERR_CONFIG_UNSUPPORTED,
                                "Lifecycle event '%s' doesn't support '%s' action", types[type], actions[action].name);
    else if (action == VIR_DOMAIN_LIFECYCLE_ACTION_RESTART_RENAME)
        (void)vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "qemu driver doesn't support the 'rename-restart' action for "
                           "'on_reboot'/'on_poweroff'/'on_crash'");
    else
        return actions[action].value;
    return VQ_LIFECYCLE_UNSET;
}

void vq_qemu_handle_set_lifecycle_action(struct vq_request *request)
{
    const struct vq_remote_domain_set_lifecycle_action_args *args = request->args;
    struct config_change *change;
    struct vq_qemu_target target;
    struct vq_error err = VQ_ERROR_INIT;

    if (!vq_qemu_check_flags(request, args->flags, AFFECT))
        return;
    enum vq_lifecycle action = check_lifecycle(args->type, args->action, &err);
    if (action == VQ_LIFECYCLE_UNSET) {
        vq_request_fail(request, &err);
        return;
    }
    if (!vq_qemu_find_target(request, args->flags, &target) ||
        (target.live && !vq_qemu_activity_allows(request, target.guest)))
        return;
    change = vq_qemu_request_alloc(request, sizeof(*change));
    if (change == NULL)
        return;
    *change = (struct config_change){.request = request, .change = change_lifecycle, .has_config = target.config,
                                     .value = action, .type = args->type};
    /* QEMU always stops at a power-off and tells; what follows is decided here, so the running guest needs no word. */
    if (target.live && (change_lifecycle(target.guest->live, change, &err) < 0 ||
                        vq_qemu_record_write(target.guest, &err) < 0)) {
        vq_request_fail(request, &err);
        return;
    }
    change_config(change);
}

void vq_qemu_handle_get_scheduler_type(struct vq_request *request)
{
    struct vq_remote_domain_get_scheduler_type_ret *ret = request->ret;

    if (request->domain->id >= 0) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_INVALID, "cgroup CPU controller is not mounted");
        return;
    }
    ret->type = "posix";
    ret->nparams = SCHEDULER_PARAMS;
    vq_request_reply(request);
}
