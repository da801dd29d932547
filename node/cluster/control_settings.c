/* `virtquorum get` and `set`. */
#define VQ_FROM VIR_FROM_NONE
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "node/cluster/control_state.h"
#include "node/cluster/settings.h"
#include "node/mesh/propose.h"

#define DEFAULT_WORD "default"

static Vq__SettingStatus *setting_status(struct vq_store_view *view, enum vq_setting setting)
{
    const struct vq_setting_row *row = &vq_settings[setting];
    Vq__SettingStatus *status = vq_new(Vq__SettingStatus);
    char *text = vq_setting_text(view, setting);

    vq__setting_status__init(status);
    status->name = vq_strdup(row->name);
    status->is_default = text == NULL;
    status->value = text != NULL ? text : vq_strdup(row->initial);
    status->initial = vq_strdup(row->initial);
    status->range = vq_strdup(row->range);
    status->doc = vq_strdup(row->doc);
    return status;
}

/* False: there is none of that name, and the tool was told. */
static bool find(struct vq_control_client *client, const char *name, enum vq_setting *ret)
{
    *ret = vq_setting_find(name);
    if (*ret != VQ_N_SETTINGS)
        return true;
    VQ_AUTOFREE char *text = vq_asprintf("there is no setting '%.64s'; virtquorum get lists them", name);
    vq_control_fail(client, VQ_E_NO_SETTING, text);
    return false;
}

static void get(struct vq_control_client *client, enum vq_setting first, enum vq_setting end)
{
    Vq__SettingStatus *list[VQ_N_SETTINGS];
    Vq__ControlReply reply = VQ__CONTROL_REPLY__INIT;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_store_view *view;

    if (vq_store_view_begin(client->cluster->daemon->store, &view, &err) < 0) {
        vq_control_fail_with(client, &err);
        return;
    }
    reply.settings = list;
    for (enum vq_setting setting = first; setting < end; setting++)
        list[reply.n_settings++] = setting_status(view, setting);
    vq_store_view_end(view);
    size_t n = reply.n_settings;
    vq_control_done(client, &reply);
    for (size_t i = 0; i < n; i++)
        vq__setting_status__free_unpacked(list[i], NULL);
}

static void set(struct vq_control_client *client, enum vq_setting setting, const char *text)
{
    bool is_default = strcmp(text, DEFAULT_WORD) == 0;
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__SettingPut put = VQ__SETTING_PUT__INIT;
    struct vq_error err = VQ_ERROR_INIT;

    if (!is_default && vq_setting_parse(setting, text, NULL, &err) < 0) {
        vq_control_fail_with(client, &err);
        return;
    }
    put.name = (char *)(uintptr_t)vq_settings[setting].name;
    if (!is_default)
        put.value = (ProtobufCBinaryData){strlen(text), (uint8_t *)(uintptr_t)text};
    command.change_case = VQ__COMMAND__CHANGE_SETTING_PUT;
    command.setting_put = &put;
    client->success = vq_asprintf("%s is %s now%s", vq_settings[setting].name,
                                  is_default ? vq_settings[setting].initial : text, is_default ? ", the default" : "");
    vq_propose(client->cluster->daemon, &command, client->request->timeout_ms, vq_control_proposed, client);
}

void vq_control_setting(struct vq_control_client *client)
{
    const Vq__ControlSetting *wish = client->request->setting;
    enum vq_setting setting;

    if (wish->name[0] == '\0') {
        get(client, (enum vq_setting)0, VQ_N_SETTINGS);
        return;
    }
    if (!find(client, wish->name, &setting))
        return;
    if (wish->value[0] == '\0')
        get(client, setting, setting + 1);
    else
        set(client, setting, wish->value);
}
