/* Sealed definitions in the store of a node, and what reading them gives: the text, or a sentence that names the
 * domain. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <zstd.h>

#include "node/seal.h"
#include "store/store.h"
#include "tests/unit/fake_node.h"

static struct fake_node node;
static const uint8_t web[16] = {1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1, 0xee};
static const uint8_t other[16] = {2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 2, 0xee};
static const char text[] = "<domain type='qemu'><name>web</name><x passwd='hush-hush-7391'/></domain>";

static int start(void **state)
{
    (void)state;
    fake_node_start(&node);
    memset(node.daemon.cluster_key, 7, sizeof(node.daemon.cluster_key));
    node.daemon.has_cluster_key = true;
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fake_node_stop(&node);
    return 0;
}

/* A definition of web's in the store, sealed as told. */
static void define(const uint8_t sealed_for[16], const void *bytes, size_t length, uint32_t xml_size)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainDefine define = VQ__DOMAIN_DEFINE__INIT;
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOFREE uint8_t *sealed = NULL;

    assert_int_equal(node.daemon.host.seal(sealed_for, bytes, length, &sealed, &define.xml.len, &err), 0);
    assert_null(memmem(sealed, define.xml.len, "hush", 4));
    define.xml.data = sealed;
    define.xml_size = xml_size;
    define.xml_sealed = true;
    define.driver = (char *)"qemu";
    define.uuid = (ProtobufCBinaryData){.data = (uint8_t *)web, .len = sizeof(web)};
    define.name = (char *)"web";
    define.owner = 1;
    define.persistent = true;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_DEFINE;
    command.domain_define = &define;
    assert_int_equal(fake_apply(&node, &command), 0);
}

static void expect_problem(const char *part)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_domain_info info = {0};

    assert_true(node.daemon.host.domain_find(web, true, arena, &info));
    assert_null(info.xml);
    assert_non_null(info.xml_problem);
    assert_non_null(strstr(info.xml_problem, "'web'"));
    assert_non_null(strstr(info.xml_problem, part));
    assert_null(strstr(info.xml_problem, "hush"));
    assert_true(node.daemon.host.domain_find(web, false, arena, &info)); /* the rest is there */
    assert_null(info.xml_problem);
}

static void expect_text(const char *wanted)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_domain_info info = {0};

    assert_true(node.daemon.host.domain_find(web, true, arena, &info));
    assert_non_null(info.xml);
    assert_string_equal(info.xml, wanted);
    assert_true(info.has_secrets);
    assert_null(info.xml_problem);
}

static void what_was_sealed_is_read(void **state)
{
    char long_text[4000], packed[5000];

    (void)state;
    define(web, text, strlen(text), 0);
    expect_text(text);
    memset(long_text, 'x', sizeof(long_text));
    long_text[sizeof(long_text) - 1] = '\0';
    size_t length = ZSTD_compress(packed, sizeof(packed), long_text, sizeof(long_text) - 1, 3);
    define(web, packed, length, sizeof(long_text) - 1);
    expect_text(long_text);
}

static void with_another_key_it_is_an_error_that_names_the_domain(void **state)
{
    (void)state;
    define(web, text, strlen(text), 0);
    node.daemon.cluster_key[31] ^= 1;
    expect_problem("other key");
    node.daemon.has_cluster_key = false;
    expect_problem("no key");
}

static void what_was_sealed_for_another_domain_does_not_open(void **state)
{
    (void)state;
    define(other, text, strlen(text), 0);
    expect_problem("other place");
}

static void what_a_seal_holds_is_checked_like_everything_else(void **state)
{
    char packed[5000];
    size_t length = ZSTD_compress(packed, sizeof(packed), text, strlen(text), 3);

    (void)state;
    define(web, "a\0b", 3, 0);
    expect_problem("unpacked");
    define(web, text, strlen(text), 100); /* said to be compressed, and is not */
    expect_problem("unpacked");
    define(web, packed, length, (uint32_t)strlen(text) - 1);
    expect_problem("unpacked");
    define(web, packed, length - 3, (uint32_t)strlen(text));
    expect_problem("unpacked");
}

static void a_definition_without_secrets_says_so(void **state)
{
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);
    struct vq_domain_info info = {0};

    (void)state;
    fake_define(&node, "plain", 1, 1);
    assert_true(node.daemon.host.domain_find(web, true, arena, &info));
    assert_non_null(info.xml);
    assert_false(info.has_secrets);
}

int main(void)
{
#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)
    const struct CMUnitTest tests[] = {
        CASE(what_was_sealed_is_read),
        CASE(with_another_key_it_is_an_error_that_names_the_domain),
        CASE(what_was_sealed_for_another_domain_does_not_open),
        CASE(what_a_seal_holds_is_checked_like_everything_else),
        CASE(a_definition_without_secrets_says_so),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
