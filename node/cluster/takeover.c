/* Who may become the owner of what a removed node has left. */
#define VQ_FROM VIR_FROM_NONE
#include "node/cluster/takeover.h"

#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "node/cluster/cluster.h"
#include "node/cluster/cluster_state.h"

#define HEARD_TABLE "cluster.heard" /* node id -> unix time in ms, of its own store: what this node knows, not what all know */

static uint64_t heard_at_ms(const struct vq_cluster *cluster, uint64_t node)
{
    VQ_AUTOFREE void *bytes = NULL;
    struct vq_error ignored = VQ_ERROR_INIT;
    uint64_t when = 0;
    size_t length;

    if (vq_local_get(cluster->daemon->local, HEARD_TABLE, &node, sizeof(node), &bytes, &length, &ignored) > 0 &&
        length == sizeof(when))
        memcpy(&when, bytes, sizeof(when));
    return when;
}

static bool owns_anything(const struct vq_cluster *cluster, uint64_t node)
{
    struct vq_store_view *view;
    struct vq_store_cursor *cursor = NULL;
    const struct vq_domain_head *head;
    struct vq_error ignored = VQ_ERROR_INIT;
    bool is_found = false;

    if (vq_store_view_begin(cluster->daemon->store, &view, &ignored) < 0)
        return true; /* better one note too many */
    while (!is_found && (head = vq_store_domain_next(view, &cursor)) != NULL)
        is_found = head->owner == node;
    vq_store_cursor_end(&cursor);
    vq_store_view_end(view);
    return is_found;
}

void vq_takeover_heard(struct vq_cluster *cluster, uint64_t node)
{
    uint64_t now = vq_cluster_unix_ms();
    struct vq_error err = VQ_ERROR_INIT;

    /* One that is about to join has nothing; one that knocks again is known. */
    if (node == cluster->last_heard || heard_at_ms(cluster, node) != 0 || !owns_anything(cluster, node))
        return;
    if (vq_local_put(cluster->daemon->local, HEARD_TABLE, &node, sizeof(node), &now, sizeof(now), true, &err) < 0)
        vq_log(WARN, "takeover.heard", "node=%llu: %s", (unsigned long long)node, err.message);
    else
        cluster->last_heard = node;
}

static int check_member(const struct vq_cluster *cluster, const struct vq_domain_head *head,
                        const struct vq_cluster_member *member, struct vq_error *err)
{
    struct vq_error since = VQ_ERROR_INIT;

    if (member->removed_at_ms != 0)
        return vq_error_set(err, VIR_ERR_OPERATION_DENIED, "%s is just being removed: try again in a few seconds", member->name);
    if (vq_cluster_is_online(cluster->daemon, member->id))
        return vq_error_set(err, VIR_ERR_OPERATION_DENIED, "'%s' belongs to %s, which is here: virtquorum migrate --offline %s %s", head->name,
                            member->name, head->name, cluster->self->node_name);
    (void)vq_cluster_unreachable(cluster->daemon, member->id, &since);
    return vq_error_set(err, VIR_ERR_OPERATION_DENIED,
                        "'%s' belongs to %s: that is no proof that it has stopped. When %s is off for good: virtquorum remove %s "
                        "--force, then again", head->name, since.message, member->name, member->name);
}

int vq_takeover_check(const struct vq_cluster *cluster, const struct vq_domain_head *head, bool is_forced, struct vq_error *err)
{
    const struct vq_cluster_member *member = vq_cluster_member(cluster, head->owner);
    uint64_t heard_ms;
    char when[32] = "?";
    struct tm tm;

    if (head->owner == cluster->daemon->node_id)
        return vq_error_set(err, VIR_ERR_OPERATION_DENIED, "'%s' belongs to this node already", head->name);
    if (member != NULL)
        return check_member(cluster, head, member, err);
    if (head->id >= 0 || (head->flags & VQ_DOMAIN_CLAIMED) != 0 || head->moving_to != 0)
        return vq_error_set(err, VIR_ERR_OPERATION_DENIED,
                            "'%s' is not shown as ended yet: the leader does that in a moment, try again", head->name);
    heard_ms = is_forced ? 0 : heard_at_ms(cluster, head->owner);
    if (heard_ms == 0)
        return 0;
    time_t heard_s = (time_t)(heard_ms / 1000);
    if (localtime_r(&heard_s, &tm) != NULL)
        (void)strftime(when, sizeof(when), "%Y-%m-%d %H:%M:%S", &tm);
    return vq_error_set(err, VIR_ERR_OPERATION_DENIED,
                        "the node that '%s' belonged to was heard of after it was removed (%s): it stands alone, and may run it. When you "
                        "are sure that it does not: --force", head->name, when);
}
