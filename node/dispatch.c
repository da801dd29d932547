/* The dispatcher: it knows no procedure by name. */
#define VQ_FROM VIR_FROM_RPC
#include "node/dispatch.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include <libvirt/libvirt.h>

#include "conf/base/text.h"
#include "node/cluster/cluster.h"
#include "node/daemon.h"
#include "node/mesh/forward.h"
#include "node/handlers.h"
#include "node/publish.h"
#include "node/rights.h"
#include "proto/cluster.pb-c.h"
#include "proto/gen/remote.h"

enum { PROCEDURES_MAX = 512, INACTIVE_FORM = 2 };
enum { TIMEOUT_MS = 30000, LOOK_MS = 8000, LONG_TIMEOUT_MS = 24 * 60 * 60 * 1000, REMOTE_WAIT_MS = 10000 };

/* VIR_DOMAIN_XML_INACTIVE and VIR_DOMAIN_AFFECT_CONFIG are the same bit: the stored definition is asked for. */
static_assert((int)INACTIVE_FORM == (int)VIR_DOMAIN_XML_INACTIVE && (int)INACTIVE_FORM == (int)VIR_DOMAIN_AFFECT_CONFIG,
              "one bit asks for the stored definition");

/* Both tables by number: the node's own, and one for each driver. */
static const struct vq_node_row *node_index[VQ_PROGRAMS][PROCEDURES_MAX];
static struct driver_index {
    const struct vq_driver *driver;
    vq_driver_fn fns[VQ_PROGRAMS][PROCEDURES_MAX];
} * driver_indexes[VQ_DRIVERS_MAX];
static size_t n_driver_indexes;

static void add_rows(const struct vq_node_row *rows, size_t n_rows)
{
    for (size_t i = 0; i < n_rows; i++) {
        assert(vq_procedure_find(rows[i].program, rows[i].number) != NULL && rows[i].number < PROCEDURES_MAX);
        assert(node_index[rows[i].program][rows[i].number] == NULL);
        node_index[rows[i].program][rows[i].number] = &rows[i];
    }
}

void vq_dispatch_init(void)
{
    memset(node_index, 0, sizeof(node_index));
    add_rows(vq_session_rows, vq_n_session_rows);
    add_rows(vq_domain_rows, vq_n_domain_rows);
    add_rows(vq_host_rows, vq_n_host_rows);
    add_rows(vq_node_rows, vq_n_node_rows);
}

static const struct driver_index *index_of(const struct vq_driver *driver)
{
    for (size_t i = 0; i < n_driver_indexes; i++)
        if (driver_indexes[i]->driver == driver)
            return driver_indexes[i];
    return NULL;
}

void vq_dispatch_add_driver(const struct vq_driver *driver)
{
    if (index_of(driver) != NULL)
        return;
    assert(n_driver_indexes < VQ_DRIVERS_MAX);
    struct driver_index *index = vq_new(struct driver_index);
    index->driver = driver;
    for (size_t i = 0; i < driver->n_rows; i++) {
        assert(driver->rows[i].number < PROCEDURES_MAX);
        index->fns[driver->rows[i].program][driver->rows[i].number] = driver->rows[i].fn;
    }
    driver_indexes[n_driver_indexes++] = index;
}

void vq_dispatch_done(void)
{
    while (n_driver_indexes > 0)
        free(driver_indexes[--n_driver_indexes]);
}

/* A question about a guest: its driver gives QEMU five seconds, and that answer should come first. */
static bool is_look_up(const struct vq_procedure *procedure)
{
    return procedure->allowed_readonly && procedure->object == VQ_OBJECT_DOMAIN && procedure->stream == VQ_STREAM_NONE &&
           (procedure->route == VQ_ROUTE_OWNER || procedure->route == VQ_ROUTE_LIVE);
}

/* Work that lasts as long as the data is large, or as a guest's agent takes, for which its driver has bounds; everything else is
 * answered or given up soon. */
