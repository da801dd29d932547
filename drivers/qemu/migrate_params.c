/* What a migration is asked to do: flags, and the parameters of all forms of the calls. One table serves reading them, writing
 * them for the peer, copying and freeing; another says which flags go together. Codes and words are those of a stock daemon,
 * so that tools which look at them find what they know. */
#define VQ_FROM VIR_FROM_QEMU

#include <assert.h>
#include <libvirt/libvirt.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "drivers/qemu/migrate.h"
#include "proto/xdr.h"

#define SPEED_MAX 8796093022207ULL /* MiB/s: in bytes the largest number that QEMU's monitor takes */
#define CACHE_MIN 4096ULL          /* the smallest page of a guest */

enum {
    DISKS = VIR_MIGRATE_NON_SHARED_DISK | VIR_MIGRATE_NON_SHARED_INC,
    EVERYWHERE = 0x7f,
    SOURCE = VQ_MIGRATE_BEGIN | VQ_MIGRATE_PERFORM | VQ_MIGRATE_P2P,
    TCP_PORT_MAX = 65535,
};

/* ---- Parameters ---- */

enum kind { TEXT, TEXTS, METHODS, NUMBER, SPEED, CACHE };

static const int wire_types[] = { [TEXT] = VIR_TYPED_PARAM_STRING,   [TEXTS] = VIR_TYPED_PARAM_STRING,
                                  [METHODS] = VIR_TYPED_PARAM_STRING, [NUMBER] = VIR_TYPED_PARAM_INT,
                                  [SPEED] = VIR_TYPED_PARAM_ULLONG,  [CACHE] = VIR_TYPED_PARAM_ULLONG };
static const char *const type_names[] = {
    [VIR_TYPED_PARAM_INT] = "int",       [VIR_TYPED_PARAM_UINT] = "uint",     [VIR_TYPED_PARAM_LLONG] = "llong",
    [VIR_TYPED_PARAM_ULLONG] = "ullong", [VIR_TYPED_PARAM_DOUBLE] = "double", [VIR_TYPED_PARAM_BOOLEAN] = "boolean",
    [VIR_TYPED_PARAM_STRING] = "string",
};

#define MT_WORDS       "Turn multithread compression on to tune it"
#define XBZRLE_WORDS   "Turn xbzrle compression on to tune it"
#define PARALLEL_WORDS "Turn parallel migration on to tune it"
#define CONVERGE_WORDS "Turn auto convergence on to tune it"

