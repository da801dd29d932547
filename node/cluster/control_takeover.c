/* `virtquorum takeover`: this node becomes the owner of guests that a removed node has left. */
#define VQ_FROM VIR_FROM_NONE
#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "node/cluster/cluster.h"
#include "node/cluster/control_state.h"
#include "node/cluster/takeover.h"
#include "node/mesh/propose.h"

enum { NAMES_SHOWN = 10, AT_ONCE = 64 };

struct taking {
    uint8_t uuid[16];
    char *name;
    uint64_t owner, generation;
};

/* All that were asked for; AT_ONCE of them under way. */
struct takeover {
    struct vq_control_client *client;
    struct taking *guests;
    size_t n_guests, next, n_waiting, n_done;
    struct vq_error err; /* the first one that was refused */
    struct vq_buffer names;
};

static void takeover_over(struct takeover *takeover)
{
    struct vq_control_client *client = takeover->client;
    Vq__ControlReply reply = VQ__CONTROL_REPLY__INIT;
    const char *more = takeover->n_done > NAMES_SHOWN ? " and more" : "";
    VQ_AUTOFREE char *text = vq_asprintf("%zu guest%s taken over: %s%s", takeover->n_done, takeover->n_done == 1 ? "" : "s",
                                         takeover->n_done == 0 ? "-" : takeover->names.data, more);

    reply.text = text;
    if (takeover->err.code != VIR_ERR_OK) {
        enum vq_number number = vq_number_of(&takeover->err);
        reply.error = takeover->err.message;
        reply.number = vq_numbers[number].number;
        reply.exit_code = takeover->n_done > 0 ? VQ_EXIT_PARTLY : vq_numbers[number].exit_code;
    }
    vq_control_done(client, &reply);
    for (size_t i = 0; i < takeover->n_guests; i++)
        free(takeover->guests[i].name);
    free(takeover->guests);
    vq_buffer_done(&takeover->names);
    free(takeover);
}

static void takeover_go(struct takeover *takeover);

static void taken(enum vq_raft_outcome outcome, const struct vq_result *result, const struct vq_error *err, void *data)
{
    struct takeover *takeover = data;

    takeover->n_waiting--;
    if (outcome == VQ_RAFT_APPLIED && result->code == VIR_ERR_OK)
        takeover->n_done++;
    else if (takeover->err.code == VIR_ERR_OK && outcome == VQ_RAFT_APPLIED)
        vq_error_set_from(&takeover->err, result->from, result->code, "%s", result->message);
    else if (takeover->err.code == VIR_ERR_OK)
        takeover->err = *err;
    takeover_go(takeover);
}

static void take(struct takeover *takeover, const struct taking *guest)
{
    struct vq_daemon *daemon = takeover->client->cluster->daemon;
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainOwner owner = VQ__DOMAIN_OWNER__INIT;

    if (takeover->next <= NAMES_SHOWN)
        vq_buffer_addf(&takeover->names, "%s%s", takeover->next == 1 ? "" : ", ", guest->name);
    owner.uuid = (ProtobufCBinaryData){sizeof(guest->uuid), (uint8_t *)(uintptr_t)guest->uuid};
    owner.from = guest->owner;
    owner.to = daemon->node_id;
    owner.if_generation = guest->generation; /* one of two nodes that take it at once is refused */
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_OWNER;
    command.domain_owner = &owner;
    takeover->n_waiting++;
    vq_propose(daemon, &command, takeover->client->request->timeout_ms, taken, takeover);
}

static void takeover_go(struct takeover *takeover)
{
    while (takeover->next < takeover->n_guests && takeover->n_waiting < AT_ONCE && takeover->err.code == VIR_ERR_OK) {
        const struct taking *guest = &takeover->guests[takeover->next++];
        take(takeover, guest);
    }
    if (takeover->n_waiting == 0)
        takeover_over(takeover);
}

/* ---- Which ---- */

static void add(struct takeover *takeover, const struct vq_domain_head *head)
{
    VQ_GROW(takeover->guests, takeover->n_guests);
    struct taking *guest = &takeover->guests[takeover->n_guests++];

    *guest = (struct taking){.name = vq_strdup(head->name), .owner = head->owner, .generation = head->generation};
    memcpy(guest->uuid, head->uuid, sizeof(guest->uuid));
}

static bool is_named(const struct vq_domain_head *head, const char *name)
{
    uint8_t uuid[16];

    return strcmp(head->name, name) == 0 || (vq_uuid_parse(name, uuid) && memcmp(uuid, head->uuid, sizeof(uuid)) == 0);
}

/* One by its name, or all of removed nodes; the first of these that cannot be taken refuses all. */
static int collect(struct takeover *takeover, struct vq_store_view *view, const Vq__ControlTakeover *wish, struct vq_error *err)
{
    const struct vq_cluster *cluster = takeover->client->cluster;
    struct vq_store_cursor *cursor = NULL;
    const struct vq_domain_head *head;
    bool is_all = wish->guest[0] == '\0';
    int rc = 0;

    while (rc == 0 && (head = vq_store_domain_next(view, &cursor)) != NULL) {
        if (is_all ? vq_cluster_member(cluster, head->owner) != NULL || head->owner == cluster->daemon->node_id
                   : !is_named(head, wish->guest))
            continue;
        rc = vq_takeover_check(cluster, head, wish->force, err);
        if (rc == 0)
            add(takeover, head);
    }
    vq_store_cursor_end(&cursor);
    if (rc == 0 && takeover->n_guests == 0 && !is_all)
        return vq_error_set(err, VIR_ERR_NO_DOMAIN, "there is no guest '%.64s'", wish->guest);
    return rc;
}

void vq_control_takeover(struct vq_control_client *client)
{
    const Vq__ControlTakeover *wish = client->request->takeover;
    struct takeover *takeover;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_store_view *view;

    if (!vq_identity_is_member(client->cluster->self)) {
        vq_control_fail(client, VQ_E_NO_CLUSTER, "this host is in no cluster");
        return;
    }
    if (vq_store_view_begin(client->cluster->daemon->store, &view, &err) < 0) {
        vq_control_fail_with(client, &err);
        return;
    }
    takeover = vq_new(struct takeover);
    takeover->client = client;
    takeover->err = VQ_ERROR_INIT;
    takeover->names = (struct vq_buffer)VQ_BUFFER_INIT;
    if (collect(takeover, view, wish, &takeover->err) < 0)
        takeover->next = takeover->n_guests; /* none of them */
    vq_store_view_end(view);
    takeover_go(takeover);
}
