/* Addresses on buses other than PCI: USB ports, virtio-serial ports. Both keep what is there, give what is missing, and
 * change nothing when run again. */
#pragma once

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_domain;

/* Errors: VIR_ERR_XML_ERROR, a port used twice, out of range, or none left. */
VQ_MUST_CHECK int vq_qemu_usb_assign(struct vq_domain *def, struct vq_error *err);
VQ_MUST_CHECK int vq_qemu_virtio_serial_assign(struct vq_domain *def, struct vq_error *err);
