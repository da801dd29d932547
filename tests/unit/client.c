/* The client of the libvirt protocol: against our own daemon's sessions, and against a daemon that says what it likes.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "node/client/stream.h"
#include "proto/client.h"
#include "proto/frame.h"
#include "proto/gen/remote.h"
#include "tests/unit/fake_node.h"

enum { MAIN_PROGRAM = 0x20008086 };

/* ---- What the client told ---- */

static struct {
    unsigned n_opened, n_ended, n_writable, n_failed;
    struct vq_error opened, ended, failed;
} told;

struct answer {
    unsigned n;
    struct vq_error err;
    char text[64];
    int32_t number;
    struct vq_client *closes; /* closed from inside the call-back */
};

static uv_loop_t loop;
static struct vq_client *client;
static int server; /* the other end of the client's connection */
static struct vq_buffer server_in;
static size_t server_taken;

static void on_opened(struct vq_client *opened, const struct vq_error *err, void *data)
{
    (void)opened;
    (void)data;
    told.n_opened++;
    told.opened = err == NULL ? VQ_ERROR_INIT : *err;
}

static void on_ended(struct vq_client *ended, const struct vq_error *err, void *data)
{
    (void)ended;
    (void)data;
    told.n_ended++;
    told.ended = *err;
}

static void on_writable(struct vq_client *writable, void *data)
{
    (void)writable;
    (void)data;
    told.n_writable++;
}

static void on_stream_failed(struct vq_client *failed, const struct vq_error *err, void *data)
{
    (void)failed;
    (void)data;
    told.n_failed++;
    told.failed = *err;
}

static const struct vq_client_callbacks callbacks = {
    .opened = on_opened, .ended = on_ended, .writable = on_writable, .stream_failed = on_stream_failed};

static void answered(const void *ret, const struct vq_error *err, void *data)
{
    struct answer *answer = data;

    (void)ret;
    answer->n++;
    answer->err = err == NULL ? VQ_ERROR_INIT : *err;
    if (answer->closes != NULL)
        vq_client_close(answer->closes);
}

static void answered_with_hostname(const void *ret, const struct vq_error *err, void *data)
{
    struct answer *answer = data;

    answered(ret, err, data);
    if (err == NULL)
        (void)snprintf(answer->text, sizeof(answer->text), "%s",
                       ((const struct vq_remote_connect_get_hostname_ret *)ret)->hostname);
}

/* ---- A daemon that the test plays ---- */

static void timer_fired(uv_timer_t *timer)
{
    *(bool *)timer->data = true;
}

static bool run_until(uv_loop_t *on, bool (*is_true)(void), uint64_t ms)
{
    uv_timer_t timer;
    bool late = false;

    (void)uv_timer_init(on, &timer);
    timer.data = &late;
    (void)uv_timer_start(&timer, timer_fired, ms, 0);
    while (!late && (is_true == NULL || !is_true())) {
        if (is_true != NULL && uv_timer_get_due_in(&timer) > 0)
            (void)uv_run(on, UV_RUN_NOWAIT);
        else
            (void)uv_run(on, UV_RUN_ONCE);
        if (is_true != NULL)
            (void)usleep(200);
    }
    uv_close((uv_handle_t *)&timer, NULL);
    (void)uv_run(on, UV_RUN_NOWAIT);
    return !late;
}

static struct vq_frame server_frame;
static bool server_saw_end;

