/* Clients of the simulation. Each does one operation at a time, asks any node, and repeats it with the same request id
 * until it is known what came of it, as the daemon does for its clients. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <libvirt/virterror.h>

#include "conf/base/memory.h"
#include "proto/cluster.pb-c.h"
#include "tests/simulation/cluster.h"

enum { DEFINE_OWN, UNDEFINE_OWN, DEFINE_CONTESTED };
enum { THINK_MIN_US = 20000, THINK_MAX_US = 400000, RETRY_US = 30000, PATIENCE_US = 3000000, NODE_TIMEOUT_MS = 2000 };

struct client_asked {
    struct sim_asked asked; /* first: freed as such */
    struct sim_client *client;
    uint64_t attempt;
};

static void ask(struct sim_client *client);

static void fresh_request_id(struct sim_client *client)
{
    for (int i = 0; i < 2; i++) {
        uint64_t random = world_random(&client->cluster->world);
        memcpy(client->request_id + 8 * i, &random, sizeof(random));
    }
}

static void own_uuid(const struct sim_client *client, unsigned which, uint8_t uuid[16])
{
    memset(uuid, 0xc0, 16);
    uuid[0] = (uint8_t)(client->id + 1);
    uuid[1] = (uint8_t)which;
}

static void contested_uuid(const struct sim_client *client, unsigned which, uint8_t uuid[16])
{
    own_uuid(client, which, uuid);
    uuid[2] = 0xcc;
}

/* ---- Commands ---- */

static void pack(struct sim_client *client, Vq__Command *command)
{
    command->request_id = (ProtobufCBinaryData){16, client->request_id};
    command->time_ms = world_ms(&client->cluster->world);
    free(client->command);
    client->length = vq__command__get_packed_size(command);
    client->command = vq_calloc(1, client->length);
    vq__command__pack(command, client->command);
}

static void make_command(struct sim_client *client)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainDefine define = VQ__DOMAIN_DEFINE__INIT;
    Vq__DomainUndefine undefine = VQ__DOMAIN_UNDEFINE__INIT;
    uint8_t uuid[16];
    char name[64], xml[600];

    if (client->kind == DEFINE_CONTESTED) {
        contested_uuid(client, client->which, uuid);
        (void)snprintf(name, sizeof(name), "contested%u", client->which);
    } else {
        own_uuid(client, client->which, uuid);
        (void)snprintf(name, sizeof(name), "client%" PRIu64 "-%u", client->id, client->which);
    }
    memset(xml, 'x', sizeof(xml));
    define.driver = "qemu";
    define.uuid = undefine.uuid = (ProtobufCBinaryData){16, uuid};
    define.name = name;
    define.owner = 1;
    define.persistent = true;
    define.must_be_new = client->kind == DEFINE_CONTESTED;
    define.xml = (ProtobufCBinaryData){1 + client->number * 37 % sizeof(xml), (uint8_t *)xml};
    if (client->kind == UNDEFINE_OWN) {
        command.change_case = VQ__COMMAND__CHANGE_DOMAIN_UNDEFINE;
        command.domain_undefine = &undefine;
    } else {
        command.change_case = VQ__COMMAND__CHANGE_DOMAIN_DEFINE;
        command.domain_define = &define;
    }
    pack(client, &command);
}

static void choose(struct sim_client *client)
{
    struct world *world = &client->cluster->world;

    client->number++;
    if (world_chance(world, 150)) {
        client->kind = DEFINE_CONTESTED;
        client->which = (unsigned)world_between(world, 0, SIM_CONTESTED - 1);
    } else {
        client->which = (unsigned)world_between(world, 0, SIM_OWN_DOMAINS - 1);
        client->kind = client->own[client->which].is_defined && world_chance(world, 300) ? UNDEFINE_OWN : DEFINE_OWN;
    }
    fresh_request_id(client);
    make_command(client);
}

/* ---- What must be true of the answer ---- */

static void check_own(struct sim_client *client, const struct vq_result *result)
{
    struct sim_own *own = &client->own[client->which];
    struct world *world = &client->cluster->world;

    if (result->code != VIR_ERR_OK) {
        world_fail(world, "client %" PRIu64 ", the only writer, was refused: %s", client->id, result->message);
        return;
    }
    if (client->kind == UNDEFINE_OWN) {
        own->is_defined = false;
        return;
    }
    uint64_t expected = own->is_defined ? own->version + 1 : 1;
    if (result->version != expected)
        world_fail(world, "client %" PRIu64 " wrote version %" PRIu64 " of its domain %u and was told %" PRIu64,
                   client->id, expected, client->which, result->version);
    own->is_defined = true;
    own->version = result->version;
}

static void check_contested(struct sim_client *client, const struct vq_result *result)
{
    struct sim_contested *contested = &client->cluster->contested[client->which];
    uint8_t uuid[16];

    contested_uuid(client, client->which, uuid);
    if (result->code == VIR_ERR_OK && contested->is_won)
        world_fail(&client->cluster->world, "name contested%u was given twice", client->which);
    if (result->code != VIR_ERR_OK)
        return;
    contested->is_won = true;
    memcpy(contested->uuid, uuid, 16);
}

static void think(void *data)
{
    struct sim_client *client = data;

    if (client->cluster->is_healing)
        return;
    choose(client);
    client->is_busy = true;
    client->busy_since_ms = world_ms(&client->cluster->world);
    ask(client);
}

static void plan_thinking(struct sim_client *client)
{
    struct world *world = &client->cluster->world;

    world_plan(world, world_between(world, THINK_MIN_US, THINK_MAX_US), think, client, NULL, NULL);
}

