/* What a guest may use at most: processors, shares, memory and I/O. The definition's part is told as it is written. Of a running
 * guest the processors are the kernel's own word; bounds that take control groups are not set, and asking for them says so. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/cpuset.h"
#include "conf/domain.h"
#include "drivers/qemu/define.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/handlers_define.h"
#include "drivers/qemu/qmp.h"
#include "proto/gen/remote.h"

enum {
    AFFECT = VIR_DOMAIN_AFFECT_LIVE | VIR_DOMAIN_AFFECT_CONFIG,
    CPU_BYTES_MAX = 1024,
    MAP_BYTES_MAX = 2048,
    PINNED_MAX = 16384,
    PERIOD_MAX = 3600,
};

/* ---- Which definition ---- */

/* The definition that a question is about: the run's own, or the inactive one. */
struct asked {
    struct vq_qemu_target target;
    const struct vq_domain *def;
    struct vq_domain *own;        /* def, when it was read for this call */
};

static void asked_done(struct asked *asked)
{
    vq_domain_free(asked->own);
}

/* False: the request was refused. */
static bool asked_init(struct asked *asked, struct vq_request *request, uint32_t flags)
{
    *asked = (struct asked){ .own = NULL };
    if (!vq_qemu_check_flags(request, flags, AFFECT | VIR_TYPED_PARAM_STRING_OKAY))
        return false;
    if ((flags & AFFECT) == AFFECT) {
        vq_qemu_refuse(request, VIR_FROM_DOMAIN, VIR_ERR_INVALID_ARG,
                       "flags 'VIR_DOMAIN_AFFECT_LIVE' and 'VIR_DOMAIN_AFFECT_CONFIG' in function '%s' are mutually exclusive",
                       request->procedure->api);
        return false;
    }
    if (!vq_qemu_find_target(request, flags & AFFECT, &asked->target))
        return false;
    if (!asked->target.live && (asked->own = vq_qemu_read_definition(request)) == NULL)
        return false;
    asked->def = asked->target.live ? asked->target.guest->live : asked->own;
    return true;
}

/* ---- Typed parameters ---- */

/* What a reply has of them; every reply of this kind has the same members under names of its own. */
struct params {
    struct vq_typed_param *list;
    uint32_t n;
};

static struct vq_typed_param param_u64(const char *field, uint64_t value)
{
    return (struct vq_typed_param){ .field = field, .type = VIR_TYPED_PARAM_ULLONG, .value.ul = value };
}

static struct vq_typed_param param_s64(const char *field, int64_t value)
{
    return (struct vq_typed_param){ .field = field, .type = VIR_TYPED_PARAM_LLONG, .value.l = value };
}

static struct vq_typed_param param_u32(const char *field, uint32_t value)
{
    return (struct vq_typed_param){ .field = field, .type = VIR_TYPED_PARAM_UINT, .value.ui = value };
}

static struct vq_typed_param param_int(const char *field, int32_t value)
{
    return (struct vq_typed_param){ .field = field, .type = VIR_TYPED_PARAM_INT, .value.i = value };
}

static struct vq_typed_param param_text(struct vq_request *request, const char *field, const char *text)
{
    const char *copy = vq_arena_strdup(request->arena, text != NULL ? text : "");

    return (struct vq_typed_param){ .field = field, .type = VIR_TYPED_PARAM_STRING, .value.s = copy != NULL ? copy : "" };
}

/* A client that first asks how many there are gets the number without a look at the guest. */
static bool is_only_counting(struct vq_request *request, int32_t nparams)
{
    if (nparams == 0)
        vq_request_reply(request);
    return nparams == 0;
}

/* The first n_asked of the rows, in the arena. False: the request was refused. */
static bool take_params(struct vq_request *request, const struct vq_typed_param *rows, size_t n, int64_t n_asked,
                        struct params *ret)
{
    if (n_asked < 0) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "the number of parameters is negative");
        return false;
    }
    ret->n = n_asked < (int64_t)n ? (uint32_t)n_asked : (uint32_t)n;
    ret->list = vq_qemu_request_alloc(request, (n + 1) * sizeof(*rows));
    if (ret->list == NULL)
        return false;
    memcpy(ret->list, rows, ret->n * sizeof(*rows));
    return true;
}

