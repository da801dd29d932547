/* Proposals of this node on their way to the leader, and those of other nodes that are done here.
 *
 *     WAITING ──► LOCAL ──► APPLYING ──► answered        LOCAL: this node leads
 *        ▲ ▲        │           ▲                        SENT:  it is at the leader, over the mesh
 *        │ └────────┤           │                        APPLYING: done, this node has not applied it yet
 *        ├───► SENT ┴───────────┘
 *        └── leader lost, not the leader: again with the same request id, which apply does at most once
 *
 * A proposal that may have reached a log is "maybe": it cannot be refused any more, only be unknown. */
#define VQ_FROM VIR_FROM_NONE
#include "node/mesh/propose.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "node/cluster/cluster.h"
#include "node/cluster/cluster_state.h"
#include "node/cluster/level.h"
#include "node/mesh/idmap.h"
#include "node/mesh/mesh.h"
#include "proto/cluster.h"

enum {
    PROPOSAL_TICK_MS = 25,
    PROPOSAL_RETRY_MS = 50, /* at the same leader */
};

enum proposal_state { WAITING, LOCAL, SENT, APPLYING, DONE };

struct proposal {
    struct vq_id_entry entry; /* its id on the mesh */
    struct proposal *next, *prev;
    struct vq_proposals *owner;
    enum proposal_state state;
    bool is_maybe;
    uint64_t leader;      /* SENT: to whom */
    uint64_t deadline_ms; /* loop time */
    uint64_t retry_ms;
    enum vq_raft_outcome outcome;
    struct vq_result result;
    struct vq_error err;
    vq_raft_propose_cb cb;
    void *data;
    uint8_t request_id[16];
    size_t length;
    uint8_t bytes[];
};

/* One that another node sent here. */
struct guest_proposal {
    struct vq_id_entry entry; /* a number of our own: two nodes may use the same id */
    struct vq_proposals *owner;
    uint64_t node, id;
};

struct vq_proposals {
    struct vq_daemon *daemon;
    struct proposal *first, *last;
    struct vq_id_map by_id;
    struct vq_id_map guests;
    uint64_t last_id, last_guest;
    size_t n_waiting;
    uv_timer_t answer; /* 0 ms: what is DONE is told */
    uv_timer_t tick;
    bool is_closing;
    unsigned open_handles;
    void (*closed)(void *data);
    void *closed_data;
};

static void answer_fired(uv_timer_t *timer);
static void tick_fired(uv_timer_t *timer);

struct vq_proposals *vq_proposals_new(struct vq_daemon *daemon)
{
    struct vq_proposals *proposals = vq_new(struct vq_proposals);

    proposals->daemon = daemon;
    proposals->answer.data = proposals->tick.data = proposals;
    proposals->open_handles = 2;
    (void)uv_timer_init(daemon->loop, &proposals->answer); /* cannot fail */
    (void)uv_timer_init(daemon->loop, &proposals->tick);
    return proposals;
}

static uint64_t now_of(const struct vq_proposals *proposals)
{
    return uv_now(proposals->daemon->loop);
}

/* ---- Answering ---- */

static void proposal_unlink(struct proposal *proposal)
{
    struct vq_proposals *owner = proposal->owner;

    vq_id_map_remove(&owner->by_id, &proposal->entry);
    *(proposal->prev != NULL ? &proposal->prev->next : &owner->first) = proposal->next;
    *(proposal->next != NULL ? &proposal->next->prev : &owner->last) = proposal->prev;
    owner->n_waiting--;
}

static void proposal_tell(struct proposal *proposal)
{
    const struct vq_error *err = proposal->outcome == VQ_RAFT_APPLIED ? NULL : &proposal->err;

    proposal_unlink(proposal);
    proposal->cb(proposal->outcome, &proposal->result, err, proposal->data);
    free(proposal);
}

static void answer_fired(uv_timer_t *timer)
{
    struct vq_proposals *proposals = timer->data;
    struct proposal *next;

    /* Callbacks add new ones at the end only, and free none but their own. */
    for (struct proposal *proposal = proposals->first; proposal != NULL; proposal = next) {
        next = proposal->next;
        if (proposal->state == DONE)
            proposal_tell(proposal);
    }
}

