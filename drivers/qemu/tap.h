/* Tap devices of guests: made, joined to a bridge, removed. Names are the records' (R14): chosen first, written down, then
 * made. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_interface;
struct vq_qemu_guest;
struct vq_qemu_tap;

/* A name for the tap: the one that the definition asks for, or the next free "vnetN". Checked to be a link name.
 * Errors: VIR_ERR_CONFIG_UNSUPPORTED, VIR_ERR_OPERATION_FAILED when a name of the user is taken. */
VQ_MUST_CHECK int vq_qemu_tap_choose(struct vq_qemu_guest *guest, const struct vq_interface *interface,
                                     char ret_name[16], struct vq_error *err);
/* Make it, set MAC and MTU, join the bridge, bring it up. Gives the descriptor. */
VQ_MUST_CHECK int vq_qemu_tap_create(const char *name, const struct vq_interface *interface, int *ret_fd,
                                     struct vq_error *err);
/* The queues beside the first, and a vhost-net for each when the definition asks for it. */
VQ_MUST_CHECK int vq_qemu_tap_add_queues(struct vq_qemu_tap *tap, const struct vq_interface *interface,
                                         struct vq_error *err);
/* True when it is gone, also when it never was. */
bool vq_qemu_tap_delete(const char *name);
/* Close descriptors that are still ours. */
void vq_qemu_taps_done(struct vq_qemu_guest *guest);

/* Counters of a link, from the host's view. */
struct vq_tap_stats {
    int64_t rx_bytes, rx_packets, rx_errs, rx_drop, tx_bytes, tx_packets, tx_errs, tx_drop;
};
VQ_MUST_CHECK int vq_qemu_tap_stats(const char *name, struct vq_tap_stats *ret_stats, struct vq_error *err);
