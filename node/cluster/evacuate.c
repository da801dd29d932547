/* Guests that are moved to other nodes. */
#define VQ_FROM VIR_FROM_NONE
#include "node/cluster/evacuate.h"

#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "node/cluster/cluster.h"
#include "node/cluster/cluster_state.h"
#include "node/mesh/mesh.h"
#include "node/mesh/propose.h"
#include "node/peer.h"
#include "node/publish.h"
#include "proto/gen/node.h"
#include "proto/gen/remote.h"

enum { ASK_MS = 45000, POLL_MS = 10000, POLL_TICKS = 5, MOVE_MS = 24 * 60 * 60 * 1000 };

struct leaving {
    struct leaving *next;
    struct vq_evacuation *evacuation;
    uint8_t uuid[16];
    char *name;
    bool is_running, is_dirty;
    uint64_t generation, memory_kib;
    uint64_t from, to;
    uint64_t candidates[VQ_EVACUATE_TARGETS_MAX];
    size_t n_candidates, next_candidate;
    Vq__GuestMove__State state;
    char *text, *remedy;
    unsigned permille;
    uint64_t bytes_per_second, remaining_ms;
    uint64_t last_processed, last_ms; /* of the last poll */
    bool is_polled;                   /* the answer is to come */
    struct vq_peer *peer;             /* to the owner */
};

struct vq_evacuation {
    struct vq_evacuation *next;
    struct vq_cluster *cluster;
    struct vq_evacuate_wish wish; /* with its own copy of `to` */
    uint64_t *to;
    const struct vq_evacuate_callbacks *callbacks; /* NULL: nobody listens */
    void *data;
    struct leaving *guests;
    unsigned n_active, n_ticks, n_rounds;
    uint64_t deadline_ms;    /* loop time; 0: none */
    bool is_cancelled, is_timed_out;
    unsigned n_waiting;      /* call-backs of others to come */
    struct vq_evacuate_result result;
};

static void go_on(struct vq_evacuation *evacuation);

/* ---- What is told ---- */

static char *name_or_empty(const struct vq_cluster *cluster, uint64_t node)
{
    static char nothing[] = "";
    const char *name = node == 0 ? NULL : vq_cluster_node_name(cluster->daemon, node);

    return name == NULL ? nothing : (char *)name;
}

static void report(struct vq_evacuation *evacuation)
{
    VQ_AUTOFREE Vq__GuestMove *moves = NULL;
    VQ_AUTOFREE Vq__GuestMove **list = NULL;
    static char nothing[] = "";
    size_t n = 0;

    for (struct leaving *guest = evacuation->guests; guest != NULL; guest = guest->next)
        n += guest->is_dirty;
    if (n == 0 || evacuation->callbacks == NULL)
        return;
    moves = vq_calloc(n, sizeof(*moves));
    list = vq_calloc(n, sizeof(*list));
    n = 0;
    for (struct leaving *guest = evacuation->guests; guest != NULL; guest = guest->next) {
        if (!guest->is_dirty)
            continue;
        guest->is_dirty = false;
        vq__guest_move__init(&moves[n]);
        moves[n].guest = guest->name;
        moves[n].from = name_or_empty(evacuation->cluster, guest->from);
        moves[n].to = name_or_empty(evacuation->cluster, guest->to);
        moves[n].state = guest->state;
        moves[n].permille = guest->permille;
        moves[n].bytes_per_second = guest->bytes_per_second;
        moves[n].remaining_ms = guest->remaining_ms;
        moves[n].text = guest->text != NULL ? guest->text : nothing;
        moves[n].remedy = guest->remedy != NULL ? guest->remedy : nothing;
        list[n] = &moves[n];
        n++;
    }
    evacuation->callbacks->progress(list, n, evacuation->data);
}

