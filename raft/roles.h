/* Who votes: the next membership change that brings the cluster to the shape it should have. A pure function. */
#pragma once

#include "raft/raft.h"

struct vq_roles_node {
    uint64_t id;
    bool is_member;            /* in the node table (joined, not removed) */
    bool is_online;            /* the mesh sees it, and its consensus runs */
    uint64_t offline_ms;       /* how long it has not */
    enum vq_raft_role role;    /* in raft's configuration; NO_ROLE: not in it */
    bool is_caught_up;         /* match index close to the last */
    bool wants_spare;          /* an administrator keeps it out of the votes */
};

struct vq_roles_policy {
    unsigned voters_max;       /* odd, 3 by default */
    uint64_t replace_after_ms; /* a voter this long offline gives its vote to a stand-by; 10 s */
};

enum vq_roles_action { VQ_ROLES_NOTHING, VQ_ROLES_ADD, VQ_ROLES_ASSIGN, VQ_ROLES_REMOVE, VQ_ROLES_TRANSFER };
struct vq_roles_step {
    enum vq_roles_action action;
    uint64_t id;
    enum vq_raft_role role;
};

/* self: the leader that asks. Voters stay an odd number (1, 3, 5) and never fall while a majority could be lost. */
struct vq_roles_step vq_roles_next(const struct vq_roles_node *nodes, size_t n_nodes, uint64_t self,
                                   const struct vq_roles_policy *policy);
