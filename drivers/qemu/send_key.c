/* domain_send_key. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/send_key.h"

#include <libvirt/libvirt.h>

#include "drivers/qemu/guest.h"
#include "drivers/qemu/handlers_define.h"
#include "drivers/qemu/qmp.h"
#include "proto/gen/remote.h"

static void pressed(json_t *reply, const struct vq_error *err, void *data)
{
    (void)reply;
    if (err != NULL)
        vq_request_fail(data, err);
    else
        vq_request_reply(data);
}

/* The keys as QEMU takes them; NULL: the request was refused. */
static json_t *translate(struct vq_request *request)
{
    const struct vq_remote_domain_send_key_args *args = request->args;
    const char *set = vq_keycode_set_name(args->codeset);
    json_t *keys = json_array();
    uint32_t number;

    for (uint32_t i = 0; i < args->n_keycodes; i++) {
        if (vq_keycode_find(args->codeset, args->keycodes[i], &number)) {
            (void)json_array_append_new(keys, json_pack("{s:s,s:I}", "type", "number", "data", (json_int_t)number));
            continue;
        }
        json_decref(keys);
        if (set == NULL)
            vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "code set %u is not known", args->codeset);
        else if (args->codeset == VIR_KEYCODE_SET_QNUM)
            vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_FAILED, "keycode %u is invalid: 0x%X", i, args->keycodes[i]);
        else
            vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INTERNAL_ERROR, "cannot translate keycode %u of %s codeset to qnum keycode",
                           args->keycodes[i], set);
        return NULL;
    }
    return keys;
}

/* All down in this order, then, after holdtime milliseconds, up in the other. */
static void domain_send_key(struct vq_request *request)
{
    const struct vq_remote_domain_send_key_args *args = request->args;
    struct vq_qemu_guest *guest;
    json_t *keys, *arguments;

    if (!vq_qemu_check_flags(request, args->flags, 0) || (guest = vq_qemu_guest_of(request)) == NULL ||
        !vq_qemu_activity_allows(request, guest) || (keys = translate(request)) == NULL)
        return;
    arguments = json_pack("{s:o}", "keys", keys);
    if (args->holdtime != 0)
        (void)json_object_set_new(arguments, "hold-time", json_integer((json_int_t)args->holdtime));
    (void)vq_qmp_call(guest->qmp, "send-key", arguments, VQ_QMP_TIMEOUT_MS, pressed, request);
}

static const struct vq_driver_row rows[] = {
    { VQ_PROGRAM_REMOTE, VQ_REMOTE_DOMAIN_SEND_KEY, domain_send_key },
};
const struct vq_qemu_rows vq_qemu_send_key_rows = { rows, VQ_N_ELEMENTS(rows) };
