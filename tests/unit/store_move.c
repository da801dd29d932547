/* The store: a domain that moves to another node, and everything that may come in between. */
#include "tests/unit/store_fixture.h"

#include "store/internal.h"

enum { DOMAIN = 7, A = 1, B = 2, C = 3 };

/* ---- The commands, each with a new request ---- */

static struct vq_result move(struct fixture *f, uint64_t from, uint64_t to, uint64_t generation)
{
    make_move(&f->parts, ++f->request, DOMAIN, from, to);
    f->parts.move.if_generation = generation;
    return apply(f);
}

static struct vq_result end(struct fixture *f, uint64_t to, uint64_t run, bool commit)
{
    make_move_end(&f->parts, ++f->request, DOMAIN, to, run, commit);
    return apply(f);
}

static struct vq_result report(struct fixture *f, uint64_t node, uint64_t run, uint32_t state, int32_t id)
{
    make_state(&f->parts, ++f->request, DOMAIN, node, run, state, id);
    return apply(f);
}

static struct vq_result define(struct fixture *f, uint64_t uuid, const char *name, bool persistent)
{
    make_define(&f->parts, ++f->request, uuid, name);
    f->parts.define.persistent = persistent;
    return apply(f);
}

/* A commit with a definition to be kept; its fields may be changed before apply(). */
static void make_commit_kept(struct fixture *f, const char *name)
{
    make_move_end(&f->parts, ++f->request, DOMAIN, B, f->moving_run, true);
    vq__domain_define__init(&f->parts.kept);
    f->parts.kept.uuid = (ProtobufCBinaryData){16, f->parts.uuid};
    f->parts.kept.driver = "qemu";
    f->parts.kept.name = (char *)name;
    f->parts.kept.xml = (ProtobufCBinaryData){6, (uint8_t *)"<kept>"};
    f->parts.kept.max_memory_kib = f->parts.kept.memory_kib = 4096;
    f->parts.kept.vcpus = f->parts.kept.max_vcpus = 4;
    f->parts.move_end.define = &f->parts.kept;
}

static struct vq_result begin_run(struct fixture *f, uint64_t node)
{
    make_run(&f->parts, ++f->request, DOMAIN, node);
    return apply(f);
}

static void start(struct fixture *f)
{
    struct vq_result run = begin_run(f, A);

    assert_int_equal(run.code, VIR_ERR_OK);
    f->run = run.number;
    f->id = run.id;
    assert_int_equal(report(f, A, f->run, VIR_DOMAIN_RUNNING, f->id).code, VIR_ERR_OK);
}

static void begin_move(struct fixture *f)
{
    struct vq_result result = move(f, A, B, 1);

    assert_int_equal(result.code, VIR_ERR_OK);
    f->moving_run = result.number;
}

/* ---- What is there ---- */

static struct vq_domain_head head_of(struct fixture *f)
{
    uint8_t uuid[16];
    struct vq_store_view *v = view(f);

    number_bytes(uuid, DOMAIN, 0xd0);
    const struct vq_domain_head *head = vq_store_domain_find(v, uuid);
    assert_non_null(head);
    struct vq_domain_head copy = {0};
    memcpy(&copy, head, sizeof(copy));
    vq_store_view_end(v);
    return copy;
}

static void assert_text(struct fixture *f, const char *expected)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_store_view *v = view(f);
    uint8_t uuid[16];
    const char *xml;
    char *to_free;

    number_bytes(uuid, DOMAIN, 0xd0);
    assert_int_equal(vq_store_domain_xml(v, uuid, &xml, &to_free, &err), 0);
    assert_string_equal(xml, expected);
    free(to_free);
    vq_store_view_end(v);
}

static void assert_no_move(struct fixture *f, uint64_t owner)
{
    struct vq_domain_head head = head_of(f);

    assert_int_equal(head.moving_to, 0);
    assert_int_equal(head.moving_run, 0);
    assert_int_equal(head.owner, owner);
}

