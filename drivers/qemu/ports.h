/* TCP ports of displays that want one to be chosen, and of migrations. */
#pragma once

#include <stdint.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_qemu_guest;

/* Sets the ports in guest->live and remembers them in guest->ports. Errors: VIR_ERR_INTERNAL_ERROR none is free. */
VQ_MUST_CHECK int vq_qemu_ports_reserve(struct vq_qemu_guest *guest, struct vq_error *err);

/* For data that come: the next free one of the settings' range, remembered in guest->ports. */
VQ_MUST_CHECK int vq_qemu_ports_take_for_migration(struct vq_qemu_guest *guest, uint16_t *ret_port, struct vq_error *err);
/* They have come: only the ports of displays stay the guest's. */
void vq_qemu_ports_keep_displays(struct vq_qemu_guest *guest);
