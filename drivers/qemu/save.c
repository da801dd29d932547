/* The saving of a guest as the rest of the driver meets it: see save.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/save.h"

#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/events.h"
#include "drivers/qemu/save_managed.h"

/* ---- The object ---- */

bool vq_saving_is_dump(const struct vq_saving *saving)
{
    return saving->kind == VQ_SAVING_DUMP || saving->kind == VQ_SAVING_DUMP_MEMORY;
}

const char *vq_saving_job_name(const struct vq_saving *saving)
{
    return vq_saving_is_dump(saving) ? "domain core dump job" : "domain save job";
}

static struct vq_saving *saving_new(struct vq_qemu_guest *guest)
{
    struct vq_saving *saving = vq_new(struct vq_saving);

    saving->guest = guest;
    saving->qemu_fd = saving->filter_fd = -1;
    saving->failure = saving->filter_err = VQ_ERROR_INIT;
    (void)uv_timer_init(guest->qemu->host->loop, &saving->job_timer);
    (void)uv_timer_init(guest->qemu->host->loop, &saving->wait_timer);
    saving->wait_timer.data = saving;
    return saving;
}

static void wait_timer_closed(uv_handle_t *handle)
{
    free(VQ_CONTAINER_OF((uv_timer_t *)handle, struct vq_saving, wait_timer));
}

static void job_timer_closed(uv_handle_t *handle)
{
    struct vq_saving *saving = VQ_CONTAINER_OF((uv_timer_t *)handle, struct vq_saving, job_timer);

    uv_close((uv_handle_t *)&saving->wait_timer, wait_timer_closed);
}

/* The daemon stops: what a record tells is left to the next one. A thread that has the file leaves it as it is. */
void vq_saving_free(struct vq_saving *saving)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_request *request;

    if (saving == NULL)
        return;
    request = vq_take(saving->request);
    if (request != NULL) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_ABORTED, "the daemon is stopping");
        vq_request_fail(request, &err);
    }
    vq_save_filter_free(saving->filter);
    if (saving->qemu_fd >= 0)
        (void)close(saving->qemu_fd);
    if (saving->filter_fd >= 0)
        (void)close(saving->filter_fd);
    if (saving->work != NULL)
        vq_save_work_forget(saving->work, false);
    vq_save_file_free(saving->file);
    free(vq_take(saving->path));
    free(vq_take(saving->place));
    free(vq_take(saving->temporary));
    (void)uv_timer_stop(&saving->job_timer);
    (void)uv_timer_stop(&saving->wait_timer);
    uv_close((uv_handle_t *)&saving->job_timer, job_timer_closed);
}

static void record(struct vq_qemu_guest *guest)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_qemu_record_write(guest, &err) < 0)
        vq_log(WARN, "guest.record", "domain=%s: %s, going on with the older record", guest->name, err.message);
}

/* The names outlive the file's visits to threads. */
void vq_saving_know_file(struct vq_saving *saving)
{
    vq_set_text(&saving->place, saving->file->place);
    vq_set_text(&saving->temporary, saving->file->temporary);
}

/* ---- The record ---- */

static const char *const kind_words[VQ_SAVING_KINDS] = { [VQ_SAVING_FILE] = "save", [VQ_SAVING_MANAGED] = "managed",
                                                         [VQ_SAVING_DUMP] = "dump", [VQ_SAVING_DUMP_MEMORY] = "memory" };
static const char *const stage_words[VQ_SAVING_STAGES] = { [VQ_SAVING_BEGUN] = "begun", [VQ_SAVING_COMPLETE] = "complete" };

json_t *vq_saving_pack(const struct vq_saving *saving)
{
    json_t *root = json_pack("{s:s,s:s,s:b}", "kind", kind_words[saving->kind], "stage", stage_words[saving->stage], "ran",
                             saving->was_running);

    if (saving->place != NULL)
        (void)json_object_set_new(root, "place", json_string(saving->place));
    if (saving->temporary != NULL)
        (void)json_object_set_new(root, "temporary", json_string(saving->temporary));
    return root;
}

static size_t word_of(const json_t *root, const char *name, const char *const *words, size_t n)
{
    const char *word = json_string_value(json_object_get(root, name));
    size_t i = 0;

    while (i < n && !vq_streq(word, words[i]))
        i++;
    return i;
}

