/* libraft's transport: TLS connections, pumped to and from one end of a socket pair whose other end is raft_uv's.
 *
 *    raft_uv ◄─ uv_pipe_t ─╫─ socket pair ─╫─ local ◄─► remote ─╫─ TLS ─ TCP ─╫─ other node
 *
 * local and remote are byte channels on the raft loop. What one receives is queued at the other; when too much waits
 * there, the first is paused until the queue is empty again. When either ends, both are closed: raft_uv notices at its
 * next write or read, and connects again. */
#define VQ_FROM VIR_FROM_RPC
#include "raft/transport.h"

#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "proto/dial.h"
#include "proto/tls.h"
#include "raft/raft.h"

enum {
    CONNECT_MS = 2000,
    STALLED_MS = 1000,
    QUEUE_MAX_BYTES = 1024 * 1024,
    TCP_TIMEOUT_MS = 3000,
    ROTATE_MS = 1000, /* between two connections that are closed because credentials changed */
};

static const char *const protocols[] = {"vq-raft", NULL};

struct peer {
    uint64_t id;
    bool has_address;
    struct sockaddr_storage address;
    socklen_t address_length;
    char problem[256]; /* what was logged last, so that an unreachable node does not fill the log; empty: it works */
};

/* One connection, or the attempt to make one. */
struct link {
    struct vq_transport *transport;
    struct link *next;
    uint64_t node;
    bool is_outgoing;
    bool is_old;                     /* made with credentials that have been replaced */
    struct raft_uv_connect *request; /* outgoing: raft waits for it */
    uint64_t began_ms;
    struct vq_dial *dial;
    struct vq_channel *remote, *local;
    uv_timer_t stalled; /* runs while one side is paused */
    size_t stalled_queued;
};

struct vq_transport {
    uv_loop_t *loop;
    struct vq_transport_options options;
    struct raft_uv_transport *uv;
    raft_uv_accept_cb accept_cb;         /* NULL: not listening */
    raft_uv_transport_close_cb close_cb; /* due in the next turn of the loop */
    bool is_closed, is_freed;
    struct peer *peers;
    size_t n_peers;
    struct link *links;
    uv_timer_t turn, rotate;
    unsigned n_handles; /* the two timers, and one for each link */
};

/* ---- Peers ------------------------------------------------------------------------------------------------------- */

static struct peer *find_peer(const struct vq_transport *transport, uint64_t id)
{
    for (size_t i = 0; i < transport->n_peers; i++)
        if (transport->peers[i].id == id)
            return &transport->peers[i];
    return NULL;
}

static void log_problem(struct vq_transport *transport, uint64_t node, const char *problem)
{
    struct peer *peer = find_peer(transport, node);

    if (peer != NULL && strncmp(peer->problem, problem, sizeof(peer->problem) - 1) == 0)
        return;
    if (peer == NULL) { /* removed, or not told of yet: libraft asks for it four times a second all the same */
        vq_log(DEBUG, "raft.connection", "node=%" PRIu64 ": %s, trying again", node, problem);
        return;
    }
    vq_log(WARN, "raft.connection", "node=%" PRIu64 ": %s, trying again", node, problem);
    (void)snprintf(peer->problem, sizeof(peer->problem), "%s", problem);
}

static void log_connected(struct vq_transport *transport, const struct link *link)
{
    struct peer *peer = find_peer(transport, link->node);

    vq_log(DEBUG, "raft.connected", "node=%" PRIu64 " direction=%s", link->node, link->is_outgoing ? "out" : "in");
    if (link->is_outgoing && peer != NULL && peer->problem[0] != '\0') {
        vq_log(INFO, "raft.connection", "node=%" PRIu64 ": works again", link->node);
        peer->problem[0] = '\0';
    }
}

/* ---- Links ------------------------------------------------------------------------------------------------------- */

static void handle_closed(struct vq_transport *transport)
{
    if (--transport->n_handles > 0 || !transport->is_freed)
        return;
    vq_tls_credentials_free(transport->options.credentials);
    free(transport->peers);
    free(transport);
}

