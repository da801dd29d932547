/* The client: its connection, calls in flight, keepalive.
 *
 *   greeting ──► opening ──► open ──► ended ──► closed
 *       └───────────┴───────────────────▲
 *
 * A call-back may close the client. Its memory stays until libuv has let go of the timer, which is not before the next
 * turn of the loop; so whoever called back only has to look at the state. */
#define VQ_FROM VIR_FROM_RPC
#include "proto/client.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "proto/channel.h"
#include "proto/client_priv.h"
#include "proto/gen/remote.h"

enum { KEEPALIVE_PING = 1, KEEPALIVE_PONG = 2, PROTOCOL_VERSION = 1, LINGER_MS = 1000, GREETING = 1 };
enum { REPLY_MEMORY_MAX = 128 * 1024 * 1024 }; /* of one decoded reply; its bytes are at most VQ_FRAME_MAX */

/* ---- Writing ----------------------------------------------------------------------------------------------------- */

void vq_client_send(struct vq_client *client, const struct vq_frame *frame, const void *payload, size_t length)
{
    struct vq_buffer buffer = VQ_BUFFER_INIT;
    size_t begin = vq_frame_begin(&buffer, frame);

    vq_buffer_add_bytes(&buffer, payload, length);
    if (vq_frame_end(&buffer, begin, NULL) == 0) /* callers keep to the limits of a frame */
        vq_channel_write_buffer(client->channel, &buffer);
    vq_buffer_done(&buffer);
}

static void send_keepalive(struct vq_client *client, int32_t procedure)
{
    const struct vq_frame frame = {
        .program = VQ_KEEPALIVE_PROGRAM, .version = PROTOCOL_VERSION, .procedure = procedure, .type = VQ_FRAME_MESSAGE};

    vq_client_send(client, &frame, NULL, 0);
}

/* ---- Errors of the daemon ---------------------------------------------------------------------------------------- */

/* The detail alone: whoever shows the error puts our own words for the code in front of it again. */
static const char *error_detail(const struct vq_remote_error *wire)
{
    const char *template = vq_error_template(wire->code);
    size_t before = strcspn(template, "%");

    if (strcmp(template, "%s") != 0 && wire->str2 != NULL)
        return wire->str2;
    if (wire->message != NULL && strncmp(wire->message, template, before) == 0)
        return wire->message + before;
    if (wire->message != NULL)
        return wire->message;
    return wire->str2 != NULL ? wire->str2 : "the daemon gave no reason";
}

void vq_client_read_error(const uint8_t *payload, size_t length, struct vq_error *ret)
{
    struct vq_remote_error wire = {0};
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(REPLY_MEMORY_MAX);

    *ret = VQ_ERROR_INIT;
    if (vq_xdr_decode(&vq_xdr_remote_error, payload, length, arena, &wire, NULL, ret) < 0) {
        vq_error_wrap(ret, "the daemon failed, and its error cannot be read");
        return;
    }
    if (wire.code <= VIR_ERR_OK)
        wire.code = VIR_ERR_INTERNAL_ERROR;
    vq_error_set_from(ret, wire.domain < 0 ? VIR_FROM_NONE : wire.domain, wire.code, "%s", error_detail(&wire));
    ret->int1 = wire.int1;
}

/* ---- Calls in flight --------------------------------------------------------------------------------------------- */

static void call_link(struct vq_client *client, struct vq_client_call *call)
{
    call->next = client->calls;
    if (client->calls != NULL)
        client->calls->prev = call;
    client->calls = call;
    client->n_calls++;
}

/* The call is over; its call-back may do anything with the client. */
static void call_finish(struct vq_client *client, struct vq_client_call *call, const void *ret,
                        const struct vq_error *err)
{
    if (call->next != NULL)
        call->next->prev = call->prev;
    if (call->prev != NULL)
        call->prev->next = call->next;
    else
        client->calls = call->next;
    client->n_calls--;
    if (call->is_stream && !call->is_refused)
        err = vq_client_stream_opened(client, err);
    call->cb(err == NULL ? ret : NULL, err, call->data);
    free(call);
}

