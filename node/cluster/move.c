/* From one cluster to another (a lone node is one too), taking this node's own guests along.
 *
 *  1. the definitions of own domains go into records, as the commands that will make them again
 *  2. the record of the move says who the node is to be: from here on it goes forward only, also after a crash
 *  3. port and consensus stop; log and store are set aside, never deleted
 *  4. the node's own record is changed, that of the move goes
 *  5. consensus and port start as the new node
 *  6. when a leader is known, the commands of 1 are proposed, one after the other, each at most once
 *
 * Guests run on: drivers know nothing of all this until the end, when they are asked to find their guests again. */
#define VQ_FROM VIR_FROM_NONE
#include <errno.h>
#include <fcntl.h>
#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "node/cluster/cluster_state.h"
#include "node/mesh/forward.h"
#include "node/mesh/propose.h"
#include "node/seal.h"
#include "proto/tls.h"

static const char move_key[] = "move";
#define REFUSED_TABLE "cluster.refused"

enum { CHUNK_BYTES = 1024 * 1024, BRING_TIMEOUT_MS = 10000 };

struct chunk_key { uint8_t bytes[8]; };

struct vq_move {
    struct vq_cluster *cluster;
    Vq__LocalMove *record;  /* while changing over */
    vq_move_cb done;
    void *data;
    bool is_bringing;       /* step 6 */
    Vq__Entry *chunk;       /* being proposed */
    struct chunk_key key;
    size_t at;              /* next command of it */
    bool is_waiting;        /* for an answer */
    size_t n_brought, n_refused;
};

static struct chunk_key chunk_key(uint64_t number)
{
    struct chunk_key key;

    for (unsigned i = 0; i < 8; i++)
        key.bytes[i] = (uint8_t)(number >> (56 - 8 * i));
    return key;
}

bool vq_move_is_busy(const struct vq_cluster *cluster)
{
    return cluster->move != NULL;
}

void vq_move_free(struct vq_cluster *cluster)
{
    struct vq_move *move = vq_take(cluster->move);

    if (move == NULL)
        return;
    vq__local_move__free_unpacked(move->record, NULL);
    vq__entry__free_unpacked(move->chunk, NULL);
    free(move);
}

/* ---- 1. What is brought along ---- */

struct collector {
    struct vq_daemon *daemon;
    const Vq__LocalNode *to;
    Vq__Entry entry;       /* commands of the chunk being filled; its parts are ours */
    size_t bytes;
    uint64_t n_chunks;
};

static void free_commands(struct collector *collector)
{
    for (size_t i = 0; i < collector->entry.n_commands; i++)
        vq__command__free_unpacked(collector->entry.commands[i], NULL);
    free(collector->entry.commands);
    collector->entry = (Vq__Entry)VQ__ENTRY__INIT;
    collector->bytes = 0;
}

static int flush_chunk(struct collector *collector, struct vq_error *err)
{
    if (collector->entry.n_commands == 0)
        return 0;
    size_t size = vq__entry__get_packed_size(&collector->entry);
    VQ_AUTOFREE uint8_t *bytes = vq_calloc(1, size + 1);
    struct chunk_key key = chunk_key(collector->n_chunks++);

    (void)vq__entry__pack(&collector->entry, bytes);
    free_commands(collector);
    return vq_local_put(collector->daemon->local, VQ_CLUSTER_BRING_TABLE, key.bytes, sizeof(key.bytes), bytes, size, true,
                        err);
}

/* A copy of the command, with a request id of its own, into the chunk. */
static int collect(struct collector *collector, Vq__Command *command, struct vq_error *err)
{
    uint8_t request_id[16];
    size_t size;

    collector->daemon->host.random(request_id, sizeof(request_id));
    command->request_id = (ProtobufCBinaryData){sizeof(request_id), request_id};
    command->proposer = collector->to->node_id;
    size = vq__command__get_packed_size(command);
    VQ_AUTOFREE uint8_t *bytes = vq_calloc(1, size + 1);
    (void)vq__command__pack(command, bytes);
    VQ_GROW(collector->entry.commands, collector->entry.n_commands);
    collector->entry.commands[collector->entry.n_commands++] = vq__command__unpack(NULL, size, bytes);
    collector->bytes += size;
    return collector->bytes >= CHUNK_BYTES ? flush_chunk(collector, err) : 0;
}

