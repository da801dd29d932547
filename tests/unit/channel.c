/* Byte channels: what comes out at the other end, and what happens when somebody misbehaves or vanishes. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>
#include <cmocka.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "proto/channel.h"
#include "proto/tls.h"
#include "tests/unit/support/identity.h"
#include "tests/unit/support/loop.h"

enum { LENGTH_BYTES = 4, MIB = 1024 * 1024 };

static struct test_authority authority;
static struct vq_tls_credentials *credentials;

/* One end: collects messages of a 4-byte length (of this machine's order) and content. */
struct end {
    struct vq_channel *channel;
    unsigned n_messages, n_received, n_ready, n_drained, n_ended;
    size_t bytes; /* content of all messages */
    uint8_t last; /* last byte of the last message */
    struct vq_error err;
    bool consumes_nothing, pauses_after_each, takes_fds;
    enum { CLOSE_NEVER, CLOSE_IN_READY, CLOSE_IN_RECEIVED, CLOSE_IN_DRAINED } closes;
    size_t wants; /* told as wanted when nothing is consumed */
    int fds[40];
    size_t n_fds;
};

static void end_close(struct end *end)
{
    if (end->channel != NULL)
        vq_channel_close(end->channel, 0);
    end->channel = NULL;
}

static size_t received(struct vq_channel *channel, const uint8_t *bytes, size_t length, size_t *wanted, void *data)
{
    struct end *end = data;
    size_t used = 0;

    end->n_received++;
    if (end->takes_fds)
        for (int fd; (fd = vq_channel_take_fd(channel)) >= 0;)
            end->fds[end->n_fds++] = fd;
    if (end->consumes_nothing) {
        *wanted = end->wants;
        return 0;
    }
    while (length - used >= LENGTH_BYTES) {
        uint32_t content;
        memcpy(&content, bytes + used, LENGTH_BYTES);
        *wanted = LENGTH_BYTES + content;
        if (length - used < *wanted)
            break;
        end->bytes += content;
        end->n_messages++;
        end->last = content == 0 ? 0 : bytes[used + *wanted - 1];
        used += *wanted;
        *wanted = 0;
        if (end->pauses_after_each) {
            vq_channel_pause(channel);
            break;
        }
        if (end->closes == CLOSE_IN_RECEIVED) {
            end_close(end);
            return used;
        }
    }
    return used;
}

static void ready(struct vq_channel *channel VQ_UNUSED, void *data)
{
    struct end *end = data;

    end->n_ready++;
    if (end->closes == CLOSE_IN_READY)
        end_close(end);
}

static void drained(struct vq_channel *channel VQ_UNUSED, void *data)
{
    struct end *end = data;

    end->n_drained++;
    if (end->closes == CLOSE_IN_DRAINED)
        end_close(end);
}

static void ended(struct vq_channel *channel VQ_UNUSED, const struct vq_error *err, void *data)
{
    struct end *end = data;

    end->n_ended++;
    end->err = *err;
    end_close(end);
}

static const struct vq_channel_callbacks callbacks = {received, ready, drained, ended};
static const struct vq_channel_options plain_options = {.input_max_bytes = 16 * MIB, .passes_fds = true};
static const struct vq_channel_options tls_options = {.input_max_bytes = 16 * MIB, .handshake_ms = 5000};

/* ---- A loop with a deadline -------------------------------------------------------------------------------------- */

static void run_turns(unsigned turns)
{
    for (unsigned i = 0; i < turns; i++)
        (void)uv_run(&loop, UV_RUN_NOWAIT);
}

static void make_pair(int fds[2])
{
    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
}

static void open_raw(struct end *end, int *ret_fd, const struct vq_channel_options *options)
{
    int fds[2];

    make_pair(fds);
    *end = (struct end){.err = VQ_ERROR_INIT};
    end->channel = vq_channel_open(&loop, fds[0], NULL, options, &callbacks, end);
    *ret_fd = fds[1];
}

static struct vq_tls_session *make_tls(bool is_server)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_tls_session *session = NULL;
    const struct vq_tls_options options = {.is_server = is_server, .tls13_only = true};

    assert_int_equal(vq_tls_session_new(credentials, &options, &session, &err), 0);
    return session;
}

