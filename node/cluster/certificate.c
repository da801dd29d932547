/* Signing and renewing certificates. */
#define VQ_FROM VIR_FROM_NONE
#include "node/cluster/certificate.h"

#include <gnutls/gnutls.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "node/cluster/cluster_state.h"
#include "node/cluster/token.h"
#include "node/mesh/mesh.h"
#include "proto/pki.h"
#include "proto/tls.h"

enum { LOOK_S = 3600, RETRY_S = 600 };

/* ---- Signing ---- */

static int open_authority_key(const struct vq_cluster *cluster, char **ret_key, struct vq_error *err)
{
    struct vq_store_view *view;
    const uint8_t *sealed;
    uint8_t *key = NULL;
    size_t sealed_length, length;
    int rc = -1;

    if (vq_store_view_begin(cluster->daemon->store, &view, err) < 0)
        return -1;
    if (!vq_store_setting(view, "cluster.authority_key", &sealed, &sealed_length))
        (void)vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "the key of the cluster's authority is missing");
    else
        rc = vq_pki_unseal(cluster->self->cluster_key.data, sealed, sealed_length, "cluster.authority_key", &key, &length,
                           err);
    vq_store_view_end(view);
    if (rc == 0) {
        *ret_key = vq_strndup((const char *)key, length);
        gnutls_memset(key, 0, length);
        free(key);
    }
    return rc;
}

int vq_certificate_sign(const struct vq_cluster *cluster, const char *request_pem, uint64_t node_id, const char *name,
                        char *const *addresses, size_t n_addresses, char **ret_pem, struct vq_error *err)
{
    VQ_AUTOFREE char *key = NULL;
    char *hosts[VQ_TOKEN_ADDRESSES_MAX + 1] = {NULL};

    if (n_addresses > VQ_TOKEN_ADDRESSES_MAX)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "a node has %d addresses at most", VQ_TOKEN_ADDRESSES_MAX);
    if (open_authority_key(cluster, &key, err) < 0)
        return -1;
    for (size_t i = 0; i < n_addresses; i++)
        hosts[i] = vq_node_address_host(addresses[i]);
    int rc = vq_pki_sign(request_pem, cluster->self->authority_pem, key, node_id, name, (const char *const *)hosts,
                         VQ_CERTIFICATE_DAYS, ret_pem, err);
    for (size_t i = 0; i < n_addresses; i++)
        free(hosts[i]);
    gnutls_memset(key, 0, strlen(key));
    return rc < 0 ? vq_error_wrap(err, "signing the certificate") : 0;
}

/* ---- Renewing ---- */

static int make_successor(const struct vq_cluster *cluster, Vq__LocalNode **ret, struct vq_error *err)
{
    const Vq__LocalNode *self = cluster->self;
    VQ_AUTOFREE char *key = NULL, *request = NULL, *certificate = NULL;
    Vq__LocalNode draft = *self;

    if (VQ_FAILPOINT("cluster.certificate.sign"))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "failure point cluster.certificate.sign");
    if (vq_pki_key_new(&key, err) < 0 || vq_pki_request_new(key, self->node_name, &request, err) < 0 ||
        vq_certificate_sign(cluster, request, self->node_id, self->node_name, self->addresses, self->n_addresses, &certificate,
                            err) < 0)
        return -1;
    draft.key_pem = key;
    draft.certificate_pem = certificate;
    *ret = vq_identity_copy(&draft);
    gnutls_memset(key, 0, strlen(key));
    return 0;
}

