/* Post-copy has failed, and the node that runs the guest listens anew: QEMU here connects to it, with the key of its choice, and sends the
 * memory that is missing. See migrate_resume.c for the other side. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <string.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "drivers/qemu/migrate_key.h"
#include "drivers/qemu/migrate_out.h"

#define DESCRIPTOR_NAME "migrate"

enum { PAUSE_MS = 10000 };

/* ---- Steps ---- */

static void step_over(struct vq_leaving *leaving, const struct vq_error *err)
{
    if (leaving->resume.is_active && leaving->resume.is_waiting && !leaving->resume.is_unwinding)
        vq_job_resume(&leaving->resume, err);
}

static void answered(json_t *reply, const struct vq_error *err, void *data)
{
    (void)reply;
    step_over(vq_leaving_of(data), err);
}

static void ignored(json_t *reply, const struct vq_error *err, void *data)
{
    (void)reply;
    (void)err;
    (void)data;
}

/* One side may see the end of a connection long before the other. */
static enum vq_step_result pause_run(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;

    if (leaving->qemu == VQ_LEAVING_QEMU_PAUSED)
        return VQ_STEP_DONE;
    (void)vq_leaving_ask(leaving, "migrate-pause", NULL, -1, ignored); /* the event tells */
    return VQ_STEP_WAIT; /* vq_leaving_resume_status() */
}

static void object_made(json_t *reply, const struct vq_error *err, void *data)
{
    vq_migrate_key_remove(data); /* QEMU has read it */
    answered(reply, err, data);
}

static void key_told(struct vq_leaving *leaving, const uint8_t *key, const struct vq_error *err)
{
    VQ_AUTOFREE char *dir = vq_migrate_key_dir(leaving->guest);
    struct vq_error own = VQ_ERROR_INIT;

    if (err == NULL && vq_migrate_key_write(leaving->guest, key, &own) < 0)
        err = &own;
    if (err != NULL) {
        step_over(leaving, err);
        return;
    }
    (void)vq_leaving_ask(leaving, "object-del", json_pack("{s:s}", "id", VQ_LEAVING_CREDENTIALS), -1, ignored);
    (void)vq_leaving_ask(leaving, "object-add", json_pack("{s:s,s:s,s:s,s:s,s:s}", "qom-type", "tls-creds-psk", "id",
                                                          VQ_LEAVING_CREDENTIALS, "endpoint", "client", "dir", dir, "username",
                                                          VQ_MIGRATE_KEY_USER), -1, object_made);
}

/* A daemon there that was started since has made another one. */
static enum vq_step_result key_run(struct vq_job *job)
{
    vq_leaving_ask_key(job->owner, key_told);
    return VQ_STEP_WAIT;
}

static enum vq_step_result key_undo(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;

    vq_leaving_forget_key(leaving);
    vq_migrate_key_remove(leaving->guest);
    return VQ_STEP_DONE;
}

static void connected(struct vq_leaving *leaving, int fd, const struct vq_error *err)
{
    if (err != NULL)
        step_over(leaving, err);
    else
        (void)vq_leaving_ask(leaving, "getfd", json_pack("{s:s}", "fdname", DESCRIPTOR_NAME), fd, answered);
}

static enum vq_step_result connect_run(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;
    struct vq_error err = VQ_ERROR_INIT;

    return vq_leaving_connect(leaving, leaving->resume_uri, connected, &err) < 0 ? vq_job_fail(job, &err) : VQ_STEP_WAIT;
}

static enum vq_step_result connect_undo(struct vq_job *job)
{
    vq_leaving_disconnect(job->owner);
    return VQ_STEP_DONE;
}

static enum vq_step_result resume_run(struct vq_job *job)
{
    if (VQ_FAILPOINT("qemu.migrate.out.resume")) {
        struct vq_error err = VQ_ERROR_INIT;

        (void)vq_error_set(&err, VIR_ERR_INTERNAL_ERROR, "failure point qemu.migrate.out.resume");
        return vq_job_fail(job, &err);
    }
    (void)vq_leaving_ask(job->owner, "migrate", json_pack("{s:s,s:b}", "uri", "fd:" DESCRIPTOR_NAME, "resume", 1), -1,
                         answered);
    return VQ_STEP_WAIT;
}

static const struct vq_step steps[] = {
    /* name               run          undo          timeout_ms */
    { "pause",            pause_run,   NULL,         PAUSE_MS },
    { "get the key",      key_run,     key_undo,     15000 },
    { "connect",          connect_run, connect_undo, VQ_LEAVING_CONNECT_MS + 5000 },
    { "resume",           resume_run,  NULL,         VQ_QMP_TIMEOUT_MS },
};

/* ---- The whole ---- */

static void resume_done(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;
    struct vq_request *request = vq_take(leaving->resuming);

    vq_log(INFO, "migrate.out", "domain=%s run=%llu: post-copy %s%s", leaving->guest->name,
           (unsigned long long)leaving->guest->migration->run, job->is_unwinding ? "is not resumed: " : "is resumed",
           job->is_unwinding ? job->error.message : "");
    if (request == NULL)
        return;
    if (job->is_unwinding)
        vq_request_fail(request, &job->error);
    else
        vq_request_reply(request);
}

void vq_leaving_resume_status(struct vq_leaving *leaving)
{
    if (leaving->resume.is_active && leaving->resume.is_waiting && leaving->qemu == VQ_LEAVING_QEMU_PAUSED &&
        leaving->resume.steps[leaving->resume.cursor].run == pause_run)
        vq_job_resume(&leaving->resume, NULL);
}

void vq_leaving_resume(struct vq_request *request, struct vq_qemu_guest *guest, const char *uri)
{
    struct vq_leaving *leaving = vq_leaving_of(guest);

    leaving->resuming = request;
    vq_set_text(&leaving->resume_uri, uri);
    vq_job_start(&leaving->resume, steps, VQ_N_ELEMENTS(steps), &leaving->job_timer, resume_done, leaving);
}
