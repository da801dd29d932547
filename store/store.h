/* The replicated state of the cluster in LMDB, and how commands change it.
 *
 * One writer (the raft thread) applies entries; any thread reads through a view, without a lock, and sees the state as
 * it was at one applied index. Applying is deterministic: the same entries give the same tables on every node. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"

struct vq_store;
struct vq_store_view;
typedef struct Vq__Command Vq__Command;
typedef struct Vq__NodeRecord Vq__NodeRecord;

enum { VQ_STORE_DOMAINS_MAX = 16384 }; /* lists of the protocol hold no more */

enum vq_driver_type { VQ_DRIVER_NONE, VQ_DRIVER_QEMU, VQ_DRIVER_LXC, VQ_DRIVER_XEN, VQ_DRIVER_TEST };

enum vq_domain_flag {
    VQ_DOMAIN_PERSISTENT   = 1 << 0,
    VQ_DOMAIN_AUTOSTART    = 1 << 1,
    VQ_DOMAIN_MANAGED_SAVE = 1 << 2,
    VQ_DOMAIN_UPDATED      = 1 << 3, /* live configuration differs from the definition */
    VQ_DOMAIN_AUTOSTART_ONCE = 1 << 4,
    VQ_DOMAIN_CLAIMED      = 1 << 5, /* the owner took a run and has not reported about it yet: it may run */
};

enum { VQ_DOMAIN_HEAD_FORMAT = 2 };

/* What is known of a domain without parsing its definition. Lies in LMDB as it is (little-endian hosts only), so a
 * list of ten thousand costs ten thousand cursor steps. Pointers to it are valid until the view ends. */
struct vq_domain_head {
    uint8_t uuid[16];
    uint64_t owner;          /* node id */
    uint64_t generation;     /* counts changes of ownership */
    uint64_t version;        /* counts definitions; if_version of DomainDefine compares with it */
    uint64_t run;            /* number of the current or last run; counts up for ever */
    uint64_t max_memory_kib;
    uint64_t memory_kib;
    uint64_t changed_ms;     /* proposer's time of the last change of state */
    uint64_t moving_to;      /* node that a migration is under way to, 0: none */
    uint64_t moving_run;     /* run number that it gets there; 0: none */
    uint64_t last_move;      /* moving_run of the last migration that began, also when it is over: who knows of a later one reads a
                                state from before it */
    int32_t  id;             /* -1 while inactive */
    uint32_t vcpus;
    uint32_t max_vcpus;
    uint32_t flags;          /* enum vq_domain_flag */
    uint8_t  driver;         /* enum vq_driver_type */
    uint8_t  state;          /* VIR_DOMAIN_* as last published by the owner */
    uint8_t  reason;
    uint8_t  format;         /* of this struct: VQ_DOMAIN_HEAD_FORMAT */
    uint32_t name_length;
    char     name[];         /* NUL-terminated */
} __attribute__((packed, aligned(2))); /* LMDB promises two bytes; no member has padding before it anyway */

/* dir: made if missing, 0700. map_bytes 0: default (16 GiB of address space). durable: flush each commit (clusters of
 * one and two). A store that an unclean stop of the host made doubtful, or of another format, is set aside: the log fills
 * a new one. A snapshot of another format is refused by vq_store_restore(). */
struct vq_store_options {
    size_t map_bytes;
    size_t reserve_bytes; /* room on disk kept ahead of the next commits; 0: 16 MiB */
    bool durable;
};
VQ_MUST_CHECK int vq_store_open(const char *dir, const struct vq_store_options *options, struct vq_store **ret,
                                struct vq_error *err);
void vq_store_close(struct vq_store *store); /* no view may be open */

/* ---- Reading ---- */

VQ_MUST_CHECK int vq_store_view_begin(struct vq_store *store, struct vq_store_view **ret, struct vq_error *err);
void vq_store_view_end(struct vq_store_view *view); /* accepts NULL; cheap: views are kept and renewed */
uint64_t vq_store_view_applied(const struct vq_store_view *view);
uint64_t vq_store_view_generation(const struct vq_store_view *view); /* see vq_store_raise_generation() */

