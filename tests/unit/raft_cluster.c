/* Several nodes in one process, each with its thread, store and TLS connections over loopback. */
#include <fcntl.h>
#include <netinet/in.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include "conf/base/log.h"
#include "proto/channel.h"
#include "proto/tls.h"
#include "raft/raft.h"
#include "tests/unit/commands.h"
#include "tests/unit/support/identity.h"

enum { NODES_MAX = 5, GUESTS_MAX = 16 };

struct node {
    uint64_t id;
    char *store_dir, *raft_dir;
    struct vq_tls_credentials *credentials;
    struct vq_store *store;
    struct vq_raft *raft;
    struct vq_raft_status status;
    uv_poll_t listener;
    int listen_fd;
    char address[40];
    struct vq_channel *guests[GUESTS_MAX];
    bool is_stopped, is_cut;
    unsigned n_resyncs;
};

struct answer {
    unsigned n;
    enum vq_raft_outcome outcome;
    struct vq_result result;
    struct vq_error err;
};

static struct test_authority authority;
static uv_loop_t loop;
static uv_timer_t timer;
static char *root;
static struct node nodes[NODES_MAX + 1]; /* by id */
static unsigned election_ms = 300, snapshot_threshold;
static bool is_late;
static uint64_t next_request = 1;
static const char *const protocols[] = {"vq-raft", NULL};

static void on_late(uv_timer_t *t VQ_UNUSED)
{
    is_late = true;
}

static void on_tick(uv_timer_t *t VQ_UNUSED)
{
}

#define RUN_UNTIL_MS(condition, ms)               \
    do {                                          \
        is_late = false;                          \
        uv_update_time(&loop);                    \
        uv_timer_start(&timer, on_late, (ms), 0); \
        while (!(condition) && !is_late)          \
            uv_run(&loop, UV_RUN_ONCE);           \
        uv_timer_stop(&timer);                    \
        assert_true(condition);                   \
    } while (0)
#define RUN_UNTIL(condition) RUN_UNTIL_MS(condition, 20000)

static void run_ms(unsigned ms)
{
    uint64_t end = uv_hrtime() + ms * UINT64_C(1000000);

    uv_timer_start(&timer, on_tick, 10, 10);
    while (uv_hrtime() < end)
        uv_run(&loop, UV_RUN_ONCE);
    uv_timer_stop(&timer);
}

/* ---- The node loop's part: accepting connections ---- */

static void forget_guest(struct node *node, const struct vq_channel *channel)
{
    for (int i = 0; i < GUESTS_MAX; i++)
        if (node->guests[i] == channel)
            node->guests[i] = NULL;
}

static size_t guest_received(struct vq_channel *channel VQ_UNUSED, const uint8_t *bytes VQ_UNUSED,
                             size_t length VQ_UNUSED, size_t *wanted VQ_UNUSED, void *data VQ_UNUSED)
{
    return 0;
}

static void guest_ready(struct vq_channel *channel, void *data)
{
    struct node *node = data;
    struct vq_channel_parts parts;

    forget_guest(node, channel);
    if (node->raft == NULL) {
        vq_channel_close(channel, 0);
        return;
    }
    vq_channel_detach(channel, &parts);
    vq_raft_accept(node->raft, &parts);
}

static void guest_ended(struct vq_channel *channel, const struct vq_error *err VQ_UNUSED, void *data)
{
    forget_guest(data, channel);
    vq_channel_close(channel, 0);
}

static const struct vq_channel_callbacks guest_callbacks = {guest_received, guest_ready, NULL, guest_ended};

static void on_connection(uv_poll_t *poll, int status VQ_UNUSED, int events VQ_UNUSED)
{
    struct node *node = poll->data;
    const struct vq_tls_options tls = {.is_server = true, .tls13_only = true, .alpn = protocols};
    const struct vq_channel_options options = {.handshake_ms = 2000};
    struct vq_tls_session *session = NULL;
    struct vq_error err = VQ_ERROR_INIT;
    int fd = accept4(node->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);

    if (fd < 0)
        return;
    for (int i = 0; i < GUESTS_MAX && node->raft != NULL && !node->is_cut; i++) {
        if (node->guests[i] != NULL)
            continue;
        assert_int_equal(vq_tls_session_new(node->credentials, &tls, &session, &err), 0);
        node->guests[i] = vq_channel_open(&loop, fd, session, &options, &guest_callbacks, node);
        return;
    }
    close(fd);
}

