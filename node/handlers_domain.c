/* Domains as the replicated state and this node's overlay tell of them: lists, look-ups, and settings beside the XML.
 */
#define VQ_FROM VIR_FROM_QEMU
#include <libvirt/libvirt.h>
#include <string.h>

#include "conf/base/text.h"
#include "node/daemon.h"
#include "node/dispatch.h"
#include "node/handlers.h"
#include "node/mesh/propose.h"
#include "node/publish.h"
#include "proto/cluster.pb-c.h"
#include "proto/gen/remote.h"

/* ---- Lists ---- */

/* Within a group one of the wanted bits must be true of the domain; a group of which nothing is wanted lets all pass.
 */
static const uint32_t filter_groups[] = {
    VIR_CONNECT_LIST_DOMAINS_ACTIVE | VIR_CONNECT_LIST_DOMAINS_INACTIVE,
    VIR_CONNECT_LIST_DOMAINS_PERSISTENT | VIR_CONNECT_LIST_DOMAINS_TRANSIENT,
    VIR_CONNECT_LIST_DOMAINS_RUNNING | VIR_CONNECT_LIST_DOMAINS_PAUSED | VIR_CONNECT_LIST_DOMAINS_SHUTOFF |
        VIR_CONNECT_LIST_DOMAINS_OTHER,
    VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE | VIR_CONNECT_LIST_DOMAINS_NO_MANAGEDSAVE,
    VIR_CONNECT_LIST_DOMAINS_AUTOSTART | VIR_CONNECT_LIST_DOMAINS_NO_AUTOSTART,
    VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT | VIR_CONNECT_LIST_DOMAINS_NO_SNAPSHOT,
    VIR_CONNECT_LIST_DOMAINS_HAS_CHECKPOINT | VIR_CONNECT_LIST_DOMAINS_NO_CHECKPOINT,
};
enum { ALL_FILTERS = 0xffff };

static uint32_t state_bit(int state)
{
    switch (state) {
    case VIR_DOMAIN_RUNNING:
        return VIR_CONNECT_LIST_DOMAINS_RUNNING;
    case VIR_DOMAIN_PAUSED:
        return VIR_CONNECT_LIST_DOMAINS_PAUSED;
    case VIR_DOMAIN_SHUTOFF:
        return VIR_CONNECT_LIST_DOMAINS_SHUTOFF;
    default:
        return VIR_CONNECT_LIST_DOMAINS_OTHER;
    }
}

static uint32_t bits_of(const struct vq_domain_info *info)
{
    uint32_t bits =
        state_bit(info->state) | VIR_CONNECT_LIST_DOMAINS_NO_SNAPSHOT | VIR_CONNECT_LIST_DOMAINS_NO_CHECKPOINT;

    bits |= info->id >= 0 ? VIR_CONNECT_LIST_DOMAINS_ACTIVE : VIR_CONNECT_LIST_DOMAINS_INACTIVE;
    bits |=
        info->flags & VQ_DOMAIN_PERSISTENT ? VIR_CONNECT_LIST_DOMAINS_PERSISTENT : VIR_CONNECT_LIST_DOMAINS_TRANSIENT;
    bits |= info->flags & VQ_DOMAIN_MANAGED_SAVE ? VIR_CONNECT_LIST_DOMAINS_MANAGEDSAVE
                                                 : VIR_CONNECT_LIST_DOMAINS_NO_MANAGEDSAVE;
    bits |=
        info->flags & VQ_DOMAIN_AUTOSTART ? VIR_CONNECT_LIST_DOMAINS_AUTOSTART : VIR_CONNECT_LIST_DOMAINS_NO_AUTOSTART;
    return bits;
}

static bool passes(const struct vq_domain_info *info, uint32_t filters)
{
    uint32_t bits = bits_of(info);

    for (size_t i = 0; i < VQ_N_ELEMENTS(filter_groups); i++)
        if ((filters & filter_groups[i]) != 0 && (filters & filter_groups[i] & bits) == 0)
            return false;
    return true;
}

