/* Steps of a guest that leaves, and their undoing: see migrate_out.h.
 *
 * QEMU lets the CPUs run again by itself when its migration fails or is cancelled, so it is never cancelled once the
 * destination may have everything and the log has not said that the guest stays. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/migrate_key.h"
#include "drivers/qemu/migrate_out.h"
#include "drivers/qemu/migrate_qemu.h"
#include "drivers/qemu/migrate_tls.h"

#define DESCRIPTOR_NAME "migrate"

enum vq_step_result vq_leaving_step_failed(struct vq_job *job, const char *name)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, VIR_ERR_INTERNAL_ERROR, "failure point %s", name);
    return vq_job_fail(job, &err);
}

void vq_leaving_step_over(struct vq_leaving *leaving, const struct vq_error *err)
{
    if (leaving->job.is_active && leaving->job.is_waiting && !leaving->job.is_unwinding)
        vq_job_resume(&leaving->job, err);
}

void vq_leaving_undo_over(struct vq_leaving *leaving)
{
    if (leaving->job.is_active && leaving->job.is_waiting && leaving->job.is_unwinding)
        vq_job_resume(&leaving->job, NULL);
}

/* The monitor has gone, not QEMU's answer: it is opened anew, and what became of the migration is asked then. */
bool vq_leaving_is_lost(const struct vq_qemu_guest *guest, const struct vq_error *err)
{
    return err != NULL && (guest->qmp == NULL || vq_qmp_is_broken(guest->qmp));
}

static void answered(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;

    (void)reply;
    if (!vq_leaving_is_lost(guest, err))
        vq_leaving_step_over(vq_leaving_of(guest), err);
}

/* For those that are asked before another one whose answer is awaited. */
static void told(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;

    (void)reply;
    if (err != NULL && !vq_leaving_is_lost(guest, err))
        vq_leaving_step_over(vq_leaving_of(guest), err);
}

/* ---- write the record ---- */

static enum vq_step_result record_run(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;
    struct vq_error err = VQ_ERROR_INIT;

    if (VQ_FAILPOINT("qemu.migrate.out.record"))
        return vq_leaving_step_failed(job, "qemu.migrate.out.record");
    leaving->guest->migration->stage = VQ_MIGRATE_SENDING;
    return vq_qemu_record_write(leaving->guest, &err) < 0 ? vq_job_fail(job, &err) : VQ_STEP_DONE;
}

/* Nothing is under way any more: the log shall know, but nothing waits for it. */
static enum vq_step_result record_undo(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;
    struct vq_migration *migration = leaving->guest->migration;

    if (migration->peer != 0 && leaving->fate == VQ_LEAVING_OPEN)
        vq_leaving_forget_move(leaving->guest->qemu, leaving->guest->uuid, migration->peer, migration->run);
    return VQ_STEP_DONE;
}

/* ---- look at the images ---- */

static void storage_known(const struct vq_error *err, void *data)
{
    struct vq_leaving *leaving = data;

    leaving->storage = NULL;
    vq_leaving_step_over(leaving, err);
}

static enum vq_step_result storage_run(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;
    const struct vq_migration *migration = leaving->guest->migration;

    if (migration->peer == 0)
        leaving->storage = vq_leaving_check_storage(leaving->guest, &migration->options, storage_known, leaving);
    return leaving->storage != NULL ? VQ_STEP_WAIT : VQ_STEP_DONE;
}

static enum vq_step_result storage_undo(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;

    if (leaving->storage != NULL)
        vq_leaving_forget_storage(vq_take(leaving->storage));
    return VQ_STEP_DONE;
}

/* ---- the CPUs, in the end ---- */

static void run_on_again(uv_timer_t *timer)
{
    vq_leaving_run_on(timer->data);
}

static void runs_again(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;
    struct vq_leaving *leaving = vq_leaving_of(guest);

    (void)reply;
    if (vq_leaving_is_lost(guest, err))
        return; /* vq_migrate_found() asks again */
    /* The destination's QEMU may hold the images until it has been ended, which the same entry of the log makes it be. */
    if (err != NULL && leaving->fate == VQ_LEAVING_STAYS && ++leaving->n_refused < VQ_LEAVING_CONT_TRIES) {
        (void)uv_timer_start(&leaving->wait_timer, run_on_again, VQ_LEAVING_CONT_MS, 0);
        return;
    }
    if (err != NULL)
        vq_log(ERROR, "migrate.out", "domain=%s: it stays here, but its CPUs do not run: %s", guest->name, err->message);
    vq_leaving_undo_over(vq_leaving_of(guest));
}

