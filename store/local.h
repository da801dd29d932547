/* The node's own state in LMDB, not replicated: identity, and a record for each effect that outlives the process.
 *
 * Used by the node loop only. put() is on disk as far as a killed process is concerned when it returns (no flush: a host
 * that crashes takes its guests along, and the boot id tells). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"

struct vq_local;

VQ_MUST_CHECK int vq_local_open(const char *dir, struct vq_local **ret, struct vq_error *err);
void vq_local_close(struct vq_local *local);

/* Records are grouped by table ("qemu.run"), then key. The value is any bytes. flush: on disk for good (identity). */
VQ_MUST_CHECK int vq_local_put(struct vq_local *local, const char *table, const void *key, size_t key_length,
                               const void *value, size_t length, bool flush, struct vq_error *err);
VQ_MUST_CHECK int vq_local_delete(struct vq_local *local, const char *table, const void *key, size_t key_length,
                                  struct vq_error *err);
/* malloc'ed copy for the caller; 1 found, 0 none, -1 error. */
VQ_MUST_CHECK int vq_local_get(struct vq_local *local, const char *table, const void *key, size_t key_length,
                               void **ret_value, size_t *ret_length, struct vq_error *err);
/* Calls back for each record; it may delete the one it is called with. Non-zero from the callback stops. */
typedef int (*vq_local_each_cb)(const void *key, size_t key_length, const void *value, size_t length, void *data);
VQ_MUST_CHECK int vq_local_each(struct vq_local *local, const char *table, vq_local_each_cb cb, void *data,
                                struct vq_error *err);
