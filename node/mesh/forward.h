/* Calls that run on another node: over the mesh and back. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct vq_call;
struct vq_daemon;
struct vq_error;
typedef struct Vq__Call Vq__Call;
typedef struct Vq__Reply Vq__Reply;

/* Run the call on that node. It is completed (vq_call_answer_bytes, vq_call_fail) when the reply is there, this node
 * has applied what the reply says, or at the latest at call->request.deadline_ms; at once when the node is not
 * reachable. Call->xdr are the bytes to send. A reply with stream_open: vq_stream_relay_open() first. */
void vq_forward_call(struct vq_daemon *daemon, struct vq_call *call, uint64_t node);

/* Ask every node that is online, this one too (vq_dispatch_here on a copy), and merge the answers; a node that is
 * silent at the deadline is left out. */
void vq_gather_call(struct vq_daemon *daemon, struct vq_call *call);

/* The client's connection has ended: tell all nodes that have seen calls of it. */
void vq_forward_session_ended(struct vq_daemon *daemon, uint64_t session);

/* Send one event to all nodes of the mesh; gives it its sequence number and takes after_index as it is. Nothing on a lone
 * node. payload is XDR without callbackID. */
struct vq_mesh_event;
void vq_forward_event(struct vq_daemon *daemon, const struct vq_mesh_event *event);
/* The number of the last event sent; DomainState.mesh_sequence. */
uint64_t vq_forward_last_event(const struct vq_daemon *daemon);

/* One stream message to that node; false when it is not connected (the stream's link is then told it was lost). */
typedef struct Vq__StreamData Vq__StreamData;
bool vq_forward_stream(struct vq_daemon *daemon, uint64_t node, const Vq__StreamData *message);

/* ---- One question to one node, for calls and gathering ---- */

/* reply is borrowed; NULL: err says why there is none (not reachable any more, too late). id: of the question. */
typedef void (*vq_forward_done)(const Vq__Reply *reply, const struct vq_error *err, uint64_t id, void *data);
/* The call's id at that node; 0: it is not reachable, done is not called. deadline_ms: loop time. */
uint64_t vq_forward_ask(struct vq_daemon *daemon, const struct vq_call *call, uint64_t node, uint64_t deadline_ms,
                        vq_forward_done done, void *data);

/* Take a question back: done is not called, and the node is told that nobody waits. */
void vq_forward_give_up(struct vq_daemon *daemon, uint64_t id);
/* The call as a message, its identity with it. Pointers lead into the call. */
struct vq_forward_message;
void vq_forward_pack(const struct vq_daemon *daemon, const struct vq_call *call, uint64_t id, uint64_t timeout_ms,
                     struct vq_forward_message *ret);

/* ---- For node/cluster/cluster.c, which owns them ---- */

enum {
    VQ_FORWARD_SERVED_MAX = 4096, /* calls of one other node being served here; more are refused */
    VQ_GATHER_TIMEOUT_MS = 5000,
};

struct vq_forwards;
typedef struct Vq__Cancel Vq__Cancel;
typedef struct Vq__Event Vq__Event;

struct vq_forwards *vq_forwards_new(struct vq_daemon *daemon);
void vq_forwards_free(struct vq_forwards *forwards); /* calls that wait fail */
void vq_forwards_tick(struct vq_forwards *forwards); /* deadlines; about ten times a second */
void vq_forwards_applied(struct vq_forwards *forwards, uint64_t index);
void vq_forwards_node_lost(struct vq_forwards *forwards, uint64_t node);
/* It is back; another boot than before: the sessions that it had are gone. */
void vq_forwards_node_back(struct vq_forwards *forwards, uint64_t node, uint64_t boot);

void vq_forward_received_call(struct vq_forwards *forwards, uint64_t node, const Vq__Call *message);
void vq_forward_received_reply(struct vq_forwards *forwards, uint64_t node, const Vq__Reply *message);
void vq_forward_received_cancel(struct vq_forwards *forwards, uint64_t node, const Vq__Cancel *message);
void vq_forward_received_event(struct vq_daemon *daemon, uint64_t node, const Vq__Event *message);
