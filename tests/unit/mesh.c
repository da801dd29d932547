/* The mesh: nodes that find each other, lose each other, and peers that do not behave. All nodes on one loop. */
#include <arpa/inet.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "conf/base/buffer.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "node/mesh/mesh.h"
#include "proto/channel.h"
#include "proto/dial.h"
#include "proto/tls.h"
#include "tests/unit/support/identity.h"
#include "tests/unit/support/loop.h"

enum { MIB = 1024 * 1024 };

static struct test_authority authority;
static struct vq_tls_credentials *credentials[4]; /* by node id; 0: a client's */
static const uint8_t cluster_id[16] = {1, 2, 3}, other_cluster_id[16] = {4, 5, 6};

/* Of silence and of handshakes: generous, except in the tests that wait for it. */
static uint64_t deadline_ms;

static int be_generous(void **state VQ_UNUSED)
{
    deadline_ms = 5000;
    return 0;
}

static int be_strict(void **state VQ_UNUSED)
{
    deadline_ms = 300;
    return 0;
}

/* ---- A real node ------------------------------------------------------------------------------------------------- */

struct node {
    struct vq_mesh *mesh;
    uint64_t id;
    char address[40];
    unsigned n_removed;
    unsigned n_messages, n_online, n_offline, n_raft, n_join, n_listening, n_not_listening;
    uint64_t last_from;
    size_t last_size;
    char reason[256];
    bool stops_when_online;
};

static void on_message(uint64_t from, const Vq__Mesh *message, void *data)
{
    struct node *node = data;

    node->n_messages++;
    node->last_from = from;
    if (message->message_case == VQ__MESH__MESSAGE_REMOVED) {
        assert_int_equal(message->removed->id, node->id);
        assert_int_equal(message->removed->applied, 43);
        node->n_removed++;
        return;
    }
    assert_int_equal(message->message_case, VQ__MESH__MESSAGE_CALL);
    node->last_size = message->call->args.len;
}

static void on_online(uint64_t from, void *data)
{
    struct node *node = data;

    node->n_online++;
    node->last_from = from;
    if (node->stops_when_online) {
        vq_mesh_stop(node->mesh);
        node->mesh = NULL;
    }
}

static void on_offline(uint64_t from, uint64_t since_ms, const char *reason, void *data)
{
    struct node *node = data;

    node->n_offline++;
    node->last_from = from;
    assert_true(since_ms > UINT64_C(1700000000000));
    (void)snprintf(node->reason, sizeof(node->reason), "%s", reason);
}

static void on_describe(Vq__Hello *hello, Vq__Ping *ping, void *data VQ_UNUSED)
{
    assert_true((hello == NULL) != (ping == NULL));
    if (hello != NULL)
        hello->applied = 41;
    else
        ping->applied = 42;
}

static void on_raft(const struct vq_channel_parts *take_parts, void *data)
{
    struct node *node = data;

    node->n_raft++;
    node->last_from = vq_tls_session_peer_node(take_parts->tls);
    vq_channel_parts_discard(take_parts);
}

static void on_join(const struct vq_channel_parts *take_parts, void *data)
{
    struct node *node = data;

    node->n_join++;
    node->last_from = vq_tls_session_peer_node(take_parts->tls);
    vq_channel_parts_discard(take_parts);
}

static void on_listening(const char *address VQ_UNUSED, const struct vq_error *err, void *data)
{
    struct node *node = data;

    if (err == NULL)
        node->n_listening++;
    else
        node->n_not_listening++;
}

static bool on_stranger(uint64_t from, Vq__Removed *removed, void *data VQ_UNUSED)
{
    removed->id = from;
    removed->applied = 43;
    return true;
}

static const struct vq_mesh_callbacks node_callbacks = {
    .message = on_message, .online = on_online, .offline = on_offline, .describe = on_describe, .raft = on_raft,
    .join = on_join, .stranger = on_stranger, .listening = on_listening,
};

