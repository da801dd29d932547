/* A worker for vq_facts_gather(), with a deadline. */
#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/migrate_gather.h"

#include <stdlib.h>

#include "conf/base/memory.h"
#include "drivers/qemu/migrate_facts.h"

struct vq_gathering {
    uv_work_t work;
    uv_timer_t timer;
    struct vq_facts *facts;  /* the worker's until it is done */
    bool is_done, is_closed; /* the worker; the timer */
    vq_gathering_cb cb;      /* NULL: was called, or nobody waits */
    void *data;
};

static void free_if_over(struct vq_gathering *gathering)
{
    if (!gathering->is_done || !gathering->is_closed)
        return;
    vq_facts_free(gathering->facts);
    free(gathering);
}

static void timer_closed(uv_handle_t *handle)
{
    struct vq_gathering *gathering = handle->data;

    gathering->is_closed = true;
    free_if_over(gathering);
}

/* The worker may have it still: the memory stays until both are over. */
static void tell(struct vq_gathering *gathering, struct vq_facts *take_facts)
{
    vq_gathering_cb cb = vq_take(gathering->cb);

    if (cb != NULL)
        cb(take_facts, gathering->data);
    else
        vq_facts_free(take_facts);
    if (!uv_is_closing((uv_handle_t *)&gathering->timer))
        uv_close((uv_handle_t *)&gathering->timer, timer_closed);
}

static void gather(uv_work_t *work)
{
    struct vq_gathering *gathering = work->data;

    vq_facts_gather(gathering->facts, "");
}

static void gathered(uv_work_t *work, int status)
{
    struct vq_gathering *gathering = work->data;

    gathering->is_done = true;
    tell(gathering, status == 0 ? vq_take(gathering->facts) : NULL);
    free_if_over(gathering);
}

static void too_long(uv_timer_t *timer)
{
    struct vq_gathering *gathering = timer->data;

    (void)uv_cancel((uv_req_t *)&gathering->work); /* it was not begun yet, or it goes on */
    tell(gathering, NULL);
}

struct vq_gathering *vq_gathering_start(uv_loop_t *loop, struct vq_facts *take_facts, uint64_t timeout_ms,
                                        vq_gathering_cb cb, void *data)
{
    struct vq_gathering *gathering = vq_new(struct vq_gathering);

    gathering->facts = take_facts;
    gathering->cb = cb;
    gathering->data = data;
    gathering->work.data = gathering->timer.data = gathering;
    (void)uv_timer_init(loop, &gathering->timer); /* always 0 */
    (void)uv_timer_start(&gathering->timer, too_long, timeout_ms, 0);
    (void)uv_queue_work(loop, &gathering->work, gather, gathered); /* fails only without a function */
    return gathering;
}

void vq_gathering_forget(struct vq_gathering *gathering)
{
    gathering->cb = NULL;
    (void)uv_cancel((uv_req_t *)&gathering->work); /* as above */
    if (!uv_is_closing((uv_handle_t *)&gathering->timer))
        uv_close((uv_handle_t *)&gathering->timer, timer_closed);
}
