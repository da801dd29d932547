/* The core's life: opening, starting, turns, closing; leadership and its barrier. */
#include "raft/core.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/log.h"
#include "raft/internal.h"

enum {
    SNAPSHOT_THRESHOLD = 8192,
    SNAPSHOT_TRAILING = 8192,
    INFLIGHT_ENTRIES = 128,
    INSTALL_TIMEOUT_MS = 60000,
    CATCH_UP_ROUNDS = 10,
    CATCH_UP_ROUND_MS = 10000,
};

struct vq_core *vq_core_new(const struct vq_core_options *options, const struct vq_core_callbacks *callbacks,
                            void *data)
{
    struct vq_core *core = vq_new(struct vq_core);

    core->options = *options;
    if (core->options.election_ms == 0)
        core->options.election_ms = VQ_CORE_ELECTION_MS;
    core->callbacks = callbacks;
    core->data = data;
    core->store = options->store;
    core->waiting_end = &core->waiting;
    core->groups_end = &core->groups;
    core->change_queue_end = &core->change_queue;
    core->status = vq_new(struct vq_raft_status);
    core->told = vq_new(struct vq_raft_status);
    vq_core_fsm_init(core);
    return core;
}

void vq_core_free(struct vq_core *core)
{
    if (core == NULL)
        return;
    vq_core_fail_all(core);
    vq_core_membership_fail(core);
    vq_change_list_done(&core->changes);
    free(core->status);
    free(core->told);
    free(core);
}

unsigned vq_core_election_ms(const struct vq_core *core)
{
    return core->options.election_ms;
}

bool vq_core_is_open(const struct vq_core *core)
{
    return core->is_open;
}

void vq_core_set_problem(struct vq_core *core, const char *problem)
{
    (void)snprintf(core->problem, sizeof(core->problem), "%s", problem);
}

void vq_core_set_low_capacity(struct vq_core *core, bool is_low)
{
    core->has_low_capacity = is_low;
}

bool vq_core_is_closing(const struct vq_core *core)
{
    return core->is_closing;
}

bool vq_core_has_data(struct vq_core *core)
{
    return core->is_started && raft_last_index(&core->raft) > 0;
}

/* ---- Starting ---- */

static void set_snapshot_distance(struct vq_core *core)
{
    unsigned threshold = core->options.snapshot_threshold, trailing = core->options.snapshot_trailing;

    raft_set_snapshot_threshold(&core->raft, threshold == 0 ? SNAPSHOT_THRESHOLD : threshold);
    raft_set_snapshot_trailing(&core->raft, trailing == 0 ? SNAPSHOT_TRAILING : trailing);
}

/* The address is the id: who that is and where it listens is the transport's knowledge. */
int vq_core_open(struct vq_core *core, struct raft_io *io, struct vq_error *err)
{
    unsigned election_ms = core->options.election_ms;
    char address[24];
    int rv;

    if (election_ms < VQ_CORE_ELECTION_MIN_MS || election_ms > VQ_CORE_ELECTION_MAX_MS)
        return vq_error_set(err, VIR_ERR_CONF_SYNTAX, "the election timeout must be between %d and %d ms, not %u",
                            VQ_CORE_ELECTION_MIN_MS, VQ_CORE_ELECTION_MAX_MS, election_ms);
    (void)snprintf(address, sizeof(address), "%llu", (unsigned long long)core->options.node_id);
    rv = raft_init(&core->raft, io, &core->fsm, core->options.node_id, address);
    if (rv != 0)
        return vq_error_set(err, rv == RAFT_NOSPACE ? VIR_ERR_OPERATION_FAILED : VIR_ERR_INTERNAL_ERROR,
                            "opening the log: %s (%s)", raft_strerror(rv), io->errmsg);
    /* The heartbeat first: libraft multiplies a very short election timeout that comes before it. */
    raft_set_heartbeat_timeout(&core->raft, election_ms / 10);
    raft_set_election_timeout(&core->raft, election_ms);
    raft_set_pre_vote(&core->raft, true);
    set_snapshot_distance(core);
    raft_set_max_inflight_entries(&core->raft, INFLIGHT_ENTRIES);
    raft_set_install_snapshot_timeout(&core->raft, INSTALL_TIMEOUT_MS);
    raft_set_max_catch_up_rounds(&core->raft, CATCH_UP_ROUNDS);
    raft_set_max_catch_up_round_duration(&core->raft, CATCH_UP_ROUND_MS);
    vq_core_receive_through(core, io);
    core->is_open = true;
    core->is_closing = core->log_is_long = false;
    core->log_bytes = core->log_entries = 0;
    core->passed_change = core->spread_index = 0;
    return 0;
}

/* Ours is the only vote. */
static int be_alone(struct vq_core *core, int (*fn)(struct raft *raft, const struct raft_configuration *configuration))
{
    struct raft_configuration configuration;
    char address[24];
    int rv;

    (void)snprintf(address, sizeof(address), "%llu", (unsigned long long)core->options.node_id);
    raft_configuration_init(&configuration);
    rv = raft_configuration_add(&configuration, core->options.node_id, address, RAFT_VOTER);
    if (rv == 0)
        rv = fn(&core->raft, &configuration);
    raft_configuration_close(&configuration);
    return rv;
}

int vq_core_bootstrap(struct vq_core *core, struct vq_error *err)
{
    int rv = be_alone(core, raft_bootstrap);

    if (rv != 0)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "beginning a log: %s", raft_strerror(rv));
    return 0;
}

