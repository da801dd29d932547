/* Who votes. How many is decided by how many members there are, dead or alive: a cluster that loses nodes must not talk
 * itself into a smaller one, only an administrator who removes nodes makes it smaller. Which ones is decided by who is
 * there: a lost voter gives its vote to a stand-by.
 *
 * The number is odd at rest. On the way it is even for a moment; a vote is given before another is taken, and no step
 * is taken that the voters who are online could not commit. */
#include "raft/roles.h"

#include "conf/base/macros.h"

struct counts {
    unsigned members; /* that may vote: in the table and not kept out */
    unsigned voters;  /* in raft's configuration */
    unsigned online_voters;
    unsigned candidates; /* stand-bys that could vote now */
    unsigned hopeful;    /* stand-bys that soon may: not long gone */
    unsigned target;
};

static bool is_long_gone(const struct vq_roles_node *node, const struct vq_roles_policy *policy)
{
    return !node->is_online && node->offline_ms >= policy->replace_after_ms;
}

static bool may_vote(const struct vq_roles_node *node)
{
    return node->is_member && !node->wants_spare;
}

static bool is_candidate(const struct vq_roles_node *node)
{
    return may_vote(node) && node->role == VQ_RAFT_STANDBY && node->is_online && node->is_caught_up;
}

/* A voter whose vote belongs to somebody else. */
static bool is_bad_voter(const struct vq_roles_node *node, const struct vq_roles_policy *policy)
{
    return node->role == VQ_RAFT_VOTER && (!may_vote(node) || is_long_gone(node, policy));
}

static unsigned majority(unsigned voters)
{
    return voters / 2 + 1;
}

static unsigned largest_odd(unsigned limit)
{
    return limit == 0 ? 1 : limit - (limit % 2 == 0);
}

static struct counts count(const struct vq_roles_node *nodes, size_t n_nodes, const struct vq_roles_policy *policy)
{
    struct counts counts = {0};

    for (size_t i = 0; i < n_nodes; i++) {
        const struct vq_roles_node *node = &nodes[i];
        counts.members += may_vote(node);
        counts.voters += node->role == VQ_RAFT_VOTER;
        counts.online_voters += node->role == VQ_RAFT_VOTER && node->is_online;
        counts.candidates += is_candidate(node);
        counts.hopeful += may_vote(node) && node->role == VQ_RAFT_STANDBY && !is_long_gone(node, policy);
    }
    counts.target = largest_odd(counts.members < policy->voters_max ? counts.members : policy->voters_max);
    return counts;
}

static struct vq_roles_step assign(uint64_t id, enum vq_raft_role role)
{
    return (struct vq_roles_step){VQ_ROLES_ASSIGN, id, role};
}

static const struct vq_roles_step nothing = {VQ_ROLES_NOTHING, 0, VQ_RAFT_NO_ROLE};

/* A leader that must not vote hands over first; its successor takes the vote away. */
static struct vq_roles_step leave(const struct vq_roles_node *nodes, size_t n_nodes, uint64_t self,
                                  const struct vq_roles_policy *policy)
{
    const struct vq_roles_node *best = NULL;
    bool must_go = false;

    for (size_t i = 0; i < n_nodes; i++) {
        const struct vq_roles_node *node = &nodes[i];
        if (node->id == self)
            must_go = node->role == VQ_RAFT_VOTER && !may_vote(node);
        else if (node->role == VQ_RAFT_VOTER && node->is_online && node->is_caught_up && !is_bad_voter(node, policy) &&
                 (best == NULL || node->id < best->id))
            best = node;
    }
    return must_go && best != NULL ? (struct vq_roles_step){VQ_ROLES_TRANSFER, best->id, VQ_RAFT_VOTER} : nothing;
}

/* What concerns no votes: new members come in, spares and stand-bys are told apart, removed ones go. */
static struct vq_roles_step tidy(const struct vq_roles_node *nodes, size_t n_nodes)
{
    for (size_t i = 0; i < n_nodes; i++) {
        const struct vq_roles_node *node = &nodes[i];
        if (node->is_member && node->role == VQ_RAFT_NO_ROLE && node->is_online)
            return (struct vq_roles_step){VQ_ROLES_ADD, node->id, VQ_RAFT_STANDBY};
        if (!node->is_member && (node->role == VQ_RAFT_STANDBY || node->role == VQ_RAFT_SPARE))
            return (struct vq_roles_step){VQ_ROLES_REMOVE, node->id, VQ_RAFT_NO_ROLE};
        if (node->is_member && node->wants_spare && node->role == VQ_RAFT_STANDBY)
            return assign(node->id, VQ_RAFT_SPARE);
        if (may_vote(node) && node->role == VQ_RAFT_SPARE)
            return assign(node->id, VQ_RAFT_STANDBY);
    }
    return nothing;
}

