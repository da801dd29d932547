/* What QEMU tells by itself, and what follows from it for the guest's state and for clients. Every field of an event is
 * optional and may hold anything. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/agent.h"
#include "drivers/qemu/dump.h"
#include "drivers/qemu/events.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/migrate.h"
#include "drivers/qemu/qmp.h"
#include "drivers/qemu/restore.h"
#include "drivers/qemu/save.h"

static const char *text_of(json_t *data, const char *name)
{
    return json_string_value(json_object_get(data, name));
}

/* ---- The power goes off, or on again ---- */

static void rebooted(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;

    (void)reply;
    if (err == NULL || guest->phase != VQ_GUEST_ACTIVE)
        return;
    vq_log(WARN, "guest.reboot", "domain=%s: it cannot be started again: %s; it is ended", guest->name, err->message);
    vq_qemu_guest_end(guest, VIR_DOMAIN_SHUTOFF_FAILED, VIR_DOMAIN_EVENT_STOPPED_FAILED, false);
}

static void ignored(json_t *reply, const struct vq_error *err, void *data)
{
    (void)reply;
    (void)err;
    (void)data;
}

/* The word "reboot" stays in the record until RESUME tells that it is done. */
void vq_qemu_guest_reboot_now(struct vq_qemu_guest *guest)
{
    guest->reboot_wanted = true;
    (void)vq_qmp_call(guest->qmp, "system_reset", NULL, VQ_QMP_TIMEOUT_MS, ignored, guest);
    (void)vq_qmp_call(guest->qmp, "cont", NULL, VQ_QMP_TIMEOUT_MS, rebooted, guest);
}

static void act(struct vq_qemu_guest *guest, enum vq_lifecycle action, uint8_t reason, uint8_t detail)
{
    switch (action) {
    case VQ_LIFECYCLE_RESTART:
    case VQ_LIFECYCLE_RENAME_RESTART:
    case VQ_LIFECYCLE_COREDUMP_RESTART:
        vq_qemu_guest_reboot_now(guest);
        break;
    case VQ_LIFECYCLE_PRESERVE:
        break;
    default:
        /* TERM and wait for the flush, however long it takes (R21). */
        vq_qemu_guest_end(guest, reason, detail, false);
        break;
    }
}

void vq_qemu_guest_powered_off(struct vq_qemu_guest *guest)
{
    if (guest->reboot_wanted && !guest->end.is_set) {
        vq_qemu_guest_reboot_now(guest);
        return;
    }
    act(guest, guest->live != NULL ? guest->live->on_poweroff : VQ_LIFECYCLE_DESTROY, VIR_DOMAIN_SHUTOFF_SHUTDOWN,
        VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN);
}

static void act_on_crash(struct vq_qemu_guest *guest)
{
    if (guest->end.is_set || guest->phase != VQ_GUEST_ACTIVE || guest->qmp == NULL)
        return; /* a dump came first: it ends already, or is seen to have crashed again when its monitor is back */
    act(guest, guest->live != NULL ? guest->live->on_crash : VQ_LIFECYCLE_DESTROY, VIR_DOMAIN_SHUTOFF_CRASHED,
        VIR_DOMAIN_EVENT_STOPPED_CRASHED);
}

void vq_qemu_guest_panicked(struct vq_qemu_guest *guest)
{
    enum vq_lifecycle action = guest->live != NULL ? guest->live->on_crash : VQ_LIFECYCLE_DESTROY;

    if (action == VQ_LIFECYCLE_COREDUMP_DESTROY || action == VQ_LIFECYCLE_COREDUMP_RESTART)
        vq_qemu_auto_dump(guest, act_on_crash);
    else
        act_on_crash(guest);
}

