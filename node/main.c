/* virtquorumd: the daemon of one host. */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uv.h>

#include "conf/base/error.h"
#include "conf/base/log.h"
#include "node/config.h"
#include "node/daemon.h"

enum { N_SIGNALS = 3, FILES_WANTED = 65536 };

struct program {
    struct vq_daemon daemon;
    uv_signal_t signals[N_SIGNALS];
};

static void stop_signals(struct program *program)
{
    for (int i = 0; i < N_SIGNALS; i++)
        uv_close((uv_handle_t *)&program->signals[i], NULL);
}

static void signalled(uv_signal_t *handle, int number)
{
    struct program *program = handle->data;

    if (number == SIGHUP) {
        vq_daemon_reload(&program->daemon);
        return;
    }
    vq_log(INFO, "daemon.stop", "signal=%d: guests go on", number);
    stop_signals(program);
    vq_daemon_stop(&program->daemon);
}

static void watch_signals(struct program *program, uv_loop_t *loop)
{
    static const int numbers[N_SIGNALS] = {SIGTERM, SIGINT, SIGHUP};

    for (int i = 0; i < N_SIGNALS; i++) {
        (void)uv_signal_init(loop, &program->signals[i]);
        program->signals[i].data = program;
        (void)uv_signal_start(&program->signals[i], signalled, numbers[i]); /* valid numbers: cannot fail */
    }
}

/* Each client, guest and peer is a descriptor. */
static void raise_file_limit(void)
{
    struct rlimit limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) < 0 || limit.rlim_cur >= FILES_WANTED)
        return;
    limit.rlim_cur = FILES_WANTED;
    if (limit.rlim_max < FILES_WANTED)
        limit.rlim_max = FILES_WANTED;
    (void)setrlimit(RLIMIT_NOFILE, &limit); /* not allowed: then with fewer clients */
}

static int fail(const struct vq_error *err)
{
    fprintf(stderr, "virtquorumd: %s\n", err->message);
    return EXIT_FAILURE;
}

static int run(struct program *program, const struct vq_config *config)
{
    struct vq_error err = VQ_ERROR_INIT;
    uv_loop_t loop;

    int status = uv_loop_init(&loop);
    if (status != 0) {
        fprintf(stderr, "virtquorumd: no event loop: %s\n", uv_strerror(status));
        return EXIT_FAILURE;
    }
    watch_signals(program, &loop);
    int started = vq_daemon_start(&program->daemon, &loop, config, &err);
    if (started < 0)
        stop_signals(program);
    (void)uv_run(&loop, UV_RUN_DEFAULT);
    vq_daemon_done(&program->daemon);
    (void)uv_loop_close(&loop); /* busy only if a part kept a handle, which the sanitizers tell */
    return started < 0 ? fail(&err) : EXIT_SUCCESS;
}

int main(int argc, char **argv)
{
    static struct program program;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_config config;

    (void)umask(077);
    (void)signal(SIGPIPE, SIG_IGN);
    raise_file_limit();
    vq_config_init(&config);
    int result = vq_config_read(&config, argc, argv, &err);
    if (result != 0) {
        vq_config_done(&config);
        return result < 0 ? fail(&err) : EXIT_SUCCESS;
    }
    return run(&program, &config);
}
