/* A child of the daemon that may outlive it, held by its pidfd: born, recognised after a restart, signalled, seen to end.
 *
 * A child is born waiting: it runs nothing before vq_process_go(), so that its record can be on disk first, and it ends by
 * itself when the daemon dies before that. All signals go through the pidfd, which names this process and no other. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <uv.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_process;

struct vq_process_spec {
    char *const *argv;         /* argv[0] is the path; no shell, no search */
    char *const *environment;  /* the whole of it */
    int output_fd;             /* becomes 1 and, without has_streams, 2; -1: /dev/null */
    bool has_streams;          /* the next two are said; else 0 is /dev/null */
    int input_fd, error_fd;    /* become 0 and 2; -1: /dev/null */
    const int *fds;            /* kept open under their numbers (all above 2); everything else is closed */
    size_t n_fds;
    const char *dir;           /* working directory, NULL: "/" */
    bool has_user;             /* become uid and gid, with no other group */
    uid_t uid;
    gid_t gid;
    bool keep_capabilities;    /* false: all five sets are empty, also as root */
    bool is_own_session;       /* lives on when the daemon ends; false: dies with it, whatever ends it */
    uint64_t files_max, processes_max, core_max_bytes; /* limits; 0: as ours, core: none */
};

struct vq_process_callbacks {
    /* The program runs (err NULL), or could not be started: it has ended or is about to. */
    void (*executed)(struct vq_process *process, const struct vq_error *err, void *data);
    /* It has ended. status as of waitpid(), -1: not our child, so unknown. */
    void (*exited)(struct vq_process *process, int status, void *data);
};

VQ_MUST_CHECK int vq_process_fork(uv_loop_t *loop, const struct vq_process_spec *spec,
                                  const struct vq_process_callbacks *callbacks, void *data,
                                  struct vq_process **ret_process, struct vq_error *err);
void vq_process_go(struct vq_process *process);

/* A process of an earlier daemon: only if this pid has this start time. Errors: VIR_ERR_NO_DOMAIN when there is no such
 * process any more; anything else means that it could not be told. */
VQ_MUST_CHECK int vq_process_adopt(uv_loop_t *loop, pid_t pid, uint64_t start_time,
                                   const struct vq_process_callbacks *callbacks, void *data,
                                   struct vq_process **ret_process, struct vq_error *err);

pid_t vq_process_pid(const struct vq_process *process);
uint64_t vq_process_start_time(const struct vq_process *process); /* clock ticks since boot, /proc/PID/stat 22 */
bool vq_process_has_gone_on(const struct vq_process *process); /* was told to go, or adopted */
bool vq_process_has_exited(const struct vq_process *process);
VQ_MUST_CHECK int vq_process_signal(struct vq_process *process, int signal_number, struct vq_error *err);

/* Let go of it; no callback comes any more. The process itself goes on. Accepts NULL. */
void vq_process_free(struct vq_process *process);
/* Wait, without waiting, for children that were let go and have ended. Called now and then. */
void vq_process_reap(void);

/* Start time of a pid; false: there is none. */
bool vq_process_read_start_time(pid_t pid, uint64_t *ret_start_time);
