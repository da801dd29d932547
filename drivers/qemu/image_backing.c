/* Names of backing files: see image_backing.h. They come out of images, so each is judged as if an enemy had written it. */
#define VQ_FROM VIR_FROM_STORAGE
#include "drivers/qemu/image_backing.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/device_fields.h"
#include "conf/domain.h"

enum { JSON_DEPTH_MAX = 4 };

static const struct {
    const char *name;
    enum vq_net_protocol protocol;
} protocols[] = {
    {"nbd", VQ_NET_PROTOCOL_NBD},     {"http", VQ_NET_PROTOCOL_HTTP},   {"https", VQ_NET_PROTOCOL_HTTPS},
    {"ftp", VQ_NET_PROTOCOL_FTP},     {"ftps", VQ_NET_PROTOCOL_FTPS},   {"ssh", VQ_NET_PROTOCOL_SSH},
    {"iscsi", VQ_NET_PROTOCOL_ISCSI}, {"gluster", VQ_NET_PROTOCOL_GLUSTER}, {"nfs", VQ_NET_PROTOCOL_NFS},
    {"rbd", VQ_NET_PROTOCOL_RBD},
};

static enum vq_net_protocol find_protocol(const char *name, size_t length)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(protocols); i++)
        if (strlen(protocols[i].name) == length && strncmp(protocols[i].name, name, length) == 0)
            return protocols[i].protocol;
    return VQ_NET_PROTOCOL_UNSET;
}

static int bad_name(const char *name, struct vq_error *err)
{
    return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "the backing file '%s' cannot be understood", name);
}

static struct vq_source_host *add_host(struct vq_source *source)
{
    source->hosts = vq_realloc(source->hosts, source->n_hosts + 1, sizeof(*source->hosts));
    return source->hosts[source->n_hosts++] = vq_new(struct vq_source_host);
}

/* "host", "host:port", "[v6]:port". */
static int set_host(struct vq_source *source, const char *text, const char *whole, struct vq_error *err)
{
    struct vq_source_host *host = add_host(source);
    const char *end = text[0] == '[' ? strchr(text, ']') : NULL;
    const char *colon = strrchr(text, ':');
    uint64_t port;

    if (text[0] == '[' && end == NULL)
        return bad_name(whole, err);
    if (colon != NULL && (end == NULL || colon > end)) {
        if (!vq_parse_u64(colon + 1, 10, 65535, &port))
            return bad_name(whole, err);
        host->port = (uint32_t)port;
    } else {
        colon = text + strlen(text);
    }
    host->name = end != NULL ? vq_strndup(text + 1, (size_t)(end - text - 1)) : vq_strndup(text, (size_t)(colon - text));
    return host->name[0] == '\0' ? bad_name(whole, err) : 0;
}

/* "?socket=/path" of "nbd+unix:///export?socket=/path". */
static int set_socket(struct vq_source *source, const char *query, const char *whole, struct vq_error *err)
{
    struct vq_source_host *host = add_host(source);
    const char *at = query != NULL ? strstr(query, "socket=") : NULL;

    if (at == NULL || at[strlen("socket=")] == '\0')
        return bad_name(whole, err);
    host->transport = vq_strdup("unix");
    host->socket = vq_strndup(at + strlen("socket="), strcspn(at + strlen("socket="), "&"));
    return 0;
}

static struct vq_auth *auth_of(const char *user)
{
    struct vq_auth *auth = vq_new(struct vq_auth);

    auth->username = vq_strdup(user);
    return auth;
}

