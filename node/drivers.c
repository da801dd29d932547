/* The hypervisor drivers: one row each. */
#include "node/drivers.h"

#include "conf/base/macros.h"
#include "drivers/driver.h"

extern struct vq_driver vq_qemu_driver; /* drivers/qemu/driver.h, which shows more of it than we may see */

struct vq_driver *const vq_drivers[] = {
    &vq_qemu_driver,
};
const size_t vq_n_drivers = VQ_N_ELEMENTS(vq_drivers);
