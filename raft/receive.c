/* Between the I/O and libraft: what arrives at a bad moment.
 *
 * libraft 0.22.1 crashes when a leader's snapshot arrives while this node writes its own, and forgets the buffer of one
 * that arrives while another is being installed. So the first waits here until our own is written, and the second is
 * dropped: the one being installed answers for it. */
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

/* libraft remembers one configuration that is not committed yet. When a second one arrives before the first is known to
 * be committed, as in what a node gets that was away, it loses the first for ever, and later writes an old configuration
 * into its snapshots. So a message ends before the second one; the leader sends the rest again. */
static void cut_before_second_change(const struct raft *raft, struct raft_append_entries *args)
{
    raft_index pending = raft->configuration_uncommitted_index;

    if (pending <= raft->commit_index)
        pending = 0;

    for (unsigned i = 0; i < args->n_entries; i++) {
        raft_index index = args->prev_log_index + 1 + i;
        if (args->entries[i].type != RAFT_CHANGE || index <= pending || index <= raft->commit_index)
            continue;
        if (pending == 0 || args->leader_commit < pending) {
            pending = index; /* a new leader cannot commit the first before this node has taken all of its log */
            continue;
        }
        if (i == 0) {
            raft_free(args->entries[0].batch);
            raft_free(args->entries);
            args->entries = NULL;
        }
        args->n_entries = i;
        return;
    }
}

static void receive(struct raft_io *io, struct raft_message *message)
{
    struct raft *raft = io->data;
    struct vq_core *core = VQ_CONTAINER_OF(raft, struct vq_core, raft);

    if (message->type == RAFT_APPEND_ENTRIES && !core->is_closing)
        cut_before_second_change(raft, &message->append_entries);
    if (message->type != RAFT_INSTALL_SNAPSHOT || core->is_closing)
        core->io_recv(io, message);
    else if (raft->snapshot.installing)
        free_content(message);
    else if (core->snapshot_is_open)
        hold(core, message);
    else
        core->io_recv(io, message);
}

static int start(struct raft_io *io, unsigned msecs, raft_io_tick_cb tick, raft_io_recv_cb recv)
{
    struct raft *raft = io->data;
    struct vq_core *core = VQ_CONTAINER_OF(raft, struct vq_core, raft);

    core->io_recv = recv;
    core->io_tick = tick;
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
