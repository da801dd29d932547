/* Another daemon, asked by this one: a node of the cluster over the mesh, or any libvirt daemon by its URI.
 *
 * On the node loop. Calls may be in flight beside each other. Made by vq_driver_host.peer_open(). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "proto/procedure.h"

struct vq_arena;
struct vq_peer;

/* ret: the procedure's decoded reply struct, with memory that is gone after the call-back (for a procedure without one, a pointer to
 * nothing); NULL: err tells (the peer's own error
 * with its code and domain, or VIR_ERR_OPERATION_TIMEOUT, or VIR_ERR_RPC / VIR_ERR_OPERATION_FAILED when the connection was lost). */
typedef void (*vq_peer_cb)(const void *ret, const struct vq_error *err, void *data);

struct vq_peer_class {
    /* args: the procedure's decoded argument struct, encoded before this returns. timeout_ms 0: what a client's call of the
     * procedure would get. cb exactly once, never from inside. */
    void (*call)(struct vq_peer *peer, enum vq_program program, uint32_t number, const void *args, uint64_t timeout_ms,
                 vq_peer_cb cb, void *data);
    /* The same for a procedure with a stream up to the peer. cb as above; then vq_peer_stream_* with the same peer. NULL:
     * this kind of peer has no streams. */
    void (*call_stream)(struct vq_peer *peer, enum vq_program program, uint32_t number, const void *args,
                        uint64_t timeout_ms, vq_peer_cb cb, void *data);
    bool (*stream_write)(struct vq_peer *peer, const void *bytes, size_t length); /* false: wait for writable */
    void (*stream_finish)(struct vq_peer *peer, vq_peer_cb cb, void *data);       /* ret is NULL in any case */
    void (*stream_abort)(struct vq_peer *peer, const struct vq_error *why);
    void (*close)(struct vq_peer *peer); /* calls in flight fail now; no call-back of the peer after that */
};

struct vq_peer {
    const struct vq_peer_class *class;
    uint64_t node;           /* a node of this cluster; 0: a daemon outside */
    char *name;              /* for people: "node2", "qemu+tls://host/system" */
    void (*lost)(struct vq_peer *peer, const struct vq_error *err, void *data); /* the connection ended by itself; may be NULL */
    void (*stream_writable)(struct vq_peer *peer, void *data);
    /* The other daemon ended the stream early: what is written is dropped, finish tells the same error. May be NULL. */
    void (*stream_failed)(struct vq_peer *peer, const struct vq_error *err, void *data);
    void *data;              /* of the user, for the call-backs */
};

/* peer: the caller's, to be closed with peer->class->close(peer); NULL: err tells. Exactly once, never from inside. */
typedef void (*vq_peer_open_cb)(struct vq_peer *take_peer, const struct vq_error *err, void *data);
