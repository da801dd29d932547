/* TLS by GnuTLS: credentials, and the one function that makes sessions, verifying the peer in both roles. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"

struct vq_tls_credentials; /* counted; sessions keep the ones they began with */
struct vq_tls_session;

/* PEM texts. ca may hold several certificates (rotation), and be NULL for who checks by fingerprint only. key and certificate may be NULL for an anonymous client
 * (joining). crl may be NULL. */
VQ_MUST_CHECK int vq_tls_credentials_new(const char *ca_pem, const char *certificate_pem, const char *key_pem,
                                         const char *crl_pem, struct vq_tls_credentials **ret, struct vq_error *err);
/* From the files of a libvirt host: /etc/pki/CA/cacert.pem and the like. crl may be NULL. */
VQ_MUST_CHECK int vq_tls_credentials_load(const char *ca, const char *certificate, const char *key, const char *crl,
                                          struct vq_tls_credentials **ret, struct vq_error *err);
struct vq_tls_credentials *vq_tls_credentials_ref(struct vq_tls_credentials *credentials);
void vq_tls_credentials_free(struct vq_tls_credentials *credentials); /* one reference less */

enum vq_tls_verify {
    VQ_TLS_VERIFY_PEER,        /* chain, dates, purpose, and the name when one is given */
    VQ_TLS_VERIFY_OPTIONAL,    /* servers: a peer without certificate is let in and has no identity; a bad one is not */
    VQ_TLS_VERIFY_FINGERPRINT, /* clients that join: the chain's authority must have the given SHA-256 */
    VQ_TLS_VERIFY_NOTHING,     /* clients whose user said so in so many words (no_verify=1); the peer has no identity */
};

struct vq_tls_options {
    bool is_server;
    bool tls13_only;               /* between nodes */
    enum vq_tls_verify verify;
    const char *peer_name;         /* host name or node name that the peer's certificate must carry; NULL: any */
    const uint8_t *ca_fingerprint; /* 32 bytes, for VQ_TLS_VERIFY_FINGERPRINT */
    const char *const *alpn;       /* NULL-terminated; server: in order of preference, none common is an error */
    const char *priority;          /* GnuTLS priority string; NULL: ours */
};

VQ_MUST_CHECK int vq_tls_session_new(struct vq_tls_credentials *credentials, const struct vq_tls_options *options,
                                     struct vq_tls_session **ret, struct vq_error *err);
void vq_tls_session_free(struct vq_tls_session *session);

/* After the handshake. Texts are the session's. NULL when there is none. */
const char *vq_tls_session_alpn(const struct vq_tls_session *session);
const char *vq_tls_session_peer_dn(const struct vq_tls_session *session);     /* RFC 4514 order as libvirt prints it */
const char *vq_tls_session_peer_name(const struct vq_tls_session *session);   /* common name */
/* The id of the cluster's node that the certificate was given to (see proto/pki.h), 0 for other certificates. */
uint64_t vq_tls_session_peer_node(const struct vq_tls_session *session);

/* For the channel: non-blocking steps on the descriptor. 0 done, 1 wants to read, 2 wants to write, -1 error. */
VQ_MUST_CHECK int vq_tls_session_handshake(struct vq_tls_session *session, int fd, struct vq_error *err);
/* > 0 bytes, 0 end, -1 error, -2 would block: read until that, then ask again when poll says that bytes are there. */
VQ_MUST_CHECK long vq_tls_session_read(struct vq_tls_session *session, void *buffer, size_t size, struct vq_error *err);
VQ_MUST_CHECK long vq_tls_session_write(struct vq_tls_session *session, const void *bytes, size_t length,
                                        struct vq_error *err);
void vq_tls_session_bye(struct vq_tls_session *session); /* tries to send close_notify */
