/* domain_get_guest_info: many questions to the agent, one list of parameters. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <stdio.h>
#include <string.h>

#include "conf/base/memory.h"
#include "drivers/qemu/agent.h"
#include "drivers/qemu/agent_answers.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/handlers_define.h"
#include "drivers/qemu/params.h"
#include "proto/gen/remote.h"

enum { PARAMS_MAX = 2048 };

struct info {
    struct vq_request *request;
    uint32_t types;
    bool is_strict;          /* these were asked for by name: what the agent cannot do is an error */
    size_t next;             /* question of the table */
    struct vq_params params;
};

static int missing(struct vq_error *err, const char *name, const char *command)
{
    return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "'%s' missing in reply of %s", name, command);
}

static int no_data(struct vq_error *err, const char *command)
{
    return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "%s reply was missing return data", command);
}

/* ---- One function for each question ---- */

/* [{"user": "root", "login-time": 1666.5, "domain": "..."}] */
static int users(struct info *info, const struct vq_qemu_guest *guest, json_t *list, struct vq_error *err)
{
    size_t i;
    json_t *user;

    (void)guest;
    if (!json_is_array(list))
        return no_data(err, "guest-get-users");
    vq_params_uint(&info->params, (uint32_t)json_array_size(list), "user.count");
    json_array_foreach(list, i, user) {
        json_t *login = json_object_get(user, "login-time");
        double seconds = json_number_value(login);

        if (vq_agent_text(user, "user") == NULL)
            return missing(err, "user", "guest-get-users");
        if (!json_is_number(login) || seconds < 0 || seconds > 1e15)
            return missing(err, "login-time", "guest-get-users");
        vq_params_text(&info->params, vq_agent_text(user, "user"), "user.%zu.name", i);
        vq_params_text(&info->params, vq_agent_text(user, "domain"), "user.%zu.domain", i);
        vq_params_u64(&info->params, (uint64_t)(seconds * 1000 + 0.5), "user.%zu.login-time", i);
    }
    return 0;
}

static int os(struct info *info, const struct vq_qemu_guest *guest, json_t *value, struct vq_error *err)
{
    static const char *const members[] = { "id", "name", "pretty-name", "version", "version-id", "machine", "variant", "variant-id",
                                           "kernel-release", "kernel-version" };

    (void)guest;
    if (!json_is_object(value))
        return no_data(err, "guest-get-osinfo");
    for (size_t i = 0; i < VQ_N_ELEMENTS(members); i++)
        vq_params_text(&info->params, vq_agent_text(value, members[i]), "os.%s", members[i]);
    return 0;
}

static int timezone_of(struct info *info, const struct vq_qemu_guest *guest, json_t *value, struct vq_error *err)
{
    json_t *offset = json_object_get(value, "offset");
    json_int_t seconds = json_integer_value(offset);

    (void)guest;
    if (!json_is_object(value))
        return no_data(err, "guest-get-timezone");
    if (!json_is_integer(offset) || seconds < INT32_MIN || seconds > INT32_MAX)
        return missing(err, "offset", "guest-get-timezone");
    vq_params_text(&info->params, vq_agent_text(value, "zone"), "timezone.name");
    vq_params_int(&info->params, (int32_t)seconds, "timezone.offset");
    return 0;
}

static int hostname(struct info *info, const struct vq_qemu_guest *guest, json_t *value, struct vq_error *err)
{
    const char *name = vq_agent_text(value, "host-name");

    (void)guest;
    if (name == NULL)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "'host-name' missing in guest-get-host-name reply");
    vq_params_text(&info->params, name, "hostname");
    return 0;
}

