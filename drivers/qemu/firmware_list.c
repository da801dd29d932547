/* /usr/share/qemu/firmware and /etc/qemu/firmware: one JSON file for each firmware, in the order of their names. */
#include "drivers/qemu/firmware_list.h"

#include <dirent.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"

enum { FILES_MAX = 64, FILE_BYTES_MAX = 64 * 1024 };

static const char *const dirs[] = {"/usr/share/qemu/firmware", "/etc/qemu/firmware"}; /* the later one counts */

struct file {
    char *name;
    size_t dir; /* of dirs[] */
};

static int compare_files(const void *a, const void *b)
{
    return strcmp(((const struct file *)a)->name, ((const struct file *)b)->name);
}

static void put_file(struct file *files, size_t *n_files, const char *name, size_t dir)
{
    const char *end = strrchr(name, '.');

    if (name[0] == '.' || end == NULL || strcmp(end, ".json") != 0)
        return;
    for (size_t i = 0; i < *n_files; i++)
        if (strcmp(files[i].name, name) == 0) {
            files[i].dir = dir;
            return;
        }
    if (*n_files < FILES_MAX)
        files[(*n_files)++] = (struct file){vq_strdup(name), dir};
}

static size_t list_files(const char *root, struct file files[FILES_MAX])
{
    size_t n = 0;

    for (size_t i = 0; i < VQ_N_ELEMENTS(dirs); i++) {
        VQ_AUTOFREE char *path = vq_asprintf("%s%s", root, dirs[i]);
        DIR *dir = opendir(path);
        const struct dirent *entry;

        while (dir != NULL && (entry = readdir(dir)) != NULL)
            put_file(files, &n, entry->d_name, i);
        if (dir != NULL)
            (void)closedir(dir);
    }
    if (n > 0)
        qsort(files, n, sizeof(*files), compare_files);
    return n;
}

/* NULL: it is no file of a bearable size with JSON in it. */
static json_t *load(const char *path)
{
    VQ_AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char text[FILE_BYTES_MAX];
    struct stat file;
    size_t length = 0;
    ssize_t n;

    if (fd < 0 || fstat(fd, &file) < 0 || !S_ISREG(file.st_mode) || file.st_size <= 0 || file.st_size > FILE_BYTES_MAX)
        return NULL;
    while (length < sizeof(text) && (n = read(fd, text + length, sizeof(text) - length)) > 0)
        length += (size_t)n;
    return json_loadb(text, length, 0, NULL);
}

static bool runs_on(json_t *firmware, const char *arch, const char *machine)
{
    json_t *target, *pattern;
    size_t i, k;

    json_array_foreach(json_object_get(firmware, "targets"), i, target)
    {
        if (!vq_streq(json_string_value(json_object_get(target, "architecture")), arch))
            continue;
        json_array_foreach(json_object_get(target, "machines"), k,
                           pattern) if (json_is_string(pattern) &&
                                        fnmatch(json_string_value(pattern), machine, 0) == 0) return true;
    }
    return false;
}

static bool has_feature(json_t *firmware, const char *name)
{
    json_t *feature;
    size_t i;

    json_array_foreach(json_object_get(firmware, "features"), i,
                       feature) if (vq_streq(json_string_value(feature), name)) return true;
    return false;
}

static void add(json_t *firmware, struct vq_qemu_firmware_list *list)
{
    json_t *mapping = json_object_get(firmware, "mapping");
    json_t *image = json_object_get(mapping, "executable");
    const char *path = json_string_value(json_object_get(image, "filename"));

    if (!vq_streq(json_string_value(json_object_get(mapping, "device")), "flash") || path == NULL || path[0] != '/')
        return;
    list->has_secure = list->has_secure || has_feature(firmware, "requires-smm");
    for (size_t i = 0; i < list->n_paths; i++)
        if (strcmp(list->paths[i], path) == 0)
            return; /* the same program with other variables */
    VQ_GROW(list->paths, list->n_paths);
    list->paths[list->n_paths++] = vq_strdup(path);
}

void vq_qemu_firmware_list_read(const char *root, const char *arch, const char *machine,
                                struct vq_qemu_firmware_list *ret)
{
    struct file files[FILES_MAX];
    size_t n = list_files(root, files);

    *ret = (struct vq_qemu_firmware_list){0};
    for (size_t i = 0; i < n; i++) {
        VQ_AUTOFREE char *path = vq_asprintf("%s%s/%s", root, dirs[files[i].dir], files[i].name);
        json_t *firmware = load(path);

        if (firmware != NULL && runs_on(firmware, arch, machine))
            add(firmware, ret);
        json_decref(firmware);
        free(files[i].name);
    }
}

void vq_qemu_firmware_list_done(struct vq_qemu_firmware_list *list)
{
    for (size_t i = 0; i < list->n_paths; i++)
        free(list->paths[i]);
    free(list->paths);
    *list = (struct vq_qemu_firmware_list){0};
}
