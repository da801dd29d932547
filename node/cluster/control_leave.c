/* leave and remove: a node goes, by its own wish or by another's.
 *
 *     hand over the lead (when it is ours) ──► NodeRemove committed ──► consensus lets go of the node ──► it stands alone
 */
#define VQ_FROM VIR_FROM_NONE
#include <stdlib.h>
#include <string.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "node/cluster/cluster.h"
#include "node/cluster/control_state.h"
#include "node/mesh/propose.h"

enum { HAND_OVER_MS = 10000, LET_GO_MS = 8000 };

static uint32_t domains_of(const struct vq_daemon *daemon, uint64_t node)
{
    struct vq_store_view *view;
    struct vq_store_cursor *cursor = NULL;
    const struct vq_domain_head *head;
    struct vq_error ignored = VQ_ERROR_INIT;
    uint32_t count = 0;

    if (vq_store_view_begin(daemon->store, &view, &ignored) < 0)
        return 0;
    while ((head = vq_store_domain_next(view, &cursor)) != NULL)
        count += head->owner == node;
    vq_store_view_end(view);
    return count;
}

/* ---- The change itself ---- */

static void propose_remove(struct vq_control_client *client, vq_raft_propose_cb done)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__NodeRemove remove = VQ__NODE_REMOVE__INIT;

    remove.id = client->node;
    command.change_case = VQ__COMMAND__CHANGE_NODE_REMOVE;
    command.node_remove = &remove;
    vq_propose(client->cluster->daemon, &command, client->request->timeout_ms, done, client);
}

/* ---- leave ---- */

static void left(const struct vq_error *err, void *data)
{
    struct vq_control_client *client = data;

    if (err != NULL)
        vq_control_fail_with(client, err);
    else
        vq_control_text(client, "this host stands alone now; its guests are still here");
}

static void stand_alone(struct vq_control_client *client)
{
    struct vq_error err = VQ_ERROR_INIT;

    client->tick = NULL;
    if (client->cluster->move != NULL)
        vq_control_text(client, "this host is leaving already; its guests stay here");
    else if (vq_move_start(client->cluster, vq_identity_lone(client->cluster->daemon), left, client, &err) < 0)
        vq_control_fail_with(client, &err);
}

/* The leader takes us out of the configuration; once it has, it says so, and nothing of ours is needed there any more. */
static void wait_until_let_go(struct vq_control_client *client)
{
    const struct vq_cluster *cluster = client->cluster;

    if (!vq_identity_is_member(cluster->self)) {
        client->tick = NULL;
        vq_control_text(client, "this host stands alone now; its guests are still here");
    } else if (cluster->is_let_go || cluster->daemon->raft_status.n_members <= 1 ||
               uv_now(cluster->daemon->loop) >= client->deadline_ms) {
        stand_alone(client);
    }
}

static void leave_proposed(enum vq_raft_outcome outcome, const struct vq_result *result, const struct vq_error *err,
                           void *data)
{
    struct vq_control_client *client = data;

    if (vq_control_is_refused(client, outcome, result, err))
        return;
    vq_control_progress(client, "waiting for the cluster to let go of this node");
    client->deadline_ms = uv_now(client->cluster->daemon->loop) + LET_GO_MS;
    client->tick = wait_until_let_go;
}

static void wait_for_new_leader(struct vq_control_client *client)
{
    const struct vq_daemon *daemon = client->cluster->daemon;

    if (!daemon->raft_status.is_leader && daemon->raft_status.leader != 0 &&
        daemon->raft_status.leader != daemon->node_id) {
        client->tick = NULL;
        propose_remove(client, leave_proposed);
    } else if (uv_now(daemon->loop) >= client->deadline_ms) {
        client->tick = NULL;
        vq_control_fail(client, VQ_E_NO_SUCCESSOR, "no other node could take over the lead; nothing was changed");
    }
}

