/* The overlay, and getting it committed.
 *
 * Each domain has a queue of reports and of events for other nodes, in the order in which the driver gave them. The
 * first report is under way as a command; those behind it are merged while they wait, but not across an event: the
 * event is sent when the report before it is committed, with that index, and the report after it names the event. */
#include "node/publish.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#include <libvirt/libvirt.h>

#include "conf/base/log.h"
#include "conf/base/text.h"
#include "node/cluster/cluster.h"
#include "node/daemon.h"
#include "node/client/events.h"
#include "node/mesh/forward.h"
#include "node/mesh/propose.h"
#include "proto/cluster.pb-c.h"
#include "store/ids.h"

enum { BUCKETS = 1024, RETRY_MS = 500, HOLD_MS = 1000, EVENTS_WAITING_MAX = 256, REQUEST_ID_BYTES = 16 };

struct item {
    struct item *next;
    struct vq_mesh_event *event;   /* else a report: */
    struct vq_state_report report; /* its events are those below */
    uint8_t n_events;
    struct {
        uint8_t event, detail;
    } events[VQ_CHANGE_EVENTS_MAX];
    uint8_t request_id[REQUEST_ID_BYTES];
};

struct entry {
    struct entry *next;
    struct vq_overlay *overlay;
    struct vq_state_report latest;
    struct item *first, *last;
    unsigned n_events; /* items that are events */
    bool is_under_way; /* the first item is proposed */
};

/* An answer that waits for what was reported of a domain. */
struct hold {
    struct hold *next;
    uint8_t uuid[16];
    uint64_t until_ms; /* loop time */
    vq_overlay_cb cb;
    void *data;
};

struct vq_overlay {
    struct vq_daemon *daemon;
    struct entry *buckets[BUCKETS];
    size_t n_entries;
    struct hold *holds;
    uv_timer_t *timer, *hold_timer; /* their memory outlives us by one turn of the loop */
};

static void entry_run(struct entry *entry);

static void timer_freed(uv_handle_t *handle)
{
    free(handle);
}

static uv_timer_t *timer_new(struct vq_overlay *overlay)
{
    uv_timer_t *timer = vq_new(uv_timer_t);

    (void)uv_timer_init(overlay->daemon->loop, timer); /* cannot fail */
    timer->data = overlay;
    return timer;
}

struct vq_overlay *vq_overlay_new(struct vq_daemon *daemon)
{
    struct vq_overlay *overlay = vq_new(struct vq_overlay);

    overlay->daemon = daemon;
    overlay->timer = timer_new(overlay);
    overlay->hold_timer = timer_new(overlay);
    return overlay;
}

static void item_free(struct item *item)
{
    vq_mesh_event_free(item->event);
    free(item);
}

static void drop_first(struct entry *entry)
{
    struct item *item = entry->first;

    entry->first = item->next;
    if (entry->first == NULL)
        entry->last = NULL;
    if (item->event != NULL)
        entry->n_events--;
    item_free(item);
}

static void add_item(struct entry *entry, struct item *item)
{
    if (entry->last != NULL)
        entry->last->next = item;
    else
        entry->first = item;
    entry->last = item;
}

static struct entry **find_link(struct vq_overlay *overlay, const uint8_t uuid[16])
{
    uint32_t hash;

    memcpy(&hash, uuid + 12, sizeof(hash)); /* random in every version of UUIDs */
    struct entry **link = &overlay->buckets[hash % BUCKETS];
    while (*link != NULL && memcmp((*link)->latest.uuid, uuid, 16) != 0)
        link = &(*link)->next;
    return link;
}

/* ---- Answers that wait ---- */

static struct hold **earliest_hold(struct vq_overlay *overlay)
{
    struct hold **earliest = &overlay->holds;

    for (struct hold **link = &overlay->holds; *link != NULL; link = &(*link)->next)
        if ((*link)->until_ms < (*earliest)->until_ms)
            earliest = link;
    return earliest;
}

