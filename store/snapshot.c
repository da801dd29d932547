/* Snapshots: the whole replicated state as one run of bytes. Long values are not copied: their buffers lead into the
 * map, which a view keeps unchanged until the snapshot is freed. The same walk gives the hash of the state. */
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "conf/base/buffer.h"
#include "conf/base/failpoint.h"
#include "store/internal.h"

enum { COPIED_MAX = 512 /* bytes: shorter values are packed together */ };
static const char magic[8] = "VQSNAP";

struct snapshot_header {
    char magic[8];
    uint32_t format;
    uint32_t reserved;
    uint64_t applied, generation;
    uint64_t n_records;
    uint64_t length; /* of all that follows */
    uint64_t hash;   /* of all that follows */
};

struct record_header {
    uint8_t table;
    uint8_t reserved;
    uint16_t key_length;
    uint32_t value_length;
};

typedef void (*record_fn)(enum vq_table table, const MDB_val *key, const MDB_val *value, void *data);

static int walk_table(struct vq_store_view *view, enum vq_table table, record_fn fn, void *data, struct vq_error *err)
{
    MDB_cursor *cursor;
    MDB_val key, value;
    int rc = mdb_cursor_open(view->txn, view->store->tables[table], &cursor);

    if (rc != 0)
        return vq_store_mdb_error(err, rc, "reading the store");
    while ((rc = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) == 0)
        fn(table, &key, &value, data);
    mdb_cursor_close(cursor);
    return rc == MDB_NOTFOUND ? 0 : vq_store_mdb_error(err, rc, "reading the store");
}

static int walk(struct vq_store_view *view, record_fn fn, void *data, struct vq_error *err)
{
    for (int table = 0; table < VQ_N_TABLES; table++)
        if (walk_table(view, (enum vq_table)table, fn, data, err) < 0)
            return -1;
    return 0;
}

/* ---- The hash ---- */

static void hash_record(enum vq_table table, const MDB_val *key, const MDB_val *value, void *data)
{
    struct record_header header = {(uint8_t)table, 0, (uint16_t)key->mv_size, (uint32_t)value->mv_size};
    XXH3_state_t *state = data;

    XXH3_64bits_update(state, &header, sizeof(header));
    XXH3_64bits_update(state, key->mv_data, key->mv_size);
    XXH3_64bits_update(state, value->mv_data, value->mv_size);
}

int vq_store_hash(struct vq_store_view *view, uint64_t *ret_hash, struct vq_error *err)
{
    XXH3_state_t *state = XXH3_createState();

    if (state == NULL || XXH3_64bits_reset(state) != XXH_OK) {
        XXH3_freeState(state);
        return vq_error_set(err, VIR_ERR_NO_MEMORY, "hashing the store");
    }
    int rc = walk(view, hash_record, state, err);
    if (rc == 0)
        *ret_hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return rc;
}

/* ---- Taking ---- */

struct taking {
    struct vq_buffer packed;   /* headers, keys and short values; its address is known only at the end */
    struct vq_store_buf *bufs; /* base NULL: the next len bytes of packed */
    unsigned n_bufs;
    uint64_t n_records;
};

static void add_packed(struct taking *taking, const void *bytes, size_t length)
{
    vq_buffer_add_bytes(&taking->packed, bytes, length);
    if (taking->n_bufs > 0 && taking->bufs[taking->n_bufs - 1].base == NULL) {
        taking->bufs[taking->n_bufs - 1].len += length;
        return;
    }
    VQ_GROW(taking->bufs, taking->n_bufs);
    taking->bufs[taking->n_bufs++] = (struct vq_store_buf){NULL, length};
}

static void take_record(enum vq_table table, const MDB_val *key, const MDB_val *value, void *data)
{
    struct record_header header = {(uint8_t)table, 0, (uint16_t)key->mv_size, (uint32_t)value->mv_size};
    struct taking *taking = data;

    add_packed(taking, &header, sizeof(header));
    add_packed(taking, key->mv_data, key->mv_size);
    taking->n_records++;
    if (value->mv_size <= COPIED_MAX) {
        add_packed(taking, value->mv_data, value->mv_size);
        return;
    }
    VQ_GROW(taking->bufs, taking->n_bufs);
    taking->bufs[taking->n_bufs++] = (struct vq_store_buf){value->mv_data, value->mv_size};
}

static int finish_taking(struct taking *taking, struct snapshot_header *header, struct vq_error *err)
{
    XXH3_state_t *state = XXH3_createState();
    char *packed = taking->packed.data;

    if (state == NULL || XXH3_64bits_reset(state) != XXH_OK) {
        XXH3_freeState(state);
        return vq_error_set(err, VIR_ERR_NO_MEMORY, "taking a snapshot");
    }
    for (unsigned i = 0; i < taking->n_bufs; i++) {
        struct vq_store_buf *buf = &taking->bufs[i];
        if (buf->base == NULL) {
            buf->base = packed;
            packed += buf->len;
        }
        size_t skipped = i == 0 ? sizeof(*header) : 0;
        XXH3_64bits_update(state, (char *)buf->base + skipped, buf->len - skipped);
        header->length += buf->len - skipped;
    }
    header->hash = XXH3_64bits_digest(state);
    XXH3_freeState(state);
    return 0;
}

