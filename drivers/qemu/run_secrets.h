/* Secrets that a run's QEMU needs: passwords of servers, keys of encrypted images, cookies. Each goes to QEMU by a descriptor
 * of its own, that only QEMU holds: a command line can be read by every process of the host. */
#pragma once

#include <stddef.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_domain;
struct vq_driver_host;

struct vq_qemu_run_secret {
    char *id;                /* of the QEMU object: "libvirt-1-storage-auth-secret0" */
    int fd;                  /* of memory that holds the value */
};

struct vq_qemu_run_secrets {
    struct vq_qemu_run_secret *items;
    size_t n_items;
};

/* What the disks of a running definition (with numbered nodes) need. Errors: VIR_ERR_NO_SECRET naming the secret. On failure
 * *secrets is as vq_qemu_run_secrets_done() wants it. */
VQ_MUST_CHECK int vq_qemu_run_secrets_fetch(struct vq_qemu_run_secrets *secrets, const struct vq_domain *live,
                                            const struct vq_driver_host *host, struct vq_error *err);
/* Descriptor of the object's value, -1: none. secrets may be NULL. */
int vq_qemu_run_secrets_find(const struct vq_qemu_run_secrets *secrets, const char *id);
/* Close and forget all; may be repeated. */
void vq_qemu_run_secrets_done(struct vq_qemu_run_secrets *secrets);
