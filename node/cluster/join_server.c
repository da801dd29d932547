/* The member's side of a join: check, take the token, sign.
 *
 *     wait for a request ──► probe the new node's port ──► answer the checks (check_only, or something failed)
 *                                          └──► TokenUse committed ──► signed ──► record committed ──► answer
 */
#define VQ_FROM VIR_FROM_NONE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <gnutls/gnutls.h>

#include "conf/base/buffer.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "node/cluster/certificate.h"
#include "node/cluster/cluster_state.h"
#include "node/cluster/join.h"
#include "node/cluster/level.h"
#include "node/cluster/probe.h"
#include "node/mesh/propose.h"
#include "node/cluster/token.h"
#include "proto/channel.h"
#include "proto/cluster.h"
#include "proto/pki.h"
#include "proto/tls.h"

enum { PROBE_TIMEOUT_MS = 3000, LINGER_MS = 2000, CLASHES_SHOWN = 5, CHECKS_MAX = 8 };

struct stranger {
    struct stranger *next, *prev;
    struct vq_join_server *server; /* NULL: the server has gone; freed by whoever calls back last */
    struct vq_channel *channel;    /* NULL: closed */
    uint64_t deadline_ms;
    bool is_busy;                  /* a request is being served: something will call back */
    Vq__JoinRequest *request;
    Vq__JoinCheck checks[CHECKS_MAX];
    size_t n_checks;
    bool is_refused;               /* by a check */
    Vq__NodeRecord *record;        /* of the new node, once it has an id */
};

struct vq_join_server {
    struct vq_cluster *cluster;
    struct stranger *first;
    size_t n_strangers;
};

struct vq_join_server *vq_join_server_new(struct vq_cluster *cluster)
{
    struct vq_join_server *server = vq_new(struct vq_join_server);

    server->cluster = cluster;
    return server;
}

/* ---- Strangers come and go ---- */

static void clear_request(struct stranger *stranger)
{
    for (size_t i = 0; i < stranger->n_checks; i++)
        free(stranger->checks[i].finding);
    stranger->n_checks = 0;
    stranger->is_refused = false;
    vq__join_request__free_unpacked(vq_take(stranger->request), NULL);
    vq_store_node_free(vq_take(stranger->record));
}

static void stranger_unlink(struct stranger *stranger)
{
    struct vq_join_server *server = vq_take(stranger->server);

    if (server == NULL)
        return;
    *(stranger->prev != NULL ? &stranger->prev->next : &server->first) = stranger->next;
    if (stranger->next != NULL)
        stranger->next->prev = stranger->prev;
    server->n_strangers--;
}

static void stranger_close(struct stranger *stranger)
{
    if (stranger->channel != NULL)
        vq_channel_close(vq_take(stranger->channel), LINGER_MS);
    stranger_unlink(stranger);
    if (stranger->is_busy)
        return;
    clear_request(stranger);
    free(stranger);
}

/* What was waited for has come. False: nobody is there any more, and the stranger is gone. */
static bool come_back(struct stranger *stranger)
{
    stranger->is_busy = false;
    if (stranger->channel != NULL)
        return true;
    stranger_close(stranger);
    return false;
}

static void send_reply(struct stranger *stranger, const Vq__JoinReply *reply)
{
    size_t size = vq__join_reply__get_packed_size(reply);
    VQ_AUTOFREE uint8_t *bytes = vq_calloc(1, size + 4);

    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(size >> (24 - 8 * i));
    (void)vq__join_reply__pack(reply, bytes + 4);
    vq_channel_write(stranger->channel, bytes, size + 4);
}

static void refuse(struct stranger *stranger, const struct vq_error *err)
{
    Vq__JoinReply reply = VQ__JOIN_REPLY__INIT;

    vq_log(WARN, "join.refused", "host='%s': %s", stranger->request == NULL ? "?" : stranger->request->name, err->message);
    reply.code = err->code;
    reply.message = (char *)err->message;
    reply.time_ms = vq_cluster_unix_ms();
    send_reply(stranger, &reply);
    stranger_close(stranger);
}

/* ---- The checks ---- */

