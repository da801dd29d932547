/* Failure points: the plan from the environment, counting, acting. */
#include "conf/base/failpoint.h"

#ifdef VQ_FAILPOINTS

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

enum { POINTS_MAX = 512, PLAN_MAX = 4096 };

struct point {
    const char *name; /* string literals of the callers */
    unsigned hits;
};

static struct point points[POINTS_MAX];
static size_t n_points;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER; /* tests only; both loops pass here */

static void note_first_hit(const char *name)
{
    const char *path = getenv("VQ_FAILPOINTS_HIT");
    int fd = path == NULL ? -1 : open(path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644);

    if (fd < 0)
        return;
    dprintf(fd, "%s\n", name);
    close(fd);
}

static unsigned count_hit(const char *name)
{
    for (size_t i = 0; i < n_points; i++)
        if (strcmp(points[i].name, name) == 0)
            return ++points[i].hits;
    note_first_hit(name);
    if (n_points < POINTS_MAX)
        points[n_points++] = (struct point){name, 1};
    return 1;
}

static void read_plan(char plan[PLAN_MAX])
{
    const char *setting = getenv("VQ_FAILPOINTS");

    plan[0] = '\0';
    if (setting == NULL)
        return;
    if (setting[0] != '@') {
        (void)snprintf(plan, PLAN_MAX, "%s", setting);
        return;
    }
    int fd = open(setting + 1, O_RDONLY | O_CLOEXEC);
    ssize_t got = fd < 0 ? 0 : read(fd, plan, PLAN_MAX - 1);
    if (fd >= 0)
        close(fd);
    plan[got < 0 ? 0 : got] = '\0';
}

static bool act(const char *action)
{
    if (strncmp(action, "crash", 5) == 0)
        raise(SIGKILL);
    if (strncmp(action, "freeze", 6) == 0)
        raise(SIGSTOP);
    if (strncmp(action, "delay:", 6) == 0) {
        long ms = atol(action + 6);
        nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
        return false;
    }
    return strncmp(action, "error", 5) == 0;
}

bool vq_failpoint_hit(const char *name)
{
    char plan[PLAN_MAX];
    char *rest;

    pthread_mutex_lock(&lock);
    unsigned hit = count_hit(name);
    read_plan(plan);
    pthread_mutex_unlock(&lock);
    for (char *word = strtok_r(plan, " \n,", &rest); word != NULL; word = strtok_r(NULL, " \n,", &rest)) {
        char *action = strchr(word, '=');
        if (action == NULL)
            continue;
        *action++ = '\0';
        char *nth = strchr(action, '@');
        if (strcmp(word, name) == 0 && (nth == NULL || (unsigned)atol(nth + 1) == hit))
            return act(action);
    }
    return false;
}

#else
typedef int vq_failpoints_are_compiled_out; /* ISO C wants a declaration in a translation unit */
#endif
