/* Children of the driver: what they are born with, how they are recognised, how they end. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "drivers/qemu/process.h"

static uv_loop_t loop;
static struct vq_process *process;
static int n_executed, n_exited, exit_status;
static struct vq_error exec_err;

static void executed(struct vq_process *p, const struct vq_error *err, void *data)
{
    (void)p;
    (void)data;
    n_executed++;
    if (err != NULL)
        exec_err = *err;
}

static void exited(struct vq_process *p, int status, void *data)
{
    (void)p;
    (void)data;
    n_exited++;
    exit_status = status;
}

static const struct vq_process_callbacks callbacks = { executed, exited };
static char *environment[] = { (char *)"ONLY=this", NULL };

static int setup(void **state)
{
    (void)state;
    n_executed = n_exited = exit_status = 0;
    exec_err = VQ_ERROR_INIT;
    process = NULL;
    return uv_loop_init(&loop);
}

static int teardown(void **state)
{
    (void)state;
    vq_process_free(process);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    return uv_loop_close(&loop);
}

static void until_exited(void)
{
    while (n_exited == 0)
        (void)uv_run(&loop, UV_RUN_ONCE);
}

/* Run a shell line as a child made by the spec, and give what it wrote. */
static char *output_of(struct vq_process_spec *spec, const char *line)
{
    static char text[8192];
    char *argv[] = { (char *)"/bin/sh", (char *)"-c", (char *)line, NULL };
    struct vq_error err = VQ_ERROR_INIT;
    char path[] = "/tmp/vq-process-XXXXXX";
    int fd = mkostemp(path, O_CLOEXEC);
    ssize_t n;

    assert_true(fd >= 0);
    assert_int_equal(unlink(path), 0);
    spec->argv = argv;
    spec->environment = environment;
    spec->output_fd = fd;
    assert_int_equal(vq_process_fork(&loop, spec, &callbacks, NULL, &process, &err), 0);
    vq_process_go(process);
    until_exited();
    n = pread(fd, text, sizeof(text) - 1, 0);
    assert_true(n >= 0);
    text[n] = '\0';
    (void)close(fd);
    return text;
}

static void a_child_has_no_descriptors_but_those_of_the_list(void **state)
{
    int file = open("/etc/passwd", O_RDONLY | O_CLOEXEC);
    int listed = fcntl(file, F_DUPFD_CLOEXEC, 40), leaked = fcntl(file, F_DUPFD, 50);
    struct vq_process_spec spec = { .fds = &listed, .n_fds = 1 };
    char expected[64], *text;

    (void)state;
    text = output_of(&spec, "exec ls -v /proc/self/fd"); /* 3 is the directory that ls reads */
    (void)snprintf(expected, sizeof(expected), "0\n1\n2\n3\n%d\n", listed);
    assert_string_equal(text, expected);
    (void)close(file);
    (void)close(listed);
    (void)close(leaked);
}

static void a_child_has_no_capabilities_groups_or_new_privileges(void **state)
{
    struct vq_process_spec spec = { .has_user = true, .uid = 64055, .gid = 107 };
    char *text;

    (void)state;
    if (geteuid() != 0)
        skip();
    text = output_of(&spec, "grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs)' /proc/self/status");
    assert_non_null(strstr(text, "Uid:\t64055\t64055\t64055\t64055"));
    assert_non_null(strstr(text, "Gid:\t107\t107\t107\t107"));
    assert_non_null(strstr(text, "Groups:\t107"));
    assert_non_null(strstr(text, "CapInh:\t0000000000000000"));
    assert_non_null(strstr(text, "CapPrm:\t0000000000000000"));
    assert_non_null(strstr(text, "CapEff:\t0000000000000000"));
    assert_non_null(strstr(text, "CapBnd:\t0000000000000000"));
    assert_non_null(strstr(text, "CapAmb:\t0000000000000000"));
    assert_non_null(strstr(text, "NoNewPrivs:\t1"));
}

