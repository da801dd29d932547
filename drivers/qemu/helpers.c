/* Programs beside QEMU: see helpers.h. */
#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/helpers.h"

#include <assert.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conf/base/buffer.h"
#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/devices.h"
#include "drivers/qemu/files.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/process.h"
#include "drivers/qemu/start.h"

enum { HELPER_TERM_MS = 3000, ARGS_MAX = 24, DESCRIPTOR_MAX_BYTES = 64 * 1024, TPM_FILES_MAX = 64 };

static char path_variable[] = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
static char locale_variable[] = "LC_ALL=C";
static char *const environment[] = {path_variable, locale_variable, NULL};

/* ---- Words ---- */

struct words {
    char *argv[ARGS_MAX + 1];
    size_t n;
};

static void add_word(struct words *words, char *take_word)
{
    assert(words->n < ARGS_MAX);
    words->argv[words->n++] = take_word;
    words->argv[words->n] = NULL;
}

static void words_done(struct words *words)
{
    for (size_t i = 0; i < words->n; i++)
        free(words->argv[i]);
}

static char *find_program(const char *name, struct vq_error *err)
{
    static const char *const dirs[] = {"/usr/local/bin", "/usr/bin", "/bin", "/usr/sbin"};

    for (size_t i = 0; i < VQ_N_ELEMENTS(dirs); i++) {
        VQ_AUTOFREE char *path = vq_asprintf("%s/%s", dirs[i], name);
        if (access(path, X_OK) == 0)
            return vq_take(path);
    }
    (void)vq_error_set(err, VIR_ERR_OPERATION_FAILED, "Unable to find '%s' binary in $PATH", name);
    return NULL;
}

/* ---- Sockets ---- */

/* Bound as root in a directory of QEMU's user, who may have put another file in its place: only a socket of ours is given away. */
static int give_socket(const char *path, uid_t uid, gid_t gid)
{
    VQ_AUTOCLOSE int fd = open(path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    struct stat status;

    if (fd < 0 || fstat(fd, &status) < 0)
        return -1;
    if (!S_ISSOCK(status.st_mode) || status.st_uid != geteuid() || status.st_nlink != 1) {
        errno = EPERM;
        return -1;
    }
    return fchownat(fd, "", uid, gid, AT_EMPTY_PATH);
}

/* Bound here, so that QEMU finds somebody there the moment it looks: the helper gets the listening end. */
static int listen_at(struct vq_qemu_guest *guest, const char *path, struct vq_error *err)
{
    const struct vq_qemu_settings *settings = &guest->qemu->settings;
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    mode_t before;
    int fd, rc;

    if (strlen(path) >= sizeof(address.sun_path))
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "the path of the socket '%s' is longer than %zu", path,
                            sizeof(address.sun_path) - 1);
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    before = umask(0077);
    rc = fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1) < 0 ||
                 (settings->has_user && give_socket(path, settings->uid, settings->gid) < 0)
             ? vq_error_system(err, errno, "cannot make the socket '%s'", path) : 0;
    (void)umask(before);
    if (rc < 0 && fd >= 0)
        (void)close(fd);
    return rc < 0 ? -1 : fd;
}

/* ---- The TPM's state ---- */

char *vq_qemu_tpm_dir(const char *state_dir, const uint8_t uuid[16])
{
    char text[VQ_UUID_TEXT];

    vq_uuid_format(uuid, text);
    return vq_asprintf("%s/swtpm/%s", state_dir, text);
}

static void remove_files(int dir)
{
    int copy = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *stream = copy < 0 ? NULL : fdopendir(copy);
    const struct dirent *entry;

    if (stream == NULL) {
        if (copy >= 0)
            (void)close(copy);
        return;
    }
    for (int n = 0; n < TPM_FILES_MAX && (entry = readdir(stream)) != NULL; n++)
        if (entry->d_name[0] != '.' || strcmp(entry->d_name, ".lock") == 0)
            (void)unlinkat(dir, entry->d_name, 0);
    (void)closedir(stream);
}

