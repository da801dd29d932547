/* Other daemons, reached as by any of their clients.
 *
 *   begin ──► resolving ──► dialling ──► handshake ──► the peer        One deadline over all of it. Whatever fails goes
 *     └─────────────────────────▲  (UNIX socket)        │              to opening_done(), which tells the user.
 *     └─ ssh ───────────────────────────────────────────▲ */
#define VQ_FROM VIR_FROM_RPC
#include <assert.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/un.h>
#include <unistd.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/lookup.h"
#include "node/daemon.h"
#include "node/peer.h"
#include "node/peer_ssh.h"
#include "node/peer_uri.h"
#include "proto/client.h"
#include "proto/dial.h"
#include "proto/tls.h"

enum { OPEN_MS = 30000, DIAL_MS = 10000, KEEPALIVE_MS = 5000, KEEPALIVE_COUNT = 5, OPENINGS_MAX = 64 };
enum { TLS_PORT = 16514, TCP_PORT = 16509 };

struct client_peer {
    struct vq_peer peer;
    struct vq_client *client;
    struct vq_ssh *ssh;              /* NULL: another transport */
    struct vq_peer_opening *opening; /* NULL: it is the user's */
};

struct vq_peer_opening {
    struct vq_peer_opening *next, *prev;
    struct vq_daemon *daemon;
    uv_timer_t timer;
    struct vq_lookup *lookup; /* NULL: none is under way */
    bool has_begun, is_done;
    uint64_t deadline_ms;
    char *text;      /* the URI as it was given */
    char where[300]; /* "host:port" or the path of a socket */
    struct vq_peer_uri uri;
    struct addrinfo *addresses, *next_address;
    struct vq_dial *dial;
    struct client_peer *peer;
    struct vq_error err; /* the last address's, or what ssh has to explain */
    vq_peer_open_cb cb;
    void *data;
};

/* ---- The peer ---------------------------------------------------------------------------------------------------- */

static struct client_peer *of(struct vq_peer *peer)
{
    return VQ_CONTAINER_OF(peer, struct client_peer, peer);
}

static void peer_free(struct client_peer *peer)
{
    if (peer->client != NULL)
        vq_client_close(vq_take(peer->client));
    vq_ssh_free(peer->ssh);
    free(peer->peer.name);
    free(peer);
}

static void peer_call(struct vq_peer *peer, enum vq_program program, uint32_t number, const void *args,
                      uint64_t timeout_ms, vq_peer_cb cb, void *data)
{
    vq_client_call(of(peer)->client, program, number, args, timeout_ms, cb, data);
}

static void peer_call_stream(struct vq_peer *peer, enum vq_program program, uint32_t number, const void *args,
                             uint64_t timeout_ms, vq_peer_cb cb, void *data)
{
    vq_client_call_stream(of(peer)->client, program, number, args, timeout_ms, cb, data);
}

static bool peer_stream_write(struct vq_peer *peer, const void *bytes, size_t length)
{
    return vq_client_stream_write(of(peer)->client, bytes, length);
}

static void peer_stream_finish(struct vq_peer *peer, vq_peer_cb cb, void *data)
{
    vq_client_stream_finish(of(peer)->client, cb, data);
}

static void peer_stream_abort(struct vq_peer *peer, const struct vq_error *why VQ_UNUSED)
{
    vq_client_stream_abort(of(peer)->client); /* clients abort without a reason */
}

static void peer_close(struct vq_peer *peer)
{
    peer_free(of(peer));
}

static const struct vq_peer_class client_peer_class = {
    .call = peer_call,
    .call_stream = peer_call_stream,
    .stream_write = peer_stream_write,
    .stream_finish = peer_stream_finish,
    .stream_abort = peer_stream_abort,
    .close = peer_close,
};

/* ---- The end of opening ------------------------------------------------------------------------------------------ */

static void timer_closed(uv_handle_t *handle)
{
    struct vq_peer_opening *opening = handle->data;

    vq_peer_uri_done(&opening->uri);
    if (opening->addresses != NULL)
        freeaddrinfo(opening->addresses);
    free(opening->text);
    free(opening);
}

