/* Definitions of the pairs in a directory, read and written again. */
#include <dirent.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "conf/device_fields.h"
#include "conf/domain.h"
#include "conf/field.h"

enum { PAIRS_MIN = 240 };

static const char *directory, *live_file;
static struct dirent **entries;
static int n_entries;

static char *read_path(const char *path)
{
    VQ_AUTOBUFFER text = VQ_BUFFER_INIT;
    FILE *file = fopen(path, "re");
    char chunk[4096];

    assert_non_null(file);
    for (size_t n; (n = fread(chunk, 1, sizeof(chunk), file)) > 0;)
        vq_buffer_add_bytes(&text, chunk, n);
    (void)fclose(file); /* it was only read */
    return vq_buffer_steal(&text);
}

static char *read_file(const char *name)
{
    VQ_AUTOFREE char *path = vq_asprintf("%s/%s", directory, name);

    return read_path(path);
}

static bool ends_with(const char *name, const char *end)
{
    size_t length = strlen(name), end_length = strlen(end);

    return length > end_length && strcmp(name + length - end_length, end) == 0;
}

static struct vq_domain *parse(const char *name, const char *xml, unsigned flags)
{
    struct vq_domain *domain = NULL;
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_domain_parse(xml, flags, &domain, &err) < 0)
        fail_msg("%s: %s", name, err.message);
    return domain;
}

static void random_for_tests(void *bytes, size_t length, void *data)
{
    unsigned char *at = bytes;
    unsigned *state = data;

    for (size_t i = 0; i < length; i++) {
        *state = *state * 1103515245 + 12345;
        at[i] = (unsigned char)(*state >> 16);
    }
}

static void fill(const char *name, struct vq_domain *domain)
{
    unsigned state = 1;
    const struct vq_domain_fill with = {.random = random_for_tests, .data = &state, .mac_prefix = {0x52, 0x54, 0x00}};
    struct vq_error err = VQ_ERROR_INIT;

    if (vq_domain_fill(domain, &with, &err) < 0)
        fail_msg("%s: filling: %s", name, err.message);
}

static void expect_same(const char *name, const char *expected, const char *actual)
{
    size_t line = 1, i = 0;

    for (; expected[i] == actual[i] && expected[i] != '\0'; i++)
        line += expected[i] == '\n';
    if (expected[i] != actual[i]) {
        while (i > 0 && expected[i - 1] != '\n')
            i--;
        fail_msg("%s:%zu: expected '%.*s', not '%.*s'", name, line, (int)strcspn(expected + i, "\n"), expected + i,
                 (int)strcspn(actual + i, "\n"), actual + i);
    }
}

static void for_each(const char *end, const char *but_not, void (*fn)(const char *name, const char *xml))
{
    for (int i = 0; i < n_entries; i++) {
        const char *name = entries[i]->d_name;

        if (!ends_with(name, end) || (but_not != NULL && ends_with(name, but_not)))
            continue;
        VQ_AUTOFREE char *xml = read_file(name);
        fn(name, xml);
    }
}

static void reproduce(const char *name, const char *xml)
{
    VQ_AUTOPTR(vq_domain) domain = parse(name, xml, VQ_PARSE_INACTIVE | VQ_PARSE_STRICT);
    VQ_AUTOPTR(vq_domain) copy = vq_domain_copy(domain);
    VQ_AUTOFREE char *written = vq_domain_format(domain, VQ_FORMAT_INACTIVE | VQ_FORMAT_SECURE);
    VQ_AUTOFREE char *copied = vq_domain_format(copy, VQ_FORMAT_INACTIVE | VQ_FORMAT_SECURE);

    expect_same(name, xml, written);
    expect_same(name, xml, copied);
}

static void what_the_stock_daemon_shows_is_reproduced_byte_for_byte(void **state)
{
    (void)state;
    for_each(".xml", ".in.xml", reproduce);
}

static void refill(const char *name, const char *xml)
{
    VQ_AUTOPTR(vq_domain) domain = parse(name, xml, VQ_PARSE_INACTIVE);

    fill(name, domain);
    VQ_AUTOFREE char *written = vq_domain_format(domain, VQ_FORMAT_INACTIVE | VQ_FORMAT_SECURE);
    expect_same(name, xml, written);
}

