/* Network interfaces on the command line. */
#define VQ_FROM VIR_FROM_QEMU
#include <stdio.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/command_priv.h"

static bool is_virtio(const struct vq_interface *interface)
{
    return interface->model != NULL && strncmp(interface->model, "virtio", 6) == 0;
}

/* ---- The host's side ---- */

/* "fd" for one, "fds" for several: "20:21:22". */
static void add_fds(struct vq_qemu_writer *writer, json_t *netdev, const char *key, const int *fds, size_t n_fds)
{
    VQ_AUTOBUFFER list = VQ_BUFFER_INIT;
    char name[16];

    for (size_t i = 0; i < n_fds; i++) {
        vq_buffer_addf(&list, i == 0 ? "%d" : ":%d", fds[i]);
        vq_qemu_keep_fd(writer, fds[i]);
    }
    (void)snprintf(name, sizeof(name), "%s%s", key, n_fds > 1 ? "s" : "");
    vq_qemu_json_text(netdev, name, list.data);
}

static json_t *new_tap(struct vq_qemu_writer *writer, const struct vq_interface *interface, size_t index, struct vq_error *err)
{
    const struct vq_qemu_launch *launch = writer->launch;
    const struct vq_qemu_queues *queues = launch->taps != NULL && index < launch->n_taps ? &launch->taps[index] : NULL;
    json_t *netdev;

    if (queues == NULL || queues->n_taps == 0) {
        (void)vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "interface '%s': no tap device was made for it",
                           interface->info.alias);
        return NULL;
    }
    netdev = json_pack("{s:s}", "type", "tap");
    add_fds(writer, netdev, "fd", queues->tap, queues->n_taps);
    if (queues->n_vhosts > 0) {
        json_object_set_new(netdev, "vhost", json_true());
        add_fds(writer, netdev, "vhostfd", queues->vhost, queues->n_vhosts);
    }
    if (interface->has_sndbuf)
        vq_qemu_json_number(netdev, "sndbuf", interface->sndbuf);
    return netdev;
}

static json_t *new_user(const struct vq_interface *interface)
{
    json_t *netdev = json_pack("{s:s}", "type", "user");

    for (size_t i = 0; i < interface->n_ips; i++) {
        const struct vq_ip *ip = interface->ips[i];
        bool is_v6 = ip->address != NULL && strchr(ip->address, ':') != NULL;
        if (ip->address == NULL)
            continue;
        if (is_v6) {
            vq_qemu_json_text(netdev, "ipv6-prefix", ip->address);
            if (ip->has_prefix)
                vq_qemu_json_number(netdev, "ipv6-prefixlen", ip->prefix);
        } else {
            VQ_AUTOFREE char *net = ip->has_prefix ? vq_asprintf("%s/%u", ip->address, ip->prefix) : vq_strdup(ip->address);
            vq_qemu_json_text(netdev, "net", net);
        }
    }
    return netdev;
}

/* Guests that are joined by a socket of the host. */
static json_t *new_socket(const struct vq_interface *interface)
{
    static const char *const keys[VQ_INTERFACE_N] = {[VQ_INTERFACE_SERVER] = "listen", [VQ_INTERFACE_CLIENT] = "connect",
                                                     [VQ_INTERFACE_MCAST] = "mcast", [VQ_INTERFACE_UDP] = "udp"};
    const char *address = interface->source_address == NULL ? "" : interface->source_address;
    VQ_AUTOFREE char *text = vq_asprintf("%s:%u", address, interface->source_port);
    json_t *netdev = json_pack("{s:s, s:s}", "type", "socket", keys[interface->type], text);

    if (interface->type == VQ_INTERFACE_UDP) {
        VQ_AUTOFREE char *local = vq_asprintf("%s:%u", interface->source_local_address == NULL
                                                           ? "" : interface->source_local_address,
                                              interface->source_local_port);
        vq_qemu_json_text(netdev, "localaddr", local);
    }
    return netdev;
}

