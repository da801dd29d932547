/* The raft thread: its loop, one instance of libraft on raft_uv at a time, orders in, news out. */
#include "raft/thread.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "proto/tls.h"
#include "raft/directory.h"
#include "raft/guard.h"
#include "raft/transport.h"

enum { RETRY_MS = 5000, LOOK_MS = 250, CONNECT_RETRY_MS = 250, DISK_RETRY_MS = 1000 };

struct vq_raft_thread {
    struct vq_raft_options options;
    struct vq_queue *news;
    uv_loop_t loop;
    struct vq_queue orders;
    uv_prepare_t prepare; /* turns end here and in check: before and after the loop waits */
    uv_check_t check;
    uv_timer_t look;  /* deadlines, the guard */
    uv_timer_t retry; /* of an instance that could not start */

    struct vq_core *core;
    struct raft_io io;
    struct raft_uv_transport uv_transport;
    struct vq_transport *transport;
    struct vq_guard guard;
    struct vq_tls_credentials *credentials;
    struct vq_raft_addresses *addresses;
    bool is_known; /* the mark beside the directory is there */
    bool has_told_of_mark;
    bool is_stopping;
    bool has_run;
};

static void start_instance(struct vq_raft_thread *thread);

/* ---- News ---- */

static struct vq_news *make_news(enum vq_news_kind kind)
{
    struct vq_news *news = vq_new(struct vq_news);

    news->kind = kind;
    return news;
}

static void tell_status(const struct vq_raft_status *status, void *data)
{
    struct vq_raft_thread *thread = data;
    struct vq_news *news = make_news(VQ_NEWS_STATUS);

    news->status = vq_memdup(status, sizeof(*status));
    vq_queue_put(thread->news, &news->message);
}

/* The list's content goes along; the core finds it empty. */
static void tell_applied(uint64_t index, const struct vq_change_list *changes, void *data)
{
    struct vq_raft_thread *thread = data;
    struct vq_news *news = make_news(VQ_NEWS_APPLIED);
    struct vq_change_list *list = (struct vq_change_list *)changes;

    news->applied.index = index;
    news->applied.changes = *list;
    *list = (struct vq_change_list){0};
    vq_queue_put(thread->news, &news->message);
}

static void tell_answer(struct vq_raft_thread *thread, enum vq_news_kind kind, void *tag, enum vq_raft_outcome outcome,
                        const struct vq_result *result, const struct vq_error *err)
{
    struct vq_news *news = make_news(kind);

    news->answer.order = tag;
    news->answer.outcome = outcome;
    news->answer.result = result == NULL ? NULL : vq_memdup(result, sizeof(*result));
    news->answer.err = *err;
    vq_queue_put(thread->news, &news->message);
}

static void tell_proposed(void *tag, enum vq_raft_outcome outcome, const struct vq_result *result,
                          const struct vq_error *err, void *data)
{
    tell_answer(data, VQ_NEWS_PROPOSED, tag, outcome, result, err);
}

static void tell_changed(void *tag, enum vq_raft_outcome outcome, const struct vq_error *err, void *data)
{
    tell_answer(data, VQ_NEWS_CHANGED, tag, outcome, NULL, err);
}

/* An entry that cannot be applied must not be passed over: the next start tries again, from what is on disk. */
static void stop_at_once(const struct vq_error *err, void *data)
{
    (void)data;
    vq_log(ERROR, "raft.failed", "%s, ending", err->message);
    _exit(VQ_GUARD_EXIT);
}

/* ---- The instance ---- */

/* Once the log holds something, an empty one under this id is a loss: that must be on disk before anybody counts on
 * what we have. */
static int mark_known(struct vq_raft_thread *thread, struct vq_error *err)
{
    if (!thread->is_known && vq_directory_mark_known(thread->options.dir, thread->options.node_id, err) < 0)
        return -1;
    thread->is_known = true;
    return 0;
}

static bool may_take_data(void *data)
{
    struct vq_raft_thread *thread = data;
    struct vq_error err = VQ_ERROR_INIT;
    bool is_good = mark_known(thread, &err) == 0;

    if (!is_good && !thread->has_told_of_mark)
        vq_log(WARN, "raft.known", "%s, trying again", err.message);
    thread->has_told_of_mark = !is_good;
    return is_good;
}

