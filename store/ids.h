/* Domain ids and run numbers: which ones apply gives out, and which a node may take without asking.
 *
 * Ids 1 to 999 999 are the cluster's, given out in turn, skipping those in use. Above, each node has a million of its
 * own for starts without a quorum. After 2146 joins a node shares its range with one long removed; apply looks anyway
 * whether an id is in use, and then gives another.
 *
 * A run number is the cluster's counter in the upper 48 bits and a count of local starts in the lower 16. A start
 * without a quorum takes the last number known of that domain plus one, so it is newer than all the node has seen, and
 * any number that the cluster gives out later is newer still. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum {
    VQ_ID_CLUSTER_MAX = 999999,
    VQ_ID_LOCAL_SPAN = 1000000,
    VQ_ID_LOCAL_NODES = 2146, /* ranges that fit into a positive int32 */
    VQ_RUN_LOCAL_BITS = 16,
};

/* n counts local starts of this node, from 0; it wraps within the range. */
static inline int32_t vq_ids_local_id(uint64_t node, uint64_t n)
{
    return (int32_t)((1 + (node - 1) % VQ_ID_LOCAL_NODES) * VQ_ID_LOCAL_SPAN + n % VQ_ID_LOCAL_SPAN);
}

static inline bool vq_ids_run_is_local(uint64_t run)
{
    return (run & ((1u << VQ_RUN_LOCAL_BITS) - 1)) != 0;
}

/* 0: there were 65 535 starts without a quorum; this one has to wait for it. */
static inline uint64_t vq_ids_next_local_run(uint64_t last_run)
{
    uint64_t next = last_run + 1;

    return vq_ids_run_is_local(next) ? next : 0;
}

static inline uint64_t vq_ids_cluster_run(uint64_t counter)
{
    return counter << VQ_RUN_LOCAL_BITS;
}
