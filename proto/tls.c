/* TLS by GnuTLS: credentials and sessions. The verification of a peer is in one place, verify_peer(),
 * for both roles. */
#define VQ_FROM VIR_FROM_RPC
#include "proto/tls.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"

enum {
    CHAIN_MAX = 16,               /* certificates in a chain, ours or a peer's */
    FILE_MAX = 4 * 1024 * 1024,   /* of a PEM file; revocation lists can be long */
    RING_BYTES = 16 * 1024 + 512, /* one record of the largest size, so that it is one recv() */
    IDLE_RECORDS_MAX = 32,        /* records without content in a row, from a peer that only wants our time */
    FINGERPRINT_BYTES = 32,
};

static const char priority_nodes[] = "SECURE128:-VERS-ALL:+VERS-TLS1.3";
static const char priority_clients[] = "NORMAL:-VERS-ALL:+VERS-TLS1.3:+VERS-TLS1.2";

struct vq_tls_credentials {
    atomic_uint references; /* sessions on both loops hold some */
    gnutls_certificate_credentials_t x509;
    bool has_authority;
    bool has_certificate;
};

struct vq_tls_session {
    struct vq_tls_credentials *credentials;
    gnutls_session_t gnutls;
    struct vq_tls_options options; /* peer_name and ca_fingerprint point to the copies below, alpn is not kept */
    char *peer_name_wanted;
    uint8_t fingerprint[FINGERPRINT_BYTES];
    bool wants_alpn;
    bool was_verified; /* verify_peer() has seen a certificate and liked it */
    bool is_established;
    struct vq_error refusal; /* why verify_peer() did not */

    char *alpn, *peer_dn, *peer_name; /* after the handshake */
    uint64_t peer_node;

    int fd;
    bool read_was_short;   /* the last recv() took all there was: the next pull need not ask the kernel */
    bool write_is_blocked; /* GnuTLS holds a record that the kernel did not take */
    size_t ring_start, ring_end;
    uint8_t ring[RING_BYTES];
};

/* ---- Credentials ------------------------------------------------------------------------------------------------- */

static int refuse(struct vq_error *err, int rc, const char *doing)
{
    return vq_error_set(err, VIR_ERR_GNUTLS_ERROR, "%s: %s", doing, gnutls_strerror(rc));
}

static int pem_datum(const char *pem, const char *what, gnutls_datum_t *ret_datum, struct vq_error *err)
{
    size_t length = strnlen(pem, FILE_MAX + 1);

    if (length == 0)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "%s is empty", what);
    if (length > FILE_MAX)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "%s is larger than %d bytes", what, FILE_MAX);
    *ret_datum = (gnutls_datum_t){.data = (unsigned char *)(uintptr_t)pem, .size = (unsigned)length};
    return 0;
}

static int set_authorities(struct vq_tls_credentials *credentials, const char *ca_pem, struct vq_error *err)
{
    gnutls_datum_t pem;

    if (pem_datum(ca_pem, "certificate of the authority", &pem, err) < 0)
        return -1;
    int count = gnutls_certificate_set_x509_trust_mem(credentials->x509, &pem, GNUTLS_X509_FMT_PEM);
    if (count < 0)
        return refuse(err, count, "reading the certificate of the authority");
    if (count == 0)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "there is no certificate in the authority's PEM text");
    credentials->has_authority = true;
    return 0;
}

static int set_revoked(struct vq_tls_credentials *credentials, const char *crl_pem, struct vq_error *err)
{
    gnutls_datum_t pem;

    if (pem_datum(crl_pem, "revocation list", &pem, err) < 0)
        return -1;
    int count = gnutls_certificate_set_x509_crl_mem(credentials->x509, &pem, GNUTLS_X509_FMT_PEM);
    if (count < 0)
        return refuse(err, count, "reading the revocation list");
    if (count == 0)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "there is no revocation list in its PEM text");
    return 0;
}

static int import_list(const char *pem, const char *what, gnutls_x509_crt_t **ret_list, unsigned *ret_count,
                       struct vq_error *err)
{
    gnutls_datum_t datum;

    if (pem_datum(pem, what, &datum, err) < 0)
        return -1;
    int rc = gnutls_x509_crt_list_import2(ret_list, ret_count, &datum, GNUTLS_X509_FMT_PEM, 0);
    if (rc < 0)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "reading the %s: %s", what, gnutls_strerror(rc));
    return 0;
}

