/* One connection of the mesh: handshake, greeting, messages. */
#define VQ_FROM VIR_FROM_RPC
#include "node/mesh/mesh_internal.h"

#include <arpa/inet.h>
#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "conf/base/buffer.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "proto/channel.h"
#include "proto/cluster.h"
#include "proto/dial.h"
#include "proto/tls.h"

enum {
    PROTOCOL = 1,
    LENGTH_BYTES = 4,
    GREETING_MAX = 4096, /* the largest message of a peer that has not greeted yet */
    CONNECT_MS = 2000,
    STOP_LINGER_MS = 200, /* for what was said last */
};

static const char *const dialled_protocols[] = {"vq-mesh", NULL};
static const char *const accepted_protocols[] = {"vq-mesh", "vq-raft", "vq-join", NULL};

/* ---- Closing ----------------------------------------------------------------------------------------------------- */

/* Out of the mesh's list. The memory goes at once, or when the callback that is running in it returns. */
static void forget(struct vq_mesh_connection *connection)
{
    struct vq_mesh_connection **place = &connection->mesh->connections;

    while (*place != connection)
        place = &(*place)->next;
    *place = connection->next;
    connection->is_closed = true;
    if (!connection->is_inside)
        free(connection);
}

void vq_mesh_connection_close(struct vq_mesh_connection *connection, const char *reason)
{
    struct vq_mesh *mesh = connection->mesh;
    uint64_t node = connection->node;
    bool was_online = connection->state == VQ_MESH_ONLINE;

    assert(!connection->is_closed);
    if (connection->dial != NULL)
        vq_dial_cancel(connection->dial);
    if (connection->channel != NULL)
        vq_channel_close(connection->channel, mesh->is_stopped ? STOP_LINGER_MS : connection->linger_ms);
    connection->dial = NULL;
    connection->channel = NULL;
    forget(connection);
    if (mesh->is_stopped)
        return;
    vq_mesh_wake(mesh, uv_now(mesh->loop)); /* it may be time to dial */
    if (was_online)
        vq_mesh_went_offline(mesh, node, reason);
    else if (reason != NULL)
        vq_mesh_problem(mesh, node, reason);
}

/* ---- Sending ----------------------------------------------------------------------------------------------------- */

bool vq_mesh_connection_send(struct vq_mesh_connection *connection, const Vq__Mesh *message)
{
    struct vq_buffer buffer = VQ_BUFFER_INIT;
    size_t length = vq__mesh__get_packed_size(message);
    uint32_t on_wire = htonl((uint32_t)length);

    if (length > VQ_MESH_MESSAGE_MAX)
        return false;
    vq_buffer_reserve(&buffer, LENGTH_BYTES + length);
    vq_buffer_add_bytes(&buffer, &on_wire, LENGTH_BYTES);
    (void)vq__mesh__pack(message, vq_buffer_extend(&buffer, length));
    vq_channel_write_buffer(connection->channel, &buffer);
    return true;
}

static void send_hello(struct vq_mesh_connection *connection)
{
    struct vq_mesh *mesh = connection->mesh;
    Vq__Hello hello = VQ__HELLO__INIT;
    Vq__Mesh message = VQ__MESH__INIT;

    hello.protocol = PROTOCOL;
    hello.node = mesh->options.node_id;
    hello.name = (char *)(uintptr_t)mesh->options.node_name;
    hello.version = (char *)(uintptr_t)mesh->options.version;
    hello.feature_level = mesh->options.feature_level;
    hello.cluster_id = (ProtobufCBinaryData){.data = mesh->cluster_id, .len = sizeof(mesh->cluster_id)};
    hello.boot = mesh->options.boot;
    if (mesh->callbacks.describe != NULL)
        mesh->callbacks.describe(&hello, NULL, mesh->data);
    message.message_case = VQ__MESH__MESSAGE_HELLO;
    message.hello = &hello;
    (void)vq_mesh_connection_send(connection, &message); /* small */
}

