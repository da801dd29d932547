/* Procedures that look at a guest: what the owner's memory, the kernel and QEMU know of it. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "conf/domain.h"
#include "drivers/qemu/console.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/proc.h"
#include "drivers/qemu/qmp.h"
#include "drivers/qemu/tap.h"
#include "proto/gen/remote.h"

enum { STATS_TIMEOUT_MS = 5000, MASK_BYTES = 1024 };

static void no_memory(struct vq_request *request)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, VIR_ERR_NO_MEMORY, "the answer is too large");
    vq_request_fail(request, &err);
}

/* A running guest, also one whose QEMU does not answer at the moment; NULL: the domain does not run. */
static struct vq_qemu_guest *running(const struct vq_request *request)
{
    struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);

    return guest != NULL && (guest->phase == VQ_GUEST_ACTIVE || guest->phase == VQ_GUEST_FOUND) ? guest : NULL;
}

static struct vq_qemu_guest *running_or_fail(struct vq_request *request)
{
    struct vq_qemu_guest *guest = running(request);
    struct vq_error err = VQ_ERROR_INIT;

    if (guest == NULL) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_INVALID, "domain is not running");
        vq_request_fail(request, &err);
    }
    return guest;
}

/* ---- info ---- */

static uint64_t memory_of(const struct vq_qemu_guest *guest)
{
    if (guest->balloon_kib != 0 || guest->live == NULL)
        return guest->balloon_kib;
    return guest->live->current_memory_kib;
}

static void domain_get_info(struct vq_request *request)
{
    struct vq_remote_domain_get_info_ret *ret = request->ret;
    const struct vq_qemu_guest *guest = running(request);
    struct vq_proc_times times;

    ret->state = request->domain->state;
    ret->maxMem = request->domain->max_memory_kib;
    ret->memory = request->domain->memory_kib;
    ret->nrVirtCpu = (uint16_t)request->domain->vcpus;
    if (guest != NULL) {
        ret->state = guest->state;
        if (guest->live != NULL) {
            ret->maxMem = guest->live->memory_kib;
            ret->memory = memory_of(guest);
            ret->nrVirtCpu = (uint16_t)guest->live->current_vcpus;
        }
        if (vq_proc_times(guest->pid, 0, &times))
            ret->cpuTime = times.user_ns + times.system_ns;
    }
    vq_request_reply(request);
}

static void domain_get_max_memory(struct vq_request *request)
{
    struct vq_remote_domain_get_max_memory_ret *ret = request->ret;
    const struct vq_qemu_guest *guest = running(request);

    ret->memory = guest != NULL && guest->live != NULL ? guest->live->memory_kib : request->domain->max_memory_kib;
    vq_request_reply(request);
}

/* Is the monitor at hand? */
static void domain_get_control_info(struct vq_request *request)
{
    const struct vq_remote_domain_get_control_info_args *args = request->args;
    struct vq_remote_domain_get_control_info_ret *ret = request->ret;
    const struct vq_qemu_guest *guest;

    if (!vq_qemu_check_flags(request, args->flags, 0) || (guest = running_or_fail(request)) == NULL)
        return;
    ret->state = guest->phase == VQ_GUEST_ACTIVE ? VIR_DOMAIN_CONTROL_OK : VIR_DOMAIN_CONTROL_ERROR;
    ret->details = guest->phase == VQ_GUEST_ACTIVE ? VIR_DOMAIN_CONTROL_ERROR_REASON_NONE
                                                   : VIR_DOMAIN_CONTROL_ERROR_REASON_MONITOR;
    vq_request_reply(request);
}

/* ---- vcpus ---- */

static void fill_vcpu(const struct vq_qemu_guest *guest, uint32_t number, struct vq_remote_vcpu_info *info)
{
    struct vq_proc_times times;

    info->number = number;
    info->state = VIR_VCPU_RUNNING;
    info->cpu = -1;
    if (number < guest->n_vcpu_threads && vq_proc_times(guest->pid, guest->vcpu_threads[number], &times)) {
        info->cpu_time = times.user_ns + times.system_ns;
        info->cpu = times.processor;
    }
}

