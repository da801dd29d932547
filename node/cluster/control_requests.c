/* What the tool can ask for, but for leaving: init, token, join, status. */
#define VQ_FROM VIR_FROM_NONE
#include <stdlib.h>
#include <string.h>
#include <gnutls/gnutls.h>

#include "conf/base/memory.h"
#include "node/cluster/control_state.h"
#include "node/mesh/propose.h"
#include "node/cluster/settings.h"
#include "node/cluster/token.h"
#include "proto/pki.h"

#define DEFAULT_CLUSTER_NAME "virtquorum"

static bool is_member(const struct vq_control_client *client)
{
    return vq_identity_is_member(client->cluster->self);
}

/* ---- init ---- */

static uint32_t own_domains(const struct vq_cluster *cluster)
{
    struct vq_store_view *view;
    struct vq_error ignored = VQ_ERROR_INIT;
    uint32_t count;

    if (vq_store_view_begin(cluster->daemon->store, &view, &ignored) < 0)
        return 0;
    count = vq_store_domain_count(view);
    vq_store_view_end(view);
    return count;
}

static void init_done(const struct vq_error *err, void *data)
{
    struct vq_control_client *client = data;
    const Vq__LocalNode *self = client->cluster->self;

    if (err != NULL) {
        vq_control_fail_with(client, err);
        return;
    }
    VQ_AUTOFREE char *text = vq_asprintf("✓ cluster %s created, this host is %s (%s)\n✓ %u guests taken over\n"
                                         "Next: on another host  virtquorum join \"$(ssh %s virtquorum token)\"",
                                         self->cluster_name, self->node_name, self->addresses[0],
                                         own_domains(client->cluster), self->node_name);
    vq_control_text(client, text);
}

static void init_again(struct vq_control_client *client, const char *name)
{
    const Vq__LocalNode *self = client->cluster->self;
    bool is_same = name[0] == '\0' || strcmp(name, self->cluster_name) == 0;
    VQ_AUTOFREE char *text = vq_asprintf("this host is %s of cluster %s already%s", self->node_name, self->cluster_name,
                                         is_same ? "" : "; virtquorum leave first");

    if (is_same)
        vq_control_text(client, text);
    else
        vq_control_fail(client, VQ_E_OTHER_CLUSTER, text);
}

void vq_control_init(struct vq_control_client *client)
{
    const Vq__ControlInit *init = client->request->init;
    struct vq_cluster *cluster = client->cluster;
    struct vq_error err = VQ_ERROR_INIT;

    if (is_member(client))
        init_again(client, init->name);
    else if (cluster->is_initialising || cluster->is_joining || vq_move_is_busy(cluster))
        vq_control_fail(client, VQ_E_BUSY, "this node is changing its cluster already");
    else if (vq_init_start(cluster, init->name[0] == '\0' ? DEFAULT_CLUSTER_NAME : init->name, init->node_name,
                           init->advertise, init_done, client, &err) < 0)
        vq_control_fail_with(client, &err);
}

/* ---- token ---- */

struct token_wish {
    struct vq_control_client *client;
    char *text;
};

static void token_proposed(enum vq_raft_outcome outcome, const struct vq_result *result, const struct vq_error *err,
                           void *data)
{
    struct token_wish *wish = data;
    Vq__ControlReply reply = VQ__CONTROL_REPLY__INIT;

    reply.token = wish->text;
    if (!vq_control_is_refused(wish->client, outcome, result, err))
        vq_control_done(wish->client, &reply);
    gnutls_memset(wish->text, 0, strlen(wish->text));
    free(wish->text);
    free(wish);
}

/* This node's addresses first, then those of the others: a join works while any of them is up. */
static void add_addresses(const struct vq_cluster *cluster, Vq__JoinToken *token, char **addresses)
{
    token->addresses = addresses;
    for (size_t i = 0; i < cluster->self->n_addresses && token->n_addresses < VQ_TOKEN_ADDRESSES_MAX; i++)
        addresses[token->n_addresses++] = cluster->self->addresses[i];
    for (size_t i = 0; i < cluster->n_members; i++)
        if (cluster->members[i].id != cluster->self->node_id && cluster->members[i].addresses[0] != NULL &&
            token->n_addresses < VQ_TOKEN_ADDRESSES_MAX / 2)
            addresses[token->n_addresses++] = cluster->members[i].addresses[0];
}

