/* Threads of a QEMU: see tune.h. */
#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/tune.h"

#include <dirent.h>
#include <errno.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/failpoint.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/cpuset.h"
#include "conf/domain.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/qmp.h"
#include "drivers/qemu/start.h"

enum { THREADS_MAX = 4096 };

/* ---- One thread ---- */

static int set_affinity(pid_t thread, const char *cpus, const char *what, unsigned number, struct vq_error *err)
{
    struct vq_cpuset wanted;
    cpu_set_t *mask;
    size_t size = CPU_ALLOC_SIZE(VQ_CPUSET_BITS);
    int rc = 0;

    if (!vq_cpuset_parse(cpus, VQ_CPUSET_BITS, &wanted))
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "'%s' is no set of CPUs", cpus);
    mask = CPU_ALLOC(VQ_CPUSET_BITS);
    if (mask == NULL)
        return vq_error_system(err, ENOMEM, "cannot set CPU affinity on process %d", (int)thread);
    CPU_ZERO_S(size, mask);
    for (int32_t cpu = vq_cpuset_next(&wanted, 0); cpu >= 0; cpu = vq_cpuset_next(&wanted, (uint32_t)cpu + 1))
        CPU_SET_S((size_t)cpu, size, mask);
    if (sched_setaffinity(thread, size, mask) < 0)
        rc = vq_error_system(err, errno, "cannot set CPU affinity on process %d (%s %u, CPUs %s)", (int)thread, what, number,
                             cpus);
    CPU_FREE(mask);
    return rc;
}

static int set_scheduler(pid_t thread, const struct vq_scheduler *scheduler, struct vq_error *err)
{
    static const struct {
        const char *name;
        int policy;
        bool has_priority;
    } policies[] = {{"batch", SCHED_BATCH, false}, {"idle", SCHED_IDLE, false}, {"fifo", SCHED_FIFO, true},
                    {"rr", SCHED_RR, true}};
    struct sched_param param = {0};

    for (size_t i = 0; i < VQ_N_ELEMENTS(policies); i++) {
        int min, max;
        if (!vq_streq(policies[i].name, scheduler->scheduler))
            continue;
        if (policies[i].has_priority) {
            min = sched_get_priority_min(policies[i].policy);
            max = sched_get_priority_max(policies[i].policy);
            if (scheduler->priority < min || scheduler->priority > max)
                return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "Scheduler priority %d out of range [%d, %d]",
                                    scheduler->priority, min, max);
            param.sched_priority = scheduler->priority;
        }
        if (sched_setscheduler(thread, policies[i].policy, &param) < 0)
            return vq_error_system(err, errno, "Cannot set scheduler parameters for pid %d", (int)thread);
    }
    return 0;
}

/* ---- What the definition says of each ---- */

static const struct vq_scheduler *scheduler_of(struct vq_scheduler *const *list, size_t n, uint32_t number)
{
    struct vq_cpuset set;

    for (size_t i = 0; i < n; i++)
        if (list[i]->targets == NULL || (vq_cpuset_parse(list[i]->targets, VQ_CPUSET_BITS, &set) && vq_cpuset_has(&set, number)))
            return list[i];
    return NULL;
}

static int tune_thread(pid_t thread, const char *cpus, const struct vq_scheduler *scheduler, const char *what, unsigned number,
                       struct vq_error *err)
{
    if (cpus != NULL && set_affinity(thread, cpus, what, number, err) < 0)
        return -1;
    return scheduler != NULL ? set_scheduler(thread, scheduler, err) : 0;
}

static int tune_vcpus(const struct vq_qemu_guest *guest, struct vq_error *err)
{
    const struct vq_domain *live = guest->live;
    const struct vq_cputune *tune = live->cputune;

    for (size_t i = 0; i < guest->n_vcpu_threads; i++) {
        const char *cpus = live->vcpu_cpuset;
        const struct vq_scheduler *scheduler = NULL;
        for (size_t k = 0; tune != NULL && k < tune->n_vcpu_pins; k++)
            if (tune->vcpu_pins[k]->vcpu == i)
                cpus = tune->vcpu_pins[k]->cpuset;
        if (tune != NULL)
            scheduler = scheduler_of(tune->vcpu_scheds, tune->n_vcpu_scheds, (uint32_t)i);
        if (guest->vcpu_threads[i] > 0 && tune_thread(guest->vcpu_threads[i], cpus, scheduler, "vcpu", (unsigned)i, err) < 0)
            return -1;
    }
    return 0;
}

static int tune_iothread(const struct vq_domain *live, uint32_t number, pid_t thread, struct vq_error *err)
{
    const struct vq_cputune *tune = live->cputune;
    const char *cpus = live->vcpu_cpuset;

    for (size_t k = 0; tune != NULL && k < tune->n_iothread_pins; k++)
        if (tune->iothread_pins[k]->iothread == number)
            cpus = tune->iothread_pins[k]->cpuset;
    return tune_thread(thread, cpus, tune == NULL ? NULL : scheduler_of(tune->iothread_scheds, tune->n_iothread_scheds, number),
                       "iothread", number, err);
}

