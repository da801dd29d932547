/* The one long work of a guest: see activity.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/activity.h"

#include <assert.h>
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <string.h>

#include "conf/base/log.h"
#include "drivers/qemu/events.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/handlers_define.h"
#include "proto/gen/remote.h"

/* ---- Begin and end ---- */

static const char *const operation_names[] = {
    [VIR_DOMAIN_JOB_OPERATION_UNKNOWN] = "a change",
    [VIR_DOMAIN_JOB_OPERATION_START] = "start",
    [VIR_DOMAIN_JOB_OPERATION_SAVE] = "save",
    [VIR_DOMAIN_JOB_OPERATION_RESTORE] = "restore",
    [VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN] = "incoming migration",
    [VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT] = "outgoing migration",
    [VIR_DOMAIN_JOB_OPERATION_SNAPSHOT] = "snapshot",
    [VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_REVERT] = "revert to a snapshot",
    [VIR_DOMAIN_JOB_OPERATION_DUMP] = "dump",
    [VIR_DOMAIN_JOB_OPERATION_BACKUP] = "backup",
    [VIR_DOMAIN_JOB_OPERATION_SNAPSHOT_DELETE] = "deletion of a snapshot",
};

static const char *operation_name(int operation)
{
    return operation > 0 && (size_t)operation < VQ_N_ELEMENTS(operation_names) ? operation_names[operation]
                                                                               : operation_names[0];
}

int vq_qemu_activity_refuse(const struct vq_qemu_guest *guest, struct vq_error *err)
{
    return vq_error_set(err, VIR_ERR_OPERATION_TIMEOUT, "cannot acquire state change lock (held by %s)",
                        operation_name(guest->activity.operation));
}

int vq_qemu_activity_begin(struct vq_qemu_guest *guest, int operation, struct vq_error *err)
{
    const struct vq_driver_host *host = guest->qemu->host;

    if (guest->activity.is_active)
        return vq_qemu_activity_refuse(guest, err);
    guest->activity = (struct vq_qemu_activity){ .is_active = true, .operation = operation,
                                                 .type = VIR_DOMAIN_JOB_UNBOUNDED,
                                                 .start_loop_ms = uv_now(host->loop),
                                                 .stats.started_ms = host->time_ms() };
    return 0;
}

bool vq_qemu_activity_allows(struct vq_request *request, const struct vq_qemu_guest *guest)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (!guest->activity.is_active)
        return true;
    (void)vq_qemu_activity_refuse(guest, &err);
    vq_request_fail(request, &err);
    return false;
}

/* ---- Numbers in the forms of the protocol ---- */

enum { JOB_PARAMS_MAX = 40 };

struct job_params {
    struct vq_typed_param list[JOB_PARAMS_MAX];
    uint32_t n;
};

static void add_u64(struct job_params *params, const char *name, uint64_t value)
{
    assert(params->n < JOB_PARAMS_MAX);
    params->list[params->n++] = (struct vq_typed_param){ .field = name, .type = VIR_TYPED_PARAM_ULLONG,
                                                         .value.ul = value };
}

static void add_int(struct job_params *params, const char *name, int value)
{
    assert(params->n < JOB_PARAMS_MAX);
    params->list[params->n++] = (struct vq_typed_param){ .field = name, .type = VIR_TYPED_PARAM_INT, .value.i = value };
}

/* Without what the clocks of the two hosts differ by, where that leaves anything. */
static void add_net(struct job_params *params, const char *name, const struct vq_qemu_job_stats *stats, uint64_t value)
{
    if (stats->has_delta && (stats->delta_ms < 0 || value > (uint64_t)stats->delta_ms))
        add_u64(params, name, (uint64_t)((int64_t)value - stats->delta_ms));
}

