/* Opens a daemon by its URI as peers are opened, and prints what it said; for tests against daemons that are not ours.
 *
 *   peer_probe URI [PKI_DIR]   prints "host NAME", "feature N: M" for those that migration asks, "error CODE DOMAIN
 * TEXT" */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "node/daemon.h"
#include "node/peer.h"
#include "proto/gen/remote.h"

static const int features[] = {4, 6, 13, 12, 10};
static struct vq_peer *peer;
static unsigned n_answers;

static void fail(const struct vq_error *err)
{
    printf("error %d %d %s\n", err->code, err->from, err->message);
    if (peer != NULL)
        peer->class->close(vq_take(peer));
}

static void answered(void)
{
    if (++n_answers == VQ_N_ELEMENTS(features) + 2)
        peer->class->close(vq_take(peer));
}

static void hostname_told(const void *ret, const struct vq_error *err, void *data)
{
    (void)data;
    if (err != NULL) {
        fail(err);
        return;
    }
    printf("host %s\n", ((const struct vq_remote_connect_get_hostname_ret *)ret)->hostname);
    answered();
}

static void feature_told(const void *ret, const struct vq_error *err, void *data)
{
    if (err != NULL) {
        fail(err);
        return;
    }
    printf("feature %d: %d\n", *(const int *)data,
           ((const struct vq_remote_connect_supports_feature_ret *)ret)->supported);
    answered();
}

static void nobody_told(const void *ret, const struct vq_error *err, void *data)
{
    (void)ret;
    (void)data;
    if (err == NULL)
        printf("there is a domain 'nobody'\n");
    else
        printf("lookup %d %d %s\n", err->code, err->from, err->message);
    answered();
}

/* All at once: the answers find their calls. */
static void opened(struct vq_peer *take_peer, const struct vq_error *err, void *data)
{
    const struct vq_remote_domain_lookup_by_name_args nobody = {.name = "nobody"};

    (void)data;
    if (take_peer == NULL) {
        fail(err);
        return;
    }
    peer = take_peer;
    peer->class->call(peer, VQ_PROGRAM_REMOTE, VQ_REMOTE_CONNECT_GET_HOSTNAME, NULL, 10000, hostname_told, NULL);
    for (size_t i = 0; i < VQ_N_ELEMENTS(features); i++) {
        const struct vq_remote_connect_supports_feature_args args = {.feature = features[i]};
        peer->class->call(peer, VQ_PROGRAM_REMOTE, VQ_REMOTE_CONNECT_SUPPORTS_FEATURE, &args, 10000, feature_told,
                          (void *)(uintptr_t)&features[i]);
    }
    peer->class->call(peer, VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_LOOKUP_BY_NAME, &nobody, 10000, nobody_told, NULL);
}

int main(int argc, char **argv)
{
    struct vq_daemon daemon = {.loop = uv_default_loop()};

    if (argc < 2) {
        fprintf(stderr, "usage: peer_probe URI [PKI_DIR]\n");
        return 2;
    }
    vq_config_init(&daemon.config);
    if (argc > 2) {
        free(daemon.config.pki_dir);
        daemon.config.pki_dir = vq_strdup(argv[2]);
    }
    vq_peer_client_open(&daemon, argv[1], opened, NULL);
    (void)uv_run(daemon.loop, UV_RUN_DEFAULT);
    int rc = uv_loop_close(daemon.loop);
    vq_config_done(&daemon.config);
    return rc == 0 ? 0 : 1;
}
