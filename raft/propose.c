/* Proposals: what waits travels together in one entry; answers when it is applied and committed, when the leadership is
 * lost, or when the time is over. */
#include <stdlib.h>
#include <string.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "proto/cluster.pb-c.h"
#include "raft/internal.h"

static void free_proposal(struct vq_proposal *proposal)
{
    free(proposal->command);
    free(proposal);
}

static void answer(struct vq_core *core, struct vq_proposal *proposal, enum vq_raft_outcome outcome,
                   const struct vq_result *result, const struct vq_error *err)
{
    static const struct vq_error none = {.code = VIR_ERR_OK};

    if (proposal->is_answered)
        return;
    proposal->is_answered = true;
    core->callbacks->proposed(proposal->tag, outcome, result, err == NULL ? &none : err, core->data);
}

static void refuse(struct vq_core *core, struct vq_proposal *proposal, int code, const char *text)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, code, "%s", text);
    answer(core, proposal, VQ_RAFT_REFUSED, NULL, &err);
    free_proposal(proposal);
}

static bool has_request_id(struct vq_proposal *proposal)
{
    Vq__Command *command = vq__command__unpack(NULL, proposal->length, proposal->command);
    bool is_good = command != NULL && command->request_id.len == sizeof(proposal->request_id);

    if (is_good)
        memcpy(proposal->request_id, command->request_id.data, sizeof(proposal->request_id));
    if (command != NULL)
        vq__command__free_unpacked(command, NULL);
    return is_good;
}

void vq_core_propose(struct vq_core *core, void *take_command, size_t length, uint64_t deadline_ms, void *tag)
{
    struct vq_proposal *proposal = vq_new(struct vq_proposal);

    proposal->command = take_command;
    proposal->length = length;
    proposal->deadline_ms = deadline_ms;
    proposal->tag = tag;
    if (length > VQ_ENTRY_COMMAND_MAX) {
        refuse(core, proposal, VIR_ERR_OPERATION_FAILED, "the change is larger than the log takes (1 MiB)");
    } else if (!has_request_id(proposal)) {
        refuse(core, proposal, VIR_ERR_INVALID_ARG, "a command is damaged or has no request id");
    } else if (core->waiting_bytes + length > VQ_CORE_WAITING_MAX_BYTES) {
        refuse(core, proposal, VIR_ERR_OPERATION_FAILED, "too many changes wait to be written");
    } else {
        *core->waiting_end = proposal;
        core->waiting_end = &proposal->next;
        core->waiting_bytes += length;
    }
}

static struct vq_proposal *take_waiting(struct vq_core *core)
{
    struct vq_proposal *proposal = core->waiting;

    core->waiting = proposal->next;
    if (core->waiting == NULL)
        core->waiting_end = &core->waiting;
    proposal->next = NULL;
    core->waiting_bytes -= proposal->length;
    return proposal;
}

/* ---- Answers ---- */

/* Our own entry, unless another leader's took its place: then the ids differ. */
static bool results_are_ours(const struct vq_group *group)
{
    size_t i = 0;

    for (const struct vq_proposal *p = group->proposals; p != NULL; p = p->next, i++)
        if (i >= group->n_results || memcmp(group->results[i].request_id, p->request_id, sizeof(p->request_id)) != 0)
            return false;
    return i == group->n_results;
}

static void finish_group(struct vq_core *core, struct vq_group *group)
{
    bool is_ours = group->is_applied && results_are_ours(group);
    const struct vq_result *result = group->results;

    while (group->proposals != NULL) {
        struct vq_proposal *proposal = group->proposals;
        group->proposals = proposal->next;
        answer(core, proposal, is_ours ? VQ_RAFT_APPLIED : VQ_RAFT_UNKNOWN, is_ours ? result++ : NULL, NULL);
        free_proposal(proposal);
    }
    free(group->results);
    free(group);
}

static void take_first_group(struct vq_core *core)
{
    struct vq_group *group = core->groups;

    core->groups = group->next;
    if (core->groups == NULL)
        core->groups_end = &core->groups;
    core->n_groups--;
    finish_group(core, group);
}

void vq_core_answer_applied(struct vq_core *core)
{
    while (core->groups != NULL && core->groups->is_applied)
        take_first_group(core);
}

/* libraft lets go of the requests of a term when the leadership ends, but not of a leadership whose beginning it has
 * missed because the step that began it also failed (seen by the simulation). Then they are still in its list, and
 * would be found there again when another leader's entry of the same index is applied. */
void vq_core_let_go(struct vq_core *core, void *queue[2])
{
    void **head = core->raft.legacy.pending;

    for (void **at = head[0]; at != head; at = at[0]) {
        if (at != queue)
            continue;
        void **next = at[0], **previous = at[1];
        previous[0] = next;
        next[1] = previous;
        return;
    }
}

