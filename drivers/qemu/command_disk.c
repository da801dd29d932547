/* Disks on the command line: the nodes of their images, what stands between those and the device, the device. Firmware images are
 * disks of their own kind. */
#define VQ_FROM VIR_FROM_QEMU
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/command_priv.h"
#include "drivers/qemu/command_source.h"
#include "drivers/qemu/devices.h"
#include "drivers/qemu/disk.h"

enum { CHAIN_MAX = 200, NODE_NAME = VQ_QEMU_NODE_NAME };

/* ---- Images ---- */

static struct vq_qemu_image image_of_backing(const struct vq_disk *disk, const struct vq_backing *backing)
{
    return (struct vq_qemu_image){
        .disk = disk,
        .source = &backing->source,
        .format = backing->format == NULL ? "raw" : backing->format,
        .encryption = backing->source.encryption,
        .auth = backing->source.auth,
        .metadata_cache_size = backing->metadata_cache_size,
        .is_readonly = true,
    };
}

/* The chain below the top image, deepest first. name: of the node that the image above names; "" ends the chain. */
static int write_backing(struct vq_qemu_writer *writer, const struct vq_disk *disk, const struct vq_backing *backing,
                         unsigned depth, char name[NODE_NAME], struct vq_error *err)
{
    struct vq_qemu_image image;
    char below[NODE_NAME];

    name[0] = '\0';
    if (!vq_qemu_backing_is_image(backing))
        return 0;
    if (depth > CHAIN_MAX)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "disk '%s': more than %d images in its chain", disk->target,
                            CHAIN_MAX);
    image = image_of_backing(disk, backing);
    if (write_backing(writer, disk, backing->backing, depth + 1, below, err) < 0)
        return -1;
    image.backing = backing->backing == NULL ? NULL : below;
    if (vq_qemu_write_image(writer, &image, err) < 0)
        return -1;
    vq_qemu_node_name(name, &backing->source, "format");
    return 0;
}

static int write_images(struct vq_qemu_writer *writer, const struct vq_disk *disk, char top[NODE_NAME],
                        struct vq_error *err)
{
    struct vq_qemu_image image = vq_qemu_image_of_disk(disk);
    char below[NODE_NAME];

    if (write_backing(writer, disk, disk->backing, 1, below, err) < 0)
        return -1;
    image.backing = disk->backing == NULL ? NULL : below;
    if (vq_qemu_write_image(writer, &image, err) < 0)
        return -1;
    vq_qemu_node_name(top, &disk->source, "format");
    return 0;
}

/* ---- Devices ---- */

static const char *device_name(const struct vq_disk *disk, char *buffer, size_t size)
{
    switch (disk->bus) {
    case VQ_DISK_BUS_VIRTIO:
        vq_qemu_virtio_name(buffer, size,
                            disk->source.type == VQ_SOURCE_VHOST_USER ? "vhost-user-blk" : "virtio-blk", disk->model,
                            &disk->info);
        return buffer;
    case VQ_DISK_BUS_SCSI:
        return disk->device == VQ_DISK_DEVICE_CDROM ? "scsi-cd" : disk->device == VQ_DISK_DEVICE_LUN ? "scsi-block" : "scsi-hd";
    case VQ_DISK_BUS_SATA:
    case VQ_DISK_BUS_IDE:
        return disk->device == VQ_DISK_DEVICE_CDROM ? "ide-cd" : "ide-hd";
    case VQ_DISK_BUS_FDC:
        return "floppy";
    case VQ_DISK_BUS_USB:
        return "usb-storage";
    default:
        return NULL;
    }
}

static void add_drive_address(const struct vq_qemu_writer *writer, json_t *device, const struct vq_disk *disk)
{
    const struct vq_address *at = &disk->info.address;
    const struct vq_controller *controller;
    char bus[160], id[192];

    switch (disk->bus) {
    case VQ_DISK_BUS_SCSI:
        controller = vq_qemu_find_controller(writer->def, VQ_CONTROLLER_SCSI, at->drive.controller);
        (void)snprintf(bus, sizeof(bus), "%s.%u", controller == NULL ? "scsi0" : controller->info.alias,
                       at->drive.bus);
        vq_qemu_json_text(device, "bus", bus);
        if (controller != NULL && vq_qemu_scsi_has_no_lun(controller->model)) {
            vq_qemu_json_number(device, "scsi-id", at->drive.unit);
        } else {
            vq_qemu_json_number(device, "channel", 0);
            vq_qemu_json_number(device, "scsi-id", at->drive.target);
            vq_qemu_json_number(device, "lun", at->drive.unit);
        }
        (void)snprintf(id, sizeof(id), "drive-%s", disk->info.alias);
        if (disk->device != VQ_DISK_DEVICE_LUN)
            vq_qemu_json_text(device, "device_id", disk->serial != NULL ? disk->serial : id);
        break;
    case VQ_DISK_BUS_SATA:
        controller = vq_qemu_find_controller(writer->def, VQ_CONTROLLER_SATA, at->drive.controller);
        (void)snprintf(bus, sizeof(bus), "%s.%u", controller == NULL ? "ide" : controller->info.alias, at->drive.unit);
        vq_qemu_json_text(device, "bus", bus);
        break;
    case VQ_DISK_BUS_IDE:
        (void)snprintf(bus, sizeof(bus), "ide.%u", at->drive.bus);
        vq_qemu_json_text(device, "bus", bus);
        vq_qemu_json_number(device, "unit", at->drive.unit);
        break;
    case VQ_DISK_BUS_FDC:
        vq_qemu_json_number(device, "unit", at->drive.unit);
        break;
    default:
        break;
    }
}

