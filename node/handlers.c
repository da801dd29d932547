/* What the node's own handlers share. */
#include "node/handlers.h"

#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "node/rights.h"

/* What a client tells the source when a migration is over: the node that it looks at has the guest no more. */
static bool is_farewell(const struct vq_procedure *procedure)
{
    return strstr(procedure->name, "migrate_confirm") != NULL;
}

bool vq_handler_sees(const struct vq_call *call, const struct vq_domain_head *head)
{
    return call->request.driver != NULL && head->driver == call->request.driver->driver_type &&
           (call->view_node == 0 || call->view_node == head->owner || is_farewell(call->request.procedure));
}

void vq_handler_fail(struct vq_call *call, int from, int code, const char *fmt, ...)
{
    struct vq_error err = VQ_ERROR_INIT;
    char text[sizeof(err.message)];
    va_list args;

    va_start(args, fmt);
    (void)vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    vq_error_set_from(&err, from, code, "%s", text);
    vq_call_fail(call, &err);
}

bool vq_handler_flags_are(struct vq_call *call, uint64_t supported)
{
    uint64_t flags = vq_procedure_flags(call->request.procedure, call->request.args);

    if ((flags & ~supported) == 0)
        return true;
    vq_handler_fail(call, vq_rights_error_domain(call->request.procedure), VIR_ERR_INVALID_ARG,
                    "unsupported flags (0x%llx) in function %s", (unsigned long long)(flags & ~supported),
                    call->request.procedure->api);
    return false;
}

void *vq_handler_alloc(struct vq_call *call, size_t n, size_t size)
{
    void *memory = vq_arena_alloc(call->request.arena, n, size);

    if (memory == NULL)
        vq_handler_fail(call, VIR_FROM_RPC, VIR_ERR_NO_MEMORY, "the reply of %s is too large",
                        call->request.procedure->api);
    return memory;
}