/* ---- Processors ---- */

static size_t host_cpus(void)
{
    long n = sysconf(_SC_NPROCESSORS_CONF);

    return n > 0 && n <= CPU_BYTES_MAX * 8 ? (size_t)n : 1;
}

static void fill_all_cpus(uint8_t *map, size_t length)
{
    for (size_t cpu = 0; cpu < host_cpus() && cpu / 8 < length; cpu++)
        map[cpu / 8] |= (uint8_t)(1U << (cpu % 8));
}

/* Where a thread may run, by the kernel; of a thread that is not there, everywhere. */
static void fill_thread_cpus(pid_t thread, uint8_t *map, size_t length)
{
    uint8_t bits[CPU_BYTES_MAX] = { 0 };

    if (thread > 0 && sched_getaffinity(thread, sizeof(bits), (cpu_set_t *)(void *)bits) == 0)
        memcpy(map, bits, length < sizeof(bits) ? length : sizeof(bits));
    else
        fill_all_cpus(map, length);
}

static const char *pin_of(const struct vq_domain *def, uint32_t vcpu)
{
    for (size_t i = 0; def->cputune != NULL && i < def->cputune->n_vcpu_pins; i++)
        if (def->cputune->vcpu_pins[i]->vcpu == vcpu)
            return def->cputune->vcpu_pins[i]->cpuset;
    return def->vcpu_cpuset;
}

static void fill_text_cpus(const char *text, uint8_t *map, size_t length)
{
    struct vq_cpuset set;

    if (text == NULL || !vq_cpuset_parse(text, VQ_CPUSET_BITS, &set)) {
        fill_all_cpus(map, length);
        return;
    }
    for (int32_t cpu = vq_cpuset_next(&set, 0); cpu >= 0 && (size_t)cpu / 8 < length;
         cpu = vq_cpuset_next(&set, (uint32_t)cpu + 1))
        map[cpu / 8] |= (uint8_t)(1U << (cpu % 8));
}

static bool check_map(struct vq_request *request, int64_t n, int64_t length)
{
    if (n >= 0 && n <= PINNED_MAX && length > 0 && length <= MAP_BYTES_MAX && n * length <= 1024 * 1024)
        return true;
    vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "%lld maps of %lld bytes are out of bounds", (long long)n,
                   (long long)length);
    return false;
}

static void domain_get_vcpu_pin_info(struct vq_request *request)
{
    const struct vq_remote_domain_get_vcpu_pin_info_args *args = request->args;
    struct vq_remote_domain_get_vcpu_pin_info_ret *ret = request->ret;
    struct asked asked;

    if (!check_map(request, args->ncpumaps, args->maplen) || !asked_init(&asked, request, args->flags))
        return;
    uint32_t n = asked.def->vcpus < (uint32_t)args->ncpumaps ? asked.def->vcpus : (uint32_t)args->ncpumaps;
    size_t length = (size_t)args->maplen;
    uint8_t *maps = vq_qemu_request_alloc(request, n * length + 1);
    if (maps != NULL) {
        const struct vq_qemu_guest *guest = asked.target.guest;

        for (uint32_t i = 0; i < n; i++)
            if (asked.target.live && i < guest->n_vcpu_threads)
                fill_thread_cpus(guest->vcpu_threads[i], maps + i * length, length);
            else
                fill_text_cpus(pin_of(asked.def, i), maps + i * length, length);
        ret->cpumaps = maps;
        ret->n_cpumaps = n * (uint32_t)length;
        ret->num = (int32_t)n;
        vq_request_reply(request);
    }
    asked_done(&asked);
}

