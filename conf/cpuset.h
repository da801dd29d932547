/* Sets of small numbers as users write them: "0-3,^2,8". CPUs, NUMA nodes, vcpus. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/macros.h"

enum { VQ_CPUSET_BITS = 16384, VQ_CPUSET_WORDS = VQ_CPUSET_BITS / 64 };

struct vq_cpuset {
    uint64_t words[VQ_CPUSET_WORDS];
};

/* Ranges and single numbers separated by commas, '^' takes out again; blanks around the parts are allowed. False for
 * anything else, for numbers from limit (at most VQ_CPUSET_BITS) on, and for a set that is empty. */
bool vq_cpuset_parse(const char *text, uint32_t limit, struct vq_cpuset *ret_set) VQ_MUST_CHECK;
/* The shortest text, malloc'ed: "0-1,3,8". */
char *vq_cpuset_format(const struct vq_cpuset *set) __attribute__((returns_nonnull));

bool vq_cpuset_has(const struct vq_cpuset *set, uint32_t bit);
void vq_cpuset_add(struct vq_cpuset *set, uint32_t bit);
void vq_cpuset_remove(struct vq_cpuset *set, uint32_t bit);
uint32_t vq_cpuset_count(const struct vq_cpuset *set);
/* The first member from `from` on, or -1. */
int32_t vq_cpuset_next(const struct vq_cpuset *set, uint32_t from);
bool vq_cpuset_overlaps(const struct vq_cpuset *a, const struct vq_cpuset *b);
