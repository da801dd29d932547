/* What the files that write the command line share. */
#pragma once

#include <jansson.h>

#include "conf/base/buffer.h"
#include "conf/base/error.h"
#include "conf/domain.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/command.h"

/* One command line while it is written. */
struct vq_qemu_writer {
    const struct vq_domain *def;
    const struct vq_qemu_capabilities *caps;
    const struct vq_qemu_launch *launch;
    struct vq_qemu_command *command;
    uint32_t next_boot_index;      /* of devices that <boot dev='...'/> names */
    const char *cpu_driver;        /* of a CPU that is no named model: "host", "max"; NULL: the definition's model */
    bool has_usb_path;             /* USB devices of the host are named by their path */
    bool has_sandbox;
};

/* Append words. The text is copied. */
void vq_qemu_arg(struct vq_qemu_writer *writer, const char *word);
void vq_qemu_arg_pair(struct vq_qemu_writer *writer, const char *option, const char *value);
void vq_qemu_arg_buffer(struct vq_qemu_writer *writer, const char *option, struct vq_buffer *take_value);
/* An option whose value is JSON: takes the reference. */
void vq_qemu_arg_json(struct vq_qemu_writer *writer, const char *option, json_t *take_value);
void vq_qemu_keep_fd(struct vq_qemu_writer *writer, int fd);

void vq_qemu_environment(struct vq_qemu_writer *writer, const char *name, const char *value);

/* A value of QEMU's key=value syntax: a comma is written twice. */
void vq_qemu_add_value(struct vq_buffer *buffer, const char *value);

/* {"driver": ..., "id": alias} of a device, with its place on the PCI, USB or virtio-serial bus. */
json_t *vq_qemu_device_new(const struct vq_qemu_writer *writer, const char *driver, const struct vq_device_info *info);
void vq_qemu_json_text(json_t *object, const char *key, const char *value);      /* nothing for NULL */
void vq_qemu_json_number(json_t *object, const char *key, uint64_t value);
void vq_qemu_json_switch(json_t *object, const char *key, enum vq_switch value); /* "on", "off"; nothing when unset */
void vq_qemu_json_bool(json_t *object, const char *key, enum vq_switch value);   /* true, false; nothing when unset */
void vq_qemu_json_virtio(json_t *object, const struct vq_virtio_options *options);
void vq_qemu_json_boot(struct vq_qemu_writer *writer, json_t *object, const struct vq_device_info *info);

/* "virtio-net" and the model: "virtio-net-pci", "virtio-net-pci-non-transitional", "virtio-net-device" (MMIO). */
void vq_qemu_virtio_name(char *buffer, size_t size, const char *stem, enum vq_virtio_model model,
                         const struct vq_device_info *info);

/* -chardev for the host side; id is "char" and the alias. Errors: VIR_ERR_CONFIG_UNSUPPORTED. */
VQ_MUST_CHECK int vq_qemu_write_chardev(struct vq_qemu_writer *writer, const struct vq_chardev *source,
                                        const char *alias, struct vq_error *err);

const char *vq_qemu_on_off(enum vq_switch value);
void vq_qemu_add_switch(struct vq_buffer *buffer, const char *key, enum vq_switch value); /* ",key=on"; or nothing */
const struct vq_timer *vq_qemu_find_timer(const struct vq_domain *def, enum vq_timer_name name);
/* The memory backend that the board itself uses: "pc.ram". */
const char *vq_qemu_memory_id(const struct vq_qemu_writer *writer);
bool vq_qemu_has_cells(const struct vq_domain *def);
bool vq_qemu_has_hmat(const struct vq_domain *def); /* the cells tell of their caches, or of how fast they are */

/* The parts, in the order of the command line. */
VQ_MUST_CHECK int vq_qemu_write_cpu(struct vq_qemu_writer *writer, struct vq_error *err);
VQ_MUST_CHECK int vq_qemu_write_memory(struct vq_qemu_writer *writer, struct vq_error *err);
void vq_qemu_write_smp(struct vq_qemu_writer *writer);
void vq_qemu_write_vcpus(struct vq_qemu_writer *writer);
void vq_qemu_write_iothreads(struct vq_qemu_writer *writer);
VQ_MUST_CHECK int vq_qemu_write_cells(struct vq_qemu_writer *writer, struct vq_error *err);
VQ_MUST_CHECK int vq_qemu_write_memory_devices(struct vq_qemu_writer *writer, struct vq_error *err);
void vq_qemu_write_boot(struct vq_qemu_writer *writer);
VQ_MUST_CHECK int vq_qemu_write_sysinfo(struct vq_qemu_writer *writer, struct vq_error *err);
VQ_MUST_CHECK int vq_qemu_write_controllers(struct vq_qemu_writer *writer, struct vq_error *err);
VQ_MUST_CHECK int vq_qemu_write_disks(struct vq_qemu_writer *writer, struct vq_error *err);
VQ_MUST_CHECK int vq_qemu_write_firmware(struct vq_qemu_writer *writer, struct vq_buffer *machine,
                                         struct vq_error *err);
VQ_MUST_CHECK int vq_qemu_write_ports(struct vq_qemu_writer *writer, struct vq_error *err);
VQ_MUST_CHECK int vq_qemu_write_interfaces(struct vq_qemu_writer *writer, struct vq_error *err);
VQ_MUST_CHECK int vq_qemu_write_filesystems(struct vq_qemu_writer *writer, struct vq_error *err);
VQ_MUST_CHECK int vq_qemu_write_shmems(struct vq_qemu_writer *writer, struct vq_error *err);
VQ_MUST_CHECK int vq_qemu_write_hostdevs(struct vq_qemu_writer *writer, struct vq_error *err);
VQ_MUST_CHECK int vq_qemu_write_redirdevs(struct vq_qemu_writer *writer, struct vq_error *err);
VQ_MUST_CHECK int vq_qemu_write_smartcards(struct vq_qemu_writer *writer, struct vq_error *err);
VQ_MUST_CHECK int vq_qemu_write_audios(struct vq_qemu_writer *writer, struct vq_error *err);
VQ_MUST_CHECK int vq_qemu_write_sounds(struct vq_qemu_writer *writer, struct vq_error *err);
const char *vq_qemu_audio_of(const struct vq_domain *def, uint32_t audio_id, char *buffer, size_t size);
VQ_MUST_CHECK int vq_qemu_write_devices(struct vq_qemu_writer *writer, struct vq_error *err);
void vq_qemu_display_environment(struct vq_qemu_writer *writer); /* of displays and sound that are windows of the host */
VQ_MUST_CHECK int vq_qemu_write_displays(struct vq_qemu_writer *writer, struct vq_error *err);
