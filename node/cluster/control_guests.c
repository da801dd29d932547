/* `virtquorum guests`: all guests as this node shows them, and where they are. */
#define VQ_FROM VIR_FROM_NONE
#include <stdlib.h>

#include "conf/base/memory.h"
#include "node/cluster/cluster.h"
#include "node/cluster/control_state.h"
#include "node/publish.h"

static Vq__GuestStatus *guest_status(const struct vq_cluster *cluster, const struct vq_domain_info *info)
{
    const struct vq_daemon *daemon = cluster->daemon;
    const struct vq_cluster_member *owner = vq_cluster_member(cluster, info->owner);
    Vq__GuestStatus *guest = vq_new(Vq__GuestStatus);
    const char *owner_name = info->owner == daemon->node_id ? daemon->node_name : owner == NULL ? "" : owner->name;

    vq__guest_status__init(guest);
    guest->name = vq_strdup(info->name);
    guest->uuid.data = vq_memdup(info->uuid, sizeof(info->uuid));
    guest->uuid.len = sizeof(info->uuid);
    guest->id = info->id;
    guest->state = info->state;
    guest->owner = info->owner;
    guest->owner_name = vq_strdup(owner_name);
    guest->owner_online = vq_cluster_is_online(daemon, info->owner);
    guest->persistent = (info->flags & VQ_INFO_PERSISTENT) != 0;
    guest->autostart = (info->flags & VQ_INFO_AUTOSTART) != 0;
    guest->memory_kib = info->memory_kib;
    guest->vcpus = info->vcpus;
    return guest;
}

/* of_node 0: all. */
static void collect(const struct vq_cluster *cluster, struct vq_store_view *view, uint64_t of_node,
                    Vq__ControlReply *reply)
{
    struct vq_store_cursor *cursor = NULL;
    const struct vq_domain_head *head;
    struct vq_domain_info info;

    while ((head = vq_store_domain_next(view, &cursor)) != NULL) {
        if ((of_node != 0 && head->owner != of_node) || !vq_overlay_info(cluster->daemon, head, &info))
            continue;
        VQ_GROW(reply->guests, reply->n_guests);
        reply->guests[reply->n_guests++] = guest_status(cluster, &info);
    }
}

/* 0: there is none of that name. */
static uint64_t node_of(const struct vq_cluster *cluster, const char *name)
{
    const struct vq_cluster_member *member = vq_cluster_member_by_name(cluster, name);

    if (vq_streq(name, cluster->daemon->node_name))
        return cluster->daemon->node_id;
    return member == NULL || member->removed_at_ms != 0 ? 0 : member->id;
}

void vq_control_guests(struct vq_control_client *client)
{
    const struct vq_cluster *cluster = client->cluster;
    const char *name = client->request->guests->node;
    uint64_t of_node = name[0] == '\0' ? 0 : node_of(cluster, name);
    Vq__ControlReply reply = VQ__CONTROL_REPLY__INIT;
    struct vq_store_view *view;
    struct vq_error err = VQ_ERROR_INIT;

    if (name[0] != '\0' && of_node == 0) {
        VQ_AUTOFREE char *text = vq_asprintf("there is no node '%s'", name);
        vq_control_fail(client, VQ_E_NO_NODE, text);
        return;
    }
    if (vq_store_view_begin(cluster->daemon->store, &view, &err) < 0) {
        vq_control_fail_with(client, &err);
        return;
    }
    collect(cluster, view, of_node, &reply);
    vq_store_view_end(view);
    Vq__GuestStatus **guests = reply.guests;
    size_t n_guests = reply.n_guests;
    vq_control_done(client, &reply);
    for (size_t i = 0; i < n_guests; i++)
        vq__guest_status__free_unpacked(guests[i], NULL);
    free(guests);
}
