/* May this caller make this call: read from the procedure's row alone. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "proto/procedure.h"

struct vq_caller;

/* args NULL: before they are decoded; then once more with them, for what only they tell.
 * Errors: VIR_ERR_OPERATION_DENIED. */
VQ_MUST_CHECK int vq_rights_check(const struct vq_procedure *procedure, const struct vq_caller *caller,
                                  const void *args, struct vq_error *err);
/* The error domain that clients know a procedure's refusals by. */
int vq_rights_error_domain(const struct vq_procedure *procedure);