static void node_start(struct node *node, uint64_t id, const char *listen, uint64_t boot)
{
    struct vq_error err = VQ_ERROR_INIT;
    const char *const where[] = {listen, NULL};
    char name[16];
    const struct vq_mesh_options options = {.node_id = id,
                                            .node_name = name,
                                            .version = "0.1",
                                            .feature_level = 3,
                                            .cluster_id = cluster_id,
                                            .boot = boot,
                                            .credentials = credentials[id],
                                            .listen = where,
                                            .ping_ms = 50,
                                            .silence_ms = deadline_ms,
                                            .handshake_ms = deadline_ms,
                                            .strangers_max = 4};

    (void)snprintf(name, sizeof(name), "node%u", (unsigned)id);
    *node = (struct node){.id = id};
    if (vq_mesh_start(&loop, &options, &node_callbacks, node, &node->mesh, &err) < 0)
        fail_msg("%s", err.message);
    run_until(&node->n_listening, 1);
    (void)snprintf(node->address, sizeof(node->address), "127.0.0.1:%u", (unsigned)vq_mesh_port(node->mesh));
}

static void node_stop(struct node *node)
{
    vq_mesh_stop(node->mesh);
    node->mesh = NULL;
}

/* Tell the node about nodes 1 to 3; NULL: it is not a member, "": a member without address. */
static void set_members(struct node *node, const char *one, const char *two, const char *three)
{
    const char *const addresses[3][2] = {{one}, {two}, {three}};
    const char *const names[] = {"node1", "node2", "node3"};
    struct vq_mesh_member members[3];
    size_t n = 0;

    for (size_t i = 0; i < 3; i++)
        if (addresses[i][0] != NULL)
            members[n++] = (struct vq_mesh_member){i + 1, names[i], addresses[i][0][0] == '\0' ? NULL : addresses[i]};
    vq_mesh_set_members(node->mesh, members, n);
}

static bool send_call(struct node *node, uint64_t to, size_t size)
{
    Vq__Call call = VQ__CALL__INIT;
    Vq__Mesh message = VQ__MESH__INIT;
    VQ_AUTOFREE uint8_t *args = vq_calloc(1, size);

    call.args = (ProtobufCBinaryData){.data = args, .len = size};
    message.message_case = VQ__MESH__MESSAGE_CALL;
    message.call = &call;
    return vq_mesh_send(node->mesh, to, &message);
}

/* ---- A peer that says what the test wants ------------------------------------------------------------------------ */

struct fake {
    struct vq_channel *channel;
    unsigned n_ready, n_ended;
    size_t received;
};

static size_t fake_received(struct vq_channel *channel VQ_UNUSED, const uint8_t *bytes VQ_UNUSED, size_t length,
                            size_t *wanted VQ_UNUSED, void *data)
{
    struct fake *fake = data;

    fake->received += length;
    return length;
}

static void fake_ready(struct vq_channel *channel VQ_UNUSED, void *data)
{
    struct fake *fake = data;

    fake->n_ready++;
}

static void fake_ended(struct vq_channel *channel, const struct vq_error *err VQ_UNUSED, void *data)
{
    struct fake *fake = data;

    fake->n_ended++;
    fake->channel = NULL;
    vq_channel_close(channel, 0);
}

static const struct vq_channel_callbacks fake_callbacks = {fake_received, fake_ready, NULL, fake_ended};

static int dial_raw(const struct node *node)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct sockaddr_storage address;
    socklen_t length;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(vq_address_parse(node->address, 0, &address, &length, &err), 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, length), 0);
    return fd;
}

static void fake_dial(struct fake *fake, const struct node *node, struct vq_tls_credentials *as, const char *protocol)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_tls_session *session = NULL;
    const char *const alpn[] = {protocol, NULL};
    const struct vq_tls_options tls = {.tls13_only = true, .alpn = alpn};
    const struct vq_channel_options options = {.input_max_bytes = MIB, .handshake_ms = 5000};

    *fake = (struct fake){0};
    assert_int_equal(vq_tls_session_new(as, &tls, &session, &err), 0);
    fake->channel = vq_channel_open(&loop, dial_raw(node), session, &options, &fake_callbacks, fake);
}

