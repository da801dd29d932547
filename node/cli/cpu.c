/* cpu-baseline: a CPU for guests that every node can run. */
#include <jansson.h>
#include <string.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "node/cli/cli.h"

enum { WAIT_MS = 60000 }; /* each node may have to try KVM first */

static void print_json(const struct cli *cli, const Vq__ControlReply *reply)
{
    json_t *object = json_object(), *nodes = json_array();

    for (size_t i = 0; i < reply->n_cpus; i++) {
        const Vq__NodeCpu *cpu = reply->cpus[i];
        json_t *lacks = json_array();

        for (size_t k = 0; k < cpu->n_lacks; k++)
            json_array_append_new(lacks, json_string(cpu->lacks[k]));
        json_array_append_new(nodes,
                              json_pack("{s:s, s:s, s:s, s:s, s:s, s:o}", "node", cpu->node, "problem", cpu->problem,
                                        "type", cpu->type, "vendor", cpu->vendor, "model", cpu->model, "lacks", lacks));
    }
    json_object_set_new(object, "apiVersion", json_string("virtquorum/v1"));
    json_object_set_new(object, "xml", json_string(reply->text));
    json_object_set_new(object, "nodes", nodes);
    (void)json_dumpf(object, cli->out, JSON_INDENT(2)); /* a closed pipe is no news */
    fputs("\n", cli->out);
    json_decref(object);
}

static void print_node(const struct cli *cli, const Vq__NodeCpu *cpu)
{
    if (cpu->problem[0] != '\0') {
        fprintf(cli->err, "! %s was not asked: %s\n", cpu->node, cpu->problem);
        return;
    }
    fprintf(cli->err, "%s: %s of %s, type %s; lacks ", cpu->node, cpu->model,
            cpu->vendor[0] == '\0' ? "any vendor" : cpu->vendor, cpu->type);
    for (size_t i = 0; i < cpu->n_lacks; i++)
        fprintf(cli->err, "%s%s", i == 0 ? "" : ", ", cpu->lacks[i]);
    fputs(cpu->n_lacks == 0 ? "nothing that others have\n" : "\n", cli->err);
}

int cli_cpu_baseline(struct cli *cli)
{
    Vq__Control request = VQ__CONTROL__INIT;
    Vq__ControlCpuBaseline baseline = VQ__CONTROL_CPU_BASELINE__INIT;
    Vq__ControlReply *reply;

    baseline.nodes = (char **)cli->args; /* they are only read */
    baseline.n_nodes = (size_t)cli->n_args;
    request.request_case = VQ__CONTROL__REQUEST_CPU_BASELINE;
    request.cpu_baseline = &baseline;
    cli->wait_ms = cli->timeout_ms != 0 ? cli->timeout_ms : WAIT_MS;
    int result = cli_ask(cli, &request, &reply);
    if (result != CLI_OK)
        return result;
    if (cli->format == CLI_JSON) {
        print_json(cli, reply);
    } else {
        for (size_t i = 0; i < reply->n_cpus && (cli->given & (CLI_OPT_XML | CLI_OPT_QUIET)) == 0; i++)
            print_node(cli, reply->cpus[i]);
        fputs(reply->text, cli->out);
    }
    result = reply->exit_code;
    vq__control_reply__free_unpacked(reply, NULL);
    return result;
}
