/* The remaining devices. */
#define VQ_FROM VIR_FROM_DOMAIN
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/device_fields.h"

static const struct vq_field hub_rows[] = {
    VQ_STRING("@type", vq_hub, type, .flags = VQ_FIELD_REQUIRED | VQ_FIELD_UNSUPPORTED, VQ_WORDS("usb")),
    VQ_STRUCT("", vq_hub, info, vq_info_fields),
};
VQ_FIELDS_EXPORT(vq_hub_fields, "hub", vq_hub, hub_rows);

static const char *const balloon_model_names[VQ_BALLOON_N] = {
    [VQ_BALLOON_VIRTIO] = "virtio",
    [VQ_BALLOON_XEN] = "xen",
    [VQ_BALLOON_NONE] = "none",
    [VQ_BALLOON_VIRTIO_TRANSITIONAL] = "virtio-transitional",
    [VQ_BALLOON_VIRTIO_NON_TRANSITIONAL] = "virtio-non-transitional",
};

static const struct vq_field memballoon_rows[] = {
    VQ_ENUM("@model", vq_memballoon, model, balloon_model_names, .flags = VQ_FIELD_REQUIRED | VQ_FIELD_UNSUPPORTED),
    VQ_ON_OFF("@autodeflate", vq_memballoon, autodeflate),
    VQ_ON_OFF("@freePageReporting", vq_memballoon, free_page_reporting),
    VQ_UINT("stats/@period", vq_memballoon, stats_period, .max = INT32_MAX),
    VQ_STRUCT("", vq_memballoon, info, vq_info_fields),
    VQ_STRUCT("driver", vq_memballoon, virtio, vq_virtio_fields),
};
VQ_FIELDS_EXPORT(vq_memballoon_fields, "memballoon", vq_memballoon, memballoon_rows);

static const char *const rng_backend_names[VQ_RNG_N] = {
    [VQ_RNG_RANDOM] = "random",
    [VQ_RNG_EGD] = "egd",
    [VQ_RNG_BUILTIN] = "builtin",
};

static const struct vq_field rng_rows[] = {
    VQ_ENUM("@model", vq_rng, model, vq_virtio_model_names, .flags = VQ_FIELD_REQUIRED | VQ_FIELD_UNSUPPORTED),
    VQ_UINT("rate/@bytes", vq_rng, rate_bytes),
    VQ_UINT("rate/@period", vq_rng, rate_period_ms),
    VQ_ENUM("backend/@model", vq_rng, backend, rng_backend_names, .flags = VQ_FIELD_REQUIRED | VQ_FIELD_UNSUPPORTED),
    VQ_STRING("backend", vq_rng, device, VQ_WHEN(vq_rng, backend, VQ_IS(VQ_RNG_RANDOM))),
    VQ_STRUCT("backend", vq_rng, source, vq_chardev_fields, VQ_WHEN(vq_rng, backend, VQ_IS(VQ_RNG_EGD))),
    VQ_STRUCT("driver", vq_rng, virtio, vq_virtio_fields),
    VQ_STRUCT("", vq_rng, info, vq_info_fields),
};
VQ_FIELDS_EXPORT(vq_rng_fields, "rng", vq_rng, rng_rows);

static const struct vq_field watchdog_rows[] = {
    VQ_STRING("@model", vq_watchdog, model, .flags = VQ_FIELD_REQUIRED | VQ_FIELD_UNSUPPORTED,
              VQ_WORDS("i6300esb", "ib700", "diag288", "itco")),
    VQ_STRING("@action", vq_watchdog, action, .flags = VQ_FIELD_UNSUPPORTED,
              VQ_WORDS("reset", "shutdown", "poweroff", "pause", "dump", "none", "inject-nmi")),
    VQ_STRUCT("", vq_watchdog, info, vq_info_fields),
};
VQ_FIELDS_EXPORT(vq_watchdog_fields, "watchdog", vq_watchdog, watchdog_rows);

