/* What QEMU cannot do with a disk, told when it is defined and not when it is started. */
#define VQ_FROM VIR_FROM_QEMU
#include <string.h>

#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/disk.h"

static const char *bus_name(enum vq_disk_bus bus)
{
    static const char *const names[VQ_DISK_BUS_N] = {
        [VQ_DISK_BUS_IDE] = "ide", [VQ_DISK_BUS_FDC] = "fdc", [VQ_DISK_BUS_SCSI] = "scsi", [VQ_DISK_BUS_VIRTIO] = "virtio",
        [VQ_DISK_BUS_USB] = "usb", [VQ_DISK_BUS_SATA] = "sata", [VQ_DISK_BUS_SD] = "sd"};

    return bus < VQ_DISK_BUS_N && names[bus] != NULL ? names[bus] : "?";
}

static bool has_iothread(const struct vq_domain *def, uint32_t id)
{
    for (size_t i = 0; i < def->n_iothread_ids; i++)
        if (def->iothread_ids[i]->id == id)
            return true;
    /* A count alone makes threads 1 to n, beside those that are named. */
    return id >= 1 && id <= def->iothreads;
}

static int check_driver(const struct vq_domain *def, const struct vq_disk *disk, struct vq_error *err)
{
    bool is_virtio = disk->bus == VQ_DISK_BUS_VIRTIO;
    const struct vq_virtio_options *virtio = &disk->virtio;

    if (disk->iothread != 0 && !is_virtio)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "IOThreads not available for bus %s target %s",
                            bus_name(disk->bus), disk->target);
    if (disk->iothread != 0 && !has_iothread(def, disk->iothread))
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "Disk iothread '%u' not defined in iothreadid", disk->iothread);
    if (disk->queues != 0 && !is_virtio)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "queues attribute in disk driver element is only supported by "
                            "virtio-blk");
    if (!is_virtio && (virtio->iommu | virtio->ats | virtio->packed | virtio->page_per_vq) != VQ_SWITCH_UNSET)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "%s driver option is only supported for virtio devices",
                            virtio->iommu != VQ_SWITCH_UNSET ? "iommu" : virtio->ats != VQ_SWITCH_UNSET ? "ats"
                            : virtio->packed != VQ_SWITCH_UNSET ? "packed" : "page_per_vq");
    if (disk->io == VQ_DISK_IO_NATIVE && disk->cache != VQ_DISK_CACHE_NONE && disk->cache != VQ_DISK_CACHE_DIRECTSYNC)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "io='native' needs either no disk cache or directsync cache mode");
    if (disk->copy_on_read == VQ_SWITCH_ON && disk->is_readonly)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "copy_on_read is not compatible with read-only disk '%s'",
                            disk->target);
    if (disk->copy_on_read == VQ_SWITCH_ON && (disk->device == VQ_DISK_DEVICE_LUN || disk->device == VQ_DISK_DEVICE_FLOPPY))
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "copy_on_read is not compatible with the device of disk '%s'",
                            disk->target);
    if (disk->metadata_cache_size != 0 && !vq_streq(disk->format, "qcow2"))
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "metadata cache max size control is supported only with qcow2 "
                            "images");
    return 0;
}

static int check_device(const struct vq_disk *disk, struct vq_error *err)
{
    bool is_drive = disk->bus == VQ_DISK_BUS_IDE || disk->bus == VQ_DISK_BUS_SATA;
    bool has_rotation = is_drive || disk->bus == VQ_DISK_BUS_SCSI;

    if (disk->rotation_rate != 0 && !has_rotation)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "rotation rate is only valid for SCSI/IDE/SATA bus");
    if (disk->device == VQ_DISK_DEVICE_DISK && disk->is_readonly && is_drive)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "readonly %s disks are not supported", bus_name(disk->bus));
    if (disk->is_shareable && !disk->is_readonly && disk->device != VQ_DISK_DEVICE_CDROM && disk->format != NULL &&
        strcmp(disk->format, "raw") != 0)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "shared access for disk '%s' requires use of supported storage "
                            "format", disk->target);
    if ((disk->vendor != NULL || disk->product != NULL) && disk->bus != VQ_DISK_BUS_SCSI)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "Only scsi disk supports vendor and product");
    if (disk->wwn != NULL && !has_rotation)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "Only ide and scsi disk support wwn");
    if (disk->cylinders != 0 && (disk->bus == VQ_DISK_BUS_USB || disk->bus == VQ_DISK_BUS_FDC))
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "CHS geometry can not be set for '%s' bus", bus_name(disk->bus));
    if (disk->sgio != NULL && disk->device != VQ_DISK_DEVICE_LUN)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "sgio can be used only with device='lun'");
    return 0;
}

static int check_source(const struct vq_disk *disk, struct vq_error *err)
{
    const struct vq_source *source = &disk->source;
    bool has_reservations = source->reservations_managed != VQ_SWITCH_UNSET;

    if (disk->device == VQ_DISK_DEVICE_LUN && source->type != VQ_SOURCE_BLOCK && source->type != VQ_SOURCE_VOLUME &&
        !(source->type == VQ_SOURCE_NETWORK && source->protocol == VQ_NET_PROTOCOL_ISCSI))
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "disk device='lun' is only valid for block type disk source");
    if (has_reservations && disk->device != VQ_DISK_DEVICE_LUN)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "<reservations/> allowed only for lun devices");
    if (source->type == VQ_SOURCE_DIR && source->path != NULL && !vq_streq(disk->format, "fat"))
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "storage type 'dir' requires use of storage format 'fat'");
    if (source->type == VQ_SOURCE_DIR && source->path != NULL && !disk->is_readonly)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "virtual FAT storage can't be accessed in read-write mode");
    if (source->type == VQ_SOURCE_VHOST_VDPA && disk->cache != VQ_DISK_CACHE_NONE && disk->cache != VQ_DISK_CACHE_DIRECTSYNC)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "vhostvdpa disk '%s' needs cache mode 'none' or 'directsync'",
                            disk->target);
    if (source->type == VQ_SOURCE_VHOST_USER && disk->bus != VQ_DISK_BUS_VIRTIO)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "vhostuser disk supports only virtio bus");
    return 0;
}

static int check_limits(const struct vq_disk *disk, struct vq_error *err)
{
    const struct vq_iotune *tune = &disk->iotune;
    const struct {
        uint64_t total, read, write;
        const char *what;
    } groups[] = {
        {tune->total_bytes, tune->read_bytes, tune->write_bytes, "bytes_sec"},
        {tune->total_iops, tune->read_iops, tune->write_iops, "iops_sec"},
        {tune->total_bytes_max, tune->read_bytes_max, tune->write_bytes_max, "bytes_sec_max"},
        {tune->total_iops_max, tune->read_iops_max, tune->write_iops_max, "iops_sec_max"},
    };

    for (size_t i = 0; i < VQ_N_ELEMENTS(groups); i++)
        if (groups[i].total != 0 && (groups[i].read | groups[i].write) != 0)
            return vq_error_set(err, VIR_ERR_XML_ERROR, "total and read/write %s cannot be set at the same time",
                                groups[i].what);
    return 0;
}

int vq_qemu_disk_check(const struct vq_domain *def, const struct vq_disk *disk, struct vq_error *err)
{
    if (check_driver(def, disk, err) < 0 || check_device(disk, err) < 0 || check_limits(disk, err) < 0)
        return -1;
    return check_source(disk, err);
}
