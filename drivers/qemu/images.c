/* Images of a run: see images.h. */
#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/images.h"

#include <errno.h>
#include <libvirt/libvirt.h>
#include <linux/magic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <unistd.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/device_fields.h"
#include "conf/domain.h"
#include "drivers/qemu/disk.h"
#include "drivers/qemu/events.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/image_chain.h"
#include "drivers/qemu/start.h"

enum { OTHERS_MAX = 65536 };

/* A disk of the run that starts: the worker's own copy. */
struct own_disk {
    struct vq_disk *disk;
    bool is_dropped;         /* its file is missing, and the definition allows that */
    bool is_on_shared_storage;
};

/* An image of another guest of this host. */
struct other_image {
    char *path, *guest;
    bool writes, shares;
};

struct look {
    uv_work_t work;
    struct vq_qemu_ticket *ticket;
    struct vq_image_reader reader;
    struct own_disk *disks;  /* by index of the definition; disk NULL: nothing to look at */
    size_t n_disks;
    struct other_image *others;
    size_t n_others;
    struct vq_error error;
};

static void look_free(struct look *look)
{
    for (size_t i = 0; i < look->n_disks; i++)
        vq_fields_free(&vq_disk_fields, look->disks[i].disk);
    for (size_t i = 0; i < look->n_others; i++) {
        free(look->others[i].path);
        free(look->others[i].guest);
    }
    free(look->disks);
    free(look->others);
    free(look);
}

static bool is_file(const struct vq_source *source)
{
    return (source->type == VQ_SOURCE_FILE || source->type == VQ_SOURCE_BLOCK) && source->path != NULL;
}

static bool writes_to(const struct vq_disk *disk)
{
    return !disk->is_readonly && disk->device != VQ_DISK_DEVICE_CDROM;
}

/* ---- In the worker ---- */

static bool may_be_missing(const struct vq_disk *disk)
{
    return disk->source.startup_policy == VQ_STARTUP_OPTIONAL && is_file(&disk->source) &&
           access(disk->source.path, F_OK) < 0 && errno == ENOENT;
}

/* File systems that several hosts mount at once. */
static bool is_on_shared_storage(const char *path)
{
    static const uint32_t shared[] = {NFS_SUPER_MAGIC, SMB_SUPER_MAGIC, CIFS_SUPER_MAGIC, SMB2_SUPER_MAGIC, OCFS2_SUPER_MAGIC,
                                      CEPH_SUPER_MAGIC, AFS_SUPER_MAGIC, FUSE_SUPER_MAGIC, 0x01161970 /* GFS2 */,
                                      0x47504653 /* GPFS */, 0x0bd00bd0 /* Lustre */};
    struct statfs fs;

    if (statfs(path, &fs) < 0)
        return false;
    for (size_t i = 0; i < VQ_N_ELEMENTS(shared); i++)
        if ((uint32_t)fs.f_type == shared[i])
            return true;
    return false;
}

static bool is_same_file(const char *a, const char *b)
{
    struct stat one, two;

    if (strcmp(a, b) == 0)
        return true;
    if (stat(a, &one) < 0 || stat(b, &two) < 0)
        return false;
    if (S_ISBLK(one.st_mode) || S_ISBLK(two.st_mode))
        return S_ISBLK(one.st_mode) && S_ISBLK(two.st_mode) && one.st_rdev == two.st_rdev;
    return one.st_dev == two.st_dev && one.st_ino == two.st_ino;
}

/* Two may read, and two that both say so may write. */
static int check_one(const struct look *look, const struct vq_disk *disk, const char *path, bool writes, struct vq_error *err)
{
    for (size_t i = 0; i < look->n_others; i++) {
        const struct other_image *other = &look->others[i];
        if ((writes || other->writes) && !(disk->is_shareable && other->shares) && is_same_file(path, other->path))
            return vq_error_set(err, VIR_ERR_RESOURCE_BUSY, "disk '%s': '%s' is in use by domain '%s' of this node",
                                disk->target, path, other->guest);
    }
    return 0;
}

static int check_others(const struct look *look, const struct vq_disk *disk, struct vq_error *err)
{
    if (is_file(&disk->source) && check_one(look, disk, disk->source.path, writes_to(disk), err) < 0)
        return -1;
    for (const struct vq_backing *backing = disk->backing; vq_qemu_backing_is_image(backing); backing = backing->backing)
        if (is_file(&backing->source) && check_one(look, disk, backing->source.path, false, err) < 0)
            return -1;
    return 0;
}

static int look_at_disk(const struct look *look, struct own_disk *own, struct vq_error *err)
{
    struct vq_disk *disk = own->disk;

    if (may_be_missing(disk)) {
        own->is_dropped = true;
        return 0;
    }
    if (vq_image_chain_complete(disk, &look->reader, err) < 0)
        return vq_error_wrap(err, "disk '%s'", disk->target);
    own->is_on_shared_storage = is_file(&disk->source) && is_on_shared_storage(disk->source.path);
    return check_others(look, disk, err);
}

