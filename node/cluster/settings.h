/* What an administrator may set for the whole cluster: one table, each with its type, range, default and a sentence. Values
 * are in the replicated state (SettingPut), as text; a value that an earlier or later release would not take is not used. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "conf/base/error.h"

struct vq_daemon;
struct vq_store_view;

enum vq_setting { VQ_SETTING_TOKEN_TTL, VQ_SETTING_VOTER_REPLACE, VQ_SETTING_VOTERS, VQ_N_SETTINGS };

struct vq_setting_row {
    const char *name;
    enum { VQ_SETTING_ODD, VQ_SETTING_TIME } type; /* an odd number; "90s", "15m", "1h", "2d", in milliseconds */
    uint64_t min, max;
    const char *initial; /* as text, in range */
    const char *range;   /* min and max for people */
    const char *doc;
};
extern const struct vq_setting_row vq_settings[VQ_N_SETTINGS];

/* VQ_N_SETTINGS: there is none of that name. */
enum vq_setting vq_setting_find(const char *name);
/* Is the text a value of it? VIR_ERR_INVALID_ARG. ret_value may be NULL. */
VQ_MUST_CHECK int vq_setting_parse(enum vq_setting setting, const char *text, uint64_t *ret_value, struct vq_error *err);
/* As the cluster has it now, else the default. */
uint64_t vq_setting_value(const struct vq_daemon *daemon, enum vq_setting setting);
/* The text that was set, malloc'ed; NULL: the default holds. */
char *vq_setting_text(struct vq_store_view *view, enum vq_setting setting);
