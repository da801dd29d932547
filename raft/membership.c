/* Membership: one change at a time, each a walk through stages, looked at once a turn.
 *
 *   idle ─► wait-snapshot ─► ready ─► changing ─┐       A change that takes several steps (spare, stand-by, voter)
 *     ▲                       ▲ │               │       comes back to ready until nothing is left to do.
 *     │ done                  │ ├─► catch-up ───┤
 *     └───────────────────────┴─┘◄──────────────┘       A leader that is to go hands over first: drain, transferring.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/log.h"
#include "raft/internal.h"

enum {
    SNAPSHOT_WAIT_MS = 10000, /* for a member that is receiving one; after that it is taken for dead */
    STEP_MS = 30000,          /* libraft gives up a dead stand-by after some ten seconds */
    CATCH_UP_MS = 10000,      /* without any progress */
    CATCH_UP_CLOSE = 100,     /* entries: near enough to the end for libraft's own rounds */
    NO_ROLE = -1,
};

const struct raft_server *vq_core_server(const struct vq_core *core, raft_id id)
{
    const struct raft_configuration *configuration = &core->raft.configuration;

    for (unsigned i = 0; i < configuration->n; i++)
        if (configuration->servers[i].id == id)
            return &configuration->servers[i];
    return NULL;
}

static unsigned count_voters(const struct vq_core *core)
{
    unsigned n = 0;

    for (unsigned i = 0; i < core->raft.configuration.n; i++)
        n += core->raft.configuration.servers[i].role == RAFT_VOTER;
    return n;
}

static int raft_role_of(enum vq_raft_role role)
{
    return role == VQ_RAFT_VOTER ? RAFT_VOTER : role == VQ_RAFT_STANDBY ? RAFT_STANDBY : RAFT_SPARE;
}

bool vq_core_is_transferring(const struct vq_core *core)
{
    return core->stage == VQ_STAGE_DRAIN || core->stage == VQ_STAGE_TRANSFERRING;
}

/* ---- Done ---- */

static void finish_with(struct vq_core *core, enum vq_raft_outcome outcome, const struct vq_error *err)
{
    struct vq_membership_change *change = core->change_queue;

    core->change_queue = change->next;
    if (core->change_queue == NULL)
        core->change_queue_end = &core->change_queue;
    core->n_change_queue--;
    core->stage = VQ_STAGE_IDLE;
    core->callbacks->changed(change->tag, outcome, err, core->data);
    free(change);
}

static void finish(struct vq_core *core, enum vq_raft_outcome outcome)
{
    struct vq_error none = {.code = VIR_ERR_OK};

    finish_with(core, outcome, &none);
}

static void refuse(struct vq_core *core, const char *fmt, ...) VQ_PRINTF(2, 3);
static void refuse(struct vq_core *core, const char *fmt, ...)
{
    struct vq_error err = VQ_ERROR_INIT;
    char text[256];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "%s", text);
    finish_with(core, VQ_RAFT_REFUSED, &err);
}

void vq_core_membership_fail(struct vq_core *core)
{
    while (core->change_queue != NULL)
        finish(core, core->stage == VQ_STAGE_CHANGING ? VQ_RAFT_UNKNOWN : VQ_RAFT_NOT_LEADER);
}

void vq_core_change(struct vq_core *core, enum vq_core_change kind, uint64_t id, enum vq_raft_role role, void *tag)
{
    struct vq_membership_change *change = vq_new(struct vq_membership_change);
    struct vq_error err = VQ_ERROR_INIT;

    change->kind = kind;
    change->id = id;
    change->role = role;
    change->tag = tag;
    if (core->n_change_queue >= VQ_CORE_CHANGES_MAX) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "%d changes of the membership wait already",
                           VQ_CORE_CHANGES_MAX);
        core->callbacks->changed(tag, VQ_RAFT_REFUSED, &err, core->data);
        free(change);
        return;
    }
    *core->change_queue_end = change;
    core->change_queue_end = &change->next;
    core->n_change_queue++;
}

/* ---- Steps ---- */

static void enter(struct vq_core *core, enum vq_change_stage stage, uint64_t limit_ms)
{
    core->stage = stage;
    core->stage_deadline_ms = core->now_ms + limit_ms;
}

static bool is_late(const struct vq_core *core)
{
    return core->now_ms >= core->stage_deadline_ms;
}

/* A member behind the beginning of our log gets the snapshot, or is about to. */
static bool some_member_needs_snapshot(const struct vq_core *core)
{
    for (unsigned i = 0; i < core->raft.configuration.n; i++) {
        const struct raft_server *server = &core->raft.configuration.servers[i];
        raft_index match;
        if (server->role != RAFT_SPARE && server->id != core->raft.id && server->id != core->change_queue->id &&
            raft_match_index(&core->raft, server->id, &match) == 0 && match < core->raft.trail.offset)
            return true;
    }
    return false;
}

