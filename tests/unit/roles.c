/* Who votes. */
#include "raft/roles.h"

#include "tests/unit/commands.h"

static const struct vq_roles_policy policy = {.voters_max = 3, .replace_after_ms = 10000};
static struct vq_roles_node nodes[300];
static size_t n_nodes;

/* One letter a node: V voter, S stand-by, P spare, N not in raft; small: offline for long. '-': offline just now. '.'
 * behind in the log; '!' to be kept out of the votes; 'x' removed from the table. */
static void cluster(const char *text)
{
    n_nodes = 0;
    memset(nodes, 0, sizeof(nodes));
    for (const char *c = text; *c != '\0'; c++) {
        struct vq_roles_node *node = &nodes[n_nodes];
        switch (*c) {
        case '-':
            node[-1].is_online = false;
            node[-1].offline_ms = 3000;
            continue;
        case '.':
            node[-1].is_caught_up = false;
            continue;
        case '!':
            node[-1].wants_spare = true;
            continue;
        case 'x':
            node[-1].is_member = false;
            continue;
        case ' ':
            continue;
        default:
            break;
        }
        char letter = *c >= 'a' ? (char)(*c - 'a' + 'A') : *c;
        node->id = n_nodes + 1;
        node->is_member = true;
        node->is_online = *c < 'a';
        node->offline_ms = node->is_online ? 0 : 60000;
        node->is_caught_up = true;
        node->role = letter == 'V'   ? VQ_RAFT_VOTER
                     : letter == 'S' ? VQ_RAFT_STANDBY
                     : letter == 'P' ? VQ_RAFT_SPARE
                                     : VQ_RAFT_NO_ROLE;
        n_nodes++;
    }
}

static void expect(const char *text, enum vq_roles_action action, uint64_t id, enum vq_raft_role role)
{
    cluster(text);
    struct vq_roles_step step = vq_roles_next(nodes, n_nodes, 1, &policy);
    if (step.action != action || step.id != id || (action == VQ_ROLES_ASSIGN && step.role != role))
        fail_msg("'%s': action %d on %llu to role %d, expected %d on %llu to %d", text, step.action,
                 (unsigned long long)step.id, step.role, action, (unsigned long long)id, role);
}

static void expect_nothing(const char *text)
{
    expect(text, VQ_ROLES_NOTHING, 0, VQ_RAFT_NO_ROLE);
}

static void clusters_at_rest_are_left_alone(void **state)
{
    static const char *const texts[] = {"V",   "VS",   "VVV",   "VVVS", "VVVSSS", "VVVP!", "VVv",
                                        "Vvv", "VV-V", "VVvP!", "VVvs", "VVvS.",  "VVvS-"};

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(texts); i++)
        expect_nothing(texts[i]);
}

static void a_new_member_comes_in(void **state)
{
    (void)state;
    expect("VN", VQ_ROLES_ADD, 2, 0);
    expect_nothing("Vn"); /* when it is there */
    expect("VP", VQ_ROLES_ASSIGN, 2, VQ_RAFT_STANDBY);
    expect("VS!", VQ_ROLES_ASSIGN, 2, VQ_RAFT_SPARE);
}

static void two_nodes_are_a_voter_and_a_stand_by(void **state)
{
    (void)state;
    expect_nothing("VS");
    expect("VV", VQ_ROLES_ASSIGN, 2, VQ_RAFT_STANDBY);
}

static void the_third_node_makes_three_voters(void **state)
{
    (void)state;
    expect("VSS", VQ_ROLES_ASSIGN, 2, VQ_RAFT_VOTER);
    expect("VVS", VQ_ROLES_ASSIGN, 3, VQ_RAFT_VOTER);
    expect_nothing("VSS."); /* an even number only on the way to the next odd one */
    expect_nothing("VSs");
    expect_nothing("VVS.");                             /* soon */
    expect("VVs", VQ_ROLES_ASSIGN, 2, VQ_RAFT_STANDBY); /* not soon: two voters are worse than one */
}

static void more_than_three_do_not_vote(void **state)
{
    (void)state;
    expect("VVVV", VQ_ROLES_ASSIGN, 4, VQ_RAFT_STANDBY);
    expect("VVVVv", VQ_ROLES_ASSIGN, 5, VQ_RAFT_STANDBY);
}

static void a_lost_voter_is_replaced(void **state)
{
    (void)state;
    expect("VVvS", VQ_ROLES_ASSIGN, 4, VQ_RAFT_VOTER);
    expect("VVvV", VQ_ROLES_ASSIGN, 3, VQ_RAFT_STANDBY);
    expect_nothing("VVsV");
    expect_nothing("VVV-S"); /* not before its time */
}

static void a_cluster_never_shrinks_into_a_loss(void **state)
{
    (void)state;
    expect_nothing("VVv"); /* dead nodes are members until somebody removes them */
    expect_nothing("Vvv");
    expect_nothing("VvvS");                /* no majority: nothing could be committed */
    expect("VVvx", VQ_ROLES_REMOVE, 3, 0); /* somebody has */
}

