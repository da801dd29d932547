/* Streams: order, back-pressure, ends; to a client of this node, and through the mesh with both ends in one process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "node/client/stream.h"
#include "proto/gen/remote.h"
#include "tests/unit/fake_client.h"
#include "tests/unit/fake_node.h"

enum { MAIN_PROGRAM = 0x20008086 };

static struct fake_node node;
static struct fake_client client;

/* Through the mesh this process is both nodes, and messages are handed over by the test. */
static struct {
    Vq__StreamData *messages[4096];
    unsigned n, done;
    size_t in_flight_max, in_flight;
} mesh;

/* ---- A driver that keeps what it hears ---- */

static struct {
    struct vq_stream *stream;
    struct vq_buffer got;
    unsigned n_ends, n_holes, n_finished, n_aborted, n_writable;
    int64_t hole;
    bool is_full; /* data: take it, but say stop */
} driver;

static bool driver_data(struct vq_stream *stream, const uint8_t *bytes, size_t length, void *data)
{
    (void)stream;
    (void)data;
    assert_true(length <= VQ_STREAM_PIECE_MAX);
    if (length == 0)
        driver.n_ends++;
    vq_buffer_add_bytes(&driver.got, bytes, length);
    return !driver.is_full;
}

static void driver_hole(struct vq_stream *stream, int64_t length, void *data)
{
    (void)stream;
    (void)data;
    driver.n_holes++;
    driver.hole = length;
}

static void driver_finish(struct vq_stream *stream, void *data)
{
    (void)data;
    driver.n_finished++;
    driver.stream = NULL;
    vq_stream_finish(stream);
}

static void driver_aborted(struct vq_stream *stream, void *data)
{
    (void)stream;
    (void)data;
    driver.n_aborted++;
    driver.stream = NULL;
}

static void driver_writable(struct vq_stream *stream, void *data)
{
    (void)stream;
    (void)data;
    driver.n_writable++;
}

static const struct vq_stream_callbacks driver_callbacks = {
    .data = driver_data,
    .hole = driver_hole,
    .finish = driver_finish,
    .aborted = driver_aborted,
    .writable = driver_writable,
};

static void open_console(struct vq_request *request)
{
    struct vq_error err = VQ_ERROR_INIT;

    driver.stream = request->open_stream(request, &driver_callbacks, NULL);
    if (driver.stream == NULL) {
        vq_error_set_from(&err, VIR_FROM_STREAMS, VIR_ERR_OPERATION_FAILED, "no stream");
        vq_request_fail(request, &err);
        return;
    }
    (void)vq_stream_write(driver.stream, "early ", 6); /* must not overtake the reply */
    vq_request_reply(request);
}

static void open_and_fail(struct vq_request *request)
{
    struct vq_error err = VQ_ERROR_INIT;

    driver.stream = request->open_stream(request, &driver_callbacks, NULL);
    vq_error_set_from(&err, VIR_FROM_QEMU, VIR_ERR_OPERATION_INVALID, "domain is not running");
    vq_request_fail(request, &err);
}

static const struct vq_driver_row rows[] = {
    {VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_OPEN_CONSOLE, open_console},
    {VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_OPEN_CHANNEL, open_and_fail},
};

static int start(void **state)
{
    (void)state;
    memset(&driver, 0, sizeof(driver));
    vq_qemu_driver.rows = rows;
    vq_qemu_driver.n_rows = VQ_N_ELEMENTS(rows);
    fake_node_start(&node);
    fake_define(&node, "here", 1, 1);
    fake_define(&node, "there", 2, 2);
    fake_client_connect(&client, &node, "lrun/libvirt-sock");
    fake_client_open(&client, "qemu:///system");
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fake_client_close(&client);
    fake_node_stop(&node);
    vq_buffer_done(&driver.got);
    while (mesh.done < mesh.n)
        vq__stream_data__free_unpacked(mesh.messages[mesh.done++], NULL);
    return 0;
}

static uint32_t open_call(uint32_t procedure, uint8_t uuid_byte)
{
    struct vq_remote_domain_open_console_args args = {.dom = {.name = "x", .id = -1}};

    memset(args.dom.uuid, uuid_byte, 16);
    args.dom.uuid[15] = 0xee;
    return fake_client_call(&client, MAIN_PROGRAM, procedure, &vq_xdr_remote_domain_open_console_args, &args);
}

