/* Attributes and scope cleanup that all code uses. */
#pragma once

#include <stddef.h>

#define VQ_MUST_CHECK  __attribute__((warn_unused_result))
#define VQ_PRINTF(f,a) __attribute__((format(printf, f, a)))
#define VQ_UNUSED      __attribute__((unused))

#define VQ_N_ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))

/* From a pointer to a member back to the struct that holds it. */
#define VQ_CONTAINER_OF(pointer, type, member) ((type *)((char *)(pointer) - offsetof(type, member)))

/* VQ_AUTOPTR(vq_domain) d = NULL; is freed with vq_domain_free() at the end of its scope. The type's header says
 * VQ_DEFINE_AUTOPTR(vq_domain) once. VQ_AUTOFREE is the same for memory of malloc(). */
#define VQ_AUTOPTR(type) __attribute__((cleanup(type##_autoptr_cleanup))) struct type *
#define VQ_DEFINE_AUTOPTR(type)                                                                                        \
    static inline void type##_autoptr_cleanup(struct type **pointer)                                                   \
    {                                                                                                                  \
        type##_free(*pointer);                                                                                         \
    }                                                                                                                  \
    struct type /* swallows the semicolon */
#define VQ_AUTOFREE  __attribute__((cleanup(vq_autofree_cleanup)))
#define VQ_AUTOCLOSE __attribute__((cleanup(vq_autoclose_cleanup)))

void vq_autofree_cleanup(void *pointer_to_pointer);
void vq_autoclose_cleanup(int *fd);

/* Hand a pointer on and leave NULL behind, so that scope cleanup finds nothing. */
#define vq_take(pointer)                                                                                               \
    ({                                                                                                                 \
        __typeof__(pointer) taken_ = (pointer);                                                                        \
        (pointer) = NULL;                                                                                              \
        taken_;                                                                                                        \
    })
