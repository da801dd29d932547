/* The host as its own kernel describes it. */
#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/host_capabilities.h"

#include <dirent.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/driver.h"

enum { FILE_MAX = 64 * 1024, CPUS_MAX = 8192, NODES_MAX = 1024, PAGES_MAX = 16 };

/* ---- Small files of the kernel ---- */

static char *read_file(const char *root, const char *fmt, ...) VQ_PRINTF(2, 3);

/* The first FILE_MAX bytes without the last line break; NULL: there is no such file. */
static char *read_file(const char *root, const char *fmt, ...)
{
    char path[512];
    va_list args;
    int used = snprintf(path, sizeof(path), "%s", root);

    va_start(args, fmt);
    (void)vsnprintf(path + used, sizeof(path) - (size_t)used, fmt, args);
    va_end(args);
    VQ_AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return NULL;
    char *text = vq_calloc(FILE_MAX + 1, 1);
    size_t length = 0;
    ssize_t n;

    while (length < FILE_MAX && (n = read(fd, text + length, FILE_MAX - length)) > 0)
        length += (size_t)n;
    while (length > 0 && (text[length - 1] == '\n' || text[length - 1] == '\0'))
        text[--length] = '\0';
    return text;
}

static uint64_t read_number(const char *root, const char *dir, unsigned index, const char *name, uint64_t otherwise)
{
    VQ_AUTOFREE char *text = read_file(root, "%s%u/%s", dir, index, name);
    uint64_t value = otherwise;

    if (text == NULL || !vq_parse_u64(text, 10, UINT32_MAX, &value))
        return otherwise;
    return value;
}

/* "0-3,8": calls back for each number. */
static void each_of_list(const char *list, unsigned max, void (*cb)(unsigned number, void *data), void *data)
{
    const char *c = list == NULL ? "" : list;

    while (*c >= '0' && *c <= '9') {
        char *end;
        unsigned long first = strtoul(c, &end, 10), last = first;

        if (*end == '-')
            last = strtoul(end + 1, &end, 10);
        for (unsigned long i = first; i <= last && i < max; i++)
            cb((unsigned)i, data);
        c = *end == ',' ? end + 1 : end;
    }
}

/* ---- CPU ---- */

struct host_cpu {
    char vendor[32], flags[8192], microcode[32];
    char family[16], model[16], stepping[16];
    uint32_t address_bits;
};

static void read_cpuinfo_line(struct host_cpu *cpu, char *line)
{
    const struct {
        const char *key;
        char *place;
        size_t size;
    } keys[] = {{"vendor_id", cpu->vendor, sizeof(cpu->vendor)}, {"flags", cpu->flags, sizeof(cpu->flags)},
                {"microcode", cpu->microcode, sizeof(cpu->microcode)}, {"cpu family", cpu->family, sizeof(cpu->family)},
                {"model", cpu->model, sizeof(cpu->model)}, {"stepping", cpu->stepping, sizeof(cpu->stepping)}};
    char *colon = strchr(line, ':');

    if (colon == NULL)
        return;
    char *end = colon;
    while (end > line && (end[-1] == ' ' || end[-1] == '\t'))
        end--;
    *end = '\0';
    const char *value = colon + 1 + strspn(colon + 1, " ");
    for (size_t i = 0; i < VQ_N_ELEMENTS(keys); i++)
        if (strcmp(line, keys[i].key) == 0 && keys[i].place[0] == '\0')
            (void)snprintf(keys[i].place, keys[i].size, "%s", value);
    if (strcmp(line, "address sizes") == 0 && cpu->address_bits == 0)
        cpu->address_bits = (uint32_t)strtoul(value, NULL, 10);
}

/* The first processor: the others of a host are the same. */
static void read_cpu(const char *root, struct host_cpu *cpu)
{
    VQ_AUTOFREE char *text = read_file(root, "/proc/cpuinfo");
    char *rest = NULL;

    *cpu = (struct host_cpu){0};
    if (text == NULL)
        return;
    char *second = strstr(text, "\n\n");
    if (second != NULL)
        *second = '\0';
    for (char *line = strtok_r(text, "\n", &rest); line != NULL; line = strtok_r(NULL, "\n", &rest))
        read_cpuinfo_line(cpu, line);
}

