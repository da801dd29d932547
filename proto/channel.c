/* The byte channel.
 *
 *   handshake ──► open ──► lingering ──► closed        Everything but "closed" may end: the ended callback is due,
 *       └───────────┴──────────────────────▲           nothing is read or written any more, the user closes.
 *
 * All work is done in run(), called from the loop: by poll, or by the idle handle `turn` that is armed for one turn of
 * the loop whenever a vq_channel_ function left something to do. So no callback comes from inside a user's call, and
 * what a user writes while bytes are delivered goes out in one system call behind them. */
#define VQ_FROM VIR_FROM_RPC
#include "proto/channel.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "proto/tls.h"

enum {
    SCRATCH_BYTES = 64 * 1024,     /* read at once when nothing is kept; the user mostly consumes all of it */
    READ_BUDGET = 256 * 1024,      /* per channel and turn, so that one busy peer does not hold up the others */
    WRITE_BUDGET = 1024 * 1024,    /* likewise */
    INPUT_DEFAULT = 64 * 1024,     /* when the options name no limit */
    ROOM_MIN = 4096,               /* of a read into kept input */
    CHUNK_BYTES = 4096,            /* small writes share a chunk of this size ... */
    CHUNK_LARGE_BYTES = 64 * 1024, /* ... or of this, while the peer reads slowly */
    COPY_MAX = 2048,               /* a buffer up to this size is copied, a larger one is queued as it is */
    VECTOR_MAX = 64,               /* chunks in one writev() */
    FDS_MAX = 32,                  /* received and not yet taken: the protocol's own limit for one message */
};

enum state { HANDSHAKE, OPEN, LINGERING, CLOSED };

struct chunk {
    struct chunk *next;
    uint8_t *data;
    size_t start, end, capacity; /* what is between start and end waits */
    int fd;                      /* -1, or goes with the chunk's one byte */
};

struct vq_channel {
    uv_poll_t poll;
    uv_idle_t turn;
    uv_timer_t timer; /* of the handshake, then of lingering */
    unsigned n_handles;

    int fd;
    struct vq_tls_session *tls;
    struct vq_channel_options options;
    const struct vq_channel_callbacks *callbacks;
    void *data;

    enum state state;
    bool has_poll;         /* its handle could be set up */
    int poll_events;       /* what the kernel watches for us now */
    bool is_running;       /* inside run() */
    bool is_delivering;    /* inside the received callback */
    bool must_read;        /* read in the next turn without being asked by poll */
    bool must_deliver;     /* kept input is due */
    bool handshake_writes; /* it waits for the socket to take bytes */

    bool is_paused;
    bool is_read_off;    /* poll was told not to watch for input; later than paused, because most pauses are short */
    bool is_half_closed; /* the peer will send nothing more, seen while paused */
    uint8_t *input;
    size_t input_start, input_end, input_capacity;
    size_t wanted;
    int fds[FDS_MAX];
    size_t n_fds;

    struct chunk *head, *tail;
    size_t queued;
    bool is_blocked;       /* the kernel's buffer is full */
    bool is_output_broken; /* what is written is dropped; `end` tells why; input may still come */
    bool is_shut;          /* lingering: our side is closed */

    bool is_ending, has_ended;
    struct vq_error end;
};

static _Thread_local uint8_t scratch[SCRATCH_BYTES];

static void run(struct vq_channel *channel, bool is_readable);

/* ---- Ending and closing ------------------------------------------------------------------------------------------ */

static bool is_alive(const struct vq_channel *channel)
{
    return channel->state != CLOSED && !channel->is_ending;
}

static void turn_cb(uv_idle_t *handle)
{
    struct vq_channel *channel = handle->data;
    bool must_read = channel->must_read;

    (void)uv_idle_stop(handle);
    channel->must_read = false;
    run(channel, must_read);
}

static void schedule(struct vq_channel *channel)
{
    if (channel->state != CLOSED)
        (void)uv_idle_start(&channel->turn, turn_cb); /* nothing happens when it is armed already */
}

