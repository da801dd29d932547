/* A domain moves to another node: what clients are told and in which order, what drivers are told, what is left of reports. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <libvirt/libvirt.h>

#include "node/client/events.h"
#include "node/client/session.h"
#include "node/publish.h"
#include "proto/gen/remote.h"
#include "tests/unit/fake_client.h"
#include "tests/unit/fake_node.h"

/* This node is 1. */
enum { DOMAIN = 1, SELF = 1, B = 2, C = 3 };

static struct fake_node node;
static struct fake_client client; /* sees the whole cluster */
static struct fake_client local;  /* sees this node alone */

static uint64_t run, moving_run;
static int32_t id;

static const uint8_t *uuid_of(void)
{
    static uint8_t uuid[16];

    memset(uuid, DOMAIN, sizeof(uuid));
    uuid[15] = 0xee;
    return uuid;
}

static ProtobufCBinaryData uuid_bytes(void)
{
    return (ProtobufCBinaryData){.data = (uint8_t *)uuid_of(), .len = 16};
}

/* ---- Commands ---- */

static struct vq_domain_head head_of(void)
{
    struct vq_store_view *view;
    struct vq_domain_head copy = {0};

    assert_int_equal(vq_store_view_begin(node.daemon.store, &view, NULL), 0);
    const struct vq_domain_head *head = vq_store_domain_find(view, uuid_of());
    assert_non_null(head);
    memcpy(&copy, head, sizeof(copy));
    vq_store_view_end(view);
    return copy;
}

static void report_from(uint64_t owner, uint64_t of_run, int state, uint32_t event, uint32_t detail, uint64_t sequence)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainState report = VQ__DOMAIN_STATE__INIT;
    Vq__DomainEvent told = VQ__DOMAIN_EVENT__INIT, *list[1] = {&told};

    told.event = event;
    told.detail = detail;
    report.uuid = uuid_bytes();
    report.node = owner;
    report.run = of_run;
    report.id = id;
    report.state = (uint32_t)state;
    report.events = list;
    report.n_events = 1;
    report.mesh_sequence = sequence;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_STATE;
    command.domain_state = &report;
    assert_int_equal(fake_apply(&node, &command), 0);
}

static void start_on(uint64_t owner)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainRun claim = VQ__DOMAIN_RUN__INIT;
    struct vq_result result;

    fake_define(&node, "guest", DOMAIN, owner);
    claim.uuid = uuid_bytes();
    claim.node = owner;
    claim.if_generation = 1;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_RUN;
    command.domain_run = &claim;
    assert_int_equal(fake_apply_result(&node, &command, &result), 0);
    run = result.number;
    id = result.id;
    report_from(owner, run, VIR_DOMAIN_RUNNING, VIR_DOMAIN_EVENT_STARTED, 0, 0);
}

static void move(uint64_t to)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainMove begin = VQ__DOMAIN_MOVE__INIT;
    struct vq_domain_head head = head_of();
    struct vq_result result;

    begin.uuid = uuid_bytes();
    begin.from = head.owner;
    begin.to = to;
    begin.if_generation = head.generation;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_MOVE;
    command.domain_move = &begin;
    assert_int_equal(fake_apply_result(&node, &command, &result), 0);
    moving_run = result.number;
}

static void end_move(uint64_t to, bool commit, Vq__DomainMoveEnd__Keep keep)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainMoveEnd end = VQ__DOMAIN_MOVE_END__INIT;

    end.uuid = uuid_bytes();
    end.to = to;
    end.run = moving_run;
    end.commit = commit;
    end.keep = keep;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_MOVE_END;
    command.domain_move_end = &end;
    assert_int_equal(fake_apply(&node, &command), 0);
}

static void commit(uint64_t to)
{
    end_move(to, true, VQ__DOMAIN_MOVE_END__KEEP__KEEP_AS_IS);
}

static struct vq_state_report own_report(uint64_t of_run, uint8_t state, uint8_t event, uint8_t detail)
{
    struct vq_state_report report = {.run = of_run, .id = id, .state = state, .n_events = 1};

    memcpy(report.uuid, uuid_of(), sizeof(report.uuid));
    report.events[0].event = event;
    report.events[0].detail = detail;
    return report;
}

