/* The mesh: its members, which connection of two is kept, who is online, and the clock that all deadlines hang on.
 *
 * Of each pair the node with the lower id dials at once, the other one only when he has waited a second in vain (he may
 * know a better address). When both come through, the one that the lower id dialled is kept. */
#define VQ_FROM VIR_FROM_RPC
#include "node/mesh/mesh.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "node/mesh/mesh_internal.h"
#include "proto/channel.h"
#include "proto/dial.h"
#include "proto/tls.h"

enum {
    PING_MS = 1000,
    SILENCE_MS = 3000,
    HANDSHAKE_MS = 5000,
    STRANGERS_MAX = 64,
    BACKOFF_MIN_MS = 100,
    BACKOFF_MAX_MS = 2000,
    HIGHER_WAITS_MS = 1000, /* before the node with the higher id dials */
    OWN_DELAY_MS = 100,     /* when our clock is late by this, silence was ours */
    STRANGER_LOG_MS = 1000, /* strangers' failures fill no log */
};

/* ---- Members ----------------------------------------------------------------------------------------------------- */

struct vq_mesh_known *vq_mesh_find(const struct vq_mesh *mesh, uint64_t node)
{
    for (size_t i = 0; i < mesh->n_known; i++)
        if (mesh->known[i].peer.id == node && node != mesh->options.node_id)
            return &mesh->known[i];
    return NULL;
}

static uint64_t first_dial(const struct vq_mesh *mesh, uint64_t node, uint64_t lower_waits_ms)
{
    return uv_now(mesh->loop) + (mesh->options.node_id < node ? lower_waits_ms : HIGHER_WAITS_MS);
}

static void set_addresses(struct vq_mesh_known *known, const char *const *addresses)
{
    struct vq_error err = VQ_ERROR_INIT;

    known->n_addresses = 0;
    for (size_t i = 0; addresses != NULL && addresses[i] != NULL && known->n_addresses < VQ_MESH_ADDRESSES_MAX; i++) {
        struct vq_mesh_address *address = &known->addresses[known->n_addresses];
        if (vq_address_parse(addresses[i], 0, &address->address, &address->length, &err) == 0)
            known->n_addresses++;
        else
            vq_log(WARN, "mesh.address", "node=%" PRIu64 " name='%s': %s, not used", known->peer.id, known->name,
                   err.message);
    }
}

void vq_mesh_set_members(struct vq_mesh *mesh, const struct vq_mesh_member *members, size_t n_members)
{
    struct vq_mesh_known *table = vq_calloc(n_members, sizeof(*table));

    for (size_t i = 0; i < n_members; i++) {
        const struct vq_mesh_known *before = vq_mesh_find(mesh, members[i].id);
        if (before != NULL)
            table[i] = *before;
        else
            table[i].dial_ms = first_dial(mesh, members[i].id, 0);
        table[i].peer.id = members[i].id;
        if (before == NULL)
            table[i].backoff_ms = BACKOFF_MIN_MS;
        (void)snprintf(table[i].name, sizeof(table[i].name), "%s", members[i].name == NULL ? "" : members[i].name);
        set_addresses(&table[i], members[i].addresses);
    }
    free(mesh->known);
    mesh->known = table;
    mesh->n_known = n_members;
    for (struct vq_mesh_connection *connection = mesh->connections; connection != NULL; connection = connection->next)
        if (connection->node != 0 && vq_mesh_find(mesh, connection->node) == NULL)
            connection->fate = "it is no longer a member";
    vq_mesh_wake(mesh, uv_now(mesh->loop));
}

static uint64_t wall_clock_ms(void)
{
    struct timespec now;

    (void)clock_gettime(CLOCK_REALTIME, &now);
    return (uint64_t)now.tv_sec * 1000 + (uint64_t)now.tv_nsec / 1000000;
}

void vq_mesh_problem(struct vq_mesh *mesh, uint64_t node, const char *problem)
{
    struct vq_mesh_known *known = vq_mesh_find(mesh, node);

    if (known != NULL) {
        if (strncmp(known->problem, problem, sizeof(known->problem) - 1) == 0)
            return;
        (void)snprintf(known->problem, sizeof(known->problem), "%s", problem);
    } else {
        if (mesh->stranger_logged_ms != 0 && uv_now(mesh->loop) - mesh->stranger_logged_ms < STRANGER_LOG_MS)
            return;
        mesh->stranger_logged_ms = uv_now(mesh->loop);
    }
    vq_log(WARN, "mesh.connection", "node=%" PRIu64 " name='%s': %s, trying again", node,
           known == NULL ? "" : known->name, problem);
}

