/* See fake_host.h. */
#include "tests/driver/fake_host.h"

#include <assert.h>
#include <dirent.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <signal.h>
#include <stdio.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <zstd.h>

#include "conf/base/buffer.h"
#include "conf/base/text.h"
#include "proto/cluster.pb-c.h"
#include "proto/gen/qemu.h"
#include "proto/gen/remote.h"

struct fake_host fake;
struct vq_error fake_error;
uint8_t fake_ret[4096];

static void trace(const char *fmt, ...) VQ_PRINTF(1, 2);
static void trace(const char *fmt, ...)
{
    size_t length = strlen(fake.trace);
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(fake.trace + length, sizeof(fake.trace) - length, fmt, args);
    va_end(args);
}

static struct fake_domain *find(const uint8_t uuid[16])
{
    for (size_t i = 0; i < fake.n_domains; i++)
        if (!fake.domains[i].is_gone && memcmp(fake.domains[i].info.uuid, uuid, 16) == 0)
            return &fake.domains[i];
    return NULL;
}

/* ---- proposals: applied and answered a turn later, in their order ---- */

struct proposal {
    struct proposal *next;
    uv_timer_t timer;
    Vq__Command *command;
    vq_propose_cb cb;
    void *data;
};
static struct proposal *held, **last_held = &held;

static void proposal_closed(uv_handle_t *handle)
{
    struct proposal *proposal = handle->data;

    vq__command__free_unpacked(proposal->command, NULL);
    free(proposal);
}

static int apply_run(const Vq__DomainRun *run, struct vq_proposal_result *ret, struct vq_error *err)
{
    (void)run;
    (void)err;
    ret->number = ++fake.next_run;
    ret->id = (int32_t)fake.next_run;
    return 0;
}

static int apply_move(const Vq__DomainMove *move, struct vq_proposal_result *ret, struct vq_error *err)
{
    struct fake_domain *domain = find(move->uuid.data);

    if (domain == NULL || domain->info.owner != move->from || domain->info.generation != move->if_generation ||
        domain->info.id < 0 || domain->info.moving_to != 0)
        return vq_error_set_from(err, VIR_FROM_DOMAIN, VIR_ERR_OPERATION_INVALID, "the move was refused");
    domain->info.moving_to = move->to;
    domain->info.moving_run = domain->info.last_move = ret->number = ++fake.next_run;
    ret->id = domain->info.id;
    return 0;
}

/* Of a domain that is off. */
static int apply_owner(const Vq__DomainOwner *owner, struct vq_proposal_result *ret, struct vq_error *err)
{
    struct fake_domain *domain = find(owner->uuid.data);

    if (domain == NULL || domain->info.owner != owner->from || domain->info.generation != owner->if_generation ||
        domain->info.id >= 0)
        return vq_error_set_from(err, VIR_FROM_DOMAIN, VIR_ERR_OPERATION_INVALID, "the change of the owner was refused");
    domain->info.owner = owner->to;
    trace("owner%d ", (int)owner->to);
    ret->number = ++domain->info.generation;
    ret->id = domain->info.id;
    return 0;
}

/* The text of a definition, compressed or not; malloc'ed. */
static char *text_of(const Vq__DomainDefine *define)
{
    char *text;

    if (define->xml_size == 0)
        return strndup((const char *)define->xml.data, define->xml.len);
    text = vq_calloc(1, define->xml_size + 1);
    assert(ZSTD_decompress(text, define->xml_size, define->xml.data, define->xml.len) == define->xml_size);
    return text;
}

static int apply_move_end(const Vq__DomainMoveEnd *end, struct vq_proposal_result *ret, struct vq_error *err)
{
    struct fake_domain *domain = find(end->uuid.data);

    if (domain == NULL || domain->info.moving_to == 0 || domain->info.moving_to != end->to ||
        domain->info.moving_run != end->run)
        return vq_error_set_from(err, VIR_FROM_DOMAIN, VIR_ERR_OPERATION_INVALID, "the end of the move was refused");
    domain->info.moving_to = domain->info.moving_run = 0;
    if (end->commit) {
        domain->info.owner = end->to;
        domain->info.generation++;
        domain->info.run = end->run;
        if (end->keep == VQ__DOMAIN_MOVE_END__KEEP__KEEP_PERSISTENT)
            domain->info.flags |= VQ_INFO_PERSISTENT;
        else if (end->keep == VQ__DOMAIN_MOVE_END__KEEP__KEEP_TRANSIENT)
            domain->info.flags &= ~(uint32_t)VQ_INFO_PERSISTENT;
    }
    if (end->define != NULL) {
        free(domain->xml);
        free(domain->name);
        domain->xml = text_of(end->define);
        domain->info.name = domain->name = vq_strdup(end->define->name);
        domain->info.version++;
    }
    trace("%s ", end->commit ? "commit" : "cancel");
    ret->number = end->run;
    ret->id = domain->info.id;
    return 0;
}

