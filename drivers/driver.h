/* What a driver is: procedures it serves, and what the daemon gives it to work with.
 *
 * A driver runs on the node loop, never blocks it, and completes each request exactly once, at once or later. It knows
 * nothing of sessions, routing, the mesh or consensus: a request arrives on the node where it is to be done. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "conf/base/error.h"
#include "conf/base/memory.h"
#include "drivers/peer.h"
#include "proto/procedure.h"

struct vq_driver;
struct vq_request;
struct vq_secret_ref;
struct vq_source;
struct vq_stream;
struct vq_stream_callbacks;

/* Who calls, as the kernel or a certificate told when the connection was accepted. */
struct vq_caller {
    bool readonly;
    bool has_unix;
    uint32_t uid, gid;
    int32_t pid;
    uint64_t process_start;
    const char *user, *group, *sasl_user, *x509_dn, *selinux; /* NULL: none */
    uint64_t entry_node;
    uint64_t session;        /* unique per entry node: for things that end with the client's connection */
};

/* A domain as the replicated state (overlaid with this node's own knowledge) has it. */
struct vq_domain_info {
    uint8_t uuid[16];
    const char *name;
    int32_t id;              /* -1 inactive */
    uint64_t owner, generation, version, run;
    uint64_t max_memory_kib, memory_kib;
    uint32_t vcpus, max_vcpus, flags; /* enum vq_domain_flag of store/store.h has the same bits: see below */
    uint8_t state, reason;
    uint64_t moving_to, moving_run; /* a migration to that node is under way, its run number there; 0: none */
    /* moving_run of the last migration that began, also when it is over. Who knows of a migration R, and reads last_move < R and
     * run < R, reads a state from before it (a store that is filled again by the log): nothing can be said yet. Else it is over when
     * moving_run is not R: committed when run >= R, cancelled when not. */
    uint64_t last_move;
    const char *xml;         /* canonical inactive definition, with secrets; NULL: not asked for, or it cannot be read */
    const char *xml_problem; /* why it cannot be read, for the caller; else NULL */
    bool has_secrets;        /* the definition was sealed: clients may see it only with VIR_DOMAIN_XML_SECURE */
};
enum { VQ_INFO_PERSISTENT = 1, VQ_INFO_AUTOSTART = 2, VQ_INFO_MANAGED_SAVE = 4, VQ_INFO_UPDATED = 8, VQ_INFO_CLAIMED = 32 };

/* One call being served. Lives in its arena until it is completed. */
struct vq_request {
    const struct vq_procedure *procedure;
    const void *args;                    /* decoded: struct vq_<program>_<name>_args */
    void *ret;                           /* zeroed struct vq_<program>_<name>_ret; pointers in it lead into the arena */
    struct vq_arena *arena;
    const struct vq_caller *caller;
    struct vq_driver *driver;            /* of the connection */
    const struct vq_domain_info *domain; /* VQ_OBJECT_DOMAIN: found, and the caller may see it; else NULL */
    uint64_t deadline_ms;                /* loop time (uv_now) at which the caller has been told that it timed out */
    bool is_remote;                      /* came over the mesh: no descriptors can be passed */
    int fds[32];                         /* that came with the call; a driver that keeps one sets it to -1 */
    unsigned n_fds;
    int reply_fds[32];                   /* to send with the reply; closed by the sender */
    unsigned n_reply_fds;
    void (*complete)(struct vq_request *request, const struct vq_error *err); /* use the two functions below */
    /* Procedures with a stream: call before completing; the other side's data comes to the callbacks. NULL and err set
     * when the procedure has no stream. */
    struct vq_stream *(*open_stream)(struct vq_request *request, const struct vq_stream_callbacks *callbacks,
                                     void *data);
    void *data;                          /* the driver's */
};

static inline void vq_request_reply(struct vq_request *request)
{
    request->complete(request, NULL);
}
static inline void vq_request_fail(struct vq_request *request, const struct vq_error *err)
{
    request->complete(request, err);
}

/* A stream beside a call, to the client, wherever it is connected. Freed after finished/aborted was called back or the
 * driver called fail/finish, whichever is first; the driver then forgets it. */
struct vq_stream_callbacks {
    /* Data from the client, in pieces of at most 64 KiB; length 0: it sends no more. The bytes are taken in any case;
     * false: no more until vq_stream_resume(). */
    bool (*data)(struct vq_stream *stream, const uint8_t *bytes, size_t length, void *data);
    void (*hole)(struct vq_stream *stream, int64_t length, void *data);     /* may be NULL: refused */
    void (*finish)(struct vq_stream *stream, void *data);   /* client is done: answer with finish or fail */
    void (*aborted)(struct vq_stream *stream, void *data);  /* client aborted or went away; the stream is gone */
    void (*writable)(struct vq_stream *stream, void *data); /* after vq_stream_write() returned false */
};
/* Queue data to the client; false: queued, but stop until writable. */
bool vq_stream_write(struct vq_stream *stream, const void *bytes, size_t length);
void vq_stream_write_hole(struct vq_stream *stream, int64_t length);
void vq_stream_end(struct vq_stream *stream);    /* no more data from here (the zero-length packet) */
void vq_stream_finish(struct vq_stream *stream); /* confirm the client's finish */
void vq_stream_fail(struct vq_stream *stream, const struct vq_error *err);
void vq_stream_resume(struct vq_stream *stream);