static void link_closed(uv_handle_t *handle)
{
    struct link *link = handle->data;
    struct vq_transport *transport = link->transport;

    free(link);
    handle_closed(transport);
}

static struct link *link_new(struct vq_transport *transport, uint64_t node, bool is_outgoing)
{
    struct link *link = vq_new(struct link);

    link->transport = transport;
    link->node = node;
    link->is_outgoing = is_outgoing;
    link->began_ms = uv_now(transport->loop);
    (void)uv_timer_init(transport->loop, &link->stalled);
    link->stalled.data = link;
    link->next = transport->links;
    transport->links = link;
    transport->n_handles++;
    return link;
}

/* status: what raft is told when it still waits for the connection. */
static void link_close(struct link *link, int status)
{
    struct vq_transport *transport = link->transport;
    struct raft_uv_connect *request = vq_take(link->request);
    struct link **place = &transport->links;

    while (*place != link)
        place = &(*place)->next;
    *place = link->next;
    if (link->dial != NULL)
        vq_dial_cancel(link->dial);
    if (link->remote != NULL)
        vq_channel_close(link->remote, 0);
    if (link->local != NULL)
        vq_channel_close(link->local, 0);
    uv_close((uv_handle_t *)&link->stalled, link_closed);
    if (request != NULL)
        request->cb(request, NULL, status);
}

static void link_fail(struct link *link, const char *problem)
{
    log_problem(link->transport, link->node, problem);
    link_close(link, RAFT_NOCONNECTION);
}

/* ---- The pump ---------------------------------------------------------------------------------------------------- */

static size_t queued(const struct link *link)
{
    return vq_channel_queued(link->local) + vq_channel_queued(link->remote);
}

static void stalled_cb(uv_timer_t *timer)
{
    struct link *link = timer->data;
    size_t now = queued(link);

    if (now >= link->stalled_queued)
        link_fail(link, "it takes no data");
    else
        link->stalled_queued = now; /* slow, but it takes some */
}

static size_t forward(struct vq_channel *from, struct vq_channel *to, struct link *link, const uint8_t *bytes,
                      size_t length)
{
    const struct vq_transport_options *options = &link->transport->options;

    vq_channel_write(to, bytes, length);
    if (vq_channel_queued(to) > options->queue_max_bytes) {
        vq_channel_pause(from);
        link->stalled_queued = queued(link);
        (void)uv_timer_start(&link->stalled, stalled_cb, options->stalled_ms, options->stalled_ms);
    }
    return length;
}

static size_t remote_received(struct vq_channel *channel, const uint8_t *bytes, size_t length, size_t *wanted VQ_UNUSED,
                              void *data)
{
    struct link *link = data;

    if (link->is_outgoing) { /* the other node only reads here */
        link_fail(link, "it sends on a connection that is ours to send on");
        return length;
    }
    return forward(channel, link->local, link, bytes, length);
}

static size_t local_received(struct vq_channel *channel, const uint8_t *bytes, size_t length, size_t *wanted VQ_UNUSED,
                             void *data)
{
    struct link *link = data;

    if (!link->is_outgoing) { /* libraft only reads from accepted connections */
        link_fail(link, "unexpected data for it");
        return length;
    }
    return forward(channel, link->remote, link, bytes, length);
}

static void remote_drained(struct vq_channel *channel VQ_UNUSED, void *data)
{
    struct link *link = data;

    (void)uv_timer_stop(&link->stalled);
    if (link->local != NULL)
        vq_channel_resume(link->local);
}

static void local_drained(struct vq_channel *channel VQ_UNUSED, void *data)
{
    struct link *link = data;

    (void)uv_timer_stop(&link->stalled);
    vq_channel_resume(link->remote);
}

static void remote_ended(struct vq_channel *channel VQ_UNUSED, const struct vq_error *err, void *data)
{
    link_fail(data, err->code == VIR_ERR_OK ? "it closed the connection" : err->message);
}

static void local_ended(struct vq_channel *channel VQ_UNUSED, const struct vq_error *err VQ_UNUSED, void *data)
{
    link_close(data, RAFT_NOCONNECTION); /* libraft has no more use for it */
}

