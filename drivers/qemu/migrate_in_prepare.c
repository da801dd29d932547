/* The destination is asked to prepare: everything is checked before anything is made.
 *
 * From a node of this cluster the domain is there already, and belongs to that node. From a daemon outside it is made here first,
 * transient and this node's; or it is there and off, since it comes back, and becomes this node's if it was another's. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/define.h"
#include "drivers/qemu/migrate_check.h"
#include "drivers/qemu/migrate_facts.h"
#include "drivers/qemu/migrate_in.h"
#include "proto/cluster.pb-c.h"

/* One prepare until it has a guest. */
struct preparing {
    struct preparing *next;
    struct vq_request *request;
    struct vq_migrate_options options;
    struct vq_migrate_cookie cookie;
    struct vq_domain *live;
    uint64_t peer;           /* 0: from outside */
    uint64_t owner;          /* from outside: of the domain that is off; 0: there is none yet */
    uint64_t generation;
    bool is_abandoned;       /* whoever asked has gone away */
    int data_fd;             /* of a tunnel, -1: none */
    vq_migrate_prepare_cb cb;
    void *data;
};

/* All that wait for something, so that they learn of the end of their client's connection. */
static struct preparing *all_preparing;

static void preparing_done(struct preparing *preparing)
{
    struct preparing **link = &all_preparing;

    while (*link != preparing)
        link = &(*link)->next;
    *link = preparing->next;
    vq_migrate_options_done(&preparing->options);
    vq_migrate_cookie_done(&preparing->cookie);
    vq_domain_free(preparing->live);
    if (preparing->data_fd >= 0)
        (void)close(preparing->data_fd);
    free(preparing);
}

static void refuse(struct preparing *preparing, const struct vq_error *err)
{
    preparing->cb(NULL, NULL, 0, err, preparing->data);
    preparing_done(preparing);
}

void vq_incoming_prepare_session_ended(uint64_t entry_node, uint64_t session)
{
    for (struct preparing *preparing = all_preparing; preparing != NULL; preparing = preparing->next) {
        const struct vq_caller *caller = preparing->request->caller;

        if (caller->entry_node == entry_node && (session == 0 || caller->session == session))
            preparing->is_abandoned = true;
    }
}

/* ---- Checks ---- */

static int check_options(const struct vq_migrate_options *options, struct vq_error *err)
{
    if (options->dxml == NULL)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "no domain XML passed");
    if ((options->flags & VIR_MIGRATE_TUNNELLED) != 0)
        return vq_error_set(err, VIR_ERR_ARGUMENT_UNSUPPORTED, "tunnelled migration is not supported");
    if (options->dname != NULL && !vq_name_is_component(options->dname))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' cannot be the name of a domain", options->dname);
    return 0;
}

static int read_definition(struct preparing *preparing, const uint8_t *cookie, uint32_t cookie_length, struct vq_error *err)
{
    struct vq_qemu *qemu = vq_qemu_of(preparing->request);

    if (vq_migrate_cookie_read(cookie, cookie_length, &preparing->cookie, err) < 0 ||
        vq_domain_parse(preparing->options.dxml, 0, &preparing->live, err) < 0)
        return -1;
    if (!preparing->live->has_uuid)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "the XML of the guest has no UUID");
    if (vq_migrate_cookie_check(&preparing->cookie, qemu, preparing->live->uuid, preparing->live->name, err) < 0)
        return -1;
    return vq_qemu_choose_emulator(qemu, preparing->live, err) != NULL ? 0 : -1;
}

/* Names and UUIDs are unique among what runs here, whatever the log knows. */
static int check_free(const struct preparing *preparing, struct vq_error *err)
{
    const struct vq_qemu *qemu = vq_qemu_of(preparing->request);
    const struct vq_domain *live = preparing->live;
    const char *name = preparing->options.dname != NULL ? preparing->options.dname : live->name;

    for (const struct vq_qemu_guest *guest = qemu->guests; guest != NULL; guest = guest->next) {
        if (memcmp(guest->uuid, live->uuid, VQ_UUID_BYTES) == 0)
            return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "domain '%s' %s", live->name,
                                vq_migrate_is_incoming(guest) ? "is being migrated to this host already"
                                                              : "is active on this host");
        if (strcmp(guest->name, name) == 0)
            return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "domain '%s' already exists with uuid %s", name,
                                guest->uuid_text);
    }
    return qemu->stopping ? vq_error_set(err, VIR_ERR_OPERATION_INVALID, "the daemon is stopping") : 0;
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
    if (strcmp(info.name, preparing->live->name) != 0)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "the XML is not that of domain '%s'", info.name);
    preparing->peer = info.owner;
    preparing->generation = info.generation;
    return 0;
}

