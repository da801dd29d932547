/* Reading nodes and settings. */
#include <string.h>

#include "store/internal.h"

Vq__NodeRecord *vq_store_node_find(struct vq_store_view *view, uint64_t id)
{
    struct vq_key64 key = vq_key64(id);
    MDB_val value;

    if (vq_table_get(view->store, view->txn, VQ_TABLE_NODE, &key, sizeof(key), &value, NULL) <= 0)
        return NULL;
    return vq__node_record__unpack(NULL, value.mv_size, value.mv_data);
}

Vq__NodeRecord *vq_store_node_find_by_name(struct vq_store_view *view, const char *name)
{
    size_t length = strlen(name);
    MDB_val value;

    if (length == 0 || length > VQ_STORE_NAME_MAX ||
        vq_table_get(view->store, view->txn, VQ_TABLE_NODE_NAME, name, length, &value, NULL) <= 0 || value.mv_size != 8)
        return NULL;
    return vq_store_node_find(view, vq_key64_value(value.mv_data));
}

Vq__NodeRecord *vq_store_node_next(struct vq_store_view *view, uint64_t after_id)
{
    struct vq_key64 from = vq_key64(after_id + 1);
    MDB_val key = {sizeof(from), &from}, value;
    MDB_cursor *cursor;
    Vq__NodeRecord *node = NULL;

    if (after_id == UINT64_MAX || mdb_cursor_open(view->txn, view->store->tables[VQ_TABLE_NODE], &cursor) != 0)
        return NULL;
    if (mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE) == 0)
        node = vq__node_record__unpack(NULL, value.mv_size, value.mv_data);
    mdb_cursor_close(cursor);
    return node;
}

void vq_store_node_free(Vq__NodeRecord *node)
{
    vq__node_record__free_unpacked(node, NULL);
}

bool vq_store_setting(struct vq_store_view *view, const char *name, const uint8_t **ret_value, size_t *ret_length)
{
    size_t length = strlen(name);
    MDB_val value;

    if (length == 0 || length > VQ_STORE_NAME_MAX ||
        vq_table_get(view->store, view->txn, VQ_TABLE_SETTING, name, length, &value, NULL) <= 0)
        return false;
    *ret_value = value.mv_data;
    *ret_length = value.mv_size;
    return true;
}

enum vq_token_state vq_store_token_state(struct vq_store_view *view, const uint8_t secret_sha256[32], uint64_t now_ms)
{
    struct vq_token token;
    MDB_val value;

    if (vq_table_get(view->store, view->txn, VQ_TABLE_TOKEN, secret_sha256, 32, &value, NULL) <= 0 ||
        value.mv_size != sizeof(token))
        return VQ_TOKEN_UNKNOWN;
    memcpy(&token, value.mv_data, sizeof(token));
    if (token.used_by != 0)
        return VQ_TOKEN_USED;
    return token.expires_ms <= now_ms ? VQ_TOKEN_EXPIRED : VQ_TOKEN_VALID;
}