static const char *const tpm_backend_names[VQ_TPM_N] = {
    [VQ_TPM_PASSTHROUGH] = "passthrough",
    [VQ_TPM_EMULATOR] = "emulator",
    [VQ_TPM_EXTERNAL] = "external",
};

static const struct vq_field pcr_bank_rows[] = {
    VQ_PRESENT("sha1", vq_pcr_bank, sha1),
    VQ_PRESENT("sha256", vq_pcr_bank, sha256),
    VQ_PRESENT("sha384", vq_pcr_bank, sha384),
    VQ_PRESENT("sha512", vq_pcr_bank, sha512),
};
VQ_FIELDS(pcr_bank_fields, "active_pcr_banks", vq_pcr_bank, pcr_bank_rows);

#define EMULATOR    VQ_WHEN(vq_tpm, backend, VQ_IS(VQ_TPM_EMULATOR))
#define PASSTHROUGH VQ_WHEN(vq_tpm, backend, VQ_IS(VQ_TPM_PASSTHROUGH))
#define EXTERNAL    VQ_WHEN(vq_tpm, backend, VQ_IS(VQ_TPM_EXTERNAL))

static const struct vq_field tpm_rows[] = {
    VQ_STRING("@model", vq_tpm, model, VQ_WORDS("default", "tpm-tis", "tpm-crb", "tpm-spapr", "spapr-tpm-proxy")),
    VQ_ENUM("backend/@type", vq_tpm, backend, tpm_backend_names, .flags = VQ_FIELD_REQUIRED | VQ_FIELD_UNSUPPORTED),
    VQ_STRING("backend/device/@path", vq_tpm, device, PASSTHROUGH),
    VQ_STRING("backend/@version", vq_tpm, version, EMULATOR, VQ_WORDS("default", "1.2", "2.0")),
    VQ_YES_NO("backend/@persistent_state", vq_tpm, persistent_state, EMULATOR),
    VQ_UUID("backend/encryption/@secret", vq_tpm, encryption_secret, VQ_HAS(vq_tpm, has_encryption), EMULATOR),
    VQ_STRUCT("backend/active_pcr_banks", vq_tpm, pcr_banks, pcr_bank_fields, EMULATOR),
    VQ_ENUM("backend/source/@type", vq_tpm, source.type, vq_chardev_type_names, EXTERNAL,
            .flags = VQ_FIELD_REQUIRED | VQ_FIELD_UNSUPPORTED),
    VQ_ENUM("backend/source/@mode", vq_tpm, source.mode, vq_chardev_mode_names, EXTERNAL),
    VQ_STRING("backend/source/@path", vq_tpm, source.path, EXTERNAL),
    VQ_STRUCT("", vq_tpm, info, vq_info_fields),
};
VQ_FIELDS_EXPORT(vq_tpm_fields, "tpm", vq_tpm, tpm_rows);

/* ---- host devices ---- */

static const char *const hostdev_type_names[VQ_HOSTDEV_N] = {
    [VQ_HOSTDEV_USB] = "usb",   [VQ_HOSTDEV_PCI] = "pci",
    [VQ_HOSTDEV_SCSI] = "scsi", [VQ_HOSTDEV_SCSI_HOST] = "scsi_host",
    [VQ_HOSTDEV_MDEV] = "mdev",
};

#define OF(kind)   VQ_IS(VQ_HOSTDEV_##kind)
#define FOR(kinds) VQ_WHEN(vq_hostdev, type, kinds)

static bool is_local_scsi(const void *object)
{
    return ((const struct vq_hostdev *)object)->source_protocol == NULL;
}

#define LOCAL_SCSI .flags = VQ_FIELD_ALWAYS, .shown = is_local_scsi

