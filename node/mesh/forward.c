/* Calls that run on another node, seen from the node where the client is connected. */
#define VQ_FROM VIR_FROM_RPC
#include "node/mesh/forward.h"

#include <stdlib.h>
#include <string.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "node/call.h"
#include "node/cluster/cluster.h"
#include "node/cluster/cluster_state.h"
#include "node/daemon.h"
#include "node/dispatch.h"
#include "node/client/events.h"
#include "node/mesh/forward_state.h"
#include "node/mesh/mesh.h"
#include "node/client/stream.h"

/* A question that is at another node. */
struct asked {
    struct vq_id_entry entry;
    uint64_t node;
    uint64_t deadline_ms;
    bool is_change; /* the node may have done it although no reply came */
    const struct vq_procedure *procedure;
    vq_forward_done done;
    void *data;
};

/* A reply that waits until this node has applied what it tells of. */
struct waiting {
    struct vq_id_entry entry;
    struct vq_call *call;
    uint64_t index;
    uint64_t deadline_ms;
    uint8_t *payload; /* malloc'ed */
    size_t length;
};

/* The nodes that saw calls of one client's connection. */
struct session_nodes {
    struct vq_id_entry entry; /* the session */
    bool has_ended;           /* nodes are the ones that were not told yet */
    size_t n_nodes;
    uint64_t *nodes;
};

struct vq_forwards *vq_forwards_new(struct vq_daemon *daemon)
{
    struct vq_forwards *forwards = vq_new(struct vq_forwards);

    forwards->daemon = daemon;
    return forwards;
}

static uint64_t now_of(const struct vq_forwards *forwards)
{
    return uv_now(forwards->daemon->loop);
}

/* ---- Asking ---- */

static void fill_identity(const struct vq_caller *caller, uint64_t entry_node, Vq__Identity *identity)
{
    static char empty[] = "";

    vq__identity__init(identity);
    identity->entry_node = entry_node;
    identity->uid = caller->uid;
    identity->gid = caller->gid;
    identity->pid = caller->pid;
    identity->process_start = caller->process_start;
    identity->readonly = caller->readonly;
    identity->has_unix = caller->has_unix;
    identity->user = caller->user != NULL ? (char *)caller->user : empty;
    identity->group = caller->group != NULL ? (char *)caller->group : empty;
    identity->sasl_user = caller->sasl_user != NULL ? (char *)caller->sasl_user : empty;
    identity->x509_dn = caller->x509_dn != NULL ? (char *)caller->x509_dn : empty;
    identity->selinux = caller->selinux != NULL ? (char *)caller->selinux : empty;
}

void vq_forward_pack(const struct vq_daemon *daemon, const struct vq_call *call, uint64_t id, uint64_t timeout_ms,
                     struct vq_forward_message *ret)
{
    static char no_driver[] = "";

    vq__call__init(&ret->call);
    fill_identity(call->request.caller, daemon->node_id, &ret->identity);
    ret->call.id = id;
    ret->call.program = vq_program_number(call->request.procedure->program);
    ret->call.procedure = call->request.procedure->number;
    ret->call.args = (ProtobufCBinaryData){call->xdr_length, (uint8_t *)call->xdr};
    ret->call.identity = &ret->identity;
    ret->call.timeout_ms = timeout_ms;
    ret->call.driver = call->driver_name != NULL ? (char *)call->driver_name : no_driver;
    ret->call.view_node = call->view_node;
    ret->call.session = call->request.caller->session;
    ret->call.applied = call->read_index;
}

static bool send_call(struct vq_daemon *daemon, const struct vq_call *call, uint64_t node, uint64_t id,
                      uint64_t timeout_ms)
{
    Vq__Mesh message = VQ__MESH__INIT;
    struct vq_forward_message packed;

    vq_forward_pack(daemon, call, id, timeout_ms, &packed);
    message.message_case = VQ__MESH__MESSAGE_CALL;
    message.call = &packed.call;
    return vq_mesh_send(daemon->mesh, node, &message);
}