static void proposal_done(struct proposal *proposal, enum vq_raft_outcome outcome)
{
    proposal->state = DONE;
    proposal->outcome = outcome;
    (void)uv_timer_start(&proposal->owner->answer, answer_fired, 0, 0); /* fails only without a callback */
}

static void proposal_unknown(struct proposal *proposal, const char *why)
{
    char id[VQ_UUID_TEXT];

    vq_uuid_format(proposal->request_id, id);
    vq_error_set(&proposal->err, VIR_ERR_OPERATION_TIMEOUT,
                 "%s; whether the change was made is unknown, look before repeating it (request %s)", why, id);
    proposal_done(proposal, VQ_RAFT_UNKNOWN);
}

static void proposal_expired(struct proposal *proposal)
{
    char voters[384], why[448];

    vq_cluster_voters_text(proposal->owner->daemon, voters, sizeof(voters));
    if (proposal->state == APPLYING) {
        proposal_done(proposal, VQ_RAFT_APPLIED); /* it is done, only this node is slow to see it */
        return;
    }
    if (proposal->is_maybe || proposal->state != WAITING) {
        (void)snprintf(why, sizeof(why), "no answer from the cluster in time, %s", voters);
        proposal_unknown(proposal, why);
        return;
    }
    vq_error_set(&proposal->err, VIR_ERR_OPERATION_TIMEOUT, "no leader took the change in time, nothing was changed; %s",
                 voters);
    proposal_done(proposal, VQ_RAFT_REFUSED);
}

/* True when waiting makes no sense: no leader for longer than an election takes, and too few voters for one. */
static bool is_hopeless(const struct vq_proposals *proposals)
{
    return !vq_propose_has_quorum(proposals->daemon);
}

static void proposal_no_quorum(struct proposal *proposal)
{
    char voters[384];

    vq_cluster_voters_text(proposal->owner->daemon, voters, sizeof(voters));
    if (proposal->is_maybe) {
        proposal_unknown(proposal, voters);
        return;
    }
    vq_error_set(&proposal->err, VIR_ERR_OPERATION_INVALID,
                 "%s. Guests of this node keep running; start, stop and console work. See: virtquorum status --why",
                 voters);
    proposal_done(proposal, VQ_RAFT_REFUSED);
}

/* ---- Going ---- */

static void proposal_wait(struct proposal *proposal)
{
    proposal->state = WAITING;
    proposal->leader = 0;
    proposal->retry_ms = now_of(proposal->owner) + PROPOSAL_RETRY_MS;
}

static void proposal_applying(struct proposal *proposal, const struct vq_result *result)
{
    proposal->result = *result;
    if (proposal->owner->daemon->applied >= result->index)
        proposal_done(proposal, VQ_RAFT_APPLIED);
    else
        proposal->state = APPLYING;
}

static void proposal_outcome(struct proposal *proposal, enum vq_raft_outcome outcome, const struct vq_result *result,
                             const struct vq_error *err)
{
    switch (outcome) {
    case VQ_RAFT_APPLIED:
        proposal_applying(proposal, result);
        break;
    case VQ_RAFT_REFUSED:
        proposal->err = *err;
        proposal_done(proposal, VQ_RAFT_REFUSED);
        break;
    case VQ_RAFT_UNKNOWN:
        proposal->is_maybe = true;
        proposal_wait(proposal);
        break;
    case VQ_RAFT_NOT_LEADER:
        proposal_wait(proposal);
        break;
    }
}

/* An own proposal that consensus called back about by its number: it may be gone by then. */
struct local_ticket {
    struct vq_proposals *proposals;
    uint64_t id;
};

static void local_done(enum vq_raft_outcome outcome, const struct vq_result *result, const struct vq_error *err,
                       void *data)
{
    struct local_ticket *ticket = data;
    struct vq_id_entry *entry = vq_id_map_find(&ticket->proposals->by_id, ticket->id);
    struct proposal *proposal = entry == NULL ? NULL : VQ_CONTAINER_OF(entry, struct proposal, entry);

    if (proposal != NULL && proposal->state == LOCAL)
        proposal_outcome(proposal, outcome, result, err);
    free(ticket);
}

