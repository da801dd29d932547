/* The run as this node remembers it: one JSON text per running guest in the node's own store.
 *
 * Written before each effect that outlives the process. Read after a restart, when every byte of it is doubted: an
 * unknown word is ignored, since QEMU and the kernel are asked anyway. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/failpoint.h"
#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/disk.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/migrate.h"
#include "drivers/qemu/restore.h"
#include "drivers/qemu/save.h"

enum { RECORD_FORMAT = 1 };

static json_t *pack_taps(const struct vq_qemu_guest *guest)
{
    json_t *list = json_array();

    for (size_t i = 0; i < guest->n_taps; i++)
        (void)json_array_append_new(list, json_string(guest->taps[i].name));
    return list;
}

static json_t *pack_ports(const struct vq_qemu_guest *guest)
{
    json_t *list = json_array();

    for (size_t i = 0; i < guest->n_ports; i++)
        (void)json_array_append_new(list, json_integer(guest->ports[i]));
    return list;
}

static json_t *pack_owned(const struct vq_qemu_guest *guest)
{
    json_t *list = json_array();

    for (size_t i = 0; i < guest->n_owned; i++)
        (void)json_array_append_new(list, json_pack("[s,I,I]", guest->owned[i].path, (json_int_t)guest->owned[i].uid,
                                                    (json_int_t)guest->owned[i].gid));
    return list;
}

/* [target, number of images above] of each chain that was read from headers: no part of the definition. */
static json_t *pack_chains(const struct vq_qemu_guest *guest)
{
    json_t *list = json_array();

    for (size_t i = 0; guest->live != NULL && i < guest->live->devices.n_disks; i++) {
        int depth = vq_qemu_disk_detected_depth(guest->live->devices.disks[i]);
        if (depth >= 0)
            (void)json_array_append_new(list, json_pack("[s,i]", guest->live->devices.disks[i]->target, depth));
    }
    return list;
}

static void put(json_t *root, const char *name, json_t *take_value)
{
    (void)json_object_set_new(root, name, take_value); /* fails for NULL only: the field is then left out */
}

static json_t *pack_guest(const struct vq_qemu_guest *guest)
{
    json_t *root = json_object();
    char *xml = guest->live != NULL ? vq_domain_format(guest->live, VQ_FORMAT_SECURE) : NULL;

    put(root, "format", json_integer(RECORD_FORMAT));
    put(root, "name", json_string(guest->name));
    put(root, "id", json_integer(guest->id));
    put(root, "run", json_integer((json_int_t)guest->run));
    put(root, "generation", json_integer((json_int_t)guest->generation));
    put(root, "boot", json_string(guest->qemu->host->boot_id));
    put(root, "phase", json_string(vq_qemu_phase_name(guest->phase)));
    put(root, "state", json_integer(guest->state));
    put(root, "reason", json_integer(guest->reason));
    put(root, "pid", json_integer(guest->pid));
    put(root, "started", json_integer((json_int_t)guest->pid_start_time));
    put(root, "dir", json_string(guest->dir));
    put(root, "emulator", json_string(guest->emulator));
    put(root, "booted", json_boolean(guest->is_booted));
    put(root, "paused", json_boolean(guest->start_paused));
    put(root, "reboot", json_boolean(guest->reboot_wanted));
    put(root, "kill", json_boolean(guest->may_kill));
    put(root, "taps", pack_taps(guest));
    put(root, "ports", pack_ports(guest));
    put(root, "owned", pack_owned(guest));
    put(root, "chains", pack_chains(guest));
    put(root, "helpers", vq_qemu_helpers_pack(guest));
    put(root, "speed", json_integer((json_int_t)guest->migration_speed_mib));
    put(root, "downtime", json_integer((json_int_t)guest->migration_downtime_ms));
    put(root, "agent-timeout", json_integer(guest->agent_timeout));
    put(root, "cache", json_integer((json_int_t)guest->migration_cache));
    if (guest->autodestroy)
        put(root, "autodestroy", json_pack("[I,I]", (json_int_t)guest->autodestroy_node,
                                           (json_int_t)guest->autodestroy_session));
    if (guest->end.is_set)
        put(root, "end", json_pack("[i,i]", guest->end.reason, guest->end.detail));
    if (guest->migration != NULL)
        put(root, "migration", vq_migration_pack(guest->migration));
    if (guest->is_resuming)
        put(root, "resuming", json_true());
    if (guest->saving != NULL)
        put(root, "saving", vq_saving_pack(guest->saving));
    if (guest->restoring != NULL)
        put(root, "restoring", vq_restore_pack(guest->restoring));
    if (xml != NULL)
        put(root, "xml", json_string(xml));
    free(xml);
    return root;
}

