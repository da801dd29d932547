/* The cluster's own certificate authority, and the sealing of secrets with the cluster key. */
#define VQ_FROM VIR_FROM_CRYPTO
#include "proto/pki.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"

enum {
    PEM_MAX = 256 * 1024, /* of any text given to us: a peer may have sent it */
    NAME_MAX_BYTES = 64,  /* X.520 ub-common-name */
    ADDRESSES_MAX = 64,
    DAYS_MAX = 36500,
    SERIAL_BYTES = 16,
    KEY_ID_BYTES = 20,
    CLOCK_SLACK_S = 3600, /* certificates are valid from an hour ago, for hosts whose clocks differ */
    NONCE_BYTES = 12,
    TAG_BYTES = 16,
};

/* What GnuTLS allocates is freed at the end of the scope. */
#define AUTO(type, name) __attribute__((cleanup(type##_cleanup))) type##_t name = NULL
#define DEFINE_CLEANUP(type)                     \
    static void type##_cleanup(type##_t *object) \
    {                                            \
        if (*object != NULL)                     \
            type##_deinit(*object);              \
    }                                            \
    struct vq_swallow_semicolon
DEFINE_CLEANUP(gnutls_x509_privkey);
DEFINE_CLEANUP(gnutls_x509_crt);
DEFINE_CLEANUP(gnutls_x509_crq);
DEFINE_CLEANUP(gnutls_pubkey);

static int refuse(struct vq_error *err, int code, const char *doing)
{
    return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "%s: %s", doing, gnutls_strerror(code));
}

static int pem_datum(const char *pem, const char *what, gnutls_datum_t *ret_datum, struct vq_error *err)
{
    size_t length = pem == NULL ? 0 : strnlen(pem, PEM_MAX + 1);

    if (length == 0)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "%s is empty", what);
    if (length > PEM_MAX)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "%s is larger than %d bytes", what, PEM_MAX);
    *ret_datum = (gnutls_datum_t){.data = (unsigned char *)(uintptr_t)pem, .size = (unsigned)length};
    return 0;
}

/* Hand out what GnuTLS exported as memory of malloc(); private keys are wiped behind us. */
static char *steal_pem(gnutls_datum_t *datum)
{
    char *pem = vq_strndup((const char *)datum->data, datum->size);

    gnutls_memset(datum->data, 0, datum->size);
    gnutls_free(datum->data);
    datum->data = NULL;
    return pem;
}

static int import_key(const char *pem, gnutls_x509_privkey_t *ret_key, struct vq_error *err)
{
    gnutls_datum_t datum;

    if (pem_datum(pem, "private key", &datum, err) < 0)
        return -1;
    int rc = gnutls_x509_privkey_init(ret_key);
    if (rc >= 0)
        rc = gnutls_x509_privkey_import2(*ret_key, &datum, GNUTLS_X509_FMT_PEM, NULL, 0);
    return rc < 0 ? refuse(err, rc, "reading private key") : 0;
}

static int import_certificate(const char *pem, gnutls_x509_crt_t *ret_certificate, struct vq_error *err)
{
    gnutls_datum_t datum;

    if (pem_datum(pem, "certificate", &datum, err) < 0)
        return -1;
    int rc = gnutls_x509_crt_init(ret_certificate);
    if (rc >= 0)
        rc = gnutls_x509_crt_import(*ret_certificate, &datum, GNUTLS_X509_FMT_PEM);
    return rc < 0 ? refuse(err, rc, "reading certificate") : 0;
}

int vq_pki_key_new(char **ret_key_pem, struct vq_error *err)
{
    AUTO(gnutls_x509_privkey, key);
    gnutls_datum_t pem = {0};
    int rc = gnutls_x509_privkey_init(&key);

    if (rc >= 0)
        rc = gnutls_x509_privkey_generate(key, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
    if (rc >= 0)
        rc = gnutls_x509_privkey_export2_pkcs8(key, GNUTLS_X509_FMT_PEM, NULL, GNUTLS_PKCS_PLAIN, &pem);
    if (rc < 0)
        return refuse(err, rc, "making a private key");
    *ret_key_pem = steal_pem(&pem);
    return 0;
}

static int check_name(const char *name, const char *what, struct vq_error *err)
{
    if (!vq_name_is_component(name))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "%s '%s' is not a name", what, name == NULL ? "" : name);
    if (strlen(name) > NAME_MAX_BYTES)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "%s '%s' is longer than %d bytes", what, name, NAME_MAX_BYTES);
    return 0;
}

