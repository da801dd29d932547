/* Tap devices: see tap.h. Made by ioctl: each is one short system call in the kernel's rtnl lock, as a netlink request
 * would be. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/tap.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_link.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <net/if_arp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/text.h"
#include "conf/device.h"
#include "drivers/qemu/guest.h"

static bool is_link_name(const char *name)
{
    size_t length = strlen(name);

    if (!vq_name_is_component(name) || length >= IFNAMSIZ)
        return false;
    for (size_t i = 0; i < length; i++)
        if (!isalnum((unsigned char)name[i]) && strchr("_-.:@", name[i]) == NULL)
            return false;
    return true;
}

static bool name_is_reserved(const struct vq_qemu *qemu, const char *name)
{
    for (const struct vq_qemu_guest *guest = qemu->guests; guest != NULL; guest = guest->next)
        for (size_t i = 0; i < guest->n_taps; i++)
            if (strcmp(guest->taps[i].name, name) == 0)
                return true;
    return false;
}

static bool name_is_generated(const char *name)
{
    return strncmp(name, "vnet", 4) == 0 || strchr(name, '%') != NULL;
}

int vq_qemu_tap_choose(struct vq_qemu_guest *guest, const struct vq_interface *interface, char ret_name[16],
                       struct vq_error *err)
{
    if (interface->target != NULL && !name_is_generated(interface->target)) {
        if (!is_link_name(interface->target))
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "'%s' is no name for a network device",
                                interface->target);
        if (name_is_reserved(guest->qemu, interface->target) || if_nametoindex(interface->target) != 0)
            return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "network device '%s' exists already", interface->target);
        (void)snprintf(ret_name, IFNAMSIZ, "%s", interface->target);
        return 0;
    }
    for (unsigned number = 0; number < 100000; number++) {
        (void)snprintf(ret_name, IFNAMSIZ, "vnet%u", number);
        if (!name_is_reserved(guest->qemu, ret_name) && if_nametoindex(ret_name) == 0)
            return 0;
    }
    return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "no free name for a tap device");
}

static int link_request(int sock, const char *name, struct ifreq *request, unsigned long number)
{
    (void)snprintf(request->ifr_name, IFNAMSIZ, "%s", name);
    return ioctl(sock, number, request);
}

/* The host's end gets the guest's address with 0xfe in front, so that a bridge does not take the guest's for its own. */
static int set_address(int sock, const char *name, const uint8_t mac[6], struct vq_error *err)
{
    struct ifreq request = { 0 };

    request.ifr_hwaddr.sa_family = ARPHRD_ETHER;
    memcpy(request.ifr_hwaddr.sa_data, mac, 6);
    request.ifr_hwaddr.sa_data[0] = (char)0xfe;
    if (link_request(sock, name, &request, SIOCSIFHWADDR) < 0)
        return vq_error_system(err, errno, "cannot set the MAC address of '%s'", name);
    return 0;
}

static int bridge_mtu(int sock, const char *bridge)
{
    struct ifreq request = { 0 };

    return link_request(sock, bridge, &request, SIOCGIFMTU) == 0 ? request.ifr_mtu : 0;
}

static int join_bridge(int sock, const char *name, const char *bridge, struct vq_error *err)
{
    struct ifreq request = { .ifr_ifindex = (int)if_nametoindex(name) };

    if (link_request(sock, bridge, &request, SIOCBRADDIF) < 0)
        return vq_error_system(err, errno, "Unable to add bridge %s port %s", bridge, name);
    return 0;
}

static int bring_up(int sock, const char *name, struct vq_error *err)
{
    struct ifreq request = { 0 };

    if (link_request(sock, name, &request, SIOCGIFFLAGS) < 0)
        return vq_error_system(err, errno, "cannot read the flags of '%s'", name);
    request.ifr_flags = (short)(request.ifr_flags | IFF_UP);
    if (link_request(sock, name, &request, SIOCSIFFLAGS) < 0)
        return vq_error_system(err, errno, "cannot bring '%s' up", name);
    return 0;
}

static int set_up(int sock, const char *name, const struct vq_interface *interface, struct vq_error *err)
{
    struct ifreq request = { 0 };
    int mtu = (int)interface->mtu;

    if (set_address(sock, name, interface->mac, err) < 0)
        return -1;
    if (mtu == 0 && interface->bridge != NULL)
        mtu = bridge_mtu(sock, interface->bridge);
    request.ifr_mtu = mtu;
    if (mtu != 0 && link_request(sock, name, &request, SIOCSIFMTU) < 0)
        return vq_error_system(err, errno, "cannot set the MTU of '%s' to %d", name, mtu);
    if (interface->bridge != NULL && join_bridge(sock, name, interface->bridge, err) < 0)
        return -1;
    return interface->link == VQ_LINK_DOWN ? 0 : bring_up(sock, name, err);
}

int vq_qemu_tap_create(const char *name, const struct vq_interface *interface, int *ret_fd, struct vq_error *err)
{
    /* The flag that refuses a tap that is there already is the sign bit of a short. */
    struct ifreq request = { .ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_TUN_EXCL |
                                                  (interface->queues > 1 ? IFF_MULTI_QUEUE : 0)) };
    int fd, sock, rc;

    if (VQ_FAILPOINT("qemu.tap.create"))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "cannot make '%s': failure point", name);
    fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return vq_error_system(err, errno, "cannot open /dev/net/tun");
    /* Not persistent: it goes when the last descriptor closes, QEMU's included. */
    if (link_request(fd, name, &request, TUNSETIFF) < 0) {
        int tun_errno = errno;
        (void)close(fd);
        return vq_error_system(err, tun_errno, "cannot make tap device '%s'", name);
    }
    sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    rc = sock < 0 ? vq_error_system(err, errno, "cannot make a socket") : set_up(sock, name, interface, err);
    if (sock >= 0)
        (void)close(sock);
    if (rc < 0) {
        (void)close(fd);
        return -1;
    }
    *ret_fd = fd;
    return 0;
}