static void add_times(struct job_params *params, const struct vq_qemu_job_stats *stats)
{
    add_u64(params, VIR_DOMAIN_JOB_TIME_ELAPSED, stats->elapsed_ms);
    add_net(params, VIR_DOMAIN_JOB_TIME_ELAPSED_NET, stats, stats->elapsed_ms);
    if (stats->remaining_ms != 0)
        add_u64(params, VIR_DOMAIN_JOB_TIME_REMAINING, stats->remaining_ms);
    if (stats->has_downtime) {
        add_u64(params, VIR_DOMAIN_JOB_DOWNTIME, stats->downtime_ms);
        add_net(params, VIR_DOMAIN_JOB_DOWNTIME_NET, stats, stats->downtime_ms);
    }
    if (stats->setup_ms != 0)
        add_u64(params, VIR_DOMAIN_JOB_SETUP_TIME, stats->setup_ms);
}

static void add_memory(struct job_params *params, const struct vq_qemu_job_stats *stats)
{
    add_u64(params, VIR_DOMAIN_JOB_MEMORY_TOTAL, stats->ram_total);
    add_u64(params, VIR_DOMAIN_JOB_MEMORY_PROCESSED, stats->ram_processed);
    add_u64(params, VIR_DOMAIN_JOB_MEMORY_REMAINING, stats->ram_remaining);
    if (stats->ram_bps != 0)
        add_u64(params, VIR_DOMAIN_JOB_MEMORY_BPS, stats->ram_bps);
    if (stats->ram_total != 0) {
        add_u64(params, VIR_DOMAIN_JOB_MEMORY_CONSTANT, stats->ram_constant);
        add_u64(params, VIR_DOMAIN_JOB_MEMORY_NORMAL, stats->ram_normal);
        add_u64(params, VIR_DOMAIN_JOB_MEMORY_NORMAL_BYTES, stats->ram_normal_bytes);
    }
    add_u64(params, VIR_DOMAIN_JOB_MEMORY_DIRTY_RATE, stats->ram_dirty_rate);
    add_u64(params, VIR_DOMAIN_JOB_MEMORY_ITERATION, stats->ram_iteration);
    add_u64(params, VIR_DOMAIN_JOB_MEMORY_POSTCOPY_REQS, stats->ram_postcopy_requests);
    if (stats->ram_page_size != 0)
        add_u64(params, VIR_DOMAIN_JOB_MEMORY_PAGE_SIZE, stats->ram_page_size);
}

static void add_disks(struct job_params *params, const struct vq_qemu_job_stats *stats)
{
    add_u64(params, VIR_DOMAIN_JOB_DISK_TOTAL, stats->disk_total);
    add_u64(params, VIR_DOMAIN_JOB_DISK_PROCESSED, stats->disk_processed);
    add_u64(params, VIR_DOMAIN_JOB_DISK_REMAINING, stats->disk_remaining);
    if (stats->disk_bps != 0)
        add_u64(params, VIR_DOMAIN_JOB_DISK_BPS, stats->disk_bps);
}

static void add_compression(struct job_params *params, const struct vq_qemu_job_stats *stats)
{
    if (!stats->has_compression)
        return;
    add_u64(params, VIR_DOMAIN_JOB_COMPRESSION_CACHE, stats->compression_cache);
    add_u64(params, VIR_DOMAIN_JOB_COMPRESSION_BYTES, stats->compression_bytes);
    add_u64(params, VIR_DOMAIN_JOB_COMPRESSION_PAGES, stats->compression_pages);
    add_u64(params, VIR_DOMAIN_JOB_COMPRESSION_CACHE_MISSES, stats->compression_misses);
    add_u64(params, VIR_DOMAIN_JOB_COMPRESSION_OVERFLOW, stats->compression_overflow);
}

static void fill_params(struct job_params *params, int operation, const struct vq_qemu_job_stats *stats, const char *error)
{
    params->n = 0;
    add_int(params, VIR_DOMAIN_JOB_OPERATION, operation);
    add_times(params, stats);
    add_u64(params, VIR_DOMAIN_JOB_DATA_TOTAL, stats->ram_total + stats->disk_total);
    add_u64(params, VIR_DOMAIN_JOB_DATA_PROCESSED, stats->ram_processed + stats->disk_processed);
    add_u64(params, VIR_DOMAIN_JOB_DATA_REMAINING, stats->ram_remaining + stats->disk_remaining);
    add_memory(params, stats);
    add_disks(params, stats);
    add_compression(params, stats);
    if (stats->throttle != 0)
        add_int(params, VIR_DOMAIN_JOB_AUTO_CONVERGE_THROTTLE, stats->throttle);
    if (error[0] != '\0')
        params->list[params->n++] = (struct vq_typed_param){ .field = VIR_DOMAIN_JOB_ERRMSG,
                                                             .type = VIR_TYPED_PARAM_STRING, .value.s = error };
}

