/* PCI addresses: a picture of all buses, filled first with what the definition says, then with what it leaves open. */
#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/pci.h"

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/devices.h"

enum { BUSES_MAX = 256, SLOTS = 32, FUNCTIONS = 8 };

/* What a bus takes, by the model of its controller. */
static const struct bus_kind {
    const char *model;
    uint8_t first_slot, last_slot;
    bool is_express;      /* takes PCI Express end points */
    bool is_conventional; /* takes conventional devices */
    bool is_root;
    bool sits_on_root;    /* its own place is a function of the root bus, eight to a slot */
} bus_kinds[] = {
    {"pci-root", 1, 31, true, true, true, false},
    {"pcie-root", 1, 31, false, false, true, false},
    {"pci-bridge", 1, 31, true, true, false, false},
    {"pcie-to-pci-bridge", 1, 31, false, true, false, false},
    {"dmi-to-pci-bridge", 0, 31, false, true, false, false},
    {"pcie-root-port", 0, 0, true, false, false, true},
    {"pcie-switch-upstream-port", 0, 31, false, false, false, false},
    {"pcie-switch-downstream-port", 0, 0, true, false, false, false},
    {"pci-expander-bus", 0, 31, true, true, false, false},
    {"pcie-expander-bus", 0, 31, false, false, false, false},
};

struct bus {
    const struct bus_kind *kind; /* NULL: there is no such bus */
    uint8_t used[SLOTS];         /* a bit for each function */
    bool multi[SLOTS];           /* function 0 said that others may follow */
};

struct picture {
    struct vq_domain *def;
    struct bus buses[BUSES_MAX];
    bool is_express;
};

/* What a device asks of its place. */
enum place {
    PLACE_EXPRESS,      /* a PCI Express end point; conventional slots will do on a conventional machine */
    PLACE_CONVENTIONAL,
};

static const struct bus_kind *find_kind(const char *model)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(bus_kinds); i++)
        if (vq_streq(bus_kinds[i].model, model))
            return &bus_kinds[i];
    return NULL;
}

bool vq_qemu_pci_is_express(const struct vq_domain *def)
{
    for (size_t i = 0; i < def->devices.n_controllers; i++) {
        const struct vq_controller *controller = def->devices.controllers[i];
        if (controller->type == VQ_CONTROLLER_PCI && controller->index == 0)
            return vq_streq(controller->model, "pcie-root");
    }
    return false;
}

static bool is_assigned(const struct vq_device_info *info)
{
    const struct vq_pci_address *at = &info->address.pci;

    return info->address.type == VQ_ADDRESS_PCI && (at->domain | at->bus | at->slot | at->function) != 0;
}

/* Devices that sit elsewhere (or nowhere) have another type; only an open one may become a PCI device. */
static bool is_open(const struct vq_device_info *info)
{
    return info->address.type == VQ_ADDRESS_UNSET || (info->address.type == VQ_ADDRESS_PCI && !is_assigned(info));
}

static int take(struct picture *picture, const struct vq_pci_address *at, struct vq_error *err)
{
    struct bus *bus = at->bus < BUSES_MAX ? &picture->buses[at->bus] : NULL;

    if (at->domain != 0)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "Invalid PCI address %04x:%02x:%02x.%x. Only PCI domain 0 is available", at->domain,
                            at->bus, at->slot, at->function);
    if (bus == NULL || bus->kind == NULL)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "PCI address %04x:%02x:%02x.%x: there is no PCI bus %u", at->domain,
                            at->bus, at->slot, at->function, at->bus);
    if (at->slot < bus->kind->first_slot || at->slot > bus->kind->last_slot || at->function >= FUNCTIONS)
        return vq_error_set(err, VIR_ERR_XML_ERROR,
                            "PCI address %04x:%02x:%02x.%x: a %s has slots %u to %u and functions 0 to 7", at->domain,
                            at->bus, at->slot, at->function, bus->kind->model, bus->kind->first_slot,
                            bus->kind->last_slot);
    if (bus->used[at->slot] & (1u << at->function))
        return vq_error_set(err, VIR_ERR_XML_ERROR, "Attempted double use of PCI Address %04x:%02x:%02x.%x", at->domain,
                            at->bus, at->slot, at->function);
    bus->used[at->slot] |= (uint8_t)(1u << at->function);
    if (at->function == 0 && at->multifunction == VQ_SWITCH_ON)
        bus->multi[at->slot] = true;
    return 0;
}

