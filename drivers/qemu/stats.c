/* connect_get_all_domain_stats, this node's part: questions to all its guests at once, answered when all have, or when
 * the slow ones have had their time. A guest that does not answer lacks what only QEMU knows; the rest is complete. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/block.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/proc.h"
#include "drivers/qemu/qmp.h"
#include "drivers/qemu/tap.h"
#include "proto/gen/remote.h"

enum { QUESTION_MS = 2000, PARAMS_MAX = 262144 };

enum {
    /* Of guests without perf events, threads for I/O or bounds on memory bandwidth, and of QEMU without KVM: nothing. */
    STATS_EMPTY = VIR_DOMAIN_STATS_PERF | VIR_DOMAIN_STATS_IOTHREAD | VIR_DOMAIN_STATS_MEMORY | VIR_DOMAIN_STATS_VM,
    STATS_KNOWN = VIR_DOMAIN_STATS_STATE | VIR_DOMAIN_STATS_CPU_TOTAL | VIR_DOMAIN_STATS_BALLOON | VIR_DOMAIN_STATS_VCPU |
                  VIR_DOMAIN_STATS_INTERFACE | VIR_DOMAIN_STATS_BLOCK | VIR_DOMAIN_STATS_DIRTYRATE |
                  STATS_EMPTY,
    FILTERS = VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | VIR_CONNECT_GET_ALL_DOMAINS_STATS_INACTIVE |
              VIR_CONNECT_GET_ALL_DOMAINS_STATS_PERSISTENT | VIR_CONNECT_GET_ALL_DOMAINS_STATS_TRANSIENT |
              VIR_CONNECT_GET_ALL_DOMAINS_STATS_RUNNING | VIR_CONNECT_GET_ALL_DOMAINS_STATS_PAUSED |
              VIR_CONNECT_GET_ALL_DOMAINS_STATS_SHUTOFF | VIR_CONNECT_GET_ALL_DOMAINS_STATS_OTHER,
    FLAGS = FILTERS | VIR_CONNECT_GET_ALL_DOMAINS_STATS_NOWAIT | VIR_CONNECT_GET_ALL_DOMAINS_STATS_BACKING,
};

struct gather;

/* One domain of the answer. */
struct slot {
    struct gather *gather;
    struct vq_domain_info info;      /* strings in the arena */
    json_t *memory, *blockstats, *block, *dirty_rate; /* answers, NULL while (or when never) known */
};

struct gather {
    struct vq_request *request;
    uint32_t stats;
    struct slot *slots;
    size_t n_slots;
    unsigned pending;                /* answers still to come, and one for the asking itself */
};

/* ---- Typed parameters that grow ---- */

struct params {
    struct vq_arena *arena;
    struct vq_typed_param *list;
    uint32_t n, capacity;
    bool is_full;                    /* the arena's limit was reached */
};

static struct vq_typed_param *next_param(struct params *params, int type, const char *fmt, va_list args)
{
    struct vq_typed_param *param;
    char name[VIR_TYPED_PARAM_FIELD_LENGTH];

    if (params->n == params->capacity && !params->is_full) {
        uint32_t capacity = params->capacity == 0 ? 32 : params->capacity * 2;
        struct vq_typed_param *list = capacity <= PARAMS_MAX
                                          ? vq_arena_alloc(params->arena, capacity, sizeof(*list)) : NULL;

        if (list != NULL && params->n > 0)
            memcpy(list, params->list, params->n * sizeof(*list));
        params->is_full = list == NULL;
        params->list = list != NULL ? list : params->list;
        params->capacity = list != NULL ? capacity : params->capacity;
    }
    if (params->is_full)
        return NULL;
    (void)vsnprintf(name, sizeof(name), fmt, args);
    param = &params->list[params->n];
    param->field = vq_arena_strdup(params->arena, name);
    param->type = type;
    if (param->field == NULL) {
        params->is_full = true;
        return NULL;
    }
    params->n++;
    return param;
}

static void add_int(struct params *params, int32_t value, const char *fmt, ...) VQ_PRINTF(3, 4);
static void add_int(struct params *params, int32_t value, const char *fmt, ...)
{
    struct vq_typed_param *param;
    va_list args;

    va_start(args, fmt);
    param = next_param(params, VIR_TYPED_PARAM_INT, fmt, args);
    va_end(args);
    if (param != NULL)
        param->value.i = value;
}