static void fake_close(struct fake *fake)
{
    if (fake->channel != NULL)
        vq_channel_close(fake->channel, 0);
    fake->channel = NULL;
}

static void fake_write(struct fake *fake, const void *bytes, uint32_t length, uint32_t announced)
{
    uint32_t on_wire = htonl(announced);

    vq_channel_write(fake->channel, &on_wire, sizeof(on_wire));
    vq_channel_write(fake->channel, bytes, length);
}

static void fake_send(struct fake *fake, const Vq__Mesh *message)
{
    uint32_t length = (uint32_t)vq__mesh__get_packed_size(message);
    VQ_AUTOFREE uint8_t *bytes = vq_calloc(1, length);

    (void)vq__mesh__pack(message, bytes);
    fake_write(fake, bytes, length, length);
}

static void fake_hello(struct fake *fake, uint32_t protocol, uint64_t node, const uint8_t *cluster, size_t cluster_size)
{
    Vq__Hello hello = VQ__HELLO__INIT;
    Vq__Mesh message = VQ__MESH__INIT;

    hello.protocol = protocol;
    hello.node = node;
    hello.version = (char *)"9.9";
    hello.boot = 99;
    hello.cluster_id = (ProtobufCBinaryData){.data = (uint8_t *)(uintptr_t)cluster, .len = cluster_size};
    message.message_case = VQ__MESH__MESSAGE_HELLO;
    message.hello = &hello;
    fake_send(fake, &message);
}

/* ---- Tests: nodes among themselves ------------------------------------------------------------------------------- */

static void nodes_find_each_other_and_talk(void **state VQ_UNUSED)
{
    struct node one, two, three;
    struct node *all[] = {&one, &two, &three};
    struct vq_mesh_peer peer;

    node_start(&one, 1, "127.0.0.1:0", 11);
    node_start(&two, 2, "[::1]:0", 12);
    (void)snprintf(two.address, sizeof(two.address), "[::1]:%u", (unsigned)vq_mesh_port(two.mesh));
    node_start(&three, 3, "127.0.0.1:0", 13);
    assert_false(send_call(&one, 2, 10));
    for (size_t i = 0; i < 3; i++)
        set_members(all[i], one.address, two.address, three.address);
    for (size_t i = 0; i < 3; i++)
        run_until(&all[i]->n_online, 2);
    assert_true(send_call(&one, 2, 10));
    run_until(&two.n_messages, 1);
    assert_int_equal(two.last_from, 1);
    assert_true(send_call(&two, 1, 20 * MIB)); /* larger than every buffer on the way */
    run_until(&one.n_messages, 1);
    assert_int_equal(one.last_size, 20 * MIB);
    assert_false(send_call(&one, 1, 10));                  /* to itself */
    assert_false(send_call(&one, 9, 10));                  /* to nobody */
    assert_false(send_call(&one, 2, VQ_MESH_MESSAGE_MAX)); /* with what is around it, too large */
    run_ms(1500); /* time for pings, and for the higher ids to dial if they still wanted to */
    for (size_t i = 0; i < 3; i++) {
        assert_int_equal(all[i]->n_online, 2);
        assert_int_equal(all[i]->n_offline, 0);
    }
    assert_true(vq_mesh_find_peer(one.mesh, 2, &peer));
    assert_true(peer.is_online && peer.since_unix_ms != 0 && peer.round_trip_us > 0);
    assert_int_equal(peer.boot, 12);
    assert_int_equal(peer.feature_level, 3);
    assert_int_equal(peer.applied, 42);
    assert_string_equal(peer.version, "0.1");
    assert_false(vq_mesh_find_peer(one.mesh, 9, &peer));
    for (size_t i = 0; i < 3; i++)
        node_stop(all[i]);
    assert_empty_loop();
}

