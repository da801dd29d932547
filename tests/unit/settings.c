/* Settings of the cluster: the table, and what of it is replicated. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "conf/base/memory.h"
#include "node/cluster/settings.h"
#include "tests/unit/fake_node.h"

static struct fake_node node;

static int start(void **state)
{
    (void)state;
    fake_node_start(&node);
    return 0;
}

static int stop(void **state)
{
    (void)state;
    fake_node_stop(&node);
    return 0;
}

static int put(const char *name, const char *value)
{
    Vq__Command command = VQ__COMMAND__INIT;
    Vq__SettingPut change = VQ__SETTING_PUT__INIT;

    change.name = (char *)(uintptr_t)name;
    change.value = (ProtobufCBinaryData){strlen(value), (uint8_t *)(uintptr_t)value};
    command.change_case = VQ__COMMAND__CHANGE_SETTING_PUT;
    command.setting_put = &change;
    return fake_apply(&node, &command);
}

static void every_row_is_whole_and_its_default_in_range(void **state)
{
    struct vq_error err = VQ_ERROR_INIT;

    (void)state;
    for (enum vq_setting i = (enum vq_setting)0; i < VQ_N_SETTINGS; i++) {
        const struct vq_setting_row *row = &vq_settings[i];
        assert_true(row->name != NULL && row->range != NULL && row->doc != NULL && row->min <= row->max);
        assert_int_equal(vq_setting_parse(i, row->initial, NULL, &err), 0);
        assert_int_equal(vq_setting_find(row->name), i);
        assert_true(strncmp(row->name, "cluster.", 8) != 0);
        assert_true(i == 0 || strcmp(vq_settings[i - 1].name, row->name) < 0); /* as they are listed */
    }
    assert_int_equal(vq_setting_find("nothing"), VQ_N_SETTINGS);
    assert_int_equal(vq_setting_find(""), VQ_N_SETTINGS);
}

static void values_out_of_range_are_refused_naming_the_range(void **state)
{
    static const struct {
        enum vq_setting setting;
        const char *text;
    } bad[] = {
        {VQ_SETTING_VOTERS, "0"},          {VQ_SETTING_VOTERS, "2"},          {VQ_SETTING_VOTERS, "7"},
        {VQ_SETTING_VOTERS, ""},           {VQ_SETTING_VOTERS, "3s"},         {VQ_SETTING_VOTERS, "-1"},
        {VQ_SETTING_VOTERS, " 3"},         {VQ_SETTING_VOTERS, "0x3"},        {VQ_SETTING_VOTER_REPLACE, "4s"},
        {VQ_SETTING_VOTER_REPLACE, "25h"}, {VQ_SETTING_TOKEN_TTL, "31d"},     {VQ_SETTING_TOKEN_TTL, "soon"},
        {VQ_SETTING_VOTERS, "00000000000000000000000000000000000003"},
    };
    struct vq_error err = VQ_ERROR_INIT;
    uint64_t value = 0;

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(bad); i++) {
        assert_int_equal(vq_setting_parse(bad[i].setting, bad[i].text, &value, &err), -1);
        assert_int_equal(err.code, VIR_ERR_INVALID_ARG);
        assert_non_null(strstr(err.message, vq_settings[bad[i].setting].range));
    }
    assert_int_equal(vq_setting_parse(VQ_SETTING_VOTER_REPLACE, "2m", &value, &err), 0);
    assert_int_equal(value, 120000);
}

static void what_is_set_holds_until_it_is_taken_back(void **state)
{
    (void)state;
    assert_int_equal(vq_setting_value(&node.daemon, VQ_SETTING_VOTERS), 3);
    assert_int_equal(vq_setting_value(&node.daemon, VQ_SETTING_VOTER_REPLACE), 10000);
    assert_int_equal(put("voters", "5"), 0);
    assert_int_equal(put("voter-replace-after", "1m"), 0);
    assert_int_equal(vq_setting_value(&node.daemon, VQ_SETTING_VOTERS), 5);
    assert_int_equal(vq_setting_value(&node.daemon, VQ_SETTING_VOTER_REPLACE), 60000);
    assert_int_equal(put("voters", ""), 0);
    assert_int_equal(vq_setting_value(&node.daemon, VQ_SETTING_VOTERS), 3);
}

static void what_another_release_has_set_and_this_one_does_not_take_is_not_used(void **state)
{
    (void)state;
    assert_int_equal(put("voters", "9"), 0);
    assert_int_equal(vq_setting_value(&node.daemon, VQ_SETTING_VOTERS), 3);
    assert_int_equal(put("voters", "many"), 0);
    assert_int_equal(vq_setting_value(&node.daemon, VQ_SETTING_VOTERS), 3);
}

static void names_of_the_cluster_itself_cannot_be_set(void **state)
{
    (void)state;
    assert_int_equal(put("cluster.id", "0123456789abcdef"), VIR_ERR_INVALID_ARG);
    assert_int_equal(put("cluster.authority", "mine"), VIR_ERR_INVALID_ARG);
    assert_int_equal(put("cluster", "fine"), 0);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, start, stop)
int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_row_is_whole_and_its_default_in_range),
        cmocka_unit_test(values_out_of_range_are_refused_naming_the_range),
        CASE(what_is_set_holds_until_it_is_taken_back),
        CASE(what_another_release_has_set_and_this_one_does_not_take_is_not_used),
        CASE(names_of_the_cluster_itself_cannot_be_set),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
