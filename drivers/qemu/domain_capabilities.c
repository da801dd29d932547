/* Domain capabilities: from what the emulator said it has, and what this driver can use of it. */
#include "drivers/qemu/domain_capabilities.h"

#include <string.h>

#include "conf/base/buffer.h"
#include "conf/base/macros.h"
#include "drivers/qemu/capabilities.h"
#include "drivers/qemu/cpu_xml.h"
#include "drivers/qemu/firmware_list.h"

/* One value of an enumeration, told when the emulator has the device (NULL: always). */
struct value {
    const char *name, *device;
};

static void add_enum(struct vq_buffer *text, const struct vq_qemu_capabilities *caps, const char *name,
                     const struct value *values, size_t n_values)
{
    vq_buffer_line(text, "<enum name='%s'>", name);
    for (size_t i = 0; i < n_values; i++)
        if (values[i].device == NULL || vq_qemu_capabilities_has_device(caps, values[i].device))
            vq_buffer_line(text, "  <value>%s</value>", values[i].name);
    vq_buffer_line(text, "</enum>");
}

#define ADD_ENUM(name, ...)                                                                                            \
    do {                                                                                                               \
        static const struct value values_[] = {__VA_ARGS__};                                                           \
        add_enum(text, caps, name, values_, VQ_N_ELEMENTS(values_));                                                   \
    } while (0)

/* An element with a text that a user chose. */
static void add_escaped(struct vq_buffer *text, const char *element, const char *value)
{
    VQ_AUTOBUFFER escaped = VQ_BUFFER_INIT;

    vq_buffer_add_escaped(&escaped, value);
    vq_buffer_line(text, "<%s>%s</%s>", element, escaped.data == NULL ? "" : escaped.data, element);
}

static void begin(struct vq_buffer *text, const char *element)
{
    vq_buffer_line(text, "<%s supported='yes'>", element);
    text->indent++;
}

static void end(struct vq_buffer *text, const char *element)
{
    text->indent--;
    vq_buffer_line(text, "</%s>", element);
}

static void add_os(struct vq_buffer *text, const struct vq_qemu_capabilities *caps, const struct vq_qemu_firmware_list *firmware)
{
    begin(text, "os");
    if (firmware->n_paths > 0)
        ADD_ENUM("firmware", {"efi", NULL});
    else
        vq_buffer_line(text, "<enum name='firmware'/>");
    begin(text, "loader");
    for (size_t i = 0; i < firmware->n_paths; i++)
        add_escaped(text, "value", firmware->paths[i]);
    ADD_ENUM("type", {"rom", NULL}, {"pflash", NULL});
    ADD_ENUM("readonly", {"yes", NULL}, {"no", NULL});
    if (firmware->has_secure)
        ADD_ENUM("secure", {"yes", NULL}, {"no", NULL});
    else
        ADD_ENUM("secure", {"no", NULL});
    end(text, "loader");
    end(text, "os");
}

struct models {
    const struct vq_qemu_capabilities *caps;
    bool is_kvm;
};

static bool is_allowed(const char *name, void *data)
{
    const struct models *models = data;

    return vq_qemu_capabilities_knows_model(models->caps, models->is_kvm, name);
}

/* What a guest with the mode host-model would get. */
static void add_host_model(struct vq_buffer *text, const struct vq_qemu_capabilities *caps, bool is_kvm)
{
    const struct vq_cpu_facts *cpu = is_kvm ? &caps->kvm.cpu : &caps->cpu;
    struct models models = {caps, is_kvm};
    struct vq_cpu_choice choice;

    if (vq_cpu_set_count(&cpu->features) == 0 || !vq_cpu_choose(cpu, false, is_allowed, &models, &choice)) {
        vq_buffer_line(text, "<mode name='host-model' supported='no'/>");
        return;
    }
    begin(text, "mode name='host-model'");
    vq_cpu_choice_format(&choice, cpu->vendor, "forbid", false, text);
    end(text, "mode");
}