/* An open console of a guest here; its first data is taken. */
static uint32_t open_stream(void)
{
    uint32_t serial = open_call(VQ_REMOTE_DOMAIN_OPEN_CONSOLE, 1);
    const struct vq_frame *frame = fake_client_next(&client);

    assert_int_equal(frame->type, VQ_FRAME_REPLY);
    assert_int_equal(frame->status, VQ_FRAME_OK);
    frame = fake_client_next(&client);
    assert_int_equal(frame->type, VQ_FRAME_STREAM);
    assert_memory_equal(frame->payload, "early ", 6);
    return serial;
}

static void send_packet(uint32_t serial, enum vq_frame_type type, enum vq_frame_status status, const void *bytes,
                        size_t length)
{
    const struct vq_frame frame = {.program = MAIN_PROGRAM,
                                   .version = 1,
                                   .type = type,
                                   .status = status,
                                   .procedure = VQ_REMOTE_DOMAIN_OPEN_CONSOLE,
                                   .serial = serial};

    fake_client_send(&client, &frame, bytes, length);
}

static void expect_packet(uint32_t serial, enum vq_frame_status status, const void *bytes, size_t length)
{
    const struct vq_frame *frame = fake_client_next(&client);

    assert_int_equal(frame->type, VQ_FRAME_STREAM);
    assert_int_equal(frame->serial, serial);
    assert_int_equal(frame->procedure, VQ_REMOTE_DOMAIN_OPEN_CONSOLE);
    assert_int_equal(frame->status, status);
    assert_int_equal(frame->payload_length, length);
    if (length > 0)
        assert_memory_equal(frame->payload, bytes, length);
}

static bool got_everything(void *data)
{
    return driver.got.length >= *(size_t *)data;
}

static bool is_over(void *data)
{
    (void)data;
    return driver.n_finished + driver.n_aborted > 0;
}

static bool is_writable(void *data)
{
    (void)data;
    return driver.n_writable > 0;
}

/* ---- To a client of this node ---- */

static void data_goes_both_ways_and_the_clients_finish_is_confirmed(void **state)
{
    size_t five = 5;

    (void)state;
    uint32_t serial = open_stream();
    send_packet(serial, VQ_FRAME_STREAM, VQ_FRAME_CONTINUE, "hello", 5);
    fake_node_run_until(&node, got_everything, &five);
    assert_string_equal(driver.got.data, "hello");
    assert_true(vq_stream_write(driver.stream, "login: ", 7));
    expect_packet(serial, VQ_FRAME_CONTINUE, "login: ", 7);
    send_packet(serial, VQ_FRAME_STREAM, VQ_FRAME_OK, NULL, 0);
    expect_packet(serial, VQ_FRAME_OK, NULL, 0);
    assert_int_equal(driver.n_finished, 1);
    send_packet(serial, VQ_FRAME_STREAM, VQ_FRAME_CONTINUE, "late", 4);
    assert_false(fake_client_hears(&client, 30)); /* for a stream that is gone: dropped */
}

static void the_drivers_end_is_an_empty_packet(void **state)
{
    (void)state;
    uint32_t serial = open_stream();
    (void)vq_stream_write(driver.stream, "bye", 3);
    vq_stream_end(driver.stream);
    expect_packet(serial, VQ_FRAME_CONTINUE, "bye", 3);
    expect_packet(serial, VQ_FRAME_CONTINUE, NULL, 0);
    send_packet(serial, VQ_FRAME_STREAM, VQ_FRAME_OK, NULL, 0);
    expect_packet(serial, VQ_FRAME_OK, NULL, 0);
}

static void an_abort_is_confirmed_and_told_to_the_driver(void **state)
{
    (void)state;
    uint32_t serial = open_stream();
    send_packet(serial, VQ_FRAME_STREAM, VQ_FRAME_ERROR, NULL, 0);
    expect_packet(serial, VQ_FRAME_OK, NULL, 0);
    assert_int_equal(driver.n_aborted, 1);
}

static void the_drivers_failure_comes_behind_its_data(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    uint32_t serial = open_stream();
    (void)vq_stream_write(driver.stream, "last words", 10);
    vq_error_set_from(&err, VIR_FROM_STREAMS, VIR_ERR_SYSTEM_ERROR, "disk on fire");
    vq_stream_fail(driver.stream, &err);
    expect_packet(serial, VQ_FRAME_CONTINUE, "last words", 10);
    const struct vq_frame *frame = fake_client_next(&client);
    assert_int_equal(frame->type, VQ_FRAME_STREAM);
    assert_int_equal(fake_client_error(&client, NULL, NULL, 0), VIR_ERR_SYSTEM_ERROR);
    assert_int_equal(driver.n_aborted, 0);
}

