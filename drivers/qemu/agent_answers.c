/* What an agent says of disks and interfaces: see agent_answers.h. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/agent_answers.h"

#include <libvirt/libvirt.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"
#include "drivers/qemu/guest.h"
#include "proto/gen/remote.h"

enum { FILESYSTEMS_MAX = 256, INTERFACES_MAX = 2048, ADDRESSES_MAX = 2048, PREFIX_MAX = 128 };

const char *vq_agent_text(json_t *object, const char *name)
{
    return json_string_value(json_object_get(object, name));
}

/* ---- Disks ---- */

struct address {
    struct vq_pci_address pci;
    uint32_t bus, target, unit;
};

static bool number(json_t *object, const char *name, uint32_t *ret)
{
    json_t *value = json_object_get(object, name);
    json_int_t n = json_integer_value(value);

    if (!json_is_integer(value) || n < 0 || n > UINT32_MAX)
        return false;
    *ret = (uint32_t)n;
    return true;
}

static bool read_address(json_t *disk, struct address *ret)
{
    json_t *pci = json_object_get(disk, "pci-controller");

    return number(pci, "domain", &ret->pci.domain) && number(pci, "bus", &ret->pci.bus) && number(pci, "slot", &ret->pci.slot) &&
           number(pci, "function", &ret->pci.function) && number(disk, "bus", &ret->bus) &&
           number(disk, "target", &ret->target) && number(disk, "unit", &ret->unit);
}

static bool is_at(const struct vq_device_info *info, const struct vq_pci_address *pci)
{
    const struct vq_pci_address *own = &info->address.pci;

    return info->address.type == VQ_ADDRESS_PCI && own->domain == pci->domain && own->bus == pci->bus &&
           own->slot == pci->slot && own->function == pci->function;
}

const char *vq_agent_disk_target(const struct vq_qemu_guest *guest, json_t *disk)
{
    const struct vq_devices *devices = guest->live != NULL ? &guest->live->devices : NULL;
    const struct vq_controller *controller = NULL;
    struct address at = { 0 };

    if (devices == NULL || !read_address(disk, &at))
        return NULL;
    for (size_t i = 0; controller == NULL && i < devices->n_controllers; i++)
        if (is_at(&devices->controllers[i]->info, &at.pci))
            controller = devices->controllers[i];
    for (size_t i = 0; i < devices->n_disks; i++) {
        const struct vq_address *own = &devices->disks[i]->info.address;

        if (is_at(&devices->disks[i]->info, &at.pci))
            return devices->disks[i]->target;
        if (own->type == VQ_ADDRESS_DRIVE && controller != NULL && own->drive.controller == controller->index &&
            own->drive.bus == at.bus && own->drive.target == at.target && own->drive.unit == at.unit)
            return devices->disks[i]->target;
    }
    return NULL;
}

/* ---- File systems ---- */

int vq_agent_filesystems_check(json_t *filesystems, struct vq_error *err)
{
    static const char *const members[] = { "mountpoint", "name", "type" };
    size_t i;
    json_t *one;

    if (!json_is_array(filesystems))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "Malformed guest-get-fsinfo data array");
    if (json_array_size(filesystems) > FILESYSTEMS_MAX)
        return vq_error_set_from(err, VIR_FROM_RPC, VIR_ERR_RPC, "Too many mountpoints in fsinfo: %zu for limit %d",
                                 json_array_size(filesystems), FILESYSTEMS_MAX);
    json_array_foreach(filesystems, i, one) {
        for (size_t j = 0; j < VQ_N_ELEMENTS(members); j++)
            if (vq_agent_text(one, members[j]) == NULL)
                return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "'%s' missing in reply of guest-get-fsinfo", members[j]);
        if (!json_is_array(json_object_get(one, "disk")))
            return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "'disk' missing in reply of guest-get-fsinfo");
        if (json_array_size(json_object_get(one, "disk")) > FILESYSTEMS_MAX)
            return vq_error_set_from(err, VIR_FROM_RPC, VIR_ERR_RPC, "Too many disks in fsinfo: %zu for limit %d",
                                     json_array_size(json_object_get(one, "disk")), FILESYSTEMS_MAX);
    }
    return 0;
}

/* ---- Interfaces ---- */

static int add_address(struct vq_remote_domain_interface *interface, uint32_t capacity, json_t *address, struct vq_arena *arena,
                       struct vq_error *err)
{
    const char *text = vq_agent_text(address, "ip-address"), *type = vq_agent_text(address, "ip-address-type");
    struct vq_remote_domain_ip_addr *own = &interface->addrs[interface->n_addrs];
    uint32_t prefix;