/* The first reason stays. */
static void end_with(struct vq_channel *channel, const struct vq_error *err)
{
    if (channel->is_ending)
        return;
    channel->is_ending = true;
    channel->end = *err;
    if (!channel->is_running)
        schedule(channel);
}

static void chunk_free(struct chunk *chunk)
{
    if (chunk->fd >= 0)
        (void)close(chunk->fd); /* the peer never got it */
    free(chunk->data);
    free(chunk);
}

static void drop_output(struct vq_channel *channel)
{
    struct chunk *next;

    for (struct chunk *chunk = channel->head; chunk != NULL; chunk = next) {
        next = chunk->next;
        chunk_free(chunk);
    }
    channel->head = channel->tail = NULL;
    channel->queued = 0;
    channel->is_blocked = false;
}

static void drop_fds(struct vq_channel *channel)
{
    for (size_t i = 0; i < channel->n_fds; i++)
        (void)close(channel->fds[i]); /* nobody asked for it */
    channel->n_fds = 0;
}

static void handle_closed(uv_handle_t *handle)
{
    struct vq_channel *channel = handle->data;

    if (--channel->n_handles > 0)
        return;
    free(channel->input); /* only now: a user who closes while bytes are delivered may still look at them */
    free(channel);
}

/* Let go of everything; the memory goes with the last handle. */
static void destroy(struct vq_channel *channel)
{
    assert(channel->state != CLOSED);
    channel->state = CLOSED;
    if (channel->has_poll)
        uv_close((uv_handle_t *)&channel->poll, handle_closed);
    uv_close((uv_handle_t *)&channel->turn, handle_closed);
    uv_close((uv_handle_t *)&channel->timer, handle_closed);
    drop_output(channel);
    drop_fds(channel);
    vq_tls_session_free(channel->tls);
    channel->tls = NULL;
    if (channel->fd >= 0)
        (void)close(channel->fd); /* libuv forgot it in uv_close() above */
    channel->fd = -1;
}

static void report_end(struct vq_channel *channel)
{
    channel->has_ended = true;
    (void)uv_timer_stop(&channel->timer);
    drop_output(channel);
    if (channel->state == LINGERING)
        destroy(channel);
    else
        channel->callbacks->ended(channel, &channel->end, channel->data);
}

/* ---- Poll -------------------------------------------------------------------------------------------------------- */

static void poll_cb(uv_poll_t *handle, int status, int events)
{
    struct vq_channel *channel = handle->data;

    if (status < 0) /* libuv has stopped the handle; reading finds out what happened */
        channel->poll_events = 0;
    run(channel, status < 0 || (events & (UV_READABLE | UV_DISCONNECT)) != 0);
}

static int wanted_events(const struct vq_channel *channel)
{
    int events = channel->is_blocked ? UV_WRITABLE : 0;

    if (channel->has_ended)
        return 0;
    if (channel->state == HANDSHAKE)
        return channel->handshake_writes ? UV_WRITABLE : UV_READABLE;
    if (!channel->is_read_off)
        return events | UV_READABLE;
    return channel->is_half_closed ? events : events | UV_DISCONNECT;
}

/* Each change costs a system call at the end of the turn, so only real changes are told. */
static void update_poll(struct vq_channel *channel)
{
    int events = channel->state == CLOSED ? 0 : wanted_events(channel);

    if (channel->state == CLOSED || events == channel->poll_events || !channel->has_poll)
        return;
    channel->poll_events = events;
    if (events == 0)
        (void)uv_poll_stop(&channel->poll);
    else
        (void)uv_poll_start(&channel->poll, events, poll_cb); /* fails only for handles that are closing */
}

/* ---- Output ------------------------------------------------------------------------------------------------------ */

static long send_fd(struct vq_channel *channel, const struct chunk *chunk, struct vq_error *err)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int))];
    } control = {0};
    struct iovec vector = {.iov_base = chunk->data, .iov_len = 1};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof(control.room)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(header), &chunk->fd, sizeof(int));
    ssize_t sent = sendmsg(channel->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0)
        return (long)sent;
    return errno == EAGAIN || errno == EINTR ? -2 : vq_error_system(err, errno, "passing a descriptor");
}

