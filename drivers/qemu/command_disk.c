/* Disks on the command line: a protocol node, a format node, a device. Firmware images are disks of their own kind. */
#define VQ_FROM VIR_FROM_QEMU
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conf/base/text.h"
#include "drivers/qemu/command_priv.h"
#include "drivers/qemu/devices.h"

enum { CHAIN_MAX = 200, NODE_NAME = 48 };

/* What a cache mode means to QEMU: O_DIRECT, no flush, and whether the guest sees a write cache. */
static const struct cache_mode {
    enum vq_disk_cache mode;
    bool direct, no_flush, write_cache;
} cache_modes[] = {
    {VQ_DISK_CACHE_NONE, true, false, true},          {VQ_DISK_CACHE_WRITETHROUGH, false, false, false},
    {VQ_DISK_CACHE_WRITEBACK, false, false, true},    {VQ_DISK_CACHE_DIRECTSYNC, true, false, false},
    {VQ_DISK_CACHE_UNSAFE, false, true, true},
};

static const struct cache_mode *find_cache(enum vq_disk_cache mode)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(cache_modes); i++)
        if (cache_modes[i].mode == mode)
            return &cache_modes[i];
    return NULL;
}

static void add_cache(json_t *node, enum vq_disk_cache mode)
{
    const struct cache_mode *cache = find_cache(mode);

    if (cache != NULL)
        json_object_set_new(node, "cache", json_pack("{s:b, s:b}", "direct", cache->direct, "no-flush", cache->no_flush));
}

static const char *io_name(enum vq_disk_io io)
{
    switch (io) {
    case VQ_DISK_IO_NATIVE: return "native";
    case VQ_DISK_IO_THREADS: return "threads";
    case VQ_DISK_IO_URING: return "io_uring";
    default: return NULL;
    }
}

/* ---- Protocol nodes ---- */

static json_t *nbd_server(const struct vq_source *source)
{
    const struct vq_source_host *host = source->n_hosts > 0 ? source->hosts[0] : NULL;
    char port[16];

    if (host == NULL)
        return NULL;
    if (vq_streq(host->transport, "unix"))
        return json_pack("{s:s, s:s}", "type", "unix", "path", host->socket == NULL ? "" : host->socket);
    (void)snprintf(port, sizeof(port), "%u", host->port == 0 ? 10809 : host->port);
    return json_pack("{s:s, s:s, s:s}", "type", "inet", "host", host->name == NULL ? "" : host->name, "port", port);
}

static json_t *url_node(const struct vq_source *source, const char *driver)
{
    const struct vq_source_host *host = source->n_hosts > 0 ? source->hosts[0] : NULL;
    VQ_AUTOBUFFER url = VQ_BUFFER_INIT;

    if (host == NULL || host->name == NULL)
        return NULL;
    vq_buffer_addf(&url, "%s://%s", driver, host->name);
    if (host->port != 0)
        vq_buffer_addf(&url, ":%u", host->port);
    vq_buffer_addf(&url, "/%s", source->name == NULL ? "" : source->name);
    if (source->query != NULL)
        vq_buffer_addf(&url, "?%s", source->query);
    return json_pack("{s:s, s:s}", "driver", driver, "url", url.data);
}

static json_t *network_node(const struct vq_source *source)
{
    json_t *server;
    json_t *node;

    switch (source->protocol) {
    case VQ_NET_PROTOCOL_NBD:
        server = nbd_server(source);
        if (server == NULL)
            return NULL;
        node = json_pack("{s:s, s:o}", "driver", "nbd", "server", server);
        vq_qemu_json_text(node, "export", source->name);
        return node;
    case VQ_NET_PROTOCOL_HTTP: return url_node(source, "http");
    case VQ_NET_PROTOCOL_HTTPS: return url_node(source, "https");
    case VQ_NET_PROTOCOL_FTP: return url_node(source, "ftp");
    case VQ_NET_PROTOCOL_FTPS: return url_node(source, "ftps");
    default: return NULL;
    }
}

static int make_protocol(const struct vq_source *source, const char *where, json_t **ret, struct vq_error *err)
{
    json_t *node = NULL;

    if (source->type == VQ_SOURCE_FILE && source->path != NULL)
        node = json_pack("{s:s, s:s}", "driver", "file", "filename", source->path);
    else if (source->type == VQ_SOURCE_BLOCK && source->path != NULL)
        node = json_pack("{s:s, s:s}", "driver", "host_device", "filename", source->path);
    else if (source->type == VQ_SOURCE_DIR && source->path != NULL)
        node = json_pack("{s:s, s:s}", "driver", "vvfat", "dir", source->path);
    else if (source->type == VQ_SOURCE_NETWORK)
        node = network_node(source);
    if (node == NULL)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "%s: this kind of source cannot be used yet: only files, "
                            "block devices, directories, and nbd, http and ftp servers", where);
    *ret = node;
    return 0;
}

