/* The daemon's side of drivers/driver.h. */
#define VQ_FROM VIR_FROM_NONE
#include "node/driver_host.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>

#include "conf/base/log.h"
#include "node/daemon.h"
#include "node/client/events.h"
#include "node/cluster/cluster.h"
#include "node/mesh/propose.h"
#include "node/peer.h"
#include "node/publish.h"
#include "node/seal.h"
#include "proto/cluster.pb-c.h"
#include "store/ids.h"

/* The functions of struct vq_driver_host carry no context: drivers are compiled in, and a process is one node. */
static struct vq_daemon *the_daemon;

/* ---- Proposals ---- */

struct driver_proposal {
    vq_propose_cb cb;
    void *data;
};

static void driver_proposed(enum vq_raft_outcome outcome, const struct vq_result *result, const struct vq_error *err,
                            void *data)
{
    struct driver_proposal *proposal = data;
    struct vq_error failed = VQ_ERROR_INIT;

    if (outcome == VQ_RAFT_APPLIED && result->code == VIR_ERR_OK) {
        struct vq_proposal_result told = {.number = result->number, .id = result->id, .version = result->version};
        proposal->cb(&told, NULL, proposal->data);
        free(proposal);
        return;
    }
    if (outcome == VQ_RAFT_APPLIED)
        vq_error_set_from(&failed, result->from, result->code, "%s", result->message);
    else if (err != NULL && err->code != VIR_ERR_OK)
        failed = *err;
    else
        vq_error_set(&failed, VIR_ERR_OPERATION_TIMEOUT, "the cluster did not say whether the change was made");
    proposal->cb(NULL, &failed, proposal->data);
    free(proposal);
}

static void host_propose(Vq__Command *command, uint64_t timeout_ms, vq_propose_cb cb, void *data)
{
    struct driver_proposal *proposal = vq_new(struct driver_proposal);

    proposal->cb = cb;
    proposal->data = data;
    vq_propose(the_daemon, command, timeout_ms, driver_proposed, proposal);
}

static bool host_has_quorum(void)
{
    return vq_propose_has_quorum(the_daemon);
}

/* ---- Reports and events ---- */

static void host_publish(struct vq_driver *driver, const struct vq_state_report *report)
{
    vq_overlay_publish(the_daemon->overlay, driver, report);
}

static void host_emit(struct vq_driver *driver, const uint8_t uuid[16], const char *name, int32_t id, int event_id,
                      const struct vq_xdr_struct *type, const void *value)
{
    vq_events_emitted(the_daemon->events, driver, uuid, name, id, event_id, type, value);
}

/* ---- Look-ups ---- */

static bool copy_info(struct vq_store_view *view, const struct vq_domain_head *head, bool with_xml,
                      struct vq_arena *arena, struct vq_domain_info *ret)
{
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOFREE char *opened = NULL;
    const char *xml;

    if (head == NULL || !vq_overlay_info(the_daemon, head, ret))
        return false;
    ret->name = vq_arena_strdup(arena, ret->name);
    if (ret->name == NULL)
        return false;
    if (!with_xml)
        return true;
    if (vq_seal_read_definition(the_daemon, view, head, &xml, &opened, &ret->has_secrets, &err) < 0) {
        vq_log(ERROR, "store.definition", "%s", err.message);
        ret->xml_problem = vq_arena_strdup(arena, err.message);
        return ret->xml_problem != NULL;
    }
    ret->xml = vq_arena_strdup(arena, xml);
    return ret->xml != NULL;
}

static bool host_domain_find(const uint8_t uuid[16], bool with_xml, struct vq_arena *arena, struct vq_domain_info *ret)
{
    struct vq_store_view *view;

    if (vq_store_view_begin(the_daemon->store, &view, NULL) < 0)
        return false;
    bool found = copy_info(view, vq_store_domain_find(view, uuid), with_xml, arena, ret);
    vq_store_view_end(view);
    return found;
}

static bool host_domain_find_by_name(struct vq_driver *driver, const char *name, struct vq_arena *arena,
                                     struct vq_domain_info *ret)
{
    struct vq_store_view *view;

