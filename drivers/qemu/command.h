/* The command line of one run of a domain. Pure: reads no file, opens nothing, asks nobody. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_domain;
struct vq_qemu_capabilities;
struct vq_qemu_run_secrets;

/* Facts of this run. Everything is borrowed for the call. Descriptors are passed to QEMU under the same numbers. */
struct vq_qemu_launch {
    const char *dir;         /* runtime directory, without a slash at the end; sockets that we invent go there */
    int monitor_fd;          /* listening UNIX socket: -chardev socket,id=charmonitor,fd=N,server=on,wait=off */
    const int *tap_fds;      /* by index of the definition's interfaces, -1: none (type user); NULL: no taps at all */
    size_t n_tap_fds;
    const int *vhost_fds;    /* the same for vhost-net */
    size_t n_vhost_fds;
    bool sandbox;            /* qemu.conf seccomp_sandbox */
    const char *incoming;    /* "defer" for a run that a migration fills; NULL: a fresh boot */
    const char *master_key_file; /* for secret objects; NULL: none are needed */
    const struct vq_qemu_run_secrets *secrets; /* of the disks; NULL: none were fetched */
    const char *tls_dir;     /* certificates of QEMU as a client of block servers; NULL: /etc/pki/qemu */
    const char *chardev_tls_dir; /* of character devices; NULL: /etc/pki/qemu */
    bool chardev_tls_verify; /* clients of ours must have a certificate too */
};
/* The definition is the run's own copy after vq_qemu_definition_begin_run(), with ports of graphics set. */

struct vq_qemu_command {
    char **argv;             /* NULL-terminated; argv[0] is the emulator's path */
    size_t n_args;
    char **environment;      /* "NAME=value", NULL-terminated; the whole environment of the child */
    size_t n_environment;
    int *fds;                /* that the child keeps beside 0, 1, 2; borrowed numbers, closed by whoever opened them */
    size_t n_fds;
};

/* Always -S: the guest's CPUs wait for "cont". Always -no-shutdown: a power-off is seen even while we are away.
 *
 * Errors: VIR_ERR_CONFIG_UNSUPPORTED naming the device. No secret is ever part of the command. */
VQ_MUST_CHECK int vq_qemu_command_build(const struct vq_domain *def, const struct vq_qemu_capabilities *caps,
                                        const struct vq_qemu_launch *launch, struct vq_qemu_command **ret,
                                        struct vq_error *err);
void vq_qemu_command_free(struct vq_qemu_command *command);
VQ_DEFINE_AUTOPTR(vq_qemu_command);
