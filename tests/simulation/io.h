/* Disk and network of one simulated node, as the raft_io that libraft asks for. The disk outlives the node. */
#pragma once

#include <raft.h>

#include "tests/simulation/world.h"

struct sim_entry {
    raft_term term;
    unsigned short type;
    size_t length;
    void *bytes;
};

struct sim_snapshot {
    raft_index index;
    raft_term term;
    raft_index configuration_index;
    struct raft_buffer configuration; /* encoded */
    struct raft_buffer data;
};

/* What is safely on disk. */
struct sim_disk {
    raft_term term;
    raft_id vote;
    raft_index first; /* index of entries[0] */
    struct sim_entry *entries;
    size_t n_entries, capacity;
    struct sim_snapshot *snapshot;
};

void sim_disk_done(struct sim_disk *disk);
bool sim_disk_is_empty(const struct sim_disk *disk);
/* A planted bug: what was flushed is not there any more. */
void sim_disk_forget_last(struct sim_disk *disk, size_t n);

struct sim_io;
struct sim_network {
    struct world *world;
    struct sim_io *ios[8]; /* by node id; NULL while dead */
    bool is_cut[8][8];     /* from, to */
    unsigned drop_per_thousand, duplicate_per_thousand;
    uint64_t delay_min_us, delay_max_us;
};

/* after: called whenever libraft was called, with the node's data. */
struct sim_io *sim_io_new(struct sim_network *network, struct sim_disk *disk, void (*after)(void *data), void *data);
struct raft_io *sim_io_raft(struct sim_io *io);
void sim_io_set_capacity(struct sim_io *io, unsigned short kib);
/* The power goes: writes on their way are kept up to a random one of them, and nothing goes in or out any more. Close
 * the raft then. */
void sim_io_crash(struct sim_io *io);
void sim_io_free(struct sim_io *io); /* after the raft was closed */
