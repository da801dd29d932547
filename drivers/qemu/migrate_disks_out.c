/* Copying disks, the source: mirrors into the destination's server. See migrate_disks.h. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <stdio.h>
#include <string.h>

#include "conf/base/failpoint.h"
#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/block.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/migrate_disks_internal.h"

enum { NAME_BYTES = 96, POLL_MS = 200, WATCH_MS = 1000, SETTLE_MS = 30000 };

/* ---- What travels ---- */

static bool is_named(const struct vq_migrate_options *options, const char *target)
{
    for (size_t i = 0; i < options->n_disks; i++)
        if (vq_streq(options->disks[i], target))
            return true;
    return false;
}

static bool has_source(const struct vq_disk *disk)
{
    return disk->source.path != NULL || disk->source.type == VQ_SOURCE_NETWORK;
}

static bool is_wanted(const struct vq_migrate_options *options, const struct vq_disk *disk)
{
    if (!has_source(disk) || disk->info.alias == NULL || disk->target == NULL)
        return false;
    if (options->n_disks > 0)
        return is_named(options, disk->target);
    return !disk->is_readonly && !disk->is_shareable && disk->device != VQ_DISK_DEVICE_CDROM;
}

/* Every target that the caller named is a disk with an image. */
static int check_names(const struct vq_qemu_guest *guest, const struct vq_migrate_options *options, struct vq_error *err)
{
    for (size_t i = 0; i < options->n_disks; i++) {
        const struct vq_disk *disk = vq_disks_find(guest->live, options->disks[i]);

        if (disk == NULL || !has_source(disk))
            return vq_error_set(err, VIR_ERR_INVALID_ARG, "disk target %s %s", options->disks[i],
                                disk == NULL ? "not found" : "has no image that could be copied");
    }
    return 0;
}

static int offer_disk(struct vq_migrate_disks *disks, const struct vq_disk *disk, json_t *reply,
                      struct vq_migrate_cookie *cookie, struct vq_error *err)
{
    uint64_t capacity = 0, allocation;

    if (!vq_qemu_block_sizes_of(reply, disk, &capacity, &allocation))
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "QEMU does not tell the size of disk '%s'", disk->target);
    if (disks->n_items == VQ_MIGRATE_DISKS_MAX)
        return vq_error_set(err, VIR_ERR_OPERATION_UNSUPPORTED, "more than %d disks cannot be copied at once",
                            VQ_MIGRATE_DISKS_MAX);
    (void)vq_disks_add_item(disks, disk, capacity);
    cookie->disks = vq_realloc(cookie->disks, cookie->n_disks + 1, sizeof(*cookie->disks));
    cookie->disks[cookie->n_disks++] = (struct vq_migrate_disk){ vq_strdup(disk->target), capacity };
    return 0;
}

static void sizes_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_migrate_disks *disks = data;
    struct vq_qemu_guest *guest = disks->guest;
    struct vq_disks_offer *offer = disks->offer;
    struct vq_error own = VQ_ERROR_INIT;

    if (err != NULL)
        vq_disks_keep_error(disks, err);
    for (size_t i = 0; reply != NULL && i < guest->live->devices.n_disks; i++)
        if (is_wanted(&offer->options, guest->live->devices.disks[i]) &&
            offer_disk(disks, guest->live->devices.disks[i], reply, offer->cookie, &own) < 0) {
            vq_disks_keep_error(disks, &own);
            break;
        }
    offer->cookie->has_nbd = true;
    vq_disks_offer_free(offer);
    disks->offer = NULL;
    vq_disks_over(disks);
}

void vq_migrate_disks_offer(struct vq_qemu_guest *guest, const struct vq_migrate_options *options,
                            struct vq_migrate_cookie *cookie, vq_migrate_disks_cb cb)
{
    struct vq_migrate_disks *disks = vq_disks_of(guest);
    struct vq_error err = VQ_ERROR_INIT;

    vq_disks_begin(disks, cb);
    vq_disks_forget_items(disks);
    if (check_names(guest, options, &err) < 0) {
        vq_disks_keep_error(disks, &err);
        vq_disks_over_later(disks);
        return;
    }
    disks->offer = vq_new(struct vq_disks_offer);
    disks->offer->cookie = cookie;
    vq_migrate_options_copy(&disks->offer->options, options);
    vq_disks_call(disks, "query-block", NULL, sizes_known);
}