static const char *driver_name(const struct vq_daemon *daemon, uint8_t driver_type)
{
    static const char *const names[] = {[VQ_DRIVER_QEMU] = "qemu", [VQ_DRIVER_LXC] = "lxc", [VQ_DRIVER_XEN] = "xen",
                                        [VQ_DRIVER_TEST] = "test"};

    (void)daemon;
    return driver_type < VQ_N_ELEMENTS(names) && names[driver_type] != NULL ? names[driver_type] : "";
}

/* Where a definition goes, another key is in use. *ret_bytes is malloc'ed. */
static int seal_again(const struct collector *collector, const struct vq_domain_head *head,
                      const struct vq_definition *sealed, uint8_t **ret_bytes, size_t *ret_length, struct vq_error *err)
{
    const struct vq_daemon *daemon = collector->daemon;
    bool has_key = collector->to->cluster_key.len == sizeof(daemon->cluster_key);
    VQ_AUTOFREE uint8_t *opened = NULL;
    size_t length;

    if (vq_seal_open(daemon->has_cluster_key ? daemon->cluster_key : NULL, head->uuid, sealed->bytes, sealed->length,
                     &opened, &length, err) < 0)
        return -1;
    int rc = vq_seal_close(has_key ? collector->to->cluster_key.data : NULL, head->uuid, opened, length, ret_bytes,
                           ret_length, err);
    gnutls_memset(opened, 0, length);
    return rc;
}

static int collect_define(struct collector *collector, struct vq_store_view *view, const struct vq_domain_head *head,
                          struct vq_error *err)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainDefine define = VQ__DOMAIN_DEFINE__INIT;
    VQ_AUTOFREE uint8_t *sealed = NULL;
    struct vq_definition stored;

    if (vq_store_definition(view, head->uuid, &stored, err) < 0)
        return vq_error_wrap(err, "definition of '%s'", head->name);
    define.xml = (ProtobufCBinaryData){stored.length, (uint8_t *)stored.bytes};
    if (stored.is_sealed && seal_again(collector, head, &stored, &sealed, &define.xml.len, err) < 0)
        return vq_error_wrap(err, "definition of '%s'", head->name);
    if (stored.is_sealed)
        define.xml.data = sealed;
    define.xml_size = stored.xml_size;
    define.xml_sealed = stored.is_sealed;
    define.driver = (char *)driver_name(collector->daemon, head->driver);
    define.uuid = (ProtobufCBinaryData){16, (uint8_t *)head->uuid};
    define.name = (char *)head->name;
    define.owner = collector->to->node_id;
    define.max_memory_kib = head->max_memory_kib;
    define.memory_kib = head->memory_kib;
    define.vcpus = head->vcpus;
    define.max_vcpus = head->max_vcpus;
    define.persistent = (head->flags & VQ_DOMAIN_PERSISTENT) != 0;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_DEFINE;
    command.domain_define = &define;
    return collect(collector, &command, err);
}

static int collect_settings(struct collector *collector, const struct vq_domain_head *head, struct vq_error *err)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainSettings settings = VQ__DOMAIN_SETTINGS__INIT;

    settings.uuid = (ProtobufCBinaryData){16, (uint8_t *)head->uuid};
    settings.has_autostart = settings.autostart = (head->flags & VQ_DOMAIN_AUTOSTART) != 0;
    settings.has_managed_save = settings.managed_save = (head->flags & VQ_DOMAIN_MANAGED_SAVE) != 0;
    settings.has_autostart_once = settings.autostart_once = (head->flags & VQ_DOMAIN_AUTOSTART_ONCE) != 0;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_SETTINGS;
    command.domain_settings = &settings;
    if (!settings.has_autostart && !settings.has_managed_save && !settings.has_autostart_once)
        return 0;
    return collect(collector, &command, err);
}

/* The run goes on: its number and, where nobody else has it, its id stay. */
static int collect_run(struct collector *collector, const struct vq_domain_head *head, struct vq_error *err)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainRun run = VQ__DOMAIN_RUN__INIT;

    run.uuid = (ProtobufCBinaryData){16, (uint8_t *)head->uuid};
    run.node = collector->to->node_id;
    run.if_generation = 1; /* of what was just defined */
    run.local_run = head->run;
    run.local_id = head->id;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_RUN;
    command.domain_run = &run;
    return head->id < 0 ? 0 : collect(collector, &command, err);
}

