/* The addresses of a host by its name, asked of the name servers aside from the loop: they answer when they like, and hold up neither
 * the loop nor the end of the daemon. */
#pragma once

#include <netdb.h>
#include <stdint.h>
#include <uv.h>

struct vq_lookup;

/* Called back once, from the loop, never from inside, unless forgotten. take_addresses: for freeaddrinfo(); NULL: why tells. */
typedef void (*vq_lookup_cb)(struct addrinfo *take_addresses, const char *why, void *data);
struct vq_lookup *vq_lookup_start(uv_loop_t *loop, const char *host, uint16_t port, uint64_t timeout_ms, vq_lookup_cb cb,
                                  void *data);
void vq_lookup_forget(struct vq_lookup *lookup); /* no call-back. Not from inside it */
