/* See support.h. */
#include "tests/golden/qemu/support.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/buffer.h"
#include "conf/base/macros.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/driver.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/command.h"
#include "drivers/qemu/firmware.h"
#include "drivers/qemu/run_secrets.h"

/* In the order of strcmp(), as the real list is sorted. */
static char *devices[] = {
    "AC97", "ES1370", "VGA", "am53c974", "bochs-display", "cirrus-vga", "dc390", "e1000", "e1000e", "floppy",
    "hda-duplex", "hda-micro", "hda-output", "i6300esb", "i82559c", "ib700", "ich9-ahci", "ich9-intel-hda",
    "ich9-usb-ehci1", "ich9-usb-uhci1", "ide-cd", "ide-hd", "intel-hda", "intel-iommu", "ioh3420", "isa-debugcon",
    "isa-fdc", "isa-parallel", "isa-serial", "lsi53c895a", "megasas", "mptsas1068", "ne2k_pci", "nec-usb-xhci",
    "pci-bridge", "pci-ohci", "pci-serial", "pcie-pci-bridge", "pcie-root-port", "pcnet", "piix3-usb-uhci", "pvpanic",
    "pvscsi", "qemu-xhci", "qxl", "qxl-vga", "ramfb", "rtl8139", "sb16", "scsi-block", "scsi-cd", "scsi-hd",
    "tpm-crb", "tpm-tis", "tulip", "usb-audio", "usb-ehci", "usb-host", "usb-hub", "usb-kbd", "usb-mouse", "usb-net",
    "usb-redir", "usb-serial", "usb-storage", "usb-tablet", "vfio-pci", "vhost-vsock-pci", "virtio-balloon-pci",
    "virtio-blk-pci", "virtio-crypto-pci", "virtio-gpu-pci", "virtio-keyboard-pci", "virtio-mouse-pci", "virtio-net-pci",
    "virtio-rng-pci", "virtio-scsi-pci", "virtio-serial-pci", "virtio-tablet-pci", "virtio-vga", "vmcoreinfo", "vmgenid", "vmware-svga",
    "vmxnet3",
};

static struct vq_qemu_machine machines[] = {
    {.name = "pc-i440fx-7.2", .alias = "pc", .default_cpu = "qemu64", .default_ram_id = "pc.ram", .cpus_max = 255,
     .is_default = true, .has_hotpluggable_cpus = true, .has_acpi = true},
    {.name = "pc-q35-7.2", .alias = "q35", .default_cpu = "qemu64", .default_ram_id = "pc.ram", .cpus_max = 288,
     .has_hotpluggable_cpus = true, .has_acpi = true},
    {.name = "pc-q35-6.2", .default_cpu = "qemu64", .default_ram_id = "pc.ram", .cpus_max = 288,
     .has_hotpluggable_cpus = true, .has_acpi = true},
};

/* The features that matter in cases, in the order of strcmp(). */
static char *features[] = {"apic", "avx", "avx2", "clflush", "cx16", "erms", "fsgsbase", "la57", "mmx", "pclmulqdq", "pku",
                           "popcnt", "rdrand", "smap", "smep", "sse2", "sse4.2", "ssse3", "svm", "xsave"};
static char *cascadelake_lacks[] = {"avx512f", "pcid", "x2apic"};

static struct vq_qemu_cpu_model models[] = {
    {.name = "Cascadelake-Server", .missing = cascadelake_lacks, .n_missing = VQ_N_ELEMENTS(cascadelake_lacks)},
    {.name = "EPYC"}, {.name = "Haswell-noTSX"}, {.name = "Nehalem"}, {.name = "SandyBridge"}, {.name = "core2duo"},
    {.name = "host"}, {.name = "kvm64"}, {.name = "max"}, {.name = "qemu32"}, {.name = "qemu64"},
};

