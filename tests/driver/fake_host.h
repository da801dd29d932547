/* What the daemon would do for a driver, in one process and without a cluster: domains in a list, records in files (so that
 * they outlive a crash of the test's child), reports and events in a trace. */
#pragma once

#include "drivers/driver.h"

enum { FAKE_DOMAINS_MAX = 8 };

struct fake_domain {
    struct vq_domain_info info;
    char *name, *xml;
    bool is_gone;
};

/* A node of the cluster that the host knows. Node 1 is this one; node 2 ("node2", 192.0.2.2) is online from the start. */
struct fake_node {
    uint64_t id;
    const char *name, *host_name, *address; /* address NULL: none is known */
    bool is_online;
};
enum { FAKE_NODES_MAX = 8 };

struct fake_host {
    struct vq_driver_host host;
    uv_loop_t loop;
    char dir[64];
    struct fake_domain domains[FAKE_DOMAINS_MAX];
    size_t n_domains;
    bool has_quorum;
    bool is_draining;
    bool takes_nothing;      /* every proposal fails, since too few voters are reachable */
    bool loses_quorum;       /* while the next proposal waits: whether it was done is unknown */
    uint64_t next_run;
    struct fake_node nodes[FAKE_NODES_MAX];
    size_t n_nodes;
    uint8_t cluster_id[16];  /* "fake cluster id " */
    struct vq_driver *driver; /* told of each command applied to its domains (changed); NULL: nobody is */
    struct vq_error refusal; /* code not VIR_ERR_OK: the next proposal is refused with it */
    bool holds_proposals;    /* until fake_release_proposals(): nothing is applied meanwhile */
    struct vq_peer *peer;    /* what the next peer_open or peer_open_node gives; NULL: the open fails */
    char peer_uri[256];      /* of the last open; "node:2" */
    char trace[8192];        /* "started/booted running/booted " ... */
};

extern struct fake_host fake;

/* The stream of the last call that had one. */
struct vq_stream {
    const struct vq_stream_callbacks *callbacks;
    void *data;
    char text[65536];        /* what the driver wrote */
    size_t length;
    bool is_ended, is_finished, is_failed;
};
extern struct vq_stream fake_stream;

/* A directory of its own under /tmp, the loop, and all functions of the host. again: the directory stays (a restart). */
void fake_host_init(bool again);
void fake_host_done(bool remove_files);
/* The UUIDs of this process's domains but for the last two digits: other runs on the machine have others. */
const char *fake_uuid_prefix(void);
struct fake_domain *fake_domain_add(const char *name, const char *xml, bool persistent);
/* Apply what fake.holds_proposals held back, in its order. */
void fake_release_proposals(void);

/* A peer whose calls the test answers: fill ret (the procedure's zeroed reply struct; memory from the arena) and return 0, or set
 * err and return -1; a turn later the caller has it. Return 1: not answered yet, see fake_peer_answer(). calls: the names of the
 * procedures called, each with a blank. */
typedef int (*fake_answer_fn)(const struct vq_procedure *procedure, const void *args, void *ret, struct vq_arena *arena,
                              struct vq_error *err, void *data);
struct fake_peer {
    struct vq_peer peer;
    fake_answer_fn answer;
    void *answer_data;
    char calls[1024];
    bool is_closed;
    struct fake_peer_call *first;
};
/* In place: the test owns it. Set fake.peer = &fake->peer. */
void fake_peer_init(struct fake_peer *peer, uint64_t node, const char *name, fake_answer_fn answer, void *data);
/* The calls that were not answered: ask answer again. */
void fake_peer_answer(struct fake_peer *peer);
/* The connection ends by itself: calls fail, then lost is called back. */
void fake_peer_lose(struct fake_peer *peer);

/* A file system at this directory that answers nothing, like one of the network whose server has died. False: the kernel or our rights
 * do not allow it. Until the end of it who looks at a path in it hangs. */
bool fake_dead_storage_begin(const char *dir);
void fake_dead_storage_end(void);
/* The kernel says that everybody may use userfaultfd. False: our rights do not allow that. */
bool fake_allow_userfaultfd(void);
/* Runs the loop for that long; the longest time that one turn of it took, in ms. */
unsigned fake_host_slowest_turn(unsigned ms);

/* Runs the loop until the condition holds; false after ten seconds. */
bool fake_host_until(bool (*condition)(void *data), void *data);

/* A call of the procedure; runs the loop until it is answered. Gives the error code, VIR_ERR_OK for success. */
int fake_call(struct vq_driver *driver, enum vq_program program, const char *procedure, struct fake_domain *domain,
              const void *args);
extern struct vq_error fake_error; /* of the last call */
extern uint8_t fake_ret[4096];     /* of the last call; pointers in it are no longer good */
extern char fake_text[65536];      /* its text, or its stats as "name: field=value ..." */
/* NULL, or the test's: with the reply while its memory is still there; with each event, whose value is the struct of its message. */
extern void (*fake_on_reply)(const struct vq_request *request);
extern void (*fake_on_event)(int event_id, const struct vq_xdr_struct *type, const void *value);
