/* The destination of a migration: prepare, what happens meanwhile, finish. See migrate_in.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/migrate_in.h"

#include <assert.h>
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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
    vq_migrate_cookie_done(&incoming->source);
    json_decref(incoming->capabilities);
    free(incoming->uri_host);
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

void vq_incoming_answer_finish(struct vq_incoming *incoming, const struct vq_error *err)
{
    struct vq_request *request = vq_take(incoming->finish);
    struct vq_error own = VQ_ERROR_INIT;
    uint8_t *bytes = NULL;
    uint32_t length = 0;

    if (request == NULL)
        return;
    (void)uv_timer_stop(incoming->finish_timer);
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
    if (guest->job.is_waiting && !guest->job.is_unwinding)
        vq_job_resume(&guest->job, incoming->fate == VQ_INCOMING_OURS ? NULL : &err);
    else if (guest->job.is_waiting && strcmp(guest->job.steps[guest->job.cursor].name, "take the right to come") == 0)
        vq_job_resume(&guest->job, NULL);
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
    } else if (vq_streq(status, "failed")) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "QEMU of the destination could not load domain '%s'",
                           guest->name);
        vq_incoming_give_up(guest, &err);
    }
}

/* What its CPUs do until it has arrived is known here, and told then. */
static bool in_event(struct vq_qemu_guest *guest, const char *name, const json_t *data)
{
    if (strcmp(name, "MIGRATION") == 0) {
        status_changed(guest, json_string_value(json_object_get(data, "status")));
        return true;
    }
    return strcmp(name, "RESUME") == 0 || strcmp(name, "STOP") == 0;
}

static void in_changed(struct vq_qemu_guest *guest, const struct vq_domain_info *info)
{
    (void)info; /* is looked up again: whatever is applied by now counts */
    if (guest->migration->peer != 0 && (guest->migration->run != 0 || guest->migration->side != NULL))
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

/* ---- prepare ---- */

/* One prepare until it has a guest. */
struct preparing {
    struct vq_request *request;
    struct vq_migrate_options options;
    struct vq_migrate_cookie cookie;
    struct vq_domain *live;
    uint64_t peer;
    uint64_t generation;
    vq_migrate_prepare_cb cb;
    void *data;
};

static void preparing_done(struct preparing *preparing)
{
    vq_migrate_options_done(&preparing->options);
    vq_migrate_cookie_done(&preparing->cookie);
    vq_domain_free(preparing->live);
    free(preparing);
}

static void refuse(struct preparing *preparing, const struct vq_error *err)
{
    preparing->cb(NULL, NULL, 0, err, preparing->data);
    preparing_done(preparing);
}

static int check_options(const struct vq_migrate_options *options, struct vq_error *err)
{
    if (options->dxml == NULL)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "no domain XML passed");
    if ((options->flags & (VIR_MIGRATE_TUNNELLED | VIR_MIGRATE_OFFLINE | VIR_MIGRATE_RDMA_PIN_ALL)) != 0)
        return vq_error_set(err, VIR_ERR_ARGUMENT_UNSUPPORTED, "this kind of migration is not supported here");
    return 0;
}

/* Names and UUIDs are unique among what runs here, whatever the log knows. */
static int check_free(const struct vq_qemu *qemu, const struct vq_domain *live, struct vq_error *err)
{
    for (const struct vq_qemu_guest *guest = qemu->guests; guest != NULL; guest = guest->next) {
        if (memcmp(guest->uuid, live->uuid, VQ_UUID_BYTES) == 0)
            return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "domain '%s' %s", live->name,
                                vq_migrate_is_incoming(guest) ? "is being migrated to this host already"
                                                              : "is active on this host");
        if (strcmp(guest->name, live->name) == 0)
            return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "domain '%s' already exists with uuid %s", live->name,
                                guest->uuid_text);
    }
    return 0;
}

/* From a node of this cluster: the domain is there, and that node is its owner. */
static int check_node(struct preparing *preparing, struct vq_error *err)
{
    const struct vq_qemu *qemu = vq_qemu_of(preparing->request);
    struct vq_domain_info info = { 0 };

    if (preparing->cookie.node == qemu->host->node_id)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "domain '%s' is on this node already", preparing->live->name);
    if (!qemu->host->domain_find(preparing->live->uuid, false, preparing->request->arena, &info))
        return vq_error_set(err, VIR_ERR_NO_DOMAIN, "domain '%s' is not known in this cluster", preparing->live->name);
    if (info.owner != preparing->cookie.node || info.id < 0)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "domain '%s' does not run on the node that sends it",
                            info.name);
    if (strcmp(info.name, preparing->live->name) != 0 ||
        (preparing->options.dname != NULL && strcmp(info.name, preparing->options.dname) != 0))
        return vq_error_set(err, VIR_ERR_ARGUMENT_UNSUPPORTED,
                            "domain '%s' keeps its name when it moves between nodes of a cluster", info.name);
    preparing->peer = info.owner;
    preparing->generation = info.generation;
    return 0;
}

static int read_definition(struct preparing *preparing, const uint8_t *cookie, uint32_t cookie_length, struct vq_error *err)
{
    if (vq_migrate_cookie_read(cookie, cookie_length, &preparing->cookie, err) < 0 ||
        vq_domain_parse(preparing->options.dxml, 0, &preparing->live, err) < 0)
        return -1;
    if (vq_migrate_cookie_check(&preparing->cookie, vq_qemu_of(preparing->request), preparing->live->uuid,
                                preparing->live->name, err) < 0)
        return -1;
    return vq_qemu_choose_emulator(vq_qemu_of(preparing->request), preparing->live, err) != NULL ? 0 : -1;
}