static void open_both(struct end ends[2], bool is_tls)
{
    int fds[2];

    make_pair(fds);
    for (int i = 0; i < 2; i++) {
        ends[i] = (struct end){.err = VQ_ERROR_INIT};
        ends[i].channel = vq_channel_open(&loop, fds[i], is_tls ? make_tls(i == 1) : NULL,
                                          is_tls ? &tls_options : &plain_options, &callbacks, &ends[i]);
    }
}

static void send_message(struct vq_channel *channel, uint32_t content, uint8_t fill)
{
    struct vq_buffer message = VQ_BUFFER_INIT;

    vq_buffer_add_bytes(&message, &content, LENGTH_BYTES);
    if (content > 0)
        memset(vq_buffer_extend(&message, content), fill, content);
    vq_channel_write_buffer(channel, &message);
}

static void write_raw(int fd, const void *bytes, size_t length)
{
    assert_int_equal(write(fd, bytes, length), (ssize_t)length);
}

/* ---- Bytes ------------------------------------------------------------------------------------------------------- */

static void message_in_single_bytes_is_given_again_until_whole(void **state VQ_UNUSED)
{
    struct end end;
    int fd;
    const uint8_t message[] = {3, 0, 0, 0, 'a', 'b', 'c'};

    open_raw(&end, &fd, &plain_options);
    for (size_t i = 0; i < sizeof(message); i++) {
        write_raw(fd, &message[i], 1);
        run_until(&end.n_received, (unsigned)i + 1);
    }
    assert_int_equal(end.n_messages, 1);
    assert_int_equal(end.last, 'c');
    end_close(&end);
    (void)close(fd);
    assert_empty_loop();
}

static void messages_of_all_sizes_arrive_in_both_directions(void **state)
{
    bool is_tls = *(bool *)*state;
    const uint32_t sizes[] = {0, 1, 2047, 2048, 4092, 4093, 65535, 65536, 8 * MIB, 5, 1000000, 0};
    struct end ends[2];
    size_t total = 0;

    open_both(ends, is_tls);
    for (size_t i = 0; i < VQ_N_ELEMENTS(sizes); i++) {
        total += sizes[i];
        for (int side = 0; side < 2; side++)
            send_message(ends[side].channel, sizes[i], (uint8_t)i);
    }
    for (int i = 0; i < 5000; i++) /* tiny ones share chunks and system calls */
        send_message(ends[0].channel, 3, 7);
    run_until(&ends[0].n_messages, VQ_N_ELEMENTS(sizes));
    run_until(&ends[1].n_messages, VQ_N_ELEMENTS(sizes) + 5000);
    assert_int_equal(ends[0].bytes, total);
    assert_int_equal(ends[1].bytes, total + 15000);
    assert_int_equal(ends[1].last, 7);
    assert_int_equal(ends[0].n_ready, is_tls ? 1 : 0);
    assert_true(ends[0].n_drained > 0);
    assert_int_equal(vq_channel_queued(ends[0].channel), 0);
    end_close(&ends[0]);
    run_until(&ends[1].n_ended, 1);
    assert_int_equal(ends[1].err.code, VIR_ERR_OK);
    assert_empty_loop();
}

static void replies_to_many_calls_leave_in_one_piece(void **state VQ_UNUSED)
{
    struct end end;
    int fd;
    uint8_t bytes[100];

    open_raw(&end, &fd, &plain_options);
    for (int i = 0; i < 10; i++)
        vq_channel_write(end.channel, "0123456789", 10);
    assert_int_equal(recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT), -1); /* not before the turn ends */
    run_turns(2);
    assert_int_equal(recv(fd, bytes, sizeof(bytes), MSG_DONTWAIT), 100);
    end_close(&end);
    (void)close(fd);
    assert_empty_loop();
}

/* ---- Limits and back-pressure ------------------------------------------------------------------------------------ */

