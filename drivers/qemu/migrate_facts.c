/* What a host has of what a guest uses: the questions, from a definition, and the answers, from the host. */
#include "drivers/qemu/migrate_facts.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"

enum { TEXT_MAX_BYTES = 16384, CHAIN_MAX = 64 };

/* ---- Questions ---- */

static void ask_file(struct vq_facts *facts, enum vq_fact_use use, const char *path, size_t disk, const char *fmt, ...)
    VQ_PRINTF(5, 6);
static void ask_file(struct vq_facts *facts, enum vq_fact_use use, const char *path, size_t disk, const char *fmt, ...)
{
    char device[160];
    va_list args;

    if (path == NULL || path[0] != '/' || facts->n_files == VQ_FACTS_FILES_MAX)
        return;
    va_start(args, fmt);
    (void)vsnprintf(device, sizeof(device), fmt, args);
    va_end(args);
    VQ_GROW(facts->files, facts->n_files);
    facts->files[facts->n_files++] = (struct vq_file_fact){
        .use = use, .path = vq_strdup(path), .device = vq_strdup(device), .disk = disk, .free_bytes = UINT64_MAX};
}

static void ask_link(struct vq_facts *facts, const char *name, bool must_be_bridge, const char *device)
{
    if (name == NULL || facts->n_links == VQ_FACTS_LINKS_MAX)
        return;
    VQ_GROW(facts->links, facts->n_links);
    facts->links[facts->n_links++] =
        (struct vq_link_fact){.name = vq_strdup(name), .device = vq_strdup(device), .must_be_bridge = must_be_bridge};
}

static bool is_medium(const struct vq_disk *disk)
{
    return disk->device == VQ_DISK_DEVICE_CDROM || disk->device == VQ_DISK_DEVICE_FLOPPY;
}

static bool is_local(const struct vq_source *source)
{
    return source->type == VQ_SOURCE_FILE || source->type == VQ_SOURCE_BLOCK || source->type == VQ_SOURCE_DIR;
}

static void ask_disk(struct vq_facts *facts, const struct vq_disk *disk, size_t index)
{
    const struct vq_backing *backing = disk->backing;

    if (disk->source.type == VQ_SOURCE_VHOST_USER)
        ask_file(facts, VQ_USE_SOCKET, disk->source.path, index, "disk %s", disk->target);
    if (is_local(&disk->source))
        ask_file(facts, is_medium(disk) ? VQ_USE_MEDIUM : VQ_USE_DISK, disk->source.path, index, "disk %s", disk->target);
    for (unsigned depth = 0; backing != NULL && !backing->is_terminator && depth < CHAIN_MAX; depth++) {
        if (is_local(&backing->source))
            ask_file(facts, VQ_USE_BACKING, backing->source.path, index, "backing image of disk %s", disk->target);
        backing = backing->backing;
    }
}

static void ask_boot(struct vq_facts *facts, const struct vq_os *os)
{
    const struct {
        const char *path, *device;
    } files[] = {{os->loader, "firmware"}, {os->kernel, "kernel"}, {os->initrd, "initrd"}, {os->dtb, "device tree"},
                 {os->shim, "shim"}};

    for (size_t i = 0; i < VQ_N_ELEMENTS(files); i++)
        ask_file(facts, VQ_USE_FIRMWARE, files[i].path, SIZE_MAX, "%s", files[i].device);
    for (size_t i = 0; i < os->n_acpi_tables; i++)
        ask_file(facts, VQ_USE_FIRMWARE, os->acpi_tables[i]->path, SIZE_MAX, "ACPI table");
    if (os->nvram_source.type == VQ_SOURCE_UNSET)
        ask_file(facts, VQ_USE_NVRAM, os->nvram, SIZE_MAX, "NVRAM");
    else if (is_local(&os->nvram_source))
        ask_file(facts, VQ_USE_NVRAM, os->nvram_source.path, SIZE_MAX, "NVRAM");
}