/* ---- What the mirrors do: asked again and again, and at once when an event tells of one ---- */

static void poll_jobs(struct vq_migrate_disks *disks);

static void poll_again(uv_timer_t *timer)
{
    poll_jobs(timer->data);
}

/* How many of ours run, and whether all of them are in step. */
struct tally {
    size_t n_jobs;
    bool all_ready;
    uint64_t total, processed;
};

static void count_jobs(struct vq_migrate_disks *disks, const json_t *reply, struct tally *ret)
{
    size_t i;
    json_t *job;

    *ret = (struct tally){ .all_ready = true };
    for (i = 0; i < disks->n_items; i++)
        disks->items[i].is_seen = false;
    json_array_foreach((json_t *)reply, i, job) {
        const char *name = json_string_value(json_object_get(job, "device"));
        struct vq_disks_item *item = vq_disks_find_item(disks, name);

        if (name == NULL || strncmp(name, VQ_DISKS_PREFIX, strlen(VQ_DISKS_PREFIX)) != 0)
            continue;
        if (item != NULL)
            item->is_seen = true;
        ret->n_jobs++;
        ret->total += vq_disks_number_of(job, "len");
        ret->processed += vq_disks_number_of(job, "offset");
        if (!json_is_true(json_object_get(job, "ready")))
            ret->all_ready = false;
    }
}

static void show_progress(struct vq_migrate_disks *disks, const struct tally *tally)
{
    struct vq_qemu_job_stats *stats = &disks->guest->activity.stats;
    uint64_t now = uv_now(disks->guest->qemu->host->loop);

    stats->disk_total = tally->total;
    stats->disk_processed = tally->processed;
    stats->disk_remaining = tally->total > tally->processed ? tally->total - tally->processed : 0;
    if (now > disks->last_ms && tally->processed >= disks->last_processed && disks->last_ms != 0)
        stats->disk_bps = (tally->processed - disks->last_processed) * 1000 / (now - disks->last_ms);
    disks->last_ms = now;
    disks->last_processed = tally->processed;
}

/* A mirror that is not there any more has failed, whether its event was heard or not. */
static void find_lost(struct vq_migrate_disks *disks)
{
    struct vq_error err = VQ_ERROR_INIT;

    for (size_t i = 0; i < disks->n_items; i++) {
        if (disks->items[i].is_seen)
            continue;
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "migration of disk %s failed: its mirror has ended",
                           disks->items[i].target);
        vq_disks_keep_error(disks, &err);
    }
}

static void ignored(json_t *reply, const struct vq_error *err, void *data)
{
    (void)reply;
    (void)err;
    (void)data;
}

static void delete_node(struct vq_migrate_disks *disks, const char *name)
{
    (void)vq_qmp_call(disks->guest->qmp, "blockdev-del", json_pack("{s:s}", "node-name", name), VQ_QMP_TIMEOUT_MS, ignored,
                      NULL);
}

static void delete_own_nodes(struct vq_migrate_disks *disks)
{
    char name[NAME_BYTES];

    for (size_t i = 0; i < disks->n_items; i++) {
        (void)snprintf(name, sizeof(name), VQ_DISKS_PREFIX "%s", disks->items[i].alias);
        delete_node(disks, name);
    }
}

static void nodes_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_migrate_disks *disks = data;
    size_t i;
    json_t *node;

    (void)err;
    disks->is_polling = false;
    json_array_foreach(reply, i, node) {
        const char *name = json_string_value(json_object_get(node, "node-name"));

        if (name != NULL && strncmp(name, VQ_DISKS_PREFIX, strlen(VQ_DISKS_PREFIX)) == 0)
            delete_node(disks, name);
    }
    disks->phase = VQ_DISKS_IDLE;
    vq_disks_over(disks);
}

static void wait_and_poll(struct vq_migrate_disks *disks, unsigned ms)
{
    (void)uv_timer_start(disks->timer, poll_again, ms, 0);
}

