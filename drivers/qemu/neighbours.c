/* The table of neighbours by netlink: see neighbours.h. Answered by the kernel within the calls; nothing is waited for. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/neighbours.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/neighbour.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/base/memory.h"

enum { READ_BYTES = 32 * 1024 };

struct table {
    struct vq_neighbour *list;
    size_t n;
};

static void take_entry(struct table *table, const struct nlmsghdr *header)
{
    const struct ndmsg *entry = NLMSG_DATA(header);
    struct vq_neighbour found = { .family = entry->ndm_family };
    int length = (int)header->nlmsg_len - (int)NLMSG_LENGTH(sizeof(*entry));
    bool has_mac = false, has_address = false;

    if ((entry->ndm_family != AF_INET && entry->ndm_family != AF_INET6) || (entry->ndm_state & (NUD_FAILED | NUD_INCOMPLETE)) != 0)
        return;
    for (const struct rtattr *one = (const void *)((const char *)entry + NLMSG_ALIGN(sizeof(*entry))); RTA_OK(one, length);
         one = RTA_NEXT(one, length)) {
        if (one->rta_type == NDA_LLADDR && RTA_PAYLOAD(one) == sizeof(found.mac)) {
            memcpy(found.mac, RTA_DATA(one), sizeof(found.mac));
            has_mac = true;
        } else if (one->rta_type == NDA_DST && RTA_PAYLOAD(one) == (entry->ndm_family == AF_INET ? 4 : 16)) {
            has_address = inet_ntop(entry->ndm_family, RTA_DATA(one), found.address, sizeof(found.address)) != NULL;
        }
    }
    if (!has_mac || !has_address || table->n == VQ_NEIGHBOURS_MAX)
        return;
    VQ_GROW(table->list, table->n);
    table->list[table->n++] = found;
}

/* 1: the table is complete. */
static int take_messages(struct table *table, const void *bytes, size_t length, struct vq_error *err)
{
    for (const struct nlmsghdr *header = bytes; NLMSG_OK(header, length); header = NLMSG_NEXT(header, length)) {
        if (header->nlmsg_type == NLMSG_DONE)
            return 1;
        if (header->nlmsg_type == NLMSG_ERROR)
            return vq_error_system(err, -((const struct nlmsgerr *)NLMSG_DATA(header))->error, "cannot read the neighbour table");
        if (header->nlmsg_type == RTM_NEWNEIGH)
            take_entry(table, header);
    }
    return 0;
}

static int read_table(int sock, struct table *table, struct vq_error *err)
{
    static _Alignas(struct nlmsghdr) char bytes[READ_BYTES]; /* one loop, and nothing is kept in it */
    struct { struct nlmsghdr header; struct ndmsg entry; } question = {
        .header = { .nlmsg_len = sizeof(question), .nlmsg_type = RTM_GETNEIGH, .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
    };
    int rc = 0;

    if (send(sock, &question, sizeof(question), 0) != (ssize_t)sizeof(question))
        return vq_error_system(err, errno, "cannot read the neighbour table");
    while (rc == 0) {
        ssize_t n = recv(sock, bytes, sizeof(bytes), MSG_DONTWAIT);

        if (n <= 0)
            return vq_error_system(err, n < 0 ? errno : EPIPE, "cannot read the neighbour table");
        rc = take_messages(table, bytes, (size_t)n, err);
    }
    return rc < 0 ? -1 : 0;
}

int vq_neighbours_read(struct vq_neighbour **ret_list, size_t *ret_n, struct vq_error *err)
{
    int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    struct table table = { 0 };
    int rc;

    if (sock < 0)
        return vq_error_system(err, errno, "cannot make a netlink socket");
    rc = read_table(sock, &table, err);
    (void)close(sock);
    if (rc < 0) {
        free(table.list);
        return -1;
    }
    *ret_list = table.list;
    *ret_n = table.n;
    return 0;
}