static json_t *new_vhostuser(struct vq_qemu_writer *writer, const struct vq_interface *interface)
{
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;
    VQ_AUTOFREE char *chardev = vq_asprintf("char%s", interface->info.alias);
    json_t *netdev = json_pack("{s:s, s:s}", "type", "vhost-user", "chardev", chardev);

    vq_buffer_addf(&value, "socket,id=%s,path=", chardev);
    vq_qemu_add_value(&value, interface->source_path == NULL ? "" : interface->source_path);
    if (vq_streq(interface->source_mode, "server"))
        vq_buffer_add(&value, ",server=on,wait=off");
    else if (interface->reconnect.enabled == VQ_SWITCH_ON)
        vq_buffer_addf(&value, ",reconnect=%u", interface->reconnect.timeout_s);
    vq_qemu_arg_buffer(writer, "-chardev", &value);
    if (interface->queues > 1)
        vq_qemu_json_number(netdev, "queues", interface->queues);
    return netdev;
}

static int write_netdev(struct vq_qemu_writer *writer, const struct vq_interface *interface, size_t index,
                        struct vq_error *err)
{
    VQ_AUTOFREE char *id = vq_asprintf("host%s", interface->info.alias);
    json_t *netdev = NULL;

    switch (interface->type) {
    case VQ_INTERFACE_USER:
        if (interface->backend_type != NULL && strcmp(interface->backend_type, "default") != 0)
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "interface '%s': backend '%s' is not supported",
                                interface->info.alias, interface->backend_type);
        netdev = new_user(interface);
        break;
    case VQ_INTERFACE_NETWORK:
    case VQ_INTERFACE_BRIDGE:
    case VQ_INTERFACE_ETHERNET:
    case VQ_INTERFACE_DIRECT:
        netdev = new_tap(writer, interface, index, err);
        if (netdev == NULL)
            return -1;
        break;
    case VQ_INTERFACE_SERVER:
    case VQ_INTERFACE_CLIENT:
    case VQ_INTERFACE_MCAST:
    case VQ_INTERFACE_UDP:
        netdev = new_socket(interface);
        break;
    case VQ_INTERFACE_VHOSTUSER:
        netdev = new_vhostuser(writer, interface);
        break;
    case VQ_INTERFACE_VDPA:
        netdev = json_pack("{s:s, s:s}", "type", "vhost-vdpa", "vhostdev",
                           interface->source_dev == NULL ? "" : interface->source_dev);
        break;
    default:
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "interface '%s': this type is not supported",
                            interface->info.alias);
    }
    vq_qemu_json_text(netdev, "id", id);
    vq_qemu_arg_json(writer, "-netdev", netdev);
    return 0;
}

/* ---- The guest's side ---- */

static uint32_t network_boot_index(const struct vq_domain *def, const struct vq_interface *interface)
{
    if (interface->info.boot_order != 0)
        return interface->info.boot_order;
    for (size_t i = 0; i < def->os.n_boot; i++)
        if (def->os.boot[i]->dev == VQ_BOOT_NETWORK && def->devices.n_interfaces > 0 &&
            def->devices.interfaces[0] == interface)
            return (uint32_t)i + 1;
    return 0;
}

static void add_offloads(json_t *device, const struct vq_interface *interface)
{
    const struct {
        const char *name;
        enum vq_switch state;
    } switches[] = {
        {"csum", interface->host_offloads.csum},          {"gso", interface->host_offloads.gso},
        {"host_tso4", interface->host_offloads.tso4},     {"host_tso6", interface->host_offloads.tso6},
        {"host_ecn", interface->host_offloads.ecn},       {"host_ufo", interface->host_offloads.ufo},
        {"mrg_rxbuf", interface->host_offloads.mrg_rxbuf}, {"guest_csum", interface->guest_offloads.csum},
        {"guest_tso4", interface->guest_offloads.tso4},   {"guest_tso6", interface->guest_offloads.tso6},
        {"guest_ecn", interface->guest_offloads.ecn},     {"guest_ufo", interface->guest_offloads.ufo},
        {"ioeventfd", interface->ioeventfd},              {"event_idx", interface->event_idx},
        {"rss", interface->rss},                          {"hash", interface->rss_hash_report},
    };

    for (size_t i = 0; i < VQ_N_ELEMENTS(switches); i++)
        vq_qemu_json_bool(device, switches[i].name, switches[i].state);
}

