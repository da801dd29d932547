/* Guests that move from node to node while everything around them breaks.
 *
 * Each node's QEMU of a guest is modelled with what docs/migration.md makes the two sides do: they ask for the end of a move,
 * both of them and repeatedly, and act on nothing but what their own node has applied. Checked: the CPUs of a guest never run
 * on two nodes, a move ends once, and at the end each guest runs on its owner with the run number that the state has. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include <libvirt/libvirt.h>

#include "conf/base/memory.h"
#include "proto/cluster.pb-c.h"
#include "tests/simulation/cluster.h"

enum { LOOK_MIN_US = 50000, LOOK_MAX_US = 900000, SEND_MIN_US = 1000, SEND_MAX_US = 400000 };
enum { RETRY_US = 30000, PATIENCE_US = 3000000, NODE_TIMEOUT_MS = 2000 };
enum question_kind { DEFINE, CLAIM, REPORT, MOVE, COMMIT, CANCEL };

/* A proposal, repeated with its request id until it is known what came of it. Counted: itself, its plans, its attempts. */
struct sim_question {
    struct sim_question *next;
    struct sim_guest *guest;
    enum question_kind kind;
    uint64_t node, to, run; /* whose guest it is; where it goes to; of the move, or reported */
    uint8_t request_id[16];
    uint8_t *command;
    size_t length;
    uint64_t asked; /* node asked last */
    uint64_t attempt;
    bool is_known;
    unsigned refs;
};

struct attempt {
    struct sim_asked asked; /* first: freed as such */
    struct sim_question *question;
    uint64_t number;
};

static void ask(struct sim_question *question);

static struct world *world_of(const struct sim_guest *guest)
{
    return &guest->cluster->world;
}

/* ---- Asking ---- */

static void question_unref(struct sim_question *question)
{
    if (--question->refs > 0)
        return;
    free(question->command);
    free(question);
}

static void attempt_over(struct sim_asked *asked)
{
    question_unref(VQ_CONTAINER_OF(asked, struct attempt, asked)->question);
}

static void forget_attempt(void *data)
{
    attempt_over(data);
    free(data);
}

static void again(void *data)
{
    struct attempt *attempt = data;

    if (!attempt->question->is_known && attempt->number == attempt->question->attempt)
        ask(attempt->question);
    forget_attempt(attempt);
}

static struct attempt *attempt_new(struct sim_question *question)
{
    struct attempt *attempt = vq_new(struct attempt);

    attempt->question = question;
    attempt->number = question->attempt;
    question->refs++;
    return attempt;
}

static void plan_again(struct sim_question *question, uint64_t delay_us)
{
    world_plan(world_of(question->guest), delay_us, again, attempt_new(question), question->guest, forget_attempt);
}

static void question_answered(struct sim_question *question, const struct vq_result *result);

static void answered(struct sim_asked *asked, enum vq_raft_outcome outcome, const struct vq_result *result)
{
    struct attempt *attempt = VQ_CONTAINER_OF(asked, struct attempt, asked);
    struct sim_question *question = attempt->question;
    struct sim_cluster *cluster = question->guest->cluster;
    bool is_lost = world_chance(&cluster->world, cluster->is_healing ? 0 : 30);

    if (!question->is_known && attempt->number == question->attempt && !is_lost) {
        question->attempt++;
        if (outcome == VQ_RAFT_APPLIED)
            question_answered(question, result);
        else
            plan_again(question, RETRY_US);
    }
    attempt_over(asked);
}

static void ask(struct sim_question *question)
{
    struct sim_cluster *cluster = question->guest->cluster;
    struct sim_node *node = sim_choose_node(cluster, &question->asked);

    question->attempt++;
    plan_again(question, node->is_up ? PATIENCE_US : RETRY_US);
    if (!node->is_up)
        return;
    struct attempt *attempt = attempt_new(question);
    attempt->asked = (struct sim_asked){answered, attempt_over};
    vq_core_propose(node->core, vq_memdup(question->command, question->length), question->length,
                    world_ms(&cluster->world) + NODE_TIMEOUT_MS, &attempt->asked);
    vq_core_turn(node->core, world_ms(&cluster->world));
}

