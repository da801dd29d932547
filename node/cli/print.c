/* A status as a sentence, a table, or JSON. */
#include <inttypes.h>
#include <jansson.h>
#include <libsmartcols.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conf/base/memory.h"
#include "node/cli/cli.h"

/* ---- The sentence ---- */

static const char *plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

static size_t count_offline(const Vq__ClusterStatus *status, size_t *ret_n_stopped)
{
    size_t n = 0;

    *ret_n_stopped = 0;
    for (size_t i = 0; i < status->n_nodes; i++) {
        n += !status->nodes[i]->online;
        *ret_n_stopped += status->nodes[i]->online && status->nodes[i]->consensus_stopped;
    }
    return n;
}

void cli_print_sentence(const struct cli *cli, const Vq__ClusterStatus *status)
{
    size_t n_stopped, n_offline = count_offline(status, &n_stopped);

    if (status->standalone && status->starting) {
        fprintf(cli->out, "%s is starting, %u guest%s (%u running).\n", status->self_name, status->domains_total,
                plural(status->domains_total), status->domains_running);
        return;
    }
    if (status->standalone) {
        fprintf(cli->out, "%s stands alone, %u guest%s (%u running). virtquorum init makes it the first of a cluster.\n",
                status->self_name, status->domains_total, plural(status->domains_total), status->domains_running);
        return;
    }
    fprintf(cli->out, "%s: ", status->cluster_name);
    if (status->starting)
        fprintf(cli->out, "starting, %u of %u voters reachable", status->voters_reachable, status->voters_total);
    else if (!status->has_quorum)
        fprintf(cli->out, "NO QUORUM, %u of %u voters reachable", status->voters_reachable, status->voters_total);
    else if (n_offline > 0)
        fprintf(cli->out, "degraded, %zu of %zu nodes not reachable", n_offline, status->n_nodes);
    else if (n_stopped > 0)
        fprintf(cli->out, "degraded, %zu of %zu nodes take%s no part in consensus", n_stopped, status->n_nodes,
                n_stopped == 1 ? "s" : "");
    else
        fprintf(cli->out, "healthy, %zu node%s", status->n_nodes, plural(status->n_nodes));
    fprintf(cli->out, ", %u guest%s (%u running", status->domains_total, plural(status->domains_total),
            status->domains_running);
    if (status->domains_unknown > 0)
        fprintf(cli->out, ", %u unknown", status->domains_unknown);
    fputs(").", cli->out);
    if (status->has_quorum)
        fprintf(cli->out, " Can lose %u more node%s.", status->can_lose, plural(status->can_lose));
    fputs("\n", cli->out);
}

/* ---- The table ---- */

static const char *role_name(const Vq__NodeStatus *node)
{
    static const char *const names[] = {[VQ__ROLE__ROLE_UNKNOWN] = "-", [VQ__ROLE__ROLE_VOTER] = "voter",
                                        [VQ__ROLE__ROLE_STANDBY] = "stand-by", [VQ__ROLE__ROLE_SPARE] = "spare"};

    if (node->is_leader)
        return "leader";
    return (unsigned)node->raft_role < sizeof(names) / sizeof(names[0]) ? names[node->raft_role] : "-";
}

static char *cell_name(const Vq__ClusterStatus *status, const Vq__NodeStatus *node)
{
    return vq_asprintf("%s%s", node->record->name, node->record->id == status->self ? "*" : "");
}

static char *cell_state(const Vq__ClusterStatus *status, const Vq__NodeStatus *node)
{
    (void)status;
    return vq_strdup(!node->online             ? "offline"
                     : node->consensus_stopped ? "no part"
                     : node->record->draining  ? "draining"
                                               : "online");
}

static char *cell_role(const Vq__ClusterStatus *status, const Vq__NodeStatus *node)
{
    (void)status;
    return vq_strdup(role_name(node));
}