/* Three nodes, and a guest that runs on the first. */
static int setup_running(void **state)
{
    (void)setup(state);
    struct fixture *f = *state;

    for (uint64_t node = A; node <= C; node++) {
        static const char *const names[] = {"", "a", "b", "c"};
        make_node(&f->parts, ++f->request, node, names[node]);
        assert_int_equal(apply(f).code, VIR_ERR_OK);
    }
    assert_int_equal(define(f, DOMAIN, "web1", true).code, VIR_ERR_OK);
    start(f);
    return 0;
}

/* ---- Both ways it may go ---- */

static void a_move_is_begun_and_committed(void **state)
{
    struct fixture *f = *state;

    begin_move(f);
    assert_true(f->moving_run > f->run);
    assert_int_equal(f->changes.n_changes, 1);
    assert_int_equal(f->changes.changes[0].kind, VQ_CHANGE_DOMAIN_MOVE);
    assert_int_equal(f->changes.changes[0].owner, A);
    assert_int_equal(f->changes.changes[0].moving_to, B);
    struct vq_domain_head head = head_of(f);
    assert_int_equal(head.owner, A);
    assert_int_equal(head.moving_to, B);
    assert_int_equal(head.moving_run, f->moving_run);
    assert_int_equal(head.last_move, f->moving_run);
    assert_int_equal(head.run, f->run);

    assert_int_equal(report(f, A, f->run, VIR_DOMAIN_PAUSED, f->id).code, VIR_ERR_OK); /* the CPUs stop, the move goes on */
    struct vq_result result = end(f, B, f->moving_run, true);
    assert_int_equal(result.code, VIR_ERR_OK);
    assert_int_equal(result.number, f->moving_run);
    assert_int_equal(result.id, f->id);
    head = head_of(f);
    assert_no_move(f, B);
    assert_int_equal(head.generation, 2);
    assert_int_equal(head.run, f->moving_run);
    assert_int_equal(head.id, f->id);
    assert_int_equal(head.state, VIR_DOMAIN_PAUSED); /* until the new owner reports */
    assert_int_equal(head.version, 1);
}

static void a_commit_tells_of_the_old_owner(void **state)
{
    struct fixture *f = *state;

    begin_move(f);
    assert_int_equal(end(f, B, f->moving_run, true).code, VIR_ERR_OK);
    assert_int_equal(f->changes.n_changes, 1);
    const struct vq_change *change = &f->changes.changes[0];
    assert_int_equal(change->kind, VQ_CHANGE_DOMAIN_OWNER);
    assert_int_equal(change->owner, B);
    assert_int_equal(change->old_owner, A);
    assert_int_equal(change->moving_to, B);
    assert_int_equal(change->id, f->id);
    assert_int_equal(change->n_events, 1);
    assert_int_equal(change->events[0].event, VIR_DOMAIN_EVENT_STOPPED);
    assert_int_equal(change->events[0].detail, VIR_DOMAIN_EVENT_STOPPED_MIGRATED);
}

static void after_a_commit_only_the_new_owner_speaks(void **state)
{
    struct fixture *f = *state;

    begin_move(f);
    (void)end(f, B, f->moving_run, true);
    assert_int_equal(report(f, A, f->run, VIR_DOMAIN_SHUTOFF, -1).code, VIR_ERR_OPERATION_INVALID);
    assert_int_equal(report(f, B, f->run, VIR_DOMAIN_RUNNING, f->id).code, VIR_ERR_OPERATION_INVALID);
    assert_int_equal(begin_run(f, A).code, VIR_ERR_OPERATION_INVALID);
    assert_int_equal(report(f, B, f->moving_run, VIR_DOMAIN_RUNNING, f->id).code, VIR_ERR_OK);
    assert_int_equal(report(f, B, f->moving_run, VIR_DOMAIN_SHUTOFF, -1).code, VIR_ERR_OK);
    make_run(&f->parts, ++f->request, DOMAIN, B);
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_INVALID); /* generation 1 was A's */
    make_run(&f->parts, ++f->request, DOMAIN, B);
    f->parts.run.if_generation = 2;
    struct vq_result run = apply(f);
    assert_int_equal(run.code, VIR_ERR_OK);
    assert_true(run.number > f->moving_run);
}

