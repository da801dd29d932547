/* Putting a definition into the cluster: what define, createXML and their relatives share, and changing one that is there. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_domain;
struct vq_domain_info;
struct vq_proposal_result;
struct vq_qemu;

struct vq_qemu_define_options {
    bool strict;             /* unknown elements are errors (VIR_DOMAIN_DEFINE_VALIDATE, VIR_DOMAIN_START_VALIDATE) */
    bool persistent;         /* false: transient, gone when it stops */
    bool must_be_new;        /* fail when name or UUID are taken by anything */
};

/* definition: filled and checked, borrowed for the call; NULL when err is set. */
typedef void (*vq_qemu_defined_cb)(const struct vq_domain *definition, const struct vq_proposal_result *result,
                                   const struct vq_error *err, void *data);

/* Parse, ask the emulator, fill, check, propose. Called back exactly once, maybe before this returns. */
void vq_qemu_define_xml(struct vq_qemu *qemu, const char *xml, const struct vq_qemu_define_options *options,
                        vq_qemu_defined_cb cb, void *data);

/* Makes one change to a definition, or refuses (-1). May be called several times, each time with a fresh copy. */
typedef int (*vq_qemu_change_fn)(struct vq_domain *definition, void *change, struct vq_error *err);
typedef void (*vq_qemu_changed_cb)(const struct vq_error *err, void *data);

enum { VQ_QEMU_CHANGE_TRIES = 8, VQ_QEMU_CHANGES_MAX = 1024 };

/* Read the inactive definition of a persistent domain, change it, fill what the change left open when needs_fill, and put it
 * back unless somebody else was quicker; then again, VQ_QEMU_CHANGE_TRIES times at most. Changes of one domain take turns
 * on this node. Called back exactly once, maybe before this returns.
 *
 * change_data  the caller's until the call-back
 *
 * Errors: what change refused; VIR_ERR_NO_DOMAIN; VIR_ERR_OPERATION_FAILED changed by others all the time, or
 * VQ_QEMU_CHANGES_MAX changes are under way. */
void vq_qemu_change_definition(struct vq_qemu *qemu, const uint8_t uuid[16], vq_qemu_change_fn change, void *change_data,
                               bool needs_fill, vq_qemu_changed_cb cb, void *data);

/* The emulator that the definition names, else this host's for its architecture, borrowed for the loop turn. NULL, and err
 * set: there is none, or the domain is of another hypervisor (VIR_ERR_CONFIG_UNSUPPORTED). */
const char *vq_qemu_choose_emulator(struct vq_qemu *qemu, const struct vq_domain *definition, struct vq_error *err);

/* An error for a definition that domain_find did not give: it cannot be read, or there is none. */
int vq_qemu_definition_error(const uint8_t uuid[16], const char *name, const struct vq_domain_info *info,
                             struct vq_error *err);
/* Read a definition as it is stored. What the text leaves out because it goes without saying is there again. */
VQ_MUST_CHECK int vq_qemu_parse_stored(const char *xml, struct vq_domain **ret, struct vq_error *err);

/* A definition as it travels in a command: canonical, inactive, compressed where that helps, sealed if it has secrets. */
struct vq_qemu_packed {
    uint8_t *bytes;          /* freed by the caller */
    size_t length;
    uint32_t xml_size;       /* of the text when the bytes are compressed, else 0 */
    bool is_sealed;
};
struct vq_driver_host;
VQ_MUST_CHECK int vq_qemu_pack_definition(const struct vq_driver_host *host, const struct vq_domain *definition,
                                          struct vq_qemu_packed *ret, struct vq_error *err);
