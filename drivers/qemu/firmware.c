/* Firmware by descriptors: see firmware.h. */
#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/firmware.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <fnmatch.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"

enum { DESCRIPTORS_MAX = 256, DESCRIPTOR_MAX_BYTES = 64 * 1024, NVRAM_MAX_BYTES = 256 * 1024 * 1024 };

struct descriptor {
    char *file;                /* its name, by which they are sorted */
    json_t *root;              /* NULL: the file is empty, and hides others */
};

struct vq_qemu_firmwares {
    struct descriptor items[DESCRIPTORS_MAX];
    size_t n;
};

/* ---- Reading ---- */

static char *read_small(const char *path, size_t *ret_length)
{
    VQ_AUTOFREE char *text = vq_calloc(DESCRIPTOR_MAX_BYTES + 1, 1);
    FILE *file = fopen(path, "re");
    size_t n;

    if (file == NULL)
        return NULL;
    n = fread(text, 1, DESCRIPTOR_MAX_BYTES + 1, file);
    (void)fclose(file);
    if (n > DESCRIPTOR_MAX_BYTES)
        return NULL;
    *ret_length = n;
    return vq_take(text);
}

static bool is_hidden(const struct vq_qemu_firmwares *firmwares, const char *file)
{
    for (size_t i = 0; i < firmwares->n; i++)
        if (strcmp(firmwares->items[i].file, file) == 0)
            return true;
    return false;
}

static void read_descriptor(struct vq_qemu_firmwares *firmwares, const char *dir, const char *file)
{
    VQ_AUTOFREE char *path = vq_asprintf("%s/%s", dir, file);
    size_t length = 0;
    VQ_AUTOFREE char *text = read_small(path, &length);
    json_error_t problem = {.text = "it cannot be read"};
    json_t *root = NULL;

    if (text != NULL && length > 0)
        root = json_loadb(text, length, JSON_REJECT_DUPLICATES, &problem);
    if ((text == NULL || length > 0) && !json_is_object(root)) {
        vq_log(WARN, "firmware.descriptor", "file='%s': %s, it is left out", path, problem.text);
        json_decref(root);
        return;
    }
    firmwares->items[firmwares->n++] = (struct descriptor){.file = vq_strdup(file), .root = root};
}

static void read_dir(struct vq_qemu_firmwares *firmwares, const char *dir)
{
    DIR *stream = opendir(dir);
    const struct dirent *entry;

    while (stream != NULL && firmwares->n < DESCRIPTORS_MAX && (entry = readdir(stream)) != NULL) {
        size_t length = strlen(entry->d_name);
        if (entry->d_name[0] != '.' && length > 5 && strcmp(entry->d_name + length - 5, ".json") == 0 &&
            !is_hidden(firmwares, entry->d_name))
            read_descriptor(firmwares, dir, entry->d_name);
    }
    if (stream != NULL)
        (void)closedir(stream);
}

static int compare(const void *a, const void *b)
{
    return strcmp(((const struct descriptor *)a)->file, ((const struct descriptor *)b)->file);
}

struct vq_qemu_firmwares *vq_qemu_firmwares_read(const char *const *dirs, size_t n_dirs)
{
    struct vq_qemu_firmwares *firmwares = vq_new(struct vq_qemu_firmwares);

    for (size_t i = 0; i < n_dirs; i++)
        read_dir(firmwares, dirs[i]);
    qsort(firmwares->items, firmwares->n, sizeof(firmwares->items[0]), compare);
    return firmwares;
}

struct vq_qemu_firmwares *vq_qemu_firmwares_of_host(void)
{
    static const char *const dirs[] = {"/etc/qemu/firmware", "/usr/share/qemu/firmware"};

    return vq_qemu_firmwares_read(dirs, VQ_N_ELEMENTS(dirs));
}

void vq_qemu_firmwares_free(struct vq_qemu_firmwares *firmwares)
{
    if (firmwares == NULL)
        return;
    for (size_t i = 0; i < firmwares->n; i++) {
        free(firmwares->items[i].file);
        json_decref(firmwares->items[i].root);
    }
    free(firmwares);
}

/* ---- Does it fit? ---- */

static bool list_has(const json_t *list, const char *word)
{
    size_t i;
    json_t *entry;

    json_array_foreach(list, i, entry)
        if (vq_streq(json_string_value(entry), word))
            return true;
    return false;
}

static bool has_feature(const json_t *root, const char *feature)
{
    return list_has(json_object_get(root, "features"), feature);
}

static bool fits_machine(const json_t *root, const char *arch, const char *machine)
{
    const json_t *targets = json_object_get(root, "targets");
    size_t i, k;
    json_t *target, *pattern;

    json_array_foreach(targets, i, target) {
        if (!vq_streq(json_string_value(json_object_get(target, "architecture")), arch))
            continue;
        json_array_foreach(json_object_get(target, "machines"), k, pattern)
            if (json_is_string(pattern) && machine != NULL && fnmatch(json_string_value(pattern), machine, 0) == 0)
                return true;
    }
    return false;
}

