/* The open store: environment, write transaction, views. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conf/base/failpoint.h"
#include "store/internal.h"

#define MAP_BYTES_DEFAULT ((size_t)16 << 30)

enum {
    READERS_MAX = 1000,
    RESERVE_BYTES = 16 * 1024 * 1024, /* when less than half of it is left, the file is made longer again */
    RESERVE_COMMITS = 64,             /* looked at once in so many commits, and each time while there is no room */
};

static const char *const table_names[VQ_N_TABLES] = {
    [VQ_TABLE_META] = "meta",           [VQ_TABLE_HEAD] = "domain.head", [VQ_TABLE_TEXT] = "domain.text",
    [VQ_TABLE_NAME] = "domain.name",    [VQ_TABLE_ID] = "domain.id",     [VQ_TABLE_NODE] = "node",
    [VQ_TABLE_NODE_NAME] = "node.name", [VQ_TABLE_SETTING] = "setting",  [VQ_TABLE_TOKEN] = "token",
    [VQ_TABLE_REQUEST] = "request",     [VQ_TABLE_DIGEST] = "digest",
};

static const struct vq_store_meta empty_meta = {.format = VQ_STORE_FORMAT};
static const char meta_key[] = "state";

/* ---- Room on disk ---- */

/* LMDB writes pages at the file's end; a file that is longer than what is in use has its blocks already. */
static void look_for_room(struct vq_store *store)
{
    MDB_envinfo info;
    MDB_stat stat;
    int fd;

    if (mdb_env_info(store->env, &info) != 0 || mdb_env_stat(store->env, &stat) != 0 ||
        mdb_env_get_fd(store->env, &fd) != 0)
        return;
    uint64_t used = (info.me_last_pgno + 1) * stat.ms_psize;
    store->commits_until_look = RESERVE_COMMITS;
    if (used + store->reserve_bytes / 2 <= store->reserved_bytes)
        return;
    if (VQ_FAILPOINT("store.reserve") || posix_fallocate(fd, 0, (off_t)(used + store->reserve_bytes)) != 0) {
        store->has_room = false;
        store->commits_until_look = 0;
        return;
    }
    store->reserved_bytes = used + store->reserve_bytes;
    store->has_room = true;
}

bool vq_store_has_room(const struct vq_store *store)
{
    struct vq_store *writer = (struct vq_store *)store; /* the look changes only what the writer owns */

    if (!store->has_room)
        look_for_room(writer);
    return store->has_room;
}

/* ---- Writing ---- */

int vq_store_write_begin(struct vq_store *store, struct vq_error *err)
{
    if (store->txn != NULL)
        return 0;
    int rc = mdb_txn_begin(store->env, NULL, 0, &store->txn);
    return rc != 0 ? vq_store_mdb_error(err, rc, "beginning to write to the store") : 0;
}

static const char stored_key[] = "stored";

static int load_stored(struct vq_store *store, MDB_txn *txn, struct vq_error *err)
{
    MDB_val key = {sizeof(stored_key) - 1, (void *)stored_key}, value;
    int rc = mdb_get(txn, store->own, &key, &value);

    if (rc != 0 && rc != MDB_NOTFOUND)
        return vq_store_mdb_error(err, rc, "reading the store");
    store->stored = 0;
    if (rc == 0 && value.mv_size == sizeof(store->stored))
        memcpy(&store->stored, value.mv_data, sizeof(store->stored));
    store->stored_noted = store->stored;
    return 0;
}

static int write_stored(struct vq_store *store, struct vq_error *err)
{
    MDB_val key = {sizeof(stored_key) - 1, (void *)stored_key};
    MDB_val value = {sizeof(store->stored_noted), &store->stored_noted};
    int rc = store->stored_noted == store->stored ? 0 : mdb_put(store->txn, store->own, &key, &value, 0);

    if (rc != 0)
        return vq_store_mdb_error(err, rc, "writing to the store");
    store->stored = store->stored_noted;
    return 0;
}

