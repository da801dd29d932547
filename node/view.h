/* What a client sees: which hypervisor, and the whole cluster or one node, chosen by the URI that it opens. */
#pragma once

#include <stdint.h>

#include "conf/base/error.h"

struct vq_daemon;
struct vq_driver;

struct vq_view {
    struct vq_driver *driver; /* never NULL */
    uint64_t node;            /* 0: the whole cluster */
    char *uri;                /* as connect_get_uri tells it; malloc'ed */
};

/* name: as the client sent it, "" for the default. default_node: of the socket, 0 for the cluster. The node is chosen
 * by the query "?node=NAME", the path "/system/NAME", else default_node; "." is this node itself.
 *
 * Errors: VIR_ERR_NO_CONNECT nothing serves such a URI here; VIR_ERR_INVALID_ARG no such node, bad URI; what the
 * driver says about the path. */
VQ_MUST_CHECK int vq_view_open(const struct vq_daemon *daemon, const char *name, uint64_t default_node,
                               struct vq_view *ret_view, struct vq_error *err);
