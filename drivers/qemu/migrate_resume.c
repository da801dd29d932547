/* Post-copy between nodes has failed, and goes on.
 *
 * The guest runs here by then, so a client's begin and perform come to this node, which is the destination, and to no other. Begin
 * tells nothing that prepare here would need; prepare has QEMU listen anew; perform asks the node that has the missing memory to
 * connect (migrate_resume of proto/schema/node.table, migrate_out_resume.c) and ends when all of it has come.
 *
 *     client          this node                             the node that it came from
 *     begin    ─────►
 *     prepare  ─────► migrate-recover: QEMU listens
 *     perform  ─────► migrate_resume ─────────────────────► migrate-pause if need be; the key; migrate resume=true
 *                     postcopy-recover, postcopy-active ◄══ sends what is missing
 *              ◄───── completed: answered */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/migrate_in.h"
#include "proto/gen/node.h"

enum { ASK_MS = 30000, ACTIVE_MS = 30000 };

/* One perform, until it is answered. */
struct vq_resuming {
    struct vq_resuming *next;
    struct vq_qemu *qemu;
    uint8_t uuid[VQ_UUID_BYTES];
    struct vq_request *request;
    struct vq_peer *peer;    /* NULL: not open yet, or not any more */
    bool is_over;            /* was answered: the call-back that is still to come frees it */
    bool is_asking;          /* a call-back is still to come */
    char *uri;               /* where QEMU listens */
    vq_migrate_cookie_cb cb;
    void *data;
};

static struct vq_resuming *resumings;

static bool may_be_resumed(const struct vq_qemu_guest *guest)
{
    return guest != NULL && guest->migration != NULL && guest->migration->role == VQ_MIGRATE_IN &&
           guest->migration->peer != 0 && guest->migration->stage == VQ_MIGRATE_POSTCOPY_FAILED &&
           guest->phase == VQ_GUEST_ACTIVE;
}

static int refuse(const struct vq_request *request, struct vq_error *err)
{
    return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "migration of domain '%s' is not in post-copy recovery state",
                        request->domain->name);
}

/* ---- The end ---- */

static void resuming_free(struct vq_resuming *resuming)
{
    struct vq_resuming **link = &resumings;

    while (*link != resuming)
        link = &(*link)->next;
    *link = resuming->next;
    free(resuming->uri);
    free(resuming);
}

/* err NULL: all of it has come. */
static void over(struct vq_resuming *resuming, const struct vq_error *err)
{
    struct vq_peer *peer;
    bool is_asking = resuming->is_asking;

    if (resuming->is_over)
        return;
    peer = vq_take(resuming->peer);
    resuming->is_over = true;
    resuming->cb(NULL, 0, err, resuming->data);
    if (peer != NULL)
        peer->class->close(peer); /* calls back from inside when it was asked, and told() frees it then */
    if (!is_asking)
        resuming_free(resuming);
}

void vq_incoming_resumed(const struct vq_qemu_guest *guest, const struct vq_error *err)
{
    struct vq_resuming *next;

    for (struct vq_resuming *resuming = resumings; resuming != NULL; resuming = next) {
        next = resuming->next;
        if (memcmp(resuming->uuid, guest->uuid, sizeof(resuming->uuid)) == 0)
            over(resuming, err);
    }
}

/* ---- perform ---- */

static void told(const void *ret, const struct vq_error *err, void *data)
{
    struct vq_resuming *resuming = data;
    struct vq_qemu_guest *guest = vq_qemu_guest_find(resuming->qemu, resuming->uuid);

    (void)ret;
    resuming->is_asking = false;
    if (resuming->is_over)
        resuming_free(resuming);
    else if (err != NULL)
        over(resuming, err);
    else if (guest != NULL && may_be_resumed(guest)) /* QEMU has not said yet that it goes on */
        vq_incoming_wait_for_resume(guest, ACTIVE_MS);
}

