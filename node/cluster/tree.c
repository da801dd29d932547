/* Directories as wholes. */
#define VQ_FROM VIR_FROM_NONE
#include "node/cluster/tree.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/base/memory.h"

enum { COPY_BYTES = 1024 * 1024, DESCRIPTORS = 16 };

static int copy_content(int from, int to, const char *name, struct vq_error *err)
{
    VQ_AUTOFREE char *buffer = vq_calloc(1, COPY_BYTES);
    ssize_t got;

    while ((got = read(from, buffer, COPY_BYTES)) > 0)
        for (ssize_t done = 0, n; done < got; done += n)
            if ((n = write(to, buffer + done, (size_t)(got - done))) <= 0)
                return vq_error_system(err, n == 0 ? EIO : errno, "writing a copy of '%s'", name);
    if (got < 0)
        return vq_error_system(err, errno, "reading '%s'", name);
    return fsync(to) == 0 ? 0 : vq_error_system(err, errno, "flushing a copy of '%s'", name);
}

static int copy_one(int from_dir, int to_dir, const char *name, struct vq_error *err)
{
    struct stat status;

    if (fstatat(from_dir, name, &status, AT_SYMLINK_NOFOLLOW) < 0)
        return vq_error_system(err, errno, "looking at '%s'", name);
    if (!S_ISREG(status.st_mode))
        return 0;
    VQ_AUTOCLOSE int from = openat(from_dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    if (from < 0)
        return vq_error_system(err, errno, "opening '%s'", name);
    VQ_AUTOCLOSE int to = openat(to_dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (to < 0)
        return vq_error_system(err, errno, "making a copy of '%s'", name);
    return copy_content(from, to, name, err);
}

static int copy_all(DIR *from, int to_dir, struct vq_error *err)
{
    const struct dirent *entry;

    while ((entry = readdir(from)) != NULL)
        if (copy_one(dirfd(from), to_dir, entry->d_name, err) < 0)
            return -1;
    return 0;
}

int vq_tree_copy_files(const char *from, const char *to, struct vq_error *err)
{
    if (mkdir(to, 0700) < 0)
        return vq_error_system(err, errno, "making '%s'", to);
    VQ_AUTOCLOSE int to_dir = open(to, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = opendir(from);
    if (to_dir < 0 || dir == NULL) {
        int problem = errno;
        if (dir != NULL)
            (void)closedir(dir); /* read only */
        return vq_error_system(err, problem, "copying '%s'", from);
    }
    int result = copy_all(dir, to_dir, err);
    (void)closedir(dir); /* read only */
    return result < 0 ? vq_error_wrap(err, "copying '%s'", from) : vq_tree_sync(to, err);
}

static int remove_one(const char *path, const struct stat *status VQ_UNUSED, int kind VQ_UNUSED, struct FTW *at VQ_UNUSED)
{
    return remove(path);
}

int vq_tree_remove(const char *path, struct vq_error *err)
{
    if (nftw(path, remove_one, DESCRIPTORS, FTW_DEPTH | FTW_PHYS) == 0 || errno == ENOENT)
        return 0;
    return vq_error_system(err, errno, "removing '%s'", path);
}

int vq_tree_sync(const char *dir, struct vq_error *err)
{
    VQ_AUTOCLOSE int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd >= 0 && fsync(fd) == 0 ? 0 : vq_error_system(err, errno, "flushing the directory '%s'", dir);
}
