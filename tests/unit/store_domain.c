/* The replicated store: definitions, runs, states and lists of domains; what each command does and refuses. */
#include "tests/unit/store_fixture.h"

#include <zstd.h>

#include "conf/base/text.h"
#include "store/ids.h"

/* ---- Definitions ---- */

static void a_definition_can_be_read_back(void **state)
{
    struct fixture *f = *state;
    struct vq_error err = VQ_ERROR_INIT;
    const char *xml;
    char *to_free;

    make_define(&f->parts, 1, 7, "web1");
    struct vq_result result = apply(f);
    assert_int_equal(result.code, VIR_ERR_OK);
    assert_int_equal(result.version, 1);
    assert_int_equal(f->changes.n_changes, 1);
    assert_int_equal(f->changes.changes[0].kind, VQ_CHANGE_DOMAIN_DEFINED);
    assert_true(f->changes.changes[0].is_new);
    assert_true(f->changes.changes[0].is_persistent);
    assert_string_equal(f->changes.changes[0].name, "web1");

    struct vq_store_view *v = view(f);
    const struct vq_domain_head *head = vq_store_domain_find(v, uuid_of(7));
    assert_non_null(head);
    assert_string_equal(head->name, "web1");
    assert_int_equal(head->id, -1);
    assert_int_equal(head->flags, VQ_DOMAIN_PERSISTENT);
    assert_int_equal(head->memory_kib, 1024);
    assert_int_equal(head->state, VIR_DOMAIN_SHUTOFF);
    assert_ptr_equal(vq_store_domain_find_by_name(v, VQ_DRIVER_QEMU, "web1"), head);
    assert_null(vq_store_domain_find_by_name(v, VQ_DRIVER_LXC, "web1"));
    assert_null(vq_store_domain_find_by_name(v, VQ_DRIVER_QEMU, "web"));
    assert_int_equal(vq_store_domain_xml(v, uuid_of(7), &xml, &to_free, &err), 0);
    assert_string_equal(xml, "<domain/>   ");
    assert_null(to_free);
    assert_int_equal(vq_store_view_applied(v), f->index);
    assert_int_equal(vq_store_domain_count(v), 1);
    vq_store_view_end(v);
}

static void a_compressed_definition_is_unpacked(void **state)
{
    struct fixture *f = *state;
    struct vq_error err = VQ_ERROR_INIT;
    char text[5000], packed[6000], *to_free;
    const char *xml;

    memset(text, 'x', sizeof(text));
    size_t length = ZSTD_compress(packed, sizeof(packed), text, sizeof(text), 3);
    make_define(&f->parts, 1, 7, "web1");
    f->parts.define.xml = (ProtobufCBinaryData){length, (uint8_t *)packed};
    f->parts.define.xml_size = sizeof(text);
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    struct vq_store_view *v = view(f);
    assert_int_equal(vq_store_domain_xml(v, uuid_of(7), &xml, &to_free, &err), 0);
    assert_int_equal(strlen(xml), sizeof(text));
    assert_memory_equal(xml, text, sizeof(text));
    free(to_free);
    vq_store_view_end(v);

    f->parts.define.xml_size = 4999; /* not what the frame says */
    number_bytes(f->parts.request_id, 2, 0x5a);
    assert_int_equal(apply(f).code, VIR_ERR_INVALID_ARG);
}

static void a_damaged_definition_is_an_error_and_not_a_text(void **state)
{
    struct fixture *f = *state;
    struct vq_error err = VQ_ERROR_INIT;
    char text[5000], packed[6000], *to_free;
    const char *xml;

    for (size_t i = 0; i < sizeof(text); i++)
        text[i] = (char)('a' + i % 23);
    size_t length = ZSTD_compress(packed, sizeof(packed), text, sizeof(text), 3);
    make_define(&f->parts, 1, 7, "web1");
    f->parts.define.xml = (ProtobufCBinaryData){length - 4, (uint8_t *)packed};
    f->parts.define.xml_size = sizeof(text);
    assert_int_equal(apply(f).code, VIR_ERR_OK); /* the frame's header is right */
    struct vq_store_view *v = view(f);
    assert_int_equal(vq_store_domain_xml(v, uuid_of(7), &xml, &to_free, &err), -1);
    assert_int_equal(vq_store_domain_xml(v, uuid_of(8), &xml, &to_free, &err), -1);
    vq_store_view_end(v);
}

