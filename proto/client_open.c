/* What is said before a connection can be used: authentication, keepalive, connect_open. */
#define VQ_FROM VIR_FROM_RPC
#include <string.h>

#include "proto/client_priv.h"
#include "proto/gen/remote.h"

enum { FEATURE_KEEPALIVE = 10 };
enum { AUTH_NONE = 0, AUTH_SASL = 1, AUTH_POLKIT = 2 }; /* of auth_list */

void vq_client_opened(struct vq_client *client, const struct vq_error *err)
{
    if (client->state != VQ_CLIENT_OPENING)
        return; /* the end of the connection is told by itself */
    if (err != NULL) {
        vq_client_end(client, err);
        return;
    }
    client->state = VQ_CLIENT_OPEN;
    client->callbacks->opened(client, NULL, client->data);
}

static void ask(struct vq_client *client, const char *doing, uint32_t number, const void *args, vq_client_cb cb)
{
    client->doing = doing;
    vq_client_call(client, VQ_PROGRAM_REMOTE, number, args, 0, cb, client); /* the deadline of opening holds */
}

static void open_done(const void *ret, const struct vq_error *err, void *data)
{
    (void)ret;
    vq_client_opened(data, err);
}

/* Also after an error: a daemon that knows nothing of keepalive is just not asked. */
static void feature_done(const void *ret, const struct vq_error *err, void *data)
{
    struct vq_client *client = data;
    const struct vq_remote_connect_supports_feature_ret *feature = ret;
    const struct vq_remote_connect_open_args open = {.name = client->uri};

    if (client->state != VQ_CLIENT_OPENING)
        return;
    client->keepalive = err == NULL && feature->supported == 1;
    ask(client, "opening the hypervisor", VQ_REMOTE_CONNECT_OPEN, &open, open_done);
}

static void ask_feature(struct vq_client *client)
{
    const struct vq_remote_connect_supports_feature_args feature = {.feature = FEATURE_KEEPALIVE};

    ask(client, "agreeing on keepalive", VQ_REMOTE_CONNECT_SUPPORTS_FEATURE, &feature, feature_done);
}

static void polkit_done(const void *ret, const struct vq_error *err, void *data)
{
    struct vq_client *client = data;
    const struct vq_remote_auth_polkit_ret *polkit = ret;
    struct vq_error failed = VQ_ERROR_INIT;

    if (err == NULL && polkit->complete != 1) {
        vq_error_set(&failed, VIR_ERR_AUTH_FAILED, "the daemon's polkit does not let us in");
        err = &failed;
    }
    if (err != NULL)
        vq_client_opened(client, err);
    else
        ask_feature(client);
}

static bool offers(const struct vq_remote_auth_list_ret *list, int type)
{
    for (uint32_t i = 0; i < list->n_types; i++)
        if (list->types[i] == type)
            return true;
    return false;
}

static void auth_listed(const void *ret, const struct vq_error *err, void *data)
{
    struct vq_client *client = data;
    const struct vq_remote_auth_list_ret *list = ret;
    struct vq_error failed = VQ_ERROR_INIT;

    if (err != NULL) {
        vq_client_opened(client, err);
    } else if (offers(list, AUTH_NONE)) {
        ask_feature(client);
    } else if (offers(list, AUTH_POLKIT)) {
        ask(client, "asking polkit", VQ_REMOTE_AUTH_POLKIT, NULL, polkit_done);
    } else {
        vq_error_set(&failed, VIR_ERR_AUTH_FAILED, "the daemon wants %s, and nobody is here to give it",
                     offers(list, AUTH_SASL) ? "a user name and password (SASL)" : "an authentication unknown to us");
        vq_client_opened(client, &failed);
    }
}

void vq_client_begin(struct vq_client *client)
{
    client->state = VQ_CLIENT_OPENING;
    ask(client, "authentication", VQ_REMOTE_AUTH_LIST, NULL, auth_listed);
}
