/* Procedures that the agent inside the guest answers with one command: file systems, time, passwords, keys, suspending. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt-qemu.h>
#include <libvirt/libvirt.h>
#include <string.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/agent.h"
#include "drivers/qemu/agent_answers.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/handlers_define.h"
#include "drivers/qemu/leases.h"
#include "drivers/qemu/qmp.h"
#include "proto/gen/qemu.h"
#include "proto/gen/remote.h"

enum { RESULT_MAX_BYTES = 4 * 1024 * 1024, COMMAND_MAX_BYTES = 1024 * 1024, KEYS_MAX = 2048 };

static const int64_t ns_per_second = 1000000000;

/* ---- What they share ---- */

bool vq_qemu_has_agent(const struct vq_qemu_guest *guest)
{
    return vq_agent_channel(guest) != NULL;
}

void vq_qemu_refuse_agent(struct vq_request *request, const struct vq_qemu_guest *guest)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (!vq_agent_is_there(guest, &err))
        vq_request_fail(request, &err);
    else
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_UNSUPPORTED, "the guest agent cannot do this");
}

static void fail(struct vq_request *request, int code, const char *text)
{
    vq_qemu_refuse(request, VQ_FROM, code, "%s", text);
}

/* One command, whose answer is the call's. */
static void ask(struct vq_qemu_guest *guest, struct vq_request *request, const char *command, json_t *take_arguments, vq_agent_cb cb)
{
    vq_agent_call(guest, command, take_arguments, guest->agent_timeout, cb, request);
}

static void done(const struct vq_agent_answer *answer, void *data)
{
    if (answer->err != NULL)
        vq_request_fail(data, answer->err);
    else
        vq_request_reply(data);
}

static json_t *texts(const char **list, uint32_t n)
{
    json_t *array = json_array();

    for (uint32_t i = 0; i < n; i++)
        (void)json_array_append_new(array, json_string(list[i]));
    return array;
}

/* ---- How long is waited ---- */

static void domain_agent_set_response_timeout(struct vq_request *request)
{
    const struct vq_remote_domain_agent_set_response_timeout_args *args = request->args;
    struct vq_qemu_guest *guest;
    struct vq_error err = VQ_ERROR_INIT;

    if (!vq_qemu_check_flags(request, args->flags, 0))
        return;
    if (args->timeout < VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "guest agent timeout '%d' is less than the minimum '%d'",
                       args->timeout, VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK);
        return;
    }
    if (vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid) == NULL) {
        vq_request_reply(request); /* it is a setting of a run, and there is none: as if the run had just ended */
        return;
    }
    guest = vq_qemu_guest_of(request);
    if (guest == NULL)
        return;
    guest->agent_timeout = args->timeout;
    if (vq_qemu_record_write(guest, &err) < 0)
        vq_request_fail(request, &err);
    else
        vq_request_reply(request);
}

/* ---- File systems ---- */

static void frozen(const struct vq_agent_answer *answer, void *data)
{
    struct vq_request *request = data;
    int32_t *filesystems = request->procedure->number == VQ_REMOTE_DOMAIN_FSFREEZE
                               ? &((struct vq_remote_domain_fsfreeze_ret *)request->ret)->filesystems
                               : &((struct vq_remote_domain_fsthaw_ret *)request->ret)->filesystems;
    json_int_t n = json_integer_value(answer->value);

    if (answer->err == NULL && (!json_is_integer(answer->value) || n < 0 || n > INT32_MAX)) {
        fail(request, VIR_ERR_INTERNAL_ERROR, "malformed return value");
        return;
    }
    *filesystems = (int32_t)n;
    done(answer, request);
}

static void domain_fsfreeze(struct vq_request *request)
{
    const struct vq_remote_domain_fsfreeze_args *args = request->args;
    struct vq_qemu_guest *guest;

    if (!vq_qemu_check_flags(request, args->flags, 0) || (guest = vq_agent_guest_of(request)) == NULL)
        return;
    if (args->n_mountpoints > 0)
        ask(guest, request, "guest-fsfreeze-freeze-list",
            json_pack("{s:o}", "mountpoints", texts(args->mountpoints, args->n_mountpoints)), frozen);
    else
        ask(guest, request, "guest-fsfreeze-freeze", NULL, frozen);
}

