/* The command line: machine, identity, clock, power, and the order of the parts. */
#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/command.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "conf/base/memory.h"
#include "conf/base/text.h"
#include "drivers/qemu/command_priv.h"

/* ---- Words ---- */

void vq_qemu_arg(struct vq_qemu_writer *writer, const char *word)
{
    struct vq_qemu_command *command = writer->command;

    command->argv = vq_realloc(command->argv, command->n_args + 2, sizeof(*command->argv));
    command->argv[command->n_args++] = vq_strdup(word);
    command->argv[command->n_args] = NULL;
}

void vq_qemu_arg_pair(struct vq_qemu_writer *writer, const char *option, const char *value)
{
    vq_qemu_arg(writer, option);
    vq_qemu_arg(writer, value);
}

void vq_qemu_arg_buffer(struct vq_qemu_writer *writer, const char *option, struct vq_buffer *take_value)
{
    VQ_AUTOFREE char *value = vq_buffer_steal(take_value);

    vq_qemu_arg_pair(writer, option, value);
}

/* One property that the user sets himself, or takes away; the definition was checked for its type. */
static void override_property(json_t *device, const struct vq_qemu_property *property)
{
    const char *value = property->value == NULL ? "" : property->value;
    int64_t number;

    if (vq_streq(property->type, "remove"))
        (void)json_object_del(device, property->name);
    else if (vq_streq(property->type, "bool"))
        json_object_set_new(device, property->name, json_boolean(strcmp(value, "true") == 0));
    else if (vq_streq(property->type, "string"))
        json_object_set_new(device, property->name, json_string(value));
    else if (vq_parse_i64(value, INT64_MIN, INT64_MAX, &number))
        json_object_set_new(device, property->name, json_integer(number));
}

/* <qemu:override>: the last word about a device's properties is the user's. */
static void override_device(const struct vq_domain *def, json_t *device)
{
    const char *id = json_string_value(json_object_get(device, "id"));

    for (size_t i = 0; i < def->n_qemu_devices; i++)
        for (size_t k = 0; vq_streq(def->qemu_devices[i]->alias, id) && k < def->qemu_devices[i]->n_properties; k++)
            override_property(device, def->qemu_devices[i]->properties[k]);
}

void vq_qemu_arg_json(struct vq_qemu_writer *writer, const char *option, json_t *take_value)
{
    if (strcmp(option, "-device") == 0)
        override_device(writer->def, take_value);
    VQ_AUTOFREE char *text = json_dumps(take_value, JSON_COMPACT | JSON_ENSURE_ASCII);

    json_decref(take_value);
    vq_qemu_arg_pair(writer, option, text == NULL ? "{}" : text);
}

void vq_qemu_environment(struct vq_qemu_writer *writer, const char *name, const char *value)
{
    struct vq_qemu_command *command = writer->command;

    command->environment = vq_realloc(command->environment, command->n_environment + 2, sizeof(*command->environment));
    command->environment[command->n_environment++] = vq_asprintf("%s=%s", name, value);
    command->environment[command->n_environment] = NULL;
}

void vq_qemu_keep_fd(struct vq_qemu_writer *writer, int fd)
{
    struct vq_qemu_command *command = writer->command;

    command->fds = vq_realloc(command->fds, command->n_fds + 1, sizeof(*command->fds));
    command->fds[command->n_fds++] = fd;
}

void vq_qemu_add_value(struct vq_buffer *buffer, const char *value)
{
    for (const char *c = value; *c != '\0'; c++)
        vq_buffer_add_bytes(buffer, *c == ',' ? ",," : c, *c == ',' ? 2 : 1);
}

/* ---- Machine ---- */

static bool is_x86(const struct vq_qemu_writer *writer)
{
    return vq_streq(writer->def->os.arch, "x86_64") || vq_streq(writer->def->os.arch, "i686");
}

static bool has_nvdimm(const struct vq_domain *def)
{
    for (size_t i = 0; i < def->devices.n_memories; i++)
        if (vq_streq(def->devices.memories[i]->model, "nvdimm"))
            return true;
    return false;
}

/* ACPI is on unless it is missing; on Arm the board needs UEFI to have any use of it. */
static bool has_acpi_off(const struct vq_qemu_writer *writer)
{
    const struct vq_domain *def = writer->def;

    return (is_x86(writer) || vq_streq(def->os.arch, "aarch64")) && (def->features == NULL || !def->features->has_acpi);
}

