/* /proc and /sys. */
#define VQ_FROM VIR_FROM_NONE
#include "node/host_info.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"

enum { FILE_MAX = 256 * 1024, LINE_MAX_BYTES = 4096 };
#define CPU_DIR  "/sys/devices/system/cpu"
#define NODE_DIR "/sys/devices/system/node"

/* The whole file, NUL-terminated and cut at size - 1; false: it cannot be read. */
static bool read_text(const char *path, char *text, size_t size)
{
    size_t length = 0;
    VQ_AUTOCLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);

    if (fd < 0)
        return false;
    while (length < size - 1) {
        ssize_t got = read(fd, text + length, size - 1 - length);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            break;
        length += (size_t)got;
    }
    text[length] = '\0';
    return true;
}

/* A small file of one line, without its newline and blanks around. */
static bool read_line(const char *path, char *text, size_t size)
{
    if (!read_text(path, text, size))
        return false;
    text[strcspn(text, "\n")] = '\0';
    for (size_t end = strlen(text); end > 0 && text[end - 1] == ' '; end--)
        text[end - 1] = '\0';
    return true;
}

static bool read_number(const char *path, uint64_t *ret)
{
    char text[64];

    return read_line(path, text, sizeof(text)) && vq_parse_u64(text, 10, UINT64_MAX, ret);
}

/* ---- CPUs ---- */

/* "0-3,8,10-11" */
static unsigned parse_list(const char *text, uint8_t map[VQ_HOST_CPUS_MAX / 8], unsigned *ret_n)
{
    unsigned end = 0;

    *ret_n = 0;
    while (*text != '\0') {
        char *rest;
        unsigned long first = strtoul(text, &rest, 10);
        unsigned long last = *rest == '-' ? strtoul(rest + 1, &rest, 10) : first;
        for (unsigned long cpu = first; cpu <= last && cpu < VQ_HOST_CPUS_MAX; cpu++) {
            map[cpu / 8] |= (uint8_t)(1u << (cpu % 8));
            (*ret_n)++;
            end = (unsigned)cpu + 1;
        }
        if (*rest != ',')
            break;
        text = rest + 1;
    }
    return end;
}

unsigned vq_host_cpus(bool only_online, uint8_t map[VQ_HOST_CPUS_MAX / 8], unsigned *ret_n)
{
    char text[LINE_MAX_BYTES];

    memset(map, 0, VQ_HOST_CPUS_MAX / 8);
    if (!read_line(only_online ? CPU_DIR "/online" : CPU_DIR "/present", text, sizeof(text)))
        (void)snprintf(text, sizeof(text), "0-%ld", sysconf(_SC_NPROCESSORS_CONF) - 1);
    return parse_list(text, map, ret_n);
}

/* ---- Topology ---- */

struct cpu_place {
    uint64_t package, core;
};

static bool read_place(unsigned cpu, struct cpu_place *ret)
{
    char path[128];

    (void)snprintf(path, sizeof(path), CPU_DIR "/cpu%u/topology/physical_package_id", cpu);
    if (!read_number(path, &ret->package))
        return false;
    (void)snprintf(path, sizeof(path), CPU_DIR "/cpu%u/topology/core_id", cpu);
    return read_number(path, &ret->core);
}

static int compare_places(const void *left, const void *right)
{
    const struct cpu_place *a = left, *b = right;

    if (a->package != b->package)
        return a->package < b->package ? -1 : 1;
    return a->core < b->core ? -1 : a->core > b->core;
}

/* How many different packages and cores there are. */
static void count_places(struct cpu_place *places, unsigned n, unsigned *ret_packages, unsigned *ret_cores)
{
    *ret_packages = *ret_cores = 0;
    qsort(places, n, sizeof(*places), compare_places);
    for (unsigned i = 0; i < n; i++) {
        bool new_package = i == 0 || places[i].package != places[i - 1].package;
        *ret_packages += new_package;
        *ret_cores += new_package || places[i].core != places[i - 1].core;
    }
}

