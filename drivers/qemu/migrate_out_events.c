/* What happens to a guest that leaves: events of QEMU, the log, clients and nodes that go, a restart of the daemon. See migrate_out.h. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/events.h"
#include "drivers/qemu/migrate_disks.h"
#include "drivers/qemu/migrate_out.h"
#include "drivers/qemu/migrate_side.h"

/* ---- What happens to it ---- */

static bool event(struct vq_qemu_guest *guest, const char *name, const json_t *data)
{
    struct vq_leaving *leaving = vq_leaving_of(guest);
    const char *status = json_string_value(json_object_get(data, "status"));

    if (vq_migrate_disks_event(guest, name, data))
        return true;
    if (strcmp(name, "MIGRATION") == 0) {
        if (status != NULL)
            vq_leaving_status(guest, status);
        return true;
    }
    if (guest->is_handed_over) { /* what is left of it here says nothing about the guest, and never runs */
        if (strcmp(name, "RESUME") == 0 && vq_leaving_serves(guest))
            vq_leaving_kill(guest);
        return true;
    }
    if (strcmp(name, "MIGRATION_PASS") == 0) {
        vq_qemu_emit_migration_iteration(guest, (int)json_integer_value(json_object_get(data, "pass")));
        return true;
    }
    if (strcmp(name, "SPICE_MIGRATE_COMPLETED") == 0) {
        leaving->has_viewers = false;
        if (vq_leaving_waits_in(leaving, "let viewers follow"))
            vq_job_resume(&leaving->job, NULL);
        return true;
    }
    if (guest->migration->stage == VQ_MIGRATE_OVER)
        return true; /* what is left of it here says nothing about the guest */
    if (strcmp(name, "STOP") == 0 && guest->state == VIR_DOMAIN_RUNNING && leaving->is_told) {
        leaving->was_stopped_by_user = guest->has_next_pause;
        leaving->has_stopped = !guest->has_next_pause;
        guest->activity.stats.stopped_ms = guest->qemu->host->time_ms();
        return leaving->has_stopped; /* told when QEMU was told to go on: vq_leaving_tell_stopped() */
    }
    if (strcmp(name, "RESUME") == 0 && leaving->is_told && guest->state != VIR_DOMAIN_SHUTDOWN &&
        guest->state != VIR_DOMAIN_CRASHED) {
        guest->activity.stats.stopped_ms = 0;
        vq_leaving_tell_stopped(guest);
        vq_qemu_guest_set_state(guest, VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_MIGRATION_CANCELED, VIR_DOMAIN_EVENT_RESUMED,
                                VIR_DOMAIN_EVENT_RESUMED_MIGRATED);
        return true;
    }
    if (strcmp(name, "BLOCK_IO_ERROR") == 0 && (guest->migration->options.flags & VIR_MIGRATE_ABORT_ON_ERROR) != 0 &&
        vq_streq(json_string_value(json_object_get(data, "action")), "stop")) {
        struct vq_error err = VQ_ERROR_INIT;

        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "migration out job: failed due to I/O error");
        vq_leaving_give_up(guest, &err);
    }
    return false;
}

static void changed(struct vq_qemu_guest *guest, const struct vq_domain_info *info)
{
    (void)info; /* looked up again: one place decides */
    if (vq_leaving_serves(guest))
        vq_leaving_serve_changed(guest);
    else if (guest->migration->stage != VQ_MIGRATE_OVER)
        vq_leaving_look(guest);
}

/* Perform went well, and whoever should say how it ended is not there any more. Both could run it: neither does by itself. */
static void leave_paused(struct vq_qemu_guest *guest)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "whether it runs at its destination is not known");
    vq_log(ERROR, "migrate.out", "domain=%s: it was sent completely, and the client that moved it has gone without telling "
           "whether it runs there: it stays paused here, to be resumed or destroyed by hand", guest->name);
    vq_leaving_drop(guest, VIR_DOMAIN_JOB_FAILED, &err);
}

static void too_long(uv_timer_t *timer)
{
    struct vq_leaving *leaving = timer->data;

    if (leaving->guest->migration->stage != VQ_MIGRATE_OVER)
        vq_leaving_cancel_move(leaving->guest);
}

/* The destination is not reachable. What it may have completely it gets the time to take: perhaps only we cannot see it. */
static void peer_lost(struct vq_qemu_guest *guest)
{
    struct vq_leaving *leaving = vq_leaving_of(guest);
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "migration out job: the destination is not reachable any more");
    if (guest->migration->stage == VQ_MIGRATE_SENDING) {
        vq_leaving_give_up(guest, &err);
    } else if (guest->migration->stage == VQ_MIGRATE_SENT && leaving->fate == VQ_LEAVING_OPEN && !leaving->is_asking) {
        if (leaving->failure.code == VIR_ERR_OK)
            leaving->failure = err;
        (void)uv_timer_start(&leaving->wait_timer, too_long, VQ_LEAVING_LOST_MS, 0);
    }
}

