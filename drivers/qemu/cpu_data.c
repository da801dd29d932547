/* What QEMU 7.2.22 knows of x86 CPUs. Written by cpu_facts.py: do not edit. */
#include "drivers/qemu/cpu_data.h"

#include "conf/base/macros.h"

/* clang-format off */
const struct vq_cpu_feature_fact vq_cpu_features[] = {
    {"fpu", NULL, 0x1, 0, VQ_CPUID_EDX, 0},
    {"vme", NULL, 0x1, 0, VQ_CPUID_EDX, 1},
    {"de", NULL, 0x1, 0, VQ_CPUID_EDX, 2},
    {"pse", NULL, 0x1, 0, VQ_CPUID_EDX, 3},
    {"tsc", NULL, 0x1, 0, VQ_CPUID_EDX, 4},
    {"msr", NULL, 0x1, 0, VQ_CPUID_EDX, 5},
    {"pae", NULL, 0x1, 0, VQ_CPUID_EDX, 6},
    {"mce", NULL, 0x1, 0, VQ_CPUID_EDX, 7},
    {"cx8", NULL, 0x1, 0, VQ_CPUID_EDX, 8},
    {"apic", NULL, 0x1, 0, VQ_CPUID_EDX, 9},
    {"sep", NULL, 0x1, 0, VQ_CPUID_EDX, 11},
    {"mtrr", NULL, 0x1, 0, VQ_CPUID_EDX, 12},
    {"pge", NULL, 0x1, 0, VQ_CPUID_EDX, 13},
    {"mca", NULL, 0x1, 0, VQ_CPUID_EDX, 14},
    {"cmov", NULL, 0x1, 0, VQ_CPUID_EDX, 15},
    {"pat", NULL, 0x1, 0, VQ_CPUID_EDX, 16},
    {"pse36", NULL, 0x1, 0, VQ_CPUID_EDX, 17},
    {"pn", NULL, 0x1, 0, VQ_CPUID_EDX, 18},
    {"clflush", NULL, 0x1, 0, VQ_CPUID_EDX, 19},
    {"ds", NULL, 0x1, 0, VQ_CPUID_EDX, 21},
    {"acpi", NULL, 0x1, 0, VQ_CPUID_EDX, 22},
    {"mmx", NULL, 0x1, 0, VQ_CPUID_EDX, 23},
    {"fxsr", NULL, 0x1, 0, VQ_CPUID_EDX, 24},
    {"sse", NULL, 0x1, 0, VQ_CPUID_EDX, 25},
    {"sse2", NULL, 0x1, 0, VQ_CPUID_EDX, 26},
    {"ss", NULL, 0x1, 0, VQ_CPUID_EDX, 27},
    {"ht", NULL, 0x1, 0, VQ_CPUID_EDX, 28},
    {"tm", NULL, 0x1, 0, VQ_CPUID_EDX, 29},
    {"ia64", NULL, 0x1, 0, VQ_CPUID_EDX, 30},
    {"pbe", NULL, 0x1, 0, VQ_CPUID_EDX, 31},
    {"pni", NULL, 0x1, 0, VQ_CPUID_ECX, 0},
    {"pclmuldq", "pclmulqdq", 0x1, 0, VQ_CPUID_ECX, 1},
    {"dtes64", NULL, 0x1, 0, VQ_CPUID_ECX, 2},
    {"monitor", NULL, 0x1, 0, VQ_CPUID_ECX, 3},
    {"ds_cpl", "ds-cpl", 0x1, 0, VQ_CPUID_ECX, 4},
    {"vmx", NULL, 0x1, 0, VQ_CPUID_ECX, 5},
    {"smx", NULL, 0x1, 0, VQ_CPUID_ECX, 6},
    {"est", NULL, 0x1, 0, VQ_CPUID_ECX, 7},
    {"tm2", NULL, 0x1, 0, VQ_CPUID_ECX, 8},
    {"ssse3", NULL, 0x1, 0, VQ_CPUID_ECX, 9},
    {"cid", NULL, 0x1, 0, VQ_CPUID_ECX, 10},
    {"fma", NULL, 0x1, 0, VQ_CPUID_ECX, 12},
    {"cx16", NULL, 0x1, 0, VQ_CPUID_ECX, 13},
    {"xtpr", NULL, 0x1, 0, VQ_CPUID_ECX, 14},
    {"pdcm", NULL, 0x1, 0, VQ_CPUID_ECX, 15},
    {"pcid", NULL, 0x1, 0, VQ_CPUID_ECX, 17},
    {"dca", NULL, 0x1, 0, VQ_CPUID_ECX, 18},
    {"sse4.1", NULL, 0x1, 0, VQ_CPUID_ECX, 19},
    {"sse4.2", NULL, 0x1, 0, VQ_CPUID_ECX, 20},
    {"x2apic", NULL, 0x1, 0, VQ_CPUID_ECX, 21},
    {"movbe", NULL, 0x1, 0, VQ_CPUID_ECX, 22},
    {"popcnt", NULL, 0x1, 0, VQ_CPUID_ECX, 23},
    {"tsc-deadline", NULL, 0x1, 0, VQ_CPUID_ECX, 24},
    {"aes", NULL, 0x1, 0, VQ_CPUID_ECX, 25},
    {"xsave", NULL, 0x1, 0, VQ_CPUID_ECX, 26},
    {"osxsave", NULL, 0x1, 0, VQ_CPUID_ECX, 27},
    {"avx", NULL, 0x1, 0, VQ_CPUID_ECX, 28},
    {"f16c", NULL, 0x1, 0, VQ_CPUID_ECX, 29},
    {"rdrand", NULL, 0x1, 0, VQ_CPUID_ECX, 30},
    {"hypervisor", NULL, 0x1, 0, VQ_CPUID_ECX, 31},
    {"arat", NULL, 0x6, 0, VQ_CPUID_EAX, 2},
    {"fsgsbase", NULL, 0x7, 0, VQ_CPUID_EBX, 0},
    {"tsc_adjust", "tsc-adjust", 0x7, 0, VQ_CPUID_EBX, 1},
    {"sgx", NULL, 0x7, 0, VQ_CPUID_EBX, 2},
    {"bmi1", NULL, 0x7, 0, VQ_CPUID_EBX, 3},
    {"hle", NULL, 0x7, 0, VQ_CPUID_EBX, 4},
    {"avx2", NULL, 0x7, 0, VQ_CPUID_EBX, 5},
    {"smep", NULL, 0x7, 0, VQ_CPUID_EBX, 7},
    {"bmi2", NULL, 0x7, 0, VQ_CPUID_EBX, 8},
    {"erms", NULL, 0x7, 0, VQ_CPUID_EBX, 9},
    {"invpcid", NULL, 0x7, 0, VQ_CPUID_EBX, 10},
    {"rtm", NULL, 0x7, 0, VQ_CPUID_EBX, 11},
    {"mpx", NULL, 0x7, 0, VQ_CPUID_EBX, 14},
    {"avx512f", NULL, 0x7, 0, VQ_CPUID_EBX, 16},
    {"avx512dq", NULL, 0x7, 0, VQ_CPUID_EBX, 17},
    {"rdseed", NULL, 0x7, 0, VQ_CPUID_EBX, 18},
    {"adx", NULL, 0x7, 0, VQ_CPUID_EBX, 19},
    {"smap", NULL, 0x7, 0, VQ_CPUID_EBX, 20},
    {"avx512ifma", NULL, 0x7, 0, VQ_CPUID_EBX, 21},
    {"pcommit", NULL, 0x7, 0, VQ_CPUID_EBX, 22},
    {"clflushopt", NULL, 0x7, 0, VQ_CPUID_EBX, 23},
    {"clwb", NULL, 0x7, 0, VQ_CPUID_EBX, 24},
    {"intel-pt", NULL, 0x7, 0, VQ_CPUID_EBX, 25},
    {"avx512pf", NULL, 0x7, 0, VQ_CPUID_EBX, 26},
    {"avx512er", NULL, 0x7, 0, VQ_CPUID_EBX, 27},
    {"avx512cd", NULL, 0x7, 0, VQ_CPUID_EBX, 28},
    {"sha-ni", NULL, 0x7, 0, VQ_CPUID_EBX, 29},
    {"avx512bw", NULL, 0x7, 0, VQ_CPUID_EBX, 30},
    {"avx512vl", NULL, 0x7, 0, VQ_CPUID_EBX, 31},
    {"avx512vbmi", NULL, 0x7, 0, VQ_CPUID_ECX, 1},
    {"umip", NULL, 0x7, 0, VQ_CPUID_ECX, 2},
    {"pku", NULL, 0x7, 0, VQ_CPUID_ECX, 3},
    {"ospke", NULL, 0x7, 0, VQ_CPUID_ECX, 4},
    {"waitpkg", NULL, 0x7, 0, VQ_CPUID_ECX, 5},
    {"avx512vbmi2", NULL, 0x7, 0, VQ_CPUID_ECX, 6},
    {"gfni", NULL, 0x7, 0, VQ_CPUID_ECX, 8},
    {"vaes", NULL, 0x7, 0, VQ_CPUID_ECX, 9},
    {"vpclmulqdq", NULL, 0x7, 0, VQ_CPUID_ECX, 10},
    {"avx512vnni", NULL, 0x7, 0, VQ_CPUID_ECX, 11},
    {"avx512bitalg", NULL, 0x7, 0, VQ_CPUID_ECX, 12},
    {"avx512-vpopcntdq", NULL, 0x7, 0, VQ_CPUID_ECX, 14},
    {"la57", NULL, 0x7, 0, VQ_CPUID_ECX, 16},
    {"rdpid", NULL, 0x7, 0, VQ_CPUID_ECX, 22},
    {"bus-lock-detect", NULL, 0x7, 0, VQ_CPUID_ECX, 24},
    {"cldemote", NULL, 0x7, 0, VQ_CPUID_ECX, 25},
    {"movdiri", NULL, 0x7, 0, VQ_CPUID_ECX, 27},
    {"movdir64b", NULL, 0x7, 0, VQ_CPUID_ECX, 28},
    {"sgxlc", NULL, 0x7, 0, VQ_CPUID_ECX, 30},
    {"pks", NULL, 0x7, 0, VQ_CPUID_ECX, 31},
    {"avx512-4vnniw", NULL, 0x7, 0, VQ_CPUID_EDX, 2},
    {"avx512-4fmaps", NULL, 0x7, 0, VQ_CPUID_EDX, 3},
    {"fsrm", NULL, 0x7, 0, VQ_CPUID_EDX, 4},
    {"avx512-vp2intersect", NULL, 0x7, 0, VQ_CPUID_EDX, 8},
    {"md-clear", NULL, 0x7, 0, VQ_CPUID_EDX, 10},
    {"serialize", NULL, 0x7, 0, VQ_CPUID_EDX, 14},
    {"tsx-ldtrk", NULL, 0x7, 0, VQ_CPUID_EDX, 16},
    {"arch-lbr", NULL, 0x7, 0, VQ_CPUID_EDX, 19},
    {"amx-bf16", NULL, 0x7, 0, VQ_CPUID_EDX, 22},
    {"avx512-fp16", NULL, 0x7, 0, VQ_CPUID_EDX, 23},
    {"amx-tile", NULL, 0x7, 0, VQ_CPUID_EDX, 24},
    {"amx-int8", NULL, 0x7, 0, VQ_CPUID_EDX, 25},
    {"spec-ctrl", NULL, 0x7, 0, VQ_CPUID_EDX, 26},
    {"stibp", NULL, 0x7, 0, VQ_CPUID_EDX, 27},
    {"arch-capabilities", NULL, 0x7, 0, VQ_CPUID_EDX, 29},
    {"core-capability", NULL, 0x7, 0, VQ_CPUID_EDX, 30},
    {"ssbd", NULL, 0x7, 0, VQ_CPUID_EDX, 31},
    {"avx-vnni", NULL, 0x7, 1, VQ_CPUID_EAX, 4},
    {"avx512-bf16", NULL, 0x7, 1, VQ_CPUID_EAX, 5},
    {"xsaveopt", NULL, 0xd, 1, VQ_CPUID_EAX, 0},
    {"xsavec", NULL, 0xd, 1, VQ_CPUID_EAX, 1},
    {"xgetbv1", NULL, 0xd, 1, VQ_CPUID_EAX, 2},
    {"xsaves", NULL, 0xd, 1, VQ_CPUID_EAX, 3},
    {"xfd", NULL, 0xd, 1, VQ_CPUID_EAX, 4},
    {"sgx1", NULL, 0x12, 0, VQ_CPUID_EAX, 0},
    {"sgx2", NULL, 0x12, 0, VQ_CPUID_EAX, 1},
    {"sgx-exinfo", NULL, 0x12, 0, VQ_CPUID_EBX, 0},
    {"sgx-debug", NULL, 0x12, 1, VQ_CPUID_EAX, 1},
    {"sgx-mode64", NULL, 0x12, 1, VQ_CPUID_EAX, 2},
    {"sgx-provisionkey", NULL, 0x12, 1, VQ_CPUID_EAX, 4},
    {"sgx-tokenkey", NULL, 0x12, 1, VQ_CPUID_EAX, 5},
    {"sgx-kss", NULL, 0x12, 1, VQ_CPUID_EAX, 7},
    {"intel-pt-lip", NULL, 0x14, 0, VQ_CPUID_ECX, 31},
    {"syscall", NULL, 0x80000001, 0, VQ_CPUID_EDX, 11},
    {"nx", NULL, 0x80000001, 0, VQ_CPUID_EDX, 20},
    {"mmxext", NULL, 0x80000001, 0, VQ_CPUID_EDX, 22},
    {"fxsr_opt", "fxsr-opt", 0x80000001, 0, VQ_CPUID_EDX, 25},
    {"pdpe1gb", NULL, 0x80000001, 0, VQ_CPUID_EDX, 26},
    {"rdtscp", NULL, 0x80000001, 0, VQ_CPUID_EDX, 27},
    {"lm", NULL, 0x80000001, 0, VQ_CPUID_EDX, 29},
    {"3dnowext", NULL, 0x80000001, 0, VQ_CPUID_EDX, 30},
    {"3dnow", NULL, 0x80000001, 0, VQ_CPUID_EDX, 31},
    {"lahf_lm", "lahf-lm", 0x80000001, 0, VQ_CPUID_ECX, 0},
    {"cmp_legacy", "cmp-legacy", 0x80000001, 0, VQ_CPUID_ECX, 1},
    {"svm", NULL, 0x80000001, 0, VQ_CPUID_ECX, 2},
    {"extapic", NULL, 0x80000001, 0, VQ_CPUID_ECX, 3},
    {"cr8legacy", NULL, 0x80000001, 0, VQ_CPUID_ECX, 4},
    {"abm", NULL, 0x80000001, 0, VQ_CPUID_ECX, 5},
    {"sse4a", NULL, 0x80000001, 0, VQ_CPUID_ECX, 6},
    {"misalignsse", NULL, 0x80000001, 0, VQ_CPUID_ECX, 7},
    {"3dnowprefetch", NULL, 0x80000001, 0, VQ_CPUID_ECX, 8},
    {"osvw", NULL, 0x80000001, 0, VQ_CPUID_ECX, 9},
    {"ibs", NULL, 0x80000001, 0, VQ_CPUID_ECX, 10},
    {"xop", NULL, 0x80000001, 0, VQ_CPUID_ECX, 11},
    {"skinit", NULL, 0x80000001, 0, VQ_CPUID_ECX, 12},
    {"wdt", NULL, 0x80000001, 0, VQ_CPUID_ECX, 13},
    {"lwp", NULL, 0x80000001, 0, VQ_CPUID_ECX, 15},
    {"fma4", NULL, 0x80000001, 0, VQ_CPUID_ECX, 16},
    {"tce", NULL, 0x80000001, 0, VQ_CPUID_ECX, 17},
    {"nodeid_msr", "nodeid-msr", 0x80000001, 0, VQ_CPUID_ECX, 19},
    {"tbm", NULL, 0x80000001, 0, VQ_CPUID_ECX, 21},
    {"topoext", NULL, 0x80000001, 0, VQ_CPUID_ECX, 22},
    {"perfctr_core", "perfctr-core", 0x80000001, 0, VQ_CPUID_ECX, 23},
    {"perfctr_nb", "perfctr-nb", 0x80000001, 0, VQ_CPUID_ECX, 24},
    {"invtsc", NULL, 0x80000007, 0, VQ_CPUID_EDX, 8},
    {"clzero", NULL, 0x80000008, 0, VQ_CPUID_EBX, 0},
    {"xsaveerptr", NULL, 0x80000008, 0, VQ_CPUID_EBX, 2},
    {"wbnoinvd", NULL, 0x80000008, 0, VQ_CPUID_EBX, 9},
    {"ibpb", NULL, 0x80000008, 0, VQ_CPUID_EBX, 12},
    {"ibrs", NULL, 0x80000008, 0, VQ_CPUID_EBX, 14},
    {"amd-stibp", NULL, 0x80000008, 0, VQ_CPUID_EBX, 15},
    {"amd-ssbd", NULL, 0x80000008, 0, VQ_CPUID_EBX, 24},
    {"virt-ssbd", NULL, 0x80000008, 0, VQ_CPUID_EBX, 25},
    {"amd-no-ssb", NULL, 0x80000008, 0, VQ_CPUID_EBX, 26},
    {"npt", NULL, 0x8000000a, 0, VQ_CPUID_EDX, 0},
    {"lbrv", NULL, 0x8000000a, 0, VQ_CPUID_EDX, 1},
    {"svm-lock", NULL, 0x8000000a, 0, VQ_CPUID_EDX, 2},
    {"nrip-save", NULL, 0x8000000a, 0, VQ_CPUID_EDX, 3},
    {"tsc-scale", NULL, 0x8000000a, 0, VQ_CPUID_EDX, 4},
    {"vmcb-clean", NULL, 0x8000000a, 0, VQ_CPUID_EDX, 5},
    {"flushbyasid", NULL, 0x8000000a, 0, VQ_CPUID_EDX, 6},
    {"decodeassists", NULL, 0x8000000a, 0, VQ_CPUID_EDX, 7},
    {"pause-filter", NULL, 0x8000000a, 0, VQ_CPUID_EDX, 10},
    {"pfthreshold", NULL, 0x8000000a, 0, VQ_CPUID_EDX, 12},
    {"avic", NULL, 0x8000000a, 0, VQ_CPUID_EDX, 13},
    {"v-vmsave-vmload", NULL, 0x8000000a, 0, VQ_CPUID_EDX, 15},
    {"vgif", NULL, 0x8000000a, 0, VQ_CPUID_EDX, 16},
    {"svme-addr-chk", NULL, 0x8000000a, 0, VQ_CPUID_EDX, 28},
    {"rdctl-no", NULL, 0x0, 0, VQ_CPUID_NONE, 0},
    {"ibrs-all", NULL, 0x0, 0, VQ_CPUID_NONE, 0},
    {"rsba", NULL, 0x0, 0, VQ_CPUID_NONE, 0},
    {"skip-l1dfl-vmentry", NULL, 0x0, 0, VQ_CPUID_NONE, 0},
    {"ssb-no", NULL, 0x0, 0, VQ_CPUID_NONE, 0},
    {"mds-no", NULL, 0x0, 0, VQ_CPUID_NONE, 0},
    {"pschange-mc-no", NULL, 0x0, 0, VQ_CPUID_NONE, 0},
    {"tsx-ctrl", NULL, 0x0, 0, VQ_CPUID_NONE, 0},
    {"taa-no", NULL, 0x0, 0, VQ_CPUID_NONE, 0},
    {"split-lock-detect", NULL, 0x0, 0, VQ_CPUID_NONE, 0},
};
const size_t vq_n_cpu_features = VQ_N_ELEMENTS(vq_cpu_features);

