/* Peer-to-peer migration: the order of what is asked here and there, and what the user is told when a part of it fails.
 * The two sides themselves are played by the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include <libvirt/libvirt.h>

#include "conf/base/memory.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/migrate_offline.h"
#include "drivers/qemu/migrate_out.h"
#include "drivers/qemu/migrate_p2p.h"
#include "proto/gen/remote.h"
#include "tests/driver/fake_host.h"

/* ---- This side, played by the test ------------------------------------------------------------------------------- */

static struct {
    char calls[512];
    struct vq_error begin_err, perform_err, confirm_err;
    bool holds_perform;
    vq_migrate_cookie_cb perform_cb;
    void *perform_data;
    uint64_t begin_flags, perform_flags;
    char perform_uri[64], perform_cookie[64], confirm_cookie[64];
    struct vq_error given_up;
} here;

static struct vq_qemu qemu;
static struct vq_qemu_guest guest;
static struct vq_migration migration;
static bool has_guest;

static void note(const char *what)
{
    size_t length = strlen(here.calls);

    (void)snprintf(here.calls + length, sizeof(here.calls) - length, "%s ", what);
}

static void copy_cookie(char *to, const uint8_t *cookie, uint32_t length)
{
    (void)snprintf(to, 64, "%.*s", (int)length, cookie == NULL ? "" : (const char *)cookie);
}

static const struct vq_error *error_or_null(const struct vq_error *err)
{
    return err->code == VIR_ERR_OK ? NULL : err;
}

void vq_migrate_out_begin(struct vq_request *request, const struct vq_migrate_options *options, vq_migrate_begin_cb cb,
                          void *data)
{
    (void)request;
    note("begin");
    here.begin_flags = options->flags;
    cb("<domain/>", (const uint8_t *)"begun", 5, error_or_null(&here.begin_err), data);
}

void vq_migrate_offline_begin(struct vq_request *request, const struct vq_migrate_options *options,
                              vq_migrate_begin_cb cb, void *data)
{
    note("offline");
    vq_migrate_out_begin(request, options, cb, data);
}

void vq_migrate_out_perform(struct vq_request *request, const struct vq_migrate_options *options, const uint8_t *cookie,
                            uint32_t cookie_length, vq_migrate_cookie_cb cb, void *data)
{
    (void)request;
    note("perform");
    here.perform_flags = options->flags;
    (void)snprintf(here.perform_uri, sizeof(here.perform_uri), "%s", options->uri);
    copy_cookie(here.perform_cookie, cookie, cookie_length);
    here.perform_cb = cb;
    here.perform_data = data;
    if (!here.holds_perform)
        cb((const uint8_t *)"performed", 9, error_or_null(&here.perform_err), data);
}

void vq_migrate_out_confirm(struct vq_request *request, const struct vq_migrate_options *options, const uint8_t *cookie,
                            uint32_t cookie_length, bool cancelled, vq_migrate_cookie_cb cb, void *data)
{
    (void)request;
    (void)options;
    note(cancelled ? "drop" : "confirm");
    copy_cookie(here.confirm_cookie, cookie, cookie_length);
    cb(NULL, 0, error_or_null(&here.confirm_err), data);
}

void vq_migrate_offline_confirm(struct vq_request *request, const struct vq_migrate_options *options,
                                const uint8_t *cookie, uint32_t cookie_length, bool cancelled, vq_migrate_cookie_cb cb,
                                void *data)
{
    note("offline");
    vq_migrate_out_confirm(request, options, cookie, cookie_length, cancelled, cb, data);
}

void vq_leaving_give_up(struct vq_qemu_guest *leaving, const struct vq_error *why)
{
    assert_ptr_equal(leaving, &guest);
    note("give-up");
    here.given_up = *why;
}

void vq_leaving_unknown(struct vq_qemu_guest *leaving)
{
    assert_ptr_equal(leaving, &guest);
    note("unknown");
}

struct vq_qemu_guest *vq_qemu_guest_find(struct vq_qemu *in, const uint8_t uuid[VQ_UUID_BYTES])
{
    (void)in;
    (void)uuid;
    return has_guest ? &guest : NULL;
}

/* ---- The destination, played by the test ------------------------------------------------------------------------- */

