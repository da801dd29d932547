/* migrate, drain, undrain: what the tool asks about guests on their way. */
#define VQ_FROM VIR_FROM_NONE
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "node/cluster/cluster.h"
#include "node/cluster/control_state.h"
#include "node/cluster/evacuate.h"
#include "node/mesh/propose.h"
#include "node/publish.h"

/* ---- What both tell ---- */

static void moves_changed(Vq__GuestMove *const *moves, size_t n_moves, void *data)
{
    Vq__ControlReply reply = VQ__CONTROL_REPLY__INIT;

    reply.moves = (Vq__GuestMove **)moves;
    reply.n_moves = n_moves;
    vq_control_send(data, &reply);
}

static void no_problems(Vq__GuestProblem *const *problems, size_t n_problems, void *data)
{
    (void)problems;
    (void)n_problems;
    (void)data; /* the reason is told with the guest that stays */
}

static void problems_found(Vq__GuestProblem *const *problems, size_t n_problems, void *data)
{
    Vq__ControlReply reply = VQ__CONTROL_REPLY__INIT;

    reply.problems = (Vq__GuestProblem **)problems;
    reply.n_problems = n_problems;
    vq_control_send(data, &reply);
}

/* ---- migrate ---- */

static void migrate_over(const struct vq_evacuate_result *result, void *data)
{
    struct vq_control_client *client = data;
    const Vq__ControlMigrate *wish = client->request->migrate;

    if (result->moved > 0) {
        VQ_AUTOFREE char *text = vq_asprintf(wish->check ? "%s can move to %s" : "%s is on %s now", wish->guest, wish->node);
        vq_control_text(client, text);
    } else if (result->is_timed_out) {
        vq_control_fail(client, VQ_E_MOVE_TOO_LONG, "it took too long and was cancelled; the guest runs where it was");
    } else if (result->first.code == VIR_ERR_OK) {
        vq_control_fail(client, VQ_E_GUEST_GONE, "the guest has gone meanwhile");
    } else {
        VQ_AUTOFREE char *text = vq_asprintf("%s %s to %s: %s", wish->guest, result->stay > 0 ? "cannot move" : "did not move",
                                             wish->node, result->first.message);
        vq_control_fail(client, result->stay > 0 ? VQ_E_GUEST_STAYS : VQ_E_MOVE_FAILED, text);
    }
}

/* By name, else by UUID. False: the tool has been told. */
static bool find_guest(struct vq_control_client *client, const char *name, struct vq_evacuate_wish *wish,
                       struct vq_domain_info *ret_info)
{
    const struct vq_daemon *daemon = client->cluster->daemon;
    struct vq_store_view *view;
    uint8_t uuid[VQ_UUID_BYTES];
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_store_view_begin(daemon->store, &view, &err) < 0) {
        vq_control_fail_with(client, &err);
        return false;
    }
    const struct vq_domain_head *head = vq_store_domain_find_by_name(view, VQ_DRIVER_QEMU, name);
    if (head == NULL && vq_uuid_parse(name, uuid))
        head = vq_store_domain_find(view, uuid);
    bool found = head != NULL && vq_overlay_info(daemon, head, ret_info);
    vq_store_view_end(view);
    if (!found) {
        VQ_AUTOFREE char *text = vq_asprintf("there is no guest '%s'", name);
        vq_control_fail(client, VQ_E_NO_GUEST, text);
        return false;
    }
    memcpy(wish->uuid, ret_info->uuid, sizeof(wish->uuid));
    return true;
}

/* NULL: the tool has been told. */
static const struct vq_cluster_member *find_node(struct vq_control_client *client, const char *name)
{
    const struct vq_cluster_member *member = vq_cluster_member_by_name(client->cluster, name);

    if (member == NULL || member->removed_at_ms != 0) {
        VQ_AUTOFREE char *text = vq_asprintf("there is no node '%s'", name);
        vq_control_fail(client, VQ_E_NO_NODE, text);
        return NULL;
    }
    return member;
}

void vq_control_migrate(struct vq_control_client *client)
{
    static const struct vq_evacuate_callbacks callbacks = {moves_changed, problems_found, migrate_over};
    const Vq__ControlMigrate *asked = client->request->migrate;
    struct vq_evacuate_wish wish = {.n_to = 1,
                                    .offline_too = true,
                                    .dry_run = asked->check,
                                    .copy_storage = asked->copy_storage,
                                    .unsafe = asked->unsafe,
                                    .bandwidth = asked->bandwidth,
                                    .timeout_ms = client->request->timeout_ms};
    struct vq_domain_info info = {0};
    struct vq_error err = VQ_ERROR_INIT;

    if (!find_guest(client, asked->guest, &wish, &info))
        return;
    const struct vq_cluster_member *node = find_node(client, asked->node);
    if (node == NULL)
        return;
    VQ_AUTOFREE char *there = vq_asprintf("%s is on %s already", asked->guest, asked->node);
    VQ_AUTOFREE char *off = vq_asprintf("%s does not run; with --offline its definition moves", asked->guest);
    wish.to = &node->id;
    if (info.owner == node->id)
        vq_control_text(client, there);
    else if (info.id < 0 && !asked->offline)
        vq_control_fail(client, VQ_E_GUEST_OFF, off);
    else if (vq_evacuate(client->cluster, &wish, &callbacks, client, &err) < 0)
        vq_control_fail_with(client, &err);
}

/* ---- drain ---- */