/* A new domain, as migration from outside and clients bring it; or the text of one that is there. */
static int apply_define(const Vq__DomainDefine *define, struct vq_proposal_result *ret, struct vq_error *err)
{
    struct fake_domain *domain = find(define->uuid.data);

    if (define->xml_sealed)
        return vq_error_set_from(err, VIR_FROM_DOMAIN, VIR_ERR_NO_SUPPORT, "the fake takes definitions without secrets");
    if (domain != NULL && define->must_be_new)
        return vq_error_set_from(err, VIR_FROM_DOMAIN, VIR_ERR_OPERATION_FAILED, "domain '%s' already exists",
                                 define->name);
    if (domain == NULL) {
        domain = fake_domain_add(define->name, "", define->persistent);
        memcpy(domain->info.uuid, define->uuid.data, sizeof(domain->info.uuid));
        domain->info.owner = define->owner;
    }
    free(domain->xml);
    domain->xml = text_of(define);
    domain->info.version++;
    domain->info.flags |= define->persistent ? VQ_INFO_PERSISTENT : 0;
    ret->version = domain->info.version;
    ret->id = domain->info.id;
    return 0;
}

static int apply_undefine(const Vq__DomainUndefine *undefine, struct vq_proposal_result *ret, struct vq_error *err)
{
    struct fake_domain *domain = find(undefine->uuid.data);

    if (domain == NULL)
        return vq_error_set_from(err, VIR_FROM_DOMAIN, VIR_ERR_NO_DOMAIN, "no domain");
    ret->id = domain->info.id;
    domain->info.flags &= ~(uint32_t)VQ_INFO_PERSISTENT;
    domain->is_gone = domain->info.id < 0;
    return 0;
}

static int apply_settings(const Vq__DomainSettings *settings, struct vq_proposal_result *ret, struct vq_error *err)
{
    struct fake_domain *domain = find(settings->uuid.data);

    if (domain == NULL)
        return vq_error_set_from(err, VIR_FROM_DOMAIN, VIR_ERR_NO_DOMAIN, "no domain");
    if (settings->has_managed_save) {
        domain->info.flags &= ~(uint32_t)VQ_INFO_MANAGED_SAVE;
        domain->info.flags |= settings->managed_save ? VQ_INFO_MANAGED_SAVE : 0;
    }
    ret->id = domain->info.id;
    return 0;
}

static int apply(const Vq__Command *command, const ProtobufCBinaryData **ret_uuid, struct vq_proposal_result *ret,
                 struct vq_error *err)
{
    switch ((int)command->change_case) {
    case VQ__COMMAND__CHANGE_DOMAIN_RUN:
        *ret_uuid = NULL; /* the claim tells nobody */
        return apply_run(command->domain_run, ret, err);
    case VQ__COMMAND__CHANGE_DOMAIN_SETTINGS:
        *ret_uuid = &command->domain_settings->uuid;
        return apply_settings(command->domain_settings, ret, err);
    case VQ__COMMAND__CHANGE_DOMAIN_OWNER:
        *ret_uuid = &command->domain_owner->uuid;
        return apply_owner(command->domain_owner, ret, err);
    case VQ__COMMAND__CHANGE_DOMAIN_MOVE:
        *ret_uuid = &command->domain_move->uuid;
        return apply_move(command->domain_move, ret, err);
    case VQ__COMMAND__CHANGE_DOMAIN_MOVE_END:
        *ret_uuid = &command->domain_move_end->uuid;
        return apply_move_end(command->domain_move_end, ret, err);
    case VQ__COMMAND__CHANGE_DOMAIN_DEFINE:
        *ret_uuid = &command->domain_define->uuid;
        return apply_define(command->domain_define, ret, err);
    case VQ__COMMAND__CHANGE_DOMAIN_UNDEFINE:
        *ret_uuid = &command->domain_undefine->uuid;
        return apply_undefine(command->domain_undefine, ret, err);
    default:
        assert(false); /* a command that the fake does not know */
        return -1;
    }
}

