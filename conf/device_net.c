/* Network interfaces. */
#define VQ_FROM VIR_FROM_DOMAIN
#include <arpa/inet.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/device_fields.h"

static const char *const type_names[VQ_INTERFACE_N] = {
    [VQ_INTERFACE_NETWORK] = "network",   [VQ_INTERFACE_BRIDGE] = "bridge",     [VQ_INTERFACE_USER] = "user",
    [VQ_INTERFACE_ETHERNET] = "ethernet", [VQ_INTERFACE_DIRECT] = "direct",     [VQ_INTERFACE_VHOSTUSER] = "vhostuser",
    [VQ_INTERFACE_SERVER] = "server",     [VQ_INTERFACE_CLIENT] = "client",     [VQ_INTERFACE_MCAST] = "mcast",
    [VQ_INTERFACE_UDP] = "udp",           [VQ_INTERFACE_INTERNAL] = "internal", [VQ_INTERFACE_HOSTDEV] = "hostdev",
    [VQ_INTERFACE_VDPA] = "vdpa",         [VQ_INTERFACE_NULL] = "null",
};

static const char *const link_names[VQ_LINK_N] = {[VQ_LINK_UP] = "up", [VQ_LINK_DOWN] = "down"};

/* Names that a daemon gives to taps at start are not part of the definition. */
static bool is_user_target(const char *target)
{
    static const char *const generated[] = {"vnet", "macvtap", "macvlan"};

    for (size_t i = 0; i < VQ_N_ELEMENTS(generated); i++) {
        size_t length = strlen(generated[i]);

        if (strncmp(target, generated[i], length) == 0 &&
            target[length + strspn(target + length, "0123456789")] == '\0')
            return target[length] == '\0';
    }
    return true;
}

static const struct vq_field rate_rows[] = {
    VQ_UINT("@average", vq_bandwidth_rate, average),
    VQ_UINT("@peak", vq_bandwidth_rate, peak),
    VQ_UINT("@floor", vq_bandwidth_rate, floor),
    VQ_UINT("@burst", vq_bandwidth_rate, burst),
};
VQ_FIELDS(rate_fields, "bandwidth", vq_bandwidth_rate, rate_rows);

static const struct vq_field virtualport_rows[] = {
    VQ_STRING("@type", vq_virtualport, type, .flags = VQ_FIELD_UNSUPPORTED,
              VQ_WORDS("none", "802.1Qbg", "802.1Qbh", "openvswitch", "midonet")),
    VQ_STRING("parameters/@managerid", vq_virtualport, managerid),
    VQ_STRING("parameters/@typeid", vq_virtualport, typeid),
    VQ_STRING("parameters/@typeidversion", vq_virtualport, typeidversion),
    VQ_STRING("parameters/@instanceid", vq_virtualport, instanceid),
    VQ_STRING("parameters/@interfaceid", vq_virtualport, interfaceid),
    VQ_STRING("parameters/@profileid", vq_virtualport, profileid),
};
VQ_FIELDS(virtualport_fields, "virtualport", vq_virtualport, virtualport_rows);

static const struct vq_field tag_rows[] = {
    VQ_UINT("@id", vq_vlan_tag, id, .flags = VQ_FIELD_REQUIRED, .max = 4095),
    VQ_STRING("@nativeMode", vq_vlan_tag, native_mode, VQ_WORDS("tagged", "untagged")),
};
VQ_FIELDS(tag_fields, "tag", vq_vlan_tag, tag_rows);

static const struct vq_field vlan_rows[] = {
    VQ_YES_NO("@trunk", vq_vlan, trunk),
    VQ_LIST("tag", vq_vlan, tags, tag_fields),
};
VQ_FIELDS(vlan_fields, "vlan", vq_vlan, vlan_rows);

static const struct vq_field parameter_rows[] = {
    VQ_STRING("@name", vq_filter_parameter, name, .flags = VQ_FIELD_REQUIRED),
    VQ_STRING("@value", vq_filter_parameter, value),
};
VQ_FIELDS(parameter_fields, "parameter", vq_filter_parameter, parameter_rows);