/* As many queued bytes as stand before the next descriptor, in one system call. */
static long send_plain(struct vq_channel *channel, struct vq_error *err)
{
    struct iovec vector[VECTOR_MAX];
    struct msghdr message = {.msg_iov = vector};
    ssize_t sent;

    for (struct chunk *chunk = channel->head; chunk != NULL && chunk->fd < 0 && message.msg_iovlen < VECTOR_MAX;
         chunk = chunk->next)
        vector[message.msg_iovlen++] =
            (struct iovec){.iov_base = chunk->data + chunk->start, .iov_len = chunk->end - chunk->start};
    if (message.msg_iovlen == 1)
        sent = send(channel->fd, vector[0].iov_base, vector[0].iov_len, MSG_NOSIGNAL | MSG_DONTWAIT);
    else
        sent = sendmsg(channel->fd, &message, MSG_NOSIGNAL | MSG_DONTWAIT);
    if (sent >= 0)
        return (long)sent;
    return errno == EAGAIN || errno == EINTR ? -2 : vq_error_system(err, errno, "writing to the peer");
}

static long send_some(struct vq_channel *channel, struct vq_error *err)
{
    struct chunk *chunk = channel->head;

    if (channel->tls != NULL)
        return vq_tls_session_write(channel->tls, chunk->data + chunk->start, chunk->end - chunk->start, err);
    return chunk->fd >= 0 ? send_fd(channel, chunk, err) : send_plain(channel, err);
}

static void output_sent(struct vq_channel *channel, size_t sent)
{
    assert(sent <= channel->queued);
    channel->queued -= sent;
    while (sent > 0) {
        struct chunk *chunk = channel->head;
        size_t waiting = chunk->end - chunk->start;
        if (sent < waiting) {
            chunk->start += sent;
            return;
        }
        sent -= waiting;
        channel->head = chunk->next;
        if (channel->head == NULL)
            channel->tail = NULL;
        chunk_free(chunk);
    }
}

/* The peer takes nothing more, but what it said before may still be in the kernel: that is read first. */
static void output_failed(struct vq_channel *channel, const struct vq_error *err)
{
    drop_output(channel);
    if (channel->is_paused || channel->state == LINGERING) {
        end_with(channel, err);
        return;
    }
    channel->is_output_broken = true;
    channel->end = *err;
    channel->must_read = true;
    schedule(channel);
}

static void flush(struct vq_channel *channel)
{
    struct vq_error err = VQ_ERROR_INIT;
    size_t total = 0;
    long sent = 0;

    while (channel->head != NULL && total < WRITE_BUDGET && (sent = send_some(channel, &err)) > 0) {
        total += (size_t)sent;
        output_sent(channel, (size_t)sent);
    }
    channel->is_blocked = channel->head != NULL; /* or the budget is used up: poll tells at once in the next turn */
    if (sent == -1)
        output_failed(channel, &err);
    else if (channel->head == NULL && total > 0 && channel->state == OPEN && channel->callbacks->drained != NULL)
        channel->callbacks->drained(channel, channel->data);
}

static void append_chunk(struct vq_channel *channel, uint8_t *take_data, size_t length, size_t capacity, int take_fd)
{
    struct chunk *chunk = vq_new(struct chunk);

    *chunk = (struct chunk){.data = take_data, .end = length, .capacity = capacity, .fd = take_fd};
    if (channel->tail == NULL)
        channel->head = chunk;
    else
        channel->tail->next = chunk;
    channel->tail = chunk;
}

static bool takes_output(const struct vq_channel *channel)
{
    return is_alive(channel) && channel->state != LINGERING && !channel->is_output_broken;
}

static void output_queued(struct vq_channel *channel, size_t length)
{
    struct vq_error err = VQ_ERROR_INIT;

    channel->queued += length;
    if (channel->options.output_max_bytes != 0 && channel->queued > channel->options.output_max_bytes) {
        (void)vq_error_set(&err, VIR_ERR_RPC, "the peer does not read: %zu bytes wait for it", channel->queued);
        end_with(channel, &err);
    } else if (!channel->is_running && !channel->is_blocked && channel->state == OPEN) {
        schedule(channel);
    }
}

