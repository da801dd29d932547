/* The destination of a migration: answers, and what happens meanwhile. See migrate_in.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/migrate_in.h"

#include <assert.h>
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/migrate_disks.h"
#include "drivers/qemu/migrate_qemu.h"
#include "drivers/qemu/migrate_side.h"
#include "drivers/qemu/qmp.h"

/* ---- The side ---- */

static void timer_closed(uv_handle_t *handle)
{
    free(handle);
}

static uv_timer_t *timer_new(struct vq_incoming *incoming)
{
    uv_timer_t *timer = vq_new(uv_timer_t);

    (void)uv_timer_init(incoming->guest->qemu->host->loop, timer);
    timer->data = incoming;
    return timer;
}

struct vq_incoming *vq_incoming_of(struct vq_qemu_guest *guest)
{
    struct vq_incoming *incoming = guest->migration->side;

    assert(guest->migration->role == VQ_MIGRATE_IN);
    if (incoming != NULL)
        return incoming;
    incoming = vq_new(struct vq_incoming);
    incoming->guest = guest;
    incoming->data_fd = -1;
    incoming->failure = VQ_ERROR_INIT;
    incoming->timer = timer_new(incoming);
    incoming->finish_timer = timer_new(incoming);
    guest->migration->side = incoming;
    return incoming;
}

void vq_incoming_answer_end(struct vq_incoming *incoming)
{
    struct vq_error err = incoming->failure;

    if (incoming->guest->qemu->stopping)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_ABORTED, "the daemon is stopping");
    else if (incoming->is_cancelled)
        (void)vq_error_set(&err, VIR_ERR_MIGRATE_FINISH_OK, "migration successfully aborted");
    else if (err.code == VIR_ERR_OK)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_ABORTED, "domain '%s' did not come", incoming->guest->name);
    vq_incoming_answer_prepare(incoming, &err);
    vq_incoming_answer_finish(incoming, &err);
}

static void side_free(struct vq_migration *migration)
{
    struct vq_incoming *incoming = vq_take(migration->side);

    if (incoming == NULL)
        return;
    vq_incoming_answer_end(incoming); /* nothing is left of it, or the daemon stops */
    if (migration->stage == VQ_MIGRATE_POSTCOPY || migration->stage == VQ_MIGRATE_POSTCOPY_FAILED) {
        struct vq_error err = VQ_ERROR_INIT;

        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "%s", incoming->guest->qemu->stopping
                           ? "the daemon is stopping" : "domain is not running");
        vq_incoming_resumed(incoming->guest, &err); /* who was answered already does not wait any more */
    }
    if (migration->taken_from != 0 && !incoming->guest->qemu->stopping)
        vq_incoming_give_back_once(incoming->guest);
    vq_migrate_cookie_done(&incoming->source);
    vq_migrate_cookie_done(&incoming->last);
    json_decref(incoming->capabilities);
    free(incoming->uri_host);
    if (incoming->data_fd >= 0)
        (void)close(incoming->data_fd);
    uv_close((uv_handle_t *)incoming->timer, timer_closed);
    uv_close((uv_handle_t *)incoming->finish_timer, timer_closed);
    free(incoming);
}

/* ---- Answers ---- */

static void fill_graphics(const struct vq_qemu_guest *guest, struct vq_migrate_cookie *cookie)
{
    static const char *const types[VQ_GRAPHICS_N] = { [VQ_GRAPHICS_VNC] = "vnc", [VQ_GRAPHICS_SPICE] = "spice" };

    for (size_t i = 0; i < guest->live->devices.n_graphics && cookie->graphics.type == NULL; i++) {
        const struct vq_graphics *graphics = guest->live->devices.graphics[i];

        if (types[graphics->type] == NULL)
            continue;
        cookie->graphics.type = vq_strdup(types[graphics->type]);
        cookie->graphics.listen = vq_strdup(graphics->listen != NULL ? graphics->listen : "");
        cookie->graphics.port = graphics->port > 0 ? graphics->port : 0;
        cookie->graphics.tls_port = graphics->tls_port > 0 ? graphics->tls_port : 0;
    }
}

int vq_incoming_write_cookie(struct vq_qemu_guest *guest, const char *name, const json_t *capabilities,
                             struct vq_arena *arena, uint8_t **ret_bytes, uint32_t *ret_length, struct vq_error *err)
{
    struct vq_migrate_cookie cookie = { 0 };
    int rc;

    vq_migrate_cookie_init(&cookie, guest->qemu, guest->uuid, name);
    if (guest->live != NULL)
        fill_graphics(guest, &cookie);
    cookie.run = guest->run;
    if (vq_migrate_is_incoming(guest) && vq_migrate_disks_asked(&guest->migration->options)) {
        cookie.has_nbd = true;
        cookie.nbd_port = vq_incoming_of(guest)->nbd_port;
    }
    vq_migrate_capabilities_to_cookie(capabilities, false, &cookie);
    rc = vq_migrate_cookie_write(&cookie, arena, ret_bytes, ret_length, err);
    vq_migrate_cookie_done(&cookie);
    return rc;
}

