/* The cookie: what the two sides of a migration tell each other through the client, as other daemons write and read it.
 *
 * A client hands it on, so it is as hostile as the client. What its reader does not know it passes over, except a <feature>,
 * which says that it must be known. Our own element stands beside the others and is passed over by them. */
#define VQ_FROM VIR_FROM_QEMU

#include <inttypes.h>
#include <libvirt/libvirt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/xml.h"
#include "drivers/qemu/activity.h"
#include "drivers/qemu/driver.h"
#include "drivers/qemu/migrate.h"

#define NODE_NAMESPACE "https://virtquorum.org/schemas/migration/1.0"

enum { TCP_PORT_MAX = 65535 };

/* ---- Statistics ---- */

enum number_kind { U64, I64, INT };

/* In the order in which others write them. */
static const struct number {
    const char *name;
    enum number_kind kind;
    size_t offset;
    size_t flag;             /* of the bool that says that it is known; 0: it always is */
    bool is_optional;        /* left out when 0 */
} numbers[] = {
#define AT(member) .offset = offsetof(struct vq_qemu_job_stats, member)
#define IF(member) .flag = offsetof(struct vq_qemu_job_stats, member)
    { .name = "started", AT(started_ms) },
    { .name = "stopped", AT(stopped_ms), .is_optional = true },
    { .name = "delta", .kind = I64, AT(delta_ms), IF(has_delta) },
    { .name = "time_elapsed", AT(elapsed_ms) },
    { .name = "time_remaining", AT(remaining_ms), .is_optional = true },
    { .name = "downtime", AT(downtime_ms), IF(has_downtime) },
    { .name = "setup_time", AT(setup_ms), .is_optional = true },
    { .name = "memory_total", AT(ram_total) },
    { .name = "memory_processed", AT(ram_processed) },
    { .name = "memory_remaining", AT(ram_remaining) },
    { .name = "memory_bps", AT(ram_bps) },
    { .name = "memory_constant", AT(ram_constant) },
    { .name = "memory_normal", AT(ram_normal) },
    { .name = "memory_normal_bytes", AT(ram_normal_bytes) },
    { .name = "memory_dirty_rate", AT(ram_dirty_rate) },
    { .name = "memory_iteration", AT(ram_iteration) },
    { .name = "memory_postcopy_requests", AT(ram_postcopy_requests) },
    { .name = "memory_page_size", AT(ram_page_size) },
    { .name = "disk_total", AT(disk_total) },
    { .name = "disk_processed", AT(disk_processed) },
    { .name = "disk_remaining", AT(disk_remaining) },
    { .name = "disk_bps", AT(disk_bps) },
    { .name = "compression_cache", AT(compression_cache), IF(has_compression) },
    { .name = "compression_bytes", AT(compression_bytes), IF(has_compression) },
    { .name = "compression_pages", AT(compression_pages), IF(has_compression) },
    { .name = "compression_cache_misses", AT(compression_misses), IF(has_compression) },
    { .name = "compression_overflow", AT(compression_overflow), IF(has_compression) },
    { .name = "auto_converge_throttle", .kind = INT, AT(throttle) },
#undef AT
#undef IF
};

#define MEMBER(base, at, type) ((type *)(void *)((char *)(base) + (at)))
#define MEMBER_OF(base, at, type) ((const type *)(const void *)((const char *)(base) + (at)))

/* ---- Reading ---- */

static int missing(const char *what, struct vq_error *err)
{
    return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "missing %s element in migration data", what);
}

static int malformed(const char *what, struct vq_error *err)
{
    return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "malformed %s element in migration data", what);
}

/* The text of a child element that must be there. */
static int read_text(const struct vq_xml_node *root, const char *name, char **ret, struct vq_error *err)
{
    const struct vq_xml_node *node = vq_xml_child(root, name);
    VQ_AUTOBUFFER scratch = VQ_BUFFER_INIT;
    const char *text = node != NULL ? vq_xml_text(node, &scratch) : NULL;

    if (text == NULL || *text == '\0')
        return missing(name, err);
    vq_set_text(ret, text);
    return 0;
}

static int read_uuid(const struct vq_xml_node *root, const char *name, uint8_t uuid[16], struct vq_error *err)
{
    VQ_AUTOFREE char *text = NULL;

    if (read_text(root, name, &text, err) < 0)
        return -1;
    return vq_uuid_parse(text, uuid) ? 0 : malformed(name, err);
}

