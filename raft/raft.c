/* Consensus as the node loop sees it: orders to the raft thread, news from it. */
#include "raft/raft.h"

#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "proto/tls.h"
#include "raft/thread.h"

struct vq_raft {
    const struct vq_raft_callbacks *callbacks;
    void *data;
    struct vq_raft_callbacks own_callbacks;
    char *dir;
    struct vq_queue news;
    uv_thread_t id;
    struct vq_raft_thread *thread;
    bool is_stopping;
    void (*stopped)(void *data);
    void *stopped_data;
};

/* ---- News ---- */

static void free_news(struct vq_news *news)
{
    free(news);
}

static void answered(struct vq_news *news)
{
    struct vq_order *order = news->answer.order;

    if (news->kind == VQ_NEWS_PROPOSED)
        order->propose.cb(news->answer.outcome, news->answer.result, &news->answer.err, order->propose.data);
    else
        order->change.cb(news->answer.outcome, &news->answer.err, order->change.data);
    free(news->answer.result);
    free(order);
}

static void news_closed(uv_handle_t *handle)
{
    struct vq_raft *raft = handle->data;

    if (raft->stopped != NULL)
        raft->stopped(raft->stopped_data);
    free(raft->dir);
    free(raft);
}

static void thread_ended(struct vq_raft *raft)
{
    uv_thread_join(&raft->id);
    vq_raft_thread_free(raft->thread);
    vq_queue_close(&raft->news, news_closed);
}

static void read_one(struct vq_raft *raft, struct vq_news *news)
{
    switch (news->kind) {
    case VQ_NEWS_STATUS:
        raft->callbacks->status(news->status, raft->data);
        free(news->status);
        break;
    case VQ_NEWS_APPLIED:
        raft->callbacks->applied(news->applied.index, &news->applied.changes, raft->data);
        vq_change_list_done(&news->applied.changes);
        break;
    case VQ_NEWS_PROPOSED:
    case VQ_NEWS_CHANGED:
        answered(news);
        break;
    case VQ_NEWS_STOPPED:
        thread_ended(raft);
        break;
    }
    free_news(news);
}

static void on_news(uv_async_t *async)
{
    struct vq_raft *raft = async->data;
    struct vq_message *message = vq_queue_take(&raft->news);

    while (message != NULL) {
        struct vq_message *next = message->next; /* STOPPED is the last one ever */
        read_one(raft, VQ_CONTAINER_OF(message, struct vq_news, message));
        message = next;
    }
}

/* ---- Starting and stopping ---- */

/* Signals are the node loop's. */
static int start_thread(struct vq_raft *raft, struct vq_error *err)
{
    sigset_t all, old;
    int rc;

    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    rc = uv_thread_create(&raft->id, vq_raft_thread_run, raft->thread);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    return rc == 0 ? 0
                   : vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "starting the thread of consensus: %s", uv_strerror(rc));
}

int vq_raft_start(uv_loop_t *node_loop, const struct vq_raft_options *options,
                  const struct vq_raft_callbacks *callbacks, void *data, struct vq_raft **ret, struct vq_error *err)
{
    struct vq_raft *raft;
    struct vq_raft_options own = *options;
    int rc;

    if (options->node_id == 0)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "a node's id is not 0");
    raft = vq_new(struct vq_raft);
    raft->own_callbacks = *callbacks;
    raft->callbacks = &raft->own_callbacks;
    raft->data = data;
    raft->dir = vq_strdup(options->dir);
    own.dir = raft->dir;
    if ((rc = vq_queue_open(&raft->news, node_loop, on_news, raft)) != 0) {
        free(raft->dir);
        free(raft);
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "making a queue: %s", uv_strerror(rc));
    }
    raft->thread = vq_raft_thread_new(&own, &raft->news, err);
    if (raft->thread == NULL || start_thread(raft, err) < 0) {
        vq_raft_thread_free(raft->thread);
        vq_queue_close(&raft->news, news_closed);
        return -1;
    }
    *ret = raft;
    return 0;
}

static struct vq_order *make_order(enum vq_order_kind kind)
{
    struct vq_order *order = vq_new(struct vq_order);

    order->kind = kind;
    return order;
}

static void give(struct vq_raft *raft, struct vq_order *order)
{
    vq_queue_put(vq_raft_thread_orders(raft->thread), &order->message);
}

