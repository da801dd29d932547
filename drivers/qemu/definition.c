/* Defaults and checks of the QEMU driver. Every default is written into the definition, so that a guest keeps its
 * hardware when a later release would choose otherwise. */
#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/definition.h"

#include <stdio.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/addresses.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/devices.h"
#include "drivers/qemu/disk.h"
#include "drivers/qemu/pci.h"

static void set_default(char **text, const char *value)
{
    if (*text == NULL)
        *text = vq_strdup(value);
}

static bool is_x86(const struct vq_domain *def)
{
    return vq_streq(def->os.arch, "x86_64") || vq_streq(def->os.arch, "i686");
}

static bool machine_is(const struct vq_domain *def, const char *prefix)
{
    return def->os.machine != NULL && strncmp(def->os.machine, prefix, strlen(prefix)) == 0;
}

static bool is_q35(const struct vq_domain *def)
{
    return machine_is(def, "pc-q35") || vq_streq(def->os.machine, "q35");
}

static bool is_i440fx(const struct vq_domain *def)
{
    return !is_q35(def) && (machine_is(def, "pc-") || vq_streq(def->os.machine, "pc"));
}

static bool is_virt(const struct vq_domain *def)
{
    return machine_is(def, "virt");
}

/* ---- Machine, CPU, clock ---- */

static int fill_machine(struct vq_domain *def, const struct vq_qemu_capabilities *caps, struct vq_error *err)
{
    if (strcmp(def->os.type, "hvm") != 0)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "os type '%s': QEMU runs 'hvm' guests", def->os.type);
    if (strcmp(def->os.arch, caps->arch) != 0 && !(strcmp(def->os.arch, "i686") == 0 && strcmp(caps->arch, "x86_64") == 0))
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "emulator '%s' runs '%s' guests, not '%s'", caps->path,
                            caps->arch, def->os.arch);
    const struct vq_qemu_machine *machine = vq_qemu_capabilities_machine(caps, def->os.machine);
    if (machine == NULL)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "Emulator '%s' does not support machine type '%s'",
                            caps->path, def->os.machine);
    vq_set_text(&def->os.machine, machine->name);
    if (machine->cpus_max != 0 && def->vcpus > machine->cpus_max)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                            "Maximum CPUs greater than specified machine type limit %u", machine->cpus_max);
    return 0;
}

/* PCs have a model that can run everywhere; other machines their own. */
static const char *default_model(const struct vq_domain *def, const struct vq_qemu_capabilities *caps)
{
    const struct vq_qemu_machine *machine = vq_qemu_capabilities_machine(caps, def->os.machine);

    if (is_x86(def))
        return strcmp(def->os.arch, "i686") == 0 ? "qemu32" : "qemu64";
    return machine == NULL ? NULL : machine->default_cpu;
}

static int fill_cpu(struct vq_domain *def, const struct vq_qemu_capabilities *caps, struct vq_error *err)
{
    if (def->cpu == NULL)
        def->cpu = vq_new(struct vq_cpu);
    struct vq_cpu *cpu = def->cpu;

    if (cpu->mode == VQ_CPU_MODE_UNSET)
        cpu->mode = VQ_CPU_MODE_CUSTOM;
    if (cpu->mode == VQ_CPU_MODE_CUSTOM && cpu->model == NULL && default_model(def, caps) != NULL) {
        cpu->model = vq_strdup(default_model(def, caps));
        if (cpu->fallback == VQ_CPU_FALLBACK_UNSET)
            cpu->fallback = VQ_CPU_FALLBACK_FORBID;
        if (cpu->match == VQ_CPU_MATCH_UNSET)
            cpu->match = VQ_CPU_MATCH_EXACT;
        if (cpu->check == VQ_CPU_CHECK_UNSET)
            cpu->check = VQ_CPU_CHECK_NONE;
    }
    if (cpu->mode == VQ_CPU_MODE_CUSTOM && cpu->match == VQ_CPU_MATCH_UNSET)
        cpu->match = VQ_CPU_MATCH_EXACT;
    /* A host's CPU needs no check: it is what it is. TCG leaves out of a named model what it cannot do. */
    if (cpu->check == VQ_CPU_CHECK_UNSET)
        cpu->check = cpu->mode == VQ_CPU_MODE_HOST_MODEL || (cpu->mode == VQ_CPU_MODE_CUSTOM && def->type == VQ_VIRT_KVM)
                         ? VQ_CPU_CHECK_PARTIAL
                         : VQ_CPU_CHECK_NONE;
    if (cpu->mode == VQ_CPU_MODE_HOST_PASSTHROUGH && cpu->migratable == VQ_SWITCH_UNSET)
        cpu->migratable = VQ_SWITCH_ON;
    if ((cpu->mode == VQ_CPU_MODE_CUSTOM && cpu->model != NULL) && cpu->fallback == VQ_CPU_FALLBACK_UNSET)
        cpu->fallback = VQ_CPU_FALLBACK_ALLOW;
    if (cpu->mode == VQ_CPU_MODE_CUSTOM && cpu->model != NULL && caps->n_cpu_models > 0) {
        for (size_t i = 0; i < caps->n_cpu_models; i++)
            if (strcmp(caps->cpu_models[i].name, cpu->model) == 0)
                return 0;
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "the CPU model '%s' is not known to '%s'", cpu->model,
                            caps->path);
    }
    return 0;
}

