/* The command line: one table of options, one of commands; help is printed from both. */
#include <getopt.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/text.h"
#include "node/cli/cli.h"

static const struct {
    enum cli_option option;
    const char *name;
    char letter;
    const char *value; /* for people; NULL: it takes none */
    const char *help;
    bool is_common;    /* every command takes it */
} options[] = {
    {CLI_OPT_NAME, "name", 0, "NAME", "init: of the cluster; join: of this node", false},
    {CLI_OPT_NODE, "node", 0, "NAME", "init: name of this node (the host's name); guests: of that node only", false},
    {CLI_OPT_ADVERTISE, "advertise", 0, "ADDR[:PORT]", "how the other nodes reach this host", false},
    {CLI_OPT_TTL, "ttl", 0, "TIME", "how long the token is good: 90s, 15m, 1h, 2d (1h)", false},
    {CLI_OPT_DRY_RUN, "dry-run", 'n', NULL, "make the checks, change nothing", false},
    {CLI_OPT_FORCE, "force", 'f', NULL, "leave, remove: also when guests belong to the node; takeover: the old node is off; recover: do it", false},
    {CLI_OPT_YES, "yes", 'y', NULL, "recover: do not ask", false},
    {CLI_OPT_STATE_DIR, "state-dir", 0, "DIR", "recover: of the daemon (" CLI_STATE_DIR ")", false},
    {CLI_OPT_WHY, "why", 0, NULL, "say what the state of the cluster means", false},
    {CLI_OPT_LOCAL, "local", 0, NULL, "with a hash of this node's copy, to compare", false},
    {CLI_OPT_CHECK, "check", 0, NULL, "say all that would go wrong, move nothing", false},
    {CLI_OPT_OFFLINE, "offline", 0, NULL, "also a guest that does not run: its definition moves", false},
    {CLI_OPT_COPY_STORAGE, "copy-storage", 0, NULL, "copy the disks as well: none of them may be shared", false},
    {CLI_OPT_UNSAFE, "unsafe", 0, NULL, "also when a disk may not be the same there", false},
    {CLI_OPT_BANDWIDTH, "bandwidth", 0, "MIB", "MiB per second at most, for each guest", false},
    {CLI_OPT_TO, "to", 0, "NODE", "only to this node; may be given again", false},
    {CLI_OPT_PARALLEL, "parallel", 0, "N", "so many guests at a time (2)", false},
    {CLI_OPT_OFFLINE_TOO, "offline-too", 0, NULL, "guests that do not run as well", false},
    {CLI_OPT_WAIT, "wait", 0, "yes|no", "wait until it is done (yes)", false},
    {CLI_OPT_ALL, "all", 0, NULL, "all guests of removed nodes", false},
    {CLI_OPT_XML, "xml", 0, NULL, "only the <cpu> element, for a definition", false},
    {CLI_OPT_OUTPUT, "output", 'o', "FORMAT", "table, wide, json or name", false},
    {CLI_OPT_QUIET, "quiet", 'q', NULL, "no talk, only data and errors", true},
    {CLI_OPT_TIMEOUT, "timeout", 0, "TIME", "give up after this time", true},
    {CLI_OPT_SOCKET, "socket", 0, "PATH", "control socket (" CLI_SOCKET ")", true},
    {CLI_OPT_HELP, "help", 'h', NULL, "print this", true},
    {CLI_OPT_VERSION, "version", 'V', NULL, "print the version", true},
};
enum { N_OPTIONS = sizeof(options) / sizeof(options[0]) };

static const char *const format_names[] = {
    [CLI_TABLE] = "table", [CLI_WIDE] = "wide", [CLI_JSON] = "json", [CLI_NAME] = "name",
};

/* ---- Help ---- */

static const char examples[] = "  virtquorum init lab                     this host becomes the first node of cluster lab\n"
                               "  virtquorum join \"$(ssh node1 virtquorum token)\"     and this one joins it\n"
                               "  virtquorum status                       is it whole, and what is wrong if not\n";

static void print_option(const struct cli *cli, int i)
{
    char left[64];

    (void)snprintf(left, sizeof(left), "%c%c%s --%s%s%s", options[i].letter != 0 ? '-' : ' ',
                   options[i].letter != 0 ? options[i].letter : ' ', options[i].letter != 0 ? "," : " ", options[i].name,
                   options[i].value != NULL ? "=" : "", options[i].value != NULL ? options[i].value : "");
    fprintf(cli->out, "  %-28s %s\n", left, options[i].help);
}

