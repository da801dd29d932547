/* The step engine: see job.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/job.h"

#include <assert.h>

#include "conf/base/log.h"

static void job_run(struct vq_job *job);

static void step_timeout(uv_timer_t *timer)
{
    struct vq_job *job = timer->data;
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, VIR_ERR_OPERATION_TIMEOUT, "step '%s' took longer than %u ms", job->steps[job->cursor].name,
                       job->steps[job->cursor].timeout_ms);
    vq_job_resume(job, &err);
}

/* The next step in the present direction; false at the end. After an error this one again, backwards. */
static bool job_move(struct vq_job *job)
{
    if (!job->is_unwinding && job->error.code != VIR_ERR_OK) {
        job->is_unwinding = true;
        return true;
    }
    if (job->is_unwinding) {
        if (job->cursor == 0)
            return false;
        job->cursor--;
        return true;
    }
    if (job->cursor + 1 == job->n_steps)
        return false;
    job->cursor++;
    return true;
}

static void job_run(struct vq_job *job)
{
    do {
        const struct vq_step *step = &job->steps[job->cursor];
        vq_step_fn fn = job->is_unwinding ? step->undo : step->run;

        if (fn == NULL || fn(job) != VQ_STEP_WAIT)
            continue;
        if (!job->is_unwinding && job->error.code != VIR_ERR_OK)
            continue; /* failed although it said wait: its undo ends what it had begun */
        job->is_waiting = true;
        if (!job->is_unwinding && step->timeout_ms != 0)
            (void)uv_timer_start(job->timer, step_timeout, step->timeout_ms, 0);
        return;
    } while (job_move(job));

    job->is_active = false;
    job->done(job);
}

static void job_begin(struct vq_job *job, const struct vq_step *steps, size_t n_steps, uv_timer_t *timer,
                      void (*done)(struct vq_job *job), void *owner)
{
    assert(!job->is_active);
    assert(n_steps > 0);
    *job = (struct vq_job){ .steps = steps, .n_steps = n_steps, .timer = timer, .done = done, .owner = owner,
                            .is_active = true, .error = VQ_ERROR_INIT };
    timer->data = job;
}

void vq_job_start(struct vq_job *job, const struct vq_step *steps, size_t n_steps, uv_timer_t *timer,
                  void (*done)(struct vq_job *job), void *owner)
{
    job_begin(job, steps, n_steps, timer, done, owner);
    job_run(job);
}

void vq_job_unwind(struct vq_job *job, const struct vq_step *steps, size_t n_steps, uv_timer_t *timer,
                   void (*done)(struct vq_job *job), void *owner)
{
    job_begin(job, steps, n_steps, timer, done, owner);
    job->cursor = n_steps - 1;
    job->is_unwinding = true;
    job_run(job);
}

void vq_job_resume(struct vq_job *job, const struct vq_error *err)
{
    assert(job->is_active);
    assert(job->is_waiting);
    job->is_waiting = false;
    (void)uv_timer_stop(job->timer);
    if (err != NULL) {
        if (job->is_unwinding)
            vq_log(WARN, "job.undo", "step='%s': %s, continuing", job->steps[job->cursor].name, err->message);
        else
            (void)vq_job_fail(job, err);
    }
    if (job_move(job)) {
        job_run(job);
        return;
    }
    job->is_active = false;
    job->done(job);
}

static void deadline_over(uv_timer_t *timer)
{
    struct vq_job *job = timer->data;

    job->late(job);
}

void vq_job_deadline(struct vq_job *job, uint64_t ms, void (*late)(struct vq_job *job))
{
    assert(job->is_active && !job->is_waiting);
    assert(job->steps[job->cursor].timeout_ms == 0);
    job->late = late;
    (void)uv_timer_start(job->timer, deadline_over, ms, 0);
}

enum vq_step_result vq_job_fail(struct vq_job *job, const struct vq_error *err)
{
    assert(err->code != VIR_ERR_OK);
    if (job->error.code == VIR_ERR_OK)
        job->error = *err;
    return VQ_STEP_DONE;
}

void vq_job_cancel(struct vq_job *job, const struct vq_error *why)
{
    assert(job->is_active);
    if (job->is_unwinding)
        return;
    assert(job->is_waiting);
    vq_job_resume(job, why);
}
