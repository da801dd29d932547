/* The replicated store: nodes, tokens, settings and the cluster itself. */
#include "tests/unit/store_fixture.h"

/* ---- Nodes, tokens, settings ---- */

static void nodes_get_ids_that_are_never_given_again(void **state)
{
    struct fixture *f = *state;

    make_node(&f->parts, 1, 0, "node1");
    assert_int_equal(apply(f).number, 1);
    assert_true(f->changes.changes[0].is_new);
    make_node(&f->parts, 2, 0, "node1");
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_FAILED);
    make_node(&f->parts, 3, 0, "node2");
    assert_int_equal(apply(f).number, 2);
    begin_command(&f->parts, 4, 0);
    vq__node_remove__init(&f->parts.node_remove);
    f->parts.node_remove.id = 2;
    f->parts.command.change_case = VQ__COMMAND__CHANGE_NODE_REMOVE;
    f->parts.command.node_remove = &f->parts.node_remove;
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    assert_true(f->changes.changes[0].is_gone);
    number_bytes(f->parts.request_id, 5, 0x5a);
    assert_int_equal(apply(f).code, VIR_ERR_INVALID_ARG);
    make_node(&f->parts, 6, 2, "node2");
    assert_int_equal(apply(f).code, VIR_ERR_INVALID_ARG);
    make_node(&f->parts, 7, 0, "node2");
    assert_int_equal(apply(f).number, 3);
    make_node(&f->parts, 8, 3, "node3"); /* a new name for it */
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    assert_false(f->changes.changes[0].is_new);
    begin_command(&f->parts, 9, 0);
    vq__node_set_role__init(&f->parts.node_set_role);
    f->parts.node_set_role.id = 3;
    f->parts.node_set_role.role = VQ__ROLE__ROLE_SPARE;
    f->parts.command.change_case = VQ__COMMAND__CHANGE_NODE_SET_ROLE;
    f->parts.command.node_set_role = &f->parts.node_set_role;
    assert_int_equal(apply(f).code, VIR_ERR_OK);

    struct vq_store_view *v = view(f);
    assert_null(vq_store_node_find_by_name(v, "node2"));
    Vq__NodeRecord *node = vq_store_node_find_by_name(v, "node3");
    assert_int_equal(node->id, 3);
    assert_int_equal(node->role, VQ__ROLE__ROLE_SPARE);
    vq_store_node_free(node);
    node = vq_store_node_next(v, 0);
    assert_int_equal(node->id, 1);
    vq_store_node_free(node);
    node = vq_store_node_next(v, 1);
    assert_int_equal(node->id, 3);
    vq_store_node_free(node);
    assert_null(vq_store_node_next(v, 3));
    vq_store_view_end(v);
    make_define(&f->parts, 10, 7, "web1");
    f->parts.define.owner = 2;
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_FAILED);
}

static int drain(struct fixture *f, uint64_t number, uint64_t id, bool draining)
{
    begin_command(&f->parts, number, 0);
    vq__node_drain__init(&f->parts.node_drain);
    f->parts.node_drain.id = id;
    f->parts.node_drain.draining = draining;
    f->parts.command.change_case = VQ__COMMAND__CHANGE_NODE_DRAIN;
    f->parts.command.node_drain = &f->parts.node_drain;
    return apply(f).code;
}

static void a_node_is_drained_and_everything_else_of_it_stays(void **state)
{
    struct fixture *f = *state;

    make_node(&f->parts, 1, 0, "node1");
    assert_int_equal(apply(f).number, 1);
    for (unsigned i = 0; i < 2; i++) {
        assert_int_equal(drain(f, 2 + i, 1, i == 0), VIR_ERR_OK);
        struct vq_store_view *v = view(f);
        Vq__NodeRecord *node = vq_store_node_find(v, 1);
        vq_store_view_end(v);
        assert_int_equal(node->draining, i == 0);
        assert_string_equal(node->name, "node1");
        vq_store_node_free(node);
    }
    assert_int_equal(drain(f, 4, 9, true), VIR_ERR_INVALID_ARG);
}

