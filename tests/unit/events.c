/* Who is told what, and in which order. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <libvirt/libvirt.h>

#include "node/client/events.h"
#include "node/publish.h"
#include "node/client/session.h"
#include "proto/gen/qemu.h"
#include "proto/gen/remote.h"
#include "tests/unit/fake_client.h"
#include "tests/unit/fake_node.h"

enum { MAIN_PROGRAM = 0x20008086 };

static struct fake_node node;
static struct fake_client client;

static int start(void **state)
{
    (void)state;
    vq_qemu_driver.n_rows = 0;
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
    return 0;
}

static void uuid_of(uint8_t byte, uint8_t uuid[16])
{
    memset(uuid, byte, 16);
    uuid[15] = 0xee;
}

static int subscribe(struct fake_client *who, int event_id, uint8_t only, int32_t *ret_id)
{
    struct vq_remote_domain dom = {.name = "x", .id = -1};
    struct vq_remote_connect_domain_event_callback_register_any_args args = {.eventID = event_id};
    struct vq_remote_connect_domain_event_callback_register_any_ret ret = {0};

    uuid_of(only, dom.uuid);
    if (only != 0)
        args.dom = &dom;
    int code = fake_client_ask(who, VQ_REMOTE_CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY,
                               &vq_xdr_remote_connect_domain_event_callback_register_any_args, &args,
                               &vq_xdr_remote_connect_domain_event_callback_register_any_ret, &ret, NULL);
    if (ret_id != NULL)
        *ret_id = ret.callbackID;
    return code;
}

static int unsubscribe(struct fake_client *who, int32_t id)
{
    struct vq_remote_connect_domain_event_callback_deregister_any_args args = {.callbackID = id};

    return fake_client_ask(who, VQ_REMOTE_CONNECT_DOMAIN_EVENT_CALLBACK_DEREGISTER_ANY,
                           &vq_xdr_remote_connect_domain_event_callback_deregister_any_args, &args, NULL, NULL, NULL);
}

/* The next event must be this lifecycle event. */
static void expect_lifecycle(struct fake_client *who, int32_t id, const char *name, int event, int detail)
{
    struct vq_remote_domain_event_callback_lifecycle_msg msg = {0};
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    const struct vq_frame *frame = fake_client_next(who);

    assert_int_equal(frame->type, VQ_FRAME_MESSAGE);
    assert_int_equal(frame->procedure, VQ_REMOTE_DOMAIN_EVENT_CALLBACK_LIFECYCLE);
    assert_int_equal(vq_xdr_decode(&vq_xdr_remote_domain_event_callback_lifecycle_msg, frame->payload,
                                   frame->payload_length, arena, &msg, NULL, NULL),
                     0);
    assert_string_equal(msg.msg.dom.name, name);
    assert_int_equal(msg.msg.event, event);
    assert_int_equal(msg.msg.detail, detail);
    assert_int_equal(msg.callbackID, id);
}

static void expect_silence(struct fake_client *who)
{
    assert_false(fake_client_hears(who, 40));
}

/* ---- Subscriptions ---- */

static void every_known_event_can_be_subscribed_and_no_other(void **state)
{
    (void)state;
    for (int id = 0; id <= VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE; id++)
        assert_int_equal(subscribe(&client, id, 0, NULL), 0);
    assert_int_equal(subscribe(&client, 99, 0, NULL), VIR_ERR_INTERNAL_ERROR);
    assert_int_equal(subscribe(&client, -1, 0, NULL), VIR_ERR_INTERNAL_ERROR);
}

static void callbacks_are_taken_back_in_any_order_and_only_once(void **state)
{
    int32_t ids[3];

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(subscribe(&client, VIR_DOMAIN_EVENT_ID_LIFECYCLE, 0, &ids[i]), 0);
    assert_int_equal(unsubscribe(&client, ids[1]), 0);
    assert_int_equal(unsubscribe(&client, ids[1]), VIR_ERR_INTERNAL_ERROR);
    fake_define(&node, "new", 3, 1);
    expect_lifecycle(&client, ids[2], "new", VIR_DOMAIN_EVENT_DEFINED, VIR_DOMAIN_EVENT_DEFINED_ADDED);
    expect_lifecycle(&client, ids[0], "new", VIR_DOMAIN_EVENT_DEFINED, VIR_DOMAIN_EVENT_DEFINED_ADDED);
    assert_int_equal(unsubscribe(&client, ids[0]), 0);
    assert_int_equal(unsubscribe(&client, ids[2]), 0);
    fake_define(&node, "newer", 4, 1);
    expect_silence(&client);
}

