/* The QMP connection: see qmp.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/qmp.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "conf/base/failpoint.h"
#include "conf/base/memory.h"

enum {
    READ_BYTES_PER_TURN = 256 * 1024, /* a QEMU that never stops talking gets its share of the loop and no more */
    HANDSHAKE_MS = 30000,
    GREETING_ID = 1,                  /* the wait for the greeting is the first call, so that it has a deadline */
};

struct call {
    struct call *next;
    uint64_t id;
    uint64_t deadline;       /* loop time */
    unsigned timeout_ms;     /* that it was given */
    vq_qmp_cb cb;            /* NULL: given up; kept until the answer comes, so that its id is still known */
    void *data;
    bool is_raw, is_refused; /* refused: never sent, answered by the timer */
    bool is_handshake;
    char command[48];        /* for people; "": what somebody else wrote */
};

/* One request on its way out. */
struct output {
    struct output *next;
    char *bytes;
    size_t length, sent;
    int fd;                  /* to pass with the first byte, -1: none */
};

struct vq_qmp {
    uv_poll_t poll;
    uv_timer_t timer;
    uv_loop_t *loop;
    int fd;
    unsigned open_handles;
    bool is_greeted, is_ready, is_broken, is_freed;
    struct vq_qmp_reader reader;
    struct call *calls, **calls_end;
    size_t n_calls;
    struct output *outputs, **outputs_end;
    struct output *held, **held_end; /* until the greeting has come */
    size_t output_bytes;
    uint64_t last_id;
    struct vq_error why;
    struct vq_qmp_callbacks callbacks;
    void *owner;
};

static void update_poll(struct vq_qmp *qmp);
static void update_timer(struct vq_qmp *qmp);

/* ---- Calls ---- */

static struct call *call_take(struct vq_qmp *qmp, uint64_t id)
{
    for (struct call **at = &qmp->calls; *at != NULL; at = &(*at)->next) {
        struct call *call = *at;

        if (call->id != id)
            continue;
        *at = call->next;
        if (*at == NULL)
            qmp->calls_end = at;
        qmp->n_calls--;
        return call;
    }
    return NULL;
}

/* At most once. The callback may free the connection: its memory stays until the loop closes the handles. */
static void call_answer(struct call *call, json_t *reply, const struct vq_error *err)
{
    vq_qmp_cb cb = call->cb;

    call->cb = NULL;
    if (cb != NULL)
        cb(reply, err, call->data);
}

static void outputs_free(struct output **list)
{
    while (*list != NULL) {
        struct output *output = *list;

        *list = output->next;
        if (output->fd >= 0)
            (void)close(output->fd);
        free(output->bytes);
        free(output);
    }
}

static void fail_all(struct vq_qmp *qmp, const struct vq_error *err)
{
    /* A callback may make further calls: those are refused by the broken connection and wait for the timer. */
    for (size_t n = qmp->n_calls; n > 0 && qmp->calls != NULL; n--) {
        struct call *call = call_take(qmp, qmp->calls->id);

        call_answer(call, NULL, err);
        free(call);
    }
}

static void qmp_break(struct vq_qmp *qmp, const struct vq_error *err)
{
    struct vq_error call_err = VQ_ERROR_INIT;

    if (qmp->is_broken || qmp->is_freed)
        return;
    qmp->is_broken = true;
    qmp->why = *err;
    update_poll(qmp);
    outputs_free(&qmp->outputs);
    outputs_free(&qmp->held);
    qmp->outputs_end = &qmp->outputs;
    qmp->held_end = &qmp->held;
    qmp->output_bytes = 0;
    (void)vq_error_set(&call_err, VIR_ERR_OPERATION_FAILED, "the monitor connection is gone: %s",
                       err->code == VIR_ERR_OK ? "QEMU closed it" : err->message);
    fail_all(qmp, &call_err);
    if (!qmp->is_freed)
        qmp->callbacks.broken(qmp, err, qmp->owner);
}

