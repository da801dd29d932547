/* What stands against a guest coming here: one function for each thing that a guest needs of its host. */
#include "drivers/qemu/migrate_judge.h"

#include <errno.h>
#include <inttypes.h>
#include <libvirt/libvirt.h>
#include <linux/magic.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/cpuset.h"
#include "conf/domain.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/definition.h"
#include "drivers/qemu/migrate.h"
#include "drivers/qemu/migrate_facts.h"
#include "proto/gen/node.h"

enum { LACKS_MAX = 1024, LISTED_MAX = 12 };

/* One judgement under way. */
struct judge {
    const struct vq_migrate_case *on;
    struct vq_migrate_problems *problems;
};

static bool has_flag(const struct judge *judge, uint64_t flag)
{
    return (judge->on->options->flags & flag) != 0;
}

static bool copies_disks(const struct judge *judge)
{
    return has_flag(judge, VIR_MIGRATE_NON_SHARED_DISK | VIR_MIGRATE_NON_SHARED_INC);
}

/* What the caller took upon himself with VIR_MIGRATE_UNSAFE is told, and no obstacle. */
static enum vq_migrate_severity unless_unsafe(const struct judge *judge)
{
    return has_flag(judge, VIR_MIGRATE_UNSAFE) ? VQ_MIGRATE_WARNING : VQ_MIGRATE_REFUSAL;
}

#define ADD(severity_, code_, device_, remedy_, ...)                                                                   \
    vq_migrate_problems_add(judge->problems,                                                                           \
                            &(struct vq_migrate_problem){.severity = (severity_), .code = (code_),                     \
                                                         .node = (char *)judge->on->here_name,                         \
                                                         .device = (char *)(device_), .remedy = (char *)(remedy_)},    \
                            __VA_ARGS__)
#define REFUSE(code_, device_, remedy_, ...) ADD(VQ_MIGRATE_REFUSAL, code_, device_, remedy_, __VA_ARGS__)

#define COPY_IT "copy it along (virtquorum migrate --copy-storage, virsh migrate --copy-storage-all)"

/* ---- Emulator, machine, CPU ---- */

static void judge_emulator(const struct judge *judge)
{
    const struct vq_domain *def = judge->on->def;
    const struct vq_qemu_capabilities *caps = judge->on->caps;
    unsigned major = caps == NULL ? 0 : (unsigned)(caps->version / 1000000);
    unsigned minor = caps == NULL ? 0 : (unsigned)(caps->version / 1000 % 1000);

    if (caps == NULL) {
        REFUSE(VIR_ERR_CONFIG_UNSUPPORTED, "emulator", "install the same emulator there, or change <emulator>", "%s",
               judge->on->caps_problem);
        return;
    }
    if (def->os.machine != NULL && vq_qemu_capabilities_machine(caps, def->os.machine) == NULL)
        REFUSE(VIR_ERR_CONFIG_UNSUPPORTED, "machine type",
               "install at least the QEMU that the guest was started with, or start it anew with an older machine type",
               "'%s' is not known to QEMU %u.%u of '%s'", def->os.machine, major, minor, caps->path);
    if (def->type == VQ_VIRT_KVM && caps->is_kvm_known && !caps->has_kvm)
        REFUSE(VIR_ERR_CONFIG_UNSUPPORTED, "KVM", "turn virtualization on in the firmware, and load the module kvm",
               "%s", caps->kvm_problem[0] != '\0' ? caps->kvm_problem : "it cannot be used");
}

static bool is_listed(const char *const *names, size_t n_names, const char *name)
{
    for (size_t i = 0; i < n_names; i++)
        if (strcmp(names[i], name) == 0)
            return true;
    return false;
}

static enum vq_cpu_policy policy_of(const struct vq_cpu *cpu, const char *feature)
{
    for (size_t i = 0; cpu != NULL && i < cpu->n_features; i++)
        if (cpu->features[i]->name != NULL && strcmp(vq_cpu_feature_for_qemu(cpu->features[i]->name), feature) == 0)
            return cpu->features[i]->policy;
    return VQ_CPU_POLICY_UNSET;
}

static bool is_wanted(enum vq_cpu_policy policy)
{
    return policy == VQ_CPU_POLICY_UNSET || policy == VQ_CPU_POLICY_FORCE || policy == VQ_CPU_POLICY_REQUIRE;
}

