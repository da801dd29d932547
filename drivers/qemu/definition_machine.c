/* What a definition leaves open about its machine and is chosen for it: NUMA distances, slots of memory, the firmware's store,
 * the interrupt controller. */
#define VQ_FROM VIR_FROM_QEMU
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/definition.h"
#include "drivers/qemu/firmware.h"

enum { DISTANCE_SELF = 10, DISTANCE_OTHER = 20, CELLS_MAX = 1024 };

/* ---- NUMA distances ---- */

static uint32_t cell_id(const struct vq_cpu *cpu, size_t index)
{
    return cpu->cells[index]->has_id ? cpu->cells[index]->id : (uint32_t)index;
}

static const struct vq_numa_distance *find_distance(const struct vq_cpu *cpu, size_t from, uint32_t to)
{
    for (size_t i = 0; i < cpu->cells[from]->n_distances; i++)
        if (cpu->cells[from]->distances[i]->id == to)
            return cpu->cells[from]->distances[i];
    return NULL;
}

static void set_distances(struct vq_cpu *cpu, size_t from, const uint32_t *values)
{
    struct vq_numa_cell *cell = cpu->cells[from];

    for (size_t i = 0; i < cell->n_distances; i++)
        free(cell->distances[i]);
    cell->distances = vq_realloc(cell->distances, cpu->n_cells, sizeof(*cell->distances));
    for (size_t i = 0; i < cpu->n_cells; i++) {
        cell->distances[i] = vq_new(struct vq_numa_distance);
        cell->distances[i]->id = cell_id(cpu, i);
        cell->distances[i]->value = values[i];
    }
    cell->n_distances = cpu->n_cells;
}

/* QEMU wants all distances or none: one that is not said is that of the way back, else the usual one. */
static void fill_distances(struct vq_cpu *cpu)
{
    size_t n = cpu == NULL || cpu->n_cells > CELLS_MAX ? 0 : cpu->n_cells;
    VQ_AUTOFREE uint32_t *values = NULL;
    bool is_said = false;

    for (size_t i = 0; i < n; i++)
        is_said = is_said || cpu->cells[i]->n_distances > 0;
    if (!is_said)
        return;
    values = vq_calloc(n * n, sizeof(*values));
    for (size_t i = 0; i < n; i++) {
        for (size_t k = 0; k < n; k++) {
            const struct vq_numa_distance *there = find_distance(cpu, i, cell_id(cpu, k));
            const struct vq_numa_distance *back = find_distance(cpu, k, cell_id(cpu, i));
            values[i * n + k] = there != NULL  ? there->value
                                : i == k       ? DISTANCE_SELF
                                : back != NULL ? back->value
                                               : DISTANCE_OTHER;
        }
    }
    for (size_t i = 0; i < n; i++)
        set_distances(cpu, i, values + i * n);
}

/* ---- Slots of memory ---- */

static bool slot_is_taken(const struct vq_devices *devices, uint32_t slot)
{
    for (size_t i = 0; i < devices->n_memories; i++)
        if (devices->memories[i]->info.address.type == VQ_ADDRESS_DIMM && devices->memories[i]->info.address.dimm.slot == slot)
            return true;
    return false;
}

static void fill_slots(struct vq_domain *def)
{
    struct vq_devices *devices = &def->devices;

    for (size_t i = 0; i < devices->n_memories; i++) {
        struct vq_memory_device *memory = devices->memories[i];
        bool is_dimm = vq_streq(memory->model, "dimm") || vq_streq(memory->model, "nvdimm");
        uint32_t slot = 0;
        if (!is_dimm || memory->info.address.type != VQ_ADDRESS_UNSET)
            continue;
        while (slot_is_taken(devices, slot))
            slot++;
        memory->info.address.type = VQ_ADDRESS_DIMM;
        memory->info.address.dimm.slot = slot;
    }
}

static void fill_memory_access(struct vq_domain *def)
{
    for (size_t i = 0; i < def->devices.n_memories; i++)
        if (vq_streq(def->devices.memories[i]->model, "virtio-pmem") && def->devices.memories[i]->access == NULL)
            def->devices.memories[i]->access = vq_strdup("shared");
}

/* ---- Firmware ---- */

static void fill_loader(struct vq_domain *def)
{
    struct vq_os *os = &def->os;

    if (os->loader != NULL && os->loader_type == VQ_LOADER_UNSET)
        os->loader_type = VQ_LOADER_ROM;
    /* Flash that the guest cannot write needs a second one for its variables. */
    if (os->loader != NULL && os->loader_type == VQ_LOADER_PFLASH && os->loader_readonly == VQ_SWITCH_ON &&
        os->loader_stateless != VQ_SWITCH_ON && os->nvram == NULL && os->nvram_source.type == VQ_SOURCE_UNSET)
        os->nvram = vq_qemu_nvram_path(def->name);
}

/* ---- Arm ---- */

static void fill_interrupts(struct vq_domain *def)
{
    if (!vq_streq(def->os.arch, "aarch64") || def->os.machine == NULL || strncmp(def->os.machine, "virt", 4) != 0)
        return;
    if (def->features == NULL)
        def->features = vq_new(struct vq_features);
    def->features->has_gic = true;
    if (def->features->gic_version == NULL)
        def->features->gic_version = vq_strdup(def->type == VQ_VIRT_KVM ? "host" : "2");
}

void vq_qemu_definition_fill_machine(struct vq_domain *def)
{
    fill_distances(def->cpu);
    fill_slots(def);
    fill_memory_access(def);
    fill_loader(def);
    fill_interrupts(def);
}
