/* Between the I/O and libraft: what arrives at a bad moment.
 *
 * libraft 0.22.1 crashes when a leader's snapshot arrives while this node writes its own, and forgets the buffer of one
 * that arrives while another is being installed. So the first waits here until our own is written, and the second is
 * dropped: the one being installed answers for it. It also loses changes of the membership, see cut_before_change(). */
#include <stdlib.h>
#include <string.h>

#include "raft/internal.h"

static void free_content(struct raft_message *message)
{
    raft_configuration_close(&message->install_snapshot.conf);
    raft_free(message->install_snapshot.data.base);
}

void vq_core_receive_drop(struct vq_core *core)
{
    if (core->held == NULL)
        return;
    free_content(core->held);
    free((char *)core->held->server_address);
    free(vq_take(core->held));
}

/* What the message points to is ours; the message itself and the address are not. */
static void hold(struct vq_core *core, const struct raft_message *message)
{
    vq_core_receive_drop(core);
    core->held = vq_memdup(message, sizeof(*message));
    core->held->server_address = vq_strdup(message->server_address);
}

/* libraft takes note of a change when it is on disk, and only if it is a follower by then. */
static bool change_is_in_flight(struct vq_core *core)
{
    return core->passed_change > core->raft.last_stored && core->passed_change <= raft_last_index(&core->raft);
}

static void end_message_at(struct raft_append_entries *args, unsigned n)
{
    if (n == 0) {
        raft_free(args->entries[0].batch); /* all entries are in it */
        raft_free(args->entries);
        args->entries = NULL;
    }
    args->n_entries = n;
}

/* libraft remembers one configuration that is not committed yet. When a second one arrives before the first is known to
 * be committed, as in what a node gets that was away, it loses the first.
 *
 * A first one that is still being written holds back any other: that ends with the write. One that is written holds
 * back others only if the leader knows it as committed: a new leader cannot commit it before this node has taken all of
 * its log. */
static bool change_may_pass(struct vq_core *core, const struct raft_append_entries *args, raft_index index)
{
    const struct raft *raft = &core->raft;
    raft_index pending = raft->configuration_uncommitted_index;
    bool is_same = index == core->passed_change && args->entries[0].term == core->passed_change_term;

    if (change_is_in_flight(core) && !is_same)
        return false;
    return pending <= raft->commit_index || index <= pending || args->leader_commit < pending;
}

/* A change that is lost is lost for ever: the node later writes an old configuration into its snapshots, and the nodes
 * come to disagree about who votes. libraft also files a change under the index of the first new entry of its message,
 * so that it does not know it again when it is committed. So a message begins with a change or holds none, and ends
 * before one that must wait; the leader sends the rest again. */
static void cut_before_change(struct vq_core *core, struct raft_append_entries *args)
{
    for (unsigned i = 0; i < args->n_entries; i++) {
        raft_index index = args->prev_log_index + 1 + i;
        if (args->entries[i].type != RAFT_CHANGE || index <= core->raft.commit_index)
            continue;
        if (i > 0 || !change_may_pass(core, args, index)) {
            end_message_at(args, i);
            return;
        }
        core->passed_change = index;
        core->passed_change_term = args->entries[0].term;
    }
}

/* Our log may still be empty, and then others must not count on us before that is known to the next start. */
static bool may_take(struct vq_core *core)
{
    return core->callbacks->may_take_data == NULL || core->callbacks->may_take_data(core->data);
}

static void receive_entries(struct vq_core *core, struct raft_io *io, struct raft_message *message)
{
    struct raft_append_entries *args = &message->append_entries;

    if (args->n_entries > 0 && !core->is_closing) {
        if (may_take(core))
            cut_before_change(core, args);
        else
            end_message_at(args, 0);
    }
    core->io_recv(io, message);
}

static void receive(struct raft_io *io, struct raft_message *message)
{
    struct raft *raft = io->data;
    struct vq_core *core = VQ_CONTAINER_OF(raft, struct vq_core, raft);

    if (message->type == RAFT_APPEND_ENTRIES)
        receive_entries(core, io, message);
    else if (message->type == RAFT_TIMEOUT_NOW && change_is_in_flight(core))
        return; /* the transfer fails: see tick() */
    else if (message->type != RAFT_INSTALL_SNAPSHOT || core->is_closing)
        core->io_recv(io, message);
    else if (raft->snapshot.installing || !may_take(core))
        free_content(message);
    else if (core->snapshot_is_open)
        hold(core, message);
    else
        core->io_recv(io, message);
}

/* A candidate would not take note of the change that is being written: so standing for election waits for the write. */
static void tick(struct raft_io *io)
{
    struct raft *raft = io->data;
    struct vq_core *core = VQ_CONTAINER_OF(raft, struct vq_core, raft);

    if (raft->state == RAFT_FOLLOWER && change_is_in_flight(core))
        raft->election_timer_start = io->time(io);
    core->io_tick(io);
}

static int start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick_cb, raft_io_recv_cb recv_cb)
{
    struct raft *raft = io->data;
    struct vq_core *core = VQ_CONTAINER_OF(raft, struct vq_core, raft);

    core->io_tick = tick_cb;
    core->io_recv = recv_cb;
    return core->io_start(io, msecs, tick, receive);
}

void vq_core_receive_through(struct vq_core *core, struct raft_io *io)
{
    core->io_start = io->start;
    io->start = start;
}

void vq_core_receive_held(struct vq_core *core)
{
    struct raft_message *message = core->held;

    if (message == NULL || core->snapshot_is_open)
        return;
    core->held = NULL;
    core->io_recv(core->raft.io, message);
    free((char *)message->server_address);
    free(message);
}
