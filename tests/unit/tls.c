/* TLS sessions: who is let in, who is not, and what the user is told; in both roles. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#include <cmocka.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "conf/base/memory.h"
#include "proto/pki.h"
#include "proto/tls.h"

enum { DAY = 86400 };

static char *authority_key, *authority_pem, *other_key, *other_pem, *stranger_pem;
static const char *const raft_only[] = {"vq-raft", NULL};
static const char *const mesh_only[] = {"vq-mesh", NULL};
static const char *const both_protocols[] = {"vq-mesh", "vq-raft", NULL};

/* ---- Certificates, good and bad ones ----------------------------------------------------------------------------- */

struct recipe {
    const char *name;
    const char *uri[2];
    long from_s, until_s;                             /* relative to now */
    const char *purposes[2];                          /* NULL, NULL: both TLS purposes */
    bool is_self_signed, is_by_other, is_by_stranger; /* other: another authority of our authority's name */
};

struct identity {
    char *key, *certificate, *crl;
};

static char *steal(gnutls_datum_t *datum)
{
    char *text = vq_strndup((const char *)datum->data, datum->size);

    gnutls_free(datum->data);
    return text;
}

static gnutls_x509_privkey_t import_key(const char *pem)
{
    gnutls_x509_privkey_t key;
    gnutls_datum_t datum = {.data = (unsigned char *)(uintptr_t)pem, .size = (unsigned)strlen(pem)};

    assert_true(gnutls_x509_privkey_init(&key) >= 0);
    assert_true(gnutls_x509_privkey_import2(key, &datum, GNUTLS_X509_FMT_PEM, NULL, 0) >= 0);
    return key;
}

static gnutls_x509_crt_t import_certificate(const char *pem)
{
    gnutls_x509_crt_t certificate;
    gnutls_datum_t datum = {.data = (unsigned char *)(uintptr_t)pem, .size = (unsigned)strlen(pem)};

    assert_true(gnutls_x509_crt_init(&certificate) >= 0);
    assert_true(gnutls_x509_crt_import(certificate, &datum, GNUTLS_X509_FMT_PEM) >= 0);
    return certificate;
}

static char *sign_crl(gnutls_x509_crt_t authority, gnutls_x509_privkey_t key, gnutls_x509_crt_t revoked)
{
    gnutls_x509_crl_t crl;
    gnutls_datum_t pem = {0};
    time_t now = time(NULL);

    assert_true(gnutls_x509_crl_init(&crl) >= 0);
    assert_true(gnutls_x509_crl_set_version(crl, 2) >= 0);
    assert_true(gnutls_x509_crl_set_this_update(crl, now - 60) >= 0);
    assert_true(gnutls_x509_crl_set_next_update(crl, now + DAY) >= 0);
    assert_true(gnutls_x509_crl_set_number(crl, "\1", 1) >= 0);
    assert_true(gnutls_x509_crl_set_crt(crl, revoked, now - 60) >= 0);
    assert_true(gnutls_x509_crl_sign2(crl, authority, key, GNUTLS_DIG_SHA256, 0) >= 0);
    assert_true(gnutls_x509_crl_export2(crl, GNUTLS_X509_FMT_PEM, &pem) >= 0);
    gnutls_x509_crl_deinit(crl);
    return steal(&pem);
}

static struct identity make_identity(const struct recipe *recipe)
{
    struct identity identity = {0};
    struct vq_error err = VQ_ERROR_INIT;
    gnutls_datum_t pem = {0};
    gnutls_x509_crt_t certificate;
    time_t now = time(NULL);
    static uint8_t serial;