static void another_clients_callback_cannot_be_taken_back(void **state)
{
    struct fake_client other;
    int32_t id;

    (void)state;
    assert_int_equal(subscribe(&client, VIR_DOMAIN_EVENT_ID_LIFECYCLE, 0, &id), 0);
    fake_client_connect(&other, &node, "lrun/libvirt-sock");
    fake_client_open(&other, "");
    assert_int_equal(unsubscribe(&other, id), VIR_ERR_INTERNAL_ERROR);
    fake_client_close(&other);
    fake_node_run_ms(&node, 20);
    fake_define(&node, "new", 3, 1);
    expect_lifecycle(&client, id, "new", VIR_DOMAIN_EVENT_DEFINED, VIR_DOMAIN_EVENT_DEFINED_ADDED);
}

static void one_client_has_only_so_many_callbacks(void **state)
{
    (void)state;
    for (int i = 0; i < VQ_SUBSCRIPTIONS_MAX; i++)
        assert_int_equal(subscribe(&client, VIR_DOMAIN_EVENT_ID_LIFECYCLE, 0, NULL), 0);
    assert_int_equal(subscribe(&client, VIR_DOMAIN_EVENT_ID_LIFECYCLE, 0, NULL), VIR_ERR_OPERATION_FAILED);
}

static void the_old_form_is_told_without_an_id(void **state)
{
    struct vq_remote_connect_domain_event_register_ret ret = {0};
    struct vq_remote_domain_event_lifecycle_msg msg = {0};
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);

    (void)state;
    assert_int_equal(fake_client_ask(&client, VQ_REMOTE_CONNECT_DOMAIN_EVENT_REGISTER, NULL, NULL,
                                     &vq_xdr_remote_connect_domain_event_register_ret, &ret, NULL),
                     0);
    assert_int_equal(ret.cb_registered, 1);
    fake_define(&node, "new", 3, 1);
    const struct vq_frame *frame = fake_client_next(&client);
    assert_int_equal(frame->procedure, VQ_REMOTE_DOMAIN_EVENT_LIFECYCLE);
    assert_int_equal(vq_xdr_decode(&vq_xdr_remote_domain_event_lifecycle_msg, frame->payload, frame->payload_length,
                                   arena, &msg, NULL, NULL),
                     0);
    assert_string_equal(msg.dom.name, "new");
    assert_int_equal(fake_client_ask(&client, VQ_REMOTE_CONNECT_DOMAIN_EVENT_DEREGISTER, NULL, NULL, NULL, NULL, NULL),
                     0);
    fake_define(&node, "newer", 4, 1);
    expect_silence(&client);
}

static void a_filter_by_domain_and_a_view_of_one_node_hold(void **state)
{
    struct fake_client one;
    int32_t only, local;

    (void)state;
    assert_int_equal(subscribe(&client, VIR_DOMAIN_EVENT_ID_LIFECYCLE, 2, &only), 0);
    fake_client_connect(&one, &node, "run/node/libvirt-sock");
    fake_client_open(&one, "");
    assert_int_equal(subscribe(&one, VIR_DOMAIN_EVENT_ID_LIFECYCLE, 0, &local), 0);
    fake_define(&node, "here", 1, 1);
    fake_define(&node, "there", 2, 2);
    expect_lifecycle(&client, only, "there", VIR_DOMAIN_EVENT_DEFINED, VIR_DOMAIN_EVENT_DEFINED_UPDATED);
    expect_lifecycle(&one, local, "here", VIR_DOMAIN_EVENT_DEFINED, VIR_DOMAIN_EVENT_DEFINED_UPDATED);
    expect_silence(&client);
    expect_silence(&one);
    fake_client_close(&one);
}

/* ---- Own guests ---- */

/* The right to run, as a driver asks for it. */
static uint64_t run_of(uint8_t byte, uint64_t owner, int32_t *ret_id)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainRun run = VQ__DOMAIN_RUN__INIT;
    uint8_t uuid[16];
    struct vq_store_view *view;
    struct vq_result result;

    uuid_of(byte, uuid);
    assert_int_equal(vq_store_view_begin(node.daemon.store, &view, NULL), 0);
    run.if_generation = vq_store_domain_find(view, uuid)->generation;
    vq_store_view_end(view);
    run.uuid = (ProtobufCBinaryData){.data = uuid, .len = 16};
    run.node = owner;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_RUN;
    command.domain_run = &run;
    assert_int_equal(fake_apply_result(&node, &command, &result), 0);
    *ret_id = result.id;
    return result.number;
}

