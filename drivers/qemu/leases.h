/* What the networks of this host have told a guest's interface by DHCP. */
#pragma once

#include <stddef.h>
#include <stdint.h>

struct vq_interface;
struct vq_qemu;

struct vq_qemu_lease {
    int type;                /* VIR_IP_ADDR_TYPE_* */
    char address[46];
    uint32_t prefix;
    char hostname[256];      /* "": none was told */
};

/* Up to max leases that are good now; how many. A host without a network driver of its own gives none. */
size_t vq_qemu_leases_of(const struct vq_qemu *qemu, const struct vq_interface *interface, struct vq_qemu_lease *ret_leases,
                         size_t max);