static void done(struct sim_client *client, const struct vq_result *result)
{
    client->is_busy = false;
    client->attempt++;
    client->n_done++;
    client->cluster->n_done++;
    world_note(&client->cluster->world, client->id << 32 | client->number);
    if (client->kind == DEFINE_CONTESTED)
        check_contested(client, result);
    else
        check_own(client, result);
    plan_thinking(client);
}

/* ---- Asking ---- */

static void again(void *data)
{
    struct client_asked *asked = data;

    if (asked->client->is_busy && asked->attempt == asked->client->attempt)
        ask(asked->client);
    free(asked);
}

static void plan_again(struct sim_client *client, uint64_t delay_us)
{
    struct client_asked *asked = vq_new(struct client_asked);

    *asked = (struct client_asked){.client = client, .attempt = client->attempt};
    world_plan(&client->cluster->world, delay_us, again, asked, client, free);
}

static void answered(struct sim_asked *asked, enum vq_raft_outcome outcome, const struct vq_result *result)
{
    struct client_asked *own = VQ_CONTAINER_OF(asked, struct client_asked, asked);
    struct sim_client *client = own->client;
    struct world *world = &client->cluster->world;

    if (!client->is_busy || own->attempt != client->attempt || world_chance(world, client->cluster->is_healing ? 0 : 30))
        return; /* stale, or lost on its way */
    if (outcome == VQ_RAFT_APPLIED) {
        done(client, result);
        return;
    }
    client->attempt++;
    plan_again(client, RETRY_US);
}

struct sim_node *sim_choose_node(struct sim_cluster *cluster, uint64_t *last)
{
    uint64_t hint = cluster->nodes[*last].status.leader;

    if (*last != 0 && cluster->nodes[*last].is_up && hint != 0 && hint != *last)
        *last = hint;
    else
        *last = world_between(&cluster->world, 1, SIM_NODES);
    return &cluster->nodes[*last];
}

static void plant_early_answer(struct sim_client *client, struct sim_node *node)
{
    struct vq_result result = {.code = VIR_ERR_OK};

    if (client->kind == DEFINE_CONTESTED || !node->status.is_leader)
        return;
    result.version = client->own[client->which].is_defined ? client->own[client->which].version + 1 : 1;
    done(client, &result);
}

static void ask(struct sim_client *client)
{
    struct sim_cluster *cluster = client->cluster;
    struct sim_node *node = sim_choose_node(cluster, &client->node);
    struct client_asked *asked;

    cluster->n_retries++;
    client->attempt++;
    plan_again(client, node->is_up ? PATIENCE_US : RETRY_US);
    if (!node->is_up)
        return;
    if (cluster->plant == SIM_PLANT_NO_REPETITION) {
        fresh_request_id(client);
        make_command(client);
    }
    asked = vq_new(struct client_asked);
    *asked = (struct client_asked){{answered, NULL}, client, client->attempt};
    vq_core_propose(node->core, vq_memdup(client->command, client->length), client->length,
                    world_ms(&cluster->world) + NODE_TIMEOUT_MS, &asked->asked);
    if (cluster->plant == SIM_PLANT_EARLY_ANSWER)
        plant_early_answer(client, node);
    vq_core_turn(node->core, world_ms(&cluster->world));
}

void sim_clients_start(struct sim_cluster *cluster)
{
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        cluster->clients[i].cluster = cluster;
        cluster->clients[i].id = i;
        plan_thinking(&cluster->clients[i]);
    }
}

void sim_clients_stop(struct sim_cluster *cluster)
{
    for (unsigned i = 0; i < SIM_CLIENTS; i++) {
        world_forget(&cluster->world, &cluster->clients[i]);
        free(vq_take(cluster->clients[i].command));
    }
}

/* ---- The end: what was acknowledged is there ---- */

static void check_client(struct sim_client *client, struct vq_store_view *view)
{
    struct world *world = &client->cluster->world;
    uint8_t uuid[16];

    if (client->is_busy)
        world_fail(world, "client %" PRIu64 " waits since %" PRIu64 " ms", client->id, client->busy_since_ms);
    for (unsigned i = 0; i < SIM_OWN_DOMAINS; i++) {
        own_uuid(client, i, uuid);
        const struct vq_domain_head *head = vq_store_domain_find(view, uuid);
        if ((head != NULL) != client->own[i].is_defined)
            world_fail(world, "domain %u of client %" PRIu64 " is %s, but was acknowledged as %s", i, client->id,
                       head != NULL ? "defined" : "undefined", client->own[i].is_defined ? "defined" : "undefined");
        else if (head != NULL && head->version != client->own[i].version)
            world_fail(world, "domain %u of client %" PRIu64 " has version %" PRIu64 ", acknowledged was %" PRIu64, i,
                       client->id, head->version, client->own[i].version);
    }
}

void sim_clients_check(struct sim_cluster *cluster, struct sim_node *node)
{
    struct vq_store_view *view;
    struct vq_error err = VQ_ERROR_INIT;
    char name[32];

    if (vq_store_view_begin(node->store, &view, &err) < 0) {
        world_fail(&cluster->world, "%s", err.message);
        return;
    }
    for (unsigned i = 0; i < SIM_CLIENTS; i++)
        check_client(&cluster->clients[i], view);
    for (unsigned i = 0; i < SIM_CONTESTED; i++) {
        (void)snprintf(name, sizeof(name), "contested%u", i);
        const struct vq_domain_head *head = vq_store_domain_find_by_name(view, VQ_DRIVER_QEMU, name);
        const struct sim_contested *contested = &cluster->contested[i];
        if ((head != NULL) != contested->is_won || (head != NULL && memcmp(head->uuid, contested->uuid, 16) != 0))
            world_fail(&cluster->world, "name %s is not with whom it was given to", name);
    }
    vq_store_view_end(view);
}
