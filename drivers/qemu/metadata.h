/* The elements that applications keep in <metadata>, one per namespace. Pure functions on text. */
#pragma once

#include "conf/base/error.h"
#include "conf/base/macros.h"

/* The element of this namespace, without the namespace, as the application had given it; freed by the caller.
 *
 * metadata  what stands inside <metadata>, or NULL
 *
 * Errors: VIR_ERR_NO_DOMAIN_METADATA there is none. */
VQ_MUST_CHECK int vq_qemu_metadata_get(const char *metadata, const char *uri, char **ret_element, struct vq_error *err);

/* Put the element in place of the namespace's former one, at the end when there was none; element NULL: remove it.
 *
 * key  the prefix that the element's namespace gets
 *
 * Errors: VIR_ERR_XML_ERROR the element is not well-formed; VIR_ERR_INVALID_ARG key or uri cannot be used. */
VQ_MUST_CHECK int vq_qemu_metadata_set(char **metadata, const char *element, const char *key, const char *uri,
                                       struct vq_error *err);
