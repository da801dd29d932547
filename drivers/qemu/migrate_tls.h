/* Encryption of a guest's data, of its disks too, with a daemon outside the cluster: TLS between the two QEMUs with
 * the certificates that qemu.conf names. Between nodes a key of their own does it (migrate_out_key.c), and none of this is used. */
#pragma once

#include <jansson.h>
#include <stdbool.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_migrate_cookie;
struct vq_migrate_options;
struct vq_migration;
struct vq_qemu;
struct vq_qemu_settings;

/* Whoever sends is TLS' client. */
enum vq_migrate_end { VQ_MIGRATE_SENDS, VQ_MIGRATE_RECEIVES };

#define VQ_MIGRATE_PKI_DIR "/etc/pki"

/* Where the certificates are: as qemu.conf says, else in a directory below pki_dir. malloc'ed. */
char *vq_migrate_tls_dir(const struct vq_qemu_settings *settings, const char *pki_dir);
/* Does whoever receives want a certificate of whoever sends? */
bool vq_migrate_tls_verifies(const struct vq_qemu_settings *settings);
/* Is all there that QEMU will want of the directory at this end? QEMU itself looks into the files when it gets the object.
 * Errors: VIR_ERR_OPERATION_INVALID names the file, VIR_ERR_CONFIG_UNSUPPORTED a key with a password. */
VQ_MUST_CHECK int vq_migrate_tls_check(const struct vq_qemu_settings *settings, const char *pki_dir, enum vq_migrate_end end,
                                       struct vq_error *err);

/* May data go to or come from the host that sent this cookie, by the flags and by qemu.conf, and can it be done? Between
 * nodes of a cluster data are always encrypted. With a daemon outside they are when the flags say so; what was asked for
 * and cannot be had is refused, never passed over. Errors: VIR_ERR_OPERATION_INVALID, VIR_ERR_OPERATION_UNSUPPORTED,
 * VIR_ERR_CONFIG_UNSUPPORTED, VIR_ERR_INVALID_ARG. */
VQ_MUST_CHECK int vq_migrate_check_secure(const struct vq_qemu *qemu, const struct vq_migrate_options *options,
                                          const struct vq_migrate_cookie *peer, enum vq_migrate_end end,
                                          struct vq_error *err);

/* Are certificates used for this one? */
bool vq_migrate_tls_asked(const struct vq_migration *migration);
/* Arguments of object-add. */
json_t *vq_migrate_tls_object(const struct vq_qemu_settings *settings, const char *id, enum vq_migrate_end end);
/* Whom the certificate of the destination must name, malloc'ed; NULL when certificates are not used. */
char *vq_migrate_tls_hostname(const struct vq_migration *migration);