struct vq_saving *vq_saving_unpack(struct vq_qemu_guest *guest, const json_t *object)
{
    size_t kind = word_of(object, "kind", kind_words, VQ_SAVING_KINDS);
    size_t stage = word_of(object, "stage", stage_words, VQ_SAVING_STAGES);
    const char *place = json_string_value(json_object_get(object, "place"));
    const char *temporary = json_string_value(json_object_get(object, "temporary"));
    static const uint8_t no_mark[8];
    struct vq_saving *saving;

    if (kind == VQ_SAVING_KINDS || stage == VQ_SAVING_STAGES)
        return NULL;
    saving = saving_new(guest);
    saving->kind = (enum vq_saving_kind)kind;
    saving->stage = (enum vq_saving_stage)stage;
    saving->was_running = json_is_true(json_object_get(object, "ran"));
    saving->is_found = saving->is_told = true;
    saving->qemu = VQ_SAVING_AT_WORK; /* as far as is known */
    saving->file = vq_save_file_new(place != NULL && place[0] == '/' ? place : "/", no_mark);
    saving->file->place = vq_strdup(saving->file->path);
    if (place != NULL && temporary != NULL && temporary[0] == '/')
        saving->file->temporary = vq_strdup(temporary);
    saving->path = vq_strdup(saving->file->path);
    vq_saving_know_file(saving);
    return saving;
}

/* ---- Asking QEMU ---- */

bool vq_saving_ask(struct vq_saving *saving, const char *command, json_t *take_arguments, int fd, vq_qmp_cb cb)
{
    struct vq_qemu_guest *guest = saving->guest;

    if (guest->qmp == NULL || vq_qmp_is_broken(guest->qmp)) {
        json_decref(take_arguments);
        return false;
    }
    saving->call = vq_qmp_call_fd(guest->qmp, command, take_arguments, fd, VQ_QMP_TIMEOUT_MS, cb, guest);
    return true;
}

void vq_saving_step_over(struct vq_saving *saving, const struct vq_error *err)
{
    if (saving->job.is_active && saving->job.is_waiting && !saving->job.is_unwinding)
        vq_job_resume(&saving->job, err);
}

/* ---- What can be asked while it is under way ---- */

static int abort_saving(struct vq_qemu_guest *guest, bool post_copy, struct vq_error *err)
{
    struct vq_saving *saving = guest->saving;
    struct vq_error why = VQ_ERROR_INIT;

    if (post_copy)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "current job is not outgoing migration in post-copy mode");
    if (saving != NULL && saving->kind == VQ_SAVING_DUMP_MEMORY)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "cannot abort memory-only dump");
    if (saving == NULL || !saving->job.is_active || saving->job.is_unwinding || saving->stage != VQ_SAVING_BEGUN)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "cannot abort: it is ending already");
    (void)vq_error_set(&why, VIR_ERR_OPERATION_ABORTED, "%s: canceled by client", vq_saving_job_name(saving));
    vq_job_cancel(&saving->job, &why);
    return 0;
}

struct refresh {
    struct vq_qemu_guest *guest;
    bool is_dump;
    void (*done)(struct vq_qemu_guest *guest, void *data);
    void *data;
};

static uint64_t number_of(const json_t *object, const char *name)
{
    json_int_t number = json_integer_value(json_object_get(object, name));

    return number > 0 ? (uint64_t)number : 0;
}

static void take_dump_numbers(struct vq_qemu_job_stats *stats, const json_t *reply)
{
    stats->ram_total = number_of(reply, "total");
    stats->ram_processed = number_of(reply, "completed");
    stats->ram_remaining = stats->ram_total > stats->ram_processed ? stats->ram_total - stats->ram_processed : 0;
}

static void refreshed(json_t *reply, const struct vq_error *err, void *data)
{
    struct refresh *refresh = data;

    if (err == NULL && refresh->guest->activity.is_active && refresh->is_dump)
        take_dump_numbers(&refresh->guest->activity.stats, reply);
    else if (err == NULL && refresh->guest->activity.is_active)
        vq_qemu_job_stats_take(&refresh->guest->activity.stats, reply);
    refresh->done(refresh->guest, refresh->data);
    free(refresh);
}

/* Before QEMU is told, its numbers are those of the last time. */
static void refresh_numbers(struct vq_qemu_guest *guest, void (*done)(struct vq_qemu_guest *guest, void *data), void *data)
{
    const struct vq_saving *saving = guest->saving;
    struct refresh *refresh;

    if (saving == NULL || !saving->is_told || guest->qmp == NULL || guest->phase != VQ_GUEST_ACTIVE) {
        done(guest, data);
        return;
    }
    refresh = vq_new(struct refresh);
    *refresh = (struct refresh){ guest, saving->kind == VQ_SAVING_DUMP_MEMORY, done, data };
    (void)vq_qmp_call(guest->qmp, refresh->is_dump ? "query-dump" : "query-migrate", NULL, VQ_QMP_TIMEOUT_MS, refreshed,
                      refresh);
}

