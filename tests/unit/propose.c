/* Proposals on their way, with consensus and mesh played by the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "node/cluster/cluster_state.h"
#include "node/cluster/level.h"
#include "node/mesh/mesh.h"
#include "node/mesh/propose.h"

enum { SELF = 2, LEADER = 1, OTHER = 3 };

static struct {
    struct vq_daemon daemon;
    struct vq_cluster cluster;
    uv_loop_t loop;
    bool has_quorum, is_reachable;
    /* what the code sent and asked */
    unsigned n_sent;
    uint64_t sent_to, sent_id;
    uint8_t sent_request[2][16];
    Vq__Proposed *proposed; /* this node's answer as the leader */
    uint64_t proposed_to;
    vq_raft_propose_cb raft_cb;
    void *raft_data;
    unsigned n_raft;
    /* what the caller heard */
    unsigned n_told;
    enum vq_raft_outcome outcome;
    struct vq_result result;
    struct vq_error err;
} lab;

/* ---- The others ---- */

bool vq_propose_has_quorum(const struct vq_daemon *daemon)
{
    (void)daemon;
    return lab.has_quorum;
}

void vq_cluster_voters_text(const struct vq_daemon *daemon, char *buffer, size_t size)
{
    (void)daemon;
    (void)snprintf(buffer, size, "1 of 3 voters reachable (missing: node1 since 14:02:11)");
}

int vq_level_check(const struct vq_daemon *daemon, const Vq__Command *command, struct vq_error *err)
{
    (void)daemon;
    if (command->change_case != VQ__COMMAND__CHANGE_NODE_DRAIN)
        return 0;
    return vq_error_set_from(err, VIR_FROM_NONE, VIR_ERR_OPERATION_UNSUPPORTED, "node3 has feature level 1");
}

bool vq_mesh_send(struct vq_mesh *mesh, uint64_t node, const Vq__Mesh *message)
{
    (void)mesh;
    if (!lab.is_reachable)
        return false;
    if (message->message_case == VQ__MESH__MESSAGE_PROPOSE) {
        Vq__Command *command =
            vq__command__unpack(NULL, message->propose->command.len, message->propose->command.data);
        assert_non_null(command);
        assert_int_equal(command->proposer, SELF);
        assert_true(command->time_ms != 0);
        memcpy(lab.sent_request[lab.n_sent % 2], command->request_id.data, 16);
        vq__command__free_unpacked(command, NULL);
        lab.n_sent++;
        lab.sent_to = node;
        lab.sent_id = message->propose->id;
    } else if (message->message_case == VQ__MESH__MESSAGE_PROPOSED) {
        uint8_t bytes[2048];
        size_t size = vq__proposed__pack(message->proposed, bytes);
        vq__proposed__free_unpacked(lab.proposed, NULL);
        lab.proposed = vq__proposed__unpack(NULL, size, bytes);
        lab.proposed_to = node;
    }
    return true;
}

void vq_raft_propose(struct vq_raft *raft, const void *command, size_t length, uint64_t timeout_ms,
                     vq_raft_propose_cb cb, void *data)
{
    (void)raft;
    (void)command;
    assert_true(length > 0 && timeout_ms > 0);
    lab.n_raft++;
    lab.raft_cb = cb;
    lab.raft_data = data;
}

static void fake_random(void *bytes, size_t length)
{
    static uint8_t next;

    memset(bytes, ++next, length);
}

static uint64_t fake_time(void)
{
    return 1700000000000;
}

/* ---- The set-up ---- */

static int set_up(void **state)
{
    (void)state;
    memset(&lab, 0, sizeof(lab));
    lab.has_quorum = lab.is_reachable = true;
    assert_int_equal(uv_loop_init(&lab.loop), 0);
    lab.daemon.loop = &lab.loop;
    lab.daemon.node_id = SELF;
    lab.daemon.cluster = &lab.cluster;
    lab.daemon.mesh = (struct vq_mesh *)&lab;
    lab.daemon.raft = (struct vq_raft *)&lab;
    lab.daemon.host.random = fake_random;
    lab.daemon.host.time_ms = fake_time;
    lab.daemon.raft_status.is_running = true;
    lab.daemon.raft_status.leader = LEADER;
    lab.cluster.daemon = &lab.daemon;
    lab.cluster.proposals = vq_proposals_new(&lab.daemon);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    vq_proposals_free(lab.cluster.proposals, NULL, NULL);
    (void)uv_run(&lab.loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&lab.loop), 0);
    vq__proposed__free_unpacked(lab.proposed, NULL);
    return 0;
}

