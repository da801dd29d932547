/* The one long work of a guest that changes it: migration out or in, save, dump, a snapshot with memory ...
 *
 * A guest has at most one. It says what domjobinfo and domjobstats answer while it runs, what domjobabort does, and leaves its
 * last numbers behind for VIR_DOMAIN_JOB_STATS_COMPLETED and the job-completed event. Queries of the guest go on beside it. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_qemu_guest;
struct vq_request;

/* Bytes, pages and milliseconds as QEMU's query-migrate has them; zero: not known. */
struct vq_qemu_job_stats {
    uint64_t started_ms, stopped_ms;  /* unix time of the work's begin; of the CPUs' stop (0: they run) */
    uint64_t elapsed_ms, remaining_ms, downtime_ms, setup_ms;
    int64_t delta_ms;                 /* clocks of two hosts, for the numbers without it ("_net") */
    bool has_delta, has_downtime;
    uint64_t ram_total, ram_processed, ram_remaining, ram_constant, ram_normal, ram_normal_bytes, ram_bps, ram_dirty_rate,
        ram_page_size, ram_iteration, ram_postcopy_requests;
    uint64_t disk_total, disk_processed, disk_remaining, disk_bps;
    bool has_compression;
    uint64_t compression_cache, compression_bytes, compression_pages, compression_misses, compression_overflow;
    int throttle;                     /* percent, 0: none */
};

struct vq_qemu_activity {
    bool is_active;
    int operation;                    /* VIR_DOMAIN_JOB_OPERATION_* */
    int type;                         /* VIR_DOMAIN_JOB_BOUNDED and so on; COMPLETED, FAILED, CANCELLED when it is over */
    uint64_t start_loop_ms;           /* uv_now() at the begin */
    bool is_quiet;                    /* no event tells of its end */
    uint64_t timeout_ms;              /* not used by the activity itself */
    struct vq_qemu_job_stats stats;   /* as last heard */
    /* Ask it to end; the caller of domjobabort is answered at once after this. NULL: it cannot be. post_copy: the flag
     * VIR_DOMAIN_ABORT_JOB_POSTCOPY. */
    int (*abort)(struct vq_qemu_guest *guest, bool post_copy, struct vq_error *err);
    /* Fresh numbers, asked from QEMU: call done once with stats filled, also on failure. NULL: those of stats. */
    void (*refresh)(struct vq_qemu_guest *guest, void (*done)(struct vq_qemu_guest *guest, void *data), void *data);
};

/* The numbers of the last work that is over. */
struct vq_qemu_completed {
    bool is_set, success;
    int operation, type;
    struct vq_qemu_job_stats stats;
    char error[256];                  /* "": none */
};

/* Begin; -1 with libvirt's own error when there is one already ("cannot acquire state change lock (held by ...)",
 * VIR_ERR_OPERATION_TIMEOUT). */
VQ_MUST_CHECK int vq_qemu_activity_begin(struct vq_qemu_guest *guest, int operation, struct vq_error *err);
/* How long it has taken until now, into its numbers. No effect when there is none. */
void vq_qemu_activity_count_time(struct vq_qemu_guest *guest);
/* Over: remembers the numbers, tells clients (job-completed) when it had any. */
void vq_qemu_activity_end(struct vq_qemu_guest *guest, int type, const struct vq_error *err);
/* The numbers of a domain's last work outlive its run, and the daemon does not: keep them when the guest goes, give them to the next. */
void vq_qemu_completed_keep(const struct vq_qemu_guest *guest);
void vq_qemu_completed_recall(struct vq_qemu_guest *guest);
/* The refusal of another one while this one is active; -1. */
int vq_qemu_activity_refuse(const struct vq_qemu_guest *guest, struct vq_error *err);
/* For handlers that change the guest: refuse while something runs. False: the request was failed. */
bool vq_qemu_activity_allows(struct vq_request *request, const struct vq_qemu_guest *guest);

/* Take the numbers of an answer to query-migrate over; every field is optional and checked. */
void vq_qemu_job_stats_take(struct vq_qemu_job_stats *stats, const json_t *query_migrate);

extern const struct vq_qemu_rows vq_qemu_activity_rows; /* domain_get_job_info, _stats, abort_job, abort_job_flags */
