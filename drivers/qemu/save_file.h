/* The file that a save or a dump makes: written beside its place under another name, and put there when it is complete.
 *
 * All of it blocks, so it is done by threads, one piece of work at a time. While a thread has the file nobody else touches it. What
 * is no regular file (a device, a pipe) is written where it is. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_save_file {
    char *path;              /* as the caller named it, absolute */
    char *place;             /* what it leads to; known after LOOK */
    char *temporary;         /* beside the place; NULL: it is written directly */
    char mark[20];           /* of the temporary name */
    uint8_t *head;           /* what it begins with, NULL: nothing */
    size_t head_length;
    bool bypasses_cache;
    bool has_old;            /* there is one of this name: the new one gets its owner and mode */
    uid_t old_uid;
    gid_t old_gid;
    mode_t old_mode;
    bool is_placed;
    int fd;                  /* at the end of head, -1: not open */
};

struct vq_save_file *vq_save_file_new(const char *path, const uint8_t mark[8]);
void vq_save_file_free(struct vq_save_file *file); /* closes; removes nothing */

enum vq_save_task {
    VQ_SAVE_LOOK,            /* where does the name lead; nothing is changed */
    VQ_SAVE_MAKE,            /* create and open it, write head */
    VQ_SAVE_FINISH,          /* mark head as finished, flush, close */
    VQ_SAVE_PLACE,           /* give it its name, flush the directory */
    VQ_SAVE_DISCARD,         /* what was made goes, also from its place */
};
/* Blocks. Errors: VIR_ERR_SYSTEM_ERROR naming the path; VIR_ERR_INVALID_ARG: it is not absolute. */
VQ_MUST_CHECK int vq_save_file_do(struct vq_save_file *file, enum vq_save_task task, struct vq_error *err);

/* One task beside the loop. cb is called once, from the loop; take_file NULL: the file system does not answer, and the file goes with
 * what was made of it when it does. */
struct vq_save_work;
typedef void (*vq_save_work_cb)(struct vq_save_file *take_file, const struct vq_error *err, void *data);
struct vq_save_work *vq_save_work_start(uv_loop_t *loop, struct vq_save_file *take_file, enum vq_save_task task,
                                        vq_save_work_cb cb, void *data);
/* Nobody waits any more: cb is not called. discards: what was made is removed, then or later. */
void vq_save_work_forget(struct vq_save_work *work, bool discards);