static void print_options(const struct cli *cli, unsigned which)
{
    for (int i = 0; i < N_OPTIONS; i++)
        if (options[i].is_common || (options[i].option & which) != 0)
            print_option(cli, i);
}

void cli_print_help(const struct cli *cli)
{
    if (cli->command != NULL) {
        fprintf(cli->out, "Usage: virtquorum %s [OPTION]... %s\n\n%s\n\n", cli->command->name, cli->command->args, cli->command->summary);
        print_options(cli, cli->command->options);
        return;
    }
    fprintf(cli->out, "Usage: virtquorum COMMAND [OPTION]...\n\nExamples:\n%s\nCommands:\n", examples);
    for (size_t i = 0; i < cli_n_commands; i++)
        if (!cli_commands[i].is_hidden)
            fprintf(cli->out, "  %-8s %-10s %s\n", cli_commands[i].name, cli_commands[i].args, cli_commands[i].summary);
    fprintf(cli->out, "\nOptions (of one command: virtquorum COMMAND --help):\n");
    print_options(cli, 0);
    fprintf(cli->out, "\nExit status: 0 ok, 1 failed, 2 usage, 3 not found, 4 no quorum, 5 unreachable, 6 denied,\n"
                      "7 conflict or a check that failed, 8 partly done, 124 time-out.\n");
}

int cli_usage_error(struct cli *cli, const char *fmt, ...)
{
    va_list args;

    fprintf(cli->err, "error VQ-%04u: ", vq_numbers[VQ_E_USAGE].number);
    va_start(args, fmt);
    (void)vfprintf(cli->err, fmt, args);
    va_end(args);
    fprintf(cli->err, "\nSee: virtquorum %s%s--help\n", cli->command != NULL ? cli->command->name : "",
            cli->command != NULL ? " " : "");
    return CLI_USAGE;
}

/* ---- Values ---- */

bool cli_parse_time(const char *text, uint64_t *ret_ms)
{
    return vq_parse_time_ms(text, 365 * UINT64_C(24) * 3600 * 1000, ret_ms);
}

static int take_format(struct cli *cli, const char *text)
{
    for (size_t i = 0; i < sizeof(format_names) / sizeof(format_names[0]); i++)
        if (strcmp(format_names[i], text) == 0) {
            cli->format = (enum cli_format)i;
            return -1;
        }
    return cli_usage_error(cli, "'%s' is no output format: table, wide, json or name", text);
}

static int take_parallel(struct cli *cli, const char *text)
{
    uint64_t value;

    if (!vq_parse_u64(text, 10, 64, &value) || value == 0)
        return cli_usage_error(cli, "'%s' is no number of guests: 1 to 64", text);
    cli->parallel = (uint32_t)value;
    return -1;
}

static int take_target(struct cli *cli, const char *text)
{
    if (cli->n_to == CLI_TO_MAX)
        return cli_usage_error(cli, "more than %d targets", CLI_TO_MAX);
    cli->to[cli->n_to++] = text;
    return -1;
}

static int take_value(struct cli *cli, enum cli_option option, const char *value)
{
    uint64_t *time_ms = option == CLI_OPT_TTL ? &cli->ttl_ms : &cli->timeout_ms;

    switch (option) {
    case CLI_OPT_SOCKET:
        cli->socket = value;
        return -1;
    case CLI_OPT_STATE_DIR:
        cli->state_dir = value;
        return -1;
    case CLI_OPT_NAME:
        cli->name = value;
        return -1;
    case CLI_OPT_NODE:
        cli->node = value;
        return -1;
    case CLI_OPT_ADVERTISE:
        cli->advertise = value;
        return -1;
    case CLI_OPT_OUTPUT:
        return take_format(cli, value);
    case CLI_OPT_BANDWIDTH:
        return vq_parse_u64(value, 10, UINT64_MAX >> 20, &cli->bandwidth) && cli->bandwidth > 0
                   ? -1
                   : cli_usage_error(cli, "'%s' is no bandwidth in MiB/s", value);
    case CLI_OPT_PARALLEL:
        return take_parallel(cli, value);
    case CLI_OPT_TO:
        return take_target(cli, value);
    case CLI_OPT_WAIT:
        cli->no_wait = strcmp(value, "no") == 0;
        return cli->no_wait || strcmp(value, "yes") == 0 ? -1 : cli_usage_error(cli, "--wait is yes or no");
    case CLI_OPT_TTL:
    case CLI_OPT_TIMEOUT:
        if (cli_parse_time(value, time_ms))
            return -1;
        return cli_usage_error(cli, "'%s' is no time: 90s, 15m, 1h, 2d", value);
    default:
        return -1; /* one without a value */
    }
}

