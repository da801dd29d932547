/* Peer-to-peer migration: this daemon is the client of the destination, and tells the user's client only the end.
 *
 *   open ─► features ─► begin here ─► prepare there ─► perform here ─► finish there ─► confirm here ─► answer
 *     │        │            │              │                 └───────► finish there, cancelled ─┐
 *     └────────┴────────────┴──────────────┴──────────────────────────────────────► drop here ◄─┘
 *
 * Tunnelled, perform is over when the destination has confirmed the stream, too. Between nodes the data are secured by
 * a key of their own, and go the direct way in any case.
 *
 * The object holds no guest over a wait: it is looked up by its UUID. One call-back is awaited at a time. */
#define VQ_FROM VIR_FROM_QEMU

#include <assert.h>
#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/migrate_offline.h"
#include "drivers/qemu/migrate_out.h"
#include "drivers/qemu/migrate_p2p.h"
#include "drivers/qemu/migrate_tunnel.h"
#include "proto/gen/remote.h"

enum { FEATURE_V3 = 6, FEATURE_P2P = 4, FEATURE_PARAMS = 13, FEATURE_OFFLINE = 12 };
enum {
    FEATURE_MS = 30000,
    CALL_MS = 900000 /* prepare and finish of a daemon outside */,
    LIST_MEMORY_MAX = 64 * 1024 * 1024
};

/* ---- The object -------------------------------------------------------------------------------------------------- */

static void p2p_unlink(struct vq_p2p *p2p)
{
    struct vq_p2p **link = &p2p->qemu->p2ps;

    while (*link != p2p)
        link = &(*link)->next;
    *link = p2p->next;
}

static bool is_tunnelled(const struct vq_p2p *p2p)
{
    return (p2p->options.flags & VIR_MIGRATE_TUNNELLED) != 0;
}

static void close_peer(struct vq_p2p *p2p)
{
    struct vq_peer *peer = vq_take(p2p->peer);

    vq_tunnel_out_free(vq_take(p2p->tunnel));
    if (peer != NULL)
        peer->class->close(peer); /* what is in flight is answered now, from inside */
}

/* The end: the user's client is answered by who called. */
static void p2p_over(struct vq_p2p *p2p)
{
    bool has_failed = p2p->failure.code != VIR_ERR_OK;

    close_peer(p2p);
    p2p_unlink(p2p);
    p2p->cb(NULL, 0, has_failed ? &p2p->failure : NULL, p2p->data);
    vq_migrate_options_done(&p2p->options);
    free(p2p->cookie);
    free(p2p->dconnuri);
    free(p2p->name);
    free(p2p);
}

static struct vq_qemu_guest *guest_of(const struct vq_p2p *p2p)
{
    return vq_qemu_guest_find(p2p->qemu, p2p->uuid);
}

static bool is_offline(const struct vq_p2p *p2p)
{
    return (p2p->options.flags & VIR_MIGRATE_OFFLINE) != 0;
}

/* The first reason stays: what comes after it is its consequence. */
static void set_failure(struct vq_p2p *p2p, const struct vq_error *err)
{
    if (p2p->failure.code == VIR_ERR_OK)
        p2p->failure = *err;
}

static void keep_cookie(struct vq_p2p *p2p, const uint8_t *cookie, uint32_t length)
{
    free(p2p->cookie);
    p2p->cookie = length == 0 ? NULL : vq_memdup(cookie, length);
    p2p->cookie_length = length;
}

/* 0: the mesh has its own. */
static uint64_t call_ms(const struct vq_p2p *p2p)
{
    return p2p->node == 0 ? CALL_MS : 0;
}

/* ---- confirm ----------------------------------------------------------------------------------------------------- */

/* It runs there, or goes on here; what cannot be cleared away after that is for the log, not for the user. */
static void confirmed(const uint8_t *cookie, uint32_t length, const struct vq_error *err, void *data)
{
    struct vq_p2p *p2p = data;

    (void)cookie;
    (void)length;
    if (err != NULL)
        vq_log(WARN, "migrate.p2p", "domain=%s to='%s': confirming failed: %s", p2p->name, p2p->dconnuri, err->message);
    p2p_over(p2p);
}