static void fail_calls(struct vq_client *client, const struct vq_error *err)
{
    while (client->calls != NULL)
        call_finish(client, client->calls, NULL, err);
}

static int call_encode(struct vq_client *client, const struct vq_client_call *call, const void *args,
                       struct vq_error *err)
{
    struct vq_buffer payload = VQ_BUFFER_INIT;
    const struct vq_frame frame = {.program = vq_program_number(call->procedure->program),
                                   .version = PROTOCOL_VERSION,
                                   .procedure = (int32_t)call->procedure->number,
                                   .type = VQ_FRAME_CALL,
                                   .serial = call->serial};

    assert((args == NULL) == (call->procedure->args == NULL));
    if (args != NULL && vq_xdr_encode(call->procedure->args, args, &payload, err) < 0)
        return -1;
    if (payload.length > VQ_FRAME_MAX - VQ_FRAME_MIN) {
        vq_buffer_done(&payload);
        return vq_error_set(err, VIR_ERR_RPC, "the arguments of %s are larger than a message", call->procedure->api);
    }
    vq_client_send(client, &frame, payload.data, payload.length);
    vq_buffer_done(&payload);
    return 0;
}

static int call_start(struct vq_client *client, struct vq_client_call *call, const void *args, struct vq_error *err)
{
    if (client->state == VQ_CLIENT_ENDED) {
        *err = client->end;
        return -1;
    }
    if (client->n_calls >= VQ_CLIENT_CALLS_MAX)
        return vq_error_set(err, VIR_ERR_RESOURCE_BUSY, "%d calls to the other daemon are unanswered",
                            VQ_CLIENT_CALLS_MAX);
    if (call->is_stream && client->stream.state != VQ_CLIENT_NO_STREAM)
        return vq_error_set(err, VIR_ERR_RESOURCE_BUSY, "another stream to the other daemon is open");
    return call_encode(client, call, args, err);
}

static void start(struct vq_client *client, enum vq_program program, uint32_t number, const void *args,
                  uint64_t timeout_ms, bool is_stream, vq_client_cb cb, void *data)
{
    struct vq_client_call *call = vq_new(struct vq_client_call);

    assert(client->state != VQ_CLIENT_CLOSED);
    *call = (struct vq_client_call){.procedure = vq_procedure_find(program, number),
                                    .serial = client->next_serial,
                                    .deadline_ms = timeout_ms == 0 ? 0 : uv_now(client->loop) + timeout_ms,
                                    .is_stream = is_stream,
                                    .err = VQ_ERROR_INIT,
                                    .cb = cb,
                                    .data = data};
    assert(call->procedure != NULL && !call->procedure->is_event);
    assert((call->procedure->stream == VQ_STREAM_UP) == is_stream);
    call->is_refused = call_start(client, call, args, &call->err) < 0;
    if (!call->is_refused)
        client->next_serial++;
    if (!call->is_refused && is_stream)
        client->stream = (struct vq_client_stream){.state = VQ_CLIENT_STREAM_OPENING,
                                                   .head = {.program = vq_program_number(program),
                                                            .version = PROTOCOL_VERSION,
                                                            .procedure = (int32_t)number,
                                                            .serial = call->serial}};
    call_link(client, call);
    vq_client_set_timer(client);
}

void vq_client_call(struct vq_client *client, enum vq_program program, uint32_t number, const void *args,
                    uint64_t timeout_ms, vq_client_cb cb, void *data)
{
    start(client, program, number, args, timeout_ms, false, cb, data);
}

void vq_client_call_stream(struct vq_client *client, enum vq_program program, uint32_t number, const void *args,
                           uint64_t timeout_ms, vq_client_cb cb, void *data)
{
    start(client, program, number, args, timeout_ms, true, cb, data);
}

/* ---- Answers ----------------------------------------------------------------------------------------------------- */

static void protocol_error(struct vq_client *client, const char *what)
{
    struct vq_error err = VQ_ERROR_INIT;

    vq_error_set(&err, VIR_ERR_RPC, "the daemon broke the protocol: %s", what);
    vq_client_end(client, &err);
}

