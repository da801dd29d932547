/* Commands about nodes, tokens, settings and the cluster itself. */
#include <stdlib.h>
#include <string.h>

#include "conf/base/text.h"
#include "store/internal.h"

/* ---- Nodes ---- */

static int read_node(struct vq_apply *apply, uint64_t id, Vq__NodeRecord **ret)
{
    struct vq_key64 key = vq_key64(id);
    MDB_val value;
    int found = vq_table_get(apply->store, apply->store->txn, VQ_TABLE_NODE, &key, sizeof(key), &value, apply->err);

    if (found <= 0)
        return found;
    *ret = vq__node_record__unpack(NULL, value.mv_size, value.mv_data);
    return *ret == NULL ? vq_error_set(apply->err, VIR_ERR_INTERNAL_ERROR, "the record of a node is damaged") : 1;
}

static int write_node(struct vq_apply *apply, const Vq__NodeRecord *node)
{
    struct vq_key64 key = vq_key64(node->id);
    size_t size = vq__node_record__get_packed_size(node);
    VQ_AUTOFREE uint8_t *bytes = vq_calloc(1, size);

    vq__node_record__pack(node, bytes);
    if (vq_table_put(apply->store, VQ_TABLE_NODE, &key, sizeof(key), bytes, size, apply->err) < 0)
        return -1;
    return vq_table_put(apply->store, VQ_TABLE_NODE_NAME, node->name, strlen(node->name), &key, sizeof(key),
                        apply->err);
}

static void node_change(struct vq_apply *apply, const Vq__NodeRecord *node, bool is_new, bool is_gone)
{
    struct vq_change *change = vq_apply_change(apply, VQ_CHANGE_NODE);

    change->node = node->id;
    change->name = vq_strdup(node->name);
    change->is_new = is_new;
    change->is_gone = is_gone;
}

/* 1: may go on; 0 refused; -1 the store failed. */
static int check_node(struct vq_apply *apply, const Vq__NodeRecord *node, bool is_new)
{
    MDB_val value;

    if (!vq_name_is_component(node->name))
        return vq_apply_refuse(apply, VIR_FROM_NONE, VIR_ERR_INVALID_ARG, "'%s' cannot be the name of a node",
                               node->name);
    if (is_new && node->id != 0 && node->id <= apply->store->meta.last_node)
        return vq_apply_refuse(apply, VIR_FROM_NONE, VIR_ERR_INVALID_ARG, "node id %llu was used before",
                               (unsigned long long)node->id);
    if (is_new && vq_table_count(apply->store, apply->store->txn, VQ_TABLE_NODE) >= VQ_STORE_NODES_MAX)
        return vq_apply_refuse(apply, VIR_FROM_NONE, VIR_ERR_OPERATION_FAILED, "the cluster has %d nodes, no more fit",
                               VQ_STORE_NODES_MAX);
    int found = vq_table_get(apply->store, apply->store->txn, VQ_TABLE_NODE_NAME, node->name, strlen(node->name),
                             &value, apply->err);
    if (found > 0 && value.mv_size == 8 && (is_new || vq_key64_value(value.mv_data) != node->id))
        return vq_apply_refuse(apply, VIR_FROM_NONE, VIR_ERR_OPERATION_FAILED, "node name '%s' is taken by node %llu",
                               node->name, (unsigned long long)vq_key64_value(value.mv_data));
    return found < 0 ? -1 : 1;
}

/* Put the record of a new or known node; id 0 gets the next one. 1 done; 0 refused; -1 the store failed. */
static int put_node(struct vq_apply *apply, const Vq__NodeRecord *given)
{
    Vq__NodeRecord node, *old = NULL;
    int found, may;

    if (given == NULL)
        return vq_apply_refuse(apply, VIR_FROM_NONE, VIR_ERR_INVALID_ARG, "the record of the node is missing");
    node = *given;
    if ((found = node.id == 0 ? 0 : read_node(apply, node.id, &old)) < 0)
        return -1;
    may = check_node(apply, &node, found == 0);
    if (may > 0) {
        if (node.id == 0)
            node.id = apply->store->meta.last_node + 1;
        if (node.id > apply->store->meta.last_node)
            apply->store->meta.last_node = node.id;
        if (old != NULL && strcmp(old->name, node.name) != 0 &&
            vq_table_delete(apply->store, VQ_TABLE_NODE_NAME, old->name, strlen(old->name), apply->err) < 0)
            may = -1;
        else if (write_node(apply, &node) < 0)
            may = -1;
    }
    vq__node_record__free_unpacked(old, NULL);
    if (may <= 0)
        return may;
    node_change(apply, &node, found == 0, false);
    apply->result->number = node.id;
    return 1;
}

int vq_apply_node_put(struct vq_apply *apply)
{
    int put = put_node(apply, apply->command->node_put->node);

    return put < 0 ? -1 : 0;
}

