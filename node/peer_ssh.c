/* The ssh child. Freed when libuv has let go of all its handles, which is after the child has ended. */
#define VQ_FROM VIR_FROM_RPC
#include "node/peer_ssh.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "node/peer_uri.h"

enum { SAID_MAX = 400, PATIENCE_MS = 2000, ARGUMENTS_MAX = 32 };

struct vq_ssh {
    uv_process_t process;
    uv_pipe_t errors; /* its standard error */
    uv_timer_t timer;
    unsigned n_handles;
    bool has_exited, has_errors_ended, is_released, is_closing;
    char said[SAID_MAX + 1];
    size_t n_said;
    char room[256]; /* for reading */
    void (*cb)(const char *said, void *data);
    void *data;
};

/* ---- The command ------------------------------------------------------------------------------------------------- */

static void add_quoted(struct vq_buffer *buffer, const char *text)
{
    vq_buffer_add(buffer, "'");
    for (const char *c = text; *c != '\0'; c++)
        if (*c == '\'')
            vq_buffer_add(buffer, "'\\''");
        else
            vq_buffer_add_bytes(buffer, c, 1);
    vq_buffer_add(buffer, "'");
}

/* For the login shell of the other host, whatever it is: sh with one quoted script. */
static char *remote_command(const struct vq_peer_uri *uri)
{
    VQ_AUTOBUFFER script = VQ_BUFFER_INIT;
    struct vq_buffer command = VQ_BUFFER_INIT;
    bool helper_only = vq_streq(uri->proxy, "native");
    bool netcat_only = vq_streq(uri->proxy, "netcat") || uri->netcat != NULL || uri->socket != NULL;

    if (!netcat_only) {
        vq_buffer_add(&script, helper_only ? "exec virt-ssh-helper "
                                           : "command -v virt-ssh-helper >/dev/null 2>&1 && exec virt-ssh-helper ");
        add_quoted(&script, uri->name);
        vq_buffer_add(&script, "; ");
    }
    if (!helper_only) {
        /* The flag ends netcat with its input, where it is known. */
        vq_buffer_add(&script, "if ");
        add_quoted(&script, uri->netcat == NULL ? "nc" : uri->netcat);
        vq_buffer_add(&script,
                      " -q 2>&1 | grep 'requires an argument' >/dev/null 2>&1; then q=-q0; else q=; fi; exec ");
        add_quoted(&script, uri->netcat == NULL ? "nc" : uri->netcat);
        vq_buffer_add(&script, " $q -U ");
        add_quoted(&script, uri->socket == NULL ? "/var/run/libvirt/libvirt-sock" : uri->socket);
    }
    vq_buffer_add(&command, "sh -c ");
    add_quoted(&command, script.data);
    return vq_buffer_steal(&command);
}

static void fill_arguments(const struct vq_peer_uri *uri, const char *port, char *command, char **argv)
{
    static const char *const fixed[] = {"/usr/bin/ssh", "-T",
                                        "-e",           "none",
                                        "-o",           "BatchMode=yes",
                                        "-o",           "ForwardX11=no",
                                        "-o",           "ForwardAgent=no",
                                        "-o",           "ConnectTimeout=20",
                                        "-o",           "PermitLocalCommand=no"};
    size_t n = 0;

    for (size_t i = 0; i < VQ_N_ELEMENTS(fixed); i++)
        argv[n++] = (char *)(uintptr_t)fixed[i];
    if (uri->port != 0) {
        argv[n++] = (char *)(uintptr_t) "-p";
        argv[n++] = (char *)(uintptr_t)port;
    }
    if (uri->user != NULL) {
        argv[n++] = (char *)(uintptr_t) "-l";
        argv[n++] = uri->user;
    }
    if (uri->keyfile != NULL) {
        argv[n++] = (char *)(uintptr_t) "-i";
        argv[n++] = uri->keyfile;
    }
    argv[n++] = (char *)(uintptr_t) "--";
    argv[n++] = uri->host;
    argv[n++] = command;
    argv[n] = NULL;
}

/* ---- The child --------------------------------------------------------------------------------------------------- */

static void handle_closed(uv_handle_t *handle)
{
    struct vq_ssh *ssh = handle->data;

    if (--ssh->n_handles == 0)
        free(ssh);
}

static void close_all(struct vq_ssh *ssh)
{
    if (ssh->is_closing)
        return;
    ssh->is_closing = true;
    uv_close((uv_handle_t *)&ssh->process, handle_closed);
    uv_close((uv_handle_t *)&ssh->errors, handle_closed);
    uv_close((uv_handle_t *)&ssh->timer, handle_closed);
}

static void look_for_end(struct vq_ssh *ssh)
{
    if (!ssh->has_exited || !ssh->has_errors_ended || ssh->cb == NULL)
        return;
    void (*cb)(const char *said, void *data) = ssh->cb;
    ssh->cb = NULL;
    if (ssh->n_said > 0 && ssh->said[ssh->n_said - 1] == ' ')
        ssh->said[ssh->n_said - 1] = '\0';
    cb(ssh->said, ssh->data);
}

