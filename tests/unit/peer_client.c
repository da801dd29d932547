/* Connections to other daemons by URI. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>
#include <netinet/in.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "node/peer.h"
#include "node/peer_uri.h"
#include "proto/gen/remote.h"
#include "tests/unit/fake_node.h"

static struct fake_node node;

/* ---- URIs -------------------------------------------------------------------------------------------------------- */

static void uris_are_read_as_clients_read_them(void **state)
{
    static const struct {
        const char *text;
        enum vq_peer_transport transport;
        const char *name, *user, *host;
        uint16_t port;
        const char *node;
    } cases[] = {
        {"qemu:///system", VQ_PEER_LOCAL, "qemu:///system", NULL, NULL, 0, NULL},
        {"qemu:///system?node=n%32", VQ_PEER_LOCAL, "qemu:///system?node=n%32", NULL, NULL, 0, "n2"},
        {"qemu:///system/n3", VQ_PEER_LOCAL, "qemu:///system/n3", NULL, NULL, 0, "n3"},
        {"qemu+unix:///system?socket=/tmp/a%20b", VQ_PEER_UNIX, "qemu:///system", NULL, NULL, 0, NULL},
        {"qemu://host/system", VQ_PEER_TLS, "qemu:///system", NULL, "host", 0, NULL},
        {"qemu+tls://host:1234/system?no_verify=1&node=x&pkipath=/p", VQ_PEER_TLS, "qemu:///system?node=x", NULL,
         "host", 1234, "x"},
        {"qemu+tcp://[fd00::1]:17/system", VQ_PEER_TCP, "qemu:///system", NULL, "fd00::1", 17, NULL},
        {"qemu+tcp://[fd00::1]/system", VQ_PEER_TCP, "qemu:///system", NULL, "fd00::1", 0, NULL},
        {"qemu+ssh://root@host.example:2222/system?keyfile=/k&no_tty=1&sshauth=agent", VQ_PEER_SSH, "qemu:///system",
         "root", "host.example", 2222, NULL},
        {"qemu+tls://host/system?name=test:///default", VQ_PEER_TLS, "test:///default", NULL, "host", 0, NULL},
        {"qemu+tls://host/system#part", VQ_PEER_TLS, "qemu:///system", NULL, "host", 0, NULL},
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        struct vq_peer_uri uri;
        struct vq_error err = VQ_ERROR_INIT;
        if (vq_peer_uri_parse(cases[i].text, &uri, &err) < 0)
            fail_msg("%s", err.message);
        assert_int_equal(uri.transport, cases[i].transport);
        assert_string_equal(uri.name, cases[i].name);
        assert_int_equal(uri.port, cases[i].port);
        const char *const pairs[][2] = {
            {uri.user, cases[i].user}, {uri.host, cases[i].host}, {uri.node, cases[i].node}};
        for (size_t j = 0; j < VQ_N_ELEMENTS(pairs); j++) {
            assert_int_equal(pairs[j][0] == NULL, pairs[j][1] == NULL);
            if (pairs[j][0] != NULL)
                assert_string_equal(pairs[j][0], pairs[j][1]);
        }
        vq_peer_uri_done(&uri);
    }
}

static void uris_that_would_do_harm_are_refused(void **state)
{
    static const char *const cases[] = {
        "",
        "qemu",
        "/system",
        "QEMU:///system",
        "qemu+ext://host/system?command=/bin/true",
        "qemu+ssh://host/system?command=/bin/true",
        "qemu+ssh:///system",
        "qemu+tls:///system",
        "qemu+unix://host/system",
        "qemu+ssh://-oProxyCommand=x/system",
        "qemu+ssh://%2doProxyCommand/system",
        "qemu+ssh://-l@host/system",
        "qemu+ssh://user@/system",
        "qemu+ssh://a b/system",
        "qemu+ssh://a;b/system",
        "qemu+tls://host:0/system",
        "qemu+tls://host:65536/system",
        "qemu+tls://host:/system",
        "qemu+tls://[fd00::1/system",
        "qemu+tls://[fd00::1]x/system",
        "qemu+tls://ho%0ast/system",
        "qemu+unix:///system?socket=%",
        "qemu+unix:///system?socket=a%00b",
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        struct vq_peer_uri uri;
        struct vq_error err = VQ_ERROR_INIT;
        if (vq_peer_uri_parse(cases[i], &uri, &err) == 0)
            fail_msg("'%s' is taken", cases[i]);
        assert_int_equal(err.code, VIR_ERR_INVALID_ARG);
    }
}

