/* One domain as the user defined it, and, with live fields, as it runs. Pure data: no handles, no I/O.
 *
 * The description element by element (names, order, which member) is the tables of conf/domain_*.c and
 * conf/device_*.c; device.h tells the conventions. Owned by whoever parsed or copied it; nothing in it is shared. */
#pragma once

#include "conf/base/error.h"
#include "conf/device.h"

enum vq_virt_type {
    VQ_VIRT_UNSET,
    VQ_VIRT_QEMU,
    VQ_VIRT_KVM,
    VQ_VIRT_XEN,
    VQ_VIRT_LXC,
    VQ_VIRT_TEST,
    VQ_VIRT_HVF,
    VQ_VIRT_N,
};

enum vq_boot_dev { VQ_BOOT_UNSET, VQ_BOOT_FD, VQ_BOOT_HD, VQ_BOOT_CDROM, VQ_BOOT_NETWORK, VQ_BOOT_DEV_N };

struct vq_boot_entry {
    enum vq_boot_dev dev;
};

enum vq_os_firmware { VQ_FIRMWARE_UNSET, VQ_FIRMWARE_BIOS, VQ_FIRMWARE_EFI, VQ_FIRMWARE_N };
enum vq_loader_type { VQ_LOADER_UNSET, VQ_LOADER_ROM, VQ_LOADER_PFLASH, VQ_LOADER_NONE, VQ_LOADER_N };

struct vq_firmware_feature {
    enum vq_switch enabled;
    char *name;                   /* "secure-boot", "enrolled-keys" */
};

struct vq_init_text {
    char *text;
};

struct vq_init_env {
    char *name, *value;
};

struct vq_acpi_table {
    char *type, *path;
};

struct vq_os {
    char *type;                   /* "hvm", "exe", "xen", "linux" */
    char *arch;                   /* "x86_64" */
    char *machine;                /* "pc-q35-7.2" */
    enum vq_os_firmware firmware; /* chosen automatically */
    struct vq_firmware_feature **firmware_features;
    size_t n_firmware_features;
    char *init, *initdir, *inituser, *initgroup; /* containers */
    struct vq_init_text **initargs;
    size_t n_initargs;
    struct vq_init_env **initenvs;
    size_t n_initenvs;
    enum vq_switch loader_readonly, loader_secure, loader_stateless;
    enum vq_loader_type loader_type;
    char *loader;                 /* path */
    char *nvram, *nvram_template; /* paths */
    struct vq_source nvram_source; /* with a type: <nvram type='network'><source/>, then nvram is not used */
    char *kernel, *initrd, *cmdline, *dtb, *root, *shim;
    struct vq_acpi_table **acpi_tables;
    size_t n_acpi_tables;
    struct vq_boot_entry **boot;
    size_t n_boot;
    enum vq_switch bootmenu;
    bool has_bootmenu_timeout;
    uint32_t bootmenu_timeout_ms;
    enum vq_switch bios_useserial;
    bool has_bios_reboot_timeout;
    int32_t bios_reboot_timeout_ms;
    char *smbios_mode;            /* "emulate", "host", "sysinfo" */
};

struct vq_hyperv {
    char *mode;                   /* "custom", "passthrough" */
    enum vq_switch relaxed, vapic, spinlocks, vpindex, runtime, synic, stimer, stimer_direct, reset, vendor_id;
    enum vq_switch frequencies, reenlightenment, tlbflush, ipi, evmcs, avic;
    uint32_t spinlocks_retries;
    char *vendor_id_value;
};

struct vq_kvm_features {
    enum vq_switch hidden, hint_dedicated, poll_control, pv_ipi, dirty_ring;
    uint32_t dirty_ring_size;
};

