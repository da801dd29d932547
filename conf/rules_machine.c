/* Rules of what the machine is: boot, features, CPU, memory, tuning. */
#define VQ_FROM VIR_FROM_DOMAIN
#include <ctype.h>
#include <stdlib.h>
#include <string.h>

#include "conf/cpuset.h"
#include "conf/rules.h"

enum { HYPERV_RETRIES_MIN = 4095, HYPERV_VENDOR_MAX = 12 };

/* ---- boot, clock, features ---- */

int vq_check_os(const struct vq_os *os, struct vq_error *err)
{
    bool wants_loader = os->loader_readonly != VQ_SWITCH_UNSET || os->loader_secure != VQ_SWITCH_UNSET ||
                        os->loader_type != VQ_LOADER_UNSET || os->loader_stateless != VQ_SWITCH_UNSET;

    REFUSE_IF(wants_loader && os->loader == NULL && os->firmware == VQ_FIRMWARE_UNSET &&
                  os->loader_type != VQ_LOADER_NONE,
              XML_DETAIL, "no loader path specified and firmware auto selection disabled");
    REFUSE_IF(os->nvram_source.type == VQ_SOURCE_UNSET && os->nvram_source.path != NULL, XML_ERROR,
              "missing 'type' attribute of the nvram source");
    return vq_check_source(&os->nvram_source, err);
}

int vq_check_clock(const struct vq_clock *clock, struct vq_error *err)
{
    int64_t seconds;

    REFUSE_IF(clock->adjustment != NULL && strcmp(clock->adjustment, "reset") != 0 &&
                  !vq_parse_i64(clock->adjustment, INT64_MIN, INT64_MAX, &seconds),
              XML_ERROR, "unknown clock adjustment '%s'", clock->adjustment);
    REFUSE_IF(clock->offset == VQ_CLOCK_TIMEZONE && clock->timezone == NULL, INTERNAL_ERROR,
              "missing 'timezone' attribute for clock with offset='timezone'");
    for (size_t i = 0; i < clock->n_timers; i++) {
        const struct vq_timer *timer = clock->timers[i];
        bool has_catchup = timer->catchup_limit > 0 || timer->catchup_slew > 0 || timer->catchup_threshold > 0;

        REFUSE_IF(has_catchup && timer->tickpolicy != VQ_TICK_CATCHUP, XML_ERROR,
                  "setting of timer catchup policies is only supported with tickpolicy='catchup'");
    }
    return 0;
}

static int check_hyperv(const struct vq_hyperv *hyperv, struct vq_error *err)
{
    REFUSE_IF(hyperv->spinlocks == VQ_SWITCH_ON && hyperv->spinlocks_retries < HYPERV_RETRIES_MIN, XML_ERROR,
              "HyperV spinlock retry count must be at least %d", HYPERV_RETRIES_MIN);
    REFUSE_IF(hyperv->vendor_id == VQ_SWITCH_ON && hyperv->vendor_id_value == NULL, XML_ERROR,
              "missing 'value' attribute for HyperV feature 'vendor_id'");
    REFUSE_IF(hyperv->vendor_id_value != NULL && strlen(hyperv->vendor_id_value) > HYPERV_VENDOR_MAX, XML_ERROR,
              "HyperV vendor_id value must not be more than %d characters.", HYPERV_VENDOR_MAX);
    REFUSE_IF(hyperv->vendor_id_value != NULL && strchr(hyperv->vendor_id_value, ',') != NULL, XML_ERROR,
              "HyperV vendor_id value is invalid");
    return 0;
}

int vq_check_features(const struct vq_features *features, struct vq_error *err)
{
    if (features->kvm != NULL && features->kvm->dirty_ring == VQ_SWITCH_ON) {
        uint32_t size = features->kvm->dirty_ring_size;

        REFUSE_IF((size & (size - 1)) != 0 || size < 1024 || size > 65536, XML_ERROR,
                  "dirty ring must be power of 2 and ranges [1024, 65536]");
    }
    return features->hyperv == NULL ? 0 : check_hyperv(features->hyperv, err);
}

/* ---- CPU ---- */