/* For people's screens: control characters of a peer do not get there. */
static void make_printable(char *text)
{
    for (; *text != '\0'; text++)
        if ((unsigned char)*text < ' ' || *text == 0x7f)
            *text = ' ';
}

void vq_mesh_hear_of_consensus(struct vq_mesh_peer *peer, bool is_stopped, const char *problem)
{
    if (is_stopped && !peer->consensus_is_stopped)
        peer->consensus_stopped_since_unix_ms = wall_clock_ms();
    peer->consensus_is_stopped = is_stopped;
    (void)snprintf(peer->consensus_problem, sizeof(peer->consensus_problem), "%s", problem);
    make_printable(peer->consensus_problem);
}

void vq_mesh_hear_of_certificate(struct vq_mesh_peer *peer, const char *problem)
{
    (void)snprintf(peer->certificate_problem, sizeof(peer->certificate_problem), "%s", problem);
    make_printable(peer->certificate_problem);
}

void vq_mesh_went_online(struct vq_mesh *mesh, struct vq_mesh_connection *connection, const Vq__Hello *hello)
{
    struct vq_mesh_known *known = vq_mesh_find(mesh, connection->node);

    assert(known != NULL && known->online == NULL);
    known->online = connection;
    known->backoff_ms = BACKOFF_MIN_MS;
    known->problem[0] = '\0';
    known->peer.is_online = true;
    known->peer.since_unix_ms = wall_clock_ms();
    known->peer.boot = hello->boot;
    known->peer.feature_level = hello->feature_level;
    known->peer.applied = hello->applied;
    vq_mesh_hear_of_consensus(&known->peer, hello->consensus_stopped, hello->consensus_problem);
    (void)snprintf(known->peer.version, sizeof(known->peer.version), "%s", hello->version);
    vq_log(INFO, "mesh.online", "node=%" PRIu64 " name='%s' version=%s", connection->node, known->name,
           known->peer.version);
    vq_mesh_connection_ping(connection);
    vq_mesh_wake(mesh, uv_now(mesh->loop) + mesh->options.ping_ms);
    mesh->callbacks.online(connection->node, mesh->data);
}

void vq_mesh_went_offline(struct vq_mesh *mesh, uint64_t node, const char *reason)
{
    struct vq_mesh_known *known = vq_mesh_find(mesh, node);
    uint64_t since_ms = wall_clock_ms();

    if (known != NULL) {
        known->online = NULL;
        known->dial_ms = first_dial(mesh, node, BACKOFF_MIN_MS);
        known->peer.is_online = false;
        known->peer.since_unix_ms = since_ms;
        known->peer.round_trip_us = 0;
    }
    vq_log(WARN, "mesh.offline", "node=%" PRIu64 " name='%s': %s, trying again", node, known == NULL ? "" : known->name,
           reason);
    mesh->callbacks.offline(node, since_ms, reason, mesh->data);
}

/* ---- Which connection is kept ------------------------------------------------------------------------------------ */

static uint64_t dialler(const struct vq_mesh *mesh, const struct vq_mesh_connection *connection)
{
    return connection->is_outgoing ? mesh->options.node_id : connection->node;
}

/* Is the other connection to the same node better than the one that has greeted now? */
static bool is_better(const struct vq_mesh *mesh, const struct vq_mesh_connection *other,
                      const struct vq_mesh_connection *connection)
{
    if (connection->is_outgoing) /* its answer says that the other side has decided for it */
        return false;
    if (other->state == VQ_MESH_ONLINE)
        return other->boot == connection->boot && dialler(mesh, other) < dialler(mesh, connection);
    /* Ours has shaken hands and waits for the same decision on the other side. */
    return other->is_outgoing && other->state == VQ_MESH_GREETING && mesh->options.node_id < connection->node;
}

static struct vq_mesh_connection *find_other(const struct vq_mesh *mesh, const struct vq_mesh_connection *connection)
{
    struct vq_mesh_connection *other = mesh->connections;

    while (other != NULL && (other == connection || other->node != connection->node))
        other = other->next;
    return other;
}

bool vq_mesh_admit(struct vq_mesh *mesh, struct vq_mesh_connection *connection)
{
    struct vq_mesh_connection *other;

    for (other = mesh->connections; other != NULL; other = other->next)
        if (other != connection && other->node == connection->node && is_better(mesh, other, connection))
            return false;
    while (!connection->is_closed && (other = find_other(mesh, connection)) != NULL)
        vq_mesh_connection_close(other, other->state != VQ_MESH_ONLINE    ? NULL
                                        : other->boot == connection->boot ? "it has connected anew"
                                                                          : "it was started anew");
    return true;
}

