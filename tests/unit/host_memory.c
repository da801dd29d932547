/* Settings of the host's memory, on a /sys of the test. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <libvirt/libvirt.h>

#include "conf/base/memory.h"
#include "node/host_memory.h"

static char root[] = "/tmp/memory.XXXXXX";

static int make_root(void **state)
{
    (void)state;
    if (mkdtemp(root) == NULL)
        return -1;
    VQ_AUTOFREE char *command =
        vq_asprintf("cd %s && mkdir -p sys/kernel/mm/ksm sys/devices/system/node/node0/hugepages/hugepages-2048kB && "
                    "echo 100 > sys/kernel/mm/ksm/pages_to_scan && echo 20 > sys/kernel/mm/ksm/sleep_millisecs && "
                    "echo 7 > sys/kernel/mm/ksm/pages_shared && echo 3 > "
                    "sys/devices/system/node/node0/hugepages/hugepages-2048kB/nr_hugepages",
                    root);
    return system(command);
}

static int remove_root(void **state)
{
    VQ_AUTOFREE char *command = vq_asprintf("rm -rf %s", root);

    (void)state;
    return system(command);
}

static void what_the_kernel_has_is_told(void **state)
{
    struct vq_typed_param params[VQ_KSM_MAX];

    (void)state;
    assert_int_equal(vq_host_ksm_get(root, params), 3);
    assert_string_equal(params[0].field, "shm_pages_to_scan");
    assert_int_equal(params[0].value.ui, 100);
    assert_string_equal(params[2].field, "shm_pages_shared");
    assert_int_equal(params[2].type, VIR_TYPED_PARAM_ULLONG);
    assert_int_equal(params[2].value.ul, 7);
    assert_int_equal(vq_host_ksm_get("/nonexistent", params), 0);
}

static void nothing_is_set_when_one_of_them_is_no_setting(void **state)
{
    struct vq_typed_param params[] = {{"shm_pages_to_scan", VIR_TYPED_PARAM_UINT, {.ui = 150}},
                                      {"shm_full_scans", VIR_TYPED_PARAM_ULLONG, {.ul = 1}}};
    struct vq_typed_param now[VQ_KSM_MAX];
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_int_equal(vq_host_ksm_set(root, params, 2, &err), -1);
    assert_int_equal(err.code, VIR_ERR_ARGUMENT_UNSUPPORTED);
    (void)vq_host_ksm_get(root, now);
    assert_int_equal(now[0].value.ui, 100);
    params[0].type = VIR_TYPED_PARAM_INT;
    assert_int_equal(vq_host_ksm_set(root, params, 1, &err), -1);
    assert_int_equal(err.code, VIR_ERR_INVALID_ARG);
    params[0].type = VIR_TYPED_PARAM_UINT;
    assert_int_equal(vq_host_ksm_set(root, params, 1, &err), 0);
    (void)vq_host_ksm_get(root, now);
    assert_int_equal(now[0].value.ui, 150);
}

static void pages_are_set_or_added_and_others_are_refused(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_int_equal(vq_host_pages_set(root, 0, 2048, 5, true, &err), 0); /* 3 and 5 */
    assert_int_equal(vq_host_pages_set(root, 0, 2048, 2, false, &err), 0);
    assert_int_equal(vq_host_pages_set(root, 0, 2048, UINT64_MAX, true, &err), -1);
    assert_int_equal(err.code, VIR_ERR_OVERFLOW);
    assert_int_equal(vq_host_pages_set(root, 0, 1234, 1, true, &err), -1);
    assert_int_equal(err.code, VIR_ERR_OPERATION_FAILED);
    assert_int_equal(vq_host_pages_set(root, 0, 4, 1, true, &err), -1);
    assert_int_equal(err.code, VIR_ERR_OPERATION_UNSUPPORTED);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_the_kernel_has_is_told),
        cmocka_unit_test(nothing_is_set_when_one_of_them_is_no_setting),
        cmocka_unit_test(pages_are_set_or_added_and_others_are_refused),
    };

    return cmocka_run_group_tests(tests, make_root, remove_root);
}
