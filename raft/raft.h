/* Consensus as the node loop sees it: a thread with its own loop, one queue in, one queue out.
 *
 * Everything here is called on the node loop's thread, and calls back there. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "conf/base/error.h"
#include "store/store.h"

struct vq_raft;
struct vq_channel_parts;
struct vq_tls_credentials;

enum vq_raft_role { VQ_RAFT_NO_ROLE, VQ_RAFT_VOTER, VQ_RAFT_STANDBY, VQ_RAFT_SPARE }; /* as cluster.proto's Role */

struct vq_raft_member {
    uint64_t id;
    enum vq_raft_role role;
    uint64_t match_index; /* known to the leader only, else 0 */
};

enum { VQ_RAFT_MEMBERS_MAX = 256 };

/* What consensus looks like now; copied to the node loop whenever it changes. */
struct vq_raft_status {
    bool is_running;              /* raft_start has succeeded; false with a problem text: retried by itself */
    bool is_leader;               /* and its barrier has passed: may take proposals */
    uint64_t leader;              /* node id, 0: none known */
    uint64_t term, commit_index, applied_index, last_index;
    enum vq_raft_role own_role;
    struct vq_raft_member members[VQ_RAFT_MEMBERS_MAX];
    size_t n_members;
    char problem[256];            /* empty, or why it does not run or cannot write (disk full ...) */
    bool is_changing_membership;
};

struct vq_raft_callbacks {
    void (*status)(const struct vq_raft_status *status, void *data);
    /* Entries were applied and committed to the store: views begun from now on see them. changes are the callee's to
     * read during the call. */
    void (*applied)(uint64_t index, const struct vq_change_list *changes, void *data);

};

struct vq_raft_options {
    uint64_t node_id;
    const char *dir;              /* libraft's own, made if missing */
    struct vq_store *store;       /* written by the raft thread from now on */
    bool bootstrap;               /* empty directory: become a cluster of one. false: wait to be added by a leader */
    struct vq_tls_credentials *credentials; /* NULL: a lone node without a cluster port */
    bool alone;                   /* recovery: whatever the log says of others, this node is the only voter from now on
                                     (libraft's raft_recover()); a log that lost its end is taken as it is */
    unsigned election_ms;         /* 0: 500 */
    unsigned snapshot_threshold;  /* entries between snapshots, and kept behind one; 0: 8192. For tests */
};

VQ_MUST_CHECK int vq_raft_start(uv_loop_t *node_loop, const struct vq_raft_options *options,
                                const struct vq_raft_callbacks *callbacks, void *data, struct vq_raft **ret,
                                struct vq_error *err);
/* The thread ends, then stopped is called; nothing else is called back after that and the memory is gone. */
void vq_raft_stop(struct vq_raft *raft, void (*stopped)(void *data), void *data);

/* Recovery, with nothing else running: make a log in dir, which holds none, that begins with what the store has applied
 * and has this node as the only member. Blocks. */
VQ_MUST_CHECK int vq_raft_begin_log(const char *dir, uint64_t node_id, struct vq_store *store, uint64_t term,
                                    struct vq_error *err);

/* Where the other nodes listen, and which ones may still talk to us; replaces what was said before. */
struct vq_raft_address {
    uint64_t id;
    const char *address; /* "host:port", numeric host */
};
void vq_raft_set_addresses(struct vq_raft *raft, const struct vq_raft_address *addresses, size_t n_addresses);
void vq_raft_set_credentials(struct vq_raft *raft, struct vq_tls_credentials *credentials);

/* Give an accepted connection whose ALPN was vq-raft, after its handshake. The peer's node id is in its certificate. */
void vq_raft_accept(struct vq_raft *raft, const struct vq_channel_parts *take_parts);

/* What became of a proposal. */
enum vq_raft_outcome {
    VQ_RAFT_APPLIED,    /* result is what apply said (success or refusal) */
    VQ_RAFT_NOT_LEADER, /* nothing happened */
    VQ_RAFT_REFUSED,    /* nothing happened: err says why (disk full, too large) */
    VQ_RAFT_UNKNOWN,    /* leadership lost or no answer in time: repeat with the same request id to know */
};
typedef void (*vq_raft_propose_cb)(enum vq_raft_outcome outcome, const struct vq_result *result,
                                   const struct vq_error *err, void *data);
/* Propose on this node, which should be the leader. Waiting commands travel together in one entry. */
void vq_raft_propose(struct vq_raft *raft, const void *command, size_t length, uint64_t timeout_ms,
                     vq_raft_propose_cb cb, void *data);

/* Membership, on the leader; one at a time (others wait in the queue). outcome as above. */
typedef void (*vq_raft_change_cb)(enum vq_raft_outcome outcome, const struct vq_error *err, void *data);
void vq_raft_add(struct vq_raft *raft, uint64_t id, vq_raft_change_cb cb, void *data);
void vq_raft_assign(struct vq_raft *raft, uint64_t id, enum vq_raft_role role, vq_raft_change_cb cb, void *data);
void vq_raft_remove(struct vq_raft *raft, uint64_t id, vq_raft_change_cb cb, void *data);
void vq_raft_transfer(struct vq_raft *raft, uint64_t to, vq_raft_change_cb cb, void *data); /* 0: any voter */
