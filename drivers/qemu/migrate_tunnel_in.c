/* The destination's end of a tunnel: see migrate_tunnel.h. It lives as long as the stream, and its socket no longer. */
#define VQ_FROM VIR_FROM_QEMU
#include <arpa/inet.h>
#include <libvirt/libvirt.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/driver.h"
#include "drivers/qemu/migrate_tunnel.h"

#define LOOPBACK "127.0.0.1"

enum { QUEUED_MAX = 1048576 /* bytes that QEMU has not taken: the source waits over this */ };

struct tunnel_in {
    struct vq_stream *stream; /* NULL: it is over */
    uv_tcp_t qemu;
    uv_connect_t connect;
    uv_shutdown_t shutdown;
    bool is_connected, is_held; /* the stream was told to wait */
    bool is_finishing;          /* the source has sent all */
    bool is_closing;
};

struct preparing {
    struct vq_request *request;
    struct vq_migrate_options options;
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
    if (!tunnel->is_held || tunnel->stream == NULL || !tunnel->is_connected ||
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

/* What comes before QEMU is reached waits in libuv's queue, as what it does not take at once. */
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

static void end_data(struct tunnel_in *tunnel)
{
    int rc = uv_shutdown(&tunnel->shutdown, (uv_stream_t *)&tunnel->qemu, all_written);

    if (rc < 0)
        fail(tunnel, rc);
}

static void source_finished(struct vq_stream *stream, void *data)
{
    struct tunnel_in *tunnel = data;

    (void)stream;
    tunnel->is_finishing = true;
    if (tunnel->is_connected)
        end_data(tunnel);
}

static void source_aborted(struct vq_stream *stream, void *data)
{
    (void)stream;
    close_tunnel(data);
}

static const struct vq_stream_callbacks tunnel_callbacks = {
    .data = take_data, .finish = source_finished, .aborted = source_aborted};

/* ---- Prepare ---- */

static void connected(uv_connect_t *connect, int status)
{
    struct tunnel_in *tunnel = connect->handle->data;

    if (tunnel->is_closing)
        return;
    tunnel->is_connected = status == 0;
    if (status < 0)
        fail(tunnel, status);
    else if (tunnel->is_finishing)
        end_data(tunnel);
    else
        go_on(tunnel);
}

/* The port behind the last colon of the URI that QEMU listens at. */
static bool port_of(const char *uri, uint16_t *ret_port)
{
    const char *colon = uri == NULL ? NULL : strrchr(uri, ':');
    uint64_t port = 0;

    if (colon == NULL || !vq_parse_u64(colon + 1, 10, UINT16_MAX, &port) || port == 0)
        return false;
    *ret_port = (uint16_t)port;
    return true;
}

static int open_tunnel(struct vq_request *request, const char *uri, struct vq_error *err)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    struct tunnel_in *tunnel;
    uint16_t port;

    if (!port_of(uri, &port))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "QEMU listens nowhere for the data of the tunnel");
    tunnel = vq_new(struct tunnel_in);
    tunnel->stream = request->open_stream(request, &tunnel_callbacks, tunnel);
    if (tunnel->stream == NULL) {
        free(tunnel);
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "a tunnel needs a stream of the connection");
    }
    (void)uv_tcp_init(vq_qemu_of(request)->host->loop, &tunnel->qemu);
    tunnel->qemu.data = tunnel;
    address.sin_port = htons(port);
    int rc = uv_tcp_connect(&tunnel->connect, &tunnel->qemu, (const struct sockaddr *)&address, connected);
    if (rc < 0)
        fail(tunnel, rc); /* the source is told by the stream */
    return 0;
}

static void prepared(const char *uri, const uint8_t *cookie, uint32_t cookie_length, const struct vq_error *err,
                     void *data)
{
    struct preparing *preparing = data;
    struct vq_error own = VQ_ERROR_INIT;

    if (err == NULL && open_tunnel(preparing->request, uri, &own) < 0)
        err = &own; /* the guest that waits is cleared away when the connection ends, or by its deadline */
    preparing->cb(NULL, cookie, cookie_length, err, preparing->data);
    vq_migrate_options_done(&preparing->options);
    free(preparing);
}

void vq_migrate_tunnel_prepare(struct vq_request *request, const struct vq_migrate_options *options,
                               const uint8_t *cookie, uint32_t cookie_length, vq_migrate_prepare_cb cb, void *data)
{
    struct preparing *preparing = vq_new(struct preparing);

    preparing->request = request;
    preparing->cb = cb;
    preparing->data = data;
    /* To QEMU it is a migration as any other, from this host. */
    vq_migrate_options_copy(&preparing->options, options);
    preparing->options.flags &= ~(uint64_t)VIR_MIGRATE_TUNNELLED;
    vq_set_text(&preparing->options.listen_address, LOOPBACK);
    vq_migrate_in_prepare(request, &preparing->options, cookie, cookie_length, prepared, preparing);
}