static int check_life(const struct vq_domain *def, struct vq_error *err)
{
    if (def->on_poweroff == VQ_LIFECYCLE_RENAME_RESTART || def->on_reboot == VQ_LIFECYCLE_RENAME_RESTART ||
        def->on_crash == VQ_LIFECYCLE_RENAME_RESTART)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "qemu driver doesn't support the 'rename-restart' action "
                            "for 'on_reboot'/'on_poweroff'/'on_crash'");
    return 0;
}

/* ---- Devices ---- */

static int fill_disk(struct vq_disk *disk, struct vq_error *err)
{
    static const struct {
        enum vq_disk_bus bus;
        const char *prefix;
    } prefixes[] = {{VQ_DISK_BUS_IDE, "hd"}, {VQ_DISK_BUS_FDC, "fd"}, {VQ_DISK_BUS_SCSI, "sd"},
                    {VQ_DISK_BUS_VIRTIO, "vd"}, {VQ_DISK_BUS_SD, "sd"}};

    if (disk->device == VQ_DISK_DEVICE_UNSET)
        disk->device = VQ_DISK_DEVICE_DISK;
    for (size_t i = 0; disk->bus == VQ_DISK_BUS_UNSET && disk->target != NULL && i < VQ_N_ELEMENTS(prefixes); i++)
        if (strncmp(disk->target, prefixes[i].prefix, 2) == 0)
            disk->bus = disk->device == VQ_DISK_DEVICE_FLOPPY ? VQ_DISK_BUS_FDC : prefixes[i].bus;
    if (disk->bus == VQ_DISK_BUS_UNSET)
        disk->bus = disk->device == VQ_DISK_DEVICE_FLOPPY ? VQ_DISK_BUS_FDC : VQ_DISK_BUS_IDE;
    set_default(&disk->driver_name, "qemu");
    if (strcmp(disk->driver_name, "qemu") != 0)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "unsupported driver name '%s' for disk '%s'",
                            disk->driver_name, disk->target);
    /* Never guessed from what a guest may write: a disk without a format is raw. */
    if (disk->source.type != VQ_SOURCE_VHOST_USER)
        set_default(&disk->format, "raw");
    if (disk->device == VQ_DISK_DEVICE_CDROM)
        disk->is_readonly = true;
    if (disk->device == VQ_DISK_DEVICE_FLOPPY && disk->bus != VQ_DISK_BUS_FDC)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "disk '%s': Invalid bus type for floppy disk, it is 'fdc'", disk->target);
    if (disk->device == VQ_DISK_DEVICE_CDROM && disk->bus == VQ_DISK_BUS_VIRTIO)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "disk type of '%s' does not support ejectable media",
                            disk->target);
    if (disk->device == VQ_DISK_DEVICE_LUN && disk->bus != VQ_DISK_BUS_SCSI && disk->bus != VQ_DISK_BUS_VIRTIO)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "disk '%s': device 'lun' needs bus 'scsi' or 'virtio'",
                            disk->target);
    if (disk->bus == VQ_DISK_BUS_XEN || disk->bus == VQ_DISK_BUS_UML || disk->bus == VQ_DISK_BUS_SD)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "disk '%s': unsupported bus", disk->target);
    return 0;
}