static void free_list(gnutls_x509_crt_t *list, unsigned count)
{
    for (unsigned i = 0; i < count; i++)
        gnutls_x509_crt_deinit(list[i]);
    gnutls_free(list);
}

/* Our certificate as it is sent: with its authority behind it, because a host that joins knows only the authority's
 * fingerprint and must see the certificate that it belongs to. */
static int chain_with_authority(const char *certificate_pem, const char *ca_pem, gnutls_datum_t *ret_pem,
                                struct vq_error *err)
{
    gnutls_x509_crt_t *chain = NULL, *authorities = NULL;
    unsigned n_chain = 0, n_authorities = 0;
    gnutls_datum_t authority = {0};
    int rc = 0;

    if (import_list(certificate_pem, "certificate", &chain, &n_chain, err) < 0)
        return -1;
    if (ca_pem != NULL && import_list(ca_pem, "certificate of the authority", &authorities, &n_authorities, err) < 0) {
        free_list(chain, n_chain);
        return -1;
    }
    for (unsigned i = 0; i < n_authorities && authority.data == NULL && rc >= 0; i++) {
        unsigned status = 0;
        gnutls_x509_crt_t last = chain[n_chain - 1];
        if (gnutls_x509_crt_check_issuer(last, authorities[i]) != 0 &&
            gnutls_x509_crt_verify(last, &authorities[i], 1,
                                   GNUTLS_VERIFY_DISABLE_TIME_CHECKS | GNUTLS_VERIFY_DISABLE_TRUSTED_TIME_CHECKS,
                                   &status) >= 0 &&
            status == 0 && !gnutls_x509_crt_equals(last, authorities[i]))
            rc = gnutls_x509_crt_export2(authorities[i], GNUTLS_X509_FMT_PEM, &authority);
    }
    free_list(chain, n_chain);
    free_list(authorities, n_authorities);
    if (rc < 0)
        return refuse(err, rc, "adding the authority to our certificate");
    char *text = vq_asprintf("%s\n%.*s", certificate_pem, (int)authority.size,
                             authority.data == NULL ? "" : (const char *)authority.data);
    gnutls_free(authority.data);
    *ret_pem = (gnutls_datum_t){.data = (unsigned char *)text, .size = (unsigned)strlen(text)};
    return 0;
}

static int set_own(struct vq_tls_credentials *credentials, const char *ca_pem, const char *certificate_pem,
                   const char *key_pem, struct vq_error *err)
{
    gnutls_datum_t chain, key;

    if (pem_datum(key_pem, "private key", &key, err) < 0 ||
        chain_with_authority(certificate_pem, ca_pem, &chain, err) < 0)
        return -1;
    int rc = gnutls_certificate_set_x509_key_mem2(credentials->x509, &chain, &key, GNUTLS_X509_FMT_PEM, NULL, 0);
    free(chain.data);
    if (rc == GNUTLS_E_CERTIFICATE_KEY_MISMATCH)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "certificate and private key do not belong together");
    if (rc < 0)
        return refuse(err, rc, "reading certificate and private key");
    credentials->has_certificate = true;
    return 0;
}

int vq_tls_credentials_new(const char *ca_pem, const char *certificate_pem, const char *key_pem, const char *crl_pem,
                           struct vq_tls_credentials **ret, struct vq_error *err)
{
    if ((certificate_pem == NULL) != (key_pem == NULL))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "certificate and private key come together or not at all");
    struct vq_tls_credentials *credentials = vq_new(struct vq_tls_credentials);
    credentials->references = 1;
    int rc = gnutls_certificate_allocate_credentials(&credentials->x509);
    if (rc < 0) {
        free(credentials);
        return refuse(err, rc, "making TLS credentials");
    }
    if ((ca_pem != NULL && set_authorities(credentials, ca_pem, err) < 0) ||
        (crl_pem != NULL && set_revoked(credentials, crl_pem, err) < 0) ||
        (key_pem != NULL && set_own(credentials, ca_pem, certificate_pem, key_pem, err) < 0)) {
        vq_tls_credentials_free(credentials);
        return -1;
    }
    *ret = credentials;
    return 0;
}