bool vq_qemu_tpm_remove(const char *state_dir, const uint8_t uuid[16])
{
    static const char *const versions[] = {"tpm1.2", "tpm2"};
    VQ_AUTOFREE char *path = vq_qemu_tpm_dir(state_dir, uuid);
    int dir = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (dir < 0)
        return errno == ENOENT;
    for (size_t i = 0; i < VQ_N_ELEMENTS(versions); i++) {
        int sub = openat(dir, versions[i], O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (sub < 0)
            continue;
        remove_files(sub);
        (void)close(sub);
        (void)unlinkat(dir, versions[i], AT_REMOVEDIR);
    }
    (void)close(dir);
    return rmdir(path) == 0;
}

static const struct vq_tpm *emulated_tpm(const struct vq_qemu_guest *guest)
{
    const struct vq_devices *devices = &guest->live->devices;

    for (size_t i = 0; i < devices->n_tpms; i++)
        if (devices->tpms[i]->backend == VQ_TPM_EMULATOR)
            return devices->tpms[i];
    return NULL;
}

static bool is_tpm2(const struct vq_tpm *tpm)
{
    return !vq_streq(tpm->version, "1.2");
}

static char *tpm_state_dir(const struct vq_qemu_guest *guest, const struct vq_tpm *tpm)
{
    VQ_AUTOFREE char *dir = vq_qemu_tpm_dir(guest->qemu->host->state_dir, guest->uuid);

    return vq_asprintf("%s/%s", dir, is_tpm2(tpm) ? "tpm2" : "tpm1.2");
}

static int make_dir(const char *path, mode_t mode, const struct vq_qemu_settings *settings, struct vq_error *err)
{
    if (mkdir(path, mode) < 0)
        return errno == EEXIST ? 0 : vq_error_system(err, errno, "cannot make directory '%s'", path);
    if (chmod(path, mode) < 0) /* whatever the umask */
        return vq_error_system(err, errno, "cannot set the mode of '%s'", path);
    if (settings != NULL && settings->has_tpm_user && chown(path, settings->tpm_uid, settings->tpm_gid) < 0)
        return vq_error_system(err, errno, "cannot give '%s' to user %u", path, (unsigned)settings->tpm_uid);
    return 0;
}

static int make_tpm_dirs(const struct vq_qemu_guest *guest, const char *state, struct vq_error *err)
{
    VQ_AUTOFREE char *all = vq_asprintf("%s/swtpm", guest->qemu->host->state_dir);
    VQ_AUTOFREE char *own = vq_qemu_tpm_dir(guest->qemu->host->state_dir, guest->uuid);

    return make_dir(all, 0711, NULL, err) < 0 || make_dir(own, 0711, NULL, err) < 0 ||
                   make_dir(state, 0700, &guest->qemu->settings, err) < 0 ? -1 : 0;
}

static bool has_tpm_state(const char *state, const struct vq_tpm *tpm)
{
    VQ_AUTOFREE char *file = vq_asprintf("%s/%s", state, is_tpm2(tpm) ? "tpm2-00.permall" : "tpm-00.permall");

    return access(file, F_OK) == 0;
}

static char *pcr_banks(const struct vq_tpm *tpm)
{
    const struct {
        bool is_on;
        const char *name;
    } banks[] = {{tpm->pcr_banks.sha1, "sha1"}, {tpm->pcr_banks.sha256, "sha256"}, {tpm->pcr_banks.sha384, "sha384"},
                 {tpm->pcr_banks.sha512, "sha512"}};
    VQ_AUTOBUFFER text = VQ_BUFFER_INIT;

    for (size_t i = 0; i < VQ_N_ELEMENTS(banks); i++)
        if (banks[i].is_on)
            vq_buffer_addf(&text, "%s%s", text.length == 0 ? "" : ",", banks[i].name);
    return text.length == 0 ? NULL : vq_buffer_steal(&text);
}

static int setup_words(const struct vq_qemu_guest *guest, const struct vq_tpm *tpm, const char *state, struct words *words,
                       struct vq_error *err)
{
    static const char *const common[] = {"--createek", "--create-ek-cert", "--create-platform-cert", "--lock-nvram",
                                         "--not-overwrite"};
    char *program = find_program("swtpm_setup", err), *banks = pcr_banks(tpm);

    if (program == NULL) {
        free(banks);
        return -1;
    }
    add_word(words, program);
    if (is_tpm2(tpm))
        add_word(words, vq_strdup("--tpm2"));
    add_word(words, vq_strdup("--tpm-state"));
    add_word(words, vq_strdup(state));
    add_word(words, vq_strdup("--vmid"));
    add_word(words, vq_asprintf("%s:%s", guest->name, guest->uuid_text));
    for (size_t i = 0; i < VQ_N_ELEMENTS(common); i++)
        add_word(words, vq_strdup(common[i]));
    if (banks != NULL) {
        add_word(words, vq_strdup("--pcr-banks"));
        add_word(words, banks);
    }
    return 0;
}

/* ---- Running one ---- */

static void helper_executed(struct vq_process *process, const struct vq_error *err, void *data)
{
    struct vq_qemu_helper *helper = data;
    struct vq_qemu_guest *guest = helper->guest;

    (void)process;
    if (err == NULL)
        return;
    vq_log(ERROR, "guest.helper", "domain=%s helper=%s: %s", guest->name, helper->name, err->message);
    if (guest->job.is_active && !guest->job.is_unwinding)
        vq_qemu_step_over(guest, err);
}

static bool is_any_left(const struct vq_qemu_guest *guest)
{
    for (size_t i = 0; i < guest->n_helpers; i++)
        if (guest->helpers[i].process != NULL)
            return true;
    return false;
}

static bool is_setup(const struct vq_qemu_helper *helper)
{
    return strcmp(helper->name, "swtpm_setup") == 0;
}

static void forget_all(struct vq_qemu_guest *guest)
{
    (void)uv_timer_stop(&guest->end_timer);
    guest->n_helpers = 0;
}

static void setup_over(struct vq_qemu_guest *guest, int status)
{
    struct vq_error err = VQ_ERROR_INIT;
    char tail[256];

    forget_all(guest);
    /* Undoing waits for it in a step of ours only: a script that is waited for meanwhile is another matter. */
    if (!guest->job.is_active || (guest->job.is_unwinding && !guest->waits_for_helpers))
        return;
    guest->waits_for_helpers = false;
    if (status == 0 || guest->job.is_unwinding) {
        vq_qemu_step_over(guest, NULL);
        return;
    }
    vq_qemu_log_tail(guest, tail, sizeof(tail));
    (void)vq_error_set(&err, VIR_ERR_INTERNAL_ERROR, "Could not run '%s'. exitstatus: %d; Check error log '%s' for details.",
                       "swtpm_setup", WIFEXITED(status) ? WEXITSTATUS(status) : -1, tail);
    vq_qemu_step_over(guest, &err);
}

static void helper_exited(struct vq_process *process, int status, void *data)
{
    struct vq_qemu_helper *helper = data;
    struct vq_qemu_guest *guest = helper->guest;
    struct vq_error err = VQ_ERROR_INIT;
    bool is_ending = guest->phase == VQ_GUEST_STOPPING || (guest->job.is_active && guest->job.is_unwinding);

    vq_process_free(process);
    helper->process = NULL;
    if (is_setup(helper)) {
        setup_over(guest, status);
        return;
    }
    if (is_ending) {
        if (!is_any_left(guest) && guest->waits_for_helpers) {
            guest->waits_for_helpers = false;
            forget_all(guest);
            vq_job_resume(&guest->job, NULL);
        }
        return;
    }
    /* Both end by themselves when QEMU's connection goes, which is mostly the reason. */
    vq_log(INFO, "guest.helper", "domain=%s helper=%s: it has ended, status %d", guest->name, helper->name, status);
    if (guest->phase == VQ_GUEST_STARTING && guest->job.is_waiting) {
        char tail[256];
        vq_qemu_log_tail(guest, tail, sizeof(tail));
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "%s has ended unexpectedly: %s", helper->name, tail);
        vq_job_resume(&guest->job, &err);
    }
}

