/* One client's connection, over real sockets in one process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/client/session.h"
#include "proto/gen/admin.h"
#include "proto/gen/qemu.h"
#include "proto/gen/remote.h"
#include "tests/unit/fake_client.h"
#include "tests/unit/fake_node.h"

enum { MAIN_PROGRAM = 0x20008086 };

static struct fake_node node;
static struct fake_client client;
static struct vq_request *parked[16]; /* calls that the driver has not answered yet */
static unsigned n_parked;

static void park(struct vq_request *request)
{
    assert_true(n_parked < VQ_N_ELEMENTS(parked));
    parked[n_parked++] = request;
}

static void fail_silently(struct vq_request *request)
{
    struct vq_error err = VQ_ERROR_INIT;

    vq_request_fail(request, &err);
}

/* Answers with the descriptors that came, in reverse order. */
static void give_back(struct vq_request *request)
{
    for (unsigned i = 0; i < request->n_fds; i++) {
        request->reply_fds[i] = request->fds[request->n_fds - 1 - i];
        request->fds[request->n_fds - 1 - i] = -1;
    }
    request->n_reply_fds = request->n_fds;
    ((struct vq_qemu_domain_monitor_command_with_files_ret *)request->ret)->result = "";
    vq_request_reply(request);
}

static const struct vq_driver_row rows[] = {
    {VQ_PROGRAM_QEMU, VQ_QEMU_DOMAIN_MONITOR_COMMAND_WITH_FILES, give_back},
    {VQ_PROGRAM_REMOTE, VQ_REMOTE_CONNECT_GET_VERSION, park},
    {VQ_PROGRAM_REMOTE, VQ_REMOTE_CONNECT_GET_MAX_VCPUS, fail_silently},
};

static int start(void **state)
{
    (void)state;
    n_parked = 0;
    vq_qemu_driver.rows = rows;
    vq_qemu_driver.n_rows = VQ_N_ELEMENTS(rows);
    fake_node_start(&node);
    fake_client_connect(&client, &node, "lrun/libvirt-sock");
    return 0;
}

static int stop(void **state)
{
    (void)state;
    while (n_parked > 0)
        vq_request_reply(parked[--n_parked]);
    fake_client_close(&client);
    fake_node_stop(&node);
    return 0;
}

/* A frame like a call of connect_get_lib_version, to be bent by the test. */
static struct vq_frame plain_call(void)
{
    return (struct vq_frame){.program = MAIN_PROGRAM,
                             .version = 1,
                             .procedure = VQ_REMOTE_CONNECT_GET_LIB_VERSION,
                             .type = VQ_FRAME_CALL,
                             .serial = 4711};
}

static void expect_error(int code, int from)
{
    int got_from = 0;

    assert_int_equal(fake_client_next(&client)->status, VQ_FRAME_ERROR);
    assert_int_equal(fake_client_error(&client, &got_from, NULL, 0), code);
    assert_int_equal(got_from, from);
}

static void the_handshake_of_a_client_succeeds(void **state)
{
    struct vq_remote_auth_list_ret auth = {0};
    struct vq_remote_connect_supports_feature_args feature = {.feature = 10};
    struct vq_remote_connect_supports_feature_ret supported = {0};
    struct vq_remote_connect_get_uri_ret uri = {0};
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);

    (void)state;
    assert_int_equal(
        fake_client_ask(&client, VQ_REMOTE_AUTH_LIST, NULL, NULL, &vq_xdr_remote_auth_list_ret, &auth, arena), 0);
    assert_int_equal(auth.n_types, 1);
    assert_int_equal(auth.types[0], 0);
    assert_int_equal(fake_client_ask(&client, VQ_REMOTE_CONNECT_SUPPORTS_FEATURE,
                                     &vq_xdr_remote_connect_supports_feature_args, &feature,
                                     &vq_xdr_remote_connect_supports_feature_ret, &supported, arena),
                     0);
    assert_int_equal(supported.supported, 1);
    fake_client_open(&client, "");
    assert_int_equal(fake_client_ask(&client, VQ_REMOTE_CONNECT_GET_URI, NULL, NULL, &vq_xdr_remote_connect_get_uri_ret,
                                     &uri, arena),
                     0);
    assert_string_equal(uri.uri, "qemu:///system");
}

