/* Migration: what its parts share. docs/migration.md has the whole picture. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"
#include "drivers/driver.h"
#include "drivers/peer.h"

struct vq_domain;
struct vq_migrate_disks;
struct vq_qemu;
struct vq_qemu_guest;
struct vq_typed_param;

/* ---- What the caller wants: migrate_params.c ---- */

enum vq_migrate_compression { VQ_COMPRESS_MT = 1, VQ_COMPRESS_XBZRLE = 2, VQ_COMPRESS_ZLIB = 4, VQ_COMPRESS_ZSTD = 8 };

struct vq_migrate_options {
    uint64_t flags;              /* VIR_MIGRATE_* */
    char *uri;                   /* of the data channel; NULL: the destination chooses */
    char *dname, *dxml, *persistent_xml, *graphics_uri, *listen_address, *tls_destination, *disks_uri;
    char **disks;                /* targets to copy; NULL: all that are not shared */
    size_t n_disks;
    int disks_port;              /* 0: chosen */
    uint64_t bandwidth, postcopy_bandwidth; /* MiB/s; 0: as set before, or unlimited */
    unsigned compression;        /* enum vq_migrate_compression; with the flag COMPRESSED never 0 */
    int mt_level, mt_threads, mt_dthreads; /* -1: not said */
    bool has_xbzrle_cache;
    uint64_t xbzrle_cache;       /* bytes */
    int throttle_initial, throttle_increment; /* percent, 0: not said */
    int parallel_connections;    /* 0: not said */
};

/* All that is known, VIR_MIGRATE_LIVE to VIR_MIGRATE_ZEROCOPY. */
enum { VQ_MIGRATE_FLAGS = 0x1fffff };

/* Nothing said: what vq_migrate_options_done() and _copy() take. */
void vq_migrate_options_init(struct vq_migrate_options *options);
/* From a list of typed parameters. Checks names, types, repetition, ranges, and what flags and parameters need or exclude
 * everywhere. Errors: VIR_ERR_INVALID_ARG, VIR_ERR_ARGUMENT_UNSUPPORTED (an unknown name), VIR_ERR_OVERFLOW. */
VQ_MUST_CHECK int vq_migrate_options_read(const struct vq_typed_param *params, uint32_t n_params, uint64_t flags,
                                          struct vq_migrate_options *ret, struct vq_error *err);
/* From the positional arguments of v3; any may be NULL. */
VQ_MUST_CHECK int vq_migrate_options_positional(uint64_t flags, const char *uri, const char *dname, const char *dxml,
                                                uint64_t bandwidth, struct vq_migrate_options *ret, struct vq_error *err);
/* What only one of the calls refuses, in the words of a stock daemon: the destination gets the same parameters with fewer flags.
 * Errors: as above, VIR_ERR_OPERATION_INVALID, VIR_ERR_INTERNAL_ERROR. */
enum vq_migrate_call { VQ_MIGRATE_BEGIN = 1, VQ_MIGRATE_PERFORM = 2, VQ_MIGRATE_P2P = 4, VQ_MIGRATE_PREPARE = 8,
                       VQ_MIGRATE_PREPARE_TUNNEL = 16, VQ_MIGRATE_FINISH = 32, VQ_MIGRATE_CONFIRM = 64 };
VQ_MUST_CHECK int vq_migrate_options_check(const struct vq_migrate_options *options, enum vq_migrate_call call,
                                           struct vq_error *err);
/* As a list, in the arena, for the peer. NULL: the arena is at its limit. */
struct vq_typed_param *vq_migrate_options_list(const struct vq_migrate_options *options, struct vq_arena *arena,
                                               uint32_t *ret_n);
void vq_migrate_options_copy(struct vq_migrate_options *to, const struct vq_migrate_options *from);
void vq_migrate_options_done(struct vq_migrate_options *options);

/* ---- Cookies: migrate_cookie.c ---- */