static void confirm(struct vq_p2p *p2p, bool is_cancelled)
{
    struct vq_migrate_options *options = &p2p->options;

    p2p->step = VQ_P2P_HERE;
    if (p2p->qemu->stopping) {
        p2p_over(p2p); /* the guest's record tells the next daemon what is to be done */
        return;
    }
    if (is_offline(p2p))
        vq_migrate_offline_confirm(p2p->request, options, p2p->cookie, p2p->cookie_length, is_cancelled, confirmed,
                                   p2p);
    else
        vq_migrate_out_confirm(p2p->request, options, p2p->cookie, p2p->cookie_length, is_cancelled, confirmed, p2p);
}

/* Given up before anything was there, or after the destination was told. */
static void give_up(struct vq_p2p *p2p)
{
    keep_cookie(p2p, NULL, 0);
    confirm(p2p, true);
}

/* ---- finish ------------------------------------------------------------------------------------------------------ */

/* The destination's driver did not say no: its answer is what was lost or cannot be read, and it may run the guest. */
static bool is_unknown(const struct vq_error *err)
{
    return err->code == VIR_ERR_OPERATION_TIMEOUT || err->from == VIR_FROM_RPC;
}

/* Two copies would be worse than none: neither is let run by this side. */
static void leave_unknown(struct vq_p2p *p2p, const struct vq_error *err)
{
    struct vq_qemu_guest *guest = guest_of(p2p);

    if (guest != NULL && !p2p->qemu->stopping)
        vq_leaving_unknown(guest);
    set_failure(p2p, err);
    vq_error_wrap(&p2p->failure, "whether the domain runs at the destination is not known, it stays paused here");
    p2p_over(p2p);
}

/* Between nodes the log has decided before finish; elsewhere the destination's answer decides. */
static void finish_failed(struct vq_p2p *p2p, const struct vq_error *err)
{
    if (p2p->node != 0 && p2p->has_performed && !is_offline(p2p)) {
        vq_log(WARN, "migrate.p2p", "domain=%s to='%s': it has moved, although finish says: %s", p2p->name,
               p2p->dconnuri, err->message);
        keep_cookie(p2p, NULL, 0);
        confirm(p2p, false);
        return;
    }
    if (p2p->has_performed && p2p->was_finish_asked && is_unknown(err) && !is_offline(p2p)) {
        leave_unknown(p2p, err);
        return;
    }
    set_failure(p2p, err);
    give_up(p2p);
}

static void finished(const void *ret, const struct vq_error *err, void *data)
{
    struct vq_p2p *p2p = data;
    const struct vq_remote_domain_migrate_finish3_params_ret *by_params = ret;
    const struct vq_remote_domain_migrate_finish3_ret *positional = ret;

    if (err != NULL) {
        finish_failed(p2p, err);
        return;
    }
    if (p2p->has_params)
        keep_cookie(p2p, by_params->cookie_out, by_params->n_cookie_out);
    else
        keep_cookie(p2p, positional->cookie_out, positional->n_cookie_out);
    confirm(p2p, false);
}

/* A destination that was told to give up says why it had to, when it knows better than we do. */
static void cancelled(const void *ret, const struct vq_error *err, void *data)
{
    struct vq_p2p *p2p = data;

    (void)ret;
    if (err != NULL && err->code != VIR_ERR_MIGRATE_FINISH_OK && err->from == VIR_FROM_QEMU &&
        p2p->failure.from == VIR_FROM_QEMU && p2p->failure.code == VIR_ERR_OPERATION_FAILED)
        p2p->failure = *err;
    give_up(p2p);
}

static uint64_t destination_flags(const struct vq_p2p *p2p)
{
    uint64_t only_here = VIR_MIGRATE_ABORT_ON_ERROR | VIR_MIGRATE_AUTO_CONVERGE;

    if (!p2p->wants_protection)
        only_here |= VIR_MIGRATE_CHANGE_PROTECTION;
    return p2p->options.flags & ~only_here;
}