static void add_machine_features(struct vq_qemu_writer *writer, struct vq_buffer *value)
{
    const struct vq_domain *def = writer->def;
    const struct vq_features *features = def->features;
    const struct vq_timer *hpet = vq_qemu_find_timer(def, VQ_TIMER_HPET);

    if (is_x86(writer) && hpet != NULL && hpet->present == VQ_SWITCH_OFF)
        vq_buffer_add(value, ",hpet=off");
    if (has_acpi_off(writer))
        vq_buffer_add(value, ",acpi=off");
    if (vq_streq(def->os.arch, "aarch64"))
        vq_buffer_addf(value, ",gic-version=%s",
                       features == NULL || features->gic_version == NULL ? "2" : features->gic_version);
    if (def->os.bios_useserial == VQ_SWITCH_ON)
        vq_buffer_add(value, ",graphics=off");
    if (def->memory_backing != NULL && def->memory_backing->nosharepages)
        vq_buffer_add(value, ",mem-merge=off");
    if (has_nvdimm(def))
        vq_buffer_add(value, ",nvdimm=on");
    if (vq_qemu_has_hmat(def))
        vq_buffer_add(value, ",hmat=on");
    if (features == NULL)
        return;
    vq_qemu_add_switch(value, "vmport", features->vmport);
    if (features->has_smm)
        vq_qemu_add_switch(value, "smm", features->smm == VQ_SWITCH_UNSET ? VQ_SWITCH_ON : features->smm);
    if (features->has_smm && features->has_smm_tseg) {
        VQ_AUTOFREE char *tseg = vq_asprintf("mch.extended-tseg-mbytes=%" PRIu64, features->smm_tseg_bytes >> 20);
        vq_qemu_arg_pair(writer, "-global", tseg);
    }
    if (vq_streq(features->ioapic_driver, "qemu"))
        vq_buffer_add(value, ",kernel_irqchip=split");
    else if (vq_streq(features->ioapic_driver, "kvm"))
        vq_buffer_add(value, ",kernel_irqchip=on");
    if (features->vmcoreinfo == VQ_SWITCH_ON)
        vq_qemu_arg_json(writer, "-device", json_pack("{s:s}", "driver", "vmcoreinfo"));
}

static void write_accelerator(struct vq_qemu_writer *writer)
{
    const struct vq_features *features = writer->def->features;
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;

    vq_buffer_add(&value, writer->def->type == VQ_VIRT_KVM ? "kvm" : "tcg");
    if (writer->def->type == VQ_VIRT_QEMU && features != NULL && features->tcg_tb_cache_kib != 0)
        vq_buffer_addf(&value, ",tb-size=%" PRIu64, features->tcg_tb_cache_kib / 1024);
    if (writer->def->type == VQ_VIRT_KVM && features != NULL && features->kvm != NULL &&
        features->kvm->dirty_ring == VQ_SWITCH_ON)
        vq_buffer_addf(&value, ",dirty-ring-size=%u", features->kvm->dirty_ring_size);
    vq_qemu_arg_buffer(writer, "-accel", &value);
}

static int write_machine(struct vq_qemu_writer *writer, struct vq_error *err)
{
    const struct vq_domain *def = writer->def;
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;

    vq_qemu_add_value(&value, def->os.machine);
    vq_buffer_addf(&value, ",usb=off,dump-guest-core=%s", vq_qemu_on_off(def->dump_core));
    if (!vq_qemu_has_cells(def))
        vq_buffer_addf(&value, ",memory-backend=%s", vq_qemu_memory_id(writer));
    /* The description of the state, for people who read a stream, would be sent behind the state's last byte: a source whose
     * connection breaks there fails and runs on, while the destination has everything. */
    vq_buffer_add(&value, ",suppress-vmdesc=on");
    add_machine_features(writer, &value);
    if (def->devices.iommu != NULL && vq_streq(def->devices.iommu->model, "smmuv3"))
        vq_buffer_add(&value, ",iommu=smmuv3");
    if (vq_qemu_write_firmware(writer, &value, err) < 0)
        return -1;
    vq_qemu_arg_buffer(writer, "-machine", &value);
    write_accelerator(writer);
    return 0;
}

/* ---- Identity, clock, power ---- */

