/* What is said to QEMU about a migration out of it: see migrate_qemu.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/migrate_qemu.h"

#include <libvirt/libvirt.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/migrate.h"

enum auto_side { AUTO_NEVER, AUTO_OUT, AUTO_IN };
enum needs { NEEDS_NONE, NEEDS_PEER };

/* return-path is off but for post-copy, which switches it on by itself. Without it a source fails only when it could not hand
 * over its last byte, so a source that has failed, whose QEMU lets the CPUs run again at once, and a destination that has
 * loaded all cannot be at the same time. */
static const struct {
    const char *name;
    enum auto_side by_itself;
    enum needs needs;
    uint64_t flag;            /* on with this flag */
    unsigned compression;     /* and, if not 0, with one of these methods */
} capabilities[] = {
    { "events", AUTO_NEVER, NEEDS_NONE, 0, 0 },
    { "pause-before-switchover", AUTO_OUT, NEEDS_NONE, 0, 0 },
    { "xbzrle", AUTO_NEVER, NEEDS_PEER, VIR_MIGRATE_COMPRESSED, VQ_COMPRESS_XBZRLE },
    { "compress", AUTO_NEVER, NEEDS_PEER, VIR_MIGRATE_COMPRESSED, VQ_COMPRESS_MT },
    { "auto-converge", AUTO_NEVER, NEEDS_NONE, VIR_MIGRATE_AUTO_CONVERGE, 0 },
    { "rdma-pin-all", AUTO_NEVER, NEEDS_PEER, VIR_MIGRATE_RDMA_PIN_ALL, 0 },
    { "postcopy-ram", AUTO_NEVER, NEEDS_PEER, VIR_MIGRATE_POSTCOPY, 0 },
    { "late-block-activate", AUTO_IN, NEEDS_NONE, UINT64_MAX, 0 },
    { "multifd", AUTO_NEVER, NEEDS_PEER, VIR_MIGRATE_PARALLEL, 0 },
    { "dirty-bitmaps", AUTO_NEVER, NEEDS_NONE, UINT64_MAX, 0 },
    { "return-path", AUTO_NEVER, NEEDS_NONE, UINT64_MAX, 0 },
    { "zero-copy-send", AUTO_NEVER, NEEDS_NONE, VIR_MIGRATE_ZEROCOPY, 0 },
};

void vq_migrate_capabilities_to_cookie(const json_t *query, bool is_out, struct vq_migrate_cookie *cookie)
{
    enum auto_side own_side = is_out ? AUTO_OUT : AUTO_IN;
    size_t i;
    json_t *entry;

    json_array_foreach(query, i, entry) {
        const char *name = json_string_value(json_object_get(entry, "capability"));

        for (size_t k = 0; k < VQ_N_ELEMENTS(capabilities) && cookie->n_capabilities < VQ_MIGRATE_CAPABILITIES_MAX; k++) {
            if (!vq_streq(name, capabilities[k].name) || strcmp(name, "events") == 0)
                continue;
            vq_migrate_cookie_add_capability(cookie, name, capabilities[k].by_itself == own_side);
        }
    }
}

static bool has_capability(const struct vq_migrate_cookie *cookie, const char *name)
{
    for (size_t i = 0; i < cookie->n_capabilities; i++)
        if (vq_streq(cookie->capabilities[i].name, name))
            return true;
    return false;
}

static bool is_wanted(size_t row, const struct vq_migrate_options *options)
{
    if (capabilities[row].flag == UINT64_MAX)
        return false;
    if (capabilities[row].flag == 0)
        return true;
    return (options->flags & capabilities[row].flag) != 0 &&
           (capabilities[row].compression == 0 || (options->compression & capabilities[row].compression) != 0);
}

int vq_migrate_capabilities_out(const struct vq_migrate_options *options, const struct vq_migrate_cookie *own,
                                const struct vq_migrate_cookie *peer, json_t **ret, struct vq_error *err)
{
    json_t *list = json_array();

    for (size_t i = 0; i < VQ_N_ELEMENTS(capabilities); i++) {
        const char *name = capabilities[i].name;
        bool has = strcmp(name, "events") == 0 || has_capability(own, name), wanted = is_wanted(i, options);

        if (wanted && capabilities[i].flag != 0 && !has) {
            json_decref(list);
            return vq_error_set(err, VIR_ERR_ARGUMENT_UNSUPPORTED,
                                "Migration option '%s' is not supported by source QEMU", name);
        }
        if (wanted && capabilities[i].needs == NEEDS_PEER && peer->n_capabilities > 0 && !has_capability(peer, name)) {
            json_decref(list);
            return vq_error_set(err, VIR_ERR_ARGUMENT_UNSUPPORTED,
                                "Migration option '%s' is not supported by target QEMU", name);
        }
        if (has)
            (void)json_array_append_new(list, json_pack("{s:s,s:b}", "capability", name, "state", wanted));
    }
    *ret = json_pack("{s:o}", "capabilities", list);
    return 0;
}

/* ---- Parameters ---- */

static void set_number(json_t *parameters, const char *name, uint64_t value)
{
    (void)json_object_set_new(parameters, name, json_integer((json_int_t)value));
}

/* The first number, or where it is not said (0 or less) the second. */
static void set_or(json_t *parameters, const char *name, int64_t said, uint64_t otherwise)
{
    set_number(parameters, name, said > 0 ? (uint64_t)said : otherwise);
}

static uint64_t bytes_per_second(uint64_t mib)
{
    return (mib == 0 || mib > VQ_MIGRATE_SPEED_MAX ? VQ_MIGRATE_SPEED_MAX : mib) * 1024 * 1024;
}

static const char *multifd_compression(const struct vq_migrate_options *options)
{
    return (options->compression & VQ_COMPRESS_ZSTD) != 0   ? "zstd"
           : (options->compression & VQ_COMPRESS_ZLIB) != 0 ? "zlib"
                                                            : "none";
}

json_t *vq_migrate_parameters_out(const struct vq_migrate_options *options, const struct vq_migrate_pace *pace)
{
    json_t *parameters = json_object();
    uint64_t cache = options->has_xbzrle_cache ? options->xbzrle_cache : pace->xbzrle_cache;

    set_number(parameters, "max-bandwidth", bytes_per_second(options->bandwidth != 0 ? options->bandwidth : pace->speed_mib));
    set_number(parameters, "max-postcopy-bandwidth", options->postcopy_bandwidth * 1024 * 1024);
    set_or(parameters, "downtime-limit", (int64_t)pace->downtime_ms, 300);
    set_or(parameters, "cpu-throttle-initial", options->throttle_initial, 20);
    set_or(parameters, "cpu-throttle-increment", options->throttle_increment, 10);
    if (cache != 0)
        set_number(parameters, "xbzrle-cache-size", cache);
    if ((options->compression & VQ_COMPRESS_MT) != 0) {
        set_number(parameters, "compress-level", (uint64_t)(options->mt_level >= 0 ? options->mt_level : 1));
        set_or(parameters, "compress-threads", options->mt_threads, 8);
    }
    if ((options->flags & VIR_MIGRATE_PARALLEL) != 0) {
        set_or(parameters, "multifd-channels", options->parallel_connections, 2);
        (void)json_object_set_new(parameters, "multifd-compression", json_string(multifd_compression(options)));
    }
    (void)json_object_set_new(parameters, "tls-creds", json_string(pace->tls_creds != NULL ? pace->tls_creds : ""));
    (void)json_object_set_new(parameters, "tls-hostname",
                              json_string(pace->tls_hostname != NULL ? pace->tls_hostname : ""));
    return parameters;
}