static bool server_has_frame(void)
{
    uint8_t bytes[65536];
    size_t length;
    ssize_t got;

    if (server_taken > 0) {
        memmove(server_in.data, server_in.data + server_taken, server_in.length - server_taken);
        vq_buffer_truncate(&server_in, server_in.length - server_taken);
        server_taken = 0;
    }
    while ((got = recv(server, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
        vq_buffer_add_bytes(&server_in, bytes, (size_t)got);
    server_saw_end = got == 0 || (got < 0 && errno != EAGAIN);
    if (vq_frame_decode((const uint8_t *)server_in.data, server_in.length, &server_frame, &length, NULL) == 1) {
        server_taken = length;
        return true;
    }
    return false;
}

static const struct vq_frame *server_next(void)
{
    if (!run_until(&loop, server_has_frame, 5000))
        fail_msg("the client sends nothing");
    return &server_frame;
}

static uint32_t server_expect(int32_t procedure)
{
    assert_int_equal(server_next()->procedure, procedure);
    assert_int_equal(server_frame.program, MAIN_PROGRAM);
    assert_int_equal(server_frame.version, 1);
    assert_int_equal(server_frame.status, VQ_FRAME_OK);
    return server_frame.serial;
}

static void server_send(const struct vq_frame *frame, const struct vq_xdr_struct *type, const void *value)
{
    struct vq_buffer out = VQ_BUFFER_INIT;
    size_t begin = vq_frame_begin(&out, frame);

    if (type != NULL)
        assert_int_equal(vq_xdr_encode(type, value, &out, NULL), 0);
    assert_int_equal(vq_frame_end(&out, begin, NULL), 0);
    assert_int_equal(send(server, out.data, out.length, MSG_NOSIGNAL), out.length);
    vq_buffer_done(&out);
}

static struct vq_frame reply_to(uint32_t serial, int32_t procedure)
{
    return (struct vq_frame){
        .program = MAIN_PROGRAM, .version = 1, .procedure = procedure, .type = VQ_FRAME_REPLY, .serial = serial};
}

static void server_reply(uint32_t serial, int32_t procedure, const struct vq_xdr_struct *type, const void *value)
{
    const struct vq_frame frame = reply_to(serial, procedure);

    server_send(&frame, type, value);
}

static void server_fail(struct vq_frame frame, int code, int from, const char *message, const char *detail)
{
    const struct vq_remote_error error = {.code = code,
                                          .domain = from,
                                          .message = message,
                                          .level = 2,
                                          .str1 = "%s",
                                          .str2 = detail,
                                          .int1 = -1,
                                          .int2 = -1};

    frame.status = VQ_FRAME_ERROR;
    server_send(&frame, &vq_xdr_remote_error, &error);
}

static void connect_client(const struct vq_client_options *options)
{
    int pair[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
    server = pair[1];
    client = vq_client_open(&loop, pair[0], NULL, options, &callbacks, NULL);
}

static bool is_opened(void)
{
    return told.n_opened > 0;
}

static bool is_ended(void)
{
    return told.n_ended > 0;
}

static void answer_auth(int32_t type)
{
    const struct vq_remote_auth_list_ret list = {.n_types = 1, .types = &type};

    server_reply(server_expect(VQ_REMOTE_AUTH_LIST), VQ_REMOTE_AUTH_LIST, &vq_xdr_remote_auth_list_ret, &list);
}

static void answer_feature(int32_t supported)
{
    const struct vq_remote_connect_supports_feature_ret feature = {.supported = supported};

    server_reply(server_expect(VQ_REMOTE_CONNECT_SUPPORTS_FEATURE), VQ_REMOTE_CONNECT_SUPPORTS_FEATURE,
                 &vq_xdr_remote_connect_supports_feature_ret, &feature);
}

static const struct vq_client_options usual = {.uri = "qemu:///system", .open_ms = 5000};

static void open_with(const struct vq_client_options *options, int32_t keepalive)
{
    connect_client(options);
    answer_auth(0);
    answer_feature(keepalive);
    server_reply(server_expect(VQ_REMOTE_CONNECT_OPEN), VQ_REMOTE_CONNECT_OPEN, NULL, NULL);
    assert_true(run_until(&loop, is_opened, 5000));
    assert_int_equal(told.opened.code, VIR_ERR_OK);
}

static int start(void **state)
{
    (void)state;
    memset(&told, 0, sizeof(told));
    server_in = VQ_BUFFER_INIT;
    server_taken = 0;
    client = NULL;
    server = -1;
    assert_int_equal(uv_loop_init(&loop), 0);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    if (client != NULL)
        vq_client_close(client);
    if (server >= 0)
        assert_int_equal(close(server), 0);
    vq_buffer_done(&server_in);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    return 0;
}

/* ---- Opening ---- */

static void opening_says_what_a_client_says(void **state)
{
    struct vq_remote_connect_open_args args = {0};
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);

    (void)state;
    connect_client(&usual);
    answer_auth(0);
    answer_feature(1);
    uint32_t serial = server_expect(VQ_REMOTE_CONNECT_OPEN);
    assert_int_equal(serial, 2);
    assert_int_equal(vq_xdr_decode(&vq_xdr_remote_connect_open_args, server_frame.payload, server_frame.payload_length,
                                   arena, &args, NULL, NULL),
                     0);
    assert_string_equal(args.name, "qemu:///system");
    assert_int_equal(args.flags, 0);
    assert_int_equal(told.n_opened, 0);
    server_reply(serial, VQ_REMOTE_CONNECT_OPEN, NULL, NULL);
    assert_true(run_until(&loop, is_opened, 5000));
    assert_int_equal(told.opened.code, VIR_ERR_OK);
}

static void a_daemon_that_wants_a_password_is_refused_clearly(void **state)
{
    (void)state;
    connect_client(&usual);
    answer_auth(1);
    assert_true(run_until(&loop, is_opened, 5000));
    assert_int_equal(told.opened.code, VIR_ERR_AUTH_FAILED);
    assert_non_null(strstr(told.opened.message, "SASL"));
    assert_int_equal(told.n_ended, 0);
}

static void polkit_is_asked_when_the_daemon_wants_it(void **state)
{
    const struct vq_remote_auth_polkit_ret polkit = {.complete = 1};

    (void)state;
    connect_client(&usual);
    answer_auth(2);
    server_reply(server_expect(VQ_REMOTE_AUTH_POLKIT), VQ_REMOTE_AUTH_POLKIT, &vq_xdr_remote_auth_polkit_ret, &polkit);
    answer_feature(0);
    server_reply(server_expect(VQ_REMOTE_CONNECT_OPEN), VQ_REMOTE_CONNECT_OPEN, NULL, NULL);
    assert_true(run_until(&loop, is_opened, 5000));
    assert_int_equal(told.opened.code, VIR_ERR_OK);
}

static void the_daemons_refusal_of_the_uri_is_told(void **state)
{
    (void)state;
    connect_client(&usual);
    answer_auth(0);
    answer_feature(1);
    server_fail(reply_to(server_expect(VQ_REMOTE_CONNECT_OPEN), VQ_REMOTE_CONNECT_OPEN), VIR_ERR_NO_CONNECT,
                VIR_FROM_NONE, "no connection driver available for qemu:///system", "qemu:///system");
    assert_true(run_until(&loop, is_opened, 5000));
    assert_int_equal(told.opened.code, VIR_ERR_NO_CONNECT);
    assert_string_equal(told.opened.message, "qemu:///system");
    assert_int_equal(told.n_opened, 1);
}

static void a_silent_daemon_is_given_up_at_the_deadline(void **state)
{
    const struct vq_client_options hasty = {.uri = "qemu:///system", .open_ms = 50};

    (void)state;
    connect_client(&hasty);
    (void)server_expect(VQ_REMOTE_AUTH_LIST);
    assert_true(run_until(&loop, is_opened, 2000));
    assert_int_equal(told.opened.code, VIR_ERR_OPERATION_TIMEOUT);
    assert_non_null(strstr(told.opened.message, "authentication"));
}

static void a_daemon_that_hangs_up_while_it_is_opened_is_told_once(void **state)
{
    (void)state;
    connect_client(&usual);
    answer_auth(0);
    (void)server_expect(VQ_REMOTE_CONNECT_SUPPORTS_FEATURE);
    assert_int_equal(close(server), 0);
    server = -1;
    assert_true(run_until(&loop, is_opened, 5000));
    assert_int_equal(told.opened.code, VIR_ERR_RPC);
    assert_false(run_until(&loop, is_ended, 20));
    assert_int_equal(told.n_opened, 1);
}

/* ---- Calls ---- */

static void call_hostname(struct answer *answer, uint64_t timeout_ms)
{
    vq_client_call(client, VQ_PROGRAM_REMOTE, VQ_REMOTE_CONNECT_GET_HOSTNAME, NULL, timeout_ms, answered_with_hostname,
                   answer);
}

static struct answer *waited_for;

static bool is_answered(void)
{
    return waited_for->n > 0;
}

static void wait_for(struct answer *answer)
{
    waited_for = answer;
    assert_true(run_until(&loop, is_answered, 5000));
    assert_int_equal(answer->n, 1);
}

static void reply_hostname(uint32_t serial, const char *name)
{
    const struct vq_remote_connect_get_hostname_ret ret = {.hostname = name};

    server_reply(serial, VQ_REMOTE_CONNECT_GET_HOSTNAME, &vq_xdr_remote_connect_get_hostname_ret, &ret);
}

static void answers_find_their_calls_in_any_order(void **state)
{
    struct answer answers[3] = {0};
    uint32_t serials[3];
    static const char *const names[] = {"a", "b", "c"};

    (void)state;
    open_with(&usual, 1);
    for (int i = 0; i < 3; i++)
        call_hostname(&answers[i], 0);
    for (int i = 0; i < 3; i++)
        serials[i] = server_expect(VQ_REMOTE_CONNECT_GET_HOSTNAME);
    for (int i = 2; i >= 0; i--)
        reply_hostname(serials[i], names[i]);
    for (int i = 0; i < 3; i++) {
        wait_for(&answers[i]);
        assert_int_equal(answers[i].err.code, VIR_ERR_OK);
        assert_string_equal(answers[i].text, names[i]);
    }
}

static void an_error_comes_with_code_domain_and_text(void **state)
{
    static const struct {
        int code, from;
        const char *message, *detail, *expected;
        int expected_code;
    } cases[] = {
        {VIR_ERR_OPERATION_FAILED, VIR_FROM_QEMU, "operation failed: no room", "no room", "no room",
         VIR_ERR_OPERATION_FAILED},
        {VIR_ERR_OPERATION_FAILED, VIR_FROM_QEMU, "operation failed: no room", NULL, "no room",
         VIR_ERR_OPERATION_FAILED},
        {VIR_ERR_MIGRATE_FINISH_OK, VIR_FROM_QEMU, "migration successfully aborted", NULL,
         "migration successfully aborted", VIR_ERR_MIGRATE_FINISH_OK},
        {4711, 99, "from the future\n\033[2J", "x", "from the future??[2J", 4711},
        {0, -3, NULL, NULL, "the daemon gave no reason", VIR_ERR_INTERNAL_ERROR},
    };

    (void)state;
    open_with(&usual, 1);
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        struct answer answer = {0};
        call_hostname(&answer, 0);
        server_fail(reply_to(server_expect(VQ_REMOTE_CONNECT_GET_HOSTNAME), VQ_REMOTE_CONNECT_GET_HOSTNAME),
                    cases[i].code, cases[i].from, cases[i].message, cases[i].detail);
        wait_for(&answer);
        assert_int_equal(answer.err.code, cases[i].expected_code);
        assert_int_equal(answer.err.from, cases[i].from < 0 ? VIR_FROM_NONE : cases[i].from);
        assert_string_equal(answer.err.message, cases[i].expected);
    }
}

static void an_answer_after_its_deadline_is_nobodys(void **state)
{
    struct answer late = {0}, next = {0};

    (void)state;
    open_with(&usual, 1);
    call_hostname(&late, 30);
    uint32_t serial = server_expect(VQ_REMOTE_CONNECT_GET_HOSTNAME);
    wait_for(&late);
    assert_int_equal(late.err.code, VIR_ERR_OPERATION_TIMEOUT);
    reply_hostname(serial, "late");
    call_hostname(&next, 0);
    reply_hostname(server_expect(VQ_REMOTE_CONNECT_GET_HOSTNAME), "next");
    wait_for(&next);
    assert_string_equal(next.text, "next");
    assert_int_equal(late.n, 1);
}

static void calls_in_flight_fail_before_the_end_is_told(void **state)
{
    struct answer answers[2] = {0}, after = {0};

    (void)state;
    open_with(&usual, 1);
    call_hostname(&answers[0], 0);
    call_hostname(&answers[1], 0);
    (void)server_expect(VQ_REMOTE_CONNECT_GET_HOSTNAME);
    assert_int_equal(shutdown(server, SHUT_RDWR), 0);
    assert_true(run_until(&loop, is_ended, 5000));
    assert_int_equal(answers[0].n, 1);
    assert_int_equal(answers[1].n, 1);
    assert_int_equal(answers[0].err.code, VIR_ERR_RPC);
    assert_int_equal(told.ended.code, VIR_ERR_RPC);
    call_hostname(&after, 0);
    assert_int_equal(after.n, 0);
    wait_for(&after);
    assert_int_equal(after.err.code, VIR_ERR_RPC);
    assert_int_equal(told.n_ended, 1);
}

static void closing_fails_the_calls_and_says_goodbye(void **state)
{
    struct answer answer = {0};

    (void)state;
    open_with(&usual, 1);
    call_hostname(&answer, 0);
    vq_client_close(vq_take(client));
    assert_int_equal(answer.n, 1);
    assert_int_equal(answer.err.code, VIR_ERR_OPERATION_ABORTED);
    (void)server_expect(VQ_REMOTE_CONNECT_GET_HOSTNAME);
    (void)server_expect(VQ_REMOTE_CONNECT_CLOSE);
    assert_int_equal(told.n_ended, 0);
}

static void a_call_back_may_close_the_client(void **state)
{
    struct answer first = {0}, second = {0};

    (void)state;
    open_with(&usual, 1);
    call_hostname(&second, 0);
    call_hostname(&first, 0);
    uint32_t serial = server_expect(VQ_REMOTE_CONNECT_GET_HOSTNAME);
    first.closes = second.closes = NULL;
    second.closes = vq_take(client);
    reply_hostname(serial, "x");
    wait_for(&second);
    assert_int_equal(first.n, 1);
    assert_int_equal(first.err.code, VIR_ERR_OPERATION_ABORTED);
}

static void more_calls_than_the_limit_are_refused(void **state)
{
    struct answer answers[VQ_CLIENT_CALLS_MAX + 1] = {0};

    (void)state;
    open_with(&usual, 1);
    for (int i = 0; i <= VQ_CLIENT_CALLS_MAX; i++)
        call_hostname(&answers[i], 0);
    wait_for(&answers[VQ_CLIENT_CALLS_MAX]);
    assert_int_equal(answers[VQ_CLIENT_CALLS_MAX].err.code, VIR_ERR_RESOURCE_BUSY);
    assert_int_equal(answers[0].n, 0);
    vq_client_close(vq_take(client));
    assert_int_equal(answers[0].n, 1);
}

/* ---- Keepalive ---- */

static void a_question_is_answered_at_once(void **state)
{
    const struct vq_frame ping = {
        .program = VQ_KEEPALIVE_PROGRAM, .version = 1, .procedure = 1, .type = VQ_FRAME_MESSAGE};

    (void)state;
    connect_client(&usual);
    (void)server_expect(VQ_REMOTE_AUTH_LIST);
    server_send(&ping, NULL, NULL);
    assert_int_equal(server_next()->program, VQ_KEEPALIVE_PROGRAM);
    assert_int_equal(server_frame.procedure, 2);
    assert_int_equal(server_frame.type, VQ_FRAME_MESSAGE);
}

static void a_daemon_that_falls_silent_is_given_up(void **state)
{
    const struct vq_client_options options = {
        .uri = "qemu:///system", .open_ms = 5000, .keepalive_ms = 40, .keepalive_count = 2};
    struct answer answer = {0};

    (void)state;
    open_with(&options, 1);
    call_hostname(&answer, 0);
    (void)server_expect(VQ_REMOTE_CONNECT_GET_HOSTNAME);
    for (int i = 0; i < 2; i++)
        assert_int_equal(server_next()->program, VQ_KEEPALIVE_PROGRAM);
    assert_true(run_until(&loop, is_ended, 5000));
    assert_int_equal(told.ended.code, VIR_ERR_RPC);
    assert_int_equal(answer.n, 1);
}

static void a_daemon_without_keepalive_is_never_asked(void **state)
{
    const struct vq_client_options options = {
        .uri = "qemu:///system", .open_ms = 5000, .keepalive_ms = 10, .keepalive_count = 1};

    (void)state;
    open_with(&options, 0);
    assert_false(run_until(&loop, server_has_frame, 60));
    assert_int_equal(told.n_ended, 0);
}

/* ---- A hostile daemon ---- */

static void what_breaks_the_protocol_ends_the_connection(void **state)
{
    struct vq_frame cases[6];

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        struct answer answer = {0};
        memset(&told, 0, sizeof(told));
        open_with(&usual, 1);
        call_hostname(&answer, 0);
        uint32_t serial = server_expect(VQ_REMOTE_CONNECT_GET_HOSTNAME);
        for (size_t j = 0; j < VQ_N_ELEMENTS(cases); j++)
            cases[j] = reply_to(serial, VQ_REMOTE_CONNECT_GET_HOSTNAME);
        cases[0].procedure = VQ_REMOTE_CONNECT_GET_URI;
        cases[1].program = 0x20008087;
        cases[2].version = 2;
        cases[3].status = VQ_FRAME_CONTINUE;
        cases[4].type = VQ_FRAME_CALL;
        cases[5].type = 99;
        server_send(&cases[i], NULL, NULL);
        assert_true(run_until(&loop, is_ended, 5000));
        assert_int_equal(told.ended.code, VIR_ERR_RPC);
        assert_int_equal(answer.n, 1);
        assert_int_equal(answer.err.code, VIR_ERR_RPC);
        vq_client_close(vq_take(client));
        (void)close(server); /* the next case has its own */
        server = -1;
        vq_buffer_truncate(&server_in, 0);
        server_taken = 0;
    }
}

static void broken_framing_ends_the_connection(void **state)
{
    static const uint8_t huge[] = {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0};

    (void)state;
    open_with(&usual, 1);
    assert_int_equal(send(server, huge, sizeof(huge), 0), sizeof(huge));
    assert_true(run_until(&loop, is_ended, 5000));
    assert_int_equal(told.ended.code, VIR_ERR_RPC);
}

static void an_answer_that_cannot_be_read_fails_its_call_only(void **state)
{
    struct answer bad = {0}, bad_error = {0}, good = {0};

    (void)state;
    open_with(&usual, 1);
    call_hostname(&bad, 0);
    server_reply(server_expect(VQ_REMOTE_CONNECT_GET_HOSTNAME), VQ_REMOTE_CONNECT_GET_HOSTNAME, NULL, NULL);
    wait_for(&bad);
    assert_int_equal(bad.err.code, VIR_ERR_RPC);
    call_hostname(&bad_error, 0);
    struct vq_frame frame = reply_to(server_expect(VQ_REMOTE_CONNECT_GET_HOSTNAME), VQ_REMOTE_CONNECT_GET_HOSTNAME);
    frame.status = VQ_FRAME_ERROR;
    server_send(&frame, NULL, NULL);
    wait_for(&bad_error);
    assert_int_equal(bad_error.err.code, VIR_ERR_RPC);
    call_hostname(&good, 0);
    reply_hostname(server_expect(VQ_REMOTE_CONNECT_GET_HOSTNAME), "fine");
    wait_for(&good);
    assert_string_equal(good.text, "fine");
}

static void events_and_strange_streams_are_ignored(void **state)
{
    struct vq_frame event = {
        .program = MAIN_PROGRAM, .version = 1, .procedure = 318, .type = VQ_FRAME_MESSAGE, .serial = 1};
    struct vq_frame stream = {
        .program = MAIN_PROGRAM, .version = 1, .procedure = 304, .type = VQ_FRAME_STREAM, .serial = 77};
    struct answer answer = {0};

    (void)state;
    open_with(&usual, 1);
    server_send(&event, NULL, NULL);
    server_send(&stream, NULL, NULL);
    stream.type = VQ_FRAME_STREAM_HOLE;
    server_send(&stream, NULL, NULL);
    reply_hostname(4711, "nobody asked");
    call_hostname(&answer, 0);
    reply_hostname(server_expect(VQ_REMOTE_CONNECT_GET_HOSTNAME), "still here");
    wait_for(&answer);
    assert_string_equal(answer.text, "still here");
}

/* ---- Streams ---- */

static struct vq_frame stream_frame;

static void open_stream(struct answer *answer)
{
    const struct vq_remote_domain_migrate_prepare_tunnel3_params_args args = {0};
    const struct vq_remote_domain_migrate_prepare_tunnel3_params_ret ret = {0};

    vq_client_call_stream(client, VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_MIGRATE_PREPARE_TUNNEL3_PARAMS, &args, 0,
                          answered, answer);
    stream_frame = reply_to(server_expect(VQ_REMOTE_DOMAIN_MIGRATE_PREPARE_TUNNEL3_PARAMS),
                            VQ_REMOTE_DOMAIN_MIGRATE_PREPARE_TUNNEL3_PARAMS);
    server_send(&stream_frame, &vq_xdr_remote_domain_migrate_prepare_tunnel3_params_ret, &ret);
    stream_frame.type = VQ_FRAME_STREAM;
    wait_for(answer);
    assert_int_equal(answer->err.code, VIR_ERR_OK);
}

static const struct vq_frame *expect_stream(uint32_t status)
{
    const struct vq_frame *frame = server_next();

    assert_int_equal(frame->type, VQ_FRAME_STREAM);
    assert_int_equal(frame->procedure, stream_frame.procedure);
    assert_int_equal(frame->serial, stream_frame.serial);
    assert_int_equal(frame->status, status);
    return frame;
}

static void a_stream_carries_all_bytes_and_is_confirmed(void **state)
{
    static uint8_t bytes[200000];
    struct answer opened = {0}, finished = {0};
    size_t total = 0;

    (void)state;
    for (size_t i = 0; i < sizeof(bytes); i++)
        bytes[i] = (uint8_t)(i * 7 + i / 256);
    open_with(&usual, 1);
    open_stream(&opened);
    assert_true(vq_client_stream_write(client, bytes, sizeof(bytes)));
    vq_client_stream_finish(client, answered, &finished);
    while (total < sizeof(bytes)) {
        const struct vq_frame *frame = expect_stream(VQ_FRAME_CONTINUE);
        assert_in_range(frame->payload_length, 1, VQ_CLIENT_STREAM_PACKET);
        assert_memory_equal(frame->payload, bytes + total, frame->payload_length);
        total += frame->payload_length;
    }
    assert_int_equal(expect_stream(VQ_FRAME_OK)->payload_length, 0);
    assert_int_equal(finished.n, 0);
    server_send(&stream_frame, NULL, NULL);
    wait_for(&finished);
    assert_int_equal(finished.err.code, VIR_ERR_OK);
}

static bool has_been_writable(void)
{
    (void)server_has_frame(); /* makes room */
    return told.n_writable > 0;
}

static void a_daemon_that_does_not_read_stops_the_writer(void **state)
{
    static uint8_t bytes[VQ_CLIENT_STREAM_PACKET];
    struct answer opened = {0};
    unsigned n = 0;

    (void)state;
    open_with(&usual, 1);
    open_stream(&opened);
    while (vq_client_stream_write(client, bytes, sizeof(bytes)))
        assert_true(++n < 1000);
    assert_int_equal(told.n_writable, 0);
    assert_true(run_until(&loop, has_been_writable, 5000));
    assert_true(vq_client_stream_write(client, bytes, 1));
}

static void a_stream_that_the_daemon_fails_is_told_at_once_and_by_finish(void **state)
{
    struct answer opened = {0}, finished = {0}, call = {0};

    (void)state;
    open_with(&usual, 1);
    open_stream(&opened);
    server_fail(stream_frame, VIR_ERR_OPERATION_FAILED, VIR_FROM_QEMU, "operation failed: gone", "gone");
    call_hostname(&call, 0);
    reply_hostname(server_expect(VQ_REMOTE_CONNECT_GET_HOSTNAME), "x");
    wait_for(&call);
    assert_int_equal(told.n_failed, 1);
    assert_int_equal(told.failed.code, VIR_ERR_OPERATION_FAILED);
    assert_true(vq_client_stream_write(client, "dropped", 7));
    vq_client_stream_finish(client, answered, &finished);
    assert_int_equal(finished.n, 0);
    wait_for(&finished);
    assert_string_equal(finished.err.message, "gone");
}

static void a_lost_connection_fails_the_stream(void **state)
{
    struct answer opened = {0}, finished = {0};

    (void)state;
    open_with(&usual, 1);
    open_stream(&opened);
    vq_client_stream_finish(client, answered, &finished);
    (void)expect_stream(VQ_FRAME_OK);
    assert_int_equal(shutdown(server, SHUT_RDWR), 0);
    assert_true(run_until(&loop, is_ended, 5000));
    assert_int_equal(finished.n, 1);
    assert_int_equal(finished.err.code, VIR_ERR_RPC);
}

static void an_aborted_stream_leaves_room_for_the_next(void **state)
{
    struct answer first = {0}, second = {0}, early = {0};
    const struct vq_remote_domain_migrate_prepare_tunnel3_params_args args = {0};
    const struct vq_remote_domain_migrate_prepare_tunnel3_params_ret ret = {0};

    (void)state;
    open_with(&usual, 1);
    open_stream(&first);
    vq_client_stream_abort(client);
    assert_int_equal(expect_stream(VQ_FRAME_ERROR)->payload_length, 0);
    server_send(&stream_frame, NULL, NULL); /* as the stock daemon confirms */
    open_stream(&second);
    vq_client_stream_abort(client);
    (void)expect_stream(VQ_FRAME_ERROR);

    vq_client_call_stream(client, VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_MIGRATE_PREPARE_TUNNEL3_PARAMS, &args, 0,
                          answered, &early);
    vq_client_stream_abort(client);
    stream_frame = reply_to(server_expect(VQ_REMOTE_DOMAIN_MIGRATE_PREPARE_TUNNEL3_PARAMS),
                            VQ_REMOTE_DOMAIN_MIGRATE_PREPARE_TUNNEL3_PARAMS);
    server_send(&stream_frame, &vq_xdr_remote_domain_migrate_prepare_tunnel3_params_ret, &ret);
    (void)expect_stream(VQ_FRAME_ERROR);
    wait_for(&early);
    assert_int_equal(early.err.code, VIR_ERR_OPERATION_ABORTED);
}

/* ---- Our own daemon ---- */

static struct fake_node node;

static int connect_to_node(void)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/lrun/libvirt-sock", node.dir);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    return fd;
}

