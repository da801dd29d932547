/* What the kernel knows of a process: /proc, read without waiting. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

struct vq_proc_times {
    uint64_t user_ns, system_ns;
    int processor;           /* that it ran on last */
};

/* thread 0: the whole process. False: it is gone. */
bool vq_proc_times(pid_t pid, pid_t thread, struct vq_proc_times *ret_times);
bool vq_proc_rss_kib(pid_t pid, uint64_t *ret_kib);
/* Time that a thread waited for anything but a processor. False where the kernel keeps no account of it. */
bool vq_proc_wait_ns(pid_t pid, pid_t thread, uint64_t *ret_ns);
/* Time that a thread waited for a processor. */
bool vq_proc_delay_ns(pid_t pid, pid_t thread, uint64_t *ret_ns);
