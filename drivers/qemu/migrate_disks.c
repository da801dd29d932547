/* Copying disks during a migration, what both sides need: see migrate_disks.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/migrate_disks_internal.h"

#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/process.h"

bool vq_migrate_disks_asked(const struct vq_migrate_options *options)
{
    return (options->flags & (VIR_MIGRATE_NON_SHARED_DISK | VIR_MIGRATE_NON_SHARED_INC)) != 0;
}

/* ---- The object ---- */

static void timer_closed(uv_handle_t *handle)
{
    free(handle);
}

static void item_done(struct vq_disks_item *item)
{
    free(item->target);
    free(item->alias);
    free(item->format);
    free(item->path);
    if (item->fd >= 0)
        (void)close(item->fd); /* its maker has it, or it is thrown away */
}

void vq_disks_offer_free(struct vq_disks_offer *offer)
{
    if (offer != NULL)
        vq_migrate_options_done(&offer->options);
    free(offer);
}

void vq_disks_copy_free(struct vq_disks_copy *copy)
{
    if (copy == NULL)
        return;
    vq_migrate_options_done(&copy->options);
    free(copy->host);
    free(copy->socket);
    free(copy->tls_creds);
    free(copy->tls_hostname);
    free(copy);
}

void vq_migrate_disks_free(struct vq_migrate_disks *disks)
{
    if (disks == NULL)
        return;
    bool is_asking = disks->pending > 0 || disks->is_polling || disks->offer != NULL || disks->copy != NULL;
    for (size_t i = 0; is_asking && disks->guest->qmp != NULL && i < disks->n_calls; i++)
        vq_qmp_cancel(disks->guest->qmp, disks->calls[i]);
    free(disks->calls);
    vq_disks_offer_free(disks->offer);
    vq_disks_copy_free(disks->copy);
    vq_process_free(disks->maker);
    if (disks->aside != NULL)
        vq_aside_forget(disks->aside);
    if (disks->timer != NULL) {
        (void)uv_timer_stop(disks->timer);
        uv_close((uv_handle_t *)disks->timer, timer_closed);
    }
    for (size_t i = 0; i < disks->n_items; i++)
        item_done(&disks->items[i]);
    free(disks->items);
    free(disks);
}

struct vq_migrate_disks *vq_disks_of(struct vq_qemu_guest *guest)
{
    struct vq_migrate_disks *disks = guest->migration->disks;

    if (disks == NULL)
        disks = guest->migration->disks = vq_new(struct vq_migrate_disks);
    disks->guest = guest;
    if (disks->timer == NULL) {
        disks->timer = vq_new(uv_timer_t);
        (void)uv_timer_init(guest->qemu->host->loop, disks->timer);
        disks->timer->data = disks;
    }
    return disks;
}

void vq_migrate_disks_found(struct vq_qemu_guest *guest)
{
    if (guest->migration != NULL && guest->migration->disks != NULL)
        guest->migration->disks->n_calls = 0;
}

void vq_disks_call(struct vq_migrate_disks *disks, const char *command, json_t *take_arguments, vq_qmp_cb cb)
{
    disks->calls = vq_realloc(disks->calls, disks->n_calls + 1, sizeof(*disks->calls));
    disks->calls[disks->n_calls++] = vq_qmp_call(disks->guest->qmp, command, take_arguments, VQ_QMP_TIMEOUT_MS, cb, disks);
}

void vq_disks_over(struct vq_migrate_disks *disks)
{
    struct vq_error err = disks->error;
    vq_migrate_disks_cb cb = disks->cb;

    disks->cb = NULL;
    if (cb != NULL)
        cb(disks->guest, err.code == VIR_ERR_OK ? NULL : &err);
}

static void time_is_over(uv_timer_t *timer)
{
    vq_disks_over(timer->data);
}

void vq_disks_over_later(struct vq_migrate_disks *disks)
{
    (void)uv_timer_start(disks->timer, time_is_over, 0, 0);
}

void vq_disks_begin(struct vq_migrate_disks *disks, vq_migrate_disks_cb cb)
{
    (void)uv_timer_stop(disks->timer);
    disks->cb = cb;
    disks->error = (struct vq_error)VQ_ERROR_INIT;
    disks->pending = 0;
}

