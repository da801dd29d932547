/* Changes of the replicated state: on their way to the leader, wherever it is. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "raft/raft.h"

struct vq_daemon;

enum {
    VQ_PROPOSE_TIMEOUT_MS = 10000,
    VQ_PROPOSALS_MAX = 16384,     /* waiting on this node; more are refused */
    VQ_PROPOSALS_PEER_MAX = 8192, /* of one other node, being done here */
};

/* Put a command into the log. request_id (16 bytes), proposer and time_ms are filled in where empty; the command is
 * the caller's and packed before this returns. timeout_ms 0: VQ_PROPOSE_TIMEOUT_MS.
 *
 * Calls back exactly once, never from inside this call, with
 *   VQ_RAFT_APPLIED  this node has applied it; result->code tells success or refusal
 *   VQ_RAFT_REFUSED  nothing happened: no quorum (VIR_ERR_OPERATION_INVALID naming the missing nodes), too large ...
 *   VQ_RAFT_UNKNOWN  it may have happened: the same request id may be proposed again to know
 * NOT_LEADER is dealt with inside. */
void vq_propose(struct vq_daemon *daemon, Vq__Command *command, uint64_t timeout_ms, vq_raft_propose_cb cb, void *data);
bool vq_propose_has_quorum(const struct vq_daemon *daemon);

/* ---- For node/cluster/cluster.c, which owns them ---- */

struct vq_proposals;
typedef struct Vq__Propose Vq__Propose;
typedef struct Vq__Proposed Vq__Proposed;

struct vq_proposals *vq_proposals_new(struct vq_daemon *daemon);
/* Those that are waited for are answered VQ_RAFT_UNKNOWN. Consensus must be gone; closed is called when the handles are. */
void vq_proposals_free(struct vq_proposals *proposals, void (*closed)(void *data), void *data);

void vq_proposals_status_changed(struct vq_proposals *proposals);          /* of consensus */
void vq_proposals_applied(struct vq_proposals *proposals, uint64_t index);
void vq_proposals_node_lost(struct vq_proposals *proposals, uint64_t node);
void vq_proposals_raft_gone(struct vq_proposals *proposals); /* it was stopped: what it had will not be called back */

/* It was stopped, and starts again as a node of another cluster: what waits is answered, and goes to no log any more. */
void vq_proposals_cluster_changed(struct vq_proposals *proposals);

/* This node as the leader: a proposal of another node; and the answer to one of this node's. */
void vq_proposals_received(struct vq_proposals *proposals, uint64_t node, const Vq__Propose *message);
void vq_proposals_answered(struct vq_proposals *proposals, uint64_t node, const Vq__Proposed *message);
