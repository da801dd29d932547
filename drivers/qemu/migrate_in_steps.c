/* Steps of a guest that comes: those of a start, but for the right to run and for where the memory comes from.
 *
 * The record is written before the right to come is asked for: a daemon that dies in between finds it, and tells the log that
 * the move is over. For the same reason it is the last thing that goes. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/migrate_disks.h"
#include "drivers/qemu/migrate_in.h"
#include "drivers/qemu/ports.h"
#include "drivers/qemu/prepare.h"
#include "drivers/qemu/qmp.h"
#include "drivers/qemu/start.h"
#include "drivers/qemu/tune.h"
#include "proto/cluster.pb-c.h"

/* ---- What comes ---- */

static enum vq_step_result begin_run(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_domain_info info = { 0 };
    struct vq_error err = VQ_ERROR_INIT;

    if (VQ_FAILPOINT("qemu.migrate.in.begin"))
        return vq_qemu_step_failed(job, "qemu.migrate.in.begin");
    guest->state = VIR_DOMAIN_PAUSED;
    guest->reason = VIR_DOMAIN_PAUSED_MIGRATION;
    if (guest->migration->peer == 0) { /* it has only just been made here */
        if (!guest->qemu->host->domain_find(guest->uuid, false, arena, &info) ||
            info.owner != guest->qemu->host->node_id) {
            (void)vq_error_set(&err, VIR_ERR_NO_DOMAIN, "domain '%s' is gone again", guest->name);
            return vq_job_fail(job, &err);
        }
        guest->generation = info.generation;
    }
    return vq_qemu_step_emulator(job);
}

/* What would be refused with the commit is refused before anything is made. */
static enum vq_step_result record_run(struct vq_job *job)
{
    const struct vq_qemu_guest *guest = job->owner;
    VQ_AUTOPTR(vq_domain) kept = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    if (guest->migration->peer != 0 && vq_migrate_kept_definition(guest, &guest->migration->options, &kept, &err) < 0)
        return vq_job_fail(job, &err);
    return vq_qemu_step_record(job);
}

/* ---- The right to come ---- */

static void claimed(const struct vq_proposal_result *result, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = vq_qemu_ticket_use(data);
    struct vq_error own = VQ_ERROR_INIT;
    int rc = -1;

    if (guest == NULL)
        return;
    if (result != NULL) {
        vq_incoming_of(guest)->was_claimed = true;
        guest->migration->run = result->number;
    }
    if (guest->job.is_unwinding) { /* given up meanwhile: claim_undo() waits for this answer */
        vq_incoming_cancel(guest);
        return;
    }
    if (result != NULL)
        rc = vq_qemu_run_claimed(guest, result->number, result->id, &own);
    else
        own = *err;
    guest->is_claimed = false; /* the run is another node's still: its end is not ours to tell */
    vq_qemu_step_over(guest, rc < 0 ? &own : NULL);
}

static enum vq_step_result claim_run(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;
    struct vq_migration *migration = guest->migration;
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainMove move = VQ__DOMAIN_MOVE__INIT;

    if (migration->peer == 0)
        return vq_qemu_step_claim(job);
    if (VQ_FAILPOINT("qemu.migrate.in.claim"))
        return vq_qemu_step_failed(job, "qemu.migrate.in.claim");
    move.uuid = (ProtobufCBinaryData){ .data = guest->uuid, .len = sizeof(guest->uuid) };
    move.from = migration->peer;
    move.to = guest->qemu->host->node_id;
    move.if_generation = migration->generation;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_MOVE;
    command.domain_move = &move;
    guest->qemu->host->propose(&command, 0, claimed, vq_qemu_ticket_new(guest));
    return guest->ticket != NULL ? VQ_STEP_WAIT : VQ_STEP_DONE;
}

static void images_removed(struct vq_qemu_guest *guest, const struct vq_error *err)
{
    (void)err; /* told already */
    vq_qemu_step_over(guest, NULL);
}

