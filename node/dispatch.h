/* From a call's bytes to its handler: rights, decoding, look-up, route.
 *
 * The same for every procedure: what differs stands in the rows of proto/procedure.h and in the handlers' tables. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/call.h"

typedef struct Vq__Call Vq__Call;

/* The node's own handlers, each in the table of its file. They come before the driver's. */
enum vq_node_when {
    VQ_ALWAYS,
    VQ_WITH_DRIVER,   /* connections to a hypervisor; others answer VIR_ERR_NO_SUPPORT (network:///system ...) */
    VQ_WHEN_INACTIVE, /* the domain is inactive or its owner unreachable, or the caller asks for the inactive form;
                         else the driver answers */
};
struct vq_node_row {
    enum vq_program program;
    uint32_t number;
    enum vq_node_when when;
    void (*fn)(struct vq_call *call);
};
extern const struct vq_node_row vq_session_rows[], vq_domain_rows[], vq_host_rows[], vq_node_rows[];
extern const size_t vq_n_session_rows, vq_n_domain_rows, vq_n_host_rows, vq_n_node_rows;

/* Check the built-in tables against proto/procedure.h once; called at start. */
void vq_dispatch_init(void);
void vq_dispatch_add_driver(const struct vq_driver *driver);
void vq_dispatch_done(void);

/* A call from a session of this node: its route decides where it runs. */
void vq_dispatch_local(struct vq_call *call);

/* A call that came over the mesh: it runs here. answer gets it back, as with any origin; message is borrowed. The mesh has shown
 * that it comes from a daemon of this cluster, so VQ_PROGRAM_NODE is served here, and nowhere else: sessions refuse it. */
void vq_dispatch_remote(struct vq_daemon *daemon, uint64_t peer, const Vq__Call *message,
                        const struct vq_call_origin *origin, void *forward);

/* Run the handler here, whatever the route says (one node's part of a gathered call). Decoded and looked up already. */
void vq_dispatch_here(struct vq_call *call);

/* Where the call runs by its route: a node id, this node's own for "here". */
uint64_t vq_dispatch_target(struct vq_call *call);

/* Deadline of a forwarded call of this procedure, from now. */
uint64_t vq_dispatch_timeout_ms(const struct vq_procedure *procedure);