static void a_call_that_fails_takes_its_stream_along(void **state)
{
    (void)state;
    open_call(VQ_REMOTE_DOMAIN_OPEN_CHANNEL, 1);
    assert_int_equal(fake_client_next(&client)->status, VQ_FRAME_ERROR);
    assert_int_equal(driver.n_aborted, 1);
}

static void holes_are_told_with_their_length(void **state)
{
    static const uint8_t hole[12] = {0, 0, 0, 0, 0, 0x10, 0, 0, 0, 0, 0, 0};
    static const uint8_t bad[12] = {0xff};

    (void)state;
    uint32_t serial = open_stream();
    send_packet(serial, VQ_FRAME_STREAM_HOLE, VQ_FRAME_CONTINUE, hole, sizeof(hole));
    vq_stream_write_hole(driver.stream, 4096);
    const struct vq_frame *frame = fake_client_next(&client);
    assert_int_equal(frame->type, VQ_FRAME_STREAM_HOLE);
    assert_int_equal(frame->payload_length, 12);
    assert_int_equal(frame->payload[6], 0x10);
    fake_node_run_ms(&node, 20);
    assert_int_equal(driver.n_holes, 1);
    assert_int_equal(driver.hole, 0x100000);
    send_packet(serial, VQ_FRAME_STREAM_HOLE, VQ_FRAME_CONTINUE, bad, sizeof(bad));
    frame = fake_client_next(&client);
    assert_int_equal(frame->status, VQ_FRAME_ERROR); /* a negative hole */
    assert_int_equal(driver.n_aborted, 1);
}

static void a_client_that_goes_away_aborts_its_streams(void **state)
{
    (void)state;
    (void)open_stream();
    fake_client_close(&client);
    fake_node_run_until(&node, is_over, NULL);
    assert_int_equal(driver.n_aborted, 1);
}

static void a_writer_is_stopped_while_the_client_does_not_read(void **state)
{
    uint8_t *block = vq_calloc(1, 65536);
    size_t written = 0;

    (void)state;
    uint32_t serial = open_stream();
    while (vq_stream_write(driver.stream, block, 65536)) {
        written += 65536;
        assert_true(written < 8 * 1024 * 1024);
        fake_node_run_ms(&node, 0);
    }
    written += 65536;
    assert_int_equal(driver.n_writable, 0);
    size_t heard = 0;
    while (heard < written) {
        const struct vq_frame *frame = fake_client_next(&client);
        assert_int_equal(frame->serial, serial);
        assert_true(frame->payload_length <= VQ_STREAM_CHUNK_MAX);
        heard += frame->payload_length;
    }
    assert_int_equal(heard, written);
    fake_node_run_until(&node, is_writable, NULL);
    assert_int_equal(driver.n_writable, 1);
    free(block);
}

static void a_slow_driver_leaves_the_clients_packets_unread(void **state)
{
    size_t all = 12 * 1000;
    uint8_t packet[1000];

    (void)state;
    uint32_t serial = open_stream();
    driver.is_full = true;
    for (uint8_t i = 0; i < 12; i++) {
        memset(packet, 'a' + i, sizeof(packet));
        send_packet(serial, VQ_FRAME_STREAM, VQ_FRAME_CONTINUE, packet, sizeof(packet));
    }
    fake_node_run_ms(&node, 50);
    assert_int_equal(driver.got.length, 1000); /* the first is taken, five more hold the slots */
    fake_client_call(&client, MAIN_PROGRAM, VQ_REMOTE_CONNECT_GET_LIB_VERSION, NULL, NULL);
    assert_false(fake_client_hears(&client, 50));
    driver.is_full = false;
    vq_stream_resume(driver.stream);
    fake_node_run_until(&node, got_everything, &all);
    for (uint8_t i = 0; i < 12; i++)
        assert_int_equal(driver.got.data[i * 1000 + 999], 'a' + i);
    assert_int_equal(fake_client_next(&client)->procedure, VQ_REMOTE_CONNECT_GET_LIB_VERSION);
}

