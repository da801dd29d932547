/* What carries libraft's messages: TLS 1.3 connections between nodes, given to raft_uv as one end of a socket pair.
 *
 * raft_uv writes only to connections that it asked for and reads only from accepted ones, so a pair of nodes has two
 * one-way connections. Outgoing ones are made here; incoming ones were accepted by the node loop (one listener for the
 * whole cluster port) and come in by vq_transport_accept(). Everything here runs on the raft loop.
 *
 * Raft addresses: the decimal node id. Where a node really listens is looked up in the table of
 * vq_transport_set_peers() at each attempt to connect; who is not in the table is refused in both directions, and his
 * open connections are closed when the table loses him. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include <raft.h>
#include <raft/uv.h>

#include "conf/base/error.h"
#include "proto/channel.h"

struct vq_transport;
struct vq_tls_credentials;
struct vq_raft_address;

struct vq_transport_options {
    uint64_t node_id;
    struct vq_tls_credentials *credentials; /* the transport takes a reference; NULL: a lone node, connects to nobody */
    uint64_t connect_ms;                    /* deadline of TCP and handshake together; 0: 2000 */
    uint64_t stalled_ms;                    /* a peer that takes nothing for so long is dropped; 0: 1000 */
    size_t queue_max_bytes;                 /* back-pressure above this, each direction; 0: 1 MiB */
};

/* Make the transport and fill in what raft_uv_init() is given (version 1). uv_transport is the caller's and must live
 * until vq_transport_free(); its data field is libraft's. */
struct vq_transport *vq_transport_new(uv_loop_t *loop, const struct vq_transport_options *options,
                                      struct raft_uv_transport *uv_transport);

/* After libraft has closed it (raft_close() calls its close method and waits for it; call this in the close callback
 * of raft_close(), after raft_uv_close()), or when it was never given to raft_init(). Its own handles that are still
 * closing hold on to the memory; the loop must run until they are gone. */
void vq_transport_free(struct vq_transport *transport);

/* Replace the table of nodes. Connections of nodes that are no longer in it are closed. Addresses are "host:port" or
 * "[host]:port", the host numeric; an entry whose address cannot be parsed may connect to us but not the other way. */
void vq_transport_set_peers(struct vq_transport *transport, const struct vq_raft_address *peers, size_t n_peers);

/* New credentials for new connections; the open ones are closed and made anew, one a second. */
void vq_transport_set_credentials(struct vq_transport *transport, struct vq_tls_credentials *credentials);

/* An accepted connection, its handshake done and ALPN "vq-raft". The identity is the certificate's. Takes the
 * descriptor, session and input in any case; what is refused is closed and logged. */
void vq_transport_accept(struct vq_transport *transport, const struct vq_channel_parts *take_parts);

/* For tests and status: connections that are open (both directions). */
size_t vq_transport_connections(const struct vq_transport *transport);
