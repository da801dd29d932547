/* Directory, monitor socket and log of a run: see files.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/files.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "conf/base/buffer.h"
#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/command.h"
#include "drivers/qemu/guest.h"

enum { NAME_BYTES_IN_DIR = 20, LOG_ROTATE_BYTES = 2 * 1024 * 1024, LOGS_KEPT = 3, DIR_ENTRIES_MAX = 1024 };

#define MONITOR_SOCKET "monitor.sock"

/* ---- The directory ---- */

/* "domain-7-name": the name is cut, never in the middle of a UTF-8 character. */
char *vq_qemu_files_dir(const struct vq_qemu_guest *guest)
{
    size_t length = strlen(guest->name);

    if (length > NAME_BYTES_IN_DIR) {
        length = NAME_BYTES_IN_DIR;
        while (length > 0 && ((unsigned char)guest->name[length] & 0xc0) == 0x80)
            length--;
    }
    return vq_asprintf("%s/qemu/domain-%d-%.*s", guest->qemu->host->state_dir, guest->id, (int)length, guest->name);
}

static int make_dir(const char *path, mode_t mode, struct vq_error *err)
{
    if (mkdir(path, mode) == 0) /* the daemon's umask takes from the mode what QEMU's user needs */
        return chmod(path, mode) == 0 ? 0 : vq_error_system(err, errno, "cannot set the mode of '%s'", path);
    return errno == EEXIST ? 0 : vq_error_system(err, errno, "cannot make directory '%s'", path);
}

/* Files and sockets of one directory, then itself. Nothing below it is followed. */
static void remove_dir_at(int parent, const char *name)
{
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    const struct dirent *entry;

    if (dir == NULL) {
        if (fd >= 0)
            (void)close(fd);
        return;
    }
    for (int n = 0; n < DIR_ENTRIES_MAX && (entry = readdir(dir)) != NULL; n++)
        (void)unlinkat(fd, entry->d_name, 0); /* a directory inside stays, and keeps the outer one: seen by the caller */
    (void)closedir(dir);
    (void)unlinkat(parent, name, AT_REMOVEDIR);
}

static void remove_dir(const char *path)
{
    int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);

    if (fd >= 0) {
        remove_dir_at(fd, VQ_QEMU_GUEST_SUBDIR);
        (void)close(fd);
    }
    remove_dir_at(AT_FDCWD, path);
}

static int create_dir(struct vq_qemu_guest *guest, struct vq_error *err)
{
    const struct vq_qemu_settings *settings = &guest->qemu->settings;
    VQ_AUTOFREE char *parent = vq_asprintf("%s/qemu", guest->qemu->host->state_dir);
    VQ_AUTOFREE char *sub = vq_asprintf("%s/" VQ_QEMU_GUEST_SUBDIR, guest->dir);

    if (make_dir(guest->qemu->host->state_dir, 0755, err) < 0 || make_dir(parent, 0755, err) < 0)
        return -1;
    if (access(guest->dir, F_OK) == 0)
        remove_dir(guest->dir); /* ids are given once, so this is the rest of a run whose host has crashed */
    if (mkdir(guest->dir, 0711) < 0 || chmod(guest->dir, 0711) < 0)
        return vq_error_system(err, errno, "cannot make directory '%s'", guest->dir);
    if (make_dir(sub, 0700, err) < 0)
        return -1;
    if (settings->has_user && chown(sub, settings->uid, settings->gid) < 0)
        return vq_error_system(err, errno, "cannot give '%s' to user %u", sub, (unsigned)settings->uid);
    return 0;
}

int vq_qemu_files_monitor_path(const struct vq_qemu_guest *guest, char *path, size_t size, int *ret_fd,
                               struct vq_error *err)
{
    int fd = guest->dir != NULL ? open(guest->dir, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC) : -1;

    if (fd < 0)
        return vq_error_system(err, guest->dir != NULL ? errno : ENOENT, "cannot open the directory of domain '%s'",
                               guest->name);
    (void)snprintf(path, size, "/proc/self/fd/%d/" MONITOR_SOCKET, fd);
    *ret_fd = fd;
    return 0;
}

static int create_socket(struct vq_qemu_guest *guest, struct vq_error *err)
{
    struct sockaddr_un address = { .sun_family = AF_UNIX };
    int dir, fd = -1, rc = 0;
    mode_t before;

    if (vq_qemu_files_monitor_path(guest, address.sun_path, sizeof(address.sun_path), &dir, err) < 0)
        return -1;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    before = umask(0077);
    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof(address)) < 0 || listen(fd, 1) < 0)
        rc = vq_error_system(err, errno, "cannot make the monitor socket of domain '%s'", guest->name);
    (void)umask(before);
    (void)close(dir);
    if (rc < 0) {
        if (fd >= 0)
            (void)close(fd);
        return -1;
    }
    /* Descriptors that the child keeps must be above 2 (process.h), and are: 0 to 2 are the daemon's own. */
    guest->monitor_fd = fd;
    return 0;
}

