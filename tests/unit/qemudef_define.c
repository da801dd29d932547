/* Changing definitions: nobody's change is lost, and nothing is tried for ever. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zstd.h>

#include "conf/base/memory.h"
#include "conf/domain.h"
#include "drivers/driver.h"
#include "drivers/qemu/define.h"
#include "drivers/qemu/driver.h"
#include "proto/cluster.pb-c.h"

static const uint8_t uuid[16] = {1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16};

/* The replicated state of one domain, and somebody else who changes it as often as told just before us. */
static struct {
    char *xml;
    uint64_t version;
    uint32_t flags;
    unsigned n_proposed;
    unsigned others;         /* how many more times somebody is quicker */
    bool refuse;             /* the cluster refuses for another reason */
    bool defer;              /* answer when deliver() says */
    vq_propose_cb deferred;
    void *deferred_data;
    uint64_t deferred_version;
    char *title;
    bool was_sealed;         /* the last one proposed */
    bool has_no_key;         /* nothing can be sealed or opened */
} cluster;

/* A seal that is none: bits turned round, and one byte more. */
static int seal(const uint8_t of[16], const void *bytes, size_t length, uint8_t **ret_sealed, size_t *ret_length,
                struct vq_error *err)
{
    if (cluster.has_no_key)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "no key");
    assert_memory_equal(of, uuid, sizeof(uuid));
    *ret_length = length + 1;
    *ret_sealed = vq_calloc(1, length + 1);
    for (size_t i = 0; i < length; i++)
        (*ret_sealed)[i] = (uint8_t)~((const uint8_t *)bytes)[i];
    return 0;
}

static char *unpack(const Vq__DomainDefine *define)
{
    size_t length = define->xml.len - (define->xml_sealed ? 1 : 0);
    char *text = vq_calloc(define->xml_size == 0 ? length + 1 : define->xml_size + 1u, 1);
    VQ_AUTOFREE uint8_t *bytes = vq_calloc(1, length + 1);

    for (size_t i = 0; i < length; i++)
        bytes[i] = define->xml_sealed ? (uint8_t)~define->xml.data[i] : define->xml.data[i];
    if (define->xml_size == 0)
        memcpy(text, bytes, length);
    else
        assert_int_equal(ZSTD_decompress(text, define->xml_size, bytes, length), define->xml_size);
    return text;
}

/* The other one writes a description. */
static void change_beside_us(void)
{
    VQ_AUTOPTR(vq_domain) def = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    assert_int_equal(vq_qemu_parse_stored(cluster.xml, &def, &err), 0);
    vq_set_text(&def->description, "by somebody else");
    free(cluster.xml);
    cluster.xml = vq_domain_format(def, VQ_FORMAT_INACTIVE | VQ_FORMAT_SECURE);
    cluster.version++;
}

static void propose(Vq__Command *command, uint64_t timeout_ms VQ_UNUSED, vq_propose_cb cb, void *data)
{
    const Vq__DomainDefine *define = command->domain_define;
    struct vq_proposal_result result = {.id = -1};
    struct vq_error err = VQ_ERROR_INIT;

    assert_int_equal(command->change_case, VQ__COMMAND__CHANGE_DOMAIN_DEFINE);
    cluster.n_proposed++;
    if (cluster.others > 0) {
        cluster.others--;
        change_beside_us();
    }
    if (cluster.refuse || (define->if_version != 0 && define->if_version != cluster.version)) {
        (void)vq_error_set(&err, VIR_ERR_OPERATION_FAILED, cluster.refuse ? "it cannot be" : "changed at the same time");
        cb(NULL, &err, data);
        return;
    }
    free(cluster.xml);
    cluster.xml = unpack(define);
    cluster.was_sealed = define->xml_sealed != 0;
    vq_set_text(&cluster.title, define->title);
    result.version = ++cluster.version;
    if (cluster.defer) {
        assert_null(cluster.deferred); /* one at a time */
        cluster.deferred = cb;
        cluster.deferred_data = data;
        cluster.deferred_version = result.version;
        return;
    }
    cb(&result, NULL, data);
}

