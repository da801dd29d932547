/* ssh as the way to another daemon: a child whose standard input and output are a connection to the daemon's socket. */
#pragma once

#include <uv.h>

#include "conf/base/error.h"

struct vq_peer_uri;
struct vq_ssh;

/* *ret_fd: our end, the caller's. The child runs on the other host what libvirt's clients run there: virt-ssh-helper,
 * else a netcat that knows UNIX sockets. It never asks anybody anything. */
VQ_MUST_CHECK int vq_ssh_start(uv_loop_t *loop, const struct vq_peer_uri *uri, struct vq_ssh **ret, int *ret_fd,
                               struct vq_error *err);
/* The connection is over, and our end closed: call back, once, with what the child said on standard error ("":
 * nothing), as soon as it has ended; it is ended after a while. */
void vq_ssh_last_words(struct vq_ssh *ssh, void (*cb)(const char *said, void *data), void *data);
/* Not needed any more; no call-back after this. It ends by itself, or is ended. */
void vq_ssh_free(struct vq_ssh *take_ssh);
