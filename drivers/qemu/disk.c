/* Small facts about disks. */
#include "drivers/qemu/disk.h"

#include <stdio.h>

#include "conf/base/text.h"

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

void vq_qemu_disk_add_cache(json_t *node, enum vq_disk_cache mode)
{
    const struct cache_mode *cache = find_cache(mode);

    if (cache != NULL)
        json_object_set_new(node, "cache", json_pack("{s:b, s:b}", "direct", cache->direct, "no-flush", cache->no_flush));
}

enum vq_disk_cache vq_qemu_disk_cache(const struct vq_disk *disk)
{
    bool is_open = disk->cache == VQ_DISK_CACHE_UNSET || disk->cache == VQ_DISK_CACHE_DEFAULT;

    return is_open && disk->is_shareable && !disk->is_readonly ? VQ_DISK_CACHE_NONE : disk->cache;
}

bool vq_qemu_disk_write_cache(enum vq_disk_cache mode, bool *ret_is_on)
{
    const struct cache_mode *cache = find_cache(mode);

    if (cache != NULL)
        *ret_is_on = cache->write_cache;
    return cache != NULL;
}

const char *vq_qemu_disk_io_name(enum vq_disk_io io)
{
    switch (io) {
    case VQ_DISK_IO_NATIVE: return "native";
    case VQ_DISK_IO_THREADS: return "threads";
    case VQ_DISK_IO_URING: return "io_uring";
    default: return NULL;
    }
}

const char *vq_qemu_disk_discard_name(enum vq_disk_discard discard)
{
    return discard == VQ_DISK_DISCARD_UNMAP ? "unmap" : discard == VQ_DISK_DISCARD_IGNORE ? "ignore" : NULL;
}

/* QEMU refuses to unmap zeroes where nothing may be unmapped. */
const char *vq_qemu_disk_zeroes_name(const struct vq_disk *disk)
{
    switch (disk->detect_zeroes) {
    case VQ_DISK_ZEROES_OFF: return "off";
    case VQ_DISK_ZEROES_ON: return "on";
    case VQ_DISK_ZEROES_UNMAP: return disk->discard == VQ_DISK_DISCARD_UNMAP ? "unmap" : "on";
    default: return NULL;
    }
}

bool vq_qemu_disk_has_medium(const struct vq_disk *disk)
{
    switch (disk->source.type) {
    case VQ_SOURCE_NETWORK:
    case VQ_SOURCE_NVME:
        return true;
    case VQ_SOURCE_VOLUME:
        return disk->source.pool != NULL;
    default:
        return disk->source.path != NULL;
    }
}

bool vq_qemu_backing_is_image(const struct vq_backing *backing)
{
    return backing != NULL && !backing->is_terminator &&
           !(backing->source.type == VQ_SOURCE_UNSET && backing->source.path == NULL);
}

bool vq_qemu_disk_has_limits(const struct vq_disk *disk)
{
    const struct vq_iotune *tune = &disk->iotune;

    return tune->group_name != NULL || tune->size_iops != 0 ||
           (tune->total_bytes | tune->read_bytes | tune->write_bytes | tune->total_iops | tune->read_iops |
            tune->write_iops | tune->total_bytes_max | tune->read_bytes_max | tune->write_bytes_max |
            tune->total_iops_max | tune->read_iops_max | tune->write_iops_max) != 0;
}

void vq_qemu_disk_top_node(const struct vq_disk *disk, char *name, size_t size)
{
    if (vq_qemu_disk_has_limits(disk))
        (void)snprintf(name, size, "libvirt-%u-throttle", disk->source.index);
    else if (disk->copy_on_read == VQ_SWITCH_ON)
        (void)snprintf(name, size, "libvirt-CoR-%s", disk->target);
    else
        (void)snprintf(name, size, "libvirt-%u-format", disk->source.index);
}

static uint32_t highest_node(const struct vq_domain *live)
{
    uint32_t highest = 0;

    for (size_t i = 0; i < live->devices.n_disks; i++) {
        const struct vq_disk *disk = live->devices.disks[i];
        if (disk->source.index > highest)
            highest = disk->source.index;
        for (const struct vq_backing *backing = disk->backing; backing != NULL; backing = backing->backing)
            if (backing->source.index > highest)
                highest = backing->source.index;
    }
    return highest;
}

void vq_qemu_disk_number_nodes(struct vq_domain *live)
{
    uint32_t next = highest_node(live) + 1;

    for (size_t i = live->devices.n_disks; i-- > 0;) {
        struct vq_disk *disk = live->devices.disks[i];
        if (disk->source.type == VQ_SOURCE_VHOST_USER)
            continue; /* another process reads it: there is no node */
        if (disk->source.index == 0)
            disk->source.index = next++;
        for (struct vq_backing *backing = disk->backing; vq_qemu_backing_is_image(backing); backing = backing->backing)
            if (backing->source.index == 0)
                backing->source.index = next++;
    }
}

int vq_qemu_disk_detected_depth(const struct vq_disk *disk)
{
    int depth = 1;

    if (disk->chain == VQ_CHAIN_DETECTED)
        return 0;
    for (const struct vq_backing *backing = disk->backing; backing != NULL; backing = backing->backing, depth++)
        if (backing->chain == VQ_CHAIN_DETECTED)
            return depth;
    return -1;
}

void vq_qemu_disk_set_detected_depth(struct vq_disk *disk, int depth)
{
    int at = 1;

    if (depth == 0)
        disk->chain = VQ_CHAIN_DETECTED;
    for (struct vq_backing *backing = disk->backing; backing != NULL; backing = backing->backing, at++)
        if (at >= depth)
            backing->chain = VQ_CHAIN_DETECTED;
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

uint32_t vq_qemu_disk_boot_index(const struct vq_domain *def, const struct vq_disk *disk)
{
    return disk->info.boot_order != 0 ? disk->info.boot_order : boot_index_by_class(def, disk);
}
