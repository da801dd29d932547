/* What the cluster looks like from here: who votes and is reachable, load, and the answer to `virtquorum status`. */
#define VQ_FROM VIR_FROM_NONE
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <libvirt/libvirt.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "node/cluster/cluster.h"
#include "node/cluster/cluster_state.h"
#include "node/cluster/level.h"
#include "node/mesh/mesh.h"
#include "node/mesh/propose.h"
#include "node/publish.h"
#include "proto/pki.h"

enum { CLOCK_TEXT = 24, CERTIFICATE_WARN_S = 30 * 24 * 3600 };
enum { START_MS = 5000 }; /* a daemon that has found no leader by then is not starting any more */

/* "14:02:11", with the date when that was not today. */
static void clock_text(uint64_t unix_ms, char text[CLOCK_TEXT])
{
    time_t then = (time_t)(unix_ms / 1000), now = time(NULL);
    struct tm then_tm, now_tm;

    (void)localtime_r(&then, &then_tm);
    (void)localtime_r(&now, &now_tm);
    bool is_today = then_tm.tm_yday == now_tm.tm_yday && then_tm.tm_year == now_tm.tm_year;
    (void)strftime(text, CLOCK_TEXT, is_today ? "%H:%M:%S" : "%Y-%m-%d %H:%M:%S", &then_tm);
}

/* ---- Who is there ---- */

bool vq_cluster_is_online(const struct vq_daemon *daemon, uint64_t node_id)
{
    struct vq_mesh_peer peer;

    if (node_id == daemon->node_id)
        return true;
    return daemon->mesh != NULL && vq_mesh_find_peer(daemon->mesh, node_id, &peer) && peer.is_online;
}

bool vq_cluster_consensus_is_stopped(const struct vq_daemon *daemon, uint64_t node_id)
{
    const struct vq_raft_status *own = &daemon->raft_status;
    struct vq_mesh_peer peer;

    if (node_id == daemon->node_id)
        return !own->is_running && own->problem[0] != '\0';
    return daemon->mesh != NULL && vq_mesh_find_peer(daemon->mesh, node_id, &peer) && peer.consensus_is_stopped;
}

bool vq_cluster_takes_part(const struct vq_daemon *daemon, uint64_t node_id)
{
    return vq_cluster_is_online(daemon, node_id) && !vq_cluster_consensus_is_stopped(daemon, node_id);
}

bool vq_cluster_has_left(const struct vq_daemon *daemon, uint64_t node_id)
{
    const struct vq_cluster *cluster = daemon->cluster;
    const struct vq_cluster_member *member = vq_cluster_member(cluster, node_id);

    return node_id != daemon->node_id && cluster->has_seen_self && (member == NULL || member->removed_at_ms != 0);
}

static uint64_t offline_since(const struct vq_daemon *daemon, uint64_t node_id)
{
    struct vq_mesh_peer peer;

    if (daemon->mesh != NULL && vq_mesh_find_peer(daemon->mesh, node_id, &peer) && peer.since_unix_ms != 0)
        return peer.since_unix_ms;
    return daemon->cluster->started_unix_ms;
}

int vq_cluster_unreachable(const struct vq_daemon *daemon, uint64_t node_id, struct vq_error *err)
{
    const struct vq_cluster_member *member = vq_cluster_member(daemon->cluster, node_id);
    char since[CLOCK_TEXT];

    if (member == NULL)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "node %llu is not in this cluster any more",
                            (unsigned long long)node_id);
    clock_text(offline_since(daemon, node_id), since);
    return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "%s is not reachable since %s", member->name, since);
}

/* As a voter: it may be online all the time. */
uint64_t vq_cluster_missing_since(const struct vq_daemon *daemon, uint64_t node_id)
{
    struct vq_mesh_peer peer;

    if (daemon->mesh != NULL && vq_mesh_find_peer(daemon->mesh, node_id, &peer) && peer.is_online &&
        peer.consensus_is_stopped)
        return peer.consensus_stopped_since_unix_ms;
    return offline_since(daemon, node_id);
}

static bool is_voter(const struct vq_raft_member *member)
{
    return member->role == VQ_RAFT_VOTER;
}

void vq_cluster_count_voters(const struct vq_daemon *daemon, struct vq_quorum *ret)
{
    const struct vq_raft_status *status = &daemon->raft_status;

    *ret = (struct vq_quorum){0};
    for (size_t i = 0; i < status->n_members; i++) {
        if (!is_voter(&status->members[i]))
            continue;
        ret->voters++;
        ret->reachable += vq_cluster_takes_part(daemon, status->members[i].id);
    }
    ret->has_majority = ret->reachable > ret->voters / 2;
}