/* ---- Begin ---- */

static int build_head(struct vq_saving *saving, const struct vq_saving_options *options, struct vq_error *err)
{
    if (options->take_xml == NULL)
        return 0;
    return vq_save_image_build(options->take_xml, NULL, options->will_run, options->format, &saving->file->head,
                               &saving->file->head_length, err);
}

int vq_saving_start(struct vq_qemu_guest *guest, const struct vq_saving_options *options, struct vq_request *request,
                    void (*done)(struct vq_qemu_guest *guest, const struct vq_error *err), struct vq_error *err)
{
    VQ_AUTOFREE char *xml __attribute__((unused)) = options->take_xml; /* freed at the end, however that comes */
    struct vq_saving *saving;
    uint8_t mark[8];
    bool is_dump = options->kind == VQ_SAVING_DUMP || options->kind == VQ_SAVING_DUMP_MEMORY;

    if (vq_qemu_activity_begin(guest, is_dump ? VIR_DOMAIN_JOB_OPERATION_DUMP : VIR_DOMAIN_JOB_OPERATION_SAVE, err) < 0)
        return -1;
    guest->qemu->host->random(mark, sizeof(mark));
    saving = saving_new(guest);
    saving->kind = options->kind;
    saving->format = options->format;
    saving->is_live = options->is_live;
    saving->crashes = options->crashes;
    saving->resets = options->resets;
    saving->dump_format = options->dump_format;
    saving->was_running = guest->state == VIR_DOMAIN_RUNNING;
    saving->path = vq_strdup(options->path);
    saving->file = vq_save_file_new(options->path, mark);
    saving->bypasses_cache = options->bypasses_cache;
    saving->file->bypasses_cache = options->bypasses_cache;
    if (build_head(saving, options, err) < 0) {
        vq_saving_free(saving);
        vq_qemu_activity_end(guest, VIR_DOMAIN_JOB_FAILED, err);
        return -1;
    }
    guest->saving = saving;
    guest->activity.abort = abort_saving;
    guest->activity.refresh = refresh_numbers;
    guest->activity.is_quiet = options->kind == VQ_SAVING_DUMP_MEMORY;
    saving->request = request;
    saving->done = done;
    vq_log(INFO, "save.begin", "domain=%s kind=%s path=%s format=%s", guest->name, kind_words[saving->kind], options->path,
           vq_save_format_name(options->format));
    vq_job_start(&saving->job, vq_saving_steps, vq_n_saving_steps, &saving->job_timer, vq_saving_done, saving);
    return 0;
}

/* ---- How it ends ---- */

static void answer(struct vq_qemu_guest *guest, struct vq_saving *saving, const struct vq_error *err)
{
    struct vq_request *request = vq_take(saving->request);
    void (*done)(struct vq_qemu_guest *guest, const struct vq_error *err) = saving->done;

    saving->done = NULL;
    vq_saving_free(saving);
    if (request != NULL && err != NULL)
        vq_request_fail(request, err);
    else if (request != NULL)
        vq_request_reply(request);
    if (done != NULL)
        done(guest, err);
}

/* It ends as saved: whoever asked is answered when nothing is left of it, as for destroy. */
static void end_saved(struct vq_qemu_guest *guest, struct vq_saving *saving, uint8_t reason, uint8_t detail)
{
    struct vq_request *request = vq_take(saving->request);
    bool has_exited = saving->has_exited;

    guest->saving = NULL;
    vq_qemu_activity_end(guest, VIR_DOMAIN_JOB_COMPLETED, NULL);
    guest->end = (struct vq_qemu_end){ .is_set = true, .reason = reason, .detail = detail };
    if (request != NULL && guest->n_waiting < VQ_GUEST_WAITING_MAX)
        guest->waiting[guest->n_waiting++] = (struct vq_qemu_waiting){
            .request = request, .deadline = uv_now(guest->qemu->host->loop) + VQ_QEMU_TERM_MS + 5000 };
    else if (request != NULL)
        vq_request_reply(request); /* it is saved, and about to end */
    answer(guest, saving, NULL);
    (void)VQ_FAILPOINT("qemu.save.ending");
    if (has_exited)
        vq_qemu_guest_exited(guest, -1);
    else
        vq_qemu_guest_end(guest, reason, detail, true);
}

