/* Calls that every node answers for its own part: asked at once, merged under one deadline. */
#define VQ_FROM VIR_FROM_RPC
#include <stdlib.h>
#include <string.h>

#include "conf/base/buffer.h"
#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "node/call.h"
#include "node/cluster/cluster.h"
#include "node/cluster/cluster_state.h"
#include "node/daemon.h"
#include "node/dispatch.h"
#include "node/mesh/forward_state.h"
#include "proto/gen/remote.h"

/* Put one more node's reply to what is there already. */
typedef int (*gather_merge_fn)(struct vq_gather *gather, const uint8_t *xdr, size_t length, struct vq_error *err);

/* The client's call, while the parts come in. Counted: the parts that are under way, and the client's call itself. */
struct vq_gather {
    struct vq_gather *next, *prev;
    struct vq_forwards *forwards;
    struct vq_call *call;     /* NULL: answered */
    gather_merge_fn merge;
    unsigned refs;
    unsigned n_open;          /* parts that have not come */
    unsigned n_good;
    uint64_t deadline_ms;
    uint32_t n_elements;      /* of a merged list */
    struct vq_buffer elements;
    struct vq_error first_error;
};

/* A reply that is one list: a count and the elements. */
static int merge_list(struct vq_gather *gather, const uint8_t *xdr, size_t length, struct vq_error *err)
{
    const struct vq_xdr_field *list = &gather->call->request.procedure->ret->fields[0];
    uint32_t count = 0;

    if (length < 4 || length % 4 != 0)
        return vq_error_set(err, VIR_ERR_RPC, "the list of another node is damaged");
    for (int i = 0; i < 4; i++)
        count = count << 8 | xdr[i];
    if (count > list->max - gather->n_elements || (count == 0) != (length == 4))
        return vq_error_set(err, VIR_ERR_RPC, "the lists of all nodes together are longer than %u", list->max);
    gather->n_elements += count;
    vq_buffer_add_bytes(&gather->elements, xdr + 4, length - 4);
    return 0;
}

static const struct {
    enum vq_program program;
    uint32_t number;
    gather_merge_fn merge;
} merges[] = {
    {VQ_PROGRAM_REMOTE, VQ_REMOTE_CONNECT_GET_ALL_DOMAIN_STATS, merge_list},
};

static gather_merge_fn find_merge(const struct vq_procedure *procedure)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(merges); i++)
        if (merges[i].program == procedure->program && merges[i].number == procedure->number)
            return merges[i].merge;
    return NULL;
}

static void gather_unref(struct vq_gather *gather)
{
    if (--gather->refs > 0)
        return;
    *(gather->prev != NULL ? &gather->prev->next : &gather->forwards->gathers) = gather->next;
    if (gather->next != NULL)
        gather->next->prev = gather->prev;
    vq_buffer_done(&gather->elements);
    free(gather);
}

static void gather_answer(struct vq_gather *gather)
{
    struct vq_call *call = vq_take(gather->call);
    VQ_AUTOBUFFER reply = VQ_BUFFER_INIT;
    uint8_t count[4];

    if (gather->n_good == 0) {
        if (gather->first_error.code == VIR_ERR_OK)
            vq_error_set(&gather->first_error, VIR_ERR_OPERATION_TIMEOUT, "no node answered in time");
        vq_call_fail(call, &gather->first_error);
    } else {
        for (unsigned i = 0; i < 4; i++)
            count[i] = (uint8_t)(gather->n_elements >> (24 - 8 * i));
        vq_buffer_add_bytes(&reply, count, sizeof(count));
        vq_buffer_add_bytes(&reply, gather->elements.data, gather->elements.length);
        vq_call_answer_bytes(call, (const uint8_t *)reply.data, reply.length);
    }
    gather_unref(gather);
}

static void part_came(struct vq_gather *gather, const uint8_t *xdr, size_t length, const struct vq_error *err)
{
    struct vq_error failure = VQ_ERROR_INIT;

    if (gather->call != NULL) {
        if (err == NULL && gather->merge(gather, xdr, length, &failure) < 0)
            err = &failure;
        gather->n_good += err == NULL;
        if (err != NULL && gather->first_error.code == VIR_ERR_OK)
            gather->first_error = *err;
        if (--gather->n_open == 0)
            gather_answer(gather);
    }
    gather_unref(gather);
}

/* ---- This node's part: a call of its own, since it may outlive the client's ---- */