void vq_cluster_voters_text(const struct vq_daemon *daemon, char *buffer, size_t size)
{
    const struct vq_raft_status *status = &daemon->raft_status;
    VQ_AUTOBUFFER text = VQ_BUFFER_INIT;
    struct vq_quorum quorum;
    char since[CLOCK_TEXT];
    bool is_first = true;

    if (vq_cluster_consensus_is_stopped(daemon, daemon->node_id)) {
        (void)snprintf(buffer, size, "%s takes no part in consensus: %s", daemon->node_name, status->problem);
        return;
    }
    vq_cluster_count_voters(daemon, &quorum);
    vq_buffer_addf(&text, "%u of %u voters reachable", quorum.reachable, quorum.voters);
    for (size_t i = 0; i < status->n_members; i++) {
        const struct vq_raft_member *voter = &status->members[i];
        if (!is_voter(voter) || vq_cluster_takes_part(daemon, voter->id))
            continue;
        const struct vq_cluster_member *member = vq_cluster_member(daemon->cluster, voter->id);
        clock_text(vq_cluster_missing_since(daemon, voter->id), since);
        vq_buffer_addf(&text, "%s%s%s since %s", is_first ? " (missing: " : ", ", member == NULL ? "?" : member->name,
                       vq_cluster_is_online(daemon, voter->id) ? " takes no part" : "", since);
        is_first = false;
    }
    vq_buffer_add(&text, is_first ? "" : ")");
    (void)snprintf(buffer, size, "%s", text.data);
}

static uint64_t election_ms(const struct vq_daemon *daemon)
{
    return daemon->config.election_ms != 0 ? daemon->config.election_ms : VQ_CLUSTER_ELECTION_MS;
}

bool vq_propose_has_quorum(const struct vq_daemon *daemon)
{
    const struct vq_cluster *cluster = daemon->cluster;
    struct vq_quorum quorum;

    if (cluster->leaderless_since_ms == 0 ||
        uv_now(daemon->loop) < cluster->leaderless_since_ms + election_ms(daemon))
        return true;
    vq_cluster_count_voters(daemon, &quorum);
    /* None known: consensus has only begun, unless it says that it will not. */
    return quorum.has_majority ||
           (quorum.voters == 0 && !vq_cluster_consensus_is_stopped(daemon, daemon->node_id));
}

/* ---- Load ---- */

static void sample_cpu(struct vq_cluster *cluster)
{
    unsigned long long times[8] = {0}, total = 0;
    FILE *file = fopen("/proc/stat", "re");

    if (file == NULL)
        return;
    if (fscanf(file, "cpu %llu %llu %llu %llu %llu %llu %llu %llu", &times[0], &times[1], &times[2], &times[3],
               &times[4], &times[5], &times[6], &times[7]) == 8) {
        for (size_t i = 0; i < VQ_N_ELEMENTS(times); i++)
            total += times[i];
        uint64_t busy = total - times[3] - times[4]; /* idle, and waiting for a disk */
        if (total > cluster->cpu_total && busy >= cluster->cpu_busy)
            cluster->cpu_permille = (uint32_t)((busy - cluster->cpu_busy) * 1000 / (total - cluster->cpu_total));
        cluster->cpu_busy = busy;
        cluster->cpu_total = total;
    }
    (void)fclose(file); /* read only */
}

static void sample_memory(struct vq_cluster *cluster)
{
    char line[128];
    unsigned long long kib;
    FILE *file = fopen("/proc/meminfo", "re");

    if (file == NULL)
        return;
    while (fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "MemAvailable: %llu kB", &kib) == 1)
            cluster->free_memory_kib = kib;
    (void)fclose(file); /* read only */
}

struct tally {
    uint64_t node;
    uint32_t total, running;
};

/* Domains per node. tallies[0..n) name the nodes; all others are counted in the sums only. */
static void count_domains(const struct vq_daemon *daemon, struct tally *tallies, size_t n_tallies, uint32_t *ret_total,
                          uint32_t *ret_running)
{
    struct vq_store_view *view;
    struct vq_store_cursor *cursor = NULL;
    const struct vq_domain_head *head;
    struct vq_error ignored = VQ_ERROR_INIT;

    *ret_total = *ret_running = 0;
    if (vq_store_view_begin(daemon->store, &view, &ignored) < 0)
        return;
    while ((head = vq_store_domain_next(view, &cursor)) != NULL) {
        bool is_running = head->id >= 0;
        ++*ret_total;
        *ret_running += is_running;
        for (size_t i = 0; i < n_tallies; i++)
            if (tallies[i].node == head->owner) {
                tallies[i].total++;
                tallies[i].running += is_running;
            }
    }
    vq_store_view_end(view);
}

