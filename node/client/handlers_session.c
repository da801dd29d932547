/* Calls about the connection itself. */
#define VQ_FROM VIR_FROM_RPC
#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <string.h>
#include <unistd.h>

#include "node/daemon.h"
#include "node/dispatch.h"
#include "node/client/events.h"
#include "node/handlers.h"
#include "node/client/session.h"
#include "proto/gen/admin.h"
#include "proto/gen/qemu.h"
#include "proto/gen/remote.h"

enum { LIB_VERSION = 9000000 };
enum { CLOSE_LINGER_MS = 5000, AUTH_NONE = 0 };

/* VIR_DRV_FEATURE numbers that the protocol itself answers. */
enum {
    FEATURE_REMOTE = 2,
    FEATURE_FD_PASSING = 8,
    FEATURE_TYPED_PARAM_STRING = 9, /* we take and send strings as typed parameters */
    FEATURE_KEEPALIVE = 10,
    FEATURE_EVENT_CALLBACK = 14,
    FEATURE_CLOSE_CALLBACK = 15,
    FEATURE_NETWORK_UPDATE_ORDER = 16, /* network_update has the command first, then the section */
};

/* ---- Authentication: none is needed ---- */

static void auth_list(struct vq_call *call)
{
    struct vq_remote_auth_list_ret *ret = call->request.ret;
    int32_t *types = vq_handler_alloc(call, 1, sizeof(*types));

    if (types == NULL)
        return;
    types[0] = AUTH_NONE;
    ret->types = types;
    ret->n_types = 1;
    vq_call_reply(call);
}

static void auth_refused(struct vq_call *call)
{
    vq_handler_fail(call, VIR_FROM_RPC, VIR_ERR_AUTH_FAILED, "this socket uses no such authentication");
}

/* ---- Open and close ---- */

static void connect_open(struct vq_call *call)
{
    const struct vq_remote_connect_open_args *args = call->request.args;
    struct vq_session *session = call->session;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_view view;

    if (session->is_opened) {
        vq_handler_fail(call, VIR_FROM_RPC, VIR_ERR_INTERNAL_ERROR, "connection already open");
        return;
    }
    if (args->name == NULL) {
        vq_handler_fail(call, VIR_FROM_RPC, VIR_ERR_INTERNAL_ERROR, "no connection URI was given");
        return;
    }
    uint64_t default_node = session->options.is_node_view ? session->daemon->node_id : 0;
    if (vq_view_open(session->daemon, args->name, default_node, &view, &err) < 0) {
        vq_call_fail(call, &err);
        return;
    }
    session->view = view;
    session->is_opened = true;
    if ((args->flags & VIR_CONNECT_RO) != 0)
        session->identity->caller.readonly = true;
    vq_call_reply(call);
}

static void connect_close(struct vq_call *call)
{
    struct vq_session *session = call->session;

    vq_call_reply(call);
    vq_session_close(session, NULL, CLOSE_LINGER_MS);
}

/* ---- What kind of connection ---- */

static bool is_supported(struct vq_session *session, int feature)
{
    struct vq_driver *driver = session->view.driver;

    switch (feature) {
    case FEATURE_REMOTE:
        return false;
    case FEATURE_FD_PASSING:
    case FEATURE_TYPED_PARAM_STRING:
    case FEATURE_KEEPALIVE:
    case FEATURE_EVENT_CALLBACK:
    case FEATURE_CLOSE_CALLBACK:
    case FEATURE_NETWORK_UPDATE_ORDER:
        return true;
    default:
        return driver != NULL && driver->supports_feature != NULL && driver->supports_feature(driver, feature);
    }
}

static void connect_supports_feature(struct vq_call *call)
{
    const struct vq_remote_connect_supports_feature_args *args = call->request.args;
    struct vq_remote_connect_supports_feature_ret *ret = call->request.ret;
    struct vq_session *session = call->session;

    if (!session->is_opened && args->feature != FEATURE_KEEPALIVE) {
        vq_handler_fail(call, VIR_FROM_RPC, VIR_ERR_INTERNAL_ERROR, "connection not open");
        return;
    }
    if (args->feature == FEATURE_KEEPALIVE)
        session->keepalive = true; /* a client that knows it is pinged from now on */
    ret->supported = is_supported(session, args->feature);
    vq_call_reply(call);
}

static void connect_get_type(struct vq_call *call)
{
    struct vq_remote_connect_get_type_ret *ret = call->request.ret;

    ret->type = call->session->view.driver->type;
    vq_call_reply(call);
}

