/* The commands above level 1. */
#include "proto/level.h"

#include "conf/base/macros.h"
#include "proto/cluster.pb-c.h"

static const uint8_t levels[] = {
    [VQ__COMMAND__CHANGE_DOMAIN_MOVE] = 2,
    [VQ__COMMAND__CHANGE_DOMAIN_MOVE_END] = 2,
    [VQ__COMMAND__CHANGE_NODE_DRAIN] = 2,
};

uint32_t vq_command_level(unsigned change_case)
{
    return change_case < VQ_N_ELEMENTS(levels) && levels[change_case] != 0 ? levels[change_case] : 1;
}