/* A walk over the domains that this call sees and that pass its filters. The names are the view's. */
struct walk {
    struct vq_call *call;
    struct vq_store_view *view;
    struct vq_store_cursor *cursor;
    uint32_t filters;
};

/* False: the call was refused and is gone. */
static bool walk_begin(struct walk *walk, struct vq_call *call, uint32_t filters)
{
    struct vq_error err = VQ_ERROR_INIT;

    *walk = (struct walk){.call = call, .filters = filters};
    if (vq_store_view_begin(call->daemon->store, &walk->view, &err) == 0)
        return true;
    vq_call_fail(call, &err);
    return false;
}

static bool walk_next(struct walk *walk, struct vq_domain_info *info)
{
    const struct vq_domain_head *head;

    while ((head = vq_store_domain_next(walk->view, &walk->cursor)) != NULL)
        if (vq_handler_sees(walk->call, head) && vq_overlay_info(walk->call->daemon, head, info) &&
            passes(info, walk->filters))
            return true;
    return false;
}

static void walk_end(struct walk *walk)
{
    vq_store_cursor_end(&walk->cursor);
    vq_store_view_end(walk->view);
}

/* Answer while the view still holds the names. */
static void walk_reply(struct walk *walk)
{
    vq_store_cursor_end(&walk->cursor);
    vq_call_reply(walk->call);
    vq_store_view_end(walk->view);
}

static void to_wire(const struct vq_domain_info *info, struct vq_remote_domain *ret)
{
    ret->name = info->name;
    ret->id = info->id;
    memcpy(ret->uuid, info->uuid, sizeof(ret->uuid));
}

static void list_all_domains(struct vq_call *call)
{
    const struct vq_remote_connect_list_all_domains_args *args = call->request.args;
    struct vq_remote_connect_list_all_domains_ret *ret = call->request.ret;
    struct vq_domain_info info;
    struct walk walk;

    if (!vq_handler_flags_are(call, ALL_FILTERS) || !walk_begin(&walk, call, args->flags))
        return;
    if (args->need_results != 0) {
        ret->domains = vq_handler_alloc(call, vq_store_domain_count(walk.view), sizeof(*ret->domains));
        if (ret->domains == NULL) {
            walk_end(&walk);
            return;
        }
    }
    while (walk_next(&walk, &info)) {
        if (args->need_results != 0)
            to_wire(&info, &ret->domains[ret->n_domains++]);
        ret->ret++;
    }
    walk_reply(&walk);
}

/* Each of these two serves one procedure for each of the two filters. */
static int32_t count(struct walk *walk)
{
    struct vq_domain_info info;
    int32_t n = 0;

    while (walk_next(walk, &info))
        n++;
    return n;
}

static void num_of_domains(struct vq_call *call)
{
    struct vq_remote_connect_num_of_domains_ret *ret = call->request.ret;
    struct walk walk;

    if (!walk_begin(&walk, call, VIR_CONNECT_LIST_DOMAINS_ACTIVE))
        return;
    ret->num = count(&walk);
    walk_reply(&walk);
}

static void num_of_defined_domains(struct vq_call *call)
{
    struct vq_remote_connect_num_of_defined_domains_ret *ret = call->request.ret;
    struct walk walk;

    if (!walk_begin(&walk, call, VIR_CONNECT_LIST_DOMAINS_INACTIVE))
        return;
    ret->num = count(&walk);
    walk_reply(&walk);
}

/* How many the client has room for; false: it was refused and is gone. */
static bool list_size(struct vq_call *call, int32_t wanted, size_t *ret_max)
{
    if (wanted >= 0 && wanted <= VQ_STORE_DOMAINS_MAX) {
        *ret_max = (size_t)wanted;
        return true;
    }
    vq_handler_fail(call, VIR_FROM_RPC, VIR_ERR_RPC, "a list of %d domains: at most %d can be asked for", wanted,
                    VQ_STORE_DOMAINS_MAX);
    return false;
}