void vq_qemu_activity_count_time(struct vq_qemu_guest *guest)
{
    struct vq_qemu_activity *activity = &guest->activity;

    if (activity->is_active)
        activity->stats.elapsed_ms = uv_now(guest->qemu->host->loop) - activity->start_loop_ms;
}

/* QEMU had not said it when the guest went over: the CPUs stand still until then. */
static void complete_downtime(struct vq_qemu_guest *guest)
{
    struct vq_qemu_job_stats *stats = &guest->activity.stats;
    uint64_t now_ms = guest->qemu->host->time_ms();

    if (stats->has_downtime || stats->stopped_ms == 0 || now_ms < stats->stopped_ms)
        return;
    stats->downtime_ms = now_ms - stats->stopped_ms;
    stats->has_downtime = true;
}

void vq_qemu_activity_end(struct vq_qemu_guest *guest, int type, const struct vq_error *err)
{
    struct vq_qemu_completed *completed = &guest->completed;
    struct job_params params;

    if (!guest->activity.is_active)
        return;
    vq_qemu_activity_count_time(guest);
    if (type == VIR_DOMAIN_JOB_COMPLETED)
        complete_downtime(guest);
    guest->activity.is_active = false;
    *completed = (struct vq_qemu_completed){ .is_set = true, .success = type == VIR_DOMAIN_JOB_COMPLETED, .type = type,
                                             .operation = guest->activity.operation, .stats = guest->activity.stats };
    if (err != NULL)
        (void)snprintf(completed->error, sizeof(completed->error), "%.200s", err->message);
    if (guest->activity.is_quiet || completed->stats.ram_total + completed->stats.disk_total == 0)
        return; /* nobody else tells of it, or it did not come far enough for any number */
    fill_params(&params, completed->operation, &completed->stats, completed->error);
    vq_qemu_emit_job_completed(guest, params.list, params.n);
}

/* ---- Between two runs ---- */

enum { KEPT_MAX = 256 };

static struct kept {
    uint8_t uuid[VQ_UUID_BYTES];
    struct vq_qemu_completed completed;
} kept[KEPT_MAX];
static unsigned next_kept;   /* the oldest makes room */

static struct kept *find_kept(const uint8_t uuid[VQ_UUID_BYTES])
{
    for (size_t i = 0; i < KEPT_MAX; i++)
        if (kept[i].completed.is_set && memcmp(kept[i].uuid, uuid, VQ_UUID_BYTES) == 0)
            return &kept[i];
    return NULL;
}

void vq_qemu_completed_keep(const struct vq_qemu_guest *guest)
{
    struct kept *entry = find_kept(guest->uuid);

    if (!guest->completed.is_set || guest->is_handed_over)
        return;
    if (entry == NULL)
        entry = &kept[next_kept++ % KEPT_MAX];
    memcpy(entry->uuid, guest->uuid, VQ_UUID_BYTES);
    entry->completed = guest->completed;
}

void vq_qemu_completed_recall(struct vq_qemu_guest *guest)
{
    struct kept *entry = find_kept(guest->uuid);

    if (entry == NULL)
        return;
    guest->completed = entry->completed;
    entry->completed.is_set = false;
}

/* ---- query-migrate ---- */

static uint64_t number_of(const json_t *object, const char *name)
{
    const json_t *value = json_object_get(object, name);

    return json_is_integer(value) && json_integer_value(value) > 0 ? (uint64_t)json_integer_value(value) : 0;
}

