/* How much of the host a domain may have: memory, CPU and I/O tuning; and what its firmware tells of it. */
#define VQ_FROM VIR_FROM_DOMAIN
#include <stdlib.h>

#include "conf/base/memory.h"
#include "conf/cpuset.h"
#include "conf/domain_fields.h"

#define REQUIRED .flags = VQ_FIELD_REQUIRED
#define ALWAYS   .flags = VQ_FIELD_ALWAYS

static const struct vq_field blkio_device_rows[] = {
    VQ_STRING("path", vq_blkio_device, path, REQUIRED),
    VQ_UINT("weight", vq_blkio_device, weight, .max = 1000),
    VQ_UINT("read_iops_sec", vq_blkio_device, read_iops),
    VQ_UINT("write_iops_sec", vq_blkio_device, write_iops),
    VQ_U64("read_bytes_sec", vq_blkio_device, read_bytes),
    VQ_U64("write_bytes_sec", vq_blkio_device, write_bytes),
};
VQ_FIELDS(blkio_device_fields, "device", vq_blkio_device, blkio_device_rows);

static const struct vq_field blkiotune_rows[] = {
    VQ_UINT("weight", vq_blkiotune, weight),
    VQ_LIST("device", vq_blkiotune, devices, blkio_device_fields),
};
VQ_FIELDS_EXPORT(vq_blkiotune_fields, "blkiotune", vq_blkiotune, blkiotune_rows);

static const struct vq_field memtune_rows[] = {
    VQ_SIZE("hard_limit", vq_memtune, hard_limit_kib, 1024),
    VQ_SIZE("soft_limit", vq_memtune, soft_limit_kib, 1024),
    VQ_SIZE("min_guarantee", vq_memtune, min_guarantee_kib, 1024),
    VQ_SIZE("swap_hard_limit", vq_memtune, swap_hard_limit_kib, 1024),
};
VQ_FIELDS_EXPORT(vq_memtune_fields, "memtune", vq_memtune, memtune_rows);

static const struct vq_field page_rows[] = {
    VQ_SIZE("@size", vq_hugepage, size_kib, 1024, REQUIRED),
    VQ_CPUSET("@nodeset", vq_hugepage, nodeset),
};
VQ_FIELDS(page_fields, "page", vq_hugepage, page_rows);

static const struct vq_field memory_backing_rows[] = {
    VQ_PRESENT("hugepages", vq_memory_backing, has_hugepages),
    VQ_LIST("hugepages/page", vq_memory_backing, hugepages, page_fields, .size = 64),
    VQ_PRESENT("nosharepages", vq_memory_backing, nosharepages),
    VQ_PRESENT("locked", vq_memory_backing, locked),
    VQ_STRING("source/@type", vq_memory_backing, source_type, .flags = VQ_FIELD_UNSUPPORTED,
              VQ_WORDS("file", "anonymous", "memfd")),
    VQ_STRING("access/@mode", vq_memory_backing, access_mode, .flags = VQ_FIELD_UNSUPPORTED,
              VQ_WORDS("shared", "private")),
    VQ_STRING("allocation/@mode", vq_memory_backing, allocation_mode, .flags = VQ_FIELD_UNSUPPORTED,
              VQ_WORDS("immediate", "ondemand")),
    VQ_UINT("allocation/@threads", vq_memory_backing, allocation_threads),
    VQ_PRESENT("discard", vq_memory_backing, has_discard),
};
VQ_FIELDS_EXPORT(vq_memory_backing_fields, "memoryBacking", vq_memory_backing, memory_backing_rows);

static const struct vq_field vcpu_pin_rows[] = {
    VQ_UINT("@vcpu", vq_vcpu_pin, vcpu, REQUIRED),
    VQ_CPUSET("@cpuset", vq_vcpu_pin, cpuset, REQUIRED),
};
VQ_FIELDS(vcpu_pin_fields, "vcpupin", vq_vcpu_pin, vcpu_pin_rows);

static const struct vq_field iothread_pin_rows[] = {
    VQ_UINT("@iothread", vq_iothread_pin, iothread, REQUIRED, .min = 1),
    VQ_CPUSET("@cpuset", vq_iothread_pin, cpuset, REQUIRED),
};
VQ_FIELDS(iothread_pin_fields, "iothreadpin", vq_iothread_pin, iothread_pin_rows);

static const struct vq_field vcpu_sched_rows[] = {
    VQ_CPUSET("@vcpus", vq_scheduler, targets, REQUIRED),
    VQ_STRING("@scheduler", vq_scheduler, scheduler, REQUIRED, VQ_WORDS("batch", "idle", "fifo", "rr")),
    VQ_INT("@priority", vq_scheduler, priority, VQ_HAS(vq_scheduler, has_priority)),
};
VQ_FIELDS(vcpu_sched_fields, "vcpusched", vq_scheduler, vcpu_sched_rows);

