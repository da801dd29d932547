/* The hypervisor drivers that are compiled in; the first one serves clients that name none. */
#pragma once

#include <stddef.h>

struct vq_driver;

extern struct vq_driver *const vq_drivers[];
extern const size_t vq_n_drivers;