    assert_int_equal(vq_pki_key_new(&identity.key, &err), 0);
    gnutls_x509_privkey_t key = import_key(identity.key);
    gnutls_x509_privkey_t signer = import_key(recipe->is_self_signed                          ? identity.key
                                              : recipe->is_by_other || recipe->is_by_stranger ? other_key
                                                                                              : authority_key);
    assert_true(gnutls_x509_crt_init(&certificate) >= 0);
    serial++;
    (void)gnutls_x509_crt_set_version(certificate, 3);
    (void)gnutls_x509_crt_set_serial(certificate, &serial, 1);
    (void)gnutls_x509_crt_set_key(certificate, key);
    (void)gnutls_x509_crt_set_dn_by_oid(certificate, GNUTLS_OID_X520_COMMON_NAME, 0, recipe->name,
                                        (unsigned)strlen(recipe->name));
    (void)gnutls_x509_crt_set_subject_alt_name(certificate, GNUTLS_SAN_DNSNAME, recipe->name,
                                               (unsigned)strlen(recipe->name), GNUTLS_FSAN_APPEND);
    for (size_t i = 0; i < 2 && recipe->uri[i] != NULL; i++)
        (void)gnutls_x509_crt_set_subject_alt_name(certificate, GNUTLS_SAN_URI, recipe->uri[i],
                                                   (unsigned)strlen(recipe->uri[i]), GNUTLS_FSAN_APPEND);
    (void)gnutls_x509_crt_set_activation_time(certificate, now + (recipe->from_s == 0 ? -60 : recipe->from_s));
    (void)gnutls_x509_crt_set_expiration_time(certificate, now + (recipe->until_s == 0 ? DAY : recipe->until_s));
    if (recipe->purposes[0] == NULL) {
        (void)gnutls_x509_crt_set_key_purpose_oid(certificate, GNUTLS_KP_TLS_WWW_CLIENT, 0);
        (void)gnutls_x509_crt_set_key_purpose_oid(certificate, GNUTLS_KP_TLS_WWW_SERVER, 0);
    }
    for (size_t i = 0; i < 2 && recipe->purposes[i] != NULL; i++)
        (void)gnutls_x509_crt_set_key_purpose_oid(certificate, recipe->purposes[i], 0);
    gnutls_x509_crt_t authority = import_certificate(recipe->is_by_stranger ? stranger_pem
                                                     : recipe->is_by_other  ? other_pem
                                                                            : authority_pem);
    assert_true(gnutls_x509_crt_sign2(certificate, recipe->is_self_signed ? certificate : authority, signer,
                                      GNUTLS_DIG_SHA256, 0) >= 0);
    assert_true(gnutls_x509_crt_export2(certificate, GNUTLS_X509_FMT_PEM, &pem) >= 0);
    identity.certificate = steal(&pem);
    gnutls_x509_privkey_t own = import_key(authority_key);
    gnutls_x509_crt_t ours = import_certificate(authority_pem);
    identity.crl = sign_crl(ours, own, certificate);
    gnutls_x509_crt_deinit(ours);
    gnutls_x509_privkey_deinit(own);
    gnutls_x509_crt_deinit(certificate);
    gnutls_x509_crt_deinit(authority);
    gnutls_x509_privkey_deinit(key);
    gnutls_x509_privkey_deinit(signer);
    return identity;
}

static void free_identity(struct identity *identity)
{
    free(identity->key);
    free(identity->certificate);
    free(identity->crl);
}

static struct vq_tls_credentials *credentials_of(const struct identity *identity, const char *ca, const char *crl)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_tls_credentials *credentials = NULL;

    if (vq_tls_credentials_new(ca, identity == NULL ? NULL : identity->certificate,
                               identity == NULL ? NULL : identity->key, crl, &credentials, &err) < 0)
        fail_msg("%s", err.message);
    return credentials;
}

/* ---- Two sessions that talk over a pair of sockets --------------------------------------------------------------- */

struct side {
    struct vq_tls_session *session;
    struct vq_error err;
    bool is_done, has_failed;
    int fd;
};

static void side_open(struct side *side, int fd, struct vq_tls_credentials *credentials,
                      const struct vq_tls_options *options)
{
    *side = (struct side){.err = VQ_ERROR_INIT, .fd = fd};
    if (vq_tls_session_new(credentials, options, &side->session, &side->err) < 0)
        fail_msg("%s", side->err.message);
}