static void message_over_the_limit_ends_the_channel(void **state VQ_UNUSED)
{
    const struct vq_channel_options options = {.input_max_bytes = 1000};
    static const uint8_t bytes[3000];
    struct end end;
    int fd;

    open_raw(&end, &fd, &options); /* announced */
    end.consumes_nothing = true;
    end.wants = 1001;
    write_raw(fd, bytes, 4);
    run_until(&end.n_ended, 1);
    assert_string_equal(end.err.message, "the peer's message is larger than 1000 bytes");
    (void)close(fd);

    open_raw(&end, &fd, &options); /* sent without announcing */
    end.consumes_nothing = true;
    write_raw(fd, bytes, sizeof(bytes));
    run_until(&end.n_ended, 1);
    assert_string_equal(end.err.message, "the peer's message is larger than 1000 bytes");
    (void)close(fd);

    open_raw(&end, &fd, &options); /* exactly at the limit */
    uint32_t content = 996;
    write_raw(fd, &content, 4);
    run_turns(2);
    write_raw(fd, bytes, 996);
    run_until(&end.n_messages, 1);
    assert_int_equal(end.n_ended, 0);
    end_close(&end);
    (void)close(fd);
    assert_empty_loop();
}

static void peer_that_does_not_read_is_given_up_at_the_limit(void **state)
{
    bool is_tls = *(bool *)*state;
    const struct vq_channel_options options = {
        .input_max_bytes = MIB, .output_max_bytes = 4 * MIB, .handshake_ms = 5000};
    struct end ends[2];
    int fds[2];
    unsigned sent = 0;

    make_pair(fds);
    for (int i = 0; i < 2; i++) {
        ends[i] = (struct end){.err = VQ_ERROR_INIT};
        ends[i].channel =
            vq_channel_open(&loop, fds[i], is_tls ? make_tls(i == 1) : NULL, &options, &callbacks, &ends[i]);
    }
    if (is_tls)
        run_until(&ends[1].n_ready, 1);
    vq_channel_pause(ends[1].channel);
    while (ends[0].n_ended == 0 && sent++ < 1000) {
        send_message(ends[0].channel, 100000, 1);
        run_turns(3);
    }
    assert_true(sent > 40 && sent < 100); /* the limit and what the kernel holds */
    assert_true(strncmp(ends[0].err.message, "the peer does not read: ", 24) == 0);
    assert_int_equal(ends[1].n_received, 0);
    if (ends[1].channel != NULL) /* with TLS it may not know yet that the peer is gone */
        vq_channel_resume(ends[1].channel);
    run_until(&ends[1].n_ended, 1);
    assert_empty_loop();
}

static void pause_keeps_input_and_resume_delivers_it_from_the_loop(void **state)
{
    bool is_tls = *(bool *)*state;
    struct end ends[2];

    open_both(ends, is_tls);
    ends[1].pauses_after_each = true;
    for (int i = 0; i < 50; i++)
        send_message(ends[0].channel, 100, (uint8_t)i);
    for (unsigned i = 0; i < 50; i++) {
        run_until(&ends[1].n_messages, i + 1);
        run_turns(5);
        assert_int_equal(ends[1].n_messages, i + 1);
        assert_int_equal(ends[1].last, i);
        vq_channel_resume(ends[1].channel);
        assert_int_equal(ends[1].n_messages, i + 1);
    }
    end_close(&ends[0]);
    run_until(&ends[1].n_ended, 1);
    assert_empty_loop();
}

static void one_busy_peer_does_not_hold_up_another(void **state VQ_UNUSED)
{
    struct end busy, other;
    int busy_fd, other_fd, size = 8 * MIB;
    static uint8_t bytes[4 * MIB]; /* messages without content */

    open_raw(&busy, &busy_fd, &(struct vq_channel_options){.input_max_bytes = MIB});
    open_raw(&other, &other_fd, &plain_options);
    assert_int_equal(setsockopt(busy_fd, SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size)), 0);
    assert_true(send(busy_fd, bytes, sizeof(bytes), MSG_DONTWAIT) > MIB);
    write_raw(other_fd, bytes, 4);
    run_turns(1);
    assert_int_equal(other.n_messages, 1);
    assert_true(busy.n_messages * LENGTH_BYTES <= 512 * 1024);
    end_close(&busy);
    end_close(&other);
    (void)close(busy_fd);
    (void)close(other_fd);
    assert_empty_loop();
}

/* ---- Descriptors ------------------------------------------------------------------------------------------------- */

