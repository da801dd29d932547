/* Work that may block for as long as somebody else likes (a file system of the network, a name server), done by a thread of its
 * own while the loop goes on.
 *
 * Not libuv's pool: its four threads would wait for one dead server, and neither the loop nor the process ends before they do.
 * A thread of these that nobody waits for any more is left to itself, and ends with the process. */
#pragma once

#include <stdint.h>
#include <uv.h>

enum { VQ_ASIDE_THREADS_MAX = 64 };

/* What is done with a piece of work. The thread has it alone until it is called back. */
struct vq_aside_class {
    void (*run)(void *work);   /* on the thread: looks at and writes to nothing but the work; does not log */
    void (*free)(void *work);  /* on the thread, when nobody waits any more; else the call-back has the work */
};

struct vq_aside;

/* Called back once, from the loop, never from inside, unless forgotten. take_work NULL: it was not done within timeout_ms (or too
 * many threads wait already, or the driver stops); what is done of it later is freed by the class. */
typedef void (*vq_aside_cb)(void *take_work, void *data);
struct vq_aside *vq_aside_start(uv_loop_t *loop, const struct vq_aside_class *class, void *take_work, uint64_t timeout_ms,
                                vq_aside_cb cb, void *data);
/* No call-back. Not from inside the call-back. */
void vq_aside_forget(struct vq_aside *aside);
/* All that are waited for are called back now, with nothing. */
void vq_asides_stop(void);