static void add_uint(struct params *params, uint32_t value, const char *fmt, ...) VQ_PRINTF(3, 4);
static void add_uint(struct params *params, uint32_t value, const char *fmt, ...)
{
    struct vq_typed_param *param;
    va_list args;

    va_start(args, fmt);
    param = next_param(params, VIR_TYPED_PARAM_UINT, fmt, args);
    va_end(args);
    if (param != NULL)
        param->value.ui = value;
}

static void add_u64(struct params *params, uint64_t value, const char *fmt, ...) VQ_PRINTF(3, 4);
static void add_u64(struct params *params, uint64_t value, const char *fmt, ...)
{
    struct vq_typed_param *param;
    va_list args;

    va_start(args, fmt);
    param = next_param(params, VIR_TYPED_PARAM_ULLONG, fmt, args);
    va_end(args);
    if (param != NULL)
        param->value.ul = value;
}

static void add_s64(struct params *params, int64_t value, const char *fmt, ...) VQ_PRINTF(3, 4);
static void add_s64(struct params *params, int64_t value, const char *fmt, ...)
{
    struct vq_typed_param *param;
    va_list args;

    va_start(args, fmt);
    param = next_param(params, VIR_TYPED_PARAM_LLONG, fmt, args);
    va_end(args);
    if (param != NULL)
        param->value.l = value;
}

static void add_string(struct params *params, const char *value, const char *fmt, ...) VQ_PRINTF(3, 4);
static void add_string(struct params *params, const char *value, const char *fmt, ...)
{
    const char *copy = vq_arena_strdup(params->arena, value);
    struct vq_typed_param *param;
    va_list args;

    if (copy == NULL)
        return;
    va_start(args, fmt);
    param = next_param(params, VIR_TYPED_PARAM_STRING, fmt, args);
    va_end(args);
    if (param != NULL)
        param->value.s = copy;
}

/* ---- The groups ---- */

/* guest is NULL for a domain that does not run. */
typedef void (*group_fn)(struct params *params, const struct slot *slot, const struct vq_qemu_guest *guest);

static void state_group(struct params *params, const struct slot *slot, const struct vq_qemu_guest *guest)
{
    add_int(params, guest != NULL ? guest->state : slot->info.state, "state.state");
    add_int(params, guest != NULL ? guest->reason : slot->info.reason, "state.reason");
}

static void cpu_group(struct params *params, const struct slot *slot, const struct vq_qemu_guest *guest)
{
    struct vq_proc_times times;

    (void)slot;
    if (guest == NULL || !vq_proc_times(guest->pid, 0, &times))
        return;
    add_u64(params, times.user_ns + times.system_ns, "cpu.time");
    add_u64(params, times.user_ns, "cpu.user");
    add_u64(params, times.system_ns, "cpu.system");
    add_uint(params, 0, "cpu.cache.monitor.count");
    add_u64(params, 0, "cpu.haltpoll.success.time"); /* only a guest under KVM polls */
    add_u64(params, 0, "cpu.haltpoll.fail.time");
}

static const struct {
    const char *qemu, *name;
    bool is_bytes;
} balloon_rows[] = {
    { "stat-swap-in", "swap_in", true },          { "stat-swap-out", "swap_out", true },
    { "stat-major-faults", "major_fault", false }, { "stat-minor-faults", "minor_fault", false },
    { "stat-free-memory", "unused", true },       { "stat-total-memory", "available", true },
    { "stat-available-memory", "usable", true },  { "stat-disk-caches", "disk_caches", true },
    { "stat-htlb-pgalloc", "hugetlb_pgalloc", false }, { "stat-htlb-pgfail", "hugetlb_pgfail", false },
};

static void balloon_group(struct params *params, const struct slot *slot, const struct vq_qemu_guest *guest)
{
    json_t *stats = json_object_get(slot->memory, "stats"), *update = json_object_get(slot->memory, "last-update");
    uint64_t current = slot->info.memory_kib, maximum = slot->info.max_memory_kib, rss;

    if (guest != NULL && guest->live != NULL) {
        current = guest->balloon_kib != 0 ? guest->balloon_kib : guest->live->current_memory_kib;
        maximum = guest->live->memory_kib;
    }
    add_u64(params, current, "balloon.current");
    add_u64(params, maximum, "balloon.maximum");
    for (size_t i = 0; i < VQ_N_ELEMENTS(balloon_rows); i++) {
        json_t *value = json_object_get(stats, balloon_rows[i].qemu);

        if (json_is_integer(value) && json_integer_value(value) >= 0)
            add_u64(params, (uint64_t)json_integer_value(value) / (balloon_rows[i].is_bytes ? 1024 : 1), "balloon.%s",
                    balloon_rows[i].name);
    }
    if (json_is_integer(update) && json_integer_value(update) >= 0)
        add_u64(params, (uint64_t)json_integer_value(update), "balloon.last-update");
    if (guest != NULL && vq_proc_rss_kib(guest->pid, &rss))
        add_u64(params, rss, "balloon.rss");
}

