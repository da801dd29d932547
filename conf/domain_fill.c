/* Defaults of a domain that are the same for every hypervisor. What is said already is never touched, so that filling
 * twice changes nothing. */
#define VQ_FROM VIR_FROM_DOMAIN
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/domain_rules.h"

static void fill_uuid(struct vq_domain *domain, const struct vq_domain_fill *fill)
{
    while (!domain->has_uuid || !vq_uuid_is_usable(domain->uuid)) {
        fill->random(domain->uuid, sizeof(domain->uuid), fill->data);
        domain->uuid[6] = (uint8_t)((domain->uuid[6] & 0x0f) | 0x40); /* RFC 4122: random, variant 1 */
        domain->uuid[8] = (uint8_t)((domain->uuid[8] & 0x3f) | 0x80);
        domain->has_uuid = true;
    }
    if (domain->genid_given && !domain->has_genid) {
        fill->random(domain->genid, sizeof(domain->genid), fill->data);
        domain->has_genid = true;
    }
}

/* A guest's NUMA cells say how much memory it has, if there are any. */
static int fill_memory(struct vq_domain *domain, struct vq_error *err)
{
    uint64_t in_cells = 0;

    for (size_t i = 0; domain->cpu != NULL && i < domain->cpu->n_cells; i++) {
        struct vq_numa_cell *cell = domain->cpu->cells[i];

        if (!cell->has_id)
            cell->id = (uint32_t)i;
        cell->has_id = true;
        if (__builtin_add_overflow(in_cells, cell->memory_kib, &in_cells))
            return vq_error_set(err, VIR_ERR_XML_ERROR, "the memory of the NUMA cells is more than there can be");
    }
    if (in_cells > 0) {
        uint64_t devices = 0;

        for (size_t i = 0; i < domain->devices.n_memories; i++) {
            if (__builtin_add_overflow(devices, domain->devices.memories[i]->size_kib, &devices))
                return vq_error_set(err, VIR_ERR_XML_ERROR, "the memory devices are larger than there can be");
        }
        if (__builtin_add_overflow(in_cells, devices, &domain->memory_kib))
            return vq_error_set(err, VIR_ERR_XML_ERROR, "the memory of the NUMA cells is more than there can be");
    }
    if (domain->memory_kib == 0)
        return vq_error_set(err, VIR_ERR_XML_ERROR,
                            "Memory size must be specified via <memory> or in the <numa> configuration");
    if (domain->current_memory_kib == 0 || domain->current_memory_kib > domain->memory_kib)
        domain->current_memory_kib = domain->memory_kib;
    return 0;
}

static void fill_vcpus(struct vq_domain *domain)
{
    if (domain->vcpus == 0)
        domain->vcpus = 1;
    if (domain->current_vcpus == 0)
        domain->current_vcpus = domain->vcpus;
    if (domain->vcpu_placement == NULL)
        domain->vcpu_placement = vq_strdup("static");
    if (domain->cpu != NULL && domain->cpu->sockets > 0 && domain->cpu->dies == 0)
        domain->cpu->dies = 1;
    if (domain->cpu != NULL)
        vq_domain_fill_distances(domain->cpu);
}

static bool has_iothread(const struct vq_domain *domain, uint32_t id)
{
    for (size_t i = 0; i < domain->n_iothread_ids; i++) {
        if (domain->iothread_ids[i]->id == id)
            return true;
    }
    return false;
}

/* Whoever names some threads gets the names of the others as well. */
static void fill_iothreads(struct vq_domain *domain)
{
    if (domain->n_iothread_ids > domain->iothreads)
        domain->iothreads = (uint32_t)domain->n_iothread_ids;
    for (uint32_t id = 1; domain->n_iothread_ids > 0 && domain->n_iothread_ids < domain->iothreads; id++) {
        if (has_iothread(domain, id))
            continue;
        VQ_GROW(domain->iothread_ids, domain->n_iothread_ids);
        domain->iothread_ids[domain->n_iothread_ids] = vq_new(struct vq_iothread);
        domain->iothread_ids[domain->n_iothread_ids++]->id = id;
    }
}

