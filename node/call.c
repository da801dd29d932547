/* Calls: made, answered, taken away; and the identities behind them. */
#include "node/call.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/buffer.h"
#include "node/daemon.h"
#include "node/publish.h"
#include "node/client/stream.h"

/* What one call may take: the decoded form of the largest message (an array of small elements takes a few times its
 * bytes on the wire) and the largest reply. */
enum { CALL_MEMORY_MAX = 256 * 1024 * 1024 };
enum { POOL_MAX = 64, POOL_ARENA_BYTES_MAX = 64 * 1024 };

struct vq_call_pool {
    struct vq_arena *arenas[POOL_MAX];
    unsigned n_arenas;
};

struct vq_call_pool *vq_call_pool_new(void)
{
    return vq_new(struct vq_call_pool);
}

void vq_call_pool_free(struct vq_call_pool *pool)
{
    if (pool == NULL)
        return;
    while (pool->n_arenas > 0)
        vq_arena_free(pool->arenas[--pool->n_arenas]);
    free(pool);
}

static struct vq_arena *pool_take(struct vq_call_pool *pool)
{
    return pool->n_arenas > 0 ? pool->arenas[--pool->n_arenas] : vq_arena_new(CALL_MEMORY_MAX);
}

static void pool_give(struct vq_call_pool *pool, struct vq_arena *arena)
{
    if (pool->n_arenas == POOL_MAX || vq_arena_used(arena) > POOL_ARENA_BYTES_MAX) {
        vq_arena_free(arena);
        return;
    }
    vq_arena_reset(arena);
    pool->arenas[pool->n_arenas++] = arena;
}

struct vq_identity *vq_identity_new(const struct vq_caller *caller)
{
    struct vq_identity *identity = vq_new(struct vq_identity);

    identity->refs = 1;
    identity->caller = *caller;
    identity->caller.user = vq_strdup(caller->user);
    identity->caller.group = vq_strdup(caller->group);
    identity->caller.sasl_user = vq_strdup(caller->sasl_user);
    identity->caller.x509_dn = vq_strdup(caller->x509_dn);
    identity->caller.selinux = vq_strdup(caller->selinux);
    return identity;
}

struct vq_identity *vq_identity_ref(struct vq_identity *identity)
{
    identity->refs++;
    return identity;
}

void vq_identity_unref(struct vq_identity *identity)
{
    if (identity == NULL || --identity->refs > 0)
        return;
    free((char *)identity->caller.user);
    free((char *)identity->caller.group);
    free((char *)identity->caller.sasl_user);
    free((char *)identity->caller.x509_dn);
    free((char *)identity->caller.selinux);
    free(identity);
}

static void reported(void *data)
{
    vq_call_reply(data);
}

/* What changed a guest is answered when the cluster knows of it. */
static bool waits_for_report(struct vq_call *call)
{
    const struct vq_request *request = &call->request;

    return request->domain != NULL && request->procedure->route == VQ_ROUTE_OWNER &&
           !request->procedure->allowed_readonly && call->daemon->overlay != NULL &&
           vq_overlay_hold(call->daemon->overlay, request->domain->uuid, reported, call);
}

static void request_complete(struct vq_request *request, const struct vq_error *err)
{
    struct vq_call *call = vq_call_of(request);

    if (err != NULL)
        vq_call_fail(call, err);
    else if (!waits_for_report(call))
        vq_call_reply(call);
}

static struct vq_stream *request_open_stream(struct vq_request *request, const struct vq_stream_callbacks *callbacks,
                                             void *data)
{
    struct vq_call *call = vq_call_of(request);

    if (request->procedure->stream == VQ_STREAM_NONE || call->stream != NULL)
        return NULL;
    struct vq_stream_link *link = call->origin->stream_link(call);
    if (link == NULL)
        return NULL;
    vq_stream_new(link, request->procedure->stream, callbacks, data, &call->stream);
    return call->stream;
}

/* The arena's first chunk always has room for these: they are far smaller than it. */
static void *must_alloc(struct vq_arena *arena, size_t size)
{
    void *memory = vq_arena_alloc(arena, 1, size == 0 ? 1 : size);

    assert(memory != NULL);
    return memory;
}

struct vq_call *vq_call_new(struct vq_daemon *daemon, const struct vq_procedure *procedure,
                            struct vq_identity *identity)
{
    struct vq_arena *arena = pool_take(daemon->calls);
    struct vq_call *call = must_alloc(arena, sizeof(*call));

    call->daemon = daemon;
    call->identity = vq_identity_ref(identity);
    call->request.procedure = procedure;
    call->request.arena = arena;
    call->request.caller = &identity->caller;
    call->request.args = procedure->args == NULL ? NULL : must_alloc(arena, procedure->args->size);
    call->request.ret = procedure->ret == NULL ? NULL : must_alloc(arena, procedure->ret->size);
    call->request.complete = request_complete;
    call->request.open_stream = request_open_stream;
    return call;
}

static void close_fds(int *fds, unsigned n_fds)
{
    for (unsigned i = 0; i < n_fds; i++)
        if (fds[i] >= 0)
            (void)close(fds[i]); /* of a call that is over: nobody is left to tell */
}

static void call_end(struct vq_call *call, const struct vq_error *err)
{
    assert(!call->is_answered);
    call->is_answered = true;
    call->origin->answer(call, err);
    if (call->stream != NULL)
        vq_stream_uncork(call->stream);

    close_fds(call->request.fds, call->request.n_fds);
    close_fds(call->request.reply_fds, call->request.n_reply_fds);
    vq_identity_unref(call->identity);
    pool_give(call->daemon->calls, call->request.arena);
}

void vq_call_reply(struct vq_call *call)
{
    call_end(call, NULL);
}

void vq_call_answer_bytes(struct vq_call *call, const uint8_t *xdr, size_t length)
{
    static const uint8_t nothing;

    call->reply_bytes = length == 0 ? &nothing : xdr;
    call->reply_length = length;
    call_end(call, NULL);
}

void vq_call_fail(struct vq_call *call, const struct vq_error *err)
{
    struct vq_error copy = *err; /* it may lie in the arena */

    if (copy.code == VIR_ERR_OK)
        vq_error_set_from(&copy, VIR_FROM_RPC, VIR_ERR_INTERNAL_ERROR, "%s failed without saying why",
                          call->request.procedure->api);
    call_end(call, &copy);
}

int vq_call_add_reply(struct vq_call *call, struct vq_buffer *buffer, struct vq_error *err)
{
    if (call->reply_bytes != NULL) {
        vq_buffer_add_bytes(buffer, call->reply_bytes, call->reply_length);
        return 0;
    }
    if (call->request.procedure->ret == NULL)
        return 0;
    return vq_xdr_encode(call->request.procedure->ret, call->request.ret, buffer, err);
}

int vq_call_keep_xdr(struct vq_call *call, struct vq_error *err)
{
    if (call->owns_xdr || call->xdr_length == 0)
        return 0;
    uint8_t *copy = vq_arena_alloc(call->request.arena, 1, call->xdr_length);
    if (copy == NULL)
        return vq_error_set_from(err, VIR_FROM_RPC, VIR_ERR_NO_MEMORY, "the call is too large");
    memcpy(copy, call->xdr, call->xdr_length);
    call->xdr = copy;
    call->owns_xdr = true;
    return 0;
}
