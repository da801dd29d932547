/* Host devices: see hostdev.h. */
#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/hostdev.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "conf/base/log.h"
#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/device_fields.h"
#include "conf/domain.h"
#include "drivers/qemu/guest.h"

#define USB_DEVICES "/sys/bus/usb/devices"

/* ---- USB ---- */

static bool read_number(const char *device, const char *file, unsigned base, uint64_t max, uint32_t *ret)
{
    VQ_AUTOFREE char *path = vq_asprintf(USB_DEVICES "/%s/%s", device, file);
    char text[32] = "";
    FILE *stream = fopen(path, "re");
    uint64_t number;

    if (stream == NULL)
        return false;
    if (fgets(text, sizeof(text), stream) == NULL)
        text[0] = '\0';
    (void)fclose(stream);
    text[strcspn(text, "\n ")] = '\0';
    if (!vq_parse_u64(text, (int)base, max, &number))
        return false;
    *ret = (uint32_t)number;
    return true;
}

struct usb_device {
    uint32_t vendor, product, bus, device;
};

static bool read_usb(const char *name, struct usb_device *ret)
{
    return strchr(name, ':') == NULL && read_number(name, "idVendor", 16, 0xffff, &ret->vendor) &&
           read_number(name, "idProduct", 16, 0xffff, &ret->product) && read_number(name, "busnum", 10, 999, &ret->bus) &&
           read_number(name, "devnum", 10, 999, &ret->device);
}

static bool is_wanted(const struct vq_hostdev *hostdev, const struct usb_device *device)
{
    if (hostdev->has_vendor && (hostdev->vendor != device->vendor || hostdev->product != device->product))
        return false;
    return !hostdev->has_usb_address || (hostdev->usb_bus == device->bus && hostdev->usb_device == device->device);
}

static size_t count_usb(const struct vq_hostdev *hostdev, struct usb_device *ret_first)
{
    DIR *stream = opendir(USB_DEVICES);
    const struct dirent *entry;
    size_t n = 0;

    while (stream != NULL && (entry = readdir(stream)) != NULL) {
        struct usb_device device;
        if (entry->d_name[0] == '.' || !read_usb(entry->d_name, &device) || !is_wanted(hostdev, &device))
            continue;
        if (n++ == 0)
            *ret_first = device;
    }
    if (stream != NULL)
        (void)closedir(stream);
    return n;
}

static int find_usb(struct vq_hostdev *hostdev, bool *ret_is_missing, struct vq_error *err)
{
    struct usb_device device = { 0 };
    size_t n = count_usb(hostdev, &device);

    *ret_is_missing = n == 0;
    if (n == 0 && hostdev->startup_policy == VQ_STARTUP_OPTIONAL)
        return 0;
    if (n == 0 && hostdev->has_vendor && hostdev->has_usb_address)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Did not find USB device %04x:%04x bus:%u device:%u", hostdev->vendor,
                            hostdev->product, hostdev->usb_bus, hostdev->usb_device);
    if (n == 0 && hostdev->has_vendor)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Did not find USB device %04x:%04x", hostdev->vendor,
                            hostdev->product);
    if (n == 0)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Did not find USB device bus:%u device:%u", hostdev->usb_bus,
                            hostdev->usb_device);
    if (n > 1)
        return vq_error_set(err, VIR_ERR_OPERATION_FAILED, "Multiple USB devices for %x:%x, use <address> to specify one",
                            hostdev->vendor, hostdev->product);
    hostdev->has_usb_address = true;
    hostdev->usb_bus = device.bus;
    hostdev->usb_device = device.device;
    return 0;
}

/* ---- PCI, mediated ---- */

static void format_pci(const struct vq_pci_address *at, char *text, size_t size)
{
    (void)snprintf(text, size, "%04x:%02x:%02x.%x", at->domain, at->bus, at->slot, at->function);
}

/* The device has to be there, in a group that the IOMMU keeps apart, and bound to vfio-pci: which is nodedev-detach's work, done
 * for it beforehand. */
