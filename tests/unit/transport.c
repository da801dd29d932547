/* libraft's transport: connections that libraft asks for, and connections that come in. libraft itself is played by the
 * test, on one loop for all nodes. */
#include <inttypes.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "proto/tls.h"
#include "raft/raft.h"
#include "raft/transport.h"
#include "tests/unit/support/identity.h"
#include "tests/unit/support/loop.h"

enum { MIB = 1024 * 1024 };

static struct test_authority authority, other_authority;
static const char *const protocols[] = {"vq-raft", NULL};

/* ---- A node: its transport, its listener, and what libraft would hold -------------------------------------------- */

struct node {
    uint64_t id;
    struct vq_tls_credentials *credentials;
    struct raft_uv_transport uv;
    struct vq_transport *transport;
    uv_poll_t listener;
    int listen_fd;
    char address[40];
    bool is_deaf;             /* accepts no connection */
    struct vq_channel *guest; /* a connection whose handshake is going on */

    unsigned n_connected, n_accepted, n_closed, n_ended;
    int status;
    struct uv_stream_s *out, *in;
    raft_id in_id;
    char in_address[24];
    size_t received;
    uint8_t last;
};

static size_t guest_received(struct vq_channel *channel VQ_UNUSED, const uint8_t *bytes VQ_UNUSED,
                             size_t length VQ_UNUSED, size_t *wanted VQ_UNUSED, void *data VQ_UNUSED)
{
    return 0;
}

static void guest_ready(struct vq_channel *channel, void *data)
{
    struct node *node = data;
    struct vq_channel_parts parts;

    vq_channel_detach(channel, &parts);
    node->guest = NULL;
    vq_transport_accept(node->transport, &parts);
}

static void guest_ended(struct vq_channel *channel, const struct vq_error *err VQ_UNUSED, void *data)
{
    struct node *node = data;

    vq_channel_close(channel, 0);
    node->guest = NULL;
}

static const struct vq_channel_callbacks guest_callbacks = {guest_received, guest_ready, NULL, guest_ended};

static void listener_cb(uv_poll_t *poll, int status VQ_UNUSED, int events VQ_UNUSED)
{
    struct node *node = poll->data;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_tls_session *session = NULL;
    const struct vq_tls_options tls = {.is_server = true, .tls13_only = true, .alpn = protocols};
    const struct vq_channel_options options = {.handshake_ms = 2000};
    int fd;

    if (node->is_deaf)
        return;
    fd = accept4(node->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
    assert_true(fd >= 0);
    assert_int_equal(vq_tls_session_new(node->credentials, &tls, &session, &err), 0);
    node->guest = vq_channel_open(&loop, fd, session, &options, &guest_callbacks, node);
}

static void alloc_cb(uv_handle_t *handle VQ_UNUSED, size_t size VQ_UNUSED, uv_buf_t *buffer)
{
    static char bytes[65536];

    *buffer = uv_buf_init(bytes, sizeof(bytes));
}

static void stream_closed(uv_handle_t *handle)
{
    raft_free(handle);
}

static void close_stream(struct uv_stream_s **stream)
{
    if (*stream != NULL)
        uv_close((uv_handle_t *)*stream, stream_closed);
    *stream = NULL;
}

static void read_cb(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer)
{
    struct node *node = stream->data;

    if (got > 0) {
        node->received += (size_t)got;
        node->last = (uint8_t)buffer->base[got - 1];
    } else if (got < 0) {
        node->n_ended++;
        close_stream(stream == node->in ? &node->in : &node->out);
    }
}

static void accept_cb(struct raft_uv_transport *uv, raft_id id, const char *address, struct uv_stream_s *stream)
{
    struct node *node = VQ_CONTAINER_OF(uv, struct node, uv);

    node->n_accepted++;
    close_stream(&node->in);
    node->in = stream;
    node->in_id = id;
    (void)snprintf(node->in_address, sizeof(node->in_address), "%s", address);
    stream->data = node;
    assert_int_equal(uv_read_start(stream, alloc_cb, read_cb), 0);
}

static void connect_cb(struct raft_uv_connect *request, struct uv_stream_s *stream, int status)
{
    struct node *node = request->data;

    node->n_connected++;
    node->status = status;
    assert_true((stream != NULL) == (status == 0));
    node->out = stream;
    if (stream != NULL)
        stream->data = node;
}

static void close_cb(struct raft_uv_transport *uv)
{
    struct node *node = VQ_CONTAINER_OF(uv, struct node, uv);

    node->n_closed++;
}

static void node_open(struct node *node, uint64_t id, const struct vq_transport_options *base)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);
    struct vq_transport_options options = *base;

    *node = (struct node){.id = id, .credentials = test_credentials(&authority, id)};
    options.node_id = id;
    options.credentials = node->credentials;
    node->transport = vq_transport_new(&loop, &options, &node->uv);
    assert_int_equal(node->uv.version, 1);
    assert_int_equal(node->uv.init(&node->uv, id, "x"), 0);
    assert_int_equal(node->uv.listen(&node->uv, accept_cb), 0);
    node->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(node->listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(node->listen_fd, 8), 0);
    assert_int_equal(getsockname(node->listen_fd, (struct sockaddr *)&address, &size), 0);
    (void)snprintf(node->address, sizeof(node->address), "127.0.0.1:%u", ntohs(address.sin_port));
    assert_int_equal(uv_poll_init(&loop, &node->listener, node->listen_fd), 0);
    node->listener.data = node;
    assert_int_equal(uv_poll_start(&node->listener, UV_READABLE, listener_cb), 0);
}