static const struct vq_process_callbacks callbacks = {helper_executed, helper_exited};

struct helper_spec {
    const char *name;
    struct words words;
    int socket_fd;             /* that it listens on, -1: none; closed here after the fork */
    bool is_tpm;               /* runs as the TPM's user, with no right of root */
};

/* Born waiting: it runs when its record is written. */
static int fork_helper(struct vq_qemu_guest *guest, struct helper_spec *spec, struct vq_error *err)
{
    const struct vq_qemu_settings *settings = &guest->qemu->settings;
    struct vq_process_spec process = {.argv = spec->words.argv, .environment = environment, .output_fd = guest->log_fd,
                                      .fds = &spec->socket_fd, .n_fds = spec->socket_fd >= 0 ? 1 : 0,
                                      .has_user = spec->is_tpm && settings->has_tpm_user, .uid = settings->tpm_uid,
                                      .gid = settings->tpm_gid, .keep_capabilities = !spec->is_tpm, .is_own_session = true};
    struct vq_qemu_helper *helper = &guest->helpers[guest->n_helpers];

    if (guest->n_helpers == VQ_GUEST_HELPERS_MAX)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "more than %d helper programs", VQ_GUEST_HELPERS_MAX);
    *helper = (struct vq_qemu_helper){.guest = guest};
    (void)snprintf(helper->name, sizeof(helper->name), "%s", spec->name);
    if (vq_process_fork(guest->qemu->host->loop, &process, &callbacks, helper, &helper->process, err) < 0)
        return vq_error_wrap(err, "running %s", spec->name);
    helper->pid = vq_process_pid(helper->process);
    helper->start_time = vq_process_start_time(helper->process);
    guest->n_helpers++;
    return 0;
}