static void a_cancel_leaves_all_as_it_was(void **state)
{
    struct fixture *f = *state;

    begin_move(f);
    struct vq_result result = end(f, B, f->moving_run, false);
    assert_int_equal(result.code, VIR_ERR_OK);
    assert_int_equal(f->changes.n_changes, 1);
    assert_int_equal(f->changes.changes[0].kind, VQ_CHANGE_DOMAIN_MOVE);
    assert_int_equal(f->changes.changes[0].owner, A);
    assert_int_equal(f->changes.changes[0].moving_to, B);
    assert_int_equal(f->changes.changes[0].n_events, 0);
    assert_no_move(f, A);
    struct vq_domain_head head = head_of(f);
    assert_int_equal(head.generation, 1);
    assert_int_equal(head.run, f->run);
    assert_int_equal(head.last_move, f->moving_run); /* it is known that it was there */
    assert_int_equal(head.id, f->id);
    assert_int_equal(report(f, A, f->run, VIR_DOMAIN_RUNNING, f->id).code, VIR_ERR_OK);
}

static void of_both_ends_the_first_counts(void **state)
{
    struct fixture *f = *state;

    begin_move(f);
    assert_int_equal(end(f, B, f->moving_run, true).code, VIR_ERR_OK);
    assert_int_equal(end(f, B, f->moving_run, false).code, VIR_ERR_OPERATION_INVALID);
    assert_int_equal(f->changes.n_changes, 0);
    assert_no_move(f, B);
    assert_int_equal(end(f, B, f->moving_run, true).code, VIR_ERR_OPERATION_INVALID);

    uint64_t first = f->moving_run;
    assert_int_equal(report(f, B, first, VIR_DOMAIN_RUNNING, f->id).code, VIR_ERR_OK);
    struct vq_result back = move(f, B, A, 2);
    assert_int_equal(back.code, VIR_ERR_OK);
    assert_true(back.number > first);
    assert_int_equal(end(f, A, back.number, false).code, VIR_ERR_OK);
    assert_int_equal(end(f, A, back.number, true).code, VIR_ERR_OPERATION_INVALID);
    assert_no_move(f, B);
}

static void an_end_of_an_earlier_move_is_refused(void **state)
{
    struct fixture *f = *state;

    begin_move(f);
    uint64_t first = f->moving_run;
    assert_int_equal(end(f, B, first, false).code, VIR_ERR_OK);
    begin_move(f);
    assert_true(f->moving_run > first);
    assert_int_equal(end(f, B, first, true).code, VIR_ERR_OPERATION_INVALID);
    assert_int_equal(end(f, B, first, false).code, VIR_ERR_OPERATION_INVALID);
    assert_int_equal(end(f, C, f->moving_run, true).code, VIR_ERR_OPERATION_INVALID);
    assert_int_equal(end(f, 0, 0, true).code, VIR_ERR_OPERATION_INVALID);
    assert_int_equal(head_of(f).moving_run, f->moving_run);
}

static void the_same_request_ends_a_move_once(void **state)
{
    struct fixture *f = *state;

    begin_move(f);
    assert_int_equal(end(f, B, f->moving_run, true).code, VIR_ERR_OK);
    struct vq_result again = apply_at(f, ++f->index); /* the same command: its sender did not hear */
    assert_int_equal(again.code, VIR_ERR_OK);
    assert_int_equal(again.number, f->moving_run);
    assert_int_equal(head_of(f).generation, 2);
}

/* ---- Refusals of a beginning ---- */

