/* Names of hosts: see lookup.h. */
#include "drivers/lookup.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "conf/base/memory.h"
#include "drivers/aside.h"

struct name {
    char *host;
    char service[8];
    struct addrinfo *addresses;
    int rc;                  /* of getaddrinfo() */
};

struct vq_lookup {
    struct vq_aside *aside;
    vq_lookup_cb cb;
    void *data;
};

static void name_look_up(void *work)
{
    static const struct addrinfo hints = { .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_protocol = IPPROTO_TCP };
    struct name *name = work;

    name->rc = getaddrinfo(name->host, name->service, &hints, &name->addresses);
}

static void name_free(void *work)
{
    struct name *name = work;

    if (name->addresses != NULL)
        freeaddrinfo(name->addresses);
    free(name->host);
    free(name);
}

static const struct vq_aside_class name_class = { name_look_up, name_free };

static void looked_up(void *take_work, void *data)
{
    struct vq_lookup *lookup = data;
    struct name *name = take_work;

    if (name == NULL)
        lookup->cb(NULL, "the name servers do not answer", lookup->data);
    else if (name->rc != 0)
        lookup->cb(NULL, gai_strerror(name->rc), lookup->data);
    else
        lookup->cb(vq_take(name->addresses), NULL, lookup->data);
    if (name != NULL)
        name_free(name);
    free(lookup);
}

struct vq_lookup *vq_lookup_start(uv_loop_t *loop, const char *host, uint16_t port, uint64_t timeout_ms, vq_lookup_cb cb,
                                  void *data)
{
    struct vq_lookup *lookup = vq_new(struct vq_lookup);
    struct name *name = vq_new(struct name);

    name->host = vq_strdup(host);
    (void)snprintf(name->service, sizeof(name->service), "%u", (unsigned)port);
    lookup->cb = cb;
    lookup->data = data;
    lookup->aside = vq_aside_start(loop, &name_class, name, timeout_ms, looked_up, lookup);
    return lookup;
}

void vq_lookup_forget(struct vq_lookup *lookup)
{
    vq_aside_forget(lookup->aside);
    free(lookup);
}
