/* Sockets: modes, stale files, retries, TLS with good and bad certificates. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "node/client/listener.h"
#include "node/client/session.h"
#include "proto/channel.h"
#include "proto/pki.h"
#include "proto/tls.h"
#include "tests/unit/fake_client.h"
#include "tests/unit/fake_node.h"

static struct fake_node node;

static int start(void **state)
{
    (void)state;
    (void)umask(077);
    vq_qemu_driver.n_rows = 0;
    fake_node_start(&node);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fake_node_stop(&node);
    return 0;
}

static mode_t mode_of(const char *name)
{
    char path[256];
    struct stat status;

    (void)snprintf(path, sizeof(path), "%s/%s", node.dir, name);
    assert_int_equal(stat(path, &status), 0);
    return status.st_mode & 0777;
}

static void each_socket_has_its_mode_whatever_the_umask(void **state)
{
    (void)state;
    assert_int_equal(mode_of("lrun/libvirt-sock"), 0700);
    assert_int_equal(mode_of("lrun/libvirt-sock-ro"), 0777);
    assert_int_equal(mode_of("lrun/libvirt-admin-sock"), 0700);
    assert_int_equal(mode_of("run/node/libvirt-sock"), 0700);
    assert_int_equal(mode_of("lrun"), 0755);
    assert_int_equal(mode_of("state"), 0700);
}

static void restart_listeners(void)
{
    vq_listeners_stop(node.daemon.listeners);
    fake_node_run_ms(&node, 5);
    node.daemon.listeners = vq_listeners_new(&node.daemon);
}

static int bind_socket(const char *name, bool listens)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s/%s", node.dir, name);
    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    if (listens)
        assert_int_equal(listen(fd, 5), 0);
    return fd;
}

static void a_stale_socket_is_replaced_and_a_living_one_is_not(void **state)
{
    struct fake_client client;

    (void)state;
    vq_listeners_stop(node.daemon.listeners);
    fake_node_run_ms(&node, 5);
    (void)close(bind_socket("lrun/libvirt-sock", true));   /* its owner has died */
    int other = bind_socket("lrun/libvirt-sock-ro", true); /* this one lives */
    node.daemon.listeners = vq_listeners_new(&node.daemon);
    fake_client_connect(&client, &node, "lrun/libvirt-sock");
    fake_client_open(&client, "");
    fake_client_close(&client);
    fake_client_connect(&client, &node, "lrun/libvirt-sock-ro");
    assert_false(fake_client_hears(&client, 20));
    fake_client_close(&client);
    (void)close(other); /* and is ours within a second or two */
    fake_node_run_ms(&node, 2200);
    fake_client_connect(&client, &node, "lrun/libvirt-sock-ro");
    fake_client_open(&client, "");
    fake_client_close(&client);
}

static void something_that_is_no_socket_is_left_alone(void **state)
{
    char path[256];
    struct stat status;

    (void)state;
    vq_listeners_stop(node.daemon.listeners);
    fake_node_run_ms(&node, 5);
    (void)snprintf(path, sizeof(path), "%s/lrun/libvirt-sock", node.dir);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_int_equal(fclose(file), 0);
    node.daemon.listeners = vq_listeners_new(&node.daemon);
    assert_int_equal(stat(path, &status), 0);
    assert_true(S_ISREG(status.st_mode));
}

static void an_authentication_that_is_not_served_closes_its_socket(void **state)
{
    char path[256];

    (void)state;
    node.daemon.config.auth_unix_rw = vq_strdup("sasl");
    node.daemon.config.auth_unix_ro = vq_strdup("polkit"); /* open to all, so polkit would be needed */
    restart_listeners();
    (void)snprintf(path, sizeof(path), "%s/lrun/libvirt-sock", node.dir);
    assert_int_equal(access(path, F_OK), -1);
    (void)snprintf(path, sizeof(path), "%s/lrun/libvirt-sock-ro", node.dir);
    assert_int_equal(access(path, F_OK), -1);
}

/* ---- TCP and TLS ---- */

static char *free_port(void)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(address);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_int_equal(bind(fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &length), 0);
    (void)close(fd);
    return vq_asprintf("%u", ntohs(address.sin_port));
}

static int dial(const char *host, const char *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)atoi(port))};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    address.sin_addr.s_addr = inet_addr(host);
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    (void)close(fd);
    return -1;
}

static void plain_tcp_without_authentication_is_on_loopback_only(void **state)
{
    (void)state;
    free(node.daemon.config.tcp_port);
    node.daemon.config.tcp_port = free_port();
    node.daemon.config.listen_tcp = true;
    restart_listeners();
    int fd = dial("127.0.0.1", node.daemon.config.tcp_port);
    assert_true(fd >= 0);
    (void)close(fd);
    assert_int_equal(dial("127.0.0.2", node.daemon.config.tcp_port), -1);
    node.daemon.config.listen_addr = vq_strdup("0.0.0.0"); /* refused: nobody has allowed it */
    restart_listeners();
    assert_int_equal(dial("127.0.0.2", node.daemon.config.tcp_port), -1);
    node.daemon.config.tcp_without_auth = true;
    restart_listeners();
    fd = dial("127.0.0.2", node.daemon.config.tcp_port);
    assert_true(fd >= 0);
    (void)close(fd);
}

static void write_pem(const char *name, const char *pem)
{
    char path[256];

    (void)snprintf(path, sizeof(path), "%s/pki/%s", node.dir, name);
    FILE *file = fopen(path, "w");
    assert_non_null(file);
    assert_true(fputs(pem, file) >= 0);
    assert_int_equal(fclose(file), 0);
}