/* err NULL: the peer is the user's now. */
static void opening_done(struct vq_peer_opening *opening, const struct vq_error *err)
{
    struct client_peer *peer = vq_take(opening->peer);
    struct vq_error told = err == NULL ? VQ_ERROR_INIT : *err;

    assert(!opening->is_done);
    opening->is_done = true;
    if (opening->next != NULL)
        opening->next->prev = opening->prev;
    if (opening->prev != NULL)
        opening->prev->next = opening->next;
    else
        opening->daemon->peer_openings = opening->next;
    if (opening->dial != NULL)
        vq_dial_cancel(vq_take(opening->dial));
    if (opening->lookup != NULL)
        vq_lookup_forget(vq_take(opening->lookup));
    uv_close((uv_handle_t *)&opening->timer, timer_closed);
    if (peer != NULL)
        peer->opening = NULL;
    if (err != NULL && peer != NULL)
        peer_free(vq_take(peer));
    if (err != NULL)
        vq_log(WARN, "peer.failed", "uri='%s': %s", opening->text, told.message);
    opening->cb(peer == NULL ? NULL : &peer->peer, err == NULL ? NULL : &told, opening->data);
}

static void ssh_said(const char *said, void *data)
{
    struct vq_peer_opening *opening = data;

    if (*said != '\0')
        vq_error_set(&opening->err, opening->err.code, "connecting to '%s': %s", opening->text, said);
    opening_done(opening, &opening->err);
}

static void handshake_failed(struct vq_peer_opening *opening, const struct vq_error *err)
{
    opening->err = *err;
    vq_error_wrap(&opening->err, "connecting to '%s'", opening->where);
    if (opening->peer->ssh == NULL) {
        opening_done(opening, &opening->err);
        return;
    }
    vq_client_close(vq_take(opening->peer->client));
    vq_ssh_last_words(opening->peer->ssh, ssh_said, opening);
}

/* ---- The handshake ----------------------------------------------------------------------------------------------- */

static void client_opened(struct vq_client *client VQ_UNUSED, const struct vq_error *err, void *data)
{
    struct client_peer *peer = data;

    if (err != NULL)
        handshake_failed(peer->opening, err);
    else
        opening_done(peer->opening, NULL);
}

static void client_ended(struct vq_client *client VQ_UNUSED, const struct vq_error *err, void *data)
{
    struct client_peer *peer = data;

    vq_log(WARN, "peer.lost", "peer='%s': %s", peer->peer.name, err->message);
    if (peer->peer.lost != NULL)
        peer->peer.lost(&peer->peer, err, peer->peer.data);
}

static void client_writable(struct vq_client *client VQ_UNUSED, void *data)
{
    struct client_peer *peer = data;

    if (peer->peer.stream_writable != NULL)
        peer->peer.stream_writable(&peer->peer, peer->peer.data);
}

static void client_stream_failed(struct vq_client *client VQ_UNUSED, const struct vq_error *err, void *data)
{
    struct client_peer *peer = data;

    if (peer->peer.stream_failed != NULL)
        peer->peer.stream_failed(&peer->peer, err, peer->peer.data);
}

static const struct vq_client_callbacks client_callbacks = {
    .opened = client_opened, .ended = client_ended, .writable = client_writable, .stream_failed = client_stream_failed};

static uint64_t time_left(const struct vq_peer_opening *opening)
{
    uint64_t now_ms = uv_now(opening->daemon->loop);

    return opening->deadline_ms > now_ms ? opening->deadline_ms - now_ms : 1;
}

static void shake_hands(struct vq_peer_opening *opening, int take_fd, struct vq_tls_session *take_tls,
                        struct vq_ssh *take_ssh)
{
    struct client_peer *peer = vq_new(struct client_peer);
    const struct vq_client_options options = {.uri = opening->uri.name,
                                              .open_ms = time_left(opening),
                                              .keepalive_ms = KEEPALIVE_MS,
                                              .keepalive_count = KEEPALIVE_COUNT};

    peer->peer.class = &client_peer_class;
    peer->peer.name = vq_strdup(opening->text);
    peer->ssh = take_ssh;
    peer->opening = opening;
    opening->peer = peer;
    /* The client has the same deadline; ours would come at the same moment, and know less. */
    (void)uv_timer_stop(&opening->timer);
    peer->client = vq_client_open(opening->daemon->loop, take_fd, take_tls, &options, &client_callbacks, peer);
}

/* ---- TLS --------------------------------------------------------------------------------------------------------- */

static const char *existing(const char *path)
{
    return access(path, F_OK) == 0 ? path : NULL;
}