static void side_close(struct side *side)
{
    vq_tls_session_free(side->session);
    side->session = NULL;
    if (side->fd >= 0)
        (void)close(side->fd);
    side->fd = -1;
}

static void side_step(struct side *side)
{
    if (side->is_done || side->has_failed)
        return;
    int rc = vq_tls_session_handshake(side->session, side->fd, &side->err);
    side->is_done = rc == 0;
    side->has_failed = rc < 0;
    if (side->has_failed) { /* as the channel does */
        (void)close(side->fd);
        side->fd = -1;
    }
}

struct pair {
    struct side client, server;
};

static void pair_open(struct pair *pair, struct vq_tls_credentials *client, const struct vq_tls_options *client_options,
                      struct vq_tls_credentials *server, const struct vq_tls_options *server_options)
{
    int fds[2];

    assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0, fds), 0);
    side_open(&pair->client, fds[0], client, client_options);
    side_open(&pair->server, fds[1], server, server_options);
    for (int i = 0; i < 20; i++) {
        side_step(&pair->client);
        side_step(&pair->server);
    }
}

/* The first question after a read that emptied the socket is answered "would block" without asking the kernel. */
static long read_again(struct vq_tls_session *session, void *buffer, size_t size)
{
    struct vq_error err = VQ_ERROR_INIT;
    long got = vq_tls_session_read(session, buffer, size, &err);

    return got != -2 ? got : vq_tls_session_read(session, buffer, size, &err);
}

static void pair_close(struct pair *pair)
{
    side_close(&pair->client);
    side_close(&pair->server);
}

static const struct vq_tls_options node_client = {.tls13_only = true, .alpn = mesh_only};
static const struct vq_tls_options node_server = {.is_server = true, .tls13_only = true, .alpn = both_protocols};

/* ---- Tests ------------------------------------------------------------------------------------------------------- */

static struct identity node1, node2;

static int set_up(void **state VQ_UNUSED)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_pki_key_new(&authority_key, &err) < 0 || vq_pki_key_new(&other_key, &err) < 0 ||
        vq_pki_authority_new("blue", authority_key, 30, &authority_pem, &err) < 0 ||
        vq_pki_authority_new("green", other_key, 30, &stranger_pem, &err) < 0 ||
        vq_pki_authority_new("blue", other_key, 30, &other_pem, &err) <
            0) /* same name: the key must make the difference */
        return -1;
    node1 = make_identity(&(struct recipe){.name = "node1", .uri = {"vq-node:1"}});
    node2 = make_identity(&(struct recipe){.name = "node2", .uri = {"vq-node:2"}});
    return 0;
}

static int tear_down(void **state VQ_UNUSED)
{
    free_identity(&node1);
    free_identity(&node2);
    free(authority_key);
    free(authority_pem);
    free(other_key);
    free(other_pem);
    free(stranger_pem);
    return 0;
}

static void nodes_know_each_other_after_the_handshake(void **state VQ_UNUSED)
{
    struct pair pair;
    struct vq_tls_credentials *one = credentials_of(&node1, authority_pem, NULL);
    struct vq_tls_credentials *two = credentials_of(&node2, authority_pem, NULL);
    struct vq_tls_options options = node_client;
    char text[64];
    struct vq_error err = VQ_ERROR_INIT;

    options.peer_name = "node2";
    pair_open(&pair, one, &options, two, &node_server);
    vq_tls_credentials_free(one); /* the sessions keep them */
    vq_tls_credentials_free(two);
    assert_true(pair.client.is_done && pair.server.is_done);
    assert_string_equal(vq_tls_session_alpn(pair.client.session), "vq-mesh");
    assert_string_equal(vq_tls_session_alpn(pair.server.session), "vq-mesh");
    assert_int_equal(vq_tls_session_peer_node(pair.client.session), 2);
    assert_int_equal(vq_tls_session_peer_node(pair.server.session), 1);
    assert_string_equal(vq_tls_session_peer_name(pair.server.session), "node1");
    assert_string_equal(vq_tls_session_peer_dn(pair.server.session), "CN=node1");
    assert_int_equal(vq_tls_session_write(pair.client.session, "hello", 5, &err), 5);
    assert_int_equal(read_again(pair.server.session, text, sizeof(text)), 5);
    assert_memory_equal(text, "hello", 5);
    assert_int_equal(read_again(pair.server.session, text, sizeof(text)), -2);
    vq_tls_session_bye(pair.client.session);
    assert_int_equal(read_again(pair.server.session, text, sizeof(text)), 0);
    pair_close(&pair);
}

