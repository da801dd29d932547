/* What `virtquorum check` finds, on a host that is a directory of the test, and of a status of the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "node/cli/check.h"

static char root[] = "/tmp/check.XXXXXX";

static void shell(const char *words)
{
    VQ_AUTOFREE char *command = vq_asprintf("cd %s && %s", root, words);

    assert_int_equal(system(command), 0);
}

static int make_root(void **state)
{
    (void)state;
    return mkdtemp(root) == NULL ? -1 : 0;
}

static int remove_root(void **state)
{
    VQ_AUTOFREE char *command = vq_asprintf("rm -rf %s", root);

    (void)state;
    return system(command);
}

/* The first finding about the subject whose text has the words; fails when there is none. */
static const struct check_finding *find(const struct check_findings *findings, const char *subject, const char *words)
{
    for (size_t i = 0; i < findings->n_items; i++)
        if (strcmp(findings->items[i].subject, subject) == 0 && strstr(findings->items[i].text, words) != NULL)
            return &findings->items[i];
    fail_msg("nothing about %s: %s", subject, words);
    return NULL;
}

static void expect(const struct check_findings *findings, const char *subject, const char *words,
                   enum check_grade grade)
{
    const struct check_finding *finding = find(findings, subject, words);

    assert_int_equal(finding->grade, grade);
    if (grade != CHECK_PASS)
        assert_non_null(finding->remedy);
}

static void a_host_that_has_nothing_is_told_what_to_do(void **state)
{
    struct check_findings findings = {0};

    (void)state;
    check_host(&findings, root);
    expect(&findings, "kvm", "there is no /dev/kvm", CHECK_WARN);
    expect(&findings, "iommu", "not in use", CHECK_WARN);
    expect(&findings, "tun", "there is no /dev/net/tun", CHECK_WARN);
    expect(&findings, "cgroups", "no controller memory", CHECK_WARN);
    expect(&findings, "emulator", "there is no qemu-system-", CHECK_FAIL);
    expect(&findings, "directory", "/var/lib/virtquorum", CHECK_WARN);
    check_done(&findings);
}

static void what_is_there_is_found_and_what_is_open_to_others_fails(void **state)
{
    struct check_findings findings = {0};

    (void)state;
    shell(
        "mkdir -p dev/net sys/kernel/iommu_groups/1 sys/fs/cgroup usr/bin var/lib/virtquorum etc/libvirt && touch "
        "dev/kvm dev/net/tun &&"
        "echo 'cpuset cpu memory' > sys/fs/cgroup/cgroup.controllers && cp /bin/true usr/bin/qemu-system-$(uname -m) &&"
        "chmod 700 var/lib/virtquorum && chmod 777 etc/libvirt");
    check_host(&findings, root);
    expect(&findings, "kvm", "can be opened", CHECK_PASS);
    expect(&findings, "iommu", "1 groups", CHECK_PASS);
    expect(&findings, "cgroups", "controller memory", CHECK_PASS);
    expect(&findings, "cgroups", "controller devices", CHECK_PASS); /* of version 2, which has no file for it */
    expect(&findings, "emulator", "/usr/bin/qemu-system-", CHECK_PASS);
    expect(&findings, "directory", "/var/lib/virtquorum: mode 0700", CHECK_PASS);
    expect(&findings, "directory", "/etc/libvirt: owner", CHECK_FAIL);
    assert_non_null(strstr(find(&findings, "directory", "/etc/libvirt: owner")->remedy, "chmod 0755 /etc/libvirt"));
    check_done(&findings);
}

static void a_cluster_is_judged_by_its_nodes_clocks_and_certificates(void **state)
{
    Vq__ClusterStatus status = VQ__CLUSTER_STATUS__INIT;
    Vq__NodeStatus nodes[3] = {VQ__NODE_STATUS__INIT, VQ__NODE_STATUS__INIT, VQ__NODE_STATUS__INIT};
    Vq__NodeRecord records[3] = {VQ__NODE_RECORD__INIT, VQ__NODE_RECORD__INIT, VQ__NODE_RECORD__INIT};
    Vq__NodeStatus *list[] = {&nodes[0], &nodes[1], &nodes[2]};
    static char *const names[] = {"node1", "node2", "node3"};
    const long now = 1000000000, day = 24 * 3600;
    struct check_findings findings = {0};

    (void)state;
    for (size_t i = 0; i < 3; i++) {
        records[i].id = i + 1;
        records[i].name = names[i];
        nodes[i].record = &records[i];
        nodes[i].certificate_expires_s = now + 100 * day;
    }
    nodes[1].online = true;
    nodes[1].clock_offset_ms = -40000;
    nodes[1].certificate_expires_s = now + 3 * day;
    status.self = 1;
    status.has_quorum = true;
    status.voters_total = 3;
    status.voters_reachable = 2;
    status.store_ok = true;
    status.nodes = list;
    status.n_nodes = 3;
    check_status(&findings, &status, now);
    expect(&findings, "quorum", "2 of 3 voters", CHECK_WARN);
    expect(&findings, "node", "node1 is online, this one", CHECK_PASS);
    expect(&findings, "node", "node3 cannot be reached", CHECK_FAIL);
    expect(&findings, "clock", "node2 is 40000 ms behind", CHECK_FAIL);
    expect(&findings, "certificate", "node2's is good for 3 days", CHECK_WARN);
    expect(&findings, "certificate", "node1's is good for 100 days", CHECK_PASS);
    check_done(&findings);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_host_that_has_nothing_is_told_what_to_do),
        cmocka_unit_test(what_is_there_is_found_and_what_is_open_to_others_fails),
        cmocka_unit_test(a_cluster_is_judged_by_its_nodes_clocks_and_certificates),
    };

    return cmocka_run_group_tests(tests, make_root, remove_root);
}
