/* A node of this cluster as a peer: calls go the way of forwarded calls, or through the dispatcher when it is this node.
 *
 * A call has a question under way (is_asked) and a timer; its memory goes when neither holds it any more. The answer is told
 * from the timer, so never from inside the call. What a peer's user does in a call-back may close the peer: the loops over its
 * calls hold a reference. */
#define VQ_FROM VIR_FROM_RPC
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "node/call.h"
#include "node/client/stream.h"
#include "node/cluster/cluster.h"
#include "node/daemon.h"
#include "node/dispatch.h"
#include "node/mesh/forward.h"
#include "node/mesh/forward_state.h"
#include "node/peer.h"
#include "proto/cluster.pb-c.h"
#include "proto/xdr.h"

enum { CALLS_MAX = 256 /* in flight */, REPLY_MEMORY_MAX = 64 * 1024 * 1024 };

struct peer_call;

struct vq_peer_mesh {
    struct vq_peer peer;
    struct vq_peer_mesh *next;
    struct vq_daemon *daemon;
    struct vq_identity *identity;
    const char *driver_name;
    struct peer_call *calls;
    unsigned n_calls;
    unsigned refs;
    bool is_closed, is_lost;
};

struct peer_call {
    struct peer_call *next;
    struct vq_peer_mesh *peer; /* NULL: told */
    struct vq_daemon *daemon;
    const struct vq_procedure *procedure;
    vq_peer_cb cb;
    void *data;
    uv_timer_t timer;     /* to tell the answer; before, the deadline of a call to this very node */
    bool has_timer;
    bool is_asked;
    uint64_t question;    /* its id; 0: none that can be taken back */
    uint64_t deadline_ms; /* loop time */
    bool is_answered;
    struct vq_error err;
    struct vq_buffer reply;
};

/* ---- The end of a call ---- */

static void call_release(struct peer_call *call)
{
    if (call->is_asked || call->has_timer || call->peer != NULL)
        return;
    vq_buffer_done(&call->reply);
    free(call);
}

static void timer_closed(uv_handle_t *handle)
{
    struct peer_call *call = handle->data;

    call->has_timer = false;
    call_release(call);
}

static void unlink_call(struct peer_call *call)
{
    struct peer_call **link = &call->peer->calls;

    while (*link != call)
        link = &(*link)->next;
    *link = call->next;
    call->peer->n_calls--;
    call->peer = NULL;
    uv_close((uv_handle_t *)&call->timer, timer_closed);
}

/* The reply of another daemon is checked as any bytes are. */
static void tell_reply(struct peer_call *call)
{
    static const uint8_t nothing;
    const struct vq_xdr_struct *type = call->procedure->ret;
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(REPLY_MEMORY_MAX);
    void *ret = type == NULL ? NULL : vq_arena_alloc(arena, 1, type->size);

    if (type == NULL)
        call->cb(&nothing, NULL, call->data);
    else if (ret == NULL)
        (void)vq_error_set(&err, VIR_ERR_NO_MEMORY, "the answer is too large");
    else if (vq_xdr_decode(type, (const uint8_t *)call->reply.data, call->reply.length, arena, ret, NULL, &err) == 0)
        call->cb(ret, NULL, call->data);
    if (err.code != VIR_ERR_OK)
        call->cb(NULL, &err, call->data);
}

static void call_over(struct peer_call *call)
{
    unlink_call(call); /* its memory stays until the timer is closed */
    if (call->err.code != VIR_ERR_OK)
        call->cb(NULL, &call->err, call->data);
    else
        tell_reply(call);
}

static void tell_due(uv_timer_t *timer)
{
    call_over(timer->data);
}

static void settle(struct peer_call *call)
{
    if (call->peer == NULL || call->is_answered)
        return;
    call->is_answered = true;
    (void)uv_timer_start(&call->timer, tell_due, 0, 0); /* fails only for a NULL call-back */
}

static void settle_error(struct peer_call *call, const struct vq_error *err)
{
    if (!call->is_answered)
        call->err = *err;
    settle(call);
}

static void fail_all(struct vq_peer_mesh *peer, const struct vq_error *err)
{
    peer->refs++;
    while (peer->calls != NULL) {
        struct peer_call *call = peer->calls;
        if (!call->is_answered)
            call->err = *err;
        if (call->question != 0)
            vq_forward_give_up(call->daemon, call->question);
        call->is_asked = call->is_asked && call->question == 0;
        call_over(call);
    }
    peer->refs--;
}

/* ---- To another node ---- */

static void reply_applied(bool is_applied, void *data)
{
    struct peer_call *call = data;

    (void)is_applied; /* late is no failure: the other node has done it */
    call->is_asked = false;
    settle(call);
    call_release(call);
}