static struct vq_state_report report_of(uint8_t byte, uint64_t run, int32_t id, uint8_t state, uint8_t event,
                                        uint8_t detail)
{
    struct vq_state_report report = {.run = run, .id = id, .state = state, .n_events = 1};

    uuid_of(byte, report.uuid);
    report.events[0].event = event;
    report.events[0].detail = detail;
    return report;
}

static int state_of(uint8_t byte)
{
    struct vq_remote_domain_get_state_args args = {.dom = {.name = "x", .id = -1}};
    struct vq_remote_domain_get_state_ret ret = {0};

    uuid_of(byte, args.dom.uuid);
    assert_int_equal(fake_client_ask(&client, VQ_REMOTE_DOMAIN_GET_STATE, &vq_xdr_remote_domain_get_state_args, &args,
                                     &vq_xdr_remote_domain_get_state_ret, &ret, NULL),
                     0);
    return ret.state;
}

static bool nothing_is_pending(void *data)
{
    (void)data;
    return vq_overlay_pending(node.daemon.overlay) == 0;
}

static void an_own_report_is_told_at_once_and_only_once(void **state)
{
    int32_t callback, id;

    (void)state;
    assert_int_equal(subscribe(&client, VIR_DOMAIN_EVENT_ID_LIFECYCLE, 0, &callback), 0);
    uint64_t run = run_of(1, 1, &id);
    struct vq_state_report report = report_of(1, run, id, VIR_DOMAIN_RUNNING, VIR_DOMAIN_EVENT_STARTED, 0);
    node.daemon.host.publish(&vq_qemu_driver, &report);
    expect_lifecycle(&client, callback, "here", VIR_DOMAIN_EVENT_STARTED, 0);
    fake_node_run_until(&node, nothing_is_pending, NULL);
    expect_silence(&client); /* the committed change tells it to others, not again here */
    assert_int_equal(state_of(1), VIR_DOMAIN_RUNNING);
}

static void without_a_quorum_reports_are_shown_here_and_kept_until_there_is_one(void **state)
{
    int32_t callback, id;

    (void)state;
    assert_int_equal(subscribe(&client, VIR_DOMAIN_EVENT_ID_LIFECYCLE, 0, &callback), 0);
    uint64_t run = run_of(1, 1, &id);
    fake_cluster.has_quorum = false;
    unsigned before = fake_cluster.n_proposed;
    struct vq_state_report report = report_of(1, run, id, VIR_DOMAIN_RUNNING, VIR_DOMAIN_EVENT_STARTED, 0);
    node.daemon.host.publish(&vq_qemu_driver, &report);
    expect_lifecycle(&client, callback, "here", VIR_DOMAIN_EVENT_STARTED, 0);
    report = report_of(1, run, id, VIR_DOMAIN_PAUSED, VIR_DOMAIN_EVENT_SUSPENDED, 0);
    node.daemon.host.publish(&vq_qemu_driver, &report);
    report = report_of(1, run, id, VIR_DOMAIN_RUNNING, VIR_DOMAIN_EVENT_RESUMED, 0);
    node.daemon.host.publish(&vq_qemu_driver, &report);
    expect_lifecycle(&client, callback, "here", VIR_DOMAIN_EVENT_SUSPENDED, 0);
    expect_lifecycle(&client, callback, "here", VIR_DOMAIN_EVENT_RESUMED, 0);
    assert_int_equal(state_of(1), VIR_DOMAIN_RUNNING);
    assert_int_equal(vq_overlay_pending(node.daemon.overlay), 1);
    fake_node_run_ms(&node, 700);
    assert_true(fake_cluster.n_proposed >= before + 2); /* it keeps trying */
    fake_cluster.has_quorum = true;
    before = fake_cluster.n_proposed;
    fake_node_run_until(&node, nothing_is_pending, NULL);
    assert_true(fake_cluster.n_proposed <= before + 2); /* what waited was merged */
    expect_silence(&client);
    assert_int_equal(state_of(1), VIR_DOMAIN_RUNNING);
}

static void a_report_about_an_older_run_is_not_shown(void **state)
{
    int32_t id;

    (void)state;
    uint64_t old = run_of(1, 1, &id), run = run_of(1, 1, &id);
    fake_cluster.has_quorum = false;
    struct vq_state_report report = report_of(1, run, -1, VIR_DOMAIN_CRASHED, VIR_DOMAIN_EVENT_CRASHED, 0);
    node.daemon.host.publish(&vq_qemu_driver, &report);
    assert_int_equal(state_of(1), VIR_DOMAIN_CRASHED);
    report.run = old;
    node.daemon.host.publish(&vq_qemu_driver, &report);
    assert_int_not_equal(state_of(1), VIR_DOMAIN_CRASHED);
}

