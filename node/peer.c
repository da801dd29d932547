/* Which kind of peer a URI leads to. */
#define VQ_FROM VIR_FROM_RPC
#include "node/peer.h"

#include "conf/base/text.h"
#include "node/cluster/cluster.h"
#include "node/daemon.h"
#include "node/peer_uri.h"

/* The node of this cluster that the URI means; 0: a daemon outside. A socket's path says itself which daemon is meant.
 */
static uint64_t find_node(const struct vq_daemon *daemon, const struct vq_peer_uri *uri)
{
    if (uri->socket != NULL)
        return 0;
    uint64_t node = uri->host == NULL ? daemon->node_id : vq_cluster_find_node(daemon, uri->host);
    if (node == 0 || uri->node == NULL)
        return node;
    return vq_streq(uri->node, ".") ? node : vq_cluster_find_node(daemon, uri->node);
}

void vq_peer_open(struct vq_daemon *daemon, const char *uri, const struct vq_request *request, vq_peer_open_cb cb,
                  void *data)
{
    struct vq_peer_uri parsed;
    uint64_t node = 0;

    if (vq_peer_uri_parse(uri, &parsed, NULL) == 0) { /* a bad one is told by the other function, from the loop */
        node = find_node(daemon, &parsed);
        vq_peer_uri_done(&parsed);
    }
    if (node != 0)
        vq_peer_mesh_open(daemon, node, request, cb, data);
    else
        vq_peer_client_open(daemon, uri, cb, data);
}