static void proposal_due(uv_timer_t *timer)
{
    struct proposal *proposal = timer->data;
    struct vq_proposal_result result = { 0 };
    struct vq_error err = VQ_ERROR_INIT;
    const ProtobufCBinaryData *uuid = NULL;
    int rc = -1;

    if (fake.loses_quorum) {
        fake.has_quorum = fake.loses_quorum = false;
        (void)vq_error_set_from(&err, VIR_FROM_NONE, VIR_ERR_OPERATION_TIMEOUT, "whether the change was made is unknown");
    } else if (fake.takes_nothing) {
        (void)vq_error_set_from(&err, VIR_FROM_NONE, VIR_ERR_OPERATION_INVALID, "1 of 3 voters reachable");
    } else if (fake.refusal.code != VIR_ERR_OK) {
        err = fake.refusal;
        fake.refusal = VQ_ERROR_INIT;
    } else {
        rc = apply(proposal->command, &uuid, &result, &err);
    }
    /* As in the daemon: the driver sees the change before whoever proposed it is answered. */
    if (rc == 0 && uuid != NULL && fake.driver != NULL)
        fake.driver->changed(fake.driver, uuid->data);
    proposal->cb(rc == 0 ? &result : NULL, rc == 0 ? NULL : &err, proposal->data);
    uv_close((uv_handle_t *)timer, proposal_closed);
}

static Vq__Command *copy_command(const Vq__Command *command)
{
    size_t length = vq__command__get_packed_size(command);
    VQ_AUTOFREE uint8_t *bytes = vq_calloc(1, length + 1);

    vq__command__pack(command, bytes);
    return vq__command__unpack(NULL, length, bytes);
}

static void propose(Vq__Command *command, uint64_t timeout_ms, vq_propose_cb cb, void *data)
{
    struct proposal *proposal = vq_new(struct proposal);

    (void)timeout_ms;
    proposal->command = copy_command(command);
    proposal->cb = cb;
    proposal->data = data;
    (void)uv_timer_init(&fake.loop, &proposal->timer);
    proposal->timer.data = proposal;
    if (fake.holds_proposals) {
        *last_held = proposal;
        last_held = &proposal->next;
    } else {
        (void)uv_timer_start(&proposal->timer, proposal_due, 1, 0);
    }
}

void fake_release_proposals(void)
{
    fake.holds_proposals = false;
    while (held != NULL) {
        struct proposal *proposal = held;

        held = proposal->next;
        (void)uv_timer_start(&proposal->timer, proposal_due, 1, 0);
    }
    last_held = &held;
}

static bool has_quorum(void)
{
    return fake.has_quorum;
}

static void local_run(const uint8_t uuid[16], uint64_t *ret_run, int32_t *ret_id)
{
    (void)uuid;
    *ret_run = ++fake.next_run;
    *ret_id = (int32_t)fake.next_run + 1000;
}

/* ---- reports ---- */

static void publish(struct vq_driver *driver, const struct vq_state_report *report)
{
    struct fake_domain *domain = find(report->uuid);

    (void)driver;
    trace("%d/%d", report->state, report->reason);
    for (unsigned i = 0; i < report->n_events; i++)
        trace("+%d.%d", report->events[i].event, report->events[i].detail);
    trace(" ");
    if (domain == NULL)
        return;
    domain->info.state = report->state;
    domain->info.reason = report->reason;
    domain->info.id = report->id;
    domain->info.run = report->run;
    domain->is_gone = report->gone;
}

void (*fake_on_event)(int event_id, const struct vq_xdr_struct *type, const void *value);

static void emit(struct vq_driver *driver, const uint8_t uuid[16], const char *name, int32_t id, int event_id,
                 const struct vq_xdr_struct *type, const void *value)
{
    (void)driver;
    (void)uuid;
    (void)name;
    (void)id;
    if (event_id >= 0)
        trace("event%d ", event_id);
    if (event_id >= 0 && fake_on_event != NULL)
        fake_on_event(event_id, type, value);
}

/* ---- other nodes ---- */

static const struct fake_node *node_of(uint64_t id)
{
    for (size_t i = 0; i < fake.n_nodes; i++)
        if (fake.nodes[i].id == id)
            return &fake.nodes[i];
    return NULL;
}

static uint64_t node_find(const char *host)
{
    for (size_t i = 0; i < fake.n_nodes; i++)
        if (vq_streq(fake.nodes[i].name, host) || vq_streq(fake.nodes[i].host_name, host) ||
            vq_streq(fake.nodes[i].address, host))
            return fake.nodes[i].id;
    return 0;
}

