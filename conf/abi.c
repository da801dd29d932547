/* What a running guest sees of its definition: see abi.h. Whatever the table does not free must be the same, so an element that
 * is added to the definition is the guest's until somebody says otherwise. */
#define VQ_FROM VIR_FROM_DOMAIN

#include "conf/abi.h"

#include <fnmatch.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/domain.h"
#include "conf/xml.h"

enum { PATH_BYTES = 512 };

/* Elements (with all below them) and attributes that may differ. "*" is one name. */
static const char *const free_paths[] = {
    /* of the domain */
    "@id", "name", "title", "description", "metadata", "currentMemory", "memory/@dumpCore", "blkiotune", "memtune",
    "memoryBacking", "cputune", "numatune", "resource", "perf", "iothreads", "iothreadids", "defaultiothread",
    "vcpu/@cpuset", "vcpu/@placement", "on_poweroff", "on_reboot", "on_crash", "on_lockfailure", "seclabel", "pm",
    "launchSecurity", "qemu:*", "cpu/@check", "cpu/model/@fallback", "cpu/numa/cell/@memAccess", "cpu/numa/cell/@discard",
    "clock/@*", "features/tcg", "features/async-teardown",
    /* what counts at boot only, and where the host keeps it */
    "os/@firmware", "os/firmware", "os/kernel", "os/initrd", "os/cmdline", "os/dtb", "os/boot", "os/bootmenu",
    "os/loader", "os/nvram", "os/acpi",
    /* of devices: the host's side of them */
    "devices/emulator", "devices/*/alias", "devices/*/boot", "devices/*/source", "devices/*/backend",
    "devices/*/protocol", "devices/*/log", "devices/*/rom/@file", "devices/graphics", "devices/audio", "devices/lease",
    "devices/redirfilter",
    "devices/disk/@type", "devices/disk/driver", "devices/disk/backingStore", "devices/disk/mirror",
    "devices/disk/iotune", "devices/disk/auth", "devices/disk/encryption", "devices/disk/transient",
    "devices/disk/shareable", "devices/disk/backenddomain", "devices/disk/@snapshot", "devices/disk/@rawio",
    "devices/disk/@sgio", "devices/disk/target/@tray",
    "devices/controller/driver/@iothread", "devices/controller/driver/@ioeventfd",
    "devices/interface/@type", "devices/interface/@managed", "devices/interface/@trustGuestRxFilters",
    "devices/interface/mac/@type", "devices/interface/mac/@check", "devices/interface/target",
    "devices/interface/guest", "devices/interface/driver", "devices/interface/script", "devices/interface/downscript",
    "devices/interface/bandwidth", "devices/interface/virtualport", "devices/interface/filterref",
    "devices/interface/vlan", "devices/interface/ip", "devices/interface/route", "devices/interface/link",
    "devices/interface/port", "devices/interface/portForward", "devices/interface/coalesce", "devices/interface/tune",
    "devices/interface/backenddomain",
    "devices/serial/@*", "devices/serial/target/@port", "devices/parallel/@*", "devices/console/@*",
    "devices/channel/@*", "devices/channel/target/@state", "devices/smartcard/@type", "devices/smartcard/certificate",
    "devices/smartcard/database", "devices/redirdev/@type",
    "devices/filesystem/driver", "devices/filesystem/binary", "devices/filesystem/@accessmode",
    "devices/filesystem/@multidevs", "devices/filesystem/@fmode", "devices/filesystem/@dmode",
    "devices/filesystem/space_hard_limit", "devices/filesystem/space_soft_limit",
    "devices/hostdev/@managed", "devices/hostdev/@sgio", "devices/hostdev/@rawio", "devices/hostdev/driver",
    "devices/video/driver", "devices/video/model/acceleration/@rendernode", "devices/sound/audio",
    "devices/rng/rate", "devices/memballoon/stats", "devices/shmem/server", "devices/memory/target/requested",
    "devices/memory/target/current", "devices/watchdog/@action",
};

/* What the guest sees of an element that is free otherwise. */
static const char *const kept_paths[] = {
    "devices/*/driver/@iommu", "devices/*/driver/@ats", "devices/*/driver/@packed", "devices/*/driver/@page_per_vq",
    "devices/disk/driver/@queues", "devices/disk/driver/@queue_size", "devices/disk/driver/@event_idx",
    "devices/interface/driver/@queues", "devices/interface/driver/@event_idx", "devices/filesystem/driver/@queue",
    "devices/tpm/backend/@version", "devices/crypto/backend/@queues", "devices/memory/source/alignsize",
    "devices/memory/source/pmem",
};