static void finish(struct vq_p2p *p2p, bool is_cancelled)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(LIST_MEMORY_MAX);
    struct vq_migrate_options *options = &p2p->options;
    vq_peer_cb cb = is_cancelled ? cancelled : finished;
    struct vq_remote_domain_migrate_finish3_params_args by_params = {
        .n_cookie_in = is_cancelled ? 0 : p2p->cookie_length,
        .cookie_in = p2p->cookie,
        .flags = (uint32_t)destination_flags(p2p),
        .cancelled = is_cancelled,
    };
    const struct vq_remote_domain_migrate_finish3_args positional = {
        .dname = options->dname == NULL ? p2p->name : options->dname,
        .n_cookie_in = by_params.n_cookie_in,
        .cookie_in = p2p->cookie,
        .dconnuri = p2p->dconnuri,
        .uri = is_tunnelled(p2p) ? NULL : options->uri,
        .flags = destination_flags(p2p),
        .cancelled = is_cancelled,
    };

    p2p->step = VQ_P2P_THERE;
    p2p->was_finish_asked = true;
    if (is_tunnelled(p2p))
        vq_set_text(&options->uri, NULL); /* our own business */
    if (options->dname == NULL)
        options->dname = vq_strdup(p2p->name);
    by_params.params = vq_migrate_options_list(options, arena, &by_params.n_params);
    if (p2p->has_params)
        p2p->peer->class->call(p2p->peer, VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_MIGRATE_FINISH3_PARAMS, &by_params,
                               call_ms(p2p), cb, p2p);
    else
        p2p->peer->class->call(p2p->peer, VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_MIGRATE_FINISH3, &positional,
                               call_ms(p2p), cb, p2p);
}

/* ---- perform ----------------------------------------------------------------------------------------------------- */

/* The destination has prepared, and it will not be used. A lost one clears away by itself. */
static void cancel_there(struct vq_p2p *p2p, const struct vq_error *err)
{
    set_failure(p2p, err);
    if (p2p->peer == NULL || p2p->is_lost)
        give_up(p2p);
    else
        finish(p2p, true);
}

/* All was sent, and the destination has it as far as the connection can tell. */
static void all_sent(struct vq_p2p *p2p)
{
    struct vq_error lost = VQ_ERROR_INIT;

    if (p2p->peer == NULL || p2p->is_lost) {
        (void)vq_error_set(&lost, VIR_ERR_OPERATION_FAILED, "Lost connection to destination host");
        finish_failed(p2p, &lost);
    } else {
        finish(p2p, false);
    }
}

static void performed(const uint8_t *cookie, uint32_t length, const struct vq_error *err, void *data)
{
    struct vq_p2p *p2p = data;

    p2p->has_performed = err == NULL;
    if (err != NULL) {
        vq_tunnel_out_free(vq_take(p2p->tunnel));
        cancel_there(p2p, err);
        return;
    }
    keep_cookie(p2p, cookie, length);
    p2p->waits_for_tunnel = p2p->tunnel != NULL && !p2p->has_tunnel_ended;
    if (p2p->waits_for_tunnel)
        vq_tunnel_out_sent(p2p->tunnel);
    else
        all_sent(p2p);
}

static void perform(struct vq_p2p *p2p)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (VQ_FAILPOINT("qemu.migrate.p2p.perform")) {
        (void)vq_error_set(&err, VIR_ERR_INTERNAL_ERROR, "failure point qemu.migrate.p2p.perform");
        cancel_there(p2p, &err);
        return;
    }
    p2p->step = VQ_P2P_HERE;
    if (is_offline(p2p))
        performed(NULL, 0, NULL, p2p);
    else
        vq_migrate_out_perform(p2p->request, &p2p->options, p2p->cookie, p2p->cookie_length, performed, p2p);
}

/* ---- The tunnel -------------------------------------------------------------------------------------------------- */

/* Nothing goes through any more while QEMU still sends. */
static void stop_sending(struct vq_p2p *p2p, const struct vq_error *why)
{
    struct vq_qemu_guest *guest = guest_of(p2p);

    if (guest != NULL && vq_migrate_is_leaving(guest))
        vq_leaving_give_up(guest, why);
}

static void tunnel_over(const struct vq_error *err, void *data)
{
    struct vq_p2p *p2p = data;

    p2p->has_tunnel_ended = err == NULL;
    if (!p2p->waits_for_tunnel) {
        if (err != NULL)
            stop_sending(p2p, err);
        return;
    }
    p2p->waits_for_tunnel = false;
    if (err != NULL)
        cancel_there(p2p, err);
    else
        all_sent(p2p);
}

static void tunnel_writable(struct vq_peer *peer, void *data)
{
    struct vq_p2p *p2p = data;

    (void)peer;
    if (p2p->tunnel != NULL)
        vq_tunnel_out_writable(p2p->tunnel);
}

static void tunnel_failed(struct vq_peer *peer, const struct vq_error *err, void *data)
{
    (void)peer;
    stop_sending(data, err);
}

