/* Sockets that clients connect to. Each fails alone, says so once, and is tried again each second. */
#pragma once

#include "conf/base/error.h"

struct vq_daemon;
struct vq_listeners;

/* Opens what the configuration asks for. Always succeeds: what cannot be opened now is tried again. */
struct vq_listeners *vq_listeners_new(struct vq_daemon *daemon);
/* Once a second: try the closed ones again, and go on accepting where it was suspended. */
void vq_listeners_tick(struct vq_listeners *listeners);
/* Read the certificates again; connections that exist keep the old ones. Errors: the old ones stay. */
VQ_MUST_CHECK int vq_listeners_reload(struct vq_listeners *listeners, struct vq_error *err);
/* Closes all and removes the socket files that are ours. The memory goes when libuv has let go of the handles. */
void vq_listeners_stop(struct vq_listeners *listeners);