static int give(struct picture *picture, struct vq_device_info *info, uint32_t bus, uint32_t slot, uint32_t function,
                struct vq_error *err)
{
    info->address.type = VQ_ADDRESS_PCI;
    info->address.pci.domain = 0;
    info->address.pci.bus = bus;
    info->address.pci.slot = slot;
    info->address.pci.function = function;
    return take(picture, &info->address.pci, err);
}

static bool is_free(const struct picture *picture, uint32_t bus, uint32_t slot)
{
    return picture->buses[bus].kind != NULL && picture->buses[bus].used[slot] == 0;
}

static uint32_t free_index(const struct picture *picture)
{
    uint32_t index = 1;

    while (index < BUSES_MAX && picture->buses[index].kind != NULL)
        index++;
    return index;
}

static struct vq_controller *add_bus(struct picture *picture, uint32_t index, const char *model)
{
    struct vq_controller *controller = vq_qemu_add_controller(picture->def, VQ_CONTROLLER_PCI, index, model);

    picture->buses[index].kind = find_kind(model);
    return controller;
}

/* Root ports share the slots of the root bus, eight functions to a slot. */
static int place_root_port(struct picture *picture, struct vq_controller *port, struct vq_error *err)
{
    struct bus *root = &picture->buses[0];

    for (uint32_t slot = 1; slot < SLOTS; slot++) { /* slot 1 is the first video card's, if there is one */
        if (slot == 0x1f || (root->used[slot] != 0 && !root->multi[slot]))
            continue;
        for (uint32_t function = 0; function < FUNCTIONS; function++) {
            if (root->used[slot] & (1u << function))
                continue;
            port->info.address.pci.multifunction = function == 0 ? VQ_SWITCH_ON : VQ_SWITCH_UNSET;
            return give(picture, &port->info, 0, slot, function, err);
        }
    }
    return vq_error_set(err, VIR_ERR_XML_ERROR, "no slot of the root bus is left for another PCI port");
}

/* Chassis and port number follow from index and place, as guests see them. */
static void number_root_port(struct vq_controller *port)
{
    if (!port->has_chassis) {
        port->has_chassis = true;
        port->chassis = port->index;
    }
    if (!port->has_target_port) {
        port->has_target_port = true;
        port->target_port = port->info.address.pci.slot * 8 + port->info.address.pci.function;
    }
}

static int add_root_port(struct picture *picture, uint32_t index, struct vq_error *err)
{
    struct vq_controller *port = add_bus(picture, index, "pcie-root-port");

    if (place_root_port(picture, port, err) < 0)
        return -1;
    number_root_port(port);
    return 0;
}

static int find_express_bus(struct picture *picture, uint32_t *ret_bus, struct vq_error *err)
{
    for (uint32_t bus = 1; bus < BUSES_MAX; bus++) {
        const struct bus_kind *kind = picture->buses[bus].kind;
        if (kind != NULL && kind->is_express && kind->first_slot == kind->last_slot && is_free(picture, bus, 0)) {
            *ret_bus = bus;
            return 0;
        }
    }
    *ret_bus = free_index(picture);
    if (*ret_bus >= BUSES_MAX)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "more than %d PCI buses would be needed", BUSES_MAX);
    return add_root_port(picture, *ret_bus, err);
}

