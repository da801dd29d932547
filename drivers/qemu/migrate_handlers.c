/* The procedures of migration v3, with positional arguments and with typed parameters: each form becomes the same options and one
 * call of begin, prepare, perform, finish or confirm, and its answer one of the replies. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/handlers_define.h"
#include "drivers/qemu/migrate.h"
#include "drivers/qemu/migrate_offline.h"
#include "drivers/qemu/migrate_tls.h"
#include "drivers/qemu/migrate_tunnel.h"
#include "proto/gen/remote.h"

/* One call while it is served: callees may keep a pointer to the options until they call back. */
struct call {
    struct vq_request *request;
    struct vq_migrate_options options;
};

/* ---- Replies ---- */

#define NO_MEMBER SIZE_MAX

/* Where a procedure's reply has what. text: the XML of begin, the URI of prepare. */
static const struct reply {
    uint32_t number;
    size_t n_cookie, cookie, text, domain;
} replies[] = {
#define COOKIE(name)                                                                                                   \
    offsetof(struct vq_remote_domain_migrate_##name##_ret, n_cookie_out),                                              \
        offsetof(struct vq_remote_domain_migrate_##name##_ret, cookie_out)
#define MEMBER(name, member) offsetof(struct vq_remote_domain_migrate_##name##_ret, member)
    { VQ_REMOTE_DOMAIN_MIGRATE_BEGIN3, COOKIE(begin3), MEMBER(begin3, xml), NO_MEMBER },
    { VQ_REMOTE_DOMAIN_MIGRATE_BEGIN3_PARAMS, COOKIE(begin3_params), MEMBER(begin3_params, xml), NO_MEMBER },
    { VQ_REMOTE_DOMAIN_MIGRATE_PREPARE3, COOKIE(prepare3), MEMBER(prepare3, uri_out), NO_MEMBER },
    { VQ_REMOTE_DOMAIN_MIGRATE_PREPARE3_PARAMS, COOKIE(prepare3_params), MEMBER(prepare3_params, uri_out), NO_MEMBER },
    { VQ_REMOTE_DOMAIN_MIGRATE_PREPARE_TUNNEL3, COOKIE(prepare_tunnel3), NO_MEMBER, NO_MEMBER },
    { VQ_REMOTE_DOMAIN_MIGRATE_PREPARE_TUNNEL3_PARAMS, COOKIE(prepare_tunnel3_params), NO_MEMBER, NO_MEMBER },
    { VQ_REMOTE_DOMAIN_MIGRATE_PERFORM3, COOKIE(perform3), NO_MEMBER, NO_MEMBER },
    { VQ_REMOTE_DOMAIN_MIGRATE_PERFORM3_PARAMS, COOKIE(perform3_params), NO_MEMBER, NO_MEMBER },
    { VQ_REMOTE_DOMAIN_MIGRATE_FINISH3, COOKIE(finish3), NO_MEMBER, MEMBER(finish3, dom) },
    { VQ_REMOTE_DOMAIN_MIGRATE_FINISH3_PARAMS, COOKIE(finish3_params), NO_MEMBER, MEMBER(finish3_params, dom) },
#undef COOKIE
#undef MEMBER
};

static const struct reply *reply_of(const struct vq_request *request)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(replies); i++)
        if (replies[i].number == request->procedure->number)
            return &replies[i];
    return NULL; /* confirm: nothing comes back */
}

/* What came back may lie in memory that goes with the call-back. */
static bool put_cookie(struct vq_request *request, const uint8_t *bytes, uint32_t length)
{
    const struct reply *reply = reply_of(request);
    uint8_t *copy;

    if (reply == NULL || length == 0)
        return true;
    copy = vq_qemu_request_alloc(request, length);
    if (copy == NULL)
        return false;
    memcpy(copy, bytes, length);
    *(const uint8_t **)(void *)((char *)request->ret + reply->cookie) = copy;
    *(uint32_t *)(void *)((char *)request->ret + reply->n_cookie) = length;
    return true;
}

static bool put_text(struct vq_request *request, const char *text)
{
    const struct reply *reply = reply_of(request);
    size_t size = text != NULL ? strlen(text) + 1 : 0;
    char *copy;

    if (reply == NULL || reply->text == NO_MEMBER || text == NULL)
        return true;
    copy = vq_qemu_request_alloc(request, size);
    if (copy == NULL)
        return false;
    memcpy(copy, text, size);
    *(const char **)(void *)((char *)request->ret + reply->text) = copy;
    return true;
}

static bool put_domain(struct vq_request *request, const char *name, const uint8_t uuid[16], int32_t id)
{
    const struct reply *reply = reply_of(request);
    struct vq_remote_domain *domain;
    char *copy = vq_qemu_request_alloc(request, strlen(name) + 1);

    if (copy == NULL)
        return false;
    domain = (struct vq_remote_domain *)(void *)((char *)request->ret + reply->domain);
    domain->name = strcpy(copy, name);
    memcpy(domain->uuid, uuid, sizeof(domain->uuid));
    domain->id = id;
    return true;
}

