/* Character devices on the command line: host sides, and the ports that guests see of them. */
#define VQ_FROM VIR_FROM_QEMU
#include <stdio.h>
#include <string.h>

#include "conf/base/text.h"
#include "conf/device_fields.h"
#include "drivers/qemu/command_priv.h"

/* ---- Host sides ---- */

static void add_option(struct vq_buffer *buffer, const char *key, const char *value)
{
    if (value == NULL)
        return;
    vq_buffer_addf(buffer, ",%s=", key);
    vq_qemu_add_value(buffer, value);
}

static bool wants_tls(const struct vq_chardev *source)
{
    return source->type == VQ_CHARDEV_TCP && (source->tls == VQ_SWITCH_ON || vq_streq(source->protocol, "tls"));
}

static void write_tls(struct vq_qemu_writer *writer, const struct vq_chardev *source, const char *id)
{
    const char *dir = writer->launch->chardev_tls_dir;
    bool is_server = source->mode == VQ_CHARDEV_BIND;

    vq_qemu_arg_json(writer, "-object",
                     json_pack("{s:s, s:s, s:s, s:s, s:b}", "qom-type", "tls-creds-x509", "id", id, "dir",
                               dir != NULL ? dir : "/etc/pki/qemu", "endpoint", is_server ? "server" : "client",
                               "verify-peer", !is_server || writer->launch->chardev_tls_verify));
}

static int add_socket(struct vq_qemu_writer *writer, struct vq_buffer *buffer, const struct vq_chardev *source,
                      const char *alias, struct vq_error *err)
{
    char tls[160];

    if (vq_streq(source->protocol, "telnets"))
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "device '%s': protocol 'telnets' is not supported by QEMU", alias);
    (void)snprintf(tls, sizeof(tls), "objchar%s_tls0", alias);
    if (source->type == VQ_CHARDEV_UNIX) {
        add_option(buffer, "path", source->path);
    } else {
        add_option(buffer, "host", source->host == NULL ? "" : source->host);
        add_option(buffer, "port", source->service);
        if (vq_streq(source->protocol, "telnet"))
            vq_buffer_add(buffer, ",telnet=on");
    }
    if (source->mode == VQ_CHARDEV_BIND)
        vq_buffer_add(buffer, ",server=on,wait=off");
    else if (source->reconnect.enabled != VQ_SWITCH_UNSET)
        vq_buffer_addf(buffer, ",reconnect=%u",
                       source->reconnect.enabled == VQ_SWITCH_ON ? source->reconnect.timeout_s : 0);
    if (wants_tls(source)) {
        write_tls(writer, source, tls);
        add_option(buffer, "tls-creds", tls);
    }
    return 0;
}

static void add_udp(struct vq_buffer *buffer, const struct vq_chardev *source)
{
    for (size_t i = 0; i < source->n_ends; i++) {
        bool is_local = source->ends[i]->mode == VQ_CHARDEV_BIND;
        add_option(buffer, is_local ? "localaddr" : "host", source->ends[i]->host);
        add_option(buffer, is_local ? "localport" : "port", source->ends[i]->service);
    }
}

int vq_qemu_write_chardev(struct vq_qemu_writer *writer, const struct vq_chardev *source, const char *alias,
                          struct vq_error *err)
{
    static const char *const backends[VQ_CHARDEV_N] = {
        [VQ_CHARDEV_NULL] = "null",       [VQ_CHARDEV_VC] = "vc",           [VQ_CHARDEV_PTY] = "pty",
        [VQ_CHARDEV_DEV] = "serial",      [VQ_CHARDEV_FILE] = "file",       [VQ_CHARDEV_PIPE] = "pipe",
        [VQ_CHARDEV_STDIO] = "stdio",     [VQ_CHARDEV_UDP] = "udp",         [VQ_CHARDEV_TCP] = "socket",
        [VQ_CHARDEV_UNIX] = "socket",     [VQ_CHARDEV_SPICEVMC] = "spicevmc", [VQ_CHARDEV_SPICEPORT] = "spiceport",
        [VQ_CHARDEV_QEMU_VDAGENT] = "qemu-vdagent", [VQ_CHARDEV_DBUS] = "dbus",
    };
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;

    if (source->type >= VQ_CHARDEV_N || backends[source->type] == NULL)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "device '%s': unsupported chardev '%s'", alias,
                            source->type < VQ_CHARDEV_N ? vq_chardev_type_names[source->type] : "?");
    vq_buffer_addf(&value, "%s,id=char%s", backends[source->type], alias);
    switch (source->type) {
    case VQ_CHARDEV_DEV:
    case VQ_CHARDEV_PIPE:
        add_option(&value, "path", source->path);
        break;
    case VQ_CHARDEV_FILE:
        add_option(&value, "path", source->path);
        if (source->append != VQ_SWITCH_UNSET)
            vq_buffer_addf(&value, ",append=%s", source->append == VQ_SWITCH_ON ? "on" : "off");
        break;
    case VQ_CHARDEV_UDP:
        add_udp(&value, source);
        break;
    case VQ_CHARDEV_TCP:
    case VQ_CHARDEV_UNIX:
        if (add_socket(writer, &value, source, alias, err) < 0)
            return -1;
        break;
    case VQ_CHARDEV_SPICEVMC:
        vq_buffer_add(&value, ",name=vdagent");
        break;
    case VQ_CHARDEV_SPICEPORT:
    case VQ_CHARDEV_DBUS:
        add_option(&value, "name", source->channel);
        break;
    case VQ_CHARDEV_QEMU_VDAGENT:
        vq_buffer_add(&value, ",name=vdagent");
        if (source->clipboard != VQ_SWITCH_UNSET)
            vq_buffer_addf(&value, ",clipboard=%s", source->clipboard == VQ_SWITCH_ON ? "on" : "off");
        if (source->mouse != NULL)
            vq_buffer_addf(&value, ",mouse=%s", strcmp(source->mouse, "client") == 0 ? "on" : "off");
        break;
    default:
        break;
    }
    if (source->log_file != NULL) {
        add_option(&value, "logfile", source->log_file);
        vq_buffer_addf(&value, ",logappend=%s", source->log_append == VQ_SWITCH_ON ? "on" : "off");
    }
    vq_qemu_arg_buffer(writer, "-chardev", &value);
    return 0;
}

