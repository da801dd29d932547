#include "tests/unit/fake_client.h"

#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "proto/gen/remote.h"

void fake_client_connect(struct fake_client *client, struct fake_node *node, const char *socket_name)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    memset(client, 0, sizeof(*client));
    client->node = node;
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", node->dir, socket_name);
    client->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(client->fd >= 0);
    assert_int_equal(connect(client->fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(fcntl(client->fd, F_SETFL, O_NONBLOCK), 0);
}

void fake_client_close(struct fake_client *client)
{
    if (client->fd >= 0)
        (void)close(client->fd);
    client->fd = -1;
    vq_buffer_done(&client->in);
}

void fake_client_send(struct fake_client *client, const struct vq_frame *frame, const void *payload, size_t length)
{
    struct vq_buffer out = VQ_BUFFER_INIT;
    size_t begin = vq_frame_begin(&out, frame);
    size_t sent = 0;

    vq_buffer_add_bytes(&out, payload, length);
    assert_int_equal(vq_frame_end(&out, begin, NULL), 0);
    while (sent < out.length) {
        ssize_t now = send(client->fd, out.data + sent, out.length - sent, MSG_NOSIGNAL);
        if (now > 0)
            sent += (size_t)now;
        else if (errno == EAGAIN)
            fake_node_run_ms(client->node, 1);
        else
            break; /* the daemon has closed: the test looks for that */
    }
    vq_buffer_done(&out);
}

uint32_t fake_client_call(struct fake_client *client, uint32_t program, uint32_t procedure,
                          const struct vq_xdr_struct *type, const void *args)
{
    struct vq_buffer payload = VQ_BUFFER_INIT;
    struct vq_frame frame = {.program = program,
                             .version = 1,
                             .procedure = (int32_t)procedure,
                             .type = VQ_FRAME_CALL,
                             .serial = client->serial++};

    if (type != NULL)
        assert_int_equal(vq_xdr_encode(type, args, &payload, NULL), 0);
    fake_client_send(client, &frame, payload.data, payload.length);
    vq_buffer_done(&payload);
    return frame.serial;
}

/* All that is there: the loop would not turn for what the kernel holds already. */
static void read_some(struct fake_client *client)
{
    uint8_t bytes[65536];
    ssize_t got;

    while ((got = recv(client->fd, bytes, sizeof(bytes), MSG_DONTWAIT)) > 0)
        vq_buffer_add_bytes(&client->in, bytes, (size_t)got);
    if (got == 0 || errno != EAGAIN)
        client->is_ended = true;
}

static bool has_frame(void *data)
{
    struct fake_client *client = data;
    size_t length;

    if (client->taken > 0) {
        memmove(client->in.data, client->in.data + client->taken, client->in.length - client->taken);
        vq_buffer_truncate(&client->in, client->in.length - client->taken);
        client->taken = 0;
    }
    read_some(client);
    if (vq_frame_decode((const uint8_t *)client->in.data, client->in.length, &client->frame, &length, NULL) == 1) {
        client->taken = length;
        return true;
    }
    return client->is_ended;
}

const struct vq_frame *fake_client_next(struct fake_client *client)
{
    fake_node_run_until(client->node, has_frame, client);
    if (client->is_ended && client->taken == 0)
        fail_msg("the daemon has closed the connection");
    return &client->frame;
}

bool fake_client_hears(struct fake_client *client, uint64_t ms)
{
    fake_node_run_ms(client->node, ms);
    return has_frame(client);
}

static bool has_ended(void *data)
{
    struct fake_client *client = data;

    return has_frame(client) && client->is_ended && client->taken == 0;
}

void fake_client_expect_end(struct fake_client *client)
{
    fake_node_run_until(client->node, has_ended, client);
}

int fake_client_error(const struct fake_client *client, int *ret_from, char *text, size_t size)
{
    struct vq_remote_error error = {0};
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);

    if (client->frame.status != VQ_FRAME_ERROR)
        return 0;
    assert_int_equal(vq_xdr_decode(&vq_xdr_remote_error, client->frame.payload, client->frame.payload_length, arena,
                                   &error, NULL, NULL),
                     0);
    if (ret_from != NULL)
        *ret_from = error.domain;
    if (text != NULL)
        (void)snprintf(text, size, "%s", error.message == NULL ? "" : error.message);
    assert_int_not_equal(error.code, 0);
    return error.code;
}

int fake_client_ask(struct fake_client *client, uint32_t procedure, const struct vq_xdr_struct *args_type,
                    const void *args, const struct vq_xdr_struct *ret_type, void *ret, struct vq_arena *arena)
{
    uint32_t serial = fake_client_call(client, 0x20008086, procedure, args_type, args);
    const struct vq_frame *frame = fake_client_next(client);

    while (frame->type == VQ_FRAME_MESSAGE)
        frame = fake_client_next(client); /* events and keepalive: other tests look at them */
    assert_int_equal(frame->type, VQ_FRAME_REPLY);
    assert_int_equal(frame->serial, serial);
    assert_int_equal(frame->procedure, procedure);
    int code = fake_client_error(client, NULL, NULL, 0);
    if (code == 0 && ret_type != NULL)
        assert_int_equal(vq_xdr_decode(ret_type, frame->payload, frame->payload_length, arena, ret, NULL, NULL), 0);
    return code;
}

void fake_client_open(struct fake_client *client, const char *uri)
{
    const struct vq_remote_connect_open_args args = {.name = uri};

    assert_int_equal(
        fake_client_ask(client, VQ_REMOTE_CONNECT_OPEN, &vq_xdr_remote_connect_open_args, &args, NULL, NULL, NULL), 0);
}
