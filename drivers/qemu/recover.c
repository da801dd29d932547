/* Connecting to the monitor of a guest that runs: right after its start, after a restart of the daemon, and again when
 * the connection broke. Picking up never ends a guest: what cannot be told yet is tried again. */
#define VQ_FROM VIR_FROM_QEMU

#include <assert.h>
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/agent.h"
#include "drivers/qemu/console.h"
#include "drivers/qemu/events.h"
#include "drivers/qemu/files.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/migrate_out.h"
#include "drivers/qemu/process.h"
#include "drivers/qemu/qmp.h"
#include "drivers/qemu/start.h"
#include "drivers/qemu/restore.h"
#include "drivers/qemu/save.h"

enum { RETRY_FIRST_MS = 200, RETRY_MAX_MS = 10000, GREET_TIMEOUT_MS = 25000 };

/* ---- The first questions ---- */

static void greet_over(struct vq_qemu_guest *guest, const struct vq_error *err);

static void greet_answer(struct vq_qemu_guest *guest, const struct vq_error *err)
{
    if (!guest->is_greeting || (err != NULL && vq_qmp_is_broken(guest->qmp)))
        return; /* monitor_broken() is told as well, once */
    if (err != NULL) {
        greet_over(guest, err);
        return;
    }
    if (--guest->pending_greet == 0)
        greet_over(guest, NULL);
}

static struct vq_chardev *chardev_of(struct vq_domain *live, const char *label)
{
    struct { struct vq_port **ports; size_t n; } lists[] = {
        { live->devices.serials, live->devices.n_serials }, { live->devices.parallels, live->devices.n_parallels },
        { live->devices.consoles, live->devices.n_consoles }, { live->devices.channels, live->devices.n_channels },
    };

    if (strncmp(label, "char", 4) == 0)
        label += 4;
    for (size_t i = 0; i < VQ_N_ELEMENTS(lists); i++)
        for (size_t j = 0; j < lists[i].n; j++)
            if (vq_streq(lists[i].ports[j]->info.alias, label))
                return &lists[i].ports[j]->source;
    return NULL;
}

/* The first console is the first serial port under another name: it shows the same pty. */
static void show_pty_of_console(struct vq_domain *live)
{
    for (size_t i = 0; i < live->devices.n_consoles; i++) {
        struct vq_port *console = live->devices.consoles[i];

        if (i == 0 && console->target != VQ_PORT_TARGET_VIRTIO && live->devices.n_serials > 0 &&
            live->devices.serials[0]->source.type == VQ_CHARDEV_PTY) {
            free(console->source.path);
            console->source.path = vq_strdup(live->devices.serials[0]->source.path);
        }
        if (console->source.type == VQ_CHARDEV_PTY) {
            free(console->tty);
            console->tty = vq_strdup(console->source.path);
        }
    }
}

/* [{"label": "charserial0", "filename": "pty:/dev/pts/5", ...}] */
static void chardevs_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;
    size_t i;
    json_t *entry;

    if (reply != NULL && guest->live != NULL) {
        vq_agent_channels_are(guest, reply, guest->phase == VQ_GUEST_STARTING
                                                ? VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_REASON_DOMAIN_STARTED
                                                : VIR_CONNECT_DOMAIN_EVENT_AGENT_LIFECYCLE_REASON_CHANNEL);
        json_array_foreach(reply, i, entry) {
            const char *label = json_string_value(json_object_get(entry, "label"));
            const char *file = json_string_value(json_object_get(entry, "filename"));
            struct vq_chardev *chardev = label != NULL ? chardev_of(guest->live, label) : NULL;

            if (chardev == NULL || file == NULL || chardev->type != VQ_CHARDEV_PTY || strncmp(file, "pty:", 4) != 0)
                continue;
            free(chardev->path);
            chardev->path = vq_strdup(file + 4);
        }
        show_pty_of_console(guest->live);
    }
    greet_answer(guest, err);
}

