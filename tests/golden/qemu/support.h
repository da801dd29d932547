/* Cases of XML and an emulator that is always the same, for tests of the QEMU driver's definitions. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"

struct vq_domain;
struct vq_qemu_capabilities;
struct vq_qemu_firmwares;
struct vq_qemu_queues;
struct vq_qemu_run_secrets;

/* A QEMU 7.2 for x86_64 as its packagers built it, with KVM; never freed. */
const struct vq_qemu_capabilities *golden_capabilities(void);
/* That one, or a QEMU for aarch64 as this definition asks. */
const struct vq_qemu_capabilities *golden_capabilities_of(const struct vq_domain *def);
/* The same bytes in each run: 0x10, 0x11 ... from where golden_random_reset() last set it back. */
void golden_random(void *bytes, size_t length);
void golden_random_reset(void);

/* Descriptors of firmware as a host may have them; of the whole test, never freed. */
struct vq_qemu_firmwares *golden_firmwares(void);

/* Names of the cases ("disk_virtio") in alphabetical order, NULL at the end; freed by the caller with each name. */
char **golden_cases(const char *dir);
/* A file's whole text, NULL: there is none. */
char *golden_read(const char *dir, const char *name, const char *suffix);
void golden_write(const char *dir, const char *name, const char *suffix, const char *text);
void golden_remove(const char *dir, const char *name, const char *suffix);

/* Numbers that a run would choose: ports of displays from 5900, a descriptor for each queue of an interface from first_fd. */
void golden_choose_numbers(struct vq_domain *live, struct vq_qemu_queues *taps, int first_fd);

/* Secrets as a host with all of them would give: each is "secret". first_fd >= 0: descriptors are only numbers, from there on. */
void golden_secrets(struct vq_qemu_run_secrets *secrets, const struct vq_domain *live, int first_fd);
void golden_secrets_done(struct vq_qemu_run_secrets *secrets, int first_fd);