static void ask_interface(struct vq_facts *facts, const struct vq_interface *interface)
{
    char device[64];

    (void)snprintf(device, sizeof(device), "interface %02x:%02x:%02x:%02x:%02x:%02x", interface->mac[0],
                   interface->mac[1], interface->mac[2], interface->mac[3], interface->mac[4], interface->mac[5]);
    switch (interface->type) {
    case VQ_INTERFACE_BRIDGE:
    case VQ_INTERFACE_NETWORK:
        ask_link(facts, interface->bridge, true, device);
        break;
    case VQ_INTERFACE_DIRECT:
        ask_link(facts, interface->source_dev, false, device);
        break;
    case VQ_INTERFACE_ETHERNET:
        if (interface->target_managed == VQ_SWITCH_OFF)
            ask_link(facts, interface->target, false, device);
        break;
    case VQ_INTERFACE_VHOSTUSER:
        if (!vq_streq(interface->source_mode, "server"))
            ask_file(facts, VQ_USE_SOCKET, interface->source_path, SIZE_MAX, "%s", device);
        break;
    case VQ_INTERFACE_VDPA:
        ask_file(facts, VQ_USE_NODE, interface->source_dev, SIZE_MAX, "%s", device);
        break;
    default:
        break;
    }
}

static void ask_chardev(struct vq_facts *facts, const struct vq_chardev *source, const char *kind, size_t index)
{
    switch (source->type) {
    case VQ_CHARDEV_DEV:
    case VQ_CHARDEV_PIPE:
        ask_file(facts, VQ_USE_NODE, source->path, SIZE_MAX, "%s %zu", kind, index);
        break;
    case VQ_CHARDEV_FILE:
        ask_file(facts, VQ_USE_PLACE, source->path, SIZE_MAX, "%s %zu", kind, index);
        break;
    case VQ_CHARDEV_UNIX:
        if (source->mode == VQ_CHARDEV_CONNECT)
            ask_file(facts, VQ_USE_SOCKET, source->path, SIZE_MAX, "%s %zu", kind, index);
        break;
    default:
        break;
    }
}

static void ask_graphics(struct vq_facts *facts, const struct vq_graphics *graphics)
{
    static const char *const names[VQ_GRAPHICS_N] = {[VQ_GRAPHICS_VNC] = "VNC display", [VQ_GRAPHICS_SPICE] = "SPICE display"};
    const struct vq_listen *listen = graphics->n_listens > 0 ? graphics->listens[0] : NULL;
    const struct {
        bool is_said;
        int32_t port;
    } ports[] = {{graphics->has_port, graphics->port}, {graphics->has_tls_port, graphics->tls_port},
                 {graphics->has_websocket && !graphics->websocket_generated, graphics->websocket}};

    if (names[graphics->type] == NULL || graphics->autoport == VQ_SWITCH_ON ||
        (listen != NULL && listen->type != VQ_LISTEN_ADDRESS))
        return;
    for (size_t i = 0; i < VQ_N_ELEMENTS(ports); i++) {
        if (!ports[i].is_said || ports[i].port <= 0 || ports[i].port > UINT16_MAX || facts->n_ports == VQ_FACTS_PORTS_MAX)
            continue;
        VQ_GROW(facts->ports, facts->n_ports);
        facts->ports[facts->n_ports++] = (struct vq_port_fact){
            .address = vq_strdup(listen != NULL && listen->address != NULL ? listen->address : "127.0.0.1"),
            .device = vq_strdup(names[graphics->type]),
            .port = (uint16_t)ports[i].port,
        };
    }
}