static void a_sealed_definition_is_kept_as_it_is(void **state)
{
    struct fixture *f = *state;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_definition definition;
    uint8_t sealed[40] = {0xff, 0, 0, 1}; /* bytes of any kind */
    char *to_free;
    const char *xml;
    uint64_t hash, other_hash;

    for (unsigned turn = 0; turn < 2; turn++) {
        make_define(&f->parts, 1 + turn, 7, "web1");
        f->parts.define.xml = (ProtobufCBinaryData){sizeof(sealed), sealed};
        f->parts.define.xml_size = turn == 0 ? 0 : 5000; /* not a frame that could be asked for its size */
        f->parts.define.xml_sealed = true;
        assert_int_equal(apply(f).code, VIR_ERR_OK);
        struct vq_store_view *v = view(f);
        assert_int_equal(vq_store_definition(v, uuid_of(7), &definition, &err), 0);
        assert_true(definition.is_sealed);
        assert_int_equal(definition.xml_size, turn == 0 ? 0 : 5000);
        assert_int_equal(definition.length, sizeof(sealed));
        assert_memory_equal(definition.bytes, sealed, sizeof(sealed));
        assert_int_equal(vq_store_domain_xml(v, uuid_of(7), &xml, &to_free, &err), -1);
        assert_int_equal(vq_store_hash(v, &hash, &err), 0);
        vq_store_view_end(v);
    }

    sealed[39] ^= 1;
    make_define(&f->parts, 3, 7, "web1");
    f->parts.define.xml = (ProtobufCBinaryData){sizeof(sealed), sealed};
    f->parts.define.xml_sealed = true;
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    struct vq_store_view *v = view(f);
    assert_int_equal(vq_store_hash(v, &other_hash, &err), 0);
    assert_int_not_equal(hash, other_hash);
    vq_store_view_end(v);

    make_define(&f->parts, 4, 7, "web1"); /* the password was taken out */
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    v = view(f);
    assert_int_equal(vq_store_definition(v, uuid_of(7), &definition, &err), 0);
    assert_false(definition.is_sealed);
    assert_int_equal(definition.length, 12);
    vq_store_view_end(v);

    make_define(&f->parts, 5, 7, "web1");
    f->parts.define.xml = (ProtobufCBinaryData){28, sealed}; /* a seal around nothing */
    f->parts.define.xml_sealed = true;
    assert_int_equal(apply(f).code, VIR_ERR_INVALID_ARG);
}

static void a_taken_name_is_refused_with_the_uuid(void **state)
{
    struct fixture *f = *state;
    char uuid[VQ_UUID_TEXT], expected[200];

    make_define(&f->parts, 1, 7, "web1");
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    make_define(&f->parts, 2, 8, "web1");
    struct vq_result result = apply(f);
    assert_int_equal(result.code, VIR_ERR_OPERATION_FAILED);
    assert_int_equal(result.from, VIR_FROM_DOMAIN);
    vq_uuid_format(uuid_of(7), uuid);
    snprintf(expected, sizeof(expected), "domain 'web1' already exists with uuid %s", uuid);
    assert_string_equal(result.message, expected);
    assert_int_equal(f->changes.n_changes, 0);
}

static void a_taken_uuid_is_refused_with_the_name(void **state)
{
    struct fixture *f = *state;

    make_define(&f->parts, 1, 7, "web1");
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    make_define(&f->parts, 2, 7, "web2");
    struct vq_result result = apply(f);
    assert_int_equal(result.code, VIR_ERR_OPERATION_FAILED);
    assert_non_null(strstr(result.message, "domain 'web1' is already defined with uuid"));
    make_define(&f->parts, 3, 7, "web1");
    f->parts.define.driver = "lxc";
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_FAILED);
    make_define(&f->parts, 4, 8, "web1");
    f->parts.define.driver = "lxc"; /* names are unique per driver */
    assert_int_equal(apply(f).code, VIR_ERR_OK);
}

