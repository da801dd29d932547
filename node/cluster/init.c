/* A lone node becomes the first node of a named cluster: authority, certificate, cluster key, and the open port.
 *
 * The record "init" says what the node is about to be. It is written before the command that makes it so and taken away
 * after the node's own record was changed; whatever happens in between is finished by vq_init_tick(). */
#define VQ_FROM VIR_FROM_NONE
#include <stdlib.h>
#include <string.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "node/cluster/cluster_state.h"
#include "node/mesh/propose.h"
#include "proto/pki.h"

static const char init_key[] = "init";
#define AUTHORITY_KEY_PLACE "cluster.authority_key"

struct init {
    struct vq_cluster *cluster;
    vq_init_cb done;
    void *data;
};

static int load_pending(struct vq_cluster *cluster, Vq__LocalNode **ret, struct vq_error *err)
{
    VQ_AUTOFREE void *bytes = NULL;
    size_t length;
    int found = vq_local_get(cluster->daemon->local, VQ_CLUSTER_TABLE, init_key, strlen(init_key), &bytes, &length, err);

    if (found <= 0)
        return found;
    *ret = vq__local_node__unpack(NULL, length, bytes);
    return *ret == NULL ? vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "the record of the new cluster is damaged") : 1;
}

static int save_pending(struct vq_cluster *cluster, const Vq__LocalNode *self, struct vq_error *err)
{
    size_t size = vq__local_node__get_packed_size(self);
    VQ_AUTOFREE uint8_t *bytes = vq_calloc(1, size + 1);

    (void)vq__local_node__pack(self, bytes);
    return vq_local_put(cluster->daemon->local, VQ_CLUSTER_TABLE, init_key, strlen(init_key), bytes, size, true, err);
}

static void drop_pending(struct vq_cluster *cluster)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_local_delete(cluster->daemon->local, VQ_CLUSTER_TABLE, init_key, strlen(init_key), &err) < 0)
        vq_log(WARN, "init.record", "%s; it is dropped later", err.message);
}

/* The command is committed: this node is the first of the cluster from now on. */
static int become(struct vq_cluster *cluster, struct vq_error *err)
{
    Vq__LocalNode *self = NULL;

    if (load_pending(cluster, &self, err) <= 0 || vq_identity_save(cluster->daemon->local, self, err) < 0) {
        vq_identity_free(self);
        return vq_error_wrap(err, "the cluster is made, but this node's record of it is not");
    }
    (void)VQ_FAILPOINT("init.saved");
    vq_log(INFO, "init.done", "cluster=%s node=%s", self->cluster_name, self->node_name);
    vq_cluster_adopt(cluster, self);
    drop_pending(cluster);
    if (vq_cluster_open_port(cluster, err) < 0)
        return -1;
    vq_raft_set_credentials(cluster->daemon->raft, cluster->credentials);
    vq_cluster_load_members(cluster);
    return 0;
}

static void init_proposed(enum vq_raft_outcome outcome, const struct vq_result *result, const struct vq_error *err,
                          void *data)
{
    struct init *init = data;
    struct vq_error failure = VQ_ERROR_INIT;

    if (outcome == VQ_RAFT_APPLIED && result->code != VIR_ERR_OK)
        vq_error_set_from(&failure, result->from, result->code, "%s", result->message);
    else if (outcome == VQ_RAFT_APPLIED)
        (void)become(init->cluster, &failure); /* the error is in failure */
    else
        failure = *err;
    if (outcome == VQ_RAFT_REFUSED || (outcome == VQ_RAFT_APPLIED && result->code != VIR_ERR_OK))
        drop_pending(init->cluster);
    init->cluster->is_initialising = false;
    init->done(failure.code == VIR_ERR_OK ? NULL : &failure, init->data);
    free(init);
}

/* Of the new cluster's id: the same command, however often it is proposed. */
static void propose_init(struct vq_cluster *cluster, const Vq__LocalNode *self, const uint8_t *sealed,
                         size_t sealed_length, struct init *take_init)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__ClusterInit change = VQ__CLUSTER_INIT__INIT;
    Vq__NodeRecord *record = vq_cluster_own_record(cluster->daemon, self);

    record->joined_ms = vq_cluster_unix_ms();
    change.name = self->cluster_name;
    change.cluster_id = self->cluster_id;
    change.authority_pem = self->authority_pem;
    change.authority_key_sealed = (ProtobufCBinaryData){sealed_length, (uint8_t *)sealed};
    change.node = record;
    command.request_id = self->cluster_id;
    command.change_case = VQ__COMMAND__CHANGE_CLUSTER_INIT;
    command.cluster_init = &change;
    vq_propose(cluster->daemon, &command, 0, init_proposed, take_init);
    vq_store_node_free(record);
}

