/* Tunnelled migration: the data go through the connection between the daemons, in pieces of a stream.
 *
 * At the source QEMU is connected to this daemon, which reads what it sends and writes it to the peer's stream. At the
 * destination QEMU listens on this host only, and the daemon connects to it and writes what comes by the stream. A side
 * that is slow stops the one before it. */
#pragma once

#include "drivers/qemu/migrate.h"

/* ---- Source ---- */

struct vq_tunnel_out;

/* Listens at the path of a socket for the one connection of this daemon's own migrate_out_connect.c; what comes there
 * goes to the peer's stream, which is open. over: once, never from inside: all was sent and the peer has confirmed it,
 * or not. */
VQ_MUST_CHECK int vq_tunnel_out_new(uv_loop_t *loop, const char *path, struct vq_peer *peer,
                                    void (*over)(const struct vq_error *err, void *data), void *data,
                                    struct vq_tunnel_out **ret, struct vq_error *err);
void vq_tunnel_out_writable(struct vq_tunnel_out *tunnel); /* the peer takes more */
void vq_tunnel_out_sent(struct vq_tunnel_out *tunnel);     /* QEMU says that it has sent all: the end is near */
/* No call-back any more; a stream that has not ended is aborted. Accepts NULL. */
void vq_tunnel_out_free(struct vq_tunnel_out *tunnel);

/* ---- Destination ---- */

/* The procedures prepare_tunnel3 and prepare_tunnel3_params: as vq_migrate_in_prepare(), with the request's stream. The
 * URI of the answer is NULL. */
void vq_migrate_tunnel_prepare(struct vq_request *request, const struct vq_migrate_options *options,
                               const uint8_t *cookie, uint32_t cookie_length, vq_migrate_prepare_cb cb, void *data);