static void add_virtio_net(json_t *device, const struct vq_interface *interface)
{
    add_offloads(device, interface);
    vq_qemu_json_text(device, "tx", vq_streq(interface->txmode, "iothread") ? "bh"
                                    : vq_streq(interface->txmode, "timer")  ? "timer"
                                                                            : NULL);
    if (interface->queues > 1) { /* two interrupts for each pair of queues, one for control, one for configuration */
        json_object_set_new(device, "mq", json_true());
        vq_qemu_json_number(device, "vectors", 2 * (uint64_t)interface->queues + 2);
    }
    if (interface->rx_queue_size != 0)
        vq_qemu_json_number(device, "rx_queue_size", interface->rx_queue_size);
    if (interface->tx_queue_size != 0)
        vq_qemu_json_number(device, "tx_queue_size", interface->tx_queue_size);
    if (interface->mtu != 0)
        vq_qemu_json_number(device, "host_mtu", interface->mtu);
    if (vq_streq(interface->teaming.type, "persistent"))
        json_object_set_new(device, "failover", json_true());
    vq_qemu_json_virtio(device, &interface->virtio);
}

/* A virtual function of a host's card is a device like others that are passed through; its address on the network was
 * set before. */
static void write_hostdev(struct vq_qemu_writer *writer, const struct vq_interface *interface)
{
    const struct vq_pci_address *at = &interface->hostdev_address;
    uint32_t boot = network_boot_index(writer->def, interface);
    char host[32];

    (void)snprintf(host, sizeof(host), "%04x:%02x:%02x.%x", at->domain, at->bus, at->slot, at->function);
    json_t *device = vq_qemu_device_new(writer, "vfio-pci", &interface->info);
    vq_qemu_json_text(device, "host", host);
    if (vq_streq(interface->teaming.type, "transient"))
        vq_qemu_json_text(device, "failover_pair_id", interface->teaming.persistent);
    if (boot != 0)
        vq_qemu_json_number(device, "bootindex", boot);
    vq_qemu_arg_json(writer, "-device", device);
}

static int write_interface(struct vq_qemu_writer *writer, const struct vq_interface *interface, size_t index,
                           struct vq_error *err)
{
    VQ_AUTOFREE char *netdev = vq_asprintf("host%s", interface->info.alias);
    uint32_t boot = network_boot_index(writer->def, interface);
    char name[64], mac[24];

    if (interface->type == VQ_INTERFACE_HOSTDEV) {
        write_hostdev(writer, interface);
        return 0;
    }
    if (interface->model == NULL)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "interface '%s' has no model", interface->info.alias);
    if (write_netdev(writer, interface, index, err) < 0)
        return -1;
    if (is_virtio(interface))
        vq_qemu_virtio_name(name, sizeof(name), "virtio-net",
                            strcmp(interface->model, "virtio-transitional") == 0       ? VQ_VIRTIO_MODEL_TRANSITIONAL
                            : strcmp(interface->model, "virtio-non-transitional") == 0 ? VQ_VIRTIO_MODEL_NON_TRANSITIONAL
                                                                                       : VQ_VIRTIO_MODEL_VIRTIO,
                            &interface->info);
    else
        (void)snprintf(name, sizeof(name), "%s", interface->model);
    json_t *device = vq_qemu_device_new(writer, name, &interface->info);
    vq_qemu_json_text(device, "netdev", netdev);
    (void)snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", interface->mac[0], interface->mac[1],
                   interface->mac[2], interface->mac[3], interface->mac[4], interface->mac[5]);
    vq_qemu_json_text(device, "mac", mac);
    if (is_virtio(interface))
        add_virtio_net(device, interface);
    if (boot != 0)
        vq_qemu_json_number(device, "bootindex", boot);
    vq_qemu_arg_json(writer, "-device", device);
    return 0;
}

int vq_qemu_write_interfaces(struct vq_qemu_writer *writer, struct vq_error *err)
{
    const struct vq_devices *devices = &writer->def->devices;

    for (size_t i = 0; i < devices->n_interfaces; i++)
        if (write_interface(writer, devices->interfaces[i], i, err) < 0)
            return -1;
    return 0;
}
