/* What a definition may not say: machine, CPU, memory, firmware, clock. Devices are in definition_check_devices.c.
 *
 * Everything here is refused when the domain is defined, with the words that users know from libvirt. What only the host of
 * a run can tell is refused at its start. */
#define VQ_FROM VIR_FROM_QEMU
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/cpuset.h"
#include "conf/domain.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/definition.h"

#define REFUSE(...) vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, __VA_ARGS__)

static bool is_x86(const struct vq_domain *def)
{
    return vq_streq(def->os.arch, "x86_64") || vq_streq(def->os.arch, "i686");
}

static bool is_q35(const struct vq_domain *def)
{
    return def->os.machine != NULL && (strncmp(def->os.machine, "pc-q35", 6) == 0 || strcmp(def->os.machine, "q35") == 0);
}

/* ---- CPU ---- */

static int check_cpu(const struct vq_domain *def, struct vq_error *err)
{
    const struct vq_cpu *cpu = def->cpu;

    if (cpu == NULL)
        return 0;
    bool is_hosts = cpu->mode == VQ_CPU_MODE_HOST_PASSTHROUGH || cpu->mode == VQ_CPU_MODE_MAXIMUM;
    if (vq_streq(cpu->cache_mode, "emulate") && cpu->has_cache_level && cpu->cache_level != 3)
        return REFUSE("CPU cache mode 'emulate' can only be used with level='3'");
    if (vq_streq(cpu->cache_mode, "passthrough") && !is_hosts)
        return REFUSE("CPU cache mode 'passthrough' can only be used with 'host-passthrough' / 'maximum' CPUs");
    if (!vq_streq(cpu->cache_mode, "emulate") && cpu->cache_mode != NULL && cpu->has_cache_level)
        return REFUSE("unsupported CPU cache level for mode '%s'", cpu->cache_mode);
    if (vq_streq(cpu->maxphysaddr_mode, "emulate") && cpu->maxphysaddr_bits == 0)
        return REFUSE("if using CPU maximum physical address mode='emulate', bits= must be specified too");
    if (vq_streq(cpu->maxphysaddr_mode, "passthrough") && cpu->maxphysaddr_bits != 0)
        return REFUSE("CPU maximum physical address bits number specification cannot be used with mode='passthrough'");
    for (size_t i = 0; i < cpu->n_features; i++)
        for (size_t k = 0; k < i; k++)
            if (strcmp(cpu->features[i]->name, cpu->features[k]->name) == 0)
                return vq_error_set(err, VIR_ERR_XML_ERROR, "CPU feature '%s' specified more than once",
                                    cpu->features[i]->name);
    return 0;
}

/* ---- NUMA ---- */

static int check_cells(const struct vq_domain *def, struct vq_error *err)
{
    const struct vq_cpu *cpu = def->cpu;
    size_t n = cpu == NULL ? 0 : cpu->n_cells;
    VQ_AUTOFREE struct vq_cpuset *sets = vq_calloc(n + 1, sizeof(*sets));
    uint64_t n_cpus = 0;

    for (size_t i = 0; i < n; i++) {
        if (cpu->cells[i]->cpus == NULL)
            continue;
        if (!vq_cpuset_parse(cpu->cells[i]->cpus, VQ_CPUSET_BITS, &sets[i]))
            return vq_error_set(err, VIR_ERR_XML_ERROR, "NUMA cell %zu: '%s' is no set of vcpus", i, cpu->cells[i]->cpus);
        n_cpus += vq_cpuset_count(&sets[i]);
        for (size_t k = 0; k < i; k++)
            if (vq_cpuset_overlaps(&sets[i], &sets[k]))
                return REFUSE("NUMA cells %zu and %zu have overlapping vCPU ids", i, k);
        for (int32_t bit = vq_cpuset_next(&sets[i], 0); bit >= 0; bit = vq_cpuset_next(&sets[i], (uint32_t)bit + 1))
            if ((uint32_t)bit >= def->vcpus)
                return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Number of CPUs in <numa> exceeds the <vcpu> count");
    }
    return n_cpus > def->vcpus
               ? vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Number of CPUs in <numa> exceeds the <vcpu> count")
               : 0;
}