static bool find_conventional_slot(const struct picture *picture, uint32_t *ret_bus, uint32_t *ret_slot)
{
    for (uint32_t bus = 0; bus < BUSES_MAX; bus++) {
        const struct bus_kind *kind = picture->buses[bus].kind;
        if (kind == NULL || !kind->is_conventional)
            continue;
        for (uint32_t slot = kind->first_slot; slot <= kind->last_slot; slot++) {
            if (is_free(picture, bus, slot)) {
                *ret_bus = bus;
                *ret_slot = slot;
                return true;
            }
        }
    }
    return false;
}

/* A bridge for conventional devices: behind a root port on PCI Express, else in the last free slot there is. */
static int add_bridge(struct picture *picture, struct vq_error *err)
{
    uint32_t bus, slot = 0;

    if (picture->is_express) {
        if (find_express_bus(picture, &bus, err) < 0)
            return -1;
    } else if (!find_conventional_slot(picture, &bus, &slot)) {
        return vq_error_set(err, VIR_ERR_XML_ERROR, "no PCI slot is left, not even for a bridge");
    }
    uint32_t index = free_index(picture);
    if (index >= BUSES_MAX)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "more than %d PCI buses would be needed", BUSES_MAX);
    struct vq_controller *bridge = add_bus(picture, index, picture->is_express ? "pcie-to-pci-bridge" : "pci-bridge");
    if (!picture->is_express) {
        bridge->has_chassis_nr = true;
        bridge->chassis_nr = index;
    }
    return give(picture, &bridge->info, bus, slot, 0, err);
}

static unsigned free_conventional_slots(const struct picture *picture)
{
    unsigned n = 0;

    for (uint32_t bus = 0; bus < BUSES_MAX; bus++) {
        const struct bus_kind *kind = picture->buses[bus].kind;
        for (uint32_t slot = kind == NULL || !kind->is_conventional ? SLOTS : kind->first_slot;
             slot < SLOTS && slot <= kind->last_slot; slot++)
            n += is_free(picture, bus, slot);
    }
    return n;
}

static int place_conventional(struct picture *picture, struct vq_device_info *info, struct vq_error *err)
{
    uint32_t bus, slot;
    unsigned n_free = free_conventional_slots(picture);

    /* The last slot of a conventional machine is kept for the bridge that brings 31 more. */
    if ((n_free == 0 || (!picture->is_express && n_free == 1)) && add_bridge(picture, err) < 0)
        return -1;
    if (!find_conventional_slot(picture, &bus, &slot))
        return vq_error_set(err, VIR_ERR_XML_ERROR, "no PCI slot is left");
    return give(picture, info, bus, slot, 0, err);
}

static int place_device(struct picture *picture, struct vq_device_info *info, enum place place, struct vq_error *err)
{
    uint32_t bus;

    if (!is_open(info))
        return 0;
    if (place == PLACE_EXPRESS && picture->is_express) {
        if (find_express_bus(picture, &bus, err) < 0)
            return -1;
        return give(picture, info, bus, 0, 0, err);
    }
    return place_conventional(picture, info, err);
}

/* The bridge that conventional devices need comes before the ports of others, so that it has a low number. */
static int add_needed_bridge(struct picture *picture, struct vq_device_info *info, enum place place, struct vq_error *err)
{
    if (!picture->is_express || place != PLACE_CONVENTIONAL || !is_open(info) || free_conventional_slots(picture) > 0)
        return 0;
    return add_bridge(picture, err);
}

/* ---- What kind of device each element makes ---- */

/* A transitional device serves old drivers, which do not know PCI Express. */
static enum place virtio_place(enum vq_virtio_model model)
{
    return model == VQ_VIRTIO_MODEL_TRANSITIONAL ? PLACE_CONVENTIONAL : PLACE_EXPRESS;
}

static enum place interface_place(const struct vq_interface *interface)
{
    const char *model = interface->model;