static void root_children_have_no_capabilities_either(void **state)
{
    struct vq_process_spec spec = { 0 };
    char *text;

    (void)state;
    if (geteuid() != 0)
        skip();
    text = output_of(&spec, "grep -E '^(Uid|Groups|Cap)' /proc/self/status");
    assert_non_null(strstr(text, "Uid:\t0\t"));
    assert_non_null(strstr(text, "CapEff:\t0000000000000000"));
    assert_non_null(strstr(text, "CapBnd:\t0000000000000000"));
}

static void environment_signals_limits_and_session_are_fixed(void **state)
{
    struct vq_process_spec spec = { .is_own_session = true, .files_max = 77 };
    char *text;

    (void)state;
    (void)signal(SIGPIPE, SIG_IGN);
    text = output_of(&spec, "echo $ONLY; env | grep -v -E '^(ONLY|PWD|_|SHLVL|OLDPWD)=' | wc -l; ulimit -n; ulimit -c; "
                            "grep SigIgn /proc/self/status; umask; cut -d' ' -f1,6 /proc/$$/stat; pwd");
    assert_non_null(strstr(text, "this\n0\n77\n0\n"));
    assert_non_null(strstr(text, "SigIgn:\t0000000000000000"));
    assert_non_null(strstr(text, "0007\n"));
    int pid = (int)vq_process_pid(process);
    char line[64];
    (void)snprintf(line, sizeof(line), "%d %d\n/\n", pid, pid);
    assert_non_null(strstr(text, line));
    (void)signal(SIGPIPE, SIG_DFL);
}

static void a_program_that_is_not_there_is_told_with_its_reason(void **state)
{
    char *argv[] = { (char *)"/nonexistent/qemu", NULL };
    struct vq_process_spec spec = { .argv = argv, .environment = environment, .output_fd = -1 };
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_int_equal(vq_process_fork(&loop, &spec, &callbacks, NULL, &process, &err), 0);
    vq_process_go(process);
    until_exited();
    while (n_executed == 0)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(exec_err.code, VIR_ERR_SYSTEM_ERROR);
    assert_int_equal(exec_err.int1, ENOENT);
    assert_true(WIFEXITED(exit_status));
    assert_int_equal(WEXITSTATUS(exit_status), 127);
}

static void a_child_that_never_got_the_word_runs_nothing_and_leaves(void **state)
{
    char *argv[] = { (char *)"/bin/sh", (char *)"-c", (char *)"touch /tmp/vq-process-must-not-exist", NULL };
    struct vq_process_spec spec = { .argv = argv, .environment = environment, .output_fd = -1 };
    struct vq_error err = VQ_ERROR_INIT;
    pid_t pid;

    (void)state;
    assert_int_equal(vq_process_fork(&loop, &spec, &callbacks, NULL, &process, &err), 0);
    pid = vq_process_pid(process);
    vq_process_free(process);
    process = NULL;
    assert_int_equal(kill(pid, 0), -1);
    assert_int_equal(access("/tmp/vq-process-must-not-exist", F_OK), -1);
}

static void the_end_by_a_signal_is_seen_with_its_status(void **state)
{
    char *argv[] = { (char *)"/bin/sleep", (char *)"1000", NULL };
    struct vq_process_spec spec = { .argv = argv, .environment = environment, .output_fd = -1 };
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_int_equal(vq_process_fork(&loop, &spec, &callbacks, NULL, &process, &err), 0);
    vq_process_go(process);
    while (n_executed == 0)
        (void)uv_run(&loop, UV_RUN_ONCE);
    assert_int_equal(exec_err.code, VIR_ERR_OK);
    assert_int_equal(vq_process_signal(process, SIGTERM, &err), 0);
    until_exited();
    assert_true(WIFSIGNALED(exit_status));
    assert_int_equal(WTERMSIG(exit_status), SIGTERM);
    assert_int_equal(vq_process_signal(process, SIGKILL, &err), 0); /* gone: nothing to do, no one else is hit */
}

