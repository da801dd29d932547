/* What other nodes' drivers ask this one: rows of the program VQ_PROGRAM_NODE (proto/schema/node.table). */
#define VQ_FROM VIR_FROM_QEMU
#include <assert.h>
#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/driver.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/handlers_define.h"
#include "drivers/qemu/migrate.h"
#include "drivers/qemu/migrate_check.h"
#include "drivers/qemu/migrate_facts.h"
#include "drivers/qemu/migrate_gather.h"
#include "drivers/qemu/migrate_judge.h"
#include "drivers/qemu/migrate_out.h"
#include "proto/gen/node.h"

static_assert(VQ_MIGRATE_KEY_BYTES <= 64, "NODE_KEY of proto/schema/limits");
static_assert(VQ_MIGRATE_PROBLEMS_MAX <= 256, "NODE_PROBLEMS of proto/schema/limits");
static_assert(VQ_FACTS_FILES_MAX <= 256, "NODE_FILES of proto/schema/limits");

enum { FILES_MS = 5000, CPU_FEATURES_MAX = 1024 };

static void too_large(struct vq_request *request)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, VIR_ERR_NO_MEMORY, "the reply of %s is too large", request->procedure->api);
    vq_request_fail(request, &err);
}

/* ---- The key of a migration ---- */

/* To the node that sends the guest, and to no other: the mesh tells who asks. */
static void migrate_key(struct vq_request *request)
{
    const struct vq_node_migrate_key_args *args = request->args;
    struct vq_node_migrate_key_ret *ret = request->ret;
    const struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), args->uuid);
    const struct vq_migration *migration = guest == NULL ? NULL : guest->migration;
    struct vq_error err = VQ_ERROR_INIT;

    if (migration == NULL || migration->role != VQ_MIGRATE_IN || migration->run != args->run || !migration->has_key ||
        migration->peer != request->caller->entry_node) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "no such migration comes to this node");
        vq_request_fail(request, &err);
        return;
    }
    uint8_t *key = vq_arena_alloc(request->arena, 1, sizeof(migration->key));
    if (key == NULL) {
        too_large(request);
        return;
    }
    memcpy(key, migration->key, sizeof(migration->key));
    ret->key = key;
    ret->n_key = sizeof(migration->key);
    vq_request_reply(request);
}

/* ---- Post-copy goes on ---- */

/* Asked by the node that the guest runs on, and by no other. */
static void migrate_resume(struct vq_request *request)
{
    const struct vq_node_migrate_resume_args *args = request->args;
    struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), args->uuid);
    const struct vq_leaving *leaving = guest != NULL && guest->phase == VQ_GUEST_ACTIVE ? vq_leaving_of(guest) : NULL;
    struct vq_error err = VQ_ERROR_INIT;

    if (leaving == NULL || !vq_leaving_serves(guest) || guest->migration->run != args->run ||
        guest->migration->peer != request->caller->entry_node)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "nothing of that guest is here any more");
    else if (leaving->resume.is_active || leaving->resuming != NULL)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "domain '%s' is being resumed already", guest->name);
    if (err.code != VIR_ERR_OK)
        vq_request_fail(request, &err);
    else
        vq_leaving_resume(request, guest, args->uri);
}

/* ---- What would go wrong here ---- */

/* NULL: there is no room for them. */
static struct vq_node_migrate_problem *pack_problems(const struct vq_migrate_problems *problems, struct vq_arena *arena)
{
    struct vq_node_migrate_problem *packed = vq_arena_alloc(arena, problems->n_items + 1, sizeof(*packed));

    for (size_t i = 0; packed != NULL && i < problems->n_items; i++) {
        const struct vq_migrate_problem *problem = &problems->items[i];
        packed[i] = (struct vq_node_migrate_problem){
            .severity = (uint8_t)problem->severity,
            .code = (uint32_t)problem->code,
            .node = vq_arena_strdup(arena, problem->node),
            .device = vq_arena_strdup(arena, problem->device),
            .text = vq_arena_strdup(arena, problem->text),
            .remedy = vq_arena_strdup(arena, problem->remedy),
        };
        if (packed[i].node == NULL || packed[i].device == NULL || packed[i].text == NULL || packed[i].remedy == NULL)
            return NULL;
    }
    return packed;
}

