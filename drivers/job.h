/* Asynchronous work as a list of steps with undo.
 *
 * A job runs its steps in order. A step that waits returns VQ_STEP_WAIT; whoever finishes it calls vq_job_resume(). After an
 * error the same step is undone first (it may be half done), then those before it, in reverse order. Ending what a job
 * built is undoing it from its last step: vq_job_unwind(). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "conf/base/error.h"

struct vq_job;

enum vq_step_result { VQ_STEP_DONE, VQ_STEP_WAIT };
typedef enum vq_step_result (*vq_step_fn)(struct vq_job *job);

struct vq_step {
    const char *name;        /* for people: "taking 5 s: greet monitor" */
    vq_step_fn run;
    vq_step_fn undo;         /* NULL: nothing to undo. Copes with a half-done step; may wait; cannot fail the job */
    unsigned timeout_ms;     /* of run while it waits, 0: it never waits long. Undo keeps its own deadlines */
};

struct vq_job {
    const struct vq_step *steps;
    size_t n_steps;
    size_t cursor;           /* step that runs, waits or is undone */
    bool is_active;
    bool is_unwinding;       /* after an error, or because the job is the undoing */
    bool is_waiting;
    struct vq_error error;   /* the first one; VIR_ERR_OK while all is well */
    uv_timer_t *timer;       /* the owner's, initialised, free for the job while it is active */
    void (*done)(struct vq_job *job); /* at the end of either direction; may free the job */
    void (*late)(struct vq_job *job); /* of vq_job_deadline() */
    void *owner;
};

/* Run the steps from the first. timer->data is the job's until done. done may be called before this returns. */
void vq_job_start(struct vq_job *job, const struct vq_step *steps, size_t n_steps, uv_timer_t *timer,
                  void (*done)(struct vq_job *job), void *owner);
/* Undo the steps from the last (or from the one named by cursor when the job had stopped there). */
void vq_job_unwind(struct vq_job *job, const struct vq_step *steps, size_t n_steps, uv_timer_t *timer,
                   void (*done)(struct vq_job *job), void *owner);

/* The waiting step is over, well or (err not NULL) badly. Undo steps take no errors: log them. */
void vq_job_resume(struct vq_job *job, const struct vq_error *err);

/* From a step that is about to wait, and whose row has no timeout: late is called when it still waits after so long. It may end the
 * wait, or not. */
void vq_job_deadline(struct vq_job *job, uint64_t ms, void (*late)(struct vq_job *job));

/* A step's way to fail at once: return vq_job_fail(job, &err). Keeps the first error. */
enum vq_step_result vq_job_fail(struct vq_job *job, const struct vq_error *err);

/* Turn round: a waiting run step is undone as it is. No effect once it unwinds. Not from within a step. */
void vq_job_cancel(struct vq_job *job, const struct vq_error *why);