/* NULL when the caller named the whole of it himself. */
static const char *uri_for_source(const struct vq_incoming *incoming, struct vq_arena *arena)
{
    const char *asked = incoming->guest->migration->options.uri;
    VQ_AUTOFREE char *own = vq_incoming_uri(incoming->guest), *uri = NULL;

    if (own != NULL && asked != NULL && strncmp(asked, "tcp://", 6) == 0)
        uri = vq_asprintf("tcp://%s", own + strlen("tcp:"));
    return vq_arena_strdup(arena, uri != NULL ? uri : own);
}

static const char *source_name(const struct vq_incoming *incoming)
{
    return incoming->source.name != NULL ? incoming->source.name : incoming->guest->name;
}

void vq_incoming_answer_prepare(struct vq_incoming *incoming, const struct vq_error *err)
{
    struct vq_request *request = vq_take(incoming->prepare);
    struct vq_error own = VQ_ERROR_INIT;
    uint8_t *bytes = NULL;
    uint32_t length = 0;
    const char *uri = NULL;

    if (request == NULL)
        return;
    if (err == NULL && vq_incoming_write_cookie(incoming->guest, source_name(incoming), incoming->capabilities,
                                                request->arena, &bytes, &length, &own) < 0)
        err = &own;
    if (err == NULL)
        uri = uri_for_source(incoming, request->arena);
    incoming->prepared(uri, bytes, length, err, incoming->prepare_data);
}

void vq_incoming_take_stats(struct vq_qemu_guest *guest, const struct vq_migrate_cookie *cookie)
{
    struct vq_qemu_completed *completed = &guest->completed;
    uint64_t now_ms = guest->qemu->host->time_ms();

    if (cookie->stats == NULL || !completed->is_set || completed->operation != VIR_DOMAIN_JOB_OPERATION_MIGRATION_IN)
        return;
    completed->stats = *cookie->stats;
    if (cookie->stats_sent_ms != 0 && cookie->stats_sent_ms <= INT64_MAX && now_ms <= INT64_MAX) {
        completed->stats.delta_ms = (int64_t)now_ms - (int64_t)cookie->stats_sent_ms;
        completed->stats.has_delta = true;
    }
    if (completed->stats.stopped_ms != 0 && guest->arrived_ms > completed->stats.stopped_ms) {
        completed->stats.downtime_ms = guest->arrived_ms - completed->stats.stopped_ms;
        completed->stats.has_downtime = true;
    }
}

void vq_incoming_answer_finish(struct vq_incoming *incoming, const struct vq_error *err)
{
    struct vq_request *request = vq_take(incoming->finish);
    struct vq_error own = VQ_ERROR_INIT;
    uint8_t *bytes = NULL;
    uint32_t length = 0;

    if (request == NULL)
        return;
    (void)uv_timer_stop(incoming->finish_timer);
    if (err == NULL)
        vq_incoming_take_stats(incoming->guest, &incoming->last);
    if (err == NULL && incoming->is_cancelled) {
        (void)vq_error_set(&own, VIR_ERR_OPERATION_INVALID,
                           "domain '%s' runs here already: its migration cannot be cancelled any more",
                           incoming->guest->name);
        err = &own;
    }
    if (err == NULL && vq_incoming_write_cookie(incoming->guest, source_name(incoming), NULL, request->arena, &bytes,
                                                &length, &own) < 0)
        err = &own;
    incoming->finished(err == NULL ? incoming->guest : NULL, bytes, length, err, incoming->finish_data);
}

/* ---- Failures that a finish asks for when nothing is left of the guest ---- */

enum { FAILURES_KEPT = 32 };

static struct failure {
    char *name;
    struct vq_error err;
} failures[FAILURES_KEPT];
static size_t next_failure;

bool vq_incoming_take_failure(const char *name, struct vq_error *ret_err)
{
    for (size_t i = 0; i < FAILURES_KEPT; i++) {
        if (!vq_streq(failures[i].name, name))
            continue;
        *ret_err = failures[i].err;
        free(vq_take(failures[i].name));
        return true;
    }
    return false;
}

static void remember_failure(const char *name, const struct vq_error *err)
{
    struct failure *failure = &failures[next_failure++ % FAILURES_KEPT];
    struct vq_error older;

    (void)vq_incoming_take_failure(name, &older);
    free(failure->name);
    *failure = (struct failure){ .name = vq_strdup(name), .err = *err };
}

/* ---- The end, one way or the other ---- */