static void take_ram(struct vq_qemu_job_stats *stats, const json_t *ram)
{
    const json_t *mbps = json_object_get(ram, "mbps");
    uint64_t page = number_of(ram, "page-size");

    stats->ram_total = number_of(ram, "total");
    stats->ram_processed = number_of(ram, "transferred");
    stats->ram_remaining = number_of(ram, "remaining");
    stats->ram_constant = number_of(ram, "duplicate");
    stats->ram_normal = number_of(ram, "normal");
    stats->ram_normal_bytes = number_of(ram, "normal-bytes");
    stats->ram_dirty_rate = number_of(ram, "dirty-pages-rate");
    stats->ram_iteration = number_of(ram, "dirty-sync-count");
    stats->ram_postcopy_requests = number_of(ram, "postcopy-requests");
    if (page != 0)
        stats->ram_page_size = page;
    /* Megabits, a fraction; a rate above this is QEMU's division by nearly nothing. */
    if (json_is_number(mbps) && json_number_value(mbps) > 0 && json_number_value(mbps) < 1e9)
        stats->ram_bps = (uint64_t)(json_number_value(mbps) * 1000 * 1000 / 8);
}

void vq_qemu_job_stats_take(struct vq_qemu_job_stats *stats, const json_t *query_migrate)
{
    const json_t *ram = json_object_get(query_migrate, "ram"), *disk = json_object_get(query_migrate, "disk");
    const json_t *cache = json_object_get(query_migrate, "xbzrle-cache");
    uint64_t downtime = number_of(query_migrate, "downtime"), setup = number_of(query_migrate, "setup-time");
    uint64_t throttle = number_of(query_migrate, "cpu-throttle-percentage");

    if (json_is_object(ram))
        take_ram(stats, ram);
    if (json_is_object(disk)) {
        stats->disk_total = number_of(disk, "total");
        stats->disk_processed = number_of(disk, "transferred");
        stats->disk_remaining = number_of(disk, "remaining");
    }
    if (downtime != 0) {
        stats->downtime_ms = downtime;
        stats->has_downtime = true;
    }
    if (setup != 0)
        stats->setup_ms = setup;
    if (json_is_object(cache)) {
        stats->has_compression = true;
        stats->compression_cache = number_of(cache, "cache-size");
        stats->compression_bytes = number_of(cache, "bytes");
        stats->compression_pages = number_of(cache, "pages");
        stats->compression_misses = number_of(cache, "cache-miss");
        stats->compression_overflow = number_of(cache, "overflow");
    }
    stats->throttle = throttle <= 100 ? (int)throttle : 0;
}

/* ---- Procedures ---- */

/* A guest that runs, or waits for its data; NULL: the request was failed. */
static struct vq_qemu_guest *guest_or_fail(struct vq_request *request)
{
    struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);

    if (guest != NULL && (guest->phase == VQ_GUEST_ACTIVE || guest->phase == VQ_GUEST_FOUND ||
                          (guest->phase == VQ_GUEST_STARTING && guest->activity.is_active)))
        return guest;
    vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_INVALID, "domain is not running");
    return NULL;
}

static void reply_info(struct vq_request *request, const struct vq_qemu_activity *activity)
{
    struct vq_remote_domain_get_job_info_ret *ret = request->ret;
    const struct vq_qemu_job_stats *stats = &activity->stats;

    if (activity->is_active)
        *ret = (struct vq_remote_domain_get_job_info_ret){
            .type = activity->type, .timeElapsed = stats->elapsed_ms, .timeRemaining = stats->remaining_ms,
            .dataTotal = stats->ram_total + stats->disk_total, .dataProcessed = stats->ram_processed + stats->disk_processed,
            .dataRemaining = stats->ram_remaining + stats->disk_remaining, .memTotal = stats->ram_total,
            .memProcessed = stats->ram_processed, .memRemaining = stats->ram_remaining, .fileTotal = stats->disk_total,
            .fileProcessed = stats->disk_processed, .fileRemaining = stats->disk_remaining,
        };
    vq_request_reply(request);
}

static void reply_stats(struct vq_request *request, int type, int operation, const struct vq_qemu_job_stats *stats,
                        const char *error)
{
    struct vq_remote_domain_get_job_stats_ret *ret = request->ret;
    struct job_params params;

    fill_params(&params, operation, stats, error);
    ret->params = vq_qemu_request_alloc(request, sizeof(*ret->params) * params.n);
    if (ret->params == NULL)
        return;
    for (uint32_t i = 0; i < params.n; i++) {
        ret->params[i] = params.list[i];
        if (params.list[i].type == VIR_TYPED_PARAM_STRING)
            ret->params[i].value.s = vq_arena_strdup(request->arena, error); /* a short one: the allocation above was larger */
    }
    ret->n_params = params.n;
    ret->type = type;
    vq_request_reply(request);
}