static bool has_flag(const struct host_cpu *cpu, const char *flag)
{
    size_t length = strlen(flag);

    for (const char *at = strstr(cpu->flags, flag); at != NULL; at = strstr(at + 1, flag))
        if ((at == cpu->flags || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0'))
            return true;
    return false;
}

/* The kernel's names of what the CPU can do beyond the model named below, and those that clients know. */
static const struct cpu_flag {
    const char *kernel, *name; /* NULL: the same */
} cpu_flags[] = {
    {"vme", NULL}, {"ss", NULL}, {"ht", NULL}, {"pclmulqdq", "pclmuldq"}, {"monitor", NULL}, {"vmx", NULL},
    {"ssse3", NULL}, {"fma", NULL}, {"pcid", NULL}, {"sse4_1", "sse4.1"}, {"sse4_2", "sse4.2"}, {"x2apic", NULL},
    {"movbe", NULL}, {"popcnt", NULL}, {"tsc_deadline_timer", "tsc-deadline"}, {"aes", NULL}, {"xsave", NULL},
    {"avx", NULL}, {"f16c", NULL}, {"rdrand", NULL}, {"hypervisor", NULL}, {"arat", NULL}, {"fsgsbase", NULL},
    {"tsc_adjust", NULL}, {"bmi1", NULL}, {"hle", NULL}, {"avx2", NULL}, {"smep", NULL}, {"bmi2", NULL}, {"erms", NULL},
    {"invpcid", NULL}, {"rtm", NULL}, {"rdseed", NULL}, {"adx", NULL}, {"smap", NULL}, {"clflushopt", NULL},
    {"clwb", NULL}, {"avx512f", NULL}, {"avx512dq", NULL}, {"avx512cd", NULL}, {"avx512bw", NULL}, {"avx512vl", NULL},
    {"avx512ifma", NULL}, {"avx512vbmi", NULL}, {"avx512_vnni", "avx512vnni"}, {"sha_ni", "sha-ni"}, {"umip", NULL},
    {"pku", NULL}, {"ospke", NULL}, {"gfni", NULL}, {"vaes", NULL}, {"vpclmulqdq", NULL}, {"la57", NULL}, {"rdpid", NULL},
    {"fsrm", NULL}, {"md_clear", "md-clear"}, {"stibp", NULL}, {"ssbd", NULL}, {"arch_capabilities", "arch-capabilities"},
    {"xsaveopt", NULL}, {"xsavec", NULL}, {"xgetbv1", NULL}, {"xsaves", NULL}, {"mmxext", NULL}, {"fxsr_opt", NULL},
    {"pdpe1gb", NULL}, {"rdtscp", NULL}, {"lahf_lm", NULL}, {"cmp_legacy", NULL}, {"svm", NULL}, {"cr8_legacy", "cr8legacy"},
    {"abm", NULL}, {"sse4a", NULL}, {"misalignsse", NULL}, {"3dnowprefetch", NULL}, {"osvw", NULL}, {"ibs", NULL},
    {"xop", NULL}, {"fma4", NULL}, {"tbm", NULL}, {"topoext", NULL}, {"clzero", NULL}, {"xsaveerptr", NULL},
    {"wbnoinvd", NULL}, {"ibpb", NULL}, {"ibrs", NULL}, {"npt", NULL}, {"nrip_save", "nrip-save"},
    {"nonstop_tsc", "invtsc"},
};

static const char *host_arch(void)
{
    static struct utsname name;

    if (name.machine[0] == '\0' && uname(&name) < 0)
        return "x86_64";
    return strcmp(name.machine, "i386") == 0 || strcmp(name.machine, "i586") == 0 ? "i686" : name.machine;
}

static const char *vendor_name(const struct host_cpu *cpu)
{
    return strcmp(cpu->vendor, "GenuineIntel") == 0   ? "Intel"
           : strcmp(cpu->vendor, "AuthenticAMD") == 0 ? "AMD"
           : strcmp(cpu->vendor, "HygonGenuine") == 0 ? "Hygon"
                                                      : NULL;
}

/* ---- Topology ---- */

struct topology {
    const char *root;
    struct vq_buffer *text;
    uint32_t n_cpus;
    uint32_t sockets, dies, cores, threads;
};

static void count_one(unsigned number VQ_UNUSED, void *data)
{
    (*(uint32_t *)data)++;
}

static uint32_t count_list(const char *list)
{
    uint32_t n = 0;

    each_of_list(list, CPUS_MAX, count_one, &n);
    return n;
}

static void look_at_cpu(unsigned number, void *data)
{
    struct topology *topology = data;
    uint64_t socket = read_number(topology->root, "/sys/devices/system/cpu/cpu", number, "topology/physical_package_id", 0);
    uint64_t die = read_number(topology->root, "/sys/devices/system/cpu/cpu", number, "topology/die_id", 0);
    VQ_AUTOFREE char *siblings =
        read_file(topology->root, "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list", number);
    uint32_t threads = count_list(siblings);

    topology->n_cpus++;
    if (socket < CPUS_MAX && socket + 1 > topology->sockets)
        topology->sockets = (uint32_t)socket + 1;
    if (die < CPUS_MAX && die + 1 > topology->dies)
        topology->dies = (uint32_t)die + 1;
    if (threads > topology->threads)
        topology->threads = threads;
}

/* Where the numbers do not multiply up (a socket half offline), one socket with all of them is told. */
static struct topology read_topology(const char *root)
{
    struct topology topology = {.root = root, .sockets = 1, .dies = 1, .threads = 1};
    VQ_AUTOFREE char *online = read_file(root, "/sys/devices/system/cpu/online");

    each_of_list(online, CPUS_MAX, look_at_cpu, &topology);
    if (topology.n_cpus == 0)
        topology.n_cpus = 1;
    uint32_t groups = topology.sockets * topology.dies * topology.threads;
    topology.cores = topology.n_cpus / (groups == 0 ? 1 : groups);
    if (topology.cores == 0 || topology.cores * groups != topology.n_cpus) {
        topology.sockets = topology.dies = topology.threads = 1;
        topology.cores = topology.n_cpus;
    }
    return topology;
}

static size_t page_sizes(const char *root, uint64_t sizes[PAGES_MAX])
{
    VQ_AUTOFREE char *path = vq_asprintf("%s/sys/kernel/mm/hugepages", root);
    DIR *dir = opendir(path);
    const struct dirent *entry;
    size_t n = 0;

    sizes[n++] = (uint64_t)sysconf(_SC_PAGESIZE) / 1024;
    while (dir != NULL && n < PAGES_MAX && (entry = readdir(dir)) != NULL) {
        unsigned long long kib;
        size_t at = n;
        if (sscanf(entry->d_name, "hugepages-%llukB", &kib) != 1)
            continue;
        while (at > 1 && sizes[at - 1] > kib) {
            sizes[at] = sizes[at - 1];
            at--;
        }
        sizes[at] = kib;
        n++;
    }
    if (dir != NULL)
        (void)closedir(dir);
    return n;
}

static void add_cpu(const char *root, struct vq_buffer *text)
{
    struct host_cpu cpu;
    struct topology topology = read_topology(root);
    uint64_t sizes[PAGES_MAX];
    size_t n_sizes = page_sizes(root, sizes);
    const char *arch = host_arch();
    bool is_x86 = strcmp(arch, "x86_64") == 0 || strcmp(arch, "i686") == 0;

    read_cpu(root, &cpu);
    vq_buffer_line(text, "<cpu>");
    text->indent++;
    vq_buffer_line(text, "<arch>%s</arch>", arch);
    if (is_x86) /* a model that every 64-bit CPU has, and by name what this one has beyond it */
        vq_buffer_line(text, "<model>kvm64</model>");
    if (vendor_name(&cpu) != NULL)
        vq_buffer_line(text, "<vendor>%s</vendor>", vendor_name(&cpu));
    if (cpu.microcode[0] != '\0')
        vq_buffer_line(text, "<microcode version='%lu'/>", strtoul(cpu.microcode, NULL, 0));
    if (cpu.family[0] != '\0')
        vq_buffer_line(text, "<signature family='%lu' model='%lu' stepping='%lu'/>", strtoul(cpu.family, NULL, 10),
                       strtoul(cpu.model, NULL, 10), strtoul(cpu.stepping, NULL, 10));
    vq_buffer_line(text, "<topology sockets='%u' dies='%u' cores='%u' threads='%u'/>", topology.sockets, topology.dies,
                   topology.cores, topology.threads);
    if (cpu.address_bits != 0)
        vq_buffer_line(text, "<maxphysaddr mode='emulate' bits='%u'/>", cpu.address_bits);
    for (size_t i = 0; i < VQ_N_ELEMENTS(cpu_flags); i++)
        if (has_flag(&cpu, cpu_flags[i].kernel))
            vq_buffer_line(text, "<feature name='%s'/>", cpu_flags[i].name == NULL ? cpu_flags[i].kernel : cpu_flags[i].name);
    for (size_t i = 0; i < n_sizes; i++)
        vq_buffer_line(text, "<pages unit='KiB' size='%llu'/>", (unsigned long long)sizes[i]);
    text->indent--;
    vq_buffer_line(text, "</cpu>");
}

static void add_topology_cpu(unsigned number, void *data)
{
    struct topology *topology = data;
    const char *dir = "/sys/devices/system/cpu/cpu";
    VQ_AUTOFREE char *siblings =
        read_file(topology->root, "/sys/devices/system/cpu/cpu%u/topology/thread_siblings_list", number);

    vq_buffer_line(topology->text, "<cpu id='%u' socket_id='%llu' die_id='%llu' core_id='%llu' siblings='%s'/>", number,
                   (unsigned long long)read_number(topology->root, dir, number, "topology/physical_package_id", 0),
                   (unsigned long long)read_number(topology->root, dir, number, "topology/die_id", 0),
                   (unsigned long long)read_number(topology->root, dir, number, "topology/core_id", 0),
                   siblings != NULL && strspn(siblings, "0123456789,-") == strlen(siblings) ? siblings : "");
}

static uint64_t memory_of(const char *text)
{
    const char *total = text == NULL ? NULL : strstr(text, "MemTotal:");

    return total == NULL ? 0 : strtoull(total + strlen("MemTotal:"), NULL, 10);
}

static void add_distances(struct topology *topology, unsigned node)
{
    VQ_AUTOFREE char *list = read_file(topology->root, "/sys/devices/system/node/node%u/distance", node);
    char *rest = NULL;
    unsigned id = 0;

    if (list == NULL)
        return;
    vq_buffer_line(topology->text, "<distances>");
    topology->text->indent++;
    for (const char *word = strtok_r(list, " ", &rest); word != NULL; word = strtok_r(NULL, " ", &rest), id++)
        vq_buffer_line(topology->text, "<sibling id='%u' value='%lu'/>", id, strtoul(word, NULL, 10));
    topology->text->indent--;
    vq_buffer_line(topology->text, "</distances>");
}

static void add_cell(unsigned node, void *data)
{
    struct topology *topology = data;
    struct vq_buffer *text = topology->text;
    VQ_AUTOFREE char *memory = read_file(topology->root, "/sys/devices/system/node/node%u/meminfo", node);
    VQ_AUTOFREE char *cpus = read_file(topology->root, "/sys/devices/system/node/node%u/cpulist", node);
    VQ_AUTOFREE char *all_memory = read_file(topology->root, "/proc/meminfo");
    VQ_AUTOFREE char *online = read_file(topology->root, "/sys/devices/system/cpu/online");
    const char *list = cpus != NULL ? cpus : online;

    vq_buffer_line(text, "<cell id='%u'>", node);
    text->indent++;
    vq_buffer_line(text, "<memory unit='KiB'>%llu</memory>",
                   (unsigned long long)memory_of(memory != NULL ? memory : all_memory));
    add_distances(topology, node);
    vq_buffer_line(text, "<cpus num='%u'>", count_list(list));
    text->indent++;
    each_of_list(list, CPUS_MAX, add_topology_cpu, topology);
    text->indent--;
    vq_buffer_line(text, "</cpus>");
    text->indent--;
    vq_buffer_line(text, "</cell>");
}

static void add_topology(const char *root, struct vq_buffer *text)
{
    struct topology topology = {.root = root, .text = text};
    VQ_AUTOFREE char *nodes = read_file(root, "/sys/devices/system/node/online");
    const char *list = nodes == NULL ? "0" : nodes; /* a kernel without NUMA: everything is one cell */

    vq_buffer_line(text, "<topology>");
    text->indent++;
    vq_buffer_line(text, "<cells num='%u'>", count_list(list));
    text->indent++;
    each_of_list(list, NODES_MAX, add_cell, &topology);
    text->indent--;
    vq_buffer_line(text, "</cells>");
    text->indent--;
    vq_buffer_line(text, "</topology>");
}

/* ---- The rest of the host ---- */

static void add_power(const char *root, struct vq_buffer *text)
{
    VQ_AUTOFREE char *states = read_file(root, "/sys/power/state");
    bool mem = states != NULL && strstr(states, "mem") != NULL, disk = states != NULL && strstr(states, "disk") != NULL;

    if (!mem && !disk) {
        vq_buffer_line(text, "<power_management/>");
        return;
    }
    vq_buffer_line(text, "<power_management>");
    if (mem)
        vq_buffer_line(text, "  <suspend_mem/>");
    if (disk)
        vq_buffer_line(text, "  <suspend_disk/>");
    vq_buffer_line(text, "</power_management>");
}

static void add_security(const struct vq_qemu_settings *settings, struct vq_buffer *text)
{
    unsigned uid = settings != NULL && settings->has_user ? settings->uid : getuid();
    unsigned gid = settings != NULL && settings->has_user ? settings->gid : getgid();
    static const char *const types[] = {"kvm", "qemu"};

    vq_buffer_line(text, "<secmodel>");
    vq_buffer_line(text, "  <model>none</model>");
    vq_buffer_line(text, "  <doi>0</doi>");
    vq_buffer_line(text, "</secmodel>");
    vq_buffer_line(text, "<secmodel>");
    vq_buffer_line(text, "  <model>dac</model>");
    vq_buffer_line(text, "  <doi>0</doi>");
    for (size_t i = 0; i < VQ_N_ELEMENTS(types); i++)
        vq_buffer_line(text, "  <baselabel type='%s'>+%u:+%u</baselabel>", types[i], uid, gid);
    vq_buffer_line(text, "</secmodel>");
}

/* ---- Who it is ---- */

static const struct {
    const char *name, *path;
} uuid_sources[] = { { "smbios", "/sys/class/dmi/id/product_uuid" }, { "machine-id", "/etc/machine-id" } };

/* From one of the sources, or from the first that has one. */
static bool read_uuid(const char *root, const char *source, uint8_t uuid[VQ_UUID_BYTES])
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(uuid_sources); i++) {
        VQ_AUTOFREE char *value = NULL;

        if (source != NULL && strcmp(source, uuid_sources[i].name) != 0)
            continue;
        value = read_file(root, "%s", uuid_sources[i].path);
        if (value != NULL && vq_uuid_parse(value, uuid) && vq_uuid_is_usable(uuid))
            return true;
    }
    return false;
}