static int find_pci(const struct vq_pci_address *at, struct vq_error *err)
{
    char name[32];

    format_pci(at, name, sizeof(name));
    VQ_AUTOFREE char *device = vq_asprintf("/sys/bus/pci/devices/%s", name);
    VQ_AUTOFREE char *group = vq_asprintf("%s/iommu_group", device);
    VQ_AUTOFREE char *driver = vq_asprintf("%s/driver", device);
    char target[256] = "";
    ssize_t n;

    if (access(device, F_OK) < 0)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Device %s not found: could not access %s/config: %s", name, device,
                            strerror(errno));
    if (access(group, F_OK) < 0)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "host doesn't support passthrough of host PCI devices");
    n = readlink(driver, target, sizeof(target) - 1);
    if (n < 0 || strrchr(target, '/') == NULL || strcmp(strrchr(target, '/'), "/vfio-pci") != 0)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "PCI device %s is not bound to vfio-pci: detach it first", name);
    return 0;
}

static int find_mdev(const struct vq_hostdev *hostdev, struct vq_error *err)
{
    char uuid[VQ_UUID_TEXT];

    vq_uuid_format(hostdev->mdev_uuid, uuid);
    VQ_AUTOFREE char *path = vq_asprintf("/sys/bus/mdev/devices/%s", uuid);
    if (access(path, F_OK) < 0)
        return vq_error_set(err, VIR_ERR_DEVICE_MISSING, "mediated device '%s' not found", uuid);
    return 0;
}

/* ---- SCSI ---- */

int vq_qemu_hostdev_scsi_generic(const struct vq_hostdev *hostdev, char **ret_path, struct vq_error *err)
{
    const char *adapter = hostdev->scsi_adapter == NULL ? "" : hostdev->scsi_adapter;
    const char *number = strncmp(adapter, "scsi_host", 9) == 0 ? adapter + 9 : adapter;
    const struct dirent *entry;
    uint64_t host;
    DIR *stream;

    if (!vq_parse_u64(number, 10, UINT32_MAX, &host))
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "'%s' is no SCSI adapter of a host: 'scsi_hostN'", adapter);
    VQ_AUTOFREE char *dir = vq_asprintf("/sys/bus/scsi/devices/%" PRIu64 ":%u:%u:%" PRIu64 "/scsi_generic", host,
                                        hostdev->scsi_bus, hostdev->scsi_target, hostdev->scsi_unit);
    stream = opendir(dir);
    if (stream == NULL)
        return vq_error_system(err, errno, "cannot open directory '%s'", dir);
    *ret_path = NULL;
    while (*ret_path == NULL && (entry = readdir(stream)) != NULL)
        if (strncmp(entry->d_name, "sg", 2) == 0)
            *ret_path = vq_asprintf("/dev/%s", entry->d_name);
    (void)closedir(stream);
    return *ret_path != NULL ? 0 : vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "'%s' names no device", dir);
}

int vq_qemu_hostdev_generics(const struct vq_domain *live, char ***ret_paths, struct vq_error *err)
{
    size_t n = live->devices.n_hostdevs;
    char **paths = vq_calloc(n + 1, sizeof(*paths));

    for (size_t i = 0; i < n; i++) {
        const struct vq_hostdev *hostdev = live->devices.hostdevs[i];
        if (hostdev->type != VQ_HOSTDEV_SCSI || hostdev->source_protocol != NULL ||
            vq_qemu_hostdev_scsi_generic(hostdev, &paths[i], err) == 0)
            continue;
        vq_qemu_hostdev_generics_free(paths, n);
        return -1;
    }
    *ret_paths = paths;
    return 0;
}

void vq_qemu_hostdev_generics_free(char **paths, size_t n)
{
    for (size_t i = 0; paths != NULL && i < n; i++)
        free(paths[i]);
    free(paths);
}

static int find_scsi(const struct vq_hostdev *hostdev, struct vq_error *err)
{
    VQ_AUTOFREE char *path = NULL;

    return hostdev->source_protocol != NULL ? 0 : vq_qemu_hostdev_scsi_generic(hostdev, &path, err);
}

/* ---- One guest at a time ---- */

static bool is_same_pci(const struct vq_pci_address *a, const struct vq_pci_address *b)
{
    return a->domain == b->domain && a->bus == b->bus && a->slot == b->slot && a->function == b->function;
}

