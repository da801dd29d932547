/* The connection to a guest's agent: see agent.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/agent.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/events.h"
#include "drivers/qemu/guest.h"

enum { TRIES_MAX = 25, TRY_AGAIN_MS = 200, READ_BYTES_PER_TURN = 128 * 1024, SYNC_ID_MASK = 0x7fffffff, NAME_MAX_BYTES = 64 };

enum phase {
    IDLE,
    SYNCING,                 /* the first call waits for the agent to show that it listens */
    ASKED,                   /* and now for its answer */
};

struct call {
    struct call *next;
    char name[NAME_MAX_BYTES]; /* of the command, for people */
    char *text;              /* the command with its newline */
    int timeout_s;
    enum vq_agent_await await;
    uint64_t latest_begin;   /* loop time until which its turn has to come */
    vq_agent_cb cb;
    void *data;
};

struct vq_agent {
    struct vq_qemu_guest *guest; /* NULL: closed, only its handles are still to go */
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned open_handles;
    int fd;
    enum phase phase;
    struct call *calls;      /* the first is under way unless IDLE */
    size_t n_calls;
    uint64_t deadline;       /* loop time, of the phase */
    int64_t sync_id;
    struct vq_agent_reader reader;
    char *output;            /* not taken by the guest yet */
    size_t output_length, output_sent;
};

static void begin_next(struct vq_agent *agent);
static void update(struct vq_agent *agent);

/* ---- Ends of calls ---- */

static void call_free(struct call *call)
{
    free(call->text);
    free(call);
}

static struct call *call_take(struct vq_agent *agent, struct call *wanted)
{
    struct call **at = &agent->calls;

    while (*at != wanted)
        at = &(*at)->next;
    *at = wanted->next;
    agent->n_calls--;
    return wanted;
}

static void output_drop(struct vq_agent *agent)
{
    free(agent->output);
    agent->output = NULL;
    agent->output_length = agent->output_sent = 0;
}

/* The first call has its answer, and the next may begin. The callback may close the agent. */
static void finish(struct vq_agent *agent, const struct vq_agent_answer *answer)
{
    struct call *call = call_take(agent, agent->calls);

    agent->phase = IDLE;
    output_drop(agent);
    vq_agent_reader_expect(&agent->reader, true);
    call->cb(answer, call->data);
    call_free(call);
    if (agent->guest != NULL && agent->phase == IDLE)
        begin_next(agent);
}

static void fail_call(struct call *take_call, const struct vq_error *err)
{
    const struct vq_agent_answer answer = { .err = err };

    take_call->cb(&answer, take_call->data);
    call_free(take_call);
}

static void finish_badly(struct vq_agent *agent, const struct vq_error *err)
{
    const struct vq_agent_answer answer = { .err = err };

    finish(agent, &answer);
}

/* ---- Answers ---- */

static void describe_error(const struct call *call, json_t *error, struct vq_error *err)
{
    const char *class = json_string_value(json_object_get(error, "class"));
    const char *text = json_string_value(json_object_get(error, "desc"));

    if (error == NULL)
        (void)vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "unable to execute QEMU agent command '%s'", call->name);
    else
        (void)vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "unable to execute QEMU agent command '%s': %s", call->name,
                           text != NULL    ? text
                           : class != NULL ? class
                                           : "unknown QEMU command error");
}

static void command_answered(struct vq_agent *agent, json_t *root)
{
    json_t *error = json_object_get(root, "error");
    const char *class = json_string_value(json_object_get(error, "class"));
    struct vq_agent_answer answer = { .root = root, .value = json_object_get(root, "return") };
    struct vq_error err = VQ_ERROR_INIT;

    if (error != NULL || answer.value == NULL) {
        describe_error(agent->calls, error, &err);
        answer = (struct vq_agent_answer){ .root = root, .err = &err,
                                           .is_unsupported = vq_streq(class, "CommandNotFound") || vq_streq(class, "CommandDisabled") };
    }
    finish(agent, &answer);
}