/* The lists of an emulator are those of TCG: what KVM gives depends on the CPU, and QEMU itself refuses there. */
size_t vq_migrate_cpu_lacks(const struct vq_domain *def, const struct vq_qemu_capabilities *caps, const char **names,
                            size_t names_max)
{
    const struct vq_cpu *cpu = def->cpu;
    const struct vq_qemu_cpu_model *model;
    size_t n = 0;

    if (cpu == NULL || def->type == VQ_VIRT_KVM)
        return 0;
    model = cpu->model == NULL ? NULL : vq_qemu_capabilities_cpu_model(caps, cpu->model);
    for (size_t i = 0; model != NULL && i < model->n_missing && n < names_max; i++)
        if (is_wanted(policy_of(cpu, model->missing[i])) && !is_listed(names, n, model->missing[i]))
            names[n++] = model->missing[i];
    for (size_t i = 0; caps->n_features > 0 && i < cpu->n_features && n < names_max; i++) {
        const struct vq_cpu_feature *feature = cpu->features[i];
        if (feature->policy != VQ_CPU_POLICY_UNSET && is_wanted(feature->policy) && feature->name != NULL &&
            !vq_qemu_capabilities_has_feature(caps, feature->name) && !is_listed(names, n, feature->name))
            names[n++] = feature->name;
    }
    return n;
}

/* "a, b, c and 4 more" */
static void join_names(const char *const *names, size_t n_names, char *text, size_t size)
{
    size_t length = 0;

    text[0] = '\0';
    for (size_t i = 0; i < n_names && i < LISTED_MAX && length < size; i++)
        length += (size_t)snprintf(text + length, size - length, "%s%s", i == 0 ? "" : ", ", names[i]);
    if (n_names > LISTED_MAX && length < size)
        (void)snprintf(text + length, size - length, " and %zu more", n_names - LISTED_MAX);
}

/* A guest whose CPU is "all that the host has": what the source gave it must be here, too. */
static size_t whole_cpu_lacks(const struct judge *judge, const char **names, size_t names_max)
{
    const struct vq_node_migrate_facts_ret *there = judge->on->there;
    size_t n = 0;

    for (uint32_t i = 0; there != NULL && judge->on->caps->n_features > 0 && i < there->n_cpu_has && n < names_max; i++)
        if (!vq_qemu_capabilities_has_feature(judge->on->caps, there->cpu_has[i]))
            names[n++] = there->cpu_has[i];
    return n;
}

static void judge_cpu(const struct judge *judge)
{
    const struct vq_cpu *cpu = judge->on->def->cpu;
    const struct vq_qemu_capabilities *caps = judge->on->caps;
    const struct vq_node_migrate_facts_ret *there = judge->on->there;
    const char *lacks[LACKS_MAX];
    char text[400];
    size_t n, n_new = 0;

    if (cpu == NULL || caps == NULL || judge->on->def->type == VQ_VIRT_KVM)
        return;
    if (cpu->mode >= VQ_CPU_MODE_HOST_MODEL) {
        n_new = whole_cpu_lacks(judge, lacks, LACKS_MAX);
    } else if (cpu->model != NULL && caps->n_cpu_models > 0 && vq_qemu_capabilities_cpu_model(caps, cpu->model) == NULL) {
        REFUSE(VIR_ERR_CPU_INCOMPATIBLE, "CPU", "choose a CPU model that both hosts have", "the model '%s' is not known to '%s'",
               cpu->model, caps->path);
        return;
    } else {
        /* What the source cannot give either, the guest does not have. */
        n = vq_migrate_cpu_lacks(judge->on->def, caps, lacks, LACKS_MAX);
        for (size_t i = 0; i < n; i++)
            if (there == NULL || !is_listed(there->cpu_lacks, there->n_cpu_lacks, lacks[i]))
                lacks[n_new++] = lacks[i];
    }
    if (n_new == 0)
        return;
    join_names(lacks, n_new, text, sizeof(text));
    ADD(there == NULL ? VQ_MIGRATE_WARNING : VQ_MIGRATE_REFUSAL, VIR_ERR_CPU_INCOMPATIBLE, "CPU",
        "choose a CPU model that both hosts have, or forbid these features, and start the guest anew", "cannot give %s",
        text);
}