static const char *attr(const struct vq_xml_node *node, const char *name)
{
    const struct vq_xml_attr *found = vq_xml_attr_find(node, name);

    return found != NULL ? found->value : NULL;
}

static int read_identity(struct vq_xml_node *root, struct vq_migrate_cookie *cookie, struct vq_error *err)
{
    if (read_text(root, "name", &cookie->name, err) < 0 || read_uuid(root, "uuid", cookie->uuid, err) < 0 ||
        read_text(root, "hostname", &cookie->host_name, err) < 0)
        return -1;
    return read_uuid(root, "hostuuid", cookie->host_uuid, err);
}

/* What others may insist on. Locks of a lock manager there are none: what is told of them is not needed. */
static const struct {
    const char *name;
    bool is_supported;
} features[] = { { "lockstate", true },      { "persistent", true },  { "graphics", true },   { "nbd", true },
                 { "statistics", true },     { "cpu", true },         { "capabilities", true }, { "memory-hotplug", true },
                 { "cpu-hotplug", true },    { "network", false },    { "allowReboot", false },
                 { "block-dirty-bitmaps", false } };

static int read_feature(struct vq_xml_node *node, struct vq_migrate_cookie *cookie, struct vq_error *err)
{
    const char *name = attr(node, "name");

    if (name == NULL)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "missing feature name");
    for (size_t i = 0; i < VQ_N_ELEMENTS(features); i++) {
        if (strcmp(features[i].name, name) != 0)
            continue;
        cookie->wants_lockstate |= i == 0;
        return features[i].is_supported ? 0 : vq_error_set(err, VIR_ERR_INTERNAL_ERROR,
                                                           "Unsupported migration cookie feature %s", name);
    }
    return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Unknown migration cookie feature %s", name);
}

/* A port that is not there is 0. Others write -1 for one that a display does not have. */
static bool read_port(const struct vq_xml_node *node, const char *name, int *ret)
{
    const char *text = attr(node, name);
    int64_t port = 0;

    if (text != NULL && !vq_parse_i64(text, -1, TCP_PORT_MAX, &port))
        return false;
    *ret = port > 0 ? (int)port : 0;
    return true;
}

static int read_graphics(struct vq_xml_node *node, struct vq_migrate_cookie *cookie, struct vq_error *err)
{
    if (cookie->graphics.type != NULL || attr(node, "type") == NULL)
        return cookie->graphics.type != NULL ? malformed("graphics", err) : missing("graphics type", err);
    if (!read_port(node, "port", &cookie->graphics.port) || !read_port(node, "tlsPort", &cookie->graphics.tls_port))
        return malformed("graphics", err);
    cookie->graphics.type = vq_strdup(attr(node, "type"));
    cookie->graphics.listen = vq_strdup(attr(node, "listen"));
    for (const struct vq_xml_node *cert = vq_xml_first_element(node); cert != NULL; cert = vq_xml_element_after(cert))
        if (strcmp(cert->name, "cert") == 0 && vq_streq(attr(cert, "info"), "subject"))
            vq_set_text(&cookie->graphics.subject, attr(cert, "value"));
    return 0;
}

static int read_markup(struct vq_xml_node *node, char **ret, struct vq_error *err)
{
    VQ_AUTOBUFFER text = VQ_BUFFER_INIT;

    if (*ret != NULL)
        return malformed(node->name, err);
    vq_xml_markup(&text, node, 0);
    *ret = vq_buffer_steal(&text);
    return 0;
}

static int read_domain(struct vq_xml_node *node, struct vq_migrate_cookie *cookie, struct vq_error *err)
{
    return read_markup(node, &cookie->persistent_xml, err);
}

static int read_cpu(struct vq_xml_node *node, struct vq_migrate_cookie *cookie, struct vq_error *err)
{
    return read_markup(node, &cookie->cpu_xml, err);
}

static int read_disk(const struct vq_xml_node *node, struct vq_migrate_cookie *cookie, struct vq_error *err)
{
    const char *target = attr(node, "target"), *capacity = attr(node, "capacity");
    uint64_t bytes;

    if (target == NULL || !vq_name_is_component(target))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Malformed disk target");
    if (capacity == NULL || !vq_parse_u64(capacity, 10, INT64_MAX, &bytes))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Malformed disk capacity: '%s'",
                            capacity != NULL ? capacity : "<null>");
    if (cookie->n_disks == VQ_MIGRATE_DISKS_MAX)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "more than %d disks in migration data", VQ_MIGRATE_DISKS_MAX);
    vq_migrate_cookie_add_disk(cookie, target, bytes);
    return 0;
}

