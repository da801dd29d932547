/* Sessions: from the bytes of one client to calls, and back.
 *
 * A client may have max_client_requests calls in progress; more stay unread in its socket, as do all while it does not
 * take what we send. A keepalive message in front of them is answered all the same. */
#define VQ_FROM VIR_FROM_RPC
#include "node/client/session.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/buffer.h"
#include "conf/base/log.h"
#include "node/daemon.h"
#include "node/dispatch.h"
#include "node/client/events.h"
#include "node/mesh/forward.h"
#include "node/client/stream.h"
#include "proto/channel.h"
#include "proto/frame.h"
#include "proto/tls.h"

enum { KEEPALIVE_PING = 1, KEEPALIVE_PONG = 2 };
enum { PROTOCOL_VERSION = 1, HANDSHAKE_MS = 10000 };
enum { BIG_REPLY = 64 * 1024 }; /* handed over instead of copied */

struct vq_sessions {
    struct vq_session *first;
    size_t n_sessions, n_anonymous;
    uint64_t next_id;
    uint64_t node_id;         /* that the sessions know as this node's */
    struct vq_buffer scratch; /* frames are put together here */
};

struct vq_sessions *vq_sessions_new(struct vq_daemon *daemon)
{
    struct vq_sessions *sessions = vq_new(struct vq_sessions);

    sessions->next_id = daemon->boot << 24; /* other nodes must not take it for a session before our restart */
    sessions->node_id = daemon->node_id;
    return sessions;
}

void vq_sessions_free(struct vq_sessions *sessions)
{
    if (sessions == NULL)
        return;
    assert(sessions->first == NULL);
    vq_buffer_done(&sessions->scratch);
    free(sessions);
}

void vq_sessions_identity_changed(struct vq_daemon *daemon)
{
    struct vq_sessions *sessions = daemon->sessions;

    for (struct vq_session *session = sessions->first; session != NULL; session = session->next) {
        session->identity->caller.entry_node = daemon->node_id;
        if (session->view.node == sessions->node_id)
            session->view.node = daemon->node_id;
    }
    sessions->node_id = daemon->node_id;
}

bool vq_sessions_may_accept(const struct vq_daemon *daemon)
{
    return daemon->sessions->n_sessions < daemon->config.max_clients &&
           daemon->sessions->n_anonymous < daemon->config.max_anonymous_clients;
}

size_t vq_sessions_count(const struct vq_daemon *daemon)
{
    return daemon->sessions->n_sessions;
}

/* ---- Writing ---- */

static struct vq_buffer *scratch(struct vq_session *session)
{
    struct vq_buffer *buffer = &session->daemon->sessions->scratch;

    vq_buffer_truncate(buffer, 0);
    return buffer;
}

static void write_scratch(struct vq_session *session, struct vq_buffer *buffer)
{
    if (buffer->length >= BIG_REPLY)
        vq_channel_write_buffer(session->channel, buffer);
    else
        vq_channel_write(session->channel, buffer->data, buffer->length);
}

static void write_error(struct vq_session *session, const struct vq_frame *answered, const struct vq_error *error)
{
    struct vq_buffer *buffer = scratch(session);
    struct vq_frame frame = {.program = answered->program,
                             .version = answered->version,
                             .procedure = answered->procedure,
                             .type = VQ_FRAME_REPLY,
                             .serial = answered->serial,
                             .status = VQ_FRAME_ERROR};
    size_t begin = vq_frame_begin(buffer, &frame);

    vq_frame_add_error(buffer, error);
    if (vq_frame_end(buffer, begin, NULL) == 0) /* an error's texts are short: it always fits */
        write_scratch(session, buffer);
}

void vq_session_send_event(struct vq_session *session, const struct vq_procedure *procedure, bool has_id, int32_t id,
                           const uint8_t *payload, size_t length)
{
    if (session->is_closed || session->doom != NULL)
        return;
    if (vq_channel_queued(session->channel) > VQ_SESSION_OUTPUT_MAX) {
        session->doom = "it does not read its events";
        return;
    }
    struct vq_buffer *buffer = scratch(session);
    struct vq_frame frame = {.program = vq_program_number(procedure->program),
                             .version = PROTOCOL_VERSION,
                             .procedure = (int32_t)procedure->number,
                             .type = VQ_FRAME_MESSAGE,
                             .serial = 1,
                             .status = VQ_FRAME_OK};
    size_t begin = vq_frame_begin(buffer, &frame);
    if (has_id) {
        uint32_t wire = __builtin_bswap32((uint32_t)id);
        vq_buffer_add_bytes(buffer, &wire, sizeof(wire));
    }
    vq_buffer_add_bytes(buffer, payload, length);
    if (vq_frame_end(buffer, begin, NULL) == 0) /* over the largest frame: it cannot be told at all */
        write_scratch(session, buffer);
}

