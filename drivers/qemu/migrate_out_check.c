/* What a guest must not have when it migrates: told before anything begins. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/vfs.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/aside.h"
#include "drivers/qemu/migrate_out.h"

/* File systems that several hosts see alike, by the magic number of statfs(2). */
static const uint32_t shared_file_systems[] = {
    0x6969,     /* NFS */
    0x01161970, /* GFS2 */
    0x7461636f, /* OCFS2 */
    0x5346414f, /* AFS */
    0x6B414653, /* kernel's own AFS */
    0x517B,     /* SMB */
    0xFE534D42, /* SMB2 */
    0xFF534D42, /* CIFS */
    0x00C36400, /* Ceph */
    0x47504653, /* GPFS */
    0x0BD00BD0, /* Lustre */
    0x65735546, /* FUSE: GlusterFS, Quobyte and others; what is local among them cannot be told */
};

static bool is_copied(const struct vq_migrate_options *options, const struct vq_disk *disk)
{
    if ((options->flags & (VIR_MIGRATE_NON_SHARED_DISK | VIR_MIGRATE_NON_SHARED_INC)) == 0)
        return false;
    for (size_t i = 0; i < options->n_disks; i++)
        if (vq_streq(options->disks[i], disk->target))
            return true;
    return options->n_disks == 0;
}

/* A disk that gave an error has writes which wait in QEMU only: they would be lost or repeated elsewhere. */
static int check_state(const struct vq_qemu_guest *guest, const struct vq_migrate_options *options, struct vq_error *err)
{
    bool is_unsafe = (options->flags & VIR_MIGRATE_UNSAFE) != 0;

    if (guest->state == VIR_DOMAIN_SHUTDOWN || guest->state == VIR_DOMAIN_CRASHED)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "domain '%s' has shut down and is about to end", guest->name);
    if (guest->state == VIR_DOMAIN_PAUSED && guest->reason == VIR_DOMAIN_PAUSED_IOERROR && !is_unsafe)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "cannot migrate domain with I/O error%s%s",
                            guest->io_error_target[0] != '\0' ? ": it is paused because of disk " : ", see domblkerror",
                            guest->io_error_target);
    if (guest->autodestroy)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "domain is marked for auto destroy");
    return 0;
}

/* USB devices are plugged out and in again by QEMU; others cannot follow. */
static int check_devices(const struct vq_domain *live, struct vq_error *err)
{
    for (size_t i = 0; i < live->devices.n_hostdevs; i++)
        if (live->devices.hostdevs[i]->type != VQ_HOSTDEV_USB)
            return vq_error_set(err, VIR_ERR_OPERATION_INVALID,
                                "domain has assigned non-USB host devices (%s), which cannot follow it",
                                live->devices.hostdevs[i]->info.alias != NULL ? live->devices.hostdevs[i]->info.alias : "");
    return 0;
}

int vq_leaving_check(const struct vq_qemu_guest *guest, const struct vq_migrate_options *options, struct vq_error *err)
{
    if (guest->live == NULL)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "domain '%s': %s", guest->name, guest->degraded);
    if (guest->migration != NULL && guest->migration->role == VQ_MIGRATE_IN)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID,
                            "domain '%s' still gets its memory from the host that it came from", guest->name);
    return check_state(guest, options, err) < 0 ? -1 : check_devices(guest->live, err);
}

bool vq_leaving_may_have_peers(const struct vq_driver_host *host)
{
    static const uint8_t none[16];

    return host->cluster_id != NULL && memcmp(host->cluster_id, none, sizeof(none)) != 0;
}

/* ---- File systems, looked at aside from the loop: they may hang ---- */

struct image {
    char *path, *target;
};

struct images {
    struct image *items;
    size_t n_items;
    const struct image *unshared; /* the first one that other hosts do not see; NULL: they see all */
};

struct vq_leaving_storage {
    struct vq_aside *aside;
    vq_leaving_storage_cb cb;
    void *data;
};

static void images_free(void *work)
{
    struct images *images = work;

    for (size_t i = 0; i < images->n_items; i++) {
        free(images->items[i].path);
        free(images->items[i].target);
    }
    free(images->items);
    free(images);
}

static struct images *images_of(const struct vq_domain *live, const struct vq_migrate_options *options)
{
    struct images *images = vq_new(struct images);

    for (size_t i = 0; i < live->devices.n_disks; i++) {
        const struct vq_disk *disk = live->devices.disks[i];

        if (disk->source.path == NULL || disk->is_readonly || disk->is_shareable || disk->source.type != VQ_SOURCE_FILE ||
            is_copied(options, disk))
            continue;
        VQ_GROW(images->items, images->n_items);
        images->items[images->n_items++] = (struct image){ vq_strdup(disk->source.path), vq_strdup(disk->target) };
    }
    return images;
}

static bool is_on_shared_file_system(const char *path)
{
    struct statfs status;

    if (statfs(path, &status) < 0)
        return false;
    for (size_t i = 0; i < VQ_N_ELEMENTS(shared_file_systems); i++)
        if ((uint32_t)status.f_type == shared_file_systems[i])
            return true;
    return false;
}

static void images_look(void *work)
{
    struct images *images = work;

    for (size_t i = 0; i < images->n_items && images->unshared == NULL; i++)
        if (!is_on_shared_file_system(images->items[i].path))
            images->unshared = &images->items[i];
}

static const struct vq_aside_class images_class = { images_look, images_free };

static void images_known(void *take_work, void *data)
{
    struct vq_leaving_storage *storage = data;
    struct images *images = take_work;
    struct vq_error err = VQ_ERROR_INIT;

    if (images == NULL)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_TIMEOUT, "the file systems of the guest's images do not answer");
    else if (images->unshared != NULL)
        (void)vq_error_set(&err, VIR_ERR_MIGRATE_UNSAFE, "Migration without shared storage is unsafe: '%s' of disk '%s' lies on a "
                           "file system of this host alone; copy it along (--copy-storage-all), or be sure that both hosts "
                           "have the same file (--unsafe)", images->unshared->path, images->unshared->target);
    if (images != NULL)
        images_free(images);
    storage->cb(err.code != VIR_ERR_OK ? &err : NULL, storage->data);
    free(storage);
}

struct vq_leaving_storage *vq_leaving_check_storage(const struct vq_qemu_guest *guest,
                                                    const struct vq_migrate_options *options, vq_leaving_storage_cb cb,
                                                    void *data)
{
    struct vq_leaving_storage *storage;

    if ((options->flags & VIR_MIGRATE_UNSAFE) != 0)
        return NULL;
    storage = vq_new(struct vq_leaving_storage);
    storage->cb = cb;
    storage->data = data;
    storage->aside = vq_aside_start(guest->qemu->host->loop, &images_class, images_of(guest->live, options),
                                    VQ_LEAVING_STORAGE_MS, images_known, storage);
    return storage;
}

void vq_leaving_forget_storage(struct vq_leaving_storage *storage)
{
    vq_aside_forget(storage->aside);
    free(storage);
}