/* Authority and own certificate into self; the authority's key sealed. */
static int make_keys(Vq__LocalNode *self, const char *const *hosts, uint8_t **ret_sealed, size_t *ret_sealed_length,
                     struct vq_error *err)
{
    VQ_AUTOFREE char *authority_key = NULL, *request = NULL;

    if (vq_pki_key_new(&authority_key, err) < 0 ||
        vq_pki_authority_new(self->cluster_name, authority_key, VQ_AUTHORITY_DAYS, &self->authority_pem, err) < 0 ||
        vq_pki_key_new(&self->key_pem, err) < 0 ||
        vq_pki_request_new(self->key_pem, self->node_name, &request, err) < 0 ||
        vq_pki_sign(request, self->authority_pem, authority_key, self->node_id, self->node_name, hosts,
                    VQ_CERTIFICATE_DAYS, &self->certificate_pem, err) < 0)
        return -1;
    return vq_pki_seal(self->cluster_key.data, authority_key, strlen(authority_key), AUTHORITY_KEY_PLACE, ret_sealed,
                       ret_sealed_length, err);
}

static int check_names(const char *cluster_name, const char *node_name, struct vq_error *err)
{
    if (!vq_node_name_is_valid(cluster_name))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' cannot be the name of a cluster: letters, digits and '-'",
                            cluster_name);
    if (!vq_node_name_is_valid(node_name))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' cannot be the name of a node: letters, digits and '-'",
                            node_name);
    return 0;
}

static int init_address(struct vq_cluster *cluster, const char *advertise, char **ret_address, uint16_t *ret_port,
                        struct vq_error *err)
{
    VQ_AUTOFREE char *guess = advertise[0] == '\0' ? vq_node_address_guess() : vq_strdup(advertise);

    if (guess == NULL)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "this host has no address that others could reach; say it: "
                                                      "--advertise ADDRESS");
    return vq_node_address_parse(guess, vq_cluster_default_port(cluster->daemon), ret_address, ret_port, err);
}

int vq_init_start(struct vq_cluster *cluster, const char *cluster_name, const char *node_name, const char *advertise,
                  vq_init_cb done, void *data, struct vq_error *err)
{
    struct vq_daemon *daemon = cluster->daemon;
    Vq__LocalNode draft = VQ__LOCAL_NODE__INIT;
    uint8_t cluster_id[16];
    VQ_AUTOFREE char *address = NULL, *host = NULL;
    VQ_AUTOFREE uint8_t *sealed = NULL;
    size_t sealed_length;
    uint16_t port;

    node_name = node_name[0] == '\0' ? daemon->node_name : node_name;
    if (check_names(cluster_name, node_name, err) < 0 ||
        init_address(cluster, advertise, &address, &port, err) < 0)
        return -1;
    host = vq_node_address_host(address);
    daemon->host.random(cluster_id, sizeof(cluster_id));
    draft.node_id = daemon->node_id;
    draft.node_name = (char *)node_name;
    draft.cluster_name = (char *)cluster_name;
    draft.cluster_id = (ProtobufCBinaryData){sizeof(cluster_id), cluster_id};
    draft.cluster_key = cluster->self->cluster_key; /* definitions are sealed with it already */
    draft.addresses = &address;
    draft.n_addresses = 1;
    draft.port = port;
    Vq__LocalNode *self = vq_identity_copy(&draft);
    int rc = make_keys(self, (const char *const[]){host, NULL}, &sealed, &sealed_length, err);
    if (rc == 0)
        rc = save_pending(cluster, self, err);
    if (rc == 0) {
        struct init *init = vq_new(struct init);
        *init = (struct init){cluster, done, data};
        cluster->is_initialising = true;
        (void)VQ_FAILPOINT("init.recorded");
        propose_init(cluster, self, sealed, sealed_length, init);
    }
    vq_identity_free(self);
    return rc;
}

/* Did the command get into the store? Only the leader that is up to date may say no. */
void vq_init_tick(struct vq_cluster *cluster)
{
    Vq__LocalNode *pending = NULL;
    struct vq_store_view *view;
    struct vq_error err = VQ_ERROR_INIT;
    const uint8_t *id;
    size_t length;

    if (vq_identity_is_member(cluster->self) || cluster->move != NULL || !cluster->daemon->raft_status.is_leader ||
        cluster->is_initialising || load_pending(cluster, &pending, &err) <= 0)
        return;
    bool is_made = false;
    if (vq_store_view_begin(cluster->daemon->store, &view, &err) == 0) {
        is_made = vq_store_setting(view, "cluster.id", &id, &length) && length == pending->cluster_id.len &&
                  memcmp(id, pending->cluster_id.data, length) == 0;
        vq_store_view_end(view);
        if (!is_made)
            drop_pending(cluster);
        else if (become(cluster, &err) < 0)
            vq_log(ERROR, "init.finish", "%s", err.message);
    }
    vq_identity_free(pending);
}
