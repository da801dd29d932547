/* `virtquorum cpu-baseline`: every node is asked what its guests can have, as any client would ask it. */
#define VQ_FROM VIR_FROM_NONE
#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "drivers/qemu/cpu_xml.h"
#include "node/cluster/control_state.h"
#include "node/peer.h"
#include "proto/gen/remote.h"

enum { ASK_MS = 25000, NODES_MAX = 256 };

struct asked_node {
    struct asking *asking;
    uint64_t id;
    char *name;
    struct vq_peer *peer;
    struct vq_cpu_description cpu;
    bool is_known, is_kvm;
    struct vq_error err;
};

/* All at once; once more when some have KVM and others have not, since a guest's type goes with it. */
struct asking {
    struct vq_control_client *client;
    const char *type; /* NULL: each node's best */
    size_t n_pending;
    size_t n_nodes;
    struct asked_node nodes[];
};

static void ask_all(struct asking *asking);

static void free_asking(struct asking *asking)
{
    for (size_t i = 0; i < asking->n_nodes; i++)
        free(asking->nodes[i].name);
    free(asking);
}

/* ---- The answer ---- */

static Vq__NodeCpu *new_node_cpu(const struct asked_node *node, const struct vq_cpu_set *all)
{
    Vq__NodeCpu *cpu = vq_new(Vq__NodeCpu);
    struct vq_cpu_set lacks = *all;

    vq__node_cpu__init(cpu);
    cpu->node = vq_strdup(node->name);
    cpu->problem = vq_strdup(node->is_known ? "" : node->err.message);
    cpu->type = vq_strdup(!node->is_known ? "" : node->is_kvm ? "kvm" : "qemu");
    cpu->vendor = vq_strdup(node->is_known ? node->cpu.facts.vendor : "");
    cpu->model = vq_strdup(node->is_known ? node->cpu.model : "");
    if (!node->is_known)
        return cpu;
    vq_cpu_set_remove(&lacks, &node->cpu.facts.features);
    cpu->lacks = vq_calloc(vq_cpu_set_count(&lacks) + 1, sizeof(*cpu->lacks));
    for (size_t i = 0; i < vq_n_cpu_features; i++)
        if (vq_cpu_set_has(&lacks, i))
            cpu->lacks[cpu->n_lacks++] = vq_strdup(vq_cpu_features[i].name);
    return cpu;
}

static int write_baseline(const struct asking *asking, struct vq_buffer *xml, struct vq_error *err)
{
    struct vq_cpu_description *cpus = vq_calloc(asking->n_nodes + 1, sizeof(*cpus));
    const struct vq_cpu_baseline how = {.is_migratable = true, .fallback = "forbid"};
    size_t n = 0;

    for (size_t i = 0; i < asking->n_nodes; i++)
        if (asking->nodes[i].is_known)
            cpus[n++] = asking->nodes[i].cpu;
    int rc =
        n == 0 ? vq_error_set(err, VIR_ERR_OPERATION_FAILED, "no node could be asked: %s", asking->nodes[0].err.message)
               : vq_cpu_baseline_format(cpus, n, &how, xml, err);
    free(cpus);
    return rc;
}

static void answer(struct asking *asking)
{
    Vq__ControlReply reply = VQ__CONTROL_REPLY__INIT;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_cpu_set all = {{0}};
    VQ_AUTOBUFFER xml = VQ_BUFFER_INIT;
    VQ_AUTOFREE Vq__NodeCpu **cpus = vq_calloc(asking->n_nodes, sizeof(*cpus));

    if (write_baseline(asking, &xml, &err) < 0) {
        vq_control_fail_with(asking->client, &err);
        return;
    }
    for (size_t i = 0; i < asking->n_nodes; i++)
        if (asking->nodes[i].is_known)
            vq_cpu_set_join(&all, &asking->nodes[i].cpu.facts.features);
    for (size_t i = 0; i < asking->n_nodes; i++) {
        cpus[i] = new_node_cpu(&asking->nodes[i], &all);
        if (!asking->nodes[i].is_known)
            reply.exit_code = VQ_EXIT_PARTLY;
    }
    reply.text = xml.data;
    reply.cpus = cpus;
    reply.n_cpus = asking->n_nodes;
    vq_control_done(asking->client, &reply);
    for (size_t i = 0; i < asking->n_nodes; i++)
        vq__node_cpu__free_unpacked(cpus[i], NULL);
}

/* ---- The questions ---- */

