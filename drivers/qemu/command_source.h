/* Images on the command line: the objects that one needs, the node that reads its bytes, and the node that understands its
 * format. */
#pragma once

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "conf/base/error.h"
#include "conf/base/macros.h"

struct vq_disk;
struct vq_auth;
struct vq_encryption;
struct vq_qemu_writer;
struct vq_source;

enum { VQ_QEMU_NODE_NAME = 64, VQ_QEMU_OBJECT_NAME = 96 };

/* One image of a disk, as its nodes are to be. */
struct vq_qemu_image {
    const struct vq_disk *disk;
    const struct vq_source *source;
    const char *format;            /* "qcow2", "raw", "fat" */
    const struct vq_encryption *encryption; /* NULL: none */
    const struct vq_auth *auth;    /* NULL: none */
    uint64_t metadata_cache_size;  /* 0: QEMU's own */
    bool is_readonly;
    bool is_top;                   /* what the device sees, not an image of the chain below */
    const char *backing;           /* node of the image below; "": it has none; NULL: QEMU asks the image */
};

/* "libvirt-3-storage", "libvirt-3-format": names that clients may rely on. */
void vq_qemu_node_name(char name[VQ_QEMU_NODE_NAME], const struct vq_source *source, const char *part);

/* A top image of the disk, and one of its chain. */
struct vq_qemu_image vq_qemu_image_of_disk(const struct vq_disk *disk);

/* The image's objects and nodes, from the bytes up. Errors: VIR_ERR_CONFIG_UNSUPPORTED, VIR_ERR_NO_SECRET,
 * VIR_ERR_NO_STORAGE_POOL, naming the disk. */
VQ_MUST_CHECK int vq_qemu_write_image(struct vq_qemu_writer *writer, const struct vq_qemu_image *image,
                                      struct vq_error *err);

/* Parts of it, for the files that it is made of. */
VQ_MUST_CHECK int vq_qemu_source_network(const struct vq_qemu_image *image, json_t **ret, struct vq_error *err);
/* Ids of the objects. */
void vq_qemu_auth_secret_id(char id[VQ_QEMU_OBJECT_NAME], const struct vq_source *source);
void vq_qemu_encryption_secret_id(char id[VQ_QEMU_OBJECT_NAME], const struct vq_source *source);
void vq_qemu_cookie_secret_id(char id[VQ_QEMU_OBJECT_NAME], const struct vq_source *source);
void vq_qemu_source_tls_id(char id[VQ_QEMU_OBJECT_NAME], const struct vq_source *source);
bool vq_qemu_source_is_on_network(const struct vq_source *source);
/* The encryption that the storage itself undoes (rbd), not QEMU's format node. */
bool vq_qemu_encryption_is_librbd(const struct vq_encryption *encryption);