static void add_custom(struct vq_buffer *text, const struct vq_qemu_capabilities *caps, bool is_kvm)
{
    const struct vq_qemu_cpu_model *models = is_kvm ? caps->kvm.models : caps->cpu_models;
    size_t n_models = is_kvm ? caps->kvm.n_models : caps->n_cpu_models;

    if (n_models == 0) {
        vq_buffer_line(text, "<mode name='custom' supported='no'/>");
        return;
    }
    begin(text, "mode name='custom'");
    for (size_t i = 0; i < n_models; i++) {
        const struct vq_cpu_model_fact *fact = vq_cpu_model_find(models[i].name);
        if (vq_qemu_cpu_model_is_for_people(&models[i]))
            vq_buffer_line(text, "<model usable='%s' vendor='%s'>%s</model>", models[i].is_usable ? "yes" : "no",
                           fact == NULL || fact->vendor == NULL ? "unknown" : fact->vendor, models[i].name);
    }
    end(text, "mode");
}

static void add_cpu(struct vq_buffer *text, const struct vq_qemu_capabilities *caps, bool is_kvm)
{
    vq_buffer_line(text, "<cpu>");
    text->indent++;
    if (is_kvm) {
        begin(text, "mode name='host-passthrough'");
        ADD_ENUM("hostPassthroughMigratable", {"on", NULL}, {"off", NULL});
        end(text, "mode");
    } else {
        vq_buffer_line(text, "<mode name='host-passthrough' supported='no'/>");
    }
    begin(text, "mode name='maximum'");
    ADD_ENUM("maximumMigratable", {"on", NULL}, {"off", NULL});
    end(text, "mode");
    add_host_model(text, caps, is_kvm);
    add_custom(text, caps, is_kvm);
    text->indent--;
    vq_buffer_line(text, "</cpu>");
}

static void add_disk(struct vq_buffer *text, const struct vq_qemu_capabilities *caps, bool is_i440fx)
{
    begin(text, "disk");
    ADD_ENUM("diskDevice", {"disk", NULL}, {"cdrom", NULL}, {"floppy", "floppy"}, {"lun", "scsi-block"});
    if (is_i440fx)
        ADD_ENUM("bus", {"ide", NULL}, {"fdc", "floppy"}, {"scsi", "scsi-hd"}, {"virtio", "virtio-blk-pci"},
                 {"usb", "usb-storage"}, {"sata", "ahci"});
    else
        ADD_ENUM("bus", {"fdc", "floppy"}, {"scsi", "scsi-hd"}, {"virtio", "virtio-blk-pci"}, {"usb", "usb-storage"},
                 {"sata", "ahci"});
    ADD_ENUM("model", {"virtio", "virtio-blk-pci"}, {"virtio-transitional", "virtio-blk-pci-transitional"},
             {"virtio-non-transitional", "virtio-blk-pci-non-transitional"});
    end(text, "disk");
}

static void add_devices(struct vq_buffer *text, const struct vq_qemu_capabilities *caps, bool is_i440fx,
                        const struct vq_qemu_host_offers *host)
{
    vq_buffer_line(text, "<devices>");
    text->indent++;
    add_disk(text, caps, is_i440fx);
    begin(text, "graphics");
    ADD_ENUM("type", {"sdl", NULL}, {"vnc", NULL}, {"spice", "qxl"}, {"egl-headless", NULL}, {"dbus", NULL});
    end(text, "graphics");
    begin(text, "video");
    ADD_ENUM("modelType", {"vga", "VGA"}, {"cirrus", "cirrus-vga"}, {"vmvga", "vmware-svga"}, {"qxl", "qxl"},
             {"virtio", "virtio-gpu-pci"}, {"none", NULL}, {"bochs", "bochs-display"}, {"ramfb", "ramfb"});
    end(text, "video");
    begin(text, "hostdev");
    ADD_ENUM("mode", {"subsystem", NULL});
    ADD_ENUM("startupPolicy", {"default", NULL}, {"mandatory", NULL}, {"requisite", NULL}, {"optional", NULL});
    ADD_ENUM("subsysType", {"usb", "usb-host"}, {"pci", "vfio-pci"}, {"scsi", "scsi-generic"});
    vq_buffer_line(text, "<enum name='capsType'/>");
    if (host->has_iommu)
        ADD_ENUM("pciBackend", {"vfio", "vfio-pci"});
    else
        vq_buffer_line(text, "<enum name='pciBackend'/>");
    end(text, "hostdev");
    begin(text, "rng");
    ADD_ENUM("model", {"virtio", "virtio-rng-pci"}, {"virtio-transitional", "virtio-rng-pci-transitional"},
             {"virtio-non-transitional", "virtio-rng-pci-non-transitional"});
    ADD_ENUM("backendModel", {"random", NULL}, {"egd", NULL}, {"builtin", NULL});
    end(text, "rng");
    begin(text, "filesystem");
    ADD_ENUM("driverType", {"path", "virtio-9p-pci"}, {"virtiofs", "vhost-user-fs-pci"});
    end(text, "filesystem");
    begin(text, "tpm");
    ADD_ENUM("model", {"tpm-tis", "tpm-tis"}, {"tpm-crb", "tpm-crb"});
    if (host->has_swtpm) {
        ADD_ENUM("backendModel", {"passthrough", NULL}, {"emulator", NULL}, {"external", NULL});
        ADD_ENUM("backendVersion", {"1.2", NULL}, {"2.0", NULL});
    } else {
        ADD_ENUM("backendModel", {"passthrough", NULL}, {"external", NULL});
    }
    end(text, "tpm");
    begin(text, "redirdev");
    ADD_ENUM("bus", {"usb", "usb-redir"});
    end(text, "redirdev");
    begin(text, "channel");
    ADD_ENUM("type", {"pty", NULL}, {"unix", NULL}, {"spicevmc", "qxl"});
    end(text, "channel");
    text->indent--;
    vq_buffer_line(text, "</devices>");
}