static void make_listener(struct node *node)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof(address);

    node->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    assert_int_equal(bind(node->listen_fd, (struct sockaddr *)&address, sizeof(address)), 0);
    assert_int_equal(listen(node->listen_fd, 16), 0);
    assert_int_equal(getsockname(node->listen_fd, (struct sockaddr *)&address, &size), 0);
    snprintf(node->address, sizeof(node->address), "127.0.0.1:%u", ntohs(address.sin_port));
    assert_int_equal(uv_poll_init(&loop, &node->listener, node->listen_fd), 0);
    node->listener.data = node;
    assert_int_equal(uv_poll_start(&node->listener, UV_READABLE, on_connection), 0);
}

/* ---- Nodes ---- */

static void on_status(const struct vq_raft_status *status, void *data)
{
    ((struct node *)data)->status = *status;
}

static void on_applied(uint64_t index VQ_UNUSED, const struct vq_change_list *changes, void *data)
{
    struct node *node = data;

    for (size_t i = 0; i < changes->n_changes; i++)
        node->n_resyncs += changes->changes[i].kind == VQ_CHANGE_RESYNC;
}

static const struct vq_raft_callbacks callbacks = {on_status, on_applied};

static void on_stopped(void *data)
{
    ((struct node *)data)->is_stopped = true;
}

/* Everybody knows everybody that is not cut off. */
static void introduce(void)
{
    for (int i = 1; i <= NODES_MAX; i++) {
        struct vq_raft_address table[NODES_MAX];
        size_t n = 0;
        for (int k = 1; k <= NODES_MAX; k++)
            if (nodes[k].id != 0 && nodes[k].is_cut == nodes[i].is_cut)
                table[n++] = (struct vq_raft_address){nodes[k].id, nodes[k].address};
        if (nodes[i].raft != NULL)
            vq_raft_set_addresses(nodes[i].raft, table, n);
    }
}

static void start(uint64_t id)
{
    struct node *node = &nodes[id];
    struct vq_error err = VQ_ERROR_INIT;

    if (node->id == 0) {
        node->id = id;
        node->store_dir = vq_asprintf("%s/store%llu", root, (unsigned long long)id);
        node->raft_dir = vq_asprintf("%s/raft%llu", root, (unsigned long long)id);
        node->credentials = test_credentials(&authority, id);
        make_listener(node);
    }
    struct vq_raft_options options = {.node_id = id,
                                      .dir = node->raft_dir,
                                      .bootstrap = id == 1,
                                      .credentials = node->credentials,
                                      .election_ms = election_ms,
                                      .snapshot_threshold = snapshot_threshold};
    if (vq_store_open(node->store_dir, &(struct vq_store_options){0}, &node->store, &err) < 0)
        fail_msg("%s", err.message);
    memset(&node->status, 0, sizeof(node->status));
    options.store = node->store;
    if (vq_raft_start(&loop, &options, &callbacks, node, &node->raft, &err) < 0)
        fail_msg("%s", err.message);
    introduce();
}

static void stop(uint64_t id)
{
    struct node *node = &nodes[id];

    if (node->raft == NULL)
        return;
    node->is_stopped = false;
    vq_raft_stop(node->raft, on_stopped, node);
    RUN_UNTIL(node->is_stopped);
    node->raft = NULL;
    memset(&node->status, 0, sizeof(node->status));
    vq_store_close(node->store);
    node->store = NULL;
}

static struct node *leader(void)
{
    struct node *found = NULL;

    for (int i = 1; i <= NODES_MAX; i++)
        if (nodes[i].raft != NULL && nodes[i].status.is_leader && !nodes[i].is_cut &&
            (found == NULL || nodes[i].status.term > found->status.term))
            found = &nodes[i];
    return found;
}

/* Leadership may be lost at any moment on a busy machine: the next one is waited for. */
static struct node *the_leader(void)
{
    RUN_UNTIL(leader() != NULL);
    return leader();
}

/* ---- Asking ---- */

