/* The parts of membership together: start, stop, and what the mesh and consensus tell. */
#define VQ_FROM VIR_FROM_NONE
#include "node/cluster/cluster.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "node/cluster/certificate.h"
#include "node/cluster/cluster_state.h"
#include "node/cluster/control.h"
#include "node/cluster/evacuate.h"
#include "node/client/events.h"
#include "node/mesh/forward.h"
#include "node/cluster/join.h"
#include "node/cluster/takeover.h"
#include "node/cluster/level.h"
#include "node/mesh/mesh.h"
#include "node/mesh/propose.h"
#include "node/peer.h"
#include "node/publish.h"
#include "node/client/stream.h"
#include "proto/channel.h"
#include "proto/tls.h"

enum { TICKS_PER_SECOND = 1000 / VQ_CLUSTER_TICK_MS, SELF_REMOVED_MS = 1000 };

/* ---- What the mesh tells ---- */

/* Of the cluster: 0 when the store cannot be read. */
static uint64_t generation(const struct vq_daemon *daemon)
{
    struct vq_store_view *view;
    struct vq_error ignored = VQ_ERROR_INIT;
    uint64_t number;

    if (vq_store_view_begin(daemon->store, &view, &ignored) < 0)
        return 0;
    number = vq_store_view_generation(view);
    vq_store_view_end(view);
    return number;
}

/* One who knows less of the history than this node, which is in the table as far as it knows, may not know it yet. One
 * who went through a recovery that this node knows nothing of has a later history, however short. */
static bool knows_more(const struct vq_cluster *cluster, const Vq__Removed *removed)
{
    uint64_t own = generation(cluster->daemon);

    if (removed->applied == 0 || removed->generation > own)
        return true;
    return removed->generation == own && cluster->has_seen_self && removed->applied >= cluster->daemon->applied;
}

static void removed_received(struct vq_cluster *cluster, uint64_t node, const Vq__Removed *removed)
{
    const Vq__LocalNode *self = cluster->self;

    if (removed->id != self->node_id || removed->cluster_id.len != self->cluster_id.len ||
        memcmp(removed->cluster_id.data, self->cluster_id.data, self->cluster_id.len) != 0 || cluster->is_let_go)
        return;
    if (!knows_more(cluster, removed))
        return;
    vq_log(WARN, "cluster.removed", "node %llu says that this node was removed from the cluster", (unsigned long long)node);
    cluster->is_let_go = true;
    vq_proposals_applied(cluster->proposals, UINT64_MAX); /* no more will come: what is done there is done */
    if (cluster->removed_since_ms == 0)
        cluster->removed_since_ms = uv_now(cluster->daemon->loop);
}

static void mesh_message(uint64_t node, const Vq__Mesh *message, void *data)
{
    struct vq_cluster *cluster = data;

    switch (message->message_case) {
    case VQ__MESH__MESSAGE_CALL:
        vq_forward_received_call(cluster->forwards, node, message->call);
        break;
    case VQ__MESH__MESSAGE_REPLY:
        vq_forward_received_reply(cluster->forwards, node, message->reply);
        break;
    case VQ__MESH__MESSAGE_STREAM:
        vq_stream_mesh_received(cluster->daemon, node, message->stream);
        break;
    case VQ__MESH__MESSAGE_EVENT:
        vq_forward_received_event(cluster->daemon, node, message->event);
        break;
    case VQ__MESH__MESSAGE_PROPOSE:
        vq_proposals_received(cluster->proposals, node, message->propose);
        break;
    case VQ__MESH__MESSAGE_PROPOSED:
        vq_proposals_answered(cluster->proposals, node, message->proposed);
        break;
    case VQ__MESH__MESSAGE_CANCEL:
        vq_forward_received_cancel(cluster->forwards, node, message->cancel);
        break;
    case VQ__MESH__MESSAGE_REMOVED:
        removed_received(cluster, node, message->removed);
        break;
    default:
        break; /* of a later version, or the mesh's own */
    }
}

static void mesh_online(uint64_t node, void *data)
{
    struct vq_cluster *cluster = data;
    struct vq_mesh_peer peer = {0};

    (void)vq_mesh_find_peer(cluster->daemon->mesh, node, &peer); /* it is online: known */
    vq_forwards_node_back(cluster->forwards, node, peer.boot);
    vq_proposals_status_changed(cluster->proposals);
}

