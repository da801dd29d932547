/* One peer-to-peer migration: what its files share. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "conf/base/text.h"
#include "drivers/qemu/driver.h"
#include "drivers/qemu/migrate.h"

/* Who is waited for. */
enum vq_p2p_step { VQ_P2P_OPENING, VQ_P2P_THERE, VQ_P2P_HERE };

enum { VQ_P2P_FEATURES = 4 };

struct vq_tunnel_out;

struct vq_p2p {
    struct vq_p2p *next; /* of qemu->p2ps */
    struct vq_qemu *qemu;
    struct vq_request *request; /* perform, of the user's client */
    uint8_t uuid[VQ_UUID_BYTES];
    char *name, *dconnuri;
    struct vq_migrate_options options; /* what the phases found out is added */
    bool wants_protection;             /* the user's own flag; ours is there in any case */
    enum vq_p2p_step step;
    struct vq_peer *peer; /* NULL: not open yet, or closed */
    uint64_t node;        /* the peer's, 0: outside the cluster */
    bool is_lost;         /* the peer does not answer any more */
    bool supported[VQ_P2P_FEATURES];
    unsigned n_features;
    bool has_params; /* the destination takes typed parameters */
    bool has_performed, was_finish_asked;
    struct vq_tunnel_out *tunnel; /* NULL: the data go their own way */
    bool has_tunnel_ended;        /* the destination has taken all of it */
    bool waits_for_tunnel;        /* nothing else is left to do here */
    uint8_t *cookie;              /* of the phase before */
    uint32_t cookie_length;
    struct vq_error failure; /* what the user is told */
    vq_migrate_cookie_cb cb;
    void *data;
};

/* The daemon stops: what waits for another daemon ends now. */
void vq_migrate_p2p_stop(struct vq_qemu *qemu);
