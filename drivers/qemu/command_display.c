/* Graphics, video, sound and audio on the command line. */
#define VQ_FROM VIR_FROM_QEMU
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conf/base/text.h"
#include "drivers/qemu/command_priv.h"
#include "drivers/qemu/devices.h"

/* ---- Audio back ends ---- */

static int write_audio(struct vq_qemu_writer *writer, const struct vq_audio *audio, struct vq_error *err)
{
    static const struct {
        const char *type, *driver;
    } drivers[] = {{"none", "none"}, {"spice", "spice"}, {"alsa", "alsa"}, {"pulseaudio", "pa"}, {"oss", "oss"},
                   {"jack", "jack"}, {"file", "wav"}, {"dbus", "dbus"}};
    char id[32];

    (void)snprintf(id, sizeof(id), "audio%u", audio->id);
    for (size_t i = 0; i < VQ_N_ELEMENTS(drivers); i++) {
        if (!vq_streq(drivers[i].type, audio->type))
            continue;
        json_t *object = json_pack("{s:s, s:s}", "id", id, "driver", drivers[i].driver);
        vq_qemu_json_text(object, "path", audio->path);
        vq_qemu_json_text(object, "server", audio->server_name);
        vq_qemu_arg_json(writer, "-audiodev", object);
        return 0;
    }
    return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "audio type '%s' is not supported", audio->type);
}

static const char *audio_of(const struct vq_domain *def, uint32_t audio_id, char *buffer, size_t size)
{
    uint32_t id = audio_id != 0 ? audio_id : def->devices.n_audios > 0 ? def->devices.audios[0]->id : 0;

    if (id == 0)
        return NULL;
    (void)snprintf(buffer, size, "audio%u", id);
    return buffer;
}

static int write_sound(struct vq_qemu_writer *writer, const struct vq_sound *sound, struct vq_error *err)
{
    static const struct {
        const char *model, *device;
    } devices[] = {{"ich9", "ich9-intel-hda"}, {"ich6", "intel-hda"}, {"ac97", "AC97"}, {"es1370", "ES1370"},
                   {"usb", "usb-audio"}, {"sb16", "sb16"}};
    const char *driver = NULL;
    char audio[32], bus[160], codec_id[192];

    for (size_t i = 0; i < VQ_N_ELEMENTS(devices); i++)
        if (vq_streq(devices[i].model, sound->model))
            driver = devices[i].device;
    if (driver == NULL)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "sound card model '%s' is not supported", sound->model);
    json_t *device = vq_qemu_device_new(writer, driver, &sound->info);
    if (!vq_qemu_sound_has_codec(sound)) {
        vq_qemu_json_text(device, "audiodev", audio_of(writer->def, sound->audio_id, audio, sizeof(audio)));
        vq_qemu_arg_json(writer, "-device", device);
        return 0;
    }
    vq_qemu_arg_json(writer, "-device", device);
    (void)snprintf(bus, sizeof(bus), "%s.0", sound->info.alias);
    for (size_t i = 0; i < (sound->n_codecs == 0 ? 1 : sound->n_codecs); i++) {
        const char *type = sound->n_codecs == 0 ? "duplex" : sound->codecs[i]->type;
        (void)snprintf(codec_id, sizeof(codec_id), "%s-codec%zu", sound->info.alias, i);
        json_t *codec = json_pack("{s:s, s:s, s:s, s:I}", "driver",
                                  vq_streq(type, "micro")    ? "hda-micro"
                                  : vq_streq(type, "output") ? "hda-output"
                                                             : "hda-duplex",
                                  "id", codec_id, "bus", bus, "cad", (json_int_t)i);
        vq_qemu_json_text(codec, "audiodev", audio_of(writer->def, sound->audio_id, audio, sizeof(audio)));
        vq_qemu_arg_json(writer, "-device", codec);
    }
    return 0;
}

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
    if (graphics->share_policy != NULL) {
        vq_buffer_add(&value, ",share=");
        vq_qemu_add_value(&value, graphics->share_policy);
    }
    if (graphics->password != NULL) /* the password itself is set over QMP and never on a command line */
        vq_buffer_add(&value, ",password=on");
    if (graphics->power_control != VQ_SWITCH_UNSET)
        vq_buffer_addf(&value, ",power-control=%s", graphics->power_control == VQ_SWITCH_ON ? "on" : "off");
    const char *audiodev = audio_of(writer->def, graphics->audio_id, audio, sizeof(audio));
    if (audiodev != NULL)
        vq_buffer_addf(&value, ",audiodev=%s", audiodev);
    vq_qemu_arg_buffer(writer, "-vnc", &value);
    if (graphics->keymap != NULL)
        vq_qemu_arg_pair(writer, "-k", graphics->keymap);
    return 0;
}

