/* URIs of other daemons: taken apart. Whoever may migrate a guest chooses them, and this daemon acts on them as root:
 * what would run a command of theirs is refused. */
#define VQ_FROM VIR_FROM_RPC
#include "node/peer_uri.h"

#include <ctype.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"

enum { URI_MAX = 4096, HOST_MAX = 255, USER_MAX = 255 };

/* ---- Pieces ------------------------------------------------------------------------------------------------------ */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c = (char)tolower((unsigned char)c);
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

/* In place. False for a broken escape, or one that stands for a control character. */
static bool percent_decode(char *text)
{
    char *out = text;

    for (const char *c = text; *c != '\0'; c++) {
        int value = (unsigned char)*c;
        if (*c == '%') {
            int high = hex_digit(c[1]);
            int low = high < 0 ? -1 : hex_digit(c[2]);
            if (low < 0)
                return false;
            value = high * 16 + low;
            c += 2;
        }
        if (value < ' ' || value == 0x7f)
            return false;
        *out++ = (char)value;
    }
    *out = '\0';
    return true;
}

/* A word that a program is given as an argument: what begins with a dash would be an option there. */
static bool is_safe_word(const char *text, size_t max, const char *more)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_";

    if (*text == '\0' || *text == '-' || strlen(text) > max)
        return false;
    for (const char *c = text; *c != '\0'; c++)
        if (strchr(letters, *c) == NULL && strchr(more, *c) == NULL)
            return false;
    return true;
}

/* ---- Authority: [user@]host[:port] ------------------------------------------------------------------------------- */

static int take_port(const char *text, struct vq_peer_uri *uri, struct vq_error *err)
{
    uint64_t port = 0;

    if (*text == '\0')
        return 0;
    if (*text != ':' || !vq_parse_u64(text + 1, 10, UINT16_MAX, &port) || port == 0)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' is not a port", *text == ':' ? text + 1 : text);
    uri->port = (uint16_t)port;
    return 0;
}

static int take_authority(char *authority, struct vq_peer_uri *uri, struct vq_error *err)
{
    char *at = strrchr(authority, '@');
    char *host = at == NULL ? authority : at + 1;
    char *end;

    if (at != NULL) {
        *at = '\0';
        if (!percent_decode(authority) || !is_safe_word(authority, USER_MAX, "+\\@"))
            return vq_error_set(err, VIR_ERR_INVALID_ARG, "the URI has no usable user name in front of the host");
        uri->user = vq_strdup(authority);
    }
    if (*host == '\0')
        return at == NULL ? 0 : vq_error_set(err, VIR_ERR_INVALID_ARG, "the URI names a user, but no host");
    if (*host == '[') {
        host++;
        end = strchr(host, ']');
        if (end == NULL)
            return vq_error_set(err, VIR_ERR_INVALID_ARG, "the address in the URI has no closing bracket");
        *end++ = '\0';
    } else {
        end = host + strcspn(host, ":");
    }
    if (take_port(end, uri, err) < 0)
        return -1;
    if (*end == ':')
        *end = '\0';
    if (!percent_decode(host) || !is_safe_word(host, HOST_MAX, ":%"))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "the URI has no usable host name");
    uri->host = vq_strdup(host);
    return 0;
}

/* ---- Query ------------------------------------------------------------------------------------------------------- */

/* Of these, texts are kept; the rest that is for the transport has no meaning where nobody sits before a screen. */
static const struct {
    const char *name;
    size_t offset;
} texts[] = {
    {"socket", offsetof(struct vq_peer_uri, socket)},   {"pkipath", offsetof(struct vq_peer_uri, pkipath)},
    {"keyfile", offsetof(struct vq_peer_uri, keyfile)}, {"tls_priority", offsetof(struct vq_peer_uri, tls_priority)},
    {"netcat", offsetof(struct vq_peer_uri, netcat)},   {"proxy", offsetof(struct vq_peer_uri, proxy)},
};
static const char *const ignored[] = {"auth", "sshauth", "no_sanity", "no_tty", "known_hosts", "known_hosts_verify",
                                      "mode"};

static bool is_ignored(const char *name)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(ignored); i++)
        if (strcmp(ignored[i], name) == 0)
            return true;
    return false;
}

static bool keep_text(struct vq_peer_uri *uri, const char *name, const char *value)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(texts); i++)
        if (strcmp(texts[i].name, name) == 0) {
            vq_set_text((char **)(void *)((char *)uri + texts[i].offset), value);
            return true;
        }
    return false;
}

/* One name=value. What is not the transport's goes on to the daemon as it stands. */
static int take_pair(struct vq_peer_uri *uri, const char *pair, struct vq_buffer *rest, char **name,
                     struct vq_error *err)
{
    size_t length = strcspn(pair, "=");
    VQ_AUTOFREE char *key = vq_strndup(pair, length);
    VQ_AUTOFREE char *value = vq_strdup(pair[length] == '=' ? pair + length + 1 : "");