static void send_command(struct vq_agent *agent)
{
    struct call *call = agent->calls;
    uint64_t ms = call->timeout_s == VIR_DOMAIN_QEMU_AGENT_COMMAND_DEFAULT ? VQ_AGENT_SYNC_MS
                  : call->timeout_s < 0                                    ? VQ_AGENT_BLOCK_MS
                                                                           : (uint64_t)call->timeout_s * 1000;

    agent->phase = ASKED;
    agent->deadline = uv_now(agent->guest->qemu->host->loop) + ms;
    vq_agent_reader_expect(&agent->reader, false);
    output_drop(agent);
    agent->output = vq_take(call->text);
    agent->output_length = strlen(agent->output);
}

static void take_answer(struct vq_agent *agent, json_t *root)
{
    json_t *number = json_object_get(root, "return");

    if (agent->phase == ASKED)
        command_answered(agent, root);
    else if (json_is_integer(number) && json_integer_value(number) == agent->sync_id)
        send_command(agent);
    else /* of an older question: the right one may still come */
        vq_agent_reader_expect(&agent->reader, true);
}

static void take_bytes(struct vq_agent *agent, const char *bytes, size_t length)
{
    struct vq_error err = VQ_ERROR_INIT;
    json_t *root;
    int rc = vq_agent_reader_feed(&agent->reader, bytes, length, &err);

    /* One at most: what follows the answer that ends a phase is not asked for, and was dropped. */
    if (rc == 0 && (rc = vq_agent_reader_next(&agent->reader, &root, &err)) > 0) {
        take_answer(agent, root);
        json_decref(root);
    }
    if (rc < 0)
        finish_badly(agent, &err);
}

/* ---- Bytes ---- */

static void flush(struct vq_agent *agent)
{
    while (agent->output_sent < agent->output_length) {
        ssize_t n = send(agent->fd, agent->output + agent->output_sent, agent->output_length - agent->output_sent,
                         MSG_NOSIGNAL | MSG_DONTWAIT);

        if (n < 0) /* later, or never: then reading tells of it */
            return;
        agent->output_sent += (size_t)n;
    }
}

/* Reads while a call is under way only: an agent that talks without being asked fills its own buffer and no more. */
static void read_input(struct vq_agent *agent)
{
    static char bytes[16 * 1024]; /* one loop, and nothing is kept in it */

    for (size_t total = 0; total < READ_BYTES_PER_TURN && agent->guest != NULL && agent->phase != IDLE;) {
        ssize_t n = recv(agent->fd, bytes, sizeof(bytes), MSG_DONTWAIT);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n <= 0) {
            vq_agent_close(agent->guest);
            return;
        }
        total += (size_t)n;
        take_bytes(agent, bytes, (size_t)n);
        if (agent->guest != NULL)
            flush(agent);
    }
}

static void poll_ready(uv_poll_t *poll, int status, int events)
{
    struct vq_agent *agent = poll->data;

    if (status < 0 || ((events & UV_DISCONNECT) != 0 && agent->phase == IDLE)) {
        vq_agent_close(agent->guest);
        return;
    }
    flush(agent);
    read_input(agent);
    if (agent->guest != NULL)
        update(agent);
}

/* ---- Deadlines ---- */

static void timer_fired(uv_timer_t *timer)
{
    struct vq_agent *agent = timer->data;
    uint64_t now = uv_now(agent->guest->qemu->host->loop);
    struct vq_error err = VQ_ERROR_INIT;
    char holder[NAME_MAX_BYTES];

    if (agent->phase != IDLE)
        (void)snprintf(holder, sizeof(holder), "%s", agent->calls->name);
    for (struct call *call = agent->calls; agent->phase != IDLE && call != NULL; call = call->next) {
        if (call == agent->calls || call->latest_begin > now)
            continue;
        (void)vq_error_set(&err, VIR_ERR_OPERATION_TIMEOUT, "cannot acquire state change lock (held by agent=%s)", holder);
        fail_call(call_take(agent, call), &err);
        if (agent->guest == NULL)
            return;
        call = agent->calls; /* the callback may have changed the list */
        if (call == NULL)
            break;
    }
    if (agent->phase != IDLE && agent->deadline <= now) {
        (void)vq_error_set(&err, VIR_ERR_AGENT_UNRESPONSIVE, "Guest agent not available for now");
        finish_badly(agent, &err);
    }
    if (agent->guest != NULL)
        update(agent);
}