/* All of them, whichever are named: an agent knows no other way. */
static void domain_fsthaw(struct vq_request *request)
{
    const struct vq_remote_domain_fsthaw_args *args = request->args;
    struct vq_qemu_guest *guest;

    if (vq_qemu_check_flags(request, args->flags, 0) && (guest = vq_agent_guest_of(request)) != NULL)
        ask(guest, request, "guest-fsfreeze-thaw", NULL, frozen);
}

static void domain_fstrim(struct vq_request *request)
{
    const struct vq_remote_domain_fstrim_args *args = request->args;
    struct vq_qemu_guest *guest;

    if (!vq_qemu_check_flags(request, args->flags, 0))
        return;
    if (args->mountPoint != NULL)
        fail(request, VIR_ERR_ARGUMENT_UNSUPPORTED, "Specifying mount point is not supported for now");
    else if (args->minimum > INT64_MAX)
        fail(request, VIR_ERR_INVALID_ARG, "the minimum is more than can be written down");
    else if ((guest = vq_agent_guest_of(request)) != NULL)
        ask(guest, request, "guest-fstrim", json_pack("{s:I}", "minimum", (json_int_t)args->minimum), done);
}

/* False: there is no more memory for it. */
static bool fill_filesystem(struct vq_request *request, const struct vq_qemu_guest *guest, json_t *one,
                            struct vq_remote_domain_fsinfo *info)
{
    json_t *disks = json_object_get(one, "disk"), *disk;
    size_t i;

    info->mountpoint = vq_arena_strdup(request->arena, vq_agent_text(one, "mountpoint"));
    info->name = vq_arena_strdup(request->arena, vq_agent_text(one, "name"));
    info->fstype = vq_arena_strdup(request->arena, vq_agent_text(one, "type"));
    info->dev_aliases = vq_arena_alloc(request->arena, json_array_size(disks) + 1, sizeof(*info->dev_aliases));
    if (info->mountpoint == NULL || info->name == NULL || info->fstype == NULL || info->dev_aliases == NULL)
        return false;
    json_array_foreach(disks, i, disk) {
        const char *target = vq_agent_disk_target(guest, disk);

        if (target == NULL)
            continue;
        info->dev_aliases[info->n_dev_aliases] = vq_arena_strdup(request->arena, target);
        if (info->dev_aliases[info->n_dev_aliases++] == NULL)
            return false;
    }
    return true;
}

static void filesystems_known(const struct vq_agent_answer *answer, void *data)
{
    struct vq_request *request = data;
    struct vq_remote_domain_get_fsinfo_ret *ret = request->ret;
    const struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);
    struct vq_error err = VQ_ERROR_INIT;
    size_t i;
    json_t *one;

    if (answer->err != NULL || guest == NULL) {
        answer->err != NULL ? vq_request_fail(request, answer->err) : fail(request, VIR_ERR_OPERATION_INVALID, "domain is not running");
        return;
    }
    if (vq_agent_filesystems_check(answer->value, &err) < 0) {
        vq_request_fail(request, &err);
        return;
    }
    ret->info = vq_qemu_request_alloc(request, sizeof(*ret->info) * (json_array_size(answer->value) + 1));
    if (ret->info == NULL)
        return;
    json_array_foreach(answer->value, i, one) {
        if (!fill_filesystem(request, guest, one, &ret->info[i])) {
            fail(request, VIR_ERR_NO_MEMORY, "the answer is longer than one call may use");
            return;
        }
    }
    ret->n_info = ret->ret = (uint32_t)json_array_size(answer->value);
    vq_request_reply(request);
}

static void domain_get_fsinfo(struct vq_request *request)
{
    const struct vq_remote_domain_get_fsinfo_args *args = request->args;
    struct vq_qemu_guest *guest;

    if (vq_qemu_check_flags(request, args->flags, 0) && (guest = vq_agent_guest_of(request)) != NULL)
        ask(guest, request, "guest-get-fsinfo", NULL, filesystems_known);
}