static char *cell_guests(const Vq__ClusterStatus *status, const Vq__NodeStatus *node)
{
    (void)status;
    return node->online ? vq_asprintf("%u/%u", node->domains_running, node->domains_total)
                        : vq_asprintf("?/%u", node->domains_total);
}

static char *cell_cpu(const Vq__ClusterStatus *status, const Vq__NodeStatus *node)
{
    (void)status;
    return node->online ? vq_asprintf("%u %%", (node->cpu_permille + 5) / 10) : vq_strdup("-");
}

static char *cell_memory(const Vq__ClusterStatus *status, const Vq__NodeStatus *node)
{
    uint64_t total = node->record->memory_kib, gib = 1024 * 1024;
    uint64_t used = total > node->free_memory_kib ? total - node->free_memory_kib : 0;

    (void)status;
    if (!node->online)
        return vq_asprintf("-/%" PRIu64 " GiB", (total + gib / 2) / gib);
    return vq_asprintf("%.1f/%" PRIu64 " GiB", (double)used / (double)gib, (total + gib / 2) / gib);
}

/* Entries that the node has not applied; the node that is furthest is the measure. */
static char *cell_lag(const Vq__ClusterStatus *status, const Vq__NodeStatus *node)
{
    uint64_t last = status->applied_index;

    for (size_t i = 0; i < status->n_nodes; i++)
        if (status->nodes[i]->online && status->nodes[i]->applied > last)
            last = status->nodes[i]->applied;
    if (!node->online)
        return vq_strdup("?");
    return node->applied >= last ? vq_strdup("-") : vq_asprintf("%" PRIu64, last - node->applied);
}

static char *cell_version(const Vq__ClusterStatus *status, const Vq__NodeStatus *node)
{
    (void)status;
    return vq_strdup(node->record->version);
}

static char *cell_level(const Vq__ClusterStatus *status, const Vq__NodeStatus *node)
{
    (void)status;
    return vq_asprintf("%u", node->record->feature_level);
}

static char *cell_id(const Vq__ClusterStatus *status, const Vq__NodeStatus *node)
{
    (void)status;
    return vq_asprintf("%" PRIu64, node->record->id);
}

static char *cell_address(const Vq__ClusterStatus *status, const Vq__NodeStatus *node)
{
    (void)status;
    return vq_strdup(node->record->n_addresses > 0 ? node->record->addresses[0] : "-");
}

static char *cell_round_trip(const Vq__ClusterStatus *status, const Vq__NodeStatus *node)
{
    bool is_known = node->record->id != status->self && node->online && node->round_trip_us != 0;

    return is_known ? vq_asprintf("%.2f ms", (double)node->round_trip_us / 1000) : vq_strdup("-");
}

static void time_text(int64_t unix_s, char *buffer, size_t size)
{
    time_t when = (time_t)unix_s;
    struct tm utc;

    if (gmtime_r(&when, &utc) == NULL || strftime(buffer, size, "%Y-%m-%dT%H:%M:%SZ", &utc) == 0)
        buffer[0] = '\0';
}

static char *cell_certificate(const Vq__ClusterStatus *status, const Vq__NodeStatus *node)
{
    char until[32];

    (void)status;
    if (node->certificate_expires_s == 0)
        return vq_strdup("-");
    time_text(node->certificate_expires_s, until, sizeof(until));
    return vq_strndup(until, 10); /* the date */
}

static const struct {
    const char *title;
    char *(*cell)(const Vq__ClusterStatus *status, const Vq__NodeStatus *node);
    int flags;
    bool is_wide;
} columns[] = {
    {"NODE", cell_name, 0, false},           {"STATE", cell_state, 0, false},
    {"ROLE", cell_role, 0, false},           {"GUESTS", cell_guests, SCOLS_FL_RIGHT, false},
    {"CPU", cell_cpu, SCOLS_FL_RIGHT, false}, {"MEMORY", cell_memory, SCOLS_FL_RIGHT, false},
    {"LAG", cell_lag, SCOLS_FL_RIGHT, false}, {"VERSION", cell_version, 0, false},
    {"LEVEL", cell_level, SCOLS_FL_RIGHT, true}, {"ID", cell_id, SCOLS_FL_RIGHT, true}, {"ADDRESS", cell_address, 0, true},
    {"RTT", cell_round_trip, SCOLS_FL_RIGHT, true}, {"CERTIFICATE", cell_certificate, 0, true},
};
enum { N_COLUMNS = sizeof(columns) / sizeof(columns[0]), STATE_COLUMN = 1 };