static void ask_devices(struct vq_facts *facts, const struct vq_devices *devices)
{
    const struct {
        struct vq_port *const *ports;
        size_t n_ports;
        const char *kind;
    } lists[] = {{devices->serials, devices->n_serials, "serial port"},
                 {devices->parallels, devices->n_parallels, "parallel port"},
                 {devices->channels, devices->n_channels, "channel"}};

    for (size_t i = 0; i < devices->n_interfaces; i++)
        ask_interface(facts, devices->interfaces[i]);
    for (size_t i = 0; i < VQ_N_ELEMENTS(lists); i++)
        for (size_t k = 0; k < lists[i].n_ports; k++)
            ask_chardev(facts, &lists[i].ports[k]->source, lists[i].kind, k);
    for (size_t i = 0; i < devices->n_rngs; i++) {
        if (devices->rngs[i]->backend == VQ_RNG_RANDOM)
            ask_file(facts, VQ_USE_NODE, devices->rngs[i]->device, SIZE_MAX, "random number generator");
        else if (devices->rngs[i]->backend == VQ_RNG_EGD)
            ask_chardev(facts, &devices->rngs[i]->source, "random number generator", i);
    }
    for (size_t i = 0; i < devices->n_inputs; i++)
        ask_file(facts, VQ_USE_NODE, devices->inputs[i]->evdev, SIZE_MAX, "input device");
    for (size_t i = 0; i < devices->n_graphics; i++)
        ask_graphics(facts, devices->graphics[i]);
}

struct vq_facts *vq_facts_new(const struct vq_domain *def, bool files_only)
{
    struct vq_facts *facts = vq_new(struct vq_facts);
    const struct vq_memory_backing *backing = def->memory_backing;

    for (size_t i = 0; i < def->devices.n_disks; i++)
        ask_disk(facts, def->devices.disks[i], i);
    if (files_only)
        return facts;
    ask_boot(facts, &def->os);
    ask_devices(facts, &def->devices);
    if (backing != NULL && backing->n_hugepages == 1)
        facts->huge_page_kib = backing->hugepages[0]->size_kib;
    return facts;
}

void vq_facts_free(struct vq_facts *facts)
{
    if (facts == NULL)
        return;
    for (size_t i = 0; i < facts->n_files; i++) {
        free(facts->files[i].path);
        free(facts->files[i].device);
        free(facts->files[i].identity);
    }
    for (size_t i = 0; i < facts->n_links; i++) {
        free(facts->links[i].name);
        free(facts->links[i].device);
    }
    for (size_t i = 0; i < facts->n_ports; i++) {
        free(facts->ports[i].address);
        free(facts->ports[i].device);
    }
    free(facts->files);
    free(facts->links);
    free(facts->ports);
    free(facts);
}

/* ---- Answers ---- */

static bool read_text(char *text, size_t size, const char *fmt, ...) VQ_PRINTF(3, 4);
static bool read_text(char *text, size_t size, const char *fmt, ...)
{
    VQ_AUTOFREE char *path = NULL;
    va_list args;

    va_start(args, fmt);
    int length = vasprintf(&path, fmt, args);
    va_end(args);
    if (length < 0) {
        path = NULL; /* its value is not defined */
        return false;
    }
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, text, size - 1);
    (void)close(fd); /* only read from */
    if (n < 0)
        return false;
    text[n] = '\0';
    if (n > 0 && text[n - 1] == '\n')
        text[n - 1] = '\0';
    return true;
}

/* Where a file that is not there would be made: the closest directory above it that is. */
static void look_at_place(struct vq_file_fact *file)
{
    VQ_AUTOFREE char *place = vq_strdup(file->path);
    struct statfs fs;
    struct stat st;
    bool is_first = true;

    for (char *slash; (slash = strrchr(place, '/')) != NULL;) {
        slash[slash == place ? 1 : 0] = '\0';
        if (stat(place, &st) == 0 && statfs(place, &fs) == 0) {
            file->free_bytes = (uint64_t)fs.f_bavail * (uint64_t)fs.f_bsize;
            file->place_id = st.st_dev;
            file->has_place = is_first && S_ISDIR(st.st_mode);
            return;
        }
        if (slash == place)
            return;
        is_first = false;
    }
}

