/* What must hold in a domain for every hypervisor, with libvirt's own words where clients know them. */
#define VQ_FROM VIR_FROM_DOMAIN
#include "conf/domain_rules.h"

#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/rules.h"

enum { NAME_BYTES_MAX = 255 };

int vq_domain_check_names(const struct vq_domain *domain, struct vq_error *err)
{
    const char *name = domain->name;

    if (name == NULL || name[0] == '\0')
        return vq_error_set(err, VIR_ERR_NO_NAME, "missing name information");
    if (strchr(name, '/') != NULL)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "name %.80s cannot contain '/'", name);
    if (strchr(name, '\n') != NULL)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "name %.80s cannot contain '\\n'", name);
    if (name[strspn(name, " \t\r")] == '\0')
        return vq_error_set(err, VIR_ERR_XML_ERROR, "name must contain at least one visible character");
    if (!vq_name_is_component(name))
        return vq_error_set(err, VIR_ERR_XML_ERROR,
                            "name '%.80s' is not allowed: '.', '..', control characters and "
                            "more than %d bytes are not",
                            name, NAME_BYTES_MAX);
    if (domain->os.type == NULL && domain->bootloader == NULL)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "an os <type> must be specified");
    if (domain->has_uuid && !vq_uuid_is_usable(domain->uuid))
        return vq_error_set(err, VIR_ERR_XML_ERROR, "malformed uuid element: all bytes are the same");
    return 0;
}

static int check_vcpus(const struct vq_domain *domain, struct vq_error *err)
{
    const struct vq_cpu *cpu = domain->cpu;

    if (domain->current_vcpus > domain->vcpus)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "maxvcpus must not be less than current vcpus (%u < %u)",
                            domain->vcpus, domain->current_vcpus);
    if (cpu == NULL || (cpu->sockets == 0 && cpu->cores == 0 && cpu->threads == 0))
        return 0;
    if (cpu->sockets == 0 || cpu->cores == 0 || cpu->threads == 0)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "Missing '%s' attribute in CPU topology",
                            cpu->sockets == 0 ? "sockets"
                            : cpu->cores == 0 ? "cores"
                                              : "threads");
    /* Each factor is below 2^16. */
    if ((uint64_t)cpu->sockets * cpu->dies * cpu->cores > UINT32_MAX ||
        (uint64_t)cpu->sockets * cpu->dies * cpu->cores * cpu->threads != domain->vcpus)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "CPU topology doesn't match maximum vcpu count");
    return 0;
}

static int check_memory(const struct vq_domain *domain, struct vq_error *err)
{
    if ((domain->max_memory_kib > 0) != (domain->max_memory_slots > 0))
        return vq_error_set(err, VIR_ERR_XML_ERROR,
                            "both maximum memory size and memory slot count must be specified");
    if (domain->max_memory_kib > 0 && domain->max_memory_kib < domain->memory_kib)
        return vq_error_set(err, VIR_ERR_XML_ERROR,
                            "maximum memory size must be equal or greater than the actual memory size");
    return 0;
}

static int check_iothreads(const struct vq_domain *domain, struct vq_error *err)
{
    for (size_t i = 0; i < domain->n_iothread_ids; i++) {
        for (size_t k = 0; k < i; k++) {
            if (domain->iothread_ids[i]->id == domain->iothread_ids[k]->id)
                return vq_error_set(err, VIR_ERR_XML_ERROR, "duplicate iothread id '%u' found",
                                    domain->iothread_ids[i]->id);
        }
    }
    return 0;
}

/* ---- things that must be different ---- */

struct named {
    const char *name;
    const struct vq_disk *disk;
};

static int compare_names(const void *a, const void *b)
{
    return strcmp(((const struct named *)a)->name, ((const struct named *)b)->name);
}

static int check_targets(const struct vq_devices *devices, struct vq_error *err)
{
    VQ_AUTOFREE struct named *targets = vq_calloc(devices->n_disks, sizeof(*targets));

    for (size_t i = 0; i < devices->n_disks; i++)
        targets[i] = (struct named){devices->disks[i]->target, devices->disks[i]};
    qsort(targets, devices->n_disks, sizeof(*targets), compare_names);
    for (size_t i = 1; i < devices->n_disks; i++) {
        const char *first = targets[i - 1].disk->source.path, *second = targets[i].disk->source.path;

        if (strcmp(targets[i].name, targets[i - 1].name) == 0)
            return vq_error_set(err, VIR_ERR_XML_ERROR,
                                "target '%.80s' duplicated for disk sources '%.160s' and '%.160s'", targets[i].name,
                                first != NULL ? first : "", second != NULL ? second : "");
    }
    return 0;
}

/* Where a drive sits, as one number per bus to compare by; 0 for none. */
struct drive_place {
    uint64_t key[2];
    const struct vq_disk *disk;
};

static int compare_places(const void *a, const void *b)
{
    return memcmp(a, b, sizeof(((const struct drive_place *)a)->key));
}

