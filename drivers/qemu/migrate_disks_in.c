/* Copying disks, the destination: images are made where there are none, and served. See migrate_disks.h. */
#define VQ_FROM VIR_FROM_QEMU

#include <errno.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/migrate_disks_internal.h"
#include "drivers/qemu/process.h"

enum { MAKE_MS = 120000 };

/* ---- Images that are not there yet ---- */

static void make_next(struct vq_migrate_disks *disks);

static void make_failed(struct vq_migrate_disks *disks, const struct vq_error *err)
{
    vq_disks_keep_error(disks, err);
    (void)uv_timer_stop(disks->timer);
    vq_disks_over_later(disks);
}

static void maker_executed(struct vq_process *process, const struct vq_error *err, void *data)
{
    (void)process;
    if (err != NULL)
        vq_disks_keep_error(data, err);
}

static void maker_exited(struct vq_process *process, int status, void *data)
{
    struct vq_migrate_disks *disks = data;
    struct vq_disks_item *item = &disks->items[disks->making];
    struct vq_error err = VQ_ERROR_INIT;

    vq_process_free(process);
    disks->maker = NULL;
    if (status != 0) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "cannot make image '%s' of disk '%s' in format %s", item->path,
                           item->target, item->format);
        make_failed(disks, &err);
        return;
    }
    disks->making++;
    make_next(disks);
}

static void maker_late(uv_timer_t *timer)
{
    struct vq_migrate_disks *disks = timer->data;
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, VIR_ERR_OPERATION_TIMEOUT, "making image '%s' takes too long",
                       disks->items[disks->making].path);
    vq_disks_keep_error(disks, &err);
    if (disks->maker != NULL && vq_process_signal(disks->maker, SIGKILL, &err) < 0) /* else maker_exited() follows */
        vq_log(ERROR, "guest.migrate", "domain=%s: %s", disks->guest->name, err.message);
}

/* The file is there, empty and ours; the program writes the format into it, and into no other that took its name since. */
static int run_maker(struct vq_migrate_disks *disks, const struct vq_disks_item *item, int fd, struct vq_error *err)
{
    static const struct vq_process_callbacks callbacks = { maker_executed, maker_exited };
    static char *environment[] = { (char *)"PATH=/usr/sbin:/usr/bin:/sbin:/bin", (char *)"LC_ALL=C", NULL };
    VQ_AUTOFREE char *size = vq_asprintf("%llu", (unsigned long long)item->capacity);
    VQ_AUTOFREE char *path = vq_asprintf("/proc/self/fd/%d", fd);
    char *argv[] = { (char *)"/usr/bin/qemu-img", (char *)"create", (char *)"-q", (char *)"-f", item->format,
                     (char *)"--", path, size, NULL };
    struct vq_process_spec spec = { .argv = argv, .environment = environment, .output_fd = -1, .fds = &fd, .n_fds = 1 };

    spec.keep_capabilities = true; /* it writes where we may, whoever owns the directory */
    if (vq_process_fork(disks->guest->qemu->host->loop, &spec, &callbacks, disks, &disks->maker, err) < 0)
        return -1;
    vq_process_go(disks->maker);
    (void)uv_timer_start(disks->timer, maker_late, MAKE_MS, 0);
    return 0;
}

/* The directory of a path, held while something is done in it; *ret_base: the last component. */
static int open_dir_of(const char *path, const char **ret_base, struct vq_error *err)
{
    const char *slash = strrchr(path, '/');
    VQ_AUTOFREE char *dir = NULL;
    int fd;

    if (slash == NULL || slash[1] == '\0')
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' is not the path of an image", path);
    dir = vq_strndup(path, slash == path ? 1 : (size_t)(slash - path));
    *ret_base = slash + 1;
    fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);
    return fd < 0 ? vq_error_system(err, errno, "cannot look into '%s'", dir) : fd;
}

