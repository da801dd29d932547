/* The procedure table: every procedure of every program, one row each, generated from proto/schema.
 *
 * A row says what the daemon must know before it looks at the arguments: who may call, on which object, and where the
 * call runs. Handlers are found elsewhere (node/dispatch.h): a row without one answers VIR_ERR_NO_SUPPORT. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "proto/xdr.h"

enum vq_program {
    VQ_PROGRAM_REMOTE, VQ_PROGRAM_QEMU, VQ_PROGRAM_LXC, VQ_PROGRAM_ADMIN, VQ_PROGRAM_LOG, VQ_PROGRAM_LOCK,
    VQ_PROGRAM_NODE, /* our own, between the daemons of a cluster: comes over the mesh only, no session serves it */
    VQ_PROGRAMS,
    VQ_PROGRAMS_LIBVIRT = VQ_PROGRAM_NODE, /* those before it are the protocol's */
};

/* Where a call runs. */
enum vq_route {
    VQ_ROUTE_SESSION,   /* this connection's own business, on this node */
    VQ_ROUTE_HOST,      /* about a host: the one of the connection's view, else the entry node */
    VQ_ROUTE_READ,      /* answered here, from the local copy of the replicated state */
    VQ_ROUTE_LIVE,      /* READ while the object is inactive (or the caller asks for the inactive form), else OWNER */
    VQ_ROUTE_REPLICATE, /* becomes a command in the log; prepared on the view's node, else the entry node */
    VQ_ROUTE_OWNER,     /* on the node that owns the object */
    VQ_ROUTE_GATHER,    /* asked of every node, answers merged under one deadline */
    VQ_ROUTE_ARRIVAL,   /* on the view's node, else the entry node, about an object owned elsewhere */
};

enum vq_stream_kind { VQ_STREAM_NONE, VQ_STREAM_UP, VQ_STREAM_DOWN, VQ_STREAM_BOTH };

/* Which object the first argument names; the dispatcher looks it up before the handler runs. */
enum vq_object {
    VQ_OBJECT_NONE, VQ_OBJECT_DOMAIN, VQ_OBJECT_NETWORK, VQ_OBJECT_STORAGE_POOL, VQ_OBJECT_STORAGE_VOL,
    VQ_OBJECT_SECRET, VQ_OBJECT_NODE_DEVICE, VQ_OBJECT_INTERFACE, VQ_OBJECT_NWFILTER, VQ_OBJECT_NWFILTER_BINDING,
    VQ_OBJECT_NETWORK_PORT, VQ_OBJECT_SNAPSHOT, VQ_OBJECT_CHECKPOINT,
};

/* One access rule: object class and verb of the access control model, and when it applies. */
struct vq_acl_rule {
    const char *object;     /* "domain" */
    const char *permission; /* "read_secure" */
    uint32_t flags_any;     /* applies when the call's flags have one of these; 0 with flags_none 0: always */
    uint32_t flags_none;    /* ... or when they have none of these */
    const char *param;      /* applies only when this other argument equals param_value; NULL: whatever they are */
    int64_t param_value;
};

struct vq_procedure {
    uint32_t number;
    enum vq_program program;
    const char *name;                  /* "domain_create" */
    const char *api;                   /* name in the public API, for people: "virDomainCreate" */
    const struct vq_xdr_struct *args;  /* NULL: none */
    const struct vq_xdr_struct *ret;   /* NULL: none */
    bool is_event;                     /* server to client only; as a call it is an unknown procedure */
    bool is_high_priority;             /* never waits for a hypervisor */
    bool needs_auth;                   /* false only for the handful that a client may call before authentication */
    bool allowed_readonly;
    uint32_t readonly_denied_flags;    /* with one of these flags it is denied on a read-only connection all the same */
    const char *readonly_denied_param; /* ... and when this argument has readonly_denied_value; NULL: none */
    int64_t readonly_denied_value;
    int32_t flags_offset;              /* of `flags` in the argument struct, -1 when it has none */
    uint8_t flags_size;                /* 4 or 8 */
    enum vq_stream_kind stream;
    enum vq_route route;
    enum vq_object object;             /* looked up from the first argument */
    const struct vq_acl_rule *acl;
    uint8_t n_acl;
    const char *acl_filter;            /* "domain:getattr": checked for each element of the answer; NULL: none */
    uint32_t since;                    /* libvirt release that has it at the latest: major*1000000 + minor*1000 + micro;
                                          0: a procedure of our own */
};

/* NULL when the program has no such number. */
const struct vq_procedure *vq_procedure_find(enum vq_program program, uint32_t number);
const struct vq_procedure *vq_procedure_find_by_name(enum vq_program program, const char *name);
uint32_t vq_procedure_last(enum vq_program program); /* the highest number */

/* Wire numbers: 0x20008086 and the like. False when nothing has that number. */
bool vq_program_find(uint32_t wire_number, enum vq_program *ret_program);
uint32_t vq_program_number(enum vq_program program);
const char *vq_program_name(enum vq_program program);

/* The call's flags, 0 when it has none. */
uint64_t vq_procedure_flags(const struct vq_procedure *procedure, const void *args);

/* A number among the arguments, by name. False when there is none of that name. */
bool vq_procedure_argument(const struct vq_procedure *procedure, const void *args, const char *name,
                           int64_t *ret_value);

/* May a read-only connection make this call? args NULL: not decoded yet, true when some arguments would be allowed. */
bool vq_procedure_readonly_allows(const struct vq_procedure *procedure, const void *args);

/* Does the rule apply to a call with these arguments (NULL: the procedure has none)? */
bool vq_acl_rule_applies(const struct vq_procedure *procedure, const struct vq_acl_rule *rule, const void *args);