void vq_disks_keep_error(struct vq_migrate_disks *disks, const struct vq_error *err)
{
    if (disks->error.code == VIR_ERR_OK)
        disks->error = *err;
}

struct vq_disks_item *vq_disks_find_item(struct vq_migrate_disks *disks, const char *job)
{
    if (job == NULL || strncmp(job, VQ_DISKS_PREFIX, strlen(VQ_DISKS_PREFIX)) != 0)
        return NULL;
    for (size_t i = 0; i < disks->n_items; i++)
        if (vq_streq(disks->items[i].alias, job + strlen(VQ_DISKS_PREFIX)))
            return &disks->items[i];
    return NULL;
}

const struct vq_disk *vq_disks_find(const struct vq_domain *live, const char *target)
{
    for (size_t i = 0; live != NULL && i < live->devices.n_disks; i++)
        if (vq_streq(live->devices.disks[i]->target, target))
            return live->devices.disks[i];
    return NULL;
}

struct vq_disks_item *vq_disks_add_item(struct vq_migrate_disks *disks, const struct vq_disk *disk, uint64_t capacity)
{
    struct vq_disks_item *item;

    disks->items = vq_realloc(disks->items, disks->n_items + 1, sizeof(*disks->items));
    item = &disks->items[disks->n_items++];
    *item = (struct vq_disks_item){ .target = vq_strdup(disk->target), .alias = vq_strdup(disk->info.alias),
                           .format = vq_strdup(disk->format != NULL ? disk->format : "raw"),
                           .path = vq_strdup(disk->source.path), .capacity = capacity, .fd = -1 };
    return item;
}

void vq_disks_forget_items(struct vq_migrate_disks *disks)
{
    for (size_t i = 0; i < disks->n_items; i++)
        item_done(&disks->items[i]);
    disks->n_items = 0;
}

uint64_t vq_disks_number_of(const json_t *object, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(object, name));

    return value > 0 ? (uint64_t)value : 0;
}

/* ---- The record ---- */

static void put(json_t *object, const char *name, json_t *take_value)
{
    (void)json_object_set_new(object, name, take_value); /* fails for NULL only: the field is then left out */
}

json_t *vq_migrate_disks_pack(const struct vq_migrate_disks *disks)
{
    json_t *list = json_array();

    for (size_t i = 0; disks != NULL && i < disks->n_items; i++) {
        const struct vq_disks_item *item = &disks->items[i];
        json_t *object = json_pack("{s:s,s:s,s:s,s:b}", "target", item->target, "alias", item->alias, "format",
                                   item->format, "made", item->was_made);

        put(object, "path", json_string(item->path));
        put(object, "inode", json_integer((json_int_t)item->inode));
        put(object, "capacity", json_integer((json_int_t)item->capacity));
        (void)json_array_append_new(list, object);
    }
    return list;
}

static char *text_of(const json_t *object, const char *name)
{
    return vq_strdup(json_string_value(json_object_get(object, name)));
}

struct vq_migrate_disks *vq_migrate_disks_unpack(const json_t *list)
{
    struct vq_migrate_disks *disks = NULL;
    size_t i;
    json_t *object;

    json_array_foreach((json_t *)list, i, object) {
        struct vq_disks_item item = { .target = text_of(object, "target"), .alias = text_of(object, "alias"),
                                      .format = text_of(object, "format"), .path = text_of(object, "path"),
                                      .capacity = vq_disks_number_of(object, "capacity"),
                                      .was_made = json_is_true(json_object_get(object, "made")),
                                      .inode = vq_disks_number_of(object, "inode"), .fd = -1 };

        if (i >= VQ_MIGRATE_DISKS_MAX || item.target == NULL || item.alias == NULL || item.format == NULL) {
            item_done(&item);
            continue;
        }
        if (disks == NULL)
            disks = vq_new(struct vq_migrate_disks);
        disks->items = vq_realloc(disks->items, disks->n_items + 1, sizeof(*disks->items));
        disks->items[disks->n_items++] = item;
    }
    return disks;
}