static uint64_t committed_run(uint8_t byte, int32_t *ret_id)
{
    struct vq_store_view *view;
    uint8_t uuid[16];

    uuid_of(byte, uuid);
    assert_int_equal(vq_store_view_begin(node.daemon.store, &view, NULL), 0);
    const struct vq_domain_head *head = vq_store_domain_find(view, uuid);
    uint64_t run = head->run;
    *ret_id = head->id;
    vq_store_view_end(view);
    return run;
}

static void a_claim_that_is_committed_after_the_start_went_ahead_numbers_the_run(void **state)
{
    int32_t id, local_id, known_id;
    uint64_t local;
    uint8_t uuid[16];

    (void)state;
    (void)run_of(1, 1, &id);
    uuid_of(1, uuid);
    node.daemon.host.local_run(uuid, &local, &local_id);
    fake_cluster.has_quorum = false;
    struct vq_state_report report = report_of(1, local, local_id, VIR_DOMAIN_RUNNING, VIR_DOMAIN_EVENT_STARTED, 0);
    node.daemon.host.publish(&vq_qemu_driver, &report);
    uint64_t claimed = run_of(1, 1, &id); /* it lay in the log of a leader that nobody answered */
    assert_true(claimed > local);
    assert_int_equal(state_of(1), VIR_DOMAIN_RUNNING);
    fake_cluster.has_quorum = true;
    fake_node_run_until(&node, nothing_is_pending, NULL);
    assert_int_equal(committed_run(1, &known_id), claimed);
    assert_int_equal(known_id, local_id);
    assert_int_equal(state_of(1), VIR_DOMAIN_RUNNING);

    /* The driver goes on to use the number that it knows. */
    report = report_of(1, local, -1, VIR_DOMAIN_SHUTOFF, VIR_DOMAIN_EVENT_STOPPED, 0);
    node.daemon.host.publish(&vq_qemu_driver, &report);
    fake_node_run_until(&node, nothing_is_pending, NULL);
    assert_int_equal(committed_run(1, &known_id), claimed);
    assert_int_equal(known_id, -1);
    assert_int_equal(state_of(1), VIR_DOMAIN_SHUTOFF);
}

static void count_release(void *data)
{
    ++*(int *)data;
}

static bool is_released(void *data)
{
    return *(int *)data > 0;
}

static void an_answer_waits_until_what_was_reported_is_committed(void **state)
{
    int32_t id;
    int n_released = 0;
    uint8_t uuid[16];

    (void)state;
    uuid_of(1, uuid);
    assert_false(vq_overlay_hold(node.daemon.overlay, uuid, count_release, &n_released)); /* nothing was reported */
    uint64_t run = run_of(1, 1, &id);
    struct vq_state_report report = report_of(1, run, id, VIR_DOMAIN_RUNNING, VIR_DOMAIN_EVENT_STARTED, 0);
    node.daemon.host.publish(&vq_qemu_driver, &report);
    assert_true(vq_overlay_hold(node.daemon.overlay, uuid, count_release, &n_released));
    assert_int_equal(n_released, 0);
    fake_node_run_until(&node, is_released, &n_released);
    assert_true(nothing_is_pending(NULL));

    /* Not for ever, and not at all without a quorum. */
    fake_cluster.has_quorum = false;
    node.daemon.host.publish(&vq_qemu_driver, &report);
    assert_false(vq_overlay_hold(node.daemon.overlay, uuid, count_release, &n_released));
    fake_cluster.has_quorum = true;
    assert_true(vq_overlay_hold(node.daemon.overlay, uuid, count_release, &n_released));
    fake_cluster.has_quorum = false;
    n_released = 0;
    fake_node_run_until(&node, is_released, &n_released);
    assert_false(nothing_is_pending(NULL));
    fake_cluster.has_quorum = true;
    assert_true(vq_overlay_hold(node.daemon.overlay, uuid, count_release, &n_released));
    fake_cluster.has_quorum = false;
    n_released = 0;
    vq_overlay_release(node.daemon.overlay);
    assert_int_equal(n_released, 1);
}

