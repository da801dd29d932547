/* What the files of store/ share: the tables, the open store, one command being applied. */
#pragma once

#include <lmdb.h>
#include <stdatomic.h>

#include "conf/base/memory.h"
#include "proto/cluster.pb-c.h"
#include "store/store.h"

/* All of these are replicated: in the snapshot, in the hash, equal on all nodes. The numbers stand in snapshots. */
enum vq_table {
    VQ_TABLE_META,      /* "state" -> struct vq_store_meta */
    VQ_TABLE_HEAD,      /* uuid -> struct vq_domain_head */
    VQ_TABLE_TEXT,      /* uuid -> struct vq_text_head, definition */
    VQ_TABLE_NAME,      /* driver, name -> uuid */
    VQ_TABLE_ID,        /* domain id -> uuid */
    VQ_TABLE_NODE,      /* node id -> packed NodeRecord */
    VQ_TABLE_NODE_NAME, /* name -> node id */
    VQ_TABLE_SETTING,   /* name -> bytes */
    VQ_TABLE_TOKEN,     /* sha256 of the secret -> struct vq_token */
    VQ_TABLE_REQUEST,   /* slot -> struct vq_request_record, message */
    VQ_TABLE_DIGEST,    /* slot -> struct vq_digest */
    VQ_N_TABLES
};

enum {
    VQ_STORE_NAME_MAX     = 255,             /* bytes of a domain's, node's, setting's name; LMDB's keys end at 511 */
    VQ_STORE_XML_MAX      = 4 * 1024 * 1024, /* a string of the libvirt protocol */
    VQ_STORE_SETTING_MAX  = 64 * 1024,
    VQ_STORE_TOKENS_MAX   = 1024,
    VQ_STORE_NODES_MAX    = 256,
    VQ_STORE_REQUESTS_MAX = 32768,           /* ids kept for repetitions: ten seconds at three thousand a second */
    VQ_STORE_DIGESTS_MAX  = 8192,            /* entries that can be compared when the log is replayed */
    VQ_STORE_FORMAT       = 2,               /* of the tables; the one of snapshots too */
};

/* Counters and position; written once per commit. */
struct vq_store_meta {
    uint64_t applied;
    uint64_t generation;  /* of the cluster, raised after a recovery from a lost quorum */
    uint64_t run_counter; /* see store/ids.h */
    uint64_t last_node;   /* highest node id ever given */
    uint64_t n_requests;  /* ever applied; the slot is this modulo VQ_STORE_REQUESTS_MAX */
    uint32_t last_id;     /* domain id given out last */
    uint32_t format;
};

/* The values of the definition, which the head has only while the domain is inactive. */
struct vq_text_head {
    uint64_t max_memory_kib, memory_kib;
    uint32_t vcpus, max_vcpus;
    uint32_t xml_size; /* unpacked, 0: stored plain with its NUL */
    uint32_t is_sealed; /* 1: sealed bytes of what the rest says, without a NUL */
};

struct vq_request_record {
    uint8_t request_id[16];
    uint64_t index, number, version;
    int32_t code, from, id;
    uint32_t message_length;
    uint8_t uuid[16];
};

struct vq_digest {
    uint64_t index, hash;
};

struct vq_token {
    uint64_t expires_ms;
    uint64_t used_by; /* node id, 0: not used */
};

/* The recent request ids in memory: open addressing, filled from VQ_TABLE_REQUEST. */
struct vq_request_index;

enum { VQ_VIEW_POOL = 16 };

struct vq_store {
    MDB_env *env;
    MDB_dbi tables[VQ_N_TABLES];
    MDB_dbi own; /* not replicated: how far this node's log is known to reach */
    char *dir;
    bool is_durable;
    uint64_t reserve_bytes;  /* the data file is made this much longer than what is in use */
    uint64_t reserved_bytes; /* of it that are surely there */
    unsigned commits_until_look;
    _Atomic bool has_room;

    /* The writer's. */
    MDB_txn *txn; /* open while something is applied and not committed */
    struct vq_store_meta meta;
    struct vq_request_index *requests;
    _Atomic uint64_t applied;
    uint64_t stored, stored_noted; /* written, and to be written with the next commit */
    bool is_condemned;

    _Atomic(struct vq_store_view *) pool[VQ_VIEW_POOL]; /* ended views, to be renewed */
};

struct vq_store_view {
    struct vq_store *store;
    MDB_txn *txn;
    uint64_t applied, generation;
};

/* VIR_ERR_INTERNAL_ERROR or VIR_ERR_SYSTEM_ERROR with LMDB's text; -1. */
int vq_store_mdb_error(struct vq_error *err, int rc, const char *what);