static void a_process_is_adopted_only_with_its_start_time(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;
    uint64_t start_time = 0;
    pid_t pid = fork();

    (void)state;
    if (pid == 0) {
        (void)pause();
        _exit(0);
    }
    assert_true(vq_process_read_start_time(pid, &start_time));
    assert_int_equal(vq_process_adopt(&loop, pid, start_time + 1, &callbacks, NULL, &process, &err), -1);
    assert_int_equal(err.code, VIR_ERR_NO_DOMAIN);
    assert_int_equal(kill(pid, 0), 0);
    assert_int_equal(vq_process_adopt(&loop, pid, start_time, &callbacks, NULL, &process, &err), 0);
    assert_int_equal(vq_process_signal(process, SIGKILL, &err), 0);
    until_exited();
    assert_int_equal(exit_status, -1);
    assert_int_equal(waitpid(pid, NULL, 0), pid);
}

/* A stand-in for the daemon: starts a child that is not for good, tells its pid, and is killed. */
static void daemon_that_is_killed(int tell)
{
    static uv_loop_t own_loop;
    char *argv[] = { (char *)"/bin/sleep", (char *)"1000", NULL };
    struct vq_process_spec spec = { .argv = argv, .environment = environment, .output_fd = -1 };
    struct vq_error err = VQ_ERROR_INIT;
    pid_t pid;

    if (uv_loop_init(&own_loop) != 0 || vq_process_fork(&own_loop, &spec, &callbacks, NULL, &process, &err) < 0)
        _exit(1);
    vq_process_go(process);
    while (n_executed == 0)
        (void)uv_run(&own_loop, UV_RUN_ONCE);
    pid = vq_process_pid(process);
    (void)!write(tell, &pid, sizeof(pid));
    (void)raise(SIGKILL);
}

static void a_child_that_is_not_for_good_dies_with_the_daemon(void **state)
{
    int tell[2];
    pid_t child = -1;

    (void)state;
    assert_int_equal(pipe(tell), 0);
    pid_t daemon = fork();
    if (daemon == 0)
        daemon_that_is_killed(tell[1]);
    assert_true(daemon > 0);
    assert_int_equal(read(tell[0], &child, sizeof(child)), (int)sizeof(child));
    int pidfd = (int)syscall(SYS_pidfd_open, child, 0);
    assert_int_equal(waitpid(daemon, NULL, 0), daemon);
    if (pidfd >= 0) { /* else it has ended already */
        struct pollfd ended = { .fd = pidfd, .events = POLLIN };
        assert_int_equal(poll(&ended, 1, 10000), 1);
        (void)close(pidfd);
    }
    (void)close(tell[0]);
    (void)close(tell[1]);
}

/* As a probe that takes too long: killed and let go in the same turn. Without anybody who waits for it, it would stay as a
 * zombie for as long as the daemon lives. */
static void a_child_that_was_let_go_leaves_no_zombie(void **state)
{
    struct vq_process_spec spec = { .argv = (char *[]){ (char *)"/bin/sleep", (char *)"1000", NULL },
                                    .environment = environment, .output_fd = -1 };
    struct vq_error err = VQ_ERROR_INIT;
    siginfo_t info = { 0 };
    pid_t pid;

    (void)state;
    assert_int_equal(vq_process_fork(&loop, &spec, &callbacks, NULL, &process, &err), 0);
    pid = vq_process_pid(process);
    vq_process_go(process);
    assert_int_equal(vq_process_signal(process, SIGKILL, &err), 0);
    vq_process_free(process);
    process = NULL;
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0); /* it has ended, and lies there */
    vq_process_reap();
    assert_int_equal(waitpid(pid, NULL, WNOHANG), -1);
    assert_int_equal(errno, ECHILD);
}

int main(void)
{
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
    const struct CMUnitTest tests[] = {
        TEST(a_child_has_no_descriptors_but_those_of_the_list),
        TEST(a_child_has_no_capabilities_groups_or_new_privileges),
        TEST(root_children_have_no_capabilities_either),
        TEST(environment_signals_limits_and_session_are_fixed),
        TEST(a_program_that_is_not_there_is_told_with_its_reason),
        TEST(a_child_that_never_got_the_word_runs_nothing_and_leaves),
        TEST(the_end_by_a_signal_is_seen_with_its_status),
        TEST(a_process_is_adopted_only_with_its_start_time),
        TEST(a_child_that_is_not_for_good_dies_with_the_daemon),
        TEST(a_child_that_was_let_go_leaves_no_zombie),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
