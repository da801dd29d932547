/* Code sets of keyboards: see send_key.h and keycodes.def. */
#include <libvirt/libvirt.h>
#include <stddef.h>

#include "drivers/qemu/send_key.h"

enum { SETS = VIR_KEYCODE_SET_QNUM + 1, NONE = -1, PREFIXED = 0x80 };

static const char *const names[SETS] = {
    [VIR_KEYCODE_SET_LINUX] = "linux",   [VIR_KEYCODE_SET_XT] = "xt",         [VIR_KEYCODE_SET_ATSET1] = "atset1",
    [VIR_KEYCODE_SET_ATSET2] = "atset2", [VIR_KEYCODE_SET_ATSET3] = "atset3", [VIR_KEYCODE_SET_OSX] = "os_x",
    [VIR_KEYCODE_SET_XT_KBD] = "xt_kbd", [VIR_KEYCODE_SET_USB] = "usb",       [VIR_KEYCODE_SET_WIN32] = "win32",
    [VIR_KEYCODE_SET_QNUM] = "qnum",
};

/* What a prefixed key adds to its code; 0: the set has its own codes. */
static const int32_t prefixes[SETS] = { [VIR_KEYCODE_SET_XT] = 0xe000, [VIR_KEYCODE_SET_ATSET1] = 0xe000,
                                        [VIR_KEYCODE_SET_XT_KBD] = 0x100 };

#define KEY(qnum, linux_, atset2, atset3, os_x, usb, win32)                                                            \
    { [VIR_KEYCODE_SET_LINUX] = (linux_), [VIR_KEYCODE_SET_ATSET2] = (atset2), [VIR_KEYCODE_SET_ATSET3] = (atset3),    \
      [VIR_KEYCODE_SET_OSX] = (os_x), [VIR_KEYCODE_SET_USB] = (usb), [VIR_KEYCODE_SET_WIN32] = (win32),                \
      [VIR_KEYCODE_SET_QNUM] = (qnum) },
#define ALSO(set, code, qnum)
#define NAMELESS(set, first, last)
static const int32_t keys[][SETS] = {
#include "drivers/qemu/keycodes.def"
};
#undef KEY
#undef ALSO
#undef NAMELESS

#define KEY(qnum, linux_, atset2, atset3, os_x, usb, win32)
#define ALSO(set, code, qnum) { VIR_KEYCODE_SET_##set, (code), (code), (qnum) },
#define NAMELESS(set, first, last) { VIR_KEYCODE_SET_##set, (first), (last), 0 },
static const struct {
    uint32_t set, first, last, number;
} others[] = {
#include "drivers/qemu/keycodes.def"
};
#undef KEY
#undef ALSO
#undef NAMELESS

const char *vq_keycode_set_name(uint32_t set)
{
    return set < SETS ? names[set] : NULL;
}

static int32_t code_of(const int32_t *key, uint32_t set)
{
    int32_t number = key[VIR_KEYCODE_SET_QNUM];

    if (prefixes[set] == 0)
        return key[set];
    return (number & PREFIXED) != 0 ? prefixes[set] + (number & ~PREFIXED) : number;
}

bool vq_keycode_find(uint32_t set, uint32_t code, uint32_t *ret_number)
{
    if (set >= SETS || code > UINT16_MAX)
        return false;
    if (set == VIR_KEYCODE_SET_QNUM || (prefixes[set] != 0 && code == 0)) { /* as it is, or none */
        *ret_number = code;
        return true;
    }
    for (size_t i = 0; i < sizeof(keys) / sizeof(keys[0]); i++) {
        if (code_of(keys[i], set) != (int32_t)code)
            continue;
        *ret_number = (uint32_t)keys[i][VIR_KEYCODE_SET_QNUM];
        return true;
    }
    for (size_t i = 0; i < sizeof(others) / sizeof(others[0]); i++) {
        if (others[i].set != set || code < others[i].first || code > others[i].last)
            continue;
        *ret_number = others[i].number;
        return true;
    }
    return false;
}