    if (vq_store_view_begin(the_daemon->store, &view, NULL) < 0)
        return false;
    bool found = copy_info(view, vq_store_domain_find_by_name(view, driver->driver_type, name), false, arena, ret);
    vq_store_view_end(view);
    return found;
}

static int host_seal(const uint8_t uuid[16], const void *bytes, size_t length, uint8_t **ret_sealed, size_t *ret_length,
                     struct vq_error *err)
{
    return vq_seal_close(the_daemon->has_cluster_key ? the_daemon->cluster_key : NULL, uuid, bytes, length, ret_sealed,
                         ret_length, err);
}

/* The callback may publish and propose: it sees copies, after the view has ended. */
static void host_each_own_domain(struct vq_driver *driver, void (*cb)(const struct vq_domain_info *info, void *data),
                                 void *data)
{
    struct vq_store_view *view;
    struct vq_store_cursor *cursor = NULL;
    const struct vq_domain_head *head;
    struct vq_domain_info *infos = NULL;
    size_t n_infos = 0;
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);

    if (vq_store_view_begin(the_daemon->store, &view, NULL) < 0)
        return;
    while ((head = vq_store_domain_next(view, &cursor)) != NULL) {
        struct vq_domain_info info;
        if (head->owner != the_daemon->node_id || head->driver != driver->driver_type ||
            !copy_info(view, head, false, arena, &info))
            continue;
        VQ_GROW(infos, n_infos);
        infos[n_infos++] = info;
    }
    vq_store_view_end(view);
    for (size_t i = 0; i < n_infos; i++)
        cb(&infos[i], data);
    free(infos);
}

static void host_each_run_elsewhere(struct vq_driver *driver, const char *text,
                                    void (*cb)(const struct vq_domain_info *info, void *data), void *data)
{
    struct vq_store_view *view;
    struct vq_store_cursor *cursor = NULL;
    const struct vq_domain_head *head;
    struct vq_domain_info *infos = NULL;
    size_t n_infos = 0;
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);

    if (vq_store_view_begin(the_daemon->store, &view, NULL) < 0)
        return;
    while ((head = vq_store_domain_next(view, &cursor)) != NULL) {
        struct vq_domain_info info;
        if (head->owner == the_daemon->node_id || head->driver != driver->driver_type ||
            !copy_info(view, head, false, arena, &info) || info.id < 0 || !copy_info(view, head, true, arena, &info) ||
            info.xml == NULL || strstr(info.xml, text) == NULL)
            continue;
        VQ_GROW(infos, n_infos);
        infos[n_infos++] = info;
    }
    vq_store_view_end(view);
    for (size_t i = 0; i < n_infos; i++)
        cb(&infos[i], data);
    free(infos);
}

/* ---- Runs without a quorum ---- */

static const char local_runs_table[] = "node.runs", local_runs_key[] = "n";

/* How many were taken so far; counted on disk first, so that a number is never given twice. */
static uint64_t count_local_run(void)
{
    uint64_t n = 0;
    void *value = NULL;
    size_t length = 0;
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_local_get(the_daemon->local, local_runs_table, local_runs_key, 1, &value, &length, &err) == 1) {
        if (length == sizeof(n))
            memcpy(&n, value, sizeof(n));
        free(value);
    }
    uint64_t next = n + 1;
    if (vq_local_put(the_daemon->local, local_runs_table, local_runs_key, 1, &next, sizeof(next), false, &err) < 0)
        vq_log(WARN, "local.write", "%s, ids of starts without a quorum may repeat after a restart", err.message);
    return n;
}

static bool id_is_taken(int32_t id)
{
    struct vq_store_view *view;

    if (vq_store_view_begin(the_daemon->store, &view, NULL) < 0)
        return false;
    bool taken = vq_store_domain_find_by_id(view, id) != NULL;
    vq_store_view_end(view);
    return taken;
}

static void host_local_run(const uint8_t uuid[16], uint64_t *ret_run, int32_t *ret_id)
{
    struct vq_domain_info info;
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);

    *ret_run = 0;
    *ret_id = -1;
    if (!host_domain_find(uuid, false, arena, &info))
        return;
    *ret_run = vq_ids_next_local_run(info.run);
    do
        *ret_id = vq_ids_local_id(the_daemon->node_id, count_local_run());
    while (id_is_taken(*ret_id));
}