static int check_drive_addresses(const struct vq_devices *devices, struct vq_error *err)
{
    VQ_AUTOFREE struct drive_place *places = vq_calloc(devices->n_disks, sizeof(*places));
    size_t n = 0;

    for (size_t i = 0; i < devices->n_disks; i++) {
        const struct vq_disk *disk = devices->disks[i];
        const struct vq_address *address = &disk->info.address;

        if (address->type != VQ_ADDRESS_DRIVE)
            continue;
        places[n].key[0] = (uint64_t)disk->bus << 32 | address->drive.controller;
        places[n].key[1] =
            (uint64_t)address->drive.bus << 48 ^ (uint64_t)address->drive.target << 24 ^ address->drive.unit;
        places[n++].disk = disk;
    }
    qsort(places, n, sizeof(*places), compare_places);
    for (size_t i = 1; i < n; i++) {
        const struct vq_address *a = &places[i].disk->info.address, *b = &places[i - 1].disk->info.address;

        if (compare_places(&places[i], &places[i - 1]) == 0 && a->drive.bus == b->drive.bus &&
            a->drive.target == b->drive.target && a->drive.unit == b->drive.unit)
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                                "Found duplicate drive address for disk with target name '%.80s' controller='%u' "
                                "bus='%u' target='%u' unit='%u'",
                                places[i].disk->target, a->drive.controller, a->drive.bus, a->drive.target,
                                a->drive.unit);
    }
    return 0;
}

/* Calls back for each device that has an alias, an address and perhaps a place in the boot order. */
typedef int (*info_fn)(const struct vq_device_info *info, void *data, struct vq_error *err);

static int each_info(const struct vq_devices *devices, info_fn fn, void *data, struct vq_error *err)
{
#define EACH(list)                                      \
    for (size_t i = 0; i < devices->n_##list; i++) {    \
        if (fn(&devices->list[i]->info, data, err) < 0) \
            return -1;                                  \
    }
    EACH(disks)
    EACH(controllers)
    EACH(filesystems)
    EACH(interfaces)
    EACH(smartcards)
    EACH(serials)
    EACH(parallels)
    EACH(channels)
    EACH(inputs)
    EACH(tpms)
    EACH(sounds)
    EACH(videos)
    EACH(hostdevs)
    EACH(redirdevs)
    EACH(hubs)
    EACH(watchdogs)
    EACH(rngs)
    EACH(panics)
    EACH(shmems)
    EACH(memories)
    EACH(cryptos)
#undef EACH
    for (size_t i = 0; i < devices->n_consoles; i++) {
        /* That of a serial port is the same device, seen again. */
        if (devices->consoles[i]->target != VQ_PORT_TARGET_SERIAL && fn(&devices->consoles[i]->info, data, err) < 0)
            return -1;
    }
    if (devices->iommu != NULL && fn(&devices->iommu->info, data, err) < 0)
        return -1;
    if (devices->nvram != NULL && fn(&devices->nvram->info, data, err) < 0)
        return -1;
    if (devices->memballoon != NULL && fn(&devices->memballoon->info, data, err) < 0)
        return -1;
    if (devices->vsock != NULL && fn(&devices->vsock->info, data, err) < 0)
        return -1;
    return 0;
}

struct collected {
    const char **aliases;
    uint32_t *orders;
    size_t n_aliases, n_orders;
};

static int collect(const struct vq_device_info *info, void *data, struct vq_error *err)
{
    struct collected *all = data;

    (void)err; /* nothing is refused here */
    /* Live aliases are the daemon's own; a console shares its serial port's. */
    if (info->alias != NULL && strncmp(info->alias, "ua-", 3) == 0) {
        VQ_GROW(all->aliases, all->n_aliases);
        all->aliases[all->n_aliases++] = info->alias;
    }
    if (info->boot_order > 0) {
        VQ_GROW(all->orders, all->n_orders);
        all->orders[all->n_orders++] = info->boot_order;
    }
    return 0;
}

static int compare_orders(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static int compare_texts(const void *a, const void *b)
{
    return strcmp(*(const char *const *)a, *(const char *const *)b);
}

static int check_collected(const struct vq_domain *domain, struct collected *all, struct vq_error *err)
{
    if (all->n_orders > 0 && domain->os.n_boot > 0)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                            "per-device boot elements cannot be used together with os/boot elements");
    if (all->n_orders > 1)
        qsort(all->orders, all->n_orders, sizeof(*all->orders), compare_orders);
    for (size_t i = 1; i < all->n_orders; i++) {
        if (all->orders[i] == all->orders[i - 1])
            return vq_error_set(err, VIR_ERR_XML_ERROR, "boot order '%u' used for more than one device",
                                all->orders[i]);
    }
    if (all->n_aliases > 1)
        qsort(all->aliases, all->n_aliases, sizeof(*all->aliases), compare_texts);
    for (size_t i = 1; i < all->n_aliases; i++) {
        if (strcmp(all->aliases[i], all->aliases[i - 1]) == 0)
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "non unique alias detected: %.80s", all->aliases[i]);
    }
    return 0;
}

static int check_infos(const struct vq_domain *domain, struct vq_error *err)
{
    struct collected all = {0};
    int result = each_info(&domain->devices, collect, &all, err);

    if (result == 0)
        result = check_collected(domain, &all, err);
    free(all.aliases);
    free(all.orders);
    return result;
}

int vq_domain_check(const struct vq_domain *domain, struct vq_error *err)
{
    if (check_vcpus(domain, err) < 0 || check_memory(domain, err) < 0 || check_iothreads(domain, err) < 0)
        return -1;
    if (vq_check_machine(domain, err) < 0 || vq_check_devices(&domain->devices, err) < 0)
        return -1;
    if (check_targets(&domain->devices, err) < 0 || check_drive_addresses(&domain->devices, err) < 0)
        return -1;
    return check_infos(domain, err);
}