static void succeeded(struct vq_saving *saving)
{
    struct vq_qemu_guest *guest = saving->guest;

    vq_log(INFO, "save.done", "domain=%s kind=%s path=%s", guest->name, kind_words[saving->kind], saving->path);
    if (!vq_saving_is_dump(saving)) {
        end_saved(guest, saving, VIR_DOMAIN_SHUTOFF_SAVED, VIR_DOMAIN_EVENT_STOPPED_SAVED);
    } else if (saving->crashes) {
        end_saved(guest, saving, VIR_DOMAIN_SHUTOFF_CRASHED, VIR_DOMAIN_EVENT_STOPPED_CRASHED);
    } else {
        bool has_exited = saving->has_exited;

        guest->saving = NULL;
        vq_qemu_activity_end(guest, VIR_DOMAIN_JOB_COMPLETED, NULL);
        record(guest);
        answer(guest, saving, NULL);
        if (has_exited)
            vq_qemu_guest_exited(guest, -1);
    }
}

void vq_saving_done(struct vq_job *job)
{
    struct vq_saving *saving = job->owner;
    struct vq_qemu_guest *guest = saving->guest;
    struct vq_error err = job->error;
    bool has_exited = saving->has_exited;

    (void)uv_timer_stop(&saving->wait_timer);
    if (!job->is_unwinding) {
        succeeded(saving);
        return;
    }
    if (job->steps != vq_saving_steps) { /* it could not be completed: back to before it */
        saving->stage = VQ_SAVING_BEGUN;
        saving->failure = err;
        vq_job_unwind(job, vq_saving_steps, vq_n_saving_steps, &saving->job_timer, vq_saving_done, saving);
        return;
    }
    if (err.code == VIR_ERR_OK)
        err = saving->failure;
    if (err.code == VIR_ERR_OK)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "it was under way when the daemon ended");
    vq_log(WARN, "save.failed", "domain=%s kind=%s: %s", guest->name, kind_words[saving->kind], err.message);
    guest->saving = NULL;
    vq_qemu_activity_end(guest, err.code == VIR_ERR_OPERATION_ABORTED ? VIR_DOMAIN_JOB_CANCELLED : VIR_DOMAIN_JOB_FAILED,
                         &err);
    record(guest);
    answer(guest, saving, &err);
    if (has_exited)
        vq_qemu_guest_exited(guest, -1);
}

/* ---- What happens to the guest meanwhile ---- */

static bool on_resume(struct vq_qemu_guest *guest, const struct vq_saving *saving)
{
    bool is_dump = vq_saving_is_dump(saving);

    if (guest->state != VIR_DOMAIN_PAUSED)
        return false;
    guest->activity.stats.stopped_ms = guest->activity.stats.has_downtime ? guest->activity.stats.stopped_ms : 0;
    vq_qemu_guest_set_state(guest, VIR_DOMAIN_RUNNING,
                            is_dump ? (uint8_t)VIR_DOMAIN_RUNNING_UNPAUSED : (uint8_t)VIR_DOMAIN_RUNNING_SAVE_CANCELED,
                            VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_UNPAUSED);
    return true;
}

bool vq_saving_event(struct vq_qemu_guest *guest, const char *name, const json_t *data)
{
    struct vq_saving *saving = guest->saving;
    const json_t *result = json_object_get(data, "result");
    const char *status = json_string_value(json_object_get(data, "status"));

    if (saving == NULL)
        return false;
    if (strcmp(name, "MIGRATION") == 0) {
        vq_saving_status(saving, status != NULL ? status : "", NULL);
        return true;
    }
    if (strcmp(name, "MIGRATION_PASS") == 0) {
        vq_qemu_emit_migration_iteration(guest, (int)json_integer_value(json_object_get(data, "pass")));
        return true;
    }
    if (strcmp(name, "DUMP_COMPLETED") == 0) {
        if (guest->activity.is_active)
            take_dump_numbers(&guest->activity.stats, result);
        vq_saving_status(saving, vq_streq(json_string_value(json_object_get(result, "status")), "completed") ? "completed"
                                                                                                           : "failed",
                         json_string_value(json_object_get(data, "error")));
        return true;
    }
    if (strcmp(name, "STOP") == 0 && guest->state == VIR_DOMAIN_RUNNING)
        guest->activity.stats.stopped_ms = guest->qemu->host->time_ms();
    if (strcmp(name, "STOP") == 0 && saving->is_live && !guest->has_next_pause)
        vq_saving_next_pause(saving); /* at the end of its stream, or for the time of a core file */
    if (strcmp(name, "RESUME") == 0)
        return on_resume(guest, saving);
    return strcmp(name, "SHUTDOWN") == 0 && saving->stage == VQ_SAVING_COMPLETE;
}