static void on_proposed(enum vq_raft_outcome outcome, const struct vq_result *result, const struct vq_error *err,
                        void *data)
{
    struct answer *answer = data;

    answer->n++;
    answer->outcome = outcome;
    answer->err = *err;
    if (result != NULL)
        answer->result = *result;
}

static void on_changed(enum vq_raft_outcome outcome, const struct vq_error *err, void *data)
{
    on_proposed(outcome, NULL, err, data);
}

static struct answer propose_at(struct node *node, const Vq__Command *command)
{
    struct answer answer = {0};
    size_t length;
    VQ_AUTOFREE uint8_t *bytes = pack_command(command, &length);

    vq_raft_propose(node->raft, bytes, length, 0, on_proposed, &answer);
    RUN_UNTIL(answer.n > 0);
    return answer;
}

/* As the daemon does: ask the leader, and again with the same request id until it is known. */
static struct answer insist(const Vq__Command *command)
{
    struct answer answer;

    for (int attempt = 0; attempt < 100; attempt++) {
        RUN_UNTIL(leader() != NULL);
        answer = propose_at(the_leader(), command);
        if (answer.outcome == VQ_RAFT_APPLIED || answer.outcome == VQ_RAFT_REFUSED)
            return answer;
        run_ms(20);
    }
    fail_msg("no answer after a hundred attempts");
    return answer;
}

static void define(uint64_t uuid)
{
    struct command_parts parts;
    char name[32];

    snprintf(name, sizeof(name), "d%llu", (unsigned long long)uuid);
    make_define(&parts, next_request++, uuid, name);
    struct answer answer = insist(&parts.command);
    assert_int_equal(answer.outcome, VQ_RAFT_APPLIED);
    if (answer.result.code != VIR_ERR_OK)
        fail_msg("%s", answer.result.message);
}

enum kind { ADD, ASSIGN, REMOVE, TRANSFER };
static struct answer change_at(struct node *node, enum kind kind, uint64_t id, enum vq_raft_role role)
{
    struct answer answer = {0};

    switch (kind) {
    case ADD:
        vq_raft_add(node->raft, id, on_changed, &answer);
        break;
    case ASSIGN:
        vq_raft_assign(node->raft, id, role, on_changed, &answer);
        break;
    case REMOVE:
        vq_raft_remove(node->raft, id, on_changed, &answer);
        break;
    case TRANSFER:
        vq_raft_transfer(node->raft, id, on_changed, &answer);
        break;
    }
    RUN_UNTIL_MS(answer.n > 0, 60000);
    return answer;
}

static void change(enum kind kind, uint64_t id, enum vq_raft_role role)
{
    struct answer answer = change_at(the_leader(), kind, id, role);

    if (answer.outcome != VQ_RAFT_APPLIED)
        fail_msg("kind %d node %llu: outcome %d %s", kind, (unsigned long long)id, answer.outcome, answer.err.message);
}

static void join(uint64_t id, enum vq_raft_role role)
{
    start(id);
    RUN_UNTIL(nodes[id].status.is_running);
    change(ADD, id, 0);
    if (role == VQ_RAFT_VOTER)
        change(ASSIGN, id, role);
}

static void make_cluster(unsigned n)
{
    start(1);
    RUN_UNTIL(leader() != NULL);
    for (uint64_t id = 2; id <= n; id++)
        join(id, VQ_RAFT_VOTER);
}

static uint64_t hash_of(struct node *node, uint64_t *ret_applied)
{
    struct vq_store_view *view;
    struct vq_error err = VQ_ERROR_INIT;
    uint64_t hash;

    assert_int_equal(vq_store_view_begin(node->store, &view, &err), 0);
    assert_int_equal(vq_store_hash(view, &hash, &err), 0);
    *ret_applied = vq_store_view_applied(view);
    vq_store_view_end(view);
    return hash;
}

static bool all_are_equal(void)
{
    uint64_t first = 0, applied, first_applied = 0;

    for (int i = 1; i <= NODES_MAX; i++) {
        if (nodes[i].raft == NULL || !nodes[i].status.is_running)
            continue;
        uint64_t hash = hash_of(&nodes[i], &applied);
        if (first == 0) {
            first = hash;
            first_applied = applied;
        }
        if (applied == first_applied && hash != first)
            fail_msg("node %d differs at index %llu", i, (unsigned long long)applied);
        if (hash != first)
            return false;
    }
    return true;
}

