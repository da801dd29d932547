/* The two sides of a migration as the rest of the driver meets them: migrate.c passes on what happens to a guest that takes
 * part in one, by its role. */
#pragma once

#include "drivers/qemu/migrate.h"

/* Each function: as its namesake in migrate.h. The guest has a migration of this role. */
struct vq_migrate_side {
    bool (*event)(struct vq_qemu_guest *guest, const char *name, const json_t *data);
    void (*changed)(struct vq_qemu_guest *guest, const struct vq_domain_info *info); /* info NULL: the domain is gone */
    void (*found)(struct vq_qemu_guest *guest);
    void (*session_ended)(struct vq_qemu_guest *guest, uint64_t entry_node, uint64_t session);
    bool (*exited)(struct vq_qemu_guest *guest);
    /* The guest's object goes, or the migration is over: answer who waits, close what is open, free migration->side. */
    void (*side_free)(struct vq_migration *migration);
};

extern const struct vq_migrate_side vq_migrate_out_side; /* migrate_out.c */
extern const struct vq_migrate_side vq_migrate_in_side;  /* migrate_in.c */
