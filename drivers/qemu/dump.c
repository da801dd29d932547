/* Core dumps: those that clients ask for, and those of guests that have crashed. What is done is in save.c. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/dump.h"

#include <errno.h>
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/handlers_define.h"
#include "drivers/qemu/save.h"
#include "proto/gen/remote.h"

enum {
    DUMP_FLAGS = VIR_DUMP_CRASH | VIR_DUMP_LIVE | VIR_DUMP_BYPASS_CACHE | VIR_DUMP_RESET | VIR_DUMP_MEMORY_ONLY,
    SHORT_NAME_BYTES = 120,  /* of the domain in the name of a file */
};

static const char *const format_names[] = {
    [VIR_DOMAIN_CORE_DUMP_FORMAT_RAW] = "elf", [VIR_DOMAIN_CORE_DUMP_FORMAT_KDUMP_ZLIB] = "kdump-zlib",
    [VIR_DOMAIN_CORE_DUMP_FORMAT_KDUMP_LZO] = "kdump-lzo", [VIR_DOMAIN_CORE_DUMP_FORMAT_KDUMP_SNAPPY] = "kdump-snappy",
    [VIR_DOMAIN_CORE_DUMP_FORMAT_WIN_DMP] = "win-dmp",
};

/* ---- Asked for ---- */

static bool check_dump(struct vq_request *request, uint32_t format, uint32_t flags)
{
    static const struct { uint32_t one, other; const char *names[2]; } exclusive[] = {
        { VIR_DUMP_CRASH, VIR_DUMP_LIVE, { "crash", "live" } },
        { VIR_DUMP_CRASH, VIR_DUMP_RESET, { "crash", "reset" } },
        { VIR_DUMP_LIVE, VIR_DUMP_RESET, { "live", "reset" } },
    };

    if (!vq_qemu_check_flags(request, flags, DUMP_FLAGS))
        return false;
    for (size_t i = 0; i < VQ_N_ELEMENTS(exclusive); i++) {
        if ((flags & exclusive[i].one) == 0 || (flags & exclusive[i].other) == 0)
            continue;
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "%s and %s flags in %s are mutually exclusive",
                       exclusive[i].names[0], exclusive[i].names[1], request->procedure->api);
        return false;
    }
    if (format >= VQ_N_ELEMENTS(format_names))
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "dumpformat '%u' is not supported", format);
    else if (format != VIR_DOMAIN_CORE_DUMP_FORMAT_RAW && (flags & VIR_DUMP_MEMORY_ONLY) == 0)
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "kdump-compressed format is only supported with memory-only dump");
    else
        return true;
    return false;
}

/* A dump in another format than the administrator's is better than none. */
static enum vq_save_format stream_format(const struct vq_qemu *qemu)
{
    const char *name = qemu->settings.dump_image_format;
    enum vq_save_format format = VQ_SAVE_RAW;
    struct vq_error err = VQ_ERROR_INIT;

    if (name == NULL)
        return VQ_SAVE_RAW;
    if (!vq_save_format_of(name, &format))
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "Invalid dump image format specified in configuration file");
    else if (vq_save_filter_check(format, "dump", &err) == 0)
        return format;
    vq_log(WARN, "dump", "%s, using raw", err.message);
    return VQ_SAVE_RAW;
}

struct dump_call {
    struct vq_request *request;
    struct vq_qemu *qemu;
    uint8_t uuid[VQ_UUID_BYTES];
    uint64_t run;
    const char *path;
    uint32_t format, flags;
};

static void start_dump(struct vq_request *request, struct vq_qemu_guest *guest, const char *path, uint32_t format,
                       uint32_t flags)
{
    bool is_memory = (flags & VIR_DUMP_MEMORY_ONLY) != 0;
    const struct vq_saving_options options = {
        .kind = is_memory ? VQ_SAVING_DUMP_MEMORY : VQ_SAVING_DUMP, .path = path,
        .format = is_memory ? VQ_SAVE_RAW : stream_format(guest->qemu),
        .bypasses_cache = (flags & VIR_DUMP_BYPASS_CACHE) != 0, .is_live = (flags & VIR_DUMP_LIVE) != 0,
        .crashes = (flags & VIR_DUMP_CRASH) != 0, .resets = (flags & VIR_DUMP_RESET) != 0,
        .dump_format = format != VIR_DOMAIN_CORE_DUMP_FORMAT_RAW ? format_names[format] : NULL,
    };
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_saving_start(guest, &options, request, NULL, &err) < 0)
        vq_request_fail(request, &err);
}

/* {"formats": ["elf", "kdump-zlib"]} */
static void formats_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct dump_call *call = data;
    struct vq_qemu_guest *guest = vq_qemu_guest_find_run(call->qemu, call->uuid, call->run);
    const json_t *formats = json_object_get(reply, "formats");
    bool has_format = false;

    for (size_t i = 0; i < json_array_size(formats); i++)
        has_format = has_format || vq_streq(json_string_value(json_array_get(formats, i)), format_names[call->format]);
    if (err != NULL)
        vq_request_fail(call->request, err);
    else if (guest == NULL || guest->phase != VQ_GUEST_ACTIVE)
        vq_qemu_refuse(call->request, VQ_FROM, VIR_ERR_OPERATION_INVALID, "domain is not running");
    else if (!has_format)
        vq_qemu_refuse(call->request, VQ_FROM, VIR_ERR_INVALID_ARG, "unsupported dumpformat '%s' for this QEMU binary",
                       format_names[call->format]);
    else
        start_dump(call->request, guest, call->path, call->format, call->flags);
}