static void fill_mask(const struct vq_qemu_guest *guest, uint32_t number, uint8_t *mask, size_t length)
{
    uint8_t bits[MASK_BYTES] = { 0 };

    if (number < guest->n_vcpu_threads &&
        sched_getaffinity(guest->vcpu_threads[number], sizeof(bits), (cpu_set_t *)(void *)bits) == 0)
        memcpy(mask, bits, length < sizeof(bits) ? length : sizeof(bits));
}

static void domain_get_vcpus(struct vq_request *request)
{
    const struct vq_remote_domain_get_vcpus_args *args = request->args;
    struct vq_remote_domain_get_vcpus_ret *ret = request->ret;
    const struct vq_qemu_guest *guest = running_or_fail(request);
    struct vq_error err = VQ_ERROR_INIT;
    uint32_t n;
    uint8_t *maps;

    if (guest == NULL)
        return;
    if (args->maxinfo < 0 || args->maxinfo > 16384 || args->maplen < 0 || args->maplen > 2048) {
        (void)vq_error_set(&err, VIR_ERR_RPC, "maxinfo %d or maplen %d is out of bounds", args->maxinfo, args->maplen);
        vq_request_fail(request, &err);
        return;
    }
    n = guest->live != NULL ? guest->live->current_vcpus : (uint32_t)guest->n_vcpu_threads;
    if (n > (uint32_t)args->maxinfo)
        n = (uint32_t)args->maxinfo;
    ret->info = vq_arena_alloc(request->arena, n + 1, sizeof(*ret->info));
    maps = vq_arena_alloc(request->arena, (size_t)n * (size_t)args->maplen + 1, 1);
    if (ret->info == NULL || maps == NULL) {
        no_memory(request);
        return;
    }
    for (uint32_t i = 0; i < n; i++) {
        fill_vcpu(guest, i, &ret->info[i]);
        fill_mask(guest, i, maps + (size_t)i * (size_t)args->maplen, (size_t)args->maplen);
    }
    ret->n_info = n;
    ret->cpumaps = maps;
    ret->n_cpumaps = n * (uint32_t)args->maplen;
    vq_request_reply(request);
}

/* ---- memory ---- */

/* QEMU's names, in the order in which they are told. */
static const struct {
    const char *name;
    int tag;
    bool is_bytes;
} memory_rows[] = {
    { "stat-swap-in", VIR_DOMAIN_MEMORY_STAT_SWAP_IN, true },
    { "stat-swap-out", VIR_DOMAIN_MEMORY_STAT_SWAP_OUT, true },
    { "stat-major-faults", VIR_DOMAIN_MEMORY_STAT_MAJOR_FAULT, false },
    { "stat-minor-faults", VIR_DOMAIN_MEMORY_STAT_MINOR_FAULT, false },
    { "stat-free-memory", VIR_DOMAIN_MEMORY_STAT_UNUSED, true },
    { "stat-total-memory", VIR_DOMAIN_MEMORY_STAT_AVAILABLE, true },
    { "stat-available-memory", VIR_DOMAIN_MEMORY_STAT_USABLE, true },
    { "stat-disk-caches", VIR_DOMAIN_MEMORY_STAT_DISK_CACHES, true },
    { "stat-htlb-pgalloc", VIR_DOMAIN_MEMORY_STAT_HUGETLB_PGALLOC, false },
    { "stat-htlb-pgfail", VIR_DOMAIN_MEMORY_STAT_HUGETLB_PGFAIL, false },
};

static void add_memory_stat(struct vq_remote_domain_memory_stats_ret *ret, uint32_t max, int tag, uint64_t value)
{
    if (ret->n_stats < max)
        ret->stats[ret->n_stats++] = (struct vq_remote_domain_memory_stat){ .tag = tag, .val = value };
}

