/* The end of a guest: asked for, or seen. See guest.h. */
#define VQ_FROM VIR_FROM_QEMU

#include <assert.h>
#include <errno.h>
#include <libvirt/libvirt.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "drivers/qemu/files.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/migrate_in.h"
#include "drivers/qemu/process.h"
#include "drivers/qemu/qmp.h"
#include "drivers/qemu/restore.h"
#include "drivers/qemu/save.h"

static void set_end(struct vq_qemu_guest *guest, uint8_t reason, uint8_t detail)
{
    guest->end = (struct vq_qemu_end){ .is_set = true, .reason = reason, .detail = detail };
}

void vq_qemu_guest_publish_end(struct vq_qemu_guest *guest)
{
    struct vq_state_report report = { .run = guest->run, .id = -1, .state = VIR_DOMAIN_SHUTOFF };
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_domain_info info = { 0 };

    if (guest->is_handed_over)
        return; /* it goes on elsewhere */
    memcpy(report.uuid, guest->uuid, VQ_UUID_BYTES);
    report.reason = guest->end.is_set ? guest->end.reason : VIR_DOMAIN_SHUTOFF_FAILED;
    report.gone = guest->qemu->host->domain_find(guest->uuid, false, arena, &info) &&
                  (info.flags & VQ_INFO_PERSISTENT) == 0;
    if (guest->is_published) { /* a start that failed was never told of */
        report.events[0].event = VIR_DOMAIN_EVENT_STOPPED;
        report.events[0].detail = guest->end.is_set ? guest->end.detail : VIR_DOMAIN_EVENT_STOPPED_FAILED;
        report.n_events = 1;
    }
    guest->state = VIR_DOMAIN_SHUTOFF;
    guest->reason = report.reason;
    guest->qemu->host->publish(guest->qemu->driver, &report);
}

void vq_qemu_guest_answer_waiting(struct vq_qemu_guest *guest, const struct vq_error *err)
{
    struct vq_qemu_waiting waiting[VQ_GUEST_WAITING_MAX];
    size_t n = guest->n_waiting;

    memcpy(waiting, guest->waiting, sizeof(waiting));
    guest->n_waiting = 0;
    for (size_t i = 0; i < n; i++)
        err != NULL ? vq_request_fail(waiting[i].request, err) : vq_request_reply(waiting[i].request);
}

/* A start that ended before it had a run: a transient domain was made for it, and goes with it. */
static void drop_transient(const struct vq_qemu_guest *guest)
{
    struct vq_state_report report = { .id = -1, .state = VIR_DOMAIN_SHUTOFF, .reason = VIR_DOMAIN_SHUTOFF_FAILED,
                                      .gone = true };
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_domain_info info = { 0 };

    if (!guest->qemu->host->domain_find(guest->uuid, false, arena, &info) || (info.flags & VQ_INFO_PERSISTENT) != 0 ||
        info.owner != guest->qemu->host->node_id)
        return;
    memcpy(report.uuid, guest->uuid, VQ_UUID_BYTES);
    report.run = info.run;
    guest->qemu->host->publish(guest->qemu->driver, &report);
}

void vq_qemu_guest_finish(struct vq_qemu_guest *guest)
{
    if (!guest->is_claimed)
        drop_transient(guest);
    if (guest->removes_logs)
        vq_qemu_logs_remove(guest);
    vq_log(INFO, "guest.ended", "domain=%s id=%d", guest->name, guest->id);
    vq_qemu_guest_set_phase(guest, VQ_GUEST_ENDED);
    vq_qemu_guest_answer_waiting(guest, NULL);
    vq_qemu_guest_free(guest);
}

static void stop_done(struct vq_job *job)
{
    vq_qemu_guest_finish(job->owner);
}

void vq_qemu_guest_unwind(struct vq_qemu_guest *guest)
{
    struct vq_error err = VQ_ERROR_INIT;

    assert(!guest->job.is_active);
    if (guest->phase != VQ_GUEST_STOPPING)
        vq_qemu_guest_set_phase(guest, VQ_GUEST_STOPPING);
    if (vq_qemu_record_write(guest, &err) < 0)
        vq_log(WARN, "guest.record", "domain=%s: %s, going on", guest->name, err.message);
    (void)VQ_FAILPOINT("qemu.stop.recorded");
    if (vq_migrate_is_incoming(guest)) /* the run is not this node's, or it is not known whether */
        vq_job_unwind(&guest->job, vq_qemu_incoming_steps, vq_qemu_n_incoming_steps, &guest->job_timer, stop_done, guest);
    else
        vq_job_unwind(&guest->job, vq_qemu_guest_steps, vq_qemu_n_guest_steps, &guest->job_timer, stop_done, guest);
}

/* ---- Asking it to end ---- */

static void fail_late(struct vq_qemu_guest *guest)
{
    uint64_t now = uv_now(guest->qemu->host->loop);
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_system(&err, EBUSY, "Failed to terminate process %d with %s", (int)guest->pid,
                          guest->may_kill ? "SIGKILL" : "SIGTERM");
    for (size_t i = 0; i < guest->n_waiting;) {
        struct vq_request *request = guest->waiting[i].request;

        if (guest->waiting[i].deadline > now) {
            i++;
            continue;
        }
        guest->waiting[i] = guest->waiting[--guest->n_waiting];
        vq_request_fail(request, &err);
    }
}