static void opened(struct vq_peer *take_peer, const struct vq_error *err, void *data)
{
    struct vq_resuming *resuming = data;
    const struct vq_qemu_guest *guest = vq_qemu_guest_find(resuming->qemu, resuming->uuid);
    struct vq_node_migrate_resume_args args = { .uri = resuming->uri };
    struct vq_error own = VQ_ERROR_INIT;

    resuming->is_asking = false;
    resuming->peer = take_peer;
    if (resuming->is_over) {
        if (take_peer != NULL)
            take_peer->class->close(vq_take(resuming->peer));
        resuming_free(resuming);
        return;
    }
    if (take_peer == NULL || !may_be_resumed(guest)) {
        (void)refuse(resuming->request, &own);
        over(resuming, take_peer == NULL ? err : &own);
        return;
    }
    memcpy(args.uuid, guest->uuid, sizeof(args.uuid));
    args.run = guest->migration->run;
    resuming->is_asking = true;
    take_peer->class->call(take_peer, VQ_PROGRAM_NODE, VQ_NODE_MIGRATE_RESUME, &args, ASK_MS, told, resuming);
}

static void ask_source(struct vq_resuming *resuming, const struct vq_qemu_guest *guest, const char *uri)
{
    resuming->uri = vq_strdup(uri);
    resuming->is_asking = true;
    guest->qemu->host->peer_open_node(guest->migration->peer, resuming->request, opened, resuming);
}

static struct vq_resuming *resuming_new(struct vq_request *request, vq_migrate_cookie_cb cb, void *data)
{
    struct vq_resuming *resuming = vq_new(struct vq_resuming);

    *resuming = (struct vq_resuming){ .next = resumings, .qemu = vq_qemu_of(request), .request = request, .cb = cb,
                                      .data = data };
    memcpy(resuming->uuid, request->domain->uuid, sizeof(resuming->uuid));
    resumings = resuming;
    return resuming;
}

/* Peer to peer: nobody has asked QEMU to listen yet. */
static void listening(const char *uri, const uint8_t *cookie, uint32_t cookie_length, const struct vq_error *err, void *data)
{
    struct vq_resuming *resuming = data;
    const struct vq_qemu_guest *guest = vq_qemu_guest_find(resuming->qemu, resuming->uuid);
    struct vq_error own = VQ_ERROR_INIT;

    (void)cookie;
    (void)cookie_length;
    resuming->is_asking = false;
    if (err == NULL && !may_be_resumed(guest)) {
        (void)refuse(resuming->request, &own);
        err = &own;
    }
    if (resuming->is_over)
        resuming_free(resuming);
    else if (err != NULL)
        over(resuming, err);
    else
        ask_source(resuming, guest, uri);
}

void vq_migrate_resume_perform(struct vq_request *request, const struct vq_migrate_options *options,
                               vq_migrate_cookie_cb cb, void *data)
{
    struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);
    bool is_p2p = (options->flags & VIR_MIGRATE_PEER2PEER) != 0;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_resuming *resuming;
    VQ_AUTOFREE char *uri = NULL;

    if (!may_be_resumed(guest) || vq_incoming_of(guest)->prepare != NULL)
        (void)refuse(request, &err);
    else if (!is_p2p && !vq_incoming_of(guest)->listens_again)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "QEMU of domain '%s' does not listen for the rest of its memory: "
                           "prepare was not called on %s", guest->name, guest->qemu->host->node_name);
    for (resuming = resumings; resuming != NULL && err.code == VIR_ERR_OK; resuming = resuming->next)
        if (memcmp(resuming->uuid, request->domain->uuid, sizeof(resuming->uuid)) == 0)
            (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "domain '%s' is being resumed already", guest->name);
    if (err.code != VIR_ERR_OK) {
        cb(NULL, 0, &err, data);
        return;
    }
    resuming = resuming_new(request, cb, data);
    if (!is_p2p) {
        uri = vq_incoming_uri(guest);
        ask_source(resuming, guest, uri);
        return;
    }
    resuming->is_asking = true;
    vq_incoming_recover(guest, request, listening, resuming);
}

/* ---- begin ---- */

/* The definition is only for those who look at it, and the cookie is empty: prepare, here as well, would refuse one of this host. */
void vq_migrate_resume_begin(struct vq_request *request, vq_migrate_begin_cb cb, void *data)
{
    const struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOFREE char *xml = NULL;

    if (!may_be_resumed(guest) || guest->live == NULL) {
        (void)refuse(request, &err);
        cb(NULL, NULL, 0, &err, data);
        return;
    }
    xml = vq_domain_format(guest->live, VQ_FORMAT_SECURE | VQ_FORMAT_MIGRATABLE);
    cb(xml, NULL, 0, NULL, data);
}
