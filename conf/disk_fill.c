/* Defaults of disks: bus and place from the name, ports of servers, engines of encryption. */
#define VQ_FROM VIR_FROM_DOMAIN
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain_rules.h"

static enum vq_disk_bus bus_of_target(const struct vq_disk *disk)
{
    static const struct {
        const char *prefix;
        enum vq_disk_bus bus;
    } buses[] = {{"fd", VQ_DISK_BUS_FDC},    {"hd", VQ_DISK_BUS_IDE},  {"sd", VQ_DISK_BUS_SCSI},
                 {"vd", VQ_DISK_BUS_VIRTIO}, {"xvd", VQ_DISK_BUS_XEN}, {"ubd", VQ_DISK_BUS_UML}};

    if (disk->device == VQ_DISK_DEVICE_FLOPPY)
        return VQ_DISK_BUS_FDC;
    for (size_t i = 0; i < VQ_N_ELEMENTS(buses); i++) {
        if (strncmp(disk->target, buses[i].prefix, strlen(buses[i].prefix)) == 0)
            return buses[i].bus;
    }
    return VQ_DISK_BUS_IDE;
}

int32_t vq_disk_target_index(const char *target)
{
    static const char *const prefixes[] = {"fd", "hd", "sd", "vd", "xvd", "ubd"};
    const char *letters = NULL;
    int32_t index = 0;

    for (size_t i = 0; i < VQ_N_ELEMENTS(prefixes); i++) {
        if (strncmp(target, prefixes[i], strlen(prefixes[i])) == 0)
            letters = target + strlen(prefixes[i]);
    }
    if (letters == NULL || *letters < 'a' || *letters > 'z')
        return -1;
    /* "a" is 0, "z" 25, "aa" 26: digits of base 26 that begin at 1. */
    for (; *letters >= 'a' && *letters <= 'z'; letters++) {
        if (index > INT32_MAX / 26 - 27)
            return -1;
        index = index * 26 + (*letters - 'a') + 1;
    }
    return letters[strspn(letters, "0123456789")] == '\0' ? index - 1 : -1;
}

static int fill_drive_address(struct vq_disk *disk, struct vq_error *err)
{
    int32_t index = vq_disk_target_index(disk->target);
    struct vq_address *address = &disk->info.address;
    uint32_t n = (uint32_t)index;

    if (disk->bus != VQ_DISK_BUS_IDE && disk->bus != VQ_DISK_BUS_SCSI && disk->bus != VQ_DISK_BUS_SATA &&
        disk->bus != VQ_DISK_BUS_FDC)
        return 0;
    if (address->type != VQ_ADDRESS_UNSET)
        return 0;
    if (index < 0)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "Unknown disk name '%s' and no address specified", disk->target);
    address->type = VQ_ADDRESS_DRIVE;
    switch (disk->bus) {
    case VQ_DISK_BUS_IDE: /* two channels of two */
        address->drive.controller = n / 4;
        address->drive.bus = n % 4 / 2;
        address->drive.unit = n % 2;
        break;
    case VQ_DISK_BUS_SCSI: /* seven, the eighth place is the controller's own */
        address->drive.controller = n / 7;
        address->drive.unit = n % 7;
        break;
    case VQ_DISK_BUS_SATA:
        address->drive.controller = n / 6;
        address->drive.unit = n % 6;
        break;
    default: /* floppies */
        address->drive.controller = n / 2;
        address->drive.unit = n % 2;
        break;
    }
    return 0;
}

static void fill_encryption(struct vq_encryption *encryption)
{
    if (encryption != NULL && encryption->engine == NULL)
        encryption->engine = vq_strdup("qemu");
}

/* The port at which a protocol is served when nothing else is said; 0: there is none. */
static const uint32_t default_ports[VQ_NET_PROTOCOL_N] = {
    [VQ_NET_PROTOCOL_NBD] = 10809, [VQ_NET_PROTOCOL_SHEEPDOG] = 7000, [VQ_NET_PROTOCOL_GLUSTER] = 24007,
    [VQ_NET_PROTOCOL_ISCSI] = 3260, [VQ_NET_PROTOCOL_HTTP] = 80,      [VQ_NET_PROTOCOL_HTTPS] = 443,
    [VQ_NET_PROTOCOL_FTP] = 21,     [VQ_NET_PROTOCOL_FTPS] = 990,     [VQ_NET_PROTOCOL_TFTP] = 69,
    [VQ_NET_PROTOCOL_SSH] = 22,     [VQ_NET_PROTOCOL_VXHS] = 9999,
};

static void fill_source(struct vq_source *source)
{
    for (size_t i = 0; source->type == VQ_SOURCE_NETWORK && i < source->n_hosts; i++) {
        struct vq_source_host *host = source->hosts[i];

        if (host->port == 0 && !vq_streq(host->transport, "unix"))
            host->port = default_ports[source->protocol];
    }
    if (source->type == VQ_SOURCE_NVME && source->nvme_managed == VQ_SWITCH_UNSET)
        source->nvme_managed = VQ_SWITCH_ON;
    fill_encryption(source->encryption);
}

int vq_domain_fill_disk(struct vq_disk *disk, struct vq_error *err)
{
    if (disk->device == VQ_DISK_DEVICE_UNSET)
        disk->device = VQ_DISK_DEVICE_DISK;
    if (disk->source.type == VQ_SOURCE_UNSET)
        disk->source.type = VQ_SOURCE_FILE;
    if (disk->bus == VQ_DISK_BUS_UNSET)
        disk->bus = bus_of_target(disk);
    if (disk->device == VQ_DISK_DEVICE_CDROM)
        disk->is_readonly = true;
    fill_source(&disk->source);
    fill_encryption(disk->encryption);
    for (struct vq_backing *at = disk->backing; at != NULL; at = at->backing)
        fill_source(&at->source);
    if (disk->source.type == VQ_SOURCE_VHOST_USER && disk->snapshot == NULL)
        disk->snapshot = vq_strdup("no"); /* only the other process could make one */
    return fill_drive_address(disk, err);
}
