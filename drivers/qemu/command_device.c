/* Everything on the command line that is neither a controller nor a disk nor a port nor a display. */
#define VQ_FROM VIR_FROM_QEMU
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conf/base/text.h"
#include "drivers/qemu/command_priv.h"
#include "drivers/qemu/devices.h"

/* ---- Interfaces ---- */

static int write_netdev(struct vq_qemu_writer *writer, const struct vq_interface *interface, size_t index,
                        struct vq_error *err)
{
    const struct vq_qemu_launch *launch = writer->launch;
    int tap = launch->tap_fds != NULL && index < launch->n_tap_fds ? launch->tap_fds[index] : -1;
    int vhost = launch->vhost_fds != NULL && index < launch->n_vhost_fds ? launch->vhost_fds[index] : -1;
    char id[160], number[16];
    json_t *netdev;

    (void)snprintf(id, sizeof(id), "host%s", interface->info.alias);
    switch (interface->type) {
    case VQ_INTERFACE_USER:
        netdev = json_pack("{s:s, s:s}", "type", "user", "id", id);
        break;
    case VQ_INTERFACE_NETWORK:
    case VQ_INTERFACE_BRIDGE:
    case VQ_INTERFACE_ETHERNET:
    case VQ_INTERFACE_DIRECT:
        if (tap < 0)
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "interface '%s': no tap device was made for it",
                                interface->info.alias);
        (void)snprintf(number, sizeof(number), "%d", tap);
        netdev = json_pack("{s:s, s:s, s:s}", "type", "tap", "fd", number, "id", id);
        vq_qemu_keep_fd(writer, tap);
        if (vhost >= 0) {
            (void)snprintf(number, sizeof(number), "%d", vhost);
            json_object_set_new(netdev, "vhost", json_true());
            vq_qemu_json_text(netdev, "vhostfd", number);
            vq_qemu_keep_fd(writer, vhost);
        }
        break;
    default:
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "interface '%s': this type is not supported",
                            interface->info.alias);
    }
    vq_qemu_arg_json(writer, "-netdev", netdev);
    return 0;
}

static uint32_t network_boot_index(const struct vq_domain *def, const struct vq_interface *interface)
{
    if (interface->info.boot_order != 0)
        return interface->info.boot_order;
    for (size_t i = 0; i < def->os.n_boot; i++)
        if (def->os.boot[i]->dev == VQ_BOOT_NETWORK && def->devices.n_interfaces > 0 &&
            def->devices.interfaces[0] == interface)
            return (uint32_t)i + 1;
    return 0;
}

static void add_virtio_net(json_t *device, const struct vq_interface *interface)
{
    const struct {
        const char *name;
        enum vq_switch state;
    } switches[] = {
        {"csum", interface->host_offloads.csum},          {"gso", interface->host_offloads.gso},
        {"host_tso4", interface->host_offloads.tso4},     {"host_tso6", interface->host_offloads.tso6},
        {"host_ecn", interface->host_offloads.ecn},       {"host_ufo", interface->host_offloads.ufo},
        {"mrg_rxbuf", interface->host_offloads.mrg_rxbuf}, {"guest_csum", interface->guest_offloads.csum},
        {"guest_tso4", interface->guest_offloads.tso4},   {"guest_tso6", interface->guest_offloads.tso6},
        {"guest_ecn", interface->guest_offloads.ecn},     {"guest_ufo", interface->guest_offloads.ufo},
        {"ioeventfd", interface->ioeventfd},              {"event_idx", interface->event_idx},
    };

    for (size_t i = 0; i < VQ_N_ELEMENTS(switches); i++)
        vq_qemu_json_bool(device, switches[i].name, switches[i].state);
    vq_qemu_json_text(device, "tx", vq_streq(interface->txmode, "iothread") ? "bh"
                                    : vq_streq(interface->txmode, "timer")  ? "timer"
                                                                            : NULL);
    if (interface->rx_queue_size != 0)
        vq_qemu_json_number(device, "rx_queue_size", interface->rx_queue_size);
    if (interface->tx_queue_size != 0)
        vq_qemu_json_number(device, "tx_queue_size", interface->tx_queue_size);
    if (interface->mtu != 0)
        vq_qemu_json_number(device, "host_mtu", interface->mtu);
    vq_qemu_json_virtio(device, &interface->virtio);
}