static void one_large_packet_is_given_in_pieces(void **state)
{
    size_t size = 300 * 1000;
    uint8_t *bytes = vq_calloc(1, size);

    (void)state;
    uint32_t serial = open_stream();
    driver.is_full = true;
    send_packet(serial, VQ_FRAME_STREAM, VQ_FRAME_CONTINUE, bytes, size);
    fake_node_run_ms(&node, 50);
    assert_int_equal(driver.got.length, VQ_STREAM_PIECE_MAX);
    driver.is_full = false;
    vq_stream_resume(driver.stream);
    assert_int_equal(driver.got.length, size);
    free(bytes);
}

/* ---- Through the mesh ---- */

static void mesh_sent(uint64_t to, const Vq__StreamData *message)
{
    size_t length = vq__stream_data__get_packed_size(message);
    uint8_t *bytes = vq_calloc(1, length);

    assert_int_equal(to, message->from_client ? 2 : 3); /* the owner is node 2, the client's node is 3 */
    assert_true(mesh.n < VQ_N_ELEMENTS(mesh.messages));
    (void)vq__stream_data__pack(message, bytes);
    mesh.messages[mesh.n++] = vq__stream_data__unpack(NULL, length, bytes);
    mesh.in_flight += message->data.len;
    if (mesh.in_flight > mesh.in_flight_max)
        mesh.in_flight_max = mesh.in_flight;
    free(bytes);
}

/* Deliver what was sent before this call. Who sent it is the other of the two. */
static void mesh_deliver(void)
{
    unsigned end = mesh.n;

    while (mesh.done < end) {
        Vq__StreamData *message = mesh.messages[mesh.done++];
        mesh.in_flight -= message->data.len;
        vq_stream_mesh_received(&node.daemon, message->from_client ? 3 : 2, message);
        vq__stream_data__free_unpacked(message, NULL);
    }
}

static bool mesh_is_quiet(void *data)
{
    (void)data;
    mesh_deliver();
    return mesh.done == mesh.n;
}

/* The client's call is "forwarded" to node 2; there (here) the driver opens its end. */
static uint32_t open_through_mesh(void)
{
    memset(&mesh, 0, sizeof(mesh));
    fake_cluster.message_sent = mesh_sent;
    uint32_t serial = open_call(VQ_REMOTE_DOMAIN_OPEN_CONSOLE, 2);
    assert_false(fake_client_hears(&client, 20));
    struct vq_call *call = fake_cluster.forwarded;
    static struct vq_stream *slot;
    vq_stream_new(vq_stream_mesh_link(&node.daemon, 3, 11), VQ_STREAM_BOTH, &driver_callbacks, NULL, &slot);
    driver.stream = slot;
    assert_true(vq_stream_relay_open(call, 2, 11));
    vq_call_answer_bytes(call, NULL, 0);
    vq_stream_uncork(driver.stream);
    assert_int_equal(fake_client_next(&client)->type, VQ_FRAME_REPLY);
    return serial;
}

static void a_console_works_through_the_mesh(void **state)
{
    size_t four = 4;

    (void)state;
    uint32_t serial = open_through_mesh();
    send_packet(serial, VQ_FRAME_STREAM, VQ_FRAME_CONTINUE, "root", 4);
    fake_node_run_ms(&node, 20);
    fake_node_run_until(&node, mesh_is_quiet, NULL);
    assert_true(got_everything(&four));
    (void)vq_stream_write(driver.stream, "password: ", 10);
    fake_node_run_until(&node, mesh_is_quiet, NULL);
    expect_packet(serial, VQ_FRAME_CONTINUE, "password: ", 10);
    send_packet(serial, VQ_FRAME_STREAM, VQ_FRAME_OK, NULL, 0);
    fake_node_run_ms(&node, 20);
    fake_node_run_until(&node, mesh_is_quiet, NULL);
    assert_int_equal(driver.n_finished, 1);
    expect_packet(serial, VQ_FRAME_OK, NULL, 0);
}

static void the_window_bounds_what_is_on_the_mesh(void **state)
{
    uint8_t *block = vq_calloc(1, 65536);
    size_t written = 0, heard = 0;

    (void)state;
    (void)open_through_mesh();
    while (vq_stream_write(driver.stream, block, 65536))
        written += 65536;
    written += 65536;
    assert_true(mesh.in_flight_max <= VQ_STREAM_WINDOW + VQ_STREAM_CHUNK_MAX);
    while (heard < written) {
        fake_node_run_until(&node, mesh_is_quiet, NULL);
        heard += fake_client_next(&client)->payload_length;
    }
    assert_int_equal(heard, written);
    for (int i = 0; i < 20 && driver.n_writable == 0; i++) {
        mesh_deliver();
        fake_node_run_ms(&node, 5);
    }
    assert_int_equal(driver.n_writable, 1);
    free(block);
}

