/* Sound: the host's side (-audiodev) and the cards. */
#define VQ_FROM VIR_FROM_QEMU
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "conf/base/text.h"
#include "drivers/qemu/command_priv.h"
#include "drivers/qemu/devices.h"

/* ---- Back ends ---- */

static void add_text(json_t *object, const char *key, const char *value)
{
    vq_qemu_json_text(object, key, value);
}

static void add_number(json_t *object, const char *key, uint64_t value)
{
    if (value != 0)
        vq_qemu_json_number(object, key, value);
}

/* One direction, {} when nothing is said. A member that a back end does not have was refused before (definition_check.c) or
 * is QEMU's to refuse. */
static void add_direction(json_t *audiodev, const char *key, const struct vq_audio_direction *direction)
{
    json_t *object = json_object();

    vq_qemu_json_bool(object, "mixing-engine", direction->mixing_engine);
    vq_qemu_json_bool(object, "fixed-settings", direction->fixed_settings);
    add_number(object, "voices", direction->voices);
    add_number(object, "buffer-length", direction->buffer_length);
    add_number(object, "frequency", direction->frequency);
    add_number(object, "channels", direction->channels);
    add_text(object, "format", direction->format);
    add_text(object, "dev", direction->dev);
    add_text(object, "name", direction->name);
    add_text(object, "stream-name", direction->stream_name);
    add_number(object, "latency", direction->latency);
    add_text(object, "server-name", direction->server_name);
    add_text(object, "client-name", direction->client_name);
    add_text(object, "connect-ports", direction->connect_ports);
    vq_qemu_json_bool(object, "exact-name", direction->exact_name);
    add_number(object, "buffer-count", direction->buffer_count);
    vq_qemu_json_bool(object, "try-poll", direction->try_poll);
    if (json_object_size(object) > 0)
        json_object_set_new(audiodev, key, object);
    else
        json_decref(object);
}

static int write_audio(struct vq_qemu_writer *writer, const struct vq_audio *audio, struct vq_error *err)
{
    static const struct {
        const char *type, *driver;
    } drivers[] = {{"none", "none"}, {"spice", "spice"}, {"alsa", "alsa"}, {"pulseaudio", "pa"}, {"oss", "oss"},
                   {"jack", "jack"}, {"file", "wav"}, {"dbus", "dbus"}, {"sdl", "sdl"}, {"coreaudio", "coreaudio"}};
    char id[32];

    (void)snprintf(id, sizeof(id), "audio%u", audio->id);
    for (size_t i = 0; i < VQ_N_ELEMENTS(drivers); i++) {
        if (!vq_streq(drivers[i].type, audio->type))
            continue;
        json_t *object = json_pack("{s:s, s:s}", "id", id, "driver", drivers[i].driver);
        add_number(object, "timer-period", audio->timer_period);
        add_text(object, "path", audio->path);
        add_text(object, "server", audio->server_name);
        vq_qemu_json_bool(object, "try-mmap", audio->try_mmap);
        vq_qemu_json_bool(object, "exclusive", audio->exclusive);
        if (audio->has_dsp_policy)
            json_object_set_new(object, "dsp-policy", json_integer(audio->dsp_policy));
        add_direction(object, "in", &audio->input);
        add_direction(object, "out", &audio->output);
        vq_qemu_arg_json(writer, "-audiodev", object);
        return 0;
    }
    return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "audio type '%s' is not supported", audio->type);
}

int vq_qemu_write_audios(struct vq_qemu_writer *writer, struct vq_error *err)
{
    for (size_t i = 0; i < writer->def->devices.n_audios; i++)
        if (write_audio(writer, writer->def->devices.audios[i], err) < 0)
            return -1;
    return 0;
}

const char *vq_qemu_audio_of(const struct vq_domain *def, uint32_t audio_id, char *buffer, size_t size)
{
    uint32_t id = audio_id != 0 ? audio_id : def->devices.n_audios > 0 ? def->devices.audios[0]->id : 0;

    if (id == 0)
        return NULL;
    (void)snprintf(buffer, size, "audio%u", id);
    return buffer;
}

/* ---- Cards ---- */

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
    if (vq_streq(sound->model, "usb"))
        vq_qemu_json_bool(device, "multi", sound->multichannel);
    if (!vq_qemu_sound_has_codec(sound)) {
        vq_qemu_json_text(device, "audiodev", vq_qemu_audio_of(writer->def, sound->audio_id, audio, sizeof(audio)));
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
        vq_qemu_json_text(codec, "audiodev", vq_qemu_audio_of(writer->def, sound->audio_id, audio, sizeof(audio)));
        vq_qemu_arg_json(writer, "-device", codec);
    }
    return 0;
}

int vq_qemu_write_sounds(struct vq_qemu_writer *writer, struct vq_error *err)
{
    for (size_t i = 0; i < writer->def->devices.n_sounds; i++)
        if (write_sound(writer, writer->def->devices.sounds[i], err) < 0)
            return -1;
    return 0;
}