static uint64_t time_left(const struct proposal *proposal)
{
    uint64_t now = now_of(proposal->owner);

    return proposal->deadline_ms > now ? proposal->deadline_ms - now : 1;
}

static void go_local(struct proposal *proposal)
{
    struct local_ticket *ticket = vq_new(struct local_ticket);

    ticket->proposals = proposal->owner;
    ticket->id = proposal->entry.id;
    proposal->state = LOCAL;
    vq_raft_propose(proposal->owner->daemon->raft, proposal->bytes, proposal->length, time_left(proposal), local_done,
                    ticket);
}

static bool go_remote(struct proposal *proposal, uint64_t leader)
{
    Vq__Propose propose = VQ__PROPOSE__INIT;
    Vq__Mesh message = VQ__MESH__INIT;

    propose.id = proposal->entry.id;
    propose.command.data = proposal->bytes;
    propose.command.len = proposal->length;
    message.message_case = VQ__MESH__MESSAGE_PROPOSE;
    message.propose = &propose;
    if (!vq_mesh_send(proposal->owner->daemon->mesh, leader, &message))
        return false;
    proposal->state = SENT;
    proposal->leader = leader;
    return true;
}

static void proposal_go(struct proposal *proposal)
{
    const struct vq_daemon *daemon = proposal->owner->daemon;
    const struct vq_raft_status *status = &daemon->raft_status;

    if (daemon->raft != NULL && status->is_leader)
        go_local(proposal);
    else if (daemon->mesh == NULL || status->leader == 0 || status->leader == daemon->node_id ||
             !go_remote(proposal, status->leader))
        proposal_wait(proposal);
}

/* SENT to a node that no longer leads: it may have put it into the log before. */
static bool is_sent_in_vain(const struct proposal *proposal)
{
    uint64_t leader = proposal->owner->daemon->raft_status.leader;

    return proposal->state == SENT && leader != 0 && leader != proposal->leader;
}

static void proposal_look(struct proposal *proposal)
{
    if (is_sent_in_vain(proposal)) {
        proposal->is_maybe = true;
        proposal_go(proposal);
        return;
    }
    if (proposal->state == WAITING) {
        if (is_hopeless(proposal->owner))
            proposal_no_quorum(proposal);
        else if (now_of(proposal->owner) >= proposal->retry_ms)
            proposal_go(proposal);
    }
    if (proposal->state != DONE && proposal->deadline_ms <= now_of(proposal->owner))
        proposal_expired(proposal);
}

static void look_at_all(struct vq_proposals *proposals)
{
    struct proposal *next;

    for (struct proposal *proposal = proposals->first; proposal != NULL; proposal = next) {
        next = proposal->next;
        proposal_look(proposal);
    }
}

static void tick_fired(uv_timer_t *timer)
{
    struct vq_proposals *proposals = timer->data;

    look_at_all(proposals);
    if (proposals->first == NULL)
        (void)uv_timer_stop(timer);
}

void vq_proposals_status_changed(struct vq_proposals *proposals)
{
    uint64_t now = now_of(proposals);

    /* A leader is known again, or another: those that wait need not wait for their time. */
    for (struct proposal *proposal = proposals->first; proposal != NULL; proposal = proposal->next)
        if (proposal->state == WAITING && proposals->daemon->raft_status.leader != 0)
            proposal->retry_ms = now;
    look_at_all(proposals);
}

void vq_proposals_applied(struct vq_proposals *proposals, uint64_t index)
{
    for (struct proposal *proposal = proposals->first; proposal != NULL; proposal = proposal->next)
        if (proposal->state == APPLYING && proposal->result.index <= index)
            proposal_done(proposal, VQ_RAFT_APPLIED);
}

void vq_proposals_node_lost(struct vq_proposals *proposals, uint64_t node)
{
    for (struct proposal *proposal = proposals->first; proposal != NULL; proposal = proposal->next)
        if (proposal->state == SENT && proposal->leader == node) {
            proposal->is_maybe = true;
            proposal_wait(proposal);
        }
}

/* ---- The way in ---- */

/* Fill in what the caller left empty, pack, and put it in the list. */
static struct proposal *proposal_new(struct vq_proposals *proposals, Vq__Command *command)
{
    struct vq_daemon *daemon = proposals->daemon;
    uint8_t request_id[16];
    ProtobufCBinaryData id_before = command->request_id;

