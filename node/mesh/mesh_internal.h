/* What the files of the mesh share: mesh.c has the members and decides, mesh_connection.c is one connection,
 * mesh_listener.c the cluster port. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>
#include <uv.h>

#include "node/mesh/mesh.h"

struct vq_channel;
struct vq_channel_parts;
struct vq_dial;

enum { VQ_MESH_ADDRESSES_MAX = 8 };

/* Dialling and shaking hands can be left out of a life; only an incoming connection is a stranger until it greets.
 *
 *    dialling ──► shaking ──► greeting ──► online
 *
 * The one who dialled greets first; the other answers when he keeps the connection, and both are online. */
enum vq_mesh_state { VQ_MESH_DIALLING, VQ_MESH_SHAKING, VQ_MESH_GREETING, VQ_MESH_ONLINE };

struct vq_mesh_connection {
    struct vq_mesh *mesh;
    struct vq_mesh_connection *next;
    enum vq_mesh_state state;
    uint64_t node; /* 0: not known yet */
    bool is_outgoing;
    bool is_closed;   /* out of the mesh's list; the memory goes when nobody is inside */
    bool is_inside;   /* a callback of its channel is running */
    unsigned linger_ms; /* when it is closed: for what was said last */
    const char *fate; /* not NULL: to be closed for this reason in the clock's next turn */
    struct vq_dial *dial;
    struct vq_channel *channel;
    uint64_t boot;        /* of the peer, from its hello */
    uint64_t deadline_ms; /* of the greeting */
    uint64_t heard_ms;
    uint64_t pinged_ms;
    uint64_t ping_sequence, ping_ns; /* the ping that waits for its pong */
};

struct vq_mesh_address {
    struct sockaddr_storage address;
    socklen_t length;
};

struct vq_mesh_known {
    struct vq_mesh_peer peer; /* as told to the outside */
    char name[64];
    struct vq_mesh_connection *online; /* NULL: it is offline */
    struct vq_mesh_address addresses[VQ_MESH_ADDRESSES_MAX];
    size_t n_addresses, next_address;
    uint64_t dial_ms;    /* when to dial next */
    uint64_t backoff_ms; /* how long to wait after that */
    char problem[256];   /* logged last */
};

struct vq_mesh_listener {
    struct vq_mesh *mesh;
    char *text;
    struct vq_mesh_address address;
    uv_poll_t poll;
    int fd;           /* -1: not open */
    bool is_polling;  /* has a poll handle that is not closing */
    bool is_waiting;  /* no descriptors left: accepts again at retry_ms */
    bool has_reported;
    uint64_t retry_ms;
};

struct vq_mesh {
    uv_loop_t *loop;
    struct vq_mesh_options options; /* texts and the cluster id point to copies */
    uint8_t cluster_id[16];
    struct vq_mesh_callbacks callbacks;
    void *data;
    struct vq_mesh_known *known;
    size_t n_known;
    struct vq_mesh_connection *connections;
    struct vq_mesh_listener *listeners;
    size_t n_listeners;
    uv_timer_t clock; /* the next thing to do: ping, silence, deadline, dial, listener */
    uint64_t clock_ms; /* when it is due */
    uint64_t stranger_logged_ms;
    bool is_stopped;
    unsigned n_handles;
};

/* mesh.c */
struct vq_mesh_known *vq_mesh_find(const struct vq_mesh *mesh, uint64_t node);
void vq_mesh_wake(struct vq_mesh *mesh, uint64_t when_ms); /* the clock turns at this time at the latest */
void vq_mesh_problem(struct vq_mesh *mesh, uint64_t node, const char *problem); /* logged when it is a new one */
/* The peer has greeted well: true when the connection is kept (others to that node are closed), false: not wanted. */
bool vq_mesh_admit(struct vq_mesh *mesh, struct vq_mesh_connection *connection);
void vq_mesh_went_online(struct vq_mesh *mesh, struct vq_mesh_connection *connection, const Vq__Hello *hello);
void vq_mesh_hear_of_consensus(struct vq_mesh_peer *peer, bool is_stopped, const char *problem); /* hello and ping */
void vq_mesh_hear_of_certificate(struct vq_mesh_peer *peer, const char *problem);
void vq_mesh_went_offline(struct vq_mesh *mesh, uint64_t node, const char *reason);
void vq_mesh_handle_closed(uv_handle_t *handle); /* its data is the mesh */

/* mesh_connection.c */
void vq_mesh_connection_dial(struct vq_mesh *mesh, struct vq_mesh_known *known);
void vq_mesh_connection_accept(struct vq_mesh *mesh, int take_fd);
void vq_mesh_connection_close(struct vq_mesh_connection *connection, const char *reason);
void vq_mesh_connection_ping(struct vq_mesh_connection *connection);
bool vq_mesh_connection_send(struct vq_mesh_connection *connection, const Vq__Mesh *message);
size_t vq_mesh_strangers(const struct vq_mesh *mesh);

/* mesh_listener.c */
VQ_MUST_CHECK int vq_mesh_listeners_make(struct vq_mesh *mesh, struct vq_error *err);
uint64_t vq_mesh_listeners_turn(struct vq_mesh *mesh, uint64_t now_ms); /* opens what is due; when to come again */
void vq_mesh_listeners_close(struct vq_mesh *mesh);
