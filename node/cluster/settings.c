/* The table of settings. */
#define VQ_FROM VIR_FROM_NONE
#include "node/cluster/settings.h"

#include <assert.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "node/cluster/token.h"
#include "node/daemon.h"

enum { TEXT_MAX = 32 };
#define SECOND_MS UINT64_C(1000)
#define HOUR_MS (3600 * SECOND_MS)

const struct vq_setting_row vq_settings[VQ_N_SETTINGS] = {
    [VQ_SETTING_TOKEN_TTL] = {"token-ttl", VQ_SETTING_TIME, SECOND_MS, VQ_TOKEN_TTL_MAX_MS, "1h", "1s to 30d",
                              "how long a join token is good when virtquorum token names no time"},
    [VQ_SETTING_VOTER_REPLACE] = {"voter-replace-after", VQ_SETTING_TIME, 5 * SECOND_MS, 24 * HOUR_MS, "10s", "5s to 24h",
                                  "how long a voter may be missing before a stand-by gets its vote"},
    [VQ_SETTING_VOTERS] = {"voters", VQ_SETTING_ODD, 1, 5, "3", "1, 3 or 5",
                           "how many nodes vote at most: (N-1)/2 of them may fail at once"},
};

enum vq_setting vq_setting_find(const char *name)
{
    size_t i = 0;

    while (i < VQ_N_SETTINGS && strcmp(vq_settings[i].name, name) != 0)
        i++;
    return (enum vq_setting)i;
}

int vq_setting_parse(enum vq_setting setting, const char *text, uint64_t *ret_value, struct vq_error *err)
{
    const struct vq_setting_row *row = &vq_settings[setting];
    uint64_t value = 0;
    bool is_good = row->type == VQ_SETTING_TIME ? vq_parse_time_ms(text, row->max, &value)
                                                : vq_parse_u64(text, 10, row->max, &value) && value % 2 == 1;

    if (strlen(text) >= TEXT_MAX || !is_good || value < row->min)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "'%.40s' is no value of %s: %s", text, row->name, row->range);
    if (ret_value != NULL)
        *ret_value = value;
    return 0;
}

char *vq_setting_text(struct vq_store_view *view, enum vq_setting setting)
{
    const uint8_t *bytes;
    size_t length;
    struct vq_error ignored = VQ_ERROR_INIT;

    if (!vq_store_setting(view, vq_settings[setting].name, &bytes, &length) || memchr(bytes, '\0', length) != NULL)
        return NULL;
    VQ_AUTOFREE char *text = vq_strndup((const char *)bytes, length);
    return vq_setting_parse(setting, text, NULL, &ignored) < 0 ? NULL : vq_take(text);
}

uint64_t vq_setting_value(const struct vq_daemon *daemon, enum vq_setting setting)
{
    struct vq_error ignored = VQ_ERROR_INIT;
    struct vq_store_view *view;
    VQ_AUTOFREE char *text = NULL;
    uint64_t value = 0;

    if (vq_store_view_begin(daemon->store, &view, &ignored) == 0) {
        text = vq_setting_text(view, setting);
        vq_store_view_end(view);
    }
    int rc = vq_setting_parse(setting, text != NULL ? text : vq_settings[setting].initial, &value, &ignored);
    assert(rc == 0); /* what was set has been looked at, and defaults are in range: a unit test */
    return value;
}