static bool has_cell(const struct vq_domain *def, uint32_t id)
{
    for (size_t i = 0; def->cpu != NULL && i < def->cpu->n_cells; i++)
        if ((def->cpu->cells[i]->has_id ? def->cpu->cells[i]->id : i) == id)
            return true;
    return false;
}

static int check_numa(const struct vq_domain *def, struct vq_error *err)
{
    static const char *const modes[] = {"strict", "preferred", "interleave", "restrictive"};
    bool is_known = def->numatune.mode == NULL;

    if (check_cells(def, err) < 0)
        return -1;
    for (size_t i = 0; i < def->numatune.n_memnodes; i++)
        if (!has_cell(def, def->numatune.memnodes[i]->cell))
            return vq_error_set(err, VIR_ERR_XML_ERROR,
                                "Argument 'cellid' in memnode element must correspond to existing guest's NUMA cell");
    for (size_t i = 0; i < VQ_N_ELEMENTS(modes); i++)
        is_known = is_known || strcmp(modes[i], def->numatune.mode) == 0;
    if (!is_known)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "Invalid value for attribute 'mode' in element 'memory': '%s'.",
                            def->numatune.mode);
    if (def->numatune.has_memory && def->numatune.nodeset == NULL && !vq_streq(def->numatune.placement, "auto"))
        return vq_error_set(err, VIR_ERR_XML_ERROR,
                            "nodeset for NUMA memory tuning must be set if 'placement' is 'static'");
    if (vq_streq(def->numatune.placement, "auto") || vq_streq(def->vcpu_placement, "auto"))
        return REFUSE("placement 'auto' needs numad, which this daemon does not ask");
    for (size_t i = 0; def->cpu != NULL && i < def->cpu->n_cells; i++)
        for (size_t k = 0; k < def->cpu->cells[i]->n_distances; k++)
            if (!has_cell(def, def->cpu->cells[i]->distances[k]->id))
                return vq_error_set(err, VIR_ERR_XML_ERROR, "NUMA distances for sibling %u of cell %zu: there is no such cell",
                                    def->cpu->cells[i]->distances[k]->id, i);
    return 0;
}

/* ---- Memory devices ---- */

static int check_virtio_mem(const struct vq_memory_device *memory, struct vq_error *err)
{
    if (memory->block_kib == 0 || (memory->block_kib & (memory->block_kib - 1)) != 0)
        return vq_error_set(err, VIR_ERR_XML_DETAIL, "block size must be a power of two");
    if (memory->requested_kib > memory->size_kib)
        return vq_error_set(err, VIR_ERR_XML_DETAIL, "requested size must be smaller than or equal to @size (%lluKiB)",
                            (unsigned long long)memory->size_kib);
    if (memory->requested_kib % memory->block_kib != 0)
        return vq_error_set(err, VIR_ERR_XML_DETAIL, "requested size must be an integer multiple of block size");
    return 0;
}

static int check_memory_device(const struct vq_domain *def, const struct vq_memory_device *memory, struct vq_error *err)
{
    bool is_pmem = vq_streq(memory->model, "virtio-pmem");

    if (vq_streq(memory->model, "sgx-epc"))
        return REFUSE("sgx epc isn't supported by this QEMU binary");
    if (def->max_memory_kib == 0)
        return REFUSE("cannot use/hotplug a memory device when domain 'maxMemory' is not defined");
    if (!memory->has_node && !is_pmem)
        return REFUSE("target NUMA node needs to be specified for memory device");
    if (memory->has_node && !has_cell(def, memory->node))
        return vq_error_set(err, VIR_ERR_XML_DETAIL,
                            "can't add memory backend for guest node '%u' as the guest has only '%zu' NUMA nodes configured",
                            memory->node, def->cpu == NULL ? (size_t)0 : def->cpu->n_cells);
    if ((is_pmem || vq_streq(memory->model, "nvdimm")) && memory->path == NULL)
        return vq_error_set(err, VIR_ERR_XML_DETAIL, "path is required for model '%s'", memory->model);
    if (is_pmem && vq_streq(memory->access, "private"))
        return vq_error_set(err, VIR_ERR_XML_DETAIL, "shared access mode required for virtio-pmem device");
    if (vq_streq(memory->model, "virtio-mem"))
        return check_virtio_mem(memory, err);
    return 0;
}

