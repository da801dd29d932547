/* What the two sides of copying disks share: migrate_disks.c has the object, _out.c the source, _in.c the destination, _files.c what
 * is done to its files. */
#pragma once

#include <uv.h>

#include "drivers/aside.h"
#include "drivers/qemu/migrate.h"
#include "drivers/qemu/migrate_disks.h"
#include "drivers/qemu/qmp.h"

struct vq_disk;
struct vq_domain;
struct vq_process;

/* Jobs and nodes of ours in QEMU, by which they are known after a restart of the daemon. */
#define VQ_DISKS_PREFIX "vq-copy-"

enum vq_disks_phase { VQ_DISKS_IDLE, VQ_DISKS_COPYING, VQ_DISKS_WATCHING, VQ_DISKS_SETTLING, VQ_DISKS_CANCELLING };

struct vq_disks_item {
    char *target, *alias, *format, *path;
    uint64_t capacity;
    bool was_made;           /* destination: the image is of our making */
    uint64_t inode;          /* of that image, 0: not known (yet) */
    const char *needed_for;  /* destination: it is not made, it must be there before this; NULL: it is made */
    int fd;                  /* of an image just made, whose format is still to be written; -1: none */
    bool is_seen;            /* in the last answer of query-block-jobs */
};

struct vq_migrate_disks {
    struct vq_qemu_guest *guest;
    struct vq_disks_item *items;
    size_t n_items;
    enum vq_disks_phase phase;
    unsigned pending;        /* answers of QEMU that are still to come */
    bool is_polling;
    uint64_t deadline_ms, last_ms, last_processed;
    struct vq_error error;   /* the first one */
    vq_migrate_disks_cb cb;
    uv_timer_t *timer;
    struct vq_aside *aside;  /* files are being looked for, made or removed; NULL: they are not */
    struct vq_process *maker; /* qemu-img */
    size_t making;           /* index of the image that is made */
    uint64_t *calls;         /* ids of questions to QEMU that are answered to us, to be cancelled when we go */
    size_t n_calls;
    struct vq_disks_offer *offer;     /* under way */
    struct vq_disks_copy *copy;
};

/* What a first question to QEMU is asked for. */
struct vq_disks_offer {
    struct vq_migrate_options options;
    struct vq_migrate_cookie *cookie;
};
struct vq_disks_copy {
    struct vq_migrate_options options;
    struct vq_migrate_disks_server server; /* texts below are its own */
    char *host, *socket, *tls_creds, *tls_hostname;
};

/* The guest's, made when there is none; ready for its loop. */
struct vq_migrate_disks *vq_disks_of(struct vq_qemu_guest *guest);
/* A new piece of work: cb is called at its end. */
void vq_disks_begin(struct vq_migrate_disks *disks, vq_migrate_disks_cb cb);
/* The end of it, with the error that was kept: now, or from the loop. */
void vq_disks_over(struct vq_migrate_disks *disks);
void vq_disks_over_later(struct vq_migrate_disks *disks);
void vq_disks_keep_error(struct vq_migrate_disks *disks, const struct vq_error *err);
/* Ask QEMU; the answer is for us, and is not wanted any more when we have gone. */
void vq_disks_call(struct vq_migrate_disks *disks, const char *command, json_t *take_arguments, vq_qmp_cb cb);

/* ---- migrate_disks_files.c ---- */

/* A piece of work for vq_aside_start(), with one of the classes below. */
struct vq_disks_files {
    struct vq_disks_file {
        char *path, *target;
        uint64_t size;       /* make: bytes, 0: empty */
        uint64_t inode;      /* remove: of the file that was made, 0: not known; made: of it */
        int number;          /* look: error number, 0: it is there. make: why it was not made, 0: another reason */
        int fd;              /* made: whoever takes it keeps the file, and sets this to -1 */
    } *items;
    size_t n_items;
    bool has_user;           /* make: whose they shall be */
    unsigned uid, gid;
    struct vq_error error;   /* make, remove: the first one */
};

void vq_disks_files_add(struct vq_disks_files *files, const struct vq_disks_item *item);
void vq_disks_files_free(void *files); /* what was made and not taken is removed again: may block */
extern const struct vq_aside_class vq_disks_look, vq_disks_make, vq_disks_remove;

/* ---- migrate_disks.c ---- */

struct vq_disks_item *vq_disks_find_item(struct vq_migrate_disks *disks, const char *job); /* by the name of its job */
struct vq_disks_item *vq_disks_add_item(struct vq_migrate_disks *disks, const struct vq_disk *disk, uint64_t capacity);
void vq_disks_forget_items(struct vq_migrate_disks *disks);
const struct vq_disk *vq_disks_find(const struct vq_domain *live, const char *target);
void vq_disks_offer_free(struct vq_disks_offer *offer);
void vq_disks_copy_free(struct vq_disks_copy *copy);
uint64_t vq_disks_number_of(const json_t *object, const char *name); /* 0: not there, or not positive */
