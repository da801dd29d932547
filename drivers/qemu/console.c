/* Console streams: see console.h. Each is one descriptor of a pty or of a channel's socket, and one stream; it outlives its guest
 * until the client has taken leave. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/console.h"

#include <errno.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/qemu/agent.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/handlers_define.h"
#include "proto/gen/remote.h"

enum { READ_BYTES = 16 * 1024, PTS_MAJOR_FIRST = 136, PTS_MAJOR_LAST = 143, CONSOLES_MAX = 64 };

struct vq_qemu_console {
    struct vq_qemu_console *next;
    struct vq_qemu_guest *guest;  /* NULL: it has ended, or another client took the console over */
    struct vq_stream *stream;     /* NULL: it is over */
    uv_poll_t poll;
    bool is_polling, is_closed;
    int fd;
    char *alias;
    uint8_t *held;                /* from the client, not taken by the guest yet */
    size_t n_held, n_written;
    bool is_full;                 /* the client takes no more for now */
};

static void update_poll(struct vq_qemu_console *console);

static void handle_closed(uv_handle_t *handle)
{
    struct vq_qemu_console *console = handle->data;

    (void)close(console->fd);
    console->is_closed = true;
    if (console->stream != NULL)
        return; /* goes when the client has taken leave */
    free(console->alias);
    free(console->held);
    free(console);
}

/* Off the guest's list; the descriptor is given back. */
static void detach(struct vq_qemu_console *console)
{
    struct vq_qemu_console **at;

    if (console->guest == NULL)
        return;
    at = &console->guest->consoles;
    while (*at != console)
        at = &(*at)->next;
    *at = console->next;
    console->guest = NULL;
    (void)uv_poll_stop(&console->poll);
    uv_close((uv_handle_t *)&console->poll, handle_closed);
}

static void stream_over(struct vq_qemu_console *console)
{
    console->stream = NULL;
    if (console->guest != NULL) {
        detach(console); /* freed when the handle has closed */
    } else if (console->is_closed) {
        free(console->alias);
        free(console->held);
        free(console);
    }
}

/* No more from the guest: the client reads the end and takes leave. */
static void end_of_guest(struct vq_qemu_console *console)
{
    struct vq_stream *stream = console->stream;

    detach(console);
    if (stream != NULL)
        vq_stream_end(stream);
}

static void write_held(struct vq_qemu_console *console)
{
    while (console->n_written < console->n_held) {
        ssize_t n = write(console->fd, console->held + console->n_written, console->n_held - console->n_written);

        if (n < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        if (n < 0) { /* nobody at the other end: what is typed is lost, as on a real line */
            console->n_written = console->n_held;
            break;
        }
        console->n_written += (size_t)n;
    }
    free(console->held);
    console->held = NULL;
    console->n_held = console->n_written = 0;
}

static void read_guest(struct vq_qemu_console *console)
{
    uint8_t bytes[READ_BYTES];
    ssize_t n = read(console->fd, bytes, sizeof(bytes));

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n <= 0) {
        end_of_guest(console);
        return;
    }
    if (!vq_stream_write(console->stream, bytes, (size_t)n))
        console->is_full = true;
}

static void pty_ready(uv_poll_t *poll, int status, int events)
{
    struct vq_qemu_console *console = poll->data;
    bool had_held = console->held != NULL;

    if (status < 0) {
        end_of_guest(console);
        return;
    }
    if ((events & UV_WRITABLE) != 0)
        write_held(console);
    if (had_held && console->held == NULL && console->stream != NULL)
        vq_stream_resume(console->stream);
    if ((events & UV_READABLE) != 0 && console->guest != NULL && console->stream != NULL && !console->is_full)
        read_guest(console);
    update_poll(console);
}

static void update_poll(struct vq_qemu_console *console)
{
    int events = (console->is_full ? 0 : UV_READABLE) | (console->held != NULL ? UV_WRITABLE : 0);

    if (console->guest == NULL || console->stream == NULL)
        return;
    if (events != 0)
        (void)uv_poll_start(&console->poll, events, pty_ready);
    else
        (void)uv_poll_stop(&console->poll);
}

/* ---- From the client ---- */

