/* URIs of the data of a migration, as clients and other daemons write them. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

/* Is the URI one for a connection that a daemon can make itself? tcp and unix. */
bool vq_migrate_uri_is_socket(const char *uri);
/* Where it leads to: a host with a port (0: none is said), or a path. What is not there is NULL; the caller frees both.
 * tcp, rdma and unix only: QEMU knows others, which run commands. Errors: VIR_ERR_INVALID_ARG. */
VQ_MUST_CHECK int vq_migrate_uri_parse(const char *uri, char **ret_host, uint16_t *ret_port, char **ret_path,
                                       struct vq_error *err);
