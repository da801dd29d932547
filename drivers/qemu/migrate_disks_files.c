/* Files of images that travel, at the destination: looked for, made, removed. On a thread of their own, since the file system may be
 * one of the network: see migrate_disks_internal.h. */
#define VQ_FROM VIR_FROM_QEMU

#include <errno.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/migrate_disks_internal.h"

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

/* ---- Looking ---- */

static void look_run(void *work)
{
    struct vq_disks_files *files = work;

    for (size_t i = 0; i < files->n_items; i++)
        files->items[i].number = access(files->items[i].path, F_OK) == 0 ? 0 : errno;
}

/* ---- Making ---- */

/* Empty, for QEMU's user; a raw one has its size at once. */
static int make_file(const struct vq_disks_files *files, struct vq_disks_file *file, struct vq_error *err)
{
    VQ_AUTOCLOSE int dir = -1, fd = -1;
    const char *base;
    struct stat status;

    dir = open_dir_of(file->path, &base, err);
    if (dir < 0)
        return -1;
    fd = openat(dir, base, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        file->number = errno;
        return vq_error_system(err, errno, "cannot make image '%s' of disk '%s'", file->path, file->target);
    }
    if ((files->has_user && fchown(fd, files->uid, files->gid) < 0) || fstat(fd, &status) < 0 ||
        (file->size != 0 && ftruncate(fd, (off_t)file->size) < 0))
        return vq_error_system(err, errno, "cannot make image '%s' of disk '%s'", file->path, file->target);
    file->inode = status.st_ino;
    file->fd = fd;
    fd = -1;
    return 0;
}

static void make_run(void *work)
{
    struct vq_disks_files *files = work;

    for (size_t i = 0; i < files->n_items && files->error.code == VIR_ERR_OK; i++)
        (void)make_file(files, &files->items[i], &files->error);
}

/* ---- Removing ---- */

/* Only what is still the file that was made: another one that has its name now is not ours. */
static int remove_made(const struct vq_disks_file *file, struct vq_error *err)
{
    const char *base;
    VQ_AUTOCLOSE int dir = open_dir_of(file->path, &base, err);
    struct stat status;

    if (dir < 0)
        return -1;
    if (fstatat(dir, base, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return errno == ENOENT ? 0 : vq_error_system(err, errno, "cannot look at '%s'", file->path);
    if (!S_ISREG(status.st_mode) || (file->inode != 0 && status.st_ino != file->inode))
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "'%s' is another file now", file->path);
    return unlinkat(dir, base, 0) < 0 ? vq_error_system(err, errno, "cannot remove '%s'", file->path) : 0;
}

static void remove_run(void *work)
{
    struct vq_disks_files *files = work;
    struct vq_error err;

    for (size_t i = 0; i < files->n_items; i++) {
        err = VQ_ERROR_INIT;
        if (remove_made(&files->items[i], &err) < 0 && files->error.code == VIR_ERR_OK)
            files->error = err;
    }
}

/* ---- The work ---- */

/* A file whose descriptor nobody has taken was made for somebody who had gone. */
void vq_disks_files_free(void *work)
{
    struct vq_disks_files *files = work;
    struct vq_error err = VQ_ERROR_INIT;

    for (size_t i = 0; i < files->n_items; i++) {
        if (files->items[i].fd >= 0) {
            (void)remove_made(&files->items[i], &err); /* nobody is there to be told */
            (void)close(files->items[i].fd);           /* nothing was written to it */
        }
        free(files->items[i].path);
        free(files->items[i].target);
    }
    free(files->items);
    free(files);
}

void vq_disks_files_add(struct vq_disks_files *files, const struct vq_disks_item *item)
{
    VQ_GROW(files->items, files->n_items);
    files->items[files->n_items++] =
        (struct vq_disks_file){ .path = vq_strdup(item->path), .target = vq_strdup(item->target), .fd = -1,
                                .size = vq_streq(item->format, "raw") ? item->capacity : 0, .inode = item->inode };
}

const struct vq_aside_class vq_disks_look = { look_run, vq_disks_files_free };
const struct vq_aside_class vq_disks_make = { make_run, vq_disks_files_free };
const struct vq_aside_class vq_disks_remove = { remove_run, vq_disks_files_free };