enum { VQ_MIGRATE_CAPABILITIES_MAX = 64, VQ_MIGRATE_DISKS_MAX = 64, VQ_MIGRATE_COOKIE_MAX = 4194304 };

/* Texts are malloc'ed and belong to the cookie. */
struct vq_migrate_cookie {
    bool is_set;                 /* false: the empty one */
    uint8_t uuid[16];
    char *name;                  /* of the guest at the source, at all times */
    char *host_name;
    uint8_t host_uuid[16];
    struct { char *type, *listen, *subject; int port, tls_port; } graphics;        /* type NULL: none; ports 0: none */
    char *persistent_xml;        /* <domain> inside: the definition to keep */
    bool has_nbd;
    int nbd_port;                /* 0: not told */
    struct vq_migrate_disk { char *target; uint64_t capacity; } *disks; /* to copy, with sizes in bytes */
    size_t n_disks;
    struct vq_qemu_job_stats *stats; /* malloc'ed; NULL: none */
    uint64_t stats_sent_ms;      /* when the sender wrote them, by its clock */
    char *cpu_xml;               /* <cpu ...> as the guest has it; NULL */
    struct vq_migrate_capability { char *name; bool is_auto; } *capabilities;
    size_t n_capabilities;
    bool wants_lockstate;        /* begin: feature lockstate */
    /* Our own element <vq:node xmlns:vq='...' ...>: only between nodes of one cluster; others ignore it. */
    uint64_t node;               /* id of the sender, 0: not told */
    uint8_t cluster_id[16];
    uint64_t run;                /* prepare: the run number of the move */
    char *owned;                 /* begin: what images had as owners before QEMU got them (JSON), NULL */
};

/* The sender's part of a cookie: guest, host, and the node in a cluster. name: of the guest at the source. */
void vq_migrate_cookie_init(struct vq_migrate_cookie *cookie, const struct vq_qemu *qemu, const uint8_t uuid[16],
                            const char *name);
/* length 0: an empty cookie, all zero. Every value is checked; unknown elements are passed over, unknown mandatory features not.
 * Errors: VIR_ERR_INTERNAL_ERROR, VIR_ERR_XML_ERROR. */
VQ_MUST_CHECK int vq_migrate_cookie_read(const uint8_t *bytes, size_t length, struct vq_migrate_cookie *ret,
                                         struct vq_error *err);
/* Is a cookie that was read of this guest, and from another host? An empty one says neither, and is taken. name and uuid as the
 * guest's at the source. Errors: VIR_ERR_INTERNAL_ERROR, in the words of a stock daemon. */
VQ_MUST_CHECK int vq_migrate_cookie_check(const struct vq_migrate_cookie *cookie, const struct vq_qemu *qemu,
                                          const uint8_t uuid[16], const char *name, struct vq_error *err);
/* Does it come from a node of this node's cluster? */
bool vq_migrate_cookie_is_ours(const struct vq_migrate_cookie *cookie, const struct vq_qemu *qemu);
/* Bytes in the arena, the trailing NUL counted. Errors: VIR_ERR_INTERNAL_ERROR (too long), VIR_ERR_XML_ERROR (an XML inside). */
VQ_MUST_CHECK int vq_migrate_cookie_write(const struct vq_migrate_cookie *cookie, struct vq_arena *arena, uint8_t **ret_bytes,
                                          uint32_t *ret_length, struct vq_error *err);
void vq_migrate_cookie_add_capability(struct vq_migrate_cookie *cookie, const char *name, bool is_auto);
void vq_migrate_cookie_add_disk(struct vq_migrate_cookie *cookie, const char *target, uint64_t capacity);
void vq_migrate_cookie_done(struct vq_migrate_cookie *cookie);

/* ---- The state of one migration of one guest: guest->migration, in its record as "migration" ---- */

enum vq_migrate_role { VQ_MIGRATE_NONE, VQ_MIGRATE_OUT, VQ_MIGRATE_IN };

