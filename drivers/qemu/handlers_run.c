/* Procedures that start, stop and steer a guest. Each runs on the owner's node and answers once. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <string.h>

#include "conf/base/log.h"
#include "conf/domain.h"
#include "drivers/qemu/agent.h"
#include "drivers/qemu/define.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/handlers_define.h"
#include "drivers/qemu/qmp.h"
#include "drivers/qemu/restore.h"
#include "proto/gen/remote.h"

/* ---- start ---- */

static void fill_domain(struct vq_request *request, struct vq_remote_domain *domain, const struct vq_qemu_guest *guest)
{
    domain->name = vq_arena_strdup(request->arena, guest->name);
    memcpy(domain->uuid, guest->uuid, sizeof(domain->uuid));
    domain->id = guest->id;
}

void vq_qemu_start_reply(struct vq_qemu_guest *guest, struct vq_request *request)
{
    switch (request->procedure->number) {
    case VQ_REMOTE_DOMAIN_CREATE_WITH_FLAGS:
        fill_domain(request, &((struct vq_remote_domain_create_with_flags_ret *)request->ret)->dom, guest);
        break;
    case VQ_REMOTE_DOMAIN_CREATE_XML:
        fill_domain(request, &((struct vq_remote_domain_create_xml_ret *)request->ret)->dom, guest);
        break;
    default:
        break;
    }
    vq_request_reply(request);
}

enum {
    START_FLAGS = VIR_DOMAIN_START_PAUSED | VIR_DOMAIN_START_AUTODESTROY | VIR_DOMAIN_START_BYPASS_CACHE |
                  VIR_DOMAIN_START_FORCE_BOOT,
    CREATE_FLAGS = START_FLAGS | VIR_DOMAIN_START_VALIDATE,
};

static struct vq_qemu_start_options options_of(const struct vq_request *request, uint32_t flags)
{
    return (struct vq_qemu_start_options){ .paused = (flags & VIR_DOMAIN_START_PAUSED) != 0,
                                           .autodestroy = (flags & VIR_DOMAIN_START_AUTODESTROY) != 0,
                                           .autodestroy_node = request->caller->entry_node,
                                           .autodestroy_session = request->caller->session };
}

static void start(struct vq_request *request, uint32_t flags)
{
    const struct vq_qemu_start_options options = options_of(request, flags);

    if (vq_qemu_check_flags(request, flags, START_FLAGS))
        vq_restore_or_start(vq_qemu_of(request), request->domain, &options, (flags & VIR_DOMAIN_START_FORCE_BOOT) != 0,
                            (flags & VIR_DOMAIN_START_BYPASS_CACHE) != 0, request);
}

static void domain_create(struct vq_request *request)
{
    start(request, 0);
}

static void domain_create_with_flags(struct vq_request *request)
{
    start(request, ((const struct vq_remote_domain_create_with_flags_args *)request->args)->flags);
}

/* ---- createXML: define, then start; what cannot be started is gone again. A domain that is defined and inactive runs with
 * the text for this once, and keeps its definition. ---- */

static void transient_defined(const struct vq_domain *definition, const struct vq_proposal_result *result,
                              const struct vq_error *err, void *data)
{
    struct vq_request *request = data;
    const struct vq_remote_domain_create_xml_args *args = request->args;
    const struct vq_qemu_start_options options = options_of(request, args->flags);
    struct vq_qemu *qemu = vq_qemu_of(request);
    struct vq_domain_info info = { 0 };

    (void)result;
    qemu->n_creating--;
    if (err != NULL) {
        vq_request_fail(request, err);
        return;
    }
    memcpy(info.uuid, definition->uuid, sizeof(info.uuid));
    info.name = definition->name;
    vq_qemu_start(qemu, &info, &options, request);
}

