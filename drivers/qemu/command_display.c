/* Graphics and video on the command line. */
#define VQ_FROM VIR_FROM_QEMU
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conf/base/text.h"
#include "drivers/qemu/command_priv.h"
#include "drivers/qemu/devices.h"

/* ---- Graphics ---- */

static const char *listen_address(const struct vq_graphics *graphics)
{
    for (size_t i = 0; i < graphics->n_listens; i++)
        if ((graphics->listens[i]->type == VQ_LISTEN_ADDRESS || graphics->listens[i]->type == VQ_LISTEN_NETWORK) &&
            graphics->listens[i]->address != NULL)
            return graphics->listens[i]->address;
    return graphics->listen != NULL ? graphics->listen : "127.0.0.1";
}

static const char *listen_socket(const struct vq_graphics *graphics)
{
    for (size_t i = 0; i < graphics->n_listens; i++)
        if (graphics->listens[i]->type == VQ_LISTEN_SOCKET)
            return graphics->listens[i]->socket;
    return graphics->socket;
}

static bool listens_nowhere(const struct vq_graphics *graphics)
{
    return graphics->n_listens > 0 && graphics->listens[0]->type == VQ_LISTEN_NONE;
}

static void add_bracketed(struct vq_buffer *buffer, const char *address)
{
    bool is_v6 = strchr(address, ':') != NULL;

    vq_buffer_add(buffer, is_v6 ? "[" : "");
    vq_qemu_add_value(buffer, address);
    vq_buffer_add(buffer, is_v6 ? "]" : "");
}

static int write_vnc(struct vq_qemu_writer *writer, const struct vq_graphics *graphics, struct vq_error *err)
{
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;
    char audio[32];

    if (listens_nowhere(graphics)) {
        vq_buffer_add(&value, "none");
    } else if (listen_socket(graphics) != NULL) {
        vq_buffer_add(&value, "unix:");
        vq_qemu_add_value(&value, listen_socket(graphics));
    } else {
        if (!graphics->has_port || graphics->port < 5900 || graphics->port > 65535)
            return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "vnc display without a port");
        add_bracketed(&value, listen_address(graphics));
        vq_buffer_addf(&value, ":%d", graphics->port - 5900);
        if (graphics->has_websocket && graphics->websocket > 0)
            vq_buffer_addf(&value, ",websocket=%d", graphics->websocket);
    }
    if (writer->launch->vnc_tls_dir != NULL) {
        vq_qemu_arg_json(writer, "-object", json_pack("{s:s, s:s, s:s, s:s, s:b}", "qom-type", "tls-creds-x509", "id",
                                                      "vnc-tls-creds0", "dir", writer->launch->vnc_tls_dir, "endpoint",
                                                      "server", "verify-peer", writer->launch->vnc_tls_verify));
        vq_buffer_add(&value, ",tls-creds=vnc-tls-creds0");
    }
    if (graphics->share_policy != NULL) {
        vq_buffer_add(&value, ",share=");
        vq_qemu_add_value(&value, graphics->share_policy);
    }
    if (graphics->password != NULL) /* the password itself is set over QMP and never on a command line */
        vq_buffer_add(&value, ",password=on");
    if (graphics->power_control != VQ_SWITCH_UNSET)
        vq_buffer_addf(&value, ",power-control=%s", graphics->power_control == VQ_SWITCH_ON ? "on" : "off");
    const char *audiodev = vq_qemu_audio_of(writer->def, graphics->audio_id, audio, sizeof(audio));
    if (audiodev != NULL)
        vq_buffer_addf(&value, ",audiodev=%s", audiodev);
    vq_qemu_arg_buffer(writer, "-vnc", &value);
    if (graphics->keymap != NULL)
        vq_qemu_arg_pair(writer, "-k", graphics->keymap);
    return 0;
}