static const char *error_action(enum vq_disk_error_policy policy)
{
    switch (policy) {
    case VQ_DISK_ERROR_STOP: return "stop";
    case VQ_DISK_ERROR_REPORT: return "report";
    case VQ_DISK_ERROR_IGNORE: return "ignore";
    case VQ_DISK_ERROR_ENOSPACE: return "enospc";
    default: return NULL;
    }
}

static void add_disk_properties(struct vq_qemu_writer *writer, json_t *device, const struct vq_disk *disk)
{
    uint32_t boot = vq_qemu_disk_boot_index(writer->def, disk);
    bool is_virtio = disk->bus == VQ_DISK_BUS_VIRTIO, has_write_cache;
    char iothread[32];

    if (boot != 0 && disk->bus != VQ_DISK_BUS_FDC) /* floppies: of their controller */
        vq_qemu_json_number(device, "bootindex", boot);
    if (disk->device == VQ_DISK_DEVICE_DISK && disk->source.type != VQ_SOURCE_VHOST_USER &&
        vq_qemu_disk_write_cache(vq_qemu_disk_cache(disk), &has_write_cache))
        vq_qemu_json_text(device, "write-cache", has_write_cache ? "on" : "off");
    if (is_virtio && disk->iothread != 0) {
        (void)snprintf(iothread, sizeof(iothread), "iothread%u", disk->iothread);
        vq_qemu_json_text(device, "iothread", iothread);
    }
    if (is_virtio && disk->queues != 0)
        vq_qemu_json_number(device, "num-queues", disk->queues);
    if (is_virtio && disk->queue_size != 0)
        vq_qemu_json_number(device, "queue-size", disk->queue_size);
    if (is_virtio) {
        vq_qemu_json_bool(device, "ioeventfd", disk->ioeventfd);
        vq_qemu_json_bool(device, "event_idx", disk->event_idx);
        vq_qemu_json_virtio(device, &disk->virtio);
    }
    if (disk->is_shareable)
        json_object_set_new(device, "share-rw", json_true());
    if (disk->bus == VQ_DISK_BUS_USB)
        vq_qemu_json_bool(device, "removable", disk->removable == VQ_SWITCH_UNSET ? VQ_SWITCH_OFF : disk->removable);
    if (disk->logical_block_size != 0)
        vq_qemu_json_number(device, "logical_block_size", disk->logical_block_size);
    if (disk->physical_block_size != 0)
        vq_qemu_json_number(device, "physical_block_size", disk->physical_block_size);
    if (disk->rotation_rate != 0)
        vq_qemu_json_number(device, "rotation_rate", disk->rotation_rate);
    if (disk->cylinders != 0 && disk->heads != 0 && disk->sectors != 0) {
        vq_qemu_json_number(device, "cyls", disk->cylinders);
        vq_qemu_json_number(device, "heads", disk->heads);
        vq_qemu_json_number(device, "secs", disk->sectors);
        vq_qemu_json_text(device, "bios-chs-trans", disk->trans);
    }
    vq_qemu_json_text(device, "serial", disk->serial);
    vq_qemu_json_text(device, "vendor", disk->vendor);
    vq_qemu_json_text(device, "product", disk->product);
    if (disk->wwn != NULL) {
        uint64_t wwn;
        if (vq_parse_u64(disk->wwn, 16, UINT64_MAX, &wwn))
            vq_qemu_json_number(device, "wwn", wwn);
    }
    vq_qemu_json_text(device, "werror", error_action(disk->error_policy));
    vq_qemu_json_text(device, "rerror",
                      disk->rerror_policy != VQ_DISK_ERROR_UNSET   ? error_action(disk->rerror_policy)
                      : disk->error_policy == VQ_DISK_ERROR_ENOSPACE ? NULL
                                                                     : error_action(disk->error_policy));
}

/* ---- I/O limits: a throttle group, and a filter node that belongs to it ---- */