static bool client_data(struct vq_stream *stream, const uint8_t *bytes, size_t length, void *data)
{
    struct vq_qemu_console *console = data;

    (void)stream;
    if (console->guest == NULL)
        return true;
    console->held = vq_realloc(console->held, console->n_held + length + 1, 1);
    memcpy(console->held + console->n_held, bytes, length);
    console->n_held += length;
    write_held(console);
    update_poll(console);
    return console->held == NULL;
}

static void client_finish(struct vq_stream *stream, void *data)
{
    stream_over(data);
    vq_stream_finish(stream);
}

static void client_aborted(struct vq_stream *stream, void *data)
{
    (void)stream;
    stream_over(data);
}

static void client_writable(struct vq_stream *stream, void *data)
{
    struct vq_qemu_console *console = data;

    (void)stream;
    console->is_full = false;
    update_poll(console);
}

static const struct vq_stream_callbacks callbacks = { .data = client_data, .finish = client_finish,
                                                      .aborted = client_aborted, .writable = client_writable };

/* ---- Opening ---- */

/* What QEMU named as its pty is opened only when it is one: a guest must not make us talk to another device. */
static int open_pty(const char *path, struct vq_error *err)
{
    struct stat status;
    int fd;

    if (strncmp(path, "/dev/pts/", 9) != 0 || strchr(path + 9, '/') != NULL)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "'%s' is no pseudo terminal", path);
    fd = open(path, O_RDWR | O_NOCTTY | O_NONBLOCK | O_CLOEXEC | O_NOFOLLOW);
    if (fd < 0)
        return vq_error_system(err, errno, "cannot open '%s'", path);
    if (fstat(fd, &status) < 0 || !S_ISCHR(status.st_mode) || major(status.st_rdev) < PTS_MAJOR_FIRST ||
        major(status.st_rdev) > PTS_MAJOR_LAST) {
        (void)close(fd);
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "'%s' is no pseudo terminal", path);
    }
    return fd;
}

static struct vq_port *find_port(struct vq_port **ports, size_t n, const char *alias)
{
    for (size_t i = 0; i < n; i++)
        if (alias == NULL || vq_streq(ports[i]->info.alias, alias))
            return ports[i];
    return NULL;
}

static struct vq_port *find_console(const struct vq_devices *devices, const char *alias)
{
    struct vq_port *port = find_port(devices->consoles, devices->n_consoles, alias);

    if (port == NULL)
        port = find_port(devices->serials, devices->n_serials, alias);
    if (port == NULL)
        port = find_port(devices->parallels, devices->n_parallels, alias);
    return port;
}

static struct vq_port *find_channel(const struct vq_devices *devices, const char *name)
{
    for (size_t i = 0; i < devices->n_channels; i++) {
        struct vq_port *port = devices->channels[i];

        if (name == NULL || vq_streq(port->name, name))
            return port;
    }
    return NULL;
}

/* The stream of the same pty, if a client has it. */
static struct vq_qemu_console *find_open(const struct vq_qemu_guest *guest, const char *alias, unsigned *ret_n)
{
    struct vq_qemu_console *found = NULL;

    *ret_n = 0;
    for (struct vq_qemu_console *console = guest->consoles; console != NULL; console = console->next) {
        ++*ret_n;
        if (vq_streq(console->alias, alias))
            found = console;
    }
    return found;
}

/* Consoles are pseudo terminals, channels are sockets that QEMU listens at. */
struct kind {
    enum vq_chardev_type type;
    const char *not_found, *wrong, *taken;
};
static const struct kind console_kind = { VQ_CHARDEV_PTY, "cannot find character device %s", "character device %s is not using a PTY",
                                          "Active console session exists for this domain" };
static const struct kind channel_kind = { VQ_CHARDEV_UNIX, "cannot find channel %s", "channel %s is not using a UNIX socket",
                                          "Active channel stream exists for this domain" };