/* Under TCG the emulator shows two of them alone. */
static void add_hyperv(struct vq_buffer *text, const struct vq_qemu_capabilities *caps, bool is_kvm)
{
    begin(text, "hyperv");
    if (is_kvm)
        ADD_ENUM("features", {"relaxed", NULL}, {"vapic", NULL}, {"spinlocks", NULL}, {"vpindex", NULL}, {"runtime", NULL},
                 {"synic", NULL}, {"stimer", NULL}, {"reset", NULL}, {"vendor_id", NULL}, {"frequencies", NULL},
                 {"reenlightenment", NULL}, {"tlbflush", NULL}, {"ipi", NULL}, {"evmcs", NULL}, {"avic", NULL});
    else
        ADD_ENUM("features", {"spinlocks", NULL}, {"vendor_id", NULL});
    end(text, "hyperv");
}

static void add_features(struct vq_buffer *text, const struct vq_qemu_capabilities *caps, bool is_kvm, bool is_x86)
{
    vq_buffer_line(text, "<features>");
    text->indent++;
    vq_buffer_line(text, "<gic supported='no'/>");
    vq_buffer_line(text, "<vmcoreinfo supported='%s'/>", vq_qemu_capabilities_has_device(caps, "vmcoreinfo") ? "yes" : "no");
    vq_buffer_line(text, "<genid supported='%s'/>", vq_qemu_capabilities_has_device(caps, "vmgenid") ? "yes" : "no");
    vq_buffer_line(text, "<backingStoreInput supported='yes'/>");
    vq_buffer_line(text, "<backup supported='no'/>");
    vq_buffer_line(text, "<sev supported='no'/>");
    vq_buffer_line(text, "<sgx supported='no'/>");
    if (is_x86)
        add_hyperv(text, caps, is_kvm);
    text->indent--;
    vq_buffer_line(text, "</features>");
}

char *vq_qemu_domain_capabilities_format(const struct vq_qemu_capabilities *caps, const struct vq_qemu_machine *machine,
                                         const char *arch, bool is_kvm, const struct vq_qemu_host_offers *host)
{
    struct vq_buffer buffer = VQ_BUFFER_INIT, *text = &buffer;

    vq_buffer_line(text, "<domainCapabilities>");
    text->indent = 1;
    add_escaped(text, "path", caps->path);
    vq_buffer_line(text, "<domain>%s</domain>", is_kvm ? "kvm" : "qemu");
    vq_buffer_line(text, "<machine>%s</machine>", machine->name);
    vq_buffer_line(text, "<arch>%s</arch>", arch);
    vq_buffer_line(text, "<vcpu max='%u'/>", machine->cpus_max);
    vq_buffer_line(text, "<iothreads supported='yes'/>");
    add_os(text, caps, host->firmware);
    add_cpu(text, caps, is_kvm);
    begin(text, "memoryBacking");
    ADD_ENUM("sourceType", {"file", NULL}, {"anonymous", NULL}, {"memfd", NULL});
    end(text, "memoryBacking");
    add_devices(text, caps, strncmp(machine->name, "pc-i440fx", 9) == 0, host);
    add_features(text, caps, is_kvm, strcmp(arch, "x86_64") == 0 || strcmp(arch, "i686") == 0);
    text->indent = 0;
    vq_buffer_line(text, "</domainCapabilities>");
    return vq_buffer_steal(text);
}