uint64_t vq_forward_ask(struct vq_daemon *daemon, const struct vq_call *call, uint64_t node, uint64_t deadline_ms,
                        vq_forward_done done, void *data)
{
    struct vq_forwards *forwards = daemon->cluster->forwards;
    uint64_t now = now_of(forwards), id = forwards->last_id + 1;

    if (daemon->mesh == NULL || !send_call(daemon, call, node, id, deadline_ms > now ? deadline_ms - now : 1))
        return 0;
    forwards->last_id = id;
    struct asked *asked = vq_new(struct asked);
    asked->entry.id = id;
    asked->node = node;
    asked->deadline_ms = deadline_ms;
    asked->procedure = call->request.procedure;
    asked->is_change = !asked->procedure->allowed_readonly;
    asked->done = done;
    asked->data = data;
    vq_id_map_add(&forwards->asked, &asked->entry);
    vq_forward_session_seen(forwards, call->request.caller->session, node);
    return id;
}

/* done may ask again: the entry is out of the map before. */
static void asked_done(struct vq_forwards *forwards, struct asked *asked, const Vq__Reply *reply,
                       const struct vq_error *err)
{
    vq_id_map_remove(&forwards->asked, &asked->entry);
    asked->done(reply, err, asked->entry.id, asked->data);
    free(asked);
}

static void send_cancel(struct vq_daemon *daemon, uint64_t node, uint64_t id)
{
    Vq__Mesh message = VQ__MESH__INIT;
    Vq__Cancel cancel = VQ__CANCEL__INIT;

    cancel.id = id;
    message.message_case = VQ__MESH__MESSAGE_CANCEL;
    message.cancel = &cancel;
    (void)vq_mesh_send(daemon->mesh, node, &message); /* offline: there is nobody to tell */
}

void vq_forward_give_up(struct vq_daemon *daemon, uint64_t id)
{
    struct vq_id_entry *entry = vq_id_map_find(&daemon->cluster->forwards->asked, id);

    if (entry == NULL)
        return;
    struct asked *asked = VQ_CONTAINER_OF(entry, struct asked, entry);
    if (daemon->mesh != NULL)
        send_cancel(daemon, asked->node, id);
    vq_id_map_remove(&daemon->cluster->forwards->asked, entry);
    free(asked);
}

static void name_of(const struct vq_daemon *daemon, uint64_t node, char *buffer, size_t size)
{
    const struct vq_cluster_member *member = vq_cluster_member(daemon->cluster, node);

    if (member != NULL)
        (void)snprintf(buffer, size, "%s", member->name);
    else
        (void)snprintf(buffer, size, "node %llu", (unsigned long long)node);
}

static void too_late(struct vq_id_entry *entry, void *data)
{
    struct vq_forwards *forwards = data;
    struct asked *asked = VQ_CONTAINER_OF(entry, struct asked, entry);
    struct vq_error err = VQ_ERROR_INIT;
    char name[128];

    if (asked->deadline_ms > now_of(forwards))
        return;
    name_of(forwards->daemon, asked->node, name, sizeof(name));
    vq_error_set(&err, VIR_ERR_OPERATION_TIMEOUT, "%s did not answer %s in time%s", name, asked->procedure->api,
                 asked->is_change ? "; whether it was done is unknown" : "");
    if (forwards->daemon->mesh != NULL)
        send_cancel(forwards->daemon, asked->node, entry->id);
    asked_done(forwards, asked, NULL, &err);
}

struct lost {
    struct vq_forwards *forwards;
    uint64_t node;
};

static void asked_lost(struct vq_id_entry *entry, void *data)
{
    struct lost *lost = data;
    struct asked *asked = VQ_CONTAINER_OF(entry, struct asked, entry);
    struct vq_error err = VQ_ERROR_INIT;

    if (asked->node != lost->node)
        return;
    vq_cluster_unreachable(lost->forwards->daemon, lost->node, &err);
    if (asked->is_change) {
        struct vq_error before = err;
        vq_error_set(&err, before.code, "%s; whether %s was done is unknown", before.message, asked->procedure->api);
    }
    asked_done(lost->forwards, asked, NULL, &err);
}

