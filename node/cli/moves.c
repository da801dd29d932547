/* Guests that move: migrate, drain, undrain, and how their way is shown. */
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "node/cli/cli.h"

enum { BAR_CELLS = 16, BOARD_MAX = 64, FOREVER_MS = 7 * 24 * 3600 * 1000 };

/* ---- One line for one guest ---- */

static void rate_text(uint64_t bytes_per_second, char *text, size_t size)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB"};
    double value = (double)bytes_per_second;
    size_t unit = 0;

    for (; value >= 1024 && unit + 1 < sizeof(units) / sizeof(units[0]); unit++)
        value /= 1024;
    (void)snprintf(text, size, "%.1f %s/s", value, units[unit]);
}

/* "████████░░░░░░░░  52 %  1.9 GiB/s  ~3 s" */
static void bar_text(const Vq__GuestMove *move, char *text, size_t size)
{
    char rate[32], left[32] = "";
    unsigned full = move->permille * BAR_CELLS / 1000;
    size_t length = 0;

    for (unsigned i = 0; i < BAR_CELLS && length < size; i++)
        length += (size_t)snprintf(text + length, size - length, "%s", i < full ? "█" : "░");
    rate_text(move->bytes_per_second, rate, sizeof(rate));
    if (move->remaining_ms > 0)
        (void)snprintf(left, sizeof(left), "  ~%" PRIu64 " s", move->remaining_ms / 1000 + 1);
    if (length < size)
        (void)snprintf(text + length, size - length, " %3u %%  %s%s", move->permille / 10,
                       move->bytes_per_second > 0 ? rate : "", left);
}

void cli_move_text(const Vq__GuestMove *move, char *text, size_t size)
{
    char bar[160], target[160] = "";

    if (move->to[0] != '\0')
        (void)snprintf(target, sizeof(target), "→ %s  ", move->to);
    switch (move->state) {
    case VQ__GUEST_MOVE__STATE__QUEUED:
        (void)snprintf(text, size, "%-12s queued", move->guest);
        break;
    case VQ__GUEST_MOVE__STATE__CHECKING:
        (void)snprintf(text, size, "%-12s is being checked", move->guest);
        break;
    case VQ__GUEST_MOVE__STATE__MOVING:
        bar_text(move, bar, sizeof(bar));
        (void)snprintf(text, size, "%-12s %s%s", move->guest, target, bar);
        break;
    case VQ__GUEST_MOVE__STATE__MOVED:
        (void)snprintf(text, size, "%-12s %smoved", move->guest, target);
        break;
    case VQ__GUEST_MOVE__STATE__WOULD_MOVE:
        (void)snprintf(text, size, "%-12s %swould move", move->guest, target);
        break;
    case VQ__GUEST_MOVE__STATE__STAYS:
        (void)snprintf(text, size, "%-12s stays: %s%s%s", move->guest, move->text, move->remedy[0] != '\0' ? "  → " : "",
                       move->remedy);
        break;
    default:
        (void)snprintf(text, size, "%-12s %sFAILED: %s", move->guest, target, move->text);
        break;
    }
}

/* ---- The board ---- */

/* On a terminal the lines of those that are under way stay at the bottom and are written over; a line that is final is written
 * once, above them. Elsewhere only what is final is written. */
struct board_line {
    char guest[256];
    char text[1024];
};

static struct board_line *board;
static size_t n_board, n_shown;

static bool is_final(const Vq__GuestMove *move)
{
    return move->state != VQ__GUEST_MOVE__STATE__QUEUED && move->state != VQ__GUEST_MOVE__STATE__CHECKING &&
           move->state != VQ__GUEST_MOVE__STATE__MOVING;
}

static size_t board_find(const char *guest)
{
    size_t i = 0;

    while (i < n_board && strcmp(board[i].guest, guest) != 0)
        i++;
    return i;
}

static void board_erase(const struct cli *cli)
{
    for (; n_shown > 0; n_shown--)
        fputs("\033[1A\033[2K", cli->err);
}

static void board_draw(const struct cli *cli)
{
    for (n_shown = 0; n_shown < n_board; n_shown++)
        fprintf(cli->err, "%s\n", board[n_shown].text);
    (void)fflush(cli->err);
}

static void board_take(const struct cli *cli, const Vq__GuestMove *move)
{
    size_t i = board_find(move->guest);
    char text[1024];

    cli_move_text(move, text, sizeof(text));
    if (is_final(move)) {
        if (cli->command->run != cli_migrate) { /* one guest: the last word says it all */
            fprintf(cli->out, "%s\n", text);
            (void)fflush(cli->out);
        }
        if (i < n_board)
            memmove(&board[i], &board[i + 1], (--n_board - i) * sizeof(*board));
        return;
    }
    if (i == n_board && n_board == BOARD_MAX)
        return;
    if (i == n_board) {
        if (board == NULL)
            board = vq_calloc(BOARD_MAX, sizeof(*board));
        n_board++;
    }
    (void)snprintf(board[i].guest, sizeof(board[i].guest), "%s", move->guest);
    (void)snprintf(board[i].text, sizeof(board[i].text), "%s", text);
}