static void work(uv_work_t *request)
{
    struct look *look = request->data;

    for (size_t i = 0; i < look->n_disks && look->error.code == VIR_ERR_OK; i++)
        if (look->disks[i].disk != NULL)
            (void)look_at_disk(look, &look->disks[i], &look->error); /* told in look->error */
}

/* ---- What the worker is given ---- */

static void add_other(struct look *look, const struct vq_qemu_guest *guest, const char *path, const struct vq_disk *disk,
                      bool is_top)
{
    if (look->n_others == OTHERS_MAX)
        return;
    VQ_GROW(look->others, look->n_others);
    look->others[look->n_others++] = (struct other_image){.path = vq_strdup(path), .guest = vq_strdup(guest->name),
                                                          .writes = is_top && writes_to(disk), .shares = disk->is_shareable};
}

/* Of all guests that have begun to look, which they do one after the other. */
static void add_others(struct look *look, const struct vq_qemu_guest *own)
{
    for (const struct vq_qemu_guest *guest = own->qemu->guests; guest != NULL; guest = guest->next) {
        if (guest == own || guest->live == NULL || (guest->id < 0 && !guest->has_looked) || guest->phase == VQ_GUEST_ENDED)
            continue;
        for (size_t i = 0; i < guest->live->devices.n_disks; i++) {
            const struct vq_disk *disk = guest->live->devices.disks[i];
            if (is_file(&disk->source))
                add_other(look, guest, disk->source.path, disk, true);
            for (const struct vq_backing *backing = disk->backing; vq_qemu_backing_is_image(backing);
                 backing = backing->backing)
                if (is_file(&backing->source))
                    add_other(look, guest, backing->source.path, disk, false);
        }
    }
}

static struct look *look_new(struct vq_qemu_guest *guest)
{
    const struct vq_qemu_settings *settings = &guest->qemu->settings;
    const struct vq_devices *devices = &guest->live->devices;
    struct look *look = vq_new(struct look);

    look->error = VQ_ERROR_INIT;
    look->work.data = look;
    look->reader = (struct vq_image_reader){.has_user = settings->has_user, .uid = settings->uid, .gid = settings->gid};
    look->disks = vq_calloc(devices->n_disks + 1, sizeof(*look->disks));
    look->n_disks = devices->n_disks;
    for (size_t i = 0; i < devices->n_disks; i++)
        if (vq_qemu_disk_has_medium(devices->disks[i]) && devices->disks[i]->source.type != VQ_SOURCE_VHOST_USER)
            look->disks[i].disk = vq_fields_copy(&vq_disk_fields, devices->disks[i]);
    add_others(look, guest);
    return look;
}

/* A volume of a pool becomes the file, device or server that it is. */
static int resolve_volume(const struct vq_qemu_guest *guest, struct vq_disk *disk, struct vq_error *err)
{
    const struct vq_driver_host *host = guest->qemu->host;
    struct vq_source place = {0};
    char *format = NULL;

    if (disk->source.type != VQ_SOURCE_VOLUME || disk->source.pool == NULL)
        return 0;
    if (host->volume_source == NULL)
        return vq_error_set(err, VIR_ERR_NO_STORAGE_POOL, "no storage pool with matching name '%s'", disk->source.pool);
    if (host->volume_source(&disk->source, &place, &format, err) < 0)
        return -1;
    place.startup_policy = disk->source.startup_policy;
    vq_fields_clear(&vq_source_fields, &disk->source);
    disk->source = place;
    if (disk->format == NULL)
        disk->format = vq_take(format);
    free(format);
    return 0;
}

static int resolve_volumes(const struct vq_qemu_guest *guest, struct vq_error *err)
{
    for (size_t i = 0; i < guest->live->devices.n_disks; i++)
        if (resolve_volume(guest, guest->live->devices.disks[i], err) < 0)
            return vq_error_wrap(err, "disk '%s'", guest->live->devices.disks[i]->target);
    return 0;
}

/* ---- What other nodes run ---- */

struct elsewhere {
    const struct vq_qemu_guest *guest;
    const struct vq_disk *disk;
    struct vq_error *err;
};