static void domain_get_emulator_pin_info(struct vq_request *request)
{
    const struct vq_remote_domain_get_emulator_pin_info_args *args = request->args;
    struct vq_remote_domain_get_emulator_pin_info_ret *ret = request->ret;
    struct asked asked;

    if (!check_map(request, 1, args->maplen) || !asked_init(&asked, request, args->flags))
        return;
    uint8_t *map = vq_qemu_request_alloc(request, (size_t)args->maplen);
    if (map != NULL) {
        const struct vq_cputune *tune = asked.def->cputune;

        if (asked.target.live)
            fill_thread_cpus(asked.target.guest->pid, map, (size_t)args->maplen);
        else
            fill_text_cpus(tune != NULL && tune->emulator_pin != NULL ? tune->emulator_pin : asked.def->vcpu_cpuset, map,
                           (size_t)args->maplen);
        ret->cpumaps = map;
        ret->n_cpumaps = (uint32_t)args->maplen;
        ret->ret = 1;
        vq_request_reply(request);
    }
    asked_done(&asked);
}

static void domain_get_iothread_info(struct vq_request *request)
{
    const struct vq_remote_domain_get_iothread_info_args *args = request->args;
    struct asked asked;

    if (!asked_init(&asked, request, args->flags))
        return;
    if (asked.def->iothreads == 0)
        vq_request_reply(request);
    else
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_UNSUPPORTED, "threads for I/O cannot be looked at yet");
    asked_done(&asked);
}

/* ---- Bounds that take control groups ---- */

static bool refuse_live(struct vq_request *request, struct asked *asked, const char *what)
{
    if (!asked->target.live)
        return false;
    vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_INVALID, "%s", what);
    asked_done(asked);
    return true;
}

static void scheduler_parameters(struct vq_request *request, int32_t nparams, uint32_t flags)
{
    static const struct vq_cputune none;
    struct vq_remote_domain_get_scheduler_parameters_ret *ret = request->ret; /* that of ..._flags is the same */
    struct params params;
    struct asked asked;

    _Static_assert(sizeof(*ret) == sizeof(struct vq_remote_domain_get_scheduler_parameters_flags_ret),
                   "one function fills the answers of both procedures");
    if (!asked_init(&asked, request, flags) || refuse_live(request, &asked, "cgroup CPU controller is not mounted"))
        return;
    const struct vq_cputune *tune = asked.def->cputune != NULL ? asked.def->cputune : &none;
    const struct vq_typed_param rows[] = {
        param_u64(VIR_DOMAIN_SCHEDULER_CPU_SHARES, tune->shares),
        param_u64(VIR_DOMAIN_SCHEDULER_VCPU_PERIOD, tune->period),
        param_s64(VIR_DOMAIN_SCHEDULER_VCPU_QUOTA, tune->quota),
        param_u64(VIR_DOMAIN_SCHEDULER_EMULATOR_PERIOD, tune->emulator_period),
        param_s64(VIR_DOMAIN_SCHEDULER_EMULATOR_QUOTA, tune->emulator_quota),
        param_u64(VIR_DOMAIN_SCHEDULER_GLOBAL_PERIOD, tune->global_period),
        param_s64(VIR_DOMAIN_SCHEDULER_GLOBAL_QUOTA, tune->global_quota),
        param_u64(VIR_DOMAIN_SCHEDULER_IOTHREAD_PERIOD, tune->iothread_period),
        param_s64(VIR_DOMAIN_SCHEDULER_IOTHREAD_QUOTA, tune->iothread_quota),
    };
    if (take_params(request, rows, VQ_N_ELEMENTS(rows), nparams, &params)) {
        ret->params = params.list;
        ret->n_params = params.n;
        vq_request_reply(request);
    }
    asked_done(&asked);
}

static void domain_get_scheduler_parameters(struct vq_request *request)
{
    scheduler_parameters(request, ((const struct vq_remote_domain_get_scheduler_parameters_args *)request->args)->nparams, 0);
}

static void domain_get_scheduler_parameters_flags(struct vq_request *request)
{
    const struct vq_remote_domain_get_scheduler_parameters_flags_args *args = request->args;

    scheduler_parameters(request, args->nparams, args->flags);
}