static void add_line(const struct cli *cli, struct libscols_table *table, const Vq__ClusterStatus *status,
                     const Vq__NodeStatus *node)
{
    struct libscols_line *line = scols_table_new_line(table, NULL);

    for (size_t i = 0; line != NULL && i < N_COLUMNS; i++)
        if (!columns[i].is_wide || cli->format == CLI_WIDE)
            (void)scols_line_refer_data(line, i, columns[i].cell(status, node)); /* takes it; the index is right */
    if (line != NULL && cli->has_colour)
        (void)scols_cell_set_color(scols_line_get_cell(line, STATE_COLUMN), node->online && !node->consensus_stopped ? "green" : "red"); /* or plain */
}

void cli_print_nodes(const struct cli *cli, const Vq__ClusterStatus *status)
{
    struct libscols_table *table;

    if (cli->format == CLI_NAME) {
        for (size_t i = 0; i < status->n_nodes; i++)
            fprintf(cli->out, "%s\n", status->nodes[i]->record->name);
        return;
    }
    table = scols_new_table();
    if (table == NULL)
        return;
    (void)scols_table_set_stream(table, cli->out); /* these fail only for a NULL table */
    (void)scols_table_enable_colors(table, cli->has_colour);
    for (size_t i = 0; i < N_COLUMNS; i++)
        if (!columns[i].is_wide || cli->format == CLI_WIDE)
            (void)scols_table_new_column(table, columns[i].title, 0, columns[i].flags); /* without memory: no column */
    for (size_t i = 0; i < status->n_nodes; i++)
        add_line(cli, table, status, status->nodes[i]);
    (void)scols_print_table(table); /* a closed pipe is no news */
    scols_unref_table(table);
}

void cli_print_check(const struct cli *cli, const Vq__JoinCheck *check)
{
    const char *colour = !cli->has_colour ? "" : check->ok ? "\033[32m" : "\033[31m";

    fprintf(cli->out, "  %-10s %s%-6s%s  %s\n", check->name, colour, check->ok ? "ok" : "FAILED", cli->has_colour ? "\033[0m" : "",
            check->finding);
}

/* ---- JSON: only grows ---- */

static json_t *json_time_ms(uint64_t unix_ms)
{
    char text[32];

    if (unix_ms == 0)
        return json_null();
    time_text((int64_t)(unix_ms / 1000), text, sizeof(text));
    return json_string(text);
}

static json_t *json_texts(char *const *texts, size_t n_texts)
{
    json_t *array = json_array();

    for (size_t i = 0; i < n_texts; i++)
        json_array_append_new(array, json_string(texts[i]));
    return array;
}

static void put(json_t *object, const char *key, json_t *value)
{
    json_object_set_new(object, key, value != NULL ? value : json_null());
}

static json_t *json_u64(uint64_t value)
{
    return json_integer((json_int_t)value);
}

static json_t *json_hex(const uint8_t *bytes, size_t length)
{
    char text[65] = "";

    for (size_t i = 0; i < length && i < 32; i++)
        (void)snprintf(text + 2 * i, 3, "%02x", bytes[i]);
    return json_string(text);
}