static bool is_listed(const char *const *paths, size_t n, const char *path)
{
    for (size_t i = 0; i < n; i++) {
        if (fnmatch(paths[i], path, FNM_PATHNAME) == 0)
            return true;
    }
    return false;
}

static bool is_free(const char *path)
{
    return is_listed(free_paths, VQ_N_ELEMENTS(free_paths), path) &&
           !is_listed(kept_paths, VQ_N_ELEMENTS(kept_paths), path);
}

static bool is_kept(const char *path)
{
    return is_listed(kept_paths, VQ_N_ELEMENTS(kept_paths), path);
}

/* Whether something below the element is kept: the pattern's beginning, as many names as the path has, fits it. */
static bool holds_kept(const char *path)
{
    char beginning[PATH_BYTES];

    for (size_t i = 0; i < VQ_N_ELEMENTS(kept_paths); i++) {
        const char *end = kept_paths[i];

        for (const char *slash = path; slash != NULL && end != NULL; slash = strchr(slash + 1, '/'))
            end = strchr(end + (end != kept_paths[i]), '/');
        if (end == NULL)
            continue;
        (void)snprintf(beginning, sizeof(beginning), "%.*s", (int)(end - kept_paths[i]), kept_paths[i]);
        if (fnmatch(beginning, path, FNM_PATHNAME) == 0)
            return true;
    }
    return false;
}

/* path: the one that the tables speak of; place: the one for people, with numbers. */
struct place {
    char path[PATH_BYTES], place[PATH_BYTES];
    bool is_free; /* but for what is kept */
};

static bool may_differ(const struct place *at)
{
    return at->is_free ? !is_kept(at->path) : is_free(at->path);
}

static void step(const struct place *at, const char *name, size_t index, bool is_repeated, struct place *ret)
{
    const char *slash = at->path[0] != '\0' ? "/" : "";

    ret->is_free = at->is_free;
    (void)snprintf(ret->path, sizeof(ret->path), "%.*s%s%s", PATH_BYTES / 2, at->path, slash, name);
    if (is_repeated)
        (void)snprintf(ret->place, sizeof(ret->place), "%.*s%s%s[%zu]", PATH_BYTES / 2, at->place, slash, name, index + 1);
    else
        (void)snprintf(ret->place, sizeof(ret->place), "%.*s%s%s", PATH_BYTES / 2, at->place, slash, name);
}

static int refuse(const struct place *at, const char *destination, const char *source, struct vq_error *err)
{
    if (destination == NULL)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "Target domain has no %s, source has%s%s", at->place,
                            source[0] != '\0' ? " " : "", source);
    if (source == NULL)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "Target domain has %s%s%s, source has none", at->place,
                            destination[0] != '\0' ? " " : "", destination);
    return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "Target domain %s '%s' does not match source '%s'", at->place,
                        destination, source);
}

/* ---- Attributes and text ---- */

static int compare_attrs(const struct place *at, const struct vq_xml_node *source, const struct vq_xml_node *destination,
                         struct vq_error *err)
{
    const struct vq_xml_node *const sides[] = { source, destination };

    for (size_t i = 0; i < VQ_N_ELEMENTS(sides); i++) {
        for (const struct vq_xml_attr *attr = sides[i]->attrs; attr != NULL; attr = attr->next) {
            const struct vq_xml_attr *a = vq_xml_attr_find(source, attr->name), *b = vq_xml_attr_find(destination, attr->name);
            struct place place;
            char name[128];

            (void)snprintf(name, sizeof(name), "@%s", attr->name);
            step(at, name, 0, false, &place);
            if (may_differ(&place) || (a != NULL && b != NULL && strcmp(a->value, b->value) == 0))
                continue;
            return refuse(&place, b != NULL ? b->value : NULL, a != NULL ? a->value : NULL, err);
        }
    }
    return 0;
}

static bool has_elements(const struct vq_xml_node *node)
{
    return vq_xml_first_element(node) != NULL;
}

static int compare_text(const struct place *at, const struct vq_xml_node *source, const struct vq_xml_node *destination,
                        struct vq_error *err)
{
    VQ_AUTOBUFFER scratch_a = VQ_BUFFER_INIT, scratch_b = VQ_BUFFER_INIT;
    const char *a, *b;

    if ((at->is_free && !is_kept(at->path)) || has_elements(source) || has_elements(destination))
        return 0;
    a = vq_xml_text(source, &scratch_a);
    b = vq_xml_text(destination, &scratch_b);
    a = a != NULL ? a : "";
    b = b != NULL ? b : "";
    return strcmp(a, b) == 0 ? 0 : refuse(at, b, a, err);
}