static void vcpu_group(struct params *params, const struct slot *slot, const struct vq_qemu_guest *guest)
{
    const struct vq_domain *live = guest != NULL ? guest->live : NULL;
    struct vq_proc_times times;
    uint64_t delay, wait;

    add_uint(params, live != NULL ? live->current_vcpus : slot->info.vcpus, "vcpu.current");
    add_uint(params, live != NULL ? live->vcpus : slot->info.max_vcpus, "vcpu.maximum");
    for (size_t i = 0; guest != NULL && i < guest->n_vcpu_threads; i++) {
        if (!vq_proc_times(guest->pid, guest->vcpu_threads[i], &times))
            continue;
        add_int(params, VIR_VCPU_RUNNING, "vcpu.%zu.state", i);
        add_u64(params, times.user_ns + times.system_ns, "vcpu.%zu.time", i);
        if (vq_proc_wait_ns(guest->pid, guest->vcpu_threads[i], &wait))
            add_u64(params, wait, "vcpu.%zu.wait", i);
        if (vq_proc_delay_ns(guest->pid, guest->vcpu_threads[i], &delay))
            add_u64(params, delay, "vcpu.%zu.delay", i);
    }
}

static void interface_group(struct params *params, const struct slot *slot, const struct vq_qemu_guest *guest)
{
    const struct vq_devices *devices = guest != NULL && guest->live != NULL ? &guest->live->devices : NULL;
    struct vq_tap_stats stats;

    (void)slot;
    if (devices == NULL)
        return;
    add_uint(params, (uint32_t)devices->n_interfaces, "net.count");
    for (size_t i = 0; i < devices->n_interfaces; i++) {
        const char *name = devices->interfaces[i]->target;

        if (name == NULL)
            continue;
        add_string(params, name, "net.%zu.name", i);
        if (vq_qemu_tap_stats(name, &stats, NULL) < 0)
            continue;
        add_u64(params, (uint64_t)stats.rx_bytes, "net.%zu.rx.bytes", i);
        add_u64(params, (uint64_t)stats.rx_packets, "net.%zu.rx.pkts", i);
        add_u64(params, (uint64_t)stats.rx_errs, "net.%zu.rx.errs", i);
        add_u64(params, (uint64_t)stats.rx_drop, "net.%zu.rx.drop", i);
        add_u64(params, (uint64_t)stats.tx_bytes, "net.%zu.tx.bytes", i);
        add_u64(params, (uint64_t)stats.tx_packets, "net.%zu.tx.pkts", i);
        add_u64(params, (uint64_t)stats.tx_errs, "net.%zu.tx.errs", i);
        add_u64(params, (uint64_t)stats.tx_drop, "net.%zu.tx.drop", i);
    }
}

static void disk_params(struct params *params, const struct slot *slot, const struct vq_disk *disk, size_t i)
{
    struct vq_qemu_block_stats stats;
    uint64_t capacity, physical;

    if (disk->target != NULL)
        add_string(params, disk->target, "block.%zu.name", i);
    if (disk->source.path != NULL)
        add_string(params, disk->source.path, "block.%zu.path", i);
    if (disk->source.path != NULL)
        add_uint(params, (uint32_t)i + 1, "block.%zu.backingIndex", i);
    if (vq_qemu_block_stats_of(slot->blockstats, disk, &stats)) {
        add_u64(params, stats.rd_requests, "block.%zu.rd.reqs", i);
        add_u64(params, stats.rd_bytes, "block.%zu.rd.bytes", i);
        add_u64(params, stats.rd_ns, "block.%zu.rd.times", i);
        add_u64(params, stats.wr_requests, "block.%zu.wr.reqs", i);
        add_u64(params, stats.wr_bytes, "block.%zu.wr.bytes", i);
        add_u64(params, stats.wr_ns, "block.%zu.wr.times", i);
        add_u64(params, stats.flush_requests, "block.%zu.fl.reqs", i);
        add_u64(params, stats.flush_ns, "block.%zu.fl.times", i);
    }
    if (vq_qemu_block_sizes_of(slot->block, disk, &capacity, &physical)) {
        add_u64(params, vq_qemu_block_highest_of(slot->blockstats, disk), "block.%zu.allocation", i);
        add_u64(params, capacity, "block.%zu.capacity", i);
        add_u64(params, physical, "block.%zu.physical", i);
    }
}

