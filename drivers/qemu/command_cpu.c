/* CPU, memory and NUMA cells on the command line. */
#define VQ_FROM VIR_FROM_QEMU
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/command_priv.h"

const char *vq_qemu_on_off(enum vq_switch value)
{
    return value == VQ_SWITCH_ON ? "on" : "off";
}

void vq_qemu_add_switch(struct vq_buffer *buffer, const char *key, enum vq_switch value)
{
    if (value != VQ_SWITCH_UNSET)
        vq_buffer_addf(buffer, ",%s=%s", key, vq_qemu_on_off(value));
}

const struct vq_timer *vq_qemu_find_timer(const struct vq_domain *def, enum vq_timer_name name)
{
    for (size_t i = 0; i < def->clock.n_timers; i++)
        if (def->clock.timers[i]->name == name)
            return def->clock.timers[i];
    return NULL;
}

const char *vq_qemu_memory_id(const struct vq_qemu_writer *writer)
{
    const struct vq_qemu_machine *machine = vq_qemu_capabilities_machine(writer->caps, writer->def->os.machine);

    return machine == NULL || machine->default_ram_id == NULL ? "pc.ram" : machine->default_ram_id;
}

bool vq_qemu_has_cells(const struct vq_domain *def)
{
    return def->cpu != NULL && def->cpu->n_cells > 0;
}

/* ---- CPU ---- */

static int add_cpu_model(struct vq_qemu_writer *writer, struct vq_buffer *value, struct vq_error *err)
{
    const struct vq_cpu *cpu = writer->def->cpu;
    bool is_kvm = writer->def->type == VQ_VIRT_KVM;

    switch (cpu == NULL ? VQ_CPU_MODE_CUSTOM : cpu->mode) {
    case VQ_CPU_MODE_HOST_PASSTHROUGH:
        if (!is_kvm)
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "CPU mode 'host-passthrough' for %s qemu domain on %s "
                                "host is not supported by hypervisor", writer->def->os.arch, writer->caps->arch);
        vq_buffer_add(value, "host");
        vq_qemu_add_switch(value, "migratable", cpu->migratable);
        return 0;
    case VQ_CPU_MODE_HOST_MODEL:
        vq_buffer_add(value, is_kvm ? "host" : "max");
        return 0;
    case VQ_CPU_MODE_MAXIMUM:
        vq_buffer_add(value, "max");
        vq_qemu_add_switch(value, "migratable", cpu->migratable);
        return 0;
    default:
        if (cpu != NULL && cpu->model != NULL)
            vq_qemu_add_value(value, cpu->model);
        return 0;
    }
}

static void add_cpu_features(const struct vq_cpu *cpu, struct vq_buffer *value)
{
    for (size_t i = 0; i < cpu->n_features; i++) {
        const struct vq_cpu_feature *feature = cpu->features[i];
        bool is_on = feature->policy != VQ_CPU_POLICY_DISABLE && feature->policy != VQ_CPU_POLICY_FORBID;
        if (feature->policy == VQ_CPU_POLICY_OPTIONAL)
            continue; /* the model has it or not */
        vq_buffer_add(value, ",");
        vq_qemu_add_value(value, vq_cpu_feature_for_qemu(feature->name));
        vq_buffer_add(value, is_on ? "=on" : "=off");
    }
    if (vq_streq(cpu->cache_mode, "emulate"))
        vq_buffer_add(value, ",l3-cache=on,host-cache-info=off");
    else if (vq_streq(cpu->cache_mode, "passthrough"))
        vq_buffer_add(value, ",host-cache-info=on,l3-cache=off");
    else if (vq_streq(cpu->cache_mode, "disable"))
        vq_buffer_add(value, ",host-cache-info=off,l3-cache=off");
    if (vq_streq(cpu->maxphysaddr_mode, "passthrough"))
        vq_buffer_add(value, ",host-phys-bits=on");
    else if (vq_streq(cpu->maxphysaddr_mode, "emulate"))
        vq_buffer_addf(value, ",phys-bits=%u", cpu->maxphysaddr_bits);
}

static void add_hyperv(const struct vq_hyperv *hyperv, struct vq_buffer *value)
{
    const struct {
        const char *name;
        enum vq_switch state;
    } features[] = {
        {"hv-relaxed", hyperv->relaxed},       {"hv-vapic", hyperv->vapic},
        {"hv-vpindex", hyperv->vpindex},       {"hv-runtime", hyperv->runtime},
        {"hv-synic", hyperv->synic},           {"hv-stimer", hyperv->stimer},
        {"hv-stimer-direct", hyperv->stimer_direct}, {"hv-reset", hyperv->reset},
        {"hv-frequencies", hyperv->frequencies}, {"hv-reenlightenment", hyperv->reenlightenment},
        {"hv-tlbflush", hyperv->tlbflush},     {"hv-ipi", hyperv->ipi},
        {"hv-evmcs", hyperv->evmcs},           {"hv-avic", hyperv->avic},
    };

    if (vq_streq(hyperv->mode, "passthrough"))
        vq_buffer_add(value, ",hv-passthrough=on");
    for (size_t i = 0; i < VQ_N_ELEMENTS(features); i++)
        if (features[i].state == VQ_SWITCH_ON)
            vq_buffer_addf(value, ",%s=on", features[i].name);
    if (hyperv->spinlocks == VQ_SWITCH_ON)
        vq_buffer_addf(value, ",hv-spinlocks=0x%x", hyperv->spinlocks_retries);
    if (hyperv->vendor_id == VQ_SWITCH_ON && hyperv->vendor_id_value != NULL) {
        vq_buffer_add(value, ",hv-vendor-id=");
        vq_qemu_add_value(value, hyperv->vendor_id_value);
    }
}