static void timer_fired(uv_timer_t *timer)
{
    struct vq_qmp *qmp = timer->data;
    uint64_t now = uv_now(qmp->loop);
    struct vq_error err = VQ_ERROR_INIT;

    for (struct call *call = qmp->calls; call != NULL && !qmp->is_freed;) {
        uint64_t id = call->id;

        if (call->cb == NULL || call->deadline > now) {
            call = call->next;
            continue;
        }
        if (call->is_handshake) {
            (void)vq_error_set(&err, VIR_ERR_OPERATION_TIMEOUT, "QEMU did not greet within %d ms", HANDSHAKE_MS);
            qmp_break(qmp, &err);
            break;
        }
        if (call->is_refused) {
            (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "%s", qmp->is_broken
                                   ? "the monitor connection is gone" : "the monitor has too much to do already");
            call = call_take(qmp, id);
            call_answer(call, NULL, &err);
            free(call);
        } else {
            (void)vq_error_set(&err, VIR_ERR_OPERATION_TIMEOUT,
                               "QEMU did not answer within %.1f s; it is stopped, stuck or very busy", call->timeout_ms / 1000.0);
            call_answer(call, NULL, &err);
        }
        call = qmp->calls; /* the callback may have changed the list */
    }
    update_timer(qmp);
}

static void update_timer(struct vq_qmp *qmp)
{
    uint64_t first = UINT64_MAX, now = uv_now(qmp->loop);

    if (qmp->is_freed)
        return;
    for (const struct call *call = qmp->calls; call != NULL; call = call->next)
        if (call->cb != NULL && call->deadline < first)
            first = call->deadline;
    if (first == UINT64_MAX)
        (void)uv_timer_stop(&qmp->timer);
    else
        (void)uv_timer_start(&qmp->timer, timer_fired, first > now ? first - now : 0, 0);
}

/* ---- Writing ---- */