void vq_leaving_run_on(struct vq_leaving *leaving)
{
    (void)vq_leaving_ask(leaving, "cont", NULL, -1, runs_again);
}

/* Those that a migration has stopped run again. QEMU may have done it by itself: then nothing changes. */
static enum vq_step_result cpus_undo(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;
    struct vq_qemu_guest *guest = leaving->guest;
    bool is_stopped = leaving->has_stopped || leaving->is_switched ||
                      (guest->state == VIR_DOMAIN_PAUSED && (guest->reason == VIR_DOMAIN_PAUSED_MIGRATION ||
                                                             guest->reason == VIR_DOMAIN_PAUSED_POSTCOPY));

    if (leaving->fate == VQ_LEAVING_GONE || !guest->migration->was_running || leaving->was_stopped_by_user ||
        guest->state == VIR_DOMAIN_SHUTDOWN || guest->state == VIR_DOMAIN_CRASHED || !is_stopped)
        return VQ_STEP_DONE;
    (void)VQ_FAILPOINT("qemu.migrate.out.cont");
    vq_leaving_tell_stopped(guest);
    vq_leaving_run_on(leaving);
    return VQ_STEP_WAIT;
}

/* ---- what encrypts the data: between nodes a key, else certificates ---- */

static void ignored(json_t *reply, const struct vq_error *err, void *data)
{
    (void)reply;
    (void)err;
    (void)data;
}

/* There may be none; or one of a migration whose outcome never became known. */
static void remove_credentials(struct vq_leaving *leaving)
{
    (void)vq_leaving_ask(leaving, "object-del", json_pack("{s:s}", "id", VQ_LEAVING_CREDENTIALS), -1, ignored);
}

static void key_object_made(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;

    vq_migrate_key_remove(guest); /* QEMU has read it */
    vq_leaving_of(guest)->has_credentials = err == NULL;
    answered(reply, err, data);
}

static void key_told(struct vq_leaving *leaving, const uint8_t *key, const struct vq_error *err)
{
    VQ_AUTOFREE char *dir = vq_migrate_key_dir(leaving->guest);
    struct vq_error own = VQ_ERROR_INIT;

    if (err == NULL && vq_migrate_key_write(leaving->guest, key, &own) < 0)
        err = &own;
    if (err != NULL) {
        vq_leaving_step_over(leaving, err);
        return;
    }
    (void)vq_leaving_ask(leaving, "object-add", json_pack("{s:s,s:s,s:s,s:s,s:s}", "qom-type", "tls-creds-psk", "id",
                                                          VQ_LEAVING_CREDENTIALS, "endpoint", "client", "dir", dir, "username",
                                                          VQ_MIGRATE_KEY_USER), -1, key_object_made);
}

static enum vq_step_result key_run(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;

    struct vq_qemu_guest *guest = leaving->guest;

    if (VQ_FAILPOINT("qemu.migrate.out.key"))
        return vq_leaving_step_failed(job, "qemu.migrate.out.key");
    if (guest->migration->peer != 0 || vq_migrate_tls_asked(guest->migration))
        remove_credentials(leaving);
    if (vq_migrate_tls_asked(guest->migration)) {
        (void)vq_leaving_ask(leaving, "object-add", vq_migrate_tls_object(&guest->qemu->settings, VQ_LEAVING_CREDENTIALS,
                                                                          VQ_MIGRATE_SENDS), -1, key_object_made);
        return VQ_STEP_WAIT;
    }
    if (guest->migration->peer == 0)
        return VQ_STEP_DONE;
    vq_leaving_ask_key(leaving, key_told);
    return VQ_STEP_WAIT;
}

static enum vq_step_result key_undo(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;

    vq_leaving_forget_key(leaving);
    vq_migrate_key_remove(leaving->guest);
    if (leaving->fate != VQ_LEAVING_GONE)
        remove_credentials(leaving);
    return VQ_STEP_DONE;
}

/* ---- tell QEMU how ---- */

