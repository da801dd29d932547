/* Procedures about the disks of a running guest. */
#define VQ_FROM VIR_FROM_QEMU

#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/domain.h"
#include "drivers/qemu/block.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/qmp.h"
#include "proto/gen/remote.h"

enum { BLOCK_TIMEOUT_MS = 5000 };

const struct vq_disk *vq_qemu_disk_find(const struct vq_qemu_guest *guest, const char *path)
{
    for (size_t i = 0; guest->live != NULL && i < guest->live->devices.n_disks; i++) {
        const struct vq_disk *disk = guest->live->devices.disks[i];

        if (vq_streq(disk->target, path) || (disk->source.path != NULL && vq_streq(disk->source.path, path)))
            return disk;
    }
    return NULL;
}

/* "qdev" is the device's id, or its path in QEMU's object tree, which may go on behind the id. */
static json_t *entry_of(json_t *reply, const struct vq_disk *disk)
{
    size_t length = disk->info.alias != NULL ? strlen(disk->info.alias) : 0, i;
    json_t *entry;

    json_array_foreach(reply, i, entry) {
        const char *qdev = json_string_value(json_object_get(entry, "qdev"));

        if (qdev != NULL && strncmp(qdev, "/machine/peripheral/", 20) == 0)
            qdev += 20;
        if (qdev != NULL && length > 0 && strncmp(qdev, disk->info.alias, length) == 0 &&
            (qdev[length] == '\0' || qdev[length] == '/'))
            return entry;
    }
    return NULL;
}

static uint64_t number_of(json_t *object, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(object, name));

    return value > 0 ? (uint64_t)value : 0;
}

bool vq_qemu_block_stats_of(json_t *reply, const struct vq_disk *disk, struct vq_qemu_block_stats *ret_stats)
{
    json_t *stats = json_object_get(entry_of(reply, disk), "stats");

    if (!json_is_object(stats))
        return false;
    *ret_stats = (struct vq_qemu_block_stats){
        .rd_requests = number_of(stats, "rd_operations"), .rd_bytes = number_of(stats, "rd_bytes"),
        .rd_ns = number_of(stats, "rd_total_time_ns"), .wr_requests = number_of(stats, "wr_operations"),
        .wr_bytes = number_of(stats, "wr_bytes"), .wr_ns = number_of(stats, "wr_total_time_ns"),
        .flush_requests = number_of(stats, "flush_operations"), .flush_ns = number_of(stats, "flush_total_time_ns"),
        .errors = -1,
    };
    return true;
}

uint64_t vq_qemu_block_highest_of(json_t *reply, const struct vq_disk *disk)
{
    json_t *entry = entry_of(reply, disk), *parent = json_object_get(entry, "parent");

    return number_of(json_object_get(parent != NULL ? parent : entry, "stats"), "wr_highest_offset");
}

bool vq_qemu_block_sizes_of(json_t *reply, const struct vq_disk *disk, uint64_t *ret_capacity, uint64_t *ret_allocation)
{
    json_t *image = json_object_get(json_object_get(entry_of(reply, disk), "inserted"), "image");

    if (!json_is_object(image))
        return false;
    *ret_capacity = number_of(image, "virtual-size");
    *ret_allocation = number_of(image, "actual-size");
    return true;
}

const char *vq_qemu_block_node_of(json_t *reply, const struct vq_disk *disk)
{
    return json_string_value(json_object_get(json_object_get(entry_of(reply, disk), "inserted"), "node-name"));
}

static void fail(struct vq_request *request, int code, const char *text, const char *path)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, code, text, path);
    vq_request_fail(request, &err);
}

/* Guest and disk of a call; NULL: the request was failed. */
static struct vq_qemu_guest *guest_with_disk(struct vq_request *request, const char *path, const char *refusal)
{
    struct vq_qemu_guest *guest = vq_qemu_guest_of(request);

    if (guest != NULL && vq_qemu_disk_find(guest, path) == NULL) {
        fail(request, VIR_ERR_INVALID_ARG, refusal, path);
        return NULL;
    }
    return guest;
}

static struct vq_qemu_guest *guest_for_stats(struct vq_request *request, const char *path)
{
    return path[0] == '\0' ? vq_qemu_guest_of(request) : guest_with_disk(request, path, "invalid path: %s");
}

/* The disk when the answer has come: the guest may have ended meanwhile. */
static const struct vq_disk *disk_again(struct vq_request *request, const char *path, json_t *reply,
                                        const struct vq_error *err)
{
    const struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);
    const struct vq_disk *disk = guest != NULL && reply != NULL ? vq_qemu_disk_find(guest, path) : NULL;

    if (disk == NULL && err != NULL)
        vq_request_fail(request, err);
    else if (disk == NULL)
        fail(request, VIR_ERR_OPERATION_INVALID, "domain is not running (disk %s)", path);
    return disk;
}