static ssize_t send_output(struct vq_qmp *qmp, struct output *output)
{
    char control[CMSG_SPACE(sizeof(int))] = { 0 };
    struct iovec iov = { .iov_base = output->bytes + output->sent, .iov_len = output->length - output->sent };
    struct msghdr message = { .msg_iov = &iov, .msg_iovlen = 1 };

    if (output->fd >= 0) {
        message.msg_control = control;
        message.msg_controllen = sizeof(control);
        struct cmsghdr *header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(sizeof(int));
        memcpy(CMSG_DATA(header), &output->fd, sizeof(int));
    }
    return sendmsg(qmp->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
}

static void flush_output(struct vq_qmp *qmp)
{
    while (qmp->outputs != NULL && !qmp->is_broken) {
        struct output *output = qmp->outputs;
        ssize_t n = send_output(qmp, output);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            break;
        if (n < 0) {
            /* Not broken from here: a caller is on the stack. The other direction tells of the same. */
            qmp->output_bytes = VQ_QMP_OUTPUT_MAX;
            (void)shutdown(qmp->fd, SHUT_RDWR);
            break;
        }
        if (output->fd >= 0)
            (void)close(output->fd);
        output->fd = -1;
        output->sent += (size_t)n;
        qmp->output_bytes -= (size_t)n;
        if (output->sent < output->length)
            continue;
        qmp->outputs = output->next;
        if (qmp->outputs == NULL)
            qmp->outputs_end = &qmp->outputs;
        free(output->bytes);
        free(output);
    }
    update_poll(qmp);
}

static bool queue_request(struct vq_qmp *qmp, json_t *request, int fd, bool is_handshake)
{
    struct output *output;
    char *bytes = json_dumps(request, JSON_COMPACT);
    size_t length = bytes != NULL ? strlen(bytes) : 0;

    if (bytes == NULL || length + 1 > VQ_QMP_OUTPUT_MAX - qmp->output_bytes) {
        free(bytes);
        return false;
    }
    output = vq_new(struct output);
    output->bytes = vq_realloc(bytes, length + 2, 1);
    output->bytes[length] = '\n';
    output->length = length + 1;
    output->fd = fd >= 0 ? fcntl(fd, F_DUPFD_CLOEXEC, 3) : -1;
    qmp->output_bytes += output->length;
    if (qmp->is_greeted || is_handshake) {
        *qmp->outputs_end = output;
        qmp->outputs_end = &output->next;
        flush_output(qmp);
    } else {
        *qmp->held_end = output;
        qmp->held_end = &output->next;
    }
    return true;
}

static uint64_t send_call(struct vq_qmp *qmp, json_t *take_request, int fd, unsigned timeout_ms, bool is_raw,
                          bool is_handshake, vq_qmp_cb cb, void *data)
{
    struct call *call = vq_new(struct call);

    assert(!qmp->is_freed);
    assert(cb != NULL);
    const char *command = json_string_value(json_object_get(take_request, "execute"));

    call->id = ++qmp->last_id;
    (void)snprintf(call->command, sizeof(call->command), "%s", command != NULL ? command : "");
    call->cb = cb;
    call->data = data;
    call->is_raw = is_raw;
    call->is_handshake = is_handshake;
    call->deadline = uv_now(qmp->loop) + timeout_ms;
    call->timeout_ms = timeout_ms;
    (void)json_object_set_new(take_request, "id", json_integer((json_int_t)call->id));
    *qmp->calls_end = call;
    qmp->calls_end = &call->next;
    qmp->n_calls++;
    if (qmp->is_broken || qmp->n_calls > VQ_QMP_CALLS_MAX || VQ_FAILPOINT("qemu.qmp.send") ||
        !queue_request(qmp, take_request, fd, is_handshake)) {
        call->is_refused = true;
        call->deadline = uv_now(qmp->loop);
    }
    json_decref(take_request);
    update_timer(qmp);
    return call->id;
}

uint64_t vq_qmp_call_fd(struct vq_qmp *qmp, const char *command, json_t *take_arguments, int fd, unsigned timeout_ms,
                        vq_qmp_cb cb, void *data)
{
    json_t *request = json_object();

    (void)json_object_set_new(request, "execute", json_string(command));
    if (take_arguments != NULL)
        (void)json_object_set_new(request, "arguments", take_arguments);
    return send_call(qmp, request, fd, timeout_ms, false, false, cb, data);
}

uint64_t vq_qmp_call(struct vq_qmp *qmp, const char *command, json_t *take_arguments, unsigned timeout_ms, vq_qmp_cb cb,
                     void *data)
{
    return vq_qmp_call_fd(qmp, command, take_arguments, -1, timeout_ms, cb, data);
}

uint64_t vq_qmp_call_raw(struct vq_qmp *qmp, json_t *take_request, unsigned timeout_ms, vq_qmp_cb cb, void *data)
{
    return send_call(qmp, take_request, -1, timeout_ms, true, false, cb, data);
}

void vq_qmp_cancel(struct vq_qmp *qmp, uint64_t id)
{
    for (struct call *call = qmp->calls; call != NULL; call = call->next)
        if (call->id == id)
            call->cb = NULL;
}

/* ---- Reading ---- */

static void negotiated(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qmp *qmp = data;

    if (reply == NULL) {
        if (!qmp->is_broken)
            qmp_break(qmp, err);
        return;
    }
    qmp->is_ready = true;
}

/* What was asked before the greeting follows the negotiation at once: QEMU takes one command after the other. */
static void release_held(struct vq_qmp *qmp)
{
    if (qmp->held == NULL)
        return;
    *qmp->outputs_end = qmp->held;
    qmp->outputs_end = qmp->held_end;
    qmp->held = NULL;
    qmp->held_end = &qmp->held;
    flush_output(qmp);
}

static int take_greeting(struct vq_qmp *qmp, struct vq_error *err)
{
    json_t *request;

    if (qmp->is_greeted)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "QEMU greeted twice");
    qmp->is_greeted = true;
    free(call_take(qmp, GREETING_ID));
    request = json_object();
    (void)json_object_set_new(request, "execute", json_string("qmp_capabilities"));
    (void)send_call(qmp, request, -1, HANDSHAKE_MS, false, true, negotiated, qmp);
    release_held(qmp);
    return 0;
}

