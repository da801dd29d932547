/* The command line: machine, CPU, memory, clock, and the order of the parts. */
#define VQ_FROM VIR_FROM_QEMU
#include "drivers/qemu/command.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

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

void vq_qemu_arg_json(struct vq_qemu_writer *writer, const char *option, json_t *take_value)
{
    VQ_AUTOFREE char *text = json_dumps(take_value, JSON_COMPACT | JSON_ENSURE_ASCII);

    json_decref(take_value);
    vq_qemu_arg_pair(writer, option, text == NULL ? "{}" : text);
}

static void add_environment(struct vq_qemu_writer *writer, const char *name, const char *value)
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

static void add_machine_features(struct vq_qemu_writer *writer, struct vq_buffer *value)
{
    const struct vq_domain *def = writer->def;
    const struct vq_features *features = def->features;
    const struct vq_timer *hpet = vq_qemu_find_timer(def, VQ_TIMER_HPET);

    if (is_x86(writer) && hpet != NULL && hpet->present == VQ_SWITCH_OFF)
        vq_buffer_add(value, ",hpet=off");
    if (is_x86(writer) && (features == NULL || !features->has_acpi))
        vq_buffer_add(value, ",acpi=off");
    if (features == NULL)
        return;
    vq_qemu_add_switch(value, "vmport", features->vmport);
    if (features->has_smm)
        vq_qemu_add_switch(value, "smm", features->smm == VQ_SWITCH_UNSET ? VQ_SWITCH_ON : features->smm);
    if (vq_streq(features->ioapic_driver, "qemu"))
        vq_buffer_add(value, ",kernel_irqchip=split");
    else if (vq_streq(features->ioapic_driver, "kvm"))
        vq_buffer_add(value, ",kernel_irqchip=on");
    if (vq_streq(def->os.arch, "aarch64"))
        vq_buffer_addf(value, ",gic-version=%s", features->gic_version == NULL ? "2" : features->gic_version);
    if (features->vmcoreinfo == VQ_SWITCH_ON)
        vq_qemu_arg_json(writer, "-device", json_pack("{s:s}", "driver", "vmcoreinfo"));
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

    VQ_AUTOBUFFER accel = VQ_BUFFER_INIT;
    vq_buffer_add(&accel, def->type == VQ_VIRT_KVM ? "kvm" : "tcg");
    if (def->type == VQ_VIRT_QEMU && def->features != NULL && def->features->tcg_tb_cache_kib != 0)
        vq_buffer_addf(&accel, ",tb-size=%" PRIu64, def->features->tcg_tb_cache_kib / 1024);
    vq_qemu_arg_buffer(writer, "-accel", &accel);
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

static void write_clock(struct vq_qemu_writer *writer)
{
    const struct vq_clock *clock = &writer->def->clock;
    const struct vq_timer *rtc = vq_qemu_find_timer(writer->def, VQ_TIMER_RTC);
    const struct vq_timer *pit = vq_qemu_find_timer(writer->def, VQ_TIMER_PIT);
    bool is_local = clock->offset == VQ_CLOCK_LOCALTIME ||
                    (clock->offset == VQ_CLOCK_VARIABLE && clock->basis == VQ_CLOCK_BASIS_LOCALTIME);
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;

    vq_buffer_addf(&value, "base=%s", is_local ? "localtime" : "utc");
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

static void write_boot(struct vq_qemu_writer *writer)
{
    const struct vq_os *os = &writer->def->os;
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;

    if (os->bootmenu == VQ_SWITCH_ON) {
        vq_buffer_add(&value, "menu=on,");
        if (os->has_bootmenu_timeout)
            vq_buffer_addf(&value, "splash-time=%u,", os->bootmenu_timeout_ms);
    } else if (os->bootmenu == VQ_SWITCH_OFF) {
        vq_buffer_add(&value, "menu=off,");
    }
    if (os->has_bios_reboot_timeout)
        vq_buffer_addf(&value, "reboot-timeout=%d,", os->bios_reboot_timeout_ms);
    vq_buffer_add(&value, "strict=on");
    vq_qemu_arg_buffer(writer, "-boot", &value);
    const struct {
        const char *option, *value;
    } direct[] = {{"-kernel", os->kernel}, {"-initrd", os->initrd}, {"-append", os->kernel == NULL ? NULL : os->cmdline},
                  {"-dtb", os->dtb}};
    for (size_t i = 0; i < VQ_N_ELEMENTS(direct); i++)
        if (direct[i].value != NULL && direct[i].value[0] != '\0')
            vq_qemu_arg_pair(writer, direct[i].option, direct[i].value);
}

static void add_smbios(struct vq_buffer *value, struct vq_sysinfo_entry *const *entries, size_t n_entries)
{
    for (size_t i = 0; i < n_entries; i++) {
        if (entries[i]->name == NULL || entries[i]->value == NULL)
            continue;
        vq_buffer_add(value, ",");
        vq_qemu_add_value(value, entries[i]->name);
        vq_buffer_add(value, "=");
        vq_qemu_add_value(value, entries[i]->value);
    }
}

static void write_sysinfo(struct vq_qemu_writer *writer)
{
    if (!vq_streq(writer->def->os.smbios_mode, "sysinfo"))
        return;
    for (size_t i = 0; i < writer->def->n_sysinfos; i++) {
        const struct vq_sysinfo *info = writer->def->sysinfos[i];
        const struct {
            int type;
            struct vq_sysinfo_entry *const *entries;
            size_t n;
        } tables[] = {{0, info->bios, info->n_bios}, {1, info->system, info->n_system}, {3, info->chassis, info->n_chassis}};
        for (size_t k = 0; k < VQ_N_ELEMENTS(tables); k++) {
            VQ_AUTOBUFFER value = VQ_BUFFER_INIT;
            if (tables[k].n == 0)
                continue;
            vq_buffer_addf(&value, "type=%d", tables[k].type);
            add_smbios(&value, tables[k].entries, tables[k].n);
            vq_qemu_arg_buffer(writer, "-smbios", &value);
        }
    }
}

static void write_environment(struct vq_qemu_writer *writer)
{
    const struct {
        const char *name, *suffix;
    } homes[] = {{"HOME", ""}, {"XDG_DATA_HOME", "/.local/share"}, {"XDG_CACHE_HOME", "/.cache"}, {"XDG_CONFIG_HOME", "/.config"}};

    add_environment(writer, "LC_ALL", "C");
    add_environment(writer, "PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
    for (size_t i = 0; i < VQ_N_ELEMENTS(homes); i++) {
        VQ_AUTOFREE char *path = vq_asprintf("%s%s", writer->launch->dir, homes[i].suffix);
        add_environment(writer, homes[i].name, path);
    }
    for (size_t i = 0; writer->def->qemu != NULL && i < writer->def->qemu->n_envs; i++)
        add_environment(writer, writer->def->qemu->envs[i]->name,
                        writer->def->qemu->envs[i]->value == NULL ? "" : writer->def->qemu->envs[i]->value);
}

static void write_tail(struct vq_qemu_writer *writer)
{
    if (writer->launch->incoming != NULL)
        vq_qemu_arg_pair(writer, "-incoming", writer->launch->incoming);
    for (size_t i = 0; writer->def->qemu != NULL && i < writer->def->qemu->n_args; i++)
        vq_qemu_arg(writer, writer->def->qemu->args[i]->value == NULL ? "" : writer->def->qemu->args[i]->value);
    if (writer->launch->sandbox && writer->caps->has_sandbox)
        vq_qemu_arg_pair(writer, "-sandbox", "on,obsolete=deny,elevateprivileges=deny,spawn=deny,resourcecontrol=deny");
    vq_qemu_arg_pair(writer, "-msg", "timestamp=on");
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
    if (vq_qemu_has_cells(writer->def) && vq_qemu_write_cells(writer, err) < 0)
        return -1;
    write_identity(writer);
    write_sysinfo(writer);
    if (writer->def->devices.n_graphics == 0)
        vq_qemu_arg_pair(writer, "-display", "none");
    vq_qemu_arg(writer, "-no-user-config");
    vq_qemu_arg(writer, "-nodefaults");
    if (write_monitor(writer, err) < 0)
        return -1;
    write_clock(writer);
    write_power(writer);
    write_boot(writer);
    if (vq_qemu_write_controllers(writer, err) < 0 || vq_qemu_write_disks(writer, err) < 0 ||
        vq_qemu_write_devices(writer, err) < 0 || vq_qemu_write_displays(writer, err) < 0)
        return -1;
    write_tail(writer);
    write_environment(writer);
    return 0;
}

int vq_qemu_command_build(const struct vq_domain *def, const struct vq_qemu_capabilities *caps,
                          const struct vq_qemu_launch *launch, struct vq_qemu_command **ret, struct vq_error *err)
{
    VQ_AUTOPTR(vq_qemu_command) command = vq_new(struct vq_qemu_command);
    struct vq_qemu_writer writer = {.def = def, .caps = caps, .launch = launch, .command = command, .next_boot_index = 1};

    if (def->type == VQ_VIRT_KVM && !caps->has_kvm)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "domain '%s' is of type 'kvm': %s", def->name,
                            caps->kvm_problem[0] == '\0' ? "KVM is not available on this host" : caps->kvm_problem);
    if (write_all(&writer, err) < 0)
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
