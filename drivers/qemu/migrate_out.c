/* The source's side of a migration as the rest of the driver meets it: see migrate_out.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/migrate_out.h"

#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/migrate_disks.h"
#include "drivers/qemu/migrate_tls.h"
#include "drivers/qemu/process.h"

/* ---- The object ---- */

struct vq_leaving *vq_leaving_of(struct vq_qemu_guest *guest)
{
    struct vq_leaving *leaving;

    if (!vq_migrate_is_leaving(guest))
        return NULL;
    if (guest->migration->side != NULL)
        return guest->migration->side;
    leaving = vq_new(struct vq_leaving);
    leaving->guest = guest;
    leaving->failure = VQ_ERROR_INIT;
    (void)uv_timer_init(guest->qemu->host->loop, &leaving->job_timer);
    (void)uv_timer_init(guest->qemu->host->loop, &leaving->wait_timer);
    leaving->wait_timer.data = leaving;
    guest->migration->side = leaving;
    return leaving;
}

bool vq_leaving_is_undecided(const struct vq_qemu_guest *guest)
{
    return vq_migrate_is_leaving(guest) && guest->migration->peer != 0 && guest->migration->stage != VQ_MIGRATE_BEGUN;
}

bool vq_leaving_ask(struct vq_leaving *leaving, const char *command, json_t *take_arguments, int fd, vq_qmp_cb cb)
{
    struct vq_qemu_guest *guest = leaving->guest;

    if (guest->qmp == NULL || vq_qmp_is_broken(guest->qmp)) {
        json_decref(take_arguments);
        return false;
    }
    leaving->calls[leaving->n_calls++ % VQ_LEAVING_CALLS_MAX] =
        vq_qmp_call_fd(guest->qmp, command, take_arguments, fd, VQ_QMP_TIMEOUT_MS, cb, guest);
    return true;
}

/* ---- Answers ---- */

/* What a daemon outside shall keep of it: the caller's text, or as it is defined here. Between nodes the log has it. */
static char *definition_to_keep(const struct vq_qemu_guest *guest)
{
    const struct vq_migration *migration = guest->migration;
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_domain_info info = { 0 };

    if (migration == NULL || migration->peer != 0 || (migration->options.flags & VIR_MIGRATE_PERSIST_DEST) == 0)
        return NULL;
    if (migration->options.persistent_xml != NULL)
        return vq_strdup(migration->options.persistent_xml);
    if (guest->qemu->host->domain_find(guest->uuid, true, arena, &info) && (info.flags & VQ_INFO_PERSISTENT) != 0 &&
        info.xml != NULL)
        return vq_strdup(info.xml);
    return guest->live != NULL ? vq_domain_format(guest->live, VQ_FORMAT_SECURE | VQ_FORMAT_INACTIVE) : NULL;
}

/* A daemon outside ends the server of its disks only when it reads in finish that disks were copied. */
static bool ends_disk_server(const struct vq_qemu_guest *guest)
{
    const struct vq_migration *migration = guest->migration;

    return migration != NULL && migration->peer == 0 && vq_migrate_disks_asked(&migration->options);
}

void vq_leaving_answer(struct vq_leaving *leaving, const struct vq_error *err)
{
    struct vq_request *request = leaving->request;
    struct vq_qemu_guest *guest = leaving->guest;
    struct vq_migrate_cookie cookie;
    struct vq_error own = VQ_ERROR_INIT;
    uint32_t length = 0;
    uint8_t *bytes = NULL;

    if (request == NULL)
        return;
    leaving->request = NULL;
    if (err == NULL) {
        vq_qemu_activity_count_time(guest);
        vq_migrate_cookie_init(&cookie, guest->qemu, guest->uuid, guest->name);
        cookie.has_nbd = ends_disk_server(guest);
        cookie.stats = vq_memdup(guest->activity.is_active ? &guest->activity.stats : &guest->completed.stats,
                                 sizeof(*cookie.stats));
        cookie.persistent_xml = definition_to_keep(guest);
        cookie.stats_sent_ms = guest->qemu->host->time_ms();
        if (vq_migrate_cookie_write(&cookie, request->arena, &bytes, &length, &own) < 0)
            err = &own;
        vq_migrate_cookie_done(&cookie);
    }
    leaving->done(bytes, length, err, leaving->data);
}

/* ---- What can be asked of it while it is under way ---- */

