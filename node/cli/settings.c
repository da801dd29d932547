/* get and set: what holds for the whole cluster. */
#include <jansson.h>
#include <libsmartcols.h>
#include <string.h>

#include "conf/base/memory.h"
#include "node/cli/cli.h"

static int ask(struct cli *cli, const char *name, const char *value, Vq__ControlReply **ret_reply)
{
    Vq__Control request = VQ__CONTROL__INIT;
    Vq__ControlSetting setting = VQ__CONTROL_SETTING__INIT;

    setting.name = (char *)name;
    setting.value = (char *)value;
    request.request_case = VQ__CONTROL__REQUEST_SETTING;
    request.setting = &setting;
    return cli_ask(cli, &request, ret_reply);
}

static void print_table(const struct cli *cli, Vq__SettingStatus *const *settings, size_t n_settings)
{
    static const char *const titles[] = {"NAME", "VALUE", "DEFAULT", "RANGE", "WHAT IT IS"};
    struct libscols_table *table = scols_new_table();

    if (table == NULL)
        return;
    (void)scols_table_set_stream(table, cli->out); /* fails only for a NULL table */
    for (size_t i = 0; i < VQ_N_ELEMENTS(titles); i++)
        (void)scols_table_new_column(table, titles[i], 0, 0); /* without memory: no column */
    for (size_t i = 0; i < n_settings; i++) {
        const Vq__SettingStatus *setting = settings[i];
        const char *const cells[] = {setting->name, setting->value, setting->initial, setting->range, setting->doc};
        struct libscols_line *line = scols_table_new_line(table, NULL);
        for (size_t c = 0; line != NULL && c < VQ_N_ELEMENTS(cells); c++)
            (void)scols_line_set_data(line, c, cells[c]); /* copies it; the index is right */
    }
    (void)scols_print_table(table); /* a closed pipe is no news */
    scols_unref_table(table);
}

static void print_json(const struct cli *cli, Vq__SettingStatus *const *settings, size_t n_settings)
{
    json_t *object = json_object(), *array = json_array();

    for (size_t i = 0; i < n_settings; i++)
        json_array_append_new(array, json_pack("{s:s, s:s, s:s, s:b, s:s, s:s}", "name", settings[i]->name, "value",
                                               settings[i]->value, "default", settings[i]->initial, "isDefault",
                                               settings[i]->is_default, "range", settings[i]->range, "description",
                                               settings[i]->doc));
    json_object_set_new(object, "apiVersion", json_string("virtquorum/v1"));
    json_object_set_new(object, "settings", array);
    (void)json_dumpf(object, cli->out, JSON_INDENT(2)); /* a closed pipe is no news */
    fputs("\n", cli->out);
    json_decref(object);
}

/* One by its name is its bare value, for scripts. */
int cli_get(struct cli *cli)
{
    const char *name = cli->n_args > 0 ? cli->args[0] : "";
    Vq__ControlReply *reply;
    int result = ask(cli, name, "", &reply);

    if (result != CLI_OK)
        return result;
    if (cli->format == CLI_JSON)
        print_json(cli, reply->settings, reply->n_settings);
    else if (cli->format == CLI_NAME)
        for (size_t i = 0; i < reply->n_settings; i++)
            fprintf(cli->out, "%s\n", reply->settings[i]->name);
    else if (name[0] != '\0' && cli->format == CLI_TABLE && reply->n_settings == 1)
        fprintf(cli->out, "%s\n", reply->settings[0]->value);
    else
        print_table(cli, reply->settings, reply->n_settings);
    vq__control_reply__free_unpacked(reply, NULL);
    return CLI_OK;
}

int cli_set(struct cli *cli)
{
    Vq__ControlReply *reply;

    if (cli->args[0][0] == '\0' || cli->args[1][0] == '\0')
        return cli_usage_error(cli, "a setting has a name and a value; 'default' is its default");
    int result = ask(cli, cli->args[0], cli->args[1], &reply);
    if (result != CLI_OK)
        return result;
    if ((cli->given & CLI_OPT_QUIET) == 0)
        fprintf(cli->out, "%s\n", reply->text);
    vq__control_reply__free_unpacked(reply, NULL);
    return CLI_OK;
}