static int make_token(struct vq_control_client *client, uint64_t ttl_ms, struct vq_error *err)
{
    struct vq_cluster *cluster = client->cluster;
    uint8_t secret[VQ_TOKEN_SECRET_BYTES], hash[VQ_TOKEN_HASH_BYTES], fingerprint[32];
    char *addresses[VQ_TOKEN_ADDRESSES_MAX];
    Vq__JoinToken token = VQ__JOIN_TOKEN__INIT;
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__TokenPut put = VQ__TOKEN_PUT__INIT;

    if (vq_pki_fingerprint(cluster->self->authority_pem, fingerprint, err) < 0)
        return -1;
    cluster->daemon->host.random(secret, sizeof(secret));
    vq_token_hash(secret, sizeof(secret), hash);
    add_addresses(cluster, &token, addresses);
    token.authority_sha256 = (ProtobufCBinaryData){sizeof(fingerprint), fingerprint};
    token.secret = (ProtobufCBinaryData){sizeof(secret), secret};
    token.expires_ms = put.expires_ms = vq_cluster_unix_ms() + ttl_ms;
    put.secret_sha256 = (ProtobufCBinaryData){sizeof(hash), hash};
    command.change_case = VQ__COMMAND__CHANGE_TOKEN_PUT;
    command.token_put = &put;
    struct token_wish *wish = vq_new(struct token_wish);
    wish->client = client;
    wish->text = vq_token_format(&token);
    gnutls_memset(secret, 0, sizeof(secret));
    vq_propose(cluster->daemon, &command, client->request->timeout_ms, token_proposed, wish);
    return 0;
}

void vq_control_token(struct vq_control_client *client)
{
    uint64_t ttl_ms = client->request->token->ttl_ms;
    struct vq_error err = VQ_ERROR_INIT;

    if (ttl_ms == 0)
        ttl_ms = vq_setting_value(client->cluster->daemon, VQ_SETTING_TOKEN_TTL);
    if (!is_member(client))
        vq_control_fail(client, VQ_E_NO_CLUSTER, "this host is in no cluster yet: virtquorum init");
    else if (ttl_ms > VQ_TOKEN_TTL_MAX_MS)
        vq_control_fail(client, VQ_E_TTL, "a token lives 30 days at most");
    else if (make_token(client, ttl_ms, &err) < 0)
        vq_control_fail_with(client, &err);
}

/* ---- join ---- */

static void join_progress(const char *text, void *data)
{
    vq_control_progress(data, text);
}

static void join_check(const Vq__JoinCheck *check, void *data)
{
    Vq__ControlReply reply = VQ__CONTROL_REPLY__INIT;
    Vq__JoinCheck *one = (Vq__JoinCheck *)check;

    reply.checks = &one;
    reply.n_checks = 1;
    vq_control_send(data, &reply);
}

static enum vq_number join_number(int exit_code)
{
    for (enum vq_number number = VQ_E_JOIN_UNREACHABLE; number <= VQ_E_JOIN_USAGE; number++)
        if (vq_numbers[number].exit_code == exit_code)
            return number;
    return VQ_E_JOIN_FAILED;
}

static void join_done(const char *text, const struct vq_error *err, int exit_code, void *data)
{
    struct vq_control_client *client = data;

    if (err != NULL)
        vq_control_fail(client, join_number(exit_code), err->message);
    else
        vq_control_text(client, text);
}

static void join_again(struct vq_control_client *client, const char *token_text)
{
    const Vq__LocalNode *self = client->cluster->self;
    Vq__JoinToken *token = NULL;
    struct vq_error err = VQ_ERROR_INIT;
    uint8_t fingerprint[32];

    if (vq_token_parse(token_text, &token, &err) < 0 || vq_pki_fingerprint(self->authority_pem, fingerprint, &err) < 0) {
        vq__join_token__free_unpacked(token, NULL);
        vq_control_fail_with(client, &err);
        return;
    }
    bool is_same = memcmp(token->authority_sha256.data, fingerprint, sizeof(fingerprint)) == 0;
    VQ_AUTOFREE char *text = vq_asprintf("this host is %s of cluster %s already%s", self->node_name, self->cluster_name,
                                         is_same ? "" : "; virtquorum leave first");
    vq__join_token__free_unpacked(token, NULL);
    if (is_same)
        vq_control_text(client, text);
    else
        vq_control_fail(client, VQ_E_OTHER_CLUSTER, text);
}

void vq_control_join(struct vq_control_client *client)
{
    static const struct vq_join_callbacks callbacks = {join_progress, join_check, join_done};
    const Vq__ControlJoin *join = client->request->join;
    const struct vq_join_wish wish = {join->token, join->advertise, join->node_name, join->dry_run};
    struct vq_error err = VQ_ERROR_INIT;

    if (is_member(client))
        join_again(client, join->token);
    else if (vq_join_start(client->cluster, &wish, &callbacks, client, &client->join, &err) < 0)
        vq_control_fail(client, join_number(vq_numbers[vq_number_of(&err)].exit_code), err.message);
}

/* ---- status ---- */

void vq_control_status(struct vq_control_client *client)
{
    const Vq__ControlStatus *wish = client->request->status;
    Vq__ControlReply reply = VQ__CONTROL_REPLY__INIT;

    reply.status = vq_cluster_status(client->cluster, wish->local_only, wish->why);
    reply.exit_code = reply.status->has_quorum ? VQ_EXIT_OK : VQ_EXIT_NO_QUORUM;
    Vq__ClusterStatus *status = reply.status;
    vq_control_done(client, &reply);
    vq__cluster_status__free_unpacked(status, NULL);
}