static uint32_t count_domains(struct node *node)
{
    struct vq_store_view *view;
    struct vq_error err = VQ_ERROR_INIT;

    assert_int_equal(vq_store_view_begin(node->store, &view, &err), 0);
    uint32_t n = vq_store_domain_count(view);
    vq_store_view_end(view);
    return n;
}

static int group_setup(void **state VQ_UNUSED)
{
    test_authority_make(&authority);
    return 0;
}

static int group_teardown(void **state VQ_UNUSED)
{
    test_authority_done(&authority);
    return 0;
}

static int setup(void **state VQ_UNUSED)
{
    root = make_tree();
    uv_loop_init(&loop);
    uv_timer_init(&loop, &timer);
    snapshot_threshold = 0;
    return 0;
}

static int teardown(void **state VQ_UNUSED)
{
    for (uint64_t id = 1; id <= NODES_MAX; id++) {
        struct node *node = &nodes[id];
        if (node->id == 0)
            continue;
        stop(id);
        for (int i = 0; i < GUESTS_MAX; i++)
            if (node->guests[i] != NULL)
                vq_channel_close(node->guests[i], 0);
        uv_close((uv_handle_t *)&node->listener, NULL);
        close(node->listen_fd);
        vq_tls_credentials_free(node->credentials);
        free(node->store_dir);
        free(node->raft_dir);
    }
    uv_close((uv_handle_t *)&timer, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&loop), 0);
    memset(nodes, 0, sizeof(nodes));
    remove_tree(root);
    free(root);
    return 0;
}

/* ---- Tests ---- */

static void what_one_writes_all_have(void **state VQ_UNUSED)
{
    struct command_parts parts;

    make_cluster(3);
    for (uint64_t i = 1; i <= 30; i++)
        define(i);
    RUN_UNTIL(all_are_equal());
    for (int i = 1; i <= 3; i++) {
        assert_int_equal(count_domains(&nodes[i]), 30);
        RUN_UNTIL(nodes[i].status.n_members == 3 && nodes[i].status.own_role == VQ_RAFT_VOTER &&
                  leader() != NULL && nodes[i].status.leader == leader()->id);
    }
    make_define(&parts, next_request++, 99, "d99");
    struct answer answer = propose_at(&nodes[the_leader()->id % 3 + 1], &parts.command);
    assert_int_equal(answer.outcome, VQ_RAFT_NOT_LEADER);
}

/* Nothing follows the entry that could tell the others of its commit, and the next heartbeat is half a second away. The
 * best of a few: the machine may be busy. */
static void what_is_committed_is_told_before_the_next_heartbeat(void **state VQ_UNUSED)
{
    uint64_t best_ms = UINT64_MAX;

    election_ms = 5000;
    make_cluster(3);
    election_ms = 300;
    for (uint32_t i = 1; i <= 8; i++) {
        uint64_t begin = uv_hrtime();
        define(i);
        RUN_UNTIL(count_domains(&nodes[1]) == i && count_domains(&nodes[2]) == i && count_domains(&nodes[3]) == i);
        uint64_t took_ms = (uv_hrtime() - begin) / 1000000;
        best_ms = took_ms < best_ms ? took_ms : best_ms;
    }
    assert_in_range(best_ms, 0, 200);
}

static void a_lost_leader_is_replaced(void **state VQ_UNUSED)
{
    make_cluster(3);
    for (uint64_t round = 0; round < 3; round++) {
        define(10 * round + 1);
        uint64_t old = the_leader()->id;
        stop(old);
        uint64_t began = uv_hrtime();
        define(10 * round + 2);
        print_message("leader lost, next write after %llu ms\n", (unsigned long long)((uv_hrtime() - began) / 1000000));
        start(old);
        RUN_UNTIL(leader() != NULL && nodes[old].status.is_running && nodes[old].status.leader == leader()->id);
        RUN_UNTIL(all_are_equal());
    }
    assert_int_equal(count_domains(the_leader()), 6);
}

