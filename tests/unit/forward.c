/* Calls to other nodes and from them, with the mesh and the dispatcher played by the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "node/call.h"
#include "node/cluster/cluster.h"
#include "node/cluster/cluster_state.h"
#include "node/dispatch.h"
#include "node/client/events.h"
#include "node/mesh/forward.h"
#include "node/mesh/mesh.h"
#include "node/publish.h"
#include "node/client/stream.h"
#include "proto/gen/remote.h"

enum { SELF = 1, OWNER = 2, THIRD = 3 };

static struct {
    struct vq_daemon daemon;
    struct vq_cluster cluster;
    struct vq_cluster_member members[3];
    struct vq_driver driver;
    uv_loop_t loop;
    bool is_online[4];
    uint64_t boot[4];
    /* sent */
    Vq__Mesh *sent[16];
    uint64_t sent_to[16];
    size_t n_sent;
    /* the client's call */
    unsigned n_answers;
    struct vq_error err;
    char reply[256];
    size_t reply_length;
    bool relay_opened;
    /* dispatched here */
    unsigned n_remote, n_here;
    const struct vq_call_origin *remote_origin;
    void *remote_forward;
    struct vq_call *here;
    unsigned n_sessions_ended;
    uint64_t session_ended;
} lab;

/* ---- The others ---- */

bool vq_mesh_send(struct vq_mesh *mesh, uint64_t node, const Vq__Mesh *message)
{
    (void)mesh;
    if (!lab.is_online[node] || lab.n_sent == VQ_N_ELEMENTS(lab.sent))
        return false;
    size_t size = vq__mesh__get_packed_size(message);
    VQ_AUTOFREE uint8_t *bytes = vq_calloc(1, size + 1);
    lab.sent[lab.n_sent] = vq__mesh__unpack(NULL, vq__mesh__pack(message, bytes), bytes);
    lab.sent_to[lab.n_sent++] = node;
    return true;
}

bool vq_mesh_find_peer(const struct vq_mesh *mesh, uint64_t node, struct vq_mesh_peer *ret_peer)
{
    (void)mesh;
    *ret_peer = (struct vq_mesh_peer){.id = node, .is_online = lab.is_online[node], .boot = lab.boot[node]};
    return true;
}

bool vq_cluster_is_online(const struct vq_daemon *daemon, uint64_t node_id)
{
    return node_id == daemon->node_id || lab.is_online[node_id];
}

int vq_cluster_unreachable(const struct vq_daemon *daemon, uint64_t node_id, struct vq_error *err)
{
    (void)daemon;
    return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "node%d is not reachable since 14:03:11", (int)node_id);
}

const struct vq_cluster_member *vq_cluster_member(const struct vq_cluster *cluster, uint64_t id)
{
    return id >= 1 && id <= cluster->n_members ? &cluster->members[id - 1] : NULL;
}

uint64_t vq_dispatch_timeout_ms(const struct vq_procedure *procedure)
{
    (void)procedure;
    return 1000;
}

void vq_dispatch_here(struct vq_call *call)
{
    lab.n_here++;
    lab.here = call;
}

void vq_dispatch_remote(struct vq_daemon *daemon, uint64_t peer, const Vq__Call *message,
                        const struct vq_call_origin *origin, void *forward)
{
    (void)daemon;
    (void)peer;
    (void)message;
    lab.n_remote++;
    lab.remote_origin = origin;
    lab.remote_forward = forward;
}

bool vq_stream_relay_open(struct vq_call *call, uint64_t node, uint64_t call_id)
{
    (void)call;
    (void)node;
    (void)call_id;
    lab.relay_opened = true;
    return true;
}

struct vq_stream_link *vq_stream_mesh_link(struct vq_daemon *daemon, uint64_t peer, uint64_t call_id)
{
    static struct vq_stream_link link;

    (void)daemon;
    (void)peer;
    (void)call_id;
    return &link;
}

void vq_events_from_mesh(struct vq_events *events, uint64_t node, const struct vq_mesh_event *event)
{
    (void)events;
    (void)node;
    (void)event;
}

bool vq_overlay_hold(struct vq_overlay *overlay, const uint8_t uuid[16], vq_overlay_cb cb, void *data)
{
    (void)overlay;
    (void)uuid;
    (void)cb;
    (void)data;
    return false;
}

static void driver_session_ended(struct vq_driver *driver, uint64_t entry_node, uint64_t session)
{
    (void)driver;
    (void)entry_node;
    lab.n_sessions_ended++;
    lab.session_ended = session;
}

