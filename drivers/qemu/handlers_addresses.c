/* Addresses of a guest's interfaces: from its agent, from leases, from the host's table of neighbours. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/agent.h"
#include "drivers/qemu/agent_answers.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/handlers_define.h"
#include "drivers/qemu/leases.h"
#include "drivers/qemu/neighbours.h"
#include "proto/gen/remote.h"

enum { INTERFACES_MAX = 2048, LEASES_MAX = 64 };

/* An interface of the definition in the reply, with room for so many addresses. NULL: there is no more room. */
static struct vq_remote_domain_interface *add(struct vq_request *request, const struct vq_interface *interface, size_t n)
{
    struct vq_remote_domain_interface_addresses_ret *ret = request->ret;
    struct vq_remote_domain_interface *own = &ret->ifaces[ret->n_ifaces];
    const uint8_t *mac = interface->mac;
    char text[18];

    if (ret->n_ifaces == INTERFACES_MAX)
        return NULL;
    (void)snprintf(text, sizeof(text), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
    own->name = vq_arena_strdup(request->arena, interface->target != NULL ? interface->target : "");
    own->hwaddr = vq_arena_strdup(request->arena, text);
    own->addrs = vq_arena_alloc(request->arena, n, sizeof(*own->addrs));
    if (own->name == NULL || own->hwaddr == NULL || own->addrs == NULL)
        return NULL;
    ret->n_ifaces++;
    return own;
}

static void add_address(struct vq_request *request, struct vq_remote_domain_interface *own, int type, const char *address,
                        uint32_t prefix)
{
    const char *copy = vq_arena_strdup(request->arena, address);

    if (copy != NULL)
        own->addrs[own->n_addrs++] = (struct vq_remote_domain_ip_addr){ .type = type, .addr = copy, .prefix = prefix };
}

static bool begin(struct vq_request *request)
{
    struct vq_remote_domain_interface_addresses_ret *ret = request->ret;

    ret->ifaces = vq_qemu_request_alloc(request, INTERFACES_MAX * sizeof(*ret->ifaces));
    return ret->ifaces != NULL;
}

static void from_leases(struct vq_request *request, const struct vq_qemu_guest *guest)
{
    struct vq_qemu_lease leases[LEASES_MAX];

    if (!begin(request))
        return;
    for (size_t i = 0; guest->live != NULL && i < guest->live->devices.n_interfaces; i++) {
        const struct vq_interface *interface = guest->live->devices.interfaces[i];
        size_t n = vq_qemu_leases_of(guest->qemu, interface, leases, LEASES_MAX);
        struct vq_remote_domain_interface *own = n > 0 ? add(request, interface, n) : NULL;

        for (size_t j = 0; own != NULL && j < n; j++)
            add_address(request, own, leases[j].type, leases[j].address, leases[j].prefix);
    }
    vq_request_reply(request);
}

/* One entry for each address that was seen: the table says nothing of networks, so the prefix is 0. */
static void from_neighbours(struct vq_request *request, const struct vq_qemu_guest *guest)
{
    VQ_AUTOFREE struct vq_neighbour *list = NULL;
    struct vq_error err = VQ_ERROR_INIT;
    size_t n;

    if (vq_neighbours_read(&list, &n, &err) < 0) {
        vq_request_fail(request, &err);
        return;
    }
    if (!begin(request))
        return;
    for (size_t i = 0; guest->live != NULL && i < guest->live->devices.n_interfaces; i++) {
        const struct vq_interface *interface = guest->live->devices.interfaces[i];

        for (size_t j = 0; j < n; j++) {
            struct vq_remote_domain_interface *own;

            if (memcmp(list[j].mac, interface->mac, sizeof(list[j].mac)) != 0 || (own = add(request, interface, 1)) == NULL)
                continue;
            add_address(request, own, list[j].family == AF_INET6 ? VIR_IP_ADDR_TYPE_IPV6 : VIR_IP_ADDR_TYPE_IPV4,
                        list[j].address, 0);
        }
    }
    vq_request_reply(request);
}

static void agent_answered(const struct vq_agent_answer *answer, void *data)
{
    struct vq_request *request = data;
    struct vq_remote_domain_interface_addresses_ret *ret = request->ret;
    struct vq_error err = VQ_ERROR_INIT;

    if (answer->err != NULL)
        vq_request_fail(request, answer->err);
    else if (vq_agent_interfaces_read(answer->value, request->arena, &ret->ifaces, &ret->n_ifaces, &err) < 0)
        vq_request_fail(request, &err);
    else
        vq_request_reply(request);
}

static void domain_interface_addresses(struct vq_request *request)
{
    const struct vq_remote_domain_interface_addresses_args *args = request->args;
    struct vq_qemu_guest *guest;

    if (!vq_qemu_check_flags(request, args->flags, 0) || (guest = vq_qemu_guest_of(request)) == NULL)
        return;
    switch (args->source) {
    case VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE:
        from_leases(request, guest);
        break;
    case VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_ARP:
        from_neighbours(request, guest);
        break;
    case VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT:
        guest = vq_agent_guest_of(request);
        if (guest != NULL)
            vq_agent_call(guest, "guest-network-get-interfaces", NULL, guest->agent_timeout, agent_answered, request);
        break;
    default:
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_ARGUMENT_UNSUPPORTED, "Unknown IP address data source %u", args->source);
        break;
    }
}

static const struct vq_driver_row rows[] = {
    { VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_INTERFACE_ADDRESSES, domain_interface_addresses },
};
const struct vq_qemu_rows vq_qemu_addresses_rows = { rows, VQ_N_ELEMENTS(rows) };
