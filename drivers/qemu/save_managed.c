/* Images of managed saves: see save_managed.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/save_managed.h"

#include <errno.h>
#include <jansson.h>
#include <libgen.h>
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/guest.h"
#include "proto/cluster.pb-c.h"

#define TABLE "qemu.save"

enum state { STATE_NEW, STATE_THERE, STATE_USED, STATES };
static const char *const state_words[STATES] = { [STATE_NEW] = "new", [STATE_THERE] = "there", [STATE_USED] = "used" };

struct record {
    uint8_t uuid[VQ_UUID_BYTES];
    enum state state;
    char *path;
    uint64_t run;            /* that was saved; 0: a start from it was tried since; UINT64_MAX: one without it */
    uint64_t directory;      /* inode of the one that holds the file: where something else is mounted now, it is another */
    char cluster[33];        /* in which run has a meaning */
};

/* ---- Records ---- */

static void record_done(struct record *record)
{
    free(vq_take(record->path));
}

static void cluster_text(const struct vq_qemu *qemu, char text[33])
{
    for (size_t i = 0; i < 16; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", qemu->host->cluster_id != NULL ? qemu->host->cluster_id[i] : 0);
}

static uint64_t directory_of(const char *path)
{
    VQ_AUTOFREE char *copy = vq_strdup(path);
    struct stat status;

    return stat(dirname(copy), &status) == 0 ? (uint64_t)status.st_ino : 0;
}

static int put(struct vq_qemu *qemu, const struct record *record, struct vq_error *err)
{
    json_t *root = json_pack("{s:s,s:s,s:I,s:I,s:s}", "state", state_words[record->state], "path", record->path, "run",
                             (json_int_t)record->run, "directory", (json_int_t)record->directory, "cluster", record->cluster);
    VQ_AUTOFREE char *text = root != NULL ? json_dumps(root, JSON_COMPACT) : NULL;

    json_decref(root);
    if (text == NULL)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "the path of a managed save image is not UTF-8");
    if (VQ_FAILPOINT("qemu.save.managed.record"))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "cannot record a managed save image: failure point");
    return qemu->host->record_put(TABLE, record->uuid, VQ_UUID_BYTES, text, strlen(text), err);
}

static bool unpack(const void *key, size_t key_length, const void *value, size_t length, struct record *ret)
{
    json_t *root = key_length == VQ_UUID_BYTES ? json_loadb(value, length, 0, NULL) : NULL;
    const char *word = json_string_value(json_object_get(root, "state"));
    const char *path = json_string_value(json_object_get(root, "path"));
    const char *cluster = json_string_value(json_object_get(root, "cluster"));
    size_t state = 0;

    while (state < STATES && !vq_streq(state_words[state], word))
        state++;
    if (state < STATES && path != NULL && path[0] == '/') {
        *ret = (struct record){ .state = (enum state)state, .path = vq_strdup(path),
                                .run = (uint64_t)json_integer_value(json_object_get(root, "run")),
                                .directory = (uint64_t)json_integer_value(json_object_get(root, "directory")) };
        memcpy(ret->uuid, key, VQ_UUID_BYTES);
        (void)snprintf(ret->cluster, sizeof(ret->cluster), "%s", cluster != NULL ? cluster : "");
    }
    json_decref(root);
    return ret->path != NULL;
}

struct search {
    const uint8_t *uuid;
    struct record found;
};

static int seen(const void *key, size_t key_length, const void *value, size_t length, void *data)
{
    struct search *search = data;

    if (key_length != VQ_UUID_BYTES || memcmp(key, search->uuid, VQ_UUID_BYTES) != 0)
        return 0;
    (void)unpack(key, key_length, value, length, &search->found);
    return 1;
}

/* False: there is none. */
static bool find(struct vq_qemu *qemu, const uint8_t uuid[VQ_UUID_BYTES], struct record *ret)
{
    struct search search = { .uuid = uuid };
    struct vq_error err = VQ_ERROR_INIT;

    if (qemu->host->record_each(TABLE, seen, &search, &err) < 0)
        vq_log(ERROR, "save.managed", "records of managed saves cannot be read: %s", err.message);
    *ret = search.found;
    return ret->path != NULL;
}

static int set_state(struct vq_qemu *qemu, const uint8_t uuid[VQ_UUID_BYTES], enum state state, struct vq_error *err)
{
    struct record record = { 0 };
    int rc = 0;

    if (find(qemu, uuid, &record) && record.state != state) {
        record.state = state;
        rc = put(qemu, &record, err);
    }
    record_done(&record);
    return rc;
}

