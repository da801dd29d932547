/* <state_dir>/qemu/capabilities/<number>.json: the file's identity and the answers as they came.
 *
 * They are read by the same functions as those that come from a monitor, with the same bounds. */
#include "drivers/qemu/probe_cache.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/probe.h"

enum { FORMAT = 1, FILE_BYTES_MAX = 8 * 1024 * 1024 };

static int64_t nanoseconds(struct timespec time)
{
    return (int64_t)time.tv_sec * 1000000000 + time.tv_nsec;
}

/* Devices of an emulator may be in modules, which come and go without a change of the program. */
static int64_t modules_changed(void)
{
    static const char *const dirs[] = {"/usr/lib/qemu", "/usr/lib64/qemu", "/usr/lib/x86_64-linux-gnu/qemu",
                                       "/usr/lib/aarch64-linux-gnu/qemu"};
    int64_t latest = 0;

    for (size_t i = 0; i < VQ_N_ELEMENTS(dirs); i++) {
        struct stat dir;
        if (stat(dirs[i], &dir) == 0 && nanoseconds(dir.st_ctim) > latest)
            latest = nanoseconds(dir.st_ctim);
    }
    return latest;
}

static json_t *identity_of(const char *path, const struct stat *file)
{
    return json_pack("{s:i, s:s, s:I, s:I, s:I, s:I, s:I, s:I}", "format", FORMAT, "path", path, "device",
                     (json_int_t)file->st_dev, "inode", (json_int_t)file->st_ino, "size", (json_int_t)file->st_size,
                     "mtime", (json_int_t)nanoseconds(file->st_mtim), "ctime", (json_int_t)nanoseconds(file->st_ctim),
                     "modules", (json_int_t)modules_changed());
}

/* One file for each path. FNV-1a; what it is about stands inside. */
static char *file_of(const char *state_dir, const char *path)
{
    uint64_t hash = 14695981039346656037ULL;

    for (const char *at = path; *at != '\0'; at++)
        hash = (hash ^ (uint8_t)*at) * 1099511628211ULL;
    return vq_asprintf("%s/qemu/capabilities/%016llx.json", state_dir, (unsigned long long)hash);
}

/* Nobody but us may have written it. NULL: it is not there, or somebody could. */
static json_t *load(const char *name)
{
    VQ_AUTOCLOSE int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    struct stat file;
    size_t length = 0;
    ssize_t n;

    if (fd < 0 || fstat(fd, &file) < 0 || !S_ISREG(file.st_mode) || file.st_uid != geteuid() ||
        (file.st_mode & (S_IWGRP | S_IWOTH)) != 0 || file.st_size <= 0 || file.st_size > FILE_BYTES_MAX)
        return NULL;
    VQ_AUTOFREE char *text = vq_calloc((size_t)file.st_size, 1);
    while (length < (size_t)file.st_size && (n = read(fd, text + length, (size_t)file.st_size - length)) > 0)
        length += (size_t)n;
    return json_loadb(text, length, JSON_REJECT_DUPLICATES, NULL);
}

struct vq_qemu_capabilities *vq_qemu_probe_cache_read(const char *state_dir, const char *path, const struct stat *file)
{
    VQ_AUTOFREE char *name = file_of(state_dir, path);
    struct vq_qemu_capabilities *caps = NULL;
    json_t *kept = load(name), *wanted = identity_of(path, file);

    if (kept != NULL && json_equal(json_object_get(kept, "emulator"), wanted))
        caps = vq_qemu_probe_read(json_object_get(kept, "answers"));
    json_decref(kept);
    json_decref(wanted);
    return caps;
}

static int make_dirs(const char *state_dir)
{
    VQ_AUTOFREE char *qemu = vq_asprintf("%s/qemu", state_dir);
    VQ_AUTOFREE char *dir = vq_asprintf("%s/capabilities", qemu);

    if ((mkdir(qemu, 0755) < 0 && errno != EEXIST) || (mkdir(dir, 0700) < 0 && errno != EEXIST))
        return -1;
    return 0;
}

static int write_whole(const char *name, const char *text)
{
    VQ_AUTOCLOSE int fd = open(name, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    size_t length = strlen(text), done = 0;
    ssize_t n;

    while (fd >= 0 && done < length && (n = write(fd, text + done, length - done)) > 0)
        done += (size_t)n;
    return fd >= 0 && done == length ? 0 : -1;
}

/* It is not flushed: what a lost power leaves behind is whole or no JSON. */
static void put_file(const char *state_dir, const char *name, json_t *take_content)
{
    VQ_AUTOFREE char *fresh = vq_asprintf("%s.new", name);
    VQ_AUTOFREE char *text = json_dumps(take_content, JSON_COMPACT | JSON_SORT_KEYS);

    json_decref(take_content);
    if (text == NULL || make_dirs(state_dir) < 0 || write_whole(fresh, text) < 0 || rename(fresh, name) < 0)
        vq_log(WARN, "qemu.cache", "file='%s': what was found out is not kept: %s, continuing", name, strerror(errno));
}

void vq_qemu_probe_cache_write(const char *state_dir, const char *path, const struct stat *file, json_t *answers)
{
    VQ_AUTOFREE char *name = file_of(state_dir, path);

    put_file(state_dir, name, json_pack("{s:o, s:O}", "emulator", identity_of(path, file), "answers", answers));
}

/* ---- The trial of KVM ---- */

static json_t *device_of(const char *boot_id)
{
    struct stat kvm;

    if (boot_id == NULL || boot_id[0] == '\0' || stat("/dev/kvm", &kvm) < 0)
        return NULL;
    return json_pack("{s:s, s:I, s:I, s:i}", "boot", boot_id, "device", (json_int_t)kvm.st_rdev, "ctime",
                     (json_int_t)nanoseconds(kvm.st_ctim), "mode", (int)kvm.st_mode);
}

void vq_qemu_trial_cache_read(const char *state_dir, const char *boot_id, struct vq_qemu_trial *ret)
{
    VQ_AUTOFREE char *name = vq_asprintf("%s/qemu/capabilities/kvm.json", state_dir);
    json_t *kept = load(name), *device = device_of(boot_id);
    const char *problem = json_string_value(json_object_get(kept, "problem"));
    json_t *works = json_object_get(kept, "works");

    if (device != NULL && json_is_boolean(works) && json_equal(json_object_get(kept, "kvm"), device)) {
        *ret = (struct vq_qemu_trial){.is_known = true, .works = json_is_true(works)};
        (void)snprintf(ret->problem, sizeof(ret->problem), "%s", problem == NULL ? "" : problem);
    }
    json_decref(kept);
    json_decref(device);
}

void vq_qemu_trial_cache_write(const char *state_dir, const char *boot_id, const struct vq_qemu_trial *trial)
{
    VQ_AUTOFREE char *name = vq_asprintf("%s/qemu/capabilities/kvm.json", state_dir);
    json_t *device = device_of(boot_id);

    if (device != NULL)
        put_file(state_dir, name,
                 json_pack("{s:o, s:b, s:s}", "kvm", device, "works", (int)trial->works, "problem", trial->problem));
}