static void domain_get_memory_parameters(struct vq_request *request)
{
    const struct vq_remote_domain_get_memory_parameters_args *args = request->args;
    struct vq_remote_domain_get_memory_parameters_ret *ret = request->ret;
    struct params params;
    struct asked asked;

    ret->nparams = 3;
    if (is_only_counting(request, args->nparams) || !asked_init(&asked, request, args->flags) ||
        refuse_live(request, &asked, "cgroup memory controller is not mounted"))
        return;
    const struct vq_memtune *tune = &asked.def->memtune;
#define BOUND(kib) ((kib) != 0 ? (kib) : VIR_DOMAIN_MEMORY_PARAM_UNLIMITED)
    const struct vq_typed_param rows[] = {
        param_u64(VIR_DOMAIN_MEMORY_HARD_LIMIT, BOUND(tune->hard_limit_kib)),
        param_u64(VIR_DOMAIN_MEMORY_SOFT_LIMIT, BOUND(tune->soft_limit_kib)),
        param_u64(VIR_DOMAIN_MEMORY_SWAP_HARD_LIMIT, BOUND(tune->swap_hard_limit_kib)),
    };
#undef BOUND
    if (take_params(request, rows, VQ_N_ELEMENTS(rows), args->nparams, &params)) {
        ret->params = params.list;
        ret->n_params = params.n;
        _Static_assert(VQ_N_ELEMENTS(rows) == 3, "as many as were promised");
        ret->nparams = (int32_t)params.n;
        vq_request_reply(request);
    }
    asked_done(&asked);
}

/* "/dev/a,100,/dev/b,200": what each device that has such a bound is bound to. */
static struct vq_typed_param device_bounds(struct vq_request *request, const struct vq_blkiotune *tune, const char *field,
                                           size_t offset, bool is_wide)
{
    VQ_AUTOFREE char *text = vq_strdup("");

    for (size_t i = 0; i < tune->n_devices; i++) {
        const struct vq_blkio_device *device = tune->devices[i];
        uint32_t narrow;
        uint64_t value;
        char *longer;

        memcpy(&narrow, (const char *)device + offset, sizeof(narrow));
        memcpy(&value, (const char *)device + offset, is_wide ? sizeof(value) : 0);
        value = is_wide ? value : narrow;
        if (value == 0 || device->path == NULL)
            continue;
        longer = vq_asprintf("%s%s%s,%llu", text, text[0] != '\0' ? "," : "", device->path, (unsigned long long)value);
        free(text);
        text = longer;
    }
    return param_text(request, field, text);
}

static void domain_get_blkio_parameters(struct vq_request *request)
{
    static const struct vq_blkiotune none;
    const struct vq_remote_domain_get_blkio_parameters_args *args = request->args;
    struct vq_remote_domain_get_blkio_parameters_ret *ret = request->ret;
    struct params params;
    struct asked asked;

    ret->nparams = 6;
    if (is_only_counting(request, args->nparams) || !asked_init(&asked, request, args->flags) ||
        refuse_live(request, &asked, "blkio cgroup isn't mounted"))
        return;
    const struct vq_blkiotune *tune = asked.def->blkiotune != NULL ? asked.def->blkiotune : &none;
#define BOUNDS(FIELD, member, is_wide) \
    device_bounds(request, tune, VIR_DOMAIN_BLKIO_##FIELD, offsetof(struct vq_blkio_device, member), is_wide)
    const struct vq_typed_param rows[] = {
        param_u32(VIR_DOMAIN_BLKIO_WEIGHT, tune->weight),
        BOUNDS(DEVICE_WEIGHT, weight, false),
        BOUNDS(DEVICE_READ_IOPS, read_iops, false),
        BOUNDS(DEVICE_WRITE_IOPS, write_iops, false),
        BOUNDS(DEVICE_READ_BPS, read_bytes, true),
        BOUNDS(DEVICE_WRITE_BPS, write_bytes, true),
    };
#undef BOUNDS
    if (take_params(request, rows, VQ_N_ELEMENTS(rows), args->nparams, &params)) {
        ret->params = params.list;
        ret->n_params = params.n;
        _Static_assert(VQ_N_ELEMENTS(rows) == 6, "as many as were promised");
        ret->nparams = (int32_t)params.n;
        vq_request_reply(request);
    }
    asked_done(&asked);
}

static void domain_get_cpu_stats(struct vq_request *request)
{
    const struct vq_remote_domain_get_cpu_stats_args *args = request->args;

    if (vq_qemu_check_flags(request, args->flags, VIR_TYPED_PARAM_STRING_OKAY) && vq_qemu_guest_of(request) != NULL)
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_INVALID, "cgroup CPUACCT controller is not mounted");
}