static bool is_late(struct vq_migrate_disks *disks, const struct tally *tally)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (uv_now(disks->guest->qemu->host->loop) < disks->deadline_ms)
        return false;
    (void)vq_error_set(&err, VIR_ERR_OPERATION_TIMEOUT, "%zu mirrors of disks do not end", tally->n_jobs);
    vq_disks_keep_error(disks, &err);
    return true;
}

static void judge(struct vq_migrate_disks *disks, const struct tally *tally)
{
    switch (disks->phase) {
    case VQ_DISKS_COPYING:
        find_lost(disks);
        if (disks->error.code == VIR_ERR_OK && !tally->all_ready) {
            wait_and_poll(disks, POLL_MS);
            return;
        }
        disks->phase = disks->error.code == VIR_ERR_OK ? VQ_DISKS_WATCHING : VQ_DISKS_IDLE;
        if (disks->phase == VQ_DISKS_WATCHING)
            wait_and_poll(disks, WATCH_MS);
        vq_disks_over(disks);
        return;
    case VQ_DISKS_WATCHING: /* memory is under way: numbers only; what is lost now shows when the mirrors are settled */
        find_lost(disks);
        wait_and_poll(disks, WATCH_MS);
        return;
    case VQ_DISKS_SETTLING:
        if (tally->n_jobs > 0 && !is_late(disks, tally)) {
            wait_and_poll(disks, POLL_MS);
            return;
        }
        delete_own_nodes(disks);
        disks->phase = VQ_DISKS_IDLE;
        vq_disks_over(disks);
        return;
    case VQ_DISKS_CANCELLING:
        if (tally->n_jobs > 0 && !is_late(disks, tally)) {
            wait_and_poll(disks, POLL_MS);
            return;
        }
        disks->is_polling = true; /* an answer is awaited, as with the jobs */
        vq_disks_call(disks, "query-named-block-nodes", json_pack("{s:b}", "flat", 1), nodes_known);
        return;
    case VQ_DISKS_IDLE:
        return;
    }
}

static void cancel_all(struct vq_migrate_disks *disks, const json_t *reply)
{
    size_t i;
    json_t *job;

    json_array_foreach((json_t *)reply, i, job) {
        const char *name = json_string_value(json_object_get(job, "device"));

        if (name != NULL && strncmp(name, VQ_DISKS_PREFIX, strlen(VQ_DISKS_PREFIX)) == 0)
            (void)vq_qmp_call(disks->guest->qmp, "block-job-cancel", json_pack("{s:s,s:b}", "device", name, "force", 1),
                              VQ_QMP_TIMEOUT_MS, ignored, NULL);
    }
}

static void jobs_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_migrate_disks *disks = data;
    struct tally tally;

    disks->is_polling = false;
    disks->n_calls = 0; /* QEMU answers in order: nothing earlier is still to come */
    if (err != NULL) {
        if (disks->phase != VQ_DISKS_CANCELLING) /* QEMU has ended or is silent: nothing of ours is left to be cleared away */
            vq_disks_keep_error(disks, err);
        disks->phase = VQ_DISKS_IDLE;
        vq_disks_over(disks);
        return;
    }
    count_jobs(disks, reply, &tally);
    show_progress(disks, &tally);
    if (disks->phase == VQ_DISKS_CANCELLING)
        cancel_all(disks, reply);
    judge(disks, &tally);
}

static void poll_jobs(struct vq_migrate_disks *disks)
{
    if (disks->is_polling || disks->phase == VQ_DISKS_IDLE)
        return;
    disks->is_polling = true;
    (void)uv_timer_stop(disks->timer);
    vq_disks_call(disks, "query-block-jobs", NULL, jobs_known);
}

bool vq_migrate_disks_event(struct vq_qemu_guest *guest, const char *name, const json_t *data)
{
    struct vq_migrate_disks *disks = guest->migration != NULL ? guest->migration->disks : NULL;
    const char *job = json_string_value(json_object_get(data, "device"));
    const char *text = json_string_value(json_object_get(data, "error"));
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_disks_item *item;

    if (strncmp(name, "BLOCK_JOB_", 10) != 0 || job == NULL || strncmp(job, VQ_DISKS_PREFIX, strlen(VQ_DISKS_PREFIX)) != 0)
        return false;
    item = disks != NULL ? vq_disks_find_item(disks, job) : NULL;
    if (item != NULL && text != NULL && disks->phase != VQ_DISKS_CANCELLING) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "migration of disk %s failed: %s", item->target, text);
        vq_disks_keep_error(disks, &err);
    }
    if (item != NULL)
        poll_jobs(disks);
    return true;
}