static int read_nbd(struct vq_xml_node *node, struct vq_migrate_cookie *cookie, struct vq_error *err)
{
    if (cookie->has_nbd)
        return malformed("nbd", err);
    if (!read_port(node, "port", &cookie->nbd_port))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Malformed nbd port '%s'", attr(node, "port"));
    cookie->has_nbd = true;
    for (const struct vq_xml_node *disk = vq_xml_first_element(node); disk != NULL; disk = vq_xml_element_after(disk))
        if (strcmp(disk->name, "disk") == 0 && read_disk(disk, cookie, err) < 0)
            return -1;
    return 0;
}

static bool read_number(const char *text, const struct number *row, struct vq_qemu_job_stats *stats)
{
    uint64_t value;

    if (row->flag != 0)
        *MEMBER(stats, row->flag, bool) = true;
    switch (row->kind) {
    case U64:
        return vq_parse_u64(text, 10, UINT64_MAX, MEMBER(stats, row->offset, uint64_t));
    case I64:
        return vq_parse_i64(text, INT64_MIN / 2, INT64_MAX / 2, MEMBER(stats, row->offset, int64_t));
    case INT:
        if (!vq_parse_u64(text, 10, INT32_MAX, &value))
            return false;
        *MEMBER(stats, row->offset, int) = (int)value;
        return true;
    }
    return false;
}

static int read_one_number(const struct vq_xml_node *node, struct vq_migrate_cookie *cookie, struct vq_error *err)
{
    VQ_AUTOBUFFER scratch = VQ_BUFFER_INIT;
    const char *text = vq_xml_text(node, &scratch);

    if (text == NULL)
        text = "";
    if (strcmp(node->name, "sent") == 0)
        return vq_parse_u64(text, 10, INT64_MAX, &cookie->stats_sent_ms) ? 0 : malformed("sent", err);
    for (size_t i = 0; i < VQ_N_ELEMENTS(numbers); i++)
        if (strcmp(numbers[i].name, node->name) == 0)
            return read_number(text, &numbers[i], cookie->stats) ? 0 : malformed(numbers[i].name, err);
    return 0;
}

static int read_statistics(struct vq_xml_node *node, struct vq_migrate_cookie *cookie, struct vq_error *err)
{
    if (cookie->stats != NULL)
        return malformed("statistics", err);
    cookie->stats = vq_new(struct vq_qemu_job_stats);
    for (const struct vq_xml_node *one = vq_xml_first_element(node); one != NULL; one = vq_xml_element_after(one))
        if (read_one_number(one, cookie, err) < 0)
            return -1;
    return 0;
}

static int read_capabilities(struct vq_xml_node *node, struct vq_migrate_cookie *cookie, struct vq_error *err)
{
    for (const struct vq_xml_node *cap = vq_xml_first_element(node); cap != NULL; cap = vq_xml_element_after(cap)) {
        if (strcmp(cap->name, "cap") != 0)
            continue;
        if (attr(cap, "name") == NULL)
            return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "missing migration capability name");
        if (cookie->n_capabilities == VQ_MIGRATE_CAPABILITIES_MAX)
            return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "more than %d migration capabilities",
                                VQ_MIGRATE_CAPABILITIES_MAX);
        vq_migrate_cookie_add_capability(cookie, attr(cap, "name"), vq_streq(attr(cap, "auto"), "yes"));
    }
    return 0;
}

static int read_node(const struct vq_xml_node *node, struct vq_migrate_cookie *cookie, struct vq_error *err)
{
    const char *cluster = attr(node, "cluster"), *run = attr(node, "run");

    if (attr(node, "id") == NULL || !vq_parse_u64(attr(node, "id"), 10, INT64_MAX, &cookie->node) || cluster == NULL ||
        !vq_uuid_parse(cluster, cookie->cluster_id) ||
        (run != NULL && !vq_parse_u64(run, 10, INT64_MAX, &cookie->run)))
        return malformed("node", err);
    vq_set_text(&cookie->owned, attr(node, "owned"));
    return 0;
}

static const struct {
    const char *name;
    int (*read)(struct vq_xml_node *node, struct vq_migrate_cookie *cookie, struct vq_error *err);
} elements[] = { { "feature", read_feature }, { "graphics", read_graphics },     { "domain", read_domain },
                 { "nbd", read_nbd },         { "statistics", read_statistics }, { "cpu", read_cpu },
                 { "capabilities", read_capabilities } };

