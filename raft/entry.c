/* The frame of an entry and the grouping of commands. */
#include "raft/entry.h"

#include <assert.h>
#include <raft.h>
#include <string.h>

#if !defined(RAFT_VERSION_NUMBER) || RAFT_VERSION_NUMBER < 2201
#error "libraft 0.22.1 or newer is needed: releases before it can lose acknowledged entries"
#endif

enum { MAGIC = 0x31455156 /* "VQE1" */, ALIGN = 8, COMMANDS_TAG = 0x0a /* field 1 of Entry */ };

struct frame {
    uint32_t magic;
    uint32_t length; /* of the packed Entry, without padding */
};

static size_t varint_size(size_t value)
{
    size_t size = 1;

    for (; value >= 0x80; value >>= 7)
        size++;
    return size;
}

size_t vq_entry_command_size(size_t command_length)
{
    return 1 + varint_size(command_length) + command_length;
}

bool vq_entry_begin(struct vq_entry_writer *writer, size_t commands_size)
{
    writer->capacity = (sizeof(struct frame) + commands_size + ALIGN - 1) / ALIGN * ALIGN;
    writer->length = sizeof(struct frame);
    writer->base = raft_malloc(writer->capacity);
    return writer->base != NULL;
}

void vq_entry_add(struct vq_entry_writer *writer, const void *command, size_t length)
{
    size_t rest = length;

    assert(writer->length + vq_entry_command_size(length) <= writer->capacity);
    writer->base[writer->length++] = COMMANDS_TAG;
    for (; rest >= 0x80; rest >>= 7)
        writer->base[writer->length++] = (uint8_t)(rest | 0x80);
    writer->base[writer->length++] = (uint8_t)rest;
    memcpy(writer->base + writer->length, command, length);
    writer->length += length;
}

size_t vq_entry_end(struct vq_entry_writer *writer)
{
    struct frame frame = {MAGIC, (uint32_t)(writer->length - sizeof(frame))};
    size_t padded = (writer->length + ALIGN - 1) / ALIGN * ALIGN;

    assert(padded <= writer->capacity && padded <= VQ_ENTRY_HARD_MAX);
    memcpy(writer->base, &frame, sizeof(frame));
    memset(writer->base + writer->length, 0, padded - writer->length);
    return padded;
}

bool vq_entry_open(const void *base, size_t length, const void **ret_entry, size_t *ret_length)
{
    struct frame frame;

    if (length < sizeof(frame) || length % ALIGN != 0)
        return false;
    memcpy(&frame, base, sizeof(frame));
    if (frame.magic != MAGIC || frame.length > length - sizeof(frame) || length - sizeof(frame) - frame.length >= ALIGN)
        return false;
    *ret_entry = (const uint8_t *)base + sizeof(frame);
    *ret_length = frame.length;
    return true;
}
