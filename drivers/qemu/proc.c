/* Reading /proc: see proc.h. */
#include "drivers/qemu/proc.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/text.h"

enum { STAT_BYTES = 1024, SCHED_BYTES = 8192 };

static bool read_text(const char *path, char *text, size_t size)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n;

    if (fd < 0)
        return false;
    n = read(fd, text, size - 1);
    (void)close(fd);
    if (n <= 0)
        return false;
    text[n] = '\0';
    return true;
}

/* Field n of a line of fields behind the program's name in brackets, which may hold anything; the name is field 2. */
static bool stat_field(const char *text, int n, uint64_t *ret)
{
    const char *at = strrchr(text, ')');
    char number[24];
    size_t length;

    for (int field = 2; at != NULL && field < n; field++)
        at = strchr(at + 1, ' ');
    if (at == NULL)
        return false;
    length = strcspn(++at, " \n");
    if (length >= sizeof(number))
        return false;
    memcpy(number, at, length);
    number[length] = '\0';
    return vq_parse_u64(number, 10, UINT64_MAX, ret);
}

bool vq_proc_times(pid_t pid, pid_t thread, struct vq_proc_times *ret_times)
{
    uint64_t user, system_time, processor = 0, hz = (uint64_t)sysconf(_SC_CLK_TCK);
    char path[64], text[STAT_BYTES];

    if (thread > 0)
        (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/stat", (int)pid, (int)thread);
    else
        (void)snprintf(path, sizeof(path), "/proc/%d/stat", (int)pid);
    if (!read_text(path, text, sizeof(text)) || !stat_field(text, 14, &user) || !stat_field(text, 15, &system_time))
        return false;
    (void)stat_field(text, 39, &processor);
    ret_times->user_ns = user * (1000000000 / hz);
    ret_times->system_ns = system_time * (1000000000 / hz);
    ret_times->processor = (int)processor;
    return true;
}

bool vq_proc_rss_kib(pid_t pid, uint64_t *ret_kib)
{
    char path[64], text[256], *second, *third;
    uint64_t pages;

    (void)snprintf(path, sizeof(path), "/proc/%d/statm", (int)pid);
    if (!read_text(path, text, sizeof(text)) || (second = strchr(text, ' ')) == NULL ||
        (third = strchr(second + 1, ' ')) == NULL)
        return false;
    *third = '\0';
    if (!vq_parse_u64(second + 1, 10, UINT64_MAX / 64, &pages))
        return false;
    *ret_kib = pages * ((uint64_t)sysconf(_SC_PAGESIZE) / 1024);
    return true;
}

bool vq_proc_delay_ns(pid_t pid, pid_t thread, uint64_t *ret_ns)
{
    char path[64], text[128], *second, *third;

    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/schedstat", (int)pid, (int)thread);
    if (!read_text(path, text, sizeof(text)) || (second = strchr(text, ' ')) == NULL ||
        (third = strchr(second + 1, ' ')) == NULL)
        return false;
    *third = '\0';
    return vq_parse_u64(second + 1, 10, UINT64_MAX, ret_ns);
}

/* "wait_sum : 12.345678": milliseconds, to the nanosecond. */
bool vq_proc_wait_ns(pid_t pid, pid_t thread, uint64_t *ret_ns)
{
    char path[64], text[SCHED_BYTES];
    unsigned long ms, ns;
    const char *at;

    (void)snprintf(path, sizeof(path), "/proc/%d/task/%d/sched", (int)pid, (int)thread);
    if (!read_text(path, text, sizeof(text)))
        return false;
    *ret_ns = 0; /* the kernel keeps no sums by default */
    if ((at = strstr(text, "wait_sum")) != NULL && (at = strchr(at, ':')) != NULL &&
        sscanf(at + 1, "%12lu.%6lu", &ms, &ns) == 2)
        *ret_ns = (uint64_t)ms * 1000000 + ns;
    return true;
}