static int read_element(struct vq_xml_node *node, struct vq_migrate_cookie *cookie, struct vq_error *err)
{
    if (vq_streq(node->uri, NODE_NAMESPACE))
        return read_node(node, cookie, err);
    for (size_t i = 0; i < VQ_N_ELEMENTS(elements); i++)
        if (strcmp(elements[i].name, node->name) == 0)
            return elements[i].read(node, cookie, err);
    return 0;
}

static int read_document(const char *xml, struct vq_migrate_cookie *cookie, struct vq_error *err)
{
    VQ_AUTOPTR(vq_xml_doc) doc = NULL;

    if (vq_xml_read(xml, "qemu_migration_cookie", "qemu-migration", &doc, err) < 0 ||
        read_identity(vq_xml_root(doc), cookie, err) < 0)
        return -1;
    for (struct vq_xml_node *node = vq_xml_first_element(vq_xml_root(doc)); node != NULL; node = vq_xml_element_after(node))
        if (read_element(node, cookie, err) < 0)
            return -1;
    cookie->is_set = true;
    return 0;
}

int vq_migrate_cookie_read(const uint8_t *bytes, size_t length, struct vq_migrate_cookie *ret, struct vq_error *err)
{
    struct vq_migrate_cookie cookie = { .is_set = false };

    if (length > VQ_MIGRATE_COOKIE_MAX)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "a migration cookie of %zu bytes is too long", length);
    if (length > 0 && memchr(bytes, '\0', length) != bytes + length - 1)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Migration cookie was not NULL terminated");
    if (length > 0 && read_document((const char *)bytes, &cookie, err) < 0) {
        vq_migrate_cookie_done(&cookie);
        return -1;
    }
    *ret = cookie;
    return 0;
}

int vq_migrate_cookie_check(const struct vq_migrate_cookie *cookie, const struct vq_qemu *qemu, const uint8_t uuid[16],
                            const char *name, struct vq_error *err)
{
    char theirs[VQ_UUID_TEXT], ours[VQ_UUID_TEXT];
    uint8_t host_uuid[16];

    if (!cookie->is_set)
        return 0;
    vq_uuid_format(cookie->uuid, theirs);
    vq_uuid_format(uuid, ours);
    if (strcmp(cookie->name, name) != 0)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Incoming cookie data had unexpected name %s vs %s", cookie->name,
                            name);
    if (strcmp(theirs, ours) != 0)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Incoming cookie data had unexpected UUID %s vs %s", theirs, ours);
    vq_qemu_host_uuid(qemu, host_uuid);
    if (memcmp(host_uuid, cookie->host_uuid, sizeof(host_uuid)) == 0) {
        vq_uuid_format(host_uuid, ours);
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Attempt to migrate guest to the same host %s", ours);
    }
    return 0;
}

bool vq_migrate_cookie_is_ours(const struct vq_migrate_cookie *cookie, const struct vq_qemu *qemu)
{
    const uint8_t *cluster_id = qemu->host->cluster_id;

    return cookie->node != 0 && cluster_id != NULL && memcmp(cluster_id, cookie->cluster_id, 16) == 0;
}

/* ---- Writing ---- */

void vq_migrate_cookie_init(struct vq_migrate_cookie *cookie, const struct vq_qemu *qemu, const uint8_t uuid[16],
                            const char *name)
{
    static const uint8_t no_cluster[16];
    char host_name[256];

    *cookie = (struct vq_migrate_cookie){ .is_set = true, .name = vq_strdup(name) };
    memcpy(cookie->uuid, uuid, sizeof(cookie->uuid));
    vq_qemu_host_uuid(qemu, cookie->host_uuid);
    if (gethostname(host_name, sizeof(host_name)) < 0 || memchr(host_name, '\0', sizeof(host_name)) == NULL)
        cookie->host_name = vq_strdup(qemu->host->node_name);
    else
        cookie->host_name = vq_strdup(host_name);
    if (qemu->host->cluster_id == NULL || memcmp(qemu->host->cluster_id, no_cluster, sizeof(no_cluster)) == 0)
        return;
    cookie->node = qemu->host->node_id;
    memcpy(cookie->cluster_id, qemu->host->cluster_id, sizeof(cookie->cluster_id));
}

void vq_migrate_cookie_add_capability(struct vq_migrate_cookie *cookie, const char *name, bool is_auto)
{
    VQ_GROW(cookie->capabilities, cookie->n_capabilities);
    cookie->capabilities[cookie->n_capabilities++] =
        (struct vq_migrate_capability){ .name = vq_strdup(name), .is_auto = is_auto };
}

