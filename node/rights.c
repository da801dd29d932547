/* Rights: read-only connections, from the table. */
#include "node/rights.h"

#include <string.h>

#include "conf/base/macros.h"
#include "drivers/driver.h"

/* The first word of a procedure's name that matches tells which part of the API it belongs to. */
static const struct {
    const char *word;
    int from;
} error_domains[] = {
    {"snapshot", VIR_FROM_DOMAIN_SNAPSHOT},
    {"checkpoint", VIR_FROM_DOMAIN_CHECKPOINT},
    {"domain", VIR_FROM_DOMAIN},
    {"network", VIR_FROM_NETWORK},
    {"storage", VIR_FROM_STORAGE},
    {"node_device", VIR_FROM_NODEDEV},
    {"interface", VIR_FROM_INTERFACE},
    {"secret", VIR_FROM_SECRET},
    {"nwfilter", VIR_FROM_NWFILTER},
};

int vq_rights_error_domain(const struct vq_procedure *procedure)
{
    if (procedure->program == VQ_PROGRAM_ADMIN)
        return VIR_FROM_ADMIN;
    for (size_t i = 0; i < VQ_N_ELEMENTS(error_domains); i++)
        if (strstr(procedure->name, error_domains[i].word) != NULL)
            return error_domains[i].from;
    return VIR_FROM_NONE;
}

int vq_rights_check(const struct vq_procedure *procedure, const struct vq_caller *caller, const void *args,
                    struct vq_error *err)
{
    if (!caller->readonly || vq_procedure_readonly_allows(procedure, args))
        return 0;
    return vq_error_set_from(err, vq_rights_error_domain(procedure), VIR_ERR_OPERATION_DENIED,
                             "read only access prevents %s", procedure->api);
}
