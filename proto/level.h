/* Feature levels: which replicated commands a node understands.
 *
 * A node that does not know a command would apply it differently from those that do. So a command above level 1 is proposed
 * only when every member is known to have its level; members say theirs in NodeRecord. Levels only rise: whoever adds a
 * command, or a meaning to an old one, raises VQ_FEATURE_LEVEL and adds a row in level.c. */
#pragma once

#include <stdint.h>

enum { VQ_FEATURE_LEVEL = 2 }; /* of this release */

/* What every member must have for a Command with this change_case. */
uint32_t vq_command_level(unsigned change_case);