static int tell(struct vq_leaving *leaving, struct vq_error *err)
{
    struct vq_qemu_guest *guest = leaving->guest;
    struct vq_migrate_options options = guest->migration->options; /* borrowed */
    VQ_AUTOFREE char *hostname = vq_migrate_tls_hostname(guest->migration);
    struct vq_migrate_pace pace = { .speed_mib = guest->migration_speed_mib, .downtime_ms = guest->migration_downtime_ms,
                                    .xbzrle_cache = guest->migration_cache,
                                    .tls_creds = leaving->has_credentials ? VQ_LEAVING_CREDENTIALS : NULL,
                                    .tls_hostname = hostname };
    json_t *capabilities;

    if (guest->migration->peer == 0) /* nobody could decide before the switch: then there is no return path either */
        options.flags &= ~(uint64_t)VIR_MIGRATE_POSTCOPY;
    if (vq_migrate_capabilities_out(&options, &leaving->own, &leaving->peer, &capabilities, err) < 0)
        return -1;
    (void)vq_leaving_ask(leaving, "migrate-set-capabilities", capabilities, -1, told);
    (void)vq_leaving_ask(leaving, "migrate-set-parameters", vq_migrate_parameters_out(&options, &pace), -1, answered);
    return 0;
}

static void capabilities_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;
    struct vq_leaving *leaving = vq_leaving_of(guest);
    struct vq_error own = VQ_ERROR_INIT;

    if (vq_leaving_is_lost(guest, err))
        return;
    if (err != NULL) {
        vq_leaving_step_over(leaving, err);
        return;
    }
    vq_migrate_capabilities_to_cookie(reply, true, &leaving->own);
    if (tell(leaving, &own) < 0)
        vq_leaving_step_over(leaving, &own);
}

static enum vq_step_result tell_run(struct vq_job *job)
{
    if (VQ_FAILPOINT("qemu.migrate.out.tell"))
        return vq_leaving_step_failed(job, "qemu.migrate.out.tell");
    (void)vq_leaving_ask(job->owner, "query-migrate-capabilities", NULL, -1, capabilities_known);
    return VQ_STEP_WAIT;
}

/* ---- connect ---- */

static void connected(struct vq_leaving *leaving, int fd, const struct vq_error *err)
{
    if (err != NULL) {
        vq_leaving_step_over(leaving, err);
        return;
    }
    (void)vq_leaving_ask(leaving, "getfd", json_pack("{s:s}", "fdname", DESCRIPTOR_NAME), fd, answered);
}

/* Parallel connections are QEMU's own to make. */
static bool connects_by_itself(const struct vq_migrate_options *options)
{
    return (options->flags & VIR_MIGRATE_PARALLEL) != 0 || !vq_migrate_uri_is_socket(options->uri);
}

static enum vq_step_result connect_run(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;
    const struct vq_migrate_options *options = &leaving->guest->migration->options;
    struct vq_error err = VQ_ERROR_INIT;

    if (VQ_FAILPOINT("qemu.migrate.out.connect"))
        return vq_leaving_step_failed(job, "qemu.migrate.out.connect");
    if (connects_by_itself(options))
        return VQ_STEP_DONE;
    return vq_leaving_connect(leaving, options->uri, connected, &err) < 0 ? vq_job_fail(job, &err) : VQ_STEP_WAIT;
}

/* A descriptor that QEMU has and did not use would be found by the next migration. */
static enum vq_step_result connect_undo(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;

    vq_leaving_disconnect(leaving);
    return VQ_STEP_DONE;
}

/* ---- send ---- */

/* Made anew from its parts: what else the caller wrote does not reach QEMU. NULL: err tells. */
static char *qemu_uri(const struct vq_migrate_options *options, struct vq_error *err)
{
    VQ_AUTOFREE char *host = NULL, *path = NULL;
    uint16_t port = 0;

    if (!connects_by_itself(options))
        return vq_strdup("fd:" DESCRIPTOR_NAME);
    if (vq_migrate_uri_parse(options->uri, &host, &port, &path, err) < 0)
        return NULL;
    if (path != NULL)
        return vq_asprintf("unix:%s", path);
    if (port == 0) {
        (void)vq_error_set(err, VIR_ERR_INVALID_ARG, "missing port in migration URI: %s", options->uri);
        return NULL;
    }
    return vq_asprintf(strchr(host, ':') != NULL ? "%s:[%s]:%u" : "%s:%s:%u",
                       strncmp(options->uri, "rdma:", 5) == 0 ? "rdma" : "tcp", host, port);
}

static enum vq_step_result send_run(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOFREE char *uri = qemu_uri(&leaving->guest->migration->options, &err);

    if (VQ_FAILPOINT("qemu.migrate.out.send"))
        return vq_leaving_step_failed(job, "qemu.migrate.out.send");
    if (uri == NULL)
        return vq_job_fail(job, &err);
    leaving->is_told = true;
    (void)vq_leaving_ask(leaving, "migrate", json_pack("{s:s}", "uri", uri), -1, told);
    return VQ_STEP_WAIT; /* vq_leaving_status() */
}

