/* The connections between the nodes: one listener on the cluster port, one mesh connection for each pair of nodes.
 *
 * The listener speaks TLS 1.3 and tells by ALPN who is coming: "vq-mesh" another node, "vq-raft" libraft of another
 * node (given on to the raft loop), "vq-join" a host that wants to become a node (may have no certificate). The first
 * two must show a certificate of the cluster's authority that names a node of the member table.
 *
 * A node is online from a good Hello until its connection ends or is silent for silence_ms. Everything here runs on
 * the node loop, and calls back there, never from inside a vq_mesh_ function. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "conf/base/error.h"
#include "proto/cluster.pb-c.h"

struct vq_channel_parts;
struct vq_mesh;
struct vq_tls_credentials;

enum {
    VQ_MESH_MESSAGE_MAX = 40 * 1024 * 1024, /* the largest message, packed */
    VQ_MESH_QUEUE_MAX = 64 * 1024 * 1024,   /* a peer for which more than this waits is cut off */
};

struct vq_mesh_member {
    uint64_t id;
    const char *name;
    const char *const *addresses; /* "host:port" or "[host]:port", host numeric; tried in turn; NULL-terminated */
};

struct vq_mesh_options {
    uint64_t node_id;
    const char *node_name;
    const char *version;
    uint32_t feature_level;
    const uint8_t *cluster_id; /* 16 bytes; a node of another cluster is refused */
    uint64_t boot;             /* random per start of the daemon */
    struct vq_tls_credentials *credentials;
    const char *const *listen; /* "host:port", host numeric, NULL-terminated; NULL: "0.0.0.0" and "[::]" with port */
    uint16_t port;             /* used when listen is NULL */
    uint64_t ping_ms;          /* 0: 1000 */
    uint64_t silence_ms;       /* 0: 3000 */
    uint64_t handshake_ms;     /* of an incoming connection: TLS and Hello, each; 0: 5000 */
    size_t strangers_max;      /* incoming connections that have not shown who they are; 0: 64 */
};

struct vq_mesh_callbacks {
    /* A message from an online node, already checked; hello, ping and pong are the mesh's own. Borrowed for the call. */
    void (*message)(uint64_t node, const Vq__Mesh *message, void *data);
    void (*online)(uint64_t node, void *data);
    void (*offline)(uint64_t node, uint64_t since_unix_ms, const char *reason, void *data);
    /* Fill in what a Hello or Ping tells of this node (applied index, load). May be NULL. */
    void (*describe)(Vq__Hello *hello, Vq__Ping *ping, void *data); /* exactly one of the two is not NULL */
    /* An incoming connection after its handshake; the callee attaches or closes it (vq_channel_attach()). NULL: such
     * connections are refused. Joining hosts are strangers: the callee keeps a cap and a deadline of its own. */
    void (*raft)(const struct vq_channel_parts *take_parts, void *data);
    void (*join)(const struct vq_channel_parts *take_parts, void *data);
    /* Somebody with a certificate of the cluster, who is not in the table: fill in what he is to be told before the
     * connection is closed, or return false. May be NULL. */
    bool (*stranger)(uint64_t node, Vq__Removed *removed, void *data);
    /* A listener could not be opened (it is tried again by itself each second) or has come up (err is NULL). May be
     * NULL. */
    void (*listening)(const char *address, const struct vq_error *err, void *data);
};

/* Opens the listeners and dials the members. Wrong options are an error; a taken port is not (see listening). */
VQ_MUST_CHECK int vq_mesh_start(uv_loop_t *loop, const struct vq_mesh_options *options,
                                const struct vq_mesh_callbacks *callbacks, void *data, struct vq_mesh **ret,
                                struct vq_error *err);
/* Closes everything; no callback after this. The memory goes when libuv has let go of the handles. */
void vq_mesh_stop(struct vq_mesh *mesh);

/* Replace the member table (this node may be in it). Connections of those who are no longer there are closed. */
void vq_mesh_set_members(struct vq_mesh *mesh, const struct vq_mesh_member *members, size_t n_members);
/* For new connections; the open ones stay. */
void vq_mesh_set_credentials(struct vq_mesh *mesh, struct vq_tls_credentials *credentials);

/* Send to a node. False: it is not online, or the message is too large; nothing was sent. The message is packed
 * before the return. What was sent to a node that goes offline may or may not have arrived. */
bool vq_mesh_send(struct vq_mesh *mesh, uint64_t node, const Vq__Mesh *message);
size_t vq_mesh_queued(const struct vq_mesh *mesh, uint64_t node); /* bytes waiting for it, 0 when offline */

struct vq_mesh_peer {
    uint64_t id;
    bool is_online;
    uint64_t since_unix_ms;   /* when that began; 0: never seen since this daemon started */
    uint64_t round_trip_us;   /* of the last ping; 0: none yet */
    int64_t clock_offset_ms;  /* how far its clock is ahead of ours, by its last ping */
    uint64_t boot;            /* from here on: what it told last; zero when never seen */
    uint32_t feature_level;
    char version[32];
    uint64_t applied;
    uint64_t free_memory_kib;
    uint32_t cpu_permille;
    uint32_t domains_running;
    bool consensus_is_stopped;              /* it says that it takes no part */
    uint64_t consensus_stopped_since_unix_ms; /* when it began to say so */
    char consensus_problem[256];            /* why; printable */
    char certificate_problem[256];          /* why it could not renew its certificate; "": none; printable */
};
/* False: no such member. */
bool vq_mesh_find_peer(const struct vq_mesh *mesh, uint64_t node, struct vq_mesh_peer *ret_peer);
/* The port of the first listener that is open; 0: none. */
uint16_t vq_mesh_port(const struct vq_mesh *mesh);