/* ---- The set-up ---- */

static int set_up(void **state)
{
    static char *no_addresses[] = {NULL};
    static char names[3][8] = {"node1", "node2", "node3"};

    (void)state;
    memset(&lab, 0, sizeof(lab));
    assert_int_equal(uv_loop_init(&lab.loop), 0);
    lab.is_online[OWNER] = lab.is_online[THIRD] = true;
    lab.daemon.loop = &lab.loop;
    lab.daemon.node_id = SELF;
    lab.daemon.node_name = names[0];
    lab.daemon.mesh = (struct vq_mesh *)&lab;
    lab.daemon.cluster = &lab.cluster;
    lab.daemon.calls = vq_call_pool_new();
    lab.driver.session_ended = driver_session_ended;
    lab.daemon.drivers[0] = &lab.driver;
    lab.daemon.n_drivers = 1;
    for (int i = 0; i < 3; i++)
        lab.members[i] = (struct vq_cluster_member){.id = (uint64_t)i + 1, .name = names[i], .addresses = no_addresses};
    lab.cluster.daemon = &lab.daemon;
    lab.cluster.members = lab.members;
    lab.cluster.n_members = 3;
    lab.cluster.forwards = vq_forwards_new(&lab.daemon);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    vq_forwards_free(lab.cluster.forwards);
    for (size_t i = 0; i < lab.n_sent; i++)
        vq__mesh__free_unpacked(lab.sent[i], NULL);
    vq_call_pool_free(lab.daemon.calls);
    assert_int_equal(uv_loop_close(&lab.loop), 0);
    return 0;
}

static void client_answer(struct vq_call *call, const struct vq_error *err)
{
    struct vq_buffer buffer = VQ_BUFFER_INIT;
    struct vq_error failure = VQ_ERROR_INIT;

    lab.n_answers++;
    lab.err = err == NULL ? VQ_ERROR_INIT : *err;
    if (err == NULL && vq_call_add_reply(call, &buffer, &failure) == 0) {
        lab.reply_length = buffer.length;
        memcpy(lab.reply, buffer.data, buffer.length < sizeof(lab.reply) ? buffer.length : sizeof(lab.reply));
    }
    vq_buffer_done(&buffer);
}

static struct vq_stream_link *no_stream(struct vq_call *call)
{
    (void)call;
    return NULL;
}

static const struct vq_call_origin client = {client_answer, no_stream};

static struct vq_call *new_call(uint32_t number, const void *xdr, size_t length)
{
    struct vq_caller caller = {.uid = 1000, .user = "ann", .session = 5, .has_unix = true};
    struct vq_identity *identity = vq_identity_new(&caller);
    const struct vq_procedure *procedure = vq_procedure_find(VQ_PROGRAM_REMOTE, number);
    struct vq_call *call = vq_call_new(&lab.daemon, procedure, identity);
    struct vq_error err = VQ_ERROR_INIT;

    vq_identity_unref(identity);
    call->origin = &client;
    call->driver_name = "qemu";
    call->xdr = xdr;
    call->xdr_length = length;
    call->read_index = 33;
    assert_int_equal(vq_call_keep_xdr(call, &err), 0);
    return call;
}

static void forward(uint32_t number)
{
    uv_update_time(&lab.loop);
    vq_forward_call(&lab.daemon, new_call(number, "abcd", 4), OWNER);
}

static void reply(uint64_t node, uint64_t id, uint64_t applied, const char *payload, size_t length)
{
    Vq__Reply message = VQ__REPLY__INIT;

    message.id = id;
    message.applied = applied;
    message.payload = (ProtobufCBinaryData){length, (uint8_t *)payload};
    vq_forward_received_reply(lab.cluster.forwards, node, &message);
}

static void let_time_pass(uint64_t ms)
{
    usleep((useconds_t)ms * 1000);
    uv_update_time(&lab.loop);
    vq_forwards_tick(lab.cluster.forwards);
}

/* ---- Calls of our clients ---- */

static void the_bytes_go_as_they_came_with_the_callers_identity(void **state)
{
    (void)state;
    forward(VQ_REMOTE_DOMAIN_CREATE);
    const Vq__Call *call = lab.sent[0]->call;
    assert_int_equal(lab.sent_to[0], OWNER);
    assert_memory_equal(call->args.data, "abcd", 4);
    assert_int_equal(call->identity->entry_node, SELF);
    assert_int_equal(call->identity->uid, 1000);
    assert_string_equal(call->identity->user, "ann");
    assert_int_equal(call->applied, 33);
    assert_int_equal(call->session, 5);
    reply(OWNER, call->id, 0, "wxyz", 4);
    assert_int_equal(lab.n_answers, 1);
    assert_memory_equal(lab.reply, "wxyz", 4);
}