static void a_redefinition_counts_versions_and_keeps_the_owner(void **state)
{
    struct fixture *f = *state;

    make_define(&f->parts, 1, 7, "web1");
    (void)apply(f);
    make_define(&f->parts, 2, 7, "web1");
    f->parts.define.owner = 9;
    f->parts.define.memory_kib = 512;
    struct vq_result result = apply(f);
    assert_int_equal(result.version, 2);
    assert_false(f->changes.changes[0].is_new);
    assert_int_equal(f->changes.changes[0].owner, 1);
    make_define(&f->parts, 3, 7, "web1");
    f->parts.define.if_version = 1;
    result = apply(f);
    assert_int_equal(result.code, VIR_ERR_OPERATION_FAILED);
    assert_int_equal(result.version, 2);
    make_define(&f->parts, 4, 7, "web1");
    f->parts.define.if_version = 2;
    assert_int_equal(apply(f).version, 3);
    make_define(&f->parts, 5, 7, "web1");
    f->parts.define.must_be_new = true;
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_FAILED);
    make_define(&f->parts, 6, 7, "web1");
    f->parts.define.persistent = false; /* would lose the definition at the guest's end */
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_FAILED);
    make_define(&f->parts, 7, 70, "web70");
    f->parts.define.if_version = 1;
    assert_int_equal(apply(f).code, VIR_ERR_NO_DOMAIN);
}

static void bad_definitions_are_refused(void **state)
{
    struct fixture *f = *state;
    char name[300];

    make_define(&f->parts, 1, 7, "a/b");
    assert_int_equal(apply(f).code, VIR_ERR_XML_ERROR);
    make_define(&f->parts, 2, 7, "");
    assert_int_equal(apply(f).code, VIR_ERR_XML_ERROR);
    memset(name, 'n', sizeof(name) - 1);
    name[299] = '\0';
    make_define(&f->parts, 3, 7, name);
    assert_int_equal(apply(f).code, VIR_ERR_XML_ERROR);
    make_define(&f->parts, 4, 7, "web1");
    f->parts.define.driver = "vmware";
    assert_int_equal(apply(f).code, VIR_ERR_INVALID_ARG);
    make_define(&f->parts, 5, 7, "web1");
    f->parts.define.uuid.len = 15;
    assert_int_equal(apply(f).code, VIR_ERR_INVALID_ARG);
    make_define(&f->parts, 6, 7, "web1");
    f->parts.define.xml.len = 0;
    assert_int_equal(apply(f).code, VIR_ERR_INVALID_ARG);
    make_define(&f->parts, 7, 7, "web1");
    f->parts.define.xml = (ProtobufCBinaryData){3, (uint8_t *)"a\0b"};
    assert_int_equal(apply(f).code, VIR_ERR_INVALID_ARG);
    make_define(&f->parts, 8, 7, "web1");
    f->parts.command.request_id.len = 8;
    assert_int_equal(apply(f).code, VIR_ERR_INVALID_ARG);
    begin_command(&f->parts, 9, 0);
    assert_int_equal(apply(f).code, VIR_ERR_NO_SUPPORT);
    name[255] = '\0';
    make_define(&f->parts, 10, 7, name);
    assert_int_equal(apply(f).code, VIR_ERR_OK);
}

static void an_entry_that_cannot_be_decoded_takes_nothing_along(void **state)
{
    struct fixture *f = *state;
    struct vq_error err = VQ_ERROR_INIT;
    struct vq_result *results = NULL;
    size_t n_results = 0, length;
    bool diverged;
    uint8_t bytes[4096] = {0x0a, 3, 0xff, 0xff, 0xff};

    make_define(&f->parts, 1, 7, "web1");
    VQ_AUTOFREE uint8_t *entry = pack_entry(&f->parts.command, &length);
    memcpy(bytes + 5, entry, length);
    memcpy(bytes + 5 + length, "\x0a\xff\xff\xff\xff\xff\xff", 7);
    assert_int_equal(
        vq_store_apply(f->store, ++f->index, bytes, 5 + length + 7, &results, &n_results, &f->changes, &diverged, &err),
        0);
    assert_int_equal(n_results, 2);
    assert_int_equal(results[0].code, VIR_ERR_INVALID_ARG);
    assert_int_equal(results[1].code, VIR_ERR_OK);
    free(results);
}

static void the_limit_of_domains_is_a_clear_error(void **state)
{
    struct fixture *f = *state;
    char name[32];

    for (uint64_t i = 1; i <= VQ_STORE_DOMAINS_MAX; i++) {
        snprintf(name, sizeof(name), "d%llu", (unsigned long long)i);
        make_define(&f->parts, i, i, name);
        assert_int_equal(apply(f).code, VIR_ERR_OK);
    }
    make_define(&f->parts, 20000, 20000, "one-more");
    struct vq_result result = apply(f);
    assert_int_equal(result.code, VIR_ERR_OPERATION_FAILED);
    assert_non_null(strstr(result.message, "16384"));
    make_define(&f->parts, 20001, 1, "d1"); /* redefining goes on */
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    make_undefine(&f->parts, 20002, 5);
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    make_define(&f->parts, 20003, 20000, "one-more");
    assert_int_equal(apply(f).code, VIR_ERR_OK);
}

