/* Post-copy at the source: the guest runs elsewhere, and its memory still comes from here.
 *
 * With VIR_MIGRATE_POSTCOPY QEMU has a return path, and a source that loses the last word of it fails and lets its CPUs run
 * again although the destination may have everything. So the log decides before QEMU is told to go on at all: it stands at
 * pre-switchover, where nothing but a cancel of ours can end it, until the commit is applied. From there on the guest is its
 * peer's, whether the rest of it goes at once or as post-copy; what is left here only serves, and is ended when all was sent,
 * or when it fails. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <signal.h>
#include <string.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "drivers/qemu/handlers_define.h"
#include "drivers/qemu/migrate_out.h"
#include "drivers/qemu/process.h"

bool vq_leaving_decides_early(const struct vq_qemu_guest *guest)
{
    return vq_migrate_is_leaving(guest) && guest->migration->peer != 0 &&
           (guest->migration->options.flags & VIR_MIGRATE_POSTCOPY) != 0;
}

bool vq_leaving_serves(const struct vq_qemu_guest *guest)
{
    return vq_migrate_is_leaving(guest) && (guest->migration->stage == VQ_MIGRATE_POSTCOPY ||
                                            guest->migration->stage == VQ_MIGRATE_POSTCOPY_FAILED);
}

/* ---- The switch, asked for ---- */

static void switched(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_request *request = data;
    struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);

    (void)reply;
    if (err != NULL && guest != NULL && vq_migrate_is_leaving(guest))
        vq_leaving_of(guest)->wants_postcopy = false;
    if (err != NULL)
        vq_request_fail(request, err);
    else
        vq_request_reply(request);
}

void vq_leaving_start_post_copy(struct vq_request *request, struct vq_qemu_guest *guest)
{
    struct vq_leaving *leaving = vq_leaving_of(guest);

    if (leaving == NULL || guest->migration->stage != VQ_MIGRATE_SENDING || !leaving->is_told ||
        leaving->job.is_unwinding) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_INVALID,
                       "post-copy can only be started while outgoing migration is in progress");
    } else if ((guest->migration->options.flags & VIR_MIGRATE_POSTCOPY) == 0) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_INVALID,
                       "switching to post-copy requires migration to be started with VIR_MIGRATE_POSTCOPY flag");
    } else if (guest->migration->peer == 0) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_UNSUPPORTED,
                       "switching to post-copy is supported between nodes of one cluster only; the migration goes on "
                       "without it");
    } else {
        leaving->wants_postcopy = true;
        (void)vq_qmp_call(guest->qmp, "migrate-start-postcopy", NULL, VQ_QMP_TIMEOUT_MS, switched, request);
    }
}

/* ---- Serving ---- */

static void continued(json_t *reply, const struct vq_error *err, void *data);

/* Nothing is asked twice: a QEMU that has gone on refuses it. */
static void let_it_go_on(struct vq_leaving *leaving)
{
    leaving->is_switched = true;
    (void)vq_leaving_ask(leaving, "migrate-continue", json_pack("{s:s}", "state", "pre-switchover"), -1, continued);
}

static void status_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;
    struct vq_leaving *leaving = vq_leaving_of(guest);
    const char *status = json_string_value(json_object_get(reply, "status"));

    if (err != NULL)
        return; /* the monitor is gone, and found again */
    leaving->is_told = true;
    leaving->qemu = VQ_LEAVING_QEMU_NONE;
    vq_leaving_status(guest, status != NULL ? status : "none");
    if (vq_leaving_serves(guest) && leaving->qemu == VQ_LEAVING_QEMU_PRE_SWITCHOVER && !leaving->is_switched)
        let_it_go_on(leaving);
    else if (vq_leaving_serves(guest) &&
             (leaving->qemu == VQ_LEAVING_QEMU_NONE || leaving->qemu == VQ_LEAVING_QEMU_ACTIVE))
        vq_leaving_hand_over(guest); /* there is nothing that it could still send */
}

static void continued(json_t *reply, const struct vq_error *err, void *data)
{
    (void)reply;
    if (err != NULL)
        (void)vq_leaving_ask(vq_leaving_of(data), "query-migrate", NULL, -1, status_known);
}

