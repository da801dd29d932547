/* The destination of a migration: prepare, what happens meanwhile, finish. See migrate_in.h. */
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
#include "drivers/qemu/define.h"
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

/* Nothing is left of it, or the daemon stops. */
static void answer_end(struct vq_incoming *incoming)
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
    answer_end(incoming);
    if (migration->taken_from != 0 && !incoming->guest->qemu->stopping)
        vq_incoming_give_back(incoming->guest, migration->taken_from);
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

/* Who we are, and for a node of the cluster the number of the run that it becomes. name: of the guest at the source.
 * capabilities: what QEMU answered when it was asked for them; NULL: that is not told. */
static int write_cookie(struct vq_qemu_guest *guest, const char *name, const json_t *capabilities, struct vq_arena *arena,
                        uint8_t **ret_bytes, uint32_t *ret_length, struct vq_error *err)
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
    VQ_AUTOFREE char *uri = NULL;

    if (asked != NULL && strncmp(asked, "tcp://", 6) == 0)
        uri = vq_asprintf(strchr(incoming->uri_host, ':') != NULL ? "tcp://[%s]:%u" : "tcp://%s:%u", incoming->uri_host,
                          incoming->port);
    else
        uri = vq_asprintf(strchr(incoming->uri_host, ':') != NULL ? "tcp:[%s]:%u" : "tcp:%s:%u", incoming->uri_host,
                          incoming->port);
    return vq_arena_strdup(arena, uri);
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
    if (err == NULL && write_cookie(incoming->guest, source_name(incoming), incoming->capabilities, request->arena, &bytes,
                                    &length, &own) < 0)
        err = &own;
    if (err == NULL)
        uri = uri_for_source(incoming, request->arena);
    incoming->prepared(uri, bytes, length, err, incoming->prepare_data);
}

/* The numbers are the source's; how long the CPUs stood still is known here, but for the difference of two clocks. */
static void take_stats(struct vq_qemu_guest *guest, const struct vq_migrate_cookie *cookie)
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
        take_stats(incoming->guest, &incoming->last);
    if (err == NULL && incoming->is_cancelled) {
        (void)vq_error_set(&own, VIR_ERR_OPERATION_INVALID,
                           "domain '%s' runs here already: its migration cannot be cancelled any more",
                           incoming->guest->name);
        err = &own;
    }
    if (err == NULL && write_cookie(incoming->guest, source_name(incoming), NULL, request->arena, &bytes, &length, &own) < 0)
        err = &own;
    incoming->finished(err == NULL ? incoming->guest : NULL, bytes, length, err, incoming->finish_data);
}

static void finish_late(uv_timer_t *timer)
{
    struct vq_incoming *incoming = timer->data;
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, VIR_ERR_OPERATION_TIMEOUT,
                       "whether domain '%s' runs here now is not known yet: the cluster has not decided",
                       incoming->guest->name);
    vq_incoming_answer_finish(incoming, &err);
}

/* ---- Failures that a finish asks for when nothing is left of the guest ---- */

enum { FAILURES_KEPT = 32 };

static struct failure {
    char *name;
    struct vq_error err;
} failures[FAILURES_KEPT];
static size_t next_failure;

static bool take_failure(const char *name, struct vq_error *ret_err)
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

    (void)take_failure(name, &older);
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
        vq_incoming_settle(guest);
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

    (void)take_failure(guest->name, &err); /* of an earlier attempt: nobody asks for it any more */
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
    if (vq_migrate_is_incoming(guest) && guest->migration->peer != 0 && (guest->migration->run != 0 || guest->migration->side != NULL))
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
    if (incoming->fate == VQ_INCOMING_OURS && !is_source)
        return; /* the rest is on its way, and there is no other place for the guest */
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

/* ---- finish ---- */

/* One finish as it comes. */
struct finishing {
    struct vq_request *request;
    const char *name;
    bool cancelled;
    vq_migrate_finish_cb cb;
    void *data;
    struct vq_migrate_cookie cookie;
};

static struct vq_qemu_guest *find_by_name(const struct vq_qemu *qemu, const char *name)
{
    for (struct vq_qemu_guest *guest = qemu->guests; guest != NULL; guest = guest->next)
        if (vq_streq(guest->name, name))
            return guest;
    return NULL;
}

/* ---- From outside: finish is the word that it is this node's ---- */

/* Whose answer it is: the guest may be gone when it comes, and the driver may have stopped. */
struct keeping {
    struct vq_driver *driver;
    uint8_t uuid[VQ_UUID_BYTES];
    uint64_t run;
};

static void let_it_run(struct vq_qemu_guest *guest)
{
    vq_incoming_of(guest)->may_run = true;
    if (guest->job.is_active && guest->job.is_waiting && !guest->job.is_unwinding &&
        guest->migration->stage == VQ_MIGRATE_LOADED)
        vq_job_resume(&guest->job, NULL);
}

static void kept(const struct vq_domain *definition, const struct vq_proposal_result *result, const struct vq_error *err,
                 void *data)
{
    struct keeping *keeping = data;
    struct vq_qemu *qemu = keeping->driver->state;
    struct vq_qemu_guest *guest = qemu != NULL ? vq_qemu_guest_find_run(qemu, keeping->uuid, keeping->run) : NULL;

    (void)definition;
    (void)result;
    free(keeping);
    if (guest == NULL || !vq_migrate_is_incoming(guest))
        return;
    if (err != NULL)
        vq_incoming_give_up(guest, err);
    else
        let_it_run(guest);
}