static const struct vq_core_callbacks core_callbacks = {
    .status = tell_status,
    .applied = tell_applied,
    .proposed = tell_proposed,
    .changed = tell_changed,
    .failed = stop_at_once,
    .may_take_data = may_take_data,
};

static void turn(struct vq_raft_thread *thread)
{
    if (!thread->is_stopping)
        vq_core_turn(thread->core, uv_now(&thread->loop));
}

static void free_instance(struct vq_raft_thread *thread)
{
    raft_uv_close(&thread->io);
    vq_transport_free(thread->transport);
    thread->transport = NULL;
}

static void close_handles(struct vq_raft_thread *thread)
{
    uv_close((uv_handle_t *)&thread->prepare, NULL);
    uv_close((uv_handle_t *)&thread->check, NULL);
    uv_close((uv_handle_t *)&thread->look, NULL);
    uv_close((uv_handle_t *)&thread->retry, NULL);
}

static void instance_closed(void *data)
{
    struct vq_raft_thread *thread = data;

    free_instance(thread);
    if (thread->is_stopping)
        close_handles(thread);
}

static void on_retry(uv_timer_t *timer)
{
    struct vq_raft_thread *thread = timer->data;

    if (vq_core_is_open(thread->core)) /* the one that failed is still closing */
        uv_timer_start(&thread->retry, on_retry, RETRY_MS, 0);
    else
        start_instance(thread);
}

/* Reads go on from the store meanwhile. */
static void instance_failed(struct vq_raft_thread *thread, const struct vq_error *err, bool will_retry)
{
    vq_log(ERROR, "raft.start", "%s, %s", err->message, will_retry ? "trying again" : "not taking part, see virtquorum status");
    vq_core_set_problem(thread->core, err->message);
    if (vq_core_is_open(thread->core))
        vq_core_close(thread->core, instance_closed, thread);
    else if (thread->transport != NULL)
        free_instance(thread);
    if (will_retry)
        uv_timer_start(&thread->retry, on_retry, RETRY_MS, 0);
}

/* False: this node must not take part under its id. */
static bool check_directory(struct vq_raft_thread *thread, bool has_log, struct vq_error *err)
{
    const char *dir = thread->options.dir;

    thread->is_known = vq_directory_is_known(dir, thread->options.node_id);
    if (has_log || (!thread->is_known && vq_store_applied(thread->options.store) == 0))
        return true;
    (void)vq_error_set(err, VIR_ERR_OPERATION_INVALID,
                       "the log in '%s' is gone, but node %llu had one", dir, (unsigned long long)thread->options.node_id);
    return false; /* the way out is for the status to name: it knows whether others have what is lost */
}

/* 1: a log that was not finished is out of the way, and another one is to be begun. Nobody was told anything yet, or
 * the mark would be there. */
static int clear_unfinished(const struct vq_raft_thread *thread, struct vq_error *err)
{
    if (!thread->options.bootstrap || thread->is_known || vq_store_applied(thread->options.store) != 0)
        return 0;
    return vq_directory_clear_beginning(thread->options.dir, err);
}

static int open_instance(struct vq_raft_thread *thread, struct vq_error *err)
{
    struct vq_transport_options options = {.node_id = thread->options.node_id,
                                           .credentials = thread->credentials,
                                           .stalled_ms = 2 * (uint64_t)vq_core_election_ms(thread->core)};
    int rv;

    memset(&thread->io, 0, sizeof(thread->io));
    memset(&thread->uv_transport, 0, sizeof(thread->uv_transport));
    thread->transport = vq_transport_new(&thread->loop, &options, &thread->uv_transport);
    if (thread->addresses != NULL)
        vq_transport_set_peers(thread->transport, thread->addresses->addresses, thread->addresses->n);
    rv = raft_uv_init(&thread->io, &thread->loop, thread->options.dir, &thread->uv_transport);
    if (rv != 0) {
        vq_transport_free(thread->transport);
        thread->transport = NULL;
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "opening the log's directory '%s': %s", thread->options.dir,
                            raft_strerror(rv));
    }
    /* Segments stay at their 8 MiB, the only size that works in all cases. The log is never shortened in silence. */
    raft_uv_set_auto_recovery(&thread->io, false);
    raft_uv_set_connect_retry_delay(&thread->io, CONNECT_RETRY_MS);
    raft_uv_set_disk_retry(&thread->io, DISK_RETRY_MS);
    vq_guard_install(&thread->guard, &thread->io);
    return vq_core_open(thread->core, &thread->io, err);
}