static bool is_raw(const json_t *file)
{
    const char *format = json_string_value(json_object_get(file, "format"));

    return json_is_string(json_object_get(file, "filename")) && (format == NULL || strcmp(format, "raw") == 0);
}

/* The kinds of mapping that a guest can get here: flash in two parts, or one image in ROM. */
static bool fits_mapping(const json_t *root)
{
    const json_t *mapping = json_object_get(root, "mapping");
    const char *device = json_string_value(json_object_get(mapping, "device"));
    const char *mode = json_string_value(json_object_get(mapping, "mode"));

    if (vq_streq(device, "memory"))
        return json_is_string(json_object_get(mapping, "filename"));
    return vq_streq(device, "flash") && (mode == NULL || strcmp(mode, "split") == 0) &&
           is_raw(json_object_get(mapping, "executable")) && is_raw(json_object_get(mapping, "nvram-template"));
}

static bool fits_features(const json_t *root, const struct vq_domain *def)
{
    const struct vq_os *os = &def->os;
    bool is_secure = has_feature(root, "secure-boot");

    for (size_t i = 0; i < os->n_firmware_features; i++)
        if (has_feature(root, os->firmware_features[i]->name) != (os->firmware_features[i]->enabled == VQ_SWITCH_ON))
            return false;
    if (os->loader_secure == VQ_SWITCH_ON && !is_secure)
        return false;
    if (os->loader_secure == VQ_SWITCH_OFF && is_secure && has_feature(root, "enrolled-keys"))
        return false;
    if (has_feature(root, "requires-smm") && def->features != NULL && def->features->smm == VQ_SWITCH_OFF)
        return false;
    if (def->pm_suspend_to_mem == VQ_SWITCH_ON && !has_feature(root, "acpi-s3"))
        return false;
    if (def->pm_suspend_to_disk == VQ_SWITCH_ON && !has_feature(root, "acpi-s4"))
        return false;
    return def->launch_security == NULL || !vq_streq(def->launch_security->type, "sev") || has_feature(root, "amd-sev");
}

static bool fits(const json_t *root, const struct vq_domain *def, const char *interface)
{
    return root != NULL && list_has(json_object_get(root, "interface-types"), interface) &&
           fits_machine(root, def->os.arch, def->os.machine) && fits_mapping(root) && fits_features(root, def);
}

/* ---- Choosing ---- */

char *vq_qemu_nvram_path(const char *name)
{
    return vq_asprintf(VQ_QEMU_NVRAM_DIR "/%s_VARS.fd", name);
}

static const char *filename_of(const json_t *mapping, const char *part)
{
    return json_string_value(json_object_get(json_object_get(mapping, part), "filename"));
}

static void take_flash(struct vq_domain *def, const json_t *root)
{
    const json_t *mapping = json_object_get(root, "mapping");
    struct vq_os *os = &def->os;

    os->loader_type = VQ_LOADER_PFLASH;
    os->loader_readonly = VQ_SWITCH_ON;
    vq_set_text(&os->loader, filename_of(mapping, "executable"));
    vq_set_text(&os->nvram_template, filename_of(mapping, "nvram-template"));
    if (os->nvram == NULL && os->nvram_source.type == VQ_SOURCE_UNSET)
        os->nvram = vq_qemu_nvram_path(def->name);
    if (!has_feature(root, "requires-smm"))
        return;
    /* Its variables are safe from the guest's kernel in system management mode only. */
    if (def->features == NULL)
        def->features = vq_new(struct vq_features);
    def->features->has_smm = true;
    def->features->smm = VQ_SWITCH_ON;
    os->loader_secure = VQ_SWITCH_ON;
}

static void take(struct vq_domain *def, const json_t *root)
{
    const json_t *mapping = json_object_get(root, "mapping");

    if (vq_streq(json_string_value(json_object_get(mapping, "device")), "flash")) {
        take_flash(def, root);
        return;
    }
    def->os.loader_type = VQ_LOADER_ROM;
    vq_set_text(&def->os.loader, json_string_value(json_object_get(mapping, "filename")));
}

