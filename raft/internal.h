/* What the files of the core share. */
#pragma once

#include <assert.h>

#include "conf/base/memory.h"
#include "raft/core.h"
#include "raft/entry.h"

/* A command on its way into an entry. */
struct vq_proposal {
    struct vq_proposal *next;
    uint8_t *command;
    size_t length;
    uint64_t deadline_ms;
    uint8_t request_id[16];
    void *tag;
    bool is_answered; /* timed out while its entry was in flight */
};

/* An entry of ours that was given to libraft. */
struct vq_group {
    struct vq_group *next;
    struct raft_apply request; /* libraft's until the entry is applied or the leadership lost */
    raft_term term;
    struct vq_proposal *proposals; /* in the order of their commands */
    struct vq_result *results;     /* set when applied */
    size_t n_results;
    bool is_applied;
};

struct vq_membership_change {
    struct vq_membership_change *next;
    enum vq_core_change kind;
    uint64_t id;
    enum vq_raft_role role;
    void *tag;
};

enum vq_change_stage {
    VQ_STAGE_IDLE,
    VQ_STAGE_WAIT_SNAPSHOT, /* some member may be receiving one */
    VQ_STAGE_READY,         /* give the next step to libraft */
    VQ_STAGE_CHANGING,      /* libraft has it */
    VQ_STAGE_CATCH_UP,      /* a stand-by comes near the end of the log */
    VQ_STAGE_DRAIN,         /* before a transfer: nothing in flight, target complete */
    VQ_STAGE_TRANSFERRING,
};

struct vq_core {
    struct raft raft;
    struct raft_fsm fsm;
    struct vq_core_options options;
    const struct vq_core_callbacks *callbacks;
    void *data;
    struct vq_store *store;
    bool is_open; /* raft_init() has succeeded */
    bool is_started;
    bool is_starting; /* inside raft_start(): an error of restore() is the caller's to handle */
    bool is_closing;
    uint64_t now_ms;

    /* The state machine. */
    struct vq_change_list changes; /* of this turn */
    bool has_applied;              /* something in this turn, also what the store had already */
    struct vq_store_snapshot snapshot;
    bool snapshot_is_open;
    uint64_t log_bytes, log_entries; /* applied since the last snapshot */
    bool log_is_long;                /* and a snapshot is wanted before its time */
    struct raft_message *held;       /* see receive.c */
    int (*io_start)(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv);
    raft_io_recv_cb io_recv;
    raft_io_tick_cb io_tick;
    raft_index passed_change;        /* last change of the membership given to libraft as a follower */
    raft_term passed_change_term;

    /* What followers are told at once, see spread.c. */
    raft_index spread_index;
    uint64_t spread_until_ms, spread_refilled_ms;
    unsigned spread_credit;
    raft_index spread_told[VQ_RAFT_MEMBERS_MAX]; /* by place in the configuration */

    /* Proposals. */
    struct vq_proposal *waiting, **waiting_end;
    size_t waiting_bytes;
    struct vq_group *groups, **groups_end;
    unsigned n_groups;

    /* Leadership. */
    struct raft_barrier barrier;
    raft_term barrier_term; /* the term it was asked for, 0: none */
    bool barrier_has_passed;

    /* Membership. */
    struct vq_membership_change *change_queue, **change_queue_end;
    unsigned n_change_queue;
    int wanted_role; /* of the step that libraft has, -1: no member */
    enum vq_change_stage stage;
    uint64_t stage_deadline_ms;
    raft_index catch_up_match; /* progress seen last */
    raft_id transfer_target;
    struct raft_change change; /* libraft's while raft.legacy.change points to it */
    struct raft_transfer transfer;

    /* Status. */
    struct vq_raft_status *status, *told; /* being built, told last */
    uint64_t told_ms;
    char problem[256];
    bool has_no_space, has_low_capacity;

    void (*closed)(void *data);
    void *closed_data;
};

/* fsm.c */
void vq_core_fsm_init(struct vq_core *core);
void vq_core_commit(struct vq_core *core);

/* receive.c */
void vq_core_receive_through(struct vq_core *core, struct raft_io *io);
void vq_core_receive_held(struct vq_core *core);
void vq_core_receive_drop(struct vq_core *core);

/* spread.c */
void vq_core_spread(struct vq_core *core);

/* propose.c */
void vq_core_answer_applied(struct vq_core *core);
void vq_core_fail_lost(struct vq_core *core); /* entries whose term of leadership is over, and what cannot wait */
void vq_core_expire(struct vq_core *core);
void vq_core_flush(struct vq_core *core);
void vq_core_fail_all(struct vq_core *core);
/* Take a request out of libraft's list of pending ones, if it is still there. */
void vq_core_let_go(struct vq_core *core, void *queue[2]);

/* membership.c */
void vq_core_membership_turn(struct vq_core *core);
void vq_core_membership_fail(struct vq_core *core); /* closing */
bool vq_core_is_transferring(const struct vq_core *core);
const struct raft_server *vq_core_server(const struct vq_core *core, raft_id id);

/* status.c */
void vq_core_status_turn(struct vq_core *core);

bool vq_core_leads(const struct vq_core *core); /* leader, and the barrier of this term has passed */
/* An error of libraft after which its state may be inconsistent. */
void vq_core_fail(struct vq_core *core, const char *what, int rv);
