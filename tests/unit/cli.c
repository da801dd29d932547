/* The command line of the tool. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "conf/base/macros.h"
#include "conf/base/memory.h"
#include "node/cli/cli.h"

struct said {
    struct cli cli;
    char *out, *err;
    size_t out_size, err_size;
    int result;
};

static void parse(struct said *said, const char *line)
{
    static char words[16][64]; /* what the command line points to must outlive this function */
    char *argv[16] = {words[0]};
    int argc = 1;
    VQ_AUTOFREE char *copy = vq_strdup(line);
    char *rest = copy, *word;

    *said = (struct said){.cli = {.socket = CLI_SOCKET, .name = "", .node = "", .advertise = ""}};
    (void)snprintf(words[0], sizeof(words[0]), "virtquorum");
    while ((word = strsep(&rest, " ")) != NULL && *word != '\0') {
        (void)snprintf(words[argc], sizeof(words[argc]), "%s", word);
        argv[argc] = words[argc];
        argc++;
    }
    argv[argc] = NULL;
    said->cli.out = open_memstream(&said->out, &said->out_size);
    said->cli.err = open_memstream(&said->err, &said->err_size);
    said->result = cli_parse(&said->cli, argc, argv);
    (void)fflush(said->cli.out);
    (void)fflush(said->cli.err);
}

static void said_done(struct said *said)
{
    (void)fclose(said->cli.out);
    (void)fclose(said->cli.err);
    free(said->out);
    free(said->err);
}

static void options_may_stand_before_and_behind_the_words(void **state)
{
    static const char *const lines[] = {"--socket /s join -n T --name x", "join T --dry-run --name=x --socket=/s",
                                        "join --name x -n --socket /s -- T"};

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(lines); i++) {
        struct said said;
        parse(&said, lines[i]);
        assert_int_equal(said.result, -1);
        assert_string_equal(said.cli.command->name, "join");
        assert_string_equal(said.cli.args[0], "T");
        assert_string_equal(said.cli.name, "x");
        assert_string_equal(said.cli.socket, "/s");
        assert_true((said.cli.given & CLI_OPT_DRY_RUN) != 0);
        said_done(&said);
    }
}

static void a_wrong_command_line_is_explained_and_ends_with_two(void **state)
{
    static const struct {
        const char *line, *text;
    } cases[] = {
        {"bogus", "there is no command 'bogus'"},    {"join", "'join' needs TOKEN"},
        {"join A B", "'B' is too much"},             {"token --force", "'token' takes no option --force"},
        {"status -o xml", "'xml' is no output format"}, {"token --ttl 5x", "'5x' is no time"},
        {"token --ttl", "needs a value"},            {"--nothing", "there is no option '--nothing'"},
        {"status -z", "there is no option '-z'"},    {"", "Commands:"},
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        struct said said;
        parse(&said, cases[i].line);
        assert_int_equal(said.result, CLI_USAGE);
        assert_non_null(strstr(said.err, cases[i].text));
        assert_int_equal(said.out_size, 0);
        said_done(&said);
    }
}

static void help_begins_with_three_examples_and_names_every_command(void **state)
{
    struct said said;

    (void)state;
    parse(&said, "--help");
    assert_int_equal(said.result, CLI_OK);
    assert_true(strncmp(said.out, "Usage: virtquorum ", 18) == 0 && strstr(said.out, "  virtquorum init") != NULL);
    for (size_t i = 0; i < cli_n_commands; i++)
        assert_int_equal(strstr(said.out, cli_commands[i].name) != NULL, !cli_commands[i].is_hidden);
    said_done(&said);
    parse(&said, "token --help");
    assert_int_equal(said.result, CLI_OK);
    assert_non_null(strstr(said.out, "--ttl=TIME"));
    assert_null(strstr(said.out, "--advertise"));
    said_done(&said);
}

static void times_have_units_and_bounds(void **state)
{
    static const struct {
        const char *text;
        uint64_t ms; /* 0: refused */
    } cases[] = {
        {"90", 90000}, {"90s", 90000}, {"15m", 900000}, {"1h", 3600000}, {"2d", 172800000}, {"365d", 31536000000},
        {"366d", 0},   {"0", 0},       {"", 0},         {"h", 0},        {"-1h", 0},        {"1.5h", 0},
        {" 1h", 0},    {"1w", 0},      {"99999999999999999999d", 0},
    };

    (void)state;
    for (size_t i = 0; i < VQ_N_ELEMENTS(cases); i++) {
        uint64_t ms = 0;
        assert_int_equal(cli_parse_time(cases[i].text, &ms), cases[i].ms != 0);
        assert_int_equal(ms, cases[i].ms);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(options_may_stand_before_and_behind_the_words),
        cmocka_unit_test(a_wrong_command_line_is_explained_and_ends_with_two),
        cmocka_unit_test(help_begins_with_three_examples_and_names_every_command),
        cmocka_unit_test(times_have_units_and_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