/* Out: BEGUN (between begin and perform), SENDING, SENT (all sent, CPUs stopped; the outcome is
 * not known), POSTCOPY (serving pages), POSTCOPY_FAILED, OVER.
 * In: WAITING (for data), LOADING, LOADED (all there; the outcome is not known), POSTCOPY, POSTCOPY_FAILED, OVER. */
enum vq_migrate_stage { VQ_MIGRATE_BEGUN, VQ_MIGRATE_SENDING, VQ_MIGRATE_SENT, VQ_MIGRATE_WAITING,
                        VQ_MIGRATE_LOADING, VQ_MIGRATE_LOADED, VQ_MIGRATE_POSTCOPY, VQ_MIGRATE_POSTCOPY_FAILED, VQ_MIGRATE_OVER,
                        VQ_MIGRATE_STAGES };

enum { VQ_MIGRATE_KEY_BYTES = 32 };

struct vq_migration {
    enum vq_migrate_role role;
    enum vq_migrate_stage stage;
    struct vq_migrate_options options;
    uint64_t peer;           /* node id; 0: a daemon outside the cluster. In: only this node is told the key */
    uint64_t run;            /* between nodes: run number at the destination */
    uint64_t generation;     /* of the owner when the move began */
    uint64_t taken_from;     /* in, from outside: the node that owned the domain, which is off, until prepare; 0: nobody, or it stays here */
    uint64_t entry_node, session; /* whose connection's end ends it (0, 0: nobody's) */
    bool was_running;        /* out: CPUs ran before */
    bool has_key;            /* in, between nodes: the key below was made for this run; never in the record */
    uint8_t key[VQ_MIGRATE_KEY_BYTES]; /* of the data; told to the source when it asks (handlers_node.c) */
    char *owned;             /* in: owners of images before the first run in the cluster (JSON), taken over with the guest; NULL */
    struct vq_migrate_disks *disks; /* of migrate_disks.c; NULL: none travel */
    void *side;              /* of migrate_out.c or migrate_in.c: what only lives as long as the daemon */
};

/* ---- Source: migrate_out.c ---- */

/* Each completes by its call-back, once. Strings and bytes are in the request's arena or borrowed for the call-back. */
typedef void (*vq_migrate_begin_cb)(const char *xml, const uint8_t *cookie, uint32_t cookie_length,
                                    const struct vq_error *err, void *data);
void vq_migrate_out_begin(struct vq_request *request, const struct vq_migrate_options *options, vq_migrate_begin_cb cb,
                          void *data);
/* Sends the guest to options->uri; cookie is the destination's from prepare. Between nodes it ends when the owner has changed. */
typedef void (*vq_migrate_cookie_cb)(const uint8_t *cookie, uint32_t cookie_length, const struct vq_error *err, void *data);
void vq_migrate_out_perform(struct vq_request *request, const struct vq_migrate_options *options, const uint8_t *cookie,
                            uint32_t cookie_length, vq_migrate_cookie_cb cb, void *data);
void vq_migrate_out_confirm(struct vq_request *request, const struct vq_migrate_options *options, const uint8_t *cookie,
                            uint32_t cookie_length, bool cancelled, vq_migrate_cookie_cb cb, void *data);

/* ---- Destination: migrate_in.c ---- */

typedef void (*vq_migrate_prepare_cb)(const char *uri, const uint8_t *cookie, uint32_t cookie_length,
                                      const struct vq_error *err, void *data);
/* options->dxml is the guest's XML. uri in the answer: where the source shall send to. take_data_fd: of a tunnel, a socket that
 * QEMU reads from instead of listening (the URI means nothing then); -1: none. */
void vq_migrate_in_prepare(struct vq_request *request, const struct vq_migrate_options *options, const uint8_t *cookie,
                           uint32_t cookie_length, int take_data_fd, vq_migrate_prepare_cb cb, void *data);