static void filling_a_complete_definition_changes_nothing(void **state)
{
    (void)state;
    for_each(".xml", ".in.xml", refill);
}

static void fill_twice(const char *name, const char *xml)
{
    VQ_AUTOPTR(vq_domain) domain = parse(name, xml, VQ_PARSE_INACTIVE | VQ_PARSE_STRICT);

    fill(name, domain);
    VQ_AUTOFREE char *once = vq_domain_format(domain, VQ_FORMAT_INACTIVE | VQ_FORMAT_SECURE);
    VQ_AUTOPTR(vq_domain) again = parse(name, once, VQ_PARSE_INACTIVE | VQ_PARSE_STRICT);
    fill(name, again);
    VQ_AUTOFREE char *twice = vq_domain_format(again, VQ_FORMAT_INACTIVE | VQ_FORMAT_SECURE);
    expect_same(name, once, twice);
}

static void formatting_and_parsing_again_changes_nothing(void **state)
{
    (void)state;
    for_each(".xml", NULL, fill_twice);
}

static int secrets_seen;

/* With no secret right, no secret: whatever the other flags. */
static void look_for_secrets(const char *name, const char *xml)
{
    VQ_AUTOPTR(vq_domain) domain = parse(name, xml, 0);

    for (size_t i = 0; i < domain->devices.n_graphics; i++) {
        const char *password = domain->devices.graphics[i]->password;
        if (password == NULL)
            continue;
        VQ_AUTOFREE char *attribute = vq_asprintf("passwd='%s'", password);
        secrets_seen++;
        for (unsigned flags = 0; flags < 8; flags++) {
            VQ_AUTOFREE char *written = vq_domain_format(domain, flags);
            assert_int_equal(strstr(written, attribute) != NULL, (flags & VQ_FORMAT_SECURE) != 0);
        }
    }
}

static void secrets_are_written_on_request_only(void **state)
{
    (void)state;
    for_each(".xml", NULL, look_for_secrets);
    assert_true(secrets_seen > 0);
}

static void a_running_guest_is_reproduced_and_its_live_values_are_left_out_of_its_definition(void **state)
{
    static const char *const live[] = {"<alias",       "/dev/pts/",        "tty=", "imagelabel",
                                       "qemu' id='1'", "qcow2' index='2'", "5900"};
    VQ_AUTOFREE char *xml = read_path(live_file);
    VQ_AUTOPTR(vq_domain) domain = parse(live_file, xml, VQ_PARSE_STRICT);
    VQ_AUTOFREE char *written = vq_domain_format(domain, VQ_FORMAT_SECURE);
    VQ_AUTOFREE char *inactive = vq_domain_format(domain, VQ_FORMAT_INACTIVE);

    (void)state;
    expect_same(live_file, xml, written);
    for (size_t i = 0; i < VQ_N_ELEMENTS(live); i++) {
        assert_non_null(strstr(written, live[i]));
        assert_null(strstr(inactive, live[i]));
    }
    VQ_AUTOPTR(vq_domain) read_inactive = parse(live_file, xml, VQ_PARSE_INACTIVE | VQ_PARSE_STRICT);
    VQ_AUTOFREE char *again = vq_domain_format(read_inactive, VQ_FORMAT_INACTIVE);
    expect_same(live_file, inactive, again);
}

static void there_are_enough_pairs(void **state)
{
    int n = 0;

    (void)state;
    for (int i = 0; i < n_entries; i++)
        n += ends_with(entries[i]->d_name, ".in.xml");
    assert_true(n >= PAIRS_MIN);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_are_enough_pairs),
        cmocka_unit_test(what_the_stock_daemon_shows_is_reproduced_byte_for_byte),
        cmocka_unit_test(filling_a_complete_definition_changes_nothing),
        cmocka_unit_test(formatting_and_parsing_again_changes_nothing),
        cmocka_unit_test(secrets_are_written_on_request_only),
        cmocka_unit_test(a_running_guest_is_reproduced_and_its_live_values_are_left_out_of_its_definition),
    };

    if (argc != 3)
        return 2;
    directory = argv[1];
    live_file = argv[2];
    n_entries = scandir(directory, &entries, NULL, alphasort);
    if (n_entries < 0)
        return 2;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    for (int i = 0; i < n_entries; i++)
        free(entries[i]);
    free(entries);
    return failed;
}