void vq_store_note_stored(struct vq_store *store, uint64_t index)
{
    if (index > store->stored_noted)
        store->stored_noted = index;
}

uint64_t vq_store_stored(const struct vq_store *store)
{
    return store->stored;
}

int vq_store_load_meta(struct vq_store *store, MDB_txn *txn, struct vq_error *err)
{
    MDB_val value;
    int found = vq_table_get(store, txn, VQ_TABLE_META, meta_key, sizeof(meta_key) - 1, &value, err);

    if (found < 0)
        return -1;
    store->meta = empty_meta;
    if (found > 0 && value.mv_size != sizeof(store->meta))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "the store's own record has a wrong size");
    if (found > 0)
        memcpy(&store->meta, value.mv_data, sizeof(store->meta));
    if (store->meta.format != VQ_STORE_FORMAT)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "the store has format %u, this version knows %d",
                            store->meta.format, VQ_STORE_FORMAT);
    store->applied = store->meta.applied;
    if (load_stored(store, txn, err) < 0)
        return -1;
    return vq_request_load(store, txn, err);
}

static int load(struct vq_store *store, struct vq_error *err)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &txn);

    if (rc != 0)
        return vq_store_mdb_error(err, rc, "reading the store");
    rc = vq_store_load_meta(store, txn, err);
    mdb_txn_abort(txn);
    return rc;
}

void vq_store_write_abort(struct vq_store *store)
{
    struct vq_error ignored = VQ_ERROR_INIT;

    if (store->txn == NULL)
        return;
    mdb_txn_abort(store->txn);
    store->txn = NULL;
    (void)load(store, &ignored); /* it could be read before; if not now, the next use says so */
}

int vq_store_commit(struct vq_store *store, struct vq_error *err)
{
    if (store->txn == NULL)
        return 0;
    if (vq_table_put(store, VQ_TABLE_META, meta_key, sizeof(meta_key) - 1, &store->meta, sizeof(store->meta), err) <
            0 ||
        write_stored(store, err) < 0 || VQ_FAILPOINT("store.commit")) {
        vq_store_write_abort(store);
        return vq_error_wrap(err, "committing");
    }
    int rc = mdb_txn_commit(vq_take(store->txn));
    if (rc != 0) {
        struct vq_error ignored = VQ_ERROR_INIT;
        (void)load(store, &ignored);
        return vq_store_mdb_error(err, rc, "committing to the store");
    }
    if (store->commits_until_look == 0 || --store->commits_until_look == 0)
        look_for_room(store);
    return 0;
}

uint64_t vq_store_applied(const struct vq_store *store)
{
    return store->applied;
}

int vq_store_set_durable(struct vq_store *store, bool durable, struct vq_error *err)
{
    int rc;

    if (store->is_durable == durable)
        return 0;
    /* The mark never says "flushed" of a file that is not. */
    if (!durable && vq_boot_mark(store->dir, false, VQ_BOOT_OPEN, err) < 0)
        return -1;
    if ((rc = mdb_env_set_flags(store->env, MDB_NOSYNC, !durable)) != 0)
        return vq_store_mdb_error(err, rc, "changing how the store flushes");
    if (durable && (rc = mdb_env_sync(store->env, 1)) != 0)
        return vq_store_mdb_error(err, rc, "flushing the store");
    store->is_durable = durable;
    return durable ? vq_boot_mark(store->dir, true, VQ_BOOT_OPEN, err) : 0;
}

int vq_store_condemn(struct vq_store *store, struct vq_error *err)
{
    store->is_condemned = true;
    return vq_boot_mark(store->dir, store->is_durable, VQ_BOOT_CONDEMNED, err);
}

int vq_store_raise_generation(struct vq_store *store, struct vq_error *err)
{
    if (vq_store_write_begin(store, err) < 0)
        return -1;
    store->meta.generation++;
    return vq_store_commit(store, err);
}

