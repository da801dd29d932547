/* Recovery: what is left of a node's log and store becomes the beginning of a new log.
 *
 *  1. store and log are copied
 *  2. libraft reads the copied log with this node as the only voter, so that all of it is applied to the copied store;
 *     a log that cannot be read is left out: then what the store had applied is all there is
 *  3. the other nodes are taken out of the node table, and the generation of the cluster is raised: no node of the
 *     earlier one is believed
 *  4. a new log is begun with that state
 *  5. the mark "complete" is written, and the copies change places with what was there
 *
 * From 5 on it goes forward only. */
#define VQ_FROM VIR_FROM_NONE
#include "node/cluster/recover.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "conf/base/buffer.h"
#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "node/cluster/cluster_state.h"
#include "node/cluster/tree.h"
#include "proto/cluster.pb-c.h"
#include "raft/directory.h"
#include "raft/raft.h"
#include "store/local.h"

enum { READ_MS = 120000, MARK_MAX = 64 };

static const char *const parts[] = {"store", "raft"};

struct vq_recovery {
    char *state_dir, *work_dir;
    int lock_fd;
    Vq__LocalNode *self;
    struct vq_recovery_findings findings;
    char *others, *log_problem;
    struct vq_store *store; /* the copy */
    uint64_t term, last_index;
    bool is_complete;       /* the mark is there */
};

/* Reading the copied log. */
struct reading {
    uv_loop_t loop;
    uv_timer_t deadline;
    struct vq_raft *raft;
    struct vq_raft_status status;
    bool is_stopping, is_late;
};

/* ---- What is there ---- */

static int lock_state(struct vq_recovery *recovery, struct vq_error *err)
{
    VQ_AUTOFREE char *path = vq_asprintf("%s/lock", recovery->state_dir);

    recovery->lock_fd = open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
    if (recovery->lock_fd < 0)
        return vq_error_system(err, errno, "there is no node in %s: opening %s", recovery->state_dir, path);
    if (flock(recovery->lock_fd, LOCK_EX | LOCK_NB) < 0)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID,
                            "virtquorumd runs with %s: stop it first; its guests run on", recovery->state_dir);
    return 0;
}

static int load_identity(struct vq_recovery *recovery, struct vq_error *err)
{
    VQ_AUTOFREE char *path = vq_asprintf("%s/local", recovery->state_dir);
    struct vq_local *local;

    if (vq_local_open(path, &local, err) < 0)
        return vq_error_wrap(err, "opening this node's records");
    int found = vq_identity_load(local, &recovery->self, err);
    vq_local_close(local);
    if (found == 0)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "%s does not say which node this is", path);
    if (found < 0)
        return -1;
    recovery->findings.node = recovery->self->node_name;
    recovery->findings.cluster = vq_identity_is_member(recovery->self) ? recovery->self->cluster_name : NULL;
    return 0;
}

static char *mark_path(const char *state_dir)
{
    return vq_asprintf("%s/recovering/complete", state_dir);
}

int vq_recovery_check(const char *state_dir, struct vq_error *err)
{
    VQ_AUTOFREE char *path = mark_path(state_dir);

    if (access(path, F_OK) < 0 && errno == ENOENT)
        return 0;
    return vq_error_set(err, VIR_ERR_OPERATION_FAILED,
                        "a recovery of this node was interrupted; finish it: virtquorum recover --force");
}

static int copy_part(const struct vq_recovery *recovery, const char *part, struct vq_error *err)
{
    VQ_AUTOFREE char *from = vq_asprintf("%s/%s", recovery->state_dir, part);
    VQ_AUTOFREE char *to = vq_asprintf("%s/%s", recovery->work_dir, part);

    if (access(from, F_OK) < 0 && errno == ENOENT)
        return 0;
    return vq_tree_copy_files(from, to, err);
}

static int make_copies(const struct vq_recovery *recovery, struct vq_error *err)
{
    if (vq_tree_remove(recovery->work_dir, err) < 0)
        return -1;
    if (mkdir(recovery->work_dir, 0700) < 0)
        return vq_error_system(err, errno, "making '%s'", recovery->work_dir);
    for (size_t i = 0; i < VQ_N_ELEMENTS(parts); i++)
        if (copy_part(recovery, parts[i], err) < 0)
            return -1;
    return 0;
}

/* ---- The log ---- */

static void reading_stopped(void *data)
{
    struct reading *reading = data;

    reading->raft = NULL;
    uv_close((uv_handle_t *)&reading->deadline, NULL);
}