static void a_request_repeated_after_a_lost_leader_is_done_once(void **state VQ_UNUSED)
{
    struct command_parts parts;
    struct answer first = {0};
    size_t length;

    make_cluster(3);
    for (uint64_t round = 1; round <= 3; round++) {
        char name[16];
        snprintf(name, sizeof(name), "r%llu", (unsigned long long)round);
        make_define(&parts, next_request++, round, name);
        VQ_AUTOFREE uint8_t *bytes = pack_command(&parts.command, &length);
        first.n = 0;
        uint64_t old = the_leader()->id;
        vq_raft_propose(the_leader()->raft, bytes, length, 0, on_proposed, &first);
        stop(old); /* on its way, or not */
        assert_int_equal(first.n, 1);
        struct answer again = insist(&parts.command);
        assert_int_equal(again.outcome, VQ_RAFT_APPLIED);
        assert_int_equal(again.result.code, VIR_ERR_OK);
        assert_int_equal(again.result.version, 1);
        start(old);
        RUN_UNTIL(nodes[old].status.is_running && nodes[old].status.leader != 0 && leader() != NULL);
    }
}

static void without_a_majority_nothing_is_written_and_reading_goes_on(void **state VQ_UNUSED)
{
    struct command_parts parts;
    struct answer answer;

    make_cluster(3);
    define(1);
    RUN_UNTIL(all_are_equal());
    uint64_t left = the_leader()->id;
    for (uint64_t id = 1; id <= 3; id++)
        if (id != left)
            stop(id);
    make_define(&parts, next_request++, 3, "d3");
    size_t length;
    VQ_AUTOFREE uint8_t *bytes = pack_command(&parts.command, &length);
    struct answer late = {0};
    uint64_t began = uv_hrtime();
    vq_raft_propose(nodes[left].raft, bytes, length, 100, on_proposed, &late);
    RUN_UNTIL(late.n == 1); /* its own time is over before the leader gives up */
    assert_true(uv_hrtime() - began < UINT64_C(1000000000));
    assert_int_not_equal(late.outcome, VQ_RAFT_APPLIED);
    make_define(&parts, next_request++, 2, "d2");
    answer = propose_at(&nodes[left], &parts.command);
    assert_true(answer.outcome == VQ_RAFT_UNKNOWN || answer.outcome == VQ_RAFT_NOT_LEADER);
    RUN_UNTIL(!nodes[left].status.is_leader);
    assert_int_equal(propose_at(&nodes[left], &parts.command).outcome, VQ_RAFT_NOT_LEADER);
    assert_int_equal(count_domains(&nodes[left]), 1);
    for (uint64_t id = 1; id <= 3; id++)
        if (id != left)
            start(id);
    answer = insist(&parts.command);
    assert_int_equal(answer.result.code, VIR_ERR_OK);
    assert_int_equal(answer.result.version, 1);
}

static void a_new_node_gets_a_snapshot(void **state VQ_UNUSED)
{
    struct command_parts parts;
    char value[32];

    snapshot_threshold = 50;
    start(1);
    RUN_UNTIL(leader() != NULL);
    define(1);
    for (unsigned i = 0; i < 400; i++) {
        snprintf(value, sizeof(value), "%u", i);
        make_setting(&parts, next_request++, "x", value);
        assert_int_equal(insist(&parts.command).outcome, VQ_RAFT_APPLIED);
    }
    join(2, VQ_RAFT_STANDBY);
    RUN_UNTIL(all_are_equal());
    assert_int_equal(nodes[2].n_resyncs, 1);
    assert_int_equal(count_domains(&nodes[2]), 1);
    define(2);
    RUN_UNTIL(all_are_equal());
    stop(2);
    start(2); /* with its own snapshot or log */
    RUN_UNTIL(nodes[2].status.is_running);
    define(3);
    RUN_UNTIL(all_are_equal());
    assert_int_equal(count_domains(&nodes[2]), 3);
}

static void a_node_that_was_away_catches_up_by_snapshot_under_load(void **state VQ_UNUSED)
{
    snapshot_threshold = 50;
    make_cluster(3);
    for (uint64_t round = 0; round < 3; round++) {
        uint64_t away = the_leader()->id % 3 + 1;
        stop(away);
        for (uint64_t i = 1; i <= 200; i++)
            define(1000 * round + i);
        start(away);
        for (uint64_t i = 201; i <= 300; i++)
            define(1000 * round + i);
        RUN_UNTIL(nodes[away].status.is_running && all_are_equal());
        assert_int_equal(count_domains(&nodes[away]), 300 * (round + 1));
    }
}