static int check_memory_devices(const struct vq_domain *def, struct vq_error *err)
{
    const struct vq_devices *devices = &def->devices;

    if (def->max_memory_kib != 0 && (def->cpu == NULL || def->cpu->n_cells == 0) && is_x86(def))
        return REFUSE("At least one numa node has to be configured when enabling memory hotplug");
    for (size_t i = 0; i < devices->n_memories; i++) {
        const struct vq_device_info *info = &devices->memories[i]->info;
        if (check_memory_device(def, devices->memories[i], err) < 0)
            return -1;
        if (info->address.type != VQ_ADDRESS_DIMM)
            continue;
        if (info->address.dimm.slot >= def->max_memory_slots)
            return REFUSE("memory device slot '%u' exceeds slots count '%u'", info->address.dimm.slot, def->max_memory_slots);
        for (size_t k = 0; k < i; k++)
            if (devices->memories[k]->info.address.type == VQ_ADDRESS_DIMM &&
                devices->memories[k]->info.address.dimm.slot == info->address.dimm.slot)
                return REFUSE("memory device slot '%u' is already being used by another memory device",
                              info->address.dimm.slot);
    }
    return 0;
}

/* ---- Firmware and boot ---- */

static int check_loader(const struct vq_domain *def, struct vq_error *err)
{
    const struct vq_os *os = &def->os;
    bool is_secure = os->loader_secure == VQ_SWITCH_ON;
    bool is_uefi = os->loader_type == VQ_LOADER_PFLASH || os->firmware == VQ_FIRMWARE_EFI;

    if (os->firmware != VQ_FIRMWARE_UNSET && os->nvram_template != NULL)
        return vq_error_set(err, VIR_ERR_XML_DETAIL,
                            "nvram attribute 'template' cannot be specified when firmware autoselection is enabled");
    if (os->firmware == VQ_FIRMWARE_UNSET && os->n_firmware_features > 0)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "cannot use feature-based firmware autoselection when firmware "
                            "autoselection is disabled");
    if (is_secure && !is_q35(def))
        return REFUSE("Secure boot is supported with q35 machine types only");
    if (is_secure && os->firmware == VQ_FIRMWARE_UNSET && (def->features == NULL || def->features->smm != VQ_SWITCH_ON))
        return REFUSE("Secure boot requires SMM feature enabled");
    if (is_uefi && (def->features == NULL || !def->features->has_acpi))
        return REFUSE("UEFI requires ACPI on this architecture");
    if (!is_uefi && !is_x86(def) && def->features != NULL && def->features->has_acpi)
        return REFUSE("ACPI requires UEFI on this architecture");
    return 0;
}

