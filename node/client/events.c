/* Subscriptions, and telling those who subscribed. The order between nodes: node/client/event_order.c. */
#define VQ_FROM VIR_FROM_RPC
#include "node/client/events.h"

#include <assert.h>
#include <regex.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include <libvirt/libvirt.h>

#include "conf/base/buffer.h"
#include "conf/base/log.h"
#include "node/daemon.h"
#include "node/client/event_order.h"
#include "node/publish.h"
#include "node/client/session.h"
#include "proto/gen/qemu.h"
#include "proto/gen/remote.h"

/* How each event is told: with an id, and in the old form. Behind the callback id the two differ only in what stands in
 * front of the old one: legacy_skip bytes. */
struct event_form {
    uint32_t procedure, legacy; /* 0: has no old form */
    uint8_t legacy_skip;
};
enum { SLOT_MONITOR = VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE + 2, N_SLOTS };

static const struct event_form forms[SLOT_MONITOR] = {
    [VIR_DOMAIN_EVENT_ID_LIFECYCLE] = {VQ_REMOTE_DOMAIN_EVENT_CALLBACK_LIFECYCLE, VQ_REMOTE_DOMAIN_EVENT_LIFECYCLE, 0},
    [VIR_DOMAIN_EVENT_ID_REBOOT] = {VQ_REMOTE_DOMAIN_EVENT_CALLBACK_REBOOT, VQ_REMOTE_DOMAIN_EVENT_REBOOT, 0},
    [VIR_DOMAIN_EVENT_ID_RTC_CHANGE] = {VQ_REMOTE_DOMAIN_EVENT_CALLBACK_RTC_CHANGE, VQ_REMOTE_DOMAIN_EVENT_RTC_CHANGE,
                                        0},
    [VIR_DOMAIN_EVENT_ID_WATCHDOG] = {VQ_REMOTE_DOMAIN_EVENT_CALLBACK_WATCHDOG, VQ_REMOTE_DOMAIN_EVENT_WATCHDOG, 0},
    [VIR_DOMAIN_EVENT_ID_IO_ERROR] = {VQ_REMOTE_DOMAIN_EVENT_CALLBACK_IO_ERROR, VQ_REMOTE_DOMAIN_EVENT_IO_ERROR, 0},
    [VIR_DOMAIN_EVENT_ID_GRAPHICS] = {VQ_REMOTE_DOMAIN_EVENT_CALLBACK_GRAPHICS, VQ_REMOTE_DOMAIN_EVENT_GRAPHICS, 0},
    [VIR_DOMAIN_EVENT_ID_IO_ERROR_REASON] = {VQ_REMOTE_DOMAIN_EVENT_CALLBACK_IO_ERROR_REASON,
                                             VQ_REMOTE_DOMAIN_EVENT_IO_ERROR_REASON, 0},
    [VIR_DOMAIN_EVENT_ID_CONTROL_ERROR] = {VQ_REMOTE_DOMAIN_EVENT_CALLBACK_CONTROL_ERROR,
                                           VQ_REMOTE_DOMAIN_EVENT_CONTROL_ERROR, 0},
    [VIR_DOMAIN_EVENT_ID_BLOCK_JOB] = {VQ_REMOTE_DOMAIN_EVENT_CALLBACK_BLOCK_JOB, VQ_REMOTE_DOMAIN_EVENT_BLOCK_JOB, 0},
    [VIR_DOMAIN_EVENT_ID_DISK_CHANGE] = {VQ_REMOTE_DOMAIN_EVENT_CALLBACK_DISK_CHANGE,
                                         VQ_REMOTE_DOMAIN_EVENT_DISK_CHANGE, 0},
    [VIR_DOMAIN_EVENT_ID_TRAY_CHANGE] = {VQ_REMOTE_DOMAIN_EVENT_CALLBACK_TRAY_CHANGE,
                                         VQ_REMOTE_DOMAIN_EVENT_TRAY_CHANGE, 0},
    [VIR_DOMAIN_EVENT_ID_PMWAKEUP] = {VQ_REMOTE_DOMAIN_EVENT_CALLBACK_PMWAKEUP, VQ_REMOTE_DOMAIN_EVENT_PMWAKEUP, 4},
    [VIR_DOMAIN_EVENT_ID_PMSUSPEND] = {VQ_REMOTE_DOMAIN_EVENT_CALLBACK_PMSUSPEND, VQ_REMOTE_DOMAIN_EVENT_PMSUSPEND, 4},
    [VIR_DOMAIN_EVENT_ID_BALLOON_CHANGE] = {VQ_REMOTE_DOMAIN_EVENT_CALLBACK_BALLOON_CHANGE,
                                            VQ_REMOTE_DOMAIN_EVENT_BALLOON_CHANGE, 0},
    [VIR_DOMAIN_EVENT_ID_PMSUSPEND_DISK] = {VQ_REMOTE_DOMAIN_EVENT_CALLBACK_PMSUSPEND_DISK,
                                            VQ_REMOTE_DOMAIN_EVENT_PMSUSPEND_DISK, 4},
    [VIR_DOMAIN_EVENT_ID_DEVICE_REMOVED] = {VQ_REMOTE_DOMAIN_EVENT_CALLBACK_DEVICE_REMOVED,
                                            VQ_REMOTE_DOMAIN_EVENT_DEVICE_REMOVED, 0},
    [VIR_DOMAIN_EVENT_ID_BLOCK_JOB_2] = {VQ_REMOTE_DOMAIN_EVENT_BLOCK_JOB_2, 0, 0},
    [VIR_DOMAIN_EVENT_ID_TUNABLE] = {VQ_REMOTE_DOMAIN_EVENT_CALLBACK_TUNABLE, 0, 0},
    [VIR_DOMAIN_EVENT_ID_AGENT_LIFECYCLE] = {VQ_REMOTE_DOMAIN_EVENT_CALLBACK_AGENT_LIFECYCLE, 0, 0},
    [VIR_DOMAIN_EVENT_ID_DEVICE_ADDED] = {VQ_REMOTE_DOMAIN_EVENT_CALLBACK_DEVICE_ADDED, 0, 0},
    [VIR_DOMAIN_EVENT_ID_MIGRATION_ITERATION] = {VQ_REMOTE_DOMAIN_EVENT_CALLBACK_MIGRATION_ITERATION, 0, 0},
    [VIR_DOMAIN_EVENT_ID_JOB_COMPLETED] = {VQ_REMOTE_DOMAIN_EVENT_CALLBACK_JOB_COMPLETED, 0, 0},
    [VIR_DOMAIN_EVENT_ID_DEVICE_REMOVAL_FAILED] = {VQ_REMOTE_DOMAIN_EVENT_CALLBACK_DEVICE_REMOVAL_FAILED, 0, 0},
    [VIR_DOMAIN_EVENT_ID_METADATA_CHANGE] = {VQ_REMOTE_DOMAIN_EVENT_CALLBACK_METADATA_CHANGE, 0, 0},
    [VIR_DOMAIN_EVENT_ID_BLOCK_THRESHOLD] = {VQ_REMOTE_DOMAIN_EVENT_BLOCK_THRESHOLD, 0, 0},
    [VIR_DOMAIN_EVENT_ID_MEMORY_FAILURE] = {VQ_REMOTE_DOMAIN_EVENT_MEMORY_FAILURE, 0, 0},
    [VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE] = {VQ_REMOTE_DOMAIN_EVENT_MEMORY_DEVICE_SIZE_CHANGE, 0, 0},
    /* newer than the headers that we may be built with */
    [VIR_DOMAIN_EVENT_ID_MEMORY_DEVICE_SIZE_CHANGE + 1] = {VQ_REMOTE_DOMAIN_EVENT_NIC_MAC_CHANGE, 0, 0},
};