static const char *node_name_of(uint64_t node)
{
    return node_of(node) == NULL ? NULL : node_of(node)->name;
}

static const char *node_address(uint64_t node)
{
    return node_of(node) == NULL ? NULL : node_of(node)->address;
}

static bool is_draining(void)
{
    return fake.is_draining;
}

static bool node_is_online(uint64_t node)
{
    return node_of(node) != NULL && node_of(node)->is_online;
}

struct opening {
    uv_timer_t timer;
    vq_peer_open_cb cb;
    void *data;
};

static void opening_closed(uv_handle_t *handle)
{
    free(handle->data);
}

static void opening_due(uv_timer_t *timer)
{
    struct opening *opening = timer->data;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_peer *peer = vq_take(fake.peer);

    if (peer == NULL)
        (void)vq_error_set_from(&err, VIR_FROM_RPC, VIR_ERR_OPERATION_FAILED, "'%s' is not reachable", fake.peer_uri);
    opening->cb(peer, peer == NULL ? &err : NULL, opening->data);
    uv_close((uv_handle_t *)timer, opening_closed);
}

static void peer_open(const char *uri, const struct vq_request *request, vq_peer_open_cb cb, void *data)
{
    struct opening *opening = vq_new(struct opening);

    (void)request;
    (void)snprintf(fake.peer_uri, sizeof(fake.peer_uri), "%s", uri);
    opening->cb = cb;
    opening->data = data;
    (void)uv_timer_init(&fake.loop, &opening->timer);
    opening->timer.data = opening;
    (void)uv_timer_start(&opening->timer, opening_due, 1, 0);
}

static void peer_open_node(uint64_t node, const struct vq_request *request, vq_peer_open_cb cb, void *data)
{
    char uri[64];

    (void)snprintf(uri, sizeof(uri), "node:%llu", (unsigned long long)node);
    peer_open(uri, request, cb, data);
}

/* ---- a peer that answers as the test says ---- */

struct fake_peer_call {
    struct fake_peer_call *next;
    struct fake_peer *peer;
    const struct vq_procedure *procedure;
    struct vq_arena *arena;
    void *args, *ret;
    uv_timer_t timer;
    vq_peer_cb cb;
    void *data;
};

static void peer_call_closed(uv_handle_t *handle)
{
    struct fake_peer_call *call = handle->data;

    vq_arena_free(call->arena);
    free(call);
}

static void peer_call_over(struct fake_peer_call *call, const struct vq_error *err)
{
    static const uint8_t nothing;
    struct fake_peer_call **link = &call->peer->first;

    while (*link != call)
        link = &(*link)->next;
    *link = call->next;
    call->cb(err != NULL ? NULL : call->ret != NULL ? call->ret : &nothing, err, call->data);
    uv_close((uv_handle_t *)&call->timer, peer_call_closed);
}

static void peer_call_due(uv_timer_t *timer)
{
    struct fake_peer_call *call = timer->data;
    struct vq_error err = VQ_ERROR_INIT;
    int rc = call->peer->answer(call->procedure, call->args, call->ret, call->arena, &err, call->peer->answer_data);

    if (rc <= 0)
        peer_call_over(call, rc < 0 ? &err : NULL);
}

/* The arguments go through their wire form, as with a real one. */
static void *copy_args(const struct vq_procedure *procedure, const void *args, struct vq_arena *arena)
{
    VQ_AUTOBUFFER bytes = VQ_BUFFER_INIT;
    struct vq_error err = VQ_ERROR_INIT;

    if (procedure->args == NULL)
        return NULL;
    void *copy = vq_arena_alloc(arena, 1, procedure->args->size);
    assert(vq_xdr_encode(procedure->args, args, &bytes, &err) == 0);
    uint8_t *kept = vq_arena_alloc(arena, 1, bytes.length + 1);
    memcpy(kept, bytes.data, bytes.length);
    assert(vq_xdr_decode(procedure->args, kept, bytes.length, arena, copy, NULL, &err) == 0);
    return copy;
}