void vq_cluster_sample_load(struct vq_cluster *cluster)
{
    struct tally own = {.node = cluster->daemon->node_id};
    uint32_t total, running;

    sample_cpu(cluster);
    sample_memory(cluster);
    count_domains(cluster->daemon, &own, 1, &total, &running);
    cluster->domains_total = own.total;
    cluster->domains_running = own.running;
}

/* ---- The status message ---- */

static void add_text(char ***texts, size_t *n_texts, char *take_text)
{
    VQ_GROW(*texts, *n_texts);
    (*texts)[(*n_texts)++] = take_text;
}

static const struct vq_raft_member *raft_member(const struct vq_daemon *daemon, uint64_t id)
{
    const struct vq_raft_status *status = &daemon->raft_status;

    for (size_t i = 0; i < status->n_members; i++)
        if (status->members[i].id == id)
            return &status->members[i];
    return NULL;
}

static void fill_own(const struct vq_cluster *cluster, Vq__NodeStatus *node)
{
    node->online = true;
    node->applied = cluster->daemon->applied;
    node->consensus_stopped = vq_cluster_consensus_is_stopped(cluster->daemon, cluster->daemon->node_id);
    node->consensus_problem = vq_strdup(cluster->daemon->raft_status.problem);
    node->certificate_problem = vq_strdup(cluster->certificate_problem);
    node->free_memory_kib = cluster->free_memory_kib;
    node->cpu_permille = cluster->cpu_permille;
}

static void fill_peer(const struct vq_daemon *daemon, Vq__NodeStatus *node)
{
    struct vq_mesh_peer peer = {0};

    if (daemon->mesh != NULL)
        (void)vq_mesh_find_peer(daemon->mesh, node->record->id, &peer); /* unknown: all zero, offline */
    node->online = peer.is_online;
    node->offline_since_ms = peer.is_online ? 0 : offline_since(daemon, node->record->id);
    node->applied = peer.applied;
    node->consensus_stopped = peer.is_online && peer.consensus_is_stopped;
    node->consensus_problem = vq_strdup(peer.is_online ? peer.consensus_problem : "");
    node->certificate_problem = vq_strdup(peer.is_online ? peer.certificate_problem : "");
    node->free_memory_kib = peer.free_memory_kib;
    node->cpu_permille = peer.cpu_permille;
    node->round_trip_us = peer.round_trip_us;
    node->clock_offset_ms = peer.is_online ? peer.clock_offset_ms : 0;
}

static Vq__NodeStatus *node_status(const struct vq_cluster *cluster, Vq__NodeRecord *take_record)
{
    const struct vq_daemon *daemon = cluster->daemon;
    const struct vq_raft_member *member = raft_member(daemon, take_record->id);
    Vq__NodeStatus *node = vq_new(Vq__NodeStatus);
    struct vq_error ignored = VQ_ERROR_INIT;

    vq__node_status__init(node);
    node->record = take_record;
    node->is_leader = daemon->raft_status.leader == take_record->id;
    node->raft_role = member == NULL ? VQ__ROLE__ROLE_UNKNOWN : (Vq__Role)member->role;
    if (take_record->certificate_pem[0] == '\0' ||
        vq_pki_expiry(take_record->certificate_pem, &node->certificate_expires_s, &ignored) < 0)
        node->certificate_expires_s = 0; /* not known */
    if (take_record->id == daemon->node_id)
        fill_own(cluster, node);
    else
        fill_peer(daemon, node);
    return node;
}

static void add_nodes(const struct vq_cluster *cluster, struct vq_store_view *view, Vq__ClusterStatus *status)
{
    Vq__NodeRecord *record = NULL;
    uint64_t last = 0;

    while ((record = vq_store_node_next(view, last)) != NULL) {
        last = record->id;
        VQ_GROW(status->nodes, status->n_nodes);
        status->nodes[status->n_nodes++] = node_status(cluster, record);
    }
    if (status->n_nodes == 0) {
        status->nodes = vq_calloc(1, sizeof(*status->nodes));
        status->nodes[status->n_nodes++] = node_status(cluster, vq_cluster_own_record(cluster->daemon, cluster->self));
        /* A lone node has no record in the table. */
    }
}

