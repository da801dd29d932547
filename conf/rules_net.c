/* Rules of network interfaces and host devices. */
#define VQ_FROM VIR_FROM_DOMAIN
#include <arpa/inet.h>
#include <ctype.h>
#include <string.h>

#include "conf/rules.h"

/* ---- virtual ports ---- */

static bool is_below(const char *text, uint64_t limit)
{
    uint64_t number;

    return vq_parse_u64(text, 0, limit - 1, &number);
}

static bool is_uuid(const char *text)
{
    uint8_t uuid[VQ_UUID_BYTES];

    return vq_uuid_parse(text, uuid);
}

static int check_parameters(const struct vq_virtualport *port, struct vq_error *err)
{
    REFUSE_FROM_IF(port->managerid != NULL && !is_below(port->managerid, 256), NONE, XML_ERROR,
                   "cannot parse value of managerid parameter");
    REFUSE_FROM_IF(port->typeid != NULL && !is_below(port->typeid, 1 << 24), NONE, XML_ERROR,
                   "cannot parse value of typeid parameter");
    REFUSE_FROM_IF(port->typeidversion != NULL && !is_below(port->typeidversion, 256), NONE, XML_ERROR,
                   "cannot parse value of typeidversion parameter");
    REFUSE_FROM_IF(port->instanceid != NULL && !is_uuid(port->instanceid), NONE, XML_ERROR,
                   "cannot parse instanceid parameter as a uuid");
    REFUSE_FROM_IF(port->interfaceid != NULL && !is_uuid(port->interfaceid), NONE, XML_ERROR,
                   "cannot parse interfaceid parameter as a uuid");
    return 0;
}

/* What a type of switch must be told, unless the network says it. */
static int check_virtualport(const struct vq_interface *interface, struct vq_error *err)
{
    const struct vq_virtualport *port = interface->virtualport;
    const struct {
        const char *type, *name, *value;
    } needed[] = {
        {"802.1Qbg", "managerid", port->managerid},   {"802.1Qbg", "typeid", port->typeid},
        {"802.1Qbg", "typeidversion", port->typeidversion}, {"802.1Qbh", "profileid", port->profileid},
        {"midonet", "interfaceid", port->interfaceid},
    };

    if (check_parameters(port, err) < 0)
        return -1;
    if (interface->type == VQ_INTERFACE_NETWORK)
        return 0;
    REFUSE_FROM_IF(port->type == NULL, NONE, XML_ERROR, "missing required virtualport type");
    for (size_t i = 0; i < VQ_N_ELEMENTS(needed); i++)
        REFUSE_FROM_IF(strcmp(port->type, needed[i].type) == 0 && needed[i].value == NULL, NET, XML_ERROR,
                       "missing %s in <virtualport type='%s'>", needed[i].name, port->type);
    return 0;
}

/* ---- addresses ---- */

static bool is_address(const char *text)
{
    unsigned char bytes[16];

    return inet_pton(AF_INET, text, bytes) == 1 || inet_pton(AF_INET6, text, bytes) == 1;
}

static int check_ips(struct vq_ip *const *ips, size_t n, struct vq_error *err)
{
    for (size_t i = 0; i < n; i++)
        REFUSE_IF(ips[i]->peer != NULL && !is_address(ips[i]->peer), INVALID_ARG, "Invalid peer '%s' in <ip>",
                  ips[i]->peer);
    return 0;
}

static int check_routes(struct vq_ip_route *const *routes, size_t n, struct vq_error *err)
{
    for (size_t i = 0; i < n; i++) {
        const struct vq_ip_route *route = routes[i];

        REFUSE_FROM_IF(route->address == NULL || route->gateway == NULL, NETWORK, XML_ERROR,
                       "Missing required %s attribute in route definition",
                       route->address == NULL ? "address" : "gateway");
        REFUSE_FROM_IF(route->family != NULL && strcmp(route->family, "ipv4") != 0 &&
                           strcmp(route->family, "ipv6") != 0,
                       NETWORK, XML_ERROR, "Unrecognized family '%s' in route definition", route->family);
        REFUSE_FROM_IF(!is_address(route->address), NETWORK, XML_ERROR, "Bad network address '%s' in route definition",
                       route->address);
        REFUSE_FROM_IF(!is_address(route->gateway), NETWORK, XML_ERROR, "Bad gateway address '%s' in route definition",
                       route->gateway);
        REFUSE_FROM_IF(route->netmask != NULL && !is_address(route->netmask), NETWORK, XML_ERROR,
                       "Bad netmask address '%s' in route definition", route->netmask);
    }
    return 0;
}

