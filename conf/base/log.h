/* Log lines: a stable event word, keys, one sentence. Used by node, drivers and raft; conf, proto codecs and store
 * return errors instead. Safe from any thread; never blocks for longer than one write(2). */
#pragma once

#include "conf/base/macros.h"

enum vq_log_level { VQ_LOG_DEBUG = 1, VQ_LOG_INFO, VQ_LOG_WARN, VQ_LOG_ERROR };

/* vq_log(WARN, "job.undo", "domain=%s step='%s': %s, continuing", ...) */
#define vq_log(level, event, ...)                                                                                      \
    do {                                                                                                               \
        if (VQ_LOG_##level >= vq_log_level)                                                                            \
            vq_log_write(VQ_LOG_##level, (event), __VA_ARGS__);                                                        \
    } while (0)

extern enum vq_log_level vq_log_level; /* lowest level that is written; INFO at start */

void vq_log_write(enum vq_log_level level, const char *event, const char *fmt, ...) VQ_PRINTF(3, 4);

/* Lines go to this descriptor from now on (standard error at start). Not closed by the log. */
void vq_log_open(int fd);
