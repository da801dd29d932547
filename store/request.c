/* Repetitions: the result of each recent request id, in a ring of slots, found through an index in memory. */
#include <stdlib.h>
#include <string.h>

#include "store/internal.h"

enum { BUCKETS = VQ_STORE_REQUESTS_MAX * 4, SLOT_NONE = 0 };

struct vq_request_index {
    uint32_t buckets[BUCKETS]; /* slot + 1, SLOT_NONE: empty */
    uint8_t ids[VQ_STORE_REQUESTS_MAX][16];
    bool is_used; /* fresh memory is clear already */
};

struct vq_request_index *vq_request_index_new(void)
{
    return vq_new(struct vq_request_index);
}

void vq_request_index_free(struct vq_request_index *index)
{
    free(index);
}

/* The ids are random, so that their bytes are as good as a hash; a client who chose them badly only hurts itself by the
 * length of a probe, which the number of slots bounds. */
static uint32_t bucket_of(const uint8_t id[16])
{
    uint64_t a, b;

    memcpy(&a, id, 8);
    memcpy(&b, id + 8, 8);
    return (uint32_t)(((a ^ b * 0x9e3779b97f4a7c15u) * 0xbf58476d1ce4e5b9u) >> 40) % BUCKETS;
}

static uint32_t find_bucket(const struct vq_request_index *index, const uint8_t id[16])
{
    uint32_t at = bucket_of(id);

    while (index->buckets[at] != SLOT_NONE && memcmp(index->ids[index->buckets[at] - 1], id, 16) != 0)
        at = (at + 1) % BUCKETS;
    return at;
}

/* Taking out of open addressing: what follows in the same run of buckets is put in again. */
static void forget(struct vq_request_index *index, const uint8_t id[16], uint32_t slot)
{
    uint32_t at = find_bucket(index, id);

    if (index->buckets[at] != slot + 1)
        return;
    index->buckets[at] = SLOT_NONE;
    for (at = (at + 1) % BUCKETS; index->buckets[at] != SLOT_NONE; at = (at + 1) % BUCKETS) {
        uint32_t moved = index->buckets[at];
        index->buckets[at] = SLOT_NONE;
        index->buckets[find_bucket(index, index->ids[moved - 1])] = moved;
    }
}

static void remember(struct vq_request_index *index, const uint8_t id[16], uint32_t slot)
{
    memcpy(index->ids[slot], id, 16);
    index->buckets[find_bucket(index, id)] = slot + 1;
}

static bool record_is_valid(const MDB_val *value)
{
    struct vq_request_record record;

    if (value->mv_size < sizeof(record))
        return false;
    memcpy(&record, value->mv_data, sizeof(record));
    return record.message_length < sizeof(((struct vq_result *)0)->message) &&
           value->mv_size == sizeof(record) + record.message_length;
}

int vq_request_load(struct vq_store *store, MDB_txn *txn, struct vq_error *err)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = mdb_cursor_open(txn, store->tables[VQ_TABLE_REQUEST], &cursor);

    if (rc != 0)
        return vq_store_mdb_error(err, rc, "reading the request ids");
    if (store->requests->is_used)
        memset(store->requests->buckets, 0, sizeof(store->requests->buckets)); /* ids count only where a bucket names them */
    store->requests->is_used = true;
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0) {
        uint32_t slot;
        if (key.mv_size != sizeof(slot) || !record_is_valid(&value))
            break;
        memcpy(&slot, key.mv_data, sizeof(slot));
        slot = __builtin_bswap32(slot);
        if (slot >= VQ_STORE_REQUESTS_MAX)
            break;
        remember(store->requests, value.mv_data, slot);
    }
    mdb_cursor_close(cursor);
    if (rc == MDB_NOTFOUND)
        return 0;
    return rc != 0 ? vq_store_mdb_error(err, rc, "reading the request ids")
                   : vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "a record of a request is damaged");
}

int vq_request_find(struct vq_store *store, const uint8_t id[16], struct vq_result *ret, struct vq_error *err)
{
    uint32_t slot = store->requests->buckets[find_bucket(store->requests, id)];
    struct vq_request_record record;
    MDB_val value;

    if (slot == SLOT_NONE)
        return 0;
    struct vq_key32 key = vq_key32(slot - 1);
    if (vq_table_get(store, store->txn, VQ_TABLE_REQUEST, &key, sizeof(key), &value, err) <= 0 ||
        !record_is_valid(&value))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "the record of a request is missing or damaged");
    memcpy(&record, value.mv_data, sizeof(record));
    *ret = (struct vq_result){.index = record.index,
                              .code = record.code,
                              .from = record.from,
                              .number = record.number,
                              .id = record.id,
                              .version = record.version};
    memcpy(ret->request_id, record.request_id, 16);
    memcpy(ret->uuid, record.uuid, 16);
    memcpy(ret->message, (const char *)value.mv_data + sizeof(record), record.message_length);
    return 1;
}

int vq_request_keep(struct vq_store *store, const struct vq_result *result, struct vq_error *err)
{
    uint8_t bytes[sizeof(struct vq_request_record) + sizeof(result->message)];
    struct vq_request_record record = {.index = result->index,
                                       .number = result->number,
                                       .version = result->version,
                                       .code = result->code,
                                       .from = result->from,
                                       .id = result->id};
    uint32_t slot = (uint32_t)(store->meta.n_requests % VQ_STORE_REQUESTS_MAX);
    struct vq_key32 key = vq_key32(slot);

    memcpy(record.request_id, result->request_id, 16);
    memcpy(record.uuid, result->uuid, 16);
    record.message_length = (uint32_t)strlen(result->message);
    memcpy(bytes, &record, sizeof(record));
    memcpy(bytes + sizeof(record), result->message, record.message_length);
    if (vq_table_put(store, VQ_TABLE_REQUEST, &key, sizeof(key), bytes, sizeof(record) + record.message_length, err) <
        0)
        return -1;
    forget(store->requests, store->requests->ids[slot], slot);
    remember(store->requests, result->request_id, slot);
    store->meta.n_requests++;
    return 0;
}