static void add_check(struct stranger *stranger, const char *name, bool is_ok, char *take_finding)
{
    Vq__JoinCheck *check = &stranger->checks[stranger->n_checks++];

    vq__join_check__init(check);
    check->name = (char *)name;
    check->ok = is_ok;
    check->finding = take_finding;
    stranger->is_refused = stranger->is_refused || !is_ok;
}

static void check_clock(struct stranger *stranger)
{
    int64_t off = (int64_t)(stranger->request->time_ms - vq_cluster_unix_ms());
    uint64_t distance = (uint64_t)(off < 0 ? -off : off);

    add_check(stranger, "clock", distance <= VQ_JOIN_CLOCK_MS,
              vq_asprintf("%.2f s off %s%s", (double)distance / 1000, stranger->server->cluster->self->node_name,
                          distance <= VQ_JOIN_CLOCK_MS ? "" : ", at most 30 s are allowed: set it by NTP"));
}

static void check_version(struct stranger *stranger, struct vq_store_view *view)
{
    uint32_t needed = vq_level_common(view);
    bool is_ok = stranger->request->feature_level >= needed;

    add_check(stranger, "version", is_ok,
              is_ok ? vq_asprintf("%s, level %u", stranger->request->version, stranger->request->feature_level)
                    : vq_asprintf("%s has level %u, the cluster has %u: upgrade the new host first",
                                  stranger->request->version, stranger->request->feature_level, needed));
}

static enum vq_driver_type driver_type(const char *name)
{
    static const char *const names[] = {[VQ_DRIVER_QEMU] = "qemu", [VQ_DRIVER_LXC] = "lxc", [VQ_DRIVER_XEN] = "xen",
                                        [VQ_DRIVER_TEST] = "test"};

    for (size_t i = 1; i < VQ_N_ELEMENTS(names); i++)
        if (vq_streq(names[i], name))
            return (enum vq_driver_type)i;
    return VQ_DRIVER_NONE;
}

static void check_guests(struct stranger *stranger, struct vq_store_view *view)
{
    const Vq__JoinRequest *request = stranger->request;
    VQ_AUTOBUFFER clashes = VQ_BUFFER_INIT;
    size_t n_clashes = 0;

    for (size_t i = 0; i < request->n_domains; i++) {
        const Vq__LocalDomain *domain = request->domains[i];
        const struct vq_domain_head *taken = vq_store_domain_find_by_name(view, driver_type(domain->driver), domain->name);
        if (taken == NULL && domain->uuid.len == 16)
            taken = vq_store_domain_find(view, domain->uuid.data);
        if (taken == NULL)
            continue;
        if (n_clashes++ < CLASHES_SHOWN)
            vq_buffer_addf(&clashes, "%s'%s' is taken (%s)", n_clashes == 1 ? "" : ", ", domain->name, taken->name);
    }
    if (n_clashes > 0)
        vq_buffer_addf(&clashes, "%s: rename or undefine here", n_clashes > CLASHES_SHOWN ? " and more" : "");
    add_check(stranger, "guests", n_clashes == 0,
              n_clashes == 0 ? vq_asprintf("%zu guests here, no clash", request->n_domains) : vq_buffer_steal(&clashes));
}

static void check_name(struct stranger *stranger, struct vq_store_view *view)
{
    const char *name = stranger->request->name;
    Vq__NodeRecord *taken = vq_node_name_is_valid(name) ? vq_store_node_find_by_name(view, name) : NULL;

    if (!vq_node_name_is_valid(name))
        add_check(stranger, "name", false, vq_strdup("letters, digits and '-' make a name"));
    else if (taken != NULL)
        add_check(stranger, "name", false,
                  vq_asprintf("'%s' is another node: --name NAME here, or there virtquorum remove %s", name, name));
    else
        add_check(stranger, "name", true, vq_strdup(name));
    vq_store_node_free(taken);
}

/* ---- The certificate ---- */

