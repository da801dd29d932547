/* Cookies: those of stock daemons come out of reader and writer byte by byte, and nothing else gets through. data/migrate has
 * what two libvirtd 9.0 told each other of a guest without and of one with a disk to copy and a definition to keep. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <libvirt/libvirt.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/activity.h"
#include "drivers/qemu/driver.h"
#include "drivers/qemu/migrate.h"

#define GUEST_UUID "42089837-2552-44c9-9548-837fbdb3d92a"
#define NODE1_UUID "5b150e48-7618-44c1-b9ac-a2faca0008fe"

static uint8_t *read_data(const char *name, size_t *ret_length)
{
    VQ_AUTOFREE char *path = vq_asprintf("%s/%s", DATA_DIR, name);
    FILE *file = fopen(path, "rbe");
    uint8_t *bytes = vq_calloc(1, 65536);

    assert_non_null(file);
    *ret_length = fread(bytes, 1, 65536, file);
    assert_int_equal(fclose(file), 0);
    return bytes;
}

static void read_cookie(const char *name, struct vq_migrate_cookie *ret)
{
    size_t length;
    VQ_AUTOFREE uint8_t *bytes = read_data(name, &length);
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_migrate_cookie_read(bytes, length, ret, &err) < 0)
        fail_msg("%s: %s", name, err.message);
}

static void every_cookie_of_a_stock_daemon_is_written_as_it_was_read(void **state)
{
    static const char *const names[] = { "plain.begin", "plain.prepare", "plain.perform", "plain.finish",
                                         "full.begin",  "full.prepare",  "full.perform",  "full.finish" };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(names); i++) {
        VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
        struct vq_migrate_cookie cookie;
        struct vq_error err = VQ_ERROR_INIT;
        size_t length;
        VQ_AUTOFREE uint8_t *bytes = read_data(names[i], &length);
        uint8_t *written;
        uint32_t n_written;

        read_cookie(names[i], &cookie);
        assert_int_equal(vq_migrate_cookie_write(&cookie, arena, &written, &n_written, &err), 0);
        for (uint32_t j = 0; j < n_written; j++) /* what is kept verbatim has the other kind */
            written[j] = written[j] == '"' ? '\'' : written[j];
        assert_string_equal((char *)written, (char *)bytes);
        assert_int_equal(n_written, length);
        vq_migrate_cookie_done(&cookie);
    }
}

static void what_a_source_begins_with_is_understood(void **state)
{
    struct vq_migrate_cookie cookie;
    char uuid[VQ_UUID_TEXT];

    (void)state;
    read_cookie("full.begin", &cookie);
    assert_true(cookie.is_set);
    assert_string_equal(cookie.name, "migd");
    assert_string_equal(cookie.host_name, "node1");
    vq_uuid_format(cookie.host_uuid, uuid);
    assert_string_equal(uuid, NODE1_UUID);
    assert_true(cookie.wants_lockstate);
    assert_true(cookie.has_nbd);
    assert_int_equal(cookie.nbd_port, 0);
    assert_int_equal(cookie.n_disks, 1);
    assert_string_equal(cookie.disks[0].target, "vda");
    assert_int_equal(cookie.disks[0].capacity, 16777216);
    assert_non_null(strstr(cookie.cpu_xml, "<model fallback=\"forbid\">qemu64</model>"));
    assert_int_equal(cookie.n_capabilities, 11);
    assert_string_equal(cookie.capabilities[5].name, "pause-before-switchover");
    assert_true(cookie.capabilities[5].is_auto);
    assert_false(cookie.capabilities[6].is_auto);
    assert_null(cookie.stats);
    assert_null(cookie.persistent_xml);
    assert_int_equal(cookie.node, 0);
    vq_migrate_cookie_done(&cookie);
    read_cookie("full.prepare", &cookie);
    assert_int_equal(cookie.nbd_port, 49153);
    vq_migrate_cookie_done(&cookie);
}