static void add_spice_option(struct vq_buffer *value, const char *key, const char *setting)
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
        vq_buffer_addf(&value, "port=%d,addr=", graphics->port);
        vq_qemu_add_value(&value, listen_address(graphics));
    }
    if (graphics->password == NULL)
        vq_buffer_add(&value, ",disable-ticketing=on");
    for (size_t i = 0; i < graphics->n_channels; i++)
        if (vq_streq(graphics->channels[i]->mode, "insecure"))
            add_spice_option(&value, "plaintext-channel", graphics->channels[i]->name);
    add_spice_option(&value, "image-compression", graphics->image_compression);
    add_spice_option(&value, "jpeg-wan-compression", graphics->jpeg_compression);
    add_spice_option(&value, "zlib-glz-wan-compression", graphics->zlib_compression);
    add_spice_option(&value, "streaming-video", graphics->streaming_mode);
    if (graphics->playback_compression != VQ_SWITCH_UNSET)
        add_spice_option(&value, "playback-compression", graphics->playback_compression == VQ_SWITCH_ON ? "on" : "off");
    if (vq_streq(graphics->mouse_mode, "server"))
        vq_buffer_add(&value, ",agent-mouse=off");
    if (graphics->clipboard_copypaste == VQ_SWITCH_OFF)
        vq_buffer_add(&value, ",disable-copy-paste=on");
    if (graphics->filetransfer == VQ_SWITCH_OFF)
        vq_buffer_add(&value, ",disable-agent-file-xfer=on");
    if (graphics->gl == VQ_SWITCH_ON) {
        vq_buffer_add(&value, ",gl=on");
        add_spice_option(&value, "rendernode", graphics->gl_rendernode);
    }
    vq_buffer_add(&value, ",seamless-migration=on");
    vq_qemu_arg_buffer(writer, "-spice", &value);
    if (graphics->keymap != NULL)
        vq_qemu_arg_pair(writer, "-k", graphics->keymap);
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
        vq_qemu_arg_pair(writer, "-display", "egl-headless");
        return 0;
    default:
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "this type of graphics is not supported on a host without "
                            "a screen; use vnc or spice");
    }
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
    if (video->accel3d == VQ_SWITCH_ON && strcmp(driver, "virtio-vga") == 0)
        driver = "virtio-vga-gl";
    json_t *device = vq_qemu_device_new(writer, driver, &video->info);
    if (vq_streq(video->model, "virtio")) {
        vq_qemu_json_number(device, "max_outputs", video->heads == 0 ? 1 : video->heads);
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

int vq_qemu_write_displays(struct vq_qemu_writer *writer, struct vq_error *err)
{
    const struct vq_devices *devices = &writer->def->devices;

    for (size_t i = 0; i < devices->n_audios; i++)
        if (write_audio(writer, devices->audios[i], err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_graphics; i++)
        if (write_graphics(writer, devices->graphics[i], err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_videos; i++)
        if (write_video(writer, devices->videos[i], i == 0, err) < 0)
            return -1;
    for (size_t i = 0; i < devices->n_sounds; i++)
        if (write_sound(writer, devices->sounds[i], err) < 0)
            return -1;
    return 0;
}