static bool is_mixed(const struct asking *asking)
{
    bool has_kvm = false, has_other = false;

    for (size_t i = 0; i < asking->n_nodes; i++) {
        has_kvm = has_kvm || (asking->nodes[i].is_known && asking->nodes[i].is_kvm);
        has_other = has_other || (asking->nodes[i].is_known && !asking->nodes[i].is_kvm);
    }
    return has_kvm && has_other;
}

static void one_over(struct asked_node *node)
{
    struct asking *asking = node->asking;
    struct vq_peer *peer = vq_take(node->peer);

    if (peer != NULL)
        peer->class->close(peer);
    if (--asking->n_pending > 0)
        return;
    if (asking->type == NULL && is_mixed(asking)) {
        asking->type = "qemu";
        ask_all(asking);
        return;
    }
    answer(asking);
    free_asking(asking);
}

static void told(const void *reply, const struct vq_error *err, void *data)
{
    const struct vq_remote_connect_get_domain_capabilities_ret *ret = reply;
    struct asked_node *node = data;

    if (node->peer == NULL)
        return; /* closed by us */
    if (ret == NULL)
        node->err = *err;
    else
        node->is_known =
            vq_cpu_description_of_capabilities(ret->capabilities, &node->cpu, &node->is_kvm, &node->err) == 0;
    one_over(node);
}

static void reached(struct vq_peer *take_peer, const struct vq_error *err, void *data)
{
    struct asked_node *node = data;
    const struct vq_remote_connect_get_domain_capabilities_args args = {.virttype = node->asking->type};

    node->peer = take_peer;
    if (take_peer == NULL) {
        node->err = *err;
        one_over(node);
        return;
    }
    take_peer->class->call(take_peer, VQ_PROGRAM_REMOTE, VQ_REMOTE_CONNECT_GET_DOMAIN_CAPABILITIES, &args, ASK_MS, told,
                           node);
}

static void ask_all(struct asking *asking)
{
    struct vq_daemon *daemon = asking->client->cluster->daemon;
    size_t n = asking->n_nodes;

    asking->n_pending = n;
    for (size_t i = 0; i < n; i++) { /* none of them calls back from inside */
        asking->nodes[i].is_known = false;
        vq_peer_mesh_open(daemon, asking->nodes[i].id, NULL, reached, &asking->nodes[i]);
    }
}

static bool is_wanted(const Vq__ControlCpuBaseline *wish, const char *name)
{
    for (size_t i = 0; i < wish->n_nodes; i++)
        if (strcmp(wish->nodes[i], name) == 0)
            return true;
    return wish->n_nodes == 0;
}

static void add_node(struct asking *asking, uint64_t id, const char *name)
{
    const Vq__ControlCpuBaseline *wish = asking->client->request->cpu_baseline;

    if (asking->n_nodes < NODES_MAX && is_wanted(wish, name))
        asking->nodes[asking->n_nodes++] = (struct asked_node){.asking = asking, .id = id, .name = vq_strdup(name)};
}

/* NULL: all of those that were named are nodes. */
static const char *unknown_node(const struct asking *asking)
{
    const Vq__ControlCpuBaseline *wish = asking->client->request->cpu_baseline;

    for (size_t i = 0; i < wish->n_nodes; i++) {
        bool is_there = false;
        for (size_t k = 0; k < asking->n_nodes; k++)
            is_there = is_there || strcmp(asking->nodes[k].name, wish->nodes[i]) == 0;
        if (!is_there)
            return wish->nodes[i];
    }
    return NULL;
}

void vq_control_cpu_baseline(struct vq_control_client *client)
{
    struct vq_cluster *cluster = client->cluster;
    struct asking *asking = vq_calloc(1, sizeof(*asking) + NODES_MAX * sizeof(asking->nodes[0]));

    asking->client = client;
    add_node(asking, cluster->daemon->node_id, cluster->daemon->node_name);
    for (size_t i = 0; i < cluster->n_members; i++)
        if (cluster->members[i].removed_at_ms == 0 && cluster->members[i].id != cluster->daemon->node_id)
            add_node(asking, cluster->members[i].id, cluster->members[i].name);
    const char *unknown = unknown_node(asking);
    if (unknown != NULL) {
        VQ_AUTOFREE char *text = vq_asprintf("there is no node '%.64s'", unknown);
        free_asking(asking);
        vq_control_fail(client, VQ_E_NO_NODE, text);
        return;
    }
    assert(asking->n_nodes > 0); /* this one, or one that was named */
    ask_all(asking);
}