/* The places of libvirt's clients. Without a certificate of ours the other daemon may let us in all the same. */
static int load_credentials(const struct vq_peer_opening *opening, struct vq_tls_credentials **ret,
                            struct vq_error *err)
{
    const char *pki = opening->uri.pkipath != NULL ? opening->uri.pkipath : opening->daemon->config.pki_dir;
    bool is_flat = opening->uri.pkipath != NULL;
    VQ_AUTOFREE char *ca = vq_asprintf("%s/%scacert.pem", pki, is_flat ? "" : "CA/");
    VQ_AUTOFREE char *crl = vq_asprintf("%s/%scacrl.pem", pki, is_flat ? "" : "CA/");
    VQ_AUTOFREE char *certificate = vq_asprintf("%s/%sclientcert.pem", pki, is_flat ? "" : "libvirt/");
    VQ_AUTOFREE char *key = vq_asprintf("%s/%sclientkey.pem", pki, is_flat ? "" : "libvirt/private/");
    bool has_own = existing(certificate) != NULL && existing(key) != NULL;

    if (is_flat && *pki != '/')
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "pkipath '%s' is not an absolute path", pki);
    return vq_tls_credentials_load(opening->uri.no_verify ? existing(ca) : ca, has_own ? certificate : NULL,
                                   has_own ? key : NULL, existing(crl), ret, err);
}

static int make_tls(const struct vq_peer_opening *opening, struct vq_tls_session **ret, struct vq_error *err)
{
    const struct vq_tls_options options = {
        .verify = opening->uri.no_verify ? VQ_TLS_VERIFY_NOTHING : VQ_TLS_VERIFY_PEER,
        .peer_name = opening->uri.no_verify ? NULL : opening->uri.host,
        .priority = opening->uri.tls_priority,
    };
    struct vq_tls_credentials *credentials = NULL;

    if (load_credentials(opening, &credentials, err) < 0)
        return -1;
    int rc = vq_tls_session_new(credentials, &options, ret, err);
    vq_tls_credentials_free(credentials);
    return rc;
}

/* ---- Dialling ---------------------------------------------------------------------------------------------------- */

static void dial_next(struct vq_peer_opening *opening);

static void dialled(int take_fd, const struct vq_error *err, void *data)
{
    struct vq_peer_opening *opening = data;
    struct vq_tls_session *tls = NULL;

    opening->dial = NULL;
    if (err != NULL) {
        if (err->int1 > 0)
            vq_error_system(&opening->err, err->int1, "unable to connect to server at '%s'", opening->where);
        else
            vq_error_set(&opening->err, err->code, "unable to connect to server at '%s': %s", opening->where,
                         err->message);
        dial_next(opening);
        return;
    }
    if (opening->uri.transport == VQ_PEER_TLS && make_tls(opening, &tls, &opening->err) < 0) {
        (void)close(take_fd); /* nothing was said yet */
        vq_error_wrap(&opening->err, "connecting to '%s'", opening->where);
        opening_done(opening, &opening->err);
        return;
    }
    shake_hands(opening, take_fd, tls, NULL);
}

static void dial(struct vq_peer_opening *opening, const struct sockaddr *address, socklen_t length)
{
    uint64_t left_ms = time_left(opening);

    opening->dial = vq_dial_start(opening->daemon->loop, address, length, left_ms < DIAL_MS ? left_ms : DIAL_MS,
                                  KEEPALIVE_MS * (KEEPALIVE_COUNT + 1), dialled, opening);
}

/* All addresses of a host, one after the other; the last failure is told. */
static void dial_next(struct vq_peer_opening *opening)
{
    struct addrinfo *address = opening->next_address;

    if (address == NULL) {
        opening_done(opening, &opening->err);
        return;
    }
    opening->next_address = address->ai_next;
    dial(opening, address->ai_addr, address->ai_addrlen);
}

static void resolved(struct addrinfo *take_addresses, const char *why, void *data)
{
    struct vq_peer_opening *opening = data;

    opening->lookup = NULL;
    opening->addresses = opening->next_address = take_addresses;
    if (take_addresses != NULL) {
        dial_next(opening);
        return;
    }
    vq_error_set(&opening->err, VIR_ERR_SYSTEM_ERROR, "unable to resolve address '%s': %s", opening->uri.host, why);
    opening_done(opening, &opening->err);
}

