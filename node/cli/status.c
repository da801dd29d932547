/* The commands that only look. */
#include <stdlib.h>
#include <string.h>

#include "node/cli/cli.h"

static int ask_status(struct cli *cli, Vq__ControlReply **ret_reply)
{
    Vq__Control request = VQ__CONTROL__INIT;
    Vq__ControlStatus status = VQ__CONTROL_STATUS__INIT;

    status.why = (cli->given & CLI_OPT_WHY) != 0;
    status.local_only = (cli->given & CLI_OPT_LOCAL) != 0;
    request.request_case = VQ__CONTROL__REQUEST_STATUS;
    request.status = &status;
    int result = cli_ask(cli, &request, ret_reply);
    if (result == CLI_OK && (*ret_reply)->status == NULL) {
        vq__control_reply__free_unpacked(*ret_reply, NULL);
        return cli_fail(cli, VQ_E_OTHER_RELEASE, "the daemon's answer makes no sense: is it of another release?");
    }
    return result;
}

static void print_sentences(const struct cli *cli, const char *mark, char *const *sentences, size_t n_sentences)
{
    for (size_t i = 0; i < n_sentences; i++)
        fprintf(cli->out, "%s%s\n", mark, sentences[i]);
}

int cli_status(struct cli *cli)
{
    Vq__ControlReply *reply;
    int result = ask_status(cli, &reply);

    if (result != CLI_OK)
        return result;
    const Vq__ClusterStatus *status = reply->status;
    if (cli->format == CLI_JSON) {
        cli_print_json(cli, status, false);
    } else {
        if (cli->format != CLI_NAME) {
            cli_print_sentence(cli, status);
            print_sentences(cli, "", status->why, status->n_why);
        }
        cli_print_nodes(cli, status);
        if (cli->format != CLI_NAME && status->state_hash != 0)
            fprintf(cli->out, "State after change %llu: hash %016llx (equal on all nodes at the same change).\n",
                    (unsigned long long)status->applied_index, (unsigned long long)status->state_hash);
        if (cli->format != CLI_NAME)
            print_sentences(cli, "! ", status->warnings, status->n_warnings);
    }
    result = status->has_quorum ? CLI_OK : CLI_NO_QUORUM;
    vq__control_reply__free_unpacked(reply, NULL);
    return result;
}

int cli_nodes(struct cli *cli)
{
    Vq__ControlReply *reply;
    int result = ask_status(cli, &reply);

    if (result != CLI_OK)
        return result;
    if (cli->format == CLI_JSON)
        cli_print_json(cli, reply->status, true);
    else
        cli_print_nodes(cli, reply->status);
    vq__control_reply__free_unpacked(reply, NULL);
    return CLI_OK;
}

/* For the shell: the commands, or, behind one that takes a node, the nodes. Silent when the daemon is down. */
int cli_complete(struct cli *cli)
{
    Vq__ControlReply *reply;

    if (cli->n_args <= 1) {
        const char *begin = cli->n_args == 1 ? cli->args[0] : "";
        for (size_t i = 0; i < cli_n_commands; i++)
            if (!cli_commands[i].is_hidden && strncmp(cli_commands[i].name, begin, strlen(begin)) == 0)
                fprintf(cli->out, "%s\n", cli_commands[i].name);
        return CLI_OK;
    }
    if (strcmp(cli->args[0], "remove") != 0)
        return CLI_OK;
    FILE *err = fopen("/dev/null", "we");
    if (err == NULL)
        return CLI_OK;
    struct cli quiet = *cli;
    quiet.err = err;
    quiet.timeout_ms = 500;
    if (ask_status(&quiet, &reply) == CLI_OK) {
        for (size_t i = 0; i < reply->status->n_nodes; i++)
            if (strncmp(reply->status->nodes[i]->record->name, cli->args[1], strlen(cli->args[1])) == 0)
                fprintf(cli->out, "%s\n", reply->status->nodes[i]->record->name);
        vq__control_reply__free_unpacked(reply, NULL);
    }
    (void)fclose(err); /* nothing of worth went there */
    return CLI_OK;
}