static char uploaded[64];

static bool take_upload(struct vq_stream *stream, const uint8_t *bytes, size_t length, void *data)
{
    (void)stream;
    (void)data;
    (void)strncat(uploaded, (const char *)bytes, length);
    return true;
}

static void finish_upload(struct vq_stream *stream, void *data)
{
    (void)data;
    vq_stream_finish(stream);
}

static void upload_aborted(struct vq_stream *stream, void *data)
{
    (void)stream;
    (void)data;
}

static const struct vq_stream_callbacks upload = {
    .data = take_upload, .finish = finish_upload, .aborted = upload_aborted};

static void prepare_tunnel(struct vq_request *request)
{
    assert_non_null(request->open_stream(request, &upload, NULL));
    vq_request_reply(request);
}

static const struct vq_driver_row node_rows[] = {
    {VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_MIGRATE_PREPARE_TUNNEL3_PARAMS, prepare_tunnel},
};

static bool node_opened(void *data)
{
    (void)data;
    return told.n_opened > 0;
}

static bool node_answered(void *data)
{
    return ((struct answer *)data)->n > 0;
}

static void our_own_daemon_takes_calls_and_streams(void **state)
{
    struct answer answer = {0}, opened = {0}, finished = {0};
    const struct vq_remote_domain_migrate_prepare_tunnel3_params_args args = {0};

    (void)state;
    vq_qemu_driver.rows = node_rows;
    vq_qemu_driver.n_rows = VQ_N_ELEMENTS(node_rows);
    uploaded[0] = '\0';
    fake_node_start(&node);
    client = vq_client_open(&node.loop, connect_to_node(), NULL, &usual, &callbacks, NULL);
    fake_node_run_until(&node, node_opened, NULL);
    assert_int_equal(told.opened.code, VIR_ERR_OK);
    call_hostname(&answer, 1000);
    vq_client_call_stream(client, VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_MIGRATE_PREPARE_TUNNEL3_PARAMS, &args, 1000,
                          answered, &opened);
    fake_node_run_until(&node, node_answered, &answer);
    assert_string_not_equal(answer.text, "");
    fake_node_run_until(&node, node_answered, &opened);
    assert_int_equal(opened.err.code, VIR_ERR_OK);
    assert_true(vq_client_stream_write(client, "some ", 5));
    assert_true(vq_client_stream_write(client, "memory", 6));
    vq_client_stream_finish(client, answered, &finished);
    fake_node_run_until(&node, node_answered, &finished);
    assert_int_equal(finished.err.code, VIR_ERR_OK);
    assert_string_equal(uploaded, "some memory");
    vq_client_close(vq_take(client));
    fake_node_run_ms(&node, 30);
    fake_node_stop(&node);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
        TEST(opening_says_what_a_client_says),
        TEST(a_daemon_that_wants_a_password_is_refused_clearly),
        TEST(polkit_is_asked_when_the_daemon_wants_it),
        TEST(the_daemons_refusal_of_the_uri_is_told),
        TEST(a_silent_daemon_is_given_up_at_the_deadline),
        TEST(a_daemon_that_hangs_up_while_it_is_opened_is_told_once),
        TEST(answers_find_their_calls_in_any_order),
        TEST(an_error_comes_with_code_domain_and_text),
        TEST(an_answer_after_its_deadline_is_nobodys),
        TEST(calls_in_flight_fail_before_the_end_is_told),
        TEST(closing_fails_the_calls_and_says_goodbye),
        TEST(a_call_back_may_close_the_client),
        TEST(more_calls_than_the_limit_are_refused),
        TEST(a_question_is_answered_at_once),
        TEST(a_daemon_that_falls_silent_is_given_up),
        TEST(a_daemon_without_keepalive_is_never_asked),
        TEST(what_breaks_the_protocol_ends_the_connection),
        TEST(broken_framing_ends_the_connection),
        TEST(an_answer_that_cannot_be_read_fails_its_call_only),
        TEST(events_and_strange_streams_are_ignored),
        TEST(a_stream_carries_all_bytes_and_is_confirmed),
        TEST(a_daemon_that_does_not_read_stops_the_writer),
        TEST(a_stream_that_the_daemon_fails_is_told_at_once_and_by_finish),
        TEST(a_lost_connection_fails_the_stream),
        TEST(an_aborted_stream_leaves_room_for_the_next),
        TEST(our_own_daemon_takes_calls_and_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