static void higher_id_dials_when_the_lower_does_not_know_its_address(void **state VQ_UNUSED)
{
    struct node one, two;

    node_start(&one, 1, "127.0.0.1:0", 11);
    node_start(&two, 2, "127.0.0.1:0", 12);
    set_members(&one, one.address, "127.0.0.1:1", NULL);
    set_members(&two, one.address, two.address, NULL);
    run_until(&one.n_online, 1);
    run_until(&two.n_online, 1);
    node_stop(&one);
    run_until(&two.n_offline, 1);
    assert_string_equal(two.reason, "it closed the connection");
    node_stop(&two);
    assert_empty_loop();
}

static void both_dial_at_once_and_one_connection_remains(void **state VQ_UNUSED)
{
    struct node one, two;

    node_start(&one, 1, "127.0.0.1:0", 11);
    node_start(&two, 2, "127.0.0.1:0", 12);
    set_members(&two, one.address, two.address, NULL); /* node 2 waits a second before it dials ... */
    run_ms(985);
    set_members(&one, one.address, two.address, NULL); /* ... and node 1 begins at about the same time */
    run_until(&one.n_online, 1);
    run_until(&two.n_online, 1);
    run_ms(500);
    assert_int_equal(one.n_online, one.n_offline + 1);
    assert_int_equal(two.n_online, two.n_offline + 1);
    assert_true(one.n_online <= 2 && two.n_online <= 2);
    assert_true(send_call(&one, 2, 10));
    assert_true(send_call(&two, 1, 10));
    run_until(&one.n_messages, 1);
    run_until(&two.n_messages, 1);
    node_stop(&one);
    node_stop(&two);
    assert_empty_loop();
}

static void node_that_comes_back_is_dialled_again(void **state VQ_UNUSED)
{
    struct node one, two;
    char address[40];
    struct vq_mesh_peer peer;

    node_start(&one, 1, "127.0.0.1:0", 11);
    node_start(&two, 2, "127.0.0.1:0", 12);
    set_members(&one, one.address, two.address, NULL);
    set_members(&two, one.address, two.address, NULL);
    run_until(&one.n_online, 1);
    memcpy(address, two.address, sizeof(address));
    node_stop(&two);
    run_until(&one.n_offline, 1);
    assert_false(send_call(&one, 2, 10));
    assert_true(vq_mesh_find_peer(one.mesh, 2, &peer));
    assert_false(peer.is_online);
    run_ms(300);
    node_start(&two, 2, address, 13);
    set_members(&two, one.address, two.address, NULL);
    run_until(&one.n_online, 2);
    assert_true(vq_mesh_find_peer(one.mesh, 2, &peer));
    assert_int_equal(peer.boot, 13);
    node_stop(&one);
    node_stop(&two);
    assert_empty_loop();
}

static void removed_member_is_cut_off_from_the_loop_and_stays_out(void **state VQ_UNUSED)
{
    struct node one, two;

    node_start(&one, 1, "127.0.0.1:0", 11);
    node_start(&two, 2, "127.0.0.1:0", 12);
    set_members(&one, one.address, two.address, NULL);
    set_members(&two, one.address, two.address, NULL);
    run_until(&one.n_online, 1);
    run_until(&two.n_online, 1);
    set_members(&one, one.address, NULL, NULL);
    assert_int_equal(one.n_offline, 0); /* not from inside the call */
    assert_false(send_call(&one, 2, 10));
    run_until(&one.n_offline, 1);
    assert_string_equal(one.reason, "it is no longer a member");
    run_until(&two.n_offline, 1);
    run_ms(1500); /* node 2 dials again and is refused */
    assert_int_equal(one.n_online, 1);
    node_stop(&one);
    node_stop(&two);
    assert_empty_loop();
}

static void mesh_may_be_stopped_in_a_callback(void **state VQ_UNUSED)
{
    struct node one, two;

    node_start(&one, 1, "127.0.0.1:0", 11);
    node_start(&two, 2, "127.0.0.1:0", 12);
    one.stops_when_online = true;
    set_members(&one, one.address, two.address, NULL);
    set_members(&two, one.address, two.address, NULL);
    run_until(&two.n_offline, 1);
    assert_null(one.mesh);
    node_stop(&two);
    assert_empty_loop();
}