/* ---- Memory's place ---- */

static void domain_get_numa_parameters(struct vq_request *request)
{
    static const struct {
        const char *name;
        int32_t mode;
    } modes[] = { { "preferred", VIR_DOMAIN_NUMATUNE_MEM_PREFERRED },
                  { "interleave", VIR_DOMAIN_NUMATUNE_MEM_INTERLEAVE },
                  { "restrictive", VIR_DOMAIN_NUMATUNE_MEM_RESTRICTIVE } };
    const struct vq_remote_domain_get_numa_parameters_args *args = request->args;
    struct vq_remote_domain_get_numa_parameters_ret *ret = request->ret;
    int32_t mode = VIR_DOMAIN_NUMATUNE_MEM_STRICT;
    struct params params;
    struct asked asked;

    if (!asked_init(&asked, request, args->flags))
        return;
    for (size_t i = 0; i < VQ_N_ELEMENTS(modes); i++)
        if (asked.def->numatune.mode != NULL && strcmp(asked.def->numatune.mode, modes[i].name) == 0)
            mode = modes[i].mode;
    const struct vq_typed_param rows[] = {
        param_int(VIR_DOMAIN_NUMA_MODE, mode),
        param_text(request, VIR_DOMAIN_NUMA_NODESET, asked.def->numatune.nodeset),
    };
    if (take_params(request, rows, VQ_N_ELEMENTS(rows), args->nparams, &params)) {
        ret->params = params.list;
        ret->n_params = params.n;
        ret->nparams = (int32_t)(args->nparams == 0 ? VQ_N_ELEMENTS(rows) : params.n);
        vq_request_reply(request);
    }
    asked_done(&asked);
}

/* ---- Disks and interfaces ---- */

static const struct vq_iotune *iotune_of(const struct vq_domain *def, const char *name)
{
    for (size_t i = 0; i < def->devices.n_disks; i++) {
        const struct vq_disk *disk = def->devices.disks[i];

        if (vq_streq(disk->target, name) || (disk->source.path != NULL && vq_streq(disk->source.path, name)))
            return &disk->iotune;
    }
    return NULL;
}