static struct sim_question *question_new(struct sim_guest *guest, enum question_kind kind, uint64_t node)
{
    struct sim_question *question = vq_new(struct sim_question);

    *question = (struct sim_question){.guest = guest, .kind = kind, .node = node, .refs = 1, .next = guest->asking};
    guest->asking = question;
    for (int i = 0; i < 2; i++) {
        uint64_t random = world_random(world_of(guest));
        memcpy(question->request_id + 8 * i, &random, sizeof(random));
    }
    guest->n_asking++;
    return question;
}

static void send_question(struct sim_question *question, Vq__Command *command)
{
    command->request_id = (ProtobufCBinaryData){16, question->request_id};
    command->time_ms = world_ms(world_of(question->guest));
    question->length = vq__command__get_packed_size(command);
    question->command = vq_calloc(1, question->length);
    vq__command__pack(command, question->command);
    ask(question);
}

/* ---- What is asked for ---- */

static ProtobufCBinaryData uuid_of(struct sim_guest *guest)
{
    return (ProtobufCBinaryData){16, guest->uuid};
}

static void ask_define(struct sim_guest *guest)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainDefine define = VQ__DOMAIN_DEFINE__INIT;
    char name[32];

    (void)snprintf(name, sizeof(name), "guest%u", guest->uuid[0]);
    define.driver = "qemu";
    define.uuid = uuid_of(guest);
    define.name = name;
    define.owner = 1;
    define.persistent = true;
    define.xml = (ProtobufCBinaryData){9, (uint8_t *)"<domain/>"};
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_DEFINE;
    command.domain_define = &define;
    send_question(question_new(guest, DEFINE, 1), &command);
}

static void ask_claim(struct sim_guest *guest)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainRun run = VQ__DOMAIN_RUN__INIT;

    run.uuid = uuid_of(guest);
    run.node = 1;
    run.if_generation = 1;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_RUN;
    command.domain_run = &run;
    send_question(question_new(guest, CLAIM, 1), &command);
}

static void ask_report(struct sim_guest *guest, uint64_t node, uint64_t run)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainState state = VQ__DOMAIN_STATE__INIT;
    struct sim_question *question = question_new(guest, REPORT, node);

    question->run = run;
    state.uuid = uuid_of(guest);
    state.node = node;
    state.run = run;
    state.state = VIR_DOMAIN_RUNNING;
    state.id = guest->uuid[0];
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_STATE;
    command.domain_state = &state;
    send_question(question, &command);
}

static void ask_move(struct sim_guest *guest, uint64_t from, uint64_t to, uint64_t generation)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainMove move = VQ__DOMAIN_MOVE__INIT;
    struct sim_question *question = question_new(guest, MOVE, from);

    question->to = to;
    move.uuid = uuid_of(guest);
    move.from = from;
    move.to = to;
    move.if_generation = generation;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_MOVE;
    command.domain_move = &move;
    send_question(question, &command);
}

static void ask_end(struct sim_guest *guest, uint64_t to, uint64_t run, bool commit)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainMoveEnd end = VQ__DOMAIN_MOVE_END__INIT;
    struct sim_question *question = question_new(guest, commit ? COMMIT : CANCEL, to);

    question->run = run;
    end.uuid = uuid_of(guest);
    end.to = to;
    end.run = run;
    end.commit = commit;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_MOVE_END;
    command.domain_move_end = &end;
    send_question(question, &command);
}

/* ---- The two QEMUs ---- */

static void check_one_runs(const struct sim_guest *guest)
{
    unsigned n = 0;

    for (uint64_t node = 1; node <= SIM_NODES; node++)
        n += guest->qemus[node].phase == SIM_RUNS;
    if (n > 1)
        world_fail(world_of(guest), "guest %u runs on %u nodes", guest->uuid[0], n);
}