static void write_keepalive(struct vq_session *session, int32_t procedure)
{
    struct vq_buffer *buffer = scratch(session);
    struct vq_frame frame = {
        .program = VQ_KEEPALIVE_PROGRAM, .version = PROTOCOL_VERSION, .procedure = procedure, .type = VQ_FRAME_MESSAGE};
    size_t begin = vq_frame_begin(buffer, &frame);

    if (vq_frame_end(buffer, begin, NULL) == 0)
        write_scratch(session, buffer);
}

/* ---- Answers ---- */

static void call_unlink(struct vq_call *call)
{
    struct vq_session *session = call->session;

    if (call->session_next != NULL)
        call->session_next->session_prev = call->session_prev;
    if (call->session_prev != NULL)
        call->session_prev->session_next = call->session_next;
    else
        session->calls = call->session_next;
}

static int write_reply(struct vq_session *session, struct vq_call *call, const struct vq_frame *frame,
                       struct vq_error *err)
{
    struct vq_buffer *buffer = scratch(session);
    size_t begin = vq_frame_begin(buffer, frame);

    if (vq_call_add_reply(call, buffer, err) < 0 || vq_frame_end(buffer, begin, err) < 0)
        return -1;
    write_scratch(session, buffer);
    for (unsigned i = 0; i < frame->n_fds; i++) {
        vq_channel_write_fd(session->channel, call->request.reply_fds[i]);
        call->request.reply_fds[i] = -1;
    }
    return 0;
}

static void session_answer(struct vq_call *call, const struct vq_error *err)
{
    struct vq_session *session = call->session;
    struct vq_error failed = VQ_ERROR_INIT;

    if (session == NULL)
        return; /* the client has gone; its streams went with it */
    const struct vq_procedure *procedure = call->request.procedure;
    bool with_fds = call->request.n_reply_fds > 0 && session->options.is_unix;
    struct vq_frame frame = {.program = vq_program_number(procedure->program),
                             .version = PROTOCOL_VERSION,
                             .procedure = (int32_t)procedure->number,
                             .type = with_fds ? VQ_FRAME_REPLY_WITH_FDS : VQ_FRAME_REPLY,
                             .serial = call->serial,
                             .status = VQ_FRAME_OK,
                             .n_fds = with_fds ? call->request.n_reply_fds : 0};
    if (err == NULL && write_reply(session, call, &frame, &failed) < 0)
        err = &failed;
    if (err != NULL) {
        vq_log(DEBUG, "call.failed", "session=%llu procedure=%s: %s", (unsigned long long)session->id, procedure->name,
               err->message);
        write_error(session, &frame, err);
        if (call->stream != NULL)
            vq_stream_from_client_abort(call->stream);
    }
    call_unlink(call);
    vq_session_unbusy(session);
}

static const struct vq_call_origin session_origin = {.answer = session_answer, .stream_link = vq_session_stream_link};

/* ---- Calls ---- */

static bool serves(const struct vq_session *session, enum vq_program program)
{
    if (session->options.is_admin)
        return program == VQ_PROGRAM_ADMIN;
    return program == VQ_PROGRAM_REMOTE || program == VQ_PROGRAM_QEMU || program == VQ_PROGRAM_LXC;
}

static int find_procedure(const struct vq_session *session, const struct vq_frame *frame,
                          const struct vq_procedure **ret_procedure, struct vq_error *err)
{
    enum vq_program program;

    if (!vq_program_find(frame->program, &program) || !serves(session, program))
        return vq_error_set(err, VIR_ERR_RPC, "Cannot find program %u version %u", frame->program, frame->version);
    if (frame->version != PROTOCOL_VERSION)
        return vq_error_set(err, VIR_ERR_RPC, "program version mismatch (got %u, expected %d)", frame->version,
                            PROTOCOL_VERSION);
    if (frame->status != VQ_FRAME_OK)
        return vq_error_set(err, VIR_ERR_RPC, "Unexpected message status %u", frame->status);
    const struct vq_procedure *procedure =
        frame->procedure < 0 ? NULL : vq_procedure_find(program, (uint32_t)frame->procedure);
    if (procedure == NULL || procedure->is_event)
        return vq_error_set(err, VIR_ERR_RPC, "unknown procedure: %d", frame->procedure);
    *ret_procedure = procedure;
    return 0;
}