void cli_show_moves(const struct cli *cli, const Vq__ControlReply *reply)
{
    bool is_live = cli->is_tty && (cli->given & CLI_OPT_QUIET) == 0;

    if (is_live)
        board_erase(cli);
    for (size_t i = 0; i < reply->n_moves; i++)
        board_take(cli, reply->moves[i]);
    if (is_live)
        board_draw(cli);
}

void cli_show_problems(const struct cli *cli, const Vq__ControlReply *reply)
{
    for (size_t i = 0; i < reply->n_problems; i++) {
        const Vq__GuestProblem *problem = reply->problems[i];
        const char *colour = !cli->has_colour ? "" : problem->refusal ? "\033[31m" : "\033[33m";
        fprintf(cli->out, "  %s%-7s%s %s: %s%s%s%s%s\n", colour, problem->refusal ? "FAILED" : "warning",
                cli->has_colour ? "\033[0m" : "", problem->node, problem->device, problem->device[0] != '\0' ? ": " : "",
                problem->text, problem->remedy[0] != '\0' ? "\n          → " : "", problem->remedy);
    }
}

/* ---- Interrupted ---- */

static void interrupted(int signal_number)
{
    static const char text[] = "\nThe daemon goes on with it. virsh domjobabort GUEST cancels a migration, virtquorum undrain "
                               "NODE ends a drain.\n";

    (void)!write(STDERR_FILENO, text, sizeof(text) - 1);
    _exit(128 + signal_number);
}

/* ---- The verbs ---- */

static int ask_and_watch(struct cli *cli, Vq__Control *request)
{
    Vq__ControlReply *reply;

    (void)signal(SIGINT, interrupted);
    /* --timeout is the migration's; the daemon answers a little later. */
    cli->wait_ms = cli->timeout_ms != 0 ? cli->timeout_ms + 60000 : FOREVER_MS;
    int result = cli_ask(cli, request, &reply);
    if (result == CLI_OK) {
        if (reply->text[0] != '\0' && (cli->given & CLI_OPT_QUIET) == 0)
            fprintf(cli->out, "%s\n", reply->text);
        result = reply->exit_code;
        vq__control_reply__free_unpacked(reply, NULL);
    }
    free(board);
    board = NULL;
    n_board = n_shown = 0;
    return result;
}

int cli_migrate(struct cli *cli)
{
    Vq__Control request = VQ__CONTROL__INIT;
    Vq__ControlMigrate migrate = VQ__CONTROL_MIGRATE__INIT;

    migrate.guest = (char *)cli->args[0];
    migrate.node = (char *)cli->args[1];
    migrate.check = (cli->given & CLI_OPT_CHECK) != 0;
    migrate.offline = (cli->given & CLI_OPT_OFFLINE) != 0;
    migrate.copy_storage = (cli->given & CLI_OPT_COPY_STORAGE) != 0;
    migrate.unsafe = (cli->given & CLI_OPT_UNSAFE) != 0;
    migrate.bandwidth = cli->bandwidth;
    request.request_case = VQ__CONTROL__REQUEST_MIGRATE;
    request.migrate = &migrate;
    return ask_and_watch(cli, &request);
}

int cli_drain(struct cli *cli)
{
    Vq__Control request = VQ__CONTROL__INIT;
    Vq__ControlDrain drain = VQ__CONTROL_DRAIN__INIT;

    drain.node = (char *)cli->args[0];
    drain.to = (char **)cli->to;
    drain.n_to = cli->n_to;
    drain.parallel = cli->parallel;
    drain.offline_too = (cli->given & CLI_OPT_OFFLINE_TOO) != 0;
    drain.dry_run = (cli->given & CLI_OPT_DRY_RUN) != 0;
    drain.no_wait = cli->no_wait;
    drain.copy_storage = (cli->given & CLI_OPT_COPY_STORAGE) != 0;
    drain.unsafe = (cli->given & CLI_OPT_UNSAFE) != 0;
    drain.bandwidth = cli->bandwidth;
    request.request_case = VQ__CONTROL__REQUEST_DRAIN;
    request.drain = &drain;
    return ask_and_watch(cli, &request);
}

int cli_undrain(struct cli *cli)
{
    Vq__Control request = VQ__CONTROL__INIT;
    Vq__ControlUndrain undrain = VQ__CONTROL_UNDRAIN__INIT;

    undrain.node = (char *)cli->args[0];
    request.request_case = VQ__CONTROL__REQUEST_UNDRAIN;
    request.undrain = &undrain;
    return ask_and_watch(cli, &request);
}