/* As raft_close() does: streams first, then the transport. */
static void node_close(struct node *node)
{
    close_stream(&node->in);
    close_stream(&node->out);
    if (node->guest != NULL)
        vq_channel_close(node->guest, 0);
    if (node->n_closed == 0) {
        node->uv.close(&node->uv, close_cb);
        assert_int_equal(node->n_closed, 0);
        run_until(&node->n_closed, 1);
    }
    vq_transport_free(node->transport);
    uv_close((uv_handle_t *)&node->listener, NULL);
    (void)close(node->listen_fd);
    vq_tls_credentials_free(node->credentials);
}

static void introduce(struct node *a, struct node *b)
{
    const struct vq_raft_address table[] = {{a->id, a->address}, {b->id, b->address}};

    vq_transport_set_peers(a->transport, table, 2);
    vq_transport_set_peers(b->transport, table, 2);
}

static const struct vq_transport_options defaults = {.connect_ms = 2000};

static void open_two(struct node *a, struct node *b, const struct vq_transport_options *options)
{
    node_open(a, 1, options);
    node_open(b, 2, options);
    introduce(a, b);
}

static void connect_to(struct node *from, uint64_t id, struct raft_uv_connect *request)
{
    request->data = from;
    assert_int_equal(from->uv.connect(&from->uv, request, id, "x", connect_cb), 0);
    assert_int_equal(from->n_connected, 0); /* not from inside the call */
}

static void write_done(uv_write_t *request, int status VQ_UNUSED)
{
    free(request->data);
    free(request);
}

static void stream_write(struct uv_stream_s *stream, size_t length, uint8_t fill)
{
    uv_write_t *request = vq_new(uv_write_t);
    char *bytes = malloc(length);
    uv_buf_t buffer = uv_buf_init(bytes, (unsigned)length);

    memset(bytes, fill, length);
    request->data = bytes;
    assert_int_equal(uv_write(request, stream, &buffer, 1, write_done), 0);
}

/* ---- Tests ------------------------------------------------------------------------------------------------------- */

static void bytes_go_one_way_and_the_identity_is_the_certificates(void **state VQ_UNUSED)
{
    struct node a, b;
    struct raft_uv_connect request;

    open_two(&a, &b, &defaults);
    connect_to(&a, 2, &request);
    run_until(&a.n_connected, 1);
    assert_int_equal(a.status, 0);
    run_until(&b.n_accepted, 1);
    assert_int_equal(b.in_id, 1);
    assert_string_equal(b.in_address, "1");
    stream_write(a.out, 5, 'x');
    stream_write(a.out, 20 * MIB, 'y'); /* far more than the queues hold */
    for (int i = 0; i < 1000 && b.received < 5 + 20 * MIB; i++)
        run_ms(10);
    assert_int_equal(b.received, 5 + 20 * MIB);
    assert_int_equal(b.last, 'y');
    assert_int_equal(vq_transport_connections(a.transport), 1);
    assert_int_equal(vq_transport_connections(b.transport), 1);
    node_close(&a);
    run_until(&b.n_ended, 1);
    assert_int_equal(vq_transport_connections(b.transport), 0);
    node_close(&b);
    assert_empty_loop();
}

static void peer_that_stops_reading_is_held_back_and_then_dropped(void **state VQ_UNUSED)
{
    struct node a, b;
    struct raft_uv_connect request;
    uint64_t began;

    open_two(&a, &b, &(struct vq_transport_options){.stalled_ms = 200});
    connect_to(&a, 2, &request);
    run_until(&b.n_accepted, 1);
    assert_int_equal(uv_read_stop(b.in), 0);
    stream_write(a.out, 64 * MIB, 'y');
    assert_int_equal(uv_read_start(a.out, alloc_cb, read_cb), 0);
    began = uv_hrtime();
    run_until(&a.n_ended, 1);                                /* dropped by either side ... */
    assert_true(uv_hrtime() - began < UINT64_C(2000000000)); /* ... before TCP gives up */
    assert_true(b.received < 16 * MIB);
    node_close(&a);
    node_close(&b);
    assert_empty_loop();
}

