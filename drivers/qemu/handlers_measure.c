/* How fast a guest writes its memory; and what only guests with a secret memory have. */
#define VQ_FROM VIR_FROM_QEMU
#include <libvirt/libvirt.h>

#include "conf/domain.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/handlers_define.h"
#include "drivers/qemu/qmp.h"
#include "proto/gen/remote.h"

/* Reference: QEMU, "calc-dirty-rate". The daemon does not wait for the end: domain stats show it. */
enum { SECONDS_MIN = 1, SECONDS_MAX = 60 };

static void started(json_t *reply VQ_UNUSED, const struct vq_error *err, void *data)
{
    if (err != NULL)
        vq_request_fail(data, err);
    else
        vq_request_reply(data);
}

static const char *mode_of(uint32_t flags)
{
    return (flags & VIR_DOMAIN_DIRTYRATE_MODE_DIRTY_BITMAP) != 0 ? "dirty-bitmap"
           : (flags & VIR_DOMAIN_DIRTYRATE_MODE_DIRTY_RING) != 0 ? "dirty-ring"
                                                                 : "page-sampling";
}

static void domain_start_dirty_rate_calc(struct vq_request *request)
{
    const uint32_t modes = VIR_DOMAIN_DIRTYRATE_MODE_PAGE_SAMPLING | VIR_DOMAIN_DIRTYRATE_MODE_DIRTY_BITMAP |
                           VIR_DOMAIN_DIRTYRATE_MODE_DIRTY_RING;
    const struct vq_remote_domain_start_dirty_rate_calc_args *args = request->args;

    if (!vq_qemu_check_flags(request, args->flags, modes))
        return;
    if ((args->flags & (args->flags - 1)) != 0) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_INVALID_ARG, "one mode of calculation at a time");
        return;
    }
    if (args->seconds < SECONDS_MIN || args->seconds > SECONDS_MAX) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_CONFIG_UNSUPPORTED,
                       "seconds=%d is invalid, please choose value within [%d, %d].", args->seconds, SECONDS_MIN,
                       SECONDS_MAX);
        return;
    }
    const struct vq_qemu_guest *guest = vq_qemu_guest_of(request);
    if (guest == NULL)
        return;
    if ((args->flags & VIR_DOMAIN_DIRTYRATE_MODE_DIRTY_RING) != 0 &&
        (guest->live == NULL || guest->live->features == NULL || guest->live->features->kvm == NULL ||
         guest->live->features->kvm->dirty_ring != VQ_SWITCH_ON)) {
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_UNSUPPORTED,
                       "dirty-ring calculation mode requires dirty-ring feature enabled.");
        return;
    }
    (void)vq_qmp_call(guest->qmp, "calc-dirty-rate",
                      json_pack("{s:i, s:s}", "calc-time", args->seconds, "mode", mode_of(args->flags)),
                      VQ_QMP_TIMEOUT_MS, started, request);
}

static void domain_set_launch_security_state(struct vq_request *request)
{
    const struct vq_remote_domain_set_launch_security_state_args *args = request->args;

    if (vq_qemu_check_flags(request, args->flags, 0))
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_OPERATION_UNSUPPORTED,
                       "setting a launch secret is only supported in SEV-enabled domains");
}

#define ROW(number, fn)                           \
    {                                             \
        VQ_PROGRAM_REMOTE, VQ_REMOTE_##number, fn \
    }
static const struct vq_driver_row rows[] = {
    ROW(DOMAIN_START_DIRTY_RATE_CALC, domain_start_dirty_rate_calc),
    ROW(DOMAIN_SET_LAUNCH_SECURITY_STATE, domain_set_launch_security_state),
};
#undef ROW
const struct vq_qemu_rows vq_qemu_measure_rows = {rows, VQ_N_ELEMENTS(rows)};
