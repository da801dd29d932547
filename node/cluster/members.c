/* The member table as this node knows it, given on to the mesh and to consensus. */
#define VQ_FROM VIR_FROM_NONE
#include <stdlib.h>
#include <string.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "node/cluster/cluster_state.h"
#include "node/cluster/takeover.h"
#include "node/mesh/mesh.h"

enum { TOLD_MS = 300 }; /* for the message to arrive before the connection is closed */

static void member_done(struct vq_cluster_member *member)
{
    for (char **address = member->addresses; address != NULL && *address != NULL; address++)
        free(*address);
    free(member->addresses);
    free(member->name);
}

static void members_done(struct vq_cluster_member *members, size_t n_members)
{
    for (size_t i = 0; i < n_members; i++)
        member_done(&members[i]);
    free(members);
}

const struct vq_cluster_member *vq_cluster_member(const struct vq_cluster *cluster, uint64_t id)
{
    for (size_t i = 0; i < cluster->n_members; i++)
        if (cluster->members[i].id == id)
            return &cluster->members[i];
    return NULL;
}

const struct vq_cluster_member *vq_cluster_member_by_name(const struct vq_cluster *cluster, const char *name)
{
    for (size_t i = 0; i < cluster->n_members; i++)
        if (vq_streq(cluster->members[i].name, name))
            return &cluster->members[i];
    return NULL;
}

static struct vq_cluster_member member_of(const Vq__NodeRecord *record)
{
    struct vq_cluster_member member = {.id = record->id, .name = vq_strdup(record->name), .wanted = record->role};

    member.addresses = vq_calloc(record->n_addresses + 1, sizeof(char *));
    for (size_t i = 0; i < record->n_addresses; i++)
        member.addresses[i] = vq_strdup(record->addresses[i]);
    return member;
}

static void add_member(struct vq_cluster_member **members, size_t *n_members, struct vq_cluster_member member)
{
    if (*n_members == VQ_RAFT_MEMBERS_MAX) {
        member_done(&member); /* the store refuses more: this is no record of ours */
        return;
    }
    VQ_GROW(*members, *n_members);
    (*members)[(*n_members)++] = member;
}

/* The replicated table, or what the join told while it is not here yet. */
static void read_members(struct vq_cluster *cluster, struct vq_cluster_member **members, size_t *n_members)
{
    struct vq_daemon *daemon = cluster->daemon;
    struct vq_store_view *view;
    struct vq_error err = VQ_ERROR_INIT;
    Vq__NodeRecord *record;
    uint64_t last = 0;
    bool has_self = false;

    if (vq_store_view_begin(daemon->store, &view, &err) < 0) {
        vq_log(ERROR, "cluster.members", "reading the member table: %s", err.message);
        return;
    }
    while ((record = vq_store_node_next(view, last)) != NULL) {
        last = record->id;
        has_self = has_self || record->id == daemon->node_id;
        add_member(members, n_members, member_of(record));
        vq_store_node_free(record);
    }
    vq_store_view_end(view);
    if (has_self) {
        cluster->has_seen_self = true;
        return;
    }
    if (cluster->has_seen_self && cluster->removed_since_ms == 0)
        cluster->removed_since_ms = uv_now(daemon->loop);
    if (cluster->has_seen_self)
        return;
    members_done(*members, *n_members);
    *members = NULL;
    *n_members = 0;
    for (size_t i = 0; i < cluster->self->n_seeds; i++)
        add_member(members, n_members, member_of(cluster->self->seeds[i]));
}

static bool contains(const struct vq_cluster_member *members, size_t n_members, uint64_t id)
{
    for (size_t i = 0; i < n_members; i++)
        if (members[i].id == id)
            return true;
    return false;
}

/* Those that were removed stay a while, so that consensus can let go of them and they can be told. */
static void keep_removed(struct vq_cluster *cluster, struct vq_cluster_member **members, size_t *n_members)
{
    for (size_t i = 0; i < cluster->n_members; i++) {
        struct vq_cluster_member *old = &cluster->members[i];
        if (contains(*members, *n_members, old->id)) {
            member_done(old);
            continue;
        }
        if (old->removed_at_ms == 0)
            old->removed_at_ms = uv_now(cluster->daemon->loop);
        add_member(members, n_members, *old);
    }
    free(cluster->members);
}