int vq_check_cpu(const struct vq_cpu *cpu, struct vq_error *err)
{
    REFUSE_FROM_IF(vq_streq(cpu->maxphysaddr_mode, "emulate") && cpu->maxphysaddr_bits == 0, QEMU, CONFIG_UNSUPPORTED,
                   "if using CPU maximum physical address mode='emulate', bits= must be specified too");
    REFUSE_FROM_IF(cpu->has_cache_level && (cpu->cache_level < 1 || cpu->cache_level > 3), CPU, XML_ERROR,
                   "invalid CPU cache level, must be in range [1,3]");
    for (size_t i = 0; i < cpu->n_cells; i++) {
        REFUSE_IF(cpu->cells[i]->id != i, XML_ERROR,
                  "Exactly one 'cell' element per guest NUMA cell allowed, non-contiguous ranges or ranges not "
                  "starting from 0 are not allowed");
        for (size_t k = 0; k < cpu->cells[i]->n_distances; k++)
            REFUSE_IF(cpu->cells[i]->distances[k]->id >= cpu->n_cells, XML_ERROR,
                      "'sibling_id' %u does not refer to a valid cell within NUMA 'cell id' %zu",
                      cpu->cells[i]->distances[k]->id, i);
    }
    return 0;
}

/* ---- tuning ---- */

static int check_overlap(struct vq_cpuset *seen, const char *text, struct vq_error *err)
{
    struct vq_cpuset set;

    if (!vq_cpuset_parse(text, VQ_CPUSET_BITS, &set))
        return 0; /* the reader has seen to it */
    REFUSE_IF(vq_cpuset_overlaps(seen, &set), XML_ERROR, "Overlapping vcpus in resctrls");
    for (int32_t bit = vq_cpuset_next(&set, 0); bit >= 0; bit = vq_cpuset_next(&set, (uint32_t)bit + 1))
        vq_cpuset_add(seen, (uint32_t)bit);
    return 0;
}

/* A monitor watches all of the group, or some that no other watches. */
static int check_monitors(const char *vcpus, struct vq_resource_monitor *const *monitors, size_t n,
                          struct vq_error *err)
{
    struct vq_cpuset all, set;

    for (size_t i = 0; vq_cpuset_parse(vcpus, VQ_CPUSET_BITS, &all) && i < n; i++) {
        if (!vq_cpuset_parse(monitors[i]->vcpus, VQ_CPUSET_BITS, &set))
            continue;
        for (int32_t bit = vq_cpuset_next(&set, 0); bit >= 0; bit = vq_cpuset_next(&set, (uint32_t)bit + 1))
            REFUSE_IF(!vq_cpuset_has(&all, (uint32_t)bit), INVALID_ARG, "Monitor vcpus conflicts with allocation");
    }
    return 0;
}

