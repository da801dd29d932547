/* The source's end of a tunnel: see migrate_tunnel.h.
 *
 *   listening ──► connected ──► at its end (QEMU has closed) ──► confirmed      over is called from any of them when
 *                                                                               something fails, and no second time */
#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/migrate_tunnel.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"

enum { READ_BYTES = 65536, END_MS = 30000 };

struct vq_tunnel_out {
    uv_pipe_t listener, source;
    uv_timer_t timer;
    unsigned n_handles;
    char *path;
    struct vq_peer *peer;
    bool is_connected, is_paused, is_at_end, is_over, is_closing;
    void (*over)(const struct vq_error *err, void *data);
    void *data;
    char room[READ_BYTES];
};

static void tell(struct vq_tunnel_out *tunnel, const struct vq_error *err)
{
    if (tunnel->is_over)
        return;
    tunnel->is_over = true;
    (void)uv_timer_stop(&tunnel->timer);
    tunnel->over(err, tunnel->data);
}

static void confirmed(const void *ret, const struct vq_error *err, void *data)
{
    (void)ret;
    tell(data, err);
}

static void at_end(struct vq_tunnel_out *tunnel)
{
    if (tunnel->is_at_end || tunnel->is_over)
        return;
    tunnel->is_at_end = true;
    (void)uv_timer_stop(&tunnel->timer); /* the stream's own deadline holds now */
    (void)uv_read_stop((uv_stream_t *)&tunnel->source);
    tunnel->peer->class->stream_finish(tunnel->peer, confirmed, tunnel);
}

static void alloc_room(uv_handle_t *handle, size_t suggested, uv_buf_t *ret)
{
    struct vq_tunnel_out *tunnel = handle->data;

    (void)suggested;
    *ret = uv_buf_init(tunnel->room, sizeof(tunnel->room));
}

static void source_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer)
{
    struct vq_tunnel_out *tunnel = stream->data;

    if (got < 0) { /* an error as well: QEMU knows whether it has sent all, and says so */
        at_end(tunnel);
    } else if (got > 0 && !tunnel->peer->class->stream_write(tunnel->peer, buffer->base, (size_t)got)) {
        tunnel->is_paused = true;
        (void)uv_read_stop(stream);
    }
}

void vq_tunnel_out_writable(struct vq_tunnel_out *tunnel)
{
    if (!tunnel->is_paused || tunnel->is_at_end || tunnel->is_over)
        return;
    tunnel->is_paused = false;
    (void)uv_read_start((uv_stream_t *)&tunnel->source, alloc_room, source_read); /* fails only when it is closing */
}

/* Only this daemon itself may send: whoever else can reach the socket is turned away. */
static bool is_our_own(uv_pipe_t *pipe)
{
    struct ucred peer = {0};
    socklen_t length = sizeof(peer);
    uv_os_fd_t fd;

    return uv_fileno((uv_handle_t *)pipe, &fd) == 0 && getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &length) == 0 &&
           peer.pid == getpid();
}

static void connected(uv_stream_t *listener, int status)
{
    struct vq_tunnel_out *tunnel = listener->data;

    if (status < 0 || tunnel->is_connected || tunnel->is_closing ||
        uv_accept(listener, (uv_stream_t *)&tunnel->source) < 0)
        return;
    tunnel->is_connected = true; /* a second one stays in the queue and is dropped with the listener */
    if (is_our_own(&tunnel->source)) {
        (void)uv_read_start((uv_stream_t *)&tunnel->source, alloc_room, source_read);
        return;
    }
    struct vq_error err = VQ_ERROR_INIT;
    (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "somebody else has connected to the tunnel's socket '%s'",
                       tunnel->path);
    tell(tunnel, &err);
}

static void too_late(uv_timer_t *timer)
{
    at_end(timer->data); /* QEMU has sent all, and holds the socket open: what came is all there is */
}

void vq_tunnel_out_sent(struct vq_tunnel_out *tunnel)
{
    if (!tunnel->is_at_end && !tunnel->is_over)
        (void)uv_timer_start(&tunnel->timer, too_late, END_MS, 0);
}

static void handle_closed(uv_handle_t *handle)
{
    struct vq_tunnel_out *tunnel = handle->data;

    if (--tunnel->n_handles > 0)
        return;
    free(tunnel->path);
    free(tunnel);
}

static void close_all(struct vq_tunnel_out *tunnel)
{
    tunnel->is_closing = true;
    (void)unlink(tunnel->path); /* libuv does it too, where it has bound it */
    uv_close((uv_handle_t *)&tunnel->listener, handle_closed);
    uv_close((uv_handle_t *)&tunnel->source, handle_closed);
    uv_close((uv_handle_t *)&tunnel->timer, handle_closed);
}

int vq_tunnel_out_new(uv_loop_t *loop, const char *path, struct vq_peer *peer,
                      void (*over)(const struct vq_error *err, void *data), void *data, struct vq_tunnel_out **ret,
                      struct vq_error *err)
{
    struct vq_tunnel_out *tunnel = vq_new(struct vq_tunnel_out);

    tunnel->path = vq_strdup(path);
    tunnel->peer = peer;
    tunnel->over = over;
    tunnel->data = data;
    tunnel->n_handles = 3;
    (void)uv_pipe_init(loop, &tunnel->listener, 0);
    (void)uv_pipe_init(loop, &tunnel->source, 0);
    (void)uv_timer_init(loop, &tunnel->timer);
    tunnel->listener.data = tunnel->source.data = tunnel->timer.data = tunnel;
    (void)unlink(path); /* of an earlier daemon */
    int rc = uv_pipe_bind(&tunnel->listener, path);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&tunnel->listener, 1, connected);
    if (rc < 0) {
        close_all(tunnel);
        return vq_error_system(err, -rc, "listening on '%s'", path);
    }
    *ret = tunnel;
    return 0;
}

void vq_tunnel_out_free(struct vq_tunnel_out *tunnel)
{
    if (tunnel == NULL)
        return;
    if (!tunnel->is_over && tunnel->peer != NULL)
        tunnel->peer->class->stream_abort(tunnel->peer, NULL);
    tunnel->is_over = true;
    close_all(tunnel);
}