static struct {
    int without_feature; /* this one is not supported */
    bool tells_no_uri;
    struct vq_error feature_err, prepare_err, finish_err, cancel_err;
    char prepare_cookie[64], finish_cookie[64];
    uint64_t prepare_flags, finish_flags;
    char dname[64], dxml[64], uri[64];
    int cancelled; /* -1: finish was not called */
    bool holds_prepare;
} there;

static struct fake_peer peer;

static const uint8_t *bytes_of(const char *text)
{
    return (const uint8_t *)text;
}

static void look_at(const struct vq_typed_param *params, uint32_t n)
{
    for (uint32_t i = 0; i < n; i++) {
        char *to = strcmp(params[i].field, "destination_name") == 0  ? there.dname
                   : strcmp(params[i].field, "destination_xml") == 0 ? there.dxml
                   : strcmp(params[i].field, "migrate_uri") == 0     ? there.uri
                                                                     : NULL;
        if (to != NULL)
            (void)snprintf(to, 64, "%s", params[i].value.s);
    }
}

static int refuse(const struct vq_error *with, struct vq_error *err)
{
    if (with->code == VIR_ERR_OK)
        return 0;
    *err = *with;
    return -1;
}

static int answer_prepare(const void *args, void *ret, struct vq_error *err)
{
    const struct vq_remote_domain_migrate_prepare3_params_args *asked = args;
    struct vq_remote_domain_migrate_prepare3_params_ret *reply = ret;

    if (there.holds_prepare)
        return 1;
    copy_cookie(there.prepare_cookie, asked->cookie_in, asked->n_cookie_in);
    there.prepare_flags = asked->flags;
    look_at(asked->params, asked->n_params);
    reply->n_cookie_out = 8;
    reply->cookie_out = bytes_of("prepared");
    reply->uri_out = there.tells_no_uri ? NULL : "tcp:there:49152";
    return refuse(&there.prepare_err, err);
}

static int answer_positional_prepare(const void *args, void *ret, struct vq_error *err)
{
    const struct vq_remote_domain_migrate_prepare3_args *asked = args;
    struct vq_remote_domain_migrate_prepare3_ret *reply = ret;

    copy_cookie(there.prepare_cookie, asked->cookie_in, asked->n_cookie_in);
    there.prepare_flags = asked->flags;
    (void)snprintf(there.dxml, sizeof(there.dxml), "%s", asked->dom_xml);
    reply->n_cookie_out = 8;
    reply->cookie_out = bytes_of("prepared");
    reply->uri_out = "tcp:there:49152";
    return refuse(&there.prepare_err, err);
}

static int finish_result(int cancelled, struct vq_error *err)
{
    there.cancelled = cancelled;
    return refuse(cancelled != 0 ? &there.cancel_err : &there.finish_err, err);
}

static int answer_finish(const void *args, void *ret, struct vq_error *err)
{
    const struct vq_remote_domain_migrate_finish3_params_args *asked = args;
    struct vq_remote_domain_migrate_finish3_params_ret *reply = ret;

    copy_cookie(there.finish_cookie, asked->cookie_in, asked->n_cookie_in);
    there.finish_flags = asked->flags;
    look_at(asked->params, asked->n_params);
    reply->dom.name = "guest";
    reply->n_cookie_out = 8;
    reply->cookie_out = bytes_of("finished");
    return finish_result(asked->cancelled, err);
}

static int answer_positional_finish(const void *args, void *ret, struct vq_error *err)
{
    const struct vq_remote_domain_migrate_finish3_args *asked = args;
    struct vq_remote_domain_migrate_finish3_ret *reply = ret;

    copy_cookie(there.finish_cookie, asked->cookie_in, asked->n_cookie_in);
    (void)snprintf(there.dname, sizeof(there.dname), "%s", asked->dname);
    reply->dom.name = "guest";
    return finish_result(asked->cancelled, err);
}

