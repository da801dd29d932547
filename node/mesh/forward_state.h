/* What the caller's side (forward.c), the callee's side (serve.c) and gathering (gather.c) share. */
#pragma once

#include "node/mesh/forward.h"
#include "node/mesh/idmap.h"
#include "proto/cluster.pb-c.h"

struct vq_gather;

struct vq_forwards {
    struct vq_daemon *daemon;
    struct vq_id_map asked;     /* struct asked of forward.c */
    uint64_t last_id;
    struct vq_id_map waiting;   /* replies that wait until this node has applied what they tell of */
    struct vq_id_map sessions;  /* own clients' sessions and the nodes that saw calls of them */
    struct vq_id_map served;    /* calls of other nodes */
    uint64_t last_served;
    struct vq_id_map visitors;  /* sessions of other nodes' clients that this node saw calls of */
    uint64_t last_event;
    struct vq_gather *gathers;
};

struct vq_forward_message {
    Vq__Call call;
    Vq__Identity identity;
};

/* forward.c */
void vq_forward_session_seen(struct vq_forwards *forwards, uint64_t session, uint64_t node);
void vq_forward_sessions_retry(struct vq_forwards *forwards);

/* serve.c */
void vq_serve_node_lost(struct vq_forwards *forwards, uint64_t node);
void vq_serve_node_back(struct vq_forwards *forwards, uint64_t node, uint64_t boot);
void vq_serve_free(struct vq_forwards *forwards);

/* gather.c */
void vq_gather_tick(struct vq_forwards *forwards);