void vq_raft_stop(struct vq_raft *raft, void (*stopped)(void *data), void *data)
{
    raft->stopped = stopped;
    raft->stopped_data = data;
    raft->is_stopping = true;
    give(raft, make_order(VQ_ORDER_STOP));
}

/* ---- Orders ---- */

static struct vq_raft_addresses *copy_addresses(const struct vq_raft_address *addresses, size_t n_addresses)
{
    size_t size = sizeof(struct vq_raft_addresses) + n_addresses * sizeof(*addresses), at = size;

    for (size_t i = 0; i < n_addresses; i++)
        size += strlen(addresses[i].address) + 1;
    struct vq_raft_addresses *copy = vq_calloc(1, size);
    copy->n = n_addresses;
    for (size_t i = 0; i < n_addresses; i++) {
        size_t length = strlen(addresses[i].address) + 1;
        char *text = (char *)copy + at;
        memcpy(text, addresses[i].address, length);
        copy->addresses[i] = (struct vq_raft_address){addresses[i].id, text};
        at += length;
    }
    return copy;
}

void vq_raft_set_addresses(struct vq_raft *raft, const struct vq_raft_address *addresses, size_t n_addresses)
{
    struct vq_order *order;

    if (raft->is_stopping)
        return;
    order = make_order(VQ_ORDER_ADDRESSES);
    order->addresses = copy_addresses(addresses, n_addresses);
    give(raft, order);
}

void vq_raft_set_credentials(struct vq_raft *raft, struct vq_tls_credentials *credentials)
{
    struct vq_order *order;

    if (raft->is_stopping)
        return;
    order = make_order(VQ_ORDER_CREDENTIALS);
    order->credentials = vq_tls_credentials_ref(credentials);
    give(raft, order);
}

void vq_raft_accept(struct vq_raft *raft, const struct vq_channel_parts *take_parts)
{
    struct vq_order *order;

    if (raft->is_stopping) {
        close(take_parts->fd);
        vq_tls_session_free(take_parts->tls);
        free(take_parts->input);
        return;
    }
    order = make_order(VQ_ORDER_ACCEPT);
    order->accept = *take_parts;
    give(raft, order);
}

void vq_raft_propose(struct vq_raft *raft, const void *command, size_t length, uint64_t timeout_ms,
                     vq_raft_propose_cb cb, void *data)
{
    struct vq_error none = {.code = VIR_ERR_OK};
    struct vq_order *order;

    if (raft->is_stopping) {
        cb(VQ_RAFT_NOT_LEADER, NULL, &none, data);
        return;
    }
    order = make_order(VQ_ORDER_PROPOSE);
    order->propose.command = vq_memdup(command, length);
    order->propose.length = length;
    order->propose.timeout_ms = timeout_ms;
    order->propose.cb = cb;
    order->propose.data = data;
    give(raft, order);
}

static void change(struct vq_raft *raft, enum vq_core_change kind, uint64_t id, enum vq_raft_role role,
                   vq_raft_change_cb cb, void *data)
{
    struct vq_error none = {.code = VIR_ERR_OK};
    struct vq_order *order;

    if (raft->is_stopping) {
        cb(VQ_RAFT_NOT_LEADER, &none, data);
        return;
    }
    order = make_order(VQ_ORDER_CHANGE);
    order->change.kind = kind;
    order->change.id = id;
    order->change.role = role;
    order->change.cb = cb;
    order->change.data = data;
    give(raft, order);
}

void vq_raft_add(struct vq_raft *raft, uint64_t id, vq_raft_change_cb cb, void *data)
{
    change(raft, VQ_CORE_ADD, id, VQ_RAFT_STANDBY, cb, data);
}

void vq_raft_assign(struct vq_raft *raft, uint64_t id, enum vq_raft_role role, vq_raft_change_cb cb, void *data)
{
    change(raft, VQ_CORE_ASSIGN, id, role, cb, data);
}

void vq_raft_remove(struct vq_raft *raft, uint64_t id, vq_raft_change_cb cb, void *data)
{
    change(raft, VQ_CORE_REMOVE, id, VQ_RAFT_NO_ROLE, cb, data);
}

void vq_raft_transfer(struct vq_raft *raft, uint64_t to, vq_raft_change_cb cb, void *data)
{
    change(raft, VQ_CORE_TRANSFER, to, VQ_RAFT_VOTER, cb, data);
}
