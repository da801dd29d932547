/* Memory, NUMA cells and memory devices on the command line. */
#define VQ_FROM VIR_FROM_QEMU
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/cpuset.h"
#include "drivers/qemu/command_priv.h"

enum { PAGE_KIB = 4 }; /* of plain memory, on x86 and as Debian builds kernels for aarch64 */

/* QEMU takes whole MiB: a guest gets what it was promised and perhaps a little more. */
static uint64_t whole_mib(uint64_t kib)
{
    return kib > UINT64_MAX - 1023 ? kib : (kib + 1023) / 1024 * 1024;
}

/* ---- What one piece of memory is made of ---- */

/* A piece of the guest's memory that wants a backend. */
struct piece {
    const char *id;
    uint64_t size_kib;
    int64_t cell;              /* of the guest; -1: the board's own memory */
    const char *access;        /* NULL: as the domain's memory */
    enum vq_switch discard;
    uint64_t page_kib;         /* huge pages of this size; 0: as the domain's memory */
    const char *nodeset;       /* of the host; NULL: as the domain's memory */
    const char *path;          /* a file that holds it; NULL: none */
    bool is_prealloc;          /* whatever the domain says */
    bool is_pmem, is_unreserved;
    uint64_t align_kib;
};

static bool text_has(const char *text, uint32_t number)
{
    struct vq_cpuset set;

    return vq_cpuset_parse(text, VQ_CPUSET_BITS, &set) && vq_cpuset_has(&set, number);
}

/* The page that a cell's memory has: one that names the cell, else the one for the rest. */
static const struct vq_hugepage *page_of(const struct vq_memory_backing *backing, int64_t cell)
{
    const struct vq_hugepage *otherwise = NULL;

    for (size_t i = 0; i < backing->n_hugepages; i++) {
        const struct vq_hugepage *page = backing->hugepages[i];
        if (page->nodeset == NULL)
            otherwise = page;
        else if (text_has(page->nodeset, cell < 0 ? 0 : (uint32_t)cell))
            return page;
    }
    return otherwise;
}

static void add_pages(json_t *object, const struct vq_memory_backing *backing, const struct piece *piece, bool *ret_is_huge)
{
    const struct vq_hugepage *page = backing == NULL || !backing->has_hugepages ? NULL : page_of(backing, piece->cell);
    bool is_default = backing != NULL && backing->has_hugepages && backing->n_hugepages == 0;
    uint64_t size_kib = piece->page_kib != 0 ? piece->page_kib : page != NULL ? page->size_kib : 0;

    *ret_is_huge = size_kib > PAGE_KIB || (is_default && piece->page_kib == 0);
    if (!*ret_is_huge)
        return;
    json_object_set_new(object, "hugetlb", json_true());
    if (size_kib != 0)
        json_object_set_new(object, "hugetlbsize", json_integer((json_int_t)(size_kib * 1024)));
}

static void add_allocation(json_t *object, const struct vq_memory_backing *backing, const struct piece *piece, bool is_huge)
{
    bool is_immediate = backing != NULL && vq_streq(backing->allocation_mode, "immediate");

    if (piece->is_unreserved) {
        json_object_set_new(object, "reserve", json_false());
        return;
    }
    /* Huge pages that turn out not to be there would kill the guest when it touches them: they are taken at once. */
    if (!is_huge && !is_immediate && !piece->is_prealloc)
        return;
    json_object_set_new(object, "prealloc", json_true());
    if (backing != NULL && backing->allocation_threads != 0)
        vq_qemu_json_number(object, "prealloc-threads", backing->allocation_threads);
}

static const struct vq_numa_memnode *memnode_of(const struct vq_numatune *tune, int64_t cell)
{
    for (size_t i = 0; i < tune->n_memnodes; i++)
        if (cell >= 0 && tune->memnodes[i]->cell == (uint64_t)cell)
            return tune->memnodes[i];
    return NULL;
}

/* Where on the host it may lie. "restrictive" is a matter of cgroups alone. */
static void add_nodes(json_t *object, const struct vq_numatune *tune, const struct piece *piece)
{
    static const struct {
        const char *mode, *policy;
    } policies[] = {{"strict", "bind"}, {"preferred", "preferred"}, {"interleave", "interleave"}};
    const struct vq_numa_memnode *memnode = memnode_of(tune, piece->cell);
    const char *mode = memnode != NULL ? memnode->mode : tune->mode;
    const char *nodeset = piece->nodeset != NULL ? piece->nodeset : memnode != NULL ? memnode->nodeset : tune->nodeset;
    struct vq_cpuset set;
    json_t *nodes;

    if (nodeset == NULL || !vq_cpuset_parse(nodeset, VQ_CPUSET_BITS, &set))
        return;
    for (size_t i = 0; i < VQ_N_ELEMENTS(policies); i++) {
        if (!vq_streq(policies[i].mode, mode == NULL ? "strict" : mode))
            continue;
        nodes = json_array();
        for (int32_t node = vq_cpuset_next(&set, 0); node >= 0; node = vq_cpuset_next(&set, (uint32_t)node + 1))
            (void)json_array_append_new(nodes, json_integer(node));
        json_object_set_new(object, "host-nodes", nodes);
        json_object_set_new(object, "policy", json_string(policies[i].policy));
    }
}

