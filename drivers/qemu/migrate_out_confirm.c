/* Confirm: with a daemon outside the cluster the client says how a departure ends. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "drivers/qemu/migrate_out.h"
#include "proto/cluster.pb-c.h"

struct confirming {
    vq_migrate_cookie_cb cb;
    void *data;
};

static void undefined(const struct vq_proposal_result *result, const struct vq_error *err, void *data)
{
    struct confirming *confirming = data;

    (void)result;
    if (err != NULL)
        vq_log(WARN, "migrate.out", "the definition of a guest that has left stays: %s", err->message);
    confirming->cb(NULL, 0, NULL, confirming->data);
    free(confirming);
}

/* Nothing of the guest is left here. */
static void over(struct vq_qemu *qemu, const uint8_t uuid[VQ_UUID_BYTES], bool shall_undefine, vq_migrate_cookie_cb cb,
                         void *data)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainUndefine undefine = VQ__DOMAIN_UNDEFINE__INIT;
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_domain_info info = { 0 };
    struct confirming *confirming;

    if (!shall_undefine || !qemu->host->domain_find(uuid, false, arena, &info) || (info.flags & VQ_INFO_PERSISTENT) == 0 ||
        info.owner != qemu->host->node_id) {
        cb(NULL, 0, NULL, data);
        return;
    }
    confirming = vq_new(struct confirming);
    *confirming = (struct confirming){ cb, data };
    undefine.uuid = (ProtobufCBinaryData){ .data = (uint8_t *)(uintptr_t)uuid, .len = VQ_UUID_BYTES };
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_UNDEFINE;
    command.domain_undefine = &undefine;
    qemu->host->propose(&command, 0, undefined, confirming);
}

/* It runs there: what is here ends, and perhaps its definition too. */
static void confirm_gone(struct vq_qemu_guest *guest, struct vq_request *request, uint64_t flags, vq_migrate_cookie_cb cb,
                         void *data)
{
    struct vq_leaving *leaving = vq_leaving_of(guest);

    leaving->request = request;
    leaving->done = cb;
    leaving->data = data;
    leaving->is_confirmed = true;
    leaving->shall_undefine = (flags & VIR_MIGRATE_UNDEFINE_SOURCE) != 0;
    vq_qemu_activity_end(guest, VIR_DOMAIN_JOB_COMPLETED, NULL);
    guest->migration->stage = VQ_MIGRATE_OVER;
    vq_qemu_guest_end(guest, VIR_DOMAIN_SHUTOFF_MIGRATED, VIR_DOMAIN_EVENT_STOPPED_MIGRATED, true);
}

/* It does not run there: it runs on here, as after any failure. */
static void confirm_cancelled(struct vq_qemu_guest *guest, struct vq_request *request, vq_migrate_cookie_cb cb, void *data)
{
    struct vq_leaving *leaving = vq_leaving_of(guest);

    leaving->request = request;
    leaving->done = cb;
    leaving->data = data;
    leaving->is_confirmed = true;
    (void)vq_error_set(&leaving->failure, VIR_ERR_OPERATION_FAILED, "migration out job: the destination did not take it over");
    vq_job_unwind(&leaving->job, vq_leaving_steps, vq_n_leaving_steps, &leaving->job_timer, vq_leaving_done, leaving);
}

void vq_migrate_out_confirm(struct vq_request *request, const struct vq_migrate_options *options, const uint8_t *cookie,
                            uint32_t cookie_length, bool cancelled, vq_migrate_cookie_cb cb, void *data)
{
    struct vq_qemu *qemu = vq_qemu_of(request);
    struct vq_qemu_guest *guest = vq_qemu_guest_find(qemu, request->domain->uuid);
    struct vq_migrate_cookie peer = { 0 };
    struct vq_error err = VQ_ERROR_INIT;
    bool is_waiting = guest != NULL && vq_migrate_is_leaving(guest) && guest->migration->peer == 0;

    if (vq_migrate_cookie_read(cookie, cookie_length, &peer, &err) < 0 && !cancelled) {
        cb(NULL, 0, &err, data);
        return;
    }
    vq_migrate_cookie_done(&peer);
    if (is_waiting && guest->migration->stage == VQ_MIGRATE_SENT && !vq_leaving_of(guest)->job.is_active) {
        if (cancelled)
            confirm_cancelled(guest, request, cb, data);
        else
            confirm_gone(guest, request, options->flags, cb, data);
        return;
    }
    if (is_waiting && guest->migration->stage == VQ_MIGRATE_BEGUN)
        vq_leaving_drop(guest, VIR_DOMAIN_JOB_CANCELLED, NULL);
    cb(NULL, 0, NULL, data); /* between nodes the log has decided before */
}

void vq_leaving_confirmed(struct vq_leaving *leaving, const struct vq_migration *migration)
{
    leaving->request = NULL;
    over(leaving->guest->qemu, leaving->guest->uuid, leaving->shall_undefine && migration->stage == VQ_MIGRATE_OVER,
         leaving->done, leaving->data);
}
