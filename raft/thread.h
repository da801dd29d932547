/* The raft thread: what it is told and what it tells. raft/raft.c is its other side, on the node loop. */
#pragma once

#include "proto/channel.h"
#include "raft/core.h"
#include "raft/queue.h"

enum vq_order_kind {
    VQ_ORDER_PROPOSE,
    VQ_ORDER_CHANGE,
    VQ_ORDER_ADDRESSES,
    VQ_ORDER_CREDENTIALS,
    VQ_ORDER_ACCEPT,
    VQ_ORDER_STOP
};

/* Node loop to raft thread. PROPOSE and CHANGE come back as the tag of the answer. */
struct vq_order {
    struct vq_message message;
    enum vq_order_kind kind;
    union {
        struct {
            uint8_t *command;
            size_t length;
            uint64_t timeout_ms;
            vq_raft_propose_cb cb;
            void *data;
        } propose;
        struct {
            enum vq_core_change kind;
            uint64_t id;
            enum vq_raft_role role;
            vq_raft_change_cb cb;
            void *data;
        } change;
        struct vq_raft_addresses *addresses;
        struct vq_tls_credentials *credentials;
        struct vq_channel_parts accept;
    };
};

/* A copy of vq_raft_set_addresses(): one allocation, the texts behind the array. */
struct vq_raft_addresses {
    size_t n;
    struct vq_raft_address addresses[];
};

enum vq_news_kind { VQ_NEWS_STATUS, VQ_NEWS_APPLIED, VQ_NEWS_PROPOSED, VQ_NEWS_CHANGED, VQ_NEWS_STOPPED };

/* Raft thread to node loop. */
struct vq_news {
    struct vq_message message;
    enum vq_news_kind kind;
    union {
        struct vq_raft_status *status;
        struct {
            uint64_t index;
            struct vq_change_list changes;
        } applied;
        struct {
            struct vq_order *order;
            enum vq_raft_outcome outcome;
            struct vq_result *result; /* NULL unless applied */
            struct vq_error err;
        } answer;
    };
};

struct vq_raft_thread;

/* The loop and the queue of orders are made here; run is the body of the thread. options' texts must live until the
 * thread has ended, credentials are counted. news is the node loop's queue. */
struct vq_raft_thread *vq_raft_thread_new(const struct vq_raft_options *options, struct vq_queue *news,
                                          struct vq_error *err);
void vq_raft_thread_run(void *thread);
struct vq_queue *vq_raft_thread_orders(struct vq_raft_thread *thread);
/* After the thread was joined, or was never started. */
void vq_raft_thread_free(struct vq_raft_thread *thread);
