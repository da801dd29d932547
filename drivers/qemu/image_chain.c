/* Chains of images: see image_chain.h. */
#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/image_chain.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/fsuid.h>
#include <sys/stat.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/disk.h"
#include "drivers/qemu/image_backing.h"
#include "drivers/qemu/image_header.h"

struct identity {
    dev_t dev;
    ino_t ino;
};

/* One walk down a chain. */
struct walk {
    const struct vq_image_reader *reader;
    struct identity seen[VQ_IMAGE_CHAIN_MAX];
    size_t n_seen;
    const char *top;         /* path of the disk's own image */
};

/* One image while its chain is looked at. */
struct layer {
    const char *path;
    const char *above;       /* path of the image that names it; NULL: the definition does */
    int fd;
    struct stat status;
};

/* ---- Being somebody else, for this thread's questions to file systems ---- */

static void become(const struct vq_image_reader *reader)
{
    if (!reader->has_user || geteuid() != 0)
        return;
    (void)setfsgid(reader->gid);
    (void)setfsuid(reader->uid); /* gives up the right to pass by all permissions, until we are root again */
}

static void become_ourselves(const struct vq_image_reader *reader)
{
    if (!reader->has_user || geteuid() != 0)
        return;
    (void)setfsuid(geteuid());
    (void)setfsgid(getegid());
}

static uid_t uid_of(const struct vq_image_reader *reader)
{
    return reader->has_user ? reader->uid : geteuid();
}

static gid_t gid_of(const struct vq_image_reader *reader)
{
    return reader->has_user ? reader->gid : getegid();
}

/* "/a/b/." can be opened by whoever may enter b. Returns 0, or the errno of the first directory that cannot be entered, whose length
 * is then in *ret_length. */
static int find_closed_directory(const char *path, size_t *ret_length)
{
    for (const char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        size_t length = slash == path ? 1 : (size_t)(slash - path);
        VQ_AUTOFREE char *dir = vq_asprintf("%.*s/.", (int)length, path);
        int fd = open(dir, O_PATH | O_DIRECTORY | O_CLOEXEC);

        if (fd < 0) {
            *ret_length = length;
            return errno;
        }
        (void)close(fd);
    }
    return 0;
}

int vq_image_path_check(const char *path, const struct vq_image_reader *reader, struct vq_error *err)
{
    size_t length = 0;
    int problem;

    become(reader);
    problem = find_closed_directory(path, &length);
    become_ourselves(reader);
    if (problem != EACCES)
        return 0; /* what is missing is told with the file's own name */
    return vq_error_system(err, problem, "Cannot access storage file '%s' (as uid:%u, gid:%u): directory '%.*s' may not be "
                           "entered", path, (unsigned)uid_of(reader), (unsigned)gid_of(reader), (int)length, path);
}

/* ---- Files ---- */

static int cannot_access(const struct walk *walk, const struct layer *layer, int problem, struct vq_error *err)
{
    unsigned uid = (unsigned)uid_of(walk->reader), gid = (unsigned)gid_of(walk->reader);

    if (layer->above != NULL)
        return vq_error_system(err, problem, "Cannot access backing file '%s' of storage file '%s' (as uid:%u, gid:%u)",
                               layer->path, layer->above, uid, gid);
    return vq_error_system(err, problem, "Cannot access storage file '%s' (as uid:%u, gid:%u)", layer->path, uid, gid);
}

/* Never waits: not for a reader of a pipe, not for a medium. */
static int open_to_read(const char *path)
{
    return open(path, O_RDONLY | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
}

/* As ourselves; where root is nobody (a file server's decision), as QEMU's user. */
static int open_layer(const struct walk *walk, struct layer *layer, struct vq_error *err)
{
    layer->fd = open_to_read(layer->path);
    if (layer->fd < 0 && (errno == EACCES || errno == EPERM)) {
        become(walk->reader);
        layer->fd = open_to_read(layer->path);
        become_ourselves(walk->reader);
    }
    if (layer->fd < 0)
        return cannot_access(walk, layer, errno, err);
    if (fstat(layer->fd, &layer->status) < 0 || (!S_ISREG(layer->status.st_mode) && !S_ISBLK(layer->status.st_mode))) {
        (void)close(layer->fd);
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "'%s' is neither a file nor a block device", layer->path);
    }
    return 0;
}