static void add_option(struct vq_buffer *value, const char *key, const char *setting)
{
    if (setting == NULL)
        return;
    vq_buffer_addf(value, ",%s=", key);
    vq_qemu_add_value(value, setting);
}

static int write_spice(struct vq_qemu_writer *writer, const struct vq_graphics *graphics, struct vq_error *err)
{
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;

    if (listens_nowhere(graphics)) {
        vq_buffer_add(&value, "port=0");
    } else if (listen_socket(graphics) != NULL) {
        vq_buffer_add(&value, "unix=on,addr=");
        vq_qemu_add_value(&value, listen_socket(graphics));
    } else {
        if (!graphics->has_port || graphics->port <= 0)
            return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "spice display without a port");
        vq_buffer_addf(&value, "port=%d", graphics->port);
        if (graphics->has_tls_port && graphics->tls_port > 0) {
            vq_buffer_addf(&value, ",tls-port=%d", graphics->tls_port);
            add_option(&value, "x509-dir", writer->launch->spice_tls_dir);
        }
        add_option(&value, "addr", listen_address(graphics));
    }
    if (graphics->password == NULL)
        vq_buffer_add(&value, ",disable-ticketing=on");
    if (vq_streq(graphics->default_mode, "secure"))
        vq_buffer_add(&value, ",tls-channel=default");
    else if (vq_streq(graphics->default_mode, "insecure"))
        vq_buffer_add(&value, ",plaintext-channel=default");
    for (size_t i = 0; i < graphics->n_channels; i++) {
        if (vq_streq(graphics->channels[i]->mode, "secure"))
            add_option(&value, "tls-channel", graphics->channels[i]->name);
        else if (vq_streq(graphics->channels[i]->mode, "insecure"))
            add_option(&value, "plaintext-channel", graphics->channels[i]->name);
    }
    add_option(&value, "image-compression", graphics->image_compression);
    add_option(&value, "jpeg-wan-compression", graphics->jpeg_compression);
    add_option(&value, "zlib-glz-wan-compression", graphics->zlib_compression);
    add_option(&value, "streaming-video", graphics->streaming_mode);
    if (graphics->playback_compression != VQ_SWITCH_UNSET)
        add_option(&value, "playback-compression", graphics->playback_compression == VQ_SWITCH_ON ? "on" : "off");
    if (vq_streq(graphics->mouse_mode, "server"))
        vq_buffer_add(&value, ",agent-mouse=off");
    if (graphics->clipboard_copypaste == VQ_SWITCH_OFF)
        vq_buffer_add(&value, ",disable-copy-paste=on");
    if (graphics->filetransfer == VQ_SWITCH_OFF)
        vq_buffer_add(&value, ",disable-agent-file-xfer=on");
    if (graphics->gl == VQ_SWITCH_ON) {
        vq_buffer_add(&value, ",gl=on");
        add_option(&value, "rendernode", graphics->gl_rendernode);
    }
    vq_buffer_add(&value, ",seamless-migration=on");
    vq_qemu_arg_buffer(writer, "-spice", &value);
    if (graphics->keymap != NULL)
        vq_qemu_arg_pair(writer, "-k", graphics->keymap);
    return 0;
}

static void write_egl(struct vq_qemu_writer *writer, const struct vq_graphics *graphics)
{
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;

    vq_buffer_add(&value, "egl-headless");
    add_option(&value, "rendernode", graphics->gl_rendernode);
    vq_qemu_arg_buffer(writer, "-display", &value);
}

static void write_sdl(struct vq_qemu_writer *writer, const struct vq_graphics *graphics)
{
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;

    if (graphics->fullscreen == VQ_SWITCH_ON)
        vq_qemu_arg(writer, "-full-screen");
    vq_buffer_add(&value, "sdl");
    vq_qemu_add_switch(&value, "gl", graphics->gl);
    vq_qemu_arg_buffer(writer, "-display", &value);
}

