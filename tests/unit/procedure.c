/* The procedure table: what clients and the rest of the daemon rely on. */
#include "proto/procedure.h"

#include <dlfcn.h>
#include <setjmp.h>
#include <stdarg.h>
#include <string.h>

#include <cmocka.h>
#include <libvirt/libvirt.h>

#include "proto/gen/admin.h"
#include "proto/gen/qemu.h"
#include "proto/gen/remote.h"

static const struct vq_procedure *row(const char *name)
{
    const struct vq_procedure *found = vq_procedure_find_by_name(VQ_PROGRAM_REMOTE, name);

    assert_non_null(found);
    return found;
}

static void programs_have_their_wire_numbers_and_sizes(void **state VQ_UNUSED)
{
    static const struct {
        enum vq_program program;
        const char *name;
        uint32_t number;
        uint32_t last;
    } known[] = {
        {VQ_PROGRAM_REMOTE, "remote", 0x20008086, 453}, {VQ_PROGRAM_QEMU, "qemu", 0x20008087, 7},
        {VQ_PROGRAM_LXC, "lxc", 0x00068000, 1},         {VQ_PROGRAM_ADMIN, "admin", 0x06900690, 20},
        {VQ_PROGRAM_LOG, "log", 0x87539319, 4},         {VQ_PROGRAM_LOCK, "lock", 0x0ea7beef, 8},
    };
    enum vq_program found;

    assert_int_equal(VQ_N_ELEMENTS(known), VQ_PROGRAMS_LIBVIRT);
    for (size_t i = 0; i < VQ_N_ELEMENTS(known); i++) {
        assert_int_equal(vq_program_number(known[i].program), known[i].number);
        assert_int_equal(vq_procedure_last(known[i].program), known[i].last);
        assert_string_equal(vq_program_name(known[i].program), known[i].name);
        assert_true(vq_program_find(known[i].number, &found));
        assert_int_equal(found, known[i].program);
    }
    assert_false(vq_program_find(0x6b656570, &found)); /* keepalive is framing's business */
    assert_false(vq_program_find(0, &found));
}

static void every_row_is_complete_and_found_by_number_and_name(void **state VQ_UNUSED)
{
    for (unsigned program = 0; program < VQ_PROGRAMS; program++) {
        for (uint32_t number = 1; number <= vq_procedure_last((enum vq_program)program); number++) {
            const struct vq_procedure *procedure = vq_procedure_find((enum vq_program)program, number);
            assert_non_null(procedure);
            assert_int_equal(procedure->number, number);
            assert_int_equal(procedure->program, program);
            assert_non_null(procedure->name);
            assert_non_null(procedure->api);
            assert_true(program >= VQ_PROGRAMS_LIBVIRT ? procedure->since == 0 : procedure->since >= 3000);
            assert_true((procedure->n_acl == 0) == (procedure->acl == NULL));
            assert_ptr_equal(vq_procedure_find_by_name((enum vq_program)program, procedure->name), procedure);
            if (procedure->is_event) {
                assert_non_null(procedure->args);
                assert_null(procedure->ret);
                assert_false(procedure->allowed_readonly);
            }
            if (procedure->object != VQ_OBJECT_NONE)
                assert_non_null(procedure->args);
        }
    }
}

static void numbers_that_nobody_has_are_not_found(void **state VQ_UNUSED)
{
    static const uint32_t numbers[] = {0, 454, 0x7fffffff, 0x80000000, 0xffffffff};

    for (size_t i = 0; i < VQ_N_ELEMENTS(numbers); i++)
        assert_null(vq_procedure_find(VQ_PROGRAM_REMOTE, numbers[i]));
    assert_null(vq_procedure_find(VQ_PROGRAM_QEMU, 8));
    assert_null(vq_procedure_find(VQ_PROGRAMS, 1));
    assert_null(vq_procedure_find_by_name(VQ_PROGRAM_REMOTE, "domain_frobnicate"));
}

