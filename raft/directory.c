/* The log's directory and its mark. */
#include "raft/directory.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/base/failpoint.h"
#include "conf/base/memory.h"

int vq_directory_make(const char *dir, struct vq_error *err)
{
    if (mkdir(dir, 0700) < 0 && errno != EEXIST)
        return vq_error_system(err, errno, "making '%s'", dir);
    return 0;
}

/* "metadata1", "open-3", "snapshot-2-600-1", "0000000000000001-0000000000000600". */
static bool belongs_to_log(const char *name)
{
    return strncmp(name, "metadata", 8) == 0 || strncmp(name, "open-", 5) == 0 || strncmp(name, "snapshot-", 9) == 0 ||
           isdigit((unsigned char)name[0]);
}

int vq_directory_has_log(const char *dir, struct vq_error *err)
{
    DIR *handle = opendir(dir);
    struct dirent *entry;
    int found = 0;

    if (handle == NULL)
        return vq_error_system(err, errno, "reading '%s'", dir);
    while (found == 0 && (entry = readdir(handle)) != NULL)
        found = belongs_to_log(entry->d_name);
    closedir(handle);
    return found;
}

/* What raft_bootstrap() makes: its terms, its first segment, and what is being prepared for the next ones. */
static bool belongs_to_beginning(const char *name)
{
    static const char first[] = "0000000000000001-0000000000000001";

    return strncmp(name, "metadata", 8) == 0 || strncmp(name, "open-", 5) == 0 || strncmp(name, "tmp-", 4) == 0 ||
           strcmp(name, first) == 0;
}

int vq_directory_clear_beginning(const char *dir, struct vq_error *err)
{
    DIR *handle = opendir(dir);
    struct dirent *entry;
    bool is_beginning = true;
    int rc = 0;

    if (handle == NULL)
        return vq_error_system(err, errno, "reading '%s'", dir);
    while (is_beginning && (entry = readdir(handle)) != NULL)
        is_beginning = entry->d_name[0] == '.' || belongs_to_beginning(entry->d_name);
    rewinddir(handle);
    while (is_beginning && rc == 0 && (entry = readdir(handle)) != NULL)
        if (entry->d_name[0] != '.' && unlinkat(dirfd(handle), entry->d_name, 0) < 0)
            rc = vq_error_system(err, errno, "removing '%s' of '%s'", entry->d_name, dir);
    closedir(handle);
    return rc < 0 ? -1 : is_beginning;
}

bool vq_directory_is_known(const char *dir, uint64_t node_id)
{
    VQ_AUTOFREE char *path = vq_asprintf("%s.known", dir);
    VQ_AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    char text[64];
    ssize_t got = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);

    if (got <= 0)
        return false;
    text[got] = '\0';
    return strtoull(text, NULL, 10) == node_id;
}

static int write_flushed(const char *path, const char *text, struct vq_error *err)
{
    VQ_AUTOCLOSE int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    size_t length = strlen(text);

    if (fd < 0)
        return vq_error_system(err, errno, "creating '%s'", path);
    if (VQ_FAILPOINT("raft.known.write") || write(fd, text, length) != (ssize_t)length)
        return vq_error_system(err, errno, "writing '%s'", path);
    if (VQ_FAILPOINT("raft.known.flush") || fsync(fd) < 0)
        return vq_error_system(err, errno, "flushing '%s'", path);
    return 0;
}

int vq_directory_mark_known(const char *dir, uint64_t node_id, struct vq_error *err)
{
    VQ_AUTOFREE char *path = vq_asprintf("%s.known", dir), *new_path = vq_asprintf("%s.known.new", dir);
    VQ_AUTOFREE char *copy = vq_strdup(dir);
    char text[32];

    (void)snprintf(text, sizeof(text), "%llu\n", (unsigned long long)node_id);
    if (write_flushed(new_path, text, err) < 0)
        return -1;
    if (VQ_FAILPOINT("raft.known.rename") || rename(new_path, path) < 0)
        return vq_error_system(err, errno, "renaming '%s'", new_path);
    VQ_AUTOCLOSE int fd = open(dirname(copy), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) < 0)
        return vq_error_system(err, errno, "flushing the directory of '%s'", path);
    return 0;
}
