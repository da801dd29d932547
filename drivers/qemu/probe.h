/* Asking an emulator what it can do, by running it without a guest; and trying whether KVM really runs one. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <uv.h>

#include "conf/base/error.h"

struct vq_qemu_capabilities;
struct vq_qemu_probe;

enum { VQ_QEMU_PROBE_MS = 15000, VQ_QEMU_KVM_TRIAL_MS = 5000 };

/* take_caps: one reference, without path and file identity; NULL when err is set. Called back once, never from inside
 * vq_qemu_probe_start(), unless cancelled. */
typedef void (*vq_qemu_probe_cb)(struct vq_qemu_capabilities *take_caps, const struct vq_error *err, void *data);
struct vq_qemu_probe *vq_qemu_probe_start(uv_loop_t *loop, const char *path, vq_qemu_probe_cb cb, void *data);
/* The same for CPUs under KVM only: of the answer, cpu_models and cpu are filled in. */
struct vq_qemu_probe *vq_qemu_probe_start_kvm(uv_loop_t *loop, const char *path, vq_qemu_probe_cb cb, void *data);
/* What a probe has heard, as it may be kept, one member for each question; borrowed while its callback runs. */
json_t *vq_qemu_probe_answers(const struct vq_qemu_probe *probe);
/* Capabilities out of kept answers. They are checked like fresh ones; NULL: they do not make sense. */
struct vq_qemu_capabilities *vq_qemu_probe_read(json_t *answers);

/* Start a PC under KVM and wait until its firmware has found nothing to boot. Where /dev/kvm exists but guests hang, that
 * does not come.
 * Called back once, never from inside, unless cancelled. problem: for people. */
typedef void (*vq_qemu_trial_cb)(bool works, const char *problem, void *data);
struct vq_qemu_probe *vq_qemu_probe_kvm(uv_loop_t *loop, const char *path, const char *arch, vq_qemu_trial_cb cb,
                                        void *data);

/* No callback but this one; the program is ended. */
void vq_qemu_probe_cancel(struct vq_qemu_probe *probe, void (*cancelled)(void *data), void *data);