struct vq_subscriber {
    struct vq_subscriber *slot_next, *slot_prev, *session_next;
    struct vq_session *session;
    int32_t id;
    uint32_t slot;
    struct vq_subscription want; /* name_filter is the subscriber's own */
    regex_t name_regex;
};

struct vq_events {
    struct vq_daemon *daemon;
    struct vq_subscriber *slots[N_SLOTS];
    int32_t next_id;
    struct vq_event_order *order;
    struct vq_buffer scratch;
};

/* ---- Subscriptions ---- */

static int slot_of(const struct vq_subscription *want, uint32_t *ret_slot, struct vq_error *err)
{
    if (want->program == VQ_PROGRAM_QEMU) {
        *ret_slot = SLOT_MONITOR;
        return 0;
    }
    if (want->event_id >= SLOT_MONITOR || (want->is_legacy && forms[want->event_id].legacy == 0))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "unsupported event ID %d", (int)want->event_id);
    *ret_slot = want->event_id;
    return 0;
}

static int set_name_filter(struct vq_subscriber *subscriber, struct vq_error *err)
{
    struct vq_subscription *want = &subscriber->want;

    want->name_filter = vq_strdup(want->name_filter);
    if (want->name_filter == NULL || !want->name_is_regex)
        return 0;
    int flags = REG_NOSUB | (want->name_ignores_case ? REG_ICASE : 0);
    if (regcomp(&subscriber->name_regex, want->name_filter, flags) == 0)
        return 0;
    vq_error_set(err, VIR_ERR_INVALID_ARG, "failed to compile regex '%s'", want->name_filter);
    free((char *)want->name_filter);
    return -1;
}