/* The cluster's number with the node's in its last eight bytes. */
static bool node_uuid(const struct vq_driver_host *host, uint8_t uuid[VQ_UUID_BYTES])
{
    static const uint8_t no_cluster[VQ_UUID_BYTES];

    if (host->cluster_id == NULL || memcmp(host->cluster_id, no_cluster, sizeof(no_cluster)) == 0)
        return false;
    memcpy(uuid, host->cluster_id, VQ_UUID_BYTES);
    for (unsigned i = 0; i < 8; i++)
        uuid[VQ_UUID_BYTES - 1 - i] ^= (uint8_t)(host->node_id >> (8 * i));
    return true;
}

/* Nothing on this host says who it is: its name does, at least always the same. FNV-1a, twice. */
static void name_uuid(const char *name, uint8_t uuid[VQ_UUID_BYTES])
{
    for (size_t half = 0; half < 2; half++) {
        uint64_t hash = 14695981039346656037ULL + half;

        for (const char *at = name; *at != '\0'; at++)
            hash = (hash ^ (uint8_t)*at) * 1099511628211ULL;
        memcpy(uuid + 8 * half, &hash, 8);
    }
}

void vq_qemu_host_identity(const char *root, const struct vq_driver_host *host, uint8_t ret_uuid[16])
{
    if (host->host_uuid != NULL && vq_uuid_parse(host->host_uuid, ret_uuid))
        return;
    if (host->host_uuid_source != NULL && read_uuid(root, host->host_uuid_source, ret_uuid))
        return;
    if (!node_uuid(host, ret_uuid) && !read_uuid(root, NULL, ret_uuid))
        name_uuid(host->node_name, ret_uuid);
}