uint64_t vq_dispatch_timeout_ms(const struct vq_procedure *procedure)
{
    static const char *const words[] = {"save",     "restore", "migrate",  "core_dump", "block_commit", "block_pull",
                                        "snapshot", "backup",  "fsfreeze", "fstrim",    "vol_wipe",     "vol_create",
                                        "fsthaw",   "fsinfo",  "agent",    "guest",     "hostname",     "_time",
                                        "shutdown", "reboot",  "password", "ssh_keys",  "suspend_for",  "interface_addresses"};

    for (size_t i = 0; !procedure->is_high_priority && i < VQ_N_ELEMENTS(words); i++)
        if (strstr(procedure->name, words[i]) != NULL)
            return LONG_TIMEOUT_MS;
    return is_look_up(procedure) ? LOOK_MS : TIMEOUT_MS;
}

/* ---- Look-up ---- */

static int no_domain(const struct vq_remote_domain *wanted, struct vq_error *err)
{
    char text[VQ_UUID_TEXT];

    vq_uuid_format(wanted->uuid, text);
    return vq_error_set_from(err, VIR_FROM_QEMU, VIR_ERR_NO_DOMAIN, "no domain with matching uuid '%s' (%s)", text,
                             wanted->name);
}

static int find_domain(struct vq_call *call, const struct vq_remote_domain *wanted, struct vq_error *err)
{
    struct vq_store_view *view;

    if (vq_store_view_begin(call->daemon->store, &view, err) < 0)
        return -1;
    const struct vq_domain_head *head = vq_store_domain_find(view, wanted->uuid);
    bool found = head != NULL && vq_handler_sees(call, head) && vq_overlay_info(call->daemon, head, &call->domain);
    if (found)
        call->domain.name = vq_arena_strdup(call->request.arena, call->domain.name);
    call->read_index = vq_store_view_applied(view);
    vq_store_view_end(view);
    if (!found)
        return no_domain(wanted, err);
    if (call->domain.name == NULL)
        return vq_error_set(err, VIR_ERR_NO_MEMORY, "the call is too large");
    call->request.domain = &call->domain;
    return 0;
}

/* Snapshots and checkpoints carry their domain behind their name. */
static const struct vq_remote_domain *domain_argument(const struct vq_call *call)
{
    switch (call->request.procedure->object) {
    case VQ_OBJECT_DOMAIN:
        return call->request.args;
    case VQ_OBJECT_SNAPSHOT:
        return &((const struct vq_remote_domain_snapshot *)call->request.args)->dom;
    case VQ_OBJECT_CHECKPOINT:
        return &((const struct vq_remote_domain_checkpoint *)call->request.args)->dom;
    default:
        return NULL;
    }
}

/* ---- Handlers ---- */

static int set_no_support(const struct vq_procedure *procedure, struct vq_error *err)
{
    return vq_error_set_from(err, vq_rights_error_domain(procedure), VIR_ERR_NO_SUPPORT, "%s", procedure->api);
}

static void no_support(struct vq_call *call)
{
    struct vq_error err = VQ_ERROR_INIT;

    set_no_support(call->request.procedure, &err);
    vq_call_fail(call, &err);
}

static bool wants_inactive_form(const struct vq_call *call)
{
    const struct vq_procedure *procedure = call->request.procedure;

    return procedure->route == VQ_ROUTE_LIVE &&
           (vq_procedure_flags(procedure, call->request.args) & INACTIVE_FORM) != 0;
}

static bool is_here_from_store(const struct vq_call *call)
{
    const struct vq_domain_info *domain = call->request.domain;

    return domain != NULL &&
           (domain->id < 0 || wants_inactive_form(call) || !vq_cluster_is_online(call->daemon, domain->owner));
}

static bool has_hypervisor(const struct vq_call *call)
{
    return call->request.driver != NULL && call->request.driver->driver_type != VQ_DRIVER_NONE;
}

static const struct vq_node_row *node_row(const struct vq_call *call)
{
    const struct vq_procedure *procedure = call->request.procedure;

    return procedure->number < PROCEDURES_MAX ? node_index[procedure->program][procedure->number] : NULL;
}

