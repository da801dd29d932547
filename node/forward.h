/* Calls that run on another node: over the mesh and back. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

struct vq_call;
struct vq_daemon;

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