static void mesh_offline(uint64_t node, uint64_t since_unix_ms, const char *reason, void *data)
{
    struct vq_cluster *cluster = data;

    (void)since_unix_ms; /* the mesh keeps it, for whoever asks, and has logged the reason */
    (void)reason;
    vq_proposals_node_lost(cluster->proposals, node);
    vq_forwards_node_lost(cluster->forwards, node);
    vq_stream_mesh_lost(cluster->daemon, node);
    vq_peer_mesh_lost(cluster->daemon, node);
    if (cluster->daemon->events != NULL)
        vq_events_node_lost(cluster->daemon->events, node);
}

static void mesh_describe(Vq__Hello *hello, Vq__Ping *ping, void *data)
{
    const struct vq_cluster *cluster = data;

    const struct vq_raft_status *raft = &cluster->daemon->raft_status;
    bool is_stopped = vq_cluster_consensus_is_stopped(cluster->daemon, cluster->daemon->node_id);

    if (hello != NULL) {
        hello->applied = cluster->daemon->applied;
        hello->consensus_stopped = is_stopped;
        hello->consensus_problem = (char *)(uintptr_t)raft->problem;
    }
    if (ping == NULL)
        return;
    ping->consensus_stopped = is_stopped;
    ping->consensus_problem = (char *)(uintptr_t)raft->problem;
    ping->applied = cluster->daemon->applied;
    ping->free_memory_kib = cluster->free_memory_kib;
    ping->cpu_permille = cluster->cpu_permille;
    ping->domains_running = cluster->domains_running;
    ping->certificate_problem = (char *)(uintptr_t)cluster->certificate_problem;
}

static void drop_parts(const struct vq_channel_parts *take_parts)
{
    (void)close(take_parts->fd); /* a connection that came at the wrong moment */
    vq_tls_session_free(take_parts->tls);
    free(take_parts->input);
}

static void mesh_raft(const struct vq_channel_parts *take_parts, void *data)
{
    struct vq_cluster *cluster = data;

    if (cluster->daemon->raft == NULL || cluster->is_stopping)
        drop_parts(take_parts);
    else
        vq_raft_accept(cluster->daemon->raft, take_parts);
}

static void mesh_join(const struct vq_channel_parts *take_parts, void *data)
{
    struct vq_cluster *cluster = data;

    if (cluster->join_server == NULL)
        drop_parts(take_parts);
    else
        vq_join_server_accept(cluster->join_server, take_parts);
}

/* It has a certificate, so it was a member, or is about to be one; which of the two, it can tell itself. */
static bool mesh_stranger(uint64_t node, Vq__Removed *removed, void *data)
{
    struct vq_cluster *cluster = data;

    if (!cluster->has_seen_self || cluster->removed_since_ms != 0)
        return false;
    vq_takeover_heard(cluster, node);
    removed->id = node;
    removed->cluster_id = cluster->self->cluster_id;
    removed->applied = cluster->daemon->applied;
    removed->generation = generation(cluster->daemon);
    return true;
}

static const struct vq_mesh_callbacks mesh_callbacks = {
    .stranger = mesh_stranger,
    .message = mesh_message, .online = mesh_online, .offline = mesh_offline, .describe = mesh_describe,
    .raft = mesh_raft, .join = mesh_join,
};

/* ---- Port and consensus ---- */

static int load_credentials(struct vq_cluster *cluster, struct vq_error *err)
{
    const Vq__LocalNode *self = cluster->self;
    struct vq_tls_credentials *credentials;

    if (vq_tls_credentials_new(self->authority_pem, self->certificate_pem, self->key_pem, NULL, &credentials, err) < 0)
        return vq_error_wrap(err, "this node's own certificate");
    vq_tls_credentials_free(cluster->credentials);
    cluster->credentials = credentials;
    return 0;
}

