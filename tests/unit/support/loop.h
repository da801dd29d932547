/* For tests: one loop, run until something has happened, with a deadline for everything. */
#pragma once

#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <uv.h>

enum { RUN_MAX_MS = 10000 };

static uv_loop_t loop;

static inline void loop_tick(uv_timer_t *timer)
{
    (void)timer;
}

/* Run until *counter has reached wanted; true when that did not happen in time. The timer ticks, because what counts may happen
 * in the part of a turn after which the loop waits for something else. */
static inline bool is_late_after(const unsigned *counter, unsigned wanted, unsigned ms)
{
    uint64_t deadline = uv_hrtime() + ms * UINT64_C(1000000);
    uv_timer_t timer;

    assert_int_equal(uv_timer_init(&loop, &timer), 0);
    assert_int_equal(uv_timer_start(&timer, loop_tick, 2, 2), 0);
    while ((counter == NULL || *counter < wanted) && uv_hrtime() < deadline)
        (void)uv_run(&loop, UV_RUN_ONCE);
    uv_close((uv_handle_t *)&timer, NULL);
    (void)uv_run(&loop, UV_RUN_NOWAIT);
    return counter == NULL || *counter < wanted;
}

#define run_until(counter, wanted)                                                                                  \
    do {                                                                                                            \
        if (is_late_after(counter, wanted, RUN_MAX_MS))                                                             \
            fail_msg("line %d: waited %d ms for %u, got %u", __LINE__, RUN_MAX_MS, (unsigned)(wanted), *(counter)); \
    } while (0)

static inline void run_ms(unsigned ms)
{
    (void)is_late_after(NULL, 0, ms);
}

/* Everything must be gone: handles, and with the sanitizer memory. */
static inline void assert_empty_loop(void)
{
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    assert_int_equal(uv_loop_init(&loop), 0);
}
