/* How a host becomes a node: the member's side, which checks, takes the token and signs; and the new node's side.
 *
 * Over the cluster port, ALPN "vq-join": the new host has no certificate, but knows the fingerprint of the authority by
 * the token. Every message is a 4-byte big-endian length and one JoinRequest or JoinReply. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "proto/cluster.pb-c.h"

struct vq_channel_parts;
struct vq_cluster;
struct vq_join;
struct vq_join_server;

enum {
    VQ_JOIN_MESSAGE_MAX = 4 * 1024 * 1024, /* of a host: 16384 names and UUIDs fit */
    VQ_JOIN_STRANGERS_MAX = 16,
    VQ_JOIN_TIMEOUT_MS = 30000,
    VQ_JOIN_CLOCK_MS = 30000, /* clocks may differ by so much */
};

/* ---- A member ---- */
struct vq_join_server *vq_join_server_new(struct vq_cluster *cluster);
void vq_join_server_free(struct vq_join_server *server); /* accepts NULL */
void vq_join_server_accept(struct vq_join_server *server, const struct vq_channel_parts *take_parts);
void vq_join_server_tick(struct vq_join_server *server); /* deadlines; accepts NULL */

/* ---- The new node ---- */
struct vq_join_callbacks {
    void (*progress)(const char *text, void *data);
    void (*check)(const Vq__JoinCheck *check, void *data);
    /* err NULL: this node is a member, text says of what; with dry_run: all is well. */
    void (*done)(const char *text, const struct vq_error *err, int exit_code, void *data);
};
struct vq_join_wish {
    const char *token;
    const char *advertise; /* "": the address by which this host reaches the member */
    const char *node_name; /* "": as it is called now */
    bool dry_run;
};
/* Refuses at once with an error, or calls done later. Only one at a time. */
VQ_MUST_CHECK int vq_join_start(struct vq_cluster *cluster, const struct vq_join_wish *wish,
                                const struct vq_join_callbacks *callbacks, void *data, struct vq_join **ret,
                                struct vq_error *err);
/* The one who asked has gone; what has begun goes on or is dropped, as it is safe. Nothing is called back after this. */
void vq_join_forget(struct vq_join *join);