static void an_upload_through_the_mesh_arrives_whole(void **state)
{
    enum { PACKETS = 40, PACKET = 100 * 1000 };
    uint8_t *bytes = vq_calloc(1, PACKET);
    size_t all = (size_t)PACKETS * PACKET;

    (void)state;
    uint32_t serial = open_through_mesh();
    for (uint8_t i = 0; i < PACKETS; i++) {
        memset(bytes, i, PACKET);
        send_packet(serial, VQ_FRAME_STREAM, VQ_FRAME_CONTINUE, bytes, PACKET);
        mesh_deliver();
    }
    for (int i = 0; i < 1000 && driver.got.length < all; i++) {
        mesh_deliver();
        fake_node_run_ms(&node, 2);
    }
    assert_int_equal(driver.got.length, all);
    for (uint8_t i = 0; i < PACKETS; i++)
        assert_int_equal((uint8_t)driver.got.data[(size_t)i * PACKET + PACKET - 1], i);
    assert_true(mesh.in_flight_max <= VQ_STREAM_WINDOW + PACKET);
    free(bytes);
}

static void losing_the_connection_ends_both_ends(void **state)
{
    (void)state;
    (void)open_through_mesh();
    vq_stream_mesh_lost(&node.daemon, 2);
    assert_int_equal(fake_client_next(&client)->status, VQ_FRAME_ERROR);
    assert_int_equal(fake_client_error(&client, NULL, NULL, 0), VIR_ERR_OPERATION_FAILED);
    vq_stream_mesh_lost(&node.daemon, 3);
    assert_int_equal(driver.n_aborted, 1);
}

static void the_owners_failure_reaches_the_client(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;
    char text[256];

    (void)state;
    (void)open_through_mesh();
    vq_error_set_from(&err, VIR_FROM_QEMU, VIR_ERR_OPERATION_FAILED, "the guest has ended");
    vq_stream_fail(driver.stream, &err);
    fake_node_run_until(&node, mesh_is_quiet, NULL);
    assert_int_equal(fake_client_next(&client)->status, VQ_FRAME_ERROR);
    assert_int_equal(fake_client_error(&client, NULL, text, sizeof(text)), VIR_ERR_OPERATION_FAILED);
    assert_string_equal(text, "operation failed: the guest has ended");
}

static void a_peer_that_sends_over_its_window_loses_the_stream(void **state)
{
    Vq__StreamData message = VQ__STREAM_DATA__INIT;
    uint8_t *bytes = vq_calloc(1, VQ_STREAM_PIECE_MAX);

    (void)state;
    (void)open_through_mesh();
    driver.is_full = true;
    message.id = 11;
    message.from_client = true;
    message.data = (ProtobufCBinaryData){.data = bytes, .len = VQ_STREAM_PIECE_MAX};
    for (int i = 0; i < 12; i++)
        vq_stream_mesh_received(&node.daemon, 3, &message);
    assert_int_equal(driver.n_aborted, 1);
    vq_stream_mesh_lost(&node.daemon, 2);
    free(bytes);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)
int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(data_goes_both_ways_and_the_clients_finish_is_confirmed),
        CASE(the_drivers_end_is_an_empty_packet),
        CASE(an_abort_is_confirmed_and_told_to_the_driver),
        CASE(the_drivers_failure_comes_behind_its_data),
        CASE(a_call_that_fails_takes_its_stream_along),
        CASE(holes_are_told_with_their_length),
        CASE(a_client_that_goes_away_aborts_its_streams),
        CASE(a_writer_is_stopped_while_the_client_does_not_read),
        CASE(a_slow_driver_leaves_the_clients_packets_unread),
        CASE(one_large_packet_is_given_in_pieces),
        CASE(a_console_works_through_the_mesh),
        CASE(the_window_bounds_what_is_on_the_mesh),
        CASE(an_upload_through_the_mesh_arrives_whole),
        CASE(losing_the_connection_ends_both_ends),
        CASE(the_owners_failure_reaches_the_client),
        CASE(a_peer_that_sends_over_its_window_loses_the_stream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
