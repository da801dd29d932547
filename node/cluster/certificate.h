/* Certificates of the cluster's nodes: signing, and renewing this node's own in time.
 *
 * Every member can sign: it has the authority's key, sealed, in the replicated store, and the key to it. So a node renews its own
 * without asking anybody: new key, new certificate, its record on disk, then mesh and consensus use it for new connections
 * (those of consensus are made anew one after the other), then the member table has it. It is due when a third to a sixth of
 * its life is left, at a moment that differs from node to node. */
#pragma once

#include <stdint.h>

#include "proto/cluster.pb-c.h"
#include "conf/base/error.h"

struct vq_cluster;

/* addresses: host:port, as in NodeRecord. *ret_pem is malloc'ed. */
VQ_MUST_CHECK int vq_certificate_sign(const struct vq_cluster *cluster, const char *request_pem, uint64_t node_id, const char *name,
                                      char *const *addresses, size_t n_addresses, char **ret_pem, struct vq_error *err);
/* This node's own, now. *ret_expires_s: unix time. An error is kept for status until it succeeds. */
VQ_MUST_CHECK int vq_certificate_renew(struct vq_cluster *cluster, int64_t *ret_expires_s, struct vq_error *err);
/* When a certificate is to be renewed: unix time, from its dates and, for the moment in between, its bytes. */
int64_t vq_certificate_due(const char *certificate_pem, int64_t begins_s, int64_t expires_s);
void vq_certificate_tick(struct vq_cluster *cluster); /* once a second: looks, and renews when it is due */
