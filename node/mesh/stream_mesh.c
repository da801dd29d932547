/* Streams whose client is connected to another node: both ends.
 *
 * On the owner's node a link sends what the driver writes as StreamData; on the client's node a relay plays the driver
 * of an ordinary stream. Each end may have VQ_STREAM_WINDOW bytes on the way that the other has not confirmed by
 * CREDIT; a peer that sends more is not one of us, and its stream ends. */
#define VQ_FROM VIR_FROM_STREAMS
#include <stdlib.h>
#include <string.h>

#include "node/call.h"
#include "node/daemon.h"
#include "node/mesh/forward.h"
#include "node/client/stream.h"
#include "proto/cluster.pb-c.h"

enum { CREDIT_AFTER = 64 * 1024 }; /* confirm when this much was taken: a quarter of nothing would be too chatty */

struct mesh_end {
    struct vq_stream_link link; /* owner's side */
    struct vq_daemon *daemon;
    struct mesh_end *next, *prev;
    uint64_t peer, id;
    bool is_relay;            /* client's side */
    struct vq_stream *stream; /* NULL: over, waits to be freed */
    size_t unconfirmed;       /* sent by us */
    size_t taken;             /* received by us and not confirmed */
    size_t received;          /* of that, still queued here */
    bool is_waiting;          /* for credit, before more may be sent */
};

struct vq_stream_links {
    struct mesh_end *first;
};

struct vq_stream_links *vq_stream_links_new(void)
{
    return vq_new(struct vq_stream_links);
}

void vq_stream_links_free(struct vq_stream_links *links)
{
    free(links);
}

static struct mesh_end *end_new(struct vq_daemon *daemon, uint64_t peer, uint64_t id, bool is_relay)
{
    struct mesh_end *end = vq_new(struct mesh_end);
    struct vq_stream_links *links = daemon->stream_links;

    end->daemon = daemon;
    end->peer = peer;
    end->id = id;
    end->is_relay = is_relay;
    end->next = links->first;
    if (links->first != NULL)
        links->first->prev = end;
    links->first = end;
    return end;
}

static void end_free(struct mesh_end *end)
{
    if (end->next != NULL)
        end->next->prev = end->prev;
    if (end->prev != NULL)
        end->prev->next = end->next;
    else
        end->daemon->stream_links->first = end->next;
    free(end);
}

/* ids are the client's node's: the same number may name a stream of ours and one of the peer's. */
static struct mesh_end *end_find(struct vq_daemon *daemon, uint64_t peer, uint64_t id, bool is_relay)
{
    struct mesh_end *end = daemon->stream_links->first;

    while (end != NULL && (end->peer != peer || end->id != id || end->is_relay != is_relay))
        end = end->next;
    return end;
}

static bool send_message(struct mesh_end *end, Vq__StreamData *message)
{
    message->id = end->id;
    message->from_client = end->is_relay;
    /* A peer that is gone is told by vq_stream_mesh_lost(), not from inside here. */
    return vq_forward_stream(end->daemon, end->peer, message);
}

static void send_kind(struct mesh_end *end, Vq__StreamData__Kind kind, int64_t length)
{
    Vq__StreamData message = VQ__STREAM_DATA__INIT;

    message.kind = kind;
    message.length = length;
    (void)send_message(end, &message);
}

static void send_bytes(struct mesh_end *end, const uint8_t *bytes, size_t length)
{
    size_t done = 0;

    do {
        size_t piece = length - done > VQ_STREAM_PIECE_MAX ? VQ_STREAM_PIECE_MAX : length - done;
        Vq__StreamData message = VQ__STREAM_DATA__INIT;
        message.kind = VQ__STREAM_DATA__KIND__DATA;
        message.data.data = (uint8_t *)bytes + done;
        message.data.len = piece;
        (void)send_message(end, &message);
        done += piece;
    } while (done < length);
    end->unconfirmed += length;
}

static void confirm(struct mesh_end *end, size_t length)
{
    end->received -= length <= end->received ? length : end->received;
    end->taken += length;
    if (end->taken >= CREDIT_AFTER) {
        send_kind(end, VQ__STREAM_DATA__KIND__CREDIT, (int64_t)end->taken);
        end->taken = 0;
    }
}

