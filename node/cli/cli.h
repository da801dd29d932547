/* The tool `virtquorum`: a process of its own that asks the daemon of this host over its control socket, and prints. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "node/cluster/errors.h"
#include "proto/cluster.pb-c.h"

#define CLI_SOCKET "/run/virtquorum/control"
#define CLI_STATE_DIR "/var/lib/virtquorum"

/* Listed in virtquorum(1). */
enum cli_exit {
    CLI_OK, CLI_FAILED, CLI_USAGE, CLI_NOT_FOUND, CLI_NO_QUORUM, CLI_UNREACHABLE, CLI_DENIED, CLI_CONFLICT,
    CLI_PARTLY, CLI_TIMEOUT = 124,
};

enum cli_format { CLI_TABLE, CLI_WIDE, CLI_JSON, CLI_NAME };

/* Every option of the tool; a command takes those of its row. */
enum cli_option {
    CLI_OPT_HELP      = 1 << 0,
    CLI_OPT_VERSION   = 1 << 1,
    CLI_OPT_SOCKET    = 1 << 2,
    CLI_OPT_TIMEOUT   = 1 << 3,
    CLI_OPT_OUTPUT    = 1 << 4,
    CLI_OPT_NAME      = 1 << 5,
    CLI_OPT_NODE      = 1 << 6,
    CLI_OPT_ADVERTISE = 1 << 7,
    CLI_OPT_TTL       = 1 << 8,
    CLI_OPT_DRY_RUN   = 1 << 9,
    CLI_OPT_FORCE     = 1 << 10,
    CLI_OPT_WHY       = 1 << 11,
    CLI_OPT_LOCAL     = 1 << 12,
    CLI_OPT_QUIET     = 1 << 13,
    CLI_OPT_YES       = 1 << 14,
    CLI_OPT_STATE_DIR = 1 << 15,
    CLI_OPT_CHECK     = 1 << 16,
    CLI_OPT_OFFLINE   = 1 << 17,
    CLI_OPT_COPY_STORAGE = 1 << 18,
    CLI_OPT_UNSAFE    = 1 << 19,
    CLI_OPT_BANDWIDTH = 1 << 20,
    CLI_OPT_TO        = 1 << 21,
    CLI_OPT_PARALLEL  = 1 << 22,
    CLI_OPT_OFFLINE_TOO = 1 << 23,
    CLI_OPT_WAIT      = 1 << 24,
    CLI_OPT_XML       = 1 << 25,
    CLI_OPT_ALL       = 1 << 26,
};

enum { CLI_TO_MAX = 64 };

/* The command line, read. Texts are argv's. */
struct cli {
    const struct cli_command *command;
    unsigned given;          /* enum cli_option */
    const char *socket, *state_dir;
    uint64_t timeout_ms;     /* 0: the command's own */
    enum cli_format format;
    const char *name, *node, *advertise;
    uint64_t ttl_ms;
    uint64_t wait_ms;        /* for the daemon's answer; 0: timeout_ms, or the usual */
    uint64_t bandwidth;      /* MiB/s */
    uint32_t parallel;
    const char *to[CLI_TO_MAX];
    size_t n_to;
    bool no_wait;
    const char *args[CLI_TO_MAX];
    int n_args;
    FILE *out, *err;         /* data, and talk */
    bool is_tty, has_colour; /* of out */
};

struct cli_command {
    const char *name;
    const char *args;        /* for people: "[NAME]" */
    int args_min, args_max;
    unsigned options;        /* enum cli_option, beside those of all commands */
    const char *summary;
    int (*run)(struct cli *cli); /* the exit code */
    bool is_hidden;
};
extern const struct cli_command cli_commands[];
extern const size_t cli_n_commands;

/* options.c. -1: go on with cli->command; else an exit code, and everything has been said. */
int cli_parse(struct cli *cli, int argc, char **argv);
/* "90", "90s", "15m", "1h", "2d" to milliseconds; false: none of these, or too long. */
bool cli_parse_time(const char *text, uint64_t *ret_ms);
int cli_usage_error(struct cli *cli, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
void cli_print_help(const struct cli *cli);

/* client.c. Say "error VQ-0103: ..."; the exit code of that number. */
int cli_fail(const struct cli *cli, enum vq_number number, const char *fmt, ...) __attribute__((format(printf, 3, 4)));
void cli_say_error(const struct cli *cli, unsigned number, const char *text);
/* Send the request and wait for the last reply, which is the caller's to free; progress and checks are shown as they come. An
 * exit code: 0 only together with a reply; what went wrong has been said. */
int cli_ask(struct cli *cli, Vq__Control *request, Vq__ControlReply **ret_reply);
/* An address with a host name in it, as a numeric one; malloc'ed. NULL: it has no such host, and that has been said. */
char *cli_resolve(struct cli *cli, const char *address);

/* commands.c, status.c, guests.c, recover.c, settings.c */
int cli_init(struct cli *cli);
int cli_token(struct cli *cli);
int cli_join(struct cli *cli);
int cli_leave(struct cli *cli);
int cli_remove(struct cli *cli);
int cli_cert(struct cli *cli);
int cli_takeover(struct cli *cli);
int cli_status(struct cli *cli);
int cli_nodes(struct cli *cli);
int cli_guests(struct cli *cli);
int cli_get(struct cli *cli);
int cli_set(struct cli *cli);
int cli_recover(struct cli *cli);
int cli_complete(struct cli *cli);

/* check.c, cpu.c */
int cli_check(struct cli *cli);
int cli_cpu_baseline(struct cli *cli);

/* moves.c */
int cli_migrate(struct cli *cli);
int cli_drain(struct cli *cli);
int cli_undrain(struct cli *cli);
void cli_move_text(const Vq__GuestMove *move, char *text, size_t size);
void cli_show_moves(const struct cli *cli, const Vq__ControlReply *reply);
void cli_show_problems(const struct cli *cli, const Vq__ControlReply *reply);

/* print.c */
void cli_print_sentence(const struct cli *cli, const Vq__ClusterStatus *status);
void cli_print_nodes(const struct cli *cli, const Vq__ClusterStatus *status);
void cli_print_json(const struct cli *cli, const Vq__ClusterStatus *status, bool nodes_only);
void cli_print_check(const struct cli *cli, const Vq__JoinCheck *check);