/* A node without the others may start its own guests: whether the domain is off there is known only while it is heard of. */
static int check_owner(const struct vq_qemu *qemu, const struct vq_domain_info *info, struct vq_error *err)
{
    const char *owner = qemu->host->node_name_of(info->owner);

    if (info->owner == qemu->host->node_id || qemu->host->node_is_online(info->owner))
        return 0;
    return vq_error_set(err, VIR_ERR_OPERATION_INVALID,
                        "domain '%s' is defined on %s, which is not reachable: bring that node back, or undefine the domain",
                        info->name, owner != NULL ? owner : "another node");
}

/* From outside: 1 the domain is there and off; 0 there is none of this name and UUID; -1 something stands against it. */
static int check_outside(struct preparing *preparing, struct vq_error *err)
{
    const struct vq_qemu *qemu = vq_qemu_of(preparing->request);
    const struct vq_domain *live = preparing->live;
    struct vq_domain_info info = { 0 };
    char uuid[VQ_UUID_TEXT];

    if (!qemu->host->domain_find(live->uuid, false, preparing->request->arena, &info)) {
        if (!qemu->host->domain_find_by_name(preparing->request->driver, live->name, preparing->request->arena, &info))
            return 0;
        vq_uuid_format(info.uuid, uuid);
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "domain '%s' already exists with uuid %s", live->name, uuid);
    }
    vq_uuid_format(info.uuid, uuid);
    if (strcmp(info.name, live->name) != 0)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "domain '%s' is already defined with uuid %s", info.name, uuid);
    if (info.id >= 0 || (info.flags & VQ_INFO_CLAIMED) != 0)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "domain '%s' is already active", info.name);
    if ((info.flags & VQ_INFO_PERSISTENT) == 0)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "domain '%s' is being created on another node", info.name);
    if (check_owner(qemu, &info, err) < 0)
        return -1;
    preparing->owner = info.owner;
    preparing->generation = info.generation;
    return 1;
}

/* ---- The guest begins ---- */

/* Everything is checked: the guest answers itself from now on. */
static void begin_arrival(struct preparing *preparing)
{
    bool is_abandoned = preparing->is_abandoned;
    struct vq_qemu *qemu = vq_qemu_of(preparing->request);
    const char *name = preparing->options.dname != NULL ? preparing->options.dname : preparing->live->name;
    struct vq_qemu_guest *guest = vq_qemu_guest_new(qemu, preparing->live->uuid, name);
    struct vq_migration *migration = vq_new(struct vq_migration);
    const struct vq_caller *caller = preparing->request->caller;
    uint8_t uuid[VQ_UUID_BYTES];
    struct vq_incoming *incoming;
    struct vq_error err = VQ_ERROR_INIT;

    memcpy(uuid, guest->uuid, sizeof(uuid));
    migration->role = VQ_MIGRATE_IN;
    migration->stage = VQ_MIGRATE_WAITING;
    vq_migrate_options_copy(&migration->options, &preparing->options);
    migration->peer = preparing->peer;
    migration->generation = preparing->generation;
    if (preparing->owner != 0 && preparing->owner != qemu->host->node_id)
        migration->taken_from = preparing->owner;
    migration->entry_node = caller->entry_node;
    migration->session = caller->session;
    migration->owned = vq_strdup(preparing->cookie.owned);
    guest->migration = migration;
    guest->generation = preparing->generation;
    guest->live = vq_take(preparing->live);
    vq_set_text(&guest->live->name, guest->name);
    incoming = vq_incoming_of(guest);
    incoming->prepare = preparing->request;
    incoming->prepared = preparing->cb;
    incoming->prepare_data = preparing->data;
    incoming->source = preparing->cookie;
    incoming->data_fd = preparing->data_fd;
    preparing->data_fd = -1;
    preparing->cookie = (struct vq_migrate_cookie){ 0 };
    preparing_done(preparing);
    vq_incoming_start(guest);
    if (!is_abandoned || (guest = vq_qemu_guest_find(qemu, uuid)) == NULL)
        return;
    (void)vq_error_set(&err, VIR_ERR_OPERATION_ABORTED, "the client that migrates domain '%s' has gone away", guest->name);
    vq_incoming_give_up(guest, &err); /* its domain was made or taken over already: undoing that is undoing all */
}

static void defined(const struct vq_domain *definition, const struct vq_proposal_result *result,
                    const struct vq_error *err, void *data)
{
    struct preparing *preparing = data;
    struct vq_qemu *qemu = vq_qemu_of(preparing->request);
    struct vq_error own = VQ_ERROR_INIT;

    (void)definition;
    (void)result;
    if (qemu == NULL && err == NULL) {
        (void)vq_error_set(&own, VIR_ERR_OPERATION_ABORTED, "the daemon is stopping");
        err = &own;
    }
    if (qemu != NULL)
        qemu->n_creating--;
    if (err != NULL)
        refuse(preparing, err);
    else
        begin_arrival(preparing);
}

static void define(struct preparing *preparing)
{
    const struct vq_qemu_define_options options = { .must_be_new = true };
    VQ_AUTOFREE char *xml = vq_domain_format(preparing->live, VQ_FORMAT_INACTIVE | VQ_FORMAT_SECURE);

    vq_qemu_of(preparing->request)->n_creating++;
    vq_qemu_define_xml(vq_qemu_of(preparing->request), xml, &options, defined, preparing);
}