static void an_emptied_voter_must_join_anew(void **state VQ_UNUSED)
{
    make_cluster(3);
    uint64_t victim = the_leader()->id % 3 + 1;
    VQ_AUTOFREE char *mark = vq_asprintf("%s.known", nodes[victim].raft_dir);
    assert_int_equal(access(mark, F_OK), 0); /* it votes, so it has data */
    define(1);
    stop(victim);
    remove_tree(nodes[victim].raft_dir);
    start(victim);
    RUN_UNTIL(nodes[victim].status.problem[0] != '\0');
    assert_false(nodes[victim].status.is_running);
    define(2);
    stop(victim);
    change(REMOVE, victim, 0);
    join(4, VQ_RAFT_VOTER);
    define(3);
    RUN_UNTIL(count_domains(&nodes[4]) == 3);
}

static void leadership_goes_where_it_is_told(void **state VQ_UNUSED)
{
    make_cluster(3);
    define(1);
    for (int round = 0; round < 6; round++) {
        struct node *old = the_leader();
        uint64_t to = old->id % 3 + 1;
        struct answer answer = change_at(old, TRANSFER, round % 2 == 0 ? to : 0, 0);
        assert_int_equal(answer.outcome, VQ_RAFT_APPLIED);
        RUN_UNTIL(leader() != NULL && leader() != old);
        if (round % 2 == 0)
            assert_int_equal(the_leader()->id, to);
        define(10 + (uint64_t)round);
    }
}

static void leadership_moves_under_writes_without_loss(void **state VQ_UNUSED)
{
    enum { ROUNDS = 20, WRITES = 40 };
    struct command_parts parts;
    char name[32];
    unsigned n_applied = 0, n_moved = 0;

    make_cluster(3);
    for (uint64_t round = 0; round < ROUNDS; round++) {
        struct answer answers[WRITES] = {0}, moved = {0};
        RUN_UNTIL(leader() != NULL);
        struct node *old = the_leader();
        for (uint64_t i = 0; i < WRITES; i++) {
            size_t length;
            if (i == WRITES - 10)
                RUN_UNTIL(answers[0].n == 1); /* some are in flight */
            if (i == WRITES - 5)
                vq_raft_transfer(old->raft, 0, on_changed, &moved);
            snprintf(name, sizeof(name), "t%llu-%llu", (unsigned long long)round, (unsigned long long)i);
            make_define(&parts, next_request++, 1000 * (round + 1) + i, name);
            VQ_AUTOFREE uint8_t *bytes = pack_command(&parts.command, &length);
            vq_raft_propose(old->raft, bytes, length, 0, on_proposed, &answers[i]);
        }
        RUN_UNTIL(moved.n == 1 && answers[WRITES - 1].n == 1);
        n_moved += moved.outcome == VQ_RAFT_APPLIED;
        for (int i = 0; i < WRITES; i++) {
            assert_int_equal(answers[i].n, 1);
            n_applied += answers[i].outcome == VQ_RAFT_APPLIED;
        }
    }
    print_message("%u of %d transfers done, %u writes applied meanwhile\n", n_moved, ROUNDS, n_applied);
    assert_true(n_moved >= ROUNDS - 2);
    define(1);
    RUN_UNTIL(all_are_equal());
    assert_true(count_domains(the_leader()) >= n_applied + 1);
}

static void a_leader_that_is_removed_hands_over_first(void **state VQ_UNUSED)
{
    make_cluster(3);
    define(1);
    struct node *old = the_leader();
    assert_int_equal(change_at(old, REMOVE, old->id, 0).outcome, VQ_RAFT_NOT_LEADER);
    RUN_UNTIL(leader() != NULL && leader() != old);
    change(REMOVE, old->id, 0);
    define(2);
    RUN_UNTIL(leader() != NULL && leader()->status.n_members == 2);
}

