/* USB and virtio-serial ports. */
#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/addresses.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/devices.h"

enum { USB_BUSES_MAX = 32, USB_PORTS_MAX = 16, HUB_PORTS = 8 };

/* ---- USB ---- */

struct usb_bus {
    bool exists;
    uint32_t n_ports;
    bool used[USB_PORTS_MAX];
    bool hub_used[USB_PORTS_MAX][HUB_PORTS]; /* ports of a hub in that port */
    bool is_hub[USB_PORTS_MAX];
};

static uint32_t controller_ports(const struct vq_controller *controller)
{
    static const struct {
        const char *model;
        uint32_t ports;
    } table[] = {{"piix3-uhci", 2}, {"piix4-uhci", 2}, {"ehci", 6}, {"ich9-ehci1", 6}, {"vt82c686b-uhci", 2},
                 {"pci-ohci", 3}, {"nec-xhci", 4}, {"qemu-xhci", 4}};

    if (controller->ports != 0)
        return controller->ports > USB_PORTS_MAX - 1 ? USB_PORTS_MAX - 1 : controller->ports;
    for (size_t i = 0; i < VQ_N_ELEMENTS(table); i++)
        if (vq_streq(table[i].model, controller->model))
            return table[i].ports;
    return 0;
}

static void read_usb_buses(const struct vq_domain *def, struct usb_bus buses[USB_BUSES_MAX])
{
    for (size_t i = 0; i < def->devices.n_controllers; i++) {
        const struct vq_controller *controller = def->devices.controllers[i];
        if (controller->type != VQ_CONTROLLER_USB || controller->index >= USB_BUSES_MAX ||
            controller->has_usb_master || vq_streq(controller->model, "none"))
            continue;
        buses[controller->index].exists = true;
        buses[controller->index].n_ports = controller_ports(controller);
    }
}

/* "3" or "3.2"; deeper hubs are taken as written and only checked for shape. */
static bool read_port(const char *text, unsigned *ret_port, unsigned *ret_sub)
{
    char *end;
    unsigned long port = strtoul(text, &end, 10);

    if (end == text || port == 0 || port >= USB_PORTS_MAX)
        return false;
    *ret_port = (unsigned)port;
    *ret_sub = 0;
    if (*end == '.') {
        unsigned long sub = strtoul(end + 1, &end, 10);
        if (sub == 0 || sub > HUB_PORTS)
            return false;
        *ret_sub = (unsigned)sub;
    }
    return *end == '\0' || *end == '.';
}

static int usb_take(struct usb_bus buses[USB_BUSES_MAX], const struct vq_device_info *info, struct vq_error *err)
{
    unsigned port, sub;
    uint32_t bus = info->address.usb.bus;

    if (bus >= USB_BUSES_MAX || !buses[bus].exists)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "USB bus %u requested but no controller with that index is present",
                            bus);
    if (!read_port(info->address.usb.port, &port, &sub) || port > buses[bus].n_ports)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "USB port '%s' of bus %u: the controller has ports 1 to %u",
                            info->address.usb.port, bus, buses[bus].n_ports);
    bool *place = sub == 0 ? &buses[bus].used[port] : &buses[bus].hub_used[port][sub - 1];
    if (*place)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "Duplicate USB address bus %u port %s", bus,
                            info->address.usb.port);
    *place = true;
    return 0;
}

/* A free port of this bus: the controller's own before those of hubs. False: none. */
static bool usb_find(const struct usb_bus *bus, unsigned *ret_port, unsigned *ret_sub)
{
    for (unsigned port = 1; port <= bus->n_ports; port++) {
        if (bus->used[port])
            continue;
        *ret_port = port;
        *ret_sub = 0;
        return true;
    }
    for (unsigned port = 1; port <= bus->n_ports; port++) {
        for (unsigned sub = 0; bus->is_hub[port] && sub < HUB_PORTS; sub++) {
            if (bus->hub_used[port][sub])
                continue;
            *ret_port = port;
            *ret_sub = sub + 1;
            return true;
        }
    }
    return false;
}

