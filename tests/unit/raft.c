/* A lone node: written to, stopped, started again, damaged. */
#include "raft/raft.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "conf/base/log.h"
#include "raft/guard.h"
#include "tests/unit/commands.h"

static unsigned snapshot_threshold;

struct node {
    char *root, *store_dir, *raft_dir;
    uv_loop_t loop;
    uv_timer_t timer;
    struct vq_store *store;
    struct vq_raft *raft;
    struct vq_raft_status status;
    uint64_t applied;
    size_t n_changes;
    unsigned n_answers;
    enum vq_raft_outcome outcome;
    struct vq_result result;
    struct vq_error err;
    bool is_stopped, is_late;
    uint64_t next_request;
};

static void on_status(const struct vq_raft_status *status, void *data)
{
    ((struct node *)data)->status = *status;
}

static void on_applied(uint64_t index, const struct vq_change_list *changes, void *data)
{
    struct node *node = data;
    struct vq_store_view *view;
    struct vq_error err = VQ_ERROR_INIT;

    assert_int_equal(vq_store_view_begin(node->store, &view, &err), 0);
    assert_true(vq_store_view_applied(view) >= index); /* what is told can be seen */
    vq_store_view_end(view);
    node->applied = index;
    node->n_changes += changes->n_changes;
}

static void on_proposed(enum vq_raft_outcome outcome, const struct vq_result *result, const struct vq_error *err,
                        void *data)
{
    struct node *node = data;

    node->n_answers++;
    node->outcome = outcome;
    node->err = *err;
    if (result != NULL)
        node->result = *result;
}

static void on_changed(enum vq_raft_outcome outcome, const struct vq_error *err, void *data)
{
    on_proposed(outcome, NULL, err, data);
}

static void on_stopped(void *data)
{
    ((struct node *)data)->is_stopped = true;
}

static void on_late(uv_timer_t *timer)
{
    ((struct node *)timer->data)->is_late = true;
}

#define RUN_UNTIL(node, condition)                         \
    do {                                                   \
        (node)->is_late = false;                           \
        uv_update_time(&(node)->loop);                     \
        uv_timer_start(&(node)->timer, on_late, 10000, 0); \
        while (!(condition) && !(node)->is_late)           \
            uv_run(&(node)->loop, UV_RUN_ONCE);            \
        uv_timer_stop(&(node)->timer);                     \
        assert_true(condition);                            \
    } while (0)

static const struct vq_raft_callbacks callbacks = {on_status, on_applied};

static void start_with(struct node *node, uint64_t id, bool bootstrap)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_raft_options options = {
        .node_id = id, .dir = node->raft_dir, .bootstrap = bootstrap, .snapshot_threshold = snapshot_threshold};

    if (vq_store_open(node->store_dir, &(struct vq_store_options){.durable = true}, &node->store, &err) < 0)
        fail_msg("%s", err.message);
    memset(&node->status, 0, sizeof(node->status));
    options.store = node->store;
    if (vq_raft_start(&node->loop, &options, &callbacks, node, &node->raft, &err) < 0)
        fail_msg("%s", err.message);
}

static void start(struct node *node)
{
    start_with(node, 1, true);
    RUN_UNTIL(node, node->status.is_leader);
}

static void stop(struct node *node)
{
    if (node->raft == NULL)
        return;
    node->is_stopped = false;
    vq_raft_stop(node->raft, on_stopped, node);
    RUN_UNTIL(node, node->is_stopped);
    node->raft = NULL;
    vq_store_close(node->store);
}

static int setup(void **state)
{
    struct node *node = vq_new(struct node);

    node->root = make_tree();
    node->store_dir = vq_asprintf("%s/store", node->root);
    node->raft_dir = vq_asprintf("%s/raft", node->root);
    uv_loop_init(&node->loop);
    uv_timer_init(&node->loop, &node->timer);
    node->timer.data = node;
    node->next_request = 1;
    *state = node;
    return 0;
}