/* ---- The ends of calls ---- */

static struct vq_request *call_over(struct call *call)
{
    struct vq_request *request = call->request;

    vq_migrate_options_done(&call->options);
    free(call);
    return request;
}

static void begun(const char *xml, const uint8_t *cookie, uint32_t cookie_length, const struct vq_error *err, void *data)
{
    struct vq_request *request = call_over(data);

    if (err != NULL)
        vq_request_fail(request, err);
    else if (put_text(request, xml) && put_cookie(request, cookie, cookie_length))
        vq_request_reply(request);
}

/* A URI that is the client's own is not told back. */
static void prepared(const char *uri, const uint8_t *cookie, uint32_t cookie_length, const struct vq_error *err, void *data)
{
    struct call *call = data;
    struct vq_request *request = call->request;
    const bool is_new = !vq_streq(uri, call->options.uri);

    if (err != NULL)
        vq_request_fail(request, err);
    else if ((!is_new || put_text(request, uri)) && put_cookie(request, cookie, cookie_length))
        vq_request_reply(request);
    (void)call_over(call);
}

static void performed(const uint8_t *cookie, uint32_t cookie_length, const struct vq_error *err, void *data)
{
    struct vq_request *request = call_over(data);

    if (err != NULL)
        vq_request_fail(request, err);
    else if (put_cookie(request, cookie, cookie_length))
        vq_request_reply(request);
}

static void finished(const struct vq_qemu_guest *guest, const uint8_t *cookie, uint32_t cookie_length,
                     const struct vq_error *err, void *data)
{
    struct vq_request *request = call_over(data);

    if (err != NULL)
        vq_request_fail(request, err);
    else if (put_domain(request, guest->name, guest->uuid, guest->id) && put_cookie(request, cookie, cookie_length))
        vq_request_reply(request);
}

static void offline_finished(const char *name, const uint8_t uuid[16], const uint8_t *cookie, uint32_t cookie_length,
                             const struct vq_error *err, void *data)
{
    struct vq_request *request = call_over(data);

    if (err != NULL)
        vq_request_fail(request, err);
    else if (put_domain(request, name, uuid, -1) && put_cookie(request, cookie, cookie_length))
        vq_request_reply(request);
}

static void confirmed(const uint8_t *cookie VQ_UNUSED, uint32_t cookie_length VQ_UNUSED, const struct vq_error *err,
                      void *data)
{
    struct vq_request *request = call_over(data);

    if (err != NULL)
        vq_request_fail(request, err);
    else
        vq_request_reply(request);
}

/* ---- The beginnings ---- */

/* What every form comes down to. */
struct asked {
    uint64_t flags;
    bool is_positional;
    const struct vq_typed_param *params;
    uint32_t n_params;
    const char *uri, *dname, *dxml;      /* positional; NULL: not said */
    uint64_t bandwidth;
    const uint8_t *cookie;
    uint32_t n_cookie;
};

/* NULL: the request was refused. */
static struct call *call_new(struct vq_request *request, const struct asked *asked,
                             enum vq_migrate_call which)
{
    struct vq_migrate_options options;
    struct vq_error err = VQ_ERROR_INIT;
    struct call *call;
    int rc;

    if (!vq_qemu_check_flags(request, asked->flags, VQ_MIGRATE_FLAGS))
        return NULL;
    rc = asked->is_positional ? vq_migrate_options_positional(asked->flags, asked->uri, asked->dname, asked->dxml,
                                                       asked->bandwidth, &options, &err)
                       : vq_migrate_options_read(asked->params, asked->n_params, asked->flags, &options, &err);
    if (rc == 0 && vq_migrate_options_check(&options, which, &err) < 0) {
        vq_migrate_options_done(&options);
        rc = -1;
    }
    if (rc < 0) {
        vq_request_fail(request, &err);
        return NULL;
    }
    call = vq_new(struct call);
    *call = (struct call){ .request = request, .options = options };
    return call;
}

static void begin(struct vq_request *request, const struct asked *asked)
{
    struct call *call = call_new(request, asked, VQ_MIGRATE_BEGIN);

    if (call == NULL)
        return;
    if ((call->options.flags & VIR_MIGRATE_POSTCOPY_RESUME) != 0)
        vq_migrate_resume_begin(request, begun, call);
    else if ((call->options.flags & VIR_MIGRATE_OFFLINE) != 0)
        vq_migrate_offline_begin(request, &call->options, begun, call);
    else
        vq_migrate_out_begin(request, &call->options, begun, call);
}

