/* The table of numbered errors. */
#include "node/cluster/errors.h"

#include <libvirt/virterror.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

#define ROW(name, number, exit, what) [VQ_E_##name] = {number, exit, what},
const struct vq_number_row vq_numbers[VQ_N_NUMBERS] = {VQ_NUMBERS(ROW)};

enum vq_number vq_number_of(const struct vq_error *err)
{
    static const struct {
        int code;
        enum vq_number number;
    } codes[] = {
        {VIR_ERR_INVALID_ARG, VQ_E_INVALID},         {VIR_ERR_OPERATION_INVALID, VQ_E_NO_QUORUM},
        {VIR_ERR_AUTH_FAILED, VQ_E_DENIED},          {VIR_ERR_OPERATION_TIMEOUT, VQ_E_UNKNOWN},
        {VIR_ERR_OPERATION_UNSUPPORTED, VQ_E_LEVEL}, {VIR_ERR_NO_DOMAIN, VQ_E_NO_GUEST},
        {VIR_ERR_OPERATION_DENIED, VQ_E_NOT_TAKEN},
    };

    for (size_t i = 0; i < VQ_N_ELEMENTS(codes); i++)
        if (codes[i].code == err->code)
            return codes[i].number;
    return VQ_E_FAILED;
}
