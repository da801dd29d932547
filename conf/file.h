/* Configuration files in libvirt's syntax: libvirtd.conf, qemu.conf, virtquorumd.conf ...
 *
 *     # a comment
 *     max_clients = 5000
 *     auth_unix_rw = "none"
 *     tls_allowed_dn_list = [ "a", "b", ]        lists may go over lines
 *     text = """several
 *     lines"""
 *
 * Keys are described by a table: one row is the name, the type, and the member of the struct where it goes. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/buffer.h"
#include "conf/base/error.h"

enum vq_key_kind {
    VQ_KEY_STRING,  /* char * */
    VQ_KEY_BOOL,    /* bool: 0 or 1 */
    VQ_KEY_UINT,    /* uint32_t */
    VQ_KEY_INT,     /* int64_t */
    VQ_KEY_STRINGS, /* char **, NULL at the end; a single string is a list of one. "said" but empty: a list of none */
    VQ_KEY_IDLE,    /* no member: any value is taken, and has no effect here */
};

struct vq_key {
    const char *name;
    enum vq_key_kind kind;
    size_t offset;
    int64_t min, max; /* UINT, INT; both 0: what the type holds */
    const char *why;  /* IDLE: for whoever set it, "virtual machines run without it" */
};

/* VQ_KEY("max_clients", UINT, vq_settings, max_clients) */
#define VQ_KEY(word, k, type, member, ...)                                                                             \
    {.name = word, .kind = VQ_KEY_##k, .offset = offsetof(struct type, member), __VA_ARGS__}
#define VQ_KEY_WITHOUT_EFFECT(word, reason) {.name = word, .kind = VQ_KEY_IDLE, .why = reason}

enum {
    VQ_FILE_BYTES_MAX = 1024 * 1024,
    VQ_FILE_STRINGS_MAX = 10000, /* elements of one list */
};

/* Read text into the struct: members of keys that are there are replaced, the others keep what they hold (defaults).
 *
 * name     of the file, for messages
 * unknown  may be NULL; gets a line "qemu.conf:14: unknown key 'usre'; did you mean 'user'?" for each key that no row
 *          has, and a line "qemu.conf:14: 'lock_manager' has no effect: ..." for each IDLE one: neither is an error
 *
 * Errors: VIR_ERR_CONF_SYNTAX, "qemu.conf:3: ..."; a wrong value is refused with the name of its key. The struct then
 * holds what was read before. */
VQ_MUST_CHECK int vq_file_parse(const char *text, const char *name, const struct vq_key *keys, size_t n_keys,
                                void *object, struct vq_buffer *unknown, struct vq_error *err);

/* The same from a file. One that is not there is as good as an empty one: *ret_is_there tells.
 *
 * Errors: VIR_ERR_SYSTEM_ERROR it cannot be read; VIR_ERR_CONF_SYNTAX, also when it is too large. */
VQ_MUST_CHECK int vq_file_read(const char *path, const struct vq_key *keys, size_t n_keys, void *object,
                               struct vq_buffer *unknown, bool *ret_is_there, struct vq_error *err);

/* Free what the members own and zero them. */
void vq_file_clear(const struct vq_key *keys, size_t n_keys, void *object);