/* ---- Source ---- */

static void mirror_answered(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_migrate_disks *disks = data;

    (void)reply;
    if (err != NULL)
        vq_disks_keep_error(disks, err);
    if (--disks->pending > 0)
        return;
    if (disks->error.code != VIR_ERR_OK) {
        disks->phase = VQ_DISKS_IDLE;
        vq_disks_over(disks);
    } else {
        poll_jobs(disks);
    }
}

static void ask(struct vq_migrate_disks *disks, const char *command, json_t *take_arguments)
{
    disks->pending++;
    vq_disks_call(disks, command, take_arguments, mirror_answered);
}

static json_t *remote_node(const struct vq_disks_item *item, const struct vq_migrate_disks_server *server)
{
    json_t *node = json_pack("{s:s}", "driver", "nbd");

    (void)json_object_set_new(node, "node-name", json_sprintf(VQ_DISKS_PREFIX "%s", item->alias));
    (void)json_object_set_new(node, "export", json_sprintf("drive-%s", item->alias));
    if (server->socket != NULL)
        (void)json_object_set_new(node, "server", json_pack("{s:s,s:s}", "type", "unix", "path", server->socket));
    else
        (void)json_object_set_new(node, "server", json_pack("{s:s,s:s,s:o}", "type", "inet", "host", server->host, "port",
                                                            json_sprintf("%d", server->port)));
    if (server->tls_creds != NULL)
        (void)json_object_set_new(node, "tls-creds", json_string(server->tls_creds));
    if (server->tls_creds != NULL && server->tls_hostname != NULL)
        (void)json_object_set_new(node, "tls-hostname", json_string(server->tls_hostname));
    return node;
}

static json_t *mirror_arguments(const struct vq_disks_item *item, const char *top, const struct vq_migrate_options *options)
{
    bool is_incremental = (options->flags & VIR_MIGRATE_NON_SHARED_INC) != 0;
    json_t *arguments = json_pack("{s:s,s:s}", "device", top, "sync", is_incremental ? "top" : "full");

    (void)json_object_set_new(arguments, "job-id", json_sprintf(VQ_DISKS_PREFIX "%s", item->alias));
    (void)json_object_set_new(arguments, "target", json_sprintf(VQ_DISKS_PREFIX "%s", item->alias));
    if (options->bandwidth > 0)
        (void)json_object_set_new(arguments, "speed", json_integer((json_int_t)(options->bandwidth * 1024 * 1024)));
    if ((options->flags & VIR_MIGRATE_NON_SHARED_SYNCHRONOUS_WRITES) != 0)
        (void)json_object_set_new(arguments, "copy-mode", json_string("write-blocking"));
    return arguments;
}

static void start_mirror(struct vq_migrate_disks *disks, const struct vq_disks_item *item, json_t *query_block)
{
    const struct vq_disk *disk = vq_disks_find(disks->guest->live, item->target);
    const char *top = disk != NULL ? vq_qemu_block_node_of(query_block, disk) : NULL;
    struct vq_error err = VQ_ERROR_INIT;

    if (top == NULL) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "QEMU does not know disk '%s' any more", item->target);
        vq_disks_keep_error(disks, &err);
        return;
    }
    ask(disks, "blockdev-add", remote_node(item, &disks->copy->server));
    ask(disks, "blockdev-mirror", mirror_arguments(item, top, &disks->copy->options));
}

static void nodes_found(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_migrate_disks *disks = data;

    if (err != NULL)
        vq_disks_keep_error(disks, err);
    disks->pending++; /* until all are on their way */
    for (size_t i = 0; err == NULL && i < disks->n_items; i++)
        start_mirror(disks, &disks->items[i], reply);
    vq_disks_copy_free(disks->copy);
    disks->copy = NULL;
    mirror_answered(NULL, NULL, disks);
}