/* ---- Time ---- */

static void time_known(const struct vq_agent_answer *answer, void *data)
{
    struct vq_request *request = data;
    struct vq_remote_domain_get_time_ret *ret = request->ret;
    int64_t ns = json_integer_value(answer->value);

    if (answer->err == NULL && (!json_is_integer(answer->value) || ns < 0)) {
        fail(request, VIR_ERR_INTERNAL_ERROR, "malformed return value");
        return;
    }
    ret->seconds = ns / ns_per_second;
    ret->nseconds = (uint32_t)(ns % ns_per_second);
    done(answer, request);
}

static void domain_get_time(struct vq_request *request)
{
    const struct vq_remote_domain_get_time_args *args = request->args;
    struct vq_qemu_guest *guest;

    if (vq_qemu_check_flags(request, args->flags, 0) && (guest = vq_agent_guest_of(request)) != NULL)
        ask(guest, request, "guest-get-time", NULL, time_known);
}

static void reinjection_reset(json_t *reply, const struct vq_error *err, void *data)
{
    (void)reply;
    if (err != NULL)
        vq_request_fail(data, err);
    else
        vq_request_reply(data);
}

/* Clock interrupts that QEMU still owes the guest are not to make up for time that it has just been given. */
static void time_set(const struct vq_agent_answer *answer, void *data)
{
    struct vq_request *request = data;
    struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);

    if (answer->err == NULL && guest != NULL && guest->phase == VQ_GUEST_ACTIVE && guest->live != NULL &&
        (vq_streq(guest->live->os.arch, "x86_64") || vq_streq(guest->live->os.arch, "i686")))
        (void)vq_qmp_call(guest->qmp, "rtc-reset-reinjection", NULL, VQ_QMP_TIMEOUT_MS, reinjection_reset, request);
    else
        done(answer, request);
}

static void domain_set_time(struct vq_request *request)
{
    const struct vq_remote_domain_set_time_args *args = request->args;
    bool is_sync = (args->flags & VIR_DOMAIN_TIME_SYNC) != 0;
    struct vq_qemu_guest *guest;

    if (!vq_qemu_check_flags(request, args->flags, VIR_DOMAIN_TIME_SYNC) || (guest = vq_agent_guest_of(request)) == NULL)
        return;
    if (!is_sync && (args->seconds < 0 || args->seconds >= INT64_MAX / ns_per_second)) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "Time '%lld' is too big for guest agent", (long long)args->seconds);
        return;
    }
    ask(guest, request, "guest-set-time",
        is_sync ? NULL : json_pack("{s:I}", "time", (json_int_t)(args->seconds * ns_per_second + args->nseconds % ns_per_second)),
        time_set);
}

/* ---- Users ---- */

static char *base64(const char *text)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *bytes = (const unsigned char *)text;
    size_t length = strlen(text);
    struct vq_buffer out = VQ_BUFFER_INIT;

    for (size_t i = 0; i < length; i += 3) {
        uint32_t group = (uint32_t)bytes[i] << 16 | (i + 1 < length ? (uint32_t)bytes[i + 1] << 8 : 0) |
                         (i + 2 < length ? bytes[i + 2] : 0);
        char four[4] = { digits[group >> 18], digits[group >> 12 & 63], i + 1 < length ? digits[group >> 6 & 63] : '=',
                         i + 2 < length ? digits[group & 63] : '=' };

        vq_buffer_add_bytes(&out, four, sizeof(four));
    }
    return vq_buffer_steal(&out);
}

static void domain_set_user_password(struct vq_request *request)
{
    const struct vq_remote_domain_set_user_password_args *args = request->args;
    VQ_AUTOFREE char *password = NULL;
    struct vq_qemu_guest *guest;

    if (!vq_qemu_check_flags(request, args->flags, VIR_DOMAIN_PASSWORD_ENCRYPTED))
        return;
    if (args->user == NULL || args->password == NULL) {
        vq_qemu_refuse(request, VIR_FROM_DOMAIN, VIR_ERR_INVALID_ARG, "%s in %s must not be NULL",
                       args->user == NULL ? "user" : "password", request->procedure->api);
        return;
    }
    guest = vq_agent_guest_of(request);
    if (guest == NULL)
        return;
    password = base64(args->password);
    ask(guest, request, "guest-set-user-password",
        json_pack("{s:b,s:s,s:s}", "crypted", (args->flags & VIR_DOMAIN_PASSWORD_ENCRYPTED) != 0, "username", args->user,
                  "password", password),
        done);
    explicit_bzero(password, strlen(password));
}