static int write_interface(struct vq_qemu_writer *writer, const struct vq_interface *interface, size_t index,
                           struct vq_error *err)
{
    bool is_virtio = strncmp(interface->model == NULL ? "" : interface->model, "virtio", 6) == 0;
    char name[64], netdev[160], mac[24];
    uint32_t boot = network_boot_index(writer->def, interface);

    if (interface->model == NULL)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "interface '%s' has no model", interface->info.alias);
    if (write_netdev(writer, interface, index, err) < 0)
        return -1;
    if (is_virtio)
        vq_qemu_virtio_name(name, sizeof(name), "virtio-net",
                            strcmp(interface->model, "virtio-transitional") == 0       ? VQ_VIRTIO_MODEL_TRANSITIONAL
                            : strcmp(interface->model, "virtio-non-transitional") == 0 ? VQ_VIRTIO_MODEL_NON_TRANSITIONAL
                                                                                       : VQ_VIRTIO_MODEL_VIRTIO,
                            &interface->info);
    else
        (void)snprintf(name, sizeof(name), "%s", interface->model);
    json_t *device = vq_qemu_device_new(writer, name, &interface->info);
    (void)snprintf(netdev, sizeof(netdev), "host%s", interface->info.alias);
    vq_qemu_json_text(device, "netdev", netdev);
    (void)snprintf(mac, sizeof(mac), "%02x:%02x:%02x:%02x:%02x:%02x", interface->mac[0], interface->mac[1],
                   interface->mac[2], interface->mac[3], interface->mac[4], interface->mac[5]);
    vq_qemu_json_text(device, "mac", mac);
    if (is_virtio)
        add_virtio_net(device, interface);
    if (boot != 0)
        vq_qemu_json_number(device, "bootindex", boot);
    vq_qemu_arg_json(writer, "-device", device);
    return 0;
}

/* ---- The rest ---- */

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
        vq_qemu_arg_json(writer, "-device", device);
        return 0;
    }
    if (input->type == VQ_INPUT_EVDEV) {
        vq_qemu_arg_json(writer, "-object", json_pack("{s:s, s:s, s:s}", "qom-type", "input-linux", "id", input->info.alias,
                                                      "evdev", input->source_dev == NULL ? "" : input->source_dev));
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

static int write_tpm(struct vq_qemu_writer *writer, const struct vq_tpm *tpm, struct vq_error *err)
{
    char id[160];

    if (tpm->backend != VQ_TPM_PASSTHROUGH)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                            "TPM backend 'emulator' needs swtpm, which is not supported on this host");
    (void)snprintf(id, sizeof(id), "tpm-%s", tpm->info.alias);
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;
    vq_buffer_addf(&value, "passthrough,id=%s,path=", id);
    vq_qemu_add_value(&value, tpm->device == NULL ? "/dev/tpm0" : tpm->device);
    vq_qemu_arg_buffer(writer, "-tpmdev", &value);
    json_t *device = vq_qemu_device_new(writer, tpm->model, &tpm->info);
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
    vq_qemu_arg_json(writer, "-device", device);
    return 0;
}

