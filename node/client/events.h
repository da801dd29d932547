/* Events: who wants which, and in which order they are told.
 *
 * Three sources: changes of the replicated state as they are applied, reports of this node's own drivers (at once), and
 * events of other nodes over the mesh. For each other node two queues, its state changes and its mesh events, are
 * merged so that clients hear them in the order in which they happened there: a mesh event waits for its index, a state
 * change for the mesh events sent before it, neither for longer than VQ_EVENT_WAIT_MS. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "drivers/driver.h"
#include "store/store.h"

struct vq_daemon;
struct vq_events;
struct vq_session;
struct vq_xdr_struct;

enum {
    VQ_EVENT_WAIT_MS = 1000,
    VQ_EVENT_QUEUE_MAX = 4096,   /* waiting per other node; the oldest is told early when there are more */
    VQ_SUBSCRIPTIONS_MAX = 1024, /* per client */
};

/* Any event but a change of state; also what goes over the mesh. */
struct vq_mesh_event {
    const char *driver;
    uint8_t uuid[16];
    const char *name;
    int32_t id;
    uint32_t program;       /* enum vq_program */
    uint32_t event_id;      /* VIR_DOMAIN_EVENT_ID_* */
    const uint8_t *payload; /* XDR of the event behind its callbackID */
    size_t payload_length;
    uint64_t sequence, after_index; /* from the mesh only */
};

struct vq_events *vq_events_new(struct vq_daemon *daemon);
void vq_events_free(struct vq_events *events);

/* ---- Clients ---- */

struct vq_subscription {
    uint32_t program; /* enum vq_program */
    uint32_t event_id;
    bool is_legacy; /* told in the old form, without an id */
    bool has_domain;
    uint8_t uuid[16];        /* only of this domain */
    const char *name_filter; /* qemu monitor events: NULL, or the event's name */
    bool name_is_regex, name_ignores_case;
};
VQ_MUST_CHECK int vq_events_subscribe(struct vq_events *events, struct vq_session *session,
                                      const struct vq_subscription *subscription, int32_t *ret_id,
                                      struct vq_error *err);
VQ_MUST_CHECK int vq_events_unsubscribe(struct vq_events *events, struct vq_session *session, uint32_t program,
                                        int32_t id, struct vq_error *err);
VQ_MUST_CHECK int vq_events_unsubscribe_legacy(struct vq_events *events, struct vq_session *session, uint32_t event_id,
                                               struct vq_error *err);
void vq_events_session_closed(struct vq_events *events, struct vq_session *session);

/* ---- Sources ---- */

/* A commit was applied. */
void vq_events_applied(struct vq_events *events, uint64_t index, const struct vq_change_list *changes);
/* An own driver reported; lifecycle events of it are told now. name and id: as clients know the domain. */
void vq_events_published(struct vq_events *events, struct vq_driver *driver, const char *name,
                         const struct vq_state_report *report);
/* An own driver has an event of another kind: told to own clients now, and sent to the other nodes. */
void vq_events_emitted(struct vq_events *events, struct vq_driver *driver, const uint8_t uuid[16], const char *name,
                       int32_t id, int event_id, const struct vq_xdr_struct *type, const void *value);
/* With all its texts; for those who keep one. */
struct vq_mesh_event *vq_mesh_event_copy(const struct vq_mesh_event *event);
void vq_mesh_event_free(struct vq_mesh_event *event);
/* Another node's event came over the mesh. */
void vq_events_from_mesh(struct vq_events *events, uint64_t node, const struct vq_mesh_event *event);
/* That node has restarted or is gone: its sequence begins anew. What waits is told now. */
void vq_events_node_lost(struct vq_events *events, uint64_t node);