static void publish(uint64_t of_run, uint8_t state, uint8_t event, uint8_t detail)
{
    struct vq_state_report report = own_report(of_run, state, event, detail);

    node.daemon.host.publish(&vq_qemu_driver, &report);
}

static bool nothing_is_pending(void *data)
{
    (void)data;
    return vq_overlay_pending(node.daemon.overlay) == 0;
}

/* ---- Clients ---- */

static void subscribe(struct fake_client *who)
{
    struct vq_remote_connect_domain_event_callback_register_any_args args = {.eventID = VIR_DOMAIN_EVENT_ID_LIFECYCLE};
    struct vq_remote_connect_domain_event_callback_register_any_ret ret = {0};

    assert_int_equal(fake_client_ask(who, VQ_REMOTE_CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY,
                                     &vq_xdr_remote_connect_domain_event_callback_register_any_args, &args,
                                     &vq_xdr_remote_connect_domain_event_callback_register_any_ret, &ret, NULL),
                     0);
}

static void expect(struct fake_client *who, int event, int detail)
{
    struct vq_remote_domain_event_callback_lifecycle_msg msg = {0};
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    const struct vq_frame *frame = fake_client_next(who);

    assert_int_equal(frame->procedure, VQ_REMOTE_DOMAIN_EVENT_CALLBACK_LIFECYCLE);
    assert_int_equal(vq_xdr_decode(&vq_xdr_remote_domain_event_callback_lifecycle_msg, frame->payload,
                                   frame->payload_length, arena, &msg, NULL, NULL),
                     0);
    assert_int_equal(msg.msg.event, event);
    assert_int_equal(msg.msg.detail, detail);
}

static void expect_silence(struct fake_client *who)
{
    assert_false(fake_client_hears(who, 40));
}

static int start(void **state)
{
    (void)state;
    vq_qemu_driver.n_rows = 0;
    fake_node_start(&node);
    fake_client_connect(&client, &node, "lrun/libvirt-sock");
    fake_client_open(&client, "qemu:///system");
    fake_client_connect(&local, &node, "run/node/libvirt-sock");
    fake_client_open(&local, "");
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fake_client_close(&local);
    fake_client_close(&client);
    fake_node_stop(&node);
    return 0;
}

static void subscribe_both(void)
{
    subscribe(&client);
    subscribe(&local);
}

/* ---- Events ---- */

static void a_guest_that_leaves_is_stopped_here_and_goes_on_in_the_cluster(void **state)
{
    (void)state;
    start_on(SELF);
    subscribe_both();
    move(B);
    publish(run, VIR_DOMAIN_PAUSED, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED);
    commit(B);
    report_from(B, moving_run, VIR_DOMAIN_RUNNING, VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_MIGRATED, 0);
    expect(&client, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED);
    expect(&client, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED);
    expect(&client, VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_MIGRATED);
    expect_silence(&client);
    expect(&local, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED);
    expect(&local, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED);
    expect_silence(&local);
}

static void a_guest_that_comes_is_started_here(void **state)
{
    (void)state;
    start_on(B);
    subscribe_both();
    move(SELF);
    report_from(B, run, VIR_DOMAIN_PAUSED, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED, 0);
    commit(SELF);
    publish(moving_run, VIR_DOMAIN_RUNNING, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_MIGRATED);
    expect(&client, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED);
    expect(&client, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED);
    expect(&client, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_MIGRATED);
    expect_silence(&client);
    expect(&local, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_MIGRATED);
    expect_silence(&local);
}

/* The old owner's report waits for an event of the mesh that comes late. */
static void the_new_owner_is_told_of_after_the_old_one(void **state)
{
    (void)state;
    start_on(B);
    subscribe_both();
    move(C);
    report_from(B, run, VIR_DOMAIN_PAUSED, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED, 9);
    commit(C);
    report_from(C, moving_run, VIR_DOMAIN_RUNNING, VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_MIGRATED, 0);
    expect_silence(&client);
    uint64_t begin = uv_now(&node.loop);
    expect(&client, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED);
    expect(&client, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED);
    expect(&client, VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_MIGRATED);
    assert_in_range(uv_now(&node.loop) - begin, 0, VQ_EVENT_WAIT_MS + 1000);
    expect_silence(&local);
}