/* {"keys": ["ssh-ed25519 AAAA... me", ...]} */
static void keys_known(const struct vq_agent_answer *answer, void *data)
{
    struct vq_request *request = data;
    struct vq_remote_domain_authorized_ssh_keys_get_ret *ret = request->ret;
    json_t *keys = json_object_get(answer->value, "keys"), *key;
    size_t i, n = json_array_size(keys);

    if (answer->err != NULL) {
        done(answer, request);
        return;
    }
    if (!json_is_array(keys) || n > KEYS_MAX) {
        fail(request, VIR_ERR_INTERNAL_ERROR, "qemu agent didn't return an array of keys");
        return;
    }
    ret->keys = vq_qemu_request_alloc(request, sizeof(*ret->keys) * (n + 1));
    if (ret->keys == NULL)
        return;
    json_array_foreach(keys, i, key) {
        ret->keys[i] = vq_arena_strdup(request->arena, json_string_value(key));
        if (ret->keys[i] != NULL)
            continue;
        fail(request, VIR_ERR_INTERNAL_ERROR, "qemu agent didn't return an array of keys");
        return;
    }
    ret->n_keys = (uint32_t)n;
    vq_request_reply(request);
}

static void domain_authorized_ssh_keys_get(struct vq_request *request)
{
    const struct vq_remote_domain_authorized_ssh_keys_get_args *args = request->args;
    struct vq_qemu_guest *guest;

    if (vq_qemu_check_flags(request, args->flags, 0) && (guest = vq_agent_guest_of(request)) != NULL)
        ask(guest, request, "guest-ssh-get-authorized-keys", json_pack("{s:s}", "username", args->user), keys_known);
}

static void domain_authorized_ssh_keys_set(struct vq_request *request)
{
    const struct vq_remote_domain_authorized_ssh_keys_set_args *args = request->args;
    const uint32_t append = VIR_DOMAIN_AUTHORIZED_SSH_KEYS_SET_APPEND, remove = VIR_DOMAIN_AUTHORIZED_SSH_KEYS_SET_REMOVE;
    struct vq_qemu_guest *guest;
    json_t *arguments;

    if (!vq_qemu_check_flags(request, args->flags, append | remove))
        return;
    if ((args->flags & (append | remove)) == (append | remove)) {
        vq_qemu_refuse(request, VIR_FROM_DOMAIN, VIR_ERR_INVALID_ARG,
                       "Flags 'VIR_DOMAIN_AUTHORIZED_SSH_KEYS_SET_APPEND' and 'VIR_DOMAIN_AUTHORIZED_SSH_KEYS_SET_REMOVE' are mutually exclusive");
        return;
    }
    if (args->flags != 0 && args->n_keys == 0) {
        vq_qemu_refuse(request, VIR_FROM_DOMAIN, VIR_ERR_INVALID_ARG, "keys in %s must not be NULL", request->procedure->api);
        return;
    }
    guest = vq_agent_guest_of(request);
    if (guest == NULL)
        return;
    arguments = json_pack("{s:s,s:o}", "username", args->user, "keys", texts(args->keys, args->n_keys));
    if ((args->flags & remove) == 0)
        (void)json_object_set_new(arguments, "reset", json_boolean((args->flags & append) == 0));
    ask(guest, request, (args->flags & remove) != 0 ? "guest-ssh-remove-authorized-keys" : "guest-ssh-add-authorized-keys",
        arguments, done);
}

/* ---- The name of the host inside ---- */