/* [{"cpu-index": 0, "thread-id": 4711, ...}] */
static void cpus_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;
    size_t n = json_array_size(reply);

    if (reply != NULL && n <= 4096) {
        free(guest->vcpu_threads);
        guest->vcpu_threads = vq_calloc(n + 1, sizeof(pid_t));
        for (size_t i = 0; i < n; i++)
            guest->vcpu_threads[i] = (pid_t)json_integer_value(json_object_get(json_array_get(reply, i), "thread-id"));
        guest->n_vcpu_threads = n;
    }
    greet_answer(guest, err);
}

static void uuid_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;
    const char *text = json_string_value(json_object_get(reply, "UUID"));
    struct vq_error wrong = VQ_ERROR_INIT;
    uint8_t uuid[VQ_UUID_BYTES];

    if (reply != NULL && (text == NULL || !vq_uuid_parse(text, uuid) || memcmp(uuid, guest->uuid, sizeof(uuid)) != 0)) {
        (void)vq_error_set(&wrong, VIR_ERR_INTERNAL_ERROR, "the QEMU behind its monitor says that it is another guest");
        err = &wrong;
    }
    greet_answer(guest, err);
}

static void status_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;

    if (guest->is_greeting && guest->phase != VQ_GUEST_STARTING) {
        json_decref(guest->status);
        guest->status = json_incref(reply);
    }
    greet_answer(guest, err);
}

static void balloon_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;
    json_int_t actual = json_integer_value(json_object_get(reply, "actual"));

    (void)err; /* no balloon device: no answer worth a failure */
    if (reply != NULL && actual > 0)
        guest->balloon_kib = (uint64_t)actual / 1024;
    greet_answer(guest, NULL);
}

static void password_set(json_t *reply, const struct vq_error *err, void *data)
{
    (void)reply;
    greet_answer(data, err);
}

static void balloon_polled(json_t *reply, const struct vq_error *err, void *data)
{
    (void)reply;
    (void)err;
    greet_answer(data, NULL);
}

static void ask(struct vq_qemu_guest *guest, const char *command, json_t *take_arguments, vq_qmp_cb cb)
{
    guest->pending_greet++;
    (void)vq_qmp_call(guest->qmp, command, take_arguments, GREET_TIMEOUT_MS, cb, guest);
}

/* A display without a password must be closed by one, never open: set before the CPUs run. */
static void ask_passwords(struct vq_qemu_guest *guest)
{
    for (size_t i = 0; guest->live != NULL && i < guest->live->devices.n_graphics; i++) {
        const struct vq_graphics *graphics = guest->live->devices.graphics[i];
        const char *protocol = graphics->type == VQ_GRAPHICS_VNC ? "vnc" : "spice";

        if (graphics->password == NULL || (graphics->type != VQ_GRAPHICS_VNC && graphics->type != VQ_GRAPHICS_SPICE))
            continue;
        ask(guest, "set_password", json_pack("{s:s,s:s}", "protocol", protocol, "password", graphics->password),
            password_set);
        ask(guest, "expire_password", json_pack("{s:s,s:s}", "protocol", protocol, "time", "never"), password_set);
    }
}

/* A cable that is not plugged in is not from the guest's first instruction on. */
static void ask_links(struct vq_qemu_guest *guest)
{
    for (size_t i = 0; guest->live != NULL && i < guest->live->devices.n_interfaces; i++) {
        const struct vq_interface *interface = guest->live->devices.interfaces[i];

        if (interface->link == VQ_LINK_DOWN && interface->type != VQ_INTERFACE_HOSTDEV && interface->info.alias != NULL)
            ask(guest, "set_link", json_pack("{s:s,s:b}", "name", interface->info.alias, "up", 0), password_set);
    }
}

static void ask_balloon(struct vq_qemu_guest *guest)
{
    const struct vq_memballoon *balloon = guest->live != NULL ? guest->live->devices.memballoon : NULL;

    if (balloon == NULL || balloon->model == VQ_BALLOON_NONE)
        return;
    if (balloon->stats_period != 0 && balloon->info.alias != NULL)
        ask(guest, "qom-set", json_pack("{s:o,s:s,s:i}", "path",
                                        json_sprintf("/machine/peripheral/%s", balloon->info.alias), "property",
                                        "guest-stats-polling-interval", "value", (int)balloon->stats_period),
            balloon_polled);
    if (guest->phase != VQ_GUEST_STARTING)
        ask(guest, "query-balloon", NULL, balloon_known);
}

