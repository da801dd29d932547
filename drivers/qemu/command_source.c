/* One image: its secrets, TLS credentials and reservations, the node that reads its bytes, the node of its format. */
#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/command_source.h"

#include <stdio.h>
#include <string.h>

#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/command_priv.h"
#include "drivers/qemu/disk.h"
#include "drivers/qemu/run_secrets.h"

#define MANAGED_HELPER "pr-helper0"

void vq_qemu_node_name(char name[VQ_QEMU_NODE_NAME], const struct vq_source *source, const char *part)
{
    (void)snprintf(name, VQ_QEMU_NODE_NAME, "libvirt-%u-%s", source->index, part);
}

static void object_id(char id[VQ_QEMU_OBJECT_NAME], const struct vq_source *source, const char *part)
{
    (void)snprintf(id, VQ_QEMU_OBJECT_NAME, "libvirt-%u-%s", source->index, part);
}

void vq_qemu_auth_secret_id(char id[VQ_QEMU_OBJECT_NAME], const struct vq_source *source)
{
    object_id(id, source, "storage-auth-secret0");
}

void vq_qemu_encryption_secret_id(char id[VQ_QEMU_OBJECT_NAME], const struct vq_source *source)
{
    object_id(id, source, "format-encryption-secret0");
}

void vq_qemu_cookie_secret_id(char id[VQ_QEMU_OBJECT_NAME], const struct vq_source *source)
{
    object_id(id, source, "storage-httpcookie-secret0");
}

void vq_qemu_source_tls_id(char id[VQ_QEMU_OBJECT_NAME], const struct vq_source *source)
{
    (void)snprintf(id, VQ_QEMU_OBJECT_NAME, "objlibvirt-%u-storage_tls0", source->index);
}

bool vq_qemu_encryption_is_librbd(const struct vq_encryption *encryption)
{
    return encryption != NULL && vq_streq(encryption->engine, "librbd");
}

bool vq_qemu_source_is_on_network(const struct vq_source *source)
{
    return source->type == VQ_SOURCE_NETWORK;
}

struct vq_qemu_image vq_qemu_image_of_disk(const struct vq_disk *disk)
{
    return (struct vq_qemu_image){
        .disk = disk,
        .source = &disk->source,
        .format = disk->format == NULL ? "raw" : disk->format,
        .encryption = disk->source.encryption != NULL ? disk->source.encryption : disk->encryption,
        .auth = disk->source.auth != NULL ? disk->source.auth : disk->auth,
        .metadata_cache_size = disk->metadata_cache_size,
        .is_readonly = disk->is_readonly || disk->device == VQ_DISK_DEVICE_CDROM,
        .is_top = true,
    };
}

/* ---- Objects ---- */

static int write_secret(struct vq_qemu_writer *writer, const char *id, const struct vq_disk *disk, struct vq_error *err)
{
    int fd = vq_qemu_run_secrets_find(writer->launch->secrets, id);
    char path[40];

    if (fd < 0)
        return vq_error_set(err, VIR_ERR_NO_SECRET, "disk '%s': the secret that it needs was not fetched", disk->target);
    (void)snprintf(path, sizeof(path), "/proc/self/fd/%d", fd);
    vq_qemu_keep_fd(writer, fd);
    vq_qemu_arg_json(writer, "-object", json_pack("{s:s, s:s, s:s}", "qom-type", "secret", "id", id, "file", path));
    return 0;
}

static int write_secrets(struct vq_qemu_writer *writer, const struct vq_qemu_image *image, struct vq_error *err)
{
    char id[VQ_QEMU_OBJECT_NAME];

    if (image->auth != NULL && image->auth->secret.type != VQ_SECRET_USAGE_UNSET) {
        vq_qemu_auth_secret_id(id, image->source);
        if (write_secret(writer, id, image->disk, err) < 0)
            return -1;
    }
    if (image->source->n_cookies > 0) {
        vq_qemu_cookie_secret_id(id, image->source);
        if (write_secret(writer, id, image->disk, err) < 0)
            return -1;
    }
    if (image->encryption != NULL) {
        vq_qemu_encryption_secret_id(id, image->source);
        if (write_secret(writer, id, image->disk, err) < 0)
            return -1;
    }
    return 0;
}

static void write_tls(struct vq_qemu_writer *writer, const struct vq_source *source)
{
    const char *dir = writer->launch->tls_dir;
    char id[VQ_QEMU_OBJECT_NAME];

    if (source->type != VQ_SOURCE_NETWORK || source->tls != VQ_SWITCH_ON)
        return;
    vq_qemu_source_tls_id(id, source);
    vq_qemu_arg_json(writer, "-object",
                     json_pack("{s:s, s:s, s:s, s:s, s:b}", "qom-type", "tls-creds-x509", "id", id, "dir",
                               dir != NULL ? dir : "/etc/pki/qemu", "endpoint", "client", "verify-peer", 1));
}

