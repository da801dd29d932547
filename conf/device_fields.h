/* The field tables of devices, for those that put a domain together from them. */
#pragma once

#include "conf/device.h"
#include "conf/field.h"

/* Parts. */
extern const struct vq_fields vq_address_fields;      /* <address> */
extern const struct vq_fields vq_pci_address_fields;  /* <address> of a source: always PCI, no type */
extern const struct vq_fields vq_info_fields;         /* boot, alias, rom, address: at the end of a device */
extern const struct vq_fields vq_virtio_fields;       /* attributes of <driver> */
extern const struct vq_fields vq_source_host_fields, vq_auth_fields, vq_encryption_fields, vq_seclabel_fields;
extern const struct vq_fields vq_chardev_fields;      /* type attribute, source, protocol, log */
extern const struct vq_fields vq_source_fields;       /* <source> of a disk; the type attribute stands outside */
extern const char *const vq_source_type_names[VQ_SOURCE_N], *const vq_virtio_model_names[VQ_VIRTIO_MODEL_N];
extern const char *const vq_startup_policy_names[VQ_STARTUP_N];

/* Whole devices. */
extern const struct vq_fields vq_disk_fields, vq_controller_fields, vq_filesystem_fields, vq_interface_fields;
extern const struct vq_fields vq_serial_fields, vq_parallel_fields, vq_console_fields, vq_channel_fields;
extern const struct vq_fields vq_smartcard_fields, vq_input_fields, vq_tpm_fields, vq_graphics_fields, vq_sound_fields;
extern const struct vq_fields vq_audio_fields, vq_video_fields, vq_hostdev_fields, vq_redirdev_fields, vq_hub_fields;
extern const struct vq_fields vq_watchdog_fields, vq_memballoon_fields, vq_rng_fields, vq_panic_fields, vq_shmem_fields;
extern const struct vq_fields vq_memory_device_fields, vq_iommu_fields, vq_vsock_fields, vq_redir_filter_fields;
extern const char *const vq_chardev_type_names[VQ_CHARDEV_N], *const vq_chardev_mode_names[VQ_CHARDEV_MODE_N];
extern const struct vq_fields vq_nvram_fields, vq_reconnect_fields, vq_teaming_fields;
extern const struct vq_fields vq_lease_fields, vq_crypto_fields;