/* ---- The log ---- */

static char *log_path(const struct vq_qemu_guest *guest, int generation)
{
    const char *dir = guest->qemu->host->log_dir;

    return generation < 0 ? vq_asprintf("%s/qemu/%s.log", dir, guest->name)
                          : vq_asprintf("%s/qemu/%s.log.%d", dir, guest->name, generation);
}

static void rotate_log(const struct vq_qemu_guest *guest)
{
    for (int generation = LOGS_KEPT - 1; generation >= 0; generation--) {
        VQ_AUTOFREE char *from = log_path(guest, generation - 1);
        VQ_AUTOFREE char *to = log_path(guest, generation);

        (void)rename(from, to); /* one that is not there yet is no loss */
    }
}

void vq_qemu_logs_remove(const struct vq_qemu_guest *guest)
{
    for (int generation = -1; generation < LOGS_KEPT; generation++) {
        VQ_AUTOFREE char *path = log_path(guest, generation);

        (void)unlink(path); /* one that is not there is gone already */
    }
}

static int open_log(struct vq_qemu_guest *guest, struct vq_error *err)
{
    VQ_AUTOFREE char *dir = vq_asprintf("%s/qemu", guest->qemu->host->log_dir);
    VQ_AUTOFREE char *path = log_path(guest, -1);
    struct stat status;

    if (make_dir(guest->qemu->host->log_dir, 0755, err) < 0 || make_dir(dir, 0711, err) < 0)
        return -1;
    if (lstat(path, &status) == 0 && status.st_size > LOG_ROTATE_BYTES)
        rotate_log(guest);
    guest->log_fd = open(path, O_RDWR | O_CREAT | O_APPEND | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK, 0600);
    if (guest->log_fd < 0)
        return vq_error_system(err, errno, "cannot open log '%s'", path);
    if (fstat(guest->log_fd, &status) < 0 || !S_ISREG(status.st_mode))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "log '%s' is no regular file", path);
    guest->log_start = status.st_size;
    return 0;
}

static void add_time(struct vq_buffer *line)
{
    struct timespec now;
    struct tm tm;
    char text[32];

    (void)clock_gettime(CLOCK_REALTIME, &now);
    (void)gmtime_r(&now.tv_sec, &tm);
    (void)strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S", &tm);
    vq_buffer_addf(line, "%s.%03ld+0000: ", text, now.tv_nsec / 1000000);
}

static void write_log(const struct vq_qemu_guest *guest, const struct vq_buffer *text)
{
    if (guest->log_fd >= 0)
        (void)!write(guest->log_fd, text->data, text->length); /* a full disk must not keep a guest from starting */
}

/* Quoted for a shell, so that a person can run it by hand. */
static void add_argument(struct vq_buffer *text, const char *argument)
{
    bool is_plain = argument[0] != '\0';

    for (const char *at = argument; *at != '\0'; at++)
        is_plain = is_plain && (isalnum((unsigned char)*at) || strchr("_-./:=,+@%", *at) != NULL);
    if (is_plain) {
        vq_buffer_add(text, argument);
        return;
    }
    vq_buffer_add(text, "'");
    for (const char *at = argument; *at != '\0'; at++) {
        if (*at == '\'')
            vq_buffer_add(text, "'\\''");
        else
            vq_buffer_add_bytes(text, at, 1);
    }
    vq_buffer_add(text, "'");
}

void vq_qemu_log_start(struct vq_qemu_guest *guest, const struct vq_qemu_command *command)
{
    VQ_AUTOBUFFER text = VQ_BUFFER_INIT;
    uint64_t version = guest->caps->version;
    struct utsname host = { 0 };

    (void)uname(&host);
    add_time(&text);
    vq_buffer_addf(&text, "starting up virtquorum version: %s, qemu version: %llu.%llu.%llu%s, kernel: %s, hostname: %s\n",
                   VQ_VERSION, (unsigned long long)(version / 1000000), (unsigned long long)(version / 1000 % 1000),
                   (unsigned long long)(version % 1000), guest->caps->package != NULL ? guest->caps->package : "",
                   host.release, host.nodename);
    for (size_t i = 0; i < command->n_environment; i++)
        vq_buffer_addf(&text, "%s \\\n", command->environment[i]);
    for (size_t i = 0; i < command->n_args; i++) {
        /* An option and its value share a line. */
        bool is_option = command->argv[i][0] == '-' && i + 1 < command->n_args && command->argv[i + 1][0] != '-';

        add_argument(&text, command->argv[i]);
        vq_buffer_add(&text, is_option ? " " : i + 1 < command->n_args ? " \\\n" : "\n");
    }
    write_log(guest, &text);
}