static int usb_give(struct usb_bus buses[USB_BUSES_MAX], struct vq_device_info *info, bool goes_anywhere,
                    struct vq_error *err)
{
    uint32_t first = goes_anywhere ? 0 : info->address.usb.bus;
    bool has_bus = false;
    unsigned port, sub;

    for (uint32_t bus = first; bus < USB_BUSES_MAX && (goes_anywhere || bus == first); bus++) {
        has_bus = has_bus || buses[bus].exists;
        if (!buses[bus].exists || !usb_find(&buses[bus], &port, &sub))
            continue;
        info->address.type = VQ_ADDRESS_USB;
        info->address.usb.bus = bus;
        (void)snprintf(info->address.usb.port, sizeof(info->address.usb.port), sub == 0 ? "%u" : "%u.%u", port, sub);
        return usb_take(buses, info, err);
    }
    if (!has_bus)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "Can't add USB device. USB bus is disabled");
    return vq_error_set(err, VIR_ERR_XML_ERROR, "No free USB ports: add a USB controller or a hub");
}

typedef int (*usb_fn)(struct usb_bus *buses, struct vq_device_info *info, bool is_hub, struct vq_error *err);

static int each_usb_device(struct vq_domain *def, struct usb_bus *buses, usb_fn fn, struct vq_error *err)
{
    struct vq_devices *devices = &def->devices;

    for (size_t i = 0; i < devices->n_hubs; i++)
        if (fn(buses, &devices->hubs[i]->info, true, err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_controllers; i++)
        if (devices->controllers[i]->type == VQ_CONTROLLER_CCID &&
            fn(buses, &devices->controllers[i]->info, false, err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_disks; i++)
        if (devices->disks[i]->bus == VQ_DISK_BUS_USB && fn(buses, &devices->disks[i]->info, false, err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_inputs; i++)
        if (devices->inputs[i]->bus == VQ_INPUT_BUS_USB && fn(buses, &devices->inputs[i]->info, false, err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_sounds; i++)
        if (vq_streq(devices->sounds[i]->model, "usb") && fn(buses, &devices->sounds[i]->info, false, err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_interfaces; i++)
        if (vq_streq(devices->interfaces[i]->model, "usb-net") &&
            fn(buses, &devices->interfaces[i]->info, false, err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_serials; i++)
        if (devices->serials[i]->target == VQ_PORT_TARGET_USB_SERIAL &&
            fn(buses, &devices->serials[i]->info, false, err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_hostdevs; i++)
        if (devices->hostdevs[i]->type == VQ_HOSTDEV_USB && fn(buses, &devices->hostdevs[i]->info, false, err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_redirdevs; i++)
        if (fn(buses, &devices->redirdevs[i]->info, false, err) < 0)
            return -1;
    return 0;
}

static int usb_present(struct usb_bus *buses, struct vq_device_info *info, bool is_hub, struct vq_error *err)
{
    unsigned port, sub;

    if (info->address.type != VQ_ADDRESS_USB || info->address.usb.port[0] == '\0')
        return 0;
    if (usb_take(buses, info, err) < 0)
        return -1;
    if (is_hub && read_port(info->address.usb.port, &port, &sub) && sub == 0)
        buses[info->address.usb.bus].is_hub[port] = true;
    return 0;
}

static int usb_missing(struct usb_bus *buses, struct vq_device_info *info, bool is_hub, struct vq_error *err)
{
    unsigned port, sub;

    if (info->address.type != VQ_ADDRESS_UNSET &&
        !(info->address.type == VQ_ADDRESS_USB && info->address.usb.port[0] == '\0'))
        return 0;
    if (usb_give(buses, info, info->address.type == VQ_ADDRESS_UNSET, err) < 0)
        return -1;
    if (is_hub && read_port(info->address.usb.port, &port, &sub) && sub == 0)
        buses[info->address.usb.bus].is_hub[port] = true;
    return 0;
}

int vq_qemu_usb_assign(struct vq_domain *def, struct vq_error *err)
{
    VQ_AUTOFREE struct usb_bus *buses = vq_calloc(USB_BUSES_MAX, sizeof(*buses));

    read_usb_buses(def, buses);
    if (each_usb_device(def, buses, usb_present, err) < 0)
        return -1;
    return each_usb_device(def, buses, usb_missing, err);
}

/* ---- virtio-serial ---- */

enum { SERIAL_CONTROLLERS_MAX = 64, SERIAL_PORTS_MAX = 512 };

struct serial_ports {
    const struct vq_domain *def;
    uint8_t used[SERIAL_CONTROLLERS_MAX][SERIAL_PORTS_MAX];
};

static uint32_t serial_port_limit(const struct vq_domain *def, uint32_t index)
{
    const struct vq_controller *controller = vq_qemu_find_controller(def, VQ_CONTROLLER_VIRTIO_SERIAL, index);

    if (controller == NULL)
        return 0;
    uint32_t ports = controller->ports == 0 ? VQ_QEMU_VIRTIO_SERIAL_PORTS : controller->ports;
    return ports > SERIAL_PORTS_MAX ? SERIAL_PORTS_MAX : ports;
}

static int serial_take(struct serial_ports *ports, const struct vq_device_info *info, struct vq_error *err)
{
    uint32_t controller = info->address.virtio_serial.controller, port = info->address.virtio_serial.port;

    if (controller >= SERIAL_CONTROLLERS_MAX || port >= serial_port_limit(ports->def, controller))
        return vq_error_set(err, VIR_ERR_XML_ERROR, "virtio serial controller %u has no port %u", controller, port);
    if (ports->used[controller][port])
        return vq_error_set(err, VIR_ERR_XML_ERROR, "virtio serial port %u on controller %u is already occupied", port,
                            controller);
    ports->used[controller][port] = 1;
    return 0;
}

/* Port 0 is the guest's first console by tradition, so only consoles may have it. */
static int serial_assign(struct serial_ports *ports, struct vq_port *port, bool is_console, struct vq_error *err)
{
    struct vq_device_info *info = &port->info;

    for (uint32_t controller = 0; controller < SERIAL_CONTROLLERS_MAX; controller++) {
        for (uint32_t number = is_console ? 0 : 1; number < serial_port_limit(ports->def, controller); number++) {
            if (ports->used[controller][number])
                continue;
            info->address.type = VQ_ADDRESS_VIRTIO_SERIAL;
            info->address.virtio_serial.controller = controller;
            info->address.virtio_serial.bus = 0;
            info->address.virtio_serial.port = number;
            return serial_take(ports, info, err);
        }
    }
    return vq_error_set(err, VIR_ERR_XML_ERROR, "Unable to find a free virtio-serial port: add a controller");
}

int vq_qemu_virtio_serial_assign(struct vq_domain *def, struct vq_error *err)
{
    VQ_AUTOFREE struct serial_ports *ports = vq_new(struct serial_ports);
    struct vq_devices *devices = &def->devices;

    ports->def = def;
    for (int pass = 0; pass < 2; pass++) { /* what is there first, what is missing second */
        for (size_t i = 0; i < devices->n_consoles + devices->n_channels; i++) {
            bool is_console = i < devices->n_consoles;
            struct vq_port *port = is_console ? devices->consoles[i] : devices->channels[i - devices->n_consoles];
            const struct vq_address *at = &port->info.address;
            bool is_there = at->type == VQ_ADDRESS_VIRTIO_SERIAL && (is_console || at->virtio_serial.port != 0);

            if (port->target != VQ_PORT_TARGET_VIRTIO || is_there != (pass == 0))
                continue;
            if ((is_there ? serial_take(ports, &port->info, err) : serial_assign(ports, port, is_console, err)) < 0)
                return -1;
        }
    }
    return 0;
}