/* A file that lies on itself, over however many others, never ends. */
static int remember(struct walk *walk, const struct layer *layer, struct vq_error *err)
{
    bool is_block = S_ISBLK(layer->status.st_mode);
    struct identity own = {.dev = is_block ? layer->status.st_rdev : layer->status.st_dev,
                           .ino = is_block ? 0 : layer->status.st_ino};
    bool was_seen = walk->n_seen == VQ_IMAGE_CHAIN_MAX;

    for (size_t i = 0; i < walk->n_seen; i++)
        was_seen = was_seen || (walk->seen[i].dev == own.dev && walk->seen[i].ino == own.ino);
    if (was_seen)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "backing store for %s is self-referential or too deeply nested",
                            walk->top);
    walk->seen[walk->n_seen++] = own;
    return 0;
}

static size_t read_bytes(int fd, uint8_t *bytes, size_t size)
{
    size_t length = 0;

    while (length < size) {
        ssize_t n = pread(fd, bytes + length, size - length, (off_t)length);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break; /* a drive without a medium has no bytes, and no header */
        length += (size_t)n;
    }
    return length;
}

/* format NULL: as the bytes look. */
static int read_header(const struct layer *layer, const char *format, struct vq_image_header *ret, struct vq_error *err)
{
    VQ_AUTOFREE uint8_t *bytes = vq_calloc(VQ_IMAGE_FIRST_BYTES, 1);
    size_t length = read_bytes(layer->fd, bytes, VQ_IMAGE_FIRST_BYTES), wanted;

    if (format == NULL)
        format = vq_image_probe(bytes, length);
    wanted = vq_image_header_size(format, bytes, length);
    if (wanted > VQ_IMAGE_FIRST_BYTES && length == VQ_IMAGE_FIRST_BYTES) {
        bytes = vq_realloc(bytes, wanted, 1);
        length = read_bytes(layer->fd, bytes, wanted);
    }
    if (vq_image_header_read(format, bytes, length, ret, err) == 0)
        return 0;
    if (layer->above != NULL)
        return vq_error_wrap(err, "backing file '%s' of '%s', which says that it is '%s'", layer->path, layer->above, format);
    return vq_error_wrap(err, "'%s'", layer->path);
}

/* ---- Chains ---- */

/* <backingStore/>, empty in every member. */
static struct vq_backing *new_terminator(void)
{
    return vq_new(struct vq_backing);
}

static bool is_local(const struct vq_source *source)
{
    return (source->type == VQ_SOURCE_FILE || source->type == VQ_SOURCE_BLOCK) && source->path != NULL;
}

/* A header without a format for its backing file leaves the choice to whoever reads it, and so, with a raw image, to the guest. It
 * is taken for what it looks like only where that opens no further file. */
static int probe_format(const struct layer *layer, const char **ret_format, struct vq_error *err)
{
    struct vq_image_header header;

    if (read_header(layer, NULL, &header, err) < 0)
        return -1;
    if (header.has_backing || header.has_data_file)
        return vq_error_set(err, VIR_ERR_OPERATION_INVALID,
                            "format of backing image '%s' of image '%s' was not specified in the image metadata (See "
                            "https://libvirt.org/kbase/backing_chains.html for troubleshooting)", layer->path, layer->above);
    *ret_format = header.format;
    return 0;
}

/* The names that a format has in headers of VMware and of old images. */
static const char *canonical_format(const char *format)
{
    return strcmp(format, "vhd") == 0 ? "vpc" : strcmp(format, "host_device") == 0 || strcmp(format, "file") == 0 ? "raw"
                                                                                                                  : format;
}

/* Only what a definition may say: the run's own is read again after a restart of the daemon. */
static int check_format(const char *format, const char *path, struct vq_error *err)
{
    static const char *const formats[] = {"raw", "dir", "bochs", "cloop", "dmg", "iso", "vpc", "vdi", "none", "fat", "ploop", "cow",
                                          "qcow", "qcow2", "qed", "vmdk"};

    for (size_t i = 0; i < VQ_N_ELEMENTS(formats); i++)
        if (strcmp(formats[i], format) == 0)
            return 0;
    return vq_error_set(err, VIR_ERR_OPERATION_INVALID, "unknown format '%s' of the backing image of '%s'", format, path);
}

static int walk_down(struct walk *walk, const struct layer *layer, const char *format, struct vq_backing **ret,
                     struct vq_error *err);

/* The file of one image below: open, identify, find its format, go on. */
static int look_below(struct walk *walk, struct vq_backing *backing, const char *named_format, const char *above,
                      struct vq_error *err)
{
    struct layer layer = {.path = backing->source.path, .above = above};
    const char *format = named_format[0] != '\0' ? canonical_format(named_format) : NULL;
    int rc = -1;