/* The six bad certificates and their relatives. Each is shown once as client and once as server. */
static const struct {
    struct recipe recipe;
    const char *peer_name; /* that the other side wants to see */
    bool is_revoked;
    const char *reason_for_client, *reason_for_server;
} bad_certificates[] = {
    {{.name = "node3", .is_self_signed = true}, NULL, false, "certificate of 'node3' is self-signed", NULL},
    {{.name = "node3", .from_s = -20 * DAY, .until_s = -10 * DAY},
     NULL,
     false,
     "certificate of 'node3' expired on 2",
     NULL},
    {{.name = "node3", .from_s = 10 * DAY, .until_s = 20 * DAY},
     NULL,
     false,
     "certificate of 'node3' is not valid before 2",
     NULL},
    {{.name = "node3"}, "node2", false, "certificate of 'node3' is not for 'node2'", NULL},
    {{.name = "node3", .is_by_other = true},
     NULL,
     false,
     "certificate of 'node3' is signed by another authority of the same name",
     NULL},
    {{.name = "node3", .is_by_stranger = true},
     NULL,
     false,
     "certificate of 'node3' is signed by an unknown authority 'green'",
     NULL},
    {{.name = "node3"}, NULL, true, "certificate of 'node3' was revoked", NULL},
    {{.name = "node3", .purposes = {GNUTLS_KP_TIME_STAMPING}},
     NULL,
     false,
     "certificate of 'node3' is not made for a server",
     "certificate of 'node3' is not made for a client"},
};

static void assert_begins(const char *text, const char *start)
{
    if (strncmp(text, start, strlen(start)) != 0)
        fail_msg("'%s' does not begin with '%s'", text, start);
}

static void bad_server_certificates_are_refused_by_the_client(void **state VQ_UNUSED)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(bad_certificates); i++) {
        struct pair pair;
        struct identity bad = make_identity(&bad_certificates[i].recipe);
        struct vq_tls_credentials *server = credentials_of(&bad, authority_pem, NULL);
        struct vq_tls_credentials *client =
            credentials_of(&node1, authority_pem, bad_certificates[i].is_revoked ? bad.crl : NULL);
        struct vq_tls_options options = node_client;

        options.peer_name = bad_certificates[i].peer_name;
        pair_open(&pair, client, &options, server, &node_server);
        assert_true(pair.client.has_failed);
        assert_begins(pair.client.err.message, bad_certificates[i].reason_for_client);
        assert_true(pair.server.has_failed);
        assert_begins(pair.server.err.message, "TLS handshake: the peer refused us");
        assert_int_equal(vq_tls_session_peer_node(pair.client.session), 0);
        assert_null(vq_tls_session_peer_name(pair.client.session));
        pair_close(&pair);
        vq_tls_credentials_free(client);
        vq_tls_credentials_free(server);
        free_identity(&bad);
    }
}

