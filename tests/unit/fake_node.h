/* A node without consensus and hypervisor, for tests of what is between: proposals are applied to the store at once, a
 * driver of the tests' own stands where QEMU's would, and what goes to other nodes is recorded. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "node/call.h"
#include "node/daemon.h"
#include "node/client/events.h"
#include "node/mesh/forward.h"
#include "proto/cluster.pb-c.h"

struct fake_node {
    uv_loop_t loop;
    struct vq_daemon daemon;
    char dir[64]; /* removed by fake_node_stop() */
};

/* What was asked of another node last. The test answers by calling done, and sets it to NULL. */
struct fake_question {
    uint64_t id, node, view_node, session, applied;
    uint32_t uid;
    const struct vq_procedure *procedure;
    uint8_t xdr[4096];
    size_t xdr_length;
    vq_forward_done done; /* NULL: answered, or taken back */
    void *data;
};

/* What the fakes of node/mesh/propose.h and node/cluster/cluster.h do. */
extern struct fake_cluster {
    struct vq_daemon *daemon;
    bool has_quorum; /* false: proposals are refused */
    unsigned n_proposed;
    uint64_t offline[8]; /* node ids that are not online; 0 ends the list */
    uint64_t left;       /* a node that has left the cluster */
    uint64_t last_event; /* sequence number of the last event sent */
    unsigned n_events;
    struct vq_mesh_event *events[64];
    struct vq_call *forwarded; /* the last one, to be completed by the test */
    uint64_t forwarded_to;
    struct fake_question question;
    unsigned n_session_ended;
    Vq__StreamData *messages[256]; /* sent, unpacked copies */
    unsigned n_messages;
    void (*message_sent)(uint64_t node, const Vq__StreamData *message); /* instead of recording */
} fake_cluster;

/* The driver: rows are set by the test before fake_node_start(). */
extern struct vq_driver vq_qemu_driver;
extern struct fake_driver {
    unsigned n_recovered, n_changed, n_session_ended, n_autostarted;
    uint64_t ended_session;
} fake_driver;

void fake_node_start(struct fake_node *node);
void fake_node_stop(struct fake_node *node);
/* Let the loop turn until the condition holds; fails the test after five seconds. */
void fake_node_run_until(struct fake_node *node, bool (*is_true)(void *data), void *data);
void fake_node_run_ms(struct fake_node *node, uint64_t ms);

/* Put a domain into the replicated state, as a command of that owner. uuid: 15 times the byte, then 0xee. */
void fake_define(struct fake_node *node, const char *name, uint8_t uuid_byte, uint64_t owner);
/* Apply any command, as if it came out of the log. Returns the refusal's code, 0 for success; ret_result may be NULL.
 */
int fake_apply_result(struct fake_node *node, Vq__Command *command, struct vq_result *ret_result);
int fake_apply(struct fake_node *node, Vq__Command *command);
