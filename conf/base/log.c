/* Log lines to one descriptor, in libvirt's line format. */
#include "conf/base/log.h"

#include <stdarg.h>
#include <stdio.h>
#include <time.h>
#include <unistd.h>

enum vq_log_level vq_log_level = VQ_LOG_INFO;

static int log_fd = STDERR_FILENO;

static const char *const level_names[] = {"none", "debug", "info", "warning", "error"};

void vq_log_open(int fd)
{
    log_fd = fd;
}

void vq_log_write(enum vq_log_level level, const char *event, const char *fmt, ...)
{
    char line[2048];
    struct timespec now;
    struct tm utc;
    va_list args;

    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
    (void)gmtime_r(&now.tv_sec, &utc);
    int length = snprintf(line, sizeof(line), "%04d-%02d-%02d %02d:%02d:%02d.%03ld+0000: %d: %s : %s : ",
                          utc.tm_year + 1900, utc.tm_mon + 1, utc.tm_mday, utc.tm_hour, utc.tm_min, utc.tm_sec,
                          now.tv_nsec / 1000000, (int)gettid(), level_names[level], event);
    va_start(args, fmt);
    int body = vsnprintf(line + length, sizeof(line) - (size_t)length - 1, fmt, args);
    va_end(args);
    if (body < 0)
        body = 0;
    int end = length + body;
    if (end > (int)sizeof(line) - 2)
        end = (int)sizeof(line) - 2;
    for (int i = length; i < end; i++)
        if ((unsigned char)line[i] < ' ')
            line[i] = '?'; /* hostile text must not forge lines */
    line[end] = '\n';
    ssize_t written = write(log_fd, line, (size_t)end + 1);
    (void)written; /* a full disk must not stop the daemon */
}