static void hostname_known(const struct vq_agent_answer *answer, void *data)
{
    struct vq_request *request = data;
    struct vq_remote_domain_get_hostname_ret *ret = request->ret;
    const char *name = vq_agent_text(answer->value, "host-name");

    ret->hostname = vq_arena_strdup(request->arena, name);
    if (answer->err != NULL) /* whatever it was: libvirtd says no more either */
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_NO_HOSTNAME, "no hostname found for domain %s", request->domain->name);
    else if (ret->hostname == NULL)
        fail(request, VIR_ERR_INTERNAL_ERROR, "'host-name' missing in guest-get-host-name reply");
    else
        done(answer, request);
}

static void hostname_from_leases(struct vq_request *request)
{
    struct vq_remote_domain_get_hostname_ret *ret = request->ret;
    const struct vq_qemu_guest *guest = vq_qemu_guest_of(request);
    struct vq_qemu_lease lease;

    if (guest == NULL)
        return;
    for (size_t i = 0; ret->hostname == NULL && guest->live != NULL && i < guest->live->devices.n_interfaces; i++)
        if (vq_qemu_leases_of(guest->qemu, guest->live->devices.interfaces[i], &lease, 1) == 1 && lease.hostname[0] != '\0')
            ret->hostname = vq_arena_strdup(request->arena, lease.hostname);
    if (ret->hostname == NULL)
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_NO_HOSTNAME, "no hostname found for domain %s", guest->name);
    else
        vq_request_reply(request);
}

static void domain_get_hostname(struct vq_request *request)
{
    const struct vq_remote_domain_get_hostname_args *args = request->args;
    const uint32_t lease = VIR_DOMAIN_GET_HOSTNAME_LEASE, agent = VIR_DOMAIN_GET_HOSTNAME_AGENT;
    struct vq_qemu_guest *guest;

    if (!vq_qemu_check_flags(request, args->flags, lease | agent))
        return;
    if ((args->flags & (lease | agent)) == (lease | agent))
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG,
                       "Flags 'VIR_DOMAIN_GET_HOSTNAME_LEASE' and 'VIR_DOMAIN_GET_HOSTNAME_AGENT' are mutually exclusive");
    else if ((args->flags & lease) != 0)
        hostname_from_leases(request);
    else if ((guest = vq_agent_guest_of(request)) != NULL)
        ask(guest, request, "guest-get-host-name", NULL, hostname_known);
}

/* ---- Suspending ---- */

static const char *const suspend_commands[] = { [VIR_NODE_SUSPEND_TARGET_MEM] = "guest-suspend-ram",
                                                [VIR_NODE_SUSPEND_TARGET_DISK] = "guest-suspend-disk",
                                                [VIR_NODE_SUSPEND_TARGET_HYBRID] = "guest-suspend-hybrid" };

/* {"wakeup-suspend-support": true}: a guest that nothing can wake is not put to sleep. */
static void wakeup_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_request *request = data;
    const struct vq_remote_domain_pm_suspend_for_duration_args *args = request->args;
    struct vq_qemu_guest *guest;

    if (err != NULL)
        vq_request_fail(request, err);
    else if (!json_is_true(json_object_get(reply, "wakeup-suspend-support")))
        fail(request, VIR_ERR_OPERATION_UNSUPPORTED, "Domain does not have suspend support");
    else if ((guest = vq_agent_guest_of(request)) != NULL)
        vq_agent_call_await(guest, suspend_commands[args->target], NULL, guest->agent_timeout, VQ_AGENT_SUSPEND, done, request);
}

