/* Files of saves and dumps: see save_file.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/save_file.h"

#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/base/failpoint.h"
#include "conf/base/memory.h"
#include "drivers/aside.h"
#include "drivers/qemu/save_image.h"

enum {
    BASE_BYTES_MAX = 200,    /* of the name that a temporary one keeps: both must fit into 255 */
    TASK_MS = 30000,
    FLUSH_MS = 3600 * 1000,  /* of all that QEMU has written */
};

struct vq_save_file *vq_save_file_new(const char *path, const uint8_t mark[8])
{
    struct vq_save_file *file = vq_new(struct vq_save_file);

    file->path = vq_strdup(path);
    file->fd = -1;
    for (size_t i = 0; i < 8; i++)
        (void)snprintf(file->mark + 2 * i, 3, "%02x", mark[i]);
    return file;
}

void vq_save_file_free(struct vq_save_file *file)
{
    if (file == NULL)
        return;
    if (file->fd >= 0)
        (void)close(file->fd);
    free(file->path);
    free(file->place);
    free(file->temporary);
    free(file->head);
    free(file);
}

/* ---- Where does the name lead ---- */

static int cannot_create(const struct vq_save_file *file, int errno_value, struct vq_error *err)
{
    return vq_error_system(err, errno_value, "Failed to create file '%s'", file->path);
}

/* There is nothing of this name yet: its directory must be there. */
static int look_at_directory(struct vq_save_file *file, struct vq_error *err)
{
    VQ_AUTOFREE char *for_dir = vq_strdup(file->path), *for_base = vq_strdup(file->path);
    VQ_AUTOFREE char *dir = realpath(dirname(for_dir), NULL);
    const char *base = basename(for_base);

    if (dir == NULL)
        return cannot_create(file, errno, err);
    if (strcmp(base, "..") == 0 || strcmp(base, ".") == 0 || strcmp(base, "/") == 0 ||
        file->path[strlen(file->path) - 1] == '/')
        return cannot_create(file, EISDIR, err);
    file->place = vq_asprintf("%s/%s", strcmp(dir, "/") == 0 ? "" : dir, base);
    return 0;
}

static void choose_temporary(struct vq_save_file *file)
{
    const char *slash = strrchr(file->place, '/');

    file->temporary = vq_asprintf("%.*s/.%.*s.%s", (int)(slash - file->place), file->place, BASE_BYTES_MAX, slash + 1,
                                  file->mark);
}

static int look(struct vq_save_file *file, struct vq_error *err)
{
    struct stat status;

    if (file->path[0] != '/')
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "path '%s' must be absolute", file->path);
    file->place = realpath(file->path, NULL);
    if (file->place == NULL && errno != ENOENT)
        return cannot_create(file, errno, err);
    if (file->place == NULL && look_at_directory(file, err) < 0)
        return -1;
    if (stat(file->place, &status) < 0) {
        if (errno != ENOENT)
            return cannot_create(file, errno, err);
        choose_temporary(file);
        return 0;
    }
    if (S_ISDIR(status.st_mode))
        return cannot_create(file, EISDIR, err);
    if (!S_ISREG(status.st_mode))
        return 0;
    file->has_old = true;
    file->old_uid = status.st_uid;
    file->old_gid = status.st_gid;
    file->old_mode = status.st_mode & 0777;
    choose_temporary(file);
    return 0;
}

/* ---- Make it ---- */

static int write_all(int fd, const uint8_t *bytes, size_t length)
{
    while (length > 0) {
        ssize_t n = write(fd, bytes, length);

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return -1;
        bytes += n;
        length -= (size_t)n;
    }
    return 0;
}

