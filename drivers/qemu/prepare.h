/* What the host must have, or gets ready, before QEMU runs: firmware and its variables, pages, host devices, numbers. */
#pragma once

#include "drivers/job.h"

/* Choose the firmware, and make the store of its variables from the template at the first start. */
enum vq_step_result vq_qemu_step_firmware(struct vq_job *job);
enum vq_step_result vq_qemu_step_firmware_undo(struct vq_job *job);
/* Find the host devices of the definition, and check that nobody else has them; the same for pages and numbers. */
enum vq_step_result vq_qemu_step_host(struct vq_job *job);
enum vq_step_result vq_qemu_step_host_undo(struct vq_job *job);
