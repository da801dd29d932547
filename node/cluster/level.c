/* Feature levels of the members, from the replicated table. */
#define VQ_FROM VIR_FROM_NONE
#include "node/cluster/level.h"

#include "conf/base/failpoint.h"
#include "node/daemon.h"
#include "proto/cluster.pb-c.h"
#include "proto/level.h"

uint32_t vq_level_own(void)
{
    return VQ_FAILPOINT("cluster.level") ? 1 : VQ_FEATURE_LEVEL; /* an old release, for tests */
}

/* The lowest level; *ret_node is the record that has it, NULL without any, the caller's. */
static uint32_t lowest(struct vq_store_view *view, Vq__NodeRecord **ret_node)
{
    Vq__NodeRecord *node, *low = NULL;
    uint64_t last = 0;

    while ((node = vq_store_node_next(view, last)) != NULL) {
        last = node->id;
        if (low == NULL || node->feature_level < low->feature_level) {
            vq_store_node_free(low);
            low = node;
        } else {
            vq_store_node_free(node);
        }
    }
    *ret_node = low;
    return low == NULL ? vq_level_own() : low->feature_level;
}

uint32_t vq_level_common(struct vq_store_view *view)
{
    Vq__NodeRecord *node;
    uint32_t level = lowest(view, &node);

    vq_store_node_free(node);
    return level;
}

int vq_level_check(const struct vq_daemon *daemon, const Vq__Command *command, struct vq_error *err)
{
    uint32_t needed = vq_command_level(command->change_case), level;
    struct vq_store_view *view;
    Vq__NodeRecord *node;

    if (needed <= 1)
        return 0;
    if (vq_store_view_begin(daemon->store, &view, err) < 0)
        return -1;
    level = lowest(view, &node);
    vq_store_view_end(view);
    if (level < needed)
        (void)vq_error_set(err, VIR_ERR_OPERATION_UNSUPPORTED,
                           "%s runs release %s, which does not know this change (it has feature level %u, %u is needed): upgrade it first",
                           node == NULL ? "this node" : node->name, node == NULL ? VQ_VERSION : node->version, level, needed);
    vq_store_node_free(node);
    return level < needed ? -1 : 0;
}