static void domain_pm_suspend_for_duration(struct vq_request *request)
{
    const struct vq_remote_domain_pm_suspend_for_duration_args *args = request->args;
    bool is_disk = args->target == VIR_NODE_SUSPEND_TARGET_DISK;
    struct vq_qemu_guest *guest;

    if (!vq_qemu_check_flags(request, args->flags, 0))
        return;
    if (args->duration != 0) {
        fail(request, VIR_ERR_ARGUMENT_UNSUPPORTED, "Duration not supported. Use 0 for now");
        return;
    }
    if (args->target >= VQ_N_ELEMENTS(suspend_commands)) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "Unknown suspend target: %u", args->target);
        return;
    }
    guest = vq_qemu_guest_of(request);
    if (guest == NULL || !vq_qemu_activity_allows(request, guest))
        return;
    if (guest->live != NULL &&
        (is_disk ? guest->live->pm_suspend_to_disk : guest->live->pm_suspend_to_mem) == VQ_SWITCH_OFF)
        fail(request, VIR_ERR_OPERATION_UNSUPPORTED, is_disk ? "S4 state is disabled for this domain"
                                                             : "S3 state is disabled for this domain");
    else
        (void)vq_qmp_call(guest->qmp, "query-current-machine", NULL, VQ_QMP_TIMEOUT_MS, wakeup_known, request);
}

/* ---- Any command ---- */

static void command_answered(const struct vq_agent_answer *answer, void *data)
{
    struct vq_request *request = data;
    struct vq_qemu_domain_agent_command_ret *ret = request->ret;
    char *text;

    if (answer->err != NULL) {
        vq_request_fail(request, answer->err);
        return;
    }
    text = json_dumps(answer->root, JSON_COMPACT);
    if (text != NULL && strlen(text) <= RESULT_MAX_BYTES) {
        vq_qemu_reply_text(request, &ret->result, text);
        return;
    }
    free(text);
    fail(request, VIR_ERR_INTERNAL_ERROR, "the agent's answer is too large for the protocol");
}

static void domain_agent_command(struct vq_request *request)
{
    const struct vq_qemu_domain_agent_command_args *args = request->args;
    struct vq_qemu_guest *guest;
    json_error_t json_err;
    json_t *command;

    if (!vq_qemu_check_flags(request, args->flags, 0) || (guest = vq_agent_guest_of(request)) == NULL)
        return;
    if (args->timeout < VIR_DOMAIN_QEMU_AGENT_COMMAND_MIN) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "guest agent timeout '%d' is less than the minimum '%d'",
                       args->timeout, VIR_DOMAIN_QEMU_AGENT_COMMAND_MIN);
        return;
    }
    if (strlen(args->cmd) > COMMAND_MAX_BYTES) {
        fail(request, VIR_ERR_INVALID_ARG, "the command is too long");
        return;
    }
    command = json_loads(args->cmd, 0, &json_err);
    if (json_is_object(command)) {
        vq_agent_call_raw(guest, command, args->timeout, command_answered, request);
        return;
    }
    json_decref(command);
    vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INTERNAL_ERROR, "cannot parse json %s: %s", args->cmd,
                   command == NULL ? json_err.text : "it is no object");
}

#define ROW(NAME, fn) { VQ_PROGRAM_REMOTE, VQ_REMOTE_##NAME, fn }

static const struct vq_driver_row rows[] = {
    ROW(DOMAIN_AGENT_SET_RESPONSE_TIMEOUT, domain_agent_set_response_timeout),
    ROW(DOMAIN_GET_FSINFO, domain_get_fsinfo),
    ROW(DOMAIN_FSFREEZE, domain_fsfreeze),
    ROW(DOMAIN_FSTHAW, domain_fsthaw),
    ROW(DOMAIN_FSTRIM, domain_fstrim),
    ROW(DOMAIN_GET_TIME, domain_get_time),
    ROW(DOMAIN_SET_TIME, domain_set_time),
    ROW(DOMAIN_SET_USER_PASSWORD, domain_set_user_password),
    ROW(DOMAIN_AUTHORIZED_SSH_KEYS_GET, domain_authorized_ssh_keys_get),
    ROW(DOMAIN_AUTHORIZED_SSH_KEYS_SET, domain_authorized_ssh_keys_set),
    ROW(DOMAIN_PM_SUSPEND_FOR_DURATION, domain_pm_suspend_for_duration),
    ROW(DOMAIN_GET_HOSTNAME, domain_get_hostname),
    { VQ_PROGRAM_QEMU, VQ_QEMU_DOMAIN_AGENT_COMMAND, domain_agent_command },
};
const struct vq_qemu_rows vq_qemu_agent_rows = { rows, VQ_N_ELEMENTS(rows) };
