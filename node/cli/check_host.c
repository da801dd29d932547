/* What this host has for guests: asked of /proc, /sys and /dev, and of the file system. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "conf/base/error.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/cpu_host.h"
#include "drivers/qemu/driver.h"
#include "drivers/qemu/probe_cache.h"
#include "node/cli/check.h"

static bool has(const char *root, const char *path, int mode)
{
    VQ_AUTOFREE char *whole = vq_asprintf("%s%s", root, path);

    return access(whole, mode) == 0;
}

/* The first bytes of a small file; NULL: there is none. */
static char *read_text(const char *root, const char *path)
{
    enum { TEXT_MAX = 16 * 1024 };
    VQ_AUTOFREE char *whole = vq_asprintf("%s%s", root, path);
    VQ_AUTOCLOSE int fd = open(whole, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    char *text = fd < 0 ? NULL : vq_calloc(1, TEXT_MAX + 1);

    if (fd >= 0 && read(fd, text, TEXT_MAX) < 0)
        free(vq_take(text));
    return text;
}

/* ---- Running guests at full speed ---- */

static void check_cpu(struct check_findings *findings, const char *root)
{
    struct vq_cpu_facts cpu;

    (void)root;
    vq_cpu_host_read(vq_cpuid_here, &cpu);
    if (vq_cpu_set_has(&cpu.features, (size_t)vq_cpu_feature_find("vmx")) ||
        vq_cpu_set_has(&cpu.features, (size_t)vq_cpu_feature_find("svm")))
        check_add(findings, CHECK_PASS, "virtualization", NULL, "the CPU has it");
    else
        check_add(findings, CHECK_WARN, "virtualization",
                  "enable VT-x or AMD-V in the firmware; on a virtual host, nested virtualization",
                  "the CPU does not show it: guests are emulated, and slow");
}

static void check_kvm(struct check_findings *findings, const char *root)
{
    VQ_AUTOFREE char *boot_id = read_text(root, "/proc/sys/kernel/random/boot_id");
    VQ_AUTOFREE char *state_dir = vq_asprintf("%s/var/lib/libvirt", root);
    struct vq_qemu_trial trial = {0};

    if (boot_id != NULL)
        boot_id[strcspn(boot_id, "\n")] = '\0';
    if (!has(root, "/dev/kvm", F_OK)) {
        check_add(findings, CHECK_WARN, "kvm", "modprobe kvm_intel or kvm_amd", "there is no /dev/kvm");
        return;
    }
    if (!has(root, "/dev/kvm", R_OK | W_OK)) {
        check_add(findings, CHECK_FAIL, "kvm", "chgrp kvm /dev/kvm && chmod 660 /dev/kvm", "/dev/kvm cannot be opened");
        return;
    }
    vq_qemu_trial_cache_read(state_dir, boot_id, &trial);
    if (trial.is_known && !trial.works)
        check_add(findings, CHECK_WARN, "kvm",
                  "look at the kernel's log; on a virtual host, at the nested virtualization of its own host", "%s",
                  trial.problem);
    else
        check_add(findings, CHECK_PASS, "kvm", NULL, "%s",
                  trial.is_known ? "a guest has run under it" : "/dev/kvm can be opened");
}

static void check_iommu(struct check_findings *findings, const char *root)
{
    VQ_AUTOFREE char *path = vq_asprintf("%s/sys/kernel/iommu_groups", root);
    DIR *dir = opendir(path);
    const struct dirent *entry;
    size_t n = 0;

    while (dir != NULL && (entry = readdir(dir)) != NULL)
        n += entry->d_name[0] != '.';
    if (dir != NULL)
        (void)closedir(dir);
    if (n > 0)
        check_add(findings, CHECK_PASS, "iommu", NULL, "%zu groups of devices", n);
    else
        check_add(findings, CHECK_WARN, "iommu",
                  "boot with intel_iommu=on or amd_iommu=on, if guests shall get PCI devices of this host",
                  "it is not in use: no PCI device can be given to a guest");
}

/* ---- Parts of the kernel ---- */

static const struct {
    const char *subject, *path, *remedy, *use;
} devices[] = {
    {"tun", "/dev/net/tun", "modprobe tun", "guests' network interfaces"},
    {"vhost-net", "/dev/vhost-net", "modprobe vhost_net", "networks without a detour through the emulator"},
    {"vhost-vsock", "/dev/vhost-vsock", "modprobe vhost_vsock", "guests' sockets to the host"},
    {"fuse", "/dev/fuse", "modprobe fuse", "/proc of containers"},
};

static void check_devices(struct check_findings *findings, const char *root)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(devices); i++) {
        if (has(root, devices[i].path, F_OK))
            check_add(findings, CHECK_PASS, devices[i].subject, NULL, "%s is there", devices[i].path);
        else
            check_add(findings, CHECK_WARN, devices[i].subject, devices[i].remedy, "there is no %s, for %s",
                      devices[i].path, devices[i].use);
    }
}

/* Version 2 lists them in a file; of version 1 each is a mount. */
static bool has_controller(const char *list, const char *mounts, const char *name)
{
    VQ_AUTOFREE char *word = vq_asprintf(" %s ", name);
    VQ_AUTOFREE char *mounted = vq_asprintf("/sys/fs/cgroup/%s ", name);
    VQ_AUTOFREE char *first = vq_asprintf("/sys/fs/cgroup/%s,", name);
    VQ_AUTOFREE char *second = vq_asprintf(",%s ", name);

    if (list != NULL)
        return strstr(list, word) != NULL || strcmp(name, "devices") == 0; /* programs in the kernel do that one */
    return mounts != NULL &&
           (strstr(mounts, mounted) != NULL || strstr(mounts, first) != NULL || strstr(mounts, second) != NULL);
}