static int require_node(struct vq_apply *apply, uint64_t id, Vq__NodeRecord **ret)
{
    int found = read_node(apply, id, ret);

    if (found != 0)
        return found;
    return vq_apply_refuse(apply, VIR_FROM_NONE, VIR_ERR_INVALID_ARG, "there is no node with id %llu",
                           (unsigned long long)id);
}

int vq_apply_node_remove(struct vq_apply *apply)
{
    uint64_t id = apply->command->node_remove->id;
    struct vq_key64 key = vq_key64(id);
    Vq__NodeRecord *node;
    int found = require_node(apply, id, &node);

    if (found <= 0)
        return found;
    found = vq_table_delete(apply->store, VQ_TABLE_NODE, &key, sizeof(key), apply->err);
    if (found == 0)
        found = vq_table_delete(apply->store, VQ_TABLE_NODE_NAME, node->name, strlen(node->name), apply->err);
    if (found == 0)
        node_change(apply, node, false, true);
    apply->result->number = id;
    vq__node_record__free_unpacked(node, NULL);
    return found;
}

int vq_apply_node_set_role(struct vq_apply *apply)
{
    const Vq__NodeSetRole *set = apply->command->node_set_role;
    Vq__NodeRecord *node;

    if (set->role != VQ__ROLE__ROLE_VOTER && set->role != VQ__ROLE__ROLE_STANDBY && set->role != VQ__ROLE__ROLE_SPARE)
        return vq_apply_refuse(apply, VIR_FROM_NONE, VIR_ERR_INVALID_ARG, "there is no role %d", (int)set->role);
    int found = require_node(apply, set->id, &node);
    if (found <= 0)
        return found;
    node->role = set->role;
    found = write_node(apply, node);
    if (found == 0)
        node_change(apply, node, false, false);
    apply->result->number = set->id;
    vq__node_record__free_unpacked(node, NULL);
    return found;
}

int vq_apply_node_drain(struct vq_apply *apply)
{
    const Vq__NodeDrain *drain = apply->command->node_drain;
    Vq__NodeRecord *node;
    int found = require_node(apply, drain->id, &node);

    if (found <= 0)
        return found;
    node->draining = drain->draining;
    found = write_node(apply, node);
    if (found == 0)
        node_change(apply, node, false, false);
    apply->result->number = drain->id;
    vq__node_record__free_unpacked(node, NULL);
    return found;
}

/* ---- Tokens ---- */

/* Tokens past their time, by the clock of the command that makes the next one, go; so there is never a heap of them. */
static int drop_expired_tokens(struct vq_apply *apply)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = mdb_cursor_open(apply->store->txn, apply->store->tables[VQ_TABLE_TOKEN], &cursor);

    if (rc != 0)
        return vq_store_mdb_error(apply->err, rc, "reading the tokens");
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        struct vq_token token = {0};
        if (value.mv_size == sizeof(token))
            memcpy(&token, value.mv_data, sizeof(token));
        if (token.expires_ms <= apply->command->time_ms && (rc = mdb_cursor_del(cursor, 0)) != 0)
            break;
    }
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : vq_store_mdb_error(apply->err, rc, "dropping expired tokens");
}

int vq_apply_token_put(struct vq_apply *apply)
{
    const Vq__TokenPut *put = apply->command->token_put;
    struct vq_token token = {put->expires_ms, 0};

    if (put->secret_sha256.len != 32)
        return vq_apply_refuse(apply, VIR_FROM_NONE, VIR_ERR_INVALID_ARG, "a token's hash has 32 bytes");
    if (drop_expired_tokens(apply) < 0)
        return -1;
    if (vq_table_count(apply->store, apply->store->txn, VQ_TABLE_TOKEN) >= VQ_STORE_TOKENS_MAX)
        return vq_apply_refuse(apply, VIR_FROM_NONE, VIR_ERR_OPERATION_FAILED, "%d tokens are valid already",
                               VQ_STORE_TOKENS_MAX);
    return vq_table_put(apply->store, VQ_TABLE_TOKEN, put->secret_sha256.data, 32, &token, sizeof(token), apply->err);
}

/* One that joins must know all commands that the members may have used: those of the level that they have in common.
 * 1: it does; 0 refused; -1 the store failed. */
static int check_level(struct vq_apply *apply, const Vq__NodeRecord *joining)
{
    uint32_t level = UINT32_MAX;
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = mdb_cursor_open(apply->store->txn, apply->store->tables[VQ_TABLE_NODE], &cursor);

    if (rc != 0)
        return vq_store_mdb_error(apply->err, rc, "reading the nodes");
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        Vq__NodeRecord *node = vq__node_record__unpack(NULL, value.mv_size, value.mv_data);
        if (node != NULL && node->feature_level < level)
            level = node->feature_level;
        vq__node_record__free_unpacked(node, NULL);
    }
    mdb_cursor_close(cursor);
    if (rc != MDB_NOTFOUND)
        return vq_store_mdb_error(apply->err, rc, "reading the nodes");
    if (level == UINT32_MAX || joining == NULL || joining->feature_level >= level)
        return 1;
    return vq_apply_refuse(apply, VIR_FROM_NONE, VIR_ERR_OPERATION_UNSUPPORTED,
                           "'%s' has feature level %u, the cluster has %u: upgrade it first", joining->name,
                           joining->feature_level, level);
}