static bool boots_by_device(const struct vq_domain *domain)
{
    const struct vq_devices *devices = &domain->devices;
    bool found = false;

    for (size_t i = 0; i < devices->n_disks; i++)
        found |= devices->disks[i]->info.boot_order > 0;
    for (size_t i = 0; i < devices->n_interfaces; i++)
        found |= devices->interfaces[i]->info.boot_order > 0;
    for (size_t i = 0; i < devices->n_hostdevs; i++)
        found |= devices->hostdevs[i]->info.boot_order > 0;
    for (size_t i = 0; i < devices->n_redirdevs; i++)
        found |= devices->redirdevs[i]->info.boot_order > 0;
    for (size_t i = 0; i < devices->n_filesystems; i++)
        found |= devices->filesystems[i]->info.boot_order > 0;
    return found;
}

/* A distance in seconds that stays is what "variable" means, whatever it is called. */
static void fill_distance(struct vq_clock *clock)
{
    int64_t seconds;

    if ((clock->offset != VQ_CLOCK_UTC && clock->offset != VQ_CLOCK_LOCALTIME) || clock->adjustment == NULL ||
        !vq_parse_i64(clock->adjustment, INT64_MIN, INT64_MAX, &seconds))
        return;
    clock->basis = clock->offset == VQ_CLOCK_UTC ? VQ_CLOCK_BASIS_UTC : VQ_CLOCK_BASIS_LOCALTIME;
    clock->offset = VQ_CLOCK_VARIABLE;
}

static void fill_os(struct vq_domain *domain)
{
    struct vq_os *os = &domain->os;

    if (vq_streq(os->type, "hvm") && os->n_boot == 0 && !boots_by_device(domain)) {
        VQ_GROW(os->boot, os->n_boot);
        os->boot[os->n_boot] = vq_new(struct vq_boot_entry);
        os->boot[os->n_boot++]->dev = VQ_BOOT_HD;
    }
    if (domain->clock.offset == VQ_CLOCK_UNSET)
        domain->clock.offset = VQ_CLOCK_UTC;
    fill_distance(&domain->clock);
    if (domain->clock.offset == VQ_CLOCK_VARIABLE) {
        if (domain->clock.basis == VQ_CLOCK_BASIS_UNSET)
            domain->clock.basis = VQ_CLOCK_BASIS_UTC;
        if (domain->clock.adjustment == NULL)
            domain->clock.adjustment = vq_strdup("0");
    }
    if (domain->on_poweroff == VQ_LIFECYCLE_UNSET)
        domain->on_poweroff = VQ_LIFECYCLE_DESTROY;
    if (domain->on_reboot == VQ_LIFECYCLE_UNSET)
        domain->on_reboot = VQ_LIFECYCLE_RESTART;
    if (domain->on_crash == VQ_LIFECYCLE_UNSET)
        domain->on_crash = VQ_LIFECYCLE_DESTROY;
}

/* ---- disks and controllers, in their order ---- */

/* Move element `from` of a list in front of element `to`. */
static void move_up(void *list, size_t from, size_t to)
{
    void **elements = list;
    void *moved = elements[from];

    memmove(elements + to + 1, elements + to, (from - to) * sizeof(*elements));
    elements[to] = moved;
}

/* Put element n of a list, whose first n are sorted, behind those of its kind that come before it: elements of a kind
 * stand together. order: 0 another kind, -1 the other comes first, 1 it comes later. */
typedef int (*order_fn)(const void *element, const void *other);

static void sort_in(void *list, size_t n, order_fn order)
{
    void *const *elements = list;
    size_t place = n;
    bool is_found = false;

    for (size_t i = n; i-- > 0;) {
        int where = order(elements[n], elements[i]);

        if (where > 0)
            place = i;
        else if (where < 0 && !is_found)
            place = i + 1;
        is_found |= where != 0;
    }
    move_up(list, n, place);
}

