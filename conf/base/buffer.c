/* The growing byte buffer. */
#include "conf/base/buffer.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"

void vq_buffer_reserve(struct vq_buffer *buffer, size_t size)
{
    size_t wanted = buffer->length + size + 1;

    if (wanted <= buffer->capacity)
        return;
    size_t capacity = buffer->capacity == 0 ? 256 : buffer->capacity * 2;
    if (capacity < wanted)
        capacity = wanted;
    buffer->data = vq_realloc(buffer->data, capacity, 1);
    buffer->capacity = capacity;
    buffer->data[buffer->length] = '\0';
}

void *vq_buffer_extend(struct vq_buffer *buffer, size_t size)
{
    vq_buffer_reserve(buffer, size);
    void *place = buffer->data + buffer->length;
    buffer->length += size;
    buffer->data[buffer->length] = '\0';
    return place;
}

void vq_buffer_add_bytes(struct vq_buffer *buffer, const void *bytes, size_t size)
{
    if (size > 0)
        memcpy(vq_buffer_extend(buffer, size), bytes, size);
}

void vq_buffer_add(struct vq_buffer *buffer, const char *text)
{
    vq_buffer_add_bytes(buffer, text, strlen(text));
}

static void addv(struct vq_buffer *buffer, const char *fmt, va_list args)
{
    va_list again;

    va_copy(again, args);
    vq_buffer_reserve(buffer, 128);
    size_t room = buffer->capacity - buffer->length;
    int length = vsnprintf(buffer->data + buffer->length, room, fmt, args);
    if (length >= 0 && (size_t)length >= room) {
        vq_buffer_reserve(buffer, (size_t)length);
        length = vsnprintf(buffer->data + buffer->length, (size_t)length + 1, fmt, again);
    }
    va_end(again);
    if (length > 0)
        buffer->length += (size_t)length;
}

void vq_buffer_addf(struct vq_buffer *buffer, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    addv(buffer, fmt, args);
    va_end(args);
}

void vq_buffer_line(struct vq_buffer *buffer, const char *fmt, ...)
{
    va_list args;

    for (int i = 0; i < buffer->indent; i++)
        vq_buffer_add(buffer, "  ");
    va_start(args, fmt);
    addv(buffer, fmt, args);
    va_end(args);
    vq_buffer_add(buffer, "\n");
}

void vq_buffer_truncate(struct vq_buffer *buffer, size_t length)
{
    if (length >= buffer->length)
        return;
    buffer->length = length;
    buffer->data[length] = '\0';
}

void vq_buffer_add_escaped(struct vq_buffer *buffer, const char *text)
{
    for (const char *c = text; *c != '\0'; c++) {
        switch (*c) {
        case '&': vq_buffer_add(buffer, "&amp;"); break;
        case '<': vq_buffer_add(buffer, "&lt;"); break;
        case '>': vq_buffer_add(buffer, "&gt;"); break;
        case '"': vq_buffer_add(buffer, "&quot;"); break;
        case '\'': vq_buffer_add(buffer, "&apos;"); break;
        case '\n':
        case '\t':
        case '\r':
            if (*c == '\r')
                vq_buffer_add(buffer, "&#13;");
            else
                vq_buffer_add_bytes(buffer, c, 1);
            break;
        default:
            if ((unsigned char)*c >= ' ') /* other control characters cannot stand in XML 1.0 at all */
                vq_buffer_add_bytes(buffer, c, 1);
        }
    }
}

char *vq_buffer_steal(struct vq_buffer *buffer)
{
    char *text = buffer->data == NULL ? vq_strdup("") : buffer->data;

    *buffer = VQ_BUFFER_INIT;
    return text;
}

void vq_buffer_done(struct vq_buffer *buffer)
{
    free(buffer->data);
    *buffer = VQ_BUFFER_INIT;
}