static void reading_stop(struct reading *reading)
{
    if (reading->is_stopping)
        return;
    reading->is_stopping = true;
    vq_raft_stop(reading->raft, reading_stopped, reading);
}

/* It leads when all that is in the log is applied. */
static void reading_status(const struct vq_raft_status *status, void *data)
{
    struct reading *reading = data;

    if (reading->is_stopping)
        return;
    reading->status = *status;
    if (status->is_leader || (!status->is_running && status->problem[0] != '\0'))
        reading_stop(reading);
}

static void reading_applied(uint64_t index VQ_UNUSED, const struct vq_change_list *changes VQ_UNUSED, void *data VQ_UNUSED)
{
}

static void reading_late(uv_timer_t *timer)
{
    struct reading *reading = timer->data;

    reading->is_late = true;
    reading_stop(reading);
}

static int run_reading(struct vq_recovery *recovery, struct reading *reading, const char *dir, struct vq_error *err)
{
    static const struct vq_raft_callbacks callbacks = {reading_status, reading_applied};
    const struct vq_raft_options options = {
        .node_id = recovery->self->node_id, .dir = dir, .store = recovery->store, .alone = true};

    if (vq_raft_start(&reading->loop, &options, &callbacks, reading, &reading->raft, err) < 0)
        return -1;
    (void)uv_timer_init(&reading->loop, &reading->deadline); /* cannot fail */
    reading->deadline.data = reading;
    (void)uv_timer_start(&reading->deadline, reading_late, READ_MS, 0); /* only without a callback */
    (void)uv_run(&reading->loop, UV_RUN_DEFAULT);
    if (reading->status.is_leader)
        return 0;
    return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "%s",
                        reading->is_late ? "reading the log takes too long" : reading->status.problem);
}

/* 0 also when the log cannot be read, with the problem found. */
static int read_log(struct vq_recovery *recovery, struct vq_error *err)
{
    VQ_AUTOFREE char *dir = vq_asprintf("%s/raft", recovery->work_dir);
    struct vq_error problem = VQ_ERROR_INIT;
    struct reading reading = {.is_stopping = false};
    int has_log = access(dir, F_OK) < 0 ? 0 : vq_directory_has_log(dir, err);

    if (has_log < 0)
        return -1;
    if (has_log == 0) {
        recovery->log_problem = vq_strdup("there is no log");
        return 0;
    }
    if (uv_loop_init(&reading.loop) != 0)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "making an event loop");
    if (run_reading(recovery, &reading, dir, &problem) < 0)
        recovery->log_problem = vq_strdup(problem.message);
    (void)uv_run(&reading.loop, UV_RUN_DEFAULT); /* what is closing */
    (void)uv_loop_close(&reading.loop);          /* busy only if a handle was forgotten */
    recovery->term = reading.status.term;
    recovery->last_index = reading.status.last_index;
    return 0;
}

/* ---- The state ---- */

/* The other nodes: named in the findings, and the commands that take them out. */
static void collect_others(struct vq_recovery *recovery, struct vq_store_view *view, struct vq_buffer *entry)
{
    VQ_AUTOBUFFER names = VQ_BUFFER_INIT;
    Vq__NodeRecord *record;
    Vq__Entry packed = VQ__ENTRY__INIT;

    for (uint64_t last = 0; (record = vq_store_node_next(view, last)) != NULL; vq_store_node_free(record)) {
        last = record->id;
        if (last == recovery->self->node_id)
            continue;
        Vq__Command command = VQ__COMMAND__INIT, *commands[] = {&command};
        Vq__NodeRemove gone = VQ__NODE_REMOVE__INIT;
        uint8_t request_id[16];
        if (getrandom(request_id, sizeof(request_id), 0) != (ssize_t)sizeof(request_id))
            memset(request_id, (int)last, sizeof(request_id)); /* cannot be; and it need only differ from the others */
        gone.id = last;
        command.request_id = (ProtobufCBinaryData){sizeof(request_id), request_id};
        command.time_ms = vq_cluster_unix_ms();
        command.proposer = recovery->self->node_id;
        command.change_case = VQ__COMMAND__CHANGE_NODE_REMOVE;
        command.node_remove = &gone;
        packed.commands = commands;
        packed.n_commands = 1;
        (void)vq__entry__pack(&packed, vq_buffer_extend(entry, vq__entry__get_packed_size(&packed)));
        vq_buffer_addf(&names, "%s%s", names.length > 0 ? ", " : "", record->name);
    }
    if (names.length > 0)
        recovery->findings.others = recovery->others = vq_strdup(names.data);
}

