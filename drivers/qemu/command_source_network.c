/* Sources that other hosts serve: the node that talks to them. */
#define VQ_FROM VIR_FROM_QEMU
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/command_priv.h"
#include "drivers/qemu/command_source.h"

enum { LUN_MAX = 16383 };

/* Words as libvirt and QEMU both spell them; a URL's scheme is the same word. port 0: the library knows its own. */
static const struct protocol {
    const char *name;
    uint32_t port;
    unsigned hosts_min, hosts_max;
} protocols[VQ_NET_PROTOCOL_N] = {
    [VQ_NET_PROTOCOL_NBD] = {"nbd", 10809, 1, 1},       [VQ_NET_PROTOCOL_RBD] = {"rbd", 0, 0, 64},
    [VQ_NET_PROTOCOL_SHEEPDOG] = {"sheepdog", 7000, 1, 1}, [VQ_NET_PROTOCOL_GLUSTER] = {"gluster", 24007, 1, 64},
    [VQ_NET_PROTOCOL_ISCSI] = {"iscsi", 3260, 1, 1},    [VQ_NET_PROTOCOL_HTTP] = {"http", 80, 1, 1},
    [VQ_NET_PROTOCOL_HTTPS] = {"https", 443, 1, 1},     [VQ_NET_PROTOCOL_FTP] = {"ftp", 21, 1, 1},
    [VQ_NET_PROTOCOL_FTPS] = {"ftps", 990, 1, 1},       [VQ_NET_PROTOCOL_TFTP] = {"tftp", 69, 1, 1},
    [VQ_NET_PROTOCOL_SSH] = {"ssh", 22, 1, 1},          [VQ_NET_PROTOCOL_VXHS] = {"vxhs", 9999, 1, 1},
    [VQ_NET_PROTOCOL_NFS] = {"nfs", 2049, 1, 1},
};

static const struct protocol *protocol_of(const struct vq_source *source)
{
    return source->protocol < VQ_NET_PROTOCOL_N ? &protocols[source->protocol] : &protocols[0];
}

static const char *text_of(const char *text)
{
    return text == NULL ? "" : text;
}

static uint32_t port_of(const struct vq_source *source, const struct vq_source_host *host)
{
    return host->port != 0 ? host->port : protocol_of(source)->port;
}

/* {"type": "inet", "host": ..., "port": "..."} or {"type": "unix", "path": ...}; some drivers leave the type out. */
static json_t *server_of(const struct vq_source *source, const struct vq_source_host *host, bool has_type)
{
    json_t *server = json_object();
    char port[16];

    if (vq_streq(host->transport, "unix")) {
        vq_qemu_json_text(server, "type", "unix");
        vq_qemu_json_text(server, "path", text_of(host->socket));
        return server;
    }
    if (has_type)
        vq_qemu_json_text(server, "type", "inet");
    (void)snprintf(port, sizeof(port), "%u", port_of(source, host));
    vq_qemu_json_text(server, "host", text_of(host->name));
    vq_qemu_json_text(server, "port", port);
    return server;
}

static json_t *servers_of(const struct vq_source *source, bool has_type)
{
    json_t *list = json_array();

    for (size_t i = 0; i < source->n_hosts; i++)
        (void)json_array_append_new(list, server_of(source, source->hosts[i], has_type));
    return list;
}

/* ---- One function for each library ---- */

static int make_nbd(const struct vq_qemu_image *image, json_t **ret, struct vq_error *err VQ_UNUSED)
{
    const struct vq_source *source = image->source;
    json_t *node = json_pack("{s:s, s:o}", "driver", "nbd", "server", server_of(source, source->hosts[0], true));
    char id[VQ_QEMU_OBJECT_NAME];

    vq_qemu_json_text(node, "export", source->name);
    if (source->tls == VQ_SWITCH_ON) {
        vq_qemu_source_tls_id(id, source);
        vq_qemu_json_text(node, "tls-creds", id);
        vq_qemu_json_text(node, "tls-hostname", source->tls_hostname);
    }
    *ret = node;
    return 0;
}

/* A host that is an IPv6 address stands in brackets in a URL. */
static void add_url_host(struct vq_buffer *url, const struct vq_source *source, const struct vq_source_host *host)
{
    bool is_bare_v6 = host->name != NULL && strchr(host->name, ':') != NULL && host->name[0] != '[';

    vq_buffer_addf(url, is_bare_v6 ? "[%s]:%u" : "%s:%u", text_of(host->name), port_of(source, host));
}