static void connect_get_uri(struct vq_call *call)
{
    struct vq_remote_connect_get_uri_ret *ret = call->request.ret;

    ret->uri = call->session->view.uri;
    vq_call_reply(call);
}

/* The client knows its transport and asks only whether the hypervisor behind is reached securely: it is local. */
static void connect_is_secure(struct vq_call *call)
{
    struct vq_remote_connect_is_secure_ret *ret = call->request.ret;

    ret->secure = 1;
    vq_call_reply(call);
}

static void connect_get_lib_version(struct vq_call *call)
{
    struct vq_remote_connect_get_lib_version_ret *ret = call->request.ret;

    ret->lib_ver = LIB_VERSION;
    vq_call_reply(call);
}

/* ---- Somebody else's identity ---- */

/* Where a parameter goes; false: there is none of this name. */
static bool identity_place(struct vq_caller *caller, const char *field, int *ret_type, void **ret_place)
{
    const struct {
        const char *field;
        int type;
        void *place;
    } places[] = {
        {VIR_CONNECT_IDENTITY_USER_NAME, VIR_TYPED_PARAM_STRING, &caller->user},
        {VIR_CONNECT_IDENTITY_UNIX_USER_ID, VIR_TYPED_PARAM_ULLONG, &caller->uid},
        {VIR_CONNECT_IDENTITY_GROUP_NAME, VIR_TYPED_PARAM_STRING, &caller->group},
        {VIR_CONNECT_IDENTITY_UNIX_GROUP_ID, VIR_TYPED_PARAM_ULLONG, &caller->gid},
        {VIR_CONNECT_IDENTITY_PROCESS_ID, VIR_TYPED_PARAM_LLONG, &caller->pid},
        {VIR_CONNECT_IDENTITY_PROCESS_TIME, VIR_TYPED_PARAM_ULLONG, &caller->process_start},
        {VIR_CONNECT_IDENTITY_SASL_USER_NAME, VIR_TYPED_PARAM_STRING, &caller->sasl_user},
        {VIR_CONNECT_IDENTITY_X509_DISTINGUISHED_NAME, VIR_TYPED_PARAM_STRING, &caller->x509_dn},
        {VIR_CONNECT_IDENTITY_SELINUX_CONTEXT, VIR_TYPED_PARAM_STRING, &caller->selinux},
    };

    for (size_t i = 0; i < VQ_N_ELEMENTS(places); i++) {
        if (strcmp(places[i].field, field) != 0)
            continue;
        *ret_type = places[i].type;
        *ret_place = places[i].place;
        return true;
    }
    return false;
}

static int put_identity(struct vq_caller *caller, const struct vq_typed_param *param, struct vq_error *err)
{
    int type;
    void *place;

    if (!identity_place(caller, param->field, &type, &place))
        return vq_error_set_from(err, VIR_FROM_NONE, VIR_ERR_ARGUMENT_UNSUPPORTED, "parameter '%s' not supported",
                                 param->field);
    if (param->type != type)
        return vq_error_set_from(err, VIR_FROM_NONE, VIR_ERR_INVALID_ARG, "invalid type for parameter '%s'", param->field);
    if (type == VIR_TYPED_PARAM_STRING)
        *(const char **)place = param->value.s;
    else if (place == &caller->process_start)
        caller->process_start = param->value.ul;
    else if (param->value.ul > INT32_MAX)
        return vq_error_set_from(err, VIR_FROM_NONE, VIR_ERR_INVALID_ARG, "parameter '%s' is out of range", param->field);
    else
        *(uint32_t *)place = (uint32_t)param->value.ul;
    return 0;
}

/* For services that speak for their own users: they may say so, nobody else may. What the connection may do at all (read-only or
 * not) stays as it is. Calls that are under way keep the identity that they came with. */
static void connect_set_identity(struct vq_call *call)
{
    const struct vq_remote_connect_set_identity_args *args = call->request.args;
    struct vq_session *session = call->session;
    struct vq_identity *old = session->identity;
    struct vq_caller caller = old->caller; /* its texts are the old one's */
    struct vq_error err = VQ_ERROR_INIT;

    if (!vq_handler_flags_are(call, 0))
        return;
    if (!caller.has_unix || (caller.uid != 0 && caller.uid != geteuid())) {
        vq_handler_fail(call, VIR_FROM_RPC, VIR_ERR_OPERATION_DENIED, "only the daemon's own user may speak for others");
        return;
    }
    for (uint32_t i = 0; i < args->n_params; i++)
        if (put_identity(&caller, &args->params[i], &err) < 0) {
            vq_call_fail(call, &err);
            return;
        }
    session->identity = vq_identity_new(&caller);
    vq_identity_unref(old);
    vq_call_reply(call);
}