static int teardown(void **state)
{
    struct node *node = *state;

    stop(node);
    uv_close((uv_handle_t *)&node->timer, NULL);
    uv_run(&node->loop, UV_RUN_DEFAULT);
    assert_int_equal(uv_loop_close(&node->loop), 0);
    remove_tree(node->root);
    free(node->root);
    free(node->store_dir);
    free(node->raft_dir);
    free(node);
    unsetenv("VQ_FAILPOINTS");
    snapshot_threshold = 0;
    return 0;
}

static void propose(struct node *node, const Vq__Command *command, uint64_t timeout_ms)
{
    size_t length;
    VQ_AUTOFREE uint8_t *bytes = pack_command(command, &length);

    vq_raft_propose(node->raft, bytes, length, timeout_ms, on_proposed, node);
}

static void define(struct node *node, uint64_t uuid, const char *name)
{
    struct command_parts parts;
    unsigned before = node->n_answers;

    make_define(&parts, node->next_request++, uuid, name);
    propose(node, &parts.command, 0);
    RUN_UNTIL(node, node->n_answers > before);
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

static void a_lone_node_can_be_written_at_once(void **state)
{
    struct node *node = *state;
    uint64_t began = uv_hrtime();

    start(node);
    define(node, 1, "web1");
    assert_int_equal(node->outcome, VQ_RAFT_APPLIED);
    assert_int_equal(node->result.code, VIR_ERR_OK);
    print_message("first answer after %llu ms\n", (unsigned long long)(uv_hrtime() - began) / 1000000);
    assert_int_equal(count_domains(node), 1);
    assert_int_equal(node->n_changes, 1);
    assert_true(node->applied >= 1);
    define(node, 2, "web1");
    assert_int_equal(node->outcome, VQ_RAFT_APPLIED);
    assert_int_equal(node->result.code, VIR_ERR_OPERATION_FAILED);
    RUN_UNTIL(node, node->status.n_members == 1);
    assert_int_equal(node->status.own_role, VQ_RAFT_VOTER);
    assert_int_equal(node->status.leader, 1);
}

static void many_commands_travel_together_and_in_order(void **state)
{
    struct node *node = *state;
    struct command_parts parts;
    char value[16];

    start(node);
    unsigned before = node->n_answers;
    for (unsigned i = 0; i < 5000; i++) {
        snprintf(value, sizeof(value), "%u", i);
        make_setting(&parts, 100 + i, "x", value);
        propose(node, &parts.command, 0);
    }
    RUN_UNTIL(node, node->n_answers == before + 5000);
    assert_int_equal(node->outcome, VQ_RAFT_APPLIED);
    RUN_UNTIL(node, node->status.last_index > 0);
    assert_true(vq_store_applied(node->store) < 1000); /* entries, not commands */
    struct vq_store_view *view;
    struct vq_error err = VQ_ERROR_INIT;
    const uint8_t *got;
    size_t length;
    assert_int_equal(vq_store_view_begin(node->store, &view, &err), 0);
    assert_true(vq_store_setting(view, "x", &got, &length));
    assert_memory_equal(got, "4999", 4);
    vq_store_view_end(view);
}

static void a_repeated_request_is_done_once(void **state)
{
    struct node *node = *state;
    struct command_parts parts;

    start(node);
    make_define(&parts, 77, 1, "web1");
    propose(node, &parts.command, 0);
    propose(node, &parts.command, 0);
    RUN_UNTIL(node, node->n_answers == 2);
    assert_int_equal(node->result.version, 1);
    stop(node);
    start(node);
    propose(node, &parts.command, 0);
    RUN_UNTIL(node, node->n_answers == 3);
    assert_int_equal(node->outcome, VQ_RAFT_APPLIED);
    assert_int_equal(node->result.version, 1);
}

static void damaged_and_oversized_commands_are_refused(void **state)
{
    struct node *node = *state;
    struct command_parts parts;
    VQ_AUTOFREE char *text = vq_calloc(1, 2 << 20);

    start(node);
    vq_raft_propose(node->raft, "\xff\xff", 2, 0, on_proposed, node);
    RUN_UNTIL(node, node->n_answers == 1);
    assert_int_equal(node->outcome, VQ_RAFT_REFUSED);
    assert_int_equal(node->err.code, VIR_ERR_INVALID_ARG);
    memset(text, 'x', (2 << 20) - 1);
    make_setting(&parts, 9, "x", text);
    propose(node, &parts.command, 0);
    RUN_UNTIL(node, node->n_answers == 2);
    assert_int_equal(node->outcome, VQ_RAFT_REFUSED);
    make_define(&parts, 10, 1, "large");
    parts.define.xml = (ProtobufCBinaryData){900 * 1024, (uint8_t *)text};
    propose(node, &parts.command, 0);
    RUN_UNTIL(node, node->n_answers == 3);
    assert_int_equal(node->outcome, VQ_RAFT_APPLIED);
    assert_int_equal(node->result.code, VIR_ERR_OK);
}

static void everything_is_there_after_a_restart(void **state)
{
    struct node *node = *state;
    char name[16];

    start(node);
    for (uint64_t i = 1; i <= 50; i++) {
        snprintf(name, sizeof(name), "d%llu", (unsigned long long)i);
        define(node, i, name);
    }
    stop(node);
    start(node);
    assert_int_equal(count_domains(node), 50);
    stop(node);
    remove_tree(node->store_dir); /* the log fills it again */
    start(node);
    assert_int_equal(count_domains(node), 50);
    define(node, 60, "d60");
    assert_int_equal(node->outcome, VQ_RAFT_APPLIED);
}

static void a_full_reserve_refuses_and_recovers(void **state)
{
    struct node *node = *state;

    start(node);
    setenv("VQ_FAILPOINTS", "raft.apply=error", 1);
    define(node, 1, "web1");
    assert_int_equal(node->outcome, VQ_RAFT_REFUSED);
    assert_non_null(strstr(node->err.message, "full"));
    RUN_UNTIL(node, strstr(node->status.problem, "full") != NULL);
    unsetenv("VQ_FAILPOINTS");
    define(node, 1, "web1");
    assert_int_equal(node->outcome, VQ_RAFT_APPLIED);
    RUN_UNTIL(node, node->status.problem[0] == '\0');
}

/* ---- What must not come back ---- */

static void remove_file(const char *dir, const char *name)
{
    VQ_AUTOFREE char *path = vq_asprintf("%s/%s", dir, name);

    (void)unlink(path); /* of a log there may be fewer files */
}

/* As after a kill in the middle of the very first start, of which a term is all that is left. */
static void a_log_that_was_not_finished_is_begun_again(void **state)
{
    struct node *node = *state;

    start(node);
    stop(node);
    remove_file(node->raft_dir, "0000000000000001-0000000000000001");
    remove_file(node->raft_dir, "0000000000000002-0000000000000002");
    remove_file(node->root, "raft.known");
    remove_file(node->store_dir, "data.mdb");
    start(node);
    define(node, 1, "web1");
    assert_int_equal(node->outcome, VQ_RAFT_APPLIED);
}

/* Whatever a log holds beyond its beginning, it is not taken away: then something else is wrong. */
static void a_log_without_its_mark_is_kept(void **state)
{
    struct node *node = *state;

    start(node);
    define(node, 1, "web1");
    stop(node);
    remove_file(node->root, "raft.known");
    start(node);
    assert_int_equal(count_domains(node), 1);
    stop(node);
    remove_file(node->root, "raft.known");
    remove_file(node->store_dir, "data.mdb");
    start(node);
    assert_int_equal(count_domains(node), 1);
}

static void an_emptied_directory_is_not_used_again(void **state)
{
    struct node *node = *state;

    start(node);
    define(node, 1, "web1");
    stop(node);
    remove_tree(node->raft_dir);
    start_with(node, 1, true);
    RUN_UNTIL(node, node->status.problem[0] != '\0');
    assert_false(node->status.is_running);
    assert_non_null(strstr(node->status.problem, "is gone"));
    assert_int_equal(count_domains(node), 1); /* reads go on */
    define(node, 2, "web2");
    assert_int_equal(node->outcome, VQ_RAFT_NOT_LEADER);
    stop(node);
    remove_tree(node->store_dir); /* even when the store went along */
    start_with(node, 1, true);
    RUN_UNTIL(node, node->status.problem[0] != '\0');
    stop(node);
    start_with(node, 2, true); /* another id may begin anew */
    RUN_UNTIL(node, node->status.is_leader);
}

static void truncate_newest_segment(struct node *node)
{
    DIR *dir = opendir(node->raft_dir);
    struct dirent *entry;
    char newest[300] = "";

    assert_non_null(dir);
    while ((entry = readdir(dir)) != NULL)
        if ((entry->d_name[0] == '0' || strncmp(entry->d_name, "open-", 5) == 0) && strcmp(entry->d_name, newest) > 0)
            snprintf(newest, sizeof(newest), "%s", entry->d_name);
    closedir(dir);
    assert_true(newest[0] != '\0');
    VQ_AUTOFREE char *path = vq_asprintf("%s/%s", node->raft_dir, newest);
    assert_int_equal(unlink(path), 0);
}

static void a_log_that_lost_its_end_is_refused(void **state)
{
    struct node *node = *state;
    char name[16];

    start(node);
    for (uint64_t i = 1; i <= 20; i++) {
        snprintf(name, sizeof(name), "d%llu", (unsigned long long)i);
        define(node, i, name);
    }
    stop(node);
    start(node); /* closes the first segment, begins another */
    define(node, 30, "d30");
    stop(node);
    truncate_newest_segment(node);
    start_with(node, 1, true);
    RUN_UNTIL(node, node->status.problem[0] != '\0');
    assert_false(node->status.is_running);
    assert_non_null(strstr(node->status.problem, "acknowledged"));
    assert_int_equal(count_domains(node), 21);
}

/* Damage or loss, and the way back from it: the store's state is the beginning of a new log. */
static void a_log_can_begin_with_what_the_store_has(void **state)
{
    struct node *node = *state;
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOFREE char *new_dir = vq_asprintf("%s/new", node->root);
    uint64_t applied;

    start(node);
    for (unsigned i = 0; i < 20; i++) {
        VQ_AUTOFREE char *name = vq_asprintf("d%u", i);
        define(node, 0x100 + i, name);
    }
    stop(node);
    assert_int_equal(vq_store_open(node->store_dir, &(struct vq_store_options){.durable = true}, &node->store, &err), 0);
    applied = vq_store_applied(node->store);
    assert_int_equal(vq_store_raise_generation(node->store, &err), 0);
    assert_int_equal(vq_raft_begin_log(new_dir, 1, node->store, 7, &err), 0);
    assert_int_equal(vq_raft_begin_log(new_dir, 1, node->store, 7, &err), -1); /* there is one now */
    assert_int_equal(err.code, VIR_ERR_OPERATION_INVALID);
    vq_store_close(node->store);

    free(node->raft_dir);
    node->raft_dir = vq_strdup(new_dir);
    start(node);
    assert_true(node->status.term >= 7 && node->status.applied_index >= applied && node->status.n_members == 1);
    define(node, 0x200, "after");
    assert_int_equal(node->outcome, VQ_RAFT_APPLIED);
    assert_int_equal(node->result.code, VIR_ERR_OK);
    assert_true(node->result.index > applied);
    stop(node);
    start(node);
    stop(node);
}

static void a_log_that_lost_its_end_can_be_taken_as_it_is(void **state)
{
    struct node *node = *state;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_raft_options options = {.node_id = 1, .dir = node->raft_dir, .alone = true};

    start(node);
    define(node, 0x100, "a");
    stop(node);
    start(node); /* closes the first segment, begins another */
    define(node, 0x101, "b");
    stop(node);
    truncate_newest_segment(node);
    assert_int_equal(vq_store_open(node->store_dir, &(struct vq_store_options){.durable = true}, &node->store, &err), 0);
    memset(&node->status, 0, sizeof(node->status));
    options.store = node->store;
    assert_int_equal(vq_raft_start(&node->loop, &options, &callbacks, node, &node->raft, &err), 0);
    RUN_UNTIL(node, node->status.is_leader || node->status.problem[0] != '\0');
    assert_true(node->status.is_leader);
    stop(node);
}

static void a_damaged_segment_is_refused(void **state)
{
    struct node *node = *state;
    char name[16];
    DIR *dir;
    struct dirent *entry;

    start(node);
    for (uint64_t i = 1; i <= 20; i++) {
        snprintf(name, sizeof(name), "d%llu", (unsigned long long)i);
        define(node, i, name);
    }
    stop(node);
    dir = opendir(node->raft_dir);
    while ((entry = readdir(dir)) != NULL) {
        if (entry->d_name[0] != '0')
            continue;
        VQ_AUTOFREE char *path = vq_asprintf("%s/%s", node->raft_dir, entry->d_name);
        int fd = open(path, O_RDWR);
        assert_int_equal(pwrite(fd, "garbage", 7, 600), 7);
        close(fd);
    }
    closedir(dir);
    start_with(node, 1, true);
    RUN_UNTIL(node, node->status.problem[0] != '\0');
    assert_false(node->status.is_running);
    assert_int_equal(count_domains(node), 20);
    define(node, 30, "d30");
    assert_int_equal(node->outcome, VQ_RAFT_NOT_LEADER);
}

static void a_log_that_cannot_be_opened_is_tried_again(void **state)
{
    struct node *node = *state;

    int fd = open(node->raft_dir, O_CREAT | O_WRONLY, 0600); /* a file in the way */
    close(fd);
    start_with(node, 1, true);
    RUN_UNTIL(node, node->status.problem[0] != '\0');
    assert_int_equal(count_domains(node), 0);
    unlink(node->raft_dir);
    RUN_UNTIL(node, node->status.is_leader);
    assert_string_equal(node->status.problem, "");
}

static void a_joining_node_waits_to_be_added(void **state)
{
    struct node *node = *state;

    start_with(node, 5, false);
    RUN_UNTIL(node, node->status.is_running);
    assert_int_equal(node->status.n_members, 0);
    assert_int_equal(node->status.own_role, VQ_RAFT_NO_ROLE);
    define(node, 1, "web1");
    assert_int_equal(node->outcome, VQ_RAFT_NOT_LEADER);
}

static void the_only_voter_stays(void **state)
{
    struct node *node = *state;

    start(node);
    vq_raft_remove(node->raft, 1, on_changed, node);
    vq_raft_assign(node->raft, 1, VQ_RAFT_STANDBY, on_changed, node);
    vq_raft_assign(node->raft, 9, VQ_RAFT_VOTER, on_changed, node);
    vq_raft_transfer(node->raft, 0, on_changed, node);
    vq_raft_transfer(node->raft, 9, on_changed, node);
    RUN_UNTIL(node, node->n_answers == 5);
    assert_int_equal(node->outcome, VQ_RAFT_REFUSED);
    vq_raft_remove(node->raft, 9, on_changed, node);
    vq_raft_transfer(node->raft, 1, on_changed, node);
    RUN_UNTIL(node, node->n_answers == 7);
    assert_int_equal(node->outcome, VQ_RAFT_APPLIED);
}

static void bad_settings_are_refused(void **state)
{
    struct node *node = *state;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_raft_options options = {.node_id = 0, .dir = node->raft_dir};

    assert_int_equal(vq_store_open(node->store_dir, &(struct vq_store_options){0}, &node->store, &err), 0);
    options.store = node->store;
    assert_int_equal(vq_raft_start(&node->loop, &options, &callbacks, node, &node->raft, &err), -1);
    node->raft = NULL;
    options.node_id = 1;
    options.election_ms = 50;
    assert_int_equal(vq_raft_start(&node->loop, &options, &callbacks, node, &node->raft, &err), 0);
    RUN_UNTIL(node, strstr(node->status.problem, "election") != NULL);
}

static void stopping_answers_what_is_pending(void **state)
{
    struct node *node = *state;
    struct command_parts parts;

    start(node);
    for (unsigned i = 0; i < 200; i++) {
        make_setting(&parts, 100 + i, "x", "y");
        propose(node, &parts.command, 0);
    }
    stop(node);
    assert_int_equal(node->n_answers, 200);
}

static bool has_file(struct node *node, const char *prefix)
{
    DIR *dir = opendir(node->raft_dir);
    struct dirent *entry;
    bool found = false;

    while ((entry = readdir(dir)) != NULL)
        found = found || strncmp(entry->d_name, prefix, strlen(prefix)) == 0;
    closedir(dir);
    return found;
}

static void a_snapshot_that_cannot_be_taken_is_put_off(void **state)
{
    struct node *node = *state;

    snapshot_threshold = 20;
    start(node);
    setenv("VQ_FAILPOINTS", "store.snapshot.take=error", 1);
    for (uint64_t i = 1; i <= 60; i++)
        define(node, 1, "web1");
    assert_int_equal(node->outcome, VQ_RAFT_APPLIED);
    assert_false(has_file(node, "snapshot-"));
    unsetenv("VQ_FAILPOINTS");
    define(node, 1, "web1");
    RUN_UNTIL(node, has_file(node, "snapshot-"));
    stop(node);
    remove_tree(node->store_dir);
    start(node); /* from the snapshot and what follows it */
    define(node, 1, "web1");
    assert_int_equal(node->result.version, 62);
}

static void large_entries_bring_the_snapshot_forward(void **state)
{
    struct node *node = *state;
    struct command_parts parts;
    VQ_AUTOFREE char *text = vq_calloc(1, 200001);

    start(node);
    memset(text, 'x', 200000);
    for (unsigned i = 0; i < 100; i++) {
        unsigned before = node->n_answers;
        make_define(&parts, node->next_request++, 1, "web1");
        parts.define.xml = (ProtobufCBinaryData){200000, (uint8_t *)text};
        propose(node, &parts.command, 0);
        RUN_UNTIL(node, node->n_answers > before);
        assert_int_equal(node->outcome, VQ_RAFT_APPLIED);
    }
    RUN_UNTIL(node, has_file(node, "snapshot-"));
    stop(node);
    remove_tree(node->store_dir);
    start(node);
    define(node, 1, "web1");
    assert_int_equal(node->result.version, 101);
}

static void a_snapshot_that_cannot_be_restored_is_told(void **state)
{
    struct node *node = *state;

    snapshot_threshold = 20;
    start(node);
    for (uint64_t i = 1; i <= 60; i++)
        define(node, 1, "web1");
    RUN_UNTIL(node, has_file(node, "snapshot-"));
    stop(node);
    setenv("VQ_FAILPOINTS", "raft.restore=error", 1);
    start_with(node, 1, true);
    RUN_UNTIL(node, node->status.problem[0] != '\0');
    assert_int_equal(count_domains(node), 1);
    unsetenv("VQ_FAILPOINTS");
    stop(node);
    start(node);
}

static void a_cluster_may_have_two_hundred_members(void **state)
{
    struct node *node = *state;

    start(node);
    for (uint64_t id = 2; id <= 201; id++) {
        unsigned before = node->n_answers;
        vq_raft_add(node->raft, id, on_changed, node);
        RUN_UNTIL(node, node->n_answers > before);
        assert_int_equal(node->outcome, VQ_RAFT_APPLIED);
    }
    RUN_UNTIL(node, node->status.n_members == 201);
    define(node, 1, "web1");
    assert_int_equal(node->outcome, VQ_RAFT_APPLIED);
    stop(node);
    start(node);
    RUN_UNTIL(node, node->status.n_members == 201);
}

static void too_many_waiting_changes_are_refused(void **state)
{
    struct node *node = *state;

    start(node);
    for (uint64_t id = 2; id < 102; id++)
        vq_raft_add(node->raft, id, on_changed, node);
    RUN_UNTIL(node, node->n_answers == 100);
    RUN_UNTIL(node, node->status.n_members > 1 && node->status.n_members < 101);
}

/* ---- Deaths ---- */

static int in_child(void (*fn)(struct node *node), struct node *node)
{
    int status;
    pid_t pid = fork();

    if (pid == 0) {
        if (getenv("VQ_TEST_LOG") == NULL)
            vq_log_open(open("/dev/null", O_WRONLY));
        fn(node);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

static void die_at_commit(struct node *node)
{
    uv_loop_fork(&node->loop);
    start(node);
    define(node, 1, "web1");
    setenv("VQ_FAILPOINTS", "store.commit=crash", 1);
    define(node, 2, "web2");
}

static void a_node_killed_while_committing_has_all_that_was_answered(void **state)
{
    struct node *node = *state;

    int status = in_child(die_at_commit, node);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    start(node);
    assert_true(count_domains(node) >= 1);
    define(node, 1, "web1"); /* the request id is the child's: known */
    assert_int_equal(node->result.code, VIR_ERR_OK);
}

static void fail_the_apply(struct node *node)
{
    uv_loop_fork(&node->loop);
    start(node);
    setenv("VQ_FAILPOINTS", "store.apply=error", 1);
    define(node, 1, "web1");
}

static void an_entry_that_cannot_be_applied_ends_the_process_and_is_tried_again(void **state)
{
    struct node *node = *state;

    int status = in_child(fail_the_apply, node);
    assert_true(WIFEXITED(status) && WEXITSTATUS(status) == VQ_GUARD_EXIT);
    start(node);
    assert_int_equal(count_domains(node), 1);
}

/* ---- The disk ---- */

static void fail_a_write(struct node *node)
{
    const struct rlimit limit = {4096, 4096};
    char name[16];

    uv_loop_fork(&node->loop);
    signal(SIGXFSZ, SIG_IGN);
    start(node);
    for (uint64_t i = 1; i <= 100; i++) { /* several blocks of the segment */
        snprintf(name, sizeof(name), "d%llu", (unsigned long long)i);
        define(node, i, name);
    }
    setrlimit(RLIMIT_FSIZE, &limit);
    define(node, 200, "d200"); /* never answered */
}

static void a_failed_write_to_the_log_ends_the_process_in_time(void **state)
{
    struct node *node = *state;
    uint64_t began = uv_hrtime();

    int status = in_child(fail_a_write, node);
    if (WIFSIGNALED(status))
        fail_msg("killed by signal %d", WTERMSIG(status));
    assert_int_equal(WEXITSTATUS(status), VQ_GUARD_EXIT);
    assert_true(uv_hrtime() - began < UINT64_C(8000000000));
    start(node);
    assert_true(count_domains(node) >= 100);
}

static void fill_up(struct node *node, const char *path)
{
    static const char zeros[65536];
    int fd = open(path, O_CREAT | O_WRONLY | O_CLOEXEC, 0600);

    (void)node;
    for (size_t size = sizeof(zeros); size > 0; size /= 2)
        while (write(fd, zeros, size) == (ssize_t)size)
            ;
    close(fd);
}

#define CHECK(condition)                   \
    do {                                   \
        if (!(condition))                  \
            _exit(100 + (__LINE__ % 100)); \
    } while (0)

static void fill_the_disk(struct node *node)
{
    struct command_parts parts;
    VQ_AUTOFREE char *filler = vq_asprintf("%s/filler", node->root);
    VQ_AUTOFREE char *text = vq_calloc(1, 200001);
    uint64_t written = 0;
    unsigned before;

    uv_loop_fork(&node->loop);
    if (unshare(CLONE_NEWNS) < 0 || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) < 0 ||
        mount("none", node->root, "tmpfs", 0, "size=100m") < 0)
        _exit(77); /* not allowed to mount: nothing to see */
    start(node);
    define(node, 1, "first");
    fill_up(node, filler);
    memset(text, 'x', 200000);
    do {
        before = node->n_answers;
        make_define(&parts, node->next_request++, 2 + written % 5,
                    (const char *[]){"a", "b", "c", "d", "e"}[written % 5]);
        parts.define.xml = (ProtobufCBinaryData){200000, (uint8_t *)text};
        propose(node, &parts.command, 0);
        RUN_UNTIL(node, node->n_answers > before);
        written += node->outcome == VQ_RAFT_APPLIED;
    } while (node->outcome == VQ_RAFT_APPLIED && written < 1000);
    CHECK(node->outcome == VQ_RAFT_REFUSED);
    CHECK(strstr(node->err.message, "full") != NULL);
    RUN_UNTIL(node, strstr(node->status.problem, "full") != NULL);
    uint32_t n = count_domains(node);
    CHECK(n == 6);

    fill_up(node, filler);
    stop(node);
    fill_up(node, filler);
    start_with(node, 1, true); /* on a full disk: reads go on */
    RUN_UNTIL(node, node->status.problem[0] != '\0' || node->status.is_leader);
    CHECK(count_domains(node) == n);
    unlink(filler);
    RUN_UNTIL(node, node->status.is_leader);
    do {
        define(node, 100, "after");
    } while (node->outcome == VQ_RAFT_REFUSED);
    CHECK(node->outcome == VQ_RAFT_APPLIED && node->result.code == VIR_ERR_OK);
    stop(node);
    start(node);
    CHECK(count_domains(node) == n + 1);
    stop(node);
}

static void a_full_disk_refuses_writes_and_loses_nothing(void **state)
{
    struct node *node = *state;
    int status = in_child(fill_the_disk, node);

    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == 77)
        skip();
    assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_node_does_not_take_part_before_its_mark_is_on_disk(void **state)
{
    struct node *node = *state;
    static const char *const points[] = {"raft.known.write=error", "raft.known.flush=error", "raft.known.rename=error"};
    VQ_AUTOFREE char *mark = vq_asprintf("%s.known", node->raft_dir);

    for (size_t i = 0; i < VQ_N_ELEMENTS(points); i++) {
        setenv("VQ_FAILPOINTS", points[i], 1);
        start_with(node, 1, true);
        RUN_UNTIL(node, node->status.problem[0] != '\0');
        assert_false(node->status.is_running);
        assert_int_not_equal(access(mark, F_OK), 0);
        stop(node);
    }
    unsetenv("VQ_FAILPOINTS");
    start(node);
    define(node, 9, "d");
    assert_int_equal(node->outcome, VQ_RAFT_APPLIED);
    assert_int_equal(access(mark, F_OK), 0);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_node_killed_while_committing_has_all_that_was_answered),
        TEST(an_entry_that_cannot_be_applied_ends_the_process_and_is_tried_again),
        TEST(a_failed_write_to_the_log_ends_the_process_in_time),
        TEST(a_full_disk_refuses_writes_and_loses_nothing),
        TEST(a_node_does_not_take_part_before_its_mark_is_on_disk),
        TEST(a_lone_node_can_be_written_at_once),
        TEST(many_commands_travel_together_and_in_order),
        TEST(a_repeated_request_is_done_once),
        TEST(damaged_and_oversized_commands_are_refused),
        TEST(everything_is_there_after_a_restart),
        TEST(a_full_reserve_refuses_and_recovers),
        TEST(a_log_that_was_not_finished_is_begun_again),
        TEST(a_log_without_its_mark_is_kept),
        TEST(an_emptied_directory_is_not_used_again),
        TEST(a_log_that_lost_its_end_is_refused),
        TEST(a_log_can_begin_with_what_the_store_has),
        TEST(a_log_that_lost_its_end_can_be_taken_as_it_is),
        TEST(a_damaged_segment_is_refused),
        TEST(a_log_that_cannot_be_opened_is_tried_again),
        TEST(a_joining_node_waits_to_be_added),
        TEST(the_only_voter_stays),
        TEST(a_snapshot_that_cannot_be_taken_is_put_off),
        TEST(large_entries_bring_the_snapshot_forward),
        TEST(a_snapshot_that_cannot_be_restored_is_told),
        TEST(a_cluster_may_have_two_hundred_members),
        TEST(too_many_waiting_changes_are_refused),
        TEST(bad_settings_are_refused),
        TEST(stopping_answers_what_is_pending),
    };
    if (getenv("VQ_TEST_LOG") == NULL)
        vq_log_open(open("/dev/null", O_WRONLY | O_CLOEXEC));
    cmocka_set_test_filter(getenv("VQ_TEST_FILTER"));
    return cmocka_run_group_tests_name("raft", tests, NULL, NULL);
}
