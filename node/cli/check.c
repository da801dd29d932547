/* check: is this host fit for guests, and does it fit its cluster. One line for each finding, with what to do about it.
 */
#include "node/cli/check.h"

#include <jansson.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conf/base/memory.h"
#include "node/cli/cli.h"

static const char *const grade_names[] = {[CHECK_PASS] = "PASS", [CHECK_WARN] = "WARN", [CHECK_FAIL] = "FAIL"};

void check_add(struct check_findings *findings, enum check_grade grade, const char *subject, const char *remedy,
               const char *fmt, ...)
{
    struct check_finding finding = {.grade = grade, .subject = vq_strdup(subject), .remedy = vq_strdup(remedy)};
    char text[512];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args); /* a sentence that is cut is still one */
    va_end(args);
    finding.text = vq_strdup(text);
    VQ_GROW(findings->items, findings->n_items);
    findings->items[findings->n_items++] = finding;
}

void check_done(struct check_findings *findings)
{
    for (size_t i = 0; i < findings->n_items; i++) {
        free(findings->items[i].subject);
        free(findings->items[i].text);
        free(findings->items[i].remedy);
    }
    free(findings->items);
    *findings = (struct check_findings){0};
}

static void print_lines(const struct cli *cli, const struct check_findings *findings)
{
    static const char *const colours[] = {
        [CHECK_PASS] = "\033[32m", [CHECK_WARN] = "\033[33m", [CHECK_FAIL] = "\033[31m"};
    bool is_quiet = (cli->given & CLI_OPT_QUIET) != 0;

    for (size_t i = 0; i < findings->n_items; i++) {
        const struct check_finding *finding = &findings->items[i];
        if (is_quiet && finding->grade == CHECK_PASS)
            continue;
        fprintf(cli->out, "%s%s%s  %-15s %s\n", cli->has_colour ? colours[finding->grade] : "",
                grade_names[finding->grade], cli->has_colour ? "\033[0m" : "", finding->subject, finding->text);
        if (finding->remedy != NULL)
            fprintf(cli->out, "      %-15s → %s\n", "", finding->remedy);
    }
}

static void print_json(const struct cli *cli, const struct check_findings *findings)
{
    json_t *object = json_object(), *array = json_array();

    for (size_t i = 0; i < findings->n_items; i++)
        json_array_append_new(array, json_pack("{s:s, s:s, s:s, s:s?}", "grade", grade_names[findings->items[i].grade],
                                               "subject", findings->items[i].subject, "text", findings->items[i].text,
                                               "remedy", findings->items[i].remedy));
    json_object_set_new(object, "apiVersion", json_string("virtquorum/v1"));
    json_object_set_new(object, "findings", array);
    (void)json_dumpf(object, cli->out, JSON_INDENT(2)); /* a closed pipe is no news */
    fputs("\n", cli->out);
    json_decref(object);
}

/* A daemon that does not run is a finding, not the end: the host can be looked at before it is started. */
static void check_daemon(struct cli *cli, struct check_findings *findings)
{
    Vq__Control request = VQ__CONTROL__INIT;
    Vq__ControlStatus status = VQ__CONTROL_STATUS__INIT;
    Vq__ControlReply *reply = NULL;
    FILE *silent = fopen("/dev/null", "we"), *err = cli->err;

    request.request_case = VQ__CONTROL__REQUEST_STATUS;
    request.status = &status;
    cli->err = silent != NULL ? silent : err;
    int result = cli_ask(cli, &request, &reply);
    cli->err = err;
    if (silent != NULL)
        (void)fclose(silent); /* nothing was kept */
    if (result != CLI_OK || reply->status == NULL) {
        check_add(findings, CHECK_FAIL, "daemon", "systemctl start virtquorumd", "virtquorumd does not answer at %s",
                  cli->socket == NULL ? CLI_SOCKET : cli->socket);
    } else {
        check_add(findings, CHECK_PASS, "daemon", NULL, "virtquorumd answers");
        check_status(findings, reply->status, (long)time(NULL));
        check_ports(findings, reply->status);
    }
    vq__control_reply__free_unpacked(reply, NULL);
}

int cli_check(struct cli *cli)
{
    struct check_findings findings = {0};
    int result = CLI_OK;

    check_host(&findings, "");
    check_daemon(cli, &findings);
    if (cli->format == CLI_JSON)
        print_json(cli, &findings);
    else
        print_lines(cli, &findings);
    for (size_t i = 0; i < findings.n_items; i++)
        if (findings.items[i].grade == CHECK_FAIL)
            result = CLI_FAILED;
    check_done(&findings);
    return result;
}