static const struct row {
    const char *name;
    enum kind kind;
    size_t offset;
    int unset, min, max;     /* of NUMBER */
    uint64_t flag;           /* that it needs, in these calls, else words */
    unsigned calls;
    unsigned method;         /* of compression that it needs everywhere */
    const char *words;
} rows[] = {
#define AT(member) .offset = offsetof(struct vq_migrate_options, member)
    { .name = VIR_MIGRATE_PARAM_URI, .kind = TEXT, AT(uri) },
    { .name = VIR_MIGRATE_PARAM_DEST_NAME, .kind = TEXT, AT(dname) },
    { .name = VIR_MIGRATE_PARAM_DEST_XML, .kind = TEXT, AT(dxml) },
    { .name = VIR_MIGRATE_PARAM_PERSIST_XML, .kind = TEXT, AT(persistent_xml) },
    { .name = VIR_MIGRATE_PARAM_BANDWIDTH, .kind = SPEED, AT(bandwidth) },
    { .name = VIR_MIGRATE_PARAM_BANDWIDTH_POSTCOPY, .kind = SPEED, AT(postcopy_bandwidth) },
    { .name = VIR_MIGRATE_PARAM_GRAPHICS_URI, .kind = TEXT, AT(graphics_uri) },
    { .name = VIR_MIGRATE_PARAM_LISTEN_ADDRESS, .kind = TEXT, AT(listen_address) },
    { .name = VIR_MIGRATE_PARAM_MIGRATE_DISKS, .kind = TEXTS, AT(disks) },
    { .name = VIR_MIGRATE_PARAM_DISKS_PORT, .kind = NUMBER, AT(disks_port), .unset = 0, .min = 0, .max = TCP_PORT_MAX },
    { .name = VIR_MIGRATE_PARAM_DISKS_URI, .kind = TEXT, AT(disks_uri) },
    { .name = VIR_MIGRATE_PARAM_COMPRESSION, .kind = METHODS, AT(compression) },
    { .name = VIR_MIGRATE_PARAM_COMPRESSION_MT_LEVEL, .kind = NUMBER, AT(mt_level), .unset = -1, .min = 0, .max = 9,
      .method = VQ_COMPRESS_MT, .words = MT_WORDS },
    { .name = VIR_MIGRATE_PARAM_COMPRESSION_MT_THREADS, .kind = NUMBER, AT(mt_threads), .unset = -1, .min = 1, .max = 255,
      .method = VQ_COMPRESS_MT, .words = MT_WORDS },
    { .name = VIR_MIGRATE_PARAM_COMPRESSION_MT_DTHREADS, .kind = NUMBER, AT(mt_dthreads), .unset = -1, .min = 1, .max = 255,
      .method = VQ_COMPRESS_MT, .words = MT_WORDS },
    { .name = VIR_MIGRATE_PARAM_COMPRESSION_XBZRLE_CACHE, .kind = CACHE, AT(xbzrle_cache), .method = VQ_COMPRESS_XBZRLE,
      .words = XBZRLE_WORDS },
    /* Without the flag for the destination: it is not told of the flag, only of the numbers. */
    { .name = VIR_MIGRATE_PARAM_AUTO_CONVERGE_INITIAL, .kind = NUMBER, AT(throttle_initial),
      .unset = 0, .min = 1, .max = 99, .flag = VIR_MIGRATE_AUTO_CONVERGE, .calls = SOURCE, .words = CONVERGE_WORDS },
    { .name = VIR_MIGRATE_PARAM_AUTO_CONVERGE_INCREMENT, .kind = NUMBER, AT(throttle_increment),
      .unset = 0, .min = 1, .max = 99, .flag = VIR_MIGRATE_AUTO_CONVERGE, .calls = SOURCE, .words = CONVERGE_WORDS },
    { .name = VIR_MIGRATE_PARAM_PARALLEL_CONNECTIONS, .kind = NUMBER, AT(parallel_connections),
      .unset = 0, .min = 1, .max = 255, .flag = VIR_MIGRATE_PARALLEL, .calls = EVERYWHERE, .words = PARALLEL_WORDS },
    { .name = VIR_MIGRATE_PARAM_TLS_DESTINATION, .kind = TEXT, AT(tls_destination) },
#undef AT
};

static const struct {
    const char *name;
    enum vq_migrate_compression bit;
    bool is_parallel;        /* of the streams of a parallel migration; else of the one stream */
} methods[] = { { "mt", VQ_COMPRESS_MT, false },
                { "xbzrle", VQ_COMPRESS_XBZRLE, false },
                { "zlib", VQ_COMPRESS_ZLIB, true },
                { "zstd", VQ_COMPRESS_ZSTD, true } };

#define MEMBER(options, row, type) ((type *)(void *)((char *)(options) + (row)->offset))
#define MEMBER_OF(options, row, type) ((const type *)(const void *)((const char *)(options) + (row)->offset))

static bool is_set(const struct vq_migrate_options *options, const struct row *row)
{
    switch (row->kind) {
    case TEXT:
        return *MEMBER_OF(options, row, char *const) != NULL;
    case TEXTS:
        return options->n_disks > 0;
    case METHODS:
        return options->compression != 0;
    case NUMBER:
        return *MEMBER_OF(options, row, int) != row->unset;
    case SPEED:
        return *MEMBER_OF(options, row, uint64_t) != 0;
    case CACHE:
        return options->has_xbzrle_cache;
    }
    return false;
}

void vq_migrate_options_init(struct vq_migrate_options *options)
{
    *options = (struct vq_migrate_options){ .flags = 0 };
    for (size_t i = 0; i < VQ_N_ELEMENTS(rows); i++)
        if (rows[i].kind == NUMBER)
            *MEMBER(options, &rows[i], int) = rows[i].unset;
}

void vq_migrate_options_done(struct vq_migrate_options *options)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(rows); i++)
        if (rows[i].kind == TEXT)
            free(*MEMBER(options, &rows[i], char *));
    for (size_t i = 0; i < options->n_disks; i++)
        free(options->disks[i]);
    free(options->disks);
    vq_migrate_options_init(options);
}