static void check_cgroups(struct check_findings *findings, const char *root)
{
    static const char *const names[] = {"cpu", "cpuset", "memory", "devices"};
    VQ_AUTOFREE char *plain = read_text(root, "/sys/fs/cgroup/cgroup.controllers");
    VQ_AUTOFREE char *mounts = read_text(root, "/proc/mounts");
    VQ_AUTOFREE char *list = NULL;

    if (plain != NULL) {
        plain[strcspn(plain, "\n")] = '\0';
        list = vq_asprintf(" %s ", plain);
    }
    for (size_t i = 0; i < VQ_N_ELEMENTS(names); i++) {
        if (has_controller(list, mounts, names[i])) {
            check_add(findings, CHECK_PASS, "cgroups", NULL, "controller %s", names[i]);
            continue;
        }
        VQ_AUTOFREE char *remedy = vq_asprintf("enable CGROUP_%s in the kernel, and mount it", names[i]);
        check_add(findings, CHECK_WARN, "cgroups", remedy, "no controller %s: guests cannot be limited by it",
                  names[i]);
    }
}

/* ---- Programs and users ---- */

static void check_emulator(struct check_findings *findings, const char *root)
{
    struct utsname name;
    static const char *const dirs[] = {"/usr/bin", "/usr/local/bin", "/usr/libexec"};

    if (uname(&name) < 0)
        return; /* fails only for a bad pointer */
    for (size_t i = 0; i < VQ_N_ELEMENTS(dirs); i++) {
        VQ_AUTOFREE char *path = vq_asprintf("%s/qemu-system-%s", dirs[i], name.machine);
        if (has(root, path, X_OK)) {
            check_add(findings, CHECK_PASS, "emulator", NULL, "%s", path);
            return;
        }
    }
    check_add(findings, CHECK_FAIL, "emulator", "install qemu-system-x86 (or the one of this architecture)",
              "there is no qemu-system-%s", name.machine);
}

static void check_user(struct check_findings *findings, const char *root)
{
    VQ_AUTOFREE char *config_dir = vq_asprintf("%s/etc/libvirt", root);
    struct vq_qemu_settings settings;
    struct vq_error err = VQ_ERROR_INIT;

    memset(&settings, 0, sizeof(settings));
    if (vq_qemu_settings_read(&settings, config_dir, NULL, &err) < 0)
        check_add(findings, CHECK_FAIL, "qemu.conf", "mend the file", "%s", err.message);
    else if (!settings.has_user || settings.uid == 0)
        check_add(findings, CHECK_WARN, "user", "set user and group in qemu.conf to \"libvirt-qemu\"",
                  "guests run as root");
    else
        check_add(findings, CHECK_PASS, "user", NULL, "guests run as uid %u, gid %u", (unsigned)settings.uid,
                  (unsigned)settings.gid);
    vq_qemu_settings_done(&settings);
}

/* ---- Directories ---- */

static const struct {
    const char *path;
    mode_t refused; /* bits that nobody may have on it */
    bool is_needed;
} dirs[] = {
    {"/var/lib/virtquorum", S_IRWXG | S_IRWXO, true},
    {"/var/lib/libvirt", S_IWGRP | S_IWOTH, false},
    {"/var/log/libvirt", S_IWOTH, false},
    {"/etc/libvirt", S_IWGRP | S_IWOTH, false},
    {"/etc/pki/libvirt/private", S_IRWXO, false},
};

static void check_space(struct check_findings *findings, const char *whole, const char *path)
{
    enum { PERCENT_MIN = 5 };
    struct statvfs fs;

    if (statvfs(whole, &fs) == 0 && fs.f_blocks > 0 && fs.f_bavail < fs.f_blocks / 100 * PERCENT_MIN)
        check_add(findings, CHECK_WARN, "space", "make room: nothing can be committed on a full disk",
                  "%s: less than %d %% is free", path, PERCENT_MIN);
}

static void check_dirs(struct check_findings *findings, const char *root)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(dirs); i++) {
        VQ_AUTOFREE char *whole = vq_asprintf("%s%s", root, dirs[i].path);
        struct stat dir;

        if (stat(whole, &dir) < 0) {
            if (dirs[i].is_needed || errno != ENOENT)
                check_add(findings, CHECK_WARN, "directory", "start virtquorumd: it makes it", "%s: %s", dirs[i].path,
                          strerror(errno));
            continue;
        }
        if (dir.st_uid != geteuid() || (dir.st_mode & dirs[i].refused) != 0) {
            VQ_AUTOFREE char *remedy = vq_asprintf("chown root %s && chmod %04o %s", dirs[i].path,
                                                   (unsigned)(dir.st_mode & 07777 & ~dirs[i].refused), dirs[i].path);
            check_add(findings, CHECK_FAIL, "directory", remedy,
                      "%s: owner %u, mode %04o: others could change or read it", dirs[i].path, (unsigned)dir.st_uid,
                      (unsigned)(dir.st_mode & 07777));
        } else {
            check_add(findings, CHECK_PASS, "directory", NULL, "%s: mode %04o", dirs[i].path,
                      (unsigned)(dir.st_mode & 07777));
        }
        check_space(findings, whole, dirs[i].path);
    }
}

void check_host(struct check_findings *findings, const char *root)
{
    static void (*const checks[])(struct check_findings *, const char *) = {
        check_cpu, check_kvm, check_iommu, check_devices, check_cgroups, check_emulator, check_user, check_dirs};

    for (size_t i = 0; i < VQ_N_ELEMENTS(checks); i++)
        checks[i](findings, root);
}