/* What is to be kept is defined before the CPUs run: a failure leaves the guest with its source. */
static void may_run(struct vq_qemu_guest *guest)
{
    static const struct vq_qemu_define_options options = { .persistent = true };
    const struct vq_incoming *incoming = vq_incoming_of(guest);
    const char *given = incoming->last.persistent_xml != NULL ? incoming->last.persistent_xml
                                                              : guest->migration->options.persistent_xml;
    VQ_AUTOFREE char *xml = NULL;
    VQ_AUTOPTR(vq_domain) definition = NULL;
    struct vq_error err = VQ_ERROR_INIT;
    struct keeping *keeping;

    if ((guest->migration->options.flags & VIR_MIGRATE_PERSIST_DEST) == 0) {
        let_it_run(guest);
        return;
    }
    if (given != NULL && vq_domain_parse(given, VQ_PARSE_INACTIVE, &definition, &err) < 0) {
        vq_incoming_give_up(guest, &err);
        return;
    }
    if (definition != NULL) { /* it is the same guest, whatever the text says */
        vq_set_text(&definition->name, guest->name);
        memcpy(definition->uuid, guest->uuid, sizeof(definition->uuid));
        definition->has_uuid = true;
    }
    xml = vq_domain_format(definition != NULL ? definition : guest->live, VQ_FORMAT_INACTIVE | VQ_FORMAT_SECURE);
    keeping = vq_new(struct keeping);
    *keeping = (struct keeping){ .driver = guest->qemu->driver, .run = guest->run };
    memcpy(keeping->uuid, guest->uuid, sizeof(keeping->uuid));
    vq_qemu_define_xml(guest->qemu, xml, &options, kept, keeping);
}

/* ---- Answers ---- */

/* It is not on its way any more: it has come, or it is not here. */
static void finish_over(struct finishing *finishing, struct vq_qemu_guest *guest)
{
    struct vq_error err = VQ_ERROR_INIT;
    uint8_t *bytes = NULL;
    uint32_t length = 0;

    if (guest != NULL && !finishing->cancelled) {
        take_stats(guest, &finishing->cookie);
        if (write_cookie(guest, guest->name, NULL, finishing->request->arena, &bytes, &length, &err) == 0) {
            finishing->cb(guest, bytes, length, NULL, finishing->data);
            return;
        }
    }
    if (guest != NULL && finishing->cancelled)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID,
                           "domain '%s' runs here already: its migration cannot be cancelled any more", guest->name);
    else if (guest == NULL && !take_failure(finishing->name, &err) && finishing->cancelled)
        (void)vq_error_set(&err, VIR_ERR_MIGRATE_FINISH_OK, "migration successfully aborted");
    else if (guest == NULL && err.code == VIR_ERR_OK)
        (void)vq_error_set(&err, VIR_ERR_NO_DOMAIN, "no domain with matching name '%s'", finishing->name);
    finishing->cb(NULL, NULL, 0, &err, finishing->data);
}

/* It waits here: the answer comes when it has arrived, or when nothing is left of it. */
static void finish_waits(struct finishing *finishing, struct vq_qemu_guest *guest)
{
    struct vq_incoming *incoming = vq_incoming_of(guest);
    struct vq_error err = VQ_ERROR_INIT;

    if (incoming->finish != NULL) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "the migration of domain '%s' is being finished already",
                           guest->name);
        finishing->cb(NULL, NULL, 0, &err, finishing->data);
        return;
    }
    incoming->finish = finishing->request;
    incoming->finished = finishing->cb;
    incoming->finish_data = finishing->data;
    vq_migrate_cookie_done(&incoming->last);
    incoming->last = finishing->cookie;
    finishing->cookie = (struct vq_migrate_cookie){ 0 };
    (void)uv_timer_start(incoming->finish_timer, finish_late, VQ_INCOMING_FINISH_MS, 0);
    if (finishing->cancelled) {
        incoming->is_cancelled = true;
        (void)vq_error_set(&err, VIR_ERR_OPERATION_ABORTED, "the migration of domain '%s' was cancelled", guest->name);
        if (incoming->fate != VQ_INCOMING_OURS)
            vq_incoming_give_up(guest, &err);
    } else if (guest->migration->peer == 0) {
        may_run(guest);
    }
}

void vq_migrate_in_finish(struct vq_request *request, const struct vq_migrate_options *options, const uint8_t *cookie,
                          uint32_t cookie_length, bool cancelled, vq_migrate_finish_cb cb, void *data)
{
    struct finishing finishing = { request, options->dname != NULL ? options->dname : "", cancelled, cb, data, { 0 } };
    struct vq_qemu_guest *guest = find_by_name(vq_qemu_of(request), finishing.name);
    struct vq_error err = VQ_ERROR_INIT;

    /* Who cancels has nothing to tell, and is not held up by what he tells. */
    if (!cancelled && vq_migrate_cookie_read(cookie, cookie_length, &finishing.cookie, &err) < 0)
        cb(NULL, NULL, 0, &err, data);
    else if (guest != NULL && vq_migrate_is_incoming(guest))
        finish_waits(&finishing, guest);
    else
        finish_over(&finishing, guest);
    vq_migrate_cookie_done(&finishing.cookie);
}