/* reply: {"stats": {"stat-free-memory": 1, ...}, "last-update": 0}, or NULL. QEMU says -1 for what the guest does not tell. */
static void fill_memory_stats(struct vq_request *request, const struct vq_qemu_guest *guest, json_t *reply)
{
    const struct vq_remote_domain_memory_stats_args *args = request->args;
    struct vq_remote_domain_memory_stats_ret *ret = request->ret;
    uint32_t max = args->maxStats < VIR_DOMAIN_MEMORY_STAT_NR ? args->maxStats : VIR_DOMAIN_MEMORY_STAT_NR;
    json_t *stats = json_object_get(reply, "stats"), *update = json_object_get(reply, "last-update");
    uint64_t rss;

    ret->stats = vq_arena_alloc(request->arena, max + 1, sizeof(*ret->stats));
    if (ret->stats == NULL)
        return;
    add_memory_stat(ret, max, VIR_DOMAIN_MEMORY_STAT_ACTUAL_BALLOON, memory_of(guest));
    for (size_t i = 0; i < VQ_N_ELEMENTS(memory_rows); i++) {
        json_t *value = json_object_get(stats, memory_rows[i].name);

        if (json_is_integer(value) && json_integer_value(value) >= 0)
            add_memory_stat(ret, max, memory_rows[i].tag,
                            (uint64_t)json_integer_value(value) / (memory_rows[i].is_bytes ? 1024 : 1));
    }
    if (json_is_integer(update) && json_integer_value(update) >= 0)
        add_memory_stat(ret, max, VIR_DOMAIN_MEMORY_STAT_LAST_UPDATE, (uint64_t)json_integer_value(update));
    if (vq_proc_rss_kib(guest->pid, &rss))
        add_memory_stat(ret, max, VIR_DOMAIN_MEMORY_STAT_RSS, rss);
}

static void memory_stats_known(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_request *request = data;
    const struct vq_qemu_guest *guest = vq_qemu_guest_find(vq_qemu_of(request), request->domain->uuid);

    if (guest == NULL) {
        vq_request_fail(request, err);
        return;
    }
    fill_memory_stats(request, guest, reply);
    vq_request_reply(request);
}

json_t *vq_qemu_balloon_stats_question(const struct vq_qemu_guest *guest)
{
    const struct vq_memballoon *balloon = guest->live != NULL ? guest->live->devices.memballoon : NULL;

    if (balloon == NULL || balloon->model == VQ_BALLOON_NONE || balloon->info.alias == NULL)
        return NULL;
    return json_pack("{s:o,s:s}", "path", json_sprintf("/machine/peripheral/%s", balloon->info.alias), "property",
                     "guest-stats");
}

static void domain_memory_stats(struct vq_request *request)
{
    const struct vq_remote_domain_memory_stats_args *args = request->args;
    struct vq_qemu_guest *guest;
    json_t *question;

    if (!vq_qemu_check_flags(request, args->flags, 0) || (guest = running_or_fail(request)) == NULL)
        return;
    question = vq_qemu_balloon_stats_question(guest);
    if (question != NULL && guest->phase == VQ_GUEST_ACTIVE) {
        (void)vq_qmp_call(guest->qmp, "qom-get", question, STATS_TIMEOUT_MS, memory_stats_known, request);
        return;
    }
    json_decref(question);
    fill_memory_stats(request, guest, NULL);
    vq_request_reply(request);
}

/* ---- interfaces ---- */

static bool mac_is(const struct vq_interface *interface, const char *text)
{
    const uint8_t *mac = interface->mac;
    char own[18];

    (void)snprintf(own, sizeof(own), "%02x:%02x:%02x:%02x:%02x:%02x", mac[0], mac[1], mac[2], mac[3], mac[4], mac[5]);
    return strcasecmp(own, text) == 0;
}