static void known_procedures_have_their_facts(void **state VQ_UNUSED)
{
    const struct vq_procedure *create = vq_procedure_find(VQ_PROGRAM_REMOTE, 9);

    assert_int_equal(VQ_REMOTE_DOMAIN_CREATE, 9);
    assert_string_equal(create->name, "domain_create");
    assert_string_equal(create->api, "virDomainCreate");
    assert_ptr_equal(create->args, &vq_xdr_remote_domain_create_args);
    assert_null(create->ret);
    assert_int_equal(create->route, VQ_ROUTE_OWNER);
    assert_int_equal(create->object, VQ_OBJECT_DOMAIN);
    assert_false(create->is_high_priority);
    assert_int_equal(create->n_acl, 1);
    assert_string_equal(create->acl[0].object, "domain");
    assert_string_equal(create->acl[0].permission, "start");

    assert_int_equal(row("connect_list_all_domains")->number, 273);
    assert_string_equal(row("connect_list_all_domains")->acl_filter, "domain:getattr");
    assert_int_equal(row("connect_list_all_domains")->route, VQ_ROUTE_READ);
    assert_int_equal(row("domain_define_xml_flags")->route, VQ_ROUTE_REPLICATE);
    assert_int_equal(row("domain_get_xml_desc")->route, VQ_ROUTE_LIVE);
    assert_int_equal(row("connect_get_all_domain_stats")->route, VQ_ROUTE_GATHER);
    assert_int_equal(row("domain_migrate_prepare3_params")->route, VQ_ROUTE_ARRIVAL);
    assert_int_equal(row("domain_migrate_perform3_params")->route, VQ_ROUTE_OWNER);
    assert_int_equal(row("connect_open")->route, VQ_ROUTE_SESSION);
    assert_int_equal(row("node_get_info")->route, VQ_ROUTE_HOST);
    assert_int_equal(row("domain_rename")->since, 1002019);
    assert_int_equal(row("domain_screenshot")->stream, VQ_STREAM_DOWN);
    assert_int_equal(row("storage_vol_upload")->stream, VQ_STREAM_UP);
    assert_int_equal(row("domain_open_console")->stream, VQ_STREAM_BOTH);
    assert_true(row("domain_event_lifecycle")->is_event);
    assert_true(row("domain_event_nic_mac_change")->is_event);
    assert_int_equal(row("domain_snapshot_get_parent")->object, VQ_OBJECT_SNAPSHOT);
    assert_int_equal(row("node_device_reset")->object, VQ_OBJECT_NODE_DEVICE);
}

static void only_the_authentication_calls_need_no_authentication(void **state VQ_UNUSED)
{
    for (uint32_t number = 1; number <= 453; number++) {
        const struct vq_procedure *procedure = vq_procedure_find(VQ_PROGRAM_REMOTE, number);
        bool is_auth = number >= VQ_REMOTE_AUTH_LIST && number <= VQ_REMOTE_AUTH_POLKIT;
        assert_int_equal(procedure->needs_auth, !is_auth);
    }
}

static void a_readonly_connection_may_only_look(void **state VQ_UNUSED)
{
    static const char *const denied[] = {
        "domain_create", "domain_define_xml", "domain_destroy", "domain_open_console", "domain_screenshot",
        "storage_vol_download", "secret_get_value", "domain_memory_peek", "connect_get_domain_capabilities",
        "domain_get_guest_info", "domain_del_throttle_group", "domain_set_scheduler_parameters",
    };
    static const char *const allowed[] = {"connect_open", "connect_list_all_domains", "domain_get_state", "auth_list"};

    for (size_t i = 0; i < VQ_N_ELEMENTS(denied); i++)
        assert_false(vq_procedure_readonly_allows(row(denied[i]), NULL));
    for (size_t i = 0; i < VQ_N_ELEMENTS(allowed); i++)
        assert_true(vq_procedure_readonly_allows(row(allowed[i]), NULL));
    for (uint32_t number = 1; number <= 7; number++)
        assert_false(vq_procedure_readonly_allows(vq_procedure_find(VQ_PROGRAM_QEMU, number), NULL));
}

