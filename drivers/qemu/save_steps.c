/* Steps of a saving and their undoing: see save.h.
 *
 * The CPUs are stopped before QEMU is told to send, so QEMU never lets them run by itself when sending fails. Everything before
 * "note that it is complete" is undone after a failure or a restart; from there on it goes forward, also without QEMU. */
#define VQ_FROM VIR_FROM_QEMU

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/save.h"
#include "drivers/qemu/save_managed.h"

#define DESCRIPTOR_NAME "vq-save"

enum {
    CANCEL_MS = 10000,       /* that QEMU gets to say that it has stopped sending */
    THREAD_MS = 30000,       /* that a thread gets for what nobody needs any more */
    FILTER_MS = 2000,        /* that the filter gets to say why QEMU could not send */
    PIPE_BYTES = 1024 * 1024,
};

static enum vq_step_result step_failed(struct vq_job *job, const char *name)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, VIR_ERR_INTERNAL_ERROR, "failure point %s", name);
    return vq_job_fail(job, &err);
}

static bool is_lost(const struct vq_qemu_guest *guest, const struct vq_error *err)
{
    return err != NULL && (guest->qmp == NULL || vq_qmp_is_broken(guest->qmp));
}

static bool can_ask(const struct vq_saving *saving)
{
    const struct vq_qemu_guest *guest = saving->guest;

    return !saving->has_exited && guest->qmp != NULL && !vq_qmp_is_broken(guest->qmp);
}

static void undo_over(struct vq_saving *saving)
{
    if (saving->job.is_active && saving->job.is_waiting && saving->job.is_unwinding)
        vq_job_resume(&saving->job, NULL);
}

/* The answer that the running step waits for. An answer that the monitor took with it comes never: vq_saving_found(). */
static void answered(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;

    (void)reply;
    if (guest->saving == NULL || is_lost(guest, err))
        return;
    guest->saving->call = 0;
    vq_saving_step_over(guest->saving, err);
}

/* The same for those that are asked before another one. */
static void told(json_t *reply, const struct vq_error *err, void *data)
{
    if (err != NULL)
        answered(reply, err, data);
}

static void ignored(json_t *reply, const struct vq_error *err, void *data)
{
    (void)reply;
    (void)err;
    (void)data;
}

/* What waits for QEMU and is given up meanwhile hears no answer. */
static void forget_call(struct vq_saving *saving)
{
    if (saving->call != 0 && saving->guest->qmp != NULL)
        vq_qmp_cancel(saving->guest->qmp, saving->call);
    saving->call = 0;
}

static enum vq_step_result ask_or_fail(struct vq_saving *saving, const char *command, json_t *take_arguments, vq_qmp_cb cb)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (!saving->has_exited && vq_saving_ask(saving, command, take_arguments, -1, cb))
        return VQ_STEP_WAIT;
    (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "%s: QEMU does not respond", vq_saving_job_name(saving));
    return vq_job_fail(&saving->job, &err);
}

/* ---- Beside the loop ---- */

static void worked(struct vq_save_file *take_file, const struct vq_error *err, void *data)
{
    struct vq_saving *saving = data;

    saving->work = NULL;
    saving->file = take_file;
    (void)uv_timer_stop(&saving->wait_timer);
    if (take_file != NULL)
        vq_saving_know_file(saving);
    if (saving->job.is_active && saving->job.is_waiting)
        vq_job_resume(&saving->job, err);
}

static enum vq_step_result work(struct vq_saving *saving, enum vq_save_task task)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (saving->file == NULL) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "the file '%s' is lost", saving->path);
        return vq_job_fail(&saving->job, &err);
    }
    saving->work = vq_save_work_start(saving->guest->qemu->host->loop, vq_take(saving->file), task, worked, saving);
    return VQ_STEP_WAIT;
}

/* The thread cleans up when its file system answers again. */
static void work_late(uv_timer_t *timer)
{
    struct vq_saving *saving = timer->data;

    if (saving->work == NULL)
        return;
    vq_log(WARN, "save.file", "domain=%s: its file system does not answer, going on", saving->guest->name);
    vq_save_work_forget(vq_take(saving->work), true);
    undo_over(saving);
}

/* A thread that is still at it is waited for. */
static enum vq_step_result wait_for_thread(struct vq_job *job)
{
    struct vq_saving *saving = job->owner;