bool vq_incoming_settle(struct vq_qemu_guest *guest)
{
    if (vq_incoming_of(guest)->fate == VQ_INCOMING_NOT_OURS)
        return vq_migrate_disks_remove_created(guest, images_removed);
    guest->run = guest->migration->run;
    guest->is_published = true;
    vq_qemu_guest_publish_end(guest);
    return false;
}

/* No process of the guest is left here. */
static enum vq_step_result claim_undo(struct vq_job *job)
{
    struct vq_qemu_guest *guest = vq_qemu_undoing(job);
    struct vq_incoming *incoming = vq_incoming_of(guest);

    if (guest->migration->peer == 0)
        return vq_qemu_step_claim_undo(job);
    vq_incoming_answer_prepare(incoming, &job->error);
    if (guest->ticket != NULL)
        return VQ_STEP_WAIT; /* claimed() */
    if (incoming->fate == VQ_INCOMING_OPEN)
        vq_incoming_look(guest);
    if (incoming->fate == VQ_INCOMING_OPEN)
        vq_incoming_cancel(guest);
    if (incoming->fate == VQ_INCOMING_OPEN)
        return VQ_STEP_WAIT; /* vq_incoming_decided() */
    return vq_incoming_settle(guest) ? VQ_STEP_WAIT : VQ_STEP_DONE;
}

/* ---- Data ---- */

static void no_data(uv_timer_t *timer)
{
    struct vq_incoming *incoming = timer->data;
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, VIR_ERR_OPERATION_TIMEOUT, "domain '%s' was expected, and no data came in %d s",
                       incoming->guest->name, VQ_INCOMING_DATA_MS / 1000);
    vq_incoming_give_up(incoming->guest, &err);
}

/* Disks come before memory, for as long as it takes: then only the end of the caller's connection or node ends the wait. */
static enum vq_step_result wait_run(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;
    struct vq_incoming *incoming = vq_incoming_of(guest);

    vq_incoming_answer_prepare(incoming, NULL);
    if (VQ_FAILPOINT("qemu.migrate.in.wait"))
        return vq_qemu_step_failed(job, "qemu.migrate.in.wait");
    if (incoming->has_data || incoming->is_loaded)
        return VQ_STEP_DONE;
    if (!vq_migrate_disks_asked(&guest->migration->options))
        (void)uv_timer_start(incoming->timer, no_data, VQ_INCOMING_DATA_MS, 0);
    return VQ_STEP_WAIT;
}

static enum vq_step_result wait_undo(struct vq_job *job)
{
    (void)uv_timer_stop(vq_incoming_of(vq_qemu_undoing(job))->timer);
    return VQ_STEP_DONE;
}

static enum vq_step_result load_run(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;
    struct vq_incoming *incoming = vq_incoming_of(guest);

    (void)uv_timer_stop(incoming->timer);
    guest->migration->stage = VQ_MIGRATE_LOADING;
    if (VQ_FAILPOINT("qemu.migrate.in.load"))
        return vq_qemu_step_failed(job, "qemu.migrate.in.load");
    if (incoming->is_loaded || incoming->is_postcopy)
        return VQ_STEP_DONE;
    incoming->loads_since = uv_now(guest->qemu->host->loop);
    vq_incoming_watch(incoming);
    return VQ_STEP_WAIT;
}

/* ---- Whose it is ---- */

/* The downtime counts: nothing is written here. The record says since the beginning that the guest comes; a daemon that
 * finds it asks QEMU whether all is loaded, and the log. */
static enum vq_step_result take_over_run(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;
    struct vq_incoming *incoming = vq_incoming_of(guest);

    guest->migration->stage = VQ_MIGRATE_LOADED;
    if (!incoming->wants_end)
        (void)uv_timer_stop(incoming->timer); /* the watch of the load */
    if (VQ_FAILPOINT("qemu.migrate.in.loaded"))
        return vq_qemu_step_failed(job, "qemu.migrate.in.loaded");
    if (guest->migration->peer == 0)
        return incoming->may_run ? VQ_STEP_DONE : VQ_STEP_WAIT; /* finish */
    if (incoming->fate == VQ_INCOMING_OPEN)
        vq_incoming_commit(guest);
    if (incoming->fate == VQ_INCOMING_NOT_OURS)
        return vq_job_fail(job, &incoming->failure);
    return incoming->fate == VQ_INCOMING_OURS ? VQ_STEP_DONE : VQ_STEP_WAIT;
}