static bool is_same(const struct vq_hostdev *a, const struct vq_hostdev *b)
{
    if (a->type != b->type)
        return false;
    switch (a->type) {
    case VQ_HOSTDEV_USB:
        return a->has_usb_address && b->has_usb_address && a->usb_bus == b->usb_bus && a->usb_device == b->usb_device;
    case VQ_HOSTDEV_PCI:
        return is_same_pci(&a->pci, &b->pci);
    case VQ_HOSTDEV_MDEV:
        return memcmp(a->mdev_uuid, b->mdev_uuid, sizeof(a->mdev_uuid)) == 0;
    case VQ_HOSTDEV_SCSI:
        return a->source_protocol == NULL && b->source_protocol == NULL && !(a->is_shareable && b->is_shareable) &&
               vq_streq(a->scsi_adapter, b->scsi_adapter) && a->scsi_bus == b->scsi_bus && a->scsi_target == b->scsi_target &&
               a->scsi_unit == b->scsi_unit;
    case VQ_HOSTDEV_SCSI_HOST:
        return vq_streq(a->wwpn, b->wwpn);
    default:
        return false;
    }
}

/* As a definition names it, for the error. */
static char *describe(const struct vq_hostdev *hostdev)
{
    char text[VQ_UUID_TEXT + 8];

    switch (hostdev->type) {
    case VQ_HOSTDEV_USB:
        return vq_asprintf("USB device %03u:%03u", hostdev->usb_bus, hostdev->usb_device);
    case VQ_HOSTDEV_PCI:
        format_pci(&hostdev->pci, text, sizeof(text));
        return vq_asprintf("PCI device %s", text);
    case VQ_HOSTDEV_MDEV:
        vq_uuid_format(hostdev->mdev_uuid, text);
        return vq_asprintf("mediated device %s", text);
    default:
        return vq_strdup("SCSI device");
    }
}

static int check_free(const struct vq_qemu_guest *guest, const struct vq_hostdev *hostdev, struct vq_error *err)
{
    for (const struct vq_qemu_guest *other = guest->qemu->guests; other != NULL; other = other->next) {
        for (size_t i = 0; other != guest && other->live != NULL && i < other->live->devices.n_hostdevs; i++) {
            if (!is_same(hostdev, other->live->devices.hostdevs[i]))
                continue;
            VQ_AUTOFREE char *what = describe(hostdev);
            return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "%s is in use by driver QEMU, domain %s", what, other->name);
        }
    }
    return 0;
}

static int find_one(struct vq_hostdev *hostdev, bool *ret_is_missing, struct vq_error *err)
{
    *ret_is_missing = false;
    switch (hostdev->type) {
    case VQ_HOSTDEV_USB:
        return find_usb(hostdev, ret_is_missing, err);
    case VQ_HOSTDEV_PCI:
        return find_pci(&hostdev->pci, err);
    case VQ_HOSTDEV_MDEV:
        return find_mdev(hostdev, err);
    case VQ_HOSTDEV_SCSI:
        return find_scsi(hostdev, err);
    case VQ_HOSTDEV_SCSI_HOST:
        return access("/dev/vhost-scsi", F_OK) == 0
                   ? 0
                   : vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "vhost-scsi device file '/dev/vhost-scsi' cannot be found");
    default:
        return 0;
    }
}

static void remove_at(struct vq_devices *devices, size_t index)
{
    vq_fields_free(&vq_hostdev_fields, devices->hostdevs[index]);
    devices->n_hostdevs--;
    memmove(devices->hostdevs + index, devices->hostdevs + index + 1,
            (devices->n_hostdevs - index) * sizeof(*devices->hostdevs));
}

int vq_qemu_hostdevs_find(struct vq_qemu_guest *guest, struct vq_error *err)
{
    struct vq_devices *devices = &guest->live->devices;

    for (size_t i = 0; i < devices->n_hostdevs;) {
        bool is_missing;
        if (find_one(devices->hostdevs[i], &is_missing, err) < 0)
            return -1;
        if (is_missing) {
            vq_log(INFO, "guest.hostdev", "domain=%s device=%s: it is not there, and the guest starts without it",
                   guest->name, devices->hostdevs[i]->info.alias == NULL ? "" : devices->hostdevs[i]->info.alias);
            remove_at(devices, i);
            continue;
        }
        if (check_free(guest, devices->hostdevs[i], err) < 0)
            return -1;
        i++;
    }
    for (size_t i = 0; i < devices->n_interfaces; i++)
        if (devices->interfaces[i]->type == VQ_INTERFACE_HOSTDEV &&
            find_pci(&devices->interfaces[i]->hostdev_address, err) < 0)
            return -1;
    return 0;
}