static void to_error(const Vq__StreamData *message, struct vq_error *err)
{
    vq_error_set_from(err, message->from, message->code == VIR_ERR_OK ? VIR_ERR_INTERNAL_ERROR : message->code, "%s",
                      message->text);
}

/* ---- The owner's side: a link ---- */

static struct mesh_end *of(struct vq_stream_link *link)
{
    return VQ_CONTAINER_OF(link, struct mesh_end, link);
}

/* The stream may send its next packet at once while the window has room. */
static void packet_left(struct mesh_end *end)
{
    if (end->unconfirmed < VQ_STREAM_WINDOW)
        vq_stream_sent(end->link.stream);
    else
        end->is_waiting = true;
}

static void link_data(struct vq_stream_link *link, const uint8_t *bytes, size_t length)
{
    send_bytes(of(link), bytes, length);
    packet_left(of(link));
}

static void link_hole(struct vq_stream_link *link, int64_t length)
{
    send_kind(of(link), VQ__STREAM_DATA__KIND__HOLE, length);
    packet_left(of(link));
}

static void link_end(struct vq_stream_link *link)
{
    send_bytes(of(link), NULL, 0);
    packet_left(of(link));
}

static void link_finish(struct vq_stream_link *link)
{
    send_kind(of(link), VQ__STREAM_DATA__KIND__FINISH, 0);
}

static void link_fail(struct vq_stream_link *link, const struct vq_error *err)
{
    Vq__StreamData message = VQ__STREAM_DATA__INIT;

    message.kind = VQ__STREAM_DATA__KIND__FAILED;
    message.code = err->code;
    message.from = err->from;
    message.text = (char *)err->message;
    (void)send_message(of(link), &message);
}

static void link_taken(struct vq_stream_link *link, size_t length)
{
    confirm(of(link), length);
}

static void link_released(struct vq_stream_link *link)
{
    end_free(of(link));
}

static const struct vq_stream_link_ops mesh_link_ops = {
    .data = link_data,
    .hole = link_hole,
    .end = link_end,
    .finish = link_finish,
    .fail = link_fail,
    .taken = link_taken,
    .released = link_released,
};

struct vq_stream_link *vq_stream_mesh_link(struct vq_daemon *daemon, uint64_t peer, uint64_t call_id)
{
    if (end_find(daemon, peer, call_id, false) != NULL)
        return NULL; /* a peer that uses an id twice */
    struct mesh_end *end = end_new(daemon, peer, call_id, false);
    end->link.ops = &mesh_link_ops;
    return &end->link;
}

static void link_received(struct mesh_end *end, const Vq__StreamData *message)
{
    struct vq_stream *stream = end->link.stream;

    switch (message->kind) {
    case VQ__STREAM_DATA__KIND__DATA:
        end->received += message->data.len;
        if (end->received > VQ_STREAM_WINDOW + VQ_STREAM_PIECE_MAX)
            vq_stream_from_client_abort(stream);
        else
            vq_stream_from_client_data(stream, message->data.data, message->data.len);
        return;
    case VQ__STREAM_DATA__KIND__HOLE:
        vq_stream_from_client_hole(stream, message->length);
        return;
    case VQ__STREAM_DATA__KIND__FINISH:
        vq_stream_from_client_finish(stream);
        return;
    case VQ__STREAM_DATA__KIND__ABORT:
        vq_stream_from_client_abort(stream);
        return;
    case VQ__STREAM_DATA__KIND__CREDIT:
        end->unconfirmed -= (uint64_t)message->length < end->unconfirmed ? (size_t)message->length : end->unconfirmed;
        if (end->is_waiting && end->unconfirmed < VQ_STREAM_WINDOW) {
            end->is_waiting = false;
            vq_stream_sent(stream);
        }
        return;
    default:
        return; /* from a newer node */
    }
}

/* ---- The client's side: a relay ---- */

static bool relay_data(struct vq_stream *stream VQ_UNUSED, const uint8_t *bytes, size_t length, void *data)
{
    struct mesh_end *end = data;

    send_bytes(end, bytes, length);
    end->is_waiting = end->unconfirmed >= VQ_STREAM_WINDOW;
    return !end->is_waiting;
}

static void relay_hole(struct vq_stream *stream VQ_UNUSED, int64_t length, void *data)
{
    send_kind(data, VQ__STREAM_DATA__KIND__HOLE, length);
}