/* Once a second while it ends: SIGKILL when that is allowed and due, and an answer for those who waited long enough. */
static void end_tick(uv_timer_t *timer)
{
    struct vq_qemu_guest *guest = timer->data;
    uint64_t now = uv_now(guest->qemu->host->loop);
    struct vq_error err = VQ_ERROR_INIT;

    if (guest->process != NULL && guest->may_kill && now >= guest->term_sent_ms + VQ_QEMU_TERM_MS &&
        vq_process_signal(guest->process, SIGKILL, &err) < 0)
        vq_log(ERROR, "guest.end", "domain=%s: %s", guest->name, err.message);
    fail_late(guest);
}

void vq_qemu_guest_end(struct vq_qemu_guest *guest, uint8_t reason, uint8_t detail, bool may_kill)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (!guest->end.is_set || may_kill)
        set_end(guest, reason, detail);
    guest->may_kill = guest->may_kill || may_kill;
    if (guest->phase == VQ_GUEST_STARTING) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_ABORTED, "domain '%s' was destroyed while it started", guest->name);
        vq_job_cancel(&guest->job, &err);
        return;
    }
    if (guest->phase == VQ_GUEST_STOPPING)
        return; /* its own undo does the rest, and may kill now */
    if (vq_qemu_record_write(guest, &err) < 0)
        vq_log(WARN, "guest.record", "domain=%s: %s, going on", guest->name, err.message);
    err = VQ_ERROR_INIT;
    /* Only a guest that a restart could not pick up has none: perhaps it can be told now. */
    if (guest->process == NULL &&
        vq_process_adopt(guest->qemu->host->loop, guest->pid, guest->pid_start_time, &vq_qemu_process_callbacks, guest,
                         &guest->process, &err) < 0 && err.code == VIR_ERR_NO_DOMAIN) {
        vq_qemu_guest_unwind(guest);
        return;
    }
    if (guest->process != NULL && !VQ_FAILPOINT("qemu.stop.term") &&
        vq_process_signal(guest->process, SIGTERM, &err) < 0)
        vq_log(ERROR, "guest.end", "domain=%s: %s", guest->name, err.message);
    if (guest->term_sent_ms == 0 || may_kill)
        guest->term_sent_ms = uv_now(guest->qemu->host->loop);
    (void)uv_timer_start(&guest->end_timer, end_tick, 1000, 1000);
}

/* ---- Seeing it end ---- */

/* Nobody asked for it: what QEMU said last tells. */
static void guess_end(struct vq_qemu_guest *guest)
{
    if (guest->end.is_set)
        return;
    if (guest->state == VIR_DOMAIN_SHUTDOWN)
        set_end(guest, VIR_DOMAIN_SHUTOFF_SHUTDOWN, VIR_DOMAIN_EVENT_STOPPED_SHUTDOWN);
    else if (guest->state == VIR_DOMAIN_CRASHED)
        set_end(guest, VIR_DOMAIN_SHUTOFF_CRASHED, VIR_DOMAIN_EVENT_STOPPED_CRASHED);
    else
        set_end(guest, VIR_DOMAIN_SHUTOFF_CRASHED, VIR_DOMAIN_EVENT_STOPPED_FAILED);
}

static void describe_exit(const struct vq_qemu_guest *guest, int status, struct vq_error *err)
{
    char tail[400];

    if (guest->exec_err.code != VIR_ERR_OK) {
        *err = guest->exec_err;
        (void)vq_error_wrap(err, "cannot run '%s'", guest->emulator);
        return;
    }
    vq_qemu_log_tail(guest, tail, sizeof(tail));
    if (vq_migrate_is_incoming(guest)) {
        (void)vq_error_set(err, VIR_ERR_OPERATION_FAILED, "QEMU of the destination ended before the domain had arrived%s%s",
                           tail[0] != '\0' ? ": " : "", tail);
        return;
    }
    if (vq_restore_is_loading(guest)) {
        (void)vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "qemu unexpectedly closed the monitor%s%s",
                           tail[0] != '\0' ? ": " : "", tail);
        return;
    }
    if (WIFSIGNALED(status) && status >= 0)
        (void)vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "QEMU was ended by signal %d while it started%s%s",
                           WTERMSIG(status), tail[0] != '\0' ? ": " : "", tail);
    else
        (void)vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "process exited while connecting to monitor%s%s",
                           tail[0] != '\0' ? ": " : "", tail);
}

void vq_qemu_guest_exited(struct vq_qemu_guest *guest, int status)
{
    struct vq_error err = VQ_ERROR_INIT;

    vq_log(DEBUG, "guest.exit", "domain=%s pid=%d status=%d", guest->name, (int)guest->pid, status);
    if (guest->phase == VQ_GUEST_STARTING && !guest->job.is_unwinding) {
        describe_exit(guest, status, &err);
        if (guest->job.is_waiting)
            vq_job_cancel(&guest->job, &err);
        return;
    }
    if (guest->job.is_active) { /* undoing waits for this very thing */
        if (guest->job.is_waiting)
            vq_job_resume(&guest->job, NULL);
        return;
    }
    if (guest->qmp != NULL)
        vq_qmp_drain(guest->qmp); /* its last words may lie behind the news of its death */
    if (vq_migrate_exited(guest) || vq_saving_exited(guest))
        return;
    guess_end(guest);
    vq_qemu_guest_unwind(guest);
}

static void process_executed(struct vq_process *process, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;

    (void)process;
    if (err != NULL)
        guest->exec_err = *err; /* the exit follows at once */
}

static void process_exited(struct vq_process *process, int status, void *data)
{
    (void)process;
    vq_qemu_guest_exited(data, status);
}

const struct vq_process_callbacks vq_qemu_process_callbacks = { process_executed, process_exited };
