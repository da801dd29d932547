/* Guests of nodes that are no longer members: the leader reports them as ended, since nobody else will. Whoever removed
 * the node has said that they do not run on, or that they went along with it. Their definitions stay, and can be
 * undefined from any node. */
#define VQ_FROM VIR_FROM_NONE
#include <libvirt/libvirt.h>

#include "conf/base/log.h"
#include "node/cluster/cluster.h"
#include "node/cluster/cluster_state.h"
#include "node/mesh/propose.h"

enum { REPORTS_AT_ONCE = 64 };

static void reported(enum vq_raft_outcome outcome, const struct vq_result *result, const struct vq_error *err, void *data)
{
    struct vq_daemon *daemon = data;

    (void)outcome;
    (void)result;
    (void)err; /* the next look finds those that are left */
    if (daemon->cluster != NULL)
        daemon->cluster->n_orphan_reports--;
}

static void report(struct vq_cluster *cluster, const struct vq_domain_head *head)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainState state = VQ__DOMAIN_STATE__INIT;

    vq_log(WARN, "cluster.orphan", "domain='%s': its node %llu was removed, shown as ended", head->name,
           (unsigned long long)head->owner);
    state.uuid = (ProtobufCBinaryData){16, (uint8_t *)head->uuid};
    state.node = head->owner;
    state.run = head->run;
    state.state = VIR_DOMAIN_SHUTOFF;
    state.reason = VIR_DOMAIN_SHUTOFF_UNKNOWN;
    state.id = -1;
    state.gone = (head->flags & VQ_DOMAIN_PERSISTENT) == 0;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_STATE;
    command.domain_state = &state;
    cluster->n_orphan_reports++;
    vq_propose(cluster->daemon, &command, 0, reported, cluster->daemon);
}

/* On its way to a node that is here: that one knows whether it has all of the guest, and ends the migration one way or the
 * other. */
static bool is_arriving(const struct vq_daemon *daemon, const struct vq_domain_head *head)
{
    return head->moving_to != 0 && vq_cluster_is_online(daemon, head->moving_to);
}

void vq_orphans_tick(struct vq_cluster *cluster)
{
    struct vq_daemon *daemon = cluster->daemon;
    struct vq_store_view *view;
    struct vq_store_cursor *cursor = NULL;
    const struct vq_domain_head *head;
    struct vq_error ignored = VQ_ERROR_INIT;
    unsigned n_arriving = 0;

    if (!cluster->may_have_orphans || !daemon->raft_status.is_leader || !cluster->has_seen_self ||
        cluster->n_orphan_reports > 0 || vq_store_view_begin(daemon->store, &view, &ignored) < 0)
        return;
    while (cluster->n_orphan_reports < REPORTS_AT_ONCE && (head = vq_store_domain_next(view, &cursor)) != NULL)
        if ((head->id >= 0 || (head->flags & VQ_DOMAIN_CLAIMED) != 0) && vq_cluster_member(cluster, head->owner) == NULL) {
            if (is_arriving(daemon, head))
                n_arriving++;
            else
                report(cluster, head);
        }
    vq_store_cursor_end(&cursor);
    vq_store_view_end(view);
    cluster->may_have_orphans = cluster->n_orphan_reports > 0 || n_arriving > 0;
}