static void list_domains(struct vq_call *call)
{
    const struct vq_remote_connect_list_domains_args *args = call->request.args;
    struct vq_remote_connect_list_domains_ret *ret = call->request.ret;
    struct vq_domain_info info;
    struct walk walk;
    size_t max;

    if (!list_size(call, args->maxids, &max))
        return;
    ret->ids = vq_handler_alloc(call, max, sizeof(*ret->ids));
    if (ret->ids == NULL || !walk_begin(&walk, call, VIR_CONNECT_LIST_DOMAINS_ACTIVE))
        return;
    while (ret->n_ids < max && walk_next(&walk, &info))
        ret->ids[ret->n_ids++] = info.id;
    walk_reply(&walk);
}

static void list_defined_domains(struct vq_call *call)
{
    const struct vq_remote_connect_list_defined_domains_args *args = call->request.args;
    struct vq_remote_connect_list_defined_domains_ret *ret = call->request.ret;
    struct vq_domain_info info;
    struct walk walk;
    size_t max;

    if (!list_size(call, args->maxnames, &max))
        return;
    ret->names = vq_handler_alloc(call, max, sizeof(*ret->names));
    if (ret->names == NULL || !walk_begin(&walk, call, VIR_CONNECT_LIST_DOMAINS_INACTIVE))
        return;
    while (ret->n_names < max && walk_next(&walk, &info))
        ret->names[ret->n_names++] = info.name;
    walk_reply(&walk);
}

/* ---- Look-ups ---- */

/* Answer with the domain, if the call sees it; false: it does not, and the call is still there. */
static bool reply_with(struct vq_call *call, const struct vq_domain_head *head, int32_t only_id,
                       struct vq_remote_domain *ret)
{
    struct vq_domain_info info;

    if (head == NULL || !vq_handler_sees(call, head) || !vq_overlay_info(call->daemon, head, &info) ||
        (only_id >= 0 && info.id != only_id))
        return false;
    to_wire(&info, ret);
    vq_call_reply(call);
    return true;
}

static void lookup_by_id(struct vq_call *call)
{
    const struct vq_remote_domain_lookup_by_id_args *args = call->request.args;
    struct vq_remote_domain_lookup_by_id_ret *ret = call->request.ret;
    uint8_t uuid[VQ_UUID_BYTES];
    struct walk walk;

    if (!walk_begin(&walk, call, 0))
        return;
    const struct vq_domain_head *head = vq_store_domain_find_by_id(walk.view, args->id);
    if (vq_overlay_find_id(call->daemon->overlay, args->id, uuid))
        head = vq_store_domain_find(walk.view, uuid);
    if (args->id < 0 || !reply_with(call, head, args->id, &ret->dom))
        vq_handler_fail(call, VIR_FROM_QEMU, VIR_ERR_NO_DOMAIN, "no domain with matching id %d", args->id);
    walk_end(&walk);
}

static void lookup_by_name(struct vq_call *call)
{
    const struct vq_remote_domain_lookup_by_name_args *args = call->request.args;
    struct vq_remote_domain_lookup_by_name_ret *ret = call->request.ret;
    struct walk walk;

    if (!walk_begin(&walk, call, 0))
        return;
    const struct vq_domain_head *head =
        vq_store_domain_find_by_name(walk.view, (enum vq_driver_type)call->request.driver->driver_type, args->name);
    if (!reply_with(call, head, -1, &ret->dom))
        vq_handler_fail(call, VIR_FROM_QEMU, VIR_ERR_NO_DOMAIN, "no domain with matching name '%s'", args->name);
    walk_end(&walk);
}

static void lookup_by_uuid(struct vq_call *call)
{
    const struct vq_remote_domain_lookup_by_uuid_args *args = call->request.args;
    struct vq_remote_domain_lookup_by_uuid_ret *ret = call->request.ret;
    char text[VQ_UUID_TEXT];
    struct walk walk;

    if (!walk_begin(&walk, call, 0))
        return;
    if (!reply_with(call, vq_store_domain_find(walk.view, args->uuid), -1, &ret->dom)) {
        vq_uuid_format(args->uuid, text);
        vq_handler_fail(call, VIR_FROM_QEMU, VIR_ERR_NO_DOMAIN, "no domain with matching uuid '%s'", text);
    }
    walk_end(&walk);
}