static void deliver(void)
{
    const struct vq_proposal_result result = {.id = -1, .version = cluster.deferred_version};
    vq_propose_cb cb = vq_take(cluster.deferred);

    assert_non_null(cb);
    cb(&result, NULL, cluster.deferred_data);
}

static bool domain_find(const uint8_t wanted[16], bool with_xml, struct vq_arena *arena, struct vq_domain_info *ret)
{
    if (cluster.xml == NULL || memcmp(wanted, uuid, sizeof(uuid)) != 0)
        return false;
    *ret = (struct vq_domain_info){.name = "guest", .id = -1, .version = cluster.version, .flags = cluster.flags};
    if (with_xml && cluster.has_no_key)
        ret->xml_problem = "the definition of domain 'guest' cannot be read: no key";
    else if (with_xml)
        ret->xml = vq_arena_strdup(arena, cluster.xml);
    return true;
}

static struct vq_driver_host host = {.node_id = 1, .propose = propose, .domain_find = domain_find, .seal = seal};
static struct vq_driver driver = {.name = "qemu"};
static struct vq_qemu qemu = {.driver = &driver, .host = &host};

static int set_up(void **state VQ_UNUSED)
{
    cluster.xml = vq_strdup("<domain type='qemu'><name>guest</name>"
                            "<uuid>01020304-0506-0708-090a-0b0c0d0e0f10</uuid>"
                            "<memory>65536</memory><vcpu>2</vcpu><os><type>hvm</type></os></domain>");
    cluster.version = 7;
    cluster.flags = VQ_INFO_PERSISTENT;
    return 0;
}

static int tear_down(void **state VQ_UNUSED)
{
    free(cluster.xml);
    free(cluster.title);
    memset(&cluster, 0, sizeof(cluster));
    return 0;
}

static unsigned n_answers;
static struct vq_error answer;

static void answered(const struct vq_error *err, void *data VQ_UNUSED)
{
    n_answers++;
    answer = err == NULL ? VQ_ERROR_INIT : *err;
}

static int set_title(struct vq_domain *def, void *change, struct vq_error *err)
{
    if (strcmp(change, "refused") == 0)
        return vq_error_set(err, VIR_ERR_INVALID_ARG, "no such title");
    vq_set_text(&def->title, change);
    return 0;
}

static void change_title(const char *title)
{
    n_answers = 0;
    vq_qemu_change_definition(&qemu, uuid, set_title, (void *)title, false, answered, NULL);
    assert_int_equal(n_answers, 1);
}

static void a_change_is_written_and_told(void **state VQ_UNUSED)
{
    change_title("new");
    assert_int_equal(answer.code, VIR_ERR_OK);
    assert_int_equal(cluster.n_proposed, 1);
    assert_int_equal(cluster.version, 8);
    assert_string_equal(cluster.title, "new");
    assert_non_null(strstr(cluster.xml, "<title>new</title>"));
}

static void a_change_made_beside_ours_is_kept(void **state VQ_UNUSED)
{
    cluster.others = 3;
    change_title("new");
    assert_int_equal(answer.code, VIR_ERR_OK);
    assert_int_equal(cluster.n_proposed, 4);
    assert_non_null(strstr(cluster.xml, "<title>new</title>"));
    assert_non_null(strstr(cluster.xml, "by somebody else"));
}

static int set_description(struct vq_domain *def, void *change, struct vq_error *err VQ_UNUSED)
{
    vq_set_text(&def->description, change);
    return 0;
}