static struct vq_roles_step promote(const struct vq_roles_node *nodes, size_t n_nodes)
{
    const struct vq_roles_node *best = NULL;

    for (size_t i = 0; i < n_nodes; i++)
        if (is_candidate(&nodes[i]) && (best == NULL || nodes[i].id < best->id))
            best = &nodes[i];
    return best == NULL ? nothing : assign(best->id, VQ_RAFT_VOTER);
}

/* Bad ones first, the longest gone of them; then those behind; then the youngest. Never ourselves: see leave(). */
static bool goes_before(const struct vq_roles_node *a, const struct vq_roles_node *b,
                        const struct vq_roles_policy *policy)
{
    bool a_is_bad = is_bad_voter(a, policy), b_is_bad = is_bad_voter(b, policy);

    if (a_is_bad != b_is_bad)
        return a_is_bad;
    if (a->is_online != b->is_online)
        return !a->is_online;
    if (!a->is_online && a->offline_ms != b->offline_ms)
        return a->offline_ms > b->offline_ms;
    if (a->is_caught_up != b->is_caught_up)
        return !a->is_caught_up;
    return a->id > b->id;
}

static struct vq_roles_step demote(const struct vq_roles_node *nodes, size_t n_nodes, uint64_t self,
                                   const struct vq_roles_policy *policy, const struct counts *counts)
{
    const struct vq_roles_node *worst = NULL;

    for (size_t i = 0; i < n_nodes; i++)
        if (nodes[i].role == VQ_RAFT_VOTER && nodes[i].id != self &&
            (worst == NULL || goes_before(&nodes[i], worst, policy)))
            worst = &nodes[i];
    if (worst == NULL || counts->online_voters - worst->is_online < majority(counts->voters - 1))
        return nothing;
    if (!worst->is_member)
        return (struct vq_roles_step){VQ_ROLES_REMOVE, worst->id, VQ_RAFT_NO_ROLE};
    return assign(worst->id, worst->wants_spare ? VQ_RAFT_SPARE : VQ_RAFT_STANDBY);
}

static unsigned count_bad(const struct vq_roles_node *nodes, size_t n_nodes, const struct vq_roles_policy *policy)
{
    unsigned n = 0;

    for (size_t i = 0; i < n_nodes; i++)
        n += is_bad_voter(&nodes[i], policy);
    return n;
}

struct vq_roles_step vq_roles_next(const struct vq_roles_node *nodes, size_t n_nodes, uint64_t self,
                                   const struct vq_roles_policy *policy)
{
    struct counts counts = count(nodes, n_nodes, policy);
    unsigned bad = count_bad(nodes, n_nodes, policy);
    unsigned missing = counts.target > counts.voters ? counts.target - counts.voters : 0;
    bool can_grow = counts.online_voters + 1 >= majority(counts.voters + 1);
    struct vq_roles_step step = leave(nodes, n_nodes, self, policy);

    if (step.action == VQ_ROLES_NOTHING)
        step = tidy(nodes, n_nodes);
    if (step.action != VQ_ROLES_NOTHING)
        return step;
    /* More votes: only as many as lead to an odd number again. */
    if (missing > 0 && can_grow && counts.candidates >= (counts.voters % 2 == 0 ? 1 : 2))
        return promote(nodes, n_nodes);
    /* A vote for another: given first, taken in the next step, when there is one too many. */
    if (bad > 0 && missing == 0 && counts.voters == counts.target && can_grow && counts.candidates > 0)
        return promote(nodes, n_nodes);
    if (counts.voters > counts.target)
        return demote(nodes, n_nodes, self, policy, &counts);
    /* Stuck on the way with an even number, and nobody in sight who could take a vote. */
    if (counts.voters % 2 == 0 && counts.hopeful == 0)
        return demote(nodes, n_nodes, self, policy, &counts);
    return nothing;
}