static int try_start(struct vq_raft_thread *thread, bool *ret_may_retry, struct vq_error *err)
{
    int has_log, is_cleared;

    *ret_may_retry = true;
    if (vq_directory_make(thread->options.dir, err) < 0 ||
        (has_log = vq_directory_has_log(thread->options.dir, err)) < 0)
        return -1;
    if (!check_directory(thread, has_log, err)) {
        *ret_may_retry = false;
        return -1;
    }
    if ((is_cleared = clear_unfinished(thread, err)) < 0 || open_instance(thread, err) < 0)
        return -1;
    if (thread->options.alone && vq_core_recover(thread->core, err) < 0) {
        *ret_may_retry = err->code != VIR_ERR_OPERATION_INVALID;
        return -1;
    }
    if ((!has_log || is_cleared) && thread->options.bootstrap && vq_core_bootstrap(thread->core, err) < 0)
        return -1;
    if (vq_core_start(thread->core, uv_now(&thread->loop), err) < 0) {
        *ret_may_retry = err->code != VIR_ERR_OPERATION_INVALID;
        return -1;
    }
    /* Nothing has been said to anybody yet: answers and messages go out with the next turn of the loop. */
    return vq_core_has_data(thread->core) ? mark_known(thread, err) : 0;
}

static void start_instance(struct vq_raft_thread *thread)
{
    struct vq_error err = VQ_ERROR_INIT;
    bool may_retry;

    if (try_start(thread, &may_retry, &err) < 0) {
        instance_failed(thread, &err, may_retry);
        return;
    }
    vq_core_set_problem(thread->core, "");
    vq_log(INFO, "raft.start", "node=%llu dir=%s: taking part", (unsigned long long)thread->options.node_id,
           thread->options.dir);
}

/* ---- Orders ---- */

static void stop(struct vq_raft_thread *thread)
{
    if (thread->is_stopping)
        return;
    turn(thread);
    thread->is_stopping = true;
    vq_queue_close(&thread->orders, NULL);
    if (vq_core_is_open(thread->core) && !vq_core_is_closing(thread->core))
        vq_core_close(thread->core, instance_closed, thread);
    else if (!vq_core_is_closing(thread->core))
        close_handles(thread);
}

static void replace_addresses(struct vq_raft_thread *thread, struct vq_raft_addresses *take_addresses)
{
    free(thread->addresses);
    thread->addresses = take_addresses;
    if (thread->transport != NULL)
        vq_transport_set_peers(thread->transport, take_addresses->addresses, take_addresses->n);
}

static void replace_credentials(struct vq_raft_thread *thread, struct vq_tls_credentials *take_credentials)
{
    if (thread->credentials != NULL)
        vq_tls_credentials_free(thread->credentials);
    thread->credentials = take_credentials;
    if (thread->transport != NULL)
        vq_transport_set_credentials(thread->transport, take_credentials);
}

static void accept_connection(struct vq_raft_thread *thread, struct vq_channel_parts *take_parts)
{
    if (thread->transport != NULL && !thread->is_stopping) {
        vq_transport_accept(thread->transport, take_parts);
        return;
    }
    close(take_parts->fd);
    vq_tls_session_free(take_parts->tls);
    free(take_parts->input);
}

/* Proposals and changes live on as the tags of their answers. */
static void obey(struct vq_raft_thread *thread, struct vq_order *take_order)
{
    uint64_t now_ms = uv_now(&thread->loop), timeout_ms;

    switch (take_order->kind) {
    case VQ_ORDER_PROPOSE:
        timeout_ms = take_order->propose.timeout_ms == 0 ? VQ_CORE_TIMEOUT_MS : take_order->propose.timeout_ms;
        vq_core_propose(thread->core, take_order->propose.command, take_order->propose.length, now_ms + timeout_ms,
                        take_order);
        return;
    case VQ_ORDER_CHANGE:
        vq_core_change(thread->core, take_order->change.kind, take_order->change.id, take_order->change.role,
                       take_order);
        return;
    case VQ_ORDER_ADDRESSES:
        replace_addresses(thread, take_order->addresses);
        break;
    case VQ_ORDER_CREDENTIALS:
        replace_credentials(thread, take_order->credentials);
        break;
    case VQ_ORDER_ACCEPT:
        accept_connection(thread, &take_order->accept);
        break;
    case VQ_ORDER_STOP:
        stop(thread);
        break;
    }
    free(take_order);
}