static vq_driver_fn driver_fn(const struct vq_call *call)
{
    const struct vq_procedure *procedure = call->request.procedure;
    const struct driver_index *index = call->request.driver == NULL ? NULL : index_of(call->request.driver);

    return index == NULL || procedure->number >= PROCEDURES_MAX ? NULL
                                                                : index->fns[procedure->program][procedure->number];
}

static bool row_applies(const struct vq_node_row *row, const struct vq_call *call)
{
    if (row == NULL || (row->when != VQ_ALWAYS && !has_hypervisor(call)))
        return false;
    return row->when != VQ_WHEN_INACTIVE || is_here_from_store(call);
}

/* Is there any handler, here or by its like on another node? Asked before the object is looked up, so that a call which
 * nobody serves is refused as such whatever it names. */
static bool is_served(const struct vq_call *call)
{
    const struct vq_node_row *row = node_row(call);

    return driver_fn(call) != NULL || (row != NULL && (row->when == VQ_ALWAYS || has_hypervisor(call)));
}

void vq_dispatch_here(struct vq_call *call)
{
    const struct vq_node_row *row = node_row(call);
    vq_driver_fn fn = driver_fn(call);

    if (row_applies(row, call))
        row->fn(call);
    else if (fn != NULL)
        fn(&call->request);
    else
        no_support(call);
}

/* ---- Routes ---- */

uint64_t vq_dispatch_target(struct vq_call *call)
{
    uint64_t self = call->daemon->node_id;
    uint64_t view = call->view_node == 0 ? self : call->view_node;
    const struct vq_domain_info *domain = call->request.domain;

    switch (call->request.procedure->route) {
    case VQ_ROUTE_SESSION:
    case VQ_ROUTE_READ:
        return self;
    case VQ_ROUTE_LIVE:
        return domain == NULL ? view : is_here_from_store(call) ? self : domain->owner;
    case VQ_ROUTE_OWNER:
        /* Nobody runs it any more: what is left of it is as good here as anywhere. */
        return domain == NULL ? view : vq_cluster_has_left(call->daemon, domain->owner) ? self : domain->owner;
    case VQ_ROUTE_HOST:
    case VQ_ROUTE_REPLICATE:
    case VQ_ROUTE_ARRIVAL:
    case VQ_ROUTE_GATHER:
        return view;
    }
    return self;
}

/* Decode, look up, check what the flags tell. */
static int prepare(struct vq_call *call, struct vq_error *err)
{
    const struct vq_procedure *procedure = call->request.procedure;

    if (vq_rights_check(procedure, call->request.caller, NULL, err) < 0)
        return -1;
    if (procedure->args != NULL && vq_xdr_decode(procedure->args, call->xdr, call->xdr_length, call->request.arena,
                                                 (void *)call->request.args, NULL, err) < 0)
        return -1;
    if (procedure->args != NULL && vq_rights_check(procedure, call->request.caller, call->request.args, err) < 0)
        return -1;
    if (!is_served(call))
        return set_no_support(procedure, err);
    const struct vq_remote_domain *domain = domain_argument(call);
    return domain == NULL ? 0 : find_domain(call, domain, err);
}

void vq_dispatch_local(struct vq_call *call)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_daemon *daemon = call->daemon;
    const struct vq_procedure *procedure = call->request.procedure;

    if (prepare(call, &err) < 0) {
        vq_call_fail(call, &err);
        return;
    }
    uint64_t target = vq_dispatch_target(call);
    bool is_gathered = procedure->route == VQ_ROUTE_GATHER && call->view_node == 0 && daemon->mesh != NULL;
    call->request.deadline_ms = uv_now(daemon->loop) + vq_dispatch_timeout_ms(procedure);
    if (target == daemon->node_id && !is_gathered) {
        vq_dispatch_here(call);
        return;
    }
    if (vq_call_keep_xdr(call, &err) < 0)
        vq_call_fail(call, &err);
    else if (is_gathered)
        vq_gather_call(daemon, call);
    else if (!vq_cluster_is_online(daemon, target)) {
        vq_cluster_unreachable(daemon, target, &err);
        vq_call_fail(call, &err);
    } else
        vq_forward_call(daemon, call, target);
}