static void pass_raw(int fd, const void *bytes, size_t length, const int *fds, size_t n_fds)
{
    _Alignas(struct cmsghdr) char control[CMSG_SPACE(sizeof(int) * 8)] = {0};
    struct iovec vector = {.iov_base = (void *)(uintptr_t)bytes, .iov_len = length};
    struct msghdr message = {
        .msg_iov = &vector, .msg_iovlen = 1, .msg_control = control, .msg_controllen = CMSG_SPACE(sizeof(int) * n_fds)};
    struct cmsghdr *header = CMSG_FIRSTHDR(&message);

    header->cmsg_level = SOL_SOCKET;
    header->cmsg_type = SCM_RIGHTS;
    header->cmsg_len = CMSG_LEN(sizeof(int) * n_fds);
    memcpy(CMSG_DATA(header), fds, sizeof(int) * n_fds);
    assert_int_equal(sendmsg(fd, &message, 0), (ssize_t)length);
}

static void descriptors_arrive_between_the_messages_and_close_on_exec(void **state VQ_UNUSED)
{
    struct end ends[2];
    int pipes[2][2];

    open_both(ends, false);
    ends[1].takes_fds = true;
    for (int i = 0; i < 2; i++)
        assert_int_equal(pipe(pipes[i]), 0);
    send_message(ends[0].channel, 5, 'a');
    vq_channel_write_fd(ends[0].channel, pipes[0][1]);
    vq_channel_write_fd(ends[0].channel, pipes[1][1]);
    send_message(ends[0].channel, 5, 'b');
    run_until(&ends[1].n_messages, 2);
    assert_int_equal(ends[1].last, 'b');
    assert_int_equal(ends[1].n_fds, 2);
    for (int i = 0; i < 2; i++) {
        char byte = 0;
        assert_true((fcntl(ends[1].fds[i], F_GETFD) & FD_CLOEXEC) != 0);
        write_raw(ends[1].fds[i], &"xy"[i], 1);
        assert_int_equal(read(pipes[i][0], &byte, 1), 1); /* in their order */
        assert_int_equal(byte, "xy"[i]);
        (void)close(ends[1].fds[i]);
        assert_int_equal(read(pipes[i][0], &byte, 1), 0); /* the sender kept no copy */
        (void)close(pipes[i][0]);
    }
    end_close(&ends[0]);
    run_until(&ends[1].n_ended, 1);
    assert_empty_loop();
}

static void descriptor_goes_out_as_one_byte_of_its_own(void **state VQ_UNUSED)
{
    struct end end;
    int fd;
    uint8_t bytes[100];

    open_raw(&end, &fd, &plain_options);
    send_message(end.channel, 5, 'a');
    vq_channel_write_fd(end.channel, dup(0));
    run_turns(2);
    assert_int_equal(recv(fd, bytes, 9, 0), 9);
    assert_int_equal(recv(fd, bytes, sizeof(bytes), 0), 1);
    assert_int_equal(bytes[0], 0);
    end_close(&end);
    (void)close(fd);
    assert_empty_loop();
}

static unsigned count_open(void)
{
    unsigned count = 0;

    for (int fd = 0; fd < 1024; fd++)
        count += fcntl(fd, F_GETFD) >= 0;
    return count;
}

static void descriptors_that_nobody_asked_for_are_bounded(void **state VQ_UNUSED)
{
    struct end end;
    int fd;
    unsigned before = count_open();

    open_raw(&end, &fd, &plain_options);
    for (int i = 0; i < 33; i++)
        pass_raw(fd, "", 1, &(int){0}, 1);
    run_until(&end.n_ended, 1);
    assert_string_equal(end.err.message, "the peer passes more descriptors than the protocol allows");
    (void)close(fd);

    open_raw(&end, &fd, &plain_options); /* several in one message */
    pass_raw(fd, "", 1, (int[]){0, 0}, 2);
    run_until(&end.n_ended, 1);
    (void)close(fd);
    open_raw(&end, &fd, &plain_options); /* more than we have room for */
    pass_raw(fd, "", 1, (int[]){0, 0, 0, 0, 0, 0, 0, 0}, 8);
    run_until(&end.n_ended, 1);
    (void)close(fd);
    open_raw(&end, &fd, &plain_options); /* with content */
    pass_raw(fd, "abcd", 4, &(int){0}, 1);
    run_until(&end.n_ended, 1);
    assert_string_equal(end.err.message, "a descriptor came with other bytes than the protocol's own");
    (void)close(fd);
    assert_empty_loop();
    assert_int_equal(count_open(), before);
}