bool vq_leaving_is_at_work(const struct vq_leaving *leaving)
{
    return leaving->is_told && leaving->qemu != VQ_LEAVING_QEMU_COMPLETED && leaving->qemu != VQ_LEAVING_QEMU_FAILED &&
           leaving->qemu != VQ_LEAVING_QEMU_CANCELLED;
}

static void cancel_late(uv_timer_t *timer)
{
    struct vq_leaving *leaving = timer->data;

    vq_log(WARN, "migrate.out", "domain=%s: QEMU does not say that its migration has ended, going on",
           leaving->guest->name);
    vq_leaving_undo_over(leaving);
}

/* migrate itself was refused: there is nothing to cancel, and no event will come. */
static void cancel_told(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;

    (void)reply;
    if (err != NULL && !vq_leaving_is_lost(guest, err))
        vq_leaving_undo_over(vq_leaving_of(guest));
}

static void status_asked(json_t *reply, const struct vq_error *err, void *data)
{
    const char *status = json_string_value(json_object_get(reply, "status"));

    if (err == NULL)
        vq_leaving_status(data, status != NULL ? status : "none");
}

static enum vq_step_result send_undo(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;

    if (!vq_leaving_is_at_work(leaving) || leaving->fate == VQ_LEAVING_GONE)
        return VQ_STEP_DONE;
    (void)VQ_FAILPOINT("qemu.migrate.out.stop");
    (void)uv_timer_start(&leaving->wait_timer, cancel_late, VQ_LEAVING_CANCEL_MS, 0);
    (void)vq_leaving_ask(leaving, "migrate_cancel", NULL, -1, cancel_told);
    (void)vq_leaving_ask(leaving, "query-migrate", NULL, -1, status_asked); /* "none": it had not begun */
    return VQ_STEP_WAIT; /* vq_leaving_status() */
}

/* ---- switch over ---- */

static void numbers_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;
    struct vq_leaving *leaving = vq_leaving_of(guest);

    if (err == NULL)
        vq_qemu_job_stats_take(&guest->activity.stats, reply);
    if (!vq_leaving_is_lost(guest, err))
        vq_leaving_step_over(leaving, NULL);
}

void vq_leaving_go_on(struct vq_leaving *leaving)
{
    (void)vq_leaving_ask(leaving, "migrate-continue", json_pack("{s:s}", "state", "pre-switchover"), -1, told);
}

/* QEMU was told to go on, and does not come to an end: most likely the destination's does not take what is sent. What the log says
 * ends the step, whatever was asked of it; with a daemon outside the guest is this node's until its client says otherwise. */
static void switch_late(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, VIR_ERR_OPERATION_TIMEOUT,
                       "migration out job: the destination's QEMU does not take the rest of the guest");
    vq_leaving_give_up(leaving->guest, &err);
}

/* How long it may take when all goes well, as far as somebody has said so. QEMU takes no more than 2000 s. */
static uint64_t downtime_of(const struct vq_qemu_guest *guest)
{
    return guest->migration_downtime_ms < VQ_LEAVING_DOWNTIME_MAX_MS ? guest->migration_downtime_ms : VQ_LEAVING_DOWNTIME_MAX_MS;
}

static enum vq_step_result switch_run(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;

    if (leaving->fate == VQ_LEAVING_GONE)
        return VQ_STEP_DONE; /* vq_leaving_serve() lets it go on */
    if (VQ_FAILPOINT("qemu.migrate.out.switch"))
        return vq_leaving_step_failed(job, "qemu.migrate.out.switch");
    leaving->is_switched = true;
    leaving->guest->migration->stage = VQ_MIGRATE_SENT;
    vq_leaving_go_on(leaving);
    vq_leaving_tell_stopped(leaving->guest); /* after it: its record and report cost time */
    vq_job_deadline(job, VQ_LEAVING_SWITCH_MS + downtime_of(leaving->guest), switch_late);
    return VQ_STEP_WAIT; /* vq_leaving_status(), or the log's word that the destination has everything */
}

/* Can the destination run the guest, as far as is known here? */
bool vq_leaving_may_be_gone(const struct vq_leaving *leaving)
{
    return leaving->guest->migration->peer != 0 && leaving->fate == VQ_LEAVING_OPEN &&
           (leaving->is_deciding || (leaving->is_switched && leaving->qemu != VQ_LEAVING_QEMU_FAILED));
}

