/* The new node's side of a join.
 *
 *     dial a member ──► checks ──► (dry run: done) ──► ask ──► signed ──► move over ──► wait to be taken in ──► done
 *
 * Nothing of this node is changed before "move over"; every failure before it leaves the node as it was. The key shown
 * to the member is recorded before it is sent, so that asking again with the same token gives the same node. */
#define VQ_FROM VIR_FROM_NONE
#include "node/cluster/join.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/base/failpoint.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "node/cluster/cluster_state.h"
#include "node/cluster/probe.h"
#include "node/cluster/token.h"
#include "proto/channel.h"
#include "proto/cluster.h"
#include "proto/pki.h"
#include "proto/tls.h"

static const char join_key[] = "join";

enum {
    CONNECT_MS = 4000,
    ANSWER_MS = 20000,
    TAKEN_IN_MS = 10000, /* until the leader has added the node; it is a member in any case */
    POLL_MS = 50,
};
enum { EXIT_FAILED = 1, EXIT_USAGE = 2, EXIT_NO_QUORUM = 4, EXIT_UNREACHABLE = 5, EXIT_DENIED = 6, EXIT_CONFLICT = 7 };

enum join_phase { DIALLING, CHECKING, ASKING, MOVING, WAITING };

struct vq_join {
    struct vq_cluster *cluster;
    struct vq_join_callbacks callbacks;
    void *data;
    bool is_forgotten;       /* nobody listens any more */
    bool is_over;            /* waits for its handles only */
    bool is_dry_run;
    enum join_phase phase;
    Vq__JoinToken *token;
    size_t next_address;     /* of the token */
    struct vq_error last_error;
    char *node_name, *advertise, *address; /* advertise: as wished, "" at first; address: with its port */
    uint16_t port;
    char *key_pem, *request_pem;
    bool is_repeated;        /* an earlier join with this token got as far as asking */
    uint8_t number[VQ_PROBE_BYTES];
    struct vq_probe_port *probe_port;
    Vq__LocalNode *to;

    int fd;                  /* while connecting */
    uv_poll_t poll;
    bool is_polling;
    struct vq_channel *channel;
    uv_timer_t timer;
    uint64_t give_up_ms;
    unsigned open_handles;
};

/* ---- The end ---- */

static void handle_closed(uv_handle_t *handle)
{
    struct vq_join *join = handle->data;

    if (--join->open_handles > 0)
        return;
    vq__join_token__free_unpacked(join->token, NULL);
    vq_identity_free(join->to);
    free(join->node_name);
    free(join->advertise);
    free(join->address);
    free(join->key_pem);
    free(join->request_pem);
    free(join);
}

static void poll_closed(uv_handle_t *handle)
{
    struct vq_join *join = handle->data;

    (void)close(join->fd); /* the connection is over, or the channel has a copy */
    join->fd = -1;
    handle_closed(handle);
}

/* The connection, whatever state it is in. */
static void hang_up(struct vq_join *join)
{
    if (join->channel != NULL)
        vq_channel_close(vq_take(join->channel), 0);
    if (join->is_polling) {
        join->is_polling = false;
        uv_close((uv_handle_t *)&join->poll, poll_closed);
    }
}

static void join_over(struct vq_join *join, const char *text, const struct vq_error *err, int exit_code)
{
    if (join->is_over)
        return;
    join->is_over = true;
    hang_up(join);
    vq_probe_close(vq_take(join->probe_port));
    join->cluster->is_joining = false;
    if (err != NULL)
        vq_log(WARN, "join.failed", "%s", err->message);
    if (!join->is_forgotten)
        join->callbacks.done(text, err, exit_code, join->data);
    uv_close((uv_handle_t *)&join->timer, handle_closed);
}

static void join_failed(struct vq_join *join, const struct vq_error *err, int exit_code)
{
    join_over(join, "", err, exit_code);
}