static void send_welcome(struct stranger *stranger, struct vq_store_view *view)
{
    const Vq__LocalNode *self = stranger->server->cluster->self;
    Vq__JoinReply reply = VQ__JOIN_REPLY__INIT;
    Vq__NodeRecord *node;
    uint64_t last = 0;

    reply.node_id = stranger->record->id;
    reply.certificate_pem = stranger->record->certificate_pem;
    reply.authority_pem = self->authority_pem;
    reply.cluster_key = self->cluster_key;
    reply.cluster_id = self->cluster_id;
    reply.cluster_name = self->cluster_name;
    reply.time_ms = vq_cluster_unix_ms();
    while ((node = vq_store_node_next(view, last)) != NULL) {
        last = node->id;
        VQ_GROW(reply.nodes, reply.n_nodes);
        reply.nodes[reply.n_nodes++] = node;
    }
    send_reply(stranger, &reply);
    for (size_t i = 0; i < reply.n_nodes; i++)
        vq_store_node_free(reply.nodes[i]);
    free(reply.nodes);
}

static void record_proposed(enum vq_raft_outcome outcome, const struct vq_result *result, const struct vq_error *err,
                            void *data)
{
    struct stranger *stranger = data;
    struct vq_store_view *view;
    struct vq_error failure = VQ_ERROR_INIT;

    if (!come_back(stranger))
        return;
    if (outcome != VQ_RAFT_APPLIED)
        failure = *err;
    else if (result->code != VIR_ERR_OK)
        vq_error_set_from(&failure, result->from, result->code, "%s", result->message);
    else if (vq_store_view_begin(stranger->server->cluster->daemon->store, &view, &failure) == 0) {
        vq_log(INFO, "join.done", "node=%s id=%llu", stranger->record->name, (unsigned long long)stranger->record->id);
        send_welcome(stranger, view);
        vq_store_view_end(view);
        stranger_close(stranger);
        return;
    }
    refuse(stranger, &failure);
}

static void propose_record(struct stranger *stranger)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__NodePut put = VQ__NODE_PUT__INIT;

    put.node = stranger->record;
    command.change_case = VQ__COMMAND__CHANGE_NODE_PUT;
    command.node_put = &put;
    stranger->is_busy = true;
    vq_propose(stranger->server->cluster->daemon, &command, 0, record_proposed, stranger);
}

static int sign(struct stranger *stranger, struct vq_error *err)
{
    Vq__NodeRecord *record = stranger->record;
    char *certificate = NULL;

    if (vq_certificate_sign(stranger->server->cluster, stranger->request->request_pem, record->id, record->name,
                            record->addresses, record->n_addresses, &certificate, err) < 0)
        return -1;
    if (record->certificate_pem != protobuf_c_empty_string)
        free(record->certificate_pem);
    record->certificate_pem = certificate;
    return 0;
}

/* ---- The token ---- */

static void token_proposed(enum vq_raft_outcome outcome, const struct vq_result *result, const struct vq_error *err,
                           void *data)
{
    struct stranger *stranger = data;
    struct vq_error failure = VQ_ERROR_INIT;

    if (!come_back(stranger))
        return;
    if (outcome != VQ_RAFT_APPLIED) {
        refuse(stranger, err);
    } else if (result->code != VIR_ERR_OK) {
        vq_error_set_from(&failure, result->from, result->code, "%s", result->message);
        refuse(stranger, &failure);
    } else {
        stranger->record->id = result->number;
        if (sign(stranger, &failure) < 0)
            refuse(stranger, &failure);
        else
            propose_record(stranger);
    }
}

static Vq__NodeRecord *new_record(const Vq__JoinRequest *request)
{
    Vq__NodeRecord record = VQ__NODE_RECORD__INIT;

    record.name = request->name;
    record.addresses = request->addresses;
    record.n_addresses = request->n_addresses;
    record.feature_level = request->feature_level;
    record.version = request->version;
    record.cpus = request->cpus;
    record.memory_kib = request->memory_kib;
    record.joined_ms = vq_cluster_unix_ms();
    size_t size = vq__node_record__get_packed_size(&record);
    VQ_AUTOFREE uint8_t *bytes = vq_calloc(1, size + 1);
    return vq__node_record__unpack(NULL, vq__node_record__pack(&record, bytes), bytes);
}