static void the_client_reads_its_own_writes(void **state)
{
    (void)state;
    forward(VQ_REMOTE_DOMAIN_CREATE);
    reply(OWNER, lab.sent[0]->call->id, 50, "wxyz", 4);
    assert_int_equal(lab.n_answers, 0);
    vq_forwards_applied(lab.cluster.forwards, 49);
    assert_int_equal(lab.n_answers, 0);
    vq_forwards_applied(lab.cluster.forwards, 50);
    assert_int_equal(lab.n_answers, 1);
    assert_memory_equal(lab.reply, "wxyz", 4);
}

static void an_unreachable_owner_fails_at_once(void **state)
{
    (void)state;
    lab.is_online[OWNER] = false;
    forward(VQ_REMOTE_DOMAIN_CREATE);
    assert_int_equal(lab.n_answers, 1);
    assert_int_equal(lab.err.code, VIR_ERR_OPERATION_FAILED);
    assert_non_null(strstr(lab.err.message, "node2 is not reachable since"));
}

static void a_node_that_goes_offline_fails_all_its_calls(void **state)
{
    (void)state;
    forward(VQ_REMOTE_DOMAIN_CREATE);
    forward(VQ_REMOTE_DOMAIN_GET_INFO);
    vq_forwards_node_lost(lab.cluster.forwards, THIRD);
    assert_int_equal(lab.n_answers, 0);
    lab.session_ended = 99;
    vq_forwards_node_lost(lab.cluster.forwards, OWNER);
    assert_int_equal(lab.n_answers, 2);
    assert_int_equal(lab.n_sessions_ended, 2);
    assert_int_equal(lab.session_ended, 0); /* drivers hear that the node is out of reach */
    lab.daemon.is_stopping = true;
    vq_forwards_node_lost(lab.cluster.forwards, OWNER);
    lab.daemon.is_stopping = false;
    assert_int_equal(lab.n_sessions_ended, 2); /* but not those that have stopped already */
    assert_non_null(strstr(lab.err.message, "not reachable"));
}

static void the_deadline_ends_the_wait_and_a_late_reply_is_dropped(void **state)
{
    (void)state;
    struct vq_call *call = new_call(VQ_REMOTE_DOMAIN_CREATE, "abcd", 4);

    uv_update_time(&lab.loop);
    call->request.deadline_ms = uv_now(&lab.loop) + 10;
    vq_forward_call(&lab.daemon, call, OWNER);
    let_time_pass(15);
    assert_int_equal(lab.n_answers, 1);
    assert_int_equal(lab.err.code, VIR_ERR_OPERATION_TIMEOUT);
    assert_non_null(strstr(lab.err.message, "node2 did not answer virDomainCreate in time; whether it was done is unknown"));
    assert_int_equal(lab.sent[1]->message_case, VQ__MESH__MESSAGE_CANCEL);
    reply(OWNER, lab.sent[0]->call->id, 0, "wxyz", 4);
    assert_int_equal(lab.n_answers, 1);
}

static void another_node_cannot_answer_for_the_owner(void **state)
{
    (void)state;
    forward(VQ_REMOTE_DOMAIN_CREATE);
    reply(THIRD, lab.sent[0]->call->id, 0, "evil", 4);
    assert_int_equal(lab.n_answers, 0);
    reply(OWNER, lab.sent[0]->call->id, 0, "wxyz", 4);
    assert_memory_equal(lab.reply, "wxyz", 4);
}

static void every_node_that_saw_a_session_is_told_of_its_end(void **state)
{
    (void)state;
    forward(VQ_REMOTE_DOMAIN_CREATE);
    forward(VQ_REMOTE_DOMAIN_GET_INFO);
    lab.is_online[OWNER] = false;
    vq_forward_session_ended(&lab.daemon, 5);
    assert_int_equal(lab.n_sent, 2); /* out of reach: told when it is back */
    lab.is_online[OWNER] = true;
    vq_forwards_node_back(lab.cluster.forwards, OWNER, 1);
    assert_int_equal(lab.n_sent, 3);
    assert_true(lab.sent[2]->call->session_ended);
    assert_int_equal(lab.sent[2]->call->session, 5);
    vq_forward_session_ended(&lab.daemon, 5);
    assert_int_equal(lab.n_sent, 3);
}

/* ---- Calls of other nodes ---- */

