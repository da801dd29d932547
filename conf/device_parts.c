/* Parts that many devices have: addresses, aliases, secrets, labels, character devices. */
#include <string.h>

#include "conf/device_fields.h"

static const char *const address_type_names[VQ_ADDRESS_N] = {
    [VQ_ADDRESS_PCI] = "pci",
    [VQ_ADDRESS_DRIVE] = "drive",
    [VQ_ADDRESS_VIRTIO_SERIAL] = "virtio-serial",
    [VQ_ADDRESS_CCID] = "ccid",
    [VQ_ADDRESS_USB] = "usb",
    [VQ_ADDRESS_SPAPR_VIO] = "spapr-vio",
    [VQ_ADDRESS_VIRTIO_MMIO] = "virtio-mmio",
    [VQ_ADDRESS_ISA] = "isa",
    [VQ_ADDRESS_DIMM] = "dimm",
    [VQ_ADDRESS_CCW] = "ccw",
    [VQ_ADDRESS_UNASSIGNED] = "unassigned",
};

/* Numbers of addresses are written whether zero or not, and in one width. */
#define HEX(digits) .flags = VQ_FIELD_ALWAYS | VQ_FIELD_HEX, .width = (digits)
#define ALWAYS      .flags = VQ_FIELD_ALWAYS
#define AT(kind)    VQ_WHEN(vq_address, type, VQ_IS(VQ_ADDRESS_##kind))

static const struct vq_field pci_address_rows[] = {
    VQ_UINT("@domain", vq_pci_address, domain, HEX(4), .max = 0xffff),
    VQ_UINT("@bus", vq_pci_address, bus, HEX(2), .max = 0xff),
    VQ_UINT("@slot", vq_pci_address, slot, HEX(2), .max = 0x1f),
    VQ_UINT("@function", vq_pci_address, function, HEX(1), .max = 7),
    VQ_ON_OFF("@multifunction", vq_pci_address, multifunction),
};
VQ_FIELDS_EXPORT(vq_pci_address_fields, "PCI address", vq_pci_address, pci_address_rows);

static const struct vq_field address_rows[] = {
    VQ_ENUM("@type", vq_address, type, address_type_names, .flags = VQ_FIELD_REQUIRED | VQ_FIELD_UNSUPPORTED),
    VQ_STRUCT("", vq_address, pci, vq_pci_address_fields, AT(PCI)),
    VQ_UINT("zpci/@uid", vq_address, pci.zpci_uid, VQ_HAS(vq_address, pci.has_zpci_uid), .flags = VQ_FIELD_HEX,
            .width = 4, .max = 0xffff, AT(PCI)),
    VQ_UINT("zpci/@fid", vq_address, pci.zpci_fid, VQ_HAS(vq_address, pci.has_zpci_fid), .flags = VQ_FIELD_HEX,
            .width = 8, AT(PCI)),
    VQ_UINT("@controller", vq_address, drive.controller, ALWAYS, AT(DRIVE)),
    VQ_UINT("@bus", vq_address, drive.bus, ALWAYS, AT(DRIVE)),
    VQ_UINT("@target", vq_address, drive.target, ALWAYS, AT(DRIVE)),
    VQ_UINT("@unit", vq_address, drive.unit, ALWAYS, AT(DRIVE)),
    VQ_UINT("@controller", vq_address, virtio_serial.controller, ALWAYS, AT(VIRTIO_SERIAL)),
    VQ_UINT("@bus", vq_address, virtio_serial.bus, ALWAYS, AT(VIRTIO_SERIAL)),
    VQ_UINT("@port", vq_address, virtio_serial.port, ALWAYS, AT(VIRTIO_SERIAL)),
    VQ_UINT("@controller", vq_address, ccid.controller, ALWAYS, AT(CCID)),
    VQ_UINT("@slot", vq_address, ccid.slot, ALWAYS, AT(CCID)),
    VQ_UINT("@bus", vq_address, usb.bus, ALWAYS, AT(USB)),
    VQ_CHARS("@port", vq_address, usb.port, AT(USB)),
    VQ_U64("@reg", vq_address, spapr_vio.reg, VQ_HAS(vq_address, spapr_vio.has_reg), HEX(8), AT(SPAPR_VIO)),
    VQ_UINT("@iobase", vq_address, isa.iobase, VQ_HAS(vq_address, isa.has_iobase), .flags = VQ_FIELD_HEX, AT(ISA)),
    VQ_UINT("@irq", vq_address, isa.irq, VQ_HAS(vq_address, isa.has_irq), .flags = VQ_FIELD_HEX, AT(ISA)),
    VQ_UINT("@slot", vq_address, dimm.slot, ALWAYS, AT(DIMM)),
    VQ_U64("@base", vq_address, dimm.base, VQ_HAS(vq_address, dimm.has_base), .flags = VQ_FIELD_HEX, AT(DIMM)),
    VQ_UINT("@cssid", vq_address, ccw.cssid, VQ_HAS(vq_address, ccw.is_assigned), .flags = VQ_FIELD_HEX, .width = 2,
            .max = 0xfe, AT(CCW)),
    VQ_UINT("@ssid", vq_address, ccw.ssid, VQ_HAS(vq_address, ccw.is_assigned), .flags = VQ_FIELD_HEX, .width = 1,
            .max = 3, AT(CCW)),
    VQ_UINT("@devno", vq_address, ccw.devno, VQ_HAS(vq_address, ccw.is_assigned), .flags = VQ_FIELD_HEX, .width = 4,
            .max = 0xffff, AT(CCW)),
};
VQ_FIELDS_EXPORT(vq_address_fields, "address", vq_address, address_rows);