static void peer_call(struct vq_peer *peer, enum vq_program program, uint32_t number, const void *args,
                      uint64_t timeout_ms, vq_peer_cb cb, void *data)
{
    struct fake_peer *own = VQ_CONTAINER_OF(peer, struct fake_peer, peer);
    struct fake_peer_call *call = vq_new(struct fake_peer_call), **link = &own->first;
    size_t length = strlen(own->calls);

    (void)timeout_ms;
    assert(!own->is_closed);
    call->peer = own;
    call->procedure = vq_procedure_find(program, number);
    assert(call->procedure != NULL);
    call->arena = vq_arena_new(0);
    call->args = copy_args(call->procedure, args, call->arena);
    if (call->procedure->ret != NULL) {
        call->ret = vq_arena_alloc(call->arena, 1, call->procedure->ret->size);
        memset(call->ret, 0, call->procedure->ret->size);
    }
    call->cb = cb;
    call->data = data;
    while (*link != NULL)
        link = &(*link)->next;
    *link = call;
    (void)snprintf(own->calls + length, sizeof(own->calls) - length, "%s ", call->procedure->name);
    (void)uv_timer_init(&fake.loop, &call->timer);
    call->timer.data = call;
    (void)uv_timer_start(&call->timer, peer_call_due, 1, 0);
}

static void fail_peer_calls(struct fake_peer *peer, const struct vq_error *err)
{
    while (peer->first != NULL)
        peer_call_over(peer->first, err);
}

static void peer_close(struct vq_peer *peer)
{
    struct fake_peer *own = VQ_CONTAINER_OF(peer, struct fake_peer, peer);
    struct vq_error err = VQ_ERROR_INIT;

    assert(!own->is_closed);
    own->is_closed = true;
    (void)vq_error_set_from(&err, VIR_FROM_RPC, VIR_ERR_RPC, "the connection to %s was closed", peer->name);
    fail_peer_calls(own, &err);
}

static const struct vq_peer_class fake_peer_class = { .call = peer_call, .close = peer_close };

void fake_peer_init(struct fake_peer *peer, uint64_t node, const char *name, fake_answer_fn answer, void *data)
{
    *peer = (struct fake_peer){ .peer = { .class = &fake_peer_class, .node = node, .name = (char *)(uintptr_t)name },
                                .answer = answer, .answer_data = data };
}

void fake_peer_answer(struct fake_peer *peer)
{
    for (struct fake_peer_call *call = peer->first; call != NULL; call = call->next)
        (void)uv_timer_start(&call->timer, peer_call_due, 1, 0);
}

void fake_peer_lose(struct fake_peer *peer)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set_from(&err, VIR_FROM_RPC, VIR_ERR_OPERATION_FAILED, "%s is not reachable", peer->peer.name);
    fail_peer_calls(peer, &err);
    if (!peer->is_closed && peer->peer.lost != NULL)
        peer->peer.lost(&peer->peer, &err, peer->peer.data);
}

static void each_own_domain(struct vq_driver *driver, void (*cb)(const struct vq_domain_info *info, void *data),
                            void *data)
{
    (void)driver;
    for (size_t i = 0; i < fake.n_domains; i++)
        if (!fake.domains[i].is_gone && fake.domains[i].info.owner == fake.host.node_id)
            cb(&fake.domains[i].info, data);
}

static bool domain_find(const uint8_t uuid[16], bool with_xml, struct vq_arena *arena, struct vq_domain_info *ret)
{
    const struct fake_domain *domain = find(uuid);

    (void)arena;
    if (domain == NULL)
        return false;
    *ret = domain->info;
    ret->xml = with_xml ? domain->xml : NULL;
    return true;
}

static bool domain_find_by_name(struct vq_driver *driver, const char *name, struct vq_arena *arena,
                                struct vq_domain_info *ret)
{
    (void)driver;
    for (size_t i = 0; i < fake.n_domains; i++)
        if (!fake.domains[i].is_gone && strcmp(fake.domains[i].name, name) == 0)
            return domain_find(fake.domains[i].info.uuid, false, arena, ret);
    return false;
}

/* ---- records: a file each, "<dir>/records/<table>:<key in hex>" ---- */

static void record_path(char *path, size_t size, const char *table, const void *key, size_t key_length)
{
    int n = snprintf(path, size, "%s/records/%s:", fake.dir, table);

    for (size_t i = 0; i < key_length; i++)
        n += snprintf(path + n, size - (size_t)n, "%02x", ((const uint8_t *)key)[i]);
}

static int record_put(const char *table, const void *key, size_t key_length, const void *value, size_t length,
                      struct vq_error *err)
{
    char path[512], temporary[520];
    int fd;

    record_path(path, sizeof(path), table, key, key_length);
    (void)snprintf(temporary, sizeof(temporary), "%s.new", path);
    fd = open(temporary, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, value, length) != (ssize_t)length || close(fd) < 0 || rename(temporary, path) < 0)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "cannot write record");
    return 0;
}

