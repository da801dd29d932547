/* Does a running guest notice when it goes on with another definition? For migration and for restoring a saved guest. */
#pragma once

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_domain;

/* Compare what the guest sees of its hardware: everything but what is known to be the host's own affair (images, bridges,
 * caches, names, tuning ...: a table). Both filled; devices are compared in their order.
 *
 * Errors: VIR_ERR_CONFIG_UNSUPPORTED naming the first thing that differs, with both values. */
VQ_MUST_CHECK int vq_domain_abi_check(const struct vq_domain *source, const struct vq_domain *destination,
                                      struct vq_error *err);