/* Start the defined domain with the definition of the call, which is taken. */
static void start_defined(struct vq_request *request, const struct vq_domain_info *info, struct vq_domain *take_definition)
{
    const struct vq_remote_domain_create_xml_args *args = request->args;
    struct vq_qemu_start_options options = options_of(request, args->flags);
    struct vq_qemu *qemu = vq_qemu_of(request);
    struct vq_error err = VQ_ERROR_INIT;

    if (info->id >= 0 || vq_qemu_guest_find(qemu, info->uuid) != NULL)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "domain '%s' is already active", info->name);
    else if (info->owner != qemu->host->node_id)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_UNSUPPORTED,
                           "domain '%s' belongs to another node: it can be started by its definition only there",
                           info->name);
    else if (vq_qemu_choose_emulator(qemu, take_definition, &err) != NULL) {
        options.take_definition = take_definition;
        vq_qemu_start(qemu, info, &options, request);
        return;
    }
    vq_domain_free(take_definition);
    vq_request_fail(request, &err);
}

static void domain_create_xml(struct vq_request *request)
{
    const struct vq_remote_domain_create_xml_args *args = request->args;
    const struct vq_qemu_define_options options = { .strict = (args->flags & VIR_DOMAIN_START_VALIDATE) != 0,
                                                    .must_be_new = true };
    unsigned parse_flags = VQ_PARSE_INACTIVE | (options.strict ? VQ_PARSE_STRICT : 0);
    struct vq_qemu *qemu = vq_qemu_of(request);
    struct vq_domain *definition = NULL;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_domain_info info = { 0 };

    if (!vq_qemu_check_flags(request, args->flags, CREATE_FLAGS))
        return;
    if (vq_domain_parse(args->xml_desc, parse_flags, &definition, &err) < 0) {
        vq_request_fail(request, &err);
        return;
    }
    /* Same name and UUID; any other clash is refused where the definition is applied. */
    if (definition->has_uuid && qemu->host->domain_find(definition->uuid, false, request->arena, &info) &&
        vq_streq(info.name, definition->name)) {
        start_defined(request, &info, definition);
        return;
    }
    vq_domain_free(definition);
    qemu->n_creating++;
    vq_qemu_define_xml(qemu, args->xml_desc, &options, transient_defined, request);
}

/* ---- destroy ---- */

static void destroy(struct vq_request *request, uint32_t flags)
{
    struct vq_qemu_guest *guest;
    struct vq_error err = VQ_ERROR_INIT;
    bool is_graceful = (flags & VIR_DOMAIN_DESTROY_GRACEFUL) != 0;

    if (!vq_qemu_check_flags(request, flags, VIR_DOMAIN_DESTROY_GRACEFUL | VIR_DOMAIN_DESTROY_REMOVE_LOGS))
        return;
    guest = vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);
    if (guest == NULL)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "domain is not running");
    else if (guest->n_waiting == VQ_GUEST_WAITING_MAX)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "too many calls wait for domain '%s' to end", guest->name);
    if (err.code != VIR_ERR_OK) {
        vq_request_fail(request, &err);
        return;
    }
    guest->waiting[guest->n_waiting].request = request;
    guest->waiting[guest->n_waiting].deadline = uv_now(guest->qemu->host->loop) +
                                                (is_graceful ? VQ_QEMU_GRACEFUL_MS : VQ_QEMU_TERM_MS + 5000);
    guest->n_waiting++;
    guest->removes_logs = guest->removes_logs || (flags & VIR_DOMAIN_DESTROY_REMOVE_LOGS) != 0;
    /* Nobody is there to end it gently for: stopped by a signal or by a debugger, it gets SIGKILL after the deadline. */
    vq_qemu_guest_end(guest, VIR_DOMAIN_SHUTOFF_DESTROYED, VIR_DOMAIN_EVENT_STOPPED_DESTROYED, !is_graceful);
}

static void domain_destroy(struct vq_request *request)
{
    destroy(request, 0);
}

static void domain_destroy_flags(struct vq_request *request)
{
    destroy(request, ((const struct vq_remote_domain_destroy_flags_args *)request->args)->flags);
}

/* ---- one question to QEMU, whose answer is the call's ---- */

static void answered(json_t *reply, const struct vq_error *err, void *data)
{
    (void)reply;
    if (err != NULL)
        vq_request_fail(data, err);
    else
        vq_request_reply(data);
}

static void ask(struct vq_qemu_guest *guest, struct vq_request *request, const char *command, json_t *take_arguments)
{
    (void)vq_qmp_call(guest->qmp, command, take_arguments, VQ_QMP_TIMEOUT_MS, answered, request);
}

