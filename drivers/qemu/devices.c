/* Small facts about devices. */
#include "drivers/qemu/devices.h"

#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"

struct vq_controller *vq_qemu_add_controller(struct vq_domain *def, enum vq_controller_type type, uint32_t index,
                                             const char *model)
{
    struct vq_devices *devices = &def->devices;
    struct vq_controller *controller = vq_new(struct vq_controller);

    controller->type = type;
    controller->has_index = true;
    controller->index = index;
    controller->model = vq_strdup(model);
    devices->controllers = vq_realloc(devices->controllers, devices->n_controllers + 1, sizeof(*devices->controllers));
    devices->controllers[devices->n_controllers++] = controller;
    return controller;
}

struct vq_controller *vq_qemu_find_controller(const struct vq_domain *def, enum vq_controller_type type, uint32_t index)
{
    for (size_t i = 0; i < def->devices.n_controllers; i++)
        if (def->devices.controllers[i]->type == type && def->devices.controllers[i]->index == index)
            return def->devices.controllers[i];
    return NULL;
}

bool vq_qemu_balloon_is_present(const struct vq_memballoon *balloon)
{
    return balloon != NULL && balloon->model != VQ_BALLOON_NONE;
}

bool vq_qemu_sound_is_pci(const struct vq_sound *sound)
{
    static const char *const pci[] = {"es1370", "ac97", "ich6", "ich9"};

    for (size_t i = 0; i < VQ_N_ELEMENTS(pci); i++)
        if (vq_streq(sound->model, pci[i]))
            return true;
    return false;
}

bool vq_qemu_sound_has_codec(const struct vq_sound *sound)
{
    return vq_streq(sound->model, "ich6") || vq_streq(sound->model, "ich9");
}

const char *vq_qemu_scsi_device(const char *model)
{
    static const struct {
        const char *model, *device;
    } table[] = {
        {"virtio-scsi", "virtio-scsi-pci"},
        {"virtio-transitional", "virtio-scsi-pci-transitional"},
        {"virtio-non-transitional", "virtio-scsi-pci-non-transitional"},
        {"lsilogic", "lsi"},
        {"lsisas1068", "mptsas1068"},
        {"lsisas1078", "megasas"},
        {"vmpvscsi", "pvscsi"},
        {"dc390", "dc390"},
        {"am53c974", "am53c974"},
    };

    for (size_t i = 0; i < VQ_N_ELEMENTS(table); i++)
        if (vq_streq(table[i].model, model))
            return table[i].device;
    return NULL;
}

bool vq_qemu_scsi_has_no_lun(const char *model)
{
    return vq_streq(model, "lsilogic") || vq_streq(model, "dc390") || vq_streq(model, "am53c974");
}
