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

/* Descriptors of one interface: a tap for each queue, and a vhost-net beside each when there is one. */
enum { VQ_QEMU_QUEUES_MAX = 64 };
struct vq_qemu_queues {
    int tap[VQ_QEMU_QUEUES_MAX], vhost[VQ_QEMU_QUEUES_MAX];
    size_t n_taps, n_vhosts;
};

/* Facts of this run. Everything is borrowed for the call. Descriptors are passed to QEMU under the same numbers. */
struct vq_qemu_launch {
    const char *dir;         /* runtime directory, without a slash at the end; sockets that we invent go there */
    const char *memory_dir;  /* where files that hold the guest's memory go; NULL: none are needed */
    int64_t now_s;           /* of the host's clock, for one that is set relative to it */
    int monitor_fd;          /* listening UNIX socket: -chardev socket,id=charmonitor,fd=N,server=on,wait=off */
    const struct vq_qemu_queues *taps; /* by index of the definition's interfaces; NULL: there are none */
    size_t n_taps;
    int vsock_fd;            /* /dev/vhost-vsock with the guest's number set; -1: QEMU opens it */
    const char *const *scsi_generics; /* by index of the host devices: "/dev/sg0" of those that are SCSI */
    size_t n_scsi_generics;
    bool sandbox;            /* qemu.conf seccomp_sandbox */
    const char *spice_tls_dir; /* certificates of SPICE displays; NULL: TLS is off for them */
    const char *vnc_tls_dir; /* the same for VNC */
    bool vnc_tls_verify;
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