static void report_problems(const struct leaving *guest, const struct vq_node_migrate_ask_ret *told)
{
    const struct vq_evacuation *evacuation = guest->evacuation;
    VQ_AUTOFREE Vq__GuestProblem *problems = vq_calloc(told->n_problems + 1, sizeof(*problems));
    VQ_AUTOFREE Vq__GuestProblem **list = vq_calloc(told->n_problems + 1, sizeof(*list));

    if (evacuation->callbacks == NULL || told->n_problems == 0)
        return;
    for (uint32_t i = 0; i < told->n_problems; i++) {
        vq__guest_problem__init(&problems[i]);
        problems[i].refusal = told->problems[i].severity != 0;
        problems[i].node = (char *)told->problems[i].node;
        problems[i].device = (char *)told->problems[i].device;
        problems[i].text = (char *)told->problems[i].text;
        problems[i].remedy = (char *)told->problems[i].remedy;
        list[i] = &problems[i];
    }
    evacuation->callbacks->problems(list, told->n_problems, evacuation->data);
}

static void set_state(struct leaving *guest, Vq__GuestMove__State state)
{
    guest->state = state;
    guest->is_dirty = true;
}

/* ---- The end of one, and of all ---- */

static void leaving_free(struct leaving *guest)
{
    free(guest->name);
    free(guest->text);
    free(guest->remedy);
    free(guest);
}

static void evacuation_free(struct vq_evacuation *evacuation)
{
    struct leaving *guest;

    while ((guest = evacuation->guests) != NULL) {
        evacuation->guests = guest->next;
        leaving_free(guest);
    }
    free(evacuation->to);
    free(evacuation);
}

/* Of the list already. Call-backs that are still to come free it. */
static void free_if_over(struct vq_evacuation *evacuation)
{
    if (evacuation->n_waiting == 0)
        evacuation_free(evacuation);
}

/* A call-back of others has come. False: the evacuation is over, and may be gone. */
static bool goes_on(struct leaving *guest)
{
    struct vq_evacuation *evacuation = guest->evacuation;

    evacuation->n_waiting--;
    if (evacuation->cluster != NULL)
        return true;
    free_if_over(evacuation);
    return false;
}

static void close_peer(struct leaving *guest)
{
    struct vq_evacuation *evacuation = guest->evacuation;
    struct vq_peer *peer = vq_take(guest->peer);

    evacuation->n_waiting++; /* a poll may be under way, and is called back */
    if (peer != NULL)
        peer->class->close(peer);
    evacuation->n_waiting--;
}

static void remember_failure(struct vq_evacuation *evacuation, const struct vq_error *err)
{
    if (evacuation->result.first.code == VIR_ERR_OK)
        evacuation->result.first = *err;
}

static void over(struct leaving *guest, Vq__GuestMove__State state, const struct vq_error *err)
{
    struct vq_evacuation *evacuation = guest->evacuation;

    set_state(guest, state);
    if (err != NULL && guest->text == NULL)
        guest->text = vq_strdup(err->message);
    if (err != NULL)
        remember_failure(evacuation, err);
    evacuation->result.moved += state == VQ__GUEST_MOVE__STATE__MOVED || state == VQ__GUEST_MOVE__STATE__WOULD_MOVE;
    evacuation->result.stay += state == VQ__GUEST_MOVE__STATE__STAYS;
    evacuation->result.failed += state == VQ__GUEST_MOVE__STATE__FAILED;
    if (state == VQ__GUEST_MOVE__STATE__FAILED || state == VQ__GUEST_MOVE__STATE__STAYS)
        vq_log(WARN, "evacuate.guest", "domain=%s: %s", guest->name, guest->text != NULL ? guest->text : "");
    evacuation->n_active--;
    close_peer(guest);
    go_on(evacuation);
}

static void evacuation_over(struct vq_evacuation *evacuation)
{
    struct vq_evacuation **link = &evacuation->cluster->evacuations;
    const struct vq_evacuate_callbacks *callbacks;

    report(evacuation);
    while (*link != evacuation)
        link = &(*link)->next;
    *link = evacuation->next;
    evacuation->cluster = NULL;
    evacuation->result.is_timed_out = evacuation->is_timed_out;
    for (const struct leaving *guest = evacuation->guests; guest != NULL; guest = guest->next)
        evacuation->result.stay += guest->state == VQ__GUEST_MOVE__STATE__QUEUED; /* it was ended early */
    callbacks = vq_take(evacuation->callbacks);
    if (callbacks != NULL)
        callbacks->over(&evacuation->result, evacuation->data);
    free_if_over(evacuation);
}