/* What the daemon does for drivers. All on the node loop. */
struct vq_proposal_result {
    uint64_t number;
    int32_t id;
    uint64_t version;
};
typedef void (*vq_propose_cb)(const struct vq_proposal_result *result, const struct vq_error *err, void *data);
typedef struct Vq__Command Vq__Command;

struct vq_state_report {
    uint8_t uuid[16];
    uint64_t run;
    int32_t id;              /* -1 inactive */
    uint8_t state, reason;
    bool gone;               /* a transient domain ended */
    bool updated;            /* VQ_INFO_UPDATED */
    uint64_t max_memory_kib, memory_kib; /* of the running guest, 0: as defined */
    uint32_t vcpus;
    uint8_t n_events;
    struct { uint8_t event, detail; } events[4]; /* VIR_DOMAIN_EVENT_*, in order */
};

struct vq_driver_host {
    uv_loop_t *loop;
    uint64_t node_id;
    const char *node_name;
    const char *run_dir;     /* "/run/libvirt", no slash at the end */
    const char *state_dir;   /* "/var/lib/libvirt" */
    const char *log_dir;     /* "/var/log/libvirt" */
    const char *config_dir;  /* "/etc/libvirt" */
    const char *boot_id;
    const char *host_uuid;   /* as the administrator gave it; NULL: not said */
    const char *host_uuid_source; /* "smbios", "machine-id"; NULL: not said */

    /* Put a command into the log, through the leader wherever it is; the request id, proposer and time are filled in.
     * Called back after this node has applied it. timeout_ms 0: default. Errors: what apply refused, or
     * VIR_ERR_OPERATION_INVALID without a quorum ("1 of 3 voters reachable (missing: ...)"). */
    void (*propose)(Vq__Command *command, uint64_t timeout_ms, vq_propose_cb cb, void *data);
    bool (*has_quorum)(void);
    /* Tell the cluster what became of one of this node's own guests: shown here at once, everywhere when committed;
     * never lost, repeated until it is committed. The events are told to clients in this order. */
    void (*publish)(struct vq_driver *driver, const struct vq_state_report *report);
    /* Any other event of the procedure table: value is the event's C struct without callbackID ("msg"). Where the
     * event has no struct of its own inside, give the whole one: a first field callbackID is left out. event_id is
     * VIR_DOMAIN_EVENT_ID_*, or -1 for a monitor event of the qemu program. */
    void (*emit)(struct vq_driver *driver, const uint8_t uuid[16], const char *name, int32_t id, int event_id,
                 const struct vq_xdr_struct *type, const void *value);

    /* Own domains of this node: call back for each. The info is borrowed for the call. */
    void (*each_own_domain)(struct vq_driver *driver, void (*cb)(const struct vq_domain_info *info, void *data),
                            void *data);
    /* Domains that run on other nodes and have this text in their definition: called back with xml. Reads them all: only for what
     * happens seldom. NULL: there are no other nodes. */
    void (*each_run_elsewhere)(struct vq_driver *driver, const char *text,
                               void (*cb)(const struct vq_domain_info *info, void *data), void *data);
    /* Any domain. Filled with memory of the arena, xml or xml_problem too when with_xml. False: there is none. */
    bool (*domain_find)(const uint8_t uuid[16], bool with_xml, struct vq_arena *arena, struct vq_domain_info *ret);
    bool (*domain_find_by_name)(struct vq_driver *driver, const char *name, struct vq_arena *arena,
                                struct vq_domain_info *ret);
    /* Seal a definition that has secrets, packed, for the command that brings it into the log: xml_sealed is set there,
     * and domain_find opens it again. *ret_sealed is malloc'ed. */
    int (*seal)(const uint8_t uuid[16], const void *bytes, size_t length, uint8_t **ret_sealed, size_t *ret_length,
                struct vq_error *err);
    /* A domain id and run number for a start without a quorum, from ranges that belong to this node. */
    void (*local_run)(const uint8_t uuid[16], uint64_t *ret_run, int32_t *ret_id);

