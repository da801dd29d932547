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
#include "drivers/qemu/cpu_host.h"
#include "drivers/qemu/driver.h"

enum { FILE_MAX = 64 * 1024, CPUS_MAX = 8192, NODES_MAX = 1024, PAGES_MAX = 16, CACHES_MAX = 512 };

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

/* What CPUID does not tell, of the first processor: the others of a host are the same. */
struct cpu_notes {
    uint64_t microcode;
    uint32_t address_bits;
};

static struct cpu_notes read_notes(const char *root)
{
    VQ_AUTOFREE char *text = read_file(root, "/proc/cpuinfo");
    const char *microcode = text == NULL ? NULL : strstr(text, "\nmicrocode"), *sizes = text == NULL ? NULL : strstr(text, "\naddress sizes");
    const char *value = microcode == NULL ? NULL : strchr(microcode, ':');
    struct cpu_notes notes = {0};

    if (value != NULL)
        notes.microcode = strtoull(value + 1, NULL, 0);
    value = sizes == NULL ? NULL : strchr(sizes, ':');
    if (value != NULL)
        notes.address_bits = (uint32_t)strtoul(value + 1, NULL, 10);
    return notes;
}

static const char *host_arch(void)
{
    static struct utsname name;

    if (name.machine[0] == '\0' && uname(&name) < 0)
        return "x86_64";
    return strcmp(name.machine, "i386") == 0 || strcmp(name.machine, "i586") == 0 ? "i686" : name.machine;
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

static void add_model(const struct vq_cpu_facts *cpu, const struct cpu_notes *notes, const struct vq_host_clock *clock,
                      struct vq_buffer *text, struct vq_cpu_choice *ret_choice)
{
    bool is_chosen = vq_cpu_choose(cpu, true, NULL, NULL, ret_choice);

    if (is_chosen)
        vq_buffer_line(text, "<model>%s</model>", ret_choice->model->name);
    else
        memset(ret_choice, 0, sizeof(*ret_choice));
    if (cpu->vendor[0] != '\0')
        vq_buffer_line(text, "<vendor>%s</vendor>", cpu->vendor);
    if (notes->microcode != 0)
        vq_buffer_line(text, "<microcode version='%llu'/>", (unsigned long long)notes->microcode);
    if (cpu->family != 0)
        vq_buffer_line(text, "<signature family='%u' model='%u' stepping='%u'/>", cpu->family, cpu->model, cpu->stepping);
    if (clock->is_known)
        vq_buffer_line(text, "<counter name='tsc' frequency='%llu' scaling='%s'/>", (unsigned long long)clock->hz,
                       clock->scales ? "yes" : "no");
}

static void add_cpu(const char *root, const struct vq_cpu_facts *cpu, const struct vq_host_clock *clock,
                    struct vq_buffer *text)
{
    struct topology topology = read_topology(root);
    struct cpu_notes notes = read_notes(root);
    struct vq_cpu_choice choice;
    uint64_t sizes[PAGES_MAX];
    size_t n_sizes = page_sizes(root, sizes);

    vq_buffer_line(text, "<cpu>");
    text->indent++;
    vq_buffer_line(text, "<arch>%s</arch>", host_arch());
    add_model(cpu, &notes, clock, text, &choice);
    vq_buffer_line(text, "<topology sockets='%u' dies='%u' cores='%u' threads='%u'/>", topology.sockets, topology.dies,
                   topology.cores, topology.threads);
    if (notes.address_bits != 0)
        vq_buffer_line(text, "<maxphysaddr mode='emulate' bits='%u'/>", notes.address_bits);
    for (size_t i = 0; i < vq_n_cpu_features; i++)
        if (vq_cpu_set_has(&choice.extra, i))
            vq_buffer_line(text, "<feature name='%s'/>", vq_cpu_features[i].name);
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

/* How many pages of each size a cell is made of. */
static void add_cell_pages(const char *root, unsigned node, uint64_t memory_kib, struct vq_buffer *text)
{
    uint64_t sizes[PAGES_MAX], counts[PAGES_MAX], small = memory_kib;
    size_t n = page_sizes(root, sizes);

    for (size_t i = 1; i < n; i++) {
        VQ_AUTOFREE char *dir = vq_asprintf("hugepages/hugepages-%llukB/nr_hugepages", (unsigned long long)sizes[i]);
        counts[i] = read_number(root, "/sys/devices/system/node/node", node, dir, 0);
        small -= counts[i] * sizes[i] > small ? small : counts[i] * sizes[i];
    }
    counts[0] = sizes[0] == 0 ? 0 : small / sizes[0];
    for (size_t i = 0; i < n; i++)
        vq_buffer_line(text, "<pages unit='KiB' size='%llu'>%llu</pages>", (unsigned long long)sizes[i],
                       (unsigned long long)counts[i]);
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
    uint64_t memory_kib = memory_of(memory != NULL ? memory : all_memory);
    vq_buffer_line(text, "<memory unit='KiB'>%llu</memory>", (unsigned long long)memory_kib);
    add_cell_pages(topology->root, node, memory_kib, text);
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

/* ---- Caches ---- */

struct caches {
    const char *root;
    struct vq_buffer *text;
    uint64_t told[CACHES_MAX];
    size_t n_told;
};

/* "32768K" in KiB */
static uint64_t cache_size(const char *text)
{
    char *end;
    uint64_t size = text == NULL ? 0 : strtoull(text, &end, 10);

    return text == NULL ? 0 : *end == 'M' ? size * 1024 : size;
}

static void add_bank(struct caches *caches, unsigned cpu, unsigned index, uint64_t level)
{
    VQ_AUTOFREE char *dir = vq_asprintf("/sys/devices/system/cpu/cpu%u/cache/index", cpu);
    VQ_AUTOFREE char *size_text = read_file(caches->root, "%s%u/size", dir, index);
    VQ_AUTOFREE char *cpus = read_file(caches->root, "%s%u/shared_cpu_list", dir, index);
    VQ_AUTOFREE char *type = read_file(caches->root, "%s%u/type", dir, index);
    uint64_t id = read_number(caches->root, dir, index, "id", 0), kib = cache_size(size_text);
    const char *kind = vq_streq(type, "Instruction") ? "code" : vq_streq(type, "Data") ? "data" : "both";
    bool is_mib = kib >= 1024 && kib % 1024 == 0;

    for (size_t i = 0; i < caches->n_told; i++)
        if (caches->told[i] == (level << 32 | id))
            return;
    if (caches->n_told == CACHES_MAX || kib == 0 || cpus == NULL || strspn(cpus, "0123456789,-") != strlen(cpus))
        return;
    caches->told[caches->n_told++] = level << 32 | id;
    if (caches->n_told == 1) {
        vq_buffer_line(caches->text, "<cache>");
        caches->text->indent++;
    }
    vq_buffer_line(caches->text, "<bank id='%llu' level='%llu' type='%s' size='%llu' unit='%s' cpus='%s'/>",
                   (unsigned long long)id, (unsigned long long)level, kind, (unsigned long long)(is_mib ? kib / 1024 : kib),
                   is_mib ? "MiB" : "KiB", cpus);
}

/* Those that processors share: from the third level on. */
static void add_banks_of(unsigned cpu, void *data)
{
    enum { INDEXES = 8, SHARED_LEVEL = 3 };
    struct caches *caches = data;
    VQ_AUTOFREE char *dir = vq_asprintf("/sys/devices/system/cpu/cpu%u/cache/index", cpu);

    for (unsigned index = 0; index < INDEXES; index++) {
        uint64_t level = read_number(caches->root, dir, index, "level", 0);
        if (level >= SHARED_LEVEL)
            add_bank(caches, cpu, index, level);
    }
}

static void add_caches(const char *root, struct vq_buffer *text)
{
    struct caches caches = {.root = root, .text = text};
    VQ_AUTOFREE char *online = read_file(root, "/sys/devices/system/cpu/online");

    each_of_list(online, CPUS_MAX, add_banks_of, &caches);
    if (caches.n_told == 0)
        return;
    text->indent--;
    vq_buffer_line(text, "</cache>");
}

/* ---- The rest of the host ---- */

static void add_iommu(const char *root, struct vq_buffer *text)
{
    VQ_AUTOFREE char *path = vq_asprintf("%s/sys/kernel/iommu_groups", root);
    DIR *dir = opendir(path);
    const struct dirent *entry;
    bool has_group = false;

    while (dir != NULL && (entry = readdir(dir)) != NULL)
        has_group = has_group || entry->d_name[0] != '.';
    if (dir != NULL)
        (void)closedir(dir);
    vq_buffer_line(text, "<iommu support='%s'/>", has_group ? "yes" : "no");
}

static void add_migration(struct vq_buffer *text)
{
    static const char *const lines[] = {"<migration_features>", "  <live/>", "  <uri_transports>",
                                        "    <uri_transport>tcp</uri_transport>", "  </uri_transports>",
                                        "</migration_features>"};

    for (size_t i = 0; i < VQ_N_ELEMENTS(lines); i++)
        vq_buffer_line(text, "%s", lines[i]);
}

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

char *vq_qemu_host_read(const char *root, const struct vq_qemu_settings *settings, const uint8_t uuid[16],
                        const struct vq_cpu_facts *cpu, const struct vq_host_clock *clock)
{
    char uuid_text[VQ_UUID_TEXT];
    struct vq_buffer text = VQ_BUFFER_INIT;

    text.indent = 1;
    vq_buffer_line(&text, "<host>");
    text.indent = 2;
    vq_uuid_format(uuid, uuid_text);
    vq_buffer_line(&text, "<uuid>%s</uuid>", uuid_text);
    add_cpu(root, cpu, clock, &text);
    add_power(root, &text);
    add_iommu(root, &text);
    add_migration(&text);
    add_topology(root, &text);
    add_caches(root, &text);
    add_security(settings, &text);
    text.indent = 1;
    vq_buffer_line(&text, "</host>");
    return vq_buffer_steal(&text);
}

char *vq_qemu_host_cpu_format(const char *root, const struct vq_cpu_facts *cpu)
{
    static const struct vq_host_clock unknown;
    struct vq_buffer text = VQ_BUFFER_INIT;

    add_cpu(root, cpu, &unknown, &text);
    return vq_buffer_steal(&text);
}

/* ---- What the emulators run ---- */

static void add_machine(struct vq_buffer *text, const struct vq_qemu_machine *machine)
{
    const char *deprecated = machine->is_deprecated ? " deprecated='yes'" : "";

    vq_buffer_line(text, "<machine maxCpus='%u'%s>%s</machine>", machine->cpus_max, deprecated, machine->name);
    if (machine->alias != NULL)
        vq_buffer_line(text, "<machine canonical='%s' maxCpus='%u'%s>%s</machine>", machine->name, machine->cpus_max,
                       deprecated, machine->alias);
}

/* The default one first: clients that do not choose take the first. */
static void add_machines(struct vq_buffer *text, const struct vq_qemu_capabilities *caps)
{
    if (caps->default_machine < caps->n_machines)
        add_machine(text, &caps->machines[caps->default_machine]);
    for (size_t i = 0; i < caps->n_machines; i++)
        if (i != caps->default_machine)
            add_machine(text, &caps->machines[i]);
}

/* An element with a text that a user chose. */
static void add_escaped(struct vq_buffer *text, const char *element, const char *value)
{
    VQ_AUTOBUFFER escaped = VQ_BUFFER_INIT;

    vq_buffer_add_escaped(&escaped, value);
    vq_buffer_line(text, "<%s>%s</%s>", element, escaped.data == NULL ? "" : escaped.data, element);
}

static void add_guest_features(struct vq_buffer *text, const char *arch)
{
    static const struct {
        const char *line;
        const char *archs; /* NULL: all */
    } features[] = {
        {"<pae/>", " i686 "},
        {"<nonpae/>", " i686 "},
        {"<acpi default='on' toggle='yes'/>", " i686 x86_64 aarch64 loongarch64 "},
        {"<apic default='on' toggle='no'/>", " i686 x86_64 "},
        {"<cpuselection/>", NULL},
        {"<deviceboot/>", NULL},
        {"<disksnapshot default='on' toggle='no'/>", NULL},
    };
    VQ_AUTOFREE char *word = vq_asprintf(" %s ", arch);

    vq_buffer_line(text, "<features>");
    for (size_t i = 0; i < VQ_N_ELEMENTS(features); i++)
        if (features[i].archs == NULL || strstr(features[i].archs, word) != NULL)
            vq_buffer_line(text, "  %s", features[i].line);
    vq_buffer_line(text, "</features>");
}

static void add_guest(struct vq_buffer *text, const struct vq_qemu_guest_kind *guest)
{
    vq_buffer_line(text, "<guest>");
    text->indent++;
    vq_buffer_line(text, "<os_type>hvm</os_type>");
    vq_buffer_line(text, "<arch name='%s'>", guest->arch->name);
    text->indent++;
    vq_buffer_line(text, "<wordsize>%d</wordsize>", guest->arch->bits);
    add_escaped(text, "emulator", guest->caps->path);
    add_machines(text, guest->caps);
    vq_buffer_line(text, "<domain type='qemu'/>");
    if (guest->caps->has_kvm)
        vq_buffer_line(text, "<domain type='kvm'/>");
    text->indent--;
    vq_buffer_line(text, "</arch>");
    add_guest_features(text, guest->arch->name);
    text->indent--;
    vq_buffer_line(text, "</guest>");
}

char *vq_qemu_host_capabilities_format(const char *host, const struct vq_qemu_guest_kind *guests, size_t n_guests)
{
    struct vq_buffer text = VQ_BUFFER_INIT;

    vq_buffer_add(&text, "<capabilities>\n");
    vq_buffer_add(&text, host);
    text.indent = 1;
    for (size_t i = 0; i < n_guests; i++)
        add_guest(&text, &guests[i]);
    vq_buffer_add(&text, "</capabilities>\n");
    return vq_buffer_steal(&text);
}