/* Callbacks answer clients, and may report or hold again: those that are due are taken out first. */
static void run_holds(struct vq_overlay *overlay, bool is_last)
{
    uint64_t now_ms = uv_now(overlay->daemon->loop);
    struct hold *due = NULL;

    for (struct hold **link = &overlay->holds; *link != NULL;) {
        struct hold *hold = *link;
        if (is_last || hold->until_ms <= now_ms || *find_link(overlay, hold->uuid) == NULL) {
            *link = hold->next;
            hold->next = due;
            due = hold;
        } else {
            link = &hold->next;
        }
    }
    while (due != NULL) {
        struct hold *hold = due;
        due = hold->next;
        hold->cb(hold->data);
        free(hold);
    }
}

static void hold_timer_fired(uv_timer_t *timer)
{
    struct vq_overlay *overlay = timer->data;

    run_holds(overlay, false);
    if (overlay->holds == NULL)
        return;
    uint64_t until_ms = (*earliest_hold(overlay))->until_ms, now_ms = uv_now(overlay->daemon->loop);
    (void)uv_timer_start(timer, hold_timer_fired, until_ms > now_ms ? until_ms - now_ms : 1, 0);
}

/* Never from inside whoever reports or commits. */
static void run_holds_soon(struct vq_overlay *overlay)
{
    if (overlay->holds != NULL)
        (void)uv_timer_start(overlay->hold_timer, hold_timer_fired, 0, 0); /* fails only without a callback */
}

bool vq_overlay_hold(struct vq_overlay *overlay, const uint8_t uuid[16], vq_overlay_cb cb, void *data)
{
    if (overlay->daemon->is_stopping || *find_link(overlay, uuid) == NULL || !vq_propose_has_quorum(overlay->daemon))
        return false;
    struct hold *hold = vq_new(struct hold);
    *hold = (struct hold){.next = overlay->holds,
                          .until_ms = uv_now(overlay->daemon->loop) + HOLD_MS,
                          .cb = cb,
                          .data = data};
    memcpy(hold->uuid, uuid, sizeof(hold->uuid));
    overlay->holds = hold;
    if (!uv_is_active((uv_handle_t *)overlay->hold_timer))
        (void)uv_timer_start(overlay->hold_timer, hold_timer_fired, HOLD_MS, 0);
    return true;
}

void vq_overlay_release(struct vq_overlay *overlay)
{
    run_holds(overlay, true);
}

static void entry_free(struct entry **link)
{
    struct entry *entry = *link;

    *link = entry->next;
    entry->overlay->n_entries--;
    run_holds_soon(entry->overlay);
    while (entry->first != NULL)
        drop_first(entry);
    free(entry);
}

void vq_overlay_free(struct vq_overlay *overlay)
{
    if (overlay == NULL)
        return;
    for (unsigned i = 0; i < BUCKETS; i++)
        while (overlay->buckets[i] != NULL)
            entry_free(&overlay->buckets[i]);
    assert(overlay->holds == NULL); /* released when the daemon began to stop */
    uv_close((uv_handle_t *)overlay->timer, timer_freed);
    uv_close((uv_handle_t *)overlay->hold_timer, timer_freed);
    free(overlay);
}

/* ---- Committing ---- */

static void retry_all(uv_timer_t *timer)
{
    vq_overlay_retry(timer->data);
}

/* Whether committed, refused or unknown, the domain is found again by its UUID: the entry may be gone by then. */
struct proposal {
    struct vq_overlay *overlay;
    uint8_t uuid[16];
};

/* A start that went ahead without its claim, since the quorum was lost meanwhile, has a number of this node's own; and
 * then the claim may be committed all the same, with a later one. Only the owner claims, so a run that is later than all
 * that the owner reports is that very claim, and the guest's number from then on. */
static bool is_late_claim(const struct vq_daemon *daemon, const struct vq_domain_head *head, uint64_t run)
{
    return head->owner == daemon->node_id && vq_ids_run_is_local(run) && head->run > run;
}