/* 1 found, 0 none, -1 error. Values are valid until the next write of the transaction. */
int vq_table_get(struct vq_store *store, MDB_txn *txn, enum vq_table table, const void *key, size_t key_length,
                 MDB_val *ret_value, struct vq_error *err);
int vq_table_put(struct vq_store *store, enum vq_table table, const void *key, size_t key_length, const void *value,
                 size_t length, struct vq_error *err);
int vq_table_delete(struct vq_store *store, enum vq_table table, const void *key, size_t key_length,
                    struct vq_error *err); /* a missing one is fine */
size_t vq_table_count(struct vq_store *store, MDB_txn *txn, enum vq_table table);

/* The open write transaction, begun if there is none. */
int vq_store_write_begin(struct vq_store *store, struct vq_error *err);
/* Drop what is pending, and take counters and request ids from the tables again. */
void vq_store_write_abort(struct vq_store *store);
int vq_store_load_meta(struct vq_store *store, MDB_txn *txn, struct vq_error *err);
bool vq_store_text_is_valid(const MDB_val *value);

/* Keys with numbers: big-endian, so that their order is the numbers'. */
struct vq_key64 { uint8_t bytes[8]; };
struct vq_key32 { uint8_t bytes[4]; };
struct vq_key64 vq_key64(uint64_t number);
struct vq_key32 vq_key32(uint32_t number);
uint64_t vq_key64_value(const void *bytes);

/* One command being applied. */
struct vq_apply {
    struct vq_store *store;
    uint64_t index;
    const Vq__Command *command;
    struct vq_result *result;
    struct vq_change_list *changes;
    struct vq_error *err; /* of the store itself: then nothing of this may be committed */
};

/* An apply function looks first, and refuses before it has written anything. 0: the result says what happened, success
 * or refusal; -1: the store failed. */
typedef int (*vq_apply_fn)(struct vq_apply *apply);
int vq_apply_refuse(struct vq_apply *apply, int from, int code, const char *fmt, ...) VQ_PRINTF(4, 5);
/* Zeroed, with the index; valid until the next one is added. */
struct vq_change *vq_apply_change(struct vq_apply *apply, enum vq_change_kind kind);

int vq_apply_domain_define(struct vq_apply *apply);
int vq_apply_domain_undefine(struct vq_apply *apply);
int vq_apply_domain_settings(struct vq_apply *apply);
int vq_apply_domain_run(struct vq_apply *apply);
int vq_apply_domain_state(struct vq_apply *apply);
int vq_apply_domain_owner(struct vq_apply *apply);
int vq_apply_domain_rename(struct vq_apply *apply);
int vq_apply_domain_move(struct vq_apply *apply);
int vq_apply_domain_move_end(struct vq_apply *apply);
int vq_apply_node_put(struct vq_apply *apply);
int vq_apply_node_remove(struct vq_apply *apply);
int vq_apply_node_set_role(struct vq_apply *apply);
int vq_apply_node_drain(struct vq_apply *apply);
int vq_apply_token_put(struct vq_apply *apply);
int vq_apply_token_use(struct vq_apply *apply);
int vq_apply_setting_put(struct vq_apply *apply);
int vq_apply_cluster_init(struct vq_apply *apply);

/* Repetitions (request.c). find: true and the result of the first time. */
struct vq_request_index *vq_request_index_new(void);
void vq_request_index_free(struct vq_request_index *index);
int vq_request_load(struct vq_store *store, MDB_txn *txn, struct vq_error *err);
int vq_request_find(struct vq_store *store, const uint8_t id[16], struct vq_result *ret, struct vq_error *err);
int vq_request_keep(struct vq_store *store, const struct vq_result *result, struct vq_error *err);

/* The mark beside the data that tells whether an unclean stop of the host may have damaged it (boot.c). */
bool vq_boot_is_doubtful(const char *dir);
enum vq_boot_state { VQ_BOOT_OPEN, VQ_BOOT_CLEAN, VQ_BOOT_CONDEMNED };
int vq_boot_mark(const char *dir, bool durable, enum vq_boot_state state, struct vq_error *err);
int vq_store_dir_make(const char *dir, struct vq_error *err);
/* Before LMDB opens it: it writes to its lock file through a map, which on a full disk would be a SIGBUS. */
int vq_store_lock_reserve(const char *dir, struct vq_error *err);
/* Moves the data file to <dir>/before-<time>/; 0 also when there is none. */
int vq_store_set_aside(const char *dir, struct vq_error *err);