/* What the hardware or the mapper calls a block device: equal on all hosts that see it. */
static char *identity_of(const struct stat *st, const char *root)
{
    static const char *const files[] = {"dm/uuid", "wwid", "device/wwid", "loop/backing_file"};
    char text[512];

    for (size_t i = 0; i < VQ_N_ELEMENTS(files); i++)
        if (read_text(text, sizeof(text), "%s/sys/dev/block/%u:%u/%s", root, major(st->st_rdev), minor(st->st_rdev),
                      files[i]) && text[0] != '\0')
            return vq_strdup(text);
    return NULL;
}

static void look_at_block_device(struct vq_file_fact *file, const struct stat *st, const char *root)
{
    char text[64];
    uint64_t sectors;

    file->identity = identity_of(st, root);
    if (read_text(text, sizeof(text), "%s/sys/dev/block/%u:%u/size", root, major(st->st_rdev), minor(st->st_rdev)) &&
        vq_parse_u64(text, 10, UINT64_MAX / 512, &sectors))
        file->size = sectors * 512;
    file->device_id = st->st_rdev; /* which device, not where its node is */
    file->inode = 0;
}

static void look_at_file(struct vq_file_fact *file, const char *root)
{
    struct stat st;
    struct statfs fs;

    look_at_place(file);
    if (stat(file->path, &st) < 0) {
        file->error = errno;
        return;
    }
    file->mode = st.st_mode;
    file->device_id = st.st_dev;
    file->inode = st.st_ino;
    file->size = (uint64_t)st.st_size;
    file->allocated = (uint64_t)st.st_blocks * 512;
    file->mtime_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    if (statfs(file->path, &fs) == 0) {
        file->fs_type = (uint64_t)(unsigned long)fs.f_type;
        memcpy(&file->fs_id, &fs.f_fsid, sizeof(file->fs_id));
    }
    if (S_ISBLK(st.st_mode))
        look_at_block_device(file, &st, root);
}

static void look_at_link(struct vq_link_fact *link, const char *root)
{
    char text[64];
    uint64_t flags;
    VQ_AUTOFREE char *bridge = NULL;

    if (!vq_name_is_component(link->name))
        return;
    link->is_there = read_text(text, sizeof(text), "%s/sys/class/net/%s/flags", root, link->name);
    link->is_up = link->is_there && vq_parse_u64(text, 0, UINT32_MAX, &flags) && (flags & IFF_UP) != 0;
    bridge = vq_asprintf("%s/sys/class/net/%s/bridge", root, link->name);
    link->is_bridge = access(bridge, F_OK) == 0;
}

static void look_at_port(struct vq_port_fact *port)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at = {0};
    socklen_t length = sizeof(at.v4);
    int on = 1;

    at.v4.sin_family = AF_INET;
    at.v4.sin_port = htons(port->port);
    if (inet_pton(AF_INET, port->address, &at.v4.sin_addr) != 1) {
        memset(&at, 0, sizeof(at));
        at.v6.sin6_family = AF_INET6;
        at.v6.sin6_port = htons(port->port);
        length = sizeof(at.v6);
        if (inet_pton(AF_INET6, port->address, &at.v6.sin6_addr) != 1)
            return; /* a name: QEMU will see */
    }
    int fd = socket(at.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)); /* as QEMU does; without it, closed ones count */
    if (bind(fd, &at.any, length) < 0)
        port->error = errno;
    (void)close(fd); /* nothing was sent */
}

static uint64_t number_in(const char *text, const char *field)
{
    const char *found = strstr(text, field);

    return found == NULL ? 0 : strtoull(found + strlen(field), NULL, 10);
}

