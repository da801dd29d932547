/* The queue between the two threads. */
#include "raft/queue.h"

int vq_queue_open(struct vq_queue *queue, uv_loop_t *readers_loop, uv_async_cb read, void *data)
{
    int rc = uv_mutex_init(&queue->lock);

    if (rc != 0)
        return rc;
    queue->first = NULL;
    queue->end = &queue->first;
    rc = uv_async_init(readers_loop, &queue->async, read);
    if (rc != 0) {
        uv_mutex_destroy(&queue->lock);
        return rc;
    }
    queue->async.data = data;
    return 0;
}

void vq_queue_put(struct vq_queue *queue, struct vq_message *take_message)
{
    take_message->next = NULL;
    uv_mutex_lock(&queue->lock);
    *queue->end = take_message;
    queue->end = &take_message->next;
    /* Inside, so that the reader, who may close the queue as soon as it has the last message, waits for this. */
    (void)uv_async_send(&queue->async);
    uv_mutex_unlock(&queue->lock);
}

struct vq_message *vq_queue_take(struct vq_queue *queue)
{
    uv_mutex_lock(&queue->lock);
    struct vq_message *all = queue->first;
    queue->first = NULL;
    queue->end = &queue->first;
    uv_mutex_unlock(&queue->lock);
    return all;
}

void vq_queue_close(struct vq_queue *queue, uv_close_cb closed)
{
    uv_mutex_destroy(&queue->lock);
    uv_close((uv_handle_t *)&queue->async, closed);
}