/* ---- Files ---- */

char *vq_managed_path(const struct vq_qemu *qemu, const char *name)
{
    return vq_asprintf("%s/qemu/save/%s.save", qemu->host->state_dir, name);
}

void vq_managed_set_aside(const char *path)
{
    VQ_AUTOFREE char *aside = vq_asprintf("%s.aside", path);

    if (rename(path, aside) == 0)
        vq_log(WARN, "save.managed", "'%s' is kept as '%s'", path, aside);
    else if (errno != ENOENT)
        vq_log(ERROR, "save.managed", "'%s' cannot be renamed: %s", path, strerror(errno));
}

int vq_managed_make_room(struct vq_qemu *qemu, const uint8_t uuid[16], const char *path, struct vq_error *err)
{
    VQ_AUTOFREE char *outer = vq_asprintf("%s/qemu", qemu->host->state_dir);
    VQ_AUTOFREE char *inner = vq_asprintf("%s/save", outer);
    struct record record = { 0 };

    if ((mkdir(outer, 0750) < 0 && errno != EEXIST) || (mkdir(inner, 0700) < 0 && errno != EEXIST))
        return vq_error_system(err, errno, "cannot create directory '%s'", inner);
    if (!find(qemu, uuid, &record) && access(path, F_OK) == 0) {
        vq_log(WARN, "save.managed", "'%s' is no image that this daemon made", path);
        vq_managed_set_aside(path);
    }
    record_done(&record);
    return 0;
}

static void unlinked(uv_fs_t *request)
{
    if (request->result < 0 && request->result != UV_ENOENT)
        vq_log(WARN, "save.managed", "'%s' cannot be removed: %s", request->path, uv_strerror((int)request->result));
    uv_fs_req_cleanup(request);
    free(request);
}

static void drop(struct vq_qemu *qemu, const struct record *record)
{
    struct vq_error err = VQ_ERROR_INIT;
    uv_fs_t *request = vq_new(uv_fs_t);

    (void)VQ_FAILPOINT("qemu.save.managed.drop");
    if (uv_fs_unlink(qemu->host->loop, request, record->path, unlinked) < 0)
        free(request);
    if (qemu->host->record_delete(TABLE, record->uuid, VQ_UUID_BYTES, &err) < 0)
        vq_log(WARN, "save.managed", "%s", err.message);
}

/* ---- The mark in the cluster's state ---- */

/* One proposal per domain at a time: the list of those that are under way. */
struct marking {
    struct marking *next;
    struct vq_driver *driver;
    uint8_t uuid[VQ_UUID_BYTES];
    bool value;
    void (*cb)(const struct vq_error *err, void *data);
    void *data;
};

static struct marking *markings;

static bool is_marking(const uint8_t uuid[VQ_UUID_BYTES])
{
    for (const struct marking *marking = markings; marking != NULL; marking = marking->next)
        if (memcmp(marking->uuid, uuid, VQ_UUID_BYTES) == 0)
            return true;
    return false;
}

static bool is_marked(const struct vq_qemu *qemu, const uint8_t uuid[VQ_UUID_BYTES], bool *ret_is_there)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_domain_info info = { 0 };

    *ret_is_there = qemu->host->domain_find(uuid, false, arena, &info);
    return *ret_is_there && (info.flags & VQ_INFO_MANAGED_SAVE) != 0;
}

static void settle(struct vq_qemu *qemu, const struct marking *marking, const struct vq_error *err)
{
    struct record record = { 0 };
    struct vq_error own = VQ_ERROR_INIT;
    bool is_there;

    if (marking->value && set_state(qemu, marking->uuid, err == NULL ? STATE_THERE : STATE_USED, &own) < 0)
        vq_log(ERROR, "save.managed", "%s", own.message);
    if (!marking->value && err == NULL && find(qemu, marking->uuid, &record) && record.state == STATE_USED &&
        !is_marked(qemu, marking->uuid, &is_there))
        drop(qemu, &record);
    record_done(&record);
}

static void marked(const struct vq_proposal_result *result, const struct vq_error *err, void *data)
{
    struct marking *marking = data, **link = &markings;

    (void)result;
    while (*link != marking)
        link = &(*link)->next;
    *link = marking->next;
    if (marking->driver->state != NULL)
        settle(marking->driver->state, marking, err);
    if (marking->cb != NULL)
        marking->cb(err, marking->data);
    free(marking);
}