static void update(struct vq_agent *agent)
{
    int events = UV_DISCONNECT | (agent->phase != IDLE ? UV_READABLE : 0) |
                 (agent->output_sent < agent->output_length ? UV_WRITABLE : 0);
    uint64_t first = agent->deadline, now = uv_now(agent->guest->qemu->host->loop);

    (void)uv_poll_start(&agent->poll, events, poll_ready);
    if (agent->phase == IDLE) {
        (void)uv_timer_stop(&agent->timer);
        return;
    }
    for (const struct call *call = agent->calls->next; call != NULL; call = call->next)
        if (call->latest_begin < first)
            first = call->latest_begin;
    (void)uv_timer_start(&agent->timer, timer_fired, first > now ? first - now : 0, 0);
}

/* ---- Calls ---- */

/* The agent's answer to anything that was cut off in the middle is flushed by the 0xFF, as the protocol has it. */
static void begin_next(struct vq_agent *agent)
{
    struct vq_qemu_guest *guest = agent->guest;
    uint64_t ms = VQ_AGENT_SYNC_MS;
    uint32_t number;

    if (agent->calls == NULL)
        return;
    if (guest->agent_timeout >= 0 && (uint64_t)guest->agent_timeout * 1000 < ms)
        ms = (uint64_t)guest->agent_timeout * 1000;
    guest->qemu->host->random(&number, sizeof(number));
    agent->sync_id = (int64_t)(number & SYNC_ID_MASK) + 1;
    agent->phase = SYNCING;
    agent->deadline = uv_now(guest->qemu->host->loop) + ms;
    vq_agent_reader_expect(&agent->reader, true);
    agent->output = vq_asprintf("\xff{\"execute\":\"guest-sync-delimited\",\"arguments\":{\"id\":%lld}}\n",
                                (long long)agent->sync_id);
    agent->output_length = strlen(agent->output);
    agent->output_sent = 0;
    flush(agent);
}

static void refused(struct vq_qemu_guest *guest, vq_agent_cb cb, void *data)
{
    struct vq_error err = VQ_ERROR_INIT;
    const struct vq_agent_answer answer = { .err = &err };

    if (guest->agent != NULL)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED,
                           "cannot acquire state change lock: %d calls wait for the guest agent already", VQ_AGENT_CALLS_MAX);
    else
        (void)vq_error_set(&err, VIR_ERR_AGENT_UNRESPONSIVE, "QEMU guest agent is not connected");
    cb(&answer, data);
}

static char *line_of(json_t *command)
{
    char *text = json_dumps(command, JSON_COMPACT);
    char *line = vq_asprintf("%s\n", text != NULL ? text : "{}");

    free(text);
    return line;
}

static void enqueue(struct vq_qemu_guest *guest, json_t *take_command, int timeout_s, enum vq_agent_await await,
                    vq_agent_cb cb, void *data)
{
    struct vq_agent *agent = guest->agent;
    const char *name = json_string_value(json_object_get(take_command, "execute"));
    struct call **end, *call;

    if (agent == NULL || agent->n_calls == VQ_AGENT_CALLS_MAX) {
        json_decref(take_command);
        refused(guest, cb, data);
        return;
    }
    call = vq_new(struct call);
    *call = (struct call){ .text = line_of(take_command), .timeout_s = timeout_s, .await = await, .cb = cb, .data = data,
                           .latest_begin = uv_now(guest->qemu->host->loop) + VQ_AGENT_WAIT_MS };
    (void)snprintf(call->name, sizeof(call->name), "%s", name != NULL ? name : "<unknown>");
    json_decref(take_command);
    for (end = &agent->calls; *end != NULL; end = &(*end)->next)
        continue;
    *end = call;
    agent->n_calls++;
    if (agent->phase == IDLE)
        begin_next(agent);
    update(agent);
}

void vq_agent_call_await(struct vq_qemu_guest *guest, const char *command, json_t *take_arguments, int timeout_s,
                         enum vq_agent_await await, vq_agent_cb cb, void *data)
{
    json_t *root = json_pack("{s:s}", "execute", command);

    if (take_arguments != NULL)
        (void)json_object_set_new(root, "arguments", take_arguments);
    enqueue(guest, root, timeout_s, await, cb, data);
}

void vq_agent_call(struct vq_qemu_guest *guest, const char *command, json_t *take_arguments, int timeout_s, vq_agent_cb cb, void *data)
{
    vq_agent_call_await(guest, command, take_arguments, timeout_s, VQ_AGENT_ANSWER, cb, data);
}