int vq_store_snapshot_take(struct vq_store *store, struct vq_store_snapshot *ret, struct vq_error *err)
{
    struct taking taking = {0};
    struct vq_store_view *view;

    if (VQ_FAILPOINT("store.snapshot.take"))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "failure point store.snapshot.take");
    if (vq_store_commit(store, err) < 0 || vq_store_view_begin(store, &view, err) < 0)
        return -1;
    struct snapshot_header header = {
        .format = VQ_STORE_FORMAT, .applied = store->meta.applied, .generation = store->meta.generation};
    memcpy(header.magic, magic, sizeof(magic));
    add_packed(&taking, &header, sizeof(header));
    *ret = (struct vq_store_snapshot){.view = view};
    int rc = walk(view, take_record, &taking, err);
    header.n_records = taking.n_records;
    if (rc == 0)
        rc = finish_taking(&taking, &header, err);
    ret->bufs = taking.bufs;
    ret->n_bufs = taking.n_bufs;
    ret->memory = taking.packed.data;
    if (rc < 0) {
        vq_store_snapshot_free(ret);
        return -1;
    }
    memcpy(ret->bufs[0].base, &header, sizeof(header));
    return 0;
}

void vq_store_snapshot_free(struct vq_store_snapshot *snapshot)
{
    free(snapshot->bufs);
    free(snapshot->memory);
    vq_store_view_end(snapshot->view);
    *snapshot = (struct vq_store_snapshot){0};
}

/* ---- Restoring ---- */

/* The record at *at; false: there is none or it is not whole. */
static bool next_record(const uint8_t **at, const uint8_t *end, struct record_header *ret, const uint8_t **ret_key)
{
    if ((size_t)(end - *at) < sizeof(*ret))
        return false;
    memcpy(ret, *at, sizeof(*ret));
    *at += sizeof(*ret);
    if (ret->table >= VQ_N_TABLES || ret->key_length == 0 || ret->key_length > 511 ||
        (size_t)(end - *at) < (size_t)ret->key_length + ret->value_length)
        return false;
    *ret_key = *at;
    *at += (size_t)ret->key_length + ret->value_length;
    return true;
}

static int check_snapshot(const uint8_t *bytes, size_t length, struct snapshot_header *ret, struct vq_error *err)
{
    const uint8_t *at = bytes + sizeof(*ret), *end = bytes + length, *key;
    struct record_header record;
    uint64_t n_records = 0;

    if (length < sizeof(*ret))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "a snapshot is too short");
    memcpy(ret, bytes, sizeof(*ret));
    if (memcmp(ret->magic, magic, sizeof(magic)) != 0)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "a snapshot has an unknown format");
    if (ret->format != VQ_STORE_FORMAT)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "a snapshot has format %u, this version knows %d",
                            ret->format, VQ_STORE_FORMAT);
    if (ret->length != length - sizeof(*ret) || ret->hash != XXH3_64bits(at, length - sizeof(*ret)))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "a snapshot is damaged");
    while (next_record(&at, end, &record, &key))
        n_records++;
    if (at != end || n_records != ret->n_records)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "a snapshot has a damaged record");
    return 0;
}

static int load_records(struct vq_store *store, const uint8_t *at, const uint8_t *end, struct vq_error *err)
{
    struct record_header record;
    const uint8_t *key;
    int rc;

    for (int i = 0; i < VQ_N_TABLES; i++)
        if ((rc = mdb_drop(store->txn, store->tables[i], 0)) != 0)
            return vq_store_mdb_error(err, rc, "emptying the store");
    while (next_record(&at, end, &record, &key)) {
        MDB_val k = {record.key_length, (void *)key}, v = {record.value_length, (void *)(key + record.key_length)};
        if (VQ_FAILPOINT("store.restore.put"))
            return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "failure point store.restore.put");
        if ((rc = mdb_put(store->txn, store->tables[record.table], &k, &v, MDB_APPEND)) != 0)
            return vq_store_mdb_error(err, rc, "loading a snapshot");
    }
    return 0;
}

int vq_store_restore(struct vq_store *store, const void *bytes, size_t length, bool *ret_loaded, struct vq_error *err)
{
    struct snapshot_header header;
    const uint8_t *records = (const uint8_t *)bytes + sizeof(header);

    if (check_snapshot(bytes, length, &header, err) < 0 || vq_store_commit(store, err) < 0)
        return -1;
    if (header.generation < store->meta.generation)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID,
                            "a snapshot of cluster generation %llu is refused, this node is in %llu",
                            (unsigned long long)header.generation, (unsigned long long)store->meta.generation);
    *ret_loaded = false;
    if (header.generation == store->meta.generation && store->meta.applied >= header.applied)
        return 0;
    if (vq_store_write_begin(store, err) < 0)
        return -1;
    if (load_records(store, records, (const uint8_t *)bytes + length, err) < 0 ||
        vq_store_load_meta(store, store->txn, err) < 0 || vq_store_commit(store, err) < 0) {
        vq_store_write_abort(store);
        return vq_error_wrap(err, "restoring a snapshot");
    }
    *ret_loaded = true;
    return 0;
}
