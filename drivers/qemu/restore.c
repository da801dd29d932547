/* Starting from a saved image: see restore.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/restore.h"

#include <errno.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/abi.h"
#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/aside.h"
#include "drivers/qemu/define.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/qmp.h"
#include "drivers/qemu/save_filter.h"
#include "drivers/qemu/save_image.h"
#include "drivers/qemu/save_managed.h"
#include "drivers/qemu/save_xml.h"
#include "drivers/qemu/start.h"

#define DESCRIPTOR_NAME "vq-restore"

enum { PAGE_BYTES = 4096, OPEN_MS = 30000 };

struct vq_restoring {
    int file_fd;             /* at the beginning of the data, -1 */
    int qemu_fd;             /* where QEMU reads, when that is another one */
    enum vq_save_format format;
    bool bypasses_cache, is_managed;
    struct vq_save_filter *filter;
    struct vq_qemu_guest *guest;
    bool is_loaded, is_used;
};

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

void vq_restoring_free(struct vq_restoring *restoring)
{
    if (restoring == NULL)
        return;
    vq_save_filter_free(restoring->filter);
    close_fd(&restoring->file_fd);
    close_fd(&restoring->qemu_fd);
    free(restoring);
}

json_t *vq_restore_pack(const struct vq_restoring *restoring)
{
    return json_pack("{s:b,s:b}", "managed", restoring->is_managed, "loaded", restoring->is_loaded);
}

struct vq_restoring *vq_restore_unpack(const json_t *object)
{
    struct vq_restoring *restoring;

    if (!json_is_object(object))
        return NULL;
    restoring = vq_new(struct vq_restoring);
    *restoring = (struct vq_restoring){ .file_fd = -1, .qemu_fd = -1,
                                        .is_managed = json_is_true(json_object_get(object, "managed")),
                                        .is_loaded = json_is_true(json_object_get(object, "loaded")) };
    return restoring;
}

/* ---- Open the image, beside the loop ---- */

/* What the thread has. */
struct image_work {
    char *path;
    int fd;
    struct vq_save_image image;
    bool is_incomplete;
    struct vq_error err;
    int rc;
};

struct opening {
    struct vq_driver *driver;
    struct vq_request *request;      /* NULL: nobody waits */
    char *path, *xml;
    bool runs, pauses, bypasses_cache, is_managed;
    struct vq_qemu_start_options start;
    uint8_t uuid[VQ_UUID_BYTES];     /* managed: of the domain */
    char *name;
    int fd;
    struct vq_save_image image;
};

static void opening_free(struct opening *opening)
{
    close_fd(&opening->fd);
    vq_save_image_done(&opening->image);
    free(opening->path);
    free(opening->xml);
    free(opening->name);
    free(opening);
}

static void fail(struct opening *opening, const struct vq_error *err)
{
    struct vq_request *request = opening->request;
    struct vq_error copy = *err;

    vq_log(WARN, "restore", "path=%s: %s", opening->path, err->message);
    opening_free(opening);
    if (request != NULL)
        vq_request_fail(request, &copy);
}