static void remote_ready(struct vq_channel *channel, void *data);

static const struct vq_channel_callbacks remote_callbacks = {remote_received, remote_ready, remote_drained,
                                                             remote_ended};
static const struct vq_channel_callbacks local_callbacks = {local_received, NULL, local_drained, local_ended};

static void stream_closed(uv_handle_t *handle)
{
    raft_free(handle);
}

/* The stream that libraft gets, or NULL. The other end of the pair becomes local. */
static struct uv_stream_s *make_stream(struct link *link)
{
    int fds[2];
    const struct vq_channel_options options = {.input_max_bytes = 0};
    uv_pipe_t *pipe = raft_malloc(sizeof(*pipe));

    if (pipe == NULL)
        return NULL;
    int rc = uv_pipe_init(link->transport->loop, pipe, 0);
    if (rc < 0 || socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds) < 0) {
        uv_close((uv_handle_t *)pipe, stream_closed);
        return NULL;
    }
    if (uv_pipe_open(pipe, fds[0]) < 0) {
        uv_close((uv_handle_t *)pipe, stream_closed);
        (void)close(fds[0]); /* neither end went anywhere */
        (void)close(fds[1]);
        return NULL;
    }
    link->local = vq_channel_open(link->transport->loop, fds[1], NULL, &options, &local_callbacks, link);
    return (struct uv_stream_s *)pipe;
}

/* ---- Outgoing ---------------------------------------------------------------------------------------------------- */

/* The handshake is done: is it the node that libraft asked for? */
static void remote_ready(struct vq_channel *channel, void *data)
{
    struct link *link = data;
    uint64_t node = vq_tls_session_peer_node(vq_channel_tls(channel));
    char problem[128];

    if (node != link->node) {
        (void)snprintf(problem, sizeof(problem), "at its address there is node %" PRIu64 " ('%s')", node,
                       vq_tls_session_peer_name(vq_channel_tls(channel)));
        link_fail(link, problem);
        return;
    }
    struct uv_stream_s *stream = make_stream(link);
    if (stream == NULL) {
        link_fail(link, "no descriptors left");
        return;
    }
    log_connected(link->transport, link);
    struct raft_uv_connect *request = vq_take(link->request);
    request->cb(request, stream, 0);
}

static void dialled(int take_fd, const struct vq_error *err, void *data)
{
    struct link *link = data;
    struct vq_transport *transport = link->transport;
    struct vq_tls_session *session = NULL;
    struct vq_error tls_err = VQ_ERROR_INIT;
    const struct vq_tls_options tls = {.tls13_only = true, .alpn = protocols};
    uint64_t spent_ms = uv_now(transport->loop) - link->began_ms;
    const struct vq_channel_options options = {
        .handshake_ms = spent_ms < transport->options.connect_ms ? transport->options.connect_ms - spent_ms : 1};

    link->dial = NULL;
    if (take_fd < 0) {
        link_fail(link, err->message);
        return;
    }
    if (vq_tls_session_new(transport->options.credentials, &tls, &session, &tls_err) < 0) {
        (void)close(take_fd); /* nothing was said on it */
        link_fail(link, tls_err.message);
        return;
    }
    link->remote = vq_channel_open(transport->loop, take_fd, session, &options, &remote_callbacks, link);
}

static int transport_connect(struct raft_uv_transport *uv, struct raft_uv_connect *request, raft_id id,
                             const char *address VQ_UNUSED, raft_uv_connect_cb cb)
{
    struct vq_transport *transport = uv->impl;
    struct peer *peer = find_peer(transport, id);

    if (transport->close_cb != NULL || transport->is_closed)
        return RAFT_CANCELED;
    if (peer == NULL || !peer->has_address || transport->options.credentials == NULL) {
        log_problem(transport, id, "no address is known");
        return RAFT_NOCONNECTION;
    }
    struct link *link = link_new(transport, id, true);
    request->cb = cb;
    link->request = request;
    link->dial = vq_dial_start(transport->loop, (const struct sockaddr *)&peer->address, peer->address_length,
                               transport->options.connect_ms, TCP_TIMEOUT_MS, dialled, link);
    return 0;
}

