/* What a domain was given by chance is kept when it is defined again without saying it: the second of two equal
 * definitions changes nothing. */
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain.h"

static bool is_same_text(const char *a, const char *b)
{
    return a == b || (a != NULL && vq_streq(b, a));
}

/* As far as the definition says something about it. */
static bool is_same_interface(const struct vq_interface *interface, const struct vq_interface *old)
{
    return interface->type == old->type && is_same_text(interface->network, old->network) &&
           is_same_text(interface->bridge, old->bridge) && is_same_text(interface->source_dev, old->source_dev) &&
           (interface->model == NULL || is_same_text(interface->model, old->model));
}

static bool mac_is_taken(const struct vq_devices *devices, const uint8_t mac[6])
{
    for (size_t i = 0; i < devices->n_interfaces; i++) {
        if (devices->interfaces[i]->has_mac && memcmp(devices->interfaces[i]->mac, mac, 6) == 0)
            return true;
    }
    return false;
}

static void keep_text(char **member, const char *old)
{
    if (*member == NULL && old != NULL)
        *member = vq_strdup(old);
}

static void keep_interface(const struct vq_devices *devices, struct vq_interface *interface,
                           const struct vq_interface *old)
{
    if (!is_same_interface(interface, old))
        return;
    if (!interface->has_mac && old->has_mac && !mac_is_taken(devices, old->mac)) {
        memcpy(interface->mac, old->mac, sizeof(interface->mac));
        interface->has_mac = true;
    }
    if (interface->virtualport == NULL || old->virtualport == NULL ||
        !is_same_text(interface->virtualport->type, old->virtualport->type))
        return;
    keep_text(&interface->virtualport->instanceid, old->virtualport->instanceid);
    keep_text(&interface->virtualport->interfaceid, old->virtualport->interfaceid);
}

void vq_domain_keep(struct vq_domain *domain, const struct vq_domain *old)
{
    const struct vq_devices *devices = &domain->devices;

    for (size_t i = 0; i < devices->n_interfaces && i < old->devices.n_interfaces; i++)
        keep_interface(devices, devices->interfaces[i], old->devices.interfaces[i]);
    if (domain->genid_given && !domain->has_genid && old->has_genid) {
        memcpy(domain->genid, old->genid, sizeof(domain->genid));
        domain->has_genid = true;
    }
}
