/* The mark "boot" beside the data file: was the store closed, by which boot of the host was it opened, and did its
 * commits flush. Without flushes LMDB survives a killed process, but not a host that lost its page cache. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "conf/base/failpoint.h"
#include "store/internal.h"

enum { MARK_MAX = 128, LOCK_BYTES = 128 * 1024 /* more than a thousand readers */ };

static bool read_small_file(const char *path, char text[MARK_MAX])
{
    VQ_AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? -1 : read(fd, text, MARK_MAX - 1);

    if (got < 0)
        return false;
    text[got] = '\0';
    return true;
}

static void boot_id(char text[MARK_MAX])
{
    if (!read_small_file("/proc/sys/kernel/random/boot_id", text))
        strcpy(text, "unknown"); /* without /proc libraft does not run either */
    text[strcspn(text, "\n")] = '\0';
}

/* A missing mark is doubtful as well: whoever opens the store writes the mark first. */
bool vq_boot_is_doubtful(const char *dir)
{
    VQ_AUTOFREE char *path = vq_asprintf("%s/boot", dir);
    char mark[MARK_MAX], now[MARK_MAX];
    char how[16], flush[16], boot[64];

    if (!read_small_file(path, mark) || sscanf(mark, "%15s %15s %63s", how, flush, boot) != 3)
        return true;
    boot_id(now);
    if (strcmp(how, "condemned") == 0)
        return true;
    return strcmp(how, "clean") != 0 && strcmp(flush, "flushed") != 0 && strcmp(boot, now) != 0;
}

/* A new file appears whole or not at all. Later it is written in place, within one sector: that takes no room, so it
 * works on a full disk, and a mark that cannot be read counts as doubtful. */
static int create_mark(int dir_fd, const char *mark, struct vq_error *err)
{
    VQ_AUTOCLOSE int fd = openat(dir_fd, "boot.new", O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);

    if (fd < 0)
        return vq_error_system(err, errno, "creating the store's mark");
    if (VQ_FAILPOINT("store.mark.write") || write(fd, mark, MARK_MAX) != MARK_MAX)
        return vq_error_system(err, errno, "writing the store's mark");
    if (VQ_FAILPOINT("store.mark.flush") || fsync(fd) < 0)
        return vq_error_system(err, errno, "flushing the store's mark");
    if (VQ_FAILPOINT("store.mark.rename") || renameat(dir_fd, "boot.new", dir_fd, "boot") < 0)
        return vq_error_system(err, errno, "renaming the store's mark");
    if (fsync(dir_fd) < 0)
        return vq_error_system(err, errno, "flushing the store's directory");
    return 0;
}

static int write_mark(int dir_fd, const char *mark, struct vq_error *err)
{
    VQ_AUTOCLOSE int fd = openat(dir_fd, "boot", O_WRONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;

    if (fd < 0 || fstat(fd, &st) < 0 || st.st_size != MARK_MAX)
        return create_mark(dir_fd, mark, err);
    if (VQ_FAILPOINT("store.mark.overwrite") || pwrite(fd, mark, MARK_MAX, 0) != MARK_MAX || fdatasync(fd) < 0)
        return vq_error_system(err, errno, "writing the store's mark");
    return 0;
}

int vq_boot_mark(const char *dir, bool durable, enum vq_boot_state state, struct vq_error *err)
{
    static const char *const names[] = {"open", "clean", "condemned"};
    char boot[MARK_MAX], text[MARK_MAX] = "";
    VQ_AUTOCLOSE int dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (dir_fd < 0)
        return vq_error_system(err, errno, "opening '%s'", dir);
    boot_id(boot);
    (void)snprintf(text, sizeof(text), "%s %s %.60s\n", names[state], durable ? "flushed" : "unflushed", boot);
    return write_mark(dir_fd, text, err);
}

int vq_store_dir_make(const char *dir, struct vq_error *err)
{
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return vq_error_system(err, errno, "making '%s'", dir);
    return 0;
}

int vq_store_lock_reserve(const char *dir, struct vq_error *err)
{
    VQ_AUTOFREE char *path = vq_asprintf("%s/lock.mdb", dir);
    VQ_AUTOCLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    int rc;

    if (fd < 0)
        return vq_error_system(err, errno, "opening '%s'", path);
    if ((rc = posix_fallocate(fd, 0, LOCK_BYTES)) != 0)
        return vq_error_system(err, rc, "reserving room for '%s'", path);
    return 0;
}

int vq_store_set_aside(const char *dir, struct vq_error *err)
{
    VQ_AUTOFREE char *from = vq_asprintf("%s/data.mdb", dir);
    VQ_AUTOFREE char *aside = NULL;
    struct timespec now;

    if (access(from, F_OK) < 0)
        return 0;
    clock_gettime(CLOCK_REALTIME, &now);
    aside = vq_asprintf("%s/before-%lld%09ld", dir, (long long)now.tv_sec, now.tv_nsec);
    if (vq_store_dir_make(aside, err) < 0)
        return -1;
    VQ_AUTOFREE char *to = vq_asprintf("%s/data.mdb", aside);
    if (VQ_FAILPOINT("store.aside.rename") || rename(from, to) < 0)
        return vq_error_system(err, errno, "setting '%s' aside", from);
    return 0;
}
