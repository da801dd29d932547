/* Facts about x86 CPUs: features with their places in CPUID, and the models that QEMU knows. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum vq_cpuid_register { VQ_CPUID_EAX, VQ_CPUID_EBX, VQ_CPUID_ECX, VQ_CPUID_EDX, VQ_CPUID_NONE };

struct vq_cpu_feature_fact {
    const char *name;      /* as clients spell it: "pclmuldq" */
    const char *qemu_name; /* as QEMU spells it; NULL: the same */
    uint32_t leaf, subleaf;
    enum vq_cpuid_register reg; /* VQ_CPUID_NONE: in a register that programs cannot read */
    uint8_t bit;
};
extern const struct vq_cpu_feature_fact vq_cpu_features[]; /* in the order in which they are told */
extern const size_t vq_n_cpu_features;

struct vq_cpu_model_fact {
    const char *name;
    const char *vendor; /* "AMD"; NULL: anybody's */
    uint32_t family, model, stepping;
    const char *features; /* names with blanks between */
};
extern const struct vq_cpu_model_fact vq_cpu_models[];
extern const size_t vq_n_cpu_models;
