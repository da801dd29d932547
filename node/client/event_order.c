/* Merging, for each other node, its state changes (from the log) with its other events (from the mesh).
 *
 * Each stream is in order by itself. A mesh event follows all changes up to its index; a change follows the mesh events
 * up to its sequence number. The owner gives both numbers so that they cannot wait for each other; what waits for
 * longer than VQ_EVENT_WAIT_MS lost something on the way and is told all the same. Changes of one domain keep the order of
 * the log also when its owner changes. */
#include "node/client/event_order.h"

#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include "conf/base/memory.h"
#include "node/cluster/cluster.h"
#include "node/daemon.h"
#include "node/client/events.h"

struct waiting {
    struct waiting *next;
    struct vq_told_event event; /* its texts are its own */
    uint64_t since_ms;
    uint64_t number; /* of changes: in the order of the log, whoever the owner was */
};

struct waiting_queue {
    struct waiting *first, *last;
    size_t n;
};

struct node_order {
    struct node_order *next;
    uint64_t node;
    uint64_t told_sequence; /* mesh events up to this one are told or lost */
    struct waiting_queue changes, mesh;
};

struct vq_event_order {
    struct vq_daemon *daemon;
    vq_event_tell tell;
    void *data;
    struct node_order *nodes;
    uint64_t last_number;
    uv_timer_t *timer; /* its memory outlives us by one turn of the loop */
};

static void timer_freed(uv_handle_t *handle)
{
    free(handle);
}

static void run_timer(uv_timer_t *timer)
{
    vq_event_order_run(timer->data);
}

struct vq_event_order *vq_event_order_new(struct vq_daemon *daemon, vq_event_tell tell, void *data)
{
    struct vq_event_order *order = vq_new(struct vq_event_order);

    order->daemon = daemon;
    order->tell = tell;
    order->data = data;
    order->timer = vq_new(uv_timer_t);
    (void)uv_timer_init(daemon->loop, order->timer); /* cannot fail */
    order->timer->data = order;
    return order;
}

static void queue_add(struct waiting_queue *queue, const struct vq_told_event *event, uint64_t number, uint64_t now_ms)
{
    struct waiting *waiting = vq_new(struct waiting);

    waiting->event = *event;
    waiting->event.payload = vq_memdup(event->payload, event->payload_length);
    waiting->event.monitor_event = vq_strdup(event->monitor_event);
    waiting->since_ms = now_ms;
    waiting->number = number;
    if (queue->last != NULL)
        queue->last->next = waiting;
    else
        queue->first = waiting;
    queue->last = waiting;
    queue->n++;
}

static void queue_drop(struct waiting_queue *queue)
{
    struct waiting *waiting = queue->first;

    queue->first = waiting->next;
    if (queue->first == NULL)
        queue->last = NULL;
    queue->n--;
    free((uint8_t *)waiting->event.payload);
    free((char *)waiting->event.monitor_event);
    free(waiting);
}

void vq_event_order_free(struct vq_event_order *order)
{
    if (order == NULL)
        return;
    while (order->nodes != NULL) {
        struct node_order *node = order->nodes;
        order->nodes = node->next;
        while (node->changes.first != NULL)
            queue_drop(&node->changes);
        while (node->mesh.first != NULL)
            queue_drop(&node->mesh);
        free(node);
    }
    uv_close((uv_handle_t *)order->timer, timer_freed);
    free(order);
}

static struct node_order *node_get(struct vq_event_order *order, uint64_t id)
{
    struct node_order *node = order->nodes;

    while (node != NULL && node->node != id)
        node = node->next;
    if (node == NULL) {
        node = vq_new(struct node_order);
        node->node = id;
        node->next = order->nodes;
        order->nodes = node;
    }
    return node;
}

static void tell_first(struct vq_event_order *order, struct node_order *node, struct waiting_queue *queue)
{
    struct waiting *waiting = queue->first;

    if (waiting->event.sequence > node->told_sequence)
        node->told_sequence = waiting->event.sequence; /* told, or given up */
    order->tell(&waiting->event, order->data);
    queue_drop(queue);
}

/* Too old, or one of too many. */
static bool is_overdue(const struct waiting_queue *queue, uint64_t now_ms)
{
    return queue->first != NULL &&
           (now_ms - queue->first->since_ms >= VQ_EVENT_WAIT_MS || queue->n > VQ_EVENT_QUEUE_MAX);
}

