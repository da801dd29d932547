/* Frames of log entries. */
#include "raft/entry.h"

#include <raft.h>

#include "tests/unit/commands.h"

static void commands_travel_together(void **state)
{
    struct command_parts parts;
    struct vq_entry_writer writer;
    size_t sizes[3], total = 0, length;
    uint8_t *commands[3];
    const void *inside;

    (void)state;
    for (uint64_t i = 0; i < 3; i++) {
        char value[400] = "";
        memset(value, 'v', i * 150);
        make_setting(&parts, i, "name", value);
        commands[i] = pack_command(&parts.command, &sizes[i]);
        total += vq_entry_command_size(sizes[i]);
    }
    assert_true(vq_entry_begin(&writer, total));
    for (int i = 0; i < 3; i++)
        vq_entry_add(&writer, commands[i], sizes[i]);
    size_t padded = vq_entry_end(&writer);
    assert_int_equal(padded % 8, 0);
    assert_true(vq_entry_open(writer.base, padded, &inside, &length));
    assert_int_equal(length, total);
    Vq__Entry *entry = vq__entry__unpack(NULL, length, inside);
    assert_non_null(entry);
    assert_int_equal(entry->n_commands, 3);
    assert_int_equal(entry->commands[2]->setting_put->value.len, 300);
    vq__entry__free_unpacked(entry, NULL);
    raft_free(writer.base);
    for (int i = 0; i < 3; i++)
        free(commands[i]);
}

static void what_is_no_entry_is_refused(void **state)
{
    struct vq_entry_writer writer;
    const void *inside;
    size_t length;

    (void)state;
    assert_true(vq_entry_begin(&writer, vq_entry_command_size(11)));
    vq_entry_add(&writer, "hello world", 11);
    size_t padded = vq_entry_end(&writer);
    assert_true(vq_entry_open(writer.base, padded, &inside, &length));
    for (size_t cut = 0; cut < padded; cut++)
        assert_false(vq_entry_open(writer.base, cut, &inside, &length));
    for (size_t i = 0; i < 8; i++) {
        if (i == 4)
            continue; /* the length may vary within the padding */
        writer.base[i] ^= 0x80;
        assert_false(vq_entry_open(writer.base, padded, &inside, &length));
        writer.base[i] ^= 0x80;
    }
    raft_free(writer.base);
}

static void the_largest_command_fits(void **state)
{
    struct vq_entry_writer writer;
    VQ_AUTOFREE uint8_t *command = vq_calloc(1, VQ_ENTRY_COMMAND_MAX);

    (void)state;
    assert_true(vq_entry_begin(&writer, vq_entry_command_size(VQ_ENTRY_COMMAND_MAX)));
    vq_entry_add(&writer, command, VQ_ENTRY_COMMAND_MAX);
    assert_true(vq_entry_end(&writer) <= VQ_ENTRY_HARD_MAX);
    raft_free(writer.base);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(commands_travel_together),
        cmocka_unit_test(what_is_no_entry_is_refused),
        cmocka_unit_test(the_largest_command_fits),
    };
    return cmocka_run_group_tests_name("entry", tests, NULL, NULL);
}