/* ---- Connections ------------------------------------------------------------------------------------------------- */

static struct {
    unsigned n, n_called;
    struct vq_peer *peer;
    struct vq_error err;
    char hostname[64];
} told;

static void opened(struct vq_peer *take_peer, const struct vq_error *err, void *data)
{
    (void)data;
    told.n++;
    told.peer = take_peer;
    told.err = err == NULL ? VQ_ERROR_INIT : *err;
    assert_int_equal(take_peer == NULL, err != NULL);
}

static void called(const void *ret, const struct vq_error *err, void *data)
{
    (void)data;
    told.n_called++;
    assert_null(err);
    (void)snprintf(told.hostname, sizeof(told.hostname), "%s",
                   ((const struct vq_remote_connect_get_hostname_ret *)ret)->hostname);
}

static int start(void **state)
{
    (void)state;
    memset(&told, 0, sizeof(told));
    fake_node_start(&node);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    if (told.peer != NULL)
        told.peer->class->close(told.peer);
    fake_node_stop(&node);
    return 0;
}

static bool is_opened(void *data)
{
    (void)data;
    return told.n > 0;
}

static bool is_called(void *data)
{
    (void)data;
    return told.n_called > 0;
}

static void open_and_wait(const char *uri)
{
    vq_peer_client_open(&node.daemon, uri, opened, NULL);
    assert_int_equal(told.n, 0);
    fake_node_run_until(&node, is_opened, NULL);
    assert_int_equal(told.n, 1);
}

static void a_socket_leads_to_its_daemon(void **state)
{
    VQ_AUTOFREE char *uri = vq_asprintf("qemu+unix:///system?socket=%s/lrun/libvirt-sock", node.dir);

    (void)state;
    open_and_wait(uri);
    assert_int_equal(told.err.code, VIR_ERR_OK);
    assert_non_null(told.peer);
    assert_int_equal(told.peer->node, 0);
    assert_string_equal(told.peer->name, uri);
    told.peer->class->call(told.peer, VQ_PROGRAM_REMOTE, VQ_REMOTE_CONNECT_GET_HOSTNAME, NULL, 1000, called, NULL);
    fake_node_run_until(&node, is_called, NULL);
    assert_string_not_equal(told.hostname, "");
}

static void the_daemons_own_refusal_is_the_reason(void **state)
{
    VQ_AUTOFREE char *uri = vq_asprintf("qemu+unix:///session?socket=%s/lrun/libvirt-sock", node.dir);

    (void)state;
    open_and_wait(uri);
    assert_int_equal(told.err.code, VIR_ERR_INTERNAL_ERROR);
    assert_int_equal(told.err.from, VIR_FROM_QEMU);
    assert_non_null(strstr(told.err.message, "/session"));
}

/* A port that was free a moment ago. */
static uint16_t free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    assert_int_equal(close(fd), 0);
    return ntohs(address.sin_port);
}

static void nobody_there_says_where_and_why(void **state)
{
    uint16_t port = free_port();
    VQ_AUTOFREE char *uri = vq_asprintf("qemu+tcp://127.0.0.1:%u/system", port);
    VQ_AUTOFREE char *expected =
        vq_asprintf("unable to connect to server at '127.0.0.1:%u': Connection refused", port);

    (void)state;
    open_and_wait(uri);
    assert_int_equal(told.err.code, VIR_ERR_SYSTEM_ERROR);
    assert_int_equal(told.err.from, VIR_FROM_RPC);
    assert_string_equal(told.err.message, expected);
}

