/* Children: see process.h. The code between fork and exec uses system calls only, since other threads of the daemon may
 * have held any lock at the fork. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/process.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/capability.h>
#include <linux/close_range.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"

struct vq_process {
    uv_poll_t exit_poll;    /* on pidfd */
    uv_poll_t control_poll; /* on control, until the program runs */
    int pidfd, control;
    pid_t pid;
    uint64_t start_time;
    bool is_child, has_gone_on, has_executed, has_exited, is_freed;
    unsigned open_handles;
    struct vq_process_callbacks callbacks;
    void *data;
};

/* What the child tells when it cannot run the program. */
struct child_failure {
    int32_t what;
    int32_t errno_value;
};

static const char *const child_steps[] = {
    "waiting for the word to go", "setting descriptors", "setting limits", "changing the directory",
    "dropping groups", "dropping capabilities", "changing the user", "forbidding new privileges", "running the program",
};
enum child_step { CHILD_GO, CHILD_FDS, CHILD_LIMITS, CHILD_DIR, CHILD_GROUPS, CHILD_CAPABILITIES, CHILD_USER,
                  CHILD_NO_PRIVILEGES, CHILD_EXEC };

/* ---- In the child: system calls only ---- */

static void __attribute__((noreturn)) child_fail(int control, enum child_step what)
{
    struct child_failure failure = { .what = (int32_t)what, .errno_value = errno };

    (void)!write(control, &failure, sizeof(failure));
    _exit(127);
}

static void child_reset_signals(void)
{
    struct sigaction action = { .sa_handler = SIG_DFL };
    sigset_t none;

    for (int number = 1; number < NSIG; number++)
        (void)sigaction(number, &action, NULL); /* SIGKILL and the C library's own cannot be set */
    (void)sigemptyset(&none);
    (void)sigprocmask(SIG_SETMASK, &none, NULL);
}

static void child_set_fds(const struct vq_process_spec *spec, int control)
{
    int null = open("/dev/null", O_RDWR | O_CLOEXEC);
    int output = spec->output_fd >= 0 ? spec->output_fd : null;
    int input = spec->has_streams && spec->input_fd >= 0 ? spec->input_fd : null;
    int error = !spec->has_streams ? output : spec->error_fd >= 0 ? spec->error_fd : null;

    if (null < 0 || dup2(input, 0) < 0 || dup2(output, 1) < 0 || dup2(error, 2) < 0 ||
        syscall(SYS_close_range, 3U, UINT_MAX, CLOSE_RANGE_CLOEXEC) < 0)
        child_fail(control, CHILD_FDS);
    for (size_t i = 0; i < spec->n_fds; i++)
        if (fcntl(spec->fds[i], F_SETFD, 0) < 0)
            child_fail(control, CHILD_FDS);
}

static void child_limit(int control, int resource, uint64_t value)
{
    struct rlimit limit = { .rlim_cur = value, .rlim_max = value };

    if (setrlimit((__rlimit_resource_t)resource, &limit) < 0)
        child_fail(control, CHILD_LIMITS);
}

static void child_drop_capabilities(int control)
{
    if (prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) < 0)
        child_fail(control, CHILD_CAPABILITIES);
    for (unsigned long capability = 0; prctl(PR_CAPBSET_READ, capability, 0, 0, 0) >= 0; capability++)
        if (prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) < 0 && errno != EINVAL)
            child_fail(control, CHILD_CAPABILITIES);
}

static void child_clear_capability_sets(int control)
{
    struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
    struct __user_cap_data_struct sets[2] = { { 0 } };

    if (syscall(SYS_capset, &header, sets) < 0)
        child_fail(control, CHILD_CAPABILITIES);
}

/* Order: the bounding set needs CAP_SETPCAP, groups need CAP_SETGID, so the sets are cleared last. The user is changed by
 * plain system calls: the C library's would look for other threads, which a forked child has not. */