/* All in one turn: QEMU answers them one after the other while we wait once. */
static void ask_first_questions(struct vq_qemu_guest *guest)
{
    guest->is_greeting = true;
    guest->pending_greet = 0;
    ask(guest, "query-chardev", NULL, chardevs_known);
    ask(guest, "query-cpus-fast", NULL, cpus_known);
    ask_balloon(guest);
    if (guest->phase == VQ_GUEST_STARTING) {
        ask_passwords(guest);
        ask_links(guest);
        return;
    }
    ask(guest, "query-uuid", NULL, uuid_known);
    ask(guest, "query-status", NULL, status_known);
}

static void greet_over(struct vq_qemu_guest *guest, const struct vq_error *err)
{
    guest->is_greeting = false;
    if (guest->phase == VQ_GUEST_STARTING) {
        if (guest->job.is_waiting && !guest->job.is_unwinding)
            vq_job_resume(&guest->job, err);
        return;
    }
    if (guest->phase != VQ_GUEST_FOUND)
        return;
    if (err != NULL) {
        vq_qemu_guest_degrade(guest, err->message);
        return;
    }
    json_t *status = guest->status;

    guest->status = NULL;
    guest->degraded[0] = '\0';
    guest->retry_ms = 0;
    if (vq_migrate_is_incoming(guest)) {
        json_decref(status);
        vq_migrate_found(guest);
        return;
    }
    vq_qemu_guest_set_phase(guest, VQ_GUEST_ACTIVE);
    vq_log(INFO, "guest.found", "domain=%s id=%d pid=%d: its monitor answers", guest->name, guest->id, (int)guest->pid);
    vq_qemu_guest_reconcile(guest, status);
    json_decref(status);
    vq_migrate_found(guest); /* one that leaves */
    vq_saving_found(guest);
}

/* ---- The connection ---- */

static void monitor_broken(struct vq_qmp *qmp, const struct vq_error *err, void *owner)
{
    struct vq_qemu_guest *guest = owner;

    (void)qmp;
    if (guest->phase == VQ_GUEST_STARTING) {
        /* Closed: it is ending, and its pidfd is about to tell; the message is better then. */
        if (err->code != VIR_ERR_OK && guest->job.is_waiting && !guest->job.is_unwinding)
            vq_job_resume(&guest->job, err);
        return;
    }
    if (guest->phase != VQ_GUEST_ACTIVE && guest->phase != VQ_GUEST_FOUND)
        return;
    if (err->code != VIR_ERR_OK) {
        vq_log(WARN, "guest.monitor", "domain=%s: %s; the monitor is opened anew, the guest goes on", guest->name,
               err->message);
        vq_qemu_emit_control_error(guest);
    }
    vq_qemu_guest_degrade(guest, err->code != VIR_ERR_OK ? err->message : "QEMU closed the monitor");
}

int vq_qemu_guest_connect(struct vq_qemu_guest *guest, struct vq_error *err)
{
    static const struct vq_qmp_callbacks callbacks = { vq_qemu_guest_event, monitor_broken };
    char path[64];
    int dir, rc;

    assert(guest->qmp == NULL);
    if (vq_qemu_files_monitor_path(guest, path, sizeof(path), &dir, err) < 0)
        return -1;
    rc = vq_qmp_connect(guest->qemu->host->loop, path, &callbacks, guest, &guest->qmp, err);
    (void)close(dir);
    if (rc < 0)
        return -1;
    ask_first_questions(guest);
    return 0;
}

void vq_qemu_guest_disconnect(struct vq_qemu_guest *guest)
{
    struct vq_qmp *qmp = guest->qmp;

    guest->is_greeting = false;
    guest->qmp = NULL;
    vq_qmp_free(qmp); /* answers what is in flight */
}