static const struct vq_field ip_rows[] = {
    VQ_STRING("@address", vq_ip, address, .flags = VQ_FIELD_REQUIRED),
    VQ_STRING("@family", vq_ip, family),
    VQ_UINT("@prefix", vq_ip, prefix, VQ_HAS(vq_ip, has_prefix), .max = 128),
    VQ_STRING("@peer", vq_ip, peer),
};
static int ip_parsed(void *object, const struct vq_xml_node *node, struct vq_error *err)
{
    struct vq_ip *ip = object;
    bool is_v6 = strchr(ip->address, ':') != NULL;
    unsigned char bytes[16];

    if (inet_pton(is_v6 ? AF_INET6 : AF_INET, ip->address, bytes) != 1 ||
        (ip->family != NULL && strcmp(ip->family, is_v6 ? "ipv6" : "ipv4") != 0))
        return vq_error_set(err, VIR_ERR_XML_ERROR, "Invalid address '%.64s' in <ip> (line %u)", ip->address,
                            node->line);
    if (ip->has_prefix && ip->prefix > (is_v6 ? 128 : 32))
        return vq_error_set(err, VIR_ERR_XML_ERROR, "Invalid prefix value '%u' in <ip> (line %u)", ip->prefix,
                            node->line);
    if (ip->prefix == 0)
        ip->has_prefix = false;
    if (ip->family == NULL)
        ip->family = vq_strdup(is_v6 ? "ipv6" : "ipv4");
    return 0;
}
VQ_FIELDS(ip_fields, "ip", vq_ip, ip_rows, .parsed = ip_parsed);

static const struct vq_field route_rows[] = {
    VQ_STRING("@family", vq_ip_route, family),
    VQ_STRING("@address", vq_ip_route, address),
    VQ_STRING("@netmask", vq_ip_route, netmask),
    VQ_UINT("@prefix", vq_ip_route, prefix, VQ_HAS(vq_ip_route, has_prefix), .max = 128),
    VQ_STRING("@gateway", vq_ip_route, gateway),
    VQ_UINT("@metric", vq_ip_route, metric, .min = 1),
};
VQ_FIELDS(route_fields, "route", vq_ip_route, route_rows);

static const struct vq_field port_range_rows[] = {
    VQ_UINT("@start", vq_port_range, start, .flags = VQ_FIELD_REQUIRED, .max = 65535),
    VQ_UINT("@end", vq_port_range, end, .min = 1, .max = 65535),
    VQ_UINT("@to", vq_port_range, to, .min = 1, .max = 65535),
    VQ_YES_NO("@exclude", vq_port_range, exclude),
};
VQ_FIELDS(port_range_fields, "range", vq_port_range, port_range_rows);

static const struct vq_field port_forward_rows[] = {
    VQ_STRING("@proto", vq_port_forward, proto, .flags = VQ_FIELD_REQUIRED, VQ_WORDS("tcp", "udp")),
    VQ_STRING("@address", vq_port_forward, address),
    VQ_STRING("@dev", vq_port_forward, dev),
    VQ_LIST("range", vq_port_forward, ranges, port_range_fields),
};
VQ_FIELDS(port_forward_fields, "portForward", vq_port_forward, port_forward_rows);

static const struct vq_field host_offload_rows[] = {
    VQ_ON_OFF("@csum", vq_offloads, csum),
    VQ_ON_OFF("@gso", vq_offloads, gso),
    VQ_ON_OFF("@tso4", vq_offloads, tso4),
    VQ_ON_OFF("@tso6", vq_offloads, tso6),
    VQ_ON_OFF("@ecn", vq_offloads, ecn),
    VQ_ON_OFF("@ufo", vq_offloads, ufo),
    VQ_ON_OFF("@mrg_rxbuf", vq_offloads, mrg_rxbuf),
};
VQ_FIELDS(host_offload_fields, "driver", vq_offloads, host_offload_rows);

static const struct vq_field guest_offload_rows[] = {
    VQ_ON_OFF("@csum", vq_offloads, csum), VQ_ON_OFF("@tso4", vq_offloads, tso4), VQ_ON_OFF("@tso6", vq_offloads, tso6),
    VQ_ON_OFF("@ecn", vq_offloads, ecn),   VQ_ON_OFF("@ufo", vq_offloads, ufo),
};
VQ_FIELDS(guest_offload_fields, "driver", vq_offloads, guest_offload_rows);

