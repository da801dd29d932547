/* The command that ends a move between nodes, as both sides propose it; and the definition that a commit brings along.
 *
 * The domain takes its new name, or the definition that the caller wants to be kept, with the owner: in one entry of the log. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/abi.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/define.h"
#include "drivers/qemu/definition.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/migrate.h"
#include "proto/cluster.pb-c.h"

/* ---- The definition ---- */

/* The caller's own: of this guest, complete, and such that the guest does not notice it at its next start. */
static int read_given(const struct vq_qemu_guest *guest, const char *xml, const struct vq_domain *stored,
                      struct vq_domain **ret, struct vq_error *err)
{
    VQ_AUTOPTR(vq_domain) given = NULL;

    if (vq_qemu_parse_stored(xml, &given, err) < 0)
        return -1;
    if (given->has_uuid && memcmp(given->uuid, guest->uuid, sizeof(given->uuid)) != 0)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "the persistent XML is of another domain than '%s'", guest->name);
    memcpy(given->uuid, guest->uuid, sizeof(given->uuid));
    given->has_uuid = true;
    if (guest->caps != NULL && vq_qemu_definition_fill(given, guest->caps, guest->qemu->host->random, err) < 0)
        return -1;
    if (vq_domain_abi_check(stored, given, err) < 0)
        return vq_error_wrap(err, "persistent XML");
    *ret = vq_take(given);
    return 0;
}

int vq_migrate_kept_definition(const struct vq_qemu_guest *guest, const struct vq_migrate_options *options,
                               struct vq_domain **ret, struct vq_error *err)
{
    const char *given = (options->flags & VIR_MIGRATE_PERSIST_DEST) != 0 ? options->persistent_xml : NULL;
    const char *name = options->dname != NULL ? options->dname : guest->name;
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    VQ_AUTOPTR(vq_domain) stored = NULL;
    VQ_AUTOPTR(vq_domain) kept = NULL;
    struct vq_domain_info info = { 0 };

    *ret = NULL;
    if (!guest->qemu->host->domain_find(guest->uuid, true, arena, &info))
        return 0; /* the log says the same, with authority */
    if (given == NULL && vq_streq(info.name, name))
        return 0;
    if (info.xml == NULL)
        return vq_qemu_definition_error(guest->uuid, guest->name, &info, err);
    if (vq_qemu_parse_stored(info.xml, &stored, err) < 0)
        return -1;
    if (given != NULL && read_given(guest, given, stored, &kept, err) < 0)
        return -1;
    *ret = kept != NULL ? vq_take(kept) : vq_take(stored);
    vq_set_text(&(*ret)->name, name);
    return 0;
}

/* ---- The command ---- */

static void propose(const struct vq_driver_host *host, const uint8_t uuid[VQ_UUID_BYTES], Vq__DomainMoveEnd *end,
                    vq_propose_cb cb, void *data)
{
    Vq__Command command = VQ__COMMAND__INIT;

    end->uuid = (ProtobufCBinaryData){ .data = (uint8_t *)(uintptr_t)uuid, .len = VQ_UUID_BYTES };
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_MOVE_END;
    command.domain_move_end = end;
    host->propose(&command, 0, cb, data); /* packed before this returns */
}

void vq_migrate_propose_cancel(const struct vq_driver_host *host, const uint8_t uuid[VQ_UUID_BYTES], uint64_t to, uint64_t run,
                               vq_propose_cb cb, void *data)
{
    Vq__DomainMoveEnd end = VQ__DOMAIN_MOVE_END__INIT;

    end.to = to;
    end.run = run;
    propose(host, uuid, &end, cb, data);
}

void vq_migrate_propose_commit(const struct vq_qemu_guest *guest, uint64_t to, vq_propose_cb cb, void *data)
{
    const struct vq_migration *migration = guest->migration;
    Vq__DomainMoveEnd end = VQ__DOMAIN_MOVE_END__INIT;
    Vq__DomainDefine define = VQ__DOMAIN_DEFINE__INIT;
    VQ_AUTOPTR(vq_domain) kept = NULL;
    struct vq_qemu_packed packed = { 0 };
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_migrate_kept_definition(guest, &migration->options, &kept, &err) < 0 ||
        (kept != NULL && vq_qemu_pack_definition(guest->qemu->host, kept, &packed, &err) < 0)) {
        err.from = VIR_FROM_QEMU; /* not the log's word, which is VIR_FROM_DOMAIN */
        cb(NULL, &err, data);
        return;
    }
    end.to = to;
    end.run = migration->run;
    end.commit = true;
    if ((migration->options.flags & VIR_MIGRATE_PERSIST_DEST) != 0)
        end.keep = VQ__DOMAIN_MOVE_END__KEEP__KEEP_PERSISTENT;
    if (kept != NULL) {
        define.driver = (char *)guest->qemu->driver->name;
        define.uuid = (ProtobufCBinaryData){ .data = kept->uuid, .len = sizeof(kept->uuid) };
        define.name = kept->name;
        define.xml = (ProtobufCBinaryData){ .data = packed.bytes, .len = packed.length };
        define.xml_size = packed.xml_size;
        define.xml_sealed = packed.is_sealed;
        define.max_memory_kib = kept->memory_kib;
        define.memory_kib = kept->current_memory_kib;
        define.vcpus = kept->current_vcpus;
        define.max_vcpus = kept->vcpus;
        end.define = &define;
    }
    propose(guest->qemu->host, guest->uuid, &end, cb, data);
    free(packed.bytes);
}