void vq_agent_call_raw(struct vq_qemu_guest *guest, json_t *take_command, int timeout_s, vq_agent_cb cb, void *data)
{
    enqueue(guest, take_command, timeout_s, VQ_AGENT_ANSWER, cb, data);
}

void vq_agent_event(struct vq_qemu_guest *guest, enum vq_agent_await event)
{
    struct vq_agent *agent = guest->agent;
    const struct vq_agent_answer done = { .value = NULL };

    if (agent == NULL || agent->phase != ASKED || agent->calls->await != event)
        return;
    finish(agent, &done);
    if (agent->guest != NULL)
        update(agent);
}

/* ---- Opening and closing ---- */

struct vq_port *vq_agent_channel(const struct vq_qemu_guest *guest)
{
    for (size_t i = 0; guest->live != NULL && i < guest->live->devices.n_channels; i++)
        if (vq_streq(guest->live->devices.channels[i]->name, VQ_AGENT_CHANNEL))
            return guest->live->devices.channels[i];
    return NULL;
}

/* The socket lies where QEMU may write: what is there may have been put there by a guest that has taken QEMU over. So nothing is followed,
 * and whoever listens has to be this guest's QEMU, as the kernel says. */
static int check_listener(const struct vq_qemu_guest *guest, int fd, struct vq_error *err)
{
    struct ucred peer;
    socklen_t length = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) < 0)
        return vq_error_system(err, errno, "failed to connect to the socket of the channel");
    if (peer.pid != guest->pid)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "the channel's socket is not that of the domain's QEMU, but of process %d",
                            (int)peer.pid);
    return 0;
}

int vq_agent_connect(const struct vq_qemu_guest *guest, const char *path, int *ret_fd, struct vq_error *err)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    VQ_AUTOCLOSE int file = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    VQ_AUTOCLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    struct stat status;

    if (fd < 0 || file < 0 || fstat(file, &status) < 0 || VQ_FAILPOINT("qemu.agent.connect"))
        return vq_error_system(err, errno, "failed to connect to the socket of the channel");
    if (!S_ISSOCK(status.st_mode))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "the channel '%s' is no socket", path);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "/proc/self/fd/%d", file);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) < 0)
        return vq_error_system(err, errno, "failed to connect to the socket of the channel");
    if (check_listener(guest, fd, err) < 0)
        return -1;
    *ret_fd = fd;
    fd = -1;
    return 0;
}

static void start(struct vq_qemu_guest *guest, int take_fd)
{
    struct vq_agent *agent = vq_new(struct vq_agent);
    int rc;

    agent->guest = guest;
    agent->fd = take_fd;
    rc = uv_poll_init(guest->qemu->host->loop, &agent->poll, take_fd);
    assert(rc == 0); /* a socket of ours: only our own mistake can fail it */
    (void)uv_timer_init(guest->qemu->host->loop, &agent->timer);
    agent->poll.data = agent->timer.data = agent;
    agent->open_handles = 2;
    vq_agent_reader_expect(&agent->reader, true);
    guest->agent = agent;
    update(agent);
}

/* QEMU takes one connection at a time, and has not noticed yet that the last one is gone. The timer is that of a guest whose monitor is
 * lost, which this one is not. */
static void try_again(uv_timer_t *timer)
{
    vq_agent_open(timer->data);
}

void vq_agent_open(struct vq_qemu_guest *guest)
{
    const struct vq_port *channel = vq_agent_channel(guest);
    struct vq_error err = VQ_ERROR_INIT;
    int fd;

    if (guest->agent != NULL || guest->phase != VQ_GUEST_ACTIVE || channel == NULL || !vq_streq(channel->state, "connected"))
        return;
    if (channel->source.type != VQ_CHARDEV_UNIX || channel->source.mode != VQ_CHARDEV_BIND || channel->source.path == NULL)
        return;
    guest->has_agent_error = false;
    if (vq_agent_connect(guest, channel->source.path, &fd, &err) < 0) {
        if (err.int1 == EAGAIN && guest->agent_tries++ < TRIES_MAX) {
            (void)uv_timer_start(&guest->retry_timer, try_again, TRY_AGAIN_MS, 0);
            return;
        }
        vq_log(WARN, "guest.agent", "domain=%s: %s, its agent is not asked", guest->name, err.message);
        guest->has_agent_error = true;
        return;
    }
    start(guest, fd);
}