static int check_resctrl(const struct vq_cputune *tune, struct vq_error *err)
{
    struct vq_cpuset of_caches = {0}, of_memory = {0};

    for (size_t i = 0; i < tune->n_cachetunes; i++) {
        const struct vq_cachetune *group = tune->cachetunes[i];

        if (check_overlap(&of_caches, group->vcpus, err) < 0 ||
            check_monitors(group->vcpus, group->monitors, group->n_monitors, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < tune->n_memorytunes; i++) {
        const struct vq_memorytune *group = tune->memorytunes[i];

        if (check_overlap(&of_memory, group->vcpus, err) < 0 ||
            check_monitors(group->vcpus, group->monitors, group->n_monitors, err) < 0)
            return -1;
    }
    return 0;
}

static int check_scheduler(const struct vq_scheduler *scheduler, const char *element, struct vq_error *err)
{
    bool has_levels = strcmp(scheduler->scheduler, "fifo") == 0 || strcmp(scheduler->scheduler, "rr") == 0;

    REFUSE_FROM_IF(has_levels && !scheduler->has_priority, XML, XML_ERROR,
                   "Missing required attribute 'priority' in element '%s'", element);
    return 0;
}

static int check_schedulers(const struct vq_cputune *tune, struct vq_error *err)
{
    for (size_t i = 0; i < tune->n_vcpu_scheds; i++) {
        if (check_scheduler(tune->vcpu_scheds[i], "vcpusched", err) < 0)
            return -1;
    }
    for (size_t i = 0; i < tune->n_iothread_scheds; i++) {
        if (check_scheduler(tune->iothread_scheds[i], "iothreadsched", err) < 0)
            return -1;
    }
    for (size_t i = 0; i < tune->n_emulator_scheds; i++) {
        if (check_scheduler(tune->emulator_scheds[i], "emulatorsched", err) < 0)
            return -1;
    }
    return 0;
}

static bool has_iothread(const struct vq_domain *domain, uint32_t id)
{
    if (domain->n_iothread_ids == 0)
        return id >= 1 && id <= domain->iothreads;
    for (size_t i = 0; i < domain->n_iothread_ids; i++) {
        if (domain->iothread_ids[i]->id == id)
            return true;
    }
    return false;
}

static int check_iothread_tuning(const struct vq_domain *domain, const struct vq_cputune *tune, struct vq_error *err)
{
    for (size_t i = 0; i < tune->n_iothread_pins; i++)
        REFUSE_IF(!has_iothread(domain, tune->iothread_pins[i]->iothread), CONFIG_UNSUPPORTED,
                  "Cannot find 'iothread' : %u", tune->iothread_pins[i]->iothread);
    for (size_t i = 0; i < tune->n_iothread_scheds; i++) {
        uint32_t id = (uint32_t)atoi(tune->iothread_scheds[i]->targets);

        REFUSE_IF(!has_iothread(domain, id), CONFIG_UNSUPPORTED, "Cannot find 'iothread' : %u", id);
    }
    return 0;
}

static int check_cputune(const struct vq_domain *domain, struct vq_error *err)
{
    const struct vq_cputune *tune = domain->cputune;
    const struct {
        const char *name;
        uint64_t value;
    } periods[] = {
        {"period", tune->period},
        {"global_period", tune->global_period},
        {"emulator_period", tune->emulator_period},
        {"iothread_period", tune->iothread_period},
    };
    const struct {
        const char *name;
        int64_t value;
    } quotas[] = {
        {"quota", tune->quota},
        {"global_quota", tune->global_quota},
        {"emulator_quota", tune->emulator_quota},
        {"iothread_quota", tune->iothread_quota},
    };

    for (size_t i = 0; i < VQ_N_ELEMENTS(periods); i++)
        REFUSE_IF(periods[i].value != 0 && (periods[i].value < 1000 || periods[i].value > 1000000), CONFIG_UNSUPPORTED,
                  "Value of cputune '%s' must be in range [1000, 1000000]", periods[i].name);
    for (size_t i = 0; i < VQ_N_ELEMENTS(quotas); i++)
        REFUSE_IF(quotas[i].value > 0 && (quotas[i].value < 1000 || quotas[i].value > INT64_C(17592186044415)),
                  CONFIG_UNSUPPORTED, "Value of cputune '%s' must be in range [1000, 17592186044415]", quotas[i].name);
    REFUSE_IF(tune->has_shares && (tune->shares < 2 || tune->shares > 262144), CONFIG_UNSUPPORTED,
              "Value of cputune 'shares' must be in range [2, 262144]");
    if (check_schedulers(tune, err) < 0 || check_iothread_tuning(domain, tune, err) < 0)
        return -1;
    return check_resctrl(tune, err);
}

static int check_pool(bool has_min, uint32_t min, bool has_max, uint32_t max, struct vq_error *err)
{
    REFUSE_IF(has_max && (max == 0 || max > INT32_MAX), CONFIG_UNSUPPORTED,
              "thread_pool_max must be a positive integer");
    REFUSE_IF(has_min && (!has_max || min > max), CONFIG_UNSUPPORTED,
              "thread_pool_min must be smaller or equal to thread_pool_max");
    return 0;
}

static int check_pools(const struct vq_domain *domain, struct vq_error *err)
{
    for (size_t i = 0; i < domain->n_iothread_ids; i++) {
        const struct vq_iothread *thread = domain->iothread_ids[i];

        if (check_pool(thread->has_pool_min, thread->pool_min, thread->has_pool_max, thread->pool_max, err) < 0)
            return -1;
    }
    return check_pool(domain->has_default_pool_min, domain->default_pool_min, domain->has_default_pool_max,
                      domain->default_pool_max, err);
}

static int check_numatune(const struct vq_domain *domain, struct vq_error *err)
{
    const struct vq_numatune *tune = &domain->numatune;

    REFUSE_IF(tune->has_memory && vq_streq(tune->placement, "static") && tune->nodeset == NULL, CONFIG_UNSUPPORTED,
              "nodeset for NUMA memory tuning must be set if 'placement' is 'static'");
    for (size_t i = 0; i < tune->n_memnodes; i++)
        REFUSE_IF(tune->memnodes[i]->nodeset == NULL, XML_ERROR,
                  "Missing required nodeset attribute in memnode element");
    return 0;
}

/* ---- the rest ---- */

static int check_sysinfo(const struct vq_sysinfo *sysinfo, struct vq_error *err)
{
    for (size_t i = 0; i < sysinfo->n_fwcfg; i++) {
        const struct vq_sysinfo_entry *entry = sysinfo->fwcfg[i];

        REFUSE_IF(entry->name == NULL, XML_ERROR, "Firmware entry is missing 'name' attribute");
        REFUSE_IF(entry->value == NULL && entry->file == NULL, XML_ERROR,
                  "Firmware entry must have either value or 'file' attribute");
        REFUSE_FROM_IF(strncmp(entry->name, "opt/", 4) != 0, QEMU, CONFIG_UNSUPPORTED, "Invalid firmware name");
    }
    return 0;
}

static int check_seclabel(const struct vq_seclabel *label, size_t n_labels, struct vq_error *err)
{
    REFUSE_IF(label->type == VQ_SECLABEL_STATIC && label->label == NULL, XML_ERROR, "security label is missing");
    REFUSE_IF(label->model == NULL && n_labels > 1, XML_ERROR, "missing security model in domain seclabel");
    return 0;
}

static int check_id_map(const struct vq_domain *domain, struct vq_error *err)
{
    REFUSE_IF((domain->n_id_map_uids > 0) != (domain->n_id_map_gids > 0), CONFIG_UNSUPPORTED,
              "uid and gid should be mapped both");
    return 0;
}

static int check_vcpu_entries(const struct vq_domain *domain, struct vq_error *err)
{
    size_t n_ordered = 0, n_enabled = 0;

    for (size_t i = 0; i < domain->n_vcpu_entries; i++) {
        const struct vq_vcpu_entry *entry = domain->vcpu_entries[i];

        REFUSE_IF(entry->id >= domain->vcpus, XML_ERROR, "vcpu id '%u' is out of range of maximum vcpu count",
                  entry->id);
        REFUSE_FROM_IF(entry->id == 0 && entry->enabled == VQ_SWITCH_OFF, QEMU, CONFIG_UNSUPPORTED,
                       "vcpu 0 can't be offline");
        n_enabled += entry->enabled == VQ_SWITCH_ON;
        n_ordered += entry->enabled == VQ_SWITCH_ON && entry->order > 0;
    }
    REFUSE_FROM_IF(n_ordered > 0 && n_ordered < n_enabled, QEMU, CONFIG_UNSUPPORTED,
                   "all vcpus must have either set or unset order");
    return 0;
}

int vq_check_machine(const struct vq_domain *domain, struct vq_error *err)
{
    if (vq_check_os(&domain->os, err) < 0 || vq_check_clock(&domain->clock, err) < 0)
        return -1;
    if (domain->features != NULL && vq_check_features(domain->features, err) < 0)
        return -1;
    if (domain->cpu != NULL && vq_check_cpu(domain->cpu, err) < 0)
        return -1;
    if (domain->cputune != NULL && check_cputune(domain, err) < 0)
        return -1;
    for (size_t i = 0; i < domain->n_sysinfos; i++) {
        if (check_sysinfo(domain->sysinfos[i], err) < 0)
            return -1;
    }
    for (size_t i = 0; i < domain->n_seclabels; i++) {
        if (check_seclabel(domain->seclabels[i], domain->n_seclabels, err) < 0)
            return -1;
    }
    if (check_pools(domain, err) < 0 || check_numatune(domain, err) < 0 || check_id_map(domain, err) < 0)
        return -1;
    return check_vcpu_entries(domain, err);
}
