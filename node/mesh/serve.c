/* Calls of other nodes' clients that run here. */
#define VQ_FROM VIR_FROM_RPC
#include <stdlib.h>
#include <string.h>

#include "conf/base/buffer.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "node/call.h"
#include "node/cluster/cluster_state.h"
#include "node/daemon.h"
#include "node/dispatch.h"
#include "node/mesh/forward_state.h"
#include "node/mesh/mesh.h"
#include "node/client/stream.h"

struct served {
    struct vq_id_entry entry; /* a number of our own: two nodes may use the same id */
    struct vq_forwards *forwards;
    uint64_t node, id;
    bool is_unwanted;         /* cancelled, or its node went away: no reply, no stream */
};

/* A session of another node's client that this node saw a call of. */
struct visitor {
    struct vq_id_entry entry; /* see visitor_key() */
    uint64_t node, session, boot;
};

/* Sessions are counted from 1 by each node, so the two together are unique for longer than any daemon runs. */
static uint64_t visitor_key(uint64_t node, uint64_t session)
{
    return node << 44 ^ session;
}

/* ---- The answer ---- */

static void send_reply(struct served *served, Vq__Reply *reply)
{
    struct vq_daemon *daemon = served->forwards->daemon;
    Vq__Mesh message = VQ__MESH__INIT;

    if (served->is_unwanted || daemon->mesh == NULL)
        return;
    reply->id = served->id;
    message.message_case = VQ__MESH__MESSAGE_REPLY;
    message.reply = reply;
    if (vq_mesh_send(daemon->mesh, served->node, &message) || reply->payload.len == 0)
        return;
    reply->payload = (ProtobufCBinaryData){0};
    reply->code = VIR_ERR_RPC;
    reply->from = VQ_FROM;
    reply->message = "the answer is too large to be sent to another node";
    (void)vq_mesh_send(daemon->mesh, served->node, &message); /* offline by now */
}

static void reply_error(struct served *served, const struct vq_error *err)
{
    Vq__Reply reply = VQ__REPLY__INIT;

    reply.code = err->code;
    reply.from = err->from;
    reply.int1 = err->int1;
    reply.message = (char *)err->message;
    send_reply(served, &reply);
}

/* The caller's node waits until it has applied what this call changed, so that the client reads its own writes. A query
 * has changed nothing, and must not wait for the log. */
static uint64_t index_to_wait_for(const struct vq_call *call)
{
    return call->request.procedure->allowed_readonly ? 0 : call->daemon->applied;
}

static void mesh_answer(struct vq_call *call, const struct vq_error *err)
{
    struct served *served = call->forward;
    VQ_AUTOBUFFER buffer = VQ_BUFFER_INIT;
    struct vq_error failure = VQ_ERROR_INIT;
    Vq__Reply reply = VQ__REPLY__INIT;

    if (err == NULL && vq_call_add_reply(call, &buffer, &failure) < 0)
        err = &failure;
    if (err != NULL) {
        reply_error(served, err);
    } else {
        reply.payload = (ProtobufCBinaryData){buffer.length, (uint8_t *)buffer.data};
        reply.applied = index_to_wait_for(call);
        reply.stream_open = call->stream != NULL;
        send_reply(served, &reply);
    }
    vq_id_map_remove(&served->forwards->served, &served->entry);
    free(served);
}

static struct vq_stream_link *mesh_stream_link(struct vq_call *call)
{
    struct served *served = call->forward;

    return served->is_unwanted ? NULL : vq_stream_mesh_link(call->daemon, served->node, served->id);
}

static const struct vq_call_origin mesh_origin = {mesh_answer, mesh_stream_link};

/* ---- The call ---- */

static void tell_drivers(struct vq_daemon *daemon, uint64_t node, uint64_t session)
{
    if (daemon->is_stopping)
        return; /* they stop first, and the mesh goes down after them */
    for (size_t i = 0; i < daemon->n_drivers; i++)
        if (daemon->drivers[i]->session_ended != NULL)
            daemon->drivers[i]->session_ended(daemon->drivers[i], node, session);
}

static void visitor_ended(struct vq_forwards *forwards, struct visitor *visitor)
{
    vq_id_map_remove(&forwards->visitors, &visitor->entry);
    tell_drivers(forwards->daemon, visitor->node, visitor->session);
    free(visitor);
}

static void session_ended(struct vq_forwards *forwards, uint64_t node, uint64_t session)
{
    struct vq_id_entry *entry = vq_id_map_find(&forwards->visitors, visitor_key(node, session));

    if (entry != NULL)
        visitor_ended(forwards, VQ_CONTAINER_OF(entry, struct visitor, entry));
}