    if (command->request_id.len != sizeof(request_id)) {
        daemon->host.random(request_id, sizeof(request_id));
        command->request_id = (ProtobufCBinaryData){sizeof(request_id), request_id};
    }
    if (command->proposer == 0)
        command->proposer = daemon->node_id;
    if (command->time_ms == 0)
        command->time_ms = daemon->host.time_ms();
    size_t length = vq__command__get_packed_size(command);
    struct proposal *proposal = vq_calloc(1, sizeof(*proposal) + length);
    proposal->length = vq__command__pack(command, proposal->bytes);
    memcpy(proposal->request_id, command->request_id.data, sizeof(request_id));
    command->request_id = id_before; /* ours is on this stack */

    proposal->owner = proposals;
    proposal->entry.id = ++proposals->last_id;
    proposal->err = VQ_ERROR_INIT;
    vq_id_map_add(&proposals->by_id, &proposal->entry);
    proposal->prev = proposals->last;
    *(proposals->last != NULL ? &proposals->last->next : &proposals->first) = proposal;
    proposals->last = proposal;
    proposals->n_waiting++;
    return proposal;
}

void vq_propose(struct vq_daemon *daemon, Vq__Command *command, uint64_t timeout_ms, vq_raft_propose_cb cb, void *data)
{
    struct vq_proposals *proposals = daemon->cluster->proposals;
    struct proposal *proposal = proposal_new(proposals, command);
    const struct vq_raft_status *status = &daemon->raft_status;

    proposal->cb = cb;
    proposal->data = data;
    proposal->deadline_ms = now_of(proposals) + (timeout_ms != 0 ? timeout_ms : VQ_PROPOSE_TIMEOUT_MS);
    if (!uv_is_active((uv_handle_t *)&proposals->tick))
        (void)uv_timer_start(&proposals->tick, tick_fired, PROPOSAL_TICK_MS, PROPOSAL_TICK_MS);

    if (proposals->is_closing || proposals->n_waiting > VQ_PROPOSALS_MAX) {
        vq_error_set(&proposal->err, VIR_ERR_OPERATION_FAILED,
                     proposals->is_closing ? "the daemon is stopping" : "%d changes wait for the cluster already",
                     VQ_PROPOSALS_MAX);
        proposal_done(proposal, VQ_RAFT_REFUSED);
    } else if (!status->is_running && status->problem[0] != '\0') {
        vq_error_set(&proposal->err, VIR_ERR_OPERATION_FAILED, "this node takes no part in the cluster: %s",
                     status->problem);
        proposal_done(proposal, VQ_RAFT_REFUSED);
    } else if (vq_level_check(daemon, command, &proposal->err) < 0) {
        proposal_done(proposal, VQ_RAFT_REFUSED);
    } else if (is_hopeless(proposals)) {
        proposal_no_quorum(proposal);
    } else {
        proposal_go(proposal);
    }
}

/* ---- This node as the leader ---- */

static void send_proposed(struct vq_proposals *proposals, uint64_t node, Vq__Proposed *proposed)
{
    Vq__Mesh message = VQ__MESH__INIT;

    message.message_case = VQ__MESH__MESSAGE_PROPOSED;
    message.proposed = proposed;
    if (proposals->daemon->mesh != NULL)
        (void)vq_mesh_send(proposals->daemon->mesh, node, &message); /* offline: it asks again with the same id */
}

static void send_result(struct vq_proposals *proposals, uint64_t node, uint64_t id, const struct vq_result *result,
                        bool is_refused)
{
    Vq__Proposed proposed = VQ__PROPOSED__INIT;
    Vq__Result packed = VQ__RESULT__INIT;

    packed.request_id = (ProtobufCBinaryData){sizeof(result->request_id), (uint8_t *)result->request_id};
    packed.index = is_refused ? 0 : result->index;
    packed.code = result->code;
    packed.from = result->from;
    packed.message = (char *)result->message;
    packed.number = result->number;
    packed.id = result->id;
    packed.version = result->version;
    packed.uuid = (ProtobufCBinaryData){sizeof(result->uuid), (uint8_t *)result->uuid};
    proposed.id = id;
    proposed.result = &packed;
    send_proposed(proposals, node, &proposed);
}