static int answer(const struct vq_procedure *procedure, const void *args, void *ret, struct vq_arena *arena,
                  struct vq_error *err, void *data)
{
    (void)arena;
    (void)data;
    switch (procedure->number) {
    case VQ_REMOTE_CONNECT_SUPPORTS_FEATURE:
        ((struct vq_remote_connect_supports_feature_ret *)ret)->supported =
            ((const struct vq_remote_connect_supports_feature_args *)args)->feature != there.without_feature;
        return refuse(&there.feature_err, err);
    case VQ_REMOTE_DOMAIN_MIGRATE_PREPARE3_PARAMS:
        return answer_prepare(args, ret, err);
    case VQ_REMOTE_DOMAIN_MIGRATE_PREPARE3:
        return answer_positional_prepare(args, ret, err);
    case VQ_REMOTE_DOMAIN_MIGRATE_FINISH3_PARAMS:
        return answer_finish(args, ret, err);
    case VQ_REMOTE_DOMAIN_MIGRATE_FINISH3:
        return answer_positional_finish(args, ret, err);
    default:
        fail_msg("%s was called", procedure->name);
        return 0;
    }
}

/* ---- A migration ------------------------------------------------------------------------------------------------- */

static struct {
    unsigned n;
    struct vq_error err;
} told;

static struct vq_driver driver = {.state = &qemu};
static const struct vq_domain_info domain = {.uuid = {1, 2, 3}, .name = "guest"};
static struct vq_caller caller;
static struct vq_request request = {.driver = &driver, .domain = &domain, .caller = &caller};

static void done(const uint8_t *cookie, uint32_t length, const struct vq_error *err, void *data)
{
    (void)cookie;
    (void)data;
    assert_int_equal(length, 0);
    told.n++;
    told.err = err == NULL ? VQ_ERROR_INIT : *err;
}

static int start_with(uint64_t node)
{
    memset(&here, 0, sizeof(here));
    memset(&there, 0, sizeof(there));
    memset(&told, 0, sizeof(told));
    memset(&guest, 0, sizeof(guest));
    there.cancelled = -1;
    has_guest = true;
    guest.state = VIR_DOMAIN_RUNNING;
    migration = (struct vq_migration){.role = VQ_MIGRATE_OUT, .stage = VQ_MIGRATE_SENDING};
    guest.migration = &migration;
    fake_host_init(false);
    qemu = (struct vq_qemu){.host = &fake.host};
    fake_peer_init(&peer, node, "the other one", answer, NULL);
    fake.peer = &peer.peer;
    return 0;
}

static int start(void **state)
{
    (void)state;
    return start_with(0);
}

static int start_in_cluster(void **state)
{
    (void)state;
    return start_with(2);
}

static int stop(void **state)
{
    (void)state;
    assert_null(qemu.p2ps);
    fake_host_done(true);
    return 0;
}

static bool is_told(void *data)
{
    (void)data;
    return told.n > 0;
}

static bool performs(void *data)
{
    (void)data;
    return here.perform_cb != NULL;
}

static bool prepares(void *data)
{
    (void)data;
    return strstr(peer.calls, "prepare") != NULL;
}

static void begin_with(uint64_t flags)
{
    struct vq_migrate_options options;

    vq_migrate_options_init(&options);
    options.flags = flags | VIR_MIGRATE_PEER2PEER;
    vq_migrate_p2p(&request, "qemu+tls://there/system", &options, done, NULL);
    vq_migrate_options_done(&options);
}

static void migrate_with(uint64_t flags)
{
    begin_with(flags);
    assert_true(fake_host_until(is_told, NULL));
    assert_int_equal(told.n, 1);
}

static void expect_error(int code, const char *words)
{
    assert_int_equal(told.err.code, code);
    if (strstr(told.err.message, words) == NULL)
        fail_msg("told: %s", told.err.message);
}

#define FEATURES "connect_supports_feature connect_supports_feature connect_supports_feature "
#define PREPARE  "domain_migrate_prepare3_params "
#define FINISH   "domain_migrate_finish3_params "

static void all_phases_hand_on_what_the_one_before_found_out(void **state)
{
    const uint64_t flags = VIR_MIGRATE_LIVE | VIR_MIGRATE_ABORT_ON_ERROR | VIR_MIGRATE_AUTO_CONVERGE;

    (void)state;
    migrate_with(flags);
    assert_int_equal(told.err.code, VIR_ERR_OK);
    assert_string_equal(fake.peer_uri, "qemu+tls://there/system");
    assert_string_equal(peer.calls, FEATURES PREPARE FINISH);
    assert_string_equal(here.calls, "begin perform confirm ");
    assert_string_equal(there.prepare_cookie, "begun");
    assert_string_equal(here.perform_cookie, "prepared");
    assert_string_equal(there.finish_cookie, "performed");
    assert_string_equal(here.confirm_cookie, "finished");
    assert_string_equal(here.perform_uri, "tcp:there:49152");
    assert_string_equal(there.dxml, "<domain/>");
    assert_string_equal(there.dname, "guest");
    assert_string_equal(there.uri, "tcp:there:49152");
    assert_int_equal(there.cancelled, 0);
    assert_int_equal(there.prepare_flags, VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER);
    assert_int_equal(there.finish_flags, there.prepare_flags);
    assert_true((here.begin_flags & VIR_MIGRATE_CHANGE_PROTECTION) != 0);
    assert_int_equal(here.perform_flags, here.begin_flags);
    assert_true(peer.is_closed);
}

