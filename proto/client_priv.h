/* What the client's own files share: client.c has the connection and its calls, client_open.c what is said before the
 * connection is anybody's, client_stream.c the stream. */
#pragma once

#include "proto/client.h"
#include "proto/frame.h"

struct vq_channel;

enum vq_client_state {
    VQ_CLIENT_GREETING, /* TLS: one byte tells that our certificate was taken */
    VQ_CLIENT_OPENING,
    VQ_CLIENT_OPEN,
    VQ_CLIENT_ENDED, /* the user has been told, or will be in this turn */
    VQ_CLIENT_CLOSED,
};

struct vq_client_call {
    struct vq_client_call *next, *prev;
    const struct vq_procedure *procedure;
    uint32_t serial;
    uint64_t deadline_ms; /* loop time, 0: none */
    bool is_refused;      /* never sent; err is due in the next turn */
    bool is_stream;
    struct vq_error err;
    vq_client_cb cb;
    void *data;
};

/* NONE ─► OPENING ─► OPEN ─► FINISHING ─► NONE      A failure leads from OPEN to FAILED, where what is written is
 *                      └──► FAILED ──► NONE         dropped until the user finishes or aborts. */
enum vq_client_stream_state {
    VQ_CLIENT_NO_STREAM,
    VQ_CLIENT_STREAM_OPENING,
    VQ_CLIENT_STREAM_OPEN,
    VQ_CLIENT_STREAM_FINISHING,
    VQ_CLIENT_STREAM_FAILED,
};

struct vq_client_stream {
    enum vq_client_stream_state state;
    struct vq_frame head; /* program, version, procedure and serial of its packets */
    bool wants_writable;
    bool is_due;          /* FAILED: finish was asked for and is answered in the next turn */
    uint64_t deadline_ms; /* of finishing */
    struct vq_error err;  /* FAILED */
    vq_client_cb finish_cb;
    void *finish_data;
};

struct vq_client {
    uv_loop_t *loop;
    uv_timer_t timer; /* the nearest of all deadlines */
    struct vq_channel *channel;
    struct vq_client_options options;
    char *uri;
    const struct vq_client_callbacks *callbacks;
    void *data;
    enum vq_client_state state;
    const char *doing; /* what it waits for, while it opens */
    struct vq_error end;
    uint64_t open_deadline_ms;
    uint64_t heard_ms, pinged_ms;
    unsigned pings; /* since something was heard */
    bool keepalive; /* the daemon answers them */
    struct vq_client_call *calls;
    unsigned n_calls;
    uint32_t next_serial;
    struct vq_client_stream stream;
};

/* ---- client.c ---- */
void vq_client_send(struct vq_client *client, const struct vq_frame *frame, const void *payload, size_t length);
/* The connection cannot go on: everything that waits fails, and the user is told. err is copied first. */
void vq_client_end(struct vq_client *client, const struct vq_error *err);
void vq_client_set_timer(struct vq_client *client);
/* The error struct of a reply or of a stream's packet. */
void vq_client_read_error(const uint8_t *payload, size_t length, struct vq_error *ret);

/* ---- client_open.c ---- */
void vq_client_begin(struct vq_client *client);
void vq_client_opened(struct vq_client *client, const struct vq_error *err);

/* ---- client_stream.c ---- */
/* The call that opens it was answered; err NULL: well. The call-back of the call gets what this returns. */
const struct vq_error *vq_client_stream_opened(struct vq_client *client, const struct vq_error *err);
void vq_client_stream_packet(struct vq_client *client, const struct vq_frame *frame);
void vq_client_stream_drained(struct vq_client *client);
void vq_client_stream_time(struct vq_client *client, uint64_t now_ms);
void vq_client_stream_lost(struct vq_client *client, const struct vq_error *err);