void vq_migrate_options_copy(struct vq_migrate_options *to, const struct vq_migrate_options *from)
{
    *to = *from;
    for (size_t i = 0; i < VQ_N_ELEMENTS(rows); i++)
        if (rows[i].kind == TEXT)
            *MEMBER(to, &rows[i], char *) = vq_strdup(*MEMBER_OF(from, &rows[i], char *const));
    to->disks = from->n_disks == 0 ? NULL : vq_calloc(from->n_disks, sizeof(*to->disks));
    for (size_t i = 0; i < from->n_disks; i++)
        to->disks[i] = vq_strdup(from->disks[i]);
}

/* ---- Reading ---- */

static int read_speed(const struct row *row, uint64_t value, struct vq_migrate_options *options, struct vq_error *err)
{
    if (value > SPEED_MAX)
        return vq_error_set(err, VIR_ERR_OVERFLOW, "migration parameter '%s' must be less than %llu", row->name,
                            SPEED_MAX + 1);
    *MEMBER(options, row, uint64_t) = value;
    return 0;
}

static int read_cache(const struct row *row, uint64_t value, struct vq_migrate_options *options, struct vq_error *err)
{
    if (value < CACHE_MIN || value > INT64_MAX || (value & (value - 1)) != 0)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "migration parameter '%s' must be a power of two no less than %llu",
                            row->name, CACHE_MIN);
    options->xbzrle_cache = value;
    options->has_xbzrle_cache = true;
    return 0;
}

static int read_number(const struct row *row, int value, struct vq_migrate_options *options, struct vq_error *err)
{
    if (value < row->min || value > row->max)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "migration parameter '%s' must be within %d and %d", row->name,
                            row->min, row->max);
    *MEMBER(options, row, int) = value;
    return 0;
}

static int read_method(const char *name, struct vq_migrate_options *options, struct vq_error *err)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(methods); i++) {
        if (strcmp(methods[i].name, name) != 0)
            continue;
        if ((options->compression & methods[i].bit) != 0)
            return vq_error_set(err, VIR_ERR_INVALID_ARG, "Compression method '%s' is specified twice", name);
        options->compression |= methods[i].bit;
        return 0;
    }
    return vq_error_set(err, VIR_ERR_INVALID_ARG, "Unsupported compression method '%s'", name);
}

static int read_disk(const char *target, struct vq_migrate_options *options, struct vq_error *err)
{
    if (options->n_disks == VQ_MIGRATE_DISKS_MAX)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "more than %d disks are named", VQ_MIGRATE_DISKS_MAX);
    VQ_GROW(options->disks, options->n_disks);
    options->disks[options->n_disks++] = vq_strdup(target);
    return 0;
}

static int read_value(const struct row *row, const struct vq_typed_param *param, struct vq_migrate_options *options,
                      struct vq_error *err)
{
    switch (row->kind) {
    case TEXT:
        vq_set_text(MEMBER(options, row, char *), param->value.s);
        return 0;
    case TEXTS:
        return read_disk(param->value.s, options, err);
    case METHODS:
        return read_method(param->value.s, options, err);
    case NUMBER:
        return read_number(row, param->value.i, options, err);
    case SPEED:
        return read_speed(row, param->value.ul, options, err);
    case CACHE:
        return read_cache(row, param->value.ul, options, err);
    }
    return 0;
}

static const char *type_name(int type)
{
    return type > 0 && (size_t)type < VQ_N_ELEMENTS(type_names) ? type_names[type] : "unknown";
}

/* seen: one bit for each row. */
static int read_param(const struct vq_typed_param *param, uint64_t *seen, struct vq_migrate_options *options,
                      struct vq_error *err)
{
    static_assert(VQ_N_ELEMENTS(rows) <= 64, "a bit for each row");
    const struct row *row;
    size_t i = 0;

    while (i < VQ_N_ELEMENTS(rows) && strcmp(rows[i].name, param->field) != 0)
        i++;
    if (i == VQ_N_ELEMENTS(rows))
        return vq_error_set_from(err, VIR_FROM_NONE, VIR_ERR_ARGUMENT_UNSUPPORTED, "parameter '%s' not supported",
                                 param->field);
    row = &rows[i];
    if (param->type != wire_types[row->kind])
        return vq_error_set_from(err, VIR_FROM_NONE, VIR_ERR_INVALID_ARG,
                                 "invalid type '%s' for parameter '%s', expected '%s'", type_name(param->type), row->name,
                                 type_name(wire_types[row->kind]));
    if ((*seen >> i & 1) != 0 && row->kind != TEXTS && row->kind != METHODS)
        return vq_error_set_from(err, VIR_FROM_NONE, VIR_ERR_INVALID_ARG, "parameter '%s' occurs multiple times",
                                 row->name);
    *seen |= 1ULL << i;
    return read_value(row, param, options, err);
}

