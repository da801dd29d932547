/* guests: one table, or JSON. */
#include <jansson.h>
#include <libsmartcols.h>
#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "node/cli/cli.h"

/* As virsh says it. */
static const char *state_name(const Vq__GuestStatus *guest)
{
    static const char *const names[] = {
        [VIR_DOMAIN_NOSTATE] = "no state",  [VIR_DOMAIN_RUNNING] = "running",   [VIR_DOMAIN_BLOCKED] = "idle",
        [VIR_DOMAIN_PAUSED] = "paused",     [VIR_DOMAIN_SHUTDOWN] = "in shutdown", [VIR_DOMAIN_SHUTOFF] = "shut off",
        [VIR_DOMAIN_CRASHED] = "crashed",   [VIR_DOMAIN_PMSUSPENDED] = "pmsuspended",
    };

    return guest->state < VQ_N_ELEMENTS(names) && names[guest->state] != NULL ? names[guest->state] : "no state";
}

static char *cell_name(const Vq__GuestStatus *guest)
{
    return vq_strdup(guest->name);
}

static char *cell_state(const Vq__GuestStatus *guest)
{
    return vq_strdup(state_name(guest));
}

static char *cell_node(const Vq__GuestStatus *guest)
{
    if (guest->owner_name[0] == '\0')
        return vq_asprintf("(removed, %llu)", (unsigned long long)guest->owner);
    return vq_asprintf("%s%s", guest->owner_name, guest->owner_online ? "" : " (offline)");
}

static char *cell_id(const Vq__GuestStatus *guest)
{
    return guest->id < 0 ? vq_strdup("-") : vq_asprintf("%d", guest->id);
}

static char *cell_vcpus(const Vq__GuestStatus *guest)
{
    return vq_asprintf("%u", guest->vcpus);
}

static char *cell_memory(const Vq__GuestStatus *guest)
{
    return vq_asprintf("%llu MiB", (unsigned long long)(guest->memory_kib / 1024));
}

static char *cell_autostart(const Vq__GuestStatus *guest)
{
    return vq_strdup(guest->autostart ? "yes" : "no");
}

static char *cell_uuid(const Vq__GuestStatus *guest)
{
    char text[VQ_UUID_TEXT] = "-";

    if (guest->uuid.len == 16)
        vq_uuid_format(guest->uuid.data, text);
    return vq_strdup(text);
}

static const struct {
    const char *title;
    char *(*cell)(const Vq__GuestStatus *guest);
    int flags;
    bool is_wide;
} columns[] = {
    {"NAME", cell_name, 0, false},
    {"STATE", cell_state, 0, false},
    {"NODE", cell_node, 0, false},
    {"ID", cell_id, SCOLS_FL_RIGHT, false},
    {"VCPUS", cell_vcpus, SCOLS_FL_RIGHT, true},
    {"MEMORY", cell_memory, SCOLS_FL_RIGHT, true},
    {"AUTOSTART", cell_autostart, 0, true},
    {"UUID", cell_uuid, 0, true},
};

static bool is_shown(const struct cli *cli, size_t column)
{
    return !columns[column].is_wide || cli->format == CLI_WIDE;
}

static void print_table(const struct cli *cli, Vq__GuestStatus *const *guests, size_t n_guests)
{
    struct libscols_table *table = scols_new_table();

    if (table == NULL)
        return;
    (void)scols_table_set_stream(table, cli->out); /* fails only for a NULL table */
    for (size_t c = 0; c < VQ_N_ELEMENTS(columns); c++)
        if (is_shown(cli, c))
            (void)scols_table_new_column(table, columns[c].title, 0, columns[c].flags); /* without memory: no column */
    for (size_t i = 0; i < n_guests; i++) {
        struct libscols_line *line = scols_table_new_line(table, NULL);
        for (size_t c = 0, at = 0; line != NULL && c < VQ_N_ELEMENTS(columns); c++)
            if (is_shown(cli, c))
                (void)scols_line_refer_data(line, at++, columns[c].cell(guests[i])); /* takes it; the index is right */
    }
    (void)scols_print_table(table); /* a closed pipe is no news */
    scols_unref_table(table);
}

static json_t *json_guest(const Vq__GuestStatus *guest)
{
    VQ_AUTOFREE char *uuid = cell_uuid(guest);

    return json_pack("{s:s, s:s, s:s, s:o, s:o, s:b, s:b, s:b, s:I, s:I}", "name", guest->name, "uuid", uuid, "state",
                     state_name(guest), "id", guest->id < 0 ? json_null() : json_integer(guest->id), "node",
                     guest->owner_name[0] == '\0' ? json_null() : json_string(guest->owner_name), "nodeOnline",
                     guest->owner_online, "persistent", guest->persistent, "autostart", guest->autostart, "memoryBytes",
                     (json_int_t)(guest->memory_kib * 1024), "vcpus", (json_int_t)guest->vcpus);
}

static void print_json(const struct cli *cli, Vq__GuestStatus *const *guests, size_t n_guests)
{
    json_t *object = json_object(), *array = json_array();

    for (size_t i = 0; i < n_guests; i++)
        json_array_append_new(array, json_guest(guests[i]));
    json_object_set_new(object, "apiVersion", json_string("virtquorum/v1"));
    json_object_set_new(object, "guests", array);
    (void)json_dumpf(object, cli->out, JSON_INDENT(2)); /* a closed pipe is no news */
    fputs("\n", cli->out);
    json_decref(object);
}

static int by_name(const void *a, const void *b)
{
    return strcmp((*(Vq__GuestStatus *const *)a)->name, (*(Vq__GuestStatus *const *)b)->name);
}

int cli_guests(struct cli *cli)
{
    Vq__Control request = VQ__CONTROL__INIT;
    Vq__ControlGuests guests = VQ__CONTROL_GUESTS__INIT;
    Vq__ControlReply *reply;

    guests.node = (char *)cli->node;
    request.request_case = VQ__CONTROL__REQUEST_GUESTS;
    request.guests = &guests;
    int result = cli_ask(cli, &request, &reply);
    if (result != CLI_OK)
        return result;
    if (reply->n_guests > 0)
        qsort(reply->guests, reply->n_guests, sizeof(*reply->guests), by_name);
    if (cli->format == CLI_JSON)
        print_json(cli, reply->guests, reply->n_guests);
    else if (cli->format != CLI_NAME)
        print_table(cli, reply->guests, reply->n_guests);
    else
        for (size_t i = 0; i < reply->n_guests; i++)
            fprintf(cli->out, "%s\n", reply->guests[i]->name);
    vq__control_reply__free_unpacked(reply, NULL);
    return CLI_OK;
}