static void judge_definition(const struct judge *judge)
{
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOPTR(vq_domain) def = NULL;

    if (judge->on->caps == NULL || vq_qemu_capabilities_machine(judge->on->caps, judge->on->def->os.machine) == NULL)
        return; /* said already */
    if (judge->on->def->cpu != NULL && judge->on->def->cpu->model != NULL && judge->on->caps->n_cpu_models > 0 &&
        vq_qemu_capabilities_cpu_model(judge->on->caps, judge->on->def->cpu->model) == NULL)
        return; /* said already */
    def = vq_domain_copy(judge->on->def);
    if (vq_qemu_definition_fill(def, judge->on->caps, judge->on->random, &err) < 0)
        REFUSE(err.code, "", "install the same QEMU there", "%s", err.message);
}

/* ---- Files ---- */

static const struct vq_node_migrate_file *file_there(const struct judge *judge, const struct vq_file_fact *here)
{
    const struct vq_node_migrate_facts_ret *there = judge->on->there;

    for (uint32_t i = 0; there != NULL && i < there->n_files; i++)
        if (strcmp(there->files[i].path, here->path) == 0)
            return &there->files[i];
    return NULL;
}

/* File systems that several hosts mount: the number of a file is the same on all of them. */
static const struct {
    uint64_t type;
    const char *name;
    bool is_shared;
} file_systems[] = {
    {NFS_SUPER_MAGIC, "NFS", true},      {0xff534d42, "CIFS", true},       {0xfe534d42, "SMB", true},
    {0x00c36400, "CephFS", true},        {0x65735546, "FUSE", true},       {0x01161970, "GFS2", true},
    {OCFS2_SUPER_MAGIC, "OCFS2", true},  {0x47504653, "GPFS", true},       {0x0bd00bd0, "Lustre", true},
    {0x786f4256, "vboxsf", true},        {V9FS_MAGIC, "9p", true},         {EXT4_SUPER_MAGIC, "ext4", false},
    {XFS_SUPER_MAGIC, "XFS", false},     {BTRFS_SUPER_MAGIC, "btrfs", false}, {TMPFS_MAGIC, "tmpfs", false},
    {OVERLAYFS_SUPER_MAGIC, "overlayfs", false},
};

static const char *file_system_name(uint64_t type)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(file_systems); i++)
        if (file_systems[i].type == type)
            return file_systems[i].name;
    return "another file system";
}

static bool is_shared_file_system(uint64_t type)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(file_systems); i++)
        if (file_systems[i].type == type)
            return file_systems[i].is_shared;
    return false;
}

enum sameness { SAME, DIFFERENT, UNPROVED };

/* Two names of one device? What the hardware says decides; without it the size can only speak against it. */
static enum sameness compare_devices(const struct vq_file_fact *here, const struct vq_node_migrate_file *there,
                                     char *why, size_t size)
{
    if (here->identity != NULL && there->identity != NULL) {
        (void)snprintf(why, size, "it is '%.80s' here and '%.80s' there", here->identity, there->identity);
        return strcmp(here->identity, there->identity) == 0 ? SAME : DIFFERENT;
    }
    (void)snprintf(why, size, "it has %" PRIu64 " bytes here and %" PRIu64 " there", here->size, there->size);
    return here->size != there->size ? DIFFERENT : UNPROVED;
}

/* The size there may be ahead of what a client of the file system's server has heard of; never the other way round. */
static enum sameness compare_files(const struct judge *judge, const struct vq_file_fact *here,
                                   const struct vq_node_migrate_file *there, char *why, size_t size)
{
    bool is_same_kernel = here->error == 0 && judge->on->here->boot_id[0] != '\0' &&
                          strcmp(judge->on->here->boot_id, judge->on->there->boot_id) == 0;

    if ((here->mode & S_IFMT) != (there->mode & S_IFMT)) {
        (void)snprintf(why, size, "it is of another kind there");
        return DIFFERENT;
    }
    if (is_same_kernel) {
        (void)snprintf(why, size, "it is another file there");
        return here->device_id == there->device_id && here->inode == there->inode ? SAME : DIFFERENT;
    }
    if (S_ISBLK(here->mode))
        return compare_devices(here, there, why, size);
    if (!is_shared_file_system(here->fs_type) || here->fs_type != there->fs_type) {
        (void)snprintf(why, size, "it is on %s here, and on %s there, each host's own", file_system_name(here->fs_type),
                       file_system_name(there->fs_type));
        return DIFFERENT;
    }
    (void)snprintf(why, size, "it is another file there (inode %" PRIu64 " here, %" PRIu64 " there)", here->inode,
                   there->inode);
    return here->inode == there->inode && here->size <= there->size ? SAME : DIFFERENT;
}

