/* Connections of this daemon to other daemons, on behalf of drivers: struct vq_peer of drivers/peer.h.
 *
 * peer.c decides by the URI which kind it is; the nodes of this cluster are reached over the mesh, everybody else as by
 * an ordinary client (peer_client.c). On the node loop. */
#pragma once

#include <stdint.h>

#include "drivers/peer.h"

struct vq_daemon;
struct vq_request;

/* By URI. One that leads to a node of this cluster (this one included) goes over the mesh with the identity of the
 * request's caller: qemu:///system?node=NAME, and any remote URI whose host is a node's. Everything else goes to
 * vq_peer_client_open(). request: borrowed for the call. */
void vq_peer_open(struct vq_daemon *daemon, const char *uri, const struct vq_request *request, vq_peer_open_cb cb,
                  void *data);

/* A node of this cluster, over the mesh or in this process: calls run there as the request's caller, bound to no
 * session of his, in the view of that node alone. request: borrowed for the call; NULL: the daemon itself calls. No streams.
 * Errors: VIR_ERR_INVALID_ARG there is no such node; VIR_ERR_OPERATION_FAILED it is not reachable. */
void vq_peer_mesh_open(struct vq_daemon *daemon, uint64_t node, const struct vq_request *request, vq_peer_open_cb cb,
                       void *data);

/* The node is not reachable any more: its peers are lost. */
void vq_peer_mesh_lost(struct vq_daemon *daemon, uint64_t node);

/* A daemon outside, as an ordinary client of it: qemu+unix, +tls, +tcp, +ssh. Up to and with connect_open. */
void vq_peer_client_open(struct vq_daemon *daemon, const char *uri, vq_peer_open_cb cb, void *data);
/* The daemon stops: connections that are being opened fail, with their call-backs before this returns. */
void vq_peer_client_stop(struct vq_daemon *daemon);
