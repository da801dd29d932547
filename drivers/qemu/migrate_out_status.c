/* What QEMU says of its migration, and what follows: a step is over, the departure is given up, the CPUs have stopped. See migrate_out.h. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <string.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/migrate_out.h"
#include "drivers/qemu/migrate_tls.h"

/* ---- What QEMU says ---- */

static const struct {
    const char *word;
    enum vq_leaving_qemu state;
} statuses[] = {
    { "none", VQ_LEAVING_QEMU_NONE },           { "setup", VQ_LEAVING_QEMU_ACTIVE },
    { "wait-unplug", VQ_LEAVING_QEMU_ACTIVE },  { "active", VQ_LEAVING_QEMU_ACTIVE },
    { "pre-switchover", VQ_LEAVING_QEMU_PRE_SWITCHOVER }, { "device", VQ_LEAVING_QEMU_DEVICE },
    { "postcopy-active", VQ_LEAVING_QEMU_POSTCOPY }, { "postcopy-paused", VQ_LEAVING_QEMU_PAUSED },
    { "postcopy-recover", VQ_LEAVING_QEMU_RECOVER }, { "completed", VQ_LEAVING_QEMU_COMPLETED },
    { "failed", VQ_LEAVING_QEMU_FAILED },       { "cancelled", VQ_LEAVING_QEMU_CANCELLED },
};

/* The destination knows no more than that a connection ended, and a client prefers what it says to an operation that failed. */
static bool is_refused_by_tls(const struct vq_leaving *leaving)
{
    return vq_migrate_tls_asked(leaving->guest->migration) && !leaving->is_active &&
           leaving->qemu == VQ_LEAVING_QEMU_FAILED;
}

static void reason_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;
    struct vq_leaving *leaving = vq_leaving_of(guest);
    const char *why = json_string_value(json_object_get(reply, "error-desc"));
    struct vq_error own = leaving->failure;

    if (vq_leaving_is_lost(guest, err))
        return;
    if (own.code == VIR_ERR_OK)
        (void)vq_error_set(&own, is_refused_by_tls(leaving) ? VIR_ERR_AUTH_FAILED : VIR_ERR_OPERATION_FAILED,
                           "migration out job: %s", why != NULL ? why : "unexpectedly failed");
    vq_leaving_step_over(leaving, &own);
}

static void step_status(struct vq_leaving *leaving)
{
    switch (leaving->qemu) {
    case VQ_LEAVING_QEMU_PRE_SWITCHOVER:
        if (!leaving->is_switched)
            vq_leaving_step_over(leaving, NULL);
        break;
    case VQ_LEAVING_QEMU_COMPLETED:
        vq_leaving_step_over(leaving, NULL);
        break;
    case VQ_LEAVING_QEMU_FAILED:
    case VQ_LEAVING_QEMU_CANCELLED:
        (void)vq_leaving_ask(leaving, "query-migrate", NULL, -1, reason_known);
        break;
    default:
        break;
    }
}

void vq_leaving_status(struct vq_qemu_guest *guest, const char *status)
{
    struct vq_leaving *leaving = vq_leaving_of(guest);

    bool is_new = false;

    if (!leaving->is_told)
        return; /* of an earlier migration */
    leaving->is_active |= vq_streq(status, "active");
    for (size_t i = 0; i < VQ_N_ELEMENTS(statuses); i++) {
        if (vq_streq(statuses[i].word, status)) {
            is_new = statuses[i].state != leaving->qemu;
            leaving->qemu = statuses[i].state;
        }
    }
    if (leaving->job.is_active && !leaving->job.is_unwinding) {
        if (is_new)
            step_status(leaving);
    } else if (leaving->job.is_active && vq_streq(leaving->job.steps[leaving->job.cursor].name, "send") &&
               (!vq_leaving_is_at_work(leaving) || leaving->qemu == VQ_LEAVING_QEMU_NONE)) {
        (void)uv_timer_stop(&leaving->wait_timer);
        vq_leaving_undo_over(leaving);
    } else if (is_new && vq_leaving_serves(guest)) {
        vq_leaving_resume_status(leaving);
        vq_leaving_serve_status(guest);
    }
}

/* ---- Giving up ---- */

void vq_leaving_give_up(struct vq_qemu_guest *guest, const struct vq_error *why)
{
    struct vq_leaving *leaving = vq_leaving_of(guest);

    if (leaving->failure.code == VIR_ERR_OK)
        leaving->failure = *why;
    if (!leaving->job.is_active || leaving->job.is_unwinding)
        return;
    if (vq_leaving_may_be_gone(leaving))
        vq_leaving_cancel_move(guest);
    else if (leaving->job.is_waiting)
        vq_job_cancel(&leaving->job, &leaving->failure);
}

static void record(struct vq_qemu_guest *guest)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_qemu_record_write(guest, &err) < 0)
        vq_log(WARN, "guest.record", "domain=%s: %s, going on with the older record", guest->name, err.message);
}

void vq_leaving_tell_stopped(struct vq_qemu_guest *guest)
{
    struct vq_leaving *leaving = vq_leaving_of(guest);

    if (!leaving->has_stopped) {
        record(guest);
        return;
    }
    leaving->has_stopped = false;
    if (guest->state == VIR_DOMAIN_RUNNING || guest->state == VIR_DOMAIN_NOSTATE)
        vq_qemu_guest_set_state(guest, VIR_DOMAIN_PAUSED,
                                leaving->wants_postcopy ? VIR_DOMAIN_PAUSED_POSTCOPY : VIR_DOMAIN_PAUSED_MIGRATION,
                                VIR_DOMAIN_EVENT_SUSPENDED,
                                leaving->wants_postcopy ? VIR_DOMAIN_EVENT_SUSPENDED_POSTCOPY
                                                        : VIR_DOMAIN_EVENT_SUSPENDED_MIGRATED);
}