static void emit_reboot(void)
{
    struct vq_remote_domain_event_reboot_msg msg = {.dom = {.name = "here", .id = 1}};
    uint8_t uuid[16];

    uuid_of(1, uuid);
    memcpy(msg.dom.uuid, uuid, 16);
    node.daemon.host.emit(&vq_qemu_driver, uuid, "here", 1, VIR_DOMAIN_EVENT_ID_REBOOT,
                          &vq_xdr_remote_domain_event_reboot_msg, &msg);
}

static void an_event_of_a_driver_is_told_here_and_sent_to_the_others(void **state)
{
    int32_t callback;

    (void)state;
    assert_int_equal(subscribe(&client, VIR_DOMAIN_EVENT_ID_REBOOT, 0, &callback), 0);
    emit_reboot();
    const struct vq_frame *frame = fake_client_next(&client);
    assert_int_equal(frame->procedure, VQ_REMOTE_DOMAIN_EVENT_CALLBACK_REBOOT);
    assert_int_equal(frame->payload[3], callback);
    assert_int_equal(fake_cluster.n_events, 1);
    assert_int_equal(fake_cluster.events[0]->after_index, node.daemon.applied);
    assert_int_equal(fake_cluster.events[0]->payload_length, frame->payload_length - 4);
    assert_memory_equal(fake_cluster.events[0]->payload, frame->payload + 4, frame->payload_length - 4);
}

static void the_whole_struct_loses_its_callback_id(void **state)
{
    struct vq_remote_domain_event_callback_pmwakeup_msg msg = {
        .callbackID = 77, .reason = 3, .msg.dom = {.name = "here", .id = 1}};
    int32_t callback;
    uint8_t uuid[16];

    (void)state;
    uuid_of(1, uuid);
    memcpy(msg.msg.dom.uuid, uuid, 16);
    assert_int_equal(subscribe(&client, VIR_DOMAIN_EVENT_ID_PMWAKEUP, 0, &callback), 0);
    struct vq_remote_connect_domain_event_register_any_args legacy = {.eventID = VIR_DOMAIN_EVENT_ID_PMWAKEUP};
    assert_int_equal(fake_client_ask(&client, VQ_REMOTE_CONNECT_DOMAIN_EVENT_REGISTER_ANY,
                                     &vq_xdr_remote_connect_domain_event_register_any_args, &legacy, NULL, NULL, NULL),
                     0);
    node.daemon.host.emit(&vq_qemu_driver, uuid, "here", 1, VIR_DOMAIN_EVENT_ID_PMWAKEUP,
                          &vq_xdr_remote_domain_event_callback_pmwakeup_msg, &msg);
    const struct vq_frame *frame = fake_client_next(&client);
    assert_int_equal(frame->procedure, VQ_REMOTE_DOMAIN_EVENT_PMWAKEUP); /* the old form: neither id nor reason */
    size_t legacy_length = frame->payload_length;
    frame = fake_client_next(&client);
    assert_int_equal(frame->procedure, VQ_REMOTE_DOMAIN_EVENT_CALLBACK_PMWAKEUP);
    assert_int_equal(frame->payload[3], callback);
    assert_int_equal(frame->payload[7], 3);
    assert_int_equal(frame->payload_length, legacy_length + 8);
}

static void an_event_behind_an_uncommitted_report_waits_for_it(void **state)
{
    int32_t id;

    (void)state;
    uint64_t run = run_of(1, 1, &id);
    fake_cluster.has_quorum = false;
    struct vq_state_report report = report_of(1, run, id, VIR_DOMAIN_RUNNING, VIR_DOMAIN_EVENT_STARTED, 0);
    node.daemon.host.publish(&vq_qemu_driver, &report);
    uint64_t before = node.daemon.applied;
    emit_reboot();
    assert_int_equal(fake_cluster.n_events, 0);
    fake_cluster.has_quorum = true;
    fake_node_run_until(&node, nothing_is_pending, NULL);
    assert_int_equal(fake_cluster.n_events, 1);
    assert_true(fake_cluster.events[0]->after_index > before);
}

/* ---- Guests of other nodes ---- */

static void state_from_node2(uint64_t run, int32_t id, int state, uint32_t event, uint64_t sequence)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainState report = VQ__DOMAIN_STATE__INIT;
    Vq__DomainEvent told = VQ__DOMAIN_EVENT__INIT;
    Vq__DomainEvent *list[1] = {&told};
    uint8_t uuid[16];

    uuid_of(2, uuid);
    told.event = event;
    report.uuid = (ProtobufCBinaryData){.data = uuid, .len = 16};
    report.node = 2;
    report.run = run;
    report.id = id;
    report.state = (uint32_t)state;
    report.events = list;
    report.n_events = 1;
    report.mesh_sequence = sequence;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_STATE;
    command.domain_state = &report;
    assert_int_equal(fake_apply(&node, &command), 0);
}