static int record_delete(const char *table, const void *key, size_t key_length, struct vq_error *err)
{
    char path[512];

    (void)err;
    record_path(path, sizeof(path), table, key, key_length);
    (void)unlink(path);
    return 0;
}

static size_t unhex(const char *text, uint8_t *bytes, size_t size)
{
    size_t n = 0;
    unsigned byte;

    while (n < size && sscanf(text + 2 * n, "%2x", &byte) == 1)
        bytes[n++] = (uint8_t)byte;
    return n;
}

static int record_each(const char *table, int (*cb)(const void *key, size_t key_length, const void *value, size_t length,
                                                    void *data),
                       void *data, struct vq_error *err)
{
    char path[512], prefix[128];
    struct dirent *entry;
    int rc = 0;
    DIR *dir;

    (void)err;
    (void)snprintf(path, sizeof(path), "%s/records", fake.dir);
    (void)snprintf(prefix, sizeof(prefix), "%s:", table);
    dir = opendir(path);
    while (rc == 0 && dir != NULL && (entry = readdir(dir)) != NULL) {
        static char value[65536];
        uint8_t key[64];
        ssize_t length;
        int fd;

        if (strncmp(entry->d_name, prefix, strlen(prefix)) != 0 || strstr(entry->d_name, ".new") != NULL)
            continue;
        fd = openat(dirfd(dir), entry->d_name, O_RDONLY | O_CLOEXEC);
        length = read(fd, value, sizeof(value));
        (void)close(fd);
        rc = cb(key, unhex(entry->d_name + strlen(prefix), key, sizeof(key)), value, (size_t)length, data);
    }
    if (dir != NULL)
        (void)closedir(dir);
    return rc;
}

static uint64_t time_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void random_bytes(void *bytes, size_t length)
{
    assert(getrandom(bytes, length, 0) == (ssize_t)length);
}

/* ---- set-up ---- */

static const char *sub_dir(const char *name)
{
    char path[128];

    (void)snprintf(path, sizeof(path), "%s/%s", fake.dir, name);
    (void)mkdir(path, 0755);
    return strdup(path);
}

void fake_host_init(bool again)
{
    (void)signal(SIGPIPE, SIG_IGN); /* as the daemon does */
    char dir[64];

    (void)snprintf(dir, sizeof(dir), "%s", fake.dir);
    memset(&fake, 0, sizeof(fake));
    (void)snprintf(fake.dir, sizeof(fake.dir), "%s", again ? dir : "/tmp/vq-driver-XXXXXX");
    assert(again || mkdtemp(fake.dir) != NULL);
    assert(uv_loop_init(&fake.loop) == 0);
    fake.has_quorum = true;
    fake.next_run = again ? 100 : 0;
    fake.nodes[0] = (struct fake_node){ 1, "node1", "host1", "192.0.2.1", true };
    fake.nodes[1] = (struct fake_node){ 2, "node2", "host2", "192.0.2.2", true };
    fake.n_nodes = 2;
    memcpy(fake.cluster_id, "fake cluster id ", sizeof(fake.cluster_id));
    free((void *)(uintptr_t)sub_dir("records"));
    fake.host = (struct vq_driver_host){
        .loop = &fake.loop, .node_id = 1, .node_name = "node1", .run_dir = sub_dir("run"), .state_dir = sub_dir("lib"),
        .log_dir = sub_dir("log"), .config_dir = sub_dir("etc"), .boot_id = "this-boot", .propose = propose,
        .has_quorum = has_quorum, .publish = publish, .emit = emit, .each_own_domain = each_own_domain,
        .domain_find = domain_find, .local_run = local_run, .record_put = record_put, .record_delete = record_delete,
        .record_each = record_each, .time_ms = time_ms, .random = random_bytes,
        .domain_find_by_name = domain_find_by_name, .node_find = node_find, .node_name_of = node_name_of,
        .node_address = node_address, .node_is_online = node_is_online,
        .is_draining = is_draining, .cluster_id = fake.cluster_id,
        .peer_open = peer_open, .peer_open_node = peer_open_node,
    };
}