static void add_domains(const struct vq_daemon *daemon, Vq__ClusterStatus *status)
{
    size_t n_nodes = status->n_nodes;
    VQ_AUTOFREE struct tally *tallies = vq_calloc(n_nodes, sizeof(*tallies));

    for (size_t i = 0; i < n_nodes; i++)
        tallies[i].node = status->nodes[i]->record->id;
    count_domains(daemon, tallies, n_nodes, &status->domains_total, &status->domains_running);
    for (size_t i = 0; i < n_nodes; i++) {
        Vq__NodeStatus *node = status->nodes[i];
        node->domains_total = tallies[i].total;
        *(node->online ? &node->domains_running : &node->domains_unknown) = tallies[i].running;
        status->domains_unknown += node->domains_unknown;
    }
    status->domains_running -= status->domains_unknown;
}

static void warn(Vq__ClusterStatus *status, char *take_text)
{
    add_text(&status->warnings, &status->n_warnings, take_text);
}

/* What it has lost others may hold: then it comes back as a new node. Alone it can only go on with what it has left. */
static void warn_of_consensus(const struct vq_cluster *cluster, const Vq__NodeStatus *node, Vq__ClusterStatus *status)
{
    const char *name = node->record->name;
    VQ_AUTOFREE char *remedy =
        !vq_identity_is_member(cluster->self)
            ? vq_asprintf("stop virtquorumd, then: virtquorum recover --force")
        : status->n_nodes > 1
            ? vq_asprintf("on a node that has a quorum: virtquorum remove %s --force; %s then stands alone with its "
                          "guests and can join again. When no quorum is left: virtquorum recover --force on one node", name, name)
            : vq_asprintf("stop virtquorumd on %s, then there: virtquorum recover --force", name);

    warn(status, vq_asprintf("%s takes no part in consensus: %s → %s", name, node->consensus_problem, remedy));
}

/* It renews itself long before: what is told here went wrong more than once, or cannot have been tried. */
static void warn_of_certificate(const Vq__NodeStatus *node, Vq__ClusterStatus *status)
{
    int64_t left = node->certificate_expires_s - (int64_t)time(NULL);
    const char *name = node->record->name, *problem = node->certificate_problem;
    bool is_failing = problem[0] != '\0';

    if (node->certificate_expires_s == 0 || (left >= CERTIFICATE_WARN_S && !is_failing))
        return;
    VQ_AUTOFREE char *what = left < 0 ? vq_strdup("certificate has expired")
                                      : vq_asprintf("certificate expires in %lld days", (long long)left / 86400);
    warn(status, vq_asprintf("%s: %s%s%s → virtquorum cert renew %s", name, what, is_failing ? ", renewal failed: " : "", problem,
                             name));
}

static void add_node_warnings(const struct vq_cluster *cluster, const Vq__NodeStatus *node, Vq__ClusterStatus *status)
{
    const char *name = node->record->name;
    char since[CLOCK_TEXT];

    if (!node->online) {
        clock_text(node->offline_since_ms, since);
        warn(status, vq_asprintf("%s is not reachable since %s; %u guests unknown (not restarted: no proof that they are "
                                 "stopped)", name, since, node->domains_unknown));
    }
    if (node->consensus_stopped)
        warn_of_consensus(cluster, node, status);
    if (status->feature_level < vq_level_own() && node->record->feature_level == status->feature_level)
        warn(status, vq_asprintf("%s has feature level %u, release %s: what needs a higher one is refused until it is upgraded", name,
                                 node->record->feature_level, node->record->version));
    warn_of_certificate(node, status);
}

static void add_warnings(const struct vq_cluster *cluster, Vq__ClusterStatus *status)
{
    const struct vq_daemon *daemon = cluster->daemon;
    const char *problem = daemon->raft_status.problem;
    size_t pending = daemon->overlay == NULL ? 0 : vq_overlay_pending(daemon->overlay);

    if (status->starting)
        warn(status, vq_strdup("starting: no leader is known yet; what is shown is what this node knew before"));
    else if (!status->has_quorum)
        warn(status, vq_strdup("no quorum: definitions cannot be changed, and what is shown of other nodes may be old"));
    if (problem[0] != '\0' && daemon->raft_status.is_running) /* else it is told with the node */
        warn(status, vq_asprintf("consensus: %s", problem));
    if (cluster->removed_since_ms != 0)
        warn(status, vq_strdup("another node says that this one was removed from the cluster → virtquorum leave --force"));
    if (pending > 0)
        warn(status, vq_asprintf("%zu guests of this node changed and the cluster does not know yet", pending));
    for (size_t i = 0; i < status->n_nodes; i++)
        add_node_warnings(cluster, status->nodes[i], status);
}

