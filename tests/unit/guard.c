/* Faults of the disk that libraft 0.22.1 does not survive: the process ends before that, and is started again. */
#include "raft/guard.h"

#include <fcntl.h>
#include <sys/wait.h>

#include "conf/base/log.h"
#include "tests/unit/commands.h"

static struct raft_io io;
static struct vq_guard guard;
static int answer;

static int plain_set_term(struct raft_io *raft VQ_UNUSED, raft_term term VQ_UNUSED)
{
    return answer;
}

static int plain_set_vote(struct raft_io *raft VQ_UNUSED, raft_id id VQ_UNUSED)
{
    return answer;
}

static int plain_snapshot_get(struct raft_io *raft VQ_UNUSED, struct raft_io_snapshot_get *req,
                              raft_io_snapshot_get_cb cb)
{
    cb(req, NULL, answer);
    return 0;
}

static void snapshot_got(struct raft_io_snapshot_get *req, struct raft_snapshot *snapshot VQ_UNUSED, int status)
{
    *(int *)req->data = status;
}

static void diagnose(const char *message)
{
    struct raft_tracer_info info = {.version = 1, .diagnostic = {1, message, "uv_append.c", 1}};

    guard.tracer.emit(&guard.tracer, RAFT_TRACER_DIAGNOSTIC, &info);
}

static void get_snapshot(void)
{
    struct raft_io_snapshot_get request = {0};
    int status = -1;

    request.data = &status;
    assert_int_equal(io.snapshot_get(&io, &request, snapshot_got), 0);
    assert_int_equal(status, answer);
}

static void fail_term(void)
{
    (void)io.set_term(&io, 2);
}

static void fail_vote(void)
{
    (void)io.set_vote(&io, 2);
}

static void fail_write(void)
{
    diagnose("retry failed write: input/output error");
}

static void hang(void)
{
    guard.tracer.emit(&guard.tracer, RAFT_UV_TRACER_WRITE_SUBMIT, NULL);
    vq_guard_look(&guard, 1000);
    vq_guard_look(&guard, 1000 + VQ_GUARD_WRITE_MS - 1);
    answer = 0;
    get_snapshot(); /* still here */
    vq_guard_look(&guard, 1000 + VQ_GUARD_WRITE_MS);
}

static int status_of(void (*fn)(void))
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        fn();
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

static int setup(void **state VQ_UNUSED)
{
    io = (struct raft_io){.set_term = plain_set_term, .set_vote = plain_set_vote, .snapshot_get = plain_snapshot_get};
    guard = (struct vq_guard){.tracer = {0}};
    vq_guard_wrap(&guard, &io);
    answer = 0;
    return 0;
}

static void what_works_goes_through(void **state VQ_UNUSED)
{
    assert_int_equal(io.set_term(&io, 2), 0);
    assert_int_equal(io.set_vote(&io, 2), 0);
    get_snapshot();
    answer = RAFT_CANCELED; /* closing is no fault */
    get_snapshot();
    diagnose("something else");
    guard.tracer.emit(&guard.tracer, RAFT_UV_TRACER_WRITE_SUBMIT, NULL);
    vq_guard_look(&guard, 1000);
    guard.tracer.emit(&guard.tracer, RAFT_UV_TRACER_WRITE_COMPLETE, NULL);
    vq_guard_look(&guard, 100000);
    guard.tracer.emit(&guard.tracer, 77777, NULL);
}

static void each_fault_ends_the_process(void **state VQ_UNUSED)
{
    answer = RAFT_IOERR;
    assert_int_equal(status_of(fail_term), VQ_GUARD_EXIT);
    assert_int_equal(status_of(fail_vote), VQ_GUARD_EXIT);
    assert_int_equal(status_of(get_snapshot), VQ_GUARD_EXIT);
    assert_int_equal(status_of(fail_write), VQ_GUARD_EXIT);
    assert_int_equal(status_of(hang), VQ_GUARD_EXIT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(what_works_goes_through, setup),
        cmocka_unit_test_setup(each_fault_ends_the_process, setup),
    };
    vq_log_open(open("/dev/null", O_WRONLY | O_CLOEXEC));
    return cmocka_run_group_tests_name("guard", tests, NULL, NULL);
}
