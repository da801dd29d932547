/* What a definition may not say of its devices: see definition_check.c. */
#define VQ_FROM VIR_FROM_QEMU
#include <string.h>

#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/definition.h"
#include "drivers/qemu/devices.h"

#define REFUSE(...) vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, __VA_ARGS__)

static bool is_x86(const struct vq_domain *def)
{
    return vq_streq(def->os.arch, "x86_64") || vq_streq(def->os.arch, "i686");
}

static bool is_machine(const struct vq_domain *def, const char *prefix)
{
    return def->os.machine != NULL && strncmp(def->os.machine, prefix, strlen(prefix)) == 0;
}

/* Where a list of device types is known, one that is missing is refused; without a list QEMU has the word. */
static bool is_missing(const struct vq_qemu_capabilities *caps, const char *device)
{
    return caps->n_devices > 0 && !vq_qemu_capabilities_has_device(caps, device);
}

/* ---- Memory that others map ---- */

static bool has_shared_memory(const struct vq_domain *def)
{
    if (def->memory_backing != NULL && vq_streq(def->memory_backing->access_mode, "shared"))
        return true;
    for (size_t i = 0; def->cpu != NULL && i < def->cpu->n_cells; i++)
        if (!vq_streq(def->cpu->cells[i]->mem_access, "shared"))
            return false;
    return def->cpu != NULL && def->cpu->n_cells > 0;
}

/* ---- Each kind ---- */

static int check_filesystem(const struct vq_domain *def, const struct vq_filesystem *fs, struct vq_error *err)
{
    if (fs->type != NULL && strcmp(fs->type, "mount") != 0)
        return REFUSE("only supports mount filesystem type");
    if (fs->driver_type != NULL && strcmp(fs->driver_type, "path") != 0 && strcmp(fs->driver_type, "virtiofs") != 0)
        return REFUSE("Filesystem driver type not supported");
    if ((fs->fmode != NULL || fs->dmode != NULL) && !vq_streq(fs->accessmode, "mapped"))
        return REFUSE("fmode and dmode must be used with accessmode=mapped");
    if (fs->space_hard_limit != 0 || fs->space_soft_limit != 0)
        return REFUSE("size limits of filesystems are for containers");
    if (fs->target == NULL || (fs->source_dir == NULL && fs->source_socket == NULL))
        return vq_error_set(err, VIR_ERR_XML_ERROR, "missing %s of a filesystem", fs->target == NULL ? "target" : "source");
    if (!vq_qemu_filesystem_is_virtiofs(fs))
        return 0;
    if (fs->is_readonly)
        return REFUSE("virtiofs does not yet support read-only mode");
    if (fs->source_socket == NULL && fs->accessmode != NULL && strcmp(fs->accessmode, "passthrough") != 0)
        return REFUSE("virtiofs only supports passthrough accessmode");
    if (fs->wrpolicy != NULL && strcmp(fs->wrpolicy, "default") != 0)
        return REFUSE("virtiofs does not support wrpolicy");
    if (!has_shared_memory(def))
        return REFUSE("'virtiofs' requires shared memory");
    return 0;
}

static bool is_power_of_two(uint64_t number)
{
    return number != 0 && (number & (number - 1)) == 0;
}

static int check_interface(const struct vq_interface *interface, struct vq_error *err)
{
    if (interface->backend_type != NULL && strcmp(interface->backend_type, "default") != 0 &&
        strcmp(interface->backend_type, "passt") != 0)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "Invalid value for attribute 'type' in element 'backend': '%s'.",
                            interface->backend_type);
    if (interface->n_port_forwards > 0 && !vq_streq(interface->backend_type, "passt"))
        return REFUSE("The <portForward> element can only be used with <interface type='user'> and its 'passt' backend");
    if (interface->type == VQ_INTERFACE_INTERNAL)
        return REFUSE("network device type 'internal' is not supported by this hypervisor");
    if (interface->rx_queue_size != 0 && !is_power_of_two(interface->rx_queue_size))
        return REFUSE("rx_queue_size has to be a power of two");
    if (interface->tx_queue_size != 0 && !is_power_of_two(interface->tx_queue_size))
        return REFUSE("tx_queue_size has to be a power of two");
    if (interface->inbound.floor != 0 && interface->type != VQ_INTERFACE_NETWORK)
        return REFUSE("floor attribute is not supported for this config");
    if (interface->queues > 64)
        return REFUSE("interface '%s': at most 64 queues", interface->model == NULL ? "" : interface->model);
    return 0;
}

