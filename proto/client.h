/* A client of the libvirt protocol on a libuv loop: one connection to a daemon, from the first byte to connect_open,
 * and then any number of calls beside each other, one of them with a stream up to the daemon.
 *
 * Whatever the daemon sends is checked. All functions on the loop's thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "conf/base/error.h"
#include "proto/procedure.h"

struct vq_client;
struct vq_tls_session;

enum {
    VQ_CLIENT_CALLS_MAX = 64,            /* in flight; one more fails */
    VQ_CLIENT_OUTPUT_MAX = 1048576,      /* a stream waits for writable over this */
    VQ_CLIENT_STREAM_PACKET = 65536,     /* as the stock daemon sends a tunnelled migration */
    VQ_CLIENT_STREAM_FINISH_MS = 120000, /* for the daemon's last word about a stream */
};

/* ret: the decoded reply struct, gone after the call-back; a pointer to nothing for a procedure without one, NULL for
 * the end of a stream. It failed when err is not NULL: the daemon's own error with its code and domain;
 * VIR_ERR_OPERATION_TIMEOUT; VIR_ERR_RPC and system errors when the connection was lost or the daemon broke the
 * protocol. */
typedef void (*vq_client_cb)(const void *ret, const struct vq_error *err, void *data);

struct vq_client_callbacks {
    /* Once: connect_open succeeded (err NULL), or the connection will not come to be; then only close is left to do. */
    void (*opened)(struct vq_client *client, const struct vq_error *err, void *data);
    /* After opened: the connection ended by itself; calls in flight have failed before. Then only close is left to do.
     */
    void (*ended)(struct vq_client *client, const struct vq_error *err, void *data);
    /* After vq_client_stream_write() returned false. May be NULL without streams. */
    void (*writable)(struct vq_client *client, void *data);
    /* The daemon ended the stream before it was finished: what is written is dropped, finish will tell the same. May be
     * NULL. */
    void (*stream_failed)(struct vq_client *client, const struct vq_error *err, void *data);
};

struct vq_client_options {
    const char *uri;          /* for connect_open, without transport: "qemu:///system"; copied */
    uint64_t open_ms;         /* deadline from now to opened */
    uint64_t keepalive_ms;    /* ask a silent daemon after this time; 0: never */
    unsigned keepalive_count; /* dead after so many unanswered questions and one interval more */
};

/* Takes the descriptor and the TLS session (NULL: plain). callbacks must live as long as the client. No call-back comes
 * from inside this function. */
struct vq_client *vq_client_open(uv_loop_t *loop, int take_fd, struct vq_tls_session *take_tls,
                                 const struct vq_client_options *options, const struct vq_client_callbacks *callbacks,
                                 void *data);
/* Calls in flight fail with VIR_ERR_OPERATION_ABORTED, from inside; after that nothing is called back. An open stream
 * is aborted. Tells the daemon that the connection is not needed any more. */
void vq_client_close(struct vq_client *take_client);

/* args: the procedure's argument struct, encoded before this returns; NULL when it has none. cb exactly once, never
 * from inside. timeout_ms 0: as long as the connection lives. */
void vq_client_call(struct vq_client *client, enum vq_program program, uint32_t number, const void *args,
                    uint64_t timeout_ms, vq_client_cb cb, void *data);
/* The same for a procedure with a stream up; the stream is open when cb was called without an error. One at a time. */
void vq_client_call_stream(struct vq_client *client, enum vq_program program, uint32_t number, const void *args,
                           uint64_t timeout_ms, vq_client_cb cb, void *data);
/* The bytes are taken in any case. False: no more until writable. */
bool vq_client_stream_write(struct vq_client *client, const void *bytes, size_t length);
/* No more data; cb when the daemon has confirmed that all is well (ret NULL), or not. Never from inside. */
void vq_client_stream_finish(struct vq_client *client, vq_client_cb cb, void *data);
/* Give it up, also before it is open. No call-back of the stream after that. */
void vq_client_stream_abort(struct vq_client *client);
