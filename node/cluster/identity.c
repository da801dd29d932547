/* Who this node is: its record in the local store, and the texts that names and addresses are. */
#define VQ_FROM VIR_FROM_NONE
#include <arpa/inet.h>
#include <gnutls/gnutls.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "node/cluster/cluster_state.h"
#include "node/client/session.h"

static const char record_key[] = "node";
enum { NODE_NAME_MAX = 63 };

uint64_t vq_cluster_unix_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now); /* cannot fail for this clock */
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

/* ---- Names ---- */

static bool is_name_character(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
}

bool vq_node_name_is_valid(const char *name)
{
    size_t length = strlen(name);

    if (length == 0 || length > NODE_NAME_MAX)
        return false;
    for (size_t i = 0; i < length; i++) {
        bool is_edge = i == 0 || i + 1 == length || name[i - 1] == '.' || name[i + 1] == '.';
        if (!is_name_character(name[i]) && (is_edge || (name[i] != '-' && name[i] != '.')))
            return false;
    }
    return true;
}

/* The host's name up to the first dot; "node" when it is none of the names that we allow. */
static char *host_name(void)
{
    char name[256] = "";

    (void)gethostname(name, sizeof(name) - 1); /* too long: cut, and judged below */
    name[strcspn(name, ".")] = '\0';
    return vq_strdup(vq_node_name_is_valid(name) ? name : "node");
}

/* ---- Addresses ---- */

static bool is_numeric_host(const char *host)
{
    struct in6_addr address;

    return inet_pton(AF_INET, host, &address) == 1 || inet_pton(AF_INET6, host, &address) == 1;
}

/* Split "host", "host:port", "[host]" or "[host]:port"; a bare IPv6 address has no port. */
static int split(const char *text, char **ret_host, const char **ret_port, struct vq_error *err)
{
    const char *colon = strchr(text, ':');

    *ret_port = NULL;
    if (text[0] == '[') {
        const char *end = strchr(text, ']');
        if (end == NULL || (end[1] != '\0' && end[1] != ':'))
            return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' is not an address: [host]:port expected", text);
        *ret_host = vq_strndup(text + 1, (size_t)(end - text - 1));
        *ret_port = end[1] == ':' ? end + 2 : NULL;
    } else if (colon != NULL && strchr(colon + 1, ':') == NULL) {
        *ret_host = vq_strndup(text, (size_t)(colon - text));
        *ret_port = colon + 1;
    } else {
        *ret_host = vq_strdup(text);
    }
    return 0;
}

int vq_node_address_parse(const char *text, uint16_t default_port, char **ret_address, uint16_t *ret_port,
                          struct vq_error *err)
{
    VQ_AUTOFREE char *host = NULL;
    const char *port_text;
    uint64_t port = default_port;

    if (split(text, &host, &port_text, err) < 0)
        return -1;
    if (!is_numeric_host(host))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' is not a numeric address", host);
    if (port_text != NULL && (!vq_parse_u64(port_text, 10, 65535, &port) || port == 0))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' is not a port", port_text);
    *ret_port = (uint16_t)port;
    *ret_address = vq_asprintf(strchr(host, ':') != NULL ? "[%s]:%u" : "%s:%u", host, (unsigned)port);
    return 0;
}

char *vq_node_address_host(const char *address)
{
    const char *colon = strrchr(address, ':');
    size_t length = colon == NULL ? strlen(address) : (size_t)(colon - address);

    return address[0] == '[' && length >= 2 ? vq_strndup(address + 1, length - 2) : vq_strndup(address, length);
}

/* 2 an IPv4 address that others may reach, 1 such an IPv6 address, 0 no use. */
static int worth(const struct ifaddrs *interface)
{
    if (interface->ifa_addr == NULL || (interface->ifa_flags & IFF_LOOPBACK) != 0 || (interface->ifa_flags & IFF_UP) == 0)
        return 0;
    if (interface->ifa_addr->sa_family == AF_INET)
        return 2;
    if (interface->ifa_addr->sa_family != AF_INET6)
        return 0;
    const struct sockaddr_in6 *in6 = (const void *)interface->ifa_addr;
    return IN6_IS_ADDR_LINKLOCAL(&in6->sin6_addr) ? 0 : 1;
}

