/* Devices that hold data: disks, their controllers, file systems. */
#define VQ_FROM VIR_FROM_DOMAIN
#include <stdlib.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/device_fields.h"

const char *const vq_source_type_names[VQ_SOURCE_N] = {
    [VQ_SOURCE_FILE] = "file",
    [VQ_SOURCE_BLOCK] = "block",
    [VQ_SOURCE_DIR] = "dir",
    [VQ_SOURCE_NETWORK] = "network",
    [VQ_SOURCE_VOLUME] = "volume",
    [VQ_SOURCE_NVME] = "nvme",
    [VQ_SOURCE_VHOST_USER] = "vhostuser",
    [VQ_SOURCE_VHOST_VDPA] = "vhostvdpa",
};

static const char *const protocol_names[VQ_NET_PROTOCOL_N] = {
    [VQ_NET_PROTOCOL_NBD] = "nbd",         [VQ_NET_PROTOCOL_RBD] = "rbd",     [VQ_NET_PROTOCOL_SHEEPDOG] = "sheepdog",
    [VQ_NET_PROTOCOL_GLUSTER] = "gluster", [VQ_NET_PROTOCOL_ISCSI] = "iscsi", [VQ_NET_PROTOCOL_HTTP] = "http",
    [VQ_NET_PROTOCOL_HTTPS] = "https",     [VQ_NET_PROTOCOL_FTP] = "ftp",     [VQ_NET_PROTOCOL_FTPS] = "ftps",
    [VQ_NET_PROTOCOL_TFTP] = "tftp",       [VQ_NET_PROTOCOL_SSH] = "ssh",     [VQ_NET_PROTOCOL_VXHS] = "vxhs",
    [VQ_NET_PROTOCOL_NFS] = "nfs",
};

static const struct vq_field host_rows[] = {
    VQ_STRING("@name", vq_source_host, name),
    VQ_UINT("@port", vq_source_host, port, .max = 65535),
    VQ_STRING("@transport", vq_source_host, transport, .flags = VQ_FIELD_UNSUPPORTED, VQ_WORDS("tcp", "unix", "rdma")),
    VQ_STRING("@socket", vq_source_host, socket),
};
/* TCP goes without saying. */
static int host_parsed(void *object, const struct vq_xml_node *node, struct vq_error *err)
{
    struct vq_source_host *host = object;

    (void)node, (void)err;
    if (vq_streq(host->transport, "tcp"))
        free(vq_take(host->transport));
    return 0;
}
VQ_FIELDS_EXPORT(vq_source_host_fields, "host", vq_source_host, host_rows, .parsed = host_parsed);

static const struct vq_field cookie_rows[] = {
    VQ_STRING("@name", vq_cookie, name, .flags = VQ_FIELD_REQUIRED),
    VQ_STRING(".", vq_cookie, value, .flags = VQ_FIELD_SECRET),
};
VQ_FIELDS(cookie_fields, "cookie", vq_cookie, cookie_rows);

static const struct vq_field slice_rows[] = {
    VQ_STRING("@type", vq_slice, type),
    VQ_U64("@offset", vq_slice, offset, .flags = VQ_FIELD_REQUIRED),
    VQ_U64("@size", vq_slice, size, .flags = VQ_FIELD_REQUIRED),
};
VQ_FIELDS(slice_fields, "slice", vq_slice, slice_rows);

#define OF(kind)   VQ_IS(VQ_SOURCE_##kind)
#define FOR(kinds) VQ_WHEN(vq_source, type, kinds)