void vq_qemu_host_uuid(const struct vq_qemu *qemu, uint8_t ret_uuid[16])
{
    vq_qemu_host_identity("", qemu->host, ret_uuid);
}

char *vq_qemu_host_read(const char *root, const struct vq_qemu_settings *settings, const uint8_t uuid[16])
{
    char uuid_text[VQ_UUID_TEXT];
    struct vq_buffer text = VQ_BUFFER_INIT;

    text.indent = 1;
    vq_buffer_line(&text, "<host>");
    text.indent = 2;
    vq_uuid_format(uuid, uuid_text);
    vq_buffer_line(&text, "<uuid>%s</uuid>", uuid_text);
    add_cpu(root, &text);
    add_power(root, &text);
    vq_buffer_line(&text, "<iommu support='no'/>");
    add_topology(root, &text);
    add_security(settings, &text);
    text.indent = 1;
    vq_buffer_line(&text, "</host>");
    return vq_buffer_steal(&text);
}

char *vq_qemu_host_cpu_format(const char *root)
{
    struct vq_buffer text = VQ_BUFFER_INIT;

    add_cpu(root, &text);
    return vq_buffer_steal(&text);
}

/* ---- What the emulators run ---- */

static void add_machines(struct vq_buffer *text, const struct vq_qemu_capabilities *caps)
{
    for (size_t i = 0; i < caps->n_machines; i++) {
        const struct vq_qemu_machine *machine = &caps->machines[i];
        const char *deprecated = machine->is_deprecated ? " deprecated='yes'" : "";

        if (machine->alias != NULL)
            vq_buffer_line(text, "<machine canonical='%s' maxCpus='%u'%s>%s</machine>", machine->name, machine->cpus_max,
                           deprecated, machine->alias);
        vq_buffer_line(text, "<machine maxCpus='%u'%s>%s</machine>", machine->cpus_max, deprecated, machine->name);
    }
}