/* All steps are done: it is ours. Or all are undone, and nothing is left of it. */
static void incoming_done(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;
    struct vq_incoming *incoming = vq_incoming_of(guest);

    if (!job->is_unwinding) {
        vq_incoming_arrive(guest);
        return;
    }
    vq_log(WARN, "migrate.in", "domain=%s: it does not come: %s", guest->name, job->error.message);
    incoming->failure = job->error;
    if (incoming->finish == NULL && incoming->is_listening)
        remember_failure(guest->name, &job->error);
    vq_qemu_guest_finish(guest); /* answers: side_free() */
}

static void resume_with(struct vq_qemu_guest *guest)
{
    struct vq_incoming *incoming = vq_incoming_of(guest);
    struct vq_error err = incoming->failure;

    if (err.code == VIR_ERR_OK)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_ABORTED, "the source has cancelled the migration of domain '%s'",
                           guest->name);
    incoming->failure = err;
    if (incoming->fate == VQ_INCOMING_OURS && !guest->job.is_unwinding && !incoming->is_loaded && !incoming->is_postcopy)
        return; /* the source may ask for the commit before it sends the rest: QEMU says when it may run */
    if (guest->job.is_waiting && !guest->job.is_unwinding)
        vq_job_resume(&guest->job, incoming->fate == VQ_INCOMING_OURS ? NULL : &err);
    else if (guest->job.is_waiting && strcmp(guest->job.steps[guest->job.cursor].name, "take the right to come") == 0) {
        if (!vq_incoming_settle(guest))
            vq_job_resume(&guest->job, NULL);
    }
}

void vq_incoming_decided(struct vq_qemu_guest *guest)
{
    struct vq_incoming *incoming = vq_incoming_of(guest);

    if (guest->job.is_active)
        resume_with(guest); /* one that does not wait sees it when it comes so far */
    else if (incoming->fate == VQ_INCOMING_NOT_OURS)
        vq_qemu_guest_unwind(guest);
    else if (guest->qmp != NULL && vq_qmp_is_ready(guest->qmp) && guest->degraded[0] == '\0')
        vq_incoming_arrive(guest); /* else when its monitor answers: found() */
}

void vq_incoming_start(struct vq_qemu_guest *guest)
{
    struct vq_incoming *incoming = vq_incoming_of(guest);
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_incoming_take_failure(guest->name, &err); /* of an earlier attempt: nobody asks for it any more */
    err = VQ_ERROR_INIT;
    vq_qemu_guest_set_phase(guest, VQ_GUEST_STARTING);
    if (incoming->data_fd >= 0) {
        incoming->uri_host = vq_strdup("tunnel");
    } else if (vq_incoming_choose_host(guest, &incoming->uri_host, &err) < 0) {
        vq_incoming_answer_prepare(incoming, &err);
        vq_qemu_guest_set_phase(guest, VQ_GUEST_STOPPING);
        vq_qemu_guest_finish(guest);
        return;
    }
    vq_job_start(&guest->job, vq_qemu_incoming_steps, vq_qemu_n_incoming_steps, &guest->job_timer, incoming_done, guest);
}

void vq_incoming_give_up(struct vq_qemu_guest *guest, const struct vq_error *why)
{
    struct vq_incoming *incoming = vq_incoming_of(guest);

    if (guest->job.is_active && guest->job.is_unwinding)
        return;
    if (incoming->failure.code == VIR_ERR_OK)
        incoming->failure = *why;
    vq_log(INFO, "migrate.in", "domain=%s: given up: %s", guest->name, why->message);
    if (guest->migration->peer != 0 && incoming->is_listening && incoming->fate == VQ_INCOMING_OPEN)
        vq_incoming_cancel(guest);
    else if (guest->job.is_active && guest->job.is_waiting)
        vq_job_cancel(&guest->job, why);
}

/* ---- What happens meanwhile ---- */

static void status_changed(struct vq_qemu_guest *guest, const char *status)
{
    struct vq_incoming *incoming = vq_incoming_of(guest);
    struct vq_error err = VQ_ERROR_INIT;
    bool waits = guest->job.is_active && guest->job.is_waiting && !guest->job.is_unwinding && incoming->is_listening;

    if (vq_streq(status, "active")) {
        bool is_first = !incoming->has_data;

        incoming->has_data = true;
        if (waits && is_first && guest->migration->stage == VQ_MIGRATE_WAITING)
            vq_job_resume(&guest->job, NULL);
    } else if (vq_streq(status, "completed") && !incoming->is_loaded) {
        incoming->has_data = incoming->is_loaded = true;
        if (waits && guest->migration->stage != VQ_MIGRATE_LOADED)
            vq_job_resume(&guest->job, NULL);
    } else if (vq_streq(status, "postcopy-active") && !incoming->is_postcopy) {
        incoming->has_data = incoming->is_postcopy = true;
        if (waits && guest->migration->stage != VQ_MIGRATE_LOADED)
            vq_job_resume(&guest->job, NULL);
    } else if (vq_streq(status, "failed")) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "QEMU of the destination could not load domain '%s'",
                           guest->name);
        vq_incoming_give_up(guest, &err);
    }
}

