/* What an agent says of disks and interfaces, read with doubt. Every field may be missing or be anything. */
#pragma once

#include <jansson.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_arena;
struct vq_qemu_guest;
struct vq_remote_domain_fsinfo;
struct vq_remote_domain_interface;

/* The text of a member; NULL: it is missing or no text. */
const char *vq_agent_text(json_t *object, const char *name);

/* The target ("vda") of the definition's disk at this address inside the guest (GuestDiskAddress); NULL: none. */
const char *vq_agent_disk_target(const struct vq_qemu_guest *guest, json_t *disk);

/* An answer to guest-get-fsinfo has the shape that it must have: -1 and err tell what is missing. */
VQ_MUST_CHECK int vq_agent_filesystems_check(json_t *filesystems, struct vq_error *err);

/* An answer to guest-network-get-interfaces; interfaces of one name ("eth0", "eth0:1") are one. Memory of the arena.
 * Errors: VIR_ERR_INTERNAL_ERROR what is missing; VIR_ERR_RPC more than the protocol takes; VIR_ERR_NO_MEMORY. */
VQ_MUST_CHECK int vq_agent_interfaces_read(json_t *answer, struct vq_arena *arena, struct vq_remote_domain_interface **ret_interfaces,
                                           uint32_t *ret_n, struct vq_error *err);
