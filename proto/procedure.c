/* Look-ups in the generated procedure table, and what its rules mean for one call. */
#include "proto/procedure.h"

#include <string.h>

#include "proto/gen/programs.h"

struct program {
    const char *name;
    uint32_t wire_number;
    uint32_t last;
    const struct vq_procedure *rows; /* by number; row 0 is empty */
};

#define ROW(id, program, number, n) [VQ_PROGRAM_##id] = {#program, (number), (n), vq_##program##_procedures},
static const struct program programs[VQ_PROGRAMS] = {VQ_PROGRAMS_TABLE(ROW)};
#undef ROW

const struct vq_procedure *vq_procedure_find(enum vq_program program, uint32_t number)
{
    if ((unsigned)program >= VQ_PROGRAMS || number == 0 || number > programs[program].last)
        return NULL;
    return &programs[program].rows[number];
}

const struct vq_procedure *vq_procedure_find_by_name(enum vq_program program, const char *name)
{
    if ((unsigned)program >= VQ_PROGRAMS)
        return NULL;
    for (uint32_t number = 1; number <= programs[program].last; number++)
        if (strcmp(programs[program].rows[number].name, name) == 0)
            return &programs[program].rows[number];
    return NULL;
}

uint32_t vq_procedure_last(enum vq_program program)
{
    return (unsigned)program < VQ_PROGRAMS ? programs[program].last : 0;
}

bool vq_program_find(uint32_t wire_number, enum vq_program *ret_program)
{
    for (unsigned i = 0; i < VQ_PROGRAMS; i++) {
        if (programs[i].wire_number == wire_number) {
            *ret_program = (enum vq_program)i;
            return true;
        }
    }
    return false;
}

uint32_t vq_program_number(enum vq_program program)
{
    return (unsigned)program < VQ_PROGRAMS ? programs[program].wire_number : 0;
}

const char *vq_program_name(enum vq_program program)
{
    return (unsigned)program < VQ_PROGRAMS ? programs[program].name : "unknown";
}

uint64_t vq_procedure_flags(const struct vq_procedure *procedure, const void *args)
{
    uint64_t wide;
    uint32_t narrow;

    if (procedure->flags_offset < 0 || args == NULL)
        return 0;
    const char *place = (const char *)args + procedure->flags_offset;
    if (procedure->flags_size == sizeof(wide)) {
        memcpy(&wide, place, sizeof(wide));
        return wide;
    }
    memcpy(&narrow, place, sizeof(narrow));
    return narrow;
}

static bool number_of(const struct vq_xdr_field *field, const char *place, int64_t *ret_value)
{
    if (field->shape != VQ_XDR_PLAIN)
        return false;
    switch (field->kind) {
    case VQ_XDR_I8: *ret_value = *(const int8_t *)place; return true;
    case VQ_XDR_U8: *ret_value = *(const uint8_t *)place; return true;
    case VQ_XDR_U16: *ret_value = *(const uint16_t *)place; return true;
    case VQ_XDR_I32: *ret_value = *(const int32_t *)place; return true;
    case VQ_XDR_U32: *ret_value = *(const uint32_t *)place; return true;
    case VQ_XDR_I64: *ret_value = *(const int64_t *)place; return true;
    case VQ_XDR_U64: *ret_value = (int64_t)*(const uint64_t *)place; return true;
    default: return false;
    }
}

bool vq_procedure_argument(const struct vq_procedure *procedure, const void *args, const char *name, int64_t *ret_value)
{
    if (procedure->args == NULL || args == NULL)
        return false;
    for (size_t i = 0; i < procedure->args->n_fields; i++) {
        const struct vq_xdr_field *field = &procedure->args->fields[i];
        if (strcmp(field->name, name) == 0)
            return number_of(field, (const char *)args + field->offset, ret_value);
    }
    return false;
}

bool vq_procedure_readonly_allows(const struct vq_procedure *procedure, const void *args)
{
    int64_t value;

    if (!procedure->allowed_readonly)
        return false;
    if (vq_procedure_flags(procedure, args) & procedure->readonly_denied_flags)
        return false;
    return procedure->readonly_denied_param == NULL ||
           !vq_procedure_argument(procedure, args, procedure->readonly_denied_param, &value) ||
           value != procedure->readonly_denied_value;
}

bool vq_acl_rule_applies(const struct vq_procedure *procedure, const struct vq_acl_rule *rule, const void *args)
{
    uint64_t flags = vq_procedure_flags(procedure, args);
    int64_t value;

    if (rule->param != NULL && (!vq_procedure_argument(procedure, args, rule->param, &value) ||
                                value != rule->param_value))
        return false;
    if (rule->flags_any == 0 && rule->flags_none == 0)
        return true;
    return (flags & rule->flags_any) != 0 || (rule->flags_none != 0 && (flags & rule->flags_none) == 0);
}