/* A helper of one's own for this source; the one that we would run for all of them is an object of the guest. */
static void write_reservations(struct vq_qemu_writer *writer, const struct vq_source *source)
{
    char id[VQ_QEMU_OBJECT_NAME];

    if (source->reservations_managed != VQ_SWITCH_OFF || source->reservations_path == NULL)
        return;
    (void)snprintf(id, sizeof(id), "pr-helper-libvirt-%u-storage", source->index);
    vq_qemu_arg_json(writer, "-object", json_pack("{s:s, s:s, s:s}", "qom-type", "pr-manager-helper", "id", id, "path",
                                                  source->reservations_path));
}

/* ---- The node that reads the bytes ---- */

static int make_file(const struct vq_qemu_image *image, const char *driver, json_t **ret)
{
    const struct vq_source *source = image->source;
    char id[VQ_QEMU_OBJECT_NAME];
    json_t *node = json_pack("{s:s, s:s}", "driver", driver, "filename", source->path);

    vq_qemu_json_text(node, "aio", vq_qemu_disk_io_name(image->disk->io));
    if (source->reservations_managed == VQ_SWITCH_ON) {
        vq_qemu_json_text(node, "pr-manager", MANAGED_HELPER);
    } else if (source->reservations_managed == VQ_SWITCH_OFF && source->reservations_path != NULL) {
        (void)snprintf(id, sizeof(id), "pr-helper-libvirt-%u-storage", source->index);
        vq_qemu_json_text(node, "pr-manager", id);
    }
    *ret = node;
    return 0;
}

static int make_dir(const struct vq_qemu_image *image, json_t **ret, struct vq_error *err)
{
    if (!vq_streq(image->format, "fat"))
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "disk '%s': storage type 'dir' requires use of storage format "
                            "'fat'", image->disk->target);
    *ret = json_pack("{s:s, s:s, s:b, s:b}", "driver", "vvfat", "dir", image->source->path, "floppy",
                     image->disk->device == VQ_DISK_DEVICE_FLOPPY, "rw", !image->is_readonly);
    return 0;
}

static int make_nvme(const struct vq_qemu_image *image, json_t **ret, struct vq_error *err)
{
    const struct vq_source *source = image->source;
    const struct vq_pci_address *at = &source->nvme_address;
    char device[32];

    if (source->nvme_namespace == 0)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "disk '%s': NVMe namespaces are numbered from 1", image->disk->target);
    (void)snprintf(device, sizeof(device), "%04x:%02x:%02x.%x", at->domain, at->bus, at->slot, at->function);
    *ret = json_pack("{s:s, s:s, s:I}", "driver", "nvme", "device", device, "namespace",
                     (json_int_t)source->nvme_namespace);
    return 0;
}

static int make_storage(const struct vq_qemu_image *image, json_t **ret, struct vq_error *err)
{
    const struct vq_source *source = image->source;

    switch (source->type) {
    case VQ_SOURCE_NETWORK:
        return vq_qemu_source_network(image, ret, err);
    case VQ_SOURCE_NVME:
        return make_nvme(image, ret, err);
    case VQ_SOURCE_VOLUME:
        return vq_error_set(err, VIR_ERR_NO_STORAGE_POOL, "disk '%s': no storage pool with matching name '%s'",
                            image->disk->target, source->pool == NULL ? "" : source->pool);
    default:
        break;
    }
    if (source->path == NULL)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "disk '%s': an image without a source", image->disk->target);
    switch (source->type) {
    case VQ_SOURCE_FILE: return make_file(image, "file", ret);
    case VQ_SOURCE_BLOCK: return make_file(image, "host_device", ret);
    case VQ_SOURCE_DIR: return make_dir(image, ret, err);
    case VQ_SOURCE_VHOST_VDPA:
        *ret = json_pack("{s:s, s:s}", "driver", "virtio-blk-vhost-vdpa", "path", source->path);
        return 0;
    default:
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "disk '%s': this type of source has no block node",
                            image->disk->target);
    }
}

static int write_storage(struct vq_qemu_writer *writer, const struct vq_qemu_image *image, const char *name,
                         struct vq_error *err)
{
    json_t *node = NULL;

    if (make_storage(image, &node, err) < 0)
        return -1;
    vq_qemu_json_text(node, "node-name", name);
    vq_qemu_disk_add_cache(node, vq_qemu_disk_cache(image->disk));
    json_object_set_new(node, "auto-read-only", json_true());
    /* Always here, so that what the format node itself frees reaches the host; the guest's wish is the format node's. */
    vq_qemu_json_text(node, "discard", "unmap");
    vq_qemu_arg_json(writer, "-blockdev", node);
    return 0;
}

/* ---- A part of the storage ---- */

static const struct vq_slice *storage_slice(const struct vq_source *source)
{
    for (size_t i = 0; i < source->n_slices; i++)
        if (source->slices[i]->type == NULL || vq_streq(source->slices[i]->type, "storage"))
            return source->slices[i];
    return NULL;
}

