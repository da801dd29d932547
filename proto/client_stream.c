/* The client's stream up to the daemon. What comes down on it is dropped: nobody here asked for it. */
#define VQ_FROM VIR_FROM_STREAMS
#include <assert.h>

#include "proto/channel.h"
#include "proto/client_priv.h"

static void reset(struct vq_client *client)
{
    client->stream = (struct vq_client_stream){.state = VQ_CLIENT_NO_STREAM};
}

static void send_packet(struct vq_client *client, enum vq_frame_status status, const void *bytes, size_t length)
{
    struct vq_frame frame = client->stream.head;

    if (client->state != VQ_CLIENT_OPEN)
        return; /* the connection's end has failed the stream, or is about to */
    frame.type = VQ_FRAME_STREAM;
    frame.status = status;
    vq_client_send(client, &frame, bytes, length);
}

/* The daemon confirmed, or failed; the call-back may open the next stream. */
static void finished(struct vq_client *client, const struct vq_error *err)
{
    struct vq_client_stream stream = client->stream;

    reset(client);
    stream.finish_cb(NULL, err, stream.finish_data);
}

static void fail(struct vq_client *client, const struct vq_error *err)
{
    struct vq_client_stream *stream = &client->stream;

    if (stream->state == VQ_CLIENT_STREAM_FINISHING) {
        finished(client, err);
        return;
    }
    if (stream->state != VQ_CLIENT_STREAM_OPEN)
        return;
    stream->state = VQ_CLIENT_STREAM_FAILED;
    stream->err = *err;
    if (client->callbacks->stream_failed != NULL)
        client->callbacks->stream_failed(client, &stream->err, client->data);
}

const struct vq_error *vq_client_stream_opened(struct vq_client *client, const struct vq_error *err)
{
    static const struct vq_error given_up = {.code = VIR_ERR_OPERATION_ABORTED,
                                             .from = VIR_FROM_STREAMS,
                                             .int1 = -1,
                                             .message = "the stream was given up before it was open"};
    struct vq_client_stream *stream = &client->stream;

    if (err != NULL) {
        reset(client);
        return err;
    }
    if (stream->state == VQ_CLIENT_STREAM_OPENING) {
        stream->state = VQ_CLIENT_STREAM_OPEN;
        return NULL;
    }
    assert(stream->state == VQ_CLIENT_STREAM_FAILED);
    send_packet(client, VQ_FRAME_ERROR, NULL, 0);
    reset(client);
    return &given_up;
}

void vq_client_stream_packet(struct vq_client *client, const struct vq_frame *frame)
{
    struct vq_client_stream *stream = &client->stream;
    struct vq_error err = VQ_ERROR_INIT;

    if ((stream->state != VQ_CLIENT_STREAM_OPEN && stream->state != VQ_CLIENT_STREAM_FINISHING) ||
        frame->serial != stream->head.serial || frame->procedure != stream->head.procedure ||
        frame->program != stream->head.program)
        return; /* of a stream that is over */
    if (frame->status == VQ_FRAME_ERROR) {
        vq_client_read_error(frame->payload, frame->payload_length, &err);
        fail(client, &err);
    } else if (frame->status == VQ_FRAME_OK && stream->state == VQ_CLIENT_STREAM_FINISHING) {
        finished(client, NULL);
    } else if (frame->status == VQ_FRAME_OK) {
        vq_error_set(&err, VIR_ERR_RPC, "the daemon ended the stream before all was sent");
        fail(client, &err);
    }
}

void vq_client_stream_drained(struct vq_client *client)
{
    if (client->stream.state != VQ_CLIENT_STREAM_OPEN || !client->stream.wants_writable)
        return;
    client->stream.wants_writable = false;
    client->callbacks->writable(client, client->data);
}

void vq_client_stream_time(struct vq_client *client, uint64_t now_ms)
{
    struct vq_client_stream *stream = &client->stream;
    struct vq_error err = VQ_ERROR_INIT;

    if (client->state == VQ_CLIENT_CLOSED)
        return;
    if (stream->is_due) {
        err = stream->err;
        finished(client, &err);
    } else if (stream->state == VQ_CLIENT_STREAM_FINISHING && stream->deadline_ms <= now_ms) {
        vq_error_set(&err, VIR_ERR_OPERATION_TIMEOUT, "the daemon did not confirm the end of the stream in time");
        send_packet(client, VQ_FRAME_ERROR, NULL, 0);
        finished(client, &err);
    }
}

void vq_client_stream_lost(struct vq_client *client, const struct vq_error *err)
{
    if (client->state != VQ_CLIENT_CLOSED)
        fail(client, err);
}

bool vq_client_stream_write(struct vq_client *client, const void *bytes, size_t length)
{
    struct vq_client_stream *stream = &client->stream;
    const char *at = bytes;

    assert(stream->state == VQ_CLIENT_STREAM_OPEN || stream->state == VQ_CLIENT_STREAM_FAILED);
    if (stream->state == VQ_CLIENT_STREAM_FAILED || client->state != VQ_CLIENT_OPEN)
        return true; /* dropped; finish tells */
    while (length > 0) {
        size_t piece = length < VQ_CLIENT_STREAM_PACKET ? length : VQ_CLIENT_STREAM_PACKET;
        send_packet(client, VQ_FRAME_CONTINUE, at, piece);
        at += piece;
        length -= piece;
    }
    stream->wants_writable = vq_channel_queued(client->channel) > VQ_CLIENT_OUTPUT_MAX;
    return !stream->wants_writable;
}

void vq_client_stream_finish(struct vq_client *client, vq_client_cb cb, void *data)
{
    struct vq_client_stream *stream = &client->stream;

    assert(stream->state == VQ_CLIENT_STREAM_OPEN || stream->state == VQ_CLIENT_STREAM_FAILED);
    assert(stream->finish_cb == NULL);
    stream->finish_cb = cb;
    stream->finish_data = data;
    if (stream->state == VQ_CLIENT_STREAM_FAILED) {
        stream->is_due = true;
    } else {
        send_packet(client, VQ_FRAME_OK, NULL, 0);
        stream->state = VQ_CLIENT_STREAM_FINISHING;
        stream->deadline_ms = uv_now(client->loop) + VQ_CLIENT_STREAM_FINISH_MS;
    }
    vq_client_set_timer(client);
}

void vq_client_stream_abort(struct vq_client *client)
{
    struct vq_client_stream *stream = &client->stream;

    if (stream->state == VQ_CLIENT_STREAM_OPENING) {
        stream->state = VQ_CLIENT_STREAM_FAILED; /* told to the daemon when it has answered */
        return;
    }
    if (stream->state == VQ_CLIENT_STREAM_OPEN || stream->state == VQ_CLIENT_STREAM_FINISHING)
        send_packet(client, VQ_FRAME_ERROR, NULL, 0);
    reset(client);
}
