/* What the daemon knows: whether the cluster is whole, clocks, certificates; and whether its ports can be reached. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <netdb.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "node/cli/check.h"
#include "node/cluster/join.h"

enum { CLOCK_WARN_MS = 500, EXPIRES_WARN_DAYS = 30, DAY_S = 24 * 3600, PORT_MS = 2000 };

static void check_clock(struct check_findings *findings, const Vq__NodeStatus *node)
{
    int64_t off = node->clock_offset_ms < 0 ? -node->clock_offset_ms : node->clock_offset_ms;
    enum check_grade grade = off > VQ_JOIN_CLOCK_MS ? CHECK_FAIL : off > CLOCK_WARN_MS ? CHECK_WARN : CHECK_PASS;

    check_add(findings, grade, "clock", grade == CHECK_PASS ? NULL : "run a time service (chrony) on both",
              "%s is %" PRId64 " ms %s", node->record->name, off, node->clock_offset_ms < 0 ? "behind" : "ahead");
}

static void check_certificate(struct check_findings *findings, const Vq__NodeStatus *node, long now_s)
{
    int64_t days = (node->certificate_expires_s - now_s) / DAY_S;

    if (node->certificate_expires_s == 0)
        return; /* not known */
    if (node->certificate_expires_s <= now_s)
        check_add(findings, CHECK_FAIL, "certificate", "virtquorum leave and join again on that node",
                  "%s's has expired", node->record->name);
    else
        check_add(findings, days < EXPIRES_WARN_DAYS ? CHECK_WARN : CHECK_PASS, "certificate",
                  days < EXPIRES_WARN_DAYS ? "it is renewed when the node joins" : NULL,
                  "%s's is good for %" PRId64 " days", node->record->name, days);
}

static void check_node(struct check_findings *findings, const Vq__NodeStatus *node, bool is_self, long now_s)
{
    if (!is_self && !node->online)
        check_add(findings, CHECK_FAIL, "node", "look whether it runs, and whether its port is open",
                  "%s cannot be reached", node->record->name);
    else if (node->consensus_stopped)
        check_add(findings, CHECK_FAIL, "node", "read the log of virtquorumd there",
                  "%s takes no part in consensus: %s", node->record->name, node->consensus_problem);
    else
        check_add(findings, CHECK_PASS, "node", NULL, "%s is online%s", node->record->name,
                  is_self ? ", this one" : "");
    if (!is_self && node->online)
        check_clock(findings, node);
    check_certificate(findings, node, now_s);
}

void check_status(struct check_findings *findings, const Vq__ClusterStatus *status, long now_s)
{
    if (status->standalone) {
        check_add(findings, CHECK_PASS, "cluster", NULL, "this host is in none");
        return;
    }
    if (status->has_quorum)
        check_add(findings, status->can_lose > 0 || status->voters_total < 3 ? CHECK_PASS : CHECK_WARN, "quorum",
                  status->can_lose > 0 || status->voters_total < 3 ? NULL : "bring the missing nodes back",
                  "%u of %u voters, can lose %u more", status->voters_reachable, status->voters_total,
                  status->can_lose);
    else
        check_add(findings, CHECK_FAIL, "quorum", "virtquorum status --why", "%u of %u voters: nothing can be changed",
                  status->voters_reachable, status->voters_total);
    if (!status->store_ok)
        check_add(findings, CHECK_FAIL, "store", "make room, or mend the disk", "%s", status->store_problem);
    for (size_t i = 0; i < status->n_nodes; i++)
        check_node(findings, status->nodes[i], status->nodes[i]->record->id == status->self, now_s);
}

/* ---- Ports ---- */

/* "10.0.0.1:16520", "[::1]:16520" */
static bool resolve(const char *address, struct addrinfo **ret)
{
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV, .ai_socktype = SOCK_STREAM};
    const char *colon = strrchr(address, ':');
    size_t length = colon == NULL ? 0 : (size_t)(colon - address);
    bool is_bracketed = length > 2 && address[0] == '[' && address[length - 1] == ']';

    if (colon == NULL)
        return false;
    VQ_AUTOFREE char *host = is_bracketed ? vq_strndup(address + 1, length - 2) : vq_strndup(address, length);
    return getaddrinfo(host, colon + 1, &hints, ret) == 0;
}

/* 0, or an errno. */
static int try_connect(const struct addrinfo *to)
{
    VQ_AUTOCLOSE int fd = socket(to->ai_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    struct pollfd poller = {.fd = fd, .events = POLLOUT};
    socklen_t size = sizeof(int);
    int error = 0;

    if (fd < 0)
        return errno;
    if (connect(fd, to->ai_addr, to->ai_addrlen) == 0)
        return 0;
    if (errno != EINPROGRESS)
        return errno;
    if (poll(&poller, 1, PORT_MS) != 1)
        return ETIMEDOUT;
    return getsockopt(fd, SOL_SOCKET, SO_ERROR, &error, &size) < 0 ? errno : error;
}

void check_ports(struct check_findings *findings, const Vq__ClusterStatus *status)
{
    for (size_t i = 0; !status->standalone && i < status->n_nodes; i++) {
        const Vq__NodeRecord *record = status->nodes[i]->record;
        struct addrinfo *to = NULL;

        if (record->n_addresses == 0 || !resolve(record->addresses[0], &to))
            continue;
        int error = try_connect(to);
        freeaddrinfo(to);
        if (error == 0)
            check_add(findings, CHECK_PASS, "port", NULL, "%s, of %s, can be reached", record->addresses[0],
                      record->name);
        else
            check_add(findings, CHECK_FAIL, "port", "open it in the firewalls of both, and start virtquorumd there",
                      "%s, of %s: %s", record->addresses[0], record->name, strerror(error));
    }
}