static json_t *json_node(const Vq__ClusterStatus *status, const Vq__NodeStatus *node)
{
    const Vq__NodeRecord *record = node->record;
    json_t *object = json_object();

    put(object, "name", json_string(record->name));
    put(object, "id", json_u64(record->id));
    put(object, "self", json_boolean(record->id == status->self));
    put(object, "state", json_string(node->online ? "online" : "offline"));
    put(object, "consensusStopped", json_boolean(node->consensus_stopped));
    put(object, "consensusProblem", json_string(node->consensus_problem));
    put(object, "offlineSince", json_time_ms(node->offline_since_ms));
    put(object, "role", json_string(role_name(node)));
    put(object, "leader", json_boolean(node->is_leader));
    put(object, "addresses", json_texts(record->addresses, record->n_addresses));
    put(object, "appliedIndex", json_u64(node->applied));
    put(object, "domains", json_u64(node->domains_total));
    put(object, "domainsRunning", json_u64(node->domains_running));
    put(object, "domainsUnknown", json_u64(node->domains_unknown));
    put(object, "cpus", json_u64(record->cpus));
    put(object, "cpuPermille", json_u64(node->cpu_permille));
    put(object, "memoryBytes", json_u64(record->memory_kib * 1024));
    put(object, "memoryFreeBytes", json_u64(node->free_memory_kib * 1024));
    put(object, "roundTripMicroseconds", json_u64(node->round_trip_us));
    put(object, "version", json_string(record->version));
    put(object, "featureLevel", json_u64(record->feature_level));
    put(object, "joined", json_time_ms(record->joined_ms));
    put(object, "certificateProblem", json_string(node->certificate_problem));
    put(object, "certificateExpires", json_time_ms((uint64_t)node->certificate_expires_s * 1000));
    return object;
}

static json_t *json_leader(const Vq__ClusterStatus *status)
{
    for (size_t i = 0; i < status->n_nodes; i++)
        if (status->nodes[i]->record->id == status->leader)
            return json_string(status->nodes[i]->record->name);
    return json_null();
}

static void put_cluster(json_t *object, const Vq__ClusterStatus *status)
{
    char hash[17];

    put(object, "cluster", status->standalone ? json_null() : json_string(status->cluster_name));
    put(object, "clusterId", status->standalone ? json_null() : json_hex(status->cluster_id.data, status->cluster_id.len));
    put(object, "standalone", json_boolean(status->standalone));
    put(object, "self", json_string(status->self_name));
    put(object, "leader", json_leader(status));
    put(object, "quorum", json_boolean(status->has_quorum));
    put(object, "starting", json_boolean(status->starting));
    put(object, "votersTotal", json_u64(status->voters_total));
    put(object, "votersReachable", json_u64(status->voters_reachable));
    put(object, "canLose", json_u64(status->can_lose));
    put(object, "term", json_u64(status->term));
    put(object, "commitIndex", json_u64(status->commit_index));
    put(object, "lastIndex", json_u64(status->last_index));
    put(object, "appliedIndex", json_u64(status->applied_index));
    put(object, "featureLevel", json_u64(status->feature_level));
    put(object, "domains", json_u64(status->domains_total));
    put(object, "domainsRunning", json_u64(status->domains_running));
    put(object, "domainsUnknown", json_u64(status->domains_unknown));
    put(object, "storeOk", json_boolean(status->store_ok));
    put(object, "storeProblem", json_string(status->store_problem));
    (void)snprintf(hash, sizeof(hash), "%016" PRIx64, status->state_hash);
    put(object, "stateHash", status->state_hash == 0 ? json_null() : json_string(hash));
    put(object, "warnings", json_texts(status->warnings, status->n_warnings));
    put(object, "why", json_texts(status->why, status->n_why));
}

void cli_print_json(const struct cli *cli, const Vq__ClusterStatus *status, bool nodes_only)
{
    json_t *object = json_object(), *nodes = json_array();

    put(object, "apiVersion", json_string("virtquorum/v1"));
    if (!nodes_only)
        put_cluster(object, status);
    for (size_t i = 0; i < status->n_nodes; i++)
        json_array_append_new(nodes, json_node(status, status->nodes[i]));
    put(object, "nodes", nodes);
    (void)json_dumpf(object, cli->out, JSON_INDENT(2)); /* a closed pipe is no news */
    fputs("\n", cli->out);
    json_decref(object);
}