static int collect_all(struct collector *collector, struct vq_error *err)
{
    struct vq_store_view *view;
    struct vq_store_cursor *cursor = NULL;
    const struct vq_domain_head *head;
    int rc = 0;

    if (vq_store_view_begin(collector->daemon->store, &view, err) < 0)
        return -1;
    while (rc == 0 && (head = vq_store_domain_next(view, &cursor)) != NULL)
        if (head->owner == collector->daemon->node_id)
            rc = collect_define(collector, view, head, err) < 0 || collect_settings(collector, head, err) < 0 ||
                         collect_run(collector, head, err) < 0
                     ? -1
                     : 0;
    vq_store_cursor_end(&cursor);
    vq_store_view_end(view);
    return rc < 0 ? -1 : flush_chunk(collector, err);
}

static int drop_record(const void *key, size_t key_length, const void *value, size_t length, void *data)
{
    struct vq_error ignored = VQ_ERROR_INIT;

    (void)value;
    (void)length;
    return vq_local_delete(data, VQ_CLUSTER_BRING_TABLE, key, key_length, &ignored);
}

static void drop_brought(struct vq_local *local)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_local_each(local, VQ_CLUSTER_BRING_TABLE, drop_record, local, &err) != 0)
        vq_log(WARN, "move.records", "records of a move that did not happen are left: %s", err.message);
}

/* ---- 2. The record ---- */

int vq_move_load(struct vq_local *local, Vq__LocalMove **ret, struct vq_error *err)
{
    VQ_AUTOFREE void *bytes = NULL;
    size_t length;
    int found = vq_local_get(local, VQ_CLUSTER_TABLE, move_key, strlen(move_key), &bytes, &length, err);

    if (found <= 0)
        return found;
    *ret = vq__local_move__unpack(NULL, length, bytes);
    if (*ret == NULL || (*ret)->to == NULL)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "the record of a change of cluster is damaged");
    return 1;
}

static int save_move(struct vq_local *local, const Vq__LocalMove *record, struct vq_error *err)
{
    size_t size = vq__local_move__get_packed_size(record);
    VQ_AUTOFREE uint8_t *bytes = vq_calloc(1, size + 1);

    (void)vq__local_move__pack(record, bytes);
    return vq_local_put(local, VQ_CLUSTER_TABLE, move_key, strlen(move_key), bytes, size, true, err);
}

/* ---- 3 and 4. Files and the node's own record; repeated after a crash ---- */

static int set_aside(const char *from, const char *to, struct vq_error *err)
{
    struct stat unused;

    if (lstat(to, &unused) == 0)
        return 0; /* before the crash */
    if (rename(from, to) < 0 && errno != ENOENT)
        return vq_error_system(err, errno, "setting '%s' aside", from);
    return 0;
}

/* The log, and consensus' mark beside it that there was one. */
static int set_log_aside(const struct vq_daemon *daemon, uint64_t started_ms, struct vq_error *err)
{
    static const char *const suffixes[] = {"", ".known"};
    const char *state_dir = daemon->config.state_dir;

    for (size_t i = 0; i < VQ_N_ELEMENTS(suffixes); i++) {
        VQ_AUTOFREE char *from = vq_asprintf("%s/raft%s", state_dir, suffixes[i]);
        VQ_AUTOFREE char *to = vq_asprintf("%s/raft-before-%llu%s", state_dir, (unsigned long long)started_ms, suffixes[i]);
        if (set_aside(from, to, err) < 0)
            return -1;
    }
    VQ_AUTOCLOSE int fd = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return vq_error_system(err, errno, "flushing '%s'", state_dir);
    return 0;
}

static int change_over(struct vq_daemon *daemon, const Vq__LocalMove *record, struct vq_error *err)
{
    if (set_log_aside(daemon, record->started_ms, err) < 0)
        return -1;
    (void)VQ_FAILPOINT("move.log_aside"); /* where it matters to die */
    if (vq_store_reset(daemon->store, err) < 0)
        return -1;
    (void)VQ_FAILPOINT("move.store_reset");
    if (vq_identity_save(daemon->local, record->to, err) < 0)
        return -1;
    (void)VQ_FAILPOINT("move.saved");
    return vq_local_delete(daemon->local, VQ_CLUSTER_TABLE, move_key, strlen(move_key), err);
}