/* What all our certificates have: version, random serial number, validity, subject, key identifier. */
static int certificate_frame(gnutls_x509_crt_t certificate, const char *common_name, int days, struct vq_error *err)
{
    uint8_t serial[SERIAL_BYTES];
    uint8_t key_id[KEY_ID_BYTES];
    size_t key_id_size = sizeof(key_id);
    time_t now = time(NULL);

    if (days < 1 || days > DAYS_MAX)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "a certificate cannot be valid for %d days", days);
    int rc = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof(serial));
    serial[0] = (uint8_t)((serial[0] & 0x3f) | 0x40); /* positive, and always of the same length */
    if (rc >= 0)
        rc = gnutls_x509_crt_set_version(certificate, 3);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_serial(certificate, serial, sizeof(serial));
    if (rc >= 0)
        rc = gnutls_x509_crt_set_activation_time(certificate, now - CLOCK_SLACK_S);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_expiration_time(certificate, now + (time_t)days * 86400);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, 0, common_name,
                                           (unsigned)strlen(common_name));
    if (rc >= 0)
        rc = gnutls_x509_crt_get_key_id(certificate, GNUTLS_KEYID_USE_SHA1, key_id, &key_id_size);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_subject_key_id(certificate, key_id, key_id_size);
    return rc < 0 ? refuse(err, rc, "filling in a certificate") : 0;
}

static int sign_and_export(gnutls_x509_crt_t certificate, gnutls_x509_crt_t authority, gnutls_x509_privkey_t key,
                           char **ret_pem, struct vq_error *err)
{
    gnutls_datum_t pem = {0};
    int rc = gnutls_x509_crt_sign2(certificate, authority, key, GNUTLS_DIG_SHA256, 0);

    if (rc >= 0)
        rc = gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_PEM, &pem);
    if (rc < 0)
        return refuse(err, rc, "signing a certificate");
    *ret_pem = steal_pem(&pem);
    return 0;
}

int vq_pki_authority_new(const char *cluster_name, const char *key_pem, int days, char **ret_certificate_pem,
                         struct vq_error *err)
{
    AUTO(gnutls_x509_privkey, key);
    AUTO(gnutls_x509_crt, certificate);

    if (check_name(cluster_name, "cluster name", err) < 0 || import_key(key_pem, &key, err) < 0)
        return -1;
    int rc = gnutls_x509_crt_init(&certificate);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_key(certificate, key);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_basic_constraints(certificate, 1, 0);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_key_usage(certificate, GNUTLS_KEY_KEY_CERT_SIGN | GNUTLS_KEY_CRL_SIGN);
    if (rc < 0)
        return refuse(err, rc, "making an authority");
    if (certificate_frame(certificate, cluster_name, days, err) < 0)
        return -1;
    return sign_and_export(certificate, certificate, key, ret_certificate_pem, err);
}

int vq_pki_request_new(const char *key_pem, const char *node_name, char **ret_request_pem, struct vq_error *err)
{
    AUTO(gnutls_x509_privkey, key);
    AUTO(gnutls_x509_crq, request);
    gnutls_datum_t pem = {0};

    if (check_name(node_name, "node name", err) < 0 || import_key(key_pem, &key, err) < 0)
        return -1;
    int rc = gnutls_x509_crq_init(&request);
    if (rc >= 0)
        rc = gnutls_x509_crq_set_version(request, 1);
    if (rc >= 0)
        rc = gnutls_x509_crq_set_key(request, key);
    if (rc >= 0)
        rc = gnutls_x509_crq_set_dn_by_oid(request, GNUTLS_OID_X520_COMMON_NAME, 0, node_name,
                                           (unsigned)strlen(node_name));
    if (rc >= 0)
        rc = gnutls_x509_crq_sign2(request, key, GNUTLS_DIG_SHA256, 0);
    if (rc >= 0)
        rc = gnutls_x509_crq_export2(request, GNUTLS_X509_FMT_PEM, &pem);
    if (rc < 0)
        return refuse(err, rc, "making a certificate request");
    *ret_request_pem = steal_pem(&pem);
    return 0;
}