/* What libraft said to a change. */
static void given(struct vq_core *core, int rv)
{
    switch (rv) {
    case 0:
        enter(core, VQ_STAGE_CHANGING, STEP_MS);
        return;
    case RAFT_CANTCHANGE: /* one is under way: the stage's deadline bounds the wait */
        core->raft.legacy.change = NULL;
        if (is_late(core))
            refuse(core, "another change of the membership does not come to an end");
        return;
    case RAFT_NOTLEADER:
        core->raft.legacy.change = NULL;
        finish(core, VQ_RAFT_NOT_LEADER);
        return;
    case RAFT_NOSPACE:
    case RAFT_BADID:
    case RAFT_BADROLE:
    case RAFT_NOTFOUND:
    case RAFT_DUPLICATEID:
    case RAFT_DUPLICATEADDRESS:
        core->raft.legacy.change = NULL; /* a refused assignment leaves its request behind */
        refuse(core, "node %" PRIu64 ": %s", core->change_queue->id, raft_strerror(rv));
        return;
    default:
        vq_core_fail(core, "changing the membership", rv);
        finish(core, VQ_RAFT_UNKNOWN);
    }
}

static void assign(struct vq_core *core, uint64_t id, int role)
{
    core->wanted_role = role;
    given(core, raft_assign(&core->raft, &core->change, id, role, NULL));
}

/* The voter with the most entries. */
static raft_id best_target(const struct vq_core *core)
{
    raft_index best_match = 0, match;
    raft_id best = 0;

    for (unsigned i = 0; i < core->raft.configuration.n; i++) {
        const struct raft_server *server = &core->raft.configuration.servers[i];
        if (server->role == RAFT_VOTER && server->id != core->raft.id &&
            raft_match_index(&core->raft, server->id, &match) == 0 && (best == 0 || match > best_match)) {
            best = server->id;
            best_match = match;
        }
    }
    return best;
}

static void hand_over(struct vq_core *core, raft_id target)
{
    const struct raft_server *server;

    if (target == 0)
        target = best_target(core);
    server = target == 0 ? NULL : vq_core_server(core, target);
    if (server == NULL || server->role != RAFT_VOTER) {
        refuse(core, target == 0 ? "there is no other voter to lead" : "node %llu is no voter", target);
        return;
    }
    core->transfer_target = target;
    enter(core, VQ_STAGE_DRAIN, 2 * (uint64_t)core->options.election_ms);
}

static void step_add(struct vq_core *core, const struct raft_server *server)
{
    char address[24];

    if (server != NULL && server->role != RAFT_SPARE) {
        finish(core, VQ_RAFT_APPLIED);
    } else if (server != NULL) {
        assign(core, server->id, RAFT_STANDBY); /* a spare receives nothing, so it could answer no reads */
    } else {
        (void)snprintf(address, sizeof(address), "%" PRIu64, core->change_queue->id);
        core->wanted_role = RAFT_SPARE;
        given(core, raft_add(&core->raft, &core->change, core->change_queue->id, address, NULL));
    }
}

static void step_promote(struct vq_core *core, const struct raft_server *server)
{
    raft_index match = 0;

    if (server->role == RAFT_SPARE) {
        assign(core, server->id, RAFT_STANDBY);
        return;
    }
    if (raft_match_index(&core->raft, server->id, &match) == 0 &&
        match + CATCH_UP_CLOSE >= raft_last_index(&core->raft)) {
        assign(core, server->id, RAFT_VOTER);
        return;
    }
    core->catch_up_match = match;
    enter(core, VQ_STAGE_CATCH_UP, CATCH_UP_MS);
}

static void step_assign(struct vq_core *core, const struct raft_server *server)
{
    int role = raft_role_of(core->change_queue->role);

    if (server == NULL)
        refuse(core, "node %" PRIu64 " is not a member", core->change_queue->id);
    else if (server->role == role)
        finish(core, VQ_RAFT_APPLIED);
    else if (role == RAFT_VOTER)
        step_promote(core, server);
    else if (server->role == RAFT_VOTER && count_voters(core) == 1)
        refuse(core, "node %" PRIu64 " is the only voter", core->change_queue->id);
    else if (server->id == core->raft.id)
        hand_over(core, 0);
    else
        assign(core, server->id, role);
}

static void remove_server(struct vq_core *core, uint64_t id)
{
    core->wanted_role = NO_ROLE;
    given(core, raft_remove(&core->raft, &core->change, id, NULL));
}

