/* Membership of this node: its identity, consensus, the cluster port and the control socket. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/base/error.h"

struct vq_daemon;

/* First thing after the local store is open: sets daemon->node_id, node_name and boot (making the identity of a lone
 * node, id 1, when there is none). */
VQ_MUST_CHECK int vq_cluster_identity(struct vq_daemon *daemon, struct vq_error *err);
/* After the store is open: starts consensus with vq_daemon_raft_status/applied as callbacks, the mesh when this node is
 * a member of a cluster, the cluster port and the control socket. Sets daemon->raft, mesh and cluster. */
VQ_MUST_CHECK int vq_cluster_start(struct vq_daemon *daemon, struct vq_error *err);
/* A commit was applied: the changes of nodes and settings are the cluster's business. Called for every list. */
struct vq_change_list;
void vq_cluster_applied(struct vq_daemon *daemon, uint64_t index, const struct vq_change_list *changes);
/* And now that clients and drivers have been told: answer who waits for the index. */
void vq_cluster_answer(struct vq_daemon *daemon, uint64_t index);
void vq_cluster_status_changed(struct vq_daemon *daemon);
/* Let go of everything, consensus last; calls back when all handles are closed. */
void vq_cluster_stop(struct vq_daemon *daemon, void (*stopped)(void *data), void *data);

/* True for this node itself. */
bool vq_cluster_is_online(const struct vq_daemon *daemon, uint64_t node_id);
/* It was removed, or went by itself: it will never come back under this id. */
bool vq_cluster_has_left(const struct vq_daemon *daemon, uint64_t node_id);
/* The member that this host is: its name (also with the domain of this host's own name behind it), or one of its addresses
 * with or without the port, an IPv6 address with or without brackets. This node itself too, also a lone one, and by its host's
 * name. 0: none, or several. */
uint64_t vq_cluster_find_node(const struct vq_daemon *daemon, const char *host);
/* Borrowed until the next turn of the loop; NULL: there is no such node. */
const char *vq_cluster_node_name(const struct vq_daemon *daemon, uint64_t node);
/* Host part of the address that others reach it by, without brackets; malloc'ed. NULL: none is known. */
char *vq_cluster_node_address(const struct vq_daemon *daemon, uint64_t node);
/* "node2 is not reachable since 14:03:11": VIR_ERR_OPERATION_FAILED into err. Returns -1. */
int vq_cluster_unreachable(const struct vq_daemon *daemon, uint64_t node_id, struct vq_error *err);
