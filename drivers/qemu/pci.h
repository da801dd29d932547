/* PCI addresses: who sits where, and the buses that grow with it. */
#pragma once

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_domain;

/* Give every PCI device of the definition an address, keeping those it has; adds root ports and bridges as needed, and
 * on PCI Express machines one empty root port for a device to be plugged in later. The PCI controller with index 0
 * must be there on a machine with PCI, and of the model root_model ("pci-root", "pcie-root"). Running it again changes
 * nothing.
 *
 * Errors: VIR_ERR_XML_ERROR, an address used twice or impossible, naming it. */
VQ_MUST_CHECK int vq_qemu_pci_assign(struct vq_domain *def, const char *root_model, struct vq_error *err);

/* True when the machine's root bus is PCI Express ("q35", "virt"); by the pci controller with index 0. */
bool vq_qemu_pci_is_express(const struct vq_domain *def);