/* A whole regular file as text; NULL path: NULL text. */
static int read_file(const char *path, char **ret_text, struct vq_error *err)
{
    struct stat status;
    VQ_AUTOCLOSE int fd = -1;

    if (path == NULL) {
        *ret_text = NULL;
        return 0;
    }
    fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0 || fstat(fd, &status) < 0)
        return vq_error_system(err, errno, "opening '%s'", path);
    if (!S_ISREG(status.st_mode) || status.st_size > FILE_MAX)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' is not a file of at most %d bytes", path, FILE_MAX);
    VQ_AUTOFREE char *text = vq_calloc(1, (size_t)status.st_size + 1);
    size_t length = 0;
    while (length < (size_t)status.st_size) {
        ssize_t got = read(fd, text + length, (size_t)status.st_size - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0)
            return vq_error_system(err, errno, "reading '%s'", path);
        if (got == 0)
            break;
        length += (size_t)got;
    }
    *ret_text = vq_take(text);
    return 0;
}

int vq_tls_credentials_load(const char *ca, const char *certificate, const char *key, const char *crl,
                            struct vq_tls_credentials **ret, struct vq_error *err)
{
    VQ_AUTOFREE char *ca_pem = NULL;
    VQ_AUTOFREE char *certificate_pem = NULL;
    VQ_AUTOFREE char *key_pem = NULL;
    VQ_AUTOFREE char *crl_pem = NULL;

    if (read_file(ca, &ca_pem, err) < 0 || read_file(certificate, &certificate_pem, err) < 0 ||
        read_file(key, &key_pem, err) < 0 || read_file(crl, &crl_pem, err) < 0)
        return -1;
    int rc = vq_tls_credentials_new(ca_pem, certificate_pem, key_pem, crl_pem, ret, err);
    if (key_pem != NULL)
        gnutls_memset(key_pem, 0, strlen(key_pem));
    return rc < 0 ? vq_error_wrap(err, "'%s'", certificate != NULL ? certificate : ca) : 0;
}

struct vq_tls_credentials *vq_tls_credentials_ref(struct vq_tls_credentials *credentials)
{
    if (credentials != NULL)
        (void)atomic_fetch_add(&credentials->references, 1);
    return credentials;
}

void vq_tls_credentials_free(struct vq_tls_credentials *credentials)
{
    if (credentials == NULL || atomic_fetch_sub(&credentials->references, 1) != 1)
        return;
    gnutls_certificate_free_credentials(credentials->x509);
    free(credentials);
}

/* ---- Verification ------------------------------------------------------------------------------------------------ */

static void common_name(gnutls_x509_crt_t certificate, bool of_issuer, char *name, size_t size)
{
    int rc = of_issuer
                 ? gnutls_x509_crt_get_issuer_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &size)
                 : gnutls_x509_crt_get_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, 0, 0, name, &size);

    if (rc < 0)
        name[0] = '\0';
}

static const char *date_text(time_t when, char text[40])
{
    struct tm parts;

    if (gmtime_r(&when, &parts) == NULL || strftime(text, 40, "%Y-%m-%d %H:%M UTC", &parts) == 0)
        text[0] = '\0';
    return text;
}

/* The ways to fail whose sentence needs nothing but the name; the first that fits is told. */
static const struct {
    unsigned status;
    const char *text;
} reasons[] = {
    {GNUTLS_CERT_REVOKED, "was revoked"},
    {GNUTLS_CERT_SIGNATURE_FAILURE, "is signed by another authority of the same name, or was changed after that"},
    {GNUTLS_CERT_SIGNER_NOT_CA, "is signed by a certificate that is not an authority's"},
    {GNUTLS_CERT_SIGNER_CONSTRAINTS_FAILURE, "is outside of what its authority may sign"},
    {GNUTLS_CERT_INSECURE_ALGORITHM, "uses an algorithm that is no longer secure"},
    {GNUTLS_CERT_REVOCATION_DATA_SUPERSEDED, "cannot be checked: the revocation list is out of date"},
    {GNUTLS_CERT_REVOCATION_DATA_ISSUED_IN_FUTURE, "cannot be checked: the revocation list is from the future"},
};

static int tell_reason(const struct vq_tls_session *session, gnutls_x509_crt_t certificate, unsigned status,
                       struct vq_error *err)
{
    char name[256], issuer[256], date[40];
    time_t now = time(NULL);
    time_t begins = gnutls_x509_crt_get_activation_time(certificate);
    time_t ends = gnutls_x509_crt_get_expiration_time(certificate);

