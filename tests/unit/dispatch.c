/* Routes, look-ups and handlers, with other nodes and a driver that are fakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>
#include <libvirt/libvirt.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>

#include "node/dispatch.h"
#include "proto/gen/node.h"
#include "proto/gen/remote.h"
#include "tests/unit/fake_client.h"
#include "tests/unit/fake_node.h"

enum { MAIN_PROGRAM = 0x20008086 };

static struct fake_node node;
static struct fake_client client;
static unsigned n_driver_calls;
static struct vq_domain_info seen;

static void see(struct vq_request *request)
{
    n_driver_calls++;
    if (request->domain != NULL)
        seen = *request->domain;
    seen.name = NULL;
    vq_request_reply(request);
}

static void get_xml(struct vq_request *request)
{
    struct vq_remote_domain_get_xml_desc_ret *ret = request->ret;

    n_driver_calls++;
    ret->xml = "<domain/>";
    vq_request_reply(request);
}

static const struct vq_driver_row rows[] = {
    {VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_CREATE, see},
    {VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_UNDEFINE, see},
    {VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_MIGRATE_CONFIRM3, see},
    {VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_GET_INFO, see},
    {VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_GET_XML_DESC, get_xml},
    {VQ_PROGRAM_REMOTE, VQ_REMOTE_CONNECT_GET_VERSION, see},
    {VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_SNAPSHOT_DELETE, see},
    {VQ_PROGRAM_NODE, VQ_NODE_MIGRATE_KEY, see},
};

static int start(void **state)
{
    (void)state;
    n_driver_calls = 0;
    vq_qemu_driver.rows = rows;
    vq_qemu_driver.n_rows = VQ_N_ELEMENTS(rows);
    fake_node_start(&node);
    fake_define(&node, "here", 1, 1);
    fake_define(&node, "there", 2, 2);
    fake_client_connect(&client, &node, "lrun/libvirt-sock");
    fake_client_open(&client, "qemu:///system");
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fake_client_close(&client);
    fake_node_stop(&node);
    return 0;
}

static struct vq_remote_domain domain(const char *name, uint8_t byte)
{
    struct vq_remote_domain dom = {.name = name, .id = -1};

    memset(dom.uuid, byte, 16);
    dom.uuid[15] = 0xee;
    return dom;
}

/* A procedure whose only argument is a domain. */
static int ask_about(uint32_t procedure, const char *name, uint8_t byte)
{
    struct vq_remote_domain_create_args args = {.dom = domain(name, byte)};

    return fake_client_ask(&client, procedure, &vq_xdr_remote_domain_create_args, &args, NULL, NULL, NULL);
}

/* It runs, in that state. */
static void set_state(uint8_t byte, uint64_t owner, int state)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__DomainRun run = VQ__DOMAIN_RUN__INIT;
    Vq__DomainState report = VQ__DOMAIN_STATE__INIT;
    struct vq_remote_domain dom = domain("", byte);
    struct vq_store_view *view;
    struct vq_result result;

    run.uuid = (ProtobufCBinaryData){.data = dom.uuid, .len = 16};
    run.node = owner;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_RUN;
    command.domain_run = &run;
    assert_int_equal(vq_store_view_begin(node.daemon.store, &view, NULL), 0);
    run.if_generation = vq_store_domain_find(view, dom.uuid)->generation;
    vq_store_view_end(view);
    assert_int_equal(fake_apply_result(&node, &command, &result), 0);
    report.run = result.number;
    report.id = result.id;
    report.uuid = run.uuid;
    report.node = owner;
    report.state = (uint32_t)state;
    command = (Vq__Command)VQ__COMMAND__INIT;
    command.change_case = VQ__COMMAND__CHANGE_DOMAIN_STATE;
    command.domain_state = &report;
    assert_int_equal(fake_apply(&node, &command), 0);
}

static void an_owners_call_runs_here_when_the_domain_is_ours(void **state)
{
    (void)state;
    assert_int_equal(ask_about(VQ_REMOTE_DOMAIN_CREATE, "here", 1), 0);
    assert_int_equal(n_driver_calls, 1);
    assert_int_equal(seen.owner, 1);
    assert_int_equal(seen.id, -1);
    assert_null(fake_cluster.forwarded);
}

