/* Outgoing TCP connections on a libuv loop, and the addresses that nodes have. */
#pragma once

#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

#include "conf/base/error.h"

struct vq_dial;

/* "host:port" or "[host]:port" with a numeric host; never asks a name server. port_default 0: the port must be there.
 * Errors: VIR_ERR_INVALID_ARG. */
VQ_MUST_CHECK int vq_address_parse(const char *text, uint16_t port_default, struct sockaddr_storage *ret_address,
                                   socklen_t *ret_length, struct vq_error *err);

/* What a connection between nodes needs: no delay, and a cut cable noticed within timeout_ms, at rest or not. */
void vq_dial_tune(int fd, unsigned timeout_ms);

/* Exactly one call, from the loop: a connected, tuned descriptor that is the callee's, or -1 and why not. */
typedef void (*vq_dial_cb)(int take_fd, const struct vq_error *err, void *data);
struct vq_dial *vq_dial_start(uv_loop_t *loop, const struct sockaddr *address, socklen_t length, uint64_t deadline_ms,
                              unsigned timeout_ms, vq_dial_cb cb, void *data);
/* Before the callback came: it does not come any more. */
void vq_dial_cancel(struct vq_dial *dial);
