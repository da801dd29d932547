/* A source whose QEMU hangs sends nothing any more, and its connection stays: the kernel knows when data last came.
 *
 * Loading takes as long as sending does, so its deadline counts from the last data, not from its begin. QEMU does not tell how
 * much has come before all has. */
#define VQ_FROM VIR_FROM_QEMU

#include <errno.h>
#include <libvirt/libvirt.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <netinet/tcp.h>
#include <stddef.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/base/log.h"
#include "conf/base/macros.h"
#include "conf/base/memory.h"
#include "drivers/qemu/migrate_in.h"

enum { ANSWER_BYTES = 32768, ANSWERS_MAX = 64, ESTABLISHED = 1 << TCP_ESTABLISHED,
       AGE_AT = offsetof(struct tcp_info, tcpi_last_data_recv) };

/* ---- The kernel's word ---- */

struct question {
    struct nlmsghdr header;
    struct inet_diag_req_v2 request;
    struct nlattr filter_header;
    struct inet_diag_bc_op filter[4]; /* the local port, from and to */
};

static int ask(int fd, int family, uint16_t port)
{
    struct question question = {
        .header = { .nlmsg_len = sizeof(question), .nlmsg_type = SOCK_DIAG_BY_FAMILY,
                    .nlmsg_flags = NLM_F_REQUEST | NLM_F_DUMP },
        .request = { .sdiag_family = (uint8_t)family, .sdiag_protocol = IPPROTO_TCP, .idiag_states = ESTABLISHED,
                     .idiag_ext = 1 << (INET_DIAG_INFO - 1) },
        .filter_header = { .nla_len = sizeof(question.filter_header) + sizeof(question.filter),
                           .nla_type = INET_DIAG_REQ_BYTECODE },
        .filter = { { INET_DIAG_BC_S_GE, 8, 20 }, { 0, 0, port }, { INET_DIAG_BC_S_LE, 8, 12 }, { 0, 0, port } },
    };

    return send(fd, &question, sizeof(question), 0) == sizeof(question) ? 0 : -1;
}

/* How long ago data came to the socket, in ms; UINT64_MAX: it does not say. */
static uint64_t age_of(const struct nlmsghdr *header)
{
    const struct inet_diag_msg *message = NLMSG_DATA(header);
    const size_t begin = NLMSG_LENGTH(sizeof(*message));
    size_t length = header->nlmsg_len >= begin ? header->nlmsg_len - begin : 0;
    const char *at = (const char *)(message + 1);
    uint32_t age;
    struct nlattr attribute;

    while (length >= sizeof(attribute)) {
        memcpy(&attribute, at, sizeof(attribute));
        if (attribute.nla_len < sizeof(attribute) || attribute.nla_len > length)
            break;
        if (attribute.nla_type == INET_DIAG_INFO &&
            attribute.nla_len >= sizeof(attribute) + AGE_AT + sizeof(age)) {
            memcpy(&age, at + sizeof(attribute) + AGE_AT, sizeof(age));
            return age;
        }
        size_t step = NLA_ALIGN(attribute.nla_len);
        if (step > length)
            break;
        at += step;
        length -= step;
    }
    return UINT64_MAX;
}

/* 1: that was all; 0: more is to come; -1: it went wrong. */
static int take(const char *bytes, size_t length, uint64_t *youngest)
{
    const struct nlmsghdr *header = (const struct nlmsghdr *)(const void *)bytes;

    for (; NLMSG_OK(header, length); header = NLMSG_NEXT(header, length)) {
        uint64_t age;

        if (header->nlmsg_type == NLMSG_DONE)
            return 1;
        if (header->nlmsg_type == NLMSG_ERROR)
            return -1;
        age = age_of(header);
        *youngest = age < *youngest ? age : *youngest;
    }
    return 0;
}

static int look(int family, uint16_t port, uint64_t *youngest)
{
    VQ_AUTOCLOSE int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, NETLINK_SOCK_DIAG);
    char answer[ANSWER_BYTES] __attribute__((aligned(NLMSG_ALIGNTO)));
    int rc = fd < 0 ? -1 : ask(fd, family, port);

    for (int i = 0; rc == 0 && i < ANSWERS_MAX; i++) {
        ssize_t length = recv(fd, answer, sizeof(answer), 0);

        rc = length <= 0 ? -1 : take(answer, (size_t)length, youngest);
    }
    return rc > 0 ? 0 : -1;
}

bool vq_incoming_data_age(uint16_t port, uint64_t *ret_ms)
{
    uint64_t youngest = UINT64_MAX;

    if (look(AF_INET, port, &youngest) < 0 || look(AF_INET6, port, &youngest) < 0)
        return false;
    *ret_ms = youngest;
    return true;
}

/* ---- The watch ---- */

static void watch_again(uv_timer_t *timer)
{
    vq_incoming_watch(timer->data);
}

void vq_incoming_watch(struct vq_incoming *incoming)
{
    struct vq_qemu_guest *guest = incoming->guest;
    uint64_t age = 0, loading = uv_now(guest->qemu->host->loop) - incoming->loads_since;
    struct vq_error err = VQ_ERROR_INIT;

    if (guest->migration->stage != VQ_MIGRATE_LOADING || incoming->wants_end || incoming->port == 0)
        return; /* of a tunnel it is known elsewhere when it ends */
    if (!vq_incoming_data_age(incoming->port, &age))
        age = 0; /* nothing is known: nothing is ended for it */
    if (age < VQ_INCOMING_SILENT_MS || loading < VQ_INCOMING_SILENT_MS) {
        (void)uv_timer_start(incoming->timer, watch_again, VQ_INCOMING_WATCH_MS, 0);
        return;
    }
    (void)vq_error_set(&err, VIR_ERR_OPERATION_TIMEOUT, "QEMU of the source has sent nothing of domain '%s' for %d s",
                       guest->name, VQ_INCOMING_SILENT_MS / 1000);
    vq_incoming_give_up(guest, &err);
}