/* ---- Tests: peers that do not behave ----------------------------------------------------------------------------- */

static bool hears_of_consensus(const struct node *node, bool is_stopped)
{
    struct vq_mesh_peer peer;

    return vq_mesh_find_peer(node->mesh, 2, &peer) && peer.consensus_is_stopped == is_stopped;
}

static void fake_ping(struct fake *fake, bool is_stopped, const char *problem)
{
    Vq__Ping ping = VQ__PING__INIT;
    Vq__Mesh message = VQ__MESH__INIT;

    ping.sequence = 1;
    ping.consensus_stopped = is_stopped;
    ping.consensus_problem = (char *)(uintptr_t)problem;
    message.message_case = VQ__MESH__MESSAGE_PING;
    message.ping = &ping;
    fake_send(fake, &message);
}

static void peer_tells_that_its_consensus_stands_still(void **state VQ_UNUSED)
{
    struct node one;
    struct fake fake;
    struct vq_mesh_peer peer;
    char long_problem[1000];

    memset(long_problem, 'x', sizeof(long_problem) - 1);
    long_problem[sizeof(long_problem) - 1] = '\0';
    node_start(&one, 1, "127.0.0.1:0", 11);
    set_members(&one, one.address, "", NULL);
    fake_dial(&fake, &one, credentials[2], "vq-mesh");
    run_until(&fake.n_ready, 1);
    fake_hello(&fake, 1, 2, cluster_id, 16);
    run_until(&one.n_online, 1);
    assert_true(hears_of_consensus(&one, false));
    fake_ping(&fake, true, "the log\nis \033[31mgone");
    for (int i = 0; i < 50 && !hears_of_consensus(&one, true); i++)
        run_ms(20);
    assert_true(vq_mesh_find_peer(one.mesh, 2, &peer) && peer.is_online && peer.consensus_is_stopped);
    assert_string_equal(peer.consensus_problem, "the log is  [31mgone");
    assert_true(peer.consensus_stopped_since_unix_ms >= peer.since_unix_ms);
    fake_ping(&fake, true, long_problem);
    run_ms(50);
    assert_true(vq_mesh_find_peer(one.mesh, 2, &peer));
    assert_int_equal(strlen(peer.consensus_problem), sizeof(peer.consensus_problem) - 1);
    fake_ping(&fake, false, "");
    for (int i = 0; i < 50 && !hears_of_consensus(&one, false); i++)
        run_ms(20);
    assert_true(hears_of_consensus(&one, false));
    fake_close(&fake);
    node_stop(&one);
    assert_empty_loop();
}

static void silent_peer_is_offline_after_the_silence(void **state VQ_UNUSED)
{
    struct node one;
    struct fake fake;
    uint64_t began;

    node_start(&one, 1, "127.0.0.1:0", 11);
    set_members(&one, one.address, "", NULL);
    fake_dial(&fake, &one, credentials[2], "vq-mesh");
    run_until(&fake.n_ready, 1);
    fake_hello(&fake, 1, 2, cluster_id, 16);
    run_until(&one.n_online, 1);
    began = uv_hrtime();
    run_until(&one.n_offline, 1);
    assert_string_equal(one.reason, "it is silent");
    assert_true(uv_hrtime() - began > UINT64_C(200000000) && uv_hrtime() - began < UINT64_C(3000000000));
    fake_close(&fake);
    node_stop(&one);
    assert_empty_loop();
}

static void own_standstill_is_not_taken_for_the_peers_silence(void **state VQ_UNUSED)
{
    struct node one, two;

    node_start(&one, 1, "127.0.0.1:0", 11);
    node_start(&two, 2, "127.0.0.1:0", 12);
    set_members(&one, one.address, two.address, NULL);
    set_members(&two, one.address, two.address, NULL);
    run_until(&one.n_online, 1);
    run_until(&two.n_online, 1);
    (void)usleep(600 * 1000);
    run_ms(200);
    assert_int_equal(one.n_offline + two.n_offline, 0);
    node_stop(&one);
    node_stop(&two);
    assert_empty_loop();
}