static void features_are_told_as_libvirtd_does(void **state)
{
    static const struct {
        int feature, supported;
    } cases[] = {{0, 0}, {2, 0}, {8, 1}, {9, 1}, {10, 1}, {14, 1}, {15, 1}, {16, 1}, {17, 0}, {-1, 0}};

    (void)state;
    fake_client_open(&client, "qemu:///system");
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        struct vq_remote_connect_supports_feature_args args = {.feature = cases[i].feature};
        struct vq_remote_connect_supports_feature_ret ret = {.supported = -1};
        assert_int_equal(fake_client_ask(&client, VQ_REMOTE_CONNECT_SUPPORTS_FEATURE,
                                         &vq_xdr_remote_connect_supports_feature_args, &args,
                                         &vq_xdr_remote_connect_supports_feature_ret, &ret, NULL),
                         0);
        assert_int_equal(ret.supported, cases[i].supported);
    }
}

static void before_open_only_the_first_calls_are_answered(void **state)
{
    struct vq_frame call = plain_call();
    struct vq_remote_connect_supports_feature_args feature = {.feature = 14};

    (void)state;
    fake_client_send(&client, &call, NULL, 0);
    expect_error(VIR_ERR_INTERNAL_ERROR, VIR_FROM_RPC);
    assert_int_equal(client.frame.serial, 4711);
    fake_client_call(&client, MAIN_PROGRAM, VQ_REMOTE_CONNECT_SUPPORTS_FEATURE,
                     &vq_xdr_remote_connect_supports_feature_args, &feature);
    expect_error(VIR_ERR_INTERNAL_ERROR, VIR_FROM_RPC);
    fake_client_open(&client, "qemu:///system");
    fake_client_send(&client, &call, NULL, 0);
    assert_int_equal(fake_client_next(&client)->status, VQ_FRAME_OK);
}

static void a_second_open_and_one_without_a_name_are_refused(void **state)
{
    struct vq_remote_connect_open_args args = {.name = NULL};

    (void)state;
    fake_client_call(&client, MAIN_PROGRAM, VQ_REMOTE_CONNECT_OPEN, &vq_xdr_remote_connect_open_args, &args);
    expect_error(VIR_ERR_INTERNAL_ERROR, VIR_FROM_RPC);
    args.name = "xyz:///system";
    fake_client_call(&client, MAIN_PROGRAM, VQ_REMOTE_CONNECT_OPEN, &vq_xdr_remote_connect_open_args, &args);
    expect_error(VIR_ERR_NO_CONNECT, VIR_FROM_NONE);
    fake_client_open(&client, "qemu:///system"); /* after a bad one a good one is welcome */
    args.name = "qemu:///system";
    fake_client_call(&client, MAIN_PROGRAM, VQ_REMOTE_CONNECT_OPEN, &vq_xdr_remote_connect_open_args, &args);
    expect_error(VIR_ERR_INTERNAL_ERROR, VIR_FROM_RPC);
}

static void wrong_numbers_are_answered_and_the_connection_stays(void **state)
{
    struct vq_frame call;

    (void)state;
    fake_client_open(&client, "qemu:///system");
    call = plain_call();
    call.procedure = 9999;
    fake_client_send(&client, &call, NULL, 0);
    expect_error(VIR_ERR_RPC, VIR_FROM_RPC);
    call.procedure = -1;
    fake_client_send(&client, &call, NULL, 0);
    expect_error(VIR_ERR_RPC, VIR_FROM_RPC);
    call.procedure = VQ_REMOTE_DOMAIN_EVENT_LIFECYCLE; /* an event, sent as a call */
    fake_client_send(&client, &call, NULL, 0);
    expect_error(VIR_ERR_RPC, VIR_FROM_RPC);
    call = plain_call();
    call.program = 1;
    fake_client_send(&client, &call, NULL, 0);
    expect_error(VIR_ERR_RPC, VIR_FROM_RPC);
    call = plain_call();
    call.program = 0x20564e4f; /* what daemons ask each other comes over the mesh */
    fake_client_send(&client, &call, NULL, 0);
    expect_error(VIR_ERR_RPC, VIR_FROM_RPC);
    call = plain_call();
    call.program = 0x06900690; /* the admin program has a socket of its own */
    fake_client_send(&client, &call, NULL, 0);
    expect_error(VIR_ERR_RPC, VIR_FROM_RPC);
    call = plain_call();
    call.version = 2;
    fake_client_send(&client, &call, NULL, 0);
    expect_error(VIR_ERR_RPC, VIR_FROM_RPC);
    call = plain_call();
    call.status = VQ_FRAME_CONTINUE;
    fake_client_send(&client, &call, NULL, 0);
    expect_error(VIR_ERR_RPC, VIR_FROM_RPC);
    call = plain_call();
    call.serial = 0xffffffff;
    fake_client_send(&client, &call, NULL, 0);
    assert_int_equal(fake_client_next(&client)->status, VQ_FRAME_OK);
    assert_int_equal(client.frame.serial, 0xffffffff);
}

