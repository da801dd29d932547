/* CPU, its topology and iothreads on the command line. */
#define VQ_FROM VIR_FROM_QEMU
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
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
        writer->cpu_driver = "host";
        vq_buffer_add(value, "host");
        vq_qemu_add_switch(value, "migratable", cpu->migratable);
        return 0;
    case VQ_CPU_MODE_HOST_MODEL:
        writer->cpu_driver = is_kvm ? "host" : "max";
        vq_buffer_add(value, writer->cpu_driver);
        return 0;
    case VQ_CPU_MODE_MAXIMUM:
        writer->cpu_driver = "max";
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
    if (cpu->model_vendor_id != NULL) {
        vq_buffer_add(value, ",vendor=");
        vq_qemu_add_value(value, cpu->model_vendor_id);
    }
    for (size_t i = 0; i < cpu->n_features; i++) {
        const struct vq_cpu_feature *feature = cpu->features[i];
        bool is_on = feature->policy != VQ_CPU_POLICY_DISABLE && feature->policy != VQ_CPU_POLICY_FORBID;
        if (feature->policy == VQ_CPU_POLICY_OPTIONAL)
            continue; /* the run's definition says whether it is there: cpu_run.c */
        vq_buffer_add(value, ",");
        vq_qemu_add_value(value, vq_cpu_feature_for_qemu(feature->name));
        vq_buffer_add(value, is_on ? "=on" : "=off");
    }
    if (vq_streq(cpu->cache_mode, "emulate"))
        vq_buffer_add(value, cpu->mode == VQ_CPU_MODE_HOST_PASSTHROUGH || cpu->mode == VQ_CPU_MODE_MAXIMUM
                                 ? ",l3-cache=on,host-cache-info=off"
                                 : ",l3-cache=on");
    else if (vq_streq(cpu->cache_mode, "passthrough"))
        vq_buffer_add(value, ",host-cache-info=on,l3-cache=off");
    else if (vq_streq(cpu->cache_mode, "disable"))
        vq_buffer_add(value, cpu->mode == VQ_CPU_MODE_HOST_PASSTHROUGH || cpu->mode == VQ_CPU_MODE_MAXIMUM
                                 ? ",host-cache-info=off,l3-cache=off"
                                 : ",l3-cache=off");
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
    for (size_t i = 0; i < writer->def->devices.n_panics; i++)
        if (vq_streq(writer->def->devices.panics[i]->model, "hyperv"))
            vq_buffer_add(value, ",hv-crash=on");
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
    if (features->kvm != NULL && features->kvm->poll_control == VQ_SWITCH_ON)
        vq_buffer_add(value, ",kvm-poll-control=on");
    if (features->kvm != NULL && features->kvm->pv_ipi == VQ_SWITCH_OFF)
        vq_buffer_add(value, ",kvm-pv-ipi=off");
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

/* ---- Topology ---- */

/* Vcpus that can be taken out again are devices of their own; the others are the board's. */
static bool is_device(const struct vq_vcpu_entry *vcpu)
{
    return vcpu->enabled != VQ_SWITCH_OFF && vcpu->hotpluggable == VQ_SWITCH_ON;
}

static uint32_t n_vcpu_devices(const struct vq_domain *def)
{
    uint32_t n = 0;

    for (size_t i = 0; i < def->n_vcpu_entries; i++)
        n += is_device(def->vcpu_entries[i]);
    return n;
}

void vq_qemu_write_smp(struct vq_qemu_writer *writer)
{
    const struct vq_domain *def = writer->def;
    const struct vq_cpu *cpu = def->cpu;
    uint32_t current = (def->current_vcpus == 0 ? def->vcpus : def->current_vcpus) - n_vcpu_devices(def);
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;

    vq_buffer_addf(&value, "%u", current);
    if (current != def->vcpus)
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

static int compare_order(const void *a, const void *b)
{
    const struct vq_vcpu_entry *left = *(const struct vq_vcpu_entry *const *)a, *right = *(const struct vq_vcpu_entry *const *)b;

    return left->order != right->order ? (left->order < right->order ? -1 : 1) : left->id < right->id ? -1 : 1;
}

static void write_vcpu(struct vq_qemu_writer *writer, const struct vq_vcpu_entry *vcpu)
{
    const struct vq_cpu *cpu = writer->def->cpu;
    bool has_topology = cpu != NULL && cpu->sockets != 0;
    uint32_t threads = has_topology ? cpu->threads : 1, cores = has_topology ? cpu->cores : 1;
    uint32_t dies = has_topology && cpu->dies > 1 ? cpu->dies : 1, core = vcpu->id / threads;
    const char *model = cpu == NULL || cpu->model == NULL ? "qemu64" : cpu->model;
    VQ_AUTOFREE char *driver = vq_asprintf("%s-%s-cpu", writer->cpu_driver != NULL ? writer->cpu_driver : model,
                                           writer->caps->arch);
    char id[24];

    (void)snprintf(id, sizeof(id), "vcpu%u", vcpu->id);
    json_t *device = json_pack("{s:s, s:s}", "driver", driver, "id", id);
    vq_qemu_json_number(device, "socket-id", core / cores / dies);
    vq_qemu_json_number(device, "die-id", core / cores % dies);
    vq_qemu_json_number(device, "core-id", core % cores);
    vq_qemu_json_number(device, "thread-id", vcpu->id % threads);
    vq_qemu_arg_json(writer, "-device", device);
}

void vq_qemu_write_vcpus(struct vq_qemu_writer *writer)
{
    const struct vq_domain *def = writer->def;
    VQ_AUTOFREE const struct vq_vcpu_entry **sorted = vq_calloc(def->n_vcpu_entries + 1, sizeof(*sorted));
    size_t n = 0;

    for (size_t i = 0; i < def->n_vcpu_entries; i++)
        if (is_device(def->vcpu_entries[i]))
            sorted[n++] = def->vcpu_entries[i];
    qsort(sorted, n, sizeof(*sorted), compare_order);
    for (size_t i = 0; i < n; i++)
        write_vcpu(writer, sorted[i]);
}

static void add_pool(json_t *object, bool has_min, uint32_t min, bool has_max, uint32_t max)
{
    if (has_min)
        vq_qemu_json_number(object, "thread-pool-min", min);
    if (has_max)
        vq_qemu_json_number(object, "thread-pool-max", max);
}

void vq_qemu_write_iothreads(struct vq_qemu_writer *writer)
{
    const struct vq_domain *def = writer->def;
    uint32_t n = def->iothreads > def->n_iothread_ids ? def->iothreads : (uint32_t)def->n_iothread_ids;

    for (uint32_t i = 0; i < n; i++) {
        const struct vq_iothread *given = i < def->n_iothread_ids ? def->iothread_ids[i] : NULL;
        char id[32];
        (void)snprintf(id, sizeof(id), "iothread%u", given != NULL ? given->id : i + 1);
        json_t *object = json_pack("{s:s, s:s}", "qom-type", "iothread", "id", id);
        if (given != NULL)
            add_pool(object, given->has_pool_min, given->pool_min, given->has_pool_max, given->pool_max);
        vq_qemu_arg_json(writer, "-object", object);
    }
    if (def->has_default_pool_min || def->has_default_pool_max) {
        json_t *object = json_pack("{s:s, s:s}", "qom-type", "main-loop", "id", "main-loop");
        add_pool(object, def->has_default_pool_min, def->default_pool_min, def->has_default_pool_max, def->default_pool_max);
        vq_qemu_arg_json(writer, "-object", object);
    }
}