static int check_hostdev(const struct vq_domain *def, const struct vq_hostdev *hostdev, struct vq_error *err)
{
    if (hostdev->mode != NULL && strcmp(hostdev->mode, "subsystem") != 0)
        return REFUSE("hostdev mode '%s' is not supported in qemu", hostdev->mode);
    if (hostdev->type == VQ_HOSTDEV_PCI && hostdev->driver_name != NULL && strcmp(hostdev->driver_name, "vfio") != 0)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "invalid PCI passthrough type '%s'", hostdev->driver_name);
    if (hostdev->type == VQ_HOSTDEV_MDEV) {
        if (vq_streq(hostdev->model, "vfio-ccw") || vq_streq(hostdev->model, "vfio-ap"))
            return REFUSE("VFIO %s device assignment is not supported by this version of QEMU",
                          vq_streq(hostdev->model, "vfio-ccw") ? "CCW" : "AP");
        if (!vq_streq(hostdev->model, "vfio-pci"))
            return vq_error_set(err, VIR_ERR_XML_ERROR, "unknown mediated device model '%s'",
                                hostdev->model == NULL ? "" : hostdev->model);
        if (hostdev->display == VQ_SWITCH_ON && def->devices.n_graphics == 0)
            return REFUSE("graphics device is needed for attribute value 'display=on' in <hostdev>");
        if (hostdev->ramfb == VQ_SWITCH_ON && hostdev->display != VQ_SWITCH_ON)
            return REFUSE("'ramfb' attribute in <hostdev> needs display='on'");
    }
    return 0;
}

static bool is_same_hostdev(const struct vq_hostdev *a, const struct vq_hostdev *b)
{
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case VQ_HOSTDEV_PCI:
        return a->pci.domain == b->pci.domain && a->pci.bus == b->pci.bus && a->pci.slot == b->pci.slot &&
               a->pci.function == b->pci.function;
    case VQ_HOSTDEV_USB:
        return a->has_usb_address && b->has_usb_address ? a->usb_bus == b->usb_bus && a->usb_device == b->usb_device
                                                         : !a->has_usb_address && !b->has_usb_address &&
                                                               a->vendor == b->vendor && a->product == b->product;
    case VQ_HOSTDEV_MDEV:
        return memcmp(a->mdev_uuid, b->mdev_uuid, sizeof(a->mdev_uuid)) == 0;
    default:
        return false;
    }
}

static int check_hostdevs(const struct vq_domain *def, struct vq_error *err)
{
    const struct vq_devices *devices = &def->devices;

    for (size_t i = 0; i < devices->n_hostdevs; i++) {
        if (check_hostdev(def, devices->hostdevs[i], err) < 0)
            return -1;
        for (size_t k = 0; k < i; k++)
            if (is_same_hostdev(devices->hostdevs[i], devices->hostdevs[k]))
                return vq_error_set(err, VIR_ERR_XML_ERROR, "Hostdev already exists in the domain configuration");
    }
    return 0;
}

static int check_tpms(const struct vq_domain *def, const struct vq_qemu_capabilities *caps, struct vq_error *err)
{
    const struct vq_devices *devices = &def->devices;

    if (devices->n_tpms > 1)
        return REFUSE("only a single TPM non-proxy device is supported");
    for (size_t i = 0; i < devices->n_tpms; i++) {
        const struct vq_tpm *tpm = devices->tpms[i];
        bool is_tis = vq_streq(tpm->model, "tpm-tis");
        if (!is_tis && !vq_streq(tpm->model, "tpm-crb") && !vq_streq(tpm->model, "tpm-spapr"))
            return vq_error_set(err, VIR_ERR_XML_ERROR, "Unknown TPM frontend model '%s'", tpm->model);
        if (is_missing(caps, is_tis && !is_x86(def) ? "tpm-tis-device" : tpm->model))
            return REFUSE("The QEMU executable %s does not support TPM model %s", def->devices.emulator, tpm->model);
        if (vq_streq(tpm->version, "1.2") && vq_streq(tpm->model, "tpm-crb"))
            return REFUSE("Unsupported interface 'tpm-crb' for TPM 1.2");
        if (tpm->backend == VQ_TPM_EMULATOR && !vq_streq(tpm->version, "1.2") && !vq_streq(tpm->version, "2.0"))
            return REFUSE("Unsupported TPM version '%s'", tpm->version);
        if (tpm->backend == VQ_TPM_EXTERNAL && (tpm->source.type != VQ_CHARDEV_UNIX || tpm->source.path == NULL))
            return REFUSE("only socket type 'unix' with a path is supported for external TPM devices");
    }
    return 0;
}

