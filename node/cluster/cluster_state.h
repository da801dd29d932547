/* What the files of membership share: cluster.c, identity.c, status.c, membership.c, join.c, move.c, control.c. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "conf/base/error.h"
#include "conf/base/text.h"
#include "node/daemon.h"
#include "proto/cluster.pb-c.h"

struct vq_control;
struct vq_evacuation;
struct vq_forwards;
struct vq_join_server;
struct vq_mesh_peer;
struct vq_move;
struct vq_proposals;
struct vq_tls_credentials;

enum {
    VQ_CLUSTER_TICK_MS = 100,
    VQ_CLUSTER_PING_MS = 500,
    VQ_CLUSTER_SILENCE_MS = 2000, /* so long silent: offline. Below the two seconds in which a refusal is due */
    VQ_CLUSTER_ELECTION_MS = 500, /* when the configuration names none */
    VQ_CLUSTER_PORT = 16520,
    VQ_CLUSTER_REMOVED_MS = 3000, /* a removed node may still talk for so long: consensus lets go of it meanwhile */
    VQ_CERTIFICATE_DAYS = 365,    /* of a node: renewed when a third to a sixth of it is left */
    VQ_AUTHORITY_DAYS = 7305,
};

/* A node as this one knows it: the replicated table, cached for errors and the mesh. */
struct vq_cluster_member {
    uint64_t id;
    char *name;
    char **addresses;       /* NULL-terminated */
    Vq__Role wanted;        /* of its record; UNKNOWN: no wish */
    uint64_t removed_at_ms; /* loop time; 0: a member */
    uint64_t told_at_ms;    /* that it was removed */
};

struct vq_cluster {
    struct vq_daemon *daemon;
    Vq__LocalNode *self;                /* this node's record, as in the local store */
    struct vq_tls_credentials *credentials; /* NULL on a lone node */
    struct vq_cluster_member *members;
    size_t n_members;

    struct vq_proposals *proposals;
    struct vq_forwards *forwards;
    struct vq_join_server *join_server;
    struct vq_control *control;
    struct vq_move *move;               /* under way, or NULL */
    struct vq_evacuation *evacuations;  /* guests on their way to other nodes */

    uint64_t started_unix_ms;
    uint64_t leaderless_since_ms;       /* loop time; 0: a leader is known */
    bool has_had_leader;                /* since the daemon began, or since it belongs to another cluster */
    bool has_seen_self;                 /* in the replicated table, since the start */
    uint64_t removed_since_ms;          /* loop time at which this node learnt that it was removed, 0: it was not */
    bool is_changing;                   /* a membership change was asked of consensus */
    uint64_t change_retry_ms;           /* after a failed one: not before this */

    bool was_leader;
    bool may_have_orphans;              /* a node went, or this one has begun to lead: look */
    unsigned n_orphan_reports;          /* under way */

    uint64_t cpu_busy, cpu_total;       /* /proc/stat, last time */
    uint32_t cpu_permille;
    uint64_t free_memory_kib;
    uint32_t domains_running, domains_total; /* own ones */

    uv_timer_t tick;
    unsigned n_ticks;
    bool is_let_go;                     /* another node said that it was removed: consensus is done with it */
    bool is_restarting;                 /* consensus: stopped, not started again yet */
    bool is_initialising;               /* ClusterInit is under way */
    bool is_joining;                    /* one of join.c is under way */
    bool has_refreshed_record;
    uint64_t last_heard;                /* removed node that takeover.c has noted last */
    int64_t certificate_look_s;         /* unix time: not looked at before */
    char certificate_problem[512];      /* of the last renewal; "": it went well, or was not due */
    unsigned n_stopping;                /* parts that have not called back */
    bool is_stopping;
    void (*stopped)(void *data);
    void *stopped_data;
};

/* ---- identity.c: the record ---- */

#define VQ_CLUSTER_TABLE "cluster"
#define VQ_CLUSTER_BRING_TABLE "cluster.bring"

/* A node of a cluster of its own, with a new key. */
Vq__LocalNode *vq_identity_lone(const struct vq_daemon *daemon);
Vq__LocalNode *vq_identity_copy(const Vq__LocalNode *from);
void vq_identity_free(Vq__LocalNode *self);
/* 1 found, 0 none, -1 error. */
VQ_MUST_CHECK int vq_identity_load(struct vq_local *local, Vq__LocalNode **ret, struct vq_error *err);
VQ_MUST_CHECK int vq_identity_save(struct vq_local *local, const Vq__LocalNode *self, struct vq_error *err);
static inline bool vq_identity_is_member(const Vq__LocalNode *self)
{
    return self->cluster_id.len == 16;
}
/* Sets daemon->node_id, node_name, cluster_key and what drivers were given of them. */
void vq_identity_use(struct vq_daemon *daemon, const Vq__LocalNode *self);

/* A name that certificates, messages and URIs can carry: letters, digits and '-', parts between dots. */
bool vq_node_name_is_valid(const char *name);
/* "10.0.0.1", "10.0.0.1:16520", "[fe80::1]:16520" -> the same with a port. Numeric hosts only. */
VQ_MUST_CHECK int vq_node_address_parse(const char *text, uint16_t default_port, char **ret_address, uint16_t *ret_port,
                                        struct vq_error *err);