/* ---- Runs and states ---- */

static void a_domain_runs_and_stops(void **state)
{
    struct fixture *f = *state;

    make_define(&f->parts, 1, 7, "web1");
    (void)apply(f);
    make_run(&f->parts, 2, 7, 1);
    struct vq_result run = apply(f);
    assert_int_equal(run.code, VIR_ERR_OK);
    assert_int_equal(run.id, 1);
    make_state(&f->parts, 3, 7, 1, run.number, VIR_DOMAIN_RUNNING, run.id);
    Vq__DomainEvent event = VQ__DOMAIN_EVENT__INIT, *events[1] = {&event};
    event.event = VIR_DOMAIN_EVENT_STARTED;
    f->parts.state.n_events = 1;
    f->parts.state.events = events;
    f->parts.state.memory_kib = 777;
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    assert_int_equal(f->changes.changes[0].kind, VQ_CHANGE_DOMAIN_STATE);
    assert_int_equal(f->changes.changes[0].n_events, 1);
    assert_int_equal(f->changes.changes[0].events[0].event, VIR_DOMAIN_EVENT_STARTED);
    struct vq_store_view *v = view(f);
    const struct vq_domain_head *head = vq_store_domain_find_by_id(v, 1);
    assert_non_null(head);
    assert_int_equal(head->state, VIR_DOMAIN_RUNNING);
    assert_int_equal(head->memory_kib, 777);
    vq_store_view_end(v);

    make_state(&f->parts, 4, 7, 1, run.number, VIR_DOMAIN_SHUTOFF, -1);
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    assert_int_equal(f->changes.changes[0].id, 1); /* the one it had */
    v = view(f);
    assert_null(vq_store_domain_find_by_id(v, 1));
    head = vq_store_domain_find(v, uuid_of(7));
    assert_int_equal(head->id, -1);
    assert_int_equal(head->memory_kib, 1024); /* as defined */
    vq_store_view_end(v);
    make_run(&f->parts, 5, 7, 1);
    struct vq_result again = apply(f);
    assert_int_equal(again.id, 2);
    assert_true(again.number > run.number);
}

static void reports_of_others_and_of_older_runs_are_refused(void **state)
{
    struct fixture *f = *state;

    make_define(&f->parts, 1, 7, "web1");
    (void)apply(f);
    make_run(&f->parts, 2, 7, 1);
    uint64_t first = apply(f).number;
    make_run(&f->parts, 3, 7, 1);
    uint64_t second = apply(f).number;
    make_state(&f->parts, 4, 7, 1, first, VIR_DOMAIN_SHUTOFF, -1);
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_INVALID);
    make_state(&f->parts, 5, 7, 2, second, VIR_DOMAIN_SHUTOFF, -1);
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_INVALID);
    make_state(&f->parts, 6, 8, 1, second, VIR_DOMAIN_SHUTOFF, -1);
    assert_int_equal(apply(f).code, VIR_ERR_NO_DOMAIN);
    make_state(&f->parts, 7, 7, 1, second, 99, 1);
    assert_int_equal(apply(f).code, VIR_ERR_INVALID_ARG);
    make_run(&f->parts, 8, 7, 2);
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_INVALID);
    assert_int_equal(f->changes.n_changes, 0);
}

static void ids_in_use_are_skipped(void **state)
{
    struct fixture *f = *state;

    make_define(&f->parts, 1, 7, "web1");
    (void)apply(f);
    make_define(&f->parts, 2, 8, "web2");
    (void)apply(f);
    make_state(&f->parts, 3, 7, 1, vq_ids_cluster_run(900), VIR_DOMAIN_RUNNING, 1);
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    make_run(&f->parts, 4, 8, 1);
    struct vq_result result = apply(f);
    assert_int_equal(result.id, 2);
    assert_true(result.number > vq_ids_cluster_run(900));
    make_state(&f->parts, 5, 8, 1, result.number, VIR_DOMAIN_RUNNING, 1);
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_FAILED);
}