/* Formats that can name an image below them; to the others QEMU refuses even to say that there is none. */
static bool has_backing_file(const char *format)
{
    static const char *const formats[] = {"qcow2", "qcow", "qed", "vmdk"};

    for (size_t i = 0; i < VQ_N_ELEMENTS(formats); i++)
        if (strcmp(formats[i], format) == 0)
            return true;
    return false;
}

/* One image: protocol node below, format node on top. ret_name: of the format node. */
static int write_image(struct vq_qemu_writer *writer, const struct vq_disk *disk, const struct vq_source *source,
                       const char *format, bool is_readonly, const char *stem, const char *backing_node,
                       struct vq_error *err)
{
    char where[160], storage[NODE_NAME + 16], name[NODE_NAME + 16];
    json_t *node = NULL;

    (void)snprintf(where, sizeof(where), "disk '%s'", disk->target);
    if (source->encryption != NULL || disk->encryption != NULL || source->auth != NULL || disk->auth != NULL)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "%s: encryption and authentication need a secret", where);
    if (make_protocol(source, where, &node, err) < 0)
        return -1;
    (void)snprintf(storage, sizeof(storage), "%s-storage", stem);
    (void)snprintf(name, sizeof(name), "%s-format", stem);
    vq_qemu_json_text(node, "aio", io_name(disk->io));
    vq_qemu_json_text(node, "node-name", storage);
    add_cache(node, disk->cache);
    json_object_set_new(node, "auto-read-only", json_true());
    vq_qemu_json_text(node, "discard", "unmap");
    vq_qemu_arg_json(writer, "-blockdev", node);

    node = json_pack("{s:s, s:b}", "node-name", name, "read-only", is_readonly);
    if (disk->discard == VQ_DISK_DISCARD_UNMAP)
        vq_qemu_json_text(node, "discard", "unmap");
    else if (disk->discard == VQ_DISK_DISCARD_IGNORE)
        vq_qemu_json_text(node, "discard", "ignore");
    if (disk->detect_zeroes != VQ_DISK_ZEROES_UNSET)
        vq_qemu_json_text(node, "detect-zeroes", disk->detect_zeroes == VQ_DISK_ZEROES_OFF   ? "off"
                                                 : disk->detect_zeroes == VQ_DISK_ZEROES_ON  ? "on"
                                                 : disk->discard == VQ_DISK_DISCARD_UNMAP    ? "unmap"
                                                                                             : "on");
    add_cache(node, disk->cache);
    vq_qemu_json_text(node, "driver", format);
    vq_qemu_json_text(node, "file", storage);
    if (backing_node != NULL && has_backing_file(format))
        json_object_set_new(node, "backing", backing_node[0] == '\0' ? json_null() : json_string(backing_node));
    vq_qemu_arg_json(writer, "-blockdev", node);
    return 0;
}

/* <backingStore/> without anything in it: the chain ends here. */
static bool ends_chain(const struct vq_backing *backing)
{
    return backing->is_terminator || (backing->source.type == VQ_SOURCE_UNSET && backing->source.path == NULL);
}

/* The chain below the top image, deepest first. name: of the node that the image above names; "" ends the chain. */
static int write_backing(struct vq_qemu_writer *writer, const struct vq_disk *disk, const struct vq_backing *backing,
                         unsigned depth, char name[NODE_NAME + 16], struct vq_error *err)
{
    char below[NODE_NAME + 16], stem[NODE_NAME];

    name[0] = '\0';
    if (backing == NULL || ends_chain(backing))
        return 0;
    if (depth > CHAIN_MAX)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "disk '%s': more than %d images in its chain", disk->target,
                            CHAIN_MAX);
    if (write_backing(writer, disk, backing->backing, depth + 1, below, err) < 0)
        return -1;
    (void)snprintf(stem, sizeof(stem), "libvirt-%u-%u", disk->source.index, depth);
    if (write_image(writer, disk, &backing->source, backing->format == NULL ? "raw" : backing->format, true, stem,
                    backing->backing == NULL ? NULL : below, err) < 0)
        return -1;
    (void)snprintf(name, NODE_NAME + 16, "%s-format", stem);
    return 0;
}

/* ---- Devices ---- */