static void reboot_from_node2(uint64_t sequence, uint64_t after_index)
{
    struct vq_remote_domain_event_reboot_msg msg = {.dom = {.name = "there", .id = 1}};
    struct vq_buffer payload = VQ_BUFFER_INIT;
    struct vq_mesh_event event = {.driver = "qemu",
                                  .name = "there",
                                  .program = VQ_PROGRAM_REMOTE,
                                  .event_id = VIR_DOMAIN_EVENT_ID_REBOOT,
                                  .sequence = sequence,
                                  .after_index = after_index};

    uuid_of(2, event.uuid);
    memcpy(msg.dom.uuid, event.uuid, 16);
    assert_int_equal(vq_xdr_encode(&vq_xdr_remote_domain_event_reboot_msg, &msg, &payload, NULL), 0);
    event.payload = (const uint8_t *)payload.data;
    event.payload_length = payload.length;
    vq_events_from_mesh(node.daemon.events, 2, &event);
    vq_buffer_done(&payload);
}

static void expect_reboot(void)
{
    assert_int_equal(fake_client_next(&client)->procedure, VQ_REMOTE_DOMAIN_EVENT_CALLBACK_REBOOT);
}

static void a_mesh_event_waits_for_its_index(void **state)
{
    int32_t callback, id;

    (void)state;
    assert_int_equal(subscribe(&client, VIR_DOMAIN_EVENT_ID_LIFECYCLE, 0, &callback), 0);
    assert_int_equal(subscribe(&client, VIR_DOMAIN_EVENT_ID_REBOOT, 0, NULL), 0);
    uint64_t run = run_of(2, 2, &id);
    reboot_from_node2(1, node.daemon.applied + 1);
    expect_silence(&client);
    state_from_node2(run, id, VIR_DOMAIN_RUNNING, VIR_DOMAIN_EVENT_STARTED, 0);
    expect_lifecycle(&client, callback, "there", VIR_DOMAIN_EVENT_STARTED, 0);
    expect_reboot();
}

static void a_state_change_waits_for_the_mesh_events_before_it(void **state)
{
    int32_t callback, id;

    (void)state;
    assert_int_equal(subscribe(&client, VIR_DOMAIN_EVENT_ID_LIFECYCLE, 0, &callback), 0);
    assert_int_equal(subscribe(&client, VIR_DOMAIN_EVENT_ID_REBOOT, 0, NULL), 0);
    uint64_t run = run_of(2, 2, &id);
    uint64_t before = node.daemon.applied;
    state_from_node2(run, id, VIR_DOMAIN_RUNNING, VIR_DOMAIN_EVENT_STARTED, 2);
    expect_silence(&client);
    reboot_from_node2(1, before);
    reboot_from_node2(2, before);
    expect_reboot();
    expect_reboot();
    expect_lifecycle(&client, callback, "there", VIR_DOMAIN_EVENT_STARTED, 0);
}

static void nothing_waits_for_longer_than_a_second(void **state)
{
    int32_t callback, id;

    (void)state;
    assert_int_equal(subscribe(&client, VIR_DOMAIN_EVENT_ID_LIFECYCLE, 0, &callback), 0);
    assert_int_equal(subscribe(&client, VIR_DOMAIN_EVENT_ID_REBOOT, 0, NULL), 0);
    uint64_t run = run_of(2, 2, &id);
    uint64_t begin = uv_now(&node.loop);
    state_from_node2(run, id, VIR_DOMAIN_RUNNING, VIR_DOMAIN_EVENT_STARTED, 5); /* that event never comes */
    expect_lifecycle(&client, callback, "there", VIR_DOMAIN_EVENT_STARTED, 0);
    assert_in_range(uv_now(&node.loop) - begin, VQ_EVENT_WAIT_MS - 50, VQ_EVENT_WAIT_MS + 1000);
    state_from_node2(run, id, VIR_DOMAIN_PAUSED, VIR_DOMAIN_EVENT_SUSPENDED, 5);
    assert_true(fake_client_hears(&client, 100)); /* what was given up is not waited for again */
    reboot_from_node2(6, node.daemon.applied + 1000);
    expect_silence(&client);
    expect_reboot();
}

static void a_node_that_is_gone_is_not_waited_for(void **state)
{
    int32_t callback, id;

    (void)state;
    assert_int_equal(subscribe(&client, VIR_DOMAIN_EVENT_ID_LIFECYCLE, 0, &callback), 0);
    uint64_t run = run_of(2, 2, &id);
    fake_cluster.offline[0] = 2;
    state_from_node2(run, id, VIR_DOMAIN_RUNNING, VIR_DOMAIN_EVENT_STARTED, 9);
    assert_true(fake_client_hears(&client, 100));
}