static void wrong_greetings_are_refused(void **state VQ_UNUSED)
{
    const struct {
        uint32_t protocol;
        uint64_t node;
        const uint8_t *cluster;
        size_t cluster_size;
    } bad[] = {
        {2, 2, cluster_id, 16},       {1, 3, cluster_id, 16}, {1, 0, cluster_id, 16},
        {1, 2, other_cluster_id, 16}, {1, 2, cluster_id, 15}, {1, 2, cluster_id, 0},
    };
    struct node one;
    struct fake fake;

    node_start(&one, 1, "127.0.0.1:0", 11);
    set_members(&one, one.address, "", "");
    for (size_t i = 0; i < VQ_N_ELEMENTS(bad); i++) {
        fake_dial(&fake, &one, credentials[2], "vq-mesh");
        run_until(&fake.n_ready, 1);
        fake_hello(&fake, bad[i].protocol, bad[i].node, bad[i].cluster, bad[i].cluster_size);
        run_until(&fake.n_ended, 1);
        assert_int_equal(fake.received, 0); /* not greeted back */
    }
    assert_int_equal(one.n_online, 0);
    node_stop(&one);
    assert_empty_loop();
}

static void bad_messages_end_the_connection_before_and_after_the_greeting(void **state VQ_UNUSED)
{
    Vq__Ping ping = VQ__PING__INIT;
    Vq__Mesh message = VQ__MESH__INIT;
    struct node one;
    struct fake fake;

    message.message_case = VQ__MESH__MESSAGE_PING;
    message.ping = &ping;
    node_start(&one, 1, "127.0.0.1:0", 11);
    set_members(&one, one.address, "", "");
    for (int i = 0; i < 9; i++) {
        bool is_greeted = i >= 5;
        uint64_t began;
        fake_dial(&fake, &one, credentials[2], "vq-mesh");
        run_until(&fake.n_ready, 1);
        began = uv_hrtime();
        if (is_greeted)
            fake_hello(&fake, 1, 2, cluster_id, 16);
        switch (i) {
        case 0:
            fake_send(&fake, &message); /* does not greet */
            break;
        case 1:
            fake_write(&fake, NULL, 0, 4097); /* more than a greeting may be: not waited for */
            break;
        case 2:
            fake_write(&fake, NULL, 0, 0); /* empty: no greeting */
            break;
        case 3:
            fake_write(&fake, "\xff\xff\xff\xff", 4, 4);
            break;
        case 4:
            break; /* says nothing: deadline */
        case 5:
            fake_write(&fake, NULL, 0, VQ_MESH_MESSAGE_MAX + 1);
            break;
        case 6:
            fake_write(&fake, "\x52\xff", 2, 2); /* a call that is cut off */
            break;
        case 7:
            fake_hello(&fake, 1, 2, cluster_id, 16); /* twice */
            break;
        default:
            fake_write(&fake, "GET / HTTP/1.0\r\n", 16, 0x47455420);
        }
        run_until(&fake.n_ended, 1);
        assert_true(i == 4 || uv_hrtime() - began < UINT64_C(280000000)); /* before the deadline of the greeting */
    }
    assert_int_equal(one.n_online, 4);
    assert_int_equal(one.n_offline, 4);
    node_stop(&one);
    assert_empty_loop();
}

static void peer_that_does_not_read_is_cut_off(void **state VQ_UNUSED)
{
    struct node one;
    struct fake fake;
    unsigned sent = 0;

    node_start(&one, 1, "127.0.0.1:0", 11);
    set_members(&one, one.address, "", NULL);
    fake_dial(&fake, &one, credentials[2], "vq-mesh");
    run_until(&fake.n_ready, 1);
    fake_hello(&fake, 1, 2, cluster_id, 16);
    run_until(&one.n_online, 1);
    vq_channel_pause(fake.channel);
    while (one.n_offline == 0 && sent < 20) {
        sent += send_call(&one, 2, 10 * MIB);
        run_ms(5);
    }
    assert_int_equal(one.n_offline, 1);
    assert_true(sent == 7); /* 64 MiB */
    assert_int_equal(vq_mesh_queued(one.mesh, 2), 0);
    fake_close(&fake);
    node_stop(&one);
    assert_empty_loop();
}