/* Everything is checked: the guest begins, and answers itself from now on. */
static void begin_arrival(struct preparing *preparing)
{
    struct vq_qemu *qemu = vq_qemu_of(preparing->request);
    struct vq_qemu_guest *guest = vq_qemu_guest_new(qemu, preparing->live->uuid, preparing->live->name);
    struct vq_migration *migration = vq_new(struct vq_migration);
    const struct vq_caller *caller = preparing->request->caller;
    struct vq_incoming *incoming;
    struct vq_error err = VQ_ERROR_INIT;

    migration->role = VQ_MIGRATE_IN;
    migration->stage = VQ_MIGRATE_WAITING;
    vq_migrate_options_copy(&migration->options, &preparing->options);
    migration->peer = preparing->peer;
    migration->generation = preparing->generation;
    migration->entry_node = caller->entry_node;
    migration->session = caller->session;
    migration->owned = vq_strdup(preparing->cookie.owned);
    guest->migration = migration;
    guest->generation = preparing->generation;
    guest->live = vq_take(preparing->live);
    incoming = vq_incoming_of(guest);
    incoming->prepare = preparing->request;
    incoming->prepared = preparing->cb;
    incoming->prepare_data = preparing->data;
    incoming->source = preparing->cookie;
    preparing->cookie = (struct vq_migrate_cookie){ 0 };
    preparing_done(preparing);
    vq_qemu_guest_set_phase(guest, VQ_GUEST_STARTING);
    (void)take_failure(guest->name, &err); /* of an earlier attempt: nobody asks for it any more */
    err = VQ_ERROR_INIT;
    if (vq_incoming_choose_host(guest, &incoming->uri_host, &err) < 0) {
        vq_incoming_answer_prepare(incoming, &err);
        vq_qemu_guest_set_phase(guest, VQ_GUEST_STOPPING);
        vq_qemu_guest_finish(guest);
        return;
    }
    vq_job_start(&guest->job, vq_qemu_incoming_steps, vq_qemu_n_incoming_steps, &guest->job_timer, incoming_done, guest);
}

void vq_migrate_in_prepare(struct vq_request *request, const struct vq_migrate_options *options, const uint8_t *cookie,
                           uint32_t cookie_length, vq_migrate_prepare_cb cb, void *data)
{
    struct vq_qemu *qemu = vq_qemu_of(request);
    struct preparing *preparing = vq_new(struct preparing);
    struct vq_error err = VQ_ERROR_INIT;

    *preparing = (struct preparing){ .request = request, .cb = cb, .data = data };
    vq_migrate_options_copy(&preparing->options, options);
    if (check_options(options, &err) < 0 || read_definition(preparing, cookie, cookie_length, &err) < 0 ||
        check_free(qemu, preparing->live, &err) < 0) {
        refuse(preparing, &err);
        return;
    }
    if (!vq_migrate_cookie_is_ours(&preparing->cookie, qemu)) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_UNSUPPORTED, "only nodes of this cluster can send domains here");
        refuse(preparing, &err);
    } else if (check_node(preparing, &err) < 0) {
        refuse(preparing, &err);
    } else {
        begin_arrival(preparing);
    }
}

/* ---- finish ---- */

static struct vq_qemu_guest *find_by_name(const struct vq_qemu *qemu, const char *name)
{
    for (struct vq_qemu_guest *guest = qemu->guests; guest != NULL; guest = guest->next)
        if (vq_streq(guest->name, name))
            return guest;
    return NULL;
}

/* It is not on its way any more: it has come, or it is not here. */
static void finish_over(struct vq_request *request, struct vq_qemu_guest *guest, const char *name, bool cancelled,
                        vq_migrate_finish_cb cb, void *data)
{
    struct vq_error err = VQ_ERROR_INIT;
    uint8_t *bytes = NULL;
    uint32_t length = 0;

    if (guest != NULL && !cancelled && write_cookie(guest, guest->name, NULL, request->arena, &bytes, &length, &err) == 0) {
        cb(guest, bytes, length, NULL, data);
        return;
    }
    if (guest != NULL && cancelled)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID,
                           "domain '%s' runs here already: its migration cannot be cancelled any more", name);
    else if (guest == NULL && !take_failure(name, &err) && cancelled)
        (void)vq_error_set(&err, VIR_ERR_MIGRATE_FINISH_OK, "migration successfully aborted");
    else if (guest == NULL && err.code == VIR_ERR_OK)
        (void)vq_error_set(&err, VIR_ERR_NO_DOMAIN, "no domain with matching name '%s'", name);
    cb(NULL, NULL, 0, &err, data);
}

void vq_migrate_in_finish(struct vq_request *request, const struct vq_migrate_options *options, const uint8_t *cookie,
                          uint32_t cookie_length, bool cancelled, vq_migrate_finish_cb cb, void *data)
{
    const char *name = options->dname != NULL ? options->dname : "";
    struct vq_qemu_guest *guest = find_by_name(vq_qemu_of(request), name);
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_incoming *incoming;

    (void)cookie;
    (void)cookie_length;
    if (guest == NULL || !vq_migrate_is_incoming(guest)) {
        finish_over(request, guest, name, cancelled, cb, data);
        return;
    }
    incoming = vq_incoming_of(guest);
    if (incoming->finish != NULL) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "the migration of domain '%s' is being finished already", name);
        cb(NULL, NULL, 0, &err, data);
        return;
    }
    incoming->finish = request;
    incoming->finished = cb;
    incoming->finish_data = data;
    (void)uv_timer_start(incoming->finish_timer, finish_late, VQ_INCOMING_FINISH_MS, 0);
    if (cancelled) {
        incoming->is_cancelled = true;
        (void)vq_error_set(&err, VIR_ERR_OPERATION_ABORTED, "the migration of domain '%s' was cancelled", name);
        vq_incoming_give_up(guest, &err);
    }
}