static void an_owners_call_goes_to_the_owner_with_the_bytes_as_they_came(void **state)
{
    struct vq_remote_domain_create_args args = {.dom = domain("there", 2)};
    struct vq_buffer expected = VQ_BUFFER_INIT;

    (void)state;
    uint32_t serial =
        fake_client_call(&client, MAIN_PROGRAM, VQ_REMOTE_DOMAIN_CREATE, &vq_xdr_remote_domain_create_args, &args);
    assert_false(fake_client_hears(&client, 30));
    assert_int_equal(fake_cluster.forwarded_to, 2);
    struct vq_call *call = fake_cluster.forwarded;
    assert_int_equal(vq_xdr_encode(&vq_xdr_remote_domain_create_args, &args, &expected, NULL), 0);
    assert_int_equal(call->xdr_length, expected.length);
    assert_memory_equal(call->xdr, expected.data, expected.length);
    assert_int_equal(call->request.caller->entry_node, 1);
    assert_true(call->request.deadline_ms > uv_now(&node.loop));
    assert_int_equal(n_driver_calls, 0);
    vq_call_answer_bytes(call, NULL, 0);
    assert_int_equal(fake_client_next(&client)->serial, serial);
    vq_buffer_done(&expected);
}

static void an_owner_that_is_not_reachable_is_named_at_once(void **state)
{
    char text[256];

    (void)state;
    fake_cluster.offline[0] = 2;
    assert_int_equal(ask_about(VQ_REMOTE_DOMAIN_CREATE, "there", 2), VIR_ERR_OPERATION_FAILED);
    (void)fake_client_error(&client, NULL, text, sizeof(text));
    assert_non_null(strstr(text, "node2 is not reachable"));
}

static void an_unknown_domain_is_named_with_uuid_and_name(void **state)
{
    char text[256];
    int from;

    (void)state;
    assert_int_equal(ask_about(VQ_REMOTE_DOMAIN_CREATE, "lost", 9), VIR_ERR_NO_DOMAIN);
    (void)fake_client_error(&client, &from, text, sizeof(text));
    assert_int_equal(from, VIR_FROM_QEMU);
    assert_string_equal(text, "Domain not found: no domain with matching uuid "
                              "'09090909-0909-0909-0909-0909090909ee' (lost)");
}

static void a_missing_handler_is_told_with_the_public_name(void **state)
{
    char text[256];
    int from;

    (void)state;
    assert_int_equal(ask_about(VQ_REMOTE_DOMAIN_SHUTDOWN, "here", 1), VIR_ERR_NO_SUPPORT);
    (void)fake_client_error(&client, &from, text, sizeof(text));
    assert_int_equal(from, VIR_FROM_DOMAIN);
    assert_string_equal(text, "this function is not supported by the connection driver: virDomainShutdown");
}

static void a_live_call_is_answered_here_while_the_domain_is_inactive(void **state)
{
    struct vq_remote_domain_get_info_ret info = {0};
    struct vq_remote_domain_get_info_args args = {.dom = domain("there", 2)};

    (void)state;
    assert_int_equal(fake_client_ask(&client, VQ_REMOTE_DOMAIN_GET_INFO, &vq_xdr_remote_domain_get_info_args, &args,
                                     &vq_xdr_remote_domain_get_info_ret, &info, NULL),
                     0);
    assert_int_equal(info.state, VIR_DOMAIN_SHUTOFF);
    assert_int_equal(info.maxMem, 1048576);
    assert_int_equal(info.nrVirtCpu, 2);
    assert_int_equal(n_driver_calls, 0);
}

static void a_live_call_goes_to_the_owner_of_an_active_domain(void **state)
{
    struct vq_remote_domain_get_info_args args = {.dom = domain("there", 2)};

    (void)state;
    set_state(2, 2, VIR_DOMAIN_RUNNING);
    fake_client_call(&client, MAIN_PROGRAM, VQ_REMOTE_DOMAIN_GET_INFO, &vq_xdr_remote_domain_get_info_args, &args);
    assert_false(fake_client_hears(&client, 30));
    assert_int_equal(fake_cluster.forwarded_to, 2);
    vq_call_answer_bytes(fake_cluster.forwarded, NULL, 0);
}

