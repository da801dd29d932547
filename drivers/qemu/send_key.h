/* Keys of a guest's keyboard, pressed for clients. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "conf/base/macros.h"

/* QEMU's number for a code of a set (VIR_KEYCODE_SET_*); 0 for a key that it has none for. False: the set has no such code. */
bool vq_keycode_find(uint32_t set, uint32_t code, uint32_t *ret_number) VQ_MUST_CHECK;
/* "linux"; NULL: there is no such set. */
const char *vq_keycode_set_name(uint32_t set);