static void child_drop_privileges(const struct vq_process_spec *spec, int control)
{
    if (spec->has_user && (syscall(SYS_setgroups, 1, &spec->gid) < 0 ||
                           syscall(SYS_setresgid, spec->gid, spec->gid, spec->gid) < 0))
        child_fail(control, CHILD_GROUPS);
    if (!spec->has_user && geteuid() == 0 && syscall(SYS_setgroups, 0, NULL) < 0)
        child_fail(control, CHILD_GROUPS);
    if (!spec->keep_capabilities)
        child_drop_capabilities(control);
    if (spec->has_user && syscall(SYS_setresuid, spec->uid, spec->uid, spec->uid) < 0)
        child_fail(control, CHILD_USER);
    if (!spec->keep_capabilities)
        child_clear_capability_sets(control);
    if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) < 0)
        child_fail(control, CHILD_NO_PRIVILEGES);
}

/* Nobody looks for such a child after a restart, so it must not outlive us. Last before the program, because a change of
 * user takes the signal back; the control socket tells when the daemon died before it was set. */
static void child_die_with_daemon(int control)
{
    struct pollfd daemon = { .fd = control, .events = POLLIN };

    (void)prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0); /* cannot fail for a valid signal */
    if (poll(&daemon, 1, 0) > 0 && (daemon.revents & POLLHUP) != 0)
        _exit(126);
}

static void __attribute__((noreturn)) child_main(const struct vq_process_spec *spec, int control)
{
    char go = 0;
    ssize_t n;

    child_reset_signals();
    do
        n = read(control, &go, 1);
    while (n < 0 && errno == EINTR);
    if (n != 1)
        _exit(126); /* the daemon died before it could record us, or changed its mind */
    if (spec->is_own_session)
        (void)setsid();
    child_set_fds(spec, control);
    child_limit(control, RLIMIT_CORE, spec->core_max_bytes);
    if (spec->files_max != 0)
        child_limit(control, RLIMIT_NOFILE, spec->files_max);
    if (spec->processes_max != 0)
        child_limit(control, RLIMIT_NPROC, spec->processes_max);
    (void)umask(0007);
    if (chdir(spec->dir != NULL ? spec->dir : "/") < 0)
        child_fail(control, CHILD_DIR);
    child_drop_privileges(spec, control);
    if (!spec->is_own_session)
        child_die_with_daemon(control);
    (void)execve(spec->argv[0], spec->argv, spec->environment);
    child_fail(control, CHILD_EXEC);
}

/* ---- In the daemon ---- */

static int send_signal(int pidfd, int number)
{
    return (int)syscall(SYS_pidfd_send_signal, pidfd, number, NULL, 0);
}

static void handle_closed(uv_handle_t *handle)
{
    struct vq_process *process = handle->data;

    if (--process->open_handles > 0)
        return;
    if (process->control >= 0)
        (void)close(process->control);
    (void)close(process->pidfd);
    free(process);
}

