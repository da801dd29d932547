/* The directory of the log, and the mark beside it that outlives it: this node had data under this id.
 *
 * A node that comes back with an empty log would vote again in terms it has voted in, and be counted for entries it has
 * lost. So an emptied directory is never used under its old id. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/base/error.h"

VQ_MUST_CHECK int vq_directory_make(const char *dir, struct vq_error *err);
/* 1 holds a log, 0 empty, -1 error. */
VQ_MUST_CHECK int vq_directory_has_log(const char *dir, struct vq_error *err);
/* Of a node that founds a cluster and has no mark yet: it died while it made its log, which then has a term but no
 * membership, and would never lead. 1 empty from now on; 0 it holds more than a beginning, and is left alone; -1 error. */
VQ_MUST_CHECK int vq_directory_clear_beginning(const char *dir, struct vq_error *err);
/* The mark "<dir>.known": did this id ever have data here. */
bool vq_directory_is_known(const char *dir, uint64_t node_id);
VQ_MUST_CHECK int vq_directory_mark_known(const char *dir, uint64_t node_id, struct vq_error *err);