/* Is this disk among those that are sent along? As migrate_disks.c chooses. */
static bool is_copied(const struct judge *judge, const struct vq_disk *disk)
{
    const struct vq_migrate_options *options = judge->on->options;

    if (!copies_disks(judge))
        return false;
    for (size_t i = 0; i < options->n_disks; i++)
        if (vq_streq(options->disks[i], disk->target))
            return true;
    return options->n_disks == 0 && !disk->is_readonly && !disk->is_shareable && disk->device != VQ_DISK_DEVICE_CDROM &&
           disk->device != VQ_DISK_DEVICE_FLOPPY;
}

static uint64_t copied_bytes(const struct judge *judge, const struct vq_disk *disk, const struct vq_file_fact *here)
{
    const struct vq_migrate_cookie *cookie = judge->on->cookie;
    const struct vq_node_migrate_file *there = file_there(judge, here);

    for (size_t i = 0; cookie != NULL && i < cookie->n_disks; i++)
        if (vq_streq(cookie->disks[i].target, disk->target))
            return cookie->disks[i].capacity;
    return there == NULL ? 0 : there->size;
}

static void judge_copied(const struct judge *judge, const struct vq_file_fact *file, const struct vq_disk *disk)
{
    const struct vq_node_migrate_file *there = file_there(judge, file);
    uint64_t wanted = copied_bytes(judge, disk, file);
    char why[300];

    if (file->error == 0 && there != NULL && there->is_there &&
        compare_files(judge, file, there, why, sizeof(why)) == SAME)
        REFUSE(VIR_ERR_OPERATION_FAILED, file->device, "leave it out of --migrate-disks, or do not copy storage",
               "'%s' is the same file as at the source: it would be copied onto itself", file->path);
    else if (file->error == 0 && S_ISBLK(file->mode) && file->size < wanted)
        REFUSE(VIR_ERR_OPERATION_FAILED, file->device, "give it as much room as the source has",
               "'%s' has %" PRIu64 " bytes, and %" PRIu64 " are to be copied into it", file->path, file->size, wanted);
    else if (file->error != 0 && (file->error != ENOENT || !file->has_place))
        REFUSE(VIR_ERR_OPERATION_FAILED, file->device, "", "'%s': %s", file->path, strerror(file->error));
}

static void judge_disk(const struct judge *judge, const struct vq_file_fact *file)
{
    const struct vq_disk *disk = judge->on->def->devices.disks[file->disk];
    const struct vq_node_migrate_file *there = file_there(judge, file);
    char why[300];

    if (file->use == VQ_USE_DISK && is_copied(judge, disk)) {
        judge_copied(judge, file, disk);
        return;
    }
    if (file->use == VQ_USE_BACKING && is_copied(judge, disk) && has_flag(judge, VIR_MIGRATE_NON_SHARED_DISK))
        return; /* flattened on the way */
    if (file->error != 0) {
        REFUSE(VIR_ERR_OPERATION_FAILED, file->device, "make its storage available there, or " COPY_IT,
               "'%s' is missing: %s", file->path, strerror(file->error));
        return;
    }
    if (there == NULL || !there->is_there)
        return;
    switch (compare_files(judge, file, there, why, sizeof(why))) {
    case SAME:
        break;
    case DIFFERENT:
        /* What is only read may be a copy. */
        ADD(disk->is_readonly || file->use == VQ_USE_BACKING ? VQ_MIGRATE_WARNING : unless_unsafe(judge),
            VIR_ERR_MIGRATE_UNSAFE, file->device, "put it on storage that both hosts share, or " COPY_IT,
            "'%s' is not the file of %s: %s", file->path, judge->on->there_name, why);
        break;
    case UNPROVED:
        ADD(VQ_MIGRATE_WARNING, VIR_ERR_MIGRATE_UNSAFE, file->device, "make sure that it is the same device",
            "'%s' has the size of that of %s, and nothing else tells whether it is the same", file->path,
            judge->on->there_name);
        break;
    }
}

