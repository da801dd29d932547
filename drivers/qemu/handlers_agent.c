/* Procedures that only the agent inside the guest can answer. There is no connection to agents yet, so each says what is
 * missing: the channel in the definition, or somebody at its other end. */
#define VQ_FROM VIR_FROM_QEMU

#include <libvirt/libvirt.h>
#include <string.h>

#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/guest.h"
#include "drivers/qemu/handlers_define.h"
#include "proto/gen/remote.h"

bool vq_qemu_has_agent(const struct vq_qemu_guest *guest)
{
    for (size_t i = 0; guest->live != NULL && i < guest->live->devices.n_channels; i++)
        if (vq_streq(guest->live->devices.channels[i]->name, "org.qemu.guest_agent.0"))
            return true;
    return false;
}

void vq_qemu_refuse_agent(struct vq_request *request, const struct vq_qemu_guest *guest)
{
    if (vq_qemu_has_agent(guest))
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_AGENT_UNRESPONSIVE, "QEMU guest agent is not connected");
    else
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_ARGUMENT_UNSUPPORTED, "QEMU guest agent is not configured");
}

/* Where the flags of each procedure are, and which there are. */
static const struct {
    uint32_t number;
    size_t flags_offset;
    uint32_t allowed;
} calls[] = {
#define CALL(NAME, name, allowed) \
    { VQ_REMOTE_##NAME, offsetof(struct vq_remote_##name##_args, flags), allowed }
    CALL(DOMAIN_GET_FSINFO, domain_get_fsinfo, 0),
    CALL(DOMAIN_FSFREEZE, domain_fsfreeze, 0),
    CALL(DOMAIN_FSTHAW, domain_fsthaw, 0),
    CALL(DOMAIN_FSTRIM, domain_fstrim, 0),
    CALL(DOMAIN_GET_GUEST_INFO, domain_get_guest_info, 0),
    CALL(DOMAIN_GET_GUEST_VCPUS, domain_get_guest_vcpus, 0),
    CALL(DOMAIN_SET_GUEST_VCPUS, domain_set_guest_vcpus, 0),
    CALL(DOMAIN_GET_TIME, domain_get_time, 0),
    CALL(DOMAIN_SET_TIME, domain_set_time, VIR_DOMAIN_TIME_SYNC),
    CALL(DOMAIN_SET_USER_PASSWORD, domain_set_user_password, VIR_DOMAIN_PASSWORD_ENCRYPTED),
    CALL(DOMAIN_AUTHORIZED_SSH_KEYS_GET, domain_authorized_ssh_keys_get, 0),
    CALL(DOMAIN_AUTHORIZED_SSH_KEYS_SET, domain_authorized_ssh_keys_set,
         VIR_DOMAIN_AUTHORIZED_SSH_KEYS_SET_APPEND | VIR_DOMAIN_AUTHORIZED_SSH_KEYS_SET_REMOVE),
    CALL(DOMAIN_PM_SUSPEND_FOR_DURATION, domain_pm_suspend_for_duration, 0),
#undef CALL
};

static void ask_agent(struct vq_request *request)
{
    const struct vq_qemu_guest *guest;
    size_t i = 0;
    uint32_t flags;

    while (calls[i].number != request->procedure->number)
        i++;
    memcpy(&flags, (const char *)request->args + calls[i].flags_offset, sizeof(flags));
    if (vq_qemu_check_flags(request, flags, calls[i].allowed) && (guest = vq_qemu_guest_of(request)) != NULL)
        vq_qemu_refuse_agent(request, guest);
}

/* From the agent, or from the leases of the networks that the guest is in: those have none yet. */
static void domain_get_hostname(struct vq_request *request)
{
    const struct vq_remote_domain_get_hostname_args *args = request->args;
    const struct vq_qemu_guest *guest;

    if (!vq_qemu_check_flags(request, args->flags, VIR_DOMAIN_GET_HOSTNAME_LEASE | VIR_DOMAIN_GET_HOSTNAME_AGENT) ||
        (guest = vq_qemu_guest_of(request)) == NULL)
        return;
    if (args->flags == VIR_DOMAIN_GET_HOSTNAME_LEASE)
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_NO_HOSTNAME, "no hostname found for domain %s", guest->name);
    else
        vq_qemu_refuse_agent(request, guest);
}

static void domain_interface_addresses(struct vq_request *request)
{
    const struct vq_remote_domain_interface_addresses_args *args = request->args;
    const struct vq_qemu_guest *guest;

    if (!vq_qemu_check_flags(request, args->flags, 0) || (guest = vq_qemu_guest_of(request)) == NULL)
        return;
    if (args->source == VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_LEASE)
        vq_request_reply(request); /* no leases are given here: an empty list */
    else if (args->source == VIR_DOMAIN_INTERFACE_ADDRESSES_SRC_AGENT)
        vq_qemu_refuse_agent(request, guest);
    else
        vq_qemu_refuse(request, VQ_FROM, VIR_ERR_ARGUMENT_UNSUPPORTED, "Unknown IP address data source %u", args->source);
}

#define ROW(NAME, fn) { VQ_PROGRAM_REMOTE, VQ_REMOTE_##NAME, fn }

static const struct vq_driver_row rows[] = {
    ROW(DOMAIN_GET_FSINFO, ask_agent),
    ROW(DOMAIN_FSFREEZE, ask_agent),
    ROW(DOMAIN_FSTHAW, ask_agent),
    ROW(DOMAIN_FSTRIM, ask_agent),
    ROW(DOMAIN_GET_GUEST_INFO, ask_agent),
    ROW(DOMAIN_GET_GUEST_VCPUS, ask_agent),
    ROW(DOMAIN_SET_GUEST_VCPUS, ask_agent),
    ROW(DOMAIN_GET_TIME, ask_agent),
    ROW(DOMAIN_SET_TIME, ask_agent),
    ROW(DOMAIN_SET_USER_PASSWORD, ask_agent),
    ROW(DOMAIN_AUTHORIZED_SSH_KEYS_GET, ask_agent),
    ROW(DOMAIN_AUTHORIZED_SSH_KEYS_SET, ask_agent),
    ROW(DOMAIN_PM_SUSPEND_FOR_DURATION, ask_agent),
    ROW(DOMAIN_GET_HOSTNAME, domain_get_hostname),
    ROW(DOMAIN_INTERFACE_ADDRESSES, domain_interface_addresses),
};
const struct vq_qemu_rows vq_qemu_agent_rows = { rows, VQ_N_ELEMENTS(rows) };
