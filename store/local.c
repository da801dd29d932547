/* The node's own records. Two environments: one flushes every commit (identity), the other never does (effects, which
 * mean nothing after the host went down, so that it may be emptied then). */
#include <lmdb.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/failpoint.h"
#include "conf/base/memory.h"
#include "store/internal.h"
#include "store/local.h"

enum { TABLE_NAME_MAX = 64, KEY_MAX = 400, VALUE_MAX = 16 * 1024 * 1024 };
#define LOCAL_MAP_BYTES ((size_t)1 << 30)

enum which { FLUSHED, UNFLUSHED, N_ENVS };

struct vq_local {
    struct {
        MDB_env *env;
        MDB_dbi dbi;
        char *dir;
    } envs[N_ENVS];
};

struct local_key {
    uint8_t bytes[TABLE_NAME_MAX + 1 + KEY_MAX];
    size_t length, prefix_length;
};

/* "table\0key": so that the records of a table lie together, in the order of their keys. */
static int make_key(const char *table, const void *key, size_t key_length, struct local_key *ret, struct vq_error *err)
{
    size_t table_length = strlen(table);

    if (table_length == 0 || table_length > TABLE_NAME_MAX || key_length > KEY_MAX)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "the key of a record of '%s' is too long", table);
    memcpy(ret->bytes, table, table_length + 1);
    if (key_length > 0)
        memcpy(ret->bytes + table_length + 1, key, key_length);
    ret->prefix_length = table_length + 1;
    ret->length = ret->prefix_length + key_length;
    return 0;
}

static int open_dbi(struct vq_local *local, enum which which, struct vq_error *err)
{
    MDB_env *env = local->envs[which].env;
    MDB_txn *txn;
    int rc = mdb_txn_begin(env, NULL, 0, &txn);

    if (rc == 0 && (rc = mdb_dbi_open(txn, NULL, 0, &local->envs[which].dbi)) != 0)
        mdb_txn_abort(txn);
    else if (rc == 0)
        rc = mdb_txn_commit(txn);
    return rc != 0 ? vq_store_mdb_error(err, rc, "opening the node's records") : 0;
}

static int open_one(struct vq_local *local, enum which which, struct vq_error *err)
{
    const char *dir = local->envs[which].dir;
    int rc;

    if (vq_store_dir_make(dir, err) < 0 || vq_store_lock_reserve(dir, err) < 0)
        return -1;
    if (which == UNFLUSHED) {
        if (vq_boot_is_doubtful(dir) && vq_store_set_aside(dir, err) < 0)
            return -1;
        if (vq_boot_mark(dir, false, VQ_BOOT_OPEN, err) < 0)
            return -1;
    }
    if ((rc = mdb_env_create(&local->envs[which].env)) != 0 ||
        (rc = mdb_env_set_mapsize(local->envs[which].env, LOCAL_MAP_BYTES)) != 0 ||
        (rc = mdb_env_open(local->envs[which].env, dir, MDB_NOTLS | (which == UNFLUSHED ? MDB_NOSYNC : 0), 0600)) != 0)
        return vq_store_mdb_error(err, rc, "opening the node's records");
    return open_dbi(local, which, err);
}

int vq_local_open(const char *dir, struct vq_local **ret, struct vq_error *err)
{
    struct vq_local *local;

    if (vq_store_dir_make(dir, err) < 0)
        return -1;
    local = vq_new(struct vq_local);
    local->envs[FLUSHED].dir = vq_asprintf("%s/flushed", dir);
    local->envs[UNFLUSHED].dir = vq_asprintf("%s/unflushed", dir);
    for (int i = 0; i < N_ENVS; i++) {
        if (open_one(local, (enum which)i, err) == 0)
            continue;
        vq_local_close(local);
        return vq_error_wrap(err, "opening '%s'", dir);
    }
    *ret = local;
    return 0;
}

void vq_local_close(struct vq_local *local)
{
    if (local == NULL)
        return;
    for (int i = 0; i < N_ENVS; i++) {
        MDB_env *env = local->envs[i].env;
        bool is_flushed = env != NULL && mdb_env_sync(env, 1) == 0;
        struct vq_error ignored = VQ_ERROR_INIT;
        if (env != NULL)
            mdb_env_close(env);
        if (is_flushed && i == UNFLUSHED)
            (void)vq_boot_mark(local->envs[i].dir, false, VQ_BOOT_CLEAN,
                               &ignored); /* matters only when the host goes down */
        free(local->envs[i].dir);
    }
    free(local);
}

/* Put (value not NULL) or delete in one environment. */
static int change(struct vq_local *local, enum which which, const struct local_key *key, const void *value,
                  size_t length, struct vq_error *err)
{
    MDB_val k = {key->length, (void *)key->bytes}, v = {length, (void *)value};
    MDB_txn *txn;
    int rc = mdb_txn_begin(local->envs[which].env, NULL, 0, &txn);

    if (rc != 0)
        return vq_store_mdb_error(err, rc, "writing the node's records");
    rc = value != NULL ? mdb_put(txn, local->envs[which].dbi, &k, &v, 0)
                       : mdb_del(txn, local->envs[which].dbi, &k, NULL);
    if (rc == MDB_NOTFOUND) {
        mdb_txn_abort(txn);
        return 0;
    }
    if (rc != 0 || VQ_FAILPOINT("local.commit")) {
        mdb_txn_abort(txn);
        return vq_store_mdb_error(err, rc == 0 ? MDB_PANIC : rc, "writing the node's records");
    }
    rc = mdb_txn_commit(txn);
    return rc != 0 ? vq_store_mdb_error(err, rc, "writing the node's records") : 0;
}