/* The first change of this domain that waits in the queue: its number; 0: there is none. */
static uint64_t first_change_of(const struct waiting_queue *queue, const uint8_t uuid[16])
{
    for (const struct waiting *waiting = queue->first; waiting != NULL; waiting = waiting->next)
        if (memcmp(waiting->event.uuid, uuid, sizeof(waiting->event.uuid)) == 0)
            return waiting->number;
    return 0;
}

/* The node whose queue has the first change of this domain; NULL: none has one. */
static struct node_order *first_of(struct vq_event_order *order, const uint8_t uuid[16])
{
    struct node_order *first = NULL;
    uint64_t lowest = UINT64_MAX;

    for (struct node_order *node = order->nodes; node != NULL; node = node->next) {
        uint64_t number = node->changes.first == NULL ? 0 : first_change_of(&node->changes, uuid);
        if (number != 0 && number < lowest) {
            lowest = number;
            first = node;
        }
    }
    return first;
}

/* Of a domain that moved: what the new owner does with it is told after what the old one did. Queues cannot wait for each
 * other in a ring, since each waits for a lower number. */
static bool is_first_of_domain(struct vq_event_order *order, struct node_order *node)
{
    return first_of(order, node->changes.first->event.uuid) == node;
}

/* The queue whose first event is to be told next; NULL: all must wait. */
static struct waiting_queue *next_queue(struct vq_event_order *order, struct node_order *node, uint64_t now_ms)
{
    const struct waiting *change = node->changes.first;
    const struct waiting *mesh = node->mesh.first;
    bool is_online = vq_cluster_is_online(order->daemon, node->node);

    if (mesh != NULL && mesh->event.index <= order->daemon->applied &&
        (change == NULL || change->event.index > mesh->event.index))
        return &node->mesh;
    bool may_tell = change != NULL && (change->event.sequence <= node->told_sequence || !is_online ||
                                       is_overdue(&node->changes, now_ms));
    if (may_tell && is_first_of_domain(order, node))
        return &node->changes;
    return is_overdue(&node->mesh, now_ms) ? &node->mesh : NULL;
}

static bool node_run(struct vq_event_order *order, struct node_order *node)
{
    uint64_t now_ms = uv_now(order->daemon->loop);
    struct waiting_queue *queue;
    bool has_told = false;

    while ((queue = next_queue(order, node, now_ms)) != NULL) {
        tell_first(order, node, queue);
        has_told = true;
    }
    return has_told;
}

void vq_event_order_settle(struct vq_event_order *order, const uint8_t uuid[16])
{
    uint64_t now_ms = uv_now(order->daemon->loop);
    struct node_order *node;

    while ((node = first_of(order, uuid)) != NULL) {
        struct waiting_queue *queue = next_queue(order, node, now_ms);
        tell_first(order, node, queue != NULL ? queue : &node->changes);
    }
}

/* True: something was told. */
static bool run_all(struct vq_event_order *order)
{
    bool has_told = false;

    for (struct node_order *node = order->nodes; node != NULL; node = node->next)
        has_told = node_run(order, node) || has_told;
    return has_told;
}

void vq_event_order_run(struct vq_event_order *order)
{
    bool waits = false;

    while (run_all(order))
        ; /* what one node's queue let go another one's may have waited for */
    for (struct node_order *node = order->nodes; node != NULL; node = node->next)
        waits = waits || node->changes.first != NULL || node->mesh.first != NULL;
    if (waits)
        (void)uv_timer_start(order->timer, run_timer, VQ_EVENT_WAIT_MS / 10, 0); /* fails only for a NULL callback */
    else
        (void)uv_timer_stop(order->timer);
}

void vq_event_order_change(struct vq_event_order *order, const struct vq_told_event *event)
{
    queue_add(&node_get(order, event->owner)->changes, event, ++order->last_number, uv_now(order->daemon->loop));
}

void vq_event_order_mesh(struct vq_event_order *order, const struct vq_told_event *event)
{
    queue_add(&node_get(order, event->owner)->mesh, event, 0, uv_now(order->daemon->loop));
    vq_event_order_run(order);
}

void vq_event_order_lost(struct vq_event_order *order, uint64_t id)
{
    struct node_order *node = node_get(order, id);

    while (node->mesh.first != NULL && node->mesh.first->event.index <= order->daemon->applied)
        tell_first(order, node, &node->mesh);
    node->told_sequence = 0; /* it begins anew when it comes back */
    vq_event_order_run(order);
}
