/* What can be set of this host's memory: pages that are set aside, and the merging of equal ones (KSM). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "proto/xdr.h"

enum { VQ_KSM_MAX = 8 };

/* What the kernel has of it; the count. Root "" or, for tests, a directory that has sys. */
size_t vq_host_ksm_get(const char *root, struct vq_typed_param params[VQ_KSM_MAX]);
/* Errors: VIR_ERR_ARGUMENT_UNSUPPORTED no such setting, or it is only told; VIR_ERR_INVALID_ARG not of its type;
 * VIR_ERR_SYSTEM_ERROR the kernel refuses it. Nothing is set unless all of them are good settings. */
VQ_MUST_CHECK int vq_host_ksm_set(const char *root, const struct vq_typed_param *params, size_t n_params,
                                  struct vq_error *err);

/* Set aside count pages of that size on the cell, as their number or, with is_more, beside those that there are.
 * Errors: VIR_ERR_OPERATION_FAILED no such pages, or the kernel had not memory enough for all of them. */
VQ_MUST_CHECK int vq_host_pages_set(const char *root, int cell, unsigned page_kib, uint64_t count, bool is_more,
                                    struct vq_error *err);