static int check_disk_bus(const struct vq_domain *def, const struct vq_disk *disk, struct vq_error *err)
{
    if (disk->bus == VQ_DISK_BUS_IDE && !is_i440fx(def))
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "IDE controllers are unsupported for this QEMU binary or "
                            "machine type: disk '%s' on machine '%s'; use bus 'sata' or 'scsi'",
                            disk->target, def->os.machine);
    return 0;
}

static void fill_interface(const struct vq_domain *def, struct vq_interface *interface)
{
    if (interface->model == NULL && interface->type != VQ_INTERFACE_HOSTDEV)
        interface->model = vq_strdup(is_x86(def) ? "rtl8139" : "virtio");
}

static int check_interface(const struct vq_interface *interface, const struct vq_qemu_capabilities *caps,
                           struct vq_error *err)
{
    const char *model = interface->model;

    if (model == NULL || strncmp(model, "virtio", 6) == 0)
        return 0;
    for (const char *c = model; *c != '\0'; c++)
        if (!((*c >= 'a' && *c <= 'z') || (*c >= 'A' && *c <= 'Z') || (*c >= '0' && *c <= '9') || *c == '-' || *c == '_'))
            return vq_error_set(err, VIR_ERR_INVALID_ARG, "Model name contains invalid characters");
    if (caps->n_devices > 0 && !vq_qemu_capabilities_has_device(caps, model))
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "interface model '%s' is not known to '%s'", model,
                            caps->path);
    return 0;
}

static void fill_port(const struct vq_domain *def, struct vq_port *serial)
{
    static const struct {
        enum vq_port_target target;
        const char *model;
    } models[] = {{VQ_PORT_TARGET_ISA_SERIAL, "isa-serial"}, {VQ_PORT_TARGET_USB_SERIAL, "usb-serial"},
                  {VQ_PORT_TARGET_PCI_SERIAL, "pci-serial"}, {VQ_PORT_TARGET_SYSTEM_SERIAL, "pl011"},
                  {VQ_PORT_TARGET_ISA_DEBUG, "isa-debugcon"}};

    if (serial->target == VQ_PORT_TARGET_UNSET)
        serial->target = is_x86(def) ? VQ_PORT_TARGET_ISA_SERIAL : VQ_PORT_TARGET_SYSTEM_SERIAL;
    for (size_t i = 0; serial->target_model == NULL && i < VQ_N_ELEMENTS(models); i++)
        if (models[i].target == serial->target)
            serial->target_model = vq_strdup(models[i].model);
}

static void fill_video(struct vq_video *video, bool is_first)
{
    if (strcmp(video->model, "none") == 0)
        return;
    if (video->heads == 0)
        video->heads = 1;
    if (is_first && video->primary == VQ_SWITCH_UNSET)
        video->primary = VQ_SWITCH_ON;
    if (strcmp(video->model, "qxl") == 0) {
        if (video->ram_kib == 0)
            video->ram_kib = 65536;
        if (video->vgamem_kib == 0)
            video->vgamem_kib = 16384;
        if (video->vram_kib == 0)
            video->vram_kib = 65536;
    } else if (video->vram_kib == 0 && strcmp(video->model, "virtio") != 0 && strcmp(video->model, "ramfb") != 0) {
        video->vram_kib = 16384;
    }
}

static int fill_videos(struct vq_domain *def, const struct vq_qemu_capabilities *caps, struct vq_error *err)
{
    struct vq_devices *devices = &def->devices;
    const char *model = is_x86(def) ? "cirrus" : "virtio";

    if (caps->n_devices > 0 && is_x86(def) && !vq_qemu_capabilities_has_device(caps, "cirrus-vga"))
        model = "vga";
    if (devices->n_videos == 0 && devices->n_graphics > 0) {
        devices->videos = vq_calloc(1, sizeof(*devices->videos));
        devices->videos[0] = vq_new(struct vq_video);
        devices->n_videos = 1;
    }
    for (size_t i = 0; i < devices->n_videos; i++) {
        set_default(&devices->videos[i]->model, model);
        if (i > 0 && strcmp(devices->videos[i]->model, "none") == 0)
            return vq_error_set(err, VIR_ERR_XML_ERROR, "a 'none' video type must be the only video device");
        if (i > 0 && strcmp(devices->videos[i]->model, "qxl") != 0 && strcmp(devices->videos[i]->model, "virtio") != 0)
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                                "video type '%s' is only valid as primary video device", devices->videos[i]->model);
        fill_video(devices->videos[i], i == 0);
    }
    return 0;
}

