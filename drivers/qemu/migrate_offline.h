/* A domain that does not run changes its host (VIR_MIGRATE_OFFLINE): no data, only its definition.
 *
 * Between nodes of one cluster finish changes the owner by one command, and there is nothing to undefine, since there is one
 * definition. Towards and from a daemon outside, the definition is copied, and the source's goes when the client asks for it. */
#pragma once

#include "drivers/qemu/migrate.h"

/* Calls back as those of migrate.h do: exactly once, maybe before the call returns. */
void vq_migrate_offline_begin(struct vq_request *request, const struct vq_migrate_options *options, vq_migrate_begin_cb cb,
                              void *data);
/* Clients insist on a URI, though no data will come: the answer has one that leads nowhere. */
void vq_migrate_offline_prepare(struct vq_request *request, const struct vq_migrate_options *options, const uint8_t *cookie,
                                uint32_t cookie_length, vq_migrate_prepare_cb cb, void *data);
/* options->dxml as begin gave it. cancelled: ends with VIR_ERR_MIGRATE_FINISH_OK. */
typedef void (*vq_migrate_offline_cb)(const char *name, const uint8_t uuid[16], const uint8_t *cookie, uint32_t cookie_length,
                                      const struct vq_error *err, void *data);
void vq_migrate_offline_finish(struct vq_request *request, const struct vq_migrate_options *options, bool cancelled,
                               vq_migrate_offline_cb cb, void *data);
/* cookie: of finish. Without one that tells of another host nothing is undefined. */
void vq_migrate_offline_confirm(struct vq_request *request, const struct vq_migrate_options *options, const uint8_t *cookie,
                                uint32_t cookie_length, bool cancelled, vq_migrate_cookie_cb cb, void *data);