void fake_host_done(bool remove_files)
{
    char command[128];

    (void)uv_run(&fake.loop, UV_RUN_DEFAULT);
    assert(uv_loop_close(&fake.loop) == 0);
    for (size_t i = 0; i < fake.n_domains; i++) {
        free(fake.domains[i].name);
        free(fake.domains[i].xml);
    }
    free((void *)(uintptr_t)fake.host.run_dir);
    free((void *)(uintptr_t)fake.host.state_dir);
    free((void *)(uintptr_t)fake.host.log_dir);
    free((void *)(uintptr_t)fake.host.config_dir);
    (void)snprintf(command, sizeof(command), "rm -rf %s", fake.dir);
    if (remove_files)
        assert(system(command) == 0);
}

const char *fake_uuid_prefix(void)
{
    static char prefix[VQ_UUID_TEXT];

    if (prefix[0] == '\0') {
        unsigned pid = (unsigned)getpid();

        (void)snprintf(prefix, sizeof(prefix), "c7a5fdbd-edaf-9455-%04x-%04x6db180", pid >> 16, pid & 0xffff);
    }
    return prefix;
}

struct fake_domain *fake_domain_add(const char *name, const char *xml, bool persistent)
{
    struct fake_domain *domain = &fake.domains[fake.n_domains];
    char uuid[VQ_UUID_TEXT];

    assert(fake.n_domains++ < FAKE_DOMAINS_MAX);
    domain->name = strdup(name);
    domain->xml = strdup(xml);
    domain->info = (struct vq_domain_info){ .name = domain->name, .id = -1, .owner = 1, .generation = 1,
                                            .flags = persistent ? VQ_INFO_PERSISTENT : 0, .state = VIR_DOMAIN_SHUTOFF,
                                            .vcpus = 1, .max_vcpus = 1 };
    (void)snprintf(uuid, sizeof(uuid), "%s%02zx", fake_uuid_prefix(), fake.n_domains);
    assert(vq_uuid_parse(uuid, domain->info.uuid));
    return domain;
}

static void give_up(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

static void timer_closed(uv_handle_t *handle)
{
    free(handle);
}

bool fake_host_until(bool (*condition)(void *data), void *data)
{
    uv_timer_t *timer = vq_new(uv_timer_t);
    bool is_late = false;

    (void)uv_timer_init(&fake.loop, timer);
    timer->data = &is_late;
    (void)uv_timer_start(timer, give_up, 20000, 0);
    (void)uv_run(&fake.loop, UV_RUN_NOWAIT); /* a timer that is due would let UV_RUN_ONCE wait for something else */
    while (!condition(data) && !is_late)
        (void)uv_run(&fake.loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)timer, timer_closed);
    (void)uv_run(&fake.loop, UV_RUN_NOWAIT);
    return !is_late;
}

/* ---- streams ---- */

struct vq_stream fake_stream;

static struct vq_stream *open_stream(struct vq_request *request, const struct vq_stream_callbacks *callbacks, void *data)
{
    (void)request;
    memset(&fake_stream, 0, sizeof(fake_stream));
    fake_stream.callbacks = callbacks;
    fake_stream.data = data;
    return &fake_stream;
}

bool vq_stream_write(struct vq_stream *stream, const void *bytes, size_t length)
{
    if (length > sizeof(stream->text) - 1 - stream->length)
        length = sizeof(stream->text) - 1 - stream->length;
    memcpy(stream->text + stream->length, bytes, length);
    stream->length += length;
    return true;
}

void vq_stream_end(struct vq_stream *stream)
{
    stream->is_ended = true;
}

void vq_stream_finish(struct vq_stream *stream)
{
    stream->is_finished = true;
}

void vq_stream_fail(struct vq_stream *stream, const struct vq_error *err)
{
    (void)err;
    stream->is_failed = true;
}

void vq_stream_resume(struct vq_stream *stream)
{
    (void)stream;
}

/* ---- calls ---- */

static bool is_answered;

char fake_text[65536];

static void add_text(const char *fmt, ...) VQ_PRINTF(1, 2);
static void add_text(const char *fmt, ...)
{
    size_t length = strlen(fake_text);
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(fake_text + length, sizeof(fake_text) - length, fmt, args);
    va_end(args);
}

static void keep_stats(const struct vq_remote_connect_get_all_domain_stats_ret *ret)
{
    for (uint32_t i = 0; i < ret->n_retStats; i++) {
        add_text("%s: ", ret->retStats[i].dom.name);
        for (uint32_t j = 0; j < ret->retStats[i].n_params; j++) {
            const struct vq_typed_param *param = &ret->retStats[i].params[j];

            if (param->type == VIR_TYPED_PARAM_STRING)
                add_text("%s=%s ", param->field, param->value.s);
            else if (param->type == VIR_TYPED_PARAM_ULLONG)
                add_text("%s=%llu ", param->field, (unsigned long long)param->value.ul);
            else
                add_text("%s=%d ", param->field, param->value.i);
        }
    }
}

