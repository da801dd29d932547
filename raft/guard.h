/* Around raft_uv: faults of libraft 0.22.1 that would end in a crash or a wrong state end the process before that. It
 * is restarted at once and guests do not notice. */
#pragma once

#include <raft.h>
#include <raft/uv.h>
#include <stdint.h>

enum {
    VQ_GUARD_EXIT = 76,           /* what the supervisor sees */
    VQ_GUARD_WRITE_MS = 5000,     /* a write to the log may take */
    VQ_GUARD_CAPACITY_KIB = 8192, /* less room than this in the log is told as a problem */
};

struct vq_guard {
    struct raft_tracer tracer;
    uint64_t writes_submitted, writes_completed;
    uint64_t waiting_since_ms; /* a write is under way since then, 0: none */
    int (*set_term)(struct raft_io *io, raft_term term);
    int (*set_vote)(struct raft_io *io, raft_id server_id);
    int (*snapshot_get)(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb);
};

/* After raft_uv_init(), before raft_init(). One guard per thread. */
void vq_guard_install(struct vq_guard *guard, struct raft_io *io);
void vq_guard_wrap(struct vq_guard *guard, struct raft_io *io); /* without the tracer of raft_uv */
/* Now and then. */
void vq_guard_look(struct vq_guard *guard, uint64_t now_ms);
