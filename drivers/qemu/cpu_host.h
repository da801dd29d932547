/* The CPU of this host, as its own instruction tells it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "drivers/qemu/cpu_model.h"

/* eax, ebx, ecx, edx of one leaf; all zero when the CPU has no such leaf. */
typedef void (*vq_cpuid_fn)(uint32_t leaf, uint32_t subleaf, uint32_t ret_registers[4]);

/* This machine's; on other architectures everything is zero. */
void vq_cpuid_here(uint32_t leaf, uint32_t subleaf, uint32_t ret_registers[4]);
/* Vendor, signature and features. */
void vq_cpu_host_read(vq_cpuid_fn cpuid, struct vq_cpu_facts *ret);

struct vq_host_clock {
    bool is_known;
    uint64_t hz;
    bool scales; /* guests can have another pace */
};

/* The pace of the time stamp counter, as KVM has measured it. Blocks for some milliseconds: for the thread pool. False:
 * KVM cannot tell. */
bool vq_cpu_host_tsc(uint64_t *ret_hz, bool *ret_scales);
/* The most vCPUs of a guest under KVM. False: /dev/kvm cannot be opened, errno says why. */
bool vq_cpu_host_kvm_vcpus(uint32_t *ret_n);
