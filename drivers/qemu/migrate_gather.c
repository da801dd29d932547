/* vq_facts_gather() aside from the loop. */
#include "drivers/qemu/migrate_gather.h"

#include <stdlib.h>

#include "conf/base/memory.h"
#include "drivers/aside.h"
#include "drivers/qemu/migrate_facts.h"

struct vq_gathering {
    struct vq_aside *aside;
    vq_gathering_cb cb;
    void *data;
};

static void gather(void *work)
{
    vq_facts_gather(work, "");
}

static void facts_free(void *work)
{
    vq_facts_free(work);
}

static const struct vq_aside_class gather_class = { gather, facts_free };

static void gathered(void *take_work, void *data)
{
    struct vq_gathering *gathering = data;

    gathering->cb(take_work, gathering->data);
    free(gathering);
}

struct vq_gathering *vq_gathering_start(uv_loop_t *loop, struct vq_facts *take_facts, uint64_t timeout_ms,
                                        vq_gathering_cb cb, void *data)
{
    struct vq_gathering *gathering = vq_new(struct vq_gathering);

    gathering->cb = cb;
    gathering->data = data;
    gathering->aside = vq_aside_start(loop, &gather_class, take_facts, timeout_ms, gathered, gathering);
    return gathering;
}

void vq_gathering_forget(struct vq_gathering *gathering)
{
    vq_aside_forget(gathering->aside);
    free(gathering);
}
