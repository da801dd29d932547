/* A QMP connection to one QEMU: requests with ids in flight beside each other, events, and no trust.
 *
 * What comes in is bounded (line, nesting), must be JSON of the shape that the protocol allows, and must answer a question that
 * was asked; anything else breaks the connection, never the guest. Each call is answered exactly once, within its
 * deadline, unless it is cancelled. Callbacks may call back into the connection, also vq_qmp_free().
 *
 * Reference: QEMU "QMP protocol specification". */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <uv.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_qmp;

enum {
    VQ_QMP_LINE_MAX = 16 * 1024 * 1024,  /* query-* answers of large guests are below 1 MiB */
    VQ_QMP_CALLS_MAX = 512,              /* in flight, given up ones included */
    VQ_QMP_OUTPUT_MAX = 8 * 1024 * 1024, /* bytes that QEMU has not taken yet */
    VQ_QMP_TIMEOUT_MS = 30000,           /* for a caller that has no opinion */
};

struct vq_qmp_callbacks {
    /* data: may be NULL. */
    void (*event)(struct vq_qmp *qmp, const char *name, json_t *data, int64_t seconds, uint32_t micros, void *owner);
    /* Once: the connection is of no use any more; all calls have been answered with an error. VIR_ERR_OK in the code:
     * the other end has closed it. */
    void (*broken)(struct vq_qmp *qmp, const struct vq_error *err, void *owner);
};

/* reply: the content of "return", borrowed; NULL: err tells. */
typedef void (*vq_qmp_cb)(json_t *reply, const struct vq_error *err, void *data);

/* Takes the connected socket. The greeting is awaited before anything is sent, and capabilities are negotiated; calls may
 * be made at once and follow in the same turn. */
struct vq_qmp *vq_qmp_new(uv_loop_t *loop, int take_fd, const struct vq_qmp_callbacks *callbacks, void *owner);
/* Connect to a listening socket beneath a directory; does not block. */
VQ_MUST_CHECK int vq_qmp_connect(uv_loop_t *loop, const char *path, const struct vq_qmp_callbacks *callbacks,
                                 void *owner, struct vq_qmp **ret_qmp, struct vq_error *err);

/* Ask. take_arguments: an object or NULL. Gives the id of the call for vq_qmp_cancel(), never 0.
 * Errors that cb gets: VIR_ERR_INTERNAL_ERROR what QEMU refused, in its words; VIR_ERR_OPERATION_TIMEOUT;
 * VIR_ERR_OPERATION_FAILED the connection is or gets broken, or is overloaded. */
uint64_t vq_qmp_call(struct vq_qmp *qmp, const char *command, json_t *take_arguments, unsigned timeout_ms, vq_qmp_cb cb,
                     void *data);
/* The same with a descriptor alongside (getfd, add-fd), duplicated for the transfer; -1: none. */
uint64_t vq_qmp_call_fd(struct vq_qmp *qmp, const char *command, json_t *take_arguments, int fd, unsigned timeout_ms,
                        vq_qmp_cb cb, void *data);
/* The whole request object of a user, whose "id" is replaced; cb gets the whole answer object, errors of QEMU too. */
uint64_t vq_qmp_call_raw(struct vq_qmp *qmp, json_t *take_request, unsigned timeout_ms, vq_qmp_cb cb, void *data);

/* cb will not be called. The answer, when it comes, is dropped. */
void vq_qmp_cancel(struct vq_qmp *qmp, uint64_t id);

bool vq_qmp_is_broken(const struct vq_qmp *qmp);
bool vq_qmp_is_silent(const struct vq_qmp *qmp); /* the time of a call is over, and its answer has still not come */
bool vq_qmp_is_ready(const struct vq_qmp *qmp); /* greeted and negotiated */

/* Read all that is there already, although the loop has not told of it: the other end has exited. */
void vq_qmp_drain(struct vq_qmp *qmp);

/* Close: calls in flight are answered with an error, now; no other callback comes any more. Accepts NULL. */
void vq_qmp_free(struct vq_qmp *qmp);

/* ---- The reader by itself, without a loop: for the connection and for fuzzing ---- */

enum vq_qmp_kind { VQ_QMP_GREETING, VQ_QMP_EVENT, VQ_QMP_RETURN, VQ_QMP_ERROR };

struct vq_qmp_message {
    enum vq_qmp_kind kind;
    json_t *root;            /* whole message; the others are borrowed from it */
    const char *event;       /* EVENT */
    json_t *data;            /* EVENT: object or NULL; RETURN: any */
    int64_t seconds;         /* EVENT */
    uint32_t micros;
    bool has_id;             /* RETURN, ERROR */
    uint64_t id;
    const char *error_class, *error_text; /* ERROR */
};

struct vq_qmp_reader {
    char *bytes;
    size_t length, capacity, scanned, start;
};

void vq_qmp_reader_done(struct vq_qmp_reader *reader);
/* Bytes as they come; the reader keeps a copy. Errors: VIR_ERR_INTERNAL_ERROR: the line is too long. */
VQ_MUST_CHECK int vq_qmp_reader_feed(struct vq_qmp_reader *reader, const char *bytes, size_t length,
                                     struct vq_error *err);
/* 1: a message, released with vq_qmp_message_done(); 0: more bytes are needed; -1: garbage. */
VQ_MUST_CHECK int vq_qmp_reader_next(struct vq_qmp_reader *reader, struct vq_qmp_message *ret_message,
                                     struct vq_error *err);
void vq_qmp_message_done(struct vq_qmp_message *message);
/* One JSON text; numbers beyond 64 bits with sign become real ones. NULL: json_err tells. */
json_t *vq_qmp_json_load(const char *line, size_t length, json_error_t *json_err);