static void a_token_works_once_and_in_time(void **state)
{
    struct fixture *f = *state;
    uint8_t secret[32] = {1}, other[32] = {2};

    for (int i = 0; i < 2; i++) {
        begin_command(&f->parts, 1 + (uint64_t)i, 0);
        vq__token_put__init(&f->parts.token_put);
        f->parts.token_put.secret_sha256 = (ProtobufCBinaryData){32, i == 0 ? secret : other};
        f->parts.token_put.expires_ms = i == 0 ? 2000000 : 1000100;
        f->parts.command.change_case = VQ__COMMAND__CHANGE_TOKEN_PUT;
        f->parts.command.token_put = &f->parts.token_put;
        assert_int_equal(apply(f).code, VIR_ERR_OK);
    }
    make_node(&f->parts, 3, 0, "node1");
    vq__token_use__init(&f->parts.token_use);
    f->parts.token_use.secret_sha256 = (ProtobufCBinaryData){32, secret};
    f->parts.token_use.node = &f->parts.node;
    f->parts.command.change_case = VQ__COMMAND__CHANGE_TOKEN_USE;
    f->parts.command.token_use = &f->parts.token_use;
    assert_int_equal(apply(f).number, 1);
    f->parts.node.name = "node2";
    number_bytes(f->parts.request_id, 4, 0x5a);
    struct vq_result result = apply(f);
    assert_int_equal(result.code, VIR_ERR_AUTH_FAILED);
    assert_non_null(strstr(result.message, "used"));
    f->parts.token_use.secret_sha256.data = other;
    f->parts.command.time_ms = 1000100;
    number_bytes(f->parts.request_id, 5, 0x5a);
    assert_non_null(strstr(apply(f).message, "expired"));
    other[0] = 3;
    number_bytes(f->parts.request_id, 6, 0x5a);
    assert_non_null(strstr(apply(f).message, "not known"));
}

static void one_that_knows_less_than_all_members_does_not_join(void **state)
{
    struct fixture *f = *state;
    uint8_t secret[32] = {1};

    make_node(&f->parts, 1, 0, "node1");
    f->parts.node.feature_level = 2;
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    begin_command(&f->parts, 2, 0);
    vq__token_put__init(&f->parts.token_put);
    f->parts.token_put.secret_sha256 = (ProtobufCBinaryData){32, secret};
    f->parts.token_put.expires_ms = 2000000;
    f->parts.command.change_case = VQ__COMMAND__CHANGE_TOKEN_PUT;
    f->parts.command.token_put = &f->parts.token_put;
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    make_node(&f->parts, 3, 0, "node2");
    f->parts.node.feature_level = 1;
    vq__token_use__init(&f->parts.token_use);
    f->parts.token_use.secret_sha256 = (ProtobufCBinaryData){32, secret};
    f->parts.token_use.node = &f->parts.node;
    f->parts.command.change_case = VQ__COMMAND__CHANGE_TOKEN_USE;
    f->parts.command.token_use = &f->parts.token_use;
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_UNSUPPORTED);
    f->parts.node.feature_level = 3; /* and the token is as good as before */
    number_bytes(f->parts.request_id, 4, 0x5a);
    assert_int_equal(apply(f).number, 2);
}

static void a_cluster_is_named_once(void **state)
{
    struct fixture *f = *state;
    uint8_t id[16] = {1};
    const uint8_t *value;
    size_t length;

    make_node(&f->parts, 1, 1, "node1");
    vq__cluster_init__init(&f->parts.init);
    f->parts.init.name = "lab";
    f->parts.init.cluster_id = (ProtobufCBinaryData){16, id};
    f->parts.init.authority_pem = "PEM";
    f->parts.init.node = &f->parts.node;
    f->parts.command.change_case = VQ__COMMAND__CHANGE_CLUSTER_INIT;
    f->parts.command.cluster_init = &f->parts.init;
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    number_bytes(f->parts.request_id, 2, 0x5a);
    assert_int_equal(apply(f).code, VIR_ERR_OPERATION_INVALID);
    make_setting(&f->parts, 3, "log", "debug");
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    struct vq_store_view *v = view(f);
    assert_true(vq_store_setting(v, "cluster.name", &value, &length));
    assert_int_equal(length, 3);
    assert_memory_equal(value, "lab", 3);
    assert_true(vq_store_setting(v, "log", &value, &length));
    assert_false(vq_store_setting(v, "nothing", &value, &length));
    vq_store_view_end(v);
    make_setting(&f->parts, 4, "log", "");
    assert_int_equal(apply(f).code, VIR_ERR_OK);
    v = view(f);
    assert_false(vq_store_setting(v, "log", &value, &length));
    vq_store_view_end(v);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(nodes_get_ids_that_are_never_given_again),
        TEST(a_node_is_drained_and_everything_else_of_it_stays),
        TEST(a_token_works_once_and_in_time),
        TEST(one_that_knows_less_than_all_members_does_not_join),
        TEST(a_cluster_is_named_once),
    };
    return cmocka_run_group_tests_name("store_node", tests, NULL, NULL);
}