/* ---- A client's call ---- */

static void answer_waiting(struct vq_forwards *forwards, struct waiting *waiting)
{
    vq_id_map_remove(&forwards->waiting, &waiting->entry);
    vq_call_answer_bytes(waiting->call, waiting->payload, waiting->length);
    free(waiting->payload);
    free(waiting);
}

static void wait_applied(struct vq_forwards *forwards, struct vq_call *call, uint64_t id, const Vq__Reply *reply)
{
    struct waiting *waiting = vq_new(struct waiting);

    waiting->entry.id = id;
    waiting->call = call;
    waiting->index = reply->applied;
    waiting->deadline_ms = call->request.deadline_ms;
    waiting->payload = vq_memdup(reply->payload.data, reply->payload.len);
    waiting->length = reply->payload.len;
    vq_id_map_add(&forwards->waiting, &waiting->entry);
}

static void call_failed(struct vq_call *call, const Vq__Reply *reply)
{
    struct vq_error err = VQ_ERROR_INIT;

    vq_error_set_from(&err, reply->from, reply->code, "%s", reply->message);
    err.int1 = reply->int1;
    vq_call_fail(call, &err);
}

static void call_done(const Vq__Reply *reply, const struct vq_error *err, uint64_t id, void *data)
{
    struct vq_call *call = data;
    struct vq_daemon *daemon = call->daemon;
    uint64_t node = call->peer;

    if (reply == NULL) {
        vq_call_fail(call, err);
        return;
    }
    if (reply->code != VIR_ERR_OK) {
        call_failed(call, reply);
        return;
    }
    if (reply->stream_open)
        (void)vq_stream_relay_open(call, node, id); /* false: the client is gone, and the owner was told */
    if (reply->applied > daemon->applied)
        wait_applied(daemon->cluster->forwards, call, id, reply);
    else
        vq_call_answer_bytes(call, reply->payload.data, reply->payload.len);
}

void vq_forward_call(struct vq_daemon *daemon, struct vq_call *call, uint64_t node)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (call->request.deadline_ms == 0)
        call->request.deadline_ms = uv_now(daemon->loop) + vq_dispatch_timeout_ms(call->request.procedure);
    call->peer = node;
    if (!vq_cluster_is_online(daemon, node)) {
        vq_cluster_unreachable(daemon, node, &err);
        vq_call_fail(call, &err);
    } else if (vq_forward_ask(daemon, call, node, call->request.deadline_ms, call_done, call) == 0) {
        vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "the call is too large to be sent to another node");
        vq_call_fail(call, &err);
    }
}

static void abort_stream(struct vq_daemon *daemon, uint64_t node, uint64_t id)
{
    Vq__StreamData message = VQ__STREAM_DATA__INIT;

    message.id = id;
    message.kind = VQ__STREAM_DATA__KIND__ABORT;
    message.from_client = true;
    (void)vq_forward_stream(daemon, node, &message); /* offline: its end of the stream has ended with the connection */
}

void vq_forward_received_reply(struct vq_forwards *forwards, uint64_t node, const Vq__Reply *message)
{
    struct vq_id_entry *entry = vq_id_map_find(&forwards->asked, message->id);
    struct asked *asked = entry == NULL ? NULL : VQ_CONTAINER_OF(entry, struct asked, entry);

    if (asked == NULL || asked->node != node) {
        if (message->stream_open) /* late: nobody reads it */
            abort_stream(forwards->daemon, node, message->id);
        return;
    }
    asked_done(forwards, asked, message, NULL);
}

/* ---- Sessions: who must be told that a client is gone ---- */