static void short_arguments_are_refused_and_surplus_bytes_ignored(void **state)
{
    struct vq_frame call = plain_call();
    static const uint8_t bytes[64];

    (void)state;
    fake_client_open(&client, "qemu:///system");
    call.procedure = VQ_REMOTE_DOMAIN_LOOKUP_BY_UUID;
    fake_client_send(&client, &call, bytes, 8);
    expect_error(VIR_ERR_RPC, VIR_FROM_RPC);
    fake_client_send(&client, &call, bytes, 64);
    expect_error(VIR_ERR_NO_DOMAIN, VIR_FROM_QEMU);
}

static void unasked_messages_of_a_client_are_dropped(void **state)
{
    struct vq_frame frame = plain_call();
    static const enum vq_frame_type types[] = {VQ_FRAME_REPLY, VQ_FRAME_MESSAGE, VQ_FRAME_STREAM, VQ_FRAME_STREAM_HOLE};

    (void)state;
    fake_client_open(&client, "qemu:///system");
    for (size_t i = 0; i < VQ_N_ELEMENTS(types); i++) {
        frame.type = types[i];
        fake_client_send(&client, &frame, NULL, 0);
    }
    frame = plain_call();
    fake_client_send(&client, &frame, NULL, 0);
    assert_int_equal(fake_client_next(&client)->serial, 4711); /* and nothing before it */
    assert_int_equal(client.frame.type, VQ_FRAME_REPLY);
}

static void broken_framing_ends_the_connection(void **state)
{
    static const uint8_t cases[][4] = {{0, 0, 0, 3}, {0, 0, 0, 27}, {0x7f, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff}};

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        struct fake_client other;
        fake_client_connect(&other, &node, "lrun/libvirt-sock");
        assert_int_equal(send(other.fd, cases[i], 4, 0), 4);
        fake_client_expect_end(&other);
        fake_client_close(&other);
    }
    fake_client_open(&client, "qemu:///system"); /* nobody else has noticed */
}

static void a_ping_is_answered_also_while_all_slots_are_busy(void **state)
{
    struct vq_frame ping = {.program = VQ_KEEPALIVE_PROGRAM, .version = 1, .procedure = 1, .type = VQ_FRAME_MESSAGE};

    (void)state;
    fake_client_open(&client, "qemu:///system");
    for (int i = 0; i < 5; i++)
        fake_client_call(&client, MAIN_PROGRAM, VQ_REMOTE_CONNECT_GET_VERSION, NULL, NULL);
    fake_client_send(&client, &ping, NULL, 0);
    const struct vq_frame *pong = fake_client_next(&client);
    assert_int_equal(pong->program, VQ_KEEPALIVE_PROGRAM);
    assert_int_equal(pong->procedure, 2);
    assert_int_equal(n_parked, 5);
}

static void the_sixth_call_waits_until_one_is_answered(void **state)
{
    (void)state;
    fake_client_open(&client, "qemu:///system");
    for (int i = 0; i < 7; i++)
        fake_client_call(&client, MAIN_PROGRAM, VQ_REMOTE_CONNECT_GET_VERSION, NULL, NULL);
    assert_false(fake_client_hears(&client, 50));
    assert_int_equal(n_parked, 5);
    struct vq_request *third = parked[2];
    parked[2] = parked[--n_parked];
    vq_request_reply(third); /* out of order */
    assert_int_equal(fake_client_next(&client)->serial, client.serial - 7 + 2);
    fake_node_run_ms(&node, 50);
    assert_int_equal(n_parked, 5);
}

static bool is_counted(void *data)
{
    return fake_driver.n_session_ended == *(unsigned *)data;
}

