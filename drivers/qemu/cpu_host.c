/* CPUID, and the pace of the clock. */
#include "drivers/qemu/cpu_host.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>
#if defined(__x86_64__) || defined(__i386__)
#include <cpuid.h>
#endif
#include <linux/kvm.h>

#include "conf/base/macros.h"
#include "conf/base/memory.h"

void vq_cpuid_here(uint32_t leaf, uint32_t subleaf, uint32_t ret_registers[4])
{
    memset(ret_registers, 0, 4 * sizeof(*ret_registers));
#if defined(__x86_64__) || defined(__i386__)
    if (leaf <= (uint32_t)__get_cpuid_max(leaf & 0x80000000u, NULL))
        __cpuid_count(leaf, subleaf, ret_registers[0], ret_registers[1], ret_registers[2], ret_registers[3]);
#else
    (void)leaf;
    (void)subleaf;
#endif
}

static void read_vendor(const uint32_t registers[4], char *vendor)
{
    static const struct {
        const char *id, *name;
    } vendors[] = {{"GenuineIntel", "Intel"}, {"AuthenticAMD", "AMD"}, {"HygonGenuine", "Hygon"}};
    char id[13];

    memcpy(id, &registers[VQ_CPUID_EBX], 4);
    memcpy(id + 4, &registers[VQ_CPUID_EDX], 4);
    memcpy(id + 8, &registers[VQ_CPUID_ECX], 4);
    id[12] = '\0';
    for (size_t i = 0; i < VQ_N_ELEMENTS(vendors); i++)
        if (strcmp(vendors[i].id, id) == 0)
            (void)snprintf(vendor, VQ_CPU_VENDOR_BYTES, "%s", vendors[i].name);
}

/* Family 15 and model numbers above 15 have their upper bits elsewhere. Reference: Intel's manual, CPUID leaf 1. */
static void read_signature(uint32_t eax, struct vq_cpu_facts *cpu)
{
    uint32_t family = eax >> 8 & 0xf, model = eax >> 4 & 0xf;

    cpu->stepping = eax & 0xf;
    cpu->family = family == 15 ? family + (eax >> 20 & 0xff) : family;
    cpu->model = family == 6 || family == 15 ? model | (eax >> 16 & 0xf) << 4 : model;
}

void vq_cpu_host_read(vq_cpuid_fn cpuid, struct vq_cpu_facts *ret)
{
    uint32_t registers[4];

    memset(ret, 0, sizeof(*ret));
    cpuid(0, 0, registers);
    read_vendor(registers, ret->vendor);
    cpuid(1, 0, registers);
    read_signature(registers[VQ_CPUID_EAX], ret);
    for (size_t i = 0; i < vq_n_cpu_features; i++) {
        const struct vq_cpu_feature_fact *feature = &vq_cpu_features[i];
        if (feature->reg == VQ_CPUID_NONE)
            continue;
        cpuid(feature->leaf, feature->subleaf, registers);
        vq_cpu_set_put(&ret->features, i, (registers[feature->reg] >> feature->bit & 1) != 0);
    }
}

bool vq_cpu_host_tsc(uint64_t *ret_hz, bool *ret_scales)
{
    VQ_AUTOCLOSE int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);

    if (kvm < 0 || ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_GET_TSC_KHZ) <= 0)
        return false;
    *ret_scales = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_TSC_CONTROL) > 0;
    VQ_AUTOCLOSE int machine = ioctl(kvm, KVM_CREATE_VM, 0);
    VQ_AUTOCLOSE int cpu = machine < 0 ? -1 : ioctl(machine, KVM_CREATE_VCPU, 0);
    int khz = cpu < 0 ? -1 : ioctl(cpu, KVM_GET_TSC_KHZ, 0);
    if (khz <= 0)
        return false;
    *ret_hz = (uint64_t)khz * 1000;
    return true;
}

bool vq_cpu_host_kvm_vcpus(uint32_t *ret_n)
{
    enum { FIRST_KERNELS = 4 }; /* what those meant that could not say */
    VQ_AUTOCLOSE int kvm = open("/dev/kvm", O_RDWR | O_CLOEXEC);
    int n;

    if (kvm < 0)
        return false;
    n = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_MAX_VCPUS);
    if (n <= 0)
        n = ioctl(kvm, KVM_CHECK_EXTENSION, KVM_CAP_NR_VCPUS);
    *ret_n = n > 0 ? (uint32_t)n : FIRST_KERNELS;
    return true;
}
