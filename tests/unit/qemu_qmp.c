/* The QMP connection against a partner that says whatever the test wants. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "drivers/qemu/qmp.h"

#define GREETING "{\"QMP\": {\"version\": {\"qemu\": {\"micro\": 0, \"minor\": 2, \"major\": 7}, \"package\": \"\"}, " \
                 "\"capabilities\": [\"oob\"]}}\r\n"

static uv_loop_t loop;
static struct vq_qmp *qmp;
static int partner;
static int n_events, n_broken, n_replies;
static char last_event[64], last_reply[256];
static struct vq_error broken_err, reply_err;

static void on_event(struct vq_qmp *q, const char *name, json_t *data, int64_t seconds, uint32_t micros, void *owner)
{
    (void)q;
    (void)data;
    (void)seconds;
    (void)micros;
    (void)owner;
    n_events++;
    (void)strncpy(last_event, name, sizeof(last_event) - 1);
}

static void on_broken(struct vq_qmp *q, const struct vq_error *err, void *owner)
{
    (void)q;
    (void)owner;
    n_broken++;
    broken_err = *err;
}

static void on_reply(json_t *reply, const struct vq_error *err, void *data)
{
    n_replies++;
    if (data != NULL)
        *(int *)data = n_replies;
    if (err != NULL) {
        reply_err = *err;
        return;
    }
    char *text = json_dumps(reply, JSON_ENCODE_ANY | JSON_COMPACT);
    (void)strncpy(last_reply, text, sizeof(last_reply) - 1);
    free(text);
}

static int setup(void **state)
{
    static const struct vq_qmp_callbacks callbacks = { on_event, on_broken };
    int pair[2];

    (void)state;
    n_events = n_broken = n_replies = 0;
    memset(last_event, 0, sizeof(last_event));
    memset(last_reply, 0, sizeof(last_reply));
    broken_err = reply_err = VQ_ERROR_INIT;
    assert_int_equal(uv_loop_init(&loop), 0);
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, pair), 0);
    partner = pair[1];
    qmp = vq_qmp_new(&loop, pair[0], &callbacks, NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    vq_qmp_free(qmp);
    if (partner >= 0)
        (void)close(partner);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static void turn(void)
{
    for (int i = 0; i < 5; i++)
        (void)uv_run(&loop, UV_RUN_NOWAIT);
}

static void say(const char *text)
{
    assert_int_equal(write(partner, text, strlen(text)), (ssize_t)strlen(text));
    turn();
}

/* All that was said to the partner since the last time. */
static const char *heard(void)
{
    static char text[65536];
    ssize_t n;

    turn();
    n = read(partner, text, sizeof(text) - 1);
    text[n > 0 ? n : 0] = '\0';
    return text;
}

static void greet(void)
{
    say(GREETING);
    assert_non_null(strstr(heard(), "qmp_capabilities"));
    say("{\"return\": {}, \"id\": 2}\r\n");
    assert_true(vq_qmp_is_ready(qmp));
}

static void nothing_is_sent_before_the_greeting_and_calls_follow_negotiation(void **state)
{
    (void)state;
    (void)vq_qmp_call(qmp, "query-status", NULL, 1000, on_reply, NULL);
    (void)vq_qmp_call(qmp, "cont", NULL, 1000, on_reply, NULL);
    assert_string_equal(heard(), "");
    say(GREETING);
    const char *text = heard();
    const char *status = strstr(text, "query-status");
    assert_non_null(status);
    assert_true(strstr(text, "qmp_capabilities") < status);
    assert_true(status < strstr(text, "cont"));
    assert_false(vq_qmp_is_ready(qmp));
    say("{\"return\": {}, \"id\": 4}\r\n");
    assert_true(vq_qmp_is_ready(qmp));
    assert_int_equal(n_replies, 0);
}

static void answers_find_their_question_in_any_order_and_in_pieces(void **state)
{
    int first = 0, second = 0;
    char line[128];

    (void)state;
    greet();
    uint64_t a = vq_qmp_call(qmp, "a", NULL, 1000, on_reply, &first);
    uint64_t b = vq_qmp_call(qmp, "b", json_pack("{s:i}", "x", 1), 1000, on_reply, &second);
    assert_non_null(strstr(heard(), "\"arguments\":{\"x\":1}"));
    (void)snprintf(line, sizeof(line), "{\"return\": {\"of\": \"b\"}, \"id\": %d}\r\n{\"ret", (int)b);
    say(line);
    assert_int_equal(second, 1);
    assert_string_equal(last_reply, "{\"of\":\"b\"}");
    (void)snprintf(line, sizeof(line), "urn\": 7, \"id\": %d}\r\n", (int)a);
    say(line);
    assert_int_equal(first, 2);
    assert_int_equal(n_broken, 0);
}