static void the_stored_xml_of_an_active_domain_is_read_here(void **state)
{
    struct vq_remote_domain_get_xml_desc_args args = {.dom = domain("there", 2), .flags = VIR_DOMAIN_XML_INACTIVE};
    struct vq_remote_domain_get_xml_desc_ret ret = {0};
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);

    (void)state;
    set_state(2, 2, VIR_DOMAIN_RUNNING);
    assert_int_equal(fake_client_ask(&client, VQ_REMOTE_DOMAIN_GET_XML_DESC, &vq_xdr_remote_domain_get_xml_desc_args,
                                     &args, &vq_xdr_remote_domain_get_xml_desc_ret, &ret, arena),
                     0);
    assert_string_equal(ret.xml, "<domain/>");
    assert_int_equal(n_driver_calls, 1);
}

static void a_guest_of_an_unreachable_owner_has_no_state_but_is_still_listed(void **state)
{
    struct vq_remote_domain_get_state_args args = {.dom = domain("there", 2)};
    struct vq_remote_domain_get_state_ret ret = {0};
    struct vq_remote_domain_get_info_args info_args = {.dom = domain("there", 2)};
    struct vq_remote_domain_get_info_ret info = {0};

    (void)state;
    set_state(2, 2, VIR_DOMAIN_RUNNING);
    fake_cluster.offline[0] = 2;
    assert_int_equal(fake_client_ask(&client, VQ_REMOTE_DOMAIN_GET_STATE, &vq_xdr_remote_domain_get_state_args, &args,
                                     &vq_xdr_remote_domain_get_state_ret, &ret, NULL),
                     0);
    assert_int_equal(ret.state, VIR_DOMAIN_NOSTATE);
    assert_int_equal(fake_client_ask(&client, VQ_REMOTE_DOMAIN_GET_INFO, &vq_xdr_remote_domain_get_info_args,
                                     &info_args, &vq_xdr_remote_domain_get_info_ret, &info, NULL),
                     0);
    assert_int_equal(info.state, VIR_DOMAIN_NOSTATE);
}

/* It may have started the guest while nobody could hear of it. */
static void a_domain_of_an_unreachable_owner_is_not_undefined(void **state)
{
    (void)state;
    fake_cluster.offline[0] = 2;
    assert_int_equal(ask_about(VQ_REMOTE_DOMAIN_UNDEFINE, "there", 2), VIR_ERR_OPERATION_FAILED);
    assert_int_equal(n_driver_calls, 0);
}

static void what_is_left_of_a_node_that_has_gone_is_undefined_anywhere(void **state)
{
    (void)state;
    fake_cluster.offline[0] = fake_cluster.left = 2;
    assert_int_equal(ask_about(VQ_REMOTE_DOMAIN_UNDEFINE, "there", 2), 0);
    assert_int_equal(n_driver_calls, 1);
    assert_int_equal(seen.owner, 2);
}

static void host_calls_go_to_the_node_of_the_view(void **state)
{
    struct fake_client other;
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__NodePut put = VQ__NODE_PUT__INIT;
    Vq__NodeRecord record = VQ__NODE_RECORD__INIT;

    (void)state;
    record.id = 2;
    record.name = (char *)"node2";
    put.node = &record;
    command.change_case = VQ__COMMAND__CHANGE_NODE_PUT;
    command.node_put = &put;
    assert_int_equal(fake_apply(&node, &command), 0);
    fake_client_connect(&other, &node, "lrun/libvirt-sock");
    fake_client_open(&other, "qemu:///system?node=node2");
    fake_client_call(&other, MAIN_PROGRAM, VQ_REMOTE_CONNECT_GET_HOSTNAME, NULL, NULL);
    assert_false(fake_client_hears(&other, 30));
    assert_int_equal(fake_cluster.forwarded_to, 2);
    vq_call_answer_bytes(fake_cluster.forwarded, NULL, 0);
    (void)fake_client_next(&other);
    struct vq_remote_domain_lookup_by_name_args args = {.name = "here"};
    assert_int_equal(fake_client_ask(&other, VQ_REMOTE_DOMAIN_LOOKUP_BY_NAME, &vq_xdr_remote_domain_lookup_by_name_args,
                                     &args, NULL, NULL, NULL),
                     VIR_ERR_NO_DOMAIN);
    fake_client_close(&other);
}

