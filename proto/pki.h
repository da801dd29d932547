/* The cluster's own certificate authority: keys, requests, certificates. PEM texts in and out, ECDSA P-256.
 *
 * A node's certificate has CN = the node's name, subject alternative names = its name and addresses, a URI name
 * "vq-node:<id>" that tells the node's id, and both TLS purposes. Serial numbers are random. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"

/* All texts are malloc'ed and the caller's. days: validity from one hour before now. */
VQ_MUST_CHECK int vq_pki_key_new(char **ret_key_pem, struct vq_error *err);
VQ_MUST_CHECK int vq_pki_authority_new(const char *cluster_name, const char *key_pem, int days,
                                       char **ret_certificate_pem, struct vq_error *err);
/* A request carries the public key and the node's name; whatever else it asks for is ignored. */
VQ_MUST_CHECK int vq_pki_request_new(const char *key_pem, const char *node_name, char **ret_request_pem,
                                     struct vq_error *err);
/* addresses: NULL-terminated, host names or IP addresses. node_id 0: a client's certificate (purpose client only). */
VQ_MUST_CHECK int vq_pki_sign(const char *request_pem, const char *authority_certificate_pem,
                              const char *authority_key_pem, uint64_t node_id, const char *name,
                              const char *const *addresses, int days, char **ret_certificate_pem,
                              struct vq_error *err);
VQ_MUST_CHECK int vq_pki_fingerprint(const char *certificate_pem, uint8_t ret_sha256[32], struct vq_error *err);
VQ_MUST_CHECK int vq_pki_expiry(const char *certificate_pem, int64_t *ret_unix_time, struct vq_error *err);

/* Seal and open a secret with the cluster key (AES-256-GCM, random nonce in front; aad binds it to its place). */
VQ_MUST_CHECK int vq_pki_seal(const uint8_t key[32], const void *secret, size_t length, const char *aad,
                              uint8_t **ret_sealed, size_t *ret_length, struct vq_error *err);
VQ_MUST_CHECK int vq_pki_unseal(const uint8_t key[32], const uint8_t *sealed, size_t length, const char *aad,
                                uint8_t **ret_secret, size_t *ret_length, struct vq_error *err);