static void told(enum vq_raft_outcome outcome, const struct vq_result *result, const struct vq_error *err, void *data)
{
    (void)data;
    lab.n_told++;
    lab.outcome = outcome;
    lab.result = *result;
    lab.err = err == NULL ? VQ_ERROR_INIT : *err;
}

static void propose(uint64_t timeout_ms)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__NodeRemove change = VQ__NODE_REMOVE__INIT;

    change.id = 9;
    command.change_case = VQ__COMMAND__CHANGE_NODE_REMOVE;
    command.node_remove = &change;
    vq_propose(&lab.daemon, &command, timeout_ms, told, NULL);
    assert_int_equal(lab.n_told, 0); /* never from inside */
}

/* Let the loop turn for that long. */
static void turn(uint64_t ms)
{
    uint64_t until;

    uv_update_time(&lab.loop);
    until = uv_now(&lab.loop) + ms;
    do
        (void)uv_run(&lab.loop, UV_RUN_NOWAIT);
    while (uv_now(&lab.loop) < until);
    /* On a busy machine the time may have passed inside of the poll: what became due there still has to run. */
    for (int i = 0; i < 3; i++)
        (void)uv_run(&lab.loop, UV_RUN_NOWAIT);
}

static void answer(uint64_t node, uint64_t index, int code)
{
    Vq__Proposed proposed = VQ__PROPOSED__INIT;
    Vq__Result result = VQ__RESULT__INIT;

    result.index = index;
    result.code = code;
    result.number = 77;
    result.message = code == 0 ? "" : "refused";
    proposed.id = lab.sent_id;
    proposed.result = &result;
    vq_proposals_answered(lab.cluster.proposals, node, &proposed);
}

/* ---- The tests ---- */

static void the_answer_waits_until_this_node_has_applied_it(void **state)
{
    (void)state;
    propose(0);
    assert_int_equal(lab.sent_to, LEADER);
    answer(LEADER, 10, 0);
    turn(5);
    assert_int_equal(lab.n_told, 0);
    vq_proposals_applied(lab.cluster.proposals, 9);
    turn(5);
    assert_int_equal(lab.n_told, 0);
    vq_proposals_applied(lab.cluster.proposals, 10);
    turn(5);
    assert_int_equal(lab.n_told, 1);
    assert_int_equal(lab.outcome, VQ_RAFT_APPLIED);
    assert_int_equal(lab.result.number, 77);
}

static void a_refusal_of_apply_is_an_outcome_like_success(void **state)
{
    (void)state;
    lab.daemon.applied = 10;
    propose(0);
    answer(LEADER, 10, VIR_ERR_OPERATION_FAILED);
    turn(5);
    assert_int_equal(lab.outcome, VQ_RAFT_APPLIED);
    assert_int_equal(lab.result.code, VIR_ERR_OPERATION_FAILED);
    assert_string_equal(lab.result.message, "refused");
}

static void a_leader_lost_on_the_way_means_the_same_request_id_again(void **state)
{
    (void)state;
    propose(0);
    vq_proposals_node_lost(lab.cluster.proposals, LEADER);
    lab.daemon.raft_status.leader = OTHER;
    vq_proposals_status_changed(lab.cluster.proposals);
    assert_int_equal(lab.n_sent, 2);
    assert_int_equal(lab.sent_to, OTHER);
    assert_memory_equal(lab.sent_request[0], lab.sent_request[1], 16);
    answer(LEADER, 5, 0); /* late, from the wrong one: not listened to */
    turn(5);
    assert_int_equal(lab.n_told, 0);
    lab.daemon.applied = 6;
    answer(OTHER, 6, 0);
    turn(5);
    assert_int_equal(lab.n_told, 1);
    assert_int_equal(lab.result.index, 6);
}

static void a_silent_leader_that_is_deposed_is_not_waited_for(void **state)
{
    (void)state;
    propose(0);
    lab.daemon.raft_status.leader = OTHER;
    turn(60);
    assert_int_equal(lab.sent_to, OTHER);
}

static void not_the_leader_is_asked_again(void **state)
{
    Vq__Proposed proposed = VQ__PROPOSED__INIT;

    (void)state;
    propose(0);
    proposed.id = lab.sent_id;
    proposed.not_leader = true;
    vq_proposals_answered(lab.cluster.proposals, LEADER, &proposed);
    turn(200);
    assert_true(lab.n_sent >= 2);
    assert_int_equal(lab.n_told, 0);
}