static void domain_interface_stats(struct vq_request *request)
{
    const struct vq_remote_domain_interface_stats_args *args = request->args;
    struct vq_remote_domain_interface_stats_ret *ret = request->ret;
    const struct vq_qemu_guest *guest = running_or_fail(request);
    const struct vq_interface *found = NULL;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_tap_stats stats;

    if (guest == NULL)
        return;
    for (size_t i = 0; found == NULL && guest->live != NULL && i < guest->live->devices.n_interfaces; i++) {
        const struct vq_interface *interface = guest->live->devices.interfaces[i];

        if (interface->target != NULL && (vq_streq(interface->target, args->device) || mac_is(interface, args->device)))
            found = interface;
    }
    if (found == NULL) {
        (void)vq_error_set(&err, VIR_ERR_INVALID_ARG, "'%s' is not a known interface", args->device);
        vq_request_fail(request, &err);
    } else if (vq_qemu_tap_stats(found->target, &stats, &err) < 0) {
        vq_request_fail(request, &err);
    } else {
        *ret = (struct vq_remote_domain_interface_stats_ret){ stats.rx_bytes, stats.rx_packets, stats.rx_errs,
                                                              stats.rx_drop, stats.tx_bytes, stats.tx_packets,
                                                              stats.tx_errs, stats.tx_drop };
        vq_request_reply(request);
    }
}

/* ---- what there is none of yet ---- */

static void domain_get_security_label(struct vq_request *request)
{
    vq_request_reply(request); /* security model "none": an empty label, not enforced */
}

static int8_t *text_bytes(struct vq_request *request, const char *text, uint32_t *ret_n)
{
    int8_t *bytes = (int8_t *)vq_arena_strdup(request->arena, text);

    *ret_n = bytes != NULL ? (uint32_t)strlen(text) + 1 : 0;
    return bytes;
}

/* Of the model "none" an empty one; of "dac" whom the emulator runs as. One that does not run has no labels. */
static void domain_get_security_label_list(struct vq_request *request)
{
    struct vq_remote_domain_get_security_label_list_ret *ret = request->ret;
    const struct vq_qemu_guest *guest = running(request);
    const struct vq_qemu_settings *settings = &vq_qemu_of(request)->settings;
    char dac[64];

    if (guest != NULL) {
        (void)snprintf(dac, sizeof(dac), "+%u:+%u", (unsigned)(settings->has_user ? settings->uid : geteuid()),
                       (unsigned)(settings->has_user ? settings->gid : getegid()));
        ret->labels = vq_arena_alloc(request->arena, 2, sizeof(*ret->labels));
        if (ret->labels == NULL || (ret->labels[0].label = text_bytes(request, "", &ret->labels[0].n_label)) == NULL ||
            (ret->labels[1].label = text_bytes(request, dac, &ret->labels[1].n_label)) == NULL) {
            no_memory(request);
            return;
        }
        ret->n_labels = 2;
        ret->ret = 2;
    }
    vq_request_reply(request);
}

static void node_get_security_model(struct vq_request *request)
{
    struct vq_remote_node_get_security_model_ret *ret = request->ret;

    ret->model = text_bytes(request, "none", &ret->n_model);
    ret->doi = text_bytes(request, "0", &ret->n_doi);
    vq_request_reply(request);
}

/* ---- the table ---- */

#define ROW(NAME, fn) { VQ_PROGRAM_REMOTE, VQ_REMOTE_##NAME, fn }

static const struct vq_driver_row rows[] = {
    ROW(DOMAIN_GET_INFO, domain_get_info),
    ROW(DOMAIN_GET_MAX_MEMORY, domain_get_max_memory),
    ROW(DOMAIN_GET_CONTROL_INFO, domain_get_control_info),
    ROW(DOMAIN_GET_VCPUS, domain_get_vcpus),
    ROW(DOMAIN_MEMORY_STATS, domain_memory_stats),
    ROW(DOMAIN_INTERFACE_STATS, domain_interface_stats),
    ROW(DOMAIN_GET_SECURITY_LABEL, domain_get_security_label),
    ROW(DOMAIN_GET_SECURITY_LABEL_LIST, domain_get_security_label_list),
    ROW(NODE_GET_SECURITY_MODEL, node_get_security_model),
    ROW(DOMAIN_OPEN_CONSOLE, vq_qemu_open_console),
    ROW(DOMAIN_OPEN_CHANNEL, vq_qemu_open_channel),
};
const struct vq_qemu_rows vq_qemu_look_rows = { rows, VQ_N_ELEMENTS(rows) };