/* What may be called before connect_open; the handlers know the rest. */
static bool works_unopened(const struct vq_procedure *procedure)
{
    static const char *const names[] = {"connect_open", "connect_close", "connect_supports_feature"};

    if (!procedure->needs_auth)
        return true;
    for (size_t i = 0; i < VQ_N_ELEMENTS(names); i++)
        if (strcmp(procedure->name, names[i]) == 0)
            return true;
    return false;
}

static void handle_call(struct vq_session *session, const struct vq_frame *frame)
{
    const struct vq_procedure *procedure = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    if (find_procedure(session, frame, &procedure, &err) < 0) {
        write_error(session, frame, &err);
        return;
    }
    if (!session->is_opened && !works_unopened(procedure)) {
        vq_error_set(&err, VIR_ERR_INTERNAL_ERROR, "connection not open");
        write_error(session, frame, &err);
        return;
    }
    struct vq_call *call = vq_call_new(session->daemon, procedure, session->identity);
    call->origin = &session_origin;
    call->session = session;
    call->serial = frame->serial;
    call->xdr = frame->payload;
    call->xdr_length = frame->payload_length;
    call->view_node = session->view.node;
    call->request.driver = session->view.driver;
    call->driver_name = session->view.driver == NULL ? NULL : session->view.driver->name;
    call->request.n_fds = session->n_fds;
    memcpy(call->request.fds, session->fds, session->n_fds * sizeof(session->fds[0]));
    session->n_fds = 0;

    call->session_next = session->calls;
    if (session->calls != NULL)
        session->calls->session_prev = call;
    session->calls = call;
    session->n_busy++;
    vq_dispatch_local(call);
}

static void handle_frame(struct vq_session *session, const struct vq_frame *frame)
{
    struct vq_error err = VQ_ERROR_INIT;

    switch (frame->type) {
    case VQ_FRAME_CALL:
    case VQ_FRAME_CALL_WITH_FDS:
        handle_call(session, frame);
        return;
    case VQ_FRAME_STREAM:
    case VQ_FRAME_STREAM_HOLE:
        vq_session_stream_packet(session, frame);
        return;
    case VQ_FRAME_REPLY:
    case VQ_FRAME_REPLY_WITH_FDS:
    case VQ_FRAME_MESSAGE:
        return; /* nothing that we asked for */
    default:
        vq_error_set(&err, VIR_ERR_RPC, "Unexpected message type %u", frame->type);
        write_error(session, frame, &err);
    }
}

/* ---- Reading ---- */

static bool is_full(const struct vq_session *session)
{
    return session->n_busy >= session->daemon->config.max_client_requests ||
           vq_channel_queued(session->channel) > VQ_SESSION_OUTPUT_PAUSE;
}

static void read_on(struct vq_session *session)
{
    if (session->is_paused && !session->is_closed && !is_full(session)) {
        session->is_paused = false;
        vq_channel_resume(session->channel);
    }
}

void vq_session_unbusy(struct vq_session *session)
{
    assert(session->n_busy > 0);
    session->n_busy--;
    read_on(session);
}

static void session_ref(struct vq_session *session)
{
    session->refs++;
}

static void session_unref(struct vq_session *session)
{
    if (--session->refs == 0 && session->is_closed)
        free(session);
}

/* The descriptors of a call come behind its bytes, in bytes of their own. True when all are there. */
static bool collect_fds(struct vq_session *session)
{
    while (session->n_fds < session->n_fds_wanted) {
        int fd = vq_channel_take_fd(session->channel);
        if (fd < 0)
            return false;
        session->fds[session->n_fds++] = fd;
    }
    return true;
}

static void run_fd_frame(struct vq_session *session)
{
    struct vq_frame frame;
    size_t length;
    VQ_AUTOFREE uint8_t *bytes = vq_take(session->fd_frame);

    session->n_fds_wanted = 0;
    if (vq_frame_decode(bytes, session->fd_frame_length, &frame, &length, NULL) == 1)
        handle_frame(session, &frame);
}