    common_name(certificate, false, name, sizeof(name));
    common_name(certificate, true, issuer, sizeof(issuer));
    if ((status & GNUTLS_CERT_SIGNER_NOT_FOUND) != 0 && gnutls_x509_crt_check_issuer(certificate, certificate) != 0)
        return vq_error_set(err, VIR_ERR_AUTH_FAILED, "certificate of '%s' is self-signed", name);
    if ((status & GNUTLS_CERT_SIGNER_NOT_FOUND) != 0)
        return vq_error_set(err, VIR_ERR_AUTH_FAILED, "certificate of '%s' is signed by an unknown authority '%s'",
                            name, issuer);
    if ((status & GNUTLS_CERT_EXPIRED) != 0)
        return vq_error_set(err, VIR_ERR_AUTH_FAILED, "%s of '%s' expired on %s",
                            ends < now ? "certificate" : "the authority's certificate above that", name,
                            ends < now ? date_text(ends, date) : "an earlier day");
    if ((status & GNUTLS_CERT_NOT_ACTIVATED) != 0)
        return vq_error_set(err, VIR_ERR_AUTH_FAILED,
                            "certificate of '%s' is not valid before %s: are the clocks of both hosts right?", name,
                            date_text(begins, date));
    if ((status & GNUTLS_CERT_UNEXPECTED_OWNER) != 0)
        return vq_error_set(err, VIR_ERR_AUTH_FAILED, "certificate of '%s' is not for '%s'", name,
                            session->peer_name_wanted);
    if ((status & GNUTLS_CERT_PURPOSE_MISMATCH) != 0)
        return vq_error_set(err, VIR_ERR_AUTH_FAILED, "certificate of '%s' is not made for a %s", name,
                            session->options.is_server ? "client" : "server");
    for (size_t i = 0; i < VQ_N_ELEMENTS(reasons); i++)
        if ((status & reasons[i].status) != 0)
            return vq_error_set(err, VIR_ERR_AUTH_FAILED, "certificate of '%s' %s", name, reasons[i].text);
    return vq_error_set(err, VIR_ERR_AUTH_FAILED, "certificate of '%s' is not valid", name);
}

/* The peer's chain, first its own certificate. Returns the count, 0 when there is none. */
static unsigned import_peer(gnutls_session_t gnutls, gnutls_x509_crt_t chain[CHAIN_MAX])
{
    unsigned count = 0, n = 0;
    const gnutls_datum_t *raw = gnutls_certificate_get_peers(gnutls, &count);

    if (raw == NULL || gnutls_certificate_type_get(gnutls) != GNUTLS_CRT_X509)
        return 0;
    for (n = 0; n < count && n < CHAIN_MAX; n++) {
        if (gnutls_x509_crt_init(&chain[n]) < 0)
            break;
        if (gnutls_x509_crt_import(chain[n], &raw[n], GNUTLS_X509_FMT_DER) < 0) {
            gnutls_x509_crt_deinit(chain[n]);
            break;
        }
    }
    return n;
}

/* The authority among the certificates that the peer sent: the one with the fingerprint that the token told. */
static gnutls_x509_crt_t find_fingerprint(const gnutls_x509_crt_t *chain, unsigned count, const uint8_t *fingerprint)
{
    for (unsigned i = 0; i < count; i++) {
        uint8_t digest[FINGERPRINT_BYTES];
        size_t size = sizeof(digest);
        if (gnutls_x509_crt_get_fingerprint(chain[i], GNUTLS_DIG_SHA256, digest, &size) >= 0 &&
            size == sizeof(digest) && gnutls_memcmp(digest, fingerprint, size) == 0 &&
            gnutls_x509_crt_get_ca_status(chain[i], NULL) > 0)
            return chain[i];
    }
    return NULL;
}

static int verify_by_fingerprint(const gnutls_x509_crt_t *chain, unsigned count, const uint8_t *fingerprint,
                                 gnutls_typed_vdata_st *wanted, unsigned n_wanted, unsigned *ret_status)
{
    gnutls_x509_trust_list_t trust;
    gnutls_x509_crt_t authority = find_fingerprint(chain, count, fingerprint);

    if (authority == NULL) {
        *ret_status = GNUTLS_CERT_INVALID | GNUTLS_CERT_SIGNER_NOT_FOUND;
        return 0;
    }
    int rc = gnutls_x509_trust_list_init(&trust, 0);
    if (rc < 0)
        return rc;
    rc = gnutls_x509_trust_list_add_cas(trust, &authority, 1, 0);
    if (rc >= 0)
        rc = gnutls_x509_trust_list_verify_crt2(trust, (gnutls_x509_crt_t *)(uintptr_t)chain, count, wanted, n_wanted,
                                                0, ret_status, NULL);
    gnutls_x509_trust_list_deinit(trust, 0);
    return rc;
}