/* The data's URI is a socket of ours, where migrate_out_connect.c connects QEMU. */
static int open_tunnel(struct vq_p2p *p2p, struct vq_error *err)
{
    const struct vq_qemu_guest *guest = guest_of(p2p);

    if (guest == NULL || guest->dir == NULL)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "domain is not running");
    VQ_AUTOFREE char *path = vq_asprintf("%s/tunnel.sock", guest->dir);
    p2p->peer->stream_writable = tunnel_writable;
    p2p->peer->stream_failed = tunnel_failed;
    free(p2p->options.uri);
    p2p->options.uri = vq_asprintf("unix:%s", path);
    return vq_tunnel_out_new(p2p->qemu->host->loop, path, p2p->peer, tunnel_over, p2p, &p2p->tunnel, err);
}

/* ---- prepare ----------------------------------------------------------------------------------------------------- */

/* What the answer of any of the four forms has. */
struct prepared {
    const uint8_t *cookie;
    uint32_t cookie_length;
    const char *uri;
};

static struct prepared read_prepared(const struct vq_p2p *p2p, const void *ret)
{
    const struct vq_remote_domain_migrate_prepare3_params_ret *by_params = ret;
    const struct vq_remote_domain_migrate_prepare3_ret *positional = ret;
    const struct vq_remote_domain_migrate_prepare_tunnel3_params_ret *tunnel_by_params = ret;
    const struct vq_remote_domain_migrate_prepare_tunnel3_ret *tunnel = ret;

    if (is_tunnelled(p2p) && p2p->has_params)
        return (struct prepared){tunnel_by_params->cookie_out, tunnel_by_params->n_cookie_out, NULL};
    if (is_tunnelled(p2p))
        return (struct prepared){tunnel->cookie_out, tunnel->n_cookie_out, NULL};
    if (p2p->has_params)
        return (struct prepared){by_params->cookie_out, by_params->n_cookie_out, by_params->uri_out};
    return (struct prepared){positional->cookie_out, positional->n_cookie_out, positional->uri_out};
}

static void prepared(const void *ret, const struct vq_error *err, void *data)
{
    struct vq_p2p *p2p = data;
    struct vq_error failure = VQ_ERROR_INIT;

    if (err != NULL) {
        set_failure(p2p, err);
        give_up(p2p);
        return;
    }
    const struct prepared there = read_prepared(p2p, ret);
    keep_cookie(p2p, there.cookie, there.cookie_length);
    if (there.uri != NULL)
        vq_set_text(&p2p->options.uri, there.uri);
    if (is_tunnelled(p2p))
        (void)open_tunnel(p2p, &failure);
    else if (p2p->options.uri == NULL && !is_offline(p2p))
        (void)vq_error_set(&failure, VIR_ERR_INTERNAL_ERROR, "domainMigratePrepare3 did not set uri");
    if (failure.code != VIR_ERR_OK)
        cancel_there(p2p, &failure);
    else
        perform(p2p);
}

/* The same arguments, but for those that have no meaning there. */
static void prepare_tunnel(struct vq_p2p *p2p, const struct vq_remote_domain_migrate_prepare3_params_args *by_params,
                           const struct vq_remote_domain_migrate_prepare3_args *positional)
{
    const struct vq_remote_domain_migrate_prepare_tunnel3_params_args tunnel_by_params = {
        .n_params = by_params->n_params,
        .params = by_params->params,
        .n_cookie_in = by_params->n_cookie_in,
        .cookie_in = by_params->cookie_in,
        .flags = by_params->flags,
    };
    const struct vq_remote_domain_migrate_prepare_tunnel3_args tunnel = {
        .n_cookie_in = positional->n_cookie_in,
        .cookie_in = positional->cookie_in,
        .flags = positional->flags,
        .dname = positional->dname,
        .resource = positional->resource,
        .dom_xml = positional->dom_xml,
    };

    if (p2p->has_params)
        p2p->peer->class->call_stream(p2p->peer, VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_MIGRATE_PREPARE_TUNNEL3_PARAMS,
                                      &tunnel_by_params, CALL_MS, prepared, p2p);
    else
        p2p->peer->class->call_stream(p2p->peer, VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_MIGRATE_PREPARE_TUNNEL3, &tunnel,
                                      0, prepared, p2p);
}