/* ---- What is known of one ---- */

static void get_state(struct vq_call *call)
{
    struct vq_remote_domain_get_state_ret *ret = call->request.ret;

    if (!vq_handler_flags_are(call, 0))
        return;
    ret->state = call->domain.state;
    ret->reason = call->domain.reason;
    vq_call_reply(call);
}

static void get_info(struct vq_call *call)
{
    struct vq_remote_domain_get_info_ret *ret = call->request.ret;

    ret->state = call->domain.state;
    ret->maxMem = call->domain.max_memory_kib;
    ret->memory = call->domain.memory_kib;
    ret->nrVirtCpu = (uint16_t)(call->domain.vcpus > UINT16_MAX ? UINT16_MAX : call->domain.vcpus);
    vq_call_reply(call);
}

static void get_max_memory(struct vq_call *call)
{
    struct vq_remote_domain_get_max_memory_ret *ret = call->request.ret;

    ret->memory = call->domain.max_memory_kib;
    vq_call_reply(call);
}

static void get_max_vcpus(struct vq_call *call)
{
    struct vq_remote_domain_get_max_vcpus_ret *ret = call->request.ret;

    ret->num = (int32_t)call->domain.max_vcpus;
    vq_call_reply(call);
}

static void get_os_type(struct vq_call *call)
{
    static const char *const types[] = {
        [VQ_DRIVER_QEMU] = "hvm", [VQ_DRIVER_LXC] = "exe", [VQ_DRIVER_XEN] = "hvm", [VQ_DRIVER_TEST] = "linux"};
    struct vq_remote_domain_get_os_type_ret *ret = call->request.ret;
    uint8_t type = call->request.driver->driver_type;

    ret->type = type < VQ_N_ELEMENTS(types) && types[type] != NULL ? types[type] : "hvm";
    vq_call_reply(call);
}

static bool is_set(const struct vq_call *call, uint32_t flag)
{
    return (call->domain.flags & flag) != 0;
}

static void is_active(struct vq_call *call)
{
    ((struct vq_remote_domain_is_active_ret *)call->request.ret)->active = call->domain.id >= 0;
    vq_call_reply(call);
}

static void is_persistent(struct vq_call *call)
{
    ((struct vq_remote_domain_is_persistent_ret *)call->request.ret)->persistent = is_set(call, VQ_DOMAIN_PERSISTENT);
    vq_call_reply(call);
}

static void is_updated(struct vq_call *call)
{
    ((struct vq_remote_domain_is_updated_ret *)call->request.ret)->updated = is_set(call, VQ_DOMAIN_UPDATED);
    vq_call_reply(call);
}

static void get_autostart(struct vq_call *call)
{
    ((struct vq_remote_domain_get_autostart_ret *)call->request.ret)->autostart = is_set(call, VQ_DOMAIN_AUTOSTART);
    vq_call_reply(call);
}

static void get_autostart_once(struct vq_call *call)
{
    ((struct vq_remote_domain_get_autostart_once_ret *)call->request.ret)->autostart =
        is_set(call, VQ_DOMAIN_AUTOSTART_ONCE);
    vq_call_reply(call);
}

static void has_managed_save_image(struct vq_call *call)
{
    if (!vq_handler_flags_are(call, 0))
        return;
    ((struct vq_remote_domain_has_managed_save_image_ret *)call->request.ret)->result =
        is_set(call, VQ_DOMAIN_MANAGED_SAVE);
    vq_call_reply(call);
}

/* ---- Settings beside the XML ---- */

static void settings_done(enum vq_raft_outcome outcome, const struct vq_result *result, const struct vq_error *err,
                          void *data)
{
    struct vq_call *call = data;

    if (outcome != VQ_RAFT_APPLIED)
        vq_call_fail(call, err);
    else if (result->code != VIR_ERR_OK)
        vq_handler_fail(call, result->from, result->code, "%s", result->message);
    else
        vq_call_reply(call);
}

