/* Controllers and hubs on the command line: the buses that other devices sit on. */
#define VQ_FROM VIR_FROM_QEMU
#include <stdio.h>
#include <string.h>

#include "conf/base/text.h"
#include "drivers/qemu/command_priv.h"
#include "drivers/qemu/devices.h"
#include "drivers/qemu/disk.h"

static void write_pci_controller(struct vq_qemu_writer *writer, const struct vq_controller *controller)
{
    json_t *device;

    if (controller->index == 0)
        return; /* the root bus comes with the machine */
    device = vq_qemu_device_new(writer, controller->pci_model_name, &controller->info);
    if (controller->has_target_port)
        vq_qemu_json_number(device, "port", controller->target_port);
    if (controller->has_chassis)
        vq_qemu_json_number(device, "chassis", controller->chassis);
    if (controller->has_chassis_nr)
        vq_qemu_json_number(device, "chassis_nr", controller->chassis_nr);
    if (controller->has_busnr)
        vq_qemu_json_number(device, "bus_nr", controller->busnr);
    if (controller->has_numa_node)
        vq_qemu_json_number(device, "numa_node", controller->numa_node);
    vq_qemu_json_bool(device, "hotplug", controller->hotplug);
    vq_qemu_arg_json(writer, "-device", device);
}

static const char *usb_device(const char *model)
{
    static const struct {
        const char *model, *device;
    } table[] = {{"piix3-uhci", "piix3-usb-uhci"}, {"piix4-uhci", "piix4-usb-uhci"}, {"ehci", "usb-ehci"},
                 {"ich9-ehci1", "ich9-usb-ehci1"}, {"ich9-uhci1", "ich9-usb-uhci1"}, {"ich9-uhci2", "ich9-usb-uhci2"},
                 {"ich9-uhci3", "ich9-usb-uhci3"}, {"vt82c686b-uhci", "vt82c686b-usb-uhci"}, {"pci-ohci", "pci-ohci"},
                 {"nec-xhci", "nec-usb-xhci"}, {"qemu-xhci", "qemu-xhci"}};

    for (size_t i = 0; i < VQ_N_ELEMENTS(table); i++)
        if (vq_streq(table[i].model, model))
            return table[i].device;
    return NULL;
}

static int write_usb_controller(struct vq_qemu_writer *writer, const struct vq_controller *controller,
                                struct vq_error *err)
{
    const char *driver = usb_device(controller->model);
    char bus[160];

    if (vq_streq(controller->model, "none"))
        return 0;
    if (driver == NULL)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "USB controller %u: unsupported model '%s'",
                            controller->index, controller->model);
    json_t *device = vq_qemu_device_new(writer, driver, &controller->info);
    if (controller->has_usb_master) {
        (void)snprintf(bus, sizeof(bus), "%s.0", controller->info.alias); /* companions share the name of their master */
        json_object_del(device, "id");
        vq_qemu_json_text(device, "masterbus", bus);
        vq_qemu_json_number(device, "firstport", controller->usb_master_startport);
    } else if (controller->ports != 0 && strstr(driver, "xhci") != NULL) {
        vq_qemu_json_number(device, "p2", controller->ports);
        vq_qemu_json_number(device, "p3", controller->ports);
    }
    vq_qemu_arg_json(writer, "-device", device);
    return 0;
}

static int write_scsi_controller(struct vq_qemu_writer *writer, const struct vq_controller *controller,
                                 struct vq_error *err)
{
    const char *driver = vq_qemu_scsi_device(controller->model);
    char iothread[32], name[64];

    if (driver == NULL)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "Unsupported controller model: %s", controller->model);
    if (strcmp(driver, "virtio-scsi-pci") == 0) {
        vq_qemu_virtio_name(name, sizeof(name), "virtio-scsi", VQ_VIRTIO_MODEL_UNSET, &controller->info);
        driver = name;
    }
    json_t *device = vq_qemu_device_new(writer, driver, &controller->info);
    if (controller->iothread != 0) {
        (void)snprintf(iothread, sizeof(iothread), "iothread%u", controller->iothread);
        vq_qemu_json_text(device, "iothread", iothread);
    }
    if (controller->queues != 0)
        vq_qemu_json_number(device, "num_queues", controller->queues);
    if (controller->cmd_per_lun != 0)
        vq_qemu_json_number(device, "cmd_per_lun", controller->cmd_per_lun);
    if (controller->max_sectors != 0)
        vq_qemu_json_number(device, "max_sectors", controller->max_sectors);
    vq_qemu_json_bool(device, "ioeventfd", controller->ioeventfd);
    vq_qemu_json_virtio(device, &controller->virtio);
    vq_qemu_arg_json(writer, "-device", device);
    return 0;
}