/* What its CPUs do until it has arrived is known here, and told then. */
static bool in_event(struct vq_qemu_guest *guest, const char *name, const json_t *data)
{
    const char *status = json_string_value(json_object_get(data, "status"));

    if (strcmp(name, "MIGRATION") == 0) {
        if (vq_migrate_is_incoming(guest))
            status_changed(guest, status);
        else
            vq_incoming_postcopy_status(guest, status);
        return true;
    }
    if (!vq_migrate_is_incoming(guest))
        return false;
    return strcmp(name, "RESUME") == 0 || strcmp(name, "STOP") == 0;
}

static void in_changed(struct vq_qemu_guest *guest, const struct vq_domain_info *info)
{
    (void)info; /* is looked up again: whatever is applied by now counts */
    if (vq_migrate_is_incoming(guest) && guest->migration->peer != 0 &&
        (guest->migration->run != 0 || guest->migration->side != NULL))
        vq_incoming_look(guest);
}

static void in_session_ended(struct vq_qemu_guest *guest, uint64_t entry_node, uint64_t session)
{
    const struct vq_migration *migration = guest->migration;
    struct vq_incoming *incoming = vq_incoming_of(guest);
    bool is_callers = migration->entry_node == entry_node && (session == 0 || migration->session == session);
    bool is_source = session == 0 && migration->peer == entry_node && migration->peer != 0;
    struct vq_error err = VQ_ERROR_INIT;

    if ((!is_callers && !is_source) || guest->phase != VQ_GUEST_STARTING)
        return;
    /* All is here: between nodes it needs nobody's word any more. */
    if (incoming->is_loaded && migration->peer != 0)
        return;
    if (incoming->fate == VQ_INCOMING_OURS)
        return; /* the rest is on its way, and there is no other place for the guest: QEMU or the watch tells when it does not come */
    (void)vq_error_set(&err, VIR_ERR_OPERATION_ABORTED, is_source ? "the node that sends domain '%s' was lost"
                                                                 : "the client that migrated domain '%s' has gone away",
                       guest->name);
    vq_incoming_give_up(guest, &err);
}

/* The ordinary end of a guest does: its steps are those of an arrival, and the log is asked last. */
static bool in_exited(struct vq_qemu_guest *guest)
{
    (void)guest;
    return false;
}

/* ---- After a restart of the daemon ---- */

static void status_found(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;
    const char *status = json_string_value(json_object_get(reply, "status"));

    if (err == NULL && guest->migration != NULL && guest->migration->stage >= VQ_MIGRATE_POSTCOPY) {
        vq_incoming_postcopy_status(guest, status);
        return;
    }
    if (!vq_migrate_is_incoming(guest) || guest->phase != VQ_GUEST_FOUND || (err != NULL && vq_qmp_is_broken(guest->qmp)))
        return; /* it is asked again when the monitor is there again */
    if (vq_incoming_of(guest)->fate != VQ_INCOMING_OPEN)
        return;
    if (vq_streq(status, "completed")) {
        vq_incoming_of(guest)->is_loaded = true;
        vq_incoming_commit(guest);
    } else {
        vq_incoming_cancel(guest);
    }
}

static void in_found(struct vq_qemu_guest *guest)
{
    struct vq_incoming *incoming = vq_incoming_of(guest);

    if (!vq_migrate_is_incoming(guest)) {
        (void)vq_qmp_call(guest->qmp, "query-migrate", NULL, VQ_QMP_TIMEOUT_MS, status_found, guest);
        return;
    }
    incoming->is_listening = true;
    if (guest->migration->peer == 0) {
        if (guest->is_booted)
            vq_incoming_arrive(guest); /* finish had said so */
        else
            vq_qemu_guest_unwind(guest); /* the client's connection went with the earlier daemon */
        return;
    }
    if (incoming->fate == VQ_INCOMING_OPEN)
        vq_incoming_look(guest);
    else
        vq_incoming_decided(guest);
    if (guest->phase == VQ_GUEST_FOUND && incoming->fate == VQ_INCOMING_OPEN)
        (void)vq_qmp_call(guest->qmp, "query-migrate", NULL, VQ_QMP_TIMEOUT_MS, status_found, guest);
}

const struct vq_migrate_side vq_migrate_in_side = {
    .event = in_event,
    .changed = in_changed,
    .found = in_found,
    .session_ended = in_session_ended,
    .exited = in_exited,
    .side_free = side_free,
};