static const struct vq_field iothread_sched_rows[] = {
    VQ_CPUSET("@iothreads", vq_scheduler, targets, REQUIRED),
    VQ_STRING("@scheduler", vq_scheduler, scheduler, REQUIRED, VQ_WORDS("batch", "idle", "fifo", "rr")),
    VQ_INT("@priority", vq_scheduler, priority, VQ_HAS(vq_scheduler, has_priority)),
};
VQ_FIELDS(iothread_sched_fields, "iothreadsched", vq_scheduler, iothread_sched_rows);

static const struct vq_field emulator_sched_rows[] = {
    VQ_STRING("@scheduler", vq_scheduler, scheduler, REQUIRED, VQ_WORDS("batch", "idle", "fifo", "rr")),
    VQ_INT("@priority", vq_scheduler, priority, VQ_HAS(vq_scheduler, has_priority)),
};
VQ_FIELDS(emulator_sched_fields, "emulatorsched", vq_scheduler, emulator_sched_rows);

static const struct vq_field cache_monitor_rows[] = {
    VQ_UINT("@level", vq_resource_monitor, level, REQUIRED),
    VQ_CPUSET("@vcpus", vq_resource_monitor, vcpus, REQUIRED),
};
VQ_FIELDS(cache_monitor_fields, "monitor", vq_resource_monitor, cache_monitor_rows);

static const struct vq_field cache_share_rows[] = {
    VQ_UINT("@id", vq_cache_share, id, VQ_HAS(vq_cache_share, has_id), REQUIRED),
    VQ_UINT("@level", vq_cache_share, level, REQUIRED),
    VQ_STRING("@type", vq_cache_share, type, REQUIRED, VQ_WORDS("both", "code", "data")),
    VQ_SIZE("@size", vq_cache_share, size_kib, 1024, .flags = VQ_FIELD_REQUIRED | VQ_FIELD_PRETTY),
};
VQ_FIELDS(cache_share_fields, "cache", vq_cache_share, cache_share_rows);

static const struct vq_field cachetune_rows[] = {
    VQ_CPUSET("@vcpus", vq_cachetune, vcpus, REQUIRED),
    VQ_STRING("@id", vq_cachetune, id, .flags = VQ_FIELD_LIVE),
    VQ_LIST("cache", vq_cachetune, caches, cache_share_fields, .size = 256),
    VQ_LIST("monitor", vq_cachetune, monitors, cache_monitor_fields, .size = 256),
};
VQ_FIELDS(cachetune_fields, "cachetune", vq_cachetune, cachetune_rows);

static const struct vq_field bandwidth_share_rows[] = {
    VQ_UINT("@id", vq_bandwidth_share, id, VQ_HAS(vq_bandwidth_share, has_id), REQUIRED),
    VQ_UINT("@bandwidth", vq_bandwidth_share, percent, REQUIRED),
};
VQ_FIELDS(bandwidth_share_fields, "node", vq_bandwidth_share, bandwidth_share_rows);

static const struct vq_field memory_monitor_rows[] = {
    VQ_CPUSET("@vcpus", vq_resource_monitor, vcpus, REQUIRED),
};
VQ_FIELDS(memory_monitor_fields, "monitor", vq_resource_monitor, memory_monitor_rows);

static const struct vq_field memorytune_rows[] = {
    VQ_CPUSET("@vcpus", vq_memorytune, vcpus, REQUIRED),
    VQ_LIST("node", vq_memorytune, nodes, bandwidth_share_fields, .size = 256),
    VQ_LIST("monitor", vq_memorytune, monitors, memory_monitor_fields, .size = 256),
};
VQ_FIELDS(memorytune_fields, "memorytune", vq_memorytune, memorytune_rows);

static const struct vq_field cputune_rows[] = {
    VQ_U64("shares", vq_cputune, shares, VQ_HAS(vq_cputune, has_shares)),
    VQ_U64("period", vq_cputune, period),
    VQ_I64("quota", vq_cputune, quota),
    VQ_U64("global_period", vq_cputune, global_period),
    VQ_I64("global_quota", vq_cputune, global_quota),
    VQ_U64("emulator_period", vq_cputune, emulator_period),
    VQ_I64("emulator_quota", vq_cputune, emulator_quota),
    VQ_U64("iothread_period", vq_cputune, iothread_period),
    VQ_I64("iothread_quota", vq_cputune, iothread_quota),
    VQ_LIST("vcpupin", vq_cputune, vcpu_pins, vcpu_pin_fields),
    VQ_CPUSET("emulatorpin/@cpuset", vq_cputune, emulator_pin),
    VQ_LIST("iothreadpin", vq_cputune, iothread_pins, iothread_pin_fields),
    VQ_LIST("emulatorsched", vq_cputune, emulator_scheds, emulator_sched_fields, .size = 1),
    VQ_LIST("vcpusched", vq_cputune, vcpu_scheds, vcpu_sched_fields, .size = VQ_CPUSET_BITS),
    VQ_LIST("iothreadsched", vq_cputune, iothread_scheds, iothread_sched_fields, .size = VQ_CPUSET_BITS),
    VQ_LIST("cachetune", vq_cputune, cachetunes, cachetune_fields, .size = 256),
    VQ_LIST("memorytune", vq_cputune, memorytunes, memorytune_fields, .size = 256),
};
static int compare_schedulers(const void *a, const void *b)
{
    const struct vq_scheduler *x = *(const struct vq_scheduler *const *)a, *y = *(const struct vq_scheduler *const *)b;

    return atoi(x->targets) - atoi(y->targets);
}