#define OF(kind)   VQ_IS(VQ_INTERFACE_##kind)
#define FOR(kinds) VQ_WHEN(vq_interface, type, kinds)
#define SOCKETS    (OF(SERVER) | OF(CLIENT) | OF(MCAST) | OF(UDP))

static const struct vq_field interface_rows[] = {
    VQ_ENUM("@type", vq_interface, type, type_names),
    VQ_YES_NO("@managed", vq_interface, managed, FOR(OF(HOSTDEV))),
    VQ_YES_NO("@trustGuestRxFilters", vq_interface, trust_guest_rx_filters),
    VQ_MAC("mac/@address", vq_interface, mac, VQ_HAS(vq_interface, has_mac)),
    VQ_STRING("mac/@type", vq_interface, mac_type, VQ_WORDS("generated", "static")),
    VQ_YES_NO("mac/@check", vq_interface, mac_check),
    VQ_STRING("source/@network", vq_interface, network, FOR(OF(NETWORK)), .flags = VQ_FIELD_REQUIRED),
    VQ_STRING("source/@portgroup", vq_interface, portgroup, FOR(OF(NETWORK))),
    VQ_STRING("source/@portid", vq_interface, portid, .flags = VQ_FIELD_LIVE, FOR(OF(NETWORK))),
    VQ_STRING("source/@bridge", vq_interface, bridge, .flags = VQ_FIELD_LIVE, FOR(OF(NETWORK))),
    VQ_STRING("source/@bridge", vq_interface, bridge, .flags = VQ_FIELD_REQUIRED, FOR(OF(BRIDGE))),
    VQ_STRING("source/@dev", vq_interface, source_dev, FOR(OF(ETHERNET) | OF(VDPA) | OF(USER))),
    VQ_STRING("source/@dev", vq_interface, source_dev, FOR(OF(DIRECT)), .flags = VQ_FIELD_REQUIRED),
    VQ_STRING("source/@type", vq_interface, source_type, FOR(OF(VHOSTUSER)),
              .flags = VQ_FIELD_UNSUPPORTED | VQ_FIELD_WITH_ELEMENT,
              VQ_WORDS("unix")),
    VQ_STRING("source/@path", vq_interface, source_path, FOR(OF(VHOSTUSER)), .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_STRING("source/@mode", vq_interface, source_mode, FOR(OF(DIRECT)),
              VQ_WORDS("vepa", "private", "bridge", "passthrough")),
    VQ_STRING("source/@mode", vq_interface, source_mode, FOR(OF(VHOSTUSER)), VQ_WORDS("client", "server")),
    VQ_STRING("source/@name", vq_interface, internal_name, FOR(OF(INTERNAL))),
    VQ_STRING("source/@address", vq_interface, source_address, FOR(SOCKETS), .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_UINT("source/@port", vq_interface, source_port, FOR(SOCKETS), .max = 65535, .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_STRING("source/local/@address", vq_interface, source_local_address, FOR(OF(UDP)),
              .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_UINT("source/local/@port", vq_interface, source_local_port, FOR(OF(UDP)), .max = 65535,
            .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_LIST("source/ip", vq_interface, source_ips, ip_fields, .size = 256),
    VQ_LIST("source/route", vq_interface, source_routes, route_fields, .size = 256),
    VQ_STRUCT("source/reconnect", vq_interface, reconnect, vq_reconnect_fields, FOR(OF(VHOSTUSER))),
    VQ_CONSTANT("source/address/@type", "pci", FOR(OF(HOSTDEV))),
    VQ_STRUCT("source/address", vq_interface, hostdev_address, vq_pci_address_fields, FOR(OF(HOSTDEV))),
    VQ_OPTIONAL("vlan", vq_interface, vlan, vlan_fields),
    VQ_OPTIONAL("virtualport", vq_interface, virtualport, virtualport_fields),
    VQ_STRUCT("bandwidth/inbound", vq_interface, inbound, rate_fields),
    VQ_STRUCT("bandwidth/outbound", vq_interface, outbound, rate_fields),
    VQ_YES_NO("port/@isolated", vq_interface, port_isolated),
    VQ_LIST("ip", vq_interface, ips, ip_fields, .size = 256),
    VQ_LIST("route", vq_interface, routes, route_fields, .size = 256),
    VQ_LIST("portForward", vq_interface, port_forwards, port_forward_fields, .size = 256),
    VQ_STRING("script/@path", vq_interface, script),
    VQ_STRING("downscript/@path", vq_interface, downscript),
    VQ_STRING("backenddomain/@name", vq_interface, domain_name),
    VQ_STRING("target/@dev", vq_interface, target, .flags = VQ_FIELD_LIVE, .keep = is_user_target),
    VQ_YES_NO("target/@managed", vq_interface, target_managed),
    VQ_STRING("guest/@dev", vq_interface, guest_dev),
    VQ_STRING("guest/@actual", vq_interface, guest_actual, .flags = VQ_FIELD_LIVE),
    VQ_STRING("model/@type", vq_interface, model),
    VQ_STRING("driver/@name", vq_interface, driver_name, FOR(~OF(HOSTDEV)), VQ_WORDS("qemu", "vhost")),
    VQ_STRING("driver/@name", vq_interface, driver_name, FOR(OF(HOSTDEV)), VQ_WORDS("kvm", "vfio", "xen")),
    VQ_STRING("driver/@txmode", vq_interface, txmode, VQ_WORDS("iothread", "timer")),
    VQ_ON_OFF("driver/@ioeventfd", vq_interface, ioeventfd),
    VQ_ON_OFF("driver/@event_idx", vq_interface, event_idx),
    VQ_UINT("driver/@queues", vq_interface, queues),
    VQ_UINT("driver/@rx_queue_size", vq_interface, rx_queue_size),
    VQ_UINT("driver/@tx_queue_size", vq_interface, tx_queue_size),
    VQ_ON_OFF("driver/@rss", vq_interface, rss),
    VQ_ON_OFF("driver/@rss_hash_report", vq_interface, rss_hash_report),
    VQ_STRUCT("driver", vq_interface, virtio, vq_virtio_fields),
    VQ_STRUCT("driver/host", vq_interface, host_offloads, host_offload_fields),
    VQ_STRUCT("driver/guest", vq_interface, guest_offloads, guest_offload_fields),
    VQ_STRING("backend/@type", vq_interface, backend_type),
    VQ_STRING("backend/@tap", vq_interface, backend_tap),
    VQ_STRING("backend/@vhost", vq_interface, backend_vhost),
    VQ_STRING("backend/@logFile", vq_interface, backend_logfile),
    VQ_STRING("filterref/@filter", vq_interface, filter),
    VQ_LIST("filterref/parameter", vq_interface, filter_parameters, parameter_fields, .size = 256),
    VQ_STRUCT("teaming", vq_interface, teaming, vq_teaming_fields),
    VQ_U64("tune/sndbuf", vq_interface, sndbuf, VQ_HAS(vq_interface, has_sndbuf)),
    VQ_ENUM("link/@state", vq_interface, link, link_names, .flags = VQ_FIELD_UNSUPPORTED),
    VQ_UINT("mtu/@size", vq_interface, mtu),
    VQ_UINT("coalesce/rx/frames/@max", vq_interface, coalesce_rx_frames),
    VQ_STRUCT("", vq_interface, info, vq_info_fields),
};
/* By name; the values of one name keep their order. */
static int interface_parsed(void *object, const struct vq_xml_node *node, struct vq_error *err)
{
    struct vq_interface *interface = object;
    struct vq_filter_parameter **list = interface->filter_parameters;

    (void)node, (void)err;
    for (size_t i = 1; i < interface->n_filter_parameters; i++) {
        struct vq_filter_parameter *moved = list[i];
        size_t to = i;

        for (; to > 0 && strcmp(list[to - 1]->name, moved->name) > 0; to--)
            list[to] = list[to - 1];
        list[to] = moved;
    }
    return 0;
}
VQ_FIELDS_EXPORT(vq_interface_fields, "interface", vq_interface, interface_rows, .parsed = interface_parsed);
