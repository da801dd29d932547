/* One client's connection: frames, the budget of calls in progress, keepalive, and what ends with it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "node/call.h"
#include "node/view.h"

struct vq_buffer;
struct vq_channel;
struct vq_daemon;
struct vq_session;
struct vq_sessions;
struct vq_session_stream;
struct vq_tls_session;

enum {
    VQ_SESSION_OUTPUT_PAUSE = 1024 * 1024,    /* more waits for the client: its next calls stay unread */
    VQ_SESSION_OUTPUT_MAX = 64 * 1024 * 1024, /* more waits and an event comes on top: the connection ends */
    VQ_SESSION_STREAMS_MAX = 64,
};

/* What a listener knows of the connections it accepts. */
struct vq_session_options {
    bool is_admin; /* serves the admin program, and only that */
    bool is_readonly;
    bool is_unix;
    bool is_secure;    /* UNIX or TLS */
    bool is_node_view; /* sees this node, not the whole cluster, unless the client says otherwise */
};

struct vq_session {
    struct vq_daemon *daemon;
    struct vq_session *next, *prev;
    struct vq_channel *channel;
    struct vq_session_options options;
    uint64_t id;
    struct vq_identity *identity;
    unsigned refs; /* on the stack of a callback */
    bool is_ready; /* handshake done; counted as anonymous until then */
    bool is_closed;
    const char *doom; /* why it will be closed at the next tick: where closing at once would be unsafe */
    bool is_opened;   /* connect_open succeeded */
    bool is_paused;
    bool has_close_callback;
    struct vq_view view;

    uint64_t heard_ms, pinged_ms;
    unsigned pings; /* since something was heard */
    bool keepalive;

    struct vq_call *calls; /* in progress */
    unsigned n_busy;       /* calls in progress and stream packets not yet taken */
    struct vq_session_stream *streams;
    unsigned n_streams;
    unsigned n_subscriptions;
    struct vq_subscriber *subscribers; /* of node/client/events.c */

    uint8_t *fd_frame; /* a call whose descriptors have not all come */
    size_t fd_frame_length;
    uint32_t n_fds_wanted, n_fds;
    int fds[32];
};

struct vq_sessions *vq_sessions_new(struct vq_daemon *daemon);
void vq_sessions_free(struct vq_sessions *sessions); /* all closed */

/* Take an accepted connection. tls: NULL when plain. */
void vq_session_accept(struct vq_daemon *daemon, int take_fd, struct vq_tls_session *take_tls,
                       const struct vq_session_options *options, const struct vq_caller *caller);
/* False: too many clients, or too many that have not finished their handshake; accept nothing now. */
bool vq_sessions_may_accept(const struct vq_daemon *daemon);
size_t vq_sessions_count(const struct vq_daemon *daemon);
/* This node has become another one (it joined a cluster): views of it stay views of it. */
void vq_sessions_identity_changed(struct vq_daemon *daemon);
void vq_sessions_close_all(struct vq_daemon *daemon, uint64_t linger_ms);
void vq_sessions_tick(struct vq_daemon *daemon, uint64_t now_ms); /* keepalive; about once a second */

/* The connection ends; safe from anywhere. reason is logged, NULL: the client went on its own. linger_ms: for queued
 * output. */
void vq_session_close(struct vq_session *session, const char *reason, uint64_t linger_ms);
/* Send an event; payload is one encoded piece behind an optional callback id. */
void vq_session_send_event(struct vq_session *session, const struct vq_procedure *procedure, bool has_id, int32_t id,
                           const uint8_t *payload, size_t length);

/* ---- For session_stream.c ---- */
struct vq_frame;
void vq_session_stream_packet(struct vq_session *session, const struct vq_frame *frame);
void vq_session_streams_drained(struct vq_session *session);
void vq_session_streams_closed(struct vq_session *session);
struct vq_stream_link *vq_session_stream_link(struct vq_call *call);
void vq_session_unbusy(struct vq_session *session); /* one slot less; reading goes on when there is room */
