/* Images of managed saves: the driver's own files, the mark in the cluster's state, and this node's record that joins the two.
 *
 *   NEW    ──►  THERE  ──►  USED  ──►  (gone)         The image is trusted only by this record: it says which run was saved. A
 *     └────────────────────────┘                      file without one is somebody else's: it is told of, never used nor removed.
 *
 * NEW: complete, the mark is still to be set. THERE: marked. USED: the guest went on from it, or it was given up; the mark is to be
 * taken away, then the file. What cannot be done at once, without a quorum, is tried again. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_qemu;
struct vq_domain_info;

/* "<state>/qemu/save/NAME.save", malloc'ed. */
char *vq_managed_path(const struct vq_qemu *qemu, const char *name);
/* Make the directory. What lies there under this name and is nobody's is set aside. */
VQ_MUST_CHECK int vq_managed_make_room(struct vq_qemu *qemu, const uint8_t uuid[16], const char *path, struct vq_error *err);

/* The image of this run is in its place: record it, and have it marked. */
void vq_managed_made(struct vq_qemu *qemu, const uint8_t uuid[16], uint64_t run, const char *path);
/* Record it, and call back when the cluster's state has the mark; err: it has not, and the record is USED. */
VQ_MUST_CHECK int vq_managed_make(struct vq_qemu *qemu, const uint8_t uuid[16], uint64_t run, const char *path,
                                  void (*cb)(const struct vq_error *err, void *data), void *data, struct vq_error *err);

/* A start from it is tried: the run that it takes does not make the image an old one. */
void vq_managed_try(struct vq_qemu *qemu, const uint8_t uuid[16]);
/* The domain starts without it, and with that it is old. */
void vq_managed_pass_over(struct vq_qemu *qemu, const uint8_t uuid[16]);

enum vq_managed_look { VQ_MANAGED_NONE, VQ_MANAGED_IMAGE, VQ_MANAGED_REFUSED };
/* What a start of the domain finds. IMAGE: *ret_path (malloc'ed). REFUSED: err tells: the image was promised and cannot be used. */
enum vq_managed_look vq_managed_look(struct vq_qemu *qemu, const struct vq_domain_info *info, char **ret_path,
                                     struct vq_error *err);

/* The image is not to be used any more: from here on no start finds it. */
VQ_MUST_CHECK int vq_managed_use(struct vq_qemu *qemu, const uint8_t uuid[16], struct vq_error *err);
/* The start failed before a CPU ran: it is to be used again. */
void vq_managed_unuse(struct vq_qemu *qemu, const uint8_t uuid[16]);
/* The mark and the file of a USED one go, now or later. */
void vq_managed_clear(struct vq_qemu *qemu, const uint8_t uuid[16]);
/* Give it up and call back when the mark is gone, or cannot be taken away now. */
void vq_managed_remove(struct vq_qemu *qemu, const uint8_t uuid[16], void (*cb)(const struct vq_error *err, void *data),
                       void *data);
/* The domain is started anew: its image, if it has one here, is given up, and the mark goes. */
void vq_managed_forget(struct vq_qemu *qemu, const struct vq_domain_info *info);
/* An image that cannot be read: the file is kept under another name. */
void vq_managed_set_aside(const char *path);

/* Do what is left to be done, of all. Called now and then, and when a domain changed. */
void vq_managed_tick(struct vq_qemu *qemu);
