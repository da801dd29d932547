/* Is the other host's port open, and is it that host: the new node shows a number to whoever connects, and the member
 * that checks the port compares it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "conf/base/error.h"

enum { VQ_PROBE_BYTES = 16 };

/* Connect to "host:port" and compare what it says. done is called once, never from inside; err NULL: it was the number.
 * Cannot be taken back; it takes timeout_ms at most. */
typedef void (*vq_probe_done)(const struct vq_error *err, void *data);
VQ_MUST_CHECK int vq_probe_start(uv_loop_t *loop, const char *address, const uint8_t number[VQ_PROBE_BYTES],
                                 uint64_t timeout_ms, vq_probe_done done, void *data, struct vq_error *err);

/* The other side: a listener that says the number to each connection and closes it. */
struct vq_probe_port;
VQ_MUST_CHECK int vq_probe_listen(uv_loop_t *loop, const char *host, uint16_t port, const uint8_t number[VQ_PROBE_BYTES],
                                  struct vq_probe_port **ret, struct vq_error *err);
void vq_probe_close(struct vq_probe_port *port); /* accepts NULL; the memory goes when libuv has let go */

/* "10.0.0.1:16520" or "[::1]:16520" to what the kernel wants; false: neither. */
bool vq_probe_address(const char *address, struct sockaddr_storage *ret);