/* One element for each thread, in the order of their numbers; one thread has one scheduler. */
static int split_schedulers(struct vq_scheduler ***list, size_t *n, const struct vq_fields *fields, const char *what,
                            struct vq_error *err)
{
    struct vq_cpuset seen = {0}, set;
    size_t n_whole = *n;

    for (size_t i = 0; i < n_whole; i++) {
        bool is_first = true;

        if (!vq_cpuset_parse((*list)[i]->targets, VQ_CPUSET_BITS, &set))
            continue;
        if (vq_cpuset_overlaps(&seen, &set))
            return vq_error_set(err, VIR_ERR_XML_DETAIL, "%ssched attributes '%ss' must not overlap", what, what);
        for (int32_t bit = vq_cpuset_next(&set, 0); bit >= 0; bit = vq_cpuset_next(&set, (uint32_t)bit + 1)) {
            struct vq_scheduler *scheduler = (*list)[i];

            vq_cpuset_add(&seen, (uint32_t)bit);
            if (!is_first) {
                scheduler = vq_fields_copy(fields, scheduler);
                VQ_GROW(*list, *n);
                (*list)[(*n)++] = scheduler;
            }
            free(scheduler->targets);
            scheduler->targets = vq_asprintf("%d", bit);
            is_first = false;
        }
    }
    if (*n > 1)
        qsort(*list, *n, sizeof(**list), compare_schedulers);
    return 0;
}

static int cputune_parsed(void *object, const struct vq_xml_node *node, struct vq_error *err)
{
    struct vq_cputune *tune = object;

    (void)node;
    if (split_schedulers(&tune->vcpu_scheds, &tune->n_vcpu_scheds, &vcpu_sched_fields, "vcpu", err) < 0)
        return -1;
    return split_schedulers(&tune->iothread_scheds, &tune->n_iothread_scheds, &iothread_sched_fields, "iothread", err);
}
VQ_FIELDS_EXPORT(vq_cputune_fields, "cputune", vq_cputune, cputune_rows, .parsed = cputune_parsed);

static const struct vq_field memnode_rows[] = {
    VQ_UINT("@cellid", vq_numa_memnode, cell, REQUIRED),
    VQ_STRING("@mode", vq_numa_memnode, mode, VQ_WORDS("strict", "preferred", "interleave", "restrictive")),
    VQ_CPUSET("@nodeset", vq_numa_memnode, nodeset),
};
VQ_FIELDS(memnode_fields, "memnode", vq_numa_memnode, memnode_rows);

static const struct vq_field numatune_rows[] = {
    VQ_PRESENT("memory", vq_numatune, has_memory),
    VQ_STRING("memory/@mode", vq_numatune, mode, .flags = VQ_FIELD_UNSUPPORTED,
              VQ_WORDS("strict", "preferred", "interleave", "restrictive")),
    VQ_CPUSET("memory/@nodeset", vq_numatune, nodeset),
    VQ_STRING("memory/@placement", vq_numatune, placement, .flags = VQ_FIELD_UNSUPPORTED, VQ_WORDS("static", "auto")),
    VQ_LIST("memnode", vq_numatune, memnodes, memnode_fields, .size = 1024),
};
VQ_FIELDS_EXPORT(vq_numatune_fields, "numatune", vq_numatune, numatune_rows);

static const struct vq_field entry_rows[] = {
    VQ_STRING("@name", vq_sysinfo_entry, name),
    VQ_STRING("@file", vq_sysinfo_entry, file),
    VQ_STRING(".", vq_sysinfo_entry, value, .flags = VQ_FIELD_LINE_BREAKS),
};
VQ_FIELDS(entry_fields, "entry", vq_sysinfo_entry, entry_rows);

static const struct vq_field board_rows[] = {
    VQ_LIST("entry", vq_sysinfo_board, entries, entry_fields, .size = 64),
};
VQ_FIELDS(board_fields, "baseBoard", vq_sysinfo_board, board_rows);

static const struct vq_field sysinfo_rows[] = {
    VQ_STRING("@type", vq_sysinfo, type, REQUIRED, VQ_WORDS("smbios", "fwcfg")),
    VQ_LIST("bios/entry", vq_sysinfo, bios, entry_fields, .size = 64),
    VQ_LIST("system/entry", vq_sysinfo, system, entry_fields, .size = 64),
    VQ_LIST("baseBoard", vq_sysinfo, boards, board_fields, .size = 16),
    VQ_LIST("chassis/entry", vq_sysinfo, chassis, entry_fields, .size = 64),
    VQ_LIST("oemStrings/entry", vq_sysinfo, oem_strings, entry_fields, .size = 256),
    VQ_LIST("entry", vq_sysinfo, fwcfg, entry_fields, .size = 64),
};
VQ_FIELDS_EXPORT(vq_sysinfo_fields, "sysinfo", vq_sysinfo, sysinfo_rows);