static const struct vq_field source_rows[] = {
    VQ_STRING("@file", vq_source, path, FOR(OF(FILE) | OF(UNSET))),
    VQ_STRING("@fdgroup", vq_source, fd_group, FOR(OF(FILE) | OF(UNSET))),
    VQ_STRING("@dev", vq_source, path, FOR(OF(BLOCK) | OF(VHOST_VDPA))),
    VQ_STRING("@dir", vq_source, path, FOR(OF(DIR))),
    VQ_ENUM("@protocol", vq_source, protocol, protocol_names, FOR(OF(NETWORK)), .flags = VQ_FIELD_REQUIRED),
    VQ_STRING("@name", vq_source, name, FOR(OF(NETWORK))),
    VQ_STRING("@query", vq_source, query, FOR(OF(NETWORK))),
    VQ_YES_NO("@tls", vq_source, tls, FOR(OF(NETWORK))),
    VQ_STRING("@tlsHostname", vq_source, tls_hostname, FOR(OF(NETWORK))),
    VQ_STRING("@pool", vq_source, pool, FOR(OF(VOLUME)), .flags = VQ_FIELD_REQUIRED),
    VQ_STRING("@volume", vq_source, volume, FOR(OF(VOLUME)), .flags = VQ_FIELD_REQUIRED),
    VQ_STRING("@mode", vq_source, volume_mode, FOR(OF(VOLUME)), .flags = VQ_FIELD_UNSUPPORTED,
              VQ_WORDS("direct", "host")),
    VQ_STRING("@type", vq_source, nvme_type, FOR(OF(NVME)), VQ_WORDS("pci")),
    VQ_YES_NO("@managed", vq_source, nvme_managed, FOR(OF(NVME))),
    VQ_UINT("@namespace", vq_source, nvme_namespace, FOR(OF(NVME))),
    VQ_CONSTANT("@type", "unix", FOR(OF(VHOST_USER))),
    VQ_STRING("@path", vq_source, path, FOR(OF(VHOST_USER))),
    VQ_STRUCT("reconnect", vq_source, reconnect, vq_reconnect_fields, FOR(OF(VHOST_USER))),
    VQ_ENUM("@startupPolicy", vq_source, startup_policy, vq_startup_policy_names),
    VQ_LIST("host", vq_source, hosts, vq_source_host_fields, FOR(OF(NETWORK)), .size = 64),
    VQ_STRING("snapshot/@name", vq_source, snapshot, FOR(OF(NETWORK))),
    VQ_STRING("config/@file", vq_source, config_file, FOR(OF(NETWORK))),
    VQ_STRING("initiator/iqn/@name", vq_source, initiator, FOR(OF(NETWORK))),
    VQ_STRING("identity/@user", vq_source, identity_user, FOR(OF(NETWORK))),
    VQ_STRING("identity/@group", vq_source, identity_group, FOR(OF(NETWORK))),
    VQ_STRUCT("address", vq_source, nvme_address, vq_pci_address_fields, FOR(OF(NVME))),
    VQ_LIST("slices/slice", vq_source, slices, slice_fields, .size = 16),
    VQ_YES_NO("ssl/@verify", vq_source, ssl_verify, FOR(OF(NETWORK))),
    VQ_LIST("cookies/cookie", vq_source, cookies, cookie_fields, FOR(OF(NETWORK)), .flags = VQ_FIELD_SECRET,
            .size = 64),
    VQ_U64("readahead/@size", vq_source, readahead, FOR(OF(NETWORK))),
    VQ_UINT("timeout/@seconds", vq_source, timeout_s, FOR(OF(NETWORK))),
    VQ_OPTIONAL("auth", vq_source, auth, vq_auth_fields),
    VQ_LIST("seclabel", vq_source, seclabels, vq_seclabel_fields, .size = 16),
    VQ_YES_NO("reservations/@managed", vq_source, reservations_managed, .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_STRING("reservations/source/@type", vq_source, reservations_type),
    VQ_STRING("reservations/source/@path", vq_source, reservations_path),
    VQ_STRING("reservations/source/@mode", vq_source, reservations_mode),
    VQ_OPTIONAL("encryption", vq_source, encryption, vq_encryption_fields),
};
VQ_FIELDS_EXPORT(vq_source_fields, "source", vq_source, source_rows);

/* What was found out about a chain when a run began is no part of the definition. */
#define CONFIGURED(type) VQ_WHEN(type, chain, VQ_IS(VQ_CHAIN_CONFIGURED))
#define DETECTED(type)   VQ_WHEN(type, chain, VQ_IS(VQ_CHAIN_DETECTED))

/* The table refers to itself: chains are as deep as elements may nest. */
static const struct vq_fields backing_fields;

static const struct vq_field backing_rows[] = {
    VQ_ENUM("@type", vq_backing, source.type, vq_source_type_names, .flags = VQ_FIELD_UNSUPPORTED),
    VQ_UINT("@index", vq_backing, source.index, .flags = VQ_FIELD_LIVE),
    VQ_STRING("format/@type", vq_backing, format,
              VQ_WORDS("raw", "dir", "bochs", "cloop", "dmg", "iso", "vpc", "vdi", "none", "fat", "vhd", "ploop", "cow",
                       "qcow", "qcow2", "qed", "vmdk")),
    VQ_SIZE("format/metadata_cache/max_size", vq_backing, metadata_cache_size, 1),
    VQ_STRUCT("source", vq_backing, source, vq_source_fields),
    VQ_OPTIONAL("backingStore", vq_backing, backing, backing_fields, CONFIGURED(vq_backing), .flags = VQ_FIELD_ALWAYS),
    VQ_OPTIONAL("backingStore", vq_backing, backing, backing_fields, DETECTED(vq_backing),
                .flags = VQ_FIELD_ALWAYS | VQ_FIELD_LIVE),
};
VQ_FIELDS(backing_fields, "backingStore", vq_backing, backing_rows);

static const char *const mirror_ready_names[VQ_MIRROR_READY_N] = {
    [VQ_MIRROR_READY] = "yes",
    [VQ_MIRROR_PIVOT] = "pivot",
    [VQ_MIRROR_ABORT] = "abort",
};

static const struct vq_field mirror_rows[] = {
    VQ_ENUM("@type", vq_mirror, source.type, vq_source_type_names, .flags = VQ_FIELD_UNSUPPORTED),
    VQ_STRING("@file", vq_mirror, file),
    VQ_STRING("@format", vq_mirror, file_format),
    VQ_STRING("@job", vq_mirror, job),
    VQ_ENUM("@ready", vq_mirror, ready, mirror_ready_names),
    VQ_STRING("format/@type", vq_mirror, format),
    VQ_SIZE("format/metadata_cache/max_size", vq_mirror, metadata_cache_size, 1),
    VQ_STRUCT("source", vq_mirror, source, vq_source_fields),
    VQ_UINT("source/@index", vq_mirror, source.index, .flags = VQ_FIELD_LIVE),
    VQ_OPTIONAL("backingStore", vq_mirror, backing, backing_fields, .flags = VQ_FIELD_ALWAYS),
};
VQ_FIELDS(mirror_fields, "mirror", vq_mirror, mirror_rows);

static const char *const device_names[VQ_DISK_DEVICE_N] = {
    [VQ_DISK_DEVICE_DISK] = "disk",
    [VQ_DISK_DEVICE_CDROM] = "cdrom",
    [VQ_DISK_DEVICE_FLOPPY] = "floppy",
    [VQ_DISK_DEVICE_LUN] = "lun",
};

static const char *const bus_names[VQ_DISK_BUS_N] = {
    [VQ_DISK_BUS_IDE] = "ide",       [VQ_DISK_BUS_FDC] = "fdc",   [VQ_DISK_BUS_SCSI] = "scsi",
    [VQ_DISK_BUS_VIRTIO] = "virtio", [VQ_DISK_BUS_XEN] = "xen",   [VQ_DISK_BUS_USB] = "usb",
    [VQ_DISK_BUS_UML] = "uml",       [VQ_DISK_BUS_SATA] = "sata", [VQ_DISK_BUS_SD] = "sd",
};

static const char *const cache_names[VQ_DISK_CACHE_N] = {
    [VQ_DISK_CACHE_DEFAULT] = "default",           [VQ_DISK_CACHE_NONE] = "none",
    [VQ_DISK_CACHE_WRITETHROUGH] = "writethrough", [VQ_DISK_CACHE_WRITEBACK] = "writeback",
    [VQ_DISK_CACHE_DIRECTSYNC] = "directsync",     [VQ_DISK_CACHE_UNSAFE] = "unsafe",
};

static const char *const error_policy_names[VQ_DISK_ERROR_N] = {
    [VQ_DISK_ERROR_STOP] = "stop",
    [VQ_DISK_ERROR_REPORT] = "report",
    [VQ_DISK_ERROR_IGNORE] = "ignore",
    [VQ_DISK_ERROR_ENOSPACE] = "enospace",
};

static const char *const io_names[VQ_DISK_IO_N] = {
    [VQ_DISK_IO_NATIVE] = "native", [VQ_DISK_IO_THREADS] = "threads", [VQ_DISK_IO_URING] = "io_uring"};
static const char *const discard_names[VQ_DISK_DISCARD_N] = {
    [VQ_DISK_DISCARD_UNMAP] = "unmap", [VQ_DISK_DISCARD_IGNORE] = "ignore"};
static const char *const zeroes_names[VQ_DISK_ZEROES_N] = {
    [VQ_DISK_ZEROES_OFF] = "off", [VQ_DISK_ZEROES_ON] = "on", [VQ_DISK_ZEROES_UNMAP] = "unmap"};
static const char *const tray_names[VQ_DISK_TRAY_N] = {[VQ_DISK_TRAY_CLOSED] = "closed", [VQ_DISK_TRAY_OPEN] = "open"};

static const struct vq_field iotune_rows[] = {
    VQ_U64("total_bytes_sec", vq_iotune, total_bytes),
    VQ_U64("read_bytes_sec", vq_iotune, read_bytes),
    VQ_U64("write_bytes_sec", vq_iotune, write_bytes),
    VQ_U64("total_iops_sec", vq_iotune, total_iops),
    VQ_U64("read_iops_sec", vq_iotune, read_iops),
    VQ_U64("write_iops_sec", vq_iotune, write_iops),
    VQ_U64("total_bytes_sec_max", vq_iotune, total_bytes_max),
    VQ_U64("read_bytes_sec_max", vq_iotune, read_bytes_max),
    VQ_U64("write_bytes_sec_max", vq_iotune, write_bytes_max),
    VQ_U64("total_iops_sec_max", vq_iotune, total_iops_max),
    VQ_U64("read_iops_sec_max", vq_iotune, read_iops_max),
    VQ_U64("write_iops_sec_max", vq_iotune, write_iops_max),
    VQ_U64("size_iops_sec", vq_iotune, size_iops),
    VQ_STRING("group_name", vq_iotune, group_name),
    VQ_U64("total_bytes_sec_max_length", vq_iotune, total_bytes_max_length),
    VQ_U64("read_bytes_sec_max_length", vq_iotune, read_bytes_max_length),
    VQ_U64("write_bytes_sec_max_length", vq_iotune, write_bytes_max_length),
    VQ_U64("total_iops_sec_max_length", vq_iotune, total_iops_max_length),
    VQ_U64("read_iops_sec_max_length", vq_iotune, read_iops_max_length),
    VQ_U64("write_iops_sec_max_length", vq_iotune, write_iops_max_length),
};
VQ_FIELDS(iotune_fields, "iotune", vq_iotune, iotune_rows);

static const struct vq_field disk_rows[] = {
    VQ_ENUM("@type", vq_disk, source.type, vq_source_type_names, .flags = VQ_FIELD_UNSUPPORTED),
    VQ_ENUM("@device", vq_disk, device, device_names, .flags = VQ_FIELD_UNSUPPORTED),
    VQ_ENUM("@model", vq_disk, model, vq_virtio_model_names, .flags = VQ_FIELD_UNSUPPORTED),
    VQ_YES_NO("@rawio", vq_disk, rawio),
    VQ_STRING("@sgio", vq_disk, sgio, VQ_WORDS("filtered", "unfiltered")),
    VQ_STRING("@snapshot", vq_disk, snapshot, VQ_WORDS("no", "internal", "external", "manual")),
    VQ_STRING("driver/@name", vq_disk, driver_name),
    VQ_STRING("driver/@type", vq_disk, format),
    VQ_ENUM("driver/@cache", vq_disk, cache, cache_names, .flags = VQ_FIELD_UNSUPPORTED),
    VQ_ENUM("driver/@error_policy", vq_disk, error_policy, error_policy_names),
    VQ_ENUM("driver/@rerror_policy", vq_disk, rerror_policy, error_policy_names),
    VQ_ENUM("driver/@io", vq_disk, io, io_names),
    VQ_ON_OFF("driver/@ioeventfd", vq_disk, ioeventfd),
    VQ_ON_OFF("driver/@event_idx", vq_disk, event_idx),
    VQ_ON_OFF("driver/@copy_on_read", vq_disk, copy_on_read),
    VQ_ENUM("driver/@discard", vq_disk, discard, discard_names),
    VQ_UINT("driver/@iothread", vq_disk, iothread, .min = 1),
    VQ_ENUM("driver/@detect_zeroes", vq_disk, detect_zeroes, zeroes_names),
    VQ_UINT("driver/@queues", vq_disk, queues),
    VQ_UINT("driver/@queue_size", vq_disk, queue_size),
    VQ_STRUCT("driver", vq_disk, virtio, vq_virtio_fields),
    VQ_ON_OFF("driver/@discard_no_unref", vq_disk, discard_no_unref),
    VQ_SIZE("driver/metadata_cache/max_size", vq_disk, metadata_cache_size, 1),
    VQ_OPTIONAL("auth", vq_disk, auth, vq_auth_fields),
    VQ_STRUCT("source", vq_disk, source, vq_source_fields),
    VQ_UINT("source/@index", vq_disk, source.index, .flags = VQ_FIELD_LIVE), /* an image of the chain has it on its own element */
    VQ_OPTIONAL("backingStore", vq_disk, backing, backing_fields, CONFIGURED(vq_disk), .flags = VQ_FIELD_ALWAYS),
    VQ_OPTIONAL("backingStore", vq_disk, backing, backing_fields, DETECTED(vq_disk),
                .flags = VQ_FIELD_ALWAYS | VQ_FIELD_LIVE),
    VQ_STRING("backenddomain/@name", vq_disk, domain_name),
    VQ_UINT("geometry/@cyls", vq_disk, cylinders),
    VQ_UINT("geometry/@heads", vq_disk, heads),
    VQ_UINT("geometry/@secs", vq_disk, sectors),
    VQ_STRING("geometry/@trans", vq_disk, trans, VQ_WORDS("none", "auto", "lba")),
    VQ_UINT("blockio/@logical_block_size", vq_disk, logical_block_size),
    VQ_UINT("blockio/@physical_block_size", vq_disk, physical_block_size),
    VQ_OPTIONAL("mirror", vq_disk, mirror, mirror_fields, .flags = VQ_FIELD_LIVE),
    VQ_STRING("target/@dev", vq_disk, target, .flags = VQ_FIELD_REQUIRED),
    VQ_ENUM("target/@bus", vq_disk, bus, bus_names, .flags = VQ_FIELD_UNSUPPORTED),
    VQ_ENUM("target/@tray", vq_disk, tray, tray_names),
    VQ_ON_OFF("target/@removable", vq_disk, removable),
    VQ_UINT("target/@rotation_rate", vq_disk, rotation_rate, .max = 65535),
    VQ_STRUCT("iotune", vq_disk, iotune, iotune_fields),
    VQ_PRESENT("readonly", vq_disk, is_readonly),
    VQ_PRESENT("shareable", vq_disk, is_shareable),
    VQ_PRESENT("transient", vq_disk, is_transient),
    VQ_YES_NO("transient/@shareBacking", vq_disk, transient_share_backing),
    VQ_STRING("serial", vq_disk, serial),
    VQ_STRING("wwn", vq_disk, wwn),
    VQ_STRING("vendor", vq_disk, vendor),
    VQ_STRING("product", vq_disk, product),
    VQ_OPTIONAL("encryption", vq_disk, encryption, vq_encryption_fields),
    VQ_STRUCT("", vq_disk, info, vq_info_fields),
};
/* A geometry is all three numbers or none. */
static int disk_parsed(void *object, const struct vq_xml_node *node, struct vq_error *err)
{
    struct vq_disk *disk = object;

    (void)node, (void)err;
    if (disk->cylinders == 0 || disk->heads == 0 || disk->sectors == 0) {
        disk->cylinders = disk->heads = disk->sectors = 0;
        free(vq_take(disk->trans));
    }
    return 0;
}
VQ_FIELDS_EXPORT(vq_disk_fields, "disk", vq_disk, disk_rows, .parsed = disk_parsed);

/* ---- controllers ---- */

static const char *const controller_type_names[VQ_CONTROLLER_N] = {
    [VQ_CONTROLLER_IDE] = "ide",
    [VQ_CONTROLLER_FDC] = "fdc",
    [VQ_CONTROLLER_SCSI] = "scsi",
    [VQ_CONTROLLER_SATA] = "sata",
    [VQ_CONTROLLER_VIRTIO_SERIAL] = "virtio-serial",
    [VQ_CONTROLLER_CCID] = "ccid",
    [VQ_CONTROLLER_USB] = "usb",
    [VQ_CONTROLLER_PCI] = "pci",
    [VQ_CONTROLLER_XENBUS] = "xenbus",
    [VQ_CONTROLLER_ISA] = "isa",
};

#define PCI         VQ_WHEN(vq_controller, type, VQ_IS(VQ_CONTROLLER_PCI))
#define HAS(member) VQ_HAS(vq_controller, has_##member)

static const struct vq_field controller_rows[] = {
    VQ_ENUM("@type", vq_controller, type, controller_type_names, .flags = VQ_FIELD_REQUIRED | VQ_FIELD_UNSUPPORTED),
    VQ_UINT("@index", vq_controller, index, HAS(index), .max = INT32_MAX),
    VQ_STRING("@model", vq_controller, model),
    VQ_UINT("@ports", vq_controller, ports),
    VQ_UINT("@vectors", vq_controller, vectors, HAS(vectors)),
    VQ_UINT("@maxGrantFrames", vq_controller, max_grant_frames),
    VQ_UINT("@maxEventChannels", vq_controller, max_event_channels),
    VQ_STRING("model/@name", vq_controller, pci_model_name, PCI,
              VQ_WORDS("pci-bridge", "i82801b11-bridge", "pcie-root-port", "ioh3420", "x3130-upstream",
                       "xio3130-downstream", "pxb", "pxb-pcie", "spapr-pci-host-bridge", "pcie-pci-bridge")),
    VQ_UINT("target/@chassisNr", vq_controller, chassis_nr, HAS(chassis_nr), .min = 1, .max = 255, PCI),
    VQ_UINT("target/@chassis", vq_controller, chassis, HAS(chassis), .max = 255, PCI),
    VQ_UINT("target/@port", vq_controller, target_port, HAS(target_port), .max = 255, .flags = VQ_FIELD_HEX, PCI),
    VQ_UINT("target/@busNr", vq_controller, busnr, HAS(busnr), .min = 1, .max = 254, PCI),
    VQ_UINT("target/@index", vq_controller, target_index, HAS(target_index), .max = 30, PCI),
    VQ_ON_OFF("target/@hotplug", vq_controller, hotplug, PCI),
    VQ_UINT("target/node", vq_controller, numa_node, HAS(numa_node), PCI),
    VQ_UINT("driver/@queues", vq_controller, queues),
    VQ_UINT("driver/@cmd_per_lun", vq_controller, cmd_per_lun),
    VQ_UINT("driver/@max_sectors", vq_controller, max_sectors),
    VQ_ON_OFF("driver/@ioeventfd", vq_controller, ioeventfd),
    VQ_UINT("driver/@iothread", vq_controller, iothread),
    VQ_STRUCT("driver", vq_controller, virtio, vq_virtio_fields),
    VQ_UINT("master/@startport", vq_controller, usb_master_startport, VQ_HAS(vq_controller, has_usb_master)),
    VQ_SIZE("pcihole64", vq_controller, pcihole64_kib, 1024, HAS(pcihole64), PCI),
    VQ_STRUCT("", vq_controller, info, vq_info_fields),
};
VQ_FIELDS_EXPORT(vq_controller_fields, "controller", vq_controller, controller_rows);

/* ---- file systems ---- */

static const struct vq_field filesystem_rows[] = {
    VQ_STRING("@type", vq_filesystem, type, VQ_WORDS("mount", "block", "file", "template", "ram", "bind", "volume")),
    VQ_STRING("@accessmode", vq_filesystem, accessmode, VQ_WORDS("passthrough", "mapped", "squash")),
    VQ_STRING("@model", vq_filesystem, model, VQ_WORDS("virtio", "virtio-transitional", "virtio-non-transitional")),
    VQ_STRING("@multidevs", vq_filesystem, multidevs, VQ_WORDS("default", "remap", "forbid", "warn")),
    VQ_STRING("@fmode", vq_filesystem, fmode),
    VQ_STRING("@dmode", vq_filesystem, dmode),
    VQ_STRING("driver/@type", vq_filesystem, driver_type,
              VQ_WORDS("path", "handle", "loop", "nbd", "ploop", "virtiofs")),
    VQ_STRING("driver/@format", vq_filesystem, driver_format),
    VQ_STRING("driver/@wrpolicy", vq_filesystem, wrpolicy, VQ_WORDS("immediate")),
    VQ_UINT("driver/@queue", vq_filesystem, queue),
    VQ_STRUCT("driver", vq_filesystem, virtio, vq_virtio_fields),
    VQ_STRING("binary/@path", vq_filesystem, binary_path),
    VQ_ON_OFF("binary/@xattr", vq_filesystem, xattr),
    VQ_STRING("binary/cache/@mode", vq_filesystem, cache_mode, VQ_WORDS("none", "always")),
    VQ_STRING("binary/sandbox/@mode", vq_filesystem, sandbox_mode, VQ_WORDS("namespace", "chroot")),
    VQ_ON_OFF("binary/lock/@posix", vq_filesystem, lock_posix),
    VQ_ON_OFF("binary/lock/@flock", vq_filesystem, lock_flock),
    VQ_UINT("binary/thread_pool/@size", vq_filesystem, thread_pool_size),
    VQ_STRING("source/@dir", vq_filesystem, source_dir),
    VQ_STRING("source/@file", vq_filesystem, source_file),
    VQ_STRING("source/@dev", vq_filesystem, source_dev),
    VQ_STRING("source/@name", vq_filesystem, source_name),
    VQ_STRING("source/@socket", vq_filesystem, source_socket),
    VQ_U64("source/@usage", vq_filesystem, source_usage),
    VQ_STRING("source/@units", vq_filesystem, source_units),
    VQ_STRING("target/@dir", vq_filesystem, target, .flags = VQ_FIELD_REQUIRED),
    VQ_PRESENT("readonly", vq_filesystem, is_readonly),
    VQ_STRUCT("", vq_filesystem, info, vq_info_fields),
    VQ_SIZE("space_hard_limit", vq_filesystem, space_hard_limit, 1),
    VQ_SIZE("space_soft_limit", vq_filesystem, space_soft_limit, 1),
};
/* Modes are octal, four digits; 0 is none. */
static int parse_mode(char **mode, const char *name, const struct vq_xml_node *node, struct vq_error *err)
{
    uint64_t bits;

    if (*mode == NULL)
        return 0;
    if (!vq_parse_u64(*mode, 8, UINT32_MAX, &bits))
        return vq_error_set(err, VIR_ERR_XML_ERROR,
                            "Invalid value for attribute '%s' in element 'filesystem': '%.32s' (line %u; octal digits "
                            "were expected)",
                            name, *mode, node->line);
    if (bits > 0777)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "invalid %s: '0%o' (line %u)", name, (unsigned)bits, node->line);
    free(vq_take(*mode));
    if (bits > 0)
        *mode = vq_asprintf("%04o", (unsigned)bits);
    return 0;
}

static int filesystem_parsed(void *object, const struct vq_xml_node *node, struct vq_error *err)
{
    struct vq_filesystem *filesystem = object;

    if (parse_mode(&filesystem->fmode, "fmode", node, err) < 0)
        return -1;
    return parse_mode(&filesystem->dmode, "dmode", node, err);
}
VQ_FIELDS_EXPORT(vq_filesystem_fields, "filesystem", vq_filesystem, filesystem_rows, .parsed = filesystem_parsed);