/* Loaders of the time before there were descriptors. */
static const char *known_template(const char *loader)
{
    static const struct {
        const char *loader, *template_path;
    } pairs[] = {{"/usr/share/OVMF/OVMF_CODE.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
                 {"/usr/share/OVMF/OVMF_CODE.secboot.fd", "/usr/share/OVMF/OVMF_VARS.fd"},
                 {"/usr/share/OVMF/OVMF_CODE_4M.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
                 {"/usr/share/OVMF/OVMF_CODE_4M.secboot.fd", "/usr/share/OVMF/OVMF_VARS_4M.fd"},
                 {"/usr/share/OVMF/OVMF_CODE_4M.ms.fd", "/usr/share/OVMF/OVMF_VARS_4M.ms.fd"},
                 {"/usr/share/AAVMF/AAVMF_CODE.fd", "/usr/share/AAVMF/AAVMF_VARS.fd"},
                 {"/usr/share/AAVMF/AAVMF32_CODE.fd", "/usr/share/AAVMF/AAVMF32_VARS.fd"}};

    for (size_t i = 0; i < VQ_N_ELEMENTS(pairs); i++)
        if (strcmp(pairs[i].loader, loader) == 0)
            return pairs[i].template_path;
    return NULL;
}

static void find_template(struct vq_domain *def, const struct vq_qemu_firmwares *firmwares)
{
    struct vq_os *os = &def->os;

    for (size_t i = 0; i < firmwares->n && os->nvram_template == NULL; i++) {
        const json_t *mapping = json_object_get(firmwares->items[i].root, "mapping");
        const char *executable = filename_of(mapping, "executable");
        if (executable != NULL && strcmp(executable, os->loader) == 0)
            vq_set_text(&os->nvram_template, filename_of(mapping, "nvram-template"));
    }
    if (os->nvram_template == NULL)
        os->nvram_template = vq_strdup(known_template(os->loader));
}

int vq_qemu_firmware_choose(struct vq_domain *def, const struct vq_qemu_firmwares *firmwares, struct vq_error *err)
{
    struct vq_os *os = &def->os;
    bool is_efi = os->firmware == VQ_FIRMWARE_EFI;

    if (os->loader != NULL) {
        if (os->loader_type == VQ_LOADER_PFLASH && os->nvram_template == NULL && os->nvram != NULL)
            find_template(def, firmwares);
        return 0;
    }
    if (os->firmware == VQ_FIRMWARE_UNSET)
        return 0;
    for (size_t i = 0; i < firmwares->n; i++) {
        if (fits(firmwares->items[i].root, def, is_efi ? "uefi" : "bios")) {
            take(def, firmwares->items[i].root);
            return 0;
        }
    }
    return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "Unable to find any firmware to satisfy '%s'", is_efi ? "efi" : "bios");
}

/* ---- The store of variables ---- */

static int copy_bytes(int from, int to, const char *path, struct vq_error *err)
{
    VQ_AUTOFREE char *buffer = vq_calloc(64 * 1024, 1);
    uint64_t total = 0;
    ssize_t n;

    while ((n = read(from, buffer, 64 * 1024)) > 0) {
        total += (uint64_t)n;
        if (total > NVRAM_MAX_BYTES)
            return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "the template of '%s' is larger than %d MiB", path,
                                NVRAM_MAX_BYTES >> 20);
        for (ssize_t done = 0; done < n;) {
            ssize_t wrote = write(to, buffer + done, (size_t)(n - done));
            if (wrote < 0)
                return vq_error_system(err, errno, "cannot write '%s'", path);
            done += wrote;
        }
    }
    return n < 0 ? vq_error_system(err, errno, "cannot read the template of '%s'", path) : 0;
}

static int fill_store(int from, int to, const char *path, const char *temporary, bool has_owner, unsigned uid, unsigned gid,
                      struct vq_error *err)
{
    if (copy_bytes(from, to, path, err) < 0)
        return -1;
    if (has_owner && fchown(to, uid, gid) < 0)
        return vq_error_system(err, errno, "cannot give '%s' to user %u", path, uid);
    if (fsync(to) < 0 || rename(temporary, path) < 0)
        return vq_error_system(err, errno, "cannot make '%s'", path);
    return 0;
}

static void make_nvram_dir(const char *path)
{
    /* The package makes it; a host that was set up by hand may not have it. A failure shows when the file is made. */
    if (strncmp(path, VQ_QEMU_NVRAM_DIR "/", sizeof(VQ_QEMU_NVRAM_DIR)) == 0 && access(VQ_QEMU_NVRAM_DIR, F_OK) < 0) {
        if (mkdir("/var/lib/libvirt", 0755) == 0)
            (void)chmod("/var/lib/libvirt", 0755);
        if (mkdir("/var/lib/libvirt/qemu", 0751) == 0)
            (void)chmod("/var/lib/libvirt/qemu", 0751);
        (void)mkdir(VQ_QEMU_NVRAM_DIR, 0711);
        (void)chmod(VQ_QEMU_NVRAM_DIR, 0711); /* whatever the umask */
    }
}

int vq_qemu_nvram_create(const char *path, const char *template_path, const char *loader, bool reset, bool has_owner,
                         unsigned uid, unsigned gid, struct vq_error *err)
{
    VQ_AUTOFREE char *temporary = vq_asprintf("%s.new", path);
    int from, to, rc;

    if (!reset && access(path, F_OK) == 0)
        return 0;
    if (template_path == NULL)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "unable to find any master var store for loader: %s", loader);
    make_nvram_dir(path);
    from = open(template_path, O_RDONLY | O_CLOEXEC);
    if (from < 0)
        return vq_error_system(err, errno, "Failed to open file '%s'", template_path);
    (void)unlink(temporary); /* of a copy that was interrupted */
    to = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (to < 0) {
        int open_errno = errno;
        (void)close(from);
        return vq_error_system(err, open_errno, "Failed to create file '%s'", path);
    }
    rc = fill_store(from, to, path, temporary, has_owner, uid, gid, err);
    (void)close(from);
    (void)close(to);
    if (rc < 0)
        (void)unlink(temporary);
    return rc;
}
