/* Emulators: the cache of what each one can do. Asking them is probe.c. */
#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/capabilities.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/base/log.h"
#include "conf/base/text.h"
#include "drivers/driver.h"
#include "drivers/qemu/cpu_host.h"
#include "drivers/qemu/host_capabilities.h"
#include "drivers/qemu/probe.h"
#include "drivers/qemu/probe_cache.h"

enum { EMULATORS_MAX = 64, WAITERS_MAX = 4096 };

struct waiter {
    struct waiter *next;
    bool wants_kvm;
    vq_qemu_capabilities_cb cb;
    void *data;
};

/* One emulator that somebody asked for. */
struct emulator {
    struct vq_qemu_emulators *all;
    char *path;
    struct vq_qemu_capabilities *caps; /* NULL: not asked yet, or the last answer was an error */
    struct vq_qemu_probe *probe;       /* under way */
    struct vq_qemu_probe *trial;       /* of KVM, under way */
    struct vq_qemu_probe *kvm_probe;   /* KVM works; what it gives is asked for */
    bool is_cache_read;
    struct stat asked_file;            /* as it was when the probe began */
    struct waiter *waiters;
    size_t n_waiters;
};

struct vq_qemu_emulators {
    const struct vq_driver_host *host;
    struct emulator *list[EMULATORS_MAX];
    size_t n_list;
    char *default_path;
    char *host_text;           /* see vq_qemu_emulators_host() */
    uint64_t host_read_ms;
    uint8_t host_uuid[16];     /* in host_text: another one when the node joins a cluster */
    struct vq_cpu_facts cpu;   /* of this host */
    struct vq_qemu_trial trial; /* what became of the last trial of KVM in this boot */
    uv_work_t clock;           /* measures it, once */
    struct vq_host_clock clock_result;
    bool is_clock_running;
    void (*clock_over)(void *data); /* closing waits for it */
    void *clock_over_data;
};

/* ---- Architectures ---- */

const struct vq_qemu_arch vq_qemu_archs[] = {
    {"alpha", "alpha", 64},       {"armv7l", "arm", 32},        {"aarch64", "aarch64", 64},   {"cris", "cris", 32},
    {"i686", "i386", 32},         {"loongarch64", "loongarch64", 64}, {"m68k", "m68k", 32},   {"microblaze", "microblaze", 32},
    {"microblazeel", "microblazeel", 32}, {"mips", "mips", 32}, {"mipsel", "mipsel", 32},     {"mips64", "mips64", 64},
    {"mips64el", "mips64el", 64}, {"or32", "or1k", 32},         {"parisc", "hppa", 32},       {"ppc", "ppc", 32},
    {"ppc64", "ppc64", 64},       {"ppc64le", "ppc64", 64},     {"riscv32", "riscv32", 32},   {"riscv64", "riscv64", 64},
    {"s390x", "s390x", 64},       {"sh4", "sh4", 32},           {"sh4eb", "sh4eb", 32},       {"sparc", "sparc", 32},
    {"sparc64", "sparc64", 64},   {"x86_64", "x86_64", 64},     {"xtensa", "xtensa", 32},     {"xtensaeb", "xtensaeb", 32},
};
const size_t vq_n_qemu_archs = VQ_N_ELEMENTS(vq_qemu_archs);

const struct vq_qemu_arch *vq_qemu_arch_find(const char *name)
{
    for (size_t i = 0; i < vq_n_qemu_archs; i++)
        if (strcmp(vq_qemu_archs[i].name, name) == 0)
            return &vq_qemu_archs[i];
    return NULL;
}

const char *vq_qemu_arch_of_qemu(const char *qemu)
{
    for (size_t i = 0; i < vq_n_qemu_archs; i++)
        if (strcmp(vq_qemu_archs[i].qemu, qemu) == 0)
            return vq_qemu_archs[i].name;
    return qemu;
}

/* ---- Capabilities ---- */

