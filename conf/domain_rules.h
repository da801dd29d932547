/* Rules of a domain between its fields. Inside conf/domain*.c; others see them through vq_domain_fill(). */
#pragma once

#include "conf/device_fields.h"
#include "conf/domain.h"

/* The name and what else must be there before anything is filled in. */
VQ_MUST_CHECK int vq_domain_check_names(const struct vq_domain *domain, struct vq_error *err);
VQ_MUST_CHECK int vq_domain_fill_disk(struct vq_disk *disk, struct vq_error *err);
/* The cells have the numbers of their places. */
void vq_domain_fill_distances(struct vq_cpu *cpu);
/* The end of a socket that is not named, and what goes over it. */
void vq_domain_fill_chardev(struct vq_chardev *source);
/* Defaults of devices one by one, when disks, controllers, ports and graphics have theirs. */
void vq_domain_fill_devices(struct vq_domain *domain, const struct vq_domain_fill *fill);
/* All other rules; the domain is filled. */
VQ_MUST_CHECK int vq_domain_check(const struct vq_domain *domain, struct vq_error *err);