void vq_join_forget(struct vq_join *join)
{
    join->is_forgotten = true;
    if (join->phase < ASKING) { /* later it goes on: the cluster may count on this node already */
        struct vq_error err = VQ_ERROR_INIT;
        vq_error_set(&err, VIR_ERR_OPERATION_ABORTED, "nobody waits for it any more");
        join_failed(join, &err, EXIT_FAILED);
    }
}

static void progress(struct vq_join *join, const char *text)
{
    if (!join->is_forgotten)
        join->callbacks.progress(text, join->data);
}

static void timer_fired(uv_timer_t *timer);

static void expect_within(struct vq_join *join, uint64_t ms)
{
    join->give_up_ms = uv_now(join->cluster->daemon->loop) + ms;
    (void)uv_timer_start(&join->timer, timer_fired, POLL_MS, POLL_MS); /* fails only without a callback */
}

/* ---- Requests ---- */

static int read_own_domains(const struct vq_daemon *daemon, Vq__JoinRequest *request, struct vq_error *err)
{
    struct vq_store_view *view;
    struct vq_store_cursor *cursor = NULL;
    const struct vq_domain_head *head;

    if (vq_store_view_begin(daemon->store, &view, err) < 0)
        return -1;
    while ((head = vq_store_domain_next(view, &cursor)) != NULL) {
        struct vq_driver *driver = vq_daemon_driver_by_type(daemon, head->driver);
        Vq__LocalDomain *domain = vq_new(Vq__LocalDomain);
        vq__local_domain__init(domain);
        domain->uuid = (ProtobufCBinaryData){16, vq_memdup(head->uuid, 16)};
        domain->name = vq_strdup(head->name);
        domain->driver = vq_strdup(driver == NULL ? "qemu" : driver->name);
        VQ_GROW(request->domains, request->n_domains);
        request->domains[request->n_domains++] = domain;
    }
    vq_store_view_end(view);
    return 0;
}

static void send_request(struct vq_join *join, bool is_check, const Vq__JoinRequest *domains)
{
    Vq__LocalNode self = VQ__LOCAL_NODE__INIT;
    Vq__JoinRequest request = VQ__JOIN_REQUEST__INIT;

    self.node_id = 1; /* for the capacity only */
    self.node_name = join->node_name;
    Vq__NodeRecord *record = vq_cluster_own_record(join->cluster->daemon, &self);
    request.protocol = 1;
    request.secret = join->token->secret;
    request.name = join->node_name;
    request.addresses = &join->address;
    request.n_addresses = 1;
    request.request_pem = is_check ? "" : join->request_pem;
    request.version = record->version;
    request.feature_level = record->feature_level;
    request.cpus = record->cpus;
    request.memory_kib = record->memory_kib;
    request.time_ms = vq_cluster_unix_ms();
    request.check_only = is_check;
    request.probe = (ProtobufCBinaryData){sizeof(join->number), join->number};
    request.domains = domains == NULL ? NULL : domains->domains;
    request.n_domains = domains == NULL ? 0 : domains->n_domains;
    size_t size = vq__join_request__get_packed_size(&request);
    VQ_AUTOFREE uint8_t *bytes = vq_calloc(1, size + 4);
    for (unsigned i = 0; i < 4; i++)
        bytes[i] = (uint8_t)(size >> (24 - 8 * i));
    (void)vq__join_request__pack(&request, bytes + 4);
    vq_store_node_free(record);
    vq_channel_write(join->channel, bytes, size + 4);
    expect_within(join, ANSWER_MS);
}

static void send_check(struct vq_join *join)
{
    Vq__JoinRequest domains = VQ__JOIN_REQUEST__INIT;
    struct vq_error err = VQ_ERROR_INIT;

    join->phase = CHECKING;
    if (read_own_domains(join->cluster->daemon, &domains, &err) < 0)
        join_failed(join, &err, EXIT_FAILED);
    else
        send_request(join, true, &domains);
    for (size_t i = 0; i < domains.n_domains; i++)
        vq__local_domain__free_unpacked(domains.domains[i], NULL);
    free(domains.domains);
}