static int find_any(const void *key, size_t key_length, const void *value, size_t length, void *data)
{
    (void)key;
    (void)key_length;
    (void)value;
    (void)length;
    *(bool *)data = true;
    return 1;
}

/* Step 6 begins, if there is anything to bring. */
static void begin_bringing(struct vq_cluster *cluster)
{
    struct vq_error ignored = VQ_ERROR_INIT;
    bool has_any = false;

    if (vq_local_each(cluster->daemon->local, VQ_CLUSTER_BRING_TABLE, find_any, &has_any, &ignored) < 0)
        vq_log(ERROR, "move.records", "reading what was brought along: %s", ignored.message);
    if (!has_any) {
        vq_move_free(cluster);
        return;
    }
    if (cluster->move == NULL)
        cluster->move = vq_new(struct vq_move);
    cluster->move->cluster = cluster;
    cluster->move->is_bringing = true;
}

int vq_move_resume(struct vq_daemon *daemon, struct vq_error *err)
{
    Vq__LocalMove *record = NULL;
    int found = vq_move_load(daemon->local, &record, err);

    if (found > 0) {
        vq_log(WARN, "move.resume", "a change of cluster was interrupted; it is finished now");
        found = change_over(daemon, record, err) < 0 ? -1 : 0;
    }
    vq__local_move__free_unpacked(record, NULL);
    if (found >= 0)
        begin_bringing(daemon->cluster);
    return found < 0 ? -1 : 0;
}

/* ---- 5. In the running daemon ---- */

static int restart(struct vq_cluster *cluster, struct vq_error *err)
{
    struct vq_daemon *daemon = cluster->daemon;
    struct vq_move *move = cluster->move;

    if (change_over(daemon, move->record, err) < 0)
        return -1;
    memset(&daemon->raft_status, 0, sizeof(daemon->raft_status));
    daemon->applied = 0;
    cluster->leaderless_since_ms = uv_now(daemon->loop);
    cluster->has_had_leader = false;
    vq_tls_credentials_free(vq_take(cluster->credentials));
    vq_cluster_adopt(cluster, vq_identity_copy(move->record->to));
    if (vq_identity_is_member(cluster->self) && vq_cluster_open_port(cluster, err) < 0)
        return -1;
    if (vq_cluster_start_raft(cluster, err) < 0)
        return -1;
    vq_cluster_load_members(cluster);
    return 0;
}

static void tell_drivers(struct vq_daemon *daemon)
{
    for (size_t i = 0; i < daemon->n_drivers; i++)
        if (daemon->drivers[i]->recover != NULL)
            daemon->drivers[i]->recover(daemon->drivers[i]);
}

static void raft_stopped(void *data)
{
    struct vq_cluster *cluster = data;
    struct vq_move *move = cluster->move;
    vq_move_cb done = move->done;
    void *done_data = move->data;
    struct vq_error err = VQ_ERROR_INIT;

    cluster->daemon->raft = NULL;
    cluster->is_restarting = false;
    vq_proposals_cluster_changed(cluster->proposals);
    if (cluster->is_stopping) {
        vq_cluster_raft_stopped(cluster); /* the move is finished at the next start */
        return;
    }
    if (restart(cluster, &err) < 0)
        vq_log(ERROR, "move.failed", "%s; the daemon finishes it when it is started again", err.message);
    begin_bringing(cluster);
    if (done != NULL)
        done(err.code == VIR_ERR_OK ? NULL : &err, done_data);
}

int vq_move_start(struct vq_cluster *cluster, Vq__LocalNode *take_to, vq_move_cb done, void *data, struct vq_error *err)
{
    struct vq_daemon *daemon = cluster->daemon;
    struct collector collector = {.daemon = daemon, .to = take_to, .entry = VQ__ENTRY__INIT};
    Vq__LocalMove *record = vq_new(Vq__LocalMove);

    vq__local_move__init(record);
    record->to = take_to;
    record->started_ms = vq_cluster_unix_ms();
    int rc = 0;
    if (cluster->move != NULL || cluster->is_restarting)
        rc = vq_error_set(err, VIR_ERR_OPERATION_INVALID, "this node is on its way from one cluster to another already");
    else if (collect_all(&collector, err) < 0 || save_move(daemon->local, record, err) < 0) {
        drop_brought(daemon->local);
        rc = -1;
    }
    free_commands(&collector);
    if (rc < 0) {
        vq__local_move__free_unpacked(record, NULL);
        return rc;
    }
    (void)VQ_FAILPOINT("move.recorded");
    cluster->move = vq_new(struct vq_move);
    *cluster->move = (struct vq_move){.cluster = cluster, .record = record, .done = done, .data = data};
    cluster->is_restarting = true;
    vq_cluster_close_port(cluster);
    vq_raft_stop(daemon->raft, raft_stopped, cluster);
    return 0;
}