static void filesystem(struct info *info, const struct vq_qemu_guest *guest, json_t *one, size_t i)
{
    json_t *disks = json_object_get(one, "disk"), *disk;
    json_t *total = json_object_get(one, "total-bytes"), *used = json_object_get(one, "used-bytes");
    size_t j;

    vq_params_text(&info->params, vq_agent_text(one, "name"), "fs.%zu.name", i);
    vq_params_text(&info->params, vq_agent_text(one, "mountpoint"), "fs.%zu.mountpoint", i);
    vq_params_text(&info->params, vq_agent_text(one, "type"), "fs.%zu.fstype", i);
    if (json_is_integer(total) && json_integer_value(total) >= 0)
        vq_params_u64(&info->params, (uint64_t)json_integer_value(total), "fs.%zu.total-bytes", i);
    if (json_is_integer(used) && json_integer_value(used) >= 0)
        vq_params_u64(&info->params, (uint64_t)json_integer_value(used), "fs.%zu.used-bytes", i);
    vq_params_uint(&info->params, (uint32_t)json_array_size(disks), "fs.%zu.disk.count", i);
    json_array_foreach(disks, j, disk) {
        vq_params_text(&info->params, vq_agent_disk_target(guest, disk), "fs.%zu.disk.%zu.alias", i, j);
        vq_params_text(&info->params, vq_agent_text(disk, "serial"), "fs.%zu.disk.%zu.serial", i, j);
        vq_params_text(&info->params, vq_agent_text(disk, "dev"), "fs.%zu.disk.%zu.device", i, j);
    }
}

static int filesystems(struct info *info, const struct vq_qemu_guest *guest, json_t *list, struct vq_error *err)
{
    size_t i;
    json_t *one;

    if (vq_agent_filesystems_check(list, err) < 0)
        return -1;
    vq_params_uint(&info->params, (uint32_t)json_array_size(list), "fs.count");
    json_array_foreach(list, i, one)
        filesystem(info, guest, one, i);
    return 0;
}

static void dependencies(struct info *info, json_t *disk, size_t i)
{
    json_t *list = json_object_get(disk, "dependencies"), *one;
    size_t j;

    if (json_array_size(list) == 0)
        return;
    vq_params_uint(&info->params, (uint32_t)json_array_size(list), "disk.%zu.dependency.count", i);
    json_array_foreach(list, j, one)
        vq_params_text(&info->params, json_string_value(one), "disk.%zu.dependency.%zu.name", i, j);
}

/* [{"name": "/dev/vda", "partition": false, "address": {...}, "alias": "...", "dependencies": [...]}] */
static int disks(struct info *info, const struct vq_qemu_guest *guest, json_t *list, struct vq_error *err)
{
    size_t i;
    json_t *disk;

    if (!json_is_array(list))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "qemu agent didn't return an array of disks");
    vq_params_uint(&info->params, (uint32_t)json_array_size(list), "disk.count");
    json_array_foreach(list, i, disk) {
        json_t *partition = json_object_get(disk, "partition"), *address = json_object_get(disk, "address");

        if (vq_agent_text(disk, "name") == NULL)
            return missing(err, "name", "guest-get-disks");
        if (!json_is_boolean(partition))
            return missing(err, "partition", "guest-get-disks");
        vq_params_text(&info->params, vq_agent_text(disk, "name"), "disk.%zu.name", i);
        vq_params_bool(&info->params, json_is_true(partition), "disk.%zu.partition", i);
        dependencies(info, disk, i);
        vq_params_text(&info->params, vq_agent_text(address, "serial"), "disk.%zu.serial", i);
        vq_params_text(&info->params, vq_agent_disk_target(guest, address), "disk.%zu.alias", i);
        vq_params_text(&info->params, vq_agent_text(disk, "alias"), "disk.%zu.guest_alias", i);
    }
    return 0;
}

static int interfaces(struct info *info, const struct vq_qemu_guest *guest, json_t *value, struct vq_error *err)
{
    struct vq_remote_domain_interface *list;
    uint32_t n;

    (void)guest;
    if (vq_agent_interfaces_read(value, info->request->arena, &list, &n, err) < 0)
        return -1;
    vq_params_uint(&info->params, n, "if.count");
    for (uint32_t i = 0; i < n; i++) {
        vq_params_text(&info->params, list[i].name, "if.%u.name", i);
        vq_params_text(&info->params, list[i].hwaddr, "if.%u.hwaddr", i);
        vq_params_uint(&info->params, list[i].n_addrs, "if.%u.addr.count", i);
        for (uint32_t j = 0; j < list[i].n_addrs; j++) {
            const struct vq_remote_domain_ip_addr *own = &list[i].addrs[j];

            vq_params_text(&info->params, own->type == VIR_IP_ADDR_TYPE_IPV6 ? "ipv6" : "ipv4", "if.%u.addr.%u.type", i, j);
            vq_params_text(&info->params, own->addr, "if.%u.addr.%u.addr", i, j);
            vq_params_uint(&info->params, own->prefix, "if.%u.addr.%u.prefix", i, j);
        }
    }
    return 0;
}