    return model != NULL && strcmp(model, "virtio-transitional") != 0 && (strncmp(model, "virtio", 6) == 0 || strcmp(model, "e1000e") == 0 || strcmp(model, "igb") == 0)
               ? PLACE_EXPRESS
               : PLACE_CONVENTIONAL;
}

static enum place controller_place(const struct vq_controller *controller)
{
    static const char *const express[] = {"virtio-scsi", "virtio-non-transitional", "qemu-xhci", "nec-xhci"};

    if (controller->type == VQ_CONTROLLER_VIRTIO_SERIAL)
        return vq_streq(controller->model, "virtio-transitional") ? PLACE_CONVENTIONAL : PLACE_EXPRESS;
    for (size_t i = 0; i < VQ_N_ELEMENTS(express); i++)
        if (vq_streq(controller->model, express[i]))
            return PLACE_EXPRESS;
    return PLACE_CONVENTIONAL;
}

static bool controller_is_pci(const struct vq_controller *controller)
{
    switch (controller->type) {
    case VQ_CONTROLLER_SCSI:
    case VQ_CONTROLLER_SATA:
    case VQ_CONTROLLER_VIRTIO_SERIAL:
    case VQ_CONTROLLER_USB:
        return !vq_streq(controller->model, "none");
    case VQ_CONTROLLER_IDE:
        return controller->index == 0;
    default:
        return false;
    }
}

static bool video_is_pci(const struct vq_video *video)
{
    return video->model != NULL && strcmp(video->model, "none") != 0 && strcmp(video->model, "ramfb") != 0;
}

/* The controllers of an ICH9 share one slot: EHCI is function 7, UHCI 1 to 3 are functions 0 to 2. -1: another model. */
static int companion_function(const struct vq_controller *controller)
{
    static const struct {
        const char *model;
        int function;
    } ich9[] = {{"ich9-ehci1", 7}, {"ich9-uhci1", 0}, {"ich9-uhci2", 1}, {"ich9-uhci3", 2}};

    for (size_t i = 0; controller->type == VQ_CONTROLLER_USB && i < VQ_N_ELEMENTS(ich9); i++)
        if (vq_streq(controller->model, ich9[i].model))
            return ich9[i].function;
    return -1;
}

/* In the slot of those of its group that have a place, else in one of its own. */
static int place_companion(struct picture *picture, struct vq_controller *controller, struct vq_error *err)
{
    uint32_t function = (uint32_t)companion_function(controller);
    const struct vq_devices *devices = &picture->def->devices;

    if (!is_open(&controller->info))
        return 0;
    if (function == 0)
        controller->info.address.pci.multifunction = VQ_SWITCH_ON;
    for (size_t i = 0; i < devices->n_controllers; i++) {
        const struct vq_controller *other = devices->controllers[i];
        const struct vq_pci_address *at = &other->info.address.pci;
        if (other != controller && companion_function(other) >= 0 && other->index == controller->index &&
            is_assigned(&other->info) && (picture->buses[at->bus].used[at->slot] & (1u << function)) == 0)
            return give(picture, &controller->info, at->bus, at->slot, function, err);
    }
    if (place_conventional(picture, &controller->info, err) < 0)
        return -1;
    /* The slot is whole and free: move to the function within it. */
    struct vq_pci_address *at = &controller->info.address.pci;
    picture->buses[at->bus].used[at->slot] = (uint8_t)(1u << function);
    at->function = function;
    return 0;
}

/* An IOMMU is a part of the root complex, never behind a port. */
static int place_on_root(struct picture *picture, struct vq_device_info *info, struct vq_error *err)
{
    if (!is_open(info))
        return 0;
    for (uint32_t slot = 1; slot < SLOTS; slot++)
        if (is_free(picture, 0, slot))
            return give(picture, info, 0, slot, 0, err);
    return vq_error_set(err, VIR_ERR_XML_ERROR, "no PCI slot is left on the root bus");
}

typedef int (*device_fn)(struct picture *picture, struct vq_device_info *info, enum place place, struct vq_error *err);