static void judge_medium(const struct judge *judge, const struct vq_file_fact *file)
{
    enum vq_startup_policy policy = judge->on->def->devices.disks[file->disk]->source.startup_policy;
    bool may_go = policy == VQ_STARTUP_OPTIONAL || policy == VQ_STARTUP_REQUISITE;

    if (file->error == 0)
        return;
    ADD(may_go ? VQ_MIGRATE_WARNING : VQ_MIGRATE_REFUSAL, VIR_ERR_OPERATION_FAILED, file->device,
        may_go ? "" : "copy the image there, or eject it (virsh change-media --eject)", "'%s' is missing: %s%s", file->path,
        strerror(file->error), may_go ? "; the drive will be empty" : "");
}

static void judge_plain_file(const struct judge *judge, const struct vq_file_fact *file)
{
    if (file->error == 0)
        return;
    if (file->use == VQ_USE_NVRAM && judge->on->def->os.nvram_template != NULL)
        return; /* made anew; its content comes with the guest */
    REFUSE(VIR_ERR_OPERATION_FAILED, file->device, "put the same file there", "'%s' is missing: %s", file->path,
           strerror(file->error));
}

static void judge_place(const struct judge *judge, const struct vq_file_fact *file)
{
    if (!file->has_place)
        REFUSE(VIR_ERR_OPERATION_FAILED, file->device, "make the directory", "the directory of '%s' is missing", file->path);
}

static void judge_files(const struct judge *judge)
{
    static void (*const judges[])(const struct judge *, const struct vq_file_fact *) = {
        [VQ_USE_DISK] = judge_disk,        [VQ_USE_BACKING] = judge_disk,     [VQ_USE_MEDIUM] = judge_medium,
        [VQ_USE_FIRMWARE] = judge_plain_file, [VQ_USE_NVRAM] = judge_plain_file, [VQ_USE_NODE] = judge_plain_file,
        [VQ_USE_SOCKET] = judge_plain_file, [VQ_USE_PLACE] = judge_place,
    };

    for (size_t i = 0; i < judge->on->here->n_files; i++)
        judges[judge->on->here->files[i].use](judge, &judge->on->here->files[i]);
}

/* ---- Room ---- */

/* Copies into one file system are added up. What lies there already under the name takes no new room. */
static void judge_space(const struct judge *judge)
{
    const struct vq_facts *here = judge->on->here;

    for (size_t i = 0; copies_disks(judge) && i < here->n_files; i++) {
        uint64_t wanted = 0;
        bool is_first = true;
        for (size_t k = 0; k < here->n_files; k++) {
            const struct vq_file_fact *file = &here->files[k];
            if (file->use != VQ_USE_DISK || file->place_id != here->files[i].place_id || S_ISBLK(file->mode) ||
                !is_copied(judge, judge->on->def->devices.disks[file->disk]))
                continue;
            uint64_t bytes = copied_bytes(judge, judge->on->def->devices.disks[file->disk], file);
            is_first = is_first && k >= i;
            wanted += bytes > file->allocated ? bytes - file->allocated : 0;
        }
        if (is_first && wanted > here->files[i].free_bytes)
            REFUSE(VIR_ERR_OPERATION_FAILED, here->files[i].device, "make room, or move the images elsewhere",
                   "%" PRIu64 " MiB are to be copied to '%s', and %" PRIu64 " MiB are free there", wanted >> 20,
                   here->files[i].path, here->files[i].free_bytes >> 20);
    }
}