void (*fake_on_reply)(const struct vq_request *request);

static void complete(struct vq_request *request, const struct vq_error *err)
{
    fake_text[0] = '\0';
    if (err == NULL && vq_streq(request->procedure->name, "domain_monitor_command"))
        add_text("%s", ((const struct vq_qemu_domain_monitor_command_ret *)request->ret)->result);
    if (err == NULL && vq_streq(request->procedure->name, "connect_get_all_domain_stats"))
        keep_stats(request->ret);
    if (err == NULL && fake_on_reply != NULL)
        fake_on_reply(request);
    assert(!is_answered); /* exactly once */
    is_answered = true;
    fake_error = err != NULL ? *err : VQ_ERROR_INIT;
}

static bool answered(void *data)
{
    (void)data;
    return is_answered;
}

int fake_call(struct vq_driver *driver, enum vq_program program, const char *name, struct fake_domain *domain,
              const void *args)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    static const struct vq_caller caller = { .entry_node = 1, .session = 7 };
    struct vq_request request = { .procedure = vq_procedure_find_by_name(program, name), .args = args, .ret = fake_ret,
                                  .arena = arena, .caller = &caller, .driver = driver, .complete = complete, .open_stream = open_stream,
                                  .domain = domain != NULL ? &domain->info : NULL };

    assert(request.procedure != NULL);
    memset(fake_ret, 0, sizeof(fake_ret));
    is_answered = false;
    for (size_t i = 0; i < driver->n_rows; i++) {
        if (driver->rows[i].program != program || driver->rows[i].number != request.procedure->number)
            continue;
        driver->rows[i].fn(&request);
        if (!fake_host_until(answered, NULL))
            return -1;
        return fake_error.code;
    }
    return VIR_ERR_NO_SUPPORT;
}

/* ---- Storage that is dead ---- */

static int dead_fd = -1;
static char dead_dir[256];

static bool own_mounts(void)
{
    static bool has;

    if (!has && (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0))
        return false;
    has = true;
    return true;
}

bool fake_allow_userfaultfd(void)
{
    static bool is_allowed;
    char path[96];
    int fd;

    if (is_allowed)
        return true;
    (void)snprintf(path, sizeof(path), "%s/userfaultfd", fake.dir);
    fd = open(path, O_WRONLY | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0 || !own_mounts())
        return false;
    (void)!write(fd, "1\n", 2);
    (void)close(fd);
    is_allowed = mount(path, "/proc/sys/vm/unprivileged_userfaultfd", NULL, MS_BIND, NULL) == 0;
    return is_allowed;
}

/* A file system in user space whose server never says a word. */
bool fake_dead_storage_begin(const char *dir)
{
    char options[64];

    if (!own_mounts())
        return false;
    dead_fd = open("/dev/fuse", O_RDWR | O_CLOEXEC);
    if (dead_fd < 0)
        return false;
    (void)snprintf(options, sizeof(options), "fd=%d,rootmode=40000,user_id=0,group_id=0", dead_fd);
    (void)snprintf(dead_dir, sizeof(dead_dir), "%s", dir);
    if (mount("fuse", dir, "fuse", MS_NOSUID | MS_NODEV, options) == 0)
        return true;
    (void)close(dead_fd);
    dead_fd = -1;
    return false;
}

void fake_dead_storage_end(void)
{
    if (dead_fd < 0)
        return;
    (void)close(dead_fd); /* who hangs gets an error now */
    dead_fd = -1;
    (void)umount2(dead_dir, MNT_DETACH);
}

static void turn_over(uv_timer_t *timer)
{
    (void)timer;
}

unsigned fake_host_slowest_turn(unsigned ms)
{
    uint64_t begin = uv_hrtime(), last = begin, slowest = 0;
    uv_timer_t timer;

    (void)uv_timer_init(&fake.loop, &timer);
    (void)uv_timer_start(&timer, turn_over, 10, 10);
    while (last - begin < (uint64_t)ms * 1000000) {
        (void)uv_run(&fake.loop, UV_RUN_ONCE);
        uint64_t now = uv_hrtime();
        slowest = now - last > slowest ? now - last : slowest;
        last = now;
    }
    uv_close((uv_handle_t *)&timer, NULL);
    (void)uv_run(&fake.loop, UV_RUN_NOWAIT);
    return (unsigned)(slowest / 1000000);
}