static bool refuse(struct vq_request *request, int code, const char *text)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, code, "%s", text);
    vq_request_fail(request, &err);
    return false;
}

/* The running guest of the request, to be changed: not while a long work is under way, whose numbers and outcome it would
 * spoil. NULL: the request was failed. */
static struct vq_qemu_guest *guest_to_change(struct vq_request *request)
{
    struct vq_qemu_guest *guest = vq_qemu_guest_of(request);

    return guest != NULL && vq_qemu_activity_allows(request, guest) ? guest : NULL;
}

static void record(struct vq_qemu_guest *guest)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_qemu_record_write(guest, &err) < 0)
        vq_log(WARN, "guest.record", "domain=%s: %s, going on with the older record", guest->name, err.message);
}

/* ---- power: the guest is asked to go down, by its agent or by its button ---- */

struct power_off {
    struct vq_request *request;
    bool is_reboot;          /* it is to come up again */
    bool may_press;          /* the button, when the agent cannot do it */
};

/* What comes after the power-off is on disk before the button is pressed. */
static void press_button(struct vq_qemu_guest *guest, const struct power_off *power_off)
{
    guest->reboot_wanted = power_off->is_reboot;
    record(guest);
    ask(guest, power_off->request, "system_powerdown", NULL);
}

static void agent_answered(const struct vq_agent_answer *answer, void *data)
{
    struct power_off *power_off = data;
    struct vq_request *request = power_off->request;
    struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);

    if (answer->err == NULL)
        vq_request_reply(request);
    else if (!power_off->may_press)
        vq_request_fail(request, answer->err);
    else if (guest == NULL || guest->phase != VQ_GUEST_ACTIVE)
        vq_request_reply(request); /* it has gone by itself meanwhile */
    else
        press_button(guest, power_off);
}

/* The agent first, where there is one, unless only the button was named; the button alone is pressed for a guest without. */
static void power_off(struct vq_request *request, uint32_t flags, uint32_t button, uint32_t agent, bool is_reboot)
{
    struct power_off *power_off;
    struct vq_qemu_guest *guest;
    struct vq_error err = VQ_ERROR_INIT;

    if (!vq_qemu_check_flags(request, flags, button | agent) || (guest = guest_to_change(request)) == NULL ||
        (power_off = vq_qemu_request_alloc(request, sizeof(*power_off))) == NULL)
        return;
    /* What the definition says of the one decides what becomes of the other. */
    if (guest->live != NULL)
        is_reboot = is_reboot ? guest->live->on_reboot != VQ_LIFECYCLE_DESTROY : guest->live->on_poweroff == VQ_LIFECYCLE_RESTART;
    *power_off = (struct power_off){ .request = request, .is_reboot = is_reboot,
                                     .may_press = flags == 0 || (flags & button) != 0 };
    if (flags == button || (!vq_agent_is_there(guest, &err) && power_off->may_press)) {
        press_button(guest, power_off);
        return;
    }
    if (err.code != VIR_ERR_OK) {
        vq_request_fail(request, &err);
        return;
    }
    guest->reboot_wanted = false;
    record(guest);
    vq_agent_call_await(guest, "guest-shutdown", json_pack("{s:s}", "mode", is_reboot ? "reboot" : "powerdown"),
                        VIR_DOMAIN_QEMU_AGENT_COMMAND_SHUTDOWN, is_reboot ? VQ_AGENT_RESET : VQ_AGENT_SHUTDOWN, agent_answered,
                        power_off);
}

static void shut_down(struct vq_request *request, uint32_t flags)
{
    power_off(request, flags, VIR_DOMAIN_SHUTDOWN_ACPI_POWER_BTN, VIR_DOMAIN_SHUTDOWN_GUEST_AGENT, false);
}

static void domain_shutdown(struct vq_request *request)
{
    shut_down(request, 0);
}

static void domain_shutdown_flags(struct vq_request *request)
{
    shut_down(request, ((const struct vq_remote_domain_shutdown_flags_args *)request->args)->flags);
}

static void domain_reboot(struct vq_request *request)
{
    power_off(request, ((const struct vq_remote_domain_reboot_args *)request->args)->flags, VIR_DOMAIN_REBOOT_ACPI_POWER_BTN,
              VIR_DOMAIN_REBOOT_GUEST_AGENT, true);
}