static const struct vq_field hostdev_rows[] = {
    VQ_STRING("@mode", vq_hostdev, mode, .flags = VQ_FIELD_UNSUPPORTED, VQ_WORDS("subsystem", "capabilities")),
    VQ_ENUM("@type", vq_hostdev, type, hostdev_type_names, .flags = VQ_FIELD_REQUIRED | VQ_FIELD_UNSUPPORTED),
    VQ_YES_NO("@managed", vq_hostdev, managed),
    VQ_STRING("@sgio", vq_hostdev, sgio, FOR(OF(SCSI)), VQ_WORDS("filtered", "unfiltered")),
    VQ_YES_NO("@rawio", vq_hostdev, rawio, FOR(OF(SCSI))),
    VQ_STRING("@model", vq_hostdev, model, FOR(OF(MDEV) | OF(SCSI_HOST)),
              VQ_WORDS("vfio-pci", "vfio-ccw", "vfio-ap", "virtio", "virtio-transitional", "virtio-non-transitional")),
    VQ_ON_OFF("@display", vq_hostdev, display, FOR(OF(MDEV))),
    VQ_ON_OFF("@ramfb", vq_hostdev, ramfb, FOR(OF(MDEV))),
    VQ_STRING("driver/@name", vq_hostdev, driver_name, FOR(OF(PCI)), VQ_WORDS("kvm", "vfio", "xen")),
    VQ_ENUM("source/@startupPolicy", vq_hostdev, startup_policy, vq_startup_policy_names, FOR(OF(USB))),
    VQ_STRING("source/@guestReset", vq_hostdev, guest_reset, FOR(OF(USB)), VQ_WORDS("off", "uninitialized", "on")),
    VQ_YES_NO("source/@writeFiltering", vq_hostdev, write_filtering, FOR(OF(PCI))),
    VQ_STRING("source/@protocol", vq_hostdev, source_protocol, FOR(OF(SCSI) | OF(SCSI_HOST)),
              .flags = VQ_FIELD_UNSUPPORTED, VQ_WORDS("adapter", "iscsi", "vhost")),
    VQ_STRING("source/@name", vq_hostdev, source_name, FOR(OF(SCSI))),
    VQ_STRING("source/@wwpn", vq_hostdev, wwpn, FOR(OF(SCSI_HOST))),
    VQ_STRING("source/adapter/@name", vq_hostdev, scsi_adapter, FOR(OF(SCSI))),
    VQ_UINT("source/vendor/@id", vq_hostdev, vendor, VQ_HAS(vq_hostdev, has_vendor), FOR(OF(USB)),
            .flags = VQ_FIELD_HEX | VQ_FIELD_WITH_ELEMENT, .width = 4, .max = 0xffff),
    VQ_UINT("source/product/@id", vq_hostdev, product, VQ_HAS(vq_hostdev, has_vendor), FOR(OF(USB)),
            .flags = VQ_FIELD_HEX | VQ_FIELD_WITH_ELEMENT, .width = 4, .max = 0xffff),
    VQ_UINT("source/address/@bus", vq_hostdev, usb_bus, VQ_HAS(vq_hostdev, has_usb_address), FOR(OF(USB)),
            .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_UINT("source/address/@device", vq_hostdev, usb_device, VQ_HAS(vq_hostdev, has_usb_address), FOR(OF(USB)),
            .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_STRUCT("source/address", vq_hostdev, pci, vq_pci_address_fields, FOR(OF(PCI))),
    VQ_UINT("source/address/@bus", vq_hostdev, scsi_bus, FOR(OF(SCSI)), LOCAL_SCSI),
    VQ_UINT("source/address/@target", vq_hostdev, scsi_target, FOR(OF(SCSI)), LOCAL_SCSI),
    VQ_U64("source/address/@unit", vq_hostdev, scsi_unit, FOR(OF(SCSI)), LOCAL_SCSI),
    VQ_LIST("source/host", vq_hostdev, source_hosts, vq_source_host_fields, FOR(OF(SCSI)), .size = 16),
    VQ_OPTIONAL("source/auth", vq_hostdev, source_auth, vq_auth_fields, FOR(OF(SCSI))),
    VQ_STRING("source/initiator/iqn/@name", vq_hostdev, source_initiator, FOR(OF(SCSI))),
    VQ_UUID("source/address/@uuid", vq_hostdev, mdev_uuid, VQ_HAS(vq_hostdev, has_mdev_uuid), FOR(OF(MDEV))),
    VQ_STRUCT("teaming", vq_hostdev, teaming, vq_teaming_fields, FOR(OF(PCI))),
    VQ_PRESENT("readonly", vq_hostdev, is_readonly, FOR(OF(SCSI))),
    VQ_PRESENT("shareable", vq_hostdev, is_shareable, FOR(OF(SCSI))),
    VQ_STRUCT("", vq_hostdev, info, vq_info_fields),
};
VQ_FIELDS_EXPORT(vq_hostdev_fields, "hostdev", vq_hostdev, hostdev_rows);

static const struct vq_field redirdev_rows[] = {
    VQ_STRING("@bus", vq_redirdev, bus, .flags = VQ_FIELD_UNSUPPORTED, VQ_WORDS("usb")),
    VQ_STRUCT("", vq_redirdev, source, vq_chardev_fields),
    VQ_STRUCT("", vq_redirdev, info, vq_info_fields),
};
VQ_FIELDS_EXPORT(vq_redirdev_fields, "redirdev", vq_redirdev, redirdev_rows);

static const char *const smartcard_mode_names[VQ_SMARTCARD_N] = {
    [VQ_SMARTCARD_HOST] = "host",
    [VQ_SMARTCARD_HOST_CERTIFICATES] = "host-certificates",
    [VQ_SMARTCARD_PASSTHROUGH] = "passthrough",
};

static const struct vq_field certificate_rows[] = {VQ_STRING(".", vq_smartcard_certificate, name)};
VQ_FIELDS(certificate_fields, "certificate", vq_smartcard_certificate, certificate_rows);

#define CERTIFICATES VQ_WHEN(vq_smartcard, mode, VQ_IS(VQ_SMARTCARD_HOST_CERTIFICATES))

static const struct vq_field smartcard_rows[] = {
    VQ_ENUM("@mode", vq_smartcard, mode, smartcard_mode_names, .flags = VQ_FIELD_REQUIRED | VQ_FIELD_UNSUPPORTED),
    VQ_LIST("certificate", vq_smartcard, certificates, certificate_fields, CERTIFICATES, .size = 3),
    VQ_STRING("database", vq_smartcard, database, CERTIFICATES),
    VQ_STRUCT("", vq_smartcard, source, vq_chardev_fields,
              VQ_WHEN(vq_smartcard, mode, VQ_IS(VQ_SMARTCARD_PASSTHROUGH))),
    VQ_STRUCT("", vq_smartcard, info, vq_info_fields),
};
VQ_FIELDS_EXPORT(vq_smartcard_fields, "smartcard", vq_smartcard, smartcard_rows);

static const struct vq_field vsock_rows[] = {
    VQ_ENUM("@model", vq_vsock, model, vq_virtio_model_names, .flags = VQ_FIELD_UNSUPPORTED),
    VQ_YES_NO("cid/@auto", vq_vsock, auto_cid),
    VQ_UINT("cid/@address", vq_vsock, cid, .min = 3),
    VQ_STRUCT("", vq_vsock, info, vq_info_fields),
    VQ_STRUCT("driver", vq_vsock, virtio, vq_virtio_fields),
};
VQ_FIELDS_EXPORT(vq_vsock_fields, "vsock", vq_vsock, vsock_rows);

static const struct vq_field iommu_rows[] = {
    VQ_STRING("@model", vq_iommu, model, .flags = VQ_FIELD_REQUIRED, VQ_WORDS("intel", "smmuv3", "virtio")),
    VQ_ON_OFF("driver/@intremap", vq_iommu, intremap),
    VQ_ON_OFF("driver/@caching_mode", vq_iommu, caching_mode),
    VQ_ON_OFF("driver/@eim", vq_iommu, eim),
    VQ_ON_OFF("driver/@iotlb", vq_iommu, iotlb),
    VQ_UINT("driver/@aw_bits", vq_iommu, aw_bits),
    VQ_STRUCT("", vq_iommu, info, vq_info_fields),
};
VQ_FIELDS_EXPORT(vq_iommu_fields, "iommu", vq_iommu, iommu_rows);

static const struct vq_field panic_rows[] = {
    VQ_STRING("@model", vq_panic, model, .flags = VQ_FIELD_UNSUPPORTED,
              VQ_WORDS("default", "isa", "pseries", "hyperv", "s390")),
    VQ_STRUCT("", vq_panic, info, vq_info_fields),
};
VQ_FIELDS_EXPORT(vq_panic_fields, "panic", vq_panic, panic_rows);

static const char *const shmem_unit[] = {"M"};

static const struct vq_field shmem_rows[] = {
    VQ_STRING("@name", vq_shmem, name, .flags = VQ_FIELD_REQUIRED),
    VQ_STRING("@role", vq_shmem, role, VQ_WORDS("master", "peer")),
    VQ_STRING("model/@type", vq_shmem, model, VQ_WORDS("ivshmem", "ivshmem-plain", "ivshmem-doorbell")),
    VQ_SIZE("size", vq_shmem, size_mib, 1024 * 1024, .names = shmem_unit, .n_names = 1),
    VQ_PRESENT("server", vq_shmem, has_server),
    VQ_STRING("server/@path", vq_shmem, server_path),
    VQ_PRESENT("msi", vq_shmem, has_msi),
    VQ_UINT("msi/@vectors", vq_shmem, msi_vectors),
    VQ_ON_OFF("msi/@ioeventfd", vq_shmem, msi_ioeventfd),
    VQ_STRUCT("", vq_shmem, info, vq_info_fields),
};
VQ_FIELDS_EXPORT(vq_shmem_fields, "shmem", vq_shmem, shmem_rows);

static const struct vq_field memory_device_rows[] = {
    VQ_STRING("@model", vq_memory_device, model, .flags = VQ_FIELD_REQUIRED,
              VQ_WORDS("dimm", "nvdimm", "virtio-pmem", "virtio-mem", "sgx-epc")),
    VQ_STRING("@access", vq_memory_device, access, VQ_WORDS("shared", "private")),
    VQ_YES_NO("@discard", vq_memory_device, discard),
    VQ_UUID("uuid", vq_memory_device, uuid, VQ_HAS(vq_memory_device, has_uuid)),
    VQ_CPUSET("source/nodemask", vq_memory_device, nodemask),
    VQ_SIZE("source/pagesize", vq_memory_device, source_pagesize_kib, 1024),
    VQ_STRING("source/path", vq_memory_device, path),
    VQ_SIZE("source/alignsize", vq_memory_device, alignsize_kib, 1024),
    VQ_PRESENT("source/pmem", vq_memory_device, is_pmem),
    VQ_SIZE("target/size", vq_memory_device, size_kib, 1024, .flags = VQ_FIELD_REQUIRED),
    VQ_UINT("target/node", vq_memory_device, node, VQ_HAS(vq_memory_device, has_node)),
    VQ_SIZE("target/label/size", vq_memory_device, label_kib, 1024),
    VQ_PRESENT("target/readonly", vq_memory_device, is_readonly),
    VQ_SIZE("target/block", vq_memory_device, block_kib, 1024),
    VQ_SIZE("target/requested", vq_memory_device, requested_kib, 1024),
    VQ_SIZE("target/current", vq_memory_device, current_kib, 1024, .flags = VQ_FIELD_LIVE),
    VQ_STRUCT("", vq_memory_device, info, vq_info_fields),
};
VQ_FIELDS_EXPORT(vq_memory_device_fields, "memory", vq_memory_device, memory_device_rows);

static const struct vq_field redir_rule_rows[] = {
    VQ_STRING("@class", vq_redir_rule, class_code),
    VQ_STRING("@vendor", vq_redir_rule, vendor),
    VQ_STRING("@product", vq_redir_rule, product),
    VQ_STRING("@version", vq_redir_rule, version),
    VQ_YES_NO("@allow", vq_redir_rule, allow, .flags = VQ_FIELD_REQUIRED),
};
/* A number in hexadecimal digits of one width; -1 is any, as is none. */
static int parse_identity(char **text, const char *format, uint64_t max, const char *what, struct vq_error *err)
{
    uint64_t number;

    if (*text == NULL)
        return 0;
    if (strcmp(*text, "-1") == 0) {
        free(vq_take(*text));
        return 0;
    }
    if (!vq_parse_u64(*text, 0, UINT32_MAX, &number))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Cannot parse USB %s %.32s", what, *text);
    if (number > max)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Invalid USB %s 0x%x", what, (unsigned)number);
    free(*text);
    *text = vq_asprintf(format, (unsigned)number);
    return 0;
}

/* "1.1" is 1.10: two decimals behind the point. */
static int parse_version(char **text, struct vq_error *err)
{
    unsigned major = 0, decimals = 0;
    size_t length;

    if (*text == NULL)
        return 0;
    if (strcmp(*text, "-1") == 0) {
        free(vq_take(*text));
        return 0;
    }
    const char *point = strchr(*text, '.');
    length = point != NULL ? strlen(point + 1) : 0;
    if (point == NULL || point == *text || point - *text > 2 || length < 1 || length > 2 ||
        strspn(*text, "0123456789") != (size_t)(point - *text) || strspn(point + 1, "0123456789") != length)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "Cannot parse USB device version %.32s", *text);
    major = (unsigned)atoi(*text);
    decimals = (unsigned)atoi(point + 1) * (length == 1 ? 10 : 1);
    free(*text);
    *text = vq_asprintf("%u.%02u", major, decimals);
    return 0;
}

static int redir_rule_parsed(void *object, const struct vq_xml_node *node, struct vq_error *err)
{
    struct vq_redir_rule *rule = object;

    (void)node;
    if (parse_identity(&rule->class_code, "0x%02X", 0xff, "Class code", err) < 0 ||
        parse_identity(&rule->vendor, "0x%04X", 0xffff, "vendor ID", err) < 0 ||
        parse_identity(&rule->product, "0x%04X", 0xffff, "product ID", err) < 0)
        return -1;
    return parse_version(&rule->version, err);
}
VQ_FIELDS(redir_rule_fields, "usbdev", vq_redir_rule, redir_rule_rows, .parsed = redir_rule_parsed);

static const struct vq_field redir_filter_rows[] = {
    VQ_LIST("usbdev", vq_redir_filter, rules, redir_rule_fields),
};
VQ_FIELDS_EXPORT(vq_redir_filter_fields, "redirfilter", vq_redir_filter, redir_filter_rows);

static const struct vq_field lease_rows[] = {
    VQ_STRING("lockspace", vq_lease, lockspace),
    VQ_STRING("key", vq_lease, key, .flags = VQ_FIELD_REQUIRED),
    VQ_STRING("target/@path", vq_lease, path, .flags = VQ_FIELD_REQUIRED),
    VQ_U64("target/@offset", vq_lease, offset),
};
VQ_FIELDS_EXPORT(vq_lease_fields, "lease", vq_lease, lease_rows);

static const struct vq_field crypto_rows[] = {
    VQ_STRING("@model", vq_crypto, model, .flags = VQ_FIELD_REQUIRED),
    VQ_STRING("@type", vq_crypto, type, .flags = VQ_FIELD_REQUIRED),
    VQ_STRING("backend/@model", vq_crypto, backend),
    VQ_UINT("backend/@queues", vq_crypto, queues),
    VQ_STRUCT("driver", vq_crypto, virtio, vq_virtio_fields),
    VQ_STRUCT("", vq_crypto, info, vq_info_fields),
};
VQ_FIELDS_EXPORT(vq_crypto_fields, "crypto", vq_crypto, crypto_rows);

static const struct vq_field nvram_rows[] = {VQ_STRUCT("", vq_nvram, info, vq_info_fields)};
VQ_FIELDS_EXPORT(vq_nvram_fields, "nvram", vq_nvram, nvram_rows);
