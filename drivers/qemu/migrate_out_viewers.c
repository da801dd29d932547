/* Viewers of a guest that leaves: those of a spice display are told where it goes on, and get the time to follow. QEMU cannot
 * tell those of a vnc display. Nothing of this stops a migration: who is not told connects anew. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/migrate_out.h"

enum { TCP_PORT_MAX = 65535 };

struct place {
    char *host;
    uint16_t port;           /* 0: none */
    uint64_t tls_port;
};

/* spice://host:port/?tlsPort=port, the user's word for where viewers reach the destination. */
static int read_uri(const char *uri, struct place *ret, struct vq_error *err)
{
    const size_t length = strcspn(uri, "?");
    VQ_AUTOFREE char *address = vq_asprintf("tcp:%.*s", (int)(length > 6 ? length - 6 : 0), uri + 6);
    VQ_AUTOFREE char *path = NULL, *digits = NULL;
    const char *tls = strstr(uri + length, "tlsPort=");

    if (vq_migrate_uri_parse(address, &ret->host, &ret->port, &path, err) < 0)
        return -1;
    if (tls == NULL)
        return 0;
    tls += strlen("tlsPort=");
    digits = vq_strndup(tls, strcspn(tls, "&"));
    return vq_parse_u64(digits, 10, TCP_PORT_MAX, &ret->tls_port)
               ? 0 : vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' in graphics URI '%s' is no port", digits, uri);
}

static bool is_everywhere(const char *address)
{
    return address == NULL || *address == '\0' || strcmp(address, "0.0.0.0") == 0 || strcmp(address, "::") == 0;
}

/* False: there is nobody to be told, or nothing to tell. */
static bool find_place(const struct vq_leaving *leaving, struct place *ret, struct vq_error *err)
{
    const struct vq_migrate_cookie *peer = &leaving->peer;
    const char *uri = leaving->guest->migration->options.graphics_uri;

    if (uri != NULL)
        return strncmp(uri, "spice:", 6) == 0 && read_uri(uri, ret, err) == 0 && (ret->port != 0 || ret->tls_port != 0);
    if (!vq_streq(peer->graphics.type, "spice") || (peer->graphics.port == 0 && peer->graphics.tls_port == 0))
        return false;
    ret->host = vq_strdup(is_everywhere(peer->graphics.listen) ? peer->host_name : peer->graphics.listen);
    ret->port = (uint16_t)peer->graphics.port;
    ret->tls_port = (uint64_t)peer->graphics.tls_port;
    return true;
}

static void told(json_t *reply, const struct vq_error *err, void *data)
{
    struct vq_qemu_guest *guest = data;
    struct vq_leaving *leaving = vq_leaving_of(guest);

    (void)reply;
    if (err != NULL && (guest->qmp == NULL || vq_qmp_is_broken(guest->qmp)))
        return; /* the monitor has gone: vq_migrate_found() */
    if (err != NULL)
        vq_log(WARN, "migrate.out", "domain=%s: its viewers are not told where it goes: %s", guest->name, err->message);
    leaving->has_viewers = err == NULL;
    vq_leaving_step_over(leaving, NULL);
}

enum vq_step_result vq_leaving_viewers_run(struct vq_job *job)
{
    struct vq_leaving *leaving = job->owner;
    struct place place = { 0 };
    struct vq_error err = VQ_ERROR_INIT;
    bool is_asked = false;
    json_t *arguments;

    if (find_place(leaving, &place, &err)) {
        arguments = json_pack("{s:s,s:s}", "protocol", "spice", "hostname", place.host);
        if (place.port != 0)
            (void)json_object_set_new(arguments, "port", json_integer(place.port));
        if (place.tls_port != 0)
            (void)json_object_set_new(arguments, "tls-port", json_integer((json_int_t)place.tls_port));
        if (leaving->peer.graphics.subject != NULL)
            (void)json_object_set_new(arguments, "cert-subject", json_string(leaving->peer.graphics.subject));
        is_asked = vq_leaving_ask(leaving, "client_migrate_info", arguments, -1, told);
    } else if (err.code != VIR_ERR_OK) {
        vq_log(WARN, "migrate.out", "domain=%s: its viewers are not told where it goes: %s", leaving->guest->name,
               err.message);
    }
    free(place.host);
    return is_asked ? VQ_STEP_WAIT : VQ_STEP_DONE;
}

/* The guest runs there already, and what is here would end and take the viewers' connections with it. After post-copy it has
 * stayed long enough. */
enum vq_step_result vq_leaving_follow_run(struct vq_job *job)
{
    const struct vq_leaving *leaving = job->owner;

    return leaving->has_viewers && !leaving->is_deciding && leaving->fate == VQ_LEAVING_GONE ? VQ_STEP_WAIT : VQ_STEP_DONE;
}