static void without_a_quorum_it_is_refused_at_once_naming_the_missing(void **state)
{
    (void)state;
    lab.has_quorum = false;
    lab.daemon.raft_status.leader = 0;
    propose(0);
    turn(5);
    assert_int_equal(lab.n_told, 1);
    assert_int_equal(lab.outcome, VQ_RAFT_REFUSED);
    assert_int_equal(lab.err.code, VIR_ERR_OPERATION_INVALID);
    assert_non_null(strstr(lab.err.message, "1 of 3 voters reachable (missing: node1 since"));
    assert_non_null(strstr(lab.err.message, "virtquorum status --why"));
    assert_int_equal(lab.n_sent, 0);
}

static void a_command_that_a_member_does_not_know_is_not_proposed(void **state)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__NodeDrain change = VQ__NODE_DRAIN__INIT;

    (void)state;
    command.change_case = VQ__COMMAND__CHANGE_NODE_DRAIN;
    command.node_drain = &change;
    vq_propose(&lab.daemon, &command, 0, told, NULL);
    turn(0);
    assert_int_equal(lab.n_told, 1);
    assert_int_equal(lab.n_sent, 0);
    assert_int_equal(lab.outcome, VQ_RAFT_REFUSED);
    assert_int_equal(lab.err.code, VIR_ERR_OPERATION_UNSUPPORTED);
}

static void what_may_have_reached_a_log_is_unknown_not_refused(void **state)
{
    (void)state;
    propose(0);
    vq_proposals_node_lost(lab.cluster.proposals, LEADER);
    lab.daemon.raft_status.leader = 0;
    lab.has_quorum = false;
    turn(60);
    assert_int_equal(lab.outcome, VQ_RAFT_UNKNOWN);
    assert_int_equal(lab.err.code, VIR_ERR_OPERATION_TIMEOUT);
    assert_non_null(strstr(lab.err.message, "unknown"));
}

static void the_deadline_ends_every_wait(void **state)
{
    (void)state;
    propose(50); /* sent, no answer */
    turn(120);
    assert_int_equal(lab.outcome, VQ_RAFT_UNKNOWN);
    lab.n_told = 0;
    lab.daemon.raft_status.leader = 0; /* never sent */
    propose(50);
    turn(120);
    assert_int_equal(lab.outcome, VQ_RAFT_REFUSED);
    lab.n_told = 0;
    lab.daemon.raft_status.leader = LEADER; /* done there, not applied here */
    propose(50);
    answer(LEADER, 100, 0);
    turn(120);
    assert_int_equal(lab.outcome, VQ_RAFT_APPLIED);
}

static void the_leader_proposes_itself(void **state)
{
    struct vq_result result = {.index = 4, .number = 5};

    (void)state;
    lab.daemon.raft_status.leader = SELF;
    lab.daemon.raft_status.is_leader = true;
    lab.daemon.applied = 4;
    propose(0);
    assert_int_equal(lab.n_raft, 1);
    lab.raft_cb(VQ_RAFT_APPLIED, &result, NULL, lab.raft_data);
    turn(5);
    assert_int_equal(lab.n_told, 1);
    assert_int_equal(lab.result.number, 5);
}

static void what_waits_when_the_node_changes_its_cluster_goes_to_no_other_log(void **state)
{
    (void)state;
    propose(0); /* at the leader: it may have put it into its log */
    assert_int_equal(lab.n_sent, 1);
    vq_proposals_cluster_changed(lab.cluster.proposals);
    turn(5);
    assert_int_equal(lab.n_told, 1);
    assert_int_equal(lab.outcome, VQ_RAFT_UNKNOWN);
    assert_non_null(strstr(lab.err.message, "another cluster"));

    lab.n_told = 0; /* in the log of this node itself, which leads */
    lab.daemon.raft_status.leader = SELF;
    lab.daemon.raft_status.is_leader = true;
    propose(0);
    assert_int_equal(lab.n_raft, 1);
    vq_proposals_cluster_changed(lab.cluster.proposals);
    lab.raft_cb(VQ_RAFT_NOT_LEADER, NULL, NULL, lab.raft_data); /* what the log that was stopped says last */
    turn(5);
    assert_int_equal(lab.n_told, 1);
    assert_int_equal(lab.outcome, VQ_RAFT_UNKNOWN);

    lab.n_told = 0; /* sent to one that was lost: it waits to be asked again, and is not */
    lab.daemon.raft_status.leader = LEADER;
    lab.daemon.raft_status.is_leader = false;
    propose(0);
    vq_proposals_node_lost(lab.cluster.proposals, LEADER);
    vq_proposals_cluster_changed(lab.cluster.proposals);
    turn(5);
    assert_int_equal(lab.outcome, VQ_RAFT_UNKNOWN);

    lab.n_told = 0; /* never sent */
    lab.daemon.raft_status.leader = 0;
    propose(0);
    vq_proposals_cluster_changed(lab.cluster.proposals);
    turn(5);
    assert_int_equal(lab.n_told, 1);
    assert_int_equal(lab.outcome, VQ_RAFT_REFUSED);
    assert_non_null(strstr(lab.err.message, "nothing was changed"));

    lab.n_told = 0; /* done there, not applied here */
    lab.daemon.raft_status.leader = LEADER;
    propose(0);
    answer(LEADER, 100, 0);
    vq_proposals_cluster_changed(lab.cluster.proposals);
    turn(5);
    assert_int_equal(lab.outcome, VQ_RAFT_APPLIED);

    unsigned n_sent = lab.n_sent, n_raft = lab.n_raft; /* and the new leader hears of none */
    vq_proposals_status_changed(lab.cluster.proposals);
    turn(120);
    assert_int_equal(lab.n_sent, n_sent);
    assert_int_equal(lab.n_raft, n_raft);
}

