/* Calls about the host. */
#define VQ_FROM VIR_FROM_NONE
#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/buffer.h"
#include "node/dispatch.h"
#include "node/handlers.h"
#include "node/host_info.h"
#include "node/host_memory.h"
#include "proto/gen/remote.h"

static void get_hostname(struct vq_call *call)
{
    struct vq_remote_connect_get_hostname_ret *ret = call->request.ret;
    char name[256] = "";

    (void)gethostname(name, sizeof(name) - 1); /* cannot fail: Linux names are shorter */
    ret->hostname = vq_arena_strdup(call->request.arena, name);
    vq_call_reply(call);
}

static void node_get_info(struct vq_call *call)
{
    const struct vq_host_topology *topology = vq_host_topology();
    struct vq_remote_node_get_info_ret *ret = call->request.ret;
    uint8_t map[VQ_HOST_CPUS_MAX / 8];
    unsigned online = 0;

    (void)vq_host_cpus(true, map, &online);
    memcpy(ret->model, topology->machine, sizeof(ret->model));
    ret->memory = topology->memory_kib;
    ret->cpus = (int32_t)online;
    ret->mhz = (int32_t)topology->mhz;
    ret->nodes = (int32_t)topology->cells;
    ret->sockets = (int32_t)topology->sockets;
    ret->cores = (int32_t)topology->cores;
    ret->threads = (int32_t)topology->threads;
    vq_call_reply(call);
}

static void node_get_cpu_map(struct vq_call *call)
{
    const struct vq_remote_node_get_cpu_map_args *args = call->request.args;
    struct vq_remote_node_get_cpu_map_ret *ret = call->request.ret;
    uint8_t present[VQ_HOST_CPUS_MAX / 8];
    unsigned n_present = 0, n_online = 0;

    if (!vq_handler_flags_are(call, 0))
        return;
    uint8_t *online = vq_handler_alloc(call, VQ_HOST_CPUS_MAX / 8, 1);
    if (online == NULL)
        return;
    unsigned end = vq_host_cpus(false, present, &n_present);
    (void)vq_host_cpus(true, online, &n_online);
    if (args->need_map != 0) {
        ret->cpumap = online;
        ret->n_cpumap = (end + 7) / 8;
    }
    if (args->need_online != 0)
        ret->online = n_online;
    ret->ret = (int32_t)end;
    vq_call_reply(call);
}

/* Stats come in two steps: with nparams 0 how many there are, then that many. */
static bool asks_for(struct vq_call *call, int32_t nparams, int32_t available)
{
    if (nparams == 0 || nparams == available)
        return true;
    vq_handler_fail(call, VIR_FROM_NONE, VIR_ERR_INVALID_ARG, "nparams in %s must be equal to %d",
                    call->request.procedure->api, available);
    return false;
}

static void node_get_cpu_stats(struct vq_call *call)
{
    const struct vq_remote_node_get_cpu_stats_args *args = call->request.args;
    struct vq_remote_node_get_cpu_stats_ret *ret = call->request.ret;
    struct vq_host_cpu_times times;
    struct vq_error err = VQ_ERROR_INIT;
    enum { N_STATS = 4 };

    if (!vq_handler_flags_are(call, 0) || !asks_for(call, args->nparams, N_STATS))
        return;
    if (vq_host_cpu_times(args->cpuNum, &times, &err) < 0) {
        vq_call_fail(call, &err);
        return;
    }
    ret->nparams = N_STATS;
    if (args->nparams != 0) {
        ret->params = vq_handler_alloc(call, N_STATS, sizeof(*ret->params));
        if (ret->params == NULL)
            return;
        ret->params[ret->n_params++] =
            (struct vq_remote_node_get_cpu_stats){VIR_NODE_CPU_STATS_KERNEL, times.kernel_ns};
        ret->params[ret->n_params++] = (struct vq_remote_node_get_cpu_stats){VIR_NODE_CPU_STATS_USER, times.user_ns};
        ret->params[ret->n_params++] = (struct vq_remote_node_get_cpu_stats){VIR_NODE_CPU_STATS_IDLE, times.idle_ns};
        ret->params[ret->n_params++] =
            (struct vq_remote_node_get_cpu_stats){VIR_NODE_CPU_STATS_IOWAIT, times.iowait_ns};
    }
    vq_call_reply(call);
}

static void node_get_memory_stats(struct vq_call *call)
{
    const struct vq_remote_node_get_memory_stats_args *args = call->request.args;
    struct vq_remote_node_get_memory_stats_ret *ret = call->request.ret;
    struct vq_host_memory memory;
    struct vq_error err = VQ_ERROR_INIT;
    int32_t n_stats = args->cellNum < 0 ? 4 : 2;

    if (!vq_handler_flags_are(call, 0) || !asks_for(call, args->nparams, n_stats))
        return;
    if (vq_host_memory(args->cellNum, &memory, &err) < 0) {
        vq_call_fail(call, &err);
        return;
    }
    const struct vq_remote_node_get_memory_stats stats[] = {
        {VIR_NODE_MEMORY_STATS_TOTAL, memory.total_kib},
        {VIR_NODE_MEMORY_STATS_FREE, memory.free_kib},
        {VIR_NODE_MEMORY_STATS_BUFFERS, memory.buffers_kib},
        {VIR_NODE_MEMORY_STATS_CACHED, memory.cached_kib},
    };
    ret->nparams = n_stats;
    if (args->nparams != 0) {
        ret->params = vq_handler_alloc(call, VQ_N_ELEMENTS(stats), sizeof(*ret->params));
        if (ret->params == NULL)
            return;
        memcpy(ret->params, stats, sizeof(stats));
        ret->n_params = (uint32_t)n_stats;
    }
    vq_call_reply(call);
}

