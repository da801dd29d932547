/* Guests that are moved to other nodes, some at a time: one by name, or all of a node that is drained.
 *
 * Runs in the daemon that was asked, by ordinary calls to the owners, as root; it goes on when the tool is gone. What was not
 * moved when this daemon ends is found again by asking anew: what has moved is elsewhere then.
 *
 *   QUEUED ──► CHECKING ──► MOVING ──► MOVED       each candidate is checked in turn, the one with most free memory first;
 *                 │            └─────► FAILED       when none will have it, the guest STAYS, with the reasons of the first
 *                 ├──► WOULD_MOVE (dry run)
 *                 └──► STAYS */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "proto/cluster.pb-c.h"

struct vq_cluster;
struct vq_evacuation;

enum { VQ_EVACUATE_PARALLEL = 2, VQ_EVACUATE_PARALLEL_MAX = 64, VQ_EVACUATE_TARGETS_MAX = 256, VQ_EVACUATIONS_MAX = 16 };

struct vq_evacuate_wish {
    uint64_t node;           /* drain: whose guests; 0: the one guest below */
    uint8_t uuid[16];
    const uint64_t *to;      /* candidates; none: all other nodes */
    size_t n_to;
    unsigned parallel;       /* 0: VQ_EVACUATE_PARALLEL */
    bool offline_too;        /* those that do not run as well: only their owner changes */
    bool dry_run, copy_storage, unsafe;
    uint64_t bandwidth;      /* MiB/s, 0: unlimited */
    uint64_t timeout_ms;     /* then those that are under way are cancelled; 0: never */
};

struct vq_evacuate_result {
    unsigned moved, stay, failed;
    bool is_timed_out;
    struct vq_error first;   /* of those that stay or failed */
};

struct vq_evacuate_callbacks {
    /* Those that changed since the last time; borrowed. */
    void (*progress)(Vq__GuestMove *const *moves, size_t n_moves, void *data);
    /* What the first candidate of a guest had to say, once for each guest that was checked; borrowed. */
    void (*problems)(Vq__GuestProblem *const *problems, size_t n_problems, void *data);
    void (*over)(const struct vq_evacuate_result *result, void *data);
};

/* callbacks NULL: nobody listens. A drain ends early when the node is no longer marked as draining. A node that is emptied
 * already goes on as it was asked to, with the new call-backs (the old ones are told the end). Errors:
 * VIR_ERR_OPERATION_FAILED too many are under way. */
VQ_MUST_CHECK int vq_evacuate(struct vq_cluster *cluster, const struct vq_evacuate_wish *wish,
                              const struct vq_evacuate_callbacks *callbacks, void *data, struct vq_error *err);
void vq_evacuations_tick(struct vq_cluster *cluster); /* ten times a second */
void vq_evacuations_stop(struct vq_cluster *cluster); /* over is called for each */
