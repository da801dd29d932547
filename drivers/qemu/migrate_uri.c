/* Where the data of a migration go to: see migrate_uri.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/migrate_uri.h"

#include <stddef.h>
#include <string.h>
#include <sys/un.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"

/* Letters of names and addresses; QEMU reads a comma behind a host as the begin of its options. */
static bool is_host(const char *text, size_t length)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_:%";

    return strspn(text, letters) >= length;
}

/* "host", "host:port", "[address]:port" behind the scheme and perhaps two slashes, and perhaps one behind it. */
static int parse_address(const char *uri, size_t scheme_length, char **ret_host, uint16_t *ret_port, struct vq_error *err)
{
    const char *host = uri + scheme_length, *end;
    uint64_t port = 0;

    host += strncmp(host, "//", 2) == 0 ? 2 : 0;
    if (*host == '[') {
        end = strchr(++host, ']');
    } else {
        end = host + strcspn(host, "/");
        if (memchr(host, ':', (size_t)(end - host)) != NULL)
            end = strchr(host, ':');
    }
    if (end == NULL || end == host)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "missing host in migration URI: %s", uri);
    if (!is_host(host, (size_t)(end - host)))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "invalid host in migration URI: %s", uri);
    const char *rest = *end == ']' ? end + 1 : end;
    VQ_AUTOFREE char *digits = vq_strndup(*rest == ':' ? rest + 1 : "", strcspn(*rest == ':' ? rest + 1 : "", "/"));

    if (digits[0] != '\0' && (!vq_parse_u64(digits, 10, UINT16_MAX, &port) || port == 0))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' in migration URI '%s' is no port", digits, uri);
    *ret_host = vq_strndup(host, (size_t)(end - host));
    *ret_port = (uint16_t)port;
    return 0;
}

static int parse_unix(const char *uri, char **ret_path, struct vq_error *err)
{
    const char *path = uri + (strncmp(uri, "unix://", 7) == 0 ? 7 : 5);

    if (path[0] != '/' || strlen(path) >= sizeof(((struct sockaddr_un *)NULL)->sun_path))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' in migration URI is no path of a socket", path);
    *ret_path = vq_strdup(path);
    return 0;
}

int vq_migrate_uri_parse(const char *uri, char **ret_host, uint16_t *ret_port, char **ret_path, struct vq_error *err)
{
    if (strncmp(uri, "tcp:", 4) == 0)
        return parse_address(uri, 4, ret_host, ret_port, err);
    if (strncmp(uri, "rdma:", 5) == 0)
        return parse_address(uri, 5, ret_host, ret_port, err);
    if (strncmp(uri, "unix:", 5) == 0)
        return parse_unix(uri, ret_path, err);
    return vq_error_set(err, VIR_ERR_INVALID_ARG, "unsupported scheme in migration URI %s", uri);
}

bool vq_migrate_uri_is_socket(const char *uri)
{
    return strncmp(uri, "tcp:", 4) == 0 || strncmp(uri, "unix:", 5) == 0;
}