static void a_start_without_a_quorum_is_taken_over(void **state)
{
    struct fixture *f = *state;

    make_define(&f->parts, 1, 7, "web1");
    (void)apply(f);
    make_run(&f->parts, 2, 7, 1);
    uint64_t known = apply(f).number;
    uint64_t local = vq_ids_next_local_run(known);
    assert_true(local > known);
    assert_true(vq_ids_run_is_local(local));
    make_run(&f->parts, 3, 7, 1);
    f->parts.run.local_run = local;
    f->parts.run.local_id = vq_ids_local_id(1, 0);
    struct vq_result result = apply(f);
    assert_int_equal(result.code, VIR_ERR_OK);
    assert_int_equal(result.number, local);
    assert_int_equal(result.id, 1000000);
    make_run(&f->parts, 4, 7, 1);
    f->parts.run.local_run = local;
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_INVALID);
    make_run(&f->parts, 5, 7, 1);
    assert_true(apply(f).number > local); /* the cluster's next one is newer */
    assert_int_equal(vq_ids_next_local_run(vq_ids_cluster_run(2) - 1), 0);
    assert_int_equal(vq_ids_local_id(2146, 1999999), 2146999999);
    assert_int_equal(vq_ids_local_id(2147, 5), 1000005);
}

static void a_transient_domain_vanishes_when_it_ends(void **state)
{
    struct fixture *f = *state;

    make_define(&f->parts, 1, 7, "web1");
    f->parts.define.persistent = false;
    (void)apply(f);
    make_run(&f->parts, 2, 7, 1);
    struct vq_result run = apply(f);
    make_state(&f->parts, 3, 7, 1, run.number, VIR_DOMAIN_RUNNING, run.id);
    (void)apply(f);
    make_undefine(&f->parts, 4, 7);
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_INVALID);
    make_state(&f->parts, 5, 7, 1, run.number, VIR_DOMAIN_SHUTOFF, -1);
    f->parts.state.gone = true;
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    assert_true(f->changes.changes[0].is_gone);
    assert_int_equal(f->changes.changes[0].id, run.id);
    struct vq_store_view *v = view(f);
    assert_int_equal(vq_store_domain_count(v), 0);
    assert_null(vq_store_domain_find_by_name(v, VQ_DRIVER_QEMU, "web1"));
    assert_null(vq_store_domain_find_by_id(v, run.id));
    vq_store_view_end(v);
    make_define(&f->parts, 6, 7, "web1");
    (void)apply(f);
    make_state(&f->parts, 7, 7, 1, run.number, VIR_DOMAIN_RUNNING, run.id); /* of the earlier one of this UUID */
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_INVALID);
}

/* Between the right to run and the report that it runs, its QEMU may be there already. */
static void a_domain_that_is_being_started_is_not_taken_away(void **state)
{
    struct fixture *f = *state;

    make_define(&f->parts, 1, 7, "web1");
    (void)apply(f);
    make_run(&f->parts, 2, 7, 1);
    struct vq_result run = apply(f);
    make_undefine(&f->parts, 3, 7);
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    make_define(&f->parts, 4, 7, "web1");
    f->parts.define.owner = 2;
    f->parts.define.must_be_new = true;
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_INVALID); /* active already */
    struct vq_store_view *v = view(f);
    assert_int_equal(vq_store_domain_find(v, uuid_of(7))->owner, 1);
    assert_int_equal(vq_store_domain_find(v, uuid_of(7))->flags, VQ_DOMAIN_CLAIMED);
    vq_store_view_end(v);
    make_state(&f->parts, 5, 7, 1, run.number, VIR_DOMAIN_SHUTOFF, -1); /* the start has failed */
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    v = view(f);
    assert_null(vq_store_domain_find(v, uuid_of(7)));
    vq_store_view_end(v);
}

static void a_report_ends_the_claim(void **state)
{
    struct fixture *f = *state;

    make_define(&f->parts, 1, 7, "web1");
    (void)apply(f);
    make_run(&f->parts, 2, 7, 1);
    struct vq_result run = apply(f);
    make_state(&f->parts, 3, 7, 1, run.number, VIR_DOMAIN_SHUTOFF, -1);
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    make_undefine(&f->parts, 4, 7);
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    struct vq_store_view *v = view(f);
    assert_null(vq_store_domain_find(v, uuid_of(7)));
    vq_store_view_end(v);
}

