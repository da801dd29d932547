/* Compressors and decompressors of saved guests: see save_filter.h. They run as QEMU's user without any capability: what they
 * unpack may come from a stranger. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/save_filter.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/driver.h"
#include "drivers/qemu/process.h"

enum { WORDS_MAX = 6 };

/* Each reads standard input and writes standard output. */
static const struct {
    const char *name, *program;
    const char *pack[WORDS_MAX], *unpack[WORDS_MAX];
} programs[VQ_SAVE_FORMATS] = {
    [VQ_SAVE_RAW] = { "raw", "dd", { "bs=1M", "iflag=fullblock", "oflag=direct", "status=none" },
                      { "bs=1M", "iflag=direct", "status=none" } },
    [VQ_SAVE_GZIP] = { "gzip", "gzip", { "-c" }, { "-dc" } },
    [VQ_SAVE_BZIP2] = { "bzip2", "bzip2", { "-c" }, { "-dc" } },
    [VQ_SAVE_XZ] = { "xz", "xz", { "-c" }, { "-dc" } },
    [VQ_SAVE_LZOP] = { "lzop", "lzop", { "-c" }, { "-dc" } },
    [VQ_SAVE_ZSTD] = { "zstd", "zstd", { "-qc" }, { "-dqc" } },
};

struct vq_save_filter {
    struct vq_process *process;
    int words;               /* what it says, in memory */
    enum vq_save_format format;
    struct vq_error exec_err;
    void (*ended)(const struct vq_error *err, void *data);
    void *data;
};

bool vq_save_format_of(const char *name, enum vq_save_format *ret)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(programs); i++) {
        if (!vq_streq(programs[i].name, name))
            continue;
        *ret = (enum vq_save_format)i;
        return true;
    }
    return false;
}

const char *vq_save_format_name(enum vq_save_format format)
{
    return programs[format].name;
}

/* The daemon's own list: nothing of the environment. NULL: there is none. */
static char *find_program(const char *name)
{
    static const char *const dirs[] = { "/usr/bin", "/bin", "/usr/local/bin" };

    for (size_t i = 0; i < VQ_N_ELEMENTS(dirs); i++) {
        char *path = vq_asprintf("%s/%s", dirs[i], name);

        if (access(path, X_OK) == 0)
            return path;
        free(path);
    }
    return NULL;
}

int vq_save_filter_check(enum vq_save_format format, const char *setting, struct vq_error *err)
{
    VQ_AUTOFREE char *path = find_program(programs[format].program);

    if (path != NULL || format == VQ_SAVE_RAW)
        return 0;
    return setting != NULL
               ? vq_error_set(err, VIR_ERR_OPERATION_FAILED, "Compression program for %s image format in configuration file "
                              "isn't available", setting)
               : vq_error_set(err, VIR_ERR_OPERATION_FAILED, "this host has no program '%s' to read the image with",
                              programs[format].program);
}

/* Its last words, one line. */
static void read_words(const struct vq_save_filter *filter, char *text, size_t size)
{
    ssize_t n = pread(filter->words, text, size - 1, 0);

    size_t empty;

    text[n > 0 ? n : 0] = '\0';
    empty = strspn(text, "\n");
    memmove(text, text + empty, strlen(text + empty) + 1);
    text[strcspn(text, "\n")] = '\0';
}

static void executed(struct vq_process *process, const struct vq_error *err, void *data)
{
    struct vq_save_filter *filter = data;

    (void)process;
    if (err != NULL)
        filter->exec_err = *err; /* the exit follows at once */
}

static void exited(struct vq_process *process, int status, void *data)
{
    struct vq_save_filter *filter = data;
    struct vq_error err = filter->exec_err;
    char words[256];

    (void)process;
    read_words(filter, words, sizeof(words));
    if (err.code == VIR_ERR_OK && (!WIFEXITED(status) || WEXITSTATUS(status) != 0))
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "%s failed%s%s", programs[filter->format].program,
                           words[0] != '\0' ? ": " : "", words);
    filter->ended(err.code != VIR_ERR_OK ? &err : NULL, filter->data);
}

static const struct vq_process_callbacks callbacks = { executed, exited };

int vq_save_filter_start(struct vq_qemu *qemu, enum vq_save_format format, bool unpacks, int in_fd, int out_fd,
                         void (*ended)(const struct vq_error *err, void *data), void *data, struct vq_save_filter **ret,
                         struct vq_error *err)
{
    static char path_setting[] = "PATH=/usr/bin:/bin", language[] = "LC_ALL=C";
    VQ_AUTOFREE char *program = find_program(programs[format].program);
    const char *const *words = unpacks ? programs[format].unpack : programs[format].pack;
    char *argv[WORDS_MAX + 2] = { program }, *environment[] = { path_setting, language, NULL };
    struct vq_save_filter *filter;
    struct vq_process_spec spec = { .argv = argv, .environment = environment, .has_streams = true, .input_fd = in_fd,
                                    .output_fd = out_fd, .has_user = qemu->settings.has_user, .uid = qemu->settings.uid,
                                    .gid = qemu->settings.gid };

    if (program == NULL)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "this host has no program '%s'", programs[format].program);
    for (size_t i = 0; i < WORDS_MAX && words[i] != NULL; i++)
        argv[i + 1] = (char *)(uintptr_t)words[i]; /* exec does not write to it */
    filter = vq_new(struct vq_save_filter);
    *filter = (struct vq_save_filter){ .format = format, .ended = ended, .data = data, .exec_err = VQ_ERROR_INIT,
                                       .words = memfd_create("vq-words", MFD_CLOEXEC) };
    spec.error_fd = filter->words;
    if (vq_process_fork(qemu->host->loop, &spec, &callbacks, filter, &filter->process, err) < 0) {
        vq_save_filter_free(filter);
        return -1;
    }
    vq_process_go(filter->process);
    *ret = filter;
    return 0;
}

void vq_save_filter_free(struct vq_save_filter *filter)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (filter == NULL)
        return;
    if (filter->process != NULL && !vq_process_has_exited(filter->process) &&
        vq_process_signal(filter->process, SIGKILL, &err) < 0)
        vq_log(WARN, "save.filter", "%s", err.message); /* it ends with its pipe */
    vq_process_free(filter->process);
    if (filter->words >= 0)
        (void)close(filter->words);
    free(filter);
}