static void cancel_from_source(struct sim_guest *guest, struct sim_qemu *source)
{
    ask_end(guest, source->moving_to, source->moving_run, false);
    if (guest->cluster->plant == SIM_PLANT_EARLY_RESUME) {
        source->phase = SIM_RUNS;
        check_one_runs(guest);
    }
}

struct sending {
    struct sim_guest *guest;
    uint64_t from, to, run;
};

/* All data has come, or the one or the other end has had enough. */
static void sent(void *data)
{
    struct sending *sending = data;
    struct sim_guest *guest = sending->guest;
    struct world *world = world_of(guest);
    struct sim_qemu *source = &guest->qemus[sending->from], *target = &guest->qemus[sending->to];

    if (source->moving_run == sending->run && target->phase == SIM_WAITS && target->run == sending->run) {
        if (world_chance(world, 150)) {
            cancel_from_source(guest, source);
        } else if (world_chance(world, 150)) {
            ask_end(guest, sending->to, sending->run, false);
        } else {
            source->phase = SIM_SENT;
            target->phase = SIM_LOADED;
            ask_end(guest, sending->to, sending->run, true);
            if (world_chance(world, 400))
                cancel_from_source(guest, source); /* it has waited for too long, or its client has gone */
        }
    }
    free(sending);
}

static void move_begun(struct sim_question *question, uint64_t run)
{
    struct sim_guest *guest = question->guest;
    struct sim_qemu *source = &guest->qemus[question->node], *target = &guest->qemus[question->to];
    struct sending *sending;

    guest->n_moves++;
    if (source->phase != SIM_RUNS || target->phase != SIM_NOT_THERE) {
        world_fail(world_of(guest), "guest %u moves from node %" PRIu64 ", where it does not run", guest->uuid[0],
                   question->node);
        return;
    }
    *target = (struct sim_qemu){.phase = SIM_WAITS, .run = run};
    source->moving_run = run;
    source->moving_to = question->to;
    sending = vq_new(struct sending);
    *sending = (struct sending){guest, question->node, question->to, run};
    world_plan(world_of(guest), world_between(world_of(guest), SEND_MIN_US, SEND_MAX_US), sent, sending, guest, free);
}

static void move_ended(struct sim_question *question)
{
    struct sim_guest *guest = question->guest;

    for (size_t i = 0; i < guest->n_ended; i++)
        if (guest->ended[i] == question->run)
            world_fail(world_of(guest), "move %" PRIu64 " of guest %u ended twice", question->run, guest->uuid[0]);
    VQ_GROW(guest->ended, guest->n_ended);
    guest->ended[guest->n_ended++] = question->run;
    guest->n_commits += question->kind == COMMIT;
    guest->n_cancels += question->kind == CANCEL;
}

static void question_known(struct sim_question *question)
{
    struct sim_question **link = &question->guest->asking;

    while (*link != question)
        link = &(*link)->next;
    *link = question->next;
    question->is_known = true;
    question->guest->n_asking--;
}

static void question_answered(struct sim_question *question, const struct vq_result *result)
{
    struct sim_guest *guest = question->guest;
    bool is_done = result->code == VIR_ERR_OK;

    question_known(question);
    world_note(world_of(guest), question->run << 8 | question->kind);
    if (question->kind == DEFINE && is_done) {
        ask_claim(guest);
    } else if (question->kind == CLAIM && is_done) {
        guest->qemus[1] = (struct sim_qemu){.phase = SIM_RUNS, .run = result->number};
        ask_report(guest, 1, result->number);
    } else if (question->kind == MOVE && is_done) {
        move_begun(question, result->number);
    } else if ((question->kind == COMMIT || question->kind == CANCEL) && is_done) {
        move_ended(question);
    } else if ((question->kind == DEFINE || question->kind == CLAIM) && !is_done) {
        world_fail(world_of(guest), "guest %u does not start: %s", guest->uuid[0], result->message);
    }
    question_unref(question);
}

/* ---- What a node sees applied ---- */