    if (saving->work == NULL)
        return VQ_STEP_DONE;
    (void)uv_timer_start(&saving->wait_timer, work_late, THREAD_MS, 0);
    return VQ_STEP_WAIT;
}

/* ---- look at the file ---- */

static enum vq_step_result look_run(struct vq_job *job)
{
    if (VQ_FAILPOINT("qemu.save.look"))
        return step_failed(job, "qemu.save.look");
    return work(job->owner, VQ_SAVE_LOOK);
}

/* ---- write the record ---- */

static enum vq_step_result record_run(struct vq_job *job)
{
    struct vq_saving *saving = job->owner;
    struct vq_error err = VQ_ERROR_INIT;

    if (VQ_FAILPOINT("qemu.save.record"))
        return step_failed(job, "qemu.save.record");
    return vq_qemu_record_write(saving->guest, &err) < 0 ? vq_job_fail(job, &err) : VQ_STEP_DONE;
}

/* ---- make the file ---- */

static enum vq_step_result make_run(struct vq_job *job)
{
    if (VQ_FAILPOINT("qemu.save.make"))
        return step_failed(job, "qemu.save.make");
    return work(job->owner, VQ_SAVE_MAKE);
}

/* The thread that made it is back, or it is gone with that. */
static enum vq_step_result remove_undo(struct vq_job *job)
{
    struct vq_saving *saving = job->owner;

    (void)VQ_FAILPOINT("qemu.save.remove");
    if (saving->file != NULL)
        (void)work(saving, VQ_SAVE_DISCARD);
    return wait_for_thread(job);
}

/* Nothing is done yet; undone behind "make the file". */
static enum vq_step_result remove_run(struct vq_job *job)
{
    (void)job;
    return VQ_STEP_DONE;
}

/* ---- stop the CPUs ---- */

void vq_saving_next_pause(const struct vq_saving *saving)
{
    struct vq_qemu_guest *guest = saving->guest;

    guest->has_next_pause = true;
    guest->next_pause_reason = vq_saving_is_dump(saving) ? VIR_DOMAIN_PAUSED_DUMP : VIR_DOMAIN_PAUSED_SAVE;
    guest->next_pause_detail = VIR_DOMAIN_EVENT_SUSPENDED_PAUSED;
}

static enum vq_step_result stop_run(struct vq_job *job)
{
    struct vq_saving *saving = job->owner;
    struct vq_qemu_guest *guest = saving->guest;

    if (VQ_FAILPOINT("qemu.save.stop"))
        return step_failed(job, "qemu.save.stop");
    if (saving->is_live || guest->state != VIR_DOMAIN_RUNNING)
        return VQ_STEP_DONE;
    vq_saving_next_pause(saving);
    return ask_or_fail(saving, "stop", NULL, answered);
}

static void runs_again(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;

    (void)reply;
    if (guest->saving == NULL || is_lost(guest, err))
        return;
    if (err != NULL)
        vq_log(ERROR, "save.undo", "domain=%s: its CPUs do not run again: %s", guest->name, err->message);
    undo_over(guest->saving);
}

/* QEMU may not have heard "stop" yet, or may have stopped without our having been told: asked to run it runs in any case. */
static enum vq_step_result stop_undo(struct vq_job *job)
{
    struct vq_saving *saving = job->owner;
    struct vq_qemu_guest *guest = saving->guest;

    forget_call(saving);
    if (!saving->was_running || !can_ask(saving) || guest->end.is_set || guest->state == VIR_DOMAIN_SHUTDOWN ||
        guest->state == VIR_DOMAIN_CRASHED)
        return VQ_STEP_DONE;
    (void)VQ_FAILPOINT("qemu.save.cont");
    return vq_saving_ask(saving, "cont", NULL, -1, runs_again) ? VQ_STEP_WAIT : VQ_STEP_DONE;
}

/* ---- run the filter ---- */

static void close_fd(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd);
    *fd = -1;
}

