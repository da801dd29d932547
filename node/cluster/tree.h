/* Directories of this node's own state as wholes: copied, removed, flushed. Blocking: for work without a loop. */
#pragma once

#include "conf/base/error.h"

/* The regular files directly in `from` to the new directory `to`, flushed; subdirectories stay behind. */
VQ_MUST_CHECK int vq_tree_copy_files(const char *from, const char *to, struct vq_error *err);
/* With all that is in it, never through links; that it is not there is fine. */
VQ_MUST_CHECK int vq_tree_remove(const char *path, struct vq_error *err);
VQ_MUST_CHECK int vq_tree_sync(const char *dir, struct vq_error *err); /* the names in it are on disk */