struct vq_features {
    bool has_acpi, has_apic, has_pae, has_privnet, has_viridian;
    enum vq_switch apic_eoi;
    bool has_hap;
    enum vq_switch hap;
    struct vq_hyperv *hyperv;
    struct vq_kvm_features *kvm;
    enum vq_switch xen_e820_host, xen_passthrough;
    char *xen_passthrough_mode;
    bool has_xen;
    enum vq_switch pvspinlock, pmu, vmport, vmcoreinfo, htm, nested_hv, ccf_assist, async_teardown;
    bool has_smm, has_gic, has_vmcoreinfo;
    enum vq_switch smm;
    uint64_t smm_tseg_bytes;
    bool has_smm_tseg;
    char *gic_version;            /* "2", "3", "host" */
    char *ioapic_driver;          /* "kvm", "qemu" */
    char *hpt_resizing;
    bool has_hpt;
    uint64_t hpt_maxpagesize_kib;
    char *msrs_unknown;           /* "ignore", "fault" */
    char *cfpc, *sbbc, *ibs;
    uint64_t tcg_tb_cache_kib;
    char *capabilities_policy;    /* containers */
};

enum vq_cpu_mode {
    VQ_CPU_MODE_UNSET,            /* custom without saying so */
    VQ_CPU_MODE_CUSTOM,
    VQ_CPU_MODE_HOST_MODEL,
    VQ_CPU_MODE_HOST_PASSTHROUGH,
    VQ_CPU_MODE_MAXIMUM,
    VQ_CPU_MODE_N,
};
enum vq_cpu_match {
    VQ_CPU_MATCH_UNSET,
    VQ_CPU_MATCH_MINIMUM,
    VQ_CPU_MATCH_EXACT,
    VQ_CPU_MATCH_STRICT,
    VQ_CPU_MATCH_N,
};
enum vq_cpu_check {
    VQ_CPU_CHECK_UNSET,
    VQ_CPU_CHECK_NONE,
    VQ_CPU_CHECK_PARTIAL,
    VQ_CPU_CHECK_FULL,
    VQ_CPU_CHECK_N,
};
enum vq_cpu_fallback { VQ_CPU_FALLBACK_UNSET, VQ_CPU_FALLBACK_ALLOW, VQ_CPU_FALLBACK_FORBID, VQ_CPU_FALLBACK_N };
enum vq_cpu_policy {
    VQ_CPU_POLICY_UNSET,
    VQ_CPU_POLICY_FORCE,
    VQ_CPU_POLICY_REQUIRE,
    VQ_CPU_POLICY_OPTIONAL,
    VQ_CPU_POLICY_DISABLE,
    VQ_CPU_POLICY_FORBID,
    VQ_CPU_POLICY_N,
};

struct vq_cpu_feature {
    enum vq_cpu_policy policy;
    char *name;
};

struct vq_numa_distance {
    uint32_t id, value;
};

/* A memory-side cache of a cell. */
struct vq_numa_cache {
    uint32_t level;
    char *associativity;          /* "none", "direct", "full" */
    char *policy;                 /* "none", "writeback", "writethrough" */
    uint64_t size_kib, line_bytes;
};

/* How far apart two cells are: nanoseconds of latency, or KiB per second of bandwidth. */
struct vq_numa_link {
    uint32_t initiator, target;
    uint32_t cache;               /* 0: not of a cache */
    char *type;                   /* "access", "read", "write" */
    uint64_t value;
};

struct vq_numa_cell {
    bool has_id;
    uint32_t id;
    char *cpus;                   /* cpuset text; canonical after parsing */
    uint64_t memory_kib;
    char *mem_access;             /* "shared", "private" */
    enum vq_switch discard;
    struct vq_numa_distance **distances;
    size_t n_distances;
    struct vq_numa_cache **caches;
    size_t n_caches;
};

struct vq_cpu {
    enum vq_cpu_mode mode;
    enum vq_cpu_match match;
    enum vq_cpu_check check;
    enum vq_switch migratable;
    char *arch;                   /* host CPUs (capabilities) only */
    char *model;
    enum vq_cpu_fallback fallback;
    char *model_vendor_id;        /* attribute vendor_id of <model> */
    char *vendor;
    uint32_t sockets, dies, cores, threads; /* 0: no topology given */
    bool has_cache_level;
    uint32_t cache_level;
    char *cache_mode;             /* "emulate", "passthrough", "disable" */
    char *maxphysaddr_mode;
    uint32_t maxphysaddr_bits;
    struct vq_cpu_feature **features;
    size_t n_features;
    struct vq_numa_cell **cells;
    size_t n_cells;
    struct vq_numa_link **latencies, **bandwidths; /* <interconnects> */
    size_t n_latencies, n_bandwidths;
};

