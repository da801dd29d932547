/* How fast a guest may be migrated, and at which cost to it: kept with the guest for the next migration, and told to QEMU at
 * once, so that it counts for one that is under way. */
#define VQ_FROM VIR_FROM_QEMU

#include <assert.h>
#include <libvirt/libvirt.h>
#include <string.h>

#include "conf/base/memory.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/handlers_define.h"
#include "drivers/qemu/migrate.h"
#include "drivers/qemu/migrate_out.h"
#include "drivers/qemu/migrate_qemu.h"
#include "drivers/qemu/qmp.h"
#include "proto/gen/remote.h"

enum { MIB_SHIFT = 20 };

/* ---- Setting ---- */

struct setting {
    struct vq_request *request;
    size_t kept;             /* member of the guest that keeps it; 0: none */
    uint64_t value;
};

/* The guest may have gone while QEMU was asked. */
static void set(json_t *reply VQ_UNUSED, const struct vq_error *qemu_err, void *data)
{
    const struct setting *setting = data;
    struct vq_request *request = setting->request;
    struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);
    struct vq_error err = VQ_ERROR_INIT;

    if (qemu_err != NULL) {
        vq_request_fail(request, qemu_err);
        return;
    }
    if (guest != NULL && setting->kept != 0) {
        *(uint64_t *)(void *)((char *)guest + setting->kept) = setting->value;
        if (vq_qemu_record_write(guest, &err) < 0) {
            vq_request_fail(request, &err);
            return;
        }
    }
    vq_request_reply(request);
}

/* kept, value: as above. told: what QEMU calls it, in its own unit. */
static void set_parameter(struct vq_request *request, const char *parameter, uint64_t told, size_t kept, uint64_t value)
{
    const struct vq_qemu_guest *guest = vq_qemu_guest_of(request);
    struct setting *setting;

    if (guest == NULL || (setting = vq_qemu_request_alloc(request, sizeof(*setting))) == NULL)
        return;
    *setting = (struct setting){ .request = request, .kept = kept, .value = value };
    (void)vq_qmp_call(guest->qmp, "migrate-set-parameters", json_pack("{s:I}", parameter, (json_int_t)told),
                      VQ_QMP_TIMEOUT_MS, set, setting);
}

/* Numbers that QEMU's monitor cannot even be told. */
static bool is_number(struct vq_request *request, const char *what, uint64_t value, uint64_t max)
{
    if (value <= max)
        return true;
    vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OVERFLOW, "%s must be less than %llu", what, (unsigned long long)max + 1);
    return false;
}

static void set_max_speed(struct vq_request *request)
{
    const struct vq_remote_domain_migrate_set_max_speed_args *args = request->args;
    const bool is_postcopy = (args->flags & VIR_DOMAIN_MIGRATE_MAX_SPEED_POSTCOPY) != 0;

    if (vq_qemu_check_flags(request, args->flags, VIR_DOMAIN_MIGRATE_MAX_SPEED_POSTCOPY) &&
        is_number(request, "bandwidth", args->bandwidth, VQ_MIGRATE_SPEED_MAX))
        set_parameter(request, is_postcopy ? "max-postcopy-bandwidth" : "max-bandwidth", args->bandwidth << MIB_SHIFT,
                      is_postcopy ? 0 : offsetof(struct vq_qemu_guest, migration_speed_mib), args->bandwidth);
}

static void set_max_downtime(struct vq_request *request)
{
    const struct vq_remote_domain_migrate_set_max_downtime_args *args = request->args;

    /* 0 is kept as the least that there is: of the guest's member it would mean that nothing was set. */
    if (vq_qemu_check_flags(request, args->flags, 0) && is_number(request, "downtime", args->downtime, INT64_MAX))
        set_parameter(request, "downtime-limit", args->downtime, offsetof(struct vq_qemu_guest, migration_downtime_ms),
                      args->downtime > 0 ? args->downtime : 1);
}

static void set_compression_cache(struct vq_request *request)
{
    const struct vq_remote_domain_migrate_set_compression_cache_args *args = request->args;

    if (vq_qemu_check_flags(request, args->flags, 0) && is_number(request, "cache size", args->cacheSize, INT64_MAX))
        set_parameter(request, "xbzrle-cache-size", args->cacheSize, offsetof(struct vq_qemu_guest, migration_cache),
                      args->cacheSize);
}

