/* Questions of other nodes about this one that no driver answers. */
#define VQ_FROM VIR_FROM_NONE
#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "node/cluster/certificate.h"
#include "node/daemon.h"
#include "node/dispatch.h"
#include "node/handlers.h"
#include "proto/gen/node.h"

/* ---- Can this node reach an address? ---- */

enum { TRY_MS_MIN = 100, TRY_MS_MAX = 10000, TRIES_MAX = 64 };

struct port_try {
    struct port_try *next;
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_connect_t connect;
    unsigned open_handles;
    struct vq_call *call;    /* NULL: answered */
    int status;              /* of libuv */
};

static struct port_try *tries;
static unsigned n_tries;

static void try_closed(uv_handle_t *handle)
{
    struct port_try *attempt = handle->data;

    if (--attempt->open_handles > 0)
        return;
    struct port_try **link = &tries;
    while (*link != attempt)
        link = &(*link)->next;
    *link = attempt->next;
    n_tries--;
    if (attempt->call != NULL) {
        struct vq_node_try_port_ret *ret = attempt->call->request.ret;
        ret->reached = attempt->status == 0;
        ret->text = attempt->status == 0 ? "" : uv_strerror(attempt->status);
        vq_call_reply(attempt->call);
    }
    free(attempt);
}

static void try_end(struct port_try *attempt, int status)
{
    if (uv_is_closing((uv_handle_t *)&attempt->tcp))
        return;
    attempt->status = status;
    uv_close((uv_handle_t *)&attempt->tcp, try_closed);
    uv_close((uv_handle_t *)&attempt->timer, try_closed);
}

static void try_too_long(uv_timer_t *timer)
{
    try_end(timer->data, UV_ETIMEDOUT);
}

static void try_connected(uv_connect_t *connect, int status)
{
    if (status != UV_ECANCELED) /* by try_end() */
        try_end(connect->data, status);
}

/* Numbers only: a name could mean another host here than there. */
static bool address_of(const char *host, uint32_t port, struct sockaddr_storage *ret)
{
    memset(ret, 0, sizeof(*ret));
    return port > 0 && port <= 65535 &&
           (uv_ip4_addr(host, (int)port, (struct sockaddr_in *)ret) == 0 ||
            uv_ip6_addr(host, (int)port, (struct sockaddr_in6 *)ret) == 0);
}

static void try_port(struct vq_call *call)
{
    const struct vq_node_try_port_args *args = call->request.args;
    struct sockaddr_storage to;

    if (!address_of(args->host, args->port, &to)) {
        vq_handler_fail(call, VQ_FROM, VIR_ERR_INVALID_ARG, "'%s' port %u is not an address", args->host, args->port);
        return;
    }
    if (n_tries == TRIES_MAX) {
        vq_handler_fail(call, VQ_FROM, VIR_ERR_OPERATION_FAILED, "%s tries %d ports already", call->daemon->node_name,
                        TRIES_MAX);
        return;
    }
    uint64_t timeout_ms = args->timeout_ms < TRY_MS_MIN   ? TRY_MS_MIN
                          : args->timeout_ms > TRY_MS_MAX ? TRY_MS_MAX
                                                          : args->timeout_ms;
    struct port_try *attempt = vq_new(struct port_try);
    attempt->next = tries;
    tries = attempt;
    n_tries++;
    attempt->call = call;
    attempt->tcp.data = attempt->timer.data = attempt->connect.data = attempt;
    attempt->open_handles = 2;
    (void)uv_tcp_init(call->daemon->loop, &attempt->tcp); /* no socket yet: cannot fail */
    (void)uv_timer_init(call->daemon->loop, &attempt->timer);
    (void)uv_timer_start(&attempt->timer, try_too_long, timeout_ms, 0); /* fails only without a callback */
    int rc = uv_tcp_connect(&attempt->connect, &attempt->tcp, (const struct sockaddr *)&to, try_connected);
    if (rc < 0)
        try_end(attempt, rc);
}

void vq_handlers_node_stop(void)
{
    for (struct port_try *attempt = tries; attempt != NULL; attempt = attempt->next) {
        struct vq_call *call = vq_take(attempt->call);
        try_end(attempt, UV_ECANCELED);
        if (call != NULL)
            vq_handler_fail(call, VQ_FROM, VIR_ERR_OPERATION_ABORTED, "the daemon is stopping");
    }
}

/* ---- A new certificate ---- */

static void renew_certificate(struct vq_call *call)
{
    struct vq_node_renew_certificate_ret *ret = call->request.ret;
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_certificate_renew(call->daemon->cluster, &ret->expires, &err) < 0)
        vq_handler_fail(call, err.from, err.code, "%s: %s", call->daemon->node_name, err.message);
    else
        vq_call_reply(call);
}

const struct vq_node_row vq_node_rows[] = {
    {VQ_PROGRAM_NODE, VQ_NODE_TRY_PORT, VQ_ALWAYS, try_port},
    {VQ_PROGRAM_NODE, VQ_NODE_RENEW_CERTIFICATE, VQ_ALWAYS, renew_certificate},
};
const size_t vq_n_node_rows = VQ_N_ELEMENTS(vq_node_rows);