static void domain_get_block_io_tune(struct vq_request *request)
{
    const struct vq_remote_domain_get_block_io_tune_args *args = request->args;
    struct vq_remote_domain_get_block_io_tune_ret *ret = request->ret;
    static const struct vq_iotune none;
    struct params params;
    struct asked asked;

    if (!asked_init(&asked, request, args->flags))
        return;
    const struct vq_iotune *tune = args->disk != NULL ? iotune_of(asked.def, args->disk) : &none;
    if (tune == NULL) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "disk '%s' was not found in the domain config", args->disk);
        asked_done(&asked);
        return;
    }
    const struct vq_typed_param rows[] = {
        param_u64(VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC, tune->total_bytes),
        param_u64(VIR_DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC, tune->read_bytes),
        param_u64(VIR_DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC, tune->write_bytes),
        param_u64(VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC, tune->total_iops),
        param_u64(VIR_DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC, tune->read_iops),
        param_u64(VIR_DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC, tune->write_iops),
        param_u64(VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC_MAX, tune->total_bytes_max),
        param_u64(VIR_DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC_MAX, tune->read_bytes_max),
        param_u64(VIR_DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC_MAX, tune->write_bytes_max),
        param_u64(VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC_MAX, tune->total_iops_max),
        param_u64(VIR_DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC_MAX, tune->read_iops_max),
        param_u64(VIR_DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC_MAX, tune->write_iops_max),
        param_u64(VIR_DOMAIN_BLOCK_IOTUNE_SIZE_IOPS_SEC, tune->size_iops),
        param_text(request, VIR_DOMAIN_BLOCK_IOTUNE_GROUP_NAME, tune->group_name),
        param_u64(VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_BYTES_SEC_MAX_LENGTH, tune->total_bytes_max_length),
        param_u64(VIR_DOMAIN_BLOCK_IOTUNE_READ_BYTES_SEC_MAX_LENGTH, tune->read_bytes_max_length),
        param_u64(VIR_DOMAIN_BLOCK_IOTUNE_WRITE_BYTES_SEC_MAX_LENGTH, tune->write_bytes_max_length),
        param_u64(VIR_DOMAIN_BLOCK_IOTUNE_TOTAL_IOPS_SEC_MAX_LENGTH, tune->total_iops_max_length),
        param_u64(VIR_DOMAIN_BLOCK_IOTUNE_READ_IOPS_SEC_MAX_LENGTH, tune->read_iops_max_length),
        param_u64(VIR_DOMAIN_BLOCK_IOTUNE_WRITE_IOPS_SEC_MAX_LENGTH, tune->write_iops_max_length),
    };
    if (take_params(request, rows, VQ_N_ELEMENTS(rows), args->nparams, &params)) {
        ret->params = params.list;
        ret->n_params = params.n;
        ret->nparams = (int32_t)(args->nparams == 0 ? VQ_N_ELEMENTS(rows) : params.n);
        vq_request_reply(request);
    }
    asked_done(&asked);
}

static const struct vq_interface *interface_of(const struct vq_domain *def, const char *name)
{
    char mac[18];

    for (size_t i = 0; i < def->devices.n_interfaces; i++) {
        const struct vq_interface *interface = def->devices.interfaces[i];
        const uint8_t *m = interface->mac;

        (void)snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", m[0], m[1], m[2], m[3], m[4], m[5]);
        if ((interface->target != NULL && vq_streq(interface->target, name)) || strcasecmp(mac, name) == 0)
            return interface;
    }
    return NULL;
}

static void domain_get_interface_parameters(struct vq_request *request)
{
    const struct vq_remote_domain_get_interface_parameters_args *args = request->args;
    struct vq_remote_domain_get_interface_parameters_ret *ret = request->ret;
    struct params params;
    struct asked asked;

    ret->nparams = 7;
    if (is_only_counting(request, args->nparams) || !asked_init(&asked, request, args->flags))
        return;
    const struct vq_interface *interface = interface_of(asked.def, args->device);
    if (interface == NULL) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "'%s' is not a known interface", args->device);
        asked_done(&asked);
        return;
    }
    const struct vq_typed_param rows[] = {
        param_u32(VIR_DOMAIN_BANDWIDTH_IN_AVERAGE, interface->inbound.average),
        param_u32(VIR_DOMAIN_BANDWIDTH_IN_PEAK, interface->inbound.peak),
        param_u32(VIR_DOMAIN_BANDWIDTH_IN_BURST, interface->inbound.burst),
        param_u32(VIR_DOMAIN_BANDWIDTH_IN_FLOOR, interface->inbound.floor),
        param_u32(VIR_DOMAIN_BANDWIDTH_OUT_AVERAGE, interface->outbound.average),
        param_u32(VIR_DOMAIN_BANDWIDTH_OUT_PEAK, interface->outbound.peak),
        param_u32(VIR_DOMAIN_BANDWIDTH_OUT_BURST, interface->outbound.burst),
    };
    if (take_params(request, rows, VQ_N_ELEMENTS(rows), args->nparams, &params)) {
        ret->params = params.list;
        ret->n_params = params.n;
        _Static_assert(VQ_N_ELEMENTS(rows) == 7, "as many as were promised");
        ret->nparams = (int32_t)params.n;
        vq_request_reply(request);
    }
    asked_done(&asked);
}

/* ---- What is never on ---- */

