/* A node of the cluster as a peer: over the mesh, which the test plays, and this very node. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <libvirt/libvirt.h>

#include "conf/base/buffer.h"
#include "node/peer.h"
#include "proto/gen/remote.h"
#include "tests/unit/fake_node.h"

enum { SELF = 1, B = 2 };

static struct fake_node node;
static struct vq_peer *opened;
static struct vq_error open_error;
static unsigned n_opened;

static struct {
    unsigned n; /* answers */
    bool has_ret;
    char text[256];
    struct vq_error err;
    bool closes; /* the call-back closes the peer */
} heard;
static unsigned n_lost;
static bool is_inside;

static const struct vq_caller caller = {.has_unix = true, .uid = 1000, .entry_node = 1, .session = 55};

/* ---- Frame ---- */

static void answer_hostname(struct vq_request *request)
{
    struct vq_remote_connect_get_capabilities_ret *ret = request->ret;

    assert_int_equal(request->caller->uid, 1000);
    assert_int_equal(request->caller->session, 0);
    assert_true(request->is_remote);
    ret->capabilities = vq_arena_strdup(request->arena, "<capabilities/>");
    vq_request_reply(request);
}

static struct vq_request *kept;
static void keep(struct vq_request *request)
{
    kept = request;
}

static const struct vq_driver_row rows[] = {
    {VQ_PROGRAM_REMOTE, VQ_REMOTE_CONNECT_GET_CAPABILITIES, answer_hostname},
    {VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_MIGRATE_PREPARE3, keep},
};

static int start(void **state)
{
    (void)state;
    vq_qemu_driver.rows = rows;
    vq_qemu_driver.n_rows = VQ_N_ELEMENTS(rows);
    memset(&heard, 0, sizeof(heard));
    opened = NULL;
    open_error = VQ_ERROR_INIT;
    n_opened = n_lost = 0;
    kept = NULL;
    fake_node_start(&node);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fake_node_stop(&node);
    return 0;
}

static void lost(struct vq_peer *peer, const struct vq_error *err, void *data)
{
    (void)data;
    assert_ptr_equal(peer, opened);
    assert_int_not_equal(err->code, VIR_ERR_OK);
    n_lost++;
}

static void was_opened(struct vq_peer *peer, const struct vq_error *err, void *data)
{
    (void)data;
    assert_false(is_inside);
    n_opened++;
    opened = peer;
    if (peer == NULL)
        open_error = *err;
    else
        peer->lost = lost;
}

static bool is_opened(void *data)
{
    (void)data;
    return n_opened > 0;
}

static struct vq_peer *open_node(uint64_t id)
{
    struct vq_request request = {.caller = &caller, .driver = &vq_qemu_driver};

    is_inside = true;
    node.daemon.host.peer_open_node(id, &request, was_opened, NULL);
    is_inside = false;
    fake_node_run_until(&node, is_opened, NULL);
    assert_int_equal(n_opened, 1);
    return opened;
}

static void close_peer(void)
{
    struct vq_peer *peer = opened;

    opened = NULL;
    peer->class->close(peer);
}

static void was_answered(const void *ret, const struct vq_error *err, void *data)
{
    const struct vq_remote_connect_get_capabilities_ret *capabilities = ret;

    assert_false(is_inside);
    assert_true((ret == NULL) == (err != NULL));
    heard.n++;
    heard.has_ret = ret != NULL;
    if (err != NULL)
        heard.err = *err;
    else if (data != NULL)
        (void)snprintf(heard.text, sizeof(heard.text), "%s", capabilities->capabilities);
    if (heard.closes && opened != NULL)
        close_peer();
}

static bool is_answered(void *data)
{
    return heard.n >= *(unsigned *)data;
}

static void until_answered(unsigned n)
{
    fake_node_run_until(&node, is_answered, &n);
    assert_int_equal(heard.n, n);
}

static void ask_capabilities(uint64_t timeout_ms)
{
    static int is_capabilities;

    is_inside = true;
    opened->class->call(opened, VQ_PROGRAM_REMOTE, VQ_REMOTE_CONNECT_GET_CAPABILITIES, NULL, timeout_ms, was_answered,
                        &is_capabilities);
    is_inside = false;
}