/* ---- What goes together ---- */

static const struct rule {
    uint64_t when;           /* all of these flags */
    uint64_t needs;          /* one of these must be there; 0: nothing */
    uint64_t excludes;       /* none of these may be */
    unsigned calls;
    int from, code;
    const char *words;
} rules[] = {
    { VIR_MIGRATE_NON_SHARED_DISK, 0, VIR_MIGRATE_NON_SHARED_INC, EVERYWHERE, VIR_FROM_DOM, VIR_ERR_INVALID_ARG,
      "Flags 'VIR_MIGRATE_NON_SHARED_DISK' and 'VIR_MIGRATE_NON_SHARED_INC' are mutually exclusive" },
    { VIR_MIGRATE_TUNNELLED, 0, VIR_MIGRATE_PARALLEL, EVERYWHERE, VIR_FROM_DOM, VIR_ERR_INVALID_ARG,
      "Flags 'VIR_MIGRATE_TUNNELLED' and 'VIR_MIGRATE_PARALLEL' are mutually exclusive" },
    { VIR_MIGRATE_TUNNELLED, VIR_MIGRATE_PEER2PEER, 0, EVERYWHERE, VIR_FROM_DOM, VIR_ERR_INVALID_ARG,
      "cannot perform tunnelled migration without using peer2peer flag" },
    { VIR_MIGRATE_NON_SHARED_SYNCHRONOUS_WRITES, DISKS, 0, EVERYWHERE, VIR_FROM_DOM, VIR_ERR_INVALID_ARG,
      "Flag 'VIR_MIGRATE_NON_SHARED_DISK | VIR_MIGRATE_NON_SHARED_INC' is required by flag "
      "'VIR_MIGRATE_NON_SHARED_SYNCHRONOUS_WRITES'" },
    { VIR_MIGRATE_TUNNELLED, 0, VIR_MIGRATE_TUNNELLED, VQ_MIGRATE_PREPARE, VIR_FROM_QEMU, VIR_ERR_INTERNAL_ERROR,
      "Tunnelled migration requested but invalid RPC method called" },
    { 0, VIR_MIGRATE_TUNNELLED, 0, VQ_MIGRATE_PREPARE_TUNNEL, VIR_FROM_QEMU, VIR_ERR_INTERNAL_ERROR,
      "PrepareTunnel called but no TUNNELLED flag set" },
    { VIR_MIGRATE_POSTCOPY, 0, VIR_MIGRATE_TUNNELLED, SOURCE, VIR_FROM_QEMU, VIR_ERR_ARGUMENT_UNSUPPORTED,
      "post-copy is not supported with tunnelled migration" },
    /* A client adds PAUSED after begin when it finds the guest paused, which is none of the user's doing. */
    { VIR_MIGRATE_POSTCOPY, 0, VIR_MIGRATE_PAUSED, VQ_MIGRATE_BEGIN | VQ_MIGRATE_P2P, VIR_FROM_QEMU,
      VIR_ERR_ARGUMENT_UNSUPPORTED, "post-copy migration is not supported with non-live or paused migration" },
    { VIR_MIGRATE_POSTCOPY, VIR_MIGRATE_LIVE, 0, VQ_MIGRATE_BEGIN | VQ_MIGRATE_P2P, VIR_FROM_QEMU,
      VIR_ERR_ARGUMENT_UNSUPPORTED, "post-copy migration is not supported with non-live or paused migration" },
    { VIR_MIGRATE_POSTCOPY_RESUME, VIR_MIGRATE_POSTCOPY, 0, SOURCE, VIR_FROM_QEMU, VIR_ERR_ARGUMENT_UNSUPPORTED,
      "resuming failed post-copy migration requires post-copy to be enabled" },
    { VIR_MIGRATE_POSTCOPY_RESUME, VIR_MIGRATE_CHANGE_PROTECTION, 0, VQ_MIGRATE_BEGIN, VIR_FROM_QEMU,
      VIR_ERR_ARGUMENT_UNSUPPORTED, "resuming failed post-copy migration requires change protection" },
    { VIR_MIGRATE_ZEROCOPY, VIR_MIGRATE_PARALLEL, 0, SOURCE, VIR_FROM_QEMU, VIR_ERR_OPERATION_INVALID,
      "zero-copy is only available for parallel migration" },
    { VIR_MIGRATE_OFFLINE, VIR_MIGRATE_PERSIST_DEST, 0, SOURCE, VIR_FROM_QEMU, VIR_ERR_OPERATION_INVALID,
      "offline migration must be specified with the persistent flag set" },
    { VIR_MIGRATE_OFFLINE, 0, DISKS, SOURCE, VIR_FROM_QEMU, VIR_ERR_OPERATION_INVALID,
      "offline migration cannot handle non-shared storage" },
    { VIR_MIGRATE_OFFLINE, 0, VIR_MIGRATE_TUNNELLED, SOURCE, VIR_FROM_QEMU, VIR_ERR_OPERATION_INVALID,
      "tunnelled offline migration does not make sense" },
};