#define STEP(name) vq_qemu_step_##name, vq_qemu_step_##name##_undo
const struct vq_step vq_qemu_incoming_steps[] = {
    /* name                       run, undo                              timeout_ms */
    { "know the emulator",        begin_run, vq_qemu_step_emulator_undo, 20000 },
    { "write the record",         record_run, vq_qemu_step_record_undo,  0 },
    { "give the domain back",     NULL, vq_incoming_give_back,           0 },
    { "take the right to come",   claim_run, claim_undo,                 15000 },
    { "run hook \"prepare\"",     STEP(hook_prepare),                    0 },
    { "make directory and log",   STEP(files),                           0 },
    { "choose the firmware",      STEP(firmware),                        30000 },
    { "find host devices",        STEP(host),                            0 },
    { "reserve ports",            STEP(ports),                           0 },
    { "make images",              vq_incoming_make_disks, vq_incoming_make_disks_undo, 0 },
    { "give images to QEMU",      STEP(images),                          0 },
    { "make taps",                STEP(taps),                            0 },
    { "make a TPM",               STEP(tpm),                             60000 },
    { "run helpers",              STEP(helpers),                         0 },
    { "run hook \"start\"",       STEP(hook_start),                      0 },
    { "run QEMU",                 STEP(spawn),                           0 },
    { "greet the monitor",        STEP(greet),                           30000 },
    { "place the threads",        vq_qemu_step_tune, NULL,               VQ_QMP_TIMEOUT_MS + 5000 },
    { "run hook \"started\"",     STEP(hook_started),                    0 },
    { "tell QEMU",                vq_incoming_tell, NULL,                30000 },
    { "serve images",             vq_incoming_serve_disks, NULL,         30000 },
    { "listen for data",          vq_incoming_listen, NULL,              30000 },
    { "wait for data",            wait_run, wait_undo,                   0 },
    { "load",                     load_run, wait_undo,                   0 },
    { "take over",                take_over_run, NULL,                   0 },
};
#undef STEP
const size_t vq_qemu_n_incoming_steps = VQ_N_ELEMENTS(vq_qemu_incoming_steps);

/* ---- It is ours ---- */

static void add_owned(struct vq_qemu_guest *guest, const char *path, json_int_t uid, json_int_t gid)
{
    if (path == NULL || path[0] != '/' || uid < 0 || uid >= UINT32_MAX || gid < 0 || gid >= UINT32_MAX ||
        guest->n_owned == VQ_GUEST_OWNED_MAX)
        return;
    for (size_t i = 0; i < guest->n_owned; i++)
        if (strcmp(guest->owned[i].path, path) == 0)
            return;
    guest->owned[guest->n_owned++] = (struct vq_qemu_owned){ .path = vq_strdup(path), .uid = (unsigned)uid,
                                                             .gid = (unsigned)gid };
}

/* Whose the images were before the guest's first run in the cluster: only for those that it really has. */
static void take_owned(struct vq_qemu_guest *guest)
{
    json_t *list = guest->migration->owned != NULL ? json_loads(guest->migration->owned, 0, NULL) : NULL;

    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *entry = json_array_get(list, i);
        const char *path = json_string_value(json_array_get(entry, 0));

        for (size_t k = 0; path != NULL && guest->live != NULL && k < guest->live->devices.n_disks; k++)
            if (vq_streq(guest->live->devices.disks[k]->source.path, path))
                add_owned(guest, path, json_integer_value(json_array_get(entry, 1)),
                          json_integer_value(json_array_get(entry, 2)));
    }
    json_decref(list);
}

static void record(struct vq_qemu_guest *guest)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_qemu_record_write(guest, &err) < 0)
        vq_log(WARN, "guest.record", "domain=%s: %s, going on with the older record", guest->name, err.message);
}