struct authority {
    char *key, *certificate;
};

static void authority_new(struct authority *authority)
{
    assert_int_equal(vq_pki_key_new(&authority->key, NULL), 0);
    assert_int_equal(vq_pki_authority_new("test", authority->key, 10, &authority->certificate, NULL), 0);
}

static void authority_done(struct authority *authority)
{
    free(authority->key);
    free(authority->certificate);
}

static void sign(const struct authority *authority, uint64_t node_id, const char *name, char **ret_key,
                 char **ret_certificate)
{
    VQ_AUTOFREE char *request = NULL;
    const char *addresses[] = {"127.0.0.1", NULL};

    assert_int_equal(vq_pki_key_new(ret_key, NULL), 0);
    assert_int_equal(vq_pki_request_new(*ret_key, name, &request, NULL), 0);
    assert_int_equal(vq_pki_sign(request, authority->certificate, authority->key, node_id, name, addresses, 10,
                                 ret_certificate, NULL),
                     0);
}

struct tls_client {
    uint8_t first[16];
    size_t n_first;
    bool has_ended;
};

static size_t client_received(struct vq_channel *channel, const uint8_t *bytes, size_t length, size_t *wanted,
                              void *data)
{
    struct tls_client *client = data;

    (void)channel;
    (void)wanted;
    for (size_t i = 0; i < length && client->n_first < sizeof(client->first); i++)
        client->first[client->n_first++] = bytes[i];
    return length;
}

static void client_ended(struct vq_channel *channel, const struct vq_error *err, void *data)
{
    (void)channel;
    (void)err;
    ((struct tls_client *)data)->has_ended = true;
}

static bool has_heard(void *data)
{
    const struct tls_client *client = data;

    return client->n_first > 0 || client->has_ended;
}

/* True when the daemon sent the byte that lets the client in. certificate NULL: come without one. */
static bool is_let_in(const struct authority *trusted, const char *certificate, const char *key)
{
    static const struct vq_channel_callbacks callbacks = {.received = client_received, .ended = client_ended};
    struct vq_channel_options options = {.input_max_bytes = 4096};
    const struct vq_tls_options tls_options = {.verify = VQ_TLS_VERIFY_PEER};
    struct vq_tls_credentials *credentials = NULL;
    struct vq_tls_session *tls = NULL;
    struct tls_client client = {0};

    assert_int_equal(vq_tls_credentials_new(trusted->certificate, certificate, key, NULL, &credentials, NULL), 0);
    assert_int_equal(vq_tls_session_new(credentials, &tls_options, &tls, NULL), 0);
    int fd = dial("127.0.0.1", node.daemon.config.tls_port);
    assert_true(fd >= 0);
    struct vq_channel *channel = vq_channel_open(&node.loop, fd, tls, &options, &callbacks, &client);
    fake_node_run_until(&node, has_heard, &client);
    vq_channel_close(channel, 0);
    vq_tls_credentials_free(credentials);
    fake_node_run_ms(&node, 5);
    return client.n_first == 1 && client.first[0] == 1;
}

static void tls_lets_in_who_has_a_certificate_of_the_authority(void **state)
{
    struct authority ours, other;
    VQ_AUTOFREE char *server_key = NULL, *server = NULL, *good_key = NULL, *good = NULL, *bad_key = NULL, *bad = NULL;
    char *allowed[] = {NULL, NULL};

    (void)state;
    authority_new(&ours);
    authority_new(&other);
    sign(&ours, 1, "node1", &server_key, &server);
    sign(&ours, 0, "alice", &good_key, &good);
    sign(&other, 0, "alice", &bad_key, &bad);
    for (size_t i = 0; i < 4; i++) {
        static const char *const dirs[] = {"pki", "pki/CA", "pki/libvirt", "pki/libvirt/private"};
        char path[256];
        (void)snprintf(path, sizeof(path), "%s/%s", node.dir, dirs[i]);
        assert_true(mkdir(path, 0700) == 0 || errno == EEXIST);
    }
    free(node.daemon.config.tls_port);
    node.daemon.config.tls_port = free_port();
    restart_listeners();
    assert_int_equal(dial("127.0.0.1", node.daemon.config.tls_port), -1); /* no certificates, no port */
    write_pem("CA/cacert.pem", ours.certificate);
    write_pem("libvirt/servercert.pem", server);
    write_pem("libvirt/private/serverkey.pem", server_key);
    fake_node_run_ms(&node, 2200); /* found without a restart */

    assert_true(is_let_in(&ours, good, good_key));
    assert_false(is_let_in(&ours, bad, bad_key));
    assert_false(is_let_in(&ours, NULL, NULL));
    allowed[0] = (char *)"*CN=bob*";
    node.daemon.config.tls_allowed_dn = allowed;
    assert_false(is_let_in(&ours, good, good_key));
    allowed[0] = (char *)"CN=al?ce";
    assert_true(is_let_in(&ours, good, good_key));
    node.daemon.config.tls_allowed_dn = NULL;
    node.daemon.config.tls_no_verify = true;
    assert_true(is_let_in(&ours, NULL, NULL));
    assert_int_equal(vq_sessions_count(&node.daemon), 0);
    authority_done(&ours);
    authority_done(&other);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)
int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(each_socket_has_its_mode_whatever_the_umask),
        CASE(a_stale_socket_is_replaced_and_a_living_one_is_not),
        CASE(something_that_is_no_socket_is_left_alone),
        CASE(an_authentication_that_is_not_served_closes_its_socket),
        CASE(plain_tcp_without_authentication_is_on_loopback_only),
        CASE(tls_lets_in_who_has_a_certificate_of_the_authority),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