/* STOP is the last one that anybody puts. */
static void on_orders(uv_async_t *async)
{
    struct vq_raft_thread *thread = async->data;
    struct vq_message *message = vq_queue_take(&thread->orders);

    while (message != NULL) {
        struct vq_message *next = message->next;
        obey(thread, VQ_CONTAINER_OF(message, struct vq_order, message));
        message = next;
    }
}

/* ---- The loop ---- */

static void on_prepare(uv_prepare_t *prepare)
{
    turn(prepare->data);
}

static void on_check(uv_check_t *check)
{
    turn(check->data);
}

static void look_at_room(struct vq_raft_thread *thread)
{
    /* libraft starts with 0 and learns the room when it has prepared its segments. */
    unsigned capacity = thread->io.capacity;

    vq_core_set_low_capacity(thread->core, capacity > 0 && capacity < VQ_GUARD_CAPACITY_KIB);
}

static void on_look(uv_timer_t *timer)
{
    struct vq_raft_thread *thread = timer->data;

    if (!vq_core_is_open(thread->core))
        return;
    vq_guard_look(&thread->guard, uv_now(&thread->loop));
    look_at_room(thread);
}

struct vq_raft_thread *vq_raft_thread_new(const struct vq_raft_options *options, struct vq_queue *news,
                                          struct vq_error *err)
{
    struct vq_raft_thread *thread = vq_new(struct vq_raft_thread);
    struct vq_core_options core_options = {.node_id = options->node_id,
                                           .store = options->store,
                                           .election_ms = options->election_ms,
                                           .accepts_loss = options->alone,
                                           .counts_members = true,
                                           .snapshot_threshold = options->snapshot_threshold,
                                           .snapshot_trailing = options->snapshot_threshold};
    int rc = uv_loop_init(&thread->loop);

    if (rc == 0 && (rc = vq_queue_open(&thread->orders, &thread->loop, on_orders, thread)) != 0)
        (void)uv_loop_close(&thread->loop);
    if (rc != 0) {
        free(thread);
        (void)vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "making the loop of consensus: %s", uv_strerror(rc));
        return NULL;
    }
    thread->options = *options;
    if (options->credentials != NULL)
        thread->credentials = vq_tls_credentials_ref(options->credentials);
    thread->news = news;
    thread->core = vq_core_new(&core_options, &core_callbacks, thread);
    uv_prepare_init(&thread->loop, &thread->prepare);
    uv_check_init(&thread->loop, &thread->check);
    uv_timer_init(&thread->loop, &thread->look);
    uv_timer_init(&thread->loop, &thread->retry);
    thread->prepare.data = thread->check.data = thread->look.data = thread->retry.data = thread;
    return thread;
}

struct vq_queue *vq_raft_thread_orders(struct vq_raft_thread *thread)
{
    return &thread->orders;
}

void vq_raft_thread_run(void *data)
{
    struct vq_raft_thread *thread = data;
    struct vq_news *news;

    thread->has_run = true;
    uv_prepare_start(&thread->prepare, on_prepare);
    uv_check_start(&thread->check, on_check);
    uv_timer_start(&thread->look, on_look, LOOK_MS, LOOK_MS);
    start_instance(thread);
    uv_run(&thread->loop, UV_RUN_DEFAULT);
    news = make_news(VQ_NEWS_STOPPED);
    vq_queue_put(thread->news, &news->message);
}

void vq_raft_thread_free(struct vq_raft_thread *thread)
{
    if (thread == NULL)
        return;
    if (!thread->has_run) {
        vq_queue_close(&thread->orders, NULL);
        close_handles(thread);
        uv_run(&thread->loop, UV_RUN_DEFAULT);
    }
    vq_core_free(thread->core);
    if (uv_loop_close(&thread->loop) != 0)
        vq_log(ERROR, "raft.loop", "handles are still open");
    if (thread->credentials != NULL)
        vq_tls_credentials_free(thread->credentials);
    free(thread->addresses);
    free(thread);
}
