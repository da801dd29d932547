/* Defaults of single devices that are the same for every hypervisor. What is said already is never touched. */
#define VQ_FROM VIR_FROM_DOMAIN
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain_rules.h"

enum { SHMEM_MIB = 4 };

static void fill_text(char **member, const char *text)
{
    if (*member == NULL)
        *member = vq_strdup(text);
}

/* ---- character devices ---- */

void vq_domain_fill_chardev(struct vq_chardev *source)
{
    bool is_socket = source->type == VQ_CHARDEV_TCP || (source->type == VQ_CHARDEV_UNIX && source->path != NULL);

    if (is_socket && source->mode == VQ_CHARDEV_MODE_UNSET)
        source->mode = VQ_CHARDEV_CONNECT;
    if (source->type == VQ_CHARDEV_TCP)
        fill_text(&source->protocol, "raw");
}

/* ---- interfaces ---- */

static void fill_mac(struct vq_interface *interface, const struct vq_domain_fill *fill)
{
    if (interface->has_mac)
        return;
    memcpy(interface->mac, fill->mac_prefix, 3);
    fill->random(interface->mac + 3, 3, fill->data);
    interface->has_mac = true;
}

static void fill_identity(char **member, const struct vq_domain_fill *fill)
{
    uint8_t uuid[VQ_UUID_BYTES];
    char text[VQ_UUID_TEXT];

    if (*member != NULL)
        return;
    fill->random(uuid, sizeof(uuid), fill->data);
    uuid[6] = (uint8_t)((uuid[6] & 0x0f) | 0x40); /* RFC 4122: random, variant 1 */
    uuid[8] = (uint8_t)((uuid[8] & 0x3f) | 0x80);
    vq_uuid_format(uuid, text);
    *member = vq_strdup(text);
}

/* A switch knows its ports by identities that outlive the guest's runs. Without a type it may be any of them. */
static void fill_virtualport(struct vq_virtualport *port, const struct vq_domain_fill *fill)
{
    if (port->type == NULL || strcmp(port->type, "802.1Qbg") == 0)
        fill_identity(&port->instanceid, fill);
    if (port->type == NULL || strcmp(port->type, "openvswitch") == 0)
        fill_identity(&port->interfaceid, fill);
}

static void fill_interface(struct vq_interface *interface, const struct vq_domain_fill *fill)
{
    if (interface->type == VQ_INTERFACE_UNSET)
        interface->type = VQ_INTERFACE_USER;
    fill_mac(interface, fill);
    if (interface->type == VQ_INTERFACE_DIRECT)
        fill_text(&interface->source_mode, "vepa");
    if (interface->virtualport != NULL)
        fill_virtualport(interface->virtualport, fill);
}

/* ---- host devices ---- */

struct scsi_place {
    uint32_t controller, unit;
};

static bool is_at(const struct vq_device_info *info, struct scsi_place place)
{
    return info->address.type == VQ_ADDRESS_DRIVE && info->address.drive.controller == place.controller &&
           info->address.drive.unit == place.unit;
}

static bool scsi_place_is_taken(const struct vq_devices *devices, struct scsi_place place)
{
    for (size_t i = 0; i < devices->n_disks; i++) {
        if (devices->disks[i]->bus == VQ_DISK_BUS_SCSI && is_at(&devices->disks[i]->info, place))
            return true;
    }
    for (size_t i = 0; i < devices->n_hostdevs; i++) {
        if (devices->hostdevs[i]->type == VQ_HOSTDEV_SCSI && is_at(&devices->hostdevs[i]->info, place))
            return true;
    }
    return false;
}

/* The next place on the buses of seven that disks use as well. next: the first that may be free. */
static void place_scsi(const struct vq_devices *devices, struct vq_hostdev *hostdev, struct scsi_place *next)
{
    struct vq_address *address = &hostdev->info.address;

    if (address->type != VQ_ADDRESS_UNSET)
        return;
    while (scsi_place_is_taken(devices, *next)) {
        next->controller += next->unit == 6;
        next->unit = (next->unit + 1) % 7;
    }
    address->type = VQ_ADDRESS_DRIVE;
    address->drive.controller = next->controller;
    address->drive.unit = next->unit;
}

/* The name of a target without a logical unit means the first. */
static void fill_lun(char **name)
{
    if (*name == NULL || strchr(*name, '/') != NULL)
        return;
    char *whole = vq_asprintf("%s/0", *name);
    free(*name);
    *name = whole;
}

static void fill_hostdev(struct vq_hostdev *hostdev)
{
    fill_text(&hostdev->mode, "subsystem");
    if (hostdev->managed == VQ_SWITCH_UNSET)
        hostdev->managed = VQ_SWITCH_OFF;
    if (hostdev->type == VQ_HOSTDEV_MDEV && vq_streq(hostdev->model, "vfio-pci") &&
        hostdev->display == VQ_SWITCH_UNSET)
        hostdev->display = VQ_SWITCH_OFF;
    if (hostdev->type == VQ_HOSTDEV_SCSI && vq_streq(hostdev->source_protocol, "iscsi"))
        fill_lun(&hostdev->source_name);
}