static void bad_client_certificates_are_refused_by_the_server(void **state VQ_UNUSED)
{
    const enum vq_tls_verify modes[] = {VQ_TLS_VERIFY_PEER, VQ_TLS_VERIFY_OPTIONAL};

    for (size_t i = 0; i < 2 * VQ_N_ELEMENTS(bad_certificates); i++) {
        struct pair pair;
        size_t at = i / 2;
        struct identity bad = make_identity(&bad_certificates[at].recipe);
        struct vq_tls_credentials *client = credentials_of(&bad, authority_pem, NULL);
        struct vq_tls_credentials *server =
            credentials_of(&node1, authority_pem, bad_certificates[at].is_revoked ? bad.crl : NULL);
        struct vq_tls_options options = node_server;

        options.peer_name = bad_certificates[at].peer_name;
        options.verify = modes[i % 2];
        pair_open(&pair, client, &node_client, server, &options);
        assert_true(pair.server.has_failed);
        assert_begins(pair.server.err.message, bad_certificates[at].reason_for_server != NULL
                                                   ? bad_certificates[at].reason_for_server
                                                   : bad_certificates[at].reason_for_client);
        assert_int_equal(vq_tls_session_peer_node(pair.server.session), 0);
        pair_close(&pair);
        vq_tls_credentials_free(client);
        vq_tls_credentials_free(server);
        free_identity(&bad);
    }
}

static void client_without_certificate_is_let_in_only_where_that_is_optional(void **state VQ_UNUSED)
{
    struct vq_tls_credentials *server = credentials_of(&node1, authority_pem, NULL);
    struct vq_tls_credentials *client = credentials_of(NULL, authority_pem, NULL);
    struct vq_tls_options options = node_server;
    struct pair pair;

    pair_open(&pair, client, &node_client, server, &options);
    assert_true(pair.server.has_failed);
    assert_string_equal(pair.server.err.message, "the peer showed no certificate");
    pair_close(&pair);

    options.verify = VQ_TLS_VERIFY_OPTIONAL;
    pair_open(&pair, client, &node_client, server, &options);
    if (!pair.server.is_done)
        fail_msg("%s", pair.server.err.message);
    assert_int_equal(vq_tls_session_peer_node(pair.server.session), 0);
    assert_null(vq_tls_session_peer_dn(pair.server.session));
    pair_close(&pair);
    vq_tls_credentials_free(server);
    vq_tls_credentials_free(client);
}

/* A client trusts nobody but the authority whose fingerprint its token told. */
static void joining_host_checks_the_authority_by_its_fingerprint(void **state VQ_UNUSED)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct identity bad = make_identity(&(struct recipe){.name = "node3", .is_by_other = true});
    struct vq_tls_credentials *server = credentials_of(&node1, authority_pem, NULL);
    struct vq_tls_credentials *impostor = credentials_of(&bad, other_pem, NULL);
    struct vq_tls_credentials *client = credentials_of(NULL, NULL, NULL);
    uint8_t fingerprint[32];
    struct vq_tls_options client_options = node_client;
    struct vq_tls_options server_options = node_server;
    struct pair pair;

    assert_int_equal(vq_pki_fingerprint(authority_pem, fingerprint, &err), 0);
    client_options.verify = VQ_TLS_VERIFY_FINGERPRINT;
    client_options.ca_fingerprint = fingerprint;
    server_options.verify = VQ_TLS_VERIFY_OPTIONAL;
    pair_open(&pair, client, &client_options, server, &server_options);
    assert_true(pair.client.is_done && pair.server.is_done);
    assert_int_equal(vq_tls_session_peer_node(pair.client.session), 1);
    pair_close(&pair);

    pair_open(&pair, client, &client_options, impostor, &server_options);
    assert_true(pair.client.has_failed);
    pair_close(&pair);

    fingerprint[31] ^= 1;
    pair_open(&pair, client, &client_options, server, &server_options);
    assert_true(pair.client.has_failed);
    pair_close(&pair);

    /* The fingerprint of an ordinary certificate makes no authority of it. */
    assert_int_equal(vq_pki_fingerprint(node1.certificate, fingerprint, &err), 0);
    pair_open(&pair, client, &client_options, server, &server_options);
    assert_true(pair.client.has_failed);
    pair_close(&pair);
    free_identity(&bad);
    vq_tls_credentials_free(server);
    vq_tls_credentials_free(impostor);
    vq_tls_credentials_free(client);
}

