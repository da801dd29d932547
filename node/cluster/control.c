/* The control socket: who may talk, frames, and the table of what can be asked. The work is in control_*.c and others. */
#define VQ_FROM VIR_FROM_NONE
#include "node/cluster/control.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "node/cluster/control_state.h"
#include "proto/channel.h"
#include "proto/cluster.h"

enum { LINGER_MS = 1000 };

struct vq_control {
    struct vq_cluster *cluster;
    uv_poll_t poll;
    int fd;
    char *path;
    struct vq_control_client *first;
    size_t n_clients;
    void (*closed)(void *data);
    void *closed_data;
};

/* ---- Answers ---- */

static void client_unlink(struct vq_control_client *client)
{
    struct vq_control *control = vq_take(client->control);

    if (control == NULL)
        return;
    *(client->prev != NULL ? &client->prev->next : &control->first) = client->next;
    if (client->next != NULL)
        client->next->prev = client->prev;
    control->n_clients--;
}

/* Work that is under way keeps the client; it is freed when that is done. */
static void client_close(struct vq_control_client *client)
{
    if (client->channel != NULL)
        vq_channel_close(vq_take(client->channel), LINGER_MS);
    client_unlink(client);
    if (client->join != NULL)
        vq_join_forget(vq_take(client->join));
    if (client->is_busy)
        return;
    vq__control__free_unpacked(client->request, NULL);
    free(client);
}

void vq_control_send(struct vq_control_client *client, const Vq__ControlReply *reply)
{
    size_t size = vq__control_reply__get_packed_size(reply);
    VQ_AUTOFREE uint8_t *bytes = vq_calloc(1, size + 4);

    if (client->channel == NULL)
        return;
    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(size >> (24 - 8 * i));
    (void)vq__control_reply__pack(reply, bytes + 4);
    vq_channel_write(client->channel, bytes, size + 4);
}

void vq_control_done(struct vq_control_client *client, Vq__ControlReply *reply)
{
    reply->done = true;
    vq_control_send(client, reply);
    client->is_busy = false;
    client->join = NULL;
    vq__control__free_unpacked(vq_take(client->request), NULL);
    if (client->channel == NULL)
        client_close(client);
    else
        vq_channel_resume(client->channel);
}

void vq_control_text(struct vq_control_client *client, const char *text)
{
    Vq__ControlReply reply = VQ__CONTROL_REPLY__INIT;

    reply.text = (char *)text;
    vq_control_done(client, &reply);
}

void vq_control_fail(struct vq_control_client *client, enum vq_number number, const char *message)
{
    Vq__ControlReply reply = VQ__CONTROL_REPLY__INIT;

    reply.exit_code = vq_numbers[number].exit_code;
    reply.number = vq_numbers[number].number;
    reply.error = (char *)message;
    vq_control_done(client, &reply);
}

void vq_control_fail_with(struct vq_control_client *client, const struct vq_error *err)
{
    vq_control_fail(client, vq_number_of(err), err->message);
}

bool vq_control_is_refused(struct vq_control_client *client, enum vq_raft_outcome outcome, const struct vq_result *result,
                           const struct vq_error *err)
{
    struct vq_error failure = VQ_ERROR_INIT;

    if (outcome == VQ_RAFT_APPLIED && result->code == VIR_ERR_OK)
        return false;
    if (outcome == VQ_RAFT_APPLIED)
        vq_error_set_from(&failure, result->from, result->code, "%s", result->message);
    else
        failure = *err;
    vq_control_fail_with(client, &failure);
    return true;
}

void vq_control_proposed(enum vq_raft_outcome outcome, const struct vq_result *result, const struct vq_error *err,
                         void *data)
{
    struct vq_control_client *client = data;
    VQ_AUTOFREE char *success = vq_take(client->success);

    if (!vq_control_is_refused(client, outcome, result, err))
        vq_control_text(client, success != NULL ? success : "");
}

void vq_control_progress(struct vq_control_client *client, const char *text)
{
    Vq__ControlReply reply = VQ__CONTROL_REPLY__INIT;

    reply.progress = (char *)text;
    vq_control_send(client, &reply);
}

/* ---- Requests ---- */

static const vq_control_fn requests[] = {
    [VQ__CONTROL__REQUEST_INIT] = vq_control_init,     [VQ__CONTROL__REQUEST_TOKEN] = vq_control_token,
    [VQ__CONTROL__REQUEST_JOIN] = vq_control_join,     [VQ__CONTROL__REQUEST_LEAVE] = vq_control_leave,
    [VQ__CONTROL__REQUEST_REMOVE] = vq_control_remove, [VQ__CONTROL__REQUEST_STATUS] = vq_control_status,
    [VQ__CONTROL__REQUEST_GUESTS] = vq_control_guests, [VQ__CONTROL__REQUEST_MIGRATE] = vq_control_migrate,
    [VQ__CONTROL__REQUEST_DRAIN] = vq_control_drain,   [VQ__CONTROL__REQUEST_UNDRAIN] = vq_control_undrain,
    [VQ__CONTROL__REQUEST_SETTING] = vq_control_setting, [VQ__CONTROL__REQUEST_CPU_BASELINE] = vq_control_cpu_baseline,
    [VQ__CONTROL__REQUEST_CERT] = vq_control_cert,     [VQ__CONTROL__REQUEST_TAKEOVER] = vq_control_takeover,
};

