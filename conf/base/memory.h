/* Memory: small allocations that end the process when there is none, and the arena of one request.
 *
 * Guests outlive the daemon, and the daemon restarts in under a second; so a small allocation that fails aborts. What
 * a peer can size goes through an arena, which has a limit and answers NULL at it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/macros.h"

void *vq_calloc(size_t n, size_t size) __attribute__((returns_nonnull, malloc));
void *vq_realloc(void *memory, size_t n, size_t size) __attribute__((returns_nonnull));
void *vq_memdup(const void *memory, size_t size) __attribute__((returns_nonnull));
char *vq_strdup(const char *text);                                     /* NULL for NULL */
char *vq_strndup(const char *text, size_t max) __attribute__((returns_nonnull));
void vq_set_text(char **text, const char *value);                      /* frees what was there; value may be NULL */
char *vq_asprintf(const char *fmt, ...) VQ_PRINTF(1, 2) __attribute__((returns_nonnull));

#define vq_new(type) ((type *)vq_calloc(1, sizeof(type)))

/* Grow the array so that one more element fits: VQ_GROW(array, n) before array[n++] = x. Doubles. */
#define VQ_GROW(array, n)                                                                                              \
    do {                                                                                                               \
        if (((n) & ((n)-1)) == 0)                                                                                      \
            (array) = vq_realloc((array), (n) == 0 ? 1 : (size_t)(n)*2, sizeof(*(array)));                             \
    } while (0)

struct vq_arena; /* bump allocator; everything in it vanishes together */

/* limit_bytes: the most that may ever be allocated from it, 0 for no limit. */
struct vq_arena *vq_arena_new(size_t limit_bytes);
void vq_arena_free(struct vq_arena *arena);
VQ_DEFINE_AUTOPTR(vq_arena);

/* Forget all content, keep the first chunk for the next use. */
void vq_arena_reset(struct vq_arena *arena);

/* Zeroed, aligned to 16; NULL when the limit is reached or n * size overflows. */
void *vq_arena_alloc(struct vq_arena *arena, size_t n, size_t size) VQ_MUST_CHECK;
char *vq_arena_strndup(struct vq_arena *arena, const char *text, size_t length) VQ_MUST_CHECK;
char *vq_arena_strdup(struct vq_arena *arena, const char *text) VQ_MUST_CHECK; /* NULL for NULL too */
size_t vq_arena_used(const struct vq_arena *arena);