static json_t *new_file_backend(const struct vq_qemu_writer *writer, const struct piece *piece, bool has_discard)
{
    VQ_AUTOFREE char *path = piece->path != NULL ? vq_strdup(piece->path)
                                                 : vq_asprintf("%s/%s", writer->launch->memory_dir, piece->id);
    json_t *object = json_pack("{s:s, s:s, s:s}", "qom-type", "memory-backend-file", "id", piece->id, "mem-path", path);

    if (piece->discard == VQ_SWITCH_ON || (piece->discard == VQ_SWITCH_UNSET && has_discard && piece->path == NULL))
        json_object_set_new(object, "discard-data", json_true());
    return object;
}

/* One memory backend: plain memory, memory with a descriptor that others can map (memfd), huge pages, or a file. */
static int write_backend(struct vq_qemu_writer *writer, const struct piece *piece, struct vq_error *err)
{
    const struct vq_memory_backing *backing = writer->def->memory_backing;
    const char *source = backing == NULL ? NULL : backing->source_type;
    const char *sharing = piece->access != NULL ? piece->access : backing == NULL ? NULL : backing->access_mode;
    bool is_file = piece->path != NULL || vq_streq(source, "file"), is_huge = false;
    json_t *pages = json_object();
    json_t *object;

    if (piece->path == NULL)
        add_pages(pages, backing, piece, &is_huge);
    is_file = is_file && !is_huge;
    if (is_file && piece->path == NULL && writer->launch->memory_dir == NULL) {
        json_decref(pages);
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "a run without a directory for its memory");
    }
    bool is_memfd = !is_file && (is_huge || vq_streq(source, "memfd") || vq_streq(sharing, "shared"));
    if (is_file)
        object = new_file_backend(writer, piece, backing != NULL && backing->has_discard);
    else
        object = json_pack("{s:s, s:s}", "qom-type", is_memfd ? "memory-backend-memfd" : "memory-backend-ram", "id", piece->id);
    json_object_update(object, pages);
    json_decref(pages);
    /* The block keeps the name that it has in the migration stream of plain memory. */
    if ((is_file || is_memfd) && piece->path == NULL && strcmp(piece->id, vq_qemu_memory_id(writer)) == 0)
        json_object_set_new(object, "x-use-canonical-path-for-ramblock-id", json_false());
    if (sharing != NULL)
        json_object_set_new(object, "share", json_boolean(strcmp(sharing, "shared") == 0));
    add_allocation(object, backing, piece, is_huge);
    json_object_set_new(object, "size", json_integer((json_int_t)(whole_mib(piece->size_kib) * 1024)));
    if (piece->align_kib != 0)
        json_object_set_new(object, "align", json_integer((json_int_t)(piece->align_kib * 1024)));
    if (piece->is_pmem)
        json_object_set_new(object, "pmem", json_true());
    add_nodes(object, &writer->def->numatune, piece);
    vq_qemu_arg_json(writer, "-object", object);
    return 0;
}

/* ---- NUMA ---- */

static uint32_t cell_id(const struct vq_cpu *cpu, size_t index)
{
    return cpu->cells[index]->has_id ? cpu->cells[index]->id : (uint32_t)index;
}

/* A cell without CPUs is nearest to the first that has some. */
static uint32_t first_initiator(const struct vq_cpu *cpu)
{
    for (size_t i = 0; i < cpu->n_cells; i++)
        if (cpu->cells[i]->cpus != NULL)
            return cell_id(cpu, i);
    return 0;
}

bool vq_qemu_has_hmat(const struct vq_domain *def)
{
    const struct vq_cpu *cpu = def->cpu;

    for (size_t i = 0; cpu != NULL && i < cpu->n_cells; i++)
        if (cpu->cells[i]->n_caches > 0)
            return true;
    return cpu != NULL && (cpu->n_latencies > 0 || cpu->n_bandwidths > 0);
}