/* Every PCI device of the definition in the order in which addresses are given. */
static int each_device(struct picture *picture, device_fn fn, struct vq_error *err)
{
    struct vq_devices *devices = &picture->def->devices;
    const enum place virtio = PLACE_EXPRESS;

    for (size_t i = 0; i < devices->n_filesystems; i++)
        if (fn(picture, &devices->filesystems[i]->info,
               vq_streq(devices->filesystems[i]->model, "virtio-transitional") ? PLACE_CONVENTIONAL : virtio, err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_interfaces; i++)
        if (!vq_streq(devices->interfaces[i]->model, "usb-net") &&
            fn(picture, &devices->interfaces[i]->info, interface_place(devices->interfaces[i]), err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_sounds; i++)
        if (vq_qemu_sound_is_pci(devices->sounds[i]) &&
            fn(picture, &devices->sounds[i]->info, PLACE_CONVENTIONAL, err) < 0)
            return -1;
    /* Placing a device may add controllers behind the present ones; those have their places already. */
    for (size_t i = 0, n = devices->n_controllers; i < n; i++) {
        struct vq_controller *controller = devices->controllers[i];
        if (!controller_is_pci(controller))
            continue;
        if (fn == place_device && companion_function(controller) >= 0
                ? place_companion(picture, controller, err) < 0
                : fn(picture, &controller->info, controller_place(controller), err) < 0)
            return -1;
    }
    for (size_t i = 0; i < devices->n_disks; i++)
        if (devices->disks[i]->bus == VQ_DISK_BUS_VIRTIO &&
            fn(picture, &devices->disks[i]->info, virtio_place(devices->disks[i]->model), err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_hostdevs; i++)
        if ((devices->hostdevs[i]->type == VQ_HOSTDEV_PCI || devices->hostdevs[i]->type == VQ_HOSTDEV_MDEV) &&
            fn(picture, &devices->hostdevs[i]->info, PLACE_EXPRESS, err) < 0)
            return -1;
    if (vq_qemu_balloon_is_present(devices->memballoon) &&
        fn(picture, &devices->memballoon->info,
           devices->memballoon->model == VQ_BALLOON_VIRTIO_TRANSITIONAL ? PLACE_CONVENTIONAL : virtio, err) < 0)
        return -1;
    for (size_t i = 0; i < devices->n_rngs; i++)
        if (fn(picture, &devices->rngs[i]->info, virtio_place(devices->rngs[i]->model), err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_videos; i++)
        if (video_is_pci(devices->videos[i]) &&
            fn(picture, &devices->videos[i]->info,
               strcmp(devices->videos[i]->model, "virtio") == 0 ? PLACE_EXPRESS : PLACE_CONVENTIONAL, err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_shmems; i++)
        if (fn(picture, &devices->shmems[i]->info, PLACE_CONVENTIONAL, err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_inputs; i++)
        if (devices->inputs[i]->bus == VQ_INPUT_BUS_VIRTIO &&
            fn(picture, &devices->inputs[i]->info, virtio_place(devices->inputs[i]->model), err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_serials; i++)
        if (devices->serials[i]->target == VQ_PORT_TARGET_PCI_SERIAL &&
            fn(picture, &devices->serials[i]->info, PLACE_CONVENTIONAL, err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_watchdogs; i++)
        if (vq_streq(devices->watchdogs[i]->model, "i6300esb") &&
            fn(picture, &devices->watchdogs[i]->info, PLACE_CONVENTIONAL, err) < 0)
            return -1;
    if (devices->vsock != NULL && fn(picture, &devices->vsock->info, virtio_place(devices->vsock->model), err) < 0)
        return -1;
    for (size_t i = 0; i < devices->n_memories; i++)
        if (strncmp(devices->memories[i]->model, "virtio-", 7) == 0 && fn(picture, &devices->memories[i]->info, virtio, err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_cryptos; i++)
        if (fn(picture, &devices->cryptos[i]->info, virtio, err) < 0)
            return -1;
    if (devices->iommu != NULL && vq_streq(devices->iommu->model, "virtio"))
        return fn == place_device ? place_on_root(picture, &devices->iommu->info, err)
                                  : fn(picture, &devices->iommu->info, virtio, err);
    return 0;
}

static int take_present(struct picture *picture, struct vq_device_info *info, enum place place VQ_UNUSED,
                        struct vq_error *err)
{
    return is_assigned(info) ? take(picture, &info->address.pci, err) : 0;
}

/* ---- Places that the machine itself dictates ---- */

static int place_fixed(struct picture *picture, struct vq_device_info *info, uint32_t slot, uint32_t function,
                       struct vq_error *err)
{
    if (!is_open(info) || (picture->buses[0].used[slot] & (1u << function)) != 0)
        return 0; /* it has an address, or another device sits there: it goes where the others go */
    return give(picture, info, 0, slot, function, err);
}

static int place_builtin_controller(struct picture *picture, struct vq_controller *controller, struct vq_error *err)
{
    if (picture->is_express && controller->type == VQ_CONTROLLER_SATA && controller->index == 0)
        return place_fixed(picture, &controller->info, 0x1f, 2, err);
    if (!picture->is_express && controller->type == VQ_CONTROLLER_IDE && controller->index == 0)
        return place_fixed(picture, &controller->info, 1, 1, err);
    if (!picture->is_express && controller->type == VQ_CONTROLLER_USB && controller->index == 0 &&
        vq_streq(controller->model, "piix3-uhci"))
        return place_fixed(picture, &controller->info, 1, 2, err);
    if (picture->is_express && companion_function(controller) >= 0 && controller->index == 0) {
        if (companion_function(controller) == 0)
            controller->info.address.pci.multifunction = VQ_SWITCH_ON;
        return place_fixed(picture, &controller->info, 0x1d, (uint32_t)companion_function(controller), err);
    }
    return 0;
}

static int place_builtin(struct picture *picture, struct vq_error *err)
{
    struct vq_devices *devices = &picture->def->devices;

    for (size_t i = 0; i < devices->n_controllers; i++)
        if (place_builtin_controller(picture, devices->controllers[i], err) < 0)
            return -1;
    if (devices->n_videos > 0 && video_is_pci(devices->videos[0]) &&
        place_fixed(picture, &devices->videos[0]->info, picture->is_express ? 1 : 2, 0, err) < 0)
        return -1;
    for (size_t i = 0; i < devices->n_sounds; i++)
        if (picture->is_express && vq_streq(devices->sounds[i]->model, "ich9") &&
            place_fixed(picture, &devices->sounds[i]->info, 0x1b, 0, err) < 0)
            return -1;
    return 0;
}

/* ---- Buses ---- */

static int read_buses(struct picture *picture, const char *root_model, struct vq_error *err)
{
    struct vq_devices *devices = &picture->def->devices;

    for (size_t i = 0; i < devices->n_controllers; i++) {
        const struct vq_controller *controller = devices->controllers[i];
        if (controller->type != VQ_CONTROLLER_PCI)
            continue;
        if (controller->index >= BUSES_MAX)
            return vq_error_set(err, VIR_ERR_XML_ERROR, "PCI controller index %u: the highest is %d", controller->index,
                                BUSES_MAX - 1);
        const struct bus_kind *kind = find_kind(controller->model);
        if (kind == NULL)
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "PCI controller %u: unknown model '%s'",
                                controller->index, controller->model);
        if (controller->index == 0 && !vq_streq(controller->model, root_model))
            return vq_error_set(err, VIR_ERR_XML_ERROR,
                                "The PCI controller with index='0' must be model='%s' for this machine type, but "
                                "model='%s' was found instead", root_model, controller->model);
        if (kind->is_root != (controller->index == 0))
            return vq_error_set(err, VIR_ERR_XML_ERROR, "PCI controller %u: model '%s' %s index 0", controller->index,
                                controller->model, kind->is_root ? "must have" : "cannot have");
        if (picture->buses[controller->index].kind != NULL)
            return vq_error_set(err, VIR_ERR_XML_ERROR, "Multiple 'pci' controllers with index '%u'", controller->index);
        picture->buses[controller->index].kind = kind;
    }
    picture->is_express = vq_qemu_pci_is_express(picture->def);
    /* Chips of the machine itself: the host bridge is slot 0 (never given out), the south bridge's functions: */
    if (picture->is_express)
        picture->buses[0].used[0x1f] = 1u << 0 | 1u << 3;
    else
        picture->buses[0].used[1] = 1u << 0 | 1u << 3;
    return 0;
}

static int highest_bus(struct picture *picture, struct vq_device_info *info, enum place place VQ_UNUSED,
                       struct vq_error *err)
{
    /* An address on a bus that nobody described brings the buses up to it. */
    if (!is_assigned(info))
        return 0;
    if (info->address.pci.bus >= BUSES_MAX)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "PCI bus %u: the highest is %d", info->address.pci.bus, BUSES_MAX - 1);
    if (picture->buses[info->address.pci.bus].kind != NULL)
        return 0; /* a gap below a bus that somebody described is theirs */
    for (uint32_t bus = 1; bus <= info->address.pci.bus; bus++)
        if (picture->buses[bus].kind == NULL)
            (void)add_bus(picture, bus, picture->is_express ? "pcie-root-port" : "pci-bridge");
    return 0;
}

static int take_controllers(struct picture *picture, struct vq_error *err)
{
    struct vq_devices *devices = &picture->def->devices;

    for (size_t i = 0; i < devices->n_controllers; i++)
        if (devices->controllers[i]->type == VQ_CONTROLLER_PCI && is_assigned(&devices->controllers[i]->info) &&
            take(picture, &devices->controllers[i]->info.address.pci, err) < 0)
            return -1;
    return 0;
}

static int give_root_slot(struct picture *picture, struct vq_device_info *info, uint32_t wanted, struct vq_error *err)
{
    if (wanted != 0 && is_free(picture, 0, wanted))
        return give(picture, info, 0, wanted, 0, err);
    for (uint32_t slot = 1; slot < SLOTS; slot++)
        if (is_free(picture, 0, slot))
            return give(picture, info, 0, slot, 0, err);
    return vq_error_set(err, VIR_ERR_XML_ERROR, "no slot of the root bus is left for another PCI controller");
}

/* A port of a switch sits behind the switch's upstream port, and nowhere else. */
static int give_switch_slot(struct picture *picture, struct vq_device_info *info, struct vq_error *err)
{
    for (uint32_t bus = 1; bus < BUSES_MAX; bus++) {
        const struct bus_kind *kind = picture->buses[bus].kind;
        if (kind == NULL || strcmp(kind->model, "pcie-switch-upstream-port") != 0)
            continue;
        for (uint32_t slot = kind->first_slot; slot <= kind->last_slot; slot++)
            if (is_free(picture, bus, slot))
                return give(picture, info, bus, slot, 0, err);
    }
    return vq_error_set(err, VIR_ERR_XML_ERROR, "a pcie-switch-downstream-port needs a pcie-switch-upstream-port with a free "
                        "slot");
}

static int place_bus(struct picture *picture, struct vq_controller *controller, const struct bus_kind *kind,
                     struct vq_error *err)
{
    enum { DMI_SLOT = 0x1e }; /* where the chip has it */
    uint32_t bus;

    if (kind->sits_on_root)
        return place_root_port(picture, controller, err);
    if (strstr(kind->model, "expander") != NULL)
        return give_root_slot(picture, &controller->info, 0, err);
    if (strcmp(kind->model, "dmi-to-pci-bridge") == 0)
        return give_root_slot(picture, &controller->info, DMI_SLOT, err);
    if (strcmp(kind->model, "pcie-switch-downstream-port") == 0)
        return give_switch_slot(picture, &controller->info, err);
    if (!picture->is_express || strcmp(kind->model, "pci-bridge") == 0)
        return place_conventional(picture, &controller->info, err);
    if (find_express_bus(picture, &bus, err) < 0)
        return -1;
    return give(picture, &controller->info, bus, 0, 0, err);
}

/* Numbers of the buses behind expanders, as the guest's firmware gives them: from the top, two apart. */
static void number_expander(const struct vq_domain *def, struct vq_controller *controller)
{
    enum { TOP = 256, APART = 2 };
    uint32_t lowest = TOP;

    if (controller->has_busnr)
        return;
    for (size_t i = 0; i < def->devices.n_controllers; i++) {
        const struct vq_controller *other = def->devices.controllers[i];
        if (other->type == VQ_CONTROLLER_PCI && other->has_busnr && other->busnr < lowest)
            lowest = other->busnr;
    }
    controller->has_busnr = lowest > APART;
    controller->busnr = controller->has_busnr ? lowest - APART : 0;
}

static void number_switch_port(struct vq_controller *port)
{
    if (!port->has_chassis) {
        port->has_chassis = true;
        port->chassis = port->index;
    }
    if (!port->has_target_port) {
        port->has_target_port = true;
        port->target_port = port->info.address.pci.slot;
    }
}

static void number_bus(const struct vq_domain *def, struct vq_controller *controller, const struct bus_kind *kind)
{
    if (kind->sits_on_root)
        number_root_port(controller);
    else if (strcmp(kind->model, "pcie-switch-downstream-port") == 0)
        number_switch_port(controller);
    else if (strstr(kind->model, "expander") != NULL)
        number_expander(def, controller);
    if (strcmp(kind->model, "pci-bridge") == 0 && !controller->has_chassis_nr) {
        controller->has_chassis_nr = true;
        controller->chassis_nr = controller->index;
    }
}

/* Ports and bridges that the definition names without saying where they sit. */
static int place_buses(struct picture *picture, struct vq_error *err)
{
    struct vq_devices *devices = &picture->def->devices;

    for (size_t i = 0; i < devices->n_controllers; i++) {
        struct vq_controller *controller = devices->controllers[i];
        const struct bus_kind *kind = controller->type == VQ_CONTROLLER_PCI ? find_kind(controller->model) : NULL;

        if (kind == NULL || kind->is_root)
            continue;
        if (is_open(&controller->info) && place_bus(picture, controller, kind, err) < 0)
            return -1;
        number_bus(picture->def, controller, kind);
    }
    return 0;
}

/* One empty port, so that a device can be plugged into a running guest. Only when this call gave out ports at all: a
 * definition that is full already stays as it is. */
static int add_spare_port(struct picture *picture, size_t controllers_before, struct vq_error *err)
{
    if (!picture->is_express || picture->def->devices.n_controllers == controllers_before)
        return 0;
    uint32_t bus;
    return find_express_bus(picture, &bus, err);
}

int vq_qemu_pci_assign(struct vq_domain *def, const char *root_model, struct vq_error *err)
{
    VQ_AUTOFREE struct picture *picture = vq_new(struct picture);
    size_t n_controllers = def->devices.n_controllers;

    picture->def = def;
    if (read_buses(picture, root_model, err) < 0)
        return -1;
    if (picture->buses[0].kind == NULL)
        return 0; /* a machine without PCI */
    if (each_device(picture, highest_bus, err) < 0 || take_controllers(picture, err) < 0 ||
        each_device(picture, take_present, err) < 0 || place_builtin(picture, err) < 0 ||
        place_buses(picture, err) < 0 || each_device(picture, add_needed_bridge, err) < 0 ||
        each_device(picture, place_device, err) < 0)
        return -1;
    return add_spare_port(picture, n_controllers, err);
}