/* ---- Asking ---- */

/* The replies of all four are one number. */
static void put_number(struct vq_request *request, uint64_t number)
{
    static_assert(sizeof(struct vq_remote_domain_migrate_get_max_speed_ret) == sizeof(uint64_t), "one number");
    static_assert(sizeof(struct vq_remote_domain_migrate_get_max_downtime_ret) == sizeof(uint64_t), "one number");
    static_assert(sizeof(struct vq_remote_domain_migrate_get_compression_cache_ret) == sizeof(uint64_t), "one number");
    *(uint64_t *)request->ret = number;
    vq_request_reply(request);
}

struct question {
    struct vq_request *request;
    const char *parameter;
    unsigned shift;          /* from QEMU's unit to the caller's */
};

static void told(json_t *reply, const struct vq_error *err, void *data)
{
    const struct question *question = data;
    const json_t *number = json_object_get(reply, question->parameter);

    if (err != NULL)
        vq_request_fail(question->request, err);
    else if (!json_is_integer(number) || json_integer_value(number) < 0)
        vq_qemu_refuse(question->request, VQ_FROM, VIR_ERR_OPERATION_INVALID,
                       "QEMU does not tell its migration parameter %s", question->parameter);
    else
        put_number(question->request, (uint64_t)json_integer_value(number) >> question->shift);
}

static void ask_parameter(struct vq_request *request, const char *parameter, unsigned shift)
{
    const struct vq_qemu_guest *guest = vq_qemu_guest_of(request);
    struct question *question;

    if (guest == NULL || (question = vq_qemu_request_alloc(request, sizeof(*question))) == NULL)
        return;
    *question = (struct question){ .request = request, .parameter = parameter, .shift = shift };
    (void)vq_qmp_call(guest->qmp, "query-migrate-parameters", NULL, VQ_QMP_TIMEOUT_MS, told, question);
}

/* What was set, not what QEMU has: a number of its own is there before any was set. */
static void get_max_speed(struct vq_request *request)
{
    const struct vq_remote_domain_migrate_get_max_speed_args *args = request->args;
    const struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);

    if (!vq_qemu_check_flags(request, args->flags, VIR_DOMAIN_MIGRATE_MAX_SPEED_POSTCOPY))
        return;
    if ((args->flags & VIR_DOMAIN_MIGRATE_MAX_SPEED_POSTCOPY) != 0)
        ask_parameter(request, "max-postcopy-bandwidth", MIB_SHIFT);
    else
        put_number(request, guest != NULL && guest->migration_speed_mib != 0 ? guest->migration_speed_mib
                                                                              : VQ_MIGRATE_SPEED_MAX);
}

static void get_max_downtime(struct vq_request *request)
{
    const struct vq_remote_domain_migrate_get_max_downtime_args *args = request->args;

    if (vq_qemu_check_flags(request, args->flags, 0))
        ask_parameter(request, "downtime-limit", 0);
}

static void get_compression_cache(struct vq_request *request)
{
    const struct vq_remote_domain_migrate_get_compression_cache_args *args = request->args;

    if (vq_qemu_check_flags(request, args->flags, 0))
        ask_parameter(request, "xbzrle-cache-size", 0);
}

/* ---- Post-copy ---- */

static void start_post_copy(struct vq_request *request)
{
    const struct vq_remote_domain_migrate_start_post_copy_args *args = request->args;
    struct vq_qemu_guest *guest;

    if (vq_qemu_check_flags(request, args->flags, 0) && (guest = vq_qemu_guest_of(request)) != NULL)
        vq_leaving_start_post_copy(request, guest);
}

#define ROW(NAME, fn) { VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_MIGRATE_##NAME, fn }

static const struct vq_driver_row rows[] = {
    ROW(SET_MAX_SPEED, set_max_speed),
    ROW(GET_MAX_SPEED, get_max_speed),
    ROW(SET_MAX_DOWNTIME, set_max_downtime),
    ROW(GET_MAX_DOWNTIME, get_max_downtime),
    ROW(SET_COMPRESSION_CACHE, set_compression_cache),
    ROW(GET_COMPRESSION_CACHE, get_compression_cache),
    ROW(START_POST_COPY, start_post_copy),
};
const struct vq_qemu_rows vq_qemu_migrate_pace_rows = { rows, VQ_N_ELEMENTS(rows) };
