/* A guest that starts from a saved image. The steps are those of every start (start.c), with one more: "load what was saved". */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "drivers/job.h"

struct vq_domain_info;
struct vq_qemu;
struct vq_qemu_guest;
struct vq_qemu_start_options;
struct vq_request;
struct vq_restoring;

struct vq_restore_options {
    const char *path;
    const char *xml;         /* a definition that the guest cannot tell from the image's; NULL: the image's */
    bool runs, pauses;       /* whatever the image says */
    bool bypasses_cache;
};
/* For restore: whatever domain the image is of. The request is answered. */
void vq_restore(struct vq_request *request, const struct vq_restore_options *options);

/* Start a domain of this node: from its managed save image where it has one. force_boot: which goes then. request: NULL: nobody
 * waits. */
void vq_restore_or_start(struct vq_qemu *qemu, const struct vq_domain_info *info, const struct vq_qemu_start_options *options,
                         bool force_boot, bool bypasses_cache, struct vq_request *request);

/* ---- For the steps of a start; guest->restoring NULL: an ordinary one ---- */

void vq_restoring_free(struct vq_restoring *restoring);
/* Will QEMU be told to load? It is then started waiting. */
bool vq_restore_is_loading(const struct vq_qemu_guest *guest);
enum vq_step_result vq_restore_load(struct vq_job *job);
enum vq_step_result vq_restore_load_undo(struct vq_job *job);
/* The CPUs are about to run, which the record says: the image of a managed save is never used again. */
VQ_MUST_CHECK int vq_restore_use(struct vq_qemu_guest *guest, struct vq_error *err);
/* It runs: tell of it. */
void vq_restore_publish(struct vq_qemu_guest *guest);
/* True: the event is about the loading alone. */
bool vq_restore_event(struct vq_qemu_guest *guest, const char *name, const json_t *data);

json_t *vq_restore_pack(const struct vq_restoring *restoring);
struct vq_restoring *vq_restore_unpack(const json_t *object);
/* A later daemon found it, with everything loaded: what is left to be done but for the CPUs. */
void vq_restore_found(struct vq_qemu_guest *guest);