/* ---- Tests: who may come in -------------------------------------------------------------------------------------- */

static void connections_are_told_apart_by_their_protocol(void **state VQ_UNUSED)
{
    struct node one;
    struct fake fake;
    struct vq_tls_credentials *nobody = test_credentials_nobody(&authority);
    const struct {
        const char *protocol;
        struct vq_tls_credentials *as;
        unsigned n_raft, n_join;
        uint64_t from;
    } cases[] = {
        {"vq-raft", credentials[2], 1, 0, 2},                                       /* a member */
        {"vq-raft", nobody, 0, 0, 0},         {"vq-raft", credentials[0], 0, 0, 0}, /* of the same authority, but no
                                                                                       node's */
        {"vq-raft", credentials[3], 0, 0, 0},                                       /* a node that is not a member */
        {"vq-raft", credentials[1], 0, 0, 0},                                       /* our own */
        {"vq-join", nobody, 0, 1, 0},         {"vq-join", credentials[2], 0, 1, 2},  {"vq-mesh", nobody, 0, 0, 0},
        {"vq-mesh", credentials[3], 0, 0, 0}, {"http/1.1", credentials[2], 0, 0, 0},
    };

    node_start(&one, 1, "127.0.0.1:0", 11);
    set_members(&one, one.address, "", NULL);
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        one.n_raft = one.n_join = 0;
        one.last_from = 0;
        fake_dial(&fake, &one, cases[i].as, cases[i].protocol);
        run_until(&fake.n_ended, 1);
        run_ms(10);
        assert_int_equal(one.n_raft, cases[i].n_raft);
        assert_int_equal(one.n_join, cases[i].n_join);
        assert_int_equal(one.last_from, cases[i].from);
    }
    assert_int_equal(one.n_online, 0);
    vq_tls_credentials_free(nobody);
    node_stop(&one);
    assert_empty_loop();
}

static void former_member_is_told_that_it_was_removed(void **state VQ_UNUSED)
{
    struct node one, two;

    node_start(&one, 1, "127.0.0.1:0", 11);
    node_start(&two, 2, "127.0.0.1:0", 22);
    set_members(&one, one.address, NULL, NULL);
    set_members(&two, one.address, two.address, NULL);
    run_until(&two.n_removed, 1);
    assert_int_equal(two.last_from, 1);
    assert_int_equal(one.n_online + two.n_online + one.n_removed, 0);
    node_stop(&one);
    node_stop(&two);
    assert_empty_loop();
}

static void strangers_are_few_and_have_a_deadline(void **state VQ_UNUSED)
{
    struct node one;
    struct fake fake;
    int fds[8];
    char byte;

    node_start(&one, 1, "127.0.0.1:0", 11);
    set_members(&one, one.address, "", NULL);
    for (int i = 0; i < 8; i++)
        fds[i] = dial_raw(&one);
    run_ms(50);
    for (int i = 0; i < 8; i++) /* the first four may try, the others are sent away at once */
        assert_int_equal(recv(fds[i], &byte, 1, MSG_DONTWAIT), i < 4 ? -1 : 0);
    run_ms(400);
    for (int i = 0; i < 8; i++) {
        while (recv(fds[i], &byte, 1, MSG_DONTWAIT) > 0) /* the alert */
            ;
        assert_int_equal(recv(fds[i], &byte, 1, MSG_DONTWAIT), 0);
        (void)close(fds[i]);
    }
    fake_dial(&fake, &one, credentials[2], "vq-mesh"); /* and then a member comes through */
    run_until(&fake.n_ready, 1);
    fake_hello(&fake, 1, 2, cluster_id, 16);
    run_until(&one.n_online, 1);
    fake_close(&fake);
    run_until(&one.n_offline, 1);
    node_stop(&one);
    assert_empty_loop();
}

