/* What other nodes' drivers ask this one: rows of the program VQ_PROGRAM_NODE (proto/schema/node.table). */
#define VQ_FROM VIR_FROM_QEMU
#include <assert.h>
#include <string.h>

#include "conf/base/memory.h"
#include "drivers/qemu/driver.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/migrate.h"
#include "proto/gen/node.h"

static_assert(VQ_MIGRATE_KEY_BYTES <= 64, "NODE_KEY of proto/schema/limits");

/* To the node that sends the guest, and to no other: the mesh tells who asks. */
static void migrate_key(struct vq_request *request)
{
    const struct vq_node_migrate_key_args *args = request->args;
    struct vq_node_migrate_key_ret *ret = request->ret;
    const struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), args->uuid);
    const struct vq_migration *migration = guest == NULL ? NULL : guest->migration;
    struct vq_error err = VQ_ERROR_INIT;

    if (migration == NULL || migration->role != VQ_MIGRATE_IN || migration->run != args->run || !migration->has_key ||
        migration->peer != request->caller->entry_node) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "no such migration comes to this node");
        vq_request_fail(request, &err);
        return;
    }
    uint8_t *key = vq_arena_alloc(request->arena, 1, sizeof(migration->key));
    if (key == NULL) {
        (void)vq_error_set(&err, VIR_ERR_NO_MEMORY, "the reply is too large");
        vq_request_fail(request, &err);
        return;
    }
    memcpy(key, migration->key, sizeof(migration->key));
    ret->key = key;
    ret->n_key = sizeof(migration->key);
    vq_request_reply(request);
}

static const struct vq_driver_row rows[] = {
    { VQ_PROGRAM_NODE, VQ_NODE_MIGRATE_KEY, migrate_key },
};
const struct vq_qemu_rows vq_qemu_node_rows = { rows, VQ_N_ELEMENTS(rows) };