static void block_group(struct params *params, const struct slot *slot, const struct vq_qemu_guest *guest)
{
    const struct vq_devices *devices = guest != NULL && guest->live != NULL ? &guest->live->devices : NULL;

    if (devices == NULL)
        return;
    add_uint(params, (uint32_t)devices->n_disks, "block.count");
    for (size_t i = 0; i < devices->n_disks; i++)
        disk_params(params, slot, devices->disks[i], i);
}

/* {"status": "unstarted", "start-time": 0, "calc-time": 0, "mode": "page-sampling", "dirty-rate": 1} */
static void dirty_rate_group(struct params *params, const struct slot *slot, const struct vq_qemu_guest *guest)
{
    static const char *const statuses[] = { [VIR_DOMAIN_DIRTYRATE_UNSTARTED] = "unstarted",
                                            [VIR_DOMAIN_DIRTYRATE_MEASURING] = "measuring",
                                            [VIR_DOMAIN_DIRTYRATE_MEASURED] = "measured" };
    const char *status = json_string_value(json_object_get(slot->dirty_rate, "status"));
    const char *mode = json_string_value(json_object_get(slot->dirty_rate, "mode"));
    json_t *rate = json_object_get(slot->dirty_rate, "dirty-rate");

    if (guest == NULL || status == NULL)
        return;
    for (size_t i = 0; i < VQ_N_ELEMENTS(statuses); i++)
        if (strcmp(status, statuses[i]) == 0)
            add_int(params, (int32_t)i, "dirtyrate.calc_status");
    add_s64(params, json_integer_value(json_object_get(slot->dirty_rate, "start-time")), "dirtyrate.calc_start_time");
    add_int(params, (int32_t)json_integer_value(json_object_get(slot->dirty_rate, "calc-time")), "dirtyrate.calc_period");
    if (mode != NULL)
        add_string(params, mode, "dirtyrate.calc_mode");
    if (json_is_integer(rate))
        add_s64(params, json_integer_value(rate), "dirtyrate.megabytes_per_second");
}

static const struct {
    uint32_t flag;
    group_fn fn;
} groups[] = {
    { VIR_DOMAIN_STATS_STATE, state_group },   { VIR_DOMAIN_STATS_CPU_TOTAL, cpu_group },
    { VIR_DOMAIN_STATS_BALLOON, balloon_group }, { VIR_DOMAIN_STATS_VCPU, vcpu_group },
    { VIR_DOMAIN_STATS_INTERFACE, interface_group }, { VIR_DOMAIN_STATS_BLOCK, block_group },
    { VIR_DOMAIN_STATS_DIRTYRATE, dirty_rate_group },
};

/* ---- Answering ---- */

static const struct vq_qemu_guest *guest_of(const struct slot *slot)
{
    const struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(slot->gather->request), slot->info.uuid);

    return guest != NULL && (guest->phase == VQ_GUEST_ACTIVE || guest->phase == VQ_GUEST_FOUND) ? guest : NULL;
}

static bool fill_record(const struct slot *slot, struct vq_remote_domain_stats_record *record)
{
    struct params params = { .arena = slot->gather->request->arena };
    const struct vq_qemu_guest *guest = guest_of(slot);

    record->dom.name = slot->info.name;
    memcpy(record->dom.uuid, slot->info.uuid, sizeof(record->dom.uuid));
    record->dom.id = guest != NULL ? guest->id : -1;
    for (size_t i = 0; i < VQ_N_ELEMENTS(groups); i++)
        if ((slot->gather->stats & groups[i].flag) != 0)
            groups[i].fn(&params, slot, guest);
    record->n_params = params.n;
    record->params = params.list;
    return !params.is_full;
}