static int write_dbus(struct vq_qemu_writer *writer, const struct vq_graphics *graphics, struct vq_error *err)
{
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;
    char audio[32];

    vq_buffer_add(&value, "dbus");
    if (graphics->dbus_p2p == VQ_SWITCH_ON)
        vq_buffer_add(&value, ",p2p=on");
    else if (graphics->dbus_address != NULL)
        add_option(&value, "addr", graphics->dbus_address);
    else
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "a dbus display needs p2p='yes' or the address of a bus");
    vq_qemu_add_switch(&value, "gl", graphics->gl);
    add_option(&value, "rendernode", graphics->gl_rendernode);
    if (graphics->audio_id != 0)
        add_option(&value, "audiodev", vq_qemu_audio_of(writer->def, graphics->audio_id, audio, sizeof(audio)));
    vq_qemu_arg_buffer(writer, "-display", &value);
    return 0;
}

static int write_graphics(struct vq_qemu_writer *writer, const struct vq_graphics *graphics, struct vq_error *err)
{
    switch (graphics->type) {
    case VQ_GRAPHICS_VNC:
        return write_vnc(writer, graphics, err);
    case VQ_GRAPHICS_SPICE:
        return write_spice(writer, graphics, err);
    case VQ_GRAPHICS_EGL_HEADLESS:
        write_egl(writer, graphics);
        return 0;
    case VQ_GRAPHICS_SDL:
        write_sdl(writer, graphics);
        return 0;
    case VQ_GRAPHICS_DBUS:
        return write_dbus(writer, graphics, err);
    default:
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "%s graphics are not supported with this QEMU",
                            graphics->type == VQ_GRAPHICS_RDP ? "rdp" : "desktop");
    }
}

/* Windows of the host find it by their environment; the password file of X is the user's. */
void vq_qemu_display_environment(struct vq_qemu_writer *writer)
{
    const struct vq_devices *devices = &writer->def->devices;

    for (size_t i = 0; i < devices->n_graphics; i++) {
        if (devices->graphics[i]->type != VQ_GRAPHICS_SDL)
            continue;
        if (devices->graphics[i]->xauth != NULL)
            vq_qemu_environment(writer, "XAUTHORITY", devices->graphics[i]->xauth);
        if (devices->graphics[i]->display != NULL)
            vq_qemu_environment(writer, "DISPLAY", devices->graphics[i]->display);
    }
    for (size_t i = 0; i < devices->n_audios; i++)
        if (vq_streq(devices->audios[i]->type, "sdl") && devices->audios[i]->driver != NULL)
            vq_qemu_environment(writer, "SDL_AUDIODRIVER", devices->audios[i]->driver);
}

/* ---- Video ---- */

static const char *video_device(const struct vq_video *video, bool is_primary)
{
    static const struct {
        const char *model, *primary, *secondary;
    } table[] = {{"vga", "VGA", NULL},         {"cirrus", "cirrus-vga", NULL},
                 {"vmvga", "vmware-svga", NULL}, {"qxl", "qxl-vga", "qxl"},
                 {"virtio", "virtio-vga", "virtio-gpu-pci"}, {"bochs", "bochs-display", NULL},
                 {"ramfb", "ramfb", NULL}};

    for (size_t i = 0; i < VQ_N_ELEMENTS(table); i++)
        if (vq_streq(table[i].model, video->model))
            return is_primary ? table[i].primary : table[i].secondary;
    return NULL;
}

