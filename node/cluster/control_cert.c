/* `virtquorum cert renew [NODE]`: this node's certificate, or that of another, which is asked to do it. */
#define VQ_FROM VIR_FROM_NONE
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conf/base/memory.h"
#include "node/cluster/certificate.h"
#include "node/cluster/cluster.h"
#include "node/cluster/control_state.h"
#include "node/peer.h"
#include "proto/gen/node.h"

enum { RENEW_MS = 10000 };

struct renewal {
    struct vq_control_client *client;
    struct vq_peer *peer;
    char *name;
};

static void tell(struct vq_control_client *client, const char *name, int64_t expires_s)
{
    time_t when = (time_t)expires_s;
    char date[16] = "";
    struct tm utc;

    if (gmtime_r(&when, &utc) != NULL)
        (void)strftime(date, sizeof(date), "%Y-%m-%d", &utc);
    VQ_AUTOFREE char *text = vq_asprintf("%s has a new certificate, good until %s", name, date);
    vq_control_text(client, text);
}

static void renewal_over(struct renewal *renewal)
{
    if (renewal->peer != NULL)
        renewal->peer->class->close(renewal->peer);
    free(renewal->name);
    free(renewal);
}

static void asked(const void *ret, const struct vq_error *err, void *data)
{
    struct renewal *renewal = data;
    const struct vq_node_renew_certificate_ret *answer = ret;

    if (answer == NULL)
        vq_control_fail_with(renewal->client, err);
    else
        tell(renewal->client, renewal->name, answer->expires);
    renewal_over(renewal);
}

static void reached(struct vq_peer *take_peer, const struct vq_error *err, void *data)
{
    struct renewal *renewal = data;

    renewal->peer = take_peer;
    if (take_peer == NULL) {
        vq_control_fail(renewal->client, VQ_E_UNREACHABLE, err->message);
        renewal_over(renewal);
        return;
    }
    take_peer->class->call(take_peer, VQ_PROGRAM_NODE, VQ_NODE_RENEW_CERTIFICATE, NULL, RENEW_MS, asked, renewal);
}

static void ask_node(struct vq_control_client *client, const struct vq_cluster_member *member)
{
    struct vq_daemon *daemon = client->cluster->daemon;
    const struct vq_caller root = {.has_unix = true, .user = "root", .group = "root", .entry_node = daemon->node_id};
    const struct vq_request request = {.caller = &root, .driver = vq_daemon_driver(daemon, "qemu")};
    struct renewal *renewal = vq_new(struct renewal);

    renewal->client = client;
    renewal->name = vq_strdup(member->name);
    vq_peer_mesh_open(daemon, member->id, &request, reached, renewal);
}

void vq_control_cert(struct vq_control_client *client)
{
    struct vq_cluster *cluster = client->cluster;
    const char *name = client->request->cert->node;
    const struct vq_cluster_member *member = name[0] == '\0' ? NULL : vq_cluster_member_by_name(cluster, name);
    struct vq_error err = VQ_ERROR_INIT;
    int64_t expires_s;

    if (name[0] != '\0' && !vq_streq(name, cluster->self->node_name) && (member == NULL || member->removed_at_ms != 0)) {
        VQ_AUTOFREE char *text = vq_asprintf("there is no node '%s'", name);
        vq_control_fail(client, VQ_E_NO_NODE, text);
    } else if (member != NULL && member->id != cluster->self->node_id) {
        ask_node(client, member);
    } else if (!vq_identity_is_member(cluster->self)) {
        vq_control_fail(client, VQ_E_NO_CLUSTER, "this host is in no cluster yet: virtquorum init");
    } else if (vq_certificate_renew(cluster, &expires_s, &err) < 0) {
        vq_control_fail_with(client, &err);
    } else {
        tell(client, cluster->self->node_name, expires_s);
    }
}