/* ---- The step that makes a TPM ---- */

enum vq_step_result vq_qemu_step_tpm(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;
    const struct vq_tpm *tpm = emulated_tpm(guest);
    VQ_AUTOFREE char *state = tpm == NULL ? NULL : tpm_state_dir(guest, tpm);
    struct helper_spec spec = {.name = "swtpm_setup", .socket_fd = -1, .is_tpm = true};
    struct vq_error err = VQ_ERROR_INIT;
    int rc;

    if (VQ_FAILPOINT("qemu.start.tpm"))
        return vq_qemu_step_failed(job, "qemu.start.tpm");
    if (tpm == NULL)
        return VQ_STEP_DONE;
    if (tpm->has_encryption) {
        (void)vq_error_set(&err, VIR_ERR_CONFIG_UNSUPPORTED, "an emulated TPM with an encrypted state is not supported");
        return vq_job_fail(job, &err);
    }
    if (has_tpm_state(state, tpm))
        return VQ_STEP_DONE;
    guest->log_start = lseek(guest->log_fd, 0, SEEK_END); /* what is told of a failure begins here */
    rc = make_tpm_dirs(guest, state, &err) < 0 || setup_words(guest, tpm, state, &spec.words, &err) < 0 ||
         fork_helper(guest, &spec, &err) < 0 ? -1 : 0;
    words_done(&spec.words);
    if (rc < 0 || vq_qemu_record_write(guest, &err) < 0)
        return vq_job_fail(job, &err);
    vq_process_go(guest->helpers[0].process);
    return VQ_STEP_WAIT; /* helper_exited() */
}

enum vq_step_result vq_qemu_step_tpm_undo(struct vq_job *job)
{
    return vq_qemu_step_helpers_undo(job);
}