/* ---- Serial ports, consoles, channels ---- */

static int write_serial(struct vq_qemu_writer *writer, const struct vq_port *serial, struct vq_error *err)
{
    char chardev[160];

    if (vq_qemu_write_chardev(writer, &serial->source, serial->info.alias, err) < 0)
        return -1;
    (void)snprintf(chardev, sizeof(chardev), "char%s", serial->info.alias);
    if (serial->target == VQ_PORT_TARGET_SYSTEM_SERIAL) { /* part of the board: the old option wires it up */
        VQ_AUTOBUFFER value = VQ_BUFFER_INIT;
        vq_buffer_addf(&value, "chardev:%s", chardev);
        vq_qemu_arg_buffer(writer, "-serial", &value);
        return 0;
    }
    if (serial->target_model == NULL)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "serial port '%s': unsupported target", serial->info.alias);
    json_t *device = vq_qemu_device_new(writer, serial->target_model, &serial->info);
    vq_qemu_json_text(device, "chardev", chardev);
    if (serial->target == VQ_PORT_TARGET_ISA_SERIAL && serial->has_number)
        vq_qemu_json_number(device, "index", serial->number);
    vq_qemu_arg_json(writer, "-device", device);
    return 0;
}

static int write_parallel(struct vq_qemu_writer *writer, const struct vq_port *parallel, struct vq_error *err)
{
    char chardev[160];

    if (vq_qemu_write_chardev(writer, &parallel->source, parallel->info.alias, err) < 0)
        return -1;
    (void)snprintf(chardev, sizeof(chardev), "char%s", parallel->info.alias);
    json_t *device = vq_qemu_device_new(writer, "isa-parallel", &parallel->info);
    vq_qemu_json_text(device, "chardev", chardev);
    vq_qemu_arg_json(writer, "-device", device);
    return 0;
}

static int write_virtio_port(struct vq_qemu_writer *writer, const struct vq_port *port, const char *driver,
                             struct vq_error *err)
{
    char chardev[160];

    if (vq_qemu_write_chardev(writer, &port->source, port->info.alias, err) < 0)
        return -1;
    (void)snprintf(chardev, sizeof(chardev), "char%s", port->info.alias);
    json_t *device = vq_qemu_device_new(writer, driver, &port->info);
    vq_qemu_json_text(device, "chardev", chardev);
    vq_qemu_json_text(device, "name", port->name != NULL                            ? port->name
                                      : port->source.type == VQ_CHARDEV_SPICEVMC ? "com.redhat.spice.0"
                                                                                 : NULL);
    vq_qemu_arg_json(writer, "-device", device);
    return 0;
}

/* What a user-mode network sends to this address goes to the host side. */
static int write_guest_forward(struct vq_qemu_writer *writer, const struct vq_port *channel, struct vq_error *err)
{
    VQ_AUTOBUFFER rule = VQ_BUFFER_INIT;

    if (channel->address == NULL || channel->port == NULL)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "channel '%s': guestfwd channel needs an address and a port",
                            channel->info.alias);
    if (vq_qemu_write_chardev(writer, &channel->source, channel->info.alias, err) < 0)
        return -1;
    vq_buffer_addf(&rule, "tcp:%s:%s-chardev:char%s", channel->address, channel->port, channel->info.alias);
    vq_qemu_arg_json(writer, "-netdev", json_pack("{s:s, s:[{s:s}], s:s}", "type", "user", "guestfwd", "str", rule.data,
                                                  "id", channel->info.alias));
    return 0;
}

static int write_channel(struct vq_qemu_writer *writer, const struct vq_port *channel, struct vq_error *err)
{
    switch (channel->target) {
    case VQ_PORT_TARGET_VIRTIO:
        return write_virtio_port(writer, channel, "virtserialport", err);
    case VQ_PORT_TARGET_GUESTFWD:
        return write_guest_forward(writer, channel, err);
    default:
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "channel '%s': QEMU has target types 'virtio' and 'guestfwd'",
                            channel->info.alias);
    }
}

int vq_qemu_write_ports(struct vq_qemu_writer *writer, struct vq_error *err)
{
    const struct vq_devices *devices = &writer->def->devices;

    for (size_t i = 0; i < devices->n_serials; i++)
        if (write_serial(writer, devices->serials[i], err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_parallels; i++)
        if (write_parallel(writer, devices->parallels[i], err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_channels; i++)
        if (write_channel(writer, devices->channels[i], err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_consoles; i++)
        if (devices->consoles[i]->target == VQ_PORT_TARGET_VIRTIO &&
            write_virtio_port(writer, devices->consoles[i], "virtconsole", err) < 0)
            return -1;
    return 0;
}