static int clear_the_way(struct vq_qemu_guest *guest, const struct kind *kind, const char *alias, bool force, struct vq_error *err)
{
    unsigned n;
    struct vq_qemu_console *open_one = find_open(guest, alias, &n);
    struct vq_error taken = VQ_ERROR_INIT;
    struct vq_stream *stream;

    if (open_one == NULL)
        return n < CONSOLES_MAX ? 0 : vq_error_set(err, VIR_ERR_OPERATION_FAILED, "too many consoles of domain '%s' are open",
                                                   guest->name);
    if (!force)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "%s", kind->taken);
    (void)vq_error_set(&taken, VIR_ERR_OPERATION_ABORTED, "another client has taken the console over");
    stream = open_one->stream;
    stream_over(open_one);
    vq_stream_fail(stream, &taken);
    return 0;
}

static void attach(struct vq_qemu_guest *guest, struct vq_request *request, const char *alias, int take_fd)
{
    struct vq_qemu_console *console = vq_new(struct vq_qemu_console);
    struct vq_error err = VQ_ERROR_INIT;

    console->fd = take_fd;
    console->alias = vq_strdup(alias);
    console->guest = guest;
    console->next = guest->consoles;
    guest->consoles = console;
    (void)uv_poll_init(guest->qemu->host->loop, &console->poll, take_fd);
    console->poll.data = console;
    console->stream = request->open_stream(request, &callbacks, console);
    if (console->stream == NULL) {
        detach(console);
        (void)vq_error_set(&err, VIR_ERR_INTERNAL_ERROR, "the call came without a stream");
        vq_request_fail(request, &err);
        return;
    }
    update_poll(console);
    vq_request_reply(request);
}

static int open_file(const struct vq_qemu_guest *guest, const struct vq_port *port, struct vq_error *err)
{
    int fd;

    if (port->source.type == VQ_CHARDEV_PTY)
        return open_pty(port->source.path, err);
    return vq_agent_connect(guest, port->source.path, &fd, err) < 0 ? -1 : fd;
}

static void open_port(struct vq_request *request, struct vq_qemu_guest *guest, const struct vq_port *port,
                      const struct kind *kind, const char *name, bool force)
{
    struct vq_error err = VQ_ERROR_INIT;
    int fd = -1;

    if (port == NULL) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INTERNAL_ERROR, kind->not_found, name != NULL ? name : "default");
        return;
    }
    if (port->source.type != kind->type || port->source.path == NULL) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INTERNAL_ERROR, kind->wrong,
                       name != NULL              ? name
                       : port->info.alias != NULL ? port->info.alias
                                                  : "");
        return;
    }
    /* By path: the first console and the first serial port are one pty. */
    if (clear_the_way(guest, kind, port->source.path, force, &err) == 0)
        fd = open_file(guest, port, &err);
    if (fd < 0)
        vq_request_fail(request, &err);
    else
        attach(guest, request, port->source.path, fd);
}

/* VIR_DOMAIN_CONSOLE_SAFE asks that nobody else has the console: no more than one stream has it in any case. */
void vq_qemu_open_console(struct vq_request *request)
{
    const struct vq_remote_domain_open_console_args *args = request->args;
    const unsigned allowed = VIR_DOMAIN_CONSOLE_SAFE | VIR_DOMAIN_CONSOLE_FORCE;
    struct vq_qemu_guest *guest;

    if (!vq_qemu_check_flags(request, args->flags, allowed) || (guest = vq_qemu_guest_of(request)) == NULL)
        return;
    open_port(request, guest, guest->live != NULL ? find_console(&guest->live->devices, args->dev_name) : NULL, &console_kind,
              args->dev_name, (args->flags & VIR_DOMAIN_CONSOLE_FORCE) != 0);
}

void vq_qemu_open_channel(struct vq_request *request)
{
    const struct vq_remote_domain_open_channel_args *args = request->args;
    struct vq_qemu_guest *guest;

    if (!vq_qemu_check_flags(request, args->flags, VIR_DOMAIN_CHANNEL_FORCE) ||
        (guest = vq_qemu_guest_of(request)) == NULL)
        return;
    open_port(request, guest, guest->live != NULL ? find_channel(&guest->live->devices, args->name) : NULL, &channel_kind,
              args->name, (args->flags & VIR_DOMAIN_CHANNEL_FORCE) != 0);
}

void vq_qemu_consoles_close(struct vq_qemu_guest *guest)
{
    while (guest->consoles != NULL)
        end_of_guest(guest->consoles);
}