static int check_smbios(const struct vq_domain *def, struct vq_error *err)
{
    char own[VQ_UUID_TEXT];

    vq_uuid_format(def->uuid, own);
    if (def->os.smbios_mode != NULL && strcmp(def->os.smbios_mode, "emulate") != 0 &&
        strcmp(def->os.smbios_mode, "host") != 0 && strcmp(def->os.smbios_mode, "sysinfo") != 0)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "Invalid value for attribute 'mode' in element 'smbios': '%s'.",
                            def->os.smbios_mode);
    for (size_t i = 0; i < def->n_sysinfos; i++) {
        const struct vq_sysinfo *info = def->sysinfos[i];
        for (size_t k = 0; k < info->n_system; k++) {
            uint8_t uuid[VQ_UUID_BYTES];
            if (!vq_streq(info->system[k]->name, "uuid") || info->system[k]->value == NULL)
                continue;
            if (!vq_uuid_parse(info->system[k]->value, uuid))
                return vq_error_set(err, VIR_ERR_XML_DETAIL, "malformed <sysinfo> uuid element");
            if (memcmp(uuid, def->uuid, sizeof(uuid)) != 0)
                return vq_error_set(err, VIR_ERR_XML_DETAIL, "UUID mismatch between <uuid> and <sysinfo>");
        }
        for (size_t k = 0; k < info->n_fwcfg; k++)
            if (info->fwcfg[k]->name == NULL || strncmp(info->fwcfg[k]->name, "opt/", 4) != 0)
                return REFUSE("Invalid firmware name");
            else if ((info->fwcfg[k]->file == NULL) == (info->fwcfg[k]->value == NULL || info->fwcfg[k]->value[0] == '\0'))
                return vq_error_set(err, VIR_ERR_XML_ERROR, "firmware entry must have either value or 'file' attribute");
    }
    return 0;
}

static int check_os(const struct vq_domain *def, struct vq_error *err)
{
    const struct vq_os *os = &def->os;

    if (check_loader(def, err) < 0)
        return -1;
    for (size_t i = 0; i < os->n_acpi_tables; i++) {
        if (!vq_streq(os->acpi_tables[i]->type, "slic"))
            return vq_error_set(err, VIR_ERR_XML_ERROR, "Unknown acpi table type: %s", os->acpi_tables[i]->type);
        if (os->acpi_tables[i]->path == NULL || os->acpi_tables[i]->path[0] != '/')
            return vq_error_set(err, VIR_ERR_XML_ERROR, "an ACPI table needs the path of its file");
    }
    if (os->bios_useserial == VQ_SWITCH_ON && def->devices.n_serials == 0)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "need at least one serial port to use BIOS serial output");
    return check_smbios(def, err);
}

/* ---- Features ---- */

static int check_features(const struct vq_domain *def, struct vq_error *err)
{
    const struct vq_features *features = def->features;
    bool is_arm = vq_streq(def->os.arch, "aarch64");

    if (features == NULL)
        return 0;
    const struct {
        bool is_there;
        const char *name;
    } foreign[] = {{features->has_gic && !is_arm, "gic"},
                   {features->has_hpt, "hpt"},
                   {features->htm != VQ_SWITCH_UNSET, "htm"},
                   {features->nested_hv != VQ_SWITCH_UNSET, "nested-hv"},
                   {features->ccf_assist != VQ_SWITCH_UNSET, "ccf-assist"},
                   {features->cfpc != NULL, "cfpc"},
                   {features->sbbc != NULL, "sbbc"},
                   {features->ibs != NULL, "ibs"},
                   {features->ioapic_driver != NULL && !is_x86(def), "ioapic"},
                   {features->vmport != VQ_SWITCH_UNSET && !is_x86(def), "vmport"},
                   {features->has_smm && !is_x86(def), "smm"},
                   {features->vmcoreinfo != VQ_SWITCH_UNSET && !is_x86(def) && !is_arm, "vmcoreinfo"}};

    for (size_t i = 0; i < VQ_N_ELEMENTS(foreign); i++)
        if (foreign[i].is_there)
            return REFUSE("The '%s' feature is not supported for architecture '%s' or machine type '%s'", foreign[i].name,
                          def->os.arch, def->os.machine);
    if (features->async_teardown != VQ_SWITCH_UNSET)
        return REFUSE("asynchronous teardown is not available with this QEMU binary");
    if (features->tcg_tb_cache_kib != 0 && def->type != VQ_VIRT_QEMU)
        return REFUSE("TCG features are incompatible with domain type 'kvm'");
    if (features->has_smm_tseg && !is_q35(def))
        return REFUSE("SMM TSEG is only supported with q35 machine type");
    if (features->has_smm_tseg && features->smm_tseg_bytes % (1024 * 1024) != 0)
        return REFUSE("SMM TSEG size must be divisible by 1 MiB");
    if (vq_streq(features->ioapic_driver, "kvm") && def->type != VQ_VIRT_KVM)
        return REFUSE("I/O APIC of KVM needs a domain of type 'kvm'");
    return 0;
}