/* The request id is made of the secret and the new node's key: the same host may ask again and gets the same id. */
static void use_token(struct stranger *stranger)
{
    const Vq__JoinRequest *request = stranger->request;
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__TokenUse use = VQ__TOKEN_USE__INIT;
    VQ_AUTOBUFFER both = VQ_BUFFER_INIT;
    uint8_t hash[VQ_TOKEN_HASH_BYTES], request_id[VQ_TOKEN_HASH_BYTES];

    vq_token_hash(request->secret.data, request->secret.len, hash);
    vq_buffer_add_bytes(&both, request->secret.data, request->secret.len);
    vq_buffer_add(&both, request->request_pem);
    vq_token_hash((const uint8_t *)both.data, both.length, request_id);
    stranger->record = new_record(request);
    use.secret_sha256 = (ProtobufCBinaryData){sizeof(hash), hash};
    use.node = stranger->record;
    command.request_id = (ProtobufCBinaryData){16, request_id};
    command.change_case = VQ__COMMAND__CHANGE_TOKEN_USE;
    command.token_use = &use;
    stranger->is_busy = true;
    vq_propose(stranger->server->cluster->daemon, &command, 0, token_proposed, stranger);
}

/* ---- One request ---- */

static void answer_checks(struct stranger *stranger)
{
    Vq__JoinReply reply = VQ__JOIN_REPLY__INIT;
    Vq__JoinCheck *checks[CHECKS_MAX];

    for (size_t i = 0; i < stranger->n_checks; i++)
        checks[i] = &stranger->checks[i];
    reply.checks = checks;
    reply.n_checks = stranger->n_checks;
    reply.cluster_name = stranger->server->cluster->self->cluster_name;
    reply.cluster_id = stranger->server->cluster->self->cluster_id;
    reply.time_ms = vq_cluster_unix_ms();
    reply.code = stranger->is_refused ? VIR_ERR_OPERATION_INVALID : VIR_ERR_OK;
    reply.message = stranger->is_refused ? "not every check has passed" : "";
    send_reply(stranger, &reply);
    clear_request(stranger);
    vq_channel_resume(stranger->channel);
}

static void probed(const struct vq_error *err, void *data)
{
    struct stranger *stranger = data;

    if (!come_back(stranger))
        return;
    const char *address = stranger->request->addresses[0], *own = stranger->server->cluster->self->node_name;
    add_check(stranger, "port", err == NULL,
              err == NULL ? vq_asprintf("%s → us %s", own, address)
                          : vq_asprintf("%s cannot reach %s: %s. Open it (nft add rule inet filter input tcp dport %s "
                                        "accept)", own, address, err->message, strrchr(address, ':') + 1));
    if (stranger->is_refused || stranger->request->check_only)
        answer_checks(stranger);
    else
        use_token(stranger);
}

static int check_token(struct stranger *stranger, struct vq_store_view *view, struct vq_error *err)
{
    static const char *const problems[] = {
        [VQ_TOKEN_UNKNOWN] = "the token is not known to this cluster",
        [VQ_TOKEN_USED] = "the token was used already: make another with virtquorum token",
        [VQ_TOKEN_EXPIRED] = "the token has expired: make another with virtquorum token",
    };
    const Vq__JoinRequest *request = stranger->request;
    uint8_t hash[VQ_TOKEN_HASH_BYTES];

    vq_token_hash(request->secret.data, request->secret.len, hash);
    enum vq_token_state state = vq_store_token_state(view, hash, vq_cluster_unix_ms());
    if (state == VQ_TOKEN_VALID || (state == VQ_TOKEN_USED && !request->check_only))
        return 0; /* used: apply knows whether it was by the same host, whose first attempt was cut short */
    return vq_error_set(err, VIR_ERR_AUTH_FAILED, "%s", problems[state]);
}

static int check_request(const Vq__JoinRequest *request, struct vq_error *err)
{
    VQ_AUTOFREE char *address = NULL;
    uint16_t port;

    if (request->protocol != 1)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "the new host speaks version %u of this protocol", request->protocol);
    if (request->secret.len != VQ_TOKEN_SECRET_BYTES || request->n_addresses == 0 ||
        request->n_addresses > VQ_TOKEN_ADDRESSES_MAX || request->probe.len != VQ_PROBE_BYTES)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "the request to join makes no sense");
    for (size_t i = 0; i < request->n_addresses; i++) {
        free(vq_take(address));
        if (vq_node_address_parse(request->addresses[i], 0, &address, &port, err) < 0)
            return -1;
        if (port == 0 || !vq_streq(address, request->addresses[i]))
            return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' is not an address with a port", request->addresses[i]);
    }
    return 0;
}