/* Take one frame; returns its length, 0 when nothing more can be taken now. */
static size_t take_frame(struct vq_session *session, const uint8_t *bytes, size_t length, size_t *wanted)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_frame frame;
    size_t frame_length = 0;

    int got = vq_frame_decode(bytes, length, &frame, &frame_length, &err);
    if (got < 0) {
        vq_session_close(session, err.message, 0);
        return 0;
    }
    if (got == 0) {
        *wanted = frame_length;
        return 0;
    }
    if (frame.program == VQ_KEEPALIVE_PROGRAM) {
        if (frame.type == VQ_FRAME_MESSAGE && frame.procedure == KEEPALIVE_PING)
            write_keepalive(session, KEEPALIVE_PONG);
        return frame_length;
    }
    if (is_full(session)) {
        session->is_paused = true;
        vq_channel_pause(session->channel);
        return 0;
    }
    if (frame.type == VQ_FRAME_CALL_WITH_FDS && frame.n_fds > 0) {
        if (!session->options.is_unix) {
            vq_session_close(session, "descriptors cannot come over this transport", 0);
            return 0;
        }
        session->fd_frame = vq_memdup(bytes, frame_length);
        session->fd_frame_length = frame_length;
        session->n_fds_wanted = frame.n_fds;
        return frame_length;
    }
    handle_frame(session, &frame);
    return frame_length;
}

static size_t received(struct vq_channel *channel VQ_UNUSED, const uint8_t *bytes, size_t length, size_t *wanted,
                       void *data)
{
    struct vq_session *session = data;
    size_t used = 0;

    session_ref(session);
    session->heard_ms = uv_now(session->daemon->loop);
    session->pings = 0;
    while (!session->is_closed) {
        if (session->fd_frame != NULL) {
            if (!collect_fds(session))
                break;
            run_fd_frame(session);
            continue;
        }
        size_t took = take_frame(session, bytes + used, length - used, wanted);
        if (took == 0)
            break;
        used += took;
    }
    session_unref(session);
    return used;
}

static void drained(struct vq_channel *channel VQ_UNUSED, void *data)
{
    struct vq_session *session = data;

    session_ref(session);
    vq_session_streams_drained(session);
    read_on(session);
    session_unref(session);
}

static void ended(struct vq_channel *channel VQ_UNUSED, const struct vq_error *err, void *data)
{
    vq_session_close(data, err->code == VIR_ERR_OK ? NULL : err->message, 0);
}

/* One certificate pattern: * any text, ? any character. */
static bool dn_matches(const char *pattern, const char *dn)
{
    const char *star = NULL, *again = NULL;

    while (*dn != '\0') {
        if (*pattern == '*') {
            star = pattern++;
            again = dn;
        } else if (*pattern == '?' || *pattern == *dn) {
            pattern++;
            dn++;
        } else if (star != NULL) {
            pattern = star + 1;
            dn = ++again;
        } else {
            return false;
        }
    }
    while (*pattern == '*')
        pattern++;
    return *pattern == '\0';
}

static bool dn_is_allowed(const struct vq_config *config, const char *dn)
{
    if (config->tls_allowed_dn == NULL)
        return true;
    for (char **pattern = config->tls_allowed_dn; dn != NULL && *pattern != NULL; pattern++)
        if (dn_matches(*pattern, dn))
            return true;
    return false;
}

static void become_ready(struct vq_session *session)
{
    session->is_ready = true;
    session->daemon->sessions->n_anonymous--;
}

/* The client's certificate is good: it waits for one byte that says so. */
static void tls_ready(struct vq_channel *channel, void *data)
{
    struct vq_session *session = data;
    const char *dn = vq_tls_session_peer_dn(vq_channel_tls(channel));

    if (!dn_is_allowed(&session->daemon->config, dn)) {
        vq_log(WARN, "session.refused", "certificate='%s' is not in tls_allowed_dn_list", dn == NULL ? "" : dn);
        vq_session_close(session, "its certificate is not on the list", 0);
        return;
    }
    session->identity->caller.x509_dn = vq_strdup(dn);
    become_ready(session);
    vq_channel_write(channel, "\1", 1);
}

static const struct vq_channel_callbacks session_callbacks = {
    .received = received,
    .ready = tls_ready,
    .drained = drained,
    .ended = ended,
};

/* ---- Beginning and end ---- */