static int check_port_forwards(const struct vq_interface *interface, struct vq_error *err)
{
    for (size_t i = 0; i < interface->n_port_forwards; i++) {
        const char *address = interface->port_forwards[i]->address;

        REFUSE_IF(address != NULL && !is_address(address), XML_ERROR, "Invalid address '%s' in <portForward>",
                  address);
    }
    return 0;
}

/* ---- interfaces ---- */

static int check_rate(const struct vq_bandwidth_rate *rate, bool is_inbound, struct vq_error *err)
{
    bool is_said = rate->peak > 0 || rate->burst > 0;

    REFUSE_FROM_IF(is_said && rate->average == 0 && is_inbound && rate->floor > 0, NONE, CONFIG_UNSUPPORTED,
                   "'peak' and 'burst' require 'average' attribute");
    REFUSE_FROM_IF(is_said && rate->average == 0 && rate->floor == 0, NONE, XML_DETAIL,
                   "Missing mandatory average or floor attributes");
    REFUSE_FROM_IF(rate->floor > 0 && !is_inbound, NONE, CONFIG_UNSUPPORTED,
                   "'floor' attribute is not supported for outbound");
    return 0;
}

static int check_source(const struct vq_interface *interface, struct vq_error *err)
{
    static const char *const types[VQ_INTERFACE_N] = {
        [VQ_INTERFACE_SERVER] = "server", [VQ_INTERFACE_CLIENT] = "client",       [VQ_INTERFACE_MCAST] = "mcast",
        [VQ_INTERFACE_UDP] = "udp",       [VQ_INTERFACE_VHOSTUSER] = "vhostuser", [VQ_INTERFACE_VDPA] = "vdpa",
    };
    bool has_source = interface->source_address != NULL || interface->source_port > 0 ||
                      interface->source_path != NULL || interface->source_dev != NULL;

    REFUSE_IF(types[interface->type] != NULL && !has_source, XML_ERROR,
              "interface type='%s' requires a 'source' element", types[interface->type]);
    REFUSE_IF(interface->type == VQ_INTERFACE_UDP && interface->source_local_address == NULL, XML_ERROR,
              "'<local>' element missing for 'udp' socket interface");
    REFUSE_IF(interface->type == VQ_INTERFACE_VHOSTUSER && interface->source_mode == NULL, XML_ERROR,
              "Missing required attribute 'mode' in element 'source'");
    REFUSE_IF(interface->type == VQ_INTERFACE_VHOSTUSER &&
                  (interface->model == NULL || strncmp(interface->model, "virtio", strlen("virtio")) != 0),
              INTERNAL_ERROR, "Wrong or no <model> 'type' attribute specified with <interface type='vhostuser'/>. "
                              "vhostuser requires the virtio-net* frontend");
    REFUSE_IF(interface->reconnect.enabled == VQ_SWITCH_ON && interface->reconnect.timeout_s == 0, XML_ERROR,
              "Missing required attribute 'timeout' in element 'reconnect'");
    return 0;
}

static int check_teaming(const struct vq_teaming *teaming, const char *what, struct vq_error *err)
{
    bool is_transient = vq_streq(teaming->type, "transient");

    REFUSE_IF(is_transient && teaming->persistent == NULL, CONFIG_UNSUPPORTED,
              "%s persistent attribute must be set if teaming type is 'transient'", what);
    REFUSE_IF(!is_transient && teaming->persistent != NULL, CONFIG_UNSUPPORTED,
              "%s persistent attribute not allowed if teaming type is 'persistent'", what);
    return 0;
}