void vq_channel_write(struct vq_channel *channel, const void *bytes, size_t length)
{
    struct chunk *tail = channel->tail;

    if (length == 0 || !takes_output(channel))
        return;
    /* A chunk that TLS may be halfway through is not moved, only added to. */
    if (tail != NULL && tail->fd < 0 && tail->capacity - tail->end >= length) {
        memcpy(tail->data + tail->end, bytes, length);
        tail->end += length;
    } else {
        size_t capacity = channel->queued == 0 ? CHUNK_BYTES : CHUNK_LARGE_BYTES;
        if (capacity < length)
            capacity = length;
        uint8_t *data = malloc(capacity);
        if (data == NULL)
            data = vq_realloc(NULL, capacity, 1); /* ends the process as every small allocation does */
        memcpy(data, bytes, length);
        append_chunk(channel, data, length, capacity, -1);
    }
    output_queued(channel, length);
}

void vq_channel_write_buffer(struct vq_channel *channel, struct vq_buffer *take_content)
{
    size_t length = take_content->length;

    if (length <= COPY_MAX || !takes_output(channel)) {
        vq_channel_write(channel, take_content->data, length);
        vq_buffer_done(take_content);
        return;
    }
    append_chunk(channel, (uint8_t *)take_content->data, length, length, -1);
    *take_content = VQ_BUFFER_INIT;
    output_queued(channel, length);
}

void vq_channel_write_fd(struct vq_channel *channel, int take_fd)
{
    assert(channel->tls == NULL);
    if (!takes_output(channel)) {
        (void)close(take_fd); /* the peer is gone */
        return;
    }
    append_chunk(channel, vq_calloc(1, 1), 1, 1, take_fd);
    output_queued(channel, 1);
}

size_t vq_channel_queued(const struct vq_channel *channel)
{
    return channel->queued;
}

/* ---- Input ------------------------------------------------------------------------------------------------------- */

static size_t kept_length(const struct vq_channel *channel)
{
    return channel->input_end - channel->input_start;
}

/* Descriptors that came with a message, into the queue. Exactly one per message is what the protocol sends. */
static int keep_fds(struct vq_channel *channel, struct msghdr *message, struct vq_error *err)
{
    bool is_bad = (message->msg_flags & MSG_CTRUNC) != 0;
    int n_new = 0;

    for (struct cmsghdr *header = CMSG_FIRSTHDR(message); header != NULL; header = CMSG_NXTHDR(message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS)
            continue;
        size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count; i++) {
            int fd;
            memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(int));
            n_new++;
            if (is_bad || n_new > 1 || channel->n_fds == FDS_MAX) {
                (void)close(fd); /* refused below */
                is_bad = true;
            } else {
                channel->fds[channel->n_fds++] = fd;
            }
        }
    }
    if (is_bad)
        return vq_error_set(err, VIR_ERR_RPC, "the peer passes more descriptors than the protocol allows");
    return n_new;
}

/* One recvmsg(). The kernel ends it behind the byte that a descriptor came with; that byte is not input. */
static long receive_with_fds(struct vq_channel *channel, uint8_t *place, size_t room, bool *ret_got_fd,
                             struct vq_error *err)
{
    union {
        struct cmsghdr header;
        char room[CMSG_SPACE(sizeof(int) * 4)];
    } control;
    struct iovec vector = {.iov_base = place, .iov_len = room};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control.room, .msg_controllen = sizeof(control.room)};
    ssize_t got = recvmsg(channel->fd, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);

    if (got < 0)
        return errno == EAGAIN || errno == EINTR ? -2 : vq_error_system(err, errno, "reading from the peer");
    if (got == 0 || (message.msg_controllen == 0 && (message.msg_flags & MSG_CTRUNC) == 0))
        return (long)got;
    int n_new = keep_fds(channel, &message, err);
    if (n_new < 0)
        return -1;
    *ret_got_fd = n_new > 0;
    if (n_new > 0 && place[got - 1] != 0)
        return vq_error_set(err, VIR_ERR_RPC, "a descriptor came with other bytes than the protocol's own");
    return (long)got;
}