static void judge_memory(const struct judge *judge)
{
    const struct vq_domain *def = judge->on->def;
    const struct vq_facts *here = judge->on->here;
    bool has_huge_pages = def->memory_backing != NULL && def->memory_backing->has_hugepages;

    if (here->huge_page_kib != 0 && here->huge_free_kib < def->memory_kib)
        REFUSE(VIR_ERR_OPERATION_FAILED, "memory", "set more huge pages aside",
               "the guest needs %" PRIu64 " MiB in pages of %" PRIu64 " KiB, and %" PRIu64 " MiB of them are free",
               def->memory_kib >> 10, here->huge_page_kib, here->huge_free_kib >> 10);
    if (!has_huge_pages && here->memory_kib != 0 && here->memory_kib < def->memory_kib)
        ADD(unless_unsafe(judge), VIR_ERR_OPERATION_FAILED, "memory", "make room on the host, or give the guest less",
            "the guest needs %" PRIu64 " MiB, and %" PRIu64 " MiB are free", def->memory_kib >> 10, here->memory_kib >> 10);
}

/* Pages that are missing are fetched when they are touched, by the kernel too. */
static void judge_postcopy(const struct judge *judge)
{
    if (has_flag(judge, VIR_MIGRATE_POSTCOPY) && judge->on->here->lacks_userfaultfd)
        REFUSE(VIR_ERR_OPERATION_UNSUPPORTED, "", "allow it (sysctl vm.unprivileged_userfaultfd=1), or migrate without post-copy",
               "post-copy needs userfaultfd, which the kernel does not give QEMU here");
}

/* Data between nodes are always encrypted, which copies them. */
static void judge_zero_copy(const struct judge *judge)
{
    if (has_flag(judge, VIR_MIGRATE_ZEROCOPY) && judge->on->there != NULL)
        REFUSE(VIR_ERR_OPERATION_UNSUPPORTED, "", "migrate without --zerocopy",
               "zero-copy cannot be combined with encryption, and data between nodes are always encrypted");
}

static void judge_pins(const struct judge *judge)
{
    const struct vq_cputune *tune = judge->on->def->cputune;
    uint32_t cpus = judge->on->here->cpus;
    struct vq_cpuset set;

    for (size_t i = 0; tune != NULL && cpus != 0 && i < tune->n_vcpu_pins; i++) {
        const struct vq_vcpu_pin *pin = tune->vcpu_pins[i];
        if (pin->cpuset == NULL || !vq_cpuset_parse(pin->cpuset, VQ_CPUSET_BITS, &set))
            continue;
        if (vq_cpuset_next(&set, 0) >= (int32_t)cpus)
            REFUSE(VIR_ERR_OPERATION_FAILED, "vCPU pinning", "pin it to CPUs that both hosts have (virsh vcpupin)",
                   "vCPU %u is pinned to %s, and the host has CPUs 0-%u", pin->vcpu, pin->cpuset, cpus - 1);
    }
}

/* ---- Network ---- */

static void judge_links(const struct judge *judge)
{
    for (size_t i = 0; i < judge->on->here->n_links; i++) {
        const struct vq_link_fact *link = &judge->on->here->links[i];
        const char *kind = link->must_be_bridge ? "bridge" : "link";
        if (!link->is_there)
            REFUSE(VIR_ERR_OPERATION_FAILED, link->device, "make it there under the same name", "the %s '%s' is missing",
                   kind, link->name);
        else if (link->must_be_bridge && !link->is_bridge)
            REFUSE(VIR_ERR_OPERATION_FAILED, link->device, "make a bridge of that name there", "'%s' is no bridge",
                   link->name);
        else if (!link->is_up)
            REFUSE(VIR_ERR_OPERATION_FAILED, link->device, "bring it up (ip link set dev NAME up)", "the %s '%s' is down",
                   kind, link->name);
    }
}

static void judge_networks(const struct judge *judge)
{
    const struct vq_devices *devices = &judge->on->def->devices;
    char device[64];

    for (size_t i = 0; i < devices->n_interfaces; i++) {
        const struct vq_interface *interface = devices->interfaces[i];
        const uint8_t *mac = interface->mac;
        if (interface->type != VQ_INTERFACE_NETWORK || interface->bridge != NULL)
            continue;
        (void)snprintf(device, sizeof(device), "interface %02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3],
                       mac[4], mac[5]);
        REFUSE(VIR_ERR_NO_NETWORK, device, "define and start it there", "the network '%s' is not there",
               interface->network != NULL ? interface->network : "");
    }
}

