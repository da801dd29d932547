/* Nodes of the simulation: starting, crashing, comparing. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "tests/simulation/cluster.h"

enum { ELECTION_MS = 500, SNAPSHOT_EVERY = 200 };

static void after(void *data)
{
    struct sim_node *node = data;

    if (node->core != NULL && vq_core_is_open(node->core))
        vq_core_turn(node->core, world_ms(&node->cluster->world));
}

/* ---- What the core tells ---- */

static void on_status(const struct vq_raft_status *status, void *data)
{
    struct sim_node *node = data;
    struct sim_cluster *cluster = node->cluster;

    node->status = *status;
    if (!status->is_leader)
        return;
    for (int i = 1; i <= SIM_NODES; i++)
        if (&cluster->nodes[i] != node && cluster->nodes[i].is_up && cluster->nodes[i].status.is_leader &&
            cluster->nodes[i].status.term == status->term)
            world_fail(&cluster->world, "nodes %d and %" PRIu64 " both lead in term %" PRIu64, i, node->id,
                       status->term);
    if (status->term > cluster->last_term) {
        cluster->last_term = status->term;
        cluster->n_elections++;
        world_note(&cluster->world, status->term);
    }
}

static void on_applied(uint64_t index, const struct vq_change_list *changes, void *data)
{
    struct sim_node *node = data;

    for (size_t i = 0; i < changes->n_changes; i++)
        node->cluster->n_snapshots += changes->changes[i].kind == VQ_CHANGE_RESYNC;
    world_note(&node->cluster->world, node->id << 56 | index);
    sim_moves_applied(node);
}

static void on_proposed(void *tag, enum vq_raft_outcome outcome, const struct vq_result *result,
                        const struct vq_error *err, void *data)
{
    struct sim_node *node = data;
    struct sim_asked *asked = tag;

    (void)err;
    if (node->is_up) /* the answers of the dead reach nobody */
        asked->answered(asked, outcome, result);
    else if (asked->forgotten != NULL)
        asked->forgotten(asked);
    free(asked);
}

static void on_changed(void *tag, enum vq_raft_outcome outcome, const struct vq_error *err, void *data)
{
    (void)err, (void)data;
    if (tag != NULL)
        *(int *)tag = (int)outcome;
}

static void on_failed(const struct vq_error *err, void *data)
{
    struct sim_node *node = data;

    world_fail(&node->cluster->world, "node %" PRIu64 ": %s", node->id, err->message);
}

static const struct vq_core_callbacks callbacks = {on_status, on_applied, on_proposed, on_changed, on_failed, NULL};

/* ---- Life ---- */

static void remove_store(const struct sim_node *node)
{
    static const char *const files[] = {"data.mdb", "lock.mdb", "boot"};

    for (size_t i = 0; i < VQ_N_ELEMENTS(files); i++) {
        VQ_AUTOFREE char *path = vq_asprintf("%s/%s", node->store_dir, files[i]);
        (void)unlink(path);
    }
}

static void node_closed(void *data)
{
    struct sim_node *node = data;

    vq_core_free(vq_take(node->core));
    vq_store_close(vq_take(node->store));
    sim_io_free(vq_take(node->io));
    node->is_closing = false;
    if (node->loses_store)
        remove_store(node);
}