static void definition_and_numbers_at_the_end_are_understood(void **state)
{
    struct vq_migrate_cookie cookie;

    (void)state;
    read_cookie("full.perform", &cookie);
    assert_int_equal(strncmp(cookie.persistent_xml, "<domain type=\"qemu\">", 20), 0);
    assert_non_null(cookie.stats);
    assert_false(cookie.stats->has_delta);
    assert_true(cookie.stats->has_downtime);
    assert_int_equal(cookie.stats->downtime_ms, 204);
    assert_int_equal(cookie.stats->ram_total, 72163328);
    assert_int_equal(cookie.stats->ram_page_size, 4096);
    assert_true(cookie.stats_sent_ms == 1795651852105);
    vq_migrate_cookie_done(&cookie);
    read_cookie("full.finish", &cookie);
    assert_true(cookie.stats->has_delta);
    assert_int_equal(cookie.stats->delta_ms, 13);
    vq_migrate_cookie_done(&cookie);
}

/* ---- Our own part ---- */

static const uint8_t cluster[16] = { 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16 };
static const uint8_t guest_uuid[16] = { 0x42, 0x08, 0x98, 0x37, 0x25, 0x52, 0x44, 0xc9,
                                        0x95, 0x48, 0x83, 0x7f, 0xbd, 0xb3, 0xd9, 0x2a };

static struct vq_driver_host host = { .node_id = 3, .node_name = "node3", .cluster_id = cluster };
static struct vq_qemu qemu = { .host = &host };

static void fill(struct vq_migrate_cookie *cookie)
{
    vq_migrate_cookie_init(cookie, &qemu, guest_uuid, "a<b>&'\"");
    cookie->run = 17;
    cookie->owned = vq_strdup("{\"/a'b\":[0,\"<\"]}");
    cookie->graphics.type = vq_strdup("spice");
    cookie->graphics.listen = vq_strdup("::");
    cookie->graphics.subject = vq_strdup("C=x,CN='y'");
    cookie->graphics.port = 5900;
    cookie->graphics.tls_port = 5901;
    cookie->stats = vq_new(struct vq_qemu_job_stats);
    *cookie->stats = (struct vq_qemu_job_stats){ .started_ms = 1, .has_delta = true, .delta_ms = -5, .throttle = 20,
                                                 .has_compression = true, .compression_overflow = UINT64_MAX };
}

static void what_a_node_tells_another_comes_back(void **state)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_migrate_cookie cookie, again;
    struct vq_error err = VQ_ERROR_INIT;
    uint8_t *bytes;
    uint32_t length;

    (void)state;
    fill(&cookie);
    assert_int_equal(vq_migrate_cookie_write(&cookie, arena, &bytes, &length, &err), 0);
    assert_int_equal(bytes[length - 1], 0);
    assert_int_equal(strlen((char *)bytes), length - 1);
    if (vq_migrate_cookie_read(bytes, length, &again, &err) < 0)
        fail_msg("%s\n%s", err.message, (char *)bytes);
    assert_string_equal(again.name, cookie.name);
    assert_int_equal(again.node, 3);
    assert_memory_equal(again.cluster_id, cluster, 16);
    assert_memory_equal(again.host_uuid, cookie.host_uuid, 16);
    assert_int_equal(again.run, 17);
    assert_string_equal(again.owned, cookie.owned);
    assert_string_equal(again.graphics.subject, cookie.graphics.subject);
    assert_int_equal(again.graphics.tls_port, 5901);
    assert_int_equal(again.stats->delta_ms, -5);
    assert_true(again.stats->compression_overflow == UINT64_MAX);
    assert_int_equal(again.stats->throttle, 20);
    assert_true(vq_migrate_cookie_is_ours(&again, &qemu));
    again.cluster_id[0]++;
    assert_false(vq_migrate_cookie_is_ours(&again, &qemu));
    vq_migrate_cookie_done(&cookie);
    vq_migrate_cookie_done(&again);
}

static void a_definition_that_is_not_one_element_is_not_sent(void **state)
{
    static const char *const texts[] = { "<domain>", "</qemu-migration>", "<cpu/>", "<domain/><domain/>",
                                         "<!DOCTYPE a><domain/>" };
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(texts); i++) {
        struct vq_migrate_cookie cookie;
        struct vq_error err = VQ_ERROR_INIT;
        uint8_t *bytes;
        uint32_t length;

        vq_migrate_cookie_init(&cookie, &qemu, guest_uuid, "g");
        cookie.persistent_xml = vq_strdup(texts[i]);
        assert_int_equal(vq_migrate_cookie_write(&cookie, arena, &bytes, &length, &err), -1);
        assert_int_equal(err.code, VIR_ERR_XML_ERROR);
        vq_migrate_cookie_done(&cookie);
    }
}