static void filter_ended(const struct vq_error *err, void *data)
{
    struct vq_saving *saving = data;
    const char *step = saving->job.steps[saving->job.cursor].name;

    saving->filter_has_ended = true;
    if (err != NULL)
        saving->filter_err = *err;
    if (!saving->job.is_active || !saving->job.is_waiting || saving->job.is_unwinding)
        return;
    if (strcmp(step, "end the filter") == 0) {
        vq_job_resume(&saving->job, err);
    } else if (strcmp(step, "send") == 0) {
        if (err == NULL) /* before QEMU has closed its end */
            (void)vq_error_set(&saving->filter_err, VIR_ERR_OPERATION_FAILED, "%s ended too early",
                               vq_save_format_name(saving->format));
        vq_job_resume(&saving->job, &saving->filter_err);
    }
}

static bool needs_filter(const struct vq_saving *saving)
{
    return saving->format != VQ_SAVE_RAW || saving->bypasses_cache;
}

static enum vq_step_result filter_run(struct vq_job *job)
{
    struct vq_saving *saving = job->owner;
    struct vq_error err = VQ_ERROR_INIT;
    int ends[2];

    if (VQ_FAILPOINT("qemu.save.filter"))
        return step_failed(job, "qemu.save.filter");
    if (!needs_filter(saving)) {
        saving->qemu_fd = fcntl(saving->file->fd, F_DUPFD_CLOEXEC, 3); /* one position for both: behind the header */
        if (saving->qemu_fd < 0)
            (void)vq_error_system(&err, errno, "cannot hand the file to QEMU");
        return saving->qemu_fd < 0 ? vq_job_fail(job, &err) : VQ_STEP_DONE;
    }
    if (pipe2(ends, O_CLOEXEC) < 0) {
        (void)vq_error_system(&err, errno, "cannot make a pipe");
        return vq_job_fail(job, &err);
    }
    saving->filter_fd = ends[0];
    saving->qemu_fd = ends[1];
    (void)fcntl(ends[1], F_SETPIPE_SZ, PIPE_BYTES); /* else the default, which is slower */
    if (vq_save_filter_start(saving->guest->qemu, saving->format, false, saving->filter_fd, saving->file->fd, filter_ended,
                             saving, &saving->filter, &err) < 0)
        return vq_job_fail(job, &err);
    return VQ_STEP_DONE;
}

static enum vq_step_result filter_undo(struct vq_job *job)
{
    struct vq_saving *saving = job->owner;

    vq_save_filter_free(vq_take(saving->filter));
    close_fd(&saving->qemu_fd);
    close_fd(&saving->filter_fd);
    return VQ_STEP_DONE;
}

/* ---- tell QEMU how ---- */

/* As fast as it goes, nothing but the stream, and nothing left of an earlier migration. */
static json_t *plain_capabilities(const json_t *query)
{
    json_t *list = json_array(), *entry;
    size_t i;

    json_array_foreach((json_t *)(uintptr_t)query, i, entry) {
        const char *name = json_string_value(json_object_get(entry, "capability"));
        bool is_events = vq_streq(name, "events");

        if (name != NULL && (is_events || json_is_true(json_object_get(entry, "state"))))
            (void)json_array_append_new(list, json_pack("{s:s,s:b}", "capability", name, "state", is_events));
    }
    return json_pack("{s:o}", "capabilities", list);
}

static void capabilities_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;
    struct vq_saving *saving = guest->saving;

    if (saving == NULL || is_lost(guest, err))
        return;
    if (err != NULL) {
        vq_saving_step_over(saving, err);
        return;
    }
    (void)vq_saving_ask(saving, "migrate-set-capabilities", plain_capabilities(reply), -1, told);
    (void)vq_saving_ask(saving, "migrate-set-parameters",
                        json_pack("{s:I,s:s,s:s}", "max-bandwidth", (json_int_t)INT64_MAX >> 1, "tls-creds", "",
                                  "tls-hostname", ""), -1, answered);
}

static enum vq_step_result tell_run(struct vq_job *job)
{
    struct vq_saving *saving = job->owner;

    if (VQ_FAILPOINT("qemu.save.tell"))
        return step_failed(job, "qemu.save.tell");
    if (saving->kind == VQ_SAVING_DUMP_MEMORY)
        return VQ_STEP_DONE;
    return ask_or_fail(saving, "query-migrate-capabilities", NULL, capabilities_known);
}

static enum vq_step_result tell_undo(struct vq_job *job)
{
    forget_call(job->owner);
    return VQ_STEP_DONE;
}

/* ---- send ---- */