int vq_apply_token_use(struct vq_apply *apply)
{
    const Vq__TokenUse *use = apply->command->token_use;
    struct vq_token token;
    MDB_val value;
    int found = use->secret_sha256.len != 32 ? 0
                                             : vq_table_get(apply->store, apply->store->txn, VQ_TABLE_TOKEN,
                                                            use->secret_sha256.data, 32, &value, apply->err);

    if (found < 0)
        return -1;
    if (found == 0 || value.mv_size != sizeof(token))
        return vq_apply_refuse(apply, VIR_FROM_NONE, VIR_ERR_AUTH_FAILED, "the token is not known to this cluster");
    memcpy(&token, value.mv_data, sizeof(token));
    if (token.used_by != 0)
        return vq_apply_refuse(apply, VIR_FROM_NONE, VIR_ERR_AUTH_FAILED, "the token was used already");
    if (token.expires_ms <= apply->command->time_ms)
        return vq_apply_refuse(apply, VIR_FROM_NONE, VIR_ERR_AUTH_FAILED, "the token has expired");
    int put = check_level(apply, use->node);
    if (put > 0)
        put = put_node(apply, use->node);
    if (put <= 0)
        return put;
    token.used_by = apply->result->number;
    return vq_table_put(apply->store, VQ_TABLE_TOKEN, use->secret_sha256.data, 32, &token, sizeof(token), apply->err);
}

/* ---- Settings ---- */

static int put_setting(struct vq_apply *apply, const char *name, const void *value, size_t length)
{
    if ((length == 0 ? vq_table_delete(apply->store, VQ_TABLE_SETTING, name, strlen(name), apply->err)
                     : vq_table_put(apply->store, VQ_TABLE_SETTING, name, strlen(name), value, length, apply->err)) < 0)
        return -1;
    vq_apply_change(apply, VQ_CHANGE_SETTING)->name = vq_strdup(name);
    return 0;
}

int vq_apply_setting_put(struct vq_apply *apply)
{
    const Vq__SettingPut *put = apply->command->setting_put;

    if (!vq_name_is_component(put->name))
        return vq_apply_refuse(apply, VIR_FROM_NONE, VIR_ERR_INVALID_ARG, "'%s' cannot be the name of a setting",
                               put->name);
    if (strncmp(put->name, "cluster.", strlen("cluster.")) == 0)
        return vq_apply_refuse(apply, VIR_FROM_NONE, VIR_ERR_INVALID_ARG, "'%s' is not for setting: it is the cluster's own",
                               put->name);
    if (put->value.len > VQ_STORE_SETTING_MAX)
        return vq_apply_refuse(apply, VIR_FROM_NONE, VIR_ERR_INVALID_ARG, "setting '%s' is longer than %d bytes",
                               put->name, VQ_STORE_SETTING_MAX);
    return put_setting(apply, put->name, put->value.data, put->value.len);
}

int vq_apply_cluster_init(struct vq_apply *apply)
{
    const Vq__ClusterInit *init = apply->command->cluster_init;
    MDB_val value;
    int found = vq_table_get(apply->store, apply->store->txn, VQ_TABLE_SETTING, "cluster.id", 10, &value, apply->err);

    if (found < 0)
        return -1;
    if (found > 0)
        return vq_apply_refuse(apply, VIR_FROM_NONE, VIR_ERR_OPERATION_INVALID, "this cluster was named before");
    if (!vq_name_is_component(init->name) || init->cluster_id.len != 16 || init->authority_pem[0] == '\0' ||
        strlen(init->authority_pem) > VQ_STORE_SETTING_MAX || init->authority_key_sealed.len > VQ_STORE_SETTING_MAX)
        return vq_apply_refuse(apply, VIR_FROM_NONE, VIR_ERR_INVALID_ARG,
                               "a cluster needs a name, an id and an authority");
    int put = put_node(apply, init->node);
    if (put <= 0)
        return put;
    if (put_setting(apply, "cluster.name", init->name, strlen(init->name)) < 0 ||
        put_setting(apply, "cluster.id", init->cluster_id.data, init->cluster_id.len) < 0 ||
        put_setting(apply, "cluster.authority", init->authority_pem, strlen(init->authority_pem)) < 0)
        return -1;
    return put_setting(apply, "cluster.authority_key", init->authority_key_sealed.data, init->authority_key_sealed.len);
}