static void visitor_seen(struct vq_forwards *forwards, uint64_t node, uint64_t session)
{
    struct vq_mesh_peer peer = {0};

    if (session == 0 || vq_id_map_find(&forwards->visitors, visitor_key(node, session)) != NULL)
        return;
    struct visitor *visitor = vq_new(struct visitor);
    visitor->entry.id = visitor_key(node, session);
    visitor->node = node;
    visitor->session = session;
    if (vq_mesh_find_peer(forwards->daemon->mesh, node, &peer))
        visitor->boot = peer.boot;
    vq_id_map_add(&forwards->visitors, &visitor->entry);
}

struct count {
    uint64_t node;
    size_t n;
};

static void count_served(struct vq_id_entry *entry, void *data)
{
    struct count *count = data;

    count->n += VQ_CONTAINER_OF(entry, struct served, entry)->node == count->node;
}

static bool is_over_budget(struct vq_forwards *forwards, uint64_t node)
{
    struct count count = {node, 0};

    if (forwards->served.n_entries < VQ_FORWARD_SERVED_MAX)
        return false;
    vq_id_map_each(&forwards->served, count_served, &count);
    return count.n >= VQ_FORWARD_SERVED_MAX;
}

/* Who calls is the entry node's word, and it can only speak of its own clients. */
static int check_call(struct vq_forwards *forwards, uint64_t node, const Vq__Call *message, struct vq_error *err)
{
    if (message->identity == NULL || message->identity->entry_node != node)
        return vq_error_set(err, VIR_ERR_RPC, "the call does not say whose it is");
    if (is_over_budget(forwards, node))
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "%s serves %d calls of this node already",
                            forwards->daemon->node_name, VQ_FORWARD_SERVED_MAX);
    return 0;
}

void vq_forward_received_call(struct vq_forwards *forwards, uint64_t node, const Vq__Call *message)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct served refused = {.forwards = forwards, .node = node, .id = message->id};

    if (message->session_ended) {
        session_ended(forwards, node, message->session);
        return;
    }
    if (check_call(forwards, node, message, &err) < 0) {
        vq_log(WARN, "serve.refused", "node=%llu call=%llu: %s", (unsigned long long)node,
               (unsigned long long)message->id, err.message);
        reply_error(&refused, &err);
        return;
    }
    visitor_seen(forwards, node, message->session);
    struct served *served = vq_memdup(&refused, sizeof(refused));
    served->entry.id = ++forwards->last_served;
    vq_id_map_add(&forwards->served, &served->entry);
    vq_dispatch_remote(forwards->daemon, node, message, &mesh_origin, served);
}

struct unwanted {
    uint64_t node;
    const uint64_t *id; /* NULL: all of the node */
};

static void mark_unwanted(struct vq_id_entry *entry, void *data)
{
    struct served *served = VQ_CONTAINER_OF(entry, struct served, entry);
    const struct unwanted *unwanted = data;

    if (served->node == unwanted->node && (unwanted->id == NULL || *unwanted->id == served->id))
        served->is_unwanted = true;
}

/* What runs goes on to its end, since half-done is worse; only nobody hears of it. */
void vq_forward_received_cancel(struct vq_forwards *forwards, uint64_t node, const Vq__Cancel *message)
{
    vq_id_map_each(&forwards->served, mark_unwanted, &(struct unwanted){node, &message->id});
}

void vq_serve_node_lost(struct vq_forwards *forwards, uint64_t node)
{
    vq_id_map_each(&forwards->served, mark_unwanted, &(struct unwanted){node, NULL});
    tell_drivers(forwards->daemon, node, 0);
}

struct back {
    struct vq_forwards *forwards;
    uint64_t node, boot;
};

static void visitor_look(struct vq_id_entry *entry, void *data)
{
    struct visitor *visitor = VQ_CONTAINER_OF(entry, struct visitor, entry);
    const struct back *back = data;

    if (visitor->node == back->node && visitor->boot != back->boot)
        visitor_ended(back->forwards, visitor);
}

void vq_serve_node_back(struct vq_forwards *forwards, uint64_t node, uint64_t boot)
{
    vq_id_map_each(&forwards->visitors, visitor_look, &(struct back){forwards, node, boot});
}

void vq_serve_free(struct vq_forwards *forwards)
{
    struct vq_id_entry *entry;

    while ((entry = vq_id_map_any(&forwards->served)) != NULL) {
        /* Drivers are stopped before the cluster is, and have answered all. */
        vq_id_map_remove(&forwards->served, entry);
        free(VQ_CONTAINER_OF(entry, struct served, entry));
    }
    while ((entry = vq_id_map_any(&forwards->visitors)) != NULL) {
        vq_id_map_remove(&forwards->visitors, entry);
        free(VQ_CONTAINER_OF(entry, struct visitor, entry));
    }
}