int vq_store_reset(struct vq_store *store, struct vq_error *err)
{
    VQ_AUTOFREE char *aside = NULL;
    struct timespec now;
    int rc;

    vq_store_write_abort(store);
    clock_gettime(CLOCK_REALTIME, &now);
    aside = vq_asprintf("%s/before-%lld%09ld", store->dir, (long long)now.tv_sec, now.tv_nsec);
    if (vq_store_dir_make(aside, err) < 0)
        return -1;
    if ((rc = mdb_env_copy2(store->env, aside, MDB_CP_COMPACT)) != 0)
        return vq_store_mdb_error(err, rc, "keeping a copy of the store");
    if (vq_store_write_begin(store, err) < 0)
        return -1;
    for (int i = 0; i < VQ_N_TABLES; i++)
        if ((rc = mdb_drop(store->txn, store->tables[i], 0)) != 0) {
            vq_store_write_abort(store);
            return vq_store_mdb_error(err, rc, "emptying the store");
        }
    if ((rc = mdb_drop(store->txn, store->own, 0)) != 0) {
        vq_store_write_abort(store);
        return vq_store_mdb_error(err, rc, "emptying the store");
    }
    store->meta = empty_meta;
    store->stored = store->stored_noted = 0;
    if (vq_store_commit(store, err) < 0)
        return -1;
    return load(store, err);
}

/* ---- Views ---- */

int vq_store_view_begin(struct vq_store *store, struct vq_store_view **ret, struct vq_error *err)
{
    struct vq_store_view *view = NULL;
    MDB_val value;
    int rc;

    for (int i = 0; i < VQ_VIEW_POOL && view == NULL; i++)
        if (store->pool[i] != NULL)
            view = atomic_exchange(&store->pool[i], NULL);
    if (view != NULL) {
        rc = mdb_txn_renew(view->txn);
    } else {
        view = vq_new(struct vq_store_view);
        view->store = store;
        rc = mdb_txn_begin(store->env, NULL, MDB_RDONLY, &view->txn);
    }
    if (rc != 0) {
        if (view->txn != NULL)
            mdb_txn_abort(view->txn);
        free(view);
        return vq_store_mdb_error(err, rc, "reading the store");
    }
    rc = vq_table_get(store, view->txn, VQ_TABLE_META, meta_key, sizeof(meta_key) - 1, &value, err);
    if (rc < 0) {
        vq_store_view_end(view);
        return -1;
    }
    view->applied = view->generation = 0;
    if (rc > 0 && value.mv_size == sizeof(struct vq_store_meta)) {
        struct vq_store_meta meta;
        memcpy(&meta, value.mv_data, sizeof(meta));
        view->applied = meta.applied;
        view->generation = meta.generation;
    }
    *ret = view;
    return 0;
}

void vq_store_view_end(struct vq_store_view *view)
{
    if (view == NULL)
        return;
    struct vq_store *store = view->store;
    mdb_txn_reset(view->txn);
    for (int i = 0; i < VQ_VIEW_POOL; i++) {
        struct vq_store_view *none = NULL;
        if (store->pool[i] == NULL && atomic_compare_exchange_strong(&store->pool[i], &none, view))
            return;
    }
    mdb_txn_abort(view->txn);
    free(view);
}

uint64_t vq_store_view_applied(const struct vq_store_view *view)
{
    return view->applied;
}

uint64_t vq_store_view_generation(const struct vq_store_view *view)
{
    return view->generation;
}

/* ---- Opening ---- */

static int open_tables(struct vq_store *store, struct vq_error *err)
{
    MDB_txn *txn;
    int rc = mdb_txn_begin(store->env, NULL, 0, &txn);

    if (rc != 0)
        return vq_store_mdb_error(err, rc, "opening the store's tables");
    for (int i = 0; i < VQ_N_TABLES; i++) {
        if ((rc = mdb_dbi_open(txn, table_names[i], MDB_CREATE, &store->tables[i])) == 0)
            continue;
        mdb_txn_abort(txn);
        return vq_store_mdb_error(err, rc, "opening the store's tables");
    }
    rc = mdb_dbi_open(txn, "own", MDB_CREATE, &store->own);
    if (rc != 0)
        mdb_txn_abort(txn);
    else
        rc = mdb_txn_commit(txn);
    return rc != 0 ? vq_store_mdb_error(err, rc, "opening the store's tables") : 0;
}

