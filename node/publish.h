/* What this node knows of its own guests and the cluster does not yet: the overlay.
 *
 * A report is shown here at once and waits as DomainState commands until it is committed: per domain in order, merged
 * while it waits, repeated for ever. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "drivers/driver.h"
#include "store/store.h"

struct vq_daemon;
struct vq_overlay;

struct vq_overlay *vq_overlay_new(struct vq_daemon *daemon);
void vq_overlay_free(struct vq_overlay *overlay);

/* Of a domain that is another node's, or not there: nothing happens. */
void vq_overlay_publish(struct vq_overlay *overlay, struct vq_driver *driver, const struct vq_state_report *report);
/* An event for the other nodes: sent at once, or, when an uncommitted report of its domain came before it, after that
 * is committed. */
struct vq_mesh_event;
void vq_overlay_send_event(struct vq_overlay *overlay, const struct vq_mesh_event *event);
/* Commits were applied. What waits to be reported of domains that are another node's now would be refused: it is dropped. */
void vq_overlay_applied(struct vq_overlay *overlay, const struct vq_change_list *changes);
/* Quorum may be back: try what waits now. */
void vq_overlay_retry(struct vq_overlay *overlay);
/* Call back, later, when all that was reported of the domain is committed, or after a second: an answer that waits for
 * this cannot be overtaken by what its client does next at another node. False, and never called: nothing waits, or there
 * is no quorum to wait for. */
typedef void (*vq_overlay_cb)(void *data);
bool vq_overlay_hold(struct vq_overlay *overlay, const uint8_t uuid[16], vq_overlay_cb cb, void *data);
void vq_overlay_release(struct vq_overlay *overlay); /* the daemon stops: call them all back now */
size_t vq_overlay_pending(const struct vq_overlay *overlay); /* domains with something not yet committed */

/* The domain as clients of this node should see it: the head with this node's own reports over it, and "no state" when
 * its owner is unreachable. Borrows head->name. False: it is gone (a transient domain that ended here). */
bool vq_overlay_info(const struct vq_daemon *daemon, const struct vq_domain_head *head, struct vq_domain_info *ret);
/* An id that is in use here and that the replicated state may not know yet; false: none of ours. */
bool vq_overlay_find_id(const struct vq_overlay *overlay, int32_t id, uint8_t ret_uuid[16]);
