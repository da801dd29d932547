/* A running guest whose state goes into a file: save, managed save and dumps.
 *
 * One job with steps and undo (save_steps.c). The record of the run says that it is under way, so that a later daemon undoes it (the
 * file goes, the CPUs run again), or, once all is in the file, completes it. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <uv.h>

#include "conf/base/error.h"
#include "drivers/job.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/qmp.h"
#include "drivers/qemu/save_file.h"
#include "drivers/qemu/save_filter.h"

enum vq_saving_kind {
    VQ_SAVING_FILE,          /* into a file that the caller named */
    VQ_SAVING_MANAGED,       /* into the driver's own, and the domain knows */
    VQ_SAVING_DUMP,          /* QEMU's stream without a header */
    VQ_SAVING_DUMP_MEMORY,   /* a core file */
    VQ_SAVING_KINDS,
};

enum vq_saving_stage {
    VQ_SAVING_BEGUN,         /* undone by a daemon that finds it */
    VQ_SAVING_COMPLETE,      /* all is in the file: it is put in place, and the guest ends */
    VQ_SAVING_STAGES,
};

struct vq_saving_options {
    enum vq_saving_kind kind;
    const char *path;
    enum vq_save_format format;
    bool bypasses_cache;
    bool is_live;            /* the CPUs run on (dumps) */
    bool crashes, resets;    /* what becomes of it then (dumps) */
    const char *dump_format; /* "kdump-zlib", NULL: ELF (DUMP_MEMORY) */
    char *take_xml;          /* definition for the header; dumps: NULL */
    bool will_run;           /* the header's word for the restore */
};

enum vq_saving_qemu { VQ_SAVING_IDLE, VQ_SAVING_AT_WORK, VQ_SAVING_SENT, VQ_SAVING_FAILED };

struct vq_saving {
    struct vq_qemu_guest *guest;
    enum vq_saving_kind kind;
    enum vq_saving_stage stage;
    enum vq_save_format format;
    bool is_live, crashes, resets;
    const char *dump_format;
    bool was_running;        /* its CPUs are stopped for this, and run again afterwards */
    char *path;              /* as the caller named it */
    char *place, *temporary; /* as the file has them, NULL: not known, or none */
    bool bypasses_cache;
    struct vq_save_file *file;   /* NULL: a thread has it, or it is lost */
    struct vq_save_work *work;   /* of that thread; NULL: none is at it */
    struct vq_save_filter *filter;
    bool filter_has_ended;
    struct vq_error filter_err;
    int qemu_fd;             /* where QEMU writes, -1 */
    int filter_fd;           /* where the filter reads, -1 */
    bool has_descriptor;     /* QEMU was given one and has not used it */
    enum vq_saving_qemu qemu;
    bool is_found;           /* of an earlier daemon */
    bool is_told;            /* QEMU was told to send */
    bool has_exited;         /* QEMU has ended */
    bool is_flagged;         /* the cluster was asked to set the mark of a managed save */
    uint64_t call;           /* to QEMU, whose answer a step waits for; 0: none */
    struct vq_error failure;
    struct vq_job job;
    uv_timer_t job_timer, wait_timer;
    struct vq_request *request;
    /* For those that are no request: called once at the end. */
    void (*done)(struct vq_qemu_guest *guest, const struct vq_error *err);
};

extern const struct vq_step vq_saving_steps[];
extern const size_t vq_n_saving_steps;
extern const size_t vq_saving_first_complete; /* the step from which it goes on when all is in the file */

/* Begin; the request is answered at the end. Errors: as vq_qemu_activity_begin(). */
VQ_MUST_CHECK int vq_saving_start(struct vq_qemu_guest *guest, const struct vq_saving_options *options,
                                  struct vq_request *request,
                                  void (*done)(struct vq_qemu_guest *guest, const struct vq_error *err),
                                  struct vq_error *err);

/* ---- What happens to the guest meanwhile ---- */

/* True: it is the saving's alone. */
bool vq_saving_event(struct vq_qemu_guest *guest, const char *name, const json_t *data);
/* QEMU has ended. True: vq_qemu_guest_exited() is called again when the file is dealt with. */
bool vq_saving_exited(struct vq_qemu_guest *guest);
/* The monitor is there (again). */
void vq_saving_found(struct vq_qemu_guest *guest);
/* A daemon finds the record, and no process: the file is completed or removed, and guest->end set where it is known. */
void vq_saving_lost(struct vq_qemu_guest *guest);
/* The guest's object goes. */
void vq_saving_free(struct vq_saving *saving);

json_t *vq_saving_pack(const struct vq_saving *saving);
/* NULL: there is none, or it cannot be read. */
struct vq_saving *vq_saving_unpack(struct vq_qemu_guest *guest, const json_t *object);

/* ---- Between save.c and save_steps.c ---- */

void vq_saving_done(struct vq_job *job);
/* The waiting run step is over. */
void vq_saving_step_over(struct vq_saving *saving, const struct vq_error *err);
/* Ask QEMU; false: it cannot be asked. */
bool vq_saving_ask(struct vq_saving *saving, const char *command, json_t *take_arguments, int fd, vq_qmp_cb cb);
/* QEMU's word about what it was told to send. */
void vq_saving_status(struct vq_saving *saving, const char *status, const char *error);
void vq_saving_know_file(struct vq_saving *saving);
/* The next stop of the CPUs is this one's. */
void vq_saving_next_pause(const struct vq_saving *saving);
bool vq_saving_is_dump(const struct vq_saving *saving);
const char *vq_saving_job_name(const struct vq_saving *saving); /* "domain save job", for messages */
