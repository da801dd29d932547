/* Ports of displays and of migrations: see ports.h. A port is taken when a guest of ours has it or when it cannot be bound. */
#define VQ_FROM VIR_FROM_QEMU

#include "drivers/qemu/ports.h"

#include <netinet/in.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "conf/domain.h"
#include "drivers/qemu/guest.h"


static bool is_reserved(const struct vq_qemu *qemu, uint16_t port)
{
    for (const struct vq_qemu_guest *guest = qemu->guests; guest != NULL; guest = guest->next)
        for (size_t i = 0; i < guest->n_ports; i++)
            if (guest->ports[i] == port)
                return true;
    return false;
}

static bool can_bind(uint16_t port)
{
    struct sockaddr_in6 any = { .sin6_family = AF_INET6, .sin6_port = htons(port), .sin6_addr = IN6ADDR_ANY_INIT };
    struct sockaddr_in any4 = { .sin_family = AF_INET, .sin_port = htons(port) };
    int fd = socket(AF_INET6, SOCK_STREAM | SOCK_CLOEXEC, 0), yes = 1, no = 0, rc;

    if (fd >= 0) {
        (void)setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &no, sizeof(no));
        (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
        rc = bind(fd, (struct sockaddr *)&any, sizeof(any));
        (void)close(fd);
        if (rc == 0)
            return true;
    }
    if (fd >= 0 && access("/proc/net/if_inet6", F_OK) == 0)
        return false; /* taken; without IPv6 only the other family can tell */
    fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    (void)setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &yes, sizeof(yes));
    rc = bind(fd, (struct sockaddr *)&any4, sizeof(any4));
    (void)close(fd);
    return rc == 0;
}

static int take_port(struct vq_qemu_guest *guest, uint16_t port, struct vq_error *err)
{
    if (guest->n_ports == VQ_GUEST_PORTS_MAX)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "more than %d ports", VQ_GUEST_PORTS_MAX);
    guest->ports[guest->n_ports++] = port;
    return 0;
}

static int choose_port(struct vq_qemu_guest *guest, uint32_t min, uint32_t max, const char *use, int32_t *ret_port,
                       struct vq_error *err)
{
    for (uint32_t port = min; port <= max; port++) {
        if (is_reserved(guest->qemu, (uint16_t)port) || !can_bind((uint16_t)port))
            continue;
        if (take_port(guest, (uint16_t)port, err) < 0)
            return -1;
        *ret_port = (int32_t)port;
        return 0;
    }
    return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "no free port for %s between %u and %u", use, min, max);
}

static bool listens_on_network(const struct vq_graphics *graphics)
{
    if (graphics->socket != NULL)
        return false;
    for (size_t i = 0; i < graphics->n_listens; i++)
        if (graphics->listens[i]->type == VQ_LISTEN_SOCKET || graphics->listens[i]->type == VQ_LISTEN_NONE)
            return false;
    return graphics->type == VQ_GRAPHICS_VNC || graphics->type == VQ_GRAPHICS_SPICE;
}

/* Where nothing is said about the address, the run shows what the configuration says. */
static void show_address(struct vq_graphics *graphics, const struct vq_qemu_settings *settings)
{
    const char *address = graphics->type == VQ_GRAPHICS_VNC ? settings->vnc.listen : settings->spice.listen;

    for (size_t i = 0; i < graphics->n_listens; i++)
        if (graphics->listens[i]->type == VQ_LISTEN_ADDRESS && graphics->listens[i]->address == NULL && address != NULL)
            graphics->listens[i]->address = vq_strdup(address);
    if (graphics->listen == NULL && graphics->n_listens > 0 && graphics->listens[0]->address != NULL)
        graphics->listen = vq_strdup(graphics->listens[0]->address);
}

int vq_qemu_ports_reserve(struct vq_qemu_guest *guest, struct vq_error *err)
{
    const struct vq_qemu_settings *settings = &guest->qemu->settings;

    for (size_t i = 0; i < guest->live->devices.n_graphics; i++) {
        struct vq_graphics *graphics = guest->live->devices.graphics[i];
        bool is_chosen = graphics->autoport == VQ_SWITCH_ON || !graphics->has_port || graphics->port <= 0;

        if (!listens_on_network(graphics))
            continue;
        show_address(graphics, settings);
        if (is_chosen) {
            if (choose_port(guest, settings->remote_display_port_min, settings->remote_display_port_max, "a display",
                            &graphics->port, err) < 0)
                return -1;
            graphics->has_port = true;
        } else if (take_port(guest, (uint16_t)graphics->port, err) < 0) {
            return -1;
        }
        if (graphics->has_websocket && graphics->websocket < 0 &&
            choose_port(guest, settings->remote_websocket_port_min, settings->remote_websocket_port_max, "a display",
                        &graphics->websocket, err) < 0)
            return -1;
    }
    return 0;
}

int vq_qemu_ports_take_for_migration(struct vq_qemu_guest *guest, uint16_t *ret_port, struct vq_error *err)
{
    const struct vq_qemu_settings *settings = &guest->qemu->settings;
    int32_t port;

    if (choose_port(guest, settings->migration_port_min, settings->migration_port_max, "a migration", &port, err) < 0)
        return -1;
    *ret_port = (uint16_t)port;
    return 0;
}

static bool is_displays(const struct vq_qemu_guest *guest, uint16_t port)
{
    for (size_t i = 0; guest->live != NULL && i < guest->live->devices.n_graphics; i++) {
        const struct vq_graphics *graphics = guest->live->devices.graphics[i];

        if (graphics->port == port || graphics->tls_port == port || graphics->websocket == port)
            return true;
    }
    return false;
}

void vq_qemu_ports_keep_displays(struct vq_qemu_guest *guest)
{
    size_t n = 0;

    for (size_t i = 0; i < guest->n_ports; i++)
        if (is_displays(guest, guest->ports[i]))
            guest->ports[n++] = guest->ports[i];
    guest->n_ports = n;
}
