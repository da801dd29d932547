/* The destination of a migration: finish, the client's or the source's word. See migrate_in.h. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/define.h"
#include "drivers/qemu/migrate_in.h"

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
        vq_incoming_take_stats(guest, &finishing->cookie);
        if (vq_incoming_write_cookie(guest, guest->name, NULL, finishing->request->arena, &bytes, &length, &err) == 0) {
            finishing->cb(guest, bytes, length, NULL, finishing->data);
            return;
        }
    }
    if (guest != NULL && finishing->cancelled)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID,
                           "domain '%s' runs here already: its migration cannot be cancelled any more", guest->name);
    else if (guest == NULL && !vq_incoming_take_failure(finishing->name, &err) && finishing->cancelled)
        (void)vq_error_set(&err, VIR_ERR_MIGRATE_FINISH_OK, "migration successfully aborted");
    else if (guest == NULL && err.code == VIR_ERR_OK)
        (void)vq_error_set(&err, VIR_ERR_NO_DOMAIN, "no domain with matching name '%s'", finishing->name);
    finishing->cb(NULL, NULL, 0, &err, finishing->data);
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