static enum vq_step_result switch_undo(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;

    if (!vq_leaving_may_be_gone(leaving))
        return VQ_STEP_DONE;
    vq_leaving_cancel_move(leaving->guest);
    return leaving->fate == VQ_LEAVING_OPEN ? VQ_STEP_WAIT : VQ_STEP_DONE; /* vq_leaving_decided() */
}

/* ---- decide, when that comes before the switch over ---- */

static enum vq_step_result decide_run(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;
    struct vq_qemu_guest *guest = leaving->guest;

    if (!vq_leaving_decides_early(guest))
        return VQ_STEP_DONE;
    if (VQ_FAILPOINT("qemu.migrate.out.decide"))
        return vq_leaving_step_failed(job, "qemu.migrate.out.decide");
    guest->migration->stage = VQ_MIGRATE_SENT;
    vq_leaving_tell_stopped(guest); /* before it is the peer's to tell */
    vq_leaving_commit_move(guest);
    if (leaving->fate == VQ_LEAVING_STAYS)
        return vq_job_fail(job, &leaving->failure);
    return leaving->fate == VQ_LEAVING_GONE ? VQ_STEP_DONE : VQ_STEP_WAIT; /* vq_leaving_decided() */
}

/* ---- learn the outcome ---- */

/* All was sent, and the destination does not ask for the guest. */
static void outcome_late(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, VIR_ERR_OPERATION_TIMEOUT, "migration out job: all of the guest was sent, and the destination "
                       "does not take it over");
    vq_leaving_give_up(leaving->guest, &err);
}

/* The numbers come meanwhile. A guest that went over takes its QEMU's last word with it, so they come first. */
static enum vq_step_result outcome_run(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;

    if (VQ_FAILPOINT("qemu.migrate.out.outcome"))
        return vq_leaving_step_failed(job, "qemu.migrate.out.outcome");
    if (leaving->guest->migration->peer != 0 && leaving->fate == VQ_LEAVING_OPEN)
        vq_leaving_look(leaving->guest);
    if (leaving->fate == VQ_LEAVING_STAYS) /* seen just now: this step does not wait, so nothing has ended it */
        return vq_job_fail(job, &leaving->failure);
    if (leaving->guest->migration->peer == 0 || leaving->fate == VQ_LEAVING_GONE)
        return VQ_STEP_DONE;
    vq_job_deadline(job, VQ_LEAVING_OUTCOME_MS, outcome_late);
    return VQ_STEP_WAIT; /* vq_leaving_decided() */
}

static enum vq_step_result numbers_run(struct vq_job *job)
{
    const struct vq_leaving *leaving = job->owner;

    if (leaving->is_deciding && leaving->fate == VQ_LEAVING_GONE)
        return VQ_STEP_DONE; /* it sends still */
    return vq_leaving_ask(job->owner, "query-migrate", NULL, -1, numbers_known) ? VQ_STEP_WAIT : VQ_STEP_DONE;
}

const struct vq_step vq_leaving_steps[] = {
    /* name                    run          undo          timeout_ms */
    { "write the record",      record_run,  record_undo,  0 },
    { "look at the images",    storage_run, storage_undo, 0 },
    { "let the CPUs run on",   NULL,        cpus_undo,    0 },
    { "get the key",           key_run,     key_undo,     30000 },
    { "tell QEMU how",         tell_run,    NULL,         VQ_QMP_TIMEOUT_MS },
    { "copy disks",            vq_leaving_disks_run, vq_leaving_disks_undo, 0 },
    { "tell viewers",          vq_leaving_viewers_run, NULL, VQ_QMP_TIMEOUT_MS },
    { "connect",               connect_run, connect_undo, VQ_LEAVING_CONNECT_MS + 5000 },
    { "send",                  send_run,    send_undo,    0 },
    { "end the copies of disks", vq_leaving_settle_run, NULL, 0 },
    { "decide",                decide_run,  switch_undo,  0 },
    { "switch over",           switch_run,  switch_undo,  0 },
    { "learn the outcome",     outcome_run, NULL,         0 },
    { "ask for the numbers",   numbers_run, NULL,         2000 },
    { "let viewers follow",    vq_leaving_follow_run, NULL, VQ_LEAVING_FOLLOW_MS },
};
const size_t vq_n_leaving_steps = VQ_N_ELEMENTS(vq_leaving_steps);
