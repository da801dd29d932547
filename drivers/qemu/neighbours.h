/* The kernel's table of neighbours: which addresses were seen behind which hardware addresses. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_neighbour {
    int family;              /* AF_INET, AF_INET6 */
    uint8_t mac[6];
    char address[46];
};

enum { VQ_NEIGHBOURS_MAX = 65536 };

/* All of this host's. *ret_list is malloc'ed. */
VQ_MUST_CHECK int vq_neighbours_read(struct vq_neighbour **ret_list, size_t *ret_n, struct vq_error *err);
