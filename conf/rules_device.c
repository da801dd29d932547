/* Rules of the devices that are neither disks nor networks. */
#define VQ_FROM VIR_FROM_DOMAIN
#include <stdio.h>
#include <string.h>

#include "conf/rules.h"

/* ---- character devices ---- */

/* may_lack_path: sockets that are given a path at start. */
int vq_check_chardev(const struct vq_chardev *source, bool may_lack_path, struct vq_error *err)
{
    switch (source->type) {
    case VQ_CHARDEV_UNIX:
        REFUSE_IF(source->path == NULL && !may_lack_path, INTERNAL_ERROR,
                  "Missing source path attribute for char device");
        break;
    case VQ_CHARDEV_DEV:
    case VQ_CHARDEV_FILE:
    case VQ_CHARDEV_PIPE:
        REFUSE_IF(source->path == NULL, INTERNAL_ERROR, "Missing source path attribute for char device");
        break;
    case VQ_CHARDEV_TCP:
        REFUSE_IF(source->host == NULL, INTERNAL_ERROR, "Missing source host attribute for char device");
        REFUSE_IF(source->service == NULL, INTERNAL_ERROR, "Missing source service attribute for char device");
        break;
    case VQ_CHARDEV_SPICEPORT:
    case VQ_CHARDEV_DBUS:
        REFUSE_IF(source->channel == NULL, CONFIG_UNSUPPORTED, "Missing source channel attribute for char device");
        break;
    default:
        break;
    }
    REFUSE_FROM_IF(source->reconnect.enabled == VQ_SWITCH_ON && source->reconnect.timeout_s == 0, QEMU, INVALID_ARG,
                   "chardev reconnect source timeout cannot be '0'");
    return 0;
}

int vq_check_channel(const struct vq_port *channel, struct vq_error *err)
{
    if (channel->target == VQ_PORT_TARGET_GUESTFWD) {
        uint64_t port;

        REFUSE_IF(channel->address == NULL, XML_ERROR, "guestfwd channel does not define a target address");
        REFUSE_IF(channel->port == NULL, XML_ERROR, "Missing required attribute 'port' in element 'target'");
        REFUSE_IF(!vq_parse_u64(channel->port, 10, 65535, &port), XML_ERROR,
                  "Invalid value for attribute 'port' in element 'target': '%s'", channel->port);
    }
    return vq_check_chardev(&channel->source, true, err);
}

int vq_check_redirdev(const struct vq_redirdev *redirdev, struct vq_error *err)
{
    REFUSE_IF(redirdev->source.type == VQ_CHARDEV_UNSET, INTERNAL_ERROR, "missing type in redirdev");
    return vq_check_chardev(&redirdev->source, false, err);
}

int vq_check_rng(const struct vq_rng *rng, struct vq_error *err)
{
    REFUSE_IF(rng->backend == VQ_RNG_EGD && rng->source.type == VQ_CHARDEV_UNSET, XML_ERROR,
              "missing EGD backend type");
    REFUSE_IF(rng->backend == VQ_RNG_RANDOM && rng->device != NULL && rng->device[0] != '/', XML_ERROR,
              "path '%s' is not absolute", rng->device);
    return rng->backend == VQ_RNG_EGD ? vq_check_chardev(&rng->source, false, err) : 0;
}

int vq_check_smartcard(const struct vq_smartcard *card, struct vq_error *err)
{
    REFUSE_IF(card->mode == VQ_SMARTCARD_HOST_CERTIFICATES && card->n_certificates != 3, XML_ERROR,
              "host-certificates mode needs exactly three certificates");
    REFUSE_IF(card->database != NULL && card->database[0] != '/', XML_ERROR, "expecting absolute path: %s",
              card->database);
    if (card->mode != VQ_SMARTCARD_PASSTHROUGH)
        return 0;
    REFUSE_IF(card->source.type == VQ_CHARDEV_UNSET, XML_ERROR,
              "passthrough mode requires a character device type attribute");
    return vq_check_chardev(&card->source, false, err);
}

/* ---- displays ---- */

static bool is_time(const char *text)
{
    int year, month, day, hour, minute, second, end = 0;

    return sscanf(text, "%4d-%2d-%2dT%2d:%2d:%2d%n", &year, &month, &day, &hour, &minute, &second, &end) == 6 &&
           text[end] == '\0';
}