static void ask_prepare(uint64_t timeout_ms)
{
    const struct vq_remote_domain_migrate_prepare3_args args = {.dom_xml = "<domain/>", .flags = 3};

    is_inside = true;
    opened->class->call(opened, VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_MIGRATE_PREPARE3, &args, timeout_ms, was_answered,
                        NULL);
    is_inside = false;
}

static void answer_question(const Vq__Reply *reply, const struct vq_error *err)
{
    struct fake_question *question = &fake_cluster.question;
    vq_forward_done done = question->done;

    assert_non_null(done);
    question->done = NULL;
    done(reply, err, question->id, question->data);
}

static void answer_capabilities(const char *text, uint64_t applied)
{
    const struct vq_remote_connect_get_capabilities_ret ret = {.capabilities = text};
    VQ_AUTOBUFFER xdr = VQ_BUFFER_INIT;
    Vq__Reply reply = VQ__REPLY__INIT;

    assert_int_equal(vq_xdr_encode(&vq_xdr_remote_connect_get_capabilities_ret, &ret, &xdr, NULL), 0);
    reply.payload = (ProtobufCBinaryData){xdr.length, (uint8_t *)xdr.data};
    reply.applied = applied;
    answer_question(&reply, NULL);
}

/* ---- Opening ---- */

static void a_node_that_is_not_there_is_refused(void **state)
{
    (void)state;
    assert_null(open_node(77));
    assert_int_equal(open_error.code, VIR_ERR_INVALID_ARG);
}

static void a_node_out_of_reach_is_refused(void **state)
{
    (void)state;
    fake_cluster.offline[0] = B;
    assert_null(open_node(B));
    assert_int_equal(open_error.code, VIR_ERR_OPERATION_FAILED);
}

static void a_node_that_is_lost_at_once_is_not_opened(void **state)
{
    struct vq_request request = {.caller = &caller, .driver = &vq_qemu_driver};

    (void)state;
    node.daemon.host.peer_open_node(B, &request, was_opened, NULL);
    vq_peer_mesh_lost(&node.daemon, B);
    fake_node_run_until(&node, is_opened, NULL);
    assert_null(opened);
    assert_int_equal(open_error.code, VIR_ERR_OPERATION_FAILED);
}

/* ---- Another node ---- */

static void a_call_goes_to_the_node_as_the_caller(void **state)
{
    struct vq_remote_domain_migrate_prepare3_args args = {0};
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    const struct fake_question *question = &fake_cluster.question;

    (void)state;
    assert_string_equal(open_node(B)->name, "node2");
    assert_int_equal(opened->node, B);
    ask_prepare(0);
    assert_int_equal(question->node, B);
    assert_int_equal(question->view_node, B);
    assert_int_equal(question->uid, 1000);
    assert_int_equal(question->session, 0);
    assert_int_equal(question->applied, node.daemon.applied);
    assert_int_equal(vq_xdr_decode(question->procedure->args, question->xdr, question->xdr_length, arena, &args, NULL, NULL),
                     0);
    assert_string_equal(args.dom_xml, "<domain/>");
    assert_int_equal(args.flags, 3);
    close_peer();
    assert_null(question->done); /* nobody waits any more */
    assert_int_equal(heard.n, 1);
    assert_int_equal(heard.err.code, VIR_ERR_RPC);
}

static void a_reply_is_decoded(void **state)
{
    (void)state;
    (void)open_node(B);
    ask_capabilities(0);
    answer_capabilities("<there/>", 0);
    until_answered(1);
    assert_string_equal(heard.text, "<there/>");
    close_peer();
}