/* > 0 bytes, 0 end, -1 error, -2 nothing there. */
static long receive(struct vq_channel *channel, uint8_t *place, size_t room, bool *ret_got_fd, struct vq_error *err)
{
    *ret_got_fd = false;
    if (channel->tls != NULL)
        return vq_tls_session_read(channel->tls, place, room, err);
    if (channel->options.passes_fds)
        return receive_with_fds(channel, place, room, ret_got_fd, err);
    ssize_t got = recv(channel->fd, place, room, MSG_DONTWAIT);
    if (got >= 0)
        return (long)got;
    return errno == EAGAIN || errno == EINTR ? -2 : vq_error_system(err, errno, "reading from the peer");
}

/* Give the bytes to the user; how many were consumed. */
static size_t deliver(struct vq_channel *channel, const uint8_t *bytes, size_t length)
{
    size_t wanted = 0;

    channel->is_delivering = true;
    size_t consumed = channel->callbacks->received(channel, bytes, length, &wanted, channel->data);
    channel->is_delivering = false;
    assert(consumed <= length);
    channel->wanted = wanted;
    return consumed;
}

static void deliver_kept(struct vq_channel *channel)
{
    channel->must_deliver = false;
    const uint8_t *bytes = channel->input == NULL ? scratch : channel->input + channel->input_start;
    size_t consumed = deliver(channel, bytes, kept_length(channel));
    if (channel->state != OPEN)
        return;
    channel->input_start += consumed;
    if (kept_length(channel) == 0 && channel->input != NULL) {
        free(channel->input);
        channel->input = NULL;
        channel->input_start = channel->input_end = channel->input_capacity = 0;
    }
}

/* Room for the next read behind what is kept. The buffer grows with what has really come, not with what a peer
 * announces, and only when it is full: by doubling, so that a large message is not copied again and again. */
static size_t make_room(struct vq_channel *channel)
{
    size_t kept = kept_length(channel);
    size_t limit = channel->options.input_max_bytes;
    size_t target = channel->wanted > kept + ROOM_MIN ? channel->wanted : kept + ROOM_MIN;
    size_t reachable = 2 * kept + SCRATCH_BYTES;

    if (kept >= limit)
        return 0;
    if (target > reachable)
        target = reachable;
    if (target > limit)
        target = limit;
    bool is_full = channel->input_capacity - channel->input_end < ROOM_MIN;
    if (is_full && channel->input_capacity - channel->input_end < target - kept) {
        if (channel->input_start > 0)
            memmove(channel->input, channel->input + channel->input_start, kept);
        channel->input_start = 0;
        channel->input_end = kept;
        if (channel->input_capacity < target) {
            channel->input = vq_realloc(channel->input, target, 1);
            channel->input_capacity = target;
        }
    }
    size_t room = channel->input_capacity - channel->input_end;
    return room < limit - kept ? room : limit - kept;
}

static void keep(struct vq_channel *channel, const uint8_t *bytes, size_t length)
{
    if (length == 0)
        return;
    size_t capacity = length < ROOM_MIN ? ROOM_MIN : length;
    channel->input = vq_realloc(NULL, capacity, 1);
    channel->input_capacity = capacity;
    channel->input_start = 0;
    channel->input_end = length;
    memcpy(channel->input, bytes, length);
}

static bool is_over_limit(struct vq_channel *channel)
{
    struct vq_error err = VQ_ERROR_INIT;
    size_t limit = channel->options.input_max_bytes;

    if (channel->wanted <= limit && (channel->is_paused || kept_length(channel) < limit))
        return false;
    (void)vq_error_set(&err, VIR_ERR_RPC, "the peer's message is larger than %zu bytes", limit);
    end_with(channel, &err);
    return true;
}