static void fill_hostdevs(struct vq_devices *devices)
{
    struct scsi_place next = {0};

    for (size_t i = 0; i < devices->n_hostdevs; i++) {
        fill_hostdev(devices->hostdevs[i]);
        if (devices->hostdevs[i]->type == VQ_HOSTDEV_SCSI)
            place_scsi(devices, devices->hostdevs[i], &next);
    }
}

/* ---- the others ---- */

static bool slot_is_taken(const struct vq_devices *devices, uint32_t slot)
{
    for (size_t i = 0; i < devices->n_smartcards; i++) {
        const struct vq_address *address = &devices->smartcards[i]->info.address;

        if (address->type == VQ_ADDRESS_CCID && address->ccid.controller == 0 && address->ccid.slot == slot)
            return true;
    }
    return false;
}

static void fill_smartcards(struct vq_devices *devices)
{
    uint32_t slot = 0;

    for (size_t i = 0; i < devices->n_smartcards; i++) {
        struct vq_address *address = &devices->smartcards[i]->info.address;

        if (address->type != VQ_ADDRESS_UNSET)
            continue;
        while (slot_is_taken(devices, slot))
            slot++;
        address->type = VQ_ADDRESS_CCID;
        address->ccid.slot = slot;
    }
}

static void fill_tpm(struct vq_tpm *tpm)
{
    if (tpm->backend == VQ_TPM_PASSTHROUGH)
        fill_text(&tpm->device, "/dev/tpm0");
    if (tpm->backend == VQ_TPM_EXTERNAL && tpm->source.mode == VQ_CHARDEV_MODE_UNSET)
        tpm->source.mode = VQ_CHARDEV_CONNECT;
}

static bool has_dimm_slot(const struct vq_memory_device *memory)
{
    return vq_streq(memory->model, "dimm") || vq_streq(memory->model, "nvdimm");
}

static bool dimm_slot_is_taken(const struct vq_devices *devices, uint32_t slot)
{
    for (size_t i = 0; i < devices->n_memories; i++) {
        const struct vq_address *address = &devices->memories[i]->info.address;

        if (address->type == VQ_ADDRESS_DIMM && address->dimm.slot == slot)
            return true;
    }
    return false;
}

static void fill_memories(struct vq_devices *devices)
{
    uint32_t slot = 0;

    for (size_t i = 0; i < devices->n_memories; i++) {
        struct vq_address *address = &devices->memories[i]->info.address;

        if (address->type != VQ_ADDRESS_UNSET || !has_dimm_slot(devices->memories[i]))
            continue;
        while (dimm_slot_is_taken(devices, slot))
            slot++;
        address->type = VQ_ADDRESS_DIMM;
        address->dimm.slot = slot;
    }
}

static void fill_shmem(struct vq_shmem *shmem)
{
    if (vq_streq(shmem->model, "ivshmem-plain") && shmem->size_mib == 0)
        shmem->size_mib = SHMEM_MIB;
    if (shmem->has_msi && shmem->msi_ioeventfd == VQ_SWITCH_UNSET)
        shmem->msi_ioeventfd = VQ_SWITCH_ON;
}

static void fill_vsock(struct vq_vsock *vsock)
{
    if (vsock->model == VQ_VIRTIO_MODEL_UNSET)
        vsock->model = VQ_VIRTIO_MODEL_VIRTIO;
    if (vsock->auto_cid == VQ_SWITCH_UNSET)
        vsock->auto_cid = vsock->cid == 0 ? VQ_SWITCH_ON : VQ_SWITCH_OFF;
}

void vq_domain_fill_devices(struct vq_domain *domain, const struct vq_domain_fill *fill)
{
    struct vq_devices *devices = &domain->devices;

    for (size_t i = 0; i < devices->n_redirdevs; i++)
        vq_domain_fill_chardev(&devices->redirdevs[i]->source);
    for (size_t i = 0; i < devices->n_smartcards; i++)
        vq_domain_fill_chardev(&devices->smartcards[i]->source);
    for (size_t i = 0; i < devices->n_rngs; i++)
        vq_domain_fill_chardev(&devices->rngs[i]->source);
    for (size_t i = 0; i < devices->n_filesystems; i++) {
        fill_text(&devices->filesystems[i]->type, "mount");
        if (devices->filesystems[i]->source_socket == NULL)
            fill_text(&devices->filesystems[i]->accessmode, "passthrough");
    }
    for (size_t i = 0; i < devices->n_interfaces; i++)
        fill_interface(devices->interfaces[i], fill);
    for (size_t i = 0; i < devices->n_tpms; i++)
        fill_tpm(devices->tpms[i]);
    for (size_t i = 0; i < devices->n_shmems; i++)
        fill_shmem(devices->shmems[i]);
    if (devices->vsock != NULL)
        fill_vsock(devices->vsock);
    fill_hostdevs(devices);
    fill_smartcards(devices);
    fill_memories(devices);
}