static void changes_of_one_domain_take_turns(void **state VQ_UNUSED)
{
    cluster.defer = true;
    n_answers = 0;
    vq_qemu_change_definition(&qemu, uuid, set_title, (void *)"first", false, answered, NULL);
    vq_qemu_change_definition(&qemu, uuid, set_description, (void *)"second", false, answered, NULL);
    vq_qemu_change_definition(&qemu, uuid, set_title, (void *)"refused", false, answered, NULL);
    assert_int_equal(cluster.n_proposed, 1);
    deliver();
    assert_int_equal(n_answers, 1);
    assert_int_equal(cluster.n_proposed, 2);
    deliver();
    assert_int_equal(n_answers, 3); /* the third was refused as soon as it had its turn */
    assert_int_equal(answer.code, VIR_ERR_INVALID_ARG);
    assert_int_equal(cluster.n_proposed, 2);
    assert_non_null(strstr(cluster.xml, "<title>first</title>"));
    assert_non_null(strstr(cluster.xml, "<description>second</description>"));
}

static void others_that_are_always_quicker_end_the_tries(void **state VQ_UNUSED)
{
    cluster.others = 1000;
    change_title("new");
    assert_int_equal(answer.code, VIR_ERR_OPERATION_FAILED);
    assert_int_equal(cluster.n_proposed, VQ_QEMU_CHANGE_TRIES);
}

static void a_refusal_for_another_reason_is_not_repeated(void **state VQ_UNUSED)
{
    cluster.refuse = true;
    change_title("new");
    assert_int_equal(answer.code, VIR_ERR_OPERATION_FAILED);
    assert_string_equal(answer.message, "it cannot be");
    assert_int_equal(cluster.n_proposed, 1);
}

static void a_refused_change_proposes_nothing(void **state VQ_UNUSED)
{
    change_title("refused");
    assert_int_equal(answer.code, VIR_ERR_INVALID_ARG);
    assert_int_equal(cluster.n_proposed, 0);
}

static void a_transient_domain_has_no_definition_to_change(void **state VQ_UNUSED)
{
    cluster.flags = 0;
    change_title("new");
    assert_int_equal(answer.code, VIR_ERR_OPERATION_INVALID);
    assert_int_equal(cluster.n_proposed, 0);
}

static void a_domain_that_is_gone_is_said_to_be(void **state VQ_UNUSED)
{
    free(vq_take(cluster.xml));
    change_title("new");
    assert_int_equal(answer.code, VIR_ERR_NO_DOMAIN);
}

static void what_the_text_leaves_out_is_there_again(void **state VQ_UNUSED)
{
    VQ_AUTOPTR(vq_domain) def = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    assert_int_equal(vq_qemu_parse_stored(cluster.xml, &def, &err), 0);
    assert_int_equal(def->current_vcpus, 2);
    assert_int_equal(def->current_memory_kib, 65536);
}

static void a_long_definition_travels_compressed(void **state VQ_UNUSED)
{
    VQ_AUTOPTR(vq_domain) def = NULL;
    struct vq_error err = VQ_ERROR_INIT;
    char description[4000];

    assert_int_equal(vq_qemu_parse_stored(cluster.xml, &def, &err), 0);
    struct vq_qemu_packed small, packed;
    assert_int_equal(vq_qemu_pack_definition(&host, def, &small, &err), 0);
    assert_int_equal(small.xml_size, 0);
    assert_false(small.is_sealed);
    free(small.bytes);

    memset(description, 'x', sizeof(description));
    description[sizeof(description) - 1] = '\0';
    vq_set_text(&def->description, description);
    VQ_AUTOFREE char *text = vq_domain_format(def, VQ_FORMAT_INACTIVE | VQ_FORMAT_SECURE);
    assert_int_equal(vq_qemu_pack_definition(&host, def, &packed, &err), 0);
    Vq__DomainDefine define = {.xml = {.data = packed.bytes, .len = packed.length}, .xml_size = packed.xml_size};
    VQ_AUTOFREE char *again = unpack(&define);
    assert_true(packed.length < strlen(text) / 4);
    assert_int_equal(packed.xml_size, strlen(text));
    assert_string_equal(again, text);
    free(packed.bytes);
}

static const char password[] = "hush-hush-7391";