static void connect_register_close_callback(struct vq_call *call)
{
    if (call->session->has_close_callback) {
        vq_handler_fail(call, VIR_FROM_RPC, VIR_ERR_OPERATION_INVALID, "a close callback is already registered");
        return;
    }
    call->session->has_close_callback = true;
    vq_call_reply(call);
}

static void connect_unregister_close_callback(struct vq_call *call)
{
    if (!call->session->has_close_callback) {
        vq_handler_fail(call, VIR_FROM_RPC, VIR_ERR_OPERATION_INVALID, "no close callback is registered");
        return;
    }
    call->session->has_close_callback = false;
    vq_call_reply(call);
}

/* ---- Events ---- */

/* True when subscribed; else the call was refused and is gone. */
static bool subscribe(struct vq_call *call, const struct vq_subscription *want, int32_t *ret_id)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_events_subscribe(call->daemon->events, call->session, want, ret_id, &err) == 0)
        return true;
    vq_call_fail(call, &err);
    return false;
}

static void unsubscribed(struct vq_call *call, int result, const struct vq_error *err)
{
    if (result < 0)
        vq_call_fail(call, err);
    else
        vq_call_reply(call);
}

static void set_domain(struct vq_subscription *want, const struct vq_remote_domain *domain)
{
    want->has_domain = domain != NULL;
    if (domain != NULL)
        memcpy(want->uuid, domain->uuid, sizeof(want->uuid));
}

static void domain_event_register(struct vq_call *call)
{
    struct vq_remote_connect_domain_event_register_ret *ret = call->request.ret;
    const struct vq_subscription want = {
        .program = VQ_PROGRAM_REMOTE, .is_legacy = true, .event_id = VIR_DOMAIN_EVENT_ID_LIFECYCLE};
    int32_t id;

    if (!subscribe(call, &want, &id))
        return;
    ret->cb_registered = 1;
    vq_call_reply(call);
}

static void domain_event_deregister(struct vq_call *call)
{
    struct vq_error err = VQ_ERROR_INIT;
    int result = vq_events_unsubscribe_legacy(call->daemon->events, call->session, VIR_DOMAIN_EVENT_ID_LIFECYCLE, &err);

    unsubscribed(call, result, &err);
}

static void domain_event_register_any(struct vq_call *call)
{
    const struct vq_remote_connect_domain_event_register_any_args *args = call->request.args;
    const struct vq_subscription want = {
        .program = VQ_PROGRAM_REMOTE, .is_legacy = true, .event_id = (uint32_t)args->eventID};
    int32_t id;

    if (subscribe(call, &want, &id))
        vq_call_reply(call);
}

static void domain_event_deregister_any(struct vq_call *call)
{
    const struct vq_remote_connect_domain_event_deregister_any_args *args = call->request.args;
    struct vq_error err = VQ_ERROR_INIT;
    int result = vq_events_unsubscribe_legacy(call->daemon->events, call->session, (uint32_t)args->eventID, &err);

    unsubscribed(call, result, &err);
}

static void domain_event_callback_register_any(struct vq_call *call)
{
    const struct vq_remote_connect_domain_event_callback_register_any_args *args = call->request.args;
    struct vq_remote_connect_domain_event_callback_register_any_ret *ret = call->request.ret;
    struct vq_subscription want = {.program = VQ_PROGRAM_REMOTE, .event_id = (uint32_t)args->eventID};

    set_domain(&want, args->dom);
    if (subscribe(call, &want, &ret->callbackID))
        vq_call_reply(call);
}

static void domain_event_callback_deregister_any(struct vq_call *call)
{
    const struct vq_remote_connect_domain_event_callback_deregister_any_args *args = call->request.args;
    struct vq_error err = VQ_ERROR_INIT;
    int result = vq_events_unsubscribe(call->daemon->events, call->session, VQ_PROGRAM_REMOTE, args->callbackID, &err);

    unsubscribed(call, result, &err);
}

static void monitor_event_register(struct vq_call *call)
{
    const struct vq_qemu_connect_domain_monitor_event_register_args *args = call->request.args;
    struct vq_qemu_connect_domain_monitor_event_register_ret *ret = call->request.ret;
    struct vq_subscription want = {
        .program = VQ_PROGRAM_QEMU,
        .name_filter = args->event,
        .name_is_regex = (args->flags & VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_REGEX) != 0,
        .name_ignores_case = (args->flags & VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_NOCASE) != 0,
    };

    if (!vq_handler_flags_are(call, VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_REGEX |
                                        VIR_CONNECT_DOMAIN_QEMU_MONITOR_EVENT_REGISTER_NOCASE))
        return;
    set_domain(&want, args->dom);
    if (subscribe(call, &want, &ret->callbackID))
        vq_call_reply(call);
}

