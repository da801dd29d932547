/* A queue of messages from one thread to another. The mutex is held for a few instructions only. */
#pragma once

#include <stdbool.h>
#include <uv.h>

struct vq_message {
    struct vq_message *next;
};

struct vq_queue {
    uv_mutex_t lock;
    struct vq_message *first, **end; /* under the lock */
    uv_async_t async;                /* on the reader's loop; open until vq_queue_close() */
};

/* read is called on the reader's loop when something is there; it takes it with vq_queue_take(). data: async.data. */
int vq_queue_open(struct vq_queue *queue, uv_loop_t *readers_loop, uv_async_cb read, void *data);
void vq_queue_put(struct vq_queue *queue, struct vq_message *take_message);
/* All there is, oldest first. */
struct vq_message *vq_queue_take(struct vq_queue *queue);
/* On the reader's thread. Nobody may put any more. */
void vq_queue_close(struct vq_queue *queue, uv_close_cb closed);
