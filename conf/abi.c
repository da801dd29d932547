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
    "@id", "name", "title", "description", "metadata", "currentMemory", "blkiotune", "memtune", "memoryBacking", "cputune",
    "numatune", "resource", "perf", "iothreads", "iothreadids", "defaultiothread", "vcpu/@cpuset", "vcpu/@placement",
    "on_poweroff", "on_reboot", "on_crash", "on_lockfailure", "seclabel", "pm", "launchSecurity", "qemu:*",
    /* what counts at boot only, and where the host keeps it */
    "os/kernel", "os/initrd", "os/cmdline", "os/dtb", "os/boot", "os/bootmenu", "os/loader", "os/nvram",
    /* of devices: the host's side of them */
    "devices/emulator", "devices/*/alias", "devices/*/boot", "devices/*/source", "devices/*/backend", "devices/graphics",
    "devices/audio", "devices/disk/@type", "devices/disk/driver", "devices/disk/backingStore", "devices/disk/mirror",
    "devices/disk/iotune", "devices/disk/auth", "devices/disk/encryption", "devices/disk/transient", "devices/disk/@snapshot",
    "devices/disk/@rawio", "devices/disk/@sgio", "devices/interface/@type", "devices/interface/target",
    "devices/interface/driver", "devices/interface/script", "devices/interface/downscript", "devices/interface/bandwidth",
    "devices/interface/virtualport", "devices/interface/filterref", "devices/interface/vlan", "devices/interface/ip",
    "devices/interface/route", "devices/interface/link", "devices/interface/port", "devices/interface/tune",
    "devices/interface/backenddomain", "devices/interface/@trustGuestRxFilters", "devices/serial/@*", "devices/parallel/@*",
    "devices/console/@*", "devices/channel/@*", "devices/*/protocol", "devices/*/log", "devices/serial/target/@port",
    "devices/channel/target/@state", "devices/filesystem/driver", "devices/filesystem/binary", "devices/rng/rate",
    "devices/hostdev/@managed", "devices/hostdev/driver", "devices/memballoon/stats", "devices/smartcard/@type",
    "devices/redirdev/@type", "devices/redirfilter", "devices/video/driver", "devices/sound/audio", "devices/shmem/server",
    "devices/lease",
};

static bool is_free(const char *path)
{
    for (size_t i = 0; i < VQ_N_ELEMENTS(free_paths); i++)
        if (fnmatch(free_paths[i], path, FNM_PATHNAME) == 0)
            return true;
    return false;
}

/* path: the one that the table speaks of; place: the one for people, with numbers. */
struct place {
    char path[PATH_BYTES], place[PATH_BYTES];
};

static void step(const struct place *at, const char *name, size_t index, bool is_repeated, struct place *ret)
{
    const char *slash = at->path[0] != '\0' ? "/" : "";

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
            if (is_free(place.path) || (a != NULL && b != NULL && strcmp(a->value, b->value) == 0))
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

    if (has_elements(source) || has_elements(destination))
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
        if (is_free(place.path))
            return 0;
        if (a == NULL || b == NULL)
            return refuse(&place, b != NULL ? "" : NULL, a != NULL ? "" : NULL, err);
        if (compare(&place, a, b, err) < 0)
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
