/* Changes of the replicated state: on their way to the leader, wherever it is. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "raft/raft.h"

struct vq_daemon;

enum { VQ_PROPOSE_TIMEOUT_MS = 10000 };

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