const struct vq_cpu_model_fact vq_cpu_models[] = {
    {"qemu64", NULL, 15, 107, 1,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "cx16 syscall nx lm lahf_lm svm"},
    {"qemu32", NULL, 6, 6, 3,
      "fpu de pse tsc msr pae mce cx8 apic sep pge cmov pat mmx fxsr sse sse2 pni"},
    {"phenom", "AMD", 16, 2, 3,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "cx16 popcnt syscall nx mmxext fxsr_opt pdpe1gb rdtscp lm 3dnowext 3dnow lahf_lm svm abm sse4a npt"},
    {"pentium3", NULL, 6, 7, 3,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 mmx fxsr sse"},
    {"pentium2", NULL, 6, 5, 2,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 mmx fxsr"},
    {"pentium", NULL, 5, 4, 3,
      "fpu de pse tsc msr mce cx8 apic mmx"},
    {"n270", "Intel", 6, 28, 2,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat clflush acpi mmx fxsr sse sse2 ss pni "
      "ssse3 movbe nx lahf_lm"},
    {"kvm64", NULL, 15, 6, 1,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "cx16 syscall nx lm"},
    {"kvm32", NULL, 15, 6, 1,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni"},
    {"coreduo", "Intel", 6, 14, 8,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat clflush acpi mmx fxsr sse sse2 ss pni "
      "nx"},
    {"core2duo", "Intel", 6, 15, 11,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush acpi mmx fxsr sse sse2 "
      "ss pni ssse3 cx16 syscall nx lm lahf_lm"},
    {"athlon", "AMD", 6, 2, 3,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 mmx fxsr sse sse2 mmxext "
      "3dnowext 3dnow"},
    {"Westmere-IBRS", "Intel", 6, 44, 1,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 cx16 sse4.1 sse4.2 popcnt aes arat spec-ctrl syscall nx lm lahf_lm"},
    {"Westmere", "Intel", 6, 44, 1,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 cx16 sse4.1 sse4.2 popcnt aes arat syscall nx lm lahf_lm"},
    {"Snowridge", "Intel", 6, 134, 1,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 cx16 sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave rdrand arat fsgsbase "
      "smep erms mpx rdseed smap clflushopt clwb sha-ni umip gfni cldemote movdiri movdir64b spec-ctrl "
      "arch-capabilities core-capability ssbd xsaveopt xsavec xgetbv1 syscall nx pdpe1gb rdtscp lm lahf_lm "
      "3dnowprefetch split-lock-detect"},
    {"Skylake-Server-noTSX-IBRS", "Intel", 6, 85, 4,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave avx f16c "
      "rdrand arat fsgsbase bmi1 avx2 smep bmi2 erms invpcid avx512f avx512dq rdseed adx smap clwb avx512cd "
      "avx512bw avx512vl pku spec-ctrl xsaveopt xsavec xgetbv1 syscall nx pdpe1gb rdtscp lm lahf_lm abm "
      "3dnowprefetch"},
    {"Skylake-Server-IBRS", "Intel", 6, 85, 4,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave avx f16c "
      "rdrand arat fsgsbase bmi1 hle avx2 smep bmi2 erms invpcid rtm avx512f avx512dq rdseed adx smap clwb "
      "avx512cd avx512bw avx512vl pku spec-ctrl xsaveopt xsavec xgetbv1 syscall nx pdpe1gb rdtscp lm "
      "lahf_lm abm 3dnowprefetch"},
    {"Skylake-Server", "Intel", 6, 85, 4,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave avx f16c "
      "rdrand arat fsgsbase bmi1 hle avx2 smep bmi2 erms invpcid rtm avx512f avx512dq rdseed adx smap "
      "clflushopt clwb avx512cd avx512bw avx512vl pku xsaveopt xsavec xgetbv1 syscall nx pdpe1gb rdtscp lm "
      "lahf_lm abm 3dnowprefetch"},
    {"Skylake-Client-noTSX-IBRS", "Intel", 6, 94, 3,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave avx f16c "
      "rdrand arat fsgsbase bmi1 avx2 smep bmi2 erms invpcid rdseed adx smap spec-ctrl xsaveopt xsavec "
      "xgetbv1 syscall nx rdtscp lm lahf_lm abm 3dnowprefetch"},
    {"Skylake-Client-IBRS", "Intel", 6, 94, 3,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave avx f16c "
      "rdrand arat fsgsbase bmi1 hle avx2 smep bmi2 erms invpcid rtm rdseed adx smap spec-ctrl xsaveopt "
      "xsavec xgetbv1 syscall nx rdtscp lm lahf_lm abm 3dnowprefetch"},
    {"Skylake-Client", "Intel", 6, 94, 3,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave avx f16c "
      "rdrand arat fsgsbase bmi1 hle avx2 smep bmi2 erms invpcid rtm rdseed adx smap xsaveopt xsavec "
      "xgetbv1 syscall nx rdtscp lm lahf_lm abm 3dnowprefetch"},
    {"SandyBridge-IBRS", "Intel", 6, 42, 1,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 cx16 sse4.1 sse4.2 x2apic popcnt tsc-deadline aes xsave avx arat spec-ctrl xsaveopt "
      "syscall nx rdtscp lm lahf_lm"},
    {"SandyBridge", "Intel", 6, 42, 1,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 cx16 sse4.1 sse4.2 x2apic popcnt tsc-deadline aes xsave avx arat xsaveopt syscall nx "
      "rdtscp lm lahf_lm"},
    {"Penryn", "Intel", 6, 23, 3,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "ssse3 cx16 sse4.1 syscall nx lm lahf_lm"},
    {"Opteron_G5", "AMD", 21, 2, 0,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 sse4.1 sse4.2 popcnt aes xsave avx f16c syscall nx pdpe1gb rdtscp lm lahf_lm "
      "svm abm sse4a misalignsse 3dnowprefetch xop fma4 tbm npt nrip-save"},
    {"Opteron_G4", "AMD", 21, 1, 2,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 cx16 sse4.1 sse4.2 popcnt aes xsave avx syscall nx pdpe1gb rdtscp lm lahf_lm svm abm "
      "sse4a misalignsse 3dnowprefetch xop fma4 npt nrip-save"},
    {"Opteron_G3", "AMD", 16, 2, 3,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "cx16 popcnt syscall nx rdtscp lm lahf_lm svm abm sse4a misalignsse"},
    {"Opteron_G2", "AMD", 15, 6, 1,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "cx16 syscall nx lm lahf_lm svm"},
    {"Opteron_G1", "AMD", 15, 6, 1,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "syscall nx lm"},
    {"Nehalem-IBRS", "Intel", 6, 26, 3,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "ssse3 cx16 sse4.1 sse4.2 popcnt spec-ctrl syscall nx lm lahf_lm"},
    {"Nehalem", "Intel", 6, 26, 3,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "ssse3 cx16 sse4.1 sse4.2 popcnt syscall nx lm lahf_lm"},
    {"KnightsMill", "Intel", 6, 133, 0,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 ss pni "
      "pclmuldq ssse3 fma cx16 sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave avx f16c rdrand "
      "arat fsgsbase bmi1 avx2 smep bmi2 erms avx512f rdseed adx avx512pf avx512er avx512cd "
      "avx512-vpopcntdq avx512-4vnniw avx512-4fmaps xsaveopt syscall nx pdpe1gb rdtscp lm lahf_lm abm "
      "3dnowprefetch"},
    {"IvyBridge-IBRS", "Intel", 6, 58, 9,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 cx16 sse4.1 sse4.2 x2apic popcnt tsc-deadline aes xsave avx f16c rdrand arat fsgsbase "
      "smep erms spec-ctrl xsaveopt syscall nx rdtscp lm lahf_lm"},
    {"IvyBridge", "Intel", 6, 58, 9,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 cx16 sse4.1 sse4.2 x2apic popcnt tsc-deadline aes xsave avx f16c rdrand arat fsgsbase "
      "smep erms xsaveopt syscall nx rdtscp lm lahf_lm"},
    {"Icelake-Server-noTSX", "Intel", 6, 134, 0,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave avx f16c "
      "rdrand arat fsgsbase bmi1 avx2 smep bmi2 erms invpcid avx512f avx512dq rdseed adx smap clflushopt "
      "clwb avx512cd avx512bw avx512vl avx512vbmi umip pku avx512vbmi2 gfni vaes vpclmulqdq avx512vnni "
      "avx512bitalg avx512-vpopcntdq la57 spec-ctrl ssbd xsaveopt xsavec xgetbv1 syscall nx pdpe1gb rdtscp "
      "lm lahf_lm abm 3dnowprefetch wbnoinvd"},
    {"Icelake-Server", "Intel", 6, 134, 0,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave avx f16c "
      "rdrand arat fsgsbase bmi1 hle avx2 smep bmi2 erms invpcid rtm avx512f avx512dq rdseed adx smap "
      "clflushopt clwb avx512cd avx512bw avx512vl avx512vbmi umip pku avx512vbmi2 gfni vaes vpclmulqdq "
      "avx512vnni avx512bitalg avx512-vpopcntdq la57 spec-ctrl ssbd xsaveopt xsavec xgetbv1 syscall nx "
      "pdpe1gb rdtscp lm lahf_lm abm 3dnowprefetch wbnoinvd"},
    {"Haswell-noTSX-IBRS", "Intel", 6, 60, 1,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave avx f16c "
      "rdrand arat fsgsbase bmi1 avx2 smep bmi2 erms invpcid spec-ctrl xsaveopt syscall nx rdtscp lm "
      "lahf_lm abm"},
    {"Haswell-noTSX", "Intel", 6, 60, 1,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave avx f16c "
      "rdrand arat fsgsbase bmi1 avx2 smep bmi2 erms invpcid xsaveopt syscall nx rdtscp lm lahf_lm abm"},
    {"Haswell-IBRS", "Intel", 6, 60, 4,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave avx f16c "
      "rdrand arat fsgsbase bmi1 hle avx2 smep bmi2 erms invpcid rtm spec-ctrl xsaveopt syscall nx rdtscp "
      "lm lahf_lm abm"},
    {"Haswell", "Intel", 6, 60, 4,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave avx f16c "
      "rdrand arat fsgsbase bmi1 hle avx2 smep bmi2 erms invpcid rtm xsaveopt syscall nx rdtscp lm lahf_lm "
      "abm"},
    {"EPYC-Rome", "AMD", 23, 49, 0,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 sse4.1 sse4.2 movbe popcnt aes xsave avx f16c rdrand arat fsgsbase bmi1 avx2 "
      "smep bmi2 rdseed adx smap clflushopt clwb sha-ni umip rdpid xsaveopt xsavec xgetbv1 xsaves syscall "
      "nx mmxext fxsr_opt pdpe1gb rdtscp lm lahf_lm svm cr8legacy abm sse4a misalignsse 3dnowprefetch osvw "
      "topoext perfctr_core clzero xsaveerptr wbnoinvd ibpb amd-stibp npt nrip-save"},
    {"EPYC-Milan", "AMD", 25, 1, 1,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 pcid sse4.1 sse4.2 movbe popcnt aes xsave avx f16c rdrand arat fsgsbase bmi1 "
      "avx2 smep bmi2 erms invpcid rdseed adx smap clflushopt clwb sha-ni umip pku rdpid fsrm xsaveopt "
      "xsavec xgetbv1 xsaves syscall nx mmxext fxsr_opt pdpe1gb rdtscp lm lahf_lm svm cr8legacy abm sse4a "
      "misalignsse 3dnowprefetch osvw topoext perfctr_core clzero xsaveerptr wbnoinvd ibpb ibrs amd-stibp "
      "amd-ssbd npt nrip-save svme-addr-chk"},
    {"EPYC-IBPB", "AMD", 23, 1, 2,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 sse4.1 sse4.2 movbe popcnt aes xsave avx f16c rdrand arat fsgsbase bmi1 avx2 "
      "smep bmi2 rdseed adx smap clflushopt sha-ni xsaveopt xsavec xgetbv1 syscall nx mmxext fxsr_opt "
      "pdpe1gb rdtscp lm lahf_lm svm cr8legacy abm sse4a misalignsse 3dnowprefetch osvw topoext ibpb npt "
      "nrip-save"},
    {"EPYC", "AMD", 23, 1, 2,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 sse4.1 sse4.2 movbe popcnt aes xsave avx f16c rdrand arat fsgsbase bmi1 avx2 "
      "smep bmi2 rdseed adx smap clflushopt sha-ni xsaveopt xsavec xgetbv1 syscall nx mmxext fxsr_opt "
      "pdpe1gb rdtscp lm lahf_lm svm cr8legacy abm sse4a misalignsse 3dnowprefetch osvw topoext npt "
      "nrip-save"},
    {"Dhyana", "Hygon", 24, 0, 1,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "ssse3 fma cx16 sse4.1 sse4.2 movbe popcnt xsave avx f16c rdrand arat fsgsbase bmi1 avx2 smep bmi2 "
      "rdseed adx smap clflushopt xsaveopt xsavec xgetbv1 syscall nx mmxext fxsr_opt pdpe1gb rdtscp lm "
      "lahf_lm svm cr8legacy abm sse4a misalignsse 3dnowprefetch osvw topoext ibpb npt nrip-save"},
    {"Denverton", "Intel", 6, 95, 1,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 cx16 sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave rdrand arat fsgsbase "
      "smep erms mpx rdseed smap clflushopt sha-ni spec-ctrl arch-capabilities ssbd xsaveopt xsavec xgetbv1 "
      "syscall nx pdpe1gb rdtscp lm lahf_lm 3dnowprefetch rdctl-no skip-l1dfl-vmentry"},
    {"Cooperlake", "Intel", 6, 85, 10,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave avx f16c "
      "rdrand arat fsgsbase bmi1 hle avx2 smep bmi2 erms invpcid rtm avx512f avx512dq rdseed adx smap "
      "clflushopt clwb avx512cd avx512bw avx512vl pku avx512vnni spec-ctrl stibp arch-capabilities ssbd "
      "avx512-bf16 xsaveopt xsavec xgetbv1 syscall nx pdpe1gb rdtscp lm lahf_lm abm 3dnowprefetch rdctl-no "
      "ibrs-all skip-l1dfl-vmentry mds-no pschange-mc-no taa-no"},
    {"Conroe", "Intel", 6, 15, 3,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "ssse3 syscall nx lm lahf_lm"},
    {"Cascadelake-Server-noTSX", "Intel", 6, 85, 6,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave avx f16c "
      "rdrand arat fsgsbase bmi1 avx2 smep bmi2 erms invpcid avx512f avx512dq rdseed adx smap clflushopt "
      "clwb avx512cd avx512bw avx512vl pku avx512vnni spec-ctrl arch-capabilities ssbd xsaveopt xsavec "
      "xgetbv1 syscall nx pdpe1gb rdtscp lm lahf_lm abm 3dnowprefetch rdctl-no ibrs-all skip-l1dfl-vmentry "
      "mds-no"},
    {"Cascadelake-Server", "Intel", 6, 85, 6,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave avx f16c "
      "rdrand arat fsgsbase bmi1 hle avx2 smep bmi2 erms invpcid rtm avx512f avx512dq rdseed adx smap "
      "clflushopt clwb avx512cd avx512bw avx512vl pku avx512vnni spec-ctrl ssbd xsaveopt xsavec xgetbv1 "
      "syscall nx pdpe1gb rdtscp lm lahf_lm abm 3dnowprefetch"},
    {"Broadwell-noTSX-IBRS", "Intel", 6, 61, 2,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave avx f16c "
      "rdrand arat fsgsbase bmi1 avx2 smep bmi2 erms invpcid rdseed adx smap spec-ctrl xsaveopt syscall nx "
      "rdtscp lm lahf_lm abm 3dnowprefetch"},
    {"Broadwell-noTSX", "Intel", 6, 61, 2,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave avx f16c "
      "rdrand arat fsgsbase bmi1 avx2 smep bmi2 erms invpcid rdseed adx smap xsaveopt syscall nx rdtscp lm "
      "lahf_lm abm 3dnowprefetch"},
    {"Broadwell-IBRS", "Intel", 6, 61, 2,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave avx f16c "
      "rdrand arat fsgsbase bmi1 hle avx2 smep bmi2 erms invpcid rtm rdseed adx smap spec-ctrl xsaveopt "
      "syscall nx rdtscp lm lahf_lm abm 3dnowprefetch"},
    {"Broadwell", "Intel", 6, 61, 2,
      "fpu de pse tsc msr pae mce cx8 apic sep mtrr pge mca cmov pat pse36 clflush mmx fxsr sse sse2 pni "
      "pclmuldq ssse3 fma cx16 pcid sse4.1 sse4.2 x2apic movbe popcnt tsc-deadline aes xsave avx f16c "
      "rdrand arat fsgsbase bmi1 hle avx2 smep bmi2 erms invpcid rtm rdseed adx smap xsaveopt syscall nx "
      "rdtscp lm lahf_lm abm 3dnowprefetch"},
    {"486", NULL, 4, 8, 0,
      "fpu pse"},
};
const size_t vq_n_cpu_models = VQ_N_ELEMENTS(vq_cpu_models);