/* ---- Moving one ---- */

static struct vq_remote_domain domain_of(const struct leaving *guest)
{
    struct vq_remote_domain domain = {.name = guest->name, .id = -1};

    memcpy(domain.uuid, guest->uuid, sizeof(domain.uuid));
    return domain;
}

static void performed(const void *ret, const struct vq_error *err, void *data)
{
    struct leaving *guest = data;

    if (!goes_on(guest))
        return;
    guest->permille = ret != NULL ? 1000 : guest->permille;
    over(guest, ret != NULL ? VQ__GUEST_MOVE__STATE__MOVED : VQ__GUEST_MOVE__STATE__FAILED, err);
}

static void owner_changed(enum vq_raft_outcome outcome, const struct vq_result *result, const struct vq_error *err, void *data)
{
    struct leaving *guest = data;
    struct vq_error failure = VQ_ERROR_INIT;

    if (!goes_on(guest))
        return;
    if (outcome == VQ_RAFT_APPLIED && result->code != VIR_ERR_OK)
        (void)vq_error_set_from(&failure, result->from, result->code, "%s", result->message);
    else if (outcome != VQ_RAFT_APPLIED)
        failure = *err;
    over(guest, failure.code == VIR_ERR_OK ? VQ__GUEST_MOVE__STATE__MOVED : VQ__GUEST_MOVE__STATE__FAILED,
         failure.code == VIR_ERR_OK ? NULL : &failure);
}

static void change_owner(struct leaving *guest)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainOwner owner = VQ__DOMAIN_OWNER__INIT;

    owner.uuid = (ProtobufCBinaryData){sizeof(guest->uuid), guest->uuid};
    owner.from = guest->from;
    owner.to = guest->to;
    owner.if_generation = guest->generation;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_OWNER;
    command.domain_owner = &owner;
    guest->evacuation->n_waiting++;
    vq_propose(guest->evacuation->cluster->daemon, &command, 0, owner_changed, guest);
}

/* The definition stays what it is in the log: a transient guest is not defined by moving. */
static uint32_t flags_of(const struct leaving *guest)
{
    const struct vq_evacuate_wish *wish = &guest->evacuation->wish;
    uint32_t flags = VIR_MIGRATE_LIVE | VIR_MIGRATE_PEER2PEER;

    flags |= wish->copy_storage ? VIR_MIGRATE_NON_SHARED_DISK : 0;
    flags |= wish->unsafe ? VIR_MIGRATE_UNSAFE : 0;
    return flags;
}

/* The destination has just compared the disks with the source's: it knows more than the source, which sees only on what kind of
 * file system they are, and is told to leave that to others. */
static void move_guest(struct leaving *guest)
{
    const struct vq_evacuation *evacuation = guest->evacuation;
    VQ_AUTOFREE char *uri = vq_asprintf("qemu:///system?node=%s", name_or_empty(evacuation->cluster, guest->to));
    struct vq_typed_param bandwidth = {.field = VIR_MIGRATE_PARAM_BANDWIDTH, .type = VIR_TYPED_PARAM_ULLONG,
                                       .value.ul = evacuation->wish.bandwidth};
    const struct vq_remote_domain_migrate_perform3_params_args args = {
        .dom = domain_of(guest), .dconnuri = uri, .params = &bandwidth, .n_params = evacuation->wish.bandwidth != 0,
        .flags = flags_of(guest) | VIR_MIGRATE_UNSAFE};

    set_state(guest, VQ__GUEST_MOVE__STATE__MOVING);
    if (!guest->is_running) {
        change_owner(guest);
        return;
    }
    guest->evacuation->n_waiting++;
    guest->peer->class->call(guest->peer, VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_MIGRATE_PERFORM3_PARAMS, &args, MOVE_MS,
                             performed, guest);
}

/* ---- Choosing where to ---- */

static void ask_next(struct leaving *guest);

static const struct vq_node_migrate_problem *first_refusal(const struct vq_node_migrate_ask_ret *told)
{
    for (uint32_t i = 0; i < told->n_problems; i++)
        if (told->problems[i].severity != 0)
            return &told->problems[i];
    return NULL;
}