static void a_move_is_refused_unless_all_fits(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(move(f, B, C, 1).code, VIR_ERR_OPERATION_INVALID);  /* not the owner */
    assert_int_equal(move(f, A, B, 2).code, VIR_ERR_OPERATION_INVALID);  /* generation */
    assert_int_equal(move(f, A, B, 0).code, VIR_ERR_OPERATION_INVALID);
    assert_int_equal(move(f, A, A, 1).code, VIR_ERR_INVALID_ARG);        /* is there */
    assert_int_equal(move(f, A, 9, 1).code, VIR_ERR_OPERATION_FAILED);   /* no such node */
    assert_int_equal(move(f, A, 0, 1).code, VIR_ERR_OPERATION_FAILED);
    make_move(&f->parts, ++f->request, 8, A, B);
    assert_int_equal(apply(f).code, VIR_ERR_NO_DOMAIN);
    make_move(&f->parts, ++f->request, DOMAIN, A, B);
    f->parts.move.uuid.len = 15;
    assert_int_equal(apply(f).code, VIR_ERR_INVALID_ARG);
    assert_int_equal(f->changes.n_changes, 0);
    assert_no_move(f, A);
    begin_move(f);
    assert_int_equal(move(f, A, B, 1).code, VIR_ERR_OPERATION_INVALID);  /* moves already */
    struct vq_result result = move(f, A, C, 1);
    assert_int_equal(result.code, VIR_ERR_OPERATION_INVALID);
    assert_string_equal(result.message, "domain 'web1' is being migrated to node 2 already");
}

static void what_is_off_or_being_started_does_not_move(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(begin_run(f, A).code, VIR_ERR_OK);
    assert_int_equal(move(f, A, B, 1).code, VIR_ERR_OPERATION_INVALID);
    struct vq_domain_head head = head_of(f);
    assert_int_equal(report(f, A, head.run, VIR_DOMAIN_SHUTOFF, -1).code, VIR_ERR_OK);
    assert_int_equal(move(f, A, B, 1).code, VIR_ERR_OPERATION_INVALID);
    assert_no_move(f, A);
}

static void the_owner_of_what_is_off_changes_without_a_move(void **state)
{
    struct fixture *f = *state;

    make_owner(&f->parts, ++f->request, DOMAIN, A, B);
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_INVALID); /* it runs */
    begin_move(f);
    make_owner(&f->parts, ++f->request, DOMAIN, A, B);
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_INVALID);
    assert_int_equal(report(f, A, f->run, VIR_DOMAIN_SHUTOFF, -1).code, VIR_ERR_OK);
    make_owner(&f->parts, ++f->request, DOMAIN, A, 9);
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_FAILED);
    make_owner(&f->parts, ++f->request, DOMAIN, A, B);
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    assert_int_equal(f->changes.changes[0].old_owner, A);
    assert_int_equal(f->changes.changes[0].n_events, 0);
    assert_no_move(f, B);
}

static void a_claimed_domain_does_not_change_its_owner(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(report(f, A, f->run, VIR_DOMAIN_SHUTOFF, -1).code, VIR_ERR_OK);
    assert_int_equal(begin_run(f, A).code, VIR_ERR_OK);
    make_owner(&f->parts, ++f->request, DOMAIN, A, B);
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_INVALID);
}

/* ---- What may come in between ---- */

static void the_end_of_the_guest_ends_its_move(void **state)
{
    struct fixture *f = *state;

    begin_move(f);
    assert_int_equal(report(f, A, f->run, VIR_DOMAIN_SHUTOFF, -1).code, VIR_ERR_OK);
    assert_int_equal(f->changes.changes[0].moving_to, B); /* who waits for it hears of it */
    assert_no_move(f, A);
    assert_int_equal(end(f, B, f->moving_run, true).code, VIR_ERR_OPERATION_INVALID);
    assert_no_move(f, A);
}

static void the_end_of_a_transient_guest_takes_its_move_along(void **state)
{
    struct fixture *f = *state;

    make_undefine(&f->parts, ++f->request, DOMAIN);
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    begin_move(f);
    assert_int_equal(report(f, A, f->run, VIR_DOMAIN_SHUTOFF, -1).code, VIR_ERR_OK);
    assert_true(f->changes.changes[0].is_gone);
    assert_int_equal(f->changes.changes[0].moving_to, B);
    assert_int_equal(end(f, B, f->moving_run, true).code, VIR_ERR_NO_DOMAIN);
}

