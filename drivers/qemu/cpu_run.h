/* The CPU of a guest that is started: what its definition demands of the emulator, and what it gets in the end. */
#pragma once

#include "conf/base/error.h"

struct vq_domain;
struct vq_qemu_capabilities;

/* What a user sees with VIR_DOMAIN_XML_UPDATE_CPU: host-model and the least that is asked for as the model and features
 * that the emulator would give, optional features as had or not. Nothing changes where the emulator's CPU is not known.
 */
void vq_qemu_cpu_update(struct vq_domain *def, const struct vq_qemu_capabilities *caps);

/* The same before the command is built, and what the definition demands is checked.
 * Errors: VIR_ERR_CONFIG_UNSUPPORTED an unknown feature; VIR_ERR_CPU_INCOMPATIBLE (check='partial') and
 * VIR_ERR_OPERATION_FAILED (check='full') what the emulator cannot give is named. */
VQ_MUST_CHECK int vq_qemu_cpu_begin_run(struct vq_domain *live, const struct vq_qemu_capabilities *caps,
                                        struct vq_error *err);

/* After it was built: the live definition lists what the guest really has beyond its model, and what of it it has not.
 * Another host has to give the same. */
void vq_qemu_cpu_settle(struct vq_domain *live, const struct vq_qemu_capabilities *caps);

/* The definition for a host where the run goes on, malloc'ed, with secrets. It asks for the features that the guest has, and not for
 * exactly those: models of the same name have a feature more or less with libvirt ("qemu64" has no lahf_lm there), and it would refuse
 * the guest for what QEMU gives it on both hosts. */
char *vq_qemu_cpu_migratable_xml(const struct vq_domain *live);
