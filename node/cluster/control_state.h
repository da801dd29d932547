/* One connection of the tool, and what the requests' files use to answer it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/cluster/cluster_state.h"
#include "node/cluster/control.h"
#include "node/cluster/errors.h"
#include "node/cluster/join.h"

struct vq_channel;

/* Of the tool, see virtquorum(1). */
enum vq_exit {
    VQ_EXIT_OK, VQ_EXIT_FAILED, VQ_EXIT_USAGE, VQ_EXIT_NOT_FOUND, VQ_EXIT_NO_QUORUM, VQ_EXIT_UNREACHABLE, VQ_EXIT_DENIED,
    VQ_EXIT_CONFLICT, VQ_EXIT_PARTLY, VQ_EXIT_TIMEOUT = 124,
};

struct vq_control_client {
    struct vq_control_client *next, *prev;
    struct vq_control *control;  /* NULL: closed */
    struct vq_cluster *cluster;
    struct vq_channel *channel;  /* NULL: closed; answers are dropped */
    Vq__Control *request;        /* being served */
    bool is_busy;                /* until vq_control_done() */
    void (*tick)(struct vq_control_client *client); /* ten times a second while busy; NULL: nothing to do */
    uint64_t deadline_ms;        /* for tick */
    char *success;               /* what vq_control_proposed() says when it was done; malloc'ed */
    uint64_t node;               /* that leaves or is removed */
    struct vq_join *join;
};

typedef void (*vq_control_fn)(struct vq_control_client *client);

/* Each answers once, now or later. */
void vq_control_init(struct vq_control_client *client);
void vq_control_token(struct vq_control_client *client);
void vq_control_join(struct vq_control_client *client);
void vq_control_leave(struct vq_control_client *client);
void vq_control_remove(struct vq_control_client *client);
void vq_control_guests(struct vq_control_client *client);
void vq_control_setting(struct vq_control_client *client);
void vq_control_status(struct vq_control_client *client);
void vq_control_migrate(struct vq_control_client *client);
void vq_control_drain(struct vq_control_client *client);
void vq_control_undrain(struct vq_control_client *client);
void vq_control_cpu_baseline(struct vq_control_client *client);
void vq_control_takeover(struct vq_control_client *client);
void vq_control_cert(struct vq_control_client *client);

void vq_control_send(struct vq_control_client *client, const Vq__ControlReply *reply);
void vq_control_progress(struct vq_control_client *client, const char *text);
/* The last reply; the client may be gone when these return. */
void vq_control_done(struct vq_control_client *client, Vq__ControlReply *reply);
void vq_control_text(struct vq_control_client *client, const char *text);
void vq_control_fail(struct vq_control_client *client, enum vq_number number, const char *message);
void vq_control_fail_with(struct vq_control_client *client, const struct vq_error *err);
/* Of a proposal: true when it was not done, and then the tool has been told. */
bool vq_control_is_refused(struct vq_control_client *client, enum vq_raft_outcome outcome, const struct vq_result *result,
                           const struct vq_error *err);
/* The call-back of vq_propose() for a request that is one change: data is the client. */
void vq_control_proposed(enum vq_raft_outcome outcome, const struct vq_result *result, const struct vq_error *err,
                         void *data);