    if (type == NULL || text == NULL)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "qemu agent didn't provide '%s' field for interface '%s'",
                            type == NULL ? "ip-address-type" : "ip-address", interface->name);
    if (!number(address, "prefix", &prefix) || prefix > PREFIX_MAX)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "malformed 'prefix' field");
    if (interface->n_addrs == capacity)
        return vq_error_set_from(err, VIR_FROM_RPC, VIR_ERR_RPC, "Number of interfaces, %u exceeds the max limit: %d",
                                 interface->n_addrs, ADDRESSES_MAX);
    own->type = strcmp(type, "ipv6") == 0 ? VIR_IP_ADDR_TYPE_IPV6 : VIR_IP_ADDR_TYPE_IPV4;
    own->addr = vq_arena_strdup(arena, text);
    own->prefix = prefix;
    if (own->addr == NULL)
        return vq_error_set(err, VIR_ERR_NO_MEMORY, "the answer is longer than one call may use");
    interface->n_addrs++;
    return 0;
}

/* All addresses of the entries of one name. */
static int add_addresses(struct vq_remote_domain_interface *interface, json_t *entry, struct vq_arena *arena, struct vq_error *err)
{
    json_t *addresses = json_object_get(entry, "ip-addresses"), *address;
    size_t i, n = json_array_size(addresses), room = interface->n_addrs + n;
    struct vq_remote_domain_ip_addr *list;

    if (n == 0)
        return 0;
    if (room > ADDRESSES_MAX)
        return vq_error_set_from(err, VIR_FROM_RPC, VIR_ERR_RPC, "Number of addresses, %zu exceeds the max limit: %d", room,
                                 ADDRESSES_MAX);
    list = vq_arena_alloc(arena, room, sizeof(*list));
    if (list == NULL)
        return vq_error_set(err, VIR_ERR_NO_MEMORY, "the answer is longer than one call may use");
    if (interface->n_addrs > 0)
        memcpy(list, interface->addrs, interface->n_addrs * sizeof(*list));
    interface->addrs = list;
    json_array_foreach(addresses, i, address)
        if (add_address(interface, (uint32_t)room, address, arena, err) < 0)
            return -1;
    return 0;
}

/* The one that has the name already, or a new one; numbers: by name, since a guest may repeat names without end. NULL: err tells. */
static struct vq_remote_domain_interface *interface_of(struct vq_remote_domain_interface *list, uint32_t *n, json_t *numbers,
                                                       json_t *entry, struct vq_arena *arena, struct vq_error *err)
{
    const char *name = vq_agent_text(entry, "name"), *mac = vq_agent_text(entry, "hardware-address");
    size_t length = name != NULL ? strcspn(name, ":") : 0;
    struct vq_remote_domain_interface *own;
    const json_t *number;

    if (name == NULL) {
        (void)vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "qemu agent didn't provide 'name' field");
        return NULL;
    }
    number = json_object_getn(numbers, name, length);
    if (number != NULL)
        return &list[json_integer_value(number)];
    if (*n == INTERFACES_MAX) {
        (void)vq_error_set_from(err, VIR_FROM_RPC, VIR_ERR_RPC, "Number of interfaces, %d exceeds the max limit: %d",
                                INTERFACES_MAX + 1, INTERFACES_MAX);
        return NULL;
    }
    own = &list[*n];
    own->name = vq_arena_strndup(arena, name, length);
    own->hwaddr = vq_arena_strdup(arena, mac);
    if (own->name == NULL || (mac != NULL && own->hwaddr == NULL) ||
        json_object_setn_new(numbers, name, length, json_integer(*n)) < 0) {
        (void)vq_error_set(err, VIR_ERR_NO_MEMORY, "the answer is longer than one call may use");
        return NULL;
    }
    ++*n;
    return own;
}

int vq_agent_interfaces_read(json_t *answer, struct vq_arena *arena, struct vq_remote_domain_interface **ret_interfaces,
                             uint32_t *ret_n, struct vq_error *err)
{
    size_t i, room = json_array_size(answer) < INTERFACES_MAX ? json_array_size(answer) : INTERFACES_MAX;
    struct vq_remote_domain_interface *list, *own = NULL;
    json_t *numbers;
    uint32_t n = 0;
    json_t *entry;

    if (!json_is_array(answer))
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "qemu agent didn't return an array of interfaces");
    list = vq_arena_alloc(arena, room + 1, sizeof(*list));
    if (list == NULL)
        return vq_error_set(err, VIR_ERR_NO_MEMORY, "the answer is longer than one call may use");
    numbers = json_object();
    json_array_foreach(answer, i, entry) {
        own = interface_of(list, &n, numbers, entry, arena, err);
        if (own != NULL && add_addresses(own, entry, arena, err) < 0)
            own = NULL;
        if (own == NULL)
            break;
    }
    json_decref(numbers);
    *ret_interfaces = list;
    *ret_n = n;
    return own != NULL || json_array_size(answer) == 0 ? 0 : -1;
}
