/* Where and how the threads of a QEMU run: affinity and scheduler of vcpus, iothreads and the emulator's own. */
#pragma once

#include "conf/base/error.h"
#include "conf/base/macros.h"
#include "drivers/job.h"

struct vq_domain;

/* Ask QEMU for its threads and set them up, before the CPUs run. */
enum vq_step_result vq_qemu_step_tune(struct vq_job *job);