static int drain_exit_code(const struct vq_evacuate_result *result)
{
    if (result->stay + result->failed == 0)
        return VQ_EXIT_OK;
    if (result->moved > 0)
        return VQ_EXIT_PARTLY;
    return result->failed > 0 ? VQ_EXIT_FAILED : VQ_EXIT_CONFLICT;
}

static void drain_over(const struct vq_evacuate_result *result, void *data)
{
    struct vq_control_client *client = data;
    const Vq__ControlDrain *asked = client->request->drain;
    Vq__ControlReply reply = VQ__CONTROL_REPLY__INIT;
    unsigned n_left = result->stay + result->failed;
    VQ_AUTOFREE char *text = NULL;

    if (n_left == 0)
        text = vq_asprintf(asked->dry_run ? "%s: %u guest%s would move" : "%s is drained: %u guest%s moved", asked->node,
                           result->moved, result->moved == 1 ? "" : "s");
    else
        text = vq_asprintf("%s: %u guest%s %s, %u stay%s", asked->node, result->moved, result->moved == 1 ? "" : "s",
                           asked->dry_run ? "would move" : "moved", n_left, n_left == 1 ? "s" : "");
    reply.text = text;
    reply.exit_code = drain_exit_code(result);
    vq_control_done(client, &reply);
}

static bool find_targets(struct vq_control_client *client, uint64_t *targets)
{
    const Vq__ControlDrain *asked = client->request->drain;

    if (asked->n_to > VQ_EVACUATE_TARGETS_MAX) {
        vq_control_fail(client, VQ_E_BAD_TARGETS, "too many targets");
        return false;
    }
    for (size_t i = 0; i < asked->n_to; i++) {
        const struct vq_cluster_member *member = find_node(client, asked->to[i]);
        if (member == NULL)
            return false;
        if (member->id == client->node) {
            vq_control_fail(client, VQ_E_BAD_TARGETS, "a node is not drained to itself");
            return false;
        }
        targets[i] = member->id;
    }
    return true;
}

static void start_drain(struct vq_control_client *client)
{
    static const struct vq_evacuate_callbacks callbacks = {moves_changed, no_problems, drain_over};
    const Vq__ControlDrain *asked = client->request->drain;
    uint64_t targets[VQ_EVACUATE_TARGETS_MAX];
    struct vq_error err = VQ_ERROR_INIT;

    if (!find_targets(client, targets))
        return;
    const struct vq_evacuate_wish wish = {.node = client->node,
                                          .to = targets,
                                          .n_to = asked->n_to,
                                          .parallel = asked->parallel,
                                          .offline_too = asked->offline_too,
                                          .dry_run = asked->dry_run,
                                          .copy_storage = asked->copy_storage,
                                          .unsafe = asked->unsafe,
                                          .bandwidth = asked->bandwidth,
                                          .timeout_ms = client->request->timeout_ms};
    if (vq_evacuate(client->cluster, &wish, asked->no_wait ? NULL : &callbacks, client, &err) < 0)
        vq_control_fail_with(client, &err);
    else if (asked->no_wait)
        vq_control_text(client, "its guests are on their way");
}

/* True: it was done; else the tool has been told. */
static bool was_marked(struct vq_control_client *client, enum vq_raft_outcome outcome, const struct vq_result *result,
                       const struct vq_error *err)
{
    struct vq_error failure = VQ_ERROR_INIT;

    if (outcome == VQ_RAFT_APPLIED && result->code == VIR_ERR_OK)
        return true;
    if (outcome == VQ_RAFT_APPLIED)
        vq_error_set_from(&failure, result->from, result->code, "%s", result->message);
    else
        failure = *err;
    vq_control_fail_with(client, &failure);
    return false;
}

static void marked(enum vq_raft_outcome outcome, const struct vq_result *result, const struct vq_error *err, void *data)
{
    if (was_marked(data, outcome, result, err))
        start_drain(data);
}

static void mark(struct vq_control_client *client, bool draining, vq_raft_propose_cb done)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__NodeDrain drain = VQ__NODE_DRAIN__INIT;

    drain.id = client->node;
    drain.draining = draining;
    command.change_case = VQ__COMMAND__CHANGE_NODE_DRAIN;
    command.node_drain = &drain;
    vq_propose(client->cluster->daemon, &command, 0, done, client);
}

void vq_control_drain(struct vq_control_client *client)
{
    const Vq__ControlDrain *asked = client->request->drain;
    uint64_t targets[VQ_EVACUATE_TARGETS_MAX];
    const struct vq_cluster_member *node = find_node(client, asked->node);

    if (node == NULL)
        return;
    client->node = node->id;
    if (asked->parallel > VQ_EVACUATE_PARALLEL_MAX)
        vq_control_fail(client, VQ_E_BAD_TARGETS, "64 guests at a time are the most");
    else if (!find_targets(client, targets))
        return; /* said */
    else if (asked->dry_run)
        start_drain(client);
    else
        mark(client, true, marked);
}

/* ---- undrain ---- */

static void unmarked(enum vq_raft_outcome outcome, const struct vq_result *result, const struct vq_error *err, void *data)
{
    struct vq_control_client *client = data;

    if (!was_marked(client, outcome, result, err))
        return;
    VQ_AUTOFREE char *text = vq_asprintf("guests may come to %s again", client->request->undrain->node);
    vq_control_text(client, text);
}

void vq_control_undrain(struct vq_control_client *client)
{
    const struct vq_cluster_member *node = find_node(client, client->request->undrain->node);

    if (node == NULL)
        return;
    client->node = node->id;
    mark(client, false, unmarked);
}