/* ---- Peers that vanish ------------------------------------------------------------------------------------------- */

static void peer_that_vanishes_ends_the_channel_at_every_point(void **state VQ_UNUSED)
{
    struct end end;
    int fd;

    open_raw(&end, &fd, &plain_options); /* before anything */
    (void)close(fd);
    run_until(&end.n_ended, 1);
    assert_int_equal(end.err.code, VIR_ERR_OK);

    open_raw(&end, &fd, &plain_options); /* within a message */
    write_raw(fd, "\5\0\0\0ab", 6);
    (void)close(fd);
    run_until(&end.n_ended, 1);
    assert_int_equal(end.err.code, VIR_ERR_OK);
    assert_int_equal(end.n_messages, 0);

    open_raw(&end, &fd, &plain_options); /* while we have much to say, its last message is still heard */
    send_message(end.channel, 4 * MIB, 1);
    run_turns(3);
    write_raw(fd, "\2\0\0\0ab", 6);
    (void)close(fd);
    run_until(&end.n_ended, 1);
    assert_int_equal(end.n_messages, 1);

    open_raw(&end, &fd, &plain_options); /* before we write */
    write_raw(fd, "\2\0\0\0ab", 6);
    (void)close(fd);
    send_message(end.channel, 10, 1);
    run_until(&end.n_ended, 1);
    assert_int_equal(end.n_messages, 1);
    assert_empty_loop();
}

static void peer_that_vanishes_while_we_are_paused_is_noticed(void **state VQ_UNUSED)
{
    struct end end;
    int fd;

    open_raw(&end, &fd, &plain_options);
    vq_channel_pause(end.channel);
    write_raw(fd, "\2\0\0\0ab", 6);
    run_turns(3);
    assert_int_equal(end.n_received, 0);
    (void)close(fd);
    run_until(&end.n_ended, 1);
    assert_empty_loop();
}

static void half_closed_peer_still_gets_its_answer(void **state VQ_UNUSED)
{
    struct end end;
    int fd;
    uint8_t bytes[100];

    open_raw(&end, &fd, &plain_options);
    vq_channel_pause(end.channel);
    write_raw(fd, "\2\0\0\0ab", 6);
    assert_int_equal(shutdown(fd, SHUT_WR), 0);
    run_turns(5);
    assert_int_equal(end.n_ended, 0);
    send_message(end.channel, 10, 1);
    run_turns(3);
    assert_int_equal(recv(fd, bytes, sizeof(bytes), 0), 14);
    vq_channel_resume(end.channel);
    run_until(&end.n_ended, 1);
    assert_int_equal(end.n_messages, 1);
    (void)close(fd);
    assert_empty_loop();
}

/* ---- Closing ----------------------------------------------------------------------------------------------------- */

static void channel_may_be_closed_in_every_callback(void **state)
{
    bool is_tls = *(bool *)*state;
    struct end ends[2];

    for (int where = is_tls ? CLOSE_IN_READY : CLOSE_IN_RECEIVED; where <= CLOSE_IN_DRAINED; where++) {
        open_both(ends, is_tls);
        ends[0].closes = (unsigned)where;
        send_message(ends[0].channel, 100, 1);
        for (int i = 0; i < 3; i++)
            send_message(ends[1].channel, 100, 1);
        run_until(&ends[1].n_ended, 1);
        assert_null(ends[0].channel);
        assert_int_equal(ends[0].n_ended, 0);
        assert_true(ends[0].n_messages <= 1);
        assert_empty_loop();
    }
}

static void lingering_close_delivers_what_was_queued_and_then_the_end(void **state)
{
    bool is_tls = *(bool *)*state;
    struct end ends[2];

    open_both(ends, is_tls);
    if (is_tls)
        run_until(&ends[0].n_ready, 1);
    send_message(ends[0].channel, 4 * MIB, 9);
    send_message(ends[1].channel, 100, 1); /* unread input must not make the kernel drop our last words */
    vq_channel_close(ends[0].channel, 5000);
    run_until(&ends[1].n_ended, 1);
    assert_int_equal(ends[1].n_messages, 1);
    assert_int_equal(ends[1].last, 9);
    assert_int_equal(ends[1].err.code, VIR_ERR_OK);
    assert_int_equal(ends[0].n_ended + ends[0].n_received, 0);
    assert_empty_loop();
}