static bool is_user_alias(const char *alias)
{
    return strncmp(alias, "ua-", 3) == 0;
}

static const struct vq_field info_rows[] = {
    VQ_UINT("boot/@order", vq_device_info, boot_order, .min = 1, .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_STRING("boot/@loadparm", vq_device_info, boot_loadparm),
    VQ_STRING("alias/@name", vq_device_info, alias, .flags = VQ_FIELD_LIVE, .keep = is_user_alias),
    VQ_YES_NO("rom/@enabled", vq_device_info, rom_enabled),
    VQ_ON_OFF("rom/@bar", vq_device_info, rom_bar),
    VQ_STRING("rom/@file", vq_device_info, rom_file),
    VQ_UINT("acpi/@index", vq_device_info, address.acpi_index, .min = 1,
            VQ_HAS(vq_device_info, address.has_acpi_index)),
    VQ_STRUCT("address", vq_device_info, address, vq_address_fields),
};
VQ_FIELDS_EXPORT(vq_info_fields, "device", vq_device_info, info_rows);

static const struct vq_field virtio_rows[] = {
    VQ_ON_OFF("@iommu", vq_virtio_options, iommu),
    VQ_ON_OFF("@ats", vq_virtio_options, ats),
    VQ_ON_OFF("@packed", vq_virtio_options, packed),
    VQ_ON_OFF("@page_per_vq", vq_virtio_options, page_per_vq),
};
VQ_FIELDS_EXPORT(vq_virtio_fields, "driver", vq_virtio_options, virtio_rows);

const char *const vq_virtio_model_names[VQ_VIRTIO_MODEL_N] = {
    [VQ_VIRTIO_MODEL_VIRTIO] = "virtio",
    [VQ_VIRTIO_MODEL_TRANSITIONAL] = "virtio-transitional",
    [VQ_VIRTIO_MODEL_NON_TRANSITIONAL] = "virtio-non-transitional",
};

const char *const vq_startup_policy_names[VQ_STARTUP_N] = {
    [VQ_STARTUP_MANDATORY] = "mandatory",
    [VQ_STARTUP_REQUISITE] = "requisite",
    [VQ_STARTUP_OPTIONAL] = "optional",
};

static const char *const secret_usage_names[VQ_SECRET_USAGE_N] = {
    [VQ_SECRET_USAGE_CEPH] = "ceph",     [VQ_SECRET_USAGE_ISCSI] = "iscsi",           [VQ_SECRET_USAGE_TLS] = "tls",
    [VQ_SECRET_USAGE_VOLUME] = "volume", [VQ_SECRET_USAGE_PASSPHRASE] = "passphrase", [VQ_SECRET_USAGE_VTPM] = "vtpm",
};

static const struct vq_field secret_rows[] = {
    VQ_ENUM("@type", vq_secret_ref, type, secret_usage_names, .flags = VQ_FIELD_UNSUPPORTED),
    VQ_UUID("@uuid", vq_secret_ref, uuid, VQ_HAS(vq_secret_ref, has_uuid)),
    VQ_STRING("@usage", vq_secret_ref, usage),
};
VQ_FIELDS(secret_fields, "secret", vq_secret_ref, secret_rows);

static const struct vq_field auth_rows[] = {
    VQ_STRING("@username", vq_auth, username, .flags = VQ_FIELD_REQUIRED),
    VQ_STRUCT("secret", vq_auth, secret, secret_fields),
};
VQ_FIELDS_EXPORT(vq_auth_fields, "auth", vq_auth, auth_rows);

static const struct vq_field encryption_rows[] = {
    VQ_STRING("@format", vq_encryption, format, .flags = VQ_FIELD_REQUIRED | VQ_FIELD_UNSUPPORTED,
              VQ_WORDS("default", "qcow", "luks", "luks2")),
    VQ_STRING("@engine", vq_encryption, engine, VQ_WORDS("qemu", "librbd")),
    VQ_STRUCT("secret", vq_encryption, secret, secret_fields),
};
VQ_FIELDS_EXPORT(vq_encryption_fields, "encryption", vq_encryption, encryption_rows);

static const char *const seclabel_type_names[VQ_SECLABEL_N] = {
    [VQ_SECLABEL_NONE] = "none",
    [VQ_SECLABEL_DYNAMIC] = "dynamic",
    [VQ_SECLABEL_STATIC] = "static",
};

static const struct vq_field seclabel_rows[] = {
    VQ_ENUM("@type", vq_seclabel, type, seclabel_type_names),
    VQ_STRING("@model", vq_seclabel, model),
    VQ_YES_NO("@labelskip", vq_seclabel, labelskip),
    VQ_YES_NO("@relabel", vq_seclabel, relabel),
    VQ_STRING("label", vq_seclabel, label),
    VQ_STRING("imagelabel", vq_seclabel, imagelabel, .flags = VQ_FIELD_LIVE),
    VQ_STRING("baselabel", vq_seclabel, baselabel),
};
VQ_FIELDS_EXPORT(vq_seclabel_fields, "seclabel", vq_seclabel, seclabel_rows);

static const struct vq_field reconnect_rows[] = {
    VQ_YES_NO("@enabled", vq_reconnect, enabled, .flags = VQ_FIELD_REQUIRED),
    VQ_UINT("@timeout", vq_reconnect, timeout_s),
};
VQ_FIELDS_EXPORT(vq_reconnect_fields, "reconnect", vq_reconnect, reconnect_rows);

static const struct vq_field teaming_rows[] = {
    VQ_STRING("@type", vq_teaming, type, .flags = VQ_FIELD_REQUIRED | VQ_FIELD_UNSUPPORTED,
              VQ_WORDS("persistent", "transient")),
    VQ_STRING("@persistent", vq_teaming, persistent),
};
VQ_FIELDS_EXPORT(vq_teaming_fields, "teaming", vq_teaming, teaming_rows);

/* ---- character devices ---- */

const char *const vq_chardev_type_names[VQ_CHARDEV_N] = {
    [VQ_CHARDEV_NULL] = "null",         [VQ_CHARDEV_VC] = "vc",
    [VQ_CHARDEV_PTY] = "pty",           [VQ_CHARDEV_DEV] = "dev",
    [VQ_CHARDEV_FILE] = "file",         [VQ_CHARDEV_PIPE] = "pipe",
    [VQ_CHARDEV_STDIO] = "stdio",       [VQ_CHARDEV_UDP] = "udp",
    [VQ_CHARDEV_TCP] = "tcp",           [VQ_CHARDEV_UNIX] = "unix",
    [VQ_CHARDEV_SPICEVMC] = "spicevmc", [VQ_CHARDEV_SPICEPORT] = "spiceport",
    [VQ_CHARDEV_NMDM] = "nmdm",         [VQ_CHARDEV_QEMU_VDAGENT] = "qemu-vdagent",
    [VQ_CHARDEV_DBUS] = "dbus",
};

const char *const vq_chardev_mode_names[VQ_CHARDEV_MODE_N] = {
    [VQ_CHARDEV_CONNECT] = "connect",
    [VQ_CHARDEV_BIND] = "bind",
};

#define OF(kind)   VQ_IS(VQ_CHARDEV_##kind)
#define FOR(kinds) VQ_WHEN(vq_chardev, type, kinds)

static const struct vq_field chardev_end_rows[] = {
    VQ_ENUM("@mode", vq_chardev_end, mode, vq_chardev_mode_names),
    VQ_STRING("@host", vq_chardev_end, host),
    VQ_STRING("@service", vq_chardev_end, service),
};
VQ_FIELDS(chardev_end_fields, "source", vq_chardev_end, chardev_end_rows);

/* A UNIX socket without a path is given one at start, and its end is known then too. */
static bool has_mode(const void *object)
{
    const struct vq_chardev *chardev = object;

    return chardev->type != VQ_CHARDEV_UNIX || chardev->path != NULL;
}

static const struct vq_field chardev_rows[] = {
    VQ_ENUM("@type", vq_chardev, type, vq_chardev_type_names, .flags = VQ_FIELD_ALWAYS | VQ_FIELD_UNSUPPORTED),
    VQ_LIST("source", vq_chardev, ends, chardev_end_fields, FOR(OF(UDP)), .size = 2),
    VQ_STRING("source/@master", vq_chardev, master, FOR(OF(NMDM))),
    VQ_STRING("source/@slave", vq_chardev, slave, FOR(OF(NMDM))),
    VQ_ENUM("source/@mode", vq_chardev, mode, vq_chardev_mode_names, FOR(OF(TCP) | OF(UNIX)), .shown = has_mode),
    VQ_STRING("source/@host", vq_chardev, host, FOR(OF(TCP))),
    VQ_STRING("source/@service", vq_chardev, service, FOR(OF(TCP))),
    VQ_YES_NO("source/@tls", vq_chardev, tls, FOR(OF(TCP))),
    VQ_STRING("source/@path", vq_chardev, path, .flags = VQ_FIELD_LIVE, FOR(OF(PTY))),
    VQ_STRING("source/@path", vq_chardev, path, FOR(OF(DEV) | OF(FILE) | OF(PIPE))),
    VQ_STRING("source/@path", vq_chardev, path, FOR(OF(UNIX))),
    VQ_ON_OFF("source/@append", vq_chardev, append, FOR(OF(FILE))),
    VQ_STRING("source/@channel", vq_chardev, channel, FOR(OF(SPICEPORT) | OF(DBUS))),
    VQ_YES_NO("source/clipboard/@copypaste", vq_chardev, clipboard, FOR(OF(QEMU_VDAGENT)),
              .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_STRING("source/mouse/@mode", vq_chardev, mouse, FOR(OF(QEMU_VDAGENT)), VQ_WORDS("client", "server"),
              .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_LIST("source/seclabel", vq_chardev, seclabels, vq_seclabel_fields),
    VQ_STRUCT("source/reconnect", vq_chardev, reconnect, vq_reconnect_fields, FOR(OF(TCP) | OF(UNIX))),
    VQ_STRING("protocol/@type", vq_chardev, protocol, FOR(OF(TCP)), .flags = VQ_FIELD_UNSUPPORTED,
              VQ_WORDS("raw", "telnet", "telnets", "tls")),
    VQ_STRING("log/@file", vq_chardev, log_file),
    VQ_ON_OFF("log/@append", vq_chardev, log_append),
};
VQ_FIELDS_EXPORT(vq_chardev_fields, "character device", vq_chardev, chardev_rows);

static const char *const port_target_names[VQ_PORT_TARGET_N] = {
    [VQ_PORT_TARGET_ISA_SERIAL] = "isa-serial",
    [VQ_PORT_TARGET_USB_SERIAL] = "usb-serial",
    [VQ_PORT_TARGET_PCI_SERIAL] = "pci-serial",
    [VQ_PORT_TARGET_SPAPR_VIO_SERIAL] = "spapr-vio-serial",
    [VQ_PORT_TARGET_SYSTEM_SERIAL] = "system-serial",
    [VQ_PORT_TARGET_SCLP_SERIAL] = "sclp-serial",
    [VQ_PORT_TARGET_ISA_DEBUG] = "isa-debug",
    [VQ_PORT_TARGET_SERIAL] = "serial",
    [VQ_PORT_TARGET_XEN] = "xen",
    [VQ_PORT_TARGET_UML] = "uml",
    [VQ_PORT_TARGET_VIRTIO] = "virtio",
    [VQ_PORT_TARGET_LXC] = "lxc",
    [VQ_PORT_TARGET_SCLP] = "sclp",
    [VQ_PORT_TARGET_SCLPLM] = "sclplm",
    [VQ_PORT_TARGET_GUESTFWD] = "guestfwd",
};

static const struct vq_field serial_rows[] = {
    VQ_STRUCT("", vq_port, source, vq_chardev_fields),
    VQ_ENUM("target/@type", vq_port, target, port_target_names, .flags = VQ_FIELD_UNSUPPORTED),
    VQ_UINT("target/@port", vq_port, number, VQ_HAS(vq_port, has_number)),
    VQ_STRING("target/model/@name", vq_port, target_model),
    VQ_STRUCT("", vq_port, info, vq_info_fields),
};
VQ_FIELDS_EXPORT(vq_serial_fields, "serial", vq_port, serial_rows);

static const struct vq_field parallel_rows[] = {
    VQ_STRUCT("", vq_port, source, vq_chardev_fields),
    VQ_UINT("target/@port", vq_port, number, VQ_HAS(vq_port, has_number)),
    VQ_STRUCT("", vq_port, info, vq_info_fields),
};
VQ_FIELDS_EXPORT(vq_parallel_fields, "parallel", vq_port, parallel_rows);

static const struct vq_field console_rows[] = {
    VQ_STRUCT("", vq_port, source, vq_chardev_fields),
    VQ_STRING("@tty", vq_port, tty, .flags = VQ_FIELD_LIVE),
    VQ_ENUM("target/@type", vq_port, target, port_target_names, .flags = VQ_FIELD_UNSUPPORTED),
    VQ_UINT("target/@port", vq_port, number, VQ_HAS(vq_port, has_number)),
    VQ_STRUCT("", vq_port, info, vq_info_fields),
};
VQ_FIELDS_EXPORT(vq_console_fields, "console", vq_port, console_rows);

static const struct vq_field channel_rows[] = {
    VQ_STRUCT("", vq_port, source, vq_chardev_fields),
    VQ_ENUM("target/@type", vq_port, target, port_target_names, .flags = VQ_FIELD_REQUIRED | VQ_FIELD_UNSUPPORTED),
    VQ_STRING("target/@address", vq_port, address),
    VQ_STRING("target/@port", vq_port, port),
    VQ_STRING("target/@name", vq_port, name),
    VQ_STRING("target/@state", vq_port, state, .flags = VQ_FIELD_LIVE),
    VQ_STRUCT("", vq_port, info, vq_info_fields),
};
VQ_FIELDS_EXPORT(vq_channel_fields, "channel", vq_port, channel_rows);