static int abort_migration(struct vq_qemu_guest *guest, bool post_copy, struct vq_error *err)
{
    struct vq_leaving *leaving = vq_leaving_of(guest);
    struct vq_error why = VQ_ERROR_INIT;
    bool is_begun = leaving != NULL && guest->migration->stage == VQ_MIGRATE_BEGUN; /* perform fails with it, when it comes */

    if (post_copy)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "current job is not outgoing migration in post-copy mode");
    if (vq_leaving_serves(guest))
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "cannot abort migration in post-copy mode");
    if (!is_begun && (leaving == NULL || !leaving->job.is_active || leaving->fate == VQ_LEAVING_GONE))
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "cannot abort migration: only its outcome is waited for");
    (void)vq_error_set(&why, VIR_ERR_OPERATION_ABORTED, "migration out job: canceled by client");
    vq_leaving_give_up(guest, &why);
    return 0;
}

struct refresh {
    struct vq_qemu_guest *guest;
    void (*done)(struct vq_qemu_guest *guest, void *data);
    void *data;
};

static void refreshed(json_t *reply, const struct vq_error *err, void *data)
{
    struct refresh *refresh = data;

    if (err == NULL && refresh->guest->activity.is_active)
        vq_qemu_job_stats_take(&refresh->guest->activity.stats, reply);
    refresh->done(refresh->guest, refresh->data);
    free(refresh);
}

/* Before QEMU is told to migrate, its numbers are those of the last time. */
static void refresh_numbers(struct vq_qemu_guest *guest, void (*done)(struct vq_qemu_guest *guest, void *data), void *data)
{
    const struct vq_leaving *leaving = vq_leaving_of(guest);
    struct refresh *refresh;

    if (leaving == NULL || !leaving->is_told || guest->qmp == NULL || guest->phase != VQ_GUEST_ACTIVE) {
        done(guest, data);
        return;
    }
    refresh = vq_new(struct refresh);
    *refresh = (struct refresh){ guest, done, data };
    (void)vq_qmp_call(guest->qmp, "query-migrate", NULL, VQ_QMP_TIMEOUT_MS, refreshed, refresh);
}

int vq_leaving_begin_activity(struct vq_qemu_guest *guest, struct vq_error *err)
{
    if (vq_qemu_activity_begin(guest, VIR_DOMAIN_JOB_OPERATION_MIGRATION_OUT, err) < 0)
        return -1;
    guest->activity.abort = abort_migration;
    guest->activity.refresh = refresh_numbers;
    return 0;
}

struct vq_migration *vq_leaving_new(struct vq_qemu_guest *guest, const struct vq_request *request,
                                          const struct vq_migrate_options *options)
{
    struct vq_migration *migration = vq_new(struct vq_migration);

    migration->role = VQ_MIGRATE_OUT;
    migration->stage = VQ_MIGRATE_BEGUN;
    migration->generation = guest->generation;
    migration->was_running = guest->state == VIR_DOMAIN_RUNNING;
    vq_migrate_options_copy(&migration->options, options);
    if ((options->flags & VIR_MIGRATE_PEER2PEER) == 0) { /* else the daemon is the client, and stays */
        migration->entry_node = request->caller->entry_node;
        migration->session = request->caller->session;
    }
    guest->migration = migration;
    return migration;
}

/* The migration is over, and the guest is this node's as before. */
void vq_leaving_drop(struct vq_qemu_guest *guest, int type, const struct vq_error *err)
{
    struct vq_error own = VQ_ERROR_INIT;

    vq_qemu_activity_end(guest, type, err);
    vq_migration_free(vq_take(guest->migration));
    if (vq_qemu_record_write(guest, &own) < 0)
        vq_log(WARN, "guest.record", "domain=%s: %s, going on with the older record", guest->name, own.message);
}

/* ---- perform ---- */

static int type_of_end(const struct vq_error *err)
{
    return err->code == VIR_ERR_OPERATION_ABORTED ? VIR_DOMAIN_JOB_CANCELLED : VIR_DOMAIN_JOB_FAILED;
}

static bool has_begun(const struct vq_qemu_guest *guest)
{
    return guest != NULL && vq_migrate_is_leaving(guest) && guest->migration->stage == VQ_MIGRATE_BEGUN;
}