static void publish_arrival(struct vq_qemu_guest *guest, bool runs, bool is_postcopy)
{
    static const struct vq_qemu_event early[] = { { VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_MIGRATED },
                                                  { VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_POSTCOPY } };
    static const struct vq_qemu_event running[] = { { VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_MIGRATED },
                                                    { VIR_DOMAIN_EVENT_RESUMED, VIR_DOMAIN_EVENT_RESUMED_MIGRATED } };
    static const struct vq_qemu_event paused[] = { { VIR_DOMAIN_EVENT_STARTED, VIR_DOMAIN_EVENT_STARTED_MIGRATED },
                                                   { VIR_DOMAIN_EVENT_SUSPENDED, VIR_DOMAIN_EVENT_SUSPENDED_PAUSED } };

    vq_qemu_guest_publish(guest, !runs ? paused : is_postcopy ? early : running, 2);
}

/* Everything that can wait until the CPUs run. */
static void arrived(struct vq_qemu_guest *guest, const struct vq_error *err)
{
    struct vq_incoming *incoming = vq_incoming_of(guest);
    bool runs = err == NULL && (guest->migration->options.flags & VIR_MIGRATE_PAUSED) == 0;
    struct vq_migration *migration = guest->migration;
    bool goes_on = incoming->is_postcopy && !incoming->is_loaded;

    if (err != NULL)
        vq_log(ERROR, "migrate.in", "domain=%s: it is this node's now, but its CPUs do not run: %s", guest->name,
               err->message);
    take_owned(guest);
    vq_migrate_disks_keep_created(guest);
    migration->taken_from = 0;
    guest->is_booted = true;
    guest->start_paused = false;
    if (guest->state == VIR_DOMAIN_PAUSED) { /* it may have ended meanwhile */
        guest->state = runs ? VIR_DOMAIN_RUNNING : VIR_DOMAIN_PAUSED;
        guest->reason = runs ? (uint8_t)(goes_on ? VIR_DOMAIN_RUNNING_POSTCOPY : VIR_DOMAIN_RUNNING_MIGRATED)
                        : err != NULL ? (uint8_t)VIR_DOMAIN_PAUSED_MIGRATION : (uint8_t)VIR_DOMAIN_PAUSED_USER;
    }
    guest->arrived_ms = guest->qemu->host->time_ms();
    guest->completed = (struct vq_qemu_completed){ .is_set = true, .success = true, .type = VIR_DOMAIN_JOB_COMPLETED,
                                                   .operation = VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN };
    publish_arrival(guest, runs, goes_on);
    if (goes_on) {
        migration->stage = VQ_MIGRATE_POSTCOPY;
        record(guest);
        vq_incoming_answer_finish(incoming, err);
        return;
    }
    vq_incoming_forget_key(guest);
    vq_qemu_ports_keep_displays(guest);
    guest->migration = NULL;
    record(guest);
    (void)VQ_FAILPOINT("qemu.migrate.in.arrived");
    vq_log(INFO, "migrate.in", "domain=%s id=%d: it has arrived", guest->name, guest->id);
    vq_incoming_answer_finish(incoming, err);
    vq_migration_free(migration);
}

static void cont_answered(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;

    (void)reply;
    if (!vq_migrate_is_incoming(guest))
        return;
    if (err != NULL && (guest->phase != VQ_GUEST_ACTIVE || guest->qmp == NULL || vq_qmp_is_broken(guest->qmp)))
        return; /* QEMU has ended, or its monitor comes again: vq_migrate_found() */
    arrived(guest, err);
}

static void unserved(struct vq_qemu_guest *guest, const struct vq_error *err)
{
    if (err != NULL)
        vq_log(WARN, "migrate.in", "domain=%s: its images are served still: %s", guest->name, err->message);
}

