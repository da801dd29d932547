/* The source and the log: one of the two ends of a move is applied, and that one decides.
 *
 * The destination proposes the commit (with post-copy the source does), both may propose the cancel, and a proposal may be
 * applied although its answer was lost. So nothing is concluded from an answer: the state is looked at, and as long as the
 * move stands in it, an end is proposed again. A state in which the move does not stand counts only when it is not older than the move. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "drivers/qemu/migrate_out.h"

/* ---- While the guest waits for it ---- */

/* A state without the domain may be one from before it was defined, which a refilled store passes through. A current one says
 * that its run has ended elsewhere: a guest that runs here is taken out by nobody but this node. */
static enum vq_leaving_fate fate_of(struct vq_qemu_guest *guest, const struct vq_leaving *leaving, bool *ret_is_known)
{
    const struct vq_driver_host *host = guest->qemu->host;
    const struct vq_migration *migration = guest->migration;
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_domain_info info = { 0 };

    *ret_is_known = host->domain_find(guest->uuid, false, arena, &info);
    if (!*ret_is_known)
        return leaving->is_current ? VQ_LEAVING_GONE : VQ_LEAVING_OPEN;
    if (info.moving_to == migration->peer && info.moving_run == migration->run)
        return VQ_LEAVING_OPEN;
    if (info.last_move < migration->run && info.run < migration->run) /* from before the move, or it was never entered */
        return leaving->is_current ? VQ_LEAVING_STAYS : VQ_LEAVING_OPEN;
    return info.owner != host->node_id || info.run >= migration->run ? VQ_LEAVING_GONE : VQ_LEAVING_STAYS;
}

int vq_leaving_check_move(const struct vq_qemu_guest *guest, uint64_t peer, uint64_t run, struct vq_error *err)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_domain_info info = { 0 };

    if (!guest->qemu->host->domain_find(guest->uuid, false, arena, &info))
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "domain '%s' is not known in this cluster", guest->name);
    if (info.moving_to == peer && info.moving_run == run)
        return 0;
    if (info.last_move < run && info.run < run)
        return 0; /* it was entered, and is not applied here yet */
    return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "the migration of domain '%s' that was prepared is over",
                        guest->name);
}

static void propose(struct vq_qemu_guest *guest);

/* One that serves asks for nothing but how old the state here is. */
static bool is_unknown(const struct vq_leaving *leaving)
{
    return leaving->fate == VQ_LEAVING_OPEN || (vq_leaving_serves(leaving->guest) && !leaving->is_current);
}

static void ask_again(uv_timer_t *timer)
{
    struct vq_leaving *leaving = timer->data;

    if (leaving->guest != NULL && is_unknown(leaving))
        propose(leaving->guest);
}

void vq_leaving_look(struct vq_qemu_guest *guest)
{
    struct vq_leaving *leaving = vq_leaving_of(guest);
    bool is_known;

    if (guest->migration->peer == 0 || leaving->fate != VQ_LEAVING_OPEN)
        return;
    leaving->fate = fate_of(guest, leaving, &is_known);
    if (leaving->fate == VQ_LEAVING_OPEN) {
        /* Nothing more may be told of a domain that is not there: the log's answer shows how old this state is. */
        if (!is_known && !leaving->is_asking && !uv_is_active((uv_handle_t *)&leaving->wait_timer))
            (void)uv_timer_start(&leaving->wait_timer, ask_again, VQ_LEAVING_RETRY_MS, 0);
        return;
    }
    vq_log(INFO, "migrate.out", "domain=%s run=%llu: the log says that it %s", guest->name,
           (unsigned long long)guest->migration->run, leaving->fate == VQ_LEAVING_GONE ? "is its peer's now" : "stays");
    (void)uv_timer_stop(&leaving->wait_timer);
    vq_leaving_decided(guest);
}

/* Whose answer it is: the guest may be gone when it comes. */
struct asking {
    struct vq_qemu *qemu;
    uint8_t uuid[VQ_UUID_BYTES];
    uint64_t run;
};