struct vq_qemu_capabilities *vq_qemu_capabilities_ref(const struct vq_qemu_capabilities *caps)
{
    struct vq_qemu_capabilities *counted = (struct vq_qemu_capabilities *)caps;

    counted->references++;
    return counted;
}

static void names_free(char **names, size_t n_names)
{
    for (size_t i = 0; i < n_names; i++)
        free(names[i]);
    free(names);
}

static void models_free(struct vq_qemu_cpu_model *models, size_t n_models)
{
    for (size_t i = 0; i < n_models; i++) {
        free(models[i].name);
        names_free(models[i].missing, models[i].n_missing);
    }
    free(models);
}

void vq_qemu_capabilities_free(struct vq_qemu_capabilities *caps)
{
    if (caps == NULL || --caps->references > 0)
        return;
    for (size_t i = 0; i < caps->n_machines; i++) {
        free(caps->machines[i].name);
        free(caps->machines[i].alias);
        free(caps->machines[i].default_cpu);
        free(caps->machines[i].default_ram_id);
    }
    models_free(caps->cpu_models, caps->n_cpu_models);
    models_free(caps->kvm.models, caps->kvm.n_models);
    names_free(caps->devices, caps->n_devices);
    names_free(caps->features, caps->n_features);
    free(caps->machines);
    free(caps->path);
    free(caps->package);
    free(caps->arch);
    free(caps);
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void sort_names(char **names, size_t n_names)
{
    if (n_names > 0)
        qsort(names, n_names, sizeof(*names), compare_names);
}

/* Names that QEMU takes for a device beside that of its type, which is what it lists. */
static const char *type_of_device(const char *device)
{
    static const struct {
        const char *alias, *type;
    } aliases[] = {{"ahci", "ich9-ahci"}, {"lsi", "lsi53c895a"}};

    for (size_t i = 0; i < VQ_N_ELEMENTS(aliases); i++)
        if (strcmp(aliases[i].alias, device) == 0)
            return aliases[i].type;
    return device;
}

bool vq_qemu_capabilities_has_device(const struct vq_qemu_capabilities *caps, const char *device)
{
    device = type_of_device(device);
    return caps->n_devices > 0 &&
           bsearch(&device, caps->devices, caps->n_devices, sizeof(*caps->devices), compare_names) != NULL;
}

bool vq_qemu_capabilities_has_feature(const struct vq_qemu_capabilities *caps, const char *feature)
{
    feature = vq_cpu_feature_for_qemu(feature);
    return caps->n_features > 0 &&
           bsearch(&feature, caps->features, caps->n_features, sizeof(*caps->features), compare_names) != NULL;
}

const struct vq_qemu_cpu_model *vq_qemu_capabilities_cpu_model(const struct vq_qemu_capabilities *caps, const char *name)
{
    for (size_t i = 0; i < caps->n_cpu_models; i++)
        if (strcmp(caps->cpu_models[i].name, name) == 0)
            return &caps->cpu_models[i];
    return NULL;
}

bool vq_qemu_cpu_model_is_for_people(const struct vq_qemu_cpu_model *model)
{
    static const char *const modes[] = {"host", "max", "base"};
    const char *version = strrchr(model->name, '-');

    for (size_t i = 0; i < VQ_N_ELEMENTS(modes); i++)
        if (strcmp(model->name, modes[i]) == 0)
            return false;
    return version == NULL || version[1] != 'v' || version[2] == '\0' ||
           strspn(version + 2, "0123456789") != strlen(version + 2);
}

bool vq_qemu_capabilities_knows_model(const struct vq_qemu_capabilities *caps, bool is_kvm, const char *name)
{
    const struct vq_qemu_cpu_model *models = is_kvm ? caps->kvm.models : caps->cpu_models;
    size_t n_models = is_kvm ? caps->kvm.n_models : caps->n_cpu_models;

    for (size_t i = 0; i < n_models; i++)
        if (strcmp(models[i].name, name) == 0)
            return true;
    return false;
}

const struct vq_qemu_machine *vq_qemu_capabilities_machine(const struct vq_qemu_capabilities *caps, const char *name)
{
    if (name == NULL)
        return caps->default_machine < caps->n_machines ? &caps->machines[caps->default_machine] : NULL;
    for (size_t i = 0; i < caps->n_machines; i++)
        if (strcmp(caps->machines[i].name, name) == 0 || vq_streq(caps->machines[i].alias, name))
            return &caps->machines[i];
    return NULL;
}

/* ---- The cache ---- */

static void measure_clock(uv_work_t *work)
{
    struct vq_qemu_emulators *emulators = work->data;

    emulators->clock_result.is_known = vq_cpu_host_tsc(&emulators->clock_result.hz, &emulators->clock_result.scales);
}

static void clock_measured(uv_work_t *work, int status VQ_UNUSED)
{
    struct vq_qemu_emulators *emulators = work->data;

    emulators->is_clock_running = false;
    free(vq_take(emulators->host_text)); /* was written without it */
    if (emulators->clock_over != NULL)
        emulators->clock_over(emulators->clock_over_data);
}

struct vq_qemu_emulators *vq_qemu_emulators_new(const struct vq_driver_host *host)
{
    struct vq_qemu_emulators *emulators = vq_new(struct vq_qemu_emulators);

    emulators->host = host;
    vq_cpu_host_read(vq_cpuid_here, &emulators->cpu);
    emulators->clock.data = emulators;
    emulators->is_clock_running = uv_queue_work(host->loop, &emulators->clock, measure_clock, clock_measured) == 0;
    return emulators;
}

const struct vq_cpu_facts *vq_qemu_emulators_cpu(const struct vq_qemu_emulators *emulators)
{
    return &emulators->cpu;
}

static struct emulator *find(struct vq_qemu_emulators *emulators, const char *path)
{
    for (size_t i = 0; i < emulators->n_list; i++)
        if (strcmp(emulators->list[i]->path, path) == 0)
            return emulators->list[i];
    return NULL;
}

static bool is_fresh(const struct vq_qemu_capabilities *caps, const struct stat *now)
{
    return caps->device == now->st_dev && caps->inode == now->st_ino && caps->size_bytes == (uint64_t)now->st_size &&
           caps->mtime_ns == now->st_mtim.tv_sec * 1000000000 + now->st_mtim.tv_nsec &&
           caps->ctime_ns == now->st_ctim.tv_sec * 1000000000 + now->st_ctim.tv_nsec;
}

static bool is_same_file(const struct stat *a, const struct stat *b)
{
    return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
           a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

static void remember_file(struct vq_qemu_capabilities *caps, const struct stat *file)
{
    caps->device = file->st_dev;
    caps->inode = file->st_ino;
    caps->size_bytes = (uint64_t)file->st_size;
    caps->mtime_ns = file->st_mtim.tv_sec * 1000000000 + file->st_mtim.tv_nsec;
    caps->ctime_ns = file->st_ctim.tv_sec * 1000000000 + file->st_ctim.tv_nsec;
}

/* Tell those who can be told now. A callback may ask again, so each waiter leaves the list before it is called. */
static void tell(struct emulator *emulator, const struct vq_error *err)
{
    struct waiter **place = &emulator->waiters;

    while (*place != NULL) {
        struct waiter *waiter = *place;
        if (err == NULL && waiter->wants_kvm && !emulator->caps->is_kvm_known) {
            place = &waiter->next;
            continue;
        }
        *place = waiter->next;
        emulator->n_waiters--;
        waiter->cb(err == NULL ? emulator->caps : NULL, err, waiter->data);
        free(waiter);
        place = &emulator->waiters;
    }
}

static void kvm_known(struct emulator *emulator, bool works, const char *problem)
{
    emulator->caps->is_kvm_known = true;
    emulator->caps->has_kvm = works;
    (void)snprintf(emulator->caps->kvm_problem, sizeof(emulator->caps->kvm_problem), "%s", works ? "" : problem);
    tell(emulator, NULL);
}

/* KVM has run a guest: what it has to say about CPUs is of use, but nothing depends on it. */
static void kvm_probe_done(struct vq_qemu_capabilities *take_caps, const struct vq_error *err, void *data)
{
    struct emulator *emulator = data;
    VQ_AUTOPTR(vq_qemu_capabilities) caps = take_caps;

    emulator->kvm_probe = NULL;
    if (emulator->caps == NULL)
        return;
    if (err != NULL) {
        vq_log(WARN, "qemu.probe", "path='%s': asking for CPUs under KVM: %s, continuing", emulator->path, err->message);
    } else {
        models_free(emulator->caps->kvm.models, emulator->caps->kvm.n_models);
        emulator->caps->kvm = (struct vq_qemu_cpus){vq_take(caps->cpu_models), caps->n_cpu_models, caps->cpu};
        caps->n_cpu_models = 0;
    }
    kvm_known(emulator, true, "");
}

static void trial_known(struct emulator *emulator, const struct vq_qemu_trial *trial)
{
    if (trial->works)
        emulator->kvm_probe =
            vq_qemu_probe_start_kvm(emulator->all->host->loop, emulator->path, kvm_probe_done, emulator);
    else
        kvm_known(emulator, false, trial->problem);
}

/* KVM is the host's: what one emulator has found holds for the others. */
static void trial_done(bool works, const char *problem, void *data)
{
    struct emulator *emulator = data;
    struct vq_qemu_emulators *all = emulator->all;

    emulator->trial = NULL;
    all->trial = (struct vq_qemu_trial){.is_known = true, .works = works};
    (void)snprintf(all->trial.problem, sizeof(all->trial.problem), "%s", works ? "" : problem);
    vq_qemu_trial_cache_write(all->host->state_dir, all->host->boot_id, &all->trial);
    if (emulator->caps != NULL)
        trial_known(emulator, &all->trial);
}

static bool is_own_arch(const char *arch)
{
#if defined(__aarch64__)
    return strcmp(arch, "aarch64") == 0;
#else
    return strcmp(arch, "x86_64") == 0 || strcmp(arch, "i686") == 0;
#endif
}

/* The trial runs a guest for a while, so it is made only when somebody wants to know. One that is under way, of the file as
 * it was before, will do: KVM is the host's. */
static void try_kvm_if_wanted(struct emulator *emulator)
{
    struct vq_qemu_emulators *all = emulator->all;
    bool is_wanted = false;

    for (const struct waiter *waiter = emulator->waiters; waiter != NULL; waiter = waiter->next)
        is_wanted = is_wanted || waiter->wants_kvm;
    if (!is_wanted || emulator->trial != NULL || emulator->kvm_probe != NULL)
        return;
    if (!is_own_arch(emulator->caps->arch)) {
        kvm_known(emulator, false, "KVM runs guests of the host's own architecture");
        return;
    }
    if (!all->trial.is_known)
        vq_qemu_trial_cache_read(all->host->state_dir, all->host->boot_id, &all->trial);
    if (all->trial.is_known)
        trial_known(emulator, &all->trial);
    else
        emulator->trial = vq_qemu_probe_kvm(all->host->loop, emulator->path, emulator->caps->arch, trial_done, emulator);
}

static void take_capabilities(struct emulator *emulator, struct vq_qemu_capabilities *take_caps, const struct stat *file)
{
    take_caps->path = vq_strdup(emulator->path);
    sort_names(take_caps->devices, take_caps->n_devices);
    sort_names(take_caps->features, take_caps->n_features);
    for (size_t i = 0; i < take_caps->n_cpu_models; i++)
        sort_names(take_caps->cpu_models[i].missing, take_caps->cpu_models[i].n_missing);
    remember_file(take_caps, file);
    vq_qemu_capabilities_free(emulator->caps);
    emulator->caps = take_caps;
}

static void probe_done(struct vq_qemu_capabilities *take_caps, const struct vq_error *err, void *data)
{
    struct emulator *emulator = data;
    const struct vq_qemu_probe *probe = vq_take(emulator->probe);
    struct stat file;

    if (err != NULL) {
        struct vq_error wrapped = *err;
        (void)vq_error_wrap(&wrapped, "asking the emulator '%s'", emulator->path);
        tell(emulator, &wrapped);
        return;
    }
    if (stat(emulator->path, &file) < 0)
        memset(&file, 0, sizeof(file));
    else if (is_same_file(&emulator->asked_file, &file)) /* else nobody knows which of the two has answered */
        vq_qemu_probe_cache_write(emulator->all->host->state_dir, emulator->path, &file, vq_qemu_probe_answers(probe));
    take_capabilities(emulator, take_caps, &emulator->asked_file);
    tell(emulator, NULL);
    try_kvm_if_wanted(emulator);
}

/* What an earlier daemon has heard. */
static void read_cache(struct emulator *emulator, const struct stat *file)
{
    struct vq_qemu_capabilities *caps = NULL;

    if (!emulator->is_cache_read)
        caps = vq_qemu_probe_cache_read(emulator->all->host->state_dir, emulator->path, file);
    emulator->is_cache_read = true;
    if (caps != NULL)
        take_capabilities(emulator, caps, file);
}

static void refuse_path(const char *path, const char *why, vq_qemu_capabilities_cb cb, void *data)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, VIR_ERR_SYSTEM_ERROR, "Cannot check QEMU binary %s: %s", path == NULL ? "(none)" : path, why);
    cb(NULL, &err, data);
}

