/* A domain that is off and another node's becomes this node's when its guest comes from outside, and goes back when it does not come.
 *
 * The command names the generation that taking it has made, so it is applied once, however often it is proposed. It is proposed
 * until the log has answered, by a later daemon too: the guest's record is there until then. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "drivers/qemu/migrate_in.h"
#include "drivers/qemu/start.h"
#include "proto/cluster.pb-c.h"

void vq_incoming_change_owner(const struct vq_driver_host *host, const uint8_t uuid[VQ_UUID_BYTES], uint64_t from, uint64_t to,
                              uint64_t if_generation, vq_propose_cb cb, void *data)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainOwner owner = VQ__DOMAIN_OWNER__INIT;

    owner.uuid = (ProtobufCBinaryData){ .data = (uint8_t *)(uintptr_t)uuid, .len = VQ_UUID_BYTES };
    owner.from = from;
    owner.to = to;
    owner.if_generation = if_generation;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_OWNER;
    command.domain_owner = &owner;
    host->propose(&command, 0, cb, data);
}

static void propose(struct vq_qemu_guest *guest, vq_propose_cb cb, void *data)
{
    const struct vq_driver_host *host = guest->qemu->host;
    const struct vq_migration *migration = guest->migration;

    vq_incoming_change_owner(host, guest->uuid, host->node_id, migration->taken_from, migration->generation + 1, cb, data);
}

/* ---- Until it is known ---- */

/* Whose answer it is: the guest may be gone when it comes, and the driver may have stopped. */
struct asking {
    struct vq_driver *driver;
    uint8_t uuid[VQ_UUID_BYTES];
};

static void ask(struct vq_qemu_guest *guest);

static void ask_again(uv_timer_t *timer)
{
    struct vq_incoming *incoming = timer->data;

    ask(incoming->guest);
}

/* A refusal that leaves it this node's is one for now: the end of its run is on its way to the log. */
static bool is_still_ours(const struct vq_qemu_guest *guest)
{
    const struct vq_driver_host *host = guest->qemu->host;
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_domain_info info = { 0 };

    return host->domain_find(guest->uuid, false, arena, &info) && info.owner == host->node_id &&
           info.generation == guest->migration->generation + 1;
}

static void answered(const struct vq_proposal_result *result, const struct vq_error *err, void *data)
{
    struct asking *asking = data;
    struct vq_qemu *qemu = asking->driver->state;
    struct vq_qemu_guest *guest = qemu != NULL ? vq_qemu_guest_find(qemu, asking->uuid) : NULL;

    free(asking);
    if (guest == NULL || !vq_migrate_is_incoming(guest) || guest->migration->taken_from == 0 || !guest->job.is_unwinding)
        return;
    vq_incoming_of(guest)->is_asking = false;
    if (result == NULL && (err->from != VIR_FROM_DOMAIN || is_still_ours(guest))) {
        vq_log(WARN, "migrate.in", "domain=%s: it did not come, and is not given back yet: %s", guest->name, err->message);
        (void)uv_timer_start(vq_incoming_of(guest)->timer, ask_again, VQ_INCOMING_BACK_MS, 0);
        return;
    }
    if (result == NULL)
        vq_log(WARN, "migrate.in", "domain=%s: it did not come, and is not to be given back any more: %s", guest->name,
               err->message);
    guest->migration->taken_from = 0;
    vq_qemu_step_over(guest, NULL);
}

static void ask(struct vq_qemu_guest *guest)
{
    struct vq_incoming *incoming = vq_incoming_of(guest);
    struct asking *asking;

    if (incoming->is_asking)
        return;
    asking = vq_new(struct asking);
    asking->driver = guest->qemu->driver;
    memcpy(asking->uuid, guest->uuid, sizeof(asking->uuid));
    incoming->is_asking = true;
    propose(guest, answered, asking);
}

enum vq_step_result vq_incoming_give_back(struct vq_job *job)
{
    struct vq_qemu_guest *guest = vq_qemu_undoing(job);
    struct vq_incoming *incoming = vq_incoming_of(guest);

    if (guest->migration->taken_from == 0)
        return VQ_STEP_DONE;
    if (incoming->failure.code == VIR_ERR_OK)
        incoming->failure = job->error;
    vq_incoming_answer_end(incoming); /* nobody waits for the log */
    ask(guest);
    return guest->migration->taken_from != 0 ? VQ_STEP_WAIT : VQ_STEP_DONE;
}

/* ---- Without a record ---- */

static void given_back(const struct vq_proposal_result *result, const struct vq_error *err, void *data)
{
    (void)result;
    (void)data;
    if (err != NULL) /* it is off, and any node can take it: no more is lost than the place */
        vq_log(WARN, "migrate.in", "a domain that did not come stays this node's: %s", err->message);
}

void vq_incoming_give_back_once(struct vq_qemu_guest *guest)
{
    propose(guest, given_back, NULL);
}