void vq_session_accept(struct vq_daemon *daemon, int take_fd, struct vq_tls_session *take_tls,
                       const struct vq_session_options *options, const struct vq_caller *caller)
{
    struct vq_sessions *sessions = daemon->sessions;
    struct vq_session *session = vq_new(struct vq_session);
    struct vq_channel_options channel = {
        .input_max_bytes = VQ_FRAME_MAX + 4096, .handshake_ms = HANDSHAKE_MS, .passes_fds = options->is_unix};
    struct vq_caller complete = *caller;

    session->daemon = daemon;
    session->options = *options;
    session->id = ++sessions->next_id;
    complete.readonly = options->is_readonly;
    complete.entry_node = daemon->node_id;
    complete.session = session->id;
    session->identity = vq_identity_new(&complete);
    session->heard_ms = uv_now(daemon->loop);
    session->next = sessions->first;
    if (sessions->first != NULL)
        sessions->first->prev = session;
    sessions->first = session;
    sessions->n_sessions++;
    sessions->n_anonymous++;
    if (take_tls == NULL)
        become_ready(session);
    vq_log(DEBUG, "session.open", "session=%llu uid=%d pid=%d", (unsigned long long)session->id,
           caller->has_unix ? (int)caller->uid : -1, (int)caller->pid);
    session->channel = vq_channel_open(daemon->loop, take_fd, take_tls, &channel, &session_callbacks, session);
}

static void forget_calls(struct vq_session *session)
{
    for (struct vq_call *call = session->calls; call != NULL; call = call->session_next)
        call->session = NULL;
    session->calls = NULL;
}

static void tell_ended(struct vq_session *session)
{
    struct vq_daemon *daemon = session->daemon;

    if (!session->is_opened)
        return;
    for (size_t i = 0; i < daemon->n_drivers; i++)
        if (daemon->drivers[i]->session_ended != NULL)
            daemon->drivers[i]->session_ended(daemon->drivers[i], daemon->node_id, session->id);
    vq_forward_session_ended(daemon, session->id);
}

void vq_session_close(struct vq_session *session, const char *reason, uint64_t linger_ms)
{
    struct vq_sessions *sessions = session->daemon->sessions;

    if (session->is_closed)
        return;
    session->is_closed = true;
    session_ref(session);
    vq_log(DEBUG, "session.end", "session=%llu: %s", (unsigned long long)session->id,
           reason == NULL ? "closed by the client" : reason);
    if (session->next != NULL)
        session->next->prev = session->prev;
    if (session->prev != NULL)
        session->prev->next = session->next;
    else
        sessions->first = session->next;
    sessions->n_sessions--;
    if (!session->is_ready)
        sessions->n_anonymous--;

    vq_events_session_closed(session->daemon->events, session);
    vq_session_streams_closed(session);
    forget_calls(session);
    for (unsigned i = 0; i < session->n_fds; i++)
        (void)close(session->fds[i]); /* of a call that will never run */
    free(session->fd_frame);
    vq_channel_close(session->channel, linger_ms);
    tell_ended(session);
    vq_identity_unref(session->identity);
    free(session->view.uri);
    session_unref(session);
}

void vq_sessions_close_all(struct vq_daemon *daemon, uint64_t linger_ms)
{
    while (daemon->sessions->first != NULL)
        vq_session_close(daemon->sessions->first, "the daemon stops", linger_ms);
}

/* True when the peer has been silent for too long. */
static bool keepalive_is_overdue(struct vq_session *session, uint64_t now_ms)
{
    const struct vq_config *config = &session->daemon->config;
    uint64_t interval = (uint64_t)config->keepalive_interval_s * 1000;
    uint64_t last = session->pings == 0 ? session->heard_ms : session->pinged_ms;

    if (now_ms - last < interval)
        return false;
    if (session->pings >= config->keepalive_count)
        return true;
    session->pings++;
    session->pinged_ms = now_ms;
    write_keepalive(session, KEEPALIVE_PING);
    return false;
}

void vq_sessions_tick(struct vq_daemon *daemon, uint64_t now_ms)
{
    struct vq_session *next;

    for (struct vq_session *session = daemon->sessions->first; session != NULL; session = next) {
        next = session->next;
        if (session->is_paused) /* its answers to our pings are among what is not read */
            session->heard_ms = now_ms;
        if (session->doom != NULL)
            vq_session_close(session, session->doom, 0);
        else if (session->keepalive && daemon->config.keepalive_interval_s > 0 && keepalive_is_overdue(session, now_ms))
            vq_session_close(session, "it does not answer keepalive messages", 0);
    }
}