static int check_perform(struct vq_qemu_guest *guest, const struct vq_migrate_options *options,
                         const struct vq_migrate_cookie *peer, struct vq_error *err)
{
    bool is_begun = has_begun(guest);
    VQ_AUTOFREE char *host = NULL, *path = NULL;
    uint16_t port;

    if (is_begun && vq_leaving_of(guest)->failure.code != VIR_ERR_OK) {
        *err = vq_leaving_of(guest)->failure;
        return -1;
    }
    if (options->uri == NULL)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "the destination told no URI for the data");
    if (vq_migrate_uri_parse(options->uri, &host, &port, &path, err) < 0)
        return -1;
    if (vq_migrate_cookie_check(peer, guest->qemu, guest->uuid, guest->name, err) < 0)
        return -1;
    if (vq_migrate_check_secure(guest->qemu, options, peer, VQ_MIGRATE_SENDS, err) < 0)
        return -1;
    if ((options->flags & VIR_MIGRATE_ZEROCOPY) != 0 && (peer->node != 0 || (options->flags & VIR_MIGRATE_TLS) != 0))
        return vq_error_set(err, VIR_ERR_OPERATION_UNSUPPORTED, "zero-copy cannot be combined with encryption%s",
                            peer->node != 0 ? ", and data between nodes are always encrypted" : "");
    if (peer->node != 0 && peer->run == 0)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "the destination's cookie does not name the move");
    if (peer->node != 0 && vq_leaving_check_move(guest, peer->node, peer->run, err) < 0)
        return -1;
    if (!is_begun && vq_leaving_check(guest, options, err) < 0)
        return -1;
    return is_begun ? 0 : vq_leaving_begin_activity(guest, err);
}

/* A client whose perform has failed does not confirm: what it had begun ends with that. */
static void drop_begun(struct vq_qemu_guest *guest, const struct vq_caller *client, const struct vq_error *err)
{
    const struct vq_migration *migration = has_begun(guest) ? guest->migration : NULL;

    if (migration != NULL && migration->entry_node == (client != NULL ? client->entry_node : 0) &&
        migration->session == (client != NULL ? client->session : 0))
        vq_leaving_drop(guest, type_of_end(err), err);
}

void vq_migrate_out_perform(struct vq_request *request, const struct vq_migrate_options *options, const uint8_t *cookie,
                            uint32_t cookie_length, vq_migrate_cookie_cb cb, void *data)
{
    struct vq_qemu *qemu = vq_qemu_of(request);
    struct vq_qemu_guest *guest = vq_qemu_guest_find(qemu, request->domain->uuid);
    struct vq_migrate_cookie peer = { 0 };
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_leaving *leaving;

    if (guest == NULL || guest->phase != VQ_GUEST_ACTIVE)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "domain is not running");
    else if (vq_migrate_cookie_read(cookie, cookie_length, &peer, &err) == 0) {
        if (!vq_migrate_cookie_is_ours(&peer, qemu))
            peer.node = 0;
        (void)check_perform(guest, options, &peer, &err);
    }
    if (err.code != VIR_ERR_OK) {
        vq_migrate_cookie_done(&peer);
        drop_begun(guest, (options->flags & VIR_MIGRATE_PEER2PEER) == 0 ? request->caller : NULL, &err);
        cb(NULL, 0, &err, data);
        return;
    }
    vq_migration_free(vq_take(guest->migration));
    (void)vq_leaving_new(guest, request, options);
    guest->migration->peer = peer.node;
    guest->migration->run = peer.node != 0 ? peer.run : 0;
    leaving = vq_leaving_of(guest);
    leaving->request = request;
    leaving->done = cb;
    leaving->data = data;
    leaving->peer = peer;
    vq_log(INFO, "migrate.out", "domain=%s peer=%llu run=%llu uri=%s", guest->name,
           (unsigned long long)guest->migration->peer, (unsigned long long)guest->migration->run, options->uri);
    vq_job_start(&leaving->job, vq_leaving_steps, vq_n_leaving_steps, &leaving->job_timer, vq_leaving_done, leaving);
}

/* ---- How it ends ---- */

/* Another node is the owner. What is left here has no right to run, and nothing of it is this node's to tell or to give
 * back any more. */
void vq_leaving_let_go(struct vq_qemu_guest *guest, enum vq_migrate_stage stage)
{
    struct vq_error err = VQ_ERROR_INIT;

    guest->migration->stage = stage;
    if (!guest->is_handed_over) {
        guest->is_handed_over = true;
        guest->is_published = false;
        vq_qemu_ownership_done(guest);
    }
    if (stage == VQ_MIGRATE_OVER) {
        vq_qemu_activity_end(guest, VIR_DOMAIN_JOB_COMPLETED, NULL);
        guest->end = (struct vq_qemu_end){ .is_set = true, .reason = VIR_DOMAIN_SHUTOFF_MIGRATED,
                                           .detail = VIR_DOMAIN_EVENT_STOPPED_MIGRATED };
    }
    (void)VQ_FAILPOINT("qemu.migrate.out.over");
    if (vq_qemu_record_write(guest, &err) < 0)
        vq_log(WARN, "guest.record", "domain=%s: %s, going on with the older record", guest->name, err.message);
}

void vq_leaving_hand_over(struct vq_qemu_guest *guest)
{
    if (!guest->is_handed_over || guest->migration->stage != VQ_MIGRATE_OVER)
        vq_leaving_let_go(guest, VQ_MIGRATE_OVER);
    if (vq_leaving_of(guest)->has_exited || (guest->process != NULL && vq_process_has_exited(guest->process)))
        vq_qemu_guest_unwind(guest);
    else
        vq_qemu_guest_end(guest, VIR_DOMAIN_SHUTOFF_MIGRATED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED, true);
}

