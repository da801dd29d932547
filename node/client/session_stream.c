/* Streams of a client of this node: packets to and from its connection.
 *
 * One packet to the client is on its way at a time. Each packet from the client holds one of its slots for calls until
 * the driver took it, so that a slow driver leaves the rest unread. */
#define VQ_FROM VIR_FROM_STREAMS
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/buffer.h"
#include "node/client/session.h"
#include "node/client/stream.h"
#include "proto/channel.h"
#include "proto/frame.h"

struct vq_session_stream {
    struct vq_stream_link link;
    struct vq_session *session; /* NULL: the connection is gone */
    struct vq_session_stream *next, *prev;
    struct vq_frame head; /* program, version, procedure and serial of all its packets */
    unsigned n_packets;   /* from the client, not yet taken */
    bool is_sending;
    bool has_left; /* what was being sent has left; to be told */
};

static struct vq_session_stream *of(struct vq_stream_link *link)
{
    return VQ_CONTAINER_OF(link, struct vq_session_stream, link);
}

static void send_packet(struct vq_session_stream *stream, enum vq_frame_type type, enum vq_frame_status status,
                        const void *payload, size_t length, const struct vq_error *error)
{
    struct vq_buffer buffer = VQ_BUFFER_INIT;
    struct vq_frame frame = stream->head;

    if (stream->session == NULL)
        return;
    frame.type = type;
    frame.status = status;
    size_t begin = vq_frame_begin(&buffer, &frame);
    if (error != NULL)
        vq_frame_add_error(&buffer, error);
    else
        vq_buffer_add_bytes(&buffer, payload, length);
    if (vq_frame_end(&buffer, begin, NULL) == 0) /* packets are cut to far less than a frame may hold */
        vq_channel_write_buffer(stream->session->channel, &buffer);
    vq_buffer_done(&buffer);
}

static void link_data(struct vq_stream_link *link, const uint8_t *bytes, size_t length)
{
    of(link)->is_sending = true;
    send_packet(of(link), VQ_FRAME_STREAM, VQ_FRAME_CONTINUE, bytes, length, NULL);
}

static void link_hole(struct vq_stream_link *link, int64_t length)
{
    uint8_t payload[12] = {0}; /* length i64, flags u32 */

    for (int i = 0; i < 8; i++)
        payload[i] = (uint8_t)((uint64_t)length >> (56 - 8 * i));
    of(link)->is_sending = true;
    send_packet(of(link), VQ_FRAME_STREAM_HOLE, VQ_FRAME_CONTINUE, payload, sizeof(payload), NULL);
}

static void link_end(struct vq_stream_link *link)
{
    of(link)->is_sending = true;
    send_packet(of(link), VQ_FRAME_STREAM, VQ_FRAME_CONTINUE, NULL, 0, NULL);
}

static void link_finish(struct vq_stream_link *link)
{
    send_packet(of(link), VQ_FRAME_STREAM, VQ_FRAME_OK, NULL, 0, NULL);
}

static void link_fail(struct vq_stream_link *link, const struct vq_error *err)
{
    send_packet(of(link), VQ_FRAME_STREAM, VQ_FRAME_ERROR, NULL, 0, err);
}

static void link_taken(struct vq_stream_link *link, size_t length VQ_UNUSED)
{
    struct vq_session_stream *stream = of(link);

    assert(stream->n_packets > 0);
    stream->n_packets--;
    if (stream->session != NULL)
        vq_session_unbusy(stream->session);
}

static void link_released(struct vq_stream_link *link)
{
    struct vq_session_stream *stream = of(link);
    struct vq_session *session = stream->session;

    if (session != NULL) {
        if (stream->next != NULL)
            stream->next->prev = stream->prev;
        if (stream->prev != NULL)
            stream->prev->next = stream->next;
        else
            session->streams = stream->next;
        session->n_streams--;
        while (stream->n_packets > 0) {
            stream->n_packets--;
            vq_session_unbusy(session);
        }
    }
    free(stream);
}

static const struct vq_stream_link_ops session_link_ops = {
    .data = link_data,
    .hole = link_hole,
    .end = link_end,
    .finish = link_finish,
    .fail = link_fail,
    .taken = link_taken,
    .released = link_released,
};

struct vq_stream_link *vq_session_stream_link(struct vq_call *call)
{
    struct vq_session *session = call->session;

    if (session == NULL || session->n_streams >= VQ_SESSION_STREAMS_MAX)
        return NULL;
    struct vq_session_stream *stream = vq_new(struct vq_session_stream);
    stream->link.ops = &session_link_ops;
    stream->session = session;
    stream->head = (struct vq_frame){.program = vq_program_number(call->request.procedure->program),
                                     .version = 1,
                                     .procedure = (int32_t)call->request.procedure->number,
                                     .serial = call->serial};
    stream->next = session->streams;
    if (session->streams != NULL)
        session->streams->prev = stream;
    session->streams = stream;
    session->n_streams++;
    return &stream->link;
}

static struct vq_session_stream *find(struct vq_session *session, const struct vq_frame *frame)
{
    struct vq_session_stream *stream = session->streams;

    while (stream != NULL && (stream->head.serial != frame->serial || stream->head.procedure != frame->procedure ||
                              stream->head.program != frame->program))
        stream = stream->next;
    return stream;
}

static int64_t hole_length(const struct vq_frame *frame)
{
    uint64_t length = 0;

    if (frame->payload_length < 12)
        return -1;
    for (int i = 0; i < 8; i++)
        length = length << 8 | frame->payload[i];
    return (int64_t)length;
}

void vq_session_stream_packet(struct vq_session *session, const struct vq_frame *frame)
{
    struct vq_session_stream *stream = find(session, frame);

    if (stream == NULL || stream->link.stream == NULL)
        return; /* ended already: what was on its way is dropped */
    if (frame->type == VQ_FRAME_STREAM && frame->status == VQ_FRAME_ERROR) {
        send_packet(stream, VQ_FRAME_STREAM, VQ_FRAME_OK, NULL, 0, NULL);
        vq_stream_from_client_abort(stream->link.stream);
        return;
    }
    stream->n_packets++;
    session->n_busy++;
    if (frame->type == VQ_FRAME_STREAM_HOLE)
        vq_stream_from_client_hole(stream->link.stream, hole_length(frame));
    else if (frame->status == VQ_FRAME_OK)
        vq_stream_from_client_finish(stream->link.stream);
    else
        vq_stream_from_client_data(stream->link.stream, frame->payload, frame->payload_length);
}

/* Telling one stream may end any other, and makes new packets: so first note what has left, then tell one by one. */
void vq_session_streams_drained(struct vq_session *session)
{
    struct vq_session_stream *stream;

    for (stream = session->streams; stream != NULL; stream = stream->next) {
        stream->has_left = stream->is_sending;
        stream->is_sending = false;
    }
    do {
        stream = session->streams;
        while (stream != NULL && !stream->has_left)
            stream = stream->next;
        if (stream != NULL) {
            stream->has_left = false;
            vq_stream_sent(stream->link.stream);
        }
    } while (stream != NULL);
}

void vq_session_streams_closed(struct vq_session *session)
{
    while (session->streams != NULL) {
        struct vq_session_stream *stream = session->streams;
        session->streams = stream->next;
        stream->session = NULL;
        vq_stream_from_client_abort(stream->link.stream);
    }
    session->n_streams = 0;
}