static void open_image(void *data)
{
    struct image_work *work = data;

    work->fd = open(work->path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    if (work->fd < 0)
        work->rc = vq_error_system(&work->err, errno, "Failed to open file '%s'", work->path);
    else
        work->rc = vq_save_image_read(work->fd, &work->image, &work->is_incomplete, &work->err);
}

static void image_work_free(void *data)
{
    struct image_work *work = data;

    close_fd(&work->fd);
    vq_save_image_done(&work->image);
    free(work->path);
    free(work);
}

static const struct vq_aside_class image_class = { open_image, image_work_free };

/* ---- Then start ---- */

static struct vq_restoring *restoring_of(struct opening *opening)
{
    struct vq_restoring *restoring = vq_new(struct vq_restoring);

    *restoring = (struct vq_restoring){ .file_fd = opening->fd, .qemu_fd = -1, .format = opening->image.format,
                                        .bypasses_cache = opening->bypasses_cache, .is_managed = opening->is_managed };
    opening->fd = -1;
    return restoring;
}

static void start(struct opening *opening, struct vq_qemu *qemu, const struct vq_domain_info *info,
                  struct vq_domain *take_definition)
{
    struct vq_qemu_start_options options = opening->start;
    struct vq_request *request = opening->request;
    bool runs = opening->runs || (!opening->pauses && opening->image.was_running != 0);

    options.paused = options.paused || !runs;
    options.take_definition = take_definition;
    options.take_restoring = restoring_of(opening);
    vq_log(INFO, "restore", "domain=%s path=%s format=%s", info->name, opening->path,
           vq_save_format_name(opening->image.format));
    opening_free(opening);
    vq_qemu_start(qemu, info, &options, request);
}

static void transient_defined(const struct vq_domain *definition, const struct vq_proposal_result *result,
                              const struct vq_error *err, void *data)
{
    struct opening *opening = data;
    struct vq_qemu *qemu = opening->driver->state;
    struct vq_domain_info info = { 0 };
    struct vq_error own = VQ_ERROR_INIT;

    (void)result;
    if (qemu != NULL)
        qemu->n_creating--;
    if (qemu == NULL && err == NULL)
        (void)vq_error_set(&own, VIR_ERR_OPERATION_ABORTED, "the daemon is stopping");
    if (err != NULL || own.code != VIR_ERR_OK) {
        fail(opening, err != NULL ? err : &own);
        return;
    }
    memcpy(info.uuid, definition->uuid, sizeof(info.uuid));
    info.name = definition->name;
    start(opening, qemu, &info, NULL);
}

static void define_transient(struct opening *opening, struct vq_qemu *qemu, const struct vq_domain *definition)
{
    const struct vq_qemu_define_options options = { .must_be_new = true };
    VQ_AUTOFREE char *xml = vq_domain_format(definition, VQ_FORMAT_INACTIVE | VQ_FORMAT_SECURE);

    qemu->n_creating++;
    vq_qemu_define_xml(qemu, xml, &options, transient_defined, opening);
}

static int check_domain(const struct vq_qemu *qemu, const struct vq_domain_info *info, struct vq_error *err)
{
    const char *owner = qemu->host->node_name_of(info->owner);

    if (info->id >= 0 || (info->flags & VQ_INFO_CLAIMED) != 0)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "domain '%s' is already active", info->name);
    if (info->owner != qemu->host->node_id)
        return vq_error_set(err, VIR_ERR_OPERATION_UNSUPPORTED, "domain '%s' is defined on %s: restore it there "
                            "(qemu:///system?node=%s), or move its definition to this node before", info->name,
                            owner != NULL ? owner : "another node", owner != NULL ? owner : "NAME");
    return 0;
}

/* The domain of the image: defined and off, or made for this run. */
static void go_on(struct opening *opening, struct vq_qemu *qemu, struct vq_domain *take_definition)
{
    VQ_AUTOPTR(vq_domain) definition = take_definition;
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_domain_info info = { 0 };
    struct vq_error err = VQ_ERROR_INIT;

    if (opening->is_managed && memcmp(opening->uuid, definition->uuid, VQ_UUID_BYTES) != 0)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "the image '%s' is of another domain", opening->path);
    else if (!qemu->host->domain_find(definition->uuid, false, arena, &info)) {
        define_transient(opening, qemu, definition);
        return;
    } else if (!vq_streq(info.name, definition->name)) { /* the words of the clash */
        define_transient(opening, qemu, definition);
        return;
    } else if (vq_qemu_guest_find(qemu, info.uuid) != NULL)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "domain '%s' is already active", info.name);
    else if (check_domain(qemu, &info, &err) == 0 && vq_qemu_choose_emulator(qemu, definition, &err) != NULL) {
        start(opening, qemu, &info, vq_take(definition));
        return;
    }
    fail(opening, &err);
}

