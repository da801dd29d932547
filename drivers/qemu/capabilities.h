/* What an emulator on this host can do: asked of the program itself once, kept until its file changes.
 *
 * The emulators of a host are one object of the driver. Asking is asynchronous, because the answer may cost a run of the
 * emulator (with QMP, without a guest); a known answer costs one stat(2). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "conf/base/memory.h"
#include "drivers/qemu/cpu_model.h"

struct vq_driver_host;
struct vq_domain;

struct vq_qemu_machine {
    char *name;              /* "pc-q35-7.2" */
    char *alias;             /* "q35", or NULL */
    char *default_cpu;       /* or NULL */
    char *default_ram_id;    /* memory backend of the board: "pc.ram", or NULL */
    uint32_t cpus_max;
    bool is_default, is_deprecated, has_hotpluggable_cpus, has_acpi;
};

struct vq_qemu_cpu_model {
    char *name;
    bool is_usable;          /* under TCG: QEMU names nothing that it lacks */
    bool is_deprecated;
    char **missing;          /* sorted: features of it that QEMU cannot give */
    size_t n_missing;
};

/* An architecture of guests, and the program that runs it. */
struct vq_qemu_arch {
    const char *name;        /* as libvirt's clients know it */
    const char *qemu;        /* what the emulator calls it: qemu-system-... */
    int bits;
};
extern const struct vq_qemu_arch vq_qemu_archs[]; /* in the order in which they are told */
extern const size_t vq_n_qemu_archs;
/* NULL: unknown. */
const struct vq_qemu_arch *vq_qemu_arch_find(const char *name);
/* By the emulator's word; one that is unknown is its own. */
const char *vq_qemu_arch_of_qemu(const char *qemu);

/* What an accelerator gives to guests. */
struct vq_qemu_cpus {
    struct vq_qemu_cpu_model *models;
    size_t n_models;
    struct vq_cpu_facts cpu; /* the most that a guest can have */
};

/* Counted reference; the content does not change once it was handed out, except for what KVM can do, which is tried out
 * beside: has_kvm is false until a guest has really run under it. */
struct vq_qemu_capabilities {
    unsigned references;
    char *path;              /* as asked for */
    uint64_t device, inode, size_bytes;
    int64_t mtime_ns, ctime_ns;
    uint64_t version;        /* major * 1000000 + minor * 1000 + micro, as clients are told */
    char *package;           /* the packager's words, "" when none */
    char *arch;              /* "x86_64" */
    uint32_t default_machine; /* index */
    struct vq_qemu_machine *machines;
    size_t n_machines;
    struct vq_qemu_cpu_model *cpu_models;
    size_t n_cpu_models;
    char **devices;          /* sorted names of device types: see vq_qemu_capabilities_has_device() */
    size_t n_devices;
    char **features;         /* sorted names of CPU features that can be had under TCG; none: not known */
    size_t n_features;
    struct vq_cpu_facts cpu; /* the most that a guest can have under TCG */
    struct vq_qemu_cpus kvm; /* under KVM; empty until has_kvm */
    bool is_kvm_known;       /* the trial is over */
    bool has_kvm;            /* a guest can really run under it */
    char kvm_problem[256];   /* why not, for people; "" when it can */
    bool has_sandbox;
};

struct vq_qemu_capabilities *vq_qemu_capabilities_ref(const struct vq_qemu_capabilities *caps);
void vq_qemu_capabilities_free(struct vq_qemu_capabilities *caps); /* drops one reference; accepts NULL */
VQ_DEFINE_AUTOPTR(vq_qemu_capabilities);

bool vq_qemu_capabilities_has_device(const struct vq_qemu_capabilities *caps, const char *device);
/* Is it a model that people choose by name? Not the versions of one ("qemu64-v1"), nor what has a mode of its own. */
bool vq_qemu_cpu_model_is_for_people(const struct vq_qemu_cpu_model *model);
bool vq_qemu_capabilities_has_feature(const struct vq_qemu_capabilities *caps, const char *feature);
/* NULL: unknown. */
const struct vq_qemu_cpu_model *vq_qemu_capabilities_cpu_model(const struct vq_qemu_capabilities *caps, const char *name);
/* Does the emulator have a model of this name under the accelerator? */
bool vq_qemu_capabilities_knows_model(const struct vq_qemu_capabilities *caps, bool is_kvm, const char *name);
/* By name or alias; NULL: unknown. name NULL: the default machine. */
const struct vq_qemu_machine *vq_qemu_capabilities_machine(const struct vq_qemu_capabilities *caps, const char *name);

/* All emulators of this host. */
struct vq_qemu_emulators;
struct vq_qemu_emulators *vq_qemu_emulators_new(const struct vq_driver_host *host);
void vq_qemu_emulators_close(struct vq_qemu_emulators *emulators, void (*closed)(void *data), void *data);

/* Called back exactly once, maybe before this returns, within 15 s. caps is borrowed for the call (take a reference).
 * Errors: VIR_ERR_INTERNAL_ERROR / VIR_ERR_SYSTEM_ERROR: it cannot be run, says what it printed. */
typedef void (*vq_qemu_capabilities_cb)(const struct vq_qemu_capabilities *caps, const struct vq_error *err, void *data);
void vq_qemu_emulators_get(struct vq_qemu_emulators *emulators, const char *path, vq_qemu_capabilities_cb cb,
                           void *data);
/* The same, called back when it is also known whether KVM works: for guests of that type. */
void vq_qemu_emulators_get_kvm(struct vq_qemu_emulators *emulators, const char *path, vq_qemu_capabilities_cb cb,
                               void *data);
/* What is known already; NULL when it has to be asked for first. Borrowed until the loop turn ends. */
const struct vq_qemu_capabilities *vq_qemu_emulators_known(struct vq_qemu_emulators *emulators, const char *path);
/* The emulator that a definition without <emulator> gets; NULL: none of this host can run that architecture. */
const char *vq_qemu_emulators_default(struct vq_qemu_emulators *emulators, const char *arch);

struct vq_qemu_settings;
/* The CPU of this host. */
const struct vq_cpu_facts *vq_qemu_emulators_cpu(const struct vq_qemu_emulators *emulators);
/* The <host> part of this host's capabilities, read again after VQ_QEMU_HOST_MS; borrowed until the loop turn ends. */
enum { VQ_QEMU_HOST_MS = 60000 };
const char *vq_qemu_emulators_host(struct vq_qemu_emulators *emulators, const struct vq_qemu_settings *settings);