    /* Records of effects that outlive the process (store/local.h). Table names begin with the driver's name. */
    int (*record_put)(const char *table, const void *key, size_t key_length, const void *value, size_t length,
                      struct vq_error *err);
    int (*record_delete)(const char *table, const void *key, size_t key_length, struct vq_error *err);
    int (*record_each)(const char *table, int (*cb)(const void *key, size_t key_length, const void *value,
                                                    size_t length, void *data),
                       void *data, struct vq_error *err);
    /* ---- Other nodes and daemons, for migration ---- */

    /* The node whose name, host name or one of whose addresses this is; 0: none of this cluster. */
    uint64_t (*node_find)(const char *host);
    /* Borrowed until the next turn of the loop. NULL: no such node. */
    const char *(*node_name_of)(uint64_t node);
    /* Host part of the best address of a node's cluster port, as others reach it, without brackets. NULL: none is known. Borrowed as above. */
    const char *(*node_address)(uint64_t node);
    bool (*node_is_online)(uint64_t node);
    bool (*is_draining)(void); /* this node shall be emptied: nothing may come to it */
    const uint8_t *cluster_id;   /* 16 bytes; all zero on a lone node */
    /* Connect to another daemon by a libvirt URI; one that leads to a node of this cluster goes over the mesh, with the identity of
     * the caller but bound to no session of his. request: whose call it is for. */
    void (*peer_open)(const char *uri, const struct vq_request *request, vq_peer_open_cb cb, void *data);
    /* The same to a node by its id. */
    void (*peer_open_node)(uint64_t node, const struct vq_request *request, vq_peer_open_cb cb, void *data);

    /* ---- What other drivers of this host know. NULL: there is no such driver. ---- */

    /* The value of a secret, malloc'ed; the caller wipes it. Errors: VIR_ERR_NO_SECRET naming it. Does not wait. */
    int (*secret_value)(const struct vq_secret_ref *ref, uint8_t **ret_value, size_t *ret_length, struct vq_error *err);
    /* Where a volume of a pool is, as a source of another type; *ret is empty before. ret_format: malloc'ed, NULL: not known.
     * Errors: VIR_ERR_NO_STORAGE_POOL, VIR_ERR_NO_STORAGE_VOL, naming it. Does not wait. */
    int (*volume_source)(const struct vq_source *volume, struct vq_source *ret, char **ret_format, struct vq_error *err);

    uint64_t (*time_ms)(void); /* unix time */
    void (*random)(void *bytes, size_t length);
};

typedef void (*vq_driver_fn)(struct vq_request *request);

struct vq_driver_row {
    enum vq_program program;
    uint32_t number; /* generated VQ_REMOTE_DOMAIN_CREATE and the like */
    vq_driver_fn fn;
};

struct vq_driver {
    const char *name;        /* "qemu": also the URI scheme and the driver of its domains */
    const char *type;        /* answer of connect_get_type: "QEMU" */
    uint8_t driver_type;     /* enum vq_driver_type of store/store.h */
    const struct vq_driver_row *rows;
    size_t n_rows;
    /* Get ready: read configuration, find the hypervisor. May fail: the driver is then absent, with the reason. */
    int (*start)(struct vq_driver *driver, const struct vq_driver_host *host, struct vq_error *err);
    /* Find own guests again and finish or undo what was under way. After the store is open, before clients come in;
     * must not wait for any guest. Also called after the whole replicated state was replaced. */
    void (*recover)(struct vq_driver *driver);
    /* Called once, when the node has caught up with the cluster: look at the own domains again, and start what has
     * autostart set, once per boot of the host. */
    void (*autostart)(struct vq_driver *driver);
    /* A committed change touched a domain that is or was this node's own, or is or was on its way to it: redefined, undefined (it
     * may not be found any more), renamed, settings, owner, a migration begun or ended, a state (one that the driver does not
     * know comes from the log, after the tables were lost with the host's power). In the order of the log, and before
     * whoever proposed the change is answered. domain_find tells what holds now, which may be further already. */
    void (*changed)(struct vq_driver *driver, const uint8_t uuid[16]);
    /* A client's connection has ended (here or on its entry node): autodestroy and the like. Session 0: that node is not
     * reachable any more; its clients may live on, and their sessions are told one by one when it is known that they do
     * not. */
    void (*session_ended)(struct vq_driver *driver, uint64_t entry_node, uint64_t session);
    /* Let go of everything; guests go on. Calls back when all handles are closed. */
    void (*stop)(struct vq_driver *driver, void (*stopped)(void *data), void *data);
    /* Give the canonical URI of a path ("/system"), or refuse. */
    int (*open_uri)(struct vq_driver *driver, const char *path, struct vq_error *err);
    /* May this feature be told to clients (VIR_DRV_FEATURE numbers; the session answers its own). */
    bool (*supports_feature)(struct vq_driver *driver, int feature);
    const struct vq_driver_host *host; /* set by the daemon before start */
    void *state;
};