static void changes_of_the_membership_wait_for_each_other(void **state VQ_UNUSED)
{
    struct answer answers[6] = {0};

    start(1);
    RUN_UNTIL(leader() != NULL);
    for (uint64_t id = 2; id <= 3; id++)
        start(id);
    RUN_UNTIL(nodes[2].status.is_running && nodes[3].status.is_running);
    vq_raft_add(nodes[1].raft, 2, on_changed, &answers[0]);
    vq_raft_add(nodes[1].raft, 3, on_changed, &answers[1]);
    vq_raft_assign(nodes[1].raft, 2, VQ_RAFT_VOTER, on_changed, &answers[2]);
    vq_raft_assign(nodes[1].raft, 3, VQ_RAFT_VOTER, on_changed, &answers[3]);
    vq_raft_add(nodes[1].raft, 2, on_changed, &answers[4]);
    vq_raft_assign(nodes[1].raft, 3, VQ_RAFT_SPARE, on_changed, &answers[5]);
    RUN_UNTIL(answers[5].n == 1);
    for (int i = 0; i < 6; i++)
        assert_int_equal(answers[i].outcome, VQ_RAFT_APPLIED);
    RUN_UNTIL(nodes[1].status.n_members == 3 && nodes[1].status.members[2].role == VQ_RAFT_SPARE);
}

static void a_dead_stand_by_does_not_become_a_voter(void **state VQ_UNUSED)
{
    make_cluster(1);
    join(2, VQ_RAFT_STANDBY);
    define(1);
    RUN_UNTIL(all_are_equal());
    stop(2);
    for (uint64_t i = 2; i < 10; i++)
        define(i);
    struct answer answer = {0};
    vq_raft_assign(nodes[1].raft, 2, VQ_RAFT_VOTER, on_changed, &answer);
    define(20); /* writes go on meanwhile */
    assert_int_equal(answer.n, 0);
    RUN_UNTIL_MS(answer.n == 1, 60000);
    assert_int_equal(answer.outcome, VQ_RAFT_REFUSED);
    change(REMOVE, 2, 0);
}

static void a_cut_off_leader_acknowledges_nothing(void **state VQ_UNUSED)
{
    struct command_parts parts;
    struct answer lost = {0};
    size_t length;

    make_cluster(3);
    define(1);
    struct node *old = the_leader();
    old->is_cut = true;
    introduce();
    make_define(&parts, next_request++, 2, "d2");
    VQ_AUTOFREE uint8_t *bytes = pack_command(&parts.command, &length);
    vq_raft_propose(old->raft, bytes, length, 0, on_proposed, &lost);
    RUN_UNTIL(leader() != NULL && leader() != old);
    define(3);
    RUN_UNTIL(lost.n == 1);
    assert_int_not_equal(lost.outcome, VQ_RAFT_APPLIED);
    old->is_cut = false;
    introduce();
    RUN_UNTIL(leader() != NULL && old->status.leader == leader()->id && all_are_equal());
    struct answer again = insist(&parts.command);
    assert_int_equal(again.result.code, VIR_ERR_OK);
    RUN_UNTIL(all_are_equal());
    assert_int_equal(count_domains(old), 3);
}

static void many_writers_are_fast(void **state VQ_UNUSED)
{
    enum { N = 6400, IN_FLIGHT = 64 };
    struct command_parts parts;
    struct answer answer = {0};
    char name[32];
    unsigned sent = 0;
    static char xml[1400];

    memset(xml, 'x', sizeof(xml));
    make_cluster(3);
    uint64_t began = uv_hrtime();
    while (answer.n < N) {
        for (; sent < N && sent - answer.n < IN_FLIGHT; sent++) {
            size_t length;
            snprintf(name, sizeof(name), "m%u", sent);
            make_define(&parts, next_request++, 100 + sent, name);
            parts.define.xml = (ProtobufCBinaryData){sizeof(xml), (uint8_t *)xml};
            VQ_AUTOFREE uint8_t *bytes = pack_command(&parts.command, &length);
            vq_raft_propose(the_leader()->raft, bytes, length, 0, on_proposed, &answer);
        }
        uv_run(&loop, UV_RUN_ONCE);
    }
    double seconds = (double)(uv_hrtime() - began) / 1e9;
    print_message("%d defines with %d in flight on three nodes: %.0f a second\n", N, IN_FLIGHT, N / seconds);
    assert_int_equal(answer.outcome, VQ_RAFT_APPLIED);
    RUN_UNTIL(all_are_equal());
}