static void a_cookie_longer_than_the_protocol_takes_is_not_sent(void **state)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_migrate_cookie cookie;
    struct vq_error err = VQ_ERROR_INIT;
    uint8_t *bytes;
    uint32_t length;

    (void)state;
    vq_migrate_cookie_init(&cookie, &qemu, guest_uuid, "g");
    cookie.graphics.type = vq_calloc(1, VQ_MIGRATE_COOKIE_MAX + 1);
    memset(cookie.graphics.type, 'x', VQ_MIGRATE_COOKIE_MAX);
    assert_int_equal(vq_migrate_cookie_write(&cookie, arena, &bytes, &length, &err), -1);
    assert_int_equal(err.code, VIR_ERR_INTERNAL_ERROR);
    vq_migrate_cookie_done(&cookie);
}

/* ---- Whose it is ---- */

static void refuse(const struct vq_migrate_cookie *cookie, const char *uuid, const char *name, const char *words)
{
    struct vq_error err = VQ_ERROR_INIT;
    uint8_t bytes[16];

    assert_true(vq_uuid_parse(uuid, bytes));
    assert_int_equal(vq_migrate_cookie_check(cookie, &qemu, bytes, name, &err), -1);
    assert_string_equal(err.message, words);
    assert_int_equal(err.code, VIR_ERR_INTERNAL_ERROR);
}

static void another_guest_and_our_own_host_are_refused(void **state)
{
    struct vq_migrate_cookie cookie, empty;
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    read_cookie("plain.begin", &cookie);
    assert_int_equal(vq_migrate_cookie_check(&cookie, &qemu, guest_uuid, "mig", &err), 0);
    refuse(&cookie, GUEST_UUID, "mog", "Incoming cookie data had unexpected name mig vs mog");
    refuse(&cookie, "42089837-2552-44c9-9548-837fbdb3d92b", "mig",
           "Incoming cookie data had unexpected UUID " GUEST_UUID " vs 42089837-2552-44c9-9548-837fbdb3d92b");
    host.host_uuid = NODE1_UUID;
    refuse(&cookie, GUEST_UUID, "mig", "Attempt to migrate guest to the same host " NODE1_UUID);
    assert_false(vq_migrate_cookie_is_ours(&cookie, &qemu));
    host.host_uuid = NULL;
    vq_migrate_cookie_done(&cookie);
    assert_int_equal(vq_migrate_cookie_read(NULL, 0, &empty, &err), 0);
    assert_false(empty.is_set);
    assert_int_equal(vq_migrate_cookie_check(&empty, &qemu, guest_uuid, "mig", &err), 0);
}

/* ---- What is refused on reading ---- */

#define BEFORE "<capabilities>"

