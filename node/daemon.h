/* The object that holds everything of one daemon, and the order in which it starts and stops.
 *
 * All of it is the node loop's. Parts reach each other through it; none keeps a pointer into another part's memory. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "drivers/driver.h"
#include "node/config.h"
#include "raft/raft.h"
#include "store/local.h"
#include "store/store.h"

struct vq_call_pool;
struct vq_cluster;
struct vq_events;
struct vq_listeners;
struct vq_mesh;
struct vq_overlay;
struct vq_peer_mesh;
struct vq_sessions;
struct vq_stream_links;

enum { VQ_DRIVERS_MAX = 16 };

struct vq_daemon {
    uv_loop_t *loop;
    struct vq_config config;

    /* Identity: set by vq_cluster_identity() from the local store before anything else starts. */
    uint64_t node_id;
    char *node_name;
    uint8_t cluster_key[32]; /* what secrets in the replicated state are sealed with (node/seal.h) */
    bool has_cluster_key;    /* always, but in tests of parts */
    uint8_t cluster_id[16];  /* all zero on a lone node */
    uint64_t boot;    /* random per start of the daemon */
    char boot_id[40]; /* of the host's kernel */

    struct vq_local *local;
    struct vq_store *store;
    bool store_is_durable; /* set by vq_cluster_identity(): clusters of one and two flush each commit */
    struct vq_raft *raft;
    struct vq_raft_status raft_status; /* as last told */
    uint64_t applied;                  /* highest index whose changes were handed round on this loop */
    struct vq_mesh *mesh;              /* NULL: a lone node */
    struct vq_cluster *cluster;        /* membership, control socket, cluster port (node/cluster/cluster.h) */

    struct vq_driver *drivers[VQ_DRIVERS_MAX]; /* those that started; see vq_daemon_driver() */
    size_t n_drivers;
    struct vq_driver_host host; /* what all of them get */

    struct vq_call_pool *calls;
    struct vq_sessions *sessions;
    struct vq_listeners *listeners;
    struct vq_events *events;
    struct vq_overlay *overlay;
    struct vq_peer_mesh *mesh_peers; /* open ones (node/peer_mesh.c) */
    struct vq_stream_links *stream_links;
    struct vq_applied_wait *applied_waits;
    struct vq_peer_opening *peer_openings; /* connections to other daemons that are being opened (node/peer.h) */
    uv_timer_t second;   /* the slow clock: deadlines that need no better */
    uint64_t started_ms; /* loop time */
    bool has_autostarted;
    bool is_stopping;
    unsigned n_stopping; /* parts that have not let go yet */
    int lock_fd;         /* of the state directory: one daemon for each */
};

/* Everything up to open sockets; the configuration becomes the daemon's. On failure what was opened is being closed as
 * by vq_daemon_stop(): run the loop until it is empty, then vq_daemon_done(). */
VQ_MUST_CHECK int vq_daemon_start(struct vq_daemon *daemon, uv_loop_t *loop, const struct vq_config *take_config,
                                  struct vq_error *err);
/* Listeners first, then sessions, drivers (guests go on), mesh, consensus. The loop runs empty afterwards. */
void vq_daemon_stop(struct vq_daemon *daemon);
void vq_daemon_done(struct vq_daemon *daemon); /* after the loop has run empty */
/* Certificates and what else may change while it runs. */
void vq_daemon_reload(struct vq_daemon *daemon);

/* By name ("qemu"); NULL when it did not start. */
struct vq_driver *vq_daemon_driver(const struct vq_daemon *daemon, const char *name);
struct vq_driver *vq_daemon_driver_by_type(const struct vq_daemon *daemon, uint8_t driver_type);

/* Call back when this node has applied the index (at once when it has), or with false after timeout_ms. The wait
 * cannot be taken back: data must live until then. */
typedef void (*vq_applied_cb)(bool is_applied, void *data);
void vq_daemon_when_applied(struct vq_daemon *daemon, uint64_t index, uint64_t timeout_ms, vq_applied_cb cb,
                            void *data);

/* What consensus tells; node/cluster/cluster.c passes these when it starts raft, with the daemon as data. */
void vq_daemon_raft_status(const struct vq_raft_status *status, void *data);
void vq_daemon_raft_applied(uint64_t index, const struct vq_change_list *changes, void *data);