char *vq_node_address_guess(void)
{
    struct ifaddrs *interfaces, *best = NULL;
    char text[INET6_ADDRSTRLEN] = "";

    if (getifaddrs(&interfaces) != 0)
        return NULL;
    for (struct ifaddrs *each = interfaces; each != NULL; each = each->ifa_next)
        if (worth(each) > (best == NULL ? 0 : worth(best)))
            best = each;
    if (best != NULL && best->ifa_addr->sa_family == AF_INET)
        (void)inet_ntop(AF_INET, &((const struct sockaddr_in *)(const void *)best->ifa_addr)->sin_addr, text, sizeof(text));
    else if (best != NULL)
        (void)inet_ntop(AF_INET6, &((const struct sockaddr_in6 *)(const void *)best->ifa_addr)->sin6_addr, text,
                        sizeof(text));
    freeifaddrs(interfaces);
    return text[0] == '\0' ? NULL : vq_strdup(text);
}

uint16_t vq_cluster_default_port(const struct vq_daemon *daemon)
{
    uint64_t port;

    if (daemon->config.cluster_port == NULL || !vq_parse_u64(daemon->config.cluster_port, 10, 65535, &port) || port == 0)
        return VQ_CLUSTER_PORT;
    return (uint16_t)port;
}

/* ---- The record ---- */

Vq__LocalNode *vq_identity_copy(const Vq__LocalNode *from)
{
    size_t size = vq__local_node__get_packed_size(from);
    VQ_AUTOFREE uint8_t *bytes = vq_calloc(1, size + 1);

    return vq__local_node__unpack(NULL, vq__local_node__pack(from, bytes), bytes);
}

void vq_identity_free(Vq__LocalNode *self)
{
    vq__local_node__free_unpacked(self, NULL);
}

/* Before the daemon has a loop and a host: straight from the kernel. */
static void random_bytes(uint8_t *bytes, size_t length)
{
    while (length > 0) {
        ssize_t got = getrandom(bytes, length, 0);
        if (got < 0)
            continue; /* only interrupted, before the pool is ready */
        bytes += got;
        length -= (size_t)got;
    }
}

Vq__LocalNode *vq_identity_lone(const struct vq_daemon *daemon)
{
    Vq__LocalNode node = VQ__LOCAL_NODE__INIT;
    const char *configured = daemon->config.node_name;
    uint8_t key[32];
    VQ_AUTOFREE char *name = configured != NULL && vq_node_name_is_valid(configured) ? vq_strdup(configured) : host_name();

    node.node_id = 1;
    node.node_name = name;
    random_bytes(key, sizeof(key));
    node.cluster_key = (ProtobufCBinaryData){sizeof(key), key};
    Vq__LocalNode *self = vq_identity_copy(&node);
    gnutls_memset(key, 0, sizeof(key));
    return self;
}

int vq_identity_load(struct vq_local *local, Vq__LocalNode **ret, struct vq_error *err)
{
    VQ_AUTOFREE void *bytes = NULL;
    size_t length;
    int found = vq_local_get(local, VQ_CLUSTER_TABLE, record_key, strlen(record_key), &bytes, &length, err);

    if (found <= 0)
        return found;
    Vq__LocalNode *self = vq__local_node__unpack(NULL, length, bytes);
    if (self == NULL || self->node_id == 0 || (self->cluster_key.len != 0 && self->cluster_key.len != 32) ||
        !vq_node_name_is_valid(self->node_name) ||
        (self->cluster_id.len != 0 && (self->cluster_id.len != 16 || self->cluster_key.len != 32))) {
        vq_identity_free(self);
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "the record of who this node is is damaged");
    }
    *ret = self;
    return 1;
}

int vq_identity_save(struct vq_local *local, const Vq__LocalNode *self, struct vq_error *err)
{
    size_t size = vq__local_node__get_packed_size(self);
    VQ_AUTOFREE uint8_t *bytes = vq_calloc(1, size + 1);

    (void)vq__local_node__pack(self, bytes);
    return vq_local_put(local, VQ_CLUSTER_TABLE, record_key, strlen(record_key), bytes, size, true, err);
}

void vq_identity_use(struct vq_daemon *daemon, const Vq__LocalNode *self)
{
    char *before = daemon->node_name;

    daemon->node_id = self->node_id;
    daemon->has_cluster_key = self->cluster_key.len == sizeof(daemon->cluster_key);
    if (daemon->has_cluster_key)
        memcpy(daemon->cluster_key, self->cluster_key.data, sizeof(daemon->cluster_key));
    memset(daemon->cluster_id, 0, sizeof(daemon->cluster_id));
    if (vq_identity_is_member(self))
        memcpy(daemon->cluster_id, self->cluster_id.data, sizeof(daemon->cluster_id));
    daemon->node_name = vq_strdup(self->node_name);
    daemon->host.node_id = daemon->node_id;
    if (daemon->sessions != NULL)
        vq_sessions_identity_changed(daemon);
    daemon->host.node_name = daemon->node_name;
    free(before);
}