static void step_remove(struct vq_core *core, const struct raft_server *server)
{
    if (server == NULL)
        finish(core, VQ_RAFT_APPLIED);
    else if (server->role == RAFT_VOTER && count_voters(core) == 1)
        refuse(core, "node %" PRIu64 " is the only voter", core->change_queue->id);
    else if (server->id == core->raft.id)
        hand_over(core, 0);
    else
        remove_server(core, server->id);
}

static void step(struct vq_core *core)
{
    const struct vq_membership_change *change = core->change_queue;
    const struct raft_server *server = vq_core_server(core, change->id);

    switch (change->kind) {
    case VQ_CORE_ADD:
        step_add(core, server);
        break;
    case VQ_CORE_ASSIGN:
        step_assign(core, server);
        break;
    case VQ_CORE_REMOVE:
        step_remove(core, server);
        break;
    case VQ_CORE_TRANSFER:
        if (change->id == core->raft.id)
            finish(core, VQ_RAFT_APPLIED);
        else
            hand_over(core, change->id);
        break;
    }
}

/* ---- Stages ---- */

static void catch_up(struct vq_core *core)
{
    raft_index match = 0;

    if (raft_match_index(&core->raft, core->change_queue->id, &match) != 0 ||
        match + CATCH_UP_CLOSE >= raft_last_index(&core->raft)) {
        enter(core, VQ_STAGE_READY, STEP_MS);
    } else if (match > core->catch_up_match) {
        core->catch_up_match = match;
        enter(core, VQ_STAGE_CATCH_UP, CATCH_UP_MS);
    } else if (is_late(core)) {
        refuse(core, "node %" PRIu64 " does not catch up with the log", core->change_queue->id);
    }
}

/* A transfer under writes fails often, and each failed one refuses writes for an election timeout. */
static void drain(struct vq_core *core)
{
    raft_index match = 0;
    int rv;

    if (core->groups == NULL && raft_match_index(&core->raft, core->transfer_target, &match) == 0 &&
        match == raft_last_index(&core->raft)) {
        rv = raft_transfer(&core->raft, &core->transfer, core->transfer_target, NULL);
        if (rv != 0)
            refuse(core, "handing over to node %llu: %s", core->transfer_target, raft_strerror(rv));
        else
            enter(core, VQ_STAGE_TRANSFERRING, 4 * (uint64_t)core->options.election_ms);
    } else if (is_late(core)) {
        refuse(core, "node %llu is not complete enough to lead", core->transfer_target);
    }
}

static void transferring(struct vq_core *core)
{
    const char *address;
    raft_id leader;

    if (core->raft.transfer != NULL && !is_late(core))
        return;
    raft_leader(&core->raft, &leader, &address);
    if (leader != core->transfer_target)
        refuse(core, "node %llu did not take over", core->transfer_target);
    else /* a change about ourselves is the new leader's to make */
        finish(core, core->change_queue->kind == VQ_CORE_TRANSFER ? VQ_RAFT_APPLIED : VQ_RAFT_NOT_LEADER);
}

static void changing(struct vq_core *core)
{
    const struct raft_server *server = vq_core_server(core, core->change_queue->id);

    if (core->raft.legacy.change != NULL) {
        if (is_late(core))
            finish(core, VQ_RAFT_UNKNOWN);
        return;
    }
    if ((server == NULL ? NO_ROLE : server->role) == core->wanted_role)
        enter(core, VQ_STAGE_READY, STEP_MS);
    else /* libraft gave up a stand-by that was to vote */
        refuse(core, "node %" PRIu64 " is not reachable or too slow", core->change_queue->id);
}

void vq_core_membership_turn(struct vq_core *core)
{
    if (core->change_queue == NULL)
        return;
    if (core->stage == VQ_STAGE_TRANSFERRING) {
        transferring(core);
        return;
    }
    if (!vq_core_leads(core)) {
        if (!core->is_started || core->raft.state != RAFT_LEADER)
            vq_core_membership_fail(core);
        return; /* a new leader's barrier comes first */
    }
    switch (core->stage) {
    case VQ_STAGE_IDLE:
        enter(core, VQ_STAGE_WAIT_SNAPSHOT, SNAPSHOT_WAIT_MS);
        /* fall through */
    case VQ_STAGE_WAIT_SNAPSHOT:
        if (core->raft.legacy.change != NULL || (some_member_needs_snapshot(core) && !is_late(core)))
            return;
        enter(core, VQ_STAGE_READY, STEP_MS);
        /* fall through */
    case VQ_STAGE_READY:
        step(core);
        break;
    case VQ_STAGE_CHANGING:
        changing(core);
        break;
    case VQ_STAGE_CATCH_UP:
        catch_up(core);
        break;
    case VQ_STAGE_DRAIN:
        drain(core);
        break;
    case VQ_STAGE_TRANSFERRING:
        break;
    }
}