static void get(struct vq_qemu_emulators *emulators, const char *path, bool wants_kvm, vq_qemu_capabilities_cb cb,
                void *data)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct emulator *emulator;
    struct stat file;

    if (path == NULL || path[0] != '/' || stat(path, &file) < 0) {
        refuse_path(path, path != NULL && path[0] != '/' ? "the path must begin with /" : strerror(errno), cb, data);
        return;
    }
    emulator = find(emulators, path);
    if (emulator != NULL && emulator->caps != NULL && emulator->probe == NULL && is_fresh(emulator->caps, &file) &&
        (!wants_kvm || emulator->caps->is_kvm_known)) {
        cb(emulator->caps, NULL, data);
        return;
    }
    if (!S_ISREG(file.st_mode) || access(path, X_OK) < 0) {
        refuse_path(path, strerror(EACCES), cb, data);
        return;
    }
    if ((emulator == NULL && emulators->n_list == EMULATORS_MAX) ||
        (emulator != NULL && emulator->n_waiters >= WAITERS_MAX)) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "too many emulators, or too many who wait for '%s'", path);
        cb(NULL, &err, data);
        return;
    }
    if (emulator == NULL) {
        emulator = vq_new(struct emulator);
        emulator->all = emulators;
        emulator->path = vq_strdup(path);
        emulators->list[emulators->n_list++] = emulator;
        read_cache(emulator, &file);
        if (emulator->caps != NULL && !wants_kvm) {
            cb(emulator->caps, NULL, data);
            return;
        }
    }
    struct waiter *waiter = vq_new(struct waiter);
    *waiter = (struct waiter){emulator->waiters, wants_kvm, cb, data};
    emulator->waiters = waiter;
    emulator->n_waiters++;
    if (emulator->probe == NULL && (emulator->caps == NULL || !is_fresh(emulator->caps, &file))) {
        emulator->asked_file = file;
        emulator->probe = vq_qemu_probe_start(emulators->host->loop, path, probe_done, emulator);
    } else if (emulator->probe == NULL) {
        try_kvm_if_wanted(emulator);
    }
}

