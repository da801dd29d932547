/* Small JSON objects of the command line: devices, their addresses, common properties. */
#define VQ_FROM VIR_FROM_QEMU
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conf/base/text.h"
#include "drivers/qemu/command_priv.h"
#include "drivers/qemu/devices.h"
#include "drivers/qemu/pci.h"

void vq_qemu_json_text(json_t *object, const char *key, const char *value)
{
    if (value != NULL)
        json_object_set_new(object, key, json_string(value));
}

void vq_qemu_json_number(json_t *object, const char *key, uint64_t value)
{
    json_object_set_new(object, key, json_integer((json_int_t)value));
}

void vq_qemu_json_switch(json_t *object, const char *key, enum vq_switch value)
{
    if (value != VQ_SWITCH_UNSET)
        json_object_set_new(object, key, json_string(value == VQ_SWITCH_ON ? "on" : "off"));
}

void vq_qemu_json_bool(json_t *object, const char *key, enum vq_switch value)
{
    if (value != VQ_SWITCH_UNSET)
        json_object_set_new(object, key, json_boolean(value == VQ_SWITCH_ON));
}

void vq_qemu_json_virtio(json_t *object, const struct vq_virtio_options *options)
{
    vq_qemu_json_bool(object, "iommu_platform", options->iommu);
    vq_qemu_json_bool(object, "ats", options->ats);
    vq_qemu_json_bool(object, "packed", options->packed);
    vq_qemu_json_bool(object, "page-per-vq", options->page_per_vq);
}

void vq_qemu_json_boot(struct vq_qemu_writer *writer VQ_UNUSED, json_t *object, const struct vq_device_info *info)
{
    if (info->boot_order != 0)
        vq_qemu_json_number(object, "bootindex", info->boot_order);
}

static void add_pci(const struct vq_qemu_writer *writer, json_t *object, const struct vq_pci_address *at)
{
    const struct vq_controller *bus = vq_qemu_find_controller(writer->def, VQ_CONTROLLER_PCI, at->bus);
    char text[32];

    vq_qemu_json_text(object, "bus", bus != NULL && bus->info.alias != NULL ? bus->info.alias : "pci.0");
    vq_qemu_json_bool(object, "multifunction", at->multifunction);
    if (at->function != 0)
        (void)snprintf(text, sizeof(text), "0x%x.0x%x", at->slot, at->function);
    else
        (void)snprintf(text, sizeof(text), "0x%x", at->slot);
    vq_qemu_json_text(object, "addr", text);
}

static void add_named_bus(const struct vq_qemu_writer *writer, json_t *object, enum vq_controller_type type,
                          uint32_t index, const char *fallback)
{
    const struct vq_controller *controller = vq_qemu_find_controller(writer->def, type, index);
    char bus[160];

    (void)snprintf(bus, sizeof(bus), "%s.0",
                   controller != NULL && controller->info.alias != NULL ? controller->info.alias : fallback);
    vq_qemu_json_text(object, "bus", bus);
}

static void add_address(const struct vq_qemu_writer *writer, json_t *object, const struct vq_device_info *info)
{
    const struct vq_address *at = &info->address;

    switch (at->type) {
    case VQ_ADDRESS_PCI:
        add_pci(writer, object, &at->pci);
        break;
    case VQ_ADDRESS_USB:
        add_named_bus(writer, object, VQ_CONTROLLER_USB, at->usb.bus, "usb");
        vq_qemu_json_text(object, "port", at->usb.port);
        break;
    case VQ_ADDRESS_VIRTIO_SERIAL:
        add_named_bus(writer, object, VQ_CONTROLLER_VIRTIO_SERIAL, at->virtio_serial.controller, "virtio-serial0");
        vq_qemu_json_number(object, "nr", at->virtio_serial.port);
        break;
    case VQ_ADDRESS_ISA:
        if (at->isa.has_iobase)
            vq_qemu_json_number(object, "iobase", at->isa.iobase);
        if (at->isa.has_irq)
            vq_qemu_json_number(object, "irq", at->isa.irq);
        break;
    default:
        break; /* drive addresses are the disks' own business; the rest has no place to name */
    }
    if (at->has_acpi_index)
        vq_qemu_json_number(object, "acpi-index", at->acpi_index);
}

json_t *vq_qemu_device_new(const struct vq_qemu_writer *writer, const char *driver, const struct vq_device_info *info)
{
    json_t *object = json_object();

    vq_qemu_json_text(object, "driver", driver);
    vq_qemu_json_text(object, "id", info->alias);
    add_address(writer, object, info);
    if (info->rom_enabled == VQ_SWITCH_OFF)
        vq_qemu_json_text(object, "romfile", "");
    else
        vq_qemu_json_text(object, "romfile", info->rom_file);
    if (info->rom_bar != VQ_SWITCH_UNSET)
        vq_qemu_json_number(object, "rombar", info->rom_bar == VQ_SWITCH_ON);
    return object;
}

void vq_qemu_virtio_name(char *buffer, size_t size, const char *stem, enum vq_virtio_model model,
                         const struct vq_device_info *info)
{
    const char *suffix = info->address.type == VQ_ADDRESS_VIRTIO_MMIO      ? "-device"
                         : info->address.type == VQ_ADDRESS_CCW            ? "-ccw"
                         : model == VQ_VIRTIO_MODEL_TRANSITIONAL           ? "-pci-transitional"
                         : model == VQ_VIRTIO_MODEL_NON_TRANSITIONAL       ? "-pci-non-transitional"
                                                                           : "-pci";

    (void)snprintf(buffer, size, "%s%s", stem, suffix);
}
