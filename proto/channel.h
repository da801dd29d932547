/* A byte channel: one connected socket on a libuv loop, plain or TLS, with descriptor passing on UNIX sockets.
 *
 * Uses uv_poll on the descriptor, so that a channel at rest can be taken from one loop and given to another, and so
 * that descriptors can be sent and received as the libvirt protocol wants. All functions on the loop's thread. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "conf/base/error.h"

struct vq_buffer;
struct vq_channel;
struct vq_tls_session;

struct vq_channel_callbacks {
    /* Bytes are there. Return how many were consumed; the rest is kept and given again together with what comes next
     * (or at once after vq_channel_resume()). wanted: set it to the number of bytes that the next whole message needs,
     * so that the channel makes room. Consuming nothing while paused is fine. Called also when a descriptor has come,
     * perhaps with length 0. The bytes stay valid until the callback returns, also if it closes the channel. */
    size_t (*received)(struct vq_channel *channel, const uint8_t *bytes, size_t length, size_t *wanted, void *data);
    /* Handshake done (TLS only; before any received). May be NULL. */
    void (*ready)(struct vq_channel *channel, void *data);
    /* All queued output was handed to the kernel. May be NULL. */
    void (*drained)(struct vq_channel *channel, void *data);
    /* The peer closed (err->code VIR_ERR_OK) or the channel failed. Called once, never from inside a vq_channel_ call
     * of the user; the user then calls vq_channel_close(). */
    void (*ended)(struct vq_channel *channel, const struct vq_error *err, void *data);
};

struct vq_channel_options {
    size_t input_max_bytes;    /* the peer may make us hold this much unconsumed input; over it: ended. 0: 64 KiB */
    size_t output_max_bytes;   /* queued output over this: ended ("peer does not read"); 0: no limit, the user looks */
    uint64_t handshake_ms;     /* deadline of the TLS handshake, 0: none */
    bool passes_fds;           /* UNIX sockets: receive descriptors */
};

/* Takes fd (non-blocking, close-on-exec are set here) and the TLS session (NULL: plain). Starts at once. */
struct vq_channel *vq_channel_open(uv_loop_t *loop, int take_fd, struct vq_tls_session *take_tls,
                                   const struct vq_channel_options *options,
                                   const struct vq_channel_callbacks *callbacks, void *data);

/* Nothing is called back after this. Queued output is dropped, or, with linger_ms > 0, written for that long. The
 * memory is freed when libuv has let go of the handles. */
void vq_channel_close(struct vq_channel *channel, uint64_t linger_ms);

/* Queue the bytes; they go out at the latest when the loop's turn ends. Cannot fail; a broken channel ends later. */
void vq_channel_write(struct vq_channel *channel, const void *bytes, size_t length);
void vq_channel_write_buffer(struct vq_channel *channel, struct vq_buffer *take_content);
/* After all bytes queued so far: one byte 0 carrying the descriptor, as the libvirt protocol passes them. */
void vq_channel_write_fd(struct vq_channel *channel, int take_fd);
/* The next descriptor received; -1: none there yet (call again in received). Its own byte never shows up in the
 * input. The user calls it only where the protocol says that descriptors follow; more than 32 that nobody takes end the
 * channel. */
int vq_channel_take_fd(struct vq_channel *channel);

size_t vq_channel_queued(const struct vq_channel *channel); /* bytes not yet handed to the kernel */

/* Stop and go on reading from the kernel: back-pressure. resume() delivers kept input from the loop, not from inside. */
void vq_channel_pause(struct vq_channel *channel);
void vq_channel_resume(struct vq_channel *channel);

struct vq_tls_session *vq_channel_tls(const struct vq_channel *channel); /* NULL for a plain one */
int vq_channel_fd(const struct vq_channel *channel);

/* Take the channel off its loop: the handles close, and the descriptor, the TLS session and unconsumed input are the
 * caller's; only after ready, with nothing queued for output, and not inside received. For handing a connection to the
 * other loop. An attached channel does not call ready: its handshake is done. */
struct vq_channel_parts {
    int fd;
    struct vq_tls_session *tls;
    uint8_t *input; /* malloc'ed */
    size_t input_length;
};
void vq_channel_detach(struct vq_channel *take_channel, struct vq_channel_parts *ret_parts);
struct vq_channel *vq_channel_attach(uv_loop_t *loop, const struct vq_channel_parts *take_parts,
                                     const struct vq_channel_options *options,
                                     const struct vq_channel_callbacks *callbacks, void *data);
/* Close what was detached and nobody attaches. */
void vq_channel_parts_discard(const struct vq_channel_parts *take_parts);