/* {"guest": true, "reason": "guest-shutdown"} */
static void on_shutdown(struct vq_qemu_guest *guest, json_t *data)
{
    json_t *by_guest = json_object_get(data, "guest");
    int detail = by_guest == NULL        ? VIR_DOMAIN_EVENT_SHUTDOWN_FINISHED
                 : json_is_true(by_guest) ? VIR_DOMAIN_EVENT_SHUTDOWN_GUEST
                                          : VIR_DOMAIN_EVENT_SHUTDOWN_HOST;

    vq_agent_event(guest, VQ_AGENT_SHUTDOWN);
    if (guest->end.is_set && guest->end.reason != VIR_DOMAIN_SHUTOFF_DESTROYED &&
        guest->end.reason != VIR_DOMAIN_SHUTOFF_SHUTDOWN && detail == VIR_DOMAIN_EVENT_SHUTDOWN_HOST)
        return; /* it ends for a reason that is told then */
    if (guest->state == VIR_DOMAIN_SHUTDOWN)
        return; /* told twice */
    vq_qemu_guest_set_state(guest, VIR_DOMAIN_SHUTDOWN, VIR_DOMAIN_SHUTDOWN_UNKNOWN, VIR_DOMAIN_EVENT_SHUTDOWN, detail);
    /* With on_reboot destroy, QEMU makes a shutdown of a reset. */
    if (vq_streq(text_of(data, "reason"), "guest-reset") && guest->live != NULL) {
        act(guest, guest->live->on_reboot, VIR_DOMAIN_SHUTOFF_SHUTDOWN, VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN);
        return;
    }
    /* A signal ends QEMU by itself. */
    if (detail != VIR_DOMAIN_EVENT_SHUTDOWN_HOST || guest->reboot_wanted)
        vq_qemu_guest_powered_off(guest);
}

static void on_reset(struct vq_qemu_guest *guest, json_t *data)
{
    (void)data;
    vq_agent_event(guest, VQ_AGENT_RESET);
    /* A client's reset of one that was preserved: its CPUs stand still at their first word. */
    if (guest->state == VIR_DOMAIN_CRASHED && !guest->reboot_wanted)
        vq_qemu_guest_set_state(guest, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_CRASHED, -1, 0);
    /* Our own reset brings a guest up again that has powered off. */
    if (guest->state == VIR_DOMAIN_SHUTDOWN || guest->live == NULL || guest->live->on_reboot != VQ_LIFECYCLE_DESTROY)
        vq_qemu_emit_reboot(guest);
    else
        vq_qemu_guest_end(guest, VIR_DOMAIN_SHUTOFF_SHUTDOWN, VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN, false);
}

static void on_panicked(struct vq_qemu_guest *guest, json_t *data)
{
    const char *action = text_of(data, "action");

    if (guest->state == VIR_DOMAIN_CRASHED || vq_streq(action, "run"))
        return;
    vq_qemu_guest_set_state(guest, VIR_DOMAIN_CRASHED, VIR_DOMAIN_CRASHED_PANICKED, VIR_DOMAIN_EVENT_CRASHED,
                            VIR_DOMAIN_EVENT_CRASHED_PANICKED);
    vq_qemu_guest_panicked(guest);
}

/* Its kernel has panicked and goes on by itself, into a kernel that saves its memory. */
static void on_crashloaded(struct vq_qemu_guest *guest, json_t *data)
{
    (void)data;
    vq_qemu_guest_set_state(guest, guest->state, guest->reason, VIR_DOMAIN_EVENT_CRASHED, VIR_DOMAIN_EVENT_CRASHED_CRASHLOADED);
}

/* ---- CPUs stop and run ---- */

static void next_pause(struct vq_qemu_guest *guest, uint8_t reason, uint8_t detail)
{
    guest->has_next_pause = true;
    guest->next_pause_reason = reason;
    guest->next_pause_detail = detail;
}

