/* From what a user wrote to what QEMU can run: defaults, checks, addresses, aliases. Pure functions on struct vq_domain. */
#pragma once

#include <stdint.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_domain;
struct vq_qemu_capabilities;

/* Chooses what the definition leaves open, so that the same guest comes up again next time: UUID, MACs, machine type
 * in full ("pc-q35-7.2"), emulator, controllers, addresses. Then checks that this emulator can run it. Filling what is
 * full changes nothing.
 *
 * random     as host->random
 *
 * Errors: VIR_ERR_CONFIG_UNSUPPORTED, VIR_ERR_XML_ERROR, naming the device. */
VQ_MUST_CHECK int vq_qemu_definition_fill(struct vq_domain *def, const struct vq_qemu_capabilities *caps,
                                          void (*random)(void *bytes, size_t length), struct vq_error *err);

/* Parts of filling, in files of their own: what the machine leaves open; what may not be. */
void vq_qemu_definition_fill_machine(struct vq_domain *def);
VQ_MUST_CHECK int vq_qemu_definition_check(const struct vq_domain *def, const struct vq_qemu_capabilities *caps,
                                           struct vq_error *err);
VQ_MUST_CHECK int vq_qemu_definition_check_devices(const struct vq_domain *def, const struct vq_qemu_capabilities *caps,
                                                   struct vq_error *err);

/* A run of the domain begins: the copy gets what only a running one has: its id, the device aliases ("net0",
 * "virtio-disk0", "serial0", "ua-..." of the user) that the command line and QMP use, numbers of the block nodes, and
 * paths of sockets that the definition leaves to us, which lie in dir (the runtime directory of this run). */
VQ_MUST_CHECK int vq_qemu_definition_begin_run(struct vq_domain *live, int32_t id, const char *dir,
                                               struct vq_error *err);