/* The same when the new owner is this node, whose own reports wait for nothing. */
static void what_the_old_owner_did_is_told_before_the_guest_is_ours(void **state)
{
    (void)state;
    start_on(B);
    subscribe_both();
    move(SELF);
    report_from(B, run, VIR_DOMAIN_PAUSED, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED, 9);
    expect_silence(&client);
    commit(SELF);
    publish(moving_run, VIR_DOMAIN_RUNNING, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_MIGRATED);
    expect(&client, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED);
    expect(&client, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED);
    expect(&client, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_MIGRATED);
}

static void a_guest_that_wanders_is_told_of_in_the_order_of_the_log(void **state)
{
    (void)state;
    start_on(B);
    subscribe(&client);
    report_from(B, run, VIR_DOMAIN_PAUSED, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_PAUSED, 9);
    for (int i = 0; i < 2; i++) {
        move(C);
        commit(C);
        report_from(C, moving_run, VIR_DOMAIN_RUNNING, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_MIGRATED, 9);
        move(B);
        commit(B);
        report_from(B, moving_run, VIR_DOMAIN_RUNNING, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_MIGRATED, 9);
    }
    expect(&client, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_PAUSED);
    for (int i = 0; i < 4; i++) {
        expect(&client, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED);
        expect(&client, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_MIGRATED);
    }
    expect_silence(&client);
}

static void a_cancelled_move_is_no_event(void **state)
{
    (void)state;
    start_on(SELF);
    subscribe_both();
    move(B);
    end_move(B, false, VQ__DOMAIN_MOVE_END__KEEP__KEEP_AS_IS);
    expect_silence(&client);
    expect_silence(&local);
}

static void what_the_commit_defines_is_told_after_the_stop(void **state)
{
    (void)state;
    start_on(B);
    subscribe_both();
    move(SELF);
    end_move(SELF, true, VQ__DOMAIN_MOVE_END__KEEP__KEEP_TRANSIENT);
    expect(&client, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED);
    expect(&client, VIR_DOMAIN_EVENT_UNDEFINED, VIR_DOMAIN_EVENT_UNDEFINED_REMOVED);
    publish(moving_run, VIR_DOMAIN_RUNNING, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_MIGRATED);
    expect(&client, VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_MIGRATED);
    fake_node_run_until(&node, nothing_is_pending, NULL);
    move(B);
    end_move(B, true, VQ__DOMAIN_MOVE_END__KEEP__KEEP_PERSISTENT);
    expect(&client, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED);
    expect(&client, VIR_DOMAIN_EVENT_DEFINED, VIR_DOMAIN_EVENT_DEFINED_ADDED);
}

/* ---- Reports and what is shown ---- */

static int state_here(void)
{
    struct vq_domain_info info;
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);

    assert_true(node.daemon.host.domain_find(uuid_of(), false, arena, &info));
    return info.state;
}

static void reports_of_the_old_owner_end_with_its_ownership(void **state)
{
    (void)state;
    start_on(SELF);
    move(B);
    fake_cluster.has_quorum = false;
    publish(run, VIR_DOMAIN_PAUSED, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED);
    publish(run, VIR_DOMAIN_CRASHED, VIR_DOMAIN_EVENT_CRASHED, 0);
    assert_int_equal(state_here(), VIR_DOMAIN_CRASHED);
    commit(B);
    report_from(B, moving_run, VIR_DOMAIN_RUNNING, VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_MIGRATED, 0);
    assert_int_equal(state_here(), VIR_DOMAIN_RUNNING);
    fake_cluster.has_quorum = true;
    fake_node_run_until(&node, nothing_is_pending, NULL);
    assert_int_equal(head_of().state, VIR_DOMAIN_RUNNING);

    move(SELF);
    commit(SELF);
    assert_int_equal(state_here(), VIR_DOMAIN_RUNNING); /* nothing of the first time is left */
}

static void who_is_no_owner_reports_nothing(void **state)
{
    (void)state;
    start_on(SELF);
    subscribe(&client);
    move(B);
    commit(B);
    expect(&client, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED);
    unsigned before = fake_cluster.n_proposed;
    publish(run, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_EVENT_STOPPED, VIR_DOMAIN_EVENT_STOPPED_CRASHED);
    assert_int_equal(fake_cluster.n_proposed, before);
    assert_int_equal(vq_overlay_pending(node.daemon.overlay), 0);
    expect_silence(&client);
}