static void a_reply_waits_for_what_it_changed(void **state)
{
    (void)state;
    (void)open_node(B);
    ask_capabilities(5000);
    answer_capabilities("<there/>", node.daemon.applied + 1);
    fake_node_run_ms(&node, 50);
    assert_int_equal(heard.n, 0);
    fake_define(&node, "guest", 1, 1);
    until_answered(1);
    ask_capabilities(5000); /* and does not keep a peer from being closed */
    answer_capabilities("<there/>", node.daemon.applied + 1);
    close_peer();
    assert_int_equal(heard.n, 2);
    assert_int_equal(heard.err.code, VIR_ERR_RPC);
    fake_define(&node, "guest", 1, 1);
    fake_node_run_ms(&node, 20);
    assert_int_equal(heard.n, 2);
}

static void an_error_comes_as_it_was(void **state)
{
    Vq__Reply reply = VQ__REPLY__INIT;

    (void)state;
    (void)open_node(B);
    ask_prepare(0);
    reply.code = VIR_ERR_OPERATION_INVALID;
    reply.from = VIR_FROM_QEMU;
    reply.message = "it runs already";
    answer_question(&reply, NULL);
    until_answered(1);
    assert_int_equal(heard.err.code, VIR_ERR_OPERATION_INVALID);
    assert_int_equal(heard.err.from, VIR_FROM_QEMU);
    assert_string_equal(heard.err.message, "it runs already");
    close_peer();
}

static void a_reply_that_cannot_be_decoded_is_an_error(void **state)
{
    uint8_t bytes[] = {0, 0, 0, 200, 'x'};
    Vq__Reply reply = VQ__REPLY__INIT;

    (void)state;
    (void)open_node(B);
    ask_capabilities(0);
    reply.payload = (ProtobufCBinaryData){sizeof(bytes), bytes};
    answer_question(&reply, NULL);
    until_answered(1);
    assert_false(heard.has_ret);
    close_peer();
}

static void calls_may_be_under_way_beside_each_other(void **state)
{
    (void)state;
    (void)open_node(B);
    ask_prepare(0);
    struct fake_question first = fake_cluster.question;
    ask_capabilities(0);
    answer_capabilities("<there/>", 0);
    until_answered(1);
    assert_string_equal(heard.text, "<there/>");
    struct vq_error err = VQ_ERROR_INIT;
    (void)vq_error_set_from(&err, VIR_FROM_RPC, VIR_ERR_OPERATION_TIMEOUT, "late");
    first.done(NULL, &err, first.id, first.data);
    until_answered(2);
    assert_int_equal(heard.err.code, VIR_ERR_OPERATION_TIMEOUT);
    close_peer();
}

static void a_stream_is_refused(void **state)
{
    struct vq_remote_domain_open_console_args args = {.dom.name = "x"};

    (void)state;
    (void)open_node(B);
    opened->class->call(opened, VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_OPEN_CONSOLE, &args, 0, was_answered, NULL);
    until_answered(1);
    assert_int_equal(heard.err.code, VIR_ERR_NO_SUPPORT);
    assert_null(opened->class->call_stream);
    close_peer();
}

static void calls_fail_and_the_user_hears_when_the_node_is_lost(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    (void)open_node(B);
    ask_capabilities(0);
    (void)vq_error_set_from(&err, VIR_FROM_RPC, VIR_ERR_OPERATION_FAILED, "node2 is not reachable");
    answer_question(NULL, &err); /* forwarding sees it first */
    fake_cluster.offline[0] = B;
    vq_peer_mesh_lost(&node.daemon, B);
    assert_int_equal(heard.n, 1);
    assert_int_equal(n_lost, 1);
    fake_cluster.offline[0] = 0; /* it comes back: this connection does not */
    ask_capabilities(0);
    until_answered(2);
    assert_int_equal(heard.err.code, VIR_ERR_OPERATION_FAILED);
    vq_peer_mesh_lost(&node.daemon, B);
    assert_int_equal(n_lost, 1);
    close_peer();
}

static void another_node_that_is_lost_does_not_matter(void **state)
{
    (void)state;
    (void)open_node(B);
    vq_peer_mesh_lost(&node.daemon, 3);
    assert_int_equal(n_lost, 0);
    close_peer();
}