static void domain_get_perf_events(struct vq_request *request)
{
    static const char *const names[] = {
        VIR_PERF_PARAM_CMT, VIR_PERF_PARAM_MBMT, VIR_PERF_PARAM_MBML, VIR_PERF_PARAM_CPU_CYCLES,
        VIR_PERF_PARAM_INSTRUCTIONS, VIR_PERF_PARAM_CACHE_REFERENCES, VIR_PERF_PARAM_CACHE_MISSES,
        VIR_PERF_PARAM_BRANCH_INSTRUCTIONS, VIR_PERF_PARAM_BRANCH_MISSES, VIR_PERF_PARAM_BUS_CYCLES,
        VIR_PERF_PARAM_STALLED_CYCLES_FRONTEND, VIR_PERF_PARAM_STALLED_CYCLES_BACKEND, VIR_PERF_PARAM_REF_CPU_CYCLES,
        VIR_PERF_PARAM_CPU_CLOCK, VIR_PERF_PARAM_TASK_CLOCK, VIR_PERF_PARAM_PAGE_FAULTS,
        VIR_PERF_PARAM_CONTEXT_SWITCHES, VIR_PERF_PARAM_CPU_MIGRATIONS, VIR_PERF_PARAM_PAGE_FAULTS_MIN,
        VIR_PERF_PARAM_PAGE_FAULTS_MAJ, VIR_PERF_PARAM_ALIGNMENT_FAULTS, VIR_PERF_PARAM_EMULATION_FAULTS,
    };
    const struct vq_remote_domain_get_perf_events_args *args = request->args;
    struct vq_remote_domain_get_perf_events_ret *ret = request->ret;
    struct vq_qemu_target target;

    if (!vq_qemu_check_flags(request, args->flags, AFFECT | VIR_TYPED_PARAM_STRING_OKAY) ||
        !vq_qemu_find_target(request, args->flags & AFFECT, &target))
        return;
    ret->params = vq_qemu_request_alloc(request, sizeof(*ret->params) * VQ_N_ELEMENTS(names));
    if (ret->params == NULL)
        return;
    for (size_t i = 0; i < VQ_N_ELEMENTS(names); i++)
        ret->params[ret->n_params++] = (struct vq_typed_param){ .field = names[i], .type = VIR_TYPED_PARAM_BOOLEAN };
    vq_request_reply(request);
}

static void domain_get_block_job_info(struct vq_request *request)
{
    const struct vq_remote_domain_get_block_job_info_args *args = request->args;
    const struct vq_qemu_guest *guest;

    if (!vq_qemu_check_flags(request, args->flags, VIR_DOMAIN_BLOCK_JOB_INFO_BANDWIDTH_BYTES) ||
        (guest = vq_qemu_guest_of(request)) == NULL)
        return;
    if (guest->live == NULL || iotune_of(guest->live, args->path) == NULL)
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "disk '%s' not found in domain", args->path);
    else
        vq_request_reply(request); /* found: 0 */
}

static void domain_get_launch_security_info(struct vq_request *request)
{
    const struct vq_remote_domain_get_launch_security_info_args *args = request->args;

    if (vq_qemu_check_flags(request, args->flags, VIR_TYPED_PARAM_STRING_OKAY))
        vq_request_reply(request); /* of a guest without it: nothing to tell */
}

/* ---- How often the balloon tells ---- */

struct period_change {
    struct vq_request *request;
    uint32_t period;
    bool has_config;
};

static int change_period(struct vq_domain *def, void *data, struct vq_error *err)
{
    const struct period_change *change = data;

    if (def->devices.memballoon == NULL || def->devices.memballoon->model == VQ_BALLOON_NONE)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "Memory balloon model must be virtio to set the collection period");
    def->devices.memballoon->stats_period = change->period;
    return 0;
}