int vq_qemu_record_write(struct vq_qemu_guest *guest, struct vq_error *err)
{
    json_t *root;
    char *text;
    int rc;

    if (VQ_FAILPOINT("qemu.record.write"))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "cannot write the record of the run: failure point");
    root = pack_guest(guest);
    text = json_dumps(root, JSON_COMPACT);
    json_decref(root);
    if (text == NULL)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "cannot write the record of the run: it is not UTF-8");
    rc = guest->qemu->host->record_put(VQ_QEMU_RUN_TABLE, guest->uuid, sizeof(guest->uuid), text, strlen(text), err);
    free(text);
    return rc < 0 ? vq_error_wrap(err, "writing the record of the run") : 0;
}

int vq_qemu_record_delete(struct vq_qemu_guest *guest, struct vq_error *err)
{
    if (VQ_FAILPOINT("qemu.record.delete"))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "cannot delete the record of the run: failure point");
    return guest->qemu->host->record_delete(VQ_QEMU_RUN_TABLE, guest->uuid, sizeof(guest->uuid), err);
}

/* ---- Reading ---- */

static int64_t get_integer(const json_t *root, const char *name, int64_t min, int64_t max, int64_t otherwise)
{
    const json_t *value = json_object_get(root, name);
    json_int_t number = json_integer_value(value);

    return json_is_integer(value) && number >= min && number <= max ? (int64_t)number : otherwise;
}

static bool get_bool(const json_t *root, const char *name)
{
    return json_is_true(json_object_get(root, name));
}

static enum vq_qemu_phase get_phase(const json_t *root)
{
    const char *word = json_string_value(json_object_get(root, "phase"));

    if (vq_streq(word, vq_qemu_phase_name(VQ_GUEST_STARTING)))
        return VQ_GUEST_STARTING;
    if (vq_streq(word, vq_qemu_phase_name(VQ_GUEST_STOPPING)))
        return VQ_GUEST_STOPPING;
    return VQ_GUEST_ACTIVE; /* a word of some other release: the guest is asked, and nothing is killed */
}

static void get_taps(const json_t *root, struct vq_qemu_guest *guest)
{
    const json_t *list = json_object_get(root, "taps");

    for (size_t i = 0; i < json_array_size(list) && guest->n_taps < VQ_GUEST_TAPS_MAX; i++) {
        const char *name = json_string_value(json_array_get(list, i));
        struct vq_qemu_tap *tap = &guest->taps[guest->n_taps];

        if (name == NULL || strlen(name) >= sizeof(tap->name))
            continue;
        memcpy(tap->name, name, strlen(name) + 1);
        tap->fd = -1;
        guest->n_taps++;
    }
}

static void get_ports(const json_t *root, struct vq_qemu_guest *guest)
{
    const json_t *list = json_object_get(root, "ports");

    for (size_t i = 0; i < json_array_size(list) && guest->n_ports < VQ_GUEST_PORTS_MAX; i++) {
        json_int_t port = json_integer_value(json_array_get(list, i));

        if (port > 0 && port <= UINT16_MAX)
            guest->ports[guest->n_ports++] = (uint16_t)port;
    }
}

static void get_owned(const json_t *root, struct vq_qemu_guest *guest)
{
    const json_t *list = json_object_get(root, "owned");

    for (size_t i = 0; i < json_array_size(list) && guest->n_owned < VQ_GUEST_OWNED_MAX; i++) {
        const json_t *entry = json_array_get(list, i);
        const char *path = json_string_value(json_array_get(entry, 0));
        json_int_t uid = json_integer_value(json_array_get(entry, 1)), gid = json_integer_value(json_array_get(entry, 2));

        if (path == NULL || path[0] != '/' || json_array_size(entry) != 3 || uid < 0 || uid >= UINT32_MAX || gid < 0 ||
            gid >= UINT32_MAX)
            continue;
        guest->owned[guest->n_owned++] = (struct vq_qemu_owned){ .path = vq_strdup(path), .uid = (unsigned)uid,
                                                                 .gid = (unsigned)gid };
    }
}

static void get_pairs(const json_t *root, struct vq_qemu_guest *guest)
{
    const json_t *autodestroy = json_object_get(root, "autodestroy"), *end = json_object_get(root, "end");

    if (json_array_size(autodestroy) == 2) {
        guest->autodestroy = true;
        guest->autodestroy_node = (uint64_t)json_integer_value(json_array_get(autodestroy, 0));
        guest->autodestroy_session = (uint64_t)json_integer_value(json_array_get(autodestroy, 1));
    }
    if (json_array_size(end) == 2) {
        guest->end.is_set = true;
        guest->end.reason = (uint8_t)json_integer_value(json_array_get(end, 0));
        guest->end.detail = (uint8_t)json_integer_value(json_array_get(end, 1));
    }
}

/* Everything that would be chosen stands in the text. */
static void no_random(void *bytes, size_t length, void *data)
{
    (void)data;
    memset(bytes, 0, length);
}