static void a_peer_may_be_closed_by_whoever_is_called_back(void **state)
{
    (void)state;
    (void)open_node(B);
    heard.closes = true;
    ask_capabilities(0);
    ask_prepare(0);
    answer_question(&(Vq__Reply)VQ__REPLY__INIT, NULL); /* of the second: cannot be decoded */
    fake_node_run_ms(&node, 20);
    assert_null(opened);
    assert_int_equal(heard.n, 2);
}

static void it_may_be_closed_while_it_is_lost(void **state)
{
    (void)state;
    (void)open_node(B);
    heard.closes = true;
    ask_capabilities(0);
    ask_capabilities(0);
    fake_cluster.offline[0] = B;
    vq_peer_mesh_lost(&node.daemon, B);
    assert_null(opened);
    assert_int_equal(heard.n, 2);
    assert_int_equal(n_lost, 0); /* it is gone */
}

/* ---- This very node ---- */

static void this_node_is_a_peer_too(void **state)
{
    (void)state;
    assert_string_equal(open_node(SELF)->name, "node1");
    ask_capabilities(0);
    assert_int_equal(heard.n, 0);
    until_answered(1);
    assert_string_equal(heard.text, "<capabilities/>");
    close_peer();
}

static void a_call_here_has_a_deadline_as_well(void **state)
{
    (void)state;
    (void)open_node(SELF);
    ask_prepare(50);
    until_answered(1);
    assert_int_equal(heard.err.code, VIR_ERR_OPERATION_TIMEOUT);
    assert_non_null(kept);
    vq_request_reply(kept); /* late */
    fake_node_run_ms(&node, 20);
    assert_int_equal(heard.n, 1);
    close_peer();
}

static void a_call_here_outlives_its_peer(void **state)
{
    (void)state;
    (void)open_node(SELF);
    ask_prepare(0);
    close_peer();
    assert_int_equal(heard.n, 1);
    assert_int_equal(heard.err.code, VIR_ERR_RPC);
    vq_request_reply(kept);
    fake_node_run_ms(&node, 20);
    assert_int_equal(heard.n, 1);
}

static void an_error_here_comes_as_it_was(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    (void)open_node(SELF);
    ask_prepare(0);
    (void)vq_error_set_from(&err, VIR_FROM_QEMU, VIR_ERR_OPERATION_INVALID, "the same host");
    vq_request_fail(kept, &err);
    until_answered(1);
    assert_string_equal(heard.err.message, "the same host");
    close_peer();
}

/* ---- Nodes as drivers see them ---- */

static void nodes_have_names_and_addresses(void **state)
{
    const struct vq_driver_host *host = &node.daemon.host;

    (void)state;
    assert_int_equal(host->node_find("node2"), B);
    assert_string_equal(host->node_name_of(B), "node2");
    assert_null(host->node_name_of(77));
    assert_string_equal(host->node_address(B), "192.0.2.2");
    assert_true(host->node_is_online(B));
    fake_cluster.offline[0] = B;
    assert_false(host->node_is_online(B));
    assert_non_null(host->cluster_id);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)
int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_node_that_is_not_there_is_refused),
        CASE(a_node_out_of_reach_is_refused),
        CASE(a_node_that_is_lost_at_once_is_not_opened),
        CASE(a_call_goes_to_the_node_as_the_caller),
        CASE(a_reply_is_decoded),
        CASE(a_reply_waits_for_what_it_changed),
        CASE(an_error_comes_as_it_was),
        CASE(a_reply_that_cannot_be_decoded_is_an_error),
        CASE(calls_may_be_under_way_beside_each_other),
        CASE(a_stream_is_refused),
        CASE(calls_fail_and_the_user_hears_when_the_node_is_lost),
        CASE(another_node_that_is_lost_does_not_matter),
        CASE(a_peer_may_be_closed_by_whoever_is_called_back),
        CASE(it_may_be_closed_while_it_is_lost),
        CASE(this_node_is_a_peer_too),
        CASE(a_call_here_has_a_deadline_as_well),
        CASE(a_call_here_outlives_its_peer),
        CASE(an_error_here_comes_as_it_was),
        CASE(nodes_have_names_and_addresses),
    };
    return cmocka_run_group_tests_name("peer_mesh", tests, NULL, NULL);
}
