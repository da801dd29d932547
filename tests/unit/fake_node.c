#include "tests/unit/fake_node.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "node/cluster/certificate.h"
#include "node/cluster/cluster.h"
#include "node/mesh/forward.h"
#include "node/mesh/forward_state.h"
#include "node/mesh/propose.h"
#include "proto/gen/remote.h"

struct fake_cluster fake_cluster;
struct fake_driver fake_driver;

/* ---- The driver ---- */

static void driver_recover(struct vq_driver *driver)
{
    (void)driver;
    fake_driver.n_recovered++;
}

static void driver_autostart(struct vq_driver *driver)
{
    (void)driver;
    fake_driver.n_autostarted++;
}

static void driver_changed(struct vq_driver *driver, const uint8_t uuid[16])
{
    (void)driver;
    (void)uuid;
    fake_driver.n_changed++;
}

static void driver_session_ended(struct vq_driver *driver, uint64_t entry_node, uint64_t session)
{
    (void)driver;
    (void)entry_node;
    fake_driver.n_session_ended++;
    fake_driver.ended_session = session;
}

static int driver_open_uri(struct vq_driver *driver, const char *path, struct vq_error *err)
{
    (void)driver;
    if (strcmp(path, "/system") == 0)
        return 0;
    return vq_error_set_from(err, VIR_FROM_QEMU, VIR_ERR_INTERNAL_ERROR,
                             "unexpected QEMU URI path '%s', try qemu:///system", path);
}

static bool driver_supports_feature(struct vq_driver *driver, int feature)
{
    (void)driver;
    return feature == 11;
}

struct vq_driver vq_qemu_driver = {
    .name = "qemu",
    .type = "QEMU",
    .driver_type = VQ_DRIVER_QEMU,
    .recover = driver_recover,
    .autostart = driver_autostart,
    .changed = driver_changed,
    .session_ended = driver_session_ended,
    .open_uri = driver_open_uri,
    .supports_feature = driver_supports_feature,
};

/* ---- Consensus ---- */

struct waiting_proposal {
    struct waiting_proposal *next;
    vq_raft_propose_cb cb;
    void *data;
    bool is_applied;
    struct vq_result result;
};

static struct waiting_proposal *waiting;
static uv_idle_t *turn; /* callbacks never come from inside vq_propose() */
static uint64_t next_index;

static void turn_freed(uv_handle_t *handle)
{
    free(handle);
}

static void run_waiting(uv_idle_t *idle)
{
    struct waiting_proposal *due = waiting;

    waiting = NULL;
    (void)uv_idle_stop(idle);
    while (due != NULL) {
        struct waiting_proposal *proposal = due;
        struct vq_error err = VQ_ERROR_INIT;
        due = proposal->next;
        if (!proposal->is_applied)
            vq_error_set_from(&err, VIR_FROM_NONE, VIR_ERR_OPERATION_INVALID, "1 of 3 voters reachable");
        proposal->cb(proposal->is_applied ? VQ_RAFT_APPLIED : VQ_RAFT_REFUSED, &proposal->result, &err, proposal->data);
        free(proposal);
    }
}

static void apply(struct vq_daemon *daemon, Vq__Command *command, struct vq_result *ret)
{
    Vq__Entry entry = VQ__ENTRY__INIT;
    struct vq_change_list changes = {0};
    struct vq_result *results = NULL;
    size_t n_results = 0;
    bool diverged = false;
    struct vq_error err = VQ_ERROR_INIT;
    uint8_t id[16];

    if (command->request_id.len == 0) {
        daemon->host.random(id, sizeof(id));
        command->request_id.data = id;
        command->request_id.len = sizeof(id);
    }
    if (command->proposer == 0)
        command->proposer = daemon->node_id;
    command->time_ms = 1000;
    entry.n_commands = 1;
    entry.commands = &command;
    size_t length = vq__entry__get_packed_size(&entry);
    uint8_t *bytes = vq_calloc(1, length);
    (void)vq__entry__pack(&entry, bytes);
    if (next_index == 0)
        next_index = vq_store_applied(daemon->store);
    if (vq_store_apply(daemon->store, ++next_index, bytes, length, &results, &n_results, &changes, &diverged, &err) <
            0 ||
        vq_store_commit(daemon->store, &err) < 0)
        fail_msg("apply: %s", err.message);
    assert_int_equal(n_results, 1);
    *ret = results[0];
    vq_daemon_raft_applied(next_index, &changes, daemon);
    vq_change_list_done(&changes);
    free(results);
    free(bytes);
    if (command->request_id.data == id)
        command->request_id = (ProtobufCBinaryData){0};
}