static void period_set(json_t *reply VQ_UNUSED, const struct vq_error *qemu_err, void *data)
{
    struct period_change *change = data;
    struct vq_request *request = change->request;
    struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);
    struct vq_error err = VQ_ERROR_INIT;

    if (qemu_err != NULL)
        vq_request_fail(request, qemu_err);
    else if (guest != NULL && guest->live != NULL &&
             (change_period(guest->live, change, &err) < 0 || vq_qemu_record_write(guest, &err) < 0))
        vq_request_fail(request, &err);
    else if (change->has_config)
        vq_qemu_change_definition(vq_qemu_of(request), request->domain->uuid, change_period, change, false,
                                  vq_qemu_change_over, request);
    else
        vq_request_reply(request);
}

static void domain_set_memory_stats_period(struct vq_request *request)
{
    const struct vq_remote_domain_set_memory_stats_period_args *args = request->args;
    struct period_change *change;
    struct vq_qemu_target target;
    const struct vq_memballoon *balloon;

    if (!vq_qemu_check_flags(request, args->flags, AFFECT))
        return;
    if (args->period < 0 || args->period > PERIOD_MAX) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "a period of %d seconds is out of bounds (0 to %d)",
                       args->period, PERIOD_MAX);
        return;
    }
    if (!vq_qemu_find_target(request, args->flags, &target) ||
        (change = vq_qemu_request_alloc(request, sizeof(*change))) == NULL)
        return;
    *change = (struct period_change){ .request = request, .period = (uint32_t)args->period, .has_config = target.config };
    if (!target.live) {
        vq_qemu_change_definition(vq_qemu_of(request), request->domain->uuid, change_period, change, false,
                                  vq_qemu_change_over, request);
        return;
    }
    if (vq_qemu_guest_of(request) == NULL || !vq_qemu_activity_allows(request, target.guest))
        return;
    balloon = target.guest->live->devices.memballoon;
    if (balloon == NULL || balloon->model == VQ_BALLOON_NONE || balloon->info.alias == NULL) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_INVALID,
                       "Memory balloon model must be virtio to set the collection period");
        return;
    }
    (void)vq_qmp_call(target.guest->qmp, "qom-set",
                      json_pack("{s:o,s:s,s:i}", "path", json_sprintf("/machine/peripheral/%s", balloon->info.alias),
                                "property", "guest-stats-polling-interval", "value", args->period),
                      VQ_QMP_TIMEOUT_MS, period_set, change);
}

#define ROW(NAME, fn) { VQ_PROGRAM_REMOTE, VQ_REMOTE_##NAME, fn }

static const struct vq_driver_row rows[] = {
    ROW(DOMAIN_GET_VCPU_PIN_INFO, domain_get_vcpu_pin_info),
    ROW(DOMAIN_GET_EMULATOR_PIN_INFO, domain_get_emulator_pin_info),
    ROW(DOMAIN_GET_SCHEDULER_PARAMETERS, domain_get_scheduler_parameters),
    ROW(DOMAIN_GET_SCHEDULER_PARAMETERS_FLAGS, domain_get_scheduler_parameters_flags),
    ROW(DOMAIN_GET_MEMORY_PARAMETERS, domain_get_memory_parameters),
    ROW(DOMAIN_GET_BLKIO_PARAMETERS, domain_get_blkio_parameters),
    ROW(DOMAIN_GET_CPU_STATS, domain_get_cpu_stats),
    ROW(DOMAIN_GET_NUMA_PARAMETERS, domain_get_numa_parameters),
    ROW(DOMAIN_GET_BLOCK_IO_TUNE, domain_get_block_io_tune),
    ROW(DOMAIN_GET_INTERFACE_PARAMETERS, domain_get_interface_parameters),
    ROW(DOMAIN_GET_PERF_EVENTS, domain_get_perf_events),
    ROW(DOMAIN_GET_BLOCK_JOB_INFO, domain_get_block_job_info),
    ROW(DOMAIN_GET_LAUNCH_SECURITY_INFO, domain_get_launch_security_info),
    ROW(DOMAIN_GET_IOTHREAD_INFO, domain_get_iothread_info),
    ROW(DOMAIN_SET_MEMORY_STATS_PERIOD, domain_set_memory_stats_period),
};
const struct vq_qemu_rows vq_qemu_limits_rows = { rows, VQ_N_ELEMENTS(rows) };