static void retry(uv_timer_t *timer)
{
    struct vq_qemu_guest *guest = timer->data;
    struct vq_error err = VQ_ERROR_INIT;

    if (guest->phase != VQ_GUEST_FOUND)
        return;
    if (guest->qmp != NULL)
        vq_qemu_guest_disconnect(guest);
    if (vq_qemu_guest_connect(guest, &err) < 0)
        vq_qemu_guest_degrade(guest, err.message);
}

void vq_qemu_guest_degrade(struct vq_qemu_guest *guest, const char *why)
{
    (void)snprintf(guest->degraded, sizeof(guest->degraded), "%s", why);
    if (guest->phase == VQ_GUEST_ACTIVE)
        vq_qemu_guest_set_phase(guest, VQ_GUEST_FOUND);
    guest->is_greeting = false;
    guest->retry_ms = guest->retry_ms == 0 ? RETRY_FIRST_MS : guest->retry_ms * 2;
    if (guest->retry_ms > RETRY_MAX_MS)
        guest->retry_ms = RETRY_MAX_MS;
    /* The broken connection is closed by the timer: its own callback may be on the stack. */
    (void)uv_timer_start(&guest->retry_timer, retry, guest->retry_ms, 0);
}

/* ---- What QEMU says it is doing ---- */

static const struct {
    const char *status;
    uint8_t state, reason;
} statuses[] = {
    { "running", VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_UNKNOWN },
    { "paused", VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_UNKNOWN },
    { "debug", VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_UNKNOWN },
    { "suspended", VIR_DOMAIN_PMSUSPENDED, VIR_DOMAIN_PMSUSPENDED_UNKNOWN },
    { "shutdown", VIR_DOMAIN_SHUTDOWN, VIR_DOMAIN_SHUTDOWN_UNKNOWN },
    { "io-error", VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_IOERROR },
    { "watchdog", VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_WATCHDOG },
    { "guest-panicked", VIR_DOMAIN_CRASHED, VIR_DOMAIN_CRASHED_PANICKED },
    { "internal-error", VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_UNKNOWN },
    { "save-vm", VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_SAVE },
    { "restore-vm", VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_UNKNOWN },
    { "inmigrate", VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_MIGRATION },
    { "postmigrate", VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_MIGRATION },
    { "finish-migrate", VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_MIGRATION },
    { "prelaunch", VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_STARTING_UP },
    { "preconfig", VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_STARTING_UP },
};

/* What the change looked like while nobody watched. */
static int event_of(uint8_t state, int *ret_detail)
{
    switch (state) {
    case VIR_DOMAIN_RUNNING:
        *ret_detail = VIR_DOMAIN_EVENT_RESUMED_UNPAUSED;
        return VIR_DOMAIN_EVENT_RESUMED;
    case VIR_DOMAIN_SHUTDOWN:
        *ret_detail = VIR_DOMAIN_EVENT_SHUTDOWN_FINISHED;
        return VIR_DOMAIN_EVENT_SHUTDOWN;
    case VIR_DOMAIN_CRASHED:
        *ret_detail = VIR_DOMAIN_EVENT_CRASHED_PANICKED;
        return VIR_DOMAIN_EVENT_CRASHED;
    case VIR_DOMAIN_PMSUSPENDED:
        *ret_detail = VIR_DOMAIN_EVENT_PMSUSPENDED_MEMORY;
        return VIR_DOMAIN_EVENT_PMSUSPENDED;
    default:
        *ret_detail = VIR_DOMAIN_EVENT_SUSPENDED_PAUSED;
        return VIR_DOMAIN_EVENT_SUSPENDED;
    }
}

static void resumed_after_start(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;

    (void)reply;
    if (err != NULL)
        vq_log(WARN, "guest.found", "domain=%s: its CPUs do not run yet: %s", guest->name, err->message);
}

static void adopt_status(struct vq_qemu_guest *guest, size_t row)
{
    int detail = 0, event = -1;

    if (statuses[row].state != guest->state) {
        event = event_of(statuses[row].state, &detail);
        vq_qemu_guest_set_state(guest, statuses[row].state, statuses[row].reason, event, detail);
    } else {
        /* The reason was known better when it happened. */
        vq_qemu_guest_set_state(guest, guest->state, guest->reason, -1, 0);
    }
}