static void prepare(struct vq_p2p *p2p)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(LIST_MEMORY_MAX);
    const struct vq_migrate_options *options = &p2p->options;
    struct vq_remote_domain_migrate_prepare3_params_args by_params = {
        .n_cookie_in = p2p->cookie_length,
        .cookie_in = p2p->cookie,
        .flags = (uint32_t)destination_flags(p2p),
    };
    const struct vq_remote_domain_migrate_prepare3_args positional = {
        .n_cookie_in = p2p->cookie_length,
        .cookie_in = p2p->cookie,
        .uri_in = options->uri,
        .flags = destination_flags(p2p),
        .dname = options->dname,
        .resource = options->bandwidth,
        .dom_xml = options->dxml,
    };

    p2p->step = VQ_P2P_THERE;
    by_params.params = vq_migrate_options_list(options, arena, &by_params.n_params);
    if (is_tunnelled(p2p))
        prepare_tunnel(p2p, &by_params, &positional);
    else if (p2p->has_params)
        p2p->peer->class->call(p2p->peer, VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_MIGRATE_PREPARE3_PARAMS, &by_params,
                               call_ms(p2p), prepared, p2p);
    else
        p2p->peer->class->call(p2p->peer, VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_MIGRATE_PREPARE3, &positional,
                               call_ms(p2p), prepared, p2p);
}

/* ---- begin ------------------------------------------------------------------------------------------------------- */

static void begun(const char *xml, const uint8_t *cookie, uint32_t length, const struct vq_error *err, void *data)
{
    struct vq_p2p *p2p = data;
    const struct vq_qemu_guest *guest = guest_of(p2p);
    struct vq_error lost = VQ_ERROR_INIT;

    if (err != NULL) {
        set_failure(p2p, err);
        p2p_over(p2p); /* nothing was begun */
        return;
    }
    vq_set_text(&p2p->options.dxml, xml);
    keep_cookie(p2p, cookie, length);
    if (guest != NULL && guest->state == VIR_DOMAIN_PAUSED)
        p2p->options.flags |= VIR_MIGRATE_PAUSED;
    if (p2p->peer == NULL || p2p->is_lost) {
        (void)vq_error_set(&lost, VIR_ERR_OPERATION_FAILED, "Lost connection to destination host");
        set_failure(p2p, &lost);
        give_up(p2p);
        return;
    }
    prepare(p2p);
}

static void begin(struct vq_p2p *p2p)
{
    p2p->step = VQ_P2P_HERE;
    /* From here on nobody else changes the guest: as for a client that wants that. */
    p2p->options.flags |= VIR_MIGRATE_CHANGE_PROTECTION;
    if (is_offline(p2p))
        vq_migrate_offline_begin(p2p->request, &p2p->options, begun, p2p);
    else
        vq_migrate_out_begin(p2p->request, &p2p->options, begun, p2p);
}

/* ---- What the destination can do --------------------------------------------------------------------------------- */

/* In the order in which the stock daemon asks. */
static const int features[] = {FEATURE_P2P, FEATURE_V3, FEATURE_PARAMS, FEATURE_OFFLINE};

static int check_features(const struct vq_p2p *p2p, struct vq_error *err)
{
    if (!p2p->supported[0])
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED,
                            "destination libvirt does not support peer-to-peer migration protocol");
    if (!p2p->supported[1] && !p2p->supported[2])
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED,
                            "destination libvirt does not support version 3 of the migration protocol");
    if (is_offline(p2p) && !p2p->supported[3])
        return vq_error_set(err, VIR_ERR_ARGUMENT_UNSUPPORTED,
                            "offline migration is not supported by the destination host");
    return 0;
}

static void features_known(struct vq_p2p *p2p)
{
    struct vq_error err = VQ_ERROR_INIT;

    p2p->has_params = p2p->supported[2];
    if (check_features(p2p, &err) < 0) {
        set_failure(p2p, &err);
        p2p_over(p2p);
        return;
    }
    begin(p2p);
}

static void ask_feature(struct vq_p2p *p2p);

static void feature_told(const void *ret, const struct vq_error *err, void *data)
{
    struct vq_p2p *p2p = data;
    const struct vq_remote_connect_supports_feature_ret *feature = ret;

    if (err != NULL) {
        set_failure(p2p, err);
        p2p_over(p2p);
        return;
    }
    p2p->supported[p2p->n_features++] = feature->supported == 1;
    ask_feature(p2p);
}

static void ask_feature(struct vq_p2p *p2p)
{
    static_assert(VQ_N_ELEMENTS(features) == VQ_P2P_FEATURES, "each has its place");
    const unsigned wanted = is_offline(p2p) ? VQ_P2P_FEATURES : VQ_P2P_FEATURES - 1;

    if (p2p->n_features >= wanted) {
        features_known(p2p);
        return;
    }
    const struct vq_remote_connect_supports_feature_args args = {.feature = features[p2p->n_features]};
    p2p->step = VQ_P2P_THERE;
    p2p->peer->class->call(p2p->peer, VQ_PROGRAM_REMOTE, VQ_REMOTE_CONNECT_SUPPORTS_FEATURE, &args, FEATURE_MS,
                           feature_told, p2p);
}