static void look_at_memory(struct vq_facts *facts, const char *root)
{
    char text[TEXT_MAX_BYTES];
    uint64_t pages;

    if (read_text(text, sizeof(text), "%s/proc/meminfo", root))
        facts->memory_kib = number_in(text, "MemAvailable:");
    if (facts->huge_page_kib != 0 &&
        read_text(text, sizeof(text), "%s/sys/kernel/mm/hugepages/hugepages-%llukB/free_hugepages", root,
                  (unsigned long long)facts->huge_page_kib) &&
        vq_parse_u64(text, 10, UINT64_MAX / facts->huge_page_kib, &pages))
        facts->huge_free_kib = pages * facts->huge_page_kib;
}

/* "0-3,8": the number behind the last mark. */
static void look_at_cpus(struct vq_facts *facts, const char *root)
{
    char text[4096];
    uint64_t last;

    if (!read_text(text, sizeof(text), "%s/sys/devices/system/cpu/online", root))
        return;
    const char *end = text + strlen(text);
    while (end > text && end[-1] >= '0' && end[-1] <= '9')
        end--;
    if (vq_parse_u64(end, 10, UINT32_MAX - 1, &last))
        facts->cpus = (uint32_t)last + 1;
}

/* A kernel without the switch lets everybody. */
static void look_at_userfaultfd(struct vq_facts *facts, const char *root)
{
    char text[16];

    facts->lacks_userfaultfd = read_text(text, sizeof(text), "%s/proc/sys/vm/unprivileged_userfaultfd", root) &&
                               strcmp(text, "0") == 0;
}

/* Which kernel this is. Its own word, from a procfs of our own: in a container something else may be mounted over the file,
 * so that each has an id of its own. */
static bool read_kernel_id(char *text, size_t size)
{
    bool is_read = false;
    int context = fsopen("proc", FSOPEN_CLOEXEC);
    int mount = -1;

    if (context >= 0 && fsconfig(context, FSCONFIG_CMD_CREATE, NULL, NULL, 0) == 0)
        mount = fsmount(context, FSMOUNT_CLOEXEC, 0);
    if (mount >= 0)
        is_read = read_text(text, size, "/proc/self/fd/%d/sys/kernel/random/boot_id", mount);
    if (mount >= 0)
        (void)close(mount); /* mounted nowhere: it is gone with this */
    if (context >= 0)
        (void)close(context); /* not used again */
    return is_read;
}

static void look_at_kernel(struct vq_facts *facts, const char *root)
{
    if ((root[0] != '\0' || !read_kernel_id(facts->boot_id, sizeof(facts->boot_id))) &&
        !read_text(facts->boot_id, sizeof(facts->boot_id), "%s/proc/sys/kernel/random/boot_id", root))
        facts->boot_id[0] = '\0';
}

void vq_facts_gather(struct vq_facts *facts, const char *root)
{
    look_at_kernel(facts, root);
    for (size_t i = 0; i < facts->n_files; i++)
        look_at_file(&facts->files[i], root);
    for (size_t i = 0; i < facts->n_links; i++)
        look_at_link(&facts->links[i], root);
    for (size_t i = 0; i < facts->n_ports; i++)
        look_at_port(&facts->ports[i]);
    look_at_memory(facts, root);
    look_at_userfaultfd(facts, root);
    look_at_cpus(facts, root);
}

/* ---- Media ---- */

static bool is_missing(const struct vq_facts *facts, size_t disk)
{
    for (size_t i = 0; i < facts->n_files; i++)
        if (facts->files[i].use == VQ_USE_MEDIUM && facts->files[i].disk == disk)
            return facts->files[i].error != 0;
    return false;
}

void vq_facts_drop_missing_media(const struct vq_facts *facts, struct vq_domain *live)
{
    for (size_t i = 0; i < live->devices.n_disks; i++) {
        struct vq_disk *disk = live->devices.disks[i];
        enum vq_startup_policy policy = disk->source.startup_policy;

        if ((policy != VQ_STARTUP_OPTIONAL && policy != VQ_STARTUP_REQUISITE) || !is_missing(facts, i))
            continue;
        free(vq_take(disk->source.path));
        disk->source.startup_policy = VQ_STARTUP_UNSET;
        disk->source.index = 0;
    }
}