static int check_input(const struct vq_input *input, struct vq_error *err)
{
    static const char *const types[VQ_INPUT_N] = {[VQ_INPUT_MOUSE] = "mouse", [VQ_INPUT_TABLET] = "tablet",
                                                  [VQ_INPUT_KEYBOARD] = "keyboard", [VQ_INPUT_PASSTHROUGH] = "passthrough",
                                                  [VQ_INPUT_EVDEV] = "evdev"};

    if (input->bus == VQ_INPUT_BUS_XEN || input->bus == VQ_INPUT_BUS_PARALLELS)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "unsupported input bus %s",
                            input->bus == VQ_INPUT_BUS_XEN ? "xen" : "parallels");
    if (input->bus == VQ_INPUT_BUS_PS2 && input->type != VQ_INPUT_MOUSE && input->type != VQ_INPUT_KEYBOARD)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "ps2 bus does not support %s input device", types[input->type]);
    if (input->bus == VQ_INPUT_BUS_VIRTIO && input->type != VQ_INPUT_PASSTHROUGH &&
        (input->model == VQ_VIRTIO_MODEL_TRANSITIONAL || input->model == VQ_VIRTIO_MODEL_NON_TRANSITIONAL))
        return REFUSE("virtio (non-)transitional models are not supported for input type=%s", types[input->type]);
    if (input->type == VQ_INPUT_PASSTHROUGH && input->evdev == NULL)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "Missing evdev path for input device passthrough");
    if (input->type == VQ_INPUT_EVDEV && input->source_dev == NULL)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "missing source device of an evdev input");
    return 0;
}

static int check_iommu(const struct vq_domain *def, struct vq_error *err)
{
    const struct vq_iommu *iommu = def->devices.iommu;

    if (iommu == NULL)
        return 0;
    if (vq_streq(iommu->model, "intel") && !is_machine(def, "pc-q35"))
        return REFUSE("IOMMU device: 'intel' is only supported with Q35 machines");
    if (vq_streq(iommu->model, "smmuv3") && !is_machine(def, "virt"))
        return REFUSE("IOMMU device: 'smmuv3' is only supported with ARM Virt machines");
    if (iommu->eim == VQ_SWITCH_ON && iommu->intremap != VQ_SWITCH_ON)
        return REFUSE("IOMMU eim requires interrupt remapping to be enabled");
    if (iommu->intremap == VQ_SWITCH_ON && (def->features == NULL || !vq_streq(def->features->ioapic_driver, "qemu")))
        return REFUSE("IOMMU interrupt remapping requires split I/O APIC (ioapic driver='qemu')");
    return 0;
}

static int check_panics(const struct vq_domain *def, struct vq_error *err)
{
    const struct vq_devices *devices = &def->devices;

    for (size_t i = 0; i < devices->n_panics; i++) {
        const char *model = devices->panics[i]->model;
        if (vq_streq(model, "pseries"))
            return REFUSE("only pSeries guests support panic device of model 'pseries'");
        if (vq_streq(model, "s390"))
            return REFUSE("only S390 guests support panic device of model 's390'");
        if (!vq_streq(model, "isa") && !vq_streq(model, "hyperv"))
            return REFUSE("unknown panic model '%s'", model);
        if (!is_x86(def))
            return REFUSE("panic device of model '%s' is not supported on architecture '%s'", model, def->os.arch);
        for (size_t k = 0; k < i; k++)
            if (vq_streq(model, devices->panics[k]->model))
                return vq_error_set(err, VIR_ERR_XML_ERROR, "Multiple panic devices with model '%s'", model);
    }
    return 0;
}

static int check_shmem(const struct vq_shmem *shmem, struct vq_error *err)
{
    bool is_doorbell = vq_streq(shmem->model, "ivshmem-doorbell");

    if (shmem->model == NULL || vq_streq(shmem->model, "ivshmem"))
        return REFUSE("ivshmem device is not supported with this QEMU binary");
    if (!is_doorbell && !vq_streq(shmem->model, "ivshmem-plain"))
        return vq_error_set(err, VIR_ERR_XML_ERROR, "Unknown shmem model type '%s'", shmem->model);
    if (!vq_name_is_component(shmem->name))
        return vq_error_set(err, VIR_ERR_XML_ERROR, "shmem name cannot include '/' character");
    if (shmem->size_mib != 0 && !is_power_of_two(shmem->size_mib))
        return vq_error_set(err, VIR_ERR_XML_ERROR, "shmem size must be a power of two");
    if (is_doorbell && shmem->server_path == NULL)
        return REFUSE("shmem model 'ivshmem-doorbell' is supported only with server option enabled");
    if (!is_doorbell && shmem->server_path != NULL)
        return REFUSE("shmem model 'ivshmem-plain' is supported only with server option disabled");
    if (!is_doorbell && shmem->has_msi)
        return REFUSE("shmem model 'ivshmem-plain' is supported only with msi option disabled");
    return 0;
}

