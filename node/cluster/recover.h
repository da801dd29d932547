/* Recovery of a node that cannot go on: its log is damaged or gone, or the majority of its cluster is lost for good. It
 * becomes the only node of its cluster, with what it has. Nothing else may run in the state directory meanwhile.
 *
 * All work is done on copies in <state>/recovering; what was there before is moved to <state>/before-recovery-TIME in the
 * last step, and never deleted. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/base/error.h"

struct vq_recovery;

struct vq_recovery_findings {
    const char *node;          /* its name */
    const char *cluster;       /* NULL: it stood alone */
    const char *others;        /* "node1, node2": nodes that are taken out; NULL: none */
    uint64_t stored;           /* changes that the store held */
    uint64_t recovered;        /* with those that only the log had */
    const char *log_problem;   /* NULL: the log could be read to its end */
    uint32_t domains, domains_of_others;
    bool was_interrupted;      /* all is prepared since an earlier run, only the last step is missing; the rest is not set */
};

/* Refused while a daemon runs there. Reads what is left and makes the copies; changes nothing of the node's. */
VQ_MUST_CHECK int vq_recovery_prepare(const char *state_dir, struct vq_recovery **ret, struct vq_error *err);
const struct vq_recovery_findings *vq_recovery_findings(const struct vq_recovery *recovery);
/* The copies take the places. ret_aside: where what they replaced is now; malloc'ed. An accident here is mended by
 * another prepare and finish; the daemon does not start before that. */
VQ_MUST_CHECK int vq_recovery_finish(struct vq_recovery *recovery, char **ret_aside, struct vq_error *err);
void vq_recovery_free(struct vq_recovery *recovery); /* unfinished: the copies go */

/* At the start of the daemon: refuses a state directory in which a recovery was interrupted. */
VQ_MUST_CHECK int vq_recovery_check(const char *state_dir, struct vq_error *err);