static void a_migration_is_confirmed_where_the_guest_was(void **state)
{
    struct vq_remote_domain_migrate_confirm3_args args = {.dom = domain("there", 2)};
    struct fake_client other;

    (void)state;
    fake_client_connect(&other, &node, "lrun/libvirt-sock");
    fake_client_open(&other, "qemu:///system?node=.");
    fake_client_call(&other, MAIN_PROGRAM, VQ_REMOTE_DOMAIN_MIGRATE_CONFIRM3, &vq_xdr_remote_domain_migrate_confirm3_args,
                     &args);
    assert_false(fake_client_hears(&other, 30));
    assert_int_equal(fake_cluster.forwarded_to, 2);
    vq_call_answer_bytes(fake_cluster.forwarded, NULL, 0);
    assert_int_equal(fake_client_next(&other)->status, VQ_FRAME_OK);
    fake_client_close(&other);
}

static void a_snapshots_call_finds_its_domain(void **state)
{
    struct vq_remote_domain_snapshot_delete_args args = {.snap = {.name = "s1", .dom = domain("here", 1)}};

    (void)state;
    assert_int_equal(fake_client_ask(&client, VQ_REMOTE_DOMAIN_SNAPSHOT_DELETE,
                                     &vq_xdr_remote_domain_snapshot_delete_args, &args, NULL, NULL, NULL),
                     0);
    assert_int_equal(seen.uuid[0], 1);
}

static void connections_without_a_hypervisor_support_no_domains(void **state)
{
    struct fake_client other;
    struct vq_remote_domain_create_args args = {.dom = domain("here", 1)};

    (void)state;
    fake_client_connect(&other, &node, "lrun/libvirt-sock");
    fake_client_open(&other, "network:///system");
    assert_int_equal(
        fake_client_ask(&other, VQ_REMOTE_DOMAIN_CREATE, &vq_xdr_remote_domain_create_args, &args, NULL, NULL, NULL),
        VIR_ERR_NO_SUPPORT);
    assert_int_equal(fake_client_ask(&other, VQ_REMOTE_NODE_GET_INFO, NULL, NULL, NULL, NULL, NULL),
                     VIR_ERR_NO_SUPPORT);
    fake_client_close(&other);
}

static void unknown_flags_are_refused(void **state)
{
    struct vq_remote_domain_get_state_args args = {.dom = domain("here", 1), .flags = 0x80};

    (void)state;
    assert_int_equal(fake_client_ask(&client, VQ_REMOTE_DOMAIN_GET_STATE, &vq_xdr_remote_domain_get_state_args, &args,
                                     NULL, NULL, NULL),
                     VIR_ERR_INVALID_ARG);
}

/* ---- Lists ---- */

static unsigned list(uint32_t flags)
{
    struct vq_remote_connect_list_all_domains_args args = {.need_results = 1, .flags = flags};
    struct vq_remote_connect_list_all_domains_ret ret = {0};
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);

    assert_int_equal(fake_client_ask(&client, VQ_REMOTE_CONNECT_LIST_ALL_DOMAINS,
                                     &vq_xdr_remote_connect_list_all_domains_args, &args,
                                     &vq_xdr_remote_connect_list_all_domains_ret, &ret, arena),
                     0);
    assert_int_equal(ret.n_domains, ret.ret);
    return ret.ret;
}

static void lists_are_filtered_by_group(void **state)
{
    (void)state;
    fake_define(&node, "third", 3, 1);
    set_state(3, 1, VIR_DOMAIN_PAUSED);
    assert_int_equal(list(0), 3);
    assert_int_equal(list(VIR_CONNECT_LIST_DOMAINS_ACTIVE), 1);
    assert_int_equal(list(VIR_CONNECT_LIST_DOMAINS_INACTIVE), 2);
    assert_int_equal(list(VIR_CONNECT_LIST_DOMAINS_ACTIVE | VIR_CONNECT_LIST_DOMAINS_INACTIVE), 3);
    assert_int_equal(list(VIR_CONNECT_LIST_DOMAINS_ACTIVE | VIR_CONNECT_LIST_DOMAINS_SHUTOFF), 0);
    assert_int_equal(list(VIR_CONNECT_LIST_DOMAINS_PAUSED | VIR_CONNECT_LIST_DOMAINS_RUNNING), 1);
    assert_int_equal(list(VIR_CONNECT_LIST_DOMAINS_TRANSIENT), 0);
    assert_int_equal(list(VIR_CONNECT_LIST_DOMAINS_NO_SNAPSHOT), 3);
    assert_int_equal(list(VIR_CONNECT_LIST_DOMAINS_HAS_SNAPSHOT), 0);
    assert_int_equal(list(VIR_CONNECT_LIST_DOMAINS_AUTOSTART), 0);
}