/* The public key of a request that proves to own it; only the kind of key that we make ourselves. */
static int import_request(const char *pem, gnutls_pubkey_t *ret_key, struct vq_error *err)
{
    AUTO(gnutls_x509_crq, request);
    gnutls_datum_t datum;
    gnutls_ecc_curve_t curve = GNUTLS_ECC_CURVE_INVALID;

    if (pem_datum(pem, "certificate request", &datum, err) < 0)
        return -1;
    int rc = gnutls_x509_crq_init(&request);
    if (rc >= 0)
        rc = gnutls_x509_crq_import(request, &datum, GNUTLS_X509_FMT_PEM);
    if (rc >= 0)
        rc = gnutls_x509_crq_verify(request, 0);
    if (rc >= 0)
        rc = gnutls_pubkey_init(ret_key);
    if (rc >= 0)
        rc = gnutls_pubkey_import_x509_crq(*ret_key, request, 0);
    if (rc < 0)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "certificate request is not usable: %s", gnutls_strerror(rc));
    if (gnutls_pubkey_get_pk_algorithm(*ret_key, NULL) != GNUTLS_PK_ECDSA ||
        gnutls_pubkey_export_ecc_raw(*ret_key, &curve, NULL, NULL) < 0 || curve != GNUTLS_ECC_CURVE_SECP256R1)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "the key of a certificate request must be ECDSA P-256");
    return 0;
}

static int add_address(gnutls_x509_crt_t certificate, const char *address)
{
    uint8_t bytes[sizeof(struct in6_addr)];

    if (inet_pton(AF_INET, address, bytes) == 1)
        return gnutls_x509_crt_set_subject_alt_name(certificate, GNUTLS_SAN_IPADDRESS, bytes, 4, GNUTLS_FSAN_APPEND);
    if (inet_pton(AF_INET6, address, bytes) == 1)
        return gnutls_x509_crt_set_subject_alt_name(certificate, GNUTLS_SAN_IPADDRESS, bytes, 16, GNUTLS_FSAN_APPEND);
    return gnutls_x509_crt_set_subject_alt_name(certificate, GNUTLS_SAN_DNSNAME, address, (unsigned)strlen(address),
                                                GNUTLS_FSAN_APPEND);
}

static int add_names(gnutls_x509_crt_t certificate, uint64_t node_id, const char *name, const char *const *addresses,
                     struct vq_error *err)
{
    char uri[64];

    int rc = add_address(certificate, name);
    for (size_t i = 0; rc >= 0 && addresses != NULL && addresses[i] != NULL; i++) {
        if (i == ADDRESSES_MAX)
            return vq_error_set(err, VIR_ERR_INVALID_ARG, "a certificate has at most %d addresses", ADDRESSES_MAX);
        if (!vq_name_is_component(addresses[i]))
            return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' is not an address", addresses[i]);
        rc = add_address(certificate, addresses[i]);
    }
    if (rc >= 0 && node_id != 0) {
        int length = snprintf(uri, sizeof(uri), "vq-node:%" PRIu64, node_id);
        rc = gnutls_x509_crt_set_subject_alt_name(certificate, GNUTLS_SAN_URI, uri, (unsigned)length,
                                                  GNUTLS_FSAN_APPEND);
    }
    if (rc < 0)
        return refuse(err, rc, "adding names to a certificate");
    return 0;
}

static int add_usage(gnutls_x509_crt_t certificate, gnutls_x509_crt_t authority, bool is_node, struct vq_error *err)
{
    uint8_t key_id[KEY_ID_BYTES * 2];
    size_t key_id_size = sizeof(key_id);

    int rc = gnutls_x509_crt_set_basic_constraints(certificate, 0, -1);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_key_usage(certificate, GNUTLS_KEY_DIGITAL_SIGNATURE);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_key_purpose_oid(certificate, GNUTLS_KP_TLS_WWW_CLIENT, 0);
    if (rc >= 0 && is_node)
        rc = gnutls_x509_crt_set_key_purpose_oid(certificate, GNUTLS_KP_TLS_WWW_SERVER, 0);
    /* Tells authorities of the same name apart while one replaces the other. */
    if (rc >= 0 && gnutls_x509_crt_get_subject_key_id(authority, key_id, &key_id_size, NULL) >= 0)
        rc = gnutls_x509_crt_set_authority_key_id(certificate, key_id, key_id_size);
    return rc < 0 ? refuse(err, rc, "filling in a certificate") : 0;
}

int vq_pki_sign(const char *request_pem, const char *authority_certificate_pem, const char *authority_key_pem,
                uint64_t node_id, const char *name, const char *const *addresses, int days, char **ret_certificate_pem,
                struct vq_error *err)
{
    AUTO(gnutls_pubkey, key);
    AUTO(gnutls_x509_crt, authority);
    AUTO(gnutls_x509_privkey, authority_key);
    AUTO(gnutls_x509_crt, certificate);