enum vq_clock_offset {
    VQ_CLOCK_UNSET,
    VQ_CLOCK_UTC,
    VQ_CLOCK_LOCALTIME,
    VQ_CLOCK_VARIABLE,
    VQ_CLOCK_TIMEZONE,
    VQ_CLOCK_ABSOLUTE,
    VQ_CLOCK_N,
};
enum vq_clock_basis { VQ_CLOCK_BASIS_UNSET, VQ_CLOCK_BASIS_UTC, VQ_CLOCK_BASIS_LOCALTIME, VQ_CLOCK_BASIS_N };

enum vq_timer_name {
    VQ_TIMER_UNSET,
    VQ_TIMER_PLATFORM,
    VQ_TIMER_PIT,
    VQ_TIMER_RTC,
    VQ_TIMER_HPET,
    VQ_TIMER_TSC,
    VQ_TIMER_KVMCLOCK,
    VQ_TIMER_HYPERVCLOCK,
    VQ_TIMER_ARMVTIMER,
    VQ_TIMER_N,
};
enum vq_tick_policy {
    VQ_TICK_UNSET,
    VQ_TICK_DELAY,
    VQ_TICK_CATCHUP,
    VQ_TICK_MERGE,
    VQ_TICK_DISCARD,
    VQ_TICK_N,
};

struct vq_timer {
    enum vq_timer_name name;
    enum vq_switch present;
    enum vq_tick_policy tickpolicy;
    char *track;                  /* "boot", "guest", "wall" */
    uint64_t frequency;
    char *mode;                   /* tsc: "auto", "native", "emulate" ... */
    uint64_t catchup_threshold, catchup_slew, catchup_limit;
};

struct vq_clock {
    enum vq_clock_offset offset;
    enum vq_clock_basis basis;    /* variable */
    char *adjustment;             /* "reset" or seconds, as text; variable, utc, localtime */
    char *timezone;               /* timezone */
    uint64_t start;               /* absolute */
    struct vq_timer **timers;
    size_t n_timers;
};

enum vq_lifecycle {
    VQ_LIFECYCLE_UNSET,
    VQ_LIFECYCLE_DESTROY,
    VQ_LIFECYCLE_RESTART,
    VQ_LIFECYCLE_RENAME_RESTART,
    VQ_LIFECYCLE_PRESERVE,
    VQ_LIFECYCLE_COREDUMP_DESTROY, /* on_crash only, as the next */
    VQ_LIFECYCLE_COREDUMP_RESTART,
    VQ_LIFECYCLE_N,
};

struct vq_memtune {
    uint64_t hard_limit_kib, soft_limit_kib, min_guarantee_kib, swap_hard_limit_kib; /* 0: not said */
};

struct vq_hugepage {
    uint64_t size_kib;
    char *nodeset;
};

struct vq_memory_backing {
    bool has_hugepages;
    struct vq_hugepage **hugepages;
    size_t n_hugepages;
    bool nosharepages, locked, has_discard;
    char *source_type;            /* "file", "anonymous", "memfd" */
    char *access_mode;            /* "shared", "private" */
    char *allocation_mode;        /* "immediate", "ondemand" */
    uint32_t allocation_threads;
};

struct vq_vcpu_pin {
    uint32_t vcpu;
    char *cpuset;
};

struct vq_iothread_pin {
    uint32_t iothread;
    char *cpuset;
};

struct vq_scheduler {
    char *targets;                /* vcpus or iothreads, cpuset text */
    char *scheduler;              /* "fifo", "rr", "batch", "idle" */
    bool has_priority;
    int32_t priority;
};

/* Shares of the last-level cache and of memory bandwidth, and what is watched of them. */
struct vq_resource_monitor {
    uint32_t level;               /* of caches */
    char *vcpus;
};

