/* What the guest's firmware is told: boot order, kernel, ACPI tables, SMBIOS, fw_cfg. */
#define VQ_FROM VIR_FROM_QEMU
#include <stdio.h>
#include <string.h>

#include "conf/base/text.h"
#include "drivers/qemu/command_priv.h"

/* ---- Boot ---- */

static void write_kernel(struct vq_qemu_writer *writer)
{
    const struct vq_os *os = &writer->def->os;
    const struct {
        const char *option, *value;
    } direct[] = {{"-kernel", os->kernel}, {"-initrd", os->initrd}, {"-append", os->kernel == NULL ? NULL : os->cmdline},
                  {"-dtb", os->dtb}};

    for (size_t i = 0; i < VQ_N_ELEMENTS(direct); i++)
        if (direct[i].value != NULL && direct[i].value[0] != '\0')
            vq_qemu_arg_pair(writer, direct[i].option, direct[i].value);
}

void vq_qemu_write_boot(struct vq_qemu_writer *writer)
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
    write_kernel(writer);
    for (size_t i = 0; i < os->n_acpi_tables; i++) {
        VQ_AUTOBUFFER table = VQ_BUFFER_INIT;
        vq_buffer_add(&table, "sig=SLIC,file=");
        vq_qemu_add_value(&table, os->acpi_tables[i]->path == NULL ? "" : os->acpi_tables[i]->path);
        vq_qemu_arg_buffer(writer, "-acpitable", &table);
    }
}

/* ---- SMBIOS ---- */

/* A field of a table that QEMU can fill. */
static bool is_field(int type, const char *name)
{
    static const struct {
        int type;
        const char *names[8];
    } tables[] = {{0, {"vendor", "version", "date", "release"}},
                  {1, {"manufacturer", "product", "version", "serial", "uuid", "sku", "family"}},
                  {2, {"manufacturer", "product", "version", "serial", "asset", "location"}},
                  {3, {"manufacturer", "version", "serial", "asset", "sku"}}};

    for (size_t i = 0; i < VQ_N_ELEMENTS(tables); i++)
        for (size_t k = 0; tables[i].type == type && k < VQ_N_ELEMENTS(tables[i].names); k++)
            if (vq_streq(tables[i].names[k], name))
                return true;
    return false;
}

static void write_table(struct vq_qemu_writer *writer, int type, struct vq_sysinfo_entry *const *entries, size_t n_entries)
{
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;

    if (n_entries == 0)
        return;
    vq_buffer_addf(&value, "type=%d", type);
    for (size_t i = 0; i < n_entries; i++) {
        if (!is_field(type, entries[i]->name) || entries[i]->value == NULL)
            continue;
        vq_buffer_addf(&value, ",%s=", entries[i]->name);
        vq_qemu_add_value(&value, entries[i]->value);
    }
    vq_qemu_arg_buffer(writer, "-smbios", &value);
}

static void write_oem_strings(struct vq_qemu_writer *writer, const struct vq_sysinfo *info)
{
    VQ_AUTOBUFFER value = VQ_BUFFER_INIT;

    if (info->n_oem_strings == 0)
        return;
    vq_buffer_add(&value, "type=11");
    for (size_t i = 0; i < info->n_oem_strings; i++) {
        vq_buffer_add(&value, ",value=");
        vq_qemu_add_value(&value, info->oem_strings[i]->value == NULL ? "" : info->oem_strings[i]->value);
    }
    vq_qemu_arg_buffer(writer, "-smbios", &value);
}

static int write_smbios(struct vq_qemu_writer *writer, const struct vq_sysinfo *info, struct vq_error *err)
{
    if (info->n_boards > 1)
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED,
                            "qemu does not support more than one entry to Type 2 in SMBIOS table");
    write_table(writer, 0, info->bios, info->n_bios);
    write_table(writer, 1, info->system, info->n_system);
    for (size_t i = 0; i < info->n_boards; i++)
        write_table(writer, 2, info->boards[i]->entries, info->boards[i]->n_entries);
    write_table(writer, 3, info->chassis, info->n_chassis);
    write_oem_strings(writer, info);
    return 0;
}

static void write_fwcfg(struct vq_qemu_writer *writer, const struct vq_sysinfo *info)
{
    for (size_t i = 0; i < info->n_fwcfg; i++) {
        const struct vq_sysinfo_entry *entry = info->fwcfg[i];
        VQ_AUTOBUFFER value = VQ_BUFFER_INIT;
        vq_buffer_add(&value, "name=");
        vq_qemu_add_value(&value, entry->name == NULL ? "" : entry->name);
        vq_buffer_add(&value, entry->file != NULL ? ",file=" : ",string=");
        vq_qemu_add_value(&value, entry->file != NULL ? entry->file : entry->value != NULL ? entry->value : "");
        vq_qemu_arg_buffer(writer, "-fw_cfg", &value);
    }
}

int vq_qemu_write_sysinfo(struct vq_qemu_writer *writer, struct vq_error *err)
{
    const struct vq_domain *def = writer->def;
    bool wants_smbios = vq_streq(def->os.smbios_mode, "sysinfo");

    bool has_smbios = false;

    for (size_t i = 0; i < def->n_sysinfos; i++)
        has_smbios = has_smbios || vq_streq(def->sysinfos[i]->type, "smbios");
    if (wants_smbios && !has_smbios)
        return vq_error_set(err, VIR_ERR_XML_ERROR, "Domain '%s' sysinfo are not available", def->name);
    if (vq_streq(def->os.smbios_mode, "host"))
        return vq_error_set(err, VIR_ERR_CONFIG_UNSUPPORTED, "Host SMBIOS information is not available");
    for (size_t i = 0; i < def->n_sysinfos; i++) {
        if (vq_streq(def->sysinfos[i]->type, "fwcfg"))
            write_fwcfg(writer, def->sysinfos[i]);
        else if (wants_smbios && write_smbios(writer, def->sysinfos[i], err) < 0)
            return -1;
    }
    return 0;
}