static json_t *make_limits(const struct vq_iotune *tune)
{
    const struct {
        const char *name;
        uint64_t value;
    } limits[] = {
        {"bps-total", tune->total_bytes},           {"bps-read", tune->read_bytes},
        {"bps-write", tune->write_bytes},           {"iops-total", tune->total_iops},
        {"iops-read", tune->read_iops},             {"iops-write", tune->write_iops},
        {"bps-total-max", tune->total_bytes_max},   {"bps-read-max", tune->read_bytes_max},
        {"bps-write-max", tune->write_bytes_max},   {"iops-total-max", tune->total_iops_max},
        {"iops-read-max", tune->read_iops_max},     {"iops-write-max", tune->write_iops_max},
        {"bps-total-max-length", tune->total_bytes_max_length},
        {"bps-read-max-length", tune->read_bytes_max_length},
        {"bps-write-max-length", tune->write_bytes_max_length},
        {"iops-total-max-length", tune->total_iops_max_length},
        {"iops-read-max-length", tune->read_iops_max_length},
        {"iops-write-max-length", tune->write_iops_max_length},
        {"iops-size", tune->size_iops},
    };
    json_t *object = json_object();

    for (size_t i = 0; i < VQ_N_ELEMENTS(limits); i++)
        if (limits[i].value != 0)
            vq_qemu_json_number(object, limits[i].name, limits[i].value);
    return object;
}

/* Disks that name the same group share one; its limits are those of the first of them. */
static bool group_was_written(const struct vq_domain *def, const struct vq_disk *disk)
{
    for (size_t i = 0; i < def->devices.n_disks && def->devices.disks[i] != disk; i++)
        if (disk->iotune.group_name != NULL && vq_streq(def->devices.disks[i]->iotune.group_name, disk->iotune.group_name))
            return true;
    return false;
}

static void write_limits(struct vq_qemu_writer *writer, const struct vq_disk *disk, char top[NODE_NAME])
{
    json_t *limits;
    char group[256], name[NODE_NAME];

    if (!vq_qemu_disk_has_limits(disk))
        return;
    limits = make_limits(&disk->iotune);
    (void)snprintf(group, sizeof(group), "throttle-%s",
                   disk->iotune.group_name != NULL ? disk->iotune.group_name : disk->info.alias);
    if (group_was_written(writer->def, disk))
        json_decref(limits);
    else
        vq_qemu_arg_json(writer, "-object",
                         json_pack("{s:s, s:s, s:o}", "qom-type", "throttle-group", "id", group, "limits", limits));
    (void)snprintf(name, sizeof(name), "libvirt-%u-throttle", disk->source.index);
    vq_qemu_arg_json(writer, "-blockdev",
                     json_pack("{s:s, s:s, s:s, s:s}", "driver", "throttle", "node-name", name, "throttle-group", group,
                               "file", top));
    (void)snprintf(top, NODE_NAME, "%s", name);
}

/* What the guest reads is kept in its own image, so that the chain below is needed less and less. */
static void write_copy_on_read(struct vq_qemu_writer *writer, const struct vq_disk *disk, char top[NODE_NAME])
{
    char name[NODE_NAME];
    json_t *node;

    if (disk->copy_on_read != VQ_SWITCH_ON)
        return;
    (void)snprintf(name, sizeof(name), "libvirt-CoR-%.32s", disk->target);
    node = json_pack("{s:s, s:s, s:s}", "driver", "copy-on-read", "node-name", name, "file", top);
    vq_qemu_json_text(node, "discard", "unmap");
    vq_qemu_arg_json(writer, "-blockdev", node);
    (void)snprintf(top, NODE_NAME, "%s", name);
}

/* Read by another process, over a socket: no node of ours, and what the guest may do is that process' affair. */
static int write_vhost_user(struct vq_qemu_writer *writer, const struct vq_disk *disk, const char *driver,
                            struct vq_error *err)
{
    VQ_AUTOBUFFER chardev = VQ_BUFFER_INIT;
    char id[160];
    json_t *device;

    if (disk->bus != VQ_DISK_BUS_VIRTIO || disk->source.path == NULL)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "disk '%s': vhostuser disk supports only virtio bus, and "
                            "needs the path of a socket", disk->target);
    (void)snprintf(id, sizeof(id), "chr-vu-%s", disk->info.alias);
    vq_buffer_addf(&chardev, "socket,id=%s,path=", id);
    vq_qemu_add_value(&chardev, disk->source.path);
    if (disk->source.reconnect.enabled == VQ_SWITCH_ON)
        vq_buffer_addf(&chardev, ",reconnect=%u", disk->source.reconnect.timeout_s);
    vq_qemu_arg_buffer(writer, "-chardev", &chardev);
    device = vq_qemu_device_new(writer, driver, &disk->info);
    vq_qemu_json_text(device, "chardev", id);
    add_disk_properties(writer, device, disk);
    vq_qemu_arg_json(writer, "-device", device);
    return 0;
}