static void lingering_close_has_a_deadline(void **state VQ_UNUSED)
{
    struct end end;
    int fd;

    open_raw(&end, &fd, &plain_options);
    send_message(end.channel, 4 * MIB, 9);
    vq_channel_close(end.channel, 50);
    assert_empty_loop(); /* returns though the peer reads nothing */
    (void)close(fd);
}

/* ---- TLS --------------------------------------------------------------------------------------------------------- */

static void garbage_instead_of_a_handshake_ends_with_a_reason(void **state VQ_UNUSED)
{
    const char *const garbage[] = {"GET / HTTP/1.0\r\n\r\n", "\x16\x03\x01\xff\xff\x01", "\x80\x80\x01\x03\x01",
                                   "\x15\x03\x03\x00\x02\x02\x28"};
    unsigned seed = 1;

    for (size_t i = 0; i < VQ_N_ELEMENTS(garbage) + 200; i++) {
        struct end end = {.err = VQ_ERROR_INIT};
        int fds[2];
        uint8_t bytes[600];

        make_pair(fds);
        end.channel = vq_channel_open(&loop, fds[0], make_tls(true), &tls_options, &callbacks, &end);
        for (size_t at = 0; at < sizeof(bytes); at++)
            bytes[at] = (uint8_t)(rand_r(&seed) >> 8);
        if (i % 2 == 0) /* the record header is right, what follows is not */
            memcpy(bytes, "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 11);
        if (i < VQ_N_ELEMENTS(garbage))
            write_raw(fds[1], garbage[i], strlen(garbage[i]));
        else
            write_raw(fds[1], bytes, sizeof(bytes));
        (void)shutdown(fds[1], SHUT_WR);
        run_until(&end.n_ended, 1);
        assert_true(end.err.code != VIR_ERR_OK && end.err.message[0] != '\0');
        assert_int_equal(end.n_ready + end.n_received, 0);
        (void)close(fds[1]);
    }
    assert_empty_loop();
}

static void handshake_has_a_deadline(void **state VQ_UNUSED)
{
    const struct vq_channel_options options = {.handshake_ms = 50};
    struct end end = {.err = VQ_ERROR_INIT};
    int fds[2];

    for (int role = 0; role < 2; role++) {
        make_pair(fds);
        end = (struct end){.err = VQ_ERROR_INIT};
        end.channel = vq_channel_open(&loop, fds[0], make_tls(role == 1), &options, &callbacks, &end);
        run_until(&end.n_ended, 1);
        assert_string_equal(end.err.message, "the TLS handshake was not finished within 50 ms");
        (void)close(fds[1]);
    }
    assert_empty_loop();
}

static void cut_after_each_part_of_a_handshake_ends_both_sides(void **state VQ_UNUSED)
{
    for (unsigned turns = 0; turns < 8; turns++) {
        struct end ends[2];
        open_both(ends, true);
        run_turns(turns);
        (void)shutdown(vq_channel_fd(ends[0].channel), SHUT_RDWR);
        run_until(&ends[0].n_ended, 1);
        run_until(&ends[1].n_ended, 1);
        assert_empty_loop();
    }
}

/* ---- Moving to another loop -------------------------------------------------------------------------------------- */

struct other_loop {
    uv_loop_t loop;
    struct end end;
    struct vq_channel_parts parts;
    unsigned n_wanted;
};

static void other_thread(void *data)
{
    struct other_loop *other = data;

    other->end.channel = vq_channel_attach(&other->loop, &other->parts, &tls_options, &callbacks, &other->end);
    send_message(other->end.channel, 10, 'o');
    (void)uv_run(&other->loop, UV_RUN_DEFAULT); /* until the peer closes */
}

static void connection_goes_on_after_it_moved_to_another_thread(void **state)
{
    bool is_tls = *(bool *)*state;
    struct end ends[2];
    struct other_loop other = {.end = {.err = VQ_ERROR_INIT}};
    uv_thread_t thread;

    open_both(ends, is_tls);
    ends[1].pauses_after_each = true; /* so that input is kept when it moves, in our buffers and in those of TLS */
    for (int i = 0; i < 100; i++)
        send_message(ends[0].channel, 1000, (uint8_t)i);
    run_until(&ends[1].n_messages, 1);
    vq_channel_detach(ends[1].channel, &other.parts);
    ends[1].channel = NULL;
    assert_int_equal(uv_loop_init(&other.loop), 0);
    assert_int_equal(uv_thread_create(&thread, other_thread, &other), 0);
    for (int i = 100; i < 200; i++)
        send_message(ends[0].channel, 1000, (uint8_t)i);
    run_until(&ends[0].n_messages, 1);
    assert_int_equal(ends[0].last, 'o');
    vq_channel_close(ends[0].channel, 5000);
    assert_empty_loop();
    assert_int_equal(uv_thread_join(&thread), 0);
    assert_int_equal(uv_loop_close(&other.loop), 0);
    assert_int_equal(other.end.n_messages, 199);
    assert_int_equal(other.end.last, 199);
    assert_int_equal(other.end.n_ready, 0);
    assert_int_equal(other.end.n_ended, 1);
}

static void records_that_tls_holds_already_are_delivered_after_the_move(void **state VQ_UNUSED)
{
    struct end ends[2];
    struct vq_channel_parts parts;

    open_both(ends, true);
    run_until(&ends[0].n_ready, 1);
    run_until(&ends[1].n_ready, 1);
    ends[1].pauses_after_each = true;
    for (int i = 0; i < 3; i++) /* records of their own, read from the kernel at once */
        send_message(ends[0].channel, 3000, (uint8_t)i);
    run_until(&ends[1].n_messages, 1);
    vq_channel_detach(ends[1].channel, &parts);
    ends[1].pauses_after_each = false;
    ends[1].channel = vq_channel_attach(&loop, &parts, &tls_options, &callbacks, &ends[1]);
    run_until(&ends[1].n_messages, 3); /* though poll has nothing more to tell */
    assert_int_equal(ends[1].last, 2);
    end_close(&ends[0]);
    run_until(&ends[1].n_ended, 1);
    assert_empty_loop();
}

static int set_up(void **state VQ_UNUSED)
{
    test_authority_make(&authority);
    credentials = test_credentials(&authority, 1);
    return uv_loop_init(&loop);
}

static int tear_down(void **state VQ_UNUSED)
{
    vq_tls_credentials_free(credentials);
    test_authority_done(&authority);
    return uv_loop_close(&loop);
}

static bool plain = false, tls = true;
#define BOTH(test)                                \
    {#test " (plain)", test, NULL, NULL, &plain}, \
    {                                             \
#test " (TLS)", test, NULL, NULL, &tls    \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(message_in_single_bytes_is_given_again_until_whole),
        BOTH(messages_of_all_sizes_arrive_in_both_directions),
        cmocka_unit_test(replies_to_many_calls_leave_in_one_piece),
        cmocka_unit_test(message_over_the_limit_ends_the_channel),
        BOTH(peer_that_does_not_read_is_given_up_at_the_limit),
        BOTH(pause_keeps_input_and_resume_delivers_it_from_the_loop),
        cmocka_unit_test(one_busy_peer_does_not_hold_up_another),
        cmocka_unit_test(descriptors_arrive_between_the_messages_and_close_on_exec),
        cmocka_unit_test(descriptor_goes_out_as_one_byte_of_its_own),
        cmocka_unit_test(descriptors_that_nobody_asked_for_are_bounded),
        cmocka_unit_test(peer_that_vanishes_ends_the_channel_at_every_point),
        cmocka_unit_test(peer_that_vanishes_while_we_are_paused_is_noticed),
        cmocka_unit_test(half_closed_peer_still_gets_its_answer),
        BOTH(channel_may_be_closed_in_every_callback),
        BOTH(lingering_close_delivers_what_was_queued_and_then_the_end),
        cmocka_unit_test(lingering_close_has_a_deadline),
        cmocka_unit_test(garbage_instead_of_a_handshake_ends_with_a_reason),
        cmocka_unit_test(handshake_has_a_deadline),
        cmocka_unit_test(cut_after_each_part_of_a_handshake_ends_both_sides),
        BOTH(connection_goes_on_after_it_moved_to_another_thread),
        cmocka_unit_test(records_that_tls_holds_already_are_delivered_after_the_move),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