/* 1: made here, *ret_fd is open; 0: it was there; -1. The record names it before it is made. */
static int make_file(struct vq_migrate_disks *disks, struct vq_disks_item *item, int *ret_fd, struct vq_error *err)
{
    const struct vq_qemu_settings *settings = &disks->guest->qemu->settings;
    VQ_AUTOCLOSE int dir = -1, fd = -1;
    const char *base;
    struct stat status;

    if (access(item->path, F_OK) == 0)
        return 0;
    if (errno != ENOENT) /* one that cannot be seen is not taken for one of ours */
        return vq_error_system(err, errno, "cannot look at image '%s' of disk '%s'", item->path, item->target);
    item->was_made = true;
    if (vq_qemu_record_write(disks->guest, err) < 0)
        return -1;
    if (VQ_FAILPOINT("qemu.migrate.disks.make"))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "failure point qemu.migrate.disks.make");
    dir = open_dir_of(item->path, &base, err);
    if (dir < 0)
        return -1;
    fd = openat(dir, base, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        item->was_made = errno != EEXIST;
        return vq_error_system(err, errno, "cannot make image '%s' of disk '%s'", item->path, item->target);
    }
    if ((settings->has_user && fchown(fd, settings->uid, settings->gid) < 0) || fstat(fd, &status) < 0 ||
        (vq_streq(item->format, "raw") && ftruncate(fd, (off_t)item->capacity) < 0))
        return vq_error_system(err, errno, "cannot make image '%s' of disk '%s'", item->path, item->target);
    item->inode = status.st_ino;
    *ret_fd = fd;
    fd = -1;
    return 1;
}

static void make_next(struct vq_migrate_disks *disks)
{
    struct vq_error err = VQ_ERROR_INIT;

    for (; disks->making < disks->n_items; disks->making++) {
        struct vq_disks_item *item = &disks->items[disks->making];
        VQ_AUTOCLOSE int fd = -1;
        int rc = make_file(disks, item, &fd, &err);

        if (rc > 0 && !vq_streq(item->format, "raw"))
            rc = run_maker(disks, item, fd, &err) < 0 ? -1 : 2;
        if (rc == 2)
            return; /* maker_exited() goes on */
        if (rc < 0) {
            make_failed(disks, &err);
            return;
        }
    }
    vq_disks_over_later(disks);
}

static int take_item(struct vq_migrate_disks *disks, const struct vq_migrate_options *options,
                     const struct vq_migrate_disk *told, struct vq_error *err)
{
    const struct vq_disk *disk = vq_disks_find(disks->guest->live, told->target);

    if (disk == NULL || disk->info.alias == NULL)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "the source offers disk '%s', which the guest does not have",
                            told->target);
    if (disk->source.type != VQ_SOURCE_FILE && disk->source.type != VQ_SOURCE_BLOCK)
        return vq_error_set(err, VIR_ERR_OPERATION_UNSUPPORTED, "disk '%s' is neither a file nor a block device here: it "
                            "cannot be copied", told->target);
    if (disk->source.path == NULL)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "disk '%s' has no path", told->target);
    if (access(disk->source.path, F_OK) < 0 &&
        (disk->source.type == VQ_SOURCE_BLOCK || (options->flags & VIR_MIGRATE_NON_SHARED_INC) != 0))
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "disk '%s': '%s' must be there before %s", told->target,
                            disk->source.path, disk->source.type == VQ_SOURCE_BLOCK
                            ? "a block device can be copied to" : "only what differs from its backing image can be copied");
    (void)vq_disks_add_item(disks, disk, told->capacity);
    return 0;
}

void vq_migrate_disks_create(struct vq_qemu_guest *guest, const struct vq_migrate_options *options,
                             const struct vq_migrate_cookie *cookie, vq_migrate_disks_cb cb)
{
    struct vq_migrate_disks *disks = vq_disks_of(guest);
    struct vq_error err = VQ_ERROR_INIT;

    vq_disks_begin(disks, cb);
    vq_disks_forget_items(disks);
    disks->making = 0;
    for (size_t i = 0; i < cookie->n_disks; i++)
        if (take_item(disks, options, &cookie->disks[i], &err) < 0) {
            make_failed(disks, &err);
            return;
        }
    make_next(disks);
}