static void a_paused_guest_stays_paused(void **state)
{
    (void)state;
    guest.state = VIR_DOMAIN_PAUSED;
    migrate_with(0);
    assert_int_equal(there.prepare_flags, VIR_MIGRATE_PAUSED | VIR_MIGRATE_PEER2PEER);
    assert_true((here.perform_flags & VIR_MIGRATE_PAUSED) != 0);
}

static void an_older_daemon_is_asked_without_parameters(void **state)
{
    (void)state;
    there.without_feature = 13;
    migrate_with(0);
    assert_int_equal(told.err.code, VIR_ERR_OK);
    assert_string_equal(peer.calls, FEATURES "domain_migrate_prepare3 domain_migrate_finish3 ");
    assert_string_equal(there.dxml, "<domain/>");
    assert_string_equal(there.dname, "guest");
    assert_string_equal(there.finish_cookie, "performed");
}

static void a_node_of_the_cluster_is_not_asked_what_it_can(void **state)
{
    (void)state;
    migrate_with(0);
    assert_int_equal(told.err.code, VIR_ERR_OK);
    assert_string_equal(peer.calls, PREPARE FINISH);
}

static void this_very_node_is_refused(void **state)
{
    (void)state;
    fake_peer_init(&peer, fake.host.node_id, "node1", answer, NULL);
    migrate_with(0);
    expect_error(VIR_ERR_OPERATION_INVALID, "same host");
    assert_string_equal(here.calls, "");
}

static void a_peer_that_cannot_be_reached_is_named(void **state)
{
    (void)state;
    fake.peer = NULL;
    migrate_with(0);
    expect_error(VIR_ERR_OPERATION_FAILED, "Failed to connect to remote libvirt URI qemu+tls://there/system");
    assert_string_equal(here.calls, "");
}

static void a_daemon_that_cannot_do_it_is_told_apart(void **state)
{
    (void)state;
    there.without_feature = 4;
    migrate_with(0);
    expect_error(VIR_ERR_OPERATION_FAILED, "peer-to-peer");
    assert_string_equal(here.calls, "");
}

static void offline_asks_one_feature_more_and_moves_no_data(void **state)
{
    (void)state;
    there.tells_no_uri = true;
    migrate_with(VIR_MIGRATE_OFFLINE | VIR_MIGRATE_PERSIST_DEST);
    assert_int_equal(told.err.code, VIR_ERR_OK);
    assert_string_equal(peer.calls, FEATURES "connect_supports_feature " PREPARE FINISH);
    assert_string_equal(here.calls, "offline begin offline confirm ");
}

static void offline_is_refused_by_whom_it_is_unknown(void **state)
{
    (void)state;
    there.without_feature = 12;
    migrate_with(VIR_MIGRATE_OFFLINE | VIR_MIGRATE_PERSIST_DEST);
    expect_error(VIR_ERR_ARGUMENT_UNSUPPORTED, "offline");
    assert_string_equal(here.calls, "");
}

static void set(struct vq_error *err, int code, int from, const char *message)
{
    *err = VQ_ERROR_INIT;
    (void)vq_error_set_from(err, from, code, "%s", message);
}

static void a_refused_begin_asks_the_destination_for_nothing(void **state)
{
    (void)state;
    set(&here.begin_err, VIR_ERR_OPERATION_INVALID, VIR_FROM_QEMU, "domain is not running");
    migrate_with(0);
    expect_error(VIR_ERR_OPERATION_INVALID, "not running");
    assert_string_equal(peer.calls, FEATURES);
    assert_string_equal(here.calls, "begin ");
}