/* An empty path asks for all disks together. */
static bool sum_again(struct vq_request *request, json_t *reply, const struct vq_error *err,
                      struct vq_qemu_block_stats *stats)
{
    const struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);
    struct vq_qemu_block_stats one;

    if (reply == NULL) {
        vq_request_fail(request, err);
        return false;
    }
    *stats = (struct vq_qemu_block_stats){ .errors = -1 };
    for (size_t i = 0; guest != NULL && guest->live != NULL && i < guest->live->devices.n_disks; i++) {
        if (!vq_qemu_block_stats_of(reply, guest->live->devices.disks[i], &one))
            continue;
        stats->rd_requests += one.rd_requests;
        stats->rd_bytes += one.rd_bytes;
        stats->rd_ns += one.rd_ns;
        stats->wr_requests += one.wr_requests;
        stats->wr_bytes += one.wr_bytes;
        stats->wr_ns += one.wr_ns;
        stats->flush_requests += one.flush_requests;
        stats->flush_ns += one.flush_ns;
    }
    return true;
}

static bool stats_again(struct vq_request *request, const char *path, json_t *reply, const struct vq_error *err,
                        struct vq_qemu_block_stats *stats)
{
    if (path[0] == '\0')
        return sum_again(request, reply, err, stats);

    const struct vq_disk *disk = disk_again(request, path, reply, err);

    if (disk == NULL)
        return false;
    if (vq_qemu_block_stats_of(reply, disk, stats))
        return true;
    fail(request, VIR_ERR_INTERNAL_ERROR, "cannot find statistics for device '%s'", path);
    return false;
}

/* ---- domain_block_stats ---- */

static void block_stats_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_request *request = data;
    const struct vq_remote_domain_block_stats_args *args = request->args;
    struct vq_remote_domain_block_stats_ret *ret = request->ret;
    struct vq_qemu_block_stats stats;

    if (!stats_again(request, args->path, reply, err, &stats))
        return;
    ret->rd_req = (int64_t)stats.rd_requests;
    ret->rd_bytes = (int64_t)stats.rd_bytes;
    ret->wr_req = (int64_t)stats.wr_requests;
    ret->wr_bytes = (int64_t)stats.wr_bytes;
    ret->errs = stats.errors;
    vq_request_reply(request);
}

static void domain_block_stats(struct vq_request *request)
{
    const struct vq_remote_domain_block_stats_args *args = request->args;
    struct vq_qemu_guest *guest = guest_for_stats(request, args->path);

    if (guest != NULL)
        (void)vq_qmp_call(guest->qmp, "query-blockstats", NULL, BLOCK_TIMEOUT_MS, block_stats_known, request);
}

/* ---- domain_block_stats_flags ---- */

static const struct {
    const char *name;
    size_t offset;
} stats_rows[] = {
    { VIR_DOMAIN_BLOCK_STATS_WRITE_BYTES, offsetof(struct vq_qemu_block_stats, wr_bytes) },
    { VIR_DOMAIN_BLOCK_STATS_WRITE_REQ, offsetof(struct vq_qemu_block_stats, wr_requests) },
    { VIR_DOMAIN_BLOCK_STATS_READ_BYTES, offsetof(struct vq_qemu_block_stats, rd_bytes) },
    { VIR_DOMAIN_BLOCK_STATS_READ_REQ, offsetof(struct vq_qemu_block_stats, rd_requests) },
    { VIR_DOMAIN_BLOCK_STATS_FLUSH_REQ, offsetof(struct vq_qemu_block_stats, flush_requests) },
    { VIR_DOMAIN_BLOCK_STATS_WRITE_TOTAL_TIMES, offsetof(struct vq_qemu_block_stats, wr_ns) },
    { VIR_DOMAIN_BLOCK_STATS_READ_TOTAL_TIMES, offsetof(struct vq_qemu_block_stats, rd_ns) },
    { VIR_DOMAIN_BLOCK_STATS_FLUSH_TOTAL_TIMES, offsetof(struct vq_qemu_block_stats, flush_ns) },
};

static void block_params_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_request *request = data;
    const struct vq_remote_domain_block_stats_flags_args *args = request->args;
    struct vq_remote_domain_block_stats_flags_ret *ret = request->ret;
    struct vq_qemu_block_stats stats;

    if (!stats_again(request, args->path, reply, err, &stats))
        return;
    ret->params = vq_arena_alloc(request->arena, VQ_N_ELEMENTS(stats_rows), sizeof(*ret->params));
    if (ret->params == NULL) {
        fail(request, VIR_ERR_NO_MEMORY, "the statistics of '%s' are too large", args->path);
        return;
    }
    for (size_t i = 0; i < VQ_N_ELEMENTS(stats_rows) && i < (size_t)args->nparams; i++) {
        struct vq_typed_param *param = &ret->params[ret->n_params++];

        param->field = stats_rows[i].name;
        param->type = VIR_TYPED_PARAM_LLONG;
        memcpy(&param->value.l, (const char *)&stats + stats_rows[i].offset, sizeof(param->value.l));
    }
    ret->nparams = (int32_t)ret->n_params;
    vq_request_reply(request);
}