static void a_client_that_vanishes_leaves_its_calls_to_end_alone(void **state)
{
    unsigned one = 1;

    (void)state;
    fake_client_open(&client, "qemu:///system");
    fake_client_call(&client, MAIN_PROGRAM, VQ_REMOTE_CONNECT_GET_VERSION, NULL, NULL);
    fake_node_run_ms(&node, 20);
    assert_int_equal(n_parked, 1);
    fake_client_close(&client);
    fake_node_run_until(&node, is_counted, &one);
    assert_int_equal(vq_sessions_count(&node.daemon), 0);
    assert_int_equal(fake_driver.ended_session, parked[0]->caller->session);
    assert_int_equal(fake_cluster.n_session_ended, 1);
    vq_request_reply(parked[--n_parked]); /* nobody hears it */
}

static void close_is_answered_and_then_the_daemon_hangs_up(void **state)
{
    (void)state;
    fake_client_open(&client, "qemu:///system");
    assert_int_equal(fake_client_ask(&client, VQ_REMOTE_CONNECT_CLOSE, NULL, NULL, NULL, NULL, NULL), 0);
    fake_client_expect_end(&client);
    assert_int_equal(fake_driver.n_session_ended, 1);
}

static void a_handler_that_fails_without_a_word_still_sends_an_error(void **state)
{
    struct vq_remote_connect_get_max_vcpus_args args = {0};

    (void)state;
    fake_client_open(&client, "qemu:///system");
    fake_client_call(&client, MAIN_PROGRAM, VQ_REMOTE_CONNECT_GET_MAX_VCPUS, &vq_xdr_remote_connect_get_max_vcpus_args,
                     &args);
    expect_error(VIR_ERR_INTERNAL_ERROR, VIR_FROM_RPC);
}

static void the_read_only_socket_refuses_changes_whatever_the_client_asked_for(void **state)
{
    struct fake_client reader;
    struct vq_remote_domain_define_xml_args args = {.xml = "<domain/>"};

    (void)state;
    fake_client_connect(&reader, &node, "lrun/libvirt-sock-ro");
    fake_client_open(&reader, "qemu:///system");
    assert_int_equal(fake_client_ask(&reader, VQ_REMOTE_DOMAIN_DEFINE_XML, &vq_xdr_remote_domain_define_xml_args, &args,
                                     NULL, NULL, NULL),
                     VIR_ERR_OPERATION_DENIED);
    fake_client_close(&reader);
}

static void the_read_only_flag_of_open_refuses_changes(void **state)
{
    struct vq_remote_connect_open_args open = {.name = "qemu:///system", .flags = 1};
    struct vq_remote_domain_define_xml_args args = {.xml = "<domain/>"};

    (void)state;
    assert_int_equal(
        fake_client_ask(&client, VQ_REMOTE_CONNECT_OPEN, &vq_xdr_remote_connect_open_args, &open, NULL, NULL, NULL), 0);
    assert_int_equal(fake_client_ask(&client, VQ_REMOTE_DOMAIN_DEFINE_XML, &vq_xdr_remote_domain_define_xml_args, &args,
                                     NULL, NULL, NULL),
                     VIR_ERR_OPERATION_DENIED);
}

static void the_admin_socket_serves_its_own_program_only(void **state)
{
    struct fake_client admin;
    struct vq_frame call = plain_call();
    static const uint8_t no_flags[4];

    (void)state;
    fake_client_connect(&admin, &node, "lrun/libvirt-admin-sock");
    fake_client_send(&admin, &call, NULL, 0);
    assert_int_equal(fake_client_next(&admin)->status, VQ_FRAME_ERROR);
    assert_int_equal(fake_client_error(&admin, NULL, NULL, 0), VIR_ERR_RPC);
    call.program = 0x06900690;
    call.procedure = VQ_ADMIN_CONNECT_OPEN;
    fake_client_send(&admin, &call, no_flags, sizeof(no_flags));
    assert_int_equal(fake_client_next(&admin)->status, VQ_FRAME_OK);
    fake_client_close(&admin);
}