static void monitor_event_deregister(struct vq_call *call)
{
    const struct vq_qemu_connect_domain_monitor_event_deregister_args *args = call->request.args;
    struct vq_error err = VQ_ERROR_INIT;
    int result = vq_events_unsubscribe(call->daemon->events, call->session, VQ_PROGRAM_QEMU, args->callbackID, &err);

    unsubscribed(call, result, &err);
}

/* ---- The admin socket ---- */

static void admin_connect_open(struct vq_call *call)
{
    if (!vq_handler_flags_are(call, 0))
        return;
    call->session->is_opened = true;
    vq_call_reply(call);
}

static void admin_connect_get_lib_version(struct vq_call *call)
{
    struct vq_admin_connect_get_lib_version_ret *ret = call->request.ret;

    ret->libVer = LIB_VERSION;
    vq_call_reply(call);
}

#define ROW(number, when, fn)                           \
    {                                                   \
        VQ_PROGRAM_REMOTE, VQ_REMOTE_##number, when, fn \
    }
const struct vq_node_row vq_session_rows[] = {
    ROW(AUTH_LIST, VQ_ALWAYS, auth_list),
    ROW(AUTH_SASL_INIT, VQ_ALWAYS, auth_refused),
    ROW(AUTH_SASL_START, VQ_ALWAYS, auth_refused),
    ROW(AUTH_SASL_STEP, VQ_ALWAYS, auth_refused),
    ROW(AUTH_POLKIT, VQ_ALWAYS, auth_refused),
    ROW(CONNECT_OPEN, VQ_ALWAYS, connect_open),
    ROW(CONNECT_CLOSE, VQ_ALWAYS, connect_close),
    ROW(CONNECT_SUPPORTS_FEATURE, VQ_ALWAYS, connect_supports_feature),
    ROW(CONNECT_GET_TYPE, VQ_ALWAYS, connect_get_type),
    ROW(CONNECT_GET_URI, VQ_ALWAYS, connect_get_uri),
    ROW(CONNECT_IS_SECURE, VQ_ALWAYS, connect_is_secure),
    ROW(CONNECT_GET_LIB_VERSION, VQ_ALWAYS, connect_get_lib_version),
    ROW(CONNECT_SET_IDENTITY, VQ_ALWAYS, connect_set_identity),
    ROW(CONNECT_REGISTER_CLOSE_CALLBACK, VQ_ALWAYS, connect_register_close_callback),
    ROW(CONNECT_UNREGISTER_CLOSE_CALLBACK, VQ_ALWAYS, connect_unregister_close_callback),
    ROW(CONNECT_DOMAIN_EVENT_REGISTER, VQ_WITH_DRIVER, domain_event_register),
    ROW(CONNECT_DOMAIN_EVENT_DEREGISTER, VQ_WITH_DRIVER, domain_event_deregister),
    ROW(CONNECT_DOMAIN_EVENT_REGISTER_ANY, VQ_WITH_DRIVER, domain_event_register_any),
    ROW(CONNECT_DOMAIN_EVENT_DEREGISTER_ANY, VQ_WITH_DRIVER, domain_event_deregister_any),
    ROW(CONNECT_DOMAIN_EVENT_CALLBACK_REGISTER_ANY, VQ_WITH_DRIVER, domain_event_callback_register_any),
    ROW(CONNECT_DOMAIN_EVENT_CALLBACK_DEREGISTER_ANY, VQ_WITH_DRIVER, domain_event_callback_deregister_any),
    {VQ_PROGRAM_QEMU, VQ_QEMU_CONNECT_DOMAIN_MONITOR_EVENT_REGISTER, VQ_WITH_DRIVER, monitor_event_register},
    {VQ_PROGRAM_QEMU, VQ_QEMU_CONNECT_DOMAIN_MONITOR_EVENT_DEREGISTER, VQ_WITH_DRIVER, monitor_event_deregister},
    {VQ_PROGRAM_ADMIN, VQ_ADMIN_CONNECT_OPEN, VQ_ALWAYS, admin_connect_open},
    {VQ_PROGRAM_ADMIN, VQ_ADMIN_CONNECT_CLOSE, VQ_ALWAYS, connect_close},
    {VQ_PROGRAM_ADMIN, VQ_ADMIN_CONNECT_GET_LIB_VERSION, VQ_ALWAYS, admin_connect_get_lib_version},
};
#undef ROW
const size_t vq_n_session_rows = VQ_N_ELEMENTS(vq_session_rows);