/* ---- Words ---- */

static void make_getopt(struct option *longs, char *shorts)
{
    *shorts++ = '+'; /* the command's name ends the first round */
    *shorts++ = ':';
    for (int i = 0; i < N_OPTIONS; i++) {
        longs[i] = (struct option){options[i].name, options[i].value != NULL ? required_argument : no_argument, NULL, 256 + i};
        if (options[i].letter == 0)
            continue;
        *shorts++ = options[i].letter;
        if (options[i].value != NULL)
            *shorts++ = ':';
    }
    longs[N_OPTIONS] = (struct option){0};
    *shorts = '\0';
}

static int option_index(int got)
{
    for (int i = 0; got < 256 && i < N_OPTIONS; i++)
        if (options[i].letter == got)
            return i;
    return got - 256;
}

static int bad_option(struct cli *cli, int got, char **argv)
{
    const char *word = argv[optind - 1];

    if (got == ':')
        return cli_usage_error(cli, "option '%s' needs a value", word);
    return cli_usage_error(cli, "there is no option '%s'", word);
}

static int take_word(struct cli *cli, const char *word)
{
    if (cli->command == NULL) {
        for (size_t i = 0; i < cli_n_commands; i++)
            if (strcmp(cli_commands[i].name, word) == 0)
                cli->command = &cli_commands[i];
        return cli->command != NULL ? -1 : cli_usage_error(cli, "there is no command '%s'", word);
    }
    if (cli->n_args >= cli->command->args_max)
        return cli_usage_error(cli, "'%s' is too much", word);
    cli->args[cli->n_args++] = word;
    return -1;
}

/* Options may stand before and behind the command and its words. */
static int parse_words(struct cli *cli, int argc, char **argv)
{
    struct option longs[N_OPTIONS + 1];
    char shorts[2 * N_OPTIONS + 3];
    bool only_words = false;

    make_getopt(longs, shorts);
    optind = 0; /* tests parse more than once */
    opterr = 0;
    for (;;) {
        int got = only_words ? -1 : getopt_long(argc, argv, shorts, longs, NULL);
        int result = -1;
        if (got == '?' || got == ':')
            return bad_option(cli, got, argv);
        if (got >= 0) {
            int i = option_index(got);
            cli->given |= options[i].option;
            result = take_value(cli, options[i].option, optarg);
        } else if (optind < argc) {
            only_words = only_words || (optind > 1 && strcmp(argv[optind - 1], "--") == 0);
            result = take_word(cli, argv[optind++]);
        } else {
            return -1;
        }
        if (result >= 0)
            return result;
    }
}

static int check_options(struct cli *cli)
{
    for (int i = 0; i < N_OPTIONS; i++)
        if ((cli->given & options[i].option) != 0 && !options[i].is_common &&
            (cli->command->options & options[i].option) == 0)
            return cli_usage_error(cli, "'%s' takes no option --%s", cli->command->name, options[i].name);
    if (cli->n_args < cli->command->args_min)
        return cli_usage_error(cli, "'%s' needs %s", cli->command->name, cli->command->args);
    return -1;
}

int cli_parse(struct cli *cli, int argc, char **argv)
{
    int result = parse_words(cli, argc, argv);

    if (result >= 0)
        return result;
    if ((cli->given & CLI_OPT_VERSION) != 0) {
        fprintf(cli->out, "virtquorum %s\n", VQ_VERSION);
        return CLI_OK;
    }
    if ((cli->given & CLI_OPT_HELP) != 0) {
        cli_print_help(cli);
        return CLI_OK;
    }
    if (cli->command == NULL) {
        FILE *out = cli->out;
        cli->out = cli->err;
        cli_print_help(cli);
        cli->out = out;
        return CLI_USAGE;
    }
    return check_options(cli);
}
