/* What consensus looks like, told when it changes; positions in the log only now and then. */
#include <stdio.h>
#include <string.h>

#include "raft/internal.h"

enum { POSITIONS_EVERY_MS = 200 };

static enum vq_raft_role role_of(int role)
{
    switch (role) {
    case RAFT_VOTER:
        return VQ_RAFT_VOTER;
    case RAFT_STANDBY:
        return VQ_RAFT_STANDBY;
    case RAFT_SPARE:
        return VQ_RAFT_SPARE;
    default:
        return VQ_RAFT_NO_ROLE;
    }
}

static void fill_members(struct vq_core *core, struct vq_raft_status *status)
{
    const struct raft_configuration *configuration = &core->raft.configuration;
    bool is_leader = raft_state(&core->raft) == RAFT_LEADER;

    for (unsigned i = 0; i < configuration->n && i < VQ_RAFT_MEMBERS_MAX; i++) {
        struct vq_raft_member *member = &status->members[status->n_members++];
        raft_index match = 0;
        member->id = configuration->servers[i].id;
        member->role = role_of(configuration->servers[i].role);
        if (is_leader && raft_match_index(&core->raft, member->id, &match) == 0)
            member->match_index = match;
    }
}

static void fill(struct vq_core *core, struct vq_raft_status *status)
{
    const char *address;
    raft_id leader = 0;

    memset(status, 0, sizeof(*status));
    status->applied_index = vq_store_applied(core->store);
    (void)snprintf(status->problem, sizeof(status->problem), "%s",
                   core->problem[0] != '\0' ? core->problem
                   : core->has_no_space     ? "the disk of the log is full, no changes are taken"
                   : core->has_low_capacity ? "the disk of the log is nearly full"
                                            : "");
    if (!core->is_started)
        return;
    raft_leader(&core->raft, &leader, &address);
    status->is_running = true;
    status->is_leader = vq_core_leads(core);
    status->leader = leader;
    status->term = raft_current_term(&core->raft);
    status->commit_index = raft_commit_index(&core->raft);
    status->last_index = raft_last_index(&core->raft);
    status->own_role = role_of(raft_role(&core->raft));
    status->is_changing_membership = core->stage != VQ_STAGE_IDLE || core->change_queue != NULL;
    fill_members(core, status);
}

static bool differs_in_more_than_positions(const struct vq_raft_status *a, const struct vq_raft_status *b)
{
    if (a->is_running != b->is_running || a->is_leader != b->is_leader || a->leader != b->leader ||
        a->term != b->term || a->own_role != b->own_role || a->n_members != b->n_members ||
        a->is_changing_membership != b->is_changing_membership || strcmp(a->problem, b->problem) != 0)
        return true;
    for (size_t i = 0; i < a->n_members; i++)
        if (a->members[i].id != b->members[i].id || a->members[i].role != b->members[i].role)
            return true;
    return false;
}

void vq_core_status_turn(struct vq_core *core)
{
    struct vq_raft_status *told = core->told;

    fill(core, core->status);
    if (!differs_in_more_than_positions(core->status, told) &&
        (core->now_ms - core->told_ms < POSITIONS_EVERY_MS || memcmp(core->status, told, sizeof(*told)) == 0))
        return;
    core->told = core->status;
    core->status = told;
    core->told_ms = core->now_ms;
    core->callbacks->status(core->told, core->data);
}