static void propose_settings(struct vq_call *call, Vq__DomainSettings *settings)
{
    Vq__Command command = VQ__COMMAND__INIT;

    if (!is_set(call, VQ_DOMAIN_PERSISTENT)) {
        vq_handler_fail(call, VIR_FROM_QEMU, VIR_ERR_OPERATION_INVALID, "cannot set autostart for transient domain");
        return;
    }
    settings->uuid = (ProtobufCBinaryData){.data = call->domain.uuid, .len = sizeof(call->domain.uuid)};
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_SETTINGS;
    command.domain_settings = settings;
    vq_propose(call->daemon, &command, 0, settings_done, call);
}

static void set_autostart(struct vq_call *call)
{
    const struct vq_remote_domain_set_autostart_args *args = call->request.args;
    Vq__DomainSettings settings = VQ__DOMAIN_SETTINGS__INIT;

    settings.has_autostart = true;
    settings.autostart = args->autostart != 0;
    propose_settings(call, &settings);
}

static void set_autostart_once(struct vq_call *call)
{
    const struct vq_remote_domain_set_autostart_once_args *args = call->request.args;
    Vq__DomainSettings settings = VQ__DOMAIN_SETTINGS__INIT;

    settings.has_autostart_once = true;
    settings.autostart_once = args->autostart != 0;
    propose_settings(call, &settings);
}

#define ROW(number, when, fn)                           \
    {                                                   \
        VQ_PROGRAM_REMOTE, VQ_REMOTE_##number, when, fn \
    }
const struct vq_node_row vq_domain_rows[] = {
    ROW(CONNECT_LIST_ALL_DOMAINS, VQ_WITH_DRIVER, list_all_domains),
    ROW(CONNECT_NUM_OF_DOMAINS, VQ_WITH_DRIVER, num_of_domains),
    ROW(CONNECT_NUM_OF_DEFINED_DOMAINS, VQ_WITH_DRIVER, num_of_defined_domains),
    ROW(CONNECT_LIST_DOMAINS, VQ_WITH_DRIVER, list_domains),
    ROW(CONNECT_LIST_DEFINED_DOMAINS, VQ_WITH_DRIVER, list_defined_domains),
    ROW(DOMAIN_LOOKUP_BY_ID, VQ_WITH_DRIVER, lookup_by_id),
    ROW(DOMAIN_LOOKUP_BY_NAME, VQ_WITH_DRIVER, lookup_by_name),
    ROW(DOMAIN_LOOKUP_BY_UUID, VQ_WITH_DRIVER, lookup_by_uuid),
    ROW(DOMAIN_GET_STATE, VQ_WITH_DRIVER, get_state),
    ROW(DOMAIN_GET_INFO, VQ_WHEN_INACTIVE, get_info),
    ROW(DOMAIN_GET_MAX_MEMORY, VQ_WHEN_INACTIVE, get_max_memory),
    ROW(DOMAIN_GET_MAX_VCPUS, VQ_WITH_DRIVER, get_max_vcpus),
    ROW(DOMAIN_GET_OS_TYPE, VQ_WITH_DRIVER, get_os_type),
    ROW(DOMAIN_IS_ACTIVE, VQ_WITH_DRIVER, is_active),
    ROW(DOMAIN_IS_PERSISTENT, VQ_WITH_DRIVER, is_persistent),
    ROW(DOMAIN_IS_UPDATED, VQ_WITH_DRIVER, is_updated),
    ROW(DOMAIN_GET_AUTOSTART, VQ_WITH_DRIVER, get_autostart),
    ROW(DOMAIN_GET_AUTOSTART_ONCE, VQ_WITH_DRIVER, get_autostart_once),
    ROW(DOMAIN_HAS_MANAGED_SAVE_IMAGE, VQ_WITH_DRIVER, has_managed_save_image),
    ROW(DOMAIN_SET_AUTOSTART, VQ_WITH_DRIVER, set_autostart),
    ROW(DOMAIN_SET_AUTOSTART_ONCE, VQ_WITH_DRIVER, set_autostart_once),
};
#undef ROW
const size_t vq_n_domain_rows = VQ_N_ELEMENTS(vq_domain_rows);