static void count_domains(struct vq_recovery *recovery, struct vq_store_view *view)
{
    struct vq_store_cursor *cursor = NULL;
    const struct vq_domain_head *head;

    while ((head = vq_store_domain_next(view, &cursor)) != NULL) {
        recovery->findings.domains++;
        recovery->findings.domains_of_others += head->owner != recovery->self->node_id;
    }
}

/* One entry behind all that was: the log that follows is no other node's. */
static int apply_end(struct vq_recovery *recovery, const struct vq_buffer *entry, struct vq_error *err)
{
    uint64_t applied = vq_store_applied(recovery->store);
    uint64_t index = (recovery->last_index > applied ? recovery->last_index : applied) + 1;
    struct vq_change_list changes = {0};
    struct vq_result *results = NULL;
    size_t n_results = 0;
    bool has_diverged;
    int rc = vq_store_apply(recovery->store, index, entry->length > 0 ? entry->data : "", entry->length, &results,
                            &n_results, &changes, &has_diverged, err);

    for (size_t i = 0; rc == 0 && i < n_results; i++)
        if (results[i].code != VIR_ERR_OK)
            rc = vq_error_set(err, VIR_ERR_OPERATION_FAILED, "taking a node out: %s", results[i].message);
    free(results);
    vq_change_list_done(&changes);
    return rc < 0 ? -1 : vq_store_raise_generation(recovery->store, err); /* and commits */
}

static int finish_state(struct vq_recovery *recovery, struct vq_error *err)
{
    VQ_AUTOBUFFER entry = VQ_BUFFER_INIT;
    struct vq_store_view *view;

    recovery->findings.recovered = vq_store_applied(recovery->store);
    recovery->findings.log_problem = recovery->log_problem;
    if (recovery->log_problem != NULL && recovery->findings.recovered == 0)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED,
                            "there is nothing to begin with: the store is empty and of the log: %s. Copies of the store from "
                            "before an accident, if there are any, are in %s/store/before-*",
                            recovery->log_problem, recovery->state_dir);
    if (vq_store_view_begin(recovery->store, &view, err) < 0)
        return -1;
    collect_others(recovery, view, &entry);
    count_domains(recovery, view);
    vq_store_view_end(view);
    return apply_end(recovery, &entry, err);
}

static int begin_log(struct vq_recovery *recovery, struct vq_error *err)
{
    VQ_AUTOFREE char *dir = vq_asprintf("%s/raft", recovery->work_dir);

    if (vq_tree_remove(dir, err) < 0 ||
        vq_raft_begin_log(dir, recovery->self->node_id, recovery->store, recovery->term + 1, err) < 0)
        return -1;
    return vq_tree_sync(recovery->work_dir, err);
}

static int prepare_copies(struct vq_recovery *recovery, struct vq_error *err)
{
    VQ_AUTOFREE char *store_dir = vq_asprintf("%s/store", recovery->work_dir);
    const struct vq_store_options options = {.durable = true};

    if (make_copies(recovery, err) < 0 || vq_store_open(store_dir, &options, &recovery->store, err) < 0)
        return -1;
    recovery->findings.stored = vq_store_applied(recovery->store);
    if (read_log(recovery, err) < 0 || finish_state(recovery, err) < 0 || begin_log(recovery, err) < 0)
        return -1;
    vq_store_close(vq_take(recovery->store));
    return 0;
}

static int prepare(struct vq_recovery *recovery, struct vq_error *err)
{
    VQ_AUTOFREE char *mark = mark_path(recovery->state_dir);

    if (lock_state(recovery, err) < 0 || load_identity(recovery, err) < 0)
        return -1;
    recovery->is_complete = recovery->findings.was_interrupted = access(mark, F_OK) == 0;
    return recovery->is_complete ? 0 : prepare_copies(recovery, err);
}

int vq_recovery_prepare(const char *state_dir, struct vq_recovery **ret, struct vq_error *err)
{
    struct vq_recovery *recovery = vq_new(struct vq_recovery);

    recovery->state_dir = vq_strdup(state_dir);
    recovery->work_dir = vq_asprintf("%s/recovering", state_dir);
    recovery->lock_fd = -1;
    if (prepare(recovery, err) < 0) {
        vq_recovery_free(recovery);
        return -1;
    }
    *ret = recovery;
    return 0;
}