static int fill_graphics(struct vq_graphics *graphics, struct vq_error *err)
{
    bool is_network = graphics->type == VQ_GRAPHICS_VNC || graphics->type == VQ_GRAPHICS_SPICE;

    if (!is_network)
        return 0;
    if (graphics->n_listens > 0 &&
        (graphics->listens[0]->type == VQ_LISTEN_SOCKET || graphics->listens[0]->type == VQ_LISTEN_NONE))
        return 0;
    if (graphics->autoport == VQ_SWITCH_UNSET && (!graphics->has_port || graphics->port == -1))
        graphics->autoport = VQ_SWITCH_ON;
    if (graphics->autoport == VQ_SWITCH_ON) {
        graphics->has_port = graphics->type == VQ_GRAPHICS_VNC;
        graphics->port = -1;
        if (graphics->type == VQ_GRAPHICS_SPICE) {
            graphics->has_port = false;
            graphics->has_tls_port = false;
        }
    } else if (graphics->autoport == VQ_SWITCH_UNSET) {
        graphics->autoport = VQ_SWITCH_OFF;
    }
    if (graphics->type == VQ_GRAPHICS_VNC && graphics->has_port && graphics->port != -1 && graphics->port < 5900)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "vnc port must be in range [5900,65535]");
    if (graphics->n_listens == 0) {
        graphics->listens = vq_calloc(1, sizeof(*graphics->listens));
        graphics->listens[0] = vq_new(struct vq_listen);
        graphics->listens[0]->type = VQ_LISTEN_ADDRESS;
        graphics->listens[0]->address = vq_strdup(graphics->listen);
        graphics->n_listens = 1;
    }
    return 0;
}

static struct vq_input *add_input(struct vq_domain *def, enum vq_input_type type, enum vq_input_bus bus)
{
    struct vq_devices *devices = &def->devices;
    struct vq_input *input = vq_new(struct vq_input);

    input->type = type;
    input->bus = bus;
    devices->inputs = vq_realloc(devices->inputs, devices->n_inputs + 1, sizeof(*devices->inputs));
    devices->inputs[devices->n_inputs++] = input;
    return input;
}

static bool has_input(const struct vq_domain *def, enum vq_input_type type, enum vq_input_bus bus)
{
    for (size_t i = 0; i < def->devices.n_inputs; i++)
        if (def->devices.inputs[i]->type == type && def->devices.inputs[i]->bus == bus)
            return true;
    return false;
}

/* PC machines always have a PS/2 mouse and keyboard, whether somebody wrote them down or not. */
static void fill_inputs(struct vq_domain *def)
{
    for (size_t i = 0; i < def->devices.n_inputs; i++) {
        struct vq_input *input = def->devices.inputs[i];
        if (input->bus == VQ_INPUT_BUS_UNSET)
            input->bus = input->type == VQ_INPUT_TABLET || !is_x86(def)          ? VQ_INPUT_BUS_USB
                         : input->type == VQ_INPUT_PASSTHROUGH                    ? VQ_INPUT_BUS_VIRTIO
                         : input->type == VQ_INPUT_EVDEV                          ? VQ_INPUT_BUS_NONE
                                                                                  : VQ_INPUT_BUS_PS2;
    }
    if (!is_i440fx(def) && !is_q35(def))
        return;
    if (!has_input(def, VQ_INPUT_MOUSE, VQ_INPUT_BUS_PS2))
        (void)add_input(def, VQ_INPUT_MOUSE, VQ_INPUT_BUS_PS2);
    if (!has_input(def, VQ_INPUT_KEYBOARD, VQ_INPUT_BUS_PS2))
        (void)add_input(def, VQ_INPUT_KEYBOARD, VQ_INPUT_BUS_PS2);
}