static int set_password(struct vq_domain *def, void *change, struct vq_error *err VQ_UNUSED)
{
    struct vq_graphics *graphics = vq_new(struct vq_graphics);

    (void)change;
    graphics->type = VQ_GRAPHICS_VNC;
    graphics->password = vq_strdup(password);
    VQ_GROW(def->devices.graphics, def->devices.n_graphics);
    def->devices.graphics[def->devices.n_graphics++] = graphics;
    return 0;
}

static void a_password_is_sealed_before_it_is_proposed(void **state VQ_UNUSED)
{
    VQ_AUTOPTR(vq_domain) def = NULL;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_qemu_packed packed;

    vq_qemu_change_definition(&qemu, uuid, set_password, NULL, false, answered, NULL);
    assert_int_equal(answer.code, VIR_ERR_OK);
    assert_true(cluster.was_sealed);
    assert_non_null(strstr(cluster.xml, password));
    change_title("new"); /* any later change keeps it, sealed */
    assert_true(cluster.was_sealed);
    assert_non_null(strstr(cluster.xml, password));

    assert_int_equal(vq_qemu_parse_stored(cluster.xml, &def, &err), 0);
    assert_int_equal(vq_qemu_pack_definition(&host, def, &packed, &err), 0);
    assert_true(packed.is_sealed);
    assert_null(memmem(packed.bytes, packed.length, password, sizeof(password) - 1));
    free(packed.bytes);
}

static void a_secret_that_cannot_be_sealed_is_not_proposed(void **state VQ_UNUSED)
{
    VQ_AUTOPTR(vq_domain) def = NULL;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_qemu_packed packed;

    assert_int_equal(vq_qemu_parse_stored(cluster.xml, &def, &err), 0);
    assert_int_equal(set_password(def, NULL, &err), 0);
    cluster.has_no_key = true;
    assert_int_equal(vq_qemu_pack_definition(&host, def, &packed, &err), -1);
    assert_non_null(strstr(err.message, "guest"));
    assert_null(strstr(err.message, password));
}

static void a_definition_that_cannot_be_read_is_not_taken_for_none(void **state VQ_UNUSED)
{
    cluster.has_no_key = true;
    change_title("new");
    assert_int_equal(answer.code, VIR_ERR_INTERNAL_ERROR);
    assert_non_null(strstr(answer.message, "'guest'"));
    assert_int_equal(cluster.n_proposed, 0);
}

static void the_definition_of_another_hypervisor_runs_nothing(void **state VQ_UNUSED)
{
    VQ_AUTOPTR(vq_domain) def = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    assert_int_equal(vq_domain_parse("<domain type='lxc'><name>c</name><memory>1024</memory><os><type>exe</type></os>"
                                     "<devices><emulator>/bin/true</emulator></devices></domain>",
                                     VQ_PARSE_INACTIVE, &def, &err), 0);
    assert_null(vq_qemu_choose_emulator(&qemu, def, &err));
    assert_int_equal(err.code, VIR_ERR_CONFIG_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_change_is_written_and_told, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_password_is_sealed_before_it_is_proposed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_secret_that_cannot_be_sealed_is_not_proposed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_definition_that_cannot_be_read_is_not_taken_for_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_change_made_beside_ours_is_kept, set_up, tear_down),
        cmocka_unit_test_setup_teardown(changes_of_one_domain_take_turns, set_up, tear_down),
        cmocka_unit_test_setup_teardown(others_that_are_always_quicker_end_the_tries, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_refusal_for_another_reason_is_not_repeated, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_refused_change_proposes_nothing, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_transient_domain_has_no_definition_to_change, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_domain_that_is_gone_is_said_to_be, set_up, tear_down),
        cmocka_unit_test_setup_teardown(what_the_text_leaves_out_is_there_again, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_long_definition_travels_compressed, set_up, tear_down),
        cmocka_unit_test_setup_teardown(the_definition_of_another_hypervisor_runs_nothing, set_up, tear_down),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