/* ---- The key, kept until the join is over ---- */

static int make_key(struct vq_join *join, struct vq_error *err)
{
    if (vq_pki_key_new(&join->key_pem, err) < 0)
        return -1;
    return vq_pki_request_new(join->key_pem, join->node_name, &join->request_pem, err);
}

static int save_key(struct vq_join *join, struct vq_error *err)
{
    Vq__LocalJoin record = VQ__LOCAL_JOIN__INIT;
    uint8_t hash[VQ_TOKEN_HASH_BYTES];

    vq_token_hash(join->token->secret.data, join->token->secret.len, hash);
    record.secret_sha256 = (ProtobufCBinaryData){sizeof(hash), hash};
    record.key_pem = join->key_pem;
    record.request_pem = join->request_pem;
    size_t size = vq__local_join__get_packed_size(&record);
    VQ_AUTOFREE uint8_t *bytes = vq_calloc(1, size + 1);
    (void)vq__local_join__pack(&record, bytes);
    return vq_local_put(join->cluster->daemon->local, VQ_CLUSTER_TABLE, join_key, strlen(join_key), bytes, size, true, err);
}

static int load_key(struct vq_join *join, struct vq_error *err)
{
    uint8_t hash[VQ_TOKEN_HASH_BYTES];
    VQ_AUTOFREE void *bytes = NULL;
    size_t length;
    int found = vq_local_get(join->cluster->daemon->local, VQ_CLUSTER_TABLE, join_key, strlen(join_key), &bytes, &length, err);

    if (found <= 0)
        return found;
    vq_token_hash(join->token->secret.data, join->token->secret.len, hash);
    Vq__LocalJoin *record = vq__local_join__unpack(NULL, length, bytes);
    join->is_repeated = record != NULL && record->secret_sha256.len == sizeof(hash) &&
                        memcmp(record->secret_sha256.data, hash, sizeof(hash)) == 0;
    if (join->is_repeated) {
        join->key_pem = vq_strdup(record->key_pem);
        join->request_pem = vq_strdup(record->request_pem);
    }
    vq__local_join__free_unpacked(record, NULL);
    return 0;
}

static void drop_key(struct vq_join *join)
{
    struct vq_error ignored = VQ_ERROR_INIT;

    if (vq_local_delete(join->cluster->daemon->local, VQ_CLUSTER_TABLE, join_key, strlen(join_key), &ignored) < 0)
        vq_log(WARN, "join.record", "%s; it is looked at for the same token only", ignored.message);
}

static void send_ask(struct vq_join *join)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (!join->is_repeated && (make_key(join, &err) < 0 || save_key(join, &err) < 0)) {
        join_failed(join, &err, EXIT_FAILED);
        return;
    }
    (void)VQ_FAILPOINT("join.recorded");
    join->phase = ASKING;
    send_request(join, false, NULL);
}

/* ---- Answers ---- */

static int exit_code_of(int code)
{
    switch (code) {
    case VIR_ERR_AUTH_FAILED:
        return EXIT_DENIED;
    case VIR_ERR_OPERATION_INVALID:
        return EXIT_NO_QUORUM; /* of the cluster: what checks refuse is dealt with before */
    case VIR_ERR_OPERATION_FAILED:
        return EXIT_CONFLICT;
    default:
        return EXIT_FAILED;
    }
}

static void show_checks(struct vq_join *join, const Vq__JoinReply *reply)
{
    for (size_t i = 0; i < reply->n_checks && !join->is_forgotten; i++)
        join->callbacks.check(reply->checks[i], join->data);
}