/* ---- A domain that is off, and another node's ---- */

static void taken(const struct vq_proposal_result *result, const struct vq_error *err, void *data)
{
    struct preparing *preparing = data;
    struct vq_qemu *qemu = vq_qemu_of(preparing->request);
    struct vq_error own = VQ_ERROR_INIT;

    (void)result;
    if (err == NULL && qemu == NULL)
        (void)vq_error_set(&own, VIR_ERR_OPERATION_ABORTED, "the daemon is stopping");
    else if (err == NULL)
        (void)check_free(preparing, &own); /* two prepares of one guest: the second was refused by the log */
    if (err != NULL || own.code != VIR_ERR_OK)
        refuse(preparing, err != NULL ? err : &own);
    else
        begin_arrival(preparing);
}

static void take(struct preparing *preparing)
{
    const struct vq_driver_host *host = vq_qemu_of(preparing->request)->host;

    vq_incoming_change_owner(host, preparing->live->uuid, preparing->owner, host->node_id, preparing->generation, taken, preparing);
}

/* Again what may have changed while the host was looked at. */
static void checked(const struct vq_migrate_problems *problems, const struct vq_facts *facts,
                    const struct vq_error *check_err, void *data)
{
    struct preparing *preparing = data;
    struct vq_error err = check_err != NULL ? *check_err : VQ_ERROR_INIT;
    struct vq_qemu *qemu = vq_qemu_of(preparing->request);
    int rc = check_err != NULL ? -1 : 0;

    (void)problems;
    if (rc == 0 && preparing->is_abandoned)
        rc = vq_error_set(&err, VIR_ERR_OPERATION_ABORTED, "the client that migrates domain '%s' has gone away",
                          preparing->live->name);
    if (rc == 0)
        rc = check_free(preparing, &err);
    if (rc == 0)
        rc = preparing->peer != 0 ? check_node(preparing, &err) : check_outside(preparing, &err);
    if (rc >= 0 && facts != NULL)
        vq_facts_drop_missing_media(facts, preparing->live);
    if (rc < 0)
        refuse(preparing, &err);
    else if (preparing->peer == 0 && rc == 0)
        define(preparing);
    else if (preparing->peer == 0 && preparing->owner != qemu->host->node_id)
        take(preparing);
    else
        begin_arrival(preparing);
}

/* The guest is here, and its post-copy has failed: only the connection is made anew. */
static void resume_postcopy(struct preparing *preparing)
{
    struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(preparing->request), preparing->live->uuid);
    const struct vq_migration *migration = guest != NULL ? guest->migration : NULL;
    struct vq_error err = VQ_ERROR_INIT;

    if (migration == NULL || migration->role != VQ_MIGRATE_IN || migration->stage != VQ_MIGRATE_POSTCOPY_FAILED ||
        guest->phase != VQ_GUEST_ACTIVE || vq_incoming_of(guest)->prepare != NULL) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "migration of domain '%s' is not in post-copy recovery state",
                           preparing->live->name);
        refuse(preparing, &err);
        return;
    }
    struct vq_request *request = preparing->request;
    vq_migrate_prepare_cb cb = preparing->cb;
    void *data = preparing->data;
    preparing_done(preparing);
    vq_incoming_recover(guest, request, cb, data);
}

void vq_migrate_in_prepare(struct vq_request *request, const struct vq_migrate_options *options, const uint8_t *cookie,
                           uint32_t cookie_length, int take_data_fd, vq_migrate_prepare_cb cb, void *data)
{
    struct vq_qemu *qemu = vq_qemu_of(request);
    struct preparing *preparing = vq_new(struct preparing);
    struct vq_error err = VQ_ERROR_INIT;
    int rc;

    *preparing = (struct preparing){ .next = all_preparing, .request = request, .data_fd = take_data_fd, .cb = cb,
                                      .data = data };
    all_preparing = preparing;
    vq_migrate_options_init(&preparing->options);
    vq_migrate_options_copy(&preparing->options, options);
    rc = check_options(options, &err);
    if (rc == 0)
        rc = read_definition(preparing, cookie, cookie_length, &err);
    if (rc == 0 && (options->flags & VIR_MIGRATE_POSTCOPY_RESUME) != 0) {
        resume_postcopy(preparing);
        return;
    }
    if (rc == 0 && vq_migrate_cookie_is_ours(&preparing->cookie, qemu)) {
        rc = check_node(preparing, &err);
    } else if (rc == 0) {
        if (options->dname != NULL)
            vq_set_text(&preparing->live->name, options->dname);
        rc = check_outside(preparing, &err);
    }
    if (rc >= 0)
        rc = check_free(preparing, &err);
    if (rc < 0)
        refuse(preparing, &err);
    else
        vq_migrate_check_run(request, &preparing->options, &preparing->cookie, checked, preparing);
}