/* An element with a text that a user chose. */
static void add_escaped(struct vq_buffer *text, const char *element, const char *value)
{
    VQ_AUTOBUFFER escaped = VQ_BUFFER_INIT;

    vq_buffer_add_escaped(&escaped, value);
    vq_buffer_line(text, "<%s>%s</%s>", element, escaped.data == NULL ? "" : escaped.data, element);
}

static void add_guest(struct vq_buffer *text, const struct vq_qemu_capabilities *caps, const char *arch, int bits)
{
    bool is_x86 = strcmp(arch, "x86_64") == 0 || strcmp(arch, "i686") == 0;

    vq_buffer_line(text, "<guest>");
    text->indent++;
    vq_buffer_line(text, "<os_type>hvm</os_type>");
    vq_buffer_line(text, "<arch name='%s'>", arch);
    text->indent++;
    vq_buffer_line(text, "<wordsize>%d</wordsize>", bits);
    add_escaped(text, "emulator", caps->path);
    add_machines(text, caps);
    vq_buffer_line(text, "<domain type='qemu'/>");
    if (caps->has_kvm)
        vq_buffer_line(text, "<domain type='kvm'/>");
    text->indent--;
    vq_buffer_line(text, "</arch>");
    vq_buffer_line(text, "<features>");
    if (is_x86)
        vq_buffer_line(text, "  <acpi default='on' toggle='yes'/>");
    if (is_x86)
        vq_buffer_line(text, "  <apic default='on' toggle='no'/>");
    if (strcmp(arch, "i686") == 0)
        vq_buffer_line(text, "  <pae/>");
    vq_buffer_line(text, "  <cpuselection/>");
    vq_buffer_line(text, "  <deviceboot/>");
    vq_buffer_line(text, "</features>");
    text->indent--;
    vq_buffer_line(text, "</guest>");
}

char *vq_qemu_host_capabilities_format(const char *host, const struct vq_qemu_capabilities *const *emulators,
                                       size_t n_emulators)
{
    struct vq_buffer text = VQ_BUFFER_INIT;

    vq_buffer_add(&text, "<capabilities>\n");
    vq_buffer_add(&text, host);
    text.indent = 1;
    for (size_t i = 0; i < n_emulators; i++) {
        const char *arch = emulators[i]->arch;
        bool is_64 = strstr(arch, "64") != NULL || strcmp(arch, "s390x") == 0;

        if (strcmp(arch, "x86_64") == 0)
            add_guest(&text, emulators[i], "i686", 32);
        add_guest(&text, emulators[i], arch, is_64 ? 64 : 32);
    }
    vq_buffer_add(&text, "</capabilities>\n");
    return vq_buffer_steal(&text);
}