static int check_rules(uint64_t flags, unsigned calls, bool only_general, struct vq_error *err)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(rules); i++) {
        const struct rule *rule = &rules[i];

        if ((rule->calls & calls) == 0 || (only_general && rule->calls != EVERYWHERE) || (flags & rule->when) != rule->when)
            continue;
        if ((rule->needs != 0 && (flags & rule->needs) == 0) || (flags & rule->excludes) != 0)
            return vq_error_set_from(err, rule->from, rule->code, "%s", rule->words);
    }
    return 0;
}

static int check_methods(const struct vq_migrate_options *options, struct vq_error *err)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(rows); i++)
        if (rows[i].method != 0 && is_set(options, &rows[i]) && (options->compression & rows[i].method) == 0)
            return vq_error_set(err, VIR_ERR_INVALID_ARG, "%s", rows[i].words);
    for (size_t i = 0; i < VQ_N_ELEMENTS(methods); i++)
        if (methods[i].is_parallel && (options->compression & methods[i].bit) != 0 &&
            (options->flags & VIR_MIGRATE_PARALLEL) == 0)
            return vq_error_set(err, VIR_ERR_INVALID_ARG, "Compression method '%s' needs parallel migration",
                                methods[i].name);
    return 0;
}

static int check_tuning(const struct vq_migrate_options *options, unsigned calls, bool only_general, struct vq_error *err)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(rows); i++)
        if ((rows[i].calls & calls) != 0 && (!only_general || rows[i].calls == EVERYWHERE) && is_set(options, &rows[i]) &&
            (options->flags & rows[i].flag) == 0)
            return vq_error_set(err, VIR_ERR_INVALID_ARG, "%s", rows[i].words);
    return 0;
}

static int check_places(const struct vq_migrate_options *options, struct vq_error *err)
{
    const bool is_tunnelled = (options->flags & VIR_MIGRATE_TUNNELLED) != 0;

    if (options->disks_port != 0 && options->disks_uri != NULL)
        return vq_error_set(err, VIR_ERR_INVALID_ARG,
                            "Both port and URI requested for disk migration while being mutually exclusive");
    if (is_tunnelled && options->uri != NULL)
        return vq_error_set(err, VIR_ERR_ARGUMENT_UNSUPPORTED, "migration URI is not supported by tunnelled migration");
    if (is_tunnelled && options->listen_address != NULL)
        return vq_error_set(err, VIR_ERR_ARGUMENT_UNSUPPORTED, "listen address is not supported by tunnelled migration");
    if (is_tunnelled && (options->disks_port != 0 || options->disks_uri != NULL))
        return vq_error_set(err, VIR_ERR_ARGUMENT_UNSUPPORTED,
                            "disk port address is not supported by tunnelled migration");
    return 0;
}

/* Compression that was asked for without a method is the one that has always been meant. */
static int finish_reading(struct vq_migrate_options *options, struct vq_error *err)
{
    if (check_rules(options->flags, EVERYWHERE, true, err) < 0 || check_methods(options, err) < 0 ||
        check_tuning(options, EVERYWHERE, true, err) < 0 || check_places(options, err) < 0)
        return -1;
    if ((options->flags & VIR_MIGRATE_COMPRESSED) != 0 && options->compression == 0)
        options->compression = VQ_COMPRESS_XBZRLE;
    return 0;
}

static int check_flags(uint64_t flags, struct vq_error *err)
{
    const uint64_t unknown = flags & ~(uint64_t)VQ_MIGRATE_FLAGS;

    return unknown == 0 ? 0 : vq_error_set(err, VIR_ERR_INVALID_ARG, "unsupported flags (0x%llx)",
                                           (unsigned long long)unknown);
}