static struct vq_qemu_capabilities capabilities = {
    .references = 1,
    .path = "/usr/bin/qemu-system-x86_64",
    .version = 7002000,
    .package = "",
    .arch = "x86_64",
    .machines = machines,
    .n_machines = VQ_N_ELEMENTS(machines),
    .cpu_models = models,
    .n_cpu_models = VQ_N_ELEMENTS(models),
    .devices = devices,
    .n_devices = VQ_N_ELEMENTS(devices),
    .features = features,
    .n_features = VQ_N_ELEMENTS(features),
    .is_kvm_known = true,
    .has_kvm = true,
    .has_sandbox = true,
};

/* Debian's qemu-system-aarch64 7.2, asked once. */
static char *arm_devices[] = {
    "e1000e", "pci-bridge", "pci-serial", "pcie-pci-bridge", "pcie-root-port", "qemu-xhci", "ramfb", "rtl8139",
    "scsi-block", "scsi-cd", "scsi-hd", "tpm-tis-device", "usb-ehci", "usb-host", "usb-kbd", "usb-mouse", "usb-tablet",
    "vhost-vsock-pci", "virtio-balloon-pci", "virtio-blk-device", "virtio-blk-pci", "virtio-gpu-pci",
    "virtio-keyboard-pci", "virtio-mouse-pci", "virtio-net-device", "virtio-net-pci", "virtio-rng-pci", "virtio-scsi-pci",
    "virtio-serial-pci", "virtio-tablet-pci",
};
static struct vq_qemu_machine arm_machines[] = {
    {.name = "virt-7.2", .alias = "virt", .default_cpu = "cortex-a15", .default_ram_id = "mach-virt.ram", .cpus_max = 512,
     .has_hotpluggable_cpus = false, .has_acpi = true},
};
static struct vq_qemu_cpu_model arm_models[] = {{.name = "cortex-a15"}, {.name = "cortex-a57"}, {.name = "cortex-a72"},
                                                {.name = "max"}};
static struct vq_qemu_capabilities arm_capabilities = {
    .references = 1,
    .path = "/usr/bin/qemu-system-aarch64",
    .version = 7002000,
    .package = "",
    .arch = "aarch64",
    .machines = arm_machines,
    .n_machines = VQ_N_ELEMENTS(arm_machines),
    .cpu_models = arm_models,
    .n_cpu_models = VQ_N_ELEMENTS(arm_models),
    .devices = arm_devices,
    .n_devices = VQ_N_ELEMENTS(arm_devices),
    .is_kvm_known = true,
    .kvm_problem = "KVM is of another architecture here",
    .has_sandbox = true,
};

const struct vq_qemu_capabilities *golden_capabilities(void)
{
    return &capabilities;
}

const struct vq_qemu_capabilities *golden_capabilities_of(const struct vq_domain *def)
{
    return vq_streq(def->os.arch, "aarch64") ? &arm_capabilities : &capabilities;
}

static uint8_t next_random;

void golden_random_reset(void)
{
    next_random = 0x10;
}

void golden_random(void *bytes, size_t length)
{
    for (size_t i = 0; i < length; i++)
        ((uint8_t *)bytes)[i] = next_random++;
}

static int compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

char **golden_cases(const char *dir)
{
    DIR *stream = opendir(dir);
    const struct dirent *entry;
    char **names = NULL;
    size_t n = 0;

    while (stream != NULL && (entry = readdir(stream)) != NULL) {
        size_t length = strlen(entry->d_name);
        if (length < 5 || strcmp(entry->d_name + length - 4, ".xml") != 0)
            continue;
        names = vq_realloc(names, n + 2, sizeof(*names));
        names[n++] = vq_strndup(entry->d_name, length - 4);
    }
    if (stream != NULL)
        (void)closedir(stream);
    if (n == 0)
        return vq_calloc(1, sizeof(*names));
    qsort(names, n, sizeof(*names), compare);
    names[n] = NULL;
    return names;
}

static void path_of(char *path, size_t size, const char *dir, const char *name, const char *suffix)
{
    (void)snprintf(path, size, "%s/%s%s", dir, name, suffix);
}