/* The node id of a certificate: exactly one URI name "vq-node:<id>"; 0 otherwise. */
static uint64_t node_of(gnutls_x509_crt_t certificate)
{
    static const char prefix[] = "vq-node:";
    uint64_t node = 0;
    unsigned found = 0;

    for (unsigned i = 0; i < 1000; i++) {
        char name[256];
        size_t size = sizeof(name) - 1;
        int type = gnutls_x509_crt_get_subject_alt_name(certificate, i, name, &size, NULL);
        if (type == GNUTLS_E_SHORT_MEMORY_BUFFER)
            continue;
        if (type < 0)
            break;
        name[size] = '\0';
        if (type != GNUTLS_SAN_URI || strncmp(name, prefix, sizeof(prefix) - 1) != 0)
            continue;
        found++;
        if (strlen(name) != size || !vq_parse_u64(name + sizeof(prefix) - 1, 10, UINT64_MAX, &node))
            return 0;
    }
    return found == 1 ? node : 0;
}

static void keep_identity(struct vq_tls_session *session, gnutls_x509_crt_t certificate)
{
    char name[256] = "", dn[1024] = "";
    size_t dn_size = sizeof(dn);

    common_name(certificate, false, name, sizeof(name));
    if (gnutls_x509_crt_get_dn(certificate, dn, &dn_size) >= 0)
        session->peer_dn = vq_strdup(dn);
    if (name[0] != '\0')
        session->peer_name = vq_strdup(name);
    session->peer_node = node_of(certificate);
}

/* Chain, dates, purpose, revocation, and the name when one is wanted; the identity is kept only when all are right. */
static int verify_chain(struct vq_tls_session *session, const gnutls_x509_crt_t *chain, unsigned count)
{
    gnutls_typed_vdata_st wanted[2];
    unsigned n_wanted = 0, status = 0;
    int rc;

    wanted[n_wanted++] = (gnutls_typed_vdata_st){
        .type = GNUTLS_DT_KEY_PURPOSE_OID,
        .data = (unsigned char *)(session->options.is_server ? GNUTLS_KP_TLS_WWW_CLIENT : GNUTLS_KP_TLS_WWW_SERVER)};
    if (session->peer_name_wanted != NULL)
        wanted[n_wanted++] =
            (gnutls_typed_vdata_st){.type = GNUTLS_DT_DNS_HOSTNAME, .data = (unsigned char *)session->peer_name_wanted};
    if (session->options.verify == VQ_TLS_VERIFY_FINGERPRINT)
        rc = verify_by_fingerprint(chain, count, session->fingerprint, wanted, n_wanted, &status);
    else
        rc = gnutls_certificate_verify_peers(session->gnutls, wanted, n_wanted, &status);
    if (rc < 0)
        return refuse(&session->refusal, rc, "checking the peer's certificate");
    if (status != 0)
        return tell_reason(session, chain[0], status, &session->refusal);
    keep_identity(session, chain[0]);
    session->was_verified = true;
    return 0;
}

/* The peer showed nothing, and that is allowed here. */
static bool may_be_nobody(const struct vq_tls_session *session)
{
    unsigned n_shown = 0;
    bool has_shown = gnutls_certificate_get_peers(session->gnutls, &n_shown) != NULL && n_shown > 0;

    return !has_shown && session->options.verify == VQ_TLS_VERIFY_OPTIONAL;
}

/* Called by GnuTLS when the peer's certificate has come, in both roles; anything but 0 ends the handshake. */
static int verify_peer(gnutls_session_t gnutls)
{
    struct vq_tls_session *session = gnutls_session_get_ptr(gnutls);
    gnutls_x509_crt_t chain[CHAIN_MAX];
    unsigned count;
    int rc;

    if (may_be_nobody(session)) /* GnuTLS calls for an empty list of certificates, too */
        return 0;
    if (session->options.verify == VQ_TLS_VERIFY_NOTHING) {
        session->was_verified = true;
        return 0;
    }
    count = import_peer(gnutls, chain);
    if (session->was_verified) /* a second certificate in one session: nobody of ours does that */
        rc = vq_error_set(&session->refusal, VIR_ERR_AUTH_FAILED, "the peer changed its certificate");
    else if (count == 0)
        rc = vq_error_set(&session->refusal, VIR_ERR_AUTH_FAILED, "the peer showed no certificate that can be read");
    else
        rc = verify_chain(session, chain, count);
    for (unsigned i = 0; i < count; i++)
        gnutls_x509_crt_deinit(chain[i]);
    return rc < 0 ? GNUTLS_E_CERTIFICATE_ERROR : 0;
}