static void on_stop(struct vq_qemu_guest *guest, json_t *data)
{
    uint8_t reason = guest->has_next_pause ? guest->next_pause_reason : (uint8_t)VIR_DOMAIN_PAUSED_UNKNOWN;
    int detail = guest->has_next_pause ? guest->next_pause_detail : VIR_DOMAIN_EVENT_SUSPENDED_PAUSED;

    (void)data;
    guest->has_next_pause = false;
    if (guest->state == VIR_DOMAIN_RUNNING || guest->state == VIR_DOMAIN_NOSTATE)
        vq_qemu_guest_set_state(guest, VIR_DOMAIN_PAUSED, reason, VIR_DOMAIN_EVENT_SUSPENDED, detail);
}

static void on_resume(struct vq_qemu_guest *guest, json_t *data)
{
    uint8_t reason = guest->reboot_wanted ? VIR_DOMAIN_RUNNING_BOOTED : VIR_DOMAIN_RUNNING_UNPAUSED;
    bool is_reboot = guest->reboot_wanted && guest->state == VIR_DOMAIN_SHUTDOWN;

    (void)data;
    guest->has_next_pause = false;
    if (guest->state == VIR_DOMAIN_RUNNING)
        return;
    if (is_reboot || guest->state == VIR_DOMAIN_CRASHED)
        guest->reboot_wanted = false;
    else
        reason = VIR_DOMAIN_RUNNING_UNPAUSED;
    if (guest->state == VIR_DOMAIN_CRASHED)
        reason = VIR_DOMAIN_RUNNING_CRASHED;
    vq_qemu_guest_set_state(guest, VIR_DOMAIN_RUNNING, reason, VIR_DOMAIN_EVENT_RESUMED,
                            VIR_DOMAIN_EVENT_RESUMED_UNPAUSED);
}

static void on_suspend(struct vq_qemu_guest *guest, json_t *data)
{
    (void)data;
    vq_agent_event(guest, VQ_AGENT_SUSPEND);
    vq_qemu_guest_set_state(guest, VIR_DOMAIN_PMSUSPENDED, VIR_DOMAIN_PMSUSPENDED_UNKNOWN, VIR_DOMAIN_EVENT_PMSUSPENDED,
                            VIR_DOMAIN_EVENT_PMSUSPENDED_MEMORY);
    vq_qemu_emit_pm(guest, VIR_DOMAIN_EVENT_ID_PMSUSPEND);
}

static void on_suspend_disk(struct vq_qemu_guest *guest, json_t *data)
{
    (void)data;
    vq_agent_event(guest, VQ_AGENT_SUSPEND);
    vq_qemu_guest_set_state(guest, VIR_DOMAIN_PMSUSPENDED, VIR_DOMAIN_PMSUSPENDED_UNKNOWN, VIR_DOMAIN_EVENT_PMSUSPENDED,
                            VIR_DOMAIN_EVENT_PMSUSPENDED_DISK);
    vq_qemu_emit_pm(guest, VIR_DOMAIN_EVENT_ID_PMSUSPEND_DISK);
}

static void on_wakeup(struct vq_qemu_guest *guest, json_t *data)
{
    (void)data;
    if (guest->state == VIR_DOMAIN_PMSUSPENDED)
        vq_qemu_guest_set_state(guest, VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_WAKEUP, VIR_DOMAIN_EVENT_STARTED,
                                VIR_DOMAIN_EVENT_STARTED_WAKEUP);
    vq_qemu_emit_pm(guest, VIR_DOMAIN_EVENT_ID_PMWAKEUP);
}

static int row_of(const char *const *words, size_t n, const char *word)
{
    for (size_t i = 0; i < n; i++)
        if (vq_streq(words[i], word))
            return (int)i;
    return -1;
}

static bool watchdog_dumps(const struct vq_qemu_guest *guest)
{
    for (size_t i = 0; guest->live != NULL && i < guest->live->devices.n_watchdogs; i++)
        if (vq_streq(guest->live->devices.watchdogs[i]->action, "dump"))
            return true;
    return false;
}