static void another_node_at_the_address_is_not_taken_for_the_wanted_one(void **state VQ_UNUSED)
{
    struct node a, b;
    struct raft_uv_connect request;

    open_two(&a, &b, &defaults);
    const struct vq_raft_address table[] = {{1, a.address}, {3, b.address}};
    vq_transport_set_peers(a.transport, table, 2);
    connect_to(&a, 3, &request);
    run_until(&a.n_connected, 1);
    assert_int_equal(a.status, RAFT_NOCONNECTION);
    node_close(&a);
    node_close(&b);
    assert_empty_loop();
}

static void unknown_or_unusable_address_is_refused_at_once(void **state VQ_UNUSED)
{
    const char *const addresses[] = {"",      "node2:16515", "127.0.0.1",   "127.0.0.1:", "127.0.0.1:70000",
                                     "::1:5", "[::1]x:5",    "127.0.0.1:5x"};
    struct node a, b;
    struct raft_uv_connect request = {.data = &a};

    open_two(&a, &b, &defaults);
    assert_int_equal(a.uv.connect(&a.uv, &request, 7, "7", connect_cb), RAFT_NOCONNECTION);
    for (size_t i = 0; i < VQ_N_ELEMENTS(addresses); i++) {
        const struct vq_raft_address table[] = {{2, addresses[i]}};
        vq_transport_set_peers(a.transport, table, 1);
        assert_int_equal(a.uv.connect(&a.uv, &request, 2, "2", connect_cb), RAFT_NOCONNECTION);
    }
    run_ms(20);
    assert_int_equal(a.n_connected, 0);
    node_close(&a);
    node_close(&b);
    assert_empty_loop();
}

static void connect_that_is_never_answered_fails_at_its_deadline(void **state VQ_UNUSED)
{
    struct node a, b;
    struct raft_uv_connect request;
    uint64_t began;

    open_two(&a, &b, &(struct vq_transport_options){.connect_ms = 100});
    b.is_deaf = true; /* the kernel accepts for it, but no handshake comes */
    (void)uv_poll_stop(&b.listener);
    began = uv_hrtime();
    connect_to(&a, 2, &request);
    run_until(&a.n_connected, 1);
    assert_int_equal(a.status, RAFT_NOCONNECTION);
    assert_true(uv_hrtime() - began < UINT64_C(2000000000));
    assert_int_equal(vq_transport_connections(a.transport), 0);
    node_close(&a);
    node_close(&b);
    assert_empty_loop();
}

static void refused_connection_fails(void **state VQ_UNUSED)
{
    struct node a, b;
    struct raft_uv_connect request;

    open_two(&a, &b, &defaults);
    const struct vq_raft_address table[] = {{2, "127.0.0.1:1"}};
    vq_transport_set_peers(a.transport, table, 1);
    connect_to(&a, 2, &request);
    run_until(&a.n_connected, 1);
    assert_int_equal(a.status, RAFT_NOCONNECTION);
    node_close(&a);
    node_close(&b);
    assert_empty_loop();
}

static void close_cancels_what_is_connecting_before_it_is_done(void **state VQ_UNUSED)
{
    for (unsigned turns = 0; turns < 12; turns++) { /* in every phase of the handshake */
        struct node a, b;
        struct raft_uv_connect request;

        open_two(&a, &b, &defaults);
        connect_to(&a, 2, &request);
        for (unsigned i = 0; i < turns; i++)
            (void)uv_run(&loop, UV_RUN_NOWAIT);
        unsigned before = a.n_connected;
        a.uv.close(&a.uv, close_cb);
        assert_int_equal(a.n_connected, before);
        run_until(&a.n_closed, 1);
        assert_int_equal(a.n_connected, 1);
        if (before == 0)
            assert_int_equal(a.status, RAFT_CANCELED);
        assert_int_equal(a.uv.connect(&a.uv, &request, 2, "x", connect_cb), RAFT_CANCELED);
        node_close(&a);
        node_close(&b);
        assert_empty_loop();
    }
}

static void closed_transport_accepts_nothing(void **state VQ_UNUSED)
{
    struct node a, b;
    struct raft_uv_connect request;

    open_two(&a, &b, &defaults);
    b.uv.close(&b.uv, close_cb);
    run_until(&b.n_closed, 1);
    connect_to(&a, 2, &request);
    run_until(&a.n_connected, 1);
    run_ms(50);
    assert_int_equal(b.n_accepted, 0);
    assert_int_equal(vq_transport_connections(a.transport), 0);
    node_close(&a);
    node_close(&b);
    assert_empty_loop();
}