/* A pipe without a reader is an error at once. */
static int open_it(const struct vq_save_file *file)
{
    int fd;

    if (file->temporary != NULL)
        return open(file->temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    fd = open(file->place, O_WRONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (fd >= 0)
        (void)fcntl(fd, F_SETFL, 0);
    return fd;
}

/* Whether the file system can do it is asked for here; whoever writes sets it again for itself. */
static int check_direct(const struct vq_save_file *file, struct vq_error *err)
{
    int flags = fcntl(file->fd, F_GETFL);

    if (flags < 0 || fcntl(file->fd, F_SETFL, flags | O_DIRECT) < 0)
        return cannot_create(file, errno, err);
    (void)fcntl(file->fd, F_SETFL, flags);
    return 0;
}

static int make(struct vq_save_file *file, struct vq_error *err)
{
    if (VQ_FAILPOINT("qemu.save.file.make"))
        return vq_error_system(err, ENOSPC, "Failed to create file '%s'", file->path);
    file->fd = open_it(file);
    if (file->fd < 0)
        return cannot_create(file, errno, err);
    if (file->has_old && file->temporary != NULL &&
        (fchown(file->fd, file->old_uid, file->old_gid) < 0 || fchmod(file->fd, file->old_mode) < 0))
        return cannot_create(file, errno, err);
    if (file->bypasses_cache && check_direct(file, err) < 0)
        return -1;
    if (file->head != NULL && write_all(file->fd, file->head, file->head_length) < 0)
        return vq_error_system(err, errno, "failed to write header to domain save file '%s'", file->path);
    (void)VQ_FAILPOINT("qemu.save.file.made");
    return 0;
}

/* ---- Finish it ---- */

/* Data first, then the mark that says that they are all there. A device may have nothing to flush. */
static int finish(struct vq_save_file *file, struct vq_error *err)
{
    size_t length;
    const char *magic = vq_save_image_finished_magic(&length);
    bool can_flush = file->temporary != NULL;
    int fd = file->fd, rc = 0;

    if (VQ_FAILPOINT("qemu.save.file.finish"))
        return vq_error_system(err, EIO, "unable to flush '%s'", file->path);
    if (fdatasync(fd) < 0 && can_flush)
        return vq_error_system(err, errno, "unable to flush '%s'", file->path);
    if (file->head != NULL && pwrite(fd, magic, length, 0) != (ssize_t)length)
        return vq_error_system(err, errno, "unable to write '%s'", file->path);
    if (file->head != NULL && fdatasync(fd) < 0 && can_flush)
        return vq_error_system(err, errno, "unable to flush '%s'", file->path);
    file->fd = -1;
    if (close(fd) < 0)
        rc = vq_error_system(err, errno, "unable to close '%s'", file->path);
    return rc;
}

static void flush_directory(const char *path)
{
    VQ_AUTOFREE char *copy = vq_strdup(path);
    int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0)
        return;
    (void)fsync(fd); /* not all file systems can: the name is then as safe as any other */
    (void)close(fd);
}

/* Again after a crash: then it may be there already. */
static int place(struct vq_save_file *file, struct vq_error *err)
{
    if (VQ_FAILPOINT("qemu.save.file.place"))
        return vq_error_system(err, EIO, "cannot rename '%s' to '%s'", file->temporary, file->place);
    if (file->temporary == NULL)
        return 0;
    if (rename(file->temporary, file->place) < 0 && (errno != ENOENT || access(file->place, F_OK) < 0))
        return vq_error_system(err, errno, "cannot rename '%s' to '%s'", file->temporary, file->place);
    file->is_placed = true;
    flush_directory(file->place);
    return 0;
}

static int discard(struct vq_save_file *file, struct vq_error *err)
{
    (void)err;
    if (file->fd >= 0)
        (void)close(file->fd);
    file->fd = -1;
    if (file->temporary != NULL)
        (void)unlink(file->temporary); /* it may never have been made */
    if (file->temporary != NULL && file->is_placed)
        (void)unlink(file->place);
    return 0;
}

int vq_save_file_do(struct vq_save_file *file, enum vq_save_task task, struct vq_error *err)
{
    static int (*const tasks[])(struct vq_save_file *file, struct vq_error *err) = {
        [VQ_SAVE_LOOK] = look, [VQ_SAVE_MAKE] = make, [VQ_SAVE_FINISH] = finish, [VQ_SAVE_PLACE] = place,
        [VQ_SAVE_DISCARD] = discard,
    };

    return tasks[task](file, err);
}

/* ---- Beside the loop ---- */

/* What the thread has. */
struct piece {
    struct vq_save_file *file;
    enum vq_save_task task;
    struct vq_error err;
    int rc;
    atomic_bool discards;    /* when nobody waits for it any more */
};

struct vq_save_work {
    struct vq_aside *aside;
    struct piece *piece;     /* until it is called back or forgotten */
    vq_save_work_cb cb;
    void *data;
};

static void piece_run(void *work)
{
    struct piece *piece = work;

    piece->rc = vq_save_file_do(piece->file, piece->task, &piece->err);
}

static void piece_free(void *work)
{
    struct piece *piece = work;
    struct vq_error err = VQ_ERROR_INIT;

    if (piece->file != NULL && atomic_load(&piece->discards))
        (void)discard(piece->file, &err);
    vq_save_file_free(piece->file);
    free(piece);
}

static const struct vq_aside_class piece_class = { piece_run, piece_free };

static void piece_done(void *take_work, void *data)
{
    struct vq_save_work *work = data;
    struct piece *piece = take_work;
    struct vq_error err = VQ_ERROR_INIT;

    if (piece == NULL)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_TIMEOUT, "the file system does not answer");
    else if (piece->rc < 0)
        err = piece->err;
    work->cb(piece != NULL ? vq_take(piece->file) : NULL, err.code != VIR_ERR_OK ? &err : NULL, work->data);
    if (piece != NULL)
        piece_free(piece);
    free(work);
}

struct vq_save_work *vq_save_work_start(uv_loop_t *loop, struct vq_save_file *take_file, enum vq_save_task task,
                                        vq_save_work_cb cb, void *data)
{
    struct vq_save_work *work = vq_new(struct vq_save_work);
    struct piece *piece = vq_new(struct piece);

    piece->file = take_file;
    piece->task = task;
    piece->err = VQ_ERROR_INIT;
    atomic_init(&piece->discards, true);
    *work = (struct vq_save_work){ .piece = piece, .cb = cb, .data = data };
    work->aside = vq_aside_start(loop, &piece_class, piece, task == VQ_SAVE_FINISH ? FLUSH_MS : TASK_MS, piece_done, work);
    return work;
}

void vq_save_work_forget(struct vq_save_work *work, bool discards)
{
    atomic_store(&work->piece->discards, discards);
    vq_aside_forget(work->aside);
    free(work);
}
