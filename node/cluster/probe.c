/* Asking a port who is behind it, and answering. */
#define VQ_FROM VIR_FROM_NONE
#include "node/cluster/probe.h"

#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"

/* ---- Asking ---- */

struct probe {
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_connect_t connect;
    uint8_t expected[VQ_PROBE_BYTES], got[VQ_PROBE_BYTES];
    size_t n_got;
    unsigned open_handles;
    struct vq_error err;
    vq_probe_done done;
    void *data;
};

bool vq_probe_address(const char *address, struct sockaddr_storage *ret)
{
    const char *colon = strrchr(address, ':');
    uint64_t port;

    if (colon == NULL || !vq_parse_u64(colon + 1, 10, 65535, &port))
        return false;
    VQ_AUTOFREE char *host = address[0] == '[' && colon - address >= 2 ? vq_strndup(address + 1, (size_t)(colon - address - 2))
                                                                      : vq_strndup(address, (size_t)(colon - address));
    memset(ret, 0, sizeof(*ret));
    return uv_ip4_addr(host, (int)port, (struct sockaddr_in *)ret) == 0 ||
           uv_ip6_addr(host, (int)port, (struct sockaddr_in6 *)ret) == 0;
}

static void probe_closed(uv_handle_t *handle)
{
    struct probe *probe = handle->data;

    if (--probe->open_handles > 0)
        return;
    probe->done(probe->err.code == VIR_ERR_OK ? NULL : &probe->err, probe->data);
    free(probe);
}

static void probe_end(struct probe *probe)
{
    if (uv_is_closing((uv_handle_t *)&probe->tcp))
        return;
    uv_close((uv_handle_t *)&probe->tcp, probe_closed);
    uv_close((uv_handle_t *)&probe->timer, probe_closed);
}

static void probe_failed(struct probe *probe, const char *why)
{
    vq_error_set(&probe->err, VIR_ERR_OPERATION_FAILED, "%s", why);
    probe_end(probe);
}

static void probe_timeout(uv_timer_t *timer)
{
    probe_failed(timer->data, "no answer");
}

static void probe_buffer(uv_handle_t *handle, size_t suggested, uv_buf_t *buffer)
{
    struct probe *probe = handle->data;

    (void)suggested;
    *buffer = uv_buf_init((char *)probe->got + probe->n_got, (unsigned)(sizeof(probe->got) - probe->n_got));
}

static void probe_read(uv_stream_t *stream, ssize_t n_read, const uv_buf_t *buffer)
{
    struct probe *probe = stream->data;

    (void)buffer;
    if (n_read < 0) {
        probe_failed(probe, "something else listens there");
        return;
    }
    probe->n_got += (size_t)n_read;
    if (probe->n_got < sizeof(probe->got))
        return;
    if (memcmp(probe->got, probe->expected, sizeof(probe->got)) != 0)
        probe_failed(probe, "another host answers there");
    else
        probe_end(probe);
}

static void probe_connected(uv_connect_t *connect, int status)
{
    struct probe *probe = connect->data;

    if (status == UV_ECANCELED)
        return; /* by probe_end() */
    if (status < 0)
        probe_failed(probe, uv_strerror(status));
    else if (uv_read_start((uv_stream_t *)&probe->tcp, probe_buffer, probe_read) < 0)
        probe_failed(probe, "the connection broke");
}

int vq_probe_start(uv_loop_t *loop, const char *address, const uint8_t number[VQ_PROBE_BYTES], uint64_t timeout_ms,
                   vq_probe_done done, void *data, struct vq_error *err)
{
    struct sockaddr_storage to;

    if (!vq_probe_address(address, &to))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' is not an address with a port", address);
    struct probe *probe = vq_new(struct probe);
    probe->tcp.data = probe->timer.data = probe->connect.data = probe;
    probe->err = VQ_ERROR_INIT;
    probe->done = done;
    probe->data = data;
    probe->open_handles = 2;
    memcpy(probe->expected, number, sizeof(probe->expected));
    (void)uv_tcp_init(loop, &probe->tcp); /* no socket yet: cannot fail */
    (void)uv_timer_init(loop, &probe->timer);
    (void)uv_timer_start(&probe->timer, probe_timeout, timeout_ms, 0); /* fails only without a callback */
    int rc = uv_tcp_connect(&probe->connect, &probe->tcp, (const struct sockaddr *)&to, probe_connected);
    if (rc < 0)
        probe_failed(probe, uv_strerror(rc));
    return 0;
}

/* ---- Answering ---- */

enum { SAYING_MAX = 16 };

struct vq_probe_port {
    uv_tcp_t tcp;
    uint8_t number[VQ_PROBE_BYTES];
    unsigned n_saying;
    unsigned refs; /* the listener and each connection */
};

struct saying {
    uv_tcp_t tcp;
    uv_write_t write;
    struct vq_probe_port *port;
};

static void port_unref(struct vq_probe_port *port)
{
    if (--port->refs == 0)
        free(port);
}

static void saying_closed(uv_handle_t *handle)
{
    struct saying *saying = handle->data;

    saying->port->n_saying--;
    port_unref(saying->port);
    free(saying);
}

static void said(uv_write_t *write, int status)
{
    struct saying *saying = write->data;

    (void)status; /* who asked will notice */
    if (!uv_is_closing((uv_handle_t *)&saying->tcp))
        uv_close((uv_handle_t *)&saying->tcp, saying_closed);
}

static void port_connection(uv_stream_t *stream, int status)
{
    struct vq_probe_port *port = stream->data;

    if (status < 0)
        return;
    struct saying *saying = vq_new(struct saying);
    uv_buf_t number = uv_buf_init((char *)port->number, sizeof(port->number));
    saying->port = port;
    saying->tcp.data = saying->write.data = saying;
    port->refs++;
    port->n_saying++;
    (void)uv_tcp_init(stream->loop, &saying->tcp); /* no socket yet: cannot fail */
    if (uv_accept(stream, (uv_stream_t *)&saying->tcp) < 0 || port->n_saying > SAYING_MAX ||
        uv_write(&saying->write, (uv_stream_t *)&saying->tcp, &number, 1, said) < 0)
        uv_close((uv_handle_t *)&saying->tcp, saying_closed);
}

static void port_closed(uv_handle_t *handle)
{
    port_unref(handle->data);
}

void vq_probe_close(struct vq_probe_port *port)
{
    if (port != NULL)
        uv_close((uv_handle_t *)&port->tcp, port_closed);
}

int vq_probe_listen(uv_loop_t *loop, const char *host, uint16_t port, const uint8_t number[VQ_PROBE_BYTES],
                    struct vq_probe_port **ret, struct vq_error *err)
{
    VQ_AUTOFREE char *address = vq_asprintf(strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host, (unsigned)port);
    struct sockaddr_storage at;

    if (!vq_probe_address(address, &at))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' is not an address", host);
    struct vq_probe_port *listener = vq_new(struct vq_probe_port);
    listener->tcp.data = listener;
    listener->refs = 1;
    memcpy(listener->number, number, sizeof(listener->number));
    (void)uv_tcp_init(loop, &listener->tcp); /* no socket yet: cannot fail */
    int rc = uv_tcp_bind(&listener->tcp, (const struct sockaddr *)&at, 0);
    if (rc == 0)
        rc = uv_listen((uv_stream_t *)&listener->tcp, SAYING_MAX, port_connection);
    if (rc < 0) {
        vq_probe_close(listener);
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "listening on %s: %s", address, uv_strerror(rc));
    }
    *ret = listener;
    return 0;
}