static int take_answer(struct vq_qmp *qmp, const struct vq_qmp_message *message, struct vq_error *err)
{
    struct vq_error call_err = VQ_ERROR_INIT;
    struct call *call = message->has_id ? call_take(qmp, message->id) : NULL;
    bool is_unsent = call != NULL && call->is_refused;

    if (call == NULL || is_unsent) {
        free(call);
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "QEMU answered a question that was not asked%s%s",
                            message->error_text != NULL ? ": " : "",
                            message->error_text != NULL ? message->error_text : "");
    }
    if (call->is_raw) {
        call_answer(call, message->root, NULL);
    } else if (message->kind == VQ_QMP_RETURN) {
        call_answer(call, message->data, NULL);
    } else {
        (void)vq_error_set(&call_err, VIR_ERR_INTERNAL_ERROR, "unable to execute QEMU command '%s': %s",
                           call->command, message->error_text);
        call_answer(call, NULL, &call_err);
    }
    free(call);
    return 0;
}

static int take_message(struct vq_qmp *qmp, const struct vq_qmp_message *message, struct vq_error *err)
{
    switch (message->kind) {
    case VQ_QMP_GREETING:
        return take_greeting(qmp, err);
    case VQ_QMP_EVENT:
        if (qmp->callbacks.event != NULL)
            qmp->callbacks.event(qmp, message->event, message->data, message->seconds, message->micros, qmp->owner);
        return 0;
    case VQ_QMP_RETURN:
    case VQ_QMP_ERROR:
        break;
    }
    return take_answer(qmp, message, err);
}

/* 0 when all complete messages are taken. */
static int take_messages(struct vq_qmp *qmp, struct vq_error *err)
{
    struct vq_qmp_message message;
    int rc;

    while (!qmp->is_freed && !qmp->is_broken && (rc = vq_qmp_reader_next(&qmp->reader, &message, err)) != 0) {
        if (rc < 0)
            return -1;
        rc = take_message(qmp, &message, err);
        vq_qmp_message_done(&message);
        if (rc < 0)
            return -1;
    }
    return 0;
}

static void read_input(struct vq_qmp *qmp)
{
    static char bytes[64 * 1024]; /* one loop, and nothing is kept in it */
    struct vq_error err = VQ_ERROR_INIT;

    for (size_t total = 0; total < READ_BYTES_PER_TURN && !qmp->is_freed && !qmp->is_broken;) {
        ssize_t n = recv(qmp->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0 && errno != ECONNRESET)
            (void)vq_error_system(&err, errno, "cannot read from the monitor");
        if (n <= 0) {
            qmp_break(qmp, &err);
            return;
        }
        total += (size_t)n;
        if (vq_qmp_reader_feed(&qmp->reader, bytes, (size_t)n, &err) < 0 || take_messages(qmp, &err) < 0) {
            qmp_break(qmp, &err);
            return;
        }
        if ((size_t)n < sizeof(bytes))
            return;
    }
}

void vq_qmp_drain(struct vq_qmp *qmp)
{
    for (int turn = 0; turn < 64 && !qmp->is_freed && !qmp->is_broken; turn++)
        read_input(qmp);
}

static void release(struct vq_qmp *qmp)
{
    vq_qmp_reader_done(&qmp->reader);
    free(qmp);
}

static void poll_ready(uv_poll_t *poll, int status, int events)
{
    struct vq_qmp *qmp = poll->data;

    if (status == 0 && (events & UV_WRITABLE) != 0)
        flush_output(qmp);
    read_input(qmp);
    update_timer(qmp);
}