/* ---- Incoming ---------------------------------------------------------------------------------------------------- */

static const char *refusal(const struct vq_transport *transport, const struct vq_channel_parts *parts, uint64_t node)
{
    const char *alpn = parts->tls == NULL ? NULL : vq_tls_session_alpn(parts->tls);

    if (transport->close_cb != NULL || transport->is_closed || transport->accept_cb == NULL)
        return "consensus is not ready";
    if (alpn == NULL || strcmp(alpn, protocols[0]) != 0)
        return "it does not speak for consensus";
    if (node == 0 || node == transport->options.node_id)
        return "its certificate is not another node's";
    return find_peer(transport, node) == NULL ? "it is not a member" : NULL;
}

/* A node that connects again has given up its earlier connection. */
static void close_incoming(struct vq_transport *transport, uint64_t node)
{
    struct link *next;

    for (struct link *link = transport->links; link != NULL; link = next) {
        next = link->next;
        if (!link->is_outgoing && link->node == node)
            link_close(link, RAFT_NOCONNECTION);
    }
}

void vq_transport_accept(struct vq_transport *transport, const struct vq_channel_parts *take_parts)
{
    const struct vq_channel_options options = {.input_max_bytes = 0};
    uint64_t node = take_parts->tls == NULL ? 0 : vq_tls_session_peer_node(take_parts->tls);
    const char *problem = refusal(transport, take_parts, node);
    char address[24];

    if (problem != NULL) {
        vq_log(WARN, "raft.refused", "node=%" PRIu64 ": %s, connection closed", node, problem);
        vq_channel_parts_discard(take_parts);
        return;
    }
    close_incoming(transport, node);
    vq_dial_tune(take_parts->fd, TCP_TIMEOUT_MS);
    struct link *link = link_new(transport, node, false);
    struct uv_stream_s *stream = make_stream(link);
    if (stream == NULL) {
        vq_channel_parts_discard(take_parts);
        link_fail(link, "no descriptors left");
        return;
    }
    link->remote = vq_channel_attach(transport->loop, take_parts, &options, &remote_callbacks, link);
    log_connected(transport, link);
    (void)snprintf(address, sizeof(address), "%" PRIu64, node);
    transport->accept_cb(transport->uv, node, address, stream);
}

/* ---- What raft_uv calls ------------------------------------------------------------------------------------------ */

static int transport_init(struct raft_uv_transport *uv, raft_id id, const char *address VQ_UNUSED)
{
    struct vq_transport *transport = uv->impl;

    if (id == transport->options.node_id)
        return 0;
    (void)snprintf(uv->errmsg, sizeof(uv->errmsg), "the transport was made for another node");
    return RAFT_BADID;
}

static int transport_listen(struct raft_uv_transport *uv, raft_uv_accept_cb cb)
{
    struct vq_transport *transport = uv->impl;

    transport->accept_cb = cb;
    return 0;
}

static void close_strangers(struct vq_transport *transport)
{
    struct link *next;

    for (struct link *link = transport->links; link != NULL; link = next) {
        next = link->next;
        if (find_peer(transport, link->node) == NULL)
            link_fail(link, "it is no longer a member");
    }
}

/* In the next turn of the loop, because libraft does not expect its callbacks from inside its own calls. */
static void turn_cb(uv_timer_t *timer)
{
    struct vq_transport *transport = timer->data;
    raft_uv_transport_close_cb cb = vq_take(transport->close_cb);

    if (cb == NULL) {
        close_strangers(transport);
        return;
    }
    transport->is_closed = true;
    while (transport->links != NULL)
        link_close(transport->links, RAFT_CANCELED);
    cb(transport->uv);
}

static void transport_close(struct raft_uv_transport *uv, raft_uv_transport_close_cb cb)
{
    struct vq_transport *transport = uv->impl;

    assert(transport->close_cb == NULL && !transport->is_closed);
    transport->close_cb = cb;
    transport->accept_cb = NULL;
    (void)uv_timer_start(&transport->turn, turn_cb, 0, 0);
}

