/* The order in which events of other nodes are told: see node/client/events.h. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct vq_daemon;
struct vq_event_order;

/* One event, ready to be told. */
struct vq_told_event {
    uint32_t program; /* enum vq_program */
    uint32_t event_id;
    uint8_t driver_type;
    uint8_t uuid[16];
    uint64_t owner;            /* node of the domain */
    const char *monitor_event; /* name of a monitor event, else NULL */
    const uint8_t *payload;    /* behind the callback id */
    size_t payload_length;
    uint64_t index;    /* of a change: its own; of a mesh event: tell only after this one */
    uint64_t sequence; /* of a change: tell only after this mesh event of the owner; of a mesh event: its own */
};
typedef void (*vq_event_tell)(const struct vq_told_event *event, void *data);

struct vq_event_order *vq_event_order_new(struct vq_daemon *daemon, vq_event_tell tell, void *data);
void vq_event_order_free(struct vq_event_order *order);

/* In the order of the log (told at the next run); and in the order of the mesh. Borrowed for the call. */
void vq_event_order_change(struct vq_event_order *order, const struct vq_told_event *event);
void vq_event_order_mesh(struct vq_event_order *order, const struct vq_told_event *event);
/* The domain is this node's own from now on, and what its driver reports is told at once: what other owners' changes of it are
 * still to be told comes before that, so now. */
void vq_event_order_settle(struct vq_event_order *order, const uint8_t uuid[16]);
/* Tell what may be told now: the applied index has grown. */
void vq_event_order_run(struct vq_event_order *order);
/* The connection to the node is gone: nothing more will come to wait for. */
void vq_event_order_lost(struct vq_event_order *order, uint64_t node);