int vq_core_recover(struct vq_core *core, struct vq_error *err)
{
    int rv = be_alone(core, raft_recover);

    if (rv != 0)
        return vq_error_set(err, rv == RAFT_CORRUPT ? VIR_ERR_OPERATION_INVALID : VIR_ERR_INTERNAL_ERROR,
                            "reading the log: %s (%s)", raft_strerror(rv), core->raft.io->errmsg);
    return 0;
}

int vq_core_start(struct vq_core *core, uint64_t now_ms, struct vq_error *err)
{
    uint64_t stored = vq_store_stored(core->store);
    int rv;

    core->now_ms = now_ms;
    core->is_starting = true;
    rv = raft_start(&core->raft); /* may elect us and apply everything inside, when we are the only voter */
    core->is_starting = false;
    if (rv != 0)
        return vq_error_set(err, rv == RAFT_CORRUPT ? VIR_ERR_OPERATION_INVALID : VIR_ERR_INTERNAL_ERROR,
                            "reading the log: %s (%s)", raft_strerror(rv), core->raft.errmsg);
    if (raft_last_index(&core->raft) < stored && !core->options.accepts_loss)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID,
                            "the log ends at entry %llu, but this node had written and acknowledged up to %llu",
                            raft_last_index(&core->raft), (unsigned long long)stored);
    core->is_started = true;
    return 0;
}

static void close_done(struct raft *raft)
{
    struct vq_core *core = VQ_CONTAINER_OF(raft, struct vq_core, raft);

    if (core->snapshot_is_open) {
        vq_store_snapshot_free(&core->snapshot);
        core->snapshot_is_open = false;
    }
    core->is_open = core->is_closing = false;
    vq_core_receive_drop(core);
    vq_core_fail_all(core); /* not before: libraft had the requests */
    vq_core_membership_fail(core);
    core->closed(core->closed_data);
}

void vq_core_close(struct vq_core *core, void (*closed)(void *data), void *data)
{
    vq_core_commit(core);
    vq_core_answer_applied(core);
    core->closed = closed;
    core->closed_data = data;
    core->is_closing = true;
    core->is_started = false;
    core->barrier_term = 0;
    core->barrier_has_passed = false;
    raft_close(&core->raft, close_done);
}

/* ---- Turns ---- */

bool vq_core_leads(const struct vq_core *core)
{
    return core->is_started && core->barrier_has_passed && core->raft.state == RAFT_LEADER &&
           core->barrier_term == core->raft.current_term;
}

/* A new leader does not know which of its entries are committed until one of its own term is. */
static void look_at_leadership(struct vq_core *core)
{
    int rv;

    if (raft_state(&core->raft) != RAFT_LEADER) {
        if (core->barrier_term != 0)
            vq_core_let_go(core, core->barrier.queue);
        if (core->raft.legacy.change == &core->change)
            core->raft.legacy.change = NULL;
        core->barrier_term = 0;
        core->barrier_has_passed = false;
        return;
    }
    if (core->barrier_term != raft_current_term(&core->raft)) {
        core->barrier_has_passed = false;
        vq_core_let_go(core, core->barrier.queue);
        rv = raft_barrier(&core->raft, &core->barrier, NULL);
        if (rv == 0)
            core->barrier_term = raft_current_term(&core->raft);
        else if (rv != RAFT_NOTLEADER && rv != RAFT_NOSPACE)
            vq_core_fail(core, "beginning to lead", rv);
        core->has_no_space = rv == RAFT_NOSPACE;
    }
    if (core->barrier_term == raft_current_term(&core->raft) && raft_last_applied(&core->raft) >= core->barrier.index)
        core->barrier_has_passed = true;
}

/* In a cluster of one or two the store must be usable after a power cut without the others. */
static void look_at_durability(struct vq_core *core)
{
    struct vq_error err = VQ_ERROR_INIT;
    unsigned n = core->raft.configuration.n;

    if (core->options.counts_members && n > 0 && vq_store_set_durable(core->store, n <= 2, &err) < 0)
        vq_log(WARN, "raft.durable", "%s, continuing as before", err.message);
}

/* libraft keeps the log in memory and counts entries, not bytes. When those since the last snapshot have become many, a
 * snapshot comes early, and as many entries are kept behind it as make up the same amount. */
static void look_at_log_size(struct vq_core *core)
{
    bool is_long = core->log_bytes >= VQ_CORE_LOG_MAX_BYTES;

    if (is_long == core->log_is_long || core->snapshot_is_open)
        return;
    core->log_is_long = is_long;
    set_snapshot_distance(core);
    if (!is_long)
        return;
    uint64_t kept = VQ_CORE_LOG_MAX_BYTES / (core->log_bytes / core->log_entries);
    raft_set_snapshot_threshold(&core->raft, 1);
    if (kept < SNAPSHOT_TRAILING)
        raft_set_snapshot_trailing(&core->raft, (unsigned)kept);
}

void vq_core_turn(struct vq_core *core, uint64_t now_ms)
{
    core->now_ms = now_ms;
    if (core->is_started) {
        vq_core_receive_held(core);
        look_at_leadership(core);
        vq_core_commit(core);
        vq_core_answer_applied(core);
        look_at_durability(core);
        look_at_log_size(core);
    }
    vq_core_fail_lost(core);
    vq_core_expire(core);
    vq_core_membership_turn(core);
    vq_core_flush(core);
    vq_core_spread(core);
    vq_core_status_turn(core);
}