static void resolve(struct vq_peer_opening *opening)
{
    uint16_t port = opening->uri.port != 0                  ? opening->uri.port
                    : opening->uri.transport == VQ_PEER_TLS ? TLS_PORT
                                                            : TCP_PORT;
    bool has_colon = strchr(opening->uri.host, ':') != NULL;

    (void)snprintf(opening->where, sizeof(opening->where), has_colon ? "[%s]:%u" : "%s:%u", opening->uri.host,
                   (unsigned)port);
    opening->lookup = vq_lookup_start(opening->daemon->loop, opening->uri.host, port, OPEN_MS, resolved, opening);
}

static void dial_socket(struct vq_peer_opening *opening)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    VQ_AUTOFREE char *path = opening->uri.socket != NULL
                                 ? vq_strdup(opening->uri.socket)
                                 : vq_asprintf("%s/libvirt-sock", opening->daemon->config.libvirt_run_dir);

    (void)snprintf(opening->where, sizeof(opening->where), "%s", path);
    if (*path != '/' || strlen(path) >= sizeof(address.sun_path)) {
        vq_error_set(&opening->err, VIR_ERR_INVALID_ARG, "'%s' is not the path of a socket", path);
        opening_done(opening, &opening->err);
        return;
    }
    (void)snprintf(address.sun_path, sizeof(address.sun_path), "%s", path);
    dial(opening, (const struct sockaddr *)&address, sizeof(address));
}

static void start_ssh(struct vq_peer_opening *opening)
{
    struct vq_ssh *ssh = NULL;
    int fd = -1;

    (void)snprintf(opening->where, sizeof(opening->where), "%s", opening->text);
    if (vq_ssh_start(opening->daemon->loop, &opening->uri, &ssh, &fd, &opening->err) < 0)
        opening_done(opening, &opening->err);
    else
        shake_hands(opening, fd, NULL, ssh);
}

/* ---- Beginning --------------------------------------------------------------------------------------------------- */

static int begin(struct vq_peer_opening *opening)
{
    unsigned n = 0;

    for (const struct vq_peer_opening *other = opening->daemon->peer_openings; other != NULL; other = other->next)
        n++;
    if (n > OPENINGS_MAX)
        return vq_error_set(&opening->err, VIR_ERR_RESOURCE_BUSY, "%d connections to other daemons are being opened",
                            OPENINGS_MAX);
    return vq_peer_uri_parse(opening->text, &opening->uri, &opening->err);
}

static void timer_cb(uv_timer_t *timer)
{
    struct vq_peer_opening *opening = timer->data;

    if (opening->has_begun) {
        vq_error_set(&opening->err, VIR_ERR_OPERATION_TIMEOUT, "connecting to '%s' took longer than %d seconds",
                     opening->text, OPEN_MS / 1000);
        opening_done(opening, &opening->err);
        return;
    }
    opening->has_begun = true;
    opening->deadline_ms = uv_now(opening->daemon->loop) + OPEN_MS;
    (void)uv_timer_start(timer, timer_cb, OPEN_MS, 0);
    if (begin(opening) < 0)
        opening_done(opening, &opening->err);
    else if (opening->uri.transport == VQ_PEER_SSH)
        start_ssh(opening);
    else if (opening->uri.transport == VQ_PEER_TLS || opening->uri.transport == VQ_PEER_TCP)
        resolve(opening);
    else
        dial_socket(opening);
}

void vq_peer_client_open(struct vq_daemon *daemon, const char *uri, vq_peer_open_cb cb, void *data)
{
    struct vq_peer_opening *opening = vq_new(struct vq_peer_opening);

    opening->daemon = daemon;
    opening->text = vq_strdup(uri);
    opening->err = VQ_ERROR_INIT;
    opening->cb = cb;
    opening->data = data;
    opening->timer.data = opening;
    (void)uv_timer_init(daemon->loop, &opening->timer);
    (void)uv_timer_start(&opening->timer, timer_cb, 0, 0); /* nothing is called back from inside */
    opening->next = daemon->peer_openings;
    if (opening->next != NULL)
        opening->next->prev = opening;
    daemon->peer_openings = opening;
}

void vq_peer_client_stop(struct vq_daemon *daemon)
{
    struct vq_error err = VQ_ERROR_INIT;

    vq_error_set(&err, VIR_ERR_OPERATION_ABORTED, "this daemon is stopping");
    while (daemon->peer_openings != NULL)
        opening_done(daemon->peer_openings, &err);
}