static void a_new_run_of_the_owner_ends_the_move(void **state)
{
    struct fixture *f = *state;

    begin_move(f);
    struct vq_result run = begin_run(f, A); /* before the end of the last one was reported */
    assert_int_equal(run.code, VIR_ERR_OK);
    assert_true(run.number > f->moving_run);
    assert_int_equal(f->changes.n_changes, 1);
    assert_int_equal(f->changes.changes[0].kind, VQ_CHANGE_DOMAIN_MOVE);
    assert_int_equal(f->changes.changes[0].moving_to, B);
    assert_no_move(f, A);
    assert_int_equal(end(f, B, f->moving_run, true).code, VIR_ERR_OPERATION_INVALID);
}

static void a_report_of_another_run_ends_the_move(void **state)
{
    struct fixture *f = *state;

    begin_move(f);
    assert_int_equal(report(f, A, f->run + 1, VIR_DOMAIN_RUNNING, 2000001).code, VIR_ERR_OK); /* without a quorum */
    assert_int_equal(f->changes.changes[0].moving_to, B);
    assert_no_move(f, A);
    assert_int_equal(end(f, B, f->moving_run, true).code, VIR_ERR_OPERATION_INVALID);
}

static void a_domain_on_its_way_may_be_redefined_and_undefined(void **state)
{
    struct fixture *f = *state;

    begin_move(f);
    assert_int_equal(define(f, DOMAIN, "web1", true).code, VIR_ERR_OK);
    assert_int_equal(f->changes.changes[0].moving_to, B);
    assert_int_equal(head_of(f).moving_run, f->moving_run);
    make_undefine(&f->parts, ++f->request, DOMAIN);
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    assert_int_equal(head_of(f).moving_run, f->moving_run);
    assert_int_equal(end(f, B, f->moving_run, true).code, VIR_ERR_OK);
    assert_int_equal(head_of(f).flags & VQ_DOMAIN_PERSISTENT, 0);
    assert_int_equal(report(f, B, f->moving_run, VIR_DOMAIN_SHUTOFF, -1).code, VIR_ERR_OK);
    assert_true(f->changes.changes[0].is_gone);
}

static void a_domain_on_its_way_is_not_renamed(void **state)
{
    struct fixture *f = *state;

    begin_move(f);
    begin_command(&f->parts, ++f->request, DOMAIN);
    vq__domain_rename__init(&f->parts.rename);
    f->parts.rename.uuid = (ProtobufCBinaryData){16, f->parts.uuid};
    f->parts.rename.new_name = "web2";
    f->parts.rename.xml = (ProtobufCBinaryData){4, (uint8_t *)"<d/>"};
    f->parts.command.change_case = VQ__COMMAND__CHANGE_DOMAIN_RENAME;
    f->parts.command.domain_rename = &f->parts.rename;
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_INVALID);
    assert_int_equal(head_of(f).moving_run, f->moving_run);
}

static void remove_node(struct fixture *f, uint64_t node)
{
    begin_command(&f->parts, ++f->request, 0);
    vq__node_remove__init(&f->parts.node_remove);
    f->parts.node_remove.id = node;
    f->parts.command.change_case = VQ__COMMAND__CHANGE_NODE_REMOVE;
    f->parts.command.node_remove = &f->parts.node_remove;
    assert_int_equal(apply(f).code, VIR_ERR_OK);
}

static void a_move_to_a_node_that_was_removed_can_only_be_cancelled(void **state)
{
    struct fixture *f = *state;

    begin_move(f);
    remove_node(f, B);
    assert_int_equal(end(f, B, f->moving_run, true).code, VIR_ERR_OPERATION_FAILED);
    assert_int_equal(head_of(f).owner, A);
    assert_int_equal(end(f, B, f->moving_run, false).code, VIR_ERR_OK);
    assert_no_move(f, A);
}

