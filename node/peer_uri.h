/* URIs of other daemons: qemu:///system, qemu+tls://host:port/system?pkipath=..., as libvirt's clients take them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/base/error.h"

enum vq_peer_transport { VQ_PEER_LOCAL, VQ_PEER_UNIX, VQ_PEER_TLS, VQ_PEER_TCP, VQ_PEER_SSH };

struct vq_peer_uri {
    enum vq_peer_transport transport;
    char *name;        /* for connect_open: without transport, host, and what the transport alone needs */
    char *user, *host; /* host without brackets; NULL: none */
    uint16_t port;     /* 0: the transport's own */
    char *node;        /* the node that the query or the path chooses, NULL: none */
    char *socket;      /* what follows is NULL when it was not said */
    char *pkipath, *tls_priority, *keyfile, *netcat, *proxy;
    bool no_verify;
};

/* Errors: VIR_ERR_INVALID_ARG with the reason. */
VQ_MUST_CHECK int vq_peer_uri_parse(const char *text, struct vq_peer_uri *ret, struct vq_error *err);
void vq_peer_uri_done(struct vq_peer_uri *uri);