static int make_curl(const struct vq_qemu_image *image, json_t **ret, struct vq_error *err VQ_UNUSED)
{
    const struct vq_source *source = image->source;
    const char *scheme = protocol_of(source)->name;
    VQ_AUTOBUFFER url = VQ_BUFFER_INIT;
    char id[VQ_QEMU_OBJECT_NAME];
    json_t *node;

    vq_buffer_addf(&url, "%s://", scheme);
    add_url_host(&url, source, source->hosts[0]);
    vq_buffer_addf(&url, source->name != NULL && source->name[0] == '/' ? "%s" : "/%s", text_of(source->name));
    if (source->query != NULL)
        vq_buffer_addf(&url, "?%s", source->query);
    node = json_pack("{s:s, s:s}", "driver", scheme, "url", url.data);
    if (image->auth != NULL) {
        vq_qemu_auth_secret_id(id, source);
        vq_qemu_json_text(node, "username", image->auth->username);
        vq_qemu_json_text(node, "password-secret", id);
    }
    vq_qemu_json_bool(node, "sslverify", source->ssl_verify);
    if (source->n_cookies > 0) {
        vq_qemu_cookie_secret_id(id, source);
        vq_qemu_json_text(node, "cookie-secret", id);
    }
    if (source->timeout_s != 0)
        vq_qemu_json_number(node, "timeout", source->timeout_s);
    if (source->readahead != 0)
        vq_qemu_json_number(node, "readahead", source->readahead);
    *ret = node;
    return 0;
}

/* "iqn.2001-04.com.example:target/2": what follows the slash is the logical unit. */
static int make_iscsi(const struct vq_qemu_image *image, json_t **ret, struct vq_error *err)
{
    const struct vq_source *source = image->source;
    VQ_AUTOFREE char *target = vq_strdup(text_of(source->name));
    VQ_AUTOBUFFER portal = VQ_BUFFER_INIT;
    char *slash = strchr(target, '/'), id[VQ_QEMU_OBJECT_NAME];
    uint64_t lun = 0;
    json_t *node;

    if (slash != NULL) {
        *slash = '\0';
        if (!vq_parse_u64(slash + 1, 10, LUN_MAX, &lun))
            return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "disk '%s': cannot parse target for lunID '%s'",
                                image->disk->target, slash + 1);
    }
    add_url_host(&portal, source, source->hosts[0]);
    node = json_pack("{s:s, s:s, s:s, s:I, s:s}", "driver", "iscsi", "portal", portal.data, "target", target, "lun",
                     (json_int_t)lun, "transport", "tcp");
    if (image->auth != NULL) {
        vq_qemu_auth_secret_id(id, source);
        vq_qemu_json_text(node, "user", image->auth->username);
        vq_qemu_json_text(node, "password-secret", id);
    }
    vq_qemu_json_text(node, "initiator-name", source->initiator);
    *ret = node;
    return 0;
}

/* "pool/image" and "pool/namespace/image". */
static int make_rbd(const struct vq_qemu_image *image, json_t **ret, struct vq_error *err)
{
    const struct vq_source *source = image->source;
    VQ_AUTOFREE char *pool = vq_strdup(text_of(source->name));
    char *slash = strchr(pool, '/'), *space = NULL, id[VQ_QEMU_OBJECT_NAME];
    json_t *node;

    if (slash == NULL || slash[1] == '\0')
        return vq_error_set(err, VIR_ERR_XML_ERROR, "disk '%s': can't split path '%s' into pool name and image name",
                            image->disk->target, pool);
    *slash++ = '\0';
    char *name = strchr(slash, '/');
    if (name != NULL) {
        space = slash;
        *name++ = '\0';
    }
    node = json_pack("{s:s, s:s}", "driver", "rbd", "pool", pool);
    vq_qemu_json_text(node, "namespace", space);
    vq_qemu_json_text(node, "image", name != NULL ? name : slash);
    vq_qemu_json_text(node, "snapshot", source->snapshot);
    vq_qemu_json_text(node, "conf", source->config_file);
    if (source->n_hosts > 0)
        json_object_set_new(node, "server", servers_of(source, false));
    if (vq_qemu_encryption_is_librbd(image->encryption)) {
        vq_qemu_encryption_secret_id(id, source);
        json_object_set_new(node, "encrypt", json_pack("{s:s, s:s}", "format", text_of(image->encryption->format),
                                                       "key-secret", id));
    }
    if (image->auth != NULL) {
        vq_qemu_auth_secret_id(id, source);
        vq_qemu_json_text(node, "user", image->auth->username);
        json_object_set_new(node, "auth-client-required", json_pack("[s, s]", "cephx", "none"));
        vq_qemu_json_text(node, "key-secret", id);
    }
    *ret = node;
    return 0;
}