/* One read. False: there is nothing more to do now. */
static bool read_once(struct vq_channel *channel, size_t *budget)
{
    struct vq_error err = VQ_ERROR_INIT;
    bool uses_scratch = kept_length(channel) == 0;
    size_t limit = channel->options.input_max_bytes;
    size_t room = !uses_scratch ? make_room(channel) : limit < sizeof(scratch) ? limit : sizeof(scratch);
    uint8_t *place = uses_scratch ? scratch : channel->input + channel->input_end;
    bool got_fd;

    if (room == 0) { /* the limit is reached, and after a pause the user has still consumed nothing */
        (void)is_over_limit(channel);
        return false;
    }
    long got = receive(channel, place, room, &got_fd, &err);

    if (got == -2 && channel->is_output_broken)
        channel->is_ending = true;
    if (got == -2)
        return false;
    if (got <= 0) {
        end_with(channel, &err);
        return false;
    }
    size_t length = (size_t)got - (got_fd ? 1 : 0);
    if (uses_scratch) {
        size_t consumed = deliver(channel, scratch, length);
        if (channel->state != OPEN)
            return false;
        keep(channel, scratch + consumed, length - consumed);
    } else {
        channel->input_end += length;
        deliver_kept(channel);
    }
    if (!is_alive(channel) || channel->state != OPEN || is_over_limit(channel))
        return false;
    *budget = *budget > (size_t)got ? *budget - (size_t)got : 0;
    /* A short read has emptied a plain socket, except before a descriptor; TLS may have more in its own buffers. */
    return channel->tls != NULL || got_fd || (size_t)got == room || channel->is_output_broken;
}

static void read_input(struct vq_channel *channel)
{
    size_t budget = READ_BUDGET;

    while (!channel->is_paused && channel->state == OPEN) {
        if (budget == 0) {
            channel->must_read = true;
            schedule(channel);
            return;
        }
        if (!read_once(channel, &budget))
            return;
    }
}

/* Paused, and poll says that something came: stop watching for input. A peer that is gone altogether is told at once,
 * because then nobody waits for what the user is still busy with. */
static void note_while_paused(struct vq_channel *channel)
{
    struct pollfd state = {.fd = channel->fd, .events = POLLRDHUP};
    struct vq_error none = VQ_ERROR_INIT;

    channel->is_read_off = true;
    if (poll(&state, 1, 0) <= 0)
        return;
    if ((state.revents & (POLLHUP | POLLERR)) != 0)
        end_with(channel, &none);
    else
        channel->is_half_closed = (state.revents & POLLRDHUP) != 0;
}

int vq_channel_take_fd(struct vq_channel *channel)
{
    if (channel->n_fds == 0)
        return -1;
    int fd = channel->fds[0];
    channel->n_fds--;
    memmove(channel->fds, channel->fds + 1, channel->n_fds * sizeof(channel->fds[0]));
    return fd;
}

void vq_channel_pause(struct vq_channel *channel)
{
    channel->is_paused = true;
}

void vq_channel_resume(struct vq_channel *channel)
{
    if (!channel->is_paused)
        return;
    channel->is_paused = false;
    channel->is_read_off = false;
    channel->must_deliver = channel->is_delivering || kept_length(channel) > 0 || channel->n_fds > 0;
    /* What is decrypted or buffered by TLS already does not wake poll. */
    channel->must_read = channel->tls != NULL || channel->is_output_broken;
    if (is_alive(channel) && !channel->is_running)
        schedule(channel);
}

/* ---- The turn ---------------------------------------------------------------------------------------------------- */

static void shake_hands(struct vq_channel *channel)
{
    struct vq_error err = VQ_ERROR_INIT;
    int next = vq_tls_session_handshake(channel->tls, channel->fd, &err);

    if (next < 0) {
        end_with(channel, &err);
        return;
    }
    channel->handshake_writes = next == 2;
    if (next != 0)
        return;
    channel->state = OPEN;
    (void)uv_timer_stop(&channel->timer);
    if (channel->callbacks->ready != NULL)
        channel->callbacks->ready(channel, channel->data);
    if (is_alive(channel))
        read_input(channel); /* may have come with the last part of the handshake */
}