void vq_migrate_cookie_add_disk(struct vq_migrate_cookie *cookie, const char *target, uint64_t capacity)
{
    VQ_GROW(cookie->disks, cookie->n_disks);
    cookie->disks[cookie->n_disks++] = (struct vq_migrate_disk){ .target = vq_strdup(target), .capacity = capacity };
}

static void add_element(struct vq_buffer *text, const char *name, const char *value)
{
    vq_buffer_addf(text, "  <%s>", name);
    vq_xml_add_text(text, value);
    vq_buffer_addf(text, "</%s>\n", name);
}

static void add_attr(struct vq_buffer *text, const char *name, const char *value)
{
    if (value == NULL)
        return;
    vq_buffer_addf(text, " %s='", name);
    vq_xml_add_value(text, value);
    vq_buffer_add(text, "'");
}

static void add_identity(struct vq_buffer *text, const struct vq_migrate_cookie *cookie)
{
    char uuid[VQ_UUID_TEXT];

    add_element(text, "name", cookie->name);
    vq_uuid_format(cookie->uuid, uuid);
    add_element(text, "uuid", uuid);
    add_element(text, "hostname", cookie->host_name);
    vq_uuid_format(cookie->host_uuid, uuid);
    add_element(text, "hostuuid", uuid);
}

static void add_graphics(struct vq_buffer *text, const struct vq_migrate_cookie *cookie)
{
    if (cookie->graphics.type == NULL)
        return;
    vq_buffer_add(text, "  <graphics");
    add_attr(text, "type", cookie->graphics.type);
    vq_buffer_addf(text, " port='%d'", cookie->graphics.port);
    add_attr(text, "listen", cookie->graphics.listen);
    if (strcmp(cookie->graphics.type, "spice") == 0) /* others insist on it */
        vq_buffer_addf(text, " tlsPort='%d'", cookie->graphics.tls_port != 0 ? cookie->graphics.tls_port : -1);
    if (cookie->graphics.subject == NULL) {
        vq_buffer_add(text, "/>\n");
        return;
    }
    vq_buffer_add(text, ">\n    <cert info='subject'");
    add_attr(text, "value", cookie->graphics.subject);
    vq_buffer_add(text, "/>\n  </graphics>\n");
}

/* XML that a user may have written: only what is one whole element stays inside. */
static int add_markup(struct vq_buffer *text, const char *xml, const char *root, struct vq_error *err)
{
    VQ_AUTOPTR(vq_xml_doc) doc = NULL;

    if (xml == NULL)
        return 0;
    if (vq_xml_read(xml, "migration_cookie", root, &doc, err) < 0)
        return -1;
    vq_buffer_add(text, "  ");
    vq_xml_markup(text, vq_xml_root(doc), 1);
    vq_buffer_add(text, "\n");
    return 0;
}

static void add_nbd(struct vq_buffer *text, const struct vq_migrate_cookie *cookie)
{
    if (!cookie->has_nbd)
        return;
    vq_buffer_add(text, "  <nbd");
    if (cookie->nbd_port != 0)
        vq_buffer_addf(text, " port='%d'", cookie->nbd_port);
    if (cookie->n_disks == 0) {
        vq_buffer_add(text, "/>\n");
        return;
    }
    vq_buffer_add(text, ">\n");
    for (size_t i = 0; i < cookie->n_disks; i++) {
        vq_buffer_add(text, "    <disk");
        add_attr(text, "target", cookie->disks[i].target);
        vq_buffer_addf(text, " capacity='%" PRIu64 "'/>\n", cookie->disks[i].capacity);
    }
    vq_buffer_add(text, "  </nbd>\n");
}

static void add_number(struct vq_buffer *text, const struct number *row, const struct vq_qemu_job_stats *stats)
{
    int64_t value = 0;

    if (row->flag != 0 && !*MEMBER_OF(stats, row->flag, bool))
        return;
    switch (row->kind) {
    case U64:
        if (!row->is_optional || *MEMBER_OF(stats, row->offset, uint64_t) != 0)
            vq_buffer_addf(text, "    <%s>%" PRIu64 "</%s>\n", row->name, *MEMBER_OF(stats, row->offset, uint64_t),
                           row->name);
        return;
    case I64:
        value = *MEMBER_OF(stats, row->offset, int64_t);
        break;
    case INT:
        value = *MEMBER_OF(stats, row->offset, int);
        break;
    }
    vq_buffer_addf(text, "    <%s>%" PRId64 "</%s>\n", row->name, value, row->name);
}