static void write_name(struct vq_qemu_writer *writer)
{
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;

    vq_buffer_add(&value, "guest=");
    vq_qemu_add_value(&value, writer->def->name);
    vq_buffer_add(&value, ",debug-threads=on");
    vq_qemu_arg_buffer(writer, "-name", &value);
}

static void write_identity(struct vq_qemu_writer *writer)
{
    char uuid[VQ_UUID_TEXT];

    vq_uuid_format(writer->def->uuid, uuid);
    vq_qemu_arg_pair(writer, "-uuid", uuid);
    if (writer->def->has_genid) {
        char genid[VQ_UUID_TEXT];
        vq_uuid_format(writer->def->genid, genid);
        vq_qemu_arg_json(writer, "-device",
                         json_pack("{s:s, s:s, s:s}", "driver", "vmgenid", "guid", genid, "id", "vmgenid0"));
    }
}

static int write_monitor(struct vq_qemu_writer *writer, struct vq_error *err)
{
    char chardev[96];

    if (writer->launch->monitor_fd < 0)
        return vq_error_set(err, VIR_ERR_INTERNAL_ERROR, "a run without a monitor socket");
    (void)snprintf(chardev, sizeof(chardev), "socket,id=charmonitor,fd=%d,server=on,wait=off", writer->launch->monitor_fd);
    vq_qemu_arg_pair(writer, "-chardev", chardev);
    vq_qemu_keep_fd(writer, writer->launch->monitor_fd);
    vq_qemu_arg_pair(writer, "-mon", "chardev=charmonitor,id=monitor,mode=control");
    return 0;
}

/* Text of a moment as QEMU reads it. */
static void add_moment(struct vq_buffer *value, int64_t seconds, bool is_local)
{
    time_t when = (time_t)seconds;
    struct tm parts;

    if (is_local ? localtime_r(&when, &parts) == NULL : gmtime_r(&when, &parts) == NULL)
        memset(&parts, 0, sizeof(parts));
    vq_buffer_addf(value, "base=%04d-%02d-%02dT%02d:%02d:%02d", (parts.tm_year + 1900) % 10000, parts.tm_mon + 1,
                   parts.tm_mday, parts.tm_hour, parts.tm_min, parts.tm_sec);
}

static void add_clock_base(struct vq_qemu_writer *writer, struct vq_buffer *value)
{
    const struct vq_clock *clock = &writer->def->clock;
    int64_t adjustment = 0;
    bool is_adjusted = vq_parse_i64(clock->adjustment == NULL ? "" : clock->adjustment, INT32_MIN, INT32_MAX, &adjustment);
    bool is_local = clock->offset == VQ_CLOCK_LOCALTIME ||
                    (clock->offset == VQ_CLOCK_VARIABLE && clock->basis == VQ_CLOCK_BASIS_LOCALTIME);

    switch (clock->offset) {
    case VQ_CLOCK_ABSOLUTE:
        add_moment(value, (int64_t)clock->start, false);
        break;
    case VQ_CLOCK_TIMEZONE:
        vq_buffer_add(value, "base=localtime"); /* of the zone in QEMU's environment */
        break;
    case VQ_CLOCK_VARIABLE:
        add_moment(value, writer->launch->now_s + adjustment, is_local);
        break;
    default:
        if (is_adjusted)
            add_moment(value, writer->launch->now_s + adjustment, is_local);
        else
            vq_buffer_addf(value, "base=%s", is_local ? "localtime" : "utc");
    }
}

static void write_clock(struct vq_qemu_writer *writer)
{
    const struct vq_timer *rtc = vq_qemu_find_timer(writer->def, VQ_TIMER_RTC);
    const struct vq_timer *pit = vq_qemu_find_timer(writer->def, VQ_TIMER_PIT);
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;

    add_clock_base(writer, &value);
    if (rtc != NULL && vq_streq(rtc->track, "guest"))
        vq_buffer_add(&value, ",clock=vm");
    else if (rtc != NULL && vq_streq(rtc->track, "wall"))
        vq_buffer_add(&value, ",clock=host");
    if (rtc != NULL && rtc->tickpolicy == VQ_TICK_CATCHUP)
        vq_buffer_add(&value, ",driftfix=slew");
    vq_qemu_arg_buffer(writer, "-rtc", &value);
    if (writer->def->type == VQ_VIRT_KVM && pit != NULL && pit->tickpolicy == VQ_TICK_DELAY)
        vq_qemu_arg_pair(writer, "-global", "kvm-pit.lost_tick_policy=delay");
    else if (writer->def->type == VQ_VIRT_KVM && pit != NULL && pit->tickpolicy == VQ_TICK_DISCARD)
        vq_qemu_arg_pair(writer, "-global", "kvm-pit.lost_tick_policy=discard");
}