static int check_listens(const struct vq_graphics *graphics, struct vq_error *err)
{
    const struct vq_listen *first = graphics->n_listens > 0 ? graphics->listens[0] : NULL;

    for (size_t i = 0; i < graphics->n_listens; i++)
        REFUSE_IF(graphics->listens[i]->type == VQ_LISTEN_NETWORK && graphics->listens[i]->network == NULL, XML_ERROR,
                  "'network' attribute is required for listen type 'network'");
    REFUSE_IF(first != NULL && first->type == VQ_LISTEN_ADDRESS && graphics->listen != NULL &&
                  !vq_streq(first->address, graphics->listen),
              CONFIG_UNSUPPORTED,
              "graphics 'listen' attribute '%s' must match 'address' attribute of first listen element (found '%s')",
              graphics->listen, vq_rule_text(first->address));
    REFUSE_IF(first != NULL && first->type == VQ_LISTEN_SOCKET && graphics->socket != NULL &&
                  !vq_streq(first->socket, graphics->socket),
              CONFIG_UNSUPPORTED,
              "graphics 'socket' attribute '%s' must match 'socket' attribute of first listen element (found '%s')",
              graphics->socket, vq_rule_text(first->socket));
    return 0;
}

int vq_check_graphics(const struct vq_graphics *graphics, struct vq_error *err)
{
    REFUSE_IF(graphics->password_valid_to != NULL && !is_time(graphics->password_valid_to), INTERNAL_ERROR,
              "cannot parse password validity time '%s', expect YYYY-MM-DDTHH:MM:SS", graphics->password_valid_to);
    return check_listens(graphics, err);
}

int vq_check_video(const struct vq_video *video, struct vq_error *err)
{
    bool is_accelerated = video->accel2d != VQ_SWITCH_UNSET || video->accel3d != VQ_SWITCH_UNSET;
    bool has_resolution = video->resolution_x > 0 || video->resolution_y > 0;

    REFUSE_IF(video->rendernode != NULL && !vq_streq(video->driver_name, "vhostuser"), CONFIG_UNSUPPORTED,
              "unsupported rendernode accel attribute without 'vhostuser'");
    REFUSE_IF(video->rendernode != NULL && !is_accelerated, CONFIG_UNSUPPORTED, "missing values for acceleration");
    REFUSE_IF(has_resolution && (video->resolution_x == 0 || video->resolution_y == 0), CONFIG_UNSUPPORTED,
              "video resolution values must be greater than 0");
    return 0;
}

int vq_check_input(const struct vq_input *input, struct vq_error *err)
{
    REFUSE_IF(input->type == VQ_INPUT_PASSTHROUGH && input->evdev == NULL, XML_ERROR,
              "Missing evdev path for input device");
    REFUSE_IF(input->type == VQ_INPUT_EVDEV && input->source_dev == NULL, XML_ERROR,
              "Missing evdev path for input device");
    REFUSE_IF(input->type == VQ_INPUT_PASSTHROUGH && input->bus != VQ_INPUT_BUS_VIRTIO, CONFIG_UNSUPPORTED,
              "input bus is not supported by this input type");
    return 0;
}

static int check_direction(const struct vq_audio_direction *direction, struct vq_error *err)
{
    bool has_settings = direction->frequency > 0 || direction->channels > 0 || direction->format != NULL;

    REFUSE_IF(has_settings && direction->fixed_settings != VQ_SWITCH_ON, CONFIG_UNSUPPORTED,
              "audio settings specified without fixed settings flag");
    REFUSE_IF(direction->fixed_settings == VQ_SWITCH_ON && direction->mixing_engine != VQ_SWITCH_ON,
              CONFIG_UNSUPPORTED, "fixed audio settings requires mixing engine");
    return 0;
}

int vq_check_audio(const struct vq_audio *audio, struct vq_error *err)
{
    REFUSE_IF(audio->has_dsp_policy && audio->dsp_policy < 0, XML_ERROR, "cannot parse 'dspPolicy' value '%d'",
              audio->dsp_policy);
    return check_direction(&audio->input, err) < 0 ? -1 : check_direction(&audio->output, err);
}

/* ---- memory and what shares it ---- */