static void receive(uint64_t node, uint64_t entry_node, uint64_t id, bool has_ended)
{
    Vq__Call call = VQ__CALL__INIT;
    Vq__Identity identity = VQ__IDENTITY__INIT;

    identity.entry_node = entry_node;
    call.identity = &identity;
    call.id = id;
    call.session = 9;
    call.session_ended = has_ended;
    vq_forward_received_call(lab.cluster.forwards, node, &call);
}

static void a_node_speaks_for_its_own_clients_only(void **state)
{
    (void)state;
    receive(OWNER, THIRD, 1, false);
    assert_int_equal(lab.n_remote, 0);
    assert_int_equal(lab.sent[0]->reply->code, VIR_ERR_RPC);
    Vq__Call call = VQ__CALL__INIT; /* nobody's */
    vq_forward_received_call(lab.cluster.forwards, OWNER, &call);
    assert_int_equal(lab.n_remote, 0);
    receive(OWNER, OWNER, 2, false);
    assert_int_equal(lab.n_remote, 1);
}

static void answer_served(const struct vq_error *err)
{
    struct vq_call *call = new_call(VQ_REMOTE_DOMAIN_CREATE, NULL, 0);

    call->origin = lab.remote_origin;
    call->forward = lab.remote_forward;
    lab.daemon.applied = 44;
    if (err != NULL)
        vq_call_fail(call, err);
    else
        vq_call_answer_bytes(call, (const uint8_t *)"wxyz", 4);
}

static void what_was_served_goes_back_with_the_index(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    receive(OWNER, OWNER, 71, false);
    answer_served(NULL);
    assert_int_equal(lab.sent[0]->reply->id, 71);
    assert_int_equal(lab.sent[0]->reply->applied, 44);
    assert_memory_equal(lab.sent[0]->reply->payload.data, "wxyz", 4);
    receive(OWNER, OWNER, 72, false);
    vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "domain is running");
    answer_served(&err);
    assert_int_equal(lab.sent[1]->reply->code, VIR_ERR_OPERATION_INVALID);
    assert_string_equal(lab.sent[1]->reply->message, "domain is running");
}

static void a_cancelled_call_is_not_answered(void **state)
{
    Vq__Cancel cancel = VQ__CANCEL__INIT;

    (void)state;
    receive(OWNER, OWNER, 71, false);
    cancel.id = 71;
    vq_forward_received_cancel(lab.cluster.forwards, OWNER, &cancel);
    answer_served(NULL);
    assert_int_equal(lab.n_sent, 0);
}

static void a_node_that_restarted_has_lost_its_clients(void **state)
{
    (void)state;
    lab.boot[OWNER] = 100;
    receive(OWNER, OWNER, 1, false);
    vq_forwards_node_back(lab.cluster.forwards, OWNER, 100); /* the link was broken, the daemon lived */
    assert_int_equal(lab.n_sessions_ended, 0);
    vq_forwards_node_back(lab.cluster.forwards, OWNER, 101);
    assert_int_equal(lab.n_sessions_ended, 1);
    assert_int_equal(lab.session_ended, 9);
    receive(OWNER, OWNER, 2, false);
    receive(OWNER, OWNER, 0, true);
    receive(OWNER, OWNER, 0, true); /* once is enough */
    assert_int_equal(lab.n_sessions_ended, 2);
}

static void too_many_calls_of_one_node_are_refused(void **state)
{
    (void)state;
    for (uint64_t i = 0; i < VQ_FORWARD_SERVED_MAX; i++)
        receive(OWNER, OWNER, i + 1, false);
    assert_int_equal(lab.n_remote, VQ_FORWARD_SERVED_MAX);
    receive(OWNER, OWNER, 9999, false);
    assert_int_equal(lab.n_remote, VQ_FORWARD_SERVED_MAX);
    assert_int_equal(lab.sent[0]->reply->code, VIR_ERR_OPERATION_FAILED);
    receive(THIRD, THIRD, 1, false); /* its budget is its own */
    assert_int_equal(lab.n_remote, VQ_FORWARD_SERVED_MAX + 1);
}

/* ---- Gathering ---- */

static const char list_of_none[4] = "\0\0\0\0";
static const char list_of_two[16] = "\0\0\0\2" "aaaaaa" "bbbbbb";

static void gather(void)
{
    static const uint8_t args[12]; /* no domains, stats 0, flags 0 */

    uv_update_time(&lab.loop);
    vq_gather_call(&lab.daemon, new_call(VQ_REMOTE_CONNECT_GET_ALL_DOMAIN_STATS, args, sizeof(args)));
}