static void answer(struct gather *gather)
{
    struct vq_request *request = gather->request;
    struct vq_remote_connect_get_all_domain_stats_ret *ret = request->ret;
    struct vq_error err = VQ_ERROR_INIT;
    bool fits;

    ret->retStats = vq_arena_alloc(request->arena, gather->n_slots + 1, sizeof(*ret->retStats));
    fits = ret->retStats != NULL;
    for (size_t i = 0; i < gather->n_slots; i++) {
        fits = fits && fill_record(&gather->slots[i], &ret->retStats[ret->n_retStats++]);
        json_decref(gather->slots[i].memory);
        json_decref(gather->slots[i].blockstats);
        json_decref(gather->slots[i].block);
        json_decref(gather->slots[i].dirty_rate);
    }
    if (fits) {
        vq_request_reply(request);
        return;
    }
    ret->n_retStats = 0;
    (void)vq_error_set(&err, VIR_ERR_RPC, "the stats of all domains are too large for one answer");
    vq_request_fail(request, &err);
}

static void one_less(struct gather *gather)
{
    if (--gather->pending == 0)
        answer(gather);
}

static void memory_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct slot *slot = data;

    (void)err;
    slot->memory = json_incref(reply);
    one_less(slot->gather);
}

static void blockstats_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct slot *slot = data;

    (void)err;
    slot->blockstats = json_incref(reply);
    one_less(slot->gather);
}

static void block_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct slot *slot = data;

    (void)err;
    slot->block = json_incref(reply);
    one_less(slot->gather);
}

static void dirty_rate_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct slot *slot = data;

    (void)err;
    slot->dirty_rate = json_incref(reply);
    one_less(slot->gather);
}

static void ask_guest(struct slot *slot)
{
    const struct vq_qemu_guest *guest = guest_of(slot);
    uint32_t stats = slot->gather->stats;
    json_t *question;

    /* One that is stopped by a signal, or hangs: whoever asked first has waited for it, the others need not. */
    if (guest == NULL || guest->phase != VQ_GUEST_ACTIVE || vq_qmp_is_silent(guest->qmp))
        return;
    if ((stats & VIR_DOMAIN_STATS_BALLOON) != 0 && (question = vq_qemu_balloon_stats_question(guest)) != NULL) {
        slot->gather->pending++;
        (void)vq_qmp_call(guest->qmp, "qom-get", question, QUESTION_MS, memory_known, slot);
    }
    if ((stats & VIR_DOMAIN_STATS_BLOCK) != 0 && guest->live != NULL && guest->live->devices.n_disks > 0) {
        slot->gather->pending += 2;
        (void)vq_qmp_call(guest->qmp, "query-blockstats", NULL, QUESTION_MS, blockstats_known, slot);
        (void)vq_qmp_call(guest->qmp, "query-block", NULL, QUESTION_MS, block_known, slot);
    }
    if ((stats & VIR_DOMAIN_STATS_DIRTYRATE) != 0) {
        slot->gather->pending++;
        (void)vq_qmp_call(guest->qmp, "query-dirty-rate", NULL, QUESTION_MS, dirty_rate_known, slot);
    }
}

/* ---- Choosing domains ---- */

static bool passes(const struct vq_domain_info *info, uint32_t flags)
{
    bool is_active = info->id >= 0, is_persistent = (info->flags & VQ_INFO_PERSISTENT) != 0;
    uint32_t has = (is_active ? VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE : VIR_CONNECT_GET_ALL_DOMAINS_STATS_INACTIVE) |
                   (is_persistent ? VIR_CONNECT_GET_ALL_DOMAINS_STATS_PERSISTENT
                                  : VIR_CONNECT_GET_ALL_DOMAINS_STATS_TRANSIENT);
    const uint32_t sets[] = {
        VIR_CONNECT_GET_ALL_DOMAINS_STATS_ACTIVE | VIR_CONNECT_GET_ALL_DOMAINS_STATS_INACTIVE,
        VIR_CONNECT_GET_ALL_DOMAINS_STATS_PERSISTENT | VIR_CONNECT_GET_ALL_DOMAINS_STATS_TRANSIENT,
        VIR_CONNECT_GET_ALL_DOMAINS_STATS_RUNNING | VIR_CONNECT_GET_ALL_DOMAINS_STATS_PAUSED |
            VIR_CONNECT_GET_ALL_DOMAINS_STATS_SHUTOFF | VIR_CONNECT_GET_ALL_DOMAINS_STATS_OTHER,
    };

    has |= info->state == VIR_DOMAIN_RUNNING   ? VIR_CONNECT_GET_ALL_DOMAINS_STATS_RUNNING
           : info->state == VIR_DOMAIN_PAUSED  ? VIR_CONNECT_GET_ALL_DOMAINS_STATS_PAUSED
           : info->state == VIR_DOMAIN_SHUTOFF ? VIR_CONNECT_GET_ALL_DOMAINS_STATS_SHUTOFF
                                               : VIR_CONNECT_GET_ALL_DOMAINS_STATS_OTHER;
    for (size_t i = 0; i < VQ_N_ELEMENTS(sets); i++)
        if ((flags & sets[i]) != 0 && (flags & sets[i] & has) == 0)
            return false;
    return true;
}