static int check_watchdogs(const struct vq_domain *def, struct vq_error *err)
{
    const struct vq_devices *devices = &def->devices;

    if (devices->n_watchdogs > 1)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "only a single watchdog device is supported");
    for (size_t i = 0; i < devices->n_watchdogs; i++) {
        const char *model = devices->watchdogs[i]->model;
        if (vq_streq(model, "diag288"))
            return REFUSE("diag288 model of watchdog is allowed for s390 and s390x only");
        if ((vq_streq(model, "itco") && !is_machine(def, "pc-q35")) ||
            (!vq_streq(model, "itco") && !vq_streq(model, "i6300esb") && !vq_streq(model, "ib700")))
            return REFUSE("unknown watchdog model '%s'", model == NULL ? "" : model);
    }
    return 0;
}

static int check_video(const struct vq_video *video, struct vq_error *err)
{
    static const char *const known[] = {"vga", "cirrus", "vmvga", "qxl", "virtio", "bochs", "ramfb", "none"};
    bool is_known = false, is_virtio = vq_streq(video->model, "virtio");

    for (size_t i = 0; i < VQ_N_ELEMENTS(known); i++)
        is_known = is_known || vq_streq(known[i], video->model);
    if (!is_known)
        return REFUSE("domain configuration does not support video model '%s'", video->model);
    if (video->accel3d == VQ_SWITCH_ON && !is_virtio)
        return REFUSE("3d acceleration is supported only with 'virtio' video device");
    if (video->accel2d == VQ_SWITCH_ON)
        return REFUSE("qemu does not support the accel2d setting");
    if (vq_streq(video->driver_name, "vhostuser"))
        return REFUSE("a vhost-user GPU is not supported");
    if (vq_streq(video->model, "qxl") && video->vgamem_kib != 0 && video->vgamem_kib < 1024)
        return REFUSE("value for 'vgamem' must be at least 1 MiB (1024 KiB)");
    if (video->heads > 1 && !is_virtio && !vq_streq(video->model, "qxl"))
        return REFUSE("video type '%s' only supports 1 head", video->model);
    if (video->blob == VQ_SWITCH_ON && !is_virtio)
        return REFUSE("'blob' is only supported with 'virtio' video devices");
    return 0;
}

static int check_audio(const struct vq_domain *def, struct vq_error *err)
{
    const struct vq_devices *devices = &def->devices;

    for (size_t i = 0; i < devices->n_sounds; i++) {
        bool is_there = devices->sounds[i]->audio_id == 0;
        for (size_t k = 0; k < devices->n_audios; k++)
            is_there = is_there || devices->audios[k]->id == devices->sounds[i]->audio_id;
        if (!is_there)
            return vq_error_set(err, VIR_ERR_XML_ERROR, "no audio device with ID %u", devices->sounds[i]->audio_id);
    }
    return 0;
}

static int check_balloon(const struct vq_domain *def, struct vq_error *err)
{
    const struct vq_memballoon *balloon = def->devices.memballoon;

    return balloon != NULL && balloon->model == VQ_BALLOON_XEN
               ? REFUSE("Memory balloon device type 'xen' is not supported by this version of qemu")
               : 0;
}

static int check_crypto(const struct vq_crypto *crypto, const struct vq_qemu_capabilities *caps, struct vq_error *err)
{
    if (is_missing(caps, "virtio-crypto-pci"))
        return REFUSE("virtio-crypto is not supported by this QEMU");
    if (vq_streq(crypto->backend, "lkcf") && caps->version < 8000000)
        return REFUSE("crypto backend 'lkcf' needs a newer QEMU");
    return 0;
}

#define EACH(list, call)                                                                                                \
    for (size_t i = 0; i < def->devices.n_##list; i++)                                                                  \
        if (call < 0)                                                                                                   \
    return -1

int vq_qemu_definition_check_devices(const struct vq_domain *def, const struct vq_qemu_capabilities *caps,
                                     struct vq_error *err)
{
    EACH(filesystems, check_filesystem(def, def->devices.filesystems[i], err));
    EACH(interfaces, check_interface(def->devices.interfaces[i], err));
    EACH(inputs, check_input(def->devices.inputs[i], err));
    EACH(shmems, check_shmem(def->devices.shmems[i], err));
    EACH(videos, check_video(def->devices.videos[i], err));
    EACH(cryptos, check_crypto(def->devices.cryptos[i], caps, err));
    if (def->devices.nvram != NULL)
        return REFUSE("nvram device is only supported for PPC64");
    if (check_hostdevs(def, err) < 0 || check_tpms(def, caps, err) < 0 || check_iommu(def, err) < 0 ||
        check_panics(def, err) < 0 || check_watchdogs(def, err) < 0 || check_audio(def, err) < 0)
        return -1;
    return check_balloon(def, err);
}