static const char *const end_words[] = {
    [VIR_DOMAIN_SHUTOFF_UNKNOWN] = "unknown", [VIR_DOMAIN_SHUTOFF_SHUTDOWN] = "shutdown",
    [VIR_DOMAIN_SHUTOFF_DESTROYED] = "destroyed", [VIR_DOMAIN_SHUTOFF_CRASHED] = "crashed",
    [VIR_DOMAIN_SHUTOFF_MIGRATED] = "migrated", [VIR_DOMAIN_SHUTOFF_SAVED] = "saved",
    [VIR_DOMAIN_SHUTOFF_FAILED] = "failed", [VIR_DOMAIN_SHUTOFF_FROM_SNAPSHOT] = "from-snapshot",
    [VIR_DOMAIN_SHUTOFF_DAEMON] = "daemon",
};

void vq_qemu_log_end(struct vq_qemu_guest *guest)
{
    VQ_AUTOBUFFER text = VQ_BUFFER_INIT;
    uint8_t reason = guest->end.is_set ? guest->end.reason : VIR_DOMAIN_SHUTOFF_FAILED;

    if (guest->log_fd < 0) {
        VQ_AUTOFREE char *path = log_path(guest, -1);

        guest->log_fd = open(path, O_WRONLY | O_APPEND | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    }
    add_time(&text);
    vq_buffer_addf(&text, "shutting down, reason=%s\n", reason < VQ_N_ELEMENTS(end_words) ? end_words[reason] : "unknown");
    write_log(guest, &text);
}

void vq_qemu_log_tail(const struct vq_qemu_guest *guest, char *text, size_t size)
{
    char bytes[4096];
    struct stat status;
    off_t from;
    ssize_t n;
    char *line;

    text[0] = '\0';
    if (guest->log_fd < 0 || fstat(guest->log_fd, &status) < 0)
        return;
    from = status.st_size - (off_t)sizeof(bytes) + 1;
    n = pread(guest->log_fd, bytes, sizeof(bytes) - 1, from > guest->log_start ? from : guest->log_start);
    if (n <= 0)
        return;
    bytes[n] = '\0';
    while (n > 0 && isspace((unsigned char)bytes[n - 1]))
        bytes[--n] = '\0';
    /* QEMU's own words come after the command line, whose last line is the only one that begins with our continuation
     * gone: take the last line, and the one before it when both are QEMU's. */
    line = strrchr(bytes, '\n');
    line = line != NULL ? line + 1 : bytes;
    if (strstr(line, "qemu") != NULL || strchr(line, ':') != NULL)
        (void)snprintf(text, size, "%s", line);
}

void vq_qemu_log_bound(const struct vq_qemu_guest *guest)
{
    VQ_AUTOFREE char *path = log_path(guest, -1);
    struct stat status;
    int fd;

    if (lstat(path, &status) < 0 || !S_ISREG(status.st_mode) || status.st_size <= VQ_QEMU_LOG_MAX_BYTES)
        return;
    fd = open(path, O_WRONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return;
    /* QEMU appends, so it goes on at the new end. */
    if (ftruncate(fd, 0) == 0)
        vq_log(WARN, "guest.log", "domain=%s: its log was larger than %d bytes and has been emptied", guest->name,
               VQ_QEMU_LOG_MAX_BYTES);
    (void)close(fd);
}

/* ---- Both ---- */

int vq_qemu_files_create(struct vq_qemu_guest *guest, struct vq_error *err)
{
    if (vq_qemu_record_write(guest, err) < 0) /* it names the directory, which is made now */
        return -1;
    if (VQ_FAILPOINT("qemu.files.create"))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "cannot make '%s': failure point", guest->dir);
    if (create_dir(guest, err) < 0 || create_socket(guest, err) < 0)
        return -1;
    return open_log(guest, err);
}

void vq_qemu_files_remove(struct vq_qemu_guest *guest)
{
    if (guest->monitor_fd >= 0)
        (void)close(guest->monitor_fd);
    if (guest->log_fd >= 0)
        (void)close(guest->log_fd);
    guest->monitor_fd = guest->log_fd = -1;
    if (guest->dir == NULL)
        return;
    remove_dir(guest->dir);
    if (access(guest->dir, F_OK) == 0)
        vq_log(WARN, "guest.files", "domain=%s: '%s' cannot be removed, it stays", guest->name, guest->dir);
}