void vq_forward_session_seen(struct vq_forwards *forwards, uint64_t session, uint64_t node)
{
    struct vq_id_entry *entry = vq_id_map_find(&forwards->sessions, session);
    struct session_nodes *seen = entry == NULL ? NULL : VQ_CONTAINER_OF(entry, struct session_nodes, entry);

    if (session == 0)
        return; /* nobody's: it does not end */
    if (seen == NULL) {
        seen = vq_new(struct session_nodes);
        seen->entry.id = session;
        vq_id_map_add(&forwards->sessions, &seen->entry);
    }
    for (size_t i = 0; i < seen->n_nodes; i++)
        if (seen->nodes[i] == node)
            return;
    VQ_GROW(seen->nodes, seen->n_nodes);
    seen->nodes[seen->n_nodes++] = node;
}

static bool send_session_ended(struct vq_daemon *daemon, uint64_t node, uint64_t session)
{
    Vq__Mesh message = VQ__MESH__INIT;
    Vq__Call ended = VQ__CALL__INIT;
    Vq__Identity identity = VQ__IDENTITY__INIT;

    identity.entry_node = daemon->node_id;
    ended.identity = &identity;
    ended.session = session;
    ended.session_ended = true;
    message.message_case = VQ__MESH__MESSAGE_CALL;
    message.call = &ended;
    return daemon->mesh != NULL && vq_mesh_send(daemon->mesh, node, &message);
}

static void session_free(struct vq_forwards *forwards, struct session_nodes *seen)
{
    vq_id_map_remove(&forwards->sessions, &seen->entry);
    free(seen->nodes);
    free(seen);
}

/* Nodes that are out of reach are told when they are back. */
void vq_forward_session_ended(struct vq_daemon *daemon, uint64_t session)
{
    struct vq_forwards *forwards = daemon->cluster == NULL ? NULL : daemon->cluster->forwards;
    struct vq_id_entry *entry = forwards == NULL ? NULL : vq_id_map_find(&forwards->sessions, session);

    if (entry == NULL)
        return;
    struct session_nodes *seen = VQ_CONTAINER_OF(entry, struct session_nodes, entry);
    size_t n_left = 0;
    seen->has_ended = true;
    for (size_t i = 0; i < seen->n_nodes; i++)
        if (!send_session_ended(daemon, seen->nodes[i], session) &&
            vq_cluster_member(daemon->cluster, seen->nodes[i]) != NULL)
            seen->nodes[n_left++] = seen->nodes[i];
    seen->n_nodes = n_left;
    if (n_left == 0)
        session_free(forwards, seen);
}

static void session_retry(struct vq_id_entry *entry, void *data)
{
    struct vq_forwards *forwards = data;
    struct session_nodes *seen = VQ_CONTAINER_OF(entry, struct session_nodes, entry);

    if (seen->has_ended)
        vq_forward_session_ended(forwards->daemon, seen->entry.id);
}

void vq_forward_sessions_retry(struct vq_forwards *forwards)
{
    vq_id_map_each(&forwards->sessions, session_retry, forwards);
}

/* ---- Events and streams ---- */

uint64_t vq_forward_last_event(const struct vq_daemon *daemon)
{
    return daemon->cluster->forwards->last_event;
}

static void send_to_all(struct vq_daemon *daemon, const Vq__Mesh *message)
{
    const struct vq_cluster *cluster = daemon->cluster;

    for (size_t i = 0; i < cluster->n_members; i++)
        if (cluster->members[i].id != daemon->node_id)
            (void)vq_mesh_send(daemon->mesh, cluster->members[i].id, message); /* who is offline lists again */
}

void vq_forward_event(struct vq_daemon *daemon, const struct vq_mesh_event *event)
{
    Vq__Mesh message = VQ__MESH__INIT;
    Vq__Event packed = VQ__EVENT__INIT;

    if (daemon->mesh == NULL)
        return;
    packed.sequence = ++daemon->cluster->forwards->last_event;
    packed.after_index = event->after_index;
    packed.driver = (char *)event->driver;
    packed.uuid = (ProtobufCBinaryData){sizeof(event->uuid), (uint8_t *)event->uuid};
    packed.name = (char *)event->name;
    packed.id = event->id;
    packed.program = vq_program_number((enum vq_program)event->program);
    packed.event_id = event->event_id;
    packed.payload = (ProtobufCBinaryData){event->payload_length, (uint8_t *)event->payload};
    message.message_case = VQ__MESH__MESSAGE_EVENT;
    message.event = &packed;
    send_to_all(daemon, &message);
}