static void the_node_socket_sees_this_node_only(void **state)
{
    struct fake_client one;
    struct vq_remote_connect_list_all_domains_args args = {.need_results = 1};
    struct vq_remote_connect_list_all_domains_ret ret = {0};
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);

    (void)state;
    fake_define(&node, "here", 1, 1);
    fake_define(&node, "there", 2, 2);
    fake_client_connect(&one, &node, "run/node/libvirt-sock");
    fake_client_open(&one, "");
    assert_int_equal(fake_client_ask(&one, VQ_REMOTE_CONNECT_LIST_ALL_DOMAINS,
                                     &vq_xdr_remote_connect_list_all_domains_args, &args,
                                     &vq_xdr_remote_connect_list_all_domains_ret, &ret, arena),
                     0);
    assert_int_equal(ret.ret, 1);
    assert_string_equal(ret.domains[0].name, "here");
    fake_client_close(&one);
}

static void more_clients_than_allowed_wait_until_one_leaves(void **state)
{
    struct fake_client second, third;

    (void)state;
    node.daemon.config.max_clients = 2;
    fake_client_open(&client, "");
    fake_client_connect(&second, &node, "lrun/libvirt-sock");
    fake_client_open(&second, "");
    fake_client_connect(&third, &node, "lrun/libvirt-sock"); /* taken by the kernel, not yet by us */
    fake_client_call(&third, MAIN_PROGRAM, VQ_REMOTE_AUTH_LIST, NULL, NULL);
    assert_false(fake_client_hears(&third, 100));
    assert_int_equal(vq_sessions_count(&node.daemon), 2);
    fake_client_close(&second);
    assert_int_equal(fake_client_next(&third)->status, VQ_FRAME_OK);
    fake_client_close(&third);
}

static void a_client_that_does_not_read_its_replies_is_not_read_either(void **state)
{
    struct vq_frame call = plain_call();
    int small = 4096;

    (void)state;
    fake_client_open(&client, "qemu:///system");
    assert_int_equal(setsockopt(client.fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small)), 0);
    uint8_t many[28 * 64];
    struct vq_buffer one = VQ_BUFFER_INIT;
    size_t begin = vq_frame_begin(&one, &call);
    assert_int_equal(vq_frame_end(&one, begin, NULL), 0);
    for (int i = 0; i < 64; i++)
        memcpy(many + i * 28, one.data, 28);
    vq_buffer_done(&one);
    size_t sent = 0, idle = 0;
    while (idle < 20 && sent < 64 * 1024 * 1024) {
        ssize_t now = send(client.fd, many, sizeof(many), MSG_NOSIGNAL | MSG_DONTWAIT);
        sent += now > 0 ? (size_t)now : 0;
        idle = now > 0 ? 0 : idle + 1;
        fake_node_run_ms(&node, now > 0 ? 0 : 5);
    }
    assert_true(sent < 16 * 1024 * 1024); /* it stopped reading long before it held that much for us */
    assert_int_equal(vq_sessions_count(&node.daemon), 1);
}

static void send_fd(int fd)
{
    char control[CMSG_SPACE(sizeof(int))] = {0};
    uint8_t nothing = 0;
    struct iovec vector = {.iov_base = &nothing, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &fd, sizeof(int));
    assert_int_equal(sendmsg(client.fd, &message, MSG_NOSIGNAL), 1);
}

/* Blocking: what the daemon sends is there already, or comes while the loop turns. */
static int receive_fd(void)
{
    char control[CMSG_SPACE(sizeof(int))];
    uint8_t byte;
    struct iovec vector = {.iov_base = &byte, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = sizeof(control)};
    int fd;

    assert_int_equal(recvmsg(client.fd, &message, 0), 1);
    assert_int_equal(byte, 0);
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);
    assert_non_null(header);
    memcpy(&fd, CMSG_DATA(header), sizeof(int));
    return fd;
}