static int write_hostdev(struct vq_qemu_writer *writer, const struct vq_hostdev *hostdev, struct vq_error *err)
{
    char host[32];
    json_t *device;

    switch (hostdev->type) {
    case VQ_HOSTDEV_USB:
        device = vq_qemu_device_new(writer, "usb-host", &hostdev->info);
        if (hostdev->has_usb_address) {
            vq_qemu_json_number(device, "hostbus", hostdev->usb_bus);
            vq_qemu_json_number(device, "hostaddr", hostdev->usb_device);
        } else {
            vq_qemu_json_number(device, "vendorid", hostdev->vendor);
            vq_qemu_json_number(device, "productid", hostdev->product);
        }
        break;
    case VQ_HOSTDEV_PCI:
        (void)snprintf(host, sizeof(host), "%04x:%02x:%02x.%x", hostdev->pci.domain, hostdev->pci.bus, hostdev->pci.slot,
                       hostdev->pci.function);
        device = vq_qemu_device_new(writer, "vfio-pci", &hostdev->info);
        vq_qemu_json_text(device, "host", host);
        break;
    default:
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "host device '%s': this type is not supported",
                            hostdev->info.alias);
    }
    vq_qemu_json_boot(writer, device, &hostdev->info);
    vq_qemu_arg_json(writer, "-device", device);
    return 0;
}

static int write_redirdev(struct vq_qemu_writer *writer, const struct vq_redirdev *redirdev, struct vq_error *err)
{
    char chardev[160];

    if (redirdev->source.type == VQ_CHARDEV_SPICEVMC) {
        VQ_AUTOBUFFER value = VQ_BUFFER_INIT;
        vq_buffer_addf(&value, "spicevmc,id=char%s,name=usbredir", redirdev->info.alias);
        vq_qemu_arg_buffer(writer, "-chardev", &value);
    } else if (vq_qemu_write_chardev(writer, &redirdev->source, redirdev->info.alias, err) < 0) {
        return -1;
    }
    (void)snprintf(chardev, sizeof(chardev), "char%s", redirdev->info.alias);
    json_t *device = vq_qemu_device_new(writer, "usb-redir", &redirdev->info);
    vq_qemu_json_text(device, "chardev", chardev);
    vq_qemu_json_boot(writer, device, &redirdev->info);
    vq_qemu_arg_json(writer, "-device", device);
    return 0;
}

static int refuse_unsupported(const struct vq_domain *def, struct vq_error *err)
{
    const struct {
        size_t n;
        const char *what;
    } lists[] = {{def->devices.n_filesystems, "filesystem"}, {def->devices.n_smartcards, "smartcard"},
                 {def->devices.n_shmems, "shmem"}, {def->devices.n_memories, "memory"}};

    for (size_t i = 0; i < VQ_N_ELEMENTS(lists); i++)
        if (lists[i].n > 0)
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "domain '%s': <%s> devices are not supported yet",
                                def->name, lists[i].what);
    if (def->launch_security != NULL)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "domain '%s': <launchSecurity> is not supported yet",
                            def->name);
    return 0;
}

int vq_qemu_write_devices(struct vq_qemu_writer *writer, struct vq_error *err)
{
    const struct vq_devices *devices = &writer->def->devices;

    if (refuse_unsupported(writer->def, err) < 0)
        return -1;
    for (size_t i = 0; i < devices->n_interfaces; i++)
        if (write_interface(writer, devices->interfaces[i], i, err) < 0)
            return -1;
    if (vq_qemu_write_ports(writer, err) < 0)
        return -1;
    for (size_t i = 0; i < devices->n_tpms; i++)
        if (write_tpm(writer, devices->tpms[i], err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_inputs; i++)
        if (write_input(writer, devices->inputs[i], err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_watchdogs; i++)
        if (write_watchdog(writer, devices->watchdogs[i], err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_redirdevs; i++)
        if (write_redirdev(writer, devices->redirdevs[i], err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_hostdevs; i++)
        if (write_hostdev(writer, devices->hostdevs[i], err) < 0)
            return -1;
    if (vq_qemu_balloon_is_present(devices->memballoon))
        write_balloon(writer, devices->memballoon);
    for (size_t i = 0; i < devices->n_rngs; i++)
        if (write_rng(writer, devices->rngs[i], err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_panics; i++)
        if (vq_streq(devices->panics[i]->model, "isa"))
            vq_qemu_arg_json(writer, "-device", vq_qemu_device_new(writer, "pvpanic", &devices->panics[i]->info));
    return write_vsock(writer, err);
}