void vq_propose(struct vq_daemon *daemon, Vq__Command *command, uint64_t timeout_ms, vq_raft_propose_cb cb, void *data)
{
    struct waiting_proposal *proposal = vq_new(struct waiting_proposal);

    (void)timeout_ms;
    fake_cluster.n_proposed++;
    proposal->cb = cb;
    proposal->data = data;
    proposal->is_applied = fake_cluster.has_quorum;
    if (proposal->is_applied)
        apply(daemon, command, &proposal->result);
    proposal->next = waiting;
    waiting = proposal;
    (void)uv_idle_start(turn, run_waiting);
}

bool vq_propose_has_quorum(const struct vq_daemon *daemon)
{
    (void)daemon;
    return fake_cluster.has_quorum;
}

/* ---- Membership ---- */

int vq_cluster_identity(struct vq_daemon *daemon, struct vq_error *err)
{
    (void)err;
    daemon->node_id = 1;
    daemon->node_name = vq_strdup("node1");
    daemon->boot = 77;
    daemon->store_is_durable = false;
    return 0;
}

int vq_cluster_start(struct vq_daemon *daemon, struct vq_error *err)
{
    (void)err;
    turn = vq_new(uv_idle_t);
    (void)uv_idle_init(daemon->loop, turn);
    daemon->raft_status.is_running = true;
    daemon->raft_status.leader = 1;
    daemon->cluster = (struct vq_cluster *)turn; /* anything but NULL: to be stopped */
    return 0;
}

void vq_cluster_stop(struct vq_daemon *daemon, void (*stopped)(void *data), void *data)
{
    (void)daemon;
    uv_close((uv_handle_t *)turn, turn_freed);
    while (waiting != NULL) {
        struct waiting_proposal *proposal = waiting;
        waiting = proposal->next;
        free(proposal);
    }
    stopped(data);
}

void vq_cluster_applied(struct vq_daemon *daemon, uint64_t index, const struct vq_change_list *changes)
{
    (void)daemon;
    (void)index;
    (void)changes;
}

void vq_cluster_answer(struct vq_daemon *daemon, uint64_t index)
{
    (void)daemon;
    (void)index;
}

void vq_cluster_status_changed(struct vq_daemon *daemon)
{
    (void)daemon;
}

int vq_certificate_renew(struct vq_cluster *cluster, int64_t *ret_expires_s, struct vq_error *err)
{
    (void)cluster;
    (void)ret_expires_s;
    return vq_error_set_from(err, VIR_FROM_NONE, VIR_ERR_OPERATION_INVALID, "this host is in no cluster");
}

bool vq_cluster_is_online(const struct vq_daemon *daemon, uint64_t node_id)
{
    (void)daemon;
    for (unsigned i = 0; i < 8 && fake_cluster.offline[i] != 0; i++)
        if (fake_cluster.offline[i] == node_id)
            return false;
    return true;
}

bool vq_cluster_has_left(const struct vq_daemon *daemon, uint64_t node_id)
{
    (void)daemon;
    return fake_cluster.left != 0 && fake_cluster.left == node_id;
}

int vq_cluster_unreachable(const struct vq_daemon *daemon, uint64_t node_id, struct vq_error *err)
{
    (void)daemon;
    return vq_error_set_from(err, VIR_FROM_NONE, VIR_ERR_OPERATION_FAILED, "node%d is not reachable", (int)node_id);
}

uint64_t vq_cluster_find_node(const struct vq_daemon *daemon, const char *host)
{
    (void)daemon;
    unsigned node = 0;
    return sscanf(host, "node%u", &node) == 1 ? node : 0;
}

const char *vq_cluster_node_name(const struct vq_daemon *daemon, uint64_t node)
{
    static char name[32];

    (void)daemon;
    (void)snprintf(name, sizeof(name), "node%llu", (unsigned long long)node);
    return node == 0 || node > 9 ? NULL : name;
}

