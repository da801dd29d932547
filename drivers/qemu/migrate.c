/* What both sides of a migration share: the record of one, and whom things that happen to a guest concern. See migrate.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/migrate.h"

#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/migrate_disks.h"
#include "drivers/qemu/migrate_in.h"
#include "drivers/qemu/migrate_side.h"

static const struct vq_migrate_side *const sides[] = {
    [VQ_MIGRATE_NONE] = NULL,
    [VQ_MIGRATE_OUT] = &vq_migrate_out_side,
    [VQ_MIGRATE_IN] = &vq_migrate_in_side,
};

/* NULL: no migration of this guest is under way. */
static const struct vq_migrate_side *side_of(const struct vq_migration *migration)
{
    return migration != NULL ? sides[migration->role] : NULL;
}

/* ---- What happens ---- */

bool vq_migrate_is_incoming(const struct vq_qemu_guest *guest)
{
    return guest->migration != NULL && guest->migration->role == VQ_MIGRATE_IN &&
           guest->migration->stage < VQ_MIGRATE_POSTCOPY;
}

bool vq_migrate_event(struct vq_qemu_guest *guest, const char *name, const json_t *data)
{
    const struct vq_migrate_side *side = side_of(guest->migration);

    return side != NULL && side->event(guest, name, data);
}

void vq_migrate_changed(struct vq_qemu_guest *guest, const struct vq_domain_info *info)
{
    const struct vq_migrate_side *side = side_of(guest->migration);

    if (side != NULL)
        side->changed(guest, info);
}

void vq_migrate_found(struct vq_qemu_guest *guest)
{
    const struct vq_migrate_side *side = side_of(guest->migration);

    if (side != NULL)
        side->found(guest);
}

/* What a side does about it never removes another guest than this one from the list at once. */
void vq_migrate_session_ended(struct vq_qemu *qemu, uint64_t entry_node, uint64_t session)
{
    struct vq_qemu_guest *next;

    vq_incoming_prepare_session_ended(entry_node, session);
    for (struct vq_qemu_guest *guest = qemu->guests; guest != NULL; guest = next) {
        const struct vq_migrate_side *side = side_of(guest->migration);

        next = guest->next;
        if (side != NULL)
            side->session_ended(guest, entry_node, session);
    }
}

bool vq_migrate_exited(struct vq_qemu_guest *guest)
{
    const struct vq_migrate_side *side = side_of(guest->migration);

    return side != NULL && side->exited(guest);
}

void vq_migration_free(struct vq_migration *migration)
{
    const struct vq_migrate_side *side = side_of(migration);

    if (migration == NULL)
        return;
    if (side != NULL)
        side->side_free(migration);
    vq_migrate_disks_free(migration->disks);
    vq_migrate_options_done(&migration->options);
    free(migration->owned);
    free(migration);
}

/* ---- The record ---- */

static const char *const role_words[] = { [VQ_MIGRATE_NONE] = "none", [VQ_MIGRATE_OUT] = "out", [VQ_MIGRATE_IN] = "in" };

static const char *const stage_words[VQ_MIGRATE_STAGES] = {
    [VQ_MIGRATE_BEGUN] = "begun", [VQ_MIGRATE_SENDING] = "sending",
    [VQ_MIGRATE_SENT] = "sent", [VQ_MIGRATE_WAITING] = "waiting", [VQ_MIGRATE_LOADING] = "loading",
    [VQ_MIGRATE_LOADED] = "loaded", [VQ_MIGRATE_POSTCOPY] = "postcopy",
    [VQ_MIGRATE_POSTCOPY_FAILED] = "postcopy-failed", [VQ_MIGRATE_OVER] = "over",
};

static void put_text(json_t *root, const char *name, const char *text)
{
    if (text != NULL)
        (void)json_object_set_new(root, name, json_string(text)); /* fails for what is not UTF-8: left out */
}

/* Of the options only what a daemon that comes after us still needs: no migration is begun anew from a record. */
json_t *vq_migration_pack(const struct vq_migration *migration)
{
    json_t *root = json_pack("{s:s,s:s,s:I,s:I,s:I,s:I,s:I,s:b,s:I}", "role", role_words[migration->role], "stage",
                             stage_words[migration->stage], "peer", (json_int_t)migration->peer, "run",
                             (json_int_t)migration->run, "generation", (json_int_t)migration->generation, "entry",
                             (json_int_t)migration->entry_node, "session", (json_int_t)migration->session, "ran",
                             migration->was_running, "flags", (json_int_t)migration->options.flags);

    if (migration->taken_from != 0)
        (void)json_object_set_new(root, "taken", json_integer((json_int_t)migration->taken_from));
    put_text(root, "uri", migration->options.uri);
    put_text(root, "dname", migration->options.dname);
    put_text(root, "persistent", migration->options.persistent_xml);
    put_text(root, "owned", migration->owned);
    if (migration->disks != NULL)
        (void)json_object_set_new(root, "disks", vq_migrate_disks_pack(migration->disks));
    return root;
}

static bool word_of(const json_t *root, const char *name, const char *const *words, size_t n_words, size_t *ret)
{
    const char *word = json_string_value(json_object_get(root, name));

    for (*ret = 0; *ret < n_words; (*ret)++)
        if (vq_streq(word, words[*ret]))
            return true;
    return false;
}

static uint64_t number_of(const json_t *root, const char *name)
{
    json_int_t number = json_integer_value(json_object_get(root, name));

    return number > 0 ? (uint64_t)number : 0;
}

static char *text_of(const json_t *root, const char *name)
{
    return vq_strdup(json_string_value(json_object_get(root, name)));
}

struct vq_migration *vq_migration_unpack(const json_t *object)
{
    struct vq_migration *migration;
    size_t role, stage;

    if (!word_of(object, "role", role_words, VQ_N_ELEMENTS(role_words), &role) || role == VQ_MIGRATE_NONE ||
        !word_of(object, "stage", stage_words, VQ_N_ELEMENTS(stage_words), &stage))
        return NULL;
    migration = vq_new(struct vq_migration);
    vq_migrate_options_init(&migration->options);
    migration->role = (enum vq_migrate_role)role;
    migration->stage = (enum vq_migrate_stage)stage;
    migration->peer = number_of(object, "peer");
    migration->run = number_of(object, "run");
    migration->generation = number_of(object, "generation");
    migration->taken_from = number_of(object, "taken");
    migration->entry_node = number_of(object, "entry");
    migration->session = number_of(object, "session");
    migration->was_running = json_is_true(json_object_get(object, "ran"));
    migration->options.flags = number_of(object, "flags");
    migration->options.uri = text_of(object, "uri");
    migration->options.dname = text_of(object, "dname");
    migration->options.persistent_xml = text_of(object, "persistent");
    migration->owned = text_of(object, "owned");
    migration->disks = vq_migrate_disks_unpack(json_object_get(object, "disks"));
    return migration;
}