static void keep_reason(struct leaving *guest, const struct vq_node_migrate_ask_ret *told)
{
    const struct vq_node_migrate_problem *problem = first_refusal(told);
    unsigned n_more = 0;

    if (guest->text != NULL)
        return; /* of the first candidate */
    for (uint32_t i = 0; i < told->n_problems; i++)
        n_more += told->problems[i].severity != 0 && &told->problems[i] != problem;
    guest->text = vq_asprintf("%s: %s%s%s", problem->node, problem->device, problem->device[0] != '\0' ? ": " : "",
                              problem->text);
    if (n_more > 0) {
        VQ_AUTOFREE char *before = vq_take(guest->text);
        guest->text = vq_asprintf("%s, and %u more", before, n_more);
    }
    guest->remedy = vq_strdup(problem->remedy);
}

static void asked(const void *ret, const struct vq_error *err, void *data)
{
    struct leaving *guest = data;
    const struct vq_node_migrate_ask_ret *told = ret;

    if (!goes_on(guest))
        return;
    if (told == NULL) {
        if (guest->text == NULL)
            guest->text = vq_strdup(err->message);
        ask_next(guest);
        return;
    }
    if (guest->next_candidate == 1)
        report_problems(guest, told);
    if (first_refusal(told) != NULL) {
        keep_reason(guest, told);
        ask_next(guest);
        return;
    }
    guest->to = guest->candidates[guest->next_candidate - 1];
    free(vq_take(guest->text));
    free(vq_take(guest->remedy));
    if (guest->evacuation->wish.dry_run)
        over(guest, VQ__GUEST_MOVE__STATE__WOULD_MOVE, NULL);
    else
        move_guest(guest);
}

static void ask_next(struct leaving *guest)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (guest->next_candidate == guest->n_candidates || guest->evacuation->is_cancelled) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "%s",
                           guest->text != NULL ? guest->text : "there is no other node that could take it");
        over(guest, VQ__GUEST_MOVE__STATE__STAYS, &err);
        return;
    }
    const struct vq_node_migrate_ask_args args = {
        .dom = domain_of(guest), .node = guest->candidates[guest->next_candidate++], .flags = flags_of(guest)};
    guest->evacuation->n_waiting++;
    guest->peer->class->call(guest->peer, VQ_PROGRAM_NODE, VQ_NODE_MIGRATE_ASK, &args, ASK_MS, asked, guest);
}

/* Where the guest goes, or is about to; 0: nowhere yet. */
static uint64_t heading_for(const struct leaving *guest)
{
    if (guest->state == VQ__GUEST_MOVE__STATE__MOVING)
        return guest->to;
    if (guest->state != VQ__GUEST_MOVE__STATE__CHECKING || guest->n_candidates == 0)
        return 0;
    return guest->candidates[guest->next_candidate == 0 ? 0 : guest->next_candidate - 1];
}

/* Memory that is free there, less what guests that are on their way will take. */
static int64_t room_of(const struct vq_evacuation *evacuation, uint64_t node)
{
    const struct vq_daemon *daemon = evacuation->cluster->daemon;
    struct vq_mesh_peer peer = {0};
    int64_t room;

    if (node == daemon->node_id)
        room = (int64_t)evacuation->cluster->free_memory_kib;
    else
        room = daemon->mesh != NULL && vq_mesh_find_peer(daemon->mesh, node, &peer) ? (int64_t)peer.free_memory_kib : 0;
    for (const struct leaving *guest = evacuation->guests; guest != NULL; guest = guest->next)
        if (guest->is_running && heading_for(guest) == node)
            room -= (int64_t)guest->memory_kib;
    return room;
}

static bool is_draining(const struct vq_cluster *cluster, uint64_t node)
{
    struct vq_store_view *view;

    if (vq_store_view_begin(cluster->daemon->store, &view, NULL) < 0)
        return false;
    Vq__NodeRecord *record = vq_store_node_find(view, node);
    vq_store_view_end(view);
    bool draining = record != NULL && record->draining;
    vq_store_node_free(record);
    return draining;
}