void vq_forward_received_event(struct vq_daemon *daemon, uint64_t node, const Vq__Event *message)
{
    struct vq_mesh_event event = {.driver = message->driver, .name = message->name, .id = message->id,
                                  .event_id = message->event_id, .payload = message->payload.data,
                                  .payload_length = message->payload.len, .sequence = message->sequence,
                                  .after_index = message->after_index};
    enum vq_program program = VQ_PROGRAM_REMOTE;

    if (message->uuid.len != sizeof(event.uuid) ||
        (message->program != 0 && !vq_program_find(message->program, &program))) {
        vq_log(WARN, "event.bad", "node=%llu: its event makes no sense, dropped", (unsigned long long)node);
        return;
    }
    memcpy(event.uuid, message->uuid.data, sizeof(event.uuid));
    event.program = program;
    vq_events_from_mesh(daemon->events, node, &event);
}

bool vq_forward_stream(struct vq_daemon *daemon, uint64_t node, const Vq__StreamData *message)
{
    Vq__Mesh packed = VQ__MESH__INIT;

    packed.message_case = VQ__MESH__MESSAGE_STREAM;
    packed.stream = (Vq__StreamData *)message;
    return daemon->mesh != NULL && vq_mesh_send(daemon->mesh, node, &packed);
}

/* ---- Time and loss ---- */

struct now {
    struct vq_forwards *forwards;
    uint64_t index;
};

static void waiting_look(struct vq_id_entry *entry, void *data)
{
    struct now *now = data;
    struct waiting *waiting = VQ_CONTAINER_OF(entry, struct waiting, entry);

    /* Late is no failure: the other node has done it. */
    if (waiting->index <= now->index || waiting->deadline_ms <= now_of(now->forwards))
        answer_waiting(now->forwards, waiting);
}

void vq_forwards_applied(struct vq_forwards *forwards, uint64_t index)
{
    struct now now = {forwards, index};

    if (forwards->waiting.n_entries > 0)
        vq_id_map_each(&forwards->waiting, waiting_look, &now);
}

void vq_forwards_tick(struct vq_forwards *forwards)
{
    if (forwards->asked.n_entries > 0)
        vq_id_map_each(&forwards->asked, too_late, forwards);
    vq_forwards_applied(forwards, forwards->daemon->applied);
    vq_gather_tick(forwards);
}

void vq_forwards_node_lost(struct vq_forwards *forwards, uint64_t node)
{
    struct lost lost = {forwards, node};

    if (forwards->asked.n_entries > 0)
        vq_id_map_each(&forwards->asked, asked_lost, &lost);
    vq_serve_node_lost(forwards, node);
}

void vq_forwards_node_back(struct vq_forwards *forwards, uint64_t node, uint64_t boot)
{
    vq_serve_node_back(forwards, node, boot);
    vq_forward_sessions_retry(forwards);
}

void vq_forwards_free(struct vq_forwards *forwards)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_id_entry *entry;

    vq_error_set(&err, VIR_ERR_OPERATION_ABORTED, "the daemon is stopping");
    while ((entry = vq_id_map_any(&forwards->asked)) != NULL)
        asked_done(forwards, VQ_CONTAINER_OF(entry, struct asked, entry), NULL, &err);
    while ((entry = vq_id_map_any(&forwards->waiting)) != NULL)
        answer_waiting(forwards, VQ_CONTAINER_OF(entry, struct waiting, entry));
    while ((entry = vq_id_map_any(&forwards->sessions)) != NULL)
        session_free(forwards, VQ_CONTAINER_OF(entry, struct session_nodes, entry));
    vq_serve_free(forwards);
    free(forwards);
}
