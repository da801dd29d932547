/* The list of what stands against a migration, and one error out of it. */
#define VQ_FROM VIR_FROM_QEMU
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/buffer.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/migrate_check.h"

void vq_migrate_problems_add(struct vq_migrate_problems *problems, const struct vq_migrate_problem *problem,
                             const char *fmt, ...)
{
    char text[512];
    va_list args;

    if (problems->n_items == VQ_MIGRATE_PROBLEMS_MAX)
        return;
    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    VQ_GROW(problems->items, problems->n_items);
    problems->items[problems->n_items++] = (struct vq_migrate_problem){
        .severity = problem->severity,
        .code = problem->code,
        .node = vq_strdup(problem->node != NULL ? problem->node : ""),
        .device = vq_strdup(problem->device != NULL ? problem->device : ""),
        .text = vq_strdup(text),
        .remedy = vq_strdup(problem->remedy != NULL ? problem->remedy : ""),
    };
}

void vq_migrate_problems_done(struct vq_migrate_problems *problems)
{
    for (size_t i = 0; i < problems->n_items; i++) {
        free(problems->items[i].node);
        free(problems->items[i].device);
        free(problems->items[i].text);
        free(problems->items[i].remedy);
    }
    free(problems->items);
    *problems = (struct vq_migrate_problems){0};
}

/* "node2: disk vda: '/x' is missing; CPU: ...", the node only where it changes. */
bool vq_migrate_problems_error(const struct vq_migrate_problems *problems, struct vq_error *err)
{
    VQ_AUTOBUFFER buffer = VQ_BUFFER_INIT;
    const char *node = NULL;
    int code = VIR_ERR_OK;
    size_t n_refusals = 0;

    for (size_t i = 0; i < problems->n_items; i++) {
        const struct vq_migrate_problem *problem = &problems->items[i];
        if (problem->severity != VQ_MIGRATE_REFUSAL)
            continue;
        code = n_refusals++ == 0 || code == problem->code ? problem->code : VIR_ERR_OPERATION_FAILED;
        if (node != NULL)
            vq_buffer_add(&buffer, "; ");
        if (!vq_streq(node, problem->node) && problem->node[0] != '\0')
            vq_buffer_addf(&buffer, "%s: ", problem->node);
        if (problem->device[0] != '\0')
            vq_buffer_addf(&buffer, "%s: ", problem->device);
        vq_buffer_add(&buffer, problem->text);
        node = problem->node;
    }
    if (n_refusals == 0)
        return false;
    (void)vq_error_set(err, code, "%s", buffer.data);
    return true;
}
