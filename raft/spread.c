/* Followers hear of a commit at once.
 *
 * A follower applies an entry when the next message says that it is committed. When nothing follows, that is the next
 * heartbeat but one, and whoever proposed from there waits for it. So a follower that has the whole log, while all of
 * it is committed and nothing waits, is sent an empty message: what libraft itself would send it as a heartbeat, only
 * earlier. A follower that lags, is unreachable, or receives a snapshot is not sent anything: libraft's own messages
 * bring it up.
 *
 * The cost is bounded: each follower is told of an index once, and there is a credit of messages for each millisecond,
 * so that a large cluster with many commits goes back to its heartbeats. */
#include <stdlib.h>

#include "raft/internal.h"

enum {
    CREDIT_PER_MS = 8,                /* some 16 % of a processor at most */
    CREDIT_MAX = VQ_RAFT_MEMBERS_MAX, /* one commit after a quiet time reaches everybody */
};

static void sent(struct raft_io_send *request, int status VQ_UNUSED)
{
    free(request);
}

/* The log's last entry is of this term: our barrier is in it. */
static bool tell(struct vq_core *core, const struct raft_server *server)
{
    struct raft_io_send *request = vq_new(struct raft_io_send);
    struct raft_message message = {.type = RAFT_APPEND_ENTRIES,
                                   .server_id = server->id,
                                   .server_address = server->address,
                                   .append_entries = {.term = core->raft.current_term,
                                                      .prev_log_index = raft_last_index(&core->raft),
                                                      .prev_log_term = core->raft.current_term,
                                                      .leader_commit = core->raft.commit_index}};

    if (core->raft.io->send(core->raft.io, request, &message, sent) == 0)
        return true;
    free(request); /* the next heartbeat tells */
    return false;
}

static void refill(struct vq_core *core)
{
    uint64_t more = (core->now_ms - core->spread_refilled_ms) * CREDIT_PER_MS;

    core->spread_refilled_ms = core->now_ms;
    core->spread_credit = more >= CREDIT_MAX - core->spread_credit ? CREDIT_MAX : core->spread_credit + (unsigned)more;
}

void vq_core_spread(struct vq_core *core)
{
    const struct raft_configuration *configuration = &core->raft.configuration;
    raft_index last = raft_last_index(&core->raft), match;

    if (!vq_core_leads(core) || configuration->n < 2 || core->groups != NULL || core->waiting != NULL ||
        core->raft.commit_index != last || vq_core_is_transferring(core))
        return;
    if (core->spread_index != last) {
        core->spread_index = last;
        core->spread_until_ms = core->now_ms + core->raft.heartbeat_timeout;
    }
    if (core->now_ms >= core->spread_until_ms)
        return; /* heartbeats have told */
    refill(core);
    for (unsigned i = 0; i < configuration->n && i < VQ_RAFT_MEMBERS_MAX && core->spread_credit > 0; i++) {
        const struct raft_server *server = &configuration->servers[i];
        if (server->id == core->raft.id || server->role == RAFT_SPARE || core->spread_told[i] == last ||
            raft_match_index(&core->raft, server->id, &match) != 0 || match != last)
            continue;
        core->spread_told[i] = last;
        core->spread_credit -= tell(core, server);
    }
}