void vq_incoming_arrive(struct vq_qemu_guest *guest)
{
    guest->run = guest->migration->peer != 0 ? guest->migration->run : guest->run;
    guest->is_claimed = guest->is_published = true;
    if (guest->phase != VQ_GUEST_ACTIVE)
        vq_qemu_guest_set_phase(guest, VQ_GUEST_ACTIVE);
    (void)VQ_FAILPOINT("qemu.migrate.in.ours");
    if (guest->migration->peer == 0) { /* no log tells a later daemon that it is to run */
        guest->is_booted = true;
        record(guest);
    }
    if (vq_migrate_disks_asked(&guest->migration->options))
        vq_migrate_disks_unserve(guest, unserved); /* before the CPUs run: QEMU does one after the other */
    if ((guest->migration->options.flags & VIR_MIGRATE_PAUSED) != 0)
        arrived(guest, NULL);
    else
        (void)vq_qmp_call(guest->qmp, "cont", NULL, VQ_QMP_TIMEOUT_MS, cont_answered, guest);
}

/* ---- Post-copy: it runs here, and pages still come ---- */

static void postcopy_over(struct vq_qemu_guest *guest)
{
    struct vq_migration *migration = guest->migration;

    vq_incoming_forget_key(guest);
    vq_qemu_ports_keep_displays(guest);
    (void)uv_timer_stop(vq_incoming_of(guest)->timer);
    guest->migration = NULL;
    vq_log(INFO, "migrate.in", "domain=%s id=%d: all of it has arrived", guest->name, guest->id);
    if (guest->state == VIR_DOMAIN_RUNNING)
        vq_qemu_guest_set_state(guest, VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_MIGRATED, VIR_DOMAIN_EVENT_RESUMED,
                                VIR_DOMAIN_EVENT_RESUMED_MIGRATED);
    else
        record(guest);
    vq_incoming_resumed(guest, NULL);
    vq_migration_free(migration);
}

static void tell_failed(struct vq_qemu_guest *guest)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)uv_timer_stop(vq_incoming_of(guest)->timer);
    vq_incoming_of(guest)->listens_again = false;
    (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "migration out job: post-copy failed");
    vq_incoming_resumed(guest, &err);
}

static void resume_late(uv_timer_t *timer)
{
    struct vq_incoming *incoming = timer->data;

    if (incoming->guest->migration->stage == VQ_MIGRATE_POSTCOPY_FAILED)
        tell_failed(incoming->guest);
}

void vq_incoming_wait_for_resume(struct vq_qemu_guest *guest, uint64_t ms)
{
    (void)uv_timer_start(vq_incoming_of(guest)->timer, resume_late, ms, 0);
}

/* CPUs that miss a page wait for it; the others run on. */
static void postcopy_failed(struct vq_qemu_guest *guest)
{
    guest->migration->stage = VQ_MIGRATE_POSTCOPY_FAILED;
    vq_log(WARN, "migrate.in", "domain=%s: the connection to its memory is lost; it is resumed with the flag for it",
           guest->name);
    if (guest->state == VIR_DOMAIN_RUNNING)
        vq_qemu_guest_set_state(guest, VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_POSTCOPY_FAILED, VIR_DOMAIN_EVENT_RESUMED,
                                VIR_DOMAIN_EVENT_RESUMED_POSTCOPY_FAILED);
    else
        record(guest);
}

void vq_incoming_postcopy_status(struct vq_qemu_guest *guest, const char *status)
{
    if (vq_streq(status, "completed")) {
        postcopy_over(guest);
    } else if (vq_streq(status, "postcopy-paused") && guest->migration->stage == VQ_MIGRATE_POSTCOPY) {
        postcopy_failed(guest);
        tell_failed(guest);
    } else if (vq_streq(status, "postcopy-paused")) { /* again, before it went on */
        tell_failed(guest);
    } else if (vq_streq(status, "postcopy-active") && guest->migration->stage == VQ_MIGRATE_POSTCOPY_FAILED) {
        guest->migration->stage = VQ_MIGRATE_POSTCOPY;
        (void)uv_timer_stop(vq_incoming_of(guest)->timer);
        if (guest->state == VIR_DOMAIN_RUNNING)
            vq_qemu_guest_set_state(guest, VIR_DOMAIN_RUNNING, VIR_DOMAIN_RUNNING_POSTCOPY, VIR_DOMAIN_EVENT_RESUMED,
                                    VIR_DOMAIN_EVENT_RESUMED_POSTCOPY);
    }
}