/* Give the table to those who connect. */
static void spread_members(struct vq_cluster *cluster)
{
    struct vq_daemon *daemon = cluster->daemon;
    VQ_AUTOFREE struct vq_mesh_member *mesh = vq_calloc(cluster->n_members + 1, sizeof(*mesh));
    VQ_AUTOFREE struct vq_raft_address *raft = vq_calloc(cluster->n_members + 1, sizeof(*raft));
    size_t n_raft = 0;

    for (size_t i = 0; i < cluster->n_members; i++) {
        const struct vq_cluster_member *member = &cluster->members[i];
        mesh[i] = (struct vq_mesh_member){member->id, member->name, (const char *const *)member->addresses};
        if (member->addresses[0] != NULL)
            raft[n_raft++] = (struct vq_raft_address){member->id, member->addresses[0]};
    }
    if (daemon->mesh != NULL)
        vq_mesh_set_members(daemon->mesh, mesh, cluster->n_members);
    if (daemon->raft != NULL && vq_identity_is_member(cluster->self))
        vq_raft_set_addresses(daemon->raft, raft, n_raft);
}

void vq_cluster_load_members(struct vq_cluster *cluster)
{
    struct vq_cluster_member *members = NULL;
    size_t n_members = 0;

    if (!vq_identity_is_member(cluster->self))
        return;
    read_members(cluster, &members, &n_members);
    keep_removed(cluster, &members, &n_members);
    cluster->members = members;
    cluster->n_members = n_members;
    spread_members(cluster);
}

void vq_cluster_drop_members(struct vq_cluster *cluster)
{
    members_done(cluster->members, cluster->n_members);
    cluster->members = NULL;
    cluster->n_members = 0;
}

static bool is_in_raft(const struct vq_daemon *daemon, uint64_t id)
{
    for (size_t i = 0; i < daemon->raft_status.n_members; i++)
        if (daemon->raft_status.members[i].id == id)
            return true;
    return false;
}

static void tell_removed(struct vq_cluster *cluster, uint64_t id)
{
    Vq__Mesh message = VQ__MESH__INIT;
    Vq__Removed removed = VQ__REMOVED__INIT;

    removed.id = id;
    removed.cluster_id = cluster->self->cluster_id;
    message.message_case = VQ__MESH__MESSAGE_REMOVED;
    message.removed = &removed;
    if (vq_mesh_send(cluster->daemon->mesh, id, &message)) /* offline: it will find its certificate refused */
        vq_takeover_heard(cluster, id);
}

/* True: this one is to be forgotten now. */
static bool removed_member_is_over(struct vq_cluster *cluster, struct vq_cluster_member *member, uint64_t now)
{
    bool is_late = now >= member->removed_at_ms + VQ_CLUSTER_REMOVED_MS;

    if (member->removed_at_ms == 0 || (is_in_raft(cluster->daemon, member->id) && !is_late))
        return false;
    if (member->told_at_ms != 0)
        return now >= member->told_at_ms + TOLD_MS;
    member->told_at_ms = now;
    if (member->id != cluster->daemon->node_id && cluster->daemon->mesh != NULL)
        tell_removed(cluster, member->id);
    return false;
}

void vq_cluster_forget_removed(struct vq_cluster *cluster)
{
    uint64_t now = uv_now(cluster->daemon->loop);
    size_t n_left = 0;
    bool has_changed = false;

    for (size_t i = 0; i < cluster->n_members; i++) {
        if (removed_member_is_over(cluster, &cluster->members[i], now)) {
            vq_log(INFO, "cluster.removed", "node=%s: its connections are closed", cluster->members[i].name);
            member_done(&cluster->members[i]);
            cluster->may_have_orphans = true;
            has_changed = true;
        } else {
            cluster->members[n_left++] = cluster->members[i];
        }
    }
    cluster->n_members = n_left;
    if (has_changed)
        spread_members(cluster);
}
