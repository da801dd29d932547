/* Disks that travel with a guest: the destination serves its images over NBD, the source mirrors into them while the guest runs and
 * ends the mirrors when its CPUs have stopped.
 *
 * Everything QEMU-side is found again by the names of jobs and nodes, so clearing away after a restart of the daemon
 * needs no memory of ours. Call-backs come once, from the loop, with the guest still there; none after vq_migrate_disks_free(). */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_migrate_cookie;
struct vq_migrate_disks;
struct vq_migrate_options;
struct vq_qemu_guest;

typedef void (*vq_migrate_disks_cb)(struct vq_qemu_guest *guest, const struct vq_error *err);

/* Do these flags ask for disks to be copied? */
bool vq_migrate_disks_asked(const struct vq_migrate_options *options);

/* ---- Source ---- */

/* At begin: fill cookie->disks and has_nbd with what is to be copied: the targets named, or all that are neither shared nor
 * read-only. Errors: VIR_ERR_INVALID_ARG a target that the guest does not have; VIR_ERR_OPERATION_FAILED QEMU does not tell the
 * sizes. cookie must live until cb. */
void vq_migrate_disks_offer(struct vq_qemu_guest *guest, const struct vq_migrate_options *options,
                            struct vq_migrate_cookie *cookie, vq_migrate_disks_cb cb);

/* Where the destination serves: from its cookie, or options->disks_uri. */
struct vq_migrate_disks_server {
    const char *host;        /* of the data channel; also an address, without brackets */
    const char *socket;      /* instead: a path */
    int port;
    const char *tls_creds;   /* id of QEMU's object; NULL: in clear */
    const char *tls_hostname;
};
/* Mirror all that was offered; cb when all are in step (or one failed). Numbers for domjobinfo go into the activity. */
void vq_migrate_disks_copy(struct vq_qemu_guest *guest, const struct vq_migrate_options *options,
                           const struct vq_migrate_cookie *offered, const struct vq_migrate_disks_server *server,
                           vq_migrate_disks_cb cb);
/* The CPUs stand still: end the mirrors, so that both sides are equal. Fails when one of them had failed meanwhile. */
void vq_migrate_disks_settle(struct vq_qemu_guest *guest, vq_migrate_disks_cb cb);
/* Away with all mirrors and their nodes, also those of an earlier daemon; goes on without an error when QEMU is gone. */
void vq_migrate_disks_cancel(struct vq_qemu_guest *guest, vq_migrate_disks_cb cb);

/* ---- Destination ---- */

/* Before QEMU runs: images that are not there are made, with the format of the definition and the size of the source, owned by
 * QEMU's user, and noted in the record. Errors: VIR_ERR_OPERATION_FAILED, VIR_ERR_SYSTEM_ERROR. */
void vq_migrate_disks_create(struct vq_qemu_guest *guest, const struct vq_migrate_options *options,
                             const struct vq_migrate_cookie *cookie, vq_migrate_disks_cb cb);
/* After the greeting, before migrate-incoming. listen: address or NULL for all; port: reserved by the caller. */
void vq_migrate_disks_serve(struct vq_qemu_guest *guest, const struct vq_migrate_options *options,
                            const struct vq_migrate_cookie *cookie, const char *listen, uint16_t port, const char *tls_creds,
                            vq_migrate_disks_cb cb);
/* Before the CPUs run. */
void vq_migrate_disks_unserve(struct vq_qemu_guest *guest, vq_migrate_disks_cb cb);
/* Images are not made any more; without a call-back. */
void vq_migrate_disks_stop_making(struct vq_qemu_guest *guest);
/* The guest did not come: what was made for it goes. False: nothing was made, and there is no call-back; else without an error. */
bool vq_migrate_disks_remove_created(struct vq_qemu_guest *guest, vq_migrate_disks_cb cb);
/* The guest came: what was made stays. */
void vq_migrate_disks_keep_created(struct vq_qemu_guest *guest);

/* ---- Both ---- */

/* Events about block jobs. True: it was one of ours. */
bool vq_migrate_disks_event(struct vq_qemu_guest *guest, const char *name, const json_t *data);
/* For the record, as part of the migration. */
json_t *vq_migrate_disks_pack(const struct vq_migrate_disks *disks);
struct vq_migrate_disks *vq_migrate_disks_unpack(const json_t *list); /* NULL: nothing in it */
/* The monitor is a new one: what was asked of the earlier one is answered. */
void vq_migrate_disks_found(struct vq_qemu_guest *guest);
void vq_migrate_disks_free(struct vq_migrate_disks *disks);           /* accepts NULL; handles close later */
