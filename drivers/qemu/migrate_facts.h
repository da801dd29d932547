/* What a host has of what a guest uses: files, links, ports, memory. Gathered at both ends of a migration by one function and
 * compared in migrate_judge.c.
 *
 * A list of questions is made from the definition on the loop; a worker answers them, since a file system of the network may
 * hang; the loop reads the answers. Neither side touches it while the other has it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "conf/base/macros.h"

struct vq_disk;
struct vq_domain;

enum { VQ_FACTS_FILES_MAX = 256, VQ_FACTS_LINKS_MAX = 64, VQ_FACTS_PORTS_MAX = 32 };

enum vq_fact_use {
    VQ_USE_DISK,             /* the guest's data */
    VQ_USE_BACKING,          /* an image below it */
    VQ_USE_MEDIUM,           /* in a drive */
    VQ_USE_FIRMWARE,         /* loader, kernel, initrd ...: read at the start of QEMU */
    VQ_USE_NVRAM,
    VQ_USE_NODE,             /* a device node, or a file that a device is made of */
    VQ_USE_SOCKET,           /* somebody else listens on it */
    VQ_USE_PLACE,            /* a directory in which QEMU makes a file */
};

struct vq_file_fact {
    enum vq_fact_use use;
    char *path;
    char *device;            /* for people: "disk vda", "kernel" */
    size_t disk;             /* index in the definition; SIZE_MAX: of no disk */
    int error;               /* errno of looking at it; 0: it is there */
    uint32_t mode;           /* as in struct stat */
    uint64_t device_id, inode, size, allocated; /* bytes; size also of block devices */
    int64_t mtime_ns;
    uint64_t fs_type, fs_id; /* of statfs(2) */
    char *identity;          /* of a block device: what its hardware or mapper calls it; NULL: nothing */
    bool has_place;          /* its directory is there */
    uint64_t free_bytes;     /* where it is, or would be; UINT64_MAX: not known */
    uint64_t place_id;       /* the device of that place: which files share the free bytes */
};

struct vq_link_fact {
    char *name, *device;
    bool must_be_bridge;
    bool is_there, is_bridge, is_up;
};

struct vq_port_fact {
    char *address, *device;
    uint16_t port;
    int error;               /* of binding it; 0: it is free */
};

struct vq_facts {
    char boot_id[64];
    struct vq_file_fact *files;
    size_t n_files;
    struct vq_link_fact *links;
    size_t n_links;
    struct vq_port_fact *ports;
    size_t n_ports;
    uint64_t huge_page_kib;  /* asked: 0: the guest wants none of one size */
    uint64_t memory_kib;     /* available; 0: not known */
    uint64_t huge_free_kib;  /* of the asked size */
    bool lacks_userfaultfd;  /* programs without privileges may not use userfaultfd(2) on pages that the kernel touches */
    uint32_t cpus;           /* one more than the highest that is online; 0: not known */
};

/* The questions. files_only: as the source is asked. */
struct vq_facts *vq_facts_new(const struct vq_domain *def, bool files_only);
void vq_facts_free(struct vq_facts *facts); /* accepts NULL */
VQ_DEFINE_AUTOPTR(vq_facts);
/* The answers; blocks: on a worker. root: "" or, for tests, a directory that has proc and sys. */
void vq_facts_gather(struct vq_facts *facts, const char *root);

/* Media that are not here and need not be (startupPolicy optional, requisite): the drives are empty. facts: gathered, of the same
 * definition. */
void vq_facts_drop_missing_media(const struct vq_facts *facts, struct vq_domain *live);