void vq_qemu_emulators_get(struct vq_qemu_emulators *emulators, const char *path, vq_qemu_capabilities_cb cb, void *data)
{
    get(emulators, path, false, cb, data);
}

void vq_qemu_emulators_get_kvm(struct vq_qemu_emulators *emulators, const char *path, vq_qemu_capabilities_cb cb,
                               void *data)
{
    get(emulators, path, true, cb, data);
}

const struct vq_qemu_capabilities *vq_qemu_emulators_known(struct vq_qemu_emulators *emulators, const char *path)
{
    const struct emulator *emulator = path == NULL ? NULL : find(emulators, path);

    return emulator == NULL ? NULL : emulator->caps;
}

static bool find_program(struct vq_qemu_emulators *emulators, const char *name)
{
    static const char *const dirs[] = {"/usr/bin", "/usr/local/bin", "/usr/libexec"};
    char path[PATH_MAX];

    for (size_t i = 0; i < VQ_N_ELEMENTS(dirs); i++) {
        (void)snprintf(path, sizeof(path), "%s/qemu-system-%s", dirs[i], name);
        if (access(path, X_OK) == 0) {
            vq_set_text(&emulators->default_path, path);
            return true;
        }
    }
    return false;
}

const char *vq_qemu_emulators_default(struct vq_qemu_emulators *emulators, const char *arch)
{
#if defined(__aarch64__)
    const char *own = "aarch64";
#else
    const char *own = "x86_64";
#endif
    const struct vq_qemu_arch *wanted = vq_qemu_arch_find(arch == NULL ? own : arch);

    if (wanted == NULL)
        return NULL;
    if (find_program(emulators, wanted->qemu) || (strcmp(wanted->name, "i686") == 0 && find_program(emulators, "x86_64")))
        return emulators->default_path;
    return NULL;
}