static bool is_wanted_target(const struct vq_evacuation *evacuation, uint64_t node)
{
    for (size_t i = 0; i < evacuation->wish.n_to; i++)
        if (evacuation->to[i] == node)
            return true;
    return evacuation->wish.n_to == 0;
}

/* A target that was named is asked even when it is away or drained: the answer says so. */
static void choose_candidates(struct leaving *guest)
{
    const struct vq_evacuation *evacuation = guest->evacuation;
    const struct vq_cluster *cluster = evacuation->cluster;
    bool is_named = evacuation->wish.n_to > 0;

    for (size_t i = 0; i < cluster->n_members && guest->n_candidates < VQ_EVACUATE_TARGETS_MAX; i++) {
        uint64_t node = cluster->members[i].id;
        if (node == guest->from || cluster->members[i].removed_at_ms != 0 || !is_wanted_target(evacuation, node) ||
            (!is_named && (!vq_cluster_is_online(cluster->daemon, node) || is_draining(cluster, node))))
            continue;
        size_t place = guest->n_candidates++;
        int64_t room = room_of(evacuation, node);
        while (place > 0 && room_of(evacuation, guest->candidates[place - 1]) < room) {
            guest->candidates[place] = guest->candidates[place - 1];
            place--;
        }
        guest->candidates[place] = node;
    }
}

static void owner_reached(struct vq_peer *take_peer, const struct vq_error *err, void *data)
{
    struct leaving *guest = data;

    if (!goes_on(guest)) {
        if (take_peer != NULL)
            take_peer->class->close(take_peer);
        return;
    }
    guest->peer = take_peer;
    if (take_peer == NULL)
        over(guest, VQ__GUEST_MOVE__STATE__STAYS, err);
    else
        ask_next(guest);
}

static void begin(struct leaving *guest)
{
    struct vq_daemon *daemon = guest->evacuation->cluster->daemon;
    const struct vq_caller root = {.has_unix = true, .user = "root", .group = "root", .entry_node = daemon->node_id};
    const struct vq_request request = {.caller = &root, .driver = vq_daemon_driver(daemon, "qemu")};

    guest->evacuation->n_active++;
    choose_candidates(guest); /* as long as it does not count itself */
    set_state(guest, VQ__GUEST_MOVE__STATE__CHECKING);
    guest->evacuation->n_waiting++;
    vq_peer_mesh_open(daemon, guest->from, &request, owner_reached, guest);
}

/* ---- All of them ---- */

static bool is_listed(const struct vq_evacuation *evacuation, const uint8_t uuid[16])
{
    for (const struct leaving *guest = evacuation->guests; guest != NULL; guest = guest->next)
        if (memcmp(guest->uuid, uuid, sizeof(guest->uuid)) == 0)
            return true;
    return false;
}

static void add_guest(struct vq_evacuation *evacuation, const struct vq_domain_info *info)
{
    struct leaving **link = &evacuation->guests;
    struct leaving *guest = vq_new(struct leaving);

    while (*link != NULL)
        link = &(*link)->next;
    *link = guest;
    guest->evacuation = evacuation;
    memcpy(guest->uuid, info->uuid, sizeof(guest->uuid));
    guest->name = vq_strdup(info->name);
    guest->is_running = info->id >= 0;
    guest->generation = info->generation;
    guest->memory_kib = info->max_memory_kib;
    guest->from = info->owner;
    set_state(guest, VQ__GUEST_MOVE__STATE__QUEUED);
}

/* Those that are there now and were not seen before: a guest may have been started meanwhile. Returns how many. */
static unsigned find_guests(struct vq_evacuation *evacuation)
{
    const struct vq_daemon *daemon = evacuation->cluster->daemon;
    const struct vq_evacuate_wish *wish = &evacuation->wish;
    struct vq_store_view *view;
    struct vq_store_cursor *cursor = NULL;
    const struct vq_domain_head *head;
    struct vq_domain_info info;
    unsigned n = 0;

    if (vq_store_view_begin(daemon->store, &view, NULL) < 0)
        return 0;
    while ((head = vq_store_domain_next(view, &cursor)) != NULL) {
        bool is_one = wish->node != 0 ? head->owner == wish->node : memcmp(head->uuid, wish->uuid, sizeof(wish->uuid)) == 0;
        if (!is_one || is_listed(evacuation, head->uuid) || !vq_overlay_info(daemon, head, &info) ||
            (info.id < 0 && !wish->offline_too))
            continue;
        add_guest(evacuation, &info);
        n++;
    }
    vq_store_view_end(view);
    return n;
}