/* After the handshake: nobody is let in because some step was left out. */
static int check_established(struct vq_tls_session *session, struct vq_error *err)
{
    gnutls_datum_t alpn = {0};

    if (!session->was_verified && !may_be_nobody(session))
        return vq_error_set(err, VIR_ERR_AUTH_FAILED, "the peer showed no certificate");
    if (gnutls_alpn_get_selected_protocol(session->gnutls, &alpn) >= 0)
        session->alpn = vq_strndup((const char *)alpn.data, alpn.size);
    if (session->wants_alpn && session->alpn == NULL)
        return vq_error_set(err, VIR_ERR_AUTH_FAILED, "the peer does not speak our protocol inside TLS");
    session->is_established = true;
    return 0;
}

/* ---- Bytes ------------------------------------------------------------------------------------------------------- */

/* GnuTLS asks for a record's header and body apart; the ring makes one recv() of both. A short recv() has emptied the
 * socket, so the question after it is answered without asking the kernel; poll tells when more comes. */
static ssize_t pull(gnutls_transport_ptr_t pointer, void *buffer, size_t size)
{
    struct vq_tls_session *session = pointer;
    size_t kept = session->ring_end - session->ring_start;

    if (kept == 0) {
        if (session->read_was_short) {
            session->read_was_short = false;
            gnutls_transport_set_errno(session->gnutls, EAGAIN);
            return -1;
        }
        ssize_t got = recv(session->fd, session->ring, sizeof(session->ring), MSG_DONTWAIT);
        if (got <= 0) {
            gnutls_transport_set_errno(session->gnutls, errno);
            return got;
        }
        session->read_was_short = (size_t)got < sizeof(session->ring);
        session->ring_start = 0;
        session->ring_end = kept = (size_t)got;
    }
    size_t taken = size < kept ? size : kept;
    memcpy(buffer, session->ring + session->ring_start, taken);
    session->ring_start += taken;
    return (ssize_t)taken;
}

static ssize_t push(gnutls_transport_ptr_t pointer, const giovec_t *vector, int count)
{
    struct vq_tls_session *session = pointer;
    struct msghdr message = {.msg_iov = (struct iovec *)(uintptr_t)vector, .msg_iovlen = (size_t)count};
    ssize_t sent = sendmsg(session->fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);

    if (sent < 0)
        gnutls_transport_set_errno(session->gnutls, errno);
    return sent;
}

static int pull_wait(gnutls_transport_ptr_t pointer, unsigned milliseconds)
{
    struct vq_tls_session *session = pointer;

    (void)milliseconds; /* nobody waits on a loop */
    return session->ring_end != session->ring_start;
}

/* ---- Sessions ---------------------------------------------------------------------------------------------------- */

static int check_options(const struct vq_tls_credentials *credentials, const struct vq_tls_options *options,
                         struct vq_error *err)
{
    if (options->is_server && !credentials->has_certificate)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "a TLS server needs a certificate");
    if (options->verify == VQ_TLS_VERIFY_FINGERPRINT && (options->is_server || options->ca_fingerprint == NULL))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "only a client that was told a fingerprint can check by it");
    if (options->verify == VQ_TLS_VERIFY_OPTIONAL && !options->is_server)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "a TLS client always checks the server");
    if (options->verify == VQ_TLS_VERIFY_NOTHING && (options->is_server || options->peer_name != NULL))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "only a client, and without a name, can leave the peer unchecked");
    if (options->verify != VQ_TLS_VERIFY_FINGERPRINT && options->verify != VQ_TLS_VERIFY_NOTHING &&
        !credentials->has_authority)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "without an authority no peer can be checked");
    if (options->peer_name != NULL && options->peer_name[0] == '\0')
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "the name to check the peer's certificate against is empty");
    return 0;
}