static void serve(struct vq_control_client *client)
{
    size_t which = (size_t)client->request->request_case;

    client->is_busy = true;
    if (client->request->protocol != 1)
        vq_control_fail(client, VQ_E_OTHER_RELEASE, "the daemon speaks version 1 of the control protocol: tool and daemon are "
                                                "of different releases");
    else if (which >= VQ_N_ELEMENTS(requests) || requests[which] == NULL)
        vq_control_fail(client, VQ_E_OTHER_RELEASE, "the daemon does not know this request: it is older than the tool");
    else
        requests[which](client);
}

static size_t received(struct vq_channel *channel, const uint8_t *bytes, size_t length, size_t *wanted, void *data)
{
    struct vq_control_client *client = data;
    size_t size = 0;

    *wanted = 4;
    if (client->is_busy || length < 4)
        return 0;
    for (unsigned i = 0; i < 4; i++)
        size = size << 8 | bytes[i];
    if (size == 0 || size > VQ_CONTROL_MESSAGE_MAX) {
        client_close(client);
        return 0;
    }
    *wanted = size + 4;
    if (length < size + 4)
        return 0;
    if (vq_cluster_check(&vq__control__descriptor, bytes + 4, size, NULL) == 0)
        client->request = vq__control__unpack(NULL, size, bytes + 4);
    if (client->request == NULL) {
        client_close(client);
        return 0;
    }
    vq_channel_pause(channel);
    serve(client);
    return size + 4;
}

static void ended(struct vq_channel *channel, const struct vq_error *err, void *data)
{
    (void)channel;
    (void)err; /* the tool has its answer, or was interrupted */
    client_close(data);
}

/* ---- The socket ---- */

static bool may_control(int fd)
{
    struct ucred peer;
    socklen_t length = sizeof(peer);

    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 && (peer.uid == 0 || peer.uid == geteuid());
}

static void client_new(struct vq_control *control, int take_fd)
{
    static const struct vq_channel_callbacks callbacks = {.received = received, .ended = ended};
    static const struct vq_channel_options options = {.input_max_bytes = VQ_CONTROL_MESSAGE_MAX + 4,
                                                      .output_max_bytes = 16 * 1024 * 1024};
    struct vq_control_client *client = vq_new(struct vq_control_client);

    client->cluster = control->cluster;
    client->control = control;
    client->next = control->first;
    if (client->next != NULL)
        client->next->prev = client;
    control->first = client;
    control->n_clients++;
    client->channel = vq_channel_open(control->cluster->daemon->loop, take_fd, NULL, &options, &callbacks, client);
}

static void accept_some(uv_poll_t *poll, int status, int events)
{
    struct vq_control *control = poll->data;
    int fd;

    (void)events;
    while (status >= 0 && (fd = accept4(control->fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK)) >= 0) {
        if (control->n_clients < VQ_CONTROL_CLIENTS_MAX && may_control(fd)) {
            client_new(control, fd);
            continue;
        }
        vq_log(WARN, "control.refused", "a connection that is not root's, or one too many");
        (void)close(fd); /* refused */
    }
}

/* A socket with the mode from the beginning: nobody may connect between bind and chmod. */
static int open_socket(const char *path, int *ret_fd, struct vq_error *err)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (strlen(path) >= sizeof(address.sun_path))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' is too long for a socket", path);
    memcpy(address.sun_path, path, strlen(path) + 1);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return vq_error_system(err, errno, "control socket");
    (void)unlink(path); /* of a daemon before us; the state lock says that it is gone */
    mode_t before = umask(0177);
    int rc = bind(fd, (const struct sockaddr *)&address, sizeof(address));
    (void)umask(before); /* returns the old one only */
    if (rc < 0 || listen(fd, VQ_CONTROL_CLIENTS_MAX) < 0) {
        int problem = errno;
        if (rc == 0)
            (void)unlink(path); /* nobody would answer there */
        (void)close(fd); /* unused */
        return vq_error_system(err, problem, "control socket '%s'", path);
    }
    *ret_fd = fd;
    return 0;
}

int vq_control_start(struct vq_cluster *cluster, struct vq_control **ret, struct vq_error *err)
{
    VQ_AUTOFREE char *path = vq_asprintf("%s/control", cluster->daemon->config.run_dir);
    int fd = -1;

    if (open_socket(path, &fd, err) < 0)
        return -1;
    struct vq_control *control = vq_new(struct vq_control);
    control->cluster = cluster;
    control->fd = fd;
    control->path = vq_take(path);
    control->poll.data = control;
    (void)uv_poll_init(cluster->daemon->loop, &control->poll, fd); /* a fresh socket: cannot fail */
    (void)uv_poll_start(&control->poll, UV_READABLE, accept_some);
    *ret = control;
    return 0;
}

static void control_closed(uv_handle_t *handle)
{
    struct vq_control *control = handle->data;
    void (*closed)(void *data) = control->closed;
    void *data = control->closed_data;

    (void)close(control->fd); /* libuv has let go of it */
    free(control->path);
    free(control);
    closed(data);
}

void vq_control_free(struct vq_control *control, void (*closed)(void *data), void *data)
{
    if (control == NULL) {
        closed(data);
        return;
    }
    control->closed = closed;
    control->closed_data = data;
    while (control->first != NULL)
        client_close(control->first);
    (void)unlink(control->path); /* may be gone already */
    uv_close((uv_handle_t *)&control->poll, control_closed);
}

void vq_control_tick(struct vq_control *control)
{
    struct vq_control_client *next;

    for (struct vq_control_client *client = control == NULL ? NULL : control->first; client != NULL; client = next) {
        next = client->next;
        if (client->is_busy && client->tick != NULL)
            client->tick(client);
    }
}
