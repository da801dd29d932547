/* The guest in memory: list, phases, state. See guest.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/guest.h"

#include <assert.h>
#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/agent.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/console.h"
#include "drivers/qemu/migrate.h"
#include "drivers/qemu/process.h"
#include "drivers/qemu/qmp.h"
#include "drivers/qemu/start.h"
#include "drivers/qemu/restore.h"
#include "drivers/qemu/save.h"
#include "drivers/qemu/tap.h"

#define TO(phase) (1u << VQ_GUEST_##phase)

static const struct {
    const char *name;
    unsigned next;
} phases[VQ_GUEST_PHASES] = {
    [VQ_GUEST_NEW] = { "new", TO(STARTING) | TO(FOUND) | TO(STOPPING) },
    [VQ_GUEST_STARTING] = { "starting", TO(ACTIVE) | TO(STOPPING) },
    [VQ_GUEST_ACTIVE] = { "active", TO(FOUND) | TO(STOPPING) },
    [VQ_GUEST_FOUND] = { "found", TO(ACTIVE) | TO(STOPPING) },
    [VQ_GUEST_STOPPING] = { "stopping", TO(ENDED) },
    [VQ_GUEST_ENDED] = { "ended", 0 },
};

const char *vq_qemu_phase_name(enum vq_qemu_phase phase)
{
    return phases[phase].name;
}

void vq_qemu_guest_set_phase(struct vq_qemu_guest *guest, enum vq_qemu_phase phase)
{
    assert(phase < VQ_GUEST_PHASES);
    assert((phases[guest->phase].next & (1u << phase)) != 0);
    vq_log(DEBUG, "guest.phase", "domain=%s from=%s to=%s", guest->name, phases[guest->phase].name, phases[phase].name);
    guest->phase = phase;
    if (phase == VQ_GUEST_ACTIVE)
        vq_agent_open(guest); /* where the channel was opened before */
    else if (phase == VQ_GUEST_STOPPING)
        vq_agent_close(guest);
}

struct vq_qemu_guest *vq_qemu_guest_find(struct vq_qemu *qemu, const uint8_t uuid[VQ_UUID_BYTES])
{
    for (struct vq_qemu_guest *guest = qemu->guests; guest != NULL; guest = guest->next)
        if (memcmp(guest->uuid, uuid, VQ_UUID_BYTES) == 0)
            return guest;
    return NULL;
}

struct vq_qemu_guest *vq_qemu_guest_find_run(struct vq_qemu *qemu, const uint8_t uuid[VQ_UUID_BYTES], uint64_t run)
{
    struct vq_qemu_guest *guest = vq_qemu_guest_find(qemu, uuid);

    return guest != NULL && guest->run == run ? guest : NULL;
}

struct vq_qemu_guest *vq_qemu_guest_new(struct vq_qemu *qemu, const uint8_t uuid[VQ_UUID_BYTES], const char *name)
{
    struct vq_qemu_guest *guest = vq_new(struct vq_qemu_guest);
    uv_timer_t *const timers[] = { &guest->job_timer, &guest->retry_timer, &guest->end_timer };

    guest->qemu = qemu;
    memcpy(guest->uuid, uuid, VQ_UUID_BYTES);
    vq_uuid_format(uuid, guest->uuid_text);
    guest->name = vq_strdup(name);
    guest->id = -1;
    guest->state = VIR_DOMAIN_SHUTOFF;
    guest->monitor_fd = guest->log_fd = guest->vsock_fd = -1;
    guest->agent_timeout = VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK;
    for (size_t i = 0; i < VQ_N_ELEMENTS(timers); i++) {
        (void)uv_timer_init(qemu->host->loop, timers[i]);
        timers[i]->data = guest;
        guest->open_handles++;
    }
    guest->next = qemu->guests;
    qemu->guests = guest;
    qemu->n_guests++;
    vq_qemu_completed_recall(guest);
    return guest;
}

static void guest_release(struct vq_qemu_guest *guest)
{
    vq_qemu_taps_done(guest);
    vq_qemu_ownership_done(guest);
    if (guest->monitor_fd >= 0)
        (void)close(guest->monitor_fd);
    if (guest->log_fd >= 0)
        (void)close(guest->log_fd);
    if (guest->vsock_fd >= 0)
        (void)close(guest->vsock_fd);
    vq_domain_free(guest->live);
    vq_qemu_capabilities_free(guest->caps);
    free(guest->name);
    free(guest->emulator);
    free(guest->dir);
    free(guest->vcpu_threads);
    json_decref(guest->status);
    free(guest);
}