static void events_behind_dropped_reports_still_go_out(void **state)
{
    struct vq_remote_domain_event_reboot_msg msg = {.dom = {.name = "guest", .id = 1}};

    (void)state;
    start_on(SELF);
    move(B);
    fake_cluster.has_quorum = false;
    publish(run, VIR_DOMAIN_PAUSED, VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED);
    memcpy(msg.dom.uuid, uuid_of(), 16);
    node.daemon.host.emit(&vq_qemu_driver, uuid_of(), "guest", id, VIR_DOMAIN_EVENT_ID_REBOOT,
                          &vq_xdr_remote_domain_event_reboot_msg, &msg);
    publish(run, VIR_DOMAIN_CRASHED, VIR_DOMAIN_EVENT_CRASHED, 0);
    assert_int_equal(fake_cluster.n_events, 0);
    commit(B);
    fake_cluster.has_quorum = true;
    fake_node_run_until(&node, nothing_is_pending, NULL);
    assert_int_equal(fake_cluster.n_events, 1);
}

static void a_move_shows_in_what_drivers_find(void **state)
{
    struct vq_domain_info info;
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);

    (void)state;
    start_on(SELF);
    move(B);
    assert_true(node.daemon.host.domain_find(uuid_of(), false, arena, &info));
    assert_int_equal(info.moving_to, B);
    assert_int_equal(info.moving_run, moving_run);
    assert_int_equal(info.owner, SELF);
}

/* ---- Drivers ---- */

static unsigned changed_by(void (*step)(uint64_t), uint64_t to)
{
    unsigned before = fake_driver.n_changed;

    step(to);
    return fake_driver.n_changed - before;
}

static void cancel(uint64_t to)
{
    end_move(to, false, VQ__DOMAIN_MOVE_END__KEEP__KEEP_AS_IS);
}

static void end_on_b(uint64_t to)
{
    int32_t keep = id;

    (void)to;
    id = -1;
    report_from(B, run, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_EVENT_STOPPED, 0, 0);
    id = keep;
}

static void the_driver_of_the_source_hears_of_each_step(void **state)
{
    (void)state;
    start_on(SELF);
    assert_int_equal(changed_by(move, B), 1);
    assert_int_equal(changed_by(cancel, B), 1);
    assert_int_equal(changed_by(move, B), 1);
    assert_int_equal(changed_by(commit, B), 1);
}

static void the_driver_of_the_destination_hears_of_each_step(void **state)
{
    (void)state;
    start_on(B);
    assert_int_equal(changed_by(move, SELF), 1);
    assert_int_equal(changed_by(cancel, SELF), 1);
    assert_int_equal(changed_by(move, SELF), 1);
    assert_int_equal(changed_by(end_on_b, 0), 1); /* what it waited for has ended */
    assert_int_equal(changed_by(end_on_b, 0), 0); /* and is none of its business any more */
}

static void the_driver_of_a_third_node_hears_nothing(void **state)
{
    (void)state;
    start_on(B);
    assert_int_equal(changed_by(move, C), 0);
    assert_int_equal(changed_by(commit, C), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)
int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_guest_that_leaves_is_stopped_here_and_goes_on_in_the_cluster),
        CASE(a_guest_that_comes_is_started_here),
        CASE(the_new_owner_is_told_of_after_the_old_one),
        CASE(what_the_old_owner_did_is_told_before_the_guest_is_ours),
        CASE(a_guest_that_wanders_is_told_of_in_the_order_of_the_log),
        CASE(a_cancelled_move_is_no_event),
        CASE(what_the_commit_defines_is_told_after_the_stop),
        CASE(reports_of_the_old_owner_end_with_its_ownership),
        CASE(who_is_no_owner_reports_nothing),
        CASE(events_behind_dropped_reports_still_go_out),
        CASE(a_move_shows_in_what_drivers_find),
        CASE(the_driver_of_the_source_hears_of_each_step),
        CASE(the_driver_of_the_destination_hears_of_each_step),
        CASE(the_driver_of_a_third_node_hears_nothing),
    };
    return cmocka_run_group_tests_name("handover", tests, NULL, NULL);
}
