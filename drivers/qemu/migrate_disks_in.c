/* Copying disks, the destination: images are made where there are none, and served. See migrate_disks.h. */
#define VQ_FROM VIR_FROM_QEMU

#include <errno.h>
#include <libvirt/libvirt.h>
#include <signal.h>
#include <string.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/migrate_disks_internal.h"
#include "drivers/qemu/process.h"

enum { FILES_MS = 10000, MAKE_MS = 120000 };

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

/* All files are there; those that were made here get the format of their disk, one after the other. */
static void make_next(struct vq_migrate_disks *disks)
{
    struct vq_error err = VQ_ERROR_INIT;

    for (; disks->making < disks->n_items; disks->making++) {
        struct vq_disks_item *item = &disks->items[disks->making];
        VQ_AUTOCLOSE int fd = item->fd;

        item->fd = -1;
        if (fd < 0 || vq_streq(item->format, "raw"))
            continue;
        if (run_maker(disks, item, fd, &err) < 0)
            make_failed(disks, &err);
        return; /* maker_exited() goes on */
    }
    vq_disks_over_later(disks);
}

static struct vq_disks_files *files_of(const struct vq_migrate_disks *disks, bool made_only)
{
    const struct vq_qemu_settings *settings = &disks->guest->qemu->settings;
    struct vq_disks_files *files = vq_new(struct vq_disks_files);

    files->error = VQ_ERROR_INIT;
    files->has_user = settings->has_user;
    files->uid = settings->uid;
    files->gid = settings->gid;
    for (size_t i = 0; i < disks->n_items; i++)
        if (disks->items[i].was_made || !made_only)
            vq_disks_files_add(files, &disks->items[i]);
    return files;
}

static void no_answer(struct vq_migrate_disks *disks)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, VIR_ERR_OPERATION_TIMEOUT, "the file system of the guest's images does not answer");
    make_failed(disks, &err);
}

/* The items that were to be made, in their order. */
static void made(void *take_work, void *data)
{
    struct vq_migrate_disks *disks = data;
    struct vq_disks_files *files = take_work;
    struct vq_error err = VQ_ERROR_INIT;

    disks->aside = NULL;
    if (files == NULL) {
        no_answer(disks);
        return;
    }
    for (size_t i = 0, k = 0; i < disks->n_items; i++) {
        struct vq_disks_file *file = &files->items[k];

        if (!disks->items[i].was_made)
            continue;
        k++;
        disks->items[i].was_made = file->inode != 0; /* what was not come to, somebody else may make meanwhile */
        disks->items[i].inode = file->inode;
        disks->items[i].fd = file->fd;
        file->fd = -1;
    }
    err = files->error;
    vq_disks_files_free(files);
    if (err.code != VIR_ERR_OK)
        make_failed(disks, &err);
    else
        make_next(disks);
}

/* What is there stays as it is. The record names what is missing before it is made. */
static int note_missing(struct vq_migrate_disks *disks, const struct vq_disks_files *files, bool *ret_any, struct vq_error *err)
{
    for (size_t i = 0; i < disks->n_items; i++) {
        struct vq_disks_item *item = &disks->items[i];
        int number = files->items[i].number;

        if (number == ENOENT && item->needed_for != NULL)
            return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "disk '%s': '%s' must be there before %s", item->target,
                                item->path, item->needed_for);
        if (number != 0 && number != ENOENT) /* one that cannot be seen is not taken for one of ours */
            return vq_error_system(err, number, "cannot look at image '%s' of disk '%s'", item->path, item->target);
        item->was_made = number == ENOENT;
        *ret_any |= item->was_made;
    }
    return *ret_any ? vq_qemu_record_write(disks->guest, err) : 0;
}

static void looked(void *take_work, void *data)
{
    struct vq_migrate_disks *disks = data;
    struct vq_disks_files *files = take_work;
    struct vq_error err = VQ_ERROR_INIT;
    bool any = false;
    int rc;

    disks->aside = NULL;
    if (files == NULL) {
        no_answer(disks);
        return;
    }
    rc = note_missing(disks, files, &any, &err);
    vq_disks_files_free(files);
    if (rc == 0 && any && VQ_FAILPOINT("qemu.migrate.disks.make"))
        rc = vq_error_set(&err, VIR_ERR_INTERNAL_ERROR, "failure point qemu.migrate.disks.make");
    if (rc < 0)
        make_failed(disks, &err);
    else if (!any)
        vq_disks_over_later(disks);
    else
        disks->aside = vq_aside_start(disks->guest->qemu->host->loop, &vq_disks_make, files_of(disks, true), FILES_MS, made,
                                      disks);
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
    vq_disks_add_item(disks, disk, told->capacity)->needed_for =
        disk->source.type == VQ_SOURCE_BLOCK                 ? "a block device can be copied to"
        : (options->flags & VIR_MIGRATE_NON_SHARED_INC) != 0 ? "only what differs from its backing image can be copied"
                                                             : NULL;
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
    disks->aside = vq_aside_start(guest->qemu->host->loop, &vq_disks_look, files_of(disks, false), FILES_MS, looked, disks);
}

void vq_migrate_disks_stop_making(struct vq_qemu_guest *guest)
{
    struct vq_migrate_disks *disks = guest->migration != NULL ? guest->migration->disks : NULL;

    if (disks == NULL)
        return;
    disks->cb = NULL;
    if (disks->aside != NULL)
        vq_aside_forget(vq_take(disks->aside));
    if (disks->timer != NULL)
        (void)uv_timer_stop(disks->timer);
    vq_process_free(vq_take(disks->maker)); /* it writes into its own descriptor, and ends by itself */
}

static void removed(void *take_work, void *data)
{
    struct vq_migrate_disks *disks = data;
    struct vq_disks_files *files = take_work;

    disks->aside = NULL;
    if (files == NULL || files->error.code != VIR_ERR_OK)
        vq_log(WARN, "guest.migrate", "domain=%s: an image that was made for it stays: %s", disks->guest->name,
               files != NULL ? files->error.message : "its file system does not answer");
    if (files != NULL)
        vq_disks_files_free(files);
    vq_migrate_disks_keep_created(disks->guest);
    vq_disks_over(disks);
}

bool vq_migrate_disks_remove_created(struct vq_qemu_guest *guest, vq_migrate_disks_cb cb)
{
    struct vq_migrate_disks *disks = guest->migration != NULL && guest->migration->disks != NULL ? vq_disks_of(guest) : NULL;
    bool any = false;

    for (size_t i = 0; disks != NULL && i < disks->n_items; i++)
        any |= disks->items[i].was_made;
    if (!any)
        return false;
    vq_migrate_disks_stop_making(guest);
    vq_disks_begin(disks, cb);
    disks->aside = vq_aside_start(guest->qemu->host->loop, &vq_disks_remove, files_of(disks, true), FILES_MS, removed, disks);
    return true;
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