static void domain_reset(struct vq_request *request)
{
    const struct vq_remote_domain_reset_args *args = request->args;
    struct vq_qemu_guest *guest;

    if (vq_qemu_check_flags(request, args->flags, 0) && (guest = guest_to_change(request)) != NULL)
        ask(guest, request, "system_reset", NULL);
}

/* Also while it migrates: that is how somebody who has no more patience lets the migration come to its end. The guest
 * counts as one that migration has stopped, and runs again where it comes out. */
static void domain_suspend(struct vq_request *request)
{
    struct vq_qemu_guest *guest = vq_qemu_guest_of(request);
    bool is_leaving = guest != NULL && guest->activity.is_active &&
                      guest->activity.operation == VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT;

    if (guest == NULL || (!is_leaving && !vq_qemu_activity_allows(request, guest)))
        return;
    if (guest->state == VIR_DOMAIN_PMSUSPENDED) {
        refuse(request, VIR_ERR_OPERATION_INVALID, "domain is pmsuspended");
        return;
    }
    if (guest->state == VIR_DOMAIN_PAUSED) {
        vq_request_reply(request);
        return;
    }
    guest->has_next_pause = true;
    guest->next_pause_reason = is_leaving ? VIR_DOMAIN_PAUSED_MIGRATION : VIR_DOMAIN_PAUSED_USER;
    guest->next_pause_detail = is_leaving ? VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED : VIR_DOMAIN_EVENT_SUSPENDED_PAUSED;
    ask(guest, request, "stop", NULL);
}

static void domain_resume(struct vq_request *request)
{
    struct vq_qemu_guest *guest = guest_to_change(request);

    if (guest == NULL)
        return;
    if (guest->state == VIR_DOMAIN_PMSUSPENDED)
        refuse(request, VIR_ERR_OPERATION_INVALID, "domain is pmsuspended");
    else if (guest->state == VIR_DOMAIN_RUNNING)
        refuse(request, VIR_ERR_OPERATION_INVALID, "domain is already running");
    else
        ask(guest, request, "cont", NULL);
}

static void domain_pm_wakeup(struct vq_request *request)
{
    const struct vq_remote_domain_pm_wakeup_args *args = request->args;
    struct vq_qemu_guest *guest;

    if (vq_qemu_check_flags(request, args->flags, 0) && (guest = guest_to_change(request)) != NULL)
        ask(guest, request, "system_wakeup", NULL);
}

static void domain_inject_nmi(struct vq_request *request)
{
    const struct vq_remote_domain_inject_nmi_args *args = request->args;
    struct vq_qemu_guest *guest;

    if (vq_qemu_check_flags(request, args->flags, 0) && (guest = guest_to_change(request)) != NULL)
        ask(guest, request, "inject-nmi", NULL);
}

/* ---- the table ---- */

#define ROW(NAME, fn) { VQ_PROGRAM_REMOTE, VQ_REMOTE_##NAME, fn }

static const struct vq_driver_row rows[] = {
    ROW(DOMAIN_CREATE, domain_create),
    ROW(DOMAIN_CREATE_WITH_FLAGS, domain_create_with_flags),
    ROW(DOMAIN_CREATE_XML, domain_create_xml),
    ROW(DOMAIN_DESTROY, domain_destroy),
    ROW(DOMAIN_DESTROY_FLAGS, domain_destroy_flags),
    ROW(DOMAIN_SHUTDOWN, domain_shutdown),
    ROW(DOMAIN_SHUTDOWN_FLAGS, domain_shutdown_flags),
    ROW(DOMAIN_REBOOT, domain_reboot),
    ROW(DOMAIN_RESET, domain_reset),
    ROW(DOMAIN_SUSPEND, domain_suspend),
    ROW(DOMAIN_RESUME, domain_resume),
    ROW(DOMAIN_PM_WAKEUP, domain_pm_wakeup),
    ROW(DOMAIN_INJECT_NMI, domain_inject_nmi),
};
const struct vq_qemu_rows vq_qemu_run_rows = { rows, VQ_N_ELEMENTS(rows) };