int vq_cluster_open_port(struct vq_cluster *cluster, struct vq_error *err)
{
    struct vq_daemon *daemon = cluster->daemon;
    const Vq__LocalNode *self = cluster->self;
    VQ_AUTOFREE char *listen = NULL;
    const char *addresses[2] = {NULL, NULL};
    struct vq_mesh_options options = {
        .node_id = daemon->node_id, .node_name = daemon->node_name, .version = VQ_VERSION,
        .feature_level = vq_level_own(), .cluster_id = self->cluster_id.data, .boot = daemon->boot,
        .port = (uint16_t)self->port, .ping_ms = VQ_CLUSTER_PING_MS, .silence_ms = VQ_CLUSTER_SILENCE_MS,
    };

    assert(daemon->mesh == NULL);
    if (load_credentials(cluster, err) < 0)
        return -1;
    options.credentials = cluster->credentials;
    if (daemon->config.cluster_addr != NULL) {
        uint16_t port;
        if (vq_node_address_parse(daemon->config.cluster_addr, (uint16_t)self->port, &listen, &port, err) < 0)
            return vq_error_wrap(err, "address of the cluster port");
        addresses[0] = listen;
        options.listen = addresses;
    }
    if (vq_mesh_start(daemon->loop, &options, &mesh_callbacks, cluster, &daemon->mesh, err) < 0)
        return vq_error_wrap(err, "opening the cluster port");
    cluster->join_server = vq_join_server_new(cluster);
    return 0;
}

void vq_cluster_close_port(struct vq_cluster *cluster)
{
    struct vq_daemon *daemon = cluster->daemon;
    struct vq_mesh *mesh = vq_take(daemon->mesh);

    vq_join_server_free(vq_take(cluster->join_server));
    if (mesh != NULL)
        vq_mesh_stop(mesh);
    for (size_t i = 0; mesh != NULL && i < cluster->n_members; i++)
        if (cluster->members[i].id != daemon->node_id)
            mesh_offline(cluster->members[i].id, 0, "the cluster port was closed", cluster);
    vq_cluster_drop_members(cluster);
}

int vq_cluster_start_raft(struct vq_cluster *cluster, struct vq_error *err)
{
    static const struct vq_raft_callbacks callbacks = {vq_daemon_raft_status, vq_daemon_raft_applied};
    struct vq_daemon *daemon = cluster->daemon;
    VQ_AUTOFREE char *dir = vq_asprintf("%s/raft", daemon->config.state_dir);
    bool is_member = vq_identity_is_member(cluster->self);
    struct vq_raft_options options = {
        .node_id = daemon->node_id, .dir = dir, .store = daemon->store, .election_ms = daemon->config.election_ms,
        .bootstrap = !is_member, /* a member that lost its log must not found a second cluster */
        .credentials = is_member ? cluster->credentials : NULL,
    };

    return vq_raft_start(daemon->loop, &options, &callbacks, daemon, &daemon->raft, err);
}

void vq_cluster_adopt(struct vq_cluster *cluster, Vq__LocalNode *take_self)
{
    vq_identity_free(cluster->self);
    cluster->self = take_self;
    cluster->has_seen_self = false;
    cluster->removed_since_ms = 0;
    cluster->is_let_go = false;
    cluster->has_refreshed_record = false;
    cluster->is_changing = false;
    cluster->certificate_look_s = 0;
    cluster->certificate_problem[0] = '\0';
    vq_identity_use(cluster->daemon, take_self);
}

Vq__NodeRecord *vq_cluster_own_record(const struct vq_daemon *daemon, const Vq__LocalNode *self)
{
    Vq__NodeRecord record = VQ__NODE_RECORD__INIT;
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);

    (void)daemon;
    record.id = self->node_id;
    record.name = self->node_name;
    record.addresses = self->addresses;
    record.n_addresses = self->n_addresses;
    record.version = VQ_VERSION;
    record.feature_level = vq_level_own();
    record.certificate_pem = self->certificate_pem;
    record.cpus = (uint32_t)sysconf(_SC_NPROCESSORS_ONLN);
    record.memory_kib = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page / 1024 : 0;
    size_t size = vq__node_record__get_packed_size(&record);
    VQ_AUTOFREE uint8_t *bytes = vq_calloc(1, size + 1);
    return vq__node_record__unpack(NULL, vq__node_record__pack(&record, bytes), bytes);
}

