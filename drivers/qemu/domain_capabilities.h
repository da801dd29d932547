/* What connect_get_domain_capabilities tells: what a guest of one emulator, machine and type may have. */
#pragma once

#include <stdbool.h>

struct vq_qemu_capabilities;
struct vq_qemu_firmware_list;
struct vq_qemu_machine;

/* The document; freed by the caller. Pure. */
char *vq_qemu_domain_capabilities_format(const struct vq_qemu_capabilities *caps, const struct vq_qemu_machine *machine,
                                         const char *arch, bool is_kvm, const struct vq_qemu_firmware_list *firmware);
