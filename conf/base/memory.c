/* Memory: allocations that cannot fail, and the arena. */
#include "conf/base/memory.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { ARENA_CHUNK = 8192, ARENA_ALIGN = 16 };

struct chunk {
    struct chunk *next;
    size_t size; /* of data */
    size_t used;
    _Alignas(ARENA_ALIGN) unsigned char data[];
};

struct vq_arena {
    struct chunk *chunks; /* the one in use first; the very first chunk is last in the list */
    size_t limit_bytes;
    size_t used_bytes;
};

void vq_autofree_cleanup(void *pointer_to_pointer)
{
    free(*(void **)pointer_to_pointer);
}

void vq_autoclose_cleanup(int *fd)
{
    if (*fd >= 0)
        (void)close(*fd); /* nothing to be done about it at the end of a scope */
}

static _Noreturn void out_of_memory(void)
{
    static const char text[] = "virtquorum: out of memory\n";
    ssize_t written = write(STDERR_FILENO, text, sizeof(text) - 1);

    (void)written;
    abort();
}

void *vq_calloc(size_t n, size_t size)
{
    void *memory = calloc(n == 0 ? 1 : n, size == 0 ? 1 : size);

    if (memory == NULL)
        out_of_memory();
    return memory;
}

void *vq_realloc(void *memory, size_t n, size_t size)
{
    void *grown = reallocarray(memory, n == 0 ? 1 : n, size);

    if (grown == NULL)
        out_of_memory();
    return grown;
}

void *vq_memdup(const void *memory, size_t size)
{
    void *copy = vq_calloc(1, size);

    if (size > 0)
        memcpy(copy, memory, size);
    return copy;
}

char *vq_strdup(const char *text)
{
    return text == NULL ? NULL : vq_strndup(text, strlen(text));
}

char *vq_strndup(const char *text, size_t max)
{
    size_t length = strnlen(text, max);
    char *copy = vq_calloc(1, length + 1);

    memcpy(copy, text, length);
    return copy;
}

void vq_set_text(char **text, const char *value)
{
    char *copy = vq_strdup(value); /* first: value may point into the old text */

    free(*text);
    *text = copy;
}

char *vq_asprintf(const char *fmt, ...)
{
    char *text;
    va_list args;

    va_start(args, fmt);
    int length = vasprintf(&text, fmt, args);
    va_end(args);
    if (length < 0)
        out_of_memory();
    return text;
}

struct vq_arena *vq_arena_new(size_t limit_bytes)
{
    struct vq_arena *arena = vq_new(struct vq_arena);

    arena->limit_bytes = limit_bytes;
    return arena;
}

void vq_arena_free(struct vq_arena *arena)
{
    if (arena == NULL)
        return;
    while (arena->chunks != NULL) {
        struct chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        free(chunk);
    }
    free(arena);
}

void vq_arena_reset(struct vq_arena *arena)
{
    while (arena->chunks != NULL && (arena->chunks->next != NULL || arena->chunks->size > ARENA_CHUNK)) {
        struct chunk *chunk = arena->chunks;
        arena->chunks = chunk->next;
        free(chunk);
    }
    if (arena->chunks != NULL)
        arena->chunks->used = 0;
    arena->used_bytes = 0;
}

static bool add_chunk(struct vq_arena *arena, size_t at_least)
{
    size_t size = at_least > ARENA_CHUNK ? at_least : ARENA_CHUNK;
    struct chunk *chunk = malloc(sizeof(*chunk) + size);

    if (chunk == NULL)
        return false;
    chunk->size = size;
    chunk->used = 0;
    chunk->next = arena->chunks;
    arena->chunks = chunk;
    return true;
}

void *vq_arena_alloc(struct vq_arena *arena, size_t n, size_t size)
{
    size_t bytes;

    if (__builtin_mul_overflow(n, size, &bytes) || bytes > SIZE_MAX / 2)
        return NULL;
    bytes = (bytes + ARENA_ALIGN - 1) & ~(size_t)(ARENA_ALIGN - 1);
    if (bytes == 0)
        bytes = ARENA_ALIGN;
    if (arena->limit_bytes != 0 && bytes > arena->limit_bytes - arena->used_bytes)
        return NULL;
    if ((arena->chunks == NULL || arena->chunks->size - arena->chunks->used < bytes) && !add_chunk(arena, bytes))
        return NULL;

    void *memory = arena->chunks->data + arena->chunks->used;
    arena->chunks->used += bytes;
    arena->used_bytes += bytes;
    return memset(memory, 0, bytes);
}

char *vq_arena_strndup(struct vq_arena *arena, const char *text, size_t length)
{
    char *copy = length == SIZE_MAX ? NULL : vq_arena_alloc(arena, 1, length + 1);

    if (copy != NULL && length > 0)
        memcpy(copy, text, length);
    return copy;
}

char *vq_arena_strdup(struct vq_arena *arena, const char *text)
{
    return text == NULL ? NULL : vq_arena_strndup(arena, text, strlen(text));
}

size_t vq_arena_used(const struct vq_arena *arena)
{
    return arena->used_bytes;
}
