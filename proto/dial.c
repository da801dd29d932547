/* Outgoing TCP connections. */
#define VQ_FROM VIR_FROM_RPC
#include "proto/dial.h"

#include <assert.h>
#include <errno.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"

enum { ADDRESS_MAX = 128 };

struct vq_dial {
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned n_handles;
    bool has_poll;
    bool is_done;
    int fd;
    unsigned timeout_ms;
    vq_dial_cb cb;
    void *data;
    struct vq_error err; /* what went wrong at once and is told from the loop */
};

/* Host and port apart; the host may be in brackets, and without them must not have a second colon. */
static bool split(const char *text, char host[ADDRESS_MAX], const char **ret_port)
{
    const char *end;

    if (strlen(text) >= ADDRESS_MAX)
        return false;
    if (text[0] == '[') {
        text++;
        end = strchr(text, ']');
        if (end == NULL || (end[1] != '\0' && end[1] != ':'))
            return false;
        *ret_port = end[1] == ':' ? end + 2 : NULL;
    } else {
        end = strchr(text, ':');
        if (end != NULL && strchr(end + 1, ':') != NULL)
            return false;
        *ret_port = end != NULL ? end + 1 : NULL;
        if (end == NULL)
            end = text + strlen(text);
    }
    memcpy(host, text, (size_t)(end - text));
    host[end - text] = '\0';
    return end > text;
}

int vq_address_parse(const char *text, uint16_t port_default, struct sockaddr_storage *ret_address,
                     socklen_t *ret_length, struct vq_error *err)
{
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL;
    char host[ADDRESS_MAX], service[8];
    const char *port_text = NULL;
    uint64_t port = port_default;

    if (text == NULL || !split(text, host, &port_text) ||
        (port_text != NULL ? !vq_parse_u64(port_text, 10, UINT16_MAX, &port) : port_default == 0))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' is not of the form ADDRESS:PORT", text == NULL ? "" : text);
    (void)snprintf(service, sizeof(service), "%u", (unsigned)port);
    if (getaddrinfo(host, service, &hints, &list) != 0 || list == NULL)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' is not a numeric address", host);
    memset(ret_address, 0, sizeof(*ret_address));
    memcpy(ret_address, list->ai_addr, list->ai_addrlen);
    *ret_length = list->ai_addrlen;
    freeaddrinfo(list);
    return 0;
}

void vq_dial_tune(int fd, unsigned timeout_ms)
{
    const int on = 1, idle_s = 1, interval_s = 1;
    const int probes = (int)(timeout_ms / 1000) > 1 ? (int)(timeout_ms / 1000) - 1 : 1;
    const struct {
        int level, name;
        const void *value;
        socklen_t size;
    } settings[] = {
        {IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on)},
        {SOL_SOCKET, SO_KEEPALIVE, &on, sizeof(on)},
        {IPPROTO_TCP, TCP_KEEPIDLE, &idle_s, sizeof(idle_s)},
        {IPPROTO_TCP, TCP_KEEPINTVL, &interval_s, sizeof(interval_s)},
        {IPPROTO_TCP, TCP_KEEPCNT, &probes, sizeof(probes)},
        {IPPROTO_TCP, TCP_USER_TIMEOUT, &timeout_ms, sizeof(timeout_ms)},
    };
    for (size_t i = 0; i < VQ_N_ELEMENTS(settings);
         i++) /* without them a fault is noticed later, by our own deadlines */
        (void)setsockopt(fd, settings[i].level, settings[i].name, settings[i].value, settings[i].size);
}

static void handle_closed(uv_handle_t *handle)
{
    struct vq_dial *dial = handle->data;

    if (--dial->n_handles == 0)
        free(dial);
}

static void close_handles(struct vq_dial *dial)
{
    assert(!dial->is_done);
    dial->is_done = true;
    if (dial->has_poll)
        uv_close((uv_handle_t *)&dial->poll, handle_closed);
    uv_close((uv_handle_t *)&dial->timer, handle_closed);
}

static void finish(struct vq_dial *dial, const struct vq_error *err)
{
    int fd = dial->fd;

    close_handles(dial);
    if (err != NULL) {
        if (fd >= 0)
            (void)close(fd); /* it never became a connection */
        fd = -1;
    }
    dial->cb(fd, err, dial->data);
}

static void timer_cb(uv_timer_t *timer)
{
    struct vq_dial *dial = timer->data;

    if (dial->err.code == VIR_ERR_OK)
        (void)vq_error_system(&dial->err, ETIMEDOUT, "connecting");
    finish(dial, &dial->err);
}

static void poll_cb(uv_poll_t *poll, int status, int events VQ_UNUSED)
{
    struct vq_dial *dial = poll->data;
    struct vq_error err = VQ_ERROR_INIT;
    int error = 0;
    socklen_t size = sizeof(error);

    if (getsockopt(dial->fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0)
        error = errno;
    if (error == 0 && status < 0)
        error = -status;
    if (error != 0) {
        (void)vq_error_system(&err, error, "connecting");
        finish(dial, &err);
        return;
    }
    vq_dial_tune(dial->fd, dial->timeout_ms);
    finish(dial, NULL);
}

static int begin(struct vq_dial *dial, uv_loop_t *loop, const struct sockaddr *address, socklen_t length)
{
    dial->fd = socket(address->sa_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (dial->fd < 0)
        return vq_error_system(&dial->err, errno, "making a socket");
    if (connect(dial->fd, address, length) < 0 && errno != EINPROGRESS)
        return vq_error_system(&dial->err, errno, "connecting");
    int rc = uv_poll_init_socket(loop, &dial->poll, dial->fd);
    if (rc < 0)
        return vq_error_system(&dial->err, -rc, "connecting");
    dial->has_poll = true;
    dial->n_handles++;
    (void)uv_poll_start(&dial->poll, UV_WRITABLE, poll_cb); /* fails only for handles that are closing */
    return 0;
}

struct vq_dial *vq_dial_start(uv_loop_t *loop, const struct sockaddr *address, socklen_t length, uint64_t deadline_ms,
                              unsigned timeout_ms, vq_dial_cb cb, void *data)
{
    struct vq_dial *dial = vq_new(struct vq_dial);

    *dial = (struct vq_dial){
        .n_handles = 1, .fd = -1, .timeout_ms = timeout_ms, .cb = cb, .data = data, .err = VQ_ERROR_INIT};
    dial->poll.data = dial->timer.data = dial;
    (void)uv_timer_init(loop, &dial->timer);
    if (begin(dial, loop, address, length) < 0)
        deadline_ms = 0;
    (void)uv_timer_start(&dial->timer, timer_cb, deadline_ms, 0);
    return dial;
}

void vq_dial_cancel(struct vq_dial *dial)
{
    close_handles(dial);
    if (dial->fd >= 0)
        (void)close(dial->fd); /* nobody waits for it */
}