    if (!percent_decode(key) || !percent_decode(value))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "the query of the URI has a broken escape");
    if (strcmp(key, "command") == 0)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "a URI for this daemon cannot name a command to run");
    if (strcmp(key, "name") == 0)
        vq_set_text(name, value);
    else if (strcmp(key, "no_verify") == 0)
        uri->no_verify = strcmp(value, "1") == 0;
    else if (!keep_text(uri, key, value) && !is_ignored(key))
        vq_buffer_addf(rest, "%c%s", rest->length == 0 ? '?' : '&', pair);
    if (strcmp(key, "node") == 0)
        vq_set_text(&uri->node, value);
    return 0;
}

static int take_query(struct vq_peer_uri *uri, char *query, struct vq_buffer *rest, char **name, struct vq_error *err)
{
    for (char *pair = strsep(&query, "&;"); pair != NULL; pair = strsep(&query, "&;"))
        if (*pair != '\0' && take_pair(uri, pair, rest, name, err) < 0)
            return -1;
    return 0;
}

/* ---- The whole --------------------------------------------------------------------------------------------------- */

static const struct {
    const char *name;
    enum vq_peer_transport transport;
} transports[] = {
    {"unix", VQ_PEER_UNIX}, {"tls", VQ_PEER_TLS},    {"tcp", VQ_PEER_TCP},
    {"ssh", VQ_PEER_SSH},   {"libssh", VQ_PEER_SSH}, {"libssh2", VQ_PEER_SSH},
};

static int find_transport(struct vq_peer_uri *uri, const char *name, struct vq_error *err)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(transports); i++)
        if (strcmp(transports[i].name, name) == 0) {
            uri->transport = transports[i].transport;
            return 0;
        }
    return vq_error_set(err, VIR_ERR_INVALID_ARG, "transport '%s' is not known (should be unix, ssh, tls or tcp)",
                        name);
}

static int check(const struct vq_peer_uri *uri, struct vq_error *err)
{
    bool needs_host = uri->transport >= VQ_PEER_TLS;

    if (needs_host && uri->host == NULL)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "the URI names no host");
    if (!needs_host && uri->host != NULL)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "a UNIX socket is on this host, not on '%s'", uri->host);
    return 0;
}

/* scheme:[//authority]path[?query][#fragment] */
static int parse(char *text, struct vq_peer_uri *uri, struct vq_error *err)
{
    static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
    char *path = strchr(text, ':');
    VQ_AUTOBUFFER rest = VQ_BUFFER_INIT;
    VQ_AUTOFREE char *authority = NULL;
    VQ_AUTOFREE char *name = NULL;

    if (path == NULL || strspn(text, letters) == 0)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "it is not a URI");
    *path++ = '\0';
    char *transport = text + strspn(text, letters);
    if (*transport == '+') {
        *transport++ = '\0';
        if (find_transport(uri, transport, err) < 0)
            return -1;
    } else if (*transport != '\0') {
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' is not the name of a driver", text);
    }
    path[strcspn(path, "#")] = '\0';
    char *query = strchr(path, '?');
    if (query != NULL)
        *query++ = '\0';
    if (strncmp(path, "//", 2) == 0) {
        authority = vq_strndup(path + 2, strcspn(path + 2, "/"));
        path += 2 + strlen(authority);
        if (take_authority(authority, uri, err) < 0)
            return -1;
    }
    if (uri->host != NULL && uri->transport == VQ_PEER_LOCAL)
        uri->transport = VQ_PEER_TLS; /* as libvirt's clients read it */
    if (query != NULL && take_query(uri, query, &rest, &name, err) < 0)
        return -1;
    if (uri->node == NULL && strncmp(path, "/system/", 8) == 0 && path[8] != '\0')
        uri->node = vq_strdup(path + 8);
    uri->name = name != NULL ? vq_take(name) : vq_asprintf("%s://%s%s", text, path, rest.data == NULL ? "" : rest.data);
    return check(uri, err);
}

int vq_peer_uri_parse(const char *text, struct vq_peer_uri *ret, struct vq_error *err)
{
    struct vq_peer_uri uri = {0};

    if (strlen(text) > URI_MAX)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "the URI of the other daemon is longer than %d bytes", URI_MAX);
    VQ_AUTOFREE char *copy = vq_strdup(text);
    if (parse(copy, &uri, err) < 0) {
        vq_peer_uri_done(&uri);
        return vq_error_wrap(err, "'%s'", text);
    }
    *ret = uri;
    return 0;
}

void vq_peer_uri_done(struct vq_peer_uri *uri)
{
    free(uri->name);
    free(uri->user);
    free(uri->host);
    free(uri->node);
    free(uri->socket);
    free(uri->pkipath);
    free(uri->tls_priority);
    free(uri->keyfile);
    free(uri->netcat);
    free(uri->proxy);
    memset(uri, 0, sizeof(*uri));
}
