/* Owners of images: see ownership.h. Every change is made by descriptor: the file that was looked at is the file that
 * changes its owner. */
#define VQ_FROM VIR_FROM_SECURITY

#include "drivers/qemu/ownership.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/guest.h"

/* O_PATH: neither waits for a device nor disturbs it. Links are followed, as names of LVM and udev are links: whoever
 * may define a domain names the file, and QEMU would open the same one. */
static int open_image(const char *path, struct stat *ret_status, struct vq_error *err)
{
    int fd = open(path, O_PATH | O_CLOEXEC);

    if (fd < 0)
        return vq_error_system(err, errno, "cannot access storage file '%s'", path);
    if (fstat(fd, ret_status) < 0 || (!S_ISREG(ret_status->st_mode) && !S_ISBLK(ret_status->st_mode))) {
        (void)close(fd);
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "'%s' is neither a file nor a block device", path);
    }
    return fd;
}

static int change_owner(int fd, uid_t uid, gid_t gid)
{
    return fchownat(fd, "", uid, gid, AT_EMPTY_PATH);
}

static void forget_last(struct vq_qemu_guest *guest)
{
    free(guest->owned[--guest->n_owned].path);
}

static int take_image(struct vq_qemu_guest *guest, const char *path, struct vq_error *err)
{
    const struct vq_qemu_settings *settings = &guest->qemu->settings;
    uid_t uid = settings->has_user ? settings->uid : geteuid();
    gid_t gid = settings->has_user ? settings->gid : getegid();
    struct stat status;
    int fd = open_image(path, &status, err), rc = 0;

    if (fd < 0)
        return -1;
    if (status.st_uid == uid || guest->n_owned == VQ_GUEST_OWNED_MAX) {
        (void)close(fd);
        return guest->n_owned == VQ_GUEST_OWNED_MAX
                   ? vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "more than %d images", VQ_GUEST_OWNED_MAX) : 0;
    }
    guest->owned[guest->n_owned++] = (struct vq_qemu_owned){ .path = vq_strdup(path), .uid = status.st_uid,
                                                             .gid = status.st_gid };
    if (vq_qemu_record_write(guest, err) < 0) {
        forget_last(guest);
        rc = -1;
    } else if (VQ_FAILPOINT("qemu.ownership.take") || change_owner(fd, uid, gid) < 0) {
        rc = vq_error_system(err, errno, "cannot give '%s' to user %u", path, (unsigned)uid);
        forget_last(guest);
    }
    (void)close(fd);
    return rc;
}

int vq_qemu_ownership_take(struct vq_qemu_guest *guest, struct vq_error *err)
{
    const struct vq_devices *devices = &guest->live->devices;

    if (!guest->qemu->settings.dynamic_ownership)
        return 0;
    for (size_t i = 0; i < devices->n_disks; i++) {
        const struct vq_disk *disk = devices->disks[i];
        bool is_image = disk->source.type == VQ_SOURCE_FILE || disk->source.type == VQ_SOURCE_BLOCK;

        /* What is only read, or shared with other guests, keeps its owner. */
        if (is_image && disk->source.path != NULL && !disk->is_readonly && !disk->is_shareable &&
            disk->device != VQ_DISK_DEVICE_CDROM && take_image(guest, disk->source.path, err) < 0)
            return -1;
    }
    return 0;
}

void vq_qemu_ownership_give_back(struct vq_qemu_guest *guest)
{
    const struct vq_qemu_settings *settings = &guest->qemu->settings;

    for (size_t i = guest->n_owned; i-- > 0;) {
        const struct vq_qemu_owned *owned = &guest->owned[i];
        struct vq_error err = VQ_ERROR_INIT;
        struct stat status;
        int fd = open_image(owned->path, &status, &err);

        if (fd >= 0 && status.st_uid != (settings->has_user ? settings->uid : geteuid())) {
            vq_log(INFO, "guest.ownership", "domain=%s: '%s' has another owner by now, it stays as it is", guest->name, owned->path);
            (void)close(fd);
            continue;
        }
        if (fd < 0 || change_owner(fd, owned->uid, owned->gid) < 0)
            vq_log(WARN, "guest.ownership", "domain=%s: '%s' cannot be given back to user %u, it stays as it is",
                   guest->name, owned->path, owned->uid);
        if (fd >= 0)
            (void)close(fd);
    }
    vq_qemu_ownership_done(guest);
}

void vq_qemu_ownership_done(struct vq_qemu_guest *guest)
{
    while (guest->n_owned > 0)
        forget_last(guest);
}