static void nothing(struct vq_qemu_guest *guest)
{
    (void)guest;
}

static void on_watchdog(struct vq_qemu_guest *guest, json_t *data)
{
    static const char *const actions[] = {
        [VIR_DOMAIN_EVENT_WATCHDOG_NONE] = "none", [VIR_DOMAIN_EVENT_WATCHDOG_PAUSE] = "pause",
        [VIR_DOMAIN_EVENT_WATCHDOG_RESET] = "reset", [VIR_DOMAIN_EVENT_WATCHDOG_POWEROFF] = "poweroff",
        [VIR_DOMAIN_EVENT_WATCHDOG_SHUTDOWN] = "shutdown", [VIR_DOMAIN_EVENT_WATCHDOG_DEBUG] = "debug",
        [VIR_DOMAIN_EVENT_WATCHDOG_INJECTNMI] = "inject-nmi",
    };
    int action = row_of(actions, VQ_N_ELEMENTS(actions), text_of(data, "action"));

    if (action == VIR_DOMAIN_EVENT_WATCHDOG_PAUSE)
        next_pause(guest, VIR_DOMAIN_PAUSED_WATCHDOG, VIR_DOMAIN_EVENT_SUSPENDED_WATCHDOG);
    if (action == VIR_DOMAIN_EVENT_WATCHDOG_PAUSE && watchdog_dumps(guest))
        vq_qemu_auto_dump(guest, nothing); /* it began while the CPUs ran, so they run on afterwards */
    vq_qemu_emit_watchdog(guest, action < 0 ? VIR_DOMAIN_EVENT_WATCHDOG_NONE : action);
}

/* ---- Devices ---- */

static const struct vq_disk *disk_of(const struct vq_qemu_guest *guest, const char *device, const char *qom_path)
{
    const char *alias = device != NULL && device[0] != '\0' ? device : qom_path;

    if (alias != NULL && strncmp(alias, "/machine/peripheral/", 20) == 0)
        alias += 20;
    for (size_t i = 0; alias != NULL && guest->live != NULL && i < guest->live->devices.n_disks; i++) {
        const struct vq_disk *disk = guest->live->devices.disks[i];
        size_t length = disk->info.alias != NULL ? strlen(disk->info.alias) : 0;

        /* The device path may go on behind the alias ("virtio-disk0/virtio-backend"). */
        if (length > 0 && strncmp(alias, disk->info.alias, length) == 0 &&
            (alias[length] == '\0' || alias[length] == '/'))
            return disk;
    }
    return NULL;
}

static void on_io_error(struct vq_qemu_guest *guest, json_t *data)
{
    static const char *const actions[] = { [VIR_DOMAIN_EVENT_IO_ERROR_NONE] = "ignore",
                                           [VIR_DOMAIN_EVENT_IO_ERROR_PAUSE] = "stop",
                                           [VIR_DOMAIN_EVENT_IO_ERROR_REPORT] = "report" };
    int action = row_of(actions, VQ_N_ELEMENTS(actions), text_of(data, "action"));
    const struct vq_disk *disk = disk_of(guest, text_of(data, "device"), text_of(data, "qom-path"));
    const char *path = disk != NULL && disk->source.path != NULL ? disk->source.path : "";
    const char *alias = disk != NULL && disk->info.alias != NULL ? disk->info.alias : "";

    if (action == VIR_DOMAIN_EVENT_IO_ERROR_PAUSE) {
        (void)snprintf(guest->io_error_target, sizeof(guest->io_error_target), "%s",
                       disk != NULL && disk->target != NULL ? disk->target : "");
        next_pause(guest, VIR_DOMAIN_PAUSED_IOERROR, VIR_DOMAIN_EVENT_SUSPENDED_IOERROR);
    }
    vq_qemu_emit_io_error(guest, path, alias, action < 0 ? VIR_DOMAIN_EVENT_IO_ERROR_NONE : action,
                          json_is_true(json_object_get(data, "nospace")) ? "enospc" : "");
}