static bool is_offered(const struct vq_migrate_cookie *offered, const char *target)
{
    for (size_t i = 0; i < offered->n_disks; i++)
        if (vq_streq(offered->disks[i].target, target))
            return true;
    return offered->n_disks == 0;
}

/* Without a begin of this daemon's (it was restarted, or the peer speaks an older form), the disks are chosen now. */
static void choose_items(struct vq_migrate_disks *disks, const struct vq_migrate_options *options,
                         const struct vq_migrate_cookie *offered)
{
    const struct vq_devices *devices = &disks->guest->live->devices;

    if (disks->n_items > 0)
        return;
    for (size_t i = 0; i < devices->n_disks; i++)
        if (is_wanted(options, devices->disks[i]) && is_offered(offered, devices->disks[i]->target) &&
            disks->n_items < VQ_MIGRATE_DISKS_MAX)
            (void)vq_disks_add_item(disks, devices->disks[i], 0);
}

void vq_migrate_disks_copy(struct vq_qemu_guest *guest, const struct vq_migrate_options *options,
                           const struct vq_migrate_cookie *offered, const struct vq_migrate_disks_server *server,
                           vq_migrate_disks_cb cb)
{
    struct vq_migrate_disks *disks = vq_disks_of(guest);
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_disks_copy *copy;

    vq_disks_begin(disks, cb);
    choose_items(disks, options, offered);
    if (server->socket == NULL && (server->host == NULL || server->port <= 0 || server->port > UINT16_MAX))
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "the destination does not serve the disks: it told no port");
    else if (VQ_FAILPOINT("qemu.migrate.disks.copy"))
        (void)vq_error_set(&err, VIR_ERR_INTERNAL_ERROR, "failure point qemu.migrate.disks.copy");
    if (err.code != VIR_ERR_OK || disks->n_items == 0) {
        disks->error = err;
        vq_disks_over_later(disks);
        return;
    }
    disks->phase = VQ_DISKS_COPYING;
    copy = disks->copy = vq_new(struct vq_disks_copy);
    vq_migrate_options_copy(&copy->options, options);
    copy->host = vq_strdup(server->host);
    copy->socket = vq_strdup(server->socket);
    copy->tls_creds = vq_strdup(server->tls_creds);
    copy->tls_hostname = vq_strdup(server->tls_hostname);
    copy->server = (struct vq_migrate_disks_server){ copy->host, copy->socket, server->port, copy->tls_creds,
                                                     copy->tls_hostname };
    vq_disks_call(disks, "query-block", NULL, nodes_found);
}

static void settle_asked(json_t *reply, const struct vq_error *err, void *data)
{
    (void)reply;
    if (err != NULL)
        vq_disks_keep_error(data, err); /* it has ended already, and wrongly */
}

void vq_migrate_disks_settle(struct vq_qemu_guest *guest, vq_migrate_disks_cb cb)
{
    struct vq_migrate_disks *disks = vq_disks_of(guest);
    struct vq_error lost = disks->error;

    if (disks->phase != VQ_DISKS_WATCHING) {
        vq_disks_begin(disks, cb);
        disks->error = lost;
        vq_disks_over_later(disks);
        return;
    }
    vq_disks_begin(disks, cb);
    disks->error = lost;
    disks->phase = VQ_DISKS_SETTLING;
    disks->deadline_ms = uv_now(guest->qemu->host->loop) + SETTLE_MS;
    for (size_t i = 0; i < disks->n_items; i++)
        vq_disks_call(disks, "block-job-cancel", json_pack("{s:o}", "device", json_sprintf(VQ_DISKS_PREFIX "%s", disks->items[i].alias)),
             settle_asked);
    poll_jobs(disks);
}

void vq_migrate_disks_cancel(struct vq_qemu_guest *guest, vq_migrate_disks_cb cb)
{
    struct vq_migrate_disks *disks = vq_disks_of(guest);

    vq_disks_begin(disks, cb);
    if (guest->qmp == NULL || vq_qmp_is_broken(guest->qmp)) {
        disks->phase = VQ_DISKS_IDLE;
        vq_disks_over_later(disks);
        return;
    }
    disks->phase = VQ_DISKS_CANCELLING;
    disks->deadline_ms = uv_now(guest->qemu->host->loop) + SETTLE_MS;
    poll_jobs(disks);
}
