/* URIs: which driver and which node a client chose. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "node/view.h"
#include "tests/unit/fake_node.h"

static struct fake_node node;

static int start(void **state)
{
    (void)state;
    fake_node_start(&node);
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__NodePut put = VQ__NODE_PUT__INIT;
    Vq__NodeRecord record = VQ__NODE_RECORD__INIT;
    for (uint64_t id = 1; id <= 2; id++) {
        record.id = id;
        record.name = id == 1 ? (char *)"node1" : (char *)"node2";
        put.node = &record;
        command.change_case = VQ__COMMAND__CHANGE_NODE_PUT;
        command.node_put = &put;
        assert_int_equal(fake_apply(&node, &command), 0);
    }
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fake_node_stop(&node);
    return 0;
}

static void good_uris_choose_driver_and_node(void **state)
{
    static const struct {
        const char *uri;
        uint64_t default_node, node;
        const char *driver, *told;
    } cases[] = {
        {"", 0, 0, "qemu", "qemu:///system"},
        {"", 1, 1, "qemu", "qemu:///system"},
        {"qemu:///system", 0, 0, "qemu", "qemu:///system"},
        {"qemu:///system", 2, 2, "qemu", "qemu:///system"},
        {"qemu:///system?node=node2", 0, 2, "qemu", "qemu:///system?node=node2"},
        {"qemu:///system?node=.", 0, 1, "qemu", "qemu:///system?node=."},
        {"qemu:///system?other=1&node=node%32", 1, 2, "qemu", NULL},
        {"qemu:///system/node2", 0, 2, "qemu", "qemu:///system/node2"},
        {"qemu:///system/", 0, 0, "qemu", NULL},
        {"qemu:/system", 0, 0, "qemu", NULL},
        {"network:///system", 0, 0, "network", NULL},
        {"nodedev:///system", 0, 0, "nodedev", NULL},
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        struct vq_view view = {0};
        struct vq_error err = VQ_ERROR_INIT;
        if (vq_view_open(&node.daemon, cases[i].uri, cases[i].default_node, &view, &err) < 0)
            fail_msg("%s: %s", cases[i].uri, err.message);
        assert_string_equal(view.driver->name, cases[i].driver);
        assert_int_equal(view.node, cases[i].node);
        assert_string_equal(view.uri, cases[i].told == NULL ? cases[i].uri : cases[i].told);
        free(view.uri);
    }
}

static void bad_uris_are_refused_with_the_code_that_clients_know(void **state)
{
    static const struct {
        const char *uri;
        int code;
    } cases[] = {
        {"xyz:///system", VIR_ERR_NO_CONNECT},
        {"lxc:///", VIR_ERR_NO_CONNECT},
        {"no uri at all", VIR_ERR_NO_CONNECT},
        {":", VIR_ERR_NO_CONNECT},
        {"qemu://elsewhere/system", VIR_ERR_NO_CONNECT},
        {"qemu:///session", VIR_ERR_INTERNAL_ERROR},
        {"qemu:///", VIR_ERR_INTERNAL_ERROR},
        {"qemu:", VIR_ERR_INTERNAL_ERROR},
        {"qemu:///system?node=node9", VIR_ERR_INVALID_ARG},
        {"qemu:///system/node9", VIR_ERR_INVALID_ARG},
        {"qemu:///system?node=%zz", VIR_ERR_INVALID_ARG},
        {"qemu:///system?node=%00", VIR_ERR_INVALID_ARG},
        {"qemu:///system?node=", VIR_ERR_INVALID_ARG},
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        struct vq_view view = {0};
        struct vq_error err = VQ_ERROR_INIT;
        if (vq_view_open(&node.daemon, cases[i].uri, 0, &view, &err) == 0)
            fail_msg("%s was taken", cases[i].uri);
        if (err.code != cases[i].code)
            fail_msg("%s: %d %s", cases[i].uri, err.code, err.message);
        assert_null(view.uri);
    }
}

static void an_endless_uri_is_refused(void **state)
{
    char uri[8192] = "qemu:///system?node=";
    struct vq_view view = {0};
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    memset(uri + strlen(uri), 'x', sizeof(uri) - strlen(uri) - 1);
    uri[sizeof(uri) - 1] = '\0';
    assert_int_equal(vq_view_open(&node.daemon, uri, 0, &view, &err), -1);
    assert_int_equal(err.code, VIR_ERR_INVALID_ARG);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_uris_choose_driver_and_node),
        cmocka_unit_test(bad_uris_are_refused_with_the_code_that_clients_know),
        cmocka_unit_test(an_endless_uri_is_refused),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