/* True: go on. */
static bool take_refusal(struct vq_join *join, const Vq__JoinReply *reply)
{
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOFREE char *failed = NULL;

    show_checks(join, reply);
    if (reply->code == VIR_ERR_OK)
        return true;
    for (size_t i = 0; i < reply->n_checks && failed == NULL; i++)
        if (!reply->checks[i]->ok)
            failed = vq_asprintf("%s: %s", reply->checks[i]->name, reply->checks[i]->finding);
    vq_error_set(&err, reply->code, failed != NULL ? "%s and run the same command again. Nothing was changed"
                                                   : "%s. Nothing was changed", failed != NULL ? failed : reply->message);
    join_failed(join, &err, failed != NULL ? EXIT_CONFLICT : exit_code_of(reply->code));
    return false;
}

static void checked(struct vq_join *join, const Vq__JoinReply *reply)
{
    VQ_AUTOFREE char *text = NULL;

    if (!take_refusal(join, reply))
        return;
    if (join->is_dry_run) {
        text = vq_asprintf("this host could join cluster %s as %s; nothing was changed", reply->cluster_name, join->node_name);
        join_over(join, text, NULL, 0);
        return;
    }
    send_ask(join);
}

static int read_welcome(struct vq_join *join, const Vq__JoinReply *reply, struct vq_error *err)
{
    Vq__LocalNode to = VQ__LOCAL_NODE__INIT;
    struct vq_tls_credentials *credentials;
    uint8_t fingerprint[32];

    if (reply->node_id == 0 || reply->cluster_id.len != 16 || reply->cluster_key.len != 32)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "the answer of the cluster makes no sense");
    if (vq_pki_fingerprint(reply->authority_pem, fingerprint, err) < 0)
        return -1;
    if (memcmp(fingerprint, join->token->authority_sha256.data, sizeof(fingerprint)) != 0)
        return vq_error_set(err, VIR_ERR_AUTH_FAILED, "the authority is not the one that the token names");
    if (vq_tls_credentials_new(reply->authority_pem, reply->certificate_pem, join->key_pem, NULL, &credentials, err) < 0)
        return vq_error_wrap(err, "the certificate from the cluster");
    vq_tls_credentials_free(credentials); /* only to see that they fit together */
    to.node_id = reply->node_id;
    to.node_name = join->node_name;
    to.cluster_name = reply->cluster_name;
    to.cluster_id = reply->cluster_id;
    to.authority_pem = reply->authority_pem;
    to.certificate_pem = reply->certificate_pem;
    to.key_pem = join->key_pem;
    to.cluster_key = reply->cluster_key;
    to.addresses = &join->address;
    to.n_addresses = 1;
    to.port = join->port;
    to.seeds = reply->nodes;
    to.n_seeds = reply->n_nodes;
    join->to = vq_identity_copy(&to);
    return 0;
}

static void moved(const struct vq_error *err, void *data)
{
    struct vq_join *join = data;

    if (err != NULL) {
        join_failed(join, err, EXIT_FAILED);
        return;
    }
    drop_key(join);
    join->phase = WAITING;
    progress(join, "waiting for the leader to take this node in");
    expect_within(join, TAKEN_IN_MS);
}

static void welcomed(struct vq_join *join, const Vq__JoinReply *reply)
{
    struct vq_error err = VQ_ERROR_INIT;

    if (reply->code != VIR_ERR_OK) {
        (void)take_refusal(join, reply);
        return;
    }
    if (read_welcome(join, reply, &err) < 0) {
        join_failed(join, &err, EXIT_FAILED);
        return;
    }
    hang_up(join);
    vq_probe_close(vq_take(join->probe_port));
    (void)uv_timer_stop(&join->timer);
    join->phase = MOVING;
    progress(join, "signed; changing over");
    if (vq_move_start(join->cluster, vq_identity_copy(join->to), moved, join, &err) < 0)
        join_failed(join, &err, EXIT_FAILED);
}