int vq_events_subscribe(struct vq_events *events, struct vq_session *session, const struct vq_subscription *want,
                        int32_t *ret_id, struct vq_error *err)
{
    uint32_t slot = 0;

    if (slot_of(want, &slot, err) < 0)
        return -1;
    if (session->n_subscriptions >= VQ_SUBSCRIPTIONS_MAX)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "a client may have at most %d event callbacks",
                            VQ_SUBSCRIPTIONS_MAX);
    struct vq_subscriber *subscriber = vq_new(struct vq_subscriber);
    subscriber->want = *want;
    if (set_name_filter(subscriber, err) < 0) {
        free(subscriber);
        return -1;
    }
    subscriber->session = session;
    subscriber->slot = slot;
    subscriber->id = events->next_id;
    events->next_id = events->next_id == INT32_MAX ? 0 : events->next_id + 1;

    subscriber->slot_next = events->slots[slot];
    if (subscriber->slot_next != NULL)
        subscriber->slot_next->slot_prev = subscriber;
    events->slots[slot] = subscriber;
    subscriber->session_next = session->subscribers;
    session->subscribers = subscriber;
    session->n_subscriptions++;
    *ret_id = subscriber->id;
    return 0;
}

/* Take out the one that the session's link points to. */
static void subscriber_free(struct vq_events *events, struct vq_subscriber **link)
{
    struct vq_subscriber *subscriber = *link;

    *link = subscriber->session_next;
    subscriber->session->n_subscriptions--;
    if (subscriber->slot_next != NULL)
        subscriber->slot_next->slot_prev = subscriber->slot_prev;
    if (subscriber->slot_prev != NULL)
        subscriber->slot_prev->slot_next = subscriber->slot_next;
    else
        events->slots[subscriber->slot] = subscriber->slot_next;
    if (subscriber->want.name_filter != NULL && subscriber->want.name_is_regex)
        regfree(&subscriber->name_regex);
    free((char *)subscriber->want.name_filter);
    free(subscriber);
}

int vq_events_unsubscribe(struct vq_events *events, struct vq_session *session, uint32_t program, int32_t id,
                          struct vq_error *err)
{
    for (struct vq_subscriber **link = &session->subscribers; *link != NULL; link = &(*link)->session_next)
        if ((*link)->id == id && (*link)->want.program == program && !(*link)->want.is_legacy) {
            subscriber_free(events, link);
            return 0;
        }
    return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "domain event callback %d not registered", id);
}

int vq_events_unsubscribe_legacy(struct vq_events *events, struct vq_session *session, uint32_t event_id,
                                 struct vq_error *err)
{
    for (struct vq_subscriber **link = &session->subscribers; *link != NULL; link = &(*link)->session_next)
        if ((*link)->want.is_legacy && (*link)->want.event_id == event_id) {
            subscriber_free(events, link);
            return 0;
        }
    return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "domain event %d not registered", (int)event_id);
}