static void a_move_from_a_node_that_was_removed_can_be_committed(void **state)
{
    struct fixture *f = *state;

    begin_move(f);
    remove_node(f, A);
    assert_int_equal(end(f, B, f->moving_run, true).code, VIR_ERR_OK);
    assert_no_move(f, B);
}

/* ---- What a commit may bring along ---- */

static void a_commit_brings_a_definition(void **state)
{
    struct fixture *f = *state;

    begin_move(f);
    make_commit_kept(f, "web1");
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    assert_int_equal(f->changes.n_changes, 2);
    assert_int_equal(f->changes.changes[0].kind, VQ_CHANGE_DOMAIN_OWNER);
    assert_int_equal(f->changes.changes[1].kind, VQ_CHANGE_DOMAIN_DEFINED);
    assert_int_equal(f->changes.changes[1].owner, B);
    assert_false(f->changes.changes[1].is_new);
    assert_text(f, "<kept>");
    struct vq_domain_head head = head_of(f);
    assert_int_equal(head.version, 2);
    assert_int_equal(head.vcpus, 1); /* the guest has what it had */
    assert_int_equal(report(f, B, f->moving_run, VIR_DOMAIN_SHUTOFF, -1).code, VIR_ERR_OK);
    assert_int_equal(head_of(f).vcpus, 4);
}

static void a_commit_makes_persistent_or_transient(void **state)
{
    struct fixture *f = *state;

    begin_move(f);
    make_move_end(&f->parts, ++f->request, DOMAIN, B, f->moving_run, true);
    f->parts.move_end.keep = VQ__DOMAIN_MOVE_END__KEEP__KEEP_TRANSIENT;
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    assert_int_equal(f->changes.n_changes, 2);
    assert_int_equal(f->changes.changes[1].kind, VQ_CHANGE_DOMAIN_UNDEFINED);
    assert_int_equal(head_of(f).flags & VQ_DOMAIN_PERSISTENT, 0);
    assert_int_equal(report(f, B, f->moving_run, VIR_DOMAIN_RUNNING, f->id).code, VIR_ERR_OK);

    struct vq_result back = move(f, B, A, 2);
    make_move_end(&f->parts, ++f->request, DOMAIN, A, back.number, true);
    f->parts.move_end.keep = VQ__DOMAIN_MOVE_END__KEEP__KEEP_PERSISTENT;
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    assert_int_equal(f->changes.n_changes, 2);
    assert_int_equal(f->changes.changes[1].kind, VQ_CHANGE_DOMAIN_DEFINED);
    assert_true(f->changes.changes[1].is_new);
    assert_true(f->changes.changes[1].is_persistent);
    assert_int_equal(head_of(f).flags & VQ_DOMAIN_PERSISTENT, VQ_DOMAIN_PERSISTENT);
    assert_int_equal(report(f, A, back.number, VIR_DOMAIN_SHUTOFF, -1).code, VIR_ERR_OK);
    assert_false(f->changes.changes[0].is_gone);
}

static void keeping_what_is_kept_already_is_no_change(void **state)
{
    struct fixture *f = *state;

    begin_move(f);
    make_move_end(&f->parts, ++f->request, DOMAIN, B, f->moving_run, true);
    f->parts.move_end.keep = VQ__DOMAIN_MOVE_END__KEEP__KEEP_PERSISTENT;
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    assert_int_equal(f->changes.n_changes, 1);
}

static void a_commit_renames(void **state)
{
    struct fixture *f = *state;

    assert_int_equal(define(f, 8, "taken", true).code, VIR_ERR_OK);
    begin_move(f);
    make_commit_kept(f, "taken");
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_INVALID);
    make_commit_kept(f, "a/b");
    assert_int_equal(apply(f).code, VIR_ERR_INVALID_ARG);
    make_commit_kept(f, "moved");
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    assert_int_equal(f->changes.n_changes, 3);
    assert_string_equal(f->changes.changes[0].name, "web1"); /* it was this one that stopped */
    assert_int_equal(f->changes.changes[1].kind, VQ_CHANGE_DOMAIN_RENAMED);
    assert_string_equal(f->changes.changes[1].new_name, "moved");
    assert_string_equal(f->changes.changes[2].name, "moved");
    struct vq_store_view *v = view(f);
    assert_null(vq_store_domain_find_by_name(v, VQ_DRIVER_QEMU, "web1"));
    const struct vq_domain_head *head = vq_store_domain_find_by_name(v, VQ_DRIVER_QEMU, "moved");
    assert_non_null(head);
    assert_int_equal(head->owner, B);
    vq_store_view_end(v);
}