static void read_shape(struct vq_host_topology *topology)
{
    static uint8_t map[VQ_HOST_CPUS_MAX / 8];
    static struct cpu_place places[VQ_HOST_CPUS_MAX];
    int cells[VQ_HOST_CELLS_MAX];
    unsigned n_cpus, n = 0, packages = 0, cores = 0;
    unsigned end = vq_host_cpus(true, map, &n_cpus);

    for (unsigned cpu = 0; cpu < end; cpu++)
        if ((map[cpu / 8] & (1u << (cpu % 8))) != 0 && read_place(cpu, &places[n]))
            n++;
    count_places(places, n, &packages, &cores);
    topology->cells = vq_host_cells(cells);
    topology->sockets = packages / topology->cells;
    topology->cores = packages == 0 ? 0 : cores / packages;
    topology->threads = cores == 0 ? 0 : n / cores;
    if (topology->cells * topology->sockets * topology->cores * topology->threads != n_cpus) {
        topology->cells = topology->sockets = topology->threads = 1;
        topology->cores = n_cpus == 0 ? 1 : n_cpus;
    }
}

static unsigned read_mhz(void)
{
    char text[LINE_MAX_BYTES];
    uint64_t khz;

    if (read_number(CPU_DIR "/cpu0/cpufreq/scaling_cur_freq", &khz))
        return (unsigned)(khz / 1000);
    if (!read_text("/proc/cpuinfo", text, sizeof(text)))
        return 0;
    const char *line = strstr(text, "cpu MHz");
    const char *colon = line == NULL ? NULL : strchr(line, ':');
    return colon == NULL ? 0 : (unsigned)strtoul(colon + 1, NULL, 10);
}

/* What the cells have: memory that belongs to none of them is no guest's. */
static uint64_t memory_of_cells(void)
{
    int cells[VQ_HOST_CELLS_MAX];
    unsigned n = vq_host_cells(cells);
    struct vq_host_memory memory;
    uint64_t sum = 0;

    for (unsigned i = 0; i < n; i++)
        sum += vq_host_memory(cells[i], &memory, NULL) < 0 ? 0 : memory.total_kib;
    return sum;
}

const struct vq_host_topology *vq_host_topology(void)
{
    static struct vq_host_topology topology;
    struct utsname name;

    if (topology.cells != 0)
        return &topology;
    (void)uname(&name); /* fails only for a bad pointer */
    memcpy(topology.machine, name.machine, strnlen(name.machine, sizeof(topology.machine) - 1));
    topology.memory_kib = memory_of_cells();
    topology.mhz = read_mhz();
    read_shape(&topology);
    return &topology;
}

/* ---- Memory ---- */

static uint64_t meminfo_field(const char *text, const char *field)
{
    const char *line = strstr(text, field);

    return line == NULL ? 0 : strtoull(line + strlen(field), NULL, 10);
}

int vq_host_memory(int cell, struct vq_host_memory *ret, struct vq_error *err)
{
    char text[LINE_MAX_BYTES], path[128] = "/proc/meminfo";

    if (cell >= 0)
        (void)snprintf(path, sizeof(path), NODE_DIR "/node%d/meminfo", cell);
    if (!read_text(path, text, sizeof(text)) && (cell != 0 || !read_text("/proc/meminfo", text, sizeof(text))))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "this host has no NUMA cell %d", cell);
    ret->total_kib = meminfo_field(text, "MemTotal:");
    ret->free_kib = meminfo_field(text, "MemFree:");
    ret->buffers_kib = meminfo_field(text, "Buffers:");
    ret->cached_kib = meminfo_field(text, "\nCached:");
    return 0;
}

unsigned vq_host_cells(int cells[VQ_HOST_CELLS_MAX])
{
    uint8_t map[VQ_HOST_CPUS_MAX / 8] = {0};
    char text[LINE_MAX_BYTES];
    unsigned n, used = 0;

    cells[0] = 0;
    if (!read_line(NODE_DIR "/online", text, sizeof(text)))
        return 1;
    unsigned end = parse_list(text, map, &n);
    for (unsigned cell = 0; cell < end && used < VQ_HOST_CELLS_MAX; cell++)
        if ((map[cell / 8] & (1u << (cell % 8))) != 0)
            cells[used++] = (int)cell;
    return used == 0 ? 1 : used;
}