static void no_socket_and_no_certificates_are_told_by_their_paths(void **state)
{
    static const struct {
        const char *uri, *word;
        int code;
    } cases[] = {
        {"qemu+unix:///system?socket=/nowhere/sock", "'/nowhere/sock': No such file", VIR_ERR_SYSTEM_ERROR},
        {"qemu+unix:///system?socket=relative", "relative", VIR_ERR_INVALID_ARG},
        {"nonsense", "nonsense", VIR_ERR_INVALID_ARG},
        {"qemu+tcp://no.such.host.invalid/system", "no.such.host.invalid", VIR_ERR_SYSTEM_ERROR},
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        memset(&told, 0, sizeof(told));
        open_and_wait(cases[i].uri);
        assert_int_equal(told.err.code, cases[i].code);
        if (strstr(told.err.message, cases[i].word) == NULL)
            fail_msg("%s", told.err.message);
    }
}

static int listen_on(uint16_t *ret_port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, length), 0);
    assert_int_equal(listen(fd, 5), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    *ret_port = ntohs(address.sin_port);
    return fd;
}

static void tls_without_an_authority_is_refused_before_a_word_is_said(void **state)
{
    uint16_t port;
    int fd = listen_on(&port);
    VQ_AUTOFREE char *uri = vq_asprintf("qemu+tls://127.0.0.1:%u/system", port);

    (void)state;
    open_and_wait(uri);
    assert_int_equal(told.err.code, VIR_ERR_SYSTEM_ERROR);
    assert_non_null(strstr(told.err.message, "/pki/CA/cacert.pem"));
    assert_int_equal(close(fd), 0);
}

static void stopping_fails_what_is_being_opened(void **state)
{
    uint16_t port;
    int fd = listen_on(&port); /* accepts and stays silent */
    VQ_AUTOFREE char *uri = vq_asprintf("qemu+tcp://127.0.0.1:%u/system", port);

    (void)state;
    vq_peer_client_open(&node.daemon, uri, opened, NULL);
    vq_peer_client_open(&node.daemon, "qemu+tcp://no.such.host.invalid/system", opened, NULL);
    vq_peer_client_open(&node.daemon, "qemu+ssh://127.0.0.1:1/system", opened, NULL);
    fake_node_run_ms(&node, 50);
    vq_peer_client_open(&node.daemon, uri, opened, NULL);
    vq_peer_client_stop(&node.daemon);
    assert_int_equal(told.n, 4);
    assert_null(node.daemon.peer_openings);
    assert_int_equal(close(fd), 0);
}

static void ssh_tells_in_its_own_words_what_is_wrong(void **state)
{
    VQ_AUTOFREE char *uri = vq_asprintf("qemu+ssh://127.0.0.1:%u/system", free_port());

    (void)state;
    if (access("/usr/bin/ssh", X_OK) != 0)
        skip();
    open_and_wait(uri);
    assert_int_equal(told.err.from, VIR_FROM_RPC);
    if (strstr(told.err.message, "Connection refused") == NULL || strstr(told.err.message, uri) == NULL)
        fail_msg("%s", told.err.message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(uris_are_read_as_clients_read_them),
        cmocka_unit_test(uris_that_would_do_harm_are_refused),
#define TEST(name) cmocka_unit_test_setup_teardown(name, start, stop)
        TEST(a_socket_leads_to_its_daemon),
        TEST(the_daemons_own_refusal_is_the_reason),
        TEST(nobody_there_says_where_and_why),
        TEST(no_socket_and_no_certificates_are_told_by_their_paths),
        TEST(tls_without_an_authority_is_refused_before_a_word_is_said),
        TEST(stopping_fails_what_is_being_opened),
        TEST(ssh_tells_in_its_own_words_what_is_wrong),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