static json_t *dump_arguments(const struct vq_saving *saving)
{
    json_t *arguments = json_pack("{s:b,s:s,s:b}", "paging", 0, "protocol", "fd:" DESCRIPTOR_NAME, "detach", 1);

    if (saving->dump_format != NULL)
        (void)json_object_set_new(arguments, "format", json_string(saving->dump_format));
    return arguments;
}

static void send_refused(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;
    struct vq_saving *saving = guest->saving;

    (void)reply;
    if (saving == NULL || is_lost(guest, err))
        return;
    saving->has_descriptor = err != NULL;
    if (err == NULL)
        return; /* vq_saving_status() tells more */
    saving->qemu = VQ_SAVING_FAILED;
    vq_saving_step_over(saving, err);
}

static enum vq_step_result send_run(struct vq_job *job)
{
    struct vq_saving *saving = job->owner;
    bool is_memory = saving->kind == VQ_SAVING_DUMP_MEMORY;
    enum vq_step_result result;

    if (VQ_FAILPOINT("qemu.save.send"))
        return step_failed(job, "qemu.save.send");
    if (!can_ask(saving))
        return ask_or_fail(saving, "query-status", NULL, ignored);
    saving->has_descriptor = true;
    (void)vq_saving_ask(saving, "getfd", json_pack("{s:s}", "fdname", DESCRIPTOR_NAME), saving->qemu_fd, told);
    close_fd(&saving->qemu_fd); /* a copy is on its way: the filter shall see the end when QEMU closes it */
    saving->is_told = true;
    saving->qemu = VQ_SAVING_AT_WORK;
    result = is_memory ? ask_or_fail(saving, "dump-guest-memory", dump_arguments(saving), send_refused)
                       : ask_or_fail(saving, "migrate", json_pack("{s:s}", "uri", "fd:" DESCRIPTOR_NAME), send_refused);
    (void)VQ_FAILPOINT("qemu.save.sending");
    return result;
}

/* The last numbers, and QEMU's own word for what went wrong. */
static void numbers_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;
    struct vq_saving *saving = guest->saving;
    const char *reason = json_string_value(json_object_get(reply, "error-desc"));
    struct vq_error own = VQ_ERROR_INIT;

    if (saving == NULL || is_lost(guest, err))
        return;
    if (err == NULL && guest->activity.is_active && saving->kind != VQ_SAVING_DUMP_MEMORY)
        vq_qemu_job_stats_take(&guest->activity.stats, reply);
    if (saving->qemu == VQ_SAVING_SENT) {
        vq_saving_step_over(saving, NULL);
        return;
    }
    if (saving->filter_err.code != VIR_ERR_OK)
        own = saving->filter_err;
    else if (saving->failure.code != VIR_ERR_OK)
        own = saving->failure;
    else
        (void)vq_error_set(&own, VIR_ERR_OPERATION_FAILED, "%s: %s", vq_saving_job_name(saving),
                           reason != NULL ? reason : "QEMU could not write all of it: the disk may be full");
    vq_saving_step_over(saving, &own);
}

static void filter_says_nothing(uv_timer_t *timer)
{
    struct vq_saving *saving = timer->data;

    (void)vq_saving_ask(saving, saving->kind == VQ_SAVING_DUMP_MEMORY ? "query-dump" : "query-migrate", NULL, -1,
                        numbers_known);
}

static bool waits_to_send(const struct vq_saving *saving)
{
    return saving->job.is_active && saving->job.is_waiting && strcmp(saving->job.steps[saving->job.cursor].name, "send") == 0;
}

void vq_saving_status(struct vq_saving *saving, const char *status, const char *error)
{
    bool is_over = strcmp(status, "completed") == 0, is_bad = strcmp(status, "failed") == 0 || strcmp(status, "cancelled") == 0;
    bool is_memory = saving->kind == VQ_SAVING_DUMP_MEMORY;

    if (!is_over && !is_bad && !(saving->is_found && strcmp(status, "none") == 0))
        return;
    saving->qemu = is_over ? VQ_SAVING_SENT : VQ_SAVING_FAILED;
    if (!waits_to_send(saving))
        return;
    if (saving->job.is_unwinding) {
        (void)uv_timer_stop(&saving->wait_timer);
        undo_over(saving);
        return;
    }
    if (error != NULL && is_bad)
        (void)vq_error_set(&saving->failure, VIR_ERR_OPERATION_FAILED, "memory-only dump failed: %s", error);
    /* QEMU knows that its pipe is broken, the filter knows why. */
    if (is_bad && saving->filter != NULL && !saving->filter_has_ended)
        (void)uv_timer_start(&saving->wait_timer, filter_says_nothing, FILTER_MS, 0);
    else
        (void)vq_saving_ask(saving, is_memory ? "query-dump" : "query-migrate", NULL, -1, numbers_known);
}