/* ---- Elements: the first with the first of the same name, and so on ---- */

static const struct vq_xml_node *nth(const struct vq_xml_node *parent, const char *name, size_t index, size_t *ret_n)
{
    const struct vq_xml_node *found = NULL;
    size_t n = 0;

    for (const struct vq_xml_node *node = vq_xml_first_element(parent); node != NULL; node = vq_xml_element_after(node))
        if (strcmp(node->name, name) == 0 && n++ == index)
            found = node;
    *ret_n = n;
    return found;
}

static int compare(const struct place *at, const struct vq_xml_node *source, const struct vq_xml_node *destination,
                   struct vq_error *err);

/* Stands for an element that is not there, where only some of its attributes count. */
static const struct vq_xml_node nothing;

/* All elements called as one of them is, once. */
static int compare_named(const struct place *at, const struct vq_xml_node *source, const struct vq_xml_node *destination,
                         const char *name, struct vq_error *err)
{
    size_t n_source, n_destination;

    (void)nth(source, name, 0, &n_source);
    (void)nth(destination, name, 0, &n_destination);
    for (size_t i = 0; i < n_source || i < n_destination; i++) {
        const struct vq_xml_node *a = nth(source, name, i, &n_source), *b = nth(destination, name, i, &n_destination);
        struct place place;

        step(at, name, i, n_source > 1 || n_destination > 1, &place);
        place.is_free = may_differ(&place);
        if (place.is_free && !holds_kept(place.path))
            return 0;
        if ((a == NULL || b == NULL) && !place.is_free)
            return refuse(&place, b != NULL ? "" : NULL, a != NULL ? "" : NULL, err);
        if (compare(&place, a != NULL ? a : &nothing, b != NULL ? b : &nothing, err) < 0)
            return -1;
    }
    return 0;
}

static bool is_first_of_its_name(const struct vq_xml_node *node)
{
    for (const struct vq_xml_node *other = vq_xml_first_element(node->parent); other != node;
         other = vq_xml_element_after(other))
        if (strcmp(other->name, node->name) == 0)
            return false;
    return true;
}

/* Depth is bounded by the reader. */
static int compare(const struct place *at, const struct vq_xml_node *source, const struct vq_xml_node *destination,
                   struct vq_error *err)
{
    size_t n;

    if (compare_attrs(at, source, destination, err) < 0 || compare_text(at, source, destination, err) < 0)
        return -1;
    for (const struct vq_xml_node *node = vq_xml_first_element(source); node != NULL; node = vq_xml_element_after(node))
        if (is_first_of_its_name(node) && compare_named(at, source, destination, node->name, err) < 0)
            return -1;
    for (const struct vq_xml_node *node = vq_xml_first_element(destination); node != NULL; node = vq_xml_element_after(node))
        if (is_first_of_its_name(node) && nth(source, node->name, 0, &n) == NULL &&
            compare_named(at, source, destination, node->name, err) < 0)
            return -1;
    return 0;
}

/* The text without what only a running guest has, and without the devices that every daemon adds by itself: whether they are
 * that is only seen once the first is gone. */
static int canonical(const struct vq_domain *domain, char **ret_xml, struct vq_error *err)
{
    VQ_AUTOFREE char *xml = vq_domain_format(domain, VQ_FORMAT_INACTIVE | VQ_FORMAT_SECURE);
    VQ_AUTOPTR(vq_domain) inactive = NULL;

    if (vq_domain_parse(xml, VQ_PARSE_INACTIVE, &inactive, err) < 0)
        return -1;
    *ret_xml = vq_domain_format(inactive, VQ_FORMAT_INACTIVE | VQ_FORMAT_MIGRATABLE);
    return 0;
}

int vq_domain_abi_check(const struct vq_domain *source, const struct vq_domain *destination, struct vq_error *err)
{
    VQ_AUTOFREE char *source_xml = NULL, *destination_xml = NULL;
    VQ_AUTOPTR(vq_xml_doc) a = NULL;
    VQ_AUTOPTR(vq_xml_doc) b = NULL;
    const struct place root = { .path = "" };

    if (canonical(source, &source_xml, err) < 0 || canonical(destination, &destination_xml, err) < 0 ||
        vq_xml_read(source_xml, "domain_definition", "domain", &a, err) < 0 ||
        vq_xml_read(destination_xml, "domain_definition", "domain", &b, err) < 0)
        return -1;
    return compare(&root, vq_xml_root(a), vq_xml_root(b), err);
}