static void go_on(struct vq_evacuation *evacuation)
{
    unsigned parallel = evacuation->wish.parallel;
    struct leaving *guest = evacuation->guests;

    evacuation->n_waiting++; /* it may be over while we look */
    for (; guest != NULL && evacuation->n_active < parallel && !evacuation->is_cancelled; guest = guest->next)
        if (guest->state == VQ__GUEST_MOVE__STATE__QUEUED)
            begin(guest);
    evacuation->n_waiting--;
}

/* Looked at by the tick, so that nothing ends from inside. */
static void look(struct vq_evacuation *evacuation)
{
    bool is_drain = evacuation->wish.node != 0 && !evacuation->wish.dry_run;

    if (evacuation->n_active > 0)
        return;
    if (!evacuation->is_cancelled && is_drain && evacuation->n_rounds++ < 16 && find_guests(evacuation) > 0)
        go_on(evacuation);
    else
        evacuation_over(evacuation);
}

/* ---- Progress ---- */

static void polled(const void *ret, const struct vq_error *err, void *data)
{
    struct leaving *guest = data;
    const struct vq_remote_domain_get_job_info_ret *info = ret;

    (void)err; /* asked again soon */
    if (!goes_on(guest))
        return;
    guest->is_polled = false;
    if (info == NULL || info->type == VIR_DOMAIN_JOB_NONE || guest->state != VQ__GUEST_MOVE__STATE__MOVING)
        return;
    uint64_t now = uv_now(guest->evacuation->cluster->daemon->loop);
    /* Empty pages are done without being sent, so what remains tells more than what was processed. */
    if (info->dataTotal > 0 && info->dataRemaining <= info->dataTotal)
        guest->permille = (unsigned)((double)(info->dataTotal - info->dataRemaining) / (double)info->dataTotal * 1000);
    if (guest->last_ms != 0 && now > guest->last_ms && info->dataProcessed >= guest->last_processed)
        guest->bytes_per_second = (info->dataProcessed - guest->last_processed) * 1000 / (now - guest->last_ms);
    guest->last_ms = now;
    guest->last_processed = info->dataProcessed;
    guest->remaining_ms = guest->bytes_per_second == 0 ? 0 : info->dataRemaining / (guest->bytes_per_second / 1000 + 1);
    guest->is_dirty = true;
}

static void poll_guest(struct leaving *guest)
{
    const struct vq_remote_domain_get_job_info_args args = {.dom = domain_of(guest)};

    if (guest->state != VQ__GUEST_MOVE__STATE__MOVING || !guest->is_running || guest->is_polled || guest->peer == NULL)
        return;
    guest->is_polled = true;
    guest->evacuation->n_waiting++;
    guest->peer->class->call(guest->peer, VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_GET_JOB_INFO, &args, POLL_MS, polled, guest);
}

static void cancelled(const void *ret, const struct vq_error *err, void *data)
{
    (void)ret;
    (void)err; /* performed() hears what became of it */
    (void)goes_on(data);
}

static void cancel_moves(struct vq_evacuation *evacuation)
{
    for (struct leaving *guest = evacuation->guests; guest != NULL; guest = guest->next) {
        if (guest->state != VQ__GUEST_MOVE__STATE__MOVING || !guest->is_running || guest->peer == NULL)
            continue;
        const struct vq_remote_domain_abort_job_args args = {.dom = domain_of(guest)};
        evacuation->n_waiting++;
        guest->peer->class->call(guest->peer, VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_ABORT_JOB, &args, POLL_MS, cancelled,
                                 guest);
    }
}