/* Entries that are in the log may still be committed by the next leader. */
void vq_core_fail_lost(struct vq_core *core)
{
    bool is_leader = core->is_started && raft_state(&core->raft) == RAFT_LEADER;

    while (core->groups != NULL && (!is_leader || core->groups->term != raft_current_term(&core->raft))) {
        if (core->is_started)
            vq_core_let_go(core, core->groups->request.queue);
        take_first_group(core);
    }
    while (core->waiting != NULL && !is_leader) {
        struct vq_proposal *proposal = take_waiting(core);
        answer(core, proposal, VQ_RAFT_NOT_LEADER, NULL, NULL);
        free_proposal(proposal);
    }
}

void vq_core_expire(struct vq_core *core)
{
    struct vq_proposal **at = &core->waiting;

    for (struct vq_group *group = core->groups; group != NULL; group = group->next)
        for (struct vq_proposal *p = group->proposals; p != NULL; p = p->next)
            if (p->deadline_ms <= core->now_ms)
                answer(core, p, VQ_RAFT_UNKNOWN, NULL, NULL);
    while (*at != NULL) {
        struct vq_proposal *proposal = *at;
        if (proposal->deadline_ms > core->now_ms) {
            at = &proposal->next;
            continue;
        }
        *at = proposal->next;
        core->waiting_bytes -= proposal->length;
        refuse(core, proposal, VIR_ERR_OPERATION_TIMEOUT, "the change could not be written in time");
    }
    core->waiting_end = at;
}

void vq_core_fail_all(struct vq_core *core)
{
    while (core->groups != NULL)
        take_first_group(core);
    while (core->waiting != NULL) {
        struct vq_proposal *proposal = take_waiting(core);
        answer(core, proposal, VQ_RAFT_NOT_LEADER, NULL, NULL);
        free_proposal(proposal);
    }
}

/* ---- Into the log ---- */

/* As many as fit into one entry. */
static struct vq_group *make_group(struct vq_core *core, struct raft_buffer *ret_buf)
{
    struct vq_group *group = vq_new(struct vq_group);
    struct vq_proposal **end = &group->proposals;
    struct vq_entry_writer writer;
    size_t size = 0;

    while (core->waiting != NULL) {
        size_t more = vq_entry_command_size(core->waiting->length);
        if (size > 0 && size + more > VQ_ENTRY_SOFT_MAX)
            break;
        size += more;
        *end = take_waiting(core);
        end = &(*end)->next;
    }
    ret_buf->base = NULL;
    if (!vq_entry_begin(&writer, size))
        return group;
    for (struct vq_proposal *p = group->proposals; p != NULL; p = p->next)
        vq_entry_add(&writer, p->command, p->length);
    ret_buf->len = vq_entry_end(&writer);
    ret_buf->base = writer.base;
    return group;
}

static void give_back(struct vq_core *core, struct vq_group *group, int rv)
{
    while (group->proposals != NULL) {
        struct vq_proposal *proposal = group->proposals;
        group->proposals = proposal->next;
        if (rv == RAFT_NOTLEADER) {
            answer(core, proposal, VQ_RAFT_NOT_LEADER, NULL, NULL);
            free_proposal(proposal);
        } else {
            refuse(core, proposal, VIR_ERR_OPERATION_FAILED, "the disk of the cluster's log is full");
        }
    }
    free(group);
}

static void submit(struct vq_core *core)
{
    struct raft_buffer buf;
    struct vq_group *group = make_group(core, &buf);
    int rv = buf.base == NULL ? RAFT_NOMEM : RAFT_NOSPACE;

    group->term = raft_current_term(&core->raft);
    if (buf.base != NULL && vq_store_has_room(core->store) && !VQ_FAILPOINT("raft.apply"))
        rv = raft_apply(&core->raft, &group->request, &buf, 1, NULL);
    core->has_no_space = rv == RAFT_NOSPACE;
    if (rv == 0) {
        for (struct vq_proposal *p = group->proposals; p != NULL; p = p->next) {
            free(p->command);
            p->command = NULL;
        }
        *core->groups_end = group;
        core->groups_end = &group->next;
        core->n_groups++;
        return;
    }
    /* After these two the buffer is still ours, and nothing has happened; after any other nobody knows. */
    if (rv == RAFT_NOTLEADER || rv == RAFT_NOSPACE)
        raft_free(buf.base);
    else
        vq_core_fail(core, "proposing an entry", rv);
    give_back(core, group, rv);
}

void vq_core_flush(struct vq_core *core)
{
    while (core->waiting != NULL && core->n_groups < VQ_CORE_IN_FLIGHT_MAX && vq_core_leads(core) &&
           !vq_core_is_transferring(core))
        submit(core);
}
