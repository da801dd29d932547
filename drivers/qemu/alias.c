/* What a run adds to a definition: aliases, block node numbers, socket paths. */
#define VQ_FROM VIR_FROM_QEMU
#include <stdio.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/definition.h"
#include "drivers/qemu/devices.h"
#include "drivers/qemu/disk.h"
#include "drivers/qemu/pci.h"

enum { SOCKET_PATH_MAX = 107 }; /* of a UNIX socket */

static bool is_users(const char *alias)
{
    return alias != NULL && strncmp(alias, "ua-", 3) == 0;
}

static void set_alias(struct vq_device_info *info, const char *fmt, ...) VQ_PRINTF(2, 3);

static void set_alias(struct vq_device_info *info, const char *fmt, ...)
{
    char alias[128];
    va_list args;

    if (is_users(info->alias))
        return;
    va_start(args, fmt);
    (void)vsnprintf(alias, sizeof(alias), fmt, args);
    va_end(args);
    vq_set_text(&info->alias, alias);
}

static void name_controller(const struct vq_domain *live, struct vq_controller *controller)
{
    static const char *const types[VQ_CONTROLLER_N] = {
        [VQ_CONTROLLER_IDE] = "ide",         [VQ_CONTROLLER_FDC] = "fdc", [VQ_CONTROLLER_SCSI] = "scsi",
        [VQ_CONTROLLER_SATA] = "sata",       [VQ_CONTROLLER_USB] = "usb", [VQ_CONTROLLER_VIRTIO_SERIAL] = "virtio-serial",
        [VQ_CONTROLLER_CCID] = "ccid",       [VQ_CONTROLLER_PCI] = "pci", [VQ_CONTROLLER_XENBUS] = "xenbus",
        [VQ_CONTROLLER_ISA] = "isa",
    };

    /* Buses that the machine brings along have QEMU's own names. */
    if (controller->type == VQ_CONTROLLER_PCI)
        set_alias(&controller->info, controller->index == 0 && vq_streq(controller->model, "pcie-root") ? "pcie.%u" : "pci.%u",
                  controller->index);
    else if (controller->index == 0 &&
             controller->type == (vq_qemu_pci_is_express(live) ? VQ_CONTROLLER_SATA : VQ_CONTROLLER_IDE))
        set_alias(&controller->info, "ide");
    else if (controller->type == VQ_CONTROLLER_USB && controller->index == 0)
        set_alias(&controller->info, "usb");
    else
        set_alias(&controller->info, "%s%u", types[controller->type] == NULL ? "controller" : types[controller->type],
                  controller->index);
}

/* The letters behind the prefix count: vda 0, vdz 25, vdaa 26. A target without a prefix has no number of its own. */
static unsigned target_number(const char *target)
{
    const char *prefix_end = strchr(target, 'd');
    unsigned number = 0;

    for (const char *c = prefix_end != NULL ? prefix_end + 1 : ""; *c >= 'a' && *c <= 'z' && number < 100000; c++)
        number = number * 26 + (unsigned)(*c - 'a') + 1;
    return number == 0 ? 0 : number - 1;
}

static void name_disk(const struct vq_domain *def, struct vq_disk *disk)
{
    const struct vq_address *at = &disk->info.address;
    const struct vq_controller *scsi = NULL;

    switch (disk->bus) {
    case VQ_DISK_BUS_SCSI:
        scsi = vq_qemu_find_controller(def, VQ_CONTROLLER_SCSI, at->drive.controller);
        if (scsi == NULL || vq_streq(scsi->model, "lsilogic"))
            set_alias(&disk->info, "scsi%u-%u-%u", at->drive.controller, at->drive.bus, at->drive.unit);
        else
            set_alias(&disk->info, "scsi%u-%u-%u-%u", at->drive.controller, at->drive.bus, at->drive.target, at->drive.unit);
        break;
    case VQ_DISK_BUS_SATA:
        set_alias(&disk->info, "sata%u-%u-%u", at->drive.controller, at->drive.bus, at->drive.unit);
        break;
    case VQ_DISK_BUS_IDE:
        set_alias(&disk->info, "ide%u-%u-%u", at->drive.controller, at->drive.bus, at->drive.unit);
        break;
    case VQ_DISK_BUS_FDC:
        set_alias(&disk->info, "fdc%u-%u-%u", at->drive.controller, at->drive.bus, at->drive.unit);
        break;
    case VQ_DISK_BUS_USB:
        set_alias(&disk->info, "usb-disk%u", target_number(disk->target));
        break;
    default:
        set_alias(&disk->info, "virtio-disk%u", target_number(disk->target));
    }
}

static void name_ports(struct vq_domain *live)
{
    struct vq_devices *devices = &live->devices;

    for (size_t i = 0; i < devices->n_serials; i++)
        set_alias(&devices->serials[i]->info, "serial%zu", i);
    for (size_t i = 0; i < devices->n_parallels; i++)
        set_alias(&devices->parallels[i]->info, "parallel%zu", i);
    for (size_t i = 0; i < devices->n_channels; i++)
        set_alias(&devices->channels[i]->info, "channel%zu", i);
    for (size_t i = 0; i < devices->n_consoles; i++) {
        /* The first console is the first serial port under another name. */
        if (devices->consoles[i]->target == VQ_PORT_TARGET_SERIAL && devices->n_serials > 0)
            set_alias(&devices->consoles[i]->info, "%s", devices->serials[0]->info.alias);
        else
            set_alias(&devices->consoles[i]->info, "console%zu", i);
    }
}