bool vq_qemu_tap_delete(const char *name)
{
    struct ifreq request = { .ifr_flags = IFF_TAP | IFF_NO_PI };
    bool is_gone;
    int fd;

    if (if_nametoindex(name) == 0)
        return true;
    /* It is ours by the record, and QEMU has ended; what is left can only be persistent by somebody else's hand. */
    fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);
    if (fd < 0)
        return false;
    is_gone = link_request(fd, name, &request, TUNSETIFF) == 0 && ioctl(fd, TUNSETPERSIST, 0) == 0;
    (void)close(fd);
    return is_gone || if_nametoindex(name) == 0;
}

void vq_qemu_taps_done(struct vq_qemu_guest *guest)
{
    for (size_t i = 0; i < guest->n_taps; i++) {
        struct vq_qemu_tap *tap = &guest->taps[i];

        if (tap->fd >= 0)
            (void)close(tap->fd);
        for (size_t k = 0; k < tap->n_more; k++)
            (void)close(tap->more_fds[k]);
        for (size_t k = 0; k < tap->n_vhosts; k++)
            (void)close(tap->vhost_fds[k]);
        tap->n_more = tap->n_vhosts = 0;
        tap->fd = -1;
    }
}

/* A further queue of a tap that was made for several. */
static int open_queue(const char *name, struct vq_error *err)
{
    struct ifreq request = { .ifr_flags = (short)(IFF_TAP | IFF_NO_PI | IFF_VNET_HDR | IFF_MULTI_QUEUE) };
    int fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC | O_NONBLOCK);

    if (fd >= 0 && link_request(fd, name, &request, TUNSETIFF) == 0)
        return fd;
    int open_errno = errno;
    if (fd >= 0)
        (void)close(fd);
    return vq_error_system(err, open_errno, "cannot make a further queue of '%s'", name);
}

int vq_qemu_tap_add_queues(struct vq_qemu_tap *tap, const struct vq_interface *interface, struct vq_error *err)
{
    size_t n = interface->queues > 1 ? interface->queues : 1;

    while (tap->n_more + 1 < n && tap->n_more + 1 < VQ_GUEST_QUEUES_MAX) {
        int fd = open_queue(tap->name, err);
        if (fd < 0)
            return -1;
        tap->more_fds[tap->n_more++] = fd;
    }
    if (!vq_streq(interface->driver_name, "vhost"))
        return 0;
    while (tap->n_vhosts < tap->n_more + 1) {
        int fd = open("/dev/vhost-net", O_RDWR | O_CLOEXEC);
        if (fd < 0)
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                                "vhost-net was requested for an interface, but is unavailable");
        tap->vhost_fds[tap->n_vhosts++] = fd;
    }
    return 0;
}

/* Ask the kernel for one link by netlink: /sys may show another network namespace than ours. Answered within the call. */
static int ask_link(const char *name, char *answer, size_t size, struct vq_error *err)
{
    struct {
        struct nlmsghdr header;
        struct ifinfomsg link;
    } request = { .header = { .nlmsg_len = sizeof(request), .nlmsg_type = RTM_GETLINK, .nlmsg_flags = NLM_F_REQUEST },
                  .link = { .ifi_family = AF_UNSPEC, .ifi_index = (int)if_nametoindex(name) } };
    int sock = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, NETLINK_ROUTE);
    ssize_t n = -1;

    if (sock >= 0 && request.link.ifi_index != 0 && send(sock, &request, sizeof(request), 0) == sizeof(request))
        n = recv(sock, answer, size, MSG_DONTWAIT);
    if (sock >= 0)
        (void)close(sock);
    if (n < (ssize_t)sizeof(struct nlmsghdr))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "cannot read the counters of '%s'", name);
    return (int)n;
}

/* What the guest received is what the tap sent. */
int vq_qemu_tap_stats(const char *name, struct vq_tap_stats *ret_stats, struct vq_error *err)
{
    _Alignas(struct nlmsghdr) char answer[16384];
    const struct nlmsghdr *header = (const struct nlmsghdr *)(const void *)answer;
    struct rtnl_link_stats64 stats;
    int length;

    if (!is_link_name(name))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' is no name for a network device", name);
    length = ask_link(name, answer, sizeof(answer), err);
    if (length < 0)
        return -1;
    if (NLMSG_OK(header, (unsigned)length) && header->nlmsg_type == RTM_NEWLINK) {
        int left = (int)IFLA_PAYLOAD(header);

        for (const struct rtattr *at = IFLA_RTA(NLMSG_DATA(header)); RTA_OK(at, left); at = RTA_NEXT(at, left)) {
            if (at->rta_type != IFLA_STATS64 || RTA_PAYLOAD(at) < offsetof(struct rtnl_link_stats64, multicast))
                continue;
            memcpy(&stats, RTA_DATA(at), offsetof(struct rtnl_link_stats64, multicast));
            *ret_stats = (struct vq_tap_stats){
                .rx_bytes = (int64_t)stats.tx_bytes, .rx_packets = (int64_t)stats.tx_packets,
                .rx_errs = (int64_t)stats.tx_errors, .rx_drop = (int64_t)stats.tx_dropped,
                .tx_bytes = (int64_t)stats.rx_bytes, .tx_packets = (int64_t)stats.rx_packets,
                .tx_errs = (int64_t)stats.rx_errors, .tx_drop = (int64_t)stats.rx_dropped,
            };
            return 0;
        }
    }
    return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "cannot read the counters of '%s'", name);
}