/* ---- Making, changing, freeing ----------------------------------------------------------------------------------- */

struct vq_transport *vq_transport_new(uv_loop_t *loop, const struct vq_transport_options *options,
                                      struct raft_uv_transport *uv_transport)
{
    struct vq_transport *transport = vq_new(struct vq_transport);
    struct vq_transport_options *own = &transport->options;

    assert(options->node_id != 0);
    transport->loop = loop;
    *own = *options;
    own->credentials = vq_tls_credentials_ref(options->credentials);
    own->connect_ms = own->connect_ms == 0 ? CONNECT_MS : own->connect_ms;
    own->stalled_ms = own->stalled_ms == 0 ? STALLED_MS : own->stalled_ms;
    own->queue_max_bytes = own->queue_max_bytes == 0 ? QUEUE_MAX_BYTES : own->queue_max_bytes;
    (void)uv_timer_init(loop, &transport->turn);
    (void)uv_timer_init(loop, &transport->rotate);
    transport->turn.data = transport->rotate.data = transport;
    transport->n_handles = 2;
    transport->uv = uv_transport;
    *uv_transport = (struct raft_uv_transport){
        .version = 1,
        .impl = transport,
        .init = transport_init,
        .listen = transport_listen,
        .connect = transport_connect,
        .close = transport_close,
    };
    return transport;
}

static void timer_closed(uv_handle_t *handle)
{
    handle_closed(handle->data);
}

void vq_transport_free(struct vq_transport *transport)
{
    if (transport == NULL)
        return;
    assert(transport->close_cb == NULL);
    transport->is_closed = transport->is_freed = true;
    while (transport->links != NULL)
        link_close(transport->links, RAFT_CANCELED);
    uv_close((uv_handle_t *)&transport->turn, timer_closed);
    uv_close((uv_handle_t *)&transport->rotate, timer_closed);
}

void vq_transport_set_peers(struct vq_transport *transport, const struct vq_raft_address *peers, size_t n_peers)
{
    struct peer *table = vq_calloc(n_peers, sizeof(*table));
    struct vq_error err = VQ_ERROR_INIT;

    for (size_t i = 0; i < n_peers; i++) {
        const struct peer *known = find_peer(transport, peers[i].id);
        if (known != NULL)
            table[i] = *known;
        table[i].id = peers[i].id;
        table[i].has_address = peers[i].address != NULL && vq_address_parse(peers[i].address, 0, &table[i].address,
                                                                            &table[i].address_length, &err) == 0;
        if (!table[i].has_address && peers[i].id != transport->options.node_id)
            vq_log(WARN, "raft.address", "node=%" PRIu64 ": '%s' cannot be used as an address, waiting for another",
                   peers[i].id, peers[i].address == NULL ? "" : peers[i].address);
    }
    free(transport->peers);
    transport->peers = table;
    transport->n_peers = n_peers;
    if (!transport->is_closed)
        (void)uv_timer_start(&transport->turn, turn_cb, 0, 0); /* those who are not in it are dropped */
}

/* One connection made with the old credentials after the other, so that a majority stays connected. */
static void rotate_cb(uv_timer_t *timer)
{
    struct vq_transport *transport = timer->data;
    struct link *link = transport->links;

    while (link != NULL && !link->is_old)
        link = link->next;
    if (link == NULL)
        (void)uv_timer_stop(timer);
    else
        link_close(link, RAFT_NOCONNECTION);
}

void vq_transport_set_credentials(struct vq_transport *transport, struct vq_tls_credentials *credentials)
{
    struct vq_tls_credentials *old = transport->options.credentials;

    transport->options.credentials = vq_tls_credentials_ref(credentials);
    vq_tls_credentials_free(old);
    for (struct link *link = transport->links; link != NULL; link = link->next)
        link->is_old = true;
    (void)uv_timer_start(&transport->rotate, rotate_cb, ROTATE_MS, ROTATE_MS);
}

size_t vq_transport_connections(const struct vq_transport *transport)
{
    size_t count = 0;

    for (const struct link *link = transport->links; link != NULL; link = link->next)
        count += link->local != NULL;
    return count;
}
