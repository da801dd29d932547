/* The numbers of errors, and that docs/errors.md has a paragraph for each of them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <libvirt/virterror.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"
#include "node/cluster/errors.h"

static char *read_page(void)
{
    FILE *file = fopen(VQ_SOURCE_DIR "/docs/errors.md", "re");
    char *text = calloc(1, 1 << 20);

    assert_non_null(file);
    assert_non_null(text);
    assert_true(fread(text, 1, (1 << 20) - 1, file) > 0);
    (void)fclose(file);
    return text;
}

static void every_number_is_explained_with_its_exit_code(void **state VQ_UNUSED)
{
    char *page = read_page(), wanted[256];

    for (size_t i = 0; i < VQ_N_NUMBERS; i++) {
        (void)snprintf(wanted, sizeof(wanted), "## VQ-%04u: %s\n\nExit code %d.\n", vq_numbers[i].number, vq_numbers[i].what,
                       vq_numbers[i].exit_code);
        if (strstr(page, wanted) == NULL)
            fail_msg("docs/errors.md lacks: %s", wanted);
    }
    free(page);
}

static void nothing_else_is_explained(void **state VQ_UNUSED)
{
    char *page = read_page();
    size_t n = 0;

    for (const char *at = page; (at = strstr(at, "\n## VQ-")) != NULL; at++)
        n++;
    assert_int_equal(n, VQ_N_NUMBERS);
    free(page);
}

static void no_number_is_given_out_twice(void **state VQ_UNUSED)
{
    for (size_t i = 0; i < VQ_N_NUMBERS; i++)
        for (size_t k = 0; k < i; k++)
            assert_true(vq_numbers[i].number != vq_numbers[k].number);
}

static void errors_from_below_have_a_number_by_their_code(void **state VQ_UNUSED)
{
    struct vq_error err = VQ_ERROR_INIT;

    vq_error_set_from(&err, VIR_FROM_NONE, VIR_ERR_OPERATION_TIMEOUT, "no answer");
    assert_int_equal(vq_numbers[vq_number_of(&err)].number, 114);
    assert_int_equal(vq_numbers[vq_number_of(&err)].exit_code, 124);
    vq_error_set_from(&err, VIR_FROM_NONE, VIR_ERR_SYSTEM_ERROR, "disk full");
    assert_int_equal(vq_numbers[vq_number_of(&err)].number, 110);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_number_is_explained_with_its_exit_code),
        cmocka_unit_test(nothing_else_is_explained),
        cmocka_unit_test(no_number_is_given_out_twice),
        cmocka_unit_test(errors_from_below_have_a_number_by_their_code),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