/* scheme[+transport]://[user@]host[:port]/path[?query] */
static int parse_uri(const char *name, const char *rest, struct vq_source *ret, struct vq_error *err)
{
    size_t scheme_length = (size_t)(rest - name), word = strcspn(name, "+:");
    bool is_unix = strncmp(name + word, "+unix:", 6) == 0;
    VQ_AUTOFREE char *text = vq_strdup(rest + 3); /* behind "://" */
    char *path = strchr(text, '/'), *query = strchr(text, '?'), *at;

    if (word != scheme_length && !is_unix && strncmp(name + word, "+tcp:", 5) != 0)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "invalid backing protocol '%.*s'", (int)scheme_length, name);
    ret->type = VQ_SOURCE_NETWORK;
    ret->protocol = find_protocol(name, word);
    if (ret->protocol == VQ_NET_PROTOCOL_UNSET || ret->protocol == VQ_NET_PROTOCOL_RBD)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "invalid backing protocol '%.*s'", (int)scheme_length, name);
    if (query != NULL)
        *query++ = '\0';
    if (path != NULL && query != NULL && path >= query)
        path = NULL;
    if (path != NULL)
        *path++ = '\0';
    at = strrchr(text, '@');
    if (at != NULL)
        *at++ = '\0';
    if (at != NULL && memchr(text, ':', strlen(text)) == NULL)
        ret->auth = auth_of(text); /* a password in a header is not taken over: it is no secret */
    if (path != NULL && *path != '\0')
        ret->name = ret->protocol == VQ_NET_PROTOCOL_SSH || ret->protocol == VQ_NET_PROTOCOL_NFS ? vq_asprintf("/%s", path)
                                                                                               : vq_strdup(path);
    if (is_unix)
        return set_socket(ret, query, name, err);
    ret->query = vq_strdup(query);
    return set_host(ret, at != NULL ? at : text, name, err);
}

/* nbd:host:port[:exportname=x], nbd:unix:/path[:exportname=x] */
static int parse_old_nbd(const char *name, struct vq_source *ret, struct vq_error *err)
{
    VQ_AUTOFREE char *text = vq_strdup(name + strlen("nbd:"));
    char *export = strstr(text, ":exportname=");
    struct vq_source_host *host;

    ret->type = VQ_SOURCE_NETWORK;
    ret->protocol = VQ_NET_PROTOCOL_NBD;
    if (export != NULL) {
        *export = '\0';
        ret->name = vq_strdup(export + strlen(":exportname="));
    }
    if (strncmp(text, "unix:", 5) != 0)
        return set_host(ret, text, name, err);
    host = add_host(ret);
    host->transport = vq_strdup("unix");
    host->socket = vq_strdup(text + 5);
    return host->socket[0] == '/' ? 0 : bad_name(name, err);
}

/* rbd:pool/image[@snapshot][:key=value]... Of the options only the configuration file is taken: a key is a secret. */
static int parse_old_rbd(const char *name, struct vq_source *ret, struct vq_error *err)
{
    VQ_AUTOFREE char *text = vq_strdup(name + strlen("rbd:"));
    char *options = strchr(text, ':'), *snapshot, *config;

    ret->type = VQ_SOURCE_NETWORK;
    ret->protocol = VQ_NET_PROTOCOL_RBD;
    if (options != NULL)
        *options++ = '\0';
    snapshot = strchr(text, '@');
    if (snapshot != NULL) {
        *snapshot++ = '\0';
        ret->snapshot = vq_strdup(snapshot);
    }
    ret->name = vq_strdup(text);
    config = options != NULL ? strstr(options, "conf=") : NULL;
    if (config != NULL)
        ret->config_file = vq_strndup(config + 5, strcspn(config + 5, ":"));
    return strchr(text, '/') == NULL ? bad_name(name, err) : 0;
}

/* ---- json: ---- */

/* Both {"file": {"driver": ...}} and the old {"file.driver": ...}. */
static const char *text_in(const json_t *object, const char *prefix, const char *key)
{
    char dotted[64];
    const char *text = json_string_value(json_object_get(json_object_get(object, prefix), key));

    (void)snprintf(dotted, sizeof(dotted), "%s.%s", prefix, key);
    return text != NULL ? text : json_string_value(json_object_get(object, dotted));
}

static int json_nbd(const json_t *object, const char *whole, struct vq_source *ret, struct vq_error *err)
{
    const char *path = json_string_value(json_object_get(object, "path"));
    const char *host = json_string_value(json_object_get(object, "host"));
    const char *port = json_string_value(json_object_get(object, "port"));
    VQ_AUTOFREE char *address = NULL;
    struct vq_source_host *unix_host;

    path = path != NULL ? path : text_in(object, "server", "path");
    host = host != NULL ? host : text_in(object, "server", "host");
    port = port != NULL ? port : text_in(object, "server", "port");
    ret->type = VQ_SOURCE_NETWORK;
    ret->protocol = VQ_NET_PROTOCOL_NBD;
    ret->name = vq_strdup(json_string_value(json_object_get(object, "export")));
    if (path != NULL) {
        unix_host = add_host(ret);
        unix_host->transport = vq_strdup("unix");
        unix_host->socket = vq_strdup(path);
        return 0;
    }
    if (host == NULL)
        return bad_name(whole, err);
    address = port != NULL ? vq_asprintf("%s:%s", host, port) : vq_strdup(host);
    return set_host(ret, address, whole, err);
}