static void autostart_is_proposed_and_read_back(void **state)
{
    struct vq_remote_domain_set_autostart_args set = {.dom = domain("there", 2), .autostart = 1};
    struct vq_remote_domain_get_autostart_args get = {.dom = domain("there", 2)};
    struct vq_remote_domain_get_autostart_ret ret = {0};

    (void)state;
    assert_int_equal(fake_client_ask(&client, VQ_REMOTE_DOMAIN_SET_AUTOSTART, &vq_xdr_remote_domain_set_autostart_args,
                                     &set, NULL, NULL, NULL),
                     0);
    assert_int_equal(fake_client_ask(&client, VQ_REMOTE_DOMAIN_GET_AUTOSTART, &vq_xdr_remote_domain_get_autostart_args,
                                     &get, &vq_xdr_remote_domain_get_autostart_ret, &ret, NULL),
                     0);
    assert_int_equal(ret.autostart, 1);
    assert_int_equal(list(VIR_CONNECT_LIST_DOMAINS_AUTOSTART), 1);
    fake_cluster.has_quorum = false;
    assert_int_equal(fake_client_ask(&client, VQ_REMOTE_DOMAIN_SET_AUTOSTART, &vq_xdr_remote_domain_set_autostart_args,
                                     &set, NULL, NULL, NULL),
                     VIR_ERR_OPERATION_INVALID);
}

static void look_ups_find_by_name_uuid_and_id(void **state)
{
    struct vq_remote_domain_lookup_by_name_args by_name = {.name = "there"};
    struct vq_remote_domain_lookup_by_name_ret ret = {0};
    VQ_AUTOPTR(vq_arena) arena = vq_arena_new(0);

    (void)state;
    set_state(2, 2, VIR_DOMAIN_RUNNING);
    assert_int_equal(fake_client_ask(&client, VQ_REMOTE_DOMAIN_LOOKUP_BY_NAME,
                                     &vq_xdr_remote_domain_lookup_by_name_args, &by_name,
                                     &vq_xdr_remote_domain_lookup_by_name_ret, &ret, arena),
                     0);
    assert_int_equal(ret.dom.uuid[0], 2);
    struct vq_remote_domain_lookup_by_id_args by_id = {.id = ret.dom.id};
    assert_true(by_id.id > 0);
    assert_int_equal(fake_client_ask(&client, VQ_REMOTE_DOMAIN_LOOKUP_BY_ID, &vq_xdr_remote_domain_lookup_by_id_args,
                                     &by_id, &vq_xdr_remote_domain_lookup_by_name_ret, &ret, arena),
                     0);
    assert_string_equal(ret.dom.name, "there");
    by_id.id = -1;
    assert_int_equal(fake_client_ask(&client, VQ_REMOTE_DOMAIN_LOOKUP_BY_ID, &vq_xdr_remote_domain_lookup_by_id_args,
                                     &by_id, NULL, NULL, NULL),
                     VIR_ERR_NO_DOMAIN);
}

/* ---- Calls of other nodes ---- */

static struct {
    unsigned n;
    int code;
    bool reached;
} remote_answer;

static void remote_answered(struct vq_call *call, const struct vq_error *err)
{
    const struct vq_procedure *procedure = call->request.procedure;

    remote_answer.n++;
    remote_answer.code = err == NULL ? 0 : err->code;
    if (procedure->program == VQ_PROGRAM_NODE && procedure->number == VQ_NODE_TRY_PORT)
        remote_answer.reached = ((const struct vq_node_try_port_ret *)call->request.ret)->reached != 0;
}

static struct vq_stream_link *no_link(struct vq_call *call)
{
    (void)call;
    return NULL;
}

static const struct vq_call_origin remote_origin = {.answer = remote_answered, .stream_link = no_link};