static void write_power(struct vq_qemu_writer *writer)
{
    const struct vq_domain *def = writer->def;
    const char *chip = strncmp(def->os.machine, "pc-q35", 6) == 0 ? "ICH9-LPC" : "PIIX4_PM";
    char value[64];

    /* A power-off leaves QEMU standing, so that a daemon that was away sees how its guest ended. */
    vq_qemu_arg(writer, "-no-shutdown");
    if (def->pm_suspend_to_mem != VQ_SWITCH_UNSET) {
        (void)snprintf(value, sizeof(value), "%s.disable_s3=%d", chip, def->pm_suspend_to_mem == VQ_SWITCH_OFF);
        vq_qemu_arg_pair(writer, "-global", value);
    }
    if (def->pm_suspend_to_disk != VQ_SWITCH_UNSET) {
        (void)snprintf(value, sizeof(value), "%s.disable_s4=%d", chip, def->pm_suspend_to_disk == VQ_SWITCH_OFF);
        vq_qemu_arg_pair(writer, "-global", value);
    }
}

static void write_environment(struct vq_qemu_writer *writer)
{
    const struct {
        const char *name, *suffix;
    } homes[] = {{"HOME", ""}, {"XDG_DATA_HOME", "/.local/share"}, {"XDG_CACHE_HOME", "/.cache"}, {"XDG_CONFIG_HOME", "/.config"}};

    const struct vq_clock *clock = &writer->def->clock;

    vq_qemu_environment(writer, "LC_ALL", "C");
    vq_qemu_environment(writer, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    for (size_t i = 0; i < VQ_N_ELEMENTS(homes); i++) {
        VQ_AUTOFREE char *path = vq_asprintf("%s%s", writer->launch->dir, homes[i].suffix);
        vq_qemu_environment(writer, homes[i].name, path);
    }
    if (clock->offset == VQ_CLOCK_TIMEZONE && clock->timezone != NULL)
        vq_qemu_environment(writer, "TZ", clock->timezone);
    vq_qemu_display_environment(writer);
    for (size_t i = 0; writer->def->qemu != NULL && i < writer->def->qemu->n_envs; i++)
        vq_qemu_environment(writer, writer->def->qemu->envs[i]->name,
                        writer->def->qemu->envs[i]->value == NULL ? "" : writer->def->qemu->envs[i]->value);
}

static void write_tail(struct vq_qemu_writer *writer)
{
    if (writer->launch->incoming != NULL)
        vq_qemu_arg_pair(writer, "-incoming", writer->launch->incoming);
    for (size_t i = 0; writer->def->qemu != NULL && i < writer->def->qemu->n_args; i++)
        vq_qemu_arg(writer, writer->def->qemu->args[i]->value == NULL ? "" : writer->def->qemu->args[i]->value);
    if (writer->has_sandbox)
        vq_qemu_arg_pair(writer, "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    vq_qemu_arg_pair(writer, "-msg", "timestamp=on");
}

/* What QEMU does about what it will drop one day. */
static void write_deprecation(struct vq_qemu_writer *writer)
{
    static const struct {
        const char *behavior, *output, *input;
    } rows[] = {{"omit", "hide", "accept"}, {"reject", "hide", "reject"}, {"crash", "hide", "crash"}};

    for (size_t i = 0; i < VQ_N_ELEMENTS(rows); i++)
        if (vq_streq(writer->def->qemu_deprecation, rows[i].behavior))
            vq_qemu_arg_json(writer, "-compat", json_pack("{s:s, s:s}", "deprecated-output", rows[i].output,
                                                          "deprecated-input", rows[i].input));
}

static int write_all(struct vq_qemu_writer *writer, struct vq_error *err)
{
    vq_qemu_arg(writer, writer->def->devices.emulator);
    write_name(writer);
    vq_qemu_arg(writer, "-S");
    if (writer->launch->master_key_file != NULL)
        vq_qemu_arg_json(writer, "-object", json_pack("{s:s, s:s, s:s, s:s}", "qom-type", "secret", "id", "masterKey0",
                                                      "format", "raw", "file", writer->launch->master_key_file));
    if (write_machine(writer, err) < 0 || vq_qemu_write_cpu(writer, err) < 0 || vq_qemu_write_memory(writer, err) < 0)
        return -1;
    vq_qemu_write_smp(writer);
    vq_qemu_write_iothreads(writer);
    write_deprecation(writer);
    if (vq_qemu_has_cells(writer->def) && vq_qemu_write_cells(writer, err) < 0)
        return -1;
    write_identity(writer);
    if (vq_qemu_write_sysinfo(writer, err) < 0)
        return -1;
    if (writer->def->devices.n_graphics == 0)
        vq_qemu_arg_pair(writer, "-display", "none");
    vq_qemu_arg(writer, "-no-user-config");
    vq_qemu_arg(writer, "-nodefaults");
    if (write_monitor(writer, err) < 0)
        return -1;
    write_clock(writer);
    write_power(writer);
    vq_qemu_write_boot(writer);
    vq_qemu_write_vcpus(writer);
    /* Memory of virtio sits on a bus that a controller makes. */
    if (vq_qemu_write_controllers(writer, err) < 0 || vq_qemu_write_memory_devices(writer, err) < 0 || vq_qemu_write_disks(writer, err) < 0 ||
        vq_qemu_write_devices(writer, err) < 0 || vq_qemu_write_displays(writer, err) < 0)
        return -1;
    write_tail(writer);
    write_environment(writer);
    return 0;
}

/* ---- What the user says that QEMU can do ---- */

/* <qemu:capabilities> speaks of libvirt's own flags. Those that choose between two ways of saying a thing are honoured; one
 * that would have no effect here is refused, since its user waits for one. */
static int read_capability(struct vq_qemu_writer *writer, const char *name, bool is_added, struct vq_error *err)
{
    if (vq_streq(name, "usb-host.hostdevice"))
        writer->has_usb_path = is_added;
    else if (vq_streq(name, "seccomp-blacklist"))
        writer->has_sandbox = is_added;
    else if (is_added && (vq_streq(name, "blockdev") || vq_streq(name, "device.json") ||
                          vq_qemu_capabilities_has_device(writer->caps, name == NULL ? "" : name)))
        return 0; /* always so */
    else
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "<qemu:%s capability='%s'/> has no meaning here: the capabilities "
                            "of this QEMU are asked of itself", is_added ? "add" : "del", name == NULL ? "" : name);
    return 0;
}

static int read_capabilities(struct vq_qemu_writer *writer, struct vq_error *err)
{
    const struct vq_qemu_overrides *overrides = writer->def->qemu_overrides;

    for (size_t i = 0; overrides != NULL && i < overrides->n_add; i++)
        if (read_capability(writer, overrides->add[i]->capability, true, err) < 0)
            return -1;
    for (size_t i = 0; overrides != NULL && i < overrides->n_del; i++)
        if (read_capability(writer, overrides->del[i]->capability, false, err) < 0)
            return -1;
    return 0;
}

int vq_qemu_command_build(const struct vq_domain *def, const struct vq_qemu_capabilities *caps,
                          const struct vq_qemu_launch *launch, struct vq_qemu_command **ret, struct vq_error *err)
{
    VQ_AUTOPTR(vq_qemu_command) command = vq_new(struct vq_qemu_command);
    struct vq_qemu_writer writer = {.def = def, .caps = caps, .launch = launch, .command = command, .next_boot_index = 1,
                                    .has_usb_path = true, .has_sandbox = launch->sandbox && caps->has_sandbox};

    if (def->type == VQ_VIRT_KVM && !caps->has_kvm)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "domain '%s' is of type 'kvm': %s", def->name,
                            caps->kvm_problem[0] == '\0' ? "KVM is not available on this host" : caps->kvm_problem);
    if (read_capabilities(&writer, err) < 0 || write_all(&writer, err) < 0)
        return -1;
    *ret = vq_take(command);
    return 0;
}

void vq_qemu_command_free(struct vq_qemu_command *command)
{
    if (command == NULL)
        return;
    for (size_t i = 0; i < command->n_args; i++)
        free(command->argv[i]);
    for (size_t i = 0; i < command->n_environment; i++)
        free(command->environment[i]);
    free(command->argv);
    free(command->environment);
    free(command->fds);
    free(command);
}