static void a_readonly_connection_is_denied_secrets_by_flags(void **state VQ_UNUSED)
{
    struct vq_remote_domain_get_xml_desc_args xml = {.flags = VIR_DOMAIN_XML_INACTIVE};
    struct vq_remote_domain_get_vcpus_flags_args vcpus = {.flags = VIR_DOMAIN_VCPU_GUEST};
    struct vq_remote_domain_snapshot_get_xml_desc_args snapshot = {.flags = VIR_DOMAIN_SNAPSHOT_XML_SECURE};

    assert_true(vq_procedure_readonly_allows(row("domain_get_xml_desc"), &xml));
    xml.flags |= VIR_DOMAIN_XML_SECURE;
    assert_false(vq_procedure_readonly_allows(row("domain_get_xml_desc"), &xml));
    xml.flags = VIR_DOMAIN_XML_MIGRATABLE;
    assert_false(vq_procedure_readonly_allows(row("domain_get_xml_desc"), &xml));
    assert_false(vq_procedure_readonly_allows(row("domain_get_vcpus_flags"), &vcpus));
    assert_false(vq_procedure_readonly_allows(row("domain_snapshot_get_xml_desc"), &snapshot));
    assert_int_equal(row("domain_checkpoint_get_xml_desc")->readonly_denied_flags, VIR_DOMAIN_CHECKPOINT_XML_SECURE);
    assert_int_equal(row("domain_managed_save_get_xml_desc")->readonly_denied_flags, VIR_DOMAIN_SAVE_IMAGE_XML_SECURE);
}

static void a_readonly_connection_may_not_ask_the_agent_for_addresses(void **state VQ_UNUSED)
{
    struct vq_remote_domain_interface_addresses_args args = {.source = VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE};
    const struct vq_procedure *procedure = row("domain_interface_addresses");

    assert_true(vq_procedure_readonly_allows(procedure, &args));
    assert_false(vq_acl_rule_applies(procedure, &procedure->acl[1], &args));
    args.source = VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT;
    assert_false(vq_procedure_readonly_allows(procedure, &args));
    assert_true(vq_acl_rule_applies(procedure, &procedure->acl[1], &args));
    assert_string_equal(procedure->acl[1].permission, "write");
}

static void changing_the_configuration_needs_the_right_to_save(void **state VQ_UNUSED)
{
    const struct vq_procedure *procedure = row("domain_attach_device_flags");
    static const struct {
        uint32_t flags;
        bool second, third; /* domain:save in the form !CONFIG|LIVE, and in the form CONFIG */
    } cases[] = {
        {VIR_DOMAIN_AFFECT_CURRENT, true, false},
        {VIR_DOMAIN_AFFECT_LIVE, true, false},
        {VIR_DOMAIN_AFFECT_CONFIG, false, true},
        {VIR_DOMAIN_AFFECT_CONFIG | VIR_DOMAIN_AFFECT_LIVE, true, true},
    };

    assert_int_equal(procedure->n_acl, 3);
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        struct vq_remote_domain_attach_device_flags_args args = {.flags = cases[i].flags};
        assert_true(vq_acl_rule_applies(procedure, &procedure->acl[0], &args));
        assert_int_equal(vq_acl_rule_applies(procedure, &procedure->acl[1], &args), cases[i].second);
        assert_int_equal(vq_acl_rule_applies(procedure, &procedure->acl[2], &args), cases[i].third);
    }
}

static void seeing_secrets_needs_the_right_to_read_them(void **state VQ_UNUSED)
{
    const struct vq_procedure *procedure = row("domain_get_xml_desc");
    struct vq_remote_domain_get_xml_desc_args args = {.flags = 0};

    assert_int_equal(procedure->n_acl, 3);
    assert_string_equal(procedure->acl[1].permission, "read_secure");
    assert_false(vq_acl_rule_applies(procedure, &procedure->acl[1], &args));
    args.flags = VIR_DOMAIN_XML_SECURE;
    assert_true(vq_acl_rule_applies(procedure, &procedure->acl[1], &args));
    assert_false(vq_acl_rule_applies(procedure, &procedure->acl[2], &args));
}