static void a_refusal_of_qemu_is_an_error_with_its_words(void **state)
{
    (void)state;
    greet();
    (void)vq_qmp_call(qmp, "a", NULL, 1000, on_reply, NULL);
    say("{\"id\": 3, \"error\": {\"class\": \"GenericError\", \"desc\": \"Device 'x' not found\"}}\n");
    assert_int_equal(reply_err.code, VIR_ERR_INTERNAL_ERROR);
    assert_non_null(strstr(reply_err.message, "Device 'x' not found"));
    assert_int_equal(n_broken, 0);
}

static void numbers_beyond_a_signed_one_are_no_garbage(void **state)
{
    (void)state;
    greet();
    (void)vq_qmp_call(qmp, "a", NULL, 1000, on_reply, NULL);
    say("{\"return\": {\"s\": \"\\\"18446744073709551615\", \"a\": 18446744073709551615, \"b\": -9223372036854775808, "
        "\"c\": [9223372036854775807,9223372036854775808]}, \"id\": 3}\r\n");
    assert_int_equal(n_broken, 0);
    assert_string_equal(last_reply, "{\"s\":\"\\\"18446744073709551615\",\"a\":1.8446744073709552e19,"
                                    "\"b\":-9223372036854775808,\"c\":[9223372036854775807,9.2233720368547758e18]}");
}

static void a_question_that_is_not_answered_fails_at_its_deadline_and_a_late_answer_is_dropped(void **state)
{
    (void)state;
    greet();
    (void)vq_qmp_call(qmp, "a", NULL, 10, on_reply, NULL);
    while (n_replies == 0)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(reply_err.code, VIR_ERR_OPERATION_TIMEOUT);
    assert_true(vq_qmp_is_silent(qmp));
    say("{\"return\": {}, \"id\": 3}\r\n");
    assert_false(vq_qmp_is_silent(qmp));
    assert_int_equal(n_replies, 1);
    assert_int_equal(n_broken, 0);
}

static void a_cancelled_call_is_never_answered(void **state)
{
    (void)state;
    greet();
    vq_qmp_cancel(qmp, vq_qmp_call(qmp, "a", NULL, 10, on_reply, NULL));
    say("{\"return\": {}, \"id\": 3}\r\n");
    assert_int_equal(n_replies, 0);
    assert_int_equal(n_broken, 0);
}

static void events_are_told_with_their_name(void **state)
{
    (void)state;
    greet();
    say("{\"timestamp\": {\"seconds\": 1, \"microseconds\": 2}, \"event\": \"STOP\"}\r\n");
    assert_int_equal(n_events, 1);
    assert_string_equal(last_event, "STOP");
}

/* Each breaks the connection once, answers the call in flight with an error, and calls nothing twice. */
static void garbage_breaks_the_connection(void **state)
{
    static const char *const lines[] = {
        "hello\n", "{\"return\": {}, \"id\": 99}\n", "{\"return\": {}}\n", "[]\n", "{\"id\": 3}\n", "{}\n",
        "{\"return\": {}, \"id\": \"3\"}\n", "{\"event\": 7}\n", "{\"event\": \"X\", \"data\": 3}\n",
        "{\"error\": {\"class\": 1}, \"id\": 3}\n", "{\"return\": 1, \"error\": {}, \"id\": 3}\n", GREETING,
        "{\"return\": {}, \"id\": -1}\n", "{\"return\": \"\xff\xfe\", \"id\": 3}\n", "{\"QMP\": 3}\n", "\"\\ud800\"\n",
    };

    for (size_t i = 0; i < VQ_N_ELEMENTS(lines); i++) {
        if (i > 0)
            (void)setup(state);
        greet();
        (void)vq_qmp_call(qmp, "a", NULL, 1000, on_reply, NULL);
        say(lines[i]);
        assert_int_equal(n_broken, 1);
        assert_int_not_equal(broken_err.code, VIR_ERR_OK);
        assert_int_equal(n_replies, 1);
        assert_int_equal(reply_err.code, VIR_ERR_OPERATION_FAILED);
        (void)vq_qmp_call(qmp, "b", NULL, 1000, on_reply, NULL);
        turn();
        assert_int_equal(n_replies, 2);
        assert_int_equal(n_broken, 1);
        if (i + 1 < VQ_N_ELEMENTS(lines))
            (void)teardown(state);
    }
}