void vq_qemu_guest_reconcile(struct vq_qemu_guest *guest, json_t *status)
{
    const char *word = json_string_value(json_object_get(status, "status"));
    size_t row = 0;
    bool is_ready;

    while (row < VQ_N_ELEMENTS(statuses) && !vq_streq(word, statuses[row].status))
        row++;
    if (row == VQ_N_ELEMENTS(statuses)) {
        vq_log(WARN, "guest.found", "domain=%s: QEMU says that it is '%s', which is not known, keeping the state",
               guest->name, word != NULL ? word : "");
        return;
    }
    if (guest->end.is_set) { /* it was being ended when the daemon died: go on with that */
        vq_qemu_guest_end(guest, guest->end.reason, guest->end.detail, guest->may_kill);
        return;
    }
    /* Killed between writing "booted" and "cont": the start is finished now. */
    /* Likewise when it had loaded what was saved. */
    is_ready = strcmp(word, "prelaunch") == 0 || (guest->is_resuming && strcmp(word, "paused") == 0);
    guest->is_resuming = false;
    if (is_ready && !guest->start_paused) {
        (void)vq_qmp_call(guest->qmp, "cont", NULL, VQ_QMP_TIMEOUT_MS, resumed_after_start, guest);
        return;
    }
    if (strcmp(word, "prelaunch") == 0) {
        guest->state = VIR_DOMAIN_PAUSED;
        guest->reason = VIR_DOMAIN_PAUSED_USER;
    }
    adopt_status(guest, row);
    if (statuses[row].state == VIR_DOMAIN_SHUTDOWN)
        vq_qemu_guest_powered_off(guest);
    else if (statuses[row].state == VIR_DOMAIN_CRASHED)
        vq_qemu_guest_panicked(guest);
}

/* ---- After a restart of the daemon ---- */

static void set_aside(struct vq_qemu *qemu, const void *key, size_t key_length, const void *value, size_t length)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (qemu->host->record_put(VQ_QEMU_RUN_TABLE ".unreadable", key, key_length, value, length, &err) < 0 ||
        qemu->host->record_delete(VQ_QEMU_RUN_TABLE, key, key_length, &err) < 0)
        vq_log(ERROR, "guest.record", "%s", err.message);
}

static void end_lost(struct vq_qemu_guest *guest, uint8_t reason, uint8_t detail)
{
    if (!guest->end.is_set)
        guest->end = (struct vq_qemu_end){ .is_set = true, .reason = reason, .detail = detail };
    guest->is_published = guest->is_booted;
    vq_qemu_guest_unwind(guest);
}

/* The process is there. Half started, or being ended: goes on to its end. Else: it is kept, whatever happens. */
static void pick_up(struct vq_qemu_guest *guest, enum vq_qemu_phase phase)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_migrate_is_incoming(guest)) { /* the log says what becomes of it, and QEMU what can: vq_migrate_found() */
        vq_qemu_guest_set_phase(guest, VQ_GUEST_FOUND);
        if (vq_qemu_guest_connect(guest, &err) < 0)
            vq_qemu_guest_degrade(guest, err.message);
        return;
    }
    if (!guest->is_booted) {
        vq_log(WARN, "guest.found", "domain=%s pid=%d: it was half started, clearing it away", guest->name,
               (int)guest->pid);
        end_lost(guest, VIR_DOMAIN_SHUTOFF_FAILED, VIR_DOMAIN_EVENT_STOPPED_FAILED);
        return;
    }
    vq_qemu_guest_set_phase(guest, VQ_GUEST_FOUND);
    (void)snprintf(guest->degraded, sizeof(guest->degraded), "its monitor has not answered yet");
    guest->is_published = !vq_leaving_is_undecided(guest);
    if (!guest->is_published) {
        /* Perhaps it is another node's to tell: vq_migrate_found() */
    } else if (phase == VQ_GUEST_STARTING && guest->restoring != NULL) {
        guest->is_resuming = true;
        vq_restore_found(guest);
    } else if (phase == VQ_GUEST_STARTING) { /* the cluster was not told before the daemon died */
        const struct vq_qemu_event started = { VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_BOOTED };

        guest->state = guest->start_paused ? VIR_DOMAIN_PAUSED : VIR_DOMAIN_RUNNING;
        guest->reason = guest->start_paused ? (uint8_t)VIR_DOMAIN_PAUSED_USER : (uint8_t)VIR_DOMAIN_RUNNING_BOOTED;
        vq_qemu_guest_publish(guest, &started, 1);
    } else {
        vq_qemu_guest_publish(guest, NULL, 0);
    }
    if (vq_qemu_guest_connect(guest, &err) < 0)
        vq_qemu_guest_degrade(guest, err.message);
    if (guest->is_published)
        vq_qemu_hook_reconnect(guest);
    if (guest->autodestroy && guest->autodestroy_node == guest->qemu->host->node_id) /* that client's connection is gone */
        vq_qemu_guest_end(guest, VIR_DOMAIN_SHUTOFF_DESTROYED, VIR_DOMAIN_EVENT_STOPPED_DESTROYED, true);
}