struct vq_cache_share {
    bool has_id;
    uint32_t id, level;
    char *type;                   /* "both", "code", "data" */
    uint64_t size_kib;
};

struct vq_cachetune {
    char *vcpus;
    char *id;                     /* live: the group's name */
    struct vq_cache_share **caches;
    size_t n_caches;
    struct vq_resource_monitor **monitors;
    size_t n_monitors;
};

struct vq_bandwidth_share {
    bool has_id;
    uint32_t id, percent;
};

struct vq_memorytune {
    char *vcpus;
    struct vq_bandwidth_share **nodes;
    size_t n_nodes;
    struct vq_resource_monitor **monitors;
    size_t n_monitors;
};

struct vq_cputune {
    uint64_t shares;
    bool has_shares;
    uint64_t period, global_period, emulator_period, iothread_period;
    int64_t quota, global_quota, emulator_quota, iothread_quota;
    struct vq_vcpu_pin **vcpu_pins;
    size_t n_vcpu_pins;
    char *emulator_pin;
    struct vq_iothread_pin **iothread_pins;
    size_t n_iothread_pins;
    struct vq_scheduler **vcpu_scheds, **iothread_scheds, **emulator_scheds;
    size_t n_vcpu_scheds, n_iothread_scheds, n_emulator_scheds;
    struct vq_cachetune **cachetunes;
    struct vq_memorytune **memorytunes;
    size_t n_cachetunes, n_memorytunes;
};

struct vq_blkio_device {
    char *path;
    uint32_t weight, read_iops, write_iops;
    uint64_t read_bytes, write_bytes;
};

struct vq_blkiotune {
    uint32_t weight;
    struct vq_blkio_device **devices;
    size_t n_devices;
};

struct vq_numa_memnode {
    uint32_t cell;
    char *mode, *nodeset;
};

struct vq_numatune {
    bool has_memory;
    char *mode;                   /* "strict", "preferred", "interleave", "restrictive" */
    char *placement;              /* "static", "auto" */
    char *nodeset;
    struct vq_numa_memnode **memnodes;
    size_t n_memnodes;
};

struct vq_vcpu_entry {
    uint32_t id;
    enum vq_switch enabled, hotpluggable;
    uint32_t order;
};

struct vq_iothread {
    uint32_t id;
    bool has_pool_min, has_pool_max;
    uint32_t pool_min, pool_max;
};

struct vq_sysinfo_entry {
    char *name;                   /* fwcfg: a name; SMBIOS: "manufacturer" ... */
    char *file;
    char *value;
};

struct vq_sysinfo_board {
    struct vq_sysinfo_entry **entries;
    size_t n_entries;
};

struct vq_sysinfo {
    char *type;                   /* "smbios", "fwcfg" */
    struct vq_sysinfo_entry **bios, **system, **chassis, **oem_strings, **fwcfg;
    size_t n_bios, n_system, n_chassis, n_oem_strings, n_fwcfg;
    struct vq_sysinfo_board **boards;
    size_t n_boards;
};

struct vq_launch_security {
    char *type;                   /* "sev", "s390-pv" */
    enum vq_switch kernel_hashes;
    char *cbitpos, *reduced_phys_bits, *policy, *dh_cert, *session;
};

struct vq_keywrap_cipher {
    char *name;
    enum vq_switch state;
};

/* Devices of one kind; what fills and compares them takes time by the square of their number. */
enum { VQ_DEVICES_MAX = 1024 };