/* ---- Clock ---- */

static int check_timer(const struct vq_domain *def, const struct vq_timer *timer, struct vq_error *err)
{
    static const char *const ticks[VQ_TICK_N] = {[VQ_TICK_DELAY] = "delay", [VQ_TICK_CATCHUP] = "catchup",
                                                 [VQ_TICK_MERGE] = "merge", [VQ_TICK_DISCARD] = "discard"};

    switch (timer->name) {
    case VQ_TIMER_PLATFORM:
        return REFUSE("unsupported timer type (name) 'platform'");
    case VQ_TIMER_RTC:
        if (timer->tickpolicy == VQ_TICK_MERGE || timer->tickpolicy == VQ_TICK_DISCARD)
            return REFUSE("unsupported rtc timer tickpolicy '%s'", ticks[timer->tickpolicy]);
        return 0;
    case VQ_TIMER_PIT:
        if (timer->tickpolicy == VQ_TICK_MERGE)
            return REFUSE("unsupported pit tickpolicy 'merge'");
        return 0;
    case VQ_TIMER_HPET:
        if (timer->tickpolicy != VQ_TICK_UNSET && timer->tickpolicy != VQ_TICK_DELAY)
            return REFUSE("unsupported hpet tickpolicy '%s'", ticks[timer->tickpolicy]);
        return 0;
    case VQ_TIMER_ARMVTIMER:
        return REFUSE("Configuring the 'armvtimer' timer is not supported for virtType=%s arch=%s machine=%s guests",
                      def->type == VQ_VIRT_KVM ? "kvm" : "qemu", def->os.arch, def->os.machine);
    case VQ_TIMER_KVMCLOCK:
    case VQ_TIMER_HYPERVCLOCK:
    case VQ_TIMER_TSC:
        if (!is_x86(def) && timer->present == VQ_SWITCH_ON)
            return REFUSE("Configuring the '%s' timer is not supported for virtType=%s arch=%s machine=%s guests",
                          timer->name == VQ_TIMER_TSC ? "tsc" : timer->name == VQ_TIMER_KVMCLOCK ? "kvmclock" : "hypervclock",
                          def->type == VQ_VIRT_KVM ? "kvm" : "qemu", def->os.arch, def->os.machine);
        return 0;
    default:
        return 0;
    }
}

static int check_clock(const struct vq_domain *def, struct vq_error *err)
{
    for (size_t i = 0; i < def->clock.n_timers; i++)
        if (check_timer(def, def->clock.timers[i], err) < 0)
            return -1;
    return 0;
}

/* ---- Tuning ---- */

static int check_schedulers(struct vq_scheduler *const *schedulers, size_t n, const char *element, struct vq_error *err)
{
    static const struct {
        const char *name;
        bool has_priority;
    } known[] = {{"batch", false}, {"idle", false}, {"fifo", true}, {"rr", true}};

    for (size_t i = 0; i < n; i++) {
        bool is_known = false;
        for (size_t k = 0; k < VQ_N_ELEMENTS(known); k++) {
            if (!vq_streq(known[k].name, schedulers[i]->scheduler))
                continue;
            is_known = true;
            if (known[k].has_priority && !schedulers[i]->has_priority)
                return vq_error_set(err, VIR_ERR_XML_ERROR, "Missing required attribute 'priority' in element '%s'", element);
        }
        if (!is_known)
            return vq_error_set(err, VIR_ERR_XML_ERROR, "Invalid value for attribute 'scheduler' in element '%s': '%s'.",
                                element, schedulers[i]->scheduler == NULL ? "" : schedulers[i]->scheduler);
    }
    return 0;
}