static uint64_t run_to_report(struct vq_daemon *daemon, const uint8_t uuid[16], uint64_t run)
{
    struct vq_store_view *view;

    if (vq_store_view_begin(daemon->store, &view, NULL) < 0)
        return run;
    const struct vq_domain_head *head = vq_store_domain_find(view, uuid);
    if (head != NULL && is_late_claim(daemon, head, run))
        run = head->run;
    vq_store_view_end(view);
    return run;
}

/* True: the first report goes again, as a command of its own, with the number that the cluster knows. */
static bool renumber(struct entry *entry)
{
    struct vq_daemon *daemon = entry->overlay->daemon;
    uint64_t old = entry->first->report.run, run = run_to_report(daemon, entry->latest.uuid, old);

    if (run == old)
        return false;
    for (struct item *item = entry->first; item != NULL; item = item->next)
        if (item->event == NULL && item->report.run == old) {
            item->report.run = run;
            daemon->host.random(item->request_id, REQUEST_ID_BYTES);
        }
    if (entry->latest.run == old)
        entry->latest.run = run;
    return true;
}

static void committed(struct entry *entry, const struct vq_result *result)
{
    char text[VQ_UUID_TEXT];

    if (result->code != VIR_ERR_OK && renumber(entry))
        return;
    if (result->code != VIR_ERR_OK) {
        vq_uuid_format(entry->latest.uuid, text);
        vq_log(WARN, "publish.refused", "domain=%s: %s, report dropped", text, result->message);
    }
    drop_first(entry);
}

static void proposed(enum vq_raft_outcome outcome, const struct vq_result *result, const struct vq_error *err,
                     void *data)
{
    struct proposal *proposal = data;
    struct entry *entry = *find_link(proposal->overlay, proposal->uuid);

    if (entry != NULL && entry->is_under_way) {
        entry->is_under_way = false;
        if (outcome == VQ_RAFT_APPLIED) {
            committed(entry, result);
            entry_run(entry);
        } else {
            vq_log(DEBUG, "publish.waits", "%s", err == NULL ? "no answer" : err->message);
            (void)uv_timer_start(proposal->overlay->timer, retry_all, RETRY_MS, 0); /* fails only without callback */
        }
    }
    free(proposal);
}

static void propose_first(struct entry *entry)
{
    struct vq_daemon *daemon = entry->overlay->daemon;
    struct item *item = entry->first;
    const struct vq_state_report *report = &item->report;
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainState state = VQ__DOMAIN_STATE__INIT;
    Vq__DomainEvent events[VQ_CHANGE_EVENTS_MAX];
    Vq__DomainEvent *event_list[VQ_CHANGE_EVENTS_MAX];

    for (unsigned i = 0; i < item->n_events; i++) {
        vq__domain_event__init(&events[i]);
        events[i].event = item->events[i].event;
        events[i].detail = item->events[i].detail;
        event_list[i] = &events[i];
    }
    state.uuid = (ProtobufCBinaryData){.data = (uint8_t *)report->uuid, .len = sizeof(report->uuid)};
    state.node = daemon->node_id;
    state.run = report->run;
    state.state = report->state;
    state.reason = report->reason;
    state.id = report->id;
    state.events = event_list;
    state.n_events = item->n_events;
    state.gone = report->gone;
    state.mesh_sequence = vq_forward_last_event(daemon);
    state.max_memory_kib = report->max_memory_kib;
    state.memory_kib = report->memory_kib;
    state.vcpus = report->vcpus;
    state.was_updated = report->updated;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_STATE;
    command.domain_state = &state;
    command.request_id = (ProtobufCBinaryData){.data = item->request_id, .len = REQUEST_ID_BYTES};

    struct proposal *proposal = vq_new(struct proposal);
    proposal->overlay = entry->overlay;
    memcpy(proposal->uuid, report->uuid, sizeof(proposal->uuid));
    entry->is_under_way = true;
    vq_propose(daemon, &command, 0, proposed, proposal);
}