static int write_video(struct vq_qemu_writer *writer, const struct vq_video *video, bool is_first, struct vq_error *err)
{
    bool is_pc = vq_streq(writer->def->os.arch, "x86_64") || vq_streq(writer->def->os.arch, "i686");
    const char *driver = video_device(video, is_first && (is_pc || !vq_streq(video->model, "virtio")));

    if (vq_streq(video->model, "none"))
        return 0;
    if (driver == NULL)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "video model '%s' is not supported%s", video->model,
                            is_first ? "" : " as a second card");
    if (video->accel3d == VQ_SWITCH_ON && strncmp(driver, "virtio-", 7) == 0)
        driver = strcmp(driver, "virtio-vga") == 0 ? "virtio-vga-gl" : "virtio-gpu-gl-pci";
    json_t *device = vq_qemu_device_new(writer, driver, &video->info);
    if (vq_streq(video->model, "virtio")) {
        vq_qemu_json_number(device, "max_outputs", video->heads == 0 ? 1 : video->heads);
        vq_qemu_json_bool(device, "blob", video->blob);
        vq_qemu_json_virtio(device, &video->virtio);
    } else if (vq_streq(video->model, "qxl")) {
        vq_qemu_json_number(device, "max_outputs", video->heads == 0 ? 1 : video->heads);
        vq_qemu_json_number(device, "ram_size", (uint64_t)video->ram_kib * 1024);
        vq_qemu_json_number(device, "vram_size", (uint64_t)video->vram_kib * 1024);
        if (video->vram64_kib != 0)
            vq_qemu_json_number(device, "vram64_size_mb", video->vram64_kib / 1024);
        vq_qemu_json_number(device, "vgamem_mb", video->vgamem_kib / 1024);
    } else if (video->vram_kib != 0 && (vq_streq(video->model, "vga") || vq_streq(video->model, "vmvga"))) {
        vq_qemu_json_number(device, "vgamem_mb", video->vram_kib / 1024);
    } else if (video->vram_kib != 0 && vq_streq(video->model, "bochs")) {
        vq_qemu_json_number(device, "vgamem", (uint64_t)video->vram_kib * 1024);
    }
    if (video->resolution_x != 0 && video->resolution_y != 0) {
        vq_qemu_json_number(device, "xres", video->resolution_x);
        vq_qemu_json_number(device, "yres", video->resolution_y);
    }
    vq_qemu_arg_json(writer, "-device", device);
    return 0;
}

/* What QEMU, or this host, has no way to show. */
static int check_graphics(const struct vq_qemu_writer *writer, struct vq_error *err)
{
    const struct vq_devices *devices = &writer->def->devices;
    unsigned counts[VQ_GRAPHICS_N] = {0};

    for (size_t i = 0; i < devices->n_graphics; i++) {
        const struct vq_graphics *graphics = devices->graphics[i];
        if (++counts[graphics->type < VQ_GRAPHICS_N ? graphics->type : 0] > 1)
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "only 1 graphics device of each type (sdl, vnc, spice, "
                                "headless, dbus) is supported");
        if (graphics->type != VQ_GRAPHICS_SPICE || writer->launch->spice_tls_dir != NULL)
            continue;
        if (graphics->has_tls_port && graphics->tls_port > 0)
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "spice TLS port set in XML configuration, but TLS is "
                                "disabled in qemu.conf");
        if (vq_streq(graphics->default_mode, "secure"))
            return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "spice defaultMode secure requested in XML configuration, "
                                "but TLS is disabled in qemu.conf");
        for (size_t k = 0; k < graphics->n_channels; k++)
            if (vq_streq(graphics->channels[k]->mode, "secure"))
                return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "spice secure channels set in XML configuration, but "
                                    "TLS is disabled in qemu.conf");
    }
    return 0;
}

int vq_qemu_write_displays(struct vq_qemu_writer *writer, struct vq_error *err)
{
    const struct vq_devices *devices = &writer->def->devices;

    if (check_graphics(writer, err) < 0 || vq_qemu_write_audios(writer, err) < 0)
        return -1;
    for (size_t i = 0; i < devices->n_graphics; i++)
        if (write_graphics(writer, devices->graphics[i], err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_videos; i++)
        if (write_video(writer, devices->videos[i], i == 0, err) < 0)
            return -1;
    return vq_qemu_write_sounds(writer, err);
}