static bool answers(const struct vq_frame *frame, const struct vq_client_call *call)
{
    return frame->program == vq_program_number(call->procedure->program) && frame->version == PROTOCOL_VERSION &&
           frame->procedure == (int32_t)call->procedure->number;
}

static void decode_reply(struct vq_client *client, struct vq_client_call *call, const struct vq_frame *frame)
{
    static const uint8_t nothing;
    const struct vq_xdr_struct *type = call->procedure->ret;
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(REPLY_MEMORY_MAX);
    void *ret = type == NULL ? NULL : vq_arena_alloc(arena, 1, type->size);

    if (type != NULL && vq_xdr_decode(type, frame->payload, frame->payload_length, arena, ret, NULL, &err) < 0) {
        vq_error_wrap(&err, "the daemon's answer to %s cannot be read", call->procedure->api);
        call_finish(client, call, NULL, &err);
        return;
    }
    call_finish(client, call, type == NULL ? &nothing : ret, NULL);
}

static void take_reply(struct vq_client *client, const struct vq_frame *frame)
{
    struct vq_client_call *call = client->calls;
    struct vq_error err;

    while (call != NULL && (call->is_refused || call->serial != frame->serial))
        call = call->next;
    if (call == NULL)
        return; /* it came after its deadline */
    if (!answers(frame, call) || frame->status > VQ_FRAME_ERROR) {
        protocol_error(client, "an answer that belongs to no call");
        return;
    }
    if (frame->status == VQ_FRAME_OK) {
        decode_reply(client, call, frame);
        return;
    }
    vq_client_read_error(frame->payload, frame->payload_length, &err);
    call_finish(client, call, NULL, &err);
}

static void take_keepalive(struct vq_client *client, const struct vq_frame *frame)
{
    /* Who asks without reading what we say is not answered: it could make us queue without end. */
    if (frame->type == VQ_FRAME_MESSAGE && frame->procedure == KEEPALIVE_PING &&
        vq_channel_queued(client->channel) <= VQ_CLIENT_OUTPUT_MAX)
        send_keepalive(client, KEEPALIVE_PONG);
}

static void take_frame(struct vq_client *client, const struct vq_frame *frame)
{
    if (frame->program == VQ_KEEPALIVE_PROGRAM) {
        take_keepalive(client, frame);
        return;
    }
    switch (frame->type) {
    case VQ_FRAME_REPLY:
        take_reply(client, frame);
        return;
    case VQ_FRAME_STREAM:
    case VQ_FRAME_STREAM_HOLE:
        vq_client_stream_packet(client, frame);
        return;
    case VQ_FRAME_MESSAGE:
        return; /* an event: nobody here asked for one */
    default:    /* among them answers with descriptors, which nobody here asked for either */
        protocol_error(client, "a message of a type that daemons do not send");
    }
}

/* ---- The channel ------------------------------------------------------------------------------------------------- */

static size_t take_greeting(struct vq_client *client, const uint8_t *bytes)
{
    if (*bytes != GREETING) {
        protocol_error(client, "it does not say that it takes our certificate");
        return 0;
    }
    vq_client_begin(client);
    return 1;
}

static size_t received(struct vq_channel *channel VQ_UNUSED, const uint8_t *bytes, size_t length, size_t *wanted,
                       void *data)
{
    struct vq_client *client = data;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_frame frame;
    size_t used = 0, frame_length = 0;
    int got = 1;

    client->heard_ms = uv_now(client->loop);
    client->pings = 0;
    if (client->state == VQ_CLIENT_GREETING && length > 0)
        used = take_greeting(client, bytes);
    while (client->state < VQ_CLIENT_ENDED && client->state != VQ_CLIENT_GREETING &&
           (got = vq_frame_decode(bytes + used, length - used, &frame, &frame_length, &err)) == 1) {
        used += frame_length;
        take_frame(client, &frame);
    }
    if (client->state >= VQ_CLIENT_ENDED)
        return length;
    if (got < 0)
        vq_client_end(client, &err);
    *wanted = frame_length;
    return used;
}