/* ---- The clock ---- */

/* A removed node stands alone again, with its own guests; the leader among them first hands over, unless it was told by
 * others, who do not follow it. */
static void leave_if_removed(struct vq_cluster *cluster)
{
    struct vq_daemon *daemon = cluster->daemon;
    struct vq_error err = VQ_ERROR_INIT;

    if (cluster->removed_since_ms == 0 || cluster->move != NULL ||
        (daemon->raft_status.is_leader && !cluster->is_let_go) ||
        uv_now(daemon->loop) < cluster->removed_since_ms + SELF_REMOVED_MS)
        return;
    vq_log(WARN, "cluster.leave", "this node was removed from cluster %s and stands alone now", cluster->self->cluster_name);
    if (vq_move_start(cluster, vq_identity_lone(daemon), NULL, NULL, &err) < 0) {
        vq_log(ERROR, "cluster.leave", "leaving: %s, tried again", err.message);
        cluster->removed_since_ms = uv_now(daemon->loop) + 10 * SELF_REMOVED_MS;
    }
}

static void refresh_done(enum vq_raft_outcome outcome, const struct vq_result *result, const struct vq_error *err,
                         void *data)
{
    struct vq_daemon *daemon = data;

    (void)err;
    if (daemon->cluster != NULL && (outcome != VQ_RAFT_APPLIED || result->code != VIR_ERR_OK))
        daemon->cluster->has_refreshed_record = false;
}

/* After an upgrade the node table should say what this node is now. */
static void refresh_record(struct vq_cluster *cluster)
{
    struct vq_daemon *daemon = cluster->daemon;
    struct vq_store_view *view;
    struct vq_error ignored = VQ_ERROR_INIT;

    if (cluster->has_refreshed_record || daemon->mesh == NULL || daemon->raft_status.leader == 0 ||
        vq_store_view_begin(daemon->store, &view, &ignored) < 0)
        return;
    Vq__NodeRecord *old = vq_store_node_find(view, daemon->node_id);
    vq_store_view_end(view);
    if (old == NULL)
        return;
    Vq__NodeRecord *own = vq_cluster_own_record(daemon, cluster->self);
    cluster->has_refreshed_record = true;
    if (!vq_streq(old->version, own->version) || old->feature_level != own->feature_level || old->cpus != own->cpus ||
        old->memory_kib != own->memory_kib || !vq_streq(old->certificate_pem, own->certificate_pem) || old->n_addresses != own->n_addresses ||
        (own->n_addresses > 0 && !vq_streq(old->addresses[0], own->addresses[0]))) {
        Vq__Command command = VQ__COMMAND__INIT;
        Vq__NodePut put = VQ__NODE_PUT__INIT;
        own->role = old->role;
        own->joined_ms = old->joined_ms;
        own->draining = old->draining;
        put.node = own;
        command.change_case = VQ__COMMAND__CHANGE_NODE_PUT;
        command.node_put = &put;
        vq_propose(daemon, &command, 0, refresh_done, daemon);
    }
    vq_store_node_free(own);
    vq_store_node_free(old);
}

static void tick(uv_timer_t *timer)
{
    struct vq_cluster *cluster = timer->data;

    vq_forwards_tick(cluster->forwards);
    vq_join_server_tick(cluster->join_server);
    vq_cluster_forget_removed(cluster);
    vq_control_tick(cluster->control);
    vq_evacuations_tick(cluster);
    if (++cluster->n_ticks % TICKS_PER_SECOND != 0)
        return;
    vq_cluster_sample_load(cluster);
    vq_init_tick(cluster);
    vq_move_tick(cluster);
    vq_membership_tick(cluster);
    vq_orphans_tick(cluster);
    refresh_record(cluster);
    vq_certificate_tick(cluster);
    leave_if_removed(cluster);
}

/* ---- What consensus tells ---- */

