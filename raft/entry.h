/* Entries of the log: how commands travel together in one, and the frame that libraft's rules ask for (a buffer of
 * raft_malloc() whose length is a multiple of 8). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum {
    VQ_ENTRY_SOFT_MAX = 256 * 1024,        /* commands are grouped up to here */
    VQ_ENTRY_HARD_MAX = 1024 * 1024,       /* a single command may need this much; libraft itself has no limit */
    VQ_ENTRY_OVERHEAD = 8 + 8 + 7,         /* frame, tag and length of one command, padding */
    VQ_ENTRY_COMMAND_MAX = VQ_ENTRY_HARD_MAX - VQ_ENTRY_OVERHEAD,
};

struct vq_entry_writer {
    uint8_t *base;   /* raft_malloc'ed; NULL when there was no memory */
    size_t capacity;
    size_t length;   /* frame and commands so far */
};

/* How many bytes a command adds to an entry. */
size_t vq_entry_command_size(size_t command_length);

/* Room for the given sum of vq_entry_command_size(). The commands are packed vq.Command messages; together they are a
 * packed vq.Entry. */
bool vq_entry_begin(struct vq_entry_writer *writer, size_t commands_size);
void vq_entry_add(struct vq_entry_writer *writer, const void *command, size_t length);
/* The length to give to libraft, padding included. */
size_t vq_entry_end(struct vq_entry_writer *writer);

/* The packed vq.Entry inside; false: this is none of our entries. */
bool vq_entry_open(const void *base, size_t length, const void **ret_entry, size_t *ret_length);