static void send_no_result(struct vq_proposals *proposals, uint64_t node, uint64_t id, bool is_unknown)
{
    Vq__Proposed proposed = VQ__PROPOSED__INIT;

    proposed.id = id;
    proposed.unknown = is_unknown;
    proposed.not_leader = !is_unknown;
    proposed.leader = proposals->daemon->raft_status.leader;
    send_proposed(proposals, node, &proposed);
}

/* Index 0 in the answer says that nothing reached the log. */
static void send_refusal(struct vq_proposals *proposals, uint64_t node, uint64_t id, const struct vq_error *err)
{
    struct vq_result result = {.code = err->code, .from = err->from};

    (void)snprintf(result.message, sizeof(result.message), "%s", err->message);
    send_result(proposals, node, id, &result, true);
}

static void guest_done(enum vq_raft_outcome outcome, const struct vq_result *result, const struct vq_error *err,
                       void *data)
{
    struct guest_proposal *guest = data;
    struct vq_proposals *proposals = guest->owner;

    if (outcome == VQ_RAFT_APPLIED)
        send_result(proposals, guest->node, guest->id, result, false);
    else if (outcome == VQ_RAFT_REFUSED)
        send_refusal(proposals, guest->node, guest->id, err);
    else
        send_no_result(proposals, guest->node, guest->id, outcome == VQ_RAFT_UNKNOWN);
    vq_id_map_remove(&proposals->guests, &guest->entry);
    free(guest);
}

/* A node proposes in its own name only. */
static bool is_own_command(uint64_t node, const Vq__Propose *message)
{
    const uint8_t *bytes = message->command.data;
    size_t length = message->command.len;
    bool is_sound = vq_cluster_check(&vq__command__descriptor, bytes, length, NULL) == 0;
    Vq__Command *command = is_sound ? vq__command__unpack(NULL, length, bytes) : NULL;
    bool is_good = command != NULL && command->proposer == node && command->request_id.len == 16 &&
                   command->change_case != VQ__COMMAND__CHANGE__NOT_SET;

    vq__command__free_unpacked(command, NULL);
    return is_good;
}

struct guest_count { uint64_t node; size_t n; };

static void count_guest(struct vq_id_entry *entry, void *data)
{
    struct guest_count *count = data;

    count->n += VQ_CONTAINER_OF(entry, struct guest_proposal, entry)->node == count->node;
}

static bool is_over_budget(struct vq_proposals *proposals, uint64_t node)
{
    struct guest_count count = {node, 0};

    if (proposals->guests.n_entries < VQ_PROPOSALS_PEER_MAX)
        return false; /* the usual case, without counting */
    vq_id_map_each(&proposals->guests, count_guest, &count);
    return count.n >= VQ_PROPOSALS_PEER_MAX;
}

void vq_proposals_received(struct vq_proposals *proposals, uint64_t node, const Vq__Propose *message)
{
    struct vq_daemon *daemon = proposals->daemon;
    struct vq_error err = VQ_ERROR_INIT;

    if (!is_own_command(node, message)) {
        vq_log(WARN, "propose.bad", "node=%llu: its proposal makes no sense, refused", (unsigned long long)node);
        vq_error_set(&err, VIR_ERR_INVALID_ARG, "the leader cannot read the proposal");
        send_refusal(proposals, node, message->id, &err);
    } else if (is_over_budget(proposals, node)) {
        vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "the leader has %d changes of this node to do already",
                     VQ_PROPOSALS_PEER_MAX);
        send_refusal(proposals, node, message->id, &err);
    } else if (daemon->raft == NULL || !daemon->raft_status.is_leader) {
        send_no_result(proposals, node, message->id, false);
    } else {
        struct guest_proposal *guest = vq_new(struct guest_proposal);
        guest->owner = proposals;
        guest->entry.id = ++proposals->last_guest;
        guest->node = node;
        guest->id = message->id;
        vq_id_map_add(&proposals->guests, &guest->entry);
        vq_raft_propose(daemon->raft, message->command.data, message->command.len, VQ_PROPOSE_TIMEOUT_MS, guest_done,
                        guest);
    }
}

/* ---- The leader's answer ---- */

