/* The source connects to the destination itself and hands QEMU the descriptor: a port that is blocked is told at once, in
 * our words, and within our deadline. */
#define VQ_FROM VIR_FROM_QEMU

#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>

#include "conf/base/failpoint.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/lookup.h"
#include "drivers/qemu/migrate_out.h"

/* Lives until its handles have closed; leaving is NULL when nobody waits any more. */
struct vq_leaving_connection {
    struct vq_leaving *leaving;
    vq_leaving_connected_cb cb;
    char *host;                 /* of tcp */
    char service[8];
    char *path;                 /* of unix */
    union {
        uv_handle_t handle;
        uv_tcp_t tcp;
        uv_pipe_t pipe;
    } socket;
    bool has_socket;
    uv_timer_t timer;
    struct vq_lookup *lookup;   /* NULL: none is under way */
    uv_connect_t connect;
    struct addrinfo *addresses, *next;
    unsigned pending;           /* call-backs of libuv that are still to come */
    bool is_closing;
    int last_error;             /* of the address that was tried last */
};

/* ---- Ends ---- */

static void release_when_over(struct vq_leaving_connection *connection)
{
    if (connection->pending > 0)
        return;
    if (connection->addresses != NULL)
        freeaddrinfo(connection->addresses);
    free(connection->host);
    free(connection->path);
    free(connection);
}

static void handle_closed(uv_handle_t *handle)
{
    struct vq_leaving_connection *connection = handle->data;

    connection->pending--;
    release_when_over(connection);
}

static void close_all(struct vq_leaving_connection *connection)
{
    if (connection->is_closing)
        return;
    connection->is_closing = true;
    if (connection->leaving != NULL)
        connection->leaving->connection = NULL;
    connection->leaving = NULL;
    connection->pending++;
    uv_close((uv_handle_t *)&connection->timer, handle_closed);
    if (connection->has_socket) {
        connection->pending++;
        uv_close(&connection->socket.handle, handle_closed);
    }
    if (connection->lookup != NULL)
        vq_lookup_forget(vq_take(connection->lookup));
}

static void fail(struct vq_leaving_connection *connection, int code, const char *why)
{
    struct vq_leaving *leaving = connection->leaving;
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, code, "unable to connect to server at '%s%s%s': %s",
                       connection->path != NULL ? connection->path : connection->host, connection->path != NULL ? "" : ":",
                       connection->path != NULL ? "" : connection->service, why);
    close_all(connection);
    connection->cb(leaving, -1, &err);
}

static void too_late(uv_timer_t *timer)
{
    struct vq_leaving_connection *connection = timer->data;

    fail(connection, VIR_ERR_OPERATION_TIMEOUT,
         "there was no answer; is the port open in the firewalls of both hosts?");
}

/* ---- Steps ---- */

static void try_next(struct vq_leaving_connection *connection);

static void connected(uv_connect_t *request, int status)
{
    struct vq_leaving_connection *connection = request->data;
    struct vq_leaving *leaving = connection->leaving;
    uv_os_fd_t fd = -1;

    connection->pending--;
    if (connection->is_closing) {
        release_when_over(connection);
        return;
    }
    if (status < 0) {
        connection->last_error = status;
        try_next(connection);
        return;
    }
    (void)uv_fileno(&connection->socket.handle, &fd);
    connection->cb(leaving, fd, NULL);
    close_all(connection);
}

static void socket_replaced(uv_handle_t *handle)
{
    struct vq_leaving_connection *connection = handle->data;

    connection->pending--;
    if (connection->is_closing)
        release_when_over(connection);
    else
        try_next(connection);
}

/* A socket that could not connect to one address is of no use for the next one. */
static void try_next(struct vq_leaving_connection *connection)
{
    const struct addrinfo *address = connection->next;
    int rc;

    if (connection->has_socket) {
        connection->has_socket = false;
        connection->pending++;
        uv_close(&connection->socket.handle, socket_replaced);
        return;
    }
    if (address == NULL) {
        fail(connection, VIR_ERR_OPERATION_FAILED, uv_strerror(connection->last_error));
        return;
    }
    connection->next = address->ai_next;
    (void)uv_tcp_init(connection->timer.loop, &connection->socket.tcp);
    connection->socket.handle.data = connection;
    connection->has_socket = true;
    rc = uv_tcp_connect(&connection->connect, &connection->socket.tcp, address->ai_addr, connected);
    if (rc < 0) {
        connection->last_error = rc;
        try_next(connection);
        return;
    }
    connection->pending++;
    (void)uv_tcp_nodelay(&connection->socket.tcp, 1);
}

static void looked_up(struct addrinfo *take_addresses, const char *why, void *data)
{
    struct vq_leaving_connection *connection = data;

    connection->lookup = NULL;
    if (take_addresses == NULL) {
        fail(connection, VIR_ERR_OPERATION_FAILED, why);
        return;
    }
    connection->addresses = connection->next = take_addresses;
    connection->last_error = UV_EAI_NONAME;
    try_next(connection);
}

static void begin_unix(struct vq_leaving_connection *connection)
{
    (void)uv_pipe_init(connection->timer.loop, &connection->socket.pipe, 0);
    connection->socket.handle.data = connection;
    connection->has_socket = true;
    connection->pending++;
    uv_pipe_connect(&connection->connect, &connection->socket.pipe, connection->path, connected);
}

int vq_leaving_connect(struct vq_leaving *leaving, const char *uri, vq_leaving_connected_cb cb, struct vq_error *err)
{
    struct vq_leaving_connection *connection = vq_new(struct vq_leaving_connection);
    uint16_t port = 0;
    int rc = vq_migrate_uri_parse(uri, &connection->host, &port, &connection->path, err);

    if (rc == 0 && connection->host != NULL && port == 0)
        rc = vq_error_set(err, VIR_ERR_INVALID_ARG, "missing port in migration URI: %s", uri);
    if (rc < 0) {
        free(connection->host);
        free(connection);
        return -1;
    }
    (void)snprintf(connection->service, sizeof(connection->service), "%u", port);
    connection->leaving = leaving;
    connection->cb = cb;
    connection->connect.data = connection;
    (void)uv_timer_init(leaving->guest->qemu->host->loop, &connection->timer);
    connection->timer.data = connection;
    leaving->connection = connection;
    if (connection->path != NULL)
        begin_unix(connection);
    else
        connection->lookup = vq_lookup_start(connection->timer.loop, connection->host, port, VQ_LEAVING_CONNECT_MS, looked_up,
                                             connection);
    (void)uv_timer_start(&connection->timer, too_late, VQ_LEAVING_CONNECT_MS, 0);
    return 0;
}

void vq_leaving_disconnect(struct vq_leaving *leaving)
{
    if (leaving->connection != NULL)
        close_all(leaving->connection);
}