static void drained(struct vq_channel *channel VQ_UNUSED, void *data)
{
    vq_client_stream_drained(data);
}

static void ended(struct vq_channel *channel VQ_UNUSED, const struct vq_error *err, void *data)
{
    struct vq_client *client = data;
    struct vq_error end = *err;

    if (end.code == VIR_ERR_OK && client->state == VQ_CLIENT_GREETING)
        vq_error_set(&end, VIR_ERR_AUTH_FAILED, "the daemon does not take our certificate");
    else if (end.code == VIR_ERR_OK)
        vq_error_set(&end, VIR_ERR_RPC, "the daemon closed the connection");
    vq_client_end(client, &end);
}

/* ---- Time -------------------------------------------------------------------------------------------------------- */

static void earlier(uint64_t *nearest, uint64_t deadline_ms)
{
    if (deadline_ms != 0 && (*nearest == 0 || deadline_ms < *nearest))
        *nearest = deadline_ms;
}

static uint64_t keepalive_due(const struct vq_client *client)
{
    if (!client->keepalive || client->options.keepalive_ms == 0)
        return 0;
    return (client->pings == 0 ? client->heard_ms : client->pinged_ms) + client->options.keepalive_ms;
}

static void keep_alive(struct vq_client *client, uint64_t now_ms)
{
    struct vq_error err = VQ_ERROR_INIT;
    uint64_t due_ms = keepalive_due(client);

    if (due_ms == 0 || due_ms > now_ms)
        return;
    if (client->pings >= client->options.keepalive_count) {
        vq_error_set(&err, VIR_ERR_RPC, "the daemon does not answer: nothing was heard of it for %u seconds",
                     (unsigned)((now_ms - client->heard_ms) / 1000));
        vq_client_end(client, &err);
        return;
    }
    client->pings++;
    client->pinged_ms = now_ms;
    send_keepalive(client, KEEPALIVE_PING);
}

static struct vq_client_call *find_due(struct vq_client *client, uint64_t now_ms)
{
    struct vq_client_call *call = client->calls;

    while (call != NULL && !call->is_refused && (call->deadline_ms == 0 || call->deadline_ms > now_ms))
        call = call->next;
    return call;
}

static void fail_due_calls(struct vq_client *client, uint64_t now_ms)
{
    struct vq_client_call *call;

    while ((call = find_due(client, now_ms)) != NULL) {
        if (!call->is_refused)
            vq_error_set(&call->err, VIR_ERR_OPERATION_TIMEOUT, "the daemon did not answer %s in time",
                         call->procedure->api);
        call_finish(client, call, NULL, &call->err);
    }
}

static void check_opening(struct vq_client *client, uint64_t now_ms)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (client->state >= VQ_CLIENT_OPEN || client->open_deadline_ms > now_ms)
        return;
    vq_error_set(&err, VIR_ERR_OPERATION_TIMEOUT, "the daemon did not answer in time (%s)", client->doing);
    vq_client_end(client, &err);
}

static void timer_cb(uv_timer_t *timer)
{
    struct vq_client *client = timer->data;
    uint64_t now_ms = uv_now(client->loop);

    fail_due_calls(client, now_ms);
    vq_client_stream_time(client, now_ms);
    if (client->state < VQ_CLIENT_ENDED)
        check_opening(client, now_ms);
    if (client->state < VQ_CLIENT_ENDED)
        keep_alive(client, now_ms);
    vq_client_set_timer(client);
}