void vq_mesh_connection_ping(struct vq_mesh_connection *connection)
{
    struct vq_mesh *mesh = connection->mesh;
    struct timespec now;
    Vq__Ping ping = VQ__PING__INIT;
    Vq__Mesh message = VQ__MESH__INIT;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    ping.sequence = ++connection->ping_sequence;
    ping.time_ms = (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
    if (mesh->callbacks.describe != NULL)
        mesh->callbacks.describe(NULL, &ping, mesh->data);
    message.message_case = VQ__MESH__MESSAGE_PING;
    message.ping = &ping;
    connection->ping_ns = uv_hrtime();
    connection->pinged_ms = uv_now(mesh->loop);
    (void)vq_mesh_connection_send(connection, &message); /* small */
}

static void send_pong(struct vq_mesh_connection *connection, uint64_t sequence)
{
    Vq__Pong pong = VQ__PONG__INIT;
    Vq__Mesh message = VQ__MESH__INIT;

    pong.sequence = sequence;
    message.message_case = VQ__MESH__MESSAGE_PONG;
    message.pong = &pong;
    (void)vq_mesh_connection_send(connection, &message); /* small */
}

/* ---- Receiving --------------------------------------------------------------------------------------------------- */

/* NULL: a good greeting. */
static const char *hello_problem(const struct vq_mesh_connection *connection, const Vq__Hello *hello)
{
    const struct vq_mesh *mesh = connection->mesh;

    if (hello == NULL)
        return "it does not greet first";
    if (hello->protocol != PROTOCOL)
        return "it speaks another protocol of the mesh";
    if (hello->node != connection->node)
        return "it greets as another node than its certificate says";
    if (hello->cluster_id.len != sizeof(mesh->cluster_id) ||
        memcmp(hello->cluster_id.data, mesh->cluster_id, sizeof(mesh->cluster_id)) != 0)
        return "it belongs to another cluster";
    return vq_mesh_find(mesh, hello->node) == NULL ? "it is not a member" : NULL;
}

static void take_greeting(struct vq_mesh_connection *connection, const Vq__Mesh *message)
{
    struct vq_mesh *mesh = connection->mesh;
    if (message->message_case == VQ__MESH__MESSAGE_REMOVED && connection->is_outgoing) {
        mesh->callbacks.message(connection->node, message, mesh->data);
        if (!connection->is_closed)
            vq_mesh_connection_close(connection, "it says that this node was removed from the cluster");
        return;
    }
    const Vq__Hello *hello = message->message_case == VQ__MESH__MESSAGE_HELLO ? message->hello : NULL;
    const char *problem = hello_problem(connection, hello);

    if (problem != NULL) {
        vq_mesh_connection_close(connection, problem);
        return;
    }
    connection->boot = hello->boot;
    bool is_admitted = vq_mesh_admit(mesh, connection);
    if (connection->is_closed) /* callbacks about a connection that it replaces have stopped the mesh */
        return;
    if (!is_admitted || vq_mesh_find(mesh, connection->node) == NULL) {
        vq_mesh_connection_close(connection, NULL); /* there is a better one, or the member was removed meanwhile */
        return;
    }
    if (!connection->is_outgoing)
        send_hello(connection);
    connection->state = VQ_MESH_ONLINE;
    vq_mesh_went_online(mesh, connection, hello);
}

/* The ping was half of a round trip on its way. */
static int64_t clock_offset(uint64_t their_ms, uint64_t round_trip_us)
{
    struct timespec now;

    if (their_ms == 0 || their_ms > INT64_MAX / 2)
        return 0;
    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
    return (int64_t)their_ms + (int64_t)(round_trip_us / 2000) - ((int64_t)now.tv_sec * 1000 + now.tv_nsec / 1000000);
}

static void take_ping(struct vq_mesh_connection *connection, const Vq__Ping *ping)
{
    struct vq_mesh_known *known = vq_mesh_find(connection->mesh, connection->node);

    send_pong(connection, ping->sequence);
    if (known == NULL)
        return;
    known->peer.clock_offset_ms = clock_offset(ping->time_ms, known->peer.round_trip_us);
    known->peer.applied = ping->applied;
    known->peer.free_memory_kib = ping->free_memory_kib;
    known->peer.cpu_permille = ping->cpu_permille;
    known->peer.domains_running = ping->domains_running;
    vq_mesh_hear_of_consensus(&known->peer, ping->consensus_stopped, ping->consensus_problem);
    vq_mesh_hear_of_certificate(&known->peer, ping->certificate_problem);
}

static void take_pong(struct vq_mesh_connection *connection, const Vq__Pong *pong)
{
    struct vq_mesh_known *known = vq_mesh_find(connection->mesh, connection->node);

    if (known != NULL && pong->sequence == connection->ping_sequence && connection->ping_ns != 0) {
        known->peer.round_trip_us = (uv_hrtime() - connection->ping_ns) / 1000;
        connection->ping_ns = 0;
    }
}

static void take_message(struct vq_mesh_connection *connection, const Vq__Mesh *message)
{
    struct vq_mesh *mesh = connection->mesh;

    if (connection->state == VQ_MESH_GREETING) {
        take_greeting(connection, message);
        return;
    }
    switch (message->message_case) {
    case VQ__MESH__MESSAGE_PING:
        take_ping(connection, message->ping);
        break;
    case VQ__MESH__MESSAGE_PONG:
        take_pong(connection, message->pong);
        break;
    case VQ__MESH__MESSAGE_HELLO:
        vq_mesh_connection_close(connection, "it greets twice");
        break;
    case VQ__MESH__MESSAGE__NOT_SET: /* of a newer version: what we need not understand is not sent to us alone */
        break;
    default:
        mesh->callbacks.message(connection->node, message, mesh->data);
    }
}

static void unpack(struct vq_mesh_connection *connection, const uint8_t *bytes, size_t length)
{
    struct vq_error err = VQ_ERROR_INIT;
    Vq__Mesh *message;

    if (vq_cluster_check(&vq__mesh__descriptor, bytes, length, &err) < 0) {
        vq_mesh_connection_close(connection, err.message);
        return;
    }
    message = vq__mesh__unpack(NULL, length, bytes);
    if (message == NULL) {
        vq_mesh_connection_close(connection, "it sends a message that cannot be unpacked");
        return;
    }
    take_message(connection, message);
    vq__mesh__free_unpacked(message, NULL);
}

static size_t take_bytes(struct vq_mesh_connection *connection, const uint8_t *bytes, size_t length, size_t *wanted)
{
    size_t used = 0;

    while (!connection->is_closed && length - used >= LENGTH_BYTES) {
        uint32_t content;
        memcpy(&content, bytes + used, LENGTH_BYTES);
        content = ntohl(content);
        if (content > (connection->state == VQ_MESH_ONLINE ? VQ_MESH_MESSAGE_MAX : GREETING_MAX)) {
            vq_mesh_connection_close(connection, "it sends a message that is too large");
            return used;
        }
        if (length - used < LENGTH_BYTES + (size_t)content) {
            *wanted = LENGTH_BYTES + (size_t)content;
            return used;
        }
        unpack(connection, bytes + used + LENGTH_BYTES, content);
        used += LENGTH_BYTES + (size_t)content;
    }
    return used;
}

/* ---- What the channel tells -------------------------------------------------------------------------------------- */

static void enter(struct vq_mesh_connection *connection)
{
    assert(!connection->is_inside && !connection->is_closed);
    connection->is_inside = true;
}

static void leave(struct vq_mesh_connection *connection)
{
    connection->is_inside = false;
    if (connection->is_closed)
        free(connection);
}

static size_t received(struct vq_channel *channel VQ_UNUSED, const uint8_t *bytes, size_t length, size_t *wanted,
                       void *data)
{
    struct vq_mesh_connection *connection = data;

    enter(connection);
    connection->heard_ms = uv_now(connection->mesh->loop);
    size_t used = take_bytes(connection, bytes, length, wanted);
    leave(connection);
    return used;
}

static void ended(struct vq_channel *channel VQ_UNUSED, const struct vq_error *err, void *data)
{
    struct vq_mesh_connection *connection = data;

    enter(connection);
    vq_mesh_connection_close(connection, err->code == VIR_ERR_OK ? "it closed the connection" : err->message);
    leave(connection);
}

/* Another loop or the join server goes on with it. */
static void hand_over(struct vq_mesh_connection *connection, void (*to)(const struct vq_channel_parts *, void *))
{
    struct vq_mesh *mesh = connection->mesh;
    struct vq_channel_parts parts;

    if (to == NULL) {
        vq_mesh_connection_close(connection, "nobody here takes that kind of connection");
        return;
    }
    vq_channel_detach(connection->channel, &parts);
    connection->channel = NULL;
    forget(connection);
    to(&parts, mesh->data);
}

static void greet(struct vq_mesh_connection *connection)
{
    connection->state = VQ_MESH_GREETING;
    connection->deadline_ms = uv_now(connection->mesh->loop) + connection->mesh->options.handshake_ms;
    vq_mesh_wake(connection->mesh, connection->deadline_ms);
    if (connection->is_outgoing)
        send_hello(connection);
}

static void refuse_stranger(struct vq_mesh_connection *connection, uint64_t node)
{
    struct vq_mesh *mesh = connection->mesh;
    Vq__Mesh message = VQ__MESH__INIT;
    Vq__Removed removed = VQ__REMOVED__INIT;

    if (node != 0 && node != mesh->options.node_id && mesh->callbacks.stranger != NULL &&
        mesh->callbacks.stranger(node, &removed, mesh->data)) {
        message.message_case = VQ__MESH__MESSAGE_REMOVED;
        message.removed = &removed;
        (void)vq_mesh_connection_send(connection, &message); /* small */
        connection->linger_ms = STOP_LINGER_MS;
    }
    vq_mesh_connection_close(connection, "its certificate is not that of another member");
}

static void shaken(struct vq_mesh_connection *connection)
{
    struct vq_mesh *mesh = connection->mesh;
    const struct vq_tls_session *tls = vq_channel_tls(connection->channel);
    const char *alpn = vq_tls_session_alpn(tls);
    uint64_t node = vq_tls_session_peer_node(tls);

    if (connection->is_outgoing) {
        if (node == connection->node)
            greet(connection);
        else
            vq_mesh_connection_close(connection, "there is another node at its address");
        return;
    }
    if (strcmp(alpn, "vq-join") == 0) {
        hand_over(connection, mesh->callbacks.join);
        return;
    }
    connection->node = node;
    if (node == 0 || node == mesh->options.node_id || vq_mesh_find(mesh, node) == NULL)
        refuse_stranger(connection, strcmp(alpn, "vq-mesh") == 0 ? node : 0);
    else if (strcmp(alpn, "vq-raft") == 0)
        hand_over(connection, mesh->callbacks.raft);
    else
        greet(connection);
}

static void ready(struct vq_channel *channel VQ_UNUSED, void *data)
{
    struct vq_mesh_connection *connection = data;

    enter(connection);
    shaken(connection);
    leave(connection);
}

static const struct vq_channel_callbacks channel_callbacks = {received, ready, NULL, ended};

/* ---- Opening ----------------------------------------------------------------------------------------------------- */

static struct vq_mesh_connection *make(struct vq_mesh *mesh, uint64_t node)
{
    struct vq_mesh_connection *connection = vq_new(struct vq_mesh_connection);

    connection->mesh = mesh;
    connection->node = node;
    connection->is_outgoing = node != 0;
    connection->next = mesh->connections;
    mesh->connections = connection;
    return connection;
}

static void shake(struct vq_mesh_connection *connection, int take_fd)
{
    struct vq_mesh *mesh = connection->mesh;
    bool is_server = !connection->is_outgoing;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_tls_session *session = NULL;
    const struct vq_tls_options tls = {.is_server = is_server,
                                       .tls13_only = true,
                                       .verify = is_server ? VQ_TLS_VERIFY_OPTIONAL : VQ_TLS_VERIFY_PEER,
                                       .alpn = is_server ? accepted_protocols : dialled_protocols};
    const struct vq_channel_options options = {.input_max_bytes = LENGTH_BYTES + VQ_MESH_MESSAGE_MAX,
                                               .output_max_bytes = VQ_MESH_QUEUE_MAX,
                                               .handshake_ms = mesh->options.handshake_ms};

    connection->state = VQ_MESH_SHAKING;
    if (vq_tls_session_new(mesh->options.credentials, &tls, &session, &err) < 0) {
        (void)close(take_fd); /* nothing was said on it */
        vq_mesh_connection_close(connection, err.message);
        return;
    }
    connection->channel = vq_channel_open(mesh->loop, take_fd, session, &options, &channel_callbacks, connection);
}

static void dialled(int take_fd, const struct vq_error *err, void *data)
{
    struct vq_mesh_connection *connection = data;

    connection->dial = NULL;
    if (take_fd < 0)
        vq_mesh_connection_close(connection, err->message);
    else
        shake(connection, take_fd);
}

void vq_mesh_connection_dial(struct vq_mesh *mesh, struct vq_mesh_known *known)
{
    struct vq_mesh_connection *connection = make(mesh, known->peer.id);
    const struct vq_mesh_address *address = &known->addresses[known->next_address % known->n_addresses];

    known->next_address++;
    connection->state = VQ_MESH_DIALLING;
    connection->dial = vq_dial_start(mesh->loop, (const struct sockaddr *)&address->address, address->length,
                                     CONNECT_MS, (unsigned)mesh->options.silence_ms, dialled, connection);
}

size_t vq_mesh_strangers(const struct vq_mesh *mesh)
{
    size_t count = 0;

    for (const struct vq_mesh_connection *connection = mesh->connections; connection != NULL;
         connection = connection->next)
        count += !connection->is_outgoing && connection->state != VQ_MESH_ONLINE;
    return count;
}

void vq_mesh_connection_accept(struct vq_mesh *mesh, int take_fd)
{
    if (vq_mesh_strangers(mesh) >= mesh->options.strangers_max) {
        (void)close(take_fd); /* members try again; who floods us gets no more than this */
        return;
    }
    vq_dial_tune(take_fd, (unsigned)mesh->options.silence_ms);
    shake(make(mesh, 0), take_fd);
}
