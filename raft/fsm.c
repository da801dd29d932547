/* The state machine that libraft sees: entries go to the store, snapshots are the store's. */
#include <stdlib.h>
#include <string.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "raft/internal.h"

static void fail(struct vq_core *core, const struct vq_error *err)
{
    vq_log(ERROR, "raft.store", "%s", err->message);
    core->callbacks->failed(err, core->data);
}

void vq_core_fail(struct vq_core *core, const char *what, int rv)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, VIR_ERR_INTERNAL_ERROR, "%s: %s", what, raft_strerror(rv));
    fail(core, &err);
}

/* Barriers and changes of the membership take indexes too, so the index is libraft's, never counted. */
static struct vq_group *own_group(struct vq_core *core, raft_index index)
{
    for (struct vq_group *group = core->groups; group != NULL; group = group->next)
        if (group->request.index == index)
            return group->is_applied ? NULL : group;
    return NULL;
}

static int fsm_apply(struct raft_fsm *fsm, const struct raft_buffer *buf, void **result)
{
    struct vq_core *core = fsm->data;
    raft_index index = raft_last_applied(&core->raft) + 1;
    struct vq_group *group = own_group(core, index);
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_result *results = NULL;
    size_t n_results = 0, length = 0;
    const void *entry = "";
    bool has_diverged = false;

    *result = NULL;
    if (!vq_entry_open(buf->base, buf->len, &entry, &length))
        vq_log(ERROR, "raft.entry", "index=%llu: not an entry of ours, skipped", index);
    if (vq_store_apply(core->store, index, entry, length, &results, &n_results, &core->changes, &has_diverged, &err) <
        0) {
        struct vq_error condemn = VQ_ERROR_INIT;
        if (has_diverged && vq_store_condemn(core->store, &condemn) < 0)
            vq_log(ERROR, "raft.diverged", "%s", condemn.message);
        fail(core, &err);
    }
    core->has_applied = true;
    core->log_bytes += buf->len;
    core->log_entries++;
    if (group == NULL) {
        free(results);
        return 0;
    }
    group->results = results;
    group->n_results = n_results;
    group->is_applied = true;
    return 0;
}

/* ---- Snapshots ---- */

/* Of several changes of the membership that become committed at once, as after a restart, libraft takes note one by
 * one, and wants to take its snapshot after the first: with a configuration that is not the last one. */
static bool configuration_is_behind(const struct raft *raft)
{
    return raft->configuration_uncommitted_index != 0 && raft->configuration_uncommitted_index <= raft->commit_index;
}

static int fsm_snapshot(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct vq_core *core = fsm->data;
    struct vq_error err = VQ_ERROR_INIT;

    static_assert(sizeof(struct raft_buffer) == sizeof(struct vq_store_buf),
                  "the store's buffers are given as they are");
    if (core->snapshot_is_open || configuration_is_behind(&core->raft))
        return RAFT_BUSY; /* asked again with the next event */
    if (vq_store_snapshot_take(core->store, &core->snapshot, &err) < 0) {
        vq_log(WARN, "raft.snapshot", "%s, trying again", err.message);
        return RAFT_BUSY;
    }
    core->snapshot_is_open = true;
    *bufs = (struct raft_buffer *)core->snapshot.bufs;
    *n_bufs = core->snapshot.n_bufs;
    return 0;
}

static int fsm_snapshot_finalize(struct raft_fsm *fsm, struct raft_buffer *bufs[], unsigned *n_bufs)
{
    struct vq_core *core = fsm->data;

    vq_store_snapshot_free(&core->snapshot);
    core->snapshot_is_open = false;
    core->log_bytes = core->log_entries = 0;
    *bufs = NULL;
    *n_bufs = 0;
    return 0;
}

static int fsm_restore(struct raft_fsm *fsm, struct raft_buffer *buf)
{
    struct vq_core *core = fsm->data;
    struct vq_error err = VQ_ERROR_INIT;
    bool was_loaded = false;

    if (VQ_FAILPOINT("raft.restore") || vq_store_restore(core->store, buf->base, buf->len, &was_loaded, &err) < 0) {
        /* libraft goes on after a failed restore at run time as if it had succeeded, so nothing may go on then. */
        if (!core->is_starting)
            fail(core, &err);
        vq_log(ERROR, "raft.restore", "%s", err.message);
        return err.code == VIR_ERR_SYSTEM_ERROR ? RAFT_IOERR : RAFT_CORRUPT; /* the first may pass */
    }
    raft_free(buf->base);
    if (!was_loaded)
        return 0;
    VQ_GROW(core->changes.changes, core->changes.n_changes);
    core->changes.changes[core->changes.n_changes++] =
        (struct vq_change){.kind = VQ_CHANGE_RESYNC, .index = vq_store_applied(core->store), .id = -1};
    core->has_applied = true;
    return 0;
}

void vq_core_fsm_init(struct vq_core *core)
{
    core->fsm = (struct raft_fsm){
        .version = 3,
        .data = core,
        .apply = fsm_apply,
        .snapshot = fsm_snapshot,
        .restore = fsm_restore,
        .snapshot_finalize = fsm_snapshot_finalize,
    };
}

/* All entries of one turn are one transaction, and nobody hears of them before it is committed. What this node's own
 * log surely holds is noted with it: a log that ends earlier at the next start has lost something. */
void vq_core_commit(struct vq_core *core)
{
    struct vq_error err = VQ_ERROR_INIT;
    uint64_t applied = vq_store_applied(core->store);

    if (!core->has_applied)
        return;
    core->has_applied = false;
    vq_store_note_stored(core->store, core->raft.last_stored < applied ? core->raft.last_stored : applied);
    if (vq_store_commit(core->store, &err) < 0)
        fail(core, &err);
    core->callbacks->applied(applied, &core->changes, core->data);
    vq_change_list_done(&core->changes);
}