static void patience_over(uv_timer_t *timer)
{
    struct vq_ssh *ssh = timer->data;

    if (!ssh->has_exited)
        (void)uv_process_kill(&ssh->process, SIGKILL); /* it may end in between */
    if (ssh->cb != NULL) {
        ssh->has_errors_ended = true; /* what it left running may hold it open for ever */
        ssh->has_exited = true;
        look_for_end(ssh);
    } else if (ssh->is_released) {
        close_all(ssh);
    }
}

static void exited(uv_process_t *process, int64_t status VQ_UNUSED, int signal_number VQ_UNUSED)
{
    struct vq_ssh *ssh = process->data;

    ssh->has_exited = true;
    if (ssh->is_released)
        (void)uv_timer_start(&ssh->timer, patience_over, 0, 0);
    look_for_end(ssh);
}

static void alloc_room(uv_handle_t *handle, size_t suggested VQ_UNUSED, uv_buf_t *ret)
{
    struct vq_ssh *ssh = handle->data;

    *ret = uv_buf_init(ssh->room, sizeof(ssh->room));
}

/* The first lines tell best what is wrong. */
static void errors_read(uv_stream_t *stream, ssize_t got, const uv_buf_t *buffer)
{
    struct vq_ssh *ssh = stream->data;

    if (got < 0) {
        (void)uv_read_stop(stream);
        ssh->has_errors_ended = true;
        look_for_end(ssh);
        return;
    }
    for (ssize_t i = 0; i < got && ssh->n_said < SAID_MAX; i++) {
        char c = buffer->base[i];
        if (c == '\r' || (c == '\n' && ssh->n_said == 0))
            continue;
        ssh->said[ssh->n_said++] = c == '\n' ? ' ' : c;
    }
}

static int spawn(uv_loop_t *loop, struct vq_ssh *ssh, char **argv, int fd)
{
    const char *home = getenv("HOME");
    VQ_AUTOFREE char *home_text = vq_asprintf("HOME=%s", home == NULL ? "/root" : home);
    char *environment[] = {home_text, (char *)(uintptr_t) "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
                           (char *)(uintptr_t) "LANG=C.UTF-8", NULL};
    uv_stdio_container_t stdio[] = {
        {.flags = UV_INHERIT_FD, .data.fd = fd},
        {.flags = UV_INHERIT_FD, .data.fd = fd},
        {.flags = UV_CREATE_PIPE | UV_WRITABLE_PIPE, .data.stream = (uv_stream_t *)&ssh->errors},
    };
    const uv_process_options_t options = {.exit_cb = exited,
                                          .file = argv[0],
                                          .args = argv,
                                          .env = environment,
                                          .cwd = "/",
                                          .stdio_count = VQ_N_ELEMENTS(stdio),
                                          .stdio = stdio};
    int rc = uv_spawn(loop, &ssh->process, &options);

    if (rc == 0)
        rc = uv_read_start((uv_stream_t *)&ssh->errors, alloc_room, errors_read);
    return rc;
}

int vq_ssh_start(uv_loop_t *loop, const struct vq_peer_uri *uri, struct vq_ssh **ret, int *ret_fd, struct vq_error *err)
{
    char *argv[ARGUMENTS_MAX], port[8];
    int pair[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return vq_error_system(err, errno, "making a socket pair");
    struct vq_ssh *ssh = vq_new(struct vq_ssh);
    VQ_AUTOFREE char *command = remote_command(uri);
    (void)snprintf(port, sizeof(port), "%u", (unsigned)uri->port);
    fill_arguments(uri, port, command, argv);
    (void)uv_timer_init(loop, &ssh->timer);
    (void)uv_pipe_init(loop, &ssh->errors, 0);
    ssh->process.data = ssh->errors.data = ssh->timer.data = ssh;
    ssh->n_handles = 3;
    int rc = spawn(loop, ssh, argv, pair[1]);
    (void)close(pair[1]); /* the child's now */
    if (rc < 0) {
        (void)close(pair[0]); /* nothing is at its other end */
        ssh->has_exited = true;
        close_all(ssh);
        return vq_error_system(err, -rc, "running '%s'", argv[0]);
    }
    *ret = ssh;
    *ret_fd = pair[0];
    return 0;
}

void vq_ssh_last_words(struct vq_ssh *ssh, void (*cb)(const char *said, void *data), void *data)
{
    ssh->cb = cb;
    ssh->data = data;
    /* From the loop, also when all is known already. */
    bool is_over = ssh->has_exited && ssh->has_errors_ended;
    (void)uv_timer_start(&ssh->timer, patience_over, is_over ? 0 : PATIENCE_MS, 0);
}

void vq_ssh_free(struct vq_ssh *ssh)
{
    if (ssh == NULL)
        return;
    ssh->cb = NULL;
    ssh->is_released = true;
    (void)uv_timer_start(&ssh->timer, patience_over, ssh->has_exited ? 0 : PATIENCE_MS, 0);
}