static void add_slice(json_t *node, const struct vq_slice *slice)
{
    vq_qemu_json_number(node, "offset", slice->offset);
    if (slice->size != 0)
        vq_qemu_json_number(node, "size", slice->size);
}

static void write_slice(struct vq_qemu_writer *writer, const struct vq_slice *slice, const char *name, const char *below)
{
    json_t *node = json_pack("{s:s, s:s}", "driver", "raw", "node-name", name);

    add_slice(node, slice);
    vq_qemu_json_text(node, "file", below);
    json_object_set_new(node, "auto-read-only", json_true());
    vq_qemu_json_text(node, "discard", "unmap");
    vq_qemu_arg_json(writer, "-blockdev", node);
}

/* ---- The node that understands the format ---- */

/* Formats that can name an image below them; to the others QEMU refuses even to say that there is none. */
static bool has_backing_file(const char *format)
{
    static const char *const formats[] = {"qcow2", "qcow", "qed", "vmdk"};

    for (size_t i = 0; i < VQ_N_ELEMENTS(formats); i++)
        if (strcmp(formats[i], format) == 0)
            return true;
    return false;
}

/* Encryption of the image itself: a raw one is then a LUKS container. */
static int add_format(json_t *node, const struct vq_qemu_image *image, struct vq_error *err)
{
    const struct vq_encryption *encryption = vq_qemu_encryption_is_librbd(image->encryption) ? NULL : image->encryption;
    const char *format = vq_streq(image->format, "fat") || vq_streq(image->format, "iso") ? "raw" : image->format;
    char id[VQ_QEMU_OBJECT_NAME];

    if (encryption == NULL) {
        vq_qemu_json_text(node, "driver", format);
        return 0;
    }
    vq_qemu_encryption_secret_id(id, image->source);
    if (!vq_streq(encryption->format, "luks"))
        return vq_streq(encryption->format, "qcow") || vq_streq(encryption->format, "default")
                   ? vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "disk '%s': old qcow/qcow2 encryption is not supported",
                                  image->disk->target)
                   : vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "disk '%s': %s is currently not supported by the qemu "
                                  "encryption engine", image->disk->target, encryption->format);
    if (strcmp(format, "raw") == 0 || strcmp(format, "luks") == 0) {
        vq_qemu_json_text(node, "driver", "luks");
        vq_qemu_json_text(node, "key-secret", id);
        return 0;
    }
    if (strcmp(format, "qcow2") != 0)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "disk '%s': encryption is supported only with 'raw' and "
                            "'qcow2' image format", image->disk->target);
    vq_qemu_json_text(node, "driver", format);
    json_object_set_new(node, "encrypt", json_pack("{s:s, s:s}", "format", "luks", "key-secret", id));
    return 0;
}

static int write_format(struct vq_qemu_writer *writer, const struct vq_qemu_image *image, const char *file,
                        const struct vq_slice *slice, struct vq_error *err)
{
    char name[VQ_QEMU_NODE_NAME];
    json_t *node;

    vq_qemu_node_name(name, image->source, "format");
    node = json_pack("{s:s, s:b}", "node-name", name, "read-only", image->is_readonly);
    vq_qemu_json_text(node, "discard", vq_qemu_disk_discard_name(image->disk->discard));
    if (image->is_top)
        vq_qemu_json_text(node, "detect-zeroes", vq_qemu_disk_zeroes_name(image->disk));
    vq_qemu_disk_add_cache(node, vq_qemu_disk_cache(image->disk));
    if (add_format(node, image, err) < 0) {
        json_decref(node);
        return -1;
    }
    if (slice != NULL)
        add_slice(node, slice);
    if (image->metadata_cache_size != 0)
        vq_qemu_json_number(node, "cache-size", image->metadata_cache_size);
    vq_qemu_json_text(node, "file", file);
    if (image->backing != NULL && has_backing_file(image->format))
        json_object_set_new(node, "backing", image->backing[0] == '\0' ? json_null() : json_string(image->backing));
    vq_qemu_arg_json(writer, "-blockdev", node);
    return 0;
}

int vq_qemu_write_image(struct vq_qemu_writer *writer, const struct vq_qemu_image *image, struct vq_error *err)
{
    const struct vq_slice *slice = storage_slice(image->source);
    /* A raw node can itself leave out what is around the slice. */
    bool needs_slice_node = slice != NULL && (strcmp(image->format, "raw") != 0 || image->encryption != NULL);
    char storage[VQ_QEMU_NODE_NAME], part[VQ_QEMU_NODE_NAME];

    vq_qemu_node_name(storage, image->source, "storage");
    vq_qemu_node_name(part, image->source, "slice-sto");
    if (write_secrets(writer, image, err) < 0)
        return -1;
    write_tls(writer, image->source);
    write_reservations(writer, image->source);
    if (write_storage(writer, image, storage, err) < 0)
        return -1;
    if (needs_slice_node)
        write_slice(writer, slice, part, storage);
    return write_format(writer, image, needs_slice_node ? part : storage, needs_slice_node ? NULL : slice, err);
}