/* "[::1]:16520" -> "::1"; malloc'ed. The address is one of ours: it has a port. */
char *vq_node_address_host(const char *address);
/* An address of this host that others may reach: "10.0.0.1"; NULL when it has only loopback. malloc'ed. */
char *vq_node_address_guess(void);
uint64_t vq_cluster_unix_ms(void);

/* ---- cluster.c, members.c ---- */

/* After self has changed: credentials, mesh and raft addresses follow. */
VQ_MUST_CHECK int vq_cluster_open_port(struct vq_cluster *cluster, struct vq_error *err);
void vq_cluster_close_port(struct vq_cluster *cluster);
VQ_MUST_CHECK int vq_cluster_start_raft(struct vq_cluster *cluster, struct vq_error *err);
void vq_cluster_raft_stopped(void *cluster); /* the last part of stopping */
void vq_cluster_load_members(struct vq_cluster *cluster);
void vq_cluster_drop_members(struct vq_cluster *cluster);
void vq_cluster_forget_removed(struct vq_cluster *cluster); /* those whose time is over */
const struct vq_cluster_member *vq_cluster_member(const struct vq_cluster *cluster, uint64_t id);
const struct vq_cluster_member *vq_cluster_member_by_name(const struct vq_cluster *cluster, const char *name);
/* The port that a node of this configuration listens on, before anything else is said. */
uint16_t vq_cluster_default_port(const struct vq_daemon *daemon);

/* This node's record for the table. Texts are malloc'ed: vq_store_node_free(). */
Vq__NodeRecord *vq_cluster_own_record(const struct vq_daemon *daemon, const Vq__LocalNode *self);
/* Become what the record says, without a restart: used by init and by moves. take_self is saved already. */
void vq_cluster_adopt(struct vq_cluster *cluster, Vq__LocalNode *take_self);

/* ---- status.c ---- */

/* It takes no part in consensus: for itself as its own consensus says, for others as they say. Not said by one that has
 * only begun to read its log. */
bool vq_cluster_consensus_is_stopped(const struct vq_daemon *daemon, uint64_t node_id);
/* Online, and its consensus runs: as a voter it can be reached. */
bool vq_cluster_takes_part(const struct vq_daemon *daemon, uint64_t node_id);
uint64_t vq_cluster_missing_since(const struct vq_daemon *daemon, uint64_t node_id); /* unix time; of one that does not */
struct vq_quorum {
    unsigned voters, reachable; /* reachable: they take part */
    bool has_majority;          /* reachable voters are one */
};
void vq_cluster_count_voters(const struct vq_daemon *daemon, struct vq_quorum *ret);
/* "1 of 3 voters reachable (missing: node2 since 14:02:11, node3 since 14:02:12)"; nothing missing: without brackets. */
void vq_cluster_voters_text(const struct vq_daemon *daemon, char *buffer, size_t size);
/* A ClusterStatus of malloc'ed parts; vq__cluster_status__free_unpacked(). local_only: with the hash of the state. */
Vq__ClusterStatus *vq_cluster_status(const struct vq_cluster *cluster, bool with_hash, bool with_why);
void vq_cluster_sample_load(struct vq_cluster *cluster);

/* ---- membership.c ---- */
void vq_membership_tick(struct vq_cluster *cluster);

/* ---- orphans.c ---- */
void vq_orphans_tick(struct vq_cluster *cluster);

/* ---- init.c: a lone node becomes the first of a cluster ---- */
typedef void (*vq_init_cb)(const struct vq_error *err, void *data);
VQ_MUST_CHECK int vq_init_start(struct vq_cluster *cluster, const char *cluster_name, const char *node_name,
                                const char *advertise, vq_init_cb done, void *data, struct vq_error *err);
void vq_init_tick(struct vq_cluster *cluster); /* one that was interrupted, finish or forget */

/* ---- move.c: from one cluster to another, taking this node's own guests along ---- */

/* Write the records, then change over: consensus stops, log and store are set aside, consensus starts as the node that
 * `to` says, and the definitions are proposed there. done: the change-over has happened (err NULL) or nothing has. */
typedef void (*vq_move_cb)(const struct vq_error *err, void *data);
VQ_MUST_CHECK int vq_move_start(struct vq_cluster *cluster, Vq__LocalNode *take_to, vq_move_cb done, void *data,
                                struct vq_error *err);
/* At start, before consensus: finish a change-over that was interrupted. */
VQ_MUST_CHECK int vq_move_resume(struct vq_daemon *daemon, struct vq_error *err);
/* 1: *ret is who the node is to be; 0: no move is under way. */
VQ_MUST_CHECK int vq_move_load(struct vq_local *local, Vq__LocalMove **ret, struct vq_error *err);
void vq_move_tick(struct vq_cluster *cluster); /* proposes what was brought along */
bool vq_move_is_busy(const struct vq_cluster *cluster);
void vq_move_free(struct vq_cluster *cluster);
