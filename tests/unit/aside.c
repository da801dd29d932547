/* Work aside from the loop: it is called back once, or not at all, and nothing waits for a thread that hangs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "drivers/aside.h"

static uv_loop_t loop;
static atomic_uint n_freed;
static unsigned n_told, n_told_nothing;

/* Waits until something can be read, then adds. */
struct sum {
    int fd;
    int a, b, result;
};

static void sum_run(void *work)
{
    struct sum *sum = work;
    char byte;

    if (sum->fd >= 0)
        assert_true(read(sum->fd, &byte, 1) >= 0);
    sum->result = sum->a + sum->b;
}

static void sum_free(void *work)
{
    free(work);
    (void)atomic_fetch_add(&n_freed, 1);
}

static const struct vq_aside_class sums = { sum_run, sum_free };

static struct sum *sum_new(int fd)
{
    struct sum *sum = vq_new(struct sum);

    *sum = (struct sum){ .fd = fd, .a = 2, .b = 3 };
    return sum;
}

static void told(void *take_work, void *data)
{
    struct sum *sum = take_work;

    (void)data;
    n_told++;
    if (sum == NULL) {
        n_told_nothing++;
        return;
    }
    assert_int_equal(sum->result, 5);
    sum_free(sum);
}

static void wait_for_freed(unsigned n)
{
    static const struct timespec turn = { .tv_nsec = 1000000 };

    for (int i = 0; i < 5000 && atomic_load(&n_freed) < n; i++)
        (void)nanosleep(&turn, NULL);
    assert_int_equal(atomic_load(&n_freed), n);
}

static int setup(void **state)
{
    (void)state;
    n_told = n_told_nothing = 0;
    atomic_store(&n_freed, 0);
    return uv_loop_init(&loop);
}

static int teardown(void **state)
{
    (void)state;
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static void what_is_done_comes_back(void **state)
{
    (void)state;
    (void)vq_aside_start(&loop, &sums, sum_new(-1), 5000, told, NULL);
    assert_int_equal(n_told, 0); /* never from inside */
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(n_told, 1);
    assert_int_equal(n_told_nothing, 0);
}

static void the_loop_ends_although_a_thread_hangs(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    (void)vq_aside_start(&loop, &sums, sum_new(ends[0]), 20, told, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(n_told_nothing, 1);
    assert_int_equal(atomic_load(&n_freed), 0);
    (void)close(ends[1]);
    wait_for_freed(1); /* by the thread itself */
    (void)close(ends[0]);
}

static void what_is_forgotten_does_not_come_back(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    vq_aside_forget(vq_aside_start(&loop, &sums, sum_new(ends[0]), 5000, told, NULL));
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    (void)close(ends[1]);
    wait_for_freed(1);
    vq_aside_forget(vq_aside_start(&loop, &sums, sum_new(-1), 5000, told, NULL)); /* done or not */
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    wait_for_freed(2);
    assert_int_equal(n_told, 0);
    (void)close(ends[0]);
}

static void a_stop_calls_all_back_at_once(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    for (int i = 0; i < 3; i++)
        (void)vq_aside_start(&loop, &sums, sum_new(ends[0]), 60000, told, NULL);
    vq_asides_stop();
    assert_int_equal(n_told_nothing, 3);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    (void)close(ends[1]);
    wait_for_freed(3);
    (void)close(ends[0]);
}

static void threads_that_hang_do_not_become_more_and_more(void **state)
{
    int ends[2];

    (void)state;
    assert_int_equal(pipe(ends), 0);
    for (int i = 0; i < VQ_ASIDE_THREADS_MAX; i++)
        (void)vq_aside_start(&loop, &sums, sum_new(ends[0]), 1, told, NULL);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(n_told_nothing, VQ_ASIDE_THREADS_MAX);
    (void)vq_aside_start(&loop, &sums, sum_new(-1), 60000, told, NULL); /* at once, and with nothing */
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(n_told_nothing, VQ_ASIDE_THREADS_MAX + 1);
    assert_int_equal(atomic_load(&n_freed), 1);
    (void)close(ends[1]);
    wait_for_freed(VQ_ASIDE_THREADS_MAX + 1);
    (void)close(ends[0]);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(what_is_done_comes_back),
        TEST(the_loop_ends_although_a_thread_hangs),
        TEST(what_is_forgotten_does_not_come_back),
        TEST(a_stop_calls_all_back_at_once),
        TEST(threads_that_hang_do_not_become_more_and_more),
    };
#undef TEST

    return cmocka_run_group_tests(tests, NULL, NULL);
}