static void descriptors_go_both_ways_behind_their_messages(void **state)
{
    struct vq_qemu_domain_monitor_command_with_files_args args = {.dom = {.name = "here", .id = -1}, .cmd = "x"};
    struct vq_frame call = {.program = 0x20008087,
                            .version = 1,
                            .procedure = VQ_QEMU_DOMAIN_MONITOR_COMMAND_WITH_FILES,
                            .type = VQ_FRAME_CALL_WITH_FDS,
                            .serial = 5,
                            .n_fds = 2};
    struct vq_buffer payload = VQ_BUFFER_INIT;
    int first[2], second[2];
    uint8_t head[VQ_FRAME_MIN + 4 + 8];

    (void)state;
    fake_define(&node, "here", 1, 1);
    memset(args.dom.uuid, 1, 16);
    args.dom.uuid[15] = 0xee;
    fake_client_open(&client, "qemu:///system");
    assert_int_equal(pipe(first), 0);
    assert_int_equal(pipe(second), 0);
    assert_int_equal(vq_xdr_encode(&vq_xdr_qemu_domain_monitor_command_with_files_args, &args, &payload, NULL), 0);
    fake_client_send(&client, &call, payload.data, payload.length);
    vq_buffer_done(&payload);
    fake_node_run_ms(&node, 20); /* the message alone is not enough */
    send_fd(first[1]);
    fake_node_run_ms(&node, 20);
    send_fd(second[1]);
    fake_node_run_ms(&node, 20);

    /* Reading on over the message would lose its descriptors: exactly its bytes first. */
    ssize_t got = recv(client.fd, head, sizeof(head), MSG_PEEK);
    assert_true(got >= VQ_FRAME_MIN + 4);
    size_t length = (size_t)head[2] << 8 | head[3];
    uint8_t reply[256];
    assert_int_equal(recv(client.fd, reply, length, 0), length);
    assert_int_equal(reply[4 + 12 + 3], VQ_FRAME_REPLY_WITH_FDS);
    assert_int_equal(reply[VQ_FRAME_MIN + 3], 2);
    int back = receive_fd();
    assert_int_equal(write(back, "2", 1), 1);
    (void)close(back);
    back = receive_fd();
    assert_int_equal(write(back, "1", 1), 1);
    (void)close(back);
    char letter;
    assert_int_equal(read(first[0], &letter, 1), 1);
    assert_int_equal(letter, '1');
    assert_int_equal(read(second[0], &letter, 1), 1);
    assert_int_equal(letter, '2');
    for (int i = 0; i < 2; i++) {
        (void)close(first[i]);
        (void)close(second[i]);
    }
}

static void a_client_that_asked_for_it_is_pinged_and_dropped_when_it_is_silent(void **state)
{
    struct vq_remote_connect_supports_feature_args feature = {.feature = 10};

    (void)state;
    node.daemon.config.keepalive_interval_s = 1;
    node.daemon.config.keepalive_count = 1;
    assert_int_equal(fake_client_ask(&client, VQ_REMOTE_CONNECT_SUPPORTS_FEATURE,
                                     &vq_xdr_remote_connect_supports_feature_args, &feature, NULL, NULL, NULL),
                     0);
    const struct vq_frame *ping = fake_client_next(&client);
    assert_int_equal(ping->program, VQ_KEEPALIVE_PROGRAM);
    assert_int_equal(ping->procedure, 1);
    assert_int_equal(ping->serial, 0);
    fake_client_expect_end(&client);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)
int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(the_handshake_of_a_client_succeeds),
        CASE(features_are_told_as_libvirtd_does),
        CASE(before_open_only_the_first_calls_are_answered),
        CASE(a_second_open_and_one_without_a_name_are_refused),
        CASE(wrong_numbers_are_answered_and_the_connection_stays),
        CASE(short_arguments_are_refused_and_surplus_bytes_ignored),
        CASE(unasked_messages_of_a_client_are_dropped),
        CASE(broken_framing_ends_the_connection),
        CASE(a_ping_is_answered_also_while_all_slots_are_busy),
        CASE(the_sixth_call_waits_until_one_is_answered),
        CASE(a_client_that_vanishes_leaves_its_calls_to_end_alone),
        CASE(close_is_answered_and_then_the_daemon_hangs_up),
        CASE(a_handler_that_fails_without_a_word_still_sends_an_error),
        CASE(the_read_only_socket_refuses_changes_whatever_the_client_asked_for),
        CASE(the_read_only_flag_of_open_refuses_changes),
        CASE(the_admin_socket_serves_its_own_program_only),
        CASE(the_node_socket_sees_this_node_only),
        CASE(more_clients_than_allowed_wait_until_one_leaves),
        CASE(a_client_that_does_not_read_its_replies_is_not_read_either),
        CASE(descriptors_go_both_ways_behind_their_messages),
        CASE(a_client_that_asked_for_it_is_pinged_and_dropped_when_it_is_silent),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