/* Modules are named by the slot that they sit in, others are counted by kind. */
static void name_memories(struct vq_devices *devices)
{
    static const struct {
        const char *model, *prefix;
    } kinds[] = {{"dimm", "dimm"}, {"nvdimm", "nvdimm"}, {"virtio-pmem", "virtiopmem"}, {"virtio-mem", "virtiomem"}};
    unsigned counts[VQ_N_ELEMENTS(kinds)] = {0};

    for (size_t i = 0; i < devices->n_memories; i++) {
        struct vq_memory_device *memory = devices->memories[i];
        for (size_t k = 0; k < VQ_N_ELEMENTS(kinds); k++)
            if (vq_streq(kinds[k].model, memory->model))
                set_alias(&memory->info, "%s%u", kinds[k].prefix, memory->info.address.type == VQ_ADDRESS_DIMM
                                                                      ? memory->info.address.dimm.slot
                                                                      : counts[k]++);
    }
}

#define NAME_LIST(list, fmt)                                                                                           \
    for (size_t i = 0; i < devices->n_##list; i++)                                                                     \
    set_alias(&devices->list[i]->info, fmt, i)

static void name_devices(struct vq_domain *live)
{
    struct vq_devices *devices = &live->devices;

    for (size_t i = 0; i < devices->n_controllers; i++)
        name_controller(live, devices->controllers[i]);
    for (size_t i = 0; i < devices->n_disks; i++)
        name_disk(live, devices->disks[i]);
    name_ports(live);
    NAME_LIST(filesystems, "fs%zu");
    NAME_LIST(interfaces, "net%zu");
    NAME_LIST(inputs, "input%zu");
    NAME_LIST(tpms, "tpm%zu");
    NAME_LIST(sounds, "sound%zu");
    NAME_LIST(videos, "video%zu");
    NAME_LIST(hostdevs, "hostdev%zu");
    NAME_LIST(redirdevs, "redir%zu");
    NAME_LIST(hubs, "hub%zu");
    NAME_LIST(watchdogs, "watchdog%zu");
    NAME_LIST(rngs, "rng%zu");
    NAME_LIST(panics, "panic%zu");
    NAME_LIST(shmems, "shmem%zu");
    NAME_LIST(smartcards, "smartcard%zu");
    NAME_LIST(cryptos, "crypto%zu");
    name_memories(devices);
    if (devices->memballoon != NULL)
        set_alias(&devices->memballoon->info, "balloon0");
    if (devices->vsock != NULL)
        set_alias(&devices->vsock->info, "vsock0");
    if (devices->iommu != NULL)
        set_alias(&devices->iommu->info, "iommu0");
}

static int check_aliases_differ(const struct vq_domain *live, struct vq_error *err)
{
    const struct vq_devices *devices = &live->devices;

    for (size_t i = 0; i < devices->n_disks; i++)
        for (size_t k = i + 1; k < devices->n_disks; k++)
            if (vq_streq(devices->disks[i]->info.alias, devices->disks[k]->info.alias))
                return vq_error_set(err, VIR_ERR_XML_ERROR, "disks '%s' and '%s' have the same alias '%s'",
                                    devices->disks[i]->target, devices->disks[k]->target, devices->disks[i]->info.alias);
    return 0;
}

/* Sockets of channels that say "unix" and no path are ours to choose. */
static int place_sockets(struct vq_domain *live, const char *dir, struct vq_error *err)
{
    for (size_t i = 0; i < live->devices.n_channels; i++) {
        struct vq_port *channel = live->devices.channels[i];
        if (channel->source.type != VQ_CHARDEV_UNIX || channel->source.path != NULL)
            continue;
        if (channel->name != NULL && !vq_name_is_component(channel->name))
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "channel '%s': no socket can have this name",
                                channel->name);
        channel->source.path = channel->name != NULL ? vq_asprintf("%s/%s", dir, channel->name)
                                                      : vq_asprintf("%s/channel%zu.sock", dir, i);
        channel->source.mode = VQ_CHARDEV_BIND;
        if (strlen(channel->source.path) > SOCKET_PATH_MAX)
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "channel '%s': the path of its socket is longer than %d",
                                channel->name, SOCKET_PATH_MAX);
    }
    return 0;
}

int vq_qemu_definition_begin_run(struct vq_domain *live, int32_t id, const char *dir, struct vq_error *err)
{
    live->id = (uint32_t)id;
    name_devices(live);
    vq_qemu_disk_number_nodes(live);
    /* Ids are unique in the cluster, and the first two CIDs are the hypervisor's and the host's. */
    if (live->devices.vsock != NULL && live->devices.vsock->cid == 0)
        live->devices.vsock->cid = (id > 0 ? (uint32_t)id : 1) + 2;
    if (check_aliases_differ(live, err) < 0)
        return -1;
    return place_sockets(live, dir, err);
}