/* ---- Records ---- */

static int host_record_put(const char *table, const void *key, size_t key_length, const void *value, size_t length,
                           struct vq_error *err)
{
    return vq_local_put(the_daemon->local, table, key, key_length, value, length, false, err);
}

static int host_record_delete(const char *table, const void *key, size_t key_length, struct vq_error *err)
{
    return vq_local_delete(the_daemon->local, table, key, key_length, err);
}

static int host_record_each(const char *table,
                            int (*cb)(const void *key, size_t key_length, const void *value, size_t length, void *data),
                            void *data, struct vq_error *err)
{
    return vq_local_each(the_daemon->local, table, cb, data, err);
}

/* ---- Other nodes and daemons ---- */

static uint64_t host_node_find(const char *host)
{
    return vq_cluster_find_node(the_daemon, host);
}

static const char *host_node_name_of(uint64_t node)
{
    return vq_cluster_node_name(the_daemon, node);
}

static const char *host_node_address(uint64_t node)
{
    static char address[256];
    VQ_AUTOFREE char *found = vq_cluster_node_address(the_daemon, node);

    if (found == NULL || strlen(found) >= sizeof(address))
        return NULL;
    return strcpy(address, found);
}

static bool host_node_is_online(uint64_t node)
{
    return vq_cluster_is_online(the_daemon, node);
}

static void host_peer_open(const char *uri, const struct vq_request *request, vq_peer_open_cb cb, void *data)
{
    vq_peer_open(the_daemon, uri, request, cb, data);
}

static void host_peer_open_node(uint64_t node, const struct vq_request *request, vq_peer_open_cb cb, void *data)
{
    vq_peer_mesh_open(the_daemon, node, request, cb, data);
}

static bool host_is_draining(void)
{
    struct vq_store_view *view;

    if (vq_store_view_begin(the_daemon->store, &view, NULL) < 0)
        return false;
    Vq__NodeRecord *own = vq_store_node_find(view, the_daemon->node_id);
    vq_store_view_end(view);
    bool is_draining = own != NULL && own->draining;
    vq_store_node_free(own);
    return is_draining;
}

static uint64_t host_time_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

static void host_random(void *bytes, size_t length)
{
    uint8_t *place = bytes;

    while (length > 0) {
        ssize_t got = getrandom(place, length, 0);
        if (got < 0)
            continue; /* only interrupted: the pool is ready long before us */
        place += got;
        length -= (size_t)got;
    }
}

void vq_driver_host_init(struct vq_daemon *daemon)
{
    the_daemon = daemon;
    daemon->host = (struct vq_driver_host){
        .loop = daemon->loop,
        .node_id = daemon->node_id,
        .node_name = daemon->node_name,
        .run_dir = daemon->config.libvirt_run_dir,
        .state_dir = daemon->config.libvirt_state_dir,
        .log_dir = daemon->config.libvirt_log_dir,
        .config_dir = daemon->config.libvirt_config_dir,
        .boot_id = daemon->boot_id,
        .host_uuid = daemon->config.host_uuid,
        .host_uuid_source = daemon->config.host_uuid_source,
        .propose = host_propose,
        .has_quorum = host_has_quorum,
        .publish = host_publish,
        .emit = host_emit,
        .each_own_domain = host_each_own_domain,
        .each_run_elsewhere = host_each_run_elsewhere,
        .domain_find = host_domain_find,
        .domain_find_by_name = host_domain_find_by_name,
        .seal = host_seal,
        .local_run = host_local_run,
        .record_put = host_record_put,
        .record_delete = host_record_delete,
        .record_each = host_record_each,
        .node_find = host_node_find,
        .node_name_of = host_node_name_of,
        .node_address = host_node_address,
        .node_is_online = host_node_is_online,
        .cluster_id = daemon->cluster_id,
        .peer_open = host_peer_open,
        .peer_open_node = host_peer_open_node,
        .is_draining = host_is_draining,
        .time_ms = host_time_ms,
        .random = host_random,
    };
}