static void add_slot(struct gather *gather, const struct vq_domain_info *info, size_t max)
{
    const struct vq_remote_connect_get_all_domain_stats_args *args = gather->request->args;
    struct slot *slot = &gather->slots[gather->n_slots];

    if (gather->n_slots == max || !passes(info, args->flags))
        return;
    slot->gather = gather;
    slot->info = *info;
    slot->info.xml = NULL;
    slot->info.name = vq_arena_strdup(gather->request->arena, info->name);
    if (slot->info.name != NULL)
        gather->n_slots++;
}

static void count_one(const struct vq_domain_info *info, void *data)
{
    (void)info;
    ++*(size_t *)data;
}

struct choosing {
    struct gather *gather;
    size_t max;
};

static void choose_one(const struct vq_domain_info *info, void *data)
{
    struct choosing *choosing = data;

    add_slot(choosing->gather, info, choosing->max);
}

static bool choose(struct gather *gather)
{
    const struct vq_remote_connect_get_all_domain_stats_args *args = gather->request->args;
    const struct vq_driver_host *host = gather->request->driver->host;
    struct choosing choosing = { .gather = gather, .max = args->n_doms };

    if (args->n_doms == 0)
        host->each_own_domain(gather->request->driver, count_one, &choosing.max);
    gather->slots = vq_arena_alloc(gather->request->arena, choosing.max + 1, sizeof(*gather->slots));
    if (gather->slots == NULL)
        return false;
    if (args->n_doms == 0)
        host->each_own_domain(gather->request->driver, choose_one, &choosing);
    for (uint32_t i = 0; i < args->n_doms; i++) {
        struct vq_domain_info info = { 0 };

        if (host->domain_find(args->doms[i].uuid, false, gather->request->arena, &info) && info.owner == host->node_id)
            add_slot(gather, &info, choosing.max);
    }
    return true;
}

static void connect_get_all_domain_stats(struct vq_request *request)
{
    const struct vq_remote_connect_get_all_domain_stats_args *args = request->args;
    struct gather *gather = vq_arena_alloc(request->arena, 1, sizeof(*gather));
    bool is_enforced = (args->flags & VIR_CONNECT_GET_ALL_DOMAINS_STATS_ENFORCE_STATS) != 0;
    struct vq_error err = VQ_ERROR_INIT;

    if (!vq_qemu_check_flags(request, args->flags, FLAGS | VIR_CONNECT_GET_ALL_DOMAINS_STATS_ENFORCE_STATS))
        return;
    if (is_enforced && (args->stats & ~(uint32_t)STATS_KNOWN) != 0) {
        (void)vq_error_set(&err, VIR_ERR_ARGUMENT_UNSUPPORTED, "Stats types bits 0x%x are not supported by this daemon",
                           args->stats & ~(uint32_t)STATS_KNOWN);
        vq_request_fail(request, &err);
        return;
    }
    if (gather != NULL) {
        gather->request = request;
        gather->stats = args->stats != 0 ? args->stats : STATS_KNOWN;
        gather->pending = 1;
    }
    if (gather == NULL || !choose(gather)) {
        (void)vq_error_set(&err, VIR_ERR_RPC, "the stats of all domains are too large for one answer");
        vq_request_fail(request, &err);
        return;
    }
    for (size_t i = 0; i < gather->n_slots; i++)
        ask_guest(&gather->slots[i]);
    one_less(gather);
}

static const struct vq_driver_row rows[] = {
    { VQ_PROGRAM_REMOTE, VQ_REMOTE_CONNECT_GET_ALL_DOMAIN_STATS, connect_get_all_domain_stats },
};
const struct vq_qemu_rows vq_qemu_stats_rows = { rows, VQ_N_ELEMENTS(rows) };