static void answer_own_part(void)
{
    vq_call_answer_bytes(lab.here, (const uint8_t *)list_of_two, sizeof(list_of_two));
}

static void all_nodes_are_asked_and_their_lists_become_one(void **state)
{
    (void)state;
    gather();
    assert_int_equal(lab.n_sent, 2);
    assert_int_equal(lab.n_here, 1);
    answer_own_part();
    reply(OWNER, lab.sent[0]->call->id, 0, list_of_none, sizeof(list_of_none));
    assert_int_equal(lab.n_answers, 0);
    reply(THIRD, lab.sent[1]->call->id, 0, list_of_two, sizeof(list_of_two));
    assert_int_equal(lab.n_answers, 1);
    assert_int_equal(lab.reply_length, 4 + 12 + 12);
    assert_memory_equal(lab.reply, "\0\0\0\4", 4);
}

static void a_silent_node_is_left_out_at_the_deadline(void **state)
{
    (void)state;
    struct vq_call *call = new_call(VQ_REMOTE_CONNECT_GET_ALL_DOMAIN_STATS, "\0\0\0\0\0\0\0\0\0\0\0\0", 12);

    uv_update_time(&lab.loop);
    call->request.deadline_ms = uv_now(&lab.loop) + 10;
    vq_gather_call(&lab.daemon, call);
    answer_own_part();
    reply(THIRD, lab.sent[1]->call->id, 0, list_of_two, sizeof(list_of_two));
    let_time_pass(15);
    assert_int_equal(lab.n_answers, 1);
    assert_int_equal(lab.err.code, VIR_ERR_OK);
    assert_memory_equal(lab.reply, "\0\0\0\4", 4);
}

static void a_stuck_hypervisor_here_does_not_hold_up_the_others(void **state)
{
    (void)state;
    struct vq_call *call = new_call(VQ_REMOTE_CONNECT_GET_ALL_DOMAIN_STATS, "\0\0\0\0\0\0\0\0\0\0\0\0", 12);

    uv_update_time(&lab.loop);
    call->request.deadline_ms = uv_now(&lab.loop) + 10;
    vq_gather_call(&lab.daemon, call);
    reply(OWNER, lab.sent[0]->call->id, 0, list_of_two, sizeof(list_of_two));
    reply(THIRD, lab.sent[1]->call->id, 0, list_of_none, sizeof(list_of_none));
    let_time_pass(15);
    assert_int_equal(lab.n_answers, 1);
    assert_memory_equal(lab.reply, "\0\0\0\2", 4);
    answer_own_part(); /* late: its memory is its own */
    assert_int_equal(lab.n_answers, 1);
}

static void a_damaged_list_is_left_out(void **state)
{
    static const struct {
        const char *bytes;
        size_t length;
    } bad[] = {{"\0\0\0", 3}, {"\0\0\0\1abc", 7}, {"\xff\xff\xff\xff" "aaaa", 8}, {"\0\0\0\0aaaa", 8}, {"\0\0\0\1", 4}};

    (void)state;
    lab.is_online[THIRD] = false;
    for (size_t i = 0; i < VQ_N_ELEMENTS(bad); i++) {
        gather();
        answer_own_part();
        reply(OWNER, lab.sent[i]->call->id, 0, bad[i].bytes, bad[i].length);
        assert_int_equal(lab.n_answers, i + 1);
        assert_int_equal(lab.reply_length, sizeof(list_of_two));
    }
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_bytes_go_as_they_came_with_the_callers_identity),
        TEST(the_client_reads_its_own_writes),
        TEST(an_unreachable_owner_fails_at_once),
        TEST(a_node_that_goes_offline_fails_all_its_calls),
        TEST(the_deadline_ends_the_wait_and_a_late_reply_is_dropped),
        TEST(another_node_cannot_answer_for_the_owner),
        TEST(every_node_that_saw_a_session_is_told_of_its_end),
        TEST(a_node_speaks_for_its_own_clients_only),
        TEST(what_was_served_goes_back_with_the_index),
        TEST(a_cancelled_call_is_not_answered),
        TEST(a_node_that_restarted_has_lost_its_clients),
        TEST(too_many_calls_of_one_node_are_refused),
        TEST(all_nodes_are_asked_and_their_lists_become_one),
        TEST(a_silent_node_is_left_out_at_the_deadline),
        TEST(a_stuck_hypervisor_here_does_not_hold_up_the_others),
        TEST(a_damaged_list_is_left_out),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