int vq_check_interface(const struct vq_interface *interface, struct vq_error *err)
{
    if (check_source(interface, err) < 0)
        return -1;
    if (interface->virtualport != NULL && check_virtualport(interface, err) < 0)
        return -1;
    REFUSE_FROM_IF(interface->vlan != NULL && interface->vlan->n_tags == 0, NONE, XML_ERROR,
                   "missing tag id - each <vlan> must have at least one <tag id='n'/> subelement");
    if (check_rate(&interface->inbound, true, err) < 0 || check_rate(&interface->outbound, false, err) < 0)
        return -1;
    if (check_teaming(&interface->teaming, "teaming", err) < 0 || check_port_forwards(interface, err) < 0)
        return -1;
    if (check_ips(interface->ips, interface->n_ips, err) < 0 ||
        check_ips(interface->source_ips, interface->n_source_ips, err) < 0)
        return -1;
    if (check_routes(interface->routes, interface->n_routes, err) < 0)
        return -1;
    return check_routes(interface->source_routes, interface->n_source_routes, err);
}

/* ---- host devices ---- */

static bool is_wwpn(const char *text)
{
    static const char prefix[] = "naa.";
    const char *digits = text + sizeof(prefix) - 1;

    return strncmp(text, prefix, sizeof(prefix) - 1) == 0 && strlen(digits) == 16 &&
           digits[strspn(digits, "0123456789abcdefABCDEF")] == '\0';
}

static int check_usb(const struct vq_hostdev *hostdev, struct vq_error *err)
{
    REFUSE_IF(!hostdev->has_vendor && !hostdev->has_usb_address, XML_ERROR,
              "USB host device must have a vendor and product, or an address");
    REFUSE_IF(hostdev->has_vendor && hostdev->vendor == 0, XML_ERROR,
              "Invalid value for attribute 'id' in element 'vendor': Zero is not permitted");
    REFUSE_IF(hostdev->has_vendor && hostdev->product == 0, INTERNAL_ERROR, "missing product");
    return 0;
}

static int check_scsi(const struct vq_hostdev *hostdev, struct vq_error *err)
{
    bool is_iscsi = vq_streq(hostdev->source_protocol, "iscsi");

    REFUSE_IF(!is_iscsi && hostdev->scsi_adapter == NULL, XML_ERROR,
              "'adapter' name must be specified for scsi hostdev source");
    REFUSE_IF(is_iscsi && hostdev->source_name == NULL, XML_ERROR, "missing iSCSI hostdev source path name");
    REFUSE_IF(is_iscsi && hostdev->n_source_hosts == 0, XML_ERROR, "missing the host address for the iSCSI hostdev");
    for (size_t i = 0; i < hostdev->n_source_hosts; i++) {
        if (vq_check_host(hostdev->source_hosts[i], err) < 0)
            return -1;
    }
    return hostdev->source_auth == NULL ? 0 : vq_check_auth(hostdev->source_auth, err);
}

static int check_scsi_host(const struct vq_hostdev *hostdev, struct vq_error *err)
{
    REFUSE_IF(hostdev->source_protocol == NULL, XML_ERROR, "Missing scsi_host subsystem protocol");
    REFUSE_IF(hostdev->wwpn == NULL, XML_ERROR, "missing vhost-scsi hostdev source wwpn");
    REFUSE_IF(!is_wwpn(hostdev->wwpn), XML_ERROR, "malformed 'wwpn' value");
    return 0;
}

static int check_mdev(const struct vq_hostdev *hostdev, struct vq_error *err)
{
    REFUSE_IF(hostdev->model == NULL, XML_ERROR, "Missing required attribute 'model' in element 'hostdev'");
    REFUSE_IF(!hostdev->has_mdev_uuid, CONFIG_UNSUPPORTED, "Missing 'uuid' attribute for element <address>");
    return 0;
}

int vq_check_hostdev(const struct vq_hostdev *hostdev, struct vq_error *err)
{
    static int (*const checks[VQ_HOSTDEV_N])(const struct vq_hostdev *hostdev, struct vq_error *err) = {
        [VQ_HOSTDEV_USB] = check_usb,
        [VQ_HOSTDEV_SCSI] = check_scsi,
        [VQ_HOSTDEV_SCSI_HOST] = check_scsi_host,
        [VQ_HOSTDEV_MDEV] = check_mdev,
    };

    REFUSE_IF(vq_streq(hostdev->sgio, "unfiltered"), CONFIG_UNSUPPORTED, "unfiltered sgio is no longer supported");
    if (checks[hostdev->type] != NULL && checks[hostdev->type](hostdev, err) < 0)
        return -1;
    return check_teaming(&hostdev->teaming, "hostdev teaming", err);
}