/* Closed by the user, and the last words are on their way: throw away what still comes, because closing a socket with
 * unread input may make the kernel discard what the peer has not read yet. */
static void linger(struct vq_channel *channel)
{
    long got = 1;

    if (channel->head == NULL && !channel->is_shut) {
        if (channel->tls != NULL)
            vq_tls_session_bye(channel->tls);
        (void)shutdown(channel->fd, SHUT_WR); /* a peer that is gone already is found below */
        channel->is_shut = true;
    }
    for (size_t total = 0; got > 0 && total < READ_BUDGET; total += (size_t)got)
        got = recv(channel->fd, scratch, sizeof(scratch), MSG_DONTWAIT);
    if (got == 0 && channel->head == NULL)
        destroy(channel);
    else if (got < 0 && errno != EAGAIN && errno != EINTR)
        destroy(channel);
    else if (got == 0)
        channel->is_read_off = channel->is_half_closed = true;
}

/* What callbacks have left to do; they cannot arm the turn themselves while we run. */
static void schedule_rest(struct vq_channel *channel)
{
    bool can_write = channel->state == OPEN && channel->head != NULL && !channel->is_blocked;
    bool can_read = channel->state == OPEN && !channel->is_paused && (channel->must_deliver || channel->must_read);

    if (is_alive(channel) && (can_write || can_read))
        schedule(channel);
}

static void run(struct vq_channel *channel, bool is_readable)
{
    if (channel->state == CLOSED || channel->has_ended)
        return;
    channel->is_running = true;
    if (channel->state == HANDSHAKE && is_alive(channel))
        shake_hands(channel);
    else if (channel->state == OPEN && is_alive(channel)) {
        if (channel->must_deliver && !channel->is_paused)
            deliver_kept(channel);
        if (is_readable && is_alive(channel) && channel->is_paused)
            note_while_paused(channel);
        else if (is_readable && is_alive(channel))
            read_input(channel);
    }
    if (is_alive(channel) && channel->state != HANDSHAKE && channel->head != NULL)
        flush(channel);
    if (is_alive(channel) && channel->state == LINGERING)
        linger(channel);
    if (channel->state != CLOSED && channel->is_ending && !channel->has_ended)
        report_end(channel);
    channel->is_running = false;
    schedule_rest(channel);
    update_poll(channel);
}

static void timer_cb(uv_timer_t *handle)
{
    struct vq_channel *channel = handle->data;
    struct vq_error err = VQ_ERROR_INIT;

    if (channel->state == LINGERING) {
        destroy(channel);
        return;
    }
    (void)vq_error_set(&err, VIR_ERR_RPC, "the TLS handshake was not finished within %llu ms",
                       (unsigned long long)channel->options.handshake_ms);
    end_with(channel, &err);
}

/* ---- Opening, closing, moving ------------------------------------------------------------------------------------ */

static void set_no_delay(int fd)
{
    int domain = 0, on = 1;
    socklen_t size = sizeof(domain);

    if (getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &size) == 0 && domain != AF_UNIX)
        (void)setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)); /* slower without it, not wrong */
}

static struct vq_channel *make(uv_loop_t *loop, int fd, struct vq_tls_session *tls,
                               const struct vq_channel_options *options, const struct vq_channel_callbacks *callbacks,
                               void *data)
{
    struct vq_channel *channel = vq_new(struct vq_channel);
    struct vq_error err = VQ_ERROR_INIT;

    assert(callbacks->received != NULL && callbacks->ended != NULL);
    assert(tls == NULL || !options->passes_fds);
    channel->fd = fd;
    channel->tls = tls;
    channel->options = *options;
    if (channel->options.input_max_bytes == 0)
        channel->options.input_max_bytes = INPUT_DEFAULT;
    channel->callbacks = callbacks;
    channel->data = data;
    channel->state = OPEN;
    channel->end = VQ_ERROR_INIT;
    channel->poll.data = channel->turn.data = channel->timer.data = channel;
    (void)uv_idle_init(loop, &channel->turn); /* these two cannot fail */
    (void)uv_timer_init(loop, &channel->timer);
    channel->n_handles = 2;
    int rc = uv_poll_init_socket(loop, &channel->poll, fd);
    if (rc < 0) {
        (void)vq_error_system(&err, -rc, "watching a connection");
        end_with(channel, &err);
        return channel;
    }
    channel->has_poll = true;
    channel->n_handles++;
    return channel;
}