static void check_elsewhere(const struct vq_domain_info *info, void *data)
{
    const struct elsewhere *elsewhere = data;
    const struct vq_disk *own = elsewhere->disk;
    VQ_AUTOPTR(vq_domain) def = NULL;
    struct vq_error ignored = VQ_ERROR_INIT;
    const char *node;

    if (elsewhere->err->code != VIR_ERR_OK || memcmp(info->uuid, elsewhere->guest->uuid, sizeof(info->uuid)) == 0 ||
        vq_domain_parse(info->xml, VQ_PARSE_INACTIVE, &def, &ignored) < 0)
        return;
    for (size_t i = 0; i < def->devices.n_disks; i++) {
        const struct vq_disk *other = def->devices.disks[i];
        if (!is_file(&other->source) || strcmp(other->source.path, own->source.path) != 0 ||
            (!writes_to(own) && !writes_to(other)) || (own->is_shareable && other->is_shareable))
            continue;
        node = elsewhere->guest->qemu->host->node_name_of(info->owner);
        (void)vq_error_set(elsewhere->err, VIR_ERR_RESOURCE_BUSY, "disk '%s': '%s' is in use by domain '%s' of node '%s'",
                           own->target, own->source.path, info->name, node != NULL ? node : "?");
        return;
    }
}

static int check_nodes(const struct vq_qemu_guest *guest, const struct look *look, struct vq_error *err)
{
    const struct vq_driver_host *host = guest->qemu->host;

    for (size_t i = 0; host->each_run_elsewhere != NULL && i < look->n_disks; i++) {
        struct elsewhere elsewhere = {.guest = guest, .disk = look->disks[i].disk, .err = err};
        if (!look->disks[i].is_on_shared_storage)
            continue;
        host->each_run_elsewhere(guest->qemu->driver, look->disks[i].disk->source.path, check_elsewhere, &elsewhere);
        if (err->code != VIR_ERR_OK)
            return -1;
    }
    return 0;
}

/* ---- Back on the loop ---- */

/* A drive stays, without its medium; a disk goes. */
static void drop(struct vq_qemu_guest *guest, size_t index)
{
    struct vq_devices *devices = &guest->live->devices;
    struct vq_disk *disk = devices->disks[index];
    bool is_drive = disk->device == VQ_DISK_DEVICE_CDROM || disk->device == VQ_DISK_DEVICE_FLOPPY;

    vq_log(WARN, "guest.disk", "domain=%s disk=%s: '%s' is missing, started without it", guest->name, disk->target,
           disk->source.path);
    vq_qemu_emit_disk_change(guest, disk->source.path, NULL, disk->info.alias != NULL ? disk->info.alias : disk->target,
                             is_drive ? VIR_DOMAIN_EVENT_DISK_CHANGE_MISSING_ON_START
                                      : VIR_DOMAIN_EVENT_DISK_DROP_MISSING_ON_START);
    if (is_drive) {
        vq_set_text(&disk->source.path, NULL);
        return;
    }
    vq_fields_free(&vq_disk_fields, disk);
    memmove(&devices->disks[index], &devices->disks[index + 1],
            (devices->n_disks - index - 1) * sizeof(*devices->disks));
    devices->n_disks--;
}

static void take_chain(struct vq_disk *disk, struct vq_disk *looked_at)
{
    struct vq_backing *before = disk->backing;

    disk->chain = looked_at->chain;
    disk->backing = looked_at->backing;
    looked_at->backing = before; /* goes with the copy */
}

static void apply(struct vq_qemu_guest *guest, struct look *look)
{
    for (size_t i = look->n_disks; i-- > 0;) {
        if (look->disks[i].is_dropped)
            drop(guest, i);
        else if (look->disks[i].disk != NULL)
            take_chain(guest->live->devices.disks[i], look->disks[i].disk);
    }
}

static void done(uv_work_t *request, int status)
{
    struct look *look = request->data;
    struct vq_qemu_guest *guest = vq_qemu_ticket_use(look->ticket);

    if (guest != NULL) {
        if (status != 0)
            (void)vq_error_set(&look->error, VIR_ERR_OPERATION_ABORTED, "the look at the images was given up");
        if (look->error.code == VIR_ERR_OK && check_nodes(guest, look, &look->error) == 0)
            apply(guest, look);
        vq_qemu_step_over(guest, look->error.code == VIR_ERR_OK ? NULL : &look->error);
    }
    look_free(look);
}

enum vq_step_result vq_qemu_step_look(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;
    struct vq_error err = VQ_ERROR_INIT;
    struct look *look;

    if (VQ_FAILPOINT("qemu.start.look"))
        return vq_qemu_step_failed(job, "qemu.start.look");
    if (resolve_volumes(guest, &err) < 0)
        return vq_job_fail(job, &err);
    guest->has_looked = true;
    look = look_new(guest);
    look->ticket = vq_qemu_ticket_new(guest);
    (void)uv_queue_work(guest->qemu->host->loop, &look->work, work, done); /* fails only without a function */
    return VQ_STEP_WAIT;
}

enum vq_step_result vq_qemu_step_look_undo(struct vq_job *job)
{
    vq_qemu_ticket_give_up(vq_qemu_undoing(job)); /* the worker ends by itself, and finds nobody */
    return VQ_STEP_DONE;
}