static void look_if_taken_in(struct vq_join *join)
{
    const struct vq_daemon *daemon = join->cluster->daemon;
    bool is_in = join->cluster->has_seen_self && daemon->raft_status.own_role != VQ_RAFT_NO_ROLE &&
                 !vq_move_is_busy(join->cluster);
    bool is_late = uv_now(daemon->loop) >= join->give_up_ms;

    if (!is_in && !is_late)
        return;
    VQ_AUTOFREE char *text =
        vq_asprintf("this host is %s of cluster %s now (%s)%s", join->node_name, join->to->cluster_name, join->address,
                    is_in ? "" : "; it has not caught up yet, see virtquorum status");
    join_over(join, text, NULL, 0);
}

/* ---- The connection ---- */

static void attempt_failed(struct vq_join *join, const struct vq_error *err)
{
    join->last_error = *err;
    hang_up(join);
    join->phase = DIALLING; /* the timer dials the next address, when the handle of this attempt has closed */
}

static size_t received(struct vq_channel *channel, const uint8_t *bytes, size_t length, size_t *wanted, void *data)
{
    struct vq_join *join = data;
    size_t size = 0;

    (void)channel;
    *wanted = 4;
    if (length < 4)
        return 0;
    for (unsigned i = 0; i < 4; i++)
        size = size << 8 | bytes[i];
    *wanted = size + 4;
    if (size <= VQ_JOIN_MESSAGE_MAX && length < size + 4)
        return 0;
    Vq__JoinReply *reply = NULL;
    if (size <= VQ_JOIN_MESSAGE_MAX && vq_cluster_check(&vq__join_reply__descriptor, bytes + 4, size, NULL) == 0)
        reply = vq__join_reply__unpack(NULL, size, bytes + 4);
    if (reply == NULL) {
        struct vq_error err = VQ_ERROR_INIT;
        vq_error_set(&err, VIR_ERR_INTERNAL_ERROR, "the answer of the cluster makes no sense");
        join_failed(join, &err, EXIT_FAILED);
        return 0;
    }
    if (join->phase == CHECKING)
        checked(join, reply);
    else if (join->phase == ASKING)
        welcomed(join, reply);
    vq__join_reply__free_unpacked(reply, NULL);
    return size + 4;
}

static void ended(struct vq_channel *channel, const struct vq_error *err, void *data)
{
    struct vq_join *join = data;
    struct vq_error failure = *err;

    (void)channel;
    if (failure.code == VIR_ERR_OK)
        vq_error_set(&failure, VIR_ERR_OPERATION_FAILED, "the member hung up");
    if (join->phase == DIALLING)
        attempt_failed(join, &failure);
    else
        join_failed(join, &failure, join->phase == ASKING ? EXIT_FAILED : EXIT_UNREACHABLE);
}

/* Which address the member is to reach us by: the wish, or the one that we reach it by. */
static int choose_address(struct vq_join *join, struct vq_error *err)
{
    struct sockaddr_storage own;
    socklen_t length = sizeof(own);
    char host[INET6_ADDRSTRLEN + 1] = "";
    const char *wish = join->advertise;

    if (wish[0] == '\0') {
        if (getsockname(vq_channel_fd(join->channel), (struct sockaddr *)&own, &length) < 0)
            return vq_error_system(err, errno, "own address");
        int rc = own.ss_family == AF_INET6 ? uv_ip6_name((const struct sockaddr_in6 *)&own, host, sizeof(host))
                                           : uv_ip4_name((const struct sockaddr_in *)&own, host, sizeof(host));
        if (rc < 0)
            return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "own address: %s", uv_strerror(rc));
        wish = host;
    }
    free(vq_take(join->address));
    return vq_node_address_parse(wish, vq_cluster_default_port(join->cluster->daemon), &join->address, &join->port, err);
}