char *golden_read(const char *dir, const char *name, const char *suffix)
{
    struct vq_buffer text = VQ_BUFFER_INIT;
    char path[1024];
    FILE *file;
    int c;

    path_of(path, sizeof(path), dir, name, suffix);
    file = fopen(path, "re");
    if (file == NULL)
        return NULL;
    while ((c = fgetc(file)) != EOF)
        vq_buffer_add_bytes(&text, &(char){(char)c}, 1);
    (void)fclose(file);
    return vq_buffer_steal(&text);
}

void golden_write(const char *dir, const char *name, const char *suffix, const char *text)
{
    char path[1024];
    FILE *file;

    path_of(path, sizeof(path), dir, name, suffix);
    file = fopen(path, "we");
    if (file == NULL || fputs(text, file) == EOF || fclose(file) != 0)
        abort(); /* of a developer who asked for new files */
}

void golden_remove(const char *dir, const char *name, const char *suffix)
{
    char path[1024];

    path_of(path, sizeof(path), dir, name, suffix);
    (void)unlink(path);
}

void golden_choose_numbers(struct vq_domain *live, struct vq_qemu_queues *taps, int first_fd)
{
    for (size_t i = 0; i < live->devices.n_graphics; i++) {
        struct vq_graphics *graphics = live->devices.graphics[i];
        if (graphics->has_websocket && graphics->websocket < 0)
            graphics->websocket = 5700 + (int32_t)i;
        if (!graphics->has_port || graphics->port <= 0) {
            graphics->has_port = true;
            graphics->port = 5900 + (int32_t)i;
        }
    }
    for (size_t i = 0; i < live->devices.n_interfaces; i++) {
        const struct vq_interface *interface = live->devices.interfaces[i];
        taps[i].n_taps = interface->queues > 1 ? interface->queues : 1;
        for (size_t k = 0; k < taps[i].n_taps && k < VQ_QEMU_QUEUES_MAX; k++)
            taps[i].tap[k] = first_fd++;
        if (!vq_streq(interface->driver_name, "vhost"))
            continue;
        taps[i].n_vhosts = taps[i].n_taps;
        for (size_t k = 0; k < taps[i].n_vhosts && k < VQ_QEMU_QUEUES_MAX; k++)
            taps[i].vhost[k] = first_fd++;
    }
}

struct vq_qemu_firmwares *golden_firmwares(void)
{
    static const char *const dirs[] = {GOLDEN_DIR "/../firmware"};
    static struct vq_qemu_firmwares *firmwares;

    if (firmwares == NULL)
        firmwares = vq_qemu_firmwares_read(dirs, VQ_N_ELEMENTS(dirs));
    return firmwares;
}

static int secret_value(const struct vq_secret_ref *ref, uint8_t **ret_value, size_t *ret_length, struct vq_error *err)
{
    (void)ref;
    (void)err;
    *ret_value = vq_memdup("secret", 6);
    *ret_length = 6;
    return 0;
}

void golden_secrets(struct vq_qemu_run_secrets *secrets, const struct vq_domain *live, int first_fd)
{
    static const struct vq_driver_host host = {.secret_value = secret_value};
    struct vq_error err = VQ_ERROR_INIT;

    *secrets = (struct vq_qemu_run_secrets){0};
    if (vq_qemu_run_secrets_fetch(secrets, live, &host, &err) < 0)
        abort(); /* of memory for a few bytes */
    for (size_t i = 0; first_fd >= 0 && i < secrets->n_items; i++) {
        (void)close(secrets->items[i].fd);
        secrets->items[i].fd = first_fd + (int)i;
    }
}

void golden_secrets_done(struct vq_qemu_run_secrets *secrets, int first_fd)
{
    for (size_t i = 0; first_fd >= 0 && i < secrets->n_items; i++)
        secrets->items[i].fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
    vq_qemu_run_secrets_done(secrets);
}