static int order_disks(const void *element, const void *other)
{
    const struct vq_disk *disk = element, *there = other;

    if (disk->bus != there->bus)
        return 0;
    return vq_disk_target_index(there->target) > vq_disk_target_index(disk->target) ? 1 : -1;
}

static int order_controllers(const void *element, const void *other)
{
    const struct vq_controller *controller = element, *there = other;

    if (controller->type != there->type)
        return 0;
    return there->index > controller->index ? 1 : -1;
}

/* Disks of one bus in the order of their names, controllers of one type in that of their index: so a definition reads
 * the same whichever way it was put together. */
static void sort_disks(struct vq_devices *devices)
{
    for (size_t n = 1; n < devices->n_disks; n++)
        sort_in(devices->disks, n, order_disks);
}

void vq_domain_sort_controllers(struct vq_domain *domain)
{
    for (size_t n = 1; n < domain->devices.n_controllers; n++)
        sort_in(domain->devices.controllers, n, order_controllers);
}

static bool index_is_taken(const struct vq_devices *devices, enum vq_controller_type type, uint32_t index)
{
    for (size_t i = 0; i < devices->n_controllers; i++) {
        const struct vq_controller *controller = devices->controllers[i];

        if (controller->type == type && controller->has_index && controller->index == index)
            return true;
    }
    return false;
}

/* The lowest free index; a companion of a USB 2 controller has that of the controller it stands behind. lowest: below
 * it no index of the type is free. */
static void fill_controller_index(struct vq_devices *devices, size_t n, uint32_t *lowest)
{
    struct vq_controller *controller = devices->controllers[n];

    if (controller->has_index)
        return;
    if (controller->has_usb_master) {
        for (size_t i = n; i-- > 0 && !controller->has_index;) {
            if (devices->controllers[i]->type != VQ_CONTROLLER_USB)
                continue;
            controller->index = devices->controllers[i]->index;
            controller->has_index = true;
        }
    }
    if (controller->has_index)
        return;
    while (index_is_taken(devices, controller->type, *lowest))
        ++*lowest;
    controller->index = *lowest;
    controller->has_index = true;
}

static void fill_controllers(struct vq_domain *domain)
{
    uint32_t lowest[VQ_CONTROLLER_N] = {0};

    for (size_t i = 0; i < domain->devices.n_controllers; i++)
        fill_controller_index(&domain->devices, i, &lowest[domain->devices.controllers[i]->type]);
    vq_domain_sort_controllers(domain);
}

/* ---- character devices ---- */

static bool number_is_taken(struct vq_port *const *ports, size_t n_ports, uint32_t number)
{
    for (size_t i = 0; i < n_ports; i++) {
        if (ports[i]->has_number && ports[i]->number == number)
            return true;
    }
    return false;
}

/* Give each port without a number the lowest that is free. */
static void number_ports(struct vq_port **ports, size_t n_ports)
{
    uint32_t lowest = 0;

    for (size_t i = 0; i < n_ports; i++) {
        if (ports[i]->has_number)
            continue;
        while (number_is_taken(ports, n_ports, lowest))
            lowest++;
        ports[i]->number = lowest;
        ports[i]->has_number = true;
    }
}

static void append_port(struct vq_port ***ports, size_t *n, struct vq_port *take_port)
{
    VQ_GROW(*ports, *n);
    (*ports)[(*n)++] = take_port;
}

static struct vq_port *serial_console(const struct vq_devices *devices)
{
    for (size_t i = 0; i < devices->n_consoles; i++) {
        if (devices->consoles[i]->target == VQ_PORT_TARGET_SERIAL)
            return devices->consoles[i];
    }
    return NULL;
}