static void a_removed_node_goes(void **state)
{
    (void)state;
    expect("VVVSx", VQ_ROLES_REMOVE, 4, 0);
    expect("VVVxS", VQ_ROLES_ASSIGN, 4, VQ_RAFT_VOTER);
    expect("VVVxV", VQ_ROLES_REMOVE, 3, 0);
    expect("VVvxV", VQ_ROLES_REMOVE, 3, 0);
    expect("VxVV", VQ_ROLES_TRANSFER, 2, 0);
    expect("V!VVS", VQ_ROLES_TRANSFER, 2, 0);
    expect("VV!VS", VQ_ROLES_ASSIGN, 4, VQ_RAFT_VOTER);
    expect("VV!VV", VQ_ROLES_ASSIGN, 2, VQ_RAFT_SPARE);
}

static void five_voters_when_asked_for(void **state)
{
    struct vq_roles_policy five = {.voters_max = 5, .replace_after_ms = 10000};

    (void)state;
    cluster("VVVSS");
    assert_int_equal(vq_roles_next(nodes, n_nodes, 1, &five).action, VQ_ROLES_ASSIGN);
    cluster("VVVS");
    assert_int_equal(vq_roles_next(nodes, n_nodes, 1, &five).action, VQ_ROLES_NOTHING);
    cluster("VVVVVSS");
    assert_int_equal(vq_roles_next(nodes, n_nodes, 1, &five).action, VQ_ROLES_NOTHING);
}

static void take_step(const struct vq_roles_step *step)
{
    for (size_t i = 0; i < n_nodes; i++) {
        if (nodes[i].id != step->id)
            continue;
        nodes[i].role = step->action == VQ_ROLES_REMOVE ? VQ_RAFT_NO_ROLE
                        : step->action == VQ_ROLES_ADD  ? VQ_RAFT_STANDBY
                                                        : step->role;
    }
}

static void check_step(const struct vq_roles_step *step, uint64_t self)
{
    unsigned voters = 0, online = 0;

    for (size_t i = 0; i < n_nodes; i++) {
        voters += nodes[i].role == VQ_RAFT_VOTER;
        online += nodes[i].role == VQ_RAFT_VOTER && nodes[i].is_online;
    }
    assert_true(step->action == VQ_ROLES_TRANSFER || online >= voters / 2 + 1 || step->action == VQ_ROLES_ADD);
    assert_true(step->action == VQ_ROLES_TRANSFER || step->id != self);
}

/* Any shape comes to rest, at an odd number, through steps that its own majority can commit. */
static void every_shape_comes_to_rest(void **state)
{
    unsigned seed = 4711;

    (void)state;
    for (int round = 0; round < 20000; round++) {
        n_nodes = 1 + (seed = seed * 1103515245 + 12345, (seed >> 16) % 8);
        memset(nodes, 0, sizeof(nodes));
        for (size_t i = 0; i < n_nodes; i++) {
            seed = seed * 1103515245 + 12345;
            unsigned r = seed >> 8;
            nodes[i] = (struct vq_roles_node){.id = i + 1,
                                              .is_member = i == 0 || r % 8 != 0,
                                              .is_online = i == 0 || r / 8 % 4 != 0,
                                              .role = i == 0 ? VQ_RAFT_VOTER : (enum vq_raft_role)(r / 32 % 4),
                                              .is_caught_up = i == 0 || r / 128 % 4 != 0,
                                              .wants_spare = i > 0 && r / 512 % 8 == 0};
            nodes[i].offline_ms = nodes[i].is_online ? 0 : r / 4096 % 20000;
        }
        unsigned voters = 0, online = 0;
        for (size_t i = 0; i < n_nodes; i++) {
            voters += nodes[i].role == VQ_RAFT_VOTER;
            online += nodes[i].role == VQ_RAFT_VOTER && nodes[i].is_online;
        }
        if (online < voters / 2 + 1)
            continue; /* there would be no leader to ask */
        int steps = 0;
        for (;; steps++) {
            struct vq_roles_step step = vq_roles_next(nodes, n_nodes, 1, &policy);
            if (step.action == VQ_ROLES_NOTHING)
                break;
            assert_int_not_equal(step.action, VQ_ROLES_TRANSFER);
            take_step(&step);
            check_step(&step, 1);
            assert_true(steps < 40);
        }
        bool all_well = true;
        voters = 0;
        for (size_t i = 0; i < n_nodes; i++) {
            all_well = all_well && nodes[i].is_online && nodes[i].is_caught_up;
            voters += nodes[i].role == VQ_RAFT_VOTER;
        }
        if (all_well)
            assert_int_equal(voters % 2, 1);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clusters_at_rest_are_left_alone),      cmocka_unit_test(a_new_member_comes_in),
        cmocka_unit_test(two_nodes_are_a_voter_and_a_stand_by), cmocka_unit_test(the_third_node_makes_three_voters),
        cmocka_unit_test(more_than_three_do_not_vote),          cmocka_unit_test(a_lost_voter_is_replaced),
        cmocka_unit_test(a_cluster_never_shrinks_into_a_loss),  cmocka_unit_test(a_removed_node_goes),
        cmocka_unit_test(five_voters_when_asked_for),           cmocka_unit_test(every_shape_comes_to_rest),
    };
    return cmocka_run_group_tests_name("roles", tests, NULL, NULL);
}
