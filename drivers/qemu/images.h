/* Before a run: the images of its disks are looked at by a worker, chains are completed, missing media are dropped where the
 * definition allows it, and what another guest writes to is refused. */
#pragma once

#include "drivers/job.h"

struct vq_domain;
struct vq_qemu_guest;

/* Step of a start, before the nodes are numbered. */
enum vq_step_result vq_qemu_step_look(struct vq_job *job);
enum vq_step_result vq_qemu_step_look_undo(struct vq_job *job);
