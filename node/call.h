/* One call being served: what handlers see (struct vq_request), where it came from, and how it is answered.
 *
 * A call lives in its arena. It is answered exactly once and is gone after that; a stream that it opened lives on. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "drivers/driver.h"

struct vq_buffer;
struct vq_call;
struct vq_daemon;
struct vq_session;
struct vq_stream_link;

/* Who is connected, for calls that outlive their connection. Counted. */
struct vq_identity {
    unsigned refs;
    struct vq_caller caller; /* texts are the identity's own */
};
struct vq_identity *vq_identity_new(const struct vq_caller *caller); /* copies the texts */
struct vq_identity *vq_identity_ref(struct vq_identity *identity);
void vq_identity_unref(struct vq_identity *identity);

/* Where a call came from. One for sessions, one for the mesh. */
struct vq_call_origin {
    /* The answer: err, or the reply (vq_call_add_reply() appends its bytes to a buffer and may fail: then answer with
     * that error). reply_fds are still in the request. The call is freed when this returns. */
    void (*answer)(struct vq_call *call, const struct vq_error *err);
    /* The way to the client for a stream of this call; NULL when the connection has ended. */
    struct vq_stream_link *(*stream_link)(struct vq_call *call);
};

struct vq_call {
    struct vq_request request; /* VQ_CONTAINER_OF(request, struct vq_call, request) */
    struct vq_daemon *daemon;
    struct vq_identity *identity; /* behind request.caller; one reference */

    const uint8_t *xdr; /* the caller's argument bytes; borrowed until dispatch returns, then kept in the
                           arena: see vq_call_keep_xdr() */
    size_t xdr_length;
    bool owns_xdr;

    uint64_t view_node;           /* of the connection, 0: the whole cluster */
    const char *driver_name;      /* of the connection, "qemu"; also when the driver is absent here */
    uint64_t read_index;          /* applied index that the look-up saw: Call.applied */
    struct vq_domain_info domain; /* request.domain points here when it was found */

    const uint8_t *reply_bytes; /* set by vq_call_answer_bytes: the reply instead of request.ret */
    size_t reply_length;
    bool is_answered;
    struct vq_stream *stream; /* opened by this call; NULL again when it is gone */

    const struct vq_call_origin *origin;
    struct vq_session *session; /* origin session: NULL once the connection is gone */
    struct vq_call *session_next, *session_prev;
    uint32_t serial; /* of the client's frame */
    uint64_t peer;   /* origin mesh: node and its id of the call */
    uint64_t peer_call;
    void *forward; /* of node/mesh/forward.c while it is at another node */
};

/* A call with room for the decoded arguments and the reply (zeroed) of the procedure; the rest of the fields is the
 * caller's to fill. */
struct vq_call *vq_call_new(struct vq_daemon *daemon, const struct vq_procedure *procedure,
                            struct vq_identity *identity);

/* Answering. The call is gone when these return. */
void vq_call_reply(struct vq_call *call);                                           /* with request.ret */
void vq_call_answer_bytes(struct vq_call *call, const uint8_t *xdr, size_t length); /* borrowed for the call */
void vq_call_fail(struct vq_call *call, const struct vq_error *err);

/* For origins: append the XDR of the reply. */
VQ_MUST_CHECK int vq_call_add_reply(struct vq_call *call, struct vq_buffer *buffer, struct vq_error *err);

/* Copy the argument bytes into the arena, for whoever needs them after dispatch has returned (dispatch does it before
 * vq_forward_call() and vq_gather_call()). */
VQ_MUST_CHECK int vq_call_keep_xdr(struct vq_call *call, struct vq_error *err);

static inline struct vq_call *vq_call_of(struct vq_request *request)
{
    return VQ_CONTAINER_OF(request, struct vq_call, request);
}

/* Arenas of answered calls, kept for the next ones. */
struct vq_call_pool *vq_call_pool_new(void);
void vq_call_pool_free(struct vq_call_pool *pool);