/* Never finished by whoever wrote it. One that was promised is kept for a look, and the guest boots. */
static void boot_instead(struct opening *opening, struct vq_qemu *qemu)
{
    struct vq_request *request = opening->request;
    struct vq_qemu_start_options options = opening->start;
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_domain_info info = { 0 };
    struct vq_error err = VQ_ERROR_INIT;

    vq_log(WARN, "save.managed", "domain=%s: '%s' is incomplete, it boots", opening->name, opening->path);
    if (!qemu->host->domain_find(opening->uuid, false, arena, &info))
        (void)vq_error_set(&err, VIR_ERR_NO_DOMAIN, "domain '%s' is gone", opening->name);
    if (err.code != VIR_ERR_OK || vq_managed_use(qemu, opening->uuid, &err) < 0) {
        fail(opening, &err);
        return;
    }
    vq_managed_set_aside(opening->path);
    vq_managed_clear(qemu, opening->uuid);
    opening_free(opening);
    vq_qemu_start(qemu, &info, &options, request);
}

/* What the thread found; -1: err tells. */
static int take_image(struct opening *opening, struct image_work *work, bool *ret_is_incomplete, struct vq_error *err)
{
    *ret_is_incomplete = work != NULL && work->rc < 0 && work->is_incomplete;
    if (work == NULL)
        return vq_error_set(err, VIR_ERR_OPERATION_TIMEOUT, "'%s' cannot be read: its file system does not answer",
                            opening->path);
    if (work->rc < 0) {
        *err = work->err;
        return -1;
    }
    opening->fd = work->fd;
    opening->image = work->image;
    work->fd = -1;
    work->image = (struct vq_save_image){ 0 };
    return 0;
}

static void image_opened(void *take_work, void *data)
{
    struct opening *opening = data;
    struct vq_qemu *qemu = opening->driver->state;
    struct vq_domain *definition = NULL;
    struct vq_error err = VQ_ERROR_INIT;
    bool is_incomplete;
    int rc = take_image(opening, take_work, &is_incomplete, &err);

    if (take_work != NULL)
        image_work_free(take_work);
    if (qemu == NULL || qemu->stopping) {
        err = VQ_ERROR_INIT;
        (void)vq_error_set(&err, VIR_ERR_OPERATION_ABORTED, "the daemon is stopping");
        fail(opening, &err);
    } else if (opening->is_managed && is_incomplete) {
        boot_instead(opening, qemu);
    } else if (rc < 0 || vq_save_filter_check(opening->image.format, NULL, &err) < 0 ||
               vq_save_xml_read(opening->image.xml, opening->xml, &definition, &err) < 0) {
        fail(opening, &err);
    } else {
        go_on(opening, qemu, definition);
    }
}

static void open_and_start(struct opening *opening, struct vq_qemu *qemu)
{
    struct image_work *work = vq_new(struct image_work);

    work->path = vq_strdup(opening->path);
    work->fd = -1;
    work->err = VQ_ERROR_INIT;
    (void)vq_aside_start(qemu->host->loop, &image_class, work, OPEN_MS, image_opened, opening);
}

void vq_restore(struct vq_request *request, const struct vq_restore_options *options)
{
    struct opening *opening = vq_new(struct opening);

    *opening = (struct opening){ .driver = request->driver, .request = request, .path = vq_strdup(options->path),
                                 .xml = vq_strdup(options->xml), .runs = options->runs, .pauses = options->pauses,
                                 .bypasses_cache = options->bypasses_cache, .fd = -1 };
    open_and_start(opening, vq_qemu_of(request));
}