void vq_leaving_serve(struct vq_qemu_guest *guest)
{
    struct vq_leaving *leaving = vq_leaving_of(guest);

    if (vq_leaving_serves(guest))
        return;
    (void)uv_timer_stop(&leaving->wait_timer);
    (void)VQ_FAILPOINT("qemu.migrate.out.commit");
    if (leaving->qemu == VQ_LEAVING_QEMU_PRE_SWITCHOVER)
        let_it_go_on(leaving); /* first: the guest stands still */
    vq_leaving_let_go(guest, VQ_MIGRATE_POSTCOPY);
    (void)VQ_FAILPOINT("qemu.migrate.out.serve");
    vq_leaving_serve_status(guest);
}

void vq_leaving_serve_again(struct vq_qemu_guest *guest)
{
    struct vq_leaving *leaving = vq_leaving_of(guest);

    leaving->fate = VQ_LEAVING_GONE;
    leaving->is_switched = false;
    guest->is_handed_over = true;
    (void)vq_leaving_ask(leaving, "query-migrate", NULL, -1, status_known);
}

/* Its CPUs run, or are about to: there is no time to ask it to end. */
void vq_leaving_kill(struct vq_qemu_guest *guest)
{
    struct vq_error err = VQ_ERROR_INIT;

    vq_log(ERROR, "migrate.out", "domain=%s run=%llu: QEMU has failed after the guest had been given to its peer, it is ended "
           "at once", guest->name, (unsigned long long)guest->migration->run);
    if (guest->process != NULL && !vq_process_has_exited(guest->process) &&
        vq_process_signal(guest->process, SIGKILL, &err) < 0)
        vq_log(ERROR, "migrate.out", "domain=%s: %s", guest->name, err.message);
    vq_leaving_hand_over(guest);
}

static void numbers_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;

    if (err == NULL)
        vq_qemu_job_stats_take(&guest->activity.stats, reply);
    if (vq_leaving_serves(guest))
        vq_leaving_hand_over(guest);
}

/* Both sides keep what they have: the guest runs there as far as it can, and the memory that it lacks is here only. */
static void postcopy_failed(struct vq_qemu_guest *guest)
{
    struct vq_error err = VQ_ERROR_INIT;

    guest->migration->stage = VQ_MIGRATE_POSTCOPY_FAILED;
    vq_log(ERROR, "migrate.out", "domain=%s run=%llu: the connection to the node that runs it is lost, and memory that it "
           "lacks is here only: QEMU is kept", guest->name, (unsigned long long)guest->migration->run);
    if (vq_qemu_record_write(guest, &err) < 0)
        vq_log(WARN, "guest.record", "domain=%s: %s, going on with the older record", guest->name, err.message);
    err = VQ_ERROR_INIT;
    (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "migration out job: post-copy failed");
    vq_leaving_answer(vq_leaving_of(guest), &err);
}

void vq_leaving_serve_status(struct vq_qemu_guest *guest)
{
    struct vq_leaving *leaving = vq_leaving_of(guest);

    switch (leaving->qemu) {
    case VQ_LEAVING_QEMU_POSTCOPY:
        guest->migration->stage = VQ_MIGRATE_POSTCOPY;
        break;
    case VQ_LEAVING_QEMU_PAUSED:
        if (guest->migration->stage == VQ_MIGRATE_POSTCOPY)
            postcopy_failed(guest);
        break;
    case VQ_LEAVING_QEMU_COMPLETED:
        if (!vq_leaving_ask(leaving, "query-migrate", NULL, -1, numbers_known))
            vq_leaving_hand_over(guest);
        break;
    case VQ_LEAVING_QEMU_FAILED:
    case VQ_LEAVING_QEMU_CANCELLED: /* the destination tells whether it has all */
        vq_leaving_kill(guest);
        break;
    default:
        break;
    }
}

/* When the guest has ended there, nobody asks for its memory any more. A state from before the commit says nothing. */
void vq_leaving_serve_changed(struct vq_qemu_guest *guest)
{
    const struct vq_migration *migration = guest->migration;
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_domain_info info = { 0 };
    bool is_there = guest->qemu->host->domain_find(guest->uuid, false, arena, &info);

    if (is_there && (info.run < migration->run || (info.run == migration->run && info.id >= 0)))
        return;
    if (!is_there && !vq_leaving_of(guest)->is_current) {
        vq_leaving_cancel_move(guest); /* one from before it was defined, perhaps: the log's refusal shows how old it is */
        return;
    }
    vq_log(INFO, "migrate.out", "domain=%s run=%llu: it has ended where it went, its memory here goes too", guest->name,
           (unsigned long long)migration->run);
    vq_leaving_hand_over(guest);
}