/* A floppy is booted from its controller; one that comes with the machine is told so as such things are. */
static void write_floppy_boot(struct vq_qemu_writer *writer, const struct vq_disk *disk)
{
    uint32_t boot = vq_qemu_disk_boot_index(writer->def, disk);
    char option[64];

    if (disk->bus != VQ_DISK_BUS_FDC || boot == 0 || strncmp(writer->def->os.machine, "pc-q35", 6) == 0)
        return;
    (void)snprintf(option, sizeof(option), "isa-fdc.bootindex%c=%u", disk->info.address.drive.unit == 0 ? 'A' : 'B', boot);
    vq_qemu_arg_pair(writer, "-global", option);
}

static int write_disk(struct vq_qemu_writer *writer, const struct vq_disk *disk, struct vq_error *err)
{
    char buffer[64], top[NODE_NAME];
    const char *driver = device_name(disk, buffer, sizeof(buffer));
    bool has_medium = vq_qemu_disk_has_medium(disk);

    if (driver == NULL)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "disk '%s': unsupported bus", disk->target);
    if (disk->source.type == VQ_SOURCE_VHOST_USER)
        return write_vhost_user(writer, disk, driver, err);
    if (has_medium) {
        if (write_images(writer, disk, top, err) < 0)
            return -1;
        write_copy_on_read(writer, disk, top);
        write_limits(writer, disk, top);
    }
    write_floppy_boot(writer, disk);
    json_t *device = vq_qemu_device_new(writer, driver, &disk->info);
    add_drive_address(writer, device, disk);
    if (has_medium)
        vq_qemu_json_text(device, "drive", top);
    add_disk_properties(writer, device, disk);
    vq_qemu_arg_json(writer, "-device", device);
    return 0;
}

/* The helper for reservations that all disks share which do not name one of their own. */
static void write_reservation_helper(struct vq_qemu_writer *writer)
{
    const struct vq_devices *devices = &writer->def->devices;
    VQ_AUTOFREE char *path = vq_asprintf("%s/pr-helper0.sock", writer->launch->dir);
    bool is_needed = false;

    for (size_t i = 0; i < devices->n_disks; i++)
        is_needed = is_needed || devices->disks[i]->source.reservations_managed == VQ_SWITCH_ON;
    if (is_needed)
        vq_qemu_arg_json(writer, "-object",
                         json_pack("{s:s, s:s, s:s}", "qom-type", "pr-manager-helper", "id", "pr-helper0", "path", path));
}

int vq_qemu_write_disks(struct vq_qemu_writer *writer, struct vq_error *err)
{
    write_reservation_helper(writer);
    for (size_t i = 0; i < writer->def->devices.n_disks; i++)
        if (write_disk(writer, writer->def->devices.disks[i], err) < 0)
            return -1;
    return 0;
}

/* ---- Firmware ---- */

static void write_flash(struct vq_qemu_writer *writer, const char *name, const char *path, bool is_readonly)
{
    char storage[NODE_NAME], format[NODE_NAME];

    (void)snprintf(storage, sizeof(storage), "libvirt-%s-storage", name);
    (void)snprintf(format, sizeof(format), "libvirt-%s-format", name);
    vq_qemu_arg_json(writer, "-blockdev",
                     json_pack("{s:s, s:s, s:s, s:b, s:s}", "driver", "file", "filename", path, "node-name", storage,
                               "auto-read-only", 1, "discard", "unmap"));
    vq_qemu_arg_json(writer, "-blockdev",
                     json_pack("{s:s, s:b, s:s, s:s}", "node-name", format, "read-only", is_readonly, "driver", "raw",
                               "file", storage));
}

int vq_qemu_write_firmware(struct vq_qemu_writer *writer, struct vq_buffer *machine, struct vq_error *err)
{
    const struct vq_os *os = &writer->def->os;

    if (os->loader == NULL) {
        if (os->firmware == VQ_FIRMWARE_EFI)
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                                "firmware 'efi' was not chosen for this guest; name a <loader> with type 'pflash'");
        return 0;
    }
    if (os->loader_type != VQ_LOADER_PFLASH) {
        vq_qemu_arg_pair(writer, "-bios", os->loader);
        return 0;
    }
    write_flash(writer, "pflash0", os->loader, os->loader_readonly != VQ_SWITCH_OFF);
    vq_buffer_add(machine, ",pflash0=libvirt-pflash0-format");
    if (os->loader_secure == VQ_SWITCH_ON)
        vq_qemu_arg_pair(writer, "-global", "driver=cfi.pflash01,property=secure,value=on");
    if (os->nvram != NULL) {
        write_flash(writer, "pflash1", os->nvram, false);
        vq_buffer_add(machine, ",pflash1=libvirt-pflash1-format");
    }
    return 0;
}