const struct vq_domain_head *vq_store_domain_find(struct vq_store_view *view, const uint8_t uuid[16]);
const struct vq_domain_head *vq_store_domain_find_by_name(struct vq_store_view *view, enum vq_driver_type driver,
                                                          const char *name);
const struct vq_domain_head *vq_store_domain_find_by_id(struct vq_store_view *view, int32_t id);

/* A definition as the command brought it, borrowed until the view ends. The store has no key and opens nothing. */
struct vq_definition {
    const uint8_t *bytes;
    size_t length;
    uint32_t xml_size; /* of the text when the bytes are compressed, else 0 */
    bool is_sealed;    /* the bytes are sealed, after they were compressed: node/seal.h */
};
/* Fails only for a damaged record. */
VQ_MUST_CHECK int vq_store_definition(struct vq_store_view *view, const uint8_t uuid[16], struct vq_definition *ret,
                                      struct vq_error *err);
/* The text of a definition that is not sealed or was opened, malloc'ed. The bytes may be anything. */
VQ_MUST_CHECK int vq_store_definition_text(const struct vq_definition *definition, char **ret_xml,
                                           struct vq_error *err);
/* The definition as NUL-terminated text: borrowed from the map when stored plain, else unpacked into *ret_free, which
 * the caller frees. Fails for a damaged record, and for a sealed one. */
VQ_MUST_CHECK int vq_store_domain_xml(struct vq_store_view *view, const uint8_t uuid[16], const char **ret_xml,
                                      char **ret_free, struct vq_error *err);

/* All domains in the order of their UUIDs: start with *cursor = NULL, end at NULL. Ending early: vq_store_cursor_end. */
struct vq_store_cursor;
const struct vq_domain_head *vq_store_domain_next(struct vq_store_view *view, struct vq_store_cursor **cursor);
void vq_store_cursor_end(struct vq_store_cursor **cursor);
uint32_t vq_store_domain_count(struct vq_store_view *view);

/* Nodes, in the order of their ids; unpacked, freed with vq_store_node_free(). */
Vq__NodeRecord *vq_store_node_find(struct vq_store_view *view, uint64_t id);
Vq__NodeRecord *vq_store_node_find_by_name(struct vq_store_view *view, const char *name);
Vq__NodeRecord *vq_store_node_next(struct vq_store_view *view, uint64_t after_id);
void vq_store_node_free(Vq__NodeRecord *node);

/* Cluster settings; the bytes are valid until the view ends. False: not set. Names: "cluster.name", "cluster.id",
 * "cluster.authority", "cluster.authority_key" (sealed), and what SettingPut stored. */
bool vq_store_setting(struct vq_store_view *view, const char *name, const uint8_t **ret_value, size_t *ret_length);

/* A join token by the hash of its secret. */
enum vq_token_state { VQ_TOKEN_UNKNOWN, VQ_TOKEN_VALID, VQ_TOKEN_USED, VQ_TOKEN_EXPIRED };
enum vq_token_state vq_store_token_state(struct vq_store_view *view, const uint8_t secret_sha256[32], uint64_t now_ms);

/* A hash of the whole applied state, equal on all nodes at the same index. Walks everything: for checks and tests. */
VQ_MUST_CHECK int vq_store_hash(struct vq_store_view *view, uint64_t *ret_hash, struct vq_error *err);

/* ---- Writing: the raft thread only ---- */