static void cancel_late(uv_timer_t *timer)
{
    struct vq_saving *saving = timer->data;

    vq_log(WARN, "save.undo", "domain=%s: QEMU does not say that it has stopped sending, going on", saving->guest->name);
    undo_over(saving);
}

static void status_asked(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;
    const char *status = json_string_value(json_object_get(reply, "status"));

    if (guest->saving == NULL || is_lost(guest, err))
        return;
    if (err != NULL)
        status = "failed";
    vq_saving_status(guest->saving, status != NULL ? status : "none", NULL);
}

/* A dump of memory cannot be stopped: it is waited for, while the destroying of the guest ends it. */
static enum vq_step_result send_undo(struct vq_job *job)
{
    struct vq_saving *saving = job->owner;
    bool is_memory = saving->kind == VQ_SAVING_DUMP_MEMORY;

    forget_call(saving);
    (void)uv_timer_stop(&saving->wait_timer);
    if (!can_ask(saving))
        return VQ_STEP_DONE;
    if (saving->has_descriptor)
        (void)vq_saving_ask(saving, "closefd", json_pack("{s:s}", "fdname", DESCRIPTOR_NAME), -1, ignored);
    saving->has_descriptor = false;
    if (saving->qemu != VQ_SAVING_AT_WORK)
        return VQ_STEP_DONE;
    saving->is_found = true; /* "none" is an answer now: it had not begun */
    if (!is_memory) {
        (void)uv_timer_start(&saving->wait_timer, cancel_late, CANCEL_MS, 0);
        (void)vq_saving_ask(saving, "migrate_cancel", NULL, -1, ignored);
    }
    (void)vq_saving_ask(saving, is_memory ? "query-dump" : "query-migrate", NULL, -1, status_asked);
    return VQ_STEP_WAIT; /* vq_saving_status() */
}

/* ---- end the filter ---- */

static enum vq_step_result end_filter_run(struct vq_job *job)
{
    struct vq_saving *saving = job->owner;

    close_fd(&saving->qemu_fd);
    close_fd(&saving->filter_fd);
    if (saving->filter == NULL)
        return VQ_STEP_DONE;
    if (saving->filter_err.code != VIR_ERR_OK)
        return vq_job_fail(job, &saving->filter_err);
    return saving->filter_has_ended ? VQ_STEP_DONE : VQ_STEP_WAIT; /* filter_ended() */
}

/* ---- finish the file ---- */

static enum vq_step_result finish_run(struct vq_job *job)
{
    struct vq_saving *saving = job->owner;

    if (VQ_FAILPOINT("qemu.save.finish"))
        return step_failed(job, "qemu.save.finish");
    vq_save_filter_free(vq_take(saving->filter));
    return work(saving, VQ_SAVE_FINISH);
}

/* ---- note that it is complete ---- */

static enum vq_step_result complete_run(struct vq_job *job)
{
    struct vq_saving *saving = job->owner;
    struct vq_error err = VQ_ERROR_INIT;

    if (VQ_FAILPOINT("qemu.save.complete"))
        return step_failed(job, "qemu.save.complete");
    if (vq_saving_is_dump(saving))
        return VQ_STEP_DONE;
    if (saving->has_exited && saving->temporary == NULL)
        return VQ_STEP_DONE;
    saving->stage = VQ_SAVING_COMPLETE;
    if (vq_qemu_record_write(saving->guest, &err) == 0)
        return VQ_STEP_DONE;
    saving->stage = VQ_SAVING_BEGUN;
    return vq_job_fail(job, &err);
}

static enum vq_step_result complete_undo(struct vq_job *job)
{
    struct vq_saving *saving = job->owner;
    struct vq_error err = VQ_ERROR_INIT;

    if (saving->stage != VQ_SAVING_COMPLETE)
        return VQ_STEP_DONE;
    saving->stage = VQ_SAVING_BEGUN;
    if (vq_qemu_record_write(saving->guest, &err) < 0) /* before its CPUs run again */
        vq_log(ERROR, "guest.record", "domain=%s: %s", saving->guest->name, err.message);
    return VQ_STEP_DONE;
}

