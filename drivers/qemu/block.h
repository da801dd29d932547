/* What QEMU tells of a guest's disks, found by device. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

struct vq_disk;
struct vq_qemu_guest;

struct vq_qemu_block_stats {
    uint64_t rd_requests, rd_bytes, rd_ns, wr_requests, wr_bytes, wr_ns, flush_requests, flush_ns;
    int64_t errors;          /* -1: not told */
};

/* By target ("vda") or by the path of its source; NULL: none. */
const struct vq_disk *vq_qemu_disk_find(const struct vq_qemu_guest *guest, const char *path);
/* From the answer of query-blockstats. False: nothing about this disk. */
bool vq_qemu_block_stats_of(json_t *reply, const struct vq_disk *disk, struct vq_qemu_block_stats *ret_stats);
/* From the answer of query-blockstats: the last byte of the image that was ever written, as far as QEMU saw it. */
uint64_t vq_qemu_block_highest_of(json_t *reply, const struct vq_disk *disk);
/* From the answer of query-block: size that the guest sees, bytes that the image takes. */
bool vq_qemu_block_sizes_of(json_t *reply, const struct vq_disk *disk, uint64_t *ret_capacity, uint64_t *ret_allocation);
/* From the answer of query-block: the node that the device reads from; NULL: it has no medium. Borrowed from reply. */
const char *vq_qemu_block_node_of(json_t *reply, const struct vq_disk *disk);