char *vq_cluster_node_address(const struct vq_daemon *daemon, uint64_t node)
{
    (void)daemon;
    return vq_asprintf("192.0.2.%llu", (unsigned long long)node);
}

/* ---- The mesh ---- */

uint64_t vq_forward_ask(struct vq_daemon *daemon, const struct vq_call *call, uint64_t node, uint64_t deadline_ms,
                        vq_forward_done done, void *data)
{
    struct fake_question *question = &fake_cluster.question;

    (void)deadline_ms;
    if (!vq_cluster_is_online(daemon, node))
        return 0;
    *question = (struct fake_question){.node = node,
                                       .procedure = call->request.procedure,
                                       .view_node = call->view_node,
                                       .session = call->request.caller->session,
                                       .uid = call->request.caller->uid,
                                       .applied = call->read_index,
                                       .id = question->id + 1,
                                       .done = done,
                                       .data = data};
    question->xdr_length = call->xdr_length < sizeof(question->xdr) ? call->xdr_length : sizeof(question->xdr);
    if (question->xdr_length > 0)
        memcpy(question->xdr, call->xdr, question->xdr_length);
    return question->id;
}

void vq_forward_give_up(struct vq_daemon *daemon, uint64_t id)
{
    (void)daemon;
    if (id == fake_cluster.question.id)
        fake_cluster.question.done = NULL;
}

void vq_forward_pack(const struct vq_daemon *daemon, const struct vq_call *call, uint64_t id, uint64_t timeout_ms,
                     struct vq_forward_message *ret)
{
    vq__call__init(&ret->call);
    vq__identity__init(&ret->identity);
    ret->identity.uid = call->request.caller->uid;
    ret->identity.readonly = call->request.caller->readonly;
    ret->identity.entry_node = daemon->node_id;
    ret->call.id = id;
    ret->call.program = vq_program_number(call->request.procedure->program);
    ret->call.procedure = call->request.procedure->number;
    ret->call.args = (ProtobufCBinaryData){call->xdr_length, (uint8_t *)call->xdr};
    ret->call.identity = &ret->identity;
    ret->call.timeout_ms = timeout_ms;
    ret->call.driver = (char *)call->driver_name;
    ret->call.view_node = call->view_node;
    ret->call.session = call->request.caller->session;
}

void vq_forward_call(struct vq_daemon *daemon, struct vq_call *call, uint64_t node)
{
    (void)daemon;
    fake_cluster.forwarded = call;
    fake_cluster.forwarded_to = node;
}

void vq_gather_call(struct vq_daemon *daemon, struct vq_call *call)
{
    (void)daemon;
    vq_call_answer_bytes(call, NULL, 0);
}

void vq_forward_session_ended(struct vq_daemon *daemon, uint64_t session)
{
    (void)daemon;
    (void)session;
    fake_cluster.n_session_ended++;
}

void vq_forward_event(struct vq_daemon *daemon, const struct vq_mesh_event *event)
{
    (void)daemon;
    fake_cluster.last_event++;
    if (fake_cluster.n_events < 64) {
        struct vq_mesh_event *copy = vq_mesh_event_copy(event);
        copy->sequence = fake_cluster.last_event;
        fake_cluster.events[fake_cluster.n_events++] = copy;
    }
}

uint64_t vq_forward_last_event(const struct vq_daemon *daemon)
{
    (void)daemon;
    return fake_cluster.last_event;
}

bool vq_forward_stream(struct vq_daemon *daemon, uint64_t node, const Vq__StreamData *message)
{
    (void)daemon;
    if (fake_cluster.message_sent != NULL) {
        fake_cluster.message_sent(node, message);
    } else if (fake_cluster.n_messages < 256) {
        size_t length = vq__stream_data__get_packed_size(message);
        uint8_t *bytes = vq_calloc(1, length);
        (void)vq__stream_data__pack(message, bytes);
        fake_cluster.messages[fake_cluster.n_messages++] = vq__stream_data__unpack(NULL, length, bytes);
        free(bytes);
    }
    return true;
}

/* ---- For tests ---- */