static void add_cpu_of_features(struct vq_qemu_writer *writer, struct vq_buffer *value)
{
    const struct vq_features *features = writer->def->features;
    const struct vq_timer *kvmclock = vq_qemu_find_timer(writer->def, VQ_TIMER_KVMCLOCK);
    const struct vq_timer *hyperv_clock = vq_qemu_find_timer(writer->def, VQ_TIMER_HYPERVCLOCK);
    const struct vq_timer *tsc = vq_qemu_find_timer(writer->def, VQ_TIMER_TSC);

    if (kvmclock != NULL && kvmclock->present != VQ_SWITCH_UNSET)
        vq_buffer_addf(value, ",kvmclock=%s", vq_qemu_on_off(kvmclock->present));
    if (hyperv_clock != NULL && hyperv_clock->present == VQ_SWITCH_ON)
        vq_buffer_add(value, ",hv-time=on");
    if (tsc != NULL && tsc->frequency != 0)
        vq_buffer_addf(value, ",tsc-frequency=%" PRIu64, tsc->frequency);
    if (features == NULL)
        return;
    if (features->apic_eoi != VQ_SWITCH_UNSET)
        vq_buffer_addf(value, ",kvm-pv-eoi=%s", vq_qemu_on_off(features->apic_eoi));
    if (features->pvspinlock != VQ_SWITCH_UNSET)
        vq_buffer_addf(value, ",kvm-pv-unhalt=%s", vq_qemu_on_off(features->pvspinlock));
    if (features->hyperv != NULL)
        add_hyperv(features->hyperv, value);
    if (features->kvm != NULL && features->kvm->hidden == VQ_SWITCH_ON)
        vq_buffer_add(value, ",kvm=off");
    if (features->kvm != NULL && features->kvm->hint_dedicated == VQ_SWITCH_ON)
        vq_buffer_add(value, ",kvm-hint-dedicated=on");
    if (features->kvm != NULL)
        vq_qemu_add_switch(value, "kvm-poll-control", features->kvm->poll_control);
    vq_qemu_add_switch(value, "pmu", features->pmu);
}

int vq_qemu_write_cpu(struct vq_qemu_writer *writer, struct vq_error *err)
{
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;

    if (add_cpu_model(writer, &value, err) < 0)
        return -1;
    if (writer->def->cpu != NULL)
        add_cpu_features(writer->def->cpu, &value);
    add_cpu_of_features(writer, &value);
    if (value.length > 0 && value.data[0] != ',')
        vq_qemu_arg_buffer(writer, "-cpu", &value);
    else if (value.length > 0)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "CPU features are given without a CPU model");
    return 0;
}

/* ---- Memory ---- */

/* QEMU takes whole MiB: a guest gets what it was promised and perhaps a little more. */
static uint64_t whole_mib(uint64_t kib)
{
    return kib > UINT64_MAX - 1023 ? kib : (kib + 1023) / 1024 * 1024;
}

/* One memory backend: plain memory, shared memory (memfd) or huge pages. */
static int write_memory_backend(struct vq_qemu_writer *writer, const char *id, uint64_t size_kib, const char *access,
                                struct vq_error *err)
{
    const struct vq_memory_backing *backing = writer->def->memory_backing;
    const char *source = backing == NULL ? NULL : backing->source_type;
    const char *sharing = access != NULL ? access : backing == NULL ? NULL : backing->access_mode;

    if (vq_streq(source, "file"))
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                            "memory backing by a file needs a directory for it; use source type 'memfd'");
    bool is_huge = backing != NULL && backing->has_hugepages;
    /* Memory that others map has to have a descriptor. */
    bool is_memfd = vq_streq(source, "memfd") || is_huge || vq_streq(sharing, "shared");
    json_t *object = json_pack("{s:s, s:s, s:I}", "qom-type", is_memfd ? "memory-backend-memfd" : "memory-backend-ram",
                               "id", id, "size", (json_int_t)(whole_mib(size_kib) * 1024));
    /* The block keeps the name that it has in the migration stream of plain memory. */
    if (is_memfd && strcmp(id, vq_qemu_memory_id(writer)) == 0)
        json_object_set_new(object, "x-use-canonical-path-for-ramblock-id", json_false());
    if (is_huge) {
        json_object_set_new(object, "hugetlb", json_true());
        if (backing->n_hugepages > 0)
            json_object_set_new(object, "hugetlbsize", json_integer((json_int_t)(backing->hugepages[0]->size_kib * 1024)));
    }
    if (sharing != NULL)
        json_object_set_new(object, "share", json_boolean(strcmp(sharing, "shared") == 0));
    if (backing != NULL && vq_streq(backing->allocation_mode, "immediate"))
        json_object_set_new(object, "prealloc", json_true());
    if (backing != NULL && backing->nosharepages)
        json_object_set_new(object, "merge", json_false());
    vq_qemu_arg_json(writer, "-object", object);
    return 0;
}