static void flags_are_found_in_narrow_and_wide_arguments(void **state VQ_UNUSED)
{
    struct vq_remote_domain_migrate_begin3_args wide = {.flags = 0x8000000000000001u};
    struct vq_remote_domain_get_state_args narrow = {.flags = 0x80000000u};
    struct vq_remote_domain_create_args none = {.dom.id = 1};
    int64_t value;

    assert_int_equal(vq_procedure_flags(row("domain_migrate_begin3"), &wide), 0x8000000000000001u);
    assert_int_equal(vq_procedure_flags(row("domain_get_state"), &narrow), 0x80000000u);
    assert_int_equal(vq_procedure_flags(row("domain_create"), &none), 0);
    assert_int_equal(row("domain_create")->flags_offset, -1);
    assert_int_equal(vq_procedure_flags(row("domain_get_state"), NULL), 0);
    assert_true(vq_procedure_argument(row("domain_get_state"), &narrow, "flags", &value));
    assert_int_equal(value, 0x80000000);
    assert_false(vq_procedure_argument(row("domain_get_state"), &narrow, "dom", &value));
    assert_false(vq_procedure_argument(row("domain_get_state"), &narrow, "other", &value));
}

/* The library also exports, for the daemons, what has no public header (migration phases). */
static void names_of_the_public_api_exist_in_the_stock_library(void **state VQ_UNUSED)
{
    static const char *const files[] = {"libvirt.so.0", "libvirt-qemu.so.0", "libvirt-lxc.so.0", "libvirt-admin.so.0"};
    void *libraries[VQ_N_ELEMENTS(files)];
    int (*get_version)(unsigned long *, const char *, unsigned long *);
    unsigned long version = 0;

    for (size_t i = 0; i < VQ_N_ELEMENTS(files); i++) {
        libraries[i] = dlopen(files[i], RTLD_NOW | RTLD_LOCAL);
        if (libraries[i] == NULL) {
            print_message("not checked: %s\n", dlerror());
            skip();
        }
    }
    *(void **)&get_version = dlsym(libraries[0], "virGetVersion");
    assert_non_null(get_version);
    assert_int_equal(get_version(&version, NULL, NULL), 0);
    for (unsigned program = VQ_PROGRAM_REMOTE; program <= VQ_PROGRAM_ADMIN; program++) {
        for (uint32_t number = 1; number <= vq_procedure_last((enum vq_program)program); number++) {
            const struct vq_procedure *procedure = vq_procedure_find((enum vq_program)program, number);
            bool found = procedure->is_event || procedure->since > version || strncmp(procedure->name, "auth_", 5) == 0;
            for (size_t i = 0; i < VQ_N_ELEMENTS(files) && !found; i++)
                found = dlsym(libraries[i], procedure->api) != NULL;
            if (!found)
                print_message("%s: no %s\n", procedure->name, procedure->api);
            assert_true(found);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(programs_have_their_wire_numbers_and_sizes),
        cmocka_unit_test(every_row_is_complete_and_found_by_number_and_name),
        cmocka_unit_test(numbers_that_nobody_has_are_not_found),
        cmocka_unit_test(known_procedures_have_their_facts),
        cmocka_unit_test(only_the_authentication_calls_need_no_authentication),
        cmocka_unit_test(a_readonly_connection_may_only_look),
        cmocka_unit_test(a_readonly_connection_is_denied_secrets_by_flags),
        cmocka_unit_test(a_readonly_connection_may_not_ask_the_agent_for_addresses),
        cmocka_unit_test(changing_the_configuration_needs_the_right_to_save),
        cmocka_unit_test(seeing_secrets_needs_the_right_to_read_them),
        cmocka_unit_test(flags_are_found_in_narrow_and_wide_arguments),
        cmocka_unit_test(names_of_the_public_api_exist_in_the_stock_library),
    };
    return cmocka_run_group_tests_name("procedure", tests, NULL, NULL);
}
