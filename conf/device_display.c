/* Devices that people look at, listen to and type on. */
#include <stdlib.h>
#include <string.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "conf/device_fields.h"

static const char *const graphics_type_names[VQ_GRAPHICS_N] = {
    [VQ_GRAPHICS_SDL] = "sdl",         [VQ_GRAPHICS_VNC] = "vnc",     [VQ_GRAPHICS_RDP] = "rdp",
    [VQ_GRAPHICS_DESKTOP] = "desktop", [VQ_GRAPHICS_SPICE] = "spice", [VQ_GRAPHICS_EGL_HEADLESS] = "egl-headless",
    [VQ_GRAPHICS_DBUS] = "dbus",
};

static const char *const listen_type_names[VQ_LISTEN_N] = {
    [VQ_LISTEN_NONE] = "none",
    [VQ_LISTEN_ADDRESS] = "address",
    [VQ_LISTEN_NETWORK] = "network",
    [VQ_LISTEN_SOCKET] = "socket",
};

static const struct vq_field listen_rows[] = {
    VQ_ENUM("@type", vq_listen, type, listen_type_names, .flags = VQ_FIELD_REQUIRED),
    VQ_STRING("@address", vq_listen, address, VQ_WHEN(vq_listen, type, VQ_IS(VQ_LISTEN_ADDRESS))),
    VQ_STRING("@network", vq_listen, network, VQ_WHEN(vq_listen, type, VQ_IS(VQ_LISTEN_NETWORK))),
    VQ_STRING("@address", vq_listen, address, VQ_WHEN(vq_listen, type, VQ_IS(VQ_LISTEN_NETWORK)),
              .flags = VQ_FIELD_LIVE),
    VQ_STRING("@socket", vq_listen, socket, VQ_WHEN(vq_listen, type, VQ_IS(VQ_LISTEN_SOCKET))),
};
VQ_FIELDS(listen_fields, "listen", vq_listen, listen_rows);

static const struct vq_field spice_channel_rows[] = {
    VQ_STRING("@name", vq_spice_channel, name, .flags = VQ_FIELD_REQUIRED,
              VQ_WORDS("main", "display", "inputs", "cursor", "playback", "record", "smartcard", "usbredir")),
    VQ_STRING("@mode", vq_spice_channel, mode, .flags = VQ_FIELD_REQUIRED, VQ_WORDS("any", "secure", "insecure")),
};
VQ_FIELDS(spice_channel_fields, "channel", vq_spice_channel, spice_channel_rows);

#define OF(kind)   VQ_IS(VQ_GRAPHICS_##kind)
#define FOR(kinds) VQ_WHEN(vq_graphics, type, kinds)
#define NETWORKED  (OF(VNC) | OF(SPICE) | OF(RDP))
#define LOCAL      (OF(SDL) | OF(DESKTOP))

static bool is_autoport(const void *object)
{
    return ((const struct vq_graphics *)object)->autoport == VQ_SWITCH_ON;
}

/* What happens to viewers when the password changes. */
static bool has_password(const void *object)
{
    return ((const struct vq_graphics *)object)->password != NULL;
}

static bool is_fixed_port(const void *object)
{
    return !is_autoport(object);
}

static bool is_generated_websocket(const void *object)
{
    return ((const struct vq_graphics *)object)->websocket_generated;
}

/* Ports chosen at start are live; the definition says -1, except for SPICE, where it is silent. */
#define CHOSEN .flags = VQ_FIELD_LIVE, .shown = is_autoport
#define FIXED  .shown = is_fixed_port