static void get_chains(const json_t *root, struct vq_qemu_guest *guest)
{
    const json_t *list = json_object_get(root, "chains");

    for (size_t k = 0; guest->live != NULL && k < json_array_size(list); k++) {
        const json_t *entry = json_array_get(list, k);
        const char *target = json_string_value(json_array_get(entry, 0));
        json_int_t depth = json_integer_value(json_array_get(entry, 1));

        for (size_t i = 0; i < guest->live->devices.n_disks; i++)
            if (vq_streq(guest->live->devices.disks[i]->target, target) && depth >= 0 && depth < 1000)
                vq_qemu_disk_set_detected_depth(guest->live->devices.disks[i], (int)depth);
    }
}

static void get_definition(const json_t *root, struct vq_qemu_guest *guest)
{
    const char *xml = json_string_value(json_object_get(root, "xml"));
    const struct vq_domain_fill fill = { .random = no_random };
    struct vq_error err = VQ_ERROR_INIT;

    /* Without it the guest can still be watched and ended; "degraded" says what is missing. */
    if (xml == NULL || vq_domain_parse(xml, 0, &guest->live, &err) < 0 ||
        vq_domain_fill(guest->live, &fill, &err) < 0)
        (void)snprintf(guest->degraded, sizeof(guest->degraded), "the definition in its record cannot be read%s%.200s",
                       xml != NULL ? ": " : "", xml != NULL ? err.message : "");
}

int vq_qemu_record_read(struct vq_qemu *qemu, const void *key, size_t key_length, const void *value, size_t length,
                        struct vq_qemu_guest **ret_guest, char **ret_boot_id, enum vq_qemu_phase *ret_phase,
                        struct vq_error *err)
{
    struct vq_qemu_guest *guest;
    const char *name, *dir;
    json_error_t json_err;
    json_t *root;

    if (key_length != VQ_UUID_BYTES)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "a record of a run has an odd key");
    root = json_loadb(value, length, 0, &json_err);
    name = json_string_value(json_object_get(root, "name"));
    dir = json_string_value(json_object_get(root, "dir"));
    if (root == NULL || name == NULL) {
        json_decref(root);
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "a record of a run cannot be read: %s",
                            root == NULL ? json_err.text : "it has no name");
    }
    guest = vq_qemu_guest_new(qemu, key, name);
    guest->dir = vq_strdup(dir);
    guest->emulator = vq_strdup(json_string_value(json_object_get(root, "emulator")));
    guest->id = (int32_t)get_integer(root, "id", -1, INT32_MAX, -1);
    guest->run = (uint64_t)get_integer(root, "run", 0, INT64_MAX, 0);
    guest->generation = (uint64_t)get_integer(root, "generation", 0, INT64_MAX, 0);
    guest->pid = (pid_t)get_integer(root, "pid", 0, INT32_MAX, 0);
    guest->pid_start_time = (uint64_t)get_integer(root, "started", 0, INT64_MAX, 0);
    guest->state = (uint8_t)get_integer(root, "state", 0, VIR_DOMAIN_PMSUSPENDED, VIR_DOMAIN_NOSTATE);
    guest->reason = (uint8_t)get_integer(root, "reason", 0, 64, 0);
    guest->is_booted = get_bool(root, "booted");
    guest->start_paused = get_bool(root, "paused");
    guest->reboot_wanted = get_bool(root, "reboot");
    guest->is_resuming = get_bool(root, "resuming");
    guest->may_kill = get_bool(root, "kill");
    guest->migration_speed_mib = (uint64_t)get_integer(root, "speed", 0, INT64_MAX >> 20, 0);
    guest->migration_downtime_ms = (uint64_t)get_integer(root, "downtime", 0, INT64_MAX, 0);
    guest->migration_cache = (uint64_t)get_integer(root, "cache", 0, INT64_MAX, 0);
    guest->agent_timeout = (int)get_integer(root, "agent-timeout", VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK, INT32_MAX,
                                            VIR_DOMAIN_AGENT_RESPONSE_TIMEOUT_BLOCK);
    guest->is_claimed = true;
    get_taps(root, guest);
    get_ports(root, guest);
    get_owned(root, guest);
    vq_qemu_helpers_unpack(json_object_get(root, "helpers"), guest);
    get_pairs(root, guest);
    guest->migration = vq_migration_unpack(json_object_get(root, "migration"));
    guest->saving = vq_saving_unpack(guest, json_object_get(root, "saving"));
    guest->restoring = vq_restore_unpack(json_object_get(root, "restoring"));
    get_definition(root, guest);
    get_chains(root, guest);
    *ret_boot_id = vq_strdup(json_string_value(json_object_get(root, "boot")));
    *ret_phase = get_phase(root);
    *ret_guest = guest;
    json_decref(root);
    return 0;
}