static void own_part_answer(struct vq_call *part, const struct vq_error *err)
{
    struct vq_gather *gather = part->forward;
    VQ_AUTOBUFFER reply = VQ_BUFFER_INIT;
    struct vq_error failure = VQ_ERROR_INIT;

    if (err == NULL && vq_call_add_reply(part, &reply, &failure) < 0)
        err = &failure;
    part_came(gather, (const uint8_t *)reply.data, reply.length, err);
}

static struct vq_stream_link *no_stream(struct vq_call *part)
{
    (void)part;
    return NULL;
}

static const struct vq_call_origin own_part_origin = {own_part_answer, no_stream};

static void ask_self(struct vq_gather *gather, const struct vq_call *call)
{
    const struct vq_procedure *procedure = call->request.procedure;
    struct vq_call *part = vq_call_new(call->daemon, procedure, call->identity);
    struct vq_error err = VQ_ERROR_INIT;

    part->origin = &own_part_origin;
    part->forward = gather;
    part->view_node = call->view_node;
    part->driver_name = call->driver_name;
    part->read_index = call->read_index;
    part->request.driver = call->request.driver;
    part->request.deadline_ms = gather->deadline_ms;
    part->xdr = call->xdr;
    part->xdr_length = call->xdr_length;
    if (vq_call_keep_xdr(part, &err) < 0 ||
        (procedure->args != NULL && vq_xdr_decode(procedure->args, part->xdr, part->xdr_length, part->request.arena,
                                                  (void *)part->request.args, NULL, &err) < 0))
        vq_call_fail(part, &err);
    else
        vq_dispatch_here(part);
}

/* ---- The other nodes' parts ---- */

static void part_done(const Vq__Reply *reply, const struct vq_error *err, uint64_t id, void *data)
{
    struct vq_error refusal = VQ_ERROR_INIT;

    (void)id;
    if (reply == NULL) {
        part_came(data, NULL, 0, err);
    } else if (reply->code != VIR_ERR_OK) {
        vq_error_set_from(&refusal, reply->from, reply->code, "%s", reply->message);
        part_came(data, NULL, 0, &refusal);
    } else {
        part_came(data, reply->payload.data, reply->payload.len, NULL);
    }
}

static void ask_others(struct vq_gather *gather, const struct vq_call *call)
{
    struct vq_daemon *daemon = call->daemon;
    const struct vq_cluster *cluster = daemon->cluster;

    for (size_t i = 0; i < cluster->n_members; i++) {
        uint64_t node = cluster->members[i].id;
        if (node == daemon->node_id || !vq_cluster_is_online(daemon, node) ||
            vq_forward_ask(daemon, call, node, gather->deadline_ms, part_done, gather) == 0)
            continue;
        gather->refs++;
        gather->n_open++;
    }
}

static struct vq_gather *gather_new(struct vq_daemon *daemon, struct vq_call *call, gather_merge_fn merge)
{
    struct vq_gather *gather = vq_new(struct vq_gather);
    uint64_t latest = uv_now(daemon->loop) + VQ_GATHER_TIMEOUT_MS;

    gather->forwards = daemon->cluster->forwards;
    gather->call = call;
    gather->merge = merge;
    gather->deadline_ms = call->request.deadline_ms != 0 && call->request.deadline_ms < latest
                              ? call->request.deadline_ms
                              : latest;
    gather->first_error = VQ_ERROR_INIT;
    gather->next = gather->forwards->gathers;
    if (gather->next != NULL)
        gather->next->prev = gather;
    gather->forwards->gathers = gather;
    return gather;
}

void vq_gather_call(struct vq_daemon *daemon, struct vq_call *call)
{
    gather_merge_fn merge = find_merge(call->request.procedure);

    if (daemon->mesh == NULL || merge == NULL) {
        vq_dispatch_here(call);
        return;
    }
    struct vq_gather *gather = gather_new(daemon, call, merge);
    gather->refs = 2; /* the client's call, and this node's part */
    gather->n_open = 1;
    ask_others(gather, call);
    ask_self(gather, call); /* last: it may answer at once, and then only the others are waited for */
}

void vq_gather_tick(struct vq_forwards *forwards)
{
    struct vq_gather *next;

    for (struct vq_gather *gather = forwards->gathers; gather != NULL; gather = next) {
        next = gather->next;
        if (gather->call == NULL || gather->deadline_ms > uv_now(forwards->daemon->loop))
            continue;
        vq_log(WARN, "gather.partial", "procedure=%s: %u nodes silent, answered without them",
               gather->call->request.procedure->name, gather->n_open);
        gather_answer(gather);
    }
}