static void undefining_a_running_domain_makes_it_transient(void **state)
{
    struct fixture *f = *state;

    make_define(&f->parts, 1, 7, "web1");
    (void)apply(f);
    make_state(&f->parts, 2, 7, 1, vq_ids_cluster_run(5), VIR_DOMAIN_RUNNING, 5);
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    make_undefine(&f->parts, 3, 7);
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    assert_int_equal(f->changes.changes[0].kind, VQ_CHANGE_DOMAIN_UNDEFINED);
    struct vq_store_view *v = view(f);
    assert_int_equal(vq_store_domain_find(v, uuid_of(7))->flags, 0);
    vq_store_view_end(v);
    make_undefine(&f->parts, 4, 70);
    struct vq_result result = apply(f);
    assert_int_equal(result.code, VIR_ERR_NO_DOMAIN);
    assert_non_null(strstr(result.message, "no domain with matching uuid '"));
}

static void a_guest_that_was_undefined_before_its_owner_reports_the_end_leaves_nothing(void **state)
{
    struct fixture *f = *state;

    make_define(&f->parts, 1, 7, "web1");
    (void)apply(f);
    make_run(&f->parts, 2, 7, 1);
    struct vq_result run = apply(f);
    make_state(&f->parts, 3, 7, 1, run.number, VIR_DOMAIN_RUNNING, run.id);
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    make_undefine(&f->parts, 4, 7);
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    make_state(&f->parts, 5, 7, 1, run.number, VIR_DOMAIN_SHUTOFF, -1); /* not "gone": it had not heard of it */
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    assert_true(f->changes.changes[0].is_gone);
    struct vq_store_view *v = view(f);
    assert_int_equal(vq_store_domain_count(v), 0);
    assert_null(vq_store_domain_find_by_name(v, VQ_DRIVER_QEMU, "web1"));
    assert_null(vq_store_domain_find_by_id(v, run.id));
    vq_store_view_end(v);
}

static void settings_stay_as_they_are_unless_given(void **state)
{
    struct fixture *f = *state;

    make_define(&f->parts, 1, 7, "web1");
    (void)apply(f);
    begin_command(&f->parts, 2, 7);
    vq__domain_settings__init(&f->parts.settings);
    f->parts.settings.uuid = (ProtobufCBinaryData){16, f->parts.uuid};
    f->parts.settings.has_autostart = f->parts.settings.autostart = true;
    f->parts.command.change_case = VQ__COMMAND__CHANGE_DOMAIN_SETTINGS;
    f->parts.command.domain_settings = &f->parts.settings;
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    number_bytes(f->parts.request_id, 3, 0x5a);
    f->parts.settings.has_autostart = false;
    f->parts.settings.has_managed_save = f->parts.settings.managed_save = true;
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    struct vq_store_view *v = view(f);
    assert_int_equal(vq_store_domain_find(v, uuid_of(7))->flags,
                     VQ_DOMAIN_PERSISTENT | VQ_DOMAIN_AUTOSTART | VQ_DOMAIN_MANAGED_SAVE);
    vq_store_view_end(v);
    make_undefine(&f->parts, 4, 7);
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_INVALID); /* an image is there */
    make_undefine(&f->parts, 5, 7);
    f->parts.undefine.flags = VIR_DOMAIN_UNDEFINE_MANAGED_SAVE;
    assert_int_equal(apply(f).code, VIR_ERR_OK);
}

static void an_owner_changes_only_from_the_known_one(void **state)
{
    struct fixture *f = *state;

    make_define(&f->parts, 1, 7, "web1");
    (void)apply(f);
    make_owner(&f->parts, 2, 7, 1, 2);
    struct vq_result result = apply(f);
    assert_int_equal(result.code, VIR_ERR_OK);
    assert_int_equal(result.number, 2);
    assert_int_equal(f->changes.changes[0].owner, 2);
    number_bytes(f->parts.request_id, 3, 0x5a);
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_INVALID);
    f->parts.owner.from = 2;
    number_bytes(f->parts.request_id, 4, 0x5a);
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_INVALID); /* generation */
}