static void taken_port_is_tried_again(void **state VQ_UNUSED)
{
    struct node one, two;
    struct vq_error err = VQ_ERROR_INIT;

    node_start(&one, 1, "127.0.0.1:0", 11);
    const char *const where[] = {one.address, NULL};
    const struct vq_mesh_options options = {.node_id = 2,
                                            .node_name = "node2",
                                            .version = "0.1",
                                            .cluster_id = cluster_id,
                                            .credentials = credentials[2],
                                            .listen = where};
    two = (struct node){.id = 2};
    assert_int_equal(vq_mesh_start(&loop, &options, &node_callbacks, &two, &two.mesh, &err), 0);
    run_until(&two.n_not_listening, 1);
    assert_int_equal(vq_mesh_port(two.mesh), 0);
    node_stop(&one);
    run_until(&two.n_listening, 1);
    assert_int_equal(two.n_not_listening, 1);
    assert_true(vq_mesh_port(two.mesh) != 0);
    node_stop(&two);
    assert_empty_loop();
}

static void unusable_address_to_listen_on_is_an_error(void **state VQ_UNUSED)
{
    struct vq_error err = VQ_ERROR_INIT;
    const char *const where[] = {"node1:16515", NULL};
    const struct vq_mesh_options options = {.node_id = 2,
                                            .node_name = "node2",
                                            .version = "0.1",
                                            .cluster_id = cluster_id,
                                            .credentials = credentials[2],
                                            .listen = where};
    struct vq_mesh *mesh = NULL;

    assert_int_equal(vq_mesh_start(&loop, &options, &node_callbacks, NULL, &mesh, &err), -1);
    assert_string_equal(err.message, "address to listen on: 'node1' is not a numeric address");
    assert_null(mesh);
}

static int set_up(void **state VQ_UNUSED)
{
    vq_log_level = VQ_LOG_ERROR;
    test_authority_make(&authority);
    for (uint64_t i = 0; i < 4; i++)
        credentials[i] = test_credentials(&authority, i);
    return uv_loop_init(&loop);
}

static int tear_down(void **state VQ_UNUSED)
{
    for (size_t i = 0; i < 4; i++)
        vq_tls_credentials_free(credentials[i]);
    test_authority_done(&authority);
    return uv_loop_close(&loop);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(nodes_find_each_other_and_talk, be_generous),
        cmocka_unit_test_setup(higher_id_dials_when_the_lower_does_not_know_its_address, be_generous),
        cmocka_unit_test_setup(both_dial_at_once_and_one_connection_remains, be_generous),
        cmocka_unit_test_setup(node_that_comes_back_is_dialled_again, be_generous),
        cmocka_unit_test_setup(removed_member_is_cut_off_from_the_loop_and_stays_out, be_generous),
        cmocka_unit_test_setup(mesh_may_be_stopped_in_a_callback, be_generous),
        cmocka_unit_test_setup(peer_tells_that_its_consensus_stands_still, be_strict),
        cmocka_unit_test_setup(silent_peer_is_offline_after_the_silence, be_strict),
        cmocka_unit_test_setup(own_standstill_is_not_taken_for_the_peers_silence, be_strict),
        cmocka_unit_test_setup(wrong_greetings_are_refused, be_generous),
        cmocka_unit_test_setup(bad_messages_end_the_connection_before_and_after_the_greeting, be_strict),
        cmocka_unit_test_setup(peer_that_does_not_read_is_cut_off, be_generous),
        cmocka_unit_test_setup(connections_are_told_apart_by_their_protocol, be_generous),
        cmocka_unit_test_setup(former_member_is_told_that_it_was_removed, be_generous),
        cmocka_unit_test_setup(strangers_are_few_and_have_a_deadline, be_strict),
        cmocka_unit_test_setup(taken_port_is_tried_again, be_generous),
        cmocka_unit_test_setup(unusable_address_to_listen_on_is_an_error, be_generous),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