bool vq_saving_exited(struct vq_qemu_guest *guest)
{
    struct vq_saving *saving = guest->saving;
    struct vq_error err = VQ_ERROR_INIT;

    if (saving == NULL)
        return false;
    saving->has_exited = true;
    if (!saving->job.is_active) { /* found, and its monitor has not answered: as if there had been no process */
        vq_saving_lost(guest);
        guest->saving = NULL;
        vq_saving_free(saving);
        return false;
    }
    if (saving->stage == VQ_SAVING_COMPLETE || !saving->job.is_waiting || saving->work != NULL)
        return true; /* the worker comes back, and the next step sees it */
    (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "%s: guest unexpectedly quit", vq_saving_job_name(saving));
    if (saving->job.is_unwinding)
        vq_job_resume(&saving->job, NULL);
    else
        vq_job_cancel(&saving->job, &err);
    return true;
}

void vq_saving_lost(struct vq_qemu_guest *guest)
{
    struct vq_saving *saving = guest->saving;
    struct vq_error err = VQ_ERROR_INIT;

    if (saving == NULL)
        return;
    if (saving->stage != VQ_SAVING_COMPLETE) {
        if (vq_save_file_do(saving->file, VQ_SAVE_DISCARD, &err) < 0)
            vq_log(WARN, "save.lost", "domain=%s: %s", guest->name, err.message);
        return;
    }
    if (vq_save_file_do(saving->file, VQ_SAVE_PLACE, &err) < 0) {
        vq_log(ERROR, "save.lost", "domain=%s: its state is saved in '%s', but %s", guest->name, saving->file->temporary,
               err.message);
        return;
    }
    if (saving->kind == VQ_SAVING_MANAGED)
        vq_managed_made(guest->qemu, guest->uuid, guest->run, saving->file->place);
    guest->end = (struct vq_qemu_end){ .is_set = true, .reason = VIR_DOMAIN_SHUTOFF_SAVED,
                                       .detail = VIR_DOMAIN_EVENT_STOPPED_SAVED };
    vq_log(INFO, "save.done", "domain=%s: its state was in '%s' when it ended", guest->name, saving->file->place);
}

/* The monitor was away while a step waited: its question, or the answer, is lost. */
static void found_at_work(struct vq_saving *saving)
{
    struct vq_job *job = &saving->job;
    struct vq_error err = VQ_ERROR_INIT;

    if (!job->is_waiting || saving->work != NULL || saving->stage == VQ_SAVING_COMPLETE)
        return;
    if (!job->is_unwinding) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "%s: the connection to QEMU was lost", vq_saving_job_name(saving));
        saving->is_found = true;
        vq_job_cancel(job, &err);
    } else if (job->steps[job->cursor].undo != NULL && job->steps[job->cursor].undo(job) == VQ_STEP_DONE) {
        vq_job_resume(job, NULL);
    }
}

void vq_saving_found(struct vq_qemu_guest *guest)
{
    struct vq_saving *saving = guest->saving;
    struct vq_error err = VQ_ERROR_INIT;

    if (saving == NULL)
        return;
    if (saving->job.is_active) {
        found_at_work(saving);
        return;
    }
    if (vq_qemu_activity_begin(guest, vq_saving_is_dump(saving) ? VIR_DOMAIN_JOB_OPERATION_DUMP
                                                                : VIR_DOMAIN_JOB_OPERATION_SAVE, &err) < 0)
        vq_log(WARN, "save.found", "domain=%s: %s", guest->name, err.message);
    vq_log(INFO, "save.found", "domain=%s kind=%s: it was under way, it is %s", guest->name, kind_words[saving->kind],
           saving->stage == VQ_SAVING_COMPLETE ? "completed" : "undone");
    if (saving->stage == VQ_SAVING_COMPLETE)
        vq_job_start(&saving->job, vq_saving_steps + vq_saving_first_complete, vq_n_saving_steps - vq_saving_first_complete,
                     &saving->job_timer, vq_saving_done, saving);
    else
        vq_job_unwind(&saving->job, vq_saving_steps, vq_n_saving_steps, &saving->job_timer, vq_saving_done, saving);
}