static int use_successor(struct vq_cluster *cluster, Vq__LocalNode *take_next, struct vq_error *err)
{
    struct vq_tls_credentials *credentials = NULL;

    /* All that can fail comes before anything is changed. */
    if (vq_tls_credentials_new(take_next->authority_pem, take_next->certificate_pem, take_next->key_pem, NULL, &credentials,
                               err) < 0 ||
        vq_identity_save(cluster->daemon->local, take_next, err) < 0) {
        if (credentials != NULL)
            vq_tls_credentials_free(credentials);
        vq_identity_free(take_next);
        return -1;
    }
    vq_identity_free(cluster->self);
    cluster->self = take_next;
    vq_tls_credentials_free(cluster->credentials);
    cluster->credentials = credentials;
    vq_mesh_set_credentials(cluster->daemon->mesh, credentials);
    if (cluster->daemon->raft != NULL)
        vq_raft_set_credentials(cluster->daemon->raft, credentials);
    cluster->has_refreshed_record = false; /* the member table follows */
    return 0;
}

static int renew(struct vq_cluster *cluster, int64_t *ret_expires_s, struct vq_error *err)
{
    Vq__LocalNode *next;

    if (!vq_identity_is_member(cluster->self) || cluster->daemon->mesh == NULL)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "this host is in no cluster and has no certificate of one");
    if (vq_move_is_busy(cluster) || cluster->is_initialising || cluster->is_joining)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "this node is changing its cluster, try again");
    if (make_successor(cluster, &next, err) < 0 || use_successor(cluster, next, err) < 0)
        return -1;
    return vq_pki_expiry(cluster->self->certificate_pem, ret_expires_s, err);
}

int vq_certificate_renew(struct vq_cluster *cluster, int64_t *ret_expires_s, struct vq_error *err)
{
    struct vq_error failure = VQ_ERROR_INIT;

    if (renew(cluster, ret_expires_s, &failure) < 0) {
        (void)snprintf(cluster->certificate_problem, sizeof(cluster->certificate_problem), "%s", failure.message);
        *err = failure;
        return -1;
    }
    cluster->certificate_problem[0] = '\0';
    vq_log(INFO, "certificate.renewed", "node=%s days=%d", cluster->self->node_name, VQ_CERTIFICATE_DAYS);
    return 0;
}

int64_t vq_certificate_due(const char *certificate_pem, int64_t begins_s, int64_t expires_s)
{
    uint64_t mixed = 1469598103934665603u; /* FNV-1a: any that spreads is good */
    int64_t life = expires_s > begins_s ? expires_s - begins_s : 0;

    for (const char *at = certificate_pem; *at != '\0'; at++)
        mixed = (mixed ^ (unsigned char)*at) * 1099511628211u;
    return expires_s - life / 3 + (life < 6 ? 0 : (int64_t)(mixed % (uint64_t)(life / 6)));
}

static bool is_due(const struct vq_cluster *cluster, int64_t now_s)
{
    const char *pem = cluster->self->certificate_pem;
    struct vq_error ignored = VQ_ERROR_INIT;
    int64_t expires_s;

    if (VQ_FAILPOINT("cluster.certificate.due"))
        return true;
    return vq_pki_expiry(pem, &expires_s, &ignored) == 0 &&
           now_s >= vq_certificate_due(pem, expires_s - (int64_t)VQ_CERTIFICATE_DAYS * 86400, expires_s);
}

void vq_certificate_tick(struct vq_cluster *cluster)
{
    int64_t now_s = (int64_t)(vq_cluster_unix_ms() / 1000), expires_s;
    struct vq_error err = VQ_ERROR_INIT;

    /* Until this copy of the store is one with a leader it may not have the authority's key yet. */
    if (now_s < cluster->certificate_look_s || cluster->daemon->mesh == NULL || !cluster->has_seen_self ||
        cluster->daemon->raft_status.leader == 0 || cluster->removed_since_ms != 0)
        return;
    cluster->certificate_look_s = now_s + LOOK_S;
    if (!is_due(cluster, now_s) || vq_certificate_renew(cluster, &expires_s, &err) == 0)
        return;
    cluster->certificate_look_s = now_s + RETRY_S;
    vq_log(ERROR, "certificate.renew", "%s, tried again in %d minutes", err.message, RETRY_S / 60);
}
