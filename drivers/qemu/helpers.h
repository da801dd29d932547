/* Programs that run beside a guest's QEMU and end with it: swtpm for an emulated TPM, virtiofsd for a shared directory.
 *
 * Each is a child of its own with a record, as QEMU itself: it lives on when the daemon ends, is recognised by a later one, and
 * is gone when the guest's run is. It listens on a socket that was made for it before, so that nobody waits for it. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"
#include "drivers/job.h"

struct vq_domain;
struct vq_process;
struct vq_qemu_guest;

enum { VQ_GUEST_HELPERS_MAX = 32 };

struct vq_qemu_helper {
    struct vq_qemu_guest *guest;
    char name[64];             /* "swtpm", "virtiofsd-fs0": of log lines and errors */
    struct vq_process *process; /* NULL: none, or it has ended */
    pid_t pid;
    uint64_t start_time;
};

/* Where an emulated TPM keeps what its guest entrusted to it: "/var/lib/libvirt/swtpm/UUID"; malloc'ed. */
char *vq_qemu_tpm_dir(const char *state_dir, const uint8_t uuid[16]);
/* Remove that directory; true when it is gone, also when it never was. */
bool vq_qemu_tpm_remove(const char *state_dir, const uint8_t uuid[16]);

/* Make the TPM's state when the guest starts for the first time: a run of swtpm_setup, waited for. */
enum vq_step_result vq_qemu_step_tpm(struct vq_job *job);
enum vq_step_result vq_qemu_step_tpm_undo(struct vq_job *job);
/* Run them all, before QEMU. Undone, they are told to end, and waited for. */
enum vq_step_result vq_qemu_step_helpers(struct vq_job *job);
enum vq_step_result vq_qemu_step_helpers_undo(struct vq_job *job);

/* The record's part. */
json_t *vq_qemu_helpers_pack(const struct vq_qemu_guest *guest);
void vq_qemu_helpers_unpack(const json_t *list, struct vq_qemu_guest *guest);
/* After a restart of the daemon: those that still run are held again. */
void vq_qemu_helpers_adopt(struct vq_qemu_guest *guest);
/* The guest's object goes. */
void vq_qemu_helpers_done(struct vq_qemu_guest *guest);