/* ---- The clock --------------------------------------------------------------------------------------------------- */

static void clock_cb(uv_timer_t *timer);

void vq_mesh_wake(struct vq_mesh *mesh, uint64_t when_ms)
{
    uint64_t now = uv_now(mesh->loop);

    if (mesh->is_stopped || when_ms >= mesh->clock_ms)
        return;
    mesh->clock_ms = when_ms > now ? when_ms : now;
    (void)uv_timer_start(&mesh->clock, clock_cb, mesh->clock_ms - now, 0);
}

/* While we did not run, nobody could be heard. */
static void forgive_own_delay(struct vq_mesh *mesh, uint64_t delay_ms)
{
    if (delay_ms < OWN_DELAY_MS)
        return;
    for (struct vq_mesh_connection *connection = mesh->connections; connection != NULL; connection = connection->next) {
        connection->heard_ms += delay_ms;
        connection->deadline_ms += delay_ms;
    }
}

/* Why the connection must be closed now; NULL: it need not. Lowers *next to when to ask again. */
static const char *check_connection(struct vq_mesh *mesh, struct vq_mesh_connection *connection, uint64_t now,
                                    uint64_t *next)
{
    uint64_t due = UINT64_MAX;

    if (connection->fate != NULL)
        return connection->fate;
    if (connection->state == VQ_MESH_GREETING) {
        if (now >= connection->deadline_ms)
            return "it does not greet";
        due = connection->deadline_ms;
    } else if (connection->state == VQ_MESH_ONLINE) {
        if (now >= connection->heard_ms + mesh->options.silence_ms)
            return "it is silent";
        if (now >= connection->pinged_ms + mesh->options.ping_ms)
            vq_mesh_connection_ping(connection);
        due = connection->pinged_ms + mesh->options.ping_ms;
        if (connection->heard_ms + mesh->options.silence_ms < due)
            due = connection->heard_ms + mesh->options.silence_ms;
    }
    if (due < *next)
        *next = due;
    return NULL;
}

static uint64_t connections_turn(struct vq_mesh *mesh, uint64_t now)
{
    struct vq_mesh_connection *connection = mesh->connections;
    uint64_t next = UINT64_MAX;

    while (connection != NULL) {
        const char *reason = check_connection(mesh, connection, now, &next);
        if (reason != NULL)
            vq_mesh_connection_close(connection, reason);
        /* What its callbacks did to the list is not known: from the start. Each round closes one. */
        connection = reason != NULL ? mesh->connections : connection->next;
    }
    return next;
}

static bool is_dialling(const struct vq_mesh *mesh, uint64_t node)
{
    const struct vq_mesh_connection *connection = mesh->connections;

    while (connection != NULL && (connection->node != node || !connection->is_outgoing))
        connection = connection->next;
    return connection != NULL;
}

static uint64_t members_turn(struct vq_mesh *mesh, uint64_t now)
{
    uint64_t next = UINT64_MAX;

    for (size_t i = 0; i < mesh->n_known; i++) {
        struct vq_mesh_known *known = &mesh->known[i];
        if (known->peer.id == mesh->options.node_id || known->online != NULL || known->n_addresses == 0 ||
            is_dialling(mesh, known->peer.id))
            continue;
        if (now >= known->dial_ms) {
            known->dial_ms = now + known->backoff_ms;
            known->backoff_ms = known->backoff_ms * 2 > BACKOFF_MAX_MS ? BACKOFF_MAX_MS : known->backoff_ms * 2;
            vq_mesh_connection_dial(mesh, known); /* its end wakes the clock */
        } else if (known->dial_ms < next) {
            next = known->dial_ms;
        }
    }
    return next;
}

static void clock_cb(uv_timer_t *timer)
{
    struct vq_mesh *mesh = timer->data;
    uint64_t now = uv_now(mesh->loop);
    uint64_t due = mesh->clock_ms;

    mesh->clock_ms = UINT64_MAX;
    forgive_own_delay(mesh, now - due);
    uint64_t next_listener = vq_mesh_listeners_turn(mesh, now);
    uint64_t next_connection = connections_turn(mesh, now);
    uint64_t next_member = mesh->is_stopped ? UINT64_MAX : members_turn(mesh, now);
    uint64_t next = next_listener < next_connection ? next_listener : next_connection;
    next = next_member < next ? next_member : next;
    if (next != UINT64_MAX)
        vq_mesh_wake(mesh, next);
}