/* ---- The step that runs them ---- */

static int tpm_spec(struct vq_qemu_guest *guest, const struct vq_tpm *tpm, struct helper_spec *spec, struct vq_error *err)
{
    VQ_AUTOFREE char *dir = vq_asprintf("%s/" VQ_QEMU_GUEST_SUBDIR, guest->dir);
    VQ_AUTOFREE char *socket_path = vq_qemu_tpm_socket(dir);
    VQ_AUTOFREE char *state = tpm_state_dir(guest, tpm);
    char *program = find_program("swtpm", err);

    if (program == NULL)
        return -1;
    add_word(&spec->words, program);
    add_word(&spec->words, vq_strdup("socket"));
    spec->socket_fd = listen_at(guest, socket_path, err);
    if (spec->socket_fd < 0)
        return -1;
    add_word(&spec->words, vq_strdup("--ctrl"));
    add_word(&spec->words, vq_asprintf("type=unixio,fd=%d", spec->socket_fd));
    add_word(&spec->words, vq_strdup("--tpmstate"));
    add_word(&spec->words, vq_asprintf("dir=%s,mode=0600", state));
    add_word(&spec->words, vq_strdup("--terminate"));
    if (is_tpm2(tpm))
        add_word(&spec->words, vq_strdup("--tpm2"));
    spec->name = "swtpm";
    spec->is_tpm = true;
    return 0;
}

/* Packagers say where theirs is, in QEMU's own kind of descriptor. */
static char *virtiofsd_of_host(struct vq_error *err)
{
    static const char *const dirs[] = {"/etc/qemu/vhost-user", "/usr/share/qemu/vhost-user"};

    for (size_t i = 0; i < VQ_N_ELEMENTS(dirs); i++) {
        DIR *stream = opendir(dirs[i]);
        const struct dirent *entry;
        char *binary = NULL;
        while (stream != NULL && binary == NULL && (entry = readdir(stream)) != NULL) {
            VQ_AUTOFREE char *path = vq_asprintf("%s/%s", dirs[i], entry->d_name);
            json_t *root = strstr(entry->d_name, ".json") == NULL ? NULL : json_load_file(path, 0, NULL);
            if (vq_streq(json_string_value(json_object_get(root, "type")), "fs"))
                binary = vq_strdup(json_string_value(json_object_get(root, "binary")));
            json_decref(root);
        }
        if (stream != NULL)
            (void)closedir(stream);
        if (binary != NULL)
            return binary;
    }
    (void)vq_error_set(err, VIR_ERR_OPERATION_FAILED, "Unable to find a satisfying virtiofsd");
    return NULL;
}

static void add_escaped(struct vq_buffer *text, const char *value)
{
    for (const char *c = value; *c != '\0'; c++) {
        vq_buffer_add(text, *c == ',' || *c == '\\' ? "\\" : "");
        vq_buffer_add_bytes(text, c, 1);
    }
}

static void add_switch(struct vq_buffer *text, enum vq_switch value, const char *on, const char *off)
{
    if (value != VQ_SWITCH_UNSET)
        vq_buffer_addf(text, ",%s", value == VQ_SWITCH_ON ? on : off);
}

static int virtiofs_spec(struct vq_qemu_guest *guest, const struct vq_filesystem *fs, struct helper_spec *spec,
                         struct vq_error *err)
{
    VQ_AUTOFREE char *dir = vq_asprintf("%s/" VQ_QEMU_GUEST_SUBDIR, guest->dir);
    VQ_AUTOFREE char *socket_path = vq_qemu_virtiofs_socket(fs, dir);
    VQ_AUTOBUFFER options = VQ_BUFFER_INIT;
    struct stat status;
    char *program = fs->binary_path != NULL ? vq_strdup(fs->binary_path) : virtiofsd_of_host(err);

