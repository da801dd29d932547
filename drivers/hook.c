/* Hook scripts, one after the other: spawn, feed, listen, judge. */
#define VQ_FROM VIR_FROM_HOOK
#include "drivers/hook.h"

#include <dirent.h>
#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/base/buffer.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"

enum { SCRIPTS_MAX = 256, PIPES = 3, CHUNK = 16384 };

struct vq_hook {
    struct vq_hook *next;
    uv_loop_t *loop;
    char **scripts;
    size_t n_scripts, current;
    char *words[4];
    char *input;             /* of the script that runs */
    bool is_filter, has_output, is_late, is_cancelled, has_exited;
    unsigned timeout_ms;
    vq_hook_cb cb;
    void *data;
    uv_process_t process;
    uv_pipe_t pipes[PIPES];
    uv_timer_t timer;
    unsigned open_handles;
    uv_write_t write;
    struct vq_buffer output, complaint;
    char chunk[CHUNK];
    int64_t status;
    int signal_number;
    struct vq_error err;
};

static struct vq_hook *all; /* of the one loop that has them */

/* ---- Which ---- */

static bool is_script(const char *path)
{
    struct stat stat_buf;

    return stat(path, &stat_buf) == 0 && S_ISREG(stat_buf.st_mode) && access(path, X_OK) == 0;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static size_t find_in_dir(const char *path, char **ret_scripts)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    size_t n = 0;

    while (dir != NULL && n < SCRIPTS_MAX && (entry = readdir(dir)) != NULL) {
        VQ_AUTOFREE char *script = vq_asprintf("%s/%s", path, entry->d_name);

        if (entry->d_name[0] != '.' && is_script(script))
            ret_scripts[n++] = vq_take(script);
    }
    if (dir != NULL)
        (void)closedir(dir);
    qsort(ret_scripts, n, sizeof(*ret_scripts), by_name);
    return n;
}

static size_t find_scripts(const char *config_dir, const char *name, char **ret_scripts)
{
    VQ_AUTOFREE char *first = vq_asprintf("%s/hooks/%s", config_dir, name);
    VQ_AUTOFREE char *dir = vq_asprintf("%s/hooks/%s.d", config_dir, name);
    size_t n = 0;

    if (is_script(first))
        ret_scripts[n++] = vq_take(first);
    return n + find_in_dir(dir, ret_scripts + n);
}

static void free_scripts(char **scripts, size_t n)
{
    for (size_t i = 0; i < n; i++)
        free(scripts[i]);
}

bool vq_hook_exists(const char *config_dir, const char *name)
{
    char *scripts[SCRIPTS_MAX + 1];
    size_t n = find_scripts(config_dir, name, scripts);

    free_scripts(scripts, n);
    return n > 0;
}

/* ---- The end of all ---- */

static void hook_free(struct vq_hook *hook)
{
    struct vq_hook **at = &all;

    while (*at != hook)
        at = &(*at)->next;
    *at = hook->next;
    free_scripts(hook->scripts, hook->n_scripts);
    free(hook->scripts);
    for (size_t i = 0; i < VQ_N_ELEMENTS(hook->words); i++)
        free(hook->words[i]);
    free(hook->input);
    vq_buffer_done(&hook->output);
    vq_buffer_done(&hook->complaint);
    free(hook);
}

static void run_script(struct vq_hook *hook);

static void finish(struct vq_hook *hook)
{
    if (hook->cb != NULL)
        hook->cb(hook->is_filter && hook->has_output && hook->err.code == VIR_ERR_OK ? hook->input : NULL,
                 hook->err.code != VIR_ERR_OK ? &hook->err : NULL, hook->data);
    hook_free(hook);
}

/* ---- The end of one ---- */

static void describe(struct vq_hook *hook)
{
    const char *said = hook->complaint.length > 0 ? hook->complaint.data : "it wrote nothing to its standard error";
    const char *script = hook->scripts[hook->current];
    VQ_AUTOFREE char *call = vq_asprintf("%s %s %s %s %s", script, hook->words[0], hook->words[1], hook->words[2], hook->words[3]);

    if (hook->is_late)
        (void)vq_error_set(&hook->err, VIR_ERR_HOOK_SCRIPT_FAILED, "'%s' did not end within %u s: %s", call,
                           hook->timeout_ms / 1000, said);
    else if (hook->output.length > VQ_HOOK_OUTPUT_MAX)
        (void)vq_error_set(&hook->err, VIR_ERR_HOOK_SCRIPT_FAILED, "'%s' wrote more than %d bytes", call, VQ_HOOK_OUTPUT_MAX);
    else if (hook->signal_number != 0)
        (void)vq_error_set(&hook->err, VIR_ERR_HOOK_SCRIPT_FAILED, "'%s' was ended by signal %d: %s", call,
                           hook->signal_number, said);
    else
        (void)vq_error_set(&hook->err, VIR_ERR_HOOK_SCRIPT_FAILED, "'%s' exited with status %lld: %s", call,
                           (long long)hook->status, said);
}

