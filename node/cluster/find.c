/* Which node a name or an address means, and the other way round: for those who read URIs. */
#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "conf/base/text.h"
#include "node/cluster/cluster.h"
#include "node/cluster/cluster_state.h"

enum { HOST_MAX = 256 };

/* An address in its binary form: the same one can be written in several ways. 0: it is none. */
static size_t parse_address(const char *text, uint8_t ret[16])
{
    if (inet_pton(AF_INET, text, ret) == 1)
        return 4;
    return inet_pton(AF_INET6, text, ret) == 1 ? 16 : 0;
}

/* "fe80::1" and "[fe80::1]" of the host, "[fe80::1]:16520" of the table. */
static bool is_address(const char *host, const char *address)
{
    VQ_AUTOFREE char *plain = vq_node_address_host(address);
    size_t length = strlen(host);
    VQ_AUTOFREE char *inner = length >= 2 && host[0] == '[' && host[length - 1] == ']' ? vq_strndup(host + 1, length - 2)
                                                                                     : vq_strdup(host);
    uint8_t a[16], b[16];

    if (strcmp(host, address) == 0)
        return true;
    size_t size = parse_address(inner, a);
    return size > 0 && parse_address(plain, b) == size && memcmp(a, b, size) == 0;
}

/* The node's name, or that with the domain of this host behind it: a host of the same name elsewhere is none of ours. */
static bool is_name(const char *host, const char *name, const char *own_host)
{
    size_t length = strlen(name);
    const char *domain = strchr(own_host, '.');

    if (strcasecmp(host, name) == 0)
        return true;
    return domain != NULL && strncasecmp(host, name, length) == 0 && strcasecmp(host + length, domain) == 0;
}

static bool is_member(const char *host, const struct vq_cluster_member *member, const char *own_host)
{
    if (member->removed_at_ms != 0)
        return false;
    if (is_name(host, member->name, own_host))
        return true;
    for (char **address = member->addresses; *address != NULL; address++)
        if (is_address(host, *address))
            return true;
    return false;
}

static bool is_self(const char *host, const struct vq_daemon *daemon, const char *own_host)
{
    if (strcasecmp(host, own_host) == 0 || is_name(host, daemon->node_name, own_host))
        return true;
    for (size_t i = 0; i < daemon->cluster->self->n_addresses; i++)
        if (is_address(host, daemon->cluster->self->addresses[i]))
            return true;
    return false;
}

uint64_t vq_cluster_find_node(const struct vq_daemon *daemon, const char *host)
{
    const struct vq_cluster *cluster = daemon->cluster;
    char own_host[HOST_MAX] = "";
    uint64_t found = 0;

    if (host == NULL || host[0] == '\0')
        return 0;
    (void)gethostname(own_host, sizeof(own_host) - 1); /* without one, there is nothing to compare */
    for (size_t i = 0; i < cluster->n_members; i++)
        if (is_member(host, &cluster->members[i], own_host)) {
            if (found != 0)
                return 0; /* an address that several share, as on a host with several of them: it does not tell */
            found = cluster->members[i].id;
        }
    return found != 0 ? found : is_self(host, daemon, own_host) ? daemon->node_id : 0;
}

const char *vq_cluster_node_name(const struct vq_daemon *daemon, uint64_t node)
{
    const struct vq_cluster_member *member = vq_cluster_member(daemon->cluster, node);

    return member != NULL ? member->name : node == daemon->node_id ? daemon->node_name : NULL;
}

char *vq_cluster_node_address(const struct vq_daemon *daemon, uint64_t node)
{
    const struct vq_cluster *cluster = daemon->cluster;
    const struct vq_cluster_member *member = vq_cluster_member(cluster, node);

    if (member != NULL && member->addresses[0] != NULL)
        return vq_node_address_host(member->addresses[0]);
    if (node != daemon->node_id)
        return NULL;
    return cluster->self->n_addresses > 0 ? vq_node_address_host(cluster->self->addresses[0]) : vq_node_address_guess();
}