static void update_poll(struct vq_qmp *qmp)
{
    int events = UV_READABLE | (qmp->outputs != NULL ? UV_WRITABLE : 0);

    if (qmp->is_freed)
        return;
    if (qmp->is_broken)
        (void)uv_poll_stop(&qmp->poll);
    else
        (void)uv_poll_start(&qmp->poll, events, poll_ready);
}

/* ---- Opening and closing ---- */

/* Stands for the wait in the list; the timer and qmp_break() know what to do. */
static void greeting_over(json_t *reply, const struct vq_error *err, void *data)
{
    (void)reply;
    (void)err;
    (void)data;
}

struct vq_qmp *vq_qmp_new(uv_loop_t *loop, int take_fd, const struct vq_qmp_callbacks *callbacks, void *owner)
{
    struct vq_qmp *qmp = vq_new(struct vq_qmp);
    struct call *greeting = vq_new(struct call);
    int rc;

    qmp->loop = loop;
    qmp->fd = take_fd;
    qmp->callbacks = *callbacks;
    qmp->owner = owner;
    qmp->outputs_end = &qmp->outputs;
    qmp->held_end = &qmp->held;
    rc = uv_poll_init(loop, &qmp->poll, take_fd);
    assert(rc == 0); /* a socket of ours: only our own mistake can fail it */
    rc = uv_timer_init(loop, &qmp->timer);
    assert(rc == 0);
    qmp->poll.data = qmp->timer.data = qmp;
    qmp->open_handles = 2;

    qmp->last_id = GREETING_ID;
    *greeting = (struct call){ .id = GREETING_ID, .deadline = uv_now(loop) + HANDSHAKE_MS, .cb = greeting_over,
                               .is_handshake = true };
    qmp->calls = greeting;
    qmp->calls_end = &greeting->next;
    qmp->n_calls = 1;
    update_poll(qmp);
    update_timer(qmp);
    return qmp;
}

int vq_qmp_connect(uv_loop_t *loop, const char *path, const struct vq_qmp_callbacks *callbacks, void *owner,
                   struct vq_qmp **ret_qmp, struct vq_error *err)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int fd;

    if (strlen(path) >= sizeof(address.sun_path))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "monitor path '%s' is too long", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return vq_error_system(err, errno, "cannot make a socket");
    if (VQ_FAILPOINT("qemu.qmp.connect") || connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0) {
        int connect_errno = errno;
        (void)close(fd);
        return vq_error_system(err, connect_errno, "cannot connect to the monitor");
    }
    *ret_qmp = vq_qmp_new(loop, fd, callbacks, owner);
    return 0;
}

bool vq_qmp_is_broken(const struct vq_qmp *qmp)
{
    return qmp->is_broken;
}

bool vq_qmp_is_silent(const struct vq_qmp *qmp)
{
    for (const struct call *call = qmp->calls; call != NULL; call = call->next)
        if (!call->is_refused && call->deadline <= uv_now(qmp->loop))
            return true;
    return false;
}

bool vq_qmp_is_ready(const struct vq_qmp *qmp)
{
    return qmp->is_ready && !qmp->is_broken;
}

static void handle_closed(uv_handle_t *handle)
{
    struct vq_qmp *qmp = handle->data;

    if (--qmp->open_handles == 0)
        release(qmp);
}

void vq_qmp_free(struct vq_qmp *qmp)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (qmp == NULL)
        return;
    assert(!qmp->is_freed);
    (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "%s", "the monitor connection was closed");
    qmp->is_broken = true; /* calls made by the callbacks below are refused, and dropped with the rest */
    fail_all(qmp, &err);
    qmp->is_freed = true;
    while (qmp->calls != NULL)
        free(call_take(qmp, qmp->calls->id));
    outputs_free(&qmp->outputs);
    outputs_free(&qmp->held);
    (void)uv_poll_stop(&qmp->poll);
    (void)close(qmp->fd);
    uv_close((uv_handle_t *)&qmp->poll, handle_closed);
    uv_close((uv_handle_t *)&qmp->timer, handle_closed);
}