static int from_node2(uint32_t procedure, const char *name, uint8_t byte, bool readonly, uint64_t applied)
{
    struct vq_remote_domain_create_args args = {.dom = domain(name, byte)};
    struct vq_buffer bytes = VQ_BUFFER_INIT;
    Vq__Call message = VQ__CALL__INIT;
    Vq__Identity identity = VQ__IDENTITY__INIT;

    assert_int_equal(vq_xdr_encode(&vq_xdr_remote_domain_create_args, &args, &bytes, NULL), 0);
    identity.entry_node = 2;
    identity.readonly = readonly;
    message.id = 1;
    message.program = MAIN_PROGRAM;
    message.procedure = procedure;
    message.args = (ProtobufCBinaryData){.data = (uint8_t *)bytes.data, .len = bytes.length};
    message.identity = &identity;
    message.timeout_ms = 1000;
    message.driver = (char *)"qemu";
    message.applied = applied;
    memset(&remote_answer, 0, sizeof(remote_answer));
    vq_dispatch_remote(&node.daemon, 2, &message, &remote_origin, NULL);
    vq_buffer_done(&bytes);
    return remote_answer.n == 1 ? remote_answer.code : -1;
}

static void another_nodes_call_passes_the_same_checks(void **state)
{
    (void)state;
    assert_int_equal(from_node2(VQ_REMOTE_DOMAIN_CREATE, "here", 1, false, 0), 0);
    assert_int_equal(n_driver_calls, 1);
    assert_int_equal(from_node2(VQ_REMOTE_DOMAIN_CREATE, "here", 1, true, 0), VIR_ERR_OPERATION_DENIED);
    assert_int_equal(from_node2(VQ_REMOTE_DOMAIN_CREATE, "lost", 9, false, 0), VIR_ERR_NO_DOMAIN);
    assert_int_equal(from_node2(VQ_REMOTE_DOMAIN_CREATE, "there", 2, false, 0), VIR_ERR_OPERATION_FAILED);
    assert_int_equal(from_node2(VQ_REMOTE_CONNECT_CLOSE, "here", 1, false, 0), VIR_ERR_RPC);
    assert_int_equal(from_node2(9999, "here", 1, false, 0), VIR_ERR_RPC);
    assert_int_equal(n_driver_calls, 1);
}

static int node_question(uint32_t procedure, const struct vq_xdr_struct *type, const void *args, bool readonly)
{
    struct vq_buffer bytes = VQ_BUFFER_INIT;
    Vq__Call message = VQ__CALL__INIT;
    Vq__Identity identity = VQ__IDENTITY__INIT;

    assert_int_equal(vq_xdr_encode(type, args, &bytes, NULL), 0);
    identity.entry_node = 2;
    identity.readonly = readonly;
    message.id = 1;
    message.program = vq_program_number(VQ_PROGRAM_NODE);
    message.procedure = procedure;
    message.args = (ProtobufCBinaryData){.data = (uint8_t *)bytes.data, .len = bytes.length};
    message.identity = &identity;
    message.timeout_ms = 1000;
    message.driver = (char *)"qemu";
    memset(&remote_answer, 0, sizeof(remote_answer));
    vq_dispatch_remote(&node.daemon, 2, &message, &remote_origin, NULL);
    vq_buffer_done(&bytes);
    return remote_answer.n == 1 ? remote_answer.code : -1;
}

static bool is_answered(void *data)
{
    (void)data;
    return remote_answer.n > 0;
}

static void questions_between_daemons_reach_the_driver_and_the_node(void **state)
{
    struct vq_node_migrate_key_args key = {.run = 1};
    struct vq_node_try_port_args port = {.host = "127.0.0.1", .port = 1, .timeout_ms = 1000};
    struct vq_node_try_port_args name = {.host = "localhost", .port = 1, .timeout_ms = 1000};

    (void)state;
    assert_int_equal(node_question(VQ_NODE_MIGRATE_KEY, &vq_xdr_node_migrate_key_args, &key, false), 0);
    assert_int_equal(n_driver_calls, 1);
    assert_int_equal(node_question(VQ_NODE_MIGRATE_KEY, &vq_xdr_node_migrate_key_args, &key, true),
                     VIR_ERR_OPERATION_DENIED);
    assert_int_equal(node_question(999, &vq_xdr_node_migrate_key_args, &key, false), VIR_ERR_RPC);
    assert_int_equal(node_question(VQ_NODE_TRY_PORT, &vq_xdr_node_try_port_args, &name, false), VIR_ERR_INVALID_ARG);
    assert_int_equal(node_question(VQ_NODE_TRY_PORT, &vq_xdr_node_try_port_args, &port, false), -1);
    fake_node_run_until(&node, is_answered, NULL);
    assert_int_equal(remote_answer.code, 0);
    assert_false(remote_answer.reached);
    assert_int_equal(n_driver_calls, 1);
}

