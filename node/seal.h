/* Definitions that hold secrets are sealed in the replicated state and on the way there: each is bound to its domain,
 * and opened where it is read. The key is the cluster's; a node has one from its first start. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_daemon;
struct vq_domain_head;
struct vq_store_view;

/* key: NULL when there is none, which fails. The results are malloc'ed.
 *
 * Errors of opening: VIR_ERR_AUTH_FAILED another key, another domain's, or damaged. */
VQ_MUST_CHECK int vq_seal_close(const uint8_t key[32], const uint8_t uuid[16], const void *bytes, size_t length,
                                uint8_t **ret_sealed, size_t *ret_length, struct vq_error *err);
VQ_MUST_CHECK int vq_seal_open(const uint8_t key[32], const uint8_t uuid[16], const void *sealed, size_t length,
                               uint8_t **ret_bytes, size_t *ret_length, struct vq_error *err);

/* The text of a definition in the store, sealed or not, valid until the view ends and *ret_free was freed.
 *
 * Errors: VIR_ERR_INTERNAL_ERROR, naming the domain: it does not open with this node's key, or is damaged. */
VQ_MUST_CHECK int vq_seal_read_definition(const struct vq_daemon *daemon, struct vq_store_view *view,
                                          const struct vq_domain_head *head, const char **ret_xml, char **ret_free,
                                          bool *ret_is_sealed, struct vq_error *err);
