/* What connect_get_domain_capabilities tells: what a guest of one emulator, machine and type may have. */
#pragma once

#include <stdbool.h>

struct vq_qemu_capabilities;
struct vq_qemu_firmware_list;

/* What this host has beside the emulator. */
struct vq_qemu_host_offers {
    const struct vq_qemu_firmware_list *firmware; /* for the architecture and machine */
    bool has_swtpm;          /* TPMs are emulated by it */
    bool has_iommu;          /* PCI devices can be given away */
};
struct vq_qemu_machine;

/* The document; freed by the caller. Pure. */
char *vq_qemu_domain_capabilities_format(const struct vq_qemu_capabilities *caps, const struct vq_qemu_machine *machine,
                                         const char *arch, bool is_kvm, const struct vq_qemu_host_offers *host);