/* The process is not there any more, and what it had sent before may run elsewhere. */
static bool is_perhaps_elsewhere(struct vq_qemu_guest *guest)
{
    if (!vq_leaving_is_undecided(guest) || guest->phase != VQ_GUEST_NEW)
        return false;
    vq_qemu_guest_set_phase(guest, VQ_GUEST_FOUND);
    (void)snprintf(guest->degraded, sizeof(guest->degraded), "it has ended here, and whether it is at another node is not known");
    return vq_migrate_exited(guest);
}

/* A save or dump that was under way: its file is put in place, or goes. */
static void end_saving(struct vq_qemu_guest *guest)
{
    vq_saving_lost(guest);
    vq_saving_free(vq_take(guest->saving));
}

static void find_again(struct vq_qemu_guest *guest, const char *boot_id, enum vq_qemu_phase phase)
{
    struct vq_qemu *qemu = guest->qemu;
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_streq(boot_id, qemu->host->boot_id))
        vq_qemu_helpers_adopt(guest);
    if (!vq_streq(boot_id, qemu->host->boot_id) && is_perhaps_elsewhere(guest)) {
        return;
    } else if (!vq_streq(boot_id, qemu->host->boot_id) && guest->saving != NULL) {
        end_saving(guest);
        end_lost(guest, VIR_DOMAIN_SHUTOFF_UNKNOWN, VIR_DOMAIN_EVENT_STOPPED_CRASHED);
    } else if (!vq_streq(boot_id, qemu->host->boot_id)) { /* the host went down with it */
        end_lost(guest, VIR_DOMAIN_SHUTOFF_UNKNOWN, VIR_DOMAIN_EVENT_STOPPED_CRASHED);
    } else if (vq_process_adopt(qemu->host->loop, guest->pid, guest->pid_start_time, &vq_qemu_process_callbacks, guest,
                                &guest->process, &err) == 0) {
        pick_up(guest, phase);
    } else if (err.code == VIR_ERR_NO_DOMAIN) {
        vq_log(INFO, "guest.found", "domain=%s pid=%d: it has ended meanwhile", guest->name, (int)guest->pid);
        if (is_perhaps_elsewhere(guest))
            return;
        end_saving(guest);
        if (guest->state == VIR_DOMAIN_SHUTDOWN)
            end_lost(guest, VIR_DOMAIN_SHUTOFF_SHUTDOWN, VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN);
        else if (guest->is_booted)
            end_lost(guest, VIR_DOMAIN_SHUTOFF_CRASHED, VIR_DOMAIN_EVENT_STOPPED_FAILED);
        else
            end_lost(guest, VIR_DOMAIN_SHUTOFF_FAILED, VIR_DOMAIN_EVENT_STOPPED_FAILED);
    } else { /* it cannot be told whether it lives: kept in sight, not touched */
        vq_log(ERROR, "guest.found", "domain=%s pid=%d: %s, it is left alone", guest->name, (int)guest->pid, err.message);
        vq_qemu_guest_set_phase(guest, VQ_GUEST_FOUND);
        guest->is_published = true;
        vq_qemu_guest_degrade(guest, err.message);
    }
}