/* ---- Killed at any moment ---- */

/* In a child: a cluster that writes as fast as it can, and tells of each define that was acknowledged. */
static void write_until_killed(int out, uint64_t first, bool is_new)
{
    uv_loop_init(&loop);
    uv_timer_init(&loop, &timer);
    next_request = first;
    if (is_new) {
        make_cluster(3);
    } else {
        for (uint64_t id = 1; id <= 3; id++)
            start(id);
    }
    for (uint64_t i = first;; i++) {
        define(i);
        if (write(out, &i, sizeof(i)) != sizeof(i))
            _exit(1);
    }
}

static void all_killed_together_lose_nothing(void **state VQ_UNUSED)
{
    static bool is_acknowledged[100000];
    uint64_t seed = 1, last = 0, number;
    int status, n_acknowledged = 0;

    memset(is_acknowledged, 0, sizeof(is_acknowledged));
    snapshot_threshold = 100;
    for (uint64_t round = 0; round < 6; round++) {
        int fds[2];
        assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
        pid_t pid = fork();
        if (pid == 0)
            write_until_killed(fds[1], last + 1000, round == 0);
        close(fds[1]);
        assert_int_equal(read(fds[0], &number, sizeof(number)), sizeof(number)); /* it has begun */
        is_acknowledged[number] = true;
        seed = seed * 6364136223846793005u + 1442695040888963407u;
        usleep((useconds_t)(20000 + (seed >> 33) % 300000));
        kill(pid, SIGKILL);
        while (read(fds[0], &number, sizeof(number)) == sizeof(number))
            is_acknowledged[number] = true;
        close(fds[0]);
        assert_int_equal(waitpid(pid, &status, 0), pid);
        last = number;
    }
    for (uint64_t id = 1; id <= 3; id++)
        start(id);
    next_request = 99000;
    define(99999);
    RUN_UNTIL(nodes[1].status.is_running && nodes[2].status.is_running && nodes[3].status.is_running &&
              all_are_equal());
    for (int id = 1; id <= 3; id++) {
        struct vq_store_view *view;
        struct vq_error err = VQ_ERROR_INIT;
        assert_int_equal(vq_store_view_begin(nodes[id].store, &view, &err), 0);
        for (uint64_t i = 0; i < 99000; i++) {
            uint8_t uuid[16];
            number_bytes(uuid, i, 0xd0);
            if (is_acknowledged[i] && vq_store_domain_find(view, uuid) == NULL)
                fail_msg("node %d has lost %llu", id, (unsigned long long)i);
            n_acknowledged += is_acknowledged[i];
        }
        vq_store_view_end(view);
    }
    print_message("%d acknowledged in 6 lives, none lost\n", n_acknowledged / 3);
}

/* libraft writes its trace messages into static memory, which several of them in one process share. */
const char *__tsan_default_suppressions(void);
const char *__tsan_default_suppressions(void)
{
    return "called_from_lib:libraft.so";
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(all_killed_together_lose_nothing), /* first: before this process has threads */
        TEST(what_one_writes_all_have),
        TEST(what_is_committed_is_told_before_the_next_heartbeat),
        TEST(a_lost_leader_is_replaced),
        TEST(a_request_repeated_after_a_lost_leader_is_done_once),
        TEST(without_a_majority_nothing_is_written_and_reading_goes_on),
        TEST(a_new_node_gets_a_snapshot),
        TEST(a_node_that_was_away_catches_up_by_snapshot_under_load),
        TEST(an_emptied_voter_must_join_anew),
        TEST(leadership_goes_where_it_is_told),
        TEST(leadership_moves_under_writes_without_loss),
        TEST(a_leader_that_is_removed_hands_over_first),
        TEST(changes_of_the_membership_wait_for_each_other),
        TEST(a_dead_stand_by_does_not_become_a_voter),
        TEST(a_cut_off_leader_acknowledges_nothing),
        TEST(many_writers_are_fast),
    };
    if (getenv("VQ_TEST_LOG") == NULL)
        vq_log_open(open("/dev/null", O_WRONLY | O_CLOEXEC));
    cmocka_set_test_filter(getenv("VQ_TEST_FILTER"));
    return cmocka_run_group_tests_name("raft_cluster", tests, group_setup, group_teardown);
}
