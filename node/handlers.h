/* What the node's own handlers share. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/call.h"
#include "store/store.h"

/* Does the connection see this domain: its driver's, and within its view? */
bool vq_handler_sees(const struct vq_call *call, const struct vq_domain_head *head);

/* True when only these flags are set; else the call was refused and is gone. */
bool vq_handler_flags_are(struct vq_call *call, uint64_t supported);

/* Refuse the call with a formatted error; it is gone. */
void vq_handler_fail(struct vq_call *call, int from, int code, const char *fmt, ...) VQ_PRINTF(4, 5);

/* The daemon stops: what still waits in handlers_node.c is answered. */
void vq_handlers_node_stop(void);

/* Memory for the reply, zeroed; NULL: the call was refused for want of memory and is gone. */
void *vq_handler_alloc(struct vq_call *call, size_t n, size_t size);