static const struct {
    const char *from, *to;   /* replaced in the cookie of begin; from NULL: to is all of it */
    int code;                /* 0: taken */
    const char *words;
} hostile[] = {
    { NULL, "hello", VIR_ERR_XML_ERROR, NULL },
    { NULL, "<foo/>", VIR_ERR_XML_ERROR, NULL },
    { NULL, "<qemu-migration/>", VIR_ERR_INTERNAL_ERROR, "missing name element in migration data" },
    { "<name>mig</name>", "", VIR_ERR_INTERNAL_ERROR, "missing name element in migration data" },
    { "<name>mig</name>", "<name/>", VIR_ERR_INTERNAL_ERROR, "missing name element in migration data" },
    { "<uuid>", "<uuid>z", VIR_ERR_INTERNAL_ERROR, "malformed uuid element in migration data" },
    { "<uuid>" GUEST_UUID "</uuid>", "", VIR_ERR_INTERNAL_ERROR, "missing uuid element in migration data" },
    { "<hostname>node1</hostname>", "", VIR_ERR_INTERNAL_ERROR, "missing hostname element in migration data" },
    { "<hostuuid>", "<hostuuid>z", VIR_ERR_INTERNAL_ERROR, "malformed hostuuid element in migration data" },
    { "<hostuuid>" NODE1_UUID "</hostuuid>", "", VIR_ERR_INTERNAL_ERROR, "missing hostuuid element in migration data" },
    { "name='lockstate'", "name='nosuch'", VIR_ERR_INTERNAL_ERROR, "Unknown migration cookie feature nosuch" },
    { "name='lockstate'", "name='network'", VIR_ERR_INTERNAL_ERROR, "Unsupported migration cookie feature network" },
    { "name='lockstate'", "name='block-dirty-bitmaps'", VIR_ERR_INTERNAL_ERROR,
      "Unsupported migration cookie feature block-dirty-bitmaps" },
    { "name='lockstate'", "", VIR_ERR_INTERNAL_ERROR, "missing feature name" },
    { "name='lockstate'", "name='memory-hotplug'", 0, NULL },
    { BEFORE, "<foo><bar/></foo>" BEFORE, 0, NULL },
    { BEFORE, "<x:node xmlns:x='urn:x' id='z'/>" BEFORE, 0, NULL },
    { BEFORE, "<network/><lockstate driver='sanlock'><leases>x</leases></lockstate>" BEFORE, 0, NULL },
    { BEFORE, "<graphics/>" BEFORE, VIR_ERR_INTERNAL_ERROR, "missing graphics type element in migration data" },
    { BEFORE, "<graphics type='spice' port='5900' tlsPort='-1'/>" BEFORE, 0, NULL }, /* of a stock daemon */
    { BEFORE, "<graphics type='vnc' port='65536'/>" BEFORE, VIR_ERR_INTERNAL_ERROR,
      "malformed graphics element in migration data" },
    { BEFORE, "<graphics type='vnc' tlsPort='-2'/>" BEFORE, VIR_ERR_INTERNAL_ERROR,
      "malformed graphics element in migration data" },
    { BEFORE, "<graphics type='vnc'/><graphics type='vnc'/>" BEFORE, VIR_ERR_INTERNAL_ERROR,
      "malformed graphics element in migration data" },
    { BEFORE, "<nbd port='x'/>" BEFORE, VIR_ERR_INTERNAL_ERROR, "Malformed nbd port 'x'" },
    { BEFORE, "<nbd/><nbd/>" BEFORE, VIR_ERR_INTERNAL_ERROR, "malformed nbd element in migration data" },
    { BEFORE, "<nbd><disk capacity='3'/></nbd>" BEFORE, VIR_ERR_INTERNAL_ERROR, "Malformed disk target" },
    { BEFORE, "<nbd><disk target='../x' capacity='3'/></nbd>" BEFORE, VIR_ERR_INTERNAL_ERROR, "Malformed disk target" },
    { BEFORE, "<nbd><disk target='vda'/></nbd>" BEFORE, VIR_ERR_INTERNAL_ERROR, "Malformed disk capacity: '<null>'" },
    { BEFORE, "<nbd><disk target='vda' capacity='-3'/></nbd>" BEFORE, VIR_ERR_INTERNAL_ERROR,
      "Malformed disk capacity: '-3'" },
    { BEFORE, "<statistics><memory_total>x</memory_total></statistics>" BEFORE, VIR_ERR_INTERNAL_ERROR,
      "malformed memory_total element in migration data" },
    { BEFORE, "<statistics><sent/></statistics>" BEFORE, VIR_ERR_INTERNAL_ERROR,
      "malformed sent element in migration data" },
    { BEFORE, "<statistics/><statistics/>" BEFORE, VIR_ERR_INTERNAL_ERROR,
      "malformed statistics element in migration data" },
    { BEFORE, "<statistics><auto_converge_throttle>2147483648</auto_converge_throttle></statistics>" BEFORE,
      VIR_ERR_INTERNAL_ERROR, "malformed auto_converge_throttle element in migration data" },
    { BEFORE, "<statistics><new_number>x</new_number></statistics>" BEFORE, 0, NULL },
    { BEFORE, "<domain/><domain/>" BEFORE, VIR_ERR_INTERNAL_ERROR, "malformed domain element in migration data" },
    { "<cap name='xbzrle'", "<cap", VIR_ERR_INTERNAL_ERROR, "missing migration capability name" },
    { "auto='no'", "auto='maybe'", 0, NULL },
    { "<qemu-migration>", "<!DOCTYPE a [<!ENTITY x 'y'>]><qemu-migration>", VIR_ERR_XML_ERROR, NULL },
    { BEFORE, "<vq:node xmlns:vq='https://virtquorum.org/schemas/migration/1.0'/>" BEFORE, VIR_ERR_INTERNAL_ERROR,
      "malformed node element in migration data" },
};