bool vq_host_free_pages(int cell, unsigned page_kib, uint64_t *ret_pages)
{
    char path[256];
    struct vq_host_memory memory;

    if (page_kib == (unsigned)(sysconf(_SC_PAGESIZE) / 1024)) {
        if (vq_host_memory(cell, &memory, NULL) < 0)
            return false;
        *ret_pages = memory.free_kib / page_kib;
        return true;
    }
    if (cell < 0)
        (void)snprintf(path, sizeof(path), "/sys/kernel/mm/hugepages/hugepages-%ukB/free_hugepages", page_kib);
    else
        (void)snprintf(path, sizeof(path), NODE_DIR "/node%d/hugepages/hugepages-%ukB/free_hugepages", cell, page_kib);
    return read_number(path, ret_pages);
}

/* ---- CPU time ---- */

int vq_host_cpu_times(int cpu, struct vq_host_cpu_times *ret, struct vq_error *err)
{
    unsigned long long user, nice, system, idle, iowait, irq, softirq;
    uint64_t tick_ns = 1000000000ull / (uint64_t)sysconf(_SC_CLK_TCK);
    VQ_AUTOFREE char *text = vq_calloc(1, FILE_MAX);
    char name[32] = "\ncpu ";

    text[0] = '\n';
    if (cpu >= 0)
        (void)snprintf(name, sizeof(name), "\ncpu%d ", cpu);
    const char *line = read_text("/proc/stat", text + 1, FILE_MAX - 1) ? strstr(text, name) : NULL;
    if (line == NULL || sscanf(line + strlen(name), "%llu %llu %llu %llu %llu %llu %llu", &user, &nice, &system, &idle,
                               &iowait, &irq, &softirq) != 7)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "this host has no CPU %d online", cpu);
    ret->user_ns = (user + nice) * tick_ns;
    ret->kernel_ns = (system + irq + softirq) * tick_ns;
    ret->idle_ns = idle * tick_ns;
    ret->iowait_ns = iowait * tick_ns;
    return 0;
}

/* ---- SMBIOS ---- */

static const struct {
    const char *element, *entry, *file; /* file NULL: the element's end */
} dmi_rows[] = {
    {"bios", "vendor", "bios_vendor"},
    {"bios", "version", "bios_version"},
    {"bios", "date", "bios_date"},
    {"bios", "release", "bios_release"},
    {"bios", NULL, NULL},
    {"system", "manufacturer", "sys_vendor"},
    {"system", "product", "product_name"},
    {"system", "version", "product_version"},
    {"system", "serial", "product_serial"},
    {"system", "uuid", "product_uuid"},
    {"system", "sku", "product_sku"},
    {"system", "family", "product_family"},
    {"system", NULL, NULL},
    {"baseBoard", "manufacturer", "board_vendor"},
    {"baseBoard", "product", "board_name"},
    {"baseBoard", "version", "board_version"},
    {"baseBoard", "serial", "board_serial"},
    {"baseBoard", NULL, NULL},
    {"chassis", "manufacturer", "chassis_vendor"},
    {"chassis", "version", "chassis_version"},
    {"chassis", "serial", "chassis_serial"},
    {"chassis", "asset", "chassis_asset_tag"},
    {"chassis", NULL, NULL},
};

static void add_entry(struct vq_buffer *xml, const char *entry, const char *value)
{
    vq_buffer_addf(xml, "    <entry name='%s'>", entry);
    vq_buffer_add_escaped(xml, value);
    vq_buffer_add(xml, "</entry>\n");
}

bool vq_host_sysinfo(struct vq_buffer *xml)
{
    char path[128], value[512];
    const char *opened = NULL;
    bool found = false;

    vq_buffer_add(xml, "<sysinfo type='smbios'>\n");
    for (size_t i = 0; i < VQ_N_ELEMENTS(dmi_rows); i++) {
        if (dmi_rows[i].file == NULL) {
            if (opened != NULL)
                vq_buffer_addf(xml, "  </%s>\n", opened);
            opened = NULL;
            continue;
        }
        (void)snprintf(path, sizeof(path), "/sys/class/dmi/id/%s", dmi_rows[i].file);
        if (!read_line(path, value, sizeof(value)) || *value == '\0')
            continue;
        if (opened == NULL)
            vq_buffer_addf(xml, "  <%s>\n", dmi_rows[i].element);
        opened = dmi_rows[i].element;
        add_entry(xml, dmi_rows[i].entry, value);
        found = true;
    }
    vq_buffer_add(xml, "</sysinfo>\n");
    return found;
}