/* A full machine has a console that is its first serial port, seen under another name: each brings the other. */
static void pair_console(struct vq_devices *devices)
{
    struct vq_port *console, *port;

    if (devices->n_consoles > 0 && devices->consoles[0]->target == VQ_PORT_TARGET_UNSET)
        devices->consoles[0]->target = VQ_PORT_TARGET_SERIAL;
    console = serial_console(devices);
    if (console != NULL && devices->n_serials == 0) {
        port = vq_fields_copy(&vq_console_fields, console);
        free(vq_take(port->tty));
        port->target = VQ_PORT_TARGET_UNSET;
        port->has_number = true;
        port->number = 0;
        append_port(&devices->serials, &devices->n_serials, port);
    }
    if (devices->n_serials == 0)
        return;
    if (console == NULL) {
        console = vq_new(struct vq_port);
        append_port(&devices->consoles, &devices->n_consoles, console);
        move_up(devices->consoles, devices->n_consoles - 1, 0);
    }
    port = vq_fields_copy(&vq_serial_fields, devices->serials[0]);
    bool has_number = console->has_number;
    uint32_t number = console->number;
    vq_fields_clear(&vq_console_fields, console);
    *console = (struct vq_port){
        .source = port->source, .target = VQ_PORT_TARGET_SERIAL, .has_number = has_number, .number = number};
    console->info.alias = vq_take(port->info.alias);
    memset(&port->source, 0, sizeof(port->source)); /* moved */
    vq_fields_free(&vq_serial_fields, port);
}

static void fill_sources(struct vq_port *const *ports, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        struct vq_chardev *source = &ports[i]->source;

        if (source->type == VQ_CHARDEV_UNSET)
            source->type = VQ_CHARDEV_PTY;
        vq_domain_fill_chardev(source);
    }
}

static void fill_ports(struct vq_domain *domain)
{
    struct vq_devices *devices = &domain->devices;

    fill_sources(devices->serials, devices->n_serials);
    fill_sources(devices->parallels, devices->n_parallels);
    fill_sources(devices->consoles, devices->n_consoles);
    fill_sources(devices->channels, devices->n_channels);

    if (vq_streq(domain->os.type, "hvm"))
        pair_console(devices);
    for (size_t i = 0; i < devices->n_consoles; i++) {
        if (devices->consoles[i]->target == VQ_PORT_TARGET_UNSET)
            devices->consoles[i]->target = VQ_PORT_TARGET_SERIAL;
    }
    number_ports(devices->serials, devices->n_serials);
    number_ports(devices->parallels, devices->n_parallels);
    number_ports(devices->consoles, devices->n_consoles);
}

/* ---- graphics ---- */

static bool listens_nowhere(const struct vq_graphics *graphics)
{
    return !graphics->has_port && !graphics->has_tls_port && graphics->autoport == VQ_SWITCH_UNSET &&
           graphics->listen == NULL;
}

/* The attribute and the first element of that kind say the same; either brings the other. */
static void fill_listens(struct vq_graphics *graphics)
{
    struct vq_listen *first;

    /* An address that is not one, and no port to listen at: nobody listens. */
    if (graphics->n_listens == 1 && graphics->type == VQ_GRAPHICS_SPICE && listens_nowhere(graphics) &&
        graphics->listens[0]->type == VQ_LISTEN_ADDRESS && graphics->listens[0]->address == NULL)
        graphics->listens[0]->type = VQ_LISTEN_NONE;
    if (graphics->n_listens == 0) {
        VQ_GROW(graphics->listens, graphics->n_listens);
        first = vq_new(struct vq_listen);
        graphics->listens[graphics->n_listens++] = first;
        if (graphics->type == VQ_GRAPHICS_SPICE && listens_nowhere(graphics)) {
            first->type = VQ_LISTEN_NONE;
        } else if (graphics->socket != NULL) {
            first->type = VQ_LISTEN_SOCKET;
            first->socket = vq_strdup(graphics->socket);
        } else {
            first->type = VQ_LISTEN_ADDRESS;
            first->address = vq_strdup(graphics->listen);
        }
    }
    first = graphics->listens[0];
    if (first->type == VQ_LISTEN_ADDRESS && first->address == NULL)
        first->address = vq_strdup(graphics->listen);
    if (first->type == VQ_LISTEN_ADDRESS && graphics->listen == NULL)
        graphics->listen = vq_strdup(first->address);
    if (first->type == VQ_LISTEN_SOCKET && graphics->type == VQ_GRAPHICS_VNC && graphics->socket == NULL)
        graphics->socket = vq_strdup(first->socket);
}

