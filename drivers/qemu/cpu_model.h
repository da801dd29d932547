/* CPUs as sets of features, and the models that come near them. Pure: no I/O. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "drivers/qemu/cpu_data.h"

enum { VQ_CPU_SET_WORDS = 6, VQ_CPU_VENDOR_BYTES = 32 };

/* Bit n is vq_cpu_features[n]. */
struct vq_cpu_set {
    uint64_t words[VQ_CPU_SET_WORDS];
};
bool vq_cpu_set_has(const struct vq_cpu_set *set, size_t feature);
void vq_cpu_set_put(struct vq_cpu_set *set, size_t feature, bool is_in);
void vq_cpu_set_join(struct vq_cpu_set *set, const struct vq_cpu_set *other);
void vq_cpu_set_keep(struct vq_cpu_set *set, const struct vq_cpu_set *other); /* what both have */
void vq_cpu_set_remove(struct vq_cpu_set *set, const struct vq_cpu_set *other);
size_t vq_cpu_set_count(const struct vq_cpu_set *set);
bool vq_cpu_set_is_within(const struct vq_cpu_set *set, const struct vq_cpu_set *other);

/* By a client's or QEMU's name; -1: unknown. */
int vq_cpu_feature_find(const char *name);
/* QEMU's name of a feature by a client's; unknown names are their own. */
const char *vq_cpu_feature_for_qemu(const char *name);
/* May a guest that is to be moved have it? */
bool vq_cpu_feature_is_migratable(size_t feature);

/* NULL: unknown. */
const struct vq_cpu_model_fact *vq_cpu_model_find(const char *name);
const struct vq_cpu_set *vq_cpu_model_features(const struct vq_cpu_model_fact *model);

/* One CPU: of this host, of an emulator, or asked for. */
struct vq_cpu_facts {
    char vendor[VQ_CPU_VENDOR_BYTES]; /* "AMD"; "": not said */
    uint32_t family, model, stepping; /* 0, 0, 0: not said */
    struct vq_cpu_set features;
};

struct vq_cpu_choice {
    const struct vq_cpu_model_fact *model;
    struct vq_cpu_set extra;   /* beyond the model */
    struct vq_cpu_set lacking; /* of the model, that the CPU has not */
};
/* The model that says most about the CPU: of its very family and model number, else the one that needs the fewest
 * features named beside it. is_whole: only models of which nothing is lacking. allowed: NULL, or which models may be
 * taken. False: none. */
typedef bool (*vq_cpu_allowed_fn)(const char *model, void *data);
bool vq_cpu_choose(const struct vq_cpu_facts *cpu, bool is_whole, vq_cpu_allowed_fn allowed, void *data,
                   struct vq_cpu_choice *ret);
/* What the model says and what it does not. */
void vq_cpu_describe(const struct vq_cpu_facts *cpu, const struct vq_cpu_model_fact *model, struct vq_cpu_choice *ret);