/* An error without a refusal: it could not be checked at all. */
static void checked(const struct vq_migrate_problems *problems, const struct vq_facts *facts, const struct vq_error *err,
                    void *data)
{
    struct vq_request *request = data;
    struct vq_node_migrate_check_ret *ret = request->ret;
    struct vq_error ignored = VQ_ERROR_INIT;

    (void)facts;
    if (err != NULL && !vq_migrate_problems_error(problems, &ignored)) {
        vq_request_fail(request, err);
        return;
    }
    ret->problems = pack_problems(problems, request->arena);
    ret->n_problems = (uint32_t)problems->n_items;
    if (ret->problems == NULL)
        too_large(request);
    else
        vq_request_reply(request);
}

static void migrate_check(struct vq_request *request)
{
    const struct vq_node_migrate_check_args *args = request->args;
    struct vq_migrate_options options = {0};
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_migrate_options_read(args->params, args->n_params, args->flags, &options, &err) < 0) {
        vq_request_fail(request, &err);
        return;
    }
    vq_set_text(&options.dxml, args->xml);
    vq_migrate_check_for(request, &options, request->caller->entry_node, checked, request);
    vq_migrate_options_done(&options);
}

/* ---- The owner asks the destination for somebody else ---- */

struct asking {
    struct asking *next;
    struct vq_request *request; /* NULL: was answered, since the driver stops */
    struct vq_peer *peer;
    char *xml;
    uint64_t flags;
};

static struct asking *askings;

static void asking_over(struct asking *asking, const struct vq_error *err)
{
    struct vq_request *request = asking->request;
    struct vq_peer *peer = asking->peer;
    struct asking **link = &askings;

    while (*link != asking)
        link = &(*link)->next;
    *link = asking->next;
    free(asking->xml);
    free(asking);
    if (request != NULL && err != NULL)
        vq_request_fail(request, err);
    else if (request != NULL)
        vq_request_reply(request);
    if (peer != NULL)
        peer->class->close(peer);
}

static void destination_told(const void *reply, const struct vq_error *err, void *data)
{
    struct asking *asking = data;
    const struct vq_node_migrate_check_ret *told = reply;
    struct vq_migrate_problems problems = {0};
    struct vq_error failure = VQ_ERROR_INIT;

    if (told == NULL || asking->request == NULL) {
        asking_over(asking, err);
        return;
    }
    for (uint32_t i = 0; i < told->n_problems; i++)
        vq_migrate_problems_add(&problems,
                                &(struct vq_migrate_problem){
                                    .severity = told->problems[i].severity == VQ_MIGRATE_WARNING ? VQ_MIGRATE_WARNING
                                                                                                 : VQ_MIGRATE_REFUSAL,
                                    .code = (int)told->problems[i].code,
                                    .node = (char *)told->problems[i].node,
                                    .device = (char *)told->problems[i].device,
                                    .remedy = (char *)told->problems[i].remedy,
                                },
                                "%s", told->problems[i].text);
    struct vq_node_migrate_ask_ret *ret = asking->request->ret;
    ret->problems = pack_problems(&problems, asking->request->arena);
    ret->n_problems = (uint32_t)problems.n_items;
    vq_migrate_problems_done(&problems);
    if (ret->problems == NULL)
        (void)vq_error_set(&failure, VIR_ERR_NO_MEMORY, "the reply is too large");
    asking_over(asking, ret->problems == NULL ? &failure : NULL);
}