    if (vq_image_path_check(layer.path, walk->reader, err) < 0 || open_layer(walk, &layer, err) < 0)
        return -1;
    if (remember(walk, &layer, err) == 0 && (format != NULL || probe_format(&layer, &format, err) == 0) &&
        check_format(format, above, err) == 0) {
        if (S_ISBLK(layer.status.st_mode))
            backing->source.type = VQ_SOURCE_BLOCK;
        backing->format = vq_strdup(format);
        backing->chain = VQ_CHAIN_DETECTED;
        rc = walk_down(walk, &layer, format, &backing->backing, err);
    }
    (void)close(layer.fd);
    return rc;
}

/* What lies below an open image of this format. */
static int walk_down(struct walk *walk, const struct layer *layer, const char *format, struct vq_backing **ret,
                     struct vq_error *err)
{
    struct vq_image_header header = {0};
    struct vq_backing *backing;
    int rc = 0;

    if (vq_image_format_has_magic(format) && read_header(layer, format, &header, err) < 0)
        return -1;
    if (!header.has_backing) {
        *ret = new_terminator();
        return 0;
    }
    backing = vq_new(struct vq_backing);
    *ret = backing; /* the disk's owner frees what there is, also after a failure */
    if (vq_image_backing_parse(header.backing, layer->path, &backing->source, err) < 0)
        return vq_error_wrap(err, "'%s'", layer->path);
    if (is_local(&backing->source))
        return look_below(walk, backing, header.backing_format, layer->path, err);
    /* Another host's image: its server is asked by QEMU alone. */
    if (header.backing_format[0] == '\0')
        rc = vq_error_set(err, VIR_ERR_OPERATION_INVALID,
                          "format of backing image '%s' of image '%s' was not specified in the image metadata (See "
                          "https://libvirt.org/kbase/backing_chains.html for troubleshooting)", header.backing, layer->path);
    else if ((rc = check_format(canonical_format(header.backing_format), layer->path, err)) == 0)
        backing->format = vq_strdup(canonical_format(header.backing_format));
    if (rc == 0 && vq_streq(backing->format, "raw")) {
        backing->chain = VQ_CHAIN_DETECTED;
        backing->backing = new_terminator();
    }
    return rc;
}

/* One image that the definition names, and below it what it leaves out. */
static int look_at(struct walk *walk, const struct vq_source *source, const char *format, const char *above,
                   struct vq_backing **backing, enum vq_chain_origin *chain, struct vq_error *err)
{
    struct layer layer = {.path = source->path, .above = above};
    int rc;

    if (vq_image_path_check(layer.path, walk->reader, err) < 0 || open_layer(walk, &layer, err) < 0)
        return -1;
    rc = remember(walk, &layer, err);
    if (rc == 0 && *backing == NULL) {
        *chain = VQ_CHAIN_DETECTED;
        rc = walk_down(walk, &layer, format, backing, err);
    }
    (void)close(layer.fd);
    return rc;
}

/* A drive of the host without a medium is a drive all the same: it cannot be read yet. */
static bool is_host_drive(const struct vq_disk *disk)
{
    return disk->source.type == VQ_SOURCE_BLOCK && disk->device == VQ_DISK_DEVICE_CDROM && disk->source.path != NULL &&
           access(disk->source.path, F_OK) == 0;
}

int vq_image_chain_complete(struct vq_disk *disk, const struct vq_image_reader *reader, struct vq_error *err)
{
    VQ_AUTOFREE struct walk *walk = vq_new(struct walk);
    const char *above = NULL;
    struct vq_backing *backing;

    walk->reader = reader;
    walk->top = disk->source.path != NULL ? disk->source.path : disk->target;
    if ((disk->source.type == VQ_SOURCE_DIR && disk->source.path != NULL) || is_host_drive(disk))
        return vq_image_path_check(disk->source.path, reader, err);
    if (is_local(&disk->source)) {
        if (look_at(walk, &disk->source, disk->format == NULL ? "raw" : disk->format, NULL, &disk->backing, &disk->chain,
                    err) < 0)
            return -1;
        above = disk->source.path;
    }
    if (disk->chain == VQ_CHAIN_DETECTED)
        return 0;
    for (backing = disk->backing; vq_qemu_backing_is_image(backing); backing = backing->backing) {
        if (is_local(&backing->source) &&
            look_at(walk, &backing->source, backing->format == NULL ? "raw" : backing->format, above, &backing->backing,
                    &backing->chain, err) < 0)
            return -1;
        if (backing->chain == VQ_CHAIN_DETECTED)
            return 0;
        above = backing->source.path;
    }
    return 0;
}
