/* A growing byte buffer: for texts (XML, JSON, tables) and for messages on their way out. Always NUL-terminated. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "conf/base/macros.h"

struct vq_buffer {
    char *data;      /* NULL while nothing was ever added */
    size_t length;   /* without the NUL */
    size_t capacity; /* bytes allocated */
    int indent;      /* levels of two spaces that vq_buffer_line() puts in front */
};

#define VQ_BUFFER_INIT ((struct vq_buffer){0})

void vq_buffer_add(struct vq_buffer *buffer, const char *text);
void vq_buffer_add_bytes(struct vq_buffer *buffer, const void *bytes, size_t size);
void vq_buffer_addf(struct vq_buffer *buffer, const char *fmt, ...) VQ_PRINTF(2, 3);
void *vq_buffer_extend(struct vq_buffer *buffer, size_t size); /* size more bytes, uninitialised, to be written to */
void vq_buffer_reserve(struct vq_buffer *buffer, size_t size); /* room for size more bytes without moving */
void vq_buffer_truncate(struct vq_buffer *buffer, size_t length);

/* XML content or attribute value with & < > " ' and control characters written as entities. */
void vq_buffer_add_escaped(struct vq_buffer *buffer, const char *text);

/* Indentation, the text, a newline. */
void vq_buffer_line(struct vq_buffer *buffer, const char *fmt, ...) VQ_PRINTF(2, 3);

/* The text as malloc'ed memory of the caller ("" when empty); the buffer is empty again. */
char *vq_buffer_steal(struct vq_buffer *buffer) __attribute__((returns_nonnull));
void vq_buffer_done(struct vq_buffer *buffer);

#define VQ_AUTOBUFFER __attribute__((cleanup(vq_buffer_done))) struct vq_buffer