static void asked_done(const Vq__Reply *reply, const struct vq_error *err, uint64_t id, void *data)
{
    struct peer_call *call = data;
    struct vq_error told = VQ_ERROR_INIT;
    uint64_t now_ms = uv_now(call->daemon->loop);

    (void)id;
    call->question = 0;
    if (reply != NULL && reply->code != VIR_ERR_OK) {
        (void)vq_error_set_from(&told, reply->from, reply->code, "%s", reply->message);
        told.int1 = reply->int1;
        err = &told;
    }
    if (err == NULL) {
        vq_buffer_add_bytes(&call->reply, reply->payload.data, reply->payload.len);
        vq_daemon_when_applied(call->daemon, reply->applied,
                               call->deadline_ms > now_ms ? call->deadline_ms - now_ms : 1, reply_applied, call);
        return;
    }
    call->is_asked = false;
    settle_error(call, err);
}

static void ask_node(struct peer_call *call, const struct vq_call *packed, uint64_t node)
{
    struct vq_error err = VQ_ERROR_INIT;

    call->question = vq_forward_ask(call->daemon, packed, node, call->deadline_ms, asked_done, call);
    call->is_asked = call->question != 0;
    if (call->is_asked)
        return;
    if (vq_cluster_is_online(call->daemon, node))
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "the call is too large to be sent to another node");
    else
        (void)vq_cluster_unreachable(call->daemon, node, &err);
    settle_error(call, &err);
}

/* ---- To this very node ---- */

static void self_answer(struct vq_call *served, const struct vq_error *err)
{
    struct peer_call *call = served->forward;
    struct vq_error failure = VQ_ERROR_INIT;

    call->is_asked = false;
    if (err == NULL && !call->is_answered && vq_call_add_reply(served, &call->reply, &failure) < 0)
        err = &failure;
    if (err != NULL)
        settle_error(call, err);
    else
        settle(call);
    call_release(call);
}

static struct vq_stream_link *no_stream(struct vq_call *served)
{
    (void)served;
    return NULL;
}

static const struct vq_call_origin self_origin = {self_answer, no_stream};

static void self_late(uv_timer_t *timer)
{
    struct peer_call *call = timer->data;

    call->is_answered = true;
    (void)vq_error_set(&call->err, VIR_ERR_OPERATION_TIMEOUT, "%s was not done in time; whether it will be is unknown",
                       call->procedure->api);
    call_over(call);
}

/* Through the same door as what comes over the mesh, so that rights and routes are the same. */
static void ask_self(struct peer_call *call, const struct vq_call *packed)
{
    struct vq_forward_message message;
    uint64_t timeout_ms = call->deadline_ms - uv_now(call->daemon->loop);

    vq_forward_pack(call->daemon, packed, 0, timeout_ms, &message);
    call->is_asked = true;
    (void)uv_timer_start(&call->timer, self_late, timeout_ms, 0); /* fails only for a NULL call-back */
    vq_dispatch_remote(call->daemon, call->daemon->node_id, &message.call, &self_origin, call);
}

/* ---- The peer ---- */

static struct peer_call *call_new(struct vq_peer_mesh *peer, const struct vq_procedure *procedure, uint64_t timeout_ms,
                                  vq_peer_cb cb, void *data)
{
    struct peer_call *call = vq_new(struct peer_call);
    uint64_t wait_ms = timeout_ms != 0 ? timeout_ms : vq_dispatch_timeout_ms(procedure);

    *call = (struct peer_call){.next = peer->calls, .peer = peer, .daemon = peer->daemon, .procedure = procedure,
                               .cb = cb, .data = data, .has_timer = true,
                               .deadline_ms = uv_now(peer->daemon->loop) + wait_ms};
    (void)uv_timer_init(peer->daemon->loop, &call->timer); /* cannot fail */
    call->timer.data = call;
    peer->calls = call;
    peer->n_calls++;
    return call;
}

static int check_call(const struct vq_peer_mesh *peer, const struct vq_procedure *procedure, struct vq_error *err)
{
    if (peer->is_lost)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "the connection to %s was lost", peer->peer.name);
    if (procedure->stream != VQ_STREAM_NONE)
        return vq_error_set(err, VIR_ERR_NO_SUPPORT, "%s needs a stream", procedure->api);
    if (peer->n_calls > CALLS_MAX)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "%d calls to %s are under way already", CALLS_MAX,
                            peer->peer.name);
    return 0;
}

static void peer_call(struct vq_peer *base, enum vq_program program, uint32_t number, const void *args,
                      uint64_t timeout_ms, vq_peer_cb cb, void *data)
{
    struct vq_peer_mesh *peer = VQ_CONTAINER_OF(base, struct vq_peer_mesh, peer);
    const struct vq_procedure *procedure = vq_procedure_find(program, number);
    VQ_AUTOBUFFER xdr = VQ_BUFFER_INIT;
    struct vq_error err = VQ_ERROR_INIT;

    assert(procedure != NULL && !peer->is_closed);
    struct peer_call *call = call_new(peer, procedure, timeout_ms, cb, data);
    if (check_call(peer, procedure, &err) < 0 ||
        (procedure->args != NULL && vq_xdr_encode(procedure->args, args, &xdr, &err) < 0)) {
        settle_error(call, &err);
        return;
    }
    /* What this node has seen, the other one shall see too before it acts. */
    const struct vq_call packed = {.daemon = peer->daemon,
                                   .request = {.procedure = procedure, .caller = &peer->identity->caller},
                                   .identity = peer->identity,
                                   .xdr = (const uint8_t *)xdr.data,
                                   .xdr_length = xdr.length,
                                   .view_node = base->node,
                                   .driver_name = peer->driver_name,
                                   .read_index = peer->daemon->applied};
    if (base->node == peer->daemon->node_id)
        ask_self(call, &packed);
    else
        ask_node(call, &packed, base->node);
}

