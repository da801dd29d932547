/* recover: what is left of this node becomes a cluster of its own. Works in the state directory, without a daemon. */
#include <stdlib.h>
#include <string.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "node/cli/cli.h"
#include "node/cluster/recover.h"

enum { SILENT = VQ_LOG_ERROR + 1, ANSWER_MAX = 256 };

static int fail(struct cli *cli, const struct vq_error *err)
{
    return cli_fail(cli, err->code == VIR_ERR_OPERATION_INVALID ? VQ_E_RECOVERY_REFUSED : VQ_E_NOT_RECOVERED, "%s", err->message);
}

static const char *plural(uint64_t n)
{
    return n == 1 ? "" : "s";
}

static void print_findings(const struct cli *cli, const struct vq_recovery_findings *found)
{
    FILE *out = cli->err; /* talk */

    fprintf(out, "%s%s%s: %u guest%s", found->node, found->cluster != NULL ? " of cluster " : ", which stood alone",
            found->cluster != NULL ? found->cluster : "", found->domains, plural(found->domains));
    if (found->domains_of_others > 0)
        fprintf(out, ", %u of them on other nodes", found->domains_of_others);
    fprintf(out, "; the store had %llu changes", (unsigned long long)found->stored);
    if (found->recovered > found->stored)
        fprintf(out, ", the log has %llu more", (unsigned long long)(found->recovered - found->stored));
    fputs(".\n\n", out);
    if (found->log_problem != NULL)
        fprintf(out, "! The log cannot be read: %s.\n  Changes after number %llu that this node knew are LOST.\n",
                found->log_problem, (unsigned long long)found->recovered);
    if (found->cluster != NULL)
        fprintf(out, "! Changes that other nodes acknowledged and that had not reached this one are LOST, and changes that\n"
                     "  this one had heard of, but that the cluster had not agreed on, become valid.\n");
    if (found->others != NULL)
        fprintf(out, "! Taken out of the cluster for good: %s.\n"
                     "  Their guests stay defined and are shown as ended: be sure that they do not run.\n"
                     "  One that comes back is refused and stands alone with its own guests; it can join again. Do not start two of\n"
                     "  them while this one is down: together they would go on as the old cluster.\n",
                found->others);
    fprintf(out, "Guests that run on this host run on. The log and store of now are kept aside.\n");
}

static bool is_confirmed(struct cli *cli, const char *node)
{
    char answer[ANSWER_MAX] = "";

    if ((cli->given & CLI_OPT_YES) != 0)
        return true;
    fprintf(cli->err, "\nType the name of this node to go on: ");
    (void)fflush(cli->err); /* the question */
    if (fgets(answer, sizeof(answer), stdin) == NULL)
        fputs("\n", cli->err);
    answer[strcspn(answer, "\n")] = '\0';
    return strcmp(answer, node) == 0;
}

static int finish(struct cli *cli, struct vq_recovery *recovery)
{
    const struct vq_recovery_findings *found = vq_recovery_findings(recovery);
    struct vq_error err = VQ_ERROR_INIT;
    VQ_AUTOFREE char *aside = NULL;

    if (vq_recovery_finish(recovery, &aside, &err) < 0)
        return fail(cli, &err);
    if ((cli->given & CLI_OPT_QUIET) == 0)
        fprintf(cli->out, "✓ %s begins anew with what it has; what was there before is in %s\nNext: start virtquorumd%s\n",
                found->node, aside, found->cluster != NULL ? ", then let other hosts join: virtquorum token" : "");
    return CLI_OK;
}

static int decide(struct cli *cli, struct vq_recovery *recovery)
{
    const struct vq_recovery_findings *found = vq_recovery_findings(recovery);

    if (found->was_interrupted)
        fprintf(cli->err, "A recovery of %s was interrupted; it is finished now.\n", found->node);
    else
        print_findings(cli, found);
    if ((cli->given & CLI_OPT_FORCE) == 0) {
        fprintf(cli->err, "\nNothing was changed. To do it: virtquorum recover --force\n");
        return CLI_CONFLICT;
    }
    if (!found->was_interrupted && !is_confirmed(cli, found->node)) {
        return cli_fail(cli, VQ_E_NOT_CONFIRMED, "not confirmed. Nothing was changed.");
    }
    return finish(cli, recovery);
}

int cli_recover(struct cli *cli)
{
    struct vq_recovery *recovery;
    struct vq_error err = VQ_ERROR_INIT;
    enum vq_log_level level = vq_log_level;

    vq_log_level = (enum vq_log_level)SILENT; /* what consensus has to say about the log is among the findings */
    int prepared = vq_recovery_prepare(cli->state_dir, &recovery, &err);
    vq_log_level = level;
    if (prepared < 0)
        return fail(cli, &err);
    int result = decide(cli, recovery);
    vq_recovery_free(recovery);
    return result;
}
