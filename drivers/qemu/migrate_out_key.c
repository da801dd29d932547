/* Between nodes the data is secured by a key that exists for one migration: the destination makes it and tells it to this
 * node over the mesh, where both are known by their certificates. */
#define VQ_FROM VIR_FROM_QEMU

#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "drivers/qemu/migrate_out.h"
#include "proto/gen/node.h"

enum { KEY_TIMEOUT_MS = 10000 };

/* Lives until the last call-back has come; leaving is NULL when nobody waits any more. */
struct vq_leaving_key {
    struct vq_leaving *leaving;
    struct vq_peer *peer;
    vq_leaving_key_cb cb;
};

static void over(struct vq_leaving_key *asking, const uint8_t *key, const struct vq_error *err)
{
    struct vq_leaving *leaving = asking->leaving;
    struct vq_error own = VQ_ERROR_INIT;

    if (asking->peer != NULL)
        asking->peer->class->close(asking->peer);
    if (leaving != NULL) {
        leaving->key = NULL;
        if (err != NULL) {
            own = *err;
            (void)vq_error_wrap(&own, "asking the destination for the key of the data");
        }
        asking->cb(leaving, key, err != NULL ? &own : NULL);
    }
    free(asking);
}

static void told(const void *ret, const struct vq_error *err, void *data)
{
    const struct vq_node_migrate_key_ret *key = ret;
    struct vq_leaving_key *asking = data;
    struct vq_error own = VQ_ERROR_INIT;

    if (err == NULL && key->n_key != VQ_MIGRATE_KEY_BYTES) {
        (void)vq_error_set(&own, VIR_ERR_INTERNAL_ERROR, "it has %u bytes, not %d", key->n_key, VQ_MIGRATE_KEY_BYTES);
        err = &own;
    }
    over(asking, err == NULL ? key->key : NULL, err);
}

static void opened(struct vq_peer *take_peer, const struct vq_error *err, void *data)
{
    struct vq_leaving_key *asking = data;
    struct vq_node_migrate_key_args args = { .run = 0 };

    asking->peer = take_peer;
    if (take_peer == NULL || asking->leaving == NULL) {
        over(asking, NULL, err);
        return;
    }
    memcpy(args.uuid, asking->leaving->guest->uuid, sizeof(args.uuid));
    args.run = asking->leaving->guest->migration->run;
    take_peer->class->call(take_peer, VQ_PROGRAM_NODE, VQ_NODE_MIGRATE_KEY, &args, KEY_TIMEOUT_MS, told, asking);
}

void vq_leaving_ask_key(struct vq_leaving *leaving, vq_leaving_key_cb cb)
{
    struct vq_leaving_key *asking = vq_new(struct vq_leaving_key);

    asking->leaving = leaving;
    asking->cb = cb;
    leaving->key = asking;
    leaving->guest->qemu->host->peer_open_node(leaving->guest->migration->peer,
                                                leaving->request != NULL ? leaving->request : leaving->resuming, opened,
                                                asking);
}

void vq_leaving_forget_key(struct vq_leaving *leaving)
{
    if (leaving->key != NULL)
        leaving->key->leaving = NULL;
    leaving->key = NULL;
}