static void a_transient_guest_is_never_defined(void **state)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainDefine define = VQ__DOMAIN_DEFINE__INIT;
    uint8_t uuid[16];

    (void)state;
    assert_int_equal(subscribe(&client, VIR_DOMAIN_EVENT_ID_LIFECYCLE, 0, NULL), 0);
    uuid_of(9, uuid);
    define.driver = (char *)"qemu";
    define.uuid = (ProtobufCBinaryData){.data = uuid, .len = 16};
    define.name = (char *)"passing";
    define.owner = 1;
    define.xml = (ProtobufCBinaryData){.data = (uint8_t *)"<domain/>", .len = 9};
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_DEFINE;
    command.domain_define = &define;
    assert_int_equal(fake_apply(&node, &command), 0);
    expect_silence(&client);
}

/* ---- One commit with several changes ---- */

struct told_change {
    enum vq_change_kind kind;
    uint64_t index, owner;
    uint8_t uuid;
    const char *name;
    uint8_t event; /* of a change of state */
    bool is_transient;
};

/* As consensus tells it: the store is at the last index already. */
static void commit_of(uint64_t index, const struct told_change *told, size_t n)
{
    VQ_AUTOFREE struct vq_change *changes = vq_calloc(n, sizeof(*changes));
    const struct vq_change_list list = {changes, n};

    for (size_t i = 0; i < n; i++) {
        changes[i] = (struct vq_change){.kind = told[i].kind,
                                        .index = told[i].index,
                                        .name = (char *)(uintptr_t)told[i].name,
                                        .driver = VQ_DRIVER_QEMU,
                                        .owner = told[i].owner,
                                        .id = -1,
                                        .is_new = true,
                                        .is_persistent = !told[i].is_transient,
                                        .n_events = told[i].kind == VQ_CHANGE_DOMAIN_STATE};
        changes[i].events[0].event = told[i].event;
        uuid_of(told[i].uuid, changes[i].uuid);
    }
    node.daemon.applied = index;
    vq_events_applied(node.daemon.events, index, &list);
    assert_int_equal(node.daemon.applied, index);
}

static void domains_of_several_owners_are_told_in_the_order_of_the_log(void **state)
{
    /* One name, going from owner to owner; here each has its own, to tell them apart. */
    static const struct told_change told[] = {
        {.kind = VQ_CHANGE_DOMAIN_DEFINED, .index = 101, .owner = 2, .uuid = 20, .name = "of2"},
        {.kind = VQ_CHANGE_DOMAIN_UNDEFINED, .index = 101, .owner = 2, .uuid = 20, .name = "of2"},
        {.kind = VQ_CHANGE_DOMAIN_DEFINED, .index = 102, .owner = 3, .uuid = 30, .name = "of3"},
        {.kind = VQ_CHANGE_DOMAIN_UNDEFINED, .index = 102, .owner = 3, .uuid = 30, .name = "of3"},
        {.kind = VQ_CHANGE_DOMAIN_DEFINED, .index = 103, .owner = 1, .uuid = 10, .name = "of1"},
        {.kind = VQ_CHANGE_DOMAIN_UNDEFINED, .index = 104, .owner = 1, .uuid = 10, .name = "of1"},
        {.kind = VQ_CHANGE_DOMAIN_DEFINED, .index = 104, .owner = 2, .uuid = 21, .name = "of2"},
    };
    int32_t callback;

    (void)state;
    assert_int_equal(subscribe(&client, VIR_DOMAIN_EVENT_ID_LIFECYCLE, 0, &callback), 0);
    commit_of(104, told, VQ_N_ELEMENTS(told));
    for (size_t i = 0; i < VQ_N_ELEMENTS(told); i++)
        expect_lifecycle(&client, callback, told[i].name,
                         told[i].kind == VQ_CHANGE_DOMAIN_DEFINED ? VIR_DOMAIN_EVENT_DEFINED : VIR_DOMAIN_EVENT_UNDEFINED, 0);
    expect_silence(&client);
}