static int set_alpn(struct vq_tls_session *session, const char *const *alpn)
{
    gnutls_datum_t names[16];
    unsigned n = 0;

    if (alpn == NULL)
        return 0;
    for (; alpn[n] != NULL; n++) {
        assert(n < VQ_N_ELEMENTS(names));
        names[n] = (gnutls_datum_t){.data = (unsigned char *)(uintptr_t)alpn[n], .size = (unsigned)strlen(alpn[n])};
    }
    session->wants_alpn = n > 0;
    return gnutls_alpn_set_protocols(session->gnutls, names, n, GNUTLS_ALPN_MANDATORY | GNUTLS_ALPN_SERVER_PRECEDENCE);
}

static int set_up(struct vq_tls_session *session, const struct vq_tls_options *options)
{
    /* No tickets: a resumed session would not show its certificate again. */
    unsigned flags = GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL | GNUTLS_NO_TICKETS | GNUTLS_FORCE_CLIENT_CERT |
                     (options->is_server ? GNUTLS_SERVER : GNUTLS_CLIENT);
    const char *priority = options->priority != NULL ? options->priority
                           : options->tls13_only     ? priority_nodes
                                                     : priority_clients;
    int rc = gnutls_init(&session->gnutls, flags);

    if (rc < 0)
        return rc;
    rc = gnutls_priority_set_direct(session->gnutls, priority, NULL);
    if (rc >= 0)
        rc = gnutls_credentials_set(session->gnutls, GNUTLS_CRD_CERTIFICATE, session->credentials->x509);
    if (rc >= 0)
        rc = set_alpn(session, options->alpn);
    if (rc < 0)
        return rc;
    if (options->is_server)
        gnutls_certificate_server_set_request(
            session->gnutls, options->verify == VQ_TLS_VERIFY_OPTIONAL ? GNUTLS_CERT_REQUEST : GNUTLS_CERT_REQUIRE);
    gnutls_session_set_ptr(session->gnutls, session);
    gnutls_session_set_verify_function(session->gnutls, verify_peer);
    gnutls_handshake_set_timeout(session->gnutls, 0); /* the channel has the deadline */
    gnutls_transport_set_ptr(session->gnutls, session);
    gnutls_transport_set_pull_function(session->gnutls, pull);
    gnutls_transport_set_pull_timeout_function(session->gnutls, pull_wait);
    gnutls_transport_set_vec_push_function(session->gnutls, push);
    return 0;
}

int vq_tls_session_new(struct vq_tls_credentials *credentials, const struct vq_tls_options *options,
                       struct vq_tls_session **ret, struct vq_error *err)
{
    if (check_options(credentials, options, err) < 0)
        return -1;
    struct vq_tls_session *session = vq_new(struct vq_tls_session);
    session->credentials = vq_tls_credentials_ref(credentials);
    session->options = *options;
    session->options.alpn = NULL;
    session->peer_name_wanted = vq_strdup(options->peer_name);
    session->options.peer_name = session->peer_name_wanted;
    session->options.priority = NULL;
    session->refusal = VQ_ERROR_INIT;
    session->fd = -1;
    if (options->ca_fingerprint != NULL)
        memcpy(session->fingerprint, options->ca_fingerprint, sizeof(session->fingerprint));
    session->options.ca_fingerprint = session->fingerprint;
    int rc = set_up(session, options);
    if (rc < 0) {
        vq_tls_session_free(session);
        return refuse(err, rc, "setting up TLS");
    }
    *ret = session;
    return 0;
}

void vq_tls_session_free(struct vq_tls_session *session)
{
    if (session == NULL)
        return;
    if (session->gnutls != NULL)
        gnutls_deinit(session->gnutls);
    vq_tls_credentials_free(session->credentials);
    free(session->peer_name_wanted);
    free(session->alpn);
    free(session->peer_dn);
    free(session->peer_name);
    free(session);
}

const char *vq_tls_session_alpn(const struct vq_tls_session *session)
{
    return session->alpn;
}

const char *vq_tls_session_peer_dn(const struct vq_tls_session *session)
{
    return session->is_established ? session->peer_dn : NULL;
}

const char *vq_tls_session_peer_name(const struct vq_tls_session *session)
{
    return session->is_established ? session->peer_name : NULL;
}

uint64_t vq_tls_session_peer_node(const struct vq_tls_session *session)
{
    return session->is_established ? session->peer_node : 0;
}