static int make_gluster(const struct vq_qemu_image *image, json_t **ret, struct vq_error *err)
{
    const struct vq_source *source = image->source;
    const char *name = text_of(source->name);
    VQ_AUTOFREE char *volume = vq_strdup(name[0] == '/' ? name + 1 : name);
    char *slash = strchr(volume, '/');

    if (slash == NULL || slash[1] == '\0')
        return vq_error_set(err, VIR_ERR_XML_ERROR, "disk '%s': can't split path '%s' into pool name and image name",
                            image->disk->target, name);
    *slash = '\0';
    *ret = json_pack("{s:s, s:s, s:s, s:o, s:i}", "driver", "gluster", "volume", volume, "path", slash + 1, "server",
                     servers_of(source, true), "debug", 4);
    return 0;
}

static int make_ssh(const struct vq_qemu_image *image, json_t **ret, struct vq_error *err VQ_UNUSED)
{
    const struct vq_source *source = image->source;
    json_t *node = json_pack("{s:s, s:s, s:o}", "driver", "ssh", "path", text_of(source->name), "server",
                             server_of(source, source->hosts[0], false));

    vq_qemu_json_text(node, "user", image->auth != NULL ? image->auth->username : source->identity_user);
    *ret = node;
    return 0;
}

/* "+1000" and "1000" are numbers; names would have to be looked up in this host's table of users. */
static int add_nfs_identity(json_t *node, const struct vq_qemu_image *image, const char *key, const char *text,
                            struct vq_error *err)
{
    uint64_t number;

    if (text == NULL)
        return 0;
    if (!vq_parse_u64(text[0] == '+' ? text + 1 : text, 10, UINT32_MAX - 1, &number))
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "disk '%s': NFS %s '%s' is not a number", image->disk->target,
                            key, text);
    vq_qemu_json_number(node, key, number);
    return 0;
}

static int make_nfs(const struct vq_qemu_image *image, json_t **ret, struct vq_error *err)
{
    const struct vq_source *source = image->source;
    json_t *node = json_pack("{s:s, s:{s:s, s:s}, s:s}", "driver", "nfs", "server", "host",
                             text_of(source->hosts[0]->name), "type", "inet", "path", text_of(source->name));

    if (add_nfs_identity(node, image, "user", source->identity_user, err) < 0 ||
        add_nfs_identity(node, image, "group", source->identity_group, err) < 0) {
        json_decref(node);
        return -1;
    }
    *ret = node;
    return 0;
}

static int (*const makers[VQ_NET_PROTOCOL_N])(const struct vq_qemu_image *image, json_t **ret, struct vq_error *err) = {
    [VQ_NET_PROTOCOL_NBD] = make_nbd,     [VQ_NET_PROTOCOL_HTTP] = make_curl, [VQ_NET_PROTOCOL_HTTPS] = make_curl,
    [VQ_NET_PROTOCOL_FTP] = make_curl,    [VQ_NET_PROTOCOL_FTPS] = make_curl, [VQ_NET_PROTOCOL_ISCSI] = make_iscsi,
    [VQ_NET_PROTOCOL_RBD] = make_rbd,     [VQ_NET_PROTOCOL_SSH] = make_ssh,   [VQ_NET_PROTOCOL_GLUSTER] = make_gluster,
    [VQ_NET_PROTOCOL_NFS] = make_nfs,
};

int vq_qemu_source_network(const struct vq_qemu_image *image, json_t **ret, struct vq_error *err)
{
    const struct vq_source *source = image->source;
    const struct protocol *protocol = protocol_of(source);

    if (makers[source->protocol < VQ_NET_PROTOCOL_N ? source->protocol : 0] == NULL) /* sheepdog, tftp, vxhs left QEMU */
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "disk '%s': '%s' protocol is not supported with this QEMU "
                            "binary", image->disk->target, text_of(protocol->name));
    if (source->n_hosts < protocol->hosts_min || source->n_hosts > protocol->hosts_max)
        return protocol->hosts_max == 1
                   ? vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "disk '%s': %s protocol accepts only one host",
                                  image->disk->target, protocol->name)
                   : vq_error_set(err, VIR_ERR_XML_ERROR, "disk '%s': %s protocol needs a host", image->disk->target,
                                  protocol->name);
    return makers[source->protocol](image, ret, err);
}
