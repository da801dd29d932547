/* Devices of the host, or of a client, given to the guest: hostdevs, redirected USB, smartcards. */
#define VQ_FROM VIR_FROM_QEMU
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/command_priv.h"
#include "drivers/qemu/devices.h"

/* ---- Host devices ---- */

/* A device that is named by what it is was found on the host before the start (drivers/qemu/hostdev.c). */
static json_t *new_usb(struct vq_qemu_writer *writer, const struct vq_hostdev *hostdev)
{
    json_t *device = vq_qemu_device_new(writer, "usb-host", &hostdev->info);

    if (hostdev->has_usb_address && !writer->has_usb_path) {
        vq_qemu_json_number(device, "hostbus", hostdev->usb_bus);
        vq_qemu_json_number(device, "hostaddr", hostdev->usb_device);
    } else if (hostdev->has_usb_address) {
        VQ_AUTOFREE char *path = vq_asprintf("/dev/bus/usb/%03u/%03u", hostdev->usb_bus, hostdev->usb_device);
        vq_qemu_json_text(device, "hostdevice", path);
    } else {
        vq_qemu_json_number(device, "vendorid", hostdev->vendor);
        vq_qemu_json_number(device, "productid", hostdev->product);
    }
    if (vq_streq(hostdev->guest_reset, "off")) {
        json_object_set_new(device, "guest-reset", json_false());
    } else if (vq_streq(hostdev->guest_reset, "uninitialized")) {
        json_object_set_new(device, "guest-reset", json_true());
    } else if (vq_streq(hostdev->guest_reset, "on")) {
        json_object_set_new(device, "guest-reset", json_true());
        json_object_set_new(device, "guest-resets-all", json_true());
    }
    return device;
}

static json_t *new_pci(struct vq_qemu_writer *writer, const struct vq_hostdev *hostdev)
{
    json_t *device = vq_qemu_device_new(writer, "vfio-pci", &hostdev->info);
    char host[32];

    (void)snprintf(host, sizeof(host), "%04x:%02x:%02x.%x", hostdev->pci.domain, hostdev->pci.bus, hostdev->pci.slot,
                   hostdev->pci.function);
    vq_qemu_json_text(device, "host", host);
    if (vq_streq(hostdev->teaming.type, "transient"))
        vq_qemu_json_text(device, "failover_pair_id", hostdev->teaming.persistent);
    return device;
}

static json_t *new_mdev(struct vq_qemu_writer *writer, const struct vq_hostdev *hostdev)
{
    bool is_pci = vq_streq(hostdev->model, "vfio-pci");
    json_t *device = vq_qemu_device_new(writer, is_pci && hostdev->ramfb == VQ_SWITCH_ON ? "vfio-pci-nohotplug"
                                                : is_pci                                ? "vfio-pci"
                                                                                        : hostdev->model,
                                        &hostdev->info);
    char uuid[VQ_UUID_TEXT];

    vq_uuid_format(hostdev->mdev_uuid, uuid);
    VQ_AUTOFREE char *path = vq_asprintf("/sys/bus/mdev/devices/%s", uuid);
    vq_qemu_json_text(device, "sysfsdev", path);
    vq_qemu_json_switch(device, "display", hostdev->display);
    vq_qemu_json_bool(device, "ramfb", hostdev->ramfb);
    return device;
}

/* ---- SCSI ---- */

static int write_scsi_node(struct vq_qemu_writer *writer, const struct vq_hostdev *hostdev, size_t index, const char *node,
                           struct vq_error *err)
{
    const struct vq_qemu_launch *launch = writer->launch;
    const char *generic = launch->scsi_generics != NULL && index < launch->n_scsi_generics ? launch->scsi_generics[index] : NULL;
    json_t *blockdev;

    if (hostdev->source_protocol == NULL) {
        if (generic == NULL)
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "host device '%s': there is no SCSI device %s:%u:%u:%" PRIu64,
                                hostdev->info.alias, hostdev->scsi_adapter == NULL ? "" : hostdev->scsi_adapter,
                                hostdev->scsi_bus, hostdev->scsi_target, hostdev->scsi_unit);
        blockdev = json_pack("{s:s, s:s, s:s, s:b}", "driver", "host_device", "filename", generic, "node-name",
                             node, "read-only", hostdev->is_readonly);
    } else {
        const struct vq_source_host *host = hostdev->n_source_hosts > 0 ? hostdev->source_hosts[0] : NULL;
        VQ_AUTOFREE char *target = vq_strdup(hostdev->source_name == NULL ? "" : hostdev->source_name);
        VQ_AUTOFREE char *portal = vq_asprintf("%s:%u", host == NULL || host->name == NULL ? "" : host->name,
                                               host == NULL || host->port == 0 ? 3260 : host->port);
        char *slash = strrchr(target, '/');
        uint64_t lun = 0;
        if (hostdev->source_auth != NULL)
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "host device '%s': an iSCSI source with a password is not "
                                "supported", hostdev->info.alias);
        if (slash != NULL && vq_parse_u64(slash + 1, 10, UINT32_MAX, &lun))
            *slash = '\0';
        blockdev = json_pack("{s:s, s:s, s:s, s:I, s:s, s:s, s:b}", "driver", "iscsi", "portal", portal, "target", target, "lun",
                             (json_int_t)lun, "transport", "tcp", "node-name", node, "read-only", hostdev->is_readonly);
        vq_qemu_json_text(blockdev, "initiator-name", hostdev->source_initiator);
    }
    vq_qemu_arg_json(writer, "-blockdev", blockdev);
    return 0;
}