static void an_end_that_makes_no_sense_is_refused(void **state)
{
    struct fixture *f = *state;
    uint8_t other[16];

    begin_move(f);
    make_commit_kept(f, "web1");
    f->parts.move_end.commit = false;
    assert_int_equal(apply(f).code, VIR_ERR_INVALID_ARG);
    make_move_end(&f->parts, ++f->request, DOMAIN, B, f->moving_run, false);
    f->parts.move_end.keep = VQ__DOMAIN_MOVE_END__KEEP__KEEP_PERSISTENT;
    assert_int_equal(apply(f).code, VIR_ERR_INVALID_ARG);
    make_move_end(&f->parts, ++f->request, DOMAIN, B, f->moving_run, true);
    f->parts.move_end.keep = (Vq__DomainMoveEnd__Keep)77;
    assert_int_equal(apply(f).code, VIR_ERR_INVALID_ARG);
    make_commit_kept(f, "web1");
    number_bytes(other, 8, 0xd0);
    f->parts.kept.uuid.data = other;
    assert_int_equal(apply(f).code, VIR_ERR_INVALID_ARG);
    make_commit_kept(f, "web1");
    f->parts.kept.driver = "lxc";
    assert_int_equal(apply(f).code, VIR_ERR_INVALID_ARG);
    make_commit_kept(f, "web1");
    f->parts.kept.xml.len = 0;
    assert_int_equal(apply(f).code, VIR_ERR_INVALID_ARG);
    make_commit_kept(f, "web1");
    f->parts.kept.xml_size = 1000; /* not compressed at all */
    assert_int_equal(apply(f).code, VIR_ERR_INVALID_ARG);
    assert_int_equal(head_of(f).moving_run, f->moving_run); /* nothing of this touched it */
    assert_int_equal(head_of(f).owner, A);
    assert_text(f, "<domain/>   ");
}

/* ---- Restarts and copies ---- */

static void a_move_outlives_a_restart(void **state)
{
    struct fixture *f = *state;

    begin_move(f);
    uint64_t hash = hash_of(f->store), index = f->index;
    vq_store_close(f->store);
    open_store(f);
    assert_int_equal(f->index, index);
    assert_int_equal(hash_of(f->store), hash);
    assert_int_equal(head_of(f).moving_run, f->moving_run);
    make_move(&f->parts, f->request, DOMAIN, A, B);
    (void)apply_at(f, index); /* the log gives it once more */
    assert_int_equal(f->changes.n_changes, 0);
    assert_int_equal(hash_of(f->store), hash);
    assert_int_equal(end(f, B, f->moving_run, true).code, VIR_ERR_OK);
}

static char *take_snapshot(struct fixture *f, size_t *ret_length)
{
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_store_snapshot snapshot;
    size_t at = 0, length = 0;

    if (vq_store_snapshot_take(f->store, &snapshot, &err) < 0)
        fail_msg("%s", err.message);
    for (unsigned i = 0; i < snapshot.n_bufs; i++)
        length += snapshot.bufs[i].len;
    char *bytes = vq_calloc(1, length);
    for (unsigned i = 0; i < snapshot.n_bufs; at += snapshot.bufs[i++].len)
        memcpy(bytes + at, snapshot.bufs[i].base, snapshot.bufs[i].len);
    vq_store_snapshot_free(&snapshot);
    *ret_length = length;
    return bytes;
}