/* Why GnuTLS failed, as far as it can be told to a person. */
static int tell_failure(struct vq_tls_session *session, int rc, const char *doing, struct vq_error *err)
{
    if (session->refusal.code != VIR_ERR_OK)
        return vq_error_set(err, session->refusal.code, "%s", session->refusal.message);
    if (rc == GNUTLS_E_FATAL_ALERT_RECEIVED)
        return vq_error_set(err, VIR_ERR_AUTH_FAILED, "%s: the peer refused us: %s", doing,
                            gnutls_alert_get_name(gnutls_alert_get(session->gnutls)));
    if (rc == GNUTLS_E_NO_CERTIFICATE_FOUND || rc == GNUTLS_E_CERTIFICATE_REQUIRED)
        return vq_error_set(err, VIR_ERR_AUTH_FAILED, "the peer showed no certificate");
    if (rc == GNUTLS_E_NO_APPLICATION_PROTOCOL)
        return vq_error_set(err, VIR_ERR_AUTH_FAILED, "the peer does not speak our protocol inside TLS");
    if (rc == GNUTLS_E_UNEXPECTED_PACKET_LENGTH || rc == GNUTLS_E_UNSUPPORTED_VERSION_PACKET)
        return vq_error_set(err, VIR_ERR_AUTH_FAILED, "%s: the peer does not speak TLS of a version that we take",
                            doing);
    if (rc == GNUTLS_E_PREMATURE_TERMINATION)
        return vq_error_set(err, VIR_ERR_AUTH_FAILED, "%s: the peer closed the connection", doing);
    return refuse(err, rc, doing);
}

int vq_tls_session_handshake(struct vq_tls_session *session, int fd, struct vq_error *err)
{
    int rc;

    session->fd = fd;
    do
        rc = gnutls_handshake(session->gnutls);
    while (rc < 0 && rc != GNUTLS_E_AGAIN && rc != GNUTLS_E_INTERRUPTED && !gnutls_error_is_fatal(rc));
    if (rc == GNUTLS_E_AGAIN || rc == GNUTLS_E_INTERRUPTED)
        return gnutls_record_get_direction(session->gnutls) == 0 ? 1 : 2;
    if (rc >= 0 && check_established(session, err) < 0) {
        (void)gnutls_alert_send(session->gnutls, GNUTLS_AL_FATAL, GNUTLS_A_ACCESS_DENIED);
        return -1;
    }
    if (rc >= 0)
        return 0;
    (void)gnutls_alert_send_appropriate(session->gnutls, rc); /* so that the other side can tell its user why */
    return tell_failure(session, rc, "TLS handshake", err);
}

long vq_tls_session_read(struct vq_tls_session *session, void *buffer, size_t size, struct vq_error *err)
{
    assert(session->is_established);
    for (int i = 0; i < IDLE_RECORDS_MAX; i++) {
        ssize_t got = gnutls_record_recv(session->gnutls, buffer, size);
        if (got >= 0)
            return (long)got;
        if (got == GNUTLS_E_AGAIN || got == GNUTLS_E_INTERRUPTED)
            return -2;
        if (got == GNUTLS_E_PREMATURE_TERMINATION)
            return 0; /* messages have lengths: a cut is noticed by who reads them */
        if (got == GNUTLS_E_REHANDSHAKE)
            return vq_error_set(err, VIR_ERR_GNUTLS_ERROR, "the peer wants to negotiate TLS anew");
        if (gnutls_error_is_fatal((int)got) != 0)
            return tell_failure(session, (int)got, "reading from TLS", err);
    }
    return vq_error_set(err, VIR_ERR_GNUTLS_ERROR, "the peer sends TLS records without content");
}

long vq_tls_session_write(struct vq_tls_session *session, const void *bytes, size_t length, struct vq_error *err)
{
    assert(session->is_established);
    /* The record that did not go out is sent on as it is; its bytes are the ones that the caller offers again. */
    ssize_t sent = session->write_is_blocked ? gnutls_record_send(session->gnutls, NULL, 0)
                                             : gnutls_record_send(session->gnutls, bytes, length);

    session->write_is_blocked = sent == GNUTLS_E_AGAIN || sent == GNUTLS_E_INTERRUPTED;
    if (session->write_is_blocked)
        return -2;
    if (sent < 0)
        return tell_failure(session, (int)sent, "writing to TLS", err);
    return (long)sent;
}

void vq_tls_session_bye(struct vq_tls_session *session)
{
    if (session->is_established && !session->write_is_blocked)
        (void)gnutls_bye(session->gnutls, GNUTLS_SHUT_WR); /* courtesy: the socket's end says the same */
}