static int write_cell(struct vq_qemu_writer *writer, size_t index, struct vq_error *err)
{
    const struct vq_numa_cell *cell = writer->def->cpu->cells[index];
    uint32_t id = cell_id(writer->def->cpu, index);
    char backend[32];
    const struct piece piece = {.id = backend, .size_kib = cell->memory_kib, .cell = id, .access = cell->mem_access,
                                .discard = cell->discard};
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;
    VQ_AUTOFREE char *cpus = vq_strdup(cell->cpus);
    char *rest = NULL;

    (void)snprintf(backend, sizeof(backend), "ram-node%u", id);
    if (write_backend(writer, &piece, err) < 0)
        return -1;
    vq_buffer_addf(&value, "node,nodeid=%u", id);
    if (vq_qemu_has_hmat(writer->def)) /* a cell with CPUs is its own nearest */
        vq_buffer_addf(&value, ",initiator=%u", cell->cpus != NULL ? id : first_initiator(writer->def->cpu));
    for (char *range = cpus == NULL ? NULL : strtok_r(cpus, ",", &rest); range != NULL; range = strtok_r(NULL, ",", &rest))
        vq_buffer_addf(&value, ",cpus=%s", range);
    vq_buffer_addf(&value, ",memdev=%s", backend);
    vq_qemu_arg_buffer(writer, "-numa", &value);
    return 0;
}

/* QEMU wants all distances or none; they are all there after filling (drivers/qemu/definition_cpu.c). */
static void write_distances(struct vq_qemu_writer *writer)
{
    const struct vq_cpu *cpu = writer->def->cpu;

    for (size_t i = 0; i < cpu->n_cells; i++) {
        for (size_t k = 0; k < cpu->cells[i]->n_distances; k++) {
            VQ_AUTOBUFFER value = VQ_BUFFER_INIT;
            vq_buffer_addf(&value, "dist,src=%u,dst=%u,val=%u", cell_id(cpu, i), cpu->cells[i]->distances[k]->id,
                           cpu->cells[i]->distances[k]->value);
            vq_qemu_arg_buffer(writer, "-numa", &value);
        }
    }
}

static void write_link(struct vq_qemu_writer *writer, const struct vq_numa_link *link, bool is_latency)
{
    static const char *const hierarchies[] = {"memory", "first-level", "second-level", "third-level"};
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;
    const char *kind = is_latency ? "latency" : "bandwidth";

    vq_buffer_addf(&value, "hmat-lb,initiator=%u,target=%u,hierarchy=%s,data-type=%s-%s,%s=%" PRIu64 "%s", link->initiator,
                   link->target, hierarchies[link->cache < VQ_N_ELEMENTS(hierarchies) ? link->cache : 0],
                   link->type == NULL ? "access" : link->type, kind, kind, link->value, is_latency ? "" : "K");
    vq_qemu_arg_buffer(writer, "-numa", &value);
}

static void write_cache(struct vq_qemu_writer *writer, uint32_t node, const struct vq_numa_cache *cache)
{
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;
    const char *associativity = vq_streq(cache->associativity, "full") ? "complex" : cache->associativity;
    const char *policy = vq_streq(cache->policy, "writeback")      ? "write-back"
                         : vq_streq(cache->policy, "writethrough") ? "write-through"
                                                                   : cache->policy;

    vq_buffer_addf(&value, "hmat-cache,node-id=%u,size=%" PRIu64 "K,level=%u,associativity=%s,policy=%s,line=%" PRIu64, node,
                   cache->size_kib, cache->level, associativity == NULL ? "none" : associativity,
                   policy == NULL ? "none" : policy, cache->line_bytes);
    vq_qemu_arg_buffer(writer, "-numa", &value);
}

static void write_hmat(struct vq_qemu_writer *writer)
{
    const struct vq_cpu *cpu = writer->def->cpu;

    for (size_t i = 0; i < cpu->n_latencies; i++)
        write_link(writer, cpu->latencies[i], true);
    for (size_t i = 0; i < cpu->n_bandwidths; i++)
        write_link(writer, cpu->bandwidths[i], false);
    for (size_t i = 0; i < cpu->n_cells; i++)
        for (size_t k = 0; k < cpu->cells[i]->n_caches; k++)
            write_cache(writer, cell_id(cpu, i), cpu->cells[i]->caches[k]);
}

int vq_qemu_write_cells(struct vq_qemu_writer *writer, struct vq_error *err)
{
    for (size_t i = 0; i < writer->def->cpu->n_cells; i++)
        if (write_cell(writer, i, err) < 0)
            return -1;
    write_distances(writer);
    write_hmat(writer);
    return 0;
}

/* ---- The board's memory ---- */

const char *vq_qemu_memory_id(const struct vq_qemu_writer *writer)
{
    const struct vq_qemu_machine *machine = vq_qemu_capabilities_machine(writer->caps, writer->def->os.machine);

    return machine == NULL || machine->default_ram_id == NULL ? "pc.ram" : machine->default_ram_id;
}

bool vq_qemu_has_cells(const struct vq_domain *def)
{
    return def->cpu != NULL && def->cpu->n_cells > 0;
}

