/* A thread for work that may block: see aside.h. */
#include "drivers/aside.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdlib.h>

#include "conf/base/macros.h"
#include "conf/base/memory.h"

enum { STACK_BYTES = 256 * 1024 };

/* What both sides have. The last of them frees it. */
struct shared {
    pthread_mutex_t lock;
    const struct vq_aside_class *class;
    void *work;
    unsigned n_users;
    bool is_done;
    uv_async_t *async;       /* NULL: nobody waits */
};

/* What the loop has. */
struct vq_aside {
    struct vq_aside *next;   /* of those that are waited for */
    struct shared *shared;
    uv_async_t async;
    uv_timer_t timer;
    unsigned n_handles;
    vq_aside_cb cb;
    void *data;
};

static struct vq_aside *asides;
static atomic_uint n_threads;

static void shared_free(struct shared *shared)
{
    if (shared->work != NULL)
        shared->class->free(shared->work);
    (void)pthread_mutex_destroy(&shared->lock); /* nobody has it */
    free(shared);
}

/* ---- The thread ---- */

static void *thread_main(void *argument)
{
    struct shared *shared = argument;
    bool is_last;

    shared->class->run(shared->work);
    (void)pthread_mutex_lock(&shared->lock); /* it is initialised, and not ours yet */
    shared->is_done = true;
    if (shared->async != NULL)
        (void)uv_async_send(shared->async); /* as long as the lock is held, it is not closed */
    is_last = --shared->n_users == 0;
    (void)pthread_mutex_unlock(&shared->lock); /* it is ours */
    if (is_last)
        shared_free(shared);
    (void)atomic_fetch_sub(&n_threads, 1);
    return NULL;
}

/* Signals are for the loop's thread. */
static bool thread_start(struct shared *shared)
{
    sigset_t all, before;
    pthread_attr_t attributes;
    pthread_t thread;
    int rc;

    if (atomic_fetch_add(&n_threads, 1) >= VQ_ASIDE_THREADS_MAX) {
        (void)atomic_fetch_sub(&n_threads, 1);
        return false;
    }
    (void)pthread_attr_init(&attributes); /* these fail for numbers only that are not ours */
    (void)pthread_attr_setdetachstate(&attributes, PTHREAD_CREATE_DETACHED);
    (void)pthread_attr_setstacksize(&attributes, STACK_BYTES);
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    rc = pthread_create(&thread, &attributes, thread_main, shared);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    (void)pthread_attr_destroy(&attributes);
    if (rc != 0)
        (void)atomic_fetch_sub(&n_threads, 1);
    return rc == 0;
}

/* ---- The loop ---- */

static void handle_closed(uv_handle_t *handle)
{
    struct vq_aside *aside = handle->data;

    if (--aside->n_handles == 0)
        free(aside);
}

/* The loop's part ends; NULL: the work was not done. */
static void *let_go(struct vq_aside *aside)
{
    struct vq_aside **link = &asides;
    struct shared *shared = aside->shared;
    void *work = NULL;
    bool is_last;

    while (*link != aside)
        link = &(*link)->next;
    *link = aside->next;
    (void)pthread_mutex_lock(&shared->lock);
    if (shared->is_done)
        work = vq_take(shared->work);
    shared->async = NULL;
    is_last = --shared->n_users == 0;
    (void)pthread_mutex_unlock(&shared->lock);
    if (is_last)
        shared_free(shared);
    uv_close((uv_handle_t *)&aside->async, handle_closed);
    uv_close((uv_handle_t *)&aside->timer, handle_closed);
    return work;
}

static void tell(struct vq_aside *aside)
{
    vq_aside_cb cb = aside->cb;
    void *data = aside->data;

    cb(let_go(aside), data);
}

static void thread_done(uv_async_t *async)
{
    tell(async->data);
}

static void too_long(uv_timer_t *timer)
{
    tell(timer->data);
}

struct vq_aside *vq_aside_start(uv_loop_t *loop, const struct vq_aside_class *class, void *take_work, uint64_t timeout_ms,
                                vq_aside_cb cb, void *data)
{
    struct vq_aside *aside = vq_new(struct vq_aside);
    struct shared *shared = vq_new(struct shared);

    (void)pthread_mutex_init(&shared->lock, NULL); /* always 0 with the default attributes */
    shared->class = class;
    shared->work = take_work;
    shared->n_users = 2;
    shared->async = &aside->async;
    *aside = (struct vq_aside){ .next = asides, .shared = shared, .n_handles = 2, .cb = cb, .data = data };
    asides = aside;
    int rc = uv_async_init(loop, &aside->async, thread_done);
    assert(rc == 0); /* the loop has had its descriptor for these since it began */
    (void)uv_timer_init(loop, &aside->timer); /* always 0 */
    aside->async.data = aside->timer.data = aside;
    if (!thread_start(shared)) {
        shared->n_users--;
        timeout_ms = 0;
    }
    (void)uv_timer_start(&aside->timer, too_long, timeout_ms, 0);
    return aside;
}

void vq_aside_forget(struct vq_aside *aside)
{
    const struct vq_aside_class *class = aside->shared->class;
    void *work = let_go(aside);

    if (work != NULL)
        class->free(work);
}

void vq_asides_stop(void)
{
    while (asides != NULL)
        tell(asides);
}