static int open_probe_port(struct vq_join *join, struct vq_error *err)
{
    struct vq_daemon *daemon = join->cluster->daemon;
    const char *configured = daemon->config.cluster_addr;
    const char *all = join->address[0] == '[' ? "::" : "0.0.0.0";

    if (join->probe_port != NULL)
        return 0;
    if (vq_probe_listen(daemon->loop, configured != NULL ? configured : all, join->port, join->number, &join->probe_port,
                        err) < 0)
        return vq_error_wrap(err, "the cluster port of this host (choose another by --advertise ADDRESS:PORT)");
    return 0;
}

static void ready(struct vq_channel *channel, void *data)
{
    struct vq_join *join = data;
    struct vq_error err = VQ_ERROR_INIT;

    (void)channel;
    if (choose_address(join, &err) < 0 || open_probe_port(join, &err) < 0)
        join_failed(join, &err, EXIT_CONFLICT);
    else if (join->is_repeated && !join->is_dry_run)
        send_ask(join);
    else
        send_check(join);
}

static int start_tls(struct vq_join *join, int take_fd, struct vq_error *err)
{
    static const struct vq_channel_callbacks callbacks = {.received = received, .ready = ready, .ended = ended};
    static const struct vq_channel_options options = {.input_max_bytes = VQ_JOIN_MESSAGE_MAX + 4,
                                                      .output_max_bytes = 2 * VQ_JOIN_MESSAGE_MAX,
                                                      .handshake_ms = CONNECT_MS};
    static const char *const alpn[] = {"vq-join", NULL};
    const struct vq_tls_options tls_options = {.tls13_only = true, .verify = VQ_TLS_VERIFY_FINGERPRINT,
                                               .ca_fingerprint = join->token->authority_sha256.data, .alpn = alpn};
    struct vq_tls_credentials *credentials = NULL;
    struct vq_tls_session *session = NULL;
    int rc = vq_tls_credentials_new(NULL, NULL, NULL, NULL, &credentials, err);

    if (rc == 0)
        rc = vq_tls_session_new(credentials, &tls_options, &session, err);
    vq_tls_credentials_free(credentials); /* the session keeps its own */
    if (rc < 0) {
        (void)close(take_fd); /* unused */
        return -1;
    }
    join->channel = vq_channel_open(join->cluster->daemon->loop, take_fd, session, &options, &callbacks, join);
    return 0;
}

static void connected(uv_poll_t *poll, int status, int events)
{
    struct vq_join *join = poll->data;
    struct vq_error err = VQ_ERROR_INIT;
    int problem = 0;
    socklen_t length = sizeof(problem);

    (void)events;
    if (status < 0 || getsockopt(join->fd, SOL_SOCKET, SO_ERROR, &problem, &length) < 0)
        problem = status < 0 ? -status : errno;
    if (problem != 0) {
        vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "%s", strerror(problem));
        attempt_failed(join, &err);
        return;
    }
    /* The descriptor changes hands: libuv must have let go of it before the channel takes it. */
    int fd = dup(join->fd);
    hang_up(join);
    if (fd < 0 || start_tls(join, fd, &err) < 0) {
        if (fd < 0)
            vq_error_system(&err, errno, "connecting");
        attempt_failed(join, &err);
    }
}

static int dial(struct vq_join *join, const char *address, struct vq_error *err)
{
    struct sockaddr_storage to;

    if (!vq_probe_address(address, &to))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' is not an address with a port", address);
    socklen_t length = to.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    int fd = socket(to.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return vq_error_system(err, errno, "making a socket");
    if (connect(fd, (const struct sockaddr *)&to, length) < 0 && errno != EINPROGRESS) {
        int problem = errno;
        (void)close(fd); /* unused */
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "%s", strerror(problem));
    }
    join->fd = fd;
    join->poll.data = join;
    join->is_polling = true;
    join->open_handles++;
    (void)uv_poll_init(join->cluster->daemon->loop, &join->poll, fd); /* a fresh socket: cannot fail */
    (void)uv_poll_start(&join->poll, UV_WRITABLE, connected);
    return 0;
}