static void a_refused_prepare_drops_what_was_begun(void **state)
{
    (void)state;
    set(&there.prepare_err, VIR_ERR_DOM_EXIST, VIR_FROM_QEMU, "is there already");
    migrate_with(0);
    expect_error(VIR_ERR_DOM_EXIST, "there already");
    assert_string_equal(peer.calls, FEATURES PREPARE);
    assert_string_equal(here.calls, "begin drop ");
}

static void a_destination_that_tells_no_uri_is_cancelled(void **state)
{
    (void)state;
    there.tells_no_uri = true;
    set(&there.cancel_err, VIR_ERR_MIGRATE_FINISH_OK, VIR_FROM_QEMU, "");
    migrate_with(0);
    expect_error(VIR_ERR_INTERNAL_ERROR, "did not set uri");
    assert_int_equal(there.cancelled, 1);
    assert_string_equal(here.calls, "begin drop ");
}

static void a_failed_perform_cancels_the_destination(void **state)
{
    (void)state;
    set(&here.perform_err, VIR_ERR_OPERATION_ABORTED, VIR_FROM_QEMU, "canceled by client");
    set(&there.cancel_err, VIR_ERR_OPERATION_FAILED, VIR_FROM_QEMU, "something else");
    migrate_with(0);
    expect_error(VIR_ERR_OPERATION_ABORTED, "canceled by client");
    assert_int_equal(there.cancelled, 1);
    assert_string_equal(there.finish_cookie, "");
    assert_string_equal(here.calls, "begin perform drop ");
}

static void a_destination_that_knows_better_why_is_believed(void **state)
{
    (void)state;
    set(&here.perform_err, VIR_ERR_OPERATION_FAILED, VIR_FROM_QEMU, "unexpectedly failed");
    set(&there.cancel_err, VIR_ERR_INTERNAL_ERROR, VIR_FROM_QEMU, "QEMU has died of a device");
    migrate_with(0);
    expect_error(VIR_ERR_INTERNAL_ERROR, "died of a device");
}

static void a_failed_finish_lets_the_guest_run_on_here(void **state)
{
    (void)state;
    set(&there.finish_err, VIR_ERR_OPERATION_FAILED, VIR_FROM_QEMU, "did not come up");
    migrate_with(0);
    expect_error(VIR_ERR_OPERATION_FAILED, "did not come up");
    assert_string_equal(here.calls, "begin perform drop ");
}

static void a_finish_without_an_answer_leaves_the_guest_paused(void **state)
{
    (void)state;
    set(&there.finish_err, VIR_ERR_RPC, VIR_FROM_RPC, "the daemon closed the connection");
    migrate_with(0);
    expect_error(VIR_ERR_RPC, "stays paused here: the daemon closed");
    assert_string_equal(here.calls, "begin perform unknown ");
}

static void a_finish_whose_answer_is_garbage_leaves_the_guest_paused(void **state)
{
    (void)state;
    set(&there.finish_err, VIR_ERR_NO_MEMORY, VIR_FROM_RPC, "the daemon's answer cannot be read");
    migrate_with(0);
    expect_error(VIR_ERR_NO_MEMORY, "stays paused here: the daemon's answer");
    assert_string_equal(here.calls, "begin perform unknown ");
}

static void between_nodes_a_failed_finish_changes_nothing(void **state)
{
    (void)state;
    set(&there.finish_err, VIR_ERR_OPERATION_FAILED, VIR_FROM_QEMU, "not reachable");
    migrate_with(0);
    assert_int_equal(told.err.code, VIR_ERR_OK);
    assert_string_equal(here.calls, "begin perform confirm ");
}

static void a_failed_confirm_is_not_the_users_concern(void **state)
{
    (void)state;
    set(&here.confirm_err, VIR_ERR_INTERNAL_ERROR, VIR_FROM_QEMU, "x");
    migrate_with(0);
    assert_int_equal(told.err.code, VIR_ERR_OK);
}

static void a_lost_connection_ends_the_sending(void **state)
{
    (void)state;
    here.holds_perform = true;
    begin_with(0);
    assert_true(fake_host_until(performs, NULL));
    fake_peer_lose(&peer);
    assert_string_equal(here.calls, "begin perform give-up ");
    assert_non_null(strstr(here.given_up.message, "Lost connection to destination host"));
    here.perform_cb(NULL, 0, &here.given_up, here.perform_data);
    assert_int_equal(told.n, 1);
    expect_error(VIR_ERR_OPERATION_FAILED, "Lost connection");
    assert_string_equal(here.calls, "begin perform give-up drop ");
    assert_int_equal(there.cancelled, -1);
}