static void destination_reached(struct vq_peer *take_peer, const struct vq_error *err, void *data)
{
    struct asking *asking = data;
    asking->peer = take_peer;
    if (take_peer == NULL || asking->request == NULL) {
        asking_over(asking, err);
        return;
    }
    const struct vq_node_migrate_ask_args *args = asking->request->args;
    const struct vq_node_migrate_check_args question = {
        .xml = asking->xml, .params = args->params, .n_params = args->n_params, .flags = asking->flags};
    take_peer->class->call(take_peer, VQ_PROGRAM_NODE, VQ_NODE_MIGRATE_CHECK, &question, VQ_MIGRATE_CHECK_MS,
                           destination_told, asking);
}

/* The guest as it would go: as it runs, else its definition, which is all that goes. NULL: the request was failed. */
static char *xml_to_send(struct vq_request *request, uint64_t *flags)
{
    const struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);
    VQ_AUTOPTR(vq_domain) def = NULL;

    if (guest != NULL && guest->live != NULL)
        return vq_domain_format(guest->live, VQ_FORMAT_SECURE | VQ_FORMAT_MIGRATABLE);
    def = vq_qemu_read_definition(request);
    *flags |= VIR_MIGRATE_OFFLINE;
    return def == NULL ? NULL : vq_domain_format(def, VQ_FORMAT_SECURE | VQ_FORMAT_MIGRATABLE | VQ_FORMAT_INACTIVE);
}

static void migrate_ask(struct vq_request *request)
{
    const struct vq_node_migrate_ask_args *args = request->args;
    const struct vq_driver_host *host = vq_qemu_of(request)->host;
    struct vq_error err = VQ_ERROR_INIT;
    uint64_t flags = args->flags;

    if (args->node == host->node_id) {
        (void)vq_error_set(&err, VIR_ERR_INVALID_ARG, "domain '%s' is on %s already", request->domain->name,
                           host->node_name);
        vq_request_fail(request, &err);
        return;
    }
    const struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);
    if (guest != NULL && guest->state == VIR_DOMAIN_PAUSED && guest->reason == VIR_DOMAIN_PAUSED_IOERROR &&
        (flags & VIR_MIGRATE_UNSAFE) == 0) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_INVALID,
                       "'%s' is paused because of an error of a disk (virsh domblkerror): writes wait in QEMU that would be lost",
                       guest->name);
        return;
    }
    char *xml = xml_to_send(request, &flags);
    if (xml == NULL)
        return;
    struct asking *asking = vq_new(struct asking);
    *asking = (struct asking){.next = askings, .request = request, .xml = xml, .flags = flags};
    askings = asking;
    host->peer_open_node(args->node, request, destination_reached, asking);
}

/* ---- What the guest uses here ---- */

static struct vq_node_migrate_file pack_file(const struct vq_file_fact *file, struct vq_arena *arena)
{
    return (struct vq_node_migrate_file){
        .path = vq_arena_strdup(arena, file->path),
        .is_there = file->error == 0,
        .mode = file->mode,
        .device_id = file->device_id,
        .inode = file->inode,
        .size = file->size,
        .mtime_ns = file->mtime_ns,
        .fs_type = file->fs_type,
        .fs_id = file->fs_id,
        .identity = vq_arena_strdup(arena, file->identity),
    };
}

static bool pack_names(const char *const *names, size_t n_names, struct vq_arena *arena, const char ***ret_names,
                       uint32_t *ret_n)
{
    const char **packed = vq_arena_alloc(arena, n_names + 1, sizeof(*packed));

    for (size_t i = 0; packed != NULL && i < n_names; i++)
        if ((packed[i] = vq_arena_strdup(arena, names[i])) == NULL)
            return false;
    *ret_names = packed;
    *ret_n = (uint32_t)n_names;
    return packed != NULL;
}

static bool pack_cpu(const struct vq_qemu_guest *guest, struct vq_arena *arena, struct vq_node_migrate_facts_ret *ret)
{
    const char *lacks[CPU_FEATURES_MAX] = { NULL };
    const struct vq_qemu_capabilities *caps = guest->caps;
    size_t n_lacks = caps == NULL ? 0 : vq_migrate_cpu_lacks(guest->live, caps, lacks, CPU_FEATURES_MAX);
    size_t n_has = caps == NULL ? 0 : caps->n_features;

    return pack_names(lacks, n_lacks, arena, &ret->cpu_lacks, &ret->n_cpu_lacks) &&
           pack_names(caps == NULL ? NULL : (const char *const *)caps->features, n_has, arena, &ret->cpu_has, &ret->n_cpu_has);
}