static void a_move_travels_in_a_snapshot(void **state)
{
    struct fixture *f = *state, *other = vq_new(struct fixture);
    struct vq_error err = VQ_ERROR_INIT;
    bool was_loaded;
    size_t length;

    begin_move(f);
    VQ_AUTOFREE char *bytes = take_snapshot(f, &length);
    other->dir = make_tree();
    open_store(other);
    assert_int_equal(vq_store_restore(other->store, bytes, length, &was_loaded, &err), 0);
    assert_true(was_loaded);
    assert_int_equal(hash_of(other->store), hash_of(f->store));
    assert_int_equal(head_of(other).moving_to, B);
    other->index = f->index;
    other->request = f->request;
    assert_int_equal(end(f, B, f->moving_run, true).code, VIR_ERR_OK);
    assert_int_equal(end(other, B, f->moving_run, true).code, VIR_ERR_OK);
    assert_int_equal(hash_of(other->store), hash_of(f->store));
    (void)teardown((void **)&other);
}

static void a_store_of_an_earlier_format_is_set_aside(void **state)
{
    struct fixture *f = *state;
    struct vq_error err = VQ_ERROR_INIT;

    assert_int_equal(vq_store_write_begin(f->store, &err), 0);
    f->store->meta.format = VQ_STORE_FORMAT - 1;
    vq_store_close(f->store);
    open_store(f);
    assert_int_equal(f->index, 0); /* the log fills it again */
    struct vq_store_view *v = view(f);
    assert_int_equal(vq_store_domain_count(v), 0);
    vq_store_view_end(v);
}

static void a_snapshot_of_an_earlier_format_is_refused(void **state)
{
    struct fixture *f = *state;
    struct vq_error err = VQ_ERROR_INIT;
    uint32_t format = VQ_STORE_FORMAT - 1;
    bool was_loaded;
    size_t length;
    VQ_AUTOFREE char *bytes = take_snapshot(f, &length);
    uint64_t hash = hash_of(f->store);

    memcpy(bytes + 8, &format, sizeof(format)); /* behind the magic */
    assert_int_equal(vq_store_restore(f->store, bytes, length, &was_loaded, &err), -1);
    assert_string_equal(err.message, "a snapshot has format 1, this version knows 2");
    assert_int_equal(hash_of(f->store), hash);
}

#undef TEST
#define TEST(name) cmocka_unit_test_setup_teardown(name, setup_running, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_move_is_begun_and_committed),
        TEST(a_commit_tells_of_the_old_owner),
        TEST(after_a_commit_only_the_new_owner_speaks),
        TEST(a_cancel_leaves_all_as_it_was),
        TEST(of_both_ends_the_first_counts),
        TEST(an_end_of_an_earlier_move_is_refused),
        TEST(the_same_request_ends_a_move_once),
        TEST(a_move_is_refused_unless_all_fits),
        TEST(what_is_off_or_being_started_does_not_move),
        TEST(the_owner_of_what_is_off_changes_without_a_move),
        TEST(a_claimed_domain_does_not_change_its_owner),
        TEST(the_end_of_the_guest_ends_its_move),
        TEST(the_end_of_a_transient_guest_takes_its_move_along),
        TEST(a_new_run_of_the_owner_ends_the_move),
        TEST(a_report_of_another_run_ends_the_move),
        TEST(a_domain_on_its_way_may_be_redefined_and_undefined),
        TEST(a_domain_on_its_way_is_not_renamed),
        TEST(a_move_to_a_node_that_was_removed_can_only_be_cancelled),
        TEST(a_move_from_a_node_that_was_removed_can_be_committed),
        TEST(a_commit_brings_a_definition),
        TEST(a_commit_makes_persistent_or_transient),
        TEST(keeping_what_is_kept_already_is_no_change),
        TEST(a_commit_renames),
        TEST(an_end_that_makes_no_sense_is_refused),
        TEST(a_move_outlives_a_restart),
        TEST(a_move_travels_in_a_snapshot),
        TEST(a_store_of_an_earlier_format_is_set_aside),
        TEST(a_snapshot_of_an_earlier_format_is_refused),
    };
    return cmocka_run_group_tests_name("store_move", tests, NULL, NULL);
}