static void dial_next(struct vq_join *join)
{
    struct vq_error err = VQ_ERROR_INIT;

    while (join->next_address < join->token->n_addresses) {
        const char *address = join->token->addresses[join->next_address++];
        if (dial(join, address, &err) == 0) {
            expect_within(join, 2 * CONNECT_MS);
            return;
        }
        join->last_error = err;
    }
    const char *first = join->token->addresses[0];
    VQ_AUTOFREE char *why = vq_strdup(join->last_error.message);
    vq_error_set(&err, VIR_ERR_OPERATION_FAILED, "no member of the cluster can be reached (%s: %s). Nothing was changed",
                 first, why);
    join_failed(join, &err, join->last_error.code == VIR_ERR_AUTH_FAILED ? EXIT_DENIED : EXIT_UNREACHABLE);
}

static void timer_fired(uv_timer_t *timer)
{
    struct vq_join *join = timer->data;
    struct vq_error err = VQ_ERROR_INIT;

    if (join->phase == WAITING) {
        look_if_taken_in(join);
        return;
    }
    /* After an attempt failed, the next begins here: the handle of the last has closed by now. */
    if (join->phase == DIALLING && join->fd < 0 && join->channel == NULL) {
        dial_next(join);
        return;
    }
    if (uv_now(join->cluster->daemon->loop) < join->give_up_ms)
        return;
    vq_error_set(&err, VIR_ERR_OPERATION_TIMEOUT, join->phase == DIALLING ? "no answer" : "the member does not answer");
    if (join->phase == DIALLING)
        attempt_failed(join, &err);
    else
        join_failed(join, &err, EXIT_UNREACHABLE);
}

/* ---- The beginning ---- */

static int check_wish(struct vq_cluster *cluster, const struct vq_join_wish *wish, struct vq_error *err)
{
    VQ_AUTOFREE char *address = NULL;
    uint16_t port;

    if (cluster->is_joining || cluster->is_initialising || vq_move_is_busy(cluster))
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "this node is changing its cluster already");
    if (wish->node_name[0] != '\0' && !vq_node_name_is_valid(wish->node_name))
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%s' cannot be the name of a node: letters, digits and '-'",
                            wish->node_name);
    if (wish->advertise[0] != '\0')
        return vq_node_address_parse(wish->advertise, VQ_CLUSTER_PORT, &address, &port, err);
    return 0;
}

int vq_join_start(struct vq_cluster *cluster, const struct vq_join_wish *wish, const struct vq_join_callbacks *callbacks,
                  void *data, struct vq_join **ret, struct vq_error *err)
{
    struct vq_daemon *daemon = cluster->daemon;
    Vq__JoinToken *token;

    if (check_wish(cluster, wish, err) < 0 || vq_token_parse(wish->token, &token, err) < 0)
        return -1;
    if (token->expires_ms <= vq_cluster_unix_ms()) {
        vq__join_token__free_unpacked(token, NULL);
        return vq_error_set(err, VIR_ERR_AUTH_FAILED, "the token has expired: make another with virtquorum token");
    }
    struct vq_join *join = vq_new(struct vq_join);
    *join = (struct vq_join){.cluster = cluster, .callbacks = *callbacks, .data = data, .is_dry_run = wish->dry_run,
                             .token = token, .fd = -1, .open_handles = 1, .last_error = VQ_ERROR_INIT};
    join->node_name = vq_strdup(wish->node_name[0] != '\0' ? wish->node_name : daemon->node_name);
    join->advertise = vq_strdup(wish->advertise);
    daemon->host.random(join->number, sizeof(join->number));
    join->timer.data = join;
    (void)uv_timer_init(daemon->loop, &join->timer); /* cannot fail */
    cluster->is_joining = true;
    *ret = join;
    if (load_key(join, err) < 0) {
        join->is_forgotten = true;
        join_failed(join, err, EXIT_FAILED);
        return -1;
    }
    expect_within(join, 2 * CONNECT_MS); /* the timer dials, so that done is never called from inside here */
    return 0;
}