static void add_statistics(struct vq_buffer *text, const struct vq_migrate_cookie *cookie)
{
    if (cookie->stats == NULL)
        return;
    vq_buffer_add(text, "  <statistics>\n");
    for (size_t i = 0; i < VQ_N_ELEMENTS(numbers); i++) {
        if (numbers[i].offset == offsetof(struct vq_qemu_job_stats, delta_ms)) /* where others have it */
            vq_buffer_addf(text, "    <sent>%" PRIu64 "</sent>\n", cookie->stats_sent_ms);
        add_number(text, &numbers[i], cookie->stats);
    }
    vq_buffer_add(text, "  </statistics>\n");
}

static void add_capabilities(struct vq_buffer *text, const struct vq_migrate_cookie *cookie)
{
    if (cookie->n_capabilities == 0)
        return;
    vq_buffer_add(text, "  <capabilities>\n");
    for (size_t i = 0; i < cookie->n_capabilities; i++) {
        vq_buffer_add(text, "    <cap");
        add_attr(text, "name", cookie->capabilities[i].name);
        add_attr(text, "auto", cookie->capabilities[i].is_auto ? "yes" : "no");
        vq_buffer_add(text, "/>\n");
    }
    vq_buffer_add(text, "  </capabilities>\n");
}

static void add_node(struct vq_buffer *text, const struct vq_migrate_cookie *cookie)
{
    char uuid[VQ_UUID_TEXT];

    if (cookie->node == 0)
        return;
    vq_uuid_format(cookie->cluster_id, uuid);
    vq_buffer_addf(text, "  <vq:node xmlns:vq='%s' id='%" PRIu64 "' cluster='%s'", NODE_NAMESPACE, cookie->node, uuid);
    if (cookie->run != 0)
        vq_buffer_addf(text, " run='%" PRIu64 "'", cookie->run);
    add_attr(text, "owned", cookie->owned);
    vq_buffer_add(text, "/>\n");
}

static int add_all(struct vq_buffer *text, const struct vq_migrate_cookie *cookie, struct vq_error *err)
{
    vq_buffer_add(text, "<qemu-migration>\n");
    add_identity(text, cookie);
    if (cookie->wants_lockstate)
        vq_buffer_add(text, "  <feature name='lockstate'/>\n");
    if (cookie->persistent_xml != NULL)
        vq_buffer_add(text, "  <feature name='persistent'/>\n");
    add_graphics(text, cookie);
    if (add_markup(text, cookie->persistent_xml, "domain", err) < 0)
        return -1;
    add_nbd(text, cookie);
    add_statistics(text, cookie);
    if (add_markup(text, cookie->cpu_xml, "cpu", err) < 0)
        return -1;
    add_capabilities(text, cookie);
    add_node(text, cookie);
    vq_buffer_add(text, "</qemu-migration>\n");
    return 0;
}

int vq_migrate_cookie_write(const struct vq_migrate_cookie *cookie, struct vq_arena *arena, uint8_t **ret_bytes,
                            uint32_t *ret_length, struct vq_error *err)
{
    VQ_AUTOBUFFER text = VQ_BUFFER_INIT;
    uint8_t *bytes;

    if (add_all(&text, cookie, err) < 0)
        return vq_error_wrap(err, "writing the migration cookie");
    if (text.length >= VQ_MIGRATE_COOKIE_MAX)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "a migration cookie of %zu bytes is too long", text.length);
    bytes = vq_arena_alloc(arena, text.length + 1, 1);
    if (bytes == NULL)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "no room for a migration cookie of %zu bytes", text.length);
    memcpy(bytes, text.data, text.length + 1);
    *ret_bytes = bytes;
    *ret_length = (uint32_t)text.length + 1;
    return 0;
}

void vq_migrate_cookie_done(struct vq_migrate_cookie *cookie)
{
    free(cookie->name);
    free(cookie->host_name);
    free(cookie->graphics.type);
    free(cookie->graphics.listen);
    free(cookie->graphics.subject);
    free(cookie->persistent_xml);
    free(cookie->cpu_xml);
    free(cookie->owned);
    free(cookie->stats);
    for (size_t i = 0; i < cookie->n_disks; i++)
        free(cookie->disks[i].target);
    for (size_t i = 0; i < cookie->n_capabilities; i++)
        free(cookie->capabilities[i].name);
    free(cookie->disks);
    free(cookie->capabilities);
    *cookie = (struct vq_migrate_cookie){ .is_set = false };
}