/* Only what is still the file that was made: another one that has its name now is not ours. */
static int remove_made(const struct vq_disks_item *item, struct vq_error *err)
{
    const char *base;
    VQ_AUTOCLOSE int dir = open_dir_of(item->path, &base, err);
    struct stat status;

    if (dir < 0)
        return -1;
    if (fstatat(dir, base, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : vq_error_system(err, errno, "cannot look at '%s'", item->path);
    if (!S_ISREG(status.st_mode) || (item->inode != 0 && status.st_ino != item->inode))
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "'%s' is another file now", item->path);
    return unlinkat(dir, base, 0) < 0 ? vq_error_system(err, errno, "cannot remove '%s'", item->path) : 0;
}

void vq_migrate_disks_remove_created(struct vq_qemu_guest *guest)
{
    struct vq_migrate_disks *disks = guest->migration != NULL ? guest->migration->disks : NULL;

    for (size_t i = 0; disks != NULL && i < disks->n_items; i++) {
        if (!disks->items[i].was_made)
            continue;
        struct vq_error err = VQ_ERROR_INIT;

        if (remove_made(&disks->items[i], &err) < 0)
            vq_log(WARN, "guest.migrate", "domain=%s: an image that was made for it stays: %s", guest->name, err.message);
        disks->items[i].was_made = false;
    }
}

void vq_migrate_disks_keep_created(struct vq_qemu_guest *guest)
{
    struct vq_migrate_disks *disks = guest->migration != NULL ? guest->migration->disks : NULL;

    for (size_t i = 0; disks != NULL && i < disks->n_items; i++)
        disks->items[i].was_made = false;
}

/* ---- The server ---- */

static void serve_answered(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_migrate_disks *disks = data;

    (void)reply;
    if (err != NULL)
        vq_disks_keep_error(disks, err);
    if (--disks->pending == 0)
        vq_disks_over(disks);
}

static void ask_server(struct vq_migrate_disks *disks, const char *command, json_t *take_arguments)
{
    disks->pending++;
    vq_disks_call(disks, command, take_arguments, serve_answered);
}

static json_t *listen_address(const struct vq_migrate_options *options, const char *listen, uint16_t port)
{
    if (options->disks_uri != NULL && strncmp(options->disks_uri, "unix://", 7) == 0)
        return json_pack("{s:s,s:{s:s}}", "type", "unix", "data", "path", options->disks_uri + 7);
    return json_pack("{s:s,s:{s:s,s:o}}", "type", "inet", "data", "host", listen != NULL ? listen : "::", "port",
                     json_sprintf("%u", port));
}

static json_t *export_of(const struct vq_migrate_disks *disks, const struct vq_disks_item *item)
{
    const struct vq_disk *disk = vq_disks_find(disks->guest->live, item->target);
    json_t *export = json_pack("{s:s,s:b}", "type", "nbd", "writable", 1);

    (void)json_object_set_new(export, "id", json_sprintf(VQ_DISKS_PREFIX "%s", item->alias));
    (void)json_object_set_new(export, "node-name", json_sprintf("libvirt-%u-format", disk->source.index));
    (void)json_object_set_new(export, "name", json_sprintf("drive-%s", item->alias));
    return export;
}

void vq_migrate_disks_serve(struct vq_qemu_guest *guest, const struct vq_migrate_options *options,
                            const struct vq_migrate_cookie *cookie, const char *listen, uint16_t port, const char *tls_creds,
                            vq_migrate_disks_cb cb)
{
    struct vq_migrate_disks *disks = vq_disks_of(guest);
    json_t *server = json_pack("{s:o}", "addr", listen_address(options, listen, port));

    (void)cookie;
    vq_disks_begin(disks, cb);
    if (tls_creds != NULL)
        (void)json_object_set_new(server, "tls-creds", json_string(tls_creds));
    ask_server(disks, "nbd-server-start", server);
    for (size_t i = 0; i < disks->n_items; i++)
        ask_server(disks, "block-export-add", export_of(disks, &disks->items[i]));
}

void vq_migrate_disks_unserve(struct vq_qemu_guest *guest, vq_migrate_disks_cb cb)
{
    struct vq_migrate_disks *disks = vq_disks_of(guest);

    vq_disks_begin(disks, cb);
    ask_server(disks, "nbd-server-stop", NULL);
}