static const char *device_name(const struct vq_disk *disk, char *buffer, size_t size)
{
    switch (disk->bus) {
    case VQ_DISK_BUS_VIRTIO:
        vq_qemu_virtio_name(buffer, size, "virtio-blk", disk->model, &disk->info);
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
        if (controller != NULL && vq_streq(controller->model, "lsilogic")) {
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

/* <boot dev='hd'/> means the first disk, 'cdrom' the first CD drive, 'fd' the first floppy; interfaces: see the devices. */
static uint32_t boot_index_by_class(const struct vq_domain *def, const struct vq_disk *disk)
{
    enum vq_boot_dev class = disk->device == VQ_DISK_DEVICE_CDROM    ? VQ_BOOT_CDROM
                             : disk->device == VQ_DISK_DEVICE_FLOPPY ? VQ_BOOT_FD
                                                                     : VQ_BOOT_HD;

    for (size_t i = 0; i < def->devices.n_disks; i++) {
        const struct vq_disk *other = def->devices.disks[i];
        if (other == disk)
            break;
        if ((other->device == VQ_DISK_DEVICE_CDROM) == (disk->device == VQ_DISK_DEVICE_CDROM) &&
            (other->device == VQ_DISK_DEVICE_FLOPPY) == (disk->device == VQ_DISK_DEVICE_FLOPPY))
            return 0;
    }
    for (size_t i = 0; i < def->os.n_boot; i++)
        if (def->os.boot[i]->dev == class)
            return (uint32_t)i + 1;
    return 0;
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
    const struct cache_mode *cache = find_cache(disk->cache);
    uint32_t boot = disk->info.boot_order != 0 ? disk->info.boot_order : boot_index_by_class(writer->def, disk);
    bool is_virtio = disk->bus == VQ_DISK_BUS_VIRTIO;
    char iothread[32];

    if (boot != 0)
        vq_qemu_json_number(device, "bootindex", boot);
    if (disk->device != VQ_DISK_DEVICE_LUN && disk->bus != VQ_DISK_BUS_FDC && cache != NULL)
        vq_qemu_json_text(device, "write-cache", cache->write_cache ? "on" : "off");
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

static bool has_medium(const struct vq_disk *disk)
{
    return disk->source.path != NULL || disk->source.type == VQ_SOURCE_NETWORK || disk->source.type == VQ_SOURCE_VOLUME ||
           disk->source.type == VQ_SOURCE_NVME || disk->source.type == VQ_SOURCE_VHOST_USER;
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

static void write_limits(struct vq_qemu_writer *writer, const struct vq_disk *disk, char top[NODE_NAME + 16])
{
    json_t *limits = make_limits(&disk->iotune);
    char group[256], name[NODE_NAME + 16];

    if (json_object_size(limits) == 0 && disk->iotune.group_name == NULL) {
        json_decref(limits);
        return;
    }
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
    (void)snprintf(top, NODE_NAME + 16, "%s", name);
}

static int write_disk_images(struct vq_qemu_writer *writer, const struct vq_disk *disk, char top[NODE_NAME + 16],
                             struct vq_error *err)
{
    char backing[NODE_NAME + 16], stem[NODE_NAME];

    (void)snprintf(stem, sizeof(stem), "libvirt-%u", disk->source.index);
    if (write_backing(writer, disk, disk->backing, 1, backing, err) < 0 ||
        write_image(writer, disk, &disk->source, disk->format == NULL ? "raw" : disk->format,
                    disk->is_readonly || disk->device == VQ_DISK_DEVICE_CDROM, stem,
                    disk->backing == NULL ? NULL : backing, err) < 0)
        return -1;
    (void)snprintf(top, NODE_NAME + 16, "%s-format", stem);
    if (disk->copy_on_read == VQ_SWITCH_ON) {
        char name[NODE_NAME + 16];
        (void)snprintf(name, sizeof(name), "libvirt-CoR-%s", disk->target);
        vq_qemu_arg_json(writer, "-blockdev",
                         json_pack("{s:s, s:s, s:s}", "driver", "copy-on-read", "node-name", name, "file", top));
        (void)snprintf(top, NODE_NAME + 16, "%s", name);
    }
    write_limits(writer, disk, top);
    return 0;
}

static int write_disk(struct vq_qemu_writer *writer, const struct vq_disk *disk, struct vq_error *err)
{
    char buffer[64], top[NODE_NAME + 16];
    const char *driver = device_name(disk, buffer, sizeof(buffer));

    if (driver == NULL)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "disk '%s': unsupported bus", disk->target);
    if (disk->device == VQ_DISK_DEVICE_LUN && disk->bus == VQ_DISK_BUS_VIRTIO)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                            "disk '%s': device 'lun' needs bus 'scsi' with a virtio-scsi controller", disk->target);
    if (disk->is_transient)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "disk '%s': transient disks are not supported", disk->target);
    if (!has_medium(disk) && disk->device != VQ_DISK_DEVICE_CDROM && disk->device != VQ_DISK_DEVICE_FLOPPY)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "disk '%s' has no source", disk->target);
    bool has_node = has_medium(disk);
    if (has_node && write_disk_images(writer, disk, top, err) < 0)
        return -1;
    json_t *device = vq_qemu_device_new(writer, driver, &disk->info);
    add_drive_address(writer, device, disk);
    if (has_node)
        vq_qemu_json_text(device, "drive", top);
    add_disk_properties(writer, device, disk);
    vq_qemu_arg_json(writer, "-device", device);
    return 0;
}

int vq_qemu_write_disks(struct vq_qemu_writer *writer, struct vq_error *err)
{
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