/* The log says that it is its peer's. What QEMU has still to send, it sends; when it has ended here, there is nothing more. */
static void leave_to_peer(struct vq_qemu_guest *guest)
{
    const struct vq_leaving *leaving = vq_leaving_of(guest);
    bool is_known = guest->phase == VQ_GUEST_ACTIVE; /* else its monitor has not answered yet: found() looks */
    bool is_at_work = leaving->is_told && leaving->qemu != VQ_LEAVING_QEMU_NONE && leaving->qemu != VQ_LEAVING_QEMU_ACTIVE;

    if (vq_leaving_decides_early(guest) && !leaving->has_exited && (is_at_work || !is_known))
        vq_leaving_serve(guest);
    else
        vq_leaving_hand_over(guest);
}

/* QEMU had ended before the log said that the guest stays: it is lost. */
static void lose(struct vq_qemu_guest *guest)
{
    if (!guest->end.is_set)
        guest->end = (struct vq_qemu_end){ .is_set = true, .reason = VIR_DOMAIN_SHUTOFF_CRASHED,
                                           .detail = VIR_DOMAIN_EVENT_STOPPED_FAILED };
    guest->is_published = true;
    vq_qemu_guest_unwind(guest);
}

void vq_leaving_done(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;
    struct vq_qemu_guest *guest = leaving->guest;
    struct vq_error err = job->error;

    (void)uv_timer_stop(&leaving->wait_timer);
    if (leaving->fate == VQ_LEAVING_GONE) {
        leave_to_peer(guest); /* perform is answered when QEMU has ended: the guest may come back at once */
        return;
    }
    if (!job->is_unwinding) { /* to a daemon outside: confirm says how it ends */
        vq_leaving_answer(leaving, NULL);
        return;
    }
    if (err.code == VIR_ERR_OK)
        err = leaving->failure;
    if (err.code == VIR_ERR_OK)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "the migration was under way when the daemon ended");
    vq_log(WARN, "migrate.out", "domain=%s: %s; it stays here", guest->name, err.message);
    if (!leaving->is_confirmed)
        vq_leaving_answer(leaving, &err);
    vq_leaving_drop(guest, type_of_end(&err), &err);
}

bool vq_leaving_waits_in(const struct vq_leaving *leaving, const char *step)
{
    return leaving->job.is_active && leaving->job.is_waiting && vq_streq(leaving->job.steps[leaving->job.cursor].name, step);
}

static void gone(struct vq_leaving *leaving)
{
    if (vq_leaving_waits_in(leaving, "decide") || vq_leaving_waits_in(leaving, "switch over") || vq_leaving_waits_in(leaving, "learn the outcome")) {
        vq_job_resume(&leaving->job, NULL);
        return;
    }
    if (leaving->job.is_active && !leaving->job.is_waiting)
        return; /* the step that looked goes on by itself */
    if (leaving->job.is_active)
        vq_log(ERROR, "migrate.out", "domain=%s: it is its peer's although it was not sent: it is ended here",
               leaving->guest->name);
    leave_to_peer(leaving->guest);
}

static void stays(struct vq_leaving *leaving)
{
    struct vq_qemu_guest *guest = leaving->guest;

    if (leaving->failure.code == VIR_ERR_OK)
        (void)vq_error_set(&leaving->failure, VIR_ERR_OPERATION_FAILED, "migration out job: the destination has given up");
    if (leaving->job.is_active && leaving->job.is_unwinding) {
        if (vq_leaving_waits_in(leaving, "decide") || vq_leaving_waits_in(leaving, "switch over"))
            vq_job_resume(&leaving->job, NULL);
    } else if (leaving->job.is_active) {
        if (leaving->job.is_waiting)
            vq_job_cancel(&leaving->job, &leaving->failure);
    } else {
        guest->is_published = true;
        vq_qemu_guest_publish(guest, NULL, 0);
        vq_job_unwind(&leaving->job, vq_leaving_steps, vq_n_leaving_steps, &leaving->job_timer, vq_leaving_done, leaving);
    }
}

void vq_leaving_decided(struct vq_qemu_guest *guest)
{
    struct vq_leaving *leaving = vq_leaving_of(guest);

    if (leaving->has_exited && leaving->fate == VQ_LEAVING_GONE)
        vq_leaving_hand_over(guest);
    else if (leaving->has_exited)
        lose(guest);
    else if (leaving->fate == VQ_LEAVING_GONE)
        gone(leaving);
    else
        stays(leaving);
}