    if (program == NULL)
        return -1;
    add_word(&spec->words, program);
    if (access(program, X_OK) < 0)
        return vq_error_system(err, errno, "virtiofsd binary '%s' is not executable", program);
    if (stat(fs->source_dir, &status) < 0 || !S_ISDIR(status.st_mode))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "the virtiofs export directory '%s' does not exist", fs->source_dir);
    spec->socket_fd = listen_at(guest, socket_path, err);
    if (spec->socket_fd < 0)
        return -1;
    add_word(&spec->words, vq_asprintf("--fd=%d", spec->socket_fd));
    vq_buffer_add(&options, "source=");
    add_escaped(&options, fs->source_dir);
    if (fs->cache_mode != NULL)
        vq_buffer_addf(&options, ",cache=%s", fs->cache_mode);
    if (fs->sandbox_mode != NULL)
        vq_buffer_addf(&options, ",sandbox=%s", fs->sandbox_mode);
    add_switch(&options, fs->xattr, "xattr", "no_xattr");
    add_switch(&options, fs->lock_flock, "flock", "no_flock");
    add_switch(&options, fs->lock_posix, "posix_lock", "no_posix_lock");
    add_word(&spec->words, vq_strdup("-o"));
    add_word(&spec->words, vq_buffer_steal(&options));
    if (fs->thread_pool_size != 0)
        add_word(&spec->words, vq_asprintf("--thread-pool-size=%u", fs->thread_pool_size));
    return 0;
}

static int run_tpm(struct vq_qemu_guest *guest, struct vq_error *err)
{
    const struct vq_tpm *tpm = emulated_tpm(guest);
    struct helper_spec spec = {.socket_fd = -1};
    int rc;

    if (tpm == NULL)
        return 0;
    rc = tpm_spec(guest, tpm, &spec, err) < 0 ? -1 : fork_helper(guest, &spec, err);
    words_done(&spec.words);
    if (spec.socket_fd >= 0)
        (void)close(spec.socket_fd);
    return rc;
}

static int run_virtiofs(struct vq_qemu_guest *guest, const struct vq_filesystem *fs, struct vq_error *err)
{
    VQ_AUTOFREE char *name = vq_asprintf("virtiofsd-%.40s", fs->info.alias);
    struct helper_spec spec = {.name = name, .socket_fd = -1};
    int rc = virtiofs_spec(guest, fs, &spec, err) < 0 ? -1 : fork_helper(guest, &spec, err);

    words_done(&spec.words);
    if (spec.socket_fd >= 0)
        (void)close(spec.socket_fd);
    return rc;
}

static int fork_all(struct vq_qemu_guest *guest, struct vq_error *err)
{
    const struct vq_devices *devices = &guest->live->devices;

    if (run_tpm(guest, err) < 0)
        return -1;
    for (size_t i = 0; i < devices->n_filesystems; i++)
        if (vq_qemu_filesystem_is_virtiofs(devices->filesystems[i]) && devices->filesystems[i]->source_socket == NULL &&
            run_virtiofs(guest, devices->filesystems[i], err) < 0)
            return -1;
    return guest->n_helpers == 0 ? 0 : vq_qemu_record_write(guest, err);
}

enum vq_step_result vq_qemu_step_helpers(struct vq_job *job)
{
    struct vq_qemu_guest *guest = job->owner;
    struct vq_error err = VQ_ERROR_INIT;

    if (VQ_FAILPOINT("qemu.start.helpers"))
        return vq_qemu_step_failed(job, "qemu.start.helpers");
    if (fork_all(guest, &err) < 0)
        return vq_job_fail(job, &err);
    for (size_t i = 0; i < guest->n_helpers; i++)
        vq_process_go(guest->helpers[i].process);
    return VQ_STEP_DONE;
}