/* The domain is found by name. cancelled: ends with VIR_ERR_MIGRATE_FINISH_OK. */
typedef void (*vq_migrate_finish_cb)(const struct vq_qemu_guest *guest, const uint8_t *cookie, uint32_t cookie_length,
                                     const struct vq_error *err, void *data);
void vq_migrate_in_finish(struct vq_request *request, const struct vq_migrate_options *options, const uint8_t *cookie,
                          uint32_t cookie_length, bool cancelled, vq_migrate_finish_cb cb, void *data);

/* ---- Post-copy between nodes goes on (VIR_MIGRATE_POSTCOPY_RESUME): migrate_resume.c ---- */

/* At the node that runs the guest. Errors: VIR_ERR_OPERATION_INVALID there is nothing to be resumed. */
void vq_migrate_resume_begin(struct vq_request *request, vq_migrate_begin_cb cb, void *data);
void vq_migrate_resume_perform(struct vq_request *request, const struct vq_migrate_options *options,
                               vq_migrate_cookie_cb cb, void *data);

/* ---- The end of a move: migrate_end.c ---- */

/* The definition that the domain shall have when the move is committed, with its new name. *ret NULL: it stays as it is. Errors: the
 * caller's persistent XML cannot be read, or the guest would notice it (VIR_ERR_CONFIG_UNSUPPORTED, VIR_ERR_INVALID_ARG). */
VQ_MUST_CHECK int vq_migrate_kept_definition(const struct vq_qemu_guest *guest, const struct vq_migrate_options *options,
                                             struct vq_domain **ret, struct vq_error *err);
/* Of guest->migration, with what is to be kept. cb may be called before this returns, when there is something wrong with that. */
void vq_migrate_propose_commit(const struct vq_qemu_guest *guest, uint64_t to, vq_propose_cb cb, void *data);
void vq_migrate_propose_cancel(const struct vq_driver_host *host, const uint8_t uuid[16], uint64_t to, uint64_t run,
                               vq_propose_cb cb, void *data);

/* ---- Both, called from the rest of the driver ---- */

/* It waits here for its data, or for the word that it is this node's. */
bool vq_migrate_is_incoming(const struct vq_qemu_guest *guest);
/* An event of QEMU: MIGRATION, MIGRATION_PASS, and also those that a migration looks at. True: it was the migration's alone. */
bool vq_migrate_event(struct vq_qemu_guest *guest, const char *name, const json_t *data);
/* The replicated state of the domain changed, or this node has caught up: act on what is applied. info NULL: it is gone. */
void vq_migrate_changed(struct vq_qemu_guest *guest, const struct vq_domain_info *info);
/* The guest was found again after a restart of the daemon, and its monitor answers (or it was seen to have ended). */
void vq_migrate_found(struct vq_qemu_guest *guest);
/* A client's connection has ended, or a node is not reachable any more (session 0: all of that node). */
void vq_migrate_session_ended(struct vq_qemu *qemu, uint64_t entry_node, uint64_t session);
/* QEMU has ended by itself during a migration: true when migration decides what that means (it clears away itself). */
bool vq_migrate_exited(struct vq_qemu_guest *guest);
/* For the record. */
json_t *vq_migration_pack(const struct vq_migration *migration);
struct vq_migration *vq_migration_unpack(const json_t *object); /* NULL: nothing usable in it */
void vq_migration_free(struct vq_migration *migration);

/* ---- p2p: migrate_p2p.c ---- */

/* The whole migration with this daemon as the client of dconnuri: begin, prepare there, perform, finish there, confirm. */
void vq_migrate_p2p(struct vq_request *request, const char *dconnuri, const struct vq_migrate_options *options,
                    vq_migrate_cookie_cb cb, void *data);

extern const struct vq_qemu_rows vq_qemu_migrate_rows; /* migrate_handlers.c */
extern const struct vq_qemu_rows vq_qemu_migrate_pace_rows; /* migrate_pace.c */
