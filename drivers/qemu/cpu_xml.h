/* <cpu> elements: as capabilities have them and as definitions have them. Pure. */
#pragma once

#include <stdbool.h>

#include "conf/base/buffer.h"
#include "conf/base/error.h"
#include "drivers/qemu/cpu_model.h"

struct vq_cpu;

/* A <cpu> that somebody sent. */
struct vq_cpu_description {
    char arch[32];               /* "": not said */
    char model[64];              /* "": not said */
    bool is_guest;               /* it has match or mode: what a guest asks for, not what a host has */
    bool is_strict;              /* match='strict' */
    struct vq_cpu_facts facts;   /* of the model and what is named beside it */
    struct vq_cpu_set forbidden; /* the host must not have them */
};

/* Errors: VIR_ERR_XML_ERROR, VIR_ERR_INTERNAL_ERROR "Unknown CPU model ...". is_checked: unknown elements are refused
 * too. */
VQ_MUST_CHECK int vq_cpu_description_read(const char *xml, bool is_checked, struct vq_cpu_description *ret,
                                          struct vq_error *err);

/* The host-model of a <domainCapabilities> document, and whether it is about KVM.
 * Errors: as above; VIR_ERR_CONFIG_UNSUPPORTED it has none. */
VQ_MUST_CHECK int vq_cpu_description_of_capabilities(const char *xml, struct vq_cpu_description *ret, bool *ret_is_kvm,
                                                     struct vq_error *err);

/* VIR_CPU_COMPARE_*; why, when it is INCOMPATIBLE. host_arch: of the CPU that it is compared with. */
int vq_cpu_compare(const struct vq_cpu_facts *host, const char *host_arch, const struct vq_cpu_description *wanted,
                   struct vq_buffer *ret_why);

/* What all of them have. NULL error: none. */
struct vq_cpu_baseline {
    bool is_expanded;                 /* the features of the model are listed too */
    bool is_migratable;               /* without those that a guest that moves cannot have */
    const char *fallback;             /* "allow", "forbid" */
    const struct vq_cpu_facts *limit; /* what an emulator can give; NULL: anything */
    vq_cpu_allowed_fn allowed;
    void *data;
};
/* Errors: VIR_ERR_XML_ERROR, VIR_ERR_OPERATION_FAILED they have nothing in common. */
VQ_MUST_CHECK int vq_cpu_baseline_format(const struct vq_cpu_description *cpus, size_t n_cpus,
                                         const struct vq_cpu_baseline *how, struct vq_buffer *xml,
                                         struct vq_error *err);

/* <model>, <vendor>, <feature policy=.../> of a choice, at the buffer's level. */
void vq_cpu_choice_format(const struct vq_cpu_choice *choice, const char *vendor, const char *fallback,
                          bool is_expanded, struct vq_buffer *xml);

/* The definition's host-model as the model and features that the emulator would give. False: no model fits. */
bool vq_cpu_expand_host_model(struct vq_cpu *cpu, const struct vq_cpu_facts *emulator, vq_cpu_allowed_fn allowed,
                              void *data);