static void end_is_late(uv_timer_t *timer)
{
    struct vq_qemu_guest *guest = timer->data;

    for (size_t i = 0; i < guest->n_helpers; i++) {
        struct vq_error err = VQ_ERROR_INIT;
        if (guest->helpers[i].process == NULL)
            continue;
        vq_log(WARN, "guest.helper", "domain=%s helper=%s: does not end after SIGTERM, sending SIGKILL", guest->name,
               guest->helpers[i].name);
        if (vq_process_signal(guest->helpers[i].process, SIGKILL, &err) < 0)
            vq_log(ERROR, "guest.helper", "domain=%s helper=%s: %s", guest->name, guest->helpers[i].name, err.message);
    }
}

enum vq_step_result vq_qemu_step_helpers_undo(struct vq_job *job)
{
    struct vq_qemu_guest *guest = vq_qemu_undoing(job);

    for (size_t i = 0; i < guest->n_helpers; i++) {
        struct vq_qemu_helper *helper = &guest->helpers[i];
        struct vq_error err = VQ_ERROR_INIT;
        if (helper->process == NULL)
            continue;
        if (!vq_process_has_gone_on(helper->process)) { /* still waits for our word, and ends without it */
            vq_process_free(helper->process);
            helper->process = NULL;
        } else if (vq_process_signal(helper->process, SIGTERM, &err) < 0) {
            vq_log(WARN, "guest.helper", "domain=%s helper=%s: %s", guest->name, helper->name, err.message);
        }
    }
    if (!is_any_left(guest)) {
        forget_all(guest);
        return VQ_STEP_DONE;
    }
    guest->waits_for_helpers = true;
    (void)uv_timer_start(&guest->end_timer, end_is_late, HELPER_TERM_MS, HELPER_TERM_MS);
    return VQ_STEP_WAIT; /* helper_exited() */
}

/* ---- Over a restart ---- */

json_t *vq_qemu_helpers_pack(const struct vq_qemu_guest *guest)
{
    json_t *list = json_array();

    for (size_t i = 0; i < guest->n_helpers; i++)
        (void)json_array_append_new(list, json_pack("[s,I,I]", guest->helpers[i].name, (json_int_t)guest->helpers[i].pid,
                                                    (json_int_t)guest->helpers[i].start_time));
    return list;
}

void vq_qemu_helpers_unpack(const json_t *list, struct vq_qemu_guest *guest)
{
    for (size_t i = 0; i < json_array_size(list) && guest->n_helpers < VQ_GUEST_HELPERS_MAX; i++) {
        const json_t *entry = json_array_get(list, i);
        const char *name = json_string_value(json_array_get(entry, 0));
        json_int_t pid = json_integer_value(json_array_get(entry, 1)), start = json_integer_value(json_array_get(entry, 2));
        struct vq_qemu_helper *helper = &guest->helpers[guest->n_helpers];

        if (name == NULL || pid <= 1 || pid > INT32_MAX || start <= 0)
            continue;
        *helper = (struct vq_qemu_helper){.guest = guest, .pid = (pid_t)pid, .start_time = (uint64_t)start};
        (void)snprintf(helper->name, sizeof(helper->name), "%s", name);
        guest->n_helpers++;
    }
}

void vq_qemu_helpers_adopt(struct vq_qemu_guest *guest)
{
    for (size_t i = 0; i < guest->n_helpers; i++) {
        struct vq_qemu_helper *helper = &guest->helpers[i];
        struct vq_error err = VQ_ERROR_INIT;

        if (helper->process == NULL && vq_process_adopt(guest->qemu->host->loop, helper->pid, helper->start_time, &callbacks,
                                                        helper, &helper->process, &err) < 0 &&
            err.code != VIR_ERR_NO_DOMAIN)
            vq_log(WARN, "guest.helper", "domain=%s helper=%s pid=%d: %s", guest->name, helper->name, (int)helper->pid,
                   err.message);
    }
}

void vq_qemu_helpers_done(struct vq_qemu_guest *guest)
{
    for (size_t i = 0; i < guest->n_helpers; i++) {
        vq_process_free(guest->helpers[i].process);
        guest->helpers[i].process = NULL;
    }
    guest->n_helpers = 0;
}