static void node_id_is_read_strictly(void **state VQ_UNUSED)
{
    const struct {
        const char *uri[2];
        uint64_t node;
    } cases[] = {
        {{"vq-node:18446744073709551615"}, UINT64_MAX},
        {{"vq-node:"}, 0},
        {{"vq-node:+3"}, 0},
        {{"vq-node:3x"}, 0},
        {{"vq-node:18446744073709551616"}, 0},
        {{"https://node3/"}, 0},
        {{"vq-node:3", "vq-node:4"}, 0},
        {{"vq-node:3", "https://node3/"}, 3},
    };
    struct vq_tls_credentials *server = credentials_of(&node1, authority_pem, NULL);

    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        struct identity some =
            make_identity(&(struct recipe){.name = "node3", .uri = {cases[i].uri[0], cases[i].uri[1]}});
        struct vq_tls_credentials *client = credentials_of(&some, authority_pem, NULL);
        struct pair pair;

        pair_open(&pair, client, &node_client, server, &node_server);
        assert_true(pair.server.is_done);
        assert_true(vq_tls_session_peer_node(pair.server.session) == cases[i].node);
        pair_close(&pair);
        vq_tls_credentials_free(client);
        free_identity(&some);
    }
    vq_tls_credentials_free(server);
}

static void signed_certificates_carry_their_node_and_are_made_for_their_role(void **state VQ_UNUSED)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct identity node = {0}, user = {0};
    VQ_AUTOFREE char *request = NULL;
    VQ_AUTOFREE char *user_request = NULL;
    const char *addresses[] = {"10.0.0.7", "fd00::7", NULL};
    struct vq_tls_options options = node_client;
    struct pair pair;

    assert_int_equal(vq_pki_key_new(&node.key, &err), 0);
    assert_int_equal(vq_pki_key_new(&user.key, &err), 0);
    assert_int_equal(vq_pki_request_new(node.key, "ignored", &request, &err), 0);
    assert_int_equal(vq_pki_request_new(user.key, "root", &user_request, &err), 0);
    assert_int_equal(
        vq_pki_sign(request, authority_pem, authority_key, 7, "node7", addresses, 10, &node.certificate, &err), 0);
    assert_int_equal(
        vq_pki_sign(user_request, authority_pem, authority_key, 0, "root", NULL, 10, &user.certificate, &err), 0);
    struct vq_tls_credentials *server = credentials_of(&node, authority_pem, NULL);
    struct vq_tls_credentials *client = credentials_of(&user, authority_pem, NULL);
    const char *const names[] = {"node7", "10.0.0.7", "fd00::7"};
    for (size_t i = 0; i < VQ_N_ELEMENTS(names); i++) {
        options.peer_name = names[i];
        pair_open(&pair, client, &options, server, &node_server);
        assert_true(pair.client.is_done && pair.server.is_done);
        assert_int_equal(vq_tls_session_peer_node(pair.client.session), 7);
        assert_int_equal(vq_tls_session_peer_node(pair.server.session), 0);
        pair_close(&pair);
    }
    options.peer_name = NULL; /* a client's certificate does not make a server */
    pair_open(&pair, server, &options, client, &node_server);
    assert_true(pair.client.has_failed);
    assert_begins(pair.client.err.message, "certificate of 'root' is not made for a server");
    pair_close(&pair);
    vq_tls_credentials_free(server);
    vq_tls_credentials_free(client);
    free_identity(&node);
    free_identity(&user);
}

static void protocols_and_versions_must_meet(void **state VQ_UNUSED)
{
    struct vq_tls_credentials *server = credentials_of(&node1, authority_pem, NULL);
    struct vq_tls_credentials *client = credentials_of(&node2, authority_pem, NULL);
    struct vq_tls_options options = node_server;
    struct vq_tls_options client_options = node_client;
    struct pair pair;

    options.alpn = raft_only;
    pair_open(&pair, client, &node_client, server, &options);
    assert_true(pair.server.has_failed);
    assert_false(pair.client.is_done);
    pair_close(&pair);

    client_options.alpn = NULL; /* a client that says nothing is not guessed at */
    pair_open(&pair, client, &client_options, server, &options);
    assert_true(pair.server.has_failed);
    pair_close(&pair);

    client_options = (struct vq_tls_options){.priority = "NORMAL:-VERS-ALL:+VERS-TLS1.2", .alpn = mesh_only};
    pair_open(&pair, client, &client_options, server, &node_server);
    assert_true(pair.server.has_failed);
    pair_close(&pair);
    vq_tls_credentials_free(server);
    vq_tls_credentials_free(client);
}