static struct asking *asking_new(const struct vq_qemu_guest *guest)
{
    struct asking *asking = vq_new(struct asking);

    asking->qemu = guest->qemu;
    asking->run = guest->migration->run;
    memcpy(asking->uuid, guest->uuid, sizeof(asking->uuid));
    return asking;
}

/* A commit that the log refuses does not get better; one that could not be entered may. */
static void commit_refused(struct vq_leaving *leaving, const struct vq_error *err)
{
    if (err->from != VIR_FROM_DOMAIN &&
        (!leaving->guest->qemu->host->has_quorum() || ++leaving->commits_refused < VQ_LEAVING_COMMIT_TRIES))
        return;
    if (leaving->failure.code == VIR_ERR_OK)
        leaving->failure = *err;
    leaving->wants_commit = false;
}

static void answered(const struct vq_proposal_result *result, const struct vq_error *err, void *data)
{
    struct asking *asking = data;
    struct vq_qemu_guest *guest = vq_qemu_guest_find(asking->qemu, asking->uuid);
    struct vq_leaving *leaving;
    bool is_ours = guest != NULL && vq_migrate_is_leaving(guest) && guest->migration->run == asking->run;

    free(asking);
    if (!is_ours)
        return;
    leaving = vq_leaving_of(guest);
    leaving->is_asking = false;
    if (result != NULL)
        leaving->is_current = true;
    else
        vq_log(WARN, "migrate.out", "domain=%s: the %s was not entered, or it is not known whether: %s", guest->name,
               leaving->wants_commit ? "commit" : "cancel", err->message);
    if (result == NULL && leaving->wants_commit)
        commit_refused(leaving, err);
    /* A refusal comes from the log as well, and what stands before it there is applied; any other error says nothing. */
    if (result == NULL && err->from == VIR_FROM_DOMAIN)
        leaving->is_current = true;
    if (vq_leaving_serves(guest) && leaving->is_current) {
        vq_leaving_serve_changed(guest);
        return;
    }
    vq_leaving_look(guest);
    if (guest->migration != NULL && is_unknown(leaving))
        (void)uv_timer_start(&leaving->wait_timer, ask_again, VQ_LEAVING_RETRY_MS, 0);
}

static void propose(struct vq_qemu_guest *guest)
{
    struct vq_leaving *leaving = vq_leaving_of(guest);
    const struct vq_migration *migration = guest->migration;

    if (!is_unknown(leaving) || leaving->is_asking)
        return; /* known; or the answer that is awaited asks again */
    if (!leaving->wants_commit && VQ_FAILPOINT("qemu.migrate.out.cancel")) {
        (void)uv_timer_start(&leaving->wait_timer, ask_again, VQ_LEAVING_RETRY_MS, 0);
        return;
    }
    leaving->is_asking = true;
    if (leaving->wants_commit)
        vq_migrate_propose_commit(guest, migration->peer, answered, asking_new(guest));
    else
        vq_migrate_propose_cancel(guest->qemu->host, guest->uuid, migration->peer, migration->run, answered, asking_new(guest));
}

void vq_leaving_cancel_move(struct vq_qemu_guest *guest)
{
    vq_leaving_of(guest)->wants_commit = false;
    propose(guest);
}

void vq_leaving_commit_move(struct vq_qemu_guest *guest)
{
    struct vq_leaving *leaving = vq_leaving_of(guest);

    leaving->is_deciding = leaving->wants_commit = true;
    propose(guest);
}

/* ---- When nothing depends on it any more ---- */

static void forgotten(const struct vq_proposal_result *result, const struct vq_error *err, void *data)
{
    (void)result;
    (void)data;
    if (err != NULL) /* refused most of the time: the destination was quicker, and if not, it comes to it */
        vq_log(DEBUG, "migrate.out", "the end of a move: %s", err->message);
}

void vq_leaving_forget_move(struct vq_qemu *qemu, const uint8_t uuid[VQ_UUID_BYTES], uint64_t peer, uint64_t run)
{
    vq_migrate_propose_cancel(qemu->host, uuid, peer, run, forgotten, NULL);
}