static void relay_finish(struct vq_stream *stream VQ_UNUSED, void *data)
{
    send_kind(data, VQ__STREAM_DATA__KIND__FINISH, 0);
}

static void relay_aborted(struct vq_stream *stream VQ_UNUSED, void *data)
{
    send_kind(data, VQ__STREAM_DATA__KIND__ABORT, 0);
    end_free(data);
}

static void relay_writable(struct vq_stream *stream VQ_UNUSED, void *data)
{
    struct mesh_end *end = data;

    confirm(end, end->received);
}

static const struct vq_stream_callbacks relay_callbacks = {
    .data = relay_data,
    .hole = relay_hole,
    .finish = relay_finish,
    .aborted = relay_aborted,
    .writable = relay_writable,
};

bool vq_stream_relay_open(struct vq_call *call, uint64_t node, uint64_t call_id)
{
    struct mesh_end *end = end_new(call->daemon, node, call_id, true);

    end->stream = call->request.open_stream(&call->request, &relay_callbacks, end);
    if (end->stream != NULL)
        return true;
    send_kind(end, VQ__STREAM_DATA__KIND__ABORT, 0);
    end_free(end);
    return false;
}

static void relay_received(struct mesh_end *end, const Vq__StreamData *message)
{
    struct vq_stream *stream = end->stream;
    struct vq_error err = VQ_ERROR_INIT;

    switch (message->kind) {
    case VQ__STREAM_DATA__KIND__DATA:
        if (message->data.len == 0) {
            vq_stream_end(stream);
            return;
        }
        end->received += message->data.len;
        if (end->received > VQ_STREAM_WINDOW * 2) {
            vq_error_set(&err, VIR_ERR_INTERNAL_ERROR, "the guest's node sends more than it may");
            send_kind(end, VQ__STREAM_DATA__KIND__ABORT, 0);
            end_free(end);
            vq_stream_fail(stream, &err);
        } else if (vq_stream_write(stream, message->data.data, message->data.len)) {
            confirm(end, end->received);
        }
        return;
    case VQ__STREAM_DATA__KIND__HOLE:
        vq_stream_write_hole(stream, message->length);
        return;
    case VQ__STREAM_DATA__KIND__FINISH:
        end_free(end);
        vq_stream_finish(stream);
        return;
    case VQ__STREAM_DATA__KIND__FAILED:
        to_error(message, &err);
        end_free(end);
        vq_stream_fail(stream, &err);
        return;
    case VQ__STREAM_DATA__KIND__CREDIT:
        end->unconfirmed -= (uint64_t)message->length < end->unconfirmed ? (size_t)message->length : end->unconfirmed;
        if (end->is_waiting && end->unconfirmed < VQ_STREAM_WINDOW) {
            end->is_waiting = false;
            vq_stream_resume(stream);
        }
        return;
    default:
        return; /* from a newer node */
    }
}

/* ---- Both ---- */

void vq_stream_mesh_received(struct vq_daemon *daemon, uint64_t peer, const Vq__StreamData *message)
{
    struct mesh_end *end = end_find(daemon, peer, message->id, !message->from_client);

    if (end == NULL)
        return; /* over already */
    if (message->kind == VQ__STREAM_DATA__KIND__CREDIT && message->length < 0)
        return;
    if (end->is_relay)
        relay_received(end, message);
    else
        link_received(end, message);
}

static void end_lost(struct mesh_end *end)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_stream *stream = end->stream;

    if (!end->is_relay) {
        vq_stream_from_client_abort(end->link.stream);
        return;
    }
    vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "the connection to the guest's node was lost");
    end_free(end);
    vq_stream_fail(stream, &err);
}

void vq_stream_mesh_lost(struct vq_daemon *daemon, uint64_t peer)
{
    struct mesh_end *end;

    /* Ending one may end others: begin anew after each. */
    do {
        end = daemon->stream_links->first;
        while (end != NULL && end->peer != peer)
            end = end->next;
        if (end != NULL)
            end_lost(end);
    } while (end != NULL);
}

void vq_stream_mesh_stop(struct vq_daemon *daemon)
{
    while (daemon->stream_links->first != NULL)
        end_lost(daemon->stream_links->first);
}