/* What the guest boots with. With NUMA cells it is their sum, each rounded for itself. */
static uint64_t memory_kib(const struct vq_domain *def)
{
    uint64_t sum = 0;

    if (!vq_qemu_has_cells(def))
        return whole_mib(def->memory_kib);
    for (size_t i = 0; i < def->cpu->n_cells; i++)
        sum += whole_mib(def->cpu->cells[i]->memory_kib);
    return sum;
}

int vq_qemu_write_memory(struct vq_qemu_writer *writer, struct vq_error *err)
{
    const struct vq_domain *def = writer->def;
    const struct piece piece = {.id = vq_qemu_memory_id(writer), .size_kib = def->memory_kib, .cell = -1};
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;

    vq_buffer_addf(&value, "size=%" PRIu64 "k", memory_kib(def));
    if (def->max_memory_kib != 0)
        vq_buffer_addf(&value, ",slots=%u,maxmem=%" PRIu64 "k", def->max_memory_slots, whole_mib(def->max_memory_kib));
    vq_qemu_arg_buffer(writer, "-m", &value);
    if (!vq_qemu_has_cells(def) && write_backend(writer, &piece, err) < 0)
        return -1;
    vq_qemu_arg_pair(writer, "-overcommit",
                     def->memory_backing != NULL && def->memory_backing->locked ? "mem-lock=on" : "mem-lock=off");
    return 0;
}

/* ---- Memory devices ---- */

static const struct {
    const char *model, *driver;
    bool is_dimm;              /* in a slot of the board; others are PCI devices */
} memory_models[] = {{"dimm", "pc-dimm", true},
                     {"nvdimm", "nvdimm", true},
                     {"virtio-pmem", "virtio-pmem-pci", false},
                     {"virtio-mem", "virtio-mem-pci", false}};

static void add_device_properties(json_t *device, const struct vq_memory_device *memory)
{
    const struct vq_address *at = &memory->info.address;

    if (memory->has_node && !vq_streq(memory->model, "virtio-pmem"))
        vq_qemu_json_number(device, "node", memory->node);
    if (memory->label_kib != 0)
        vq_qemu_json_number(device, "label-size", memory->label_kib * 1024);
    if (memory->has_uuid) {
        char uuid[VQ_UUID_TEXT];
        vq_uuid_format(memory->uuid, uuid);
        vq_qemu_json_text(device, "uuid", uuid);
    }
    if (memory->is_readonly)
        json_object_set_new(device, "unarmed", json_true());
    if (memory->block_kib != 0)
        vq_qemu_json_number(device, "block-size", memory->block_kib * 1024);
    if (vq_streq(memory->model, "virtio-mem"))
        vq_qemu_json_number(device, "requested-size", memory->requested_kib * 1024);
    if (at->type == VQ_ADDRESS_DIMM) {
        vq_qemu_json_number(device, "slot", at->dimm.slot);
        if (at->dimm.has_base)
            vq_qemu_json_number(device, "addr", at->dimm.base);
    }
}

static int write_memory_device(struct vq_qemu_writer *writer, const struct vq_memory_device *memory, struct vq_error *err)
{
    VQ_AUTOFREE char *id = vq_asprintf("mem%s", memory->info.alias);
    bool is_virtio_mem = vq_streq(memory->model, "virtio-mem");
    struct piece piece = {.id = id, .size_kib = memory->size_kib, .cell = memory->has_node ? (int64_t)memory->node : -1,
                          .access = memory->access, .discard = memory->discard, .page_kib = memory->source_pagesize_kib,
                          .nodeset = memory->nodemask, .path = memory->path, .is_pmem = memory->is_pmem,
                          .is_unreserved = is_virtio_mem, .align_kib = memory->alignsize_kib};

    /* A file that is real persistent memory has its blocks already. */
    piece.is_prealloc = vq_streq(memory->model, "nvdimm") && !memory->is_pmem;
    for (size_t i = 0; i < VQ_N_ELEMENTS(memory_models); i++) {
        if (!vq_streq(memory_models[i].model, memory->model))
            continue;
        if (write_backend(writer, &piece, err) < 0)
            return -1;
        json_t *device = vq_qemu_device_new(writer, memory_models[i].driver, &memory->info);
        vq_qemu_json_text(device, "memdev", id);
        add_device_properties(device, memory);
        vq_qemu_arg_json(writer, "-device", device);
        return 0;
    }
    return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "memory device model '%s' is not supported by this QEMU",
                        memory->model);
}

int vq_qemu_write_memory_devices(struct vq_qemu_writer *writer, struct vq_error *err)
{
    for (size_t i = 0; i < writer->def->devices.n_memories; i++)
        if (write_memory_device(writer, writer->def->devices.memories[i], err) < 0)
            return -1;
    return 0;
}