    if (check_name(name, "name", err) < 0 || import_request(request_pem, &key, err) < 0 ||
        import_certificate(authority_certificate_pem, &authority, err) < 0 ||
        import_key(authority_key_pem, &authority_key, err) < 0)
        return -1;
    int rc = gnutls_x509_crt_init(&certificate);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_pubkey(certificate, key);
    if (rc < 0)
        return refuse(err, rc, "making a certificate");
    if (certificate_frame(certificate, name, days, err) < 0 ||
        add_names(certificate, node_id, name, addresses, err) < 0 ||
        add_usage(certificate, authority, node_id != 0, err) < 0)
        return -1;
    return sign_and_export(certificate, authority, authority_key, ret_certificate_pem, err);
}

int vq_pki_fingerprint(const char *certificate_pem, uint8_t ret_sha256[32], struct vq_error *err)
{
    AUTO(gnutls_x509_crt, certificate);
    uint8_t digest[32];
    size_t size = sizeof(digest);

    if (import_certificate(certificate_pem, &certificate, err) < 0)
        return -1;
    int rc = gnutls_x509_crt_get_fingerprint(certificate, GNUTLS_DIG_SHA256, digest, &size);
    if (rc < 0 || size != sizeof(digest))
        return refuse(err, rc, "taking a certificate's fingerprint");
    memcpy(ret_sha256, digest, sizeof(digest));
    return 0;
}

int vq_pki_expiry(const char *certificate_pem, int64_t *ret_unix_time, struct vq_error *err)
{
    AUTO(gnutls_x509_crt, certificate);

    if (import_certificate(certificate_pem, &certificate, err) < 0)
        return -1;
    time_t expiry = gnutls_x509_crt_get_expiration_time(certificate);
    if (expiry == (time_t)-1)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "the certificate has no expiry date");
    *ret_unix_time = expiry;
    return 0;
}

static int cipher_open(const uint8_t key[32], gnutls_aead_cipher_hd_t *ret_cipher, struct vq_error *err)
{
    gnutls_datum_t datum = {.data = (unsigned char *)(uintptr_t)key, .size = 32};
    int rc = gnutls_aead_cipher_init(ret_cipher, GNUTLS_CIPHER_AES_256_GCM, &datum);

    return rc < 0 ? refuse(err, rc, "setting up AES-256-GCM") : 0;
}

/* Sealed: 12 bytes nonce, ciphertext, 16 bytes tag. */
int vq_pki_seal(const uint8_t key[32], const void *secret, size_t length, const char *aad, uint8_t **ret_sealed,
                size_t *ret_length, struct vq_error *err)
{
    gnutls_aead_cipher_hd_t cipher;
    size_t room = length + TAG_BYTES;

    if (length > SIZE_MAX / 2)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "a secret of %zu bytes cannot be sealed", length);
    if (cipher_open(key, &cipher, err) < 0)
        return -1;
    uint8_t *sealed = vq_calloc(1, NONCE_BYTES + room);
    int rc = gnutls_rnd(GNUTLS_RND_RANDOM, sealed, NONCE_BYTES);
    if (rc >= 0)
        rc = gnutls_aead_cipher_encrypt(cipher, sealed, NONCE_BYTES, aad, strlen(aad), TAG_BYTES, secret, length,
                                        sealed + NONCE_BYTES, &room);
    gnutls_aead_cipher_deinit(cipher);
    if (rc < 0) {
        free(sealed);
        return refuse(err, rc, "sealing a secret");
    }
    *ret_sealed = sealed;
    *ret_length = NONCE_BYTES + room;
    return 0;
}

int vq_pki_unseal(const uint8_t key[32], const uint8_t *sealed, size_t length, const char *aad, uint8_t **ret_secret,
                  size_t *ret_length, struct vq_error *err)
{
    gnutls_aead_cipher_hd_t cipher;

    if (length < NONCE_BYTES + TAG_BYTES)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "a sealed secret of %zu bytes is cut off", length);
    if (cipher_open(key, &cipher, err) < 0)
        return -1;
    size_t room = length - NONCE_BYTES;
    uint8_t *secret = vq_calloc(1, room);
    int rc = gnutls_aead_cipher_decrypt(cipher, sealed, NONCE_BYTES, aad, strlen(aad), TAG_BYTES, sealed + NONCE_BYTES,
                                        length - NONCE_BYTES, secret, &room);
    gnutls_aead_cipher_deinit(cipher);
    if (rc < 0) {
        gnutls_memset(secret, 0, length - NONCE_BYTES);
        free(secret);
        return vq_error_set(err, VIR_ERR_AUTH_FAILED,
                            "a sealed secret does not open: other key, other place, or damaged");
    }
    *ret_secret = secret;
    *ret_length = room;
    return 0;
}