static void between_nodes_a_lost_connection_ends_nothing(void **state)
{
    (void)state;
    here.holds_perform = true;
    begin_with(0);
    assert_true(fake_host_until(performs, NULL));
    fake_peer_lose(&peer);
    assert_string_equal(here.calls, "begin perform ");
    here.perform_cb((const uint8_t *)"x", 1, NULL, here.perform_data);
    assert_int_equal(told.n, 1);
    assert_int_equal(told.err.code, VIR_ERR_OK);
    assert_string_equal(here.calls, "begin perform confirm ");
}

static void a_connection_lost_while_it_prepares_drops_what_was_begun(void **state)
{
    (void)state;
    there.holds_prepare = true;
    begin_with(0);
    assert_true(fake_host_until(prepares, NULL));
    fake_peer_lose(&peer);
    assert_int_equal(told.n, 1);
    expect_error(VIR_ERR_OPERATION_FAILED, "not reachable");
    assert_string_equal(here.calls, "begin drop ");
}

static void stopping_the_daemon_ends_what_waits_there(void **state)
{
    (void)state;
    there.holds_prepare = true;
    begin_with(0);
    assert_true(fake_host_until(prepares, NULL));
    qemu.stopping = true;
    vq_migrate_p2p_stop(&qemu);
    assert_int_equal(told.n, 1);
    assert_string_equal(here.calls, "begin ");
    assert_true(peer.is_closed);
}

static void stopping_the_daemon_leaves_what_waits_here_to_the_guest(void **state)
{
    struct vq_error err;

    (void)state;
    here.holds_perform = true;
    begin_with(0);
    assert_true(fake_host_until(performs, NULL));
    qemu.stopping = true;
    vq_migrate_p2p_stop(&qemu);
    assert_int_equal(told.n, 0);
    has_guest = false;
    set(&err, VIR_ERR_OPERATION_FAILED, VIR_FROM_QEMU, "the daemon is stopping");
    here.perform_cb(NULL, 0, &err, here.perform_data);
    assert_int_equal(told.n, 1);
    expect_error(VIR_ERR_OPERATION_FAILED, "stopping");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name)    cmocka_unit_test_setup_teardown(name, start, stop)
#define CLUSTER(name) cmocka_unit_test_setup_teardown(name, start_in_cluster, stop)
        TEST(all_phases_hand_on_what_the_one_before_found_out),
        TEST(a_paused_guest_stays_paused),
        TEST(an_older_daemon_is_asked_without_parameters),
        CLUSTER(a_node_of_the_cluster_is_not_asked_what_it_can),
        TEST(this_very_node_is_refused),
        TEST(a_peer_that_cannot_be_reached_is_named),
        TEST(a_daemon_that_cannot_do_it_is_told_apart),
        TEST(offline_asks_one_feature_more_and_moves_no_data),
        TEST(offline_is_refused_by_whom_it_is_unknown),
        TEST(a_refused_begin_asks_the_destination_for_nothing),
        TEST(a_refused_prepare_drops_what_was_begun),
        TEST(a_destination_that_tells_no_uri_is_cancelled),
        TEST(a_failed_perform_cancels_the_destination),
        TEST(a_destination_that_knows_better_why_is_believed),
        TEST(a_failed_finish_lets_the_guest_run_on_here),
        TEST(a_finish_without_an_answer_leaves_the_guest_paused),
        TEST(a_finish_whose_answer_is_garbage_leaves_the_guest_paused),
        CLUSTER(between_nodes_a_failed_finish_changes_nothing),
        TEST(a_failed_confirm_is_not_the_users_concern),
        TEST(a_lost_connection_ends_the_sending),
        CLUSTER(between_nodes_a_lost_connection_ends_nothing),
        TEST(a_connection_lost_while_it_prepares_drops_what_was_begun),
        TEST(stopping_the_daemon_ends_what_waits_there),
        TEST(stopping_the_daemon_leaves_what_waits_here_to_the_guest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
