/* What a guest shares with its host: directories (9p, virtiofs), memory (ivshmem). */
#define VQ_FROM VIR_FROM_QEMU
#include <stdio.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/command_priv.h"
#include "drivers/qemu/devices.h"

/* ---- Directories ---- */

static enum vq_virtio_model filesystem_model(const struct vq_filesystem *fs)
{
    return vq_streq(fs->model, "virtio-transitional")       ? VQ_VIRTIO_MODEL_TRANSITIONAL
           : vq_streq(fs->model, "virtio-non-transitional") ? VQ_VIRTIO_MODEL_NON_TRANSITIONAL
                                                            : VQ_VIRTIO_MODEL_VIRTIO;
}

char *vq_qemu_virtiofs_socket(const struct vq_filesystem *fs, const char *dir)
{
    return fs->source_socket != NULL ? vq_strdup(fs->source_socket) : vq_asprintf("%s/%s-fs.sock", dir, fs->info.alias);
}

bool vq_qemu_filesystem_is_virtiofs(const struct vq_filesystem *fs)
{
    return vq_streq(fs->driver_type, "virtiofs");
}

static void write_virtiofs(struct vq_qemu_writer *writer, const struct vq_filesystem *fs)
{
    VQ_AUTOFREE char *socket = vq_qemu_virtiofs_socket(fs, writer->launch->dir);
    VQ_AUTOFREE char *chardev = vq_asprintf("chr-vu-%s", fs->info.alias);
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;
    char name[64];

    vq_buffer_addf(&value, "socket,id=%s,path=", chardev);
    vq_qemu_add_value(&value, socket);
    vq_qemu_arg_buffer(writer, "-chardev", &value);
    vq_qemu_virtio_name(name, sizeof(name), "vhost-user-fs", filesystem_model(fs), &fs->info);
    json_t *device = vq_qemu_device_new(writer, name, &fs->info);
    vq_qemu_json_text(device, "chardev", chardev);
    if (fs->queue != 0)
        vq_qemu_json_number(device, "queue-size", fs->queue);
    vq_qemu_json_text(device, "tag", fs->target);
    vq_qemu_json_virtio(device, &fs->virtio);
    vq_qemu_json_boot(writer, device, &fs->info);
    vq_qemu_arg_json(writer, "-device", device);
}

static void add_mode(struct vq_buffer *value, const char *key, const char *text)
{
    uint64_t mode;

    if (text != NULL && vq_parse_u64(text, 8, 0777, &mode))
        vq_buffer_addf(value, ",%s=%04o", key, (unsigned)mode);
}

static void write_9p(struct vq_qemu_writer *writer, const struct vq_filesystem *fs)
{
    VQ_AUTOFREE char *fsdev = vq_asprintf("fsdev-%s", fs->info.alias);
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;
    const char *access = vq_streq(fs->accessmode, "squash") ? "none" : fs->accessmode == NULL ? "passthrough" : fs->accessmode;
    char name[64];

    vq_buffer_addf(&value, "local,security_model=%s", access);
    if (fs->multidevs != NULL && strcmp(fs->multidevs, "default") != 0)
        vq_buffer_addf(&value, ",multidevs=%s", fs->multidevs);
    add_mode(&value, "fmode", fs->fmode);
    add_mode(&value, "dmode", fs->dmode);
    if (vq_streq(fs->wrpolicy, "immediate"))
        vq_buffer_add(&value, ",writeout=immediate");
    vq_buffer_addf(&value, ",id=%s,path=", fsdev);
    vq_qemu_add_value(&value, fs->source_dir == NULL ? "" : fs->source_dir);
    if (fs->is_readonly)
        vq_buffer_add(&value, ",readonly=on");
    vq_qemu_arg_buffer(writer, "-fsdev", &value);
    vq_qemu_virtio_name(name, sizeof(name), "virtio-9p", filesystem_model(fs), &fs->info);
    json_t *device = vq_qemu_device_new(writer, name, &fs->info);
    vq_qemu_json_text(device, "fsdev", fsdev);
    vq_qemu_json_text(device, "mount_tag", fs->target);
    vq_qemu_json_virtio(device, &fs->virtio);
    vq_qemu_arg_json(writer, "-device", device);
}

int vq_qemu_write_filesystems(struct vq_qemu_writer *writer, struct vq_error *err VQ_UNUSED)
{
    const struct vq_devices *devices = &writer->def->devices;

    for (size_t i = 0; i < devices->n_filesystems; i++) {
        if (vq_qemu_filesystem_is_virtiofs(devices->filesystems[i]))
            write_virtiofs(writer, devices->filesystems[i]);
        else
            write_9p(writer, devices->filesystems[i]);
    }
    return 0;
}

/* ---- Memory ---- */

static void write_plain(struct vq_qemu_writer *writer, const struct vq_shmem *shmem)
{
    enum { DEFAULT_MIB = 4 };
    VQ_AUTOFREE char *backend = vq_asprintf("shmmem-%s", shmem->info.alias);
    VQ_AUTOFREE char *path = vq_asprintf("/dev/shm/%s", shmem->name);

    vq_qemu_arg_json(writer, "-object",
                     json_pack("{s:s, s:s, s:s, s:I, s:b}", "qom-type", "memory-backend-file", "id", backend, "mem-path", path,
                               "size", (json_int_t)((shmem->size_mib == 0 ? DEFAULT_MIB : shmem->size_mib) << 20), "share", 1));
    json_t *device = vq_qemu_device_new(writer, "ivshmem-plain", &shmem->info);
    vq_qemu_json_text(device, "memdev", backend);
    if (vq_streq(shmem->role, "master"))
        json_object_set_new(device, "master", json_string("on"));
    else if (vq_streq(shmem->role, "peer"))
        json_object_set_new(device, "master", json_string("off"));
    vq_qemu_arg_json(writer, "-device", device);
}

static void write_doorbell(struct vq_qemu_writer *writer, const struct vq_shmem *shmem)
{
    VQ_AUTOFREE char *chardev = vq_asprintf("char%s", shmem->info.alias);
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;

    vq_buffer_addf(&value, "socket,id=%s,path=", chardev);
    if (shmem->server_path != NULL) {
        vq_qemu_add_value(&value, shmem->server_path);
    } else {
        vq_buffer_add(&value, "/var/lib/libvirt/shmem-");
        vq_qemu_add_value(&value, shmem->name);
        vq_buffer_add(&value, "-sock");
    }
    vq_qemu_arg_buffer(writer, "-chardev", &value);
    json_t *device = vq_qemu_device_new(writer, "ivshmem-doorbell", &shmem->info);
    vq_qemu_json_text(device, "chardev", chardev);
    if (shmem->has_msi && shmem->msi_vectors != 0)
        vq_qemu_json_number(device, "vectors", shmem->msi_vectors);
    if (shmem->has_msi)
        vq_qemu_json_bool(device, "ioeventfd", shmem->msi_ioeventfd);
    if (vq_streq(shmem->role, "master"))
        json_object_set_new(device, "master", json_string("on"));
    vq_qemu_arg_json(writer, "-device", device);
}

int vq_qemu_write_shmems(struct vq_qemu_writer *writer, struct vq_error *err VQ_UNUSED)
{
    const struct vq_devices *devices = &writer->def->devices;

    for (size_t i = 0; i < devices->n_shmems; i++) {
        if (vq_streq(devices->shmems[i]->model, "ivshmem-doorbell"))
            write_doorbell(writer, devices->shmems[i]);
        else
            write_plain(writer, devices->shmems[i]);
    }
    return 0;
}