static void node_get_free_memory(struct vq_call *call)
{
    struct vq_remote_node_get_free_memory_ret *ret = call->request.ret;
    struct vq_host_memory memory;
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_host_memory(-1, &memory, &err) < 0) {
        vq_call_fail(call, &err);
        return;
    }
    ret->freeMem = memory.free_kib * 1024;
    vq_call_reply(call);
}

/* The cells from a first one on; false: there are none there, and the call was refused. */
static bool cells_from(struct vq_call *call, int first, uint32_t max, int cells[VQ_HOST_CELLS_MAX], unsigned *ret_n)
{
    int all[VQ_HOST_CELLS_MAX];
    unsigned n_all = vq_host_cells(all);

    *ret_n = 0;
    for (unsigned i = 0; i < n_all && *ret_n < max; i++)
        if (all[i] >= first)
            cells[(*ret_n)++] = all[i];
    if (first >= 0 && *ret_n > 0)
        return true;
    vq_handler_fail(call, VIR_FROM_NONE, VIR_ERR_INTERNAL_ERROR, "start cell %d out of range (0-%d)", first,
                    all[n_all - 1]);
    return false;
}

static void node_get_cells_free_memory(struct vq_call *call)
{
    const struct vq_remote_node_get_cells_free_memory_args *args = call->request.args;
    struct vq_remote_node_get_cells_free_memory_ret *ret = call->request.ret;
    int cells[VQ_HOST_CELLS_MAX];
    unsigned n_cells;

    if (args->maxcells <= 0) {
        vq_handler_fail(call, VIR_FROM_NONE, VIR_ERR_INVALID_ARG, "maxcells in %s must be greater than zero",
                        call->request.procedure->api);
        return;
    }
    if (!cells_from(call, args->startCell, (uint32_t)args->maxcells, cells, &n_cells))
        return;
    ret->cells = vq_handler_alloc(call, n_cells, sizeof(*ret->cells));
    if (ret->cells == NULL)
        return;
    for (unsigned i = 0; i < n_cells; i++) {
        struct vq_host_memory memory;
        if (vq_host_memory(cells[i], &memory, NULL) < 0)
            memory.free_kib = 0; /* the cell went away in between */
        ret->cells[ret->n_cells++] = memory.free_kib * 1024;
    }
    vq_call_reply(call);
}

static void node_get_free_pages(struct vq_call *call)
{
    const struct vq_remote_node_get_free_pages_args *args = call->request.args;
    struct vq_remote_node_get_free_pages_ret *ret = call->request.ret;
    int cells[VQ_HOST_CELLS_MAX];
    unsigned n_cells;
    enum { COUNTS_MAX = 1024 };

    if (!vq_handler_flags_are(call, 0))
        return;
    if (args->startCell == -1) { /* the whole host */
        cells[0] = -1;
        n_cells = 1;
    } else if (!cells_from(call, args->startCell, args->cellCount, cells, &n_cells)) {
        return;
    }
    if ((uint64_t)n_cells * args->n_pages > COUNTS_MAX) {
        vq_handler_fail(call, VIR_FROM_RPC, VIR_ERR_RPC, "more than %d counts were asked for", COUNTS_MAX);
        return;
    }
    ret->counts = vq_handler_alloc(call, (size_t)n_cells * args->n_pages, sizeof(*ret->counts));
    if (ret->counts == NULL)
        return;
    for (unsigned cell = 0; cell < n_cells; cell++)
        for (unsigned page = 0; page < args->n_pages; page++)
            if (!vq_host_free_pages(cells[cell], args->pages[page], &ret->counts[ret->n_counts++])) {
                vq_handler_fail(call, VIR_FROM_NONE, VIR_ERR_OPERATION_FAILED,
                                "page size %u is not available on node %d", args->pages[page], cells[cell]);
                return;
            }
    vq_call_reply(call);
}

/* ---- What can be set ---- */