static int check_tuning(const struct vq_domain *def, struct vq_error *err)
{
    const struct vq_cputune *tune = def->cputune;

    if (tune == NULL)
        return 0;
    if (check_schedulers(tune->vcpu_scheds, tune->n_vcpu_scheds, "vcpusched", err) < 0 ||
        check_schedulers(tune->iothread_scheds, tune->n_iothread_scheds, "iothreadsched", err) < 0 ||
        check_schedulers(tune->emulator_scheds, tune->n_emulator_scheds, "emulatorsched", err) < 0)
        return -1;
    for (size_t i = 0; i < tune->n_vcpu_pins; i++)
        for (size_t k = 0; k < i; k++)
            if (tune->vcpu_pins[i]->vcpu == tune->vcpu_pins[k]->vcpu)
                return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "duplicate vcpupin for vcpu '%u'", tune->vcpu_pins[i]->vcpu);
    return 0;
}

/* ---- Of QEMU alone ---- */

static int check_namespace(const struct vq_domain *def, struct vq_error *err)
{
    for (size_t i = 0; def->qemu != NULL && i < def->qemu->n_envs; i++) {
        const char *name = def->qemu->envs[i]->name;
        if (name == NULL || name[0] == '\0')
            return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Empty environment name specified");
        if (!((name[0] >= 'a' && name[0] <= 'z') || (name[0] >= 'A' && name[0] <= 'Z') || name[0] == '_'))
            return vq_error_set(err, VIR_ERR_INTERNAL_ERROR,
                                "Invalid environment name, it must begin with a letter or underscore");
        for (const char *c = name; *c != '\0'; c++)
            if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '_'))
                return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Invalid environment name, it must contain only alphanumerics "
                                    "and underscore");
    }
    for (size_t i = 0; i < def->n_qemu_devices; i++) {
        for (size_t k = 0; k < def->qemu_devices[i]->n_properties; k++) {
            static const char *const types[] = {"string", "unsigned", "signed", "bool", "remove"};
            const struct vq_qemu_property *property = def->qemu_devices[i]->properties[k];
            bool is_known = false;
            int64_t number;
            for (size_t t = 0; t < VQ_N_ELEMENTS(types); t++)
                is_known = is_known || vq_streq(types[t], property->type);
            if (!is_known)
                return vq_error_set(err, VIR_ERR_XML_ERROR, "Invalid value for attribute 'type' in element 'property': '%s'.",
                                    property->type == NULL ? "" : property->type);
            if ((vq_streq(property->type, "unsigned") || vq_streq(property->type, "signed")) &&
                !vq_parse_i64(property->value == NULL ? "" : property->value,
                              vq_streq(property->type, "signed") ? INT64_MIN : 0, INT64_MAX, &number))
                return vq_error_set(err, VIR_ERR_XML_ERROR, "Invalid value '%s' for property '%s'",
                                    property->value == NULL ? "" : property->value, property->name);
        }
    }
    return 0;
}

static int check_security(const struct vq_domain *def, struct vq_error *err)
{
    const struct vq_launch_security *security = def->launch_security;

    if (security != NULL && vq_streq(security->type, "s390-pv"))
        return REFUSE("S390 PV launch security is not supported with this QEMU binary");
    for (size_t i = 0; i < def->n_keywraps; i++)
        if (def->keywraps[i]->name != NULL)
            return REFUSE("%s-key-wrap is not available with this QEMU binary", def->keywraps[i]->name);
    return 0;
}

int vq_qemu_definition_check(const struct vq_domain *def, const struct vq_qemu_capabilities *caps, struct vq_error *err)
{
    static int (*const checks[])(const struct vq_domain *def, struct vq_error *err) = {
        check_cpu, check_numa, check_memory_devices, check_os, check_features, check_clock, check_tuning, check_namespace,
        check_security};

    for (size_t i = 0; i < VQ_N_ELEMENTS(checks); i++)
        if (checks[i](def, err) < 0)
            return -1;
    return vq_qemu_definition_check_devices(def, caps, err);
}