static int find(struct vq_local *local, enum which which, const struct local_key *key, void **ret_value,
                size_t *ret_length, struct vq_error *err)
{
    MDB_val k = {key->length, (void *)key->bytes}, v;
    MDB_txn *txn;
    int rc = mdb_txn_begin(local->envs[which].env, NULL, MDB_RDONLY, &txn);

    if (rc != 0)
        return vq_store_mdb_error(err, rc, "reading the node's records");
    rc = mdb_get(txn, local->envs[which].dbi, &k, &v);
    if (rc == 0 && ret_value != NULL) {
        *ret_value = vq_memdup(v.mv_data, v.mv_size);
        *ret_length = v.mv_size;
    }
    mdb_txn_abort(txn);
    if (rc == MDB_NOTFOUND)
        return 0;
    return rc != 0 ? vq_store_mdb_error(err, rc, "reading the node's records") : 1;
}

int vq_local_put(struct vq_local *local, const char *table, const void *key, size_t key_length, const void *value,
                 size_t length, bool flush, struct vq_error *err)
{
    enum which which = flush ? FLUSHED : UNFLUSHED;
    struct local_key k;

    if (make_key(table, key, key_length, &k, err) < 0)
        return -1;
    if (length > VALUE_MAX)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "a record of '%s' is too long", table);
    if (change(local, which, &k, value == NULL ? "" : value, length, err) < 0)
        return -1;
    int other = find(local, !which, &k, NULL, NULL, err); /* a record is in one place only */
    return other <= 0 ? other : change(local, !which, &k, NULL, 0, err);
}

int vq_local_delete(struct vq_local *local, const char *table, const void *key, size_t key_length, struct vq_error *err)
{
    struct local_key k;

    if (make_key(table, key, key_length, &k, err) < 0)
        return -1;
    for (int i = 0; i < N_ENVS; i++) {
        int found = find(local, (enum which)i, &k, NULL, NULL, err);
        if (found < 0 || (found > 0 && change(local, (enum which)i, &k, NULL, 0, err) < 0))
            return -1;
    }
    return 0;
}

int vq_local_get(struct vq_local *local, const char *table, const void *key, size_t key_length, void **ret_value,
                 size_t *ret_length, struct vq_error *err)
{
    struct local_key k;

    if (make_key(table, key, key_length, &k, err) < 0)
        return -1;
    int found = find(local, UNFLUSHED, &k, ret_value, ret_length, err);
    return found != 0 ? found : find(local, FLUSHED, &k, ret_value, ret_length, err);
}

/* The callback may write, so it gets copies, and each step looks the next key up anew. */
static int each_in(struct vq_local *local, enum which which, const char *table, vq_local_each_cb cb, void *data,
                   struct vq_error *err)
{
    struct local_key at;
    bool is_first = true;

    if (make_key(table, NULL, 0, &at, err) < 0)
        return -1;
    for (;;) {
        MDB_val k = {at.length, at.bytes}, v;
        MDB_txn *txn;
        MDB_cursor *cursor;
        int rc = mdb_txn_begin(local->envs[which].env, NULL, MDB_RDONLY, &txn);
        if (rc != 0)
            return vq_store_mdb_error(err, rc, "reading the node's records");
        if ((rc = mdb_cursor_open(txn, local->envs[which].dbi, &cursor)) != 0) {
            mdb_txn_abort(txn);
            return vq_store_mdb_error(err, rc, "reading the node's records");
        }
        rc = mdb_cursor_get(cursor, &k, &v, MDB_SET_RANGE);
        if (rc == 0 && !is_first && k.mv_size == at.length && memcmp(k.mv_data, at.bytes, at.length) == 0)
            rc = mdb_cursor_get(cursor, &k, &v, MDB_NEXT);
        bool is_ours = rc == 0 && k.mv_size >= at.prefix_length && k.mv_size <= sizeof(at.bytes) &&
                       memcmp(k.mv_data, at.bytes, at.prefix_length) == 0;
        VQ_AUTOFREE void *value = is_ours ? vq_memdup(v.mv_data, v.mv_size) : NULL;
        if (is_ours) {
            memcpy(at.bytes, k.mv_data, k.mv_size);
            at.length = k.mv_size;
        }
        mdb_cursor_close(cursor);
        mdb_txn_abort(txn);
        if (rc != 0 && rc != MDB_NOTFOUND)
            return vq_store_mdb_error(err, rc, "reading the node's records");
        if (!is_ours)
            return 0;
        is_first = false;
        if (cb(at.bytes + at.prefix_length, at.length - at.prefix_length, value, v.mv_size, data) != 0)
            return 1;
    }
}

int vq_local_each(struct vq_local *local, const char *table, vq_local_each_cb cb, void *data, struct vq_error *err)
{
    int rc = each_in(local, UNFLUSHED, table, cb, data, err);

    if (rc == 0)
        rc = each_in(local, FLUSHED, table, cb, data, err);
    return rc < 0 ? -1 : 0;
}