static void on_rtc_change(struct vq_qemu_guest *guest, json_t *data)
{
    json_t *offset = json_object_get(data, "offset");

    if (json_is_integer(offset))
        vq_qemu_emit_rtc_change(guest, json_integer_value(offset));
}

static void on_balloon_change(struct vq_qemu_guest *guest, json_t *data)
{
    json_int_t actual = json_integer_value(json_object_get(data, "actual"));

    if (actual <= 0)
        return;
    guest->balloon_kib = (uint64_t)actual / 1024;
    vq_qemu_emit_balloon_change(guest, guest->balloon_kib);
}

static void on_device_deleted(struct vq_qemu_guest *guest, json_t *data)
{
    const char *alias = text_of(data, "device");

    if (alias != NULL) /* without an id it is a part of a device */
        vq_qemu_emit_device_removed(guest, alias);
}

static void on_tray_moved(struct vq_qemu_guest *guest, json_t *data)
{
    const struct vq_disk *disk = disk_of(guest, text_of(data, "device"), text_of(data, "id"));

    if (disk != NULL)
        vq_qemu_emit_tray_change(guest, disk->info.alias, json_is_true(json_object_get(data, "tray-open")));
}

static void on_viewer_connect(struct vq_qemu_guest *guest, json_t *data)
{
    vq_qemu_emit_graphics(guest, VIR_DOMAIN_EVENT_GRAPHICS_CONNECT, data);
}

static void on_viewer_initialize(struct vq_qemu_guest *guest, json_t *data)
{
    vq_qemu_emit_graphics(guest, VIR_DOMAIN_EVENT_GRAPHICS_INITIALIZE, data);
}

static void on_viewer_disconnect(struct vq_qemu_guest *guest, json_t *data)
{
    vq_qemu_emit_graphics(guest, VIR_DOMAIN_EVENT_GRAPHICS_DISCONNECT, data);
}

/* A channel's other end inside the guest opened or closed it. */
static void on_port_change(struct vq_qemu_guest *guest, json_t *data)
{
    const char *id = text_of(data, "id");

    for (size_t i = 0; id != NULL && guest->live != NULL && i < guest->live->devices.n_channels; i++)
        if (vq_streq(guest->live->devices.channels[i]->info.alias, id))
            vq_agent_channel_is(guest, guest->live->devices.channels[i], json_is_true(json_object_get(data, "open")),
                                VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_REASON_CHANNEL);
}

/* The guest does not let go of a device: {"device": "net1", "path": ...}. */
static void on_unplug_error(struct vq_qemu_guest *guest, json_t *data)
{
    const char *alias = text_of(data, "device");

    if (alias != NULL)
        vq_qemu_emit_device_removal_failed(guest, alias);
}

/* ---- Memory ---- */

static void on_memory_failure(struct vq_qemu_guest *guest, json_t *data)
{
    static const char *const recipients[] = { [VIR_DOMAIN_EVENT_MEMORY_FAILURE_RECIPIENT_HYPERVISOR] = "hypervisor",
                                              [VIR_DOMAIN_EVENT_MEMORY_FAILURE_RECIPIENT_GUEST] = "guest" };
    static const char *const actions[] = { [VIR_DOMAIN_EVENT_MEMORY_FAILURE_ACTION_IGNORE] = "ignore",
                                           [VIR_DOMAIN_EVENT_MEMORY_FAILURE_ACTION_INJECT] = "inject",
                                           [VIR_DOMAIN_EVENT_MEMORY_FAILURE_ACTION_FATAL] = "fatal",
                                           [VIR_DOMAIN_EVENT_MEMORY_FAILURE_ACTION_RESET] = "reset" };
    int recipient = row_of(recipients, VQ_N_ELEMENTS(recipients), text_of(data, "recipient"));
    int action = row_of(actions, VQ_N_ELEMENTS(actions), text_of(data, "action"));
    json_t *flags = json_object_get(data, "flags");
    unsigned bits = (json_is_true(json_object_get(flags, "action-required")) ? VIR_DOMAIN_MEMORY_FAILURE_ACTION_REQUIRED : 0u) |
                    (json_is_true(json_object_get(flags, "recursive")) ? VIR_DOMAIN_MEMORY_FAILURE_RECURSIVE : 0u);

    if (recipient >= 0 && action >= 0)
        vq_qemu_emit_memory_failure(guest, recipient, action, bits);
}

