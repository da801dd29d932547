/* Facts of this host, gathered by a worker while the loop goes on. */
#pragma once

#include <stdint.h>
#include <uv.h>

struct vq_facts;
struct vq_gathering;

/* Called back once, never from inside, unless forgotten. NULL: something of the host (a file system of the network) did not
 * answer within timeout_ms. */
typedef void (*vq_gathering_cb)(struct vq_facts *take_facts, void *data);
struct vq_gathering *vq_gathering_start(uv_loop_t *loop, struct vq_facts *take_facts, uint64_t timeout_ms,
                                        vq_gathering_cb cb, void *data);
/* No call-back. What the worker does goes on, and is thrown away. Not from inside the call-back. */
void vq_gathering_forget(struct vq_gathering *gathering);