struct vq_devices {
    char *emulator;
    struct vq_disk **disks;
    struct vq_controller **controllers;
    struct vq_filesystem **filesystems;
    struct vq_interface **interfaces;
    struct vq_smartcard **smartcards;
    struct vq_port **serials, **parallels, **consoles, **channels;
    struct vq_input **inputs;
    struct vq_tpm **tpms;
    struct vq_graphics **graphics;
    struct vq_sound **sounds;
    struct vq_audio **audios;
    struct vq_video **videos;
    struct vq_hostdev **hostdevs;
    struct vq_redirdev **redirdevs;
    struct vq_redir_filter *redirfilter;
    struct vq_lease **leases;
    struct vq_crypto **cryptos;
    struct vq_hub **hubs;
    struct vq_watchdog **watchdogs;
    struct vq_memballoon *memballoon; /* NULL: not said; model none: said that there is none */
    struct vq_rng **rngs;
    struct vq_panic **panics;
    struct vq_shmem **shmems;
    struct vq_memory_device **memories;
    struct vq_iommu *iommu;
    struct vq_vsock *vsock;
    struct vq_nvram *nvram;
    size_t n_disks, n_controllers, n_filesystems, n_interfaces, n_smartcards, n_serials, n_parallels, n_consoles,
        n_channels, n_inputs, n_tpms, n_graphics, n_sounds, n_audios, n_videos, n_hostdevs, n_redirdevs, n_hubs,
        n_watchdogs, n_rngs, n_panics, n_shmems, n_memories, n_leases, n_cryptos;
};

struct vq_qemu_arg {
    char *value;
};

struct vq_qemu_env {
    char *name, *value;
};

struct vq_qemu_capability {
    char *capability;
};

/* <qemu:commandline>. */
struct vq_qemu_namespace {
    struct vq_qemu_arg **args;
    size_t n_args;
    struct vq_qemu_env **envs;
    size_t n_envs;
};

/* <qemu:capabilities>: what the emulator is taken to be able to do, whatever it says. */
struct vq_qemu_overrides {
    struct vq_qemu_capability **add, **del;
    size_t n_add, n_del;
};

/* <qemu:override>: properties of a device's front end, by alias. */
struct vq_qemu_property {
    char *name, *type, *value;
};

struct vq_qemu_override {
    char *alias;
    struct vq_qemu_property **properties;
    size_t n_properties;
};

struct vq_id_range {
    uint32_t start, target, count;
};

struct vq_perf_event {
    char *name;
    enum vq_switch enabled;
};

struct vq_domain {
    enum vq_virt_type type;
    uint32_t id;                  /* live; 0: not running */
    char *name;
    bool has_uuid;
    uint8_t uuid[16];
    bool has_genid;
    uint8_t genid[16];
    bool genid_given;
    char *title, *description;
    char *metadata;               /* the elements inside <metadata>, verbatim, as one text */
    uint64_t max_memory_kib;      /* <maxMemory>: 0 no hotplug */
    uint32_t max_memory_slots;
    uint64_t memory_kib;          /* <memory>: what it boots with at most; the sum when there are memory devices */
    enum vq_switch dump_core;
    uint64_t current_memory_kib;  /* <currentMemory>: balloon; equal to memory_kib after filling */
    struct vq_blkiotune *blkiotune;
    struct vq_memtune memtune;
    struct vq_memory_backing *memory_backing;
    uint32_t vcpus;               /* the maximum */
    uint32_t current_vcpus;       /* equal to vcpus after filling, when not said */
    char *vcpu_placement;         /* "static", "auto" */
    char *vcpu_cpuset;
    struct vq_vcpu_entry **vcpu_entries; /* <vcpus>; formatted only when vcpus are individual */
    size_t n_vcpu_entries;
    uint32_t iothreads;
    struct vq_iothread **iothread_ids;
    size_t n_iothread_ids;
    bool has_default_pool_min, has_default_pool_max; /* <defaultiothread> */
    uint32_t default_pool_min, default_pool_max;
    struct vq_cputune *cputune;
    struct vq_numatune numatune;
    char *resource_partition;
    char *fibrechannel_appid;
    struct vq_sysinfo **sysinfos;
    size_t n_sysinfos;
    char *bootloader, *bootloader_args;
    struct vq_os os;
    struct vq_id_range **id_map_uids, **id_map_gids; /* containers */
    size_t n_id_map_uids, n_id_map_gids;
    struct vq_features *features;
    struct vq_cpu *cpu;
    struct vq_clock clock;
    enum vq_lifecycle on_poweroff, on_reboot, on_crash;
    char *on_lockfailure;
    enum vq_switch pm_suspend_to_mem, pm_suspend_to_disk;
    struct vq_perf_event **perf_events;
    size_t n_perf_events;
    struct vq_devices devices;
    struct vq_seclabel **seclabels;
    size_t n_seclabels;
    struct vq_keywrap_cipher **keywraps;
    size_t n_keywraps;
    struct vq_launch_security *launch_security;
    struct vq_qemu_namespace *qemu;
    struct vq_qemu_overrides *qemu_overrides;
    struct vq_qemu_override **qemu_devices;
    size_t n_qemu_devices;
    char *qemu_deprecation;       /* "omit", "reject", "crash", "none" */
};

