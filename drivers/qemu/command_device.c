/* Everything on the command line that is neither a controller nor a disk nor a port nor a display. */
#define VQ_FROM VIR_FROM_QEMU
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/command_priv.h"
#include "drivers/qemu/devices.h"

/* An input device of the host that QEMU itself reads. */
static void write_evdev(struct vq_qemu_writer *writer, const struct vq_input *input)
{
    json_t *object = json_pack("{s:s, s:s, s:s}", "qom-type", "input-linux", "id", input->info.alias, "evdev",
                               input->source_dev == NULL ? "" : input->source_dev);

    vq_qemu_json_bool(object, "repeat", input->repeat);
    if (vq_streq(input->grab, "all"))
        json_object_set_new(object, "grab_all", json_true());
    vq_qemu_json_text(object, "grab-toggle", input->grab_toggle);
    vq_qemu_arg_json(writer, "-object", object);
}

static int write_input(struct vq_qemu_writer *writer, const struct vq_input *input, struct vq_error *err)
{
    static const char *const usb[VQ_INPUT_N] = {
        [VQ_INPUT_MOUSE] = "usb-mouse", [VQ_INPUT_TABLET] = "usb-tablet", [VQ_INPUT_KEYBOARD] = "usb-kbd"};
    static const char *const virtio[VQ_INPUT_N] = {[VQ_INPUT_MOUSE] = "virtio-mouse",
                                                   [VQ_INPUT_TABLET] = "virtio-tablet",
                                                   [VQ_INPUT_KEYBOARD] = "virtio-keyboard",
                                                   [VQ_INPUT_PASSTHROUGH] = "virtio-input-host"};
    char name[64];

    if (input->bus == VQ_INPUT_BUS_PS2)
        return 0; /* comes with the machine */
    if (input->bus == VQ_INPUT_BUS_USB && usb[input->type] != NULL) {
        vq_qemu_arg_json(writer, "-device", vq_qemu_device_new(writer, usb[input->type], &input->info));
        return 0;
    }
    if (input->bus == VQ_INPUT_BUS_VIRTIO && virtio[input->type] != NULL) {
        vq_qemu_virtio_name(name, sizeof(name), virtio[input->type], input->model, &input->info);
        json_t *device = vq_qemu_device_new(writer, name, &input->info);
        vq_qemu_json_text(device, "evdev", input->type == VQ_INPUT_PASSTHROUGH ? input->evdev : NULL);
        vq_qemu_json_virtio(device, &input->virtio);
        vq_qemu_arg_json(writer, "-device", device);
        return 0;
    }
    if (input->type == VQ_INPUT_EVDEV) {
        write_evdev(writer, input);
        return 0;
    }
    return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "input '%s': unsupported bus for its type", input->info.alias);
}

static int write_rng(struct vq_qemu_writer *writer, const struct vq_rng *rng, struct vq_error *err)
{
    char object[160], name[64], chardev[160];
    json_t *backend;

    (void)snprintf(object, sizeof(object), "obj%s", rng->info.alias);
    switch (rng->backend) {
    case VQ_RNG_RANDOM:
        backend = json_pack("{s:s, s:s, s:s}", "qom-type", "rng-random", "id", object, "filename",
                            rng->device == NULL ? "/dev/urandom" : rng->device);
        break;
    case VQ_RNG_BUILTIN:
        backend = json_pack("{s:s, s:s}", "qom-type", "rng-builtin", "id", object);
        break;
    case VQ_RNG_EGD:
        if (vq_qemu_write_chardev(writer, &rng->source, rng->info.alias, err) < 0)
            return -1;
        (void)snprintf(chardev, sizeof(chardev), "char%s", rng->info.alias);
        backend = json_pack("{s:s, s:s, s:s}", "qom-type", "rng-egd", "id", object, "chardev", chardev);
        break;
    default:
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "rng '%s' has no backend", rng->info.alias);
    }
    vq_qemu_arg_json(writer, "-object", backend);
    vq_qemu_virtio_name(name, sizeof(name), "virtio-rng", rng->model, &rng->info);
    json_t *device = vq_qemu_device_new(writer, name, &rng->info);
    vq_qemu_json_text(device, "rng", object);
    if (rng->rate_bytes != 0) {
        vq_qemu_json_number(device, "max-bytes", rng->rate_bytes);
        vq_qemu_json_number(device, "period", rng->rate_period_ms == 0 ? 1000 : rng->rate_period_ms);
    }
    vq_qemu_json_virtio(device, &rng->virtio);
    vq_qemu_arg_json(writer, "-device", device);
    return 0;
}