static char *replaced(const char *text, const char *from, const char *to)
{
    const char *at = from != NULL ? strstr(text, from) : NULL;

    if (from == NULL)
        return vq_strdup(to);
    assert_non_null(at);
    return vq_asprintf("%.*s%s%s", (int)(at - text), text, to, at + strlen(from));
}

static void hostile_cookies_are_refused_in_the_words_of_a_stock_daemon(void **state)
{
    size_t length;
    VQ_AUTOFREE char *good = (char *)read_data("plain.begin", &length);

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(hostile); i++) {
        VQ_AUTOFREE char *text = replaced(good, hostile[i].from, hostile[i].to);
        struct vq_migrate_cookie cookie;
        struct vq_error err = VQ_ERROR_INIT;

        if (vq_migrate_cookie_read((uint8_t *)text, strlen(text) + 1, &cookie, &err) == 0)
            vq_migrate_cookie_done(&cookie);
        if (err.code != hostile[i].code)
            fail_msg("%s: %d %s", hostile[i].to, err.code, err.message);
        if (hostile[i].words != NULL)
            assert_string_equal(err.message, hostile[i].words);
    }
}

static void a_cookie_ends_with_its_only_nul(void **state)
{
    size_t length;
    VQ_AUTOFREE uint8_t *bytes = read_data("plain.begin", &length);
    struct vq_migrate_cookie cookie;
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_int_equal(vq_migrate_cookie_read(bytes, length - 1, &cookie, &err), -1);
    assert_string_equal(err.message, "Migration cookie was not NULL terminated");
    assert_int_equal(vq_migrate_cookie_read(bytes, length + 1, &cookie, &err), -1);
    bytes[length / 2] = 0;
    assert_int_equal(vq_migrate_cookie_read(bytes, length, &cookie, &err), -1);
    assert_int_equal(vq_migrate_cookie_read(bytes, (size_t)VQ_MIGRATE_COOKIE_MAX + 1, &cookie, &err), -1);
}

static char *with_many(const char *good, const char *before, const char *one, unsigned n, const char *after)
{
    VQ_AUTOBUFFER text = VQ_BUFFER_INIT;

    vq_buffer_add(&text, before);
    for (unsigned i = 0; i < n; i++)
        vq_buffer_add(&text, one);
    vq_buffer_add(&text, after);
    vq_buffer_add(&text, "</qemu-migration>");
    return replaced(good, "</qemu-migration>", text.data);
}

static void long_lists_are_bounded(void **state)
{
    static const struct {
        const char *before, *one, *after;
        unsigned most;
    } lists[] = { { "<nbd>", "<disk target='vda' capacity='3'/>", "</nbd>", VQ_MIGRATE_DISKS_MAX },
                  { "<capabilities>", "<cap name='x'/>", "</capabilities>", VQ_MIGRATE_CAPABILITIES_MAX - 11 } };
    size_t length;
    VQ_AUTOFREE char *good = (char *)read_data("plain.begin", &length);

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(lists); i++) {
        for (unsigned more = 0; more < 2; more++) {
            VQ_AUTOFREE char *text = with_many(good, lists[i].before, lists[i].one, lists[i].most + more, lists[i].after);
            struct vq_migrate_cookie cookie;
            struct vq_error err = VQ_ERROR_INIT;
            const int rc = vq_migrate_cookie_read((uint8_t *)text, strlen(text) + 1, &cookie, &err);

            assert_int_equal(rc, more == 0 ? 0 : -1);
            if (rc == 0)
                vq_migrate_cookie_done(&cookie);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_cookie_of_a_stock_daemon_is_written_as_it_was_read),
        cmocka_unit_test(what_a_source_begins_with_is_understood),
        cmocka_unit_test(definition_and_numbers_at_the_end_are_understood),
        cmocka_unit_test(what_a_node_tells_another_comes_back),
        cmocka_unit_test(a_definition_that_is_not_one_element_is_not_sent),
        cmocka_unit_test(a_cookie_longer_than_the_protocol_takes_is_not_sent),
        cmocka_unit_test(another_guest_and_our_own_host_are_refused),
        cmocka_unit_test(hostile_cookies_are_refused_in_the_words_of_a_stock_daemon),
        cmocka_unit_test(a_cookie_ends_with_its_only_nul),
        cmocka_unit_test(long_lists_are_bounded),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
