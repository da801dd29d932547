/* The feature level that all members have in common (proto/level.h). */
#pragma once

#include <stdint.h>

#include "conf/base/error.h"

struct vq_daemon;
struct vq_store_view;
typedef struct Vq__Command Vq__Command;

uint32_t vq_level_own(void); /* what this node says of itself */
/* Of the members in the table; of this node alone when there are none. */
uint32_t vq_level_common(struct vq_store_view *view);
/* May the command be proposed? VIR_ERR_OPERATION_UNSUPPORTED, naming the node that has to be upgraded. */
VQ_MUST_CHECK int vq_level_check(const struct vq_daemon *daemon, const Vq__Command *command, struct vq_error *err);