static void send_first(struct entry *entry)
{
    struct vq_mesh_event *event = entry->first->event;

    event->after_index = entry->overlay->daemon->applied;
    vq_forward_event(entry->overlay->daemon, event);
    drop_first(entry);
}

static void entry_run(struct entry *entry)
{
    if (entry->is_under_way || entry->overlay->daemon->is_stopping)
        return;
    while (entry->first != NULL && entry->first->event != NULL)
        send_first(entry);
    if (entry->first != NULL)
        propose_first(entry);
    else
        entry_free(find_link(entry->overlay, entry->latest.uuid)); /* all is in the replicated state */
}

void vq_overlay_retry(struct vq_overlay *overlay)
{
    struct entry *next;

    for (unsigned i = 0; i < BUCKETS; i++)
        for (struct entry *entry = overlay->buckets[i]; entry != NULL; entry = next) {
            next = entry->next;
            entry_run(entry);
        }
}

/* ---- Reports ---- */

static bool may_merge(const struct entry *entry, const struct vq_state_report *report)
{
    const struct item *last = entry->last;

    return last != NULL && last->event == NULL && !(last == entry->first && entry->is_under_way) &&
           last->report.run == report->run && last->n_events + report->n_events <= VQ_CHANGE_EVENTS_MAX;
}

static void put_report(struct item *item, const struct vq_state_report *report)
{
    item->report = *report;
    for (unsigned i = 0; i < report->n_events; i++) {
        item->events[item->n_events].event = report->events[i].event;
        item->events[item->n_events].detail = report->events[i].detail;
        item->n_events++;
    }
}

/* NULL: it is not ours to report about. */
static char *own_name(struct vq_overlay *overlay, const uint8_t uuid[16])
{
    struct vq_store_view *view;
    char *name = NULL;

    if (vq_store_view_begin(overlay->daemon->store, &view, NULL) < 0)
        return NULL;
    const struct vq_domain_head *head = vq_store_domain_find(view, uuid);
    if (head != NULL && head->owner == overlay->daemon->node_id)
        name = vq_strdup(head->name);
    vq_store_view_end(view);
    return name;
}

void vq_overlay_publish(struct vq_overlay *overlay, struct vq_driver *driver, const struct vq_state_report *report)
{
    assert(report->n_events <= VQ_N_ELEMENTS(report->events));
    VQ_AUTOFREE char *name = own_name(overlay, report->uuid);
    if (name == NULL)
        return; /* somebody has removed the domain by force, or it has moved on */

    struct entry **link = find_link(overlay, report->uuid);
    if (*link == NULL) {
        *link = vq_new(struct entry);
        (*link)->overlay = overlay;
        overlay->n_entries++;
    }
    struct entry *entry = *link;
    entry->latest = *report;
    entry->latest.run = run_to_report(overlay->daemon, report->uuid, report->run);
    if (may_merge(entry, &entry->latest)) {
        put_report(entry->last, &entry->latest);
    } else {
        struct item *item = vq_new(struct item);
        overlay->daemon->host.random(item->request_id, REQUEST_ID_BYTES);
        put_report(item, &entry->latest);
        add_item(entry, item);
    }
    vq_events_published(overlay->daemon->events, driver, name, report);
    entry_run(entry);
}

/* A report that is under way is answered by a refusal; events go out all the same. */
static void drop_reports(struct entry *entry)
{
    struct item **link = &entry->first;

    if (entry->is_under_way)
        link = &entry->first->next;
    entry->last = entry->is_under_way ? entry->first : NULL;
    while (*link != NULL) {
        struct item *item = *link;
        if (item->event != NULL) {
            entry->last = item;
            link = &item->next;
        } else {
            *link = item->next;
            item_free(item);
        }
    }
    entry_run(entry);
}

