/* The destination's end of a tunnel: see migrate_tunnel.h. It lives as long as the stream, and its socket no longer. */
#define VQ_FROM VIR_FROM_QEMU
#include <errno.h>
#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/driver.h"
#include "drivers/qemu/migrate_tunnel.h"

enum { QUEUED_MAX = 1048576 /* bytes that QEMU has not taken: the source waits over this */ };

struct tunnel_in {
    struct vq_stream *stream; /* NULL: it is over */
    uv_pipe_t qemu;           /* our end of the socket that QEMU reads from */
    uv_shutdown_t shutdown;
    bool is_held;             /* the stream was told to wait */
    bool is_closing;
};

struct preparing {
    struct vq_request *request;
    struct vq_migrate_options options;
    int fd; /* our end */
    vq_migrate_prepare_cb cb;
    void *data;
};

struct piece {
    uv_write_t write;
    char bytes[];
};

/* ---- The end ---- */

static void closed(uv_handle_t *handle)
{
    free(handle->data);
}

/* QEMU sees the end of its data; whether that was all of it, it knows by itself. */
static void close_tunnel(struct tunnel_in *tunnel)
{
    tunnel->stream = NULL;
    if (tunnel->is_closing)
        return;
    tunnel->is_closing = true;
    uv_close((uv_handle_t *)&tunnel->qemu, closed);
}

static void fail(struct tunnel_in *tunnel, int status)
{
    struct vq_stream *stream = vq_take(tunnel->stream);
    struct vq_error err = VQ_ERROR_INIT;

    if (stream != NULL) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "QEMU does not take the data of the migration: %s",
                           uv_strerror(status));
        vq_stream_fail(stream, &err);
    }
    close_tunnel(tunnel);
}

/* ---- Data ---- */

static void go_on(struct tunnel_in *tunnel)
{
    if (!tunnel->is_held || tunnel->stream == NULL ||
        uv_stream_get_write_queue_size((uv_stream_t *)&tunnel->qemu) > QUEUED_MAX / 2)
        return;
    tunnel->is_held = false;
    vq_stream_resume(tunnel->stream);
}

static void written(uv_write_t *write, int status)
{
    struct piece *piece = VQ_CONTAINER_OF(write, struct piece, write);
    struct tunnel_in *tunnel = write->handle->data;

    free(piece);
    if (tunnel->is_closing)
        return;
    if (status < 0)
        fail(tunnel, status);
    else
        go_on(tunnel);
}

static bool take_data(struct vq_stream *stream, const uint8_t *bytes, size_t length, void *data)
{
    struct tunnel_in *tunnel = data;
    struct piece *piece;
    uv_buf_t buffer;

    (void)stream;
    if (length == 0)
        return true; /* finish follows */
    piece = vq_calloc(1, sizeof(*piece) + length);
    memcpy(piece->bytes, bytes, length);
    buffer = uv_buf_init(piece->bytes, (unsigned)length);
    int rc = uv_write(&piece->write, (uv_stream_t *)&tunnel->qemu, &buffer, 1, written);
    if (rc < 0) {
        free(piece);
        fail(tunnel, rc);
        return false;
    }
    tunnel->is_held = uv_stream_get_write_queue_size((uv_stream_t *)&tunnel->qemu) > QUEUED_MAX;
    return !tunnel->is_held;
}

static void all_written(uv_shutdown_t *shutdown, int status)
{
    struct tunnel_in *tunnel = shutdown->handle->data;
    struct vq_stream *stream;

    if (tunnel->is_closing)
        return;
    if (status < 0) {
        fail(tunnel, status);
        return;
    }
    stream = vq_take(tunnel->stream);
    if (stream != NULL)
        vq_stream_finish(stream);
    close_tunnel(tunnel);
}

static void source_finished(struct vq_stream *stream, void *data)
{
    struct tunnel_in *tunnel = data;
    int rc = uv_shutdown(&tunnel->shutdown, (uv_stream_t *)&tunnel->qemu, all_written);

    (void)stream;
    if (rc < 0)
        fail(tunnel, rc);
}

static void source_aborted(struct vq_stream *stream, void *data)
{
    (void)stream;
    close_tunnel(data);
}

static const struct vq_stream_callbacks tunnel_callbacks = {
    .data = take_data, .finish = source_finished, .aborted = source_aborted};

/* ---- Prepare ---- */

/* Takes the descriptor. */
static int open_tunnel(struct vq_request *request, int take_fd, struct vq_error *err)
{
    struct tunnel_in *tunnel = vq_new(struct tunnel_in);

    tunnel->stream = request->open_stream(request, &tunnel_callbacks, tunnel);
    if (tunnel->stream == NULL) {
        free(tunnel);
        (void)close(take_fd);
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "a tunnel needs a stream of the connection");
    }
    (void)uv_pipe_init(vq_qemu_of(request)->host->loop, &tunnel->qemu, 0);
    tunnel->qemu.data = tunnel;
    int rc = uv_pipe_open(&tunnel->qemu, take_fd);
    if (rc < 0) {
        (void)close(take_fd);
        fail(tunnel, rc); /* the source is told by the stream */
    }
    return 0;
}

static void prepared(const char *uri, const uint8_t *cookie, uint32_t cookie_length, const struct vq_error *err,
                     void *data)
{
    struct preparing *preparing = data;
    struct vq_error own = VQ_ERROR_INIT;

    (void)uri;
    if (err != NULL)
        (void)close(preparing->fd);
    else if (open_tunnel(preparing->request, preparing->fd, &own) < 0)
        err = &own; /* QEMU reads the end of its data, and the guest that waits is cleared away */
    preparing->cb(NULL, cookie, cookie_length, err, preparing->data);
    vq_migrate_options_done(&preparing->options);
    free(preparing);
}

void vq_migrate_tunnel_prepare(struct vq_request *request, const struct vq_migrate_options *options,
                               const uint8_t *cookie, uint32_t cookie_length, vq_migrate_prepare_cb cb, void *data)
{
    struct preparing *preparing;
    struct vq_error err = VQ_ERROR_INIT;
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0) {
        (void)vq_error_system(&err, errno, "cannot make a socket pair");
        cb(NULL, NULL, 0, &err, data);
        return;
    }
    preparing = vq_new(struct preparing);
    preparing->request = request;
    preparing->fd = pair[0];
    preparing->cb = cb;
    preparing->data = data;
    /* To QEMU it is a migration as any other, from a descriptor. */
    vq_migrate_options_copy(&preparing->options, options);
    preparing->options.flags &= ~(uint64_t)VIR_MIGRATE_TUNNELLED;
    vq_migrate_in_prepare(request, &preparing->options, cookie, cookie_length, pair[1], prepared, preparing);
}
