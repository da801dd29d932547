/* The control socket, for the tool `virtquorum`: UNIX, root only. Each message is a 4-byte big-endian length and one
 * Control or ControlReply; a request is answered by any number of replies with progress and one that is done. */
#pragma once

#include "conf/base/error.h"

struct vq_cluster;
struct vq_control;

enum { VQ_CONTROL_CLIENTS_MAX = 32, VQ_CONTROL_MESSAGE_MAX = 1024 * 1024 };

VQ_MUST_CHECK int vq_control_start(struct vq_cluster *cluster, struct vq_control **ret, struct vq_error *err);
/* closed is called when the handles are; accepts NULL. */
void vq_control_free(struct vq_control *control, void (*closed)(void *data), void *data);
void vq_control_tick(struct vq_control *control); /* accepts NULL */