bool vq_process_read_start_time(pid_t pid, uint64_t *ret_start_time)
{
    char path[32], text[1024];
    const char *at;
    ssize_t n;
    int fd;

    (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    n = read(fd, text, sizeof(text) - 1);
    (void)close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    /* The second field is the program's name in brackets and may hold anything; the third follows the last bracket. */
    at = strrchr(text, ')');
    for (int field = 2; at != NULL && field < 22; field++)
        at = strchr(at + 1, ' ');
    if (at == NULL)
        return false;
    text[n] = '\0';
    char *end = strchr(at + 1, ' ');
    if (end == NULL)
        return false;
    *end = '\0';
    return vq_parse_u64(at + 1, 10, UINT64_MAX, ret_start_time);
}

static void read_control(struct vq_process *process)
{
    struct child_failure failure = { 0 };
    struct vq_error err = VQ_ERROR_INIT;
    ssize_t n = read(process->control, &failure, sizeof(failure));

    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    process->has_executed = true;
    (void)uv_poll_stop(&process->control_poll);
    if (n != (ssize_t)sizeof(failure)) { /* closed by exec, or by a death that the pidfd tells of as well */
        process->callbacks.executed(process, NULL, process->data);
        return;
    }
    const char *what = failure.what >= 0 && (size_t)failure.what < VQ_N_ELEMENTS(child_steps)
                           ? child_steps[failure.what] : "starting";
    (void)vq_error_system(&err, failure.errno_value, "%s failed", what);
    process->callbacks.executed(process, &err, process->data);
}

static void control_readable(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    read_control(poll->data);
}

static void process_exited(uv_poll_t *poll, int poll_status, int events)
{
    struct vq_process *process = poll->data;
    siginfo_t info = { 0 };
    int status = -1;

    (void)poll_status;
    (void)events;
    if (process->is_child && waitid((idtype_t)P_PIDFD, (id_t)process->pidfd, &info, WEXITED | WNOHANG) == 0) {
        if (info.si_pid == 0)
            return; /* not yet */
        status = info.si_code == CLD_EXITED ? (info.si_status & 0xff) << 8 : info.si_status & 0x7f;
    }
    process->has_exited = true;
    (void)uv_poll_stop(poll);
    /* Why it could not run may lie there unread: told before the exit. */
    if (process->has_gone_on && process->open_handles == 2 && !process->has_executed)
        read_control(process);
    if (process->is_freed)
        return;
    process->callbacks.exited(process, status, process->data);
}

/* Takes pidfd and control (may be -1), also when it fails. */
static int process_watch(uv_loop_t *loop, pid_t pid, int pidfd, int control, bool is_child,
                         const struct vq_process_callbacks *callbacks, void *data, struct vq_process **ret,
                         struct vq_error *err)
{
    struct vq_process *process = vq_new(struct vq_process);
    int rc;

    *process = (struct vq_process){ .pidfd = pidfd, .control = control, .pid = pid, .is_child = is_child,
                                    .callbacks = *callbacks, .data = data };
    rc = uv_poll_init(loop, &process->exit_poll, pidfd);
    if (rc < 0) {
        (void)close(pidfd);
        if (control >= 0)
            (void)close(control);
        free(process);
        return vq_error_system(err, -rc, "cannot watch process %d", (int)pid);
    }
    process->exit_poll.data = process;
    process->open_handles = 1;
    if (control >= 0 && uv_poll_init(loop, &process->control_poll, control) == 0) {
        process->control_poll.data = process;
        process->open_handles = 2;
    }
    (void)uv_poll_start(&process->exit_poll, UV_READABLE, process_exited);
    *ret = process;
    return 0;
}

static pid_t fork_child(const struct vq_process_spec *spec, int control, int other_end)
{
    sigset_t all, before;
    pid_t pid;

    /* No handler of the daemon may run in the child. */
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    pid = fork();
    if (pid == 0) {
        (void)close(other_end); /* else our own copy would keep the pipe from ending with the daemon */
        child_main(spec, control);
    }
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    return pid;
}

int vq_process_fork(uv_loop_t *loop, const struct vq_process_spec *spec, const struct vq_process_callbacks *callbacks,
                    void *data, struct vq_process **ret_process, struct vq_error *err)
{
    struct vq_process *process = NULL;
    int pair[2], pidfd;
    pid_t pid;

    vq_process_reap();
    if (VQ_FAILPOINT("qemu.process.fork"))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "cannot fork: failure point");
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return vq_error_system(err, errno, "cannot make a socket pair");
    pid = fork_child(spec, pair[1], pair[0]);
    int fork_errno = errno;
    (void)close(pair[1]);
    if (pid < 0) {
        (void)close(pair[0]);
        return vq_error_system(err, fork_errno, "cannot fork");
    }
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0) {
        int open_errno = errno;
        (void)close(pair[0]); /* the child reads the end of the pair and leaves */
        (void)waitpid(pid, NULL, 0);
        return vq_error_system(err, open_errno, "cannot open a pidfd");
    }
    if (process_watch(loop, pid, pidfd, pair[0], true, callbacks, data, &process, err) < 0) {
        (void)waitpid(pid, NULL, 0);
        return -1;
    }
    if (!vq_process_read_start_time(pid, &process->start_time)) {
        vq_process_free(process);
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "cannot read the start time of process %d", (int)pid);
    }
    *ret_process = process;
    return 0;
}