static int parse_json(const json_t *object, const char *whole, unsigned depth, struct vq_source *ret, struct vq_error *err)
{
    const char *driver = json_string_value(json_object_get(object, "driver"));
    const json_t *file = json_object_get(object, "file");
    const char *url = json_string_value(json_object_get(object, "url"));
    const char *filename = json_string_value(json_object_get(object, "filename"));

    if (depth > JSON_DEPTH_MAX)
        return bad_name(whole, err);
    /* Without a driver of its own it is a format node around "file". */
    if ((driver == NULL || strcmp(driver, "raw") == 0) && json_is_object(file))
        return parse_json(file, whole, depth + 1, ret, err);
    if (driver == NULL)
        driver = json_string_value(json_object_get(object, "file.driver"));
    if (filename == NULL)
        filename = json_string_value(json_object_get(object, "file.filename"));
    if (driver == NULL && filename == NULL)
        return bad_name(whole, err);
    if (driver == NULL || strcmp(driver, "file") == 0 || strcmp(driver, "host_device") == 0 ||
        strcmp(driver, "host_cdrom") == 0) {
        if (filename == NULL || filename[0] != '/')
            return bad_name(whole, err);
        ret->type = VQ_SOURCE_FILE;
        ret->path = vq_strdup(filename);
        return 0;
    }
    if (strcmp(driver, "nbd") == 0)
        return json_nbd(object, whole, ret, err);
    if (url != NULL && strstr(url, "://") != NULL)
        return parse_uri(url, strstr(url, "://"), ret, err);
    return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "missing parser implementation for JSON backing volume driver '%s'",
                        driver);
}

static int parse_json_text(const char *name, struct vq_source *ret, struct vq_error *err)
{
    json_t *object = json_loads(name + strlen("json:"), JSON_REJECT_DUPLICATES, NULL);
    int rc = json_is_object(object) ? parse_json(object, name, 0, ret, err) : bad_name(name, err);

    json_decref(object);
    return rc;
}

/* ---- All ---- */

static int parse_path(const char *name, const char *image_path, struct vq_source *ret, struct vq_error *err)
{
    const char *slash = image_path != NULL ? strrchr(image_path, '/') : NULL;

    if (name[0] == '\0' || (name[0] != '/' && slash == NULL))
        return bad_name(name, err);
    ret->type = VQ_SOURCE_FILE;
    ret->path = name[0] == '/' ? vq_strdup(name) : vq_asprintf("%.*s/%s", (int)(slash - image_path), image_path, name);
    return 0;
}

static int parse(const char *name, const char *image_path, struct vq_source *ret, struct vq_error *err)
{
    const char *colon = strchr(name, ':'), *slash = strchr(name, '/');

    if (colon == NULL || (slash != NULL && slash < colon))
        return parse_path(name, image_path, ret, err);
    if (strncmp(name, "json:", 5) == 0)
        return parse_json_text(name, ret, err);
    if (strncmp(name, "file:", 5) == 0)
        return parse_path(strncmp(name, "file:///", 8) == 0 ? name + 7 : name + 5, image_path, ret, err);
    if (strncmp(colon, "://", 3) == 0)
        return parse_uri(name, colon, ret, err);
    if (strncmp(name, "nbd:", 4) == 0)
        return parse_old_nbd(name, ret, err);
    if (strncmp(name, "rbd:", 4) == 0)
        return parse_old_rbd(name, ret, err);
    return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "invalid backing protocol '%.*s'", (int)(colon - name), name);
}

int vq_image_backing_parse(const char *name, const char *image_path, struct vq_source *ret, struct vq_error *err)
{
    if (parse(name, image_path, ret, err) == 0)
        return 0;
    vq_fields_clear(&vq_source_fields, ret);
    return -1;
}
