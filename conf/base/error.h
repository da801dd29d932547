/* An error as a libvirt client sees it, carried on the caller's stack. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>

#include <libvirt/virterror.h>

#include "conf/base/macros.h"

/* Each .c file says `#define VQ_FROM VIR_FROM_...` before its includes; it becomes the error's domain. */
#ifndef VQ_FROM
#define VQ_FROM VIR_FROM_NONE
#endif

struct vq_error {
    int code;          /* VIR_ERR_OK, or the libvirt error number sent to the client */
    int from;          /* VIR_FROM_...: which part refused */
    int int1;          /* errno for VIR_ERR_SYSTEM_ERROR, else -1 */
    char message[512]; /* the detail: one sentence, no newline; cut with "..." when too long */
};

#define VQ_ERROR_INIT ((struct vq_error){.code = VIR_ERR_OK, .int1 = -1})

/* Set the error. All return -1, so that refusing is one line: return vq_error_set(err, VIR_ERR_..., "...", ...).
 * err may be NULL (the caller does not care). Control characters in the text become '?'. */
#define vq_error_set(err, code, ...) vq_error_set_from((err), VQ_FROM, (code), __VA_ARGS__)
int vq_error_set_from(struct vq_error *err, int from, int code, const char *fmt, ...) VQ_PRINTF(4, 5);

/* VIR_ERR_SYSTEM_ERROR with the text of errno_value behind the given one. */
#define vq_error_system(err, errno_value, ...) vq_error_system_from((err), VQ_FROM, (errno_value), __VA_ARGS__)
int vq_error_system_from(struct vq_error *err, int from, int errno_value, const char *fmt, ...) VQ_PRINTF(4, 5);

/* Put what this layer was doing in front: "starting 'db1': no such disk". Code and domain stay. */
int vq_error_wrap(struct vq_error *err, const char *fmt, ...) VQ_PRINTF(2, 3);

/* The whole text for people: the meaning of the code, then the detail: "Domain not found: no domain with ...". */
void vq_error_text(const struct vq_error *err, char *buffer, size_t size);

/* The meaning of a code with "%s" for the detail ("Domain not found: %s"); never NULL. */
const char *vq_error_template(int code);