static void fill_ports_of_graphics(struct vq_graphics *graphics)
{
    const struct vq_listen *first = graphics->listens[0];

    if (first->type == VQ_LISTEN_NONE || first->type == VQ_LISTEN_SOCKET) {
        graphics->has_port = graphics->has_tls_port = false;
        graphics->autoport = VQ_SWITCH_UNSET;
        return;
    }
    if (graphics->type == VQ_GRAPHICS_SPICE) {
        bool is_open =
            (graphics->has_port && graphics->port == -1) || (graphics->has_tls_port && graphics->tls_port == -1);
        bool is_fixed =
            (graphics->has_port && graphics->port != -1) || (graphics->has_tls_port && graphics->tls_port != -1);

        if (graphics->autoport == VQ_SWITCH_UNSET)
            graphics->autoport = is_open && !is_fixed ? VQ_SWITCH_ON : VQ_SWITCH_OFF;
        if (graphics->autoport == VQ_SWITCH_ON)
            graphics->has_port = graphics->has_tls_port = false;
        return;
    }
    if (graphics->autoport == VQ_SWITCH_ON || !graphics->has_port || graphics->port <= 0) {
        graphics->port = -1;
        graphics->has_port = true;
        graphics->autoport = VQ_SWITCH_ON;
    } else {
        graphics->autoport = VQ_SWITCH_OFF;
    }
}

static void fill_graphics(struct vq_graphics *graphics)
{
    if (graphics->type != VQ_GRAPHICS_VNC && graphics->type != VQ_GRAPHICS_SPICE && graphics->type != VQ_GRAPHICS_RDP)
        return;
    if (graphics->websocket == 0)
        graphics->has_websocket = false;
    if (graphics->has_websocket && graphics->websocket == -1)
        graphics->websocket_generated = true;
    fill_listens(graphics);
    fill_ports_of_graphics(graphics);
}

static void fill_seclabel(struct vq_seclabel *label)
{
    if (label->type == VQ_SECLABEL_UNSET)
        label->type = VQ_SECLABEL_DYNAMIC;
    if (label->relabel == VQ_SWITCH_UNSET && label->type != VQ_SECLABEL_NONE)
        label->relabel = label->type == VQ_SECLABEL_DYNAMIC ? VQ_SWITCH_ON : VQ_SWITCH_OFF;
}

static int fill_devices(struct vq_domain *domain, const struct vq_domain_fill *fill, struct vq_error *err)
{
    struct vq_devices *devices = &domain->devices;

    for (size_t i = 0; i < devices->n_disks; i++) {
        if (vq_domain_fill_disk(devices->disks[i], err) < 0)
            return -1;
    }
    sort_disks(devices);
    fill_controllers(domain);
    for (size_t i = 0; i < devices->n_graphics; i++)
        fill_graphics(devices->graphics[i]);
    fill_ports(domain);
    vq_domain_fill_devices(domain, fill);
    for (size_t i = 0; i < domain->n_seclabels; i++)
        fill_seclabel(domain->seclabels[i]);
    return 0;
}

int vq_domain_fill(struct vq_domain *domain, const struct vq_domain_fill *fill, struct vq_error *err)
{
    if (vq_domain_check_names(domain, err) < 0)
        return -1;
    fill_uuid(domain, fill);
    if (fill_memory(domain, err) < 0)
        return -1;
    fill_vcpus(domain);
    fill_iothreads(domain);
    fill_os(domain);
    if (fill_devices(domain, fill, err) < 0)
        return -1;
    return vq_domain_check(domain, err);
}