void vq_events_session_closed(struct vq_events *events, struct vq_session *session)
{
    while (session->subscribers != NULL)
        subscriber_free(events, &session->subscribers);
}

/* ---- Telling ---- */

static bool name_matches(const struct vq_subscriber *subscriber, const char *name)
{
    const struct vq_subscription *want = &subscriber->want;

    if (want->name_filter == NULL)
        return true;
    if (name == NULL)
        return false;
    if (want->name_is_regex)
        return regexec(&subscriber->name_regex, name, 0, NULL, 0) == 0;
    return (want->name_ignores_case ? strcasecmp : strcmp)(want->name_filter, name) == 0;
}

static bool wants(const struct vq_subscriber *subscriber, const struct vq_told_event *event)
{
    const struct vq_view *view = &subscriber->session->view;

    return view->driver != NULL && view->driver->driver_type == event->driver_type &&
           (view->node == 0 || view->node == event->owner) &&
           (!subscriber->want.has_domain || memcmp(subscriber->want.uuid, event->uuid, sizeof(event->uuid)) == 0) &&
           name_matches(subscriber, event->monitor_event);
}

static void tell(const struct vq_told_event *event, void *data)
{
    struct vq_events *events = data;
    bool is_monitor = event->program == VQ_PROGRAM_QEMU;
    uint32_t slot = is_monitor ? SLOT_MONITOR : event->event_id;

    if (slot >= N_SLOTS || events->slots[slot] == NULL)
        return;
    const struct vq_procedure *with_id = is_monitor ? vq_procedure_find(VQ_PROGRAM_QEMU, VQ_QEMU_DOMAIN_MONITOR_EVENT)
                                                    : vq_procedure_find(VQ_PROGRAM_REMOTE, forms[slot].procedure);
    const struct vq_procedure *legacy =
        is_monitor || forms[slot].legacy == 0 ? NULL : vq_procedure_find(VQ_PROGRAM_REMOTE, forms[slot].legacy);
    size_t skip = is_monitor ? 0 : forms[slot].legacy_skip;

    for (struct vq_subscriber *subscriber = events->slots[slot]; subscriber != NULL;
         subscriber = subscriber->slot_next) {
        if (!wants(subscriber, event))
            continue;
        if (!subscriber->want.is_legacy)
            vq_session_send_event(subscriber->session, with_id, true, subscriber->id, event->payload,
                                  event->payload_length);
        else if (legacy != NULL && event->payload_length >= skip)
            vq_session_send_event(subscriber->session, legacy, false, 0, event->payload + skip,
                                  event->payload_length - skip);
    }
}

struct vq_events *vq_events_new(struct vq_daemon *daemon)
{
    struct vq_events *events = vq_new(struct vq_events);

    events->daemon = daemon;
    events->order = vq_event_order_new(daemon, tell, events);
    return events;
}

void vq_events_free(struct vq_events *events)
{
    if (events == NULL)
        return;
    for (unsigned i = 0; i < N_SLOTS; i++)
        assert(events->slots[i] == NULL); /* sessions end first */
    vq_event_order_free(events->order);
    vq_buffer_done(&events->scratch);
    free(events);
}

/* ---- Sources ---- */

/* One lifecycle event in the form of the wire, in the scratch buffer. */
static bool encode_lifecycle(struct vq_events *events, const uint8_t uuid[16], const char *name, int32_t id, int event,
                             int detail, struct vq_told_event *ret)
{
    struct vq_remote_domain_event_lifecycle_msg msg = {
        .dom = {.name = name, .id = id}, .event = event, .detail = detail};

    memcpy(msg.dom.uuid, uuid, sizeof(msg.dom.uuid));
    vq_buffer_truncate(&events->scratch, 0);
    if (vq_xdr_encode(&vq_xdr_remote_domain_event_lifecycle_msg, &msg, &events->scratch, NULL) < 0)
        return false; /* a name over 4 MiB: the store has none */
    memcpy(ret->uuid, uuid, sizeof(ret->uuid));
    ret->program = VQ_PROGRAM_REMOTE;
    ret->event_id = VIR_DOMAIN_EVENT_ID_LIFECYCLE;
    ret->payload = (const uint8_t *)events->scratch.data;
    ret->payload_length = events->scratch.length;
    return true;
}