static void read_result(const Vq__Result *packed, struct vq_result *result)
{
    *result = (struct vq_result){.index = packed->index, .code = packed->code, .from = packed->from,
                                 .number = packed->number, .id = packed->id, .version = packed->version};
    if (packed->request_id.len == sizeof(result->request_id))
        memcpy(result->request_id, packed->request_id.data, sizeof(result->request_id));
    if (packed->uuid.len == sizeof(result->uuid))
        memcpy(result->uuid, packed->uuid.data, sizeof(result->uuid));
    (void)snprintf(result->message, sizeof(result->message), "%s", packed->message);
}

void vq_proposals_answered(struct vq_proposals *proposals, uint64_t node, const Vq__Proposed *message)
{
    struct vq_id_entry *entry = vq_id_map_find(&proposals->by_id, message->id);
    struct proposal *proposal = entry == NULL ? NULL : VQ_CONTAINER_OF(entry, struct proposal, entry);
    struct vq_result result = {0};

    if (proposal == NULL || proposal->state != SENT || proposal->leader != node)
        return; /* late: another way was taken meanwhile */
    if (message->result == NULL) {
        proposal_outcome(proposal, message->not_leader ? VQ_RAFT_NOT_LEADER : VQ_RAFT_UNKNOWN, NULL, NULL);
        return;
    }
    read_result(message->result, &result);
    if (result.index != 0) {
        proposal_outcome(proposal, VQ_RAFT_APPLIED, &result, NULL);
        return;
    }
    vq_error_set_from(&proposal->err, result.from, result.code != 0 ? result.code : VIR_ERR_INTERNAL_ERROR, "%s",
                      result.message);
    proposal_done(proposal, VQ_RAFT_REFUSED);
}

/* ---- The end ---- */

static void guest_drop(struct vq_id_entry *entry, void *data)
{
    struct vq_proposals *proposals = data;

    vq_id_map_remove(&proposals->guests, entry);
    free(VQ_CONTAINER_OF(entry, struct guest_proposal, entry));
}

void vq_proposals_raft_gone(struct vq_proposals *proposals)
{
    vq_id_map_each(&proposals->guests, guest_drop, proposals);
    for (struct proposal *proposal = proposals->first; proposal != NULL; proposal = proposal->next)
        if (proposal->state == LOCAL) {
            proposal->is_maybe = true;
            proposal_wait(proposal);
        }
}

/* The next leader that this node knows keeps another log: nothing that was meant for the one before may get there. */
void vq_proposals_cluster_changed(struct vq_proposals *proposals)
{
    vq_proposals_raft_gone(proposals);
    for (struct proposal *proposal = proposals->first; proposal != NULL; proposal = proposal->next) {
        if (proposal->state == APPLYING) {
            proposal_done(proposal, VQ_RAFT_APPLIED); /* there it is done */
        } else if (proposal->state == SENT || (proposal->is_maybe && proposal->state != DONE)) {
            proposal_unknown(proposal, "this node went to another cluster meanwhile");
        } else if (proposal->state != DONE) {
            vq_error_set(&proposal->err, VIR_ERR_OPERATION_FAILED,
                         "this node went to another cluster meanwhile, nothing was changed");
            proposal_done(proposal, VQ_RAFT_REFUSED);
        }
    }
}

static void handle_closed(uv_handle_t *handle)
{
    struct vq_proposals *proposals = handle->data;

    if (--proposals->open_handles > 0)
        return;
    void (*closed)(void *data) = proposals->closed;
    void *data = proposals->closed_data;
    free(proposals);
    if (closed != NULL)
        closed(data);
}

void vq_proposals_free(struct vq_proposals *proposals, void (*closed)(void *data), void *data)
{
    proposals->is_closing = true;
    vq_proposals_raft_gone(proposals);
    while (proposals->first != NULL) {
        struct proposal *proposal = proposals->first;
        if (proposal->state != DONE)
            proposal_unknown(proposal, "the daemon is stopping");
        proposal_tell(proposal); /* a callback may propose again: refused, and told here too */
    }
    proposals->closed = closed;
    proposals->closed_data = data;
    uv_close((uv_handle_t *)&proposals->answer, handle_closed);
    uv_close((uv_handle_t *)&proposals->tick, handle_closed);
}