static void dump(struct vq_request *request, const char *path, uint32_t format, uint32_t flags)
{
    struct vq_qemu_guest *guest;
    struct dump_call *call;

    if (!check_dump(request, format, flags) || (guest = vq_qemu_guest_of(request)) == NULL ||
        !vq_qemu_activity_allows(request, guest))
        return;
    if (format == VIR_DOMAIN_CORE_DUMP_FORMAT_RAW) {
        start_dump(request, guest, path, format, flags);
        return;
    }
    call = vq_qemu_request_alloc(request, sizeof(*call));
    if (call == NULL)
        return;
    *call = (struct dump_call){ .request = request, .qemu = guest->qemu, .run = guest->run, .path = path, .format = format,
                                .flags = flags };
    memcpy(call->uuid, guest->uuid, sizeof(call->uuid));
    (void)vq_qmp_call(guest->qmp, "query-dump-guest-memory-capability", NULL, VQ_QMP_TIMEOUT_MS, formats_known, call);
}

static void domain_core_dump(struct vq_request *request)
{
    const struct vq_remote_domain_core_dump_args *args = request->args;

    dump(request, args->to, VIR_DOMAIN_CORE_DUMP_FORMAT_RAW, args->flags);
}

static void domain_core_dump_with_format(struct vq_request *request)
{
    const struct vq_remote_domain_core_dump_with_format_args *args = request->args;

    dump(request, args->to, args->dumpformat, args->flags);
}

/* ---- Not asked for ---- */

struct waiting {
    struct waiting *next;
    struct vq_qemu *qemu;
    uint8_t uuid[VQ_UUID_BYTES];
    uint64_t run;
    void (*done)(struct vq_qemu_guest *guest);
};

static struct waiting *first_waiting;  /* the first is the one that is made */

/* "<dir>/ID-NAME-2026-11-26-03:27:06", malloc'ed; NULL: there is no directory. */
static char *dump_path(const struct vq_qemu_guest *guest)
{
    VQ_AUTOFREE char *own = vq_asprintf("%s/qemu/dump", guest->qemu->host->state_dir);
    const char *dir = guest->qemu->settings.auto_dump_path != NULL ? guest->qemu->settings.auto_dump_path : own;
    time_t now = (time_t)(guest->qemu->host->time_ms() / 1000);
    char when[32];
    struct tm parts;

    if (mkdir(dir, 0700) < 0 && errno != EEXIST) {
        vq_log(ERROR, "dump", "domain=%s: cannot create directory '%s': %s", guest->name, dir, strerror(errno));
        return NULL;
    }
    (void)localtime_r(&now, &parts);
    (void)strftime(when, sizeof(when), "%Y-%m-%d-%H:%M:%S", &parts);
    return vq_asprintf("%s/%d-%.*s-%s", dir, guest->id, SHORT_NAME_BYTES, guest->name, when);
}

static void make_next(void);

static void made(struct vq_qemu_guest *guest, const struct vq_error *err)
{
    struct waiting *waiting = first_waiting;

    if (err != NULL)
        vq_log(ERROR, "dump", "domain=%s: %s", guest->name, err->message);
    if (waiting == NULL)
        return;
    first_waiting = waiting->next;
    waiting->done(guest);
    free(waiting);
    make_next();
}

static void make(struct vq_qemu_guest *guest)
{
    VQ_AUTOFREE char *path = dump_path(guest);
    const struct vq_saving_options options = { .kind = VQ_SAVING_DUMP_MEMORY, .path = path,
                                               .bypasses_cache = guest->qemu->settings.auto_dump_bypass_cache };
    struct vq_error err = VQ_ERROR_INIT;

    if (path == NULL)
        (void)vq_error_set(&err, VIR_ERR_SYSTEM_ERROR, "there is no directory for its dump");
    else if (vq_saving_start(guest, &options, NULL, made, &err) == 0)
        return;
    made(guest, &err);
}

/* Those whose guest has ended meanwhile want nothing any more. */
static void make_next(void)
{
    while (first_waiting != NULL) {
        struct waiting *waiting = first_waiting;
        struct vq_qemu_guest *guest = vq_qemu_guest_find_run(waiting->qemu, waiting->uuid, waiting->run);

        if (guest != NULL && guest->phase == VQ_GUEST_ACTIVE) {
            make(guest);
            return;
        }
        first_waiting = waiting->next;
        free(waiting);
    }
}

void vq_qemu_auto_dump(struct vq_qemu_guest *guest, void (*done)(struct vq_qemu_guest *guest))
{
    struct waiting *waiting = vq_new(struct waiting), **end = &first_waiting;
    bool is_first = first_waiting == NULL;

    *waiting = (struct waiting){ .qemu = guest->qemu, .run = guest->run, .done = done };
    memcpy(waiting->uuid, guest->uuid, sizeof(waiting->uuid));
    while (*end != NULL)
        end = &(*end)->next;
    *end = waiting;
    if (is_first)
        make_next();
}

void vq_qemu_auto_dumps_stop(void)
{
    while (first_waiting != NULL) {
        struct waiting *waiting = first_waiting;

        first_waiting = waiting->next;
        free(waiting);
    }
}

#define ROW(NAME, fn) { VQ_PROGRAM_REMOTE, VQ_REMOTE_##NAME, fn }

static const struct vq_driver_row rows[] = {
    ROW(DOMAIN_CORE_DUMP, domain_core_dump),
    ROW(DOMAIN_CORE_DUMP_WITH_FORMAT, domain_core_dump_with_format),
};
const struct vq_qemu_rows vq_qemu_dump_rows = { rows, VQ_N_ELEMENTS(rows) };