int vq_qemu_write_cells(struct vq_qemu_writer *writer, struct vq_error *err)
{
    const struct vq_cpu *cpu = writer->def->cpu;

    for (size_t i = 0; i < cpu->n_cells; i++) {
        const struct vq_numa_cell *cell = cpu->cells[i];
        uint32_t id = cell->has_id ? cell->id : (uint32_t)i;
        char backend[32];
        VQ_AUTOBUFFER value = VQ_BUFFER_INIT;

        (void)snprintf(backend, sizeof(backend), "ram-node%u", id);
        if (write_memory_backend(writer, backend, cell->memory_kib, cell->mem_access, err) < 0)
            return -1;
        vq_buffer_addf(&value, "node,nodeid=%u", id);
        VQ_AUTOFREE char *cpus = vq_strdup(cell->cpus);
        char *rest = NULL;
        for (char *range = cpus == NULL ? NULL : strtok_r(cpus, ",", &rest); range != NULL; range = strtok_r(NULL, ",", &rest))
            vq_buffer_addf(&value, ",cpus=%s", range);
        vq_buffer_addf(&value, ",memdev=%s", backend);
        vq_qemu_arg_buffer(writer, "-numa", &value);
    }
    for (size_t i = 0; i < cpu->n_cells; i++) {
        for (size_t k = 0; k < cpu->cells[i]->n_distances; k++) {
            VQ_AUTOBUFFER value = VQ_BUFFER_INIT;
            vq_buffer_addf(&value, "dist,src=%zu,dst=%u,val=%u", i, cpu->cells[i]->distances[k]->id,
                           cpu->cells[i]->distances[k]->value);
            vq_qemu_arg_buffer(writer, "-numa", &value);
        }
    }
    return 0;
}

/* With NUMA cells it is their sum, each rounded for itself. */
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
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;

    vq_buffer_addf(&value, "size=%" PRIu64 "k", memory_kib(def));
    if (def->max_memory_kib != 0)
        vq_buffer_addf(&value, ",slots=%u,maxmem=%" PRIu64 "k", def->max_memory_slots,
                       whole_mib(def->max_memory_kib));
    vq_qemu_arg_buffer(writer, "-m", &value);
    if (!vq_qemu_has_cells(def) && write_memory_backend(writer, vq_qemu_memory_id(writer), def->memory_kib, NULL, err) < 0)
        return -1;
    vq_qemu_arg_pair(writer, "-overcommit",
                     def->memory_backing != NULL && def->memory_backing->locked ? "mem-lock=on" : "mem-lock=off");
    return 0;
}

void vq_qemu_write_smp(struct vq_qemu_writer *writer)
{
    const struct vq_domain *def = writer->def;
    const struct vq_cpu *cpu = def->cpu;
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;

    vq_buffer_addf(&value, "%u", def->current_vcpus == 0 ? def->vcpus : def->current_vcpus);
    if (def->current_vcpus != 0 && def->current_vcpus != def->vcpus)
        vq_buffer_addf(&value, ",maxcpus=%u", def->vcpus);
    if (cpu != NULL && cpu->sockets != 0) {
        vq_buffer_addf(&value, ",sockets=%u", cpu->sockets);
        if (cpu->dies > 1)
            vq_buffer_addf(&value, ",dies=%u", cpu->dies);
        vq_buffer_addf(&value, ",cores=%u,threads=%u", cpu->cores, cpu->threads);
    } else {
        vq_buffer_addf(&value, ",sockets=%u,cores=1,threads=1", def->vcpus);
    }
    vq_qemu_arg_buffer(writer, "-smp", &value);
}

void vq_qemu_write_iothreads(struct vq_qemu_writer *writer)
{
    const struct vq_domain *def = writer->def;
    uint32_t n = def->iothreads > def->n_iothread_ids ? def->iothreads : (uint32_t)def->n_iothread_ids;

    for (uint32_t i = 0; i < n; i++) {
        char id[32];
        (void)snprintf(id, sizeof(id), "iothread%u", i < def->n_iothread_ids ? def->iothread_ids[i]->id : i + 1);
        vq_qemu_arg_json(writer, "-object", json_pack("{s:s, s:s}", "qom-type", "iothread", "id", id));
    }
}