void vq_process_go(struct vq_process *process)
{
    assert(process->control >= 0);
    process->has_gone_on = true;
    (void)send(process->control, "g", 1, MSG_NOSIGNAL); /* a child that died already is seen through its pidfd */
    if (process->open_handles == 2)
        (void)uv_poll_start(&process->control_poll, UV_READABLE | UV_DISCONNECT, control_readable);
}

int vq_process_adopt(uv_loop_t *loop, pid_t pid, uint64_t start_time, const struct vq_process_callbacks *callbacks,
                     void *data, struct vq_process **ret_process, struct vq_error *err)
{
    struct vq_process *process = NULL;
    uint64_t found;
    int pidfd;

    if (pid <= 0)
        return vq_error_set(err, VIR_ERR_NO_DOMAIN, "there is no process %d", (int)pid);
    pidfd = (int)syscall(SYS_pidfd_open, pid, 0);
    if (pidfd < 0 && (errno == ESRCH || errno == EINVAL))
        return vq_error_set(err, VIR_ERR_NO_DOMAIN, "there is no process %d", (int)pid);
    if (pidfd < 0)
        return vq_error_system(err, errno, "cannot open a pidfd for process %d", (int)pid);
    /* Read after the pidfd was opened: equal means that the pidfd is of the process that was recorded. */
    if (!vq_process_read_start_time(pid, &found) || found != start_time) {
        (void)close(pidfd);
        return vq_error_set(err, VIR_ERR_NO_DOMAIN, "process %d is another one now", (int)pid);
    }
    if (process_watch(loop, pid, pidfd, -1, false, callbacks, data, &process, err) < 0)
        return -1;
    process->start_time = start_time;
    process->has_gone_on = true;
    *ret_process = process;
    return 0;
}

pid_t vq_process_pid(const struct vq_process *process)
{
    return process->pid;
}

uint64_t vq_process_start_time(const struct vq_process *process)
{
    return process->start_time;
}

bool vq_process_has_gone_on(const struct vq_process *process)
{
    return process->has_gone_on;
}

bool vq_process_has_exited(const struct vq_process *process)
{
    return process->has_exited;
}

int vq_process_signal(struct vq_process *process, int signal_number, struct vq_error *err)
{
    /* ESRCH: it has ended, which its pidfd is about to tell. */
    if (process->has_exited || send_signal(process->pidfd, signal_number) == 0 || errno == ESRCH)
        return 0;
    return vq_error_system(err, errno, "cannot signal process %d", (int)process->pid);
}

/* ---- Children that nobody holds any more: they are zombies after their end until they are waited for ---- */

static struct orphan {
    struct orphan *next;
    pid_t pid;
} *orphans;

void vq_process_reap(void)
{
    for (struct orphan **at = &orphans; *at != NULL;) {
        struct orphan *orphan = *at;

        if (waitpid(orphan->pid, NULL, WNOHANG) == 0) {
            at = &orphan->next;
            continue;
        }
        *at = orphan->next;
        free(orphan);
    }
}

static void leave_to_reaper(pid_t pid)
{
    struct orphan *orphan = vq_new(struct orphan);

    orphan->pid = pid;
    orphan->next = orphans;
    orphans = orphan;
}

void vq_process_free(struct vq_process *process)
{
    if (process == NULL)
        return;
    assert(!process->is_freed);
    process->is_freed = true;
    if (process->is_child && process->has_gone_on && !process->has_exited)
        leave_to_reaper(process->pid);
    if (process->is_child && !process->has_gone_on) {
        (void)close(process->control); /* it reads the end and leaves at once: a few system calls */
        process->control = -1;
        (void)waitpid(process->pid, NULL, 0);
    }
    if (process->open_handles == 2)
        uv_close((uv_handle_t *)&process->control_poll, handle_closed);
    uv_close((uv_handle_t *)&process->exit_poll, handle_closed);
}