static int write_scsi(struct vq_qemu_writer *writer, const struct vq_hostdev *hostdev, size_t index, struct vq_error *err)
{
    const struct vq_address *at = &hostdev->info.address;
    const struct vq_controller *controller = vq_qemu_find_controller(writer->def, VQ_CONTROLLER_SCSI, at->drive.controller);
    VQ_AUTOFREE char *node = vq_asprintf("libvirt-%s-backend", hostdev->info.alias);
    bool is_lsi = controller == NULL || vq_streq(controller->model, "lsilogic");

    if (write_scsi_node(writer, hostdev, index, node, err) < 0)
        return -1;
    json_t *device = vq_qemu_device_new(writer, "scsi-generic", &hostdev->info);
    VQ_AUTOFREE char *bus = vq_asprintf("%s.0", controller == NULL ? "scsi0" : controller->info.alias);
    vq_qemu_json_text(device, "bus", bus);
    if (is_lsi) {
        vq_qemu_json_number(device, "scsi-id", at->drive.unit);
    } else {
        vq_qemu_json_number(device, "channel", at->drive.bus);
        vq_qemu_json_number(device, "scsi-id", at->drive.target);
        vq_qemu_json_number(device, "lun", at->drive.unit);
    }
    vq_qemu_json_text(device, "drive", node);
    vq_qemu_json_boot(writer, device, &hostdev->info);
    vq_qemu_arg_json(writer, "-device", device);
    return 0;
}

static json_t *new_scsi_host(struct vq_qemu_writer *writer, const struct vq_hostdev *hostdev)
{
    const char *driver = vq_streq(hostdev->model, "virtio-transitional")       ? "vhost-scsi-pci-transitional"
                         : vq_streq(hostdev->model, "virtio-non-transitional") ? "vhost-scsi-pci-non-transitional"
                                                                               : "vhost-scsi-pci";
    json_t *device = vq_qemu_device_new(writer, driver, &hostdev->info);

    vq_qemu_json_text(device, "wwpn", hostdev->wwpn);
    return device;
}

static int write_hostdev(struct vq_qemu_writer *writer, const struct vq_hostdev *hostdev, size_t index, struct vq_error *err)
{
    json_t *device;

    switch (hostdev->type) {
    case VQ_HOSTDEV_USB:
        device = new_usb(writer, hostdev);
        break;
    case VQ_HOSTDEV_PCI:
        device = new_pci(writer, hostdev);
        break;
    case VQ_HOSTDEV_MDEV:
        device = new_mdev(writer, hostdev);
        break;
    case VQ_HOSTDEV_SCSI_HOST:
        device = new_scsi_host(writer, hostdev);
        break;
    case VQ_HOSTDEV_SCSI:
        return write_scsi(writer, hostdev, index, err);
    default:
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "host device '%s': this type is not supported",
                            hostdev->info.alias);
    }
    vq_qemu_json_boot(writer, device, &hostdev->info);
    vq_qemu_arg_json(writer, "-device", device);
    return 0;
}

int vq_qemu_write_hostdevs(struct vq_qemu_writer *writer, struct vq_error *err)
{
    for (size_t i = 0; i < writer->def->devices.n_hostdevs; i++)
        if (write_hostdev(writer, writer->def->devices.hostdevs[i], i, err) < 0)
            return -1;
    return 0;
}

/* ---- Redirected USB devices ---- */

static const char *or_any(const char *text)
{
    return text == NULL ? "-1" : text;
}

/* "0x08:0x1234:0xBEEF:0x0256:1|-1:-1:-1:-1:0": class, vendor, product, version, allowed. */
static void add_rule(struct vq_buffer *filter, const struct vq_redir_rule *rule)
{
    uint64_t number;
    const struct {
        const char *text;
        int digits;
    } fields[] = {{or_any(rule->class_code), 2}, {or_any(rule->vendor), 4}, {or_any(rule->product), 4}};

    for (size_t i = 0; i < VQ_N_ELEMENTS(fields); i++) {
        if (vq_parse_u64(strncmp(fields[i].text, "0x", 2) == 0 ? fields[i].text + 2 : fields[i].text, 16, 0xffff, &number))
            vq_buffer_addf(filter, "0x%0*X:", fields[i].digits, (unsigned)number);
        else
            vq_buffer_add(filter, "-1:");
    }
    /* The version is written as decimal digits of a BCD number: 2.56 is 0x0256. */
    if (rule->version != NULL && strcmp(rule->version, "-1") != 0) {
        const char *dot = strchr(rule->version, '.');
        unsigned major = (unsigned)strtoul(rule->version, NULL, 10) % 100;
        unsigned minor = dot == NULL ? 0 : (unsigned)strtoul(dot + 1, NULL, 10) % 100;
        vq_buffer_addf(filter, "0x%02u%02u:", major, minor);
    } else {
        vq_buffer_add(filter, "-1:");
    }
    vq_buffer_add(filter, rule->allow == VQ_SWITCH_OFF ? "0" : "1");
}

