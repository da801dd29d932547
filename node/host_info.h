/* Facts of this host out of /proc and /sys: small bounded reads; what cannot change is read once. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"

struct vq_buffer;

enum { VQ_HOST_CPUS_MAX = 4096, VQ_HOST_CELLS_MAX = 256 };

struct vq_host_topology {
    unsigned cells;          /* NUMA nodes */
    unsigned sockets;        /* of each cell */
    unsigned cores, threads; /* of each socket, of each core */
    unsigned mhz;
    uint64_t memory_kib;
    char machine[32]; /* "x86_64" */
};
/* cells * sockets * cores * threads is never less than the CPUs; a host that is not even is shown as one socket. */
const struct vq_host_topology *vq_host_topology(void);

/* One bit for each CPU. Returns how many CPUs the map covers (highest number plus one). */
unsigned vq_host_cpus(bool only_online, uint8_t map[VQ_HOST_CPUS_MAX / 8], unsigned *ret_n);

struct vq_host_memory {
    uint64_t total_kib, free_kib, buffers_kib, cached_kib;
};
/* cell -1: the whole host. Errors: VIR_ERR_INVALID_ARG no such cell. */
VQ_MUST_CHECK int vq_host_memory(int cell, struct vq_host_memory *ret, struct vq_error *err);
/* NUMA node numbers in order; the count. A host without NUMA has one cell 0. */
unsigned vq_host_cells(int cells[VQ_HOST_CELLS_MAX]);

struct vq_host_cpu_times {
    uint64_t kernel_ns, user_ns, idle_ns, iowait_ns;
};
/* cpu -1: all together. Errors: VIR_ERR_INVALID_ARG no such CPU. */
VQ_MUST_CHECK int vq_host_cpu_times(int cpu, struct vq_host_cpu_times *ret, struct vq_error *err);

/* Free pages of that size, cell -1: of the whole host; false: the host has no pages of that size there. */
bool vq_host_free_pages(int cell, unsigned page_kib, uint64_t *ret_pages);

/* The SMBIOS facts as libvirt's <sysinfo> document; false: the host tells none. */
bool vq_host_sysinfo(struct vq_buffer *xml);