int vq_migrate_options_read(const struct vq_typed_param *params, uint32_t n_params, uint64_t flags,
                            struct vq_migrate_options *ret, struct vq_error *err)
{
    struct vq_migrate_options options;
    uint64_t seen = 0;
    int rc = check_flags(flags, err);

    vq_migrate_options_init(&options);
    options.flags = flags;
    for (uint32_t i = 0; i < n_params && rc == 0; i++)
        rc = read_param(&params[i], &seen, &options, err);
    if (rc < 0 || finish_reading(&options, err) < 0) {
        vq_migrate_options_done(&options);
        return -1;
    }
    *ret = options;
    return 0;
}

int vq_migrate_options_positional(uint64_t flags, const char *uri, const char *dname, const char *dxml, uint64_t bandwidth,
                                  struct vq_migrate_options *ret, struct vq_error *err)
{
    const struct vq_typed_param all[] = {
        { VIR_MIGRATE_PARAM_URI, VIR_TYPED_PARAM_STRING, { .s = uri } },
        { VIR_MIGRATE_PARAM_DEST_NAME, VIR_TYPED_PARAM_STRING, { .s = dname } },
        { VIR_MIGRATE_PARAM_DEST_XML, VIR_TYPED_PARAM_STRING, { .s = dxml } },
    };
    struct vq_typed_param params[4];
    uint32_t n = 0;

    for (size_t i = 0; i < VQ_N_ELEMENTS(all); i++)
        if (all[i].value.s != NULL)
            params[n++] = all[i];
    params[n++] = (struct vq_typed_param){ VIR_MIGRATE_PARAM_BANDWIDTH, VIR_TYPED_PARAM_ULLONG, { .ul = bandwidth } };
    return vq_migrate_options_read(params, n, flags, ret, err);
}

int vq_migrate_options_check(const struct vq_migrate_options *options, enum vq_migrate_call call, struct vq_error *err)
{
    return check_rules(options->flags, call, false, err) < 0 || check_tuning(options, call, false, err) < 0 ? -1 : 0;
}

/* ---- Writing ---- */

struct list {
    struct vq_typed_param *params; /* NULL: only counting */
    uint32_t n;
    struct vq_arena *arena;
    bool is_full;
};

static struct vq_typed_param *add(struct list *list, const struct row *row)
{
    static struct vq_typed_param counted;
    struct vq_typed_param *param = list->params == NULL ? &counted : &list->params[list->n];

    list->n++;
    *param = (struct vq_typed_param){ .field = row->name, .type = wire_types[row->kind] };
    return param;
}

static void add_text(struct list *list, const struct row *row, const char *text)
{
    struct vq_typed_param *param = add(list, row);

    if (list->params == NULL)
        return;
    param->value.s = vq_arena_strdup(list->arena, text);
    list->is_full |= param->value.s == NULL;
}

static void add_value(struct list *list, const struct row *row, const struct vq_migrate_options *options)
{
    switch (row->kind) {
    case TEXT:
        add_text(list, row, *MEMBER_OF(options, row, char *const));
        break;
    case TEXTS:
        for (size_t i = 0; i < options->n_disks; i++)
            add_text(list, row, options->disks[i]);
        break;
    case METHODS:
        for (size_t i = 0; i < VQ_N_ELEMENTS(methods); i++)
            if ((options->compression & methods[i].bit) != 0)
                add_text(list, row, methods[i].name);
        break;
    case NUMBER:
        add(list, row)->value.i = *MEMBER_OF(options, row, int);
        break;
    case SPEED:
    case CACHE:
        add(list, row)->value.ul = *MEMBER_OF(options, row, uint64_t);
        break;
    }
}

static void add_all(struct list *list, const struct vq_migrate_options *options)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(rows); i++)
        if (is_set(options, &rows[i]))
            add_value(list, &rows[i], options);
}

struct vq_typed_param *vq_migrate_options_list(const struct vq_migrate_options *options, struct vq_arena *arena,
                                               uint32_t *ret_n)
{
    struct list list = { .arena = arena };
    const uint32_t n = (add_all(&list, options), list.n);

    list.params = vq_arena_alloc(arena, (size_t)n + 1, sizeof(*list.params));
    list.n = 0;
    if (list.params == NULL)
        return NULL;
    add_all(&list, options);
    if (list.is_full)
        return NULL;
    *ret_n = list.n;
    return list.params;
}
