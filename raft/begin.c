/* A new log that begins with what the store holds: one snapshot, and one member. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/failpoint.h"
#include "conf/base/memory.h"
#include "raft/directory.h"
#include "raft/raft.h"
#include "raft/transport.h"

/* libraft's I/O on a loop of its own: the log is made without a consensus that would take part in anything. */
struct beginning {
    uv_loop_t loop;
    struct raft_io io;
    struct raft_uv_transport uv_transport;
    struct vq_transport *transport;
    struct raft_io_snapshot_put put;
    bool is_put, is_closed;
    int status; /* of the put */
};

static void put_done(struct raft_io_snapshot_put *put, int status)
{
    struct beginning *beginning = put->data;

    beginning->is_put = true;
    beginning->status = status;
}

static void io_closed(struct raft_io *io)
{
    ((struct beginning *)io->data)->is_closed = true;
}

static int failed(struct vq_error *err, int rv, const struct beginning *beginning, const char *what)
{
    return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "%s: %s (%s)", what, raft_strerror(rv), beginning->io.errmsg);
}

/* An empty directory is read like any other: raft_uv writes nothing before that. */
static int load_nothing(struct beginning *beginning, struct vq_error *err)
{
    struct raft_snapshot *snapshot = NULL;
    struct raft_entry *entries = NULL;
    raft_term term;
    raft_id voted_for;
    raft_index start;
    size_t n = 0;
    int rv = beginning->io.load(&beginning->io, &term, &voted_for, &snapshot, &start, &entries, &n);

    if (rv != 0)
        return failed(err, rv, beginning, "reading an empty log");
    if (snapshot != NULL || n != 0)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "the directory of the new log holds one");
    return 0;
}

static int put_snapshot(struct beginning *beginning, const struct raft_configuration *configuration,
                        struct vq_store *store, uint64_t term, struct vq_error *err)
{
    struct vq_store_snapshot content;
    struct raft_snapshot snapshot = {.index = vq_store_applied(store), .term = term,
                                     .configuration_index = vq_store_applied(store)};
    int rv;

    if (vq_store_snapshot_take(store, &content, err) < 0)
        return -1;
    snapshot.configuration = *configuration;
    snapshot.bufs = (struct raft_buffer *)content.bufs;
    snapshot.n_bufs = content.n_bufs;
    beginning->put.data = beginning;
    rv = VQ_FAILPOINT("raft.begin.snapshot") ? RAFT_IOERR
                                             : beginning->io.snapshot_put(&beginning->io, 0, &beginning->put, &snapshot, put_done);
    while (rv == 0 && !beginning->is_put)
        (void)uv_run(&beginning->loop, UV_RUN_ONCE);
    vq_store_snapshot_free(&content);
    if (rv == 0)
        rv = beginning->status;
    return rv == 0 ? 0 : failed(err, rv, beginning, "writing the first snapshot");
}

static int write_log(struct beginning *beginning, const struct raft_configuration *configuration,
                     struct vq_store *store, uint64_t term, struct vq_error *err)
{
    int rv = load_nothing(beginning, err);

    if (rv < 0)
        return -1;
    if ((rv = beginning->io.set_term(&beginning->io, term)) != 0)
        return failed(err, rv, beginning, "writing the term");
    return put_snapshot(beginning, configuration, store, term, err);
}

static int open_and_write(struct beginning *beginning, const char *dir, uint64_t node_id, struct vq_store *store,
                          uint64_t term, struct vq_error *err)
{
    struct raft_configuration configuration;
    char address[24];
    int rv, result = -1;

    (void)snprintf(address, sizeof(address), "%llu", (unsigned long long)node_id);
    rv = raft_uv_init(&beginning->io, &beginning->loop, dir, &beginning->uv_transport);
    if (rv != 0)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "opening the new log's directory '%s': %s", dir,
                            raft_strerror(rv));
    beginning->io.data = beginning;
    raft_configuration_init(&configuration);
    if ((rv = beginning->io.init(&beginning->io, node_id, address)) != 0 ||
        (rv = raft_configuration_add(&configuration, node_id, address, RAFT_VOTER)) != 0)
        (void)failed(err, rv, beginning, "opening the new log");
    else
        result = write_log(beginning, &configuration, store, term, err);
    beginning->io.close(&beginning->io, io_closed);
    while (!beginning->is_closed)
        (void)uv_run(&beginning->loop, UV_RUN_ONCE);
    raft_configuration_close(&configuration);
    raft_uv_close(&beginning->io);
    return result;
}

int vq_raft_begin_log(const char *dir, uint64_t node_id, struct vq_store *store, uint64_t term, struct vq_error *err)
{
    const struct vq_transport_options options = {.node_id = node_id};
    struct beginning *beginning;
    int has_log;

    if (vq_directory_make(dir, err) < 0 || (has_log = vq_directory_has_log(dir, err)) < 0)
        return -1;
    if (has_log > 0)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "'%s' holds a log already", dir);
    beginning = vq_new(struct beginning);
    if (uv_loop_init(&beginning->loop) != 0) {
        free(beginning);
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "making an event loop");
    }
    beginning->transport = vq_transport_new(&beginning->loop, &options, &beginning->uv_transport);
    int result = open_and_write(beginning, dir, node_id, store, term, err);
    vq_transport_free(beginning->transport);
    (void)uv_run(&beginning->loop, UV_RUN_DEFAULT); /* what is closing */
    (void)uv_loop_close(&beginning->loop);          /* busy only if a handle was forgotten, which the sanitizers tell */
    free(beginning);
    return result;
}