void sim_node_start(struct sim_node *node, bool bootstrap)
{
    struct sim_cluster *cluster = node->cluster;
    struct vq_core_options options = {.node_id = node->id,
                                      .election_ms = ELECTION_MS,
                                      .snapshot_threshold = SNAPSHOT_EVERY,
                                      .snapshot_trailing = SNAPSHOT_EVERY / 2};
    struct vq_error err = VQ_ERROR_INIT;

    if (node->is_up || node->is_closing)
        return;
    memset(&node->status, 0, sizeof(node->status));
    if (vq_store_open(node->store_dir, &(struct vq_store_options){.reserve_bytes = 512 * 1024}, &node->store, &err) <
        0) {
        world_fail(&cluster->world, "node %" PRIu64 ": %s", node->id, err.message);
        return;
    }
    options.store = node->store;
    node->io = sim_io_new(&cluster->network, &node->disk, after, node);
    node->core = vq_core_new(&options, &callbacks, node);
    node->is_up = true;
    if (vq_core_open(node->core, sim_io_raft(node->io), &err) == 0 &&
        (!bootstrap || vq_core_bootstrap(node->core, &err) == 0) &&
        vq_core_start(node->core, world_ms(&cluster->world), &err) == 0)
        return;
    node->is_refused = true;
    world_fail(&cluster->world, "node %" PRIu64 " does not start: %s", node->id, err.message);
    sim_node_crash(node, false);
}

void sim_node_crash(struct sim_node *node, bool loses_store)
{
    if (!node->is_up)
        return;
    node->is_up = false;
    node->is_closing = true;
    node->loses_store = loses_store;
    sim_io_crash(node->io);
    if (node->cluster->plant == SIM_PLANT_LOST_FLUSH)
        sim_disk_forget_last(&node->disk, 3);
    vq_core_close(node->core, node_closed, node);
}

struct sim_node *sim_leader(struct sim_cluster *cluster)
{
    for (int i = 1; i <= SIM_NODES; i++)
        if (cluster->nodes[i].is_up && cluster->nodes[i].status.is_leader)
            return &cluster->nodes[i];
    return NULL;
}

/* ---- Comparing ---- */

void sim_node_check(struct sim_node *node)
{
    struct sim_cluster *cluster = node->cluster;
    struct vq_store_view *view;
    struct vq_error err = VQ_ERROR_INIT;
    uint64_t hash, index;

    if (!node->is_up || vq_store_view_begin(node->store, &view, &err) < 0)
        return;
    index = vq_store_view_applied(view);
    if (vq_store_hash(view, &hash, &err) < 0)
        world_fail(&cluster->world, "node %" PRIu64 ": %s", node->id, err.message);
    vq_store_view_end(view);
    if (index >= cluster->n_hashes) {
        size_t n = index * 2 + 1024;
        cluster->hashes = vq_realloc(cluster->hashes, n, sizeof(*cluster->hashes));
        memset(cluster->hashes + cluster->n_hashes, 0, (n - cluster->n_hashes) * sizeof(*cluster->hashes));
        cluster->n_hashes = n;
    }
    world_note(&cluster->world, hash);
    if (cluster->hashes[index] == 0)
        cluster->hashes[index] = hash;
    else if (cluster->hashes[index] != hash)
        world_fail(&cluster->world, "node %" PRIu64 " has another state than the others at index %" PRIu64, node->id,
                   index);
}

/* ---- Forming ---- */

static bool run_until_changed(struct sim_cluster *cluster, const int *outcome)
{
    while (*outcome < 0 && !cluster->world.has_failed)
        (void)world_step(&cluster->world);
    return *outcome == VQ_RAFT_APPLIED;
}

/* The quiet beginning: one node, then the others join and vote. */
void sim_form_cluster(struct sim_cluster *cluster)
{
    for (uint64_t id = 1; id <= SIM_NODES; id++)
        sim_node_start(&cluster->nodes[id], id == 1);
    while (sim_leader(cluster) == NULL && !cluster->world.has_failed)
        (void)world_step(&cluster->world);
    for (uint64_t id = 2; id <= SIM_NODES && !cluster->world.has_failed; id++) {
        int added = -1, assigned = -1;
        vq_core_change(cluster->nodes[1].core, VQ_CORE_ADD, id, VQ_RAFT_STANDBY, &added);
        vq_core_change(cluster->nodes[1].core, VQ_CORE_ASSIGN, id, VQ_RAFT_VOTER, &assigned);
        if (!run_until_changed(cluster, &added) || !run_until_changed(cluster, &assigned))
            world_fail(&cluster->world, "node %" PRIu64 " could not join", id);
    }
}
