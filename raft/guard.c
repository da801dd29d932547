/* The guard around raft_uv. */
#include "raft/guard.h"

#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"

/* raft_io has no room for a pointer of ours, so each thread knows its own. */
static _Thread_local struct vq_guard *current;

static _Noreturn void leave(const char *why, const char *detail)
{
    vq_log(ERROR, "raft.guard", "%s: %s, restarting", why, detail);
    _exit(VQ_GUARD_EXIT);
}

/* After a failed write libraft arms its retry on the wrong timer and crashes one retry later. */
static void emit(struct raft_tracer *tracer, int type, const void *info)
{
    struct vq_guard *guard = tracer->impl;
    const struct raft_tracer_info *trace = info;

    switch (type) {
    case RAFT_UV_TRACER_WRITE_SUBMIT:
        guard->writes_submitted++;
        break;
    case RAFT_UV_TRACER_WRITE_COMPLETE:
        guard->writes_completed++;
        guard->waiting_since_ms = 0;
        break;
    case RAFT_TRACER_DIAGNOSTIC:
        if (strncmp(trace->diagnostic.message, "retry failed write", 18) == 0)
            leave("a write to the log has failed", trace->diagnostic.message);
        if (trace->diagnostic.level == 1)
            vq_log(WARN, "raft.library", "%s", trace->diagnostic.message);
        else if (trace->diagnostic.level <= 3)
            vq_log(DEBUG, "raft.library", "%s", trace->diagnostic.message);
        break;
    default: /* types of later releases */
        break;
    }
}

/* libraft goes on with a term or vote in memory that it could not store, and would vote twice after a restart. */
static int set_term(struct raft_io *io, raft_term term)
{
    int rv = VQ_FAILPOINT("raft.term.write") ? RAFT_IOERR : current->set_term(io, term);

    if (rv != 0)
        leave("the term cannot be stored", raft_strerror(rv));
    return 0;
}

static int set_vote(struct raft_io *io, raft_id server_id)
{
    int rv = VQ_FAILPOINT("raft.vote.write") ? RAFT_IOERR : current->set_vote(io, server_id);

    if (rv != 0)
        leave("the vote cannot be stored", raft_strerror(rv));
    return 0;
}

/* A snapshot that cannot be read makes libraft free what it has not filled in. */
struct getting {
    struct raft_io_snapshot_get request;
    struct raft_io_snapshot_get *original;
    raft_io_snapshot_get_cb cb;
};

static void snapshot_got(struct raft_io_snapshot_get *req, struct raft_snapshot *snapshot, int status)
{
    struct getting *getting = VQ_CONTAINER_OF(req, struct getting, request);

    if (status != 0 && status != RAFT_CANCELED)
        leave("the snapshot cannot be read", raft_strerror(status));
    getting->cb(getting->original, snapshot, status);
    free(getting);
}

static int snapshot_get(struct raft_io *io, struct raft_io_snapshot_get *req, raft_io_snapshot_get_cb cb)
{
    struct getting *getting = vq_new(struct getting);
    int rv;

    req->cb = cb;
    getting->original = req;
    getting->cb = cb;
    rv = VQ_FAILPOINT("raft.snapshot.read") ? RAFT_IOERR : current->snapshot_get(io, &getting->request, snapshot_got);
    if (rv != 0)
        free(getting);
    return rv;
}

void vq_guard_wrap(struct vq_guard *guard, struct raft_io *io)
{
    *guard = (struct vq_guard){
        .tracer = {.impl = guard, .version = 2, .emit = emit},
        .set_term = io->set_term,
        .set_vote = io->set_vote,
        .snapshot_get = io->snapshot_get,
    };
    current = guard;
    io->set_term = set_term;
    io->set_vote = set_vote;
    io->snapshot_get = snapshot_get;
}

void vq_guard_install(struct vq_guard *guard, struct raft_io *io)
{
    vq_guard_wrap(guard, io);
    raft_uv_set_tracer(io, &guard->tracer);
}

void vq_guard_look(struct vq_guard *guard, uint64_t now_ms)
{
    if (guard->writes_submitted == guard->writes_completed)
        guard->waiting_since_ms = 0;
    else if (guard->waiting_since_ms == 0)
        guard->waiting_since_ms = now_ms;
    else if (now_ms - guard->waiting_since_ms >= VQ_GUARD_WRITE_MS)
        leave("a write to the log does not come to an end", "disk hangs");
}
