/* Small facts about disks that several files of the driver ask for, and what QEMU cannot do with one. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"
#include "conf/domain.h"

/* Words of QEMU; NULL: not said. */
const char *vq_qemu_disk_io_name(enum vq_disk_io io);
const char *vq_qemu_disk_discard_name(enum vq_disk_discard discard);
const char *vq_qemu_disk_zeroes_name(const struct vq_disk *disk);
/* "cache": {"direct": ..., "no-flush": ...}; nothing for a mode that is not said. */
void vq_qemu_disk_add_cache(json_t *node, enum vq_disk_cache mode);
/* The disk's cache mode. What several guests write to is not kept in this host's memory. */
enum vq_disk_cache vq_qemu_disk_cache(const struct vq_disk *disk);
/* Whether the guest is told of a write cache. False: it is not said. */
bool vq_qemu_disk_write_cache(enum vq_disk_cache mode, bool *ret_is_on);
/* False: an empty drive. */
bool vq_qemu_disk_has_medium(const struct vq_disk *disk);
/* False: <backingStore/>, the end of a chain. */
bool vq_qemu_backing_is_image(const struct vq_backing *backing);

/* The node that the device is given, in the order of layers: limits, copy on read, format. */
void vq_qemu_disk_top_node(const struct vq_disk *disk, char *name, size_t size);
bool vq_qemu_disk_has_limits(const struct vq_disk *disk);

/* Place in the boot order, by the disk's own <boot> or by that of its class; 0: none. */
uint32_t vq_qemu_disk_boot_index(const struct vq_domain *def, const struct vq_disk *disk);

/* Numbers for the nodes of all images, those of the last disk first; an empty drive keeps one for what is inserted later.
 * Images that have one keep it. */
void vq_qemu_disk_number_nodes(struct vq_domain *live);

/* How many images the definition names before those that were found in headers; -1: it names all. And the same again, after
 * the definition was written and read. */
int vq_qemu_disk_detected_depth(const struct vq_disk *disk);
void vq_qemu_disk_set_detected_depth(struct vq_disk *disk, int depth);

/* What cannot work, whatever the host is like. Errors: VIR_ERR_CONFIG_UNSUPPORTED, VIR_ERR_XML_ERROR, naming the disk. */
VQ_MUST_CHECK int vq_qemu_disk_check(const struct vq_domain *def, const struct vq_disk *disk, struct vq_error *err);