static const struct vq_field graphics_rows[] = {
    VQ_ENUM("@type", vq_graphics, type, graphics_type_names, .flags = VQ_FIELD_REQUIRED | VQ_FIELD_UNSUPPORTED),
    VQ_STRING("@socket", vq_graphics, socket, FOR(OF(VNC))),
    VQ_INT("@port", vq_graphics, port, VQ_HAS(vq_graphics, has_port), FOR(NETWORKED), CHOSEN),
    VQ_INT("@port", vq_graphics, port, VQ_HAS(vq_graphics, has_port), FOR(NETWORKED), FIXED),
    VQ_CONSTANT("@port", "-1", FOR(OF(VNC) | OF(RDP)), .shown = is_autoport),
    VQ_INT("@tlsPort", vq_graphics, tls_port, VQ_HAS(vq_graphics, has_tls_port), FOR(OF(SPICE)), CHOSEN),
    VQ_INT("@tlsPort", vq_graphics, tls_port, VQ_HAS(vq_graphics, has_tls_port), FOR(OF(SPICE)), FIXED),
    VQ_YES_NO("@autoport", vq_graphics, autoport, FOR(NETWORKED)),
    VQ_INT("@websocket", vq_graphics, websocket, VQ_HAS(vq_graphics, has_websocket), FOR(OF(VNC)),
           .flags = VQ_FIELD_LIVE, .shown = is_generated_websocket),
    VQ_CONSTANT("@websocket", "-1", FOR(OF(VNC)), .shown = is_generated_websocket),
    VQ_INT("@websocket", vq_graphics, websocket, VQ_HAS(vq_graphics, has_websocket), FOR(OF(VNC))),
    VQ_STRING("@listen", vq_graphics, listen, FOR(NETWORKED)),
    VQ_STRING("@keymap", vq_graphics, keymap, FOR(OF(VNC) | OF(SPICE))),
    VQ_STRING("@defaultMode", vq_graphics, default_mode, FOR(OF(SPICE)), VQ_WORDS("any", "secure", "insecure")),
    VQ_STRING("@sharePolicy", vq_graphics, share_policy, FOR(OF(VNC)),
              VQ_WORDS("allow-exclusive", "force-shared", "ignore")),
    VQ_YES_NO("@powerControl", vq_graphics, power_control, FOR(OF(VNC))),
    VQ_YES_NO("@replaceUser", vq_graphics, replace_user, FOR(OF(RDP))),
    VQ_YES_NO("@multiUser", vq_graphics, multi_user, FOR(OF(RDP))),
    VQ_STRING("@display", vq_graphics, display, FOR(LOCAL)),
    VQ_STRING("@xauth", vq_graphics, xauth, FOR(OF(SDL))),
    VQ_YES_NO("@fullscreen", vq_graphics, fullscreen, FOR(LOCAL)),
    VQ_YES_NO("@p2p", vq_graphics, dbus_p2p, FOR(OF(DBUS))),
    VQ_STRING("@address", vq_graphics, dbus_address, FOR(OF(DBUS))),
    VQ_STRING("@passwd", vq_graphics, password, .flags = VQ_FIELD_SECRET | VQ_FIELD_KEEP_EMPTY, FOR(NETWORKED)),
    VQ_STRING("@passwdValidTo", vq_graphics, password_valid_to, FOR(NETWORKED)),
    VQ_STRING("@connected", vq_graphics, connected, FOR(NETWORKED), .shown = has_password,
              .flags = VQ_FIELD_UNSUPPORTED,
              VQ_WORDS("fail", "disconnect", "keep")),
    VQ_LIST("listen", vq_graphics, listens, listen_fields, FOR(NETWORKED), .size = 16),
    VQ_LIST("channel", vq_graphics, channels, spice_channel_fields, FOR(OF(SPICE)), .size = 64),
    VQ_STRING("image/@compression", vq_graphics, image_compression, FOR(OF(SPICE)),
              VQ_WORDS("auto_glz", "auto_lz", "quic", "glz", "lz", "off"), .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_STRING("jpeg/@compression", vq_graphics, jpeg_compression, FOR(OF(SPICE)), VQ_WORDS("auto", "never", "always"),
              .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_STRING("zlib/@compression", vq_graphics, zlib_compression, FOR(OF(SPICE)), VQ_WORDS("auto", "never", "always"),
              .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_ON_OFF("playback/@compression", vq_graphics, playback_compression, FOR(OF(SPICE)),
              .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_STRING("streaming/@mode", vq_graphics, streaming_mode, FOR(OF(SPICE)), VQ_WORDS("filter", "all", "off"),
              .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_STRING("mouse/@mode", vq_graphics, mouse_mode, FOR(OF(SPICE)), VQ_WORDS("server", "client"),
              .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_YES_NO("clipboard/@copypaste", vq_graphics, clipboard_copypaste, FOR(OF(SPICE)), .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_YES_NO("filetransfer/@enable", vq_graphics, filetransfer, FOR(OF(SPICE)), .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_YES_NO("gl/@enable", vq_graphics, gl, FOR(OF(SPICE) | OF(SDL) | OF(DBUS)), .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_STRING("gl/@rendernode", vq_graphics, gl_rendernode, FOR(OF(SPICE) | OF(EGL_HEADLESS) | OF(DBUS))),
    VQ_UINT("audio/@id", vq_graphics, audio_id, .min = 1, FOR(OF(VNC) | OF(DBUS)), .flags = VQ_FIELD_WITH_ELEMENT),
};
/* Any mode is what a channel has anyhow. */
static int graphics_parsed(void *object, const struct vq_xml_node *node, struct vq_error *err)
{
    struct vq_graphics *graphics = object;
    size_t n = 0;

    (void)node, (void)err;
    if (vq_streq(graphics->default_mode, "any"))
        free(vq_take(graphics->default_mode));
    for (size_t i = 0; i < graphics->n_channels; i++) {
        if (strcmp(graphics->channels[i]->mode, "any") == 0)
            vq_fields_free(&spice_channel_fields, graphics->channels[i]);
        else
            graphics->channels[n++] = graphics->channels[i];
    }
    graphics->n_channels = n;
    return 0;
}
VQ_FIELDS_EXPORT(vq_graphics_fields, "graphics", vq_graphics, graphics_rows, .parsed = graphics_parsed);

static const struct vq_field video_rows[] = {
    VQ_STRING("driver/@name", vq_video, driver_name, VQ_WORDS("qemu", "vhostuser")),
    VQ_STRING("driver/@vgaconf", vq_video, vgaconf),
    VQ_STRUCT("driver", vq_video, virtio, vq_virtio_fields),
    VQ_STRING("model/@type", vq_video, model, .flags = VQ_FIELD_UNSUPPORTED,
              VQ_WORDS("default", "vga", "cirrus", "vmvga", "xen", "vbox", "qxl", "parallels", "virtio", "gop", "none",
                       "bochs", "ramfb")),
    VQ_UINT("model/@ram", vq_video, ram_kib),
    VQ_UINT("model/@vram", vq_video, vram_kib),
    VQ_UINT("model/@vram64", vq_video, vram64_kib),
    VQ_UINT("model/@vgamem", vq_video, vgamem_kib),
    VQ_UINT("model/@heads", vq_video, heads),
    VQ_YES_NO("model/@primary", vq_video, primary),
    VQ_ON_OFF("model/@blob", vq_video, blob),
    VQ_YES_NO("model/acceleration/@accel3d", vq_video, accel3d),
    VQ_YES_NO("model/acceleration/@accel2d", vq_video, accel2d),
    VQ_STRING("model/acceleration/@rendernode", vq_video, rendernode),
    VQ_UINT("model/resolution/@x", vq_video, resolution_x, .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_UINT("model/resolution/@y", vq_video, resolution_y, .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_STRUCT("", vq_video, info, vq_info_fields),
};
VQ_FIELDS_EXPORT(vq_video_fields, "video", vq_video, video_rows);

static const struct vq_field codec_rows[] = {
    VQ_STRING("@type", vq_codec, type, .flags = VQ_FIELD_REQUIRED | VQ_FIELD_UNSUPPORTED,
              VQ_WORDS("duplex", "micro", "output")),
};
VQ_FIELDS(codec_fields, "codec", vq_codec, codec_rows);

static const struct vq_field sound_rows[] = {
    VQ_STRING("@model", vq_sound, model, .flags = VQ_FIELD_REQUIRED,
              VQ_WORDS("sb16", "es1370", "pcspk", "ac97", "ich6", "ich9", "usb", "ich7")),
    VQ_YES_NO("@multichannel", vq_sound, multichannel),
    VQ_LIST("codec", vq_sound, codecs, codec_fields, .size = 16),
    VQ_UINT("audio/@id", vq_sound, audio_id, .min = 1, .flags = VQ_FIELD_WITH_ELEMENT),
    VQ_STRUCT("", vq_sound, info, vq_info_fields),
};
VQ_FIELDS_EXPORT(vq_sound_fields, "sound", vq_sound, sound_rows);

static const struct vq_field audio_direction_rows[] = {
    VQ_YES_NO("@mixingEngine", vq_audio_direction, mixing_engine),
    VQ_YES_NO("@fixedSettings", vq_audio_direction, fixed_settings),
    VQ_UINT("@voices", vq_audio_direction, voices, .min = 1),
    VQ_UINT("@bufferLength", vq_audio_direction, buffer_length, .min = 1),
    VQ_STRING("@dev", vq_audio_direction, dev),
    VQ_UINT("@bufferCount", vq_audio_direction, buffer_count),
    VQ_YES_NO("@tryPoll", vq_audio_direction, try_poll),
    VQ_STRING("@serverName", vq_audio_direction, server_name),
    VQ_STRING("@clientName", vq_audio_direction, client_name),
    VQ_STRING("@connectPorts", vq_audio_direction, connect_ports),
    VQ_YES_NO("@exactName", vq_audio_direction, exact_name),
    VQ_STRING("@name", vq_audio_direction, name),
    VQ_STRING("@streamName", vq_audio_direction, stream_name),
    VQ_UINT("@latency", vq_audio_direction, latency),
    VQ_UINT("settings/@frequency", vq_audio_direction, frequency, .min = 1),
    VQ_UINT("settings/@channels", vq_audio_direction, channels, .min = 1),
    VQ_STRING("settings/@format", vq_audio_direction, format, VQ_WORDS("u8", "s8", "u16", "s16", "u32", "s32", "f32")),
};
VQ_FIELDS(audio_direction_fields, "audio", vq_audio_direction, audio_direction_rows);

static const struct vq_field audio_rows[] = {
    VQ_UINT("@id", vq_audio, id, .flags = VQ_FIELD_REQUIRED),
    VQ_STRING("@type", vq_audio, type, .flags = VQ_FIELD_REQUIRED,
              VQ_WORDS("none", "alsa", "coreaudio", "dbus", "jack", "oss", "pulseaudio", "sdl", "spice", "file")),
    VQ_UINT("@timerPeriod", vq_audio, timer_period, .min = 1),
    VQ_STRING("@serverName", vq_audio, server_name),
    VQ_STRING("@driver", vq_audio, driver, VQ_WORDS("esd", "alsa", "arts", "pulseaudio")),
    VQ_STRING("@path", vq_audio, path),
    VQ_YES_NO("@tryMMap", vq_audio, try_mmap),
    VQ_YES_NO("@exclusive", vq_audio, exclusive),
    VQ_INT("@dspPolicy", vq_audio, dsp_policy, VQ_HAS(vq_audio, has_dsp_policy)),
    VQ_STRUCT("input", vq_audio, input, audio_direction_fields),
    VQ_STRUCT("output", vq_audio, output, audio_direction_fields),
};
VQ_FIELDS_EXPORT(vq_audio_fields, "audio", vq_audio, audio_rows);

static const char *const input_type_names[VQ_INPUT_N] = {
    [VQ_INPUT_MOUSE] = "mouse",       [VQ_INPUT_TABLET] = "tablet",
    [VQ_INPUT_KEYBOARD] = "keyboard", [VQ_INPUT_PASSTHROUGH] = "passthrough",
    [VQ_INPUT_EVDEV] = "evdev",
};

static const char *const input_bus_names[VQ_INPUT_BUS_N] = {
    [VQ_INPUT_BUS_PS2] = "ps2",       [VQ_INPUT_BUS_USB] = "usb",
    [VQ_INPUT_BUS_XEN] = "xen",       [VQ_INPUT_BUS_PARALLELS] = "parallels",
    [VQ_INPUT_BUS_VIRTIO] = "virtio", [VQ_INPUT_BUS_NONE] = "none",
};

static bool input_bus_is_said(const void *object)
{
    return ((const struct vq_input *)object)->bus != VQ_INPUT_BUS_NONE;
}

#define EVDEV       VQ_WHEN(vq_input, type, VQ_IS(VQ_INPUT_EVDEV))
#define PASSTHROUGH VQ_WHEN(vq_input, type, VQ_IS(VQ_INPUT_PASSTHROUGH))

static const struct vq_field input_rows[] = {
    VQ_ENUM("@type", vq_input, type, input_type_names, .flags = VQ_FIELD_REQUIRED | VQ_FIELD_UNSUPPORTED),
    VQ_ENUM("@bus", vq_input, bus, input_bus_names, .shown = input_bus_is_said, .flags = VQ_FIELD_UNSUPPORTED),
    VQ_ENUM("@model", vq_input, model, vq_virtio_model_names, .flags = VQ_FIELD_UNSUPPORTED),
    VQ_STRUCT("driver", vq_input, virtio, vq_virtio_fields),
    VQ_STRING("source/@evdev", vq_input, evdev, PASSTHROUGH),
    VQ_STRING("source/@dev", vq_input, source_dev, EVDEV),
    VQ_STRING("source/@grab", vq_input, grab, EVDEV, VQ_WORDS("all")),
    VQ_STRING("source/@grabToggle", vq_input, grab_toggle, EVDEV,
              VQ_WORDS("ctrl-ctrl", "alt-alt", "shift-shift", "meta-meta", "scrolllock", "ctrl-scrolllock")),
    VQ_ON_OFF("source/@repeat", vq_input, repeat, EVDEV),
    VQ_STRUCT("", vq_input, info, vq_info_fields),
};
VQ_FIELDS_EXPORT(vq_input_fields, "input", vq_input, input_rows);