void vq_cluster_applied(struct vq_daemon *daemon, uint64_t index VQ_UNUSED, const struct vq_change_list *changes)
{
    struct vq_cluster *cluster = daemon->cluster;
    bool touches_nodes = false;

    if (cluster == NULL || cluster->is_stopping)
        return;
    for (size_t i = 0; i < changes->n_changes; i++)
        touches_nodes = touches_nodes || changes->changes[i].kind == VQ_CHANGE_NODE ||
                        changes->changes[i].kind == VQ_CHANGE_RESYNC;
    if (touches_nodes) {
        vq_cluster_load_members(cluster);
        vq_membership_tick(cluster);
    }
}

void vq_cluster_answer(struct vq_daemon *daemon, uint64_t index)
{
    struct vq_cluster *cluster = daemon->cluster;

    if (cluster == NULL || cluster->is_stopping)
        return;
    vq_proposals_applied(cluster->proposals, index);
    vq_forwards_applied(cluster->forwards, index);
}

void vq_cluster_status_changed(struct vq_daemon *daemon)
{
    struct vq_cluster *cluster = daemon->cluster;

    if (cluster == NULL || cluster->is_stopping)
        return;
    if (daemon->raft_status.is_leader && !cluster->was_leader)
        cluster->may_have_orphans = true;
    cluster->was_leader = daemon->raft_status.is_leader;
    if (daemon->raft_status.leader != 0) {
        cluster->leaderless_since_ms = 0;
        cluster->has_had_leader = true;
    } else if (cluster->leaderless_since_ms == 0) {
        cluster->leaderless_since_ms = uv_now(daemon->loop);
    }
    vq_proposals_status_changed(cluster->proposals);
    vq_membership_tick(cluster);
}

/* ---- Start and stop ---- */

/* Of a lone node only the key is kept: its name may be another one at each start. The key is on disk before anything is
 * sealed with it. */
static int settle_lone(const struct vq_daemon *daemon, Vq__LocalNode **self, struct vq_error *err)
{
    Vq__LocalNode *recorded = *self;
    ProtobufCBinaryData made;

    *self = vq_identity_lone(daemon);
    if (recorded != NULL && recorded->cluster_key.len == (*self)->cluster_key.len) {
        made = (*self)->cluster_key;
        (*self)->cluster_key = recorded->cluster_key;
        recorded->cluster_key = made;
        vq_identity_free(recorded);
        return 0;
    }
    vq_identity_free(recorded);
    if (vq_identity_save(daemon->local, *self, err) == 0)
        return 0;
    vq_identity_free(vq_take(*self));
    return vq_error_wrap(err, "the key of this node");
}

int vq_cluster_identity(struct vq_daemon *daemon, struct vq_error *err)
{
    Vq__LocalNode *self = NULL;
    Vq__LocalMove *move = NULL;
    int found = vq_identity_load(daemon->local, &self, err);
    int moving = found < 0 ? -1 : vq_move_load(daemon->local, &move, err);

    if (moving < 0) {
        vq_identity_free(self);
        return -1;
    }
    if (moving > 0) {
        vq_identity_free(self);
        self = vq_identity_copy(move->to);
        vq__local_move__free_unpacked(move, NULL);
    }
    if (self == NULL || (!vq_identity_is_member(self) && moving == 0)) {
        if (settle_lone(daemon, &self, err) < 0)
            return -1;
    }
    if (getrandom(&daemon->boot, sizeof(daemon->boot), 0) != (ssize_t)sizeof(daemon->boot))
        daemon->boot = vq_cluster_unix_ms(); /* it need only differ from the last start */
    daemon->cluster = vq_new(struct vq_cluster);
    daemon->cluster->daemon = daemon;
    daemon->cluster->self = self;
    vq_identity_use(daemon, self);
    return 0;
}

static void cluster_free(struct vq_cluster *cluster)
{
    vq_tls_credentials_free(cluster->credentials);
    vq_cluster_drop_members(cluster);
    vq_identity_free(cluster->self);
    vq_move_free(cluster);
    free(cluster);
}

static void part_stopped(void *data)
{
    struct vq_cluster *cluster = data;
    struct vq_daemon *daemon = cluster->daemon;

    if (--cluster->n_stopping > 0)
        return;
    void (*stopped)(void *data) = cluster->stopped;
    void *stopped_data = cluster->stopped_data;
    vq_forwards_free(cluster->forwards);
    daemon->cluster = NULL;
    cluster_free(cluster);
    if (stopped != NULL)
        stopped(stopped_data);
}