static void handle_closed(uv_handle_t *handle)
{
    struct vq_agent *agent = handle->data;

    if (--agent->open_handles > 0)
        return;
    vq_agent_reader_done(&agent->reader);
    output_drop(agent);
    free(agent);
}

void vq_agent_close(struct vq_qemu_guest *guest)
{
    struct vq_agent *agent = guest->agent;
    const struct vq_agent_answer done = { .value = NULL };
    struct vq_error err = VQ_ERROR_INIT;

    if (agent == NULL)
        return;
    guest->agent = NULL;
    agent->guest = NULL;
    (void)uv_poll_stop(&agent->poll);
    (void)close(agent->fd);
    uv_close((uv_handle_t *)&agent->poll, handle_closed);
    uv_close((uv_handle_t *)&agent->timer, handle_closed);
    (void)vq_error_set(&err, VIR_ERR_AGENT_UNRESPONSIVE, "Guest agent disappeared while executing command");
    while (agent->calls != NULL) {
        struct call *call = call_take(agent, agent->calls);

        /* A guest that goes down closes the channel on its way: that is what it was told. */
        if (agent->phase == ASKED && call->await != VQ_AGENT_ANSWER) {
            call->cb(&done, call->data);
            call_free(call);
        } else {
            fail_call(call, &err);
        }
        agent->phase = IDLE;
    }
}

/* ---- What QEMU says of the channel ---- */

void vq_agent_channel_is(struct vq_qemu_guest *guest, struct vq_port *channel, bool is_open, int reason)
{
    const char *state = is_open ? "connected" : "disconnected";
    bool is_agent = vq_streq(channel->name, VQ_AGENT_CHANNEL);

    if (vq_streq(channel->state, state))
        return;
    vq_set_text(&channel->state, state);
    if (!is_agent)
        return;
    guest->agent_tries = 0;
    if (is_open)
        vq_agent_open(guest);
    else
        vq_agent_close(guest);
    vq_qemu_emit_agent_lifecycle(guest, is_open, reason);
}

/* [{"label": "charchannel0", "frontend-open": true, ...}] */
void vq_agent_channels_are(struct vq_qemu_guest *guest, json_t *query_chardev, int reason)
{
    size_t i;
    json_t *entry;

    json_array_foreach(query_chardev, i, entry) {
        const char *label = json_string_value(json_object_get(entry, "label"));
        json_t *is_open = json_object_get(entry, "frontend-open");

        if (label == NULL || strncmp(label, "char", 4) != 0 || !json_is_boolean(is_open))
            continue;
        for (size_t j = 0; guest->live != NULL && j < guest->live->devices.n_channels; j++) {
            struct vq_port *channel = guest->live->devices.channels[j];

            if (channel->target == VQ_PORT_TARGET_VIRTIO && vq_streq(channel->info.alias, label + 4))
                vq_agent_channel_is(guest, channel, json_is_true(is_open), reason);
        }
    }
}

/* ---- For handlers ---- */

bool vq_agent_is_there(const struct vq_qemu_guest *guest, struct vq_error *err)
{
    if (guest->state != VIR_DOMAIN_RUNNING)
        (void)vq_error_set(err, VIR_ERR_OPERATION_INVALID, "domain is not running");
    else if (guest->has_agent_error)
        (void)vq_error_set(err, VIR_ERR_AGENT_UNRESPONSIVE, "QEMU guest agent is not available due to an error");
    else if (guest->agent != NULL)
        return true;
    else if (vq_agent_channel(guest) != NULL)
        (void)vq_error_set(err, VIR_ERR_AGENT_UNRESPONSIVE, "QEMU guest agent is not connected");
    else
        (void)vq_error_set(err, VIR_ERR_ARGUMENT_UNSUPPORTED, "QEMU guest agent is not configured");
    return false;
}

struct vq_qemu_guest *vq_agent_guest_of(struct vq_request *request)
{
    struct vq_qemu_guest *guest = vq_qemu_guest_of(request);
    struct vq_error err = VQ_ERROR_INIT;

    if (guest == NULL || vq_agent_is_there(guest, &err))
        return guest;
    vq_request_fail(request, &err);
    return NULL;
}