static void node_alloc_pages(struct vq_call *call)
{
    const struct vq_remote_node_alloc_pages_args *args = call->request.args;
    struct vq_remote_node_alloc_pages_ret *ret = call->request.ret;
    struct vq_error err = VQ_ERROR_INIT;
    int cells[VQ_HOST_CELLS_MAX];
    unsigned n_cells;

    if (!vq_handler_flags_are(call, VIR_NODE_ALLOC_PAGES_SET))
        return;
    if (args->n_pageSizes != args->n_pageCounts || args->n_pageSizes == 0 || args->cellCount == 0) {
        vq_handler_fail(call, VIR_FROM_NONE, VIR_ERR_INVALID_ARG, "each page size needs a count, and a cell to be on");
        return;
    }
    if (!cells_from(call, args->startCell < 0 ? 0 : args->startCell, args->cellCount, cells, &n_cells))
        return;
    bool is_more = (args->flags & VIR_NODE_ALLOC_PAGES_SET) == 0;
    for (unsigned cell = 0; cell < n_cells; cell++)
        for (unsigned page = 0; page < args->n_pageSizes; page++) {
            if (vq_host_pages_set("", cells[cell], args->pageSizes[page], args->pageCounts[page], is_more, &err) < 0) {
                vq_call_fail(call, &err);
                return;
            }
            ret->ret++;
        }
    vq_call_reply(call);
}

static void node_get_memory_parameters(struct vq_call *call)
{
    const struct vq_remote_node_get_memory_parameters_args *args = call->request.args;
    struct vq_remote_node_get_memory_parameters_ret *ret = call->request.ret;

    if (!vq_handler_flags_are(call, VIR_TYPED_PARAM_STRING_OKAY))
        return;
    ret->params = vq_handler_alloc(call, VQ_KSM_MAX, sizeof(*ret->params));
    if (ret->params == NULL)
        return;
    size_t n = vq_host_ksm_get("", ret->params);
    if (args->nparams == 0)
        ret->nparams = (int32_t)n;
    else
        ret->n_params = (uint32_t)(args->nparams > 0 && (size_t)args->nparams < n ? (size_t)args->nparams : n);
    vq_call_reply(call);
}

static void node_set_memory_parameters(struct vq_call *call)
{
    const struct vq_remote_node_set_memory_parameters_args *args = call->request.args;
    struct vq_error err = VQ_ERROR_INIT;

    if (!vq_handler_flags_are(call, 0))
        return;
    if (vq_host_ksm_set("", args->params, args->n_params, &err) < 0)
        vq_call_fail(call, &err);
    else
        vq_call_reply(call);
}

/* A node that goes to sleep leaves its cluster without a word, and its guests stand still while others take them for lost. */
static void node_suspend_for_duration(struct vq_call *call)
{
    static const char *const targets[] = {[VIR_NODE_SUSPEND_TARGET_MEM] = "Suspend-to-RAM",
                                          [VIR_NODE_SUSPEND_TARGET_DISK] = "Suspend-to-Disk",
                                          [VIR_NODE_SUSPEND_TARGET_HYBRID] = "Hybrid-Suspend"};
    const struct vq_remote_node_suspend_for_duration_args *args = call->request.args;

    if (!vq_handler_flags_are(call, 0))
        return;
    if (args->target >= VQ_N_ELEMENTS(targets))
        vq_handler_fail(call, VIR_FROM_NONE, VIR_ERR_INVALID_ARG, "Invalid suspend target");
    else
        vq_handler_fail(call, VIR_FROM_NONE, VIR_ERR_ARGUMENT_UNSUPPORTED, "%s", targets[args->target]);
}

static void connect_get_sysinfo(struct vq_call *call)
{
    struct vq_remote_connect_get_sysinfo_ret *ret = call->request.ret;
    struct vq_buffer xml = VQ_BUFFER_INIT;

    if (!vq_handler_flags_are(call, 0))
        return;
    bool found = vq_host_sysinfo(&xml);
    ret->sysinfo = vq_arena_strdup(call->request.arena, xml.data);
    vq_buffer_done(&xml);
    if (!found)
        vq_handler_fail(call, VIR_FROM_NONE, VIR_ERR_CONFIG_UNSUPPORTED, "Host SMBIOS information is not available");
    else
        vq_call_reply(call);
}

#define ROW(number, fn)                                           \
    {                                                             \
        VQ_PROGRAM_REMOTE, VQ_REMOTE_##number, VQ_WITH_DRIVER, fn \
    }
const struct vq_node_row vq_host_rows[] = {
    ROW(CONNECT_GET_HOSTNAME, get_hostname),
    ROW(CONNECT_GET_SYSINFO, connect_get_sysinfo),
    ROW(NODE_GET_INFO, node_get_info),
    ROW(NODE_GET_CPU_MAP, node_get_cpu_map),
    ROW(NODE_GET_CPU_STATS, node_get_cpu_stats),
    ROW(NODE_GET_MEMORY_STATS, node_get_memory_stats),
    ROW(NODE_GET_FREE_MEMORY, node_get_free_memory),
    ROW(NODE_GET_CELLS_FREE_MEMORY, node_get_cells_free_memory),
    ROW(NODE_GET_FREE_PAGES, node_get_free_pages),
    ROW(NODE_ALLOC_PAGES, node_alloc_pages),
    ROW(NODE_GET_MEMORY_PARAMETERS, node_get_memory_parameters),
    ROW(NODE_SET_MEMORY_PARAMETERS, node_set_memory_parameters),
    ROW(NODE_SUSPEND_FOR_DURATION, node_suspend_for_duration),
};
#undef ROW
const size_t vq_n_host_rows = VQ_N_ELEMENTS(vq_host_rows);
