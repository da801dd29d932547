/* The table of commands, and those that change something. */
#include <stdlib.h>
#include <string.h>

#include "conf/base/macros.h"
#include "conf/base/memory.h"
#include "node/cli/cli.h"

const struct cli_command cli_commands[] = {
    {"init", "[NAME]", 0, 1, CLI_OPT_NAME | CLI_OPT_NODE | CLI_OPT_ADVERTISE, "make this host the first node of a cluster",
     cli_init, false},
    {"token", "", 0, 0, CLI_OPT_TTL, "print a token that lets one host join", cli_token, false},
    {"join", "TOKEN", 1, 1, CLI_OPT_NAME | CLI_OPT_ADVERTISE | CLI_OPT_DRY_RUN, "make this host a node of a cluster",
     cli_join, false},
    {"nodes", "", 0, 0, CLI_OPT_OUTPUT, "list the nodes", cli_nodes, false},
    {"status", "", 0, 0, CLI_OPT_OUTPUT | CLI_OPT_WHY | CLI_OPT_LOCAL, "is the cluster whole, and what is wrong if not",
     cli_status, false},
    {"guests", "", 0, 0, CLI_OPT_OUTPUT | CLI_OPT_NODE, "list the guests of all nodes, with where they are", cli_guests, false},
    {"leave", "", 0, 0, CLI_OPT_FORCE, "take this host out of its cluster; its guests stay here", cli_leave, false},
    {"remove", "NODE", 1, 1, CLI_OPT_FORCE, "take a node out that will not come back", cli_remove, false},
    {"takeover", "[GUEST]", 0, 1, CLI_OPT_ALL | CLI_OPT_FORCE, "make this node the owner of what a removed node has left", cli_takeover,
     false},
    {"migrate", "GUEST NODE", 2, 2,
     CLI_OPT_CHECK | CLI_OPT_OFFLINE | CLI_OPT_COPY_STORAGE | CLI_OPT_UNSAFE | CLI_OPT_BANDWIDTH,
     "move a guest to another node while it runs", cli_migrate, false},
    {"drain", "NODE", 1, 1,
     CLI_OPT_TO | CLI_OPT_PARALLEL | CLI_OPT_OFFLINE_TOO | CLI_OPT_DRY_RUN | CLI_OPT_WAIT | CLI_OPT_COPY_STORAGE |
         CLI_OPT_UNSAFE | CLI_OPT_BANDWIDTH,
     "move all guests of a node elsewhere, and let none come", cli_drain, false},
    {"undrain", "NODE", 1, 1, 0, "let guests come to the node again", cli_undrain, false},
    {"check", "", 0, 0, CLI_OPT_OUTPUT, "is this host fit for guests, and does it fit its cluster", cli_check, false},
    {"cpu-baseline", "[NODE]...", 0, CLI_TO_MAX, CLI_OPT_OUTPUT | CLI_OPT_XML,
     "the CPU that guests can have on every node, and what each lacks", cli_cpu_baseline, false},
    {"cert", "renew [NODE]", 1, 2, 0, "give a node a new certificate; they renew themselves in time", cli_cert, false},
    {"get", "[NAME]", 0, 1, CLI_OPT_OUTPUT, "settings of the cluster: all, or one value", cli_get, false},
    {"set", "NAME VALUE", 2, 2, 0, "change a setting of the cluster; 'default' takes it back", cli_set, false},
    {"recover", "", 0, 0, CLI_OPT_FORCE | CLI_OPT_YES | CLI_OPT_STATE_DIR,
     "begin anew with what this node has: log damaged, or majority lost for good", cli_recover, false},
    {"__complete", "[WORD]...", 0, 4, 0, "words for the shell", cli_complete, true},
};
const size_t cli_n_commands = VQ_N_ELEMENTS(cli_commands);

/* Ask, and print what the daemon has to say about it. */
static int ask_and_tell(struct cli *cli, Vq__Control *request)
{
    Vq__ControlReply *reply;
    int result = cli_ask(cli, request, &reply);

    if (result != CLI_OK)
        return result;
    if (reply->text[0] != '\0' && (cli->given & CLI_OPT_QUIET) == 0)
        fprintf(cli->out, "%s\n", reply->text);
    if (reply->token[0] != '\0')
        fprintf(cli->out, "%s\n", reply->token);
    result = reply->exit_code;
    vq__control_reply__free_unpacked(reply, NULL);
    return result;
}