/* node: whose domain it was when that happened. */
static void tell_change_of(struct vq_events *events, const struct vq_change *change, uint64_t node, const char *name,
                           int event, int detail)
{
    struct vq_told_event told = {.driver_type = change->driver,
                                 .owner = node,
                                 .index = change->index,
                                 .sequence = change->mesh_sequence};

    if (!encode_lifecycle(events, change->uuid, name, change->id, event, detail, &told))
        return;
    if (node == events->daemon->node_id)
        tell(&told, events);
    else
        vq_event_order_change(events->order, &told);
}

static void tell_change(struct vq_events *events, const struct vq_change *change, const char *name, int event,
                        int detail)
{
    tell_change_of(events, change, change->owner, name, event, detail);
}

/* The guest has left its old owner's node: that is what its events are about. */
static void owner_changed(struct vq_events *events, const struct vq_change *change)
{
    for (unsigned i = 0; i < change->n_events; i++)
        tell_change_of(events, change, change->old_owner, change->name, change->events[i].event,
                       change->events[i].detail);
    if (change->owner == events->daemon->node_id)
        vq_event_order_settle(events->order, change->uuid);
}

static void change_applied(struct vq_events *events, const struct vq_change *change)
{
    switch (change->kind) {
    case VQ_CHANGE_DOMAIN_DEFINED:
        if (change->is_persistent) /* guests of clients' own making are started, never "defined" */
            tell_change(events, change, change->name, VIR_DOMAIN_EVENT_DEFINED,
                        change->is_new ? VIR_DOMAIN_EVENT_DEFINED_ADDED : VIR_DOMAIN_EVENT_DEFINED_UPDATED);
        return;
    case VQ_CHANGE_DOMAIN_UNDEFINED:
        tell_change(events, change, change->name, VIR_DOMAIN_EVENT_UNDEFINED, VIR_DOMAIN_EVENT_UNDEFINED_REMOVED);
        return;
    case VQ_CHANGE_DOMAIN_RENAMED:
        if (!change->is_persistent)
            return;
        tell_change(events, change, change->name, VIR_DOMAIN_EVENT_UNDEFINED, VIR_DOMAIN_EVENT_UNDEFINED_RENAMED);
        tell_change(events, change, change->new_name, VIR_DOMAIN_EVENT_DEFINED, VIR_DOMAIN_EVENT_DEFINED_RENAMED);
        return;
    case VQ_CHANGE_DOMAIN_STATE:
        if (change->owner == events->daemon->node_id)
            return; /* told when the driver reported it */
        for (unsigned i = 0; i < change->n_events; i++)
            tell_change(events, change, change->name, change->events[i].event, change->events[i].detail);
        return;
    case VQ_CHANGE_DOMAIN_OWNER:
        owner_changed(events, change);
        return;
    default:
        return;
    }
}

/* Told change by change: the next one may be about the same domain and another owner, whose events have a queue of their
 * own. A mesh event that waits for an index comes after all changes of that index, so the applied index is walked along. */
void vq_events_applied(struct vq_events *events, uint64_t index VQ_UNUSED, const struct vq_change_list *changes)
{
    uint64_t applied = events->daemon->applied;

    for (size_t i = 0; i < changes->n_changes; i++) {
        uint64_t own = changes->changes[i].index;
        bool is_last_of_index = i + 1 == changes->n_changes || changes->changes[i + 1].index != own;

        change_applied(events, &changes->changes[i]);
        events->daemon->applied = is_last_of_index ? own : own - 1;
        vq_event_order_run(events->order);
    }
    events->daemon->applied = applied;
    vq_event_order_run(events->order);
}

void vq_events_published(struct vq_events *events, struct vq_driver *driver, const char *name,
                         const struct vq_state_report *report)
{
    struct vq_told_event told = {.driver_type = driver->driver_type, .owner = events->daemon->node_id};

    for (unsigned i = 0; i < report->n_events; i++)
        if (encode_lifecycle(events, report->uuid, name, report->id, report->events[i].event, report->events[i].detail,
                             &told))
            tell(&told, events);
}

