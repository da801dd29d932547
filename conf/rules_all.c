/* Each device to the rules of its kind. */
#define VQ_FROM VIR_FROM_DOMAIN
#include "conf/rules.h"

static int check_ports(struct vq_port *const *ports, size_t n, struct vq_error *err)
{
    for (size_t i = 0; i < n; i++) {
        if (vq_check_chardev(&ports[i]->source, false, err) < 0)
            return -1;
    }
    return 0;
}

int vq_check_devices(const struct vq_devices *devices, struct vq_error *err)
{
#define EACH(list, check)                            \
    for (size_t i = 0; i < devices->n_##list; i++) { \
        if (check(devices->list[i], err) < 0)        \
            return -1;                               \
    }
    EACH(disks, vq_check_disk)
    EACH(controllers, vq_check_controller)
    EACH(filesystems, vq_check_filesystem)
    EACH(interfaces, vq_check_interface)
    EACH(smartcards, vq_check_smartcard)
    EACH(channels, vq_check_channel)
    EACH(inputs, vq_check_input)
    EACH(tpms, vq_check_tpm)
    EACH(graphics, vq_check_graphics)
    EACH(audios, vq_check_audio)
    EACH(videos, vq_check_video)
    EACH(hostdevs, vq_check_hostdev)
    EACH(redirdevs, vq_check_redirdev)
    EACH(rngs, vq_check_rng)
    EACH(shmems, vq_check_shmem)
    EACH(memories, vq_check_memory)
#undef EACH
    if (check_ports(devices->serials, devices->n_serials, err) < 0 ||
        check_ports(devices->parallels, devices->n_parallels, err) < 0 ||
        check_ports(devices->consoles, devices->n_consoles, err) < 0)
        return -1;
    return devices->iommu == NULL ? 0 : vq_check_iommu(devices->iommu, err);
}