/* How much of a virtio-mem device the guest uses now: {"id": "virtiomem0", "size": bytes, "qom-path": ...}. */
static void on_memory_size_change(struct vq_qemu_guest *guest, json_t *data)
{
    const char *alias = text_of(data, "id");
    json_int_t size = json_integer_value(json_object_get(data, "size"));

    if (alias != NULL && size >= 0)
        vq_qemu_emit_memory_device_size_change(guest, alias, (uint64_t)size / 1024);
}

/* ---- The table ---- */

static const struct {
    const char *name;
    void (*fn)(struct vq_qemu_guest *guest, json_t *data);
} rows[] = {
    { "SHUTDOWN", on_shutdown },
    { "RESET", on_reset },
    { "GUEST_PANICKED", on_panicked },
    { "GUEST_CRASHLOADED", on_crashloaded },
    { "STOP", on_stop },
    { "RESUME", on_resume },
    { "SUSPEND", on_suspend },
    { "SUSPEND_DISK", on_suspend_disk },
    { "WAKEUP", on_wakeup },
    { "WATCHDOG", on_watchdog },
    { "BLOCK_IO_ERROR", on_io_error },
    { "RTC_CHANGE", on_rtc_change },
    { "BALLOON_CHANGE", on_balloon_change },
    { "DEVICE_DELETED", on_device_deleted },
    { "DEVICE_TRAY_MOVED", on_tray_moved },
    { "VNC_CONNECTED", on_viewer_connect },
    { "VNC_INITIALIZED", on_viewer_initialize },
    { "VNC_DISCONNECTED", on_viewer_disconnect },
    { "SPICE_CONNECTED", on_viewer_connect },
    { "SPICE_INITIALIZED", on_viewer_initialize },
    { "SPICE_DISCONNECTED", on_viewer_disconnect },
    { "DEVICE_UNPLUG_GUEST_ERROR", on_unplug_error },
    { "MEM_UNPLUG_ERROR", on_unplug_error },
    { "MEMORY_FAILURE", on_memory_failure },
    { "MEMORY_DEVICE_SIZE_CHANGE", on_memory_size_change },
};

void vq_qemu_guest_event(struct vq_qmp *qmp, const char *name, json_t *data, int64_t seconds, uint32_t micros,
                         void *owner)
{
    struct vq_qemu_guest *guest = owner;

    (void)qmp;
    if (guest->phase == VQ_GUEST_ACTIVE || guest->phase == VQ_GUEST_FOUND)
        vq_qemu_emit_monitor(guest, name, data, seconds, micros);
    /* Not told again: also to one that arrives, or is found again and not known to be itself yet. */
    if (strcmp(name, "VSERPORT_CHANGE") == 0)
        on_port_change(guest, data);
    if (vq_migrate_event(guest, name, data) || vq_saving_event(guest, name, data) || vq_restore_event(guest, name, data))
        return;
    /* While it starts, its steps know what they do. Until a found guest has been asked, the answer tells all at once. */
    if (guest->phase != VQ_GUEST_ACTIVE)
        return;
    for (size_t i = 0; i < VQ_N_ELEMENTS(rows); i++) {
        if (strcmp(rows[i].name, name) != 0)
            continue;
        rows[i].fn(guest, data);
        return;
    }
}