static void look_source(struct sim_guest *guest, struct sim_qemu *qemu, const struct vq_domain_head *head)
{
    if (head->moving_run == qemu->moving_run)
        return;
    if (head->run >= qemu->moving_run) {
        if (qemu->phase != SIM_SENT)
            world_fail(world_of(guest), "guest %u has moved away under its running CPUs", guest->uuid[0]);
        *qemu = (struct sim_qemu){.phase = SIM_NOT_THERE};
    } else {
        qemu->phase = SIM_RUNS;
        qemu->moving_run = qemu->moving_to = 0;
    }
}

static void look_target(struct sim_guest *guest, const struct sim_node *node, struct sim_qemu *qemu,
                        const struct vq_domain_head *head)
{
    if (head->moving_run == qemu->run)
        return;
    if (head->run != qemu->run || head->owner != node->id) {
        *qemu = (struct sim_qemu){.phase = SIM_NOT_THERE};
        return;
    }
    if (qemu->phase != SIM_LOADED)
        world_fail(world_of(guest), "guest %u was moved to node %" PRIu64 " before it was there", guest->uuid[0],
                   node->id);
    qemu->phase = SIM_RUNS;
    ask_report(guest, node->id, qemu->run);
}

static void look(struct sim_guest *guest, const struct sim_node *node, const struct vq_domain_head *head)
{
    struct sim_qemu *qemu = &guest->qemus[node->id];
    uint64_t move = qemu->phase == SIM_WAITS || qemu->phase == SIM_LOADED ? qemu->run : qemu->moving_run;

    if (move == 0 || (head->last_move < move && head->run < move))
        return; /* nothing to look for, or a state from before it: the store was lost, and the log is filling it */
    if (qemu->moving_run != 0)
        look_source(guest, qemu, head);
    else
        look_target(guest, node, qemu, head);
    check_one_runs(guest);
}

void sim_moves_applied(struct sim_node *node)
{
    struct sim_cluster *cluster = node->cluster;
    struct vq_store_view *view;

    if (vq_store_view_begin(node->store, &view, NULL) < 0)
        return;
    for (unsigned i = 0; i < SIM_GUESTS; i++) {
        const struct vq_domain_head *head = vq_store_domain_find(view, cluster->guests[i].uuid);
        if (head != NULL)
            look(&cluster->guests[i], node, head);
    }
    vq_store_view_end(view);
}

/* ---- Life ---- */

/* Nobody waits for an answer any more: both ends say again what they want, as after a restart. */
static void resume_move(struct sim_guest *guest)
{
    for (uint64_t id = 1; id <= SIM_NODES; id++) {
        const struct sim_qemu *qemu = &guest->qemus[id];
        if (qemu->phase == SIM_LOADED)
            ask_end(guest, id, qemu->run, true);
        else if (qemu->phase == SIM_WAITS && world_chance(world_of(guest), 200))
            ask_end(guest, id, qemu->run, false);
        else if (qemu->moving_run != 0 && world_chance(world_of(guest), 200))
            ask_end(guest, qemu->moving_to, qemu->moving_run, false);
    }
}

static bool head_of(struct sim_guest *guest, const struct sim_node *node, struct vq_domain_head *ret)
{
    struct vq_store_view *view;

    if (!node->is_up || vq_store_view_begin(node->store, &view, NULL) < 0)
        return false;
    const struct vq_domain_head *head = vq_store_domain_find(view, guest->uuid);
    if (head != NULL)
        memcpy(ret, head, sizeof(*ret));
    vq_store_view_end(view);
    return head != NULL;
}

/* From the node where it runs, when that node knows that it is the owner; to one that has nothing of the guest. */
static void begin_move(struct sim_guest *guest)
{
    struct sim_cluster *cluster = guest->cluster;
    uint64_t from = 1, to = world_between(&cluster->world, 1, SIM_NODES);
    struct vq_domain_head head;

    while (from <= SIM_NODES && guest->qemus[from].phase != SIM_RUNS)
        from++;
    if (from <= SIM_NODES && to != from && guest->qemus[from].moving_run == 0 &&
        guest->qemus[to].phase == SIM_NOT_THERE && head_of(guest, &cluster->nodes[from], &head) && head.owner == from &&
        head.run == guest->qemus[from].run)
        ask_move(guest, from, to, head.generation);
}

