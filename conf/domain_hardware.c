/* What the machine of a domain is: boot, features, CPU, clock. */
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/device_fields.h"
#include "conf/domain_fields.h"

#define LINE_BREAKS .flags = VQ_FIELD_LINE_BREAKS
#define REQUIRED    .flags = VQ_FIELD_REQUIRED

/* ---- <os> ---- */

static const char *const firmware_names[VQ_FIRMWARE_N] = {[VQ_FIRMWARE_BIOS] = "bios", [VQ_FIRMWARE_EFI] = "efi"};
static const char *const loader_names[VQ_LOADER_N] = {
    [VQ_LOADER_ROM] = "rom", [VQ_LOADER_PFLASH] = "pflash", [VQ_LOADER_NONE] = "none"};
static const char *const boot_names[VQ_BOOT_DEV_N] = {
    [VQ_BOOT_FD] = "fd", [VQ_BOOT_HD] = "hd", [VQ_BOOT_CDROM] = "cdrom", [VQ_BOOT_NETWORK] = "network"};

static const struct vq_field firmware_feature_rows[] = {
    VQ_YES_NO("@enabled", vq_firmware_feature, enabled, REQUIRED),
    VQ_STRING("@name", vq_firmware_feature, name, REQUIRED),
};
VQ_FIELDS(firmware_feature_fields, "feature", vq_firmware_feature, firmware_feature_rows);

static const struct vq_field init_text_rows[] = {VQ_STRING(".", vq_init_text, text, LINE_BREAKS)};
VQ_FIELDS(init_text_fields, "initarg", vq_init_text, init_text_rows);

static const struct vq_field init_env_rows[] = {
    VQ_STRING("@name", vq_init_env, name, REQUIRED),
    VQ_STRING(".", vq_init_env, value, LINE_BREAKS),
};
VQ_FIELDS(init_env_fields, "initenv", vq_init_env, init_env_rows);

static const struct vq_field acpi_table_rows[] = {
    VQ_STRING("@type", vq_acpi_table, type, REQUIRED, VQ_WORDS("slic")),
    VQ_STRING(".", vq_acpi_table, path),
};
VQ_FIELDS(acpi_table_fields, "table", vq_acpi_table, acpi_table_rows);

static const struct vq_field boot_rows[] = {VQ_ENUM("@dev", vq_boot_entry, dev, boot_names, REQUIRED)};
VQ_FIELDS(boot_fields, "boot", vq_boot_entry, boot_rows);

static const struct vq_field os_rows[] = {
    VQ_ENUM("@firmware", vq_os, firmware, firmware_names),
    VQ_STRING("type/@arch", vq_os, arch),
    VQ_STRING("type/@machine", vq_os, machine),
    VQ_STRING("type", vq_os, type),
    VQ_LIST("firmware/feature", vq_os, firmware_features, firmware_feature_fields, .size = 16),
    VQ_STRING("init", vq_os, init),
    VQ_LIST("initarg", vq_os, initargs, init_text_fields),
    VQ_LIST("initenv", vq_os, initenvs, init_env_fields),
    VQ_STRING("initdir", vq_os, initdir),
    VQ_STRING("inituser", vq_os, inituser),
    VQ_STRING("initgroup", vq_os, initgroup),
    VQ_YES_NO("loader/@readonly", vq_os, loader_readonly),
    VQ_YES_NO("loader/@secure", vq_os, loader_secure),
    VQ_ENUM("loader/@type", vq_os, loader_type, loader_names),
    VQ_YES_NO("loader/@stateless", vq_os, loader_stateless),
    VQ_STRING("loader", vq_os, loader),
    VQ_STRING("nvram/@template", vq_os, nvram_template),
    VQ_ENUM("nvram/@type", vq_os, nvram_source.type, vq_source_type_names, .flags = VQ_FIELD_UNSUPPORTED),
    VQ_STRUCT("nvram/source", vq_os, nvram_source, vq_source_fields),
    VQ_STRING("nvram", vq_os, nvram),
    VQ_STRING("kernel", vq_os, kernel),
    VQ_STRING("initrd", vq_os, initrd),
    VQ_STRING("cmdline", vq_os, cmdline, LINE_BREAKS),
    VQ_STRING("dtb", vq_os, dtb),
    VQ_STRING("root", vq_os, root),
    VQ_STRING("shim", vq_os, shim),
    VQ_LIST("acpi/table", vq_os, acpi_tables, acpi_table_fields, .size = 16),
    VQ_LIST("boot", vq_os, boot, boot_fields, .size = 4),
    VQ_YES_NO("bootmenu/@enable", vq_os, bootmenu),
    VQ_UINT("bootmenu/@timeout", vq_os, bootmenu_timeout_ms, VQ_HAS(vq_os, has_bootmenu_timeout), .max = 65535),
    VQ_YES_NO("bios/@useserial", vq_os, bios_useserial),
    VQ_INT("bios/@rebootTimeout", vq_os, bios_reboot_timeout_ms, VQ_HAS(vq_os, has_bios_reboot_timeout)),
    VQ_STRING("smbios/@mode", vq_os, smbios_mode, .flags = VQ_FIELD_UNSUPPORTED,
              VQ_WORDS("none", "emulate", "host", "sysinfo")),
};
VQ_FIELDS_EXPORT(vq_os_fields, "os", vq_os, os_rows);