static void a_port_that_is_open_is_reached(void **state)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t length = sizeof(at);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    (void)state;
    assert_int_equal(bind(fd, (struct sockaddr *)&at, sizeof(at)), 0);
    assert_int_equal(listen(fd, 1), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&at, &length), 0);
    struct vq_node_try_port_args port = {.host = "127.0.0.1", .port = ntohs(at.sin_port), .timeout_ms = 1000};
    assert_int_equal(node_question(VQ_NODE_TRY_PORT, &vq_xdr_node_try_port_args, &port, false), -1);
    fake_node_run_until(&node, is_answered, NULL);
    assert_int_equal(remote_answer.code, 0);
    assert_true(remote_answer.reached);
    assert_int_equal(close(fd), 0);
}

static void a_call_waits_until_this_node_has_seen_what_the_caller_saw(void **state)
{
    (void)state;
    assert_int_equal(from_node2(VQ_REMOTE_DOMAIN_CREATE, "new", 7, false, node.daemon.applied + 1), -1);
    fake_define(&node, "new", 7, 1);
    assert_int_equal(remote_answer.n, 1);
    assert_int_equal(remote_answer.code, 0);
    assert_int_equal(from_node2(VQ_REMOTE_DOMAIN_CREATE, "new", 7, false, node.daemon.applied + 1), -1);
    fake_node_run_until(&node, is_answered, NULL); /* but not for ever */
    assert_int_equal(remote_answer.code, VIR_ERR_OPERATION_TIMEOUT);
}

static void questions_about_a_guest_are_given_up_sooner_than_changes(void **state)
{
    static const struct {
        const char *name;
        uint64_t ms;
    } expected[] = {
        {"domain_get_info", 8000},      {"domain_get_disk_errors", 8000}, {"domain_memory_stats", 8000},
        {"domain_create", 30000},       {"domain_reset", 30000},          {"connect_get_capabilities", 30000},
    };
    static const char *const long_ones[] = {"domain_save", "domain_get_hostname", "domain_get_time", "domain_shutdown_flags",
                                            "domain_get_guest_info", "domain_interface_addresses"};

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(expected); i++)
        assert_int_equal(vq_dispatch_timeout_ms(vq_procedure_find_by_name(VQ_PROGRAM_REMOTE, expected[i].name)),
                         expected[i].ms);
    for (size_t i = 0; i < VQ_N_ELEMENTS(long_ones); i++)
        assert_true(vq_dispatch_timeout_ms(vq_procedure_find_by_name(VQ_PROGRAM_REMOTE, long_ones[i])) > 3600000);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)
int main(void)
{
    const struct CMUnitTest tests[] = {
        CASE(an_owners_call_runs_here_when_the_domain_is_ours),
        CASE(an_owners_call_goes_to_the_owner_with_the_bytes_as_they_came),
        CASE(an_owner_that_is_not_reachable_is_named_at_once),
        CASE(an_unknown_domain_is_named_with_uuid_and_name),
        CASE(a_missing_handler_is_told_with_the_public_name),
        CASE(a_live_call_is_answered_here_while_the_domain_is_inactive),
        CASE(a_live_call_goes_to_the_owner_of_an_active_domain),
        CASE(the_stored_xml_of_an_active_domain_is_read_here),
        CASE(a_guest_of_an_unreachable_owner_has_no_state_but_is_still_listed),
        CASE(a_domain_of_an_unreachable_owner_is_not_undefined),
        CASE(what_is_left_of_a_node_that_has_gone_is_undefined_anywhere),
        CASE(host_calls_go_to_the_node_of_the_view),
        CASE(a_migration_is_confirmed_where_the_guest_was),
        CASE(a_snapshots_call_finds_its_domain),
        CASE(connections_without_a_hypervisor_support_no_domains),
        CASE(unknown_flags_are_refused),
        CASE(lists_are_filtered_by_group),
        CASE(autostart_is_proposed_and_read_back),
        CASE(look_ups_find_by_name_uuid_and_id),
        CASE(another_nodes_call_passes_the_same_checks),
        CASE(questions_between_daemons_reach_the_driver_and_the_node),
        CASE(a_port_that_is_open_is_reached),
        CASE(a_call_waits_until_this_node_has_seen_what_the_caller_saw),
        CASE(questions_about_a_guest_are_given_up_sooner_than_changes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