/* False: the request was refused. */
static bool may_come(struct call *call, const struct asked *asked)
{
    struct vq_migrate_cookie peer;
    struct vq_error err = VQ_ERROR_INIT;
    int rc = vq_migrate_cookie_read(asked->cookie, asked->n_cookie, &peer, &err);

    if (rc == 0) {
        if ((call->options.flags & VIR_MIGRATE_POSTCOPY_RESUME) == 0) /* else it has come already */
            rc = vq_migrate_check_secure(vq_qemu_of(call->request), &call->options, &peer, VQ_MIGRATE_RECEIVES, &err);
        vq_migrate_cookie_done(&peer);
    }
    if (rc < 0)
        vq_request_fail(call->request, &err);
    return rc == 0;
}

static void prepare(struct vq_request *request, const struct asked *asked)
{
    struct call *call = call_new(request, asked, VQ_MIGRATE_PREPARE);

    if (call == NULL)
        return;
    if (call->options.dxml == NULL)
        vq_qemu_refuse(call_over(call), VQ_FROM, VIR_ERR_INTERNAL_ERROR, "no domain XML passed");
    else if (!may_come(call, asked))
        (void)call_over(call);
    else if ((call->options.flags & VIR_MIGRATE_OFFLINE) != 0)
        vq_migrate_offline_prepare(request, &call->options, asked->cookie, asked->n_cookie, prepared, call);
    else
        vq_migrate_in_prepare(request, &call->options, asked->cookie, asked->n_cookie, -1, prepared, call);
}

static void prepare_tunnel(struct vq_request *request, const struct asked *asked)
{
    struct call *call = call_new(request, asked, VQ_MIGRATE_PREPARE_TUNNEL);

    if (call == NULL)
        return;
    if (call->options.dxml == NULL)
        vq_qemu_refuse(call_over(call), VQ_FROM, VIR_ERR_INTERNAL_ERROR, "no domain XML passed");
    else if (!may_come(call, asked))
        (void)call_over(call);
    else
        vq_migrate_tunnel_prepare(request, &call->options, asked->cookie, asked->n_cookie, prepared, call);
}

static void perform(struct vq_request *request, const struct asked *asked, const char *dconnuri)
{
    const bool is_p2p = (asked->flags & VIR_MIGRATE_PEER2PEER) != 0;
    struct call *call = call_new(request, asked, is_p2p ? VQ_MIGRATE_P2P : VQ_MIGRATE_PERFORM);

    if (call == NULL)
        return;
    if (!is_p2p && dconnuri != NULL)
        vq_qemu_refuse(call_over(call), VQ_FROM, VIR_ERR_INTERNAL_ERROR,
                       "Unexpected dconnuri parameter with non-peer2peer migration");
    else if ((call->options.flags & VIR_MIGRATE_POSTCOPY_RESUME) != 0)
        vq_migrate_resume_perform(request, &call->options, performed, call);
    else if (!is_p2p)
        vq_migrate_out_perform(request, &call->options, asked->cookie, asked->n_cookie, performed, call);
    else if (asked->n_cookie > 0)
        vq_qemu_refuse(call_over(call), VQ_FROM, VIR_ERR_OPERATION_INVALID,
                       "received unexpected cookie with P2P migration");
    else if (dconnuri == NULL)
        vq_qemu_refuse(call_over(call), VQ_FROM, VIR_ERR_INVALID_ARG,
                       "peer2peer migration needs the URI of the destination");
    else
        vq_migrate_p2p(request, dconnuri, &call->options, performed, call);
}

static void finish(struct vq_request *request, const struct asked *asked, bool is_cancelled)
{
    struct call *call = call_new(request, asked, VQ_MIGRATE_FINISH);

    if (call == NULL)
        return;
    if (call->options.dname == NULL)
        vq_qemu_refuse(call_over(call), VQ_FROM, VIR_ERR_NO_DOMAIN, "missing domain name");
    else if ((call->options.flags & VIR_MIGRATE_OFFLINE) != 0)
        vq_migrate_offline_finish(request, &call->options, is_cancelled, offline_finished, call);
    else
        vq_migrate_in_finish(request, &call->options, asked->cookie, asked->n_cookie, is_cancelled, finished, call);
}

static void confirm(struct vq_request *request, const struct asked *asked, bool is_cancelled)
{
    struct call *call = call_new(request, asked, VQ_MIGRATE_CONFIRM);

    if (call == NULL)
        return;
    if ((call->options.flags & VIR_MIGRATE_OFFLINE) != 0)
        vq_migrate_offline_confirm(request, &call->options, asked->cookie, asked->n_cookie, is_cancelled, confirmed,
                                   call);
    else
        vq_migrate_out_confirm(request, &call->options, asked->cookie, asked->n_cookie, is_cancelled, confirmed, call);
}

