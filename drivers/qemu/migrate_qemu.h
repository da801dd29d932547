/* What is said to QEMU about a migration out of it: capabilities, parameters, and the names of both. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_migrate_cookie;
struct vq_migrate_options;

/* MiB/s that mean "as fast as it goes", as clients know them. */
#define VQ_MIGRATE_SPEED_MAX 8796093022207ULL

/* Those of QEMU's capabilities that mean anything to us go into the cookie, with "auto" where this side (out: the source)
 * enables them by itself. query: answer of query-migrate-capabilities. */
void vq_migrate_capabilities_to_cookie(const json_t *query, bool is_out, struct vq_migrate_cookie *cookie);

/* Arguments of migrate-set-capabilities for the source: each that we know is said, on or off, so that nothing is left of
 * an earlier migration. peer: of the destination. Errors: VIR_ERR_ARGUMENT_UNSUPPORTED an option that one of the two QEMUs
 * does not have. own: those that the source's QEMU has, as a cookie. */
VQ_MUST_CHECK int vq_migrate_capabilities_out(const struct vq_migrate_options *options,
                                              const struct vq_migrate_cookie *own, const struct vq_migrate_cookie *peer,
                                              json_t **ret, struct vq_error *err);

/* How fast and by what rules, on the source. */
struct vq_migrate_pace {
    uint64_t speed_mib;       /* per second; 0: as fast as it goes */
    uint64_t downtime_ms;     /* at most; 0: QEMU's own */
    uint64_t xbzrle_cache;    /* bytes; 0: QEMU's own */
    const char *tls_creds;    /* id of an object; NULL: in clear */
    const char *tls_hostname; /* NULL: none is looked at */
};
/* Arguments of migrate-set-parameters; what is not said gets QEMU's own default. */
json_t *vq_migrate_parameters_out(const struct vq_migrate_options *options, const struct vq_migrate_pace *pace);