/* For vq_domain_parse(). */
enum {
    VQ_PARSE_INACTIVE = 1, /* ignore live fields */
    VQ_PARSE_STRICT = 2,   /* an unknown element or attribute is an error (VIR_DOMAIN_DEFINE_VALIDATE) */
};

/* For vq_domain_format(). */
enum {
    VQ_FORMAT_INACTIVE = 1,   /* without live fields */
    VQ_FORMAT_SECURE = 2,     /* with secrets: only after the right to see them was checked */
    VQ_FORMAT_MIGRATABLE = 4, /* without what a daemon filled in that older ones do not expect */
};

/* Parse a <domain> document: shape, ranges and names; no defaults are filled in.
 *
 * xml        NUL-terminated UTF-8, borrowed for the call
 * flags      VQ_PARSE_...
 * ret_domain set on success only; caller frees with vq_domain_free()
 *
 * Errors: VIR_ERR_XML_ERROR malformed document; VIR_ERR_XML_DETAIL, VIR_ERR_CONFIG_UNSUPPORTED understood but not
 * allowed. Messages name element and line.
 * Reference: libvirt "Domain XML format". */
VQ_MUST_CHECK int vq_domain_parse(const char *xml, unsigned flags, struct vq_domain **ret_domain, struct vq_error *err);

/* The same, and what in the document is not known is listed in the report instead of being refused: such XML loses
 * meaning, and somebody should be told. */
struct vq_field_report;
VQ_MUST_CHECK int vq_domain_parse_report(const char *xml, unsigned flags, struct vq_field_report *report,
                                         struct vq_domain **ret_domain, struct vq_error *err);

/* What vq_domain_fill() may not find out by itself. */
struct vq_domain_fill {
    void (*random)(void *bytes, size_t length, void *data); /* for UUID and MAC addresses */
    void *data;
    uint8_t mac_prefix[3];
};

/* Defaults and checks that are the same for every hypervisor: memory, vcpus, UUID, MAC addresses, console and serial
 * pairing, drive addresses from target names, duplicates, name grammar, limits. Run after parsing and before the
 * driver's own defaults; running it again changes nothing.
 *
 * Errors: VIR_ERR_XML_ERROR, VIR_ERR_XML_DETAIL, VIR_ERR_CONFIG_UNSUPPORTED. */
VQ_MUST_CHECK int vq_domain_fill(struct vq_domain *domain, const struct vq_domain_fill *fill, struct vq_error *err);

/* Before filling: what the definition leaves to chance and the one that it replaces has already (MAC addresses,
 * identities of virtual ports) stays as it is. */
void vq_domain_keep(struct vq_domain *domain, const struct vq_domain *old);

/* Controllers of one type in the order of their indexes, types in the order in which they first appear: for whoever
 * adds controllers. */
void vq_domain_sort_controllers(struct vq_domain *domain);
/* "vda" is 0, "sdaa" 26; -1 when the name is not of that kind. */
int32_t vq_disk_target_index(const char *target);

/* The document, malloc'ed. flags: VQ_FORMAT_... */
char *vq_domain_format(const struct vq_domain *domain, unsigned flags);
/* The same with VQ_FORMAT_SECURE, and whether there is a secret in it: then it must not be stored as it is. */
char *vq_domain_format_secure(const struct vq_domain *domain, unsigned flags, bool *ret_has_secrets);

struct vq_domain *vq_domain_copy(const struct vq_domain *domain);
void vq_domain_free(struct vq_domain *domain);
VQ_DEFINE_AUTOPTR(vq_domain);
