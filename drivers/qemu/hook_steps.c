/* Hook scripts of a guest's life, as steps: "prepare" before anything of the run is made and "release" after all is gone, "start"
 * before QEMU runs and "stopped" after it has ended, "started" when its CPUs run.
 *
 * A script that fails ends the start. What fails while a guest ends, or when it is found again, is only told in the log. */
#define VQ_FROM VIR_FROM_QEMU

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/hook.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/start.h"

void vq_qemu_hook_drop(struct vq_qemu_guest *guest)
{
    if (guest->hook == NULL)
        return;
    vq_hook_cancel(vq_take(guest->hook));
    if (guest->ticket != NULL)
        (void)vq_qemu_ticket_use(guest->ticket);
}

static bool run_hook(struct vq_qemu_guest *guest, const char *operation, const char *sub_operation, vq_hook_cb cb)
{
    const struct vq_driver_host *host = guest->qemu->host;

    if (!vq_hook_exists(host->config_dir, "qemu"))
        return false;
    VQ_AUTOFREE char *xml = guest->live != NULL ? vq_domain_format(guest->live, 0) : NULL;
    const struct vq_hook_call call = { .config_dir = host->config_dir, .name = "qemu", .object = guest->name,
                                       .operation = operation, .sub_operation = sub_operation, .input = xml };
    struct vq_qemu_ticket *ticket = vq_qemu_ticket_new(guest);

    guest->hook = vq_hook_start(host->loop, &call, cb, ticket);
    if (guest->hook == NULL)
        (void)vq_qemu_ticket_use(ticket);
    return guest->hook != NULL;
}

static void run_over(const char *output, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = vq_qemu_ticket_use(data);

    (void)output;
    if (guest == NULL)
        return;
    guest->hook = NULL;
    vq_qemu_step_over(guest, err);
}

static void undo_over(const char *output, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = vq_qemu_ticket_use(data);

    (void)output;
    if (guest == NULL)
        return;
    guest->hook = NULL;
    if (err != NULL)
        vq_log(WARN, "guest.hook", "domain=%s: %s", guest->name, err->message);
    vq_job_resume(&guest->job, NULL);
}

static enum vq_step_result run_step(struct vq_job *job, const char *operation)
{
    return run_hook(job->owner, operation, "begin", run_over) ? VQ_STEP_WAIT : VQ_STEP_DONE;
}

static enum vq_step_result undo_step(struct vq_job *job, const char *operation)
{
    struct vq_qemu_guest *guest = vq_qemu_undoing(job);

    vq_qemu_hook_drop(guest);
    return run_hook(guest, operation, "end", undo_over) ? VQ_STEP_WAIT : VQ_STEP_DONE;
}

enum vq_step_result vq_qemu_step_hook_prepare(struct vq_job *job)
{
    return run_step(job, "prepare");
}

enum vq_step_result vq_qemu_step_hook_prepare_undo(struct vq_job *job)
{
    return undo_step(job, "release");
}

enum vq_step_result vq_qemu_step_hook_start(struct vq_job *job)
{
    return run_step(job, "start");
}

enum vq_step_result vq_qemu_step_hook_start_undo(struct vq_job *job)
{
    return undo_step(job, "stopped");
}

enum vq_step_result vq_qemu_step_hook_started(struct vq_job *job)
{
    return run_step(job, "started");
}

enum vq_step_result vq_qemu_step_hook_started_undo(struct vq_job *job)
{
    vq_qemu_hook_drop(vq_qemu_undoing(job));
    return VQ_STEP_DONE;
}

static void reconnect_over(const char *output, const struct vq_error *err, void *data)
{
    VQ_AUTOFREE char *name = data;

    (void)output;
    if (err != NULL)
        vq_log(WARN, "guest.hook", "domain=%s: %s", name, err->message);
}

void vq_qemu_hook_reconnect(struct vq_qemu_guest *guest)
{
    const struct vq_driver_host *host = guest->qemu->host;
    VQ_AUTOFREE char *name = NULL, *xml = NULL;

    if (!vq_hook_exists(host->config_dir, "qemu"))
        return;
    name = vq_strdup(guest->name);
    xml = guest->live != NULL ? vq_domain_format(guest->live, 0) : NULL;
    const struct vq_hook_call call = { .config_dir = host->config_dir, .name = "qemu", .object = guest->name,
                                       .operation = "reconnect", .sub_operation = "begin", .input = xml };
    if (vq_hook_start(host->loop, &call, reconnect_over, name) != NULL)
        (void)vq_take(name);
}
