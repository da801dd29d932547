/* Who may call what, from the procedure's row alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <libvirt/libvirt.h>

#include "drivers/driver.h"
#include "node/rights.h"
#include "proto/gen/remote.h"

static const struct vq_caller reader = {.readonly = true}, writer = {.readonly = false};

static const struct vq_procedure *remote(uint32_t number)
{
    return vq_procedure_find(VQ_PROGRAM_REMOTE, number);
}

static void a_reader_may_list_and_a_writer_may_destroy(void **state)
{
    (void)state;
    assert_int_equal(vq_rights_check(remote(VQ_REMOTE_CONNECT_LIST_ALL_DOMAINS), &reader, NULL, NULL), 0);
    assert_int_equal(vq_rights_check(remote(VQ_REMOTE_DOMAIN_DESTROY), &writer, NULL, NULL), 0);
}

static void a_reader_is_refused_before_the_arguments_are_looked_at(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_int_equal(vq_rights_check(remote(VQ_REMOTE_DOMAIN_DESTROY), &reader, NULL, &err), -1);
    assert_int_equal(err.code, VIR_ERR_OPERATION_DENIED);
    assert_int_equal(err.from, VIR_FROM_DOMAIN);
    assert_string_equal(err.message, "read only access prevents virDomainDestroy");
}

static void the_secret_form_of_the_xml_is_refused_by_its_flag(void **state)
{
    struct vq_remote_domain_get_xml_desc_args args = {0};
    const struct vq_procedure *procedure = remote(VQ_REMOTE_DOMAIN_GET_XML_DESC);
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    assert_int_equal(vq_rights_check(procedure, &reader, NULL, &err), 0);
    assert_int_equal(vq_rights_check(procedure, &reader, &args, &err), 0);
    args.flags = VIR_DOMAIN_XML_SECURE;
    assert_int_equal(vq_rights_check(procedure, &reader, &args, &err), -1);
    assert_int_equal(err.code, VIR_ERR_OPERATION_DENIED);
    assert_int_equal(vq_rights_check(procedure, &writer, &args, &err), 0);
}

static void addresses_from_the_agent_are_refused_by_their_source(void **state)
{
    struct vq_remote_domain_interface_addresses_args args = {.source = VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT};
    const struct vq_procedure *procedure = remote(VQ_REMOTE_DOMAIN_INTERFACE_ADDRESSES);

    (void)state;
    assert_int_equal(vq_rights_check(procedure, &reader, &args, NULL), -1);
    args.source = VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE;
    assert_int_equal(vq_rights_check(procedure, &reader, &args, NULL), 0);
}

static void every_call_of_the_monitor_is_refused_to_readers(void **state)
{
    (void)state;
    for (uint32_t number = 1; number <= vq_procedure_last(VQ_PROGRAM_QEMU); number++) {
        const struct vq_procedure *procedure = vq_procedure_find(VQ_PROGRAM_QEMU, number);
        if (procedure != NULL && !procedure->is_event)
            assert_int_equal(vq_rights_check(procedure, &reader, NULL, NULL), -1);
    }
}

static void refusals_carry_the_domain_of_their_part_of_the_api(void **state)
{
    static const struct {
        uint32_t number;
        int from;
    } cases[] = {
        {VQ_REMOTE_DOMAIN_CREATE, VIR_FROM_DOMAIN},        {VQ_REMOTE_NETWORK_CREATE, VIR_FROM_NETWORK},
        {VQ_REMOTE_STORAGE_POOL_CREATE, VIR_FROM_STORAGE}, {VQ_REMOTE_DOMAIN_SNAPSHOT_DELETE, VIR_FROM_DOMAIN_SNAPSHOT},
        {VQ_REMOTE_NODE_GET_INFO, VIR_FROM_NONE},
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++)
        assert_int_equal(vq_rights_error_domain(remote(cases[i].number)), cases[i].from);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_reader_may_list_and_a_writer_may_destroy),
        cmocka_unit_test(a_reader_is_refused_before_the_arguments_are_looked_at),
        cmocka_unit_test(the_secret_form_of_the_xml_is_refused_by_its_flag),
        cmocka_unit_test(addresses_from_the_agent_are_refused_by_their_source),
        cmocka_unit_test(every_call_of_the_monitor_is_refused_to_readers),
        cmocka_unit_test(refusals_carry_the_domain_of_their_part_of_the_api),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