static void handle_closed(uv_handle_t *handle)
{
    struct vq_qemu_guest *guest = VQ_CONTAINER_OF((uv_timer_t *)handle, struct vq_qemu_guest, retry_timer);

    guest_release(guest);
}

/* The order of closing callbacks is libuv's business, so one handle is closed after the other. */
static void end_timer_closed(uv_handle_t *handle)
{
    struct vq_qemu_guest *guest = VQ_CONTAINER_OF((uv_timer_t *)handle, struct vq_qemu_guest, end_timer);

    uv_close((uv_handle_t *)&guest->retry_timer, handle_closed);
}

static void job_timer_closed(uv_handle_t *handle)
{
    struct vq_qemu_guest *guest = VQ_CONTAINER_OF((uv_timer_t *)handle, struct vq_qemu_guest, job_timer);

    uv_close((uv_handle_t *)&guest->end_timer, end_timer_closed);
}

void vq_qemu_guest_free(struct vq_qemu_guest *guest)
{
    struct vq_qemu_guest **at = &guest->qemu->guests;

    assert(!guest->job.is_active || guest->qemu->stopping);
    while (*at != guest) {
        assert(*at != NULL);
        at = &(*at)->next;
    }
    *at = guest->next;
    guest->qemu->n_guests--;
    vq_qemu_completed_keep(guest);
    vq_migration_free(vq_take(guest->migration));
    vq_qemu_hook_drop(guest);
    vq_saving_free(vq_take(guest->saving));
    vq_restoring_free(vq_take(guest->restoring));
    vq_qemu_ticket_give_up(guest);
    vq_qemu_consoles_close(guest);
    vq_agent_close(guest);
    vq_qmp_free(guest->qmp);
    guest->qmp = NULL;
    vq_process_free(guest->process);
    guest->process = NULL;
    vq_qemu_helpers_done(guest);
    (void)uv_timer_stop(&guest->retry_timer);
    (void)uv_timer_stop(&guest->end_timer);
    (void)uv_timer_stop(&guest->job_timer);
    uv_close((uv_handle_t *)&guest->job_timer, job_timer_closed);
}

void vq_qemu_guest_publish(struct vq_qemu_guest *guest, const struct vq_qemu_event *events, size_t n_events)
{
    struct vq_state_report report = { .run = guest->run, .id = guest->id, .state = guest->state,
                                      .reason = guest->reason };

    assert(n_events <= VQ_N_ELEMENTS(report.events));
    memcpy(report.uuid, guest->uuid, VQ_UUID_BYTES);
    if (guest->live != NULL) {
        report.max_memory_kib = guest->live->memory_kib;
        report.memory_kib = guest->balloon_kib != 0 ? guest->balloon_kib : guest->live->current_memory_kib;
        report.vcpus = guest->live->current_vcpus;
    }
    for (size_t i = 0; i < n_events; i++) {
        report.events[i].event = events[i].event;
        report.events[i].detail = events[i].detail;
    }
    report.n_events = (uint8_t)n_events;
    guest->is_published = true;
    guest->qemu->host->publish(guest->qemu->driver, &report);
}

void vq_qemu_guest_set_state(struct vq_qemu_guest *guest, uint8_t state, uint8_t reason, int event, int detail)
{
    struct vq_qemu_event one = { .event = (uint8_t)event, .detail = (uint8_t)detail };
    struct vq_error err = VQ_ERROR_INIT;

    guest->state = state;
    guest->reason = reason;
    if (vq_qemu_record_write(guest, &err) < 0)
        vq_log(WARN, "guest.record", "domain=%s: %s, going on with the older record", guest->name, err.message);
    if (guest->is_published)
        vq_qemu_guest_publish(guest, &one, event < 0 ? 0 : 1);
}

struct vq_qemu_guest *vq_qemu_guest_of(struct vq_request *request)
{
    struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);
    struct vq_error err = VQ_ERROR_INIT;

    if (guest == NULL || guest->phase == VQ_GUEST_STARTING || guest->phase == VQ_GUEST_STOPPING) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "domain is not running");
    } else if (guest->phase != VQ_GUEST_ACTIVE) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "QEMU of domain '%s' does not respond: %s; it is tried again",
                           guest->name, guest->degraded);
    } else {
        return guest;
    }
    vq_request_fail(request, &err);
    return NULL;
}