struct vq_channel *vq_channel_open(uv_loop_t *loop, int take_fd, struct vq_tls_session *take_tls,
                                   const struct vq_channel_options *options,
                                   const struct vq_channel_callbacks *callbacks, void *data)
{
    struct vq_channel *channel = make(loop, take_fd, take_tls, options, callbacks, data);

    if (channel->is_ending)
        return channel;
    (void)fcntl(take_fd, F_SETFD, FD_CLOEXEC); /* cannot fail on a descriptor that poll has taken */
    set_no_delay(take_fd);
    if (take_tls != NULL) {
        channel->state = HANDSHAKE;
        schedule(channel); /* a client begins to speak */
        if (options->handshake_ms != 0)
            (void)uv_timer_start(&channel->timer, timer_cb, options->handshake_ms, 0);
    }
    update_poll(channel);
    return channel;
}

void vq_channel_close(struct vq_channel *channel, uint64_t linger_ms)
{
    assert(channel->state == OPEN || channel->state == HANDSHAKE);
    if (linger_ms == 0 || channel->state != OPEN || channel->is_ending || channel->is_output_broken) {
        if (channel->tls != NULL && channel->state == OPEN && !channel->is_ending && channel->head == NULL)
            vq_tls_session_bye(channel->tls);
        destroy(channel);
        return;
    }
    channel->state = LINGERING;
    channel->is_paused = channel->is_read_off = channel->is_half_closed = false;
    drop_fds(channel);
    (void)uv_timer_start(&channel->timer, timer_cb, linger_ms, 0);
    schedule(channel);
}

struct vq_tls_session *vq_channel_tls(const struct vq_channel *channel)
{
    return channel->tls;
}

int vq_channel_fd(const struct vq_channel *channel)
{
    return channel->fd;
}

void vq_channel_detach(struct vq_channel *take_channel, struct vq_channel_parts *ret_parts)
{
    struct vq_channel *channel = take_channel;

    assert(channel->state == OPEN && channel->head == NULL && !channel->is_ending && !channel->is_delivering);
    ret_parts->input_length = kept_length(channel);
    if (channel->input_start > 0)
        memmove(channel->input, channel->input + channel->input_start, ret_parts->input_length);
    ret_parts->input = vq_take(channel->input);
    ret_parts->fd = channel->fd;
    ret_parts->tls = vq_take(channel->tls);
    /* destroy() closes the handles first, which takes the descriptor out of this loop's epoll set. */
    channel->fd = -1;
    channel->input_start = channel->input_end = channel->input_capacity = 0;
    destroy(channel);
}

struct vq_channel *vq_channel_attach(uv_loop_t *loop, const struct vq_channel_parts *take_parts,
                                     const struct vq_channel_options *options,
                                     const struct vq_channel_callbacks *callbacks, void *data)
{
    struct vq_channel *channel = make(loop, take_parts->fd, take_parts->tls, options, callbacks, data);

    channel->input = take_parts->input;
    channel->input_end = channel->input_capacity = take_parts->input_length;
    channel->must_deliver = take_parts->input_length > 0;
    channel->must_read = take_parts->tls != NULL; /* bytes that TLS holds already do not wake poll */
    schedule(channel);
    if (!channel->is_ending)
        update_poll(channel);
    return channel;
}

void vq_channel_parts_discard(const struct vq_channel_parts *take_parts)
{
    if (take_parts->tls != NULL)
        vq_tls_session_bye(take_parts->tls);
    vq_tls_session_free(take_parts->tls);
    if (take_parts->fd >= 0)
        (void)close(take_parts->fd); /* nothing is left to be done for it */
    free(take_parts->input);
}
