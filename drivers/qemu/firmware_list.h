/* Firmware that is installed on this host, as its packages describe it. Reference: QEMU, docs/interop/firmware.json. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

struct vq_qemu_firmware_list {
    char **paths; /* of flash images that the machine can boot from, best first */
    size_t n_paths;
    bool has_secure; /* one of them keeps its variables from the guest: it needs SMM */
};

/* root: "" or, for tests, a directory that has etc and usr. machine: its full name, "pc-q35-7.2". A description that
 * makes no sense is left out; one in /etc/qemu/firmware stands for that of the same name in /usr/share, an empty one
 * for none. */
void vq_qemu_firmware_list_read(const char *root, const char *arch, const char *machine,
                                struct vq_qemu_firmware_list *ret);
void vq_qemu_firmware_list_done(struct vq_qemu_firmware_list *list);
