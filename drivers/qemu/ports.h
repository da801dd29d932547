/* TCP ports of displays that want one to be chosen. */
#pragma once

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_qemu_guest;

/* Sets the ports in guest->live and remembers them in guest->ports. Errors: VIR_ERR_INTERNAL_ERROR none is free. */
VQ_MUST_CHECK int vq_qemu_ports_reserve(struct vq_qemu_guest *guest, struct vq_error *err);