static void reply_active(struct vq_request *request, const struct vq_qemu_activity *activity)
{
    if (request->procedure->number == VQ_REMOTE_DOMAIN_GET_JOB_INFO)
        reply_info(request, activity);
    else if (activity->is_active)
        reply_stats(request, activity->type, activity->operation, &activity->stats, "");
    else
        vq_request_reply(request); /* type 0, no numbers */
}

static void refreshed(struct vq_qemu_guest *guest, void *data)
{
    vq_qemu_activity_count_time(guest);
    reply_active(data, &guest->activity);
}

static void look_at(struct vq_request *request)
{
    struct vq_qemu_guest *guest = guest_or_fail(request);

    if (guest == NULL)
        return;
    if (guest->activity.is_active && guest->activity.operation == VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_UNSUPPORTED,
                       "migration statistics are available only on the source host");
        return;
    }
    if (guest->activity.is_active && guest->activity.refresh != NULL)
        guest->activity.refresh(guest, refreshed, request);
    else
        refreshed(guest, request);
}

static void domain_get_job_info(struct vq_request *request)
{
    look_at(request);
}

/* The numbers of the last work outlive the guest's run only where it goes on: they are the guest's. */
static void reply_completed(struct vq_request *request, bool keep)
{
    struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);

    if (guest == NULL || !guest->completed.is_set) {
        vq_request_reply(request);
        return;
    }
    reply_stats(request, guest->completed.type, guest->completed.operation, &guest->completed.stats,
                guest->completed.error);
    guest->completed.is_set = keep;
}

static void domain_get_job_stats(struct vq_request *request)
{
    const struct vq_remote_domain_get_job_stats_args *args = request->args;
    bool keep = (args->flags & VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED) != 0;

    if (!vq_qemu_check_flags(request, args->flags, VIR_DOMAIN_JOB_STATS_COMPLETED | VIR_DOMAIN_JOB_STATS_KEEP_COMPLETED))
        return;
    if ((args->flags & VIR_DOMAIN_JOB_STATS_COMPLETED) != 0)
        reply_completed(request, keep);
    else
        look_at(request);
}

static void abort_job(struct vq_request *request, uint32_t flags)
{
    struct vq_qemu_guest *guest;
    struct vq_error err = VQ_ERROR_INIT;

    if (!vq_qemu_check_flags(request, flags, VIR_DOMAIN_ABORT_JOB_POSTCOPY) || (guest = guest_or_fail(request)) == NULL)
        return;
    if (!guest->activity.is_active)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "no job is active on the domain");
    else if (guest->activity.operation == VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID,
                           "cannot abort incoming migration; use virDomainDestroy instead");
    else if (guest->activity.abort == NULL)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "cannot abort %s",
                           operation_name(guest->activity.operation));
    else if (guest->activity.abort(guest, (flags & VIR_DOMAIN_ABORT_JOB_POSTCOPY) != 0, &err) == 0) {
        vq_request_reply(request);
        return;
    }
    vq_request_fail(request, &err);
}

static void domain_abort_job(struct vq_request *request)
{
    abort_job(request, 0);
}

static void domain_abort_job_flags(struct vq_request *request)
{
    abort_job(request, ((const struct vq_remote_domain_abort_job_flags_args *)request->args)->flags);
}

#define ROW(NAME, fn) { VQ_PROGRAM_REMOTE, VQ_REMOTE_##NAME, fn }

static const struct vq_driver_row rows[] = {
    ROW(DOMAIN_GET_JOB_INFO, domain_get_job_info),
    ROW(DOMAIN_GET_JOB_STATS, domain_get_job_stats),
    ROW(DOMAIN_ABORT_JOB, domain_abort_job),
    ROW(DOMAIN_ABORT_JOB_FLAGS, domain_abort_job_flags),
};
const struct vq_qemu_rows vq_qemu_activity_rows = { rows, VQ_N_ELEMENTS(rows) };