static void add_filter(json_t *device, const struct vq_redir_filter *filter)
{
    VQ_AUTOBUFFER text = VQ_BUFFER_INIT;

    for (size_t i = 0; filter != NULL && i < filter->n_rules; i++) {
        vq_buffer_add(&text, i == 0 ? "" : "|");
        add_rule(&text, filter->rules[i]);
    }
    if (text.length > 0)
        vq_qemu_json_text(device, "filter", text.data);
}

/* A channel of SPICE has the purpose in its name. */
static int write_source(struct vq_qemu_writer *writer, const struct vq_chardev *source, const char *alias,
                        const char *purpose, struct vq_error *err)
{
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;

    if (source->type != VQ_CHARDEV_SPICEVMC)
        return vq_qemu_write_chardev(writer, source, alias, err);
    vq_buffer_addf(&value, "spicevmc,id=char%s,name=%s", alias, purpose);
    vq_qemu_arg_buffer(writer, "-chardev", &value);
    return 0;
}

static int write_redirdev(struct vq_qemu_writer *writer, const struct vq_redirdev *redirdev, struct vq_error *err)
{
    VQ_AUTOFREE char *chardev = vq_asprintf("char%s", redirdev->info.alias);

    if (write_source(writer, &redirdev->source, redirdev->info.alias, "usbredir", err) < 0)
        return -1;
    json_t *device = vq_qemu_device_new(writer, "usb-redir", &redirdev->info);
    vq_qemu_json_text(device, "chardev", chardev);
    add_filter(device, writer->def->devices.redirfilter);
    vq_qemu_json_boot(writer, device, &redirdev->info);
    vq_qemu_arg_json(writer, "-device", device);
    return 0;
}

int vq_qemu_write_redirdevs(struct vq_qemu_writer *writer, struct vq_error *err)
{
    for (size_t i = 0; i < writer->def->devices.n_redirdevs; i++)
        if (write_redirdev(writer, writer->def->devices.redirdevs[i], err) < 0)
            return -1;
    return 0;
}

/* ---- Smartcards ---- */

static void add_certificates(json_t *device, const struct vq_smartcard *card)
{
    char key[32];

    vq_qemu_json_text(device, "backend", "certificates");
    for (size_t i = 0; i < card->n_certificates; i++) {
        (void)snprintf(key, sizeof(key), "cert%zu", i + 1);
        vq_qemu_json_text(device, key, card->certificates[i]->name);
    }
    vq_qemu_json_text(device, "db", card->database == NULL ? "/etc/pki/nssdb" : card->database);
}

static int write_smartcard(struct vq_qemu_writer *writer, const struct vq_smartcard *card, struct vq_error *err)
{
    VQ_AUTOFREE char *chardev = vq_asprintf("char%s", card->info.alias);
    const struct vq_address *at = &card->info.address;
    const struct vq_controller *reader = vq_qemu_find_controller(writer->def, VQ_CONTROLLER_CCID,
                                                                 at->type == VQ_ADDRESS_CCID ? at->ccid.controller : 0);
    VQ_AUTOFREE char *bus = vq_asprintf("%s.0", reader == NULL ? "ccid0" : reader->info.alias);
    bool is_passed = card->mode == VQ_SMARTCARD_PASSTHROUGH;

    if (is_passed && write_source(writer, &card->source, card->info.alias, "smartcard", err) < 0)
        return -1;
    json_t *device = vq_qemu_device_new(writer, is_passed ? "ccid-card-passthru" : "ccid-card-emulated", &card->info);
    if (is_passed)
        vq_qemu_json_text(device, "chardev", chardev);
    else if (card->mode == VQ_SMARTCARD_HOST)
        vq_qemu_json_text(device, "backend", "nss-emulated");
    else
        add_certificates(device, card);
    vq_qemu_json_text(device, "bus", bus);
    vq_qemu_arg_json(writer, "-device", device);
    return 0;
}

int vq_qemu_write_smartcards(struct vq_qemu_writer *writer, struct vq_error *err)
{
    for (size_t i = 0; i < writer->def->devices.n_smartcards; i++)
        if (write_smartcard(writer, writer->def->devices.smartcards[i], err) < 0)
            return -1;
    return 0;
}