static void a_closed_connection_is_told_without_an_error_code(void **state)
{
    (void)state;
    greet();
    (void)vq_qmp_call(qmp, "a", NULL, 1000, on_reply, NULL);
    turn();
    (void)close(partner);
    partner = -1;
    turn();
    assert_int_equal(n_broken, 1);
    assert_int_equal(broken_err.code, VIR_ERR_OK);
    assert_int_equal(n_replies, 1);
}

static void an_endless_line_breaks_at_the_limit(void **state)
{
    char *block = vq_calloc(1, 65536);

    (void)state;
    greet();
    memset(block, 'x', 65536);
    for (int i = 0; i < 100000 && n_broken == 0; i++) {
        (void)!write(partner, block, 65536);
        (void)uv_run(&loop, UV_RUN_NOWAIT);
    }
    assert_int_equal(n_broken, 1);
    assert_non_null(strstr(broken_err.message, "more than"));
    free(block);
}

static void more_calls_than_the_limit_are_refused(void **state)
{
    (void)state;
    greet();
    for (int i = 0; i < VQ_QMP_CALLS_MAX; i++)
        (void)vq_qmp_call(qmp, "a", NULL, 60000, on_reply, NULL);
    turn();
    assert_int_equal(n_replies, 0);
    (void)vq_qmp_call(qmp, "b", NULL, 60000, on_reply, NULL);
    turn();
    assert_int_equal(n_replies, 1);
    assert_int_equal(reply_err.code, VIR_ERR_OPERATION_FAILED);
    assert_int_equal(n_broken, 0);
}

static void closing_answers_what_is_in_flight(void **state)
{
    (void)state;
    greet();
    (void)vq_qmp_call(qmp, "a", NULL, 60000, on_reply, NULL);
    vq_qmp_free(qmp);
    qmp = NULL;
    assert_int_equal(n_replies, 1);
    assert_int_equal(n_broken, 0);
}

static void free_in_reply(json_t *reply, const struct vq_error *err, void *data)
{
    (void)reply;
    (void)err;
    (void)data;
    n_replies++;
    vq_qmp_free(qmp);
    qmp = NULL;
}

static void a_callback_may_close_the_connection(void **state)
{
    (void)state;
    greet();
    (void)vq_qmp_call(qmp, "a", NULL, 60000, free_in_reply, NULL);
    (void)vq_qmp_call(qmp, "b", NULL, 60000, on_reply, NULL);
    say("{\"return\": {}, \"id\": 3}\r\n{\"return\": {}, \"id\": 4}\r\nxxx\n");
    assert_int_equal(n_replies, 2);
    assert_int_equal(n_broken, 0);
}

static void a_descriptor_travels_with_its_command(void **state)
{
    char control[CMSG_SPACE(sizeof(int))], bytes[256];
    struct iovec iov = { bytes, sizeof(bytes) };
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = control,
                              .msg_controllen = sizeof(control) };
    int fd = open("/dev/null", O_RDONLY | O_CLOEXEC), got = -1;

    (void)state;
    greet();
    (void)vq_qmp_call_fd(qmp, "getfd", json_pack("{s:s}", "fdname", "x"), fd, 1000, on_reply, NULL);
    (void)close(fd);
    turn();
    assert_true(recvmsg(partner, &message, MSG_CMSG_CLOEXEC) > 0);
    assert_non_null(CMSG_FIRSTHDR(&message));
    memcpy(&got, CMSG_DATA(CMSG_FIRSTHDR(&message)), sizeof(int));
    assert_true(got >= 0);
    (void)close(got);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(nothing_is_sent_before_the_greeting_and_calls_follow_negotiation),
        TEST(answers_find_their_question_in_any_order_and_in_pieces),
        TEST(a_refusal_of_qemu_is_an_error_with_its_words),
        TEST(numbers_beyond_a_signed_one_are_no_garbage),
        TEST(a_question_that_is_not_answered_fails_at_its_deadline_and_a_late_answer_is_dropped),
        TEST(a_cancelled_call_is_never_answered),
        TEST(events_are_told_with_their_name),
        TEST(garbage_breaks_the_connection),
        TEST(a_closed_connection_is_told_without_an_error_code),
        TEST(an_endless_line_breaks_at_the_limit),
        TEST(more_calls_than_the_limit_are_refused),
        TEST(closing_answers_what_is_in_flight),
        TEST(a_callback_may_close_the_connection),
        TEST(a_descriptor_travels_with_its_command),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