int vq_check_memory(const struct vq_memory_device *memory, struct vq_error *err)
{
    bool is_virtio_mem = strcmp(memory->model, "virtio-mem") == 0;
    bool has_path = strcmp(memory->model, "nvdimm") == 0 || strcmp(memory->model, "virtio-pmem") == 0;

    REFUSE_IF(has_path && memory->path == NULL, XML_DETAIL, "path is required for model '%s'", memory->model);
    REFUSE_IF(memory->has_uuid && strcmp(memory->model, "nvdimm") == 0, CONFIG_UNSUPPORTED,
              "UUID is not supported for NVDIMM device");
    REFUSE_IF(memory->label_kib > 0 && memory->label_kib >= memory->size_kib, XML_ERROR,
              "label size must be smaller than NVDIMM size");
    if (!is_virtio_mem)
        return 0;
    REFUSE_IF(memory->block_kib == 0 || (memory->block_kib & (memory->block_kib - 1)) != 0, XML_DETAIL,
              "block size must be a power of two");
    REFUSE_IF(memory->requested_kib % memory->block_kib != 0, XML_DETAIL,
              "requested size must be an integer multiple of block size");
    REFUSE_IF(memory->requested_kib > memory->size_kib, XML_DETAIL,
              "requested size must be smaller than or equal to @size (%lluKiB)", (unsigned long long)memory->size_kib);
    return 0;
}

int vq_check_shmem(const struct vq_shmem *shmem, struct vq_error *err)
{
    REFUSE_IF(shmem->has_msi && !shmem->has_server, XML_ERROR, "msi option is only supported with a server");
    return 0;
}

int vq_check_tpm(const struct vq_tpm *tpm, struct vq_error *err)
{
    REFUSE_IF(tpm->backend == VQ_TPM_EXTERNAL && tpm->source.path == NULL, XML_ERROR,
              "missing socket path for external TPM device");
    return 0;
}

int vq_check_iommu(const struct vq_iommu *iommu, struct vq_error *err)
{
    REFUSE_IF(iommu->eim == VQ_SWITCH_ON && iommu->intremap != VQ_SWITCH_ON, CONFIG_UNSUPPORTED,
              "IOMMU eim requires interrupt remapping to be enabled");
    return 0;
}

/* ---- controllers ---- */

#define MODELS(...) (const char *const[]){__VA_ARGS__, NULL}

/* NULL: no models, and whatever is said is not looked at. */
static const char *const *const models[VQ_CONTROLLER_N] = {
    [VQ_CONTROLLER_SCSI] = MODELS("auto", "buslogic", "lsilogic", "lsisas1068", "vmpvscsi", "ibmvscsi", "virtio-scsi",
                                  "lsisas1078", "virtio-transitional", "virtio-non-transitional", "ncr53c90", "dc390",
                                  "am53c974", "default"),
    [VQ_CONTROLLER_USB] = MODELS("piix3-uhci", "piix4-uhci", "ehci", "ich9-ehci1", "ich9-uhci1", "ich9-uhci2",
                                 "ich9-uhci3", "vt82c686b-uhci", "pci-ohci", "nec-xhci", "qusb1", "qusb2",
                                 "qemu-xhci", "none", "default"),
    [VQ_CONTROLLER_PCI] = MODELS("pci-root", "pcie-root", "pci-bridge", "dmi-to-pci-bridge", "pcie-to-pci-bridge",
                                 "pcie-root-port", "pcie-switch-upstream-port", "pcie-switch-downstream-port",
                                 "pci-expander-bus", "pcie-expander-bus", "default"),
    [VQ_CONTROLLER_IDE] = MODELS("piix3", "piix4", "ich6", "default"),
    [VQ_CONTROLLER_VIRTIO_SERIAL] = MODELS("virtio", "virtio-transitional", "virtio-non-transitional", "default"),
    [VQ_CONTROLLER_ISA] = MODELS("default"),
};

int vq_check_controller(const struct vq_controller *controller, struct vq_error *err)
{
    const char *const *model = models[controller->type];

    if (controller->model == NULL || model == NULL)
        return 0;
    while (*model != NULL && strcmp(*model, controller->model) != 0)
        model++;
    REFUSE_IF(*model == NULL, CONFIG_UNSUPPORTED, "Unknown model type '%s'", controller->model);
    return 0;
}
