/* Disks that travel, as steps of a guest that leaves: migrate_disks.h does the work. */
#define VQ_FROM VIR_FROM_QEMU

#include <stdlib.h>

#include "conf/base/failpoint.h"
#include "conf/base/memory.h"
#include "drivers/qemu/migrate_disks.h"
#include "drivers/qemu/migrate_out.h"
#include "drivers/qemu/migrate_tls.h"

static void undone(struct vq_qemu_guest *guest, const struct vq_error *err)
{
    (void)err; /* logged there */
    vq_leaving_undo_over(vq_leaving_of(guest));
}

static void step_over(struct vq_qemu_guest *guest, const struct vq_error *err)
{
    vq_leaving_step_over(vq_leaving_of(guest), err);
}

/* The port is that of the cookie, or of the options; the host that of the data. */
static void offered(struct vq_qemu_guest *guest, const struct vq_error *err)
{
    struct vq_leaving *leaving = vq_leaving_of(guest);
    const struct vq_migrate_options *options = &guest->migration->options;
    VQ_AUTOFREE char *host = NULL, *path = NULL, *hostname = NULL;
    struct vq_error own = VQ_ERROR_INIT;
    uint16_t port = 0;

    if (!leaving->job.is_active || leaving->job.is_unwinding)
        return; /* given up meanwhile: its undo has taken the call-back's place */
    if (err == NULL && vq_migrate_uri_parse(options->disks_uri != NULL ? options->disks_uri : options->uri, &host, &port,
                                            &path, &own) < 0)
        err = &own;
    if (err != NULL) {
        vq_leaving_step_over(leaving, err);
        return;
    }
    if (options->disks_uri == NULL || port == 0)
        port = (uint16_t)(leaving->peer.nbd_port != 0 ? leaving->peer.nbd_port : options->disks_port);
    if (options->tls_destination != NULL || host == NULL) /* else QEMU expects the host that it connects to */
        hostname = vq_migrate_tls_hostname(guest->migration);
    const struct vq_migrate_disks_server server = { .host = host, .socket = path, .port = port,
                                                    .tls_creds = leaving->has_credentials ? VQ_LEAVING_CREDENTIALS : NULL,
                                                    .tls_hostname = hostname };

    vq_migrate_disks_copy(guest, options, &leaving->own, &server, step_over);
}

enum vq_step_result vq_leaving_disks_run(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;
    struct vq_qemu_guest *guest = leaving->guest;

    if (!vq_migrate_disks_asked(&guest->migration->options))
        return VQ_STEP_DONE;
    if (VQ_FAILPOINT("qemu.migrate.out.disks"))
        return vq_leaving_step_failed(job, "qemu.migrate.out.disks");
    vq_migrate_disks_offer(guest, &guest->migration->options, &leaving->own, offered);
    return VQ_STEP_WAIT;
}

enum vq_step_result vq_leaving_disks_undo(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;

    if (!vq_migrate_disks_asked(&leaving->guest->migration->options) || leaving->fate == VQ_LEAVING_GONE)
        return VQ_STEP_DONE;
    vq_migrate_disks_cancel(leaving->guest, undone);
    return VQ_STEP_WAIT;
}

enum vq_step_result vq_leaving_settle_run(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;

    if (!vq_migrate_disks_asked(&leaving->guest->migration->options))
        return VQ_STEP_DONE;
    if (VQ_FAILPOINT("qemu.migrate.out.settle"))
        return vq_leaving_step_failed(job, "qemu.migrate.out.settle");
    vq_migrate_disks_settle(leaving->guest, step_over);
    return VQ_STEP_WAIT;
}