static void tick_closed(uv_handle_t *handle)
{
    part_stopped(handle->data);
}

void vq_cluster_raft_stopped(void *data)
{
    struct vq_cluster *cluster = data;

    cluster->daemon->raft = NULL;
    vq_proposals_free(vq_take(cluster->proposals), part_stopped, cluster);
}

static void handed_over(enum vq_raft_outcome outcome, const struct vq_error *err, void *data)
{
    struct vq_cluster *cluster = data;

    if (outcome != VQ_RAFT_APPLIED)
        vq_log(INFO, "cluster.stop", "nobody took over the lead: %s", err == NULL ? "not done" : err->message);
    vq_raft_stop(cluster->daemon->raft, vq_cluster_raft_stopped, cluster);
}

/* A leader that goes on purpose does not make the others wait for an election. */
static void stop_raft(struct vq_cluster *cluster)
{
    const struct vq_raft_status *status = &cluster->daemon->raft_status;
    bool has_heir = false;

    for (size_t i = 0; i < status->n_members; i++)
        has_heir = has_heir || (status->members[i].id != cluster->daemon->node_id &&
                                status->members[i].role == VQ_RAFT_VOTER);
    if (status->is_leader && has_heir)
        vq_raft_transfer(cluster->daemon->raft, 0, handed_over, cluster);
    else
        vq_raft_stop(cluster->daemon->raft, vq_cluster_raft_stopped, cluster);
}

void vq_cluster_stop(struct vq_daemon *daemon, void (*stopped)(void *data), void *data)
{
    struct vq_cluster *cluster = daemon->cluster;

    if (cluster == NULL) {
        if (stopped != NULL)
            stopped(data);
        return;
    }
    if (cluster->proposals == NULL && !cluster->is_stopping) { /* it was never started */
        daemon->cluster = NULL;
        cluster_free(cluster);
        if (stopped != NULL)
            stopped(data);
        return;
    }
    cluster->stopped = stopped;
    cluster->stopped_data = data;
    if (cluster->is_stopping)
        return; /* since a start that failed */
    cluster->is_stopping = true;
    cluster->n_stopping = 3; /* tick, control, consensus with the proposals */
    vq_evacuations_stop(cluster);
    vq_cluster_close_port(cluster);
    vq_control_free(vq_take(cluster->control), part_stopped, cluster);
    uv_close((uv_handle_t *)&cluster->tick, tick_closed);
    if (cluster->is_restarting)
        return; /* the move that stopped consensus goes on to raft_stopped() */
    if (daemon->raft != NULL)
        stop_raft(cluster);
    else
        vq_cluster_raft_stopped(cluster);
}

static int start_parts(struct vq_cluster *cluster, struct vq_error *err)
{
    struct vq_daemon *daemon = cluster->daemon;

    if (vq_move_resume(daemon, err) < 0)
        return vq_error_wrap(err, "finishing a change of cluster");
    if (vq_identity_is_member(cluster->self) && vq_cluster_open_port(cluster, err) < 0)
        return -1;
    if (vq_cluster_start_raft(cluster, err) < 0)
        return vq_error_wrap(err, "starting consensus");
    vq_cluster_load_members(cluster);
    return vq_control_start(cluster, &cluster->control, err);
}

int vq_cluster_start(struct vq_daemon *daemon, struct vq_error *err)
{
    struct vq_cluster *cluster = daemon->cluster;

    cluster->started_unix_ms = vq_cluster_unix_ms();
    cluster->leaderless_since_ms = uv_now(daemon->loop);
    cluster->proposals = vq_proposals_new(daemon);
    cluster->forwards = vq_forwards_new(daemon);
    cluster->tick.data = cluster;
    (void)uv_timer_init(daemon->loop, &cluster->tick); /* cannot fail */
    if (start_parts(cluster, err) < 0) {
        vq_cluster_stop(daemon, NULL, NULL);
        return -1;
    }
    (void)uv_timer_start(&cluster->tick, tick, VQ_CLUSTER_TICK_MS, VQ_CLUSTER_TICK_MS); /* only without a callback */
    vq_cluster_sample_load(cluster);
    return 0;
}