void vq_leaving_unknown(struct vq_qemu_guest *guest)
{
    if (vq_migrate_is_leaving(guest) && guest->migration->stage == VQ_MIGRATE_SENT && guest->migration->peer == 0 &&
        !vq_leaving_of(guest)->job.is_active)
        leave_paused(guest);
}

static void session_ended(struct vq_qemu_guest *guest, uint64_t entry_node, uint64_t session)
{
    struct vq_migration *migration = guest->migration;
    struct vq_error err = VQ_ERROR_INIT;

    if (session == 0 && migration->peer != 0 && migration->peer == entry_node)
        peer_lost(guest);
    if (guest->migration != migration || migration->entry_node == 0 || migration->entry_node != entry_node ||
        (session != 0 && migration->session != session))
        return;
    (void)vq_error_set(&err, VIR_ERR_OPERATION_ABORTED, "migration out job: the client's connection has ended");
    if (migration->stage == VQ_MIGRATE_BEGUN)
        vq_leaving_drop(guest, VIR_DOMAIN_JOB_CANCELLED, &err);
    else if (migration->stage == VQ_MIGRATE_SENDING)
        vq_leaving_give_up(guest, &err);
    else if (migration->stage == VQ_MIGRATE_SENT && migration->peer == 0 && !vq_leaving_of(guest)->job.is_active)
        leave_paused(guest);
    else if (migration->stage == VQ_MIGRATE_SENT && migration->peer == 0)
        vq_leaving_give_up(guest, &err);
}

/* QEMU has ended. What it had sent completely may live on there: the destination gets the time to say so. */
static bool exited(struct vq_qemu_guest *guest)
{
    struct vq_leaving *leaving = vq_leaving_of(guest);
    struct vq_error err = VQ_ERROR_INIT;
    bool is_found = !leaving->job.is_active; /* then the record may be older than what QEMU had sent */
    bool may_be_there = guest->migration->peer != 0 && leaving->fate == VQ_LEAVING_OPEN &&
                        (is_found || guest->migration->stage == VQ_MIGRATE_SENT) && leaving->qemu != VQ_LEAVING_QEMU_FAILED;

    (void)uv_timer_stop(&leaving->job_timer);
    (void)uv_timer_stop(&leaving->wait_timer);
    if (vq_leaving_serves(guest) && leaving->qemu == VQ_LEAVING_QEMU_POSTCOPY) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "migration out job: post-copy failed: QEMU has ended before it had "
                           "sent all of the guest's memory");
        vq_leaving_answer(leaving, &err);
    }
    if (leaving->fate == VQ_LEAVING_GONE || vq_leaving_serves(guest) ||
        (guest->migration->stage == VQ_MIGRATE_OVER && guest->migration->peer != 0))
        vq_leaving_let_go(guest, VQ_MIGRATE_OVER);
    if (!may_be_there || guest->is_handed_over)
        return false;
    guest->migration->stage = VQ_MIGRATE_SENT;
    vq_log(WARN, "migrate.out", "domain=%s: QEMU has ended after it had sent all, waiting for what the log says of it",
           guest->name);
    leaving->has_exited = true;
    (void)uv_timer_start(&leaving->wait_timer, too_long, VQ_LEAVING_EXITED_MS, 0);
    return true;
}

/* ---- After a restart, or when the monitor is there again ---- */

/* The monitor was away while a step waited: its question, or the answer, is lost. */
static void found_job(struct vq_leaving *leaving, const char *status)
{
    struct vq_error err = VQ_ERROR_INIT;
    bool has_begun = leaving->is_told && !vq_streq(status, "none");

    vq_leaving_status(leaving->guest, status);
    if (vq_leaving_waits_in(leaving, "let the CPUs run on") && leaving->job.is_unwinding)
        vq_leaving_run_on(leaving);
    else if (vq_leaving_waits_in(leaving, "switch over") && !leaving->job.is_unwinding && vq_streq(status, "pre-switchover"))
        vq_leaving_go_on(leaving);
    else if (leaving->job.is_active && !leaving->job.is_unwinding && !has_begun) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "migration out job: the connection to QEMU was lost");
        vq_leaving_give_up(leaving->guest, &err);
    }
}

static void found_anew(struct vq_leaving *leaving, const char *status)
{
    struct vq_qemu_guest *guest = leaving->guest;
    struct vq_migration *migration = guest->migration;

    leaving->is_told = !vq_streq(status, "none");
    vq_leaving_status(guest, status);
    leaving->is_switched = leaving->is_told && (leaving->qemu == VQ_LEAVING_QEMU_DEVICE ||
                                                leaving->qemu == VQ_LEAVING_QEMU_COMPLETED);
    vq_log(INFO, "migrate.out", "domain=%s run=%llu: it was leaving when the daemon ended; QEMU says '%s'", guest->name,
           (unsigned long long)migration->run, status);
    if (leaving->is_switched)
        migration->stage = VQ_MIGRATE_SENT;
    if (migration->peer != 0) {
        vq_leaving_cancel_move(guest); /* whatever comes of it, the log says it, and vq_leaving_decided() acts on it */
        return;
    }
    if (leaving->qemu == VQ_LEAVING_QEMU_COMPLETED)
        leave_paused(guest);
    else
        vq_job_unwind(&leaving->job, vq_leaving_steps, vq_n_leaving_steps, &leaving->job_timer, vq_leaving_done, leaving);
}