const struct vq_recovery_findings *vq_recovery_findings(const struct vq_recovery *recovery)
{
    return &recovery->findings;
}

/* ---- Changing places ---- */

/* The mark says where to, so that a second run goes on in the same place. */
static int write_mark(struct vq_recovery *recovery, struct vq_error *err)
{
    VQ_AUTOFREE char *path = mark_path(recovery->state_dir), *new_path = vq_asprintf("%s.new", path);
    VQ_AUTOFREE char *text = vq_asprintf("before-recovery-%" PRIu64 "\n", vq_cluster_unix_ms());
    VQ_AUTOCLOSE int fd = open(new_path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0 || write(fd, text, strlen(text)) != (ssize_t)strlen(text) || fsync(fd) < 0 || rename(new_path, path) < 0)
        return vq_error_system(err, errno, "writing '%s'", path);
    recovery->is_complete = true;
    return vq_tree_sync(recovery->work_dir, err);
}

static int read_mark(const struct vq_recovery *recovery, char **ret_aside, struct vq_error *err)
{
    VQ_AUTOFREE char *path = mark_path(recovery->state_dir);
    VQ_AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    char text[MARK_MAX];
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    if (got < 0)
        return vq_error_system(err, errno, "reading '%s'", path);
    text[got] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (strncmp(text, "before-recovery-", strlen("before-recovery-")) != 0 || strchr(text, '/') != NULL)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "'%s' is damaged", path);
    *ret_aside = vq_asprintf("%s/%s", recovery->state_dir, text);
    return 0;
}

/* Each of the two renames is missing, or done. */
static int change_places(const struct vq_recovery *recovery, const char *part, const char *aside, struct vq_error *err)
{
    VQ_AUTOFREE char *place = vq_asprintf("%s/%s", recovery->state_dir, part);
    VQ_AUTOFREE char *old = vq_asprintf("%s/%s", aside, part), *new = vq_asprintf("%s/%s", recovery->work_dir, part);

    if (access(new, F_OK) < 0)
        return 0;
    if (access(old, F_OK) < 0 && rename(place, old) < 0 && errno != ENOENT)
        return vq_error_system(err, errno, "setting '%s' aside", place);
    if (VQ_FAILPOINT("recover.aside"))
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "failure point recover.aside");
    if (rename(new, place) < 0)
        return vq_error_system(err, errno, "putting '%s' into its place", new);
    return 0;
}

static int swap(struct vq_recovery *recovery, const char *aside, struct vq_error *err)
{
    VQ_AUTOFREE char *mark = mark_path(recovery->state_dir);

    if (mkdir(aside, 0700) < 0 && errno != EEXIST)
        return vq_error_system(err, errno, "making '%s'", aside);
    for (size_t i = 0; i < VQ_N_ELEMENTS(parts); i++)
        if (change_places(recovery, parts[i], aside, err) < 0)
            return -1;
    if (vq_tree_sync(aside, err) < 0 || vq_tree_sync(recovery->state_dir, err) < 0)
        return -1;
    if (VQ_FAILPOINT("recover.swapped") || unlink(mark) < 0)
        return vq_error_system(err, errno, "removing '%s'", mark);
    recovery->is_complete = false;
    return vq_tree_sync(recovery->work_dir, err);
}

int vq_recovery_finish(struct vq_recovery *recovery, char **ret_aside, struct vq_error *err)
{
    VQ_AUTOFREE char *aside = NULL;

    if ((!recovery->is_complete && write_mark(recovery, err) < 0) || read_mark(recovery, &aside, err) < 0 ||
        swap(recovery, aside, err) < 0)
        return vq_error_wrap(err, "the recovery is not complete, run it again");
    *ret_aside = vq_take(aside);
    return 0;
}

void vq_recovery_free(struct vq_recovery *recovery)
{
    struct vq_error ignored = VQ_ERROR_INIT;

    if (recovery == NULL)
        return;
    vq_store_close(recovery->store);
    if (recovery->lock_fd >= 0 && recovery->self != NULL && !recovery->is_complete &&
        vq_tree_remove(recovery->work_dir, &ignored) < 0)
        vq_log(WARN, "recover.copies", "%s", ignored.message); /* the next recovery does it again */
    if (recovery->lock_fd >= 0)
        (void)close(recovery->lock_fd); /* gives the lock back */
    vq_identity_free(recovery->self);
    free(recovery->others);
    free(recovery->log_problem);
    free(recovery->state_dir);
    free(recovery->work_dir);
    free(recovery);
}