static void empty_or_missing_parts_close_and_never_open(void **state VQ_UNUSED)
{
    struct vq_tls_credentials *credentials = NULL;
    const struct {
        const char *ca, *certificate, *key, *crl;
    } bad[] = {
        {"", node1.certificate, node1.key, NULL},
        {authority_pem, "", node1.key, NULL},
        {authority_pem, node1.certificate, "", NULL},
        {authority_pem, node1.certificate, NULL, NULL},
        {authority_pem, NULL, node1.key, NULL},
        {authority_pem, node1.certificate, node1.key, ""},
        {authority_pem, node1.certificate, node2.key, NULL},
        {"no PEM at all", node1.certificate, node1.key, NULL},
        {authority_pem, node1.certificate, node1.key, "no PEM at all"},
    };
    for (size_t i = 0; i < VQ_N_ELEMENTS(bad); i++) {
        struct vq_error err = VQ_ERROR_INIT;
        assert_int_equal(
            vq_tls_credentials_new(bad[i].ca, bad[i].certificate, bad[i].key, bad[i].crl, &credentials, &err), -1);
        assert_null(credentials);
        assert_true(err.message[0] != '\0');
    }
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_tls_session *session = NULL;
    struct vq_tls_credentials *without_authority = credentials_of(&node1, NULL, NULL);
    struct vq_tls_credentials *without_certificate = credentials_of(NULL, authority_pem, NULL);
    struct vq_tls_options options = node_client;
    assert_int_equal(vq_tls_session_new(without_authority, &node_client, &session, &err), -1);
    assert_int_equal(vq_tls_session_new(without_certificate, &node_server, &session, &err), -1);
    options.verify = VQ_TLS_VERIFY_FINGERPRINT;
    assert_int_equal(vq_tls_session_new(without_certificate, &options, &session, &err), -1);
    options.verify = VQ_TLS_VERIFY_OPTIONAL;
    assert_int_equal(vq_tls_session_new(without_certificate, &options, &session, &err), -1);
    options.verify = VQ_TLS_VERIFY_PEER;
    options.peer_name = "";
    assert_int_equal(vq_tls_session_new(without_certificate, &options, &session, &err), -1);
    vq_tls_credentials_free(without_authority);
    vq_tls_credentials_free(without_certificate);
}

static void missing_file_is_named(void **state VQ_UNUSED)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_tls_credentials *credentials = NULL;

    assert_int_equal(vq_tls_credentials_load("/nonexistent/cacert.pem", NULL, NULL, NULL, &credentials, &err), -1);
    assert_non_null(strstr(err.message, "/nonexistent/cacert.pem"));
    assert_int_equal(vq_tls_credentials_load("/dev/zero", NULL, NULL, NULL, &credentials, &err), -1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nodes_know_each_other_after_the_handshake),
        cmocka_unit_test(bad_server_certificates_are_refused_by_the_client),
        cmocka_unit_test(bad_client_certificates_are_refused_by_the_server),
        cmocka_unit_test(client_without_certificate_is_let_in_only_where_that_is_optional),
        cmocka_unit_test(joining_host_checks_the_authority_by_its_fingerprint),
        cmocka_unit_test(node_id_is_read_strictly),
        cmocka_unit_test(signed_certificates_carry_their_node_and_are_made_for_their_role),
        cmocka_unit_test(protocols_and_versions_must_meet),
        cmocka_unit_test(empty_or_missing_parts_close_and_never_open),
        cmocka_unit_test(missing_file_is_named),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
