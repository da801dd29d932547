/* Streams beside calls, from both ends.
 *
 * A driver writes to a struct vq_stream (drivers/driver.h) and gets the client's data by callbacks. Where the client
 * is, a stream does not know: it speaks to a link. There are two: the session of this node (node/client/session_stream.c) and
 * the mesh (node/mesh/stream_mesh.c). On the client's node, a relay is the "driver" of an ordinary stream and carries
 * everything over the mesh:
 *
 *     driver - vq_stream - mesh link  ~~ StreamData ~~>  relay - vq_stream - session link - client
 *
 * Back-pressure: vq_stream_write() answers false when VQ_STREAM_QUEUE_MAX bytes wait for the client; a driver that
 * takes no more data keeps its client's packets unread. Over the mesh each side may have VQ_STREAM_WINDOW bytes on the
 * way that the other has not confirmed with CREDIT. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "drivers/driver.h"

struct vq_call;
struct vq_daemon;
struct vq_stream_link;

enum {
    VQ_STREAM_QUEUE_MAX = 256 * 1024, /* bytes waiting for the client before a writer is told to stop */
    VQ_STREAM_PIECE_MAX = 64 * 1024,  /* most bytes given to a data callback or sent in one StreamData */
    VQ_STREAM_WINDOW = 512 * 1024,    /* unconfirmed bytes on the mesh, each way */
};

/* The way to the client. All calls come from the stream; the link answers with vq_stream_sent() and the
 * vq_stream_from_client_ functions. A link is freed by its owner after released(). */
struct vq_stream_link_ops {
    void (*data)(struct vq_stream_link *link, const uint8_t *bytes, size_t length); /* one packet at a time */
    void (*hole)(struct vq_stream_link *link, int64_t length);
    void (*end)(struct vq_stream_link *link); /* no more data */
    void (*finish)(struct vq_stream_link *link);
    void (*fail)(struct vq_stream_link *link, const struct vq_error *err);
    void (*taken)(struct vq_stream_link *link, size_t length); /* the driver has one more packet, of that many bytes */
    void (*released)(struct vq_stream_link *link);             /* the stream is gone */
};
struct vq_stream_link {
    const struct vq_stream_link_ops *ops;
    struct vq_stream *stream;
};

/* Made by request->open_stream. Nothing goes to the client before the call was answered: until vq_stream_uncork().
 * *slot is set to the stream, and to NULL when it is uncorked or gone. */
void vq_stream_new(struct vq_stream_link *link, enum vq_stream_kind kind, const struct vq_stream_callbacks *callbacks,
                   void *data, struct vq_stream **slot);
void vq_stream_uncork(struct vq_stream *stream);

/* For links: what the client does. The bytes are borrowed. Each packet is answered by one taken() of the link, in
 * order, when the driver has it. */
void vq_stream_from_client_data(struct vq_stream *stream, const uint8_t *bytes, size_t length); /* 0: its end */
void vq_stream_from_client_hole(struct vq_stream *stream, int64_t length);
void vq_stream_from_client_finish(struct vq_stream *stream);
void vq_stream_from_client_abort(struct vq_stream *stream); /* also: the connection is gone */
/* The packet of the last data(), hole() or end() has left; the next may come. */
void vq_stream_sent(struct vq_stream *stream);

/* ---- The mesh ---- */

/* Owner's side: the link for a call that came over the mesh; origin->stream_link of the mesh returns it. */
struct vq_stream_link *vq_stream_mesh_link(struct vq_daemon *daemon, uint64_t peer, uint64_t call_id);
/* Client's side, when the reply says stream_open, before the call is answered: true, or false when the connection has
 * gone (an ABORT is then sent). node and call_id are those of the forwarded call. */
bool vq_stream_relay_open(struct vq_call *call, uint64_t node, uint64_t call_id);
/* A StreamData came in from the peer. Unknown ids are dropped. */
typedef struct Vq__StreamData Vq__StreamData;
void vq_stream_mesh_received(struct vq_daemon *daemon, uint64_t peer, const Vq__StreamData *message);
/* The connection to the peer is gone: its streams end with an error, in both directions. */
void vq_stream_mesh_lost(struct vq_daemon *daemon, uint64_t peer);

/* The daemon stops: all of them. */
void vq_stream_mesh_stop(struct vq_daemon *daemon);

struct vq_stream_links *vq_stream_links_new(void);
void vq_stream_links_free(struct vq_stream_links *links);