/* One thing that a command changed, for events and caches. Copied, owned by the list. */
enum vq_change_kind {
    VQ_CHANGE_DOMAIN_DEFINED, VQ_CHANGE_DOMAIN_UNDEFINED, VQ_CHANGE_DOMAIN_STATE, VQ_CHANGE_DOMAIN_SETTINGS,
    VQ_CHANGE_DOMAIN_OWNER, VQ_CHANGE_DOMAIN_RENAMED, VQ_CHANGE_NODE, VQ_CHANGE_SETTING,
    VQ_CHANGE_DOMAIN_MOVE, /* a migration began, or ended without a new owner */
    VQ_CHANGE_RESYNC, /* a snapshot replaced everything: list again */
};
enum { VQ_CHANGE_EVENTS_MAX = 8 };
struct vq_change {
    enum vq_change_kind kind;
    uint64_t index;
    uint8_t uuid[16];
    char *name;              /* of the domain or setting; old name for RENAMED */
    char *new_name;
    uint8_t driver;
    uint64_t owner;          /* after the change */
    uint64_t old_owner;      /* before it */
    uint64_t moving_to;      /* of a migration that was or is under way, also one that this ended: its destination; 0 */
    uint64_t node;           /* node id for NODE */
    int32_t id;              /* before the end for a domain that stopped */
    uint64_t run;
    uint64_t mesh_sequence;  /* of DomainState */
    bool is_new;             /* DEFINED: added, not updated; NODE: joined */
    bool is_gone;            /* NODE: removed; STATE: transient domain removed */
    bool is_persistent;      /* the domain, after the change; the store may be further already when this is read */
    uint8_t n_events;
    struct { uint8_t event, detail; } events[VQ_CHANGE_EVENTS_MAX];
};
struct vq_change_list {
    struct vq_change *changes;
    size_t n_changes;
};
void vq_change_list_done(struct vq_change_list *list);

/* What a command came to; result of the same request id again is the result of the first time. */
struct vq_result {
    uint8_t request_id[16];
    uint64_t index;
    int32_t code;            /* VIR_ERR_OK or the refusal */
    int32_t from;
    uint64_t number;
    int32_t id;
    uint64_t version;
    uint8_t uuid[16];
    char message[512];
};

/* Apply one entry (packed vq.Entry). Everything applied since the last commit is one LMDB transaction; an index at or
 * below the applied one is skipped, comparing digests: -1 with *ret_diverged says that this copy is not the log's.
 * results: one per command, appended to the array (malloc'ed, caller's). */
VQ_MUST_CHECK int vq_store_apply(struct vq_store *store, uint64_t index, const void *entry, size_t length,
                                 struct vq_result **results, size_t *n_results, struct vq_change_list *changes,
                                 bool *ret_diverged, struct vq_error *err);
VQ_MUST_CHECK int vq_store_commit(struct vq_store *store, struct vq_error *err); /* nothing pending: does nothing */
uint64_t vq_store_applied(const struct vq_store *store);                        /* committed or pending */
/* Flush each commit from now on, or no longer: as the cluster grows beyond two members, or shrinks. */
VQ_MUST_CHECK int vq_store_set_durable(struct vq_store *store, bool durable, struct vq_error *err);
/* Room on disk is kept in reserve, so that a commit does not find the disk full. False: the reserve could not be
 * filled up; the leader then takes no more commands. */
bool vq_store_has_room(const struct vq_store *store);
/* The part of the applied entries that this node's own log is known to hold: noted with the next commit, not
 * replicated. A log that ends before it has lost something that this node had acknowledged. */
void vq_store_note_stored(struct vq_store *store, uint64_t index);
uint64_t vq_store_stored(const struct vq_store *store);
/* This copy is wrong: the next open sets it aside. */
VQ_MUST_CHECK int vq_store_condemn(struct vq_store *store, struct vq_error *err);
/* After a recovery from a lost quorum: snapshots of an earlier generation are refused, those of a later one loaded
 * whatever their index. */
VQ_MUST_CHECK int vq_store_raise_generation(struct vq_store *store, struct vq_error *err);

/* A snapshot of exactly the applied index, as buffers that point into the map; freed with vq_store_snapshot_free. */
struct vq_store_snapshot {
    struct vq_store_buf { void *base; size_t len; } *bufs;
    unsigned n_bufs;
    struct vq_store_view *view;
    void *memory;
};
VQ_MUST_CHECK int vq_store_snapshot_take(struct vq_store *store, struct vq_store_snapshot *ret, struct vq_error *err);
void vq_store_snapshot_free(struct vq_store_snapshot *snapshot);
/* Replace everything unless this copy is as new already (*ret_loaded tells). Checked before anything is changed. */
VQ_MUST_CHECK int vq_store_restore(struct vq_store *store, const void *bytes, size_t length, bool *ret_loaded,
                                   struct vq_error *err);
/* Forget everything (a node that joins another cluster). The old files are kept as <dir>/before-<time>. */
VQ_MUST_CHECK int vq_store_reset(struct vq_store *store, struct vq_error *err);