static void serve(struct stranger *stranger)
{
    struct vq_daemon *daemon = stranger->server->cluster->daemon;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_store_view *view;

    if (check_request(stranger->request, &err) < 0 || vq_store_view_begin(daemon->store, &view, &err) < 0) {
        refuse(stranger, &err);
        return;
    }
    int rc = check_token(stranger, view, &err);
    if (rc == 0) {
        check_clock(stranger);
        check_version(stranger, view);
        if (stranger->request->check_only) {
            check_name(stranger, view);
            check_guests(stranger, view);
        }
    }
    vq_store_view_end(view);
    if (rc == 0) {
        stranger->is_busy = true;
        rc = vq_probe_start(daemon->loop, stranger->request->addresses[0], stranger->request->probe.data,
                            PROBE_TIMEOUT_MS, probed, stranger, &err);
        stranger->is_busy = rc == 0;
    }
    if (rc < 0)
        refuse(stranger, &err);
}

/* ---- Bytes ---- */

static size_t received(struct vq_channel *channel, const uint8_t *bytes, size_t length, size_t *wanted, void *data)
{
    struct stranger *stranger = data;
    size_t size = 0;

    if (stranger->is_busy || length < 4) {
        *wanted = 4;
        return 0;
    }
    for (unsigned i = 0; i < 4; i++)
        size = size << 8 | bytes[i];
    if (size > VQ_JOIN_MESSAGE_MAX || size == 0) {
        stranger_close(stranger);
        return 0;
    }
    if (length < size + 4) {
        *wanted = size + 4;
        return 0;
    }
    if (vq_cluster_check(&vq__join_request__descriptor, bytes + 4, size, NULL) == 0)
        stranger->request = vq__join_request__unpack(NULL, size, bytes + 4);
    if (stranger->request == NULL) {
        stranger_close(stranger);
        return 0;
    }
    vq_channel_pause(channel);
    serve(stranger); /* may close it */
    return size + 4;
}

static void ended(struct vq_channel *channel, const struct vq_error *err, void *data)
{
    (void)channel;
    (void)err; /* a stranger that goes away is nothing to tell of */
    stranger_close(data);
}

void vq_join_server_accept(struct vq_join_server *server, const struct vq_channel_parts *take_parts)
{
    static const struct vq_channel_callbacks callbacks = {.received = received, .ended = ended};
    static const struct vq_channel_options options = {.input_max_bytes = VQ_JOIN_MESSAGE_MAX + 4,
                                                      .output_max_bytes = 64 * 1024 * 1024};

    if (server->n_strangers >= VQ_JOIN_STRANGERS_MAX) {
        vq_log(WARN, "join.busy", "%d hosts are joining already, one more is refused", VQ_JOIN_STRANGERS_MAX);
        (void)close(take_parts->fd); /* it may come again */
        vq_tls_session_free(take_parts->tls);
        free(take_parts->input);
        return;
    }
    struct stranger *stranger = vq_new(struct stranger);
    stranger->server = server;
    stranger->deadline_ms = uv_now(server->cluster->daemon->loop) + VQ_JOIN_TIMEOUT_MS;
    stranger->next = server->first;
    if (stranger->next != NULL)
        stranger->next->prev = stranger;
    server->first = stranger;
    server->n_strangers++;
    stranger->channel = vq_channel_attach(server->cluster->daemon->loop, take_parts, &options, &callbacks, stranger);
}

void vq_join_server_tick(struct vq_join_server *server)
{
    struct stranger *next;

    for (struct stranger *stranger = server == NULL ? NULL : server->first; stranger != NULL; stranger = next) {
        next = stranger->next;
        if (stranger->deadline_ms <= uv_now(server->cluster->daemon->loop))
            stranger_close(stranger);
    }
}

void vq_join_server_free(struct vq_join_server *server)
{
    if (server == NULL)
        return;
    while (server->first != NULL)
        stranger_close(server->first);
    free(server);
}