void vq_restore_or_start(struct vq_qemu *qemu, const struct vq_domain_info *info, const struct vq_qemu_start_options *options,
                         bool force_boot, bool bypasses_cache, struct vq_request *request)
{
    VQ_AUTOFREE char *path = NULL;
    struct vq_error err = VQ_ERROR_INIT;
    enum vq_managed_look look = VQ_MANAGED_NONE;
    struct opening *opening;

    if (vq_qemu_guest_find(qemu, info->uuid) == NULL && !force_boot)
        look = vq_managed_look(qemu, info, &path, &err);
    else if (force_boot && vq_qemu_guest_find(qemu, info->uuid) == NULL && vq_managed_use(qemu, info->uuid, &err) < 0)
        look = VQ_MANAGED_REFUSED;
    if (look == VQ_MANAGED_REFUSED) {
        vq_log(WARN, "restore", "domain=%s: %s", info->name, err.message);
        if (request != NULL)
            vq_request_fail(request, &err);
        return;
    }
    if (look == VQ_MANAGED_IMAGE)
        vq_managed_try(qemu, info->uuid);
    if (look == VQ_MANAGED_NONE) {
        if (force_boot)
            vq_managed_forget(qemu, info);
        vq_qemu_start(qemu, info, options, request);
        return;
    }
    opening = vq_new(struct opening);
    *opening = (struct opening){ .driver = qemu->driver, .request = request, .path = vq_take(path), .start = *options,
                                 .bypasses_cache = bypasses_cache, .is_managed = true, .name = vq_strdup(info->name),
                                 .fd = -1 };
    memcpy(opening->uuid, info->uuid, VQ_UUID_BYTES);
    open_and_start(opening, qemu);
}

/* ---- The step ---- */

bool vq_restore_is_loading(const struct vq_qemu_guest *guest)
{
    return guest->restoring != NULL && !guest->restoring->is_loaded;
}

static bool waits(const struct vq_qemu_guest *guest)
{
    return guest->job.is_active && guest->job.is_waiting && !guest->job.is_unwinding &&
           guest->job.steps[guest->job.cursor].run == vq_restore_load;
}

static void filter_ended(const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = ((struct vq_restoring *)data)->guest;

    if (err != NULL && waits(guest)) /* QEMU would only tell that its data end */
        vq_job_resume(&guest->job, err);
}

static int open_filter(struct vq_qemu_guest *guest, struct vq_error *err)
{
    struct vq_restoring *restoring = guest->restoring;
    off_t at = lseek(restoring->file_fd, 0, SEEK_CUR);
    int ends[2], rc;

    /* Around the cache is possible only from a whole block on; older images may begin anywhere. */
    if (restoring->format == VQ_SAVE_RAW && (!restoring->bypasses_cache || at < 0 || at % PAGE_BYTES != 0))
        return 0;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return vq_error_system(err, errno, "cannot make a pipe");
    restoring->guest = guest;
    restoring->qemu_fd = ends[0];
    rc = vq_save_filter_start(guest->qemu, restoring->format, true, restoring->file_fd, ends[1], filter_ended, restoring,
                              &restoring->filter, err);
    (void)close(ends[1]);
    return rc;
}

static void told(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;

    (void)reply;
    if (err != NULL && guest->qmp != NULL && vq_qmp_is_broken(guest->qmp))
        return; /* its pidfd is about to tell */
    if (err != NULL && waits(guest))
        vq_job_resume(&guest->job, err);
}