/* ---- The forms ---- */

#define PARAMS(args) .params = (args)->params, .n_params = (args)->n_params, .flags = (args)->flags
#define COOKIE(args) .cookie = (args)->cookie_in, .n_cookie = (args)->n_cookie_in
#define POSITIONAL(args) .is_positional = true, .flags = (args)->flags

static void begin3(struct vq_request *request)
{
    const struct vq_remote_domain_migrate_begin3_args *args = request->args;
    const struct asked asked = { POSITIONAL(args), .dname = args->dname, .dxml = args->xmlin, .bandwidth = args->resource };

    begin(request, &asked);
}

static void begin3_params(struct vq_request *request)
{
    const struct vq_remote_domain_migrate_begin3_params_args *args = request->args;
    const struct asked asked = { PARAMS(args) };

    begin(request, &asked);
}

static void prepare3(struct vq_request *request)
{
    const struct vq_remote_domain_migrate_prepare3_args *args = request->args;
    const struct asked asked = { POSITIONAL(args), COOKIE(args), .uri = args->uri_in, .dname = args->dname,
                                 .dxml = args->dom_xml, .bandwidth = args->resource };

    prepare(request, &asked);
}

static void prepare3_params(struct vq_request *request)
{
    const struct vq_remote_domain_migrate_prepare3_params_args *args = request->args;
    const struct asked asked = { PARAMS(args), COOKIE(args) };

    prepare(request, &asked);
}

static void perform3(struct vq_request *request)
{
    const struct vq_remote_domain_migrate_perform3_args *args = request->args;
    const struct asked asked = { POSITIONAL(args), COOKIE(args), .uri = args->uri, .dname = args->dname,
                                 .dxml = args->xmlin, .bandwidth = args->resource };

    perform(request, &asked, args->dconnuri);
}

static void perform3_params(struct vq_request *request)
{
    const struct vq_remote_domain_migrate_perform3_params_args *args = request->args;
    const struct asked asked = { PARAMS(args), COOKIE(args) };

    perform(request, &asked, args->dconnuri);
}

static void finish3(struct vq_request *request)
{
    const struct vq_remote_domain_migrate_finish3_args *args = request->args;
    const struct asked asked = { POSITIONAL(args), COOKIE(args), .uri = args->uri, .dname = args->dname };

    finish(request, &asked, args->cancelled != 0);
}

static void finish3_params(struct vq_request *request)
{
    const struct vq_remote_domain_migrate_finish3_params_args *args = request->args;
    const struct asked asked = { PARAMS(args), COOKIE(args) };

    finish(request, &asked, args->cancelled != 0);
}

static void confirm3(struct vq_request *request)
{
    const struct vq_remote_domain_migrate_confirm3_args *args = request->args;
    const struct asked asked = { POSITIONAL(args), COOKIE(args) };

    confirm(request, &asked, args->cancelled != 0);
}

static void confirm3_params(struct vq_request *request)
{
    const struct vq_remote_domain_migrate_confirm3_params_args *args = request->args;
    const struct asked asked = { PARAMS(args), COOKIE(args) };

    confirm(request, &asked, args->cancelled != 0);
}

static void prepare_tunnel3(struct vq_request *request)
{
    const struct vq_remote_domain_migrate_prepare_tunnel3_args *args = request->args;
    const struct asked asked = { POSITIONAL(args), COOKIE(args), .dname = args->dname, .dxml = args->dom_xml,
                                 .bandwidth = args->resource };

    prepare_tunnel(request, &asked);
}

static void prepare_tunnel3_params(struct vq_request *request)
{
    const struct vq_remote_domain_migrate_prepare_tunnel3_params_args *args = request->args;
    const struct asked asked = { PARAMS(args), COOKIE(args) };

    prepare_tunnel(request, &asked);
}

#define ROW(NAME, fn) { VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_MIGRATE_##NAME, fn }

static const struct vq_driver_row rows[] = {
    ROW(BEGIN3, begin3),
    ROW(BEGIN3_PARAMS, begin3_params),
    ROW(PREPARE3, prepare3),
    ROW(PREPARE3_PARAMS, prepare3_params),
    ROW(PREPARE_TUNNEL3, prepare_tunnel3),
    ROW(PREPARE_TUNNEL3_PARAMS, prepare_tunnel3_params),
    ROW(PERFORM3, perform3),
    ROW(PERFORM3_PARAMS, perform3_params),
    ROW(FINISH3, finish3),
    ROW(FINISH3_PARAMS, finish3_params),
    ROW(CONFIRM3, confirm3),
    ROW(CONFIRM3_PARAMS, confirm3_params),
};
const struct vq_qemu_rows vq_qemu_migrate_rows = { rows, VQ_N_ELEMENTS(rows) };