static int open_env(struct vq_store *store, size_t map_bytes, struct vq_error *err)
{
    unsigned flags = MDB_NOTLS | MDB_NOMETASYNC | (store->is_durable ? 0 : MDB_NOSYNC);
    int rc;

    if (vq_store_lock_reserve(store->dir, err) < 0)
        return -1;
    rc = mdb_env_create(&store->env);
    if (rc == 0)
        rc = mdb_env_set_mapsize(store->env, map_bytes == 0 ? MAP_BYTES_DEFAULT : map_bytes);
    if (rc == 0)
        rc = mdb_env_set_maxdbs(store->env, VQ_N_TABLES + 1);
    if (rc == 0)
        rc = mdb_env_set_maxreaders(store->env, READERS_MAX);
    if (rc == 0)
        rc = mdb_env_open(store->env, store->dir, flags, 0600);
    if (rc != 0)
        return vq_store_mdb_error(err, rc, "opening the store");
    if (open_tables(store, err) < 0)
        return -1;
    return load(store, err);
}

static void close_env(struct vq_store *store)
{
    if (store->env != NULL)
        mdb_env_close(store->env);
    store->env = NULL;
}

int vq_store_open(const char *dir, const struct vq_store_options *options, struct vq_store **ret, struct vq_error *err)
{
    struct vq_store *store;

    if (vq_store_dir_make(dir, err) < 0)
        return vq_error_wrap(err, "opening the store");
    if (vq_boot_is_doubtful(dir) && vq_store_set_aside(dir, err) < 0)
        return -1;
    if (vq_boot_mark(dir, false, VQ_BOOT_OPEN, err) < 0)
        return -1;
    store = vq_new(struct vq_store);
    store->dir = vq_strdup(dir);
    store->reserve_bytes = options->reserve_bytes == 0 ? RESERVE_BYTES : options->reserve_bytes;
    store->requests = vq_request_index_new();
    store->meta = empty_meta;
    if (open_env(store, options->map_bytes, err) < 0) {
        bool is_damaged = err == NULL || err->code == VIR_ERR_INTERNAL_ERROR;
        close_env(store);
        /* A file that LMDB does not take is as good as none: the log fills a new one. */
        if (!is_damaged || vq_store_set_aside(dir, err) < 0 || open_env(store, options->map_bytes, err) < 0) {
            vq_store_close(store);
            return -1;
        }
    }
    /* What a killed process wrote may still be on its way to the disk; only then is it flushed. */
    if (options->durable && vq_store_set_durable(store, true, err) < 0) {
        vq_store_close(store);
        return -1;
    }
    look_for_room(store);
    *ret = store;
    return 0;
}

void vq_store_close(struct vq_store *store)
{
    struct vq_error ignored = VQ_ERROR_INIT;

    if (store == NULL)
        return;
    if (store->env != NULL) {
        if (vq_store_commit(store, &ignored) < 0)
            ignored.code = VIR_ERR_OK; /* what is lost here the log has */
        for (int i = 0; i < VQ_VIEW_POOL; i++) {
            if (store->pool[i] == NULL)
                continue;
            mdb_txn_abort(store->pool[i]->txn);
            free(store->pool[i]);
        }
        bool is_flushed = mdb_env_sync(store->env, 1) == 0;
        close_env(store);
        if (is_flushed && !store->is_condemned)
            (void)vq_boot_mark(store->dir, store->is_durable, VQ_BOOT_CLEAN,
                               &ignored); /* without it the log fills it again */
    }
    vq_request_index_free(store->requests);
    free(store->dir);
    free(store);
}