static void write_balloon(struct vq_qemu_writer *writer, const struct vq_memballoon *balloon)
{
    enum vq_virtio_model model = balloon->model == VQ_BALLOON_VIRTIO_TRANSITIONAL       ? VQ_VIRTIO_MODEL_TRANSITIONAL
                                 : balloon->model == VQ_BALLOON_VIRTIO_NON_TRANSITIONAL ? VQ_VIRTIO_MODEL_NON_TRANSITIONAL
                                                                                        : VQ_VIRTIO_MODEL_VIRTIO;
    char name[64];

    vq_qemu_virtio_name(name, sizeof(name), "virtio-balloon", model, &balloon->info);
    json_t *device = vq_qemu_device_new(writer, name, &balloon->info);
    vq_qemu_json_bool(device, "deflate-on-oom", balloon->autodeflate);
    vq_qemu_json_bool(device, "free-page-reporting", balloon->free_page_reporting);
    vq_qemu_json_virtio(device, &balloon->virtio);
    vq_qemu_arg_json(writer, "-device", device);
}

static int write_watchdog(struct vq_qemu_writer *writer, const struct vq_watchdog *watchdog, struct vq_error *err)
{
    const char *action = watchdog->action;

    if (vq_streq(watchdog->model, "itco")) /* part of the q35; it has to be switched on */
        vq_qemu_arg_pair(writer, "-global", "ICH9-LPC.noreboot=off");
    else if (watchdog->model != NULL)
        vq_qemu_arg_json(writer, "-device", vq_qemu_device_new(writer, watchdog->model, &watchdog->info));
    else
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "watchdog '%s' has no model", watchdog->info.alias);
    if (vq_streq(action, "dump"))
        action = "pause"; /* the dump is ours to take when QEMU tells */
    if (action != NULL)
        vq_qemu_arg_pair(writer, "-watchdog-action", action);
    return 0;
}

static const char *tpm_device(const struct vq_qemu_writer *writer, const struct vq_tpm *tpm)
{
    return vq_streq(tpm->model, "tpm-tis") && vq_streq(writer->def->os.arch, "aarch64") ? "tpm-tis-device" : tpm->model;
}

char *vq_qemu_tpm_socket(const char *dir)
{
    return vq_asprintf("%s/swtpm.sock", dir);
}

/* The emulated TPM is a program beside QEMU, which dials its socket. */
static int write_tpm_backend(struct vq_qemu_writer *writer, const struct vq_tpm *tpm, const char *id, struct vq_error *err)
{
    VQ_AUTOFREE char *socket = tpm->backend == VQ_TPM_EMULATOR ? vq_qemu_tpm_socket(writer->launch->dir)
                                                               : vq_strdup(tpm->source.path);
    VQ_AUTOBUFFER chardev = VQ_BUFFER_INIT;
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;

    if (tpm->backend == VQ_TPM_PASSTHROUGH) {
        vq_buffer_addf(&value, "passthrough,id=%s,path=", id);
        vq_qemu_add_value(&value, tpm->device == NULL ? "/dev/tpm0" : tpm->device);
        vq_qemu_arg_buffer(writer, "-tpmdev", &value);
        return 0;
    }
    if (socket == NULL)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "TPM '%s': an external TPM needs the path of its socket",
                            tpm->info.alias);
    vq_buffer_add(&chardev, "socket,id=chrtpm,path=");
    vq_qemu_add_value(&chardev, socket);
    vq_qemu_arg_buffer(writer, "-chardev", &chardev);
    vq_buffer_addf(&value, "emulator,id=%s,chardev=chrtpm", id);
    vq_qemu_arg_buffer(writer, "-tpmdev", &value);
    return 0;
}

static int write_tpm(struct vq_qemu_writer *writer, const struct vq_tpm *tpm, struct vq_error *err)
{
    VQ_AUTOFREE char *id = vq_asprintf("tpm-%s", tpm->info.alias);

    if (write_tpm_backend(writer, tpm, id, err) < 0)
        return -1;
    json_t *device = vq_qemu_device_new(writer, tpm_device(writer, tpm), &tpm->info);
    vq_qemu_json_text(device, "tpmdev", id);
    vq_qemu_arg_json(writer, "-device", device);
    return 0;
}

static int write_vsock(struct vq_qemu_writer *writer, struct vq_error *err)
{
    const struct vq_vsock *vsock = writer->def->devices.vsock;
    char name[64];

    if (vsock == NULL)
        return 0;
    if (vsock->cid == 0)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "vsock has no guest CID; write <cid auto='no' address='N'/>");
    vq_qemu_virtio_name(name, sizeof(name), "vhost-vsock", vsock->model, &vsock->info);
    json_t *device = vq_qemu_device_new(writer, name, &vsock->info);
    vq_qemu_json_number(device, "guest-cid", vsock->cid);
    if (writer->launch->vsock_fd >= 0) {
        char fd[16];
        (void)snprintf(fd, sizeof(fd), "%d", writer->launch->vsock_fd);
        vq_qemu_json_text(device, "vhostfd", fd);
        vq_qemu_keep_fd(writer, writer->launch->vsock_fd);
    }
    vq_qemu_json_virtio(device, &vsock->virtio);
    vq_qemu_arg_json(writer, "-device", device);
    return 0;
}

static int write_panic(struct vq_qemu_writer *writer, const struct vq_panic *panic, struct vq_error *err)
{
    json_t *device;

    if (vq_streq(panic->model, "hyperv"))
        return 0; /* a property of the CPU */
    if (!vq_streq(panic->model, "isa"))
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "panic device model '%s' is not supported", panic->model);
    device = json_pack("{s:s}", "driver", "pvpanic");
    if (panic->info.address.type == VQ_ADDRESS_ISA && panic->info.address.isa.has_iobase)
        vq_qemu_json_number(device, "ioport", panic->info.address.isa.iobase);
    vq_qemu_arg_json(writer, "-device", device);
    return 0;
}

