/* Leases of this host's networks: see leases.h. */
#include "drivers/qemu/leases.h"

/* Bridges that others made have DHCP servers of others, whose leases are not ours to read; and the daemon runs no networks. */
size_t vq_qemu_leases_of(const struct vq_qemu *qemu, const struct vq_interface *interface, struct vq_qemu_lease *ret_leases,
                         size_t max)
{
    (void)qemu;
    (void)interface;
    (void)ret_leases;
    (void)max;
    return 0;
}