static void domain_block_stats_flags(struct vq_request *request)
{
    const struct vq_remote_domain_block_stats_flags_args *args = request->args;
    struct vq_remote_domain_block_stats_flags_ret *ret = request->ret;
    struct vq_qemu_guest *guest;

    if (!vq_qemu_check_flags(request, args->flags, VIR_TYPED_PARAM_STRING_OKAY) ||
        (guest = guest_for_stats(request, args->path)) == NULL)
        return;
    if (args->nparams < 0) {
        fail(request, VIR_ERR_INVALID_ARG, "the number of parameters for '%s' is negative", args->path);
        return;
    }
    ret->nparams = (int32_t)VQ_N_ELEMENTS(stats_rows);
    if (args->nparams == 0) { /* only asked how many there are */
        vq_request_reply(request);
        return;
    }
    (void)vq_qmp_call(guest->qmp, "query-blockstats", NULL, BLOCK_TIMEOUT_MS, block_params_known, request);
}

/* ---- domain_get_block_info ---- */

static uint64_t physical_size(const struct vq_disk *disk, uint64_t otherwise)
{
    struct stat status;

    /* stat(2) of a path on dead network storage would wait: asked only of files and devices that this host has. */
    if (disk->source.type != VQ_SOURCE_FILE || disk->source.path == NULL || stat(disk->source.path, &status) < 0 ||
        !S_ISREG(status.st_mode))
        return otherwise;
    return (uint64_t)status.st_size;
}

static void block_info_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_request *request = data;
    const struct vq_remote_domain_get_block_info_args *args = request->args;
    struct vq_remote_domain_get_block_info_ret *ret = request->ret;
    const struct vq_disk *disk = disk_again(request, args->path, reply, err);

    if (disk == NULL)
        return;
    if (!vq_qemu_block_sizes_of(reply, disk, &ret->capacity, &ret->allocation)) {
        fail(request, VIR_ERR_OPERATION_INVALID, "disk '%s' has no medium", args->path);
        return;
    }
    ret->physical = physical_size(disk, ret->capacity);
    vq_request_reply(request);
}

static void domain_get_block_info(struct vq_request *request)
{
    const struct vq_remote_domain_get_block_info_args *args = request->args;
    struct vq_qemu_guest *guest;

    if (vq_qemu_check_flags(request, args->flags, 0) && (guest = guest_with_disk(request, args->path, "invalid path %s not assigned to domain")) != NULL)
        (void)vq_qmp_call(guest->qmp, "query-block", NULL, BLOCK_TIMEOUT_MS, block_info_known, request);
}

/* ---- domain_get_disk_errors ---- */

static int error_of(json_t *entry)
{
    const char *status = json_string_value(json_object_get(entry, "io-status"));

    if (vq_streq(status, "nospace"))
        return VIR_DOMAIN_DISK_ERROR_NO_SPACE;
    return vq_streq(status, "failed") ? VIR_DOMAIN_DISK_ERROR_UNSPEC : VIR_DOMAIN_DISK_ERROR_NONE;
}

static void disk_errors_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_request *request = data;
    const struct vq_remote_domain_get_disk_errors_args *args = request->args;
    struct vq_remote_domain_get_disk_errors_ret *ret = request->ret;
    const struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);
    size_t n = guest != NULL && guest->live != NULL ? guest->live->devices.n_disks : 0;

    if (reply == NULL) {
        vq_request_fail(request, err);
        return;
    }
    ret->nerrors = (int32_t)n; /* how many there can be, when nothing else is asked */
    ret->errors = vq_arena_alloc(request->arena, n + 1, sizeof(*ret->errors));
    for (size_t i = 0; ret->errors != NULL && args->maxerrors > 0 && i < n; i++) {
        const struct vq_disk *disk = guest->live->devices.disks[i];
        int error = error_of(entry_of(reply, disk));

        if (error != VIR_DOMAIN_DISK_ERROR_NONE && ret->n_errors < args->maxerrors && disk->target != NULL)
            ret->errors[ret->n_errors++] = (struct vq_remote_domain_disk_error){
                .disk = vq_arena_strdup(request->arena, disk->target), .error = error };
    }
    if (args->maxerrors > 0)
        ret->nerrors = (int32_t)ret->n_errors;
    vq_request_reply(request);
}

static void domain_get_disk_errors(struct vq_request *request)
{
    const struct vq_remote_domain_get_disk_errors_args *args = request->args;
    struct vq_qemu_guest *guest;

    if (vq_qemu_check_flags(request, args->flags, 0) && (guest = vq_qemu_guest_of(request)) != NULL)
        (void)vq_qmp_call(guest->qmp, "query-block", NULL, BLOCK_TIMEOUT_MS, disk_errors_known, request);
}

#define ROW(NAME, fn) { VQ_PROGRAM_REMOTE, VQ_REMOTE_##NAME, fn }

static const struct vq_driver_row rows[] = {
    ROW(DOMAIN_BLOCK_STATS, domain_block_stats),
    ROW(DOMAIN_BLOCK_STATS_FLAGS, domain_block_stats_flags),
    ROW(DOMAIN_GET_BLOCK_INFO, domain_get_block_info),
    ROW(DOMAIN_GET_DISK_ERRORS, domain_get_disk_errors),
};
const struct vq_qemu_rows vq_qemu_block_rows = { rows, VQ_N_ELEMENTS(rows) };