/* ---- The questions, in the order in which they are answered ---- */

static const struct {
    uint32_t type;
    const char *command;
    int (*take)(struct info *info, const struct vq_qemu_guest *guest, json_t *value, struct vq_error *err);
} questions[] = {
    { VIR_DOMAIN_GUEST_INFO_USERS, "guest-get-users", users },
    { VIR_DOMAIN_GUEST_INFO_OS, "guest-get-osinfo", os },
    { VIR_DOMAIN_GUEST_INFO_TIMEZONE, "guest-get-timezone", timezone_of },
    { VIR_DOMAIN_GUEST_INFO_HOSTNAME, "guest-get-host-name", hostname },
    { VIR_DOMAIN_GUEST_INFO_FILESYSTEM, "guest-get-fsinfo", filesystems },
    { VIR_DOMAIN_GUEST_INFO_DISKS, "guest-get-disks", disks },
    { VIR_DOMAIN_GUEST_INFO_INTERFACES, "guest-network-get-interfaces", interfaces },
};

static void ask_next(struct info *info, struct vq_qemu_guest *guest);

static void answered(const struct vq_agent_answer *answer, void *data)
{
    struct info *info = data;
    struct vq_request *request = info->request;
    struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);
    size_t question = info->next++;
    struct vq_error err = VQ_ERROR_INIT;

    if (answer->err != NULL && (info->is_strict || !answer->is_unsupported)) {
        vq_request_fail(request, answer->err);
        return;
    }
    if (guest == NULL)
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "domain is not running");
    if (guest == NULL || (answer->err == NULL && questions[question].take(info, guest, answer->value, &err) < 0))
        vq_request_fail(request, &err);
    else
        ask_next(info, guest);
}

static void reply(struct info *info)
{
    struct vq_remote_domain_get_guest_info_ret *ret = info->request->ret;
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_params_check(&info->params, &err) < 0) {
        vq_request_fail(info->request, &err);
        return;
    }
    ret->params = info->params.list;
    ret->n_params = info->params.n;
    vq_request_reply(info->request);
}

static void ask_next(struct info *info, struct vq_qemu_guest *guest)
{
    while (info->next < VQ_N_ELEMENTS(questions) && (info->types & questions[info->next].type) == 0)
        info->next++;
    if (info->next == VQ_N_ELEMENTS(questions))
        reply(info);
    else
        vq_agent_call(guest, questions[info->next].command, NULL, guest->agent_timeout, answered, info);
}

static void domain_get_guest_info(struct vq_request *request)
{
    const struct vq_remote_domain_get_guest_info_args *args = request->args;
    struct vq_qemu_guest *guest;
    struct info *info;
    uint32_t known = 0;

    for (size_t i = 0; i < VQ_N_ELEMENTS(questions); i++)
        known |= questions[i].type;
    if (!vq_qemu_check_flags(request, args->flags, 0))
        return;
    if ((args->types & ~known) != 0) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "unsupported guest information types '0x%x'", args->types & ~known);
        return;
    }
    guest = vq_agent_guest_of(request);
    info = guest != NULL ? vq_qemu_request_alloc(request, sizeof(*info)) : NULL;
    if (info == NULL)
        return;
    *info = (struct info){ .request = request, .types = args->types != 0 ? args->types : known, .is_strict = args->types != 0,
                           .params = { .arena = request->arena, .max = PARAMS_MAX } };
    ask_next(info, guest);
}

static const struct vq_driver_row rows[] = {
    { VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_GET_GUEST_INFO, domain_get_guest_info },
};
const struct vq_qemu_rows vq_qemu_guest_info_rows = { rows, VQ_N_ELEMENTS(rows) };
