/* The simulated cluster: nodes with their store, core and I/O; clients that write through them; what they were told. */
#pragma once

#include "raft/core.h"
#include "tests/simulation/io.h"

enum { SIM_NODES = 3, SIM_CLIENTS = 6, SIM_OWN_DOMAINS = 4, SIM_CONTESTED = 40, SIM_GUESTS = 3 };

/* Faults of our own making, to see that the checks see them. */
enum sim_plant {
    SIM_PLANT_NONE,
    SIM_PLANT_EARLY_ANSWER,
    SIM_PLANT_NO_REPETITION,
    SIM_PLANT_LOST_FLUSH,
    SIM_PLANT_EARLY_RESUME,
    SIM_N_PLANTS
};

struct sim_cluster;

/* The tag of a proposal: first member of what its sender keeps, freed after answered or instead of it. */
struct sim_asked {
    void (*answered)(struct sim_asked *asked, enum vq_raft_outcome outcome, const struct vq_result *result);
    void (*forgotten)(struct sim_asked *asked); /* the node is dead; may be NULL. Either is called once, before the memory goes */
};

struct sim_node {
    struct sim_cluster *cluster;
    uint64_t id;
    char *store_dir;
    struct sim_disk disk;
    struct sim_io *io;
    struct vq_store *store;
    struct vq_core *core;
    bool is_up, is_closing, is_refused, loses_store;
    struct vq_raft_status status;
};

/* A domain that only one client writes, so that it knows what must be there. */
struct sim_own {
    bool is_defined;
    uint64_t version;
};

struct sim_client {
    struct sim_cluster *cluster;
    uint64_t id, number; /* of its operations */
    uint64_t attempt;    /* answers of earlier attempts are stale */
    uint64_t node;       /* asked last */
    bool is_busy;
    uint64_t busy_since_ms;
    uint8_t request_id[16];
    uint8_t *command; /* packed */
    size_t length;
    unsigned kind, which; /* what is being done, to what */
    struct sim_own own[SIM_OWN_DOMAINS];
    uint64_t n_done;
};

/* Winner of each contested name, as clients were told. */
struct sim_contested {
    bool is_won;
    uint8_t uuid[16];
};

/* One guest that is moved from node to node: what the QEMU that each node may have of it does (moves.c). */
struct sim_qemu {
    enum { SIM_NOT_THERE, SIM_RUNS, SIM_SENT, SIM_WAITS, SIM_LOADED } phase;
    uint64_t run;        /* its run number; waiting: the one that it gets */
    uint64_t moving_run; /* at the source: the move that it is sent by; 0: none */
    uint64_t moving_to;
};
struct sim_question;
struct sim_guest {
    struct sim_cluster *cluster;
    uint8_t uuid[16];
    struct sim_qemu qemus[SIM_NODES + 1]; /* by node; they outlive their daemon's crashes */
    bool is_started;
    unsigned n_asking;   /* proposals whose fate is not known */
    struct sim_question *asking;
    uint64_t *ended;     /* moves that were told to have ended */
    size_t n_ended;
    uint64_t n_moves, n_commits, n_cancels; /* as told */
};

struct sim_cluster {
    struct world world;
    struct sim_network network;
    char *dir;
    enum sim_plant plant;
    struct sim_node nodes[SIM_NODES + 1]; /* by id */
    struct sim_client clients[SIM_CLIENTS];
    struct sim_contested contested[SIM_CONTESTED];
    struct sim_guest guests[SIM_GUESTS];
    bool is_healing;
    uint64_t n_done, n_crashes, n_elections, n_retries, n_snapshots;
    raft_term last_term;
    uint64_t *hashes; /* of the state by applied index, as the first node had it */
    size_t n_hashes;
};

/* nodes.c */
void sim_node_start(struct sim_node *node, bool bootstrap);
void sim_node_crash(struct sim_node *node, bool loses_store);
void sim_node_check(struct sim_node *node); /* its state against the others' at the same index */
void sim_form_cluster(struct sim_cluster *cluster);
struct sim_node *sim_leader(struct sim_cluster *cluster);

/* clients.c */
void sim_clients_start(struct sim_cluster *cluster);
struct sim_node *sim_choose_node(struct sim_cluster *cluster, uint64_t *last); /* to ask: the last one's hint, mostly */
void sim_clients_check(struct sim_cluster *cluster, struct sim_node *node);
void sim_clients_stop(struct sim_cluster *cluster);

/* moves.c */
void sim_moves_start(struct sim_cluster *cluster);
void sim_moves_applied(struct sim_node *node); /* this node's state has gone on */
bool sim_moves_are_at_rest(const struct sim_cluster *cluster);
void sim_moves_check(struct sim_cluster *cluster, struct sim_node *node);
void sim_moves_stop(struct sim_cluster *cluster);