int cli_init(struct cli *cli)
{
    Vq__Control request = VQ__CONTROL__INIT;
    Vq__ControlInit init = VQ__CONTROL_INIT__INIT;
    VQ_AUTOFREE char *advertise = cli_resolve(cli, cli->advertise);

    if (advertise == NULL)
        return CLI_NOT_FOUND;
    if (cli->n_args > 0 && cli->name[0] != '\0' && strcmp(cli->args[0], cli->name) != 0)
        return cli_usage_error(cli, "two names for the cluster: '%s' and '%s'", cli->args[0], cli->name);
    init.name = (char *)(cli->n_args > 0 ? cli->args[0] : cli->name);
    init.node_name = (char *)cli->node;
    init.advertise = advertise;
    request.request_case = VQ__CONTROL__REQUEST_INIT;
    request.init = &init;
    return ask_and_tell(cli, &request);
}

int cli_token(struct cli *cli)
{
    Vq__Control request = VQ__CONTROL__INIT;
    Vq__ControlToken token = VQ__CONTROL_TOKEN__INIT;

    token.ttl_ms = cli->ttl_ms;
    request.request_case = VQ__CONTROL__REQUEST_TOKEN;
    request.token = &token;
    return ask_and_tell(cli, &request);
}

int cli_join(struct cli *cli)
{
    Vq__Control request = VQ__CONTROL__INIT;
    Vq__ControlJoin join = VQ__CONTROL_JOIN__INIT;
    VQ_AUTOFREE char *advertise = cli_resolve(cli, cli->advertise);

    if (advertise == NULL)
        return CLI_NOT_FOUND;
    join.token = (char *)cli->args[0];
    join.node_name = (char *)cli->name;
    join.advertise = advertise;
    join.dry_run = (cli->given & CLI_OPT_DRY_RUN) != 0;
    request.request_case = VQ__CONTROL__REQUEST_JOIN;
    request.join = &join;
    return ask_and_tell(cli, &request);
}

int cli_leave(struct cli *cli)
{
    Vq__Control request = VQ__CONTROL__INIT;
    Vq__ControlLeave leave = VQ__CONTROL_LEAVE__INIT;

    leave.force = (cli->given & CLI_OPT_FORCE) != 0;
    request.request_case = VQ__CONTROL__REQUEST_LEAVE;
    request.leave = &leave;
    return ask_and_tell(cli, &request);
}

int cli_remove(struct cli *cli)
{
    Vq__Control request = VQ__CONTROL__INIT;
    Vq__ControlRemove remove_node = VQ__CONTROL_REMOVE__INIT;

    remove_node.node = (char *)cli->args[0];
    remove_node.force = (cli->given & CLI_OPT_FORCE) != 0;
    request.request_case = VQ__CONTROL__REQUEST_REMOVE;
    request.remove = &remove_node;
    return ask_and_tell(cli, &request);
}

int cli_cert(struct cli *cli)
{
    Vq__Control request = VQ__CONTROL__INIT;
    Vq__ControlCert cert = VQ__CONTROL_CERT__INIT;

    if (strcmp(cli->args[0], "renew") != 0)
        return cli_usage_error(cli, "'cert %s' is not known: cert renew [NODE]", cli->args[0]);
    cert.node = (char *)(cli->n_args > 1 ? cli->args[1] : "");
    request.request_case = VQ__CONTROL__REQUEST_CERT;
    request.cert = &cert;
    return ask_and_tell(cli, &request);
}

int cli_takeover(struct cli *cli)
{
    Vq__Control request = VQ__CONTROL__INIT;
    Vq__ControlTakeover takeover = VQ__CONTROL_TAKEOVER__INIT;

    if ((cli->n_args > 0 && cli->args[0][0] != '\0') == ((cli->given & CLI_OPT_ALL) != 0))
        return cli_usage_error(cli, "takeover wants the name of a guest, or --all");
    takeover.guest = (char *)(cli->n_args > 0 ? cli->args[0] : "");
    takeover.force = (cli->given & CLI_OPT_FORCE) != 0;
    request.request_case = VQ__CONTROL__REQUEST_TAKEOVER;
    request.takeover = &takeover;
    return ask_and_tell(cli, &request);
}