/* ---- Beginning and end ------------------------------------------------------------------------------------------- */

/* What waits for the peer is answered by it; what is done here meanwhile has to be told. Between nodes it goes on: the
 * log and QEMU's own connection say how it ends. */
static void peer_lost(struct vq_peer *peer, const struct vq_error *err, void *data)
{
    struct vq_p2p *p2p = data;
    struct vq_qemu_guest *guest = guest_of(p2p);
    struct vq_error why = VQ_ERROR_INIT;

    vq_log(WARN, "migrate.p2p", "domain=%s to='%s': the connection was lost: %s", p2p->name, peer->name, err->message);
    p2p->is_lost = true;
    if (p2p->node != 0 || p2p->step != VQ_P2P_HERE || guest == NULL || !vq_migrate_is_leaving(guest))
        return;
    (void)vq_error_set(&why, VIR_ERR_OPERATION_FAILED, "Lost connection to destination host");
    vq_leaving_give_up(guest, &why);
}

static void opened(struct vq_peer *take_peer, const struct vq_error *err, void *data)
{
    struct vq_p2p *p2p = data;

    if (take_peer == NULL) {
        (void)vq_error_set(&p2p->failure, VIR_ERR_OPERATION_FAILED, "Failed to connect to remote libvirt URI %s: %s",
                           p2p->dconnuri, err->message);
        p2p_over(p2p);
        return;
    }
    p2p->peer = take_peer;
    p2p->node = take_peer->node;
    take_peer->data = p2p;
    take_peer->lost = peer_lost;
    if (p2p->qemu->stopping) {
        (void)vq_error_set(&p2p->failure, VIR_ERR_OPERATION_ABORTED, "the daemon is stopping");
        p2p_over(p2p);
    } else if (p2p->node != 0 && p2p->node == p2p->qemu->host->node_id) {
        (void)vq_error_set(&p2p->failure, VIR_ERR_OPERATION_INVALID, "Attempt to migrate guest to the same host %s",
                           p2p->qemu->host->node_name);
        p2p_over(p2p);
    } else if (p2p->node != 0) {
        p2p->has_params = true; /* a node can do what this one can */
        p2p->options.flags &= ~(uint64_t)VIR_MIGRATE_TUNNELLED;
        begin(p2p);
    } else {
        ask_feature(p2p);
    }
}

void vq_migrate_p2p(struct vq_request *request, const char *dconnuri, const struct vq_migrate_options *options,
                    vq_migrate_cookie_cb cb, void *data)
{
    struct vq_qemu *qemu = vq_qemu_of(request);
    struct vq_p2p *p2p = vq_new(struct vq_p2p);

    *p2p = (struct vq_p2p){.next = qemu->p2ps,
                           .qemu = qemu,
                           .request = request,
                           .dconnuri = vq_strdup(dconnuri),
                           .name = vq_strdup(request->domain->name),
                           .wants_protection = (options->flags & VIR_MIGRATE_CHANGE_PROTECTION) != 0,
                           .failure = VQ_ERROR_INIT,
                           .cb = cb,
                           .data = data};
    memcpy(p2p->uuid, request->domain->uuid, sizeof(p2p->uuid));
    vq_migrate_options_copy(&p2p->options, options);
    qemu->p2ps = p2p;
    p2p->step = VQ_P2P_OPENING;
    qemu->host->peer_open(dconnuri, request, opened, p2p);
}

void vq_migrate_p2p_stop(struct vq_qemu *qemu)
{
    struct vq_p2p *next;
    struct vq_error err = VQ_ERROR_INIT;

    (void)vq_error_set(&err, VIR_ERR_OPERATION_ABORTED, "the daemon is stopping");
    for (struct vq_p2p *p2p = qemu->p2ps; p2p != NULL; p2p = next) {
        bool waits_for_tunnel = p2p->waits_for_tunnel;
        next = p2p->next;
        p2p->is_lost = true;
        close_peer(p2p); /* a step that waits there fails, and ends all; one that waits here is ended with the guest */
        if (waits_for_tunnel)
            tunnel_over(&err, p2p);
    }
}
