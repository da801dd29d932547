/* Putting a definition into the cluster: what define, createXML and their relatives share. */
#pragma once

#include <stdbool.h>

#include "conf/base/error.h"

struct vq_domain;
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
