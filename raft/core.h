/* Consensus without threads and without an event loop: libraft, the state machine on the store, proposals and
 * membership. raft/raft.c drives it on its thread with raft_uv; the simulation drives three of them with a clock,
 * network and disk of its own.
 *
 * libraft is called from here only, never from inside its own callbacks. Requests are not completed by libraft's
 * callbacks (which only raft_uv fires) but by looking, at the end of each turn, at what was applied and at what became
 * of the leadership: the same code runs everywhere. */
#pragma once

#include <raft.h>

#include "raft/raft.h"

struct vq_core;

struct vq_core_callbacks {
    void (*status)(const struct vq_raft_status *status, void *data);
    void (*applied)(uint64_t index, const struct vq_change_list *changes, void *data);
    /* tag: the proposer's; once for each. */
    void (*proposed)(void *tag, enum vq_raft_outcome outcome, const struct vq_result *result,
                     const struct vq_error *err, void *data);
    void (*changed)(void *tag, enum vq_raft_outcome outcome, const struct vq_error *err, void *data);
    /* The store failed or has another history than the log: nothing more may be applied by this process. Must not
     * return in the daemon. */
    void (*failed)(const struct vq_error *err, void *data);
    /* A leader sends entries or a snapshot: may this node hold some? No: they are dropped, and sent again. NULL: yes. */
    bool (*may_take_data)(void *data);
};

struct vq_core_options {
    uint64_t node_id;
    struct vq_store *store;
    unsigned election_ms;                           /* 0: 500 */
    unsigned snapshot_threshold, snapshot_trailing; /* 0: 8192 */
    bool accepts_loss;                              /* start also on a log that has lost its end */
    bool counts_members;                            /* flush the store's commits while there are at most two members */
};

enum {
    VQ_CORE_ELECTION_MS = 500,
    VQ_CORE_ELECTION_MIN_MS = 300,
    VQ_CORE_ELECTION_MAX_MS = 5000,
    VQ_CORE_WAITING_MAX_BYTES = 64 * 1024 * 1024, /* of commands that are not in an entry yet */
    VQ_CORE_CHANGES_MAX = 64,                     /* membership changes that wait */
    VQ_CORE_IN_FLIGHT_MAX = 8,                    /* entries of ours not applied yet; what waits is grouped */
    VQ_CORE_LOG_MAX_BYTES = 16 * 1024 * 1024,     /* in memory since the last snapshot, and again behind it */
    VQ_CORE_TIMEOUT_MS = 10000,                   /* of a proposal that named none */
};

struct vq_core *vq_core_new(const struct vq_core_options *options, const struct vq_core_callbacks *callbacks,
                            void *data);
void vq_core_free(struct vq_core *core); /* never opened, or closed */

/* raft_init() with the settings; raft_bootstrap() with ourselves as the only voter; raft_start(). io is the caller's.
 * After a failure of start: vq_core_close(). start answers VIR_ERR_OPERATION_INVALID when the log has lost entries
 * that this node had acknowledged, so that it must neither vote nor serve writes. */
VQ_MUST_CHECK int vq_core_open(struct vq_core *core, struct raft_io *io, struct vq_error *err);
VQ_MUST_CHECK int vq_core_bootstrap(struct vq_core *core, struct vq_error *err);
/* raft_recover() with ourselves as the only voter. */
VQ_MUST_CHECK int vq_core_recover(struct vq_core *core, struct vq_error *err);
VQ_MUST_CHECK int vq_core_start(struct vq_core *core, uint64_t now_ms, struct vq_error *err);
/* raft_close(); everything pending is answered in closed's turn. The core can be opened again, or freed. */
void vq_core_close(struct vq_core *core, void (*closed)(void *data), void *data);

/* take_command: malloc'ed. The deadline is on the clock of now_ms. */
void vq_core_propose(struct vq_core *core, void *take_command, size_t length, uint64_t deadline_ms, void *tag);

enum vq_core_change { VQ_CORE_ADD, VQ_CORE_ASSIGN, VQ_CORE_REMOVE, VQ_CORE_TRANSFER };
void vq_core_change(struct vq_core *core, enum vq_core_change kind, uint64_t id, enum vq_raft_role role, void *tag);

/* At the end of each turn of the loop, and at least every heartbeat: commit, answer, look at the leadership, propose
 * what waits, go on with the membership. */
void vq_core_turn(struct vq_core *core, uint64_t now_ms);

/* Text for the status: why nothing can be written, "" when it can. Told with the next turn. */
void vq_core_set_problem(struct vq_core *core, const char *problem);
void vq_core_set_low_capacity(struct vq_core *core, bool is_low); /* told as a problem while there is no other */
bool vq_core_is_open(const struct vq_core *core);
bool vq_core_is_closing(const struct vq_core *core);
bool vq_core_has_data(struct vq_core *core); /* the log holds something */
unsigned vq_core_election_ms(const struct vq_core *core);