static void peer_free(struct vq_peer_mesh *peer)
{
    if (peer->refs > 0 || !peer->is_closed)
        return;
    vq_identity_unref(peer->identity);
    free(peer->peer.name);
    free(peer);
}

static void peer_close(struct vq_peer *base)
{
    struct vq_peer_mesh *peer = VQ_CONTAINER_OF(base, struct vq_peer_mesh, peer);
    struct vq_peer_mesh **link = &peer->daemon->mesh_peers;
    struct vq_error err = VQ_ERROR_INIT;

    assert(!peer->is_closed);
    while (*link != peer)
        link = &(*link)->next;
    *link = peer->next;
    peer->is_closed = true;
    (void)vq_error_set(&err, VIR_ERR_RPC, "the connection to %s was closed", base->name);
    fail_all(peer, &err);
    peer_free(peer);
}

static const struct vq_peer_class mesh_class = {.call = peer_call, .close = peer_close};

static struct vq_peer_mesh *next_to_lose(const struct vq_daemon *daemon, uint64_t node)
{
    for (struct vq_peer_mesh *peer = daemon->mesh_peers; peer != NULL; peer = peer->next)
        if (peer->peer.node == node && !peer->is_lost)
            return peer;
    return NULL;
}

void vq_peer_mesh_lost(struct vq_daemon *daemon, uint64_t node)
{
    struct vq_peer_mesh *peer;
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_cluster_unreachable(daemon, node, &err);
    while ((peer = next_to_lose(daemon, node)) != NULL) {
        peer->is_lost = true;
        peer->refs++;
        fail_all(peer, &err);
        if (!peer->is_closed && peer->peer.lost != NULL)
            peer->peer.lost(&peer->peer, &err, peer->peer.data);
        peer->refs--;
        peer_free(peer);
    }
}

/* ---- Opening ---- */

struct opening {
    uv_timer_t timer;
    struct vq_peer_mesh *peer; /* NULL: err tells */
    struct vq_error err;
    vq_peer_open_cb cb;
    void *data;
};

static void opening_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void opening_due(uv_timer_t *timer)
{
    struct opening *opening = timer->data;
    struct vq_peer_mesh *peer = opening->peer;

    if (peer != NULL && peer->is_lost) { /* already: its user would not hear of it */
        (void)vq_cluster_unreachable(peer->daemon, peer->peer.node, &opening->err);
        peer_close(&peer->peer);
        peer = NULL;
    }
    opening->cb(peer == NULL ? NULL : &peer->peer, peer == NULL ? &opening->err : NULL, opening->data);
    uv_close((uv_handle_t *)timer, opening_closed);
}

static struct vq_peer_mesh *peer_new(struct vq_daemon *daemon, uint64_t node, const struct vq_request *request)
{
    struct vq_peer_mesh *peer = vq_new(struct vq_peer_mesh);
    struct vq_caller caller = {.readonly = false};
    const struct vq_driver *driver = request != NULL ? request->driver : NULL;

    if (request != NULL)
        caller = *request->caller;
    caller.entry_node = daemon->node_id;
    caller.session = 0;
    if (driver == NULL && daemon->n_drivers > 0)
        driver = daemon->drivers[0];
    *peer = (struct vq_peer_mesh){.peer = {.class = &mesh_class,
                                           .node = node,
                                           .name = vq_strdup(vq_cluster_node_name(daemon, node))},
                                  .next = daemon->mesh_peers,
                                  .daemon = daemon,
                                  .identity = vq_identity_new(&caller),
                                  .driver_name = driver == NULL ? NULL : driver->name};
    daemon->mesh_peers = peer;
    return peer;
}

void vq_peer_mesh_open(struct vq_daemon *daemon, uint64_t node, const struct vq_request *request, vq_peer_open_cb cb,
                       void *data)
{
    struct opening *opening = vq_new(struct opening);

    opening->cb = cb;
    opening->data = data;
    if (vq_cluster_node_name(daemon, node) == NULL)
        (void)vq_error_set(&opening->err, VIR_ERR_INVALID_ARG, "there is no node %llu in the cluster",
                           (unsigned long long)node);
    else if (!vq_cluster_is_online(daemon, node))
        (void)vq_cluster_unreachable(daemon, node, &opening->err);
    else
        opening->peer = peer_new(daemon, node, request);
    (void)uv_timer_init(daemon->loop, &opening->timer); /* cannot fail */
    opening->timer.data = opening;
    (void)uv_timer_start(&opening->timer, opening_due, 0, 0);
}
