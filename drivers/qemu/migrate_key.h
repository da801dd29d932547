/* The file by which QEMU learns the key of a migration between nodes, at both ends: in the guest's directory, for QEMU's user alone. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_qemu_guest;

#define VQ_MIGRATE_KEY_USER "qemu"

/* The directory that QEMU is told of; malloc'ed. */
char *vq_migrate_key_dir(const struct vq_qemu_guest *guest);
/* VQ_MIGRATE_KEY_BYTES. One that an earlier daemon left is replaced. */
VQ_MUST_CHECK int vq_migrate_key_write(const struct vq_qemu_guest *guest, const uint8_t *key, struct vq_error *err);
void vq_migrate_key_remove(const struct vq_qemu_guest *guest);
/* Any file of the guest's directory, made anew. */
VQ_MUST_CHECK int vq_migrate_file_write(const struct vq_qemu_guest *guest, const char *name, const char *text, size_t length,
                                        struct vq_error *err);