static bool is_vcpu(const struct vq_qemu_guest *guest, pid_t thread)
{
    for (size_t i = 0; i < guest->n_vcpu_threads; i++)
        if (guest->vcpu_threads[i] == thread)
            return true;
    return false;
}

static bool is_iothread(const json_t *iothreads, pid_t thread)
{
    size_t i;
    json_t *entry;

    json_array_foreach(iothreads, i, entry)
        if (json_integer_value(json_object_get(entry, "thread-id")) == thread)
            return true;
    return false;
}

/* The emulator's are all that are nobody else's; those that it makes later inherit from them. */
static int tune_emulator(const struct vq_qemu_guest *guest, const json_t *iothreads, struct vq_error *err)
{
    const struct vq_cputune *tune = guest->live->cputune;
    const char *cpus = tune != NULL && tune->emulator_pin != NULL ? tune->emulator_pin : guest->live->vcpu_cpuset;
    const struct vq_scheduler *scheduler = tune != NULL && tune->n_emulator_scheds > 0 ? tune->emulator_scheds[0] : NULL;
    VQ_AUTOFREE char *path = vq_asprintf("/proc/%d/task", (int)guest->pid);
    const struct dirent *entry;
    struct vq_error own = VQ_ERROR_INIT;
    DIR *stream;
    int rc = 0;

    if (cpus == NULL && scheduler == NULL)
        return 0;
    stream = opendir(path);
    if (stream == NULL)
        return vq_error_system(err, errno, "cannot read '%s'", path);
    for (int n = 0; rc == 0 && n < THREADS_MAX && (entry = readdir(stream)) != NULL; n++) {
        int64_t thread;
        if (!vq_parse_i64(entry->d_name, 1, INT32_MAX, &thread) || is_vcpu(guest, (pid_t)thread) ||
            is_iothread(iothreads, (pid_t)thread))
            continue;
        rc = tune_thread((pid_t)thread, cpus, scheduler, "emulator", 0, &own);
        if (rc < 0 && thread != guest->pid && strstr(own.message, strerror(ESRCH)) != NULL)
            rc = 0; /* a worker that has ended meanwhile */
    }
    (void)closedir(stream);
    if (rc < 0)
        *err = own;
    return rc;
}

static int tune_all(const struct vq_qemu_guest *guest, const json_t *iothreads, struct vq_error *err)
{
    size_t i;
    json_t *entry;

    if (tune_vcpus(guest, err) < 0)
        return -1;
    json_array_foreach(iothreads, i, entry) {
        const char *id = json_string_value(json_object_get(entry, "id"));
        json_int_t thread = json_integer_value(json_object_get(entry, "thread-id"));
        uint64_t number;
        if (id != NULL && strncmp(id, "iothread", 8) == 0 && vq_parse_u64(id + 8, 10, UINT32_MAX, &number) && thread > 0 &&
            thread <= INT32_MAX && tune_iothread(guest->live, (uint32_t)number, (pid_t)thread, err) < 0)
            return -1;
    }
    return tune_emulator(guest, iothreads, err);
}

/* ---- The step ---- */

static void iothreads_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;
    struct vq_error own = VQ_ERROR_INIT;

    if (!guest->job.is_active || !guest->job.is_waiting || guest->job.is_unwinding)
        return;
    if (err != NULL && guest->qmp != NULL && vq_qmp_is_broken(guest->qmp))
        return; /* QEMU has ended, and its pidfd tells why */
    if (err == NULL && tune_all(guest, reply, &own) < 0)
        err = &own;
    vq_job_resume(&guest->job, err);
}

static bool is_tuned(const struct vq_domain *live)
{
    return live->cputune != NULL || live->vcpu_cpuset != NULL;
}

/* Bandwidth of CPUs is a matter of cgroups, which are not used: better refused than not kept. */
static int check_bandwidth(const struct vq_domain *live, struct vq_error *err)
{
    const struct vq_cputune *tune = live->cputune;

    if (tune != NULL && (tune->period != 0 || tune->quota != 0 || tune->global_period != 0 || tune->global_quota != 0 ||
                         tune->emulator_period != 0 || tune->emulator_quota != 0 || tune->iothread_period != 0 ||
                         tune->iothread_quota != 0))
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "cgroup cpu is required for scheduler tuning");
    if (tune != NULL && (tune->n_cachetunes > 0 || tune->n_memorytunes > 0))
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "Resource control is not supported on this host");
    return 0;
}

enum vq_step_result vq_qemu_step_tune(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;
    struct vq_error err = VQ_ERROR_INIT;

    if (VQ_FAILPOINT("qemu.start.tune"))
        return vq_qemu_step_failed(job, "qemu.start.tune");
    if (check_bandwidth(guest->live, &err) < 0)
        return vq_job_fail(job, &err);
    if (!is_tuned(guest->live))
        return VQ_STEP_DONE;
    (void)vq_qmp_call(guest->qmp, "query-iothreads", NULL, VQ_QMP_TIMEOUT_MS, iothreads_known, guest);
    return VQ_STEP_WAIT;
}