void vq_overlay_applied(struct vq_overlay *overlay, const struct vq_change_list *changes)
{
    uint64_t self = overlay->daemon->node_id;

    for (size_t i = 0; overlay->n_entries > 0 && i < changes->n_changes; i++) {
        const struct vq_change *change = &changes->changes[i];
        if (change->kind != VQ_CHANGE_DOMAIN_OWNER || change->old_owner != self || change->owner == self)
            continue;
        struct entry *entry = *find_link(overlay, change->uuid);
        if (entry != NULL)
            drop_reports(entry);
    }
}

void vq_overlay_send_event(struct vq_overlay *overlay, const struct vq_mesh_event *event)
{
    struct entry *entry = *find_link(overlay, event->uuid);

    if (entry == NULL) {
        struct vq_mesh_event now = *event;
        now.after_index = overlay->daemon->applied;
        vq_forward_event(overlay->daemon, &now);
        return;
    }
    if (entry->n_events >= EVENTS_WAITING_MAX) {
        vq_log(WARN, "event.lost", "domain=%s: too many events wait for a quorum, not told to other nodes",
               event->name);
        return;
    }
    struct item *item = vq_new(struct item);
    item->event = vq_mesh_event_copy(event);
    entry->n_events++;
    add_item(entry, item);
}

size_t vq_overlay_pending(const struct vq_overlay *overlay)
{
    return overlay->n_entries;
}

/* ---- Showing ---- */

bool vq_overlay_find_id(const struct vq_overlay *overlay, int32_t id, uint8_t ret_uuid[16])
{
    for (unsigned i = 0; overlay->n_entries > 0 && i < BUCKETS; i++)
        for (const struct entry *entry = overlay->buckets[i]; entry != NULL; entry = entry->next)
            if (entry->latest.id == id && id >= 0) {
                memcpy(ret_uuid, entry->latest.uuid, VQ_UUID_BYTES);
                return true;
            }
    return false;
}

static void info_from_head(const struct vq_domain_head *head, struct vq_domain_info *ret)
{
    *ret = (struct vq_domain_info){
        .name = head->name,
        .id = head->id,
        .owner = head->owner,
        .generation = head->generation,
        .version = head->version,
        .run = head->run,
        .max_memory_kib = head->max_memory_kib,
        .memory_kib = head->memory_kib,
        .vcpus = head->vcpus,
        .max_vcpus = head->max_vcpus,
        .flags = head->flags,
        .state = head->state,
        .reason = head->reason,
        .moving_to = head->moving_to,
        .moving_run = head->moving_run,
        .last_move = head->last_move,
    };
    memcpy(ret->uuid, head->uuid, sizeof(ret->uuid));
}

static void lay_over(const struct vq_state_report *report, struct vq_domain_info *info)
{
    info->id = report->id;
    info->run = report->run > info->run ? report->run : info->run;
    info->state = report->state;
    info->reason = report->reason;
    if (report->max_memory_kib != 0)
        info->max_memory_kib = report->max_memory_kib;
    if (report->memory_kib != 0)
        info->memory_kib = report->memory_kib;
    if (report->vcpus != 0)
        info->vcpus = report->vcpus;
    info->flags = report->updated ? info->flags | VQ_DOMAIN_UPDATED : info->flags & ~(uint32_t)VQ_DOMAIN_UPDATED;
}

bool vq_overlay_info(const struct vq_daemon *daemon, const struct vq_domain_head *head, struct vq_domain_info *ret)
{
    info_from_head(head, ret);
    if (head->owner != daemon->node_id) {
        if (!vq_cluster_is_online(daemon, head->owner)) {
            ret->state = VIR_DOMAIN_NOSTATE;
            ret->reason = 0;
        }
        return true;
    }
    if (daemon->overlay->n_entries == 0)
        return true;
    const struct entry *entry = *find_link(daemon->overlay, head->uuid);
    if (entry == NULL || (entry->latest.run < head->run && !is_late_claim(daemon, head, entry->latest.run)))
        return true; /* nothing, or about a run before the one that the cluster knows */
    if (entry->latest.gone)
        return false;
    lay_over(&entry->latest, ret);
    return true;
}