static void write_serial_controller(struct vq_qemu_writer *writer, const struct vq_controller *controller)
{
    enum vq_virtio_model model = vq_streq(controller->model, "virtio-transitional")       ? VQ_VIRTIO_MODEL_TRANSITIONAL
                                 : vq_streq(controller->model, "virtio-non-transitional") ? VQ_VIRTIO_MODEL_NON_TRANSITIONAL
                                                                                          : VQ_VIRTIO_MODEL_VIRTIO;
    char name[64];

    vq_qemu_virtio_name(name, sizeof(name), "virtio-serial", model, &controller->info);
    json_t *device = vq_qemu_device_new(writer, name, &controller->info);
    if (controller->ports != 0)
        vq_qemu_json_number(device, "max_ports", controller->ports);
    if (controller->has_vectors)
        vq_qemu_json_number(device, "vectors", controller->vectors);
    vq_qemu_json_virtio(device, &controller->virtio);
    vq_qemu_arg_json(writer, "-device", device);
}

static void write_floppy_controller(struct vq_qemu_writer *writer, const struct vq_controller *controller)
{
    const struct vq_devices *devices = &writer->def->devices;
    json_t *device = vq_qemu_device_new(writer, "isa-fdc", &controller->info);

    for (size_t i = 0; i < devices->n_disks; i++) {
        uint32_t boot = vq_qemu_disk_boot_index(writer->def, devices->disks[i]);
        if (devices->disks[i]->bus == VQ_DISK_BUS_FDC && boot != 0)
            vq_qemu_json_number(device, devices->disks[i]->info.address.drive.unit == 0 ? "bootindexA" : "bootindexB", boot);
    }
    vq_qemu_arg_json(writer, "-device", device);
}

static int write_controller(struct vq_qemu_writer *writer, const struct vq_controller *controller, struct vq_error *err)
{
    switch (controller->type) {
    case VQ_CONTROLLER_PCI:
        write_pci_controller(writer, controller);
        return 0;
    case VQ_CONTROLLER_USB:
        return write_usb_controller(writer, controller, err);
    case VQ_CONTROLLER_SCSI:
        return write_scsi_controller(writer, controller, err);
    case VQ_CONTROLLER_VIRTIO_SERIAL:
        write_serial_controller(writer, controller);
        return 0;
    case VQ_CONTROLLER_SATA:
        /* The first one of a q35 is part of the machine. */
        if (controller->index != 0 || strncmp(writer->def->os.machine, "pc-q35", 6) != 0)
            vq_qemu_arg_json(writer, "-device", vq_qemu_device_new(writer, "ahci", &controller->info));
        return 0;
    case VQ_CONTROLLER_FDC:
        if (strncmp(writer->def->os.machine, "pc-q35", 6) == 0)
            write_floppy_controller(writer, controller);
        return 0;
    case VQ_CONTROLLER_CCID:
        vq_qemu_arg_json(writer, "-device", vq_qemu_device_new(writer, "usb-ccid", &controller->info));
        return 0;
    default:
        return 0; /* IDE comes with the machine; others belong to other hypervisors */
    }
}

/* Buses before what sits on them: PCI controllers in the order of their indexes, then the rest. */
int vq_qemu_write_controllers(struct vq_qemu_writer *writer, struct vq_error *err)
{
    const struct vq_devices *devices = &writer->def->devices;

    if (devices->iommu != NULL && vq_streq(devices->iommu->model, "intel")) {
        json_t *device = vq_qemu_device_new(writer, "intel-iommu", &devices->iommu->info);
        vq_qemu_json_switch(device, "intremap", devices->iommu->intremap);
        vq_qemu_json_bool(device, "caching-mode", devices->iommu->caching_mode);
        vq_qemu_json_switch(device, "eim", devices->iommu->eim);
        vq_qemu_json_bool(device, "device-iotlb", devices->iommu->iotlb);
        if (devices->iommu->aw_bits != 0)
            vq_qemu_json_number(device, "aw-bits", devices->iommu->aw_bits);
        vq_qemu_arg_json(writer, "-device", device);
    }
    for (uint32_t index = 1; index < 256; index++) {
        const struct vq_controller *controller = vq_qemu_find_controller(writer->def, VQ_CONTROLLER_PCI, index);
        if (controller != NULL)
            write_pci_controller(writer, controller);
    }
    for (size_t i = 0; i < devices->n_controllers; i++)
        if (devices->controllers[i]->type != VQ_CONTROLLER_PCI && devices->controllers[i]->type != VQ_CONTROLLER_CCID &&
            write_controller(writer, devices->controllers[i], err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_hubs; i++)
        vq_qemu_arg_json(writer, "-device", vq_qemu_device_new(writer, "usb-hub", &devices->hubs[i]->info));
    for (size_t i = 0; i < devices->n_controllers; i++) /* on ports of the others */
        if (devices->controllers[i]->type == VQ_CONTROLLER_CCID && write_controller(writer, devices->controllers[i], err) < 0)
            return -1;
    return 0;
}