static void fill_audio(struct vq_domain *def)
{
    struct vq_devices *devices = &def->devices;
    const char *type = "none";

    if (devices->n_audios > 0)
        return;
    for (size_t i = 0; i < devices->n_graphics; i++)
        if (devices->graphics[i]->type == VQ_GRAPHICS_SPICE)
            type = "spice";
    devices->audios = vq_calloc(1, sizeof(*devices->audios));
    devices->audios[0] = vq_new(struct vq_audio);
    devices->audios[0]->id = 1;
    devices->audios[0]->type = vq_strdup(type);
    devices->n_audios = 1;
}

static void fill_tpm(const struct vq_domain *def, struct vq_tpm *tpm)
{
    if (tpm->model == NULL)
        tpm->model = vq_strdup(is_x86(def) || is_virt(def) ? "tpm-tis" : "tpm-spapr");
    if (tpm->backend == VQ_TPM_EMULATOR)
        set_default(&tpm->version, "2.0");
}

static int fill_device_list(struct vq_domain *def, const struct vq_qemu_capabilities *caps, struct vq_error *err)
{
    struct vq_devices *devices = &def->devices;

    for (size_t i = 0; i < devices->n_disks; i++)
        if (fill_disk(devices->disks[i], err) < 0 || check_disk_bus(def, devices->disks[i], err) < 0 ||
            vq_qemu_disk_check(def, devices->disks[i], err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_interfaces; i++) {
        fill_interface(def, devices->interfaces[i]);
        if (check_interface(devices->interfaces[i], caps, err) < 0)
            return -1;
    }
    for (size_t i = 0; i < devices->n_serials; i++)
        fill_port(def, devices->serials[i]);
    for (size_t i = 0; i < devices->n_graphics; i++)
        if (fill_graphics(devices->graphics[i], err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_tpms; i++)
        fill_tpm(def, devices->tpms[i]);
    for (size_t i = 0; i < devices->n_rngs; i++) {
        if (devices->rngs[i]->model == VQ_VIRTIO_MODEL_UNSET)
            devices->rngs[i]->model = VQ_VIRTIO_MODEL_VIRTIO;
        if (devices->rngs[i]->backend == VQ_RNG_RANDOM)
            set_default(&devices->rngs[i]->device, "/dev/urandom");
    }
    for (size_t i = 0; i < devices->n_panics; i++)
        set_default(&devices->panics[i]->model, "isa");
    for (size_t i = 0; i < devices->n_watchdogs; i++)
        set_default(&devices->watchdogs[i]->action, "reset");
    if (devices->memballoon == NULL) {
        devices->memballoon = vq_new(struct vq_memballoon);
        devices->memballoon->model = VQ_BALLOON_VIRTIO;
    } else if (devices->memballoon->model == VQ_BALLOON_UNSET) {
        devices->memballoon->model = VQ_BALLOON_VIRTIO;
    }
    return fill_videos(def, caps, err);
}

/* ---- Controllers that devices need ---- */

static void need(struct vq_domain *def, enum vq_controller_type type, uint32_t index, const char *model)
{
    for (uint32_t i = 0; i <= index && i < VQ_QEMU_CONTROLLERS_MAX; i++)
        if (vq_qemu_find_controller(def, type, i) == NULL)
            (void)vq_qemu_add_controller(def, type, i, model);
}

static void need_for_disk(struct vq_domain *def, const struct vq_disk *disk)
{
    static const struct {
        enum vq_disk_bus bus;
        enum vq_controller_type type;
    } types[] = {{VQ_DISK_BUS_IDE, VQ_CONTROLLER_IDE}, {VQ_DISK_BUS_FDC, VQ_CONTROLLER_FDC},
                 {VQ_DISK_BUS_SCSI, VQ_CONTROLLER_SCSI}, {VQ_DISK_BUS_SATA, VQ_CONTROLLER_SATA}};
    const struct vq_controller *first = vq_qemu_find_controller(def, VQ_CONTROLLER_SCSI, 0);

    for (size_t i = 0; i < VQ_N_ELEMENTS(types); i++)
        if (types[i].bus == disk->bus && disk->info.address.type == VQ_ADDRESS_DRIVE)
            need(def, types[i].type, disk->info.address.drive.controller,
                 disk->bus == VQ_DISK_BUS_SCSI && first != NULL ? first->model : NULL);
}

static bool needs_virtio_serial(const struct vq_domain *def)
{
    for (size_t i = 0; i < def->devices.n_channels; i++)
        if (def->devices.channels[i]->target == VQ_PORT_TARGET_VIRTIO)
            return true;
    for (size_t i = 0; i < def->devices.n_consoles; i++)
        if (def->devices.consoles[i]->target == VQ_PORT_TARGET_VIRTIO)
            return true;
    return false;
}

static void fill_controllers(struct vq_domain *def)
{
    struct vq_devices *devices = &def->devices;
    bool has_usb = false;

    for (size_t i = 0; i < devices->n_controllers; i++)
        has_usb = has_usb || devices->controllers[i]->type == VQ_CONTROLLER_USB;
    if (!has_usb && is_x86(def)) /* boards of other kinds have no USB of their own */
        (void)vq_qemu_add_controller(def, VQ_CONTROLLER_USB, 0, NULL);
    if (is_q35(def))
        need(def, VQ_CONTROLLER_SATA, 0, NULL);
    if (is_i440fx(def) || is_q35(def) || is_virt(def))
        need(def, VQ_CONTROLLER_PCI, 0, is_i440fx(def) ? "pci-root" : "pcie-root");
    for (size_t i = 0; i < devices->n_disks; i++)
        need_for_disk(def, devices->disks[i]);
    if (needs_virtio_serial(def))
        need(def, VQ_CONTROLLER_VIRTIO_SERIAL, 0, NULL);
    for (size_t i = 0; i < devices->n_smartcards; i++)
        need(def, VQ_CONTROLLER_CCID, 0, NULL);
}

static bool pci_index_is_taken(const struct vq_domain *def, uint32_t index)
{
    for (size_t i = 0; i < def->devices.n_controllers; i++) {
        const struct vq_controller *other = def->devices.controllers[i];
        if (other->type == VQ_CONTROLLER_PCI && other->has_index && other->index == index)
            return true;
    }
    return false;
}

/* PCI controllers number the buses: the root is 0, whether it stands first or not. conf numbers the others. */
static void number_pci_controllers(struct vq_domain *def)
{
    struct vq_devices *devices = &def->devices;

    for (size_t i = 0; i < devices->n_controllers; i++) {
        struct vq_controller *controller = devices->controllers[i];
        bool is_root = vq_streq(controller->model, "pci-root") || vq_streq(controller->model, "pcie-root");

        if (controller->has_index || controller->type != VQ_CONTROLLER_PCI)
            continue;
        controller->index = is_root ? 0 : 1;
        while (!is_root && pci_index_is_taken(def, controller->index))
            controller->index++;
        controller->has_index = true;
    }
}

static int check_controllers_differ(const struct vq_domain *def, struct vq_error *err)
{
    const struct vq_devices *devices = &def->devices;

    for (size_t i = 0; i < devices->n_controllers; i++) {
        for (size_t k = i + 1; k < devices->n_controllers; k++) {
            const struct vq_controller *a = devices->controllers[i], *b = devices->controllers[k];
            if (a->type == b->type && a->index == b->index && !a->has_usb_master && !b->has_usb_master)
                return vq_error_set(err, VIR_ERR_XML_ERROR, "Multiple controllers of one type with index '%u'", a->index);
        }
    }
    return 0;
}

static int choose_models(struct vq_domain *def, const struct vq_qemu_capabilities *caps, struct vq_error *err)
{
    for (size_t i = 0; i < def->devices.n_controllers; i++) {
        struct vq_controller *controller = def->devices.controllers[i];
        bool is_open = controller->model == NULL || strcmp(controller->model, "default") == 0 ||
                       strcmp(controller->model, "auto") == 0;

        if (controller->type == VQ_CONTROLLER_USB && is_open)
            vq_set_text(&controller->model, is_i440fx(def) ? "piix3-uhci" : "qemu-xhci");
        if (controller->type == VQ_CONTROLLER_SCSI && is_open)
            vq_set_text(&controller->model, caps->n_devices > 0 && (!is_x86(def) || !vq_qemu_capabilities_has_device(caps, "lsi"))
                                          ? "virtio-scsi"
                                          : "lsilogic");
        if (controller->type == VQ_CONTROLLER_SCSI && vq_qemu_scsi_device(controller->model) == NULL)
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "Unsupported controller model: %s", controller->model);
        if (controller->type == VQ_CONTROLLER_PCI && is_open)
            vq_set_text(&controller->model, controller->index == 0                    ? (is_i440fx(def) ? "pci-root" : "pcie-root")
                                      : is_i440fx(def)                          ? "pci-bridge"
                                                                                : "pcie-root-port");
        if (controller->type == VQ_CONTROLLER_XENBUS || controller->type == VQ_CONTROLLER_ISA)
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "Unsupported controller type '%s'",
                                controller->type == VQ_CONTROLLER_ISA ? "isa" : "xenbus");
        if (controller->type == VQ_CONTROLLER_IDE && controller->index > 0)
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "Only a single IDE controller is supported for this "
                                "machine type");
    }
    return 0;
}

