/* Firmware: which files a guest boots with, chosen by the descriptors that packagers install (QEMU's docs/interop/firmware.json),
 * and the store of its variables, made from a template at its first start. */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_domain;
struct vq_qemu_firmwares;
struct vq_qemu_guest;

#define VQ_QEMU_NVRAM_DIR "/var/lib/libvirt/qemu/nvram"

/* Directories in the order of their precedence: a file in an earlier one hides that of the same name in later ones, and an
 * empty file only hides. A descriptor that cannot be read is left out, with a line in the log. */
struct vq_qemu_firmwares *vq_qemu_firmwares_read(const char *const *dirs, size_t n_dirs);
void vq_qemu_firmwares_free(struct vq_qemu_firmwares *firmwares);
VQ_DEFINE_AUTOPTR(vq_qemu_firmwares);
/* Those of this host: /etc/qemu/firmware before /usr/share/qemu/firmware. */
struct vq_qemu_firmwares *vq_qemu_firmwares_of_host(void);

/* Fills what <os> leaves open: loader, NVRAM, its template; and
 * what the chosen one needs (SMM). A definition that names its loader keeps it, and gets only the template.
 *
 * Errors: VIR_ERR_OPERATION_FAILED "Unable to find any firmware to satisfy 'efi'". */
VQ_MUST_CHECK int vq_qemu_firmware_choose(struct vq_domain *def, const struct vq_qemu_firmwares *firmwares,
                                          struct vq_error *err);

/* "<nvram dir>/NAME_VARS.fd", malloc'ed. */
char *vq_qemu_nvram_path(const char *name);

/* Make the store of variables from its template when it is not there yet (or reset is set). Called on a thread of the pool:
 * knows nothing but its arguments. uid, gid: to whom it belongs; has_owner false: to ourselves.
 *
 * Errors: VIR_ERR_SYSTEM_ERROR, VIR_ERR_OPERATION_FAILED "unable to find any master var store for loader: ...". */
VQ_MUST_CHECK int vq_qemu_nvram_create(const char *path, const char *template_path, const char *loader, bool reset,
                                       bool has_owner, unsigned uid, unsigned gid, struct vq_error *err);