/* ---- <features> ---- */

#define HV(p, m) VQ_ON_OFF(p "/@state", vq_hyperv, m, .flags = VQ_FIELD_WITH_ELEMENT)

static const struct vq_field hyperv_rows[] = {
    VQ_STRING("@mode", vq_hyperv, mode, VQ_WORDS("custom", "passthrough")),
    HV("relaxed", relaxed),
    HV("vapic", vapic),
    HV("spinlocks", spinlocks),
    VQ_UINT("spinlocks/@retries", vq_hyperv, spinlocks_retries, .flags = VQ_FIELD_WITH_ELEMENT),
    HV("vpindex", vpindex),
    HV("runtime", runtime),
    HV("synic", synic),
    HV("stimer", stimer),
    HV("stimer/direct", stimer_direct),
    HV("reset", reset),
    HV("vendor_id", vendor_id),
    VQ_STRING("vendor_id/@value", vq_hyperv, vendor_id_value),
    HV("frequencies", frequencies),
    HV("reenlightenment", reenlightenment),
    HV("tlbflush", tlbflush),
    HV("ipi", ipi),
    HV("evmcs", evmcs),
    HV("avic", avic),
};
VQ_FIELDS(hyperv_fields, "hyperv", vq_hyperv, hyperv_rows);

static const struct vq_field kvm_rows[] = {
    VQ_ON_OFF("hidden/@state", vq_kvm_features, hidden, .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_ON_OFF("hint-dedicated/@state", vq_kvm_features, hint_dedicated, .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_ON_OFF("poll-control/@state", vq_kvm_features, poll_control, .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_ON_OFF("pv-ipi/@state", vq_kvm_features, pv_ipi, .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_ON_OFF("dirty-ring/@state", vq_kvm_features, dirty_ring, .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_UINT("dirty-ring/@size", vq_kvm_features, dirty_ring_size, .flags = VQ_FIELD_WITH_ELEMENT),
};
VQ_FIELDS(kvm_fields, "kvm", vq_kvm_features, kvm_rows);

/* Naming these without a state switches them on. */
static int features_parsed(void *object, const struct vq_xml_node *node, struct vq_error *err)
{
    struct vq_features *features = object;

    (void)node, (void)err;
    if (features->hyperv != NULL && features->hyperv->mode == NULL)
        features->hyperv->mode = vq_strdup("custom");
    if (features->has_hap && features->hap == VQ_SWITCH_UNSET)
        features->hap = VQ_SWITCH_ON;
    if (features->has_smm && features->smm == VQ_SWITCH_UNSET)
        features->smm = VQ_SWITCH_ON;
    if (features->has_vmcoreinfo && features->vmcoreinfo == VQ_SWITCH_UNSET)
        features->vmcoreinfo = VQ_SWITCH_ON;
    return 0;
}

static const struct vq_field features_rows[] = {
    VQ_PRESENT("acpi", vq_features, has_acpi),
    VQ_PRESENT("apic", vq_features, has_apic),
    VQ_ON_OFF("apic/@eoi", vq_features, apic_eoi),
    VQ_PRESENT("pae", vq_features, has_pae),
    VQ_PRESENT("hap", vq_features, has_hap),
    VQ_ON_OFF("hap/@state", vq_features, hap),
    VQ_PRESENT("viridian", vq_features, has_viridian),
    VQ_PRESENT("privnet", vq_features, has_privnet),
    VQ_OPTIONAL("hyperv", vq_features, hyperv, hyperv_fields, .flags = VQ_FIELD_ALWAYS | VQ_FIELD_OPEN),
    VQ_OPTIONAL("kvm", vq_features, kvm, kvm_fields, .flags = VQ_FIELD_ALWAYS | VQ_FIELD_OPEN),
    VQ_ON_OFF("pvspinlock/@state", vq_features, pvspinlock),
    VQ_STRING("capabilities/@policy", vq_features, capabilities_policy, VQ_WORDS("default", "allow", "deny")),
    VQ_ON_OFF("pmu/@state", vq_features, pmu),
    VQ_ON_OFF("vmport/@state", vq_features, vmport),
    VQ_PRESENT("gic", vq_features, has_gic),
    VQ_STRING("gic/@version", vq_features, gic_version, VQ_WORDS("2", "3", "host")),
    VQ_PRESENT("smm", vq_features, has_smm),
    VQ_ON_OFF("smm/@state", vq_features, smm),
    VQ_SIZE("smm/tseg", vq_features, smm_tseg_bytes, 1, VQ_HAS(vq_features, has_smm_tseg), .flags = VQ_FIELD_PRETTY),
    VQ_STRING("ioapic/@driver", vq_features, ioapic_driver, VQ_WORDS("kvm", "qemu")),
    VQ_PRESENT("hpt", vq_features, has_hpt),
    VQ_STRING("hpt/@resizing", vq_features, hpt_resizing, VQ_WORDS("enabled", "disabled", "required")),
    VQ_SIZE("hpt/maxpagesize", vq_features, hpt_maxpagesize_kib, 1024),
    VQ_PRESENT("vmcoreinfo", vq_features, has_vmcoreinfo),
    VQ_ON_OFF("vmcoreinfo/@state", vq_features, vmcoreinfo),
    VQ_ON_OFF("htm/@state", vq_features, htm),
    VQ_ON_OFF("nested-hv/@state", vq_features, nested_hv),
    VQ_STRING("msrs/@unknown", vq_features, msrs_unknown, VQ_WORDS("ignore", "fault"), .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_ON_OFF("ccf-assist/@state", vq_features, ccf_assist),
    VQ_PRESENT("xen", vq_features, has_xen),
    VQ_ON_OFF("xen/e820_host/@state", vq_features, xen_e820_host),
    VQ_ON_OFF("xen/passthrough/@state", vq_features, xen_passthrough),
    VQ_STRING("xen/passthrough/@mode", vq_features, xen_passthrough_mode, VQ_WORDS("default", "sync_pt", "share_pt")),
    VQ_STRING("cfpc/@value", vq_features, cfpc, VQ_WORDS("broken", "workaround", "fixed")),
    VQ_STRING("sbbc/@value", vq_features, sbbc, VQ_WORDS("broken", "workaround", "fixed")),
    VQ_STRING("ibs/@value", vq_features, ibs, VQ_WORDS("broken", "workaround", "fixed-ibs", "fixed-ccd", "fixed-na")),
    VQ_SIZE("tcg/tb-cache", vq_features, tcg_tb_cache_kib, 1024),
    VQ_ON_OFF("async-teardown/@enabled", vq_features, async_teardown),
};
VQ_FIELDS_EXPORT(vq_features_fields, "features", vq_features, features_rows, .parsed = features_parsed);

/* ---- <cpu> ---- */

static const char *const cpu_mode_names[VQ_CPU_MODE_N] = {
    [VQ_CPU_MODE_CUSTOM] = "custom",
    [VQ_CPU_MODE_HOST_MODEL] = "host-model",
    [VQ_CPU_MODE_HOST_PASSTHROUGH] = "host-passthrough",
    [VQ_CPU_MODE_MAXIMUM] = "maximum",
};
static const char *const cpu_match_names[VQ_CPU_MATCH_N] = {
    [VQ_CPU_MATCH_MINIMUM] = "minimum", [VQ_CPU_MATCH_EXACT] = "exact", [VQ_CPU_MATCH_STRICT] = "strict"};
static const char *const cpu_check_names[VQ_CPU_CHECK_N] = {
    [VQ_CPU_CHECK_NONE] = "none", [VQ_CPU_CHECK_PARTIAL] = "partial", [VQ_CPU_CHECK_FULL] = "full"};
static const char *const cpu_fallback_names[VQ_CPU_FALLBACK_N] = {
    [VQ_CPU_FALLBACK_ALLOW] = "allow", [VQ_CPU_FALLBACK_FORBID] = "forbid"};
static const char *const cpu_policy_names[VQ_CPU_POLICY_N] = {
    [VQ_CPU_POLICY_FORCE] = "force",     [VQ_CPU_POLICY_REQUIRE] = "require", [VQ_CPU_POLICY_OPTIONAL] = "optional",
    [VQ_CPU_POLICY_DISABLE] = "disable", [VQ_CPU_POLICY_FORBID] = "forbid",
};

static const struct vq_field cpu_feature_rows[] = {
    VQ_ENUM("@policy", vq_cpu_feature, policy, cpu_policy_names, .flags = VQ_FIELD_UNSUPPORTED),
    VQ_STRING("@name", vq_cpu_feature, name, REQUIRED),
};
VQ_FIELDS(cpu_feature_fields, "feature", vq_cpu_feature, cpu_feature_rows);

static const char *const byte_unit[] = {"B"};

static const struct vq_field sibling_rows[] = {
    VQ_UINT("@id", vq_numa_distance, id, REQUIRED),
    VQ_UINT("@value", vq_numa_distance, value, REQUIRED, .min = 10, .max = 255),
};
VQ_FIELDS(sibling_fields, "sibling", vq_numa_distance, sibling_rows);

static const struct vq_field cache_rows[] = {
    VQ_UINT("@level", vq_numa_cache, level, REQUIRED, .min = 1, .max = 255),
    VQ_STRING("@associativity", vq_numa_cache, associativity, REQUIRED, VQ_WORDS("none", "direct", "full")),
    VQ_STRING("@policy", vq_numa_cache, policy, REQUIRED, VQ_WORDS("none", "writeback", "writethrough")),
    VQ_SIZE("size/@value", vq_numa_cache, size_kib, 1024, REQUIRED),
    VQ_SIZE("line/@value", vq_numa_cache, line_bytes, 1, REQUIRED, .names = byte_unit, .n_names = 1),
};
VQ_FIELDS(cache_fields, "cache", vq_numa_cache, cache_rows);

static const struct vq_field latency_rows[] = {
    VQ_UINT("@initiator", vq_numa_link, initiator, REQUIRED),
    VQ_UINT("@target", vq_numa_link, target, REQUIRED),
    VQ_UINT("@cache", vq_numa_link, cache),
    VQ_STRING("@type", vq_numa_link, type, REQUIRED, VQ_WORDS("access", "read", "write")),
    VQ_U64("@value", vq_numa_link, value, REQUIRED),
};
VQ_FIELDS(latency_fields, "latency", vq_numa_link, latency_rows);

static const struct vq_field bandwidth_rows[] = {
    VQ_UINT("@initiator", vq_numa_link, initiator, REQUIRED),
    VQ_UINT("@target", vq_numa_link, target, REQUIRED),
    VQ_UINT("@cache", vq_numa_link, cache),
    VQ_STRING("@type", vq_numa_link, type, REQUIRED, VQ_WORDS("access", "read", "write")),
    VQ_SIZE("@value", vq_numa_link, value, 1024, REQUIRED),
};
VQ_FIELDS(bandwidth_fields, "bandwidth", vq_numa_link, bandwidth_rows);

static const struct vq_field cell_rows[] = {
    VQ_UINT("@id", vq_numa_cell, id, VQ_HAS(vq_numa_cell, has_id), .max = 1023),
    VQ_CPUSET("@cpus", vq_numa_cell, cpus),
    VQ_SIZE("@memory", vq_numa_cell, memory_kib, 1024, REQUIRED),
    VQ_STRING("@memAccess", vq_numa_cell, mem_access, VQ_WORDS("shared", "private")),
    VQ_YES_NO("@discard", vq_numa_cell, discard),
    VQ_LIST("distances/sibling", vq_numa_cell, distances, sibling_fields, .size = 1024),
    VQ_LIST("cache", vq_numa_cell, caches, cache_fields, .size = 16),
};
VQ_FIELDS(cell_fields, "cell", vq_numa_cell, cell_rows);

static int compare_cells(const void *a, const void *b)
{
    const struct vq_numa_cell *x = *(const struct vq_numa_cell *const *)a, *y = *(const struct vq_numa_cell *const *)b;

    return x->id < y->id ? -1 : x->id > y->id;
}

/* A cell without a number has that of its place. */
static void sort_cells(struct vq_cpu *cpu)
{
    for (size_t i = 0; i < cpu->n_cells; i++) {
        if (!cpu->cells[i]->has_id)
            cpu->cells[i]->id = (uint32_t)i;
        cpu->cells[i]->has_id = true;
    }
    if (cpu->n_cells > 1)
        qsort(cpu->cells, cpu->n_cells, sizeof(struct vq_numa_cell *), compare_cells);
}

/* What a definition leaves unsaid about mode, match and fallback means the same everywhere. */
static int cpu_parsed(void *object, const struct vq_xml_node *node, struct vq_error *err)
{
    struct vq_cpu *cpu = object;

    (void)node, (void)err;
    /* A host's CPU has an architecture; a guest's does not. */
    if (cpu->arch != NULL)
        return 0;
    if (cpu->mode == VQ_CPU_MODE_UNSET && (cpu->model != NULL || cpu->match != VQ_CPU_MATCH_UNSET))
        cpu->mode = VQ_CPU_MODE_CUSTOM;
    if (cpu->mode == VQ_CPU_MODE_CUSTOM && cpu->match == VQ_CPU_MATCH_UNSET)
        cpu->match = VQ_CPU_MATCH_EXACT;
    if (cpu->mode == VQ_CPU_MODE_CUSTOM && cpu->model != NULL && cpu->fallback == VQ_CPU_FALLBACK_UNSET)
        cpu->fallback = VQ_CPU_FALLBACK_ALLOW;
    sort_cells(cpu);
    for (size_t i = 0; i < cpu->n_features; i++) {
        if (cpu->features[i]->policy == VQ_CPU_POLICY_UNSET)
            cpu->features[i]->policy = VQ_CPU_POLICY_REQUIRE;
    }
    return 0;
}

static const struct vq_field cpu_rows[] = {
    VQ_ENUM("@mode", vq_cpu, mode, cpu_mode_names, .flags = VQ_FIELD_UNSUPPORTED),
    VQ_ENUM("@match", vq_cpu, match, cpu_match_names, .flags = VQ_FIELD_UNSUPPORTED),
    VQ_ENUM("@check", vq_cpu, check, cpu_check_names),
    VQ_ON_OFF("@migratable", vq_cpu, migratable),
    VQ_STRING("arch", vq_cpu, arch),
    VQ_ENUM("model/@fallback", vq_cpu, fallback, cpu_fallback_names, .flags = VQ_FIELD_UNSUPPORTED),
    VQ_STRING("model/@vendor_id", vq_cpu, model_vendor_id),
    VQ_STRING("model", vq_cpu, model),
    VQ_STRING("vendor", vq_cpu, vendor),
    VQ_UINT("topology/@sockets", vq_cpu, sockets, .min = 1, .max = 65535),
    VQ_UINT("topology/@dies", vq_cpu, dies, .min = 1, .max = 65535),
    VQ_UINT("topology/@cores", vq_cpu, cores, .min = 1, .max = 65535),
    VQ_UINT("topology/@threads", vq_cpu, threads, .min = 1, .max = 65535),
    VQ_UINT("cache/@level", vq_cpu, cache_level, VQ_HAS(vq_cpu, has_cache_level), .max = 8),
    VQ_STRING("cache/@mode", vq_cpu, cache_mode, VQ_WORDS("emulate", "passthrough", "disable"),
              .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_STRING("maxphysaddr/@mode", vq_cpu, maxphysaddr_mode, VQ_WORDS("emulate", "passthrough"),
              .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_UINT("maxphysaddr/@bits", vq_cpu, maxphysaddr_bits),
    VQ_LIST("feature", vq_cpu, features, cpu_feature_fields),
    VQ_LIST("numa/cell", vq_cpu, cells, cell_fields, .size = 1024),
    VQ_LIST("numa/interconnects/latency", vq_cpu, latencies, latency_fields),
    VQ_LIST("numa/interconnects/bandwidth", vq_cpu, bandwidths, bandwidth_fields),
};
VQ_FIELDS_EXPORT(vq_cpu_fields, "cpu", vq_cpu, cpu_rows, .parsed = cpu_parsed);

/* ---- <clock> ---- */

static const char *const offset_names[VQ_CLOCK_N] = {
    [VQ_CLOCK_UTC] = "utc",           [VQ_CLOCK_LOCALTIME] = "localtime", [VQ_CLOCK_VARIABLE] = "variable",
    [VQ_CLOCK_TIMEZONE] = "timezone", [VQ_CLOCK_ABSOLUTE] = "absolute",
};
static const char *const basis_names[VQ_CLOCK_BASIS_N] = {
    [VQ_CLOCK_BASIS_UTC] = "utc", [VQ_CLOCK_BASIS_LOCALTIME] = "localtime"};
static const char *const timer_names[VQ_TIMER_N] = {
    [VQ_TIMER_PLATFORM] = "platform",
    [VQ_TIMER_PIT] = "pit",
    [VQ_TIMER_RTC] = "rtc",
    [VQ_TIMER_HPET] = "hpet",
    [VQ_TIMER_TSC] = "tsc",
    [VQ_TIMER_KVMCLOCK] = "kvmclock",
    [VQ_TIMER_HYPERVCLOCK] = "hypervclock",
    [VQ_TIMER_ARMVTIMER] = "armvtimer",
};
static const char *const tick_names[VQ_TICK_N] = {
    [VQ_TICK_DELAY] = "delay", [VQ_TICK_CATCHUP] = "catchup", [VQ_TICK_MERGE] = "merge", [VQ_TICK_DISCARD] = "discard"};

static const struct vq_field timer_rows[] = {
    VQ_ENUM("@name", vq_timer, name, timer_names, REQUIRED),
    VQ_YES_NO("@present", vq_timer, present),
    VQ_ENUM("@tickpolicy", vq_timer, tickpolicy, tick_names),
    VQ_STRING("@track", vq_timer, track, VQ_WORDS("boot", "guest", "wall", "realtime")),
    VQ_U64("@frequency", vq_timer, frequency),
    VQ_STRING("@mode", vq_timer, mode, VQ_WORDS("auto", "native", "emulate", "paravirt", "smpsafe")),
    VQ_U64("catchup/@threshold", vq_timer, catchup_threshold),
    VQ_U64("catchup/@slew", vq_timer, catchup_slew),
    VQ_U64("catchup/@limit", vq_timer, catchup_limit),
};
VQ_FIELDS(timer_fields, "timer", vq_timer, timer_rows);

#define FOR(kind) VQ_WHEN(vq_clock, offset, VQ_IS(VQ_CLOCK_##kind))

static const struct vq_field clock_rows[] = {
    VQ_ENUM("@offset", vq_clock, offset, offset_names, .flags = VQ_FIELD_UNSUPPORTED),
    VQ_STRING("@adjustment", vq_clock, adjustment,
              VQ_WHEN(vq_clock, offset, VQ_IS(VQ_CLOCK_VARIABLE) | VQ_IS(VQ_CLOCK_UTC) | VQ_IS(VQ_CLOCK_LOCALTIME))),
    VQ_ENUM("@basis", vq_clock, basis, basis_names, FOR(VARIABLE), .flags = VQ_FIELD_UNSUPPORTED),
    VQ_STRING("@timezone", vq_clock, timezone, FOR(TIMEZONE)),
    VQ_U64("@start", vq_clock, start, FOR(ABSOLUTE), .flags = VQ_FIELD_ALWAYS),
    VQ_LIST("timer", vq_clock, timers, timer_fields, .size = 64),
};
VQ_FIELDS_EXPORT(vq_clock_fields, "clock", vq_clock, clock_rows);
