/* Which node a host of a URI is. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "node/cluster/cluster.h"
#include "node/cluster/cluster_state.h"

enum { SELF = 1, OTHER = 2 };

static char *own_addresses[] = {"10.0.0.1:16520", "[fd00::1]:16520", NULL};
static char *other_addresses[] = {"10.0.0.2:16520", "[fd00::2]:17000", NULL};
static char *no_addresses[] = {NULL};

static struct vq_daemon daemon_;
static struct vq_cluster cluster;
static struct vq_cluster_member members[3];
static Vq__LocalNode self;

static int start(void **state)
{
    (void)state;
    vq__local_node__init(&self);
    members[0] = (struct vq_cluster_member){.id = SELF, .name = "alpha", .addresses = own_addresses};
    members[1] = (struct vq_cluster_member){.id = OTHER, .name = "beta", .addresses = other_addresses};
    members[2] = (struct vq_cluster_member){.id = 3, .name = "gone", .addresses = no_addresses, .removed_at_ms = 7};
    cluster = (struct vq_cluster){.daemon = &daemon_, .self = &self, .members = members, .n_members = 3};
    daemon_ = (struct vq_daemon){.node_id = SELF, .node_name = (char *)"alpha", .cluster = &cluster};
    return 0;
}

static void expect(uint64_t node, const char *host)
{
    uint64_t found = vq_cluster_find_node(&daemon_, host);

    if (found != node)
        fail_msg("'%s' is node %d, not %d", host, (int)found, (int)node);
}

static void a_node_has_its_name(void **state)
{
    (void)state;
    expect(SELF, "alpha");
    expect(OTHER, "beta");
    expect(OTHER, "BETA");
    expect(0, "bet");
    expect(0, "betamax");
    expect(0, "");
    assert_int_equal(vq_cluster_find_node(&daemon_, NULL), 0);
}

static void a_name_with_a_strange_domain_is_another_host(void **state)
{
    char host[300], own[256] = "";
    const char *domain;

    (void)state;
    expect(0, "beta.elsewhere.invalid");
    expect(0, "beta.");
    assert_int_equal(gethostname(own, sizeof(own) - 1), 0);
    expect(SELF, own);
    domain = strchr(own, '.');
    if (domain == NULL)
        return; /* this host has none: nothing else to try */
    (void)snprintf(host, sizeof(host), "beta%s", domain);
    expect(OTHER, host);
}

static void a_node_has_its_addresses(void **state)
{
    (void)state;
    expect(OTHER, "10.0.0.2");
    expect(OTHER, "10.0.0.2:16520");
    expect(0, "10.0.0.2:22");
    expect(OTHER, "fd00::2");
    expect(OTHER, "[fd00::2]");
    expect(OTHER, "[fd00::2]:17000");
    expect(OTHER, "fd00:0:0:0:0:0:0:2"); /* the same one */
    expect(SELF, "10.0.0.1");
    expect(0, "10.0.0.9");
    expect(0, "[");
    expect(0, "[]");
}

static void an_address_that_two_share_does_not_tell(void **state)
{
    static char *one[] = {"127.0.0.1:1", NULL}, *two[] = {"127.0.0.1:2", NULL};

    (void)state;
    members[0].addresses = one;
    members[1].addresses = two;
    expect(0, "127.0.0.1");
    expect(SELF, "127.0.0.1:1");
    expect(OTHER, "127.0.0.1:2");
}

static void who_was_removed_is_not_found(void **state)
{
    (void)state;
    expect(0, "gone");
}

static void a_lone_node_finds_itself_only(void **state)
{
    (void)state;
    cluster.n_members = 0;
    self.addresses = own_addresses;
    self.n_addresses = 2;
    expect(SELF, "alpha");
    expect(SELF, "10.0.0.1");
    expect(0, "beta");
    assert_string_equal(vq_cluster_node_name(&daemon_, SELF), "alpha");
    assert_null(vq_cluster_node_name(&daemon_, OTHER));
    char *address = vq_cluster_node_address(&daemon_, SELF);
    assert_string_equal(address, "10.0.0.1");
    free(address);
    assert_null(vq_cluster_node_address(&daemon_, OTHER));
}

static void others_have_names_and_addresses(void **state)
{
    (void)state;
    assert_string_equal(vq_cluster_node_name(&daemon_, OTHER), "beta");
    char *address = vq_cluster_node_address(&daemon_, OTHER);
    assert_string_equal(address, "10.0.0.2");
    free(address);
    members[1].addresses = &other_addresses[1];
    address = vq_cluster_node_address(&daemon_, OTHER);
    assert_string_equal(address, "fd00::2");
    free(address);
    members[1].addresses = no_addresses;
    assert_null(vq_cluster_node_address(&daemon_, OTHER));
}

#define CASE(name) cmocka_unit_test_setup(name, start)
int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(a_node_has_its_name),
        CASE(a_name_with_a_strange_domain_is_another_host),
        CASE(a_node_has_its_addresses),
        CASE(an_address_that_two_share_does_not_tell),
        CASE(who_was_removed_is_not_found),
        CASE(a_lone_node_finds_itself_only),
        CASE(others_have_names_and_addresses),
    };
    return cmocka_run_group_tests_name("find", tests, NULL, NULL);
}