static void a_rename_moves_the_name(void **state)
{
    struct fixture *f = *state;
    struct vq_error err = VQ_ERROR_INIT;
    const char *xml;
    char *to_free;

    make_define(&f->parts, 1, 7, "web1");
    (void)apply(f);
    make_define(&f->parts, 2, 8, "web2");
    (void)apply(f);
    begin_command(&f->parts, 3, 7);
    vq__domain_rename__init(&f->parts.rename);
    f->parts.rename.uuid = (ProtobufCBinaryData){16, f->parts.uuid};
    f->parts.rename.new_name = "web2";
    f->parts.rename.xml = (ProtobufCBinaryData){4, (uint8_t *)"<d/>"};
    f->parts.command.change_case = VQ__COMMAND__CHANGE_DOMAIN_RENAME;
    f->parts.command.domain_rename = &f->parts.rename;
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_INVALID);
    f->parts.rename.new_name = "a-much-longer-name";
    number_bytes(f->parts.request_id, 4, 0x5a);
    struct vq_result result = apply(f);
    assert_int_equal(result.code, VIR_ERR_OK);
    assert_int_equal(result.version, 2);
    assert_string_equal(f->changes.changes[0].name, "web1");
    assert_string_equal(f->changes.changes[0].new_name, "a-much-longer-name");
    struct vq_store_view *v = view(f);
    assert_null(vq_store_domain_find_by_name(v, VQ_DRIVER_QEMU, "web1"));
    assert_string_equal(vq_store_domain_find_by_name(v, VQ_DRIVER_QEMU, "a-much-longer-name")->name,
                        "a-much-longer-name");
    assert_int_equal(vq_store_domain_xml(v, uuid_of(7), &xml, &to_free, &err), 0);
    assert_string_equal(xml, "<d/>");
    vq_store_view_end(v);

    uint8_t sealed[40] = {0};
    struct vq_definition definition;
    f->parts.rename.new_name = "sealed";
    f->parts.rename.xml = (ProtobufCBinaryData){sizeof(sealed), sealed};
    f->parts.rename.xml_sealed = true;
    number_bytes(f->parts.request_id, 5, 0x5a);
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    v = view(f);
    assert_int_equal(vq_store_definition(v, uuid_of(7), &definition, &err), 0);
    assert_true(definition.is_sealed);
    assert_int_equal(definition.length, sizeof(sealed));
    vq_store_view_end(v);
}

/* ---- Lists ---- */

static void lists_walk_all_in_order(void **state)
{
    struct fixture *f = *state;
    struct vq_store_cursor *cursor = NULL;
    const struct vq_domain_head *head;
    uint8_t last[16] = {0};
    char name[32];
    int n = 0;

    for (uint64_t i = 1; i <= 100; i++) {
        snprintf(name, sizeof(name), "d%llu", (unsigned long long)i);
        make_define(&f->parts, i, i, name);
        (void)apply(f);
    }
    struct vq_store_view *v = view(f);
    while ((head = vq_store_domain_next(v, &cursor)) != NULL) {
        assert_true(memcmp(last, head->uuid, 16) < 0);
        memcpy(last, head->uuid, 16);
        n++;
    }
    assert_int_equal(n, 100);
    assert_null(cursor);
    assert_non_null(vq_store_domain_next(v, &cursor));
    vq_store_cursor_end(&cursor);
    vq_store_view_end(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(a_definition_can_be_read_back),
        TEST(a_compressed_definition_is_unpacked),
        TEST(a_damaged_definition_is_an_error_and_not_a_text),
        TEST(a_sealed_definition_is_kept_as_it_is),
        TEST(a_taken_name_is_refused_with_the_uuid),
        TEST(a_taken_uuid_is_refused_with_the_name),
        TEST(a_redefinition_counts_versions_and_keeps_the_owner),
        TEST(bad_definitions_are_refused),
        TEST(an_entry_that_cannot_be_decoded_takes_nothing_along),
        TEST(the_limit_of_domains_is_a_clear_error),
        TEST(a_domain_runs_and_stops),
        TEST(reports_of_others_and_of_older_runs_are_refused),
        TEST(ids_in_use_are_skipped),
        TEST(a_start_without_a_quorum_is_taken_over),
        TEST(a_transient_domain_vanishes_when_it_ends),
        TEST(a_domain_that_is_being_started_is_not_taken_away),
        TEST(a_report_ends_the_claim),
        TEST(undefining_a_running_domain_makes_it_transient),
        TEST(a_guest_that_was_undefined_before_its_owner_reports_the_end_leaves_nothing),
        TEST(settings_stay_as_they_are_unless_given),
        TEST(an_owner_changes_only_from_the_known_one),
        TEST(a_rename_moves_the_name),
        TEST(lists_walk_all_in_order),
    };
    return cmocka_run_group_tests_name("store_domain", tests, NULL, NULL);
}