static void trim(struct vq_buffer *text)
{
    while (text->length > 0 && (unsigned char)text->data[text->length - 1] <= ' ')
        vq_buffer_truncate(text, text->length - 1);
}

static void script_over(struct vq_hook *hook)
{
    trim(&hook->complaint);
    if (hook->err.code == VIR_ERR_OK && (hook->is_late || hook->signal_number != 0 || hook->status != 0 ||
                                         hook->output.length > VQ_HOOK_OUTPUT_MAX))
        describe(hook);
    else if (hook->complaint.length > 0)
        vq_log(INFO, "hook", "%s: %s", hook->scripts[hook->current], hook->complaint.data);
    if (hook->is_filter && hook->output.length > 0) {
        free(hook->input);
        hook->input = vq_buffer_steal(&hook->output);
        hook->has_output = true;
    }
    vq_buffer_truncate(&hook->output, 0);
    vq_buffer_truncate(&hook->complaint, 0);
    hook->current++;
    if (hook->err.code == VIR_ERR_OK && hook->current < hook->n_scripts && !hook->is_cancelled)
        run_script(hook);
    else
        finish(hook);
}

static void handle_closed(uv_handle_t *handle)
{
    struct vq_hook *hook = handle->data;

    if (--hook->open_handles == 0)
        script_over(hook);
}

static void close_handle(uv_handle_t *handle)
{
    if (!uv_is_closing(handle))
        uv_close(handle, handle_closed);
}

static void close_all(struct vq_hook *hook)
{
    for (size_t i = 0; i < PIPES; i++)
        close_handle((uv_handle_t *)&hook->pipes[i]);
    close_handle((uv_handle_t *)&hook->timer);
    close_handle((uv_handle_t *)&hook->process);
}

/* ---- While it runs ---- */

static void kill_group(struct vq_hook *hook, int signal_number)
{
    /* Only while it is ours and not waited for: the number is nobody else's then. */
    if (!hook->has_exited && hook->process.pid > 0)
        (void)kill(-hook->process.pid, signal_number);
}

static void keep(struct vq_hook *hook, struct vq_buffer *to, const char *bytes, size_t n)
{
    if (to == &hook->output) {
        if (!hook->is_filter)
            return;
        if (to->length <= VQ_HOOK_OUTPUT_MAX)
            vq_buffer_add_bytes(to, bytes, n);
        if (to->length > VQ_HOOK_OUTPUT_MAX)
            kill_group(hook, SIGKILL);
        return;
    }
    vq_buffer_add_bytes(to, bytes, n);
    if (to->length > VQ_HOOK_WORDS_MAX) {
        size_t cut = to->length - VQ_HOOK_WORDS_MAX;

        memmove(to->data, to->data + cut, VQ_HOOK_WORDS_MAX);
        vq_buffer_truncate(to, VQ_HOOK_WORDS_MAX);
    }
}

static struct vq_buffer *buffer_of(struct vq_hook *hook, const void *pipe)
{
    return pipe == &hook->pipes[1] ? &hook->output : &hook->complaint;
}

static void alloc_cb(uv_handle_t *handle, size_t suggested, uv_buf_t *ret_buf)
{
    struct vq_hook *hook = handle->data;

    (void)suggested;
    *ret_buf = uv_buf_init(hook->chunk, sizeof(hook->chunk)); /* taken at once, by read_cb() */
}

static void read_cb(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct vq_hook *hook = stream->data;

    if (n > 0)
        keep(hook, buffer_of(hook, stream), buf->base, (size_t)n);
    else if (n < 0)
        (void)uv_read_stop(stream);
}

/* What it wrote before it ended and the loop has not brought yet. The descriptor does not block. */
static void drain(struct vq_hook *hook, uv_pipe_t *pipe)
{
    char bytes[4096];
    uv_os_fd_t fd;
    ssize_t n;

    if (uv_is_closing((uv_handle_t *)pipe) || uv_fileno((uv_handle_t *)pipe, &fd) != 0)
        return;
    /* A background process that writes without end is not followed. */
    for (size_t total = 0; total < VQ_HOOK_OUTPUT_MAX && (n = read(fd, bytes, sizeof(bytes))) > 0; total += (size_t)n)
        keep(hook, buffer_of(hook, pipe), bytes, (size_t)n);
}

static void exited(uv_process_t *process, int64_t status, int signal_number)
{
    struct vq_hook *hook = process->data;

    hook->has_exited = true;
    hook->status = status;
    hook->signal_number = signal_number;
    drain(hook, &hook->pipes[1]);
    drain(hook, &hook->pipes[2]);
    close_all(hook);
}