static size_t pack_command(uint64_t proposer, size_t id_length, uint8_t *bytes)
{
    static uint8_t request_id[16] = {7};
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__NodeRemove change = VQ__NODE_REMOVE__INIT;

    command.proposer = proposer;
    command.request_id = (ProtobufCBinaryData){id_length, request_id};
    command.change_case = VQ__COMMAND__CHANGE_NODE_REMOVE;
    command.node_remove = &change;
    return vq__command__pack(&command, bytes);
}

static void a_node_proposes_in_its_own_name_only(void **state)
{
    uint8_t bytes[256];
    Vq__Propose propose_message = VQ__PROPOSE__INIT;
    const struct {
        uint64_t proposer;
        size_t id_length;
    } bad[] = {{LEADER, 16}, {SELF, 16}, {OTHER, 15}, {OTHER, 0}};

    (void)state;
    lab.daemon.raft_status.is_leader = true;
    for (size_t i = 0; i < VQ_N_ELEMENTS(bad); i++) {
        propose_message.id = 40 + i;
        propose_message.command = (ProtobufCBinaryData){pack_command(bad[i].proposer, bad[i].id_length, bytes), bytes};
        vq_proposals_received(lab.cluster.proposals, OTHER, &propose_message);
        assert_int_equal(lab.n_raft, 0);
        assert_int_equal(lab.proposed->id, 40 + i);
        assert_int_equal(lab.proposed->result->code, VIR_ERR_INVALID_ARG);
        assert_int_equal(lab.proposed->result->index, 0);
    }
    propose_message.command = (ProtobufCBinaryData){3, (uint8_t *)"\xff\xff\xff"};
    vq_proposals_received(lab.cluster.proposals, OTHER, &propose_message);
    assert_int_equal(lab.n_raft, 0);
}

static void another_nodes_proposal_is_done_and_answered(void **state)
{
    uint8_t bytes[256];
    Vq__Propose propose_message = VQ__PROPOSE__INIT;
    struct vq_result result = {.index = 8, .code = VIR_ERR_OPERATION_FAILED, .message = "taken"};

    (void)state;
    lab.daemon.raft_status.is_leader = true;
    propose_message.id = 41;
    propose_message.command = (ProtobufCBinaryData){pack_command(OTHER, 16, bytes), bytes};
    vq_proposals_received(lab.cluster.proposals, OTHER, &propose_message);
    assert_int_equal(lab.n_raft, 1);
    lab.raft_cb(VQ_RAFT_APPLIED, &result, NULL, lab.raft_data);
    assert_int_equal(lab.proposed_to, OTHER);
    assert_int_equal(lab.proposed->id, 41);
    assert_string_equal(lab.proposed->result->message, "taken");
    lab.daemon.raft_status.is_leader = false;
    vq_proposals_received(lab.cluster.proposals, OTHER, &propose_message);
    assert_true(lab.proposed->not_leader);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(the_answer_waits_until_this_node_has_applied_it),
        TEST(a_refusal_of_apply_is_an_outcome_like_success),
        TEST(a_leader_lost_on_the_way_means_the_same_request_id_again),
        TEST(a_silent_leader_that_is_deposed_is_not_waited_for),
        TEST(not_the_leader_is_asked_again),
        TEST(without_a_quorum_it_is_refused_at_once_naming_the_missing),
        TEST(a_command_that_a_member_does_not_know_is_not_proposed),
        TEST(what_may_have_reached_a_log_is_unknown_not_refused),
        TEST(the_deadline_ends_every_wait),
        TEST(the_leader_proposes_itself),
        TEST(what_waits_when_the_node_changes_its_cluster_goes_to_no_other_log),
        TEST(a_node_proposes_in_its_own_name_only),
        TEST(another_nodes_proposal_is_done_and_answered),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
