/* Single records of the tables, keys with numbers, and LMDB's errors in our words. */
#include <errno.h>
#include <string.h>

#include "store/internal.h"

int vq_store_mdb_error(struct vq_error *err, int rc, const char *what)
{
    if (rc > 0)
        return vq_error_system(err, rc, "%s", what);
    return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "%s: %s", what, mdb_strerror(rc));
}

int vq_table_get(struct vq_store *store, MDB_txn *txn, enum vq_table table, const void *key, size_t key_length,
                 MDB_val *ret_value, struct vq_error *err)
{
    MDB_val k = {key_length, (void *)key};
    int rc = mdb_get(txn, store->tables[table], &k, ret_value);

    if (rc == MDB_NOTFOUND)
        return 0;
    return rc != 0 ? vq_store_mdb_error(err, rc, "reading the store") : 1;
}

int vq_table_put(struct vq_store *store, enum vq_table table, const void *key, size_t key_length, const void *value,
                 size_t length, struct vq_error *err)
{
    MDB_val k = {key_length, (void *)key}, v = {length, (void *)value};
    int rc = mdb_put(store->txn, store->tables[table], &k, &v, 0);

    return rc != 0 ? vq_store_mdb_error(err, rc, "writing to the store") : 0;
}

int vq_table_delete(struct vq_store *store, enum vq_table table, const void *key, size_t key_length,
                    struct vq_error *err)
{
    MDB_val k = {key_length, (void *)key};
    int rc = mdb_del(store->txn, store->tables[table], &k, NULL);

    return rc != 0 && rc != MDB_NOTFOUND ? vq_store_mdb_error(err, rc, "deleting from the store") : 0;
}

size_t vq_table_count(struct vq_store *store, MDB_txn *txn, enum vq_table table)
{
    MDB_stat stat = {0};

    (void)mdb_stat(txn, store->tables[table], &stat); /* fails only for a handle that is not open */
    return stat.ms_entries;
}

struct vq_key64 vq_key64(uint64_t number)
{
    struct vq_key64 key;

    number = __builtin_bswap64(number);
    memcpy(key.bytes, &number, sizeof(number));
    return key;
}

struct vq_key32 vq_key32(uint32_t number)
{
    struct vq_key32 key;

    number = __builtin_bswap32(number);
    memcpy(key.bytes, &number, sizeof(number));
    return key;
}

uint64_t vq_key64_value(const void *bytes)
{
    uint64_t number;

    memcpy(&number, bytes, sizeof(number));
    return __builtin_bswap64(number);
}