/* The name of a monitor event stands behind the domain in its payload. */
static const char *monitor_event_name(const struct vq_mesh_event *event, struct vq_arena *arena)
{
    struct vq_remote_domain dom;
    size_t used;
    static const struct vq_xdr_field fields[] = {{.name = "event", .kind = VQ_XDR_STR, .max = 4194304}};
    static const struct vq_xdr_struct text = {
        .name = "event", .size = sizeof(char *), .wire_min = 4, .fields = fields, .n_fields = 1};
    const char *name = NULL;

    memset(&dom, 0, sizeof(dom));
    if (vq_xdr_decode(&vq_xdr_remote_domain, event->payload, event->payload_length, arena, &dom, &used, NULL) < 0 ||
        vq_xdr_decode(&text, event->payload + used, event->payload_length - used, arena, &name, NULL, NULL) < 0)
        return NULL;
    return name;
}

static void told_of(const struct vq_mesh_event *event, uint8_t driver_type, uint64_t owner, struct vq_arena *arena,
                    struct vq_told_event *ret)
{
    *ret = (struct vq_told_event){
        .program = event->program,
        .event_id = event->event_id,
        .driver_type = driver_type,
        .owner = owner,
        .index = event->after_index,
        .sequence = event->sequence,
        .payload = event->payload,
        .payload_length = event->payload_length,
        .monitor_event = event->program == VQ_PROGRAM_QEMU ? monitor_event_name(event, arena) : NULL,
    };
    memcpy(ret->uuid, event->uuid, sizeof(ret->uuid));
}

void vq_events_emitted(struct vq_events *events, struct vq_driver *driver, const uint8_t uuid[16], const char *name,
                       int32_t id, int event_id, const struct vq_xdr_struct *type, const void *value)
{
    struct vq_buffer payload = VQ_BUFFER_INIT; /* its own: told events of others may use the scratch buffer */
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_told_event told;
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    size_t skip = type->n_fields > 0 && strcmp(type->fields[0].name, "callbackID") == 0 ? 4 : 0;

    if (vq_xdr_encode(type, value, &payload, &err) < 0) {
        vq_log(WARN, "event.lost", "domain=%s event=%d: %s", name, event_id, err.message);
        return;
    }
    struct vq_mesh_event event = {
        .driver = driver->name,
        .name = name,
        .id = id,
        .program = event_id < 0 ? VQ_PROGRAM_QEMU : VQ_PROGRAM_REMOTE,
        .event_id = event_id < 0 ? 0 : (uint32_t)event_id,
        .payload = (const uint8_t *)payload.data + skip,
        .payload_length = payload.length - skip,
    };
    memcpy(event.uuid, uuid, sizeof(event.uuid));
    told_of(&event, driver->driver_type, events->daemon->node_id, arena, &told);
    tell(&told, events);
    vq_overlay_send_event(events->daemon->overlay, &event);
    vq_buffer_done(&payload);
}

void vq_events_from_mesh(struct vq_events *events, uint64_t node, const struct vq_mesh_event *event)
{
    struct vq_driver *driver = vq_daemon_driver(events->daemon, event->driver);
    struct vq_told_event told;
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);

    if (driver == NULL || (event->program != VQ_PROGRAM_REMOTE && event->program != VQ_PROGRAM_QEMU))
        return;
    told_of(event, driver->driver_type, node, arena, &told);
    vq_event_order_mesh(events->order, &told);
}

void vq_events_node_lost(struct vq_events *events, uint64_t node)
{
    vq_event_order_lost(events->order, node);
}

/* ---- Copies ---- */

struct vq_mesh_event *vq_mesh_event_copy(const struct vq_mesh_event *event)
{
    struct vq_mesh_event *copy = vq_memdup(event, sizeof(*event));

    copy->driver = vq_strdup(event->driver);
    copy->name = vq_strdup(event->name);
    copy->payload = vq_memdup(event->payload, event->payload_length);
    return copy;
}

void vq_mesh_event_free(struct vq_mesh_event *event)
{
    if (event == NULL)
        return;
    free((char *)event->driver);
    free((char *)event->name);
    free((uint8_t *)event->payload);
    free(event);
}
