/* Start of the tool. */
#include <locale.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "node/cli/cli.h"

int main(int argc, char **argv)
{
    struct cli cli = {.socket = CLI_SOCKET, .state_dir = CLI_STATE_DIR, .name = "", .node = "", .advertise = "",
                      .out = stdout, .err = stderr};
    const char *no_colour = getenv("NO_COLOR");

    (void)setlocale(LC_ALL, ""); /* an unknown one leaves "C" */
    (void)signal(SIGPIPE, SIG_IGN);
    cli.is_tty = isatty(STDOUT_FILENO) == 1;
    cli.has_colour = cli.is_tty && (no_colour == NULL || no_colour[0] == '\0');
    int result = cli_parse(&cli, argc, argv);
    if (result < 0)
        result = cli.command->run(&cli);
    if (fflush(stdout) != 0 && result == CLI_OK)
        result = CLI_FAILED;
    return result;
}