void vq_client_set_timer(struct vq_client *client)
{
    uint64_t now_ms = uv_now(client->loop), nearest = 0;

    if (client->state == VQ_CLIENT_CLOSED)
        return;
    for (const struct vq_client_call *call = client->calls; call != NULL; call = call->next)
        earlier(&nearest, call->is_refused ? now_ms : call->deadline_ms);
    earlier(&nearest, client->stream.is_due ? now_ms : client->stream.deadline_ms);
    if (client->state < VQ_CLIENT_OPEN)
        earlier(&nearest, client->open_deadline_ms);
    if (client->state < VQ_CLIENT_ENDED)
        earlier(&nearest, keepalive_due(client));
    if (nearest == 0)
        (void)uv_timer_stop(&client->timer);
    else /* fails only for handles that are closing */
        (void)uv_timer_start(&client->timer, timer_cb, nearest > now_ms ? nearest - now_ms : 0, 0);
}

/* ---- Beginning and end ------------------------------------------------------------------------------------------- */

static void tls_ready(struct vq_channel *channel VQ_UNUSED, void *data)
{
    struct vq_client *client = data;

    client->doing = "waiting for it to take our certificate";
}

static const struct vq_channel_callbacks channel_callbacks = {
    .received = received, .ready = tls_ready, .drained = drained, .ended = ended};

struct vq_client *vq_client_open(uv_loop_t *loop, int take_fd, struct vq_tls_session *take_tls,
                                 const struct vq_client_options *options, const struct vq_client_callbacks *callbacks,
                                 void *data)
{
    struct vq_client *client = vq_new(struct vq_client);
    const struct vq_channel_options channel = {.input_max_bytes = VQ_FRAME_MAX + 4096,
                                               .handshake_ms = options->open_ms};

    client->loop = loop;
    client->timer.data = client;
    (void)uv_timer_init(loop, &client->timer);
    client->options = *options;
    client->options.uri = client->uri = vq_strdup(options->uri);
    client->callbacks = callbacks;
    client->data = data;
    client->end = VQ_ERROR_INIT;
    client->open_deadline_ms = uv_now(loop) + options->open_ms;
    client->heard_ms = uv_now(loop);
    client->doing = "TLS handshake";
    bool is_plain = take_tls == NULL;
    client->channel = vq_channel_open(loop, take_fd, take_tls, &channel, &channel_callbacks, client);
    if (is_plain)
        vq_client_begin(client);
    vq_client_set_timer(client);
    return client;
}

static void let_go_of_channel(struct vq_client *client, uint64_t linger_ms)
{
    if (client->channel != NULL)
        vq_channel_close(client->channel, linger_ms);
    client->channel = NULL;
}

void vq_client_end(struct vq_client *client, const struct vq_error *err)
{
    bool was_open = client->state == VQ_CLIENT_OPEN;

    if (client->state >= VQ_CLIENT_ENDED)
        return;
    client->state = VQ_CLIENT_ENDED;
    client->end = *err;
    let_go_of_channel(client, 0);
    fail_calls(client, &client->end);
    vq_client_stream_lost(client, &client->end);
    if (client->state == VQ_CLIENT_ENDED)
        (was_open ? client->callbacks->ended : client->callbacks->opened)(client, &client->end, client->data);
}

static void timer_closed(uv_handle_t *handle)
{
    struct vq_client *client = handle->data;

    free(client->uri);
    free(client);
}

void vq_client_close(struct vq_client *client)
{
    struct vq_error err = VQ_ERROR_INIT;
    bool was_open = client->state == VQ_CLIENT_OPEN;
    const struct vq_frame bye = {.program = vq_program_number(VQ_PROGRAM_REMOTE),
                                 .version = PROTOCOL_VERSION,
                                 .procedure = VQ_REMOTE_CONNECT_CLOSE,
                                 .type = VQ_FRAME_CALL,
                                 .serial = client->next_serial++};

    assert(client->state != VQ_CLIENT_CLOSED);
    if (was_open) {
        vq_client_stream_abort(client);
        vq_client_send(client, &bye, NULL, 0); /* it then closes, which ends the lingering */
    }
    client->state = VQ_CLIENT_CLOSED;
    let_go_of_channel(client, was_open ? LINGER_MS : 0);
    uv_close((uv_handle_t *)&client->timer, timer_closed);
    vq_error_set(&err, VIR_ERR_OPERATION_ABORTED, "the connection to the other daemon was closed");
    fail_calls(client, &err);
}