static void mark(struct vq_qemu *qemu, const uint8_t uuid[VQ_UUID_BYTES], bool value,
                 void (*cb)(const struct vq_error *err, void *data), void *data)
{
    struct marking *marking = vq_new(struct marking);
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainSettings settings = VQ__DOMAIN_SETTINGS__INIT;

    *marking = (struct marking){ .next = markings, .driver = qemu->driver, .value = value, .cb = cb, .data = data };
    memcpy(marking->uuid, uuid, VQ_UUID_BYTES);
    markings = marking;
    settings.uuid = (ProtobufCBinaryData){ .data = marking->uuid, .len = VQ_UUID_BYTES };
    settings.has_managed_save = true;
    settings.managed_save = value;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_SETTINGS;
    command.domain_settings = &settings;
    qemu->host->propose(&command, 0, marked, marking);
}

/* ---- From outside ---- */

static int put_new(struct vq_qemu *qemu, const uint8_t uuid[16], uint64_t run, const char *path, struct vq_error *err)
{
    struct record record = { .state = STATE_NEW, .path = vq_strdup(path), .run = run, .directory = directory_of(path) };
    int rc;

    memcpy(record.uuid, uuid, VQ_UUID_BYTES);
    cluster_text(qemu, record.cluster);
    rc = put(qemu, &record, err);
    record_done(&record);
    return rc;
}

void vq_managed_made(struct vq_qemu *qemu, const uint8_t uuid[16], uint64_t run, const char *path)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (put_new(qemu, uuid, run, path, &err) < 0)
        vq_log(ERROR, "save.managed", "%s", err.message);
}

int vq_managed_make(struct vq_qemu *qemu, const uint8_t uuid[16], uint64_t run, const char *path,
                    void (*cb)(const struct vq_error *err, void *data), void *data, struct vq_error *err)
{
    if (put_new(qemu, uuid, run, path, err) < 0)
        return -1;
    mark(qemu, uuid, true, cb, data);
    return 0;
}

static void set_run(struct vq_qemu *qemu, const uint8_t uuid[VQ_UUID_BYTES], uint64_t run)
{
    struct record record = { 0 };
    struct vq_error err = VQ_ERROR_INIT;

    if (find(qemu, uuid, &record) && record.state != STATE_USED && record.run != run) {
        record.run = run;
        if (put(qemu, &record, &err) < 0)
            vq_log(ERROR, "save.managed", "%s", err.message);
    }
    record_done(&record);
}

void vq_managed_try(struct vq_qemu *qemu, const uint8_t uuid[16])
{
    set_run(qemu, uuid, 0);
}

void vq_managed_pass_over(struct vq_qemu *qemu, const uint8_t uuid[16])
{
    set_run(qemu, uuid, UINT64_MAX);
}

int vq_managed_use(struct vq_qemu *qemu, const uint8_t uuid[16], struct vq_error *err)
{
    return set_state(qemu, uuid, STATE_USED, err);
}

void vq_managed_unuse(struct vq_qemu *qemu, const uint8_t uuid[16])
{
    struct vq_error err = VQ_ERROR_INIT;

    if (set_state(qemu, uuid, STATE_THERE, &err) < 0)
        vq_log(ERROR, "save.managed", "%s", err.message);
}

void vq_managed_remove(struct vq_qemu *qemu, const uint8_t uuid[16], void (*cb)(const struct vq_error *err, void *data),
                       void *data)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_managed_use(qemu, uuid, &err) < 0)
        cb(&err, data);
    else
        mark(qemu, uuid, false, cb, data);
}

void vq_managed_clear(struct vq_qemu *qemu, const uint8_t uuid[16])
{
    struct record record = { 0 };

    if (find(qemu, uuid, &record) && record.state == STATE_USED && !is_marking(uuid))
        mark(qemu, uuid, false, NULL, NULL); /* also when there is no mark: one may be on its way */
    record_done(&record);
}

void vq_managed_forget(struct vq_qemu *qemu, const struct vq_domain_info *info)
{
    if ((info->flags & VQ_INFO_MANAGED_SAVE) != 0 && !is_marking(info->uuid))
        mark(qemu, info->uuid, false, NULL, NULL);
}

static bool is_stale(const struct vq_qemu *qemu, const struct record *record, const struct vq_domain_info *info)
{
    char cluster[33];

    cluster_text(qemu, cluster);
    if (record->run == UINT64_MAX)
        return true;
    return record->run != 0 && strcmp(cluster, record->cluster) == 0 && info->run != record->run;
}