/* Looking at the files of a guest takes a while. */
struct look {
    struct look *next;
    struct vq_request *request;
    struct vq_gathering *gathering;
};

static struct look *looks;

static struct vq_request *look_over(struct look *look)
{
    struct vq_request *request = look->request;
    struct look **link = &looks;

    while (*link != look)
        link = &(*link)->next;
    *link = look->next;
    free(look);
    return request;
}

static void files_known(struct vq_facts *take_facts, void *data)
{
    struct vq_request *request = look_over(data);
    struct vq_node_migrate_facts_ret *ret = request->ret;
    VQ_AUTOPTR(vq_facts) facts = take_facts;
    const struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);
    struct vq_error err = VQ_ERROR_INIT;

    if (facts == NULL || guest == NULL || guest->live == NULL) {
        (void)vq_error_set(&err, facts == NULL ? VIR_ERR_OPERATION_TIMEOUT : VIR_ERR_OPERATION_INVALID, "%s",
                           facts == NULL ? "the files of the guest do not answer" : "the guest has ended");
        vq_request_fail(request, &err);
        return;
    }
    ret->boot_id = vq_arena_strdup(request->arena, facts->boot_id);
    ret->files = vq_arena_alloc(request->arena, facts->n_files + 1, sizeof(*ret->files));
    bool is_good = ret->boot_id != NULL && ret->files != NULL && pack_cpu(guest, request->arena, ret);
    for (size_t i = 0; is_good && i < facts->n_files; i++) {
        ret->files[i] = pack_file(&facts->files[i], request->arena);
        is_good = ret->files[i].path != NULL;
    }
    ret->n_files = (uint32_t)facts->n_files;
    if (is_good)
        vq_request_reply(request);
    else
        too_large(request);
}

static void migrate_facts(struct vq_request *request)
{
    const struct vq_qemu *qemu = vq_qemu_of(request);
    const struct vq_qemu_guest *guest = vq_qemu_guest_of(request);

    if (guest == NULL)
        return;
    if (guest->live == NULL) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_FAILED, "the definition that '%s' runs with is lost", guest->name);
        return;
    }
    struct look *look = vq_new(struct look);
    *look = (struct look){.next = looks, .request = request};
    looks = look;
    look->gathering =
        vq_gathering_start(qemu->host->loop, vq_facts_new(guest->live, true), FILES_MS, files_known, look);
}

void vq_qemu_node_stop(void)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct asking *next;

    (void)vq_error_set(&err, VIR_ERR_OPERATION_ABORTED, "the daemon is stopping");
    while (looks != NULL) {
        vq_gathering_forget(looks->gathering);
        vq_request_fail(look_over(looks), &err);
    }
    for (struct asking *asking = askings; asking != NULL; asking = next) {
        struct vq_request *request = vq_take(asking->request);
        struct vq_peer *peer = vq_take(asking->peer);
        next = asking->next;
        if (request != NULL)
            vq_request_fail(request, &err);
        if (peer != NULL)
            peer->class->close(peer); /* calls back */
    }
}

static const struct vq_driver_row rows[] = {
    { VQ_PROGRAM_NODE, VQ_NODE_MIGRATE_KEY, migrate_key },
    { VQ_PROGRAM_NODE, VQ_NODE_MIGRATE_CHECK, migrate_check },
    { VQ_PROGRAM_NODE, VQ_NODE_MIGRATE_ASK, migrate_ask },
    { VQ_PROGRAM_NODE, VQ_NODE_MIGRATE_FACTS, migrate_facts },
    { VQ_PROGRAM_NODE, VQ_NODE_MIGRATE_RESUME, migrate_resume },
};
const struct vq_qemu_rows vq_qemu_node_rows = { rows, VQ_N_ELEMENTS(rows) };