static void judge_ports(const struct judge *judge)
{
    for (size_t i = 0; i < judge->on->here->n_ports; i++) {
        const struct vq_port_fact *port = &judge->on->here->ports[i];
        if (port->error == EADDRINUSE)
            REFUSE(VIR_ERR_OPERATION_FAILED, port->device, "let the port be chosen (autoport='yes')",
                   "port %u of %s is taken", port->port, port->address);
        else if (port->error != 0)
            REFUSE(VIR_ERR_OPERATION_FAILED, port->device, "listen on an address that all hosts have, as 0.0.0.0",
                   "%s port %u: %s", port->address, port->port, strerror(port->error));
    }
}

/* ---- What stays where it is ---- */

static const char *hostdev_text(const struct vq_hostdev *hostdev, char *text, size_t size)
{
    const struct vq_pci_address *pci = &hostdev->pci;

    if (hostdev->type == VQ_HOSTDEV_PCI)
        (void)snprintf(text, size, "PCI device %04x:%02x:%02x.%x", pci->domain, pci->bus, pci->slot, pci->function);
    else if (hostdev->type == VQ_HOSTDEV_USB && hostdev->has_usb_address)
        (void)snprintf(text, size, "USB device %u-%u", hostdev->usb_bus, hostdev->usb_device);
    else if (hostdev->type == VQ_HOSTDEV_USB)
        (void)snprintf(text, size, "USB device %04x:%04x", hostdev->vendor, hostdev->product);
    else
        (void)snprintf(text, size, "host device");
    return text;
}

/* These are of the source; nothing that could be done here would help. */
#define STAYS(device_, remedy_, ...) STAYS_WITH(VQ_MIGRATE_REFUSAL, device_, remedy_, __VA_ARGS__)
#define STAYS_WITH(severity_, device_, remedy_, ...)                                                                   \
    vq_migrate_problems_add(judge->problems,                                                                           \
                            &(struct vq_migrate_problem){.severity = (severity_),                                      \
                                                         .code = VIR_ERR_OPERATION_INVALID,                            \
                                                         .node = (char *)judge->on->there_name,                        \
                                                         .device = (char *)(device_), .remedy = (char *)(remedy_)},    \
                            __VA_ARGS__)

static void judge_bound(const struct judge *judge)
{
    const struct vq_devices *devices = &judge->on->def->devices;
    char text[64];

    for (size_t i = 0; i < devices->n_hostdevs; i++)
        if (!vq_streq(devices->hostdevs[i]->mode, "capabilities"))
            STAYS_WITH(devices->hostdevs[i]->type == VQ_HOSTDEV_USB ? unless_unsafe(judge) : VQ_MIGRATE_REFUSAL,
                       hostdev_text(devices->hostdevs[i], text, sizeof(text)),
                       "detach it first (virsh detach-device), or stop the guest", "it is plugged into this host");
    for (size_t i = 0; i < devices->n_interfaces; i++)
        if (devices->interfaces[i]->type == VQ_INTERFACE_HOSTDEV)
            STAYS("interface", "detach it first (virsh detach-interface)", "it is a device of this host");
    for (size_t i = 0; i < devices->n_filesystems; i++)
        STAYS("file system", "unmount and detach it first", "'%s' is a directory of this host",
              devices->filesystems[i]->source_dir != NULL ? devices->filesystems[i]->source_dir : devices->filesystems[i]->target);
    for (size_t i = 0; i < devices->n_tpms; i++)
        if (devices->tpms[i]->backend == VQ_TPM_PASSTHROUGH)
            STAYS("TPM", "give the guest an emulated one", "it is that of this host");
    for (size_t i = 0; i < devices->n_shmems; i++)
        if (!vq_streq(devices->shmems[i]->role, "master"))
            STAYS("shared memory", "detach it first, or give it the role 'master'", "'%s' is shared with others of this host",
                  devices->shmems[i]->name);
}

void vq_migrate_judge(const struct vq_migrate_case *judged, struct vq_migrate_problems *problems)
{
    static void (*const judges[])(const struct judge *) = {
        judge_emulator, judge_cpu,   judge_definition, judge_files,    judge_space, judge_memory,
        judge_pins,     judge_links, judge_networks,   judge_ports,    judge_bound,
        judge_postcopy, judge_zero_copy,
    };
    const struct judge judge = {judged, problems};

    for (size_t i = 0; i < VQ_N_ELEMENTS(judges); i++)
        judges[i](&judge);
}