/* Intel's comes before the controllers that it translates for (command_controller.c); Arm's is the board's. */
static int write_iommu(struct vq_qemu_writer *writer, struct vq_error *err VQ_UNUSED)
{
    const struct vq_iommu *iommu = writer->def->devices.iommu;

    if (iommu != NULL && vq_streq(iommu->model, "virtio"))
        vq_qemu_arg_json(writer, "-device", vq_qemu_device_new(writer, "virtio-iommu", &iommu->info));
    return 0;
}

static void write_crypto(struct vq_qemu_writer *writer, const struct vq_crypto *crypto)
{
    VQ_AUTOFREE char *object = vq_asprintf("obj%s", crypto->info.alias);
    char name[64];
    json_t *backend = json_pack("{s:s, s:s}", "qom-type", vq_streq(crypto->backend, "lkcf") ? "cryptodev-backend-lkcf"
                                                                                          : "cryptodev-backend-builtin",
                                "id", object);

    if (crypto->queues != 0)
        vq_qemu_json_number(backend, "queues", crypto->queues);
    vq_qemu_arg_json(writer, "-object", backend);
    vq_qemu_virtio_name(name, sizeof(name), "virtio-crypto", VQ_VIRTIO_MODEL_VIRTIO, &crypto->info);
    json_t *device = vq_qemu_device_new(writer, name, &crypto->info);
    vq_qemu_json_text(device, "cryptodev", object);
    vq_qemu_json_virtio(device, &crypto->virtio);
    vq_qemu_arg_json(writer, "-device", device);
}

/* SEV: the guest's memory is encrypted with a key of its own. */
static void write_security(struct vq_qemu_writer *writer)
{
    const struct vq_launch_security *security = writer->def->launch_security;
    uint64_t number;
    json_t *object;

    if (security == NULL || !vq_streq(security->type, "sev"))
        return;
    object = json_pack("{s:s, s:s}", "qom-type", "sev-guest", "id", "lsec0");
    if (vq_parse_u64(security->cbitpos, 10, UINT32_MAX, &number))
        vq_qemu_json_number(object, "cbitpos", number);
    if (vq_parse_u64(security->reduced_phys_bits, 10, UINT32_MAX, &number))
        vq_qemu_json_number(object, "reduced-phys-bits", number);
    if (security->policy != NULL)
        vq_qemu_json_number(object, "policy", strtoul(security->policy, NULL, 0) & UINT32_MAX);
    vq_qemu_json_bool(object, "kernel-hashes", security->kernel_hashes);
    vq_qemu_arg_json(writer, "-object", object);
}

typedef int (*part_fn)(struct vq_qemu_writer *writer, struct vq_error *err);

static int write_tpms(struct vq_qemu_writer *writer, struct vq_error *err)
{
    for (size_t i = 0; i < writer->def->devices.n_tpms; i++)
        if (write_tpm(writer, writer->def->devices.tpms[i], err) < 0)
            return -1;
    return 0;
}

static int write_inputs(struct vq_qemu_writer *writer, struct vq_error *err)
{
    for (size_t i = 0; i < writer->def->devices.n_inputs; i++)
        if (write_input(writer, writer->def->devices.inputs[i], err) < 0)
            return -1;
    return 0;
}

static int write_watchdogs(struct vq_qemu_writer *writer, struct vq_error *err)
{
    for (size_t i = 0; i < writer->def->devices.n_watchdogs; i++)
        if (write_watchdog(writer, writer->def->devices.watchdogs[i], err) < 0)
            return -1;
    return 0;
}

static int write_small(struct vq_qemu_writer *writer, struct vq_error *err)
{
    const struct vq_devices *devices = &writer->def->devices;

    if (vq_qemu_balloon_is_present(devices->memballoon))
        write_balloon(writer, devices->memballoon);
    for (size_t i = 0; i < devices->n_rngs; i++)
        if (write_rng(writer, devices->rngs[i], err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_panics; i++)
        if (write_panic(writer, devices->panics[i], err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_cryptos; i++)
        write_crypto(writer, devices->cryptos[i]);
    return 0;
}

int vq_qemu_write_devices(struct vq_qemu_writer *writer, struct vq_error *err)
{
    static const part_fn parts[] = {vq_qemu_write_filesystems, vq_qemu_write_interfaces, vq_qemu_write_ports,
                                    vq_qemu_write_smartcards, write_tpms, write_inputs, write_watchdogs,
                                    vq_qemu_write_redirdevs, vq_qemu_write_hostdevs, write_small, vq_qemu_write_shmems,
                                    write_iommu, write_vsock};

    write_security(writer);
    for (size_t i = 0; i < VQ_N_ELEMENTS(parts); i++)
        if (parts[i](writer, err) < 0)
            return -1;
    return 0;
}
