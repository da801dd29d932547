/* Names of hosts are looked up aside from the loop, which ends although no name server answers. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <arpa/inet.h>
#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "drivers/aside.h"
#include "drivers/lookup.h"

static uv_loop_t loop;
static unsigned n_told, n_found;
static char said[256];

static void told(struct addrinfo *take_addresses, const char *why, void *data)
{
    (void)data;
    n_told++;
    (void)snprintf(said, sizeof(said), "%s", why != NULL ? why : "");
    if (take_addresses == NULL)
        return;
    n_found++;
    assert_int_equal(((const struct sockaddr_in *)(const void *)take_addresses->ai_addr)->sin_port, htons(49152));
    freeaddrinfo(take_addresses);
}

static int setup(void **state)
{
    (void)state;
    n_told = n_found = 0;
    return uv_loop_init(&loop);
}

static int teardown(void **state)
{
    (void)state;
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static void an_address_is_its_own(void **state)
{
    (void)state;
    (void)vq_lookup_start(&loop, "127.0.0.1", 49152, 5000, told, NULL);
    (void)vq_lookup_start(&loop, "::1", 49152, 5000, told, NULL);
    assert_int_equal(n_told, 0);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(n_found, 2);
}

static void what_is_no_name_is_told(void **state)
{
    (void)state;
    (void)vq_lookup_start(&loop, "no name at all", 49152, 5000, told, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(n_told, 1);
    assert_int_equal(n_found, 0);
    assert_string_not_equal(said, "");
}

/* A name server that says nothing: its socket is ours. -1: our rights do not allow it. */
static int silent_name_server(void)
{
    static const char text[] = "nameserver 127.0.0.77\noptions timeout:20 attempts:5\n";
    struct sockaddr_in address = { .sin_family = AF_INET, .sin_port = htons(53) };
    char path[] = "/tmp/vq-lookup-XXXXXX";
    int file = mkstemp(path), server = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    bool is_ready;

    assert_true(file >= 0 && write(file, text, sizeof(text) - 1) == (ssize_t)sizeof(text) - 1);
    (void)close(file);
    (void)inet_pton(AF_INET, "127.0.0.77", &address.sin_addr);
    is_ready = bind(server, (struct sockaddr *)&address, sizeof(address)) == 0 && unshare(CLONE_NEWNS) == 0 &&
               mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
               mount(path, "/etc/resolv.conf", NULL, MS_BIND, NULL) == 0;
    (void)unlink(path);
    if (is_ready)
        return server;
    (void)close(server);
    return -1;
}

static void a_name_server_that_is_silent_holds_up_no_end(void **state)
{
    int server = silent_name_server();
    uint64_t begin_ns = uv_hrtime();

    (void)state;
    if (server < 0)
        skip();
    (void)vq_lookup_start(&loop, "host.example", 49152, 100, told, NULL);
    vq_lookup_forget(vq_lookup_start(&loop, "other.example", 49152, 60000, told, NULL));
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(n_told, 1);
    assert_string_equal(said, "the name servers do not answer");
    (void)vq_lookup_start(&loop, "third.example", 49152, 60000, told, NULL);
    vq_asides_stop();
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(n_told, 2);
    assert_true(uv_hrtime() - begin_ns < 30000000000); /* not the minute that two of them would have waited */
    (void)close(server);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(an_address_is_its_own),
        TEST(what_is_no_name_is_told),
        TEST(a_name_server_that_is_silent_holds_up_no_end),
    };
#undef TEST

    return cmocka_run_group_tests(tests, NULL, NULL);
}
