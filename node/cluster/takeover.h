/* Definitions whose owner is not a member any more get another one.
 *
 * The owner of a domain is the only node that runs it, and unreachable is no proof that it does not. So a domain is only taken from
 * a node that was removed, by which somebody has said that its guests have stopped. A removed node that is up stands alone
 * with its guests: whoever has heard of one since its removal remembers that, and refuses. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/base/error.h"

struct vq_cluster;
struct vq_domain_head;

/* A node that is not in the table has been in contact. */
void vq_takeover_heard(struct vq_cluster *cluster, uint64_t node);
/* May this node become the owner? 0 yes, -1 no: VIR_ERR_OPERATION_DENIED with the reason. is_forced: also when the old one was heard
 * of after it was removed. */
VQ_MUST_CHECK int vq_takeover_check(const struct vq_cluster *cluster, const struct vq_domain_head *head, bool is_forced,
                                    struct vq_error *err);