static void late(uv_timer_t *timer)
{
    struct vq_hook *hook = timer->data;

    kill_group(hook, hook->is_late ? SIGKILL : SIGTERM);
    hook->is_late = true;
    (void)uv_timer_start(timer, late, VQ_HOOK_KILL_MS, VQ_HOOK_KILL_MS);
}

static void written(uv_write_t *write, int status)
{
    struct vq_hook *hook = write->data;

    (void)status; /* a script need not read */
    close_handle((uv_handle_t *)&hook->pipes[0]);
}

/* ---- Its begin ---- */

static int spawn(struct vq_hook *hook)
{
    char *args[] = { hook->scripts[hook->current], hook->words[0], hook->words[1], hook->words[2], hook->words[3], NULL };
    char *environment[] = { "LC_ALL=C", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
                            "USER=root", "LOGNAME=root", NULL };
    uv_stdio_container_t stdio[PIPES];
    uv_process_options_t options = { .exit_cb = exited, .file = args[0], .args = args, .env = environment, .cwd = "/",
                                     .flags = UV_PROCESS_DETACHED, .stdio_count = PIPES, .stdio = stdio };

    for (size_t i = 0; i < PIPES; i++) {
        stdio[i].flags = (uv_stdio_flags)(UV_CREATE_PIPE | (i == 0 ? UV_READABLE_PIPE : UV_WRITABLE_PIPE));
        stdio[i].data.stream = (uv_stream_t *)&hook->pipes[i];
    }
    return uv_spawn(hook->loop, &hook->process, &options);
}

static void run_script(struct vq_hook *hook)
{
    hook->is_late = hook->has_exited = false;
    for (size_t i = 0; i < PIPES; i++) {
        (void)uv_pipe_init(hook->loop, &hook->pipes[i], 0);
        hook->pipes[i].data = hook;
    }
    (void)uv_timer_init(hook->loop, &hook->timer);
    hook->timer.data = hook->process.data = hook;
    hook->open_handles = PIPES + 2;

    int rc = spawn(hook);
    if (rc != 0) {
        (void)vq_error_set(&hook->err, VIR_ERR_HOOK_SCRIPT_FAILED, "cannot run '%s': %s", hook->scripts[hook->current],
                           uv_strerror(rc));
        hook->has_exited = true;
        close_all(hook);
        return;
    }
    (void)uv_timer_start(&hook->timer, late, hook->timeout_ms, 0);
    for (size_t i = 1; i < PIPES; i++)
        (void)uv_read_start((uv_stream_t *)&hook->pipes[i], alloc_cb, read_cb);
    uv_buf_t buf = uv_buf_init(hook->input != NULL ? hook->input : "", hook->input != NULL ? (unsigned)strlen(hook->input) : 0);
    hook->write.data = hook;
    if (uv_write(&hook->write, (uv_stream_t *)&hook->pipes[0], &buf, 1, written) != 0)
        close_handle((uv_handle_t *)&hook->pipes[0]);
}

struct vq_hook *vq_hook_start(uv_loop_t *loop, const struct vq_hook_call *call, vq_hook_cb cb, void *data)
{
    char *scripts[SCRIPTS_MAX + 1];
    size_t n = find_scripts(call->config_dir, call->name, scripts);

    if (n == 0)
        return NULL;
    struct vq_hook *hook = vq_new(struct vq_hook);
    hook->scripts = vq_calloc(n, sizeof(*hook->scripts));
    memcpy(hook->scripts, scripts, n * sizeof(*scripts));
    hook->n_scripts = n;
    hook->loop = loop;
    hook->words[0] = vq_strdup(call->object != NULL ? call->object : "-");
    hook->words[1] = vq_strdup(call->operation);
    hook->words[2] = vq_strdup(call->sub_operation);
    hook->words[3] = vq_strdup(call->extra != NULL ? call->extra : "-");
    hook->input = call->input != NULL ? vq_strdup(call->input) : NULL;
    hook->is_filter = call->is_filter;
    hook->timeout_ms = call->timeout_ms != 0 ? call->timeout_ms : VQ_HOOK_TIMEOUT_MS;
    hook->cb = cb;
    hook->data = data;
    hook->next = all;
    all = hook;
    run_script(hook);
    return hook;
}

void vq_hook_cancel(struct vq_hook *hook)
{
    if (hook == NULL)
        return;
    hook->cb = NULL;
    hook->is_cancelled = true;
    kill_group(hook, SIGKILL); /* and then exited() */
}

void vq_hook_end_all(void)
{
    for (struct vq_hook *hook = all; hook != NULL; hook = hook->next) {
        hook->is_late = true;
        kill_group(hook, SIGKILL);
    }
}
