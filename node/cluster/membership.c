/* The leader's care for who votes: one change at a time, until the configuration is what the node table asks for. */
#define VQ_FROM VIR_FROM_NONE
#include <string.h>

#include "conf/base/log.h"
#include "node/cluster/cluster.h"
#include "node/cluster/cluster_state.h"
#include "node/cluster/settings.h"
#include "raft/roles.h"

enum {
    CAUGHT_UP_ENTRIES = 100,
    RETRY_MS = 2000, /* after a change that did not come about */
};

static struct vq_roles_node *find(struct vq_roles_node *nodes, size_t *n_nodes, uint64_t id)
{
    for (size_t i = 0; i < *n_nodes; i++)
        if (nodes[i].id == id)
            return &nodes[i];
    if (*n_nodes == VQ_RAFT_MEMBERS_MAX)
        return NULL;
    nodes[*n_nodes] = (struct vq_roles_node){.id = id};
    return &nodes[(*n_nodes)++];
}

static uint64_t offline_ms(const struct vq_daemon *daemon, uint64_t id)
{
    uint64_t now = vq_cluster_unix_ms(), since = vq_cluster_missing_since(daemon, id);

    return now > since ? now - since : 0;
}

static size_t collect(const struct vq_cluster *cluster, struct vq_roles_node *nodes)
{
    const struct vq_daemon *daemon = cluster->daemon;
    const struct vq_raft_status *status = &daemon->raft_status;
    size_t n_nodes = 0;

    for (size_t i = 0; i < cluster->n_members; i++) {
        struct vq_roles_node *node = find(nodes, &n_nodes, cluster->members[i].id);
        if (node == NULL)
            continue;
        node->is_member = cluster->members[i].removed_at_ms == 0;
        node->wants_spare = cluster->members[i].wanted == VQ__ROLE__ROLE_SPARE;
    }
    for (size_t i = 0; i < status->n_members; i++) {
        struct vq_roles_node *node = find(nodes, &n_nodes, status->members[i].id);
        if (node == NULL)
            continue;
        node->role = status->members[i].role;
        node->is_caught_up = node->id == daemon->node_id ||
                             status->members[i].match_index + CAUGHT_UP_ENTRIES >= status->last_index;
    }
    for (size_t i = 0; i < n_nodes; i++) {
        nodes[i].is_online = vq_cluster_takes_part(daemon, nodes[i].id);
        nodes[i].offline_ms = nodes[i].is_online ? 0 : offline_ms(daemon, nodes[i].id);
    }
    return n_nodes;
}

static void change_done(enum vq_raft_outcome outcome, const struct vq_error *err, void *data)
{
    struct vq_daemon *daemon = data;
    struct vq_cluster *cluster = daemon->cluster;

    if (cluster == NULL)
        return;
    cluster->is_changing = false;
    if (outcome == VQ_RAFT_APPLIED)
        return;
    cluster->change_retry_ms = uv_now(daemon->loop) + RETRY_MS;
    vq_log(WARN, "membership.change", "outcome=%d: %s, tried again", (int)outcome, err == NULL ? "not done" : err->message);
}

static const char *const action_names[] = {
    [VQ_ROLES_NOTHING] = "nothing", [VQ_ROLES_ADD] = "add", [VQ_ROLES_ASSIGN] = "assign", [VQ_ROLES_REMOVE] = "remove",
    [VQ_ROLES_TRANSFER] = "transfer",
};
static const char *const role_names[] = {
    [VQ_RAFT_NO_ROLE] = "none", [VQ_RAFT_VOTER] = "voter", [VQ_RAFT_STANDBY] = "standby", [VQ_RAFT_SPARE] = "spare",
};

static void take_step(struct vq_cluster *cluster, const struct vq_roles_step *step)
{
    struct vq_daemon *daemon = cluster->daemon;

    vq_log(INFO, "membership.step", "action=%s node=%llu role=%s", action_names[step->action],
           (unsigned long long)step->id, role_names[step->role]);
    cluster->is_changing = true;
    switch (step->action) {
    case VQ_ROLES_ADD:
        vq_raft_add(daemon->raft, step->id, change_done, daemon);
        break;
    case VQ_ROLES_ASSIGN:
        vq_raft_assign(daemon->raft, step->id, step->role, change_done, daemon);
        break;
    case VQ_ROLES_REMOVE:
        vq_raft_remove(daemon->raft, step->id, change_done, daemon);
        break;
    case VQ_ROLES_TRANSFER:
        vq_raft_transfer(daemon->raft, step->id, change_done, daemon);
        break;
    case VQ_ROLES_NOTHING:
        break;
    }
}

void vq_membership_tick(struct vq_cluster *cluster)
{
    struct vq_daemon *daemon = cluster->daemon;
    struct vq_roles_node nodes[VQ_RAFT_MEMBERS_MAX];

    if (daemon->raft == NULL || daemon->mesh == NULL || cluster->is_stopping || cluster->is_restarting ||
        !daemon->raft_status.is_leader || daemon->raft_status.is_changing_membership || cluster->is_changing ||
        uv_now(daemon->loop) < cluster->change_retry_ms)
        return;
    size_t n_nodes = collect(cluster, nodes);
    const struct vq_roles_policy policy = {.voters_max = (unsigned)vq_setting_value(daemon, VQ_SETTING_VOTERS),
                                           .replace_after_ms = vq_setting_value(daemon, VQ_SETTING_VOTER_REPLACE)};
    struct vq_roles_step step = vq_roles_next(nodes, n_nodes, daemon->node_id, &policy);
    if (step.action != VQ_ROLES_NOTHING)
        take_step(cluster, &step);
}