static void removed_node_is_dropped_and_not_let_in_again(void **state VQ_UNUSED)
{
    struct node a, b;
    struct raft_uv_connect request;

    open_two(&a, &b, &defaults);
    connect_to(&a, 2, &request);
    run_until(&b.n_accepted, 1);
    const struct vq_raft_address table[] = {{2, b.address}};
    vq_transport_set_peers(b.transport, table, 1); /* node 1 is removed */
    run_until(&b.n_ended, 1);
    assert_int_equal(vq_transport_connections(b.transport), 0);
    run_ms(20);
    close_stream(&a.out);
    a.n_connected = 0;
    connect_to(&a, 2, &request);
    run_until(&a.n_connected, 1);
    run_ms(50);
    assert_int_equal(b.n_accepted, 1);
    node_close(&a);
    node_close(&b);
    assert_empty_loop();
}

static void certificate_of_another_authority_is_refused(void **state VQ_UNUSED)
{
    struct node a, b;
    struct raft_uv_connect request;
    struct vq_tls_credentials *foreign = test_credentials(&other_authority, 1);

    open_two(&a, &b, &defaults);
    vq_transport_set_credentials(a.transport, foreign);
    connect_to(&a, 2, &request);
    run_until(&a.n_connected, 1);
    assert_int_equal(a.status, RAFT_NOCONNECTION);
    run_ms(20);
    assert_int_equal(b.n_accepted, 0);
    vq_tls_credentials_free(foreign);
    node_close(&a);
    node_close(&b);
    assert_empty_loop();
}

static void newer_connection_of_a_node_replaces_the_older(void **state VQ_UNUSED)
{
    struct node a, b;
    struct raft_uv_connect requests[2];
    struct uv_stream_s *first;

    open_two(&a, &b, &defaults);
    connect_to(&a, 2, &requests[0]);
    run_until(&b.n_accepted, 1);
    first = vq_take(a.out);
    a.n_connected = 0;
    connect_to(&a, 2, &requests[1]);
    run_until(&b.n_accepted, 2);
    run_ms(20);
    assert_int_equal(vq_transport_connections(b.transport), 1);
    stream_write(a.out, 3, 'n');
    for (int i = 0; i < 100 && b.received < 3; i++)
        run_ms(10);
    assert_int_equal(b.last, 'n');
    close_stream(&first);
    node_close(&a);
    node_close(&b);
    assert_empty_loop();
}

static void new_credentials_replace_open_connections_one_by_one(void **state VQ_UNUSED)
{
    struct node a, b;
    struct raft_uv_connect request;
    struct vq_tls_credentials *fresh = test_credentials(&authority, 1);

    open_two(&a, &b, &defaults);
    connect_to(&a, 2, &request);
    run_until(&b.n_accepted, 1);
    vq_transport_set_credentials(a.transport, fresh);
    assert_int_equal(vq_transport_connections(a.transport), 1);
    run_until(&b.n_ended, 1);
    close_stream(&a.out);
    a.n_connected = 0;
    connect_to(&a, 2, &request);
    run_until(&b.n_accepted, 2);
    run_ms(2200); /* the new one is not closed again */
    assert_int_equal(vq_transport_connections(a.transport), 1);
    vq_tls_credentials_free(fresh);
    node_close(&a);
    node_close(&b);
    assert_empty_loop();
}

static int set_up(void **state VQ_UNUSED)
{
    vq_log_level = VQ_LOG_ERROR;
    test_authority_make(&authority);
    test_authority_make(&other_authority);
    return uv_loop_init(&loop);
}

static int tear_down(void **state VQ_UNUSED)
{
    test_authority_done(&authority);
    test_authority_done(&other_authority);
    return uv_loop_close(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bytes_go_one_way_and_the_identity_is_the_certificates),
        cmocka_unit_test(peer_that_stops_reading_is_held_back_and_then_dropped),
        cmocka_unit_test(another_node_at_the_address_is_not_taken_for_the_wanted_one),
        cmocka_unit_test(unknown_or_unusable_address_is_refused_at_once),
        cmocka_unit_test(connect_that_is_never_answered_fails_at_its_deadline),
        cmocka_unit_test(refused_connection_fails),
        cmocka_unit_test(close_cancels_what_is_connecting_before_it_is_done),
        cmocka_unit_test(closed_transport_accepts_nothing),
        cmocka_unit_test(removed_node_is_dropped_and_not_let_in_again),
        cmocka_unit_test(certificate_of_another_authority_is_refused),
        cmocka_unit_test(newer_connection_of_a_node_replaces_the_older),
        cmocka_unit_test(new_credentials_replace_open_connections_one_by_one),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