static void add_why(const struct vq_daemon *daemon, Vq__ClusterStatus *status)
{
    char voters[512], since[CLOCK_TEXT];

    vq_cluster_voters_text(daemon, voters, sizeof(voters));
    add_text(&status->why, &status->n_why, vq_strdup(voters));
    if (status->has_quorum) {
        add_text(&status->why, &status->n_why,
                 vq_asprintf("A majority of the %u voters is %u; %u more may fail before changes stop.", status->voters_total,
                             status->voters_total / 2 + 1, status->can_lose));
        return;
    }
    if (status->starting) {
        add_text(&status->why, &status->n_why,
                 vq_strdup("This daemon has only begun; if no leader is found within seconds, the quorum is lost."));
        return;
    }
    if (daemon->cluster->leaderless_since_ms != 0) {
        clock_text(vq_cluster_unix_ms() - (uv_now(daemon->loop) - daemon->cluster->leaderless_since_ms), since);
        add_text(&status->why, &status->n_why, vq_asprintf("No leader since %s.", since));
    }
    add_text(&status->why, &status->n_why,
             vq_asprintf("A change needs %u voters to agree. It waits for one of the missing: start its daemon, or mend its "
                         "network to port %u.", status->voters_total / 2 + 1, daemon->cluster->self->port));
    add_text(&status->why, &status->n_why,
             vq_strdup("Still working: guests of this node run on; start, stop, pause, console, list and XML."));
    add_text(&status->why, &status->n_why, vq_strdup("Refused: define, undefine, autostart, and everything on missing nodes."));
}

static void fill_settings(const struct vq_cluster *cluster, Vq__ClusterStatus *status)
{
    const Vq__LocalNode *self = cluster->self;

    status->standalone = !vq_identity_is_member(self);
    status->cluster_name = vq_strdup(self->cluster_name);
    status->self_name = vq_strdup(self->node_name);
    if (self->cluster_id.len > 0) {
        status->cluster_id.data = vq_memdup(self->cluster_id.data, self->cluster_id.len);
        status->cluster_id.len = self->cluster_id.len;
    }
}

/* Consensus reads its log, or looks for the leader that is there. */
static bool is_starting(const struct vq_daemon *daemon)
{
    const struct vq_raft_status *raft = &daemon->raft_status;
    const struct vq_cluster *cluster = daemon->cluster;

    if (cluster->has_had_leader || raft->problem[0] != '\0' || cluster->removed_since_ms != 0)
        return false;
    return !raft->is_running || vq_cluster_unix_ms() - cluster->started_unix_ms < START_MS;
}

static void fill_consensus(const struct vq_daemon *daemon, Vq__ClusterStatus *status)
{
    const struct vq_raft_status *raft = &daemon->raft_status;
    struct vq_quorum quorum;

    vq_cluster_count_voters(daemon, &quorum);
    status->self = daemon->node_id;
    status->leader = raft->leader;
    status->term = raft->term;
    /* Consensus tells where it is now and then, and what it applied at once: what is applied is committed. */
    status->applied_index = daemon->applied;
    status->commit_index = raft->commit_index > daemon->applied ? raft->commit_index : daemon->applied;
    status->last_index = raft->last_index > status->commit_index ? raft->last_index : status->commit_index;
    status->voters_total = quorum.voters;
    status->voters_reachable = quorum.reachable;
    status->has_quorum = raft->leader != 0 && quorum.has_majority;
    status->starting = !status->has_quorum && is_starting(daemon);
    status->can_lose = quorum.has_majority ? quorum.reachable - (quorum.voters / 2 + 1) : 0;
}

Vq__ClusterStatus *vq_cluster_status(const struct vq_cluster *cluster, bool with_hash, bool with_why)
{
    const struct vq_daemon *daemon = cluster->daemon;
    Vq__ClusterStatus *status = vq_new(Vq__ClusterStatus);
    struct vq_store_view *view;
    struct vq_error err = VQ_ERROR_INIT;

    vq__cluster_status__init(status);
    fill_settings(cluster, status);
    fill_consensus(daemon, status);
    status->store_ok = vq_store_view_begin(daemon->store, &view, &err) == 0;
    if (status->store_ok) {
        add_nodes(cluster, view, status);
        status->feature_level = vq_level_common(view);
        if (with_hash) {
            status->applied_index = vq_store_view_applied(view);
            status->store_ok = vq_store_hash(view, &status->state_hash, &err) == 0;
        }
        vq_store_view_end(view);
        add_domains(daemon, status);
    }
    status->store_problem = vq_strdup(status->store_ok ? "" : err.message);
    add_warnings(cluster, status);
    if (with_why)
        add_why(daemon, status);
    return status;
}