static void name_pci_models(struct vq_domain *def)
{
    static const struct {
        const char *model, *name;
    } names[] = {{"pcie-root-port", "pcie-root-port"}, {"pcie-to-pci-bridge", "pcie-pci-bridge"},
                 {"pci-bridge", "pci-bridge"}, {"dmi-to-pci-bridge", "i82801b11-bridge"},
                 {"pcie-switch-upstream-port", "x3130-upstream"}, {"pcie-switch-downstream-port", "xio3130-downstream"},
                 {"pci-expander-bus", "pxb"}, {"pcie-expander-bus", "pxb-pcie"}};

    for (size_t i = 0; i < def->devices.n_controllers; i++)
        for (size_t k = 0; k < VQ_N_ELEMENTS(names); k++)
            if (def->devices.controllers[i]->type == VQ_CONTROLLER_PCI &&
                vq_streq(def->devices.controllers[i]->model, names[k].model))
                set_default(&def->devices.controllers[i]->pci_model_name, names[k].name);
}

struct random_adapter {
    void (*random)(void *bytes, size_t length);
};

static void random_for_conf(void *bytes, size_t length, void *data)
{
    ((struct random_adapter *)data)->random(bytes, length);
}

int vq_qemu_definition_fill(struct vq_domain *def, const struct vq_qemu_capabilities *caps,
                            void (*random)(void *bytes, size_t length), struct vq_error *err)
{
    struct random_adapter adapter = {random};
    const struct vq_domain_fill fill = {random_for_conf, &adapter, {0x52, 0x54, 0x00}};

    if (def->type != VQ_VIRT_QEMU && def->type != VQ_VIRT_KVM)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "the QEMU driver runs domains of type 'qemu' and 'kvm'");
    set_default(&def->os.type, "hvm");
    set_default(&def->os.arch, caps->arch);
    set_default(&def->devices.emulator, caps->path);
    for (size_t i = 0; i < def->devices.n_disks; i++)
        if (fill_disk(def->devices.disks[i], err) < 0) /* the drive address that conf gives depends on the bus */
            return -1;
    number_pci_controllers(def);
    if (vq_domain_fill(def, &fill, err) < 0 || check_controllers_differ(def, err) < 0 || fill_machine(def, caps, err) < 0)
        return -1;
    if (fill_cpu(def, caps, err) < 0 || check_life(def, err) < 0 || fill_device_list(def, caps, err) < 0)
        return -1;
    vq_qemu_definition_fill_machine(def);
    fill_inputs(def);
    fill_audio(def);
    fill_controllers(def);
    if (choose_models(def, caps, err) < 0 || vq_qemu_pci_assign(def, is_i440fx(def) ? "pci-root" : "pcie-root", err) < 0 || vq_qemu_usb_assign(def, err) < 0 ||
        vq_qemu_virtio_serial_assign(def, err) < 0)
        return -1;
    name_pci_models(def);
    vq_domain_sort_controllers(def); /* as conf does when it is read again */
    return vq_qemu_definition_check(def, caps, err);
}