void fake_node_start(struct fake_node *node)
{
    struct vq_config config;
    struct vq_error err = VQ_ERROR_INIT;

    memset(node, 0, sizeof(*node));
    fake_cluster = (struct fake_cluster){.has_quorum = true, .daemon = &node->daemon};
    fake_driver = (struct fake_driver){0};
    next_index = 0;
    (void)snprintf(node->dir, sizeof(node->dir), "/tmp/vq-fake-XXXXXX");
    assert_non_null(mkdtemp(node->dir));
    vq_config_init(&config);
    char **dirs[] = {&config.state_dir,       &config.run_dir,
                     &config.libvirt_run_dir, &config.libvirt_state_dir,
                     &config.libvirt_log_dir, &config.libvirt_config_dir,
                     &config.pki_dir};
    static const char *const names[] = {"state", "run", "lrun", "lstate", "llog", "lconfig", "pki"};
    for (unsigned i = 0; i < VQ_N_ELEMENTS(dirs); i++) {
        free(*dirs[i]);
        *dirs[i] = vq_asprintf("%s/%s", node->dir, names[i]);
    }
    assert_int_equal(uv_loop_init(&node->loop), 0);
    if (vq_daemon_start(&node->daemon, &node->loop, &config, &err) < 0)
        fail_msg("start: %s", err.message);
}

void fake_node_stop(struct fake_node *node)
{
    char command[128];

    vq_daemon_stop(&node->daemon);
    (void)uv_run(&node->loop, UV_RUN_DEFAULT);
    vq_daemon_done(&node->daemon);
    assert_int_equal(uv_loop_close(&node->loop), 0);
    for (unsigned i = 0; i < fake_cluster.n_events; i++)
        vq_mesh_event_free(fake_cluster.events[i]);
    for (unsigned i = 0; i < fake_cluster.n_messages; i++)
        vq__stream_data__free_unpacked(fake_cluster.messages[i], NULL);
    (void)snprintf(command, sizeof(command), "rm -rf '%s'", node->dir);
    assert_int_equal(system(command), 0);
}

static void timer_fired(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

static void run_limited(struct fake_node *node, uint64_t ms, bool (*is_true)(void *data), void *data, bool *ret_late)
{
    uv_timer_t timer;

    *ret_late = false;
    (void)uv_timer_init(&node->loop, &timer);
    timer.data = ret_late;
    (void)uv_timer_start(&timer, timer_fired, ms, 0);
    while (!*ret_late && (is_true == NULL || !is_true(data)))
        (void)uv_run(&node->loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    (void)uv_run(&node->loop, UV_RUN_NOWAIT); /* the timer is on our stack: it has to be gone */
}

void fake_node_run_until(struct fake_node *node, bool (*is_true)(void *data), void *data)
{
    bool late;

    run_limited(node, 5000, is_true, data, &late);
    if (late)
        fail_msg("it did not happen within five seconds");
}

void fake_node_run_ms(struct fake_node *node, uint64_t ms)
{
    bool late;

    run_limited(node, ms, NULL, NULL, &late);
}

int fake_apply_result(struct fake_node *node, Vq__Command *command, struct vq_result *ret_result)
{
    struct vq_result result;

    apply(&node->daemon, command, &result);
    if (ret_result != NULL)
        *ret_result = result;
    return result.code;
}

int fake_apply(struct fake_node *node, Vq__Command *command)
{
    return fake_apply_result(node, command, NULL);
}

void fake_define(struct fake_node *node, const char *name, uint8_t uuid_byte, uint64_t owner)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainDefine define = VQ__DOMAIN_DEFINE__INIT;
    uint8_t uuid[16];
    VQ_AUTOFREE char *xml = vq_asprintf("<domain type='qemu'><name>%s</name></domain>", name);

    memset(uuid, uuid_byte, sizeof(uuid));
    uuid[15] = 0xee; /* one with all bytes the same is refused */
    define.driver = (char *)"qemu";
    define.uuid = (ProtobufCBinaryData){.data = uuid, .len = sizeof(uuid)};
    define.name = (char *)name;
    define.owner = owner;
    define.xml = (ProtobufCBinaryData){.data = (uint8_t *)xml, .len = strlen(xml)};
    define.max_memory_kib = define.memory_kib = 1048576;
    define.vcpus = define.max_vcpus = 2;
    define.persistent = true;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_DEFINE;
    command.domain_define = &define;
    if (fake_apply(node, &command) != 0)
        fail_msg("%s was refused", name);
}