static void live(void *data)
{
    struct sim_guest *guest = data;
    struct world *world = world_of(guest);

    if (!guest->is_started)
        ask_define(guest);
    guest->is_started = true;
    if (guest->n_asking == 0)
        resume_move(guest);
    if (guest->n_asking == 0 && !guest->cluster->is_healing)
        begin_move(guest);
    world_plan(world, world_between(world, LOOK_MIN_US, LOOK_MAX_US), live, guest, guest, NULL);
}

void sim_moves_start(struct sim_cluster *cluster)
{
    for (unsigned i = 0; i < SIM_GUESTS; i++) {
        struct sim_guest *guest = &cluster->guests[i];
        guest->cluster = cluster;
        memset(guest->uuid, 0x9e, sizeof(guest->uuid));
        guest->uuid[0] = (uint8_t)(i + 1);
        world_plan(&cluster->world, 1000 * (i + 1), live, guest, guest, NULL);
    }
}

void sim_moves_stop(struct sim_cluster *cluster)
{
    for (unsigned i = 0; i < SIM_GUESTS; i++) {
        struct sim_guest *guest = &cluster->guests[i];
        world_forget(&cluster->world, guest);
        while (guest->asking != NULL) {
            struct sim_question *question = guest->asking;
            guest->asking = question->next;
            question_unref(question);
        }
        free(vq_take(guest->ended));
    }
}

/* ---- The end ---- */

bool sim_moves_are_at_rest(const struct sim_cluster *cluster)
{
    for (unsigned i = 0; i < SIM_GUESTS; i++) {
        const struct sim_guest *guest = &cluster->guests[i];
        unsigned n_running = 0;

        for (uint64_t node = 1; node <= SIM_NODES; node++) {
            if (guest->qemus[node].phase > SIM_RUNS || guest->qemus[node].moving_run != 0)
                return false;
            n_running += guest->qemus[node].phase == SIM_RUNS;
        }
        if (guest->n_asking > 0 || n_running == 0)
            return false;
    }
    return true;
}

static void check_guest(struct sim_guest *guest, const struct vq_domain_head *head)
{
    struct world *world = world_of(guest);
    const struct sim_qemu *qemu = head->owner <= SIM_NODES ? &guest->qemus[head->owner] : NULL;

    if (head->moving_to != 0)
        world_fail(world, "guest %u is on its way for ever", guest->uuid[0]);
    if (qemu == NULL || qemu->phase != SIM_RUNS || qemu->run != head->run)
        world_fail(world, "guest %u does not run on its owner, node %" PRIu64, guest->uuid[0], head->owner);
    if (head->generation != 1 + guest->n_commits)
        world_fail(world, "guest %u had %" PRIu64 " owners, and %" PRIu64 " moves were told to be committed",
                   guest->uuid[0], head->generation, guest->n_commits);
    if (guest->n_moves != guest->n_commits + guest->n_cancels)
        world_fail(world, "guest %u: of %" PRIu64 " moves %" PRIu64 " were committed and %" PRIu64 " cancelled",
                   guest->uuid[0], guest->n_moves, guest->n_commits, guest->n_cancels);
}

void sim_moves_check(struct sim_cluster *cluster, struct sim_node *node)
{
    uint64_t n_moves = 0;

    for (unsigned i = 0; i < SIM_GUESTS; i++) {
        struct vq_domain_head head;
        if (head_of(&cluster->guests[i], node, &head))
            check_guest(&cluster->guests[i], &head);
        else
            world_fail(&cluster->world, "guest %u is lost on node %" PRIu64, i + 1, node->id);
        n_moves += cluster->guests[i].n_moves;
    }
    if (n_moves == 0)
        world_fail(&cluster->world, "no guest was ever moved: this run has not checked that");
}
