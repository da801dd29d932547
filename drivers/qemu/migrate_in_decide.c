/* The destination and the log: one of the two ends of a move is applied, and that one decides.
 *
 * The source and we may both propose an end, and a proposal may be applied although its answer was lost. So nothing is
 * concluded from an answer: the state is looked at, and as long as the move stands in it, an end is proposed again.
 * Right after a start of the daemon the state may be older than what this node had seen before: one in which the move does
 * not stand counts only when it is not older than the move. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "drivers/qemu/migrate_in.h"

/* Whose answer it is: the guest may be gone when it comes, and the driver may have stopped. */
struct asking {
    struct vq_driver *driver;
    uint8_t uuid[VQ_UUID_BYTES];
    uint64_t run;
};

/* A refusal comes from the log as well, and what stands before it there is applied; any other error says nothing. */
static bool is_from_log(const struct vq_proposal_result *result, const struct vq_error *err)
{
    return result != NULL || err->from == VIR_FROM_DOMAIN;
}

/* Without a run number there is no QEMU yet: if the move is entered later, nothing here knows of it, and it is ended then. */
static bool is_new_enough(const struct vq_qemu_guest *guest, const struct vq_domain_info *info)
{
    const struct vq_incoming *incoming = guest->migration->side;
    uint64_t run = guest->migration->run;

    return incoming->was_claimed || incoming->is_current || run == 0 || info->last_move >= run || info->run >= run;
}

/* What is applied. A record may be older than the move: a daemon that died while it asked for it knows no run number. */
static enum vq_incoming_fate fate_of(struct vq_qemu_guest *guest)
{
    const struct vq_driver_host *host = guest->qemu->host;
    struct vq_migration *migration = guest->migration;
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_domain_info info = { 0 };

    if (!host->domain_find(guest->uuid, false, arena, &info))
        return is_new_enough(guest, &info) ? VQ_INCOMING_NOT_OURS : VQ_INCOMING_OPEN;
    if (info.moving_to == host->node_id && migration->run == 0)
        migration->run = info.moving_run;
    if (info.owner == host->node_id && info.run == migration->run && migration->run != 0) {
        guest->generation = info.generation;
        guest->id = info.id;
        return VQ_INCOMING_OURS;
    }
    if (info.moving_to == host->node_id && info.moving_run == migration->run)
        return VQ_INCOMING_OPEN;
    return is_new_enough(guest, &info) ? VQ_INCOMING_NOT_OURS : VQ_INCOMING_OPEN;
}

static void propose_again(uv_timer_t *timer);

void vq_incoming_look(struct vq_qemu_guest *guest)
{
    struct vq_incoming *incoming = vq_incoming_of(guest);

    if (incoming->fate != VQ_INCOMING_OPEN || guest->ticket != NULL)
        return; /* known already; or DomainMove has not been answered yet, which comes first */
    incoming->fate = fate_of(guest);
    if (incoming->fate != VQ_INCOMING_OPEN) {
        (void)uv_timer_stop(incoming->timer);
        vq_log(INFO, "migrate.in", "domain=%s run=%llu: the log says that it is %s", guest->name,
               (unsigned long long)guest->migration->run,
               incoming->fate == VQ_INCOMING_OURS ? "this node's now" : "not this node's");
        vq_incoming_decided(guest);
    } else if (incoming->wants_end && !incoming->is_asking) {
        (void)uv_timer_start(incoming->timer, propose_again, VQ_INCOMING_RETRY_MS, 0);
    }
}

/* ---- Proposing ---- */

static void end_answered(const struct vq_proposal_result *result, const struct vq_error *err, void *data)
{
    struct asking *asking = data;
    struct vq_qemu *qemu = asking->driver->state;
    struct vq_qemu_guest *guest = qemu != NULL ? vq_qemu_guest_find(qemu, asking->uuid) : NULL;
    struct vq_incoming *incoming;

    if (guest == NULL || !vq_migrate_is_incoming(guest) || guest->migration->run != asking->run) {
        free(asking);
        return;
    }
    free(asking);
    incoming = vq_incoming_of(guest);
    incoming->is_asking = false;
    incoming->is_current = incoming->is_current || is_from_log(result, err);
    if (result == NULL && is_from_log(result, err)) { /* most of the time the other side was quicker, and that is known now */
        vq_log(INFO, "migrate.in", "domain=%s: the %s was refused: %s", guest->name,
               incoming->wants_commit ? "take-over" : "cancel", err->message);
    } else if (result == NULL) {
        vq_log(WARN, "migrate.in", "domain=%s: the %s was not entered, or it is not known whether: %s", guest->name,
               incoming->wants_commit ? "take-over" : "cancel", err->message);
    }
    /* Refused for another reason than that the move is over: it will not get better. */
    if (result == NULL && incoming->wants_commit && guest->qemu->host->has_quorum() &&
        ++incoming->commits_refused >= VQ_INCOMING_COMMIT_TRIES) {
        incoming->failure = *err;
        incoming->wants_commit = false;
    }
    vq_incoming_look(guest);
}

static void propose(struct vq_qemu_guest *guest)
{
    struct vq_incoming *incoming = vq_incoming_of(guest);
    struct asking *asking;

    if (incoming->wants_commit ? VQ_FAILPOINT("qemu.migrate.in.commit") : VQ_FAILPOINT("qemu.migrate.in.cancel")) {
        (void)uv_timer_start(incoming->timer, propose_again, VQ_INCOMING_RETRY_MS, 0);
        return;
    }
    asking = vq_new(struct asking);
    *asking = (struct asking){ .driver = guest->qemu->driver, .run = guest->migration->run };
    memcpy(asking->uuid, guest->uuid, sizeof(asking->uuid));
    incoming->is_asking = true;
    if (incoming->wants_commit)
        vq_migrate_propose_commit(guest, guest->qemu->host->node_id, end_answered, asking);
    else
        vq_migrate_propose_cancel(guest->qemu->host, guest->uuid, guest->qemu->host->node_id, guest->migration->run,
                                  end_answered, asking);
}

static void propose_again(uv_timer_t *timer)
{
    struct vq_incoming *incoming = timer->data;

    if (incoming->fate == VQ_INCOMING_OPEN && incoming->wants_end && !incoming->is_asking)
        propose(incoming->guest);
}

static void want(struct vq_qemu_guest *guest, bool commit)
{
    struct vq_incoming *incoming = vq_incoming_of(guest);

    incoming->wants_end = true;
    incoming->wants_commit = commit;
    (void)uv_timer_stop(incoming->timer);
    if (incoming->fate == VQ_INCOMING_OPEN && !incoming->is_asking)
        propose(guest); /* else the answer that is awaited comes first, and then this one's turn, if it is still open */
}

void vq_incoming_commit(struct vq_qemu_guest *guest)
{
    want(guest, true);
}

void vq_incoming_cancel(struct vq_qemu_guest *guest)
{
    want(guest, false);
}

/* ---- Moves that nobody here knows of ---- */

static void disowned(const struct vq_proposal_result *result, const struct vq_error *err, void *data)
{
    (void)result;
    (void)data;
    if (err != NULL)
        vq_log(WARN, "migrate.in", "a move to this node that nothing here knows of: %s", err->message);
}

void vq_incoming_disown(struct vq_qemu *qemu, const struct vq_domain_info *info)
{
    vq_log(WARN, "migrate.in", "domain=%s run=%llu: it is said to move to this node, and nothing of it is here", info->name,
           (unsigned long long)info->moving_run);
    vq_migrate_propose_cancel(qemu->host, info->uuid, qemu->host->node_id, info->moving_run, disowned, NULL);
}