/* ---- 6. Bringing ---- */

static int take_first(const void *key, size_t key_length, const void *value, size_t length, void *data)
{
    struct vq_move *move = data;

    if (key_length != sizeof(move->key.bytes))
        return 0;
    memcpy(move->key.bytes, key, key_length);
    move->chunk = vq__entry__unpack(NULL, length, value);
    move->at = 0;
    return 1;
}

/* A guest that the new cluster does not take is not lost: its command stays in the store. */
static void keep_refused(struct vq_move *move, const Vq__Command *command, const struct vq_result *result)
{
    size_t size = vq__command__get_packed_size(command);
    VQ_AUTOFREE uint8_t *bytes = vq_calloc(1, size + 1);
    struct vq_error ignored = VQ_ERROR_INIT;

    move->n_refused++;
    (void)vq__command__pack(command, bytes);
    bool is_kept = vq_local_put(move->cluster->daemon->local, REFUSED_TABLE, command->request_id.data,
                                command->request_id.len, bytes, size, true, &ignored) == 0;
    vq_log(ERROR, "move.refused", "domain='%s': %s; its definition is %s",
           command->change_case == VQ__COMMAND__CHANGE_DOMAIN_DEFINE ? command->domain_define->name : "(settings)",
           result->message, is_kept ? "kept in this node's records" : "in the store that was set aside");
}

static void bring_next(struct vq_move *move);

static void brought(enum vq_raft_outcome outcome, const struct vq_result *result, const struct vq_error *err, void *data)
{
    struct vq_daemon *daemon = data;
    struct vq_move *move = daemon->cluster == NULL ? NULL : daemon->cluster->move;

    (void)err;
    if (move == NULL || !move->is_waiting)
        return;
    move->is_waiting = false;
    if (outcome != VQ_RAFT_APPLIED)
        return; /* the next tick proposes it again, under the same request id */
    if (result->code != VIR_ERR_OK)
        keep_refused(move, move->chunk->commands[move->at], result);
    move->n_brought++;
    move->at++;
    bring_next(move);
}

static void bring_next(struct vq_move *move)
{
    struct vq_cluster *cluster = move->cluster;
    struct vq_local *local = cluster->daemon->local;
    struct vq_error err = VQ_ERROR_INIT;

    if (move->chunk != NULL && move->at == move->chunk->n_commands) {
        vq__entry__free_unpacked(vq_take(move->chunk), NULL);
        if (vq_local_delete(local, VQ_CLUSTER_BRING_TABLE, move->key.bytes, sizeof(move->key.bytes), &err) < 0)
            return; /* proposed again at the next start; done at most once */
    }
    if (move->chunk == NULL && vq_local_each(local, VQ_CLUSTER_BRING_TABLE, take_first, move, &err) < 0) {
        vq_log(ERROR, "move.records", "reading what was brought along: %s", err.message);
        return;
    }
    if (move->chunk == NULL) {
        vq_log(INFO, "move.done", "commands=%zu refused=%zu", move->n_brought, move->n_refused);
        struct vq_daemon *daemon = cluster->daemon;
        vq_move_free(cluster);
        tell_drivers(daemon);
        return;
    }
    move->is_waiting = true;
    vq_propose(cluster->daemon, move->chunk->commands[move->at], BRING_TIMEOUT_MS, brought, cluster->daemon);
}

void vq_move_tick(struct vq_cluster *cluster)
{
    struct vq_move *move = cluster->move;

    if (move != NULL && move->is_bringing && !move->is_waiting && cluster->daemon->raft_status.leader != 0 &&
        (cluster->has_seen_self || !vq_identity_is_member(cluster->self)))
        bring_next(move);
}