/* Removed by somebody from a directory that is what it was: what was promised is no more, by their will. */
static enum vq_managed_look look_at_missing(struct vq_qemu *qemu, const struct vq_domain_info *info,
                                            const struct record *record, struct vq_error *err)
{
    if (record->directory == 0 || directory_of(record->path) != record->directory) {
        (void)vq_error_set(err, VIR_ERR_OPERATION_FAILED, "the managed save image '%s' of domain '%s' is not there, and its "
                           "directory is another one than it was: mount it again, or start the domain anew (--force-boot)",
                           record->path, info->name);
        return VQ_MANAGED_REFUSED;
    }
    vq_log(WARN, "save.managed", "domain=%s: its image '%s' was removed by somebody, it boots", info->name, record->path);
    if (vq_managed_use(qemu, info->uuid, err) < 0)
        return VQ_MANAGED_REFUSED;
    vq_managed_clear(qemu, info->uuid);
    return VQ_MANAGED_NONE;
}

enum vq_managed_look vq_managed_look(struct vq_qemu *qemu, const struct vq_domain_info *info, char **ret_path,
                                     struct vq_error *err)
{
    bool is_flagged = (info->flags & VQ_INFO_MANAGED_SAVE) != 0;
    enum vq_managed_look look = VQ_MANAGED_NONE;
    struct record record = { 0 };

    if (!find(qemu, info->uuid, &record)) {
        if (!is_flagged)
            return VQ_MANAGED_NONE;
        (void)vq_error_set(err, VIR_ERR_OPERATION_FAILED, "the managed save image of domain '%s' is not on this host: start it "
                           "where it was saved, or anew (--force-boot)", info->name);
        return VQ_MANAGED_REFUSED;
    }
    if (record.state == STATE_USED) {
        look = VQ_MANAGED_NONE;
    } else if (access(record.path, F_OK) < 0 && errno == ENOENT) {
        look = look_at_missing(qemu, info, &record, err);
    } else if (is_stale(qemu, &record, info)) {
        (void)vq_error_set(err, VIR_ERR_OPERATION_FAILED, "domain '%s' has run since its state was saved in '%s', so its disks "
                           "are other ones: remove the image (managedsave-remove), or start it anew (--force-boot)",
                           info->name, record.path);
        look = VQ_MANAGED_REFUSED;
    } else {
        *ret_path = vq_strdup(record.path);
        look = VQ_MANAGED_IMAGE;
    }
    record_done(&record);
    return look;
}

/* ---- What is left to be done ---- */

struct all {
    struct record *records;
    size_t n;
};

static int collect(const void *key, size_t key_length, const void *value, size_t length, void *data)
{
    struct all *all = data;
    struct record record = { 0 };

    if (!unpack(key, key_length, value, length, &record))
        return 0;
    VQ_GROW(all->records, all->n);
    all->records[all->n++] = record;
    return 0;
}

/* By hand, from the directory that it was put into: list shows it soon. */
static bool was_removed(const struct record *record)
{
    return access(record->path, F_OK) < 0 && errno == ENOENT && record->directory != 0 &&
           directory_of(record->path) == record->directory;
}

static void look_after(struct vq_qemu *qemu, const struct record *record)
{
    const struct vq_qemu_guest *guest = vq_qemu_guest_find(qemu, record->uuid);
    struct vq_error err = VQ_ERROR_INIT;
    bool is_there, is_flagged = is_marked(qemu, record->uuid, &is_there);

    if (is_marking(record->uuid) || (guest != NULL && (guest->phase == VQ_GUEST_STARTING || guest->saving != NULL)))
        return;
    if (!is_there) {
        drop(qemu, record);
    } else if (record->state == STATE_NEW && guest == NULL) {
        mark(qemu, record->uuid, true, NULL, NULL);
    } else if (record->state == STATE_USED && !is_flagged) {
        drop(qemu, record);
    } else if (record->state == STATE_USED) {
        mark(qemu, record->uuid, false, NULL, NULL);
    } else if (record->state == STATE_THERE && is_flagged && was_removed(record)) {
        vq_log(WARN, "save.managed", "'%s' was removed by somebody", record->path);
        if (vq_managed_use(qemu, record->uuid, &err) == 0)
            mark(qemu, record->uuid, false, NULL, NULL);
    }
}

void vq_managed_tick(struct vq_qemu *qemu)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct all all = { 0 };

    if (!qemu->has_caught_up || !qemu->host->has_quorum()) /* what the log has to say of the domains is not all known */
        return;
    if (qemu->host->record_each(TABLE, collect, &all, &err) < 0)
        vq_log(ERROR, "save.managed", "records of managed saves cannot be read: %s", err.message);
    for (size_t i = 0; i < all.n; i++) {
        look_after(qemu, &all.records[i]);
        record_done(&all.records[i]);
    }
    free(all.records);
}