static void a_mesh_event_comes_after_all_changes_of_its_index_and_before_the_next(void **state)
{
    static const struct told_change told[] = {
        {.kind = VQ_CHANGE_DOMAIN_STATE, .index = 110, .owner = 2, .uuid = 2, .name = "a", .event = VIR_DOMAIN_EVENT_STARTED},
        {.kind = VQ_CHANGE_DOMAIN_STATE, .index = 111, .owner = 2, .uuid = 2, .name = "b", .event = VIR_DOMAIN_EVENT_SUSPENDED},
        {.kind = VQ_CHANGE_DOMAIN_STATE, .index = 111, .owner = 3, .uuid = 3, .name = "c", .event = VIR_DOMAIN_EVENT_STARTED},
        {.kind = VQ_CHANGE_DOMAIN_STATE, .index = 111, .owner = 2, .uuid = 2, .name = "d", .event = VIR_DOMAIN_EVENT_RESUMED},
        {.kind = VQ_CHANGE_DOMAIN_STATE, .index = 113, .owner = 2, .uuid = 2, .name = "e", .event = VIR_DOMAIN_EVENT_STOPPED},
    };
    int32_t callback;

    (void)state;
    assert_int_equal(subscribe(&client, VIR_DOMAIN_EVENT_ID_LIFECYCLE, 0, &callback), 0);
    assert_int_equal(subscribe(&client, VIR_DOMAIN_EVENT_ID_REBOOT, 0, NULL), 0);
    reboot_from_node2(1, 111);
    reboot_from_node2(2, 112); /* an index of no change that is told */
    expect_silence(&client);
    commit_of(113, told, VQ_N_ELEMENTS(told));
    for (size_t i = 0; i < 4; i++)
        expect_lifecycle(&client, callback, told[i].name, told[i].event, 0);
    expect_reboot();
    expect_reboot();
    expect_lifecycle(&client, callback, "e", VIR_DOMAIN_EVENT_STOPPED, 0);
}

static void whether_a_domain_is_persistent_is_what_the_change_says(void **state)
{
    /* The store knows neither: the first is undefined again by now, the second was made persistent meanwhile. */
    static const struct told_change told[] = {
        {.kind = VQ_CHANGE_DOMAIN_DEFINED, .index = 120, .owner = 2, .uuid = 40, .name = "kept"},
        {.kind = VQ_CHANGE_DOMAIN_DEFINED, .index = 120, .owner = 2, .uuid = 1, .name = "here", .is_transient = true},
        {.kind = VQ_CHANGE_DOMAIN_DEFINED, .index = 121, .owner = 1, .uuid = 41, .name = "own"},
    };
    int32_t callback;

    (void)state;
    assert_int_equal(subscribe(&client, VIR_DOMAIN_EVENT_ID_LIFECYCLE, 0, &callback), 0);
    commit_of(121, told, VQ_N_ELEMENTS(told));
    expect_lifecycle(&client, callback, "kept", VIR_DOMAIN_EVENT_DEFINED, VIR_DOMAIN_EVENT_DEFINED_ADDED);
    expect_lifecycle(&client, callback, "own", VIR_DOMAIN_EVENT_DEFINED, VIR_DOMAIN_EVENT_DEFINED_ADDED);
    expect_silence(&client);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)
int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(every_known_event_can_be_subscribed_and_no_other),
        CASE(callbacks_are_taken_back_in_any_order_and_only_once),
        CASE(another_clients_callback_cannot_be_taken_back),
        CASE(one_client_has_only_so_many_callbacks),
        CASE(the_old_form_is_told_without_an_id),
        CASE(a_filter_by_domain_and_a_view_of_one_node_hold),
        CASE(an_own_report_is_told_at_once_and_only_once),
        CASE(without_a_quorum_reports_are_shown_here_and_kept_until_there_is_one),
        CASE(a_report_about_an_older_run_is_not_shown),
        CASE(a_claim_that_is_committed_after_the_start_went_ahead_numbers_the_run),
        CASE(an_answer_waits_until_what_was_reported_is_committed),
        CASE(an_event_of_a_driver_is_told_here_and_sent_to_the_others),
        CASE(the_whole_struct_loses_its_callback_id),
        CASE(an_event_behind_an_uncommitted_report_waits_for_it),
        CASE(a_mesh_event_waits_for_its_index),
        CASE(a_state_change_waits_for_the_mesh_events_before_it),
        CASE(nothing_waits_for_longer_than_a_second),
        CASE(a_node_that_is_gone_is_not_waited_for),
        CASE(a_transient_guest_is_never_defined),
        CASE(domains_of_several_owners_are_told_in_the_order_of_the_log),
        CASE(a_mesh_event_comes_after_all_changes_of_its_index_and_before_the_next),
        CASE(whether_a_domain_is_persistent_is_what_the_change_says),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
