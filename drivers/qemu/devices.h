/* Small facts about devices that several files of the driver ask for. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/domain.h"

/* Append a controller with this index, of type and model (NULL: to be chosen). Returned pointer stays the list's. */
struct vq_controller *vq_qemu_add_controller(struct vq_domain *def, enum vq_controller_type type, uint32_t index,
                                             const char *model);
struct vq_controller *vq_qemu_find_controller(const struct vq_domain *def, enum vq_controller_type type,
                                              uint32_t index);

bool vq_qemu_balloon_is_present(const struct vq_memballoon *balloon);
bool vq_qemu_sound_is_pci(const struct vq_sound *sound);
bool vq_qemu_sound_has_codec(const struct vq_sound *sound); /* an HDA controller: needs a codec behind it */

bool vq_qemu_filesystem_is_virtiofs(const struct vq_filesystem *fs);

/* Sockets of programs that run beside QEMU, in the run's directory; malloc'ed. */
char *vq_qemu_virtiofs_socket(const struct vq_filesystem *fs, const char *dir);
char *vq_qemu_tpm_socket(const char *dir);

/* The name of a SCSI controller's device, NULL for a model that is not known. */
const char *vq_qemu_scsi_device(const char *model);
bool vq_qemu_scsi_has_no_lun(const char *model); /* an old parallel bus: a unit is an id on the bus */

enum {
    VQ_QEMU_VIRTIO_SERIAL_PORTS = 31, /* of a virtio-serial controller that does not say */
    VQ_QEMU_CONTROLLERS_MAX = 512,
};