/* ---- Calls from other nodes ---- */

static const char *text_or_null(const char *text)
{
    return text == NULL || *text == '\0' ? NULL : text;
}

static struct vq_identity *identity_of(const Vq__Call *message)
{
    const Vq__Identity *from = message->identity;
    struct vq_caller caller = {.readonly = true};

    if (from != NULL)
        caller = (struct vq_caller){
            .readonly = from->readonly,
            .has_unix = from->has_unix,
            .uid = from->uid,
            .gid = from->gid,
            .pid = from->pid,
            .process_start = from->process_start,
            .user = text_or_null(from->user),
            .group = text_or_null(from->group),
            .sasl_user = text_or_null(from->sasl_user),
            .x509_dn = text_or_null(from->x509_dn),
            .selinux = text_or_null(from->selinux),
            .entry_node = from->entry_node,
            .session = message->session,
        };
    return vq_identity_new(&caller);
}

static void run_remote(bool is_applied, void *data)
{
    struct vq_call *call = data;
    struct vq_error err = VQ_ERROR_INIT;
    const struct vq_procedure *procedure = call->request.procedure;

    if (!is_applied) {
        vq_error_set(&err, VIR_ERR_OPERATION_TIMEOUT, "%s is behind the rest of the cluster", call->daemon->node_name);
        vq_call_fail(call, &err);
    } else if (prepare(call, &err) < 0) {
        vq_call_fail(call, &err);
    } else if (procedure->route == VQ_ROUTE_OWNER && call->request.domain != NULL &&
               call->request.domain->owner != call->daemon->node_id) {
        vq_error_set_from(&err, VIR_FROM_QEMU, VIR_ERR_OPERATION_FAILED, "domain '%s' has moved to another node",
                          call->request.domain->name);
        vq_call_fail(call, &err);
    } else {
        vq_dispatch_here(call);
    }
}

void vq_dispatch_remote(struct vq_daemon *daemon, uint64_t peer, const Vq__Call *message,
                        const struct vq_call_origin *origin, void *forward)
{
    static const struct vq_procedure unknown = {.name = "unknown", .api = "an unknown procedure"};
    enum vq_program program;
    const struct vq_procedure *procedure = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_program_find(message->program, &program))
        procedure = vq_procedure_find(program, message->procedure);
    bool is_known = procedure != NULL && !procedure->is_event && procedure->route != VQ_ROUTE_SESSION;
    struct vq_identity *identity = identity_of(message);
    struct vq_call *call = vq_call_new(daemon, is_known ? procedure : &unknown, identity);
    vq_identity_unref(identity);
    call->origin = origin;
    call->forward = forward;
    call->peer = peer;
    call->peer_call = message->id;
    call->request.is_remote = true;
    call->view_node = message->view_node;
    call->request.driver = vq_daemon_driver(daemon, message->driver);
    call->driver_name = call->request.driver == NULL ? NULL : call->request.driver->name;
    call->request.deadline_ms = uv_now(daemon->loop) + message->timeout_ms;
    call->xdr = message->args.data;
    call->xdr_length = message->args.len;
    if (!is_known) {
        vq_error_set(&err, VIR_ERR_RPC, "%s does not know procedure %u of program %#x", daemon->node_name,
                     message->procedure, message->program);
        vq_call_fail(call, &err);
    } else if (call->request.driver == NULL) {
        vq_error_set_from(&err, VIR_FROM_NONE, VIR_ERR_NO_CONNECT, "%s:///system on %s", message->driver,
                          daemon->node_name);
        vq_call_fail(call, &err);
    } else if (vq_call_keep_xdr(call, &err) < 0) {
        vq_call_fail(call, &err);
    } else {
        uint64_t wait = message->timeout_ms < REMOTE_WAIT_MS ? message->timeout_ms : REMOTE_WAIT_MS;
        vq_daemon_when_applied(daemon, message->applied, wait, run_remote, call);
    }
}