static void found_status(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;
    struct vq_leaving *leaving = vq_leaving_of(guest);
    const char *status = json_string_value(json_object_get(reply, "status"));

    if (err != NULL)
        return; /* the monitor is gone again, and found again */
    status = status != NULL ? status : "none";
    if (leaving->job.is_active)
        found_job(leaving, status);
    else
        found_anew(leaving, status);
}

static void found(struct vq_qemu_guest *guest)
{
    struct vq_leaving *leaving = vq_leaving_of(guest);
    struct vq_error err = VQ_ERROR_INIT;

    memset(leaving->calls, 0, sizeof(leaving->calls)); /* of the earlier connection: this one gives the same numbers to others */
    vq_migrate_disks_found(guest);
    if (guest->migration->stage == VQ_MIGRATE_BEGUN) {
        vq_leaving_drop(guest, VIR_DOMAIN_JOB_CANCELLED, NULL);
        return;
    }
    if (!guest->activity.is_active && vq_leaving_begin_activity(guest, &err) < 0)
        vq_log(ERROR, "migrate.out", "domain=%s: %s", guest->name, err.message);
    if (guest->migration->stage == VQ_MIGRATE_OVER && guest->migration->peer != 0)
        vq_leaving_hand_over(guest);
    else if (vq_leaving_serves(guest))
        vq_leaving_serve_again(guest);
    else if (guest->migration->stage == VQ_MIGRATE_OVER)
        vq_qemu_guest_end(guest, VIR_DOMAIN_SHUTOFF_MIGRATED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED, true);
    else
        (void)vq_leaving_ask(leaving, "query-migrate", NULL, -1, found_status);
}

/* ---- The end of the object ---- */

static void wait_timer_closed(uv_handle_t *handle)
{
    free(VQ_CONTAINER_OF((uv_timer_t *)handle, struct vq_leaving, wait_timer));
}

static void job_timer_closed(uv_handle_t *handle)
{
    struct vq_leaving *leaving = VQ_CONTAINER_OF((uv_timer_t *)handle, struct vq_leaving, job_timer);

    uv_close((uv_handle_t *)&leaving->wait_timer, wait_timer_closed);
}

/* Of a guest that was destroyed clients shall not take the word of the destination, which knows only that nothing came any more: they
 * do so when an operation failed. */
static void ended_meanwhile(const struct vq_qemu_guest *guest, struct vq_error *err)
{
    if (guest->qemu->stopping)
        (void)vq_error_set(err, VIR_ERR_OPERATION_FAILED, "the daemon is stopping");
    else if (guest->end.is_set && guest->end.reason == VIR_DOMAIN_SHUTOFF_DESTROYED)
        (void)vq_error_set(err, VIR_ERR_OPERATION_ABORTED, "migration out job: domain '%s' was destroyed while it migrated",
                           guest->name);
    else
        (void)vq_error_set(err, VIR_ERR_OPERATION_FAILED, "domain is not running: QEMU has ended while it migrated");
}

/* The guest's object goes, or the migration is over. */
static void side_free(struct vq_migration *migration)
{
    struct vq_leaving *leaving = migration->side;
    struct vq_qemu_guest *guest;
    struct vq_error err = VQ_ERROR_INIT;

    if (leaving == NULL)
        return;
    guest = leaving->guest;
    migration->side = NULL;
    (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "domain is not running");
    vq_leaving_fail_begin(leaving, &err);
    if (leaving->request != NULL && leaving->is_confirmed) {
        vq_leaving_confirmed(leaving, migration);
    } else if (leaving->request != NULL) {
        ended_meanwhile(guest, &err);
        vq_leaving_answer(leaving, leaving->fate == VQ_LEAVING_GONE ? NULL : &err);
    }
    for (size_t i = 0; i < VQ_LEAVING_CALLS_MAX && guest->qmp != NULL; i++)
        vq_qmp_cancel(guest->qmp, leaving->calls[i]);
    if (leaving->resuming != NULL) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "QEMU that has the memory of domain '%s' %s", guest->name,
                           guest->qemu->stopping ? "cannot be asked: its daemon is stopping" : "has ended");
        vq_request_fail(vq_take(leaving->resuming), &err);
    }
    free(leaving->resume_uri);
    vq_leaving_disconnect(leaving);
    vq_leaving_forget_key(leaving);
    if (leaving->storage != NULL)
        vq_leaving_forget_storage(vq_take(leaving->storage));
    vq_migrate_cookie_done(&leaving->own);
    vq_migrate_cookie_done(&leaving->peer);
    leaving->guest = NULL;
    (void)uv_timer_stop(&leaving->wait_timer); /* it is closed later than the other */
    leaving->job_timer.data = leaving->wait_timer.data = leaving;
    uv_close((uv_handle_t *)&leaving->job_timer, job_timer_closed);
}

const struct vq_migrate_side vq_migrate_out_side = { event, changed, found, session_ended, exited, side_free };