/* ---- Start and stop ---------------------------------------------------------------------------------------------- */

static void mesh_free(struct vq_mesh *mesh)
{
    for (size_t i = 0; i < mesh->n_listeners; i++)
        free(mesh->listeners[i].text);
    free(mesh->listeners);
    free(mesh->known);
    free((char *)(uintptr_t)mesh->options.node_name);
    free((char *)(uintptr_t)mesh->options.version);
    vq_tls_credentials_free(mesh->options.credentials);
    free(mesh);
}

void vq_mesh_handle_closed(uv_handle_t *handle)
{
    struct vq_mesh *mesh = handle->data;

    if (--mesh->n_handles == 0)
        mesh_free(mesh);
}

static void set_defaults(struct vq_mesh_options *options)
{
    options->ping_ms = options->ping_ms == 0 ? PING_MS : options->ping_ms;
    options->silence_ms = options->silence_ms == 0 ? SILENCE_MS : options->silence_ms;
    options->handshake_ms = options->handshake_ms == 0 ? HANDSHAKE_MS : options->handshake_ms;
    options->strangers_max = options->strangers_max == 0 ? STRANGERS_MAX : options->strangers_max;
}

int vq_mesh_start(uv_loop_t *loop, const struct vq_mesh_options *options, const struct vq_mesh_callbacks *callbacks,
                  void *data, struct vq_mesh **ret, struct vq_error *err)
{
    assert(options->node_id != 0 && options->credentials != NULL);
    assert(callbacks->message != NULL && callbacks->online != NULL && callbacks->offline != NULL);
    struct vq_mesh *mesh = vq_new(struct vq_mesh);
    mesh->loop = loop;
    mesh->options = *options;
    set_defaults(&mesh->options);
    mesh->options.node_name = vq_strdup(options->node_name);
    mesh->options.version = vq_strdup(options->version);
    mesh->options.credentials = vq_tls_credentials_ref(options->credentials);
    memcpy(mesh->cluster_id, options->cluster_id, sizeof(mesh->cluster_id));
    mesh->options.cluster_id = mesh->cluster_id;
    mesh->callbacks = *callbacks;
    mesh->data = data;
    mesh->clock_ms = UINT64_MAX;
    int rc = vq_mesh_listeners_make(mesh, err);
    mesh->options.listen = NULL; /* the listeners have copies */
    if (rc < 0) {
        mesh_free(mesh);
        return -1;
    }
    (void)uv_timer_init(loop, &mesh->clock);
    mesh->clock.data = mesh;
    mesh->n_handles = 1;
    vq_mesh_wake(mesh, uv_now(loop));
    *ret = mesh;
    return 0;
}

void vq_mesh_stop(struct vq_mesh *mesh)
{
    if (mesh == NULL)
        return;
    assert(!mesh->is_stopped);
    mesh->is_stopped = true;
    vq_mesh_listeners_close(mesh);
    while (mesh->connections != NULL)
        vq_mesh_connection_close(mesh->connections, NULL);
    uv_close((uv_handle_t *)&mesh->clock, vq_mesh_handle_closed);
}

void vq_mesh_set_credentials(struct vq_mesh *mesh, struct vq_tls_credentials *credentials)
{
    struct vq_tls_credentials *old = mesh->options.credentials;

    mesh->options.credentials = vq_tls_credentials_ref(credentials);
    vq_tls_credentials_free(old);
}

/* ---- What others ask --------------------------------------------------------------------------------------------- */

bool vq_mesh_send(struct vq_mesh *mesh, uint64_t node, const Vq__Mesh *message)
{
    const struct vq_mesh_known *known = vq_mesh_find(mesh, node);

    return known != NULL && known->online != NULL && vq_mesh_connection_send(known->online, message);
}

size_t vq_mesh_queued(const struct vq_mesh *mesh, uint64_t node)
{
    const struct vq_mesh_known *known = vq_mesh_find(mesh, node);

    return known == NULL || known->online == NULL ? 0 : vq_channel_queued(known->online->channel);
}

bool vq_mesh_find_peer(const struct vq_mesh *mesh, uint64_t node, struct vq_mesh_peer *ret_peer)
{
    const struct vq_mesh_known *known = vq_mesh_find(mesh, node);

    if (known == NULL)
        return false;
    *ret_peer = known->peer;
    return true;
}
