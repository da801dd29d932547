/* The cluster port. */
#define VQ_FROM VIR_FROM_RPC
#include "node/mesh/mesh_internal.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "proto/dial.h"

enum {
    BACKLOG = 128,
    ACCEPTS_PER_TURN = 16,
    RETRY_MS = 1000,         /* of a listener that cannot be opened */
    NO_DESCRIPTORS_MS = 100, /* of accept() */
};

static int open_socket(const struct sockaddr_storage *address, socklen_t length, int *ret_fd, struct vq_error *err)
{
    const int on = 1;
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);

    if (fd < 0)
        return vq_error_system(err, errno, "making a socket");
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) < 0 ||
        (address->ss_family == AF_INET6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on)) < 0) ||
        bind(fd, (const struct sockaddr *)address, length) < 0 || listen(fd, BACKLOG) < 0) {
        int reason = errno;
        (void)close(fd); /* it never listened */
        return vq_error_system(err, reason, "listening");
    }
    *ret_fd = fd;
    return 0;
}

static void poll_cb(uv_poll_t *poll, int status VQ_UNUSED, int events VQ_UNUSED)
{
    struct vq_mesh_listener *listener = VQ_CONTAINER_OF(poll, struct vq_mesh_listener, poll);
    struct vq_mesh *mesh = listener->mesh;

    for (int i = 0; i < ACCEPTS_PER_TURN && !mesh->is_stopped; i++) {
        int fd = accept4(listener->fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
        if (fd >= 0) {
            vq_mesh_connection_accept(mesh, fd);
        } else if (errno == EMFILE || errno == ENFILE || errno == ENOBUFS || errno == ENOMEM) {
            (void)uv_poll_stop(poll); /* the waiting connection would wake us without end */
            listener->is_waiting = true;
            listener->retry_ms = uv_now(mesh->loop) + NO_DESCRIPTORS_MS;
            vq_mesh_wake(mesh, listener->retry_ms);
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            return;
        }
    }
}

static int open_listener(struct vq_mesh_listener *listener, struct vq_error *err)
{
    struct vq_mesh *mesh = listener->mesh;
    int fd = -1;

    if (open_socket(&listener->address.address, listener->address.length, &fd, err) < 0)
        return -1;
    int rc = uv_poll_init(mesh->loop, &listener->poll, fd);
    if (rc < 0) {
        (void)close(fd); /* nobody has connected */
        return vq_error_system(err, -rc, "listening");
    }
    listener->fd = fd;
    listener->poll.data = mesh;
    listener->is_polling = true;
    mesh->n_handles++;
    (void)uv_poll_start(&listener->poll, UV_READABLE, poll_cb); /* fails only for handles that are closing */
    return 0;
}

static void report(struct vq_mesh_listener *listener, const struct vq_error *err)
{
    struct vq_mesh *mesh = listener->mesh;

    if (err != NULL && listener->has_reported)
        return;
    if (err != NULL)
        vq_log(WARN, "mesh.listen", "address=%s: %s, trying again each second", listener->text, err->message);
    else
        vq_log(INFO, "mesh.listen", "address=%s", listener->text);
    listener->has_reported = err != NULL;
    if (mesh->callbacks.listening != NULL)
        mesh->callbacks.listening(listener->text, err, mesh->data);
}

int vq_mesh_listeners_make(struct vq_mesh *mesh, struct vq_error *err)
{
    static const char *const everywhere[] = {"0.0.0.0", "[::]", NULL};
    const char *const *hosts = mesh->options.listen != NULL ? mesh->options.listen : everywhere;
    size_t count = 0;

    while (hosts[count] != NULL)
        count++;
    mesh->listeners = vq_calloc(count, sizeof(*mesh->listeners));
    mesh->n_listeners = count;
    for (size_t i = 0; i < count; i++) {
        struct vq_mesh_listener *listener = &mesh->listeners[i];
        *listener = (struct vq_mesh_listener){.mesh = mesh, .fd = -1};
        listener->text = mesh->options.listen != NULL ? vq_strdup(hosts[i])
                                                      : vq_asprintf("%s:%u", hosts[i], (unsigned)mesh->options.port);
        if (vq_address_parse(listener->text, 0, &listener->address.address, &listener->address.length, err) < 0)
            return vq_error_wrap(err, "address to listen on");
    }
    return 0;
}

uint64_t vq_mesh_listeners_turn(struct vq_mesh *mesh, uint64_t now_ms)
{
    uint64_t next = UINT64_MAX;

    for (size_t i = 0; i < mesh->n_listeners && !mesh->is_stopped; i++) {
        struct vq_mesh_listener *listener = &mesh->listeners[i];
        struct vq_error err = VQ_ERROR_INIT;
        if (listener->retry_ms <= now_ms && listener->is_waiting) {
            listener->is_waiting = false;
            (void)uv_poll_start(&listener->poll, UV_READABLE, poll_cb);
        } else if (listener->retry_ms <= now_ms && listener->fd < 0) {
            bool is_open = open_listener(listener, &err) == 0;
            if (!is_open)
                listener->retry_ms = now_ms + RETRY_MS;
            report(listener, is_open ? NULL : &err);
        }
        if ((listener->fd < 0 || listener->is_waiting) && listener->retry_ms < next)
            next = listener->retry_ms;
    }
    return next;
}

void vq_mesh_listeners_close(struct vq_mesh *mesh)
{
    for (size_t i = 0; i < mesh->n_listeners; i++) {
        struct vq_mesh_listener *listener = &mesh->listeners[i];
        if (listener->is_polling)
            uv_close((uv_handle_t *)&listener->poll, vq_mesh_handle_closed);
        listener->is_polling = false;
        if (listener->fd >= 0)
            (void)close(listener->fd); /* who waits in its queue is refused by the kernel */
        listener->fd = -1;
    }
}

uint16_t vq_mesh_port(const struct vq_mesh *mesh)
{
    for (size_t i = 0; i < mesh->n_listeners; i++) {
        struct sockaddr_storage address = {0};
        socklen_t length = sizeof(address);
        if (mesh->listeners[i].fd < 0 || getsockname(mesh->listeners[i].fd, (struct sockaddr *)&address, &length) < 0)
            continue;
        return ntohs(address.ss_family == AF_INET ? ((struct sockaddr_in *)&address)->sin_port
                                                  : ((struct sockaddr_in6 *)&address)->sin6_port);
    }
    return 0;
}