const char *vq_qemu_emulators_host(struct vq_qemu_emulators *emulators, const struct vq_qemu_settings *settings)
{
    uint64_t now = uv_now(emulators->host->loop);
    uint8_t uuid[16];

    vq_qemu_host_identity("", emulators->host, uuid);
    if (emulators->host_text == NULL || now - emulators->host_read_ms >= VQ_QEMU_HOST_MS ||
        memcmp(uuid, emulators->host_uuid, sizeof(uuid)) != 0) {
        free(emulators->host_text);
        memcpy(emulators->host_uuid, uuid, sizeof(uuid));
        emulators->host_text = vq_qemu_host_read("", settings, uuid, &emulators->cpu, &emulators->clock_result);
        emulators->host_read_ms = now;
    }
    return emulators->host_text;
}

/* ---- Closing ---- */

struct closing {
    struct vq_qemu_emulators *emulators;
    size_t n_open;
    void (*closed)(void *data);
    void *data;
};

static void closing_step(struct closing *closing)
{
    if (--closing->n_open > 0)
        return;
    for (size_t i = 0; i < closing->emulators->n_list; i++) {
        struct emulator *emulator = closing->emulators->list[i];
        vq_qemu_capabilities_free(emulator->caps);
        free(emulator->path);
        free(emulator);
    }
    free(closing->emulators->default_path);
    free(closing->emulators->host_text);
    free(closing->emulators);
    closing->closed(closing->data);
    free(closing);
}

static void probe_closed(void *data)
{
    closing_step(data);
}

void vq_qemu_emulators_close(struct vq_qemu_emulators *emulators, void (*closed)(void *data), void *data)
{
    struct closing *closing = vq_new(struct closing);
    struct vq_error err = VQ_ERROR_INIT;

    *closing = (struct closing){emulators, 1, closed, data};
    if (emulators->is_clock_running) {
        closing->n_open++;
        emulators->clock_over = probe_closed;
        emulators->clock_over_data = closing;
    }
    (void)vq_error_set(&err, VIR_ERR_OPERATION_ABORTED, "the daemon is stopping");
    for (size_t i = 0; i < emulators->n_list; i++) {
        struct emulator *emulator = emulators->list[i];
        struct vq_qemu_probe *probes[] = {vq_take(emulator->probe), vq_take(emulator->trial), vq_take(emulator->kvm_probe)};
        for (size_t k = 0; k < VQ_N_ELEMENTS(probes); k++) {
            if (probes[k] == NULL)
                continue;
            closing->n_open++;
            vq_qemu_probe_cancel(probes[k], probe_closed, closing);
        }
        tell(emulator, &err);
    }
    closing_step(closing);
}