static void tick(struct vq_evacuation *evacuation)
{
    uint64_t now = uv_now(evacuation->cluster->daemon->loop);

    if (evacuation->deadline_ms != 0 && now >= evacuation->deadline_ms && !evacuation->is_timed_out) {
        evacuation->is_timed_out = evacuation->is_cancelled = true;
        cancel_moves(evacuation);
    }
    if (++evacuation->n_ticks % POLL_TICKS == 0) {
        bool is_drain = evacuation->wish.node != 0 && !evacuation->wish.dry_run;
        evacuation->is_cancelled |= is_drain && !is_draining(evacuation->cluster, evacuation->wish.node);
        for (struct leaving *guest = evacuation->guests; guest != NULL; guest = guest->next)
            poll_guest(guest);
    }
    report(evacuation);
    look(evacuation);
}

void vq_evacuations_tick(struct vq_cluster *cluster)
{
    struct vq_evacuation *next;

    for (struct vq_evacuation *evacuation = cluster->evacuations; evacuation != NULL; evacuation = next) {
        next = evacuation->next;
        tick(evacuation);
    }
}

/* ---- Begin and end ---- */

static struct vq_evacuation *find_drain(const struct vq_cluster *cluster, uint64_t node, size_t *ret_n)
{
    struct vq_evacuation *found = NULL;

    *ret_n = 0;
    for (struct vq_evacuation *evacuation = cluster->evacuations; evacuation != NULL; evacuation = evacuation->next, ++*ret_n)
        if (node != 0 && evacuation->wish.node == node && !evacuation->wish.dry_run && !evacuation->is_cancelled)
            found = evacuation;
    return found;
}

static void watch(struct vq_evacuation *evacuation, const struct vq_evacuate_callbacks *callbacks, void *data)
{
    const struct vq_evacuate_callbacks *before = vq_take(evacuation->callbacks);

    if (before != NULL)
        before->over(&evacuation->result, evacuation->data);
    evacuation->callbacks = callbacks;
    evacuation->data = data;
    for (struct leaving *guest = evacuation->guests; guest != NULL; guest = guest->next)
        guest->is_dirty = true;
}

int vq_evacuate(struct vq_cluster *cluster, const struct vq_evacuate_wish *wish,
                const struct vq_evacuate_callbacks *callbacks, void *data, struct vq_error *err)
{
    size_t n;
    struct vq_evacuation *evacuation = find_drain(cluster, wish->dry_run ? 0 : wish->node, &n);

    if (evacuation != NULL) {
        watch(evacuation, callbacks, data);
        return 0;
    }
    if (n >= VQ_EVACUATIONS_MAX)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "%zu of these are under way already", n);
    evacuation = vq_new(struct vq_evacuation);
    evacuation->next = cluster->evacuations;
    cluster->evacuations = evacuation;
    evacuation->cluster = cluster;
    evacuation->wish = *wish;
    evacuation->to = wish->n_to == 0 ? NULL : vq_memdup(wish->to, wish->n_to * sizeof(*wish->to));
    evacuation->wish.to = evacuation->to;
    if (wish->parallel == 0)
        evacuation->wish.parallel = VQ_EVACUATE_PARALLEL;
    evacuation->callbacks = callbacks;
    evacuation->data = data;
    evacuation->result.first = VQ_ERROR_INIT;
    if (wish->timeout_ms != 0)
        evacuation->deadline_ms = uv_now(cluster->daemon->loop) + wish->timeout_ms;
    (void)find_guests(evacuation);
    go_on(evacuation);
    return 0;
}

void vq_evacuations_stop(struct vq_cluster *cluster)
{
    while (cluster->evacuations != NULL) {
        struct vq_evacuation *evacuation = cluster->evacuations;
        evacuation->is_cancelled = true;
        evacuation->n_waiting++;
        for (struct leaving *guest = evacuation->guests; guest != NULL; guest = guest->next) {
            if (guest->peer == NULL)
                continue;
            vq_set_text(&guest->text, "the daemon that was asked is stopping; a migration that has begun goes on");
            close_peer(guest); /* what it was about to do fails */
        }
        evacuation->n_waiting--;
        evacuation_over(evacuation);
    }
}