struct found {
    struct vq_qemu_guest *guest;
    char *boot_id;
    enum vq_qemu_phase phase;
};

struct finding {
    struct vq_qemu *qemu;
    struct found *found;
    size_t n_found;
};

static int record_seen(const void *key, size_t key_length, const void *value, size_t length, void *data)
{
    struct finding *finding = data;
    struct found found = { 0 };
    struct vq_error err = VQ_ERROR_INIT;

    if (key_length == VQ_UUID_BYTES && vq_qemu_guest_find(finding->qemu, key) != NULL)
        return 0; /* called again after the replicated state was replaced */
    if (vq_qemu_record_read(finding->qemu, key, key_length, value, length, &found.guest, &found.boot_id, &found.phase,
                            &err) < 0) {
        vq_log(ERROR, "guest.record", "%s; it is kept in table " VQ_QEMU_RUN_TABLE ".unreadable, and its guest, if it "
               "runs, is not managed", err.message);
        set_aside(finding->qemu, key, key_length, value, length);
        return 0;
    }
    VQ_GROW(finding->found, finding->n_found);
    finding->found[finding->n_found++] = found;
    return 0;
}

/* The cluster believes that it runs here, or is about to, and nothing here knows of it: it ended with the host, with its
 * record, or before it had one. */
void vq_qemu_disown(const struct vq_domain_info *info, void *data)
{
    struct vq_qemu *qemu = data;
    struct vq_state_report report = { .run = info->run, .id = -1, .state = VIR_DOMAIN_SHUTOFF,
                                      .reason = VIR_DOMAIN_SHUTOFF_UNKNOWN };

    bool is_expected = info->id >= 0 || (info->flags & VQ_INFO_CLAIMED) != 0 ||
                       ((info->flags & VQ_INFO_PERSISTENT) == 0 && qemu->n_creating == 0);

    if (vq_qemu_guest_find(qemu, info->uuid) != NULL || !is_expected)
        return;
    memcpy(report.uuid, info->uuid, VQ_UUID_BYTES);
    report.gone = (info->flags & VQ_INFO_PERSISTENT) == 0;
    report.events[0].event = VIR_DOMAIN_EVENT_STOPPED;
    report.events[0].detail = VIR_DOMAIN_EVENT_STOPPED_CRASHED;
    report.n_events = info->id >= 0; /* of a start that was not told of, nobody is told the end */
    vq_log(WARN, "guest.lost", "domain=%s id=%d: nothing is left of it here", info->name, info->id);
    qemu->host->publish(qemu->driver, &report);
}

void vq_qemu_disown_unknown(struct vq_driver *driver)
{
    struct vq_qemu *qemu = driver->state;

    qemu->host->each_own_domain(driver, vq_qemu_disown, qemu);
}

void vq_qemu_recover(struct vq_driver *driver)
{
    struct vq_qemu *qemu = driver->state;
    struct finding finding = { .qemu = qemu };
    struct vq_error err = VQ_ERROR_INIT;

    for (struct vq_qemu_guest *guest = qemu->guests; guest != NULL; guest = guest->next)
        if (guest->is_published && guest->phase != VQ_GUEST_STOPPING)
            vq_qemu_guest_publish(guest, NULL, 0);
    if (qemu->host->record_each(VQ_QEMU_RUN_TABLE, record_seen, &finding, &err) < 0)
        vq_log(ERROR, "guest.record", "the records of running guests cannot be read: %s", err.message);
    for (size_t i = 0; i < finding.n_found; i++) {
        find_again(finding.found[i].guest, finding.found[i].boot_id, finding.found[i].phase);
        free(finding.found[i].boot_id);
    }
    free(finding.found);
    vq_qemu_disown_unknown(driver);
}