enum vq_step_result vq_restore_load(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;
    struct vq_restoring *restoring = guest->restoring;
    struct vq_error err = VQ_ERROR_INIT;

    if (restoring == NULL)
        return VQ_STEP_DONE;
    if (VQ_FAILPOINT("qemu.restore.load"))
        return vq_qemu_step_failed(job, "qemu.restore.load");
    if (vq_qemu_activity_begin(guest, VIR_DOMAIN_JOB_OPERATION_RESTORE, &err) < 0 || open_filter(guest, &err) < 0)
        return vq_job_fail(job, &err);
    (void)vq_qmp_call(guest->qmp, "migrate-set-capabilities",
                      json_pack("{s:[{s:s,s:b}]}", "capabilities", "capability", "events", "state", 1), VQ_QMP_TIMEOUT_MS,
                      told, guest);
    (void)vq_qmp_call_fd(guest->qmp, "getfd", json_pack("{s:s}", "fdname", DESCRIPTOR_NAME),
                         restoring->filter != NULL ? restoring->qemu_fd : restoring->file_fd, VQ_QMP_TIMEOUT_MS, told, guest);
    (void)vq_qmp_call(guest->qmp, "migrate-incoming", json_pack("{s:s}", "uri", "fd:" DESCRIPTOR_NAME), VQ_QMP_TIMEOUT_MS,
                      told, guest);
    close_fd(&restoring->qemu_fd); /* QEMU has a copy, the filter hears of its end */
    return VQ_STEP_WAIT; /* vq_restore_event(), or QEMU ends */
}

enum vq_step_result vq_restore_load_undo(struct vq_job *job)
{
    struct vq_qemu_guest *guest = vq_qemu_undoing(job);

    if (guest->activity.is_active && guest->activity.operation == VIR_DOMAIN_JOB_OPERATION_RESTORE)
        vq_qemu_activity_end(guest, VIR_DOMAIN_JOB_FAILED, &job->error);
    if (guest->restoring != NULL && guest->restoring->is_used) /* no CPU has run */
        vq_managed_unuse(guest->qemu, guest->uuid);
    vq_restoring_free(vq_take(guest->restoring));
    return VQ_STEP_DONE;
}

bool vq_restore_event(struct vq_qemu_guest *guest, const char *name, const json_t *data)
{
    const char *status = json_string_value(json_object_get(data, "status"));

    if (guest->restoring == NULL)
        return false;
    if (strcmp(name, "MIGRATION") == 0 && vq_streq(status, "completed") && waits(guest)) {
        guest->restoring->is_loaded = true;
        vq_job_resume(&guest->job, NULL);
    }
    return strcmp(name, "MIGRATION") == 0; /* after "failed" QEMU ends, and says why */
}

int vq_restore_use(struct vq_qemu_guest *guest, struct vq_error *err)
{
    if (guest->restoring == NULL || !guest->restoring->is_managed)
        return 0;
    if (VQ_FAILPOINT("qemu.restore.use"))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "failure point qemu.restore.use");
    guest->restoring->is_used = true;
    return vq_managed_use(guest->qemu, guest->uuid, err);
}

void vq_restore_publish(struct vq_qemu_guest *guest)
{
    static const struct vq_qemu_event running[] = { { VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_RESTORED },
                                                    { VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_FROM_SNAPSHOT } };
    static const struct vq_qemu_event paused[] = { { VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_RESTORED },
                                                   { VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_RESTORED } };
    bool is_managed = guest->restoring->is_managed;

    vq_restoring_free(vq_take(guest->restoring));
    vq_qemu_activity_end(guest, VIR_DOMAIN_JOB_COMPLETED, NULL);
    if (is_managed)
        vq_managed_clear(guest->qemu, guest->uuid); /* before the report: whoever waits for that sees the mark gone */
    if (guest->start_paused) /* as other daemons tell of it: its memory came, and nobody has let it run yet */
        vq_qemu_guest_set_state(guest, VIR_DOMAIN_PAUSED, VIR_DOMAIN_PAUSED_MIGRATION, -1, 0);
    else
        vq_qemu_guest_set_state(guest, VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_RESTORED, -1, 0);
    vq_qemu_guest_publish(guest, guest->start_paused ? paused : running, 2);
}

void vq_restore_found(struct vq_qemu_guest *guest)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (guest->restoring == NULL)
        return;
    if (vq_restore_use(guest, &err) < 0)
        vq_log(ERROR, "restore", "domain=%s: %s", guest->name, err.message);
    vq_restore_publish(guest);
}
