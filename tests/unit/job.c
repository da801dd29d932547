/* The step engine: every way a step can go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "drivers/job.h"

static char trace[512];
static struct vq_job job;
static uv_loop_t loop;
static uv_timer_t timer;
static int n_done;
static struct vq_error result;

static void note(const char *what)
{
    strcat(trace, what);
    strcat(trace, " ");
}

static void done(struct vq_job *finished)
{
    n_done++;
    result = finished->error;
}

static enum vq_step_result run_a(struct vq_job *j)
{
    (void)j;
    note("a");
    return VQ_STEP_DONE;
}
static enum vq_step_result undo_a(struct vq_job *j)
{
    (void)j;
    note("-a");
    return VQ_STEP_DONE;
}
static enum vq_step_result run_wait(struct vq_job *j)
{
    (void)j;
    note("w");
    return VQ_STEP_WAIT;
}
static enum vq_step_result undo_wait(struct vq_job *j)
{
    (void)j;
    note("-w");
    return VQ_STEP_WAIT;
}
static enum vq_step_result run_fail(struct vq_job *j)
{
    struct vq_error err = VQ_ERROR_INIT;

    note("f");
    (void)vq_error_set(&err, VIR_ERR_INTERNAL_ERROR, "it failed");
    return vq_job_fail(j, &err);
}
static enum vq_step_result undo_f(struct vq_job *j)
{
    (void)j;
    note("-f");
    return VQ_STEP_DONE;
}

static int setup(void **state)
{
    (void)state;
    trace[0] = '\0';
    n_done = 0;
    memset(&job, 0, sizeof(job));
    (void)uv_loop_init(&loop);
    return uv_timer_init(&loop, &timer);
}

static int teardown(void **state)
{
    (void)state;
    uv_close((uv_handle_t *)&timer, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static void start(const struct vq_step *steps, size_t n)
{
    vq_job_start(&job, steps, n, &timer, done, NULL);
}

static void steps_run_in_order_and_done_is_told_once(void **state)
{
    static const struct vq_step steps[] = { { "a", run_a, undo_a, 0 }, { "b", run_a, NULL, 0 } };

    (void)state;
    start(steps, 2);
    assert_string_equal(trace, "a a ");
    assert_int_equal(n_done, 1);
    assert_int_equal(result.code, VIR_ERR_OK);
}

static void a_failing_step_is_undone_first_then_those_before_it(void **state)
{
    static const struct vq_step steps[] = { { "a", run_a, undo_a, 0 }, { "f", run_fail, undo_f, 0 },
                                            { "never", run_a, undo_a, 0 } };

    (void)state;
    start(steps, 3);
    assert_string_equal(trace, "a f -f -a ");
    assert_int_equal(n_done, 1);
    assert_string_equal(result.message, "it failed");
}

static void a_waiting_step_goes_on_when_resumed(void **state)
{
    static const struct vq_step steps[] = { { "w", run_wait, undo_wait, 0 }, { "a", run_a, undo_a, 0 } };

    (void)state;
    start(steps, 2);
    assert_int_equal(n_done, 0);
    vq_job_resume(&job, NULL);
    assert_string_equal(trace, "w a ");
    assert_int_equal(n_done, 1);
}

static void a_waiting_step_that_ends_badly_is_undone_and_undo_may_wait(void **state)
{
    static const struct vq_step steps[] = { { "a", run_a, undo_a, 0 }, { "w", run_wait, undo_wait, 0 } };
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    start(steps, 2);
    (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "no");
    vq_job_resume(&job, &err);
    assert_string_equal(trace, "a w -w ");
    assert_int_equal(n_done, 0);
    (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "an undo's trouble");
    vq_job_resume(&job, &err);
    assert_string_equal(trace, "a w -w -a ");
    assert_int_equal(n_done, 1);
    assert_string_equal(result.message, "no");
}

static void a_step_that_waits_too_long_fails_with_its_name(void **state)
{
    static const struct vq_step steps[] = { { "a", run_a, undo_a, 0 }, { "ask", run_wait, undo_f, 20 } };

    (void)state;
    start(steps, 2);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_string_equal(trace, "a w -f -a ");
    assert_int_equal(result.code, VIR_ERR_OPERATION_TIMEOUT);
    assert_non_null(strstr(result.message, "'ask'"));
}

static void cancelling_turns_a_waiting_job_round_once(void **state)
{
    static const struct vq_step steps[] = { { "a", run_a, undo_a, 0 }, { "w", run_wait, undo_wait, 1000 } };
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    start(steps, 2);
    (void)vq_error_set(&err, VIR_ERR_OPERATION_ABORTED, "cancelled");
    vq_job_cancel(&job, &err);
    vq_job_cancel(&job, &err);
    assert_string_equal(trace, "a w -w ");
    vq_job_resume(&job, NULL);
    assert_int_equal(n_done, 1);
    assert_int_equal(result.code, VIR_ERR_OPERATION_ABORTED);
}

static void unwinding_undoes_all_steps_from_the_last(void **state)
{
    static const struct vq_step steps[] = { { "a", run_a, undo_a, 0 }, { "n", run_a, NULL, 0 },
                                            { "f", run_fail, undo_f, 0 } };

    (void)state;
    vq_job_unwind(&job, steps, 3, &timer, done, NULL);
    assert_string_equal(trace, "-f -a ");
    assert_int_equal(n_done, 1);
    assert_int_equal(result.code, VIR_ERR_OK);
}

static void no_timeout_fires_while_undoing(void **state)
{
    static const struct vq_step steps[] = { { "w", run_wait, undo_wait, 10 } };

    (void)state;
    vq_job_unwind(&job, steps, 1, &timer, done, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(n_done, 0);
    vq_job_resume(&job, NULL);
    assert_int_equal(n_done, 1);
}

static void look_late(struct vq_job *j)
{
    struct vq_error err = VQ_ERROR_INIT;

    note("late");
    if (strstr(trace, "go-on") == NULL)
        return;
    (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "enough");
    vq_job_cancel(j, &err);
}

static enum vq_step_result run_with_deadline(struct vq_job *j)
{
    note("d");
    vq_job_deadline(j, 5, look_late);
    return VQ_STEP_WAIT;
}

static void a_deadline_of_a_steps_own_may_end_it_or_not(void **state)
{
    static const struct vq_step steps[] = { { "d", run_with_deadline, undo_a, 0 } };

    (void)state;
    for (int ends = 0; ends <= 1; ends++) {
        trace[0] = '\0';
        n_done = 0;
        if (ends)
            note("go-on");
        start(steps, 1);
        (void)uv_run(&loop, UV_RUN_DEFAULT);
        assert_string_equal(trace, ends ? "go-on d late -a " : "d late ");
        assert_int_equal(n_done, ends);
        if (!ends)
            vq_job_resume(&job, NULL);
        assert_int_equal(n_done, 1);
    }
    start(steps, 1);
    vq_job_resume(&job, NULL); /* in time */
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_string_equal(trace, "go-on d late -a d ");
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(steps_run_in_order_and_done_is_told_once),
        TEST(a_failing_step_is_undone_first_then_those_before_it),
        TEST(a_waiting_step_goes_on_when_resumed),
        TEST(a_waiting_step_that_ends_badly_is_undone_and_undo_may_wait),
        TEST(a_step_that_waits_too_long_fails_with_its_name),
        TEST(cancelling_turns_a_waiting_job_round_once),
        TEST(unwinding_undoes_all_steps_from_the_last),
        TEST(no_timeout_fires_while_undoing),
        TEST(a_deadline_of_a_steps_own_may_end_it_or_not),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