/* ---- put it in place ---- */

static enum vq_step_result place_run(struct vq_job *job)
{
    (void)VQ_FAILPOINT("qemu.save.place");
    return work(job->owner, VQ_SAVE_PLACE);
}

/* ---- tell the cluster ---- */

static void flagged(const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;

    if (guest->saving != NULL)
        vq_saving_step_over(guest->saving, err);
}

static enum vq_step_result managed_run(struct vq_job *job)
{
    struct vq_saving *saving = job->owner;
    struct vq_qemu_guest *guest = saving->guest;
    struct vq_error err = VQ_ERROR_INIT;

    if (saving->kind != VQ_SAVING_MANAGED)
        return VQ_STEP_DONE;
    if (VQ_FAILPOINT("qemu.save.managed"))
        return step_failed(job, "qemu.save.managed");
    saving->is_flagged = true;
    if (vq_managed_make(guest->qemu, guest->uuid, guest->run, saving->place, flagged, guest, &err) < 0)
        return vq_job_fail(job, &err);
    return VQ_STEP_WAIT;
}

/* The record says that it is not to be used before a CPU runs. */
static enum vq_step_result managed_undo(struct vq_job *job)
{
    struct vq_saving *saving = job->owner;
    struct vq_error err = VQ_ERROR_INIT;

    if (saving->is_flagged && vq_managed_use(saving->guest->qemu, saving->guest->uuid, &err) < 0)
        vq_log(ERROR, "save.managed", "domain=%s: %s", saving->guest->name, err.message);
    if (saving->is_flagged)
        vq_managed_clear(saving->guest->qemu, saving->guest->uuid);
    return VQ_STEP_DONE;
}

/* ---- after a dump: reset it, let it run on ---- */

static enum vq_step_result reset_run(struct vq_job *job)
{
    struct vq_saving *saving = job->owner;

    if (!vq_saving_is_dump(saving) || !saving->resets)
        return VQ_STEP_DONE;
    return ask_or_fail(saving, "system_reset", NULL, answered);
}

static enum vq_step_result run_on_run(struct vq_job *job)
{
    struct vq_saving *saving = job->owner;

    if (!vq_saving_is_dump(saving) || !saving->was_running || saving->crashes || saving->has_exited)
        return VQ_STEP_DONE;
    if (VQ_FAILPOINT("qemu.save.run"))
        return step_failed(job, "qemu.save.run");
    return ask_or_fail(saving, "cont", NULL, answered);
}

/* The dump is in its place and stays there, whatever becomes of the guest. */
static enum vq_step_result run_on_undo(struct vq_job *job)
{
    struct vq_saving *saving = job->owner;

    forget_call(saving);
    if (vq_saving_is_dump(saving) && saving->file != NULL)
        saving->file->is_placed = false;
    return VQ_STEP_DONE;
}

const struct vq_step vq_saving_steps[] = {
    /* name                         run, undo                       timeout_ms */
    { "look at the file",           look_run, wait_for_thread,      0 },
    { "write the record",           record_run, NULL,               0 },
    { "remove the file",            remove_run, remove_undo,        0 },
    { "make the file",              make_run, wait_for_thread,      0 },
    { "stop the CPUs",              stop_run, stop_undo,            0 },
    { "run the filter",             filter_run, filter_undo,        0 },
    { "tell QEMU",                  tell_run, tell_undo,            0 },
    { "send",                       send_run, send_undo,            0 },
    { "end the filter",             end_filter_run, NULL,           0 },
    { "finish the file",            finish_run, wait_for_thread,    0 },
    { "note that it is complete",   complete_run, complete_undo,    0 },
    { "put it in place",            place_run, wait_for_thread,     0 },
    { "tell the cluster",           managed_run, managed_undo,      0 },
    { "reset the guest",            reset_run, run_on_undo,         0 },
    { "let the CPUs run on",        run_on_run, run_on_undo,        0 },
};
const size_t vq_n_saving_steps = VQ_N_ELEMENTS(vq_saving_steps);
const size_t vq_saving_first_complete = 11;
static_assert(VQ_N_ELEMENTS(vq_saving_steps) == 15, "vq_saving_first_complete is the row that puts the file in place");