static void handed_over(enum vq_raft_outcome outcome, const struct vq_error *err, void *data)
{
    (void)outcome;
    (void)data; /* wait_for_new_leader() sees what came of it */
    if (err != NULL && err->code != VIR_ERR_OK)
        vq_log(WARN, "leave.transfer", "%s", err->message);
}

static bool has_other_voters(const struct vq_daemon *daemon)
{
    for (size_t i = 0; i < daemon->raft_status.n_members; i++)
        if (daemon->raft_status.members[i].id != daemon->node_id && daemon->raft_status.members[i].role == VQ_RAFT_VOTER)
            return true;
    return false;
}

static void leave_cluster(struct vq_control_client *client)
{
    struct vq_daemon *daemon = client->cluster->daemon;

    client->node = daemon->node_id;
    if (daemon->raft_status.is_leader && has_other_voters(daemon)) {
        vq_control_progress(client, "handing over the lead");
        client->deadline_ms = uv_now(daemon->loop) + HAND_OVER_MS;
        client->tick = wait_for_new_leader;
        vq_raft_transfer(daemon->raft, 0, handed_over, NULL);
    } else {
        propose_remove(client, leave_proposed);
    }
}

void vq_control_leave(struct vq_control_client *client)
{
    struct vq_cluster *cluster = client->cluster;
    struct vq_daemon *daemon = cluster->daemon;
    uint32_t n_domains = domains_of(daemon, daemon->node_id);
    bool is_forced = client->request->leave->force;

    if (!vq_identity_is_member(cluster->self)) {
        vq_control_text(client, "this host stands alone already");
    } else if (cluster->is_joining || vq_move_is_busy(cluster)) {
        vq_control_fail(client, VQ_E_BUSY, "this node is changing its cluster already");
    } else if (cluster->removed_since_ms != 0 || cluster->n_members <= 1 ||
               (is_forced && !vq_propose_has_quorum(daemon))) {
        stand_alone(client); /* nobody is there to be told, or to be asked */
    } else if (n_domains > 0 && !is_forced) {
        VQ_AUTOFREE char *text = vq_asprintf("guests belong to this node (%u): undefine them, or take them along with "
                                             "--force", n_domains);
        vq_control_fail(client, VQ_E_HAS_GUESTS, text);
    } else {
        leave_cluster(client);
    }
}

/* ---- remove ---- */

static void remove_proposed(enum vq_raft_outcome outcome, const struct vq_result *result, const struct vq_error *err,
                            void *data)
{
    struct vq_control_client *client = data;

    if (vq_control_is_refused(client, outcome, result, err))
        return;
    VQ_AUTOFREE char *text = vq_asprintf("%s is removed; its certificate is not accepted any more",
                                         client->request->remove->node);
    vq_control_text(client, text);
}

void vq_control_remove(struct vq_control_client *client)
{
    const struct vq_cluster *cluster = client->cluster;
    const Vq__ControlRemove *remove = client->request->remove;
    const struct vq_cluster_member *member = vq_cluster_member_by_name(cluster, remove->node);
    VQ_AUTOFREE char *text = NULL;

    if (!vq_identity_is_member(cluster->self)) {
        vq_control_fail(client, VQ_E_NO_CLUSTER, "this host is in no cluster");
        return;
    }
    if (member == NULL || member->removed_at_ms != 0) {
        text = vq_asprintf("cluster %s has no node '%s'", cluster->self->cluster_name, remove->node);
        vq_control_fail(client, VQ_E_NO_NODE, text);
        return;
    }
    if (member->id == cluster->self->node_id) {
        vq_control_fail(client, VQ_E_SELF, "that is this node: virtquorum leave");
        return;
    }
    uint32_t n_domains = domains_of(cluster->daemon, member->id);
    if (n_domains > 0 && !remove->force) {
        text = vq_asprintf("guests belong to %s (%u): undefine them, or say --force (their definitions stay)",
                           member->name, n_domains);
        vq_control_fail(client, VQ_E_HAS_GUESTS, text);
        return;
    }
    client->node = member->id;
    propose_remove(client, remove_proposed);
}
